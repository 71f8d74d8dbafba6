//! Datastores: notes of where a team keeps data. Nothing is read from them or written to them, and keys are never given back.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use habeas_access::Permission;
use habeas_core::kinds::{Datastore, DatastoreDoc};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{New, Page, Tx};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::files::{after, finish, page};
use crate::blob_host::BlobHost;
use crate::data_services::Result;

/// The datastore that every workspace has: this server. `azureml-core` asks for it by this name.
pub(super) const OWN: &str = "workspaceblobstore";
/// Longest name.
const LONGEST_NAME: usize = 255;

/// The members of a section that open a store, whatever the section.
const SECRETS: [&str; 9] = [
    "accountKey",
    "sasToken",
    "credential",
    "clientSecret",
    "certificate",
    "password",
    "userPassword",
    "kerberosKeytab",
    "kerberosPassword",
];

/// Where an Azure file share has its key.
const SHARE_KEY: (&str, &str) = ("azureStorageSection", "accountKey");
/// What is shown in its place, base64 of "keys are not given back": `azureml-core` 1.61 makes no object of a file share without a key or a
/// signature, and no list that has one. Of all other types it does.
const NO_KEY: &str = "a2V5cyBhcmUgbm90IGdpdmVuIGJhY2s=";

fn missing() -> Error {
    Error::not_found("there is no such datastore")
}

/// What is read of a body.
#[derive(Clone)]
struct Described {
    name: String,
    sort: String,
    settings: Map<String, Value>,
    secrets: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

impl Described {
    fn of(body: &Value) -> CoreResult<Described> {
        let wrong = |what: &str| Error::invalid(format!("`{what}` is missing or not what it should be"));
        let Value::Object(fields) = body else { return Err(wrong("body")) };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name = text("name").ok_or_else(|| wrong("name"))?;
        if name.len() > LONGEST_NAME || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(Error::invalid("a datastore's name has letters, digits and underscores"));
        }
        if name == OWN {
            return Err(Error::invalid(format!("`{OWN}` is this server itself")).hint("choose another name"));
        }
        let (mut settings, mut secrets) = (Map::new(), BTreeMap::new());
        for (section, value) in fields.iter().filter(|(name, _)| name.ends_with("Section")) {
            let mut value = value.clone();
            take_secrets(section, &mut value, &mut secrets);
            settings.insert(section.clone(), value);
        }
        let tags = fields.get("tags").filter(|tags| !tags.is_null());
        let tags =
            tags.map(|tags| serde_json::from_value(tags.clone()).map_err(|_| wrong("tags"))).transpose()?;
        Ok(Described {
            name: name.to_owned(),
            sort: text("dataStoreType").ok_or_else(|| wrong("dataStoreType"))?.to_owned(),
            settings,
            secrets,
            tags: tags.unwrap_or_default(),
        })
    }

    /// The datastore that is described.
    fn doc(self, is_default: bool, created_by: Option<Id>) -> DatastoreDoc {
        let Described { name, sort, settings, secrets, tags } = self;
        DatastoreDoc { name, sort, is_default, settings, secrets, tags, created_by }
    }
}

/// Takes keys and passwords out of a section, with their places.
fn take_secrets(place: &str, value: &mut Value, secrets: &mut BTreeMap<String, String>) {
    let Value::Object(members) = value else { return };
    for (name, member) in members {
        let place = format!("{place}/{name}");
        if SECRETS.iter().any(|secret| secret.eq_ignore_ascii_case(name)) {
            if let Value::String(secret) = member.take()
                && !secret.is_empty()
                && secret != NO_KEY
            {
                secrets.insert(place, secret);
            }
        } else {
            take_secrets(&place, member, secrets);
        }
    }
}

fn show(node: &Node<DatastoreDoc>) -> Value {
    let doc = &node.doc;
    let mut shown = doc.settings.clone();
    let (section, key) = SHARE_KEY;
    if doc.sort.eq_ignore_ascii_case("AzureFile")
        && let Some(Value::Object(section)) = shown.get_mut(section)
    {
        section.insert(key.into(), json!(NO_KEY));
    }
    let mut shown = Value::Object(shown);
    shown["name"] = json!(doc.name);
    shown["dataStoreType"] = json!(doc.sort);
    shown["hasBeenValidated"] = json!(false);
    shown["tags"] = json!(doc.tags);
    shown
}

/// The server's own, as a record like the others.
fn own(host: &BlobHost, scope: Id) -> Value {
    json!({
        "name": OWN,
        "dataStoreType": "AzureBlob",
        "hasBeenValidated": true,
        "tags": {},
        "azureStorageSection": {
            "accountName": host.account(),
            "containerName": scope.to_hex(),
            "endpoint": host.suffix(),
            "protocol": "https",
            "credentialType": "None",
        },
    })
}

fn find(tx: &mut Tx<'_>, scope: Id, name: &str) -> CoreResult<Node<DatastoreDoc>> {
    tx.child_by_name::<Datastore>(scope, name)?.ok_or_else(missing)
}

