//! Why an image is not accepted.

use thiserror::Error;

use super::Format;

/// Why an image is not accepted. The messages say what to change; they never hold a file name or metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// Not one of the accepted formats.
    #[error("{}", format_message(*found))]
    Format {
        /// The format that was recognised but is not accepted.
        found: Option<Format>,
    },
    /// A side has no pixel, or more than permitted.
    #[error("the image is {width}x{height} pixels: each side must have 1 to {max_side}")]
    Dimensions {
        /// Width in pixels, as declared.
        width: u32,
        /// Height in pixels, as declared.
        height: u32,
        /// The longest side permitted, in pixels.
        max_side: u32,
    },
    /// The image is too elongated.
    #[error(
        "the image is {width}x{height} pixels: the longer side may be at most {max_aspect_ratio} times the shorter"
    )]
    AspectRatio {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// How many times longer than the other a side may be.
        max_aspect_ratio: u32,
    },
    /// Decoding it would take more memory than permitted, although each side is short enough.
    #[error("the image has too many pixels, or too many channels, to be decoded: send it in a smaller size")]
    TooManyPixels,
    /// The data end before the image does.
    #[error("the image data end too early: send the file again, it was probably cut off on its way")]
    Truncated,
    /// The data have the marks of the format but cannot be decoded.
    #[error(
        "the image data are damaged or use a feature that is not supported: save the image again and retry"
    )]
    Damaged,
    /// A copy of the decoded image could not be made; a mistake of ours.
    #[error("no scaled copy of the image could be made")]
    Scaling,
}

fn format_message(found: Option<Format>) -> String {
    let subject = match found {
        Some(format) => format!("the image is {}, which is not accepted", format.name()),
        None => "the data are not an image of a known format".to_owned(),
    };
    format!("{subject}: send JPEG, PNG, GIF or BMP")
}

impl From<ImageError> for habeas_core::Error {
    /// With the code Custom Vision has for it.
    fn from(error: ImageError) -> habeas_core::Error {
        let code = match &error {
            ImageError::Format { .. } | ImageError::Truncated | ImageError::Damaged => {
                "BadRequestImageFormat"
            }
            ImageError::Dimensions { .. } | ImageError::TooManyPixels => "BadRequestImageDimensions",
            ImageError::AspectRatio { .. } => "BadRequestImageAspectRatio",
            ImageError::Scaling => return habeas_core::Error::internal(error.to_string()),
        };
        habeas_core::Error::invalid(error.to_string()).code(code)
    }
}
