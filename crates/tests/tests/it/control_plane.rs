//! Azure's control plane by plain HTTP: accounts, workspaces and projects of experimentation, hosting accounts, clusters, computes.

use axum::http::StatusCode;
use habeas_core::receipt;
use serde_json::{Value, json};

use crate::arm::{Caller, counts, names};
use crate::deployment::{Deployment, Someone, engines};

pub(crate) const PREVIEW: &str = "api-version=2017-05-01-preview";

/// The address of a resource group.
pub(crate) fn group(someone: &str, name: &str) -> String {
    format!("/subscriptions/{someone}/resourceGroups/{name}/providers")
}

/// Addresses without a query, and bodies, of an experimentation account, a workspace and a project in it.
pub(crate) fn experimentation(someone: &str) -> [(String, Value); 3] {
    let account =
        format!("{}/Microsoft.MachineLearningExperimentation/accounts/Forest", group(someone, "Trees"));
    let workspace = format!("{account}/workspaces/Pines");
    let project = format!("{workspace}/projects/Leaves");
    let storage = json!({ "storageAccountId": "/subscriptions/s", "accessKey": "a key" });
    let properties = json!({ "vsoAccountId": "/subscriptions/v", "keyVaultId": "/subscriptions/k", "seats": "3",
        "storageAccount": storage, "description": "trees" });
    [
        (account, json!({ "location": "here", "tags": { "a": "b" }, "properties": properties })),
        (workspace, json!({ "location": "here", "properties": { "friendlyName": "The pines" } })),
        (
            project,
            json!({ "location": "here", "properties": { "friendlyName": "Of trees", "gitrepo": "https://example.org/" } }),
        ),
    ]
}

/// Makes an account, a workspace and a project; their addresses.
pub(crate) async fn make(caller: &Caller<'_>, someone: &str) -> [String; 3] {
    let made = experimentation(someone);
    for (path, body) in &made {
        caller.make(&format!("{path}?{PREVIEW}"), body.clone()).await;
    }
    made.map(|(path, _)| path)
}

/// One of everything that the control plane keeps, by address.
pub(crate) struct World {
    pub(crate) subscription: String,
    pub(crate) account: String,
    pub(crate) workspace: String,
    pub(crate) project: String,
    pub(crate) hosting: String,
    pub(crate) cluster: String,
    pub(crate) services: String,
    /// A compute that can be started and stopped.
    pub(crate) compute: String,
}

impl World {
    pub(crate) async fn make(caller: &Caller<'_>, someone: &str) -> World {
        let [account, workspace, project] = make(caller, someone).await;
        let providers = group(someone, "Trees");
        let hosting = format!("{providers}/Microsoft.MachineLearningModelManagement/accounts/Oaks");
        let body = json!({ "location": "here", "sku": { "name": "S1", "capacity": 1 } });
        caller.make(&format!("{hosting}?api-version=2017-09-01-preview"), body).await;
        let list = format!("{providers}/Microsoft.MachineLearningCompute/operationalizationClusters");
        let woods = format!("{list}/Woods");
        caller.make(&format!("{woods}?api-version=2017-08-01-preview"), cluster()).await;
        let services = format!("{providers}/Microsoft.MachineLearningServices/workspaces/Forest");
        let version = "api-version=2018-03-01-preview";
        caller.make(&format!("{services}?{version}"), json!({ "location": "here" })).await;
        let compute = format!("{services}/computes/Desk");
        let body = json!({ "location": "here", "properties": { "computeType": "ComputeInstance" } });
        caller.make(&format!("{compute}?{version}"), body).await;
        let subscription = format!("/subscriptions/{someone}");
        World { subscription, account, workspace, project, hosting, cluster: woods, services, compute }
    }
}

/// An answer without what is different in each run.
fn settled(answer: &Value, someone: &Someone) -> Value {
    let text = answer.to_string().replace(&someone.id, "[holder]");
    let mut settled: Value = serde_json::from_str(&text).unwrap();
    settle(&mut settled["properties"]);
    settled
}

