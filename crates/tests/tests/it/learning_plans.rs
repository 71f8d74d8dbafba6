//! What an erasure's plan says of models is what the erasure does to them.

use habeas_core::kinds::IterationStatus;
use serde_json::{Value, json};

use crate::classroom::{Classroom, digests, ended, stored};
use crate::deployment::{Deployment, Someone, engines};

async fn plan(deployment: &Deployment, someone: &Someone) -> Value {
    let path = format!("/persons/{}/erasure-plans", someone.id);
    let (status, plan) = deployment.operator("POST", &path, json!({})).await;
    assert_eq!(status, 201, "{plan}");
    plan
}

/// Exports an iteration; the address and the digest in it.
async fn exported(
    deployment: &Deployment,
    room: &Classroom<'_>,
    iteration: habeas_core::Id,
) -> (String, String) {
    let path = format!("/iterations/{iteration}/export");
    assert_eq!(room.call(deployment, "POST", &format!("{path}?platform=ONNX"), None).await.0, 200);
    loop {
        let (_, exports) = room.call(deployment, "GET", &path, None).await;
        if exports[0]["status"] != "Exporting" {
            let address =
                exports[0]["downloadUri"].as_str().unwrap().split_once("localhost").unwrap().1.to_owned();
            let digest = address.split(['/', '?']).nth(4).unwrap().to_owned();
            return (address, digest);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn status_of(deployment: &Deployment, address: &str) -> u16 {
    let request = axum::http::Request::get(address).body(axum::body::Body::empty()).unwrap();
    deployment.send(request).await.0.as_u16()
}

async fn revoked(deployment: &Deployment) -> String {
    deployment.operator("GET", "/revoked-models", Value::Null).await.1.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_of_tags_that_empty_of_trainings_in_flight_and_of_models_withdrawn() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let bob = deployment.person("bob@example.org", "Bob").await;
        let of_ada = Classroom::new(&deployment, &ada, 0, 5).await;
        of_ada.train(&deployment, "").await;
        let copy = Classroom::copied(&deployment, &of_ada, &bob).await;
        let (_, iterations) = copy.call(&deployment, "GET", "/iterations", None).await;
        let all_of_it: habeas_core::Id = iterations[0]["id"].as_str().unwrap().parse().unwrap();
        // One tag keeps three images of Bob's, the other keeps none.
        for number in 10..13 {
            copy.add(&deployment, 0, number).await;
        }
        let mixed = copy.train(&deployment, "forceTrain=true").await;
        let (address, digest) = exported(&deployment, &copy, mixed).await;
        let in_flight = copy.begin(&deployment, "trainingType=Advanced", None).await;

        let plan = plan(&deployment, &ada).await;
        let told = |iteration: habeas_core::Id| {
            let models = plan["models"].as_array().unwrap();
            let model = models.iter().find(|model| model["iteration"] == iteration.to_string()).unwrap();
            (
                model["action"].as_str().unwrap().to_owned(),
                [&model["images"], &model["left"], &model["tagsEmptied"], &model["tagsBelowMinimum"]]
                    .map(|number| number.as_u64().unwrap()),
            )
        };
        assert_eq!(told(all_of_it), ("withdraw".to_owned(), [10, 0, 2, 0]), "{plan}");
        assert_eq!(told(mixed), ("solve again".to_owned(), [10, 3, 1, 1]), "{plan}");
        let (action, numbers) = told(in_flight);
        assert!(["train again", "solve again"].contains(&action.as_str()), "{plan}");
        assert_eq!(numbers, [10, 3, 1, 1], "{plan}");
        assert_eq!((&plan["copies"], &plan["revoked"]), (&json!(10), &json!(1)), "{plan}");

        assert_eq!(deployment.erase(&ada).await["status"], "completed");
        let withdrawn = stored(&deployment, all_of_it).await;
        assert_eq!((withdrawn.status, withdrawn.model), (IterationStatus::Failed, None));
        let doc = stored(&deployment, mixed).await;
        assert_eq!(doc.status, IterationStatus::Completed);
        let counts: Vec<u64> = doc.tags.iter().map(|tag| tag.image_count).collect();
        assert_eq!(counts, [3, 0]);
        assert_eq!(ended(&deployment, in_flight).await.model.unwrap().images, 3);
        digests(&deployment, in_flight).await;
        assert_eq!(status_of(&deployment, &address).await, 410);
        assert!(revoked(&deployment).await.contains(&digest));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_of_a_project_is_revoked_with_it_and_with_its_holder() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let mut models = Vec::new();
        let deleted = Classroom::new(&deployment, &ada, 0, 5).await;
        let stays = Classroom::new(&deployment, &ada, 20, 5).await;
        for room in [&deleted, &stays] {
            let iteration = room.train(&deployment, "").await;
            models.push(exported(&deployment, room, iteration).await);
        }
        assert_eq!(deleted.call(&deployment, "DELETE", "", None).await.0, 204);
        assert_eq!(status_of(&deployment, &models[0].0).await, 410);
        assert_eq!(status_of(&deployment, &models[1].0).await, 200);
        assert!(revoked(&deployment).await.contains(&models[0].1));
        assert!(!revoked(&deployment).await.contains(&models[1].1));

        assert_eq!(plan(&deployment, &ada).await["revoked"], json!(1));
        assert_eq!(deployment.erase(&ada).await["status"], "completed");
        assert_eq!(status_of(&deployment, &models[1].0).await, 410);
        assert!(revoked(&deployment).await.contains(&models[1].1));
    }
}
