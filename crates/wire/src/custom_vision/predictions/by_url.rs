//! Creating images from addresses.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _};
use habeas_core::{Error, Result as CoreResult};

use super::super::caller::Call;
use super::super::create::{Prepared, State, Upload, blocking, commit};
use super::super::errors::Result;
use super::{batch, fetch};

/// Addresses called at a time.
const CALLS: usize = 4;

/// `CreateImagesFromUrls`. The address is answered as `sourceUrl` and not kept: it may hold credentials.
pub(in crate::custom_vision) async fn create(call: Call, body: Body) -> Result<Response> {
    let batch = batch::read(body, &call.app.limits).await?;
    let upload = Upload::begin(&call).await?;
    if !call.app.models().outgoing().is_enabled() {
        // Says how they can be allowed.
        fetch(&call.app, "", 0).await?;
    }
    let prepared: Vec<Prepared> = futures::stream::iter(batch.entries)
        .map(|entry| {
            let (call, upload) = (&call, Arc::clone(&upload));
            async move {
                let state = prepare(call, upload, &entry.source).await?;
                Ok::<_, Error>(Prepared {
                    name: Some(entry.source),
                    tags: entry.tags,
                    regions: entry.regions,
                    state,
                    prediction: None,
                })
            }
        })
        .buffered(CALLS)
        .try_collect()
        .await?;
    commit(call, &upload, prepared, batch.tags, batch.metadata).await
}

async fn prepare(call: &Call, upload: Arc<Upload>, url: &str) -> CoreResult<State> {
    let bytes = match fetch(&call.app, url, call.app.limits.image_bytes).await {
        Ok(bytes) => bytes,
        Err(error) if error.code == Some("BadRequestImageSizeBytes") => {
            return Ok(State::Refused("ErrorImageSize"));
        }
        Err(_) => return Ok(State::Refused("ErrorSource")),
    };
    let name = file_name(url);
    blocking(move || upload.store(&bytes, name)).await
}

/// The last part of an address's path.
fn file_name(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let (_, after_scheme) = path.split_once("://")?;
    let (_, path) = after_scheme.split_once('/')?;
    path.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_holds_no_credentials() {
        assert_eq!(file_name("https://user:secret@example.org/a/b.jpg?sig=1#x").as_deref(), Some("b.jpg"));
        assert_eq!(file_name("https://user:secret@example.org"), None);
        assert_eq!(file_name("https://example.org/"), None);
        assert_eq!(file_name("b.jpg"), None);
    }
}
