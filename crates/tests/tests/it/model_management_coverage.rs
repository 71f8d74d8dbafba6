//! Every operation of model management for every caller: anonymous, another person, a privacy officer, the owner.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines};
use crate::model_management::Manager;
use crate::operations::assert_all_called;

/// Every operation of one form, with what the owner's world has; the last ones put it away.
fn operations(form: &Manager<'_>, world: &World) -> Vec<(&'static str, String, Value, u16)> {
    let World { model, asset, manifest, image, service } = world;
    let runtime = json!({ "runtimeType": "Python" });
    let entry = |method: &'static str, path: String, body: Value, status: u16| (method, path, body, status);
    let get = |path: String| entry("GET", path, json!(null), 200);
    let delete = |path: String| entry("DELETE", path, json!(null), 200);
    let empty = json!([]);
    let is_hosting = form.version.is_some();
    let new_image = if is_hosting {
        json!({ "name": "j", "manifestId": manifest, "imageType": "Docker" })
    } else {
        json!({ "name": "j", "driverProgram": "d", "targetRuntime": runtime })
    };
    let mut operations = vec![
        get("/swagger.json".into()),
        get("/models".into()),
        entry("POST", "/models".into(), json!({ "name": "n", "url": "u", "mimeType": "m" }), 200),
        entry("POST", "/models/list".into(), json!({}), 200),
        get(format!("/models/{model}")),
        entry("PATCH", format!("/models/{model}"), empty.clone(), 200),
        get(format!("/models/{model}/content")),
        entry("POST", format!("/models/{model}/optimize"), json!(null), 501),
        entry("GET", format!("/models/{model}/optimize/x"), json!(null), 501),
        get("/assets".into()),
        entry("POST", "/assets".into(), json!({ "name": "n" }), 200),
        get(format!("/assets/{asset}")),
        entry("PATCH", format!("/assets/{asset}"), empty.clone(), 200),
        get("/images".into()),
        entry("POST", "/images".into(), new_image, 202),
        get(format!("/images/{image}")),
        entry("PATCH", format!("/images/{image}"), empty.clone(), 200),
        entry("POST", format!("/images/{image}/profiles"), json!(null), 501),
        entry("GET", format!("/images/{image}/profiles"), json!(null), 501),
        entry("GET", format!("/images/{image}/profiles/x"), json!(null), 501),
        entry("POST", "/packages".into(), json!(null), 501),
        get("/services".into()),
        entry("POST", "/services/list".into(), json!({}), 200),
        entry(
            "POST",
            "/services".into(),
            json!({ "name": "u", "imageId": image, "computeResource": {} }),
            202,
        ),
        entry(
            "PUT",
            "/services".into(),
            json!({ "name": "t", "modelId": model, "imageId": image, "computeResource": {} }),
            202,
        ),
        get(format!("/services/{service}")),
        entry("PUT", format!("/services/{service}"), json!({}), 202),
        entry("PATCH", format!("/services/{service}"), empty.clone(), 200),
        get(format!("/services/{service}/keys")),
        entry("POST", format!("/services/{service}/listkeys"), json!(null), 200),
        entry(
            "POST",
            format!("/services/{service}/regenerateKeys"),
            json!(null),
            if is_hosting { 200 } else { 202 },
        ),
        // It is asked by its keys.
        entry("POST", format!("/services/{service}/token"), json!(null), 409),
        get(format!("/services/{service}/logs")),
        // Of a service that is gone.
        get("/operations/delete-service-0190b3a4-5c6d-7e8f-9012-3456789abcde".into()),
    ];
    if is_hosting {
        operations.extend([
            get("/manifests".into()),
            entry(
                "POST",
                "/manifests".into(),
                json!({ "name": "n", "driverProgram": "d", "targetRuntime": runtime }),
                200,
            ),
            get(format!("/manifests/{manifest}")),
            get("/deployments".into()),
            get(format!("/deployments/{service}")),
        ]);
    }
    operations.extend([
        delete(format!("/assets/{asset}")),
        delete(format!("/services/{service}")),
        delete(format!("/images/{image}?cascade=true")),
    ]);
    if is_hosting {
        operations.push(delete(format!("/manifests/{manifest}?cascade=true")));
    }
    operations.push(delete(format!("/models/{model}?cascade=true")));
    operations
}

/// What the operations are tried on.
struct World {
    model: String,
    asset: String,
    /// Of hosting accounts only; empty elsewhere.
    manifest: String,
    image: String,
    service: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_model_management_refuses_strangers() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let other = deployment.person("other@example.org", "Other").await;
        let officer = deployment.person("officer@example.org", "Officer").await;
        let role = json!({ "role": "privacyOfficer", "granted": true });
        assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", officer.id), role).await.0, 204);
        // A model whose content is here.
        let folder = crate::mlflow::small(&deployment, &owner).await;
        let url = format!("runs:/{}/model.bin", folder.split('/').nth(1).unwrap());
        let hosting = Manager::of_account(&deployment, &owner, "mma", "2017-09-01-preview").await;
        let workspace = Manager::of_workspace(&deployment, &owner, "Forest").await;
        for mut manager in [hosting, workspace] {
            let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
            let model =
                manager.ok("POST", "/models", json!({ "name": "m", "url": url, "mimeType": "x" })).await;
            let runtime = json!({ "runtimeType": "Python" });
            let asset = id(&manager.ok("POST", "/assets", json!({ "name": "a" })).await);
            let (manifest, image) = if manager.version.is_some() {
                let manifest = json!({ "name": "m", "modelIds": [model["id"]], "driverProgram": "d", "targetRuntime": runtime });
                let manifest = id(&manager.ok("POST", "/manifests", manifest).await);
                let image = json!({ "name": "i", "manifestId": manifest, "imageType": "Docker" });
                (manifest, image)
            } else {
                let image = json!({ "name": "i", "driverProgram": "d", "modelIds": [model["id"]], "targetRuntime": runtime });
                (String::new(), image)
            };
            let image = manager.waited("POST", "/images", image).await;
            let service = json!({ "name": "s", "imageId": image, "computeResource": {} });
            let service = manager.waited("POST", "/services", service).await;
            let all = operations(&manager, &World { model: id(&model), asset, manifest, image, service });
            let own = manager.token.clone();
            for someone in [&other, &officer] {
                manager.token = deployment.token(someone).await;
                for (method, path, body, _) in &all {
                    let answer = manager.call(method, path, body.clone()).await;
                    assert_eq!(
                        (answer.status, &answer.body["statusCode"]),
                        (404, &json!(404)),
                        "{method} {path}: {}",
                        answer.body
                    );
                }
            }
            for (method, path, ..) in &all {
                let request =
                    Request::builder().method(*method).uri(manager.at(path)).body(Body::empty()).unwrap();
                assert_eq!(deployment.send(request).await.0, 401, "{method} {path}");
            }
            manager.token = own;
            for (method, path, body, status) in &all {
                let answer = manager.call(method, path, body.clone()).await;
                assert_eq!(answer.status, *status, "{method} {path}: {}", answer.body);
            }
        }
        assert_all_called(&mut deployment, &owner, "model_management").await;
    }
}
