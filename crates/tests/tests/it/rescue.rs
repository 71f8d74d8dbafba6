//! `habeas import azure-custom-vision`: from a source that fails in every way a live one does, and from one Habeas to another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas::rescue::{Item, Options, Pace, Report, Rescue, Source, SourceError};
use habeas_client::Client;
use habeas_core::Id;
use habeas_core::kinds::{Image, Iteration, KeptImage, ModelExport};
use habeas_store::Page;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const PROJECT: &str = "11111111-0000-4000-8000-000000000001";
const TAG: &str = "22222222-0000-4000-8000-000000000001";
const ITERATION: &str = "33333333-0000-4000-8000-000000000001";
const PREDICTION: &str = "44444444-0000-4000-8000-000000000001";
const SUGGESTION: &str = "66666666-0000-4000-8000-000000000001";
/// The third is in the iteration only.
const IMAGES: [&str; 4] = [
    "55555555-0000-4000-8000-000000000001",
    "55555555-0000-4000-8000-000000000002",
    "55555555-0000-4000-8000-000000000003",
    "55555555-0000-4000-8000-000000000004",
];

/// A Custom Vision service that answers as recorded, and fails as it is told.
#[derive(Default)]
struct Recorded {
    /// Answers that come first at a path, in order: status and `Retry-After`.
    faults: HashMap<String, Vec<(u16, Option<u32>)>>,
    /// Images of the workspace; those after the first page are on a second one.
    workspace: Vec<&'static str>,
    /// Images that vanish after the workspace was listed once.
    vanish: Vec<&'static str>,
    /// Images whose stored bytes are cut off.
    truncated: Vec<&'static str>,
    /// Addresses that have expired are those of an older generation.
    generation: u32,
    asked: Vec<String>,
}

#[derive(Clone)]
struct Fake {
    recorded: Arc<Mutex<Recorded>>,
    address: String,
}

