//! Tags.

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use habeas_access::{Actor, Permission};
use habeas_core::kinds::{Image, Project, ProjectDoc, Tag, TagDoc, TagType};
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Node};
use habeas_store::{Connected, New, Page, Removed, Tx, UNIQUE_VIOLATION};
use serde_json::{Value, json};

use super::caller::{Call, find_project};
use super::errors::{Result, no_tag};
use super::iterations::Snapshot;
use super::limits::Limits;
use super::projection::Shape;
use super::upload::small_json;
use super::version::Version;

/// `GetTags`, by name, of the workspace or as an iteration was trained on them. 1.2 wraps the list in counts.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let (actor, project) = (call.actor, call.project()?);
    let snapshot = Snapshot::asked_for(&call).await?;
    let (tags, tagged, untagged) = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            if let Some(snapshot) = &snapshot {
                return snapshot.tag_shapes(tx, project);
            }
            let mut nodes = tx.children::<Tag>(project, Page::ALL)?;
            nodes.sort_by(|left, right| left.doc.name.cmp(&right.doc.name));
            let tags = nodes.iter().map(|node| shape(tx, node)).collect::<Result<Vec<_>, _>>()?;
            let tagged = tx.count_connected::<Image>(project, Relation::Tagged, Connected::ToSomething)?;
            let untagged = tx.count_connected::<Image>(project, Relation::Tagged, Connected::ToNothing)?;
            Ok((tags, tagged, untagged))
        })
        .await?;
    if call.version <= Version::V1_2 {
        let tags: Vec<Value> = tags
            .into_iter()
            .map(|mut tag| {
                tag.as_object_mut().map(|members| members.remove("type"));
                tag
            })
            .collect();
        let list = json!({ "tags": tags, "totalTaggedImages": tagged, "totalUntaggedImages": untagged });
        return Ok(call.answer(list, Shape::Plain));
    }
    Ok(call.answer(Value::Array(tags), Shape::Tag))
}

/// `GetTag`, of the workspace or as an iteration was trained on it.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (actor, project, tag) = (call.actor, call.project()?, tag_id(&call)?);
    let snapshot = Snapshot::asked_for(&call).await?;
    let tag = call
        .app
        .store()
        .read(move |tx| match &snapshot {
            None => {
                let (_, node) = find(tx, &actor, project, tag, Permission::Read)?;
                shape(tx, &node)
            }
            Some(snapshot) => {
                find_project(tx, &actor, project, Permission::Read)?;
                let (tags, _, _) = snapshot.tag_shapes(tx, project)?;
                tags.into_iter().find(|shape| shape["id"] == json!(tag)).ok_or_else(no_tag)
            }
        })
        .await?;
    Ok(call.answer(tag, Shape::Tag))
}

/// `CreateTag`.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    let limits = &call.app.limits;
    let doc = TagDoc {
        name: checked_name(call.query.required("name")?, limits)?,
        description: checked_description(call.query.text("description").unwrap_or_default(), limits)?,
        tag_type: tag_type(call.query.text("type").unwrap_or("Regular"))?,
    };
    let (actor, project, quota) = (call.actor, call.project()?, limits.tags_per_project);
    let id = call.app.store().ambient().new_id();
    let tag = call
        .app
        .store()
        .write(move |tx| {
            let above = find_project(tx, &actor, project, Permission::Label)?;
            if let Some(quota) = quota
                && tx.count_children(project, habeas_core::Kind::Tag)? >= quota
            {
                return Err(Error::limit(format!("the project has {quota} tags, the most it may have"))
                    .code("BadRequestExceedTagPerProjectLimit"));
            }
            require_one_negative(tx, project, id, doc.tag_type)?;
            let node = tx.create::<Tag>(New::under(project, id, doc.clone())).map_err(name_taken)?;
            tx.mention_editor::<Project>(&above, actor.person())?;
            shape(tx, &node)
        })
        .await?;
    Ok(call.answer(tag, Shape::Tag))
}

