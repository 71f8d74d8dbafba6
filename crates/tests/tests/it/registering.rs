//! Registered models and what stands around them: the assets that clients download them by, the single files that they were made from, tags,
//! and what is not served.

use serde_json::{Value, json};

use crate::artifacts::Team;
use crate::deployment::{Deployment, engines};
use crate::model_management::Manager;

const MANAGEMENT: &str = "/modelmanagement/v1.0@";

/// Uploads a file without a run, as `Model.register` does with a local one; what its asset calls it.
async fn uploaded(team: &Team<'_>, container: &str) -> String {
    let path = format!("/artifact/v2.0@/artifacts/batch/metadata/LocalUpload/{container}");
    let answer = team.ok("POST", &path, json!({ "paths": [{ "path": "m.json" }] })).await;
    let address = answer["artifactContentInformation"]["m.json"]["contentUri"].as_str().unwrap();
    assert_eq!(team.put(address, b"\"weights\"").await, 201);
    format!("LocalUpload/{container}/m.json")
}

/// Registers a model from an asset with one artifact; the asset's address.
async fn registered(team: &Team<'_>, name: &str, artifact: &str) -> String {
    let asset = json!({ "name": name, "artifacts": [{ "prefix": artifact }] });
    let asset = team.ok("POST", &format!("{MANAGEMENT}/assets"), asset).await;
    let asset = asset["id"].as_str().unwrap();
    let model =
        json!({ "name": name, "url": format!("aml://asset/{asset}"), "mimeType": "application/json" });
    team.ok("POST", &format!("{MANAGEMENT}/models"), model).await;
    format!("{MANAGEMENT}/assets/{asset}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_stays_while_a_model_is_registered_from_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let team = Team::new(&deployment, &someone).await;
        team.upload("outputs/m.json", b"\"weights\"").await;
        let of_run = format!("ExperimentRun/dcid.{}/outputs/m.json", team.run);
        for (name, artifact) in [("local", uploaded(&team, "1").await), ("logged", of_run)] {
            let asset = registered(&team, name, &artifact).await;
            let model = format!("{MANAGEMENT}/models/{name}:1");
            let (status, refused) = team.call("DELETE", &asset, json!(null)).await;
            assert_eq!((status, &refused["statusCode"]), (409, &json!(409)), "{name}: {refused}");
            assert_eq!(refused["code"], "InUse");
            let details = refused["details"].as_array().unwrap();
            assert_eq!((details.len(), &details[0]["code"]), (1, &json!("Model")), "{refused}");
            let found = details[0]["message"].as_str().unwrap();
            let found = team.ok("GET", &format!("{MANAGEMENT}/models/{found}"), json!(null)).await;
            assert_eq!(found["id"], format!("{name}:1"));
            let content = team.ok("GET", &format!("{model}/content"), json!(null)).await;
            assert_eq!(content, json!("weights"), "{name}");

            assert_eq!(team.call("DELETE", &model, json!(null)).await.0, 200, "{name}");
            assert_eq!(team.call("DELETE", &asset, json!(null)).await.0, 200, "{name}");
            assert_eq!(team.call("DELETE", &asset, json!(null)).await.0, 204, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_file_that_a_model_was_made_from_is_missed() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let team = Team::new(&deployment, &someone).await;
        let is_marked = async |name: &str| {
            let model = team.ok("GET", &format!("{MANAGEMENT}/models/{name}:1"), json!(null)).await;
            model["sourceErasedAt"].is_string()
        };
        let tainted = async |files: &str| {
            let plan = team.ok("DELETE", &format!("{files}?dryRun=true"), json!(null)).await;
            let listed = plan["tainted"].as_array().into_iter().flatten();
            let kinds = listed.map(|one| one["kind"].as_str().unwrap().to_owned());
            kinds.filter(|kind| kind == "ModelVersion").count()
        };
        let files = "/artifact/v2.0@/artifacts";

        // What was uploaded without a run stands under the workspace, and so does the model.
        registered(&team, "local", &uploaded(&team, "1").await).await;
        uploaded(&team, "2").await;
        assert_eq!(tainted(&format!("{files}/batch/LocalUpload/1")).await, 1);
        assert_eq!(tainted(&format!("{files}/batch/LocalUpload/2")).await, 0);
        for (container, marked) in [("2", false), ("1", true)] {
            let path = format!("{files}/metadata/LocalUpload/{container}/m.json");
            assert_eq!(team.call("DELETE", &path, json!(null)).await.0, 200);
            assert_eq!(is_marked("local").await, marked, "{container}");
        }

        // A run learned from one file of another run, and a model was made from it.
        team.upload("leaves.csv", b"leaves").await;
        team.upload("stones.csv", b"stones").await;
        let mlflow = "/mlflow/v2.0@/api/2.0/mlflow";
        let run = json!({ "experiment_id": "0", "start_time": 1 });
        let run = team.ok("POST", &format!("{mlflow}/runs/create"), run).await;
        let run = run["run"]["info"]["run_id"].as_str().unwrap();
        let source = json!({ "uri": format!("runs:/{}/leaves.csv", team.run) }).to_string();
        let dataset = json!({ "name": "leaves", "digest": "1", "source_type": "artifact", "source": source });
        let inputs = json!({ "run_id": run, "datasets": [{ "dataset": dataset }] });
        team.ok("POST", &format!("{mlflow}/runs/log-inputs"), inputs).await;
        let model =
            json!({ "name": "trees", "url": format!("runs:/{run}/model"), "mimeType": "application/x" });
        team.ok("POST", &format!("{MANAGEMENT}/models"), model).await;
        let container = format!("ExperimentRun/dcid.{}", team.run);
        for (file, marked) in [("stones.csv", false), ("leaves.csv", true)] {
            assert_eq!(tainted(&format!("{files}/batch/{container}")).await, 1);
            let path = format!("{files}/metadata/{container}/{file}");
            assert_eq!(team.call("DELETE", &path, json!(null)).await.0, 200);
            assert_eq!(is_marked("trees").await, marked, "{file}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_can_be_emptied_where_tags_have_values_and_is_found_with_its_commas() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let team = Team::new(&deployment, &someone).await;
        let tags = json!({ "owner": "Ada", "place": "a,b" });
        let model =
            json!({ "name": "trees", "url": "https://store.example/m", "mimeType": "x", "kvTags": tags });
        team.ok("POST", &format!("{MANAGEMENT}/models"), model).await;
        for (query, count) in [
            ("tag=place%3Da,b", 1),
            ("tag=place%3Da", 0),
            ("tag=place", 1),
            ("tag=owner,place", 0),
            ("tags=owner,place", 1),
        ] {
            let found = team.ok("GET", &format!("{MANAGEMENT}/models?{query}"), json!(null)).await;
            assert_eq!(found["value"].as_array().unwrap().len(), count, "{query}");
        }
        let asked = json!({ "tag": "place=a,b" });
        let found = team.ok("POST", &format!("{MANAGEMENT}/models/list"), asked).await;
        assert_eq!(found["value"].as_array().unwrap().len(), 1);

        let asset = json!({ "name": "trees", "kvTags": tags });
        let asset = team.ok("POST", &format!("{MANAGEMENT}/assets"), asset).await;
        let image = json!({ "name": "trees", "driverProgram": "score.py", "modelIds": ["trees:1"], "kvTags": tags,
            "targetRuntime": { "runtimeType": "Python" } });
        assert_eq!(team.call("POST", &format!("{MANAGEMENT}/images"), image).await.0, 202);
        let service = json!({ "name": "trees", "imageId": "trees:1", "computeType": "ACI", "kvTags": tags });
        assert_eq!(team.call("POST", &format!("{MANAGEMENT}/services"), service).await.0, 202);
        let places = [
            "models/trees:1".to_owned(),
            format!("assets/{}", asset["id"].as_str().unwrap()),
            "images/trees:1".to_owned(),
            "services/trees".to_owned(),
        ];
        let emptied = json!({ "owner": "" });
        let set = |tags: &Value| json!([{ "op": "replace", "path": "/kvTags", "value": tags }]);
        for place in &places {
            let place = format!("{MANAGEMENT}/{place}");
            assert_eq!(team.ok("PATCH", &place, set(&emptied)).await["kvTags"], emptied, "{place}");
            assert_eq!(team.ok("GET", &place, json!(null)).await["kvTags"], emptied, "{place}");
            team.ok("PATCH", &place, set(&tags)).await;
        }
        let service = format!("{MANAGEMENT}/services/trees");
        assert_eq!(team.call("PUT", &service, json!({ "kvTags": emptied })).await.0, 202);
        assert_eq!(team.ok("GET", &service, json!(null)).await["kvTags"], emptied);

        // The form that knows names only takes nobody's values away.
        let list = team.ok("GET", "/api@/models?api-version=2018-03-01-preview", json!(null)).await;
        let id = list["value"][0]["id"].as_str().unwrap();
        let path = format!("/api@/models/{id}?api-version=2018-03-01-preview");
        team.ok("PATCH", &path, json!([{ "op": "add", "path": "/tags/-", "value": "more" }])).await;
        let shown = team.ok("GET", &format!("{MANAGEMENT}/models/trees:1"), json!(null)).await;
        assert_eq!(shown["kvTags"], json!({ "owner": "Ada", "place": "a,b", "more": "" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_kept_with_its_versions() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let team = Team::new(&deployment, &someone).await;
        for name in ["trees", "shrubs"] {
            let model = json!({ "name": name, "url": "https://store.example/m", "mimeType": "x" });
            team.ok("POST", &format!("{MANAGEMENT}/models"), model).await;
        }
        let services = format!("{MANAGEMENT}/services");
        let leaves = format!("{services}/leaves");
        let refused = async |method: &str, path: &str, body: Value, said: &str| {
            let (status, answer) = team.call(method, path, body).await;
            assert_eq!((status, &answer["code"]), (400, &json!("BadArgument")), "{method} {path}: {answer}");
            assert!(answer["message"].as_str().unwrap().contains(said), "{answer}");
        };
        let version = |model: &str, share: Value| {
            json!({ "name": "x", "computeType": "AKSENDPOINT", "trafficPercentile": share, "kvTags": { "a": "1" },
                "autoScaler": { "autoscaleEnabled": true, "minReplicas": 2 }, "numReplicas": null,
                "environmentImageRequest": { "modelIds": [model], "environment": { "name": "e" } } })
        };
        let endpoint = json!({ "name": "leaves", "computeType": "AksEndpoint", "description": "rollout",
            "authEnabled": true, "versions": { "v1": version("trees:1", json!(20)) } });
        assert_eq!(team.call("POST", &services, endpoint.clone()).await.0, 202);
        let shown = team.ok("GET", &leaves, json!(null)).await;
        assert_eq!(
            (&shown["computeType"], &shown["description"], &shown["authEnabled"], &shown["computeName"]),
            (&json!("AKSENDPOINT"), &json!("rollout"), &json!(true), &json!(null))
        );
        // What the SDK insists on of each version, which is an `AksWebservice` for it.
        let first = &shown["versions"]["v1"];
        for name in [
            "appInsightsEnabled",
            "authEnabled",
            "autoScaler",
            "computeName",
            "computeType",
            "containerResourceRequirements",
            "createdTime",
            "dataCollection",
            "description",
            "kvTags",
            "livenessProbeRequirements",
            "maxConcurrentRequestsPerContainer",
            "maxQueueWaitMs",
            "name",
            "numReplicas",
            "properties",
            "scoringTimeoutMs",
            "scoringUri",
            "aadAuthEnabled",
        ] {
            assert!(first.get(name).is_some(), "{name}: {first}");
        }
        assert_eq!(
            (
                &first["isDefault"],
                &first["type"],
                &first["trafficPercentile"],
                &first["autoScaler"]["minReplicas"]
            ),
            (&json!(true), &json!("Control"), &json!(20), &json!(2))
        );
        assert_eq!(
            (&first["error"]["code"], &shown["error"]["code"]),
            (&json!("NotServed"), &json!("NotServed"))
        );

        // As `create_version` and `update_version` send it.
        let patch = |path: &str, value: Value| json!({ "op": "replace", "path": path, "value": value });
        let mut second = version("shrubs:1", json!(30));
        second["isDefault"] = json!(true);
        let add = json!([
            patch("/versions/v1/isDefault", json!(false)),
            { "op": "add", "path": "/versions/v2", "value": second },
        ]);
        let shown = team.ok("PATCH", &leaves, add).await;
        let of =
            |shown: &Value, name: &str| ["v1", "v2"].map(|version| shown["versions"][version][name].clone());
        assert_eq!(of(&shown, "isDefault"), [json!(false), json!(true)]);
        assert_eq!(of(&shown, "type"), [json!("Control"), json!("Treatment")]);
        let shown = team.ok("GET", &format!("{leaves}?expand=true"), json!(null)).await;
        assert_eq!(
            of(&shown, "models").map(|models| models[0]["id"].clone()),
            [json!("trees:1"), json!("shrubs:1")]
        );
        let change = json!([
            patch("/versions/v2/trafficPercentile", json!(80)),
            patch("/versions/v2/containerResourceRequirements/cpu", json!(2)),
            patch("/versions/v2/tags", json!({ "b": "2" })),
            patch("/versions/v2/description", json!("second")),
        ]);
        let shown = team.ok("PATCH", &leaves, change).await;
        let second = &shown["versions"]["v2"];
        assert_eq!(
            (
                &second["trafficPercentile"],
                &second["kvTags"],
                &second["description"],
                &second["containerResourceRequirements"]["cpu"]
            ),
            (&json!(80), &json!({ "b": "2" }), &json!("second"), &json!(2))
        );
        assert_eq!(second["environmentImageRequest"]["environment"]["name"], "e");
        assert_eq!(
            of(&shown, "models").map(|models| models[0]["id"].clone()),
            [json!("trees:1"), json!("shrubs:1")]
        );

        // What is no endpoint together changes nothing.
        for (path, value, said) in [
            ("/versions/v1/trafficPercentile", json!(21), "more than 100"),
            ("/versions/v1/isDefault", json!(true), "isDefault"),
            ("/versions/v2/type", json!("Control"), "type"),
            ("/versions/v2/type", json!("Other"), "Treatment"),
            ("/versions/v2/trafficPercentile", json!(-1), "versions.*.trafficPercentile"),
            ("/computeType", json!("AKS"), "AKSENDPOINT"),
            ("/modelId", json!("trees:1"), "modelId"),
        ] {
            refused("PATCH", &leaves, json!([patch(path, value)]), said).await;
        }
        assert_eq!(team.ok("GET", &leaves, json!(null)).await["versions"]["v1"]["trafficPercentile"], 20);

        // A model is in use by a version until that goes.
        let trees = format!("{MANAGEMENT}/models/trees:1");
        assert_eq!(team.call("DELETE", &trees, json!(null)).await.0, 409);
        let found = team.ok("GET", &format!("{services}?modelId=trees:1"), json!(null)).await;
        assert_eq!(found["value"].as_array().unwrap().len(), 1, "{found}");
        let shown = team.ok("PATCH", &leaves, json!([{ "op": "remove", "path": "/versions/v1" }])).await;
        let last = &shown["versions"];
        assert_eq!((&last["v1"], &last["v2"]["type"]), (&json!(null), &json!("Control")));
        assert_eq!(team.call("DELETE", &trees, json!(null)).await.0, 200);

        // A service does not become an endpoint, unless it is deployed anew.
        let service = json!({ "name": "twigs", "modelId": "shrubs:1", "computeType": "AKS" });
        assert_eq!(team.call("POST", &services, service.clone()).await.0, 202);
        let twigs = format!("{services}/twigs");
        refused("PUT", &twigs, json!({ "computeType": "AksEndpoint" }), "AKSENDPOINT").await;
        refused("PATCH", &twigs, json!([patch("/computeType", json!("AKSENDPOINT"))]), "AKSENDPOINT").await;
        refused("PUT", &twigs, json!({ "versions": {} }), "AKSENDPOINT").await;
        let mut again = service;
        again["name"] = json!("leaves");
        assert_eq!(team.call("POST", &services, again.clone()).await.0, 409);
        again["overwrite"] = json!(true);
        assert_eq!(team.call("POST", &services, again).await.0, 202);
        let shown = team.ok("GET", &leaves, json!(null)).await;
        assert_eq!((&shown["computeType"], &shown["versions"]), (&json!("AKS"), &json!(null)));
        let mut both = endpoint;
        both["name"] = json!("both");
        both["modelId"] = json!("shrubs:1");
        refused("POST", &services, both, "modelId").await;
        assert_eq!(team.call("DELETE", &leaves, json!(null)).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_accounts_are_deleted_as_each_version_waits_for_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let mut manager = Manager::of_account(&deployment, &someone, "mma", "2018-04-01-preview").await;
        let model = json!({ "name": "trees", "url": "https://store.example/m", "mimeType": "x" });
        let model = manager.ok("POST", "/models", model).await;
        for (version, status) in [
            ("2017-09-01-preview", 200),
            ("2018-03-01-preview", 202),
            ("2018-04-01-preview", 202),
            ("2018-11-19", 202),
            ("2019-05-01", 202),
        ] {
            manager.version = Some("2018-04-01-preview");
            let service = json!({ "name": "trees", "modelId": model["id"], "computeType": "ACI" });
            let service = manager.waited("POST", "/services", service).await;
            manager.version = Some(version);
            let answer = manager.call("DELETE", &format!("/services/{service}"), json!(null)).await;
            assert_eq!(answer.status, status, "{version}: {}", answer.body);
            let answer = manager.call("GET", &format!("/services/{service}"), json!(null)).await;
            assert_eq!(answer.status, 404, "{version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_listed_by_the_images_of_its_versions() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let manager = Manager::of_workspace(&deployment, &someone, "Forest").await;
        for name in ["oaks", "elms"] {
            let model = json!({ "name": name, "url": "https://store.example/m", "mimeType": "x" });
            manager.ok("POST", "/models", model).await;
            let image = json!({ "name": name, "driverProgram": "score.py", "modelIds": [format!("{name}:1")],
                "targetRuntime": { "runtimeType": "Python" } });
            manager.waited("POST", "/images", image).await;
        }
        let endpoint = json!({ "name": "trees", "computeType": "AKSENDPOINT",
            "versions": { "a": { "imageId": "oaks:1", "trafficPercentile": 100 } } });
        manager.waited("POST", "/services", endpoint).await;
        let plain = json!({ "name": "plain", "computeType": "ACI", "imageId": "elms:1" });
        manager.waited("POST", "/services", plain).await;
        for (query, expected) in [
            ("imageId=oaks:1", json!(["trees"])),
            ("imageName=oaks", json!(["trees"])),
            ("imageId=elms:1", json!(["plain"])),
            // Both of one image.
            ("imageId=oaks:1&imageName=elms", json!([])),
            ("imageName=ashes", json!([])),
            ("manifestName=oaks", json!([])),
        ] {
            let found = manager.ok("GET", &format!("/services?{query}"), json!(null)).await;
            let names: Vec<_> =
                found["value"].as_array().unwrap().iter().map(|service| service["name"].clone()).collect();
            assert_eq!(json!(names), expected, "{query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_does_not_take_a_method_says_so_in_the_envelope() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let workspace = Manager::of_workspace(&deployment, &someone, "Forest").await;
        let account = Manager::of_account(&deployment, &someone, "mma", "2017-09-01-preview").await;
        for manager in [&workspace, &account] {
            for (method, path, allowed) in [
                ("POST", "/services/validate", "GET"),
                ("DELETE", "/models", "POST"),
                ("PUT", "/models/trees:1/content", "GET"),
            ] {
                let answer = manager.call(method, path, json!(null)).await;
                assert_eq!(
                    (answer.status, &answer.body["code"], &answer.body["statusCode"]),
                    (405, &json!("MethodNotAllowed"), &json!(405)),
                    "{method} {path}: {}",
                    answer.body
                );
                assert!(answer.headers["allow"].to_str().unwrap().contains(allowed), "{method} {path}");
            }
        }
    }
}
