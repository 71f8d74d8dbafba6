//! Letters through a mail server: plain, over TLS, refused, unreachable; with a small server of our own at the far end.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use habeas::settings::Settings;
use habeas_core::{ManualClock, Timestamp, time};
use habeas_store::TaskKind;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};
use crate::keeping::hold;
use crate::requests::once_keys;

/// How a mail server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speech {
    Plain,
    /// TLS after STARTTLS, and nothing of worth before it.
    StartTls,
    /// TLS at once.
    Tls,
}

/// A letter as it was taken.
#[derive(Clone, Debug)]
struct Taken {
    encrypted: bool,
    credentials: Option<String>,
    to: Vec<String>,
    text: String,
}

#[derive(Default)]
struct Shared {
    letters: Mutex<Vec<Taken>>,
    refusing: AtomicBool,
    refused: Mutex<u32>,
}

/// A mail server.
struct Relay {
    port: u16,
    shared: Arc<Shared>,
    /// Its certificate, in PEM.
    authority: String,
}

impl Relay {
    fn start(speech: Speech) -> Relay {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay {
            port: listener.local_addr().unwrap().port(),
            shared: Arc::default(),
            authority: certificate.pem(),
        };
        let (shared, config) = (Arc::clone(&relay.shared), Arc::new(config));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, config) = (Arc::clone(&shared), Arc::clone(&config));
                // A client that breaks off ends its conversation.
                std::thread::spawn(move || serve(stream?, speech, &config, &shared));
            }
        });
        relay
    }

    /// The next letter that is taken after the first `count`.
    async fn letter(&self, count: usize) -> Taken {
        loop {
            if let Some(letter) = self.shared.letters.lock().unwrap().get(count) {
                return letter.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }

    fn refusals(&self) -> u32 {
        *self.shared.refused.lock().unwrap()
    }
}

fn serve(
    mut stream: TcpStream,
    speech: Speech,
    config: &Arc<ServerConfig>,
    shared: &Shared,
) -> std::io::Result<()> {
    let tls = |stream| {
        let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
        std::io::Result::Ok(StreamOwned::new(connection, stream))
    };
    if speech == Speech::Tls {
        let mut stream = tls(stream)?;
        stream.write_all(b"220 localhost\r\n")?;
        return converse(stream, false, true, shared).map(|_| ());
    }
    stream.write_all(b"220 localhost\r\n")?;
    match converse(stream, speech == Speech::StartTls, false, shared)? {
        Some(stream) => converse(tls(stream)?, false, true, shared).map(|_| ()),
        None => Ok(()),
    }
}

/// Answers commands; the stream, when TLS is to begin on it.
fn converse<S: Read + Write>(
    stream: S,
    offers_tls: bool,
    encrypted: bool,
    shared: &Shared,
) -> std::io::Result<Option<S>> {
    let mut reader = BufReader::new(stream);
    let (mut credentials, mut to) = (None, Vec::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let command = line.trim_end();
        let answer = if command.starts_with("EHLO") {
            let more = if offers_tls { "250-STARTTLS\r\n" } else { "" };
            format!("250-localhost\r\n{more}250 AUTH PLAIN LOGIN\r\n")
        } else if command == "STARTTLS" {
            reader.get_mut().write_all(b"220 go on\r\n")?;
            return Ok(Some(reader.into_inner()));
        } else if let Some(given) = command.strip_prefix("AUTH PLAIN ") {
            credentials = Some(given.to_owned());
            "235 welcome\r\n".to_owned()
        } else if let Some(address) = command.strip_prefix("RCPT TO:") {
            if shared.refusing.load(Ordering::SeqCst) {
                *shared.refused.lock().unwrap() += 1;
                format!("451 {address} is not served now\r\n")
            } else {
                to.push(address.trim_matches(['<', '>']).to_owned());
                "250 ok\r\n".to_owned()
            }
        } else if command == "DATA" {
            reader.get_mut().write_all(b"354 go on\r\n")?;
            let mut text = String::new();
            while !text.ends_with("\r\n.\r\n") {
                reader.read_line(&mut text)?;
            }
            let to = std::mem::take(&mut to);
            let letter = Taken { encrypted, credentials: credentials.clone(), to, text };
            shared.letters.lock().unwrap().push(letter);
            "250 taken\r\n".to_owned()
        } else if command == "QUIT" {
            reader.get_mut().write_all(b"221 bye\r\n")?;
            return Ok(None);
        } else {
            "250 ok\r\n".to_owned()
        };
        reader.get_mut().write_all(answer.as_bytes())?;
        reader.get_mut().flush()?;
    }
}

fn writes_from(settings: &mut Settings, server: String) {
    settings.smtp = Some(server);
    settings.mail_from = Some("privacy@habeas.example.org".into());
}

async fn ask(deployment: &Deployment, asked: &str) -> String {
    let body = json!({ "type": asked, "email": "ada@example.org" });
    let (status, request) = deployment.call(None, "POST", "/requests", body).await;
    assert_eq!(status, 202, "{request}");
    request["id"].as_str().unwrap().to_owned()
}

fn code(letter: &Taken) -> Value {
    json!({ "code": letter.text.split_once("The code is ").unwrap().1[..8] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_goes_through_the_mail_server_and_a_refused_one_is_tried_again() {
    let _lock = crate::canary::protected().await;
    let relay = Relay::start(Speech::Plain);
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
    let server = format!("smtp://localhost:{}?tls=none", relay.port);
    let deployment =
        Deployment::open_with_clock(clock.clone(), |settings| writes_from(settings, server)).await;
    deployment.person("ada@example.org", "Ada").await;
    relay.refuse(true);
    let request = ask(&deployment, "objection").await;
    // Later with every attempt, and with a code that is good for an hour from then.
    for attempt in 1..=3 {
        waits_after(&deployment, attempt).await;
        relay.refuse(attempt < 3);
        clock.advance(400_000_000);
    }
    assert_eq!(relay.refusals(), 3);
    let letter = relay.letter(0).await;
    assert_eq!(letter.to, ["ada@example.org"]);
    for header in [
        "From: privacy@habeas.example.org",
        "To: ada@example.org",
        "Subject: Your code",
        "Date: ",
        "Message-ID: <",
    ] {
        assert!(letter.text.contains(header), "{header}: {}", letter.text);
    }
    assert!(!letter.encrypted && letter.credentials.is_none());
    let verify = format!("/requests/{request}/verify");
    let (status, verified) = deployment.call(None, "POST", &verify, code(&letter)).await;
    assert_eq!(status, 200, "{verified}");
    assert!(!deployment.settings.data().join("outbox").exists());

    // Given up after five days, which stands in the request.
    relay.refuse(true);
    let request = ask(&deployment, "restriction").await;
    waits_after(&deployment, 1).await;
    clock.advance(5 * time::DAY);
    loop {
        let (_, report) = deployment.operator("GET", &format!("/requests/{request}"), json!(null)).await;
        if report["history"].as_array().unwrap().iter().any(|entry| entry["event"] == "letterGivenUp") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_to_a_mail_server_that_is_not_the_right_one() {
    let _lock = crate::canary::protected().await;
    for (speech, scheme) in [(Speech::StartTls, "smtp"), (Speech::Tls, "smtps")] {
        let relay = Relay::start(speech);
        let server = format!("{scheme}://habeas:pass%20word@localhost:{}", relay.port);
        let folder = tempfile::tempdir().unwrap();
        let (right, wrong) = (folder.path().join("right.pem"), folder.path().join("wrong.pem"));
        std::fs::write(&right, &relay.authority).unwrap();
        std::fs::write(&wrong, &Relay::start(speech).authority).unwrap();
        for (authority, trusted) in [(&wrong, false), (&right, true)] {
            let deployment = Deployment::open_with(|settings| {
                writes_from(settings, server.clone());
                settings.smtp_authority = Some(authority.clone());
            })
            .await
            .unwrap();
            deployment.person("ada@example.org", "Ada").await;
            let request = ask(&deployment, "objection").await;
            if trusted {
                let letter = relay.letter(0).await;
                assert!(letter.encrypted);
                assert_eq!(letter.credentials.as_deref(), Some("AGhhYmVhcwBwYXNzIHdvcmQ="));
                let verify = format!("/requests/{request}/verify");
                assert_eq!(deployment.call(None, "POST", &verify, code(&letter)).await.0, 200);
            } else {
                waits_after(&deployment, 1).await;
                assert!(relay.shared.letters.lock().unwrap().is_empty());
            }
        }
    }
    // A server that does not offer TLS gets nothing, unless the setting says so.
    let relay = Relay::start(Speech::Plain);
    let server = format!("smtp://localhost:{}", relay.port);
    let deployment = Deployment::open_with(|settings| writes_from(settings, server)).await.unwrap();
    deployment.person("ada@example.org", "Ada").await;
    ask(&deployment, "objection").await;
    waits_after(&deployment, 1).await;
    assert!(relay.shared.letters.lock().unwrap().is_empty());
}

/// Waits until the only letter was tried so often, and waits for another try.
async fn waits_after(deployment: &Deployment, attempts: u32) {
    let store = deployment.server().app().rights.store();
    loop {
        let tried = store
            .read(|tx| {
                let waiting = tx.waiting_tasks(TaskKind::Mail)?;
                let task = waiting.first().map_or(Ok(None), |id| tx.task(*id))?;
                Ok(task.map_or(0, |task| task.attempts))
            })
            .await
            .unwrap();
        if tried == attempts {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_waits_for_no_mail_server_and_its_letter_is_not_lost() {
    let _lock = crate::canary::protected().await;
    let relay = Relay::start(Speech::Plain);
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
    let server = format!("smtp://localhost:{}?tls=none", relay.port);
    let mut deployment =
        Deployment::open_with_clock(clock.clone(), |settings| writes_from(settings, server)).await;
    for (number, email) in ["ada@example.org", "eve@example.org"].into_iter().enumerate() {
        let someone = deployment.person(email, "Somebody").await;
        relay.refuse(true);
        let path = format!("/persons/{}/erasure-plans", someone.id);
        let (_, plan) = deployment.operator("POST", &path, json!({})).await;
        assert!(plan["kept"].to_string().contains("the address for the last letter"), "{plan}");
        let report = deployment.erase(&someone).await;
        assert_eq!(report["status"], "completed", "{report}");
        waits_after(&deployment, 1).await;
        assert!(relay.refusals() > 0);
        assert_eq!(once_keys(&deployment).await, 1);
        // Stopped in the meantime.
        deployment.stop().await;
        deployment.start().await;
        assert_eq!(once_keys(&deployment).await, 1);
        if number == 0 {
            relay.refuse(false);
            clock.advance(time::HOUR);
            let letter = relay.letter(0).await;
            assert_eq!(letter.to, [email]);
            let text = letter.text;
            assert!(text.contains("is being erased") && text.contains("/requests/"), "{text}");
            assert!(text.contains("the receipt that proves it"), "{text}");
        } else {
            // Given up after five days, and with it the address.
            clock.advance(6 * time::DAY);
        }
        while once_keys(&deployment).await != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let (_, page) = deployment.operator("GET", "/requests", json!(null)).await;
    let given_up = |request: &Value| request["history"].to_string().contains("letterGivenUp");
    let requests = page["requests"].as_array().unwrap();
    assert_eq!(requests.iter().filter(|request| given_up(request)).count(), 1, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_erased_but_for_what_a_hold_keeps_is_told_so_and_not_why() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let relay = Relay::start(Speech::Plain);
        let server = format!("smtp://localhost:{}?tls=none", relay.port);
        let deployment = Deployment::open_with(|settings| {
            settings.database = database;
            writes_from(settings, server);
        })
        .await
        .unwrap();
        let ada = deployment.person("ada@example.org", "Ada").await;
        let project = deployment.project(&ada, "p").await;
        let image = deployment.image(&ada, &project, "a.jpg", &image(1), &[]).await;
        hold(&deployment, &image).await;
        let report = deployment.erase(&ada).await;
        assert_eq!(report["status"], "completed_with_holds", "{report}");
        // Wherever its lines are broken.
        let letter = relay.letter(0).await.text.replace("=\r\n", "").replace("=\n", "");
        let (_, page) = deployment.operator("GET", "/requests", json!(null)).await;
        let path = format!("/requests/{}", page["requests"][0]["id"].as_str().unwrap());
        let request = axum::http::Request::get(&path).body(axum::body::Body::empty()).unwrap();
        let (status, page) = deployment.send(request).await;
        assert_eq!((status.as_u16(), letter.contains(&path)), (200, true), "{letter}");
        for said in [letter, String::from_utf8(page).unwrap()] {
            for expected in ["kept for a legal claim", "supervisory authority", "judicial remedy"] {
                assert!(said.contains(expected), "{expected}: {said}");
            }
            for secret in ["everything held", "case 7", "before the court"] {
                assert!(!said.contains(secret), "{secret}: {said}");
            }
        }
    }
}

/// A process of its own that dies: erases Ada, or asks for somebody whom nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn dying_child() {
    let (Ok(data), Ok(work)) = (std::env::var("HABEAS_TEST_DATA"), std::env::var("HABEAS_TEST_WORK")) else {
        return;
    };
    let deployment = Deployment::open_in_with(data.into(), |settings| {
        settings.database = std::env::var("HABEAS_TEST_DATABASE").ok();
        writes_from(settings, std::env::var("HABEAS_TEST_MAIL_SERVER").unwrap());
    })
    .await;
    if work == "ask" {
        let body = json!({ "type": "access", "email": "nobody@example.org" });
        deployment.call(None, "POST", "/requests", body).await;
    } else {
        let (_, persons) = deployment.operator("GET", "/persons?email=ada@example.org", json!(null)).await;
        let (id, email) = (persons[0]["objectId"].as_str().unwrap().to_owned(), "ada@example.org".to_owned());
        deployment.erase(&Someone { id, email, key: String::new() }).await;
    }
    // A worker passes the fault point and ends the process.
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_letter_survives_a_process_killed_at_any_step_and_its_address_goes_with_it() {
    let _lock = crate::canary::protected().await;
    for (number, database) in engines().into_iter().enumerate() {
        for (work, fault, refuses) in [
            ("erase", "letter.key_made", true),
            ("erase", "letter.address_kept", true),
            ("erase", "erase.tombstone_written", true),
            ("erase", "erase.keys_destroyed", true),
            ("erase", "receipt.logged", true),
            ("erase", "letter.sent", false),
            ("erase", "letter.ended", false),
            ("ask", "request.key_made", true),
            ("ask", "request.created", true),
        ] {
            let database = if number == 0 { database.clone() } else { crate::postgres::database() };
            let relay = Relay::start(Speech::Plain);
            relay.refuse(refuses);
            let server = format!("smtp://localhost:{}?tls=none", relay.port);
            let mut deployment = Deployment::open_with(|settings| {
                settings.database = database.clone();
                writes_from(settings, server.clone());
            })
            .await
            .unwrap();
            deployment.person("ada@example.org", "Ada").await;
            deployment.stop().await;
            let mut child = Command::new(std::env::current_exe().unwrap());
            child
                .args(["--exact", "letters::dying_child", "--nocapture", "--test-threads=1"])
                .env("HABEAS_TEST_DATA", deployment.path("data"))
                .env("HABEAS_TEST_WORK", work)
                .env("HABEAS_TEST_MAIL_SERVER", &server)
                .env("HABEAS_FAULT", fault)
                .envs(database.map(|database| ("HABEAS_TEST_DATABASE", database)))
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let status = tokio::task::spawn_blocking(move || child.status()).await.unwrap().unwrap();
            assert!(!status.success(), "{work} passed no fault point {fault}");

            relay.refuse(false);
            deployment.start().await;
            if fault == "request.key_made" {
                assert_eq!(once_keys(&deployment).await, 0, "what no request waits for is gone");
                continue;
            }
            let letter = relay.letter(0).await;
            if work == "ask" {
                assert_eq!(letter.to, ["nobody@example.org"]);
                assert_eq!(once_keys(&deployment).await, 1);
                continue;
            }
            assert_eq!(letter.to, ["ada@example.org"], "{fault}");
            assert!(letter.text.contains("is being erased"), "{fault}: {}", letter.text);
            for looked in 0.. {
                let (status, page) = deployment.operator("GET", "/requests", json!(null)).await;
                let keys = once_keys(&deployment).await;
                if page["requests"][0]["state"] == "completed" && keys == 0 {
                    break;
                }
                assert!(looked < 3_000, "{work} {fault}: {status}, {keys} keys, {page}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// A process of its own, whose log is read: asks, and ends when the mail server has refused.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(server) = std::env::var("HABEAS_TEST_MAIL_SERVER") else { return };
    let deployment = Deployment::open_with(|settings| {
        writes_from(settings, server);
        settings.log = Some("debug".into());
    })
    .await
    .unwrap();
    deployment.person("ada@example.org", "Ada").await;
    ask(&deployment, "objection").await;
    waits_after(&deployment, 1).await;
}

#[test]
fn the_log_says_that_a_letter_was_refused_and_not_to_whom() {
    let relay = Relay::start(Speech::Plain);
    relay.refuse(true);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "letters::child", "--nocapture", "--test-threads=1"])
        .env("HABEAS_TEST_MAIL_SERVER", format!("smtp://localhost:{}?tls=none", relay.port))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("a letter is tried again") && log.contains("451"), "{log}");
    assert!(!log.contains("ada@") && !log.contains("not served now"), "{log}");
}
