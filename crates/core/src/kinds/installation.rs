//! The installation itself and the work it has to do.

use serde::{Deserialize, Serialize};

use crate::{
    About, Attrs, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Kind, Node, Result, Retention, View,
};

/// The root of what no person holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationDoc {
    /// Version of habeas that made the data.
    pub created_by_version: String,
}

/// [`Kind::Installation`].
#[derive(Debug)]
pub struct Installation;

const KEEP: &str = "the installation's own record; it holds no personal data";

impl DataKind for Installation {
    const KIND: Kind = Kind::Installation;
    const PARENTS: &'static [Kind] = &[];
    const ABOUT: About = About {
        service: "The server",
        title: "Installation",
        purpose: "to hold receipts and the roles of staff",
        legal_basis: "not personal data",
        retention: Retention::Installation,
        recipients: "nobody",
    };
    type Doc = InstallationDoc;

    fn example() -> InstallationDoc {
        InstallationDoc { created_by_version: "0.1.0".into() }
    }

    fn unique_name(_doc: &InstallationDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &InstallationDoc, _out: &mut Attrs) {}

    fn classify(doc: &InstallationDoc, map: &mut DataMap) {
        let InstallationDoc { created_by_version } = doc;
        map.field(created_by_version, "created_by_version", FieldClass::Technical, "to explain old data");
    }

    fn view(node: &Node<InstallationDoc>) -> View {
        View::new("Habeas").fact("Since", node.created_at)
    }

    fn export(_node: &Node<InstallationDoc>, _out: &mut dyn Bundle) -> Result<()> {
        Ok(())
    }

    fn erase(_node: &Node<InstallationDoc>, _why: Erasure) -> Fate<InstallationDoc> {
        Fate::Keep { legal_basis: KEEP, until: None }
    }
}

/// Work to be done after a commit: random ids and counts only. It lies in a table of its own, see the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDoc {
    /// What the worker needs to know: random ids, counts, steps taken.
    pub payload: serde_json::Value,
}

/// [`Kind::Task`].
#[derive(Debug)]
pub struct Task;

impl DataKind for Task {
    const KIND: Kind = Kind::Task;
    const PARENTS: &'static [Kind] = &[Kind::Installation];
    const ABOUT: About = About {
        service: "The server",
        title: "Tasks",
        purpose: "to finish what was begun, also after a crash",
        legal_basis: "not personal data",
        retention: Retention::Days(30, "the end of the work"),
        recipients: "nobody",
    };
    type Doc = TaskDoc;

    fn example() -> TaskDoc {
        TaskDoc { payload: serde_json::json!({ "blobs": [] }) }
    }

    fn unique_name(_doc: &TaskDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &TaskDoc, _out: &mut Attrs) {}

    fn classify(doc: &TaskDoc, map: &mut DataMap) {
        let TaskDoc { payload } = doc;
        map.field(
            payload,
            "payload",
            FieldClass::Technical,
            "what is to be done: random ids and counts only",
        );
    }

    fn view(node: &Node<TaskDoc>) -> View {
        View::new("Task").fact("Since", node.created_at)
    }

    fn export(_node: &Node<TaskDoc>, _out: &mut dyn Bundle) -> Result<()> {
        Ok(())
    }

    fn erase(_node: &Node<TaskDoc>, _why: Erasure) -> Fate<TaskDoc> {
        Fate::Keep { legal_basis: KEEP, until: None }
    }
}
