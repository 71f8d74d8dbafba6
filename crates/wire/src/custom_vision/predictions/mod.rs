//! Predictions: asking published iterations, what was stored of the answers, and tags suggested for images.
//!
//! The prediction API takes prediction keys and training keys: whoever may train may ask. What is asked with storing is kept with its image
//! for [`Limits::prediction_days`](super::limits::Limits), where it can be queried, deleted, or taken into training.

mod ask;
mod batch;
mod by_url;
mod paging;
mod stored;
mod suggest;
mod taken;

use habeas_core::Error;
use habeas_core::kinds::ScoredTag;
use serde_json::{Value, json};

pub(super) use ask::{Ask, Source, Task, predict, quick_test};
pub(super) use by_url::create as from_urls;
pub(super) use stored::{delete, query, used_last_month};
pub(super) use suggest::{proposals, suggest, suggested, suggested_count};
pub(super) use taken::from_predictions;

use super::errors::Result;
use crate::App;

/// Scored tags in the newest shape.
fn scored(predictions: &[ScoredTag]) -> Vec<Value> {
    predictions
        .iter()
        .map(|scored| {
            json!({
                "probability": scored.probability,
                "tagId": scored.tag,
                "tagName": scored.name,
                "boundingBox": scored.bounding_box.map(bounding_box),
                "tagType": scored.tag_type.name(),
            })
        })
        .collect()
}

fn bounding_box([left, top, width, height]: [f64; 4]) -> Value {
    json!({ "left": left, "top": top, "width": width, "height": height })
}

/// The image at an address. Whatever is wrong with it is the request's fault: clients must not try again for minutes.
async fn fetch(app: &App, address: &str, most: u64) -> Result<Vec<u8>, Error> {
    match app.models().outgoing().get(address, most).await {
        Ok(fetched) => Ok(fetched.bytes.into()),
        Err(error) if error.kind == habeas_core::ErrorKind::TooLarge => {
            Err(Error { kind: habeas_core::ErrorKind::Invalid, ..error }.code("BadRequestImageSizeBytes"))
        }
        Err(error) => {
            Err(Error { kind: habeas_core::ErrorKind::Invalid, ..error }.code("BadRequestImageUrl"))
        }
    }
}
