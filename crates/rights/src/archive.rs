//! Writing an archive: a ZIP that is streamed, hashed and described while it is written.
//!
//! The layout is an RO-Crate 1.2 (<https://w3id.org/ro/crate/1.2>): data files under fixed folders, `ro-crate-metadata.json`,
//! `ro-crate-preview.html`, a Frictionless `datapackage.json` for the CSV tables, `completeness.json` that names every kind,
//! `article-15.json`, and a `manifest-sha256.txt` in the form that `sha256sum -c` reads.
//!
//! Memory: at most [`GATHERED`] bytes of CSV tables are gathered, of at most [`AHEAD`] blobs the first MiB is read ahead, everything else
//! passes through. What grows is the list of the files, for the manifest and for the ZIP's own (a few hundred bytes a file).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Write};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use habeas_core::crypto::Sha256;
use habeas_core::kinds::Image;
use habeas_core::metric::MetricPoint;
use habeas_core::node::Relation;
use habeas_core::{BlobRef, Bundle, Error, Id, Kind, Result, Timestamp, registry};
use habeas_store::Store;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

/// Points of a metric read at a time.
const POINTS: u32 = 10_000;
/// Titles remembered while an archive is written.
const TITLES: usize = 10_000;

/// Bytes of rows that are gathered before their tables are written. What comes after that is another part of the same table.
const GATHERED: usize = 4 << 20;

/// Blobs that are read while the ones before them are written: what opening one costs is waiting, on the disk or on a remote store.
const AHEAD: usize = 8;

/// The media types of tables.
pub(crate) const CSV: &str = "text/csv";
pub(crate) const JSON_LINES: &str = "application/jsonl";

/// How large an archive became.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSize {
    /// Resources in it.
    pub resources: u64,
    /// Files in it.
    pub files: u64,
}

/// A file that was written.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) media_type: String,
    pub(crate) kind: Option<Kind>,
}

struct Table {
    kind: Option<Kind>,
    columns: Vec<String>,
    /// The rows that are not written yet.
    csv: csv::Writer<Vec<u8>>,
    /// The files that have the rows before them; the head is in the first one.
    parts: Vec<String>,
}

