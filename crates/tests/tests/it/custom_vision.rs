//! Custom Vision's data operations through the wire, on both engines. The real clients' walk is in `clients/`.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::deployment::{Deployment, engines, image};

#[tokio::test(flavor = "multi_thread")]
async fn a_project_from_its_creation_to_its_end() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let red = deployment.tag(&someone, &project, "red").await;
        let blue = deployment.tag(&someone, &project, "blue").await;
        let first = deployment.image(&someone, &project, "1.jpg", &image(1), &[&red]).await;
        let second = deployment.image(&someone, &project, "2.jpg", &image(2), &[]).await;
        let again = deployment.image(&someone, &project, "1.jpg", &image(1), &[&blue]).await;
        assert_eq!(first, again, "the same bytes are one image");
        let at = |path: &str| format!("/projects/{project}{path}");
        let get = async |path: &str| deployment.train("GET", &someone.key, &at(path), None).await.1;
        assert_eq!(get("/images/count").await, json!(2));
        assert_eq!(get("/images/tagged/count").await, json!(1));
        assert_eq!(get(&format!("/images?tagIds={blue}")).await[0]["id"], first.as_str());
        assert_eq!(get("/images/untagged").await[0]["id"], second.as_str());
        assert_eq!(get("/images?orderBy=Oldest&take=1").await[0]["id"], first.as_str());
        assert_eq!(get("/images?orderBy=Oldest&take=1&skip=1").await[0]["id"], second.as_str());
        assert_eq!(get(&format!("/tags/{red}")).await["imageCount"], json!(1));
        let path = at(&format!("/images/metadata?imageIds={second}"));
        assert_eq!(
            deployment.train("POST", &someone.key, &path, Some(json!({ "who": "it's me" }))).await.0,
            200
        );
        assert_eq!(
            get("/images?$filter=metadata%3Dwho%20eq%20%27it%27%27s%20me%27").await[0]["id"],
            second.as_str()
        );
        let region = json!({ "regions": [{ "imageId": second, "tagId": red, "left": 0.1, "top": 0.1, "width": 0.5, "height": 0.5 }] });
        let (_, made) =
            deployment.train("POST", &someone.key, &at("/images/regions"), Some(region.clone())).await;
        let region_id = made["created"][0]["regionId"].as_str().unwrap().to_owned();
        assert_eq!(deployment.train("POST", &someone.key, &at("/images/regions"), Some(region)).await.1["duplicated"].as_array().unwrap().len(), 1);
        assert_eq!(
            deployment
                .train("DELETE", &someone.key, &at(&format!("/images/regions?regionIds={region_id}")), None)
                .await
                .0,
            204
        );
        assert_eq!(get("/images/untagged").await[0]["id"], second.as_str());

        let shown = get(&format!("/images/id?imageIds={first}")).await;
        let uri =
            shown[0]["originalImageUri"].as_str().unwrap().split_once("localhost").unwrap().1.to_owned();
        let fetch = async |uri: &str| deployment.send(Request::get(uri).body(Body::empty()).unwrap()).await;
        assert_eq!(fetch(&uri).await, (axum::http::StatusCode::OK, image(1)));
        assert_eq!(fetch(&uri.replace("sig=", "sig=0")).await.0, 404);
        assert_eq!(
            deployment.train("DELETE", &someone.key, &at(&format!("/images?imageIds={first}")), None).await.0,
            204
        );
        assert_eq!(fetch(&uri).await.0, 404);
        assert_eq!(
            deployment
                .train("DELETE", &someone.key, &at("/images?allImages=true&allIterations=true"), None)
                .await
                .0,
            202
        );
        assert_eq!(get("/images/count").await, json!(0));
        assert_eq!(deployment.train("DELETE", &someone.key, &at(&format!("/tags/{red}")), None).await.0, 204);
        assert_eq!(deployment.train("DELETE", &someone.key, &at(""), None).await.0, 204);
        assert_eq!(deployment.train("GET", &someone.key, &at(""), None).await.0, 404);
        let id: habeas_core::Id = project.parse().unwrap();
        let keys = deployment
            .server()
            .app()
            .store()
            .with_keyring(move |keyring| Ok(keyring.generations(id)))
            .await
            .unwrap();
        assert!(keys.is_empty(), "the project's key is still there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn account_info_in_the_shapes_of_old_and_new_clients() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "Ada").await;
    deployment.project(&someone, "p").await;
    let get = async |version: &str| {
        let request = Request::get(format!("/CustomVision/{version}/Training/account"))
            .header("Training-Key", &someone.key)
            .body(Body::empty())
            .unwrap();
        let (status, bytes) = deployment.send(request).await;
        assert_eq!(status, 200);
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
    };
    let old = get("v1.2").await;
    assert_eq!(old["UserName"], "Ada");
    assert_eq!(old["Keys"]["TrainingKeys"]["PrimaryKey"], someone.key.as_str());
    assert_eq!(old["Quotas"]["PerProject"][0]["Images"]["Used"], 0);
    assert_eq!(get("v3.3").await["keys"]["trainingKeys"]["primaryKey"], someone.key.as_str());
}
