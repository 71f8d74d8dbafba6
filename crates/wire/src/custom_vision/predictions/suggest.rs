//! Tags and regions that a model suggests for images of the project.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use habeas_access::Permission;
use habeas_core::kinds::{Image, ImageDoc, Suggestion, SuggestionDoc, uncertainty};
use habeas_core::node::Relation;
use habeas_core::time::DAY;
use habeas_core::{Error, Id, Node, Result as CoreResult, Timestamp};
use habeas_models::{find_iteration, no_iteration};
use habeas_store::{Connected, New, Page, Tx};
use serde_json::{Value, json};

use super::super::addresses::{Copy, Signer};
use super::super::caller::{Call, find_project};
use super::super::errors::{Result, no_image};
use super::super::projection::Shape;
use super::super::query::{guid, require_at_most};
use super::super::upload::small_json;
use super::paging::{Asked, Place, rank};
use super::{bounding_box, scored};

/// `GetImageRegionProposals`.
pub(in crate::custom_vision) async fn proposals(call: Call) -> Result<Json<Value>> {
    let (actor, project) = (call.actor, call.project()?);
    let image: Id = call.item.as_deref().and_then(|text| text.parse().ok()).ok_or_else(no_image)?;
    call.app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            of_project(tx, project, image)?.ok_or_else(no_image)
        })
        .await?;
    let proposals = call.app.models().propose_regions(image).await?.ok_or_else(no_image)?;
    let proposals: Vec<Value> = proposals
        .iter()
        .map(|found| {
            json!({ "confidence": found.confidence, "boundingBox": bounding_box(found.bounding_box) })
        })
        .collect();
    let answer = json!({ "projectId": project, "imageId": image, "proposals": proposals });
    Ok(call.answer(answer, Shape::Plain))
}

/// `SuggestTagsAndRegions`: asks the iteration about images of the project, and keeps what it says with them.
pub(in crate::custom_vision) async fn suggest(call: Call) -> Result<Json<Value>> {
    let iteration = iteration(&call)?;
    let images = call.query.ids("imageIds", call.app.limits.images_per_suggestion)?;
    if images.is_empty() {
        return Err(Error::invalid("`imageIds` is missing").code("BadRequestRequiredParamIsNull").into());
    }
    let (actor, project) = (call.actor, call.project()?);
    let wanted = images.clone();
    call.app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Label)?;
            find_iteration(tx, project, iteration)?;
            for image in &wanted {
                of_project(tx, project, *image)?.ok_or_else(no_image)?;
            }
            Ok(())
        })
        .await?;
    let mut answers = Vec::new();
    for image in images {
        let Some(prediction) = call.app.models().predict_image(iteration, image).await? else { continue };
        let doc = SuggestionDoc {
            iteration,
            uncertainty: uncertainty(&prediction.predictions),
            predictions: prediction.predictions,
        };
        let created = keep(&call, image, doc.clone()).await?;
        answers.push(shape(image, project, created, &doc));
    }
    Ok(call.answer(Value::Array(answers), Shape::Suggestion))
}

/// Keeps a suggestion in place of earlier ones of that iteration, as long as predictions are kept.
async fn keep(call: &Call, image: Id, doc: SuggestionDoc) -> CoreResult<Timestamp> {
    let days = call.app.limits.prediction_days;
    if days == 0 {
        return Ok(call.app.store().ambient().now());
    }
    let (created, removed) = call
        .app
        .store()
        .write(move |tx| {
            let mut removed = Vec::new();
            for earlier in tx.children::<Suggestion>(image, Page::ALL)? {
                if earlier.doc.iteration == doc.iteration {
                    removed.push(tx.remove(earlier.id)?);
                }
            }
            let expires_at = Some(Timestamp(tx.now().0 + i64::from(days) * DAY));
            let new = New { id: tx.new_id(), parent: Some(image), expires_at, doc: doc.clone() };
            let node = tx.create::<Suggestion>(new)?;
            Ok((node.created_at, removed))
        })
        .await?;
    for removal in &removed {
        call.app.store().finish(removal).await;
    }
    Ok(created)
}

/// `QuerySuggestedImages`: untagged images for which the iteration suggests one of the tags.
pub(in crate::custom_vision) async fn suggested(call: Call, body: Body) -> Result<Json<Value>> {
    let token = object(small_json(body).await?)?;
    let asked = Asked::of(&token, call.app.store().ambient().now(), call.app.limits.page)?;
    let wanted = Wanted::of(&call, &token)?;
    let ascending = match token["sortBy"].as_str().map(str::to_lowercase).as_deref() {
        None | Some("" | "uncertaintyascending") => true,
        Some("uncertaintydescending") => false,
        Some(_) => {
            return Err(Error::invalid("`sortBy` is `UncertaintyAscending` or `UncertaintyDescending`")
                .code("BadRequestPredictionInvalidQueryParameters")
                .into());
        }
    };
    let (actor, project) = (call.actor, call.project()?);
    let signer = Signer::new(&call.app, &call.base)?;
    let (results, last) = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            let domain = find_iteration(tx, project, wanted.iteration)?.doc.domain;
            let mut found = BTreeMap::new();
            wanted.each(tx, project, |image, suggestion| {
                if suggestion.created_at <= asked.session {
                    let rank = rank(suggestion.doc.uncertainty);
                    found.insert((if ascending { rank } else { -rank }, image.id), (image, suggestion));
                }
            })?;
            let left = asked.remaining(found.keys().copied().collect());
            let page: Vec<Place> = left.iter().copied().take(asked.count).collect();
            let last = page.last().copied().filter(|_| left.len() > page.len());
            let results: Vec<Value> = page
                .iter()
                .filter_map(|place| found.get(place))
                .map(|(image, suggestion)| stored_shape(project, domain, image, suggestion, &signer))
                .collect();
            Ok((results, last))
        })
        .await?;
    let token = asked.next(&complete(&token), last);
    Ok(call.answer(json!({ "token": token, "results": results }), Shape::SuggestionQuery))
}