/// A blob's first piece, and the rest.
type Started = (Option<Result<Bytes>>, BoxStream<'static, Result<Bytes>>);

/// A blob that is being read ahead.
struct Coming {
    path: String,
    size: u64,
    media_type: String,
    kind: Option<Kind>,
    content: JoinHandle<Started>,
}

/// An archive in the making. Runs on a thread that may block.
pub(crate) struct Archive<W: Write> {
    zip: ZipWriter<StreamWriter<W>>,
    pub(crate) store: Store,
    pub(crate) runtime: Handle,
    lookup: Lookup,
    tables: BTreeMap<String, Table>,
    /// About how many bytes of rows the tables have gathered.
    gathered: usize,
    /// What `datapackage.json` says of the tables that were written.
    resources: Vec<Value>,
    pub(crate) entries: Vec<Entry>,
    coming: VecDeque<Coming>,
    /// The kind whose files are being written.
    pub(crate) kind: Option<Kind>,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W, store: Store, runtime: Handle) -> Archive<W> {
        Archive {
            zip: ZipWriter::new_stream(out),
            lookup: Lookup::new(store.clone(), runtime.clone()),
            store,
            runtime,
            tables: BTreeMap::new(),
            gathered: 0,
            resources: Vec::new(),
            entries: Vec::new(),
            coming: VecDeque::new(),
            kind: None,
        }
    }

    /// Writes a whole file.
    pub(crate) fn file(&mut self, path: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        self.begin(path, CompressionMethod::Deflated, bytes.len() as u64)?;
        self.zip.write_all(bytes).map_err(stopped)?;
        self.entries.push(Entry {
            path: path.to_owned(),
            size: bytes.len() as u64,
            sha256: habeas_core::crypto::sha256(bytes),
            media_type: media_type.to_owned(),
            kind: self.kind,
        });
        Ok(())
    }

    /// Writes a file piece by piece.
    pub(crate) fn file_in_pieces(
        &mut self,
        path: &str,
        media_type: &str,
        write: impl FnOnce(&mut dyn Write, &mut Vec<Entry>) -> io::Result<()>,
    ) -> Result<()> {
        self.begin(path, CompressionMethod::Deflated, 0)?;
        let mut hashing = Hashing { out: &mut self.zip, digest: Sha256::default(), size: 0 };
        write(&mut hashing, &mut self.entries).map_err(stopped)?;
        let (sha256, size) = (hashing.digest.finish(), hashing.size);
        self.entries.push(Entry {
            path: path.to_owned(),
            size,
            sha256,
            media_type: media_type.to_owned(),
            kind: self.kind,
        });
        Ok(())
    }

    fn begin(&mut self, path: &str, method: CompressionMethod, size: u64) -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .unix_permissions(0o600)
            .large_file(size >= u64::from(u32::MAX));
        self.zip
            .start_file(path, options)
            .map_err(|error| Error::unavailable(format!("the archive cannot be written: {error}")))
    }

    /// Writes blobs that were read ahead, in their order, until at most `left` of them are waiting.
    pub(crate) fn write_blobs(&mut self, left: usize) -> Result<()> {
        while self.coming.len() > left {
            let Some(blob) = self.coming.pop_front() else { break };
            let read = self.runtime.block_on(blob.content);
            let (mut next, mut rest) = read.map_err(|_| Error::internal("reading a blob panicked"))?;
            self.begin(&blob.path, CompressionMethod::Stored, blob.size)?;
            let mut digest = Sha256::default();
            while let Some(piece) = next {
                let piece = piece?;
                digest.update(&piece);
                self.zip.write_all(&piece).map_err(stopped)?;
                next = self.runtime.block_on(rest.next());
            }
            self.entries.push(Entry {
                path: blob.path,
                size: blob.size,
                sha256: digest.finish(),
                media_type: blob.media_type,
                kind: blob.kind,
            });
        }
        Ok(())
    }

    /// Notes a table for `datapackage.json`, with its parts if it has more than one. Values in CSV are texts; those in JSON Lines are what they are.
    pub(crate) fn describe_table(&mut self, path: &str, columns: &[String], parts: &[String]) {
        let (format, media_type, field) = match path.rsplit_once('.') {
            Some((_, "jsonl")) => ("jsonl", JSON_LINES, "any"),
            _ => ("csv", CSV, "string"),
        };
        let fields: Vec<Value> =
            columns.iter().map(|name| serde_json::json!({ "name": name, "type": field })).collect();
        self.resources.push(serde_json::json!({
            "name": path.trim_end_matches(".csv").replace(|character: char| !character.is_ascii_alphanumeric(), "-").to_lowercase(),
            "path": if let [_, _, ..] = parts { serde_json::json!(parts) } else { path.into() },
            "profile": "tabular-data-resource",
            "format": format,
            "mediatype": media_type,
            "encoding": "utf-8",
            "schema": { "fields": fields },
        }));
    }

    /// Writes the rows that were gathered, each table's as its next part: Frictionless joins the files of a table as they are, so that only
    /// the first one has the head.
    fn write_tables(&mut self) -> Result<()> {
        let (mut tables, kind) = (std::mem::take(&mut self.tables), self.kind);
        for (path, table) in &mut tables {
            let rows = std::mem::replace(&mut table.csv, csv::Writer::from_writer(Vec::new()));
            let bytes = rows.into_inner().map_err(|_| Error::internal("a table could not be finished"))?;
            if bytes.is_empty() {
                continue;
            }
            let part = match (table.parts.len(), path.strip_suffix(".csv")) {
                (written @ 1.., Some(stem)) => format!("{stem}.part-{}.csv", written + 1),
                _ => path.clone(),
            };
            self.kind = table.kind;
            self.file(&part, CSV, &bytes)?;
            table.parts.push(part);
        }
        (self.tables, self.kind, self.gathered) = (tables, kind, 0);
        Ok(())
    }

    /// Writes what is still being read ahead, the CSV tables that were gathered, and `datapackage.json` about all tables (Frictionless Data
    /// Package 1.0).
    pub(crate) fn finish_tables(&mut self) -> Result<()> {
        self.write_blobs(0)?;
        self.write_tables()?;
        for (path, table) in std::mem::take(&mut self.tables) {
            self.describe_table(&path, &table.columns, &table.parts);
        }
        let resources = std::mem::take(&mut self.resources);
        let package = serde_json::json!({ "profile": "tabular-data-package", "name": "habeas-export", "resources": resources });
        self.json("datapackage.json", &package)
    }

    /// Ends the ZIP and gives back what it was written to.
    pub(crate) fn finish(self) -> Result<W> {
        self.zip
            .finish()
            .map(StreamWriter::into_inner)
            .map_err(|error| Error::unavailable(format!("the archive cannot be finished: {error}")))
    }
}

