//! Calls to addresses that clients name: images to be fetched, programs to be notified. Off unless the operator allows them.
//!
//! **Invariant:** nothing that a client names is ever sent to an address that is not public, or whose host the operator did not name. A client must not
//! reach through the server what only the server can reach. Names are resolved here, and the connection goes to the addresses that were looked at, so that a name cannot change in
//! between; redirects are followed one by one under the same rules. Proxies of the environment are not used.

mod address;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use habeas_core::{Error, Result, fault};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;

pub use address::is_public;
pub use reqwest::Method;

/// How long a call may take altogether.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long something large may take altogether, of which each piece comes within [`TIMEOUT`].
const LONG_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Redirects followed.
const REDIRECTS: usize = 5;

/// Which calls the operator allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether any are.
    pub enabled: bool,
    /// The hosts that may be called, exactly or as `*.example.org`; all public ones when empty.
    pub hosts: Vec<String>,
    /// Whether addresses that are not public may be called: only for addresses that the operator wrote into the configuration.
    pub private: bool,
    /// Hosts that may be called in any case, also at addresses that are not public; spelled as `hosts`.
    pub trusted: Vec<String>,
}

impl Policy {
    fn permits(&self, host: &str) -> bool {
        self.hosts.is_empty() || is_listed(&self.hosts, host)
    }
}

/// Whether a host is one of a list, exactly or as `*.example.org`.
fn is_listed(list: &[String], host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    list.iter().any(|listed| {
        let listed = listed.to_ascii_lowercase();
        match listed.strip_prefix("*.") {
            Some(domain) => {
                host.strip_suffix(domain).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            None => host == listed,
        }
    })
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The body.
    pub bytes: Bytes,
    /// The media type that the answer names.
    pub media_type: Option<String>,
}

/// What is being fetched piece by piece. Not to be shown: it knows the address.
pub struct Incoming {
    response: Response,
    /// How many bytes may still come.
    left: u64,
    most: u64,
}

impl Incoming {
    fn new(response: Response, most: u64) -> Result<Incoming> {
        if response.content_length().is_some_and(|length| length > most) {
            return Err(larger_than(most));
        }
        Ok(Incoming { response, left: most, most })
    }

    /// The headers of the answer.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next piece of the body; none at its end. Errors as for [`Outgoing::get`], also when the body ends before it is whole.
    pub async fn piece(&mut self) -> Result<Option<Bytes>> {
        let piece = tokio::time::timeout(TIMEOUT, self.response.chunk()).await.map_err(|_| late())?;
        let piece = piece.map_err(|error| {
            if error.is_timeout() { late() } else { Error::unavailable("the far end broke off") }
        })?;
        let length = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        self.left = self.left.checked_sub(length).ok_or_else(|| larger_than(self.most))?;
        Ok(piece)
    }
}

fn larger_than(most: u64) -> Error {
    Error::too_large(format!("what is at the address is larger than {most} bytes"))
}

fn late() -> Error {
    Error::unavailable("the far end did not answer in time")
}

/// Makes the calls. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    policy: Policy,
    /// None where no calls are allowed: nothing of it is needed then, not even the system's certificates.
    http: Option<reqwest::Client>,
}

impl Outgoing {
    /// Calls under this policy.
    pub fn new(policy: Policy) -> Result<Outgoing> {
        if !policy.enabled && policy.trusted.is_empty() {
            return Ok(Outgoing { policy, http: None });
        }
        // Someone else may have chosen one already; it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("habeas/", env!("CARGO_PKG_VERSION")));
        if !policy.private {
            http = http.dns_resolver(PublicOnly { trusted: policy.trusted.clone() });
        }
        let http =
            http.build().map_err(|_| Error::internal("the client for outgoing calls could not be made"))?;
        Ok(Outgoing { policy, http: Some(http) })
    }

    /// Whether the operator allows calls to others than trusted hosts.
    pub fn is_enabled(&self) -> bool {
        self.policy.enabled
    }

