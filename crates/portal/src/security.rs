//! What protects a page in the browser: its policy, and that a form is only taken from a page of ours.

use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;

/// Nothing but what comes from this server; no inline script or style, no frame around it.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The policy of a page whose form leads on to another address, which a handler checked: browsers hold redirects after a form to it too.
pub fn policy_with_form_target(address: &str) -> Option<HeaderValue> {
    let scheme = address.find("://")? + 3;
    let end = address[scheme..].find(['/', '?']).map_or(address.len(), |length| scheme + length);
    let origin = address.get(..end).filter(|origin| !origin.contains([';', ',', ' ', '\'']))?;
    let policy = POLICY.replace("form-action 'self'", &format!("form-action 'self' {origin}"));
    HeaderValue::from_str(&policy).ok()
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The headers of every answer. Pages hold personal data: no cache keeps them, unless a handler said otherwise.
pub async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: with it, browsers send `Origin: null` with our own forms.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a request may change something: what only reads may come from anywhere, a form only from a page of this server.
/// Every browser says where a form comes from: by `Sec-Fetch-Site` over TLS and on this machine, otherwise by `Origin`.
pub fn is_same_origin(method: &Method, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return true;
    }
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(&SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    match (text(&ORIGIN), text(&HOST)) {
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, authority)| authority == host)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_may_lead_on_to_one_origin() {
        let policy = policy_with_form_target("https://app.example.org:8443/cb?x").unwrap();
        assert!(
            policy.to_str().unwrap().contains("form-action 'self' https://app.example.org:8443; base-uri")
        );
        assert!(policy_with_form_target("https://a;script-src *").is_none());
        assert!(policy_with_form_target("nowhere").is_none());
    }

    fn allowed(method: Method, pairs: &[(&'static str, &'static str)]) -> bool {
        let headers = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        is_same_origin(&method, &headers)
    }

    #[test]
    fn a_form_is_taken_from_our_own_pages_only() {
        assert!(allowed(Method::GET, &[("sec-fetch-site", "cross-site")]));
        assert!(allowed(Method::POST, &[("sec-fetch-site", "same-origin")]));
        assert!(allowed(
            Method::POST,
            &[("origin", "https://habeas.test:8443"), ("host", "habeas.test:8443")]
        ));
        for pairs in [
            &[][..],
            &[("host", "habeas.test")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://habeas.test"), ("host", "habeas.test")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "https://evil.test"), ("host", "habeas.test")],
            &[("origin", "https://habeas.test:444"), ("host", "habeas.test")],
            &[("origin", "null"), ("host", "null")],
        ] {
            assert!(!allowed(Method::POST, pairs), "{pairs:?}");
        }
    }
}
