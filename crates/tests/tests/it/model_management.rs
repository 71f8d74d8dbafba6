//! Azure ML's model management by plain HTTP, as each of its clients has spoken it.

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use habeas_core::DataKind as _;
use habeas_core::kinds::HostingAccount;
use habeas_store::New;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone, engines};
use crate::mlflow::Tracker;

/// What an answer says.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A person who calls model management below one scope.
pub(crate) struct Manager<'a> {
    deployment: &'a Deployment,
    pub(crate) token: String,
    /// The address of the scope.
    scope: String,
    /// The parameter that names the version, if the form has one.
    pub(crate) version: Option<&'static str>,
}

impl<'a> Manager<'a> {
    /// Below a hosting account of theirs, which is made.
    pub(crate) async fn of_account(
        deployment: &'a Deployment,
        someone: &Someone,
        name: &str,
        version: &'static str,
    ) -> Manager<'a> {
        Manager::of_account_with(deployment, deployment.token(someone).await, someone, name, version).await
    }

    /// The same, of any holder, with the token of whoever calls.
    pub(crate) async fn of_account_with(
        deployment: &'a Deployment,
        token: String,
        someone: &Someone,
        name: &str,
        version: &'static str,
    ) -> Manager<'a> {
        let store = deployment.server().app().store();
        let (holder, id) = (someone.id.parse().unwrap(), store.ambient().new_id());
        let mut doc = HostingAccount::example();
        doc.azure.key = format!("models/{name}");
        "Models".clone_into(&mut doc.azure.group);
        doc.azure.created_by = None;
        name.clone_into(&mut doc.name);
        store
            .write_with_keys(vec![id], Vec::new(), move |tx| {
                tx.create::<HostingAccount>(New::under(holder, id, doc.clone())).map(|_| ())
            })
            .await
            .unwrap();
        let scope = format!("/api/subscriptions/{}/resourceGroups/Models/accounts/{name}", someone.id);
        Manager { deployment, token, scope, version: Some(version) }
    }

    /// The same for another caller.
    pub(crate) fn with_token(self, token: String) -> Manager<'a> {
        Manager { token, ..self }
    }

    /// Below a workspace of theirs, which is made; as `azureml-core` 1 calls it.
    pub(crate) async fn of_workspace(
        deployment: &'a Deployment,
        someone: &Someone,
        name: &str,
    ) -> Manager<'a> {
        let workspace = format!(
            "/subscriptions/{}/resourceGroups/Models/providers/Microsoft.MachineLearningServices/workspaces/{name}",
            someone.id
        );
        let token = deployment.token(someone).await;
        let path = format!("{workspace}?api-version=2018-03-01-preview");
        let manager = Manager { deployment, token, scope: String::new(), version: None };
        let made = manager.raw("PUT", &path, json!({ "location": "here" })).await;
        assert_eq!(made.status, 201, "{}", made.body);
        Manager { scope: format!("/modelmanagement/v1.0{workspace}"), ..manager }
    }

    async fn raw(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "habeas.example")
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json; charset=utf-8")
            .body(body)
            .unwrap();
        let response = self.deployment.server().router().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 30).await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status, headers, body }
    }

    /// The whole address of an operation.
    pub(crate) fn at(&self, path: &str) -> String {
        let query = match (self.version, path.contains('?')) {
            (None, _) => String::new(),
            (Some(version), false) => format!("?api-version={version}"),
            (Some(version), true) => format!("&api-version={version}"),
        };
        format!("{}{path}{query}", self.scope)
    }

    /// Calls an operation.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.raw(method, &self.at(path), body).await
    }

    /// Calls an operation that must succeed at once; its answer.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        answer.body
    }

    /// Calls an operation that is waited for; the last part of the address of what it made.
    pub(crate) async fn waited(&self, method: &str, path: &str, body: Value) -> String {
        let answer = self.call(method, path, body).await;
        assert_eq!(answer.status, 202, "{method} {path}: {}", answer.body);
        let location = answer.headers["operation-location"].to_str().unwrap();
        let operation = location.rsplit('/').next().unwrap();
        assert!(!operation.contains('?'));
        let done = self.ok("GET", &format!("/operations/{operation}"), json!(null)).await;
        assert_eq!((&done["state"], &done["id"]), (&json!("Succeeded"), &json!(operation)), "{done}");
        done["resourceLocation"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    /// Calls an operation that must be refused; status, code and details.
    async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String, Value) {
        let answer = self.call(method, path, body).await;
        assert_eq!(answer.body["statusCode"], answer.status, "{method} {path}: {}", answer.body);
        let code = answer.body["code"].as_str().unwrap().to_owned();
        (answer.status, code, answer.body["details"].clone())
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["value"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

/// A hosting account with one of everything that it holds.
pub(crate) async fn small(deployment: &Deployment, someone: &Someone) {
    let manager = Manager::of_account(deployment, someone, "mma", "2018-04-01-preview").await;
    manager.ok("POST", "/assets", json!({ "name": "trees" })).await;
    let model = json!({ "name": "trees", "url": "https://store.example/m", "mimeType": "x" });
    let model = manager.ok("POST", "/models", model).await;
    let manifest = json!({ "name": "trees", "modelIds": [model["id"]], "driverProgram": "score.py",
        "targetRuntime": { "runtimeType": "Python" } });
    let manifest = manager.ok("POST", "/manifests", manifest).await;
    let image = json!({ "name": "trees", "manifestId": manifest["id"], "imageType": "Docker" });
    let image = manager.waited("POST", "/images", image).await;
    manager.waited("POST", "/services", json!({ "name": "trees", "imageId": image })).await;
}

/// Everything of model management that takes a text, with a marker in it, for the canary.
pub(crate) async fn plant(
    deployment: &Deployment,
    someone: &Someone,
    marker: &impl Fn(&str) -> String,
) -> Vec<String> {
    let map = |key: &str, value: &str| -> Value {
        Value::Object([(marker(key), json!(marker(value)))].into_iter().collect())
    };
    let manager = Manager::of_workspace(deployment, someone, &marker("modelworkspace")).await;
    let asset = json!({ "name": marker("asset"), "type": marker("assettype"), "description": marker("assetdescription"),
        "artifacts": [{ "prefix": marker("prefix") }], "kvTags": map("assettag", "assetvalue"), "runid": marker("assetrun"),
        "properties": map("assetproperty", "assetpropertyvalue"), "meta": map("meta", "metavalue"), "projectid": marker("assetproject") });
    manager.ok("POST", "/assets", asset).await;
    let model = json!({ "name": marker("model"), "url": format!("https://{}.example/", marker("modelurl")), "mimeType": "x",
        "description": marker("modeldescription"), "kvTags": map("modeltag", "modelvalue"), "runId": marker("modelrun"),
        "properties": map("modelproperty", "modelpropertyvalue"), "framework": marker("framework"),
        "experimentName": marker("modelexperiment"), "datasets": [{ "name": marker("scenario"), "id": marker("datasetid") }],
        "sampleInputData": marker("sample"), "sampleOutputData": marker("sampleoutput"), "parentModelId": marker("parentmodel"),
        "frameworkVersion": marker("frameworkversion") });
    let model = manager.ok("POST", "/models", model).await;
    let image = json!({ "name": marker("image"), "description": marker("imagedescription"), "driverProgram": marker("driver"),
        "modelIds": [model["id"]], "kvTags": map("imagetag", "imagevalue"), "properties": map("imageproperty", "imagepropertyvalue"),
        "assets": [{ "id": marker("imageasset"), "url": marker("imageurl") }],
        "targetRuntime": { "runtimeType": "Python", "properties": map("requirement", "requirementvalue") } });
    let image = manager.waited("POST", "/images", image).await;
    let service = json!({ "name": marker("service"), "description": marker("servicedescription"), "imageId": image,
        "computeType": "ACI", "kvTags": map("servicetag", "servicevalue"), "properties": map("serviceproperty", "servicepropertyvalue"),
        "location": marker("servicelocation"), "environmentImageRequest": { "driverProgram": marker("entry") } });
    manager.waited("POST", "/services", service).await;
    let manager = Manager::of_account(deployment, someone, &marker("hosting"), "2017-09-01-preview").await;
    let manifest = json!({ "name": marker("manifest"), "description": marker("manifestdescription"),
        "driverProgram": marker("manifestdriver"), "assets": [{ "id": marker("manifestasset"), "url": marker("manifesturl") }],
        "targetRuntime": { "runtimeType": "Python" } });
    let manifest = manager.ok("POST", "/manifests", manifest).await;
    let image = json!({ "name": marker("hostedimage"), "description": marker("hostedimagedescription"), "manifestId": manifest["id"],
        "computeResourceId": marker("imagecluster"), "imageType": "Docker" });
    let image = manager.waited("POST", "/images", image).await;
    let service = json!({ "name": marker("hostedservice"), "description": marker("hostedservicedescription"), "imageId": image,
        "computeResource": { "id": marker("servicecluster"), "type": "Cluster" } });
    manager.waited("POST", "/services", service).await;
    [
        "modelworkspace",
        "asset",
        "assettype",
        "assetdescription",
        "prefix",
        "assettag",
        "assetvalue",
        "assetrun",
        "assetproperty",
        "assetpropertyvalue",
        "meta",
        "metavalue",
        "assetproject",
        "model",
        "modelurl",
        "modeldescription",
        "modeltag",
        "modelvalue",
        "modelrun",
        "modelproperty",
        "modelpropertyvalue",
        "framework",
        "modelexperiment",
        "scenario",
        "datasetid",
        "sample",
        "sampleoutput",
        "parentmodel",
        "frameworkversion",
        "image",
        "imagedescription",
        "driver",
        "imagetag",
        "imagevalue",
        "imageproperty",
        "imagepropertyvalue",
        "imageasset",
        "imageurl",
        "requirement",
        "requirementvalue",
        "service",
        "servicedescription",
        "servicetag",
        "servicevalue",
        "serviceproperty",
        "servicepropertyvalue",
        "servicelocation",
        "entry",
        "hosting",
        "manifest",
        "manifestdescription",
        "manifestdriver",
        "manifestasset",
        "manifesturl",
        "hostedimage",
        "hostedimagedescription",
        "imagecluster",
        "hostedservice",
        "hostedservicedescription",
        "servicecluster",
    ]
    .map(marker)
    .to_vec()
}

/// An answer without what differs from run to run.
fn settled(answer: &Value, known: &[(&str, &str)]) -> Value {
    let mut text = answer.to_string();
    for (value, name) in known {
        text = text.replace(value, name);
    }
    let mut answer: Value = serde_json::from_str(&text).unwrap();
    fn times(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if name.ends_with("Time") || name.ends_with("edAt") {
                        *value = json!("[time]");
                    } else {
                        times(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(times),
            _ => {}
        }
    }
    times(&mut answer);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_of_2017_deploys_lists_and_deletes() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let manager = Manager::of_account(&deployment, &someone, "mma", "2017-09-01-preview").await;

        let model = json!({ "name": "trees", "url": "https://store.example/trees.pkl", "mimeType": "application/x", "unpack": true,
            "tags": ["forest"], "description": "first" });
        let first = manager.ok("POST", "/models", model.clone()).await;
        let second = manager.ok("POST", "/models", model).await;
        assert_eq!((&first["version"], &second["version"]), (&json!(1), &json!(2)));
        let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
        let list = manager.ok("GET", "/models?name=trees&tag=forest", json!(null)).await;
        assert_eq!(list["value"][0], second);
        assert_eq!(list["value"][1], first);
        // A null would be followed as an address.
        assert!(list.get("nextLink").is_none());
        assert_eq!(manager.ok("GET", &format!("/models/{}", id(&first)), json!(null)).await, first);
        assert_eq!(names(&manager.ok("GET", "/models?tag=water", json!(null)).await), Vec::<&str>::new());

        // Pages are followed to their end.
        let page = manager.ok("GET", "/models?count=1", json!(null)).await;
        assert_eq!(page["value"], json!([second]));
        let next = page["nextLink"].as_str().unwrap().strip_prefix("http://habeas.example").unwrap();
        let last = manager.raw("GET", next, json!(null)).await.body;
        assert_eq!(last, json!({ "value": [first] }));

        let manifest = json!({ "name": "trees", "modelIds": [id(&second)], "driverProgram": "score.py",
            "assets": [{ "id": "score.py", "mimeType": "application/x-python", "url": "https://store.example/score.py", "unpack": false }],
            "targetRuntime": { "runtimeType": "Python", "properties": { "pipRequirements": "requirements.txt" } } });
        let made = manager.ok("POST", "/manifests", manifest).await;
        assert_eq!(made["modelIds"], json!([id(&second)]));
        let manifest = id(&made);
        let listed = manager.ok("GET", &format!("/manifests?modelId={}", id(&second)), json!(null)).await;
        assert_eq!(listed, json!({ "value": [made] }));
        let none = manager.ok("GET", &format!("/manifests?modelId={}", id(&first)), json!(null)).await;
        assert_eq!(names(&none), Vec::<&str>::new());

        let cluster = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningCompute/operationalizationClusters/c";
        let image = json!({ "name": "trees", "manifestId": manifest, "computeResourceId": cluster, "imageType": "Docker" });
        let image = manager.waited("POST", "/images", image).await;
        let shown = manager.ok("GET", &format!("/images/{image}"), json!(null)).await;
        assert_eq!(
            (&shown["creationState"], &shown["manifest"]["id"]),
            (&json!("Succeeded"), &json!(manifest))
        );
        assert_eq!(names(&manager.ok("GET", "/images?manifestName=trees", json!(null)).await), ["trees"]);
        assert_eq!(
            names(&manager.ok("GET", "/images?manifestName=water", json!(null)).await),
            Vec::<&str>::new()
        );

        let service = json!({ "name": "trees", "imageId": image, "computeResource": { "id": cluster, "type": "Cluster" },
            "numReplicas": 2, "autoScaler": { "autoscaleEnabled": true, "minReplicas": 1, "maxReplicas": 4, "targetUtilization": 70,
            "refreshPeriodInSeconds": 1 }, "containerResourceReservation": { "cpu": 0.1, "memory": "1G" },
            "dataCollection": { "storageEnabled": true }, "appInsightsEnabled": true, "maxConcurrentRequestsPerContainer": 10 });
        let id_of_service = manager.waited("POST", "/services", service.clone()).await;
        assert_eq!(manager.refused("POST", "/services", service.clone()).await.1, "ServiceExists");
        let shown = manager.ok("GET", &format!("/services/{id_of_service}"), json!(null)).await;
        assert_eq!(manager.ok("GET", "/services/trees", json!(null)).await, shown);
        let second_id = id(&second);
        let known = [
            (id_of_service.as_str(), "[service]"),
            (image.as_str(), "[image]"),
            (manifest.as_str(), "[manifest]"),
            (second_id.as_str(), "[model]"),
        ];
        insta::assert_json_snapshot!("a_service_of_2017", settled(&shown, &known));
        for (filter, count) in [
            ("serviceName=trees".to_owned(), 1),
            ("modelName=trees".to_owned(), 1),
            ("manifestName=trees".to_owned(), 1),
            (format!("imageId={image}"), 1),
            (format!("modelId={}", id(&second)), 1),
            (format!("manifestId={manifest}"), 1),
            (format!("computeResourceId={cluster}"), 1),
            ("serviceName=water".to_owned(), 0),
            ("modelName=water".to_owned(), 0),
            (format!("modelId={}", id(&first)), 0),
            (format!("imageId={manifest}"), 0),
        ] {
            let list = manager.ok("GET", &format!("/services?{filter}"), json!(null)).await;
            assert_eq!(list["value"].as_array().unwrap().len(), count, "{filter}");
        }
        let deployments =
            manager.ok("GET", &format!("/deployments?serviceId={id_of_service}"), json!(null)).await;
        assert_eq!(deployments[0]["serviceName"], "trees");

        // Keys are the service's own, and a new one takes the place of the old one.
        let keys = manager.ok("GET", &format!("/services/{id_of_service}/keys"), json!(null)).await;
        let renewed = manager
            .ok(
                "POST",
                &format!("/services/{id_of_service}/regenerateKeys"),
                json!({ "keyType": "Secondary" }),
            )
            .await;
        assert_eq!(renewed["primaryKey"], keys["primaryKey"]);
        assert_ne!(renewed["secondaryKey"], keys["secondaryKey"]);

        let changed = json!({ "imageId": image, "numReplicas": 3 });
        assert_eq!(manager.waited("PUT", "/services/trees", changed).await, id_of_service);
        let shown = manager.ok("GET", "/services/trees", json!(null)).await;
        assert_eq!((&shown["numReplicas"], &shown["appInsightsEnabled"]), (&json!(3), &json!(true)));

        // What something was made from is not deleted under it, unless all of it is meant to go.
        let (status, code, details) =
            manager.refused("DELETE", &format!("/models/{}", id(&second)), json!(null)).await;
        assert_eq!((status, code.as_str()), (409, "InUse"));
        let mut kinds: Vec<&str> =
            details.as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["Image", "Manifest", "Service"]);
        assert_eq!(manager.refused("DELETE", &format!("/images/{image}"), json!(null)).await.1, "InUse");
        let delete = |path: String| manager.call("DELETE", Box::leak(path.into_boxed_str()), json!(null));
        assert_eq!(delete(format!("/models/{}?cascade=true", id(&second))).await.status, 200);
        for path in
            ["/services/trees".to_owned(), format!("/images/{image}"), format!("/manifests/{manifest}")]
        {
            assert_eq!(manager.refused("GET", &path, json!(null)).await.0, 404, "{path}");
            assert_eq!(delete(path).await.status, 204);
        }
        assert_eq!(delete(format!("/models/{}", id(&first))).await.status, 200);
        assert_eq!(delete(format!("/models/{}", id(&first))).await.status, 204);

        // What is asked for wrongly is told.
        for (method, path, body, code) in [
            ("POST", "/models", json!({ "name": "x", "url": "y" }), "BadArgument"),
            ("POST", "/models", json!({ "name": "x:y", "url": "y", "mimeType": "z" }), "BadArgument"),
            ("POST", "/models", json!([]), "BadArgument"),
            (
                "POST",
                "/manifests",
                json!({ "name": "x", "driverProgram": "y", "targetRuntime": { "runtimeType": "z" },
                "modelIds": [manifest] }),
                "ModelNotFound",
            ),
            (
                "POST",
                "/images",
                json!({ "name": "x", "manifestId": manifest, "imageType": "Docker" }),
                "ManifestNotFound",
            ),
            ("POST", "/services", json!({ "name": "x", "imageId": image }), "BadArgument"),
            (
                "POST",
                "/services",
                json!({ "name": "x", "imageId": image, "computeResource": {} }),
                "ImageNotFound",
            ),
            (
                "POST",
                "/services",
                json!({ "name": "x", "imageId": image, "computeResource": {}, "numReplicas": -1 }),
                "BadArgument",
            ),
            ("GET", "/models?count=many", json!(null), "BadArgument"),
            ("GET", "/models?$skipToken=x", json!(null), "BadArgument"),
            ("GET", "/models?orderBy=Size", json!(null), "BadArgument"),
            ("GET", "/operations/create-image-x", json!(null), "OperationNotFound"),
            ("GET", "/nothing", json!(null), "NotFound"),
        ] {
            assert_eq!(manager.refused(method, path, body).await.1, code, "{method} {path}");
        }
        for (path, code) in [
            (format!("{}/models", manager.scope), "MissingApiVersionParameter"),
            (format!("{}/models?api-version=1", manager.scope), "InvalidApiVersionParameter"),
        ] {
            assert_eq!(manager.raw("GET", &path, json!(null)).await.body["code"], code);
        }
        let swagger = manager.ok("GET", "/swagger.json", json!(null)).await;
        assert_eq!(swagger["basePath"], manager.scope);

        // Nobody else learns that any of it is there.
        let other = deployment.person("b@example.org", "B").await;
        let stranger =
            Manager { token: deployment.token(&other).await, scope: manager.scope.clone(), ..manager };
        for path in ["/models", "/services", "/swagger.json"] {
            assert_eq!(stranger.refused("GET", path, json!(null)).await.0, 404);
            let request = Request::get(stranger.at(path)).body(Body::empty()).unwrap();
            assert_eq!(deployment.send(request).await.0, 401);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_time_client_of_2018_finds_its_account_waits_and_pages() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let mut manager = Manager::of_account(&deployment, &someone, "mma1", "2018-04-01-preview").await;
        // It writes the literals in lower case.
        manager.scope = manager.scope.replace("resourceGroups", "resourcegroups");
        let model = json!({ "name": "resnet", "mimeType": "application/zip", "url": "https://store.example/m?sig=1", "unpack": false });
        let model = manager.ok("POST", "/models", model).await;
        let body = json!({ "computeType": "FPGA", "modelId": model["id"], "name": "resnet", "numReplicas": 1, "sslEnabled": false,
            "sslCertificate": "", "sslKey": "secret of nobody", "keys": { "primaryKey": "p".repeat(32), "secondaryKey": null } });
        let answer = manager.call("POST", "/services", body).await;
        assert_eq!(answer.status, 202);
        assert!(answer.headers.contains_key("x-ms-client-request-id"));
        // It puts its host before the address, and the version after it.
        let operation = answer.headers["operation-location"].to_str().unwrap();
        let done =
            manager.raw("GET", &format!("{operation}?api-version=2018-04-01-preview"), json!(null)).await;
        assert_eq!(done.body["state"], "Succeeded");
        let place = done.body["resourceLocation"].as_str().unwrap();
        let service =
            manager.raw("GET", &format!("{place}?api-version=2018-04-01-preview"), json!(null)).await.body;
        assert_eq!((&service["state"], &service["name"]), (&json!("Succeeded"), &json!("resnet")));
        assert_eq!(service["error"]["code"], "NotServed");
        assert!(service.get("sslKey").is_none());
        let id = service["id"].as_str().unwrap();
        let keys = manager.ok("GET", &format!("/services/{id}/keys"), json!(null)).await;
        assert_eq!(keys["primaryKey"], "p".repeat(32));
        let renewed = manager.ok("POST", &format!("/services/{id}/regenerateKeys"), json!(null)).await;
        assert_ne!(renewed["primaryKey"], keys["primaryKey"]);
        assert_ne!(renewed["secondaryKey"], keys["secondaryKey"]);
        let answer = manager.call("DELETE", &format!("/services/{id}"), json!(null)).await;
        assert_eq!(answer.status, 202);
        let operation = answer.headers["operation-location"].to_str().unwrap();
        let done =
            manager.raw("GET", &format!("{operation}?api-version=2018-04-01-preview"), json!(null)).await;
        assert_eq!(done.body["state"], "Succeeded");
        let path = format!("/models/{}", model["id"].as_str().unwrap());
        assert_eq!(manager.call("DELETE", &path, json!(null)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_azureml_core_registers_mlflow_lists_and_the_other_way_round() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let manager = Manager::of_workspace(&deployment, &someone, "Forest").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let mlflow = manager.scope.replace("/modelmanagement/v1.0", "/mlflow/v2.0");
        let api = format!("{mlflow}/api/2.0/mlflow");
        let (_, run) =
            tracker.send("POST", &format!("{api}/runs/create"), &json!({ "experiment_id": "0" })).await;
        let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let file = format!("{mlflow}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/outputs/model.txt");
        assert_eq!(tracker.send("PUT", &file, &json!("the model")).await.0, 200);

        let prefix = format!("ExperimentRun/dcid.{run}/outputs/model.txt");
        let asset = json!({ "name": "m1", "artifacts": [{ "prefix": prefix }], "runid": run });
        let asset = manager.ok("POST", "/assets", asset).await;
        let asset_id = asset["id"].as_str().unwrap();
        let model = json!({ "name": "m1", "url": format!("aml://asset/{asset_id}"), "mimeType": "application/json", "unpack": false,
            "runId": run, "experimentName": "Default", "kvTags": { "team": "forest" }, "properties": { "origin": "field" },
            "framework": "Onnx", "frameworkVersion": "1.6", "resourceRequirements": { "cpu": 1, "memoryInGB": 0.5 } });
        let model = manager.ok("POST", "/models", model).await;
        let known = [(run.as_str(), "[run]"), (asset_id, "[asset]"), (someone.id.as_str(), "[person]")];
        insta::assert_json_snapshot!("a_model_of_azureml_core", settled(&model, &known));
        assert_eq!(manager.ok("GET", "/models/m1:1", json!(null)).await, model);
        assert_eq!(manager.ok("GET", "/models/m1:1/content", json!(null)).await, json!("the model"));

        // MLflow's registry has it, with an address that its client follows.
        let (_, version) =
            tracker.send("GET", &format!("{api}/model-versions/get?name=m1&version=1"), &json!(null)).await;
        let version = &version["model_version"];
        assert_eq!(version["source"], format!("runs:/{run}/outputs/model.txt"));
        assert_eq!(version["tags"], json!([{ "key": "team", "value": "forest" }]));
        let body = json!({ "name": "m1", "source": format!("runs:/{run}/outputs"), "run_id": run });
        let (status, made) = tracker.send("POST", &format!("{api}/model-versions/create"), &body).await;
        assert_eq!((status, &made["model_version"]["version"]), (200, &json!("2")));

        // And what MLflow registered is listed, newest first, with an asset to download it by.
        let list = manager.ok("GET", "/models?name=m1&count=255", json!(null)).await;
        let ids: Vec<&str> =
            list["value"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["m1:2", "m1:1"]);
        let url = list["value"][0]["url"].as_str().unwrap();
        let found = manager
            .ok("GET", &format!("/assets/{}", url.strip_prefix("aml://asset/").unwrap()), json!(null))
            .await;
        assert_eq!(found["artifacts"], json!([{ "prefix": format!("ExperimentRun/dcid.{run}/outputs") }]));
        assert_eq!(
            manager.ok("GET", "/models/m1:2/content?path=model.txt", json!(null)).await,
            json!("the model")
        );
        for (query, expected) in [
            ("latestVersionOnly=true", vec!["m1:2"]),
            ("tags=team%3Dforest", vec!["m1:1"]),
            ("tags=team,other", vec![]),
            ("properties=origin", vec!["m1:1"]),
            ("framework=Onnx", vec!["m1:1"]),
            ("orderBy=CreatedAtAsc", vec!["m1:1", "m1:2"]),
            ("count=1&orderBy=CreatedAtAsc", vec!["m1:1"]),
            ("offset=1", vec!["m1:1"]),
        ] {
            let list = manager.ok("GET", &format!("/models?{query}"), json!(null)).await;
            let ids: Vec<&str> =
                list["value"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
            assert_eq!(ids, expected, "{query}");
        }
        let page = manager.ok("POST", "/models/list", json!({ "name": "m1", "count": 1 })).await;
        assert_eq!(page["value"][0]["id"], "m1:2");
        let page = manager.ok("POST", "/models/list", page["nextRequest"].clone()).await;
        assert_eq!((&page["value"][0]["id"], page.get("nextRequest")), (&json!("m1:1"), None));

        // Changes by JSON Patch.
        let patch = json!([
            { "op": "replace", "path": "/kvTags", "value": { "team": "sea" } },
            { "op": "add", "path": "/properties/depth", "value": "3" },
            { "op": "replace", "path": "/description", "value": "changed" },
        ]);
        let changed = manager.ok("PATCH", "/models/m1:1", patch).await;
        assert_eq!(changed["kvTags"], json!({ "team": "sea" }));
        assert_eq!(changed["properties"], json!({ "origin": "field", "depth": "3" }));
        assert_eq!((&changed["description"], &changed["framework"]), (&json!("changed"), &json!("Onnx")));
        let patch = json!([{ "op": "replace", "path": "/version", "value": 7 }]);
        assert_eq!(manager.refused("PATCH", "/models/m1:1", patch).await.0, 400);
        let patch = json!([{ "op": "add", "path": "/meta/a", "value": "b" }]);
        let changed = manager.ok("PATCH", &format!("/assets/{asset_id}"), patch).await;
        assert_eq!(changed["meta"], json!({ "a": "b" }));
        assert_eq!(
            manager.ok("GET", &format!("/assets?runId={run}&name=m1"), json!(null)).await["value"],
            json!([changed])
        );

        // An image and a service of the workspace; keys are waited for in this form.
        let image = json!({ "name": "i", "driverProgram": "score.py", "modelIds": ["m1:1"], "imageType": "Docker",
            "targetRuntime": { "runtimeType": "Python", "properties": {} }, "imageRequestTypeDiscriminator": "DockerImageRequest" });
        let image = manager.waited("POST", "/images", image).await;
        assert_eq!(image, "i:1");
        let service = json!({ "name": "s", "imageId": image, "computeType": "ACI", "location": "here",
            "containerResourceRequirements": { "cpu": 1, "memoryInGB": 2 } });
        assert_eq!(manager.waited("POST", "/services", service.clone()).await, "s");
        let shown = manager.ok("GET", "/services/s?expand=true", json!(null)).await;
        let scoring = shown["scoringUri"].as_str().unwrap().split('/').nth(6).unwrap().to_owned();
        let known = [
            (scoring.as_str(), "[service]"),
            (run.as_str(), "[run]"),
            (asset_id, "[asset]"),
            (someone.id.as_str(), "[person]"),
        ];
        let mut calm = settled(&shown, &known);
        calm["imageDetails"]["imageLocation"] = json!("[image]");
        insta::assert_json_snapshot!("a_service_of_azureml_core", calm);
        let mut again = service.clone();
        again["overwrite"] = json!(true);
        again["description"] = json!("again");
        assert_eq!(manager.waited("POST", "/services", again).await, "s");
        let patch = json!([{ "op": "replace", "path": "/kvTags", "value": { "a": "b" } },
            { "op": "replace", "path": "/containerResourceRequirements/cpu", "value": 4 }]);
        let changed = manager.ok("PATCH", "/services/s", patch).await;
        assert_eq!(changed["containerResourceRequirements"], json!({ "cpu": 4, "memoryInGB": 2 }));
        assert_eq!((&changed["description"], &changed["kvTags"]), (&json!("again"), &json!({ "a": "b" })));
        let keys = manager.ok("POST", "/services/s/listkeys", json!(null)).await;
        assert_eq!(
            manager.waited("POST", "/services/s/regenerateKeys", json!({ "keyType": "Primary" })).await,
            "s"
        );
        assert_ne!(
            manager.ok("POST", "/services/s/listkeys", json!(null)).await["primaryKey"],
            keys["primaryKey"]
        );
        let (status, code, _) = manager.refused("POST", "/services/s/token", json!(null)).await;
        assert_eq!((status, code.as_str()), (409, "TokenAuthDisabled"));
        for (method, path) in [("POST", "/packages"), ("GET", "/images/i:1/profiles")] {
            assert_eq!(manager.refused(method, path, json!(null)).await.0, 501);
        }

        // azureml-core 0.1 sees the same in its own form.
        let workspace = manager.scope.strip_prefix("/modelmanagement/v1.0").unwrap();
        let old =
            Manager { scope: format!("/api{workspace}"), version: Some("2018-03-01-preview"), ..manager };
        let list = old.ok("GET", "/models?orderBy=CreatedAtAsc", json!(null)).await;
        assert_eq!((&list["value"][0]["tags"], &list["value"][0]["version"]), (&json!(["team"]), &json!(1)));
        let patch = json!([{ "op": "add", "path": "/tags/-", "value": "more" }]);
        let id = list["value"][0]["id"].as_str().unwrap();
        let changed = old.ok("PATCH", &format!("/models/{id}"), patch).await;
        assert_eq!(changed["tags"], json!(["more", "team"]));
        let images = old.ok("GET", "/images?modelName=m1", json!(null)).await;
        assert_eq!(names(&images), ["i"]);
        assert_eq!(old.refused("DELETE", &format!("/models/{id}"), json!(null)).await.1, "InUse");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_version_is_the_newest_that_is_there() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let manager = Manager::of_workspace(&deployment, &someone, "Forest").await;
        for name in ["m", "n", "m", "m"] {
            let body = json!({ "name": name, "url": "https://store.example/m", "mimeType": "x" });
            manager.ok("POST", "/models", body).await;
        }
        for (deleted, expected) in
            [(None, vec!["m:3", "n:1"]), (Some("m:3"), vec!["m:2", "n:1"]), (Some("n:1"), vec!["m:2"])]
        {
            if let Some(id) = deleted {
                let answer = manager.call("DELETE", &format!("/models/{id}"), json!(null)).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
            let list = manager.ok("GET", "/models?latestVersionOnly=true", json!(null)).await;
            let mut ids: Vec<&str> =
                list["value"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
            ids.sort_unstable();
            assert_eq!(ids, expected, "without {deleted:?}");
        }
    }
}
