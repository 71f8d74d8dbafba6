//! Timeouts, the connection cap, the disk reserve.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use crate::program::{Answer, Program, image};

#[test]
fn a_client_that_stalls_is_let_go() {
    let program = Program::new();
    let server = program.serve(&["--header-timeout-seconds", "1", "--upload-timeout-seconds", "1"]);
    let key = program.person("ada@example.org");
    let project = server.project(&key);

    // In the middle of a head, and between two requests.
    let mut slow = server.connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").unwrap();
    assert!(matches!(Answer::read(slow).status, 0 | 408));
    let mut idle = server.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert_eq!(Answer::read(idle).status, 200);

    // In the middle of an upload, of either form.
    let image = image(1);
    for (path, body) in
        [("images", &image[..1000]), ("images/files", &b"{\"images\":[{\"contents\":\"AQID"[..])]
    {
        let mut stalled = server.connect();
        let head = format!(
            "POST /customvision/v3.3/training/projects/{project}/{path} HTTP/1.1\r\nhost: localhost\r\ntraining-key: {key}\r\n\
             content-type: application/octet-stream\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            image.len()
        );
        stalled.write_all(head.as_bytes()).unwrap();
        stalled.write_all(body).unwrap();
        let answer = Answer::read(stalled);
        assert!(matches!(answer.status, 400 | 408 | 413), "{path}: {answer:?}");
    }
    let count = server.train("GET", &key, &format!("/projects/{project}/images/count"), &[]);
    assert!(count.body.contains('0'), "{count:?}");
}

#[test]
fn connections_beyond_the_cap_wait_and_are_served_when_one_ends() {
    let program = Program::new();
    let server = program.serve(&["--max-connections", "1"]);
    let mut first = server.connect();
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut status = [0; 15];
    first.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    let mut second = server.connect();
    second.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let patience = second.read_timeout().unwrap();
    second.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(second.peek(&mut [0]).is_err(), "the second connection was served beside the first");
    second.set_read_timeout(patience).unwrap();
    drop(first);
    assert_eq!(Answer::read(second).status, 200);
    // The operator gets in through the socket all the same.
    let _busy = server.connect();
    program.succeed(&["doctor"]);
}

#[test]
fn a_disk_that_is_nearly_full_takes_no_uploads_and_lets_erasures_through() {
    let mut program = Program::new();
    let server = program.serve(&[]);
    let key = program.person("ada@example.org");
    let project = server.project(&key);
    server.stop();
    program.set("HABEAS_DISK_RESERVE_MB", "1000000000");
    let server = program.serve(&[]);
    let answer = server.train("POST", &key, &format!("/projects/{project}/images"), &image(1));
    assert_eq!(answer.status, 503);
    let error = answer.json();
    assert!(error["message"].as_str().unwrap().contains("disk-reserve-mb"), "{error}");
    assert_eq!(error["error"]["message"], error["message"]);
    assert_eq!(server.train("GET", &key, "/projects", &[]).status, 200);
    let refused = program.run(&["person", "create", "eve@example.org"]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("disk-reserve-mb"), "{}", refused.err);
    let plan = program.succeed(&["erase", "plan", "--person", "ada@example.org", "-o", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    program.succeed(&["erase", "run", plan["plan"].as_str().unwrap(), "--confirm", "ada@example.org"]);
    assert_eq!(program.run(&["person", "show", "ada@example.org"]).code, 3);
}
