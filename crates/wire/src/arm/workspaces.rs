//! Workspaces of `Microsoft.MachineLearningServices`.

use axum::Json;
use axum::http::StatusCode;
use habeas_access::Permission;
use habeas_core::kinds::{AzureResource, Workspace, WorkspaceDoc};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::Tx;
use serde_json::{Map, Value, json};

use super::body::Fields;
use super::call::Call;
use super::errors::Result;
use super::providers::{Provider, SERVICES};
use super::resource::{Above, Address, Resource, Said, Shown, find, refer};
use crate::workspaces::create_default_experiment;

/// Ids of other resources that a workspace is made with.
const REFERENCES: [&str; 3] = ["keyVault", "applicationInsights", "storageAccount"];
/// The one that `Workspace.update_dependencies` of `azureml-core` replaces.
const REGISTRY: &str = "containerRegistry";
/// Settings that are kept and given back. Nothing follows from them.
const FLAGS: [&str; 3] = ["hbiWorkspace", "allowPublicAccessWhenBehindVnet", "v1LegacyMode"];
const TEXTS: [&str; 3] = ["imageBuildCompute", "primaryUserAssignedIdentity", "systemDatastoresAuthMode"];
const RESOURCES: &str = "serviceManagedResourcesSettings";
/// What is kept of the envelope stands beside the settings, under names that they do not have.
const SKU: &str = "sku";
const IDENTITY: &str = "identity";
/// The types of an identity, as versions of the service write them.
const IDENTITIES: [&str; 5] =
    ["SystemAssigned", "UserAssigned", "SystemAssigned,UserAssigned", "SystemAssigned, UserAssigned", "None"];
/// The most identities of others that a workspace names.
const MOST_IDENTITIES: usize = 100;
/// The longest id of one, in characters.
const LONGEST_ID: usize = 1_000;

impl Resource for Workspace {
    const PROVIDER: &'static Provider = &SERVICES;
    const TYPE: &'static str = "workspaces";
    const PART: &'static str = "workspace_name";

    fn name(doc: &WorkspaceDoc) -> &str {
        &doc.name
    }

    fn azure(doc: &WorkspaceDoc) -> Option<&AzureResource> {
        doc.azure.as_ref()
    }

    fn azure_mut(doc: &mut WorkspaceDoc) -> Option<&mut AzureResource> {
        doc.azure.as_mut()
    }

    fn above(_tx: &mut Tx<'_>, _address: &Address, holder: Id) -> CoreResult<Above> {
        Ok(Above::holder(holder))
    }

    fn make(said: &Said, name: String, azure: AzureResource) -> CoreResult<WorkspaceDoc> {
        let mut doc = WorkspaceDoc { name, azure: Some(azure), settings: Map::new() };
        <Workspace as Resource>::change(&mut doc, said)?;
        Ok(doc)
    }

    fn change(doc: &mut WorkspaceDoc, said: &Said) -> CoreResult<()> {
        let properties = said.properties()?;
        refuse_own_keys(&properties)?;
        if let Some(azure) = &mut doc.azure {
            for name in REFERENCES {
                refer(azure, &properties, name)?;
            }
            let registry = properties.text(REGISTRY)?.filter(|id| !id.is_empty());
            azure.references.extend(registry.map(|id| (REGISTRY.to_owned(), id)));
        }
        read_settings(&mut doc.settings, said)
    }

    fn furnish(tx: &mut Tx<'_>, id: Id, person: Id) -> CoreResult<()> {
        create_default_experiment(tx, id, person)
    }

    fn properties(shown: &Shown<'_>, node: &Node<WorkspaceDoc>) -> Map<String, Value> {
        let Some(azure) = &node.doc.azure else { return Map::new() };
        let mut properties = Map::new();
        properties.insert("workspaceId".into(), json!(node.id));
        properties.insert("description".into(), json!(azure.description.as_deref().unwrap_or_default()));
        let friendly_name = azure.friendly_name.as_deref().unwrap_or(&node.doc.name);
        properties.insert("friendlyName".into(), json!(friendly_name));
        properties.insert("creationTime".into(), json!(node.created_at.rfc3339()));
        properties.insert("provisioningState".into(), json!("Succeeded"));
        // Where `azureml-core` asks for the services of the workspace.
        properties.insert("discoveryUrl".into(), json!(format!("{}/discovery", shown.base)));
        let tracking = format!("{}/mlflow/v1.0{}", shown.base, shown.path);
        properties.insert("mlFlowTrackingUri".into(), json!(tracking));
        properties.extend(azure.references.iter().map(|(name, value)| (name.clone(), json!(value))));
        let is_envelope = |name: &str| matches!(name, SKU | IDENTITY);
        let settings = node.doc.settings.iter().filter(|(name, _)| !is_envelope(name));
        properties.extend(settings.map(|(name, value)| (name.clone(), value.clone())));
        properties
    }

    fn beside(node: &Node<WorkspaceDoc>, out: &mut Map<String, Value>) {
        // `azureml-core` reads both.
        let mut sku = object(&node.doc.settings, SKU);
        let name = sku.entry("name").or_insert(json!("Basic")).clone();
        sku.entry("tier").or_insert(name);
        out.insert(SKU.into(), Value::Object(sku));
        let mut identity = object(&node.doc.settings, IDENTITY);
        let sort = identity.entry("type").or_insert(json!("SystemAssigned"));
        if sort.as_str().is_some_and(|sort| sort.starts_with("SystemAssigned")) {
            // Nobody signs in as a workspace here: it is called by its own id.
            identity.insert("principalId".into(), json!(node.id));
            identity.insert("tenantId".into(), json!(Id::NIL));
        }
        out.insert(IDENTITY.into(), Value::Object(identity));
    }
}

