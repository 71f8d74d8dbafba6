//! Every call of Microsoft's page of 22 May 2018 on exporting and deleting data of Experimentation and Model Management accounts, by plain
//! HTTP and spelt as it stands there, on what was made through public protocols.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::arm::Caller;
use crate::control_plane::{PREVIEW, cluster, group, make};
use crate::deployment::{Deployment, engines};

/// Lines whose service is not there yet. A line that answers as it should has to leave this list.
const NOT_YET: &[&str] = &[];

const HOSTING: &str = "api-version=2017-09-01-preview";
const COMPUTES: &str = "api-version=2018-03-01-preview";
const CLUSTERS: &str = "api-version=2017-06-01-preview";

/// What a line expects in the body of its answer.
enum Shows {
    /// A list in `value` whose only entry has this text in this field.
    One(&'static str, String),
    /// An object with this text in this field.
    Field(&'static str, String),
    /// A JSON string that is an address from which this can be had.
    Address(&'static [u8]),
    /// Nothing.
    Nothing,
}

/// A call of the page.
struct Line {
    name: &'static str,
    method: &'static str,
    path: String,
    shows: Shows,
}

/// What the calls are about.
struct World {
    account: String,
    workspace: String,
    project: String,
    hosting: String,
    /// Below `/api`.
    models: String,
    services: String,
    clusters: String,
    person: String,
    experiment: String,
    run: String,
    model: String,
    manifest: String,
    image: String,
    service: String,
}

/// An id from an answer; of a service that is not there yet, any.
fn id(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap_or("none").to_owned()
}

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

impl World {
    async fn make(caller: &Caller<'_>, person: &str) -> World {
        let [account, workspace, project] = make(caller, person).await;
        let providers = group(person, "Trees");
        let hosting = format!("{providers}/Microsoft.MachineLearningModelManagement/accounts/Oaks");
        let body = json!({ "location": "here", "sku": { "name": "S1", "capacity": 1 } });
        caller.make(&format!("{hosting}?{HOSTING}"), body).await;
        let services = format!("{providers}/Microsoft.MachineLearningServices/workspaces/Forest");
        caller.make(&format!("{services}?{COMPUTES}"), json!({ "location": "here" })).await;
        let body = json!({ "location": "here", "properties": { "computeType": "AKS", "resourceId": "/subscriptions/k" } });
        caller.make(&format!("{services}/computes/Saws?{COMPUTES}"), body).await;
        let clusters = format!("{providers}/Microsoft.MachineLearningCompute/operationalizationClusters");
        caller.make(&format!("{clusters}/Woods?api-version=2017-08-01-preview"), cluster()).await;
        let models = format!("/api/subscriptions/{person}/resourceGroups/Trees/accounts/Oaks");
        let mut world = World {
            account,
            workspace,
            project,
            hosting,
            models,
            services,
            clusters,
            person: person.to_owned(),
            experiment: String::new(),
            run: String::new(),
            model: String::new(),
            manifest: String::new(),
            image: String::new(),
            service: String::new(),
        };
        world.track(caller).await;
        world.deploy(caller).await;
        world
    }

    /// A run with a metric, a file and an end, by MLflow; an asset of the file.
    async fn track(&mut self, caller: &Caller<'_>) {
        let tracking = format!("/mlflow/v2.0{}/api/2.0/mlflow", self.project);
        let post = async |path: &str, body: Value| {
            let (status, answer) = caller.call("POST", &format!("{tracking}{path}"), &JSON, body).await;
            assert_eq!(status, 200, "{path}: {answer}");
            answer
        };
        self.experiment =
            id(&post("/experiments/create", json!({ "name": "leaves" })).await, "experiment_id");
        let body = json!({ "experiment_id": self.experiment, "run_name": "first", "start_time": 1 });
        self.run = id(&post("/runs/create", body).await["run"]["info"], "run_id");
        let body = json!({ "run_id": self.run, "key": "acc", "value": 0.5, "timestamp": 1, "step": 0 });
        post("/runs/log-metric", body).await;
        let stored = format!(
            "/mlflow/v2.0{}/api/2.0/mlflow-artifacts/artifacts/{}/{}/artifacts/outputs/a.txt",
            self.project, self.experiment, self.run
        );
        assert_eq!(caller.call("PUT", &stored, &[], json!("a line")).await.0, 200);
        post("/runs/update", json!({ "run_id": self.run, "status": "FINISHED", "end_time": 2 })).await;
        let asset = format!(
            "/artifact/v1.0{}/artifacts/asset/ExperimentRun/{}/outputs/a.txt",
            self.project, self.run
        );
        caller.call("PUT", &asset, &JSON, json!({ "name": "lines" })).await;
    }

    /// A model, its manifest, an image of that and a service.
    async fn deploy(&mut self, caller: &Caller<'_>) {
        let post = async |path: &str, body: Value| {
            let (_, headers, answer) =
                caller.send("POST", &format!("{}{path}?{HOSTING}", self.models), &JSON, body).await;
            // An image and a service are made by an operation, which says where its result is.
            let Some(operation) = headers.get("operation-location") else { return id(&answer, "id") };
            let operation = format!("{}?{HOSTING}", operation.to_str().unwrap());
            let operation = operation.strip_prefix("http://localhost").unwrap_or(&operation).to_owned();
            loop {
                let (_, state) = caller.call("GET", &operation, &[], json!(null)).await;
                if let Some(result) = state["resourceLocation"].as_str() {
                    return result.rsplit('/').next().unwrap().to_owned();
                }
                assert!(matches!(state["state"].as_str(), Some("NotStarted" | "Running")), "{state}");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let body = json!({ "name": "oak", "url": "https://example.org/oak.onnx", "mimeType": "application/octet-stream" });
        let model = post("/models", body).await;
        let asset = json!({ "id": "driver", "mimeType": "application/x-python", "url": "https://example.org/driver.py" });
        let runtime = json!({ "runtimeType": "Python", "properties": { "pipRequirements": "driver" } });
        let body = json!({ "name": "oaks", "modelIds": [model], "modelType": "Registered", "driverProgram": "driver",
            "assets": [asset], "targetRuntime": runtime, "webserviceType": "Realtime" });
        let manifest = post("/manifests", body).await;
        let compute = format!("{}/Woods", self.clusters);
        let body = json!({ "name": "image", "manifestId": manifest, "computeResourceId": compute, "imageType": "Docker" });
        let image = post("/images", body).await;
        let body = json!({ "name": "leafservice", "imageId": image, "computeResource": { "id": compute, "type": "Cluster" } });
        let service = post("/services", body).await;
        (self.model, self.manifest, self.image, self.service) = (model, manifest, image, service);
    }

    /// The calls of the part on exporting.
    fn exports(&self) -> Vec<Line> {
        let (models, project) = (&self.models, &self.project);
        let history = format!("/history/v1.0{project}");
        let artifact = format!("/artifact/v1.0{project}");
        let one = |field, value: &str| Shows::One(field, value.to_owned());
        let field = |field, value: &str| Shows::Field(field, value.to_owned());
        let get = |name, path: String, shows| Line { name, method: "GET", path, shows };
        // The page writes `resourcegroups` here.
        let computes = self.services.replace("resourceGroups", "resourcegroups");
        let clusters = self.clusters.replace("resourceGroups", "resourcegroups");
        let run_artifacts = format!("{history}/runs/{}/artifacts", self.run);
        vec![
            get("E1", format!("{}?{HOSTING}", self.hosting), field("name", "Oaks")),
            get("E2", format!("{models}/models?{HOSTING}"), one("name", "oak")),
            get("E3", format!("{models}/models/{}?{HOSTING}", self.model), field("name", "oak")),
            get("E4", format!("{models}/manifests?{HOSTING}"), one("name", "oaks")),
            get("E5", format!("{models}/manifests/{}?{HOSTING}", self.manifest), field("name", "oaks")),
            get("E6", format!("{models}/services?{HOSTING}"), one("name", "leafservice")),
            get("E7", format!("{models}/services/leafservice?{HOSTING}"), field("id", &self.service)),
            get("E8", format!("{models}/images?{HOSTING}"), one("name", "image")),
            get("E9", format!("{models}/images/{}?{HOSTING}", self.image), field("name", "image")),
            get("E10", format!("{computes}/computes?{COMPUTES}"), one("name", "Saws")),
            get("E11", format!("{computes}/computes/Saws?{COMPUTES}"), field("name", "Saws")),
            get("E12", format!("{clusters}?{CLUSTERS}"), one("name", "Woods")),
            get("E13", format!("{clusters}/Woods?{CLUSTERS}"), field("name", "Woods")),
            get("E14", format!("{history}/runs"), one("runId", &self.run)),
            get("E15", format!("{history}/experiments"), one("name", "leaves")),
            get("E16", format!("{history}/runs/{}", self.run), field("runId", &self.run)),
            get("E17", format!("{history}/runmetrics"), one("name", "acc")),
            get("E18", format!("{history}/experiments/{}", self.experiment), field("name", "leaves")),
            get("E19", run_artifacts.clone(), one("path", "outputs/a.txt")),
            get(
                "E20",
                format!("{history}/runs/{}/artifacturi?name=outputs/a.txt", self.run),
                Shows::Address(b"\"a line\""),
            ),
            get("E21", format!("{artifact}/assets"), one("name", "lines")),
            get(
                "E22",
                format!("{artifact}/artifacts/origins/ExperimentRun/containers/{}", self.run),
                one("path", "outputs/a.txt"),
            ),
            get(
                "E23",
                format!("{artifact}/artifacts/contentinfo/ExperimentRun/{}/outputs/a.txt", self.run),
                field("path", "outputs/a.txt"),
            ),
            get("E24", run_artifacts, one("path", "outputs/a.txt")),
            get("E25", format!("{artifact}/assets/name/lines"), field("name", "lines")),
            get(
                "E26",
                format!("/notification/v1.0{project}/users/{}/jobs", self.person),
                one("userObjectId", &self.person),
            ),
            get("E27", format!("{}?{PREVIEW}", self.account), field("name", "Forest")),
            get("E28", format!("{}?{PREVIEW}", self.workspace), field("name", "Pines")),
            get("E29", format!("{project}?{PREVIEW}"), field("name", "Leaves")),
        ]
    }

    /// The calls of the part on deleting; each deletes what the next ones do not need.
    fn deletions(&self) -> Vec<Line> {
        let models = &self.models;
        let list = |name, what: &str, shown: &str| Line {
            name,
            method: "GET",
            path: format!("{models}/{what}?{HOSTING}"),
            shows: Shows::One("name", shown.to_owned()),
        };
        let delete = |name, path: String| Line { name, method: "DELETE", path, shows: Shows::Nothing };
        vec![
            list("D4 list", "services", "leafservice"),
            delete("D4", format!("{models}/services/leafservice?{HOSTING}")),
            list("D5 list", "images", "image"),
            delete("D5", format!("{models}/images/{}?{HOSTING}", self.image)),
            list("D3 list", "manifests", "oaks"),
            delete("D3", format!("{models}/manifests/{}?{HOSTING}", self.manifest)),
            list("D2 list", "models", "oak"),
            delete("D2", format!("{models}/models/{}?{HOSTING}", self.model)),
            delete("D1", format!("{}?{HOSTING}", self.hosting)),
            delete("D6", format!("{}?{PREVIEW}", self.project)),
            delete("D7", format!("{}?{PREVIEW}", self.workspace)),
            delete("D8", format!("{}?{PREVIEW}", self.account)),
        ]
    }
}

/// What is wrong with the answer to a line; nothing when it is as the page has it.
async fn wrong(deployment: &Deployment, caller: &Caller<'_>, line: &Line) -> Option<String> {
    let (status, answer) = caller.call(line.method, &line.path, &[], json!(null)).await;
    let told = format!("{} {} {}: {status} {answer}", line.name, line.method, line.path);
    if status != StatusCode::OK {
        return Some(told);
    }
    let is_right = match &line.shows {
        Shows::One(field, value) => {
            let list = answer["value"].as_array();
            let is_one =
                list.is_some_and(|list| list.iter().filter(|one| one["name"] != "Default").count() == 1);
            let is_last = answer.get("nextLink").is_none() && answer["continuationToken"].is_null();
            is_one && is_last && list.is_some_and(|list| list.iter().any(|one| one[*field] == json!(value)))
        }
        Shows::Field(field, value) => answer[*field] == json!(value),
        Shows::Address(content) => {
            let address = answer.as_str().unwrap_or_default();
            let request = Request::get(address).body(Body::empty());
            match request {
                Ok(request) => deployment.send(request).await == (StatusCode::OK, content.to_vec()),
                Err(_) => false,
            }
        }
        // Gone, it is deleted again without an error.
        Shows::Nothing => {
            let (status, headers, _) = caller.send(line.method, &line.path, &[], json!(null)).await;
            status == StatusCode::NO_CONTENT && !headers.contains_key("location")
        }
    };
    (!is_right).then_some(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_the_page_is_answered() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let stranger = deployment.person("b@example.org", "B").await;
        let (caller, stranger) =
            (Caller::new(&deployment, &someone).await, Caller::new(&deployment, &stranger).await);
        let world = World::make(&caller, &someone.id).await;
        for line in world.exports().iter().chain(&world.deletions()) {
            if !NOT_YET.contains(&line.name) && line.method == "GET" {
                let (status, answer) = stranger.call("GET", &line.path, &[], json!(null)).await;
                assert_eq!(status, 404, "{} of a stranger: {answer}", line.name);
            }
            let wrong = wrong(&deployment, &caller, line).await;
            if NOT_YET.contains(&line.name) {
                assert!(wrong.is_some(), "{} is answered: take it off the list", line.name);
            } else {
                assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
            }
        }
        // What stood in the project went with it.
        let run = format!("/mlflow/v2.0{}/api/2.0/mlflow/runs/get?run_id={}", world.project, world.run);
        assert_eq!(caller.call("GET", &run, &[], json!(null)).await.0, 404);
    }
}
