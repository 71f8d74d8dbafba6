//! 64 writers against an erasure: what was acknowledged before the freeze is erased, the rest is refused, and the detectors of others know
//! nothing of it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::Id;
use habeas_core::kind::MentionRole;
use serde_json::{Value, json};

use crate::artifacts::Team;
use crate::classroom::{Classroom, Task, digests, healthy, scene, stored};
use crate::control_plane::group;
use crate::deployment::{Deployment, Someone, engines, image};
use crate::mlflow::Tracker;

/// Somebody who writes, and where.
#[derive(Clone)]
struct Writer {
    deployment: Arc<Deployment>,
    someone: Someone,
    number: u64,
    project: String,
    /// A detector's, and one of its tags.
    scenes: String,
    tag: String,
    /// What opens MLflow's API, an experiment and a run.
    token: String,
    run: (String, String),
    /// The address of a workspace of Azure's, and a run in it.
    azure: (String, String),
}

impl Writer {
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, answer) =
            self.deployment.train(method, &self.someone.key, &format!("/projects/{path}"), body).await;
        (status.as_u16(), answer)
    }

    async fn write(&self, round: u64) -> (u16, Value) {
        let Writer { number, project, scenes, tag, token, run: (experiment, run), .. } = self;
        let name = number * 100 + round;
        match number % 16 {
            0 => {
                let body = json!({ "images": [{ "contents": STANDARD.encode(image(name)) }] });
                self.call("POST", &format!("{project}/images/files"), Some(body)).await
            }
            1 => {
                let body = json!({ "images": [scene(0, name, tag)] });
                self.call("POST", &format!("{scenes}/images/files"), Some(body)).await
            }
            // One trains the detector, as far as no training is going on and images are left, and another one takes images from it.
            2 if *number == 2 => {
                match self.call("POST", &format!("{scenes}/train?forceTrain=true"), None).await {
                    (400, answer) if answer["code"].as_str().unwrap().starts_with("BadRequestTraining") => {
                        (200, answer)
                    }
                    result => result,
                }
            }
            3 if *number == 3 => {
                let (status, found) = self.call("GET", &format!("{scenes}/images?take=1"), None).await;
                let Some(image) = found[0]["id"].as_str().filter(|_| status == 200) else {
                    return (status, found);
                };
                let path = format!("{scenes}/images?imageIds={image}&allIterations=true");
                let (status, answer) = self.call("DELETE", &path, None).await;
                (if status == 202 { 200 } else { status }, answer)
            }
            4 => {
                let metrics: Vec<Value> = (0..50)
                    .map(|step| json!({ "key": format!("m{name}"), "value": 1.0, "timestamp": 1, "step": step }))
                    .collect();
                let body =
                    json!({ "run_id": run, "metrics": metrics, "tags": [{ "key": "t", "value": "v" }] });
                Tracker::with(&self.deployment, token).call("POST", "/runs/log-batch", body).await
            }
            5 => {
                let path = format!("{experiment}/{run}/artifacts/{name}.bin");
                (Tracker::with(&self.deployment, token).upload(&path, &[7; 100_000]).await, Value::Null)
            }
            6 => {
                let tracker = Tracker::with(&self.deployment, token);
                let body = json!({ "experiment_id": experiment, "start_time": 1 });
                let (status, made) = tracker.call("POST", "/runs/create", body).await;
                if status != 200 {
                    return (status, made);
                }
                learn_and_log(&tracker, experiment, &made["run"]["info"]["run_id"], name).await
            }
            8..14 => {
                let (scope, run) = &self.azure;
                let team = Team::with(&self.deployment, token, scope, run);
                let (status, answer) = match number % 16 {
                    8 => self.control_plane(&team, name).await,
                    9 => deploy(&team, name).await,
                    10 => snapshot(&team, name).await,
                    11 => blocks(&team, name).await,
                    12 => metrics(&team, name).await,
                    _ => end_a_run(&team, name).await,
                };
                (told(status), answer)
            }
            _ => self.call("POST", &format!("{project}/tags?name=t{name}"), None).await,
        }
    }

    /// Makes what has keys of its own: a workspace, or a hosting account with a manifest in it.
    async fn control_plane(&self, team: &Team<'_>, name: u64) -> (u16, Value) {
        let providers = group(&self.someone.id, "Trees");
        let (path, version, body) = if name.is_multiple_of(2) {
            let body = json!({ "location": "here" });
            ("Microsoft.MachineLearningServices/workspaces", "2018-03-01-preview", body)
        } else {
            let body = json!({ "location": "here", "sku": { "name": "S1", "capacity": 1 } });
            ("Microsoft.MachineLearningModelManagement/accounts", "2017-09-01-preview", body)
        };
        let path = format!("{providers}/{path}/forest{name}?api-version={version}");
        let (status, answer) = team.call("PUT", &path, body).await;
        if name.is_multiple_of(2) || told(status) != 200 {
            return (status, answer);
        }
        let account =
            format!("/api/subscriptions/{}/resourceGroups/Trees/accounts/forest{name}", self.someone.id);
        let manifest = json!({ "name": "oaks", "driverProgram": "score.py", "targetRuntime": { "runtimeType": "Python" } });
        team.call("POST", &format!("{account}/manifests?api-version={version}"), manifest).await
    }

    async fn write_until_refused(self) {
        for round in 0..20 {
            match self.write(round).await {
                (200, _) => {}
                // Refused by the freeze, or not recognised any more.
                (401 | 404 | 409, _) => return,
                // PostgreSQL's writers may lose too many races.
                (429, _) => {}
                (other, answer) => panic!("{other}: {answer}"),
            }
        }
    }
}