    /// Fetches at most `most` bytes. Errors: calls are not allowed, or not to this address ([`habeas_core::ErrorKind::Invalid`]); the body is
    /// larger ([`habeas_core::ErrorKind::TooLarge`]); the far end refuses ([`habeas_core::ErrorKind::Invalid`]) or cannot be reached
    /// ([`habeas_core::ErrorKind::Unavailable`]). None of them names the address.
    pub async fn get(&self, address: &str, most: u64) -> Result<Fetched> {
        let (mut url, http) = (self.checked(address)?, self.client()?);
        for _ in 0..=REDIRECTS {
            let response = http.request(Method::GET, url.clone()).send().await.map_err(unreachable)?;
            if !response.status().is_redirection() {
                return body(accepted(response)?, most).await;
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            url =
                self.checked(next.ok_or_else(|| Error::invalid("the address redirects nowhere"))?.as_str())?;
        }
        Err(Error::invalid(format!("the address redirects more than {REDIRECTS} times")))
    }

    /// Begins to fetch something large with these headers: at most `most` bytes, piece by piece, within an hour. Errors as for
    /// [`Outgoing::get`]. Redirects are refused: the address may have a signature that is meant for it alone.
    pub async fn open(&self, address: &str, headers: &[(&str, &str)], most: u64) -> Result<Incoming> {
        let (url, http) = (self.checked(address)?, self.client()?);
        let mut request = http.request(Method::GET, url).timeout(LONG_TIMEOUT);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = tokio::time::timeout(TIMEOUT, request.send()).await.map_err(|_| late())?;
        Incoming::new(accepted(response.map_err(unreachable)?)?, most)
    }

    /// Posts JSON; whatever is answered with a 2xx status is dropped. Errors as for [`Outgoing::get`]. Redirects are refused.
    pub async fn post(&self, address: &str, body: &Value) -> Result<()> {
        let (url, http) = (self.checked(address)?, self.client()?);
        let request = http.request(Method::POST, url).json(body);
        accepted(request.send().await.map_err(unreachable)?).map(|_| ())
    }

    /// Sends `body` with these headers and returns at most `most` bytes of a 2xx answer. Errors as for [`Outgoing::get`]. Redirects are
    /// refused: what is sent is meant for this address alone.
    pub async fn send(
        &self,
        method: Method,
        address: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        most: u64,
    ) -> Result<Fetched> {
        let (url, http) = (self.checked(address)?, self.client()?);
        let mut request = http.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.map_err(unreachable)?;
        self::body(accepted(response)?, most).await
    }

    /// Posts a message that is sent again until the far end takes it. Whatever it answers instead may be otherwise later
    /// ([`habeas_core::ErrorKind::Unavailable`]), since one that is being changed answers anything for a while; but 410, by which it says that
    /// it wants none any more ([`habeas_core::ErrorKind::Invalid`]). What it answers beside a 2xx status is dropped. Redirects are no success.
    pub async fn deliver(&self, address: &str, headers: &[(&str, &str)], body: Bytes) -> Result<()> {
        let (url, http) = (self.checked(address)?, self.client()?);
        let mut request = http.request(Method::POST, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.map_err(unreachable)?;
        answered(response, |status| status != StatusCode::GONE).map(|_| ())
    }

    /// Succeeds when this address may be called; names are looked at again when it is. Errors as for [`Outgoing::get`].
    pub fn check(&self, address: &str) -> Result<()> {
        self.checked(address).map(|_| ())
    }

    fn client(&self) -> Result<&reqwest::Client> {
        self.http.as_ref().ok_or_else(switched_off)
    }

    /// The address, if it may be called. Names are looked at again when they are resolved.
    fn checked(&self, address: &str) -> Result<Url> {
        self.client()?;
        let refused = |what: &str| Error::invalid(format!("the address cannot be called: {what}"));
        let url: Url = address.parse().map_err(|_| refused("it is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("it begins neither with https:// nor with http://"));
        }
        let host = url.host_str().ok_or_else(|| refused("it names no host"))?.to_owned();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if is_listed(&self.policy.trusted, bare) {
            return Ok(url);
        }
        if !self.policy.enabled {
            return Err(switched_off());
        }
        if !self.policy.permits(&host) {
            return Err(refused("the operator does not allow its host"));
        }
        // A number in place of a name is not resolved. Odd spellings of it were brought into one by the parser.
        if !self.policy.private && bare.parse::<IpAddr>().is_ok_and(|ip| !may_call(ip)) {
            return Err(refused("it is not public"));
        }
        Ok(url)
    }
}

fn switched_off() -> Error {
    Error::invalid("this server makes no outgoing calls")
        .hint("its operator can allow them with --fetch-urls")
}

/// Whether a call may go to this address. A test may switch the rule off to reach itself.
fn may_call(ip: IpAddr) -> bool {
    is_public(ip) || fault::is_switched_off("public-only")
}

fn accepted(response: Response) -> Result<Response> {
    answered(response, |status| {
        status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
    })
}

/// An answer of success; another one is an error, which may pass or not.
fn answered(response: Response, may_pass: impl Fn(StatusCode) -> bool) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let what = format!("the far end answered with status {}", status.as_u16());
    Err(if may_pass(status) { Error::unavailable(what) } else { Error::invalid(what) })
}

async fn body(response: Response, most: u64) -> Result<Fetched> {
    let mut incoming = Incoming::new(response, most)?;
    let media_type = incoming.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.map(str::to_owned);
    let mut bytes = Vec::new();
    while let Some(piece) = incoming.piece().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(Fetched { bytes: bytes.into(), media_type })
}

/// The library's own words name the address, which can be a secret.
fn unreachable(error: reqwest::Error) -> Error {
    if error.is_timeout() {
        return late();
    }
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if cause.downcast_ref::<NotPublic>().is_some() {
            return Error::invalid("the address cannot be called: it is not public");
        }
        source = cause.source();
    }
    Error::unavailable("the far end cannot be reached")
}

/// Every address of a name is one that may not be called.
#[derive(Debug)]
struct NotPublic;

impl std::fmt::Display for NotPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name has no public address")
    }
}

