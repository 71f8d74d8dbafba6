//! Run history: what Azure ML's clients say of runs beyond what MLflow's do. The runs are the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::custom_vision::BASIS;
use super::tracking::{RECIPIENTS, SERVICE};
use crate::{
    About, AttrKey, AttrValue, Attrs, Bundle, Carried, DataKind, DataMap, Erasure, Fate, FieldClass, Id,
    Kind, Node, Result, Retention, Timestamp, View,
};

/// How far a run is. Run history's states, of which MLflow has five; those are stored under its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStatus {
    /// At work.
    #[default]
    Running,
    /// Waiting to begin.
    Scheduled,
    /// Ended well.
    Finished,
    /// Ended by an error.
    Failed,
    /// Ended from outside.
    Killed,
    /// Made and not begun.
    NotStarted,
    /// Its machine is being made ready.
    Preparing,
    /// Its machine is being got.
    Provisioning,
    /// About to begin.
    Starting,
    /// To be ended from outside.
    CancelRequested,
    /// At its last work.
    Finalizing,
    /// Somebody has to approve it first.
    Unapproved,
    /// Nothing was heard of it for too long.
    NotResponding,
    /// About to pause.
    Pausing,
    /// Pausing.
    Paused,
}

impl RunStatus {
    /// All of them.
    pub const ALL: [RunStatus; 15] = [
        RunStatus::Running,
        RunStatus::Scheduled,
        RunStatus::Finished,
        RunStatus::Failed,
        RunStatus::Killed,
        RunStatus::NotStarted,
        RunStatus::Preparing,
        RunStatus::Provisioning,
        RunStatus::Starting,
        RunStatus::CancelRequested,
        RunStatus::Finalizing,
        RunStatus::Unapproved,
        RunStatus::NotResponding,
        RunStatus::Pausing,
        RunStatus::Paused,
    ];
    /// Those that MLflow knows, in the order of their numbers in its protocol's definition, from 1.
    pub const OF_MLFLOW: [RunStatus; 5] =
        [RunStatus::Running, RunStatus::Scheduled, RunStatus::Finished, RunStatus::Failed, RunStatus::Killed];

    /// The name on MLflow's wire, of the nearest state that it knows.
    pub const fn name(self) -> &'static str {
        match self {
            RunStatus::Running
            | RunStatus::CancelRequested
            | RunStatus::Finalizing
            | RunStatus::NotResponding
            | RunStatus::Pausing
            | RunStatus::Paused => "RUNNING",
            RunStatus::Scheduled
            | RunStatus::NotStarted
            | RunStatus::Preparing
            | RunStatus::Provisioning
            | RunStatus::Starting
            | RunStatus::Unapproved => "SCHEDULED",
            RunStatus::Finished => "FINISHED",
            RunStatus::Failed => "FAILED",
            RunStatus::Killed => "KILLED",
        }
    }

    /// The name on the wire of run history.
    pub const fn history_name(self) -> &'static str {
        match self {
            RunStatus::Running => "Running",
            RunStatus::Scheduled => "Queued",
            RunStatus::Finished => "Completed",
            RunStatus::Failed => "Failed",
            RunStatus::Killed => "Canceled",
            RunStatus::NotStarted => "NotStarted",
            RunStatus::Preparing => "Preparing",
            RunStatus::Provisioning => "Provisioning",
            RunStatus::Starting => "Starting",
            RunStatus::CancelRequested => "CancelRequested",
            RunStatus::Finalizing => "Finalizing",
            RunStatus::Unapproved => "Unapproved",
            RunStatus::NotResponding => "NotResponding",
            RunStatus::Pausing => "Pausing",
            RunStatus::Paused => "Paused",
        }
    }

    /// Whether the run has ended.
    pub const fn is_over(self) -> bool {
        matches!(self, RunStatus::Finished | RunStatus::Failed | RunStatus::Killed)
    }

    /// Whether the run has begun.
    pub fn has_begun(self) -> bool {
        self.name() != "SCHEDULED"
    }
}

