//! An archive with its data once more in other formats: what lies where, that the formats say the same, and that it is whole with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::{Error, Result as CoreResult};
use habeas_dataset::{Contents, Files, Format, read};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image, unzip};
use crate::mlflow::Tracker;

/// A domain for object detection.
const DETECTION: &str = "da2e3a8a-40a5-4171-82f4-58522f70fbc1";
const ALL: &str = "?format=csv&format=jsonl&format=coco&format=yolo&format=voc&format=folders";

type Archive = BTreeMap<String, Vec<u8>>;

async fn fetch(deployment: &Deployment, path: &str) -> (u16, Vec<u8>) {
    let mut request = Request::get(format!("/api/privacy/v1{path}")).body(Body::empty()).unwrap();
    request.extensions_mut().insert(habeas_access::Actor::Operator);
    let (status, bytes) = deployment.send(request).await;
    (status.as_u16(), bytes)
}

async fn archive(deployment: &Deployment, someone: &Someone, query: &str) -> Archive {
    let (status, bytes) = fetch(deployment, &format!("/persons/{}/export{query}", someone.id)).await;
    assert_eq!(status, 200);
    let files = unzip(std::io::Cursor::new(bytes));
    let count = files.len();
    let archive: Archive = files.into_iter().collect();
    assert_eq!(archive.len(), count, "a path is there twice");
    archive
}

/// A dataset within an archive, and the originals that it may name.
struct Dataset<'a> {
    archive: &'a Archive,
    folder: String,
    paths: Vec<String>,
}

impl<'a> Dataset<'a> {
    fn new(archive: &'a Archive, format: Format, project: &str) -> Dataset<'a> {
        let folder = format!("formats/{}/{project}/", format.name());
        let mut paths: Vec<String> =
            archive.keys().filter_map(|path| path.strip_prefix(&folder)).map(str::to_owned).collect();
        if format.names_images_by_path() {
            assert!(!paths.iter().any(|path| is_image(path)), "{paths:?}");
            let originals = format!("custom-vision/projects/{project}/images/");
            paths.extend(
                archive.keys().filter(|path| path.starts_with(&originals) && is_image(path)).cloned(),
            );
        }
        Dataset { archive, folder, paths }
    }
}

fn is_image(path: &str) -> bool {
    path.rsplit('.').next() == Some("jpg")
}

impl Files for Dataset<'_> {
    fn paths(&self) -> &[String] {
        &self.paths
    }

    fn content(&mut self, path: &str, _most: u64) -> CoreResult<Vec<u8>> {
        let inside = self.archive.get(&format!("{}{path}", self.folder));
        inside.or_else(|| self.archive.get(path)).cloned().ok_or_else(|| Error::not_found("no such file"))
    }
}

/// What a dataset says, in an order of its own; boxes in hundredths, since VOC has whole pixels.
fn said(contents: &Contents) -> BTreeMap<String, Value> {
    assert!(contents.problems.is_empty(), "{:?}", contents.problems);
    let name = |tag: &usize| contents.tags[*tag].name.clone();
    let of = |image: &habeas_dataset::Image| {
        let tags: BTreeSet<String> = image.tags.iter().map(name).collect();
        let boxes: Vec<Value> = image
            .regions
            .iter()
            .map(|region| {
                let sides = [region.left, region.top, region.width, region.height];
                json!([name(&region.tag), sides.map(|side| (side * 100.0).round())])
            })
            .collect();
        json!({ "name": image.name, "tags": tags, "boxes": boxes, "metadata": image.metadata })
    };
    let id = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    contents.images.iter().map(|image| (id(&image.file), of(image))).collect()
}

/// The paths below `formats/`, with `ID` for every id that is in one of these words: `projects` and `images` by their order.
fn named(archive: &Archive, ids: &HashMap<String, String>) -> Vec<String> {
    let mut paths: Vec<String> = archive
        .keys()
        .filter(|path| path.starts_with("formats/"))
        .map(|path| ids.iter().fold(path.clone(), |path, (id, name)| path.replace(id, name)))
        .collect();
    paths.sort_unstable();
    paths
}

