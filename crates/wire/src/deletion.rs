//! How deletions are answered: with the plan that was asked for, or with the receipt of what was done.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::header::HeaderName;
use axum::response::{IntoResponse as _, Response};
use habeas_access::Actor;
use habeas_core::report::DeletionReport;
use habeas_core::{Error, Id, Result};
use habeas_rights::Selection;
use habeas_store::Tx;
use serde_json::json;

use crate::App;

/// The header that names the receipt of a deletion.
const RECEIPT: HeaderName = HeaderName::from_static("x-habeas-receipt");

/// A deletion as it was asked for.
#[derive(Debug)]
pub(crate) enum Deletion {
    /// Not done: what would go.
    Planned(DeletionReport),
    /// Done, with this receipt.
    Done(String),
}

/// Whether `dryRun` asks for a plan only. What it cannot be is refused: nobody who meant to look loses anything.
pub(crate) fn is_dry(value: Option<&str>) -> Result<bool> {
    match value.map(str::to_lowercase).as_deref() {
        None | Some("false") => Ok(false),
        Some("true" | "") => Ok(true),
        Some(_) => Err(Error::invalid("`dryRun` is neither true nor false")),
    }
}

/// Refuses a deletion with `dryRun` where no plan of it is made: whoever meant to look loses nothing.
pub(crate) fn refuse_dry_run(dry_run: Option<&str>) -> Result<()> {
    if is_dry(dry_run)? {
        return Err(Error::invalid("`dryRun` is not served here, and nothing was deleted")
            .hint("look at what is there with GET, and leave `dryRun` out to delete it"));
    }
    Ok(())
}

/// The answer to a deletion of many resources of which the query's `dryRun` asks for a plan only; none when it is to be carried out.
pub(crate) async fn plan_of_many(
    app: &App,
    dry_run: Option<&str>,
    find: impl Fn(&mut Tx<'_>) -> Result<Selection> + Send + Sync + 'static,
) -> Result<Option<Response>> {
    if !is_dry(dry_run)? {
        return Ok(None);
    }
    shown(app.rights.plan_deletion_of(find).await?).map(Some)
}

/// A plan as JSON.
fn shown(report: DeletionReport) -> Result<Response> {
    let mut plan = serde_json::to_value(report)?;
    plan["dryRun"] = json!(true);
    Ok(Json(plan).into_response())
}

impl Deletion {
    /// Deletes what `find` finds, with all that stands under it, or plans it, as the query's `dryRun` says.
    pub(crate) async fn of(
        app: &App,
        actor: &Actor,
        dry_run: Option<&str>,
        find: impl Fn(&mut Tx<'_>) -> Result<Id> + Send + Sync + 'static,
    ) -> Result<Deletion> {
        if is_dry(dry_run)? {
            return app.rights.plan_deletion(find).await.map(Deletion::Planned);
        }
        let report = app.rights.delete_resource(actor, find).await?;
        Ok(Deletion::Done(report.receipt.unwrap_or_default()))
    }

    /// The same of many resources together.
    pub(crate) async fn of_many(
        app: &App,
        actor: &Actor,
        dry_run: Option<&str>,
        find: impl Fn(&mut Tx<'_>) -> Result<Selection> + Send + Sync + 'static,
    ) -> Result<Deletion> {
        if is_dry(dry_run)? {
            return app.rights.plan_deletion_of(find).await.map(Deletion::Planned);
        }
        let report = app.rights.delete_resources(actor, find).await?;
        Ok(Deletion::Done(report.receipt.unwrap_or_default()))
    }

    /// The answer: the plan as JSON, or what the protocol says of a deletion that is done, given its receipt, with the receipt in a header.
    pub(crate) fn answer(self, done: impl FnOnce(&str) -> Response) -> Result<Response> {
        match self {
            Deletion::Planned(report) => shown(report),
            Deletion::Done(receipt) => {
                let mut answer = done(&receipt);
                answer
                    .headers_mut()
                    .extend(HeaderValue::from_str(&receipt).ok().map(|value| (RECEIPT, value)));
                Ok(answer)
            }
        }
    }
}
