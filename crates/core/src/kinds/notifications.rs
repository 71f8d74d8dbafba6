//! Notifications: what a person is told of.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::custom_vision::BASIS;
use super::tracking::{RECIPIENTS, SERVICE};
use crate::{
    About, Attrs, Bundle, Carried, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result,
    Retention, View,
};

/// How long a notification is kept, in days.
pub const NOTIFICATION_DAYS: u32 = 90;

/// That a run has ended, told to the person who made it. What the run is called is looked up when it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationDoc {
    /// Whom it is for.
    pub person: Id,
    /// The run.
    pub run: Id,
    /// The run's experiment.
    pub experiment: Id,
    /// How the run ended: `Completed`, `Failed` or `Canceled`.
    pub status: String,
}

/// [`Kind::Notification`].
#[derive(Debug)]
pub struct Notification;

impl DataKind for Notification {
    const KIND: Kind = Kind::Notification;
    const PARENTS: &'static [Kind] = &[Kind::Workspace, Kind::ExperimentationProject];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Notifications",
        purpose: "to tell the maker of a run that it has ended",
        legal_basis: BASIS,
        retention: Retention::Days(NOTIFICATION_DAYS, "the end of the run"),
        recipients: RECIPIENTS,
    };
    type Doc = NotificationDoc;

    fn example() -> NotificationDoc {
        NotificationDoc { person: Id::NIL, run: Id::NIL, experiment: Id::NIL, status: "Completed".into() }
    }

    fn unique_name(_doc: &NotificationDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &NotificationDoc, _out: &mut Attrs) {}

    fn classify(doc: &NotificationDoc, map: &mut DataMap) {
        let NotificationDoc { person, run, experiment, status } = doc;
        map.field(person, "person", FieldClass::Personal, "random id of the person whom it is for");
        map.field(run, "run", FieldClass::Technical, "random id of the run");
        map.field(experiment, "experiment", FieldClass::Technical, "random id of the run's experiment");
        map.field(status, "status", FieldClass::Technical, "how the run ended");
    }

    fn view(node: &Node<NotificationDoc>) -> View {
        View::new(format!("A run ended: {}", node.doc.status)).fact("When", node.created_at)
    }

    fn export(node: &Node<NotificationDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        out.json(
            &format!("tracking/notifications/{}.json", node.id),
            &json!({
                "jobId": node.id,
                "userObjectId": doc.person,
                "runId": doc.run,
                "experimentId": doc.experiment,
                "status": doc.status,
                "createdUtc": node.created_at.rfc3339(),
            }),
        )
    }

    fn erase(_node: &Node<NotificationDoc>, _why: Erasure) -> Fate<NotificationDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<NotificationDoc>) -> Result<Option<Carried<'_>>> {
        let NotificationDoc { person, run, experiment, status: _ } = &mut node.doc;
        let about = vec![*run, *experiment];
        Ok(Some(Carried { addressee: Some(person), about, ..Carried::default() }))
    }
}