fn table(archive: &Archive, name: &str) -> Vec<Value> {
    let text = String::from_utf8(archive[&format!("formats/jsonl/{name}.jsonl")].clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_say_what_the_archive_says() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, &format!("p&domainId={DETECTION}")).await;
        let fork = deployment.tag(&someone, &project, "fork&description=four%20tines").await;
        let spoon = deployment.tag(&someone, &project, "Gro%C3%9Fer%20%2F%20L%C3%B6ffel").await;
        let boxed = deployment.image(&someone, &project, "1.jpg", &image(1), &[&fork]).await;
        let tagged = deployment.image(&someone, &project, "2.jpg", &image(2), &[&spoon]).await;
        let plain = deployment.image(&someone, &project, "3.jpg", &image(3), &[]).await;
        let region = json!({ "regions": [{ "imageId": boxed, "tagId": spoon, "left": 0.125, "top": 0.25, "width": 0.5, "height": 0.5 }] });
        let path = format!("/projects/{project}/images/regions");
        assert_eq!(deployment.train("POST", &someone.key, &path, Some(region)).await.0, 200);
        let path = format!("/projects/{project}/images/metadata?imageIds={boxed}");
        assert_eq!(deployment.train("POST", &someone.key, &path, Some(json!({ "who": "her" }))).await.0, 200);
        let tracker = Tracker::new(&deployment, &someone).await;
        let made =
            tracker.ok("POST", "/runs/create", json!({ "experiment_id": "0", "run_name": "r, \"1\"" })).await;
        let run = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        for (step, value) in [(0, json!(0.1)), (1, json!("NaN"))] {
            let metric =
                json!({ "run_id": run, "key": "loss", "value": value, "timestamp": 5, "step": step });
            tracker.ok("POST", "/runs/log-metric", metric).await;
        }

        let without = archive(&deployment, &someone, "").await;
        assert!(!without.keys().any(|path| path.starts_with("formats/")));
        let archive = archive(&deployment, &someone, ALL).await;
        // Nothing else changes: what was there without formats is there with them.
        let lost: Vec<&String> = without.keys().filter(|path| !archive.contains_key(*path)).collect();
        assert!(lost.is_empty(), "{lost:?}");

        let ids = [(&project, "PROJECT"), (&boxed, "BOXED"), (&tagged, "TAGGED"), (&plain, "PLAIN")];
        let ids = ids.map(|(id, name)| (id.clone(), name.to_owned())).into_iter().collect();
        insta::allow_duplicates! { insta::assert_json_snapshot!("archive_formats", named(&archive, &ids)); }

        let formats = [Format::Coco, Format::Yolo, Format::Voc, Format::Folders];
        let expected = json!({
            "BOXED": { "name": "1.jpg", "tags": ["Großer / Löffel", "fork"], "boxes": [["Großer / Löffel", [13.0, 25.0, 50.0, 50.0]]], "metadata": { "who": "her" } },
            "TAGGED": { "name": "2.jpg", "tags": ["Großer / Löffel"], "boxes": [], "metadata": {} },
            "PLAIN": { "name": "3.jpg", "tags": [], "boxes": [], "metadata": {} },
        });
        for format in formats {
            let contents = read(format, &mut Dataset::new(&archive, format, &project)).unwrap();
            for (id, name) in [(&boxed, "BOXED"), (&tagged, "TAGGED"), (&plain, "PLAIN")] {
                assert_eq!(said(&contents)[&format!("{id}.jpg")], expected[name], "{format:?}");
            }
            assert_eq!(contents.images.len(), 3, "{format:?}");
            let tines = contents.tags.iter().find(|tag| tag.name == "fork").unwrap();
            assert_eq!(tines.description, "four tines", "{format:?}");
        }
        // The originals, and the copies of the two formats that need a layout.
        let stored = archive.values().filter(|bytes| **bytes == image(2)).count();
        assert_eq!(stored, 3);
        let (coco, _) = archive.iter().find(|(path, _)| path.ends_with("/annotations.json")).unwrap();
        let document: Value = serde_json::from_slice(&archive[coco]).unwrap();
        for named in document["images"].as_array().unwrap() {
            let place = named["file_name"].as_str().unwrap().strip_prefix("../../../").unwrap();
            assert!(archive.contains_key(place), "{place}");
        }

        tables(&archive, &run);
        whole(&archive);
        stored_archive(&deployment, &someone, &archive).await;
        let (status, refusal) =
            fetch(&deployment, &format!("/persons/{}/export?format=xml", someone.id)).await;
        let refusal: Value = serde_json::from_slice(&refusal).unwrap();
        assert_eq!(status, 400, "{refusal}");
        assert_eq!(refusal["detail"], "formats are csv, jsonl, coco, yolo, voc, folders");
    }
}

