//! Who called which operation when.

use serde::{Deserialize, Serialize};

use crate::node::AttrKey;
use crate::{
    About, AttrValue, Attrs, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result,
    Retention, Timestamp, View,
};

/// How long telemetry is kept, in days.
pub const RETENTION_DAYS: u32 = 90;

/// One operation within one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelemetryEntry {
    /// The start of the minute.
    pub at: Timestamp,
    /// The operation, by the name its protocol gives it.
    pub operation: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Who did it when it was not the person themselves: somebody of the staff, or [`Id::NIL`] for the operator of the
    /// machine.
    pub actor: Option<Id>,
    /// How often within the minute.
    pub count: u32,
}

/// What was called in the name of a person, or was read about them by staff, in one hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelemetryDoc {
    /// The start of the hour.
    pub hour: Timestamp,
    /// What happened, oldest first.
    pub entries: Vec<TelemetryEntry>,
}

/// [`Kind::Telemetry`].
#[derive(Debug)]
pub struct Telemetry;

impl DataKind for Telemetry {
    const KIND: Kind = Kind::Telemetry;
    const PARENTS: &'static [Kind] = &[Kind::Person];
    const ABOUT: About = About {
        service: "Your account",
        title: "Activity",
        purpose: "to keep the service secure, and to show the person what was done in their name and who looked at their data",
        legal_basis: "legitimate interest in security (GDPR Article 6(1)(f))",
        retention: Retention::Days(RETENTION_DAYS, "the hour it tells about"),
        recipients: "nobody",
    };
    type Doc = TelemetryDoc;

    fn example() -> TelemetryDoc {
        TelemetryDoc {
            hour: Timestamp(0),
            entries: vec![TelemetryEntry {
                at: Timestamp(0),
                operation: "GetProjects".into(),
                status: 200,
                actor: Some(Id::NIL),
                count: 3,
            }],
        }
    }

    fn unique_name(_doc: &TelemetryDoc) -> Option<&str> {
        None
    }

    fn attrs(doc: &TelemetryDoc, out: &mut Attrs) {
        out.push(AttrKey::Hour, AttrValue::Number(doc.hour.0 as f64));
    }

    fn classify(doc: &TelemetryDoc, map: &mut DataMap) {
        let TelemetryDoc { hour, entries } = doc;
        map.field(hour, "hour", FieldClass::Personal, "when the person was active");
        map.field(
            entries,
            "entries",
            FieldClass::Personal,
            "what was called, when, how it ended, and which staff member did it",
        );
    }

    fn view(node: &Node<TelemetryDoc>) -> View {
        let calls: u32 = node.doc.entries.iter().map(|entry| entry.count).sum();
        let staff = node.doc.entries.iter().filter(|entry| entry.actor.is_some()).count();
        View::new(format!("Hour from {}", node.doc.hour))
            .fact("Calls", calls)
            .fact("Of these by staff", staff)
    }

    fn export(node: &Node<TelemetryDoc>, out: &mut dyn Bundle) -> Result<()> {
        for entry in &node.doc.entries {
            // Staff appear as such and not by id: Article 15(4), the rights of others.
            let by = if entry.actor.is_some() { "staff" } else { "you" };
            out.row(
                "activity/activity.csv",
                &["minute", "operation", "status", "by", "count"],
                &[
                    entry.at.rfc3339(),
                    entry.operation.clone(),
                    entry.status.to_string(),
                    by.into(),
                    entry.count.to_string(),
                ],
            )?;
        }
        Ok(())
    }

    fn erase(_node: &Node<TelemetryDoc>, _why: Erasure) -> Fate<TelemetryDoc> {
        Fate::Delete
    }
}
