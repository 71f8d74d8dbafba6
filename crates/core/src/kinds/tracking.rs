//! Experiment tracking: workspaces, experiments, runs and what they logged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::custom_vision::BASIS;
use super::run_history::{RunDetails, RunStatus};
use crate::{
    About, AttrKey, AttrValue, Attrs, BlobRef, Bundle, Carried, DataKind, DataMap, Erasure, Error, Fate,
    FieldClass, Id, Kind, Node, Result, Retention, Timestamp, View,
};

pub(super) const SERVICE: &str = "Experiment tracking";
pub(super) const RECIPIENTS: &str = "people with whom the holder shares the workspace";

/// Whether an experiment, run or logged model is in use or was put aside; the names on MLflow's wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LifecycleStage {
    /// In use.
    #[default]
    Active,
    /// Put aside: it can be restored until it is erased.
    Deleted,
}

impl LifecycleStage {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            LifecycleStage::Active => "active",
            LifecycleStage::Deleted => "deleted",
        }
    }
}

/// A workspace: what a team's experiments, runs and models stand in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceDoc {
    /// Its name.
    pub name: String,
    /// Its place among Azure's resources, and what is noted there; none for a person's default workspace.
    #[serde(default)]
    pub azure: Option<AzureResource>,
    /// What Azure's clients set and are given back, under the names of the wire; nothing follows from it.
    #[serde(default)]
    pub settings: Map<String, Value>,
}

/// What Azure's control plane says of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AzureResource {
    /// Group and name in lower case, `GROUP/NAME`: unique among the holder's workspaces.
    pub key: String,
    /// The resource group.
    pub group: String,
    /// The region that was named; nothing follows from it.
    pub location: String,
    /// What its users noted.
    pub tags: BTreeMap<String, String>,
    /// The name that is shown.
    pub friendly_name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Ids of other resources by their roles, such as `storageAccount`, given back as they were sent.
    pub references: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: Option<Id>,
}

/// [`Kind::Workspace`].
#[derive(Debug)]
pub struct Workspace;

impl DataKind for Workspace {
    const KIND: Kind = Kind::Workspace;
    const PARENTS: &'static [Kind] = &[Kind::Person, Kind::Organisation];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Workspaces",
        purpose: "to keep the experiments, runs and models of one team together",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = WorkspaceDoc;

    fn example() -> WorkspaceDoc {
        let text = |text: &str| text.to_owned();
        WorkspaceDoc {
            name: text("Forest"),
            azure: Some(AzureResource {
                key: text("trees/forest"),
                group: text("Trees"),
                location: text("westeurope"),
                tags: BTreeMap::from([(text("team"), text("forest"))]),
                friendly_name: Some(text("The forest")),
                description: Some(text("trees")),
                references: BTreeMap::from([(text("storageAccount"), text("/subscriptions/x"))]),
                created_by: Some(Id::NIL),
            }),
            settings: Map::from_iter([(text("imageBuildCompute"), json!("cpus"))]),
        }
    }

    fn unique_name(doc: &WorkspaceDoc) -> Option<&str> {
        // A plain name has no slash.
        Some(doc.azure.as_ref().map_or(&doc.name, |azure| &azure.key))
    }

    fn maker(doc: &WorkspaceDoc) -> Option<Id> {
        doc.azure.as_ref()?.created_by
    }

    fn attrs(_doc: &WorkspaceDoc, _out: &mut Attrs) {}

    fn classify(doc: &WorkspaceDoc, map: &mut DataMap) {
        let WorkspaceDoc { name, azure, settings } = doc;
        map.field(name, "name", FieldClass::Content, "to tell workspaces apart");
        map.field(
            azure,
            "azure",
            FieldClass::Personal,
            "its group, region, tags, names, other resources and maker, as Azure's clients wrote them; may name a person",
        );
        map.field(
            settings,
            "settings",
            FieldClass::Personal,
            "what else Azure's clients set and are given back; may name a person",
        );
    }

    fn view(node: &Node<WorkspaceDoc>) -> View {
        let azure = node.doc.azure.as_ref();
        View::new(node.doc.name.clone())
            .optional("Resource group", azure.map(|azure| &azure.group))
            .optional("Description", azure.and_then(|azure| azure.description.as_ref()))
            .fact("Since", node.created_at)
    }

