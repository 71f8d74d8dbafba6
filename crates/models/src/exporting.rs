//! Writing a trained model in a portable form: a ZIP with the ONNX graph, its labels and a model card.
//!
//! **Invariant:** what is handed out is of the state that the iteration has now. An export of an older one knows something that was erased
//! since; it is revoked by its digest and never served again.

use std::io::{Cursor, Write as _};

use habeas_core::kinds::{
    Iteration, IterationDoc, IterationStatus, ModelExport, ModelExportDoc, ModelExportState, ModelState,
    TrainedModel,
};
use habeas_core::node::Relation;
use habeas_core::{BlobRef, Error, ErrorKind, Id, Node, Result, crypto, fault};
use habeas_store::{New, Page, Removed, TaskKind, TaskRow, Tx};
use serde::{Deserialize, Serialize};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::compute::PortableModel;
use crate::model_card::Card;
use crate::rescued::require_weights_here;
use crate::training::{gone, known};
use crate::{Models, notifying};

/// Probability and overlap at which the metrics of a model card are taken.
pub(crate) const THRESHOLD: f64 = 0.5;
pub(crate) const OVERLAP: f64 = 0.3;

#[derive(Debug, Serialize, Deserialize)]
struct ExportTask {
    export: Id,
    /// Where the iteration's exports are listed, for the notification.
    address: String,
}

/// Orders an export of a trained iteration for a platform; [`Models::wake`] afterwards. `address` is where the exports of the iteration are
/// listed: the project's notification says it. The caller has checked that this platform can be
/// written. One that failed before is replaced.
pub fn start(
    tx: &mut Tx<'_>,
    iteration: &Node<IterationDoc>,
    platform: &str,
    address: &str,
) -> Result<Node<ModelExportDoc>> {
    if iteration.doc.status != IterationStatus::Completed {
        return Err(Error::invalid("the iteration is not trained").code("BadRequestIterationIsNotTrained"));
    }
    require_weights_here(&iteration.doc)?;
    for other in list(tx, iteration.id)?.iter().filter(|other| other.doc.platform == platform) {
        if other.doc.state != ModelExportState::Failed {
            return Err(Error::invalid(format!(
                "the iteration is exported to {platform} already, or about to be"
            ))
            .hint("get its exports for the address; delete the export to order it again")
            .code("BadRequestExportAlreadyInProgress"));
        }
        tx.remove(other.id)?;
    }
    let doc = ModelExportDoc {
        platform: platform.to_owned(),
        flavor: None,
        state: ModelExportState::Exporting,
        file: None,
        digest: None,
        state_digest: None,
    };
    let id = tx.new_id();
    let node = tx.create::<ModelExport>(New::under(iteration.id, id, doc))?;
    let now = tx.now();
    let task = ExportTask { export: id, address: address.to_owned() };
    tx.enqueue(TaskKind::ExportModel, Some(id), &serde_json::to_value(&task)?, now)?;
    Ok(node)
}

impl Models {
    /// Refuses to export a model whose extractor is not here: its graph begins with it.
    pub fn require_extractor(&self, doc: &IterationDoc) -> Result<()> {
        let compute = &self.inner.compute;
        compute
            .extractor(doc)
            .and_then(|extractor| compute.side(extractor))
            .map(|_| ())
            .map_err(|error| error.code("BadRequestExportValidationFailed"))
    }
}

/// The exports of an iteration, oldest first; without those that are of an older state of it.
pub fn list(tx: &mut Tx<'_>, iteration: Id) -> Result<Vec<Node<ModelExportDoc>>> {
    let mut exports = tx.children::<ModelExport>(iteration, Page::ALL)?;
    let state = current_state(tx, iteration)?;
    exports.retain(|export| export.doc.state != ModelExportState::Done || export.doc.state_digest == state);
    Ok(exports)
}

/// Deletes the exports of an iteration, or those for one platform and flavor. One that is being written is called off.
pub fn delete(
    tx: &mut Tx<'_>,
    iteration: Id,
    platform: Option<&str>,
    flavor: Option<&str>,
) -> Result<Vec<Removed>> {
    let mut removed = Vec::new();
    for export in tx.children::<ModelExport>(iteration, Page::ALL)? {
        if platform.is_none_or(|platform| export.doc.platform == platform)
            && flavor.is_none_or(|flavor| export.doc.flavor.as_deref() == Some(flavor))
        {
            removed.push(tx.remove(export.id)?);
        }
    }
    Ok(removed)
}

