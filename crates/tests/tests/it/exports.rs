//! Exported models: what is refused, how an export ends, and how its address dies.

use axum::body::Body;
use axum::http::Request;
use habeas_core::kinds::{
    Iteration, IterationDoc, IterationStatus, ModelExport, ModelExportDoc, ModelExportState, TrainedModel,
};
use habeas_core::{BlobRef, DataKind as _, Id};
use habeas_store::ledger::Record;
use habeas_store::{New, Store};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};

/// A compact domain for classification.
pub(crate) const COMPACT: &str = "0732100f-1a38-4e49-a514-c9b44c697ab5";

async fn blob(store: &Store, under: Id, bytes: &[u8]) -> BlobRef {
    let blob = BlobRef::new(store.ambient(), bytes.len() as u64, "application/octet-stream");
    let announced = blob.clone();
    store.write(move |tx| tx.announce_blobs(under, &[&announced])).await.unwrap();
    store.blobs().put(&blob, bytes).await.unwrap();
    blob
}

/// An iteration as a training leaves it, except that its weights are nothing that anybody could read.
pub(crate) async fn iteration(store: &Store, project: &str, domain: &str, status: IterationStatus) -> Id {
    let project: Id = project.parse().unwrap();
    let weights = blob(store, project, b"weights").await;
    let example = Iteration::example();
    let model = TrainedModel {
        weights: weights.clone(),
        sums: None,
        evaluation: None,
        images: 0,
        ..example.model.clone().unwrap()
    };
    let doc = IterationDoc {
        imported: None,
        status,
        domain: domain.parse().unwrap(),
        publish_name: None,
        training_set: None,
        model: Some(model),
        ..example
    };
    store
        .write(move |tx| {
            let id = tx.new_id();
            tx.create::<Iteration>(New::under(project, id, doc.clone()))?;
            tx.attach_blobs(id, &[&weights])?;
            Ok(id)
        })
        .await
        .unwrap()
}

/// An export as the worker leaves it.
pub(crate) async fn exported(store: &Store, iteration: Id, digest: &str, archive: &[u8]) -> Id {
    let file = blob(store, iteration, archive).await;
    let digest = digest.to_owned();
    store
        .write(move |tx| {
            let state = tx.get::<Iteration>(iteration)?.unwrap().doc.model.unwrap().state_digest;
            let id = tx.new_id();
            let doc = ModelExportDoc {
                platform: "ONNX".into(),
                flavor: None,
                state: ModelExportState::Done,
                file: Some(file.clone()),
                digest: Some(digest.clone()),
                state_digest: Some(state),
            };
            tx.create::<ModelExport>(New::under(iteration, id, doc))?;
            tx.attach_blobs(id, &[&file])?;
            Ok(id)
        })
        .await
        .unwrap()
}

struct Exports<'a> {
    deployment: &'a Deployment,
    someone: &'a Someone,
    path: String,
}

