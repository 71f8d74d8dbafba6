//! The versions of the API. One set of handlers answers all; the shape of an answer is fitted to the version.

use std::str::FromStr;

use habeas_core::Error;

/// A version of the training or prediction API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u8, pub u8);

impl Version {
    /// The last version that speaks PascalCase.
    pub const V1_2: Version = Version(1, 2);
    /// The first version that speaks camelCase.
    pub const V2_0: Version = Version(2, 0);
    /// Tags got a type; image addresses were split into original and resized.
    pub const V2_2: Version = Version(2, 2);
    /// Errors got a body of their own.
    pub const V3_0: Version = Version(3, 0);
    /// Deletion of all images; project status.
    pub const V3_2: Version = Version(3, 2);
    /// Metadata; 207 for partial success.
    pub const V3_3: Version = Version(3, 3);
    /// The newest, called 3.4-preview.
    pub const V3_4: Version = Version(3, 4);
}

impl FromStr for Version {
    type Err = Error;

    /// Reads `v3.3` or `v3.4-preview`. Versions 1.0 and 1.1 are answered like 1.2, unknown ones of 3 and above like the newest: a
    /// client that pins a version nobody knows is better served than refused.
    fn from_str(text: &str) -> Result<Version, Error> {
        let unknown = || {
            Error::not_found("there is no such version of the API").hint("versions are v1.2 to v3.4-preview")
        };
        let digits = text.strip_prefix(['v', 'V']).ok_or_else(unknown)?;
        let digits = digits.split('-').next().unwrap_or_default();
        let (major, minor) = digits.split_once('.').unwrap_or((digits, "0"));
        let (major, minor): (u8, u8) =
            (major.parse().map_err(|_| unknown())?, minor.parse().map_err(|_| unknown())?);
        match (major, minor) {
            (1, _) => Ok(Version::V1_2),
            (2, 0..=2) | (3, 0..=3) => Ok(Version(major, minor)),
            (2, _) => Ok(Version::V2_2),
            (3.., _) => Ok(Version::V3_4),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_clients_pin() {
        let read = |text: &str| text.parse::<Version>().ok();
        assert_eq!(read("v1.2"), Some(Version::V1_2));
        assert_eq!(read("v1.0"), Some(Version::V1_2));
        assert_eq!(read("v3.3"), Some(Version::V3_3));
        assert_eq!(read("v3.4-preview"), Some(Version::V3_4));
        assert_eq!(read("v4.0"), Some(Version::V3_4));
        assert_eq!(read("3.3"), None);
        assert_eq!(read("v0.9"), None);
        assert_eq!(read("latest"), None);
    }
}
