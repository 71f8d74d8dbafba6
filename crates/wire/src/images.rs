//! Looking at images before they are stored: the same checks however they come.

use habeas_core::{Error, Result, crypto};
use habeas_learn::imaging::{self, ImageError, Inspected};

use crate::App;

/// Decodes an image within the limits, a few at a time: its bytes, what was found or why it is not accepted, and the SHA-256 of the bytes in
/// hexadecimal.
pub(crate) async fn inspect(
    app: &App,
    bytes: Vec<u8>,
) -> Result<(Vec<u8>, std::result::Result<Inspected, ImageError>, String)> {
    let limits = app.limits.decoding.clone();
    let permit = app
        .decoding
        .clone()
        .acquire_owned()
        .await
        .map_err(|_| Error::unavailable("the server is stopping"))?;
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let inspected = imaging::inspect(&bytes, &limits);
        let sha256 = hex::encode(crypto::sha256(&bytes));
        (bytes, inspected, sha256)
    })
    .await
    .map_err(|_| Error::internal("an image could not be looked at"))
}