/// Refuses keys of the team's own, which nothing would be sealed with.
fn refuse_own_keys(properties: &Fields<'_>) -> CoreResult<()> {
    let encryption = properties.object("encryption")?;
    let is_enabled =
        encryption.one_of("status", &["Enabled", "Disabled"])?.is_none_or(|status| status == "Enabled");
    if encryption.is_there() && is_enabled {
        return Err(Error::invalid(
            "`properties.encryption` asks for keys of your own, which are not used here",
        )
        .hint("leave it out: what a workspace holds is sealed with keys of this server"));
    }
    Ok(())
}

/// Writes the settings that were said over those that are there.
fn read_settings(settings: &mut Map<String, Value>, said: &Said) -> CoreResult<()> {
    let (fields, properties) = (said.fields()?, said.properties()?);
    for name in FLAGS {
        settings.extend(properties.flag(name)?.map(|value| (name.to_owned(), json!(value))));
    }
    for name in TEXTS {
        settings.extend(properties.text(name)?.map(|value| (name.to_owned(), json!(value))));
    }
    let database = properties.object(RESOURCES)?.object("cosmosDb")?;
    if let Some(throughput) = database.whole("collectionsThroughput", 0..=u64::from(u32::MAX))? {
        settings.insert(RESOURCES.into(), json!({ "cosmosDb": { "collectionsThroughput": throughput } }));
    }
    let (sku, mut kept) = (fields.object(SKU)?, object(settings, SKU));
    for name in ["name", "tier"] {
        let text = sku.text(name)?.filter(|text| !text.is_empty());
        kept.extend(text.map(|text| (name.to_owned(), json!(text))));
    }
    let identity = read_identity(object(settings, IDENTITY), &fields.object(IDENTITY)?, said.is_whole)?;
    for (name, kept) in [(SKU, kept), (IDENTITY, identity)] {
        if !kept.is_empty() {
            settings.insert(name.to_owned(), Value::Object(kept));
        }
    }
    Ok(())
}

/// The identity with what was said of it: `PATCH` adds identities of others to those that are there, `PUT` replaces them.
fn read_identity(
    mut kept: Map<String, Value>,
    said: &Fields<'_>,
    is_whole: bool,
) -> CoreResult<Map<String, Value>> {
    const OTHERS: &str = "userAssignedIdentities";
    let sort = said.one_of("type", &IDENTITIES)?;
    kept.extend(sort.map(|sort| ("type".to_owned(), json!(sort))));
    let others = said.object(OTHERS)?;
    if others.is_there() {
        let mut ids = if is_whole { Map::new() } else { object(&kept, OTHERS) };
        ids.extend(others.names().map(|id| (id.to_owned(), json!({}))));
        if ids.len() > MOST_IDENTITIES || ids.keys().any(|id| id.chars().count() > LONGEST_ID) {
            return Err(Error::invalid(format!(
                "`identity.{OTHERS}` has more than {MOST_IDENTITIES} ids, or one longer than {LONGEST_ID} characters"
            )));
        }
        kept.insert(OTHERS.to_owned(), Value::Object(ids));
    }
    Ok(kept)
}

/// The object of this name in another one; empty when it is not there.
fn object(within: &Map<String, Value>, name: &str) -> Map<String, Value> {
    within.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// `Workspaces_ListKeys`: of a storage account that is not used there are no keys.
pub(super) async fn keys(call: Call) -> Result<Json<Value>> {
    let (actor, address) = (call.actor, Address::of(&call));
    let find = move |tx: &mut Tx<'_>| find::<Workspace>(tx, &actor, &address, Permission::Manage);
    let (_, node) = call.app.store().read(find).await?;
    let references = node.doc.azure.map(|azure| azure.references).unwrap_or_default();
    Ok(Json(json!({ "userStorageResourceId": references.get("storageAccount") })))
}

/// `Workspaces_ResyncKeys`: there are none.
pub(super) async fn resync(call: Call) -> Result<StatusCode> {
    let (actor, address) = (call.actor, Address::of(&call));
    let find = move |tx: &mut Tx<'_>| find::<Workspace>(tx, &actor, &address, Permission::Manage);
    call.app.store().read(find).await?;
    Ok(StatusCode::OK)
}

/// `Workspaces_Diagnose`: nothing of what it looks at stands around a workspace here, so nothing is wrong with it. `azureml-core` 1.61 shows
/// the lists of `DiagnoseResponseResultValue` as they are.
pub(super) async fn diagnose(call: Call) -> Result<Json<Value>> {
    let (actor, address) = (call.actor, Address::of(&call));
    let find = move |tx: &mut Tx<'_>| find::<Workspace>(tx, &actor, &address, Permission::Read);
    call.app.store().read(find).await?;
    Ok(Json(json!({ "value": {
        "UDR": [], "NSG": [], "ResourceLock": [], "DNSResolution": [], "StorageAccount": [], "KeyVault": [],
        "ContainerRegistry": [], "Others": [],
    } })))
}
