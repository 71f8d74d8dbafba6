//! Signing in and out.

use axum::Form;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::{COOKIE, RETRY_AFTER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Query;
use habeas_access::oidc::encode;
use habeas_access::{Actor, SESSION_HOURS};
use habeas_core::{Error, ErrorKind, Id, Timestamp};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Failure, Portal, render, text_header};
use crate::pages::{ErrorPage, IssuerLink, LinkPage, PasswordPage, PersonBadge, Section, Shell, SignInPage};

/// The session cookie. `Lax` lets a link from a mail arrive signed in; forms are checked by their origin.
const COOKIE_NAME: &str = "habeas-session";

/// The person who is signed in; a page that needs one sends everybody else to sign in.
pub(crate) struct SignedIn {
    pub(crate) person: Id,
    pub(crate) actor: Actor,
    session: Id,
    staff: bool,
    badge: PersonBadge,
}

impl SignedIn {
    pub(crate) fn shell(&self, section: Section) -> Shell {
        Shell { person: self.badge.clone(), staff: self.staff, section, notice: None }
    }

    pub(crate) fn badge(&self) -> PersonBadge {
        self.badge.clone()
    }

    pub(crate) fn email(&self) -> String {
        self.badge.email.clone()
    }
}

impl FromRequestParts<Portal> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, portal: &Portal) -> Result<SignedIn, Response> {
        let to_sign_in = || Redirect::to(&sign_in_address(parts)).into_response();
        let secret = cookie(&parts.headers, COOKIE_NAME).ok_or_else(to_sign_in)?;
        let access = portal.rights.access();
        let (actor, session) = access.recognise_session(&secret).await.map_err(|error| match error.kind {
            ErrorKind::Unauthenticated => to_sign_in(),
            _ => Failure(error).into_response(),
        })?;
        let person = actor.person().ok_or_else(to_sign_in)?;
        let profile = access.person(person).await.map_err(|error| Failure(error).into_response())?;
        let staff = match portal.rights.require_staff(&actor).await {
            Ok(()) => true,
            Err(error) if error.kind == ErrorKind::NotFound => false,
            Err(error) => return Err(Failure(error).into_response()),
        };
        let badge = PersonBadge { name: profile.doc.name, email: profile.doc.email };
        Ok(SignedIn { person, actor, session, staff, badge })
    }
}

/// Pages to which another program or a letter leads.
const LED_TO: [&str; 4] = ["/device", "/oauth2/authorize", "/me/requests", "/staff/requests"];

/// The page to sign in on. What another program or a letter led to is come back to; everything else begins at the overview.
fn sign_in_address(parts: &Parts) -> String {
    let asked = parts.uri.path_and_query().map(|asked| asked.as_str()).unwrap_or_default();
    let path = parts.uri.path();
    let is_led_to =
        |led: &str| path.strip_prefix(led).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let comes_back = parts.method == Method::GET && LED_TO.into_iter().any(is_led_to);
    if comes_back { format!("/sign-in?next={}", encode(asked)) } else { "/sign-in".to_owned() }
}

/// Where to go after signing in: a path of ours, whatever was asked for.
pub(super) fn after_sign_in(next: Option<String>) -> Option<String> {
    next.filter(|next| {
        next.starts_with('/')
            && !next.starts_with("//")
            && !next.contains('\\')
            && next.bytes().all(|byte| byte.is_ascii_graphic())
    })
}

/// The value of a cookie of a request.
pub(super) fn cookie(headers: &HeaderMap, wanted: &str) -> Option<String> {
    text_header(headers, COOKIE)?
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value.to_owned())
}

/// A cookie for `seconds`, sent with links from elsewhere but with no form from there.
pub(super) fn set_cookie(portal: &Portal, name: &str, value: &str, seconds: i64, response: &mut Response) {
    let secure = if portal.tls { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(SET_COOKIE, value);
    }
}

fn with_cookie(portal: &Portal, value: &str, seconds: i64, mut response: Response) -> Response {
    set_cookie(portal, COOKIE_NAME, value, seconds, &mut response);
    response
}

/// Signs the browser in as `person`, who signed in when an issuer says so or just now, and leads on to `next`.
pub(super) async fn begin(
    portal: &Portal,
    person: Id,
    signed_in_at: Option<Timestamp>,
    next: &str,
) -> Result<Response, Failure> {
    let session = portal.rights.access().issue_session(person, signed_in_at).await?;
    Ok(with_cookie(portal, &session.secret, SESSION_HOURS * 3_600, Redirect::to(next).into_response()))
}

/// What leads to the sign-in page. Two of its names have no value, which an `Option` takes for nothing.
#[derive(Deserialize)]
pub(super) struct SignInQuery {
    next: Option<String>,
    #[serde(default, rename = "signed-out")]
    signed_out: Vec<String>,
    #[serde(default)]
    again: Vec<String>,
}

