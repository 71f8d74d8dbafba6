//! One set of settings: flags, `HABEAS_...` environment variables, and a TOML file, in that order of precedence.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, CommandFactory as _};
use habeas_access::oidc::{IssuerSettings, Issuers};
use habeas_core::age;
use habeas_core::requests::deadline::Deadlines;
use habeas_fetch::{Outgoing, Policy};
use habeas_rights::{Mailer, RESTRICTION_NOTICE_DAYS, RequestOptions, UNDO_DAYS};
use habeas_store::{Database, Options, RootKeySource};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::backbones;

macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Args, Clone, Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct $name { $($(#[$attr])* pub $field: Option<$ty>,)* }

        impl $name {
            /// These settings where they are given, otherwise those of `file`.
            fn or(self, file: $name) -> $name {
                $name { $($field: self.$field.or(file.$field),)* }
            }
        }
    };
}

settings! {
    /// The settings of a deployment. In a TOML file they have the names of the flags without `--`.
    Settings {
        /// Data directory: lock, socket, embedded database, and by default everything else
        #[arg(long, env = "HABEAS_DATA", value_name = "DIR")]
        data: PathBuf,
        /// Address to listen on; port 0 takes any free one
        #[arg(long, env = "HABEAS_LISTEN", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// Serve TLS: with a development authority made on first start, or with --tls-certificate and --tls-key
        #[arg(long, env = "HABEAS_TLS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
        tls: bool,
        /// PEM file of the certificate chain
        #[arg(long, env = "HABEAS_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
        tls_certificate: PathBuf,
        /// PEM file of the certificate's private key
        #[arg(long, env = "HABEAS_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
        tls_key: PathBuf,
        /// Address under which clients reach the server, for the image addresses it hands out
        #[arg(long, env = "HABEAS_PUBLIC_ADDRESS", value_name = "URL")]
        public_address: String,
        /// Host under which clients of Azure ML send and fetch files, of the form ACCOUNT.blob.SUFFIX; `habeas.blob.` before the server's
        /// own if not given
        #[arg(long, env = "HABEAS_BLOB_HOST", value_name = "HOST")]
        blob_host: String,
        /// Database: `embedded`, or postgres://user:password@host/database
        #[arg(long, env = "HABEAS_DATABASE", value_name = "URL", hide_env_values = true)]
        database: String,
        /// Object store: a directory, or s3://bucket/prefix?endpoint=...&region=...
        #[arg(long, env = "HABEAS_STORAGE", value_name = "URL")]
        storage: String,
        /// Directory of keyring and ledger
        #[arg(long, env = "HABEAS_KEYRING", value_name = "DIR")]
        keyring: PathBuf,
        /// Directories that get a copy of keyring and ledger, separated by commas
        #[arg(long, env = "HABEAS_KEYRING_MIRRORS", value_name = "DIR,...")]
        keyring_mirrors: String,
        /// File of the root key, readable by its owner only; made on first start
        #[arg(long, env = "HABEAS_ROOT_KEY_FILE", value_name = "FILE")]
        root_key_file: PathBuf,
        /// File that holds the passphrase to use in place of a root key file; or set HABEAS_PASSPHRASE
        #[arg(long, env = "HABEAS_PASSPHRASE_FILE", value_name = "FILE")]
        passphrase_file: PathBuf,
        /// Hours after an item's erasure until its project gets a new key and the old one is destroyed
        #[arg(long, env = "HABEAS_RESEAL_AFTER_HOURS", value_name = "HOURS")]
        reseal_after_hours: u64,
        /// Log format: text or json
        #[arg(long, env = "HABEAS_LOG_FORMAT", value_name = "FORMAT")]
        log_format: String,
        /// What to log: error, warn, info, debug, or a filter like habeas_store=debug
        #[arg(long, env = "HABEAS_LOG", value_name = "FILTER")]
        log: String,
        /// Connections served at a time; more wait
        #[arg(long, env = "HABEAS_MAX_CONNECTIONS", value_name = "COUNT")]
        max_connections: usize,
        /// Seconds a client may take for the head of a request, and a connection may be idle
        #[arg(long, env = "HABEAS_HEADER_TIMEOUT_SECONDS", value_name = "SECONDS")]
        header_timeout_seconds: u64,
        /// Seconds an upload may stand still
        #[arg(long, env = "HABEAS_UPLOAD_TIMEOUT_SECONDS", value_name = "SECONDS")]
        upload_timeout_seconds: u64,
        /// Megabytes of disk that uploads leave free
        #[arg(long, env = "HABEAS_DISK_RESERVE_MB", value_name = "MB")]
        disk_reserve_mb: u64,
        /// Bytes of the largest training image
        #[arg(long, env = "HABEAS_IMAGE_BYTES", value_name = "BYTES")]
        image_bytes: u64,
        /// Projects an account may have; unlimited if not given
        #[arg(long, env = "HABEAS_PROJECTS_PER_ACCOUNT", value_name = "COUNT")]
        projects_per_account: u64,
        /// Images a project may have; unlimited if not given
        #[arg(long, env = "HABEAS_IMAGES_PER_PROJECT", value_name = "COUNT")]
        images_per_project: u64,
        /// Tags a project may have; unlimited if not given
        #[arg(long, env = "HABEAS_TAGS_PER_PROJECT", value_name = "COUNT")]
        tags_per_project: u64,
        /// Allow calls to public addresses that clients name: fetching images and containers by URL, notifying programs
        #[arg(long, env = "HABEAS_FETCH_URLS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
        fetch_urls: bool,
        /// Hosts that may be called, separated by commas, such as example.org,*.example.net; all public ones if not given
        #[arg(long, env = "HABEAS_FETCH_HOSTS", value_name = "HOST,...")]
        fetch_hosts: String,
        /// Hosts of recipients and of controllers' callbacks that may be called although their addresses are not public, separated by commas,
        /// such as annotators.internal,10.0.0.7; also without --fetch-urls
        #[arg(long, env = "HABEAS_RECIPIENT_HOSTS", value_name = "HOST,...")]
        recipient_hosts: String,
        /// Days that predictions are kept with their images, at most 30; 0 to keep none (30 if not given)
        #[arg(long, env = "HABEAS_PREDICTION_DAYS", value_name = "DAYS")]
        prediction_days: u32,
        /// ONNX file of a feature extractor to train classifiers on in place of the built-in one; DOMAIN=FILE for one domain,
        /// by its id; several separated by commas
        #[arg(long, env = "HABEAS_BACKBONE", value_name = "FILE,...")]
        backbone: String,
        /// The key of an image's metadata that names the persons whom it shows, by e-mail address or object id (depicts if not given)
        #[arg(long, env = "HABEAS_DEPICTS_KEY", value_name = "KEY")]
        depicts_key: String,
        /// Iterations a project may have; unlimited if not given
        #[arg(long, env = "HABEAS_ITERATIONS_PER_PROJECT", value_name = "COUNT")]
        iterations_per_project: u64,
        /// Images of each tag that a classifier needs (5 if not given)
        #[arg(long, env = "HABEAS_IMAGES_PER_TAG", value_name = "COUNT")]
        images_per_tag: u64,
        /// Images of each tag that a detector needs (15 if not given)
        #[arg(long, env = "HABEAS_IMAGES_PER_DETECTED_TAG", value_name = "COUNT")]
        images_per_detected_tag: u64,
        /// TOML file of the issuers with which persons may sign in; it holds client secrets: readable by its owner only
        #[arg(long, env = "HABEAS_OIDC_FILE", value_name = "FILE")]
        oidc_file: PathBuf,
        /// Folder below which archives may be written for other systems (Microsoft Graph's exportPersonalData)
        #[arg(long, env = "HABEAS_EXPORT_FOLDER", value_name = "DIR")]
        export_folder: PathBuf,
        /// How hard it is to try the passphrase of a sealed archive, 10 to 20 (17 if not given): 2^17 KiB of memory, time in proportion
        #[arg(long, env = "HABEAS_PASSPHRASE_WORK", value_name = "LOGARITHM")]
        passphrase_work: u8,
        /// PEM file of the certificate chain (P-256) against which OpenDSR's signatures are checked
        #[arg(long, env = "HABEAS_OPENDSR_CERTIFICATE", value_name = "FILE", requires = "opendsr_key")]
        opendsr_certificate: PathBuf,
        /// PEM file of that certificate's private key
        #[arg(long, env = "HABEAS_OPENDSR_KEY", value_name = "FILE", requires = "opendsr_certificate")]
        opendsr_key: PathBuf,
        /// Laws and their times to answer requests, the usual one first (`gdpr = 1 month + 2 months, ccpa = 45 days + 45 days` if not given)
        #[arg(long, env = "HABEAS_REQUEST_REGIMES", value_name = "NAME = ANSWER + EXTENSION,...")]
        request_regimes: String,
        /// Days besides Saturdays and Sundays on which no time to answer ends
        #[arg(long, env = "HABEAS_HOLIDAYS", value_name = "DATE,...")]
        holidays: String,
        /// Days that a person has to call off the erasure they asked for, at most 14 (0 if not given)
        #[arg(long, env = "HABEAS_UNDO_DAYS", value_name = "DAYS")]
        undo_days: u32,
        /// Days before a restriction of somebody's data ends that the staff lift, in which the person is told, at most 30 (1 if not given; with 0 it ends
        /// at once)
        #[arg(long, env = "HABEAS_RESTRICTION_NOTICE_DAYS", value_name = "DAYS")]
        restriction_notice_days: u32,
        /// Mail server for letters to persons: smtps://user:password@host, smtp://host:587 (with STARTTLS), or smtp://localhost:25?tls=none
        #[arg(long, env = "HABEAS_SMTP", value_name = "URL", hide_env_values = true)]
        smtp: String,
        /// PEM file of the authority that signed the mail server's certificate; those of the system if not given
        #[arg(long, env = "HABEAS_SMTP_AUTHORITY", value_name = "FILE")]
        smtp_authority: PathBuf,
        /// Address from which letters come; needed with --smtp
        #[arg(long, env = "HABEAS_MAIL_FROM", value_name = "ADDRESS")]
        mail_from: String,
        /// Folder for letters to persons, as .eml files, if no mail server is given; `outbox` in the data directory if not given
        #[arg(long, env = "HABEAS_OUTBOX", value_name = "DIR")]
        outbox: PathBuf,
    }
}

/// The hosts of a list.
fn hosts(list: Option<&str>) -> Vec<String> {
    let hosts = list.unwrap_or_default().split(',').map(str::trim);
    hosts.filter(|host| !host.is_empty()).map(str::to_owned).collect()
}

/// Variables that begin with `HABEAS_` and are not settings of the server.
const OTHER_VARIABLES: &[&str] = &[
    "HABEAS_CONFIG",
    "HABEAS_PASSPHRASE",
    "HABEAS_TOKEN",
    "HABEAS_URL",
    "HABEAS_PASSWORD",
    "HABEAS_FAULT",
    "HABEAS_SWITCHED_OFF",
    "HABEAS_NEW_PASSPHRASE",
    "HABEAS_SOURCE_KEY",
];

impl Settings {
    /// Completes flags and environment with the TOML file, if one is named. Unknown keys and variables are refused.
    pub fn with_file(self, file: Option<&Path>) -> anyhow::Result<Settings> {
        refuse_unknown_variables()?;
        let Some(path) = file else { return Ok(self) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let table: toml::Table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
        let known: Vec<String> = names().map(|name| name.replace('_', "-")).collect();
        for key in table.keys() {
            if !known.contains(key) {
                bail!("{}: there is no setting `{key}`{}", path.display(), suggestion(key, &known));
            }
        }
        let file = Settings::deserialize(table)
            .with_context(|| format!("{} has a value of the wrong type", path.display()))?;
        Ok(self.or(file))
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from("habeas-data"))
    }

    /// The address to listen on.
    pub fn listen(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)))
    }

    /// Whether the server speaks TLS on its address.
    pub fn tls(&self) -> bool {
        self.tls.unwrap_or(false) || self.tls_certificate.is_some()
    }

    /// The host for files, if one is configured.
    pub fn blob_host(&self) -> anyhow::Result<Option<String>> {
        if let Some(host) = &self.blob_host {
            habeas_wire::blob_host::check(host)?;
        }
        Ok(self.blob_host.clone())
    }

    /// What the store is opened with.
    pub fn store_options(&self) -> anyhow::Result<Options> {
        let mut options = Options::embedded(self.data());
        options.database = match self.database.as_deref() {
            None | Some("embedded") => Database::Embedded,
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Database::Postgres(url.to_owned())
            }
            Some(_) => bail!("database is `embedded` or begins with postgres://"),
        };
        options.storage.clone_from(&self.storage);
        options.keyring.clone_from(&self.keyring);
        options.mirrors = self
            .keyring_mirrors
            .as_deref()
            .map(|list| list.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect())
            .unwrap_or_default();
        options.root_key = self.root_key()?;
        if let Some(hours) = self.reseal_after_hours {
            options.reseal_after = Duration::from_secs(hours * 3_600);
        }
        Ok(options)
    }

    /// How models are trained and asked.
    pub fn model_options(&self) -> anyhow::Result<habeas_models::Options> {
        let mut options = habeas_models::Options {
            backbones: backbones::read(self.backbone.as_deref().unwrap_or_default())?,
            ..habeas_models::Options::default()
        };
        options.training.iterations = self.iterations_per_project;
        if let Some(key) = &self.depicts_key {
            options.depicts_key.clone_from(key);
        }
        if let Some(count) = self.images_per_tag {
            options.training.images_per_tag = count;
        }
        if let Some(count) = self.images_per_detected_tag {
            options.training.images_per_detected_tag = count;
        }
        options.outgoing = self.outgoing();
        Ok(options)
    }

    /// Which calls to addresses that clients name are allowed.
    fn outgoing(&self) -> Policy {
        Policy {
            enabled: self.fetch_urls.unwrap_or(false),
            hosts: hosts(self.fetch_hosts.as_deref()),
            ..Policy::default()
        }
    }

    /// The issuers with which persons may sign in: the tables `[[issuer]]` of the file that names them.
    pub fn issuers(&self) -> anyhow::Result<Issuers> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            issuer: Vec<IssuerSettings>,
        }
        let Some(path) = &self.oidc_file else { return Ok(Issuers::default()) };
        let text = Zeroizing::new(
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        );
        // The parser's own words would quote the line, and with it a secret.
        let file: File = toml::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{}: {}", path.display(), error.message()))?;
        Ok(Issuers::new(file.issuer)?)
    }

    /// How data-subject requests are answered.
    pub fn request_options(&self) -> anyhow::Result<RequestOptions> {
        let undo_days = self.undo_days.unwrap_or(0);
        ensure!(undo_days <= UNDO_DAYS, "undo-days is at most {UNDO_DAYS}");
        let restriction_notice_days = self.restriction_notice_days.unwrap_or(1);
        ensure!(
            restriction_notice_days <= RESTRICTION_NOTICE_DAYS,
            "restriction-notice-days is at most {RESTRICTION_NOTICE_DAYS}"
        );
        let passphrase_work = self.passphrase_work.unwrap_or(age::USUAL_WORK);
        ensure!(
            age::WORK.contains(&passphrase_work),
            "passphrase-work is from {} to {}",
            age::WORK.start(),
            age::WORK.end()
        );
        let deadlines = Deadlines::parse(self.request_regimes.as_deref(), self.holidays.as_deref())
            .map_err(|error| anyhow::anyhow!("request-regimes or holidays: {error}"))?;
        let scheme = if self.tls() { "https" } else { "http" };
        let address = self.public_address.clone().unwrap_or_else(|| format!("{scheme}://{}", self.listen()));
        Ok(RequestOptions {
            deadlines,
            undo_days,
            restriction_notice_days,
            mailer: Some(self.mailer()?),
            address: address.trim_end_matches('/').to_owned(),
            export_folder: self.export_folder.clone(),
            passphrase_work,
            outgoing: Outgoing::new(Policy {
                trusted: hosts(self.recipient_hosts.as_deref()),
                ..self.outgoing()
            })?,
        })
    }

    /// How persons are written to.
    fn mailer(&self) -> anyhow::Result<Mailer> {
        let Some(server) = &self.smtp else {
            let folder = self.outbox.clone().unwrap_or_else(|| self.data().join("outbox"));
            let from = self.mail_from.as_deref().unwrap_or("habeas@localhost");
            return Ok(Mailer::outbox(from, folder)?);
        };
        let from =
            self.mail_from.as_deref().context("smtp needs mail-from, the address from which letters come")?;
        let authority = self
            .smtp_authority
            .as_ref()
            .map(|path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display())))
            .transpose()?;
        Ok(Mailer::smtp(from, server, authority.as_deref())?)
    }

    fn root_key(&self) -> anyhow::Result<Option<RootKeySource>> {
        if let Some(path) = &self.passphrase_file {
            let text = Zeroizing::new(
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
            );
            return Ok(Some(RootKeySource::Passphrase(Zeroizing::new(
                text.trim_end_matches(['\r', '\n']).to_owned(),
            ))));
        }
        if let Ok(passphrase) = std::env::var("HABEAS_PASSPHRASE") {
            return Ok(Some(RootKeySource::Passphrase(Zeroizing::new(passphrase))));
        }
        Ok(self.root_key_file.clone().map(RootKeySource::File))
    }
}

