//! Operations that clients wait for. All have ended when they are answered, so none is kept: an operation's identifier says what was to be
//! done to which resource, and its state follows from whether that is there.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use habeas_core::kinds::Service;
use habeas_core::{Error, Id, Result as CoreResult, Timestamp};
use habeas_store::Tx;
use serde_json::{Value, json};

use super::call::{Call, Form};
use super::errors::Result;
use super::{images, services, shapes};

/// What was to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    CreateImage,
    CreateService,
    UpdateService,
    DeleteService,
    RenewKeys,
}

impl Verb {
    const ALL: [Verb; 5] =
        [Verb::CreateImage, Verb::CreateService, Verb::UpdateService, Verb::DeleteService, Verb::RenewKeys];

    const fn name(self) -> &'static str {
        match self {
            Verb::CreateImage => "create-image-",
            Verb::CreateService => "create-service-",
            Verb::UpdateService => "update-service-",
            Verb::DeleteService => "delete-service-",
            Verb::RenewKeys => "renew-keys-",
        }
    }
}

/// The answer 202 that names the operation. Of hosting accounts it is a path without a query: the command line of 2017 takes its last
/// segment for the operation's identifier, and `amlrealtimeai` puts its host before it and `?api-version=` after it.
pub(super) fn accepted(call: &Call, verb: Verb, id: Id) -> Result<Response> {
    const LOCATION: HeaderName = HeaderName::from_static("operation-location");
    let base = if call.form == Form::Hosting { "" } else { &call.base };
    let address = format!("{base}{}/operations/{}{id}", call.scope_path(), verb.name());
    let address = HeaderValue::try_from(address)
        .map_err(|_| Error::invalid("the address of the operation cannot be written in a header"))?;
    Ok((StatusCode::ACCEPTED, [(LOCATION, address)]).into_response())
}

/// `GET operations/{id}`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let unknown = || Error::not_found("there is no such operation").code("OperationNotFound");
    let text = call.part("id").to_owned();
    let named = Verb::ALL.iter().find_map(|verb| Some((*verb, text.strip_prefix(verb.name())?)));
    let (verb, id) = named.ok_or_else(unknown)?;
    let id: Id = id.parse().map_err(|_| unknown())?;
    let (form, path) = (call.form, call.scope_path());
    let answer = call
        .read(move |tx, at| {
            let done = outcome(tx, form, at, verb, id)?;
            let (place, began, ended) = done.ok_or_else(unknown)?;
            Ok(shapes::without_nulls(json!({
                "operationType": if verb == Verb::CreateImage { "Image" } else { "Service" },
                "state": "Succeeded",
                "createdTime": began.map(shapes::time),
                "endTime": ended.map(shapes::time),
                "resourceLocation": format!("{path}/{place}"),
            })))
        })
        .await?;
    let mut answer = answer;
    answer["id"] = json!(call.part("id"));
    Ok(Json(answer))
}

/// Where the resource is, and when the operation began and ended, if it did.
type Outcome = (String, Option<Timestamp>, Option<Timestamp>);

fn outcome(tx: &mut Tx<'_>, form: Form, at: Id, verb: Verb, id: Id) -> CoreResult<Option<Outcome>> {
    if verb == Verb::CreateImage {
        return match images::find(tx, at, &id.to_string()) {
            Err(error) if error.kind == habeas_core::ErrorKind::NotFound => Ok(None),
            found => found.map(|node| {
                let place = format!("images/{}", images::wire_id(form, &node));
                Some((place, Some(node.created_at), Some(node.created_at)))
            }),
        };
    }
    let service = tx.get::<Service>(id)?.filter(|node| node.parent == Some(at));
    Ok(match (verb, service) {
        (Verb::DeleteService, None) => Some((format!("services/{id}"), None, None)),
        (Verb::DeleteService, Some(_)) | (_, None) => None,
        (_, Some(node)) => {
            let (began, ended) = match verb {
                Verb::CreateService => (node.created_at, node.created_at),
                _ => (node.updated_at, node.updated_at),
            };
            Some((format!("services/{}", services::wire_id(form, &node)), Some(began), Some(ended)))
        }
    })
}
