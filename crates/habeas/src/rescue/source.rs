//! Reading a Custom Vision service, training API 3.4-preview: paced, and patient with what passes.
//!
//! Paths and shapes: `Azure/azure-rest-api-specs`, `specification/cognitiveservices/data-plane/CustomVision/Training`.

use std::time::Duration;

use bytes::Bytes;
use habeas_core::Id;
use habeas_core::import::{Export, Image, Iteration, MeasuredPerformance, Prediction, Project, Tag};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Pace;

/// How often a request is tried.
const ATTEMPTS: u32 = 6;
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Images on a page: the most that the service gives.
const PAGE: usize = 256;
/// How often the address of bytes is asked for again.
const ADDRESSES: u32 = 3;
/// Looks at an export that is being made, and the time between them.
const LOOKS: u32 = 120;
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// What can go wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The key is wrong.
    #[error("the source does not accept the key: is it a training key of this endpoint?")]
    Denied,
    /// It is not there.
    #[error("the source has no such resource")]
    NotFound,
    /// It refused.
    #[error("the source refused ({status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its code.
        message: String,
    },
    /// It could not be reached, or failed again and again.
    #[error(
        "the source cannot be reached or keeps failing: {0}; run the import again to go on where it ended"
    )]
    Unreachable(String),
    /// It is something else.
    #[error("the source does not answer like Custom Vision: is the endpoint right?")]
    Unreadable,
}

impl SourceError {
    /// Whether there is no use in going on with other items.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, SourceError::NotFound | SourceError::Refused { .. })
    }
}

type Result<T> = std::result::Result<T, SourceError>;

/// A Custom Vision service.
pub struct Source {
    http: reqwest::Client,
    base: String,
    key: Zeroizing<String>,
    pace: Pace,
}

/// Bytes, or why there are none.
pub(super) enum Fetched {
    Bytes(Bytes),
    /// The source has the item no more.
    Gone,
}

