//! Azure ML: hosting accounts of models, clusters and computes. Habeas keeps the records; the machines are the team's own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::custom_vision::BASIS;
use super::experimentation::{
    azure_example, azure_example_below, azure_json, azure_view, carry_azure, classify_azure,
};
use super::tracking::{AzureResource, RECIPIENTS};
use crate::{
    About, Attrs, Bundle, Carried, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result,
    Retention, View,
};

/// What a hosting account was ordered as; nothing follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostingSku {
    /// `S1`, `S2`, `S3` or `DevTest`.
    pub name: String,
    /// 1 to 16.
    pub capacity: u32,
    /// `Free`, `Basic`, `Standard`, `Premium` or `DevTest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
}

/// A hosting account: models, manifests, images and services of one team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostingAccountDoc {
    /// Its name.
    pub name: String,
    /// Its place among Azure's resources, and what is noted there.
    pub azure: AzureResource,
    /// What it was ordered as.
    pub sku: HostingSku,
}

/// [`Kind::HostingAccount`].
#[derive(Debug)]
pub struct HostingAccount;

impl DataKind for HostingAccount {
    const KIND: Kind = Kind::HostingAccount;
    const PARENTS: &'static [Kind] = &[Kind::Person, Kind::Organisation];
    const ABOUT: About = About {
        service: "Azure ML Model Management",
        title: "Hosting accounts",
        purpose: "to keep the models, images and services of one team together",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = HostingAccountDoc;

    fn example() -> HostingAccountDoc {
        HostingAccountDoc {
            name: "Forest".into(),
            azure: azure_example(),
            sku: HostingSku { name: "S1".into(), capacity: 1, tier: Some("Standard".into()) },
        }
    }

    fn unique_name(doc: &HostingAccountDoc) -> Option<&str> {
        Some(&doc.azure.key)
    }

    fn maker(doc: &HostingAccountDoc) -> Option<Id> {
        doc.azure.created_by
    }

    fn attrs(_doc: &HostingAccountDoc, _out: &mut Attrs) {}

    fn classify(doc: &HostingAccountDoc, map: &mut DataMap) {
        let HostingAccountDoc { name, azure, sku } = doc;
        classify_azure(name, azure, map);
        map.field(sku, "sku", FieldClass::Technical, "what it was ordered as");
    }

    fn view(node: &Node<HostingAccountDoc>) -> View {
        azure_view(node, &node.doc.name, &node.doc.azure).fact("Plan", &node.doc.sku.name)
    }

    fn export(node: &Node<HostingAccountDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("model-management/accounts/{}.json", node.id),
            &json!({
                "id": node.id,
                "name": node.doc.name,
                "created": node.created_at.rfc3339(),
                "azure": azure_json(&node.doc.azure),
                "sku": node.doc.sku,
            }),
        )
    }

    fn erase(_node: &Node<HostingAccountDoc>, _why: Erasure) -> Fate<HostingAccountDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<HostingAccountDoc>) -> Result<Option<Carried<'_>>> {
        let HostingAccountDoc { name, azure, sku: _ } = &mut node.doc;
        carry_azure(name, azure, true)
    }
}

/// How far the making or changing of a cluster or compute is; the names on Azure's wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProvisioningState {
    /// Nobody knows.
    Unknown,
    /// Being changed.
    Updating,
    /// Being made.
    Creating,
    /// Being deleted.
    Deleting,
    /// There.
    #[default]
    Succeeded,
    /// Could not be made or changed.
    Failed,
    /// Given up.
    Canceled,
}

impl ProvisioningState {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            ProvisioningState::Unknown => "Unknown",
            ProvisioningState::Updating => "Updating",
            ProvisioningState::Creating => "Creating",
            ProvisioningState::Deleting => "Deleting",
            ProvisioningState::Succeeded => "Succeeded",
            ProvisioningState::Failed => "Failed",
            ProvisioningState::Canceled => "Canceled",
        }
    }
}

