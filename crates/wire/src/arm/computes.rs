//! Computes of workspaces, 2018-03-01-preview and later.
//!
//! A compute is a record: of machines of the team's that were attached by the id of their Azure resource, or of such as a workspace was
//! asked to make. Nobody makes those here, so that they have no nodes.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use habeas_access::Permission;
use habeas_core::kinds::{AzureResource, Compute, ComputeDoc, ProvisioningState, Workspace};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::Tx;
use serde_json::{Map, Value, json};

use super::body::Fields;
use super::call::Call;
use super::errors::Result;
use super::operations::{NOTICE, accepted, watched};
use super::providers::{Provider, SERVICES};
use super::resource::{Above, Address, Resource, Said, Shown, above, edit, find};

/// The types, by their discriminator.
const TYPES: [&str; 9] = [
    "AKS",
    "AmlCompute",
    "BatchAI",
    "ComputeInstance",
    "DataFactory",
    "Databricks",
    "DataLakeAnalytics",
    "HDInsight",
    "VirtualMachine",
];
/// Those whose nodes a workspace is asked to make.
const WITH_NODES: [&str; 2] = ["AmlCompute", "BatchAI"];
/// The type that can be started and stopped.
const INSTANCE: &str = "ComputeInstance";
/// Names of settings that are secrets, wherever they stand.
const SECRETS: [&str; 10] = [
    "password",
    "privateKeyData",
    "adminUserPassword",
    "key",
    "databricksAccessToken",
    "secret",
    "clientSecret",
    "userKubeConfig",
    "adminKubeConfig",
    "imagePullSecretName",
];
/// Settings without which `azureml-core` 1.61 cannot open a compute of a type, nor any list that has it; null where nobody said them.
const EXPECTED: [(&str, &[&str]); 3] = [
    (
        "AKS",
        &[
            "agentVmSize",
            "agentCount",
            "clusterPurpose",
            "clusterFqdn",
            "loadBalancerType",
            "loadBalancerSubnet",
            "systemServices",
        ],
    ),
    ("AmlCompute", &["vmSize", "vmPriority", "scaleSettings", "subnet"]),
    (INSTANCE, &["vmSize", "sshSettings", "createdBy", "errors", "subnet"]),
];
/// The same of `scaleSettings`.
const EXPECTED_OF_SCALE: [&str; 3] = ["minNodeCount", "maxNodeCount", "nodeIdleTimeBeforeScaleDown"];
/// Settings that the service says itself.
const READ_ONLY: [&str; 8] = [
    "allocationState",
    "allocationStateTransitionTime",
    "currentNodeCount",
    "targetNodeCount",
    "nodeStateCounts",
    "errors",
    "state",
    "lastOperation",
];
/// The largest settings, in bytes of JSON, and the deepest.
const SETTINGS: usize = 64 * 1024;
const DEPTH: usize = 8;

impl Resource for Compute {
    const PROVIDER: &'static Provider = &SERVICES;
    const TYPE: &'static str = "computes";
    const PART: &'static str = "compute";

    fn name(doc: &ComputeDoc) -> &str {
        &doc.name
    }

    fn azure(doc: &ComputeDoc) -> Option<&AzureResource> {
        Some(&doc.azure)
    }

    fn azure_mut(doc: &mut ComputeDoc) -> Option<&mut AzureResource> {
        Some(&mut doc.azure)
    }

    fn above(tx: &mut Tx<'_>, address: &Address, holder: Id) -> CoreResult<Above> {
        above::<Workspace>(tx, address, holder)
    }

    fn make(said: &Said, name: String, azure: AzureResource) -> CoreResult<ComputeDoc> {
        let properties = said.properties()?;
        let compute_type = properties
            .one_of("computeType", &TYPES)?
            .ok_or_else(|| Error::invalid("`properties.computeType` is missing"))?;
        let mut doc = ComputeDoc {
            name,
            azure,
            is_started: (compute_type == INSTANCE).then_some(false),
            compute_type,
            attached: None,
            compute_location: None,
            settings: Map::new(),
            secrets: BTreeMap::new(),
            state: ProvisioningState::Succeeded,
        };
        read_settings(&mut doc, said)?;
        Ok(doc)
    }

    fn change(doc: &mut ComputeDoc, said: &Said) -> CoreResult<()> {
        if said.is_whole {
            let compute_type = said.properties()?.one_of("computeType", &TYPES)?;
            if compute_type.is_some_and(|compute_type| compute_type != doc.compute_type) {
                return Err(Error::conflict("a compute does not become one of another type")
                    .hint("delete it and make a new one"));
            }
            return read_settings(doc, said);
        }
        // `PATCH` changes how far it scales, which clients of 2019 send one level higher than those of 2020.
        let properties = said.properties()?;
        let inner = properties.object("properties")?;
        if let Some(scale) = inner.value("scaleSettings").or(properties.value("scaleSettings")) {
            if !scale.is_object() {
                return Err(Error::invalid("`properties.scaleSettings` is not a JSON object"));
            }
            doc.settings.insert("scaleSettings".into(), scale.clone());
            check_scale(&doc.settings)?;
        }
        Ok(())
    }

