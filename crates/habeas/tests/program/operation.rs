//! Starting, watching, logging, stopping.

use std::io::Write as _;

use crate::program::{Answer, Program, image, mode};

#[test]
fn a_start_prints_a_link_that_signs_in_once_and_a_new_one_can_be_made() {
    let program = Program::new();
    let server = program.serve(&[]);
    let link =
        server.said.iter().find_map(|line| line.strip_prefix("open once, as administrator: ")).unwrap();
    let path = link.strip_prefix(&format!("http://{}", server.address)).unwrap().to_owned();
    let made = program.succeed(&["person", "sign-in-link", "admin@localhost"]);
    for path in [path.as_str(), made.trim()] {
        assert_eq!(server.get(path).status, 200);
        let post = format!("POST {path} HTTP/1.1\r\nsec-fetch-site: same-origin");
        let used = server.request(&post, &[]);
        assert_eq!(used.status, 303, "{}", used.body);
        assert!(used.head.contains("set-cookie: habeas-session="));
        assert_eq!(server.request(&post, &[]).status, 410, "a link works once");
    }
    server.stop();
    let again = program.serve(&[]);
    assert!(!again.said.iter().any(|line| line.contains("open once")), "only the first start prints it");
}

#[test]
fn health_readiness_version_and_metrics_are_there_and_tell_nothing_of_anybody() {
    let program = Program::new();
    let server = program.serve(&[]);
    let key = program.person("ada@example.org");
    let project = server.project(&key);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/versionz").json()["version"], env!("CARGO_PKG_VERSION"));
    // MLflow's client and pages read MLflow's own, as text.
    let version = server.get("/version").body;
    assert!(version.contains(habeas_wire::mlflow::VERSION) && !version.contains('{'), "{version}");
    let answer = server.train("GET", &key, &format!("/projects/{project}"), &[]);
    assert!(answer.head.contains("\r\nx-request-id: "), "{}", answer.head);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("habeas_requests_total{"), "{metrics}");
    assert!(metrics.contains("/projects/{project}"), "{metrics}");
    assert!(!metrics.contains(&project) && !metrics.contains(&key), "{metrics}");
}

#[test]
fn the_log_has_a_line_for_every_request_and_nothing_of_a_person() {
    let mut program = Program::new();
    program.set("HABEAS_LOG", "trace");
    program.set("HABEAS_LOG_FORMAT", "json");
    let server = program.serve(&[]);
    let key = program.person("canary.address@example.org");
    let token = program.succeed(&[
        "token",
        "create",
        "--person",
        "canary.address@example.org",
        "--label",
        "canarylabel",
    ]);
    let made = server.train("POST", &key, "/projects?name=canaryproject&description=canarydescription", &[]);
    let project = made.json()["id"].as_str().unwrap().to_owned();
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, image(1));
    let files = format!(
        r#"{{"images":[{{"name":"canaryfile.jpg","contents":"{base64}"}},{{"name":"canarybad","contents":"AAAA"}}]}}"#
    );
    assert_eq!(
        server.train("POST", &key, &format!("/projects/{project}/images/files"), files.as_bytes()).status,
        207
    );
    assert_eq!(server.train("GET", "canarywrongkey", "/projects", &[]).status, 401);
    assert_eq!(server.get("/canarypath?canaryquery=1").status, 404);
    program.succeed(&["export", "--person", "canary.address@example.org", "--output", "x.zip"]);
    server.stop();
    let log = program.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().any(|line| line["fields"]["request"].is_string() && line["fields"]["route"].is_string())
    );
    for marker in ["canary", "Somebody", key.as_str(), token.trim()] {
        assert!(
            !log.contains(marker),
            "{marker} is in the log: {}",
            log.lines().find(|line| line.contains(marker)).unwrap()
        );
    }
}

