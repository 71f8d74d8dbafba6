//! Asking a service: `POST /api/v1/service/ID/score`, the address that its `scoringUri` names, with one of its keys as bearer token (or a token
//! of the service, where it is asked by those) or the token of a person who may ask its holder's models.
//!
//! The body names each input of the graph and gives it as nested lists of numbers; `data` may stand around it. Of a graph with one input the
//! lists alone will do. The answer names each output and gives it the same way.

mod input;
mod output;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, RequestExt as _, Router};
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{ArtifactDoc, Service, ServiceDoc};
use habeas_core::{Error, ErrorKind, Id, Node, Result as CoreResult, Timestamp, crypto};
use habeas_models::scoring::{Element, Port};
use habeas_store::{HolderState, Tx};
use serde_json::{Map, Value, json};

use super::errors::Result;
use super::{endpoints, served, tokens};
use crate::App;
use crate::caller::{base_address, bearer_of};

/// The largest request, in bytes.
const LARGEST_BODY: usize = 8 * 1024 * 1024;

/// The routes.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/api/v1/service/{id}/score", post(score).layer(DefaultBodyLimit::max(LARGEST_BODY)))
        .route("/api/v1/service/{id}/swagger.json", get(swagger))
}

fn denied() -> Error {
    Error::unauthenticated(
        "this needs a key of the service, its token where it is asked by tokens, or the bearer token of a person who may ask it",
    )
    .hint("send `Authorization: Bearer KEY`; `GET .../services/ID/keys` tells the keys, `POST .../services/ID/token` gives a token")
}

/// The service and the graph it answers from, if the caller may ask it; of an endpoint, that of the version on which the lot falls, or of the
/// default one when no lot is drawn.
async fn admit(
    app: &App,
    headers: &HeaderMap,
    id: &str,
    lot: Option<f64>,
) -> CoreResult<(Node<ServiceDoc>, ArtifactDoc)> {
    let token = bearer_of(headers).ok_or_else(denied)?.to_owned();
    let id: Id = id.parse().map_err(|_| denied())?;
    let (known, mac_key) = (token.clone(), tokens::key(app)?);
    let by_secret = app.store().read(move |tx| {
        let Some(node) = tx.get::<Service>(id)? else { return Ok(None) };
        if tokens::are_asked_for(&node.doc) {
            let now = tx.now();
            let Some(person) = tokens::person(&mac_key, &node, &known, now) else { return Ok(None) };
            require_may_ask(tx, person, id)?;
        } else {
            let is = |key: &str| crypto::constant_time_eq(known.as_bytes(), key.as_bytes());
            if !is(&node.doc.keys.primary) & !is(&node.doc.keys.secondary) {
                return Ok(None);
            }
        }
        // A program with a key or token is nobody who could read more than what it asks.
        require_unrestricted(tx, node.holder)?;
        let graph = graph(tx, &node, lot)?;
        Ok(Some((node, graph)))
    });
    if let Some(found) = by_secret.await? {
        return Ok(found);
    }
    if token.split('.').count() != 3 {
        return Err(denied());
    }
    let actor = app.access().recognise_bearer(&token).await?;
    app.store()
        .read(move |tx| {
            let unknown = || Error::not_found("there is no such service").code("ServiceNotFound");
            let node = tx.get::<Service>(id)?.ok_or_else(unknown)?;
            match authorise(tx, &actor, id, Permission::Predict) {
                Err(error) if error.kind == ErrorKind::NotFound => return Err(unknown()),
                other => other?,
            }
            let graph = graph(tx, &node, lot)?;
            Ok((node, graph))
        })
        .await
}

/// An error unless the person to whom a token was issued is here and may ask the service still.
fn require_may_ask(tx: &mut Tx<'_>, person: Id, service: Id) -> CoreResult<()> {
    match tx.holder(person)? {
        Some((_, HolderState::Active | HolderState::Restricted)) => {}
        _ => return Err(denied()),
    }
    let actor = Actor::Person { id: person, signed_in_at: Timestamp(0), granted: true };
    authorise(tx, &actor, service, Permission::Predict).map_err(|error| match error.code {
        // Said of the holder's data, not of the caller.
        Some("Restricted") => error,
        _ => error.conceal(denied),
    })
}