fn settle(value: &mut Value) {
    for (name, value) in value.as_object_mut().into_iter().flatten() {
        if ["On", "Date", "Time"].iter().any(|end| name.ends_with(end)) {
            *value = json!("[time]");
        } else if name == "id" || name.ends_with("Id") && value.as_str().is_some_and(|id| id.len() == 36) {
            *value = json!("[id]");
        } else {
            settle(value);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experimentation_account_has_workspaces_and_projects_that_go_with_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let at = |path: &str| format!("{path}?{PREVIEW}");
        let [account, workspace, project] = make(&caller, &someone.id).await;
        for (name, path) in [("account", &account), ("workspace", &workspace), ("project", &project)] {
            let shown = caller.get(&at(path)).await;
            assert_eq!(shown["id"], json!(path));
            assert!(!shown.to_string().contains("a key"), "{shown}");
            insta::assert_json_snapshot!(format!("experimentation_{name}"), settled(&shown, &someone));
        }
        // The older name of accounts, any case, and the slash that the npm client forgets.
        let found = caller.get(&at(&account)).await;
        let spelled = account.replace("accounts", "teamAccounts").replace("resourceGroups", "RESOURCEGROUPS");
        assert_eq!(caller.get(&at(&spelled.replace("Forest", "FOREST"))).await, found);
        let list = format!("{account}/workspacesPines/projects");
        assert_eq!(names(&caller.get(&at(&list)).await), ["Leaves"]);
        assert_eq!(names(&caller.get(&at(&format!("{account}/workspaces"))).await), ["Pines"]);

        // Changes in part, and in one version only.
        let change = json!({ "tags": { "c": "d" }, "properties": { "description": "oaks", "seats": "4", "storageAccountKey": "other" } });
        let etag = found["etag"].as_str().unwrap();
        let (status, changed) =
            caller.call("PATCH", &at(&account), &[("if-match", etag)], change.clone()).await;
        assert_eq!(status, 200, "{changed}");
        let properties = &changed["properties"];
        assert_eq!(
            (&changed["tags"], &properties["description"], &properties["seats"], &properties["friendlyName"]),
            (&json!({ "c": "d" }), &json!("oaks"), &json!("4"), &json!("Forest"))
        );
        assert_eq!(caller.call("PATCH", &at(&account), &[("if-match", etag)], change).await.0, 412);
        let change = json!({ "properties": { "gitrepo": "https://example.org/other" } });
        let (_, changed) = caller.call("PATCH", &at(&project), &[], change).await;
        assert_eq!(changed["properties"]["gitrepo"], "https://example.org/other");
        let (status, again) = caller.call("PUT", &at(&workspace), &[], json!({ "properties": {} })).await;
        assert_eq!((status.as_u16(), &again["properties"]["friendlyName"]), (200, &json!("The pines")));

        // What is wrong is told with its place.
        let [(_, whole), ..] = experimentation(&someone.id);
        let without = |name: &str| {
            let mut body = whole.clone();
            body["properties"].as_object_mut().unwrap().remove(name);
            body
        };
        let account_at = |name: &str| at(&account.replace("Forest", name));
        for (path, body, code, told) in [
            (account_at("Fir"), whole.clone(), "InvalidResourceName", "5 to 50 letters"),
            (account_at("Fir_trees"), whole.clone(), "InvalidResourceName", "5 to 50 letters"),
            (
                account_at("Firtrees"),
                without("keyVaultId"),
                "InvalidRequestContent",
                "`properties.keyVaultId`",
            ),
            (
                account_at("Firtrees"),
                without("storageAccount"),
                "InvalidRequestContent",
                "`properties.storageAccount.storageAccountId`",
            ),
            (account_at("Firtrees"), json!({ "properties": {} }), "LocationRequired", "`location`"),
            (
                at(&workspace.replace("Pines", "Larches")),
                json!({ "location": "x" }),
                "InvalidRequestContent",
                "`properties.friendlyName`",
            ),
            (
                at(&workspace.replace("Forest", "Nothing")),
                json!({ "location": "x" }),
                "ParentResourceNotFound",
                "account",
            ),
            (
                at(&project).replace("2017-05-01-preview", "2020-08-01"),
                whole.clone(),
                "InvalidApiVersionParameter",
                "2017-05-01-preview",
            ),
        ] {
            let (status, answer) = caller.call("PUT", &path, &[], body).await;
            assert!(status.is_client_error(), "{path}");
            assert_eq!(answer["error"]["code"], code, "{path}: {answer}");
            assert!(answer["error"]["message"].as_str().unwrap().contains(told), "{path}: {answer}");
        }

        // A run in the project, by MLflow. A workspace with one project means that.
        for scope in [&project, &workspace] {
            let run = format!("/mlflow/v2.0{scope}/api/2.0/mlflow/runs/create");
            let json = [("content-type", "application/json")];
            let (status, answer) = caller.call("POST", &run, &json, json!({ "experiment_id": "0" })).await;
            assert_eq!(status, 200, "{answer}");
        }

        // Strangers see nothing of it, and delete nothing.
        let other = deployment.person("b@example.org", "B").await;
        let stranger = Caller::new(&deployment, &other).await;
        for path in [&account, &workspace, &project, &list] {
            let (status, answer) = stranger.call("GET", &at(path), &[], json!(null)).await;
            assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!("SubscriptionNotFound")));
        }
        assert_eq!(stranger.call("DELETE", &at(&account), &[], json!(null)).await.0, 204);

        // What would go, what went, and the proof of it.
        let dry = format!("{}&dryRun=true", at(&workspace));
        let (_, plan) = caller.call("DELETE", &dry, &[], json!(null)).await;
        let expected =
            [("ExperimentationWorkspace", 1), ("ExperimentationProject", 1), ("Experiment", 1), ("Run", 2)];
        assert_eq!(counts(&plan), expected, "{plan}");
        assert_eq!((&plan["keys"], &plan["receipt"]), (&json!(2), &json!(null)), "{plan}");
        let (status, headers, _) = caller.send("DELETE", &at(&workspace), &[], json!(null)).await;
        assert_eq!(status, 200);
        assert!(!headers.contains_key("location"));
        let receipt = headers["x-habeas-receipt"].to_str().unwrap();
        let (status, kept) =
            deployment.call(Some(&caller.token), "GET", &format!("/receipts/{receipt}"), json!(null)).await;
        assert_eq!(status, 200, "{kept}");
        let key = deployment.server().app().rights.public_key().unwrap();
        let verified = receipt::verify(kept.to_string().as_bytes(), &[key]).unwrap();
        assert!(verified.logged.is_some());
        assert_eq!(counts(&json!({ "deletes": verified.statement["deleted"] })), expected);
        assert_eq!(verified.statement["keysDestroyed"], 2);
        for (path, code) in [(&workspace, "ResourceNotFound"), (&project, "ParentResourceNotFound")] {
            let (status, answer) = caller.call("GET", &at(path), &[], json!(null)).await;
            assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!(code)));
        }
        let (status, headers, _) = caller.send("DELETE", &at(&workspace), &[], json!(null)).await;
        assert_eq!(status, 204);
        assert!(!headers.contains_key("location") && !headers.contains_key("x-habeas-receipt"));
        assert_eq!(caller.call("DELETE", &at(&account), &[], json!(null)).await.0, 200);
        assert_eq!(caller.get(&at(&account.replace("/Forest", ""))).await, json!({ "value": [] }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosting_accounts_say_where_their_models_are_and_come_in_pages() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let list =
            format!("{}/Microsoft.MachineLearningModelManagement/accounts", group(&someone.id, "Trees"));
        let version = "api-version=2017-09-01-preview";
        let at = |name: &str| format!("{list}/{name}?{version}");
        let sku = json!({ "name": "S1", "capacity": 2, "tier": "Standard" });
        let body = json!({ "location": "here", "sku": sku, "properties": { "description": "trees" } });
        let made = caller.make(&at("Oaks"), body.clone()).await;
        insta::assert_json_snapshot!("hosting_account", settled(&made, &someone));
        let change = json!({ "sku": { "capacity": 3 }, "properties": { "description": "oaks" } });
        let (_, changed) = caller.call("PATCH", &at("oaks"), &[], change).await;
        assert_eq!(changed["sku"], json!({ "name": "S1", "capacity": 3, "tier": "Standard" }));
        assert_eq!(changed["properties"]["description"], "oaks");
        for (sku, told) in [
            (json!(null), "`sku` is missing"),
            (json!({ "name": "S9", "capacity": 1 }), "`sku.name`"),
            (json!({ "name": "S1", "capacity": 17 }), "`sku.capacity`"),
            (json!({ "name": "S1" }), "`sku.capacity` is missing"),
        ] {
            let (status, answer) =
                caller.call("PUT", &at("New"), &[], json!({ "location": "x", "sku": sku })).await;
            assert_eq!(status, 400, "{answer}");
            assert!(answer["error"]["message"].as_str().unwrap().contains(told), "{answer}");
        }
        for name in ["Pines", "Larches"] {
            caller.make(&at(name), body.clone()).await;
        }
        caller.make(&at("Stones").replace("Trees", "Quarry"), body).await;

        // Pages go on where the last one ended, also when what it ended with is gone.
        let (mut next, mut found) = (format!("{list}?{version}&$top=1"), Vec::new());
        loop {
            let page = caller.get(&next).await;
            let name = names(&page)[0].to_owned();
            assert_eq!(caller.call("DELETE", &at(&name), &[], json!(null)).await.0, 200);
            found.push(name);
            match page.get("nextLink") {
                Some(link) => {
                    next = link.as_str().unwrap().strip_prefix("http://localhost").unwrap().to_owned();
                }
                None => break,
            }
        }
        assert_eq!(found, ["Oaks", "Pines", "Larches"]);
        let all = list.replace("/resourceGroups/Trees", "");
        assert_eq!(names(&caller.get(&format!("{all}?{version}")).await), ["Stones"]);
        for wrong in ["$skiptoken=x", "$top=0", "$top=101"] {
            let (status, answer) =
                caller.call("GET", &format!("{all}?{version}&{wrong}"), &[], json!(null)).await;
            assert_eq!((status.as_u16(), &answer["error"]["code"]), (400, &json!("InvalidRequestContent")));
        }
    }
}

