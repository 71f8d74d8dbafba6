//! Who calls, and with what arguments.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_access::{Actor, Permission};
use habeas_core::{Error, Id};
use habeas_store::{Tx, UNIQUE_VIOLATION};
use zeroize::Zeroizing;

use super::answers::Files;
use super::arguments::Arguments;
use super::errors::{Failure, Result};
use super::workspace::default_workspace;
use crate::App;
use crate::caller::base_address;
use crate::scope::Scope;

/// Everything a handler knows of its request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) actor: Actor,
    /// Who calls, as the maker of what is made.
    pub(super) person: Id,
    /// The workspace whose experiments and models are meant.
    pub(super) workspace: Id,
    /// Where the client looks for files.
    pub(super) files: Files,
    pub(super) arguments: Arguments,
}

/// Who was recognised; handed to the handler.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recognised(pub(super) Actor);

/// Registers `route` as the operation `name`.
pub(super) fn named(app: &App, name: &'static str, route: MethodRouter<App>) -> MethodRouter<App> {
    route.layer(from_fn_with_state((app.clone(), name), observe))
}

async fn observe(
    State((app, name)): State<(App, &'static str)>,
    mut request: Request,
    next: Next,
) -> Response {
    let actor = match request.extensions().get::<Actor>() {
        // Through the socket that only the operator can open.
        Some(&actor) => actor,
        None => match recognise(&app, request.headers()).await {
            Ok(actor) => actor,
            Err(error) => return Failure(error).into_response(),
        },
    };
    request.extensions_mut().insert(Recognised(actor));
    let response = next.run(request).await;
    if let Some(person) = actor.person() {
        app.access().telemetry().note(person, name, response.status().as_u16());
    }
    response
}

/// A bearer token (`MLFLOW_TRACKING_TOKEN`), or e-mail and password (`MLFLOW_TRACKING_USERNAME`, `MLFLOW_TRACKING_PASSWORD`). The
/// password may be a bearer token too, which is checked much faster.
async fn recognise(app: &App, headers: &HeaderMap) -> habeas_core::Result<Actor> {
    let denied = || {
        Error::unauthenticated("this needs a bearer token, or e-mail and password").hint(
            "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; \
             `habeas token create --person EMAIL` issues a token",
        )
    };
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(denied)?;
    let (scheme, rest) = value.split_once(' ').ok_or_else(denied)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return app.access().recognise_bearer(rest.trim()).await;
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(denied());
    }
    let decoded = Zeroizing::new(STANDARD.decode(rest.trim()).map_err(|_| denied())?);
    let decoded = std::str::from_utf8(&decoded).map_err(|_| denied())?;
    let (user, password) = decoded.split_once(':').ok_or_else(denied)?;
    if password.split('.').count() == 3
        && let Ok(actor) = app.access().recognise_bearer(password).await
    {
        return Ok(actor);
    }
    let person = app.access().sign_in(user, Zeroizing::new(password.to_owned())).await?;
    Ok(Actor::Person { id: person, signed_in_at: app.store().ambient().now(), granted: false })
}

impl Call {
    /// Writes; once more when somebody else made the same thing at the same time, which is then found.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Tx<'_>) -> habeas_core::Result<T> + Clone + Send + 'static,
    ) -> habeas_core::Result<T> {
        match self.app.store().write(work.clone()).await {
            Err(error) if error.code == Some(UNIQUE_VIOLATION) => self.app.store().write(work).await,
            result => result,
        }
    }

    /// The call without its body, for handlers that read it themselves.
    pub(super) async fn of_parts(app: &App, request: &mut Request) -> Result<Call> {
        let Recognised(actor) = *request
            .extensions()
            .get::<Recognised>()
            .ok_or_else(|| Error::internal("an operation was not registered by its name"))?;
        let person = actor.person().ok_or_else(|| {
            Error::forbidden("experiments are a person's").hint("call with the bearer token of a person")
        })?;
        let mut arguments = Arguments::of_query(request.uri().query());
        use axum::RequestExt as _;
        let path = request
            .extract_parts::<Path<HashMap<String, String>>>()
            .await
            .map_err(|_| Error::invalid("the path is not valid UTF-8"))?
            .0;
        // An address of Azure's names the workspace or project; a plain one means the person's own.
        let mut files = Files::default();
        let workspace = match Scope::of(&path) {
            Some(scope) => {
                let base = base_address(request.headers(), app.public_address.as_deref(), app.tls);
                files = Files::of(request, &base, &scope);
                let find = move |tx: &mut Tx<'_>| scope.find(tx, &actor, Permission::Read);
                // MLflow has codes of its own.
                app.store().read(find).await.map_err(|error| Error { code: None, ..error })?
            }
            None => default_workspace(app, person).await?,
        };
        for (part, value) in path {
            if !Scope::PARTS.contains(&part.as_str()) {
                arguments.insert(part, value);
            }
        }
        Ok(Call { app: app.clone(), actor, person, workspace, files, arguments })
    }
}

impl FromRequest<App> for Call {
    type Rejection = Failure;

    async fn from_request(mut request: Request, app: &App) -> Result<Call> {
        let mut call = Call::of_parts(app, &mut request).await?;
        if *request.method() != Method::GET {
            let content_type = request.headers().get(axum::http::header::CONTENT_TYPE).cloned();
            let is_post = matches!(*request.method(), Method::POST | Method::PUT);
            let body = Bytes::from_request(request, app)
                .await
                .map_err(|_| Error::too_large("the request is too large, or broke off"))?;
            if is_post {
                require_json(content_type.as_ref().and_then(|value| value.to_str().ok()))?;
            }
            call.arguments.read_body(&body)?;
        }
        Ok(call)
    }
}

/// Upstream's words, which tools match on.
fn require_json(content_type: Option<&str>) -> habeas_core::Result<()> {
    let bad = |what: &str| Error::invalid(format!("Bad Request. {what}")).code("BAD_REQUEST");
    match content_type {
        None => Err(bad("Content-Type header is missing.")),
        Some(value) => {
            let essence = value.split(';').next().unwrap_or_default().trim();
            if essence.eq_ignore_ascii_case("application/json") {
                Ok(())
            } else {
                Err(bad("Content-Type must be one of ['application/json']."))
            }
        }
    }
}
