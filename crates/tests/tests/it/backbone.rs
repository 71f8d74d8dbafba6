//! A feature extractor of the operator's own: what it does, what stays when it is gone, and which are refused.

use axum::body::Body;
use axum::http::Request;
use habeas_core::crypto::sha256;
use habeas_learn::onnx::{Attribute, Dimension, ElementType, Graph, Model};
use habeas_models::{Verdict, verify};
use habeas_onnx::Runner;
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::learning::{Work, folder, photos, trees};
use crate::proof::Files;

const SIDE: usize = 64;

/// Mean colours of an image of 64 x 64 pixels, in 8 x 8 parts.
fn means() -> Model {
    let mut graph = Graph::new("means");
    let side = Dimension::Fixed(SIDE);
    let x = graph.input("pixels", &[Dimension::Named("N"), Dimension::Fixed(3), side, side]);
    let size = Attribute::Ints(vec![8, 8]);
    let means = graph.node("AveragePool", &[&x], &[("kernel_shape", size.clone()), ("strides", size)]);
    let rows = graph.node("Flatten", &[&means], &[("axis", Attribute::Int(1))]);
    graph.output(&rows, "means", ElementType::Float, &[Dimension::Named("N"), Dimension::Fixed(192)]);
    graph.into_model(&[])
}

/// Starts a server on this backbone; what it says when it does not start.
async fn with_backbone(file: &[u8], domain: &str) -> Result<Deployment, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backbone.onnx");
    std::fs::write(&path, file).unwrap();
    let setting = format!("{domain}{}", path.display());
    Deployment::open_with(|settings| settings.backbone = Some(setting)).await
}

