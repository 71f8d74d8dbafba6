//! What the feature extractors made of images: computed once, stored with the image, under the image's own key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt as _, TryStreamExt as _};
use habeas_core::kinds::{Image, ImageDoc, KeptImage};
use habeas_core::{BlobRef, Error, ErrorKind, Id, Kind, Node, Result};

use crate::Models;
use crate::compute::{Compute, Extractor};
use crate::iterations::find_image;

/// Media type of stored features.
const MEDIA_TYPE: &str = "application/octet-stream";
/// Feature blobs read at a time.
const READS: usize = 16;

impl Models {
    /// Sees to it that every image that is still there has features of this extractor. Stops with
    /// [`habeas_core::ErrorKind::Unavailable`] when `cancelled` is set.
    pub(crate) async fn make_features(
        &self,
        extractor: Extractor,
        images: &[Id],
        cancelled: &AtomicBool,
    ) -> Result<()> {
        // A few more than extract, so that reading and writing go on meanwhile.
        let at_a_time = self.inner.options.threads + 2;
        futures::stream::iter(images.iter().copied().map(Ok))
            .try_for_each_concurrent(at_a_time, |image| async move {
                if cancelled.load(Ordering::Relaxed) {
                    return Err(Error::unavailable("the training was cancelled"));
                }
                self.features_of(extractor, image).await.map(|_| ())
            })
            .await
    }

    /// The stored features of each image that is still there and has them, in the order given.
    pub(crate) async fn load_features(
        &self,
        extractor: Extractor,
        images: &[Id],
    ) -> Result<Vec<(Id, Vec<u8>)>> {
        let found: Vec<Option<(Id, Vec<u8>)>> = futures::stream::iter(images.iter().copied())
            .map(|image| async move {
                let node = self.store().read(move |tx| find_image(tx, image)).await?;
                match node.as_ref().and_then(|node| node.doc.features.get(&extractor.name())) {
                    Some(blob) => {
                        Ok::<_, Error>(self.bytes_of(image, blob).await?.map(|features| (image, features)))
                    }
                    None => Ok(None),
                }
            })
            .buffered(READS)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The stored features of all of these images, in the order given; of those that are being erased what is held until then.
    /// [`ErrorKind::Unavailable`] when one is gone.
    pub(crate) async fn all_features(&self, extractor: Extractor, images: &[Id]) -> Result<Vec<Vec<u8>>> {
        let mut found: HashMap<Id, Vec<u8>> =
            self.load_features(extractor, images).await?.into_iter().collect();
        images
            .iter()
            .map(|image| {
                found.remove(image).or_else(|| self.inner.leaving.get(extractor, *image)).ok_or_else(|| {
                    Error::unavailable("an image was erased while a model was computed from its features")
                })
            })
            .collect()
    }

    /// The features of one image, made and stored when there are none yet; none when the image is gone.
    pub(crate) async fn features_of(&self, extractor: Extractor, image: Id) -> Result<Option<Vec<u8>>> {
        let Some(node) = self.store().read(move |tx| find_image(tx, image)).await? else { return Ok(None) };
        if let Some(blob) = node.doc.features.get(&extractor.name()) {
            return self.bytes_of(image, blob).await;
        }
        let Some(original) = self.bytes_of(image, &node.doc.original).await? else { return Ok(None) };
        let features = self.extract(extractor, original).await?;
        let blob = BlobRef::new(self.store().ambient(), features.len() as u64, MEDIA_TYPE);
        let announced = blob.clone();
        let stored = self.store().write(move |tx| tx.announce_blobs(image, &[&announced])).await;
        match stored.map_err(deferred) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            result => result?,
        }
        match self.store().put_announced(&blob, &features).await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            result => result?,
        }
        self.store()
            .write(move |tx| {
                let Some(mut node) = find_image(tx, image)? else { return tx.release_blobs(&[blob.id]) };
                if node.doc.features.contains_key(&extractor.name()) {
                    // Somebody else was faster.
                    return tx.release_blobs(&[blob.id]);
                }
                node.doc.features.insert(extractor.name(), blob.clone());
                update_image(tx, &node)?;
                tx.attach_blobs(image, &[&blob])
            })
            .await
            .map_err(deferred)?;
        Ok(Some(features))
    }

    /// The bytes of a blob of an image; none when the image is gone, which may have happened since the blob was looked up.
    async fn bytes_of(&self, image: Id, blob: &BlobRef) -> Result<Option<Vec<u8>>> {
        match self.store().blobs().get(blob).await {
            Err(error) if error.kind == ErrorKind::NotFound => {
                match self.store().read(move |tx| tx.position(image)).await? {
                    None => Ok(None),
                    Some(_) => Err(Error::damaged(format!("a file of image {image} is missing"))),
                }
            }
            result => result.map(Some),
        }
    }

    /// The features of the bytes of an image, as they are stored, when it is this image's turn.
    async fn extract(&self, extractor: Extractor, bytes: Vec<u8>) -> Result<Vec<u8>> {
        self.in_turn(move |compute| compute.features(extractor, &bytes)).await
    }

    /// Work of an extractor, when its turn comes: as many run at a time as there are threads for it.
    pub(crate) async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Compute) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self
            .inner
            .extractions
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::unavailable("the server is stopping"))?;
        let compute = self.inner.compute.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&compute)
        })
        .await
        .map_err(|_| Error::internal("an image's features could not be computed"))?
    }
}

/// An image whose holder is being erased gets no features any more: whoever needs them tries again when it is gone, or is kept after all.
fn deferred(error: Error) -> Error {
    match error.kind {
        ErrorKind::Frozen => Error::unavailable("an image's holder is being erased"),
        _ => error,
    }
}

/// Stores a changed image, of whichever of the two kinds it is.
pub fn update_image(tx: &mut habeas_store::Tx<'_>, node: &Node<ImageDoc>) -> Result<Node<ImageDoc>> {
    match node.kind {
        Kind::KeptImage => tx.update::<KeptImage>(node),
        _ => tx.update::<Image>(node),
    }
}