/// An export that may be handed out; none when it is gone, not ready, or of an older state of its iteration.
pub fn find(tx: &mut Tx<'_>, export: Id) -> Result<Option<Node<ModelExportDoc>>> {
    let Some(node) = tx.get::<ModelExport>(export)? else { return Ok(None) };
    let state = current_state(tx, node.parent.unwrap_or(Id::NIL))?;
    Ok(Some(node).filter(|node| node.doc.state == ModelExportState::Done && node.doc.state_digest == state))
}

/// The digest of an iteration's state; none while it knows something that is gone.
fn current_state(tx: &mut Tx<'_>, iteration: Id) -> Result<Option<String>> {
    let learned = tx.count_targets(iteration, Relation::LearnedFrom)?;
    let node = tx.get::<Iteration>(iteration)?;
    let model = node.and_then(|node| node.doc.model).filter(|model| model.images == learned);
    Ok(model.map(|model| model.state_digest))
}

/// What an export was written from and became.
struct Written {
    state_digest: String,
    digest: String,
    archive: Vec<u8>,
}

impl Models {
    /// Writes the export of a claimed task and ends the task, or puts it back.
    pub(crate) async fn run_exporting(&self, task: &TaskRow) -> Result<()> {
        let ExportTask { export, address } = ExportTask::deserialize(&task.payload)?;
        let watch = self.watch(task, export);
        let result = self.write_export(export, &address).await;
        drop(watch);
        self.end_task(task, result, move |tx, _| {
            if let Some(mut node) = tx.get::<ModelExport>(export)? {
                node.doc.state = ModelExportState::Failed;
                let node = tx.update::<ModelExport>(&node)?;
                notifying::export(tx, &node, &address)?;
            }
            Ok(())
        })
        .await
    }

    async fn write_export(&self, export: Id, address: &str) -> Result<()> {
        loop {
            let (node, known) = self
                .store()
                .read(move |tx| {
                    let node = tx.get::<ModelExport>(export)?.ok_or_else(gone)?;
                    let known = known(tx, node.parent.unwrap_or(Id::NIL))?.ok_or_else(gone)?;
                    Ok((node, known))
                })
                .await?;
            if node.doc.state != ModelExportState::Exporting {
                return Ok(());
            }
            let iteration = known.node;
            let Some(model) =
                iteration.doc.model.clone().filter(|_| iteration.doc.status == IterationStatus::Completed)
            else {
                return Err(Error::invalid("the iteration has no model any more"));
            };
            if model.state != ModelState::Final || model.images != known.learned.len() as u64 {
                // An interim model would be revoked in a moment.
                self.forget(iteration.id).await?;
                continue;
            }
            let written = match self.archive(&iteration, &model, export).await {
                Err(error) if error.kind == ErrorKind::NotFound => {
                    // The model was swapped while it was read, or its blob is lost.
                    let now = self.store().read(move |tx| current_state(tx, iteration.id)).await?;
                    if now.as_ref() == Some(&model.state_digest) {
                        return Err(Error::damaged("the model's weights are missing"));
                    }
                    continue;
                }
                result => result?,
            };
            fault::point("export.model_written");
            if self.store_export(export, written, address).await? {
                return Ok(());
            }
        }
    }

    async fn archive(&self, node: &Node<IterationDoc>, model: &TrainedModel, export: Id) -> Result<Written> {
        let weights = self.store().blobs().get(&model.weights).await?;
        let evaluation = match &model.evaluation {
            Some(blob) => Some(self.store().blobs().get(blob).await?),
            None => None,
        };
        let (compute, node, model) = (self.inner.compute.clone(), node.clone(), model.clone());
        let extractor = compute.extractor(&node.doc)?;
        let written_at = self.store().ambient().now();
        tokio::task::spawn_blocking(move || {
            let labels: Vec<String> =
                compute.labels(&node.doc, &weights)?.iter().map(|name| label(name)).collect();
            // The ids make each export's digest its own: revoking one says nothing about another.
            let metadata = [
                ("habeas.iteration", node.id.to_string()),
                ("habeas.export", export.to_string()),
                ("habeas.state", model.state_digest.clone()),
            ];
            let portable = compute.export(&node.doc, &weights, &metadata)?;
            let performance = evaluation
                .map(|evaluation| compute.performance(&node.doc, &evaluation, THRESHOLD, OVERLAP))
                .transpose()?;
            let digest = hex::encode(crypto::sha256(&portable.onnx));
            let card = Card {
                iteration: &node,
                model: &model,
                side: compute.side(extractor)?,
                is_of_user: extractor.is_of_user(),
                extractor_digest: &portable.extractor_digest,
                digest: &digest,
                performance: performance.as_ref(),
                written_at,
            };
            let archive = pack(&portable, &labels, &card)?;
            Ok(Written { state_digest: model.state_digest.clone(), digest, archive })
        })
        .await
        .map_err(|_| Error::internal("a model could not be exported"))?
    }

