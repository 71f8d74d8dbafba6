//! Identifiers: 128-bit UUIDs, random enough that knowing one tells nothing about another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Random, Result, Timestamp};

/// The identifier of a resource, a holder, a blob or a task: a UUID, sixteen bytes in every store.
///
/// New ones are UUID version 7 (RFC 9562): a millisecond time and 74 random bits, so that rows made together
/// lie together in an index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 16]);

impl Id {
    /// The nil UUID: the installation itself (see [`crate::HolderKind::Installation`]).
    pub const NIL: Id = Id([0; 16]);

    /// A fresh version 7 identifier.
    pub fn new(now: Timestamp, random: &dyn Random) -> Id {
        let mut bytes = [0_u8; 16];
        random.fill(&mut bytes);
        let milliseconds = now.0.max(0) / 1_000;
        bytes[..6].copy_from_slice(&milliseconds.to_be_bytes()[2..]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Id(bytes)
    }

    /// A fresh version 4 identifier, which tells nothing about when it was made (blob names, secrets).
    pub fn random(random: &dyn Random) -> Id {
        let mut bytes = [0_u8; 16];
        random.fill(&mut bytes);
        bytes[6] = 0x40 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Id(bytes)
    }

    /// The identifier with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Id {
        Id(bytes)
    }

    /// The identifier in a stored column; an error when it is not sixteen bytes long.
    pub fn from_slice(bytes: &[u8]) -> Result<Id> {
        bytes.try_into().map(Id).map_err(|_| {
            Error::damaged(format!("an identifier of {} bytes where 16 are expected", bytes.len()))
        })
    }

    /// The sixteen bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Thirty-two lower-case hexadecimal digits without hyphens.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(uuid::Uuid::from_bytes_ref(&self.0), f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = Error;

    /// Accepts the hyphenated and the plain hexadecimal form, in either case.
    fn from_str(text: &str) -> Result<Id> {
        uuid::Uuid::try_parse(text).map(|uuid| Id(*uuid.as_bytes())).map_err(|_| {
            Error::invalid("not a GUID").hint("a GUID looks like 0190b3a4-5c6d-7e8f-9012-3456789abcde")
        })
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRandom;

    #[test]
    fn version_7_sorts_by_time_and_round_trips() {
        let random = SeededRandom::new(1);
        let first = Id::new(Timestamp(1_000_000), &random);
        let second = Id::new(Timestamp(2_000_000), &random);
        assert!(first < second);
        assert_eq!(first.to_string().parse::<Id>().unwrap(), first);
        assert_eq!(first.to_hex().parse::<Id>().unwrap(), first);
        assert_eq!(first.to_string().as_bytes()[14], b'7');
        assert!("zz".parse::<Id>().is_err());
    }
}
