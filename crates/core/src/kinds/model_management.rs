//! Azure ML's model management: assets, manifests, images and services. Models themselves are
//! [`RegisteredModel`](super::RegisteredModel) and [`ModelVersion`](super::ModelVersion), shared with MLflow's registry.
//!
//! What a client sets and the server only gives back stands in `settings`, under the names of the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::custom_vision::{BASIS, KeyPair};
use super::tracking::RECIPIENTS;
use crate::{
    About, Attrs, Bundle, Carried, DataKind, DataMap, Erasure, Error, Fate, FieldClass, Id, Kind, Node,
    Result, Retention, Timestamp, View,
};

const SERVICE: &str = "Model management";

/// Members of a request by their names on the wire, given back as they were sent.
pub type Settings = BTreeMap<String, Value>;

/// Refuses a key that another name or version would have.
fn require_key(key: &str, name: &str, version: u32) -> Result<()> {
    if key == format!("{name}:{version}") {
        return Ok(());
    }
    Err(Error::invalid("a manifest or image is found by another name or version than its own"))
}

/// One artifact, or all whose names begin alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetArtifact {
    /// `ORIGIN/CONTAINER/PATH` of one artifact.
    pub id: Option<String>,
    /// What the names of several begin with.
    pub prefix: Option<String>,
}

/// Artifacts under one name: what a model's address `aml://asset/ID` leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelAssetDoc {
    /// Its name; several may share it.
    pub name: String,
    /// What sort of asset its maker says it is.
    pub sort: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The artifacts.
    pub artifacts: Vec<AssetArtifact>,
    /// What its users noted.
    pub tags: BTreeMap<String, String>,
    /// What its maker noted for good.
    pub properties: BTreeMap<String, String>,
    /// The run that made it, by its name on the wire.
    pub run: Option<String>,
    /// The project it was said to belong to.
    pub project: Option<String>,
    /// Further notes of its maker.
    pub meta: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: Option<Id>,
}

/// [`Kind::ModelAsset`].
#[derive(Debug)]
pub struct ModelAsset;

impl DataKind for ModelAsset {
    const KIND: Kind = Kind::ModelAsset;
    const PARENTS: &'static [Kind] = &[Kind::Workspace, Kind::ExperimentationProject, Kind::HostingAccount];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Assets of models",
        purpose: "to tell which files a registered model consists of",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = ModelAssetDoc;

    fn example() -> ModelAssetDoc {
        let text = |text: &str| text.to_owned();
        ModelAssetDoc {
            name: text("trees"),
            sort: Some(text("model")),
            description: Some(text("tells trees apart")),
            artifacts: vec![AssetArtifact { id: None, prefix: Some(text("ExperimentRun/dcid.1/outputs")) }],
            tags: BTreeMap::from([(text("team"), text("forest"))]),
            properties: BTreeMap::from([(text("origin"), text("field"))]),
            run: Some(text("1")),
            project: Some(text("trees")),
            meta: BTreeMap::from([(text("note"), text("first"))]),
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(_doc: &ModelAssetDoc) -> Option<&str> {
        None
    }

    fn maker(doc: &ModelAssetDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &ModelAssetDoc, _out: &mut Attrs) {}

    fn classify(doc: &ModelAssetDoc, map: &mut DataMap) {
        let ModelAssetDoc {
            name,
            sort,
            description,
            artifacts,
            tags,
            properties,
            run,
            project,
            meta,
            created_by,
        } = doc;
        map.field(name, "name", FieldClass::Content, "to tell assets apart");
        map.field(sort, "sort", FieldClass::Content, "what sort of asset it is");
        map.field(description, "description", FieldClass::Personal, "what it is for; may name a person");
        map.field(
            artifacts,
            "artifacts",
            FieldClass::Personal,
            "which files it consists of; a path may name a person",
        );
        map.field(tags, "tags", FieldClass::Personal, "what its users noted; may name a person");
        map.field(properties, "properties", FieldClass::Personal, "what its maker noted; may name a person");
        map.field(run, "run", FieldClass::Technical, "random id of the run that made it");
        map.field(project, "project", FieldClass::Content, "the project it was said to belong to");
        map.field(meta, "meta", FieldClass::Personal, "further notes of its maker; may name a person");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
    }

    fn view(node: &Node<ModelAssetDoc>) -> View {
        View::new(node.doc.name.clone())
            .fact("Made", node.created_at)
            .fact("Artifacts", node.doc.artifacts.len())
            .optional("Description", node.doc.description.as_deref())
    }

    fn export(node: &Node<ModelAssetDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        out.json(
            &format!("model-management/assets/{}.json", node.id),
            &json!({
                "id": node.id,
                "createdTime": node.created_at.rfc3339(),
                "name": doc.name,
                "type": doc.sort,
                "description": doc.description,
                "artifacts": doc.artifacts,
                "kvTags": doc.tags,
                "properties": doc.properties,
                "runid": doc.run,
                "projectid": doc.project,
                "meta": doc.meta,
            }),
        )
    }

    fn erase(_node: &Node<ModelAssetDoc>, _why: Erasure) -> Fate<ModelAssetDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ModelAssetDoc>) -> Result<Option<Carried<'_>>> {
        Ok(Some(Carried { persons: vec![&mut node.doc.created_by], ..Carried::default() }))
    }
}

