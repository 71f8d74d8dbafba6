//! Workspaces of `Microsoft.MachineLearningServices`.

use axum::Json;
use axum::http::StatusCode;
use habeas_access::Permission;
use habeas_core::kinds::{AzureResource, Workspace, WorkspaceDoc};
use habeas_core::{Id, Node, Result as CoreResult};
use habeas_store::Tx;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::errors::Result;
use super::providers::{Provider, SERVICES};
use super::resource::{Above, Address, Resource, Said, Shown, find};
use crate::workspaces::create_default_experiment;

/// Ids of other resources, which are given back as they were sent.
const REFERENCES: [&str; 4] = ["keyVault", "applicationInsights", "containerRegistry", "storageAccount"];

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

    fn make(said: &Said, name: String, mut azure: AzureResource) -> CoreResult<WorkspaceDoc> {
        let properties = said.properties()?;
        for name in REFERENCES {
            azure.references.extend(properties.text(name)?.map(|value| (name.to_owned(), value)));
        }
        Ok(WorkspaceDoc { name, azure: Some(azure) })
    }

    fn change(_doc: &mut WorkspaceDoc, _said: &Said) -> CoreResult<()> {
        // What it refers to is immutable, and the rest is the envelope's.
        Ok(())
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
        properties
    }

    fn beside(_node: &Node<WorkspaceDoc>, out: &mut Map<String, Value>) {
        // azureml-core reads it.
        out.insert("sku".into(), json!({ "name": "Basic", "tier": "Basic" }));
    }
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
