//! Operationalization clusters of `Microsoft.MachineLearningCompute`, 2017-06-01-preview and 2017-08-01-preview.
//!
//! A cluster is a record of machines that the team runs. It is stored in the shape of the newer version and written in the one that is
//! asked for.

use axum::Json;
use axum::response::Response;
use habeas_access::Permission;
use habeas_core::kinds::{
    AzureResource, OperationalizationCluster, OperationalizationClusterDoc, ProvisioningState,
};
use habeas_core::{Error, Id, Node, Result as CoreResult, Timestamp};
use habeas_store::Tx;
use serde_json::{Map, Value, json};

use super::body::Fields;
use super::call::Call;
use super::errors::Result;
use super::operations::{NOTICE, accepted};
use super::providers::{COMPUTE, Provider};
use super::resource::{Above, Address, Resource, Said, Shown, edit, find};

/// The version of the first shape: system services are names, and there are no masters.
const FIRST: &str = "2017-06-01-preview";
/// The largest settings, in bytes of JSON.
const SETTINGS: usize = 64 * 1024;
/// What the service's own settings are called; all others of the global configuration are kept as they come.
const GLOBAL: [&str; 4] = ["etag", "ssl", "serviceAuth", "autoScale"];
const STATUS: [&str; 2] = ["Enabled", "Disabled"];

/// The pattern of the service's description, `^[a-zA-Z][-\w\._\(\)]+[a-zA-Z0-9]$` with 1 to 90 characters, for new ones only.
fn check_name(name: &str) -> CoreResult<()> {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.()".contains(byte);
    let is_fit = match name.as_bytes() {
        [first, middle @ .., last] => {
            first.is_ascii_alphabetic()
                && last.is_ascii_alphanumeric()
                && !middle.is_empty()
                && middle.iter().all(inner)
        }
        _ => false,
    };
    if is_fit && name.len() <= 90 {
        return Ok(());
    }
    Err(Error::invalid(
        "a cluster's name has 3 to 90 letters, digits and characters of `-_.()`, begins with a letter and ends with a letter or digit",
    )
    .code("InvalidResourceName"))
}

/// Writes a value that was said.
fn put(out: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out.insert(name.to_owned(), value.into());
    }
}

/// Notes a secret that was said, and keeps the one before where none was.
fn keep(doc: &mut OperationalizationClusterDoc, name: &str, value: Option<String>) {
    doc.secrets.extend(value.map(|value| (name.to_owned(), value)));
}

impl Resource for OperationalizationCluster {
    const PROVIDER: &'static Provider = &COMPUTE;
    const TYPE: &'static str = "operationalizationClusters";
    const PART: &'static str = "cluster";

    fn name(doc: &OperationalizationClusterDoc) -> &str {
        &doc.name
    }

    fn azure(doc: &OperationalizationClusterDoc) -> Option<&AzureResource> {
        Some(&doc.azure)
    }

    fn azure_mut(doc: &mut OperationalizationClusterDoc) -> Option<&mut AzureResource> {
        Some(&mut doc.azure)
    }

    fn check_name(name: &str) -> CoreResult<()> {
        check_name(name)
    }

    fn above(_tx: &mut Tx<'_>, _address: &Address, holder: Id) -> CoreResult<Above> {
        Ok(Above::holder(holder))
    }

    fn make(said: &Said, name: String, azure: AzureResource) -> CoreResult<OperationalizationClusterDoc> {
        let mut doc = OperationalizationClusterDoc {
            name,
            azure,
            settings: Map::new(),
            secrets: std::collections::BTreeMap::new(),
            state: ProvisioningState::Succeeded,
            updated_services: None,
        };
        read_settings(&mut doc, said)?;
        Ok(doc)
    }

    fn change(doc: &mut OperationalizationClusterDoc, said: &Said) -> CoreResult<()> {
        // `PATCH` changes tags only.
        if said.is_whole { read_settings(doc, said) } else { Ok(()) }
    }

    fn properties(shown: &Shown<'_>, node: &Node<OperationalizationClusterDoc>) -> Map<String, Value> {
        let doc = &node.doc;
        let mut properties = in_version(doc.settings.clone(), shown.version);
        properties.insert("description".into(), json!(doc.azure.description.as_deref().unwrap_or_default()));
        properties.insert("createdOn".into(), json!(node.created_at.rfc3339()));
        properties.insert("modifiedOn".into(), json!(node.updated_at.rfc3339()));
        properties.insert("provisioningState".into(), json!(doc.state.name()));
        properties.insert("notice".into(), json!(NOTICE));
        properties
    }

    fn deleted(call: &Call, receipt: &str) -> Response {
        // The Python client takes 202 and 204 only.
        accepted(call, receipt)
    }
}

