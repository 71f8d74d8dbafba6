//! Suggestions of a model that had to forget, made again: the old ones are what the weights of before said.

use habeas_core::kinds::{Iteration, Suggestion, uncertainty};
use habeas_core::{Id, Kind, Result};

use crate::Models;

/// Suggestions looked at in one transaction.
const TOGETHER: u32 = 256;

impl Models {
    /// Asks an iteration again about the images for which it has suggested tags.
    pub(crate) async fn suggest_again(&self, iteration: Id) -> Result<()> {
        let Some(node) = self.store().read(move |tx| tx.get::<Iteration>(iteration)).await? else {
            return Ok(());
        };
        let mut after = Id::NIL;
        loop {
            let (suggestions, last) = self
                .store()
                .read(move |tx| {
                    let held = tx.held(node.holder, Kind::Suggestion, after, TOGETHER)?;
                    let mut suggestions = Vec::new();
                    for raw in &held {
                        suggestions.extend(
                            tx.get::<Suggestion>(raw.id)?.filter(|found| found.doc.iteration == iteration),
                        );
                    }
                    Ok((suggestions, held.last().map(|raw| raw.id)))
                })
                .await?;
            for suggestion in suggestions {
                let Some(image) = suggestion.parent else { continue };
                let Some(prediction) = self.predict_image(iteration, image).await? else { continue };
                self.store()
                    .write(move |tx| {
                        // It may be gone by now.
                        let Some(mut now) = tx.get::<Suggestion>(suggestion.id)? else { return Ok(()) };
                        now.doc.uncertainty = uncertainty(&prediction.predictions);
                        now.doc.predictions.clone_from(&prediction.predictions);
                        tx.update::<Suggestion>(&now).map(|_| ())
                    })
                    .await?;
            }
            match last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }
}