/// The statuses of Azure's services as those of the others: what is made or accepted is done, an address that does not work any more is
/// refused.
fn told(status: u16) -> u16 {
    match status {
        201 | 202 => 200,
        403 => 409,
        other => other,
    }
}

/// Registers a model from an asset, and makes an image and a service of it.
async fn deploy(team: &Team<'_>, name: u64) -> (u16, Value) {
    let name = format!("oaks{name}");
    let (status, asset) = team.call("POST", "/modelmanagement/v1.0@/assets", json!({ "name": name })).await;
    if status != 200 {
        return (status, asset);
    }
    let url = format!("aml://asset/{}", asset["id"].as_str().unwrap());
    let model = json!({ "name": name, "url": url, "mimeType": "application/x" });
    let (status, model) = team.call("POST", "/modelmanagement/v1.0@/models", model).await;
    if status != 200 {
        return (status, model);
    }
    let image = json!({ "name": name, "driverProgram": "score.py", "modelIds": [model["id"]],
        "targetRuntime": { "runtimeType": "Python" } });
    let (status, answer) = team.call("POST", "/modelmanagement/v1.0@/images", image).await;
    if status != 202 {
        // The model has gone with the erasure, and the workspace not yet.
        return (if status == 400 { 409 } else { status }, answer);
    }
    let service = json!({ "name": name, "imageId": format!("{name}:1"), "computeType": "ACI" });
    team.call("POST", "/modelmanagement/v1.0@/services", service).await
}

/// Says what a run learned from, and logs a model.
async fn learn_and_log(tracker: &Tracker<'_>, experiment: &str, run: &Value, name: u64) -> (u16, Value) {
    let dataset = json!({ "name": "d", "digest": "1", "source_type": "local", "source": "{}" });
    let inputs = json!({ "run_id": run, "datasets": [{ "dataset": dataset }] });
    let (status, answer) = tracker.call("POST", "/runs/log-inputs", inputs).await;
    if status != 200 {
        return (status, answer);
    }
    let logged = json!({ "experiment_id": experiment, "name": format!("oak{name}"), "source_run_id": run });
    tracker.call("POST", "/logged-models", logged).await
}

