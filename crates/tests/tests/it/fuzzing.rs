//! Inputs of real programs, damaged at random: whatever comes, the answer is a success or the client's mistake, and the data stay whole.
//!
//! Each round has its number as the seed, which a failure names. `cargo xtask fuzz` runs more rounds than the tests do.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::classroom::{Classroom, healthy, picture};
use crate::deployment::{Deployment, TRAINING};

const FORMATS: [&str; 6] = ["coco", "coco-normalized", "yolo", "voc", "azureml", "folders"];

/// How many rounds a target gets; a tenth or so of it where a round is slow.
fn rounds(usual: u64) -> std::ops::Range<u64> {
    let factor = std::env::var("HABEAS_FUZZ").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    0..usual * factor
}

/// A source of randomness that gives the same again (SplitMix64, Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `below`, without it; 0 where that is nothing.
    fn below(&mut self, below: usize) -> usize {
        (self.roll() % (below as u64).max(1)) as usize
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Bytes with one to six damages; `others` lend parts. Half of the damages are near the beginning, where structure is.
    fn damaged(&mut self, bytes: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(6) {
            let reach = if self.below(2) == 0 { bytes.len().min(256) } else { bytes.len() };
            let at = self.below(reach);
            let length = self.below(64).min(bytes.len() - at);
            match self.below(8) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => {
                    bytes[at] = *self.one_of(&[0, 1, 0x7f, 0x80, 0xff, b'"', b'/', b'\n']);
                }
                2 => {
                    let number: u32 =
                        *self.one_of(&[0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0xffff, 0x1_0000]);
                    let number = if self.below(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
                    for (byte, new) in bytes[at..].iter_mut().zip(number) {
                        *byte = new;
                    }
                }
                3 => drop(bytes.drain(at..at + length)),
                4 => {
                    let part = bytes[at..at + length].to_vec();
                    bytes.splice(at..at, part);
                }
                5 => bytes.truncate(at),
                6 if !others.is_empty() => {
                    let other = self.one_of(others).clone();
                    let from = self.below(other.len());
                    let to = (from + self.below(512)).min(other.len());
                    bytes.splice(at..at + length, other[from..to].iter().copied());
                }
                _ => {
                    let noise: Vec<u8> = (0..length).map(|_| self.roll() as u8).collect();
                    bytes.splice(at..at, noise);
                }
            }
        }
        bytes
    }
}

/// Photos of the sample data, with EXIF among them, and pictures made here.
fn images() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/custom-vision/CustomVision");
    let mut images = vec![picture(0, 1), picture(1, 2)];
    for name in [
        "ImageClassification/Images/Hemlock/hemlock_1.jpg",
        "ImageClassification/Images/Japanese_Cherry/japanese_cherry_8.jpg",
        "ObjectDetection/Images/fork/fork_2.jpg",
    ] {
        images.push(std::fs::read(folder.join(name)).unwrap());
    }
    images
}

/// Sends a request; its status, which is no failure of the server's. A full decoding queue is not one either.
async fn answered(deployment: &Deployment, seed: u64, request: Request<Body>) -> StatusCode {
    let (status, body) = deployment.send(request).await;
    assert!(!status.is_server_error(), "seed {seed}: {status} {}", String::from_utf8_lossy(&body));
    if !status.is_success() {
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(answer["message"].is_string() && answer["code"].is_string(), "seed {seed}: {answer}");
    }
    status
}

