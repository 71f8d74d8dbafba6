//! Forms of any length (`multipart/form-data`), read with little memory.
//!
//! `multer`, which reads them, keeps whatever the body has ready, and all of it until it sees the first boundary, or the end of a part's
//! headers. So it is given a piece at a time, and between two parts no more than [`BETWEEN`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::multipart::Field;
use axum::extract::{FromRequest as _, Multipart, Request};
use futures::{Stream, StreamExt as _};
use habeas_core::{Error, Result};

/// The most bytes before the first part, and from the end of one part's content to the beginning of the next one's.
const BETWEEN: u64 = 1024 * 1024;
/// The most bytes that are given at a time.
const PIECE: usize = 64 * 1024;

/// A form, part by part.
pub(super) struct Form {
    parts: Multipart,
    room: Arc<AtomicU64>,
}

impl Form {
    /// The form in a request; an error when its head does not say that it has one.
    pub(super) async fn of(request: Request) -> Result<Form> {
        let room = Arc::new(AtomicU64::new(BETWEEN));
        let given = room.clone();
        let request = request.map(|body| {
            Body::from_stream(Pieces {
                body: body.into_data_stream(),
                rest: Bytes::new(),
                rests: false,
                room: given,
            })
        });
        let parts = Multipart::from_request(request, &()).await.map_err(|_| broken())?;
        Ok(Form { parts, room })
    }

    /// The next part, once the content of the one before was read to its end.
    pub(super) async fn next(&mut self) -> Result<Option<Field<'_>>> {
        self.room.store(BETWEEN, Ordering::Relaxed);
        let part = self.parts.next_field().await;
        self.room.store(u64::MAX, Ordering::Relaxed);
        part.map_err(|_| broken())
    }
}

/// What is said of a form that cannot be read.
pub(super) fn broken() -> Error {
    Error::invalid("the form is broken, was cut off, or has more than 1 MiB before a part's content")
        .hint("send multipart/form-data with `files` and `dirTree`")
}

/// A body in small pieces, with a pause after each: whoever reads for as long as there is something to read gets one.
struct Pieces {
    body: BodyDataStream,
    /// What came and was not given yet.
    rest: Bytes,
    /// Whether the pause is due.
    rests: bool,
    /// How much may still be given.
    room: Arc<AtomicU64>,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if std::mem::take(&mut self.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.rest.is_empty() {
            match ready!(self.body.poll_next_unpin(context)) {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                None => return Poll::Ready(None),
            }
        }
        let size = self.rest.len().min(PIECE);
        let Some(room) = self.room.load(Ordering::Relaxed).checked_sub(size as u64) else {
            return Poll::Ready(Some(Err(io::Error::other("more than fits between two parts of a form"))));
        };
        self.room.store(room, Ordering::Relaxed);
        self.rests = true;
        Poll::Ready(Some(Ok(self.rest.split_to(size))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const HEAD: &str = "--b\r\nContent-Disposition: form-data; name=files; filename=a\r\n\r\n";

    /// The sizes of the contents of a form's parts.
    async fn sizes(request: Request) -> Result<Vec<usize>> {
        let (mut form, mut sizes) = (Form::of(request).await?, Vec::new());
        while let Some(mut part) = form.next().await? {
            let mut size = 0;
            while let Some(piece) = part.chunk().await.map_err(|_| broken())? {
                // What came before the content began can be there already.
                assert!(piece.len() <= BETWEEN as usize + PIECE, "{}", piece.len());
                size += piece.len();
            }
            sizes.push(size);
        }
        Ok(sizes)
    }

    /// What the parts of a form have, and how many bytes of its body were taken.
    async fn read(body: Vec<u8>) -> (Result<Vec<usize>>, usize) {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let chunks: Vec<Bytes> = body.chunks(300_000).map(Bytes::copy_from_slice).collect();
        let stream = futures::stream::iter(chunks).map(move |chunk| {
            count.fetch_add(chunk.len(), Ordering::Relaxed);
            io::Result::Ok(chunk)
        });
        let request = axum::http::Request::post("/")
            .header("content-type", "multipart/form-data; boundary=b")
            .body(Body::from_stream(stream))
            .unwrap();
        let sizes = sizes(request).await;
        (sizes, taken.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn no_more_than_a_mebibyte_is_held_for_what_is_no_content() {
        let content = |size: usize| [HEAD.as_bytes(), &vec![b'x'; size], b"\r\n"].concat();
        let whole = [&content(1_500_000)[..], &content(0), &content(200_000), b"--b--\r\n"].concat();
        assert_eq!(read(whole).await.0.unwrap(), [1_500_000, 0, 200_000]);
        let padding = [&vec![b'x'; 900_000][..], b"\r\n", &content(5), b"--b--\r\n"].concat();
        assert_eq!(read(padding).await.0.unwrap(), [5]);
        let long_header = [&b"--b\r\nX: "[..], &vec![b'x'; 5_000_000]].concat();
        let between = [&content(70_000)[..], b"--b\r\nX: ", &vec![b'x'; 5_000_000]].concat();
        for endless in [vec![b'x'; 5_000_000], long_header, between] {
            let (found, taken) = read(endless).await;
            assert_eq!(found.unwrap_err().kind, habeas_core::ErrorKind::Invalid);
            assert!(taken < 2_000_000, "{taken}");
        }
    }
}
