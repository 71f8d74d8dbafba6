//! Bytes of an image that come whole: looked at within the limits, and stored.

use habeas_core::{BlobRef, Error, Id, Result, crypto};
use habeas_learn::imaging::{self, Inspected};

use crate::App;

/// An image whose bytes are stored; they are to be attached to what gets them.
pub(crate) struct Stored {
    /// Where they are.
    pub(crate) blob: BlobRef,
    /// What was seen.
    pub(crate) inspected: Inspected,
    /// SHA-256 of the bytes in hexadecimal.
    pub(crate) sha256: String,
}

/// Looks at an image when its turn comes and stores its bytes, durably, announced under `project`. Errors: no image that is accepted.
pub(crate) async fn store(app: &App, project: Id, bytes: Vec<u8>) -> Result<Stored> {
    let limits = app.limits.decoding.clone();
    let permit = app
        .decoding
        .clone()
        .acquire_owned()
        .await
        .map_err(|_| Error::unavailable("the server is stopping"))?;
    let (bytes, inspected, sha256) = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let inspected = imaging::inspect(&bytes, &limits);
        let sha256 = hex::encode(crypto::sha256(&bytes));
        (bytes, inspected, sha256)
    })
    .await
    .map_err(|_| Error::internal("an image could not be looked at"))?;
    let inspected = inspected?;
    let blob = BlobRef::new(app.store().ambient(), bytes.len() as u64, inspected.format.media_type());
    let announced = blob.clone();
    app.store().write(move |tx| tx.announce_blobs(project, &[&announced])).await?;
    app.store().put_announced(&blob, &bytes).await?;
    Ok(Stored { blob, inspected, sha256 })
}
