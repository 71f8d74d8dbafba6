//! Who a request comes from, by bearer token or by the server's own socket.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use habeas_access::Actor;
use habeas_core::{Error, Id, Result};

use crate::{App, percent};

/// Registers `route` as the operation `name`, which stands in the caller's telemetry. The handlers find the caller ([`Actor`]) with the
/// request; who is not recognised is told so in the protocol's envelope `F`.
pub(crate) fn named<F: From<Error> + IntoResponse + 'static>(
    app: &App,
    name: &'static str,
    route: MethodRouter<App>,
) -> MethodRouter<App> {
    route.layer(from_fn_with_state((app.clone(), name), observe::<F>))
}

async fn observe<F: From<Error> + IntoResponse + 'static>(
    State((app, name)): State<(App, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let actor = match recognise(&parts, &app).await {
        Ok(actor) => actor,
        Err(error) => return F::from(error).into_response(),
    };
    parts.extensions.insert(actor);
    let response = next.run(Request::from_parts(parts, body)).await;
    if let Some(person) = actor.person() {
        app.access().telemetry().note(person, name, response.status().as_u16());
    }
    response
}

/// Refuses a path that is no text once it is decoded, in the protocol's envelope `F`: what reads parts of paths would do so in words of its own.
pub(crate) async fn require_text<F: From<Error> + IntoResponse>(request: Request, next: Next) -> Response {
    if percent::is_text(request.uri().path()) {
        return next.run(request).await;
    }
    F::from(Error::invalid("a part of the path is not UTF-8 once it is decoded")).into_response()
}

/// The code of an address that does not take the method of the request.
pub(crate) const METHOD_NOT_ALLOWED: &str = "method_not_allowed";

/// The answer to a method that an address does not take, in the protocol's envelope `F`. The router adds the methods that it does take.
pub(crate) async fn refuse_method<F: From<Error>>() -> F {
    Error::invalid("this address does not take this method").code(METHOD_NOT_ALLOWED).into()
}

/// The id that the server gave a request, which it finds among its extensions.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(pub Id);

/// The name that a client of Azure's gives its request.
pub(crate) const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// Repeats the name that a client gave its request, by which Azure's clients find it again.
pub(crate) async fn label(request: Request, next: Next) -> Response {
    let given = request.headers().get(CLIENT_REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    response.headers_mut().extend(given.map(|name| (CLIENT_REQUEST_ID, name)));
    response
}

/// The address under which the client reached the server, for the image addresses in answers.
pub fn base_address(headers: &HeaderMap, configured: Option<&str>, tls: bool) -> String {
    if let Some(address) = configured {
        return address.to_owned();
    }
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.split(',').next().unwrap_or(value).trim())
    };
    let host = header("x-forwarded-host").or_else(|| header("host")).unwrap_or("localhost");
    let scheme = header("x-forwarded-proto").unwrap_or(if tls { "https" } else { "http" });
    let prefix = header("x-forwarded-prefix").unwrap_or_default().trim_end_matches('/');
    format!("{scheme}://{host}{prefix}")
}

/// The bearer token of a request.
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    bearer_of(&parts.headers)
}

/// The bearer token in the headers of a request.
pub(crate) fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The caller of a request, recognised: the operator when it came through the socket that only they can open, otherwise
/// whoever the bearer token was issued to.
pub(crate) async fn recognise(parts: &Parts, app: &App) -> Result<Actor> {
    if let Some(actor) = parts.extensions.get::<Actor>() {
        return Ok(*actor);
    }
    let token = bearer(parts).ok_or_else(|| {
        Error::unauthenticated("this needs a bearer token")
            .hint("send `Authorization: Bearer TOKEN`; `habeas token create --person EMAIL` issues one")
    })?;
    app.access().recognise_bearer(token).await
}

/// Who calls, if they say so: for operations that are anybody's. A token that is not good is refused all the same.
pub(crate) struct Anybody(pub(crate) Option<Actor>);

impl FromRequestParts<App> for Anybody {
    type Rejection = crate::privacy::Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Anybody, Self::Rejection> {
        if parts.extensions.get::<Actor>().is_none() && bearer(parts).is_none() {
            return Ok(Anybody(None));
        }
        Ok(Anybody(Some(recognise(parts, app).await?)))
    }
}

/// [`recognise`] as an extractor of the privacy API.
pub(crate) struct Caller(pub(crate) Actor);

impl FromRequestParts<App> for Caller {
    type Rejection = crate::privacy::Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Self::Rejection> {
        Ok(Caller(recognise(parts, app).await?))
    }
}
