//! Which extractors there are, and what they are called.

/// A way from pixels to numbers. Its name stands in the data map and in every model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extractor {
    pub(super) base: Base,
    /// Whether there is a row for each of an image's four views, too.
    pub(super) views: bool,
}

/// What an extractor runs over the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// phi-v1.
    Phi,
    /// The maps of a detector.
    Maps,
    /// A user's own, by the SHA-256 of its file.
    Backbone([u8; 32]),
}

/// How the names of extractors of a user's own begin; the SHA-256 of the file follows, in hexadecimal.
const BACKBONE: &str = "backbone-";
/// How the names of extractors of several views end.
const OF_VIEWS: &str = "-views";

impl Extractor {
    /// One row of 5,424 numbers.
    pub(crate) const PHI: Extractor = Extractor { base: Base::Phi, views: false };
    /// Maps of a detector.
    pub(crate) const MAPS: Extractor = Extractor { base: Base::Maps, views: false };

    /// A user's own, by the SHA-256 of its file.
    pub(super) fn backbone(digest: [u8; 32]) -> Extractor {
        Extractor { base: Base::Backbone(digest), views: false }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Extractor> {
        let (base, views) = name.strip_suffix(OF_VIEWS).map_or((name, false), |base| (base, true));
        let base = match base {
            "phi-v1" => Base::Phi,
            "maps-v1" => Base::Maps,
            _ => Base::Backbone(hex::decode(base.strip_prefix(BACKBONE)?).ok()?.try_into().ok()?),
        };
        Some(Extractor { base, views })
    }

    pub(crate) fn name(self) -> String {
        let base = match self.base {
            Base::Phi => "phi-v1".to_owned(),
            Base::Maps => "maps-v1".to_owned(),
            Base::Backbone(digest) => format!("{BACKBONE}{}", hex::encode(digest)),
        };
        if self.views { base + OF_VIEWS } else { base }
    }

    /// Whether it is a user's own.
    pub(crate) fn is_of_user(self) -> bool {
        matches!(self.base, Base::Backbone(_))
    }
}