impl Exports<'_> {
    async fn call(&self, method: &str, query: &str) -> (u16, Value) {
        let path = format!("{}{query}", self.path);
        let (status, body) = self.deployment.train(method, &self.someone.key, &path, None).await;
        (status.as_u16(), body)
    }

    async fn refused(&self, query: &str) -> (u16, String) {
        let (status, body) = self.call("POST", query).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    }

    /// The address of the only export, without the host.
    async fn address(&self) -> String {
        let (_, exports) = self.call("GET", "").await;
        assert_eq!(exports.as_array().unwrap().len(), 1, "{exports}");
        exports[0]["downloadUri"].as_str().unwrap().split_once("localhost").unwrap().1.to_owned()
    }

    async fn fetch(&self, address: &str) -> (u16, Vec<u8>) {
        let request = Request::get(address).body(Body::empty()).unwrap();
        let (status, bytes) = self.deployment.send(request).await;
        (status.as_u16(), bytes)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_refused_and_an_order_is_followed_to_its_end() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, &format!("p&domainId={COMPACT}")).await;
        let of = |iteration: Id| Exports {
            deployment: &deployment,
            someone: &someone,
            path: format!("/projects/{project}/iterations/{iteration}/export"),
        };
        let trained = of(iteration(&store, &project, COMPACT, IterationStatus::Completed).await);
        let refusal = |code: &str| (400, code.to_owned());
        assert_eq!(
            trained.refused("?platform=TensorFlow").await,
            refusal("BadRequestProjectUnsupportedExportPlatform")
        );
        assert_eq!(
            trained.refused("?platform=ONNX&flavor=ONNX10").await,
            refusal("BadRequestProjectUnsupportedExportPlatform")
        );
        assert_eq!(trained.refused("?platform=Abacus").await, refusal("ErrorExporterInvalidPlatform"));
        assert_eq!(trained.refused("").await, refusal("BadRequestRequiredParamIsNull"));
        let training = of(iteration(&store, &project, COMPACT, IterationStatus::Training).await);
        assert_eq!(training.refused("?platform=ONNX").await, refusal("BadRequestIterationIsNotTrained"));
        let general = "ee85a74c-405e-4adc-bb47-ffa8ca0c9f31";
        let large = of(iteration(&store, &project, general, IterationStatus::Completed).await);
        assert_eq!(large.refused("?platform=ONNX").await, refusal("BadRequestExportValidationFailed"));
        assert_eq!(of(Id::NIL).refused("?platform=ONNX").await, (404, "NotFoundIteration".to_owned()));

        let (status, export) = trained.call("POST", "?platform=ONNX").await;
        assert_eq!(
            (status, export),
            (
                200,
                json!({ "platform": "ONNX", "status": "Exporting", "downloadUri": null, "flavor": null, "newerVersionAvailable": false })
            )
        );
        // Nobody can read those weights: the export fails, says so, and may be ordered again.
        while trained.call("GET", "").await.1[0]["status"] == "Exporting" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(trained.call("GET", "").await.1[0]["status"], "Failed");
        assert_eq!(trained.call("POST", "?platform=ONNX").await.0, 200);
        assert_eq!(trained.call("DELETE", "?platform=TensorFlow").await.0, 204);
        assert_eq!(trained.call("GET", "").await.1.as_array().unwrap().len(), 1);
        assert_eq!(trained.call("DELETE", "").await.0, 204);
        assert_eq!(trained.call("GET", "").await.1, json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_dies_with_its_export_and_says_when_the_model_was_revoked() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, &format!("p&domainId={COMPACT}")).await;
        let trained = iteration(&store, &project, COMPACT, IterationStatus::Completed).await;
        let exports = Exports {
            deployment: &deployment,
            someone: &someone,
            path: format!("/projects/{project}/iterations/{trained}/export"),
        };
        let digest = "ab".repeat(32);
        let export = exported(&store, trained, &digest, b"the archive").await;
        assert_eq!(
            exports.refused("?platform=ONNX").await,
            (400, "BadRequestExportAlreadyInProgress".to_owned())
        );
        let address = exports.address().await;
        assert_eq!(exports.fetch(&address).await, (200, b"the archive".to_vec()));
        let wrong = address.replace(&digest, &"cd".repeat(32));
        assert_eq!(exports.fetch(&wrong).await.0, 404);
        assert_eq!(exports.fetch(&address.replace("sig=", "sig=0")).await.0, 404);

        // The model has unlearned something: not served from that moment on, whatever the list says yet.
        store
            .write(move |tx| {
                let mut node = tx.get::<Iteration>(trained)?.unwrap();
                node.doc.model.as_mut().unwrap().state_digest = "11".repeat(32);
                tx.update::<Iteration>(&node).map(|_| ())
            })
            .await
            .unwrap();
        assert_eq!(exports.call("GET", "").await.1, json!([]));
        let (status, body) = exports.fetch(&address).await;
        assert_eq!(status, 410);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], body["code"], "{body}");
        assert!(body["message"].as_str().unwrap().contains("revoked"), "{body}");

        // Then it goes, and the public list names it.
        let list = async || {
            let (status, bytes) = exports.fetch("/api/privacy/v1/revoked-models").await;
            assert_eq!(status, 200);
            serde_json::from_slice::<Value>(&bytes).unwrap()
        };
        assert_eq!(list().await, json!([]));
        let revoked = digest.clone();
        store
            .with_ledger(move |ledger| ledger.append(&[Record::ModelsRevoked { digests: vec![revoked] }]))
            .await
            .unwrap();
        let removed = store.write(move |tx| tx.remove(export)).await.unwrap();
        store.finish(&removed).await;
        assert_eq!(exports.fetch(&address).await.0, 410);
        assert_eq!(list().await, json!([digest]));

        // Deleted without having been revoked, an export was never there.
        exported(&store, trained, &"ef".repeat(32), b"the archive").await;
        let address = exports.address().await;
        assert_eq!(exports.fetch(&address).await.0, 200);
        assert_eq!(exports.call("DELETE", "?platform=ONNX").await.0, 204);
        assert_eq!(exports.fetch(&address).await.0, 404);
        exported(&store, trained, &"ef".repeat(32), b"the archive").await;
        let address = exports.address().await;
        // What goes with its holder is revoked: it may have been copied to where no erasure reaches.
        deployment.erase(&someone).await;
        assert_eq!(exports.fetch(&address).await.0, 410);
        assert_eq!(list().await, json!([digest, "ef".repeat(32)]));
    }
}
