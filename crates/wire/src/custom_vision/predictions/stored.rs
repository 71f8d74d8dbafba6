//! Stored predictions: querying and deleting them.

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use habeas_access::Permission;
use habeas_core::kinds::{PREDICTION_DAYS, StoredPrediction, StoredPredictionDoc, uncertainty};
use habeas_core::time::DAY;
use habeas_core::{DataKind as _, Error, Id, Node, Result as CoreResult, Timestamp};
use habeas_store::Tx;
use serde_json::{Map, Value, json};

use super::super::addresses::{Copy, Signer};
use super::super::caller::{Call, find_project};
use super::super::errors::Result;
use super::super::projection::Shape;
use super::super::query::guid;
use super::super::upload::small_json;
use super::paging::{Asked, Place, rank};
use super::scored;

/// Tags that one query may combine.
const TAGS: usize = 2;

/// The order of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Newest,
    Oldest,
    /// Those of which the model was least sure first: the most useful ones to train on.
    Suggested,
}

/// Which stored predictions are asked for.
struct Wanted {
    order: Order,
    tags: Vec<(Id, f64, f64)>,
    iteration: Option<Id>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    application: Option<String>,
}

impl Wanted {
    fn of(token: &Value) -> CoreResult<Wanted> {
        let wrong = |what: String| Error::invalid(what).code("BadRequestPredictionInvalidQueryParameters");
        let text = |name: &str| token[name].as_str().filter(|text| !text.is_empty());
        let order = match text("orderBy").map(str::to_lowercase).as_deref() {
            None | Some("newest") => Order::Newest,
            Some("oldest") => Order::Oldest,
            Some("suggested") => Order::Suggested,
            Some(_) => return Err(wrong("`orderBy` is `Newest`, `Oldest` or `Suggested`".into())),
        };
        let time = |name: &str| {
            text(name)
                .map(|text| {
                    Timestamp::parse(text).map_err(|_| {
                        wrong(format!("`{name}` is no time")).hint("write it like 2026-11-24T08:30:00Z")
                    })
                })
                .transpose()
        };
        let mut tags = Vec::new();
        for tag in token["tags"].as_array().into_iter().flatten() {
            let bound = |name: &str, absent: f64| match &tag[name] {
                Value::Null => Ok(absent),
                value => value.as_f64().ok_or_else(|| wrong(format!("`{name}` is a number"))),
            };
            let id = guid(tag["id"].as_str().unwrap_or_default(), "tags")?;
            tags.push((id, bound("minThreshold", 0.0)?, bound("maxThreshold", 1.0)?));
        }
        if tags.len() > TAGS {
            return Err(Error::limit(format!(
                "`tags` has {} entries, at most {TAGS} are allowed",
                tags.len()
            ))
            .code("BadRequestPredictionTagsExceededCount"));
        }
        Ok(Wanted {
            order,
            tags,
            iteration: text("iterationId").map(|text| guid(text, "iterationId")).transpose()?,
            start: time("startTime")?,
            end: time("endTime")?,
            application: text("application").map(str::to_owned),
        })
    }

    fn covers(&self, created: Timestamp) -> bool {
        self.start.is_none_or(|start| created >= start) && self.end.is_none_or(|end| created <= end)
    }

    /// Every tag within its bounds, in any box of a detector.
    fn matches(&self, doc: &StoredPredictionDoc) -> bool {
        let within = |(tag, least, most): &(Id, f64, f64)| {
            let mut found = doc.predictions.iter().filter(|scored| scored.tag == *tag);
            found.any(|scored| (*least..=*most).contains(&scored.probability))
        };
        self.iteration.is_none_or(|iteration| doc.iteration == iteration)
            && self.application.as_ref().is_none_or(|name| doc.application.as_ref() == Some(name))
            && self.tags.iter().all(within)
    }

    /// The places of what may be a result. Only the suggested order has to open all of them.
    fn places(&self, tx: &mut Tx<'_>, project: Id, session: Timestamp) -> CoreResult<Vec<Place>> {
        let mut places = Vec::new();
        for (created, id) in tx.children_ids(project, StoredPrediction::KIND)? {
            if created > session || !self.covers(created) {
                continue;
            }
            let rank = match self.order {
                Order::Newest => -created.0,
                Order::Oldest => created.0,
                Order::Suggested => match tx.get::<StoredPrediction>(id)? {
                    Some(node) => -rank(uncertainty(&node.doc.predictions)),
                    None => continue,
                },
            };
            places.push((rank, id));
        }
        Ok(places)
    }
}