    fn properties(_shown: &Shown<'_>, node: &Node<ComputeDoc>) -> Map<String, Value> {
        let doc = &node.doc;
        let mut properties = Map::new();
        properties.insert("computeType".into(), json!(doc.compute_type));
        properties.insert(
            "computeLocation".into(),
            json!(doc.compute_location.as_ref().unwrap_or(&doc.azure.location)),
        );
        properties.insert("description".into(), json!(doc.azure.description.as_deref().unwrap_or_default()));
        properties.insert("createdOn".into(), json!(node.created_at.rfc3339()));
        properties.insert("modifiedOn".into(), json!(node.updated_at.rfc3339()));
        properties.insert("provisioningState".into(), json!(doc.state.name()));
        properties.insert("provisioningErrors".into(), json!([]));
        properties.insert("isAttachedCompute".into(), json!(doc.attached.is_some()));
        properties.insert("resourceId".into(), json!(doc.attached));
        properties.insert("notice".into(), json!(NOTICE));
        let mut settings = doc.settings.clone();
        settings.extend(said_by_the_service(node));
        fill(&doc.compute_type, &mut settings);
        properties.insert("properties".into(), Value::Object(settings));
        properties
    }

    fn made(call: &Call, id: Id, answer: Response) -> Response {
        watched(call, &id.to_string(), answer)
    }

    fn deleted(call: &Call, receipt: &str) -> Response {
        accepted(call, receipt)
    }
}

/// What the service says of a compute's machines: there are none but the team's own.
fn said_by_the_service(node: &Node<ComputeDoc>) -> Map<String, Value> {
    let mut said = Map::new();
    if WITH_NODES.contains(&node.doc.compute_type.as_str()) {
        let none = ["idle", "running", "preparing", "unusable", "leaving", "preempted"]
            .map(|state| (format!("{state}NodeCount"), json!(0)));
        said.insert("allocationState".into(), json!("Steady"));
        said.insert("allocationStateTransitionTime".into(), json!(node.updated_at.rfc3339()));
        said.insert("currentNodeCount".into(), json!(0));
        said.insert("targetNodeCount".into(), json!(0));
        said.insert("nodeStateCounts".into(), Value::Object(none.into_iter().collect()));
    }
    if let Some(is_started) = node.doc.is_started {
        said.insert("state".into(), json!(if is_started { "Running" } else { "Stopped" }));
    }
    said
}

/// Adds what a client expects to be there. No settings at all are as they are: it does not look into those.
fn fill(compute_type: &str, settings: &mut Map<String, Value>) {
    if settings.is_empty() {
        return;
    }
    let expected = EXPECTED.iter().filter(|(of, _)| *of == compute_type).flat_map(|(_, names)| *names);
    for name in expected {
        settings.entry(*name).or_insert(Value::Null);
    }
    if let Some(Value::Object(scale)) = settings.get_mut("scaleSettings") {
        for name in EXPECTED_OF_SCALE {
            scale.entry(name).or_insert(Value::Null);
        }
    }
}

fn read_settings(doc: &mut ComputeDoc, said: &Said) -> CoreResult<()> {
    let properties = said.properties()?;
    doc.attached = properties.text("resourceId")?.filter(|id| !id.is_empty()).or(doc.attached.take());
    doc.compute_location = properties.text("computeLocation")?.or(doc.compute_location.take());
    let inner = properties.object("properties")?;
    if !inner.is_there() {
        return Ok(());
    }
    let mut settings = Map::new();
    for name in inner.names().filter(|name| !READ_ONLY.contains(name)) {
        if let Some(value) = inner.value(name) {
            settings.insert(name.to_owned(), value.clone());
        }
    }
    take_secrets(&mut settings, "", &mut doc.secrets, DEPTH)?;
    let size = serde_json::to_string(&settings)?.len();
    if size > SETTINGS {
        return Err(Error::too_large(format!(
            "`properties.properties` has {size} bytes; the most is {SETTINGS}"
        )));
    }
    check_scale(&settings)?;
    doc.settings = settings;
    Ok(())
}

/// Moves what is secret out of the settings, to the place at which it stood.
fn take_secrets(
    settings: &mut Map<String, Value>,
    path: &str,
    secrets: &mut BTreeMap<String, String>,
    depth: usize,
) -> CoreResult<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Error::invalid("`properties.properties` is nested too deeply"));
    };
    for name in SECRETS {
        match settings.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(secret)) => {
                secrets.insert(format!("{path}{name}"), secret);
            }
            Some(_) => {
                return Err(Error::invalid(format!("`properties.properties.{path}{name}` is not a text")));
            }
        }
    }
    for (name, value) in settings {
        if let Value::Object(inner) = value {
            take_secrets(inner, &format!("{path}{name}."), secrets, depth)?;
        }
    }
    Ok(())
}

