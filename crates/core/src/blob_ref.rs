//! How a document points at sealed bytes in the object store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::crypto::SecretKey;
use crate::{Ambient, Id};

/// A blob: where it lies and the key that opens it. The key stands nowhere else, so that whoever destroys the
/// document's key makes the blob unreadable too.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// Random name in the object store.
    pub id: Id,
    /// The blob's own key.
    #[serde(serialize_with = "key_to_text", deserialize_with = "key_from_text")]
    pub key: SecretKey,
    /// Length of the plain bytes.
    pub size: u64,
    /// Media type of the plain bytes, such as `image/jpeg`.
    pub media_type: String,
}

impl BlobRef {
    /// A new blob with a random name and key.
    pub fn new(ambient: &Ambient, size: u64, media_type: &str) -> BlobRef {
        BlobRef {
            id: Id::random(&*ambient.random),
            key: SecretKey::random(&*ambient.random),
            size,
            media_type: media_type.to_owned(),
        }
    }
}

impl std::fmt::Debug for BlobRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobRef").field("id", &self.id).field("size", &self.size).finish_non_exhaustive()
    }
}

fn key_to_text<S: Serializer>(key: &SecretKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(key.expose()))
}

fn key_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretKey, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    let bytes =
        STANDARD.decode(text.as_bytes()).map_err(|_| serde::de::Error::custom("a blob key is not base64"))?;
    let bytes = <[u8; 32]>::try_from(bytes)
        .map_err(|_| serde::de::Error::custom("a blob key is not 32 bytes long"))?;
    Ok(SecretKey::from_bytes(bytes))
}