fn read_settings(doc: &mut OperationalizationClusterDoc, said: &Said) -> CoreResult<()> {
    let is_first = said.version == FIRST;
    let properties = said.properties()?;
    let types: &[&str] = if is_first { &["ACS"] } else { &["ACS", "Local"] };
    let mut settings = Map::new();
    let cluster_type = properties.one_of("clusterType", types)?;
    let cluster_type = cluster_type.ok_or_else(|| Error::invalid("`properties.clusterType` is missing"))?;
    settings.insert("clusterType".into(), json!(cluster_type));
    for name in ["storageAccount", "containerRegistry"] {
        put(
            &mut settings,
            name,
            properties.object(name)?.text("resourceId")?.map(|id| json!({ "resourceId": id })),
        );
    }
    let service = properties.object("containerService")?;
    if service.is_there() {
        let read = container_service(doc, &service, is_first)?;
        settings.insert("containerService".into(), Value::Object(read));
    } else if is_first {
        return Err(Error::invalid("`properties.containerService` is missing"));
    }
    let insights = properties.object("appInsights")?;
    if insights.is_there() {
        let mut read = Map::new();
        put(&mut read, "resourceId", insights.text("resourceId")?);
        put(&mut read, "appId", insights.text("appId")?);
        keep(doc, "appInsights.apiKey", insights.long_text("apiKey")?);
        settings.insert("appInsights".into(), Value::Object(read));
    }
    let global = properties.object("globalServiceConfiguration")?;
    if global.is_there() {
        let read = global_configuration(doc, &global)?;
        settings.insert("globalServiceConfiguration".into(), Value::Object(read));
    }
    let size = serde_json::to_string(&settings)?.len();
    if size > SETTINGS {
        return Err(Error::too_large(format!("`properties` has {size} bytes; the most is {SETTINGS}")));
    }
    doc.settings = settings;
    Ok(())
}

fn container_service(
    doc: &mut OperationalizationClusterDoc,
    service: &Fields<'_>,
    is_first: bool,
) -> CoreResult<Map<String, Value>> {
    let mut read = Map::new();
    let orchestrator = service.one_of("orchestratorType", &["Kubernetes", "None"])?;
    let orchestrator = orchestrator
        .ok_or_else(|| Error::invalid("`properties.containerService.orchestratorType` is missing"))?;
    read.insert("orchestratorType".into(), json!(orchestrator));
    let principal = service.object("orchestratorProperties")?.object("servicePrincipal")?;
    if principal.is_there() {
        let client = json!({ "servicePrincipal": { "clientId": principal.required("clientId")? } });
        read.insert("orchestratorProperties".into(), client);
        keep(doc, "servicePrincipal.secret", principal.long_text("secret")?);
    }
    let services =
        service.list("systemServices")?.iter().map(system_service).collect::<CoreResult<Vec<_>>>()?;
    if !services.is_empty() {
        read.insert("systemServices".into(), Value::Array(services));
    }
    read.insert("masterCount".into(), json!(service.whole("masterCount", 1..=5)?.unwrap_or(1)));
    read.insert("agentCount".into(), json!(service.whole("agentCount", 1..=100)?.unwrap_or(2)));
    let size = if is_first { "Standard_D2_v2" } else { "Standard_D3_v2" };
    read.insert("agentVmSize".into(), json!(service.text("agentVmSize")?.unwrap_or_else(|| size.into())));
    Ok(read)
}

/// The names of the system services in the first version and in the second one.
const SYSTEM_SERVICES: [(&str, &str); 3] =
    [("Scoring", "ScoringFrontEnd"), ("Batch", "BatchFrontEnd"), ("None", "None")];

fn system_service(value: &Value) -> CoreResult<Value> {
    let name = value.as_str().or_else(|| value.get("systemServiceType")?.as_str()).unwrap_or_default();
    let known = SYSTEM_SERVICES
        .iter()
        .find(|(first, second)| first.eq_ignore_ascii_case(name) || second.eq_ignore_ascii_case(name));
    let (_, name) = known.ok_or_else(|| {
        Error::invalid("`properties.containerService.systemServices` names a service that there is not")
            .hint("services are ScoringFrontEnd and BatchFrontEnd, in the first version Scoring and Batch")
    })?;
    Ok(json!({ "systemServiceType": name }))
}

fn global_configuration(
    doc: &mut OperationalizationClusterDoc,
    global: &Fields<'_>,
) -> CoreResult<Map<String, Value>> {
    let mut read = Map::new();
    for name in global.names().filter(|name| !GLOBAL.contains(name)) {
        put(&mut read, name, global.value(name).cloned());
    }
    put(&mut read, "etag", global.text("etag")?);
    let ssl = global.object("ssl")?;
    if ssl.is_there() {
        let mut kept = Map::new();
        kept.insert(
            "status".into(),
            json!(ssl.one_of("status", &STATUS)?.unwrap_or_else(|| "Enabled".into())),
        );
        put(&mut kept, "cert", ssl.long_text("cert")?);
        put(&mut kept, "cname", ssl.text("cname")?);
        keep(doc, "ssl.key", ssl.long_text("key")?);
        read.insert("ssl".into(), Value::Object(kept));
    }
    let auth = global.object("serviceAuth")?;
    for name in ["primaryAuthKeyHash", "secondaryAuthKeyHash"] {
        keep(doc, &format!("serviceAuth.{name}"), auth.text(name)?);
    }
    let scale = global.object("autoScale")?;
    if scale.is_there() {
        let mut kept = Map::new();
        kept.insert(
            "status".into(),
            json!(scale.one_of("status", &STATUS)?.unwrap_or_else(|| "Disabled".into())),
        );
        kept.insert("minReplicas".into(), json!(scale.whole("minReplicas", 1..=1_000_000)?.unwrap_or(1)));
        kept.insert("maxReplicas".into(), json!(scale.whole("maxReplicas", 1..=1_000_000)?.unwrap_or(100)));
        put(&mut kept, "targetUtilization", scale.number("targetUtilization")?);
        put(&mut kept, "refreshPeriodInSeconds", scale.whole("refreshPeriodInSeconds", 0..=1_000_000)?);
        read.insert("autoScale".into(), Value::Object(kept));
    }
    Ok(read)
}