fn check_scale(settings: &Map<String, Value>) -> CoreResult<()> {
    let Some(scale) = settings.get("scaleSettings") else { return Ok(()) };
    let count = |name: &str| match scale.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value
            .as_u64()
            .ok_or_else(|| Error::invalid(format!("`scaleSettings.{name}` is not a whole number"))),
    };
    if count("minNodeCount")? > count("maxNodeCount")? {
        return Err(Error::invalid("`scaleSettings.minNodeCount` is more than `maxNodeCount`"));
    }
    Ok(())
}

async fn read(call: &Call, permission: Permission) -> Result<Node<ComputeDoc>> {
    let (actor, address) = (call.actor, Address::of(call));
    let find = move |tx: &mut Tx<'_>| find::<Compute>(tx, &actor, &address, permission);
    Ok(call.app.store().read(find).await?.1)
}

/// `MachineLearningCompute_ListKeys`: what was sent, in the shape of the type.
pub(super) async fn keys(call: Call) -> Result<Json<Value>> {
    let doc = read(&call, Permission::Manage).await?.doc;
    let mut keys = Map::new();
    keys.insert("computeType".into(), json!(doc.compute_type));
    let username = doc.settings.get("administratorAccount").and_then(|account| account.get("username"));
    let mut account = Map::new();
    account.extend(username.map(|name| ("username".to_owned(), name.clone())));
    for (name, secret) in doc.secrets {
        match name.strip_prefix("administratorAccount.") {
            Some(name) => account.insert(name.to_owned(), json!(secret)),
            None => keys.insert(name, json!(secret)),
        };
    }
    if !account.is_empty() {
        keys.insert("administratorAccount".into(), Value::Object(account));
    }
    Ok(Json(Value::Object(keys)))
}

/// `MachineLearningCompute_ListNodes`: there are none here.
pub(super) async fn nodes(call: Call) -> Result<Json<Value>> {
    let node = read(&call, Permission::Read).await?;
    Ok(Json(json!({ "computeType": node.doc.compute_type, "nodes": [] })))
}

/// `MachineLearningCompute_SystemUpdate`: nobody but the team brings its machines up to date.
pub(super) async fn system_update(call: Call) -> Result<Response> {
    let node = read(&call, Permission::Manage).await?;
    Ok(accepted(&call, &node.id.to_string()))
}

/// `MachineLearningCompute_Start` and `MachineLearningCompute_Restart`: the Python client takes 200 only.
pub(super) async fn start(call: Call) -> Result<StatusCode> {
    turn(&call, true).await
}

/// `MachineLearningCompute_Stop`.
pub(super) async fn stop(call: Call) -> Result<StatusCode> {
    turn(&call, false).await
}

async fn turn(call: &Call, is_started: bool) -> Result<StatusCode> {
    edit::<Compute>(call, move |doc| match &mut doc.is_started {
        Some(state) => {
            *state = is_started;
            Ok(())
        }
        None => Err(Error::conflict("a compute of this type cannot be started or stopped")),
    })
    .await?;
    Ok(StatusCode::OK)
}

/// `Workspaces_CheckComputeNameAvailability`, which `azureml-core` asks before it makes a compute instance: a name that is used already in the
/// workspace, or would be refused.
pub(super) async fn check_name(call: Call) -> Result<Json<Value>> {
    let asked = Fields::of(&call.body)?;
    // As the client writes it, and as everything else here is written.
    let name = match asked.text("Name")? {
        Some(name) => name,
        None => asked.required("name")?,
    };
    let (actor, address) = (call.actor, Address::of(&call));
    let is_valid = <Compute as Resource>::check_name(&name);
    let is_used = call
        .app
        .store()
        .read(move |tx| {
            let (_, workspace) = find::<Workspace>(tx, &actor, &address, Permission::Read)?;
            Ok(tx.child_by_name::<Compute>(workspace.id, &name.to_lowercase())?.is_some())
        })
        .await?;
    Ok(Json(match is_valid {
        Err(error) => json!({ "nameAvailable": false, "reason": "Invalid", "message": error.what }),
        Ok(()) if is_used => json!({
            "nameAvailable": false,
            "reason": "AlreadyExists",
            "message": "the workspace has a compute of this name",
        }),
        Ok(()) => json!({ "nameAvailable": true }),
    }))
}

/// `Usages_List`, `Quotas_List` and `ListSkus`: nothing is made here, so nothing is used up and nothing sold.
pub(super) async fn none(call: Call) -> Result<Json<Value>> {
    let (actor, subscription) = (call.actor, call.part("subscription").to_owned());
    let allowed = move |tx: &mut Tx<'_>| crate::scope::holder(tx, &actor, &subscription, Permission::Read);
    call.app.store().read(allowed).await?;
    Ok(Json(json!({ "value": [] })))
}
