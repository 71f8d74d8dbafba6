//! The domains: Microsoft's ids and names, so that programs with ids built in find what they expect.

use habeas_core::Id;
use serde_json::{Value, json};

/// A domain.
#[derive(Debug)]
pub struct Domain {
    /// Its id, as Microsoft's service has it.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Whether it is for object detection; otherwise for classification.
    pub detection: bool,
    /// Whether models of it can be exported.
    pub compact: bool,
    /// Whether new projects may use it.
    pub enabled: bool,
    /// Size of an exported model, in megabytes.
    pub megabytes: u32,
}

const fn domain(
    id: &'static str,
    name: &'static str,
    detection: bool,
    compact: bool,
    megabytes: u32,
) -> Domain {
    Domain { id, name, detection, compact, enabled: true, megabytes }
}

/// The domain of a project that names none.
pub const DEFAULT: &str = "ee85a74c-405e-4adc-bb47-ffa8ca0c9f31";

/// All domains. The general one of each type comes first: the JavaScript detection quickstart takes the first detection domain.
pub const DOMAINS: &[Domain] = &[
    domain(DEFAULT, "General", false, false, 0),
    domain("a8e3c40f-fb4a-466f-832a-5e457ae4a344", "General [A1]", false, false, 0),
    domain("2e37d7fb-3a54-486a-b4d6-cfc369af0018", "General [A2]", false, false, 0),
    domain("c151d5b5-dd07-472a-acc8-15d29dea8518", "Food", false, false, 0),
    domain("ca455789-012d-4b50-9fec-5bb63841c793", "Landmarks", false, false, 0),
    domain("b30a91ae-e3c1-4f73-a81e-c270bff27c39", "Retail", false, false, 0),
    // Removed from Microsoft's service in March 2019; old programs may still name it.
    Domain { enabled: false, ..domain("45badf75-3591-4f26-a705-45678d3e9f5f", "Adult", false, false, 0) },
    domain("0732100f-1a38-4e49-a514-c9b44c697ab5", "General (compact)", false, true, 6),
    domain("a1db07ca-a19a-4830-bae8-e004a42dc863", "General (compact) [S1]", false, true, 43),
    domain("8882951b-82cd-4c32-970b-d5f8cb8bf6d7", "Food (compact)", false, true, 6),
    domain("b5cfd229-2ac7-4b2b-8d0a-2b0661344894", "Landmarks (compact)", false, true, 6),
    domain("6b4faeda-8396-481b-9f8b-177b9fa3097f", "Retail (compact)", false, true, 6),
    domain("da2e3a8a-40a5-4171-82f4-58522f70fbc1", "General", true, false, 0),
    domain("9c616dff-2e7d-ea11-af59-1866da359ce6", "General [A1]", true, false, 0),
    domain("1d8ffafe-ec40-4fb2-8f90-72b3b6cecea4", "Logo", true, false, 0),
    domain("3780a898-81c3-4516-81ae-3a139614e1f3", "Products on shelves", true, false, 0),
    domain("a27d5ca5-bb19-49d8-a70a-fec086c47f5b", "General (compact)", true, true, 45),
    domain("7ec2ac80-887b-48a6-8df9-8b1357765430", "General (compact) [S1]", true, true, 14),
];

/// The domain with this id.
pub fn find(id: Id) -> Option<&'static Domain> {
    let text = id.to_string();
    DOMAINS.iter().find(|domain| domain.id == text)
}

/// The platforms that the protocol knows.
pub const PLATFORMS: [&str; 6] = ["CoreML", "TensorFlow", "DockerFile", "ONNX", "VAIDK", "OpenVino"];

/// The platforms that iterations of this domain can be exported to: an iteration's `exportableTo`; it is `exportable` when there are any.
pub fn exportable_to(domain: Id) -> &'static [&'static str] {
    find(domain).map_or(&[], Domain::platforms)
}

impl Domain {
    /// The platforms that models of it can be exported to: of Microsoft's six the one whose files are written here.
    pub fn platforms(&self) -> &'static [&'static str] {
        if self.compact { &["ONNX"] } else { &[] }
    }

    /// Its shape in the newest version.
    pub fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "type": if self.detection { "ObjectDetection" } else { "Classification" },
            "exportable": self.compact,
            "enabled": self.enabled,
            "exportablePlatforms": self.platforms(),
            "modelInformation": self.compact.then(|| json!({
                "estimatedModelSizeInMegabytes": self.megabytes,
                "description": "",
            })),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_guids_and_the_general_domains_come_first() {
        for domain in DOMAINS {
            assert_eq!(find(domain.id.parse().unwrap()).unwrap().name, domain.name);
        }
        assert_eq!(DOMAINS.len(), 18);
        for domain in DOMAINS {
            assert_eq!(exportable_to(domain.id.parse().unwrap()).is_empty(), !domain.compact);
        }
        assert_eq!(DOMAINS.iter().find(|domain| domain.detection).unwrap().name, "General");
    }
}