/// `UpdateTag`: what is present is merged.
pub(super) async fn update(call: Call, body: Body) -> Result<Json<Value>> {
    let body = small_json(body).await?;
    let (actor, project, tag, limits) =
        (call.actor, call.project()?, tag_id(&call)?, call.app.limits.clone());
    let tag = call
        .app
        .store()
        .write(move |tx| {
            let (above, mut node) = find(tx, &actor, project, tag, Permission::Label)?;
            if let Some(name) = body["name"].as_str() {
                node.doc.name = checked_name(name, &limits)?;
            }
            match &body["description"] {
                Value::String(text) => node.doc.description = checked_description(text, &limits)?,
                // The JavaScript client sends null for a description that there is none of.
                Value::Null if body.get("description").is_some() => node.doc.description = String::new(),
                _ => {}
            }
            if let Some(kind) = body["type"].as_str() {
                node.doc.tag_type = tag_type(kind)?;
                require_one_negative(tx, project, node.id, node.doc.tag_type)?;
            }
            let node = tx.update::<Tag>(&node).map_err(name_taken)?;
            tx.mention_editor::<Project>(&above, actor.person())?;
            shape(tx, &node)
        })
        .await?;
    Ok(call.answer(tag, Shape::Tag))
}

/// `DeleteTag`: the images stay, without the tag and the regions drawn for it.
pub(super) async fn delete(call: Call) -> Result<StatusCode> {
    let (actor, project, tag) = (call.actor, call.project()?, tag_id(&call)?);
    let removed: Removed = call
        .app
        .store()
        .write(move |tx| {
            find(tx, &actor, project, tag, Permission::Label)?;
            for image in tx.sources(tag, Relation::Tagged)? {
                if let Some(mut node) = tx.get::<Image>(image)?
                    && node.doc.regions.iter().any(|region| region.tag == tag)
                {
                    node.doc.regions.retain(|region| region.tag != tag);
                    tx.update::<Image>(&node)?;
                }
            }
            tx.remove(tag)
        })
        .await?;
    call.app.store().finish(&removed).await;
    Ok(StatusCode::NO_CONTENT)
}

fn tag_id(call: &Call) -> habeas_core::Result<Id> {
    call.item.as_deref().and_then(|text| text.parse().ok()).ok_or_else(no_tag)
}

/// The tag, with its project, if the actor may do this with it.
fn find(
    tx: &mut Tx<'_>,
    actor: &Actor,
    project: Id,
    tag: Id,
    permission: Permission,
) -> habeas_core::Result<(Node<ProjectDoc>, Node<TagDoc>)> {
    let above = find_project(tx, actor, project, permission)?;
    let node = tx.get::<Tag>(tag)?.filter(|node| node.parent == Some(project)).ok_or_else(no_tag)?;
    Ok((above, node))
}

fn shape(tx: &mut Tx<'_>, node: &Node<TagDoc>) -> habeas_core::Result<Value> {
    Ok(json!({
        "id": node.id,
        "name": node.doc.name,
        "description": node.doc.description,
        "type": node.doc.tag_type.name(),
        "imageCount": tx.count_sources(node.id, Relation::Tagged)?,
    }))
}

fn require_one_negative(tx: &mut Tx<'_>, project: Id, this: Id, kind: TagType) -> habeas_core::Result<()> {
    if kind == TagType::Regular {
        return Ok(());
    }
    let other = tx
        .children::<Tag>(project, Page::ALL)?
        .iter()
        .any(|node| node.id != this && node.doc.tag_type == kind);
    match (other, kind) {
        (false, _) => Ok(()),
        (true, TagType::Negative) => {
            Err(Error::invalid("a project has at most one negative tag")
                .code("BadRequestMultipleNegativeTag"))
        }
        (true, _) => Err(Error::invalid("a project has at most one general product tag")
            .code("BadRequestMultipleGeneralProductTag")),
    }
}

fn name_taken(error: Error) -> Error {
    if error.code == Some(UNIQUE_VIOLATION) {
        // Programs match on this message.
        return Error::invalid("Name not unique").code("BadRequestTagNameNotUnique");
    }
    error
}

fn checked_name(name: &str, limits: &Limits) -> habeas_core::Result<String> {
    if name.trim().is_empty() || name.chars().count() > limits.name {
        return Err(Error::invalid(format!("a tag name has 1 to {} characters", limits.name))
            .code("BadRequestTagName"));
    }
    Ok(name.to_owned())
}

fn checked_description(text: &str, limits: &Limits) -> habeas_core::Result<String> {
    if text.chars().count() > limits.description {
        return Err(Error::invalid(format!("a description has at most {} characters", limits.description))
            .code("BadRequestTagDescription"));
    }
    Ok(text.to_owned())
}

fn tag_type(text: &str) -> habeas_core::Result<TagType> {
    [TagType::Regular, TagType::Negative, TagType::GeneralProduct]
        .into_iter()
        .find(|kind| kind.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| {
            Error::invalid("type is `Regular`, `Negative` or `GeneralProduct`").code("BadRequestTagType")
        })
}
