//! Asking a person whether an application may act in their name.

use axum::Form;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Query;
use habeas_access::oauth::AuthorizationRequest;
use habeas_access::oidc::encode;
use habeas_core::{ErrorKind, Timestamp};
use serde::Deserialize;

use super::session::SignedIn;
use super::{Failure, Portal, render};
use crate::pages::{ConsentPage, DevicePage, DeviceStep};
use crate::security;

/// When the person signed in, as their grants remember it.
fn signed_in_at(who: &SignedIn) -> Timestamp {
    who.actor.signed_in_at().unwrap_or(Timestamp(0))
}

/// What stands in the address or the form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    code_challenge: String,
    code_challenge_method: String,
    state: Option<String>,
    decision: Option<String>,
}

impl Asked {
    fn request(&self) -> AuthorizationRequest {
        AuthorizationRequest {
            response_type: self.response_type.clone(),
            client_id: self.client_id.clone(),
            redirect_uri: self.redirect_uri.clone(),
            code_challenge: self.code_challenge.clone(),
            code_challenge_method: self.code_challenge_method.clone(),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("response_type", self.response_type.clone()),
            ("client_id", self.client_id.clone()),
            ("redirect_uri", self.redirect_uri.clone()),
            ("code_challenge", self.code_challenge.clone()),
            ("code_challenge_method", self.code_challenge_method.clone()),
        ];
        fields.extend(self.state.clone().map(|state| ("state", state)));
        fields
    }

    /// Leads the browser back to the application with an answer.
    fn answer(&self, issuer: &str, name: &str, value: &str) -> Response {
        let separator = if self.redirect_uri.contains('?') { '&' } else { '?' };
        let state = self.state.as_ref().map(|state| format!("&state={}", encode(state))).unwrap_or_default();
        let (address, value, issuer) = (&self.redirect_uri, encode(value), encode(issuer));
        Redirect::to(&format!("{address}{separator}{name}={value}{state}&iss={issuer}")).into_response()
    }
}

/// `GET /oauth2/authorize`: the page that asks. What is wrong with the application or its address is told to the person only.
pub(super) async fn ask(
    State(portal): State<Portal>,
    who: SignedIn,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let requested = portal.rights.access().check_authorization(&asked.request()).await?;
    if let Some(fault) = requested.fault {
        return Ok(asked.answer(&(portal.base)(&headers), "error", fault.code.unwrap_or("invalid_request")));
    }
    let policy = security::policy_with_form_target(&requested.redirect_uri);
    let page = ConsentPage {
        person: who.badge(),
        client_name: requested.client_name,
        redirect_uri: requested.redirect_uri,
        request: asked.fields(),
    };
    let mut response = render(&page);
    if let Some(policy) = policy {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}

/// `POST /oauth2/authorize`: the person's answer.
pub(super) async fn decide(
    State(portal): State<Portal>,
    who: SignedIn,
    headers: HeaderMap,
    Form(asked): Form<Asked>,
) -> Result<Response, Failure> {
    let access = portal.rights.access();
    let issuer = (portal.base)(&headers);
    let requested = access.check_authorization(&asked.request()).await?;
    if let Some(fault) = requested.fault {
        return Ok(asked.answer(&issuer, "error", fault.code.unwrap_or("invalid_request")));
    }
    if asked.decision.as_deref() != Some("allow") {
        return Ok(asked.answer(&issuer, "error", "access_denied"));
    }
    portal.rights.authorise(&who.actor, who.person, "LetApplicationIn").await?;
    let code = access.issue_code(who.person, signed_in_at(&who), &requested).await?;
    Ok(asked.answer(&issuer, "code", &code))
}

/// A code and what the person says to it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    user_code: String,
    decision: Option<String>,
}

/// `GET /device`.
pub(super) async fn device(who: SignedIn, Query(typed): Query<Typed>) -> Response {
    render(&DevicePage { person: who.badge(), user_code: typed.user_code, step: DeviceStep::Type(None) })
}

/// `POST /device`: the code was typed, or decided on.
pub(super) async fn decide_device(
    State(portal): State<Portal>,
    who: SignedIn,
    Form(typed): Form<Typed>,
) -> Result<Response, Failure> {
    let access = portal.rights.access();
    let result = match typed.decision.as_deref() {
        None => access
            .pending_device(who.person, &typed.user_code)
            .await
            .map(|pending| DeviceStep::Decide { client_name: pending.client_name }),
        Some(decision) => {
            let approved = decision == "allow";
            if approved {
                portal.rights.authorise(&who.actor, who.person, "LetApplicationIn").await?;
            }
            access
                .decide_device(who.person, signed_in_at(&who), &typed.user_code, approved)
                .await
                .map(|()| if approved { DeviceStep::Approved } else { DeviceStep::Denied })
        }
    };
    let (status, step) = match result {
        Ok(step) => (StatusCode::OK, step),
        Err(error) if error.kind == ErrorKind::NotFound => {
            (StatusCode::BAD_REQUEST, DeviceStep::Type(Some(error.to_string())))
        }
        Err(error) if error.kind == ErrorKind::Busy => {
            (StatusCode::TOO_MANY_REQUESTS, DeviceStep::Type(Some(error.to_string())))
        }
        Err(error) => return Err(error.into()),
    };
    let page = DevicePage { person: who.badge(), user_code: typed.user_code, step };
    Ok((status, render(&page)).into_response())
}
