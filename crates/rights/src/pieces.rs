//! What is written on a blocking thread, read on an async one: memory stays bounded however slow the reader is.

use std::io::{self, Write};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use habeas_core::Result;
use tokio::sync::mpsc;

/// Bytes handed over at a time, and how many such pieces may wait: what a slow reader can make the server hold.
const PIECE: usize = 256 * 1024;
const PIECES: usize = 8;

/// The writing end. What is left in it is handed over by [`Pieces::hand_over`] only, so that what broke off is not taken for whole.
#[derive(Debug)]
pub struct Pieces {
    out: mpsc::Sender<Result<Bytes>>,
    buffer: Vec<u8>,
}

/// A writing end and a reading end.
pub(crate) fn channel() -> (Pieces, mpsc::Receiver<Result<Bytes>>) {
    let (out, stream) = mpsc::channel(PIECES);
    (Pieces { out, buffer: Vec::with_capacity(PIECE) }, stream)
}

/// Streams what `write` writes. An error in the middle ends the stream with it, so that something broken is not taken for whole.
pub fn stream(
    write: impl FnOnce(Pieces) -> Result<()> + Send + 'static,
) -> BoxStream<'static, Result<Bytes>> {
    let (out, stream) = channel();
    let failed = out.out.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = write(out) {
            // Whoever went away wants no error either.
            let _ = failed.blocking_send(Err(error));
        }
    });
    futures::stream::unfold(
        stream,
        |mut stream| async move { stream.recv().await.map(|piece| (piece, stream)) },
    )
    .boxed()
}

impl Pieces {
    /// Hands over what is left. Fails when nobody reads any more.
    pub fn hand_over(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.out.blocking_send(Ok(Bytes::from(piece))).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