/// A manifest: which models a service consists of, and the program around them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestDoc {
    /// `NAME:VERSION`: what makes it unique in its account.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Counts from 1 under one name.
    pub version: u32,
    /// What it is for.
    pub description: Option<String>,
    /// The versions of models that it names.
    pub models: Vec<Id>,
    /// Program, files and runtime, as its client wrote them.
    pub settings: Settings,
    /// Who made it.
    pub created_by: Option<Id>,
}

/// [`Kind::Manifest`].
#[derive(Debug)]
pub struct Manifest;

impl DataKind for Manifest {
    const KIND: Kind = Kind::Manifest;
    const PARENTS: &'static [Kind] = &[Kind::HostingAccount];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Manifests",
        purpose: "to tell what a service is made from",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = ManifestDoc;

    fn example() -> ManifestDoc {
        ManifestDoc {
            key: "trees:1".into(),
            name: "trees".into(),
            version: 1,
            description: Some("tells trees apart".into()),
            models: vec![Id::NIL],
            settings: Settings::from([("driverProgram".to_owned(), json!("score.py"))]),
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(doc: &ManifestDoc) -> Option<&str> {
        Some(&doc.key)
    }

    fn maker(doc: &ManifestDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &ManifestDoc, _out: &mut Attrs) {}

    fn classify(doc: &ManifestDoc, map: &mut DataMap) {
        let ManifestDoc { key, name, version, description, models, settings, created_by } = doc;
        map.field(key, "key", FieldClass::Content, "name and version, unique in the account");
        map.field(name, "name", FieldClass::Content, "to find it by");
        map.field(version, "version", FieldClass::Technical, "to tell versions apart");
        map.field(description, "description", FieldClass::Personal, "what it is for; may name a person");
        map.field(models, "models", FieldClass::Technical, "random ids of its models");
        map.field(
            settings,
            "settings",
            FieldClass::Personal,
            "program, files and runtime as its client wrote them; may name a person",
        );
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
    }

    fn view(node: &Node<ManifestDoc>) -> View {
        View::new(node.doc.key.clone())
            .fact("Made", node.created_at)
            .fact("Models", node.doc.models.len())
            .optional("Description", node.doc.description.as_deref())
    }

    fn export(node: &Node<ManifestDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("model-management/manifests/{}.json", node.id),
            &json!({
                "id": node.id,
                "createdTime": node.created_at.rfc3339(),
                "name": node.doc.name,
                "version": node.doc.version,
                "description": node.doc.description,
                "modelIds": node.doc.models,
                "settings": node.doc.settings,
            }),
        )
    }

    fn erase(_node: &Node<ManifestDoc>, _why: Erasure) -> Fate<ManifestDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ManifestDoc>) -> Result<Option<Carried<'_>>> {
        let ManifestDoc { key, name, version, created_by, .. } = &mut node.doc;
        require_key(key, name, *version)?;
        Ok(Some(Carried { persons: vec![created_by], is_made: true, ..Carried::default() }))
    }
}

/// The record of a container image: nothing is built from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerImageDoc {
    /// `NAME:VERSION`: what makes it unique in its account or workspace.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Counts from 1 under one name.
    pub version: u32,
    /// What it is for.
    pub description: Option<String>,
    /// What its users noted.
    pub tags: BTreeMap<String, String>,
    /// What its maker noted for good.
    pub properties: BTreeMap<String, String>,
    /// The manifest it was made from, in the form of 2017.
    pub manifest: Option<Id>,
    /// The versions of models that it holds.
    pub models: Vec<Id>,
    /// Program, files, runtime and compute resource, as its client wrote them.
    pub settings: Settings,
    /// Who made it.
    pub created_by: Option<Id>,
}

/// [`Kind::ContainerImage`].
#[derive(Debug)]
pub struct ContainerImage;

