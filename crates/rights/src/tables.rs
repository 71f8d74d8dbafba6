//! Tables over everything held: one for each kind, as CSV and as JSON Lines.
//!
//! A row is what the kind exports of one resource: its JSON document, with the resource's own id, place and times before it; its rows, of
//! kinds that export rows only. What a kind exports beside its first document has a table of its own, and so have the points of metrics.
//!
//! Everything held is read once more to find the columns, and once for each table: nothing but the columns is kept in memory.

use std::collections::HashSet;
use std::io::{self, Write};

use habeas_core::kinds::ExportFormat;
use habeas_core::node::{RawNode, Relation};
use habeas_core::{BlobRef, Bundle, Error, Id, Kind, Result, Timestamp, registry};
use serde_json::{Map, Value};

use crate::archive::{Archive, CSV, JSON_LINES, Lookup, METRIC_COLUMNS};
use crate::exports::{FOLDER, each_held};
use crate::holdings::kind_name;

/// Values by column.
type Row = Map<String, Value>;

/// Takes a row, with the name of its table.
type Visit<'a> = dyn FnMut(&str, &Row) -> Result<()> + 'a;

struct Table {
    name: String,
    columns: Vec<String>,
    known: HashSet<String>,
}

impl Table {
    fn learn(&mut self, row: &Row) {
        for column in row.keys() {
            if self.known.insert(column.clone()) {
                self.columns.push(column.clone());
            }
        }
    }
}

/// Writes the tables of a kind.
pub(crate) fn write<W: Write>(
    archive: &mut Archive<W>,
    person: Id,
    kind: Kind,
    formats: &[ExportFormat],
) -> Result<()> {
    let mut tables: Vec<Table> = Vec::new();
    each_row(archive, person, kind, &mut |name, row| {
        let place = tables.iter().position(|table| table.name == name).unwrap_or_else(|| {
            tables.push(Table { name: name.to_owned(), columns: Vec::new(), known: HashSet::new() });
            tables.len() - 1
        });
        tables[place].learn(row);
        Ok(())
    })?;
    for table in &tables {
        for format in formats {
            let path = format!("{FOLDER}{0}/{1}.{0}", format.name(), table.name);
            archive.describe_table(&path, &table.columns, &[]);
            match format {
                ExportFormat::Csv => write_csv(archive, &path, table, person, kind)?,
                ExportFormat::Jsonl => write_lines(archive, &path, table, person, kind)?,
                _ => return Err(Error::internal("a table has no such format")),
            }
        }
    }
    Ok(())
}

fn write_csv<W: Write>(
    archive: &mut Archive<W>,
    path: &str,
    table: &Table,
    person: Id,
    kind: Kind,
) -> Result<()> {
    let source = Source::of(archive, person, kind);
    archive.file_in_pieces(path, CSV, |out, _| {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(&table.columns)?;
        source.rows_of(table, |row| {
            csv.write_record(
                table.columns.iter().map(|column| row.get(column).map_or_else(String::new, cell)),
            )
        })?;
        csv.flush()
    })
}

fn write_lines<W: Write>(
    archive: &mut Archive<W>,
    path: &str,
    table: &Table,
    person: Id,
    kind: Kind,
) -> Result<()> {
    let source = Source::of(archive, person, kind);
    archive.file_in_pieces(path, JSON_LINES, |out, _| {
        source.rows_of(table, |row| {
            // Every line has every column, in the same order: readers take the first one for the head.
            let line: Row = table
                .columns
                .iter()
                .map(|column| (column.clone(), row.get(column).cloned().unwrap_or_default()))
                .collect();
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")
        })
    })
}

/// A value as a cell: a text as it is, nothing for null, anything else as JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Where the rows of a kind come from.
struct Source {
    store: habeas_store::Store,
    runtime: tokio::runtime::Handle,
    person: Id,
    kind: Kind,
}

impl Source {
    fn of<W: Write>(archive: &Archive<W>, person: Id, kind: Kind) -> Source {
        Source { store: archive.store.clone(), runtime: archive.runtime.clone(), person, kind }
    }

