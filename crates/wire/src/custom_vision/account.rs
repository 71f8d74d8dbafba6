//! Account info: who the keys belong to, the keys, and what is used of which quota.

use axum::Json;
use habeas_core::kinds::{Account, Image, Iteration, KeyPair, Organisation, Person, Project};
use habeas_core::{DataKind as _, Error};
use habeas_store::{Page, Tx};
use serde_json::{Value, json};

use super::caller::Call;
use super::errors::Result;
use super::limits::Limits;
use super::projection::Shape;

/// `GetAccountInfo`: Microsoft had it up to 1.2 only; here every version has it, since every person has a right to it. A program that the
/// person let in is shown no keys: with them it would stay in.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (account, limits) = (call.account, call.app.limits.clone());
    let iterations = call.app.models().limits().iterations;
    let shows_keys = call.app.rights.require_in_person(&call.actor).is_ok();
    let value = call.app.store().read(move |tx| info(tx, account, &limits, iterations, shows_keys)).await?;
    Ok(call.answer(value, Shape::Plain))
}

fn info(
    tx: &mut Tx<'_>,
    account: habeas_core::Id,
    limits: &Limits,
    iterations: Option<u64>,
    shows_keys: bool,
) -> habeas_core::Result<Value> {
    let node = tx.get::<Account>(account)?.ok_or_else(|| Error::not_found("there is no such account"))?;
    let (name, email) = match tx.get::<Person>(node.holder)? {
        Some(person) => (person.doc.name, person.doc.email),
        None => (
            tx.get::<Organisation>(node.holder)?
                .map(|organisation| organisation.doc.name)
                .unwrap_or_default(),
            String::new(),
        ),
    };
    let projects = tx.children::<Project>(account, Page::ALL)?;
    let mut per_project = Vec::new();
    let mut predictions = 0;
    for project in &projects {
        predictions += super::predictions::used_last_month(tx, project.id)?;
        per_project.push(json!({
            "projectId": project.id,
            "iterations": quota(iterations, tx.count_children(project.id, Iteration::KIND)?),
            "images": quota(limits.images_per_project, tx.count_children(project.id, Image::KIND)?),
            "tags": quota(limits.tags_per_project, tx.count_children(project.id, habeas_core::kinds::Tag::KIND)?),
        }));
    }
    let shown = |key: &str| if shows_keys { key.to_owned() } else { String::new() };
    let pair = |keys: &KeyPair| json!({ "primaryKey": shown(&keys.primary), "secondaryKey": shown(&keys.secondary) });
    Ok(json!({
        "userName": name,
        "email": email,
        "keys": { "trainingKeys": pair(&node.doc.training_keys), "predictionKeys": pair(&node.doc.prediction_keys) },
        "quotas": {
            "tier": "Self-hosted",
            "projects": quota(limits.projects_per_account, projects.len() as u64),
            "predictions": quota(None, predictions),
            "perProject": per_project,
        },
    }))
}

/// A quota; without a limit its total is the largest number that the Python client (0.1.0) reads as a 32-bit integer.
fn quota(total: Option<u64>, used: u64) -> Value {
    json!({ "total": total.unwrap_or(i32::MAX as u64), "used": used, "timeUntilReset": null })
}
