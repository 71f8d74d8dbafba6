//! The restore drill, as docs/OPERATING.md has it.

use crate::program::{Program, image};

/// The commands of the drill, with its folders below `root`.
fn drill(root: &str) -> Vec<Vec<String>> {
    let text = include_str!("../../../../docs/OPERATING.md");
    let block = text.split_once("## Backup and restore drill").unwrap().1.split("```").nth(1).unwrap();
    block
        .lines()
        .filter_map(|line| line.split('#').next().unwrap().trim().strip_prefix("habeas "))
        .map(|command| {
            command
                .split_whitespace()
                .map(|word| if word.starts_with('/') { format!("{root}{word}") } else { word.to_owned() })
                .collect()
        })
        .collect()
}

#[test]
fn the_restore_drill_of_the_manual_works_and_brings_nobody_back() {
    let mut program = Program::new();
    let root = program.folder.path().to_str().unwrap().to_owned();
    std::fs::create_dir_all(program.path("backups")).unwrap();
    std::fs::create_dir_all(program.path("srv")).unwrap();
    program.set("HABEAS_DATA", program.path("srv/habeas").to_str().unwrap());
    let commands = drill(&root);
    let [create, verify, restore, serve] = &commands[..] else { panic!("{commands:?}") };
    let run = |program: &Program, command: &[String]| {
        program.succeed(&command.iter().map(String::as_str).collect::<Vec<_>>())
    };

    let server = program.serve(&[]);
    let key = program.person("ada@example.org");
    let project = server.project(&key);
    assert_eq!(server.train("POST", &key, &format!("/projects/{project}/images"), &image(1)).status, 200);
    program.person("eve@example.org");
    run(&program, create);
    run(&program, verify);
    let plan = program.succeed(&["erase", "plan", "--person", "eve@example.org", "-o", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    program.succeed(&["erase", "run", plan["plan"].as_str().unwrap(), "--confirm", "eve@example.org"]);
    server.stop();

    let said = run(&program, restore);
    assert!(said.contains("unreadable since their project got a new key  0"), "{said}");
    assert_eq!(serve[0], "serve");
    program.set("HABEAS_DATA", "");
    let server = program.serve(&serve[1..].iter().map(String::as_str).collect::<Vec<_>>());
    let images = server.train("GET", &key, &format!("/projects/{project}/images"), &[]).json();
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
    let drill = format!("{root}/srv/drill");
    assert_eq!(program.run(&["person", "show", "ada@example.org", "--data", &drill]).code, 0);
    assert_eq!(program.run(&["person", "show", "eve@example.org", "--data", &drill]).code, 3);
    let doctor = program.succeed(&["doctor", "--scan", "--data", &drill]);
    assert!(!doctor.contains("fail"), "{doctor}");
    server.stop();

    // A backup in which a byte was changed is found out.
    let rows = program.path("backups/monday/rows-resource.jsonl");
    let mut bytes = std::fs::read(&rows).unwrap();
    bytes[50] ^= 1;
    std::fs::write(rows, bytes).unwrap();
    assert_eq!(program.run(&verify.iter().map(String::as_str).collect::<Vec<_>>()).code, 6);
}