    fn export(node: &Node<WorkspaceDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("tracking/workspaces/{}.json", node.id),
            &json!({
                "id": node.id,
                "name": node.doc.name,
                "created": node.created_at.rfc3339(),
                "azure": node.doc.azure.as_ref().map(|azure| json!({
                    "resourceGroup": azure.group,
                    "location": azure.location,
                    "tags": azure.tags,
                    "friendlyName": azure.friendly_name,
                    "description": azure.description,
                    "references": azure.references,
                    "settings": node.doc.settings,
                })),
            }),
        )
    }

    fn erase(_node: &Node<WorkspaceDoc>, _why: Erasure) -> Fate<WorkspaceDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<WorkspaceDoc>) -> Result<Option<Carried<'_>>> {
        let WorkspaceDoc { name, azure, settings: _ } = &mut node.doc;
        let is_sound = match azure.as_ref() {
            Some(azure) => azure.key == format!("{}/{}", azure.group, name).to_lowercase(),
            None => !name.contains('/'),
        };
        if !is_sound {
            return Err(Error::invalid("a workspace is called otherwise than its address says"));
        }
        let (persons, unique) = match azure {
            Some(azure) => (vec![&mut azure.created_by], &mut azure.key),
            None => (Vec::new(), name),
        };
        Ok(Some(Carried { persons, unique: Some(unique), ..Carried::default() }))
    }
}

/// An experiment: runs that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentDoc {
    /// Its name, unique in the workspace.
    pub name: String,
    /// Where its artifacts were asked to go; none for the server's own storage.
    pub artifact_location: Option<String>,
    /// Whether it is in use.
    pub stage: LifecycleStage,
    /// What its users noted.
    pub tags: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: Option<Id>,
    /// How many runs run history has numbered in it.
    #[serde(default)]
    pub numbered: u64,
    /// When it was put aside, while it is; not of those that were before this was kept.
    #[serde(default)]
    pub archived_at: Option<Timestamp>,
}

impl ExperimentDoc {
    /// An experiment that has just been made: nothing is known of it but its name.
    pub fn new(name: String, created_by: Id) -> ExperimentDoc {
        ExperimentDoc {
            name,
            artifact_location: None,
            stage: LifecycleStage::Active,
            tags: BTreeMap::new(),
            created_by: Some(created_by),
            numbered: 0,
            archived_at: None,
        }
    }

    /// Puts it aside, or takes it back; `now` is when.
    pub fn set_stage(&mut self, stage: LifecycleStage, now: Timestamp) {
        if stage != self.stage {
            self.stage = stage;
            self.archived_at = (stage == LifecycleStage::Deleted).then_some(now);
        }
    }
}

/// [`Kind::Experiment`].
#[derive(Debug)]
pub struct Experiment;

impl DataKind for Experiment {
    const KIND: Kind = Kind::Experiment;
    const PARENTS: &'static [Kind] = &[Kind::Workspace, Kind::ExperimentationProject];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Experiments",
        purpose: "to keep runs that are compared together",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = ExperimentDoc;

    fn example() -> ExperimentDoc {
        ExperimentDoc {
            name: "trees".into(),
            artifact_location: Some("mlflow-artifacts:/".into()),
            stage: LifecycleStage::Active,
            tags: BTreeMap::from([("mlflow.note.content".to_owned(), "first try".to_owned())]),
            created_by: Some(Id::NIL),
            numbered: 1,
            archived_at: Some(Timestamp(1)),
        }
    }

    fn unique_name(doc: &ExperimentDoc) -> Option<&str> {
        Some(&doc.name)
    }

    fn maker(doc: &ExperimentDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &ExperimentDoc, _out: &mut Attrs) {}

    fn classify(doc: &ExperimentDoc, map: &mut DataMap) {
        let ExperimentDoc { name, artifact_location, stage, tags, created_by, numbered, archived_at } = doc;
        map.field(name, "name", FieldClass::Content, "to tell experiments apart");
        map.field(
            artifact_location,
            "artifact_location",
            FieldClass::Personal,
            "where its artifacts were asked to go; a path may name a person",
        );
        map.field(stage, "stage", FieldClass::Technical, "whether it is in use");
        map.field(tags, "tags", FieldClass::Personal, "what its users noted; may name a person");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
        map.field(numbered, "numbered", FieldClass::Technical, "how many runs were numbered in it");
        map.field(archived_at, "archived_at", FieldClass::Personal, "when somebody put it aside");
    }

