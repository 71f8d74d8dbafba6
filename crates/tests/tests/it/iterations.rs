//! Iterations through the wire, on both engines: training, snapshots, publishing, deletion, and who may do what.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::Id;
use habeas_core::kinds::{Iteration, IterationStatus};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::classroom::picture;
use crate::deployment::{Deployment, Someone, engines, image};
use crate::exports::COMPACT;

/// A project with two tags of five images each, and one untagged image.
struct Garden {
    project: String,
    tags: [String; 2],
    images: Vec<String>,
    untagged: String,
}

async fn garden(deployment: &Deployment, someone: &Someone) -> Garden {
    let project = deployment.project(someone, "garden").await;
    let tags = [
        deployment.tag(someone, &project, "hemlock&description=a%20conifer").await,
        deployment.tag(someone, &project, "cherry").await,
    ];
    let mut images = Vec::new();
    for (number, tag) in tags.iter().enumerate() {
        for place in 0..5 {
            let bytes = image((number * 5 + place) as u64);
            images.push(deployment.image(someone, &project, "x.jpg", &bytes, &[tag]).await);
        }
    }
    let untagged = deployment.image(someone, &project, "y.jpg", &image(100), &[]).await;
    Garden { project, tags, images, untagged }
}

/// Calls a version of the training API; status, headers and the JSON of the answer.
async fn call(
    deployment: &Deployment,
    version: &str,
    method: &str,
    (header, key): (&str, &str),
    path: &str,
    body: Option<Value>,
) -> (StatusCode, HeaderMap, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("/customvision/{version}/training{path}"))
        .header(header, key)
        .header("content-type", "application/json; charset=utf-8")
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
        .unwrap();
    let response = deployment.server().router().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
    (status, headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Trains the project and waits for the end; the iteration's id.
async fn trained(deployment: &Deployment, someone: &Someone, project: &str) -> String {
    trained_with(deployment, someone, project, "").await
}

async fn trained_with(deployment: &Deployment, someone: &Someone, project: &str, query: &str) -> String {
    let path = format!("/projects/{project}/train?forceTrain=true{query}");
    let (status, made) = deployment.train("POST", &someone.key, &path, None).await;
    assert_eq!((status.as_u16(), made["status"].as_str()), (200, Some("Training")), "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/projects/{project}/iterations/{id}");
    loop {
        let (_, iteration) = deployment.train("GET", &someone.key, &path, None).await;
        if iteration["status"] != "Training" {
            return id;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Gives an iteration a status, whatever became of its training.
async fn set_status(deployment: &Deployment, iteration: &str, status: IterationStatus) {
    let id: Id = iteration.parse().unwrap();
    let store = deployment.server().app().store().clone();
    store
        .write(move |tx| {
            let mut node = tx.get::<Iteration>(id)?.unwrap();
            node.doc.status = status;
            tx.update::<Iteration>(&node)
        })
        .await
        .unwrap();
}

/// Plants an iteration with markers wherever it takes some, and an image that only it holds; the markers.
pub(crate) async fn plant(
    deployment: &Deployment,
    someone: &Someone,
    marker: &impl Fn(&str) -> String,
) -> Vec<String> {
    let addresses = format!(
        "&notificationQueueUri=https%3A%2F%2Fexample.org%2F{}&exportModelContainerUri=https%3A%2F%2Fexample.org%2F{}",
        marker("queue"),
        marker("container")
    );
    let domain = format!("trained&domainId={COMPACT}{addresses}");
    let project = deployment.project(someone, &domain).await;
    let mut first = String::new();
    for (place, name) in ["snapshot", "cherry"].iter().enumerate() {
        let tag = deployment.tag(someone, &project, &marker(name)).await;
        for number in 0..5 {
            let mut bytes = picture(place as u64, number);
            bytes.extend_from_slice(marker("keptbytes").as_bytes());
            let file = format!("{}.jpg", marker("keptfile"));
            first = deployment.image(someone, &project, &file, &bytes, &[&tag]).await;
        }
    }
    let address = format!("&notificationEmailAddress={}@example.org", marker("notify"));
    let iteration = trained_with(deployment, someone, &project, &address).await;
    let path = format!("/projects/{project}/iterations/{iteration}");
    let name = json!({ "name": marker("iteration") });
    assert_eq!(deployment.train("PATCH", &someone.key, &path, Some(name)).await.0, 200);
    let publish =
        format!("{path}/publish?publishName={}&predictionId={}", marker("publish"), marker("resource"));
    assert_eq!(deployment.train("POST", &someone.key, &publish, None).await.0, 200);
    let deletion = format!("/projects/{project}/images?imageIds={first}");
    assert_eq!(deployment.train("DELETE", &someone.key, &deletion, None).await.0, 204);
    // What the model writes: an export with the tags' names, a stored prediction, a suggestion.
    let export = format!("{path}/export");
    assert_eq!(deployment.train("POST", &someone.key, &format!("{export}?platform=ONNX"), None).await.0, 200);
    while deployment.train("GET", &someone.key, &export, None).await.1[0]["status"] == "Exporting" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut bytes = picture(0, 50);
    bytes.extend_from_slice(marker("classifiedbytes").as_bytes());
    let path = format!(
        "/customvision/v3.1/prediction/{project}/classify/iterations/{}/image?application={}",
        marker("publish"),
        marker("caller")
    );
    let request = Request::post(path)
        .header("prediction-key", &someone.key)
        .header("content-type", "application/octet-stream")
        .body(Body::from(bytes))
        .unwrap();
    assert_eq!(deployment.send(request).await.0, 200);
    let untagged = deployment.image(someone, &project, "y.bmp", &picture(1, 60), &[]).await;
    let path =
        format!("/projects/{project}/tagsandregions/suggestions?iterationId={iteration}&imageIds={untagged}");
    let (status, suggested) = deployment.train("POST", &someone.key, &path, None).await;
    assert!(status == 200 && suggested.to_string().contains(&marker("snapshot")), "{suggested}");
    [
        "queue",
        "container",
        "snapshot",
        "cherry",
        "keptbytes",
        "keptfile",
        "notify",
        "iteration",
        "publish",
        "resource",
        "classifiedbytes",
        "caller",
    ]
    .iter()
    .map(|what| marker(what))
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_is_checked_before_it_starts() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let garden = garden(&deployment, &someone).await;
        let train = async |query: &str, body: Option<Value>| {
            let path = format!("/projects/{}/train{query}", garden.project);
            let (status, answer) = deployment.train("POST", &someone.key, &path, body).await;
            (status.as_u16(), answer["code"].as_str().unwrap_or_default().to_owned(), answer)
        };
        let empty = deployment.project(&someone, "empty").await;
        let (status, answer) =
            deployment.train("POST", &someone.key, &format!("/projects/{empty}/train"), None).await;
        assert_eq!(status, 400);
        assert_eq!(answer["code"], "BadRequestClassificationTrainingValidationFailed");
        assert!(
            answer["message"].as_str().unwrap().starts_with("Not enough images for training"),
            "{answer}"
        );
        let nobody = "0190b3a4-5c6d-7e8f-9012-3456789abcde";
        for (query, body, code) in [
            ("?trainingType=Quick", None, "BadRequest"),
            ("?reservedBudgetInHours=-1", None, "BadRequest"),
            ("?forceTrain=maybe", None, "BadRequest"),
            ("?notificationEmailAddress=nobody", None, "BadRequestInvalidEmailAddress"),
            ("", Some(json!({ "selectedTags": "all" })), "BadRequestInvalidIds"),
            ("", Some(json!({ "selectedTags": ["x"] })), "BadRequestInvalidIds"),
            ("", Some(json!({ "selectedTags": [nobody] })), "BadRequestInvalidIds"),
            ("", Some(json!({ "customBaseModelInfo": { "projectId": nobody } })), "BadRequestInvalidIds"),
        ] {
            let (status, found, answer) = train(query, body).await;
            assert_eq!((status, found.as_str()), (400, code), "{query}: {answer}");
        }
        let base = json!({ "customBaseModelInfo": { "projectId": garden.project, "iterationId": nobody } });
        assert_eq!(train("", Some(base)).await.1, "NotFoundIteration");
        let stranger = deployment.person("b@example.org", "B").await;
        let theirs = deployment.project(&stranger, "theirs").await;
        let base = json!({ "customBaseModelInfo": { "projectId": theirs, "iterationId": nobody } });
        assert_eq!(train("", Some(base)).await.1, "NotFoundProject");

        let (status, _, answer) = train(
            "?trainingType=advanced&reservedBudgetInHours=2&notificationEmailAddress=ada%40example.org",
            Some(json!({ "selectedTags": garden.tags })),
        )
        .await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["status"], "Training");
        assert_eq!(answer["name"], "Iteration 1");
        assert_eq!(answer["trainingType"], "Advanced");
        assert_eq!(answer["reservedBudgetInHours"], 2);
        assert_eq!(answer["trainedAt"], Value::Null);
        assert_eq!(answer["projectId"], garden.project.as_str());
        let running = answer["id"].as_str().unwrap().to_owned();
        let path = format!("/projects/{}/iterations/{running}", garden.project);
        while deployment.train("GET", &someone.key, &path, None).await.1["status"] == "Training" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        set_status(&deployment, &running, IterationStatus::Training).await;
        assert_eq!(train("", None).await.1, "BadRequestTrainingAlreadyInProgress");
        // Deleting it is how a training is cancelled.
        assert_eq!(deployment.train("DELETE", &someone.key, &path, None).await.0, 204);
        assert_eq!(deployment.train("GET", &someone.key, &path, None).await.1["code"], "NotFoundIteration");
        let second = trained(&deployment, &someone, &garden.project).await;
        set_status(&deployment, &second, IterationStatus::Completed).await;
        let (status, _, answer) = train("", None).await;
        assert_eq!(
            (status, answer["code"].as_str(), answer["message"].as_str()),
            (400, Some("BadRequestTrainingNotNeeded"), Some("Nothing changed since last training"))
        );
        let (_, account) = deployment.train("GET", &someone.key, "/account", None).await;
        let quotas = account["quotas"]["perProject"].as_array().unwrap();
        let quota = quotas.iter().find(|quota| quota["projectId"] == garden.project.as_str()).unwrap();
        assert_eq!(quota["iterations"]["used"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_defaults_and_publications() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let garden = garden(&deployment, &someone).await;
        let first = trained(&deployment, &someone, &garden.project).await;
        let second = trained(&deployment, &someone, &garden.project).await;
        let at = |path: &str| format!("/projects/{}/iterations{path}", garden.project);
        let send = async |version: &str, method: &str, path: String, body: Option<Value>| {
            let (status, _, answer) =
                call(&deployment, version, method, ("training-key", &someone.key), &path, body).await;
            (status.as_u16(), answer)
        };
        let new = "v3.4-preview";

        set_status(&deployment, &first, IterationStatus::Failed).await;
        let publish = |id: &str, query: &str| at(&format!("/{id}/publish?predictionId=%2Fsub%2Fx{query}"));
        let (status, answer) = send(new, "POST", publish(&first, "&publishName=m"), None).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("BadRequestIterationIsNotTrained")));
        let (_, answer) = send(new, "GET", at(&format!("/{first}/performance")), None).await;
        assert_eq!(answer["code"], "NotFoundIterationPerformance");
        set_status(&deployment, &first, IterationStatus::Completed).await;
        set_status(&deployment, &second, IterationStatus::Completed).await;

        assert_eq!(send(new, "POST", publish(&first, "&publishName=m%201"), None).await, (200, json!(true)));
        let (_, shown) = send(new, "GET", at(&format!("/{first}")), None).await;
        assert_eq!(
            (shown["publishName"].as_str(), shown["originalPublishResourceId"].as_str()),
            (Some("m 1"), Some("/sub/x"))
        );
        let (status, answer) = send(new, "POST", publish(&first, "&publishName=other"), None).await;
        assert_eq!(
            (status, answer["code"].as_str(), answer["message"].as_str()),
            (400, Some("BadRequestIterationIsPublished"), Some("Iteration is already published as: m 1"))
        );
        let (_, answer) = send(new, "POST", publish(&second, "&publishName=m%201"), None).await;
        assert_eq!(answer["code"], "BadRequestInvalidPublishName");
        for query in ["?publishName=m", "?predictionId=x"] {
            let (status, answer) = send(new, "POST", at(&format!("/{second}/publish{query}")), None).await;
            assert_eq!((status, answer["code"].as_str()), (400, Some("BadRequestRequiredParamIsNull")));
        }
        let path = publish(&second, "&publishName=m%201&overwrite=true");
        assert_eq!(send(new, "POST", path, None).await, (200, json!(true)));
        assert_eq!(send(new, "GET", at(&format!("/{first}")), None).await.1["publishName"], Value::Null);
        let (status, answer) = send(new, "DELETE", at(&format!("/{first}/publish")), None).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("BadRequestIterationNotPublished")));
        let (status, answer) = send(new, "DELETE", at(&format!("/{second}")), None).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("BadRequestIterationIsPublished")));
        let (status, answer) = send(new, "DELETE", format!("/projects/{}", garden.project), None).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("BadRequestIterationIsPublished")));
        assert_eq!(send(new, "DELETE", at(&format!("/{second}/publish")), None).await.0, 204);

        // Version 2.2 has a default instead; 3.0 does not know it.
        let default = async |version: &str, id: &str, is_default: bool| {
            send(
                version,
                "PATCH",
                at(&format!("/{id}")),
                Some(json!({ "isDefault": is_default, "name": "renamed" })),
            )
            .await
        };
        assert_eq!(default("v2.2", &first, true).await.1["isDefault"], json!(true));
        assert_eq!(default("v2.2", &second, true).await.1["isDefault"], json!(true));
        let (_, shown) = send("v2.2", "GET", at(&format!("/{first}")), None).await;
        assert_eq!((&shown["isDefault"], shown["name"].as_str()), (&json!(false), Some("renamed")));
        assert!(default("v3.0", &first, true).await.1.get("isDefault").is_none());
        assert_eq!(send("v2.2", "GET", at(&format!("/{first}")), None).await.1["isDefault"], json!(false));
        assert_eq!(default("v2.2", &second, false).await.1["isDefault"], json!(false));
        set_status(&deployment, &first, IterationStatus::Failed).await;
        assert_eq!(default("v2.2", &first, true).await.1["code"], "BadRequestIterationIsNotTrained");
        let (status, answer) =
            send(new, "PATCH", at(&format!("/{first}")), Some(json!({ "name": " " }))).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("BadRequestIterationName")));
        assert_eq!(send("v2.2", "GET", at(&format!("/{first}/performance?threshold=2")), None).await.0, 400);
        let (_, answer) = send("v1.2", "GET", at(&format!("/{first}/performance")), None).await;
        assert_eq!(answer["code"], "BadRequestRequiredParamIsNull");

        // 1.x lists the workspace, which cannot be changed like an iteration.
        let (_, listed) = send("v1.2", "GET", at(""), None).await;
        assert_eq!(listed.as_array().unwrap().len(), 3);
        assert_eq!(listed[0]["Status"], "New");
        assert_eq!(listed[0]["Id"], garden.project.as_str());
        assert_eq!((&listed[0]["TrainedAt"], &listed[0]["DomainId"]), (&Value::Null, &Value::Null));
        assert_eq!(listed[1]["Id"], second.as_str(), "newest first");
        assert_eq!(send(new, "GET", at(""), None).await.1.as_array().unwrap().len(), 2);
        let workspace = at(&format!("/{}", garden.project));
        assert_eq!(send("v1.2", "GET", workspace.clone(), None).await.1["Status"], "New");
        assert_eq!(send(new, "GET", workspace.clone(), None).await.1["code"], "NotFoundIteration");
        let (_, answer) = send("v1.2", "PATCH", workspace.clone(), Some(json!({ "Name": "x" }))).await;
        assert_eq!(answer["code"], "BadRequestWorkspaceCannotBeModified");
        assert_eq!(
            send("v1.2", "DELETE", workspace.clone(), None).await.1["code"],
            "BadRequestWorkspaceNotDeletable"
        );
        let tags = format!("/projects/{0}/tags?iterationId={0}", garden.project);
        assert_eq!(send("v1.2", "GET", tags, None).await.1["TotalTaggedImages"], json!(10));

        assert_eq!(send(new, "DELETE", at(&format!("/{first}")), None).await.0, 204);
        assert_eq!(send(new, "DELETE", at(&format!("/{first}")), None).await.1["code"], "NotFoundIteration");
        assert_eq!(send(new, "DELETE", format!("/projects/{}", garden.project), None).await.0, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iteration_keeps_what_it_was_trained_on_until_it_is_erased() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let garden = garden(&deployment, &someone).await;
        let key = ("training-key", someone.key.as_str());
        let send = async |method: &str, path: &str| {
            let path = format!("/projects/{}{path}", garden.project);
            call(&deployment, "v3.4-preview", method, key, &path, None).await
        };
        let get = async |path: &str| send("GET", path).await.2;
        let path = format!("/projects/{}/images/metadata?imageIds={}", garden.project, garden.images[0]);
        deployment.train("POST", &someone.key, &path, Some(json!({ "who": "ada" }))).await;
        let iteration = trained(&deployment, &someone, &garden.project).await;
        let then = format!("iterationId={iteration}");

        // The workspace goes on: a tag is renamed, the other one deleted, images go.
        let path = format!("/projects/{}/tags/{}", garden.project, garden.tags[0]);
        let renamed = json!({ "name": "fir" });
        assert_eq!(deployment.train("PATCH", &someone.key, &path, Some(renamed)).await.0, 200);
        assert_eq!(send("DELETE", &format!("/tags/{}", garden.tags[1])).await.0, 204);
        let held = |headers: &HeaderMap| headers["habeas-held-by-iterations"].to_str().unwrap().to_owned();
        let (status, headers, _) =
            send("DELETE", &format!("/images?imageIds={},{}", garden.images[0], garden.untagged)).await;
        assert_eq!((status.as_u16(), held(&headers).as_str()), (204, "1"));
        assert_eq!(get("/images/count").await, json!(9));
        assert_eq!(get("/images/tagged/count").await, json!(4));
        assert_eq!(get(&format!("/images/id?imageIds={}", garden.images[0])).await, json!([]));

        assert_eq!(get(&format!("/images/count?{then}")).await, json!(10));
        assert_eq!(get(&format!("/images/tagged/count?{then}")).await, json!(10));
        assert_eq!(get(&format!("/images/tagged/count?{then}&tagIds={}", garden.tags[1])).await, json!(5));
        assert_eq!(get(&format!("/images/untagged/count?{then}")).await, json!(0));
        assert_eq!(get(&format!("/images/untagged?{then}")).await, json!([]));
        let tags = get(&format!("/tags?{then}")).await;
        let names: Vec<_> =
            tags.as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["cherry", "hemlock"]);
        let tag = get(&format!("/tags/{}?{then}", garden.tags[0])).await;
        assert_eq!(
            (tag["name"].as_str(), tag["description"].as_str(), &tag["imageCount"]),
            (Some("hemlock"), Some("a conifer"), &json!(5))
        );
        assert_eq!(get(&format!("/tags/{}", garden.tags[0])).await["imageCount"], json!(4));
        let oldest = get(&format!("/images/tagged?{then}&orderBy=Oldest&take=2&skip=4")).await;
        assert_eq!(
            (oldest[0]["id"].as_str(), oldest[1]["id"].as_str()),
            (Some(garden.images[4].as_str()), Some(garden.images[5].as_str()))
        );
        assert_eq!(oldest[1]["tags"][0]["tagName"], "cherry");
        assert_eq!(get(&format!("/images?{then}")).await[0]["id"], garden.images[9].as_str());
        let filter = "$filter=metadata%3Dwho%20eq%20%27ada%27";
        assert_eq!(get(&format!("/images/count?{then}&{filter}")).await, json!(1));
        let filtered = get(&format!("/images?{then}&{filter}")).await;
        assert_eq!(filtered[0]["id"], garden.images[0].as_str());

        // What the iteration keeps can be seen and fetched.
        let kept = get(&format!("/images/id?{then}&imageIds={},{}", garden.images[0], garden.untagged)).await;
        assert_eq!(kept.as_array().unwrap().len(), 1);
        assert_eq!(kept[0]["tags"][0]["tagName"], "hemlock");
        let local = |uri: &Value| uri.as_str().unwrap().split_once("localhost").unwrap().1.to_owned();
        let fetch = async |uri: &str| deployment.send(Request::get(uri).body(Body::empty()).unwrap()).await;
        let (original, thumbnail) = (local(&kept[0]["originalImageUri"]), local(&kept[0]["thumbnailUri"]));
        assert_eq!(fetch(&original).await, (StatusCode::OK, image(0)));
        assert_eq!(fetch(&thumbnail).await.0, 200);
        let blob = original.strip_prefix("/blobs/").unwrap().split_once('?').unwrap().0.to_owned();
        assert_eq!(send("GET", &format!("/artifacts?path={blob}")).await.0, 200);
        for path in ["/images", "/images/count", "/images/tagged", "/images/untagged", "/tags"] {
            let nowhere = get(&format!("{path}?iterationId={}", garden.project)).await;
            assert_eq!(nowhere["code"], "NotFoundIteration", "{path}");
        }

        // Erasing it reaches the iteration too.
        let (status, headers, _) =
            send("DELETE", &format!("/images?imageIds={}&allIterations=true", garden.images[0])).await;
        assert_eq!((status.as_u16(), held(&headers).as_str()), (202, "0"));
        assert_eq!(get(&format!("/images/count?{then}")).await, json!(9));
        assert_eq!(get(&format!("/tags/{}?{then}", garden.tags[0])).await["imageCount"], json!(4));
        assert_eq!(fetch(&original).await.0, 404);

        let (status, headers, _) = send("DELETE", "/images?allImages=true").await;
        assert_eq!((status.as_u16(), held(&headers).as_str()), (202, "9"));
        assert_eq!(get("/images/count").await, json!(0));
        assert_eq!(get(&format!("/images/count?{then}")).await, json!(9));
        assert_eq!(send("DELETE", "/images?allImages=true&allIterations=true").await.0, 202);
        assert_eq!(get(&format!("/images/count?{then}")).await, json!(0));
        assert_eq!(send("DELETE", "/images?allIterations=true").await.0, 400);
        assert_eq!(send("DELETE", &format!("/iterations/{iteration}")).await.0, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_an_organisation_do_what_their_role_allows() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let owner = deployment.person("owner@example.org", "Owner").await;
    let (_, organisation) =
        deployment.operator("POST", "/organisations", json!({ "name": "Garden", "owner": owner.id })).await;
    let of_organisation = Someone {
        id: organisation["objectId"].as_str().unwrap().to_owned(),
        email: String::new(),
        key: organisation["trainingKeys"][0].as_str().unwrap().to_owned(),
    };
    let garden = garden(&deployment, &of_organisation).await;
    let iteration = trained(&deployment, &of_organisation, &garden.project).await;
    set_status(&deployment, &iteration, IterationStatus::Completed).await;
    let contents = STANDARD.encode(image(200));
    let operations = [
        ("GET", "/iterations".to_owned(), None, "Read"),
        ("GET", format!("/images?iterationId={iteration}"), None, "Read"),
        ("POST", "/images/files".to_owned(), Some(json!({ "images": [{ "contents": contents }] })), "Label"),
        ("DELETE", format!("/images?imageIds={}", garden.untagged), None, "Label"),
        ("PATCH", format!("/tags/{}", garden.tags[0]), Some(json!({ "description": "x" })), "Label"),
        ("POST", format!("/iterations/{iteration}/publish?publishName=m&predictionId=x"), None, "Deploy"),
        ("DELETE", format!("/iterations/{iteration}/publish"), None, "Deploy"),
        ("GET", format!("/iterations/{iteration}/export"), None, "Read"),
        ("POST", format!("/iterations/{iteration}/export?platform=ONNX"), None, "Deploy"),
        ("DELETE", format!("/iterations/{iteration}/export"), None, "Deploy"),
        ("GET", "/dataset?format=coco".to_owned(), None, "Read"),
        ("POST", "/dataset?format=coco".to_owned(), Some(json!({})), "Label"),
        ("GET", "/export".to_owned(), None, "Write"),
        ("PATCH", String::new(), Some(json!({ "description": "x" })), "Write"),
        ("POST", "/train".to_owned(), None, "Write"),
        ("PATCH", format!("/iterations/{iteration}"), Some(json!({ "name": "x" })), "Write"),
        ("DELETE", format!("/images?imageIds={}&allIterations=true", garden.untagged), None, "Write"),
        ("DELETE", format!("/iterations/{}", owner.id), None, "Write"),
        ("DELETE", String::new(), None, "Manage"),
    ];
    for (role, permissions) in [
        ("reader", vec!["Read"]),
        ("labeler", vec!["Read", "Label"]),
        ("deployment", vec!["Read", "Deploy"]),
        ("trainer", vec!["Read", "Label", "Deploy", "Write"]),
        ("contributor", vec!["Read", "Label", "Deploy", "Write", "Manage"]),
    ] {
        let member = deployment.person(&format!("{role}@example.org"), role).await;
        let path = format!("/organisations/{}/members/{}", of_organisation.id, member.id);
        assert_eq!(deployment.operator("PUT", &path, json!({ "role": role })).await.0, 204);
        let (_, issued) =
            deployment.operator("POST", &format!("/persons/{}/tokens", member.id), json!({})).await;
        let token = format!("Bearer {}", issued["secret"].as_str().unwrap());
        let (_, _, listed) =
            call(&deployment, "v3.4-preview", "GET", ("authorization", &token), "/projects", None).await;
        assert_eq!(listed[0]["id"], garden.project.as_str(), "what the organisation has, seen by the {role}");
        for (method, path, body, needed) in &operations {
            let path = format!("/projects/{}{path}", garden.project);
            let (status, _, answer) =
                call(&deployment, "v3.4-preview", method, ("authorization", &token), &path, body.clone())
                    .await;
            let refused = status == 403 && answer["code"] == "ForbiddenUserInsufficientCapability";
            assert_eq!(refused, !permissions.contains(needed), "{role} {method} {path}: {status} {answer}");
            assert!(!status.is_server_error(), "{role} {method} {path}: {answer}");
        }
    }
    // What was called with the organisation's key is nobody's activity, and does not keep that of persons from being written.
    deployment.server().app().access().telemetry().flush().await.unwrap();
    let (_, members) = deployment
        .operator("GET", &format!("/organisations/{}/members", of_organisation.id), Value::Null)
        .await;
    let mut roles: Vec<_> =
        members.as_array().unwrap().iter().map(|member| member["role"].as_str().unwrap()).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["contributor", "deployment", "labeler", "owner", "reader", "trainer"]);
    let path = format!("/organisations/{}/members/{}", of_organisation.id, owner.id);
    assert_eq!(deployment.operator("PUT", &path, json!({ "role": "administrator" })).await.0, 400);
}