#[derive(clap::Parser)]
struct Named {
    #[command(flatten)]
    settings: Settings,
}

fn names() -> impl Iterator<Item = String> {
    Named::command()
        .get_arguments()
        .map(|argument| argument.get_id().to_string())
        .collect::<Vec<_>>()
        .into_iter()
}

fn refuse_unknown_variables() -> anyhow::Result<()> {
    let known: Vec<String> = names()
        .map(|name| format!("HABEAS_{}", name.to_uppercase()))
        .chain(["HABEAS_LOG".to_owned()])
        .chain(OTHER_VARIABLES.iter().map(|&name| name.to_owned()))
        .collect();
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("HABEAS_")
            && !name.starts_with("HABEAS_TEST_")
            && !known.iter().any(|other| other == name)
        {
            bail!("there is no setting `{name}`{}", suggestion(name, &known));
        }
    }
    Ok(())
}

fn suggestion(wrong: &str, known: &[String]) -> String {
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .min()
        .filter(|(distance, _)| *distance <= wrong.len() / 3)
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_completes_flags_and_unknown_keys_are_refused_with_a_suggestion() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("habeas.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:9\"\ndata = \"elsewhere\"\n").unwrap();
        let flags = Settings { data: Some(PathBuf::from("here")), ..Settings::default() };
        let settings = flags.clone().with_file(Some(&path)).unwrap();
        assert_eq!(settings.data(), PathBuf::from("here"));
        assert_eq!(settings.listen().port(), 9);
        std::fs::write(&path, "lisen = \"127.0.0.1:9\"\n").unwrap();
        let error = flags.with_file(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("`lisen`; did you mean `listen`?"), "{error}");
    }
}
