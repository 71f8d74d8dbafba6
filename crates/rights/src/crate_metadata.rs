//! What an archive says about itself.

use std::collections::HashMap;
use std::io::{self, Write};

use habeas_core::report::HoldingsReport;
use habeas_core::{Id, Kind, Result, Timestamp, registry};
use serde_json::{Value, json};

use crate::archive::{Archive, Entry, is_image};
use crate::article_15::{self, Recipients};
use crate::exports::FOLDER;
use crate::holdings::kind_name;

/// Items of one kind that the preview shows in full; the tables have all of them.
const SHOWN: usize = 500;

/// `completeness.json`: every kind of the registry, and how many of it the archive has. Nothing is silently absent.
pub(crate) fn completeness(found: &[(Kind, u64)]) -> Value {
    let kinds: Vec<Value> = Kind::ALL
        .iter()
        .map(|&kind| {
            let about = registry::ops(kind).about();
            let count = found.iter().find(|(other, _)| *other == kind).map_or(0, |(_, count)| *count);
            let state = match (kind, count) {
                (Kind::Installation | Kind::Task, _) => "not personal data: random ids only",
                (_, 0) => "none",
                _ => "found",
            };
            json!({ "kind": kind_name(kind), "title": about.title, "state": state, "count": count })
        })
        .collect();
    json!({ "kinds": kinds })
}

/// Writes `ro-crate-metadata.json` over all files written so far.
pub(crate) fn write_metadata<W: Write>(
    archive: &mut Archive<W>,
    published: Timestamp,
    holdings: &HoldingsReport,
) -> Result<()> {
    let person = holdings.person.object_id.clone();
    archive.file_in_pieces("ro-crate-metadata.json", "application/ld+json", |out, entries| {
        let parts: Vec<Value> = entries.iter().map(|entry| json!({ "@id": address(&entry.path) })).collect();
        let head = [
            json!({
                "@id": "ro-crate-metadata.json",
                "@type": "CreativeWork",
                "conformsTo": { "@id": "https://w3id.org/ro/crate/1.2" },
                "about": { "@id": "./" },
            }),
            json!({
                "@id": "./",
                "@type": "Dataset",
                "name": "Everything held on one person",
                "description": "An export of everything a Habeas server held on one person (GDPR Articles 15 and 20).",
                "datePublished": published.rfc3339(),
                "license": "The person this archive is about may use it as they like. To others it is personal data.",
                "publisher": { "@id": "#server" },
                "mentions": { "@id": "#request" },
                "hasPart": parts,
            }),
            json!({ "@id": "#server", "@type": "Organization", "name": "A Habeas server" }),
            json!({ "@id": format!("#{person}"), "@type": "Person", "name": "The person this archive is about" }),
            json!({
                "@id": "#request",
                "@type": "Action",
                "name": "Export of personal data",
                "agent": { "@id": "#server" },
                "object": { "@id": format!("#{person}") },
                "result": { "@id": "./" },
                "endTime": published.rfc3339(),
            }),
        ];
        out.write_all(b"{\"@context\":\"https://w3id.org/ro/crate/1.2/context\",\"@graph\":[\n")?;
        for (number, entity) in head.iter().enumerate() {
            out.write_all(if number == 0 { b"" } else { b",\n" })?;
            serde_json::to_writer(&mut *out, entity).map_err(io::Error::other)?;
        }
        for entry in entries.iter() {
            out.write_all(b",\n")?;
            serde_json::to_writer(&mut *out, &file_entity(entry)).map_err(io::Error::other)?;
        }
        out.write_all(b"\n]}\n")
    })
}

fn file_entity(entry: &Entry) -> Value {
    let about = entry.kind.map(|kind| registry::ops(kind).about());
    json!({
        "@id": address(&entry.path),
        "@type": "File",
        "name": entry.path.rsplit('/').next().unwrap_or(&entry.path),
        "description": about.map_or("about this archive", |about| about.title),
        "contentSize": entry.size.to_string(),
        "sha256": hex::encode(entry.sha256),
        "encodingFormat": entry.media_type,
    })
}