#[test]
fn at_sigterm_requests_in_hand_are_answered_and_what_they_brought_is_kept() {
    let program = Program::new();
    let server = program.serve(&[]);
    let key = program.person("ada@example.org");
    let project = server.project(&key);
    let bytes = image(1);
    let mut upload = server.connect();
    let head = format!(
        "POST /customvision/v3.3/training/projects/{project}/images HTTP/1.1\r\nhost: localhost\r\ntraining-key: {key}\r\n\
         content-type: application/octet-stream\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        bytes.len()
    );
    upload.write_all(head.as_bytes()).unwrap();
    // The server asks for the body: from now on the request is in hand.
    let mut interim = [0; 25];
    std::io::Read::read_exact(&mut upload, &mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    upload.write_all(&bytes[..100]).unwrap();
    server.terminate();
    while !program.log().contains("stopping") {
        std::thread::yield_now();
    }
    while std::net::TcpStream::connect(&server.address).is_ok() {
        std::thread::yield_now();
    }
    upload.write_all(&bytes[100..]).unwrap();
    assert_eq!(Answer::read(upload).status, 200);
    assert_eq!(server.wait(), 0);
    assert!(!program.data().join("habeas.sock").exists());
    let server = program.serve(&[]);
    assert_eq!(
        server
            .train("GET", &key, &format!("/projects/{project}/images/count"), &[])
            .body
            .trim_matches(|c: char| !c.is_ascii_digit()),
        "1"
    );
    let doctor = program.succeed(&["doctor", "--scan"]);
    assert!(!doctor.contains("fail"), "{doctor}");
}

#[test]
fn at_sigterm_a_training_in_hand_is_given_back_and_ends_after_the_next_start() {
    let mut program = Program::new();
    program.set("HABEAS_LOG", "habeas_models=debug");
    let server = program.serve(&[]);
    let key = program.person("ada@example.org");
    let project = server.project(&key);
    for kind in ["Hemlock", "Japanese_Cherry"] {
        let tag = server.train("POST", &key, &format!("/projects/{project}/tags?name={kind}"), &[]).json();
        let path = format!("/projects/{project}/images?tagIds={}", tag["id"].as_str().unwrap());
        for number in 1..=5 {
            let photo = std::fs::read(format!(
                "{}/../../data/custom-vision/CustomVision/ImageClassification/Images/{kind}/{}_{number}.jpg",
                env!("CARGO_MANIFEST_DIR"),
                kind.to_lowercase()
            ))
            .unwrap();
            assert_eq!(server.train("POST", &key, &path, &photo).status, 200);
        }
    }
    let begun = server.train("POST", &key, &format!("/projects/{project}/train"), &[]);
    assert_eq!(begun.status, 200, "{}", begun.body);
    let attempts =
        |program: &Program| program.log().lines().filter(|line| line.contains("kind=Train")).count();
    while attempts(&program) == 0 {
        std::thread::yield_now();
    }
    server.stop();
    let server = program.serve(&[]);
    let iterations = || server.train("GET", &key, &format!("/projects/{project}/iterations"), &[]).json();
    while iterations()[0]["status"] == "Training" {
        std::thread::yield_now();
    }
    assert_eq!(iterations()[0]["status"], "Completed");
    assert_eq!(attempts(&program), 2, "the training was not taken up again");
    let doctor = program.succeed(&["doctor", "--scan"]);
    assert!(!doctor.contains("fail"), "{doctor}");
}

#[test]
fn data_directory_socket_and_root_key_are_nobody_elses() {
    let program = Program::new();
    let server = program.serve(&[]);
    for (name, expected) in
        [("", 0o700), ("habeas.sock", 0o600), ("root.key", 0o600), ("keyring/keyring-a", 0o600)]
    {
        assert_eq!(mode(&program.data().join(name)), expected, "{name}");
    }
    let second = program.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 5);
    assert!(second.err.contains("another habeas process"), "{}", second.err);
    server.stop();
    // Without a server the command opens the data itself.
    program.person("ada@example.org");
    assert!(program.succeed(&["person", "list"]).contains("ada@example.org"));
}
