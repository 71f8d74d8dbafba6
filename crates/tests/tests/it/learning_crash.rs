//! A process killed at any step of a training, an unlearning, an export or a copy: started again, it ends as if nothing had happened.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use habeas_core::Id;
use habeas_core::kinds::{Iteration, IterationStatus};
use habeas_store::Page;
use serde_json::json;

use crate::classroom::{Classroom, Task, digests, ended, everywhere, healthy, stored};
use crate::crash::die;
use crate::deployment::{Deployment, engines};

const EMAIL: &str = "canary@example.org";

fn database(number: usize) -> Option<String> {
    if number == 0 { None } else { crate::postgres::database() }
}

/// Has another process do the work until it passes the fault point, and goes on with what it left.
async fn killed(deployment: &mut Deployment, work: &str, fault: &str) {
    deployment.stop().await;
    die(&deployment.path("data"), deployment.settings.database.clone(), work, fault).await;
    deployment.start().await;
}

/// The iterations of a project once none is in training, newest first.
async fn iterations(deployment: &Deployment, project: &str) -> Vec<Id> {
    let project: Id = project.parse().unwrap();
    let store = deployment.server().app().store();
    let mut found = store.read(move |tx| tx.children::<Iteration>(project, Page::ALL)).await.unwrap();
    found.reverse();
    let ids: Vec<Id> = found.iter().map(|node| node.id).collect();
    for id in &ids {
        ended(deployment, *id).await;
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_killed_at_any_step_gives_the_model_of_one_that_was_not() {
    let _lock = crate::canary::protected().await;
    for (task, database) in everywhere() {
        let mut deployment = Deployment::open(database).await;
        let someone = deployment.person(EMAIL, "Canary").await;
        let room = Classroom::of(task, &deployment, &someone, 0, task.least()).await;
        for fault in [
            // The first is the snapshot, then come the features.
            "blob.put.after:3",
            "train.features_made",
            "train.computed",
            "blob.put.before:2",
            "train.stored",
            "train.committed",
        ] {
            killed(&mut deployment, "train", fault).await;
            let newest = iterations(&deployment, &room.project).await[0];
            let status = stored(&deployment, newest).await.status;
            assert_eq!(status, IterationStatus::Completed, "{task:?} {fault}");
            healthy(&deployment).await;
        }
        let undisturbed = room.anew(&deployment).await;
        for iteration in iterations(&deployment, &room.project).await {
            assert_eq!(digests(&deployment, iteration).await, undisturbed, "{task:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlearning_killed_at_any_step_is_finished() {
    let _lock = crate::canary::protected().await;
    for (task, database) in everywhere() {
        let mut deployment = Deployment::open(database).await;
        let someone = deployment.person(EMAIL, "Canary").await;
        let room = Classroom::of(task, &deployment, &someone, 0, task.least() + 4).await;
        let first = room.train(&deployment, "").await;
        room.publish(&deployment, first).await;
        let mut left = 2 * (task.least() + 4);
        for fault in ["forget.removed", "forget.stored", "blob.put.before:2", "forget.swapped"] {
            killed(&mut deployment, "forget", fault).await;
            left -= 1;
            // Whoever asks is answered from weights that do not know the image.
            room.ask(&deployment, &crate::classroom::picture(0, 99)).await;
            let model = stored(&deployment, first).await.model.unwrap();
            assert_eq!(model.images, left, "{task:?} {fault}");
            let forgot = digests(&deployment, first).await;
            assert_eq!(forgot, room.anew(&deployment).await, "{task:?} {fault}");
            healthy(&deployment).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_export_killed_at_any_step_is_written_again() {
    let _lock = crate::canary::protected().await;
    for number in 0..engines().len() {
        let mut deployment = Deployment::open(database(number)).await;
        let someone = deployment.person(EMAIL, "Canary").await;
        let room = Classroom::new(&deployment, &someone, 0, 5).await;
        let iteration = room.train(&deployment, "").await;
        let path = format!("/iterations/{iteration}/export");
        for fault in ["export.model_written", "blob.put.before", "export.model_stored"] {
            killed(&mut deployment, "export_model", fault).await;
            let export = loop {
                let (_, exports) = room.call(&deployment, "GET", &path, None).await;
                if exports[0]["status"] != "Exporting" {
                    break exports[0].clone();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            assert_eq!(export["status"], "Done", "{fault}: {export}");
            let address = export["downloadUri"].as_str().unwrap().split_once("localhost").unwrap().1;
            let (status, archive) = deployment.send(Request::get(address).body(Body::empty()).unwrap()).await;
            assert_eq!(status, 200, "{fault}");
            let mut zip = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
            let mut model = Vec::new();
            std::io::Read::read_to_end(&mut zip.by_name("model.onnx").unwrap(), &mut model).unwrap();
            assert!(
                address.contains(&hex::encode(habeas_core::crypto::sha256(&model))),
                "{fault}: {address}"
            );
            assert_eq!(room.call(&deployment, "DELETE", &path, None).await.0, 204);
            healthy(&deployment).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_killed_at_any_step_has_the_model_of_its_images() {
    let _lock = crate::canary::protected().await;
    for number in 0..engines().len() {
        let mut deployment = Deployment::open(database(number)).await;
        let someone = deployment.person(EMAIL, "Canary").await;
        let room = Classroom::new(&deployment, &someone, 0, 5).await;
        room.train(&deployment, "").await;
        for fault in [
            "import.tags_copied",
            "import.image_copied:4",
            "import.iteration_copied",
            "train.stored",
            "train.committed",
        ] {
            killed(&mut deployment, "import", fault).await;
            let copy = loop {
                let (_, projects) = deployment.train("GET", &someone.key, "/projects", None).await;
                let copy = projects
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|project| project["name"] == "copy")
                    .unwrap()
                    .clone();
                if copy["status"] != "Importing" {
                    break copy;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            assert_eq!(copy["status"], "Succeeded", "{fault}: {copy}");
            let project = copy["id"].as_str().unwrap().to_owned();
            let copied = Classroom {
                task: Task::Classify,
                someone: &someone,
                project,
                tags: Vec::new(),
                images: Vec::new(),
            };
            assert_eq!(copied.call(&deployment, "GET", "/images/count", None).await.1, json!(10), "{fault}");
            let made = iterations(&deployment, &copied.project).await;
            assert_eq!(made.len(), 1, "{fault}");
            assert_eq!(digests(&deployment, made[0]).await, copied.anew(&deployment).await, "{fault}");
            assert_eq!(copied.call(&deployment, "DELETE", "", None).await.0, 204);
            healthy(&deployment).await;
        }
    }
}

/// The person's images are in a project of somebody else, whose models have to forget them.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_killed_while_models_of_others_forget_is_finished() {
    let _lock = crate::canary::protected().await;
    for (task, database) in everywhere() {
        let mut deployment = Deployment::open(database).await;
        let other = deployment.person("other@example.org", "Other").await;
        for fault in [
            "forget.removed",
            "forget.stored",
            "forget.swapped",
            "forget.holder",
            "erase.subtracted",
            "erase.tombstone_written",
            "erase.resolved",
        ] {
            if task == Task::Detect && fault.starts_with("erase.") {
                // The erasure itself knows no tasks.
                continue;
            }
            let canary = deployment.person(EMAIL, "Canary").await;
            let room = Classroom::of(task, &deployment, &canary, 0, 2).await;
            let copy = Classroom::copied(&deployment, &room, &other).await;
            for number in 10..10 + task.least() {
                copy.add(&deployment, 0, number).await;
                copy.add(&deployment, 1, number).await;
            }
            let iteration = copy.train(&deployment, "").await;
            killed(&mut deployment, "erase", fault).await;
            let store = deployment.server().app().store();
            let person: Id = canary.id.parse().unwrap();
            while store.read(move |tx| tx.holder(person)).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let forgot = digests(&deployment, iteration).await;
            let model = stored(&deployment, iteration).await.model.unwrap();
            assert_eq!((model.images, model.unlearned), (2 * task.least(), 4), "{task:?} {fault}");
            assert_eq!(forgot, copy.anew(&deployment).await, "{task:?} {fault}");
            assert_eq!(copy.call(&deployment, "DELETE", "", None).await.0, 204);
        }
        healthy(&deployment).await;
    }
}