/// Writes the manifest in the form of `sha256sum`, over all files written so far; returns its digest.
pub(crate) fn write_manifest<W: Write>(archive: &mut Archive<W>) -> Result<[u8; 32]> {
    archive.file_in_pieces("manifest-sha256.txt", "text/plain", |out, entries| {
        entries.iter().try_for_each(|entry| writeln!(out, "{}  {}", hex::encode(entry.sha256), entry.path))
    })?;
    Ok(archive.entries.last().map(|entry| entry.sha256).unwrap_or_default())
}

/// The page a person opens first: works offline, without scripts and without fetching anything.
pub(crate) struct Preview<'a> {
    pub(crate) holdings: &'a HoldingsReport,
    /// Title and facts of what the archive has, by kind, as it was gathered.
    pub(crate) shown: &'a [(Kind, Vec<Shown>)],
    pub(crate) recipients: &'a Recipients,
}

/// One item in the preview.
pub(crate) struct Shown {
    pub(crate) id: Id,
    pub(crate) title: String,
    pub(crate) facts: Vec<(&'static str, String)>,
}

impl Preview<'_> {
    /// How many items of a kind are worth gathering.
    pub(crate) const MOST: usize = SHOWN;

    pub(crate) fn write<W: Write>(&self, archive: &mut Archive<W>) -> Result<()> {
        archive.file_in_pieces("ro-crate-preview.html", "text/html", |out, entries| {
            let person = &self.holdings.person;
            let images: HashMap<&str, &str> = entries
                .iter()
                .filter(|entry| is_image(&entry.media_type) && !entry.path.starts_with(FOLDER))
                .filter_map(|entry| Some((entry.path.rsplit('/').next()?.split('.').next()?, entry.path.as_str())))
                .collect();
            write!(
                out,
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
                 <title>Everything held about you</title><style>{STYLE}</style></head><body><main>\
                 <h1>Everything held about you</h1><p>Counted {} for {} ({}).</p>\
                 <table><caption>What this archive has</caption><thead><tr><th scope=\"col\">Service</th><th scope=\"col\">What</th>\
                 <th scope=\"col\">How many</th><th scope=\"col\">Bytes</th><th scope=\"col\">Why</th><th scope=\"col\">Kept</th></tr></thead><tbody>",
                escape(&self.holdings.counted),
                escape(&person.name),
                escape(&person.email),
            )?;
            for item in &self.holdings.items {
                // First what there is; what it is in detail is one step further.
                let shown = self.shown.iter().find(|(kind, items)| kind_name(*kind) == item.kind && !items.is_empty());
                let title = match shown {
                    Some(_) => format!("<a href=\"#{}\">{}</a>", escape(&item.kind), escape(&item.title)),
                    None => escape(&item.title),
                };
                write!(
                    out,
                    "<tr><td>{}</td><th scope=\"row\">{title}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    escape(&item.service),
                    item.count,
                    item.bytes,
                    escape(&item.why),
                    escape(&item.until)
                )?;
            }
            out.write_all(b"</tbody></table>")?;
            self.write_work(out)?;
            self.write_answers(out)?;
            for (kind, items) in self.shown.iter().filter(|(_, items)| !items.is_empty()) {
                let title = escape(registry::ops(*kind).about().title);
                write!(out, "<section id=\"{}\"><h2>{title}</h2><details><summary>", kind_name(*kind))?;
                match items.len() {
                    1 => out.write_all(b"Show it")?,
                    SHOWN => write!(out, "Show the first {SHOWN}")?,
                    count => write!(out, "Show all {count}")?,
                }
                out.write_all(b"</summary>")?;
                if items.len() == SHOWN {
                    write!(out, "<p>The first {SHOWN}; the tables and files beside this page have all of them.</p>")?;
                }
                for item in items {
                    write_item(out, item, &images)?;
                }
                out.write_all(b"</details></section>")?;
            }
            out.write_all(b"<h2>Files</h2><ul>")?;
            let files = entries.iter().map(|entry| entry.path.as_str());
            for path in files.filter(|path| !path.contains("/images/") && !is_of_dataset(path)) {
                write!(out, "<li><a href=\"{}\">{}</a></li>", escape(&address(path)), escape(path))?;
            }
            out.write_all(b"</ul></main></body></html>\n")
        })
    }
}

