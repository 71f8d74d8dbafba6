//! Experiment tracking: logged models and the model registry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::custom_vision::BASIS;
use super::model_management::Settings;
use super::tracking::{LifecycleStage, RECIPIENTS, SERVICE};
use crate::{
    About, Attrs, Bundle, Carried, DataKind, DataMap, Erasure, Error, Fate, FieldClass, Id, Kind, Node,
    Result, Retention, View,
};

/// How far a logged model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoggedModelStatus {
    /// Its files are being stored.
    #[default]
    Pending,
    /// Whole.
    Ready,
    /// Its files could not be stored.
    UploadFailed,
}

/// A model that a script made, before anybody registered it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedModelDoc {
    /// Its name.
    pub name: String,
    /// What sort of model its maker says it is.
    pub model_type: Option<String>,
    /// The run that made it, by its name on the wire.
    pub source_run: Option<String>,
    /// How far it is.
    pub status: LoggedModelStatus,
    /// Whether it is in use.
    pub stage: LifecycleStage,
    /// What its maker noted, other than the user.
    pub tags: BTreeMap<String, String>,
    /// What its training was set to.
    pub params: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: Option<Id>,
    /// The login name that its client sent as the tag `mlflow.user`: a [`ClientName`](super::ClientName) of the person who sent it.
    #[serde(default)]
    pub user_tag: Option<Id>,
}

/// [`Kind::LoggedModel`].
#[derive(Debug)]
pub struct LoggedModel;

impl DataKind for LoggedModel {
    const KIND: Kind = Kind::LoggedModel;
    const PARENTS: &'static [Kind] = &[Kind::Experiment];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Logged models",
        purpose: "to keep what trainings made, with where it comes from",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = LoggedModelDoc;

    fn example() -> LoggedModelDoc {
        let text = |text: &str| text.to_owned();
        LoggedModelDoc {
            name: text("classifier"),
            model_type: Some(text("classifier")),
            source_run: Some("0".repeat(32)),
            status: LoggedModelStatus::Ready,
            stage: LifecycleStage::Active,
            tags: BTreeMap::from([(text("note"), text("first"))]),
            params: BTreeMap::from([(text("depth"), text("3"))]),
            created_by: Some(Id::NIL),
            user_tag: Some(Id::NIL),
        }
    }

    fn unique_name(_doc: &LoggedModelDoc) -> Option<&str> {
        None
    }

    fn maker(doc: &LoggedModelDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &LoggedModelDoc, _out: &mut Attrs) {}

    fn classify(doc: &LoggedModelDoc, map: &mut DataMap) {
        let LoggedModelDoc {
            name,
            model_type,
            source_run,
            status,
            stage,
            tags,
            params,
            created_by,
            user_tag,
        } = doc;
        map.field(name, "name", FieldClass::Content, "to tell models apart");
        map.field(model_type, "model_type", FieldClass::Content, "what sort of model it is");
        map.field(source_run, "source_run", FieldClass::Technical, "random id of the run that made it");
        map.field(status, "status", FieldClass::Technical, "whether its files are stored");
        map.field(stage, "stage", FieldClass::Technical, "whether it is in use");
        map.field(tags, "tags", FieldClass::Personal, "what its maker noted; may name a person");
        map.field(params, "params", FieldClass::Content, "what its training was set to");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
        map.field(
            user_tag,
            "user_tag",
            FieldClass::Personal,
            "random id of the login name that its client sent as a tag",
        );
    }

    fn view(node: &Node<LoggedModelDoc>) -> View {
        View::new(node.doc.name.clone())
            .fact("Made", node.created_at)
            .fact("State", node.doc.stage.name())
            .optional("Sort", node.doc.model_type.as_deref())
    }

    fn export(node: &Node<LoggedModelDoc>, out: &mut dyn Bundle) -> Result<()> {
        let user_tag = node.doc.user_tag.map(|name| out.title(name)).transpose()?.flatten();
        out.json(
            &format!("{}/model.json", model_folder(node.id)),
            &json!({
                "model_id": format!("m-{}", node.id.to_hex()),
                "experiment_id": node.parent.map(|id| id.to_hex()),
                "created": node.created_at.rfc3339(),
                "name": node.doc.name,
                "model_type": node.doc.model_type,
                "source_run_id": node.doc.source_run,
                "status": node.doc.status,
                "lifecycle_stage": node.doc.stage.name(),
                "mlflow.user": user_tag,
                "tags": node.doc.tags,
                "params": node.doc.params,
            }),
        )?;
        out.metrics(&format!("{}/metrics.csv", model_folder(node.id)), node.id)
    }

