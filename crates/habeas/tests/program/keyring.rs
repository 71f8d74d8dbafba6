//! The keyring's commands, the passphrase, and a keyring that is damaged.

use crate::program::Program;

fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_copy_is_refused_named_and_written_anew_on_the_operators_word_only() {
    let mut program = Program::new();
    program.set("HABEAS_KEYRING_MIRRORS", program.path("mirror").to_str().unwrap());
    let refused = program.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(refused.err.contains("mirror") && refused.err.contains("make it, or mount"), "{}", refused.err);
    std::fs::create_dir(program.path("mirror")).unwrap();
    program.serve(&[]).stop();
    program.person("ada@example.org");
    let whole = program.succeed(&["keyring", "verify"]);
    assert_eq!(whole.matches("ok  ").count(), 4, "{whole}");
    let copy = program.data().join("keyring/keyring-b");
    let before = std::fs::read(&copy).unwrap();
    flip(&copy, 4096 + 40);
    let damaged = std::fs::read(&copy).unwrap();

    let refused = program.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("damaged") && refused.err.contains("keyring-b"), "{}", refused.err);
    let verified = program.run(&["keyring", "verify"]);
    assert_eq!(verified.code, 6);
    assert_eq!(verified.out.matches("ok  ").count(), 2, "{}", verified.out);
    assert!(verified.out.contains(&format!("BAD {}", copy.display())), "{}", verified.out);
    assert_eq!(std::fs::read(&copy).unwrap(), damaged, "it was repaired without being told to");

    let intact = program.data().join("keyring/keyring-a");
    program.succeed(&["keyring", "mirror", "--restore", intact.to_str().unwrap()]);
    assert_eq!(std::fs::read(&copy).unwrap(), before);
    program.succeed(&["person", "show", "ada@example.org"]);

    // A copy elsewhere opens the data as well.
    let elsewhere = program.path("elsewhere");
    program.succeed(&["keyring", "mirror", elsewhere.to_str().unwrap()]);
    let mirror = elsewhere.join("keyring-mirror");
    program.succeed(&["keyring", "mirror", "--restore", mirror.to_str().unwrap()]);
    program.succeed(&["person", "show", "ada@example.org"]);
    let server = program.serve(&[]);
    assert!(program.run(&["keyring", "verify"]).err.contains("stop it first"));
    server.stop();
}

#[test]
fn a_new_root_key_makes_the_old_one_useless() {
    let program = Program::new();
    program.serve(&[]).stop();
    program.person("ada@example.org");
    let root = program.data().join("root.key");
    let old = std::fs::read(&root).unwrap();
    program.succeed(&["keyring", "rotate", "--new-root"]);
    let new = std::fs::read(&root).unwrap();
    assert_ne!(old, new);
    program.succeed(&["person", "show", "ada@example.org"]);
    std::fs::write(&root, old).unwrap();
    let refused = program.run(&["person", "show", "ada@example.org"]);
    assert!(refused.err.contains("the root key does not open the keyring"), "{}", refused.err);
    std::fs::write(&root, new).unwrap();
    program.succeed(&["person", "show", "ada@example.org"]);
}

#[test]
fn a_change_of_the_root_key_killed_at_any_step_is_finished_with_the_new_key() {
    for (fault, old_key_opens) in [
        ("keyring.rotate.written", true),
        ("keyring.rotate.moved:1", false),
        ("keyring.rotate.moved:2", false),
    ] {
        let mut program = Program::new();
        program.serve(&[]).stop();
        program.person("ada@example.org");
        program.set("HABEAS_FAULT", fault);
        assert_ne!(program.run(&["keyring", "rotate", "--new-root"]).code, 0, "no fault point {fault}");
        program.set("HABEAS_FAULT", "");
        if old_key_opens {
            program.succeed(&["person", "show", "ada@example.org"]);
            program.succeed(&["keyring", "rotate", "--new-root"]);
        } else {
            let refused = program.run(&["person", "show", "ada@example.org"]);
            assert!(
                refused.err.contains("after an interrupted `keyring rotate` it is the new one"),
                "{}",
                refused.err
            );
            std::fs::rename(program.data().join("root.new"), program.data().join("root.key")).unwrap();
        }
        program.succeed(&["person", "show", "ada@example.org"]);
        assert_eq!(program.succeed(&["keyring", "verify"]).matches("ok  ").count(), 3, "{fault}");
    }
}

#[test]
fn a_passphrase_takes_the_place_of_the_file() {
    let mut program = Program::new();
    program.set("HABEAS_PASSPHRASE", "correct horse battery staple");
    program.serve(&[]).stop();
    program.person("ada@example.org");
    assert!(!program.data().join("root.key").exists());
    program.set("HABEAS_PASSPHRASE", "wrong horse battery staple");
    let refused = program.run(&["person", "list"]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("HABEAS_PASSPHRASE"), "{}", refused.err);
    program.set("HABEAS_PASSPHRASE", "correct horse battery staple");
    program.set("HABEAS_NEW_PASSPHRASE", "another phrase altogether");
    program.succeed(&["keyring", "rotate", "--new-root"]);
    program.set("HABEAS_NEW_PASSPHRASE", "");
    assert_ne!(program.run(&["person", "list"]).code, 0);
    // From a file, too.
    program.set("HABEAS_PASSPHRASE", "");
    let file = program.path("passphrase");
    std::fs::write(&file, "another phrase altogether\n").unwrap();
    program.set("HABEAS_PASSPHRASE_FILE", file.to_str().unwrap());
    assert!(program.succeed(&["person", "list"]).contains("ada@example.org"));
}
