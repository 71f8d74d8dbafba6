//! Batches of images that lie elsewhere: at addresses, or with stored predictions.

use std::collections::BTreeMap;

use axum::body::Body;
use habeas_core::{Error, Id, Result};
use serde::Deserialize;

use super::super::change::checked_metadata;
use super::super::create::{ids, regions};
use super::super::limits::Limits;
use super::super::upload::{RegionEntry, small_typed, too_many_images};

/// The bodies of `CreateImagesFromPredictions` and `CreateImagesFromUrls`, in the spelling of every version.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Sent {
    #[serde(alias = "Images")]
    images: Vec<SentEntry>,
    #[serde(alias = "TagIds")]
    tag_ids: Option<Vec<String>>,
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentEntry {
    #[serde(alias = "id", alias = "Id", alias = "url", alias = "Url")]
    source: String,
    #[serde(default, alias = "TagIds")]
    tag_ids: Option<Vec<String>>,
    #[serde(default)]
    regions: Option<Vec<RegionEntry>>,
}

/// A batch that was checked.
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// Tags for all of them.
    pub(super) tags: Vec<Id>,
    /// Metadata for all of them.
    pub(super) metadata: BTreeMap<String, String>,
}

/// One image of a batch.
pub(super) struct Entry {
    /// Where it is.
    pub(super) source: String,
    pub(super) tags: Vec<Id>,
    pub(super) regions: Vec<(Id, [f64; 4])>,
}

/// Reads and checks a batch.
pub(super) async fn read(body: Body, limits: &Limits) -> Result<Batch> {
    let sent: Sent = small_typed(body).await?;
    if sent.images.is_empty() {
        return Err(Error::invalid("the batch has no images").code("BadRequestImageBatch"));
    }
    if sent.images.len() > limits.images_per_batch {
        return Err(too_many_images(limits));
    }
    let entries = sent
        .images
        .into_iter()
        .map(|entry| {
            let tags = ids(entry.tag_ids.as_deref().unwrap_or_default(), limits.tags_per_image, "tagIds")?;
            let regions = regions(entry.regions.as_deref().unwrap_or_default())?;
            Ok(Entry { source: entry.source, tags, regions })
        })
        .collect::<Result<_>>()?;
    Ok(Batch {
        entries,
        tags: ids(sent.tag_ids.as_deref().unwrap_or_default(), limits.tags_per_request, "tagIds")?,
        metadata: checked_metadata(sent.metadata.unwrap_or_default().into_iter().collect(), limits)?,
    })
}