/// Tables have a row for each resource, with every column in every row, in both forms.
fn tables(archive: &Archive, run: &str) {
    let runs = table(archive, "Run");
    assert_eq!(runs.len(), 1);
    assert_eq!((&runs[0]["run_id"], &runs[0]["run_name"]), (&json!(run), &json!("r, \"1\"")));
    let points = table(archive, "Run-metrics");
    let values: Vec<&Value> = points.iter().map(|point| &point["value"]).collect();
    assert_eq!(values, [&json!(0.1), &json!("NaN")]);
    assert_eq!(table(archive, "Image").len(), 3);
    let text = |name: &str| String::from_utf8(archive[name].clone()).unwrap();
    assert!(text("formats/csv/Run.csv").contains("\"r, \"\"1\"\"\""));
    for (path, bytes) in archive.iter().filter(|(path, _)| path.starts_with("formats/jsonl/")) {
        let columns = |line: &str| -> Vec<String> {
            serde_json::from_str::<serde_json::Map<String, Value>>(line).unwrap().keys().cloned().collect()
        };
        let lines: Vec<&str> = std::str::from_utf8(bytes).unwrap().lines().collect();
        assert!(lines.iter().all(|line| columns(line) == columns(lines[0])), "{path}");
        let csv = text(&path.replace("jsonl", "csv"));
        assert!(csv.lines().count() > lines.len(), "{path}");
    }
}

/// Manifest, metadata and data package know the files of the formats, too.
fn whole(archive: &Archive) {
    let manifest = String::from_utf8(archive["manifest-sha256.txt"].clone()).unwrap();
    let listed: HashMap<&str, &str> = manifest
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(digest, path)| (path, digest))
        .collect();
    let metadata: Value = serde_json::from_slice(&archive["ro-crate-metadata.json"]).unwrap();
    let described: BTreeSet<&str> =
        metadata["@graph"].as_array().unwrap().iter().map(|entity| entity["@id"].as_str().unwrap()).collect();
    let package: Value = serde_json::from_slice(&archive["datapackage.json"]).unwrap();
    let tabular: BTreeSet<&str> = package["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| table["path"].as_str().unwrap())
        .collect();
    for (path, bytes) in archive.iter().filter(|(path, _)| path.starts_with("formats/")) {
        assert_eq!(listed[path.as_str()], hex::encode(habeas_core::crypto::sha256(bytes)), "{path}");
        let is_table = path.starts_with("formats/csv/") || path.starts_with("formats/jsonl/");
        assert_eq!(tabular.contains(path.as_str()), is_table, "{path}");
        if path.is_ascii() && !path.contains([' ', '%']) {
            assert!(described.contains(path.as_str()), "{path}");
        }
    }
    // An identifier is an address: names of classes are encoded in it.
    assert!(described.iter().all(|id| id.is_ascii() && !id.contains(' ')));
    assert!(
        described.iter().any(|id| id.contains("formats/folders/") && id.contains("Gro%C3%9Fer%20%252F%20L"))
    );
}

