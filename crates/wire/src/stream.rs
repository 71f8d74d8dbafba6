//! Sending sealed blobs: whole, or the range asked for.

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use habeas_core::BlobRef;
use habeas_store::Store;

/// The answer that carries a blob: 200, or 206 with the range that `Range` asks for (RFC 9110, section 14; one range), or 416.
pub fn blob(store: &Store, blob: &BlobRef, request: &HeaderMap) -> Response {
    let size = blob.size;
    let range =
        request.get(RANGE).and_then(|value| value.to_str().ok()).map(|value| parse_range(value, size));
    let (status, from, to) = match range {
        None | Some(Range::Ignored) => (StatusCode::OK, 0, size),
        Some(Range::Bytes(from, to)) => (StatusCode::PARTIAL_CONTENT, from, to),
        Some(Range::Unsatisfiable) => {
            let range = HeaderValue::from_str(&format!("bytes */{size}"));
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            response.headers_mut().extend(range.ok().map(|range| (CONTENT_RANGE, range)));
            return response;
        }
    };
    let mut response = Body::from_stream(store.blobs().stream(blob, from..to)).into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(to - from));
    // What is erased must not live on in a cache on the way.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    if let Ok(media_type) = HeaderValue::from_str(&blob.media_type) {
        headers.insert(CONTENT_TYPE, media_type);
    }
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(range) = HeaderValue::from_str(&format!("bytes {from}-{}/{size}", to - 1))
    {
        headers.insert(CONTENT_RANGE, range);
    }
    response
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// From the first to before the second.
    Bytes(u64, u64),
    Unsatisfiable,
    /// Not a form that has to be understood.
    Ignored,
}

fn parse_range(value: &str, size: u64) -> Range {
    let Some((first, last)) = value.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Range::Ignored;
    };
    let (from, to) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.trim().is_empty() => (first, size),
        (Err(_), Ok(suffix)) if first.trim().is_empty() => (size.saturating_sub(suffix), size),
        _ => return Range::Ignored,
    };
    if from >= to { Range::Unsatisfiable } else { Range::Bytes(from, to) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_clients_send_them() {
        assert_eq!(parse_range("bytes=0-9", 100), Range::Bytes(0, 10));
        assert_eq!(parse_range("bytes=90-", 100), Range::Bytes(90, 100));
        assert_eq!(parse_range("bytes=-10", 100), Range::Bytes(90, 100));
        assert_eq!(parse_range("bytes=90-900", 100), Range::Bytes(90, 100));
        assert_eq!(parse_range("bytes=100-", 100), Range::Unsatisfiable);
        assert_eq!(parse_range("bytes=0-1,5-6", 100), Range::Ignored);
        assert_eq!(parse_range("lines=0-1", 100), Range::Ignored);
    }
}