impl Preview<'_> {
    /// How much of what others hold the person made or changed.
    fn write_work(&self, out: &mut dyn Write) -> io::Result<()> {
        let HoldingsReport { made, changed, .. } = self.holdings;
        for (title, work) in
            [("What you made and others hold", made), ("What you changed that others made and hold", changed)]
        {
            if work.is_empty() {
                continue;
            }
            write!(
                out,
                "<section><h2>{title}</h2><p>shared/mentions.csv names each of them, since when it is there and in what. What is in it is \
                 its holder's.</p><dl>"
            )?;
            for report in work {
                write!(out, "<dt>{}</dt><dd>{}</dd>", escape(&report.title), report.count)?;
            }
            out.write_all(b"</dl></section>")?;
        }
        Ok(())
    }

    /// What Article 15(1)(c) and (e) to (h) ask; (a), (b) and (d) are columns of the table.
    fn write_answers(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"<section><h2>Who was given something of it</h2>")?;
        let recipients = self.recipients.lines();
        if recipients.is_empty() {
            out.write_all(b"<p>Nobody that this server knows of.</p>")?;
        }
        out.write_all(b"<ul>")?;
        for line in recipients {
            write!(out, "<li>{}</li>", escape(&line))?;
        }
        out.write_all(b"</ul></section><section><h2>Your rights, and where it came from</h2><dl>")?;
        for (label, text) in [
            ("Rights", article_15::RIGHTS),
            ("Complaint", article_15::COMPLAINT),
            ("Source", article_15::SOURCE),
            ("Automated decisions", article_15::DECISIONS),
            ("Transfers", article_15::TRANSFERS),
        ] {
            write!(out, "<dt>{label}</dt><dd>{}</dd>", escape(text))?;
        }
        out.write_all(b"</dl></section>")
    }
}

/// Whether a file is one of an image, or of its labels, in a format that was asked for.
fn is_of_dataset(path: &str) -> bool {
    let mut parts = path.strip_prefix(FOLDER).unwrap_or_default().split('/').skip(2);
    parts.next().is_some_and(|part| !["annotations.json", "data.yaml", "habeas.jsonl"].contains(&part))
}

/// A path as a relative address (RFC 3986): class folders are named as people named their classes.
fn address(path: &str) -> String {
    let mut address = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                address.push(char::from(byte));
            }
            _ => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address
}

fn write_item(out: &mut dyn Write, item: &Shown, images: &HashMap<&str, &str>) -> io::Result<()> {
    write!(out, "<article><h3>{}</h3>", escape(&item.title))?;
    if let Some(path) = images.get(item.id.to_string().as_str()) {
        write!(
            out,
            "<a href=\"{0}\"><img src=\"{0}\" alt=\"\" loading=\"lazy\" width=\"160\"></a>",
            escape(path)
        )?;
    }
    out.write_all(b"<dl>")?;
    for (label, value) in &item.facts {
        write!(out, "<dt>{}</dt><dd>{}</dd>", escape(label), escape(value))?;
    }
    out.write_all(b"</dl></article>")
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:0;color:#1a2027;background:#f7f8f9}main{max-width:70rem;margin:auto;padding:1.5rem}\
table{border-collapse:collapse;width:100%;background:#fff}caption{text-align:left;font-weight:600;padding:.5rem 0}\
td,th{border:1px solid #dfe3e7;padding:.4rem .6rem;text-align:left;vertical-align:top}article{background:#fff;border:1px solid #dfe3e7;border-radius:10px;\
padding:.8rem 1rem;margin:.8rem 0}dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.1rem 1rem;margin:0}dt{color:#55606b}dd{margin:0;\
overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{background:#0f1418;color:#e6ebef}table,article{background:#161c22}td,th,article{border-color:#2a343d}\
dt{color:#a3b0bb}a{color:#4fc3b5}}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
