//! Applications that a person registered.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use habeas_access::oauth::NewClient;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::persons::{person, require_self};
use super::problem::{JsonBody, Problem, ProblemBody, guid};
use crate::App;
use crate::caller::Caller;

/// An application to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RegisterApplication {
    /// The name that persons are shown.
    name: String,
    /// Where codes may be sent: https, or http on the machine of the browser.
    #[serde(default)]
    redirect_uris: Vec<String>,
    /// Whether it can keep a secret; true when absent.
    #[serde(default = "yes")]
    confidential: bool,
}

fn yes() -> bool {
    true
}

/// An application.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApplicationReport {
    client_id: String,
    /// Shown once, when it is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    name: String,
    redirect_uris: Vec<String>,
    registered: String,
}

/// Registers an application: it acts in the person's name by its secret, and in the name of others who let it in. For the person themselves,
/// and the operator.
#[utoipa::path(post, path = "/persons/{person}/applications", request_body = RegisterApplication, tag = "applications",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 201, body = ApplicationReport), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn register(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<RegisterApplication>,
) -> Result<(StatusCode, Json<ApplicationReport>), Problem> {
    let owner = person(&app, &caller, &text, "RegisterApplication").await?;
    require_self(&app, &caller, owner, "an application is registered by its owner only")?;
    let name = body.name.trim().to_owned();
    let new = NewClient {
        name: body.name,
        redirect_uris: body.redirect_uris.clone(),
        confidential: body.confidential,
    };
    let registered = app.access().register_client(owner, new).await?;
    let report = ApplicationReport {
        client_id: registered.id.to_string(),
        client_secret: registered.secret,
        name,
        redirect_uris: body.redirect_uris,
        registered: app.store().ambient().now().rfc3339(),
    };
    Ok((StatusCode::CREATED, Json(report)))
}

/// The person's applications, oldest first, without their secrets.
#[utoipa::path(get, path = "/persons/{person}/applications", tag = "applications",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 200, body = Vec<ApplicationReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<Vec<ApplicationReport>>, Problem> {
    let owner = person(&app, &caller, &text, "GetApplications").await?;
    let clients = app.access().clients(owner).await?;
    Ok(Json(
        clients
            .into_iter()
            .map(|node| ApplicationReport {
                client_id: node.id.to_string(),
                client_secret: None,
                name: node.doc.name,
                redirect_uris: node.doc.redirect_uris,
                registered: node.created_at.rfc3339(),
            })
            .collect(),
    ))
}

/// Removes an application; its tokens are dead at once.
#[utoipa::path(delete, path = "/persons/{person}/applications/{application}", tag = "applications",
    params(("person" = String, Path, description = "object id, or `me`"), ("application" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(super) async fn remove(
    State(app): State<App>,
    Caller(caller): Caller,
    Path((text, application)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let owner = person(&app, &caller, &text, "RemoveApplication").await?;
    app.access().remove_client(owner, guid(&application)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
