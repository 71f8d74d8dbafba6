//! Services that answer from ONNX graphs, by plain HTTP.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::{Clock as _, ManualClock, Timestamp};
use habeas_learn::onnx::{Attribute, Dimension, ElementType, Graph};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};
use crate::mlflow::Tracker;
use crate::model_management::Manager;

/// A graph that tells rows of two numbers, `x`, into three classes: their weights, `scores`, and the heaviest one, `label`.
fn classifier() -> Vec<u8> {
    biased(&[0.25, -1.0, 0.0])
}

/// The same with another bias, which is what it answers to zeros.
fn biased(bias: &[f32; 3]) -> Vec<u8> {
    let mut graph = Graph::new("classifier");
    let rows = Dimension::Named("rows");
    let x = graph.input("x", &[rows, Dimension::Fixed(2)]);
    let weights = graph.floats(&[1.0, 0.0, -1.0, 0.5, 2.0, -0.5], &[2, 3]);
    let bias = graph.floats(bias, &[3]);
    let product = graph.node("MatMul", &[&x, &weights], &[]);
    let scores = graph.node("Add", &[&product, &bias], &[]);
    let attributes = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))];
    let label = graph.node("ArgMax", &[&scores], &attributes);
    graph.output(&scores, "scores", ElementType::Float, &[rows, Dimension::Fixed(3)]);
    graph.output(&label, "label", ElementType::Int64, &[rows]);
    graph.into_model(&[]).encode()
}