async fn export(work: &Work<'_>, iteration: &str) -> (Value, Vec<u8>) {
    let path = format!("/iterations/{iteration}/export");
    assert_eq!(work.call("POST", &format!("{path}?platform=ONNX"), None).await.0, 200);
    let address = loop {
        let (_, exports) = work.call("GET", &path, None).await;
        if exports[0]["status"] == "Done" {
            break exports[0]["downloadUri"].as_str().unwrap().to_owned();
        }
        assert_eq!(exports[0]["status"], "Exporting");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let address = address.split_once("localhost").unwrap().1;
    let (_, archive) = work.deployment.send(Request::get(address).body(Body::empty()).unwrap()).await;
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    let mut read = |path: &str| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut archive.by_name(path).unwrap(), &mut bytes).unwrap();
        bytes
    };
    (serde_json::from_slice(&read("model-card.json")).unwrap(), read("model.onnx"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backbone_takes_the_place_of_the_built_in_extractor() {
    let _lock = crate::canary::protected().await;
    let file = means().encode();
    let mut deployment = with_backbone(&file, "").await.unwrap();
    let someone = deployment.person("a@example.org", "A").await;
    let (work, images) = trees(&deployment, &someone).await;
    let first = work.trained("").await;
    assert_eq!(first["status"], "Completed", "{first}");
    let id = first["id"].as_str().unwrap().to_owned();
    let digest = hex::encode(sha256(&file));
    assert_eq!(work.model(&first).await.extractor, format!("backbone-{digest}"));
    let publish = format!("/iterations/{id}/publish?publishName=trees&predictionId=x");
    assert_eq!(work.call("POST", &publish, None).await.0, 200);

    // The exported graph begins with it, and gives what the server gives.
    let (card, model) = export(&work, &id).await;
    assert_eq!(card["extractor"], json!({ "name": format!("backbone-{digest}"), "sha256": digest }));
    assert_eq!(card["input"]["width"], SIDE);
    let photo =
        image::load_from_memory(&folder(&photos().join("ImageClassification/Images/Test"))[0].1).unwrap();
    let side = SIDE as u32;
    let photo = photo.resize_exact(side, side, image::imageops::FilterType::Triangle).into_rgb8();
    let mut png = Vec::new();
    photo.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
    let bgr: Vec<f32> = [2, 1, 0]
        .into_iter()
        .flat_map(|channel| photo.as_raw().iter().skip(channel).step_by(3).map(|&value| f32::from(value)))
        .collect();
    let there = Runner::load(&model).unwrap().run(&bgr).unwrap().remove(0);
    for said in work.predicted("classify", "trees", &png).await {
        let place = card["tags"].as_array().unwrap().iter().position(|tag| tag["name"] == said["tagName"]);
        assert!((f64::from(there[place.unwrap()]) - said["probability"].as_f64().unwrap()).abs() < 1e-5);
    }

    // Without it the model is still solved again, judged and proved; only new images cannot be looked at.
    let (project, key) = (work.project.clone(), someone.key.clone());
    deployment.stop().await;
    deployment.settings.backbone = None;
    deployment.start().await;
    let work = Work { deployment: &deployment, someone: &someone, project };
    let erased = format!("/images?imageIds={}&allIterations=true", images[4]);
    assert_eq!(work.call("DELETE", &erased, None).await.0, 202);
    let forgot = work.model(&first).await;
    assert_eq!((forgot.images, forgot.unlearned), (19, 1));
    assert_eq!(work.call("GET", &format!("/iterations/{id}/performance"), None).await.0, 200);
    let proved = verify(&mut Files::of(&deployment, &someone).await, None, 1).unwrap();
    assert_eq!(proved[0].verdict, Verdict::Verified, "{proved:?}");
    let path = format!("/customvision/v3.1/prediction/{}/classify/iterations/trees/image", work.project);
    let request = Request::post(path)
        .header("prediction-key", &key)
        .header("content-type", "application/octet-stream")
        .body(Body::from(png))
        .unwrap();
    let (status, answer) = deployment.send(request).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(status == 409 && answer.contains("backbone"), "{status} {answer}");
    let (status, refused) = work.call("POST", &format!("/iterations/{id}/export?platform=ONNX"), None).await;
    assert_eq!((status, &refused["code"]), (409, &json!("BadRequestExportValidationFailed")), "{refused}");
    // The same images on another extractor are another training.
    let again = work.trained("").await;
    assert_eq!(work.model(&again).await.extractor, "phi-v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backbone_of_one_domain_leaves_the_others_alone() {
    let _lock = crate::canary::protected().await;
    let food = "8882951b-82cd-4c32-970b-d5f8cb8bf6d7=";
    let deployment = with_backbone(&means().encode(), food).await.unwrap();
    let someone = deployment.person("a@example.org", "A").await;
    let (work, _) = trees(&deployment, &someone).await;
    let iteration = work.trained("").await;
    assert_eq!(work.model(&iteration).await.extractor, "phi-v1");
    let body = json!({ "settings": { "domainId": food.trim_end_matches('=') } });
    let (status, changed) = work.call("PATCH", "", Some(body)).await;
    assert_eq!(status, 200, "{changed}");
    let iteration = work.trained("?trainingType=Advanced").await;
    assert!(work.model(&iteration).await.extractor.starts_with("backbone-"));
}

/// A graph of one node from 3 x height x width numbers.
fn graph(
    height: usize,
    width: usize,
    make: impl FnOnce(&mut Graph, &habeas_learn::onnx::Value) -> habeas_learn::onnx::Value,
) -> Vec<u8> {
    let mut graph = Graph::new("g");
    let extents =
        [Dimension::Fixed(1), Dimension::Fixed(3), Dimension::Fixed(height), Dimension::Fixed(width)];
    let x = graph.input("x", &extents);
    let y = make(&mut graph, &x);
    graph.output(&y, "y", ElementType::Float, &[Dimension::Named("a"), Dimension::Named("b")]);
    graph.into_model(&[]).encode()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_why_a_backbone_cannot_be_used() {
    let flatten = |graph: &mut Graph, x: &_| graph.node("Flatten", &[x], &[("axis", Attribute::Int(1))]);
    let pooled = |graph: &mut Graph, x: &_| {
        let size = Attribute::Ints(vec![8, 8]);
        graph.node("AveragePool", &[x], &[("kernel_shape", size.clone()), ("strides", size)])
    };
    let constant = |graph: &mut Graph, x: &_| {
        let zero = graph.float(0.0);
        let nothing = graph.node("Mul", &[x, &zero], &[]);
        let one = graph.float(1.0);
        let ones = graph.node("Add", &[&nothing, &one], &[]);
        let means = graph.node("GlobalAveragePool", &[&ones], &[]);
        graph.node("Flatten", &[&means], &[("axis", Attribute::Int(1))])
    };
    for (file, why) in [
        (b"no graph".to_vec(), "cannot be loaded"),
        (graph(64, 32, flatten), "32 x 64 pixels"),
        (graph(16, 16, flatten), "16 x 16 pixels"),
        (graph(64, 64, flatten), "no vector of 2 to 8192"),
        (graph(64, 64, pooled), "no vector of 2 to 8192"),
        (graph(64, 64, constant), "the same for different images"),
    ] {
        let error = with_backbone(&file, "").await.err().unwrap();
        assert!(error.contains("backbone.onnx") && error.contains(why), "{error}");
    }
    let detector = "da2e3a8a-40a5-4171-82f4-58522f70fbc1=";
    assert!(with_backbone(&means().encode(), detector).await.err().unwrap().contains("detectors"));
    let missing = Deployment::open_with(|settings| settings.backbone = Some("nowhere.onnx".to_owned())).await;
    assert!(missing.err().unwrap().contains("nowhere.onnx"));
}