    /// Commits what was written; false when the model has become another in the meantime.
    async fn store_export(&self, export: Id, written: Written, address: &str) -> Result<bool> {
        let address = address.to_owned();
        let Written { state_digest, digest, archive } = written;
        let blob = BlobRef::new(self.store().ambient(), archive.len() as u64, "application/zip");
        let announced = blob.clone();
        self.store().write(move |tx| tx.announce_blobs(export, &[&announced])).await?;
        self.store().put_announced(&blob, &archive).await?;
        fault::point("export.model_stored");
        self.store()
            .write(move |tx| {
                let mut node = tx.get::<ModelExport>(export)?.ok_or_else(gone)?;
                let state = current_state(tx, node.parent.unwrap_or(Id::NIL))?;
                if state.as_ref() != Some(&state_digest) {
                    tx.release_blobs(&[blob.id])?;
                    return Ok(false);
                }
                node.doc.state = ModelExportState::Done;
                node.doc.file = Some(blob.clone());
                node.doc.digest = Some(digest.clone());
                node.doc.state_digest = state;
                let node = tx.update::<ModelExport>(&node)?;
                tx.attach_blobs(export, &[&blob])?;
                notifying::export(tx, &node, &address)?;
                Ok(true)
            })
            .await
    }
}

/// A tag's name as a line of `labels.txt`.
fn label(name: &str) -> String {
    name.replace(|letter: char| letter.is_control(), " ")
}

/// The archive: the names in it are those of Microsoft's ONNX exports, and the card.
fn pack(portable: &PortableModel, labels: &[String], card: &Card<'_>) -> Result<Vec<u8>> {
    let failed = |_| Error::internal("an export could not be packed");
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut labels = labels.join("\n");
    labels.push('\n');
    let json = serde_json::to_vec_pretty(&card.json())?;
    let markdown = card.markdown();
    for (path, bytes) in [
        ("model.onnx", portable.onnx.as_slice()),
        ("labels.txt", labels.as_bytes()),
        ("model-card.json", json.as_slice()),
        ("MODEL-CARD.md", markdown.as_bytes()),
    ] {
        zip.start_file(path, SimpleFileOptions::default()).map_err(failed)?;
        zip.write_all(bytes).map_err(|_| Error::internal("an export could not be packed"))?;
    }
    Ok(zip.finish().map_err(failed)?.into_inner())
}

#[cfg(test)]
mod tests {
    use habeas_core::{DataKind as _, Kind, Timestamp};

    use super::*;
    use crate::Performance;

    #[test]
    fn an_archive_holds_the_model_its_labels_and_a_card_that_names_its_digest() {
        let doc = Iteration::example();
        let model = doc.model.clone().unwrap();
        let node = Node {
            id: Id::NIL,
            kind: Kind::Iteration,
            parent: Some(Id::NIL),
            holder: Id::NIL,
            container: Id::NIL,
            version: 1,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            expires_at: None,
            doc,
        };
        let performance = Performance {
            tags: Vec::new(),
            precision: 0.5,
            precision_deviation: 0.1,
            recall: 0.25,
            recall_deviation: 0.1,
            average_precision: 0.75,
        };
        let card = Card {
            iteration: &node,
            model: &model,
            side: 224,
            is_of_user: false,
            extractor_digest: "abc",
            digest: "0123456789abcdef",
            performance: Some(&performance),
            written_at: Timestamp(0),
        };
        let portable = PortableModel { onnx: vec![1, 2, 3], extractor_digest: "abc".into() };
        let archive = pack(&portable, &[label("a\nb"), label("c")], &card).unwrap();
        let mut zip = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
        let mut read = |path: &str| {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut zip.by_name(path).unwrap(), &mut text).unwrap();
            text
        };
        assert_eq!(read("model.onnx"), [1, 2, 3]);
        assert_eq!(read("labels.txt"), b"a b\nc\n");
        let json: serde_json::Value = serde_json::from_slice(&read("model-card.json")).unwrap();
        assert_eq!(json["modelSha256"], "0123456789abcdef");
        assert_eq!(json["performance"]["averagePrecision"], 0.75);
        let markdown = String::from_utf8(read("MODEL-CARD.md")).unwrap();
        assert!(markdown.contains("0123456789abcdef") && markdown.contains("224 x 224"), "{markdown}");
    }
}