/// The issuers with which one may sign in, or sign in again, each with the address that begins it.
pub(super) fn issuers(portal: &Portal, next: Option<&str>, again: bool) -> Vec<IssuerLink> {
    let query = match (next.map(encode), again) {
        (Some(next), true) => format!("?again&next={next}"),
        (Some(next), false) => format!("?next={next}"),
        (None, true) => "?again".to_owned(),
        (None, false) => String::new(),
    };
    let link = |(name, title)| IssuerLink { address: format!("/sign-in/with/{name}{query}"), title };
    portal.rights.access().issuers().into_iter().map(link).collect()
}

/// `GET /sign-in`.
pub(super) async fn form(State(portal): State<Portal>, Query(query): Query<SignInQuery>) -> Response {
    let again = !query.again.is_empty();
    let notice = if again {
        Some("What you are about to do needs a new sign-in: sign in again, to show that it is you.")
    } else {
        (!query.signed_out.is_empty()).then_some("You are signed out.")
    };
    let next = after_sign_in(query.next);
    let issuers = issuers(&portal, next.as_deref(), again);
    render(&SignInPage { notice, next, issuers, ..SignInPage::default() })
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
    next: Option<String>,
}

/// `POST /sign-in`.
pub(super) async fn sign_in(
    State(portal): State<Portal>,
    Form(form): Form<Credentials>,
) -> Result<Response, Failure> {
    let next = after_sign_in(form.next);
    match portal.rights.access().sign_in(&form.email, Zeroizing::new(form.password)).await {
        Ok(person) => begin(&portal, person, None, next.as_deref().unwrap_or("/me")).await,
        Err(error) if matches!(error.kind, ErrorKind::Unauthenticated | ErrorKind::Busy) => {
            let status = if error.kind == ErrorKind::Busy {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                StatusCode::UNAUTHORIZED
            };
            let retry_after = error.retry_after;
            let page = SignInPage {
                email: form.email,
                error: Some(error.to_string()),
                issuers: issuers(&portal, next.as_deref(), false),
                next,
                ..SignInPage::default()
            };
            let mut response = (status, render(&page)).into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            Ok(response)
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /sign-in/{secret}`.
pub(super) async fn link(Path(secret): Path<String>) -> Response {
    render(&LinkPage { secret })
}

/// `POST /sign-in/{secret}`: uses the link up.
pub(super) async fn use_link(
    State(portal): State<Portal>,
    Path(secret): Path<String>,
) -> Result<Response, Failure> {
    match portal.rights.access().use_sign_in_link(&secret).await {
        Ok(person) => begin(&portal, person, None, "/me").await,
        Err(error) if error.kind == ErrorKind::Gone => {
            Ok((StatusCode::GONE, render(&ErrorPage::expired_link())).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /sign-out`.
pub(super) async fn sign_out(State(portal): State<Portal>, who: SignedIn) -> Result<Response, Failure> {
    portal.rights.access().revoke_token(who.session).await?;
    Ok(with_cookie(&portal, "", 0, Redirect::to("/sign-in?signed-out").into_response()))
}

/// Leads whoever signed in too long ago to the sign-in page, and back: with a password an open browser would be a new sign-in.
fn sign_in_again(portal: &Portal, who: &SignedIn) -> Option<Response> {
    let is_fresh = portal.rights.require_fresh(&who.actor).is_ok();
    (!is_fresh).then(|| Redirect::to("/sign-in?again&next=/me/password").into_response())
}

/// `GET /me/password`.
pub(super) async fn password_form(State(portal): State<Portal>, who: SignedIn) -> Result<Response, Failure> {
    if let Some(response) = sign_in_again(&portal, &who) {
        return Ok(response);
    }
    let has_password = portal.rights.access().has_password(who.person).await?;
    Ok(render(&PasswordPage { shell: who.shell(Section::Account), has_password, error: None }))
}

#[derive(Deserialize)]
pub(super) struct NewPassword {
    #[serde(default)]
    password: String,
}

/// `POST /me/password`.
pub(super) async fn set_password(
    State(portal): State<Portal>,
    who: SignedIn,
    Form(form): Form<NewPassword>,
) -> Result<Response, Failure> {
    if let Some(response) = sign_in_again(&portal, &who) {
        return Ok(response);
    }
    let access = portal.rights.access();
    portal.rights.authorise(&who.actor, who.person, "SetPassword").await?;
    match access.set_password(who.person, Zeroizing::new(form.password)).await {
        Ok(()) => {
            let mut shell = who.shell(Section::Account);
            shell.notice = Some("Your password is set.");
            Ok(render(&PasswordPage { shell, has_password: true, error: None }))
        }
        Err(Error { kind: ErrorKind::Invalid, what, .. }) => {
            let has_password = access.has_password(who.person).await?;
            let page = PasswordPage { shell: who.shell(Section::Account), has_password, error: Some(what) };
            Ok((StatusCode::BAD_REQUEST, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}
