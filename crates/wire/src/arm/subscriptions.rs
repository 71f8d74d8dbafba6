//! Subscriptions and resource groups: whose workspaces a caller may see.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use habeas_access::Permission;
use habeas_core::kinds::{
    AzureResource, ExperimentationAccount, HostingAccount, OperationalizationCluster, Organisation, Person,
    Workspace,
};
use habeas_core::{Error, Id, Kind, Result as CoreResult, Timestamp};
use habeas_store::{Page, Tx};
use serde_json::{Value, json};

use super::body::Fields;
use super::call::Call;
use super::errors::Result;
use super::providers::{EXPERIMENTATION, SERVICES};
use super::resource::{Resource, check_name, required_location};
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

/// `ResourceGroups_List`: a group is there while it has a resource, and lies where the oldest of them does.
pub(super) async fn groups(call: Call) -> Result<Json<Value>> {
    let (_, groups) = all_groups(&call, Permission::Read).await?;
    Ok(Json(json!({ "value": groups.into_values().collect::<Vec<_>>() })))
}

/// `ResourceGroups_Get`.
pub(super) async fn group(call: Call) -> Result<Json<Value>> {
    let wanted = call.part("group").to_lowercase();
    let (_, mut groups) = all_groups(&call, Permission::Read).await?;
    let found = groups.remove(&wanted).ok_or_else(|| {
        Error::not_found("there is no such resource group")
            .hint("a resource group is there while it has a resource")
            .code("ResourceGroupNotFound")
    })?;
    Ok(Json(found))
}

/// The same by `HEAD`, which is `ResourceGroups_CheckExistence`: `azure-mgmt-resource` takes 204 and 404 only.
pub(super) async fn check_group(call: Call) -> Result<StatusCode> {
    group(call).await.map(|_| StatusCode::NO_CONTENT)
}

/// `ResourceGroups_CreateOrUpdate`, which `Workspace.create` of `azureml-core` calls first. A group that has a resource is as it is; any
/// other will be there as soon as it has one, so that nothing of it is kept.
pub(super) async fn put_group(call: Call) -> Result<Response> {
    let (holder, mut groups) = all_groups(&call, Permission::Manage).await?;
    let name = call.part("group");
    check_name(name)?;
    let location = required_location(Fields::of(&call.body)?.text("location")?)?;
    Ok(match groups.remove(&name.to_lowercase()) {
        Some(found) => (StatusCode::OK, Json(found)).into_response(),
        None => (StatusCode::CREATED, Json(group_shape(holder, name, &location))).into_response(),
    })
}

fn group_shape(holder: Id, name: &str, location: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{holder}/resourceGroups/{name}"),
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": location,
        "properties": { "provisioningState": "Succeeded" },
    })
}

/// The holder that a subscription stands for, if the caller may do this with what it holds, and its groups by their names in lower case.
async fn all_groups(call: &Call, permission: Permission) -> Result<(Id, BTreeMap<String, Value>)> {
    let (actor, subscription) = (call.actor, call.part("subscription").to_owned());
    Ok(call
        .app
        .store()
        .read(move |tx| {
            let holder = holder(tx, &actor, &subscription, permission)?;
            let mut found = Vec::new();
            collect::<Workspace>(tx, holder, &mut found)?;
            collect::<ExperimentationAccount>(tx, holder, &mut found)?;
            collect::<HostingAccount>(tx, holder, &mut found)?;
            collect::<OperationalizationCluster>(tx, holder, &mut found)?;
            found.sort_by_key(|(made, _)| *made);
            let mut groups = BTreeMap::new();
            for (_, azure) in found {
                groups
                    .entry(azure.group.to_lowercase())
                    .or_insert_with(|| group_shape(holder, &azure.group, &azure.location));
            }
            Ok((holder, groups))
        })
        .await?)
}

/// What the control plane says of the holder's resources of a type, and since when.
fn collect<R: Resource>(
    tx: &mut Tx<'_>,
    holder: Id,
    found: &mut Vec<(Timestamp, AzureResource)>,
) -> CoreResult<()> {
    for node in tx.children::<R>(holder, Page::ALL)? {
        let azure = R::azure(&node.doc).filter(|_| node.expires_at.is_none());
        found.extend(azure.map(|azure| (node.created_at, azure.clone())));
    }
    Ok(())
}

/// `CheckNameAvailability`, of the types that stand in a resource group: one that is used already, or would be refused. It names no group, so
/// that a name is used when it is in any; what is made has to be new in its own group only.
pub(super) async fn check_availability(call: Call) -> Result<Json<Value>> {
    let asked = Fields::of(&call.body)?;
    let (name, type_name) = (asked.required("name")?, asked.required("type")?);
    let namespace = call.provider.map(|provider| provider.namespace).unwrap_or_default();
    let of_provider = type_name
        .get(..namespace.len())
        .filter(|start| start.eq_ignore_ascii_case(namespace))
        .and_then(|_| type_name.get(namespace.len() + 1..));
    let type_name = of_provider.unwrap_or(&type_name).to_lowercase();
    let (actor, subscription) = (call.actor, call.part("subscription").to_owned());
    let is_services = namespace == SERVICES.namespace;
    let reason = call
        .app
        .store()
        .read(move |tx| {
            let holder = holder(tx, &actor, &subscription, Permission::Read)?;
            match type_name.as_str() {
                "workspaces" if is_services => reason::<Workspace>(tx, holder, &name),
                "accounts" if namespace == EXPERIMENTATION.namespace => {
                    reason::<ExperimentationAccount>(tx, holder, &name)
                }
                "accounts" => reason::<HostingAccount>(tx, holder, &name),
                "operationalizationclusters" => reason::<OperationalizationCluster>(tx, holder, &name),
                _ => Err(Error::invalid("there is no such type of resources")
                    .hint("give the `type` of a resource that stands in a resource group")),
            }
        })
        .await?;
    let mut answer = json!({ "nameAvailable": reason.is_none() });
    if let Some((reason, message)) = reason {
        answer["reason"] = json!(reason);
        answer["message"] = json!(message);
    }
    Ok(Json(answer))
}

/// Why a new resource could not have this name, as a code and in words.
fn reason<R: Resource>(
    tx: &mut Tx<'_>,
    holder: Id,
    name: &str,
) -> CoreResult<Option<(&'static str, String)>> {
    if let Err(error) = R::check_name(name) {
        return Ok(Some(("Invalid", error.what)));
    }
    let mut others = tx.children::<R>(holder, Page::ALL)?.into_iter();
    let is_used = others.any(|node| R::name(&node.doc).eq_ignore_ascii_case(name));
    Ok(is_used
        .then(|| ("AlreadyExists", "a resource group of the subscription has one of this name".to_owned())))
}