impl Fake {
    async fn start() -> Fake {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let workspace = vec![IMAGES[0], IMAGES[1], IMAGES[3]];
        let recorded = Arc::new(Mutex::new(Recorded { workspace, ..Recorded::default() }));
        let fake = Fake { recorded, address };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    fn with<T>(&self, change: impl FnOnce(&mut Recorded) -> T) -> T {
        change(&mut self.recorded.lock().unwrap())
    }

    fn fail(&self, path: &str, faults: &[(u16, Option<u32>)]) {
        self.with(|recorded| recorded.faults.insert(path.to_owned(), faults.to_vec()));
    }

    fn image(&self, id: &str) -> Value {
        let generation = self.with(|recorded| recorded.generation);
        json!({
            "id": id, "created": "2020-04-29T18:51:50.2721924", "width": 900, "height": 1600,
            "originalImageUri": format!("{}/blob/{id}?generation={generation}", self.address),
            "resizedImageUri": "x", "thumbnailUri": "x", "metadata": { "place": "park" },
            "tags": [{ "tagId": TAG, "tagName": "red", "created": "2020-04-29T18:51:51Z" }],
            "regions": null,
        })
    }
}

fn number(id: &str) -> u64 {
    IMAGES.iter().position(|known| *known == id).unwrap() as u64
}

async fn answer(State(fake): State<Fake>, method: Method, uri: Uri, request: Request<Body>) -> Response {
    let path = uri.path().trim_start_matches("/customvision/v3.4-preview/training").to_owned();
    let query = uri.query().unwrap_or_default().to_owned();
    let fault = fake.with(|recorded| {
        recorded.asked.push(format!("{path}?{query}"));
        recorded.faults.get_mut(&path).filter(|faults| !faults.is_empty()).map(|faults| faults.remove(0))
    });
    if let Some((status, retry_after)) = fault {
        let mut response = StatusCode::from_u16(status).unwrap().into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        return response;
    }
    if let Some(id) = path.strip_prefix("/blob/") {
        return blob(&fake, id, &query);
    }
    if request.headers().get("training-key").is_none_or(|key| key != KEY) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let of_iteration = query.contains("iterationId=");
    let found = match path.strip_prefix(&format!("/projects/{PROJECT}")) {
        None if path == "/projects" => json!([project()]),
        Some("/tags") => {
            json!([{ "id": TAG, "name": "red", "description": null, "type": "Regular", "imageCount": 3 }])
        }
        Some("/images") => {
            let ids = fake.with(|recorded| {
                let ids = if of_iteration { IMAGES[..3].to_vec() } else { recorded.workspace.clone() };
                if !of_iteration && query.contains("skip=0") {
                    let vanish = std::mem::take(&mut recorded.vanish);
                    recorded.workspace.retain(|id| !vanish.contains(id));
                }
                ids
            });
            let skip: usize =
                query.split("skip=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
            json!(ids.iter().skip(skip).take(2).map(|id| fake.image(id)).collect::<Vec<_>>())
        }
        Some("/images/count") => json!(fake.with(|recorded| recorded.workspace.len())),
        Some("/images/id") => {
            let id = query.split("imageIds=").nth(1).unwrap().split('&').next().unwrap();
            let there = of_iteration || fake.with(|recorded| recorded.workspace.contains(&id));
            json!(if there { vec![fake.image(id)] } else { Vec::new() })
        }
        Some("/iterations") => json!([iteration()]),
        Some(rest) if rest.ends_with("/performance") => {
            let threshold: f64 =
                query.split("threshold=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
            json!({
                "perTagPerformance": [{ "id": TAG, "name": "red", "precision": threshold, "recall": 0.5, "averagePrecision": 0.7 }],
                "precision": threshold, "recall": 0.5, "averagePrecision": 0.7,
            })
        }
        Some(rest) if rest.ends_with("/export") && method == Method::GET => json!([
            { "platform": "ONNX", "flavor": null, "status": "Done", "downloadUri": format!("{}/blob/model", fake.address) },
        ]),
        Some("/predictions/query") => json!({ "token": { "continuation": "" }, "results": [{
            "id": PREDICTION, "iteration": ITERATION, "project": PROJECT, "created": recently(),
            "originalImageUri": format!("{}/blob/{}?generation=0", fake.address, IMAGES[0]),
            "predictions": [{ "tagId": TAG, "tagName": "red", "probability": 0.9, "boundingBox": null }],
        }] }),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    axum::Json(found).into_response()
}

fn blob(fake: &Fake, id: &str, query: &str) -> Response {
    if id == "model" {
        return "a model".into_response();
    }
    let (current, there, truncated) = fake.with(|recorded| {
        let there = id == IMAGES[2] || recorded.workspace.contains(&id);
        (recorded.generation, there, recorded.truncated.contains(&id))
    });
    if !there || query != format!("generation={current}") {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut bytes = image(number(id));
    if truncated {
        bytes.truncate(2_000);
    }
    bytes.into_response()
}

fn project() -> Value {
    json!({
        "id": PROJECT, "name": "Trees", "description": null, "created": "2020-04-29T18:50:00",
        "settings": {
            "domainId": "ee85a74c-405e-4adc-bb47-ffa8ca0c9f31", "classificationType": "Multilabel",
            "targetExportPlatforms": null, "useNegativeSet": true, "detectionParameters": null,
            "imageProcessingSettings": { "augmentationMethods": {} },
        },
        "thumbnailUri": "", "drModeEnabled": false, "status": "Succeeded",
    })
}

fn iteration() -> Value {
    json!({
        "id": ITERATION, "name": "Iteration 1", "status": "Completed", "created": "2020-04-30T10:00:00",
        "trainedAt": "2020-04-30T10:05:00", "projectId": PROJECT, "exportable": false, "exportableTo": null,
        "domainId": "ee85a74c-405e-4adc-bb47-ffa8ca0c9f31", "classificationType": "Multilabel", "trainingType": "Regular",
        "reservedBudgetInHours": 0, "trainingTimeInMinutes": 5, "publishName": "trees", "originalPublishResourceId": "/subscriptions/x",
        "customBaseModelInfo": null, "trainingErrorDetails": null,
    })
}

fn recently() -> String {
    habeas_core::Ambient::system().now().rfc3339()
}

/// Where projects are brought, and how long was waited.
struct Target {
    deployment: Deployment,
    someone: Someone,
    account: Id,
    waited: Arc<Mutex<Vec<Duration>>>,
}

impl Target {
    async fn open(database: Option<String>) -> Target {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("ada@example.org", "Ada").await;
        let account = client(&deployment).accounts(&someone.id).await.unwrap()[0].id;
        Target { deployment, someone, account, waited: Arc::default() }
    }

    async fn bring(&self, endpoint: &str, key: &str, options: Options) -> anyhow::Result<Report> {
        let waited = Arc::clone(&self.waited);
        let wait = Arc::new(move |time| {
            waited.lock().unwrap().push(time);
            Box::pin(std::future::ready(())) as futures::future::BoxFuture<'static, ()>
        });
        let source = Source::new(endpoint, key.to_owned().into(), Pace::with_wait(1_000.0, wait))?;
        let (target, account) = (client(&self.deployment), self.account);
        Rescue { source, target, account, options, bar: ProgressBar::hidden() }.run(&[]).await
    }

    async fn pull(&self, fake: &Fake) -> anyhow::Result<Report> {
        self.bring(&fake.address, KEY, Options { predictions: true, exports: true, verify: false }).await
    }

    async fn iteration(&self) -> habeas_core::Node<habeas_core::kinds::IterationDoc> {
        let id: Id = ITERATION.parse().unwrap();
        let store = self.deployment.server().app().store();
        store.read(move |tx| tx.get::<Iteration>(id)).await.unwrap().unwrap()
    }

    async fn exports(&self) -> usize {
        let id: Id = ITERATION.parse().unwrap();
        let store = self.deployment.server().app().store();
        store.read(move |tx| Ok(tx.children::<ModelExport>(id, Page::ALL)?.len())).await.unwrap()
    }
}

fn client(deployment: &Deployment) -> Client {
    Client::over_socket(&deployment.path("data/habeas.sock")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_project_is_brought_with_its_ids() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let fake = Fake::start().await;
        let target = Target::open(database).await;
        let report = target.pull(&fake).await.unwrap();
        let found = &report.projects[0];
        assert!(found.verified && found.problems.is_empty(), "{found:?}");
        let brought = [found.tags, found.images, found.iterations, found.exports, found.predictions]
            .map(|tally| tally.brought);
        assert_eq!(brought, [1, 4, 1, 1, 1]);

        let at = |path: &str| format!("/projects/{PROJECT}{path}");
        let get =
            async |path: &str| target.deployment.train("GET", &target.someone.key, &at(path), None).await.1;
        assert_eq!(get("").await["created"], "2020-04-29T18:50:00.000000Z");
        assert_eq!(get("/images/tagged/count").await, json!(3));
        let shown = get(&format!("/images/id?imageIds={}", IMAGES[0])).await;
        assert_eq!(
            (&shown[0]["created"], &shown[0]["metadata"]["place"], &shown[0]["tags"][0]["tagId"]),
            (&json!("2020-04-29T18:51:50.272192Z"), &json!("park"), &json!(TAG))
        );
        let iterations = get("/iterations").await;
        assert_eq!(
            (&iterations[0]["id"], &iterations[0]["publishName"]),
            (&json!(ITERATION), &json!("trees"))
        );
        assert_eq!(get(&format!("/images/count?iterationId={ITERATION}")).await, json!(3));
        let measured =
            get(&format!("/iterations/{ITERATION}/performance?threshold=0.9&overlapThreshold=0.3")).await;
        assert_eq!(measured["perTagPerformance"][0]["precision"], json!(0.9));
        let bytes = image(9);
        let refused =
            target.deployment.server().app().models().predict(ITERATION.parse().unwrap(), bytes).await;
        assert_eq!(refused.unwrap_err().code, Some("BadRequestIterationIsNotTrained"));
        // The image that had left the source's workspace is kept, and not in ours.
        let kept: Id = IMAGES[2].parse().unwrap();
        let store = target.deployment.server().app().store();
        assert!(store.read(move |tx| tx.get::<KeptImage>(kept)).await.unwrap().is_some());
        // What the operator did stands in the person's record.
        let path = format!("/persons/{}/activity", target.someone.id);
        let (_, activity) = target.deployment.operator("GET", &path, Value::Null).await;
        assert!(
            activity.as_array().unwrap().iter().any(|entry| entry["operation"] == "ImportProject"),
            "{activity}"
        );

        let again = target.pull(&fake).await.unwrap();
        let found = &again.projects[0];
        assert!(found.verified && found.bytes == 0, "{found:?}");
        assert_eq!((found.images.brought, found.images.present, found.iterations.present), (0, 3, 1));
        let options = Options { verify: true, ..Options::default() };
        assert!(target.bring(&fake.address, KEY, options).await.unwrap().projects[0].verified);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_waited_for() {
    let _lock = crate::canary::protected().await;
    let fake = Fake::start().await;
    let target = Target::open(None).await;
    fake.fail(&format!("/projects/{PROJECT}/tags"), &[(429, Some(17)), (503, None)]);
    fake.fail(&format!("/blob/{}", IMAGES[0]), &[(500, Some(23)), (500, None)]);
    // Every address that was listed has expired when it is used.
    fake.fail(&format!("/blob/{}", IMAGES[1]), &[(403, None)]);
    let report = target.pull(&fake).await.unwrap();
    assert!(report.projects[0].verified && report.projects[0].problems.is_empty(), "{report:?}");
    let waited: Vec<u64> = target.waited.lock().unwrap().iter().map(Duration::as_secs).collect();
    for seconds in [17, 2, 23] {
        assert!(waited.contains(&seconds), "{seconds} is not in {waited:?}");
    }
    let asked = fake.with(|recorded| recorded.asked.clone());
    assert!(asked.iter().any(|path| path.contains(&format!("images/id?imageIds={}", IMAGES[1]))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_reported() {
    let _lock = crate::canary::protected().await;
    let fake = Fake::start().await;
    let target = Target::open(None).await;
    let denied = target.bring(&fake.address, "wrong", Options::default()).await.unwrap_err();
    assert!(matches!(denied.downcast_ref(), Some(SourceError::Denied)), "{denied:#}");

    fake.with(|recorded| {
        recorded.vanish = vec![IMAGES[0]];
        recorded.truncated = vec![IMAGES[1]];
    });
    let report = target.bring(&fake.address, KEY, Options::default()).await.unwrap();
    let found = &report.projects[0];
    assert!(found.verified, "{found:?}");
    // The first vanished from the workspace, and with it its bytes; the iteration lists it all the same.
    assert!(found.images.gone >= 1 || found.problems.len() == 2, "{found:?}");
    let truncated: Vec<_> =
        found.problems.iter().filter(|problem| problem.id.to_string() == IMAGES[1]).collect();
    assert_eq!(truncated.len(), 1, "{found:?}");
    assert_eq!(truncated[0].item, Item::Image);
    assert_eq!(found.images.brought, 2, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_goes_on_where_it_ended() {
    let _lock = crate::canary::protected().await;
    let fake = Fake::start().await;
    let target = Target::open(None).await;
    // After the images the source fails for good.
    let path = format!("/projects/{PROJECT}/iterations");
    fake.fail(&path, &[(500, None); 6]);
    let stopped = target.pull(&fake).await.unwrap_err();
    assert!(matches!(stopped.downcast_ref(), Some(SourceError::Unreachable(_))), "{stopped:#}");
    let before = fake.with(|recorded| std::mem::take(&mut recorded.asked));
    assert!(before.iter().any(|path| path.starts_with("/blob/")));
    let report = target.pull(&fake).await.unwrap();
    let found = &report.projects[0];
    assert!(found.verified, "{found:?}");
    assert_eq!((found.images.present, found.images.brought), (3, 1));
    let asked = fake.with(|recorded| recorded.asked.clone());
    for id in [IMAGES[1], IMAGES[3]] {
        assert!(!asked.iter().any(|path| path.starts_with(&format!("/blob/{id}"))), "{id} was fetched again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_taken_is_a_conflict() {
    let _lock = crate::canary::protected().await;
    let fake = Fake::start().await;
    let mut target = Target::open(None).await;
    target.pull(&fake).await.unwrap();
    let content = target.deployment.content(&target.someone).await;
    let other = target.deployment.person("other@example.org", "Other").await;
    target.account = client(&target.deployment).accounts(&other.id).await.unwrap()[0].id;
    let error = target.pull(&fake).await.unwrap_err();
    let refused = error.downcast_ref::<habeas_client::Error>();
    assert!(matches!(refused, Some(habeas_client::Error::Refused { status: 409, .. })), "{error:#}");
    assert!(target.deployment.content(&target.someone).await == content, "what was there was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_image_taints_what_learned_from_it_and_stays_away() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let fake = Fake::start().await;
        let target = Target::open(database).await;
        target.pull(&fake).await.unwrap();
        let at = |path: &str| format!("/projects/{PROJECT}{path}");
        let delete = async |path: &str| {
            target.deployment.train("DELETE", &target.someone.key, &at(path), None).await.0
        };
        // A plain deletion leaves the iteration what it learned from.
        assert_eq!(delete(&format!("/images?imageIds={}", IMAGES[1])).await, 204);
        assert_eq!(target.iteration().await.doc.imported.unwrap().tainted, 0);
        assert_eq!(target.exports().await, 1);
        let path = format!("/images?imageIds={}&allIterations=true", IMAGES[0]);
        assert_eq!(delete(&path).await, 202);
        let model = target.iteration().await.doc.imported.unwrap();
        assert_eq!((model.images, model.tainted), (2, 1));
        assert_eq!(target.exports().await, 0);
        let store = target.deployment.server().app().store().clone();
        let digest = hex::encode(habeas_core::crypto::sha256(b"a model"));
        let revoked = store.with_ledger(|ledger| Ok(ledger.revoked_models())).await.unwrap();
        assert!(revoked.contains(&digest), "{revoked:?}");
        let archive = target.deployment.export(&target.someone).await;
        let about = archive.iter().find(|(path, _)| path.ends_with("/iteration.json")).unwrap();
        let about: Value = serde_json::from_slice(&about.1).unwrap();
        assert_eq!(about["imported"]["imagesErasedSince"], json!(1));

        // Nobody brings it back, nor what was removed a moment ago and may not be in the ledger yet.
        let last: Id = IMAGES[3].parse().unwrap();
        let removed = store.write(move |tx| tx.remove(last)).await.unwrap();
        for id in [IMAGES[0], IMAGES[3]] {
            let bytes = image(1);
            let upload = json!({
                "id": id, "created": null, "tags": null, "regions": null, "metadata": null,
                "sha256": hex::encode(habeas_core::crypto::sha256(&bytes)), "contents": STANDARD.encode(&bytes),
            });
            let mut request = Request::put(format!("/api/import/v1/projects/{PROJECT}/images/{id}"))
                .header("content-type", "application/json")
                .body(Body::from(upload.to_string()))
                .unwrap();
            request.extensions_mut().insert(habeas_access::Actor::Operator);
            assert_eq!(target.deployment.send(request).await.0, 410, "{id}");
        }
        store.finish(&removed).await;

        let report = target.pull(&fake).await.unwrap();
        let found = &report.projects[0];
        assert_eq!(
            (found.images.removed_here, found.exports.brought, found.images.brought),
            (2, 0, 0),
            "{found:?}"
        );
        let erased: Id = IMAGES[0].parse().unwrap();
        assert!(store.read(move |tx| tx.get::<Image>(erased)).await.unwrap().is_none());

        // The person goes, and with them the project; it does not come back under its id.
        assert_eq!(target.deployment.erase(&target.someone).await["status"], "completed");
        let project: Id = PROJECT.parse().unwrap();
        let traces = store.read(move |tx| tx.position(project)).await.unwrap();
        assert!(traces.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_one_habeas_to_another() {
    let _lock = crate::canary::protected().await;
    let from = Deployment::open(None).await;
    let owner = from.person("owner@example.org", "Owner").await;
    let project = from.project(&owner, "Trees").await;
    let red = from.tag(&owner, &project, "red").await;
    for number in 0..5 {
        let tags: &[&str] = if number < 3 { &[red.as_str()] } else { &[] };
        from.image(&owner, &project, "x.jpg", &image(number), tags).await;
    }
    let region = json!({ "regions": [{
        "imageId": from.image(&owner, &project, "y.jpg", &image(7), &[]).await,
        "tagId": red, "left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4,
    }] });
    let path = format!("/projects/{project}/images/regions");
    assert_eq!(from.train("POST", &owner.key, &path, Some(region)).await.0, 200);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = from.server().router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    for database in engines() {
        let target = Target::open(database).await;
        let report = target.bring(&endpoint, &owner.key, Options::default()).await.unwrap();
        let found = &report.projects[0];
        assert!(found.verified && found.problems.is_empty(), "{found:?}");
        assert_eq!((found.tags.brought, found.images.brought), (1, 6));
        let list = format!("/projects/{project}/images?orderBy=Oldest");
        let without_addresses = |mut answer: Value| {
            for image in answer.as_array_mut().unwrap() {
                for name in ["originalImageUri", "resizedImageUri", "thumbnailUri"] {
                    image.as_object_mut().unwrap().remove(name);
                }
                // Since when an image carries a tag is not kept.
                for tag in image["tags"].as_array_mut().into_iter().flatten() {
                    tag.as_object_mut().unwrap().remove("created");
                }
            }
            answer
        };
        let before = without_addresses(from.train("GET", &owner.key, &list, None).await.1);
        let after =
            without_addresses(target.deployment.train("GET", &target.someone.key, &list, None).await.1);
        assert_eq!(before, after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_import_operation_refuses_strangers() {
    let _lock = crate::canary::protected().await;
    let fake = Fake::start().await;
    let target = Target::open(None).await;
    target.pull(&fake).await.unwrap();
    let other = target.deployment.person("other@example.org", "Other").await;
    let mut tokens = Vec::new();
    for someone in [&target.someone, &other] {
        let path = format!("/persons/{}/tokens", someone.id);
        let (_, issued) = target.deployment.operator("POST", &path, json!({})).await;
        tokens.push(issued["secret"].as_str().unwrap().to_owned());
    }
    let (person, account) = (&target.someone.id, target.account);
    let at = |path: &str| format!("/projects/{PROJECT}{path}");
    let contents = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, image(0));
    let mut upload = json!({ "id": IMAGES[0], "sha256": hex::encode(habeas_core::crypto::sha256(&image(0))), "contents": contents });
    let mut prediction = upload.clone();
    prediction["id"] = json!(PREDICTION);
    prediction["iteration"] = json!(ITERATION);
    prediction["created"] = json!(recently());
    upload["kept"] = json!(false);
    let suggestion = json!({
        "id": SUGGESTION, "image": IMAGES[0], "iteration": ITERATION, "created": recently(), "predictions": [],
    });
    let mut snapshot = iteration();
    snapshot["tags"] = json!([]);
    snapshot["images"] = json!([]);
    snapshot["performance"] = json!([]);
    let digest = hex::encode(habeas_core::crypto::sha256(b"a model"));
    for (method, path, body, own) in [
        ("GET", format!("/persons/{person}/accounts"), Value::Null, 200),
        ("PUT", format!("/accounts/{account}/projects/{PROJECT}"), project(), 200),
        ("GET", at(""), Value::Null, 200),
        ("POST", format!("/accounts/{account}/finish"), json!({ "projects": [PROJECT] }), 204),
        ("DELETE", at(""), Value::Null, 409),
        ("PUT", at(&format!("/tags/{TAG}")), json!({ "id": TAG, "name": "red" }), 200),
        ("PUT", at(&format!("/images/{}", IMAGES[0])), upload, 200),
        ("PUT", at(&format!("/predictions/{PREDICTION}")), prediction, 200),
        ("PUT", at(&format!("/suggestions/{SUGGESTION}")), suggestion, 201),
        ("PUT", at(&format!("/iterations/{ITERATION}")), snapshot, 200),
        ("PUT", at(&format!("/iterations/{ITERATION}/exports/ONNX?sha256={digest}")), Value::Null, 200),
    ] {
        let call = async |token: Option<&str>| {
            let mut request = Request::builder().method(method).uri(format!("/api/import/v1{path}"));
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
            target.deployment.send(request.body(body).unwrap()).await
        };
        assert_eq!(call(None).await.0, 401, "anonymous {method} {path}");
        let (status, answer) = call(Some(&tokens[1])).await;
        assert_eq!(status, 404, "a stranger {method} {path}: {}", String::from_utf8_lossy(&answer));
        let (status, answer) = call(Some(&tokens[0])).await;
        assert_eq!(status, own, "the owner {method} {path}: {}", String::from_utf8_lossy(&answer));
    }
}
