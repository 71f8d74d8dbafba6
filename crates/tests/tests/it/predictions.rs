//! Predictions through the wire, on both engines: who may ask what, and what becomes of what is stored.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Redirect;
use axum::routing::get;
use habeas_core::kinds::{
    Image, Iteration, IterationDoc, IterationStatus, ScoredTag, StoredPrediction, StoredPredictionDoc,
    Suggestion, SuggestionDoc, TagType,
};
use habeas_core::{BlobRef, DataKind as _, Id, Timestamp, crypto, fault};
use habeas_store::{New, Store};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};
use crate::exports::{COMPACT, iteration};

const DETECTION: &str = "a27d5ca5-bb19-49d8-a70a-fec086c47f5b";

/// Calls the prediction API; status and the JSON of the answer.
async fn ask(
    deployment: &Deployment,
    version: &str,
    key: (&str, &str),
    path: &str,
    body: impl Into<Body>,
) -> (u16, Value) {
    let request = Request::post(format!("/customvision/{version}/Prediction/{path}"))
        .header(key.0, key.1)
        .header("content-type", "application/octet-stream")
        .body(body.into())
        .unwrap();
    let (status, bytes) = deployment.send(request).await;
    (status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn prediction_key(deployment: &Deployment, someone: &Someone) -> String {
    let (_, account) = deployment.train("GET", &someone.key, "/account", None).await;
    account["keys"]["predictionKeys"]["primaryKey"].as_str().unwrap().to_owned()
}

/// Changes an iteration's document.
async fn change(store: &Store, id: Id, change: fn(&mut IterationDoc)) {
    store
        .write(move |tx| {
            let mut node = tx.get::<Iteration>(id)?.unwrap();
            change(&mut node.doc);
            tx.update::<Iteration>(&node)
        })
        .await
        .unwrap();
}

fn scored(tag: &str, probability: f64) -> ScoredTag {
    ScoredTag {
        tag: tag.parse().unwrap(),
        name: "hemlock".into(),
        tag_type: TagType::Regular,
        probability,
        bounding_box: None,
    }
}

/// A prediction as asking with storing leaves it.
pub(crate) async fn stored(
    store: &Store,
    project: &str,
    bytes: &[u8],
    change: impl FnOnce(&mut New<StoredPredictionDoc>),
) -> String {
    let project: Id = project.parse().unwrap();
    let original = BlobRef::new(store.ambient(), bytes.len() as u64, "image/jpeg");
    let announced = original.clone();
    store.write(move |tx| tx.announce_blobs(project, &[&announced])).await.unwrap();
    store.blobs().put(&original, bytes).await.unwrap();
    let doc = StoredPredictionDoc {
        original: original.clone(),
        resized: None,
        thumbnail: None,
        sha256: hex::encode(crypto::sha256(bytes)),
        application: None,
        ..StoredPrediction::example()
    };
    let id = store.ambient().new_id();
    let end = Timestamp(store.ambient().now().0 + 60_000_000);
    let mut new = New { id, parent: Some(project), expires_at: Some(end), doc };
    change(&mut new);
    store
        .write(move |tx| {
            tx.create::<StoredPrediction>(new.clone())?;
            tx.attach_blobs(id, &[&original])
        })
        .await
        .unwrap();
    id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_ask_and_what_is_refused() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let other = deployment.person("b@example.org", "B").await;
        let key = prediction_key(&deployment, &someone).await;
        let mine = ("Prediction-Key", key.as_str());
        let project = deployment.project(&someone, &format!("p&domainId={COMPACT}")).await;
        let ask = async |version: &str, key: (&str, &str), path: &str, body: Vec<u8>| {
            let (status, answer) = ask(&deployment, version, key, &format!("{project}/{path}"), body).await;
            let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
            (status, text("code"), text("message"))
        };
        let named = "classify/iterations/training/image";
        let invalid = (404, "NotFoundIteration".to_owned(), "Invalid iteration".to_owned());
        // A published name may be any word of a path; every key of the account may ask.
        assert_eq!(ask("v3.1", mine, named, image(1)).await, invalid);
        assert_eq!(ask("v3.0", ("training-key", &someone.key), named, image(1)).await, invalid);
        let (status, code, _) = ask("v3.1", ("prediction-key", &other.key), named, image(1)).await;
        assert_eq!((status, code.as_str()), (404, "NotFoundProject"));
        assert_eq!(
            ask("v3.1", ("prediction-key", "0123456789abcdef0123456789abcdef"), named, image(1)).await.0,
            401
        );
        assert_eq!(deployment.train("GET", &key, "/projects", None).await.0, 401);
        for version in ["v1.0", "v1.1", "v2.0"] {
            assert_eq!(
                ask(version, mine, "image/nostore", image(1)).await,
                (
                    404,
                    "NotFoundProjectDefaultIteration".to_owned(),
                    "Project has no default iteration".to_owned()
                )
            );
        }
        let nobody = "0190b3a4-5c6d-7e8f-9012-3456789abcde";
        assert_eq!(ask("v2.0", mine, &format!("image?iterationId={nobody}"), image(1)).await, invalid);

        let classifier = iteration(&store, &project, COMPACT, IterationStatus::Completed).await;
        change(&store, classifier, |doc| doc.publish_name = Some("training".into())).await;
        let detector = iteration(&store, &project, DETECTION, IterationStatus::Completed).await;
        change(&store, detector, |doc| {
            doc.publish_name = Some("m ä/1".into());
            doc.classification_type = None;
        })
        .await;
        let unsupported = |answer: (u16, String, String)| (answer.0, answer.1);
        let refusal = (400, "BadRequestNotSupported".to_owned());
        assert_eq!(
            unsupported(ask("v3.1", mine, "detect/iterations/training/image", image(1)).await),
            refusal
        );
        assert_eq!(
            unsupported(ask("v3.1", mine, "classify/iterations/m%20%C3%A4%2F1/url/nostore", image(1)).await),
            refusal
        );
        let (status, code, message) = ask("v3.1", mine, named, vec![0; (4 << 20) + 1]).await;
        assert_eq!((status, code.as_str()), (413, "BadRequestImageSizeBytes"));
        assert!(message.contains("4194304"), "{message}");
        assert_eq!(ask("v3.1", mine, named, Vec::new()).await.1, "BadRequestImageStream");
        let long = format!("{named}?application={}", "x".repeat(257));
        assert_eq!(ask("v3.1", mine, &long, image(1)).await.1, "BadRequestPredictionInvalidApplicationName");
        let by_url = "classify/iterations/training/url";
        assert_eq!(ask("v3.1", mine, by_url, b"{}".to_vec()).await.1, "BadRequestRequiredParamIsNull");
        let (status, code, message) =
            ask("v3.1", mine, by_url, br#"{"Url":"https://example.org/a.jpg"}"#.to_vec()).await;
        assert_eq!((status, code.as_str()), (400, "BadRequestImageUrl"));
        assert!(message.contains("--fetch-urls"), "{message}");
    }
}

struct Predictions<'a> {
    deployment: &'a Deployment,
    key: &'a str,
    project: String,
}

impl Predictions<'_> {
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let path = format!("/projects/{}{path}", self.project);
        let (status, answer) = self.deployment.train(method, self.key, &path, body).await;
        (status.as_u16(), answer)
    }

    async fn query(&self, token: Value) -> Value {
        let (status, answer) = self.call("POST", "/predictions/query", Some(token)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn found(&self, token: Value) -> Vec<String> {
        ids(&self.query(token).await["results"])
    }

    async fn refused(&self, token: Value) -> String {
        let (status, answer) = self.call("POST", "/predictions/query", Some(token)).await;
        assert_eq!(status, 400, "{answer}");
        answer["code"].as_str().unwrap().to_owned()
    }

    /// Fetches an address that an answer holds; status and bytes.
    async fn fetch(&self, address: &Value) -> (u16, Vec<u8>) {
        let path = address.as_str().unwrap().split_once("localhost").unwrap().1;
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (status, bytes) = self.deployment.send(request).await;
        (status.as_u16(), bytes)
    }
}

fn ids(results: &Value) -> Vec<String> {
    results.as_array().unwrap().iter().map(|result| result["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_predictions_are_found_and_paged() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let tag = deployment.tag(&someone, &project, "hemlock").await;
        let model: Id = "0190b3a4-5c6d-7e8f-9012-3456789abcde".parse().unwrap();
        let mut made = Vec::new();
        for (number, probability) in [0.9, 0.2, 0.6].into_iter().enumerate() {
            let answer = scored(&tag, probability);
            let id = stored(&store, &project, &image(number as u64), |new| {
                new.doc.predictions = vec![answer];
                if number == 1 {
                    new.doc.iteration = model;
                    new.doc.application = Some("garden".into());
                }
            })
            .await;
            made.push(id);
        }
        let [first, second, third] = made.clone().try_into().unwrap();
        let on = Predictions { deployment: &deployment, key: &someone.key, project };
        assert_eq!(on.found(json!({})).await, [&*third, &second, &first]);
        assert_eq!(on.found(json!({ "orderBy": "Oldest" })).await, made);
        assert_eq!(on.found(json!({ "orderBy": "Suggested" })).await, [&*second, &third, &first]);
        assert_eq!(on.found(json!({ "iterationId": model.to_string() })).await, [&*second]);
        assert_eq!(on.found(json!({ "application": "garden" })).await, [&*second]);
        assert_eq!(
            on.found(json!({ "tags": [{ "id": tag, "minThreshold": 0.5 }] })).await,
            [&*third, &first]
        );
        let between = json!({ "tags": [{ "id": tag, "minThreshold": 0.1, "maxThreshold": 0.6 }] });
        assert_eq!(on.found(between).await, [&*third, &second]);
        let one = on.query(json!({ "iterationId": model.to_string() })).await["results"][0].clone();
        assert_eq!(on.found(json!({ "startTime": one["created"] })).await, [&*third, &second]);
        assert_eq!(on.found(json!({ "endTime": one["created"] })).await, [&*second, &first]);
        assert_eq!(one["predictions"][0]["tagName"], "hemlock");
        assert_eq!(one["predictions"][0]["probability"], 0.2);

        // Pages: what is new does not shift them, what is deleted is missing.
        let page = on.query(json!({ "maxCount": 1, "orderBy": "Oldest" })).await;
        assert_eq!(ids(&page["results"]), [&*first]);
        assert_eq!(page["token"]["orderBy"], "Oldest");
        assert_eq!(page["token"]["application"], Value::Null);
        stored(&store, &on.project, &image(9), |_| {}).await;
        let path = format!("/predictions?ids={second},{model}");
        assert_eq!(on.call("DELETE", &path, None).await, (204, Value::Null));
        let page = on.query(page["token"].clone()).await;
        assert_eq!(ids(&page["results"]), [&*third]);
        assert_eq!(page["token"]["continuation"], "");

        assert_eq!(on.refused(json!({ "maxCount": 257 })).await, "BadRequestPredictionResultsExceededCount");
        let three = json!({ "tags": [{ "id": tag }, { "id": tag }, { "id": tag }] });
        assert_eq!(on.refused(three).await, "BadRequestPredictionTagsExceededCount");
        for token in [
            json!({ "orderBy": "Best" }),
            json!({ "startTime": "yesterday" }),
            json!({ "continuation": "1" }),
            json!({ "session": "1:2" }),
        ] {
            assert_eq!(on.refused(token).await, "BadRequestPredictionInvalidQueryParameters");
        }
        let old = format!("/customvision/v1.2/Training/projects/{}/predictions/query", on.project);
        let request = Request::post(old)
            .header("training-key", &someone.key)
            .body(Body::from(r#"{"MaxCount":1,"OrderBy":"Oldest"}"#))
            .unwrap();
        let (_, bytes) = deployment.send(request).await;
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(answer["Results"][0]["Id"], first);
        assert_eq!(answer["Results"][0]["Predictions"][0]["Tag"], "hemlock");
        assert_eq!(answer["Token"]["MaxCount"], 1);
        let (_, account) = deployment.train("GET", &someone.key, "/account", None).await;
        assert_eq!(account["quotas"]["predictions"]["used"], 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_a_prediction_die_with_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let bytes = image(1);
        let id = stored(&store, &project, &bytes, |_| {}).await;
        let on = Predictions { deployment: &deployment, key: &someone.key, project };
        let result = on.query(json!({})).await["results"][0].clone();
        assert_eq!(on.fetch(&result["originalImageUri"]).await, (200, bytes));
        let thumbnail = on.fetch(&result["thumbnailUri"]).await;
        assert_eq!(thumbnail.0, 200);
        assert_eq!(on.fetch(&result["thumbnailUri"]).await, thumbnail);
        assert_eq!(on.fetch(&result["resizedImageUri"]).await.0, 200);
        // The address of a prediction is not that of an image.
        let forged = result["originalImageUri"].as_str().unwrap().replace("/p-", "/i-");
        assert_eq!(on.fetch(&json!(forged)).await.0, 404);
        assert_eq!(on.call("DELETE", "/predictions", None).await.1["code"], "BadRequestPredictionIdsMissing");
        let many: Vec<String> = (0..65).map(|_| store.ambient().new_id().to_string()).collect();
        let path = format!("/predictions?ids={}", many.join(","));
        assert_eq!(on.call("DELETE", &path, None).await.1["code"], "BadRequestPredictionIdsExceededCount");
        assert_eq!(on.call("DELETE", &format!("/predictions?ids={id}"), None).await.0, 204);
        for name in ["originalImageUri", "thumbnailUri", "resizedImageUri"] {
            assert_eq!(on.fetch(&result[name]).await.0, 404);
        }
        assert_eq!(on.found(json!({})).await, [] as [&str; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prediction_ends_at_its_time() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let over = stored(&store, &project, &image(1), |new| new.expires_at = Some(Timestamp(1))).await;
        let kept = stored(&store, &project, &image(2), |_| {}).await;
        let on = Predictions { deployment: &deployment, key: &someone.key, project };
        assert_eq!(on.found(json!({})).await, [&*kept]);
        deployment.server().app().rights.run_retention().await.unwrap();
        let over: Id = over.parse().unwrap();
        assert_eq!(store.read(move |tx| tx.position(over)).await.unwrap(), None);
        assert_eq!(on.found(json!({})).await, [&*kept]);
    }
    let refused = Deployment::open_with(|settings| settings.prediction_days = Some(31)).await;
    assert!(refused.err().unwrap().contains("at most 30"));
}

#[tokio::test(flavor = "multi_thread")]
async fn predictions_become_training_images() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let tag = deployment.tag(&someone, &project, "hemlock").await;
        let known = deployment.image(&someone, &project, "x.jpg", &image(2), &[]).await;
        let first = stored(&store, &project, &image(1), |_| {}).await;
        let second = stored(&store, &project, &image(2), |_| {}).await;
        let third = stored(&store, &project, &image(3), |_| {}).await;
        let on = Predictions { deployment: &deployment, key: &someone.key, project };
        let nobody = "0190b3a4-5c6d-7e8f-9012-3456789abcde";
        let body = json!({
            "images": [{ "id": first, "tagIds": [tag] }, { "id": second }, { "id": nobody }, { "id": third, "tagIds": [nobody] }],
            "metadata": { "Subject": "ada" },
        });
        let (status, answer) = on.call("POST", "/images/predictions", Some(body)).await;
        assert_eq!(status, 207);
        assert_eq!(answer["isBatchSuccessful"], false);
        let statuses: Vec<&Value> =
            answer["images"].as_array().unwrap().iter().map(|result| &result["status"]).collect();
        assert_eq!(statuses, ["OK", "OKDuplicate", "ErrorSource", "ErrorInvalidTag"]);
        let taken = &answer["images"][0]["image"];
        assert_eq!(taken["tags"][0]["tagId"], tag.as_str());
        assert_eq!(taken["metadata"], json!({ "Subject": "ada" }));
        assert_eq!(on.fetch(&taken["originalImageUri"]).await, (200, image(1)));
        assert_eq!(answer["images"][1]["image"]["id"], known.as_str());
        // Those that became images are predictions no more.
        assert_eq!(on.found(json!({})).await, [&*third]);
        let body = json!({ "Images": [{ "Id": third }], "TagIds": [tag] });
        let (status, answer) = on.call("POST", "/images/predictions", Some(body)).await;
        assert_eq!((status, &answer["isBatchSuccessful"]), (200, &json!(true)));
        assert_eq!(on.call("GET", "/images/tagged/count", None).await.1, 2);
        for (body, code) in [
            (json!({ "images": [] }), "BadRequestImageBatch"),
            (json!({ "images": vec![json!({ "id": nobody }); 65] }), "BadRequestImageExceededCount"),
            (json!({ "images": [{ "id": "x" }] }), "BadRequestInvalidIds"),
        ] {
            let (status, answer) = on.call("POST", "/images/predictions", Some(body)).await;
            assert_eq!((status, answer["code"].as_str()), (400, Some(code)));
        }
    }
}

/// A server of images, and of what is none.
async fn serve() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/tree.jpg", get(async || image(1)))
        .route("/large.jpg", get(async || vec![0; (6 << 20) + 1]))
        .route("/page", get(async || "no image"))
        .route("/away", get(async || Redirect::temporary("/tree.jpg")))
        .route("/round", get(async || Redirect::temporary("/round")))
        .route("/gone", get(async || StatusCode::NOT_FOUND));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_from_addresses_where_that_is_allowed() {
    let _lock = crate::canary::alone().await;
    let far = serve().await;
    let batch = |paths: &[&str]| {
        let images: Vec<Value> =
            paths.iter().map(|path| json!({ "url": format!("{far}{path}"), "tagIds": [] })).collect();
        Some(json!({ "images": images }))
    };
    for database in engines() {
        let deployment = Deployment::open_with(|settings| {
            settings.database = database;
            settings.fetch_urls = Some(true);
        })
        .await
        .unwrap();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let on = Predictions { deployment: &deployment, key: &someone.key, project };
        // This machine is not public, also by redirect.
        let (status, answer) = on.call("POST", "/images/urls", batch(&["/tree.jpg"])).await;
        assert_eq!((status, answer["images"][0]["status"].as_str()), (207, Some("ErrorSource")));
        fault::switch_off(&["public-only"]);
        let paths = ["/tree.jpg", "/away?token=secret", "/large.jpg", "/page", "/round", "/gone"];
        let (status, answer) = on.call("POST", "/images/urls", batch(&paths)).await;
        fault::switch_off(&[]);
        assert_eq!(status, 207, "{answer}");
        let results = answer["images"].as_array().unwrap();
        let statuses: Vec<&str> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
        assert_eq!(
            statuses,
            ["OK", "OKDuplicate", "ErrorImageSize", "ErrorImageFormat", "ErrorSource", "ErrorSource"]
        );
        assert_eq!(results[1]["sourceUrl"], format!("{far}/away?token=secret"));
        let id: Id = results[0]["image"]["id"].as_str().unwrap().parse().unwrap();
        let store = deployment.server().app().store();
        let node = store.read(move |tx| tx.get::<Image>(id)).await.unwrap().unwrap();
        assert_eq!(node.doc.file_name.as_deref(), Some("tree.jpg"));
    }
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let project = deployment.project(&someone, "p").await;
    let on = Predictions { deployment: &deployment, key: &someone.key, project };
    let (status, answer) = on.call("POST", "/images/urls", batch(&["/tree.jpg"])).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("BadRequestImageUrl")));
    assert!(answer["message"].as_str().unwrap().contains("--fetch-urls"), "{answer}");
}

/// A suggestion as a model leaves it.
pub(crate) async fn suggestion(store: &Store, image: &str, iteration: Id, answer: ScoredTag) {
    let image: Id = image.parse().unwrap();
    let doc = SuggestionDoc { iteration, uncertainty: 1.0 - answer.probability, predictions: vec![answer] };
    store
        .write(move |tx| {
            let id = tx.new_id();
            tx.create::<Suggestion>(New::under(image, id, doc.clone()))
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn suggestions_are_found_by_tag_threshold_and_uncertainty() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, &format!("p&domainId={COMPACT}")).await;
        let tag = deployment.tag(&someone, &project, "hemlock").await;
        let trained = iteration(&store, &project, COMPACT, IterationStatus::Completed).await;
        let another = iteration(&store, &project, COMPACT, IterationStatus::Completed).await;
        let mut images = Vec::new();
        for (number, probability) in [0.9, 0.3, 0.6].into_iter().enumerate() {
            let id = deployment.image(&someone, &project, "x.jpg", &image(number as u64), &[]).await;
            suggestion(&store, &id, trained, scored(&tag, probability)).await;
            images.push(id);
        }
        let tagged = deployment.image(&someone, &project, "x.jpg", &image(7), &[&tag]).await;
        suggestion(&store, &tagged, trained, scored(&tag, 0.5)).await;
        let on = Predictions { deployment: &deployment, key: &someone.key, project };
        let query = async |iteration: Id, token: Value| {
            let path = format!("/images/suggested?iterationId={iteration}");
            let (status, answer) = on.call("POST", &path, Some(token)).await;
            assert_eq!(status, 200, "{answer}");
            answer
        };
        let answer = query(trained, json!({ "tagIds": [tag], "threshold": 0.5 })).await;
        assert_eq!(ids(&answer["results"]), [&*images[0], &images[2]]);
        let result = &answer["results"][0];
        assert_eq!(result["predictions"][0]["tagId"], tag.as_str());
        assert_eq!(result["project"], on.project.as_str());
        assert_eq!(on.fetch(&result["originalImageUri"]).await.0, 200);
        assert_eq!(ids(&query(another, json!({})).await["results"]), [] as [&str; 0]);
        let mut token = json!({ "maxCount": 2, "sortBy": "UncertaintyDescending" });
        let first = query(trained, token).await;
        assert_eq!(ids(&first["results"]), [&*images[1], &images[2]]);
        token = first["token"].clone();
        let second = query(trained, token).await;
        assert_eq!(ids(&second["results"]), [&*images[0]]);
        assert_eq!(second["token"]["continuation"], "");
        let path = format!("/images/suggested/count?iterationId={trained}");
        let filter = json!({ "tagIds": [tag], "threshold": 0.5 });
        assert_eq!(on.call("POST", &path, Some(filter)).await, (200, json!({ &*tag: 2 })));
        // They go with their image.
        let path = format!("/images?imageIds={}", images[0]);
        assert_eq!(on.call("DELETE", &path, None).await.0, 204);
        assert_eq!(ids(&query(trained, json!({})).await["results"]), [&*images[2], &images[1]]);

        let nobody = "0190b3a4-5c6d-7e8f-9012-3456789abcde";
        for (path, code) in [
            ("/images/suggested".to_owned(), "BadRequestRequiredParamIsNull"),
            (format!("/images/suggested?iterationId={nobody}"), "NotFoundIteration"),
            (format!("/images/suggested/count?iterationId={nobody}"), "NotFoundIteration"),
            (format!("/tagsandregions/suggestions?iterationId={trained}"), "BadRequestRequiredParamIsNull"),
            (format!("/tagsandregions/suggestions?iterationId={trained}&imageIds={nobody}"), "NotFoundImage"),
            (format!("/images/{nobody}/regionproposals"), "NotFoundImage"),
        ] {
            assert_eq!(on.call("POST", &path, None).await.1["code"], code, "{path}");
        }
        let old = format!("/customvision/v2.0/Training/{}/images/{nobody}/regionproposals", on.project);
        let request = Request::post(old).header("training-key", &someone.key).body(Body::empty()).unwrap();
        let (status, bytes) = deployment.send(request).await;
        assert_eq!(status, 404);
        assert!(String::from_utf8_lossy(&bytes).contains("NotFoundImage"));
    }
}