    fn view(node: &Node<ExperimentDoc>) -> View {
        View::new(node.doc.name.clone())
            .fact("Made", node.created_at)
            .fact("State", node.doc.stage.name())
            .fact("Tags", node.doc.tags.len())
    }

    fn export(node: &Node<ExperimentDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        out.json(
            &format!("tracking/experiments/{}.json", node.id),
            &json!({
                "experiment_id": node.id.to_hex(),
                "workspace": node.parent,
                "name": doc.name,
                "artifact_location": doc.artifact_location,
                "lifecycle_stage": doc.stage.name(),
                "creation_time": node.created_at.0 / 1000,
                "last_update_time": node.updated_at.0 / 1000,
                "archived_time": doc.archived_at.map(|time| time.0 / 1000),
                "tags": doc.tags,
            }),
        )
    }

    fn erase(_node: &Node<ExperimentDoc>, _why: Erasure) -> Fate<ExperimentDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ExperimentDoc>) -> Result<Option<Carried<'_>>> {
        Ok(Some(Carried { persons: vec![&mut node.doc.created_by], ..Carried::default() }))
    }
}

/// A model that a run made, and at which step of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOutput {
    /// The logged model's name on the wire.
    pub model_id: String,
    /// The step of the run.
    pub step: i64,
}

/// A run: one execution of a training script. Its metrics stand in tables of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDoc {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub status: RunStatus,
    /// When its client says it began, in milliseconds since 1970.
    pub start_time: i64,
    /// When its client says it ended, in milliseconds since 1970.
    pub end_time: Option<i64>,
    /// Whether it is in use.
    pub stage: LifecycleStage,
    /// The login name that its client sent: a [`ClientName`](super::ClientName) of the person who sent it.
    pub user: Option<Id>,
    /// The login name that its client sent as the tag `mlflow.user`.
    pub user_tag: Option<Id>,
    /// What its client was told to note, other than the user.
    pub tags: BTreeMap<String, String>,
    /// What the training was set to.
    pub params: BTreeMap<String, String>,
    /// How many datasets it learned from.
    pub datasets: u32,
    /// The logged models that it read, by their names on the wire.
    pub model_inputs: Vec<String>,
    /// The logged models that it made.
    pub model_outputs: Vec<ModelOutput>,
    /// Who made it.
    pub created_by: Option<Id>,
    /// What run history's clients say of it beyond that.
    #[serde(default)]
    pub details: RunDetails,
}

impl RunDoc {
    /// A run that has just been made: nothing is known of it but its name, and when it began, in milliseconds since 1970.
    pub fn new(name: String, status: RunStatus, start_time: i64, created_by: Id) -> RunDoc {
        RunDoc {
            name,
            status,
            start_time,
            end_time: None,
            stage: LifecycleStage::Active,
            user: None,
            user_tag: None,
            tags: BTreeMap::new(),
            params: BTreeMap::new(),
            datasets: 0,
            model_inputs: Vec::new(),
            model_outputs: Vec::new(),
            created_by: Some(created_by),
            details: RunDetails::default(),
        }
    }
}

/// The parameter of a run by which `azureml-core` names the snapshot of its source folder.
pub const SOURCE_SNAPSHOT: &str = "ContentSnapshotId";

/// [`Kind::Run`].
#[derive(Debug)]
pub struct Run;

impl DataKind for Run {
    const KIND: Kind = Kind::Run;
    const PARENTS: &'static [Kind] = &[Kind::Experiment];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Runs",
        purpose: "to tell what a training did, with which settings and result",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = RunDoc;