/// A graph by hand, byte by byte (onnx.proto): `y` is `a` plus `b`, of three numbers each.
fn sum() -> Vec<u8> {
    fn part(tag: u8, bytes: &[u8]) -> Vec<u8> {
        [&[tag << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }
    fn number(tag: u8, value: u8) -> Vec<u8> {
        vec![tag << 3, value]
    }
    let value = |name: &str| {
        let extent = part(1, &number(1, 3));
        let tensor = [number(1, 1), part(2, &extent)].concat();
        [part(1, name.as_bytes()), part(2, &part(1, &tensor))].concat()
    };
    let node = [part(1, b"a"), part(1, b"b"), part(2, b"y"), part(4, b"Add")].concat();
    let graph = [
        part(1, &node),
        part(2, b"sum"),
        part(11, &value("a")),
        part(11, &value("b")),
        part(12, &value("y")),
    ]
    .concat();
    [number(1, 8), part(7, &graph), part(8, &number(2, 13))].concat()
}

/// Stores a file of a run in the person's own workspace; the address of it.
async fn stored(tracker: &Tracker<'_>, name: &str, bytes: &[u8]) -> String {
    let run = tracker.run("0", "training").await;
    assert_eq!(tracker.upload(&format!("0/{run}/artifacts/model/{name}"), bytes).await, 200);
    format!("runs:/{run}/model")
}

/// Asks a service; the status and the answer.
async fn ask(deployment: &Deployment, service: &str, token: Option<&str>, body: &str) -> (u16, Value) {
    let mut request = Request::post(format!("/api/v1/service/{service}/score"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let (status, bytes) = deployment.send(request.body(Body::from(body.to_owned())).unwrap()).await;
    (status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Deploys a model of the hosting account as a service without an image; its identifier and its first key.
async fn deployed(manager: &Manager<'_>, name: &str, url: &str) -> (String, String) {
    let model = json!({ "name": name, "url": url, "mimeType": "application/x" });
    let model = manager.ok("POST", "/models", model).await;
    let service = json!({ "name": name, "modelId": model["id"], "computeType": "ACI" });
    let service = manager.waited("POST", "/services", service).await;
    let keys = manager.ok("GET", &format!("/services/{service}/keys"), json!(null)).await;
    (service, keys["primaryKey"].as_str().unwrap().to_owned())
}

async fn account<'a>(deployment: &'a Deployment, someone: &Someone) -> Manager<'a> {
    Manager::of_account(deployment, someone, "mma", "2018-04-01-preview").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_answers_whoever_shows_its_key() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let manager = account(&deployment, &someone).await;
        let (service, key) =
            deployed(&manager, "trees", &stored(&tracker, "model.onnx", &classifier()).await).await;
        let shown = manager.ok("GET", &format!("/services/{service}"), json!(null)).await;
        assert!(shown.get("error").is_none(), "{shown}");
        assert_eq!(shown["scoringUri"], format!("http://habeas.example/api/v1/service/{service}/score"));

        let two_rows = json!({ "scores": [[1.75, 1.0, -1.5], [0.25, 3.0, 0.0]], "label": [0, 1] });
        for body in ["[[1, 1], [-1, 2]]", r#"{"x": [[1, 1], [-1, 2]]}"#, r#"{"data": [[1.0, 1], [-1, 2]]}"#] {
            assert_eq!(ask(&deployment, &service, Some(&key), body).await, (200, two_rows.clone()), "{body}");
        }
        let one_row = json!({ "scores": [[0.25, -1.0, 0.0]], "label": [0] });
        assert_eq!(ask(&deployment, &service, Some(&key), "[[0, 0]]").await, (200, one_row));
        let swagger = Request::get(format!("/api/v1/service/{service}/swagger.json"))
            .header("host", "habeas.example")
            .header("authorization", format!("Bearer {key}"))
            .body(Body::empty())
            .unwrap();
        let (_, swagger) = deployment.send(swagger).await;
        let text = String::from_utf8(swagger).unwrap().replace(&service, "[service]");
        insta::assert_json_snapshot!("what_a_service_takes", serde_json::from_str::<Value>(&text).unwrap());

        // What does not fit, and who may not ask.
        for body in ["", "{}", "[[1]]", "[1, 2]", "[[1, 2], [3]]", r#"{"y": [[1, 2]]}"#, r#"[["a", 2]]"#] {
            let (status, answer) = ask(&deployment, &service, Some(&key), body).await;
            assert_eq!((status, &answer["code"]), (400, &json!("BadArgument")), "{body}: {answer}");
        }
        let token = deployment.token(&someone).await;
        assert_eq!(ask(&deployment, &service, Some(&token), "[[0, 0]]").await.0, 200);
        let other = deployment.person("b@example.org", "B").await;
        let stranger = deployment.token(&other).await;
        for (token, status) in [
            (None, 401),
            (Some("0".repeat(32)), 401),
            (Some(stranger.clone()), 404),
            (Some(String::new()), 401),
        ] {
            assert_eq!(ask(&deployment, &service, token.as_deref(), "[[0, 0]]").await.0, status, "{token:?}");
        }
        assert_eq!(ask(&deployment, &someone.id, Some(&key), "[[0, 0]]").await.0, 401);
        assert_eq!(ask(&deployment, &someone.id, Some(&stranger), "[[0, 0]]").await.0, 404);

        // Restricted data is not asked; and a new key takes the place of the old one.
        let path = format!("/persons/{}/restriction", someone.id);
        let restrict =
            |restricted: bool| deployment.operator("PUT", &path, json!({ "restricted": restricted }));
        assert!(restrict(true).await.0.is_success());
        for token in [&key, &token] {
            let (status, answer) = ask(&deployment, &service, Some(token), "[[0, 0]]").await;
            assert_eq!((status, &answer["code"]), (403, &json!("Restricted")));
        }
        assert!(restrict(false).await.0.is_success());
        assert_eq!(ask(&deployment, &service, Some(&key), "[[0, 0]]").await.0, 200);
        let renew = format!("/services/{service}/regenerateKeys");
        let keys = manager.ok("POST", &renew, json!({ "keyType": "Primary" })).await;
        assert_eq!(ask(&deployment, &service, Some(&key), "[[0, 0]]").await.0, 401);
        let key = keys["primaryKey"].as_str().unwrap();
        assert_eq!(ask(&deployment, &service, Some(key), "[[0, 0]]").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_an_entry_script_answers_nothing_and_says_why() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let manager = Manager::of_workspace(&deployment, &someone, "Forest").await;
        let mlflow = manager.at("").replace("/modelmanagement/v1.0", "/mlflow/v2.0");
        let begin = format!("{mlflow}/api/2.0/mlflow/runs/create");
        let (_, run) = tracker.send("POST", &begin, &json!({ "experiment_id": "0" })).await;
        let run = run["run"]["info"]["run_id"].as_str().unwrap();
        let file = format!("{mlflow}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/model/model.onnx");
        assert_eq!(tracker.raw("PUT", &file, classifier()).await.0, 200);
        let url = format!("runs:/{run}/model");
        let model = json!({ "name": "trees", "url": url, "mimeType": "application/x" });
        manager.ok("POST", "/models", model).await;
        let logs = async |service: &str| {
            let logs = manager.ok("GET", &format!("/services/{service}/logs"), json!(null)).await;
            logs["content"].as_str().unwrap().to_owned()
        };
        // As `Model.deploy` sends it without an `InferenceConfig`, and with one.
        let request = json!({ "modelIds": ["trees:1"] });
        let mut scripted = request.clone();
        scripted["driverProgram"] = json!("_generated_score.py");
        scripted["assets"] = json!([{ "id": "_generated_score.py", "url": "aml://storage/x", "mimeType": "application/x-python" }]);
        for (name, request) in [("plain", &request), ("scripted", &scripted)] {
            let body = json!({ "name": name, "computeType": "ACI", "environmentImageRequest": request });
            manager.waited("POST", "/services", body).await;
        }
        let ask_one = async |name: &str| {
            let shown = manager.ok("GET", &format!("/services/{name}"), json!(null)).await;
            let keys = manager.ok("POST", &format!("/services/{name}/listkeys"), json!(null)).await;
            let service = shown["scoringUri"].as_str().unwrap().rsplit('/').nth(1).unwrap().to_owned();
            let answer = ask(&deployment, &service, keys["primaryKey"].as_str(), "[[0, 0]]").await;
            (shown, answer)
        };
        let (shown, (status, answer)) = ask_one("plain").await;
        assert_eq!((&shown["state"], status), (&json!("Healthy"), 200), "{shown} {answer}");
        assert!(logs("plain").await.contains("runs no driver program"));
        let (shown, (status, answer)) = ask_one("scripted").await;
        assert_eq!(
            (&shown["state"], &shown["error"]["code"], status, &answer["code"]),
            (&json!("Unhealthy"), &json!("NotServed"), 501, &json!("NotServed")),
            "{shown} {answer}"
        );
        for told in [shown["error"]["message"].as_str().unwrap(), &logs("scripted").await] {
            assert!(told.contains("entry script"), "{told}");
        }
        // Deployed without the script, it answers.
        let change = json!([{ "op": "replace", "path": "/environmentImageRequest", "value": request }]);
        manager.ok("PATCH", "/services/scripted", change).await;
        let (shown, (status, answer)) = ask_one("scripted").await;
        assert_eq!((&shown["state"], status), (&json!("Healthy"), 200), "{shown} {answer}");
    }
}

/// `cargo test -p habeas-tests --no-default-features without_scoring`: every other build answers.
#[cfg(not(feature = "scoring"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_built_without_scoring_says_so() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "Ada").await;
    let tracker = Tracker::new(&deployment, &someone).await;
    let manager = account(&deployment, &someone).await;
    let (service, key) =
        deployed(&manager, "trees", &stored(&tracker, "model.onnx", &classifier()).await).await;
    let shown = manager.ok("GET", &format!("/services/{service}"), json!(null)).await;
    assert_eq!(shown["error"]["code"], "NotServed", "{shown}");
    let (status, answer) = ask(&deployment, &service, Some(&key), "[[0, 0]]").await;
    assert_eq!((status, &answer["code"]), (501, &json!("NotServed")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("built without scoring"), "{answer}");
    assert_eq!(ask(&deployment, &service, None, "[[0, 0]]").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_onnx_graph_is_a_record() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let manager = account(&deployment, &someone).await;
        for (name, url, code) in [
            ("pickle", stored(&tracker, "model.pkl", b"pickle").await, "NotServed"),
            ("elsewhere", "https://store.example/model.onnx".to_owned(), "NotServed"),
            ("broken", stored(&tracker, "model.onnx", b"no graph").await, "NotServed"),
        ] {
            let (service, key) = deployed(&manager, name, &url).await;
            let (status, answer) = ask(&deployment, &service, Some(&key), "[1]").await;
            assert_eq!((status, &answer["code"]), (501, &json!(code)), "{name}: {answer}");
        }
        // A graph made by hand, with two inputs, which have to be named.
        let (service, key) = deployed(&manager, "sum", &stored(&tracker, "sum.onnx", &sum()).await).await;
        let (status, answer) =
            ask(&deployment, &service, Some(&key), r#"{"data": {"b": [0.5, 0, -3], "a": [1, 2, 3]}}"#).await;
        assert_eq!((status, answer), (200, json!({ "y": [1.5, 2.0, 0.0] })));
        assert_eq!(ask(&deployment, &service, Some(&key), "[1, 2, 3]").await.0, 400);
        let long = format!("[{}1]", "1,".repeat(5 * 1024 * 1024));
        assert_eq!(ask(&deployment, &service, Some(&key), &long).await.0, 413);
        // Without its file, the service says so.
        let erased = deployment.erase(&someone).await;
        assert_eq!(erased["status"], "completed", "{erased}");
        assert_eq!(ask(&deployment, &service, Some(&key), "[1, 2, 3]").await.0, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_shares_what_it_is_asked_between_its_versions() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let manager = account(&deployment, &someone).await;
        let mut models = Vec::new();
        for (name, file, bytes) in [
            ("first", "model.onnx", biased(&[1.0, 0.0, 0.0])),
            ("second", "model.onnx", biased(&[2.0, 0.0, 0.0])),
            ("pickle", "model.pkl", b"pickle".to_vec()),
        ] {
            let url = stored(&tracker, file, &bytes).await;
            let model = json!({ "name": name, "url": url, "mimeType": "application/x" });
            models.push(manager.ok("POST", "/models", model).await["id"].clone());
        }
        let [first, second, pickle]: [Value; 3] = models.try_into().unwrap();
        let endpoint = json!({ "name": "trees", "computeType": "AKSENDPOINT", "versions": {
            "a": { "modelId": first, "trafficPercentile": 100, "isDefault": true },
            "b": { "modelId": second, "trafficPercentile": 0 },
        } });
        let service = manager.waited("POST", "/services", endpoint).await;
        let path = format!("/services/{service}");
        let keys = manager.ok("GET", &format!("{path}/keys"), json!(null)).await;
        let key = keys["primaryKey"].as_str().unwrap();
        // Which version answers, by the bias of its model.
        let answers = async || {
            let (status, answer) = ask(&deployment, &service, Some(key), "[[0, 0]]").await;
            assert_eq!(status, 200, "{answer}");
            answer["scores"][0][0].as_f64().unwrap()
        };
        let shares = async |a: u32, b: u32| {
            let share = |version: &str, share: u32| json!({ "op": "replace", "path": format!("/versions/{version}/trafficPercentile"), "value": share });
            manager.ok("PATCH", &path, json!([share("a", a), share("b", b)])).await
        };
        for _ in 0..8 {
            assert_eq!(answers().await.to_string(), "1");
        }
        let shown = shares(0, 100).await;
        assert!(shown.get("error").is_none(), "{shown}");
        for _ in 0..8 {
            assert_eq!(answers().await.to_string(), "2");
        }
        // What the shares leave is the default version's.
        shares(0, 0).await;
        for _ in 0..8 {
            assert_eq!(answers().await.to_string(), "1");
        }
        // With halves, that one of them is not asked in 128 questions has the odds of 1 to 2 to the power of 127.
        shares(50, 50).await;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..128 {
            seen.insert(answers().await.to_string());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["1", "2"]);
        let (status, _) = ask(&deployment, &service, None, "[[0, 0]]").await;
        assert_eq!(status, 401);

        // A version whose model is no graph is a record, and says so where it is asked.
        let change = json!([{ "op": "add", "path": "/versions/b", "value": { "modelId": pickle } }]);
        let shown = manager.ok("PATCH", &path, change).await;
        assert!(shown.get("error").is_none(), "it is not asked: {shown}");
        assert_eq!(shown["versions"]["b"]["error"]["code"], "NotServed", "{shown}");
        let shown = shares(0, 100).await;
        assert_eq!(shown["error"]["code"], "NotServed", "{shown}");
        let (status, answer) = ask(&deployment, &service, Some(key), "[[0, 0]]").await;
        assert_eq!((status, &answer["code"]), (501, &json!("NotServed")), "{answer}");
        // Without it, the other one is the endpoint; without that, nothing answers.
        manager.ok("PATCH", &path, json!([{ "op": "remove", "path": "/versions/b" }])).await;
        assert_eq!(answers().await.to_string(), "1");
        manager.ok("PATCH", &path, json!([{ "op": "remove", "path": "/versions/a" }])).await;
        let (status, answer) = ask(&deployment, &service, Some(key), "[[0, 0]]").await;
        assert_eq!((status, &answer["code"]), (501, &json!("NotServed")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_from_erased_data_is_planned_and_marked() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (ada, bea) = (
            deployment.person("a@example.org", "Ada").await,
            deployment.person("b@example.org", "Bea").await,
        );
        let organisation = json!({ "name": "Forest", "owner": bea.id });
        let (_, organisation) = deployment.operator("POST", "/organisations", organisation).await;
        let organisation = organisation["objectId"].as_str().unwrap();
        let member = format!("/organisations/{organisation}/members/{}", ada.id);
        assert!(deployment.operator("PUT", &member, json!({ "role": "contributor" })).await.0.is_success());
        // Ada trains in her own workspace and registers the model in the organisation's account; Bea deploys it.
        let tracker = Tracker::new(&deployment, &ada).await;
        let url = stored(&tracker, "model.onnx", &classifier()).await;
        let of = Someone { id: organisation.to_owned(), ..ada.clone() };
        let token = deployment.token(&ada).await;
        let manager = Manager::of_account_with(&deployment, token, &of, "mma", "2018-04-01-preview").await;
        let (service, key) = deployed(&manager, "trees", &url).await;
        assert_eq!(ask(&deployment, &service, Some(&key), "[[0, 0]]").await.0, 200);
        let manager = manager.with_token(deployment.token(&bea).await);
        let model = manager.ok("GET", "/models", json!(null)).await["value"][0].clone();
        assert!(model.get("sourceErasedAt").is_none());

        let (_, plan) =
            deployment.operator("POST", &format!("/persons/{}/erasure-plans", ada.id), json!({})).await;
        let mut kinds: Vec<&str> =
            plan["tainted"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["ModelVersion", "Service"], "{plan}");
        let report = deployment.erase(&ada).await;
        assert_eq!(report["status"], "completed", "{report}");

        // The file went with its run; what was made from it says so to whoever has it.
        let path = format!("/models/{}", model["id"].as_str().unwrap());
        assert!(manager.ok("GET", &path, json!(null)).await["sourceErasedAt"].is_string());
        let shown = manager.ok("GET", &format!("/services/{service}"), json!(null)).await;
        assert!(shown["sourceErasedAt"].is_string(), "{shown}");
        // So does what is made from it afterwards.
        let later = json!({ "name": "later", "modelId": model["id"], "computeType": "ACI" });
        let later = manager.waited("POST", "/services", later).await;
        let shown_later = manager.ok("GET", &format!("/services/{later}"), json!(null)).await;
        assert_eq!(shown_later["sourceErasedAt"], shown["sourceErasedAt"]);
        // Ada knew the key, and it was renewed with her erasure.
        assert_eq!(ask(&deployment, &service, Some(&key), "[[0, 0]]").await.0, 401);
        let keys = manager.ok("GET", &format!("/services/{service}/keys"), json!(null)).await;
        let (status, answer) = ask(&deployment, &service, keys["primaryKey"].as_str(), "[[0, 0]]").await;
        assert_eq!((status, &answer["code"]), (501, &json!("NotServed")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_takes_tokens_is_asked_with_its_own() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp(1_768_466_522_000_000)));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let manager = account(&deployment, &someone).await;
        let url = stored(&tracker, "model.onnx", &classifier()).await;
        let (service, key) = deployed(&manager, "trees", &url).await;
        let (other, _) = deployed(&manager, "others", &url).await;
        let path = format!("/services/{service}");
        let asked =
            async |service: &str, token: &str| ask(&deployment, service, Some(token), "[[0, 0]]").await.0;
        let issued = async || {
            let answer = manager.call("POST", &format!("{path}/token"), json!(null)).await;
            assert_eq!(answer.status, 201, "{}", answer.body);
            answer.body
        };

        // Both at once is refused, as the SDK does; then tokens take the place of keys.
        let both = json!({ "authEnabled": true, "aadAuthEnabled": true });
        assert_eq!(manager.call("PUT", &path, both).await.status, 400);
        for service in [&service, &other] {
            let tokens = json!({ "authEnabled": false, "aadAuthEnabled": true });
            manager.waited("PUT", &format!("/services/{service}"), tokens).await;
        }
        assert_eq!(manager.ok("GET", &path, json!(null)).await["aadAuthEnabled"], true);
        assert_eq!(asked(&service, &key).await, 401);
        let token = issued().await;
        let now = clock.now().seconds();
        assert_eq!(
            (&token["tokenType"], &token["expiryOn"], &token["refreshAfter"]),
            (&json!("Bearer"), &json!(now + 3_600), &json!(now + 2_700))
        );
        let token = token["accessToken"].as_str().unwrap().to_owned();
        assert_eq!(asked(&service, &token).await, 200);
        // It asks this service and does nothing else.
        assert_eq!(asked(&other, &token).await, 401);
        assert_eq!(deployment.call(Some(&token), "GET", "/persons/me", json!(null)).await.0, 401);
        // A bit of the service, the person, the end and the MAC, and an end that is an hour later.
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        assert_eq!(bytes.len(), 16 + 16 + 8 + 32);
        let changed = [3, 20, 39, 40, 71].map(|at| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            bytes
        });
        let end = i64::from_be_bytes(bytes[32..40].try_into().unwrap());
        assert_eq!(end, now + 3_600);
        let later = [&bytes[..32], &(end + 3_600).to_be_bytes(), &bytes[40..]].concat();
        for (index, forged) in changed.into_iter().chain([later]).enumerate() {
            assert_eq!(asked(&service, &URL_SAFE_NO_PAD.encode(forged)).await, 401, "{index}");
        }
        // A person's own token asks as before.
        assert_eq!(asked(&service, &deployment.token(&someone).await).await, 200);

        // It ends with its time, and with the key.
        clock.advance(3_600 * 1_000_000);
        let later = [&bytes[..32], &(end + 3_600).to_be_bytes(), &bytes[40..]].concat();
        assert_eq!(asked(&service, &URL_SAFE_NO_PAD.encode(later)).await, 401);
        assert_eq!(asked(&service, &token).await, 401);
        let token = issued().await["accessToken"].as_str().unwrap().to_owned();
        assert_eq!(asked(&service, &token).await, 200);
        manager.ok("POST", &format!("{path}/regenerateKeys"), json!({ "keyType": "Primary" })).await;
        assert_eq!(asked(&service, &token).await, 401);

        // Back to keys.
        let token = issued().await["accessToken"].as_str().unwrap().to_owned();
        let keys = json!({ "authEnabled": true, "aadAuthEnabled": false });
        manager.waited("PUT", &path, keys).await;
        assert_eq!(asked(&service, &token).await, 401);
        let key = manager.ok("GET", &format!("{path}/keys"), json!(null)).await;
        assert_eq!(asked(&service, key["primaryKey"].as_str().unwrap()).await, 200);
        assert_eq!(manager.call("POST", &format!("{path}/token"), json!(null)).await.status, 409);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_service_dies_with_the_role_of_its_person() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (ada, bea) = (
            deployment.person("a@example.org", "Ada").await,
            deployment.person("b@example.org", "Bea").await,
        );
        let organisation = json!({ "name": "Forest", "owner": bea.id });
        let (_, organisation) = deployment.operator("POST", "/organisations", organisation).await;
        let organisation = organisation["objectId"].as_str().unwrap();
        let member = format!("/organisations/{organisation}/members/{}", ada.id);
        let role = async |role: &str| {
            let (status, answer) = deployment.operator("PUT", &member, json!({ "role": role })).await;
            assert!(status.is_success(), "{answer}");
        };
        role("contributor").await;
        let tracker = Tracker::new(&deployment, &bea).await;
        let url = stored(&tracker, "model.onnx", &classifier()).await;
        let of = Someone { id: organisation.to_owned(), ..bea.clone() };
        let token = deployment.token(&bea).await;
        let manager = Manager::of_account_with(&deployment, token, &of, "mma", "2018-04-01-preview").await;
        let (service, _) = deployed(&manager, "trees", &url).await;
        let path = format!("/services/{service}");
        manager.waited("PUT", &path, json!({ "aadAuthEnabled": true })).await;
        let manager = manager.with_token(deployment.token(&ada).await);
        let answer = manager.call("POST", &format!("{path}/token"), json!(null)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let token = answer.body["accessToken"].as_str().unwrap();
        assert_eq!(ask(&deployment, &service, Some(token), "[[0, 0]]").await.0, 200);
        // A reader may ask nothing, nor fetch a token.
        role("reader").await;
        assert_eq!(ask(&deployment, &service, Some(token), "[[0, 0]]").await.0, 401);
        assert_eq!(manager.call("POST", &format!("{path}/token"), json!(null)).await.status, 403);
        role("deployment").await;
        // The keys were renewed when the role ended that sees them, and the token with them.
        assert_eq!(ask(&deployment, &service, Some(token), "[[0, 0]]").await.0, 401);
        let answer = manager.call("POST", &format!("{path}/token"), json!(null)).await;
        let token = answer.body["accessToken"].as_str().unwrap();
        assert_eq!(ask(&deployment, &service, Some(token), "[[0, 0]]").await.0, 200);
        let report = deployment.erase(&ada).await;
        assert_eq!(report["status"], "completed", "{report}");
        assert_eq!(ask(&deployment, &service, Some(token), "[[0, 0]]").await.0, 401);
    }
}
