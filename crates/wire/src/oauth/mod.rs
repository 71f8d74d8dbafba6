//! `/oauth2`: tokens for programs (RFC 6749, 7009, 8414, 8628). Where a person consents, the portal's pages are.
//!
//! Errors are the protocol's own: `{"error", "error_description"}`.

mod form;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use habeas_access::oauth::{GrantRequest, SCOPE};
use habeas_core::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::App;
use crate::caller::base_address;
use form::Parameters;

/// The grant type of a device code (RFC 8628).
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The protocol's routes.
pub fn router() -> Router<App> {
    Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/oauth2/token", post(token))
        .route("/oauth2/revoke", post(revoke))
        .route("/oauth2/device_authorization", post(device_authorization))
        .method_not_allowed_fallback(refused)
}

/// An error in the protocol's envelope (RFC 6749, 5.2).
#[derive(Debug)]
struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = self.0;
        let (status, code) = match error.kind {
            ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "invalid_client"),
            ErrorKind::Busy => (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            ErrorKind::Damaged | ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
            // The person is being erased: what they granted is gone.
            ErrorKind::Frozen => (StatusCode::BAD_REQUEST, "invalid_grant"),
            _ => (StatusCode::BAD_REQUEST, "invalid_request"),
        };
        if status.is_server_error() {
            tracing::error!(error = format_args!("{error:#}"), "a token request failed");
        }
        let body = json!({ "error": error.code.unwrap_or(code), "error_description": error.what });
        let mut response = private(status, body);
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"habeas\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// An answer that no cache may keep.
fn private(status: StatusCode, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a method that an address does not take. No code of RFC 6749 says more of it.
async fn refused() -> Response {
    let body =
        json!({ "error": "invalid_request", "error_description": "this address does not take this method" });
    private(StatusCode::METHOD_NOT_ALLOWED, body)
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414).
async fn metadata(State(app): State<App>, headers: HeaderMap) -> Json<Value> {
    let base = base_address(&headers, app.public_address.as_deref(), app.tls);
    let methods = json!(["client_secret_basic", "client_secret_post", "none"]);
    Json(json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/oauth2/authorize"),
        "token_endpoint": format!("{base}/oauth2/token"),
        "revocation_endpoint": format!("{base}/oauth2/revoke"),
        "device_authorization_endpoint": format!("{base}/oauth2/device_authorization"),
        "scopes_supported": [SCOPE],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token", DEVICE_CODE],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

/// `POST /oauth2/token`.
async fn token(State(app): State<App>, form: Parameters) -> Result<Response, Failure> {
    let request = match form.required("grant_type")? {
        "client_credentials" => GrantRequest::ClientCredentials,
        "authorization_code" => GrantRequest::AuthorizationCode {
            code: form.required("code")?.to_owned(),
            redirect_uri: form.required("redirect_uri")?.to_owned(),
            code_verifier: form.required("code_verifier")?.to_owned(),
        },
        "refresh_token" => GrantRequest::RefreshToken(form.required("refresh_token")?.to_owned()),
        DEVICE_CODE => GrantRequest::DeviceCode(form.required("device_code")?.to_owned()),
        _ => {
            return Err(Error::invalid("this grant type is not served")
                .code("unsupported_grant_type")
                .into());
        }
    };
    let tokens = app.access().exchange(&form.client()?, request).await?;
    let mut body = json!({
        "access_token": tokens.access_token,
        "token_type": "Bearer",
        "expires_in": tokens.expires_in,
        "scope": SCOPE,
    });
    if let Some(refresh) = tokens.refresh_token {
        body["refresh_token"] = refresh.into();
    }
    Ok(private(StatusCode::OK, body))
}

/// `POST /oauth2/revoke`: an unknown token is no error.
async fn revoke(State(app): State<App>, form: Parameters) -> Result<StatusCode, Failure> {
    app.access().revoke(&form.client()?, form.required("token")?).await?;
    Ok(StatusCode::OK)
}

/// `POST /oauth2/device_authorization`.
async fn device_authorization(
    State(app): State<App>,
    headers: HeaderMap,
    form: Parameters,
) -> Result<Response, Failure> {
    let begun = app.access().begin_device(&form.client()?).await?;
    let page = format!("{}/device", base_address(&headers, app.public_address.as_deref(), app.tls));
    let body = json!({
        "device_code": begun.device_code,
        "user_code": begun.user_code,
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={}", begun.user_code),
        "expires_in": begun.expires_in,
        "interval": begun.interval,
    });
    Ok(private(StatusCode::OK, body))
}

/// Whether a body is a form, whatever its parameters.
fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"))
}
