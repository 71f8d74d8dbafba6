//! Starting a training.

use axum::Json;
use axum::body::Body;
use habeas_access::{Permission, normalise_email};
use habeas_core::kinds::{BaseModel, TrainingType};
use habeas_core::{Error, Id, Result as CoreResult};
use habeas_models::TrainingRequest;
use serde_json::Value;

use super::super::caller::{Call, find_project};
use super::super::domains;
use super::super::errors::Result;
use super::super::projection::Shape;
use super::super::query::guid;
use super::super::upload::small_json;
use super::read::shape;

/// `TrainProject`: answers an iteration in status `Training`. Settings come as query parameters (from 3.0 on), tags and base model in the
/// body (from 3.2 and 3.4 on); older versions send neither.
pub(in crate::custom_vision) async fn train(call: Call, body: Body) -> Result<Json<Value>> {
    let body = small_json(body).await?;
    let (actor, project) = (call.actor, call.project()?);
    let request = requested(&call, &body)?;
    let base = request.base;
    call.app
        .store()
        .read(move |tx| {
            let node = find_project(tx, &actor, project, Permission::Write)?;
            if domains::find(node.doc.domain).is_some_and(|domain| !domain.enabled) {
                return Err(Error::invalid("the project's domain is retired")
                    .hint("give the project another domain")
                    .code("BadRequestRetiredDomainNotSupportedForTraining"));
            }
            if let Some(base) = base {
                find_project(tx, &actor, base.project, Permission::Read)?;
            }
            Ok(())
        })
        .await?;
    let node = call.app.models().start_training(project, request).await?;
    Ok(call.answer(shape(&node), Shape::Iteration))
}

fn requested(call: &Call, body: &Value) -> CoreResult<TrainingRequest> {
    let budget = call.query.number("reservedBudgetInHours")?.unwrap_or(0);
    Ok(TrainingRequest {
        training_type: training_type(call.query.text("trainingType"))?,
        reserved_budget_in_hours: u32::try_from(budget)
            .map_err(|_| Error::invalid("`reservedBudgetInHours` is too large"))?,
        force: call.query.flag("forceTrain")?,
        notification_email: call.query.text("notificationEmailAddress").map(address).transpose()?,
        selected_tags: selected_tags(&body["selectedTags"])?,
        base: base(&body["customBaseModelInfo"])?,
        created_by: call.maker(),
    })
}

fn training_type(text: Option<&str>) -> CoreResult<TrainingType> {
    let Some(text) = text else { return Ok(TrainingType::Regular) };
    [TrainingType::Regular, TrainingType::Advanced]
        .into_iter()
        .find(|known| known.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| Error::invalid("`trainingType` is `Regular` or `Advanced`"))
}

fn address(text: &str) -> CoreResult<String> {
    normalise_email(text).map_err(|error| error.code("BadRequestInvalidEmailAddress"))?;
    Ok(text.trim().to_owned())
}

fn selected_tags(value: &Value) -> CoreResult<Vec<Id>> {
    let wrong = || Error::invalid("`selectedTags` is a list of tag ids").code("BadRequestInvalidIds");
    if value.is_null() {
        return Ok(Vec::new());
    }
    let ids = value.as_array().ok_or_else(wrong)?;
    ids.iter().map(|id| guid(id.as_str().ok_or_else(wrong)?, "selectedTags")).collect()
}

fn base(value: &Value) -> CoreResult<Option<BaseModel>> {
    if value.is_null() {
        return Ok(None);
    }
    let id = |name: &str| {
        let text = value[name].as_str().ok_or_else(|| {
            Error::invalid("`customBaseModelInfo` holds projectId and iterationId")
                .code("BadRequestInvalidIds")
        })?;
        guid(text, name)
    };
    Ok(Some(BaseModel { project: id("projectId")?, iteration: id("iterationId")? }))
}