/// `QuerySuggestedImageCount`: how many untagged images the iteration suggests each of the tags for.
pub(in crate::custom_vision) async fn suggested_count(call: Call, body: Body) -> Result<Json<Value>> {
    let filter = object(small_json(body).await?)?;
    let wanted = Wanted::of(&call, &filter)?;
    let (actor, project) = (call.actor, call.project()?);
    let counts = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            find_iteration(tx, project, wanted.iteration)?;
            let mut counts: BTreeMap<Id, u64> = wanted.tags.iter().map(|tag| (*tag, 0)).collect();
            wanted.each(tx, project, |_, suggestion| {
                for tag in wanted.suggested_tags(&suggestion.doc) {
                    *counts.entry(tag).or_default() += 1;
                }
            })?;
            Ok(counts)
        })
        .await?;
    Ok(Json(json!(counts)))
}

/// The tags and the threshold of a query.
struct Wanted {
    iteration: Id,
    /// Any where there are none.
    tags: Vec<Id>,
    threshold: f64,
}

/// Images opened at a time.
const SCAN: u64 = 500;

impl Wanted {
    fn of(call: &Call, filter: &Value) -> CoreResult<Wanted> {
        let mut tags = Vec::new();
        for tag in filter["tagIds"].as_array().into_iter().flatten() {
            tags.push(guid(tag.as_str().unwrap_or_default(), "tagIds")?);
        }
        require_at_most(tags.len(), call.app.limits.tags_per_request, "tagIds")?;
        let threshold = match &filter["threshold"] {
            Value::Null => 0.0,
            value => value.as_f64().ok_or_else(|| {
                Error::invalid("`threshold` is a number").code("BadRequestPredictionInvalidQueryParameters")
            })?,
        };
        Ok(Wanted { iteration: iteration(call)?, tags, threshold })
    }

    /// The tags asked for that a suggestion has, each once.
    fn suggested_tags(&self, doc: &SuggestionDoc) -> Vec<Id> {
        let mut tags: Vec<Id> = doc
            .predictions
            .iter()
            .filter(|scored| scored.probability >= self.threshold)
            .map(|scored| scored.tag)
            .filter(|tag| self.tags.is_empty() || self.tags.contains(tag))
            .collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    /// Hands over every untagged image with the iteration's suggestion for it, if that has a tag asked for.
    fn each(
        &self,
        tx: &mut Tx<'_>,
        project: Id,
        mut take: impl FnMut(Node<ImageDoc>, Node<SuggestionDoc>),
    ) -> CoreResult<()> {
        let mut page = Page { take: SCAN, ..Page::ALL };
        loop {
            let images =
                tx.connected_children::<Image>(project, Relation::Tagged, Connected::ToNothing, page)?;
            let is_last = (images.len() as u64) < SCAN;
            for image in images {
                let now = tx.now();
                let suggestion = tx.children::<Suggestion>(image.id, Page::ALL)?.into_iter().find(|node| {
                    node.doc.iteration == self.iteration && node.expires_at.is_none_or(|end| end > now)
                });
                if let Some(suggestion) = suggestion
                    && !self.suggested_tags(&suggestion.doc).is_empty()
                {
                    take(image, suggestion);
                }
            }
            if is_last {
                return Ok(());
            }
            page.skip += SCAN;
        }
    }
}

fn iteration(call: &Call) -> CoreResult<Id> {
    call.query.required("iterationId")?.parse().map_err(|_| no_iteration())
}

fn of_project(tx: &mut Tx<'_>, project: Id, image: Id) -> CoreResult<Option<Node<ImageDoc>>> {
    Ok(tx.get::<Image>(image)?.filter(|node| node.parent == Some(project)))
}

fn object(body: Value) -> CoreResult<Value> {
    match body {
        Value::Null => Ok(json!({})),
        body @ Value::Object(_) => Ok(body),
        _ => Err(Error::invalid("the body is a JSON object")),
    }
}

fn complete(token: &Value) -> Value {
    json!({
        "tagIds": token["tagIds"],
        "threshold": token["threshold"],
        "sortBy": token["sortBy"].as_str().filter(|text| !text.is_empty()).unwrap_or("UncertaintyAscending"),
    })
}

/// A suggestion under the id of its image: the protocol has no other member that would say which one it is for.
fn shape(image: Id, project: Id, created: Timestamp, doc: &SuggestionDoc) -> Value {
    json!({
        "id": image,
        "project": project,
        "iteration": doc.iteration,
        "created": created.rfc3339(),
        "predictions": scored(&doc.predictions),
        "predictionUncertainty": doc.uncertainty,
    })
}

fn stored_shape(
    project: Id,
    domain: Id,
    image: &Node<ImageDoc>,
    suggestion: &Node<SuggestionDoc>,
    signer: &Signer,
) -> Value {
    let mut value = shape(image.id, project, suggestion.created_at, &suggestion.doc);
    value["domain"] = json!(domain);
    value["width"] = image.doc.width.into();
    value["height"] = image.doc.height.into();
    for (name, copy) in [
        ("resizedImageUri", Copy::Resized),
        ("thumbnailUri", Copy::Thumbnail),
        ("originalImageUri", Copy::Original),
    ] {
        value[name] = signer.address(project, image.id, copy).into();
    }
    value
}
