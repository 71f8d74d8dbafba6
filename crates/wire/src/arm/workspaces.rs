//! Workspaces.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use habeas_access::Permission;
use habeas_core::kinds::{AzureResource, Workspace, WorkspaceDoc};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{Page, UNIQUE_VIOLATION};
use serde_json::{Map, Value, json};

use super::call::{Call, etag};
use super::errors::Result;
use crate::scope::{holder, key};
use crate::workspaces;

/// Ids of other resources, which are given back as they were sent.
const REFERENCES: [&str; 4] = ["keyVault", "applicationInsights", "containerRegistry", "storageAccount"];
/// The longest name of a workspace or group, and the longest of any other text, in characters.
const NAME: usize = 90;
const TEXT: usize = 1_000;
/// The most tags, as in Azure.
const TAGS: usize = 50;

/// `Operations_List`.
pub(super) async fn operations(_call: Call) -> Json<Value> {
    let operations = ["read", "write", "delete", "listKeys/action"].map(|operation| {
        json!({
            "name": format!("Microsoft.MachineLearningServices/workspaces/{operation}"),
            "display": {
                "provider": "Microsoft Machine Learning Services",
                "resource": "Workspace",
                "operation": operation,
                "description": format!("{operation} of workspaces"),
            },
        })
    });
    Json(json!({ "value": operations }))
}

fn shape(base: &str, holder: Id, node: &Node<WorkspaceDoc>) -> Option<Value> {
    let azure = node.doc.azure.as_ref()?;
    let id = format!(
        "/subscriptions/{holder}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/workspaces/{}",
        azure.group, node.doc.name
    );
    let mut properties = Map::new();
    properties.insert("workspaceId".into(), json!(node.id));
    properties.insert("description".into(), json!(azure.description.as_deref().unwrap_or_default()));
    properties.insert("friendlyName".into(), json!(azure.friendly_name.as_deref().unwrap_or(&node.doc.name)));
    properties.insert("creationTime".into(), json!(node.created_at.rfc3339()));
    properties.insert("provisioningState".into(), json!("Succeeded"));
    // Where `azureml-core` asks for the services of the workspace.
    properties.insert("discoveryUrl".into(), json!(format!("{base}/discovery")));
    properties.insert("mlFlowTrackingUri".into(), json!(format!("{base}/mlflow/v1.0{id}")));
    properties.extend(azure.references.iter().map(|(name, value)| (name.clone(), json!(value))));
    Some(json!({
        "id": id,
        "name": node.doc.name,
        "type": "Microsoft.MachineLearningServices/workspaces",
        "location": azure.location,
        "tags": azure.tags,
        "etag": etag(node.version),
        "sku": { "name": "Basic", "tier": "Basic" },
        "properties": properties,
    }))
}

/// A workspace as an answer, with its version.
fn answer(status: StatusCode, call: &Call, holder: Id, node: &Node<WorkspaceDoc>) -> Response {
    let body = Json(shape(&call.base, holder, node));
    (status, [(ETAG, etag(node.version))], body).into_response()
}

/// `Workspaces_Get`.
pub(super) async fn show(call: Call) -> Result<Response> {
    let (actor, address) = (call.actor, Address::of(&call));
    let node = call.app.store().read(move |tx| address.find(tx, &actor, Permission::Read)).await?;
    Ok(answer(StatusCode::OK, &call, node.holder, &node))
}

/// What the path of a workspace says.
#[derive(Clone)]
struct Address {
    subscription: String,
    group: String,
    name: String,
}

impl Address {
    fn of(call: &Call) -> Address {
        let part = |name: &str| call.part(name).to_owned();
        Address { subscription: part("subscription"), group: part("group"), name: part("workspace_name") }
    }

    fn find(
        &self,
        tx: &mut habeas_store::Tx<'_>,
        actor: &habeas_access::Actor,
        permission: Permission,
    ) -> CoreResult<Node<WorkspaceDoc>> {
        workspaces::find(tx, actor, &self.subscription, &self.group, &self.name, permission)
    }
}

/// `Workspaces_ListBySubscription`.
pub(super) async fn of_subscription(call: Call) -> Result<Json<Value>> {
    list(&call, None).await
}

