//! Trainings and predictions that meet erasures: nothing hangs, and no model knows what is gone.

use std::time::Duration;

use habeas_core::Id;
use habeas_core::kinds::{Iteration, IterationStatus};
use habeas_core::node::Relation;
use habeas_store::{Page, TaskKind, TaskState};
use serde_json::{Value, json};

use crate::classroom::{Classroom, digests, ended, everywhere, healthy, picture, stored};
use crate::deployment::{Deployment, engines};

/// An iteration that ended with a model knows exactly the images that are connected to it.
async fn knows_only_what_is_there(deployment: &Deployment, iteration: Id) {
    let model = stored(deployment, iteration).await.model.unwrap();
    let store = deployment.server().app().store();
    let learned = store.read(move |tx| tx.count_targets(iteration, Relation::LearnedFrom)).await.unwrap();
    assert_eq!(model.images, learned);
}

/// Waits until no task of this kind is to be done any more.
async fn settled(deployment: &Deployment, kind: TaskKind) {
    let store = deployment.server().app().store();
    let open = async || {
        let counts = store.read(|tx| tx.count_tasks()).await.unwrap();
        counts.iter().any(|(found, state, _)| {
            *found == kind && matches!(state, TaskState::Waiting | TaskState::Running)
        })
    };
    while open().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn images_erased_during_a_training_are_in_no_model_and_no_snapshot() {
    let _lock = crate::canary::protected().await;
    for (task, database) in everywhere() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let room = Classroom::of(task, &deployment, &someone, 0, task.least() + 4).await;
        for round in 0..4_usize {
            // Features of all kinds are made first, so that the erasure meets each part of a training once.
            let query = if round % 2 == 0 { "trainingType=Advanced" } else { "forceTrain=true" };
            let iteration = room.begin(&deployment, query, None).await;
            let gone = room.images[round].clone();
            let tags = format!("/tags?iterationId={iteration}");
            room.erase(&deployment, std::slice::from_ref(&gone)).await;
            let doc = ended(&deployment, iteration).await;
            assert_eq!(doc.status, IterationStatus::Completed, "{:?}", doc.error);
            let forgot = digests(&deployment, iteration).await;
            knows_only_what_is_there(&deployment, iteration).await;
            let (_, shown) = room.call(&deployment, "GET", &tags, None).await;
            let counted: u64 =
                shown.as_array().unwrap().iter().map(|tag| tag["imageCount"].as_u64().unwrap()).sum();
            assert_eq!(counted, 2 * (task.least() + 4) - 1 - round as u64, "{shown}");
            let store = deployment.server().app().store();
            let doc = stored(&deployment, iteration).await;
            let set = store.blobs().get(doc.training_set.as_ref().unwrap()).await.unwrap();
            assert!(!String::from_utf8(set).unwrap().contains(&gone), "the snapshot names an erased image");
            let again = room.train(&deployment, &format!("{query}&forceTrain=true")).await;
            assert_eq!(forgot, digests(&deployment, again).await, "{task:?}");
        }
        settled(&deployment, TaskKind::Forget).await;
        healthy(&deployment).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_project_deleted_during_its_training_leaves_nothing() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        for _ in 0..2 {
            let room = Classroom::new(&deployment, &someone, 0, 5).await;
            room.begin(&deployment, "", None).await;
            assert_eq!(room.call(&deployment, "DELETE", "", None).await.0, 204);
        }
        settled(&deployment, TaskKind::Train).await;
        settled(&deployment, TaskKind::PurgeBlobs).await;
        healthy(&deployment).await;
        let store = deployment.server().app().store();
        assert_eq!(futures::StreamExt::count(store.blobs().list()).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn persons_erased_during_trainings_leave_those_of_others_whole() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let other = deployment.person("other@example.org", "Other").await;
        let room = Classroom::new(&deployment, &owner, 0, 3).await;
        let copy = Classroom::copied(&deployment, &room, &other).await;
        for number in 10..15 {
            copy.add(&deployment, 0, number).await;
            copy.add(&deployment, 1, number).await;
        }
        // The features of the advanced training are made while the person whose images were copied goes.
        let iteration = copy.begin(&deployment, "trainingType=Advanced", None).await;
        assert_eq!(deployment.erase(&owner).await["status"], "completed");
        let doc = ended(&deployment, iteration).await;
        assert_eq!(doc.status, IterationStatus::Completed, "{:?}", doc.error);
        let forgot = digests(&deployment, iteration).await;
        knows_only_what_is_there(&deployment, iteration).await;
        assert_eq!(copy.call(&deployment, "GET", "/images/count", None).await.1, json!(10));
        let again = copy.train(&deployment, "trainingType=Advanced&forceTrain=true").await;
        assert_eq!(forgot, digests(&deployment, again).await);

        // Somebody who works in an organisation's project goes while it is trained: what they brought is the organisation's.
        let body = json!({ "name": "Garden", "owner": other.id });
        let (_, organisation) = deployment.operator("POST", "/organisations", body).await;
        let id = organisation["objectId"].as_str().unwrap();
        let garden = crate::deployment::Someone {
            id: id.to_owned(),
            email: String::new(),
            key: organisation["trainingKeys"][0].as_str().unwrap().to_owned(),
        };
        let worker = deployment.person("worker@example.org", "Worker").await;
        let member = format!("/organisations/{id}/members/{}", worker.id);
        assert_eq!(deployment.operator("PUT", &member, json!({ "role": "trainer" })).await.0, 204);
        let shared = Classroom::new(&deployment, &garden, 20, 5).await;
        let iteration = shared.begin(&deployment, "trainingType=Advanced", None).await;
        assert_eq!(deployment.erase(&worker).await["status"], "completed");
        assert_eq!(ended(&deployment, iteration).await.status, IterationStatus::Completed);
        knows_only_what_is_there(&deployment, iteration).await;
    }
}

/// Each has a copy of the other's project: neither erasure may wait for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_copied_from_each_other_are_erased_at_once() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let bob = deployment.person("bob@example.org", "Bob").await;
        let (of_ada, of_bob) =
            (Classroom::new(&deployment, &ada, 0, 5).await, Classroom::new(&deployment, &bob, 10, 5).await);
        of_ada.train(&deployment, "").await;
        of_bob.train(&deployment, "").await;
        Classroom::copied(&deployment, &of_ada, &bob).await;
        Classroom::copied(&deployment, &of_bob, &ada).await;
        // Both are frozen before either goes on, as when two workers had begun or one was interrupted.
        let store = deployment.server().app().store();
        let (first, second): (Id, Id) = (ada.id.parse().unwrap(), bob.id.parse().unwrap());
        let mut plans = Vec::new();
        for someone in [&ada, &bob] {
            let path = format!("/persons/{}/erasure-plans", someone.id);
            let (_, plan) = deployment.operator("POST", &path, json!({})).await;
            plans.push(plan["plan"].as_str().unwrap().parse::<Id>().unwrap());
        }
        let started = plans.clone();
        store
            .write(move |tx| {
                tx.set_holder_state(first, habeas_store::HolderState::Frozen)?;
                tx.set_holder_state(second, habeas_store::HolderState::Frozen)?;
                started.iter().try_for_each(|plan| tx.start_planned(*plan).map(|_| ()))
            })
            .await
            .unwrap();
        for plan in &plans {
            let report = deployment.finished(&plan.to_string()).await;
            assert_eq!(report["status"], "completed", "{report}");
        }
        settled(&deployment, TaskKind::PurgeBlobs).await;
        assert_eq!(futures::StreamExt::count(store.blobs().list()).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn predictions_at_once_are_those_of_one_after_the_other_and_go_on_during_erasures() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let room = Classroom::new(&deployment, &someone, 0, 9).await;
        let iteration = room.train(&deployment, "").await;
        room.publish(&deployment, iteration).await;
        let asked: Vec<Vec<u8>> = (0..8).map(|number| picture(number % 2, 100 + number)).collect();
        let mut one_by_one = Vec::new();
        for picture in &asked {
            one_by_one.push(room.ask(&deployment, picture).await);
        }
        let at_once =
            futures::future::join_all(asked.iter().map(|picture| room.ask(&deployment, picture))).await;
        assert_eq!(at_once, one_by_one);

        // The model is moved, published anew and asked while its images go.
        let erasing = async {
            for image in &room.images[..3] {
                room.erase(&deployment, std::slice::from_ref(image)).await;
            }
        };
        let publishing = async {
            for _ in 0..3 {
                room.publish(&deployment, iteration).await;
            }
        };
        let asking = async {
            for picture in &asked {
                let said: Value = room.ask(&deployment, picture).await;
                assert_eq!(said.as_array().unwrap().len(), 2);
            }
        };
        tokio::join!(erasing, publishing, asking);
        // What the old weights suggested is said anew by the weights that forgot.
        let contents = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, picture(0, 200));
        let body = json!({ "images": [{ "name": "x", "contents": contents }] });
        let (_, made) = room.call(&deployment, "POST", "/images/files", Some(body)).await;
        let untagged = made["images"][0]["image"]["id"].as_str().unwrap().to_owned();
        let suggest = format!("/tagsandregions/suggestions?iterationId={iteration}&imageIds={untagged}");
        let path = format!("/images/suggested?iterationId={iteration}");
        let suggested = async || {
            let body = json!({ "tagIds": [], "threshold": 0 });
            room.call(&deployment, "POST", &path, Some(body)).await.1["results"][0]["predictions"].clone()
        };
        assert_eq!(room.call(&deployment, "POST", &suggest, None).await.1.as_array().unwrap().len(), 1);
        let before = suggested().await;
        room.erase(&deployment, &room.images[3..4]).await;
        settled(&deployment, TaskKind::Forget).await;
        let forgot = suggested().await;
        assert_ne!(forgot, before);
        assert_eq!(room.call(&deployment, "POST", &suggest, None).await.0, 200);
        assert_eq!(forgot, suggested().await);
        let after = room.ask(&deployment, &asked[0]).await;
        let again = room.train(&deployment, "forceTrain=true").await;
        assert_eq!(digests(&deployment, iteration).await, digests(&deployment, again).await);
        room.publish_instead(&deployment, iteration, again).await;
        assert_eq!(
            room.ask(&deployment, &asked[0]).await,
            after,
            "a published model answered from other weights"
        );
    }
}

/// A training that is asked for while the project is copied is refused: it would learn from a part.
#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_being_imported_is_not_trained() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let room = Classroom::new(&deployment, &someone, 0, 5).await;
    let store = deployment.server().app().store();
    let project: Id = room.project.parse().unwrap();
    store
        .write(move |tx| {
            let mut node = tx.get::<habeas_core::kinds::Project>(project)?.unwrap();
            node.doc.status = habeas_core::kinds::ProjectStatus::Importing;
            tx.update::<habeas_core::kinds::Project>(&node).map(|_| ())
        })
        .await
        .unwrap();
    let (status, answer) = room.call(&deployment, "POST", "/train?forceTrain=true", None).await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (400, Some("BadRequestTrainingValidationFailed")),
        "{answer}"
    );
    let none = store.read(move |tx| tx.children::<Iteration>(project, Page::ALL)).await.unwrap();
    assert!(none.is_empty());
}
