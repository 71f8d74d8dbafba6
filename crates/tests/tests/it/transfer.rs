//! Projects copied by token: what is copied, what is not, and what an erasure of the original does to the copy.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use habeas_core::Id;
use habeas_core::kinds::{Iteration, IterationDoc, IterationStatus};
use habeas_core::node::Relation;
use habeas_models::{TrainingSet, importing};
use habeas_store::{Page, Store};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};

pub(crate) async fn token(deployment: &Deployment, someone: &Someone, project: &str) -> Value {
    let (status, export) =
        deployment.train("GET", &someone.key, &format!("/projects/{project}/export"), None).await;
    assert_eq!(status, 200, "{export}");
    export
}

/// The project once it is no longer being imported.
pub(crate) async fn imported(deployment: &Deployment, someone: &Someone, project: &str) -> Value {
    loop {
        let (_, shown) = deployment.train("GET", &someone.key, &format!("/projects/{project}"), None).await;
        if shown["status"] != "Importing" {
            return shown;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn get(deployment: &Deployment, someone: &Someone, project: &str, path: &str) -> Value {
    deployment.train("GET", &someone.key, &format!("/projects/{project}{path}"), None).await.1
}

/// What an image is, without what is new in a copy.
pub(crate) async fn content(deployment: &Deployment, someone: &Someone, project: &str) -> Vec<Value> {
    let images = get(deployment, someone, project, "/images?orderBy=Oldest").await;
    let mut contents = Vec::new();
    for shown in images.as_array().unwrap() {
        let uri = shown["originalImageUri"].as_str().unwrap().split_once("localhost").unwrap().1;
        let (status, bytes) = deployment.send(Request::get(uri).body(Body::empty()).unwrap()).await;
        assert_eq!(status, 200);
        let names = |list: &Value| {
            let entries = list.as_array().unwrap().iter();
            let mut names: Vec<String> = entries.map(|entry| entry["tagName"].to_string()).collect();
            names.sort();
            names
        };
        let region = &shown["regions"][0];
        contents.push(json!({
            "bytes": hex::encode(habeas_core::crypto::sha256(&bytes)),
            "size": [shown["width"], shown["height"]],
            "tags": names(&shown["tags"]),
            "regions": names(&shown["regions"]),
            "box": [region["left"], region["top"], region["width"], region["height"]],
            "metadata": shown["metadata"],
        }));
    }
    contents
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_the_importers_own_and_follows_its_original_into_erasure() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let other = deployment.person("other@example.org", "Other").await;
        let project = deployment.project(&owner, "original&description=text").await;
        let red = deployment.tag(&owner, &project, "red").await;
        let blue = deployment.tag(&owner, &project, "blue&description=sky").await;
        let first = deployment.image(&owner, &project, "1.jpg", &image(1), &[&red]).await;
        let second = deployment.image(&owner, &project, "2.jpg", &image(2), &[&blue, &red]).await;
        deployment.image(&owner, &project, "3.jpg", &image(3), &[]).await;
        let region = json!({ "regions": [{ "imageId": first, "tagId": blue, "left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4 }] });
        let path = format!("/projects/{project}/images/regions");
        assert_eq!(deployment.train("POST", &owner.key, &path, Some(region)).await.0, 200);
        let path = format!("/projects/{project}/images/metadata?imageIds={second}");
        assert_eq!(deployment.train("POST", &owner.key, &path, Some(json!({ "who": "her" }))).await.0, 200);

        let mut export = token(&deployment, &owner, &project).await;
        let token = export["token"].take().as_str().unwrap().to_owned();
        assert_eq!(
            export,
            json!({ "iterationCount": 0, "imageCount": 3, "tagCount": 2, "regionCount": 1, "estimatedImportTimeInMS": 1060, "token": null })
        );
        let path = format!("/projects/import?token={token}&name=copy");
        let (status, copy) = deployment.train("POST", &other.key, &path, None).await;
        assert_eq!((status.as_u16(), copy["status"].as_str()), (200, Some("Importing")), "{copy}");
        let copy = copy["id"].as_str().unwrap();
        let shown = imported(&deployment, &other, copy).await;
        assert_eq!((&shown["status"], &shown["name"]), (&json!("Succeeded"), &json!("copy")), "{shown}");
        assert_eq!(shown["description"], "text");
        assert_eq!(content(&deployment, &other, copy).await, content(&deployment, &owner, &project).await);
        let tags = get(&deployment, &other, copy, "/tags").await;
        assert!(
            tags.as_array().unwrap().iter().any(|tag| tag["name"] == "blue" && tag["description"] == "sky")
        );
        assert!(!tags.to_string().contains(&red) && !tags.to_string().contains(&blue), "a tag kept its id");

        // An image that is erased everywhere goes from the copy, too; one that is deleted does not.
        let ids = async |project: &str, someone: &Someone| {
            get(&deployment, someone, project, "/images/count").await
        };
        let erased: Id = first.parse().unwrap();
        deployment.server().app().models().erase_images(&[erased]).await.unwrap();
        assert_eq!((ids(&project, &owner).await, ids(copy, &other).await), (json!(2), json!(2)));
        // The person whose images were copied is erased.
        let report = deployment.erase(&owner).await;
        assert_eq!(report["status"], "completed", "{report}");
        assert_eq!(deployment.train("POST", &other.key, &path, None).await.0, 400);
        assert_eq!(ids(copy, &other).await, json!(0), "the copies outlived the person");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_refused_and_a_source_that_goes_leaves_nothing() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        deployment.image(&someone, &project, "1.jpg", &image(1), &[]).await;
        let export = token(&deployment, &someone, &project).await;
        let good = export["token"].as_str().unwrap();
        let import = async |token: &str| {
            let path = format!("/projects/import?token={token}");
            let (status, body) = deployment.train("POST", &someone.key, &path, None).await;
            (status.as_u16(), body["code"].as_str().unwrap_or_default().to_owned())
        };
        let invalid = (400, "BadRequestInvalidImportToken".to_owned());
        assert_eq!(import("https://example.org/project-export-info?sv=1").await, invalid);
        assert_eq!(import(&good[1..]).await, invalid);
        assert_eq!(import("").await, (400, "BadRequestRequiredParamIsNull".to_owned()));
        let path = format!("/projects/import?token={good}");
        let stranger = "0123456789abcdef0123456789abcdef";
        assert_eq!(deployment.train("POST", stranger, &path, None).await.0, 401);

        // The source goes before the worker comes to it.
        let (source, target) = (project.parse::<Id>().unwrap(), store.ambient().new_id());
        let removed = store
            .write_with_keys(vec![target], Vec::new(), move |tx| {
                let account = tx.position(source)?.unwrap().1.unwrap();
                importing::start(tx, account, source, target, None, None)?.unwrap();
                tx.remove(source)
            })
            .await
            .unwrap();
        store.finish(&removed).await;
        deployment.server().app().models().wake();
        let shown = imported(&deployment, &someone, &target.to_string()).await;
        assert_eq!(shown["status"], "Failed", "{shown}");
        assert!(shown["importErrorDetails"].as_str().unwrap().contains("deleted"), "{shown}");
        assert_eq!(get(&deployment, &someone, &target.to_string(), "/images/count").await, json!(0));
        assert_eq!(import(good).await, invalid, "a token outlived its project");

        let training = deployment.project(&someone, "t").await;
        crate::exports::iteration(&store, &training, crate::exports::COMPACT, IterationStatus::Training)
            .await;
        let path = format!("/projects/{training}/export");
        let (status, body) = deployment.train("GET", &someone.key, &path, None).await;
        assert_eq!((status.as_u16(), body["code"].as_str()), (400, Some("BadRequestExportWhileTraining")));
    }
}

/// What of an iteration has to do with images and tags.
struct Snapshot {
    id: Id,
    doc: IterationDoc,
    learned: Vec<Id>,
    set: TrainingSet,
}

async fn only_iteration(store: &Store, project: Id) -> Snapshot {
    let (node, mut learned) = store
        .read(move |tx| {
            let node = tx.children::<Iteration>(project, Page::ALL)?.pop().unwrap();
            let learned = tx.targets(node.id, Relation::LearnedFrom)?;
            Ok((node, learned.into_iter().map(|(image, _)| image).collect::<Vec<_>>()))
        })
        .await
        .unwrap();
    learned.sort_unstable();
    let bytes = store.blobs().get(node.doc.training_set.as_ref().unwrap()).await.unwrap();
    Snapshot { id: node.id, doc: node.doc, learned, set: serde_json::from_slice(&bytes).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trained_iteration_is_copied_with_its_snapshot_and_learns_from_the_copies() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let owner = deployment.person("owner@example.org", "Owner").await;
        let other = deployment.person("other@example.org", "Other").await;
        let project = deployment.project(&owner, "p").await;
        let mut tags = Vec::new();
        for name in ["red", "blue"] {
            let tag = deployment.tag(&owner, &project, name).await;
            for number in 0..5 {
                let bytes = image(number + 10 * tags.len() as u64);
                deployment.image(&owner, &project, "x.jpg", &bytes, &[&tag]).await;
            }
            tags.push(tag);
        }
        let (status, trained) =
            deployment.train("POST", &owner.key, &format!("/projects/{project}/train"), None).await;
        assert_eq!(status, 200, "{trained}");
        let source: Id = project.parse().unwrap();
        // However its training ends: what is copied is what counts as trained.
        while only_iteration(&store, source).await.doc.status == IterationStatus::Training {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let original = only_iteration(&store, source).await;
        let id = original.id;
        store
            .write(move |tx| {
                let mut node = tx.get::<Iteration>(id)?.unwrap();
                node.doc.status = IterationStatus::Completed;
                node.doc.publish_name = Some("live".into());
                node.doc.notification_email = Some("owner@example.org".into());
                tx.update::<Iteration>(&node).map(|_| ())
            })
            .await
            .unwrap();
        let export = token(&deployment, &owner, &project).await;
        assert_eq!(export["iterationCount"], 1);
        let path = format!("/projects/import?token={}", export["token"].as_str().unwrap());
        let (_, copy) = deployment.train("POST", &other.key, &path, None).await;
        let copy = copy["id"].as_str().unwrap();
        let shown = imported(&deployment, &other, copy).await;
        assert_eq!((&shown["status"], &shown["name"]), (&json!("Succeeded"), &json!("p")), "{shown}");

        let made = only_iteration(&store, copy.parse().unwrap()).await;
        assert!(made.doc.status != IterationStatus::Training, "the copy was not solved");
        assert_eq!(made.doc.name, original.doc.name);
        assert_eq!((made.doc.publish_name, made.doc.notification_email), (None, None));
        let copy_id: Id = copy.parse().unwrap();
        let pairs = store.read(move |tx| tx.edges_under(copy_id, Relation::CopyOf)).await.unwrap();
        let mut expected: Vec<Id> = pairs.iter().map(|(copy, _, _)| *copy).collect();
        expected.sort_unstable();
        assert_eq!((made.learned.len(), &made.learned), (10, &expected));
        let of_set: Vec<Id> = made.set.images.iter().map(|image| image.id).collect();
        assert_eq!(of_set, expected, "the snapshot names other images, or not in the order of ids");
        let copied = get(&deployment, &other, copy, "/tags").await;
        for tag in &made.doc.tags {
            let there = copied.as_array().unwrap().iter().find(|shown| shown["name"] == tag.name.as_str());
            assert_eq!(there.unwrap()["id"], tag.id.to_string(), "{}", tag.name);
            let carrying =
                made.set.images.iter().filter(|image| image.tags.iter().any(|(id, _)| *id == tag.id));
            assert_eq!((tag.image_count, carrying.count()), (5, 5));
        }
    }
}
