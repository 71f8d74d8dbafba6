//! A typed client of `/api/privacy/v1` and `/api/import/v1`, and of the dataset operations of the training API, over HTTP(S) with a bearer
//! token or over the server's own socket.

mod import;
mod login;

use std::path::Path;

use bytes::Bytes;
use futures::Stream;
use habeas_core::Id;
use habeas_core::kinds::ExportFormat;
use habeas_core::operations::{BackupReport, DoctorReport};
use habeas_core::receipt::Logged;
use habeas_core::report::{
    ConsistencyReport, DepictionReport, EntriesReport, ErasureReport, ExportReport, HoldReport,
    HoldingsReport, IssuedReport, KeyReport, KeysReport, MemberReport, PersonCreatedReport, PersonReport,
    PlanReport, RectificationReport, RequestPage, RequestPlanReport, RequestReport, RequestStatusReport,
    RestrictionReport, RetentionReport, TransferReport,
};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, RANGE};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub use import::Brought;
pub use login::{DeviceLogin, IssuedTokens};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused; `status` says in what way.
    #[error("{title}{}", detail.as_ref().map(|detail| format!("\nhint: {detail}")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What was wrong.
        title: String,
        /// What to do about it.
        detail: Option<String>,
    },
    /// The server could not be reached, or its answer broke off.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The answer is not what this version of the client knows.
    #[error("the server's answer cannot be read: is it a habeas server of the same version?")]
    Unreadable,
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// What became of an imported dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetReport {
    /// Whether all of it could be used.
    pub is_batch_successful: bool,
    /// Tags that were made.
    pub tags_created: u64,
    /// Images that were made.
    pub images_created: u64,
    /// Images that were there already.
    pub images_duplicate: u64,
    /// What could not be used, altogether.
    pub problem_count: u64,
    /// The first of it.
    pub problems: Vec<DatasetProblem>,
}

/// A file of an archive that could not be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatasetProblem {
    /// The file.
    pub file: String,
    /// The protocol's word for what is wrong.
    pub status: String,
    /// What is wrong.
    pub message: String,
}

/// How an archive is sealed while it is written: what comes is an age file.
#[derive(Clone)]
pub enum Seal {
    /// For the holder of this age public key.
    Recipient(String),
    /// With a passphrase.
    Passphrase(Zeroizing<String>),
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the server at `url` (`https://host:port`), as the person whose bearer token is given.
    pub fn new(url: &str, token: Option<String>) -> Result<Client> {
        let http = reqwest::Client::builder().build().map_err(unreachable)?;
        Ok(Client { http, base: url.trim_end_matches('/').to_owned(), token })
    }

    /// A client of the server whose socket this is, as its operator.
    pub fn over_socket(socket: &Path) -> Result<Client> {
        let http = reqwest::Client::builder().unix_socket(socket).build().map_err(unreachable)?;
        Ok(Client { http, base: "http://localhost".to_owned(), token: None })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.call(method, &format!("/api/privacy/v1{path}"))
    }

    fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.authorised(self.http.request(method, format!("{}{path}", self.base)))
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response> {
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body: Value = response.json().await.unwrap_or_default();
        Err(Error::Refused {
            status: status.as_u16(),
            // The training API has an envelope of its own.
            title: body["title"]
                .as_str()
                .or(body["message"].as_str())
                .unwrap_or(status.canonical_reason().unwrap_or("refused"))
                .to_owned(),
            detail: body["detail"].as_str().map(str::to_owned),
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(self.request(Method::GET, path)).await?.json().await.map_err(|_| Error::Unreadable)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(self.request(Method::POST, path).json(body))
            .await?
            .json()
            .await
            .map_err(|_| Error::Unreadable)
    }

    /// Whether a server answers.
    pub async fn is_alive(&self) -> bool {
        let request = self.http.get(format!("{}/healthz", self.base));
        request.send().await.is_ok_and(|response| response.status().is_success())
    }

    /// The person named by e-mail address or object id.
    pub async fn find_person(&self, email_or_id: &str) -> Result<PersonReport> {
        if !email_or_id.contains('@') {
            return self.get(&format!("/persons/{}", encode(email_or_id))).await;
        }
        let found: Vec<PersonReport> = self.get(&format!("/persons?email={}", encode(email_or_id))).await?;
        found.into_iter().next().ok_or(Error::Unreadable)
    }

    /// The object id of a person named by e-mail address or object id. An object id is not looked up: whoever may name somebody need not be of the
    /// staff, who may look for anybody.
    pub async fn object_id(&self, email_or_id: &str) -> Result<String> {
        if email_or_id.parse::<Id>().is_ok() {
            return Ok(email_or_id.to_owned());
        }
        Ok(self.find_person(email_or_id).await?.object_id)
    }

    /// Persons in the order of their ids, after `after`.
    pub async fn persons(&self, after: Option<&str>) -> Result<Vec<PersonReport>> {
        match after {
            Some(after) => self.get(&format!("/persons?after={}", encode(after))).await,
            None => self.get("/persons").await,
        }
    }

    /// Makes a person.
    pub async fn create_person(
        &self,
        email: &str,
        name: &str,
        account_type: &str,
    ) -> Result<PersonCreatedReport> {
        self.post("/persons", &json!({ "email": email, "name": name, "accountType": account_type })).await
    }

    /// Images whose metadata names somebody exactly so, by whose they are, and persons whose programs sent exactly this login name.
    pub async fn find_depicted(&self, name: &str) -> Result<Vec<DepictionReport>> {
        self.get(&format!("/unclaimed?name={}", encode(name))).await
    }

    /// Takes up the person whom images name so, in the images of `holder` only unless the name is an e-mail address.
    pub async fn take_up(&self, name: &str, holder: Option<&str>) -> Result<PersonReport> {
        self.post("/unclaimed", &json!({ "name": name, "holder": holder })).await
    }

    /// Says that an unclaimed person is the one with an account.
    pub async fn link_unclaimed(&self, unclaimed: &str, person: &str) -> Result<PersonReport> {
        self.post(&format!("/unclaimed/{}/link", encode(unclaimed)), &json!({ "person": person })).await
    }

    /// Everything held on a person.
    pub async fn holdings(&self, person: &str) -> Result<HoldingsReport> {
        self.get(&format!("/persons/{}/holdings", encode(person))).await
    }

    /// Issues a bearer token: of the caller's own, or as the operator.
    pub async fn create_token(&self, person: &str, label: &str, days: Option<u32>) -> Result<IssuedReport> {
        self.post(&format!("/persons/{}/tokens", encode(person)), &json!({ "label": label, "days": days }))
            .await
    }

    /// Makes a link that signs in once; `secret` is the path to open. As the operator.
    pub async fn create_sign_in_link(&self, person: &str) -> Result<IssuedReport> {
        self.post(&format!("/persons/{}/sign-in-links", encode(person)), &json!({})).await
    }

    /// Sets a person's password: the caller's own, or as the operator.
    pub async fn set_password(&self, person: &str, password: &str) -> Result<()> {
        let request = self.request(Method::PUT, &format!("/persons/{}/password", encode(person)));
        self.send(request.json(&json!({ "password": password }))).await.map(|_| ())
    }

    /// Gives a person a role of the staff, or takes it away.
    pub async fn set_role(&self, person: &str, role: &str, granted: bool) -> Result<()> {
        let request = self.request(Method::PUT, &format!("/persons/{}/role", encode(person)));
        self.send(request.json(&json!({ "role": role, "granted": granted }))).await.map(|_| ())
    }

    /// Makes an organisation; `owner` is the object id of its first owner.
    pub async fn create_organisation(&self, name: &str, owner: &str) -> Result<PersonCreatedReport> {
        self.post("/organisations", &json!({ "name": name, "owner": owner })).await
    }

    /// The members of an organisation.
    pub async fn members(&self, organisation: &str) -> Result<Vec<MemberReport>> {
        self.get(&format!("/organisations/{}/members", encode(organisation))).await
    }

    /// The keys of an organisation's Custom Vision accounts, for its owners.
    pub async fn organisation_keys(&self, organisation: &str) -> Result<Vec<KeysReport>> {
        self.get(&format!("/organisations/{}/keys", encode(organisation))).await
    }

    /// Gives an organisation's accounts and services new keys; those of the accounts.
    pub async fn renew_organisation_keys(&self, organisation: &str) -> Result<Vec<KeysReport>> {
        self.post(&format!("/organisations/{}/keys", encode(organisation)), &serde_json::json!({})).await
    }

    /// Gives a person a role in an organisation: `owner`, `contributor`, `trainer`, `labeler`, `deployment` or `reader`.
    pub async fn set_member(&self, organisation: &str, person: &str, role: &str) -> Result<()> {
        let path = format!("/organisations/{}/members/{}", encode(organisation), encode(person));
        self.send(self.request(Method::PUT, &path).json(&json!({ "role": role }))).await.map(|_| ())
    }

    /// Ends a membership.
    pub async fn remove_member(&self, organisation: &str, person: &str) -> Result<()> {
        let path = format!("/organisations/{}/members/{}", encode(organisation), encode(person));
        self.send(self.request(Method::DELETE, &path)).await.map(|_| ())
    }

    /// Plans the deletion of an organisation.
    pub async fn plan_organisation_erasure(&self, organisation: &str) -> Result<PlanReport> {
        self.post(&format!("/organisations/{}/erasure-plans", encode(organisation)), &json!({})).await
    }

    /// Corrects what is held on a person; `change` is the body of `PATCH /persons/{person}`. The caller's own new address is theirs when the
    /// code that was sent there is given back ([`Client::verify_request`] of the report's `address_change`).
    pub async fn rectify(&self, person: &str, change: &Value) -> Result<RectificationReport> {
        self.send(self.request(Method::PATCH, &format!("/persons/{}", encode(person))).json(change))
            .await?
            .json()
            .await
            .map_err(|_| Error::Unreadable)
    }

    /// Restricts the processing of a person's data, or lifts the restriction; when it ends, if it goes on until the person has had notice.
    pub async fn restrict(&self, person: &str, restricted: bool) -> Result<Option<RestrictionReport>> {
        let request = self.request(Method::PUT, &format!("/persons/{}/restriction", encode(person)));
        let response = self.send(request.json(&json!({ "restricted": restricted }))).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Ok(None);
        }
        response.json().await.map(Some).map_err(|_| Error::Unreadable)
    }

    /// The retention rules, and what they would delete now.
    pub async fn plan_retention(&self) -> Result<RetentionReport> {
        self.get("/retention").await
    }

    /// Deletes what the retention rules no longer keep.
    pub async fn run_retention(&self) -> Result<RetentionReport> {
        self.post("/retention", &json!({})).await
    }

    /// Places a legal hold on a resource, with all that stands under it.
    pub async fn place_hold(
        &self,
        target: &str,
        matter: &str,
        reason: &str,
        until: Option<&str>,
    ) -> Result<HoldReport> {
        let body = json!({ "target": target, "matter": matter, "reason": reason, "until": until });
        self.post("/holds", &body).await
    }

    /// Legal holds, oldest first; those on what `holder` holds, if one is named.
    pub async fn holds(&self, holder: Option<&str>) -> Result<Vec<HoldReport>> {
        match holder {
            Some(holder) => self.get(&format!("/holds?holder={}", encode(holder))).await,
            None => self.get("/holds").await,
        }
    }

    /// Moves the day on which a legal hold ends by itself; without one it lasts until it is released.
    pub async fn extend_hold(&self, hold: &str, until: Option<&str>) -> Result<HoldReport> {
        let request = self.request(Method::PATCH, &format!("/holds/{}", encode(hold)));
        let response = self.send(request.json(&json!({ "until": until }))).await?;
        response.json().await.map_err(|_| Error::Unreadable)
    }

    /// Releases a legal hold.
    pub async fn release_hold(&self, hold: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, &format!("/holds/{}", encode(hold)))).await.map(|_| ())
    }

    /// An archive as it is written, with its data once more in `formats`; nothing is stored on the server.
    pub async fn stream_export(
        &self,
        person: &str,
        formats: &[ExportFormat],
        seal: Option<&Seal>,
    ) -> Result<impl Stream<Item = Result<Bytes>> + use<>> {
        use futures::TryStreamExt as _;
        let request = self.request(Method::POST, &format!("/persons/{}/export", encode(person)));
        let response = self.send(request.json(&wanted(formats, seal))).await?;
        Ok(response.bytes_stream().map_err(unreachable))
    }

    /// Orders an archive that is kept for a week.
    pub async fn create_export(
        &self,
        person: &str,
        formats: &[ExportFormat],
        seal: Option<&Seal>,
    ) -> Result<ExportReport> {
        self.post(&format!("/persons/{}/exports", encode(person)), &wanted(formats, seal)).await
    }

    /// A person's archives, newest first.
    pub async fn exports(&self, person: &str) -> Result<Vec<ExportReport>> {
        self.get(&format!("/persons/{}/exports", encode(person))).await
    }

    /// How far an archive has come.
    pub async fn export(&self, id: &str) -> Result<ExportReport> {
        self.get(&format!("/exports/{}", encode(id))).await
    }

    /// The bytes of an archive from `from` on.
    pub async fn export_content(
        &self,
        id: &str,
        from: u64,
    ) -> Result<impl Stream<Item = Result<Bytes>> + use<>> {
        use futures::TryStreamExt as _;
        let mut request = self.request(Method::GET, &format!("/exports/{}/content", encode(id)));
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = self.send(request).await?;
        if from > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(Error::Unreadable);
        }
        Ok(response.bytes_stream().map_err(unreachable))
    }

    fn dataset(&self, method: Method, project: &str, format: &str) -> reqwest::RequestBuilder {
        let (base, project, format) = (&self.base, encode(project), encode(format));
        let path = format!("/customvision/v3.4-preview/training/projects/{project}/dataset?format={format}");
        self.authorised(self.http.request(method, format!("{base}{path}")))
    }

    /// A project's images with their tags and regions, as a ZIP in one of the dataset formats.
    pub async fn export_dataset(
        &self,
        project: &str,
        format: &str,
    ) -> Result<impl Stream<Item = Result<Bytes>> + use<>> {
        use futures::TryStreamExt as _;
        let response = self.send(self.dataset(Method::GET, project, format)).await?;
        Ok(response.bytes_stream().map_err(unreachable))
    }

    /// Imports a ZIP of `length` bytes in one of the dataset formats.
    pub async fn import_dataset(
        &self,
        project: &str,
        format: &str,
        length: u64,
        archive: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<DatasetReport> {
        let request = self
            .dataset(Method::POST, project, format)
            .header(CONTENT_TYPE, "application/zip")
            .header(CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap_stream(archive));
        self.send(request).await?.json().await.map_err(|_| Error::Unreadable)
    }

    /// Takes in a request of, or about, a person. `details` are the optional members of `CreateRequest` in the API's description.
    pub async fn create_request(&self, person: &str, asked: &str, details: Value) -> Result<RequestReport> {
        let mut body = details;
        body["type"] = Value::String(asked.to_owned());
        self.post(&format!("/persons/{}/requests", encode(person)), &body).await
    }

    /// Takes in a request by an e-mail address alone, which may be nobody's. `details` are the optional members of `TakeIn` in the API's
    /// description.
    pub async fn take_in_request(
        &self,
        email: &str,
        asked: &str,
        details: Value,
    ) -> Result<RequestStatusReport> {
        let mut body = details;
        body["type"] = Value::String(asked.to_owned());
        body["email"] = Value::String(email.to_owned());
        self.post("/requests", &body).await
    }

    /// The queue of requests, newest first; `query` holds names and values of the filters.
    pub async fn requests(&self, query: &[(&str, &str)]) -> Result<RequestPage> {
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        self.get(&format!("/requests?{}", query.join("&"))).await
    }

    /// A person's requests, newest first.
    pub async fn requests_of(&self, person: &str) -> Result<Vec<RequestReport>> {
        self.get(&format!("/persons/{}/requests", encode(person))).await
    }

    /// A request in full.
    pub async fn show_request(&self, request: &str) -> Result<RequestReport> {
        self.get(&format!("/requests/{}", encode(request))).await
    }

    /// What the erasure that a request asks for would do now.
    pub async fn request_plan(&self, request: &str) -> Result<RequestPlanReport> {
        self.get(&format!("/requests/{}/plan", encode(request))).await
    }

    /// Verifies a request by its one-time code.
    pub async fn verify_request(&self, request: &str, code: &str) -> Result<RequestStatusReport> {
        self.post(&format!("/requests/{}/verify", encode(request)), &json!({ "code": code })).await
    }

    /// Decides about a request or notes something: `decision` is `confirm-identity`, `approve`, `deny`, `extend`, `comments`, `complete`
    /// or `cancel`, with the body that the API's description names.
    pub async fn decide_request(&self, request: &str, decision: &str, body: &Value) -> Result<RequestReport> {
        self.post(&format!("/requests/{}/{decision}", encode(request)), body).await
    }

    /// Plans an erasure.
    pub async fn plan_erasure(&self, person: &str) -> Result<PlanReport> {
        self.plan_erasure_with(person, &json!({})).await
    }

    /// Plans an erasure with decisions: who takes over, what else goes (`PlanErasure` in the API's description).
    pub async fn plan_erasure_with(&self, person: &str, decisions: &Value) -> Result<PlanReport> {
        self.post(&format!("/persons/{}/erasure-plans", encode(person)), decisions).await
    }

    /// Decides what the plan of a requested erasure offers; the plan as it is then.
    pub async fn choose_for_request(&self, request: &str, decisions: &Value) -> Result<RequestPlanReport> {
        let path = format!("/requests/{}/decisions", encode(request));
        let response = self.send(self.request(Method::PUT, &path).json(decisions)).await?;
        response.json().await.map_err(|_| Error::Unreadable)
    }

    /// Hands a project, an account or a workspace over to a person, an organisation or, for a project, an account.
    pub async fn transfer(&self, resource: &str, to: &str) -> Result<TransferReport> {
        self.post("/transfers", &json!({ "resource": resource, "to": to })).await
    }

    /// Runs a plan.
    pub async fn run_erasure(
        &self,
        plan: &str,
        confirm: &str,
        digest: Option<&str>,
    ) -> Result<ErasureReport> {
        self.post("/erasures", &json!({ "plan": plan, "confirm": confirm, "digest": digest })).await
    }

    /// How far an erasure has come.
    pub async fn erasure(&self, plan: &str) -> Result<ErasureReport> {
        self.get(&format!("/erasures/{}", encode(plan))).await
    }

    /// Calls an erasure off.
    pub async fn cancel_erasure(&self, plan: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, &format!("/erasures/{}", encode(plan)))).await.map(|_| ())
    }

    /// The receipt of a completed erasure.
    pub async fn erasure_receipt(&self, plan: &str) -> Result<Value> {
        self.get(&format!("/erasures/{}/receipt", encode(plan))).await
    }

    /// The public key that verifies receipts, in hexadecimal.
    pub async fn public_key(&self) -> Result<String> {
        let report: Value = self.get("/public-key").await?;
        report["publicKey"].as_str().map(str::to_owned).ok_or(Error::Unreadable)
    }

    /// The keys that have signed receipts and checkpoints, oldest first.
    pub async fn log_keys(&self) -> Result<Vec<KeyReport>> {
        self.get("/log/keys").await
    }

    /// Lets a new key sign from now on; every key, oldest first.
    pub async fn rotate_signing_key(&self) -> Result<Vec<KeyReport>> {
        let response = self.send(self.request(Method::POST, "/log/keys")).await?;
        response.json().await.map_err(|_| Error::Unreadable)
    }

    /// The signed state of the log of receipts.
    pub async fn checkpoint(&self) -> Result<String> {
        let response = self.send(self.request(Method::GET, "/log/checkpoint")).await?;
        response.text().await.map_err(|_| Error::Unreadable)
    }

    /// The proof that a receipt is in the log.
    pub async fn inclusion(&self, receipt: &str) -> Result<Logged> {
        self.get(&format!("/log/inclusion/{}", encode(receipt))).await
    }

    /// The proof that the log of `from` entries is the beginning of that of `to`, or of today's.
    pub async fn consistency(&self, from: u64, to: Option<u64>) -> Result<ConsistencyReport> {
        let to = to.map(|to| format!("&to={to}")).unwrap_or_default();
        self.get(&format!("/log/consistency?from={from}{to}")).await
    }

    /// Entries of the log from `from` on.
    pub async fn log_entries(&self, from: u64) -> Result<EntriesReport> {
        self.get(&format!("/log/entries?from={from}")).await
    }

    /// SHA-256 digests, in hexadecimal, of exported models that must no longer be used.
    pub async fn revoked_models(&self) -> Result<Vec<String>> {
        self.get("/revoked-models").await
    }

    /// The state of the server.
    pub async fn doctor(&self, scan: bool) -> Result<DoctorReport> {
        self.get(&format!("/doctor?scan={scan}")).await
    }

    /// Backs up into a folder on the server's machine.
    pub async fn create_backup(&self, destination: &str) -> Result<BackupReport> {
        self.post("/backups", &json!({ "destination": destination })).await
    }
}

fn unreachable(error: reqwest::Error) -> Error {
    // The address can hold an e-mail address in its query.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    Error::Unreachable(text)
}

/// How an archive is to be, as a body says it.
fn wanted(formats: &[ExportFormat], seal: Option<&Seal>) -> Value {
    let mut body = json!({ "formats": formats });
    match seal {
        Some(Seal::Recipient(key)) => body["recipient"] = json!(key),
        Some(Seal::Passphrase(passphrase)) => body["passphrase"] = json!(passphrase.as_str()),
        None => {}
    }
    body
}

/// Percent-encodes a path segment or query value.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_survive_a_query_string() {
        assert_eq!(super::encode("ada+x@example.org"), "ada%2Bx%40example.org");
    }
}
