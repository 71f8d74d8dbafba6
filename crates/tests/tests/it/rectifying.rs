//! Rectification (GDPR Article 16): of what experiments say of a person, their own and those of others; and of one's own address.

use std::collections::BTreeMap;

use habeas_core::Id;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};
use crate::makers::worked_on;
use crate::mlflow::Tracker;
use crate::requests::{code, letter};
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
        // Whoever corrected it is noted as who changed it; of what says of nobody who made it, in what it stands under.
        let project = deployment.project(&ada, "trees").await;
        let tag = deployment.tag(&ada, &project, "oak").await;
        let described = correct(json!(tag), "description", json!("as officer@example.org has it"));
        let (status, report) = deployment.call(Some(&officer), "PATCH", &path, described).await;
        assert_eq!((status.as_u16(), &report["changed"]), (200, &json!(1)), "{report}");
        let (_, found) = deployment.operator("GET", "/persons?email=officer@example.org", json!(null)).await;
        let corrector = Someone {
            id: found[0]["objectId"].as_str().unwrap().to_owned(),
            email: "officer@example.org".to_owned(),
            key: String::new(),
        };
        let changed = worked_on(&deployment, &corrector, "changed").await;
        assert_eq!(changed, BTreeMap::from(["Project", "Run"].map(|kind| (kind.to_owned(), 1))));
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

        // So their erasure finds what they wrote.
        assert_eq!(deployment.erase(&corrector).await["status"], "completed");
        let (_, tags) = deployment.train("GET", &ada.key, &format!("/projects/{project}/tags"), None).await;
        assert_eq!(tags[0]["description"], "as (erased) has it", "{tags}");
    }
}

/// Asks for another address of one's own; the request that waits for the code.
async fn want(deployment: &Deployment, token: &str, email: &str) -> Value {
    let change = json!({ "email": email });
    let (status, report) = deployment.call(Some(token), "PATCH", "/persons/me", change).await;
    assert_eq!((status.as_u16(), &report["changed"]), (202, &json!(0)), "{report}");
    report["addressChange"].clone()
}

