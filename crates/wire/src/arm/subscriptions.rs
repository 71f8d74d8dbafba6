//! Subscriptions and resource groups: whose workspaces a caller may see.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use habeas_access::Permission;
use habeas_core::kinds::{Organisation, Person, Workspace};
use habeas_core::{Error, Id, Kind, Result as CoreResult};
use habeas_store::{Page, Tx};
use serde_json::{Value, json};

use super::call::Call;
use super::errors::Result;
use crate::scope::holder;

fn shape(id: Id, name: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{id}"),
        "subscriptionId": id,
        "tenantId": Id::NIL,
        "displayName": name,
        "state": "Enabled",
    })
}

fn name_of(tx: &mut Tx<'_>, id: Id) -> CoreResult<String> {
    if let Some(person) = tx.get::<Person>(id)? {
        return Ok(person.doc.name);
    }
    let organisation = tx.get::<Organisation>(id)?;
    Ok(organisation.map(|node| node.doc.name).unwrap_or_default())
}

/// `Subscriptions_List`: the caller, and the organisations that they are a member of.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let person = call.person;
    let found = call
        .app
        .store()
        .read(move |tx| {
            let organisations =
                tx.mentions_of(person)?.into_iter().filter(|mention| mention.kind == Kind::Organisation);
            let holders: BTreeSet<Id> = organisations.map(|mention| mention.resource).collect();
            [person]
                .into_iter()
                .chain(holders)
                .map(|id| Ok(shape(id, &name_of(tx, id)?)))
                .collect::<CoreResult<Vec<_>>>()
        })
        .await?;
    Ok(Json(json!({ "value": found })))
}

/// `Subscriptions_Get`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (actor, subscription) = (call.actor, call.part("subscription").to_owned());
    let shown = call
        .app
        .store()
        .read(move |tx| {
            let id = holder(tx, &actor, &subscription, Permission::Read)?;
            Ok(shape(id, &name_of(tx, id)?))
        })
        .await?;
    Ok(Json(shown))
}

/// `ResourceGroups_List`: a group is there while it has a workspace, and lies where the oldest of them does.
pub(super) async fn groups(call: Call) -> Result<Json<Value>> {
    Ok(Json(json!({ "value": all_groups(&call).await?.into_values().collect::<Vec<_>>() })))
}

/// `ResourceGroups_Get`.
pub(super) async fn group(call: Call) -> Result<Json<Value>> {
    let wanted = call.part("group").to_lowercase();
    let found = all_groups(&call).await?.remove(&wanted).ok_or_else(|| {
        Error::not_found("there is no such resource group")
            .hint("a resource group is there while it has a workspace")
            .code("ResourceGroupNotFound")
    })?;
    Ok(Json(found))
}

/// The groups of a subscription by their names in lower case.
async fn all_groups(call: &Call) -> Result<BTreeMap<String, Value>> {
    let (actor, subscription) = (call.actor, call.part("subscription").to_owned());
    Ok(call
        .app
        .store()
        .read(move |tx| {
            let holder = holder(tx, &actor, &subscription, Permission::Read)?;
            let mut groups = BTreeMap::new();
            for node in tx.children::<Workspace>(holder, Page::ALL)? {
                let Some(azure) = node.doc.azure else { continue };
                groups.entry(azure.group.to_lowercase()).or_insert_with(|| {
                    json!({
                        "id": format!("/subscriptions/{holder}/resourceGroups/{}", azure.group),
                        "name": azure.group,
                        "type": "Microsoft.Resources/resourceGroups",
                        "location": azure.location,
                        "properties": { "provisioningState": "Succeeded" },
                    })
                });
            }
            Ok(groups)
        })
        .await?)
}
