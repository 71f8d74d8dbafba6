//! Exported models: ordering, listing, deleting, and the signed addresses they are downloaded from.
//!
//! `BASE/blobs/exports/EXPORT/SHA256?se=SECONDS&sig=MAC`: it works without a key until it expires, dies with the export and the iteration,
//! and answers 410 once the model was revoked. The digest is that of the model file, as the revocation list names it.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::Response;
use habeas_access::Permission;
use habeas_core::kinds::{IterationDoc, ModelExportDoc};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_models::{exporting, find_iteration, no_iteration};
use habeas_store::HolderState;
use serde_json::{Value, json};

use super::addresses::Signer;
use super::caller::{Call, find_project};
use super::domains::{PLATFORMS, exportable_to};
use super::errors::Result;
use super::projection::Shape;
use super::query::Query;
use crate::App;

/// The iteration in the path.
fn iteration_of(call: &Call) -> CoreResult<Id> {
    call.item.as_deref().and_then(|text| text.parse().ok()).ok_or_else(no_iteration)
}

/// Refuses what cannot be written honestly.
fn checked_platform(
    iteration: &Node<IterationDoc>,
    platform: &str,
    flavor: Option<&str>,
) -> CoreResult<&'static str> {
    let known =
        PLATFORMS.into_iter().find(|known| known.eq_ignore_ascii_case(platform)).ok_or_else(|| {
            Error::invalid(format!("the platforms are {}", PLATFORMS.join(", ")))
                .code("ErrorExporterInvalidPlatform")
        })?;
    let available = exportable_to(iteration.doc.domain);
    if available.is_empty() {
        return Err(Error::invalid("only iterations that were trained in a compact domain can be exported")
            .hint("change the project's domain to a compact one and train again")
            .code("BadRequestExportValidationFailed"));
    }
    if !available.contains(&known) {
        return Err(Error::invalid(format!("models are not written for {known}"))
            .hint(format!("export to {}, which converters for other platforms read", available.join(", ")))
            .code("BadRequestProjectUnsupportedExportPlatform"));
    }
    if flavor.is_some() {
        return Err(Error::invalid(
            "models are written with the ONNX operator set of their extractor, for which no flavor stands",
        )
        .hint("leave `flavor` out")
        .code("BadRequestProjectUnsupportedExportPlatform"));
    }
    Ok(known)
}

/// `ExportIteration`: answers at once; the export is written by the worker.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    let (actor, project, id) = (call.actor, call.project()?, iteration_of(&call)?);
    let platform = call.query.required("platform")?.to_owned();
    let flavor = call.query.text("flavor").map(str::to_owned);
    let signer = Signer::new(&call.app, &call.base)?;
    // Not the signed address: whoever is notified needs the key.
    let address =
        format!("{}/customvision/v3.4-preview/training/projects/{project}/iterations/{id}/export", call.base);
    let models = call.app.models().clone();
    let export = call
        .app
        .store()
        .write(move |tx| {
            find_project(tx, &actor, project, Permission::Deploy)?;
            let iteration = find_iteration(tx, project, id)?;
            let platform = checked_platform(&iteration, &platform, flavor.as_deref())?;
            models.require_extractor(&iteration.doc)?;
            let node = exporting::start(tx, &iteration, platform, &address)?;
            Ok(shape(&node, &signer))
        })
        .await?;
    call.app.models().wake();
    Ok(call.answer(export, Shape::Export))
}

/// `GetExports`, oldest first.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let (actor, project, id) = (call.actor, call.project()?, iteration_of(&call)?);
    let signer = Signer::new(&call.app, &call.base)?;
    let exports = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            let iteration = find_iteration(tx, project, id)?;
            Ok(exporting::list(tx, iteration.id)?.iter().map(|node| shape(node, &signer)).collect())
        })
        .await?;
    Ok(call.answer(Value::Array(exports), Shape::Export))
}

