//! Azure ML's model management: models, manifests, images and services, in the forms of 2017 and 2018 below `/api` and in that of
//! `azureml-core` 1 below `/modelmanagement/v1.0`.
//!
//! Source: Microsoft's reference of the 2017 service (`MicrosoftDocs/azure-docs`, `desktop-workbench/model-management-api-reference.md`) and
//! what the clients send and read. Models are those of MLflow's registry. No container is built and none runs: images and services are
//! records, and a service whose model is one ONNX graph is answered from that (`scoring`).

mod assets;
mod call;
mod content;
mod dependents;
mod endpoints;
mod errors;
mod fields;
mod images;
mod listing;
mod manifests;
mod models;
mod operations;
mod patch;
mod scoring;
mod served;
mod service_fields;
mod services;
mod shapes;
mod swagger;
mod tokens;

use axum::extract::DefaultBodyLimit;
use axum::http::{Request, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use axum::{Extension, Router};
use habeas_core::Error;

use crate::App;
use crate::caller::named;
use crate::scope::{HOSTING_SCOPE, SCOPES, WORKSPACE};
use call::Form;
pub(crate) use content::files as files_at;
pub(crate) use dependents::require_none as require_no_dependents;
pub use errors::Failure;

/// The largest request, in bytes.
const LARGEST_BODY: usize = 2 * 1024 * 1024;

/// The routes, whose literals are in lower case: mind [`crate::scope::normalise`] and [`normalise`].
pub fn router(app: App) -> Router {
    let mut router = Router::new()
        .nest(&format!("/api{HOSTING_SCOPE}"), below(&app, Form::Hosting))
        .nest(&format!("/api{WORKSPACE}"), below(&app, Form::Preview));
    for scope in SCOPES {
        router = router.nest(&format!("/modelmanagement/v1.0{scope}"), below(&app, Form::V1));
    }
    router = router.layer(DefaultBodyLimit::max(LARGEST_BODY)).merge(scoring::router());
    router
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(app.clone(), call::label))
        .with_state(app)
}

async fn not_allowed() -> Failure {
    let error = Error::invalid("this address does not take this method")
        .hint("the header Allow of this answer has those that it takes");
    Failure::from(error.code(errors::METHOD_NOT_ALLOWED))
}

async fn unknown() -> axum::response::Response {
    Failure::from(Error::not_found("there is no such operation")).into_response()
}

/// What belongs to the protocol and needs machines that run containers.
async fn refused(call: call::Call) -> errors::Result<()> {
    call.read(|_, _| Ok(())).await?;
    Err(Error::not_implemented(
        "nothing is packaged, profiled or optimised here: this server builds and runs no containers",
    )
    .into())
}