impl DataKind for ContainerImage {
    const KIND: Kind = Kind::ContainerImage;
    const PARENTS: &'static [Kind] = &[Kind::Workspace, Kind::ExperimentationProject, Kind::HostingAccount];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Container images",
        purpose: "to tell what a service was deployed from",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = ContainerImageDoc;

    fn example() -> ContainerImageDoc {
        let text = |text: &str| text.to_owned();
        ContainerImageDoc {
            key: text("trees:1"),
            name: text("trees"),
            version: 1,
            description: Some(text("tells trees apart")),
            tags: BTreeMap::from([(text("team"), text("forest"))]),
            properties: BTreeMap::from([(text("origin"), text("field"))]),
            manifest: Some(Id::NIL),
            models: vec![Id::NIL],
            settings: Settings::from([(text("imageType"), json!("Docker"))]),
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(doc: &ContainerImageDoc) -> Option<&str> {
        Some(&doc.key)
    }

    fn maker(doc: &ContainerImageDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &ContainerImageDoc, _out: &mut Attrs) {}

    fn classify(doc: &ContainerImageDoc, map: &mut DataMap) {
        let ContainerImageDoc {
            key,
            name,
            version,
            description,
            tags,
            properties,
            manifest,
            models,
            settings,
            created_by,
        } = doc;
        map.field(key, "key", FieldClass::Content, "name and version, unique where it stands");
        map.field(name, "name", FieldClass::Content, "to find it by");
        map.field(version, "version", FieldClass::Technical, "to tell versions apart");
        map.field(description, "description", FieldClass::Personal, "what it is for; may name a person");
        map.field(tags, "tags", FieldClass::Personal, "what its users noted; may name a person");
        map.field(properties, "properties", FieldClass::Personal, "what its maker noted; may name a person");
        map.field(manifest, "manifest", FieldClass::Technical, "random id of its manifest");
        map.field(models, "models", FieldClass::Technical, "random ids of its models");
        map.field(
            settings,
            "settings",
            FieldClass::Personal,
            "program, files, runtime and compute as its client wrote them; may name a person",
        );
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
    }

    fn view(node: &Node<ContainerImageDoc>) -> View {
        View::new(node.doc.key.clone())
            .fact("Made", node.created_at)
            .fact("Models", node.doc.models.len())
            .optional("Description", node.doc.description.as_deref())
    }

    fn export(node: &Node<ContainerImageDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        out.json(
            &format!("model-management/images/{}.json", node.id),
            &json!({
                "id": node.id,
                "createdTime": node.created_at.rfc3339(),
                "name": doc.name,
                "version": doc.version,
                "description": doc.description,
                "kvTags": doc.tags,
                "properties": doc.properties,
                "manifestId": doc.manifest,
                "modelIds": doc.models,
                "settings": doc.settings,
            }),
        )
    }

    fn erase(_node: &Node<ContainerImageDoc>, _why: Erasure) -> Fate<ContainerImageDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ContainerImageDoc>) -> Result<Option<Carried<'_>>> {
        let ContainerImageDoc { key, name, version, created_by, .. } = &mut node.doc;
        require_key(key, name, *version)?;
        Ok(Some(Carried { persons: vec![created_by], is_made: true, ..Carried::default() }))
    }
}

/// One of the models between which a service shares what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceVersion {
    /// What it is for.
    pub description: Option<String>,
    /// What its users noted.
    pub tags: BTreeMap<String, String>,
    /// What its maker noted for good.
    pub properties: BTreeMap<String, String>,
    /// The image it was deployed from, if it was deployed from one.
    pub image: Option<Id>,
    /// The versions of models that it was deployed from without an image.
    pub models: Vec<Id>,
    /// Its share of the questions, scaling and the rest, as its client wrote them.
    pub settings: Settings,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// A service: a model that programs may ask, with the keys they show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDoc {
    /// Its name, unique in its account or workspace.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What its users noted.
    pub tags: BTreeMap<String, String>,
    /// What its maker noted for good.
    pub properties: BTreeMap<String, String>,
    /// The image it was deployed from, if it was deployed from one.
    pub image: Option<Id>,
    /// The versions of models that it was deployed from without an image.
    pub models: Vec<Id>,
    /// Compute, replicas, scaling and the rest, as its client wrote them.
    pub settings: Settings,
    /// What programs show to be answered.
    pub keys: KeyPair,
    /// Who made it.
    pub created_by: Option<Id>,
    /// Of a service that is several (an endpoint): what they are, by name. It has no image and no models beside theirs.
    #[serde(default)]
    pub versions: BTreeMap<String, ServiceVersion>,
}