    fn example() -> RunDoc {
        let text = |text: &str| text.to_owned();
        RunDoc {
            name: text("bold-crane-7"),
            status: RunStatus::Finished,
            start_time: 1,
            end_time: Some(2),
            stage: LifecycleStage::Active,
            user: Some(Id::NIL),
            user_tag: Some(Id::NIL),
            tags: BTreeMap::from([(text("mlflow.source.name"), text("train.py"))]),
            params: BTreeMap::from([(text("learning_rate"), text("0.1"))]),
            datasets: 1,
            model_inputs: vec![text("m-00000000000000000000000000000000")],
            model_outputs: vec![ModelOutput {
                model_id: text("m-00000000000000000000000000000000"),
                step: 0,
            }],
            created_by: Some(Id::NIL),
            details: RunDetails {
                run_id: Some(text("trees_1")),
                number: Some(1),
                name: Some(text("run_trees_1")),
                fields: Map::from_iter([(text("target"), json!("local"))]),
            },
        }
    }

    fn unique_name(doc: &RunDoc) -> Option<&str> {
        doc.details.run_id.as_deref()
    }

    fn maker(doc: &RunDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(doc: &RunDoc, out: &mut Attrs) {
        if let Some(id) = &doc.details.run_id {
            out.push(AttrKey::RunId, AttrValue::Text(id.clone()));
        }
        if let Some(snapshot) = doc.params.get(SOURCE_SNAPSHOT) {
            out.push(AttrKey::SourceSnapshot, AttrValue::Text(snapshot.clone()));
        }
    }

    fn classify(doc: &RunDoc, map: &mut DataMap) {
        let RunDoc {
            name,
            status,
            start_time,
            end_time,
            stage,
            user,
            user_tag,
            tags,
            params,
            datasets,
            model_inputs,
            model_outputs,
            created_by,
            details,
        } = doc;
        map.field(name, "name", FieldClass::Content, "to tell runs apart");
        map.field(status, "status", FieldClass::Technical, "how far it is");
        map.field(start_time, "start_time", FieldClass::Personal, "when somebody's training began");
        map.field(end_time, "end_time", FieldClass::Personal, "when it ended");
        map.field(stage, "stage", FieldClass::Technical, "whether it is in use");
        map.field(user, "user", FieldClass::Personal, "random id of the login name that its client sent");
        map.field(
            user_tag,
            "user_tag",
            FieldClass::Personal,
            "random id of the login name that its client sent as a tag",
        );
        map.field(
            tags,
            "tags",
            FieldClass::Personal,
            "what its client noted: script path, commit, notes; may name a person",
        );
        map.field(params, "params", FieldClass::Content, "what the training was set to");
        map.field(datasets, "datasets", FieldClass::Technical, "how many datasets it learned from");
        map.field(model_inputs, "model_inputs", FieldClass::Technical, "random ids of models that it read");
        map.field(model_outputs, "model_outputs", FieldClass::Technical, "random ids of models that it made");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
        map.field(
            details,
            "details",
            FieldClass::Personal,
            "its id, number and name as Azure ML's client has them, its run definition, where it ran, errors; paths in them may name a person",
        );
    }

    fn view(node: &Node<RunDoc>) -> View {
        let doc = &node.doc;
        View::new(doc.name.clone())
            .fact("Status", doc.status.name())
            .fact("Began", Timestamp(doc.start_time.saturating_mul(1000)))
            .fact("State", doc.stage.name())
            .fact("Parameters", doc.params.len())
            .fact("Tags", doc.tags.len())
    }

    fn export(node: &Node<RunDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        let names = [doc.user, doc.user_tag].map(|name| match name {
            Some(name) => out.title(name),
            None => Ok(None),
        });
        let [user, user_tag] = names;
        out.json(
            &format!("{}/run.json", run_folder(node.id)),
            &json!({
                "run_id": node.id.to_hex(),
                "experiment_id": node.parent.map(|id| id.to_hex()),
                "run_name": doc.name,
                "user_id": user?,
                "mlflow.user": user_tag?,
                "status": doc.status.name(),
                "start_time": doc.start_time,
                "end_time": doc.end_time,
                "lifecycle_stage": doc.stage.name(),
                "params": doc.params,
                "tags": doc.tags,
                "model_inputs": doc.model_inputs,
                "model_outputs": doc.model_outputs,
                "run_history": {
                    "runId": doc.details.run_id,
                    "runNumber": doc.details.number,
                    "name": doc.details.name,
                    "status": doc.status.history_name(),
                    "fields": doc.details.fields,
                },
            }),
        )?;
        out.metrics(&format!("{}/metrics.csv", run_folder(node.id)), node.id)
    }

    fn erase(_node: &Node<RunDoc>, _why: Erasure) -> Fate<RunDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<RunDoc>) -> Result<Option<Carried<'_>>> {
        let metrics = Some(format!("{}/metrics.csv", run_folder(node.id)));
        let RunDoc { user, user_tag, created_by, .. } = &mut node.doc;
        Ok(Some(Carried {
            persons: vec![created_by],
            login_names: vec![user, user_tag],
            metrics,
            is_made: true,
            ..Carried::default()
        }))
    }
}