    /// Shows every row of one table.
    fn rows_of<E: Into<io::Error>>(
        self,
        table: &Table,
        mut visit: impl FnMut(&Row) -> std::result::Result<(), E>,
    ) -> io::Result<()> {
        let mut failed = None;
        let shown = self.each_row(&mut |name, row| {
            if name != table.name {
                return Ok(());
            }
            visit(row).map_err(|error| {
                failed = Some(error.into());
                Error::unavailable("the archive was not taken to its end")
            })
        });
        match failed {
            Some(error) => Err(error),
            None => shown.map_err(io::Error::other),
        }
    }

    fn each_row(&self, visit: &mut Visit<'_>) -> Result<()> {
        let mut rows = Rows {
            lookup: Lookup::new(self.store.clone(), self.runtime.clone()),
            kind: kind_name(self.kind),
            head: Map::new(),
            has_document: false,
            waiting: Vec::new(),
            visit,
        };
        each_held(&self.store, &self.runtime, self.person, self.kind, &mut |node| rows.of(node))
    }
}

fn each_row<W: Write>(archive: &Archive<W>, person: Id, kind: Kind, visit: &mut Visit<'_>) -> Result<()> {
    Source::of(archive, person, kind).each_row(visit)
}

/// Turns what kinds export into rows.
struct Rows<'a> {
    lookup: Lookup,
    kind: String,
    /// What stands before the members of the resource at hand.
    head: Row,
    has_document: bool,
    /// Its rows, which count when it has no document.
    waiting: Vec<Row>,
    visit: &'a mut Visit<'a>,
}

impl Rows<'_> {
    fn of(&mut self, node: &RawNode) -> Result<()> {
        self.head = Map::from_iter([
            ("resource".to_owned(), node.id.to_string().into()),
            ("parent".to_owned(), node.parent.map(|id| id.to_string()).into()),
            ("created_at".to_owned(), node.created_at.rfc3339().into()),
            ("updated_at".to_owned(), node.updated_at.rfc3339().into()),
        ]);
        self.has_document = false;
        registry::ops(node.kind).export(node, self)?;
        for row in std::mem::take(&mut self.waiting) {
            if !self.has_document {
                (self.visit)(&self.kind, &row)?;
            }
        }
        Ok(())
    }

    fn with_head(&self, members: impl IntoIterator<Item = (String, Value)>) -> Row {
        let mut row = self.head.clone();
        row.extend(members);
        row
    }
}

impl Bundle for Rows<'_> {
    fn json(&mut self, path: &str, value: &Value) -> Result<()> {
        let members = match value {
            Value::Object(members) => members.clone(),
            other => Map::from_iter([("value".to_owned(), other.clone())]),
        };
        let row = self.with_head(members);
        if std::mem::replace(&mut self.has_document, true) {
            let file = path.rsplit('/').next().unwrap_or(path);
            let name = format!("{}-{}", self.kind, file.split('.').next().unwrap_or(file));
            (self.visit)(&name, &row)
        } else {
            (self.visit)(&self.kind, &row)
        }
    }

    fn row(&mut self, _path: &str, columns: &[&str], values: &[String]) -> Result<()> {
        if !self.has_document {
            let members =
                columns.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value.as_str().into()));
            let row = self.with_head(members);
            self.waiting.push(row);
        }
        Ok(())
    }

    fn blob(&mut self, _path: &str, _blob: &BlobRef) -> Result<()> {
        Ok(())
    }

    fn metrics(&mut self, _path: &str, run: Id) -> Result<()> {
        let name = format!("{}-metrics", self.kind);
        let visit = &mut *self.visit;
        self.lookup.points(run, &mut |metric, point| {
            // What is infinite or not a number has no number in JSON.
            let value = match point.value {
                value if value.is_finite() => value.into(),
                value => value.to_string().into(),
            };
            let [metric_column, time, step, value_column] = METRIC_COLUMNS.map(str::to_owned);
            visit(
                &name,
                &Map::from_iter([
                    ("resource".to_owned(), run.to_string().into()),
                    (metric_column, metric.into()),
                    (time, point.time.into()),
                    (step, point.step.into()),
                    (value_column, value),
                ]),
            )
        })
    }

    fn targets(&mut self, source: Id, relation: Relation) -> Result<Vec<(Id, Timestamp)>> {
        self.lookup.targets(source, relation)
    }

    fn title(&mut self, id: Id) -> Result<Option<String>> {
        self.lookup.title(id)
    }
}
