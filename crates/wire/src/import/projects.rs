//! Accounts, projects, tags, and what is there of a project.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use habeas_access::{Actor, Permission, authorise, record_staff};
use habeas_core::import::{self, AccountEntry, Contents, HeldExport, HeldImage, HeldIteration, HeldWeights};
use habeas_core::kinds::{
    Image, ImportedWeights, Iteration, IterationDoc, KeptImage, ModelExport, Project, ProjectDoc,
    ProjectStatus, StoredPrediction, Tag, TagDoc,
};
use habeas_core::{Error, Id, Kind, Node, Result as CoreResult, Timestamp, fault, time};
use habeas_store::{New, Page, Tx};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    Document, Ids, is_there, made, no_project, owned, records, refuse_recorded, refuse_removed, same,
    tag_type, taken,
};
use crate::App;
use crate::caller::Caller;
use crate::privacy::{Problem, QueryString};

/// Keys of a project that fails are destroyed again: nobody else may be making the same one.
pub(super) static MAKING: Mutex<()> = Mutex::const_new(());

/// The accounts of a person or organisation.
pub(super) async fn accounts(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids(person): Ids<Id>,
) -> Result<Json<Vec<AccountEntry>>, Problem> {
    app.store().read(move |tx| authorise(tx, &actor, person, Permission::Own)).await?;
    let accounts = app.access().accounts(person).await?;
    let entry = |account: habeas_core::Node<habeas_core::kinds::AccountDoc>| AccountEntry {
        id: account.id,
        created: account.created_at.rfc3339(),
    };
    Ok(Json(accounts.into_iter().map(entry).collect()))
}

/// How a project is brought.
#[derive(Debug, Deserialize)]
pub(super) struct PutQuery {
    /// Whether it is to be finished by a call of its own.
    #[serde(default)]
    unfinished: bool,
}

/// Makes a project, or finds it in this account. What the operator brings into somebody's account stands in that person's record.
pub(super) async fn put(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((account, id)): Ids<(Id, Id)>,
    QueryString(query): QueryString<PutQuery>,
    Document(project): Document<import::Project>,
) -> Result<StatusCode, Problem> {
    same(id, project.id)?;
    let _turn = MAKING.lock().await;
    let present = app
        .store()
        .write(move |tx| {
            authorise(tx, &actor, account, Permission::Own)?;
            authorise(tx, &actor, account, Permission::Manage)?;
            let present = is_there(tx, account, id, &[Kind::Project])?;
            if present
                && let Some(mut node) = tx.get::<Project>(id)?
                && is_unfinished(&node)
            {
                node.expires_at = Some(unfinished_until(tx));
                store_unchanged(tx, &node)?;
            }
            Ok(present)
        })
        .await?;
    if present {
        return Ok(made(false));
    }
    if app.store().with_ledger(move |ledger| Ok(ledger.is_erased(id))).await? {
        return Err(Error::gone(format!(
            "the project {id} was erased on this server: it is not brought back under its id"
        ))
        .into());
    }
    let created_at = project.created.as_deref().map(import::time).transpose()?;
    let updated_at = project.last_modified.as_deref().map(import::time).transpose()?;
    let mut doc = document(project, actor.person())?;
    if query.unfinished {
        doc.status = ProjectStatus::Importing;
    }
    app.store()
        .write_with_keys(vec![id], Vec::new(), move |tx| {
            authorise(tx, &actor, account, Permission::Own)?;
            if tx.position(id)?.is_some() {
                return Err(taken(id));
            }
            let mut new = New::under(account, id, doc.clone());
            new.expires_at = query.unfinished.then(|| unfinished_until(tx));
            let node = tx.create::<Project>(new)?;
            if actor == Actor::Operator && matches!(tx.position(node.holder)?, Some((Kind::Person, _, _))) {
                record_staff(tx, node.holder, actor.reference(), "ImportProject")?;
            }
            created_at.map_or(Ok(()), |created_at| tx.backdate(id, created_at))?;
            updated_at.map_or(Ok(()), |updated_at| tx.backdate_change(id, updated_at))
        })
        .await?;
    if let Some(person) = actor.person() {
        app.access().telemetry().note(person, "ImportProject", 201);
    }
    Ok(made(true))
}

/// How long an unfinished project waits for more, in hours.
const UNFINISHED_HOURS: i64 = 24;

pub(super) fn unfinished_until(tx: &Tx<'_>) -> Timestamp {
    Timestamp(tx.now().0 + UNFINISHED_HOURS * time::HOUR)
}

fn is_unfinished(node: &Node<ProjectDoc>) -> bool {
    node.doc.status == ProjectStatus::Importing && node.expires_at.is_some()
}

/// Stores a project whose times on the wire stay those of its source.
fn store_unchanged(tx: &mut Tx<'_>, node: &Node<ProjectDoc>) -> CoreResult<()> {
    tx.update::<Project>(node)?;
    tx.backdate_change(node.id, node.updated_at)
}

