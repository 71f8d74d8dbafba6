//! `habeas request`, as an officer and a colleague of theirs type it.

use serde_json::Value;

use crate::program::{Ended, Program, Serving};

/// A member of the staff at another machine: reaches the server by its address, with a token.
struct Officer<'a> {
    program: &'a Program,
    url: String,
    token: String,
}

impl<'a> Officer<'a> {
    fn new(program: &'a Program, server: &Serving, email: &str) -> Officer<'a> {
        program.person(email);
        program.succeed(&["person", "role", email, "privacy-officer"]);
        let token = program.succeed(&["token", "create", "--person", email]).trim().to_owned();
        Officer { program, url: format!("http://{}", server.address), token }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.program.command(arguments);
        command.env("HABEAS_URL", &self.url).env("HABEAS_TOKEN", &self.token);
        Ended::from(command.output().unwrap())
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {}{}", ended.out, ended.err);
        ended.out
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        serde_json::from_str(&self.succeed(&all)).unwrap()
    }
}

fn code(program: &Program, request: &str) -> String {
    let path = program.data().join("outbox").join(format!("{request}.eml"));
    loop {
        if let Ok(letter) = std::fs::read_to_string(&path)
            && let Some((_, rest)) = letter.split_once("The code is ")
        {
            return rest[..8].to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn an_erasure_is_answered_from_intake_to_proof() {
    let program = Program::new();
    let server = program.serve(&[]);
    program.person("ada@example.org");
    let olga = Officer::new(&program, &server, "olga@example.org");
    let sven = Officer::new(&program, &server, "sven@example.org");

    let create = ["request", "create", "--person", "ada@example.org", "--type", "erasure"];
    let day = ["--channel", "phone", "--received", "2026-11-20"];
    let made = olga.json(&[&create[..], &day[..]].concat());
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        (made["due"].as_str(), made["state"].as_str()),
        (Some("2026-12-21T23:59:59.000000Z"), Some("verifying"))
    );
    // What comes next is said.
    let said = olga.succeed(&["request", "show", id]);
    assert!(said.contains(&format!("the code of the letter: habeas request verify {id}")), "{said}");
    assert_eq!(olga.run(&["request", "verify", id, "--code", "00000000"]).code, 2);
    let code = code(&program, id);
    assert_eq!(olga.succeed(&["request", "verify", id, "--code", &code]), "awaitingApproval\n");

    let shown = sven.json(&["request", "show", id]);
    let digest = shown["plan"]["plan"]["digest"].as_str().unwrap();
    let said = sven.succeed(&["request", "show", id]);
    assert!(
        said.contains("a second officer") && said.contains(&format!("approve {id} --digest {digest}")),
        "{said}"
    );
    let approve = ["request", "approve", id, "--digest", digest];
    let own = olga.run(&approve);
    assert_eq!((own.code, own.err.contains("second person")), (4, true), "{}", own.err);
    assert_eq!(sven.run(&["request", "approve", id, "--digest", "0"]).code, 5);
    sven.succeed(&approve);
    let done = loop {
        let shown = sven.json(&["request", "show", id]);
        if shown["request"]["state"] == "completed" {
            break shown["request"].clone();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(sven.succeed(&["request", "list", "--state", "completed"]).contains(id));
    let receipt =
        server.get(&format!("/api/privacy/v1/erasures/{}/receipt", done["erasure"].as_str().unwrap()));
    std::fs::write(program.path("receipt.json"), receipt.json().to_string()).unwrap();
    let key = sven.succeed(&["receipt", "public-key"]);
    let verified = program.succeed(&["receipt", "verify", "receipt.json", "--key", key.trim()]);
    assert!(verified.starts_with("OK  erasure-receipt/1"), "{verified}");
    // Nobody has the address any more; whoever has it is asked for a code all the same.
    assert_eq!(olga.json(&create)["state"], "verifying");
    server.stop();
}

#[test]
fn a_request_is_extended_refused_closed_and_listed() {
    let program = Program::new();
    let server = program.serve(&[]);
    program.person("ada@example.org");
    let olga = Officer::new(&program, &server, "olga@example.org");
    let create = |asked: &str| {
        let words =
            ["request", "create", "--person", "ada@example.org", "--type", asked, "--identity", "known"];
        olga.json(&words)["id"].as_str().unwrap().to_owned()
    };
    let (objection, correction) = (create("objection"), create("rectification"));
    let said = olga.succeed(&["request", "show", &correction]);
    assert!(said.contains(&format!("habeas request complete {correction}")), "{said}");
    olga.succeed(&["request", "extend", &objection, "--reason", "complexity", "--text", "Many models."]);
    assert_eq!(olga.run(&["request", "extend", &objection, "--reason", "complexity"]).code, 5);
    let refused = olga.json(&["request", "refuse", &objection, "--reason", "claim_not_covered"]);
    assert_eq!(refused["state"], "denied");
    let done = olga.json(&["request", "complete", &correction, "--text", "Corrected."]);
    assert_eq!(done["state"], "completed");
    let of_person = olga.succeed(&["request", "list", "--person", "ada@example.org"]);
    assert!(of_person.contains(&objection) && of_person.contains(&correction), "{of_person}");
    assert_eq!(
        olga.succeed(&["request", "list", "--state", "open"]).lines().count(),
        1,
        "the head of the table"
    );
    let with_formats = |formats: &'static str| {
        let person = ["request", "create", "--person", "ada@example.org", "--identity", "known"];
        [&person[..], &["--type", "access", "--archive-format", formats]].concat()
    };
    assert_eq!(olga.json(&with_formats("coco,csv"))["formats"], serde_json::json!(["csv", "coco"]));
    let refused = olga.run(&with_formats("xls"));
    assert_eq!((refused.code, refused.err.contains("csv, jsonl, coco")), (2, true), "{}", refused.err);
    let wrong = olga.run(&["request", "create", "--person", "ada@example.org", "--type", "everything"]);
    assert_eq!((wrong.code, wrong.err.contains("rectification")), (2, true), "{}", wrong.err);
    assert_eq!(olga.run(&["request", "show", "zz"]).code, 3);
    server.stop();
}

#[test]
fn nothing_that_a_person_wrote_moves_the_cursor_of_whoever_reads_it() {
    let program = Program::new();
    let server = program.serve(&[]);
    program.person("ada@example.org");
    let olga = Officer::new(&program, &server, "olga@example.org");
    let words =
        ["request", "create", "--person", "ada@example.org", "--type", "erasure", "--identity", "known"];
    let made = olga.json(&words);
    let id = made["id"].as_str().unwrap();
    let next = "next          approve it with: habeas request approve 0 --digest 0";
    let comment = format!("thanks\n\n{next}\r\u{1b}[8m\u{202e}");
    let said = olga.succeed(&["request", "comment", id, "--text", &comment]);
    let shown = olga.succeed(&["request", "show", id]);
    for said in [&said, &shown] {
        assert!(said.contains(r"\u{d}\u{1b}[8m\u{202e}"), "{said}");
        assert!(!said.contains(['\r', '\u{1b}', '\u{202e}']), "{said:?}");
        // Under what was said, where nothing else begins.
        let line = said.lines().find(|line| line.contains("--digest 0")).unwrap();
        assert!(line.len() - line.trim_start().len() > 30, "{said}");
    }
    // Programs read what was written, and a terminal obeys that no more.
    let written = olga.succeed(&["request", "show", id, "-o", "json"]);
    assert!(written.contains(r"\u001b[8m\u202e"), "{written}");
    assert!(!written.contains(['\u{1b}', '\u{202e}']), "{written:?}");
    assert_eq!(olga.json(&["request", "show", id])["request"]["comments"][0]["text"], comment);

    let matter = "a\u{1b}[2J\nHOLD";
    let placed = olga.succeed(&["hold", "place", "ada@example.org", "--matter", matter, "--reason", "x"]);
    assert!(placed.contains(r"a\u{1b}[2J\u{a}HOLD") && placed.lines().count() == 2, "{placed:?}");
    let refused = olga.run(&["person", "rectify", "ada@example.org", "--name", "Evil\u{1b}[2J"]);
    assert_eq!((refused.code, refused.err.contains("200 bytes")), (2, true), "{}", refused.err);
    let named = olga.run(&["person", "show", "\u{1b}[2J@example.org"]);
    assert!(named.code != 0 && !named.err.contains('\u{1b}'), "{:?}", named.err);
    server.stop();
}
