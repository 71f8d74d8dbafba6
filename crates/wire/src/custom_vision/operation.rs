//! Registering operations under their names: recognising the caller before, noting the call after.

use std::collections::HashMap;

use axum::RequestExt as _;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use habeas_access::Actor;
use habeas_core::{Error, Id, Kind, Result};

use super::caller::require_training;
use super::errors::Failure;
use crate::App;

/// Who was recognised; handed to the handler.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recognised {
    pub(super) actor: Actor,
    pub(super) account: Id,
}

/// Headers that may carry a key: training, prediction, and the one Azure's gateway accepts for any service. Header names match in
/// any case, as clients write `Training-Key`, `Training-key` and `training-key`.
const KEY_HEADERS: [&str; 3] = ["training-key", "prediction-key", "ocp-apim-subscription-key"];

/// Registers `route` as the operation `name`.
pub(super) fn named(app: &App, name: &'static str, route: MethodRouter<App>) -> MethodRouter<App> {
    route.layer(from_fn_with_state((app.clone(), name), observe))
}

async fn observe(
    State((app, name)): State<(App, &'static str)>,
    mut request: Request,
    next: Next,
) -> Response {
    let recognised = match request.extensions().get::<Actor>() {
        // Through the socket that only the operator can open.
        Some(&actor) => Recognised { actor, account: Id::NIL },
        None => match recognise(&app, request.headers(), is_training(&request)).await {
            Ok(recognised) => recognised,
            Err(error) => return Failure(error).into_response(),
        },
    };
    request.extensions_mut().insert(recognised);
    if recognised.actor == Actor::Operator
        && let Err(error) = note_operator(&app, &mut request, name).await
    {
        return Failure(error).into_response();
    }
    let response = next.run(request).await;
    if let Some(person) = recognised.actor.person() {
        app.access().telemetry().note(person, name, response.status().as_u16());
    }
    response
}

/// Notes in the record of whoever holds the project in the path what the operator does with it, before it is done: what anybody else does
/// stands in their own.
async fn note_operator(app: &App, request: &mut Request, name: &'static str) -> Result<()> {
    let path = request.extract_parts::<Path<HashMap<String, String>>>().await.ok();
    let Some(project) = path.and_then(|Path(parts)| parts.get("project")?.parse::<Id>().ok()) else {
        return Ok(());
    };
    match app.store().read(move |tx| tx.position(project)).await? {
        Some((Kind::Project, _, holder)) => app.rights.record_read(&Actor::Operator, &[holder], name).await,
        _ => Ok(()),
    }
}

/// Whether an operation is one of the training API, by its route: a published name may be any word.
fn is_training(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    route.split('/').nth(3) == Some("training")
}

async fn recognise(app: &App, headers: &HeaderMap, is_training: bool) -> Result<Recognised> {
    let key = KEY_HEADERS.iter().find_map(|name| headers.get(*name)).and_then(|value| value.to_str().ok());
    let recognised = match key {
        Some(key) => {
            let actor = app.access().recognise_key(key.trim()).await?;
            match actor {
                Actor::Key { account, .. } => Recognised { actor, account },
                _ => return Err(Error::internal("a key was recognised as something else")),
            }
        }
        None => {
            let token = headers
                .get("authorization")
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| token.trim())
                .ok_or_else(|| Error::unauthenticated("no key was sent"))?;
            let actor = app.access().recognise_bearer(token).await?;
            let person = actor.person().unwrap_or(Id::NIL);
            let accounts = app.access().accounts(person).await?;
            let account = accounts.first().map_or(Id::NIL, |account| account.id);
            Recognised { actor, account }
        }
    };
    if is_training {
        require_training(&recognised.actor)?;
    }
    Ok(recognised)
}