    fn erase(_node: &Node<LoggedModelDoc>, _why: Erasure) -> Fate<LoggedModelDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<LoggedModelDoc>) -> Result<Option<Carried<'_>>> {
        let metrics = Some(format!("{}/metrics.csv", model_folder(node.id)));
        let LoggedModelDoc { user_tag, created_by, .. } = &mut node.doc;
        Ok(Some(Carried {
            persons: vec![created_by],
            login_names: vec![user_tag],
            metrics,
            is_made: true,
            ..Carried::default()
        }))
    }
}

/// Where an archive has a logged model.
fn model_folder(model: Id) -> String {
    format!("tracking/models/{model}")
}

/// A name in the model registry, under which versions are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredModelDoc {
    /// Its name, unique in the workspace.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What its users noted.
    pub tags: BTreeMap<String, String>,
    /// Names that stand for a version.
    pub aliases: BTreeMap<String, u32>,
    /// The number of the newest version ever made: numbers are not used again.
    pub newest: u32,
    /// Who made it.
    pub created_by: Option<Id>,
}

/// [`Kind::RegisteredModel`].
#[derive(Debug)]
pub struct RegisteredModel;

impl DataKind for RegisteredModel {
    const KIND: Kind = Kind::RegisteredModel;
    const PARENTS: &'static [Kind] = &[Kind::Workspace, Kind::ExperimentationProject, Kind::HostingAccount];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Registered models",
        purpose: "to find the models in use by name",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = RegisteredModelDoc;

    fn example() -> RegisteredModelDoc {
        let text = |text: &str| text.to_owned();
        RegisteredModelDoc {
            name: text("trees"),
            description: Some(text("tells trees apart")),
            tags: BTreeMap::from([(text("team"), text("forest"))]),
            aliases: BTreeMap::from([(text("champion"), 1)]),
            newest: 1,
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(doc: &RegisteredModelDoc) -> Option<&str> {
        Some(&doc.name)
    }

    fn maker(doc: &RegisteredModelDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &RegisteredModelDoc, _out: &mut Attrs) {}

    fn classify(doc: &RegisteredModelDoc, map: &mut DataMap) {
        let RegisteredModelDoc { name, description, tags, aliases, newest, created_by } = doc;
        map.field(name, "name", FieldClass::Content, "to find it by");
        map.field(description, "description", FieldClass::Personal, "what it is for; may name a person");
        map.field(tags, "tags", FieldClass::Personal, "what its users noted; may name a person");
        map.field(aliases, "aliases", FieldClass::Content, "names that stand for a version");
        map.field(newest, "newest", FieldClass::Technical, "number of the newest version ever made");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
    }

    fn view(node: &Node<RegisteredModelDoc>) -> View {
        View::new(node.doc.name.clone())
            .fact("Made", node.created_at)
            .fact("Versions made", node.doc.newest)
            .optional("Description", node.doc.description.as_deref())
    }

    fn export(node: &Node<RegisteredModelDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("tracking/registered-models/{}/model.json", node.id),
            &json!({
                "name": node.doc.name,
                "created": node.created_at.rfc3339(),
                "description": node.doc.description,
                "tags": node.doc.tags,
                "aliases": node.doc.aliases,
            }),
        )
    }

    fn erase(_node: &Node<RegisteredModelDoc>, _why: Erasure) -> Fate<RegisteredModelDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<RegisteredModelDoc>) -> Result<Option<Carried<'_>>> {
        Ok(Some(Carried { persons: vec![&mut node.doc.created_by], ..Carried::default() }))
    }
}

/// Which use a version is meant for; deprecated in MLflow and still used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelStage {
    /// None said.
    #[default]
    None,
    /// To be tried.
    Staging,
    /// In use.
    Production,
    /// No longer in use.
    Archived,
}

impl ModelStage {
    /// All of them.
    pub const ALL: [ModelStage; 4] =
        [ModelStage::None, ModelStage::Staging, ModelStage::Production, ModelStage::Archived];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            ModelStage::None => "None",
            ModelStage::Staging => "Staging",
            ModelStage::Production => "Production",
            ModelStage::Archived => "Archived",
        }
    }
}

