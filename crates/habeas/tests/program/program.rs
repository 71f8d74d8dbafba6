//! The binary, with a folder of its own, and HTTP by hand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// How long an answer is waited for before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sample image; the number after its end makes its bytes unique.
pub(crate) fn image(number: u32) -> Vec<u8> {
    let mut bytes =
        include_bytes!("../../../../data/custom-vision/CustomVision/ObjectDetection/Images/fork/fork_1.jpg")
            .to_vec();
    bytes.extend_from_slice(number.to_string().as_bytes());
    bytes
}

/// A folder with the data of one deployment.
pub(crate) struct Program {
    pub(crate) folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Program {
    pub(crate) fn new() -> Program {
        Program { folder: tempfile::Builder::new().prefix("hb").tempdir().unwrap(), variables: Vec::new() }
    }

    /// Sets a variable for every command that follows; an empty value takes it away.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(other, _)| other != name);
        if !value.is_empty() {
            self.variables.push((name.to_owned(), value.to_owned()));
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The program with these arguments, on the folder's data, and with no other variables than ours.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_habeas"));
        command
            .args(arguments)
            .env_clear()
            .env("HABEAS_DATA", self.data())
            .env("HABEAS_DISK_RESERVE_MB", "0")
            .env("NO_COLOR", "1")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().unwrap())
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {}{}", ended.out, ended.err);
        ended.out
    }

    /// Starts the server on a free port.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Serving {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
        all.extend_from_slice(arguments);
        let errors = self.path("log");
        let log = std::fs::File::options().create(true).append(true).open(&errors).unwrap();
        let mut child = self.command(&all).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = None;
        let mut said = Vec::new();
        // The last line of a start says what to do next.
        for line in lines.by_ref() {
            let line = line.unwrap();
            if let Some(found) = line.strip_prefix("listening on http://") {
                address = Some(found.to_owned());
            }
            let last = line.starts_with("next: ");
            said.push(line);
            if last {
                break;
            }
        }
        let address = address.unwrap_or_else(|| panic!("{}", std::fs::read_to_string(&errors).unwrap()));
        Serving { child, address, said }
    }

    /// What servers have logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// Makes a person; the training key.
    pub(crate) fn person(&self, email: &str) -> String {
        let made = self.succeed(&["person", "create", email, "--name", "Somebody", "-o", "json"]);
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        made["trainingKeys"][0].as_str().unwrap().to_owned()
    }
}

/// What a command left behind.
pub(crate) struct Ended {
    /// -1 when a signal ended it.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A server that runs.
pub(crate) struct Serving {
    child: Child,
    pub(crate) address: String,
    /// What it printed at its start.
    pub(crate) said: Vec<String>,
}

impl Serving {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request on a connection of its own; status, head and body of the answer.
    pub(crate) fn request(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let text = format!(
            "{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        Answer::read(stream)
    }

    /// `GET` without a body.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path} HTTP/1.1"), &[])
    }

    /// Calls the training API with a key.
    pub(crate) fn train(&self, method: &str, key: &str, path: &str, body: &[u8]) -> Answer {
        self.request(
            &format!(
                "{method} /customvision/v3.3/training{path} HTTP/1.1\r\ntraining-key: {key}\r\ncontent-type: application/octet-stream"
            ),
            body,
        )
    }

    /// A project; its id.
    pub(crate) fn project(&self, key: &str) -> String {
        let made = self.train("POST", key, "/projects?name=p", &[]);
        assert_eq!(made.status, 200, "{}", made.body);
        made.json()["id"].as_str().unwrap().to_owned()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// Waits for the end; the exit code.
    pub(crate) fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }

    /// Ends it in order.
    pub(crate) fn stop(self) {
        self.terminate();
        assert_eq!(self.wait(), 0);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // After a failed test it must not live on; after its end it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Reads until the other side closes.
    pub(crate) fn read(mut stream: TcpStream) -> Answer {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        // The body is one chunk, or has a length.
        let start = self.body.find(['{', '[']).unwrap();
        let end = self.body.rfind(['}', ']']).unwrap();
        serde_json::from_str(&self.body[start..=end]).unwrap()
    }
}

/// The permissions of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
