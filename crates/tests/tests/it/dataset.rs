//! Datasets out and in: every format there and back through the wire, and archives that mean harm.

use std::io::{Cursor, Write as _};

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::deployment::{Deployment, Someone, TRAINING, engines, image};
use crate::transfer::content;

/// A domain for object detection.
const DETECTION: &str = "da2e3a8a-40a5-4171-82f4-58522f70fbc1";

async fn export(deployment: &Deployment, someone: &Someone, project: &str, format: &str) -> Vec<u8> {
    let request = Request::get(format!("{TRAINING}/projects/{project}/dataset?format={format}"))
        .header("training-key", &someone.key)
        .body(Body::empty())
        .unwrap();
    let (status, bytes) = deployment.send(request).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&bytes));
    bytes
}

async fn import(
    deployment: &Deployment,
    someone: &Someone,
    project: &str,
    format: &str,
    archive: Vec<u8>,
) -> (u16, Value) {
    let request = Request::post(format!("{TRAINING}/projects/{project}/dataset?format={format}"))
        .header("training-key", &someone.key)
        .body(Body::from(archive))
        .unwrap();
    let (status, bytes) = deployment.send(request).await;
    (status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        zip.start_file(*path, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Images by their bytes, boxes rounded to `digits`.
async fn sorted(deployment: &Deployment, someone: &Someone, project: &str, digits: i32) -> Vec<String> {
    let mut images = content(deployment, someone, project).await;
    for image in &mut images {
        for side in image["box"].as_array_mut().unwrap() {
            if let Some(value) = side.as_f64() {
                *side = json!((value * 10_f64.powi(digits)).round());
            }
        }
    }
    let mut texts: Vec<String> = images.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_takes_a_project_out_and_brings_it_in_again() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, &format!("p&domainId={DETECTION}")).await;
        let fork = deployment.tag(&someone, &project, "fork&description=four%20tines").await;
        let spoon = deployment.tag(&someone, &project, "_sp%2Foon").await;
        let boxed = deployment.image(&someone, &project, "1.jpg", &image(1), &[&fork]).await;
        deployment.image(&someone, &project, "2.jpg", &image(2), &[&spoon]).await;
        deployment.image(&someone, &project, "3.jpg", &image(3), &[]).await;
        let region = json!({ "regions": [{ "imageId": boxed, "tagId": spoon, "left": 0.125, "top": 0.25, "width": 0.5, "height": 0.5 }] });
        let path = format!("/projects/{project}/images/regions");
        assert_eq!(deployment.train("POST", &someone.key, &path, Some(region)).await.0, 200);
        let path = format!("/projects/{project}/images/metadata?imageIds={boxed}");
        assert_eq!(deployment.train("POST", &someone.key, &path, Some(json!({ "who": "her" }))).await.0, 200);
        for format in ["coco", "coco-normalized", "yolo", "voc", "azureml", "folders"] {
            let archive = export(&deployment, &someone, &project, format).await;
            let copy = deployment.project(&someone, &format!("{format}&domainId={DETECTION}")).await;
            let (status, summary) = import(&deployment, &someone, &copy, format, archive.clone()).await;
            assert_eq!(status, 200, "{format}: {summary}");
            assert_eq!(
                (&summary["imagesCreated"], &summary["tagsCreated"]),
                (&json!(3), &json!(2)),
                "{format}: {summary}"
            );
            // VOC has whole pixels.
            let digits = if format == "voc" { 2 } else { 6 };
            assert_eq!(
                sorted(&deployment, &someone, &copy, digits).await,
                sorted(&deployment, &someone, &project, digits).await,
                "{format}"
            );
            // Again: everything is there already.
            let (status, summary) = import(&deployment, &someone, &copy, format, archive).await;
            assert_eq!((status, &summary["imagesDuplicate"]), (200, &json!(3)), "{format}: {summary}");
        }
        let unused = deployment.operator("GET", "/doctor?scan=true", json!(null)).await.1;
        assert!(unused["checks"].as_array().unwrap().iter().all(|check| check["status"] == "ok"), "{unused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_mean_harm_are_refused_and_broken_ones_are_told_of_piece_by_piece() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let project = deployment.project(&someone, "p").await;
    let jpeg = image(1);
    for (format, archive) in [
        ("folders", zip(&[("fork/../../a.jpg", &jpeg)])),
        ("folders", zip(&[("/fork/a.jpg", &jpeg)])),
        ("folders", b"no archive at all".to_vec()),
        ("folders", Vec::new()),
        ("coco", zip(&[("a.jpg", &jpeg)])),
        ("tfrecord", zip(&[("fork/a.jpg", &jpeg)])),
    ] {
        let (status, body) = import(&deployment, &someone, &project, format, archive).await;
        assert_eq!(status, 400, "{format}: {body}");
        assert!(body["code"].is_string(), "{body}");
    }
    let coco = json!({
        "images": [
            { "id": 1, "file_name": "a.jpg", "width": 10, "height": 10 },
            { "id": 2, "file_name": "https://example.org/b.jpg", "width": 10, "height": 10 },
            { "id": 3, "file_name": "text.jpg", "width": 10, "height": 10 },
            { "id": 4, "file_name": "bomb.jpg", "width": 10, "height": 10 },
        ],
        "categories": [{ "id": 1, "name": "fork" }],
        "annotations": [
            { "id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2] },
            { "id": 2, "image_id": 1, "category_id": 1, "bbox": [9, 9, 20, 20] },
        ],
    });
    let archive = zip(&[
        ("x.json", coco.to_string().as_bytes()),
        ("a.jpg", &jpeg),
        ("text.jpg", b"text"),
        ("bomb.jpg", &vec![0; 20_000_000]),
    ]);
    let (status, summary) = import(&deployment, &someone, &project, "coco", archive).await;
    assert_eq!(status, 207, "{summary}");
    assert_eq!(summary["imagesCreated"], json!(1), "{summary}");
    let mut problems: Vec<(&str, &str)> = summary["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["file"].as_str().unwrap(), problem["status"].as_str().unwrap()))
        .collect();
    problems.sort_unstable();
    assert_eq!(
        problems,
        [
            ("a.jpg", "ErrorSource"),
            ("b.jpg", "ErrorSource"),
            ("bomb.jpg", "ErrorImageSize"),
            ("text.jpg", "ErrorImageFormat")
        ]
    );
}
