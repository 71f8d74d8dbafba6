//! Waiting for the models of an archive, which the server computes again from their images and labels.

use std::time::Duration;

use anyhow::Context as _;
use habeas_core::import::{HeldIteration, HeldWeights};

use super::bring::Import;

/// Between two looks at what is there.
const PAUSE: Duration = Duration::from_millis(500);

impl Import<'_> {
    /// Waits until every model of the archive is there, or cannot be; and compares them with what they were.
    pub(super) async fn await_models(&mut self) -> anyhow::Result<()> {
        if self.models.is_empty() {
            return Ok(());
        }
        let bar = &self.target.bar;
        bar.set_message("computing models");
        bar.set_length(self.models.len() as u64);
        let iterations = loop {
            let iterations = self.brought_models().await.context(
                "everything was brought; the models of its projects are still being computed, and answer when they are there",
            )?;
            let awaited = iterations.iter().filter(|found| found.weights == HeldWeights::Awaited).count();
            bar.set_position((self.models.len() - awaited) as u64);
            if awaited == 0 {
                break iterations;
            }
            tokio::time::sleep(PAUSE).await;
        };
        for iteration in iterations {
            match iteration.weights {
                HeldWeights::Here { state_digest } => {
                    self.report.models += 1;
                    self.report.same_models +=
                        u64::from(self.models.get(&iteration.id) == Some(&state_digest));
                }
                HeldWeights::Failed { why } => {
                    self.report.left_out.push(format!("the model of iteration {}: {why}", iteration.id));
                }
                HeldWeights::Awaited | HeldWeights::None => {}
            }
        }
        Ok(())
    }

    /// The iterations of the archive that had a model, as they are here.
    async fn brought_models(&self) -> habeas_client::Result<Vec<HeldIteration>> {
        let mut found = Vec::new();
        for &project in &self.unfinished {
            let contents = self.target.client.project_contents(project).await?;
            found.extend(contents.iterations.into_iter().filter(|found| self.models.contains_key(&found.id)));
        }
        Ok(found)
    }
}
