//! A hosting account goes with everything that it holds.

use std::collections::BTreeMap;

use habeas_core::receipt;
use serde_json::{Value, json};

use crate::arm::{Caller, counts};
use crate::deployment::{Deployment, engines};
use crate::model_management::Manager;

#[tokio::test(flavor = "multi_thread")]
async fn a_hosting_account_goes_with_its_models_manifests_images_and_services() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let held = async || {
            let path = format!("/persons/{}/holdings", someone.id);
            let (_, held) = deployment.operator("GET", &path, json!(null)).await;
            let items = held["items"].as_array().unwrap().clone().into_iter();
            let counted = items
                .map(|item| (item["kind"].as_str().unwrap().to_owned(), item["count"].as_i64().unwrap()));
            counted.collect::<BTreeMap<_, _>>()
        };
        let manager = Manager::of_account(&deployment, &someone, "mma", "2017-09-01-preview").await;
        let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
        let model = json!({ "name": "trees", "url": "https://store.example/m", "mimeType": "x" });
        manager.ok("POST", "/models", model.clone()).await;
        let model = id(&manager.ok("POST", "/models", model).await);
        let asset = id(&manager.ok("POST", "/assets", json!({ "name": "trees" })).await);
        let manifest = json!({ "name": "trees", "modelIds": [model], "driverProgram": "score.py",
            "targetRuntime": { "runtimeType": "Python" } });
        let manifest = id(&manager.ok("POST", "/manifests", manifest).await);
        let image = json!({ "name": "trees", "manifestId": manifest, "imageType": "Docker" });
        let image = manager.waited("POST", "/images", image).await;
        let service = json!({ "name": "trees", "imageId": image, "computeResource": {} });
        let service = manager.waited("POST", "/services", service).await;
        let keys = manager.ok("GET", &format!("/services/{service}/keys"), json!(null)).await;
        let below = [
            format!("/models/{model}"),
            format!("/assets/{asset}"),
            format!("/manifests/{manifest}"),
            format!("/images/{image}"),
            format!("/services/{service}"),
        ];
        let expected: BTreeMap<&str, i64> = BTreeMap::from([
            ("HostingAccount", 1),
            ("RegisteredModel", 1),
            ("ModelVersion", 2),
            ("ModelAsset", 1),
            ("Manifest", 1),
            ("ContainerImage", 1),
            ("Service", 1),
        ]);
        let present = held().await;
        for (kind, count) in &expected {
            assert_eq!(present[*kind], *count, "{kind}");
        }

        // Planned, nothing is done yet, and nothing stays that was made from what goes.
        let caller = Caller::new(&deployment, &someone).await;
        let account = format!(
            "/subscriptions/{}/resourceGroups/Models/providers/Microsoft.MachineLearningModelManagement/accounts/mma?api-version=2017-09-01-preview",
            someone.id
        );
        let (status, plan) = caller.call("DELETE", &format!("{account}&dryRun=true"), &[], json!(null)).await;
        assert_eq!(status, 200, "{plan}");
        assert_eq!(counts(&plan).into_iter().collect::<BTreeMap<_, _>>(), expected, "{plan}");
        assert_eq!(
            (&plan["keys"], &plan["receipt"], plan.get("tainted")),
            (&json!(1), &json!(null), None),
            "{plan}"
        );
        for path in &below {
            manager.ok("GET", path, json!(null)).await;
        }

        // Done, the receipt says the same, and nobody finds any of it.
        let (status, headers, _) = caller.send("DELETE", &account, &[], json!(null)).await;
        assert_eq!(status, 200);
        let path = format!("/receipts/{}", headers["x-habeas-receipt"].to_str().unwrap());
        let (status, kept) = deployment.call(Some(&caller.token), "GET", &path, json!(null)).await;
        assert_eq!(status, 200, "{kept}");
        let key = deployment.server().app().rights.public_key().unwrap();
        let verified = receipt::verify(kept.to_string().as_bytes(), &[key]).unwrap();
        let deleted = json!({ "deletes": verified.statement["deleted"] });
        assert_eq!(counts(&deleted).into_iter().collect::<BTreeMap<_, _>>(), expected, "{kept}");
        assert_eq!(verified.statement["keysDestroyed"], 1, "{kept}");
        for path in below.iter().map(String::as_str).chain(["/models", "/manifests", "/images", "/services"])
        {
            assert_eq!(manager.call("GET", path, json!(null)).await.status, 404, "{path}");
        }
        assert_eq!(caller.call("GET", &account, &[], json!(null)).await.0, 404);
        let left = held().await;
        for kind in expected.keys() {
            assert_eq!(left[*kind], 0, "{kind}");
        }
        let score = axum::http::Request::post(format!("/api/v1/service/{service}/score"))
            .header("authorization", format!("Bearer {}", keys["primaryKey"].as_str().unwrap()))
            .body(axum::body::Body::from("[1]"))
            .unwrap();
        assert_eq!(deployment.send(score).await.0, 401);
        assert_eq!(caller.call("DELETE", &account, &[], json!(null)).await.0, 204);
        let (_, doctor) = deployment.operator("GET", "/doctor?scan=true", json!(null)).await;
        for check in doctor["checks"].as_array().unwrap() {
            assert_eq!(check["status"], "ok", "{check}");
        }
    }
}