/// Puts a file, and makes a snapshot of it.
async fn snapshot(team: &Team<'_>, name: u64) -> (u16, Value) {
    let body = json!({ "FileNames": ["train.py"] });
    let (status, answer) = team.call("POST", "/content/v2.0@/snapshots/getblob", body).await;
    if status != 200 {
        return (status, answer);
    }
    let address = answer["fileNodes"][0]["blobUri"].as_str().unwrap().to_owned();
    match team.put(&address, name.to_string().as_bytes()).await {
        201 => {}
        refused => return (refused, Value::Null),
    }
    let body = json!({ "ParentSnapshotId": null, "Tags": null, "Properties": {},
        "DirTreeNode": { "name": "", "type": "Directory", "hash": "d", "timestamp": "2026-01-15T08:37:35",
            "children": { "train.py": { "type": "File", "hash": "1", "children": {} } } },
        "FileRevisionList": { "FileNodes": [{ "FullName": "train.py", "BlobUri": address, "FileSize": 1 }] } });
    let path = format!("/content/v2.0@/snapshots/{name:08x}-0000-4000-8000-000000000000");
    let (status, answer) = team.call("POST", &path, body).await;
    // The file has gone with the erasure, and the workspace not yet.
    (if status == 400 { 409 } else { status }, answer)
}

/// Puts two blocks, and the list that makes a file of them.
async fn blocks(team: &Team<'_>, name: u64) -> (u16, Value) {
    let file = format!("{name}.bin");
    let path = format!("/artifact/v2.0@/artifacts/batch/metadata/ExperimentRun/dcid.{}", team.run);
    let (status, answer) = team.call("POST", &path, json!({ "paths": [{ "path": file }] })).await;
    if status != 200 {
        return (status, answer);
    }
    let Some(address) = answer["artifactContentInformation"][&file]["contentUri"].as_str() else {
        return (404, answer);
    };
    for id in ["MQ%3D%3D", "Mg%3D%3D"] {
        let block = format!("{address}&comp=block&blockid={id}");
        match team.storage("PUT", &block, &[], vec![7; 50_000]).await.0 {
            201 => {}
            refused => return (refused, Value::Null),
        }
    }
    let list = b"<BlockList><Latest>MQ==</Latest><Latest>Mg==</Latest></BlockList>".to_vec();
    (team.storage("PUT", &format!("{address}&comp=blocklist"), &[], list).await.0, Value::Null)
}

/// Logs a batch of run history's metrics.
async fn metrics(team: &Team<'_>, name: u64) -> (u16, Value) {
    let values: Vec<Value> = (0..20)
        .map(|step| {
            json!({ "name": "loss", "columns": { "loss": "double" }, "properties": { "uxMetricType": "azureml.v1.scalar" },
                "value": [{ "metricId": format!("{name}-{step}"), "createdUtc": "2026-01-15T08:42:02.060942Z", "data": { "loss": 0.5 } }] })
        })
        .collect();
    team.call("POST", &format!("/metric/v2.0@/runs/{}/batch", team.run), json!({ "values": values })).await
}

