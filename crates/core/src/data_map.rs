//! The data map: of every kind and field, what it is, why it is kept, how long, and who receives it.

use std::fmt::Write as _;

use crate::Kind;
use crate::registry;

/// What is said once of a whole kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The service it belongs to, as a person would name it.
    pub service: &'static str,
    /// The kind in the plural, as a person would name it.
    pub title: &'static str,
    /// Why it is kept (GDPR Article 15(1)(a)).
    pub purpose: &'static str,
    /// The legal basis an operator will usually rely on; theirs to confirm.
    pub legal_basis: &'static str,
    /// How long it is kept (Article 15(1)(d)).
    pub retention: Retention,
    /// Who receives it (Article 15(1)(c)).
    pub recipients: &'static str,
}

/// How long a kind is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Until its holder, or an erasure, deletes it.
    UntilErased,
    /// This many days from the event named.
    Days(u32, &'static str),
    /// Until its holder, or an erasure, deletes it; of guests this many hours from the event named.
    GuestHours(u32, &'static str),
    /// Until whoever placed it, or its own date, ends it.
    UntilReleased,
    /// As long as the installation exists, since it proves what was done and holds no personal data.
    Installation,
}

impl Retention {
    /// The deletion class (ISO/IEC 27555): a period (ISO 8601), or what ends it.
    pub fn class(self) -> String {
        match self {
            Retention::UntilErased => "erased".to_owned(),
            Retention::Days(days, _) => format!("P{days}D"),
            Retention::GuestHours(hours, _) => format!("erased; PT{hours}H for guests"),
            Retention::UntilReleased => "released".to_owned(),
            Retention::Installation => "installation".to_owned(),
        }
    }

    /// The event from which its period is counted; none for classes without a period.
    pub const fn starts(self) -> Option<&'static str> {
        match self {
            Retention::Days(_, event) | Retention::GuestHours(_, event) => Some(event),
            Retention::UntilErased | Retention::UntilReleased | Retention::Installation => None,
        }
    }
}

impl std::fmt::Display for Retention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Retention::UntilErased => f.write_str("until it is deleted or erased"),
            Retention::Days(1, event) => write!(f, "1 day from {event}"),
            Retention::Days(days, event) => write!(f, "{days} days from {event}"),
            Retention::GuestHours(hours, event) => {
                write!(f, "until it is deleted or erased; for guests, {hours} hours after {event}")
            }
            Retention::UntilReleased => f.write_str("until it is released or its date has come"),
            Retention::Installation => f.write_str("as long as the installation exists"),
        }
    }
}

/// What a field of a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldClass {
    /// Says something about a person by itself.
    Personal,
    /// Made or brought by the holder; may say anything about anybody.
    Content,
    /// Grants access.
    Secret,
    /// Needed to run the service; says nothing about a person without the rest.
    Technical,
}

impl FieldClass {
    /// The lower-case name used in the data map.
    pub const fn name(self) -> &'static str {
        match self {
            FieldClass::Personal => "personal",
            FieldClass::Content => "content",
            FieldClass::Secret => "secret",
            FieldClass::Technical => "technical",
        }
    }
}

/// One field of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldEntry {
    /// The field's name in the stored document.
    pub name: &'static str,
    /// What it is.
    pub class: FieldClass,
    /// Why it is kept.
    pub why: &'static str,
}

/// Collects the fields of one kind.
#[derive(Debug, Default)]
pub struct DataMap {
    /// The fields in the order in which they were classified.
    pub fields: Vec<FieldEntry>,
}

impl DataMap {
    /// Classifies one field. The value is taken so that a field cannot be named without being there.
    pub fn field<T: ?Sized>(&mut self, _value: &T, name: &'static str, class: FieldClass, why: &'static str) {
        self.fields.push(FieldEntry { name, class, why });
    }
}