impl std::error::Error for NotPublic {}

/// Resolves names to their public addresses only, but for names that are trusted.
#[derive(Debug)]
struct PublicOnly {
    trusted: Vec<String>,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let is_trusted = is_listed(&self.trusted, name.as_str());
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> =
                found.into_iter().filter(|found| is_trusted || may_call(found.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(hosts: &[&str]) -> Outgoing {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        Outgoing::new(Policy { enabled: true, hosts, ..Policy::default() }).unwrap()
    }

    #[test]
    fn trusted_hosts_are_called_wherever_they_lie_and_although_no_others_are() {
        let trusted: Vec<String> = ["10.0.0.7", "::1", "*.internal.example"].map(str::to_owned).to_vec();
        for enabled in [true, false] {
            let policy = Policy { enabled, trusted: trusted.clone(), ..Policy::default() };
            let outgoing = Outgoing::new(policy).unwrap();
            for (address, allowed) in [
                ("http://10.0.0.7:8080/hook", true),
                ("http://0x0a000007/", true),
                ("http://[::1]/", true),
                ("https://annotators.internal.example/", true),
                ("http://10.0.0.8/", false),
                ("ftp://10.0.0.7/", false),
                ("https://example.org/", enabled),
            ] {
                assert_eq!(outgoing.checked(address).is_ok(), allowed, "{enabled} {address}");
            }
        }
    }

    #[tokio::test]
    async fn a_trusted_name_of_this_machine_is_called() {
        let policy = Policy { trusted: vec!["localhost".to_owned()], ..Policy::default() };
        let outgoing = Outgoing::new(policy).unwrap();
        // Nothing listens there.
        let error = outgoing.deliver("http://localhost:9/", &[], Bytes::new()).await.unwrap_err();
        assert_eq!(error.kind, habeas_core::ErrorKind::Unavailable, "{error}");
    }

    #[test]
    fn addresses_that_are_not_public_are_refused_in_every_spelling() {
        let outgoing = outgoing(&[]);
        for address in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://192.168.1.1:8080/",
            "ftp://example.org/",
            "file:///etc/passwd",
            "example.org",
            "http://",
        ] {
            let error = outgoing.checked(address).unwrap_err();
            assert_eq!(error.kind, habeas_core::ErrorKind::Invalid, "{address}");
            assert!(!error.to_string().contains("192.168"), "{error}");
        }
        assert!(outgoing.checked("https://example.org/a?b").is_ok());
    }

    #[test]
    fn hosts_are_allowed_exactly_or_below_a_domain() {
        let outgoing = outgoing(&["example.org", "*.example.net"]);
        for (host, allowed) in [
            ("example.org", true),
            ("EXAMPLE.org.", true),
            ("a.example.org", false),
            ("a.example.net", true),
            ("example.net", false),
            ("badexample.net", false),
        ] {
            assert_eq!(outgoing.checked(&format!("https://{host}/")).is_ok(), allowed, "{host}");
        }
        let off = Outgoing::new(Policy::default()).unwrap();
        assert!(off.checked("https://example.org/").unwrap_err().hint.unwrap().contains("--fetch-urls"));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_called() {
        let error = outgoing(&[]).get("http://localhost:9/", 10).await.unwrap_err();
        assert_eq!(error.kind, habeas_core::ErrorKind::Invalid, "{error}");
    }
}
