//! Microsoft Graph: a user is exported to a blob or a folder, and whoever asks is told how far it has come.

use axum::http::StatusCode;
use habeas_core::fault;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};
use crate::standards::{Answer, FarEnd, call, open, until};

fn export_of(person: &Someone) -> String {
    format!("/v1.0/users/{}/exportPersonalData", person.id)
}

/// Orders an export; the path of its operation.
async fn order(deployment: &Deployment, token: &str, person: &Someone, location: &str) -> String {
    let body = json!({ "storageLocation": location }).to_string();
    let ordered = call(deployment, token, "POST", &export_of(person), &body).await;
    assert_eq!(ordered.status, 202, "{}", ordered.json);
    assert!(ordered.headers.contains_key("retry-after"));
    let address = ordered.headers["location"].to_str().unwrap();
    assert!(address.starts_with("http://localhost/v1.0/dataPolicyOperations/"), "{address}");
    address.strip_prefix("http://localhost").unwrap().to_owned()
}

async fn ended(deployment: &Deployment, token: &str, operation: &str) -> Value {
    until(deployment, token, operation, |json| json["status"] == "complete" || json["status"] == "failed")
        .await
}

fn id_of(operation: &str) -> &str {
    operation.rsplit('/').next().unwrap()
}

/// Opens a deployment with a person who has an image.
async fn someone(database: Option<String>) -> (Deployment, Someone, String) {
    let deployment = open(database).await;
    let person = deployment.person("person@example.org", "Person").await;
    let project = deployment.project(&person, "p").await;
    deployment.image(&person, &project, "a.jpg", &image(1), &[]).await;
    let officer = deployment.officer("officer").await;
    (deployment, person, officer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_exported_to_a_blob() {
    let _lock = crate::canary::alone().await;
    fault::switch_off(&["public-only"]);
    for database in engines() {
        let far = FarEnd::default();
        // The first block is refused once, and the upload begins again.
        far.refuse(StatusCode::SERVICE_UNAVAILABLE);
        let address = far.listen().await;
        let (deployment, person, officer) = someone(database).await;
        let location = format!("{address}/container/archive.zip?sig=secret");
        let operation = order(&deployment, &officer, &person, &location).await;
        let done = ended(&deployment, &officer, &operation).await;
        insta::allow_duplicates! {
            insta::assert_json_snapshot!("graph_operation", done, {
                ".id" => "[id]", ".userId" => "[id]", ".storageLocation" => "[address]",
                ".submittedDateTime" => "[time]", ".completedDateTime" => "[time]",
            });
        }
        assert_eq!((&done["id"], &done["userId"]), (&json!(id_of(&operation)), &json!(person.id)));
        assert_eq!(
            done["storageLocation"],
            format!("{address}/container/archive.zip"),
            "the permission is kept"
        );
        let received = far.received();
        let (list, blocks) = received.split_last().unwrap();
        assert_eq!(list.line, "PUT /container/archive.zip?sig=secret&comp=blocklist");
        assert_eq!(list.headers["x-ms-blob-content-type"], "application/zip");
        let archive: Vec<u8> = blocks.iter().flat_map(|block| block.body.to_vec()).collect();
        let files = crate::deployment::unzip(std::io::Cursor::new(archive));
        assert!(files.iter().any(|(name, _)| name.ends_with("/account.json")));
        for block in blocks {
            assert_eq!(block.headers["x-ms-version"], "2021-08-06");
            let id = block.line.split("blockid=").nth(1).unwrap().replace("%3D", "=");
            assert!(std::str::from_utf8(&list.body).unwrap().contains(&format!("<Latest>{id}</Latest>")));
        }

        // It was a request like any other: in the queue, with its delivery, a receipt and the person to see it.
        let own = deployment.token(&person).await;
        let native = format!("/api/privacy/v1/requests/{}", id_of(&operation));
        let request = call(&deployment, &own, "GET", &native, "").await.json;
        assert_eq!(
            (&request["type"], &request["state"], &request["channel"], &request["identityCheckedBy"]),
            (&json!("access"), &json!("completed"), &json!("protocol"), &json!("protocol")),
            "{request}"
        );
        assert!(request["receipt"].is_string(), "{request}");
        assert_eq!(request["destination"]["state"], "delivered");
        let events: Vec<&str> = request["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["event"].as_str().unwrap())
            .collect();
        assert_eq!(events.last(), Some(&"archiveSent"), "{events:?}");
        let deliveries = call(&deployment, &officer, "GET", &format!("{native}/deliveries"), "").await.json;
        assert_eq!(
            (&deliveries[0]["what"], &deliveries[0]["state"], &deliveries[0]["attempts"]),
            (&json!("archive"), &json!("delivered"), &json!(2)),
            "{deliveries}"
        );
        // Whoever asks who received their data is told (Article 15(1)(c)).
        let archive = deployment.export(&person).await;
        let (_, article) = archive.iter().find(|(name, _)| name == "article-15.json").unwrap();
        let article: Value = serde_json::from_slice(article).unwrap();
        assert_eq!(
            article["c"]["answer"]["archives"][0]["sentTo"],
            format!("{address}/container/archive.zip"),
            "{}",
            article["c"]["answer"]
        );
        let whole: Vec<u8> = archive.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert!(
            crate::scan::found(&whole, &["sig=secret".to_owned()]).is_empty(),
            "the permission is exported"
        );

        // Ordered twice at the same time, it arrives, and both say so.
        let again = format!("{address}/container/again.zip?sig=secret");
        let both = [
            order(&deployment, &officer, &person, &again).await,
            order(&deployment, &officer, &person, &again).await,
        ];
        for operation in &both {
            let done = ended(&deployment, &officer, operation).await;
            assert_eq!(
                (&done["status"], &done["id"]),
                (&json!("complete"), &json!(id_of(operation))),
                "{done}"
            );
        }

        // A permission that has run out is not tried for ever.
        far.refuse(StatusCode::FORBIDDEN);
        let operation = order(&deployment, &officer, &person, &location.replace("archive", "late")).await;
        let failed = ended(&deployment, &officer, &operation).await;
        assert_eq!(
            (&failed["status"], &failed["completedDateTime"]),
            (&json!("failed"), &json!(null)),
            "{failed}"
        );
        assert_eq!(failed["storageLocation"], format!("{address}/container/late.zip"));

        assert_eq!(deployment.erase(&person).await["status"], "completed");
        assert_eq!(call(&deployment, &officer, "GET", &operation, "").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_exported_to_a_folder_that_the_operator_allows_and_no_other() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let (deployment, person, officer) = someone(database).await;
        let folder = deployment.path("exports");
        let operation = order(&deployment, &officer, &person, &format!("file://{}", folder.display())).await;
        assert_eq!(ended(&deployment, &officer, &operation).await["status"], "complete");
        let written = std::fs::File::open(folder.join(format!("{}.zip", id_of(&operation)))).unwrap();
        assert!(!crate::deployment::unzip(written).is_empty());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "a part of it is left");

        // A link leads out of the folder.
        std::os::unix::fs::symlink("/tmp", folder.join("elsewhere")).unwrap();
        let location = format!("file://{}/elsewhere", folder.display());
        let operation = order(&deployment, &officer, &person, &location).await;
        assert_eq!(ended(&deployment, &officer, &operation).await["status"], "failed");

        let upwards = format!("file://{}/../x", folder.display());
        for location in ["file:///etc", upwards.as_str(), "ftp://example.org/", "http://127.0.0.1/x", ""] {
            let body = json!({ "storageLocation": location }).to_string();
            let refused = call(&deployment, &officer, "POST", &export_of(&person), &body).await;
            assert_eq!(
                (refused.status, &refused.json["error"]["code"]),
                (400, &json!("Request_BadRequest")),
                "{location}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_an_archive_is_left_in_a_folder() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let (mut deployment, person, officer) = someone(database).await;
        let folder = deployment.path("exports").join("late");
        let operation = order(&deployment, &officer, &person, &format!("file://{}", folder.display())).await;
        let deliveries = format!("/requests/{}/deliveries", id_of(&operation));
        // The folder is not there: it is tried again.
        let tried = async |at_least: u64| {
            loop {
                let (_, all) = deployment.operator("GET", &deliveries, json!(null)).await;
                let attempts = all[0]["attempts"].as_u64().unwrap_or_default();
                if attempts >= at_least && all[0]["state"] == "waiting" {
                    return attempts;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let attempts = tried(1).await;
        // What has the archive's name keeps it from getting there when it is written.
        let name = format!("{}.zip", id_of(&operation));
        let made = deployment.path("made");
        std::fs::create_dir_all(made.join(&name)).unwrap();
        std::fs::rename(&made, &folder).unwrap();
        tried(attempts + 1).await;
        let names = || -> Vec<String> {
            let files = std::fs::read_dir(&folder).unwrap();
            let mut names: Vec<String> =
                files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(), [name.as_str()]);

        // What a process left that was killed while it wrote goes at the next start; what is not ours stays.
        deployment.stop().await;
        let left = format!("{}.part", id_of(&operation));
        for file in [left.as_str(), "other.part"] {
            std::fs::write(folder.join(file), b"part").unwrap();
        }
        std::fs::remove_dir(folder.join(&name)).unwrap();
        std::fs::write(deployment.path("exports").join(&left), b"part").unwrap();
        deployment.start().await;
        assert!(!deployment.path("exports").join(&left).exists());
        assert_eq!(ended(&deployment, &officer, &operation).await["status"], "complete");
        assert_eq!(names(), [name, "other.part".to_owned()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn graph_tells_nobody_what_is_not_theirs() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let (deployment, person, officer) = someone(database).await;
        let other = deployment.person("other@example.org", "Other").await;
        let stranger = deployment.token(&other).await;
        let own = deployment.token(&person).await;
        let location = format!("file://{}", deployment.path("exports").display());
        let operation = order(&deployment, &officer, &person, &location).await;
        let export = export_of(&person);
        let objection = json!({ "type": "objection", "identity": "known" });
        let (_, objection) =
            deployment.operator("POST", &format!("/persons/{}/requests", person.id), objection).await;
        let no_export = format!("/v1.0/dataPolicyOperations/{}", objection["id"].as_str().unwrap());
        let refused =
            |answer: &Answer| (answer.status, answer.json["error"]["code"].as_str().unwrap().to_owned());
        for (token, method, path, status, code) in [
            ("", "POST", export.as_str(), 401, "InvalidAuthenticationToken"),
            ("", "GET", operation.as_str(), 401, "InvalidAuthenticationToken"),
            ("", "GET", "/v1.0/me", 401, "InvalidAuthenticationToken"),
            ("", "GET", "/v1.0/users/person@example.org", 401, "InvalidAuthenticationToken"),
            (&stranger, "POST", &export, 404, "Request_ResourceNotFound"),
            (&stranger, "GET", &operation, 404, "Request_ResourceNotFound"),
            (&stranger, "GET", "/v1.0/users/person@example.org", 404, "Request_ResourceNotFound"),
            (&stranger, "GET", "/v1.0/users/nobody@example.org", 404, "Request_ResourceNotFound"),
            (&officer, "GET", "/v1.0/dataPolicyOperations/x", 404, "Request_ResourceNotFound"),
            (&officer, "GET", &no_export, 404, "Request_ResourceNotFound"),
            (&officer, "GET", "/v1.0/groups", 404, "Request_ResourceNotFound"),
            (&officer, "POST", &export, 400, "Request_BadRequest"),
        ] {
            let answer = call(&deployment, token, method, path, "[]").await;
            assert_eq!(refused(&answer), (status, code.to_owned()), "{method} {path}");
        }
        let error = call(&deployment, &officer, "POST", &export, "{}").await.json;
        insta::allow_duplicates! { insta::assert_json_snapshot!("graph_refused", error); }
        assert_eq!(ended(&deployment, &own, &operation).await["status"], "complete");
        let me = call(&deployment, &own, "GET", "/v1.0/me", "").await.json;
        assert_eq!(me["id"], person.id);
        let user = call(&deployment, &officer, "GET", "/v1.0/users/person@example.org", "").await.json;
        insta::allow_duplicates! { insta::assert_json_snapshot!("graph_user", user, { ".id" => "[id]" }); }
        assert_eq!(user["id"], person.id);
    }
}