/// A cluster as the newer version of its API has it.
pub(crate) fn cluster() -> Value {
    json!({ "location": "here", "tags": { "a": "b" }, "properties": {
        "clusterType": "ACS", "description": "trees", "storageAccount": { "resourceId": "/subscriptions/s" },
        "containerService": {
            "orchestratorType": "Kubernetes", "agentCount": 3,
            "orchestratorProperties": { "servicePrincipal": { "clientId": "client", "secret": "secret one" } },
            "systemServices": [{ "systemServiceType": "ScoringFrontEnd" }],
        },
        "appInsights": { "resourceId": "/subscriptions/i" },
        "globalServiceConfiguration": {
            "etag": "e", "own": { "a": 1 }, "ssl": { "cert": "cert", "key": "secret two", "cname": "example.org" },
            "serviceAuth": { "primaryAuthKeyHash": "secret three", "secondaryAuthKeyHash": "secret four" },
            "autoScale": { "status": "Enabled", "minReplicas": 2 },
        },
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_are_records_in_both_versions_of_their_api() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let list = format!(
            "{}/Microsoft.MachineLearningCompute/operationalizationClusters",
            group(&someone.id, "Trees")
        );
        let (first, second) = ("api-version=2017-06-01-preview", "api-version=2017-08-01-preview");
        let at = |name: &str, version: &str| format!("{list}/{name}?{version}");
        let made = caller.make(&at("Woods", second), cluster()).await;
        assert!(!made.to_string().contains("secret "), "{made}");
        insta::assert_json_snapshot!("cluster", settled(&made, &someone));
        let old = caller.get(&at("woods", first)).await;
        insta::assert_json_snapshot!("cluster_of_june", settled(&old, &someone));
        let (_, keys) = caller.call("POST", &at("Woods/listKeys", second), &[], json!(null)).await;
        insta::assert_json_snapshot!("cluster_keys", keys);
        // What is shown can be sent back: what is not shown stays.
        let mut again = made.clone();
        again["properties"]["description"] = json!("more trees");
        let (status, changed) = caller.call("PUT", &at("Woods", second), &[], again).await;
        assert_eq!((status.as_u16(), &changed["properties"]["description"]), (200, &json!("more trees")));
        assert_eq!(caller.call("POST", &at("Woods/listkeys", first), &[], json!(null)).await.1, keys);
        let (_, changed) =
            caller.call("PATCH", &at("Woods", second), &[], json!({ "tags": { "c": "d" } })).await;
        assert_eq!(changed["tags"], json!({ "c": "d" }));
        for (action, version) in [("checkUpdate", first), ("checkSystemServicesUpdatesAvailable", second)] {
            let (_, answer) =
                caller.call("POST", &at(&format!("Woods/{action}"), version), &[], json!(null)).await;
            assert_eq!(answer, json!({ "updatesAvailable": "No" }));
        }
        for (action, version) in [("updateSystem", first), ("updateSystemServices", second)] {
            let (status, answer) =
                caller.call("POST", &at(&format!("Woods/{action}"), version), &[], json!(null)).await;
            assert_eq!((status.as_u16(), &answer["updateStatus"]), (200, &json!("Succeeded")));
        }

        // The older version's own shape.
        let service = json!({ "orchestratorType": "Kubernetes", "systemServices": ["Scoring", "Batch"],
            "orchestratorProperties": { "servicePrincipal": { "clientId": "c", "secret": "s" } } });
        let body =
            json!({ "location": "x", "properties": { "clusterType": "ACS", "containerService": service } });
        let made = caller.make(&at("Old.trees", first), body.clone()).await;
        let service = &made["properties"]["containerService"];
        assert_eq!(
            (
                &service["systemServices"],
                &service["agentVmSize"],
                &service["agentCount"],
                service.get("masterCount")
            ),
            (&json!(["Scoring", "Batch"]), &json!("Standard_D2_v2"), &json!(2), None)
        );
        for (change, told) in [
            (json!({ "clusterType": "Other" }), "`properties.clusterType`"),
            (json!({ "clusterType": "Local" }), "`properties.clusterType`"),
            (json!({ "clusterType": "ACS" }), "`properties.containerService` is missing"),
            (
                json!({ "clusterType": "ACS", "containerService": { "orchestratorType": "Kubernetes", "agentCount": 101 } }),
                "`properties.containerService.agentCount` is not a whole number from 1 to 100",
            ),
            (
                json!({ "clusterType": "ACS", "containerService": { "orchestratorType": "Kubernetes", "systemServices": ["x"] } }),
                "systemServices",
            ),
        ] {
            let (status, answer) = caller
                .call("PUT", &at("New", first), &[], json!({ "location": "x", "properties": change }))
                .await;
            assert_eq!(status, 400, "{answer}");
            assert!(answer["error"]["message"].as_str().unwrap().contains(told), "{answer}");
        }
        for name in ["a", "1abc", "ab-"] {
            let (_, answer) = caller.call("PUT", &at(name, first), &[], body.clone()).await;
            assert_eq!(answer["error"]["code"], "InvalidResourceName", "{name}");
        }

        // Lists as the seed document spells them; deletion is an operation that is done at once.
        for path in
            [list.replace("resourceGroups", "resourcegroups"), list.replace("/resourceGroups/Trees", "")]
        {
            assert_eq!(names(&caller.get(&format!("{path}?{first}")).await), ["Woods", "Old.trees"]);
        }
        let (status, headers, _) = caller.send("DELETE", &at("Woods", second), &[], json!(null)).await;
        assert_eq!((status.as_u16(), &headers["retry-after"]), (202, &headers["retry-after"]));
        let place =
            |name: &str| headers[name].to_str().unwrap().strip_prefix("http://localhost").unwrap().to_owned();
        assert_eq!(caller.call("GET", &place("location"), &[], json!(null)).await.0, 204);
        let status = caller.get(&place("azure-asyncoperation")).await;
        assert_eq!(
            (&status["status"], &status["provisioningState"], &status["percentComplete"]),
            (&json!("Succeeded"), &json!("Succeeded"), &json!(100))
        );
        assert!(place("location").contains(headers["x-habeas-receipt"].to_str().unwrap()));
        let (status, headers, _) = caller.send("DELETE", &at("Woods", second), &[], json!(null)).await;
        assert_eq!((status.as_u16(), headers.contains_key("location")), (204, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn computes_are_records_of_machines_that_others_run() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let workspace =
            format!("{}/Microsoft.MachineLearningServices/workspaces/Forest", group(&someone.id, "Trees"));
        let version = "api-version=2018-03-01-preview";
        caller.make(&format!("{workspace}?{version}"), json!({ "location": "here" })).await;
        let at = |name: &str| format!("{workspace}/computes/{name}?{version}");
        let account = json!({ "username": "user", "password": "secret one", "publicKeyData": "public", "privateKeyData": "secret two" });
        let attached = json!({ "location": "here", "tags": { "a": "b" }, "properties": {
            "computeType": "VirtualMachine", "description": "trees", "resourceId": "/subscriptions/vm",
            "properties": { "sshPort": 22, "address": "10.0.0.1", "administratorAccount": account },
        } });
        let (status, headers, made) = caller.send("PUT", &at("Saws"), &[], attached.clone()).await;
        assert_eq!(status, 201, "{made}");
        assert!(!made.to_string().contains("secret "), "{made}");
        insta::assert_json_snapshot!("compute_attached", settled(&made, &someone));
        let operation =
            headers["azure-asyncoperation"].to_str().unwrap().strip_prefix("http://localhost").unwrap();
        assert_eq!(caller.get(operation).await["status"], "Succeeded");
        let (_, keys) = caller.call("POST", &at("Saws/listKeys"), &[], json!(null)).await;
        assert_eq!(keys, json!({ "computeType": "VirtualMachine", "administratorAccount": account_keys() }));

        let scale = json!({ "minNodeCount": 1, "maxNodeCount": 4 });
        let asked = json!({ "location": "here", "properties": { "computeType": "AmlCompute",
            "properties": { "vmSize": "small", "scaleSettings": scale, "currentNodeCount": 9 } } });
        let made = caller.make(&at("Cpus"), asked).await;
        insta::assert_json_snapshot!("compute_asked_for", settled(&made, &someone));
        for change in [
            json!({ "scaleSettings": { "maxNodeCount": 7 } }),
            json!({ "properties": { "scaleSettings": { "maxNodeCount": 7 } } }),
        ] {
            let (status, changed) =
                caller.call("PATCH", &at("Cpus"), &[], json!({ "properties": change })).await;
            assert_eq!(status, 200, "{changed}");
            assert_eq!(changed["properties"]["properties"]["scaleSettings"]["maxNodeCount"], 7);
        }
        let (_, nodes) = caller.call("POST", &at("Cpus/listNodes"), &[], json!(null)).await;
        assert_eq!(nodes, json!({ "computeType": "AmlCompute", "nodes": [] }));
        let instance = json!({ "location": "here", "properties": { "computeType": "ComputeInstance", "properties": { "vmSize": "x" } } });
        caller.make(&at("Desk"), instance).await;
        for (action, state) in [("start", "Running"), ("stop", "Stopped"), ("restart", "Running")] {
            let (status, _) = caller.call("POST", &at(&format!("Desk/{action}")), &[], json!(null)).await;
            assert_eq!(status, 200);
            assert_eq!(caller.get(&at("Desk")).await["properties"]["properties"]["state"], state);
        }
        assert_eq!(caller.call("POST", &at("Saws/start"), &[], json!(null)).await.0, 409);
        let (status, headers, _) = caller.send("POST", &at("Saws"), &[], json!(null)).await;
        assert_eq!(status, 202);
        let result = headers["location"].to_str().unwrap().strip_prefix("http://localhost").unwrap();
        assert_eq!(caller.call("GET", result, &[], json!(null)).await.0, 200);
        let list = format!("{workspace}/computes?{version}");
        assert_eq!(names(&caller.get(&list).await), ["Saws", "Cpus", "Desk"]);
        for (body, told) in [
            (json!({ "properties": {} }), "`properties.computeType` is missing"),
            (json!({ "properties": { "computeType": "Other" } }), "`properties.computeType`"),
            (
                json!({ "properties": { "computeType": "AKS", "properties": { "sslConfiguration": { "key": 1 } } } }),
                "sslConfiguration.key",
            ),
            (
                json!({ "properties": { "computeType": "AmlCompute", "properties": { "scaleSettings": { "minNodeCount": 2, "maxNodeCount": 1 } } } }),
                "minNodeCount",
            ),
        ] {
            let mut body = body;
            body["location"] = json!("x");
            let (status, answer) = caller.call("PUT", &at("New"), &[], body).await;
            assert_eq!(status, 400, "{answer}");
            assert!(answer["error"]["message"].as_str().unwrap().contains(told), "{answer}");
        }
        let other = json!({ "location": "x", "properties": { "computeType": "AKS" } });
        assert_eq!(caller.call("PUT", &at("Saws"), &[], other).await.0, 409);

        // Detached, one; the others go with the workspace.
        let detach = format!("{}&underlyingResourceAction=Detach", at("Saws"));
        let (status, headers, _) = caller.send("DELETE", &detach, &[], json!(null)).await;
        assert_eq!(status, 202);
        let place =
            |name: &str| headers[name].to_str().unwrap().strip_prefix("http://localhost").unwrap().to_owned();
        assert_eq!(caller.call("GET", &place("location"), &[], json!(null)).await.0, 204);
        assert_eq!(caller.get(&place("azure-asyncoperation")).await["status"], "Succeeded");
        let stranger = deployment.person("b@example.org", "B").await;
        let stranger = Caller::new(&deployment, &stranger).await;
        assert_eq!(stranger.call("GET", &place("location"), &[], json!(null)).await.0, 404);
        assert_eq!(names(&caller.get(&list).await), ["Cpus", "Desk"]);
        assert_eq!(caller.call("DELETE", &format!("{workspace}?{version}"), &[], json!(null)).await.0, 200);
        let (status, answer) = caller.call("GET", &list, &[], json!(null)).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!("ParentResourceNotFound")));
    }
}

fn account_keys() -> Value {
    json!({ "username": "user", "password": "secret one", "privateKeyData": "secret two" })
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_are_registered_and_say_what_they_do() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let caller = Caller::new(&deployment, &someone).await;
    let subscription = format!("/subscriptions/{}", someone.id);
    for (namespace, version, operation) in [
        (
            "Microsoft.MachineLearningExperimentation",
            "2017-05-01-preview",
            "accounts/workspaces/projects/delete",
        ),
        ("Microsoft.MachineLearningModelManagement", "2017-09-01-preview", "accounts/write"),
        (
            "Microsoft.MachineLearningCompute",
            "2017-06-01-preview",
            "operationalizationClusters/listKeys/action",
        ),
        ("Microsoft.MachineLearningServices", "2018-03-01-preview", "workspaces/computes/read"),
    ] {
        let (status, provider) = caller
            .call(
                "POST",
                &format!("{subscription}/providers/{namespace}/register?api-version={version}"),
                &[],
                json!(null),
            )
            .await;
        assert_eq!((status.as_u16(), &provider["registrationState"]), (200, &json!("Registered")));
        assert_eq!(
            caller.get(&format!("{subscription}/providers/{namespace}?api-version={version}")).await,
            provider
        );
        let operations =
            caller.get(&format!("/providers/{namespace}/operations?api-version={version}")).await;
        assert!(names(&operations).contains(&format!("{namespace}/{operation}").as_str()), "{operations}");
        let missing = format!("{subscription}/providers/{namespace}");
        let (_, answer) = caller.call("GET", &missing, &[], json!(null)).await;
        assert_eq!(answer["error"]["code"], "MissingApiVersionParameter");
    }
    let providers = caller.get(&format!("{subscription}/providers?api-version=2021-04-01")).await;
    assert_eq!(providers["value"].as_array().unwrap().len(), 4);

    make(&caller, &someone.id).await;
    let check = format!(
        "{subscription}/providers/Microsoft.MachineLearningExperimentation/checkNameAvailability?{PREVIEW}"
    );
    for (name, reason) in
        [("Larches", json!(null)), ("forest", json!("AlreadyExists")), ("a_b", json!("Invalid"))]
    {
        let body = json!({ "name": name, "type": "Microsoft.MachineLearningExperimentation/accounts" });
        let (_, answer) = caller.call("POST", &check, &[], body).await;
        assert_eq!(
            (&answer["nameAvailable"], &answer["reason"]),
            (&json!(reason.is_null()), &reason),
            "{name}"
        );
    }
    // What there is not, and what is not done with it, in the envelope that clients read.
    for (method, path, status, code) in [
        (
            "GET",
            format!("{subscription}/resourceGroups/x/providers/Microsoft.Storage/storageAccounts"),
            404,
            "InvalidResourceType",
        ),
        ("DELETE", format!("{subscription}/providers?api-version=2021-04-01"), 405, "MethodNotAllowed"),
        (
            "GET",
            format!(
                "{subscription}/providers/Microsoft.MachineLearningCompute/operationsStatus/x?api-version=2017-08-01-preview"
            ),
            404,
            "OperationNotFound",
        ),
    ] {
        let label = [("x-ms-client-request-id", "label")];
        let (found, headers, answer) = caller.send(method, &path, &label, json!(null)).await;
        assert_eq!(
            (found, &answer["error"]["code"]),
            (StatusCode::from_u16(status).unwrap(), &json!(code)),
            "{path}"
        );
        assert_eq!(headers["x-ms-client-request-id"], "label");
        assert!(headers.contains_key("x-ms-request-id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_told_to_whoever_asked_for_it_and_to_nobody_else() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (one, other) =
            (deployment.person("a@example.org", "A").await, deployment.person("b@example.org", "B").await);
        let (caller, stranger) =
            (Caller::new(&deployment, &one).await, Caller::new(&deployment, &other).await);
        let [account, ..] = make(&caller, &one.id).await;
        let (status, headers, _) =
            caller.send("DELETE", &format!("{account}?{PREVIEW}"), &[], json!(null)).await;
        assert_eq!(status, 200);
        let receipt = headers["x-habeas-receipt"].to_str().unwrap().to_owned();
        let erased = deployment.person("c@example.org", "C").await;
        let report = deployment.erase(&erased).await;
        let erasure = report["receipt"].as_str().unwrap_or_default().to_owned();
        assert!(!erasure.is_empty(), "{report}");
        // Each asks below a subscription of their own, which they may read.
        let path = |someone: &Someone, what: &str, operation: &str| {
            format!(
                "/subscriptions/{}/providers/Microsoft.MachineLearningExperimentation/{what}/{operation}?{PREVIEW}",
                someone.id
            )
        };
        for (what, done) in [("operationsStatus", 200), ("operationResults", 204)] {
            let (status, shown) = caller.call("GET", &path(&one, what, &receipt), &[], json!(null)).await;
            assert_eq!(status, done, "{what}: {shown}");
            for (who, whose, operation) in [(&stranger, &other, &receipt), (&caller, &one, &erasure)] {
                let (status, told) = who.call("GET", &path(whose, what, operation), &[], json!(null)).await;
                assert_eq!(
                    (status.as_u16(), &told["error"]["code"]),
                    (404, &json!("OperationNotFound")),
                    "{what}: {told}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_workspaces_are_handed_over_with_their_names() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let [one, other] = [("a@example.org", "A"), ("b@example.org", "B")];
        let (one, other) = (deployment.person(one.0, one.1).await, deployment.person(other.0, other.1).await);
        let (giver, taker) = (Caller::new(&deployment, &one).await, Caller::new(&deployment, &other).await);
        let [account, _, project] = make(&giver, &one.id).await;
        let at = |path: &str| format!("{}?{PREVIEW}", path.replace(&one.id, &other.id));
        let shown = giver.get(&format!("{account}?{PREVIEW}")).await;
        let body = json!({ "resource": shown["properties"]["accountId"], "to": other.id });
        let (status, report) = deployment.operator("POST", "/transfers", body.clone()).await;
        assert_eq!((status.as_u16(), &report["resources"]), (201, &json!(4)), "{report}");
        assert_eq!(taker.get(&at(&project)).await["name"], "Leaves");
        assert_eq!(giver.call("GET", &format!("{account}?{PREVIEW}"), &[], json!(null)).await.0, 404);
        // The name is taken there now, and free here.
        let [account, ..] = make(&giver, &one.id).await;
        let (status, _) = taker.call("PUT", &at(&account), &[], json!({})).await;
        assert_eq!(status, 200);
        let shown = giver.get(&format!("{account}?{PREVIEW}")).await;
        let body = json!({ "resource": shown["properties"]["accountId"], "to": other.id });
        let (status, answer) = deployment.operator("POST", "/transfers", body).await;
        assert_eq!(status, 409, "{answer}");
        // Whoever had it before does not take it along.
        let report = deployment.erase(&one).await;
        assert_eq!(report["status"], "completed", "{report}");
        assert_eq!(taker.get(&at(&project)).await["name"], "Leaves");
    }
}

/// What of [`plant`] is secret: it stands in no archive.
pub(crate) const SECRETS: [&str; 4] = ["storagekey", "principalsecret", "certificatekey", "machinepassword"];

/// Everything that the control plane keeps, with a marker in every field that takes one; the markers that are no secrets.
pub(crate) async fn plant(
    deployment: &Deployment,
    someone: &Someone,
    marker: &impl Fn(&str) -> String,
) -> Vec<String> {
    let caller = Caller::new(deployment, someone).await;
    let tags = |name: &str| {
        Value::Object(
            [(marker(&format!("{name}tag")), json!(marker(&format!("{name}value"))))].into_iter().collect(),
        )
    };
    let envelope = |name: &str, properties: Value| {
        let mut properties = properties;
        properties["description"] = json!(marker(&format!("{name}description")));
        properties["friendlyName"] = json!(marker(&format!("{name}friendly")));
        json!({ "location": marker(&format!("{name}region")), "tags": tags(name), "properties": properties })
    };
    let providers = group(&someone.id, &marker("azuregroup"));
    let account =
        format!("{providers}/Microsoft.MachineLearningExperimentation/accounts/{}", marker("account"));
    let workspace = format!("{account}/workspaces/{}", marker("accountworkspace"));
    let project = format!("{workspace}/projects/{}", marker("accountproject"));
    let storage = json!({ "storageAccountId": marker("storageid"), "accessKey": marker("storagekey") });
    let properties = json!({ "vsoAccountId": marker("vso"), "keyVaultId": marker("accountvault"), "seats": marker("seats"), "storageAccount": storage });
    caller.make(&format!("{account}?{PREVIEW}"), envelope("acc", properties)).await;
    caller.make(&format!("{workspace}?{PREVIEW}"), envelope("wsp", json!({}))).await;
    caller
        .make(&format!("{project}?{PREVIEW}"), envelope("prj", json!({ "gitrepo": marker("gitrepo") })))
        .await;
    let run = format!("/mlflow/v2.0{project}/api/2.0/mlflow/runs/create");
    let body = json!({ "experiment_id": "0", "run_name": marker("projectrun") });
    let (status, answer) = caller.call("POST", &run, &[("content-type", "application/json")], body).await;
    assert_eq!(status, 200, "{answer}");
    let hosting =
        format!("{providers}/Microsoft.MachineLearningModelManagement/accounts/{}", marker("hosting"));
    let mut body = envelope("hst", json!({}));
    body["sku"] = json!({ "name": "S1", "capacity": 1 });
    caller.make(&format!("{hosting}?api-version=2017-09-01-preview"), body).await;
    let cluster = format!(
        "{providers}/Microsoft.MachineLearningCompute/operationalizationClusters/{}",
        marker("cluster")
    );
    let principal = json!({ "clientId": marker("client"), "secret": marker("principalsecret") });
    let properties = json!({
        "clusterType": "ACS", "storageAccount": { "resourceId": marker("clusterstorage") },
        "containerService": { "orchestratorType": "Kubernetes", "orchestratorProperties": { "servicePrincipal": principal } },
        "globalServiceConfiguration": { "own": marker("own"), "ssl": { "cname": marker("cname"), "key": marker("certificatekey") } },
    });
    caller.make(&format!("{cluster}?api-version=2017-08-01-preview"), envelope("cls", properties)).await;
    let services = format!("{providers}/Microsoft.MachineLearningServices/workspaces/{}", marker("services"));
    let version = "api-version=2018-03-01-preview";
    caller
        .make(
            &format!("{services}?{version}"),
            envelope("srv", json!({ "imageBuildCompute": marker("builder") })),
        )
        .await;
    let machine = json!({ "username": marker("machineuser"), "password": marker("machinepassword") });
    let properties = json!({ "computeType": "VirtualMachine", "resourceId": marker("machine"), "computeLocation": marker("machineplace"),
        "properties": { "address": marker("address"), "administratorAccount": machine } });
    caller
        .make(&format!("{services}/computes/{}?{version}", marker("compute")), envelope("cmp", properties))
        .await;
    let mut markers: Vec<String> = [
        "azuregroup",
        "account",
        "accountworkspace",
        "accountproject",
        "storageid",
        "vso",
        "accountvault",
        "seats",
        "gitrepo",
        "projectrun",
        "hosting",
        "cluster",
        "client",
        "clusterstorage",
        "own",
        "cname",
        "services",
        "builder",
        "machineuser",
        "machine",
        "machineplace",
        "address",
        "compute",
    ]
    .map(marker)
    .into();
    for name in ["acc", "wsp", "prj", "hst", "cls", "srv", "cmp"] {
        markers.extend(
            ["tag", "value", "region", "description", "friendly"]
                .map(|field| marker(&format!("{name}{field}"))),
        );
    }
    markers
}
