//! Publishing iterations under names that predictions ask for.

use axum::Json;
use axum::http::StatusCode;
use habeas_access::Permission;
use habeas_core::Error;
use serde_json::{Value, json};

use super::super::caller::Call;
use super::super::errors::Result;
use super::{find, iteration_id};

/// The longest id of a prediction resource, in characters; those of Azure have some 200.
const RESOURCE_ID: usize = 1024;

/// `PublishIteration`: answers a bare `true`. `predictionId` may be anything, since no other resource answers here; it is given back as
/// `originalPublishResourceId`.
pub(in crate::custom_vision) async fn publish(call: Call) -> Result<Json<Value>> {
    let (actor, project, id) = (call.actor, call.project()?, iteration_id(&call)?);
    let name = call.query.required("publishName")?.to_owned();
    let resource = call.query.required("predictionId")?.to_owned();
    let overwrite = call.query.flag("overwrite")?;
    let most = call.app.limits.name;
    if name.trim().is_empty() || name.chars().count() > most {
        return Err(Error::invalid(format!("a publish name has 1 to {most} characters"))
            .code("BadRequestInvalidPublishName")
            .into());
    }
    if resource.chars().count() > RESOURCE_ID {
        return Err(Error::invalid(format!("`predictionId` has at most {RESOURCE_ID} characters"))
            .code("BadRequestInvalidPublishTarget")
            .into());
    }
    call.app
        .store()
        .write(move |tx| {
            let node = find(tx, &actor, project, id, Permission::Deploy)?;
            habeas_models::publish(tx, &node, &name, &resource, overwrite)
        })
        .await?;
    Ok(Json(json!(true)))
}

/// `UnpublishIteration`.
pub(in crate::custom_vision) async fn unpublish(call: Call) -> Result<StatusCode> {
    let (actor, project, id) = (call.actor, call.project()?, iteration_id(&call)?);
    call.app
        .store()
        .write(move |tx| {
            let node = find(tx, &actor, project, id, Permission::Deploy)?;
            habeas_models::unpublish(tx, &node)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
