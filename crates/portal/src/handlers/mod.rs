//! From requests to pages: extract, ask the services, render.

mod applications;
mod data;
mod erase;
mod exports;
mod issuers;
mod requests;
mod session;
mod staff;

use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::sse::Event;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use habeas_core::{Error, Timestamp};
use habeas_rights::Rights;

use crate::pages::ErrorPage;
use crate::{BaseAddress, ThumbnailAddress, assets, security};

/// How often live progress is looked at.
const PROGRESS: Duration = Duration::from_millis(250);

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Portal {
    pub(crate) rights: Rights,
    /// Whether browsers reach the server over TLS, so that the session cookie is for TLS only.
    pub(crate) tls: bool,
    pub(crate) thumbnail: ThumbnailAddress,
    pub(crate) base: BaseAddress,
}

impl Portal {
    pub(crate) fn now(&self) -> Timestamp {
        self.rights.store().ambient().now()
    }
}

/// An error as a page.
pub(crate) struct Failure(pub(crate) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let page = ErrorPage::new(&self.0, None);
        let status = page.status_code();
        if status.is_server_error() {
            tracing::error!(error = format_args!("{:#}", self.0), "a page failed");
        }
        (status, render(&page)).into_response()
    }
}

/// A rendered page.
pub(crate) fn render(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The portal's routes.
pub(crate) fn router(portal: Portal) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::to("/me") }))
        .route("/sign-in", get(session::form).post(session::sign_in))
        .route("/sign-in/with/{issuer}", get(issuers::begin))
        .route("/sign-in/answer", get(issuers::finish))
        .route("/oauth2/authorize", get(applications::ask).post(applications::decide))
        .route("/device", get(applications::device).post(applications::decide_device))
        .route("/sign-in/{secret}", get(session::link).post(session::use_link))
        .route("/sign-out", post(session::sign_out))
        .route("/me", get(data::overview))
        .route("/me/items/{kind}", get(data::items))
        .route("/me/items/Image/{image}/thumbnail", get(data::thumbnail))
        .route("/me/access-log", get(data::access_log))
        .route("/me/password", get(session::password_form).post(session::set_password))
        .route("/me/keys", get(data::keys))
        .route("/me/keys/{account}/{key}", post(data::rotate_key))
        .route("/me/receipts", get(data::receipts))
        .route("/me/receipts/{receipt}", get(data::receipt))
        .route("/me/exports", get(exports::list).post(exports::create))
        .route("/me/exports/{export}", get(exports::show))
        .route("/me/exports/{export}/events", get(exports::events))
        .route("/me/exports/{export}/archive.zip", get(exports::download))
        .route("/me/exports/{export}/delete", post(exports::delete))
        .route("/me/erase", post(erase::plan))
        .route("/me/erase/{plan}", get(erase::show).post(erase::run))
        .route("/me/erase/{plan}/confirm", get(erase::confirm))
        .route("/me/requests", get(requests::own).post(requests::create))
        .route("/me/requests/{request}", get(requests::show))
        .route("/me/requests/{request}/{decision}", post(requests::decide))
        .route("/ask", get(requests::ask).post(requests::take_in))
        .route("/requests/{request}", get(requests::status))
        .route("/requests/{request}/verify", post(requests::verify))
        .route("/requests/{request}/resend", post(requests::resend))
        .route("/requests/{request}/archive", post(requests::archive))
        .route("/staff/requests", get(staff::queue))
        .route("/staff/requests/new", get(staff::form).post(staff::create))
        .route("/staff/requests/{request}", get(staff::show))
        .route("/staff/requests/{request}/{decision}", post(staff::decide))
        .route("/staff/requests/{request}/decisions", post(staff::choose))
        .route("/staff/requests/{request}/holdings", get(staff::holdings))
        .route("/staff/requests/{request}/items/{kind}", get(staff::items))
        .route("/staff/receipts/{receipt}", get(staff::receipt))
        .route("/erasures/{plan}", get(erase::follow))
        .route("/erasures/{plan}/events", get(erase::events))
        .route("/erasures/{plan}/receipt.json", get(erase::receipt))
        // Of pages only: what is not found here may be meant for a protocol.
        .route_layer(from_fn_with_state(portal.clone(), refuse_foreign_forms))
        .with_state(portal)
        .route(&format!("{}{{name}}", assets::BASE), get(assets::serve))
        .layer(from_fn(security::headers))
}

/// Forms are taken from this server's own pages only.
async fn refuse_foreign_forms(State(_): State<Portal>, request: Request, next: Next) -> Response {
    if security::is_same_origin(request.method(), request.headers()) {
        return next.run(request).await;
    }
    Failure(
        Error::forbidden("this form was not sent from a page of this server")
            .hint("open the page again and repeat it"),
    )
    .into_response()
}

/// One server-sent event.
fn event(name: &str, data: &serde_json::Value) -> Result<Event, std::convert::Infallible> {
    Ok(Event::default().event(name).data(data.to_string()))
}

/// The value of a header, if it is text.
fn text_header(headers: &axum::http::HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
