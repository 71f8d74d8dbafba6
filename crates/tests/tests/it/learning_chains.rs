//! Copies of copies, models on models, and old backups: an erasure reaches all of them.

use habeas_core::kinds::IterationStatus;
use serde_json::{Value, json};

use crate::classroom::{Classroom, digests, ended, picture, stored};
use crate::deployment::{Deployment, engines};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_erased_from_the_original_is_forgotten_by_copies_of_copies() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let bob = deployment.person("bob@example.org", "Bob").await;
        let eve = deployment.person("eve@example.org", "Eve").await;
        let original = Classroom::new(&deployment, &ada, 0, 6).await;
        let mut rooms = vec![(original.train(&deployment, "").await, original)];
        for someone in [&bob, &eve] {
            let copy = Classroom::copied(&deployment, &rooms.last().unwrap().1, someone).await;
            let (_, iterations) = copy.call(&deployment, "GET", "/iterations", None).await;
            let iteration = iterations[0]["id"].as_str().unwrap().parse().unwrap();
            copy.publish(&deployment, iteration).await;
            rooms.push((iteration, copy));
        }
        let asked = picture(0, 100);
        let before = rooms[2].1.ask(&deployment, &asked).await;
        rooms[0].1.erase(&deployment, &rooms[0].1.images[..1]).await;
        for (iteration, room) in &rooms {
            assert_eq!(room.call(&deployment, "GET", "/images/count", None).await.1, json!(11));
            let model = stored(&deployment, *iteration).await.model.unwrap();
            assert_eq!((model.images, model.unlearned), (11, 1));
            assert_eq!(digests(&deployment, *iteration).await, room.anew(&deployment).await);
        }
        assert_ne!(
            rooms[2].1.ask(&deployment, &asked).await,
            before,
            "the published copy still answers as before"
        );

        // The person who held them all goes: nothing is left in the copies, and their models are withdrawn.
        let path = format!("/persons/{}/erasure-plans", ada.id);
        let (_, plan) = deployment.operator("POST", &path, json!({})).await;
        // Those of Bob's and Eve's, one copied and one trained anew each.
        let actions: Vec<&Value> =
            plan["models"].as_array().unwrap().iter().map(|model| &model["action"]).collect();
        assert_eq!(actions, vec![&json!("withdraw"); 4], "{plan}");
        assert_eq!(deployment.erase(&ada).await["status"], "completed");
        for (iteration, room) in &rooms[1..] {
            assert_eq!(room.call(&deployment, "GET", "/images/count", None).await.1, json!(0));
            let doc = stored(&deployment, *iteration).await;
            assert_eq!((doc.status, doc.publish_name), (IterationStatus::Failed, None));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_on_models_forget_an_image_of_the_first() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let first = Classroom::new(&deployment, &ada, 0, 5).await;
        let second = Classroom::new(&deployment, &ada, 20, 5).await;
        let third = Classroom::new(&deployment, &ada, 40, 5).await;
        let base = |project: &Classroom<'_>, iteration| json!({ "customBaseModelInfo": { "projectId": project.project, "iterationId": iteration } });
        let on = async |room: &Classroom<'_>, base: Value| {
            let iteration = room.begin(&deployment, "forceTrain=true", Some(base)).await;
            assert_eq!(ended(&deployment, iteration).await.status, IterationStatus::Completed);
            iteration
        };
        let a = first.train(&deployment, "").await;
        let b = on(&second, base(&first, a)).await;
        let c = on(&third, base(&second, b)).await;
        assert_eq!(stored(&deployment, c).await.model.unwrap().images, 30);
        for image in [&first.images[0], &first.images[7]] {
            first.erase(&deployment, std::slice::from_ref(image)).await;
        }
        for (iteration, images) in [(a, 8), (b, 18), (c, 28)] {
            let model = stored(&deployment, iteration).await.model.unwrap();
            assert_eq!((model.images, model.unlearned), (images, 2));
        }
        let again = on(&second, base(&first, a)).await;
        assert_eq!(digests(&deployment, b).await, digests(&deployment, again).await);
        let again = on(&third, base(&second, b)).await;
        assert_eq!(digests(&deployment, c).await, digests(&deployment, again).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_answers_from_weights_that_forgot() {
    let _lock = crate::canary::protected().await;
    for (database, with_models) in engines().into_iter().zip([true, false]) {
        let mut deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let room = Classroom::new(&deployment, &ada, 0, 7).await;
        let iteration = room.train(&deployment, "").await;
        room.publish(&deployment, iteration).await;
        let path = format!("/iterations/{iteration}/export?platform=ONNX");
        assert_eq!(room.call(&deployment, "POST", &path, None).await.0, 200);
        let path = format!("/iterations/{iteration}/export");
        let exported = loop {
            let (_, exports) = room.call(&deployment, "GET", &path, None).await;
            if exports[0]["status"] != "Exporting" {
                break exports[0].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
        let asked = picture(1, 100);
        let before = room.ask(&deployment, &asked).await;
        room.erase(&deployment, &room.images[2..4]).await;
        let clean = room.ask(&deployment, &asked).await;
        assert_ne!(clean, before);
        let forgot = digests(&deployment, iteration).await;
        deployment.stop().await;

        deployment.settings.data = Some(deployment.path("restored"));
        deployment.settings.keyring = Some(deployment.path("data/keyring"));
        deployment.settings.root_key_file = Some(deployment.path("data/root.key"));
        deployment.settings.database = None;
        let options = deployment.settings.store_options().unwrap();
        let report = habeas_store::Store::restore(options.clone(), &backup, habeas_core::Ambient::system())
            .await
            .unwrap();
        // Two images and the export.
        assert_eq!(report.erased, 3, "{report:?}");
        // Without it the first who asks waits for it.
        if with_models {
            let store = habeas_store::Store::open(options, habeas_core::Ambient::system()).await.unwrap();
            let models = habeas_models::Models::new(store, habeas_models::Options::default()).unwrap();
            assert_eq!(models.forget_waiting().await.unwrap(), 1);
        }
        deployment.start().await;
        assert_eq!(room.ask(&deployment, &asked).await, clean, "the first answer knew what was erased");
        assert_eq!(digests(&deployment, iteration).await, forgot);
        assert_eq!(forgot, room.anew(&deployment).await);
        assert_eq!(room.call(&deployment, "GET", &path, None).await.1, json!([]));
        let address = exported["downloadUri"].as_str().unwrap().split_once("localhost").unwrap().1;
        let request = axum::http::Request::get(address).body(axum::body::Body::empty()).unwrap();
        assert_eq!(deployment.send(request).await.0, 410);
    }
}