/// `list`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let (after, host) = (after(&call)?, call.host.clone());
    let mut shown = call
        .read(Permission::Read, move |tx, scope| {
            let mut shown = vec![own(&host, scope)];
            shown.extend(tx.children::<Datastore>(scope, Page::ALL)?.iter().map(show));
            Ok(shown)
        })
        .await?;
    let name = |store: &Value| store["name"].as_str().unwrap_or_default().to_owned();
    if let Some(names) = call.query("datastorenames").filter(|names| !names.is_empty()) {
        shown.retain(|store| names.split(',').any(|wanted| wanted.trim() == name(store)));
    }
    shown.sort_by_key(name);
    Ok(Json(page(shown, after.as_deref(), |store| store["name"].as_str().unwrap_or_default(), Value::clone)))
}

/// `create`. `createIfNotExists` asks for a container in the store, which is not looked at: it replaces nothing.
pub(super) async fn create(call: Call) -> Result<StatusCode> {
    let (described, person) = (Described::of(&call.body)?, call.person);
    call.write(Permission::Write, move |tx, scope| {
        if tx.child_by_name::<Datastore>(scope, &described.name)?.is_some() {
            // `azureml-core` 1.61 looks for this status and these words, and then sends what `overwrite=True` asks for as a `PUT`.
            return Err(Error::invalid("Another datastore with the same name already exists")
                .hint("change it with PUT, or choose another name"));
        }
        let id = tx.new_id();
        tx.create::<Datastore>(New::under(scope, id, described.clone().doc(false, Some(person)))).map(|_| ())
    })
    .await?;
    Ok(StatusCode::OK)
}

/// `update`.
pub(super) async fn update(call: Call) -> Result<StatusCode> {
    let (described, person) = (Described::of(&call.body)?, call.person);
    if call.part("name") != described.name {
        return Err(Error::invalid("the name in the address is not the one in the body").into());
    }
    call.write(Permission::Write, move |tx, scope| {
        let mut node = find(tx, scope, &described.name)?;
        node.doc = described.clone().doc(node.doc.is_default, node.doc.created_by);
        tx.update_by::<Datastore>(&node, person).map(|_| ())
    })
    .await?;
    Ok(StatusCode::OK)
}

/// `get`.
pub(super) async fn get(call: Call) -> Result<Json<Value>> {
    let (name, host) = (call.part("name").to_owned(), call.host.clone());
    let shown = call
        .read(Permission::Read, move |tx, scope| {
            if name == OWN { Ok(own(&host, scope)) } else { find(tx, scope, &name).map(|node| show(&node)) }
        })
        .await?;
    Ok(Json(shown))
}

/// `delete`.
pub(super) async fn delete(call: Call) -> Result<StatusCode> {
    call.refuse_dry_run()?;
    let name = call.part("name").to_owned();
    let removed = call
        .write(Permission::Write, move |tx, scope| {
            let node = tx.child_by_name::<Datastore>(scope, &name)?;
            node.map(|node| tx.remove(node.id)).transpose()
        })
        .await?;
    Ok(finish(&call, removed.as_slice()).await)
}

/// `delete_all`.
pub(super) async fn delete_all(call: Call) -> Result<StatusCode> {
    call.refuse_dry_run()?;
    let removed = call
        .write(Permission::Manage, move |tx, scope| {
            let nodes = tx.children::<Datastore>(scope, Page::ALL)?;
            nodes.iter().map(|node| tx.remove(node.id)).collect::<CoreResult<Vec<_>>>()
        })
        .await?;
    finish(&call, &removed).await;
    Ok(StatusCode::OK)
}

/// `get_default`: the server's own unless another was chosen.
pub(super) async fn get_default(call: Call) -> Result<Json<Value>> {
    let host = call.host.clone();
    let shown = call
        .read(Permission::Read, move |tx, scope| {
            let nodes = tx.children::<Datastore>(scope, Page::ALL)?;
            let chosen = nodes.iter().find(|node| node.doc.is_default);
            Ok(chosen.map_or_else(|| own(&host, scope), show))
        })
        .await?;
    Ok(Json(shown))
}

/// `set_default`.
pub(super) async fn set_default(call: Call) -> Result<StatusCode> {
    let name = call.part("name").to_owned();
    call.write(Permission::Write, move |tx, scope| {
        if name != OWN {
            find(tx, scope, &name)?;
        }
        for mut node in tx.children::<Datastore>(scope, Page::ALL)? {
            let is_default = node.doc.name == name;
            if node.doc.is_default != is_default {
                node.doc.is_default = is_default;
                tx.update::<Datastore>(&node)?;
            }
        }
        Ok(())
    })
    .await?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_wherever_they_stand() {
        let body = json!({ "name": "images", "dataStoreType": "AzureBlob", "tags": null,
            "azureStorageSection": { "accountName": "a", "accountKey": "s1", "clientCredentials": { "clientSecret": "s2" } },
            "azureSqlDatabaseSection": { "password": "" } });
        let described = Described::of(&body).unwrap();
        assert!(!Value::Object(described.settings).to_string().contains("s1"));
        assert_eq!(
            described.secrets.into_iter().collect::<Vec<_>>(),
            [
                ("azureStorageSection/accountKey".to_owned(), "s1".to_owned()),
                ("azureStorageSection/clientCredentials/clientSecret".to_owned(), "s2".to_owned())
            ]
        );
        for bad in [
            json!({}),
            json!([]),
            json!({ "name": "a b", "dataStoreType": "x" }),
            json!({ "name": OWN, "dataStoreType": "x" }),
        ] {
            assert!(Described::of(&bad).is_err(), "{bad}");
        }
    }
}
