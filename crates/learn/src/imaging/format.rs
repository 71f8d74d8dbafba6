//! Recognising an image by its first bytes; a name or a declared media type is never believed.

/// An image format that is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG (ITU-T T.81).
    Jpeg,
    /// PNG (ISO/IEC 15948).
    Png,
    /// GIF 87a or 89a. Only its first frame is used.
    Gif,
    /// Windows or OS/2 bitmap.
    Bmp,
    /// WebP: recognised, so that the answer can name it, but not accepted.
    Webp,
}

impl Format {
    /// Whether images of this format are accepted.
    pub fn is_accepted(self) -> bool {
        self != Format::Webp
    }

    /// The media type as registered with IANA, for `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Jpeg => "image/jpeg",
            Format::Png => "image/png",
            Format::Gif => "image/gif",
            Format::Bmp => "image/bmp",
            Format::Webp => "image/webp",
        }
    }

    /// The usual file extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Jpeg => "jpg",
            Format::Png => "png",
            Format::Gif => "gif",
            Format::Bmp => "bmp",
            Format::Webp => "webp",
        }
    }

    /// The name people use.
    pub fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::Gif => "GIF",
            Format::Bmp => "BMP",
            Format::Webp => "WebP",
        }
    }
}

/// The format these bytes begin like, or `None` if they are no image that is known here.
pub fn sniff(bytes: &[u8]) -> Option<Format> {
    if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
        Some(Format::Jpeg)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1A\n") {
        Some(Format::Png)
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        Some(Format::Gif)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(Format::Webp)
    } else if is_bitmap(bytes) {
        Some(Format::Bmp)
    } else {
        None
    }
}

/// Two letters are a weak mark, so the size of the header that follows must be one that exists: 12 (OS/2 1),
/// 16 or 64 (OS/2 2), 40, 52, 56, 108 or 124 (Windows).
fn is_bitmap(bytes: &[u8]) -> bool {
    bytes.starts_with(b"BM")
        && matches!(bytes.get(14..18), Some(&[12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]))
}
