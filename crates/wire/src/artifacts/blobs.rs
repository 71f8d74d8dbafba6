//! The blob endpoint: what Azure's storage clients send and fetch at signed addresses, as block blobs, or as append blobs.
//!
//! Source: Azure Storage's REST reference (Put Blob, Put Block, Put Block List, Append Block, Get Blob, Get Blob Properties) and what
//! `azureml-core` 1.61 and `azure-storage-blob` send. Whoever has the address needs no token. Below a bare address there is nothing to list.

use std::collections::HashMap;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{
    CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_access::{Permission, authorise};
use habeas_core::kinds::{Artifact, ArtifactDoc, LifecycleStage, Run, Snapshot};
use habeas_core::{BlobRef, Error, ErrorKind, Id, Kind, Node, Result as CoreResult};
use habeas_store::{HolderState, Tx, UNIQUE_VIOLATION};

use super::call::parameters;
use super::{appending, blocks};
use crate::artifact_files::{self, Expected, media_type};
use crate::data_services;
use crate::file_address::{self, Grant};
use crate::{App, stream};

/// A block list: 50,000 names of at most 64 bytes, each in an element.
const LARGEST_LIST: usize = 8 * 1024 * 1024;

/// Headers of Azure's storage.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");
const SERVICE_VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const ENCRYPTED: HeaderName = HeaderName::from_static("x-ms-request-server-encrypted");
const MS_RANGE: HeaderName = HeaderName::from_static("x-ms-range");
const MD5: HeaderName = HeaderName::from_static("content-md5");
/// What is said of the file, whichever request makes it.
const FILE_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-content-type");
const FILE_MD5: HeaderName = HeaderName::from_static("x-ms-blob-content-md5");
/// Where in its file a block begins that was appended.
const APPEND_OFFSET: HeaderName = HeaderName::from_static("x-ms-blob-append-offset");
/// How the headers begin that would give a file names and values of its own.
const METADATA: &str = "x-ms-meta-";
/// The longest media type, in bytes.
const LONGEST_TYPE: usize = 255;
/// `azureml-core` sends this in place of an MD5, as base64.
const SHA256: HeaderName = HeaderName::from_static("content-sha256");

/// An error on its way to a client of Azure's storage, which reads its code in a header and in XML.
#[derive(Debug)]
pub struct Failure(pub Error);

pub(super) type Result<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, _) = data_services::status(&self.0);
        let status = match self.0.code {
            Some(CONDITION | appending::TOO_LARGE | appending::ELSEWHERE) => StatusCode::PRECONDITION_FAILED,
            _ => status,
        };
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::error!(error = format_args!("{:#}", self.0), "a request failed");
        }
        let code = self.0.code.unwrap_or(match self.0.kind {
            ErrorKind::NotFound | ErrorKind::Gone => "BlobNotFound",
            ErrorKind::Forbidden | ErrorKind::Unauthenticated => "AuthorizationFailure",
            ErrorKind::TooLarge => "RequestBodyTooLarge",
            ErrorKind::Conflict | ErrorKind::Frozen => "BlobOperationNotAllowed",
            ErrorKind::Busy | ErrorKind::Unavailable => "ServerBusy",
            ErrorKind::Damaged | ErrorKind::Internal => "InternalError",
            ErrorKind::Invalid | ErrorKind::LimitExceeded | ErrorKind::NotImplemented => "InvalidInput",
        });
        let message = quick_xml::escape::escape(self.0.to_string()).into_owned();
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        let headers = [(CONTENT_TYPE, "application/xml"), (ERROR_CODE, code)];
        (status, headers, body).into_response()
    }
}

/// The code of a blob that is not the one that `If-Match` names.
const CONDITION: &str = "ConditionNotMet";

/// A request whose address was checked.
pub(super) struct Checked {
    pub(super) app: App,
    pub(super) grant: Grant,
    parameters: HashMap<String, String>,
    /// Whether nothing may be overwritten.
    only_new: bool,
}

