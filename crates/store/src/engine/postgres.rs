//! The second engine: PostgreSQL, when one machine is not enough.

use std::collections::HashMap;

use habeas_core::{Error, Result};
use postgres::error::SqlState;
use postgres::types::{IsNull, ToSql, Type, private::BytesMut};
use postgres::{Client, Config, IsolationLevel, NoTls, Statement, Transaction};

use super::pool::guarded;
use super::{Arg, Connection, Engine, FOREIGN_KEY_VIOLATION, Job, Lock, RETRY, Row, UNIQUE_VIOLATION, Value};

/// How often a transaction that lost a race is run again.
const ATTEMPTS: usize = 50;

struct Postgres {
    config: Config,
    writes: bool,
    live: Option<Live>,
    /// Held on one connection for as long as the store is open, so that a second process is refused.
    holds_lock: bool,
}

struct Live {
    client: Client,
    statements: HashMap<(usize, Lock), Statement>,
}

/// The advisory lock that says: a habeas server works on this database.
const ADVISORY_LOCK: i64 = 0x6861_6265_6173;

/// How long the lock is waited for: PostgreSQL takes a moment to notice that a process that was killed is gone.
const LOCK_TIMEOUT: &str = "5s";

/// Connects to the database named by `url` (`postgres://user@host/database?sslmode=require`). With `lock`, refuses when another process
/// has the database.
pub(crate) fn connect(url: &str, writes: bool, lock: bool) -> Result<Box<dyn Connection>> {
    let config: Config = url
        .parse()
        // The parser's text can quote the address, which may hold a password.
        .map_err(|_| {
            Error::invalid("the address of the PostgreSQL database cannot be read")
                .hint("write it like postgres://user:password@host:5432/database")
        })?;
    let mut connection = Postgres { config, writes, live: None, holds_lock: lock };
    connection.live()?;
    Ok(Box::new(connection))
}

impl Postgres {
    fn live(&mut self) -> Result<&mut Live> {
        let live = match self.live.take().filter(|live| !live.client.is_closed()) {
            Some(live) => live,
            None => self.dial()?,
        };
        Ok(self.live.insert(live))
    }

    fn dial(&self) -> Result<Live> {
        let mut client = match self.config.get_ssl_mode() {
            postgres::config::SslMode::Disable => self.config.connect(NoTls),
            _ if self
                .config
                .get_hosts()
                .iter()
                .all(|host| matches!(host, postgres::config::Host::Unix(_))) =>
            {
                self.config.connect(NoTls)
            }
            _ => self.config.connect(tls()?),
        }
        .map_err(translate)?;
        let setting = |client: &mut Client, name: &str| -> Result<String> {
            let row = client.query_one(&format!("SHOW {name}"), &[]).map_err(translate)?;
            row.try_get(0).map_err(translate)
        };
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            if setting(&mut client, name)? == "off" {
                return Err(Error::invalid(format!(
                    "PostgreSQL runs with {name} = off: it would lose what it acknowledged"
                ))
                .hint(format!("set {name} = on in postgresql.conf")));
            }
        }
        if self.holds_lock {
            client.batch_execute(&format!("SET lock_timeout = '{LOCK_TIMEOUT}'")).map_err(translate)?;
            client.execute("SELECT pg_advisory_lock($1)", &[&ADVISORY_LOCK]).map_err(|error| {
                if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
                    Error::conflict("another habeas process works on this PostgreSQL database")
                        .hint("stop it first: one server process per deployment")
                } else {
                    translate(error)
                }
            })?;
            client.batch_execute("RESET lock_timeout").map_err(translate)?;
        }
        Ok(Live { client, statements: HashMap::new() })
    }
}

/// Verifies the server's certificate against the authorities in the file that `PGSSLROOTCERT` names.
fn tls() -> Result<tokio_postgres_rustls::MakeRustlsConnect> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let mut roots = rustls::RootCertStore::empty();
    if let Ok(path) = std::env::var("PGSSLROOTCERT") {
        let certificates =
            CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(
                |_| Error::invalid("the file named by PGSSLROOTCERT cannot be read as PEM certificates"),
            )?;
        roots.add_parsable_certificates(certificates);
    }
    let config = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(|_| Error::internal("no common TLS version"))?
    .with_root_certificates(roots)
    .with_no_client_auth();
    Ok(tokio_postgres_rustls::MakeRustlsConnect::new(config))
}

impl Connection for Postgres {
    fn run(&mut self, jobs: &mut [Job]) -> Vec<Result<()>> {
        jobs.iter_mut().map(|job| self.run_alone(job)).collect()
    }