/// A cluster that serves models, as its team describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationalizationClusterDoc {
    /// Its name.
    pub name: String,
    /// Its place among Azure's resources, and what is noted there.
    pub azure: AzureResource,
    /// Its settings in the shape of the newest API version, without secrets.
    pub settings: Map<String, Value>,
    /// Secrets by what they are, such as `servicePrincipal.secret`.
    pub secrets: BTreeMap<String, String>,
    /// How far its making is.
    pub state: ProvisioningState,
    /// When its system services were last brought up to date, in microseconds since 1970.
    pub updated_services: Option<i64>,
}

/// [`Kind::OperationalizationCluster`].
#[derive(Debug)]
pub struct OperationalizationCluster;

impl DataKind for OperationalizationCluster {
    const KIND: Kind = Kind::OperationalizationCluster;
    const PARENTS: &'static [Kind] = &[Kind::Person, Kind::Organisation];
    const ABOUT: About = About {
        service: "Azure ML Compute",
        title: "Operationalization clusters",
        purpose: "to tell which machines of the team serve its models",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = OperationalizationClusterDoc;

    fn example() -> OperationalizationClusterDoc {
        OperationalizationClusterDoc {
            name: "Forest".into(),
            azure: azure_example(),
            settings: Map::from_iter([("clusterType".to_owned(), json!("ACS"))]),
            secrets: BTreeMap::from([("servicePrincipal.secret".to_owned(), "0".to_owned())]),
            state: ProvisioningState::Succeeded,
            updated_services: Some(1),
        }
    }

    fn unique_name(doc: &OperationalizationClusterDoc) -> Option<&str> {
        Some(&doc.azure.key)
    }

    fn maker(doc: &OperationalizationClusterDoc) -> Option<Id> {
        doc.azure.created_by
    }

    fn attrs(_doc: &OperationalizationClusterDoc, _out: &mut Attrs) {}

    fn classify(doc: &OperationalizationClusterDoc, map: &mut DataMap) {
        let OperationalizationClusterDoc { name, azure, settings, secrets, state, updated_services } = doc;
        classify_azure(name, azure, map);
        map.field(
            settings,
            "settings",
            FieldClass::Personal,
            "its machines and services, as its users wrote them; may name a person",
        );
        map.field(secrets, "secrets", FieldClass::Secret, "keys and passwords that its users sent with them");
        map.field(state, "state", FieldClass::Technical, "how far its making is");
        map.field(
            updated_services,
            "updated_services",
            FieldClass::Technical,
            "when its services were last brought up to date",
        );
    }

    fn view(node: &Node<OperationalizationClusterDoc>) -> View {
        azure_view(node, &node.doc.name, &node.doc.azure)
            .optional("Sort", node.doc.settings.get("clusterType").and_then(Value::as_str))
    }

    fn export(node: &Node<OperationalizationClusterDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("compute/clusters/{}.json", node.id),
            &json!({
                "id": node.id,
                "name": node.doc.name,
                "created": node.created_at.rfc3339(),
                "azure": azure_json(&node.doc.azure),
                "provisioningState": node.doc.state,
                "properties": node.doc.settings,
            }),
        )
    }

    fn erase(
        _node: &Node<OperationalizationClusterDoc>,
        _why: Erasure,
    ) -> Fate<OperationalizationClusterDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<OperationalizationClusterDoc>) -> Result<Option<Carried<'_>>> {
        let OperationalizationClusterDoc { name, azure, settings: _, secrets, state: _, updated_services: _ } =
            &mut node.doc;
        secrets.clear();
        carry_azure(name, azure, true)
    }
}