/// What run history says of a run beyond what MLflow does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDetails {
    /// Its id as its client chose it; none for its own.
    pub run_id: Option<String>,
    /// Its number among the runs that run history made in the experiment, from 1.
    pub number: Option<u64>,
    /// The name that its client gives it, where another one is shown.
    pub name: Option<String>,
    /// What else its client says of it, by the name on the wire: the run definition, where it runs, datasets, errors and warnings.
    pub fields: Map<String, Value>,
}

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEventDoc {
    /// What happened, such as `Microsoft.MachineLearning.Run.Start`.
    pub name: String,
    /// When its client says it happened, in microseconds since 1970.
    pub time: i64,
    /// What its client says of it.
    pub data: Map<String, Value>,
    /// Who reported it.
    pub created_by: Option<Id>,
}

impl RunEventDoc {
    /// The event that says only that the run is alive; a run has the newest of them.
    pub const HEARTBEAT: &'static str = "Microsoft.MachineLearning.Run.Heartbeat";
}

/// [`Kind::RunEvent`].
#[derive(Debug)]
pub struct RunEvent;

impl DataKind for RunEvent {
    const KIND: Kind = Kind::RunEvent;
    const PARENTS: &'static [Kind] = &[Kind::Run];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Events of runs",
        purpose: "to tell when a training began and how it ended",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = RunEventDoc;

    fn example() -> RunEventDoc {
        RunEventDoc {
            name: "Microsoft.MachineLearning.Run.Start".into(),
            time: 1_000_000,
            data: Map::from_iter([("RunId".to_owned(), json!("run"))]),
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(doc: &RunEventDoc) -> Option<&str> {
        (doc.name == RunEventDoc::HEARTBEAT).then_some(RunEventDoc::HEARTBEAT)
    }

    fn maker(doc: &RunEventDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &RunEventDoc, _out: &mut Attrs) {}

    fn classify(doc: &RunEventDoc, map: &mut DataMap) {
        let RunEventDoc { name, time, data, created_by } = doc;
        map.field(name, "name", FieldClass::Content, "what happened");
        map.field(time, "time", FieldClass::Personal, "when it happened to somebody's training");
        map.field(
            data,
            "data",
            FieldClass::Personal,
            "what its client said of it: ids, times, errors; may name a person",
        );
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who reported it");
    }

    fn view(node: &Node<RunEventDoc>) -> View {
        View::new(node.doc.name.clone()).fact("Happened", Timestamp(node.doc.time))
    }

    fn export(node: &Node<RunEventDoc>, out: &mut dyn Bundle) -> Result<()> {
        let run = node.parent.unwrap_or(Id::NIL);
        out.json(
            &format!("tracking/runs/{run}/events/{}.json", node.id),
            &json!({
                "name": node.doc.name,
                "timestamp": Timestamp(node.doc.time).rfc3339(),
                "data": node.doc.data,
            }),
        )
    }

    fn erase(_node: &Node<RunEventDoc>, _why: Erasure) -> Fate<RunEventDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<RunEventDoc>) -> Result<Option<Carried<'_>>> {
        Ok(Some(Carried { persons: vec![&mut node.doc.created_by], ..Carried::default() }))
    }
}

/// One value of a metric that is no plain number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMetricValue {
    /// The id that its client gave it.
    pub id: String,
    /// When its client says it was logged, in microseconds since 1970.
    pub time: i64,
    /// At which step of the training, if its client counts.
    pub step: Option<i64>,
    /// The value of each column.
    pub data: Map<String, Value>,
}

/// What one call logged under the name of a metric that is no plain number: list, table, matrix, image. What a run's calls logged under
/// one name is one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMetricDoc {
    /// The metric's name.
    pub name: String,
    /// What it is, such as `azureml.v1.table`.
    pub metric_type: String,
    /// The types of its columns.
    pub columns: BTreeMap<String, String>,
    /// What its client says of it.
    pub description: Option<String>,
    /// How it is labelled.
    pub label: Option<String>,
    /// The values, in the order in which they were logged; at least one.
    pub values: Vec<RunMetricValue>,
}

/// [`Kind::RunMetric`].
#[derive(Debug)]
pub struct RunMetric;

