//! Training, measuring, predicting, exporting and unlearning on the quickstart's photos, through the protocol.

use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::Id;
use habeas_core::kinds::{Iteration, TrainedModel};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};

/// The sample photos.
pub(crate) fn photos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/custom-vision/CustomVision")
}

/// Name and bytes of the photos in a folder, in the order of their names.
pub(crate) fn folder(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// A project at work.
pub(crate) struct Work<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) someone: &'a Someone,
    pub(crate) project: String,
}

impl Work<'_> {
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let path = format!("/projects/{}{path}", self.project);
        let (status, body) = self.deployment.train(method, &self.someone.key, &path, body).await;
        (status.as_u16(), body)
    }

    /// Uploads photos, each with these tags and the regions that are given for its name; their ids.
    pub(crate) async fn upload(
        &self,
        photos: &[(String, Vec<u8>)],
        tags: &[&str],
        regions: impl Fn(&str) -> Value,
    ) -> Vec<String> {
        let images: Vec<Value> = photos
            .iter()
            .map(|(name, bytes)| {
                json!({ "name": name, "contents": STANDARD.encode(bytes), "tagIds": tags, "regions": regions(name) })
            })
            .collect();
        let (status, made) = self.call("POST", "/images/files", Some(json!({ "images": images }))).await;
        assert_eq!(status, 200, "{made}");
        made["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["image"]["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Trains, and waits for the end; the iteration.
    pub(crate) async fn trained(&self, query: &str) -> Value {
        let (status, begun) = self.call("POST", &format!("/train{query}"), None).await;
        assert_eq!((status, begun["status"].as_str()), (200, Some("Training")), "{begun}");
        let path = format!("/iterations/{}", begun["id"].as_str().unwrap());
        loop {
            let (status, iteration) = self.call("GET", &path, None).await;
            assert_eq!(status, 200);
            if iteration["status"] != "Training" {
                return iteration;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Asks the prediction API; the answer's tags, most probable first.
    pub(crate) async fn predicted(&self, task: &str, name: &str, bytes: &[u8]) -> Vec<Value> {
        let request = Request::post(format!(
            "/customvision/v3.1/prediction/{}/{task}/iterations/{name}/image",
            self.project
        ))
        .header("prediction-key", &self.someone.key)
        .header("content-type", "application/octet-stream")
        .body(Body::from(bytes.to_vec()))
        .unwrap();
        let (status, body) = self.deployment.send(request).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{answer}");
        answer["predictions"].as_array().unwrap().clone()
    }

    /// What is stored of an iteration's model.
    pub(crate) async fn model(&self, iteration: &Value) -> TrainedModel {
        let id: Id = iteration["id"].as_str().unwrap().parse().unwrap();
        let store = self.deployment.server().app().store();
        let node = store.read(move |tx| tx.get::<Iteration>(id)).await.unwrap().unwrap();
        node.doc.model.unwrap()
    }
}

pub(crate) async fn trees<'a>(deployment: &'a Deployment, someone: &'a Someone) -> (Work<'a>, Vec<String>) {
    let project = deployment
        .project(someone, "trees&classificationType=Multiclass&domainId=0732100f-1a38-4e49-a514-c9b44c697ab5")
        .await;
    let work = Work { deployment, someone, project };
    let mut ids = Vec::new();
    for kind in ["Hemlock", "Japanese_Cherry"] {
        let tag = deployment.tag(someone, &work.project, kind).await;
        let photos = folder(&photos().join("ImageClassification/Images").join(kind));
        ids.extend(work.upload(&photos, &[&tag], |_| json!([])).await);
    }
    (work, ids)
}

/// Forks and scissors, each with its box.
pub(crate) async fn tools<'a>(deployment: &'a Deployment, someone: &'a Someone) -> (Work<'a>, Vec<String>) {
    let project = deployment.project(someone, "tools&domainId=da2e3a8a-40a5-4171-82f4-58522f70fbc1").await;
    let work = Work { deployment, someone, project };
    let regions: Value =
        serde_json::from_slice(&std::fs::read(photos().join("ObjectDetection/regions.json")).unwrap())
            .unwrap();
    let mut images = Vec::new();
    for kind in ["fork", "scissors"] {
        let tag = deployment.tag(someone, &work.project, kind).await;
        let photos = folder(&photos().join("ObjectDetection/Images").join(kind));
        let boxes = |name: &str| {
            let stem = name.split_once('.').unwrap().0;
            let sides = &regions[stem]["left_top_width_height"];
            json!([{ "tagId": tag, "left": sides[0], "top": sides[1], "width": sides[2], "height": sides[3] }])
        };
        images.extend(work.upload(&photos, &[], boxes).await);
    }
    (work, images)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classifier_is_trained_measured_asked_exported_and_forgets() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let (work, images) = trees(&deployment, &someone).await;
        let first = work.trained("").await;
        assert_eq!(first["status"], "Completed", "{first}");
        assert_eq!(work.call("POST", "/train", None).await.1["code"], "BadRequestTrainingNotNeeded");

        let of = |iteration: &Value, path: &str| {
            format!("/iterations/{}{path}", iteration["id"].as_str().unwrap())
        };
        let (status, performance) = work.call("GET", &of(&first, "/performance?threshold=0.5"), None).await;
        assert_eq!(status, 200, "{performance}");
        assert!(performance["averagePrecision"].as_f64().unwrap() > 0.95, "{performance}");
        assert!(performance["recall"].as_f64().unwrap() > 0.85, "{performance}");
        let (_, judged) = work.call("GET", &of(&first, "/performance/images?take=100"), None).await;
        assert_eq!(judged.as_array().unwrap().len(), 20);

        let (status, published) =
            work.call("POST", &of(&first, "/publish?publishName=trees&predictionId=x"), None).await;
        assert_eq!((status, published), (200, json!(true)));
        let test = std::fs::read(photos().join("ImageClassification/Images/Test/test_image.jpg")).unwrap();
        let answer = work.predicted("classify", "trees", &test).await;
        assert_eq!(answer[0]["tagName"], "Hemlock", "{answer:?}");
        let sum: f64 = answer.iter().map(|said| said["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-6);

        let (status, export) = work.call("POST", &of(&first, "/export?platform=ONNX"), None).await;
        assert_eq!(status, 200, "{export}");
        let export = loop {
            let (_, exports) = work.call("GET", &of(&first, "/export"), None).await;
            if exports[0]["status"] != "Exporting" {
                break exports[0].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        assert_eq!(export["status"], "Done");

        // Erased everywhere: the published model is the one that never saw it, and its exports are revoked.
        let path = format!("/images?imageIds={},{}&allIterations=true", images[0], images[12]);
        assert_eq!(work.call("DELETE", &path, None).await.0, 202);
        let forgot = work.model(&first).await;
        assert_eq!((forgot.images, forgot.unlearned), (18, 2));
        assert_eq!(work.call("GET", &of(&first, "/export"), None).await.1, json!([]));
        let address = export["downloadUri"].as_str().unwrap().split_once("localhost").unwrap().1;
        let (status, _) = deployment.send(Request::get(address).body(Body::empty()).unwrap()).await;
        assert_eq!(status, 410);
        assert!(!work.predicted("classify", "trees", &test).await.is_empty());
        let (_, judged) = work.call("GET", &of(&first, "/performance/images?take=100"), None).await;
        assert_eq!(judged.as_array().unwrap().len(), 18);
        let again = work.trained("?forceTrain=true").await;
        let never_knew = work.model(&again).await;
        assert_eq!(forgot.sums_digest, never_knew.sums_digest);
        assert_eq!(forgot.state_digest, never_knew.state_digest);

        // A plain deletion leaves it with the iteration.
        let before = work.model(&again).await.state_digest;
        assert_eq!(work.call("DELETE", &format!("/images?imageIds={}", images[1]), None).await.0, 204);
        assert_eq!(work.model(&again).await.state_digest, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_that_is_left_withdraws_a_model() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let (work, images) = trees(&deployment, &someone).await;
    let advanced = work.trained("?trainingType=Advanced").await;
    assert_eq!(advanced["status"], "Completed", "{advanced}");
    let path = format!("/iterations/{}", advanced["id"].as_str().unwrap());
    let (status, _) =
        work.call("POST", &format!("{path}/publish?publishName=trees&predictionId=x"), None).await;
    assert_eq!(status, 200);
    let all_of_one_tag = images[..10].join(",");
    assert_eq!(
        work.call("DELETE", &format!("/images?imageIds={all_of_one_tag}&allIterations=true"), None).await.0,
        202
    );
    let (_, iteration) = work.call("GET", &path, None).await;
    assert_eq!((&iteration["status"], &iteration["publishName"]), (&json!("Completed"), &json!("trees")));
    let rest = images[10..].join(",");
    assert_eq!(
        work.call("DELETE", &format!("/images?imageIds={rest}&allIterations=true"), None).await.0,
        202
    );
    let (_, iteration) = work.call("GET", &path, None).await;
    assert_eq!(iteration["status"], "Failed", "{iteration}");
    assert_eq!(iteration["publishName"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detector_is_trained_measured_asked_and_forgets() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let (work, images) = tools(&deployment, &someone).await;
        let first = work.trained("").await;
        assert_eq!(first["status"], "Completed", "{first}");
        let path = format!("/iterations/{}", first["id"].as_str().unwrap());
        let (_, performance) =
            work.call("GET", &format!("{path}/performance?threshold=0.3&overlapThreshold=0.3"), None).await;
        assert!(performance["averagePrecision"].as_f64().unwrap() > 0.6, "{performance}");
        let (status, _) =
            work.call("POST", &format!("{path}/publish?publishName=tools&predictionId=x"), None).await;
        assert_eq!(status, 200);
        let test = std::fs::read(photos().join("ObjectDetection/Images/test/test_image.jpg")).unwrap();
        let found = work.predicted("detect", "tools", &test).await;
        assert_eq!(found[0]["tagName"], "fork", "{found:?}");
        assert!(found[0]["boundingBox"]["width"].as_f64().unwrap() > 0.2);
        let (status, proposed) =
            work.call("POST", &format!("/images/{}/regionproposals", images[0]), None).await;
        assert_eq!(status, 200, "{proposed}");
        assert!(!proposed["proposals"].as_array().unwrap().is_empty());

        let erased = format!("/images?imageIds={}&allIterations=true", images[3]);
        assert_eq!(work.call("DELETE", &erased, None).await.0, 202);
        let forgot = work.model(&first).await;
        let never_knew = work.model(&work.trained("?forceTrain=true").await).await;
        assert_eq!(forgot.sums_digest, never_knew.sums_digest);
        assert_eq!(forgot.state_digest, never_knew.state_digest);
    }
}