/// Settings as a version of the API has them.
fn in_version(mut settings: Map<String, Value>, version: &str) -> Map<String, Value> {
    if version != FIRST {
        return settings;
    }
    if let Some(Value::Object(service)) = settings.get_mut("containerService") {
        service.remove("masterCount");
        if let Some(Value::Array(services)) = service.get_mut("systemServices") {
            let first = |value: &Value| {
                let name = value["systemServiceType"].as_str().unwrap_or_default();
                SYSTEM_SERVICES.iter().find(|(_, second)| *second == name).map(|(first, _)| json!(first))
            };
            *services = services.iter().filter_map(first).collect();
        }
    }
    settings
}

async fn read(call: &Call, permission: Permission) -> Result<OperationalizationClusterDoc> {
    let (actor, address) = (call.actor, Address::of(call));
    let find = move |tx: &mut Tx<'_>| find::<OperationalizationCluster>(tx, &actor, &address, permission);
    Ok(call.app.store().read(find).await?.1.doc)
}

/// `OperationalizationClusters_ListKeys`.
pub(super) async fn keys(call: Call) -> Result<Json<Value>> {
    let doc = read(&call, Permission::Manage).await?;
    let setting = |pointer: &str| {
        let found = pointer.split('/').try_fold(None, |above: Option<&Value>, name| {
            match above {
                None => doc.settings.get(name),
                Some(above) => above.get(name),
            }
            .map(Some)
        });
        found.flatten().cloned()
    };
    let secret = |name: &str| doc.secrets.get(name).map(|secret| json!(secret));
    let object = |fields: [(&str, Option<Value>); 4]| {
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Some(Value::Object(fields.collect())).filter(|object| object != &json!({}))
    };
    let none = ("", None);
    let principal = object([
        ("clientId", setting("containerService/orchestratorProperties/servicePrincipal/clientId")),
        ("secret", secret("servicePrincipal.secret")),
        none.clone(),
        none.clone(),
    ]);
    let mut keys = Map::new();
    put(&mut keys, "storageAccount", setting("storageAccount"));
    put(&mut keys, "containerService", principal.map(|one| json!({ "servicePrincipalConfiguration": one })));
    let insights = object([
        ("appId", setting("appInsights/appId")),
        ("instrumentationKey", secret("appInsights.apiKey")),
        none.clone(),
        none.clone(),
    ]);
    put(&mut keys, "appInsights", insights);
    let auth = object([
        ("primaryAuthKeyHash", secret("serviceAuth.primaryAuthKeyHash")),
        ("secondaryAuthKeyHash", secret("serviceAuth.secondaryAuthKeyHash")),
        none.clone(),
        none,
    ]);
    put(&mut keys, "serviceAuthConfiguration", auth);
    let ssl = object([
        ("status", setting("globalServiceConfiguration/ssl/status")),
        ("cert", setting("globalServiceConfiguration/ssl/cert")),
        ("cname", setting("globalServiceConfiguration/ssl/cname")),
        ("key", secret("ssl.key")),
    ]);
    put(&mut keys, "sslConfiguration", ssl);
    Ok(Json(Value::Object(keys)))
}

/// `OperationalizationClusters_CheckSystemServicesUpdatesAvailable`, before `checkUpdate`: nobody but the team brings its services up to date.
pub(super) async fn check_update(call: Call) -> Result<Json<Value>> {
    read(&call, Permission::Read).await?;
    Ok(Json(json!({ "updatesAvailable": "No" })))
}

/// `OperationalizationClusters_UpdateSystemServices`, before `updateSystem`: notes that it was done.
pub(super) async fn update_services(call: Call) -> Result<Json<Value>> {
    let now = call.app.store().ambient().now();
    edit::<OperationalizationCluster>(&call, move |doc| {
        doc.updated_services = Some(now.0);
        Ok(())
    })
    .await?;
    let at = Timestamp(now.0).rfc3339();
    Ok(Json(json!({ "updateStatus": "Succeeded", "updateStartedOn": at, "updateCompletedOn": at })))
}