/// `Workspaces_ListByResourceGroup`.
pub(super) async fn of_group(call: Call) -> Result<Json<Value>> {
    list(&call, Some(call.part("group").to_lowercase())).await
}

async fn list(call: &Call, group: Option<String>) -> Result<Json<Value>> {
    let (actor, subscription, base) = (call.actor, call.part("subscription").to_owned(), call.base.clone());
    let found = call
        .app
        .store()
        .read(move |tx| {
            let holder = holder(tx, &actor, &subscription, Permission::Read)?;
            let nodes = tx.children::<Workspace>(holder, Page::ALL)?;
            let is_in = |node: &Node<WorkspaceDoc>| {
                group.is_none() || node.doc.azure.as_ref().map(|azure| azure.group.to_lowercase()) == group
            };
            Ok(nodes
                .iter()
                .filter(|node| is_in(node))
                .filter_map(|node| shape(&base, holder, node))
                .collect::<Vec<_>>())
        })
        .await?;
    Ok(Json(json!({ "value": found })))
}

/// What a body says of a workspace; nothing of what it leaves out.
#[derive(Clone, Default)]
struct Said {
    location: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    friendly_name: Option<String>,
    description: Option<String>,
    references: BTreeMap<String, String>,
}

impl Said {
    fn read(body: &Value) -> CoreResult<Said> {
        let Value::Object(fields) = body else {
            return Err(Error::invalid("the body is not a JSON object"));
        };
        let nothing = Map::new();
        let properties = match fields.get("properties") {
            None | Some(Value::Null) => &nothing,
            Some(Value::Object(properties)) => properties,
            Some(_) => return Err(Error::invalid("`properties` is not a JSON object")),
        };
        let text = |fields: &Map<String, Value>, name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= TEXT => Ok(Some(text.clone())),
            Some(Value::String(_)) => {
                Err(Error::invalid(format!("`{name}` is longer than {TEXT} characters")))
            }
            Some(_) => Err(Error::invalid(format!("`{name}` is not a text"))),
        };
        let tags = match fields.get("tags") {
            None | Some(Value::Null) => None,
            Some(Value::Object(tags)) if tags.len() <= TAGS => {
                let mut read = BTreeMap::new();
                for name in tags.keys() {
                    read.insert(name.clone(), text(tags, name)?.unwrap_or_default());
                }
                Some(read)
            }
            Some(_) => {
                return Err(Error::invalid(format!("`tags` is not an object of at most {TAGS} texts")));
            }
        };
        let mut references = BTreeMap::new();
        for name in REFERENCES {
            references.extend(text(properties, name)?.map(|value| (name.to_owned(), value)));
        }
        Ok(Said {
            location: text(fields, "location")?,
            tags,
            friendly_name: text(properties, "friendlyName")?,
            description: text(properties, "description")?,
            references,
        })
    }

    /// Writes what was said over what is there.
    fn change(&self, azure: &mut AzureResource) {
        if let Some(tags) = &self.tags {
            azure.tags.clone_from(tags);
        }
        azure.friendly_name = self.friendly_name.clone().or(azure.friendly_name.take());
        azure.description = self.description.clone().or(azure.description.take());
    }
}

fn check_name(name: &str) -> CoreResult<()> {
    let allowed =
        |character: char| character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | '(' | ')');
    if name.chars().count() <= NAME && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid("a name has at most 90 letters, digits and characters of `-_.()`")
        .code("InvalidResourceName"))
}

