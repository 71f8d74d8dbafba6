//! What reaches the disk before something is acknowledged, and what happens when the disk does not take it: a process of its own under
//! strace, which sees every call to the kernel and can make calls fail.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, image};

/// The calls that make something durable, or change what lies on disk.
const CALLS: &str = "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,linkat,ftruncate";

/// The work of the process that is watched: it does what it is told on its standard input, and answers by lines.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(data) = std::env::var("HABEAS_TEST_DISK") else { return };
    let mut deployment = Deployment::open_in(PathBuf::from(data), None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let neighbour = deployment.person("b@example.org", "B").await;
    let project = deployment.project(&someone, "p").await;
    let theirs = deployment.project(&neighbour, "p").await;
    deployment.image(&neighbour, &theirs, "b.jpg", &image(1), &[]).await;
    let before = deployment.content(&neighbour).await;
    let (_, plan) =
        deployment.operator("POST", &format!("/persons/{}/erasure-plans", someone.id), json!({})).await;
    say("ready");
    let mut number = 0;
    for line in std::io::stdin().lines() {
        number += 1;
        let name = format!("n{number}");
        match line.unwrap().as_str() {
            "person" => {
                say("begin person");
                deployment.person(&format!("{name}@example.org"), "N").await;
                say("acknowledged person");
            }
            "upload" => {
                say("begin upload");
                deployment.image(&someone, &project, "a.jpg", &image(number + 10), &[]).await;
                say("acknowledged upload");
            }
            "upload in parts" => {
                let mut bytes = image(number + 10);
                bytes.resize(3_000_000, 7);
                say("begin upload in parts");
                deployment.image(&someone, &project, "a.jpg", &bytes, &[]).await;
                say("acknowledged upload in parts");
            }
            "erase" => {
                let other = deployment.person(&format!("{name}@example.org"), "N").await;
                say("begin erase");
                deployment.erase(&other).await;
                say("acknowledged erase");
            }
            "try everything" => {
                say(&attempts(&deployment, &someone, &project, &name, &plan).await.to_string());
            }
            _ => break,
        }
    }
    // Nothing that was acknowledged is lost, and what failed can be done now.
    let path = format!("/erasure-plans/{}", plan["plan"].as_str().unwrap());
    let (status, found) = deployment.operator("GET", &path, json!(null)).await;
    assert_eq!(status, 200, "{found}");
    assert!(deployment.content(&neighbour).await == before, "a neighbour's content");
    deployment.image(&someone, &project, "z.jpg", &image(1000), &[]).await;
    deployment.stop().await;
    deployment.start().await;
    assert!(deployment.content(&neighbour).await == before, "a neighbour's content after a restart");
    assert_eq!(deployment.erase(&someone).await["status"], "completed");
    let (_, doctor) = deployment.operator("GET", "/doctor?scan=true", json!(null)).await;
    for check in doctor["checks"].as_array().unwrap() {
        assert_ne!(check["status"], "fail", "{check}");
    }
    deployment.stop().await;
    say("whole");
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // In one call to the kernel, by which the trace knows it.
    out.write_all(format!("\n<{line}>\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// One write of every sort; what each was answered.
async fn attempts(
    deployment: &Deployment,
    someone: &Someone,
    project: &str,
    name: &str,
    plan: &Value,
) -> Value {
    let email = format!("{name}@example.org");
    let person = deployment.operator("POST", "/persons", json!({ "email": email, "name": "N" })).await;
    let tag =
        deployment.train("POST", &someone.key, &format!("/projects/{project}/tags?name={name}"), None).await;
    let contents = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, image(500));
    let body = json!({ "images": [{ "name": "a.jpg", "contents": contents }] });
    let upload = deployment
        .train("POST", &someone.key, &format!("/projects/{project}/images/files"), Some(body))
        .await;
    let body = json!({ "plan": plan["plan"], "confirm": someone.email, "digest": plan["digest"] });
    let erase = deployment.operator("POST", "/erasures", body).await;
    let answers = [("person", person), ("tag", tag), ("upload", upload), ("erase", erase)];
    answers
        .into_iter()
        .map(|(what, (status, answer))| json!({ "what": what, "status": status.as_u16(), "answer": answer }))
        .collect()
}

/// A process that is watched.
struct Watched {
    process: Child,
    orders: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Watched {
    /// Starts it, under `strace` with these arguments if there are any.
    fn start(data: &Path, strace: &[String]) -> Watched {
        let this = std::env::current_exe().unwrap();
        let mut command = match strace {
            [] => Command::new(this),
            [program, rest @ ..] => {
                let mut command = Command::new(program);
                command.args(rest).arg(this);
                command
            }
        };
        let mut process = command
            .args(["--exact", "disk::child", "--nocapture", "--test-threads=1"])
            .env("HABEAS_TEST_DISK", data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (orders, out) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut watched = Watched { process, orders, lines: BufReader::new(out).lines() };
        watched.wait_for("ready");
        watched
    }

    /// The next line that it says.
    fn answer(&mut self) -> String {
        loop {
            let line = self.lines.next().expect("the process ended").unwrap();
            if let Some(line) = line.strip_prefix('<').and_then(|line| line.strip_suffix('>')) {
                return line.to_owned();
            }
        }
    }

    fn wait_for(&mut self, wanted: &str) {
        while self.answer() != wanted {}
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    fn end(mut self) {
        self.order("end");
        self.wait_for("whole");
        assert!(self.process.wait().unwrap().success());
    }
}

/// The program, if this machine has it and lets it watch a process; loudly none otherwise.
fn strace() -> Option<String> {
    let program = std::env::var("HABEAS_TEST_STRACE").ok()?;
    let works = Command::new(&program)
        .args(["-e", "trace=fsync", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        println!("SKIPPED: {program} may not watch a process here");
    }
    works.then_some(program)
}

/// One call to the kernel on a file of the data directory, or a word of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Written(String),
    Flushed(String),
    Named(String),
    Said(String),
}

/// Reads what strace wrote with `-f -y`: `1234 fsync(9</data/ledger>) = 0`, calls of other threads in between.
fn events(trace: &str, data: &Path) -> Vec<Event> {
    let data = data.to_str().unwrap();
    let mut begun: std::collections::HashMap<&str, &str> = std::collections::HashMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ').map(|(thread, call)| (thread, call.trim_start()))
        else {
            continue;
        };
        // A call counts when it has returned, without an error.
        let call = match (call.strip_suffix(" <unfinished ...>"), call.starts_with("<... ")) {
            (Some(start), _) => {
                begun.insert(thread, start);
                continue;
            }
            (None, true) => begun.remove(thread).unwrap_or_default(),
            (None, false) => call,
        };
        if line.contains(" = -1 ") {
            continue;
        }
        let Some((name, arguments)) = call.split_once('(') else { continue };
        if name == "write" && arguments.starts_with("1<") {
            if let Some(said) = arguments.split_once("\\n<").and_then(|(_, rest)| rest.split_once(">\\n")) {
                events.push(Event::Said(said.0.to_owned()));
            }
            continue;
        }
        let path = |text: &str| {
            text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path.to_owned())
        };
        if let Some(path) = path(arguments).filter(|path| path.starts_with(data)) {
            let path = path[data.len()..].trim_start_matches('/').to_owned();
            events.push(match name {
                "fsync" | "fdatasync" => Event::Flushed(path),
                "write" | "pwrite64" | "ftruncate" => Event::Written(path),
                _ => continue,
            });
        } else if name.starts_with("rename") || name.starts_with("link") {
            // The last path in quotes is the new name.
            let new = arguments.rsplit('"').nth(1).unwrap_or_default();
            if let Some(path) = new.strip_prefix(data) {
                events.push(Event::Named(path.trim_start_matches('/').to_owned()));
            }
        }
    }
    events
}

/// What is wrong with the order in which something became durable before it was acknowledged; nothing if all is well.
fn faults(events: &[Event], work: &str) -> Vec<String> {
    let at = |said: String| events.iter().position(|event| *event == Event::Said(said.clone()));
    let (Some(begin), Some(end)) = (at(format!("begin {work}")), at(format!("acknowledged {work}"))) else {
        return vec![format!("{work} is not in the trace")];
    };
    let events = &events[begin..end];
    let mut faults = Vec::new();
    let flushed = |name: &str| {
        let written =
            events.iter().position(|event| matches!(event, Event::Written(path) if path.contains(name)))?;
        let found = |event: &Event| matches!(event, Event::Flushed(path) if path.contains(name));
        events[written..].iter().position(found).map(|position| position + written)
    };
    // The order in which docs/ARCHITECTURE.md says that things become durable.
    let order: &[&str] = match work {
        "person" => &["keyring-a", "keyring-b", ".db-wal"],
        "upload" | "upload in parts" => &["objects/blobs/", ".db-wal"],
        _ => &["ledger", "keyring-a", "keyring-b", ".db-wal"],
    };
    let places: Vec<Option<usize>> = order.iter().map(|name| flushed(name)).collect();
    for (name, place) in order.iter().zip(&places) {
        if place.is_none() {
            faults.push(format!("{work}: {name} was not written and flushed"));
        }
    }
    let last_of = |name: &str| {
        events.iter().rposition(|event| matches!(event, Event::Flushed(path) if path.contains(name)))
    };
    for pair in order.windows(2) {
        if flushed(pair[0]) > last_of(pair[1]) {
            faults.push(format!("{work}: {} was flushed only after {}", pair[0], pair[1]));
        }
    }
    // Nothing that was written is left unflushed, and no new name without its directory. The write-ahead log is shared with work that
    // nobody waits for, and SQLite's other files are not needed to recover.
    for (index, event) in events.iter().enumerate() {
        let (path, directory) = match event {
            Event::Written(path) if !path.contains(".db") => (path.clone(), false),
            Event::Named(path) => {
                let parent = Path::new(path).parent().unwrap_or(Path::new(""));
                (parent.to_string_lossy().into_owned(), true)
            }
            _ => continue,
        };
        if !events[index..].contains(&Event::Flushed(path.clone())) {
            let what = if directory { "a name in" } else { "what was written to" };
            faults.push(format!("{work}: {what} {path} was not flushed"));
        }
    }
    faults
}

#[test]
fn what_is_acknowledged_was_flushed_before_in_the_order_that_is_promised() {
    let Some(program) = strace() else {
        println!("SKIPPED: HABEAS_TEST_STRACE names no strace");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (data, trace) = (folder.path().join("data"), folder.path().join("trace"));
    let arguments = ["-f", "-y", "-s", "64", "-e", CALLS, "-o", trace.to_str().unwrap()];
    let mut strace = vec![program];
    strace.extend(arguments.map(str::to_owned));
    let mut watched = Watched::start(&data, &strace);
    for work in ["person", "upload", "upload in parts", "erase"] {
        watched.order(work);
        watched.wait_for(&format!("acknowledged {work}"));
    }
    watched.end();
    let events = events(&std::fs::read_to_string(&trace).unwrap(), &data);
    for work in ["person", "upload", "upload in parts", "erase"] {
        assert_eq!(faults(&events, work), Vec::<String>::new());
        // The check can fail: a trace without one of the files' flushes does not pass.
        for name in ["keyring-a", "keyring-b", "ledger", "objects/blobs", ".db-wal"] {
            let is_of = |event: &Event| matches!(event, Event::Flushed(path) if path.contains(name));
            let without: Vec<Event> = events.iter().filter(|event| !is_of(event)).cloned().collect();
            let matters = match work {
                "person" => !matches!(name, "ledger" | "objects/blobs"),
                "upload" | "upload in parts" => matches!(name, "objects/blobs" | ".db-wal"),
                _ => name != "objects/blobs",
            };
            assert_eq!(!faults(&without, work).is_empty(), matters, "{work} without flushes of {name}");
        }
    }
}

#[test]
fn a_disk_that_is_full_or_broken_loses_nothing_and_is_told() {
    let Some(program) = strace() else {
        println!("SKIPPED: HABEAS_TEST_STRACE names no strace");
        return;
    };
    for (calls, error) in [
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EIO"),
        ("fsync,fdatasync", "ENOSPC"),
        ("fsync,fdatasync", "EIO"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut watched = Watched::start(&folder.path().join("data"), &[]);
        let mut breaker = Command::new(&program)
            .args(["-f", "-qq", "-o", "/dev/null", "-p", &watched.process.id().to_string()])
            .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error={error}")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !is_traced(watched.process.id()) {
            if breaker.try_wait().unwrap().is_some() {
                println!("SKIPPED: {program} may not be attached to a process here");
                return watched.end();
            }
            std::thread::yield_now();
        }
        watched.order("try everything");
        let answers: Value = serde_json::from_str(&watched.answer()).unwrap();
        // Interrupted, it lets go of the process.
        let interrupted = Command::new("kill").args(["-INT", &breaker.id().to_string()]).status().unwrap();
        assert!(interrupted.success());
        breaker.wait().unwrap();
        for answer in answers.as_array().unwrap() {
            let case = format!("{calls} {error}: {answer}");
            assert!(matches!(answer["status"].as_u64().unwrap(), 503 | 507), "{case}");
            assert!(!case.contains("panic"), "{case}");
        }
        watched.end();
    }
}

/// Whether every thread of a process is watched.
fn is_traced(process: u32) -> bool {
    std::fs::read_dir(format!("/proc/{process}/task")).unwrap().all(|thread| {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    })
}