fn below(app: &App, form: Form) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    let mut router = Router::new()
        .route("/swagger.json", on("Swagger_Get", get(swagger::show)))
        .route(
            "/models",
            on("Models_List", get(models::list)).merge(on("Models_Register", post(models::register))),
        )
        .route("/models/list", on("Models_ListByBody", post(models::list_by_body)))
        .route(
            "/models/{id}",
            on("Models_Get", get(models::show))
                .merge(on("Models_Update", patch(models::update)))
                .merge(on("Models_Delete", delete(models::delete))),
        )
        .route("/models/{id}/content", on("Models_Download", get(content::download)))
        .route("/models/{id}/optimize", on("Models_Optimize", post(refused)))
        .route("/models/{id}/optimize/{other}", on("Models_GetOptimization", get(refused)))
        .route(
            "/assets",
            on("Assets_List", get(assets::list)).merge(on("Assets_Create", post(assets::create))),
        )
        .route(
            "/assets/{id}",
            on("Assets_Get", get(assets::show))
                .merge(on("Assets_Update", patch(assets::update)))
                .merge(on("Assets_Delete", delete(assets::delete))),
        )
        .route(
            "/images",
            on("Images_List", get(images::list)).merge(on("Images_Create", post(images::create))),
        )
        .route(
            "/images/{id}",
            on("Images_Get", get(images::show))
                .merge(on("Images_Update", patch(images::update)))
                .merge(on("Images_Delete", delete(images::delete))),
        )
        .route("/images/{id}/profiles", on("Images_Profiles", get(refused).post(refused)))
        .route("/images/{id}/profiles/{other}", on("Images_GetProfile", get(refused)))
        .route("/packages", on("Packages_Create", post(refused)))
        .route(
            "/services",
            on("Services_List", get(services::list))
                .merge(on("Services_Create", post(services::create)))
                .merge(on("Services_Replace", put(services::replace))),
        )
        .route("/services/list", on("Services_ListByBody", post(services::list_by_body)))
        .route(
            "/services/{id}",
            on("Services_Get", get(services::show))
                .merge(on("Services_Put", put(services::put)))
                .merge(on("Services_Update", patch(services::update)))
                .merge(on("Services_Delete", delete(services::delete))),
        )
        .route("/services/{id}/keys", on("Services_ListKeys", get(services::keys)))
        .route("/services/{id}/listkeys", on("Services_ListKeys", post(services::keys)))
        .route("/services/{id}/regeneratekeys", on("Services_RegenerateKeys", post(services::renew_keys)))
        .route("/services/{id}/token", on("Services_GetToken", post(services::token)))
        .route("/services/{id}/logs", on("Services_GetLogs", get(services::logs)))
        .route("/operations/{id}", on("Operations_Get", get(operations::show)));
    if form == Form::Hosting {
        router = router
            .route(
                "/manifests",
                on("Manifests_List", get(manifests::list))
                    .merge(on("Manifests_Create", post(manifests::create))),
            )
            .route(
                "/manifests/{id}",
                on("Manifests_Get", get(manifests::show))
                    .merge(on("Manifests_Delete", delete(manifests::delete))),
            )
            .route("/deployments", on("Deployments_List", get(services::deployments)))
            .route("/deployments/{id}", on("Deployments_Get", get(services::show_deployment)));
    }
    router.fallback(unknown).layer(Extension(form))
}

/// Brings what follows the scope in addresses of model management into lower case: the collection, and what is asked of one of its members.
/// Names stay as they are.
pub fn normalise<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path();
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    let scope = match segments.get(1).map(String::as_str) {
        Some("api") if segments.get(2).is_some_and(|second| second == "subscriptions") => 2,
        Some("modelmanagement") => 3,
        _ => return request,
    };
    // `subscriptions/ID/resourcegroups/GROUP/accounts/NAME`, or with `providers/NAMESPACE` and further pairs.
    let pairs = |at: usize| segments.get(scope + at).map(String::as_str);
    let mut rest = scope + 4;
    if pairs(4) == Some("providers") {
        rest += 2;
    }
    while segments
        .get(rest)
        .is_some_and(|literal| matches!(literal.as_str(), "accounts" | "workspaces" | "projects"))
    {
        rest += 2;
    }
    for at in [rest, rest + 2] {
        if let Some(literal) = segments.get_mut(at) {
            literal.make_ascii_lowercase();
        }
    }
    let fixed = segments.join("/");
    let fixed = match request.uri().query() {
        Some(query) => format!("{fixed}?{query}"),
        None => fixed,
    };
    if let Ok(uri) = fixed.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_scope_is_matched_in_any_case_and_names_keep_theirs() {
        let path = |text: &str| normalise(Request::get(text).body(()).unwrap()).uri().to_string();
        let account = "/api/subscriptions/S/resourcegroups/G/accounts/A";
        let workspace = "/modelmanagement/v1.0/subscriptions/S/resourcegroups/G/providers/microsoft.machinelearningservices/workspaces/W";
        for (sent, routed) in [
            (
                format!("{account}/Services/Keys/regenerateKeys?x=Y"),
                format!("{account}/services/Keys/regeneratekeys?x=Y"),
            ),
            (format!("{workspace}/Models/M:1"), format!("{workspace}/models/M:1")),
            (account.to_owned(), account.to_owned()),
            ("/api/workspaces/Some/Thing".to_owned(), "/api/workspaces/Some/Thing".to_owned()),
        ] {
            assert_eq!(path(&sent), routed);
        }
    }
}
