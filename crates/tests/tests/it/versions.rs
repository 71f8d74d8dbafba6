//! Every version of the API, also those that no packaged client speaks: the members of their answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone};
use crate::learning::{folder, photos};

/// Versions of the training API. Unknown ones of 3 and above are answered like the newest.
const TRAINING: [&str; 12] =
    ["v1.0", "v1.1", "v1.2", "v2.0", "v2.1", "v2.2", "v3.0", "v3.1", "v3.2", "v3.3", "v3.4-preview", "v4.0"];

/// Versions of the prediction API.
const PREDICTION: [&str; 5] = ["v1.0", "v1.1", "v2.0", "v3.0", "v3.1"];

fn test_photo() -> Vec<u8> {
    std::fs::read(photos().join("ImageClassification/Images/Test/test_image.jpg")).unwrap()
}

async fn send(
    deployment: &Deployment,
    key: &str,
    (method, path): (&str, &str),
    body: impl Into<Body>,
) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("/customvision/{path}"))
        .header("training-key", key)
        .header("content-type", "application/octet-stream")
        .body(body.into())
        .unwrap();
    let (status, bytes) = deployment.send(request).await;
    (status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
}

/// The names of an answer's members; those of objects in it with their path.
fn members(value: &Value, path: &str, names: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| members(item, path, names)),
        Value::Object(found) => {
            for (name, value) in found {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                members(value, &path, names);
                names.insert(path);
            }
        }
        _ => {}
    }
}

/// A project whose only iteration is the default one and published as `m`, with a stored prediction and a suggestion; it and the iteration.
async fn trained(deployment: &Deployment, someone: &Someone) -> (String, String) {
    let project = deployment
        .project(someone, "p&classificationType=Multiclass&domainId=0732100f-1a38-4e49-a514-c9b44c697ab5")
        .await;
    for name in ["Hemlock", "Japanese_Cherry"] {
        let tag = deployment.tag(someone, &project, name).await;
        for (file, bytes) in folder(&photos().join("ImageClassification/Images").join(name)).iter().take(5) {
            deployment.image(someone, &project, file, bytes, &[&tag]).await;
        }
    }
    let untagged = deployment.image(someone, &project, "y.jpg", &test_photo(), &[]).await;
    let call = async |method: &str, path: &str, body: Option<Value>| {
        let path = format!("/projects/{project}{path}");
        let (status, answer) = deployment.train(method, &someone.key, &path, body).await;
        assert!(status.is_success(), "{method} {path}: {answer}");
        answer
    };
    let iteration = call("POST", "/train", None).await["id"].as_str().unwrap().to_owned();
    let path = format!("/iterations/{iteration}");
    while call("GET", &path, None).await["status"] == "Training" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    call("POST", &format!("{path}/publish?publishName=m&predictionId=x"), None).await;
    call("POST", &format!("/tagsandregions/suggestions?iterationId={iteration}&imageIds={untagged}"), None)
        .await;
    let old = format!("v2.2/Training/projects/{project}/iterations/{iteration}");
    let default = json!({ "name": "first", "isDefault": true }).to_string();
    assert_eq!(send(deployment, &someone.key, ("PATCH", &old), default).await.0, 200);
    (project, iteration)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_members_of_their_version() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let (project, iteration) = trained(&deployment, &someone).await;
    let key = &someone.key;
    let mut report = String::new();
    let mut earlier = BTreeMap::new();
    for version in PREDICTION {
        let path = if version < "v3" { "image" } else { "classify/iterations/m/image" };
        let path = format!("{version}/Prediction/{project}/{path}");
        let (status, answer) = send(&deployment, key, ("POST", &path), test_photo()).await;
        assert_eq!(status, 200, "{path}: {answer}");
        write(&mut report, &mut earlier, ("prediction", version), &[("PredictImage", answer)]);
    }
    earlier.clear();
    for version in TRAINING {
        let of_iteration = format!("/iterations/{iteration}");
        let mut answers = Vec::new();
        for (operation, method, path, body) in [
            ("GetDomains", "GET", "/domains".to_owned(), Body::empty()),
            ("GetProjects", "GET", "/projects".to_owned(), Body::empty()),
            ("GetTags", "GET", "/tags".to_owned(), Body::empty()),
            ("GetTaggedImages", "GET", "/images/tagged".to_owned(), Body::empty()),
            ("CreateImagesFromData", "POST", "/images".to_owned(), Body::from(test_photo())),
            ("GetIteration", "GET", of_iteration.clone(), Body::empty()),
            ("Performance", "GET", format!("{of_iteration}/performance?threshold=0.5"), Body::empty()),
            ("ImagePerformances", "GET", format!("{of_iteration}/performance/images"), Body::empty()),
            ("QuickTestImage", "POST", "/quicktest/image?store=false".to_owned(), Body::from(test_photo())),
            ("QueryPredictions", "POST", "/predictions/query".to_owned(), Body::from("{}")),
            ("Suggested", "POST", format!("/images/suggested?iterationId={iteration}"), Body::from("{}")),
            ("GetNothing", "GET", "/tags/0190b3a4-5c6d-7e8f-9012-3456789abcde".to_owned(), Body::empty()),
        ] {
            let path = match operation {
                "GetDomains" | "GetProjects" => format!("{version}/Training{path}"),
                _ => format!("{version}/training/projects/{project}{path}"),
            };
            let (status, answer) = send(&deployment, key, (method, &path), body).await;
            assert_eq!(status, if operation == "GetNothing" { 404 } else { 200 }, "{path}: {answer}");
            answers.push((operation, answer));
        }
        write(&mut report, &mut earlier, ("training", version), &answers);
    }
    insta::assert_snapshot!(report);
}

/// Adds a version: only what is not as in the version before.
fn write(
    report: &mut String,
    earlier: &mut BTreeMap<String, String>,
    (api, version): (&str, &str),
    answers: &[(&str, Value)],
) {
    writeln!(report, "{api} {version}").unwrap();
    for (operation, answer) in answers {
        let mut names = BTreeSet::new();
        members(answer, "", &mut names);
        let names = names.into_iter().collect::<Vec<_>>().join(" ");
        if earlier.get(*operation) != Some(&names) {
            writeln!(report, "  {operation}: {names}").unwrap();
            earlier.insert((*operation).to_owned(), names);
        }
    }
}