/// Columns of the database, by table: what each is. The schema test compares this with a fresh database of either
/// engine; a column that is not named here fails it.
pub const COLUMNS: &[(&str, &[(&str, &str)])] = &[
    ("schema_version", &[("version", "number of the newest migration applied"), ("applied_at", "when")]),
    (
        "holder",
        &[
            ("id", "random id of the person, organisation or installation"),
            ("kind", "which of the three"),
            ("state", "active, frozen for erasure, or restricted"),
            ("created_at", "when the account was made"),
        ],
    ),
    (
        "resource",
        &[
            ("id", "random id"),
            ("kind", "number of the kind"),
            ("parent", "random id of the resource above"),
            ("holder", "random id of the holder"),
            ("container", "random id of the container whose key seals it"),
            ("generation", "of a container: number of the key in use"),
            ("name_mac", "MAC of a unique name under a key derived from the container's"),
            ("version", "how often it changed"),
            ("created_at", "when it was made"),
            ("updated_at", "when it last changed"),
            ("expires_at", "when it is deleted by itself"),
            ("doc", "the sealed document"),
        ],
    ),
    (
        "edge",
        &[
            ("source", "random id"),
            ("target", "random id"),
            ("relation", "number of the relation"),
            ("created_at", "when they were connected"),
        ],
    ),
    (
        "attr",
        &[
            ("resource", "random id"),
            ("key", "number of the searchable attribute"),
            ("position", "counts several values of one attribute"),
            ("number", "a plain number to search or sort by"),
            ("mac", "MAC of a text under a key derived from the container's"),
        ],
    ),
    (
        "mention",
        &[
            ("resource", "random id"),
            ("person", "random id of the person tied to it"),
            ("role", "number of the role"),
            ("created_at", "since when"),
        ],
    ),
    (
        "blob",
        &[
            ("id", "random name in the object store"),
            ("resource", "random id of the resource whose document has the key"),
            ("state", "pending until the document that has the key is committed"),
            ("size", "plain bytes"),
            ("created_at", "when"),
        ],
    ),
    (
        "metric_series",
        &[
            ("id", "random number"),
            ("resource", "random id of the run"),
            ("name_mac", "MAC of the metric's name under a key derived from the container's"),
            ("name", "the sealed name"),
            ("last_step", "step of the newest point"),
            ("last_time", "when its client says it was"),
            ("last_value", "its value"),
        ],
    ),
    (
        "metric_point",
        &[
            ("series", "random number of the series"),
            ("time", "when its client says it was"),
            ("step", "step of the training"),
            ("value", "the value"),
        ],
    ),
    (
        "task",
        &[
            ("id", "random id"),
            ("kind", "number of the kind of work"),
            ("state", "waiting, running, done, failed"),
            ("subject", "random id of what it works on"),
            ("holder", "the installation"),
            ("payload", "sealed description of the work: random ids and counts only"),
            ("run_after", "not before"),
            ("attempts", "how often it was tried"),
            ("lease_until", "until when a worker has it"),
            ("created_at", "when"),
            ("updated_at", "when"),
        ],
    ),
];

/// The whole data map as Markdown, for `docs/DATA-MAP.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Data map\n\n\
         Generated from the code (`habeas_core::data_map::markdown`); a test compares the two. Every kind of data the server\n\
         keeps, every field of it, what the field is, why it is kept, how long, and who receives it.\n\n\
         Classes: **personal** says something about a person by itself; **content** was made or brought by the holder and may\n\
         say anything about anybody; **secret** grants access; **technical** is needed to run the service.\n\n\
         The legal basis is the one an operator will usually rely on. It is the operator's to confirm.\n\n\
         What a legal hold keeps, and what somebody holds whose data is restricted, stays past its time until that ends; but not tokens,\n\
         sessions, codes and export archives.\n",
    );
    for &kind in Kind::ALL {
        let ops = registry::ops(kind);
        let about = ops.about();
        let parents = match ops.parents() {
            [] => "nothing (a root of the tree)".to_owned(),
            parents => parents.iter().map(|parent| format!("{parent:?}")).collect::<Vec<_>>().join(", "),
        };
        let _ = write!(
            text,
            "\n## {title} (`{kind:?}`, number {number})\n\n\
             | | |\n|---|---|\n| service | {service} |\n| stands under | {parents} |\n| why | {purpose} |\n\
             | legal basis | {basis} |\n| kept | {retention} |\n| deletion class | {class} |\n| recipients | {recipients} |\n\n\
             | field | class | why |\n|---|---|---|\n",
            title = about.title,
            number = kind.number(),
            service = about.service,
            purpose = about.purpose,
            basis = about.legal_basis,
            retention = about.retention,
            class = about.retention.class(),
            recipients = about.recipients,
        );
        for field in ops.fields() {
            let _ = writeln!(text, "| `{}` | {} | {} |", field.name, field.class.name(), field.why);
        }
    }
    text.push_str(
        "\n## What stays readable without keys\n\n\
         The database's own columns. They hold random ids, numbers and times; see docs/THREATS.md for what that tells.\n\n\
         | table | column | what it is |\n|---|---|---|\n",
    );
    for (table, columns) in COLUMNS {
        for (column, what) in *columns {
            let _ = writeln!(text, "| `{table}` | `{column}` | {what} |");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/DATA-MAP.md");
        let document = std::fs::read_to_string(path).unwrap();
        assert!(document == markdown(), "docs/DATA-MAP.md is out of date: cargo xtask data-map");
    }

    #[test]
    fn every_field_of_every_example_is_classified() {
        for &kind in Kind::ALL {
            let ops = registry::ops(kind);
            let example = ops.example_json();
            let serde_json::Value::Object(fields) = &example else {
                panic!("{kind:?}: a document is a JSON object");
            };
            let classified: Vec<&str> = ops.fields().iter().map(|field| field.name).collect();
            for name in fields.keys() {
                assert!(classified.contains(&name.as_str()), "{kind:?}.{name} is stored but not classified");
            }
            assert_eq!(
                classified.len(),
                fields.len(),
                "{kind:?}: classified {classified:?}, stored {:?}",
                fields.keys()
            );
        }
    }
}
