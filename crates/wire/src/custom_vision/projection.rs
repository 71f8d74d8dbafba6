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
    Iteration,
    /// Of an iteration.
    Performance,
    ImagePerformance,
    Export,
    /// Of the prediction API, whose versions are not those of the training API.
    Prediction,
    QuickTest,
    /// Stored predictions and the token of their query.
    PredictionQuery,
    Suggestion,
    /// Stored suggestions and the token of their query.
    SuggestionQuery,
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
                Shape::Iteration => iteration(&mut members, version),
                Shape::Performance => performance(&mut members, version),
                Shape::ImagePerformance => image_performance(&mut members, version),
                Shape::Export => {
                    if version < Version(2, 1) {
                        members.remove("newerVersionAvailable");
                    }
                    if version < Version::V2_0 {
                        members.remove("flavor");
                    }
                }
                Shape::Prediction => predictions(&mut members, version, Version(3, 1)),
                Shape::QuickTest | Shape::Suggestion => predictions(&mut members, version, Version::V3_3),
                Shape::PredictionQuery | Shape::SuggestionQuery => {
                    for result in
                        members.get_mut("results").and_then(Value::as_array_mut).into_iter().flatten()
                    {
                        if let Value::Object(result) = result {
                            predictions(result, version, Version::V3_3);
                            stored_prediction(result, version);
                        }
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

fn iteration(members: &mut Map<String, Value>, version: Version) {
    if version < Version::V3_4 {
        members.remove("customBaseModelInfo");
        members.remove("trainingErrorDetails");
    }
    if version < Version::V3_2 {
        members.remove("trainingTimeInMinutes");
    }
    if version < Version::V3_0 {
        for name in [
            "exportableTo",
            "trainingType",
            "reservedBudgetInHours",
            "publishName",
            "originalPublishResourceId",
        ] {
            members.remove(name);
        }
    } else {
        // Names took the place of the default.
        members.remove("isDefault");
    }
    if version < Version(2, 1) {
        members.remove("classificationType");
    }
}

fn performance(members: &mut Map<String, Value>, version: Version) {
    if version < Version::V2_0 {
        members.remove("averagePrecision");
        for tag in members.get_mut("perTagPerformance").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::Object(tag) = tag {
                tag.remove("averagePrecision");
            }
        }
    }
}

fn image_performance(members: &mut Map<String, Value>, version: Version) {
    predictions(members, version, Version::V3_3);
}

/// `predictions` with the type of each tag from `typed` on; in 1.x without boxes, and with the tag's name as `Tag`.
fn predictions(members: &mut Map<String, Value>, version: Version, typed: Version) {
    for prediction in members.get_mut("predictions").and_then(Value::as_array_mut).into_iter().flatten() {
        let Value::Object(prediction) = prediction else { continue };
        if version < typed {
            prediction.remove("tagType");
        }
        if version <= Version::V1_2 {
            prediction.remove("boundingBox");
            let name = prediction.remove("tagName").unwrap_or_default();
            prediction.insert("tag".into(), name);
        }
    }
}

fn stored_prediction(members: &mut Map<String, Value>, version: Version) {
    if version < Version::V2_2 {
        let resized = members.remove("resizedImageUri").unwrap_or_default();
        members.remove("originalImageUri");
        members.insert("imageUri".into(), resized);
    }
    if version <= Version::V1_2 {
        members.remove("domain");
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
    fn an_iteration_in_the_versions_that_clients_pin() {
        let iteration = json!({
            "id": "1", "name": "n", "isDefault": true, "status": "Completed", "created": "c", "lastModified": "m",
            "trainedAt": "t", "projectId": "2", "exportable": true, "exportableTo": ["ONNX"], "domainId": "3",
            "classificationType": "Multilabel", "trainingType": "Regular", "reservedBudgetInHours": 0,
            "trainingTimeInMinutes": 1, "publishName": "p", "originalPublishResourceId": "r",
            "customBaseModelInfo": null, "trainingErrorDetails": null,
        });
        let shape = |version| project(iteration.clone(), Shape::Iteration, version).to_string();
        insta::assert_snapshot!(shape(Version::V3_4), @r#"{"classificationType":"Multilabel","created":"c","customBaseModelInfo":null,"domainId":"3","exportable":true,"exportableTo":["ONNX"],"id":"1","lastModified":"m","name":"n","originalPublishResourceId":"r","projectId":"2","publishName":"p","reservedBudgetInHours":0,"status":"Completed","trainedAt":"t","trainingErrorDetails":null,"trainingTimeInMinutes":1,"trainingType":"Regular"}"#);
        insta::assert_snapshot!(shape(Version::V3_3), @r#"{"classificationType":"Multilabel","created":"c","domainId":"3","exportable":true,"exportableTo":["ONNX"],"id":"1","lastModified":"m","name":"n","originalPublishResourceId":"r","projectId":"2","publishName":"p","reservedBudgetInHours":0,"status":"Completed","trainedAt":"t","trainingTimeInMinutes":1,"trainingType":"Regular"}"#);
        assert_eq!(shape(Version::V3_2), shape(Version::V3_3));
        insta::assert_snapshot!(shape(Version::V3_0), @r#"{"classificationType":"Multilabel","created":"c","domainId":"3","exportable":true,"exportableTo":["ONNX"],"id":"1","lastModified":"m","name":"n","originalPublishResourceId":"r","projectId":"2","publishName":"p","reservedBudgetInHours":0,"status":"Completed","trainedAt":"t","trainingType":"Regular"}"#);
        assert_eq!(shape(Version(3, 1)), shape(Version::V3_0));
        insta::assert_snapshot!(shape(Version::V2_2), @r#"{"classificationType":"Multilabel","created":"c","domainId":"3","exportable":true,"id":"1","isDefault":true,"lastModified":"m","name":"n","projectId":"2","status":"Completed","trainedAt":"t"}"#);
        assert_eq!(shape(Version(2, 1)), shape(Version::V2_2));
        insta::assert_snapshot!(shape(Version::V2_0), @r#"{"created":"c","domainId":"3","exportable":true,"id":"1","isDefault":true,"lastModified":"m","name":"n","projectId":"2","status":"Completed","trainedAt":"t"}"#);
        insta::assert_snapshot!(shape(Version::V1_2), @r#"{"Created":"c","DomainId":"3","Exportable":true,"Id":"1","IsDefault":true,"LastModified":"m","Name":"n","ProjectId":"2","Status":"Completed","TrainedAt":"t"}"#);
    }

    #[test]
    fn performances_in_the_versions_that_clients_pin() {
        let performance = json!({
            "perTagPerformance": [{ "id": "1", "precision": 0.5, "averagePrecision": 0.25 }],
            "precision": 0.5, "averagePrecision": 0.25,
        });
        let shape = |version| project(performance.clone(), Shape::Performance, version).to_string();
        assert_eq!(shape(Version::V2_0), performance.to_string());
        insta::assert_snapshot!(shape(Version::V1_2), @r#"{"PerTagPerformance":[{"Id":"1","Precision":0.5}],"Precision":0.5}"#);
        let image =
            json!({ "id": "1", "predictions": [{ "tagId": "2", "probability": 0.5, "tagType": "Regular" }] });
        let shape = |version| project(image.clone(), Shape::ImagePerformance, version).to_string();
        assert_eq!(shape(Version::V3_3), image.to_string());
        insta::assert_snapshot!(shape(Version::V3_2), @r#"{"id":"1","predictions":[{"probability":0.5,"tagId":"2"}]}"#);
    }

    #[test]
    fn predictions_in_the_versions_that_clients_pin() {
        let predictions = json!([{ "probability": 0.5, "tagId": "5", "tagName": "x", "boundingBox": null, "tagType": "Regular" }]);
        let answer = json!({ "id": "1", "project": "2", "iteration": "3", "created": "c", "predictions": predictions });
        let shape = |shape, version| project(answer.clone(), shape, version).to_string();
        assert_eq!(project(answer.clone(), Shape::Prediction, Version(3, 1)), answer);
        insta::assert_snapshot!(shape(Shape::Prediction, Version::V3_0), @r#"{"created":"c","id":"1","iteration":"3","predictions":[{"boundingBox":null,"probability":0.5,"tagId":"5","tagName":"x"}],"project":"2"}"#);
        assert_eq!(shape(Shape::Prediction, Version::V2_0), shape(Shape::Prediction, Version::V3_0));
        assert_eq!(shape(Shape::QuickTest, Version::V3_2), shape(Shape::Prediction, Version::V3_0));
        insta::assert_snapshot!(shape(Shape::Prediction, Version::V1_2), @r#"{"Created":"c","Id":"1","Iteration":"3","Predictions":[{"Probability":0.5,"Tag":"x","TagId":"5"}],"Project":"2"}"#);
        let stored = json!({ "token": { "session": "s", "maxCount": 1 }, "results": [{
            "resizedImageUri": "r", "thumbnailUri": "t", "originalImageUri": "o", "domain": "d", "id": "1", "project": "2",
            "iteration": "3", "created": "c", "predictions": predictions,
        }] });
        let shape = |version| project(stored.clone(), Shape::PredictionQuery, version).to_string();
        assert_eq!(project(stored.clone(), Shape::PredictionQuery, Version::V3_3), stored);
        insta::assert_snapshot!(shape(Version::V2_2), @r#"{"results":[{"created":"c","domain":"d","id":"1","iteration":"3","originalImageUri":"o","predictions":[{"boundingBox":null,"probability":0.5,"tagId":"5","tagName":"x"}],"project":"2","resizedImageUri":"r","thumbnailUri":"t"}],"token":{"maxCount":1,"session":"s"}}"#);
        insta::assert_snapshot!(shape(Version::V2_0), @r#"{"results":[{"created":"c","domain":"d","id":"1","imageUri":"r","iteration":"3","predictions":[{"boundingBox":null,"probability":0.5,"tagId":"5","tagName":"x"}],"project":"2","thumbnailUri":"t"}],"token":{"maxCount":1,"session":"s"}}"#);
        insta::assert_snapshot!(shape(Version::V1_2), @r#"{"Results":[{"Created":"c","Id":"1","ImageUri":"r","Iteration":"3","Predictions":[{"Probability":0.5,"Tag":"x","TagId":"5"}],"Project":"2","ThumbnailUri":"t"}],"Token":{"MaxCount":1,"Session":"s"}}"#);
    }

    #[test]
    fn spelling_goes_both_ways() {
        assert_eq!(camel(pascal(example())), example());
    }
}