/// The graph, unless it is somebody's whose data must not be processed: the model of another holder may be served here.
fn graph(tx: &mut Tx<'_>, node: &Node<ServiceDoc>, lot: Option<f64>) -> CoreResult<ArtifactDoc> {
    let (owner, graph) = served::graph(tx, node, endpoints::chosen(&node.doc, lot))?;
    if let Some((_, _, holder)) = tx.position(owner)? {
        require_unrestricted(tx, holder)?;
    }
    Ok(graph)
}

fn require_unrestricted(tx: &mut Tx<'_>, holder: Id) -> CoreResult<()> {
    match tx.holder(holder)? {
        Some((_, HolderState::Active)) => Ok(()),
        Some((_, HolderState::Restricted)) => Err(Error::forbidden(
            "whose model this is has asked for restriction (GDPR Article 18): it cannot be asked",
        )
        .hint("wait until the restriction is lifted")
        .code("Restricted")),
        _ => Err(denied()),
    }
}

/// `POST /api/v1/service/{id}/score`.
async fn score(State(app): State<App>, mut request: Request) -> Result<Response> {
    let id = path_id(&mut request).await?;
    let lot = endpoints::lot(app.store().ambient());
    let (_, graph) = admit(&app, request.headers(), &id, Some(lot)).await?;
    let body = Bytes::from_request(request, &app).await.map_err(|_| {
        Error::too_large(format!("the request is larger than {LARGEST_BODY} bytes, or broke off"))
    })?;
    let graph = app.models().graph(&graph.content).await?;
    let inputs = input::read(&body, graph.inputs())?;
    let outputs = app.models().score(&graph, inputs).await?;
    let body = output::write(graph.outputs(), &outputs)?;
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response())
}

async fn path_id(request: &mut Request) -> CoreResult<String> {
    let Path(id) = request
        .extract_parts::<Path<String>>()
        .await
        .map_err(|_| Error::invalid("the path is not valid UTF-8"))?;
    Ok(id)
}

/// The schema of an input or output: nested lists as deep as it has extents.
fn schema(port: &Port) -> Value {
    let mut schema = match port.element {
        None => json!({}),
        Some(Element::Flag) => json!({ "type": "boolean" }),
        Some(Element::Text) => json!({ "type": "string" }),
        Some(element @ Element::Float(_)) => json!({ "type": "number", "format": element.name() }),
        Some(element) => json!({ "type": "integer", "format": element.name() }),
    };
    for extent in port.shape.iter().flatten().rev() {
        schema = match extent {
            Some(extent) => {
                json!({ "type": "array", "minItems": extent, "maxItems": extent, "items": schema })
            }
            None => json!({ "type": "array", "items": schema }),
        };
    }
    schema
}

fn object(ports: &[Port]) -> Value {
    let properties: Map<String, Value> = ports.iter().map(|port| (port.name.clone(), schema(port))).collect();
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

/// `GET /api/v1/service/{id}/swagger.json`: names, types and shapes of what the service takes and gives (OpenAPI 2.0).
async fn swagger(State(app): State<App>, mut request: Request) -> Result<Json<Value>> {
    let id = path_id(&mut request).await?;
    let (service, graph) = admit(&app, request.headers(), &id, None).await?;
    let graph = app.models().graph(&graph.content).await?;
    let base = base_address(request.headers(), app.public_address.as_deref(), app.tls);
    let (scheme, host) = base.split_once("://").unwrap_or(("https", &base));
    Ok(Json(json!({
        "swagger": "2.0",
        "info": { "title": service.doc.name, "description": service.doc.description.unwrap_or_default(), "version": "1.0" },
        "schemes": [scheme],
        "host": host,
        "basePath": format!("/api/v1/service/{}", service.id),
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": { "Bearer": { "type": "apiKey", "name": "Authorization", "in": "header" } },
        "security": [{ "Bearer": [] }],
        "paths": { "/score": { "post": {
            "operationId": "RunMLService",
            "parameters": [{ "name": "serviceInputPayload", "in": "body", "required": true,
                "schema": { "$ref": "#/definitions/ServiceInput" } }],
            "responses": {
                "200": { "description": "each output by its name", "schema": { "$ref": "#/definitions/ServiceOutput" } },
                "default": { "description": "code and message of the error" },
            },
        } } },
        "definitions": { "ServiceInput": object(graph.inputs()), "ServiceOutput": object(graph.outputs()) },
    })))
}
