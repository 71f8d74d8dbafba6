//! Azure's control plane where its clients send back what they were shown, or ask elsewhere than where they wrote: resource groups,
//! settings of workspaces, references, computes as `azureml-core` reads them. By plain HTTP.

use habeas_core::kinds::ExperimentationAccount;
use serde_json::{Value, json};

use crate::arm::{Caller, names};
use crate::control_plane::{PREVIEW, experimentation, group, make};
use crate::deployment::{Deployment, engines};

fn workspace(someone: &str, name: &str) -> String {
    format!("{}/Microsoft.MachineLearningServices/workspaces/{name}", group(someone, "Trees"))
}

#[tokio::test(flavor = "multi_thread")]
async fn computes_are_read_where_azureml_core_looks_for_them() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let (scope, version) = (workspace(&someone.id, "Forest"), "api-version=2020-02-02");
        caller.make(&format!("{scope}?{version}"), json!({ "location": "here" })).await;
        // What the client cannot do without, though nobody said it.
        let nodes = json!({ "scaleSettings": { "maxNodeCount": 4 } });
        for (name, sort, settings, expected) in [
            ("Cpus", "AmlCompute", nodes, &["vmSize", "vmPriority", "scaleSettings", "subnet"][..]),
            (
                "Desk",
                "ComputeInstance",
                json!({}),
                &["vmSize", "sshSettings", "createdBy", "errors", "subnet"][..],
            ),
            (
                "Pods",
                "AKS",
                json!({ "agentCount": 3 }),
                &["agentVmSize", "clusterPurpose", "systemServices"][..],
            ),
            ("Saws", "VirtualMachine", json!({ "address": "10.0.0.1" }), &["address"][..]),
        ] {
            let path = format!("{scope}/computes/{name}?{version}");
            let body =
                json!({ "location": "here", "properties": { "computeType": sort, "properties": settings } });
            caller.make(&path, body).await;
            let shown = caller.get(&path).await;
            let properties = &shown["properties"];
            assert_eq!(properties["provisioningErrors"], json!([]), "{shown}");
            let settings = properties["properties"].as_object().unwrap();
            assert!(expected.iter().all(|name| settings.contains_key(*name)), "{shown}");
            assert_eq!(caller.get(&format!("/rp/workspaces{path}")).await, shown);
            // What is shown can be sent back.
            let (status, again) = caller.call("PUT", &path, &[], shown.clone()).await;
            assert_eq!(status, 200, "{again}");
            assert!(
                again["properties"]["properties"].as_object().unwrap().keys().eq(settings.keys()),
                "{again}"
            );
        }
        let cpus = caller.get(&format!("{scope}/computes/cpus?{version}")).await;
        let scale = json!({ "maxNodeCount": 4, "minNodeCount": null, "nodeIdleTimeBeforeScaleDown": null });
        assert_eq!(cpus["properties"]["properties"]["scaleSettings"], scale);
        let list = format!("/rp/workspaces{scope}/computes?{version}");
        assert_eq!(names(&caller.get(&list).await), ["Cpus", "Desk", "Pods", "Saws"]);
        let missing = format!("/rp/workspaces{scope}/computes/None?{version}");
        let (status, answer) = caller.call("GET", &missing, &[], json!(null)).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!("ResourceNotFound")));
        let stranger = deployment.person("b@example.org", "B").await;
        let stranger = Caller::new(&deployment, &stranger).await;
        assert_eq!(stranger.call("GET", &list, &[], json!(null)).await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_sent_back_as_it_was_shown_keeps_its_key() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let [account, ..] = make(&caller, &someone.id).await;
        let at = format!("{account}?{PREVIEW}");
        let id: habeas_core::Id =
            caller.get(&at).await["properties"]["accountId"].as_str().unwrap().parse().unwrap();
        let key = async || {
            let store = deployment.server().app().store();
            let node = store.read(move |tx| tx.get::<ExperimentationAccount>(id)).await.unwrap();
            node.unwrap().doc.storage_key.unwrap()
        };
        let mut shown = caller.get(&at).await;
        assert_eq!(shown["properties"]["storageAccount"]["accessKey"], "");
        shown["properties"]["description"] = json!("all trees");
        let (status, changed) = caller.call("PUT", &at, &[], shown.clone()).await;
        assert_eq!((status.as_u16(), &changed["properties"]["description"]), (200, &json!("all trees")));
        assert_eq!(key().await, "a key");
        let empty = json!({ "properties": { "storageAccountKey": "" } });
        assert_eq!(caller.call("PATCH", &at, &[], empty).await.0, 200);
        assert_eq!(key().await, "a key");
        shown["properties"]["storageAccount"]["accessKey"] = json!("another");
        assert_eq!(caller.call("PUT", &at, &[], shown.clone()).await.0, 200);
        assert_eq!(key().await, "another");

        // A new one needs a key, and what an account was made with stays.
        let [(_, mut whole), ..] = experimentation(&someone.id);
        whole["properties"]["storageAccount"]["accessKey"] = json!("");
        let (status, answer) = caller.call("PUT", &at.replace("Forest", "Larches"), &[], whole).await;
        assert_eq!(status, 400, "{answer}");
        for (pointer, name) in [
            ("/properties/vsoAccountId", "vsoAccountId"),
            ("/properties/keyVaultId", "keyVaultId"),
            ("/properties/storageAccount/storageAccountId", "storageAccountId"),
        ] {
            let mut other = shown.clone();
            *other.pointer_mut(pointer).unwrap() = json!("/subscriptions/other");
            let (status, answer) = caller.call("PUT", &at, &[], other).await;
            assert_eq!(
                (status.as_u16(), &answer["error"]["code"]),
                (400, &json!("PropertyChangeNotAllowed"))
            );
            assert!(answer["error"]["message"].as_str().unwrap().contains(name), "{answer}");
        }
        shown["properties"]["keyVaultId"] = json!("/SUBSCRIPTIONS/K");
        let (status, kept) = caller.call("PUT", &at, &[], shown).await;
        assert_eq!((status.as_u16(), &kept["properties"]["keyVaultId"]), (200, &json!("/subscriptions/k")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_group_can_be_made_and_is_there_with_its_first_resource() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let groups = format!("/subscriptions/{}/resourceGroups", someone.id);
        let at = |name: &str| format!("{groups}/{name}?api-version=2021-04-01");
        let body = json!({ "location": "here", "tags": { "creationSource": "azureml-sdk" } });
        let (status, made) = caller.call("PUT", &at("Trees"), &[], body.clone()).await;
        let shape = json!({ "id": format!("{groups}/Trees"), "name": "Trees", "location": "here",
            "type": "Microsoft.Resources/resourceGroups", "properties": { "provisioningState": "Succeeded" } });
        assert_eq!((status.as_u16(), made), (201, shape.clone()));
        assert_eq!(caller.call("GET", &at("Trees"), &[], json!(null)).await.0, 404);
        let scope = workspace(&someone.id, "Forest");
        caller.make(&format!("{scope}?api-version=2020-08-01"), json!({ "location": "here" })).await;
        let mut elsewhere = body.clone();
        elsewhere["location"] = json!("elsewhere");
        let (status, there) = caller.call("PUT", &at("TREES"), &[], elsewhere).await;
        assert_eq!((status.as_u16(), there), (200, shape.clone()));
        assert_eq!(caller.get(&at("Trees")).await, shape);

        for (name, body, code) in [
            ("Stones", json!({}), "LocationRequired"),
            ("Stones", json!(null), "InvalidRequestContent"),
            ("a%20b", body.clone(), "InvalidResourceName"),
        ] {
            let (status, answer) = caller.call("PUT", &at(name), &[], body).await;
            assert_eq!((status.as_u16(), &answer["error"]["code"]), (400, &json!(code)), "{answer}");
        }
        let other = deployment.person("b@example.org", "B").await;
        let stranger = Caller::new(&deployment, &other).await;
        let (status, answer) = stranger.call("PUT", &at("Trees"), &[], body).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!("SubscriptionNotFound")));

        // A name is looked for in all groups, since none is named; something new needs a name of its own in its group only.
        let check = format!(
            "/subscriptions/{}/providers/Microsoft.MachineLearningServices/checkNameAvailability?api-version=2020-08-01",
            someone.id
        );
        let asked = json!({ "name": "forest", "type": "workspaces" });
        let (_, answer) = caller.call("POST", &check, &[], asked).await;
        assert_eq!(answer["reason"], "AlreadyExists", "{answer}");
        let elsewhere = scope.replace("Trees", "Stones");
        caller.make(&format!("{elsewhere}?api-version=2020-08-01"), json!({ "location": "here" })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_workspace_are_given_back_or_refused() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let at = format!("{}?api-version=2022-05-01", workspace(&someone.id, "Forest"));
        let settings = json!({
            "hbiWorkspace": true, "allowPublicAccessWhenBehindVnet": false, "v1LegacyMode": true,
            "imageBuildCompute": "cpus", "primaryUserAssignedIdentity": "/subscriptions/one",
            "systemDatastoresAuthMode": "identity",
            "serviceManagedResourcesSettings": { "cosmosDb": { "collectionsThroughput": 400 } },
        });
        let mut properties = settings.clone();
        properties["keyVault"] = json!("/subscriptions/k");
        properties["encryption"] = json!({ "status": "Disabled" });
        let identity = json!({ "type": "SystemAssigned,UserAssigned", "userAssignedIdentities": { "/subscriptions/one": {} } });
        let body = json!({ "location": "here", "sku": { "name": "Enterprise" }, "identity": identity, "properties": properties });
        let made = caller.make(&at, body).await;
        let id = &made["properties"]["workspaceId"];
        let holds = |shown: &Value, expected: &Value| {
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(shown["properties"][name], *value, "{name}: {shown}");
            }
        };
        holds(&made, &settings);
        assert_eq!(made["sku"], json!({ "name": "Enterprise", "tier": "Enterprise" }));
        let identity = json!({ "type": "SystemAssigned,UserAssigned", "principalId": id,
            "tenantId": "00000000-0000-0000-0000-000000000000", "userAssignedIdentities": { "/subscriptions/one": {} } });
        assert_eq!(made["identity"], identity);
        assert_eq!(caller.get(&at).await, made);
        // What is shown can be sent back.
        let (status, again) = caller.call("PUT", &at, &[], made.clone()).await;
        assert_eq!(
            (status.as_u16(), &again["properties"], &again["identity"]),
            (200, &made["properties"], &identity)
        );

        // Changed in part.
        let change = json!({
            "sku": { "name": "Basic", "tier": "Basic" },
            "identity": { "type": "UserAssigned", "userAssignedIdentities": { "/subscriptions/two": {} } },
            "properties": { "imageBuildCompute": "gpus", "v1LegacyMode": false, "containerRegistry": "/subscriptions/r" },
        });
        let (status, changed) = caller.call("PATCH", &at, &[], change).await;
        assert_eq!(status, 200, "{changed}");
        let expected = json!({ "imageBuildCompute": "gpus", "v1LegacyMode": false, "hbiWorkspace": true,
            "containerRegistry": "/subscriptions/r", "keyVault": "/subscriptions/k" });
        holds(&changed, &expected);
        assert_eq!(changed["sku"], json!({ "name": "Basic", "tier": "Basic" }));
        let both = json!({ "/subscriptions/one": {}, "/subscriptions/two": {} });
        assert_eq!(changed["identity"], json!({ "type": "UserAssigned", "userAssignedIdentities": both }));
        // `azureml-core` replaces the registry, and nothing else that a workspace was made with.
        let (status, changed) = caller
            .call("PATCH", &at, &[], json!({ "properties": { "containerRegistry": "/subscriptions/other" } }))
            .await;
        assert_eq!(status, 200, "{changed}");
        holds(&changed, &json!({ "containerRegistry": "/subscriptions/other" }));

        let own = json!({ "status": "Enabled", "keyVaultProperties": { "keyVaultArmId": "k", "keyIdentifier": "i" } });
        for (change, code, told) in [
            (
                json!({ "properties": { "keyVault": "/subscriptions/other" } }),
                "PropertyChangeNotAllowed",
                "`keyVault`",
            ),
            (
                json!({ "properties": { "encryption": own } }),
                "InvalidRequestContent",
                "`properties.encryption`",
            ),
            (
                json!({ "properties": { "encryption": { "keyVaultProperties": {} } } }),
                "InvalidRequestContent",
                "encryption",
            ),
            (
                json!({ "properties": { "hbiWorkspace": "yes" } }),
                "InvalidRequestContent",
                "`properties.hbiWorkspace`",
            ),
            (
                json!({ "properties": { "imageBuildCompute": 1 } }),
                "InvalidRequestContent",
                "`properties.imageBuildCompute`",
            ),
            (json!({ "identity": { "type": "Other" } }), "InvalidRequestContent", "`identity.type`"),
            (json!({ "sku": "Basic" }), "InvalidRequestContent", "`sku`"),
        ] {
            for method in ["PATCH", "PUT"] {
                let (status, answer) = caller.call(method, &at, &[], change.clone()).await;
                assert_eq!((status.as_u16(), &answer["error"]["code"]), (400, &json!(code)), "{answer}");
                assert!(answer["error"]["message"].as_str().unwrap().contains(told), "{answer}");
            }
        }
        let shown = caller.get(&at).await;
        holds(&shown, &json!({ "keyVault": "/subscriptions/k", "hbiWorkspace": true }));
        // The person has them in their archive.
        let archive = deployment.content(&someone).await;
        let file = archive.iter().find(|(path, _)| path.starts_with("tracking/workspaces/")).unwrap();
        assert!(String::from_utf8_lossy(&file.1).contains("gpus"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_are_found_among_all_resources_of_a_subscription() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        make(&caller, &someone.id).await;
        for scope in ["Forest", "Heath", "Marsh"].map(|name| workspace(&someone.id, name)) {
            let body = json!({ "location": "here", "tags": { "a": "b" } });
            caller.make(&format!("{scope}?api-version=2020-08-01"), body).await;
        }
        let elsewhere = workspace(&someone.id, "Dune").replace("Trees", "Stones");
        caller.make(&format!("{elsewhere}?api-version=2020-08-01"), json!({ "location": "here" })).await;
        // As `Workspace.list` asks, by way of `azure-mgmt-resource` 24.
        let at =
            |filter: &str| format!("/subscriptions/{}/resources?{filter}api-version=2025-04-01", someone.id);
        let workspaces = "$filter=resourceType%20eq%20%27Microsoft.MachineLearningServices%2Fworkspaces%27";
        let found = caller.get(&at(&format!("{workspaces}&"))).await;
        assert_eq!(names(&found), ["Forest", "Heath", "Marsh", "Dune"]);
        assert_eq!(found.get("nextLink"), None);
        let shape = json!({ "id": workspace(&someone.id, "Forest"), "name": "Forest", "location": "here",
            "type": "Microsoft.MachineLearningServices/workspaces", "tags": { "a": "b" } });
        assert_eq!(found["value"][0], shape);
        let in_group = format!("{workspaces}%20and%20resourceGroup%20eq%20%27STONES%27&");
        assert_eq!(names(&caller.get(&at(&in_group)).await), ["Dune"]);
        let accounts =
            "$filter=resourceType eq 'microsoft.machinelearningexperimentation/accounts'&".replace(' ', "+");
        assert_eq!(names(&caller.get(&at(&accounts)).await), ["Forest"]);
        assert_eq!(names(&caller.get(&at("")).await), ["Forest", "Forest", "Heath", "Marsh", "Dune"]);
        let other = "$filter=resourceType%20eq%20%27Microsoft.Storage%2FstorageAccounts%27&";
        assert!(names(&caller.get(&at(other)).await).is_empty());

        // A page at a time, each with what is looked for.
        let (mut next, mut seen) = (at(&format!("{workspaces}&$top=3&")), Vec::new());
        loop {
            let page = caller.get(&next).await;
            seen.push(names(&page).len());
            match page.get("nextLink") {
                Some(link) => {
                    next = link.as_str().unwrap().strip_prefix("http://localhost").unwrap().to_owned();
                }
                None => break,
            }
        }
        assert_eq!(seen, [3, 1]);
        for wrong in ["$filter=name%20eq%20%27a%27&", "$filter=x&"] {
            let (status, answer) = caller.call("GET", &at(wrong), &[], json!(null)).await;
            assert_eq!(
                (status.as_u16(), &answer["error"]["code"]),
                (400, &json!("InvalidFilterInQueryString"))
            );
        }
        let stranger = deployment.person("b@example.org", "B").await;
        let stranger = Caller::new(&deployment, &stranger).await;
        assert_eq!(stranger.call("GET", &at(""), &[], json!(null)).await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_versions_that_the_newest_clients_ask_in_are_answered() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let subscription = format!("/subscriptions/{}", someone.id);
        let scope = workspace(&someone.id, "Forest");
        caller.make(&format!("{scope}?api-version=2020-04-01-preview"), json!({ "location": "here" })).await;
        let status = async |method: &str, path: &str, version: &str, body: Value| {
            let path = format!("{path}?api-version={version}");
            caller.call(method, &path, &[], body).await.0.as_u16()
        };
        // `Workspace.sync_keys`.
        assert_eq!(status("POST", &format!("{scope}/resynckeys"), "2021-04-01", json!(null)).await, 200);
        let group = format!("{subscription}/resourcegroups/Trees");
        assert_eq!(
            status("GET", &format!("{subscription}/resourcegroups"), "2025-04-01", json!(null)).await,
            200
        );
        assert_eq!(status("PUT", &group, "2025-04-01", json!({ "location": "here" })).await, 200);
        // `resource_groups.check_existence` takes nothing else.
        assert_eq!(status("HEAD", &group, "2025-04-01", json!(null)).await, 204);
        let missing = format!("{subscription}/resourcegroups/Stones");
        assert_eq!(status("HEAD", &missing, "2025-04-01", json!(null)).await, 404);
        // About a provider in the versions of the control plane, and about what it has in its own only.
        let provider = format!("{subscription}/providers/Microsoft.MachineLearningServices");
        for version in ["2016-09-01", "2018-02-01", "2021-04-01", "2025-04-01", "2020-08-01"] {
            assert_eq!(status("GET", &provider, version, json!(null)).await, 200, "{version}");
            let register = format!("{provider}/register");
            assert_eq!(status("POST", &register, version, json!(null)).await, 200, "{version}");
        }
        for version in ["2016-09-01", "2025-04-01"] {
            let list = format!("{provider}/workspaces");
            assert_eq!(status("GET", &list, version, json!(null)).await, 400, "{version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compute_instance_is_asked_for_by_a_size_and_a_name_that_are_looked_up_first() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let (scope, version) = (workspace(&someone.id, "Forest"), "api-version=2020-02-02");
        caller.make(&format!("{scope}?{version}"), json!({ "location": "here" })).await;
        let sizes = format!(
            "/subscriptions/{}/providers/Microsoft.MachineLearningServices/locations/here/vmSizes?{version}",
            someone.id
        );
        let sizes = caller.get(&sizes).await;
        let listed = sizes["amlCompute"].as_array().unwrap();
        assert_eq!(sizes["amlCompute"], sizes["value"]);
        for size in listed {
            for name in ["name", "family", "vCPUs", "gpus", "memoryGB", "maxResourceVolumeMB"] {
                assert!(size.get(name).is_some_and(|value| !value.is_null()), "{name}: {size}");
            }
        }
        let small = listed.iter().find(|size| size["name"] == "Standard_D2_v2").unwrap();
        assert_eq!(
            (&small["vCPUs"], &small["gpus"], &small["memoryGB"], &small["maxResourceVolumeMB"]),
            (&json!(2), &json!(0), &json!(7.0), &json!(102_400))
        );
        let check = async |name: &str| {
            let body = json!({ "Name": name, "Type": "Microsoft.BatchAI/DataScienceInstance" });
            let path = format!("{scope}/checkComputeNameAvailability?{version}");
            let (status, answer) = caller.call("POST", &path, &[], body).await;
            assert_eq!(status, 200, "{answer}");
            answer
        };
        assert_eq!(check("Desk").await, json!({ "nameAvailable": true }));
        let body = json!({ "location": "here", "properties": { "computeType": "ComputeInstance",
            "properties": { "vmSize": "STANDARD_D2_V2", "sshSettings": { "sshPublicAccess": "Disabled" } } } });
        caller.make(&format!("{scope}/computes/Desk?{version}"), body).await;
        assert_eq!(check("desk").await["reason"], "AlreadyExists");
        assert_eq!(check("a/b").await["reason"], "Invalid");
        let path = format!("{scope}/checkComputeNameAvailability?{version}");
        assert_eq!(caller.call("POST", &path, &[], json!({})).await.0, 400);
    }
}