impl Source {
    /// The service at `endpoint` (`https://NAME.cognitiveservices.azure.com`), by a training key.
    pub fn new(endpoint: &str, key: Zeroizing<String>, pace: Pace) -> Result<Source> {
        // The key must not follow a redirection to somewhere else.
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| SourceError::Unreachable(error.to_string()))?;
        let base = format!("{}/customvision/v3.4-preview/training", endpoint.trim_end_matches('/'));
        Ok(Source { http, base, key, pace })
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.base)).header("Training-Key", self.key.as_str())
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base)).header("Training-Key", self.key.as_str())
    }

    /// Sends a request until it is answered, and reads the answer.
    async fn ask(&self, request: impl Fn() -> RequestBuilder) -> Result<Bytes> {
        for attempt in 0.. {
            self.pace.turn().await;
            let (pause, failure) = match self.attempt(request(), attempt).await? {
                Attempt::Answered(bytes) => return Ok(bytes),
                Attempt::Again(pause, failure) => (pause, failure),
            };
            if attempt + 1 == ATTEMPTS {
                return Err(SourceError::Unreachable(failure));
            }
            self.pace.pause(pause).await;
        }
        Err(SourceError::Unreadable)
    }

    async fn attempt(&self, request: RequestBuilder, attempt: u32) -> Result<Attempt> {
        let backoff = Duration::from_secs(1 << attempt.min(6));
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Attempt::Again(backoff, error.without_url().to_string())),
        };
        let status = response.status();
        let pause = retry_after(response.headers()).unwrap_or(backoff).min(LONGEST_PAUSE);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(SourceError::Denied),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(SourceError::NotFound),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Ok(Attempt::Again(pause, format!("status {status}")))
            }
            _ if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
                Ok(Attempt::Again(pause, format!("status {status}")))
            }
            _ if status.is_success() => Ok(match response.bytes().await {
                Ok(bytes) => Attempt::Answered(bytes),
                // Cut off on the way.
                Err(error) => Attempt::Again(backoff, error.without_url().to_string()),
            }),
            _ => {
                let body: Value = response.json().await.unwrap_or_default();
                let message = body["code"].as_str().unwrap_or("no code").to_owned();
                Err(SourceError::Refused { status: status.as_u16(), message })
            }
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        serde_json::from_slice(&self.ask(|| self.get(path)).await?).map_err(|_| SourceError::Unreadable)
    }

    pub(super) async fn projects(&self) -> Result<Vec<Project>> {
        self.read("/projects").await
    }

    pub(super) async fn tags(&self, project: Id, iteration: Option<Id>) -> Result<Vec<Tag>> {
        self.read(&format!("/projects/{project}/tags{}", of_iteration('?', iteration))).await
    }

    /// One page of images in the order in which they were uploaded; an empty one is the end.
    pub(super) async fn images(&self, project: Id, iteration: Option<Id>, skip: usize) -> Result<Vec<Image>> {
        let of = of_iteration('&', iteration);
        self.read(&format!("/projects/{project}/images?orderBy=Oldest&take={PAGE}&skip={skip}{of}")).await
    }

    pub(super) async fn image_count(&self, project: Id) -> Result<u64> {
        self.read(&format!("/projects/{project}/images/count")).await
    }

    pub(super) async fn iterations(&self, project: Id) -> Result<Vec<Iteration>> {
        self.read(&format!("/projects/{project}/iterations")).await
    }

    pub(super) async fn performance(
        &self,
        project: Id,
        iteration: Id,
        threshold: f64,
        overlap_threshold: f64,
    ) -> Result<MeasuredPerformance> {
        let path = format!(
            "/projects/{project}/iterations/{iteration}/performance?threshold={threshold}&overlapThreshold={overlap_threshold}"
        );
        Ok(MeasuredPerformance { threshold, overlap_threshold, performance: self.read(&path).await? })
    }

    pub(super) async fn exports(&self, project: Id, iteration: Id) -> Result<Vec<Export>> {
        self.read(&format!("/projects/{project}/iterations/{iteration}/export")).await
    }

    /// Has a model exported, and waits until it is; none when the source does not.
    pub(super) async fn export(&self, project: Id, iteration: Id, platform: &str) -> Result<Option<Export>> {
        let path = format!("/projects/{project}/iterations/{iteration}/export?platform={platform}");
        match self.ask(|| self.post(&path)).await {
            // Being made already: it will be on the list.
            Ok(_) | Err(SourceError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        for _ in 0..LOOKS {
            let exports = self.exports(project, iteration).await?;
            match exports.into_iter().find(|export| export.platform == platform) {
                Some(export) if export.status == "Exporting" => self.pace.pause(BETWEEN_LOOKS).await,
                export => return Ok(export.filter(|export| export.status == "Done")),
            }
        }
        Ok(None)
    }

    /// One page of stored predictions, oldest first, and where the next one begins.
    pub(super) async fn predictions(
        &self,
        project: Id,
        continuation: Option<&str>,
    ) -> Result<(Vec<Prediction>, Option<String>)> {
        let path = format!("/projects/{project}/predictions/query");
        let query = json!({ "orderBy": "Oldest", "maxCount": 64, "continuation": continuation });
        let answer = self.ask(|| self.post(&path).json(&query)).await?;
        let page: PredictionPage = serde_json::from_slice(&answer).map_err(|_| SourceError::Unreadable)?;
        let next = page.token.and_then(|token| token.continuation).filter(|next| !next.is_empty());
        Ok((page.results.unwrap_or_default(), next))
    }

    /// The bytes of an image. Its address is asked for again when it has expired.
    pub(super) async fn image_bytes(
        &self,
        project: Id,
        image: &Image,
        iteration: Option<Id>,
    ) -> Result<Fetched> {
        let mut address = image.original_image_uri.clone();
        for _ in 0..ADDRESSES {
            if let Some(address) = &address
                && let Some(bytes) = self.bytes(address).await?
            {
                return Ok(Fetched::Bytes(bytes));
            }
            let of = of_iteration('&', iteration);
            let path = format!("/projects/{project}/images/id?imageIds={}{of}", image.id);
            let again: Vec<Image> = match self.read(&path).await {
                Err(SourceError::NotFound) => Vec::new(),
                result => result?,
            };
            let Some(again) = again.into_iter().find(|again| again.id == image.id) else {
                return Ok(Fetched::Gone);
            };
            address = again.original_image_uri;
        }
        Err(SourceError::Refused {
            status: 404,
            message: "its bytes are not where the source says".to_owned(),
        })
    }

    /// What lies at a signed address, which needs no key; none when it has expired or is gone.
    pub(super) async fn bytes(&self, address: &str) -> Result<Option<Bytes>> {
        for attempt in 0..ATTEMPTS {
            match self.attempt(self.http.get(address), attempt).await {
                Ok(Attempt::Answered(bytes)) => return Ok(Some(bytes)),
                Ok(Attempt::Again(_, failure)) if attempt + 1 == ATTEMPTS => {
                    return Err(SourceError::Unreachable(failure));
                }
                Ok(Attempt::Again(pause, _)) => self.pace.pause(pause).await,
                Err(SourceError::Denied | SourceError::NotFound) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// What came of one try.
enum Attempt {
    Answered(Bytes),
    /// To be tried again after this time, because of this.
    Again(Duration, String),
}

#[derive(Deserialize)]
struct PredictionPage {
    token: Option<PredictionToken>,
    results: Option<Vec<Prediction>>,
}

#[derive(Deserialize)]
struct PredictionToken {
    continuation: Option<String>,
}

fn of_iteration(separator: char, iteration: Option<Id>) -> String {
    iteration.map(|iteration| format!("{separator}iterationId={iteration}")).unwrap_or_default()
}

/// Seconds that the source wants to be left alone. It writes no dates here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