/// One that is ordered and kept has the same.
async fn stored_archive(deployment: &Deployment, someone: &Someone, streamed: &Archive) {
    let formats = json!(["folders", "coco", "jsonl", "csv", "voc", "yolo", "coco"]);
    let path = format!("/persons/{}/exports", someone.id);
    let (status, mut report) = deployment.operator("POST", &path, json!({ "formats": formats })).await;
    assert_eq!(status, 202, "{report}");
    assert_eq!(report["formats"], json!(["csv", "jsonl", "coco", "yolo", "voc", "folders"]));
    let id = report["id"].as_str().unwrap().to_owned();
    while report["status"] == "running" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        (_, report) = deployment.operator("GET", &format!("/exports/{id}"), Value::Null).await;
    }
    assert_eq!(report["status"], "ready", "{report}");
    let (_, bytes) = fetch(deployment, &format!("/exports/{id}/content")).await;
    let stored: Archive = unzip(std::io::Cursor::new(bytes)).into_iter().collect();
    let of_images = |archive: &Archive| -> Archive {
        let dataset = |path: &str| {
            ["coco", "yolo", "voc", "folders"]
                .iter()
                .any(|name| path.starts_with(&format!("formats/{name}/")))
        };
        archive
            .iter()
            .filter(|(path, _)| dataset(path))
            .map(|(path, bytes)| (path.clone(), bytes.clone()))
            .collect()
    };
    assert!(of_images(&stored) == of_images(streamed));
    let (status, refusal) = deployment.operator("POST", &path, json!({ "formats": ["xml"] })).await;
    assert_eq!(status, 400, "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_many_rows_is_written_in_parts_that_join() {
    const IMAGES: u64 = 64;
    const BOXES: usize = 300;
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let project = deployment.project(&someone, &format!("p&domainId={DETECTION}")).await;
    let tag = deployment.tag(&someone, &project, &"long".repeat(25)).await;
    let regions: Vec<Value> = (0..BOXES)
        .map(|number| json!({ "tagId": tag, "left": number as f64 / 1000.0, "top": 0.1, "width": 0.5, "height": 0.5 }))
        .collect();
    let images: Vec<Value> = (0..IMAGES)
        .map(|number| json!({ "name": format!("{number}.jpg"), "contents": STANDARD.encode(image(number)), "regions": regions }))
        .collect();
    let path = format!("/projects/{project}/images/files");
    let (status, made) =
        deployment.train("POST", &someone.key, &path, Some(json!({ "images": images }))).await;
    assert_eq!(status, 200, "{made}");

    let archive = archive(&deployment, &someone, "").await;
    let package: Value = serde_json::from_slice(&archive["datapackage.json"]).unwrap();
    let all = package["resources"].as_array().unwrap();
    let folder = format!("custom-vision/projects/{project}");
    let names = [json!(format!("{folder}/regions.csv")), json!(format!("{folder}/regions.part-2.csv"))];
    let parts = all.iter().filter_map(|table| table["path"].as_array()).find(|parts| **parts == names);
    let parts = parts.unwrap_or_else(|| panic!("a table in parts: {package}"));
    let joined: Vec<u8> =
        parts.iter().flat_map(|part| archive[part.as_str().unwrap()].iter().copied()).collect();
    let joined = String::from_utf8(joined).unwrap();
    let (head, rows) = joined.split_once('\n').unwrap();
    assert!(head.starts_with("id,image,"), "{head}");
    let ids: BTreeSet<&str> = rows.lines().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!((ids.len(), rows.lines().count()), (IMAGES as usize * BOXES, IMAGES as usize * BOXES));
    assert!(!ids.contains("id"), "a head among the rows");
    // A short one is one file.
    assert!(all.iter().any(|table| table["path"] == format!("{folder}/tags.csv")), "{package}");
}