impl Checked {
    pub(super) fn new(app: App, owner: &str, path: &str, request: &Request) -> CoreResult<Checked> {
        let parameters = parameters(request.uri().query());
        let grant = file_address::check(&app, owner, path, &parameters)?;
        let only_new = request.headers().get(IF_NONE_MATCH).is_some_and(|value| value == "*");
        Ok(Checked { app, grant, parameters, only_new })
    }

    /// What finds the owner, if the person of the address may still do this with it.
    pub(super) fn owner(
        &self,
        permission: Permission,
    ) -> CoreResult<impl Fn(&mut Tx<'_>) -> CoreResult<Id> + Clone + Send + use<>> {
        self.grant.require(permission)?;
        let grant = self.grant.clone();
        Ok(move |tx: &mut Tx<'_>| {
            let gone = || {
                Error::forbidden("this address does not work any more")
                    .hint("what it was made for is gone, or its person may not do this any more")
                    .code(file_address::NOT_AUTHENTICATED)
            };
            // Nobody's addresses work while they are being erased, wherever what they lead to stands.
            match tx.holder(grant.person)? {
                Some((_, HolderState::Active | HolderState::Restricted)) => {}
                _ => return Err(gone()),
            }
            let (kind, _, holder) = tx.position(grant.owner)?.ok_or_else(gone)?;
            match tx.holder(holder)? {
                Some((_, HolderState::Active | HolderState::Restricted)) => {}
                _ => return Err(gone()),
            }
            authorise(tx, &grant.actor(), grant.owner, permission).map_err(|error| error.conceal(gone))?;
            if permission != Permission::Read {
                require_open(tx, kind, grant.owner)?;
            }
            Ok(grant.owner)
        })
    }

    /// Refuses to answer with the bytes where something else of the file is asked for, such as its metadata or its blocks.
    pub(super) fn refuse_operations(&self) -> CoreResult<()> {
        if self.parameters.contains_key("comp") { Err(unserved()) } else { Ok(()) }
    }

    /// Refuses to overwrite where `If-None-Match: *` says so, as clients send it unless they are told to overwrite.
    async fn refuse_taken(&self) -> CoreResult<()> {
        if !self.only_new {
            return Ok(());
        }
        let (owner, path) = (self.owner(Permission::Write)?, self.grant.path.clone());
        self.app
            .store()
            .read(move |tx| {
                let owner = owner(tx)?;
                tx.child_by_name::<Artifact>(owner, &path)?.map_or(Ok(()), |_| Err(taken()))
            })
            .await
    }

    /// The file, which is there.
    pub(super) async fn file(&self, permission: Permission) -> CoreResult<Node<ArtifactDoc>> {
        let (owner, path) = (self.owner(permission)?, self.grant.path.clone());
        self.app
            .store()
            .read(move |tx| {
                let owner = owner(tx)?;
                tx.child_by_name::<Artifact>(owner, &path)?
                    .ok_or_else(|| Error::not_found("there is no such file"))
            })
            .await
    }

    /// Makes a blob that was received the content of the file.
    pub(super) async fn keep(&self, blob: BlobRef) -> CoreResult<Node<ArtifactDoc>> {
        let owner = self.owner(Permission::Write)?;
        let (path, person, only_new, id) =
            (self.grant.path.clone(), self.grant.person, self.only_new, blob.id);
        let work = move |tx: &mut Tx<'_>| {
            let owner = owner(tx)?;
            if only_new && tx.child_by_name::<Artifact>(owner, &path)?.is_some() {
                return Err(taken());
            }
            artifact_files::keep(tx, owner, &path, &blob, Some(person))
        };
        let kept = match self.app.store().write(work.clone()).await {
            // Somebody else sent a file of this name at the same time, which is there now.
            Err(error) if error.code == Some(UNIQUE_VIOLATION) => self.app.store().write(work).await,
            result => result,
        };
        artifact_files::or_give_up(&self.app, id, kept).await
    }
}

/// Refuses to write to what takes no more files.
fn require_open(tx: &mut Tx<'_>, kind: Kind, owner: Id) -> CoreResult<()> {
    match kind {
        Kind::Run if tx.get::<Run>(owner)?.is_some_and(|run| run.doc.stage == LifecycleStage::Deleted) => {
            Err(Error::conflict("the run was put aside").hint("restore it first"))
        }
        Kind::Snapshot if tx.get::<Snapshot>(owner)?.is_some_and(|snapshot| snapshot.doc.complete) => {
            Err(Error::conflict("the snapshot is finished").hint("make another one"))
        }
        _ => Ok(()),
    }
}