    fn batch(&mut self, sql: &str) -> Result<()> {
        self.live()?.client.batch_execute(sql).map_err(translate)
    }

    fn vacuum(&mut self) -> Result<()> {
        self.batch("VACUUM FULL")
    }

    fn describe(&mut self) -> Result<String> {
        let row = self.live()?.client.query_one("SHOW server_version", &[]).map_err(translate)?;
        let version: String = row.try_get(0).map_err(translate)?;
        Ok(format!("PostgreSQL {version} (fsync, synchronous_commit)"))
    }

    fn columns(&mut self) -> Result<Vec<(String, String)>> {
        let rows = self
            .live()?
            .client
            .query(
                "SELECT table_name::text, column_name::text FROM information_schema.columns
                 WHERE table_schema = current_schema() ORDER BY 1, 2",
                &[],
            )
            .map_err(translate)?;
        rows.iter()
            .map(|row| Ok((row.try_get(0).map_err(translate)?, row.try_get(1).map_err(translate)?)))
            .collect()
    }
}

impl Postgres {
    fn run_alone(&mut self, job: &mut Job) -> Result<()> {
        for _ in 0..ATTEMPTS {
            match self.attempt(job) {
                Err(error) if error.code == Some(RETRY) => {}
                result => return result,
            }
        }
        Err(Error::busy("too many writers want the same rows").hint("try again"))
    }

    /// Runs a transaction. A connection that the server has closed meanwhile shows it when the transaction is to begin, before anything
    /// was done: then it is run on a new one.
    fn attempt(&mut self, job: &mut Job) -> Result<()> {
        self.attempt_if_begun(job).unwrap_or_else(|_| {
            self.live = None;
            self.attempt_if_begun(job)?
        })
    }

    /// What came of a transaction; the error when it could not be begun.
    fn attempt_if_begun(&mut self, job: &mut Job) -> Result<Result<()>> {
        let writes = self.writes;
        let live = self.live()?;
        let transaction = live
            .client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(!writes)
            .start()
            .map_err(translate)?;
        let mut engine = InTransaction { writes, transaction, statements: &mut live.statements };
        let result = guarded(job, &mut engine);
        let transaction = engine.transaction;
        Ok(match result {
            Ok(()) => transaction.commit().map_err(translate),
            Err(error) => {
                // The error that ended the job matters more than one of the rollback.
                let _ = transaction.rollback();
                Err(error)
            }
        })
    }
}

struct InTransaction<'a> {
    writes: bool,
    transaction: Transaction<'a>,
    statements: &'a mut HashMap<(usize, Lock), Statement>,
}

impl InTransaction<'_> {
    fn statement(&mut self, sql: &'static str, lock: Lock) -> Result<Statement> {
        let key = (sql.as_ptr() as usize, lock);
        if let Some(statement) = self.statements.get(&key) {
            return Ok(statement.clone());
        }
        let mut text = sql.replace('?', "$");
        text.push_str(match lock {
            Lock::None => "",
            Lock::Share => " FOR SHARE",
            Lock::Update => " FOR UPDATE",
            Lock::Presence => " FOR KEY SHARE OF r FOR SHARE OF c, h",
            Lock::Change => " FOR NO KEY UPDATE OF r FOR SHARE OF c, h",
        });
        let statement = self.transaction.prepare(&text).map_err(translate)?;
        self.statements.insert(key, statement.clone());
        Ok(statement)
    }
}

impl ToSql for Arg<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match *self {
            Arg::Null => Ok(IsNull::Yes),
            Arg::Int(number) if *ty == Type::INT2 => i16::try_from(number)?.to_sql(ty, out),
            Arg::Int(number) if *ty == Type::INT4 => i32::try_from(number)?.to_sql(ty, out),
            Arg::Int(number) if *ty == Type::FLOAT8 => (number as f64).to_sql(ty, out),
            Arg::Int(number) => number.to_sql(&Type::INT8, out),
            Arg::Real(number) => number.to_sql(ty, out),
            Arg::Bytes(bytes) => bytes.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres::types::to_sql_checked!();
}

impl Engine for InTransaction<'_> {
    fn each(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
        lock: Lock,
        take: &mut dyn FnMut(Row) -> Result<()>,
    ) -> Result<()> {
        // A transaction that only reads may not lock, and has no need to: it sees one moment.
        let statement = self.statement(sql, if self.writes { lock } else { Lock::None })?;
        let args: Vec<&(dyn ToSql + Sync)> = args.iter().map(|arg| arg as &(dyn ToSql + Sync)).collect();
        let rows = self.transaction.query(&statement, &args).map_err(translate)?;
        rows.iter().try_for_each(|row| take(read_row(row)?))
    }

    fn execute(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64> {
        let statement = self.statement(sql, Lock::None)?;
        let args: Vec<&(dyn ToSql + Sync)> = args.iter().map(|arg| arg as &(dyn ToSql + Sync)).collect();
        self.transaction.execute(&statement, &args).map_err(translate)
    }
}