impl<W: Write> Bundle for Archive<W> {
    fn json(&mut self, path: &str, value: &Value) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(value)?;
        bytes.push(b'\n');
        self.file(path, "application/json", &bytes)
    }

    fn row(&mut self, path: &str, columns: &[&str], values: &[String]) -> Result<()> {
        let kind = self.kind;
        let table = match self.tables.entry(path.to_owned()) {
            std::collections::btree_map::Entry::Occupied(table) => table.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let mut csv = csv::Writer::from_writer(Vec::new());
                csv.write_record(columns)
                    .map_err(|_| Error::internal("a table's head could not be written"))?;
                let columns = columns.iter().map(|&column| column.to_owned()).collect();
                place.insert(Table { kind, columns, csv, parts: Vec::new() })
            }
        };
        table.csv.write_record(values).map_err(|_| Error::internal("a row does not fit its table"))?;
        self.gathered += values.iter().map(|value| value.len() + 1).sum::<usize>();
        if self.gathered < GATHERED { Ok(()) } else { self.write_tables() }
    }

    fn blob(&mut self, path: &str, blob: &BlobRef) -> Result<()> {
        let mut pieces = self.store.blobs().stream(blob, 0..blob.size);
        self.coming.push_back(Coming {
            path: path.to_owned(),
            size: blob.size,
            media_type: blob.media_type.clone(),
            kind: self.kind,
            content: self.runtime.spawn(async move { (pieces.next().await, pieces) }),
        });
        self.write_blobs(AHEAD)
    }

    fn metrics(&mut self, path: &str, run: Id) -> Result<()> {
        let lookup = &self.lookup;
        if lookup.metric_names(run)?.is_empty() {
            return Ok(());
        }
        let (store, runtime) = (self.store.clone(), self.runtime.clone());
        self.file_in_pieces(path, CSV, move |out, _| {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(METRIC_COLUMNS)?;
            Lookup::new(store, runtime)
                .points(run, &mut |name, point| {
                    csv.serialize((name, point.time, point.step, point.value))
                        .map_err(|_| stopped(io::ErrorKind::BrokenPipe.into()))
                })
                .map_err(io::Error::other)?;
            csv.flush()
        })
    }

    fn targets(&mut self, source: Id, relation: Relation) -> Result<Vec<(Id, Timestamp)>> {
        self.lookup.targets(source, relation)
    }

    fn title(&mut self, id: Id) -> Result<Option<String>> {
        self.lookup.title(id)
    }
}

/// The columns of a table of metrics.
pub(crate) const METRIC_COLUMNS: [&str; 4] = ["metric", "timestamp", "step", "value"];

/// What a kind may look up while it writes its part. Runs on a thread that may block.
pub(crate) struct Lookup {
    store: Store,
    runtime: Handle,
    titles: HashMap<Id, Option<String>>,
}

impl Lookup {
    pub(crate) fn new(store: Store, runtime: Handle) -> Lookup {
        Lookup { store, runtime, titles: HashMap::new() }
    }

    fn metric_names(&self, run: Id) -> Result<Vec<String>> {
        let latest = self.runtime.block_on(self.store.read(move |tx| tx.latest_metrics(run)))?;
        Ok(latest.into_iter().map(|metric| metric.name).collect())
    }

    /// Shows every point of a run's metrics, with the metric's name.
    pub(crate) fn points(
        &self,
        run: Id,
        visit: &mut dyn FnMut(&str, &MetricPoint) -> Result<()>,
    ) -> Result<()> {
        for name in self.metric_names(run)? {
            let mut after = None;
            loop {
                let asked = name.clone();
                let points = self
                    .runtime
                    .block_on(self.store.read(move |tx| tx.metric_history(run, &asked, after, POINTS)))?;
                points.iter().try_for_each(|point| visit(&name, point))?;
                after = points.last().copied();
                if points.len() < POINTS as usize {
                    break;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn targets(&self, source: Id, relation: Relation) -> Result<Vec<(Id, Timestamp)>> {
        self.runtime.block_on(self.store.read(move |tx| tx.targets(source, relation)))
    }

    pub(crate) fn title(&mut self, id: Id) -> Result<Option<String>> {
        if let Some(title) = self.titles.get(&id) {
            return Ok(title.clone());
        }
        let title = self.runtime.block_on(self.store.read(move |tx| {
            tx.raw(id)?.map(|node| registry::ops(node.kind).view(&node).map(|view| view.title)).transpose()
        }))?;
        if self.titles.len() >= TITLES {
            self.titles.clear();
        }
        self.titles.insert(id, title.clone());
        Ok(title)
    }
}

struct Hashing<'a> {
    out: &'a mut dyn Write,
    digest: Sha256,
    size: u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The far end went away: a download was cancelled, or the object store failed, which reports itself.
fn stopped(_: io::Error) -> Error {
    Error::unavailable("the archive was not taken to its end")
}

/// The extension of a file that holds an image of this media type.
pub(crate) fn is_image(media_type: &str) -> bool {
    Image::extension(media_type) != "bin"
}
