//! From the newest shape to that of the version asked for.

use serde_json::{Map, Value, json};

use super::version::Version;

/// Sorts of answers, where versions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Domain,
    Project,
    Tag,
    Image,
    /// A summary of created images, which contains images.
    ImageSummary,
    Export,
    /// The same in every version.
    Plain,
}

/// `value`, made in the newest shape, as `version` has it. Lists are projected item by item.
pub(super) fn project(value: Value, shape: Shape, version: Version) -> Value {
    let fitted = fit(value, shape, version);
    if version <= Version::V1_2 { pascal(fitted) } else { fitted }
}

fn fit(value: Value, shape: Shape, version: Version) -> Value {
    match value {
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| fit(item, shape, version)).collect())
        }
        Value::Object(mut members) => {
            match shape {
                Shape::Domain => domain(&mut members, version),
                Shape::Project => fit_project(&mut members, version),
                Shape::Tag => {
                    if version < Version::V2_2 {
                        members.remove("type");
                    }
                }
                Shape::Image => image(&mut members, version),
                Shape::ImageSummary => {
                    for result in
                        members.get_mut("images").and_then(Value::as_array_mut).into_iter().flatten()
                    {
                        if let Some(Value::Object(members)) = result.get_mut("image") {
                            image(members, version);
                        }
                    }
                }
                Shape::Export => {
                    if version < Version(2, 1) {
                        members.remove("newerVersionAvailable");
                    }
                    if version < Version::V2_0 {
                        members.remove("flavor");
                    }
                }
                Shape::Plain => {}
            }
            Value::Object(members)
        }
        other => other,
    }
}

fn domain(members: &mut Map<String, Value>, version: Version) {
    if version < Version::V3_4 {
        members.remove("exportablePlatforms");
        members.remove("modelInformation");
    }
    if version < Version::V2_0 {
        members.remove("type");
        members.remove("enabled");
    }
}

fn fit_project(members: &mut Map<String, Value>, version: Version) {
    if version < Version::V3_2 {
        members.remove("status");
        members.remove("importErrorDetails");
    }
    if version < Version::V3_0 {
        members.remove("drModeEnabled");
    }
    if version <= Version::V1_2 {
        // The workspace, which 1.x lists as an untrained iteration, has the project's own id here.
        let id = members.get("id").cloned().unwrap_or_default();
        members.insert("currentIterationId".into(), id);
    }
    if let Some(Value::Object(settings)) = members.get_mut("settings") {
        if version < Version::V3_4 {
            settings.remove("exportModelContainerUri");
            settings.remove("notificationQueueUri");
        }
        if version < Version::V3_2 {
            settings.remove("useNegativeSet");
            settings.remove("detectionParameters");
            settings.remove("imageProcessingSettings");
        }
        if version < Version::V3_0 {
            settings.remove("targetExportPlatforms");
        }
        if version < Version(2, 1) {
            settings.remove("classificationType");
        }
    }
}

fn image(members: &mut Map<String, Value>, version: Version) {
    if version < Version::V3_3 {
        members.remove("metadata");
    }
    if version < Version::V2_2 {
        let resized = members.remove("resizedImageUri").unwrap_or_default();
        members.remove("originalImageUri");
        members.insert("imageUri".into(), resized);
    }
    if version <= Version::V1_2 {
        members.remove("regions");
        members.insert("predictions".into(), json!([]));
        for tag in members.get_mut("tags").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::Object(tag) = tag {
                tag.remove("tagName");
            }
        }
    }
}

/// Capital first letters, as 1.x spells names.
fn pascal(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(pascal).collect()),
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| {
                    let mut letters = name.chars();
                    let name = letters
                        .next()
                        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect());
                    (name, pascal(value))
                })
                .collect(),
        ),
        other => other,
    }
}

/// The members of a request in the newest spelling: 1.x clients send capital first letters.
pub(super) fn camel(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(camel).collect()),
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| {
                    let mut letters = name.chars();
                    let name = letters
                        .next()
                        .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect());
                    (name, camel(value))
                })
                .collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Value {
        json!({ "id": "1", "width": 2, "resizedImageUri": "r", "originalImageUri": "o", "thumbnailUri": "t",
                "tags": [{ "tagId": "5", "tagName": "x", "created": "c" }], "regions": [], "metadata": { "a": "b" } })
    }

    #[test]
    fn an_image_in_the_versions_that_clients_pin() {
        let shape = |version| project(example(), Shape::Image, version).to_string();
        assert_eq!(project(example(), Shape::Image, Version::V3_4), example());
        insta::assert_snapshot!(shape(Version::V3_0), @r#"{"id":"1","originalImageUri":"o","regions":[],"resizedImageUri":"r","tags":[{"created":"c","tagId":"5","tagName":"x"}],"thumbnailUri":"t","width":2}"#);
        insta::assert_snapshot!(shape(Version::V2_0), @r#"{"id":"1","imageUri":"r","regions":[],"tags":[{"created":"c","tagId":"5","tagName":"x"}],"thumbnailUri":"t","width":2}"#);
        insta::assert_snapshot!(shape(Version::V1_2), @r#"{"Id":"1","ImageUri":"r","Predictions":[],"Tags":[{"Created":"c","TagId":"5"}],"ThumbnailUri":"t","Width":2}"#);
    }

    #[test]
    fn spelling_goes_both_ways() {
        assert_eq!(camel(pascal(example())), example());
    }
}