/// Ours, Microsoft's service has none: deletes all exports of an iteration, or those for `platform` and `flavor`.
pub(super) async fn delete(call: Call) -> Result<StatusCode> {
    let (actor, project, id) = (call.actor, call.project()?, iteration_of(&call)?);
    let platform = call.query.text("platform").map(str::to_owned);
    let flavor = call.query.text("flavor").map(str::to_owned);
    let removed = call
        .app
        .store()
        .write(move |tx| {
            find_project(tx, &actor, project, Permission::Deploy)?;
            let iteration = find_iteration(tx, project, id)?;
            exporting::delete(tx, iteration.id, platform.as_deref(), flavor.as_deref())
        })
        .await?;
    for removal in &removed {
        call.app.store().finish(removal).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn shape(node: &Node<ModelExportDoc>, signer: &Signer) -> Value {
    let doc = &node.doc;
    let address = doc.digest.as_ref().map(|digest| signer.signed(&path(node.id, digest)));
    json!({
        "platform": doc.platform,
        "status": doc.state.name(),
        "downloadUri": address,
        "flavor": doc.flavor,
        "newerVersionAvailable": false,
    })
}

fn path(export: Id, digest: &str) -> String {
    format!("exports/{}/{digest}", export.to_hex())
}

fn no_export() -> Error {
    Error::not_found("there is no such exported model")
}

/// Serves a signed address. Whatever is wrong with it, the export does not exist; only what was revoked is said to be gone.
pub(super) async fn serve(
    State(app): State<App>,
    Path((export, digest)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response> {
    let export: Id = export.parse().map_err(|_| no_export())?;
    let query = Query::parse(request.uri().query());
    let expires = Signer::new(&app, "")?.expiry(&path(export, &digest), &query).ok_or_else(no_export)?;
    if app.store().ambient().now() >= expires {
        return Err(Error::not_found("this address has expired")
            .hint("ask for the iteration's exports again to get a new one")
            .into());
    }
    let wanted = digest.clone();
    let revoked =
        app.store().with_ledger(move |ledger| Ok(ledger.revoked_models().contains(&wanted))).await?;
    let found = app
        .store()
        .read(move |tx| {
            let Some((_, _, holder)) = tx.position(export)? else { return Ok(None) };
            if !matches!(tx.holder(holder)?, Some((_, HolderState::Active | HolderState::Restricted))) {
                return Ok(None);
            }
            Ok(Some(exporting::find(tx, export)?))
        })
        .await?;
    let node = match found {
        // It is there, but of a state that has unlearned something since.
        Some(None) => return Err(withdrawn().into()),
        _ if revoked => return Err(withdrawn().into()),
        None => return Err(no_export().into()),
        Some(Some(node)) => node,
    };
    let file = node.doc.file.filter(|_| node.doc.digest.as_deref() == Some(&digest)).ok_or_else(no_export)?;
    let mut response = crate::stream::blob(app.store(), &file, request.headers());
    let name = format!("attachment; filename=\"{}.{}.zip\"", export, node.doc.platform);
    if let Ok(name) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

fn withdrawn() -> Error {
    Error::gone("this model was revoked: something that it learned from was erased")
        .hint("delete every copy of it, and export the iteration again")
        .code("NotFoundIteration")
}

#[cfg(test)]
mod tests {
    use super::super::projection::project;
    use super::super::version::Version;
    use super::*;

    #[test]
    fn an_export_in_the_versions_that_clients_pin() {
        let export = json!({
            "platform": "ONNX", "status": "Done", "downloadUri": "https://h/blobs/exports/1/2?se=3&sig=4", "flavor": null,
            "newerVersionAvailable": false,
        });
        let shape = |version| project(export.clone(), Shape::Export, version).to_string();
        insta::assert_snapshot!(shape(Version::V3_4), @r#"{"downloadUri":"https://h/blobs/exports/1/2?se=3&sig=4","flavor":null,"newerVersionAvailable":false,"platform":"ONNX","status":"Done"}"#);
        insta::assert_snapshot!(shape(Version::V2_0), @r#"{"downloadUri":"https://h/blobs/exports/1/2?se=3&sig=4","flavor":null,"platform":"ONNX","status":"Done"}"#);
        insta::assert_snapshot!(shape(Version::V1_2), @r#"{"DownloadUri":"https://h/blobs/exports/1/2?se=3&sig=4","Platform":"ONNX","Status":"Done"}"#);
    }
}