fn taken() -> Error {
    Error::conflict("there is a file of this name already")
        .hint("delete it first, or choose another name")
        .code("BlobAlreadyExists")
}

fn digest<const N: usize>(headers: &HeaderMap, name: HeaderName) -> CoreResult<Option<[u8; N]>> {
    let Some(value) = headers.get(&name) else { return Ok(None) };
    STANDARD.decode(value.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok()).map(Some).ok_or_else(
        || {
            Error::invalid(format!("the header {name} is not base64 of a digest"))
                .hint("send the digest of the body, or leave the header out")
                .code("InvalidHeaderValue")
        },
    )
}

/// What the headers say of the bytes of the body.
pub(super) fn expected(headers: &HeaderMap) -> CoreResult<Expected> {
    Ok(Expected { sha256: digest(headers, SHA256)?, md5: digest(headers, MD5)? })
}

/// What the headers of a request that makes a file say of it.
pub(super) struct Said {
    pub(super) media_type: String,
    /// What is to become of its bytes.
    pub(super) expected: Expected,
}

impl Said {
    fn read(headers: &HeaderMap, path: &str) -> CoreResult<Said> {
        if headers.keys().any(|name| name.as_str().starts_with(METADATA)) {
            return Err(Error::invalid("no metadata is kept of a file")
                .hint(format!("leave out the headers that begin with {METADATA}"))
                .code("UnsupportedHeader"));
        }
        let media_type = match headers.get(FILE_TYPE).filter(|value| !value.is_empty()) {
            None => media_type(path).to_owned(),
            Some(value) => {
                value.to_str().ok().filter(|text| is_media_type(text)).map(str::to_owned).ok_or_else(
                    || {
                        Error::invalid("the header x-ms-blob-content-type is not a media type")
                            .hint("send one such as text/csv, or leave the header out")
                            .code("InvalidHeaderValue")
                    },
                )?
            }
        };
        Ok(Said { media_type, expected: Expected { sha256: None, md5: digest(headers, FILE_MD5)? } })
    }

    /// The same of a file whose bytes are the body.
    fn read_with_body(headers: &HeaderMap, path: &str) -> CoreResult<Said> {
        let (said, body) = (Said::read(headers, path)?, expected(headers)?);
        match (body.md5, said.expected.md5) {
            (Some(of_body), Some(of_file)) if of_body != of_file => Err(artifact_files::mismatch()),
            (of_body, of_file) => {
                Ok(Said { expected: Expected { md5: of_body.or(of_file), ..body }, ..said })
            }
        }
    }
}