/// Begins a run and ends it, of which its maker is told.
async fn end_a_run(team: &Team<'_>, name: u64) -> (u16, Value) {
    let run = format!("/history/v1.0@/experiments/leaves/runs/r{name}");
    let (status, answer) = team.call("PATCH", &run, json!({ "runId": format!("r{name}") })).await;
    if status != 200 {
        return (status, answer);
    }
    let event = json!({ "timestamp": "2026-01-15T08:42:02.048741Z", "name": "Microsoft.MachineLearning.Run.Completed", "data": {} });
    team.call("POST", &format!("{run}/events"), event).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_racing_an_erasure_leave_nothing() {
    let _lock = crate::canary::protected().await;
    let least = Task::Detect.least();
    for database in engines() {
        let deployment = Arc::new(Deployment::open(database).await);
        let someone = deployment.person("busy@example.org", "Busy").await;
        let project = deployment.project(&someone, "p").await;
        let room = Classroom::of(Task::Detect, &deployment, &someone, 0, least).await;
        room.train(&deployment, "").await;
        // Somebody else's detector learned from their images, and from others.
        let neighbour = deployment.person("neighbour@example.org", "Neighbour").await;
        let copy = Classroom::copied(&deployment, &room, &neighbour).await;
        for number in 10..10 + least {
            copy.add(&deployment, 0, number).await;
            copy.add(&deployment, 1, number).await;
        }
        let theirs = copy.train(&deployment, "").await;

        let tracker = Tracker::new(&deployment, &someone).await;
        let experiment = tracker.experiment("e").await;
        let run = (experiment.clone(), tracker.run(&experiment, "r").await);
        let token = tracker.token().to_owned();
        let team = Team::new(&deployment, &someone).await;
        team.ok("POST", "/history/v1.0@/experiments/leaves", json!(null)).await;
        let azure = (team.scope.clone(), team.run.clone());
        let writer = |number| Writer {
            deployment: Arc::clone(&deployment),
            someone: someone.clone(),
            number,
            project: project.clone(),
            scenes: room.project.clone(),
            tag: room.tags[0].clone(),
            token: token.clone(),
            run: run.clone(),
            azure: azure.clone(),
        };
        // What is refused later is done now.
        for number in 8..14 {
            let (status, answer) = writer(number).write(99).await;
            assert_eq!(status, 200, "{number}: {answer}");
        }

        let (_, plan) =
            deployment.operator("POST", &format!("/persons/{}/erasure-plans", someone.id), json!({})).await;
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..64_u64 {
            writers.spawn(writer(number).write_until_refused());
        }
        // Until the writers have changed something the old plan holds; afterwards it is refused, and a new one is made.
        let body = json!({ "plan": plan["plan"], "confirm": someone.email });
        let mut status = deployment.operator("POST", "/erasures", body).await.0;
        let mut id = plan["plan"].as_str().unwrap().to_owned();
        while status == 409 {
            let (_, plan) = deployment
                .operator("POST", &format!("/persons/{}/erasure-plans", someone.id), json!({}))
                .await;
            id = plan["plan"].as_str().unwrap().to_owned();
            status = deployment
                .operator("POST", "/erasures", json!({ "plan": id, "confirm": someone.email }))
                .await
                .0;
        }
        assert_eq!(status, 202);
        while let Some(result) = writers.join_next().await {
            result.unwrap();
        }
        let report = deployment.finished(&id).await;
        assert_eq!(report["status"], "completed", "{report}");
        let person: Id = someone.id.parse().unwrap();
        let traces = deployment.server().app().store().read(move |tx| tx.traces_of(person)).await.unwrap();
        assert!(traces.iter().all(|(_, rows)| *rows == 0), "{traces:?}");

        let forgot = digests(&deployment, theirs).await;
        let model = stored(&deployment, theirs).await.model.unwrap();
        assert_eq!((model.images, model.unlearned), (2 * least, 2 * least));
        assert_eq!(forgot, copy.anew(&deployment).await);
        healthy(&deployment).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_outlasts_an_erasure_leaves_no_file() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Arc::new(Deployment::open(database).await);
        let someone = deployment.person("slow@example.org", "Slow").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let experiment = tracker.experiment("e").await;
        let run = tracker.run(&experiment, "r").await;
        let (body, pieces) = futures::channel::mpsc::unbounded::<Result<Bytes, std::convert::Infallible>>();
        let path = format!("/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/slow.bin");
        let request = Request::put(path)
            .header("authorization", format!("Bearer {}", tracker.token()))
            .body(Body::from_stream(pieces))
            .unwrap();
        let uploads = Arc::clone(&deployment);
        let upload = tokio::spawn(async move { uploads.send(request).await });
        body.unbounded_send(Ok(Bytes::from_static(b"first"))).unwrap();
        // The server knows of it, and has nothing of it in the blob store yet.
        let (store, person) = (deployment.server().app().store().clone(), someone.id.parse().unwrap());
        while store.read(move |tx| tx.blobs_of(person, Id::NIL, 10)).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let report = deployment.erase(&someone).await;
        assert_eq!(report["status"], "completed", "{report}");
        body.unbounded_send(Ok(Bytes::from_static(b"last"))).unwrap();
        drop(body);
        let (status, answer) = upload.await.unwrap();
        assert_eq!(status, 404, "{}", String::from_utf8_lossy(&answer));
        assert_eq!(futures::StreamExt::count(store.blobs().list()).await, 0);
        healthy(&deployment).await;
    }
}

/// What somebody does who shares a role with a person while that person is erased.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    Leaves,
    BecomesReader,
    IsNoAdministrator,
    IsErased,
}