/// [`Kind::Service`].
#[derive(Debug)]
pub struct Service;

impl DataKind for Service {
    const KIND: Kind = Kind::Service;
    const PARENTS: &'static [Kind] = &[Kind::Workspace, Kind::ExperimentationProject, Kind::HostingAccount];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Services",
        purpose: "to answer programs with a registered model",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: "people with whom the holder shares the workspace, and programs with the service's keys",
    };
    type Doc = ServiceDoc;

    fn example() -> ServiceDoc {
        let text = |text: &str| text.to_owned();
        ServiceDoc {
            name: text("trees"),
            description: Some(text("tells trees apart")),
            tags: BTreeMap::from([(text("team"), text("forest"))]),
            properties: BTreeMap::from([(text("origin"), text("field"))]),
            image: Some(Id::NIL),
            models: vec![Id::NIL],
            settings: Settings::from([(text("numReplicas"), json!(1))]),
            keys: KeyPair { primary: "0".repeat(32), secondary: "1".repeat(32) },
            created_by: Some(Id::NIL),
            versions: BTreeMap::from([(
                text("first"),
                ServiceVersion {
                    description: Some(text("for the rollout")),
                    tags: BTreeMap::from([(text("team"), text("forest"))]),
                    properties: BTreeMap::from([(text("origin"), text("field"))]),
                    image: Some(Id::NIL),
                    models: vec![Id::NIL],
                    settings: Settings::from([(text("trafficPercentile"), json!(20))]),
                    created_at: Timestamp(0),
                    updated_at: Timestamp(0),
                },
            )]),
        }
    }

    fn unique_name(doc: &ServiceDoc) -> Option<&str> {
        Some(&doc.name)
    }

    fn maker(doc: &ServiceDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &ServiceDoc, _out: &mut Attrs) {}

    fn classify(doc: &ServiceDoc, map: &mut DataMap) {
        let ServiceDoc {
            name,
            description,
            tags,
            properties,
            image,
            models,
            settings,
            keys,
            created_by,
            versions,
        } = doc;
        map.field(name, "name", FieldClass::Content, "to find it by");
        map.field(description, "description", FieldClass::Personal, "what it is for; may name a person");
        map.field(tags, "tags", FieldClass::Personal, "what its users noted; may name a person");
        map.field(properties, "properties", FieldClass::Personal, "what its maker noted; may name a person");
        map.field(image, "image", FieldClass::Technical, "random id of its image");
        map.field(models, "models", FieldClass::Technical, "random ids of its models");
        map.field(
            settings,
            "settings",
            FieldClass::Personal,
            "compute, replicas and scaling as its client wrote them; may name a person",
        );
        map.field(keys, "keys", FieldClass::Secret, "to recognise the programs that ask it");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
        map.field(
            versions,
            "versions",
            FieldClass::Personal,
            "of a service that is several, what they are, as their client wrote it; may name a person",
        );
    }

    fn view(node: &Node<ServiceDoc>) -> View {
        View::new(node.doc.name.clone())
            .fact("Made", node.created_at)
            .fact("Changed", node.updated_at)
            .optional("Description", node.doc.description.as_deref())
    }

    fn export(node: &Node<ServiceDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        let versions = doc.versions.iter().map(|(name, version)| {
            let shown = json!({
                "createdAt": version.created_at.rfc3339(),
                "updatedAt": version.updated_at.rfc3339(),
                "description": version.description,
                "kvTags": version.tags,
                "properties": version.properties,
                "imageId": version.image,
                "modelIds": version.models,
                "settings": version.settings,
            });
            (name.clone(), shown)
        });
        let versions: serde_json::Map<String, Value> = versions.collect();
        out.json(
            &format!("model-management/services/{}.json", node.id),
            &json!({
                "id": node.id,
                "createdAt": node.created_at.rfc3339(),
                "updatedAt": node.updated_at.rfc3339(),
                "name": doc.name,
                "description": doc.description,
                "kvTags": doc.tags,
                "properties": doc.properties,
                "imageId": doc.image,
                "modelIds": doc.models,
                "settings": doc.settings,
                "versions": versions,
                "keys": "2 keys, left out of this archive because they grant access",
            }),
        )
    }

    fn erase(_node: &Node<ServiceDoc>, _why: Erasure) -> Fate<ServiceDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ServiceDoc>) -> Result<Option<Carried<'_>>> {
        let ServiceDoc { keys, created_by, .. } = &mut node.doc;
        Ok(Some(Carried { persons: vec![created_by], keys: vec![keys], is_made: true, ..Carried::default() }))
    }
}
