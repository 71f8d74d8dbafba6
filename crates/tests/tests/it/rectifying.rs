//! Rectification (GDPR Article 16) of what experiments say of a person, their own and those of others.

use habeas_core::Id;
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines};
use crate::mlflow::Tracker;
use crate::scan;

fn guid(hex: &str) -> String {
    hex.parse::<Id>().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_experiments_say_of_a_person_is_corrected_wherever_it_stands() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let colleague = deployment.person("colleague@example.org", "Colleague").await;
        let body = json!({ "name": "Team", "owner": colleague.id });
        let (_, team) = deployment.operator("POST", "/organisations", body).await;
        let team = team["objectId"].as_str().unwrap();

        let tracker = Tracker::new(&deployment, &ada).await;
        let experiment = tracker.experiment("trees").await;
        let tag = json!({ "experiment_id": experiment, "key": "author", "value": "C4n4ry Adda" });
        tracker.ok("POST", "/experiments/set-experiment-tag", tag).await;
        let said = json!({ "experiment_id": experiment, "start_time": 1, "user_id": "c4n4ryadda",
            "tags": [{ "key": "note", "value": "by C4n4ry Adda" }] });
        let made = tracker.ok("POST", "/runs/create", said).await;
        let run = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let other = json!({ "experiment_id": experiment, "start_time": 1, "user_id": "taken" });
        tracker.ok("POST", "/runs/create", other).await;
        // A colleague's run in a workspace of a team.
        let of_team = Tracker::new(&deployment, &colleague).await;
        let workspace = format!(
            "/subscriptions/{team}/resourceGroups/Trees/providers/Microsoft.MachineLearningServices/workspaces/Forest"
        );
        let path = format!("{workspace}?api-version=2020-08-01");
        let (status, shared) = of_team.send("PUT", &path, &json!({ "location": "here" })).await;
        assert_eq!(status, 201, "{shared}");
        let at = |operation: &str| format!("/mlflow/v2.0{workspace}/api/2.0/mlflow{operation}");
        let said = json!({ "experiment_id": "0", "start_time": 1, "user_id": "colleague",
            "tags": [{ "key": "note", "value": "with C4n4ry Adda" }] });
        let (status, made) = of_team.send("POST", &at("/runs/create"), &said).await;
        assert_eq!(status, 200, "{made}");
        let theirs = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();

        let (_, names) =
            deployment.operator("GET", &format!("/persons/{}/items/ClientName", ada.id), json!(null)).await;
        let name = |title: &str| {
            let items = names["items"].as_array().unwrap();
            items.iter().find(|item| item["title"] == title).unwrap()["id"].clone()
        };
        let path = format!("/persons/{}", ada.id);
        let correct = |resource: Value, field: &str, value: Value| json!({ "corrections": [{ "resource": resource, "field": field, "value": value }] });
        // The person herself may correct what is hers, and not what others wrote.
        let token = deployment.token(&ada).await;
        let of_others = correct(json!(guid(&theirs)), "tags", json!({ "note": "with Ada" }));
        assert_eq!(deployment.call(Some(&token), "PATCH", &path, of_others.clone()).await.0, 404);
        let taken = correct(name("c4n4ryadda"), "name", json!("taken"));
        assert_eq!(deployment.call(Some(&token), "PATCH", &path, taken).await.0, 409);
        let wrong = correct(json!(guid(&run)), "tags", json!({ "note": 1 }));
        assert_eq!(deployment.call(Some(&token), "PATCH", &path, wrong).await.0, 400);
        let technical = correct(json!(guid(&run)), "status", json!("Failed"));
        assert_eq!(deployment.call(Some(&token), "PATCH", &path, technical).await.0, 400);
        let own = json!({ "corrections": [
            { "resource": name("c4n4ryadda"), "field": "name", "value": "ada" },
            { "resource": guid(&run), "field": "tags", "value": { "note": "by Ada" } },
            { "resource": guid(&experiment), "field": "tags", "value": { "author": "Ada" } },
        ] });
        let (status, report) = deployment.call(Some(&token), "PATCH", &path, own).await;
        assert_eq!((status.as_u16(), &report["changed"]), (200, &json!(3)), "{report}");
        // The staff may, and receipts say what was.
        let (status, report) = deployment.call(Some(&officer), "PATCH", &path, of_others).await;
        assert_eq!((status.as_u16(), &report["changed"]), (200, &json!(1)), "{report}");
        let root = correct(json!(Id::NIL.to_string()), "name", json!("x"));
        assert_eq!(deployment.call(Some(&officer), "PATCH", &path, root).await.0, 404);

        let shown = tracker.ok("GET", &format!("/runs/get?run_id={run}"), json!(null)).await;
        assert_eq!(shown["run"]["info"]["user_id"], "ada", "{shown}");
        assert_eq!(shown["run"]["data"]["tags"].as_array().unwrap()[0]["value"], "by Ada", "{shown}");
        let found = json!({ "experiment_ids": [experiment], "filter": "tags.note = 'by Ada'" });
        let found = tracker.ok("POST", "/runs/search", found).await;
        assert_eq!(found["runs"].as_array().map(Vec::len), Some(1), "{found}");
        let (_, shown) = of_team.send("GET", &at(&format!("/runs/get?run_id={theirs}")), &json!(null)).await;
        assert!(shown.to_string().contains("with Ada"), "{shown}");
        let markers = ["C4n4ry Adda".to_owned(), "c4n4ryadda".to_owned()];
        assert_eq!(scan::opened(&store, &markers).await, Vec::<String>::new());
        assert_eq!(scan::on_disk(deployment.folder.path(), &markers), Vec::<String>::new());
    }
}
