//! `/api/privacy/v1`: everything held on a person, seen, taken and erased.
//!
//! Described by its OpenAPI document at `/api/privacy/v1/openapi.json`. Callers are recognised by bearer token; the server's
//! own socket is the operator's.

mod applications;
mod erasures;
mod exports;
mod holds;
mod log;
mod organisations;
mod persons;
mod problem;
mod recipients;
mod requests;
mod retention;
mod server;
mod transfers;
mod unclaimed;

use axum::Router;
use axum::middleware::from_fn;
use habeas_core::Error;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::{refuse_method, require_text};

pub(crate) use problem::QueryString;
pub use problem::{Problem, ProblemBody};

/// Where the API lies.
pub const BASE: &str = "/api/privacy/v1";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Habeas privacy API",
        description = "See, take and erase everything held on a person, across all services. Errors are problem details (RFC 9457).",
        license(name = "MIT OR Apache-2.0")
    ),
    security(("bearer" = [])),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let components = openapi.components.get_or_insert_default();
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(persons::list, persons::create))
        .routes(routes!(persons::show, persons::rectify))
        .routes(routes!(unclaimed::find, unclaimed::take_up))
        .routes(routes!(unclaimed::link))
        .routes(routes!(persons::restrict))
        .routes(routes!(persons::holdings))
        .routes(routes!(persons::items))
        .routes(routes!(persons::activity))
        .routes(routes!(persons::receipts))
        .routes(routes!(persons::create_token, persons::tokens))
        .routes(routes!(persons::revoke_token))
        .routes(routes!(persons::create_sign_in_link))
        .routes(routes!(persons::set_password))
        .routes(routes!(persons::set_role))
        .routes(routes!(persons::keys))
        .routes(routes!(persons::rotate_key))
        .routes(routes!(applications::list, applications::register))
        .routes(routes!(applications::remove))
        .routes(routes!(recipients::list, recipients::register))
        .routes(routes!(recipients::change, recipients::remove))
        .routes(routes!(recipients::record_disclosure))
        .routes(routes!(organisations::create))
        .routes(routes!(organisations::members))
        .routes(routes!(organisations::keys, organisations::renew_keys))
        .routes(routes!(organisations::set_member, organisations::remove_member))
        .routes(routes!(exports::stream, exports::stream_sealed))
        .routes(routes!(exports::list, exports::create))
        .routes(routes!(exports::show, exports::delete))
        .routes(routes!(exports::content))
        .routes(routes!(erasures::plan))
        .routes(routes!(erasures::plan_organisation))
        .routes(routes!(erasures::show_plan))
        .routes(routes!(erasures::run))
        .routes(routes!(erasures::show, erasures::cancel))
        .routes(routes!(erasures::receipt))
        .routes(routes!(erasures::stored_receipt))
        .routes(routes!(requests::list, requests::take_in))
        .routes(routes!(requests::of_person, requests::create))
        .routes(routes!(requests::show))
        .routes(routes!(requests::status))
        .routes(routes!(requests::verify))
        .routes(routes!(requests::resend))
        .routes(routes!(requests::archive))
        .routes(routes!(requests::plan))
        .routes(routes!(requests::decide))
        .routes(routes!(requests::confirm_identity))
        .routes(routes!(requests::approve))
        .routes(routes!(requests::deny))
        .routes(routes!(requests::extend))
        .routes(routes!(requests::comment))
        .routes(routes!(requests::deliveries))
        .routes(routes!(requests::complete))
        .routes(routes!(requests::cancel))
        .routes(routes!(holds::list, holds::create))
        .routes(routes!(holds::change, holds::release))
        .routes(routes!(transfers::create))
        .routes(routes!(retention::plan, retention::run))
        .routes(routes!(log::checkpoint))
        .routes(routes!(log::inclusion))
        .routes(routes!(log::consistency))
        .routes(routes!(log::entries))
        .routes(routes!(log::keys, log::rotate))
        .routes(routes!(server::public_key))
        .routes(routes!(server::revoked_models))
        .routes(routes!(server::kinds))
        .routes(routes!(server::doctor))
        .routes(routes!(server::backup))
}

/// The API's routes, and its OpenAPI document as one of them.
pub fn router() -> Router<App> {
    let (router, document) = OpenApiRouter::new().nest(BASE, routes()).split_for_parts();
    let document = finished(&document);
    router
        .route(
            &format!("{BASE}/openapi.json"),
            axum::routing::get(move || {
                let document = document.clone();
                async move { axum::Json(document) }
            }),
        )
        .route(BASE, axum::routing::any(unknown))
        .route(&format!("{BASE}/{{*rest}}"), axum::routing::any(unknown))
        .method_not_allowed_fallback(refuse_method::<Problem>)
        .layer(from_fn(require_text::<Problem>))
}

/// What is not there, in this API's words.
async fn unknown() -> Problem {
    Problem(Error::not_found("there is no such operation").hint("see /api/privacy/v1/openapi.json"))
}

/// The OpenAPI document.
pub fn openapi() -> serde_json::Value {
    let (_, document) = OpenApiRouter::<App>::new().nest(BASE, routes()).split_for_parts();
    finished(&document)
}

/// The document with what every operation has: failures are problem details, also those that an operation does not name; and numbers without
/// a sign are called so, which have a larger maximum.
fn finished(document: &utoipa::openapi::OpenApi) -> serde_json::Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let problem = serde_json::json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/ProblemBody" } } });
    let paths = document["paths"].as_object_mut().into_iter().flatten().map(|(_, operations)| operations);
    let operations = paths.filter_map(serde_json::Value::as_object_mut).flatten();
    for responses in operations.filter_map(|(_, operation)| operation["responses"].as_object_mut()) {
        for (_, response) in responses.iter_mut().filter(|(status, _)| status.starts_with('4')) {
            response["content"] = problem.clone();
        }
        let other = serde_json::json!({ "description": "Any other failure", "content": problem });
        responses.insert("default".to_owned(), other);
    }
    name_unsigned(&mut document);
    document
}

fn name_unsigned(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            let unsigned = members.get("minimum").and_then(serde_json::Value::as_f64) == Some(0.0);
            if unsigned
                && let Some(serde_json::Value::String(format)) = members.get_mut("format")
                && matches!(format.as_str(), "int32" | "int64")
            {
                format.insert(0, 'u');
            }
            members.values_mut().for_each(name_unsigned);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(name_unsigned),
        _ => {}
    }
}
