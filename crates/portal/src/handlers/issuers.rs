//! Signing in with an external issuer.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Query;
use habeas_access::oidc::{Answer, Finished};
use habeas_core::ErrorKind;
use serde::Deserialize;

use super::session::{after_sign_in, begin as sign_in, cookie, issuers, set_cookie};
use super::{Failure, Portal, render};
use crate::pages::SignInPage;

/// Keeps what this server must remember while the person is at the issuer's.
const COOKIE_NAME: &str = "habeas-sign-in";
/// How long, in seconds.
const PATIENCE: i64 = 900;

/// Where to go afterwards, and whether the person is to sign in there anew.
#[derive(Deserialize)]
pub(super) struct Beginning {
    next: Option<String>,
    /// A name without a value.
    #[serde(default)]
    again: Vec<String>,
}

/// The address to which issuers send the browser back: to be registered with them.
fn answer_address(portal: &Portal, headers: &HeaderMap) -> String {
    format!("{}/sign-in/answer", (portal.base)(headers))
}

/// `GET /sign-in/with/{issuer}`.
pub(super) async fn begin(
    State(portal): State<Portal>,
    Path(issuer): Path<String>,
    Query(query): Query<Beginning>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let next = after_sign_in(query.next).unwrap_or_else(|| "/me".to_owned());
    let answer = answer_address(&portal, &headers);
    let again = !query.again.is_empty();
    let begun = portal.rights.access().begin_sign_in(&issuer, &answer, &next, again).await?;
    let mut response = Redirect::to(&begun.address).into_response();
    set_cookie(&portal, COOKIE_NAME, &begun.kept, PATIENCE, &mut response);
    Ok(response)
}

/// `GET /sign-in/answer`: the issuer sent the browser back.
pub(super) async fn finish(
    State(portal): State<Portal>,
    Query(answer): Query<Answer>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let kept = cookie(&headers, COOKIE_NAME).unwrap_or_default();
    let address = answer_address(&portal, &headers);
    let mut response = match portal.rights.access().finish_sign_in(&kept, &answer, &address).await {
        Ok(Finished { person, signed_in_at, next }) => {
            sign_in(&portal, person, Some(signed_in_at), &next).await?
        }
        Err(error) if error.kind == ErrorKind::Unauthenticated => {
            let error = Some(error.to_string());
            let page = SignInPage { error, issuers: issuers(&portal, None, false), ..SignInPage::default() };
            (StatusCode::UNAUTHORIZED, render(&page)).into_response()
        }
        Err(error) => return Err(error.into()),
    };
    set_cookie(&portal, COOKIE_NAME, "", 0, &mut response);
    Ok(response)
}