/// Whether it is `TYPE/SUBTYPE`, with or without parameters (RFC 9110, section 8.3.1).
fn is_media_type(text: &str) -> bool {
    let is_token = |token: &str| {
        !token.is_empty()
            && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    text.len() <= LONGEST_TYPE
        && essence.split_once('/').is_some_and(|(sort, subtype)| is_token(sort) && is_token(subtype))
}

fn unserved() -> Error {
    Error::not_implemented("this operation of Azure's storage is not served")
        .hint("files are sent with Put Blob, Put Block and Put Block List, or Append Block, and fetched with Get Blob")
        .code("UnsupportedQueryParameter")
}

/// An entity tag: of the bytes, which are never changed under one name in the object store.
fn etag(node: &Node<ArtifactDoc>) -> String {
    format!("\"0x{}\"", &node.doc.content.id.to_hex()[..16])
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The headers of every good answer about a file.
fn describe(headers: &mut HeaderMap, node: &Node<ArtifactDoc>) {
    insert(headers, ETAG, &etag(node));
    insert(headers, LAST_MODIFIED, &node.updated_at.http_date());
    headers.insert(SERVICE_VERSION, HeaderValue::from_static(file_address::VERSION));
}

fn created(node: &Node<ArtifactDoc>) -> Response {
    let mut response = StatusCode::CREATED.into_response();
    describe(response.headers_mut(), node);
    response.headers_mut().insert(ENCRYPTED, HeaderValue::from_static("true"));
    response
}

/// Refuses a request that is meant for a file with other bytes.
pub(super) fn require_match(headers: &HeaderMap, node: &Node<ArtifactDoc>) -> CoreResult<()> {
    if headers.get(IF_MATCH).is_some_and(|value| value != "*" && *value != *etag(node)) {
        return Err(Error::conflict("the file changed in the meantime")
            .hint("fetch it again")
            .code(CONDITION));
    }
    Ok(())
}

/// `Put Blob`, `Put Block`, `Put Block List` and `Append Block`.
pub(super) async fn put(
    State(app): State<App>,
    Path((owner, path)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let checked = Checked::new(app, &owner, &path, &request)?;
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    match checked.parameters.get("comp").map(String::as_str) {
        None => put_blob(&checked, &headers, body).await,
        Some("block") => {
            let id = checked.parameters.get("blockid").map(String::as_str).unwrap_or_default();
            blocks::put(&checked, id, body, expected(&headers)?).await?;
            let mut response = StatusCode::CREATED.into_response();
            let sent = response.headers_mut();
            sent.insert(SERVICE_VERSION, HeaderValue::from_static(file_address::VERSION));
            sent.insert(ENCRYPTED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Some("blocklist") => {
            let said = Said::read(&headers, &checked.grant.path)?;
            checked.refuse_taken().await?;
            let list = to_bytes(body, LARGEST_LIST)
                .await
                .map_err(|_| Error::too_large("the block list is too large, or broke off"))?;
            Ok(created(&blocks::commit(&checked, &list, &said).await?))
        }
        Some("appendblock") => {
            checked.refuse_taken().await?;
            let (offset, node) = appending::put(&checked, &headers, body).await?;
            let mut response = created(&node);
            response.headers_mut().insert(APPEND_OFFSET, HeaderValue::from(offset));
            Ok(response)
        }
        Some(_) => Err(unserved().into()),
    }
}

async fn put_blob(checked: &Checked, headers: &HeaderMap, body: Body) -> Result<Response> {
    let wrong = |what: &str, hint: &str| Error::invalid(what).hint(hint).code("InvalidHeaderValue");
    let body = match headers.get(&BLOB_TYPE).map(HeaderValue::as_bytes) {
        Some(b"BlockBlob") => body,
        Some(b"AppendBlob") => to_bytes(body, 0)
            .await
            .map(Body::from)
            .map_err(|_| wrong("an append blob begins empty", "send its bytes with Append Block"))?,
        _ => {
            let hint = "send the header `x-ms-blob-type: BlockBlob`, or AppendBlob for one that grows";
            return Err(wrong("files are block blobs or append blobs", hint).into());
        }
    };
    let said = Said::read_with_body(headers, &checked.grant.path)?;
    checked.refuse_taken().await?;
    let owner = checked.owner(Permission::Write)?;
    let blob = artifact_files::receive(&checked.app, owner, &said.media_type, body, said.expected).await?;
    Ok(created(&checked.keep(blob).await?))
}

/// `Get Blob` and, without its body, `Get Blob Properties`.
pub(super) async fn get(
    State(app): State<App>,
    Path((owner, path)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let checked = Checked::new(app, &owner, &path, &request)?;
    checked.refuse_operations()?;
    let node = checked.file(Permission::Read).await?;
    require_match(request.headers(), &node)?;
    let mut headers = request.headers().clone();
    // Azure's clients ask by a header of their own.
    if let Some(range) = headers.get(&MS_RANGE).cloned() {
        headers.insert(RANGE, range);
    }
    let mut response = stream::blob(checked.app.store(), &node.doc.content, &headers);
    let status = response.status();
    let sent = response.headers_mut();
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        sent.insert(ERROR_CODE, HeaderValue::from_static("InvalidRange"));
    }
    describe(sent, &node);
    sent.insert(BLOB_TYPE, HeaderValue::from_static("BlockBlob"));
    // A page that somebody stored must not run in a browser.
    sent.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    sent.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
