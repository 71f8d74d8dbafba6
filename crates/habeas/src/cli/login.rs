//! `habeas login`, `habeas logout`: the token of a server, kept in a file that only its owner can read.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use habeas_client::{Client, IssuedTokens};
use habeas_core::Ambient;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::output::note;

/// How long before its end a token is renewed, in seconds.
const EARLY: i64 = 60;

/// Where to sign in or out.
#[derive(Args)]
pub(crate) struct Server {
    /// Address of the server
    #[arg(env = "HABEAS_URL", value_name = "URL")]
    url: String,
}

/// What is kept of one server.
#[derive(Clone, Serialize, Deserialize)]
struct Login {
    url: String,
    access_token: String,
    refresh_token: String,
    expires: i64,
}

/// The file, held by this process alone: a refresh token that two programs use is taken for stolen.
struct Logins {
    folder: PathBuf,
    _lock: File,
    all: Vec<Login>,
}

fn now() -> i64 {
    Ambient::system().now().seconds()
}

fn folder() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CONFIG_HOME nor HOME is set")?)
            .join(".config"),
    };
    Ok(base.join("habeas"))
}

impl Logins {
    fn open() -> anyhow::Result<Logins> {
        let mut logins = Logins::locked()?;
        logins.all = match std::fs::read(logins.folder.join("tokens.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{} cannot be read: delete it, and sign in anew",
                    logins.folder.join("tokens.json").display()
                )
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot use {}", logins.folder.display()));
            }
        };
        Ok(logins)
    }

    fn locked() -> anyhow::Result<Logins> {
        let folder = folder()?;
        let wrong = || format!("cannot use {}", folder.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).with_context(wrong)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("tokens.lock"))
            .with_context(wrong)?;
        flock(&lock, FlockOperation::LockExclusive).with_context(wrong)?;
        Ok(Logins { folder, _lock: lock, all: Vec::new() })
    }

    fn position(&self, url: &str) -> Option<usize> {
        self.all.iter().position(|login| login.url == url)
    }

    fn put(&mut self, url: &str, tokens: IssuedTokens) -> anyhow::Result<()> {
        self.all.retain(|login| login.url != url);
        self.all.push(Login {
            url: url.to_owned(),
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            expires: now() + tokens.expires_in,
        });
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        let made = self.folder.join("tokens.new");
        // A file left by a killed process has the right mode too, but its content is not ours.
        let _ = std::fs::remove_file(&made);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&made)?;
        file.write_all(&serde_json::to_vec_pretty(&self.all)?)?;
        file.sync_all()?;
        std::fs::rename(&made, self.folder.join("tokens.json"))?;
        Ok(())
    }
}

fn spelled(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// Signs in by a device code.
pub(crate) async fn login(server: Server) -> anyhow::Result<ExitCode> {
    let url = spelled(&server.url);
    let client = Client::new(&url, None)?;
    let begun = client.begin_login().await?;
    note(format_args!("open {} and type the code {}", begun.verification_uri, begun.user_code));
    let tokens = loop {
        tokio::time::sleep(Duration::from_secs(begun.interval)).await;
        if let Some(tokens) = client.poll_login(&begun).await? {
            break tokens;
        }
    };
    Logins::open()?.put(&url, tokens)?;
    note(format_args!("signed in; commands with --url {url} use it"));
    Ok(ExitCode::SUCCESS)
}

/// Signs out: the server forgets the token, and so does this machine.
pub(crate) async fn logout(server: Server) -> anyhow::Result<ExitCode> {
    let url = spelled(&server.url);
    let mut logins = Logins::open()?;
    let Some(position) = logins.position(&url) else { bail!("not signed in at {url}") };
    let login = logins.all.remove(position);
    let revoked = Client::new(&url, None)?.revoke_login(&login.refresh_token).await;
    // This machine forgets it whatever the server says.
    logins.write()?;
    revoked?;
    note("signed out");
    Ok(ExitCode::SUCCESS)
}

/// The bearer token for the server at `url`: of HABEAS_TOKEN, or what `habeas login` left, renewed when its time is nearly over.
pub(crate) async fn token(url: &str) -> anyhow::Result<Option<String>> {
    if let Ok(token) = std::env::var("HABEAS_TOKEN") {
        return Ok(Some(token));
    }
    let url = spelled(url);
    if !folder().is_ok_and(|folder| folder.join("tokens.json").exists()) {
        return Ok(None);
    }
    let mut logins = Logins::open()?;
    let Some(login) = logins.position(&url).map(|position| logins.all[position].clone()) else {
        return Ok(None);
    };
    if login.expires - EARLY > now() {
        return Ok(Some(login.access_token));
    }
    let tokens = Client::new(&url, None)?
        .refresh_login(&login.refresh_token)
        .await
        .context("the sign-in has ended: habeas login")?;
    let token = tokens.access_token.clone();
    logins.put(&url, tokens)?;
    Ok(Some(token))
}