fn post(path: &str, key: &str, content_type: &str, body: Vec<u8>) -> Request<Body> {
    Request::post(path)
        .header("training-key", key)
        .header("prediction-key", key)
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from(body))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_images_multipart_base64_and_json_are_the_clients_mistake() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let room = Classroom::new(&deployment, &someone, 0, 5).await;
    let iteration = room.train(&deployment, "").await;
    room.publish(&deployment, iteration).await;
    let images = images();
    let path = format!("{TRAINING}/projects/{}/images", room.project);
    let asking = format!("/customvision/v3.1/prediction/{}/classify/iterations/live/image", room.project);
    let mut accepted = 0;
    for seed in rounds(40) {
        let mut dice = Dice(seed);
        let whole = dice.one_of(&images).clone();
        let image = dice.damaged(&whole, &images);
        let request = match seed % 5 {
            0 => post(&path, &someone.key, "application/octet-stream", image),
            1 => post(&asking, &someone.key, "application/octet-stream", image),
            2 => {
                let part = b"--x\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n";
                let body = [&part[..], &image, b"\r\n", part, &whole, b"\r\n--x--\r\n"].concat();
                let body = if dice.below(2) == 0 { dice.damaged(&body, &images) } else { body };
                post(&path, &someone.key, "multipart/form-data; boundary=x", body)
            }
            3 => {
                let text = STANDARD.encode(&whole).into_bytes();
                let text = String::from_utf8_lossy(&dice.damaged(&text, &images)).into_owned();
                let body = json!({ "images": [{ "name": "x", "contents": text, "tagIds": room.tags }] });
                post(
                    &format!("{path}/files"),
                    &someone.key,
                    "application/json",
                    body.to_string().into_bytes(),
                )
            }
            _ => {
                let region =
                    json!({ "tagId": room.tags[0], "left": 0.1, "top": 0.1, "width": 0.5, "height": 0.5 });
                let entry = json!({ "name": "x", "contents": STANDARD.encode(&image), "regions": [region] });
                let body = json!({ "images": [entry], "tagIds": [], "metadata": { "who": "ada" } });
                let body = body.to_string().into_bytes();
                post(&format!("{path}/files"), &someone.key, "application/json", dice.damaged(&body, &images))
            }
        };
        accepted += u64::from(answered(&deployment, seed, request).await.is_success());
    }
    assert!(accepted > 0, "no damaged image was read at all");
    // Whatever was accepted can be shown and learned from.
    let (_, found) = room.call(&deployment, "GET", "/images?take=256", None).await;
    for image in found.as_array().unwrap() {
        for address in ["originalImageUri", "resizedImageUri", "thumbnailUri"] {
            let uri = image[address].as_str().unwrap().split_once("localhost").unwrap().1;
            let (status, _) = deployment.send(Request::get(uri).body(Body::empty()).unwrap()).await;
            assert_eq!(status, 200, "{image}");
        }
    }
    healthy(&deployment).await;
}

/// The files of an archive.
fn unpacked(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    (0..zip.len())
        .map(|index| {
            let mut file = zip.by_index(index).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            (file.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

fn packed(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_datasets_are_the_clients_mistake() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let room = Classroom::new(&deployment, &someone, 0, 2).await;
    let mut archives = Vec::new();
    for format in FORMATS {
        let path = format!("{TRAINING}/projects/{}/dataset?format={format}", room.project);
        let request = Request::get(path).header("training-key", &someone.key).body(Body::empty()).unwrap();
        let (status, archive) = deployment.send(request).await;
        assert_eq!(status, 200, "{format}");
        archives.push(archive);
    }
    let target = deployment.project(&someone, "target").await;
    for seed in rounds(48) {
        let mut dice = Dice(seed);
        let number = dice.below(FORMATS.len());
        let archive = if seed % 2 == 0 {
            // As bytes: the structure of the ZIP.
            dice.damaged(&archives[number], &archives)
        } else {
            // A file in it: annotations, labels, images.
            let mut files = unpacked(&archives[number]);
            let contents: Vec<Vec<u8>> = files.iter().map(|(_, bytes)| bytes.clone()).collect();
            let texts: Vec<usize> =
                (0..files.len()).filter(|&file| !files[file].0.contains("images/")).collect();
            let file = if texts.is_empty() || dice.below(4) == 0 {
                dice.below(files.len())
            } else {
                *dice.one_of(&texts)
            };
            files[file].1 = dice.damaged(&files[file].1.clone(), &contents);
            packed(&files)
        };
        let path = format!("{TRAINING}/projects/{target}/dataset?format={}", FORMATS[number]);
        answered(&deployment, seed, post(&path, &someone.key, "application/zip", archive)).await;
    }
    healthy(&deployment).await;
}

/// Graphs that are read: those of extractors, which an operator may bring.
#[test]
fn damaged_graphs_and_models_are_errors() {
    let graphs = [habeas_onnx::PHI_V1.to_vec(), habeas_learn::detection::maps_model().encode()];
    for seed in rounds(40) {
        let mut dice = Dice(seed);
        let graph = dice.one_of(&graphs).clone();
        let graph = dice.damaged(&graph, &graphs);
        if let Ok(model) = habeas_learn::onnx::Model::decode(&graph) {
            let _ = model.inputs();
        }
        if seed % 4 == 0 {
            let _ = habeas_onnx::Runner::load(&graph);
        }
    }
}