/// `Workspaces_CreateOrUpdate`.
pub(super) async fn put(call: Call) -> Result<Response> {
    let address = Address::of(&call);
    check_name(&address.group)?;
    check_name(&address.name)?;
    let said = Said::read(&call.body)?;
    let (actor, wanted, asked) = (call.actor, address.clone(), said.clone());
    let there = call
        .app
        .store()
        .read(move |tx| {
            let holder = holder(tx, &actor, &wanted.subscription, Permission::Read)?;
            tx.child_by_name::<Workspace>(holder, &key(&wanted.group, &wanted.name))
        })
        .await?;
    if there.is_some() {
        return change(&call, asked).await;
    }
    call.check_version(None)?;
    let location = said.location.clone().filter(|location| !location.is_empty()).ok_or_else(|| {
        Error::invalid("`location` is missing")
            .hint("any name will do; it is kept and given back")
            .code("LocationRequired")
    })?;
    let person = call.person;
    let id = call.app.store().ambient().new_id();
    let made = call
        .app
        .store()
        .write_with_keys(vec![id], Vec::new(), move |tx| {
            let holder = holder(tx, &actor, &address.subscription, Permission::Manage)?;
            let mut azure = AzureResource {
                key: key(&address.group, &address.name),
                group: address.group.clone(),
                location: location.clone(),
                tags: BTreeMap::new(),
                friendly_name: None,
                description: None,
                references: said.references.clone(),
                created_by: Some(person),
            };
            said.change(&mut azure);
            let doc = WorkspaceDoc { name: address.name.clone(), azure: Some(azure) };
            workspaces::create(tx, holder, id, doc, person)
        })
        .await;
    let node = match made {
        // Somebody else has just made it.
        Err(error) if error.code == Some(UNIQUE_VIOLATION) => return change(&call, asked).await,
        made => made?,
    };
    Ok(answer(StatusCode::CREATED, &call, node.holder, &node))
}

/// `Workspaces_Update`.
pub(super) async fn update(call: Call) -> Result<Response> {
    let said = Said::read(&call.body)?;
    change(&call, said).await
}

async fn change(call: &Call, said: Said) -> Result<Response> {
    let (actor, address) = (call.actor, Address::of(call));
    let seen = address.clone();
    let before = call.app.store().read(move |tx| seen.find(tx, &actor, Permission::Read)).await?;
    call.check_version(Some(before.version))?;
    let version = before.version;
    let is_bound = call.is_conditional();
    let node = call
        .app
        .store()
        .write(move |tx| {
            let mut node = address.find(tx, &actor, Permission::Manage)?;
            if is_bound && node.version != version {
                return Err(Error::conflict("somebody else changed the workspace at the same time")
                    .hint("read it again and repeat the change with its new ETag")
                    .code(super::errors::PRECONDITION_FAILED));
            }
            if let Some(azure) = &mut node.doc.azure {
                said.change(azure);
            }
            tx.update::<Workspace>(&node)
        })
        .await?;
    Ok(answer(StatusCode::OK, call, node.holder, &node))
}

/// `Workspaces_Delete`: with everything in it, for good. With `dryRun=true` only counts what would go.
pub(super) async fn delete(call: Call) -> Result<Response> {
    let (actor, address) = (call.actor, Address::of(&call));
    let found = call.app.store().read(move |tx| address.find(tx, &actor, Permission::Manage)).await;
    let node = match found {
        Err(error) if error.kind == habeas_core::ErrorKind::NotFound => {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        found => found?,
    };
    call.check_version(Some(node.version))?;
    let id = node.id;
    if call.query("dryrun") == Some("true") {
        let counts = call.app.store().read(move |tx| tx.count_below(id)).await?;
        let counts: Vec<Value> = counts
            .into_iter()
            .map(|(kind, count)| json!({ "kind": format!("{kind:?}"), "count": count }))
            .collect();
        return Ok(Json(json!({ "dryRun": true, "deletes": counts })).into_response());
    }
    let removed = call.app.store().write(move |tx| tx.remove(id)).await?;
    call.app.store().finish(&removed).await;
    Ok(StatusCode::OK.into_response())
}

/// `Workspaces_ListKeys`: of a storage account that is not used there are no keys.
pub(super) async fn keys(call: Call) -> Result<Json<Value>> {
    let (actor, address) = (call.actor, Address::of(&call));
    let node = call.app.store().read(move |tx| address.find(tx, &actor, Permission::Manage)).await?;
    let references = node.doc.azure.map(|azure| azure.references).unwrap_or_default();
    Ok(Json(json!({ "userStorageResourceId": references.get("storageAccount") })))
}

/// `Workspaces_ResyncKeys`: there are none.
pub(super) async fn resync(call: Call) -> Result<StatusCode> {
    let (actor, address) = (call.actor, Address::of(&call));
    call.app.store().read(move |tx| address.find(tx, &actor, Permission::Manage)).await?;
    Ok(StatusCode::OK)
}