/// A compute of a workspace, as its team describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputeDoc {
    /// Its name.
    pub name: String,
    /// Its place among Azure's resources, and what is noted there; the key is its name in lower case.
    pub azure: AzureResource,
    /// What sort of compute it is: the discriminator on Azure's wire, such as `AmlCompute`.
    pub compute_type: String,
    /// The machines that the team attached: the id of their Azure resource. None for those that the workspace was asked to make.
    pub attached: Option<String>,
    /// Where its machines are.
    pub compute_location: Option<String>,
    /// Its settings, as its users wrote them, without secrets.
    pub settings: Map<String, Value>,
    /// Secrets by what they are, such as `administratorAccount.password`.
    pub secrets: BTreeMap<String, String>,
    /// How far its making is.
    pub state: ProvisioningState,
    /// Whether its users started it; of sorts that can be started and stopped.
    pub is_started: Option<bool>,
}

/// [`Kind::Compute`].
#[derive(Debug)]
pub struct Compute;

impl DataKind for Compute {
    const KIND: Kind = Kind::Compute;
    const PARENTS: &'static [Kind] = &[Kind::Workspace];
    const ABOUT: About = About {
        service: "Azure ML Compute",
        title: "Computes",
        purpose: "to tell on which machines of the team trainings run",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = ComputeDoc;

    fn example() -> ComputeDoc {
        ComputeDoc {
            name: "Saws".into(),
            azure: azure_example_below("saws"),
            compute_type: "VirtualMachine".into(),
            attached: Some("/subscriptions/x".into()),
            compute_location: Some("westeurope".into()),
            settings: Map::from_iter([("sshPort".to_owned(), json!(22))]),
            secrets: BTreeMap::from([("administratorAccount.password".to_owned(), "0".to_owned())]),
            state: ProvisioningState::Succeeded,
            is_started: Some(true),
        }
    }

    fn unique_name(doc: &ComputeDoc) -> Option<&str> {
        Some(&doc.azure.key)
    }

    fn maker(doc: &ComputeDoc) -> Option<Id> {
        doc.azure.created_by
    }

    fn attrs(_doc: &ComputeDoc, _out: &mut Attrs) {}

    fn classify(doc: &ComputeDoc, map: &mut DataMap) {
        let ComputeDoc {
            name,
            azure,
            compute_type,
            attached,
            compute_location,
            settings,
            secrets,
            state,
            is_started,
        } = doc;
        classify_azure(name, azure, map);
        map.field(compute_type, "compute_type", FieldClass::Technical, "what sort of compute it is");
        map.field(attached, "attached", FieldClass::Personal, "the team's machines; an id may name a person");
        map.field(compute_location, "compute_location", FieldClass::Content, "where its machines are");
        map.field(
            settings,
            "settings",
            FieldClass::Personal,
            "its machines, as its users wrote them; may name a person",
        );
        map.field(secrets, "secrets", FieldClass::Secret, "keys and passwords that its users sent with them");
        map.field(state, "state", FieldClass::Technical, "how far its making is");
        map.field(is_started, "is_started", FieldClass::Technical, "whether its users started it");
    }

    fn view(node: &Node<ComputeDoc>) -> View {
        azure_view(node, &node.doc.name, &node.doc.azure)
            .fact("Sort", &node.doc.compute_type)
            .optional("Attached", node.doc.attached.as_ref())
    }

    fn export(node: &Node<ComputeDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        out.json(
            &format!("compute/computes/{}.json", node.id),
            &json!({
                "id": node.id,
                "workspace": node.parent,
                "name": doc.name,
                "created": node.created_at.rfc3339(),
                "azure": azure_json(&doc.azure),
                "computeType": doc.compute_type,
                "computeLocation": doc.compute_location,
                "resourceId": doc.attached,
                "provisioningState": doc.state,
                "isStarted": doc.is_started,
                "properties": doc.settings,
            }),
        )
    }

    fn erase(_node: &Node<ComputeDoc>, _why: Erasure) -> Fate<ComputeDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ComputeDoc>) -> Result<Option<Carried<'_>>> {
        let ComputeDoc { name, azure, secrets, .. } = &mut node.doc;
        secrets.clear();
        carry_azure(name, azure, false)
    }
}