/// Finishes the unfinished projects and workspaces of an import, all at once. Those that are finished stay as they are.
pub(super) async fn finish(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids(account): Ids<Id>,
    Document(import): Document<import::FinishedImport>,
) -> Result<StatusCode, Problem> {
    let ambient = app.store().ambient().clone();
    let made_way = app
        .store()
        .write(move |tx| {
            authorise(tx, &actor, account, Permission::Own)?;
            for &id in &import.projects {
                let mut node = owned(tx, &actor, id)?;
                if node.parent != Some(account) {
                    return Err(no_project());
                }
                if is_unfinished(&node) {
                    node.doc.status = ProjectStatus::Succeeded;
                    node.expires_at = None;
                    store_unchanged(tx, &node)?;
                }
                habeas_models::compute_all_again(tx, id)?;
            }
            let mut made_way = Vec::new();
            for record in &import.workspaces {
                made_way.extend(records::finish(tx, &actor, record, &ambient)?);
            }
            Ok(made_way)
        })
        .await?;
    fault::point("import.finished");
    app.models().wake();
    for removal in &made_way {
        app.store().finish(removal).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Removes an unfinished project with all that was brought of it.
pub(super) async fn discard(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids(project): Ids<Id>,
) -> Result<StatusCode, Problem> {
    let removed = app
        .store()
        .write(move |tx| {
            if !is_unfinished(&owned(tx, &actor, project)?) {
                return Err(Error::conflict("the project is not an unfinished import")
                    .hint("delete it as any other project"));
            }
            tx.remove(project)
        })
        .await?;
    app.store().finish(&removed).await;
    Ok(StatusCode::NO_CONTENT)
}

fn document(project: import::Project, created_by: Option<Id>) -> CoreResult<ProjectDoc> {
    let settings = project.settings;
    if crate::custom_vision::domains::find(settings.domain_id).is_none() {
        return Err(Error::invalid(format!("the domain {} is not one of Microsoft's", settings.domain_id)));
    }
    Ok(ProjectDoc {
        name: project.name,
        description: project.description.unwrap_or_default(),
        domain: settings.domain_id,
        classification_type: settings.classification_type.filter(|kind| !kind.is_empty()),
        target_export_platforms: settings.target_export_platforms.unwrap_or_default(),
        augmentation_methods: settings
            .image_processing_settings
            .and_then(|processing| processing.augmentation_methods)
            .unwrap_or_default(),
        export_model_container_uri: settings.export_model_container_uri,
        notification_queue_uri: settings.notification_queue_uri,
        notified_since: None,
        created_by,
        status: ProjectStatus::Succeeded,
        import_error: None,
    })
}

/// What is there of a project.
pub(super) async fn contents(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids(project): Ids<Id>,
) -> Result<Json<Contents>, Problem> {
    let removed = app.models().removed_from(project).await?;
    let mut contents = app
        .store()
        .read(move |tx| {
            owned(tx, &actor, project)?;
            let mut contents = Contents {
                tags: tx.children::<Tag>(project, Page::ALL)?.into_iter().map(|tag| tag.id).collect(),
                ..Contents::default()
            };
            let mut images = tx.children::<Image>(project, Page::ALL)?;
            images.extend(tx.children::<KeptImage>(project, Page::ALL)?);
            contents.images =
                images.into_iter().map(|node| HeldImage { id: node.id, sha256: node.doc.sha256 }).collect();
            for node in tx.children::<Iteration>(project, Page::ALL)? {
                let exports = tx
                    .children::<ModelExport>(node.id, Page::ALL)?
                    .into_iter()
                    .filter_map(|export| {
                        let sha256 = export.doc.digest?;
                        Some(HeldExport { platform: export.doc.platform, flavor: export.doc.flavor, sha256 })
                    })
                    .collect();
                let tainted = node.doc.imported.as_ref().map_or(0, |imported| imported.tainted);
                let weights = weights_of(node.doc);
                contents.iterations.push(HeldIteration { id: node.id, tainted, weights, exports });
            }
            let predictions = tx.children::<StoredPrediction>(project, Page::ALL)?;
            contents.predictions = predictions.into_iter().map(|node| node.id).collect();
            Ok(contents)
        })
        .await?;
    contents.removed = removed.iter().copied().collect();
    contents.removed.sort_unstable();
    Ok(Json(contents))
}

fn weights_of(doc: IterationDoc) -> HeldWeights {
    match (doc.model, doc.imported.map(|imported| imported.weights)) {
        (Some(model), _) => HeldWeights::Here { state_digest: model.state_digest },
        (None, Some(ImportedWeights::Awaited { .. })) => HeldWeights::Awaited,
        (None, Some(ImportedWeights::Failed { why })) => HeldWeights::Failed { why },
        (None, Some(ImportedWeights::Elsewhere) | None) => HeldWeights::None,
    }
}

/// Makes a tag, or finds it.
pub(super) async fn put_tag(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((project, id)): Ids<(Id, Id)>,
    Document(tag): Document<import::Tag>,
) -> Result<StatusCode, Problem> {
    same(id, tag.id)?;
    let created_at = tag.created.as_deref().map(import::time).transpose()?;
    let doc = TagDoc {
        name: tag.name,
        description: tag.description.unwrap_or_default(),
        tag_type: tag_type(tag.tag_type.as_deref())?,
    };
    app.store().read(move |tx| owned(tx, &actor, project)).await?;
    refuse_removed(&app, project, id).await?;
    let new = app
        .store()
        .write(move |tx| {
            owned(tx, &actor, project)?;
            if is_there(tx, project, id, &[Kind::Tag])? {
                return Ok(false);
            }
            refuse_recorded(tx, id)?;
            if tx.child_by_name::<Tag>(project, &doc.name)?.is_some() {
                return Err(Error::conflict("another tag of the project has that name")
                    .hint("rename one of the two, here or in the source"));
            }
            tx.create::<Tag>(New::under(project, id, doc.clone()))?;
            created_at.map_or(Ok(()), |created_at| tx.backdate(id, created_at))?;
            Ok(true)
        })
        .await?;
    Ok(made(new))
}