impl DataKind for RunMetric {
    const KIND: Kind = Kind::RunMetric;
    const PARENTS: &'static [Kind] = &[Kind::Run];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Lists, tables and other metrics of runs",
        purpose: "to tell what came out of a training where that is no plain number",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = RunMetricDoc;

    fn example() -> RunMetricDoc {
        let text = |text: &str| text.to_owned();
        RunMetricDoc {
            name: text("per class"),
            metric_type: text("azureml.v1.table"),
            columns: BTreeMap::from([(text("class"), text("string"))]),
            description: Some(text("of the last epoch")),
            label: Some(text("classes")),
            values: vec![RunMetricValue {
                id: text("7713f081-e484-4b48-b932-8140f2252d8c"),
                time: 1_000_000,
                step: Some(1),
                data: Map::from_iter([(text("class"), json!("oak"))]),
            }],
        }
    }

    /// The id of its first value: a call that is repeated adds nothing.
    fn unique_name(doc: &RunMetricDoc) -> Option<&str> {
        doc.values.first().map(|value| value.id.as_str())
    }

    fn attrs(doc: &RunMetricDoc, out: &mut Attrs) {
        out.push(AttrKey::MetricName, AttrValue::Text(doc.name.clone()));
        if let Some(first) = doc.values.first() {
            out.push(AttrKey::MetricId, AttrValue::Text(first.id.clone()));
        }
    }

    fn classify(doc: &RunMetricDoc, map: &mut DataMap) {
        let RunMetricDoc { name, metric_type, columns, description, label, values } = doc;
        map.field(name, "name", FieldClass::Content, "to tell metrics apart");
        map.field(metric_type, "metric_type", FieldClass::Technical, "how it is to be drawn");
        map.field(columns, "columns", FieldClass::Content, "the names and types of its columns");
        map.field(description, "description", FieldClass::Content, "what its client said of it");
        map.field(label, "label", FieldClass::Content, "how it is labelled");
        map.field(
            values,
            "values",
            FieldClass::Personal,
            "the values with their times; texts and addresses of files among them may name a person",
        );
    }

    fn view(node: &Node<RunMetricDoc>) -> View {
        View::new(node.doc.name.clone())
            .fact("Sort", &node.doc.metric_type)
            .fact("Values", node.doc.values.len())
            .fact("Logged", node.created_at)
    }

    fn export(node: &Node<RunMetricDoc>, out: &mut dyn Bundle) -> Result<()> {
        let (run, doc) = (node.parent.unwrap_or(Id::NIL), &node.doc);
        let values: Vec<Value> = doc
            .values
            .iter()
            .map(|value| {
                json!({
                    "metricId": value.id,
                    "createdUtc": Timestamp(value.time).rfc3339(),
                    "step": value.step,
                    "data": value.data,
                })
            })
            .collect();
        out.json(
            &format!("tracking/runs/{run}/metrics/{}.json", node.id),
            &json!({
                "name": doc.name,
                "columns": doc.columns,
                "description": doc.description,
                "label": doc.label,
                "value": values,
                "properties": { "uxMetricType": doc.metric_type },
            }),
        )
    }

    fn erase(_node: &Node<RunMetricDoc>, _why: Erasure) -> Fate<RunMetricDoc> {
        Fate::Delete
    }

    fn carry(_node: &mut Node<RunMetricDoc>) -> Result<Option<Carried<'_>>> {
        Ok(Some(Carried::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_name_of_its_own_in_run_history_and_mlflows_keep_theirs() {
        let names: std::collections::BTreeSet<&str> =
            RunStatus::ALL.iter().map(|status| status.history_name()).collect();
        assert_eq!(names.len(), RunStatus::ALL.len());
        let of_mlflow: std::collections::BTreeSet<&str> =
            RunStatus::OF_MLFLOW.iter().map(|status| status.name()).collect();
        assert_eq!(of_mlflow.len(), RunStatus::OF_MLFLOW.len());
        for status in RunStatus::ALL {
            assert!(of_mlflow.contains(status.name()));
        }
    }
}