/// A version of a registered model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersionDoc {
    /// Counts from 1.
    pub number: u32,
    /// [`number`](Self::number) as text: what makes it unique under its model.
    pub name: String,
    /// Where it was registered from: an address of files, or another version, `models:/NAME/VERSION`.
    pub source: String,
    /// The address of its files where `source` is another version: that one's own, which stays when it is renamed or deleted.
    #[serde(default)]
    pub storage: Option<String>,
    /// The run that made it, by its name on the wire.
    pub run: Option<String>,
    /// A page about that run.
    pub run_link: Option<String>,
    /// The logged model it was made from, by its name on the wire.
    pub model_id: Option<String>,
    /// Which use it is meant for.
    pub stage: ModelStage,
    /// What is to be said of it.
    pub description: Option<String>,
    /// What its users noted.
    pub tags: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: Option<Id>,
    /// What Azure's clients say of it beyond that, by the names of their wire.
    #[serde(default)]
    pub azure: Settings,
}

impl ModelVersionDoc {
    /// The address of its files.
    pub fn address(&self) -> &str {
        self.storage.as_deref().unwrap_or(&self.source)
    }
}

/// [`Kind::ModelVersion`].
#[derive(Debug)]
pub struct ModelVersion;

impl DataKind for ModelVersion {
    const KIND: Kind = Kind::ModelVersion;
    const PARENTS: &'static [Kind] = &[Kind::RegisteredModel];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Model versions",
        purpose: "to tell which model was in use when",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = ModelVersionDoc;

    fn example() -> ModelVersionDoc {
        let text = |text: &str| text.to_owned();
        ModelVersionDoc {
            number: 1,
            name: text("1"),
            source: text("models:/trees/1"),
            storage: Some(text("models:/m-00000000000000000000000000000000")),
            run: Some("0".repeat(32)),
            run_link: Some(text("runs/1")),
            model_id: Some(text("m-00000000000000000000000000000000")),
            stage: ModelStage::None,
            description: Some(text("first")),
            tags: BTreeMap::from([(text("checked"), text("yes"))]),
            created_by: Some(Id::NIL),
            azure: Settings::from([(text("framework"), json!("Onnx"))]),
        }
    }

    fn unique_name(doc: &ModelVersionDoc) -> Option<&str> {
        Some(&doc.name)
    }

    fn maker(doc: &ModelVersionDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &ModelVersionDoc, _out: &mut Attrs) {}

    fn classify(doc: &ModelVersionDoc, map: &mut DataMap) {
        let ModelVersionDoc {
            number,
            name,
            source,
            storage,
            run,
            run_link,
            model_id,
            stage,
            description,
            tags,
            created_by,
            azure,
        } = doc;
        map.field(number, "number", FieldClass::Technical, "to tell versions apart");
        map.field(name, "name", FieldClass::Technical, "the number as text, unique under the model");
        map.field(
            source,
            "source",
            FieldClass::Personal,
            "where it was registered from; a path may name a person",
        );
        map.field(
            storage,
            "storage",
            FieldClass::Personal,
            "where its files are, if its source is another version; a path may name a person",
        );
        map.field(run, "run", FieldClass::Technical, "random id of the run that made it");
        map.field(run_link, "run_link", FieldClass::Personal, "a page about that run");
        map.field(model_id, "model_id", FieldClass::Technical, "random id of the logged model");
        map.field(stage, "stage", FieldClass::Technical, "which use it is meant for");
        map.field(
            description,
            "description",
            FieldClass::Personal,
            "what is to be said of it; may name a person",
        );
        map.field(tags, "tags", FieldClass::Personal, "what its users noted; may name a person");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
        map.field(
            azure,
            "azure",
            FieldClass::Personal,
            "framework, address and notes as Azure's clients wrote them; may name a person",
        );
    }

    fn view(node: &Node<ModelVersionDoc>) -> View {
        View::new(format!("Version {}", node.doc.number))
            .fact("Made", node.created_at)
            .fact("Stage", node.doc.stage.name())
            .optional("Description", node.doc.description.as_deref())
    }

    fn export(node: &Node<ModelVersionDoc>, out: &mut dyn Bundle) -> Result<()> {
        let model = node.parent.unwrap_or(Id::NIL);
        out.json(
            &format!("tracking/registered-models/{model}/versions/{}.json", node.doc.number),
            &serde_json::to_value(&node.doc)?,
        )
    }

    fn erase(_node: &Node<ModelVersionDoc>, _why: Erasure) -> Fate<ModelVersionDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ModelVersionDoc>) -> Result<Option<Carried<'_>>> {
        let ModelVersionDoc { number, name, created_by, .. } = &mut node.doc;
        if *name != number.to_string() {
            return Err(Error::invalid("a version is called otherwise than its number"));
        }
        Ok(Some(Carried { persons: vec![created_by], is_made: true, ..Carried::default() }))
    }
}