/// Starts the erasure of somebody, by a plan that is made anew while what it says changes; the plan of the one that started, or none once
/// somebody has to come after them first.
async fn erase_racing(deployment: &Deployment, someone: &Someone) -> Option<String> {
    loop {
        let path = format!("/persons/{}/erasure-plans", someone.id);
        let (_, plan) = deployment.operator("POST", &path, json!({})).await;
        if plan["blocked"] != json!([]) {
            return None;
        }
        let body = json!({ "plan": plan["plan"], "confirm": someone.email });
        match deployment.operator("POST", "/erasures", body).await.0.as_u16() {
            202 => return Some(plan["plan"].as_str().unwrap().to_owned()),
            409 | 429 => {}
            other => panic!("{other}"),
        }
    }
}

/// Lets somebody leave in this way while the other one of two owners and administrators is erased.
async fn leave_racing(database: Option<String>, way: Leaving) {
    let deployment = Deployment::open(database).await;
    let ada = deployment.person("ada@example.org", "Ada").await;
    let bob = deployment.person("bob@example.org", "Bob").await;
    let body = json!({ "name": "Team", "owner": ada.id });
    let (_, team) = deployment.operator("POST", "/organisations", body).await;
    let members = format!("/organisations/{}/members", team["objectId"].as_str().unwrap());
    let membership = format!("{members}/{}", bob.id);
    assert_eq!(deployment.operator("PUT", &membership, json!({ "role": "owner" })).await.0, 204);
    let role = |someone: &Someone| format!("/persons/{}/role", someone.id);
    let administrator = |granted: bool| json!({ "role": "administrator", "granted": granted });
    for someone in [&ada, &bob] {
        assert_eq!(deployment.operator("PUT", &role(someone), administrator(true)).await.0, 204);
    }
    let leave = async || match way {
        Leaving::Leaves => (deployment.operator("DELETE", &membership, json!(null)).await.0, None),
        Leaving::BecomesReader => {
            (deployment.operator("PUT", &membership, json!({ "role": "reader" })).await.0, None)
        }
        Leaving::IsNoAdministrator => {
            (deployment.operator("PUT", &role(&bob), administrator(false)).await.0, None)
        }
        Leaving::IsErased => (StatusCode::ACCEPTED, erase_racing(&deployment, &bob).await),
    };
    let (first, (left, second)) = tokio::join!(erase_racing(&deployment, &ada), leave());
    assert!(matches!(left.as_u16(), 202 | 204 | 409 | 429), "{way:?}: {left}");
    for plan in [first, second].into_iter().flatten() {
        let report = deployment.finished(&plan).await;
        assert!(report["status"] == "completed" || report["status"] == "failed", "{way:?}: {report}");
    }
    let team: Id = team["objectId"].as_str().unwrap().parse().unwrap();
    let roles = [(team, MentionRole::Owner), (Id::NIL, MentionRole::Administrator)];
    let left = deployment.server().app().store().read(move |tx| {
        let mut left = Vec::new();
        for (resource, role) in roles {
            for mention in tx.mentioned_in(resource)? {
                if mention.role == role && tx.is_active(mention.person)? {
                    left.push(role);
                }
            }
        }
        Ok(left)
    });
    let left = left.await.unwrap();
    for (_, role) in roles {
        assert!(left.contains(&role), "{way:?}: nobody is {role:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_leaves_while_another_is_erased_an_owner_and_an_administrator_are_left() {
    let _lock = crate::canary::protected().await;
    for number in 0..engines().len() {
        let ways = [Leaving::Leaves, Leaving::BecomesReader, Leaving::IsNoAdministrator, Leaving::IsErased];
        for way in ways.repeat(2) {
            leave_racing(if number == 0 { None } else { crate::postgres::database() }, way).await;
        }
    }
}
