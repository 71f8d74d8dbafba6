//! How letters leave: into a folder, or through a mail server (RFC 5321, messages of RFC 5322).

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use habeas_core::{Error, Id, Result, Timestamp};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message, SmtpTransport, Transport as _};
use url::Url;

/// How long a mail server may take to connect, and to answer each command.
const PATIENCE: Duration = Duration::from_secs(20);

/// How letters are sent, and from which address.
pub struct Mailer {
    from: Mailbox,
    way: Way,
}

enum Way {
    /// As files into a folder from which somebody else sends them, `NAME.eml`: the latest of each name.
    Outbox(PathBuf),
    /// Through a mail server.
    Smtp(SmtpTransport),
}

/// A letter.
pub(super) struct Mail {
    /// Under which it lies in the outbox, without the ending: random ids.
    pub(super) name: String,
    pub(super) to: Vec<String>,
    pub(super) subject: String,
    pub(super) body: String,
    pub(super) at: Timestamp,
    /// Tells it apart from every other.
    pub(super) message: Id,
}

fn wrong_server() -> Error {
    Error::invalid("that is not the address of a mail server").hint(
        "write it like smtps://user:password@mail.example.org, or smtp://mail.example.org:587 (with STARTTLS), or \
         smtp://localhost:25?tls=none",
    )
}

impl Mailer {
    /// Lays letters into a folder as `.eml` files.
    pub fn outbox(from: &str, folder: PathBuf) -> Result<Mailer> {
        Ok(Mailer { from: sender(from)?, way: Way::Outbox(folder) })
    }

    /// Sends letters through a mail server: `smtps://` speaks TLS at once (port 465), `smtp://` after STARTTLS (port 587) and never without,
    /// unless `?tls=none` says so (port 25). `authorities` are certificates in PEM that may have signed the server's own; those of the system
    /// when there are none. Errors quote nothing of the address: it can hold a password.
    pub fn smtp(from: &str, server: &str, authorities: Option<&[u8]>) -> Result<Mailer> {
        let from = sender(from)?;
        let host = Url::parse(server).ok().and_then(|url| url.host_str().map(str::to_owned));
        let host = host.ok_or_else(wrong_server)?;
        let (address, tls) = server.split_once('?').unwrap_or((server, ""));
        let wrapped = address.starts_with("smtps://");
        let encrypted = match tls {
            "tls=none" if !wrapped => false,
            "" | "tls=required" => true,
            _ => return Err(wrong_server()),
        };
        let spelled =
            if encrypted && !wrapped { format!("{address}?tls=required") } else { address.to_owned() };
        let mut builder = SmtpTransport::from_url(&spelled)
            .map_err(|_| wrong_server())?
            .timeout(Some(PATIENCE))
            .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        if let Some(pem) = authorities.filter(|_| encrypted) {
            let no_certificate =
                || Error::invalid("the authority of the mail server is not a certificate in PEM");
            let wrong = |_| no_certificate();
            // A file without any certificate is read as none: no server would ever be trusted.
            if !std::str::from_utf8(pem).is_ok_and(|pem| pem.contains("-----BEGIN CERTIFICATE-----")) {
                return Err(no_certificate());
            }
            let parameters = TlsParameters::builder(host)
                .certificate_store(CertificateStore::None)
                .add_root_certificate(Certificate::from_pem(pem).map_err(wrong)?)
                .build()
                .map_err(wrong)?;
            builder = builder.tls(if wrapped { Tls::Wrapper(parameters) } else { Tls::Required(parameters) });
        }
        Ok(Mailer { from, way: Way::Smtp(builder.build()) })
    }

    /// Whether letters stay on this machine until somebody sends them.
    pub(super) fn outbox_folder(&self) -> Option<&Path> {
        match &self.way {
            Way::Outbox(folder) => Some(folder),
            Way::Smtp(_) => None,
        }
    }

    /// Sends a letter, or lays it into the outbox. Blocks, for as long as a mail server takes.
    pub(super) fn send(&self, mail: Mail) -> Result<()> {
        let unusable = || Error::invalid("a letter cannot be addressed");
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(mail.subject)
            .date(UNIX_EPOCH + Duration::from_micros(mail.at.0.max(0).unsigned_abs()))
            .message_id(Some(format!("<{}@{}>", mail.message, self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN);
        for address in &mail.to {
            builder = builder.to(Mailbox::new(None, address.parse().map_err(|_| unusable())?));
        }
        let message = builder.body(mail.body).map_err(|_| unusable())?;
        match &self.way {
            Way::Outbox(folder) => write_private(folder, &mail.name, &message.formatted()),
            Way::Smtp(transport) => transport.send(&message).map(|_| ()).map_err(|error| refused(&error)),
        }
    }
}

/// What a mail server did, without its words: they can quote the address.
fn refused(error: &lettre::transport::smtp::Error) -> Error {
    let what = match error.status() {
        Some(code) => format!("the mail server refused a letter with the code {code}"),
        None if error.is_tls() => "no trusted TLS connection to the mail server could be made".to_owned(),
        None if error.is_timeout() => "the mail server did not answer in time".to_owned(),
        None => "the mail server cannot be reached, or broke off".to_owned(),
    };
    Error::unavailable(what).hint("it is tried again; look at --smtp and at the mail server's own log")
}

fn sender(address: &str) -> Result<Mailbox> {
    address.parse().map_err(|_| {
        Error::invalid("the address from which letters come is not one")
            .hint("write it like privacy@example.org")
    })
}

/// Writes a letter as a file that only its owner reads, whole or not at all.
fn write_private(folder: &Path, name: &str, letter: &[u8]) -> Result<()> {
    let failed = |_| Error::unavailable("a letter cannot be written into the outbox").at(folder);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let path = letter_path(folder, name);
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(letter).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

/// Where the latest letter of a name lies in the outbox: a request's is its id.
pub(super) fn letter_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.eml"))
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The transport holds a password.
        f.write_str(match self.way {
            Way::Outbox(_) => "Mailer::Outbox",
            Way::Smtp(_) => "Mailer::Smtp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_address_and_a_wrong_one_is_not_quoted() {
        let smtp = |server: &str| Mailer::smtp("privacy@example.org", server, None);
        for server in [
            "smtps://user:pass%40word@mail.example.org",
            "smtp://mail.example.org:587",
            "smtp://mail.example.org?tls=required",
            "smtp://localhost:25?tls=none",
        ] {
            smtp(server).unwrap();
        }
        for server in [
            "secret",
            "http://user:secret@mail.example.org",
            "smtp://user:secret@mail.example.org?tls=perhaps",
            "smtps://user:secret@mail.example.org?tls=none",
            "smtp://user:secret@",
        ] {
            let said = format!("{:?}", smtp(server).unwrap_err());
            assert!(!said.contains("secret"), "{said}");
        }
        assert!(Mailer::smtp("nobody", "smtps://mail.example.org", None).is_err());
        assert!(Mailer::smtp("a@example.org", "smtps://mail.example.org", Some(b"x")).is_err());
    }
}
