//! `habeas serve --demo`: a sample person with projects and the 62 sample images, uploaded through the public API.

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_access::{Access, NewPerson};
use habeas_core::Id;
use habeas_core::kinds::AccountType;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::sample_images::{IMAGES, Sample};

/// The sample person's address.
pub const PERSON: &str = "sample.person@example.org";
/// Where the training API lies.
const TRAINING: &str = "/customvision/v3.3/training";
/// Images in one upload.
const BATCH: usize = 20;

/// Makes the sample person with all images, unless there is one already; returns their id.
pub async fn load(router: &Router, access: &Access) -> anyhow::Result<Id> {
    if let Ok(person) = access.find_person(PERSON) {
        return Ok(person);
    }
    let new =
        NewPerson { email: PERSON.into(), name: "Sample Person".into(), account_type: AccountType::Free };
    let person = access.create_person(new).await?;
    let key = person.training_keys.primary;
    for (project, classification, domain) in [
        ("Trees", true, "ee85a74c-405e-4adc-bb47-ffa8ca0c9f31"),
        ("Cutlery", false, "da2e3a8a-40a5-4171-82f4-58522f70fbc1"),
    ] {
        let kind = if classification { "&classificationType=Multiclass" } else { "" };
        let made =
            call(router, &key, &format!("{TRAINING}/projects?name={project}&domainId={domain}{kind}"), None)
                .await?;
        let project = made["id"].as_str().context("a project without an id")?.to_owned();
        load_images(router, &key, &project, classification).await?;
    }
    Ok(person.id)
}

async fn load_images(router: &Router, key: &str, project: &str, classification: bool) -> anyhow::Result<()> {
    let samples: Vec<&Sample> =
        IMAGES.iter().filter(|sample| sample.region.is_none() == classification).collect();
    let mut tags: Vec<(&str, String)> = Vec::new();
    for sample in &samples {
        if !tags.iter().any(|(name, _)| *name == sample.tag) {
            let made =
                call(router, key, &format!("{TRAINING}/projects/{project}/tags?name={}", sample.tag), None)
                    .await?;
            tags.push((sample.tag, made["id"].as_str().context("a tag without an id")?.to_owned()));
        }
    }
    for batch in samples.chunks(BATCH) {
        let images: Vec<Value> = batch
            .iter()
            .map(|sample| {
                let tag = tags.iter().find(|(name, _)| *name == sample.tag).map(|(_, id)| id.as_str());
                let mut image = json!({ "name": sample.name, "contents": STANDARD.encode(sample.bytes) });
                match sample.region {
                    Some([left, top, width, height]) => {
                        image["regions"] =
                            json!([{ "tagId": tag, "left": left, "top": top, "width": width, "height": height }]);
                    }
                    None => image["tagIds"] = json!([tag]),
                }
                image
            })
            .collect();
        let path = format!("{TRAINING}/projects/{project}/images/files");
        let summary = call(router, key, &path, Some(json!({ "images": images }))).await?;
        if summary["isBatchSuccessful"] != true {
            bail!("not all sample images were accepted");
        }
    }
    Ok(())
}

async fn call(router: &Router, key: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
    let request = Request::post(path)
        .header("training-key", key)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))?;
    let response = router.clone().oneshot(request).await?;
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 16 << 20).await?;
    if !status.is_success() {
        bail!("loading the sample images failed with status {status}");
    }
    Ok(serde_json::from_slice(&bytes)?)
}
