//! The host under which files are sent and fetched by signed addresses.
//!
//! `azureml-core` takes such an address apart at the first two dots of its host, ACCOUNT.blob.SUFFIX, and makes it again with `https`. So
//! this server answers under two names, the second of that form.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::{HeaderMap, Request, Uri};
use habeas_core::{Error, Result};

use crate::App;
use crate::caller::base_address;

/// The account in the names that follow from the server's own.
const ACCOUNT: &str = "habeas";
/// The path below which requests to such a host are routed.
pub const PREFIX: &str = "/azure-blob";

/// A host of the form ACCOUNT.blob.SUFFIX, under which the client reaches the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlobHost {
    scheme: String,
    account: String,
    suffix: String,
}

impl BlobHost {
    /// The configured one, or `habeas.blob.` before the name under which the client reached the server.
    pub(crate) fn of(app: &App, headers: &HeaderMap) -> BlobHost {
        let base = base_address(headers, app.public_address.as_deref(), app.tls);
        BlobHost::new(&base, app.blob_host.as_deref())
    }

    fn new(base: &str, configured: Option<&str>) -> BlobHost {
        let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
        let host = rest.split('/').next().unwrap_or_default();
        let (account, suffix) = match configured.and_then(|name| name.split_once(".blob.")) {
            Some((account, suffix)) => (account.to_owned(), suffix.to_owned()),
            None => (ACCOUNT.to_owned(), suffix_of(host)),
        };
        BlobHost { scheme: scheme.to_owned(), account, suffix }
    }

    /// `https://ACCOUNT.blob.SUFFIX`.
    pub(crate) fn base(&self) -> String {
        format!("{}://{}.blob.{}", self.scheme, self.account, self.suffix)
    }

    /// The name before `.blob.`.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// What follows `.blob.`, with the port: the `suffixes.storage` of the cloud's description, by which `azureml-mlflow` knows an address.
    pub(crate) fn suffix(&self) -> &str {
        &self.suffix
    }
}

/// What follows `.blob.` where only the server's own name is known: an address in numbers has no names below it.
fn suffix_of(host: &str) -> String {
    let (name, port) = split_port(host);
    let name = if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() { "localhost" } else { name };
    match port {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, Some(port))
        }
        _ => (host, None),
    }
}

/// Checks a configured host.
pub fn check(host: &str) -> Result<()> {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match host.split_once(".blob.") {
        Some((account, suffix)) if is_label(account) && split_port(suffix).0.split('.').all(is_label) => {
            Ok(())
        }
        _ => Err(Error::invalid(
            "blob-host is a name of the form ACCOUNT.blob.SUFFIX, such as files.blob.example.org",
        )),
    }
}

/// Routes requests to a host of that form to what serves signed addresses.
pub fn route<B>(mut request: Request<B>) -> Request<B> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = header("x-forwarded-host").or_else(|| request.uri().host()).or_else(|| header(HOST.as_str()));
    let is_blob_host = host.is_some_and(|host| {
        let mut labels = split_port(host).0.split('.');
        labels.next().is_some_and(|account| !account.is_empty())
            && labels.next().is_some_and(|second| second.eq_ignore_ascii_case("blob"))
            && labels.next().is_some()
    });
    if is_blob_host {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        // What was a valid address is one still.
        if let Ok(uri) = format!("{PREFIX}{path}").parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_follows_from_the_servers_own_or_from_the_setting() {
        for (base, configured, expected) in [
            ("https://127.0.0.1:8443", None, "https://habeas.blob.localhost:8443"),
            ("http://[::1]:80", None, "http://habeas.blob.localhost:80"),
            ("https://localhost", None, "https://habeas.blob.localhost"),
            ("https://ml.example.org/habeas", None, "https://habeas.blob.ml.example.org"),
            ("https://ml.example.org", Some("files.blob.example.net"), "https://files.blob.example.net"),
        ] {
            assert_eq!(BlobHost::new(base, configured).base(), expected);
        }
        for good in ["files.blob.example.org", "a.blob.localhost:8443"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["files.example.org", "a.b.blob.c", "https://a.blob.c", ".blob.c", "a.blob."] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn requests_to_such_a_host_are_routed_to_the_files() {
        let routed = |host: &str| {
            let request = Request::get("/c/a%20b?sig=1").header("host", host).body(()).unwrap();
            route(request).uri().to_string()
        };
        assert_eq!(routed("habeas.Blob.localhost:8443"), "/azure-blob/c/a%20b?sig=1");
        for other in ["localhost:8443", "blob.example.org", "a.blob", "127.0.0.1"] {
            assert_eq!(routed(other), "/c/a%20b?sig=1", "{other}");
        }
    }
}