/// Gives a code back, as nobody who is signed in.
async fn give_back(deployment: &Deployment, request: &Value, code: &str) -> (u16, Value) {
    let path = format!("/requests/{}/verify", request["id"].as_str().unwrap());
    let (status, answer) = deployment.call(None, "POST", &path, json!({ "code": code })).await;
    (status.as_u16(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_new_address_is_theirs_only_with_the_code_that_went_there() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let eve = deployment.person("eve@example.org", "Eve").await;
        let token = deployment.token(&eve).await;
        let project = deployment.project(&owner, "p").await;
        let shown = deployment.image(&owner, &project, "s.jpg", &image(1), &[]).await;
        let path = format!("/projects/{project}/images/metadata?imageIds={shown}");
        let names = json!({ "depicts": "new@example.org" });
        assert_eq!(deployment.train("POST", &owner.key, &path, Some(names)).await.0, 200);
        let depicted = async || {
            let path = format!("/persons/{}/erasure-plans", eve.id);
            let (status, plan) = deployment.operator("POST", &path, json!({})).await;
            assert_eq!(status, 201, "{plan}");
            plan["depicted"].as_u64().unwrap_or_default()
        };
        let found = async |email: &str| {
            let path = format!("/persons?email={email}");
            let (_, persons) = deployment.operator("GET", &path, json!(null)).await;
            persons[0]["objectId"].as_str().map(str::to_owned)
        };

        // A name is changed at once; the address waits, whatever the staff know of who asks.
        let change = json!({ "name": "Eva", "email": "new@example.org" });
        let (status, report) = deployment.call(Some(&token), "PATCH", "/persons/me", change).await;
        assert_eq!((status.as_u16(), &report["changed"]), (202, &json!(1)), "{report}");
        let now = (&report["person"]["name"], &report["person"]["email"]);
        assert_eq!(now, (&json!("Eva"), &json!("eve@example.org")), "{report}");
        let request = report["addressChange"].clone();
        assert_eq!((&request["type"], &request["state"]), (&json!("rectification"), &json!("verifying")));
        let sent = code(&deployment, &request).await;
        let at = format!("/requests/{}", request["id"].as_str().unwrap());
        let confirm = json!({ "identity": "known" });
        let confirmed =
            deployment.call(Some(&officer), "POST", &format!("{at}/confirm-identity"), confirm).await;
        assert_eq!(confirmed.0, 409, "{}", confirmed.1);
        // Nor does the code that went to one address serve for another.
        let (_, files) =
            deployment.call(Some(&token), "GET", "/persons/me/items/CaseFile", json!(null)).await;
        let other = json!({ "corrections": [{ "resource": files["items"][0]["id"], "field": "new_email",
            "value": "other@example.org" }] });
        let refused = deployment.call(Some(&token), "PATCH", "/persons/me", other).await;
        assert_eq!(refused.0, 400, "{}", refused.1);
        assert_eq!(give_back(&deployment, &request, "1").await.0, 400);
        assert_eq!(found("new@example.org").await, None);
        assert_eq!(depicted().await, 0);
        let (_, waiting) = deployment.call(Some(&token), "GET", &at, json!(null)).await;
        assert_eq!(waiting["newEmail"], "new@example.org", "{waiting}");
        let files = deployment.export(&eve).await;
        let (_, table) = files.iter().find(|(path, _)| path == "rights/new-addresses.csv").unwrap();
        assert!(String::from_utf8_lossy(table).contains("new@example.org"));

        let (status, answer) = give_back(&deployment, &request, &sent).await;
        assert_eq!((status, &answer["state"]), (200, &json!("completed")), "{answer}");
        assert_eq!(give_back(&deployment, &request, &sent).await.0, 200);
        assert_eq!(found("new@example.org").await, Some(eve.id.clone()));
        assert_eq!(found("eve@example.org").await, None);
        assert_eq!(depicted().await, 1);
        let (_, done) = deployment.operator("GET", &at, json!(null)).await;
        assert_eq!((&done["identityCheckedBy"], done.get("newEmail")), (&json!("code"), None), "{done}");
        // The same address in other letters needs no code.
        let change = json!({ "email": "New@example.org" });
        let (status, report) = deployment.call(Some(&token), "PATCH", "/persons/me", change).await;
        assert_eq!((status.as_u16(), &report["changed"]), (200, &json!(1)), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_by_a_new_address_of_their_own_whose_it_is_already() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        deployment.person("owner@example.org", "Owner").await;
        let eve = deployment.person("eve@example.org", "Eve").await;
        let token = deployment.token(&eve).await;
        let mut requests = Vec::new();
        let mut answers = Vec::new();
        for email in ["owner@example.org", "nobody@example.org"] {
            let request = want(&deployment, &token, email).await;
            let (status, wrong) = give_back(&deployment, &request, "1").await;
            let at = format!("/requests/{}", request["id"].as_str().unwrap());
            let (_, seen) = deployment.call(Some(&token), "GET", &at, json!(null)).await;
            let events: Vec<Value> =
                seen["history"].as_array().unwrap().iter().map(|entry| entry["event"].clone()).collect();
            answers.push((
                request["state"].clone(),
                status,
                wrong["detail"].clone(),
                seen["state"].clone(),
                events,
            ));
            requests.push(request);
        }
        assert_eq!(answers[0], answers[1]);
        // Whose address it is reads that somebody asked for it, and gets no code.
        let path = letter(&deployment, &requests[0]);
        let said = loop {
            match std::fs::read_to_string(&path) {
                Ok(said) => break said,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        };
        assert!(
            said.contains("owner@example.org") && said.contains("Somebody with another account"),
            "{said}"
        );
        assert!(!said.contains("The code is "), "{said}");

        // An address that becomes somebody else's while the code is on its way stays theirs.
        let sent = code(&deployment, &requests[1]).await;
        let nobody = deployment.person("nobody@example.org", "Nobody").await;
        assert_eq!(give_back(&deployment, &requests[1], &sent).await.0, 409);
        crate::requests::in_state(&deployment, &requests[1], "denied").await;
        let (_, persons) = deployment.operator("GET", "/persons?email=nobody@example.org", json!(null)).await;
        assert_eq!(persons[0]["objectId"], json!(nobody.id));
        let (_, report) = deployment.operator("GET", &format!("/persons/{}", eve.id), json!(null)).await;
        assert_eq!(report["email"], "eve@example.org", "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_one_line_without_what_a_terminal_obeys_wherever_it_is_set() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let token = deployment.token(&ada).await;
        let team = json!({ "name": "Team", "owner": ada.id });
        let (status, team) = deployment.operator("POST", "/organisations", team).await;
        assert_eq!(status, 201, "{team}");
        let person = format!("/persons/{}", ada.id);
        let renaming = |name: &str| json!({ "corrections": [{ "resource": team["objectId"], "field": "name", "value": name }] });
        for wrong in
            ["Evil\u{1b}[2J", "Ada\r\nadmin@localhost", "A\0da", "A\u{9b}31mda", "A\u{202e}ad", "A\u{2066}da"]
        {
            for (method, path, body) in [
                ("POST", "/persons", json!({ "email": "bea@example.org", "name": wrong })),
                ("POST", "/organisations", json!({ "name": wrong, "owner": ada.id })),
                ("PATCH", person.as_str(), renaming(wrong)),
            ] {
                let (status, refused) = deployment.operator(method, path, body).await;
                assert_eq!(status, 400, "{path} {wrong:?}: {refused}");
                assert!(refused.to_string().contains("200 bytes without control characters"), "{refused}");
            }
            let own = json!({ "name": wrong });
            assert_eq!(deployment.call(Some(&token), "PATCH", "/persons/me", own).await.0, 400, "{wrong:?}");
        }
        let (_, shown) = deployment.operator("GET", &person, json!(null)).await;
        assert_eq!(shown["name"], "Ada", "{shown}");
        let good = "Zoë O'Brien-李 עדה";
        assert_eq!(
            deployment.call(Some(&token), "PATCH", "/persons/me", json!({ "name": good })).await.0,
            200
        );
        assert_eq!(deployment.operator("PATCH", &person, renaming(good)).await.0, 200);
        let (_, shown) = deployment.operator("GET", &person, json!(null)).await;
        assert_eq!(shown["name"], good, "{shown}");
    }
}
