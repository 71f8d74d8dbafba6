//! Stored sums and interim weights: a classifier with more rows than features forgets by subtraction, and is in the end the model that
//! never knew.

use habeas_core::kinds::{Image, Iteration, ModelState, TrainedModel};
use habeas_core::{Ambient, BlobRef, Id};
use habeas_models::{Models, Options};
use habeas_store::Store;

use crate::deployment::{Deployment, Someone, engines, image};

const IMAGES: u64 = 30;
/// Features of an image: far fewer than the built-in extractor has, so that few images are more rows than features.
const FEATURES: u64 = 12;

/// Gives an image the features that a training will find.
pub(crate) async fn give_features(store: &Store, image: Id, number: u64) {
    let row: Vec<u8> = (0..FEATURES)
        .flat_map(|place| {
            let lean = if number % 2 == place % 2 { 900 } else { 0 };
            (((number * 7919 + place * 104_729) % 1009) as i16 + lean).to_le_bytes()
        })
        .collect();
    let blob = BlobRef::new(store.ambient(), row.len() as u64, "application/octet-stream");
    let announced = blob.clone();
    store.write(move |tx| tx.announce_blobs(image, &[&announced])).await.unwrap();
    store.blobs().put(&blob, &row).await.unwrap();
    store
        .write(move |tx| {
            let mut node = tx.get::<Image>(image)?.unwrap();
            node.doc.features.insert("phi-v1".to_owned(), blob.clone());
            tx.update::<Image>(&node)?;
            tx.attach_blobs(image, &[&blob])
        })
        .await
        .unwrap();
}

pub(crate) async fn model(store: &Store, iteration: Id) -> TrainedModel {
    store.read(move |tx| tx.get::<Iteration>(iteration)).await.unwrap().unwrap().doc.model.unwrap()
}

/// Trains through the protocol; the iteration.
pub(crate) async fn trained(deployment: &Deployment, someone: &Someone, project: &str) -> Id {
    let path = format!("/projects/{project}/train?forceTrain=true");
    let (_, begun) = deployment.train("POST", &someone.key, &path, None).await;
    let id = begun["id"].as_str().unwrap().to_owned();
    loop {
        let path = format!("/projects/{project}/iterations/{id}");
        let (_, iteration) = deployment.train("GET", &someone.key, &path, None).await;
        if iteration["status"] != "Training" {
            assert_eq!(iteration["status"], "Completed", "{iteration}");
            return id.parse().unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The store of a stopped deployment, and models that are final only when a task makes them so.
async fn opened(deployment: &mut Deployment) -> (Store, Models) {
    deployment.stop().await;
    let options = deployment.settings.store_options().unwrap();
    let store = Store::open(options, Ambient::system()).await.unwrap();
    let options = Options { final_at_once: 0, ..Options::default() };
    let models = Models::new(store.clone(), options).unwrap();
    (store, models)
}

pub(crate) fn same(forgot: &TrainedModel, never_knew: &TrainedModel) {
    assert_eq!((forgot.state, never_knew.state), (ModelState::Final, ModelState::Final));
    assert_eq!(forgot.images, never_knew.images);
    assert_eq!(forgot.sums_digest, never_knew.sums_digest);
    assert_eq!(forgot.state_digest, never_knew.state_digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_weights_answer_until_a_model_is_final_again() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let domain = "0732100f-1a38-4e49-a514-c9b44c697ab5";
        let project = deployment
            .project(&someone, &format!("sums&classificationType=Multiclass&domainId={domain}"))
            .await;
        let tags = [
            deployment.tag(&someone, &project, "even").await,
            deployment.tag(&someone, &project, "odd").await,
        ];
        let mut images: Vec<Id> = Vec::new();
        for number in 0..IMAGES {
            let tag = &tags[number as usize % 2];
            let name = format!("{number}.jpg");
            let id = deployment.image(&someone, &project, &name, &image(number), &[tag]).await;
            images.push(id.parse().unwrap());
            give_features(deployment.server().app().store(), images[number as usize], number).await;
        }
        let first = trained(&deployment, &someone, &project).await;

        let (store, models) = opened(&mut deployment).await;
        let before = model(&store, first).await;
        let stored = before.sums.clone().unwrap();
        assert_eq!(before.state, ModelState::Final);
        assert_eq!(stored.size, 8 * (3 + 2 + 3 * FEATURES + FEATURES * (FEATURES + 1) / 2));
        models.erase_images(&images[..2]).await.unwrap();
        let interim = model(&store, first).await;
        assert_eq!((interim.state, interim.images, interim.unlearned), (ModelState::Interim, 28, 2));
        assert!(interim.evaluation.is_none());
        // Neither the old weights nor the old sums are there any more.
        for blob in [&before.weights, &stored, before.evaluation.as_ref().unwrap()] {
            assert_ne!(Some(blob.id), interim.sums.as_ref().map(|blob| blob.id));
            assert_ne!(blob.id, interim.weights.id);
        }
        let answer = models.predict_image(first, images[7]).await.unwrap().unwrap();
        assert_eq!(model(&store, first).await, interim);
        assert_eq!(answer.predictions[0].name, "odd");
        // Once more before it is final, and then something goes whose rows nobody held.
        models.erase_images(&images[2..3]).await.unwrap();
        let again = model(&store, first).await;
        assert_eq!((again.state, again.images, again.unlearned), (ModelState::Interim, 27, 3));
        let lost = images[3];
        store.write(move |tx| tx.remove(lost)).await.unwrap();
        models.predict_image(first, images[7]).await.unwrap().unwrap();
        let lost = model(&store, first).await;
        assert_eq!((lost.state, lost.images), (ModelState::Interim, 26));
        models.run_all_due().await.unwrap();
        let forgot = model(&store, first).await;
        assert_eq!(forgot.sums_digest, lost.sums_digest);
        // What did not change was not written again.
        assert_eq!(forgot.sums, lost.sums);
        assert!(forgot.evaluation.is_some());
        drop((store, models));

        deployment.start().await;
        let second = trained(&deployment, &someone, &project).await;
        same(&forgot, &model(deployment.server().app().store(), second).await);
        let path = format!("/projects/{project}/iterations/{first}/performance/images?take=100");
        let (_, judged) = deployment.train("GET", &someone.key, &path, None).await;
        assert_eq!(judged.as_array().map(Vec::len), Some(26), "{judged}");

        // As few rows as features, without interim weights; then nothing.
        let path = |images: &[Id]| {
            let ids: Vec<String> = images.iter().map(Id::to_string).collect();
            format!("/projects/{project}/images?imageIds={}&allIterations=true", ids.join(","))
        };
        let few = images.len() - FEATURES as usize;
        assert_eq!(deployment.train("DELETE", &someone.key, &path(&images[4..few]), None).await.0, 202);
        let third = trained(&deployment, &someone, &project).await;
        let (store, models) = opened(&mut deployment).await;
        models.run_all_due().await.unwrap();
        let few_left = model(&store, first).await;
        assert!(few_left.sums.is_none());
        same(&few_left, &model(&store, third).await);
        same(&few_left, &model(&store, second).await);
        models.erase_images(&images[few..]).await.unwrap();
        models.run_all_due().await.unwrap();
        let gone = store.read(move |tx| tx.get::<Iteration>(first)).await.unwrap().unwrap();
        assert_eq!(gone.doc.model, None);
        drop((store, models));
    }
}