/// Where an archive has a run.
fn run_folder(run: Id) -> String {
    format!("tracking/runs/{run}")
}

/// A file that a run, or the maker of a logged model or of a snapshot, stored; or one of a workspace or project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtifactDoc {
    /// Its path below the run, model or snapshot, with `/` between its parts; of a workspace or project, `ORIGIN/CONTAINER/PATH`.
    pub path: String,
    /// Its bytes.
    pub content: BlobRef,
    /// Who stored it.
    pub created_by: Option<Id>,
    /// The number of the piece that was added to it last; none where it was stored as a whole, or its client numbers nothing.
    #[serde(default)]
    pub piece: Option<u64>,
}

/// Where an archive has the bytes of an artifact.
fn artifact_file(node: &Node<ArtifactDoc>) -> String {
    format!("tracking/artifacts/{}/{}.bin", node.parent.unwrap_or(Id::NIL), node.id)
}

/// [`Kind::Artifact`].
#[derive(Debug)]
pub struct Artifact;

impl DataKind for Artifact {
    const KIND: Kind = Kind::Artifact;
    const PARENTS: &'static [Kind] =
        &[Kind::Run, Kind::LoggedModel, Kind::Snapshot, Kind::Workspace, Kind::ExperimentationProject];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Artifacts",
        purpose: "to keep what trainings made: models, pictures, reports",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = ArtifactDoc;

    fn example() -> ArtifactDoc {
        ArtifactDoc {
            path: "model/MLmodel".into(),
            content: BlobRef {
                id: Id::NIL,
                key: crate::crypto::SecretKey::from_bytes([0; 32]),
                size: 1,
                media_type: "application/octet-stream".into(),
            },
            created_by: Some(Id::NIL),
            piece: Some(1),
        }
    }

    fn unique_name(doc: &ArtifactDoc) -> Option<&str> {
        Some(&doc.path)
    }

    fn maker(doc: &ArtifactDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &ArtifactDoc, _out: &mut Attrs) {}

    fn classify(doc: &ArtifactDoc, map: &mut DataMap) {
        let ArtifactDoc { path, content, created_by, piece } = doc;
        map.field(path, "path", FieldClass::Personal, "to find it again; may name a person");
        map.field(content, "content", FieldClass::Content, "its bytes; may hold anything about anybody");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who stored it");
        map.field(
            piece,
            "piece",
            FieldClass::Technical,
            "number of the piece that was added last, to know it when it is sent again",
        );
    }

    fn view(node: &Node<ArtifactDoc>) -> View {
        View::new(node.doc.path.clone()).fact("Bytes", node.doc.content.size).fact("Stored", node.created_at)
    }

    fn export(node: &Node<ArtifactDoc>, out: &mut dyn Bundle) -> Result<()> {
        let owner = node.parent.unwrap_or(Id::NIL);
        let file = artifact_file(node);
        out.blob(&file, &node.doc.content)?;
        out.row(
            "tracking/artifacts.csv",
            &["file", "run_or_model", "path", "bytes", "stored"],
            &[
                file,
                owner.to_string(),
                node.doc.path.clone(),
                node.doc.content.size.to_string(),
                node.created_at.rfc3339(),
            ],
        )
    }

    fn erase(_node: &Node<ArtifactDoc>, _why: Erasure) -> Fate<ArtifactDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ArtifactDoc>) -> Result<Option<Carried<'_>>> {
        let path = artifact_file(node);
        let ArtifactDoc { path: name, content, created_by, piece: _ } = &mut node.doc;
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !name.split('/').all(is_plain) || name.contains(['\\', '\0']) {
            return Err(Error::invalid("the path of an artifact leads out of its folder"));
        }
        Ok(Some(Carried { persons: vec![created_by], files: vec![(path, content)], ..Carried::default() }))
    }
}