fn read_row(row: &postgres::Row) -> Result<Row> {
    let mut values = Vec::with_capacity(row.len());
    for (number, column) in row.columns().iter().enumerate() {
        let ty = column.type_();
        values.push(
            if *ty == Type::INT8 {
                row.try_get::<_, Option<i64>>(number).map_err(translate)?.map(Value::Int)
            } else if *ty == Type::INT4 {
                row.try_get::<_, Option<i32>>(number)
                    .map_err(translate)?
                    .map(|number| Value::Int(number.into()))
            } else if *ty == Type::INT2 {
                row.try_get::<_, Option<i16>>(number)
                    .map_err(translate)?
                    .map(|number| Value::Int(number.into()))
            } else if *ty == Type::FLOAT8 {
                row.try_get::<_, Option<f64>>(number).map_err(translate)?.map(Value::Real)
            } else if *ty == Type::BYTEA {
                row.try_get::<_, Option<&[u8]>>(number).map_err(translate)?.map(Value::of_bytes)
            } else {
                row.try_get::<_, Option<String>>(number).map_err(translate)?.map(Value::Text)
            }
            .unwrap_or(Value::Null),
        );
    }
    Ok(Row(values))
}

/// Never passes the server's own text on where it could quote a value.
fn translate(error: postgres::Error) -> Error {
    let Some(state) = error.code() else {
        return if error.is_closed() {
            Error::unavailable("the connection to PostgreSQL was lost")
                .hint("it is made again with the next request")
        } else if error.to_string().contains("connecting to server") {
            Error::unavailable("PostgreSQL cannot be reached")
                .hint("check that it runs and that the address is right")
        } else if error.to_string().contains("TLS handshake") {
            Error::unavailable("PostgreSQL's TLS certificate is not one that is trusted").hint(
                "name the PEM file of its authority in PGSSLROOTCERT, and the host as its certificate does",
            )
        } else if error.to_string().contains("communicating with the server") {
            Error::unavailable("the connection to PostgreSQL was lost")
                .hint("it is made again with the next request")
        } else {
            Error::internal(format!("PostgreSQL refused a statement: {error}"))
        };
    };
    match state {
        state if *state == SqlState::UNIQUE_VIOLATION => {
            Error::conflict("it is there already").code(UNIQUE_VIOLATION)
        }
        state if *state == SqlState::FOREIGN_KEY_VIOLATION => {
            Error::conflict("something it refers to is not there").code(FOREIGN_KEY_VIOLATION)
        }
        state
            if *state == SqlState::T_R_SERIALIZATION_FAILURE || *state == SqlState::T_R_DEADLOCK_DETECTED =>
        {
            Error::busy("another transaction was faster").code(RETRY)
        }
        state if *state == SqlState::DISK_FULL => {
            Error::unavailable("the disk that holds PostgreSQL's data is full")
        }
        state
            if *state == SqlState::ADMIN_SHUTDOWN
                || *state == SqlState::CRASH_SHUTDOWN
                || *state == SqlState::CANNOT_CONNECT_NOW =>
        {
            Error::unavailable("PostgreSQL is shutting down or starting up")
        }
        state
            if *state == SqlState::INVALID_PASSWORD
                || *state == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
        {
            Error::unavailable("PostgreSQL refused the connection: the user, the password or its encryption").hint(
                "see pg_hba.conf; a server that takes connections over TLS only wants `?sslmode=require` in the address",
            )
        }
        state if *state == SqlState::INVALID_CATALOG_NAME => {
            Error::unavailable("that PostgreSQL database does not exist")
                .hint("create it first: CREATE DATABASE habeas")
        }
        state if *state == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => {
            Error::unavailable("PostgreSQL does not accept connections to that database at the moment")
        }
        // Connections, resources, an operator's intervention, the system: nothing that the statement has done.
        state if ["08", "53", "57", "58"].iter().any(|class| state.code().starts_with(class)) => {
            Error::unavailable(format!("PostgreSQL cannot work at the moment (SQLSTATE {})", state.code()))
                .hint("look into its log")
        }
        state => Error::internal(format!("PostgreSQL failed with SQLSTATE {}", state.code())),
    }
}
