//! Creating tags durably, by 32 clients: over HTTP, through `store.write`, and as bare rows in a group-commit loop.
//!
//! All three commit the same rows to a database of the same schema with the same settings. The bare loop is one thread
//! that takes what waits, inserts it with prepared statements between one `BEGIN` and one `COMMIT`, and answers: no
//! sealing, no lookups, no authorisation.

use std::path::Path;
use std::sync::mpsc;

use anyhow::Context as _;
use habeas_core::kinds::{Tag, TagDoc, TagType};
use habeas_core::{Ambient, Id};
use habeas_store::{New, Options, Store};
use rusqlite::Connection as Sqlite;
use tokio::sync::oneshot;

use crate::report::{Report, middle};
use crate::server::Server;
use crate::{ROUNDS, load};

const CLIENTS: usize = 32;
const TAGS: u64 = 20_000;

struct Turn {
    http: f64,
    store: f64,
    bare: f64,
}

pub(crate) async fn measure(program: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut turns = Vec::new();
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let (http, project) = over_http(program, &data).await?;
        let store = through_the_store(&data, project).await?;
        let bare = bare_rows(&data, &folder.path().join("bare.db")).await?;
        turns.push(Turn { http, store, bare });
    }
    let turn = middle(turns, |turn| turn.http / turn.store)?;
    let Turn { http, store, bare } = turn;
    report.ratio(
        "tags created by 32 clients over HTTP, against `store.write`",
        &format!("{http:.0} against {store:.0} a second"),
        http / store,
        50.0,
    );
    report.ratio(
        "`store.write` against a bare SQLite group-commit loop",
        &format!("{store:.0} against {bare:.0} a second"),
        store / bare,
        60.0,
    );
    Ok(())
}

async fn over_http(program: &Path, data: &Path) -> anyhow::Result<(f64, Id)> {
    let server = Server::start(program, data)?;
    let someone = server.someone("tags").await?;
    let (key, project) = (someone.key.clone(), someone.project.clone());
    let rate = load::run(
        CLIENTS,
        TAGS,
        async || server.connect().await,
        move |mut connection, number| {
            let (key, path) = (key.clone(), format!("/projects/{project}/tags?name=http-{number}"));
            async move {
                connection.train(&key, &path, "application/json", bytes::Bytes::new()).await?;
                Ok(connection)
            }
        },
    )
    .await?;
    server.stop()?;
    Ok((rate, someone.project.parse().ok().context("the project's id is none")?))
}

async fn through_the_store(data: &Path, project: Id) -> anyhow::Result<f64> {
    let store = Store::open(Options::embedded(data), Ambient::system()).await?;
    load::run(
        CLIENTS,
        TAGS,
        async || Ok(store.clone()),
        move |store, number| async move {
            let id = store.ambient().new_id();
            store
                .write(move |tx| {
                    let doc = TagDoc {
                        name: format!("store-{number}"),
                        description: String::new(),
                        tag_type: TagType::Regular,
                    };
                    tx.create::<Tag>(New::under(project, id, doc)).map(|_| ())
                })
                .await?;
            Ok(store)
        },
    )
    .await
}

/// A row as it lies in the database.
type Values = Vec<rusqlite::types::Value>;

async fn bare_rows(data: &Path, file: &Path) -> anyhow::Result<f64> {
    let source = Sqlite::open(data.join("habeas.db"))?;
    let mut target = Sqlite::open(file)?;
    target.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-8192;",
    )?;
    copy_what_was_there(&source, &target)?;
    let rows = rows_of_the_load(&source)?;
    let (queue, waiting) = mpsc::channel::<(Values, oneshot::Sender<()>)>();
    let writer = std::thread::spawn(move || -> anyhow::Result<()> {
        while let Ok(first) = waiting.recv() {
            let mut replies = Vec::new();
            let transaction = target.transaction()?;
            {
                let mut insert = transaction.prepare_cached(INSERT)?;
                let mut next = Some(first);
                while let Some((values, reply)) = next {
                    insert.execute(rusqlite::params_from_iter(values))?;
                    replies.push(reply);
                    next = waiting.try_recv().ok();
                }
            }
            transaction.commit()?;
            for reply in replies {
                let _ = reply.send(());
            }
        }
        Ok(())
    });
    let rows = std::sync::Arc::new(rows);
    let rate = load::run(
        CLIENTS,
        rows.len() as u64,
        async || Ok(queue.clone()),
        move |queue, number| {
            let values = rows[number as usize].clone();
            async move {
                let (reply, answer) = oneshot::channel();
                queue.send((values, reply)).ok().context("the writer ended")?;
                answer.await.context("the writer ended")?;
                Ok(queue)
            }
        },
    )
    .await?;
    drop(queue);
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    Ok(rate)
}

/// The schema with all its indices, and the rows that were there before `store.write` made its own.
fn copy_what_was_there(source: &Sqlite, target: &Sqlite) -> anyhow::Result<()> {
    let mut statements =
        source.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")?;
    let texts = statements.query_map([], |row| row.get::<_, String>(0))?;
    for text in texts {
        target.execute_batch(&text?)?;
    }
    let made = i64::try_from(TAGS)?;
    for (query, insert) in [
        ("SELECT * FROM holder WHERE ?1 > 0", "INSERT INTO holder VALUES (?1, ?2, ?3, ?4)"),
        (
            "SELECT * FROM resource WHERE rowid <= (SELECT MAX(rowid) FROM resource) - ?1 ORDER BY rowid",
            INSERT,
        ),
    ] {
        for values in rows(source, query, made)? {
            target.execute(insert, rusqlite::params_from_iter(values))?;
        }
    }
    Ok(())
}

const INSERT: &str = "INSERT INTO resource VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// The rows that `store.write` made: the last ones.
fn rows_of_the_load(source: &Sqlite) -> anyhow::Result<Vec<Values>> {
    let query = "SELECT * FROM resource WHERE rowid > (SELECT MAX(rowid) FROM resource) - ?1 ORDER BY rowid";
    rows(source, query, i64::try_from(TAGS)?)
}

fn rows(source: &Sqlite, query: &str, number: i64) -> anyhow::Result<Vec<Values>> {
    let mut statement = source.prepare(query)?;
    let columns = statement.column_count();
    let found = statement.query_map([number], |row| {
        (0..columns).map(|column| row.get(column)).collect::<Result<Values, _>>()
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}