/// `QueryPredictions`.
pub(in crate::custom_vision) async fn query(call: Call, body: Body) -> Result<Json<Value>> {
    let token = match small_json(body).await? {
        Value::Null => json!({}),
        token @ Value::Object(_) => token,
        _ => return Err(Error::invalid("the body is a query token, a JSON object").into()),
    };
    let wanted = Wanted::of(&token)?;
    let asked = Asked::of(&token, call.app.store().ambient().now(), call.app.limits.page)?;
    let (actor, project) = (call.actor, call.project()?);
    let signer = Signer::new(&call.app, &call.base)?;
    let (results, last) = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            let places = wanted.places(tx, project, asked.session)?;
            let mut results = Vec::new();
            let mut last = None;
            for place in asked.remaining(places) {
                let node = tx.get::<StoredPrediction>(place.1)?.filter(|node| {
                    node.expires_at.is_none_or(|end| end > tx.now()) && wanted.matches(&node.doc)
                });
                let Some(node) = node else { continue };
                if results.len() == asked.count {
                    return Ok((results, last));
                }
                results.push(shape(project, &node, &signer));
                last = Some(place);
            }
            Ok((results, None))
        })
        .await?;
    let token = asked.next(&complete(token), last);
    Ok(call.answer(json!({ "token": token, "results": results }), Shape::PredictionQuery))
}

/// The token as it is sent back: with all its members.
fn complete(token: Value) -> Value {
    let mut members: Map<String, Value> =
        ["orderBy", "tags", "iterationId", "startTime", "endTime", "application"]
            .into_iter()
            .map(|name| (name.to_owned(), token.get(name).cloned().unwrap_or_default()))
            .collect();
    if members["orderBy"].is_null() {
        members["orderBy"] = "Newest".into();
    }
    Value::Object(members)
}

fn shape(project: Id, node: &Node<StoredPredictionDoc>, signer: &Signer) -> Value {
    let address = |copy| signer.prediction_address(project, node.id, copy);
    json!({
        "resizedImageUri": address(Copy::Resized),
        "thumbnailUri": address(Copy::Thumbnail),
        "originalImageUri": address(Copy::Original),
        "domain": node.doc.domain,
        "id": node.id,
        "project": project,
        "iteration": node.doc.iteration,
        "created": node.created_at.rfc3339(),
        "predictions": scored(&node.doc.predictions),
    })
}

/// `DeletePrediction`: with their images. Those that are not there are passed over, so that it can be repeated.
pub(in crate::custom_vision) async fn delete(call: Call) -> Result<StatusCode> {
    let most = call.app.limits.predictions_per_request;
    let ids = call.query.ids("ids", usize::MAX)?;
    if ids.is_empty() {
        return Err(Error::invalid("`ids` is missing").code("BadRequestPredictionIdsMissing").into());
    }
    if ids.len() > most {
        return Err(Error::limit(format!("`ids` has {} entries, at most {most} are allowed", ids.len()))
            .code("BadRequestPredictionIdsExceededCount")
            .into());
    }
    let (actor, project) = (call.actor, call.project()?);
    let removed = call
        .app
        .store()
        .write(move |tx| {
            find_project(tx, &actor, project, Permission::Label)?;
            let mut removed = Vec::new();
            for id in &ids {
                if of_project(tx, project, *id)?.is_some() {
                    removed.push(tx.remove(*id)?);
                }
            }
            Ok(removed)
        })
        .await?;
    for removal in &removed {
        call.app.store().finish(removal).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A prediction that the project has stored.
pub(super) fn of_project(
    tx: &mut Tx<'_>,
    project: Id,
    id: Id,
) -> CoreResult<Option<Node<StoredPredictionDoc>>> {
    Ok(tx.get::<StoredPrediction>(id)?.filter(|node| node.parent == Some(project)))
}

/// Predictions of the last month that a project has stored.
pub(in crate::custom_vision) fn used_last_month(tx: &mut Tx<'_>, project: Id) -> CoreResult<u64> {
    let since = Timestamp(tx.now().0 - i64::from(PREDICTION_DAYS) * DAY);
    let stored = tx.children_ids(project, StoredPrediction::KIND)?;
    Ok(stored.iter().filter(|(created, _)| *created >= since).count() as u64)
}
