//! Every read of somebody's data by the staff stands in that person's record: all of the privacy API, and the pages of the portal.

use axum::body::Body;
use axum::http::Request;
use habeas_access::Actor;
use habeas_core::Id;
use serde_json::{Value, json};

use crate::artifacts::Team;
use crate::coverage::PUBLIC;
use crate::deployment::{Deployment, Someone, TRAINING, engines, image};
use crate::requests::in_state;

/// What the staff read there is nobody's in particular; an organisation's is for its members only, whatever their role in the staff.
const OF_NOBODY: &[&str] = &[
    "/recipients",
    "/retention",
    "/doctor",
    "/organisations/{organisation}/members",
    "/organisations/{organisation}/keys",
];

/// What `actor` did with the data of `person`, by operation, and how often.
async fn recorded(deployment: &Deployment, person: &Someone, actor: &Someone) -> Vec<(String, u32)> {
    let (person, actor): (Id, Id) = (person.id.parse().unwrap(), actor.id.parse().unwrap());
    let segments = deployment.server().app().access().telemetry().of(person).await.unwrap();
    let entries = segments.into_iter().flat_map(|segment| segment.entries);
    entries.filter(|entry| entry.actor == Some(actor)).map(|entry| (entry.operation, entry.count)).collect()
}

async fn times(deployment: &Deployment, person: &Someone, actor: &Someone) -> u32 {
    recorded(deployment, person, actor).await.iter().map(|(_, count)| count).sum()
}

async fn officer(deployment: &Deployment, name: &str) -> Someone {
    let someone = deployment.person(&format!("{name}@example.org"), name).await;
    let role = json!({ "role": "privacyOfficer", "granted": true });
    assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", someone.id), role).await.0, 204);
    someone
}

/// What the paths of the API are filled with, of somebody of whom there is something to read everywhere.
async fn filled(deployment: &Deployment, owner: &Someone) -> [(&'static str, String); 6] {
    let project = deployment.project(owner, "p").await;
    let shown = deployment.image(owner, &project, "a.jpg", &image(1), &[]).await;
    let path = format!("/projects/{project}/images/metadata?imageIds={shown}");
    let names = json!({ "depicts": owner.email });
    assert_eq!(deployment.train("POST", &owner.key, &path, Some(names)).await.0, 200);
    let hold = json!({ "target": project, "matter": "m", "reason": "r" });
    assert_eq!(deployment.operator("POST", "/holds", hold).await.0, 201);
    let requests = format!("/persons/{}/requests", owner.id);
    let body = json!({ "type": "access", "identity": "document" });
    let (_, access) = deployment.operator("POST", &requests, body).await;
    let access = in_state(deployment, &access, "completed").await;
    let body = json!({ "type": "erasure", "identity": "document" });
    let (_, erasure) = deployment.operator("POST", &requests, body).await;
    let path = format!("/persons/{}/erasure-plans", owner.id);
    let (_, plan) = deployment.operator("POST", &path, json!({})).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    [
        ("{person}", owner.id.clone()),
        ("{kind}", "Image".to_owned()),
        ("{export}", text(&access["archive"])),
        ("{receipt}", text(&access["receipt"])),
        ("{request}", text(&erasure["id"])),
        ("{plan}", text(&plan["plan"])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_by_staff_stands_in_the_record_of_whose_data_it_is() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let officer = officer(&deployment, "officer").await;
        let token = deployment.token(&officer).await;
        let filled = filled(&deployment, &owner).await;
        let document = habeas_wire::privacy::openapi();
        let mut read = 0;
        for (path, operations) in document["paths"].as_object().unwrap() {
            let template = path.strip_prefix("/api/privacy/v1").unwrap();
            let is_read = operations.as_object().unwrap().contains_key("get");
            if !is_read || PUBLIC.contains(&template) || OF_NOBODY.contains(&template) {
                continue;
            }
            let mut address =
                filled.iter().fold(path.clone(), |path, (name, value)| path.replace(name, value));
            assert!(!address.contains('{'), "{template} is filled with nothing: see `filled`");
            if template == "/unclaimed" {
                address.push_str("?name=owner@example.org");
            }
            let before = times(&deployment, &owner, &officer).await;
            let request = Request::get(&address)
                .header("authorization", format!("Bearer {token}"))
                .body(Body::empty())
                .unwrap();
            let (status, body) = deployment.send(request).await;
            // Keys are refused, which is recorded all the same.
            let expected = if template == "/persons/{person}/keys" { 403 } else { 200 };
            assert_eq!(status, expected, "{template}: {}", String::from_utf8_lossy(&body));
            assert_eq!(times(&deployment, &owner, &officer).await, before + 1, "{template}");
            read += 1;
        }
        assert!(read >= 20, "only {read} operations were read");
        // The person sees it; nobody stands in their own record as the staff.
        let mine = deployment.token(&owner).await;
        let path = "/persons/me/activity";
        let (_, activity) = deployment.call(Some(&mine), "GET", path, json!(null)).await;
        for operation in ["ListPersons", "ListRequests", "GetHolds", "FindDepicted", "GetReceipt"] {
            let is_it = |entry: &Value| entry["operation"] == operation && entry["by"] == "staff";
            assert!(activity.as_array().unwrap().iter().any(is_it), "{operation}: {activity}");
        }
        assert_eq!(times(&deployment, &officer, &officer).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_repeats_nothing_that_was_said_and_its_pages_record_whom_they_name() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let (olga, sven) = (officer(&deployment, "olga").await, officer(&deployment, "sven").await);
        let tokens = (deployment.token(&olga).await, deployment.token(&sven).await);
        let body = json!({ "type": "objection", "identity": "document" });
        let path = format!("/persons/{}/requests", ada.id);
        let (_, request) = deployment.call(Some(&tokens.0), "POST", &path, body).await;
        let id = request["id"].as_str().unwrap();
        let note = json!({ "text": "Called back about the letter." });
        let path = format!("/requests/{id}/comments");
        assert_eq!(deployment.call(Some(&tokens.0), "POST", &path, note).await.0, 201);

        let (status, page) = deployment.call(Some(&tokens.1), "GET", "/requests", json!(null)).await;
        assert_eq!((status.as_u16(), &page["requests"][0]["id"]), (200, &json!(id)), "{page}");
        assert_eq!(page["requests"][0]["comments"], json!([]));
        let (_, whole) =
            deployment.call(Some(&tokens.1), "GET", &format!("/requests/{id}"), json!(null)).await;
        assert_eq!(whole["comments"][0]["text"], "Called back about the letter.");

        // The page of a request names the colleague who took it in: who looked stands in their record, too.
        assert!(recorded(&deployment, &olga, &sven).await.is_empty());
        let cookie = crate::portal::session(&deployment, &sven).await;
        for path in ["/staff/requests".to_owned(), format!("/staff/requests/{id}")] {
            let request = Request::get(&path).header("cookie", &cookie).body(Body::empty()).unwrap();
            assert_eq!(deployment.send(request).await.0, 200, "{path}");
        }
        assert_eq!(recorded(&deployment, &olga, &sven).await, [("GetPerson".to_owned(), 1)]);
        let of_ada = recorded(&deployment, &ada, &sven).await;
        for (operation, count) in [("ListRequests", 2), ("GetRequest", 2), ("GetPerson", 1)] {
            let found: u32 = of_ada.iter().filter(|one| one.0 == operation).map(|one| one.1).sum();
            assert_eq!(found, count, "{operation}: {of_ada:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_does_in_other_apis_is_recorded_and_staff_are_nobody_there() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let project = deployment.project(&owner, "p").await;
        deployment.image(&owner, &project, "a.jpg", &image(1), &[]).await;
        let team = Team::new(&deployment, &owner).await;
        let workspace = format!("{}?api-version=2018-03-01-preview", team.scope);
        let runs = format!("/mlflow/v2.0{}/api/2.0/mlflow/runs/get?run_id={}", team.scope, team.run);
        let history = format!("/history/v1.0{}/runs/{}", team.scope, team.run);
        let files = format!("/artifact/v2.0{}/artifacts/ExperimentRun/dcid.{}", team.scope, team.run);
        let models = format!("/modelmanagement/v1.0{}/models", team.scope);

        // Experiments, workspaces, runs and models are persons' only; of Custom Vision the operator may do everything, and each sees it.
        let mut expected = Vec::new();
        for (method, path, operation) in [
            ("GET", format!("{TRAINING}/projects/{project}"), "GetProject"),
            ("GET", format!("{TRAINING}/projects/{project}/images"), "GetImages"),
            ("POST", format!("{TRAINING}/projects/{project}/tags?name=t"), "CreateTag"),
            ("GET", format!("{TRAINING}/projects/{project}/dataset?format=coco"), "ExportDataset"),
            ("DELETE", format!("{TRAINING}/projects/{project}"), "DeleteProject"),
            ("GET", workspace.clone(), ""),
            ("GET", runs.clone(), ""),
            ("GET", history.clone(), ""),
            ("GET", files.clone(), ""),
            ("GET", models.clone(), ""),
        ] {
            let mut request = Request::builder().method(method).uri(&path).body(Body::empty()).unwrap();
            request.extensions_mut().insert(Actor::Operator);
            let (status, body) = deployment.send(request).await;
            if operation.is_empty() {
                assert_eq!(status, 403, "{path}: {}", String::from_utf8_lossy(&body));
                continue;
            }
            assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
            expected.push((operation.to_owned(), 1));
        }
        let operator = Someone { id: Id::NIL.to_string(), email: String::new(), key: String::new() };
        let mut found = recorded(&deployment, &owner, &operator).await;
        // How the test made the tokens of its own.
        found.retain(|(operation, _)| operation != "CreateToken");
        expected.sort();
        found.sort();
        assert_eq!(found, expected);

        let project = deployment.project(&owner, "q").await;
        for role in ["privacyOfficer", "administrator"] {
            let staff = deployment.person(&format!("{role}@example.org"), role).await;
            let granted = json!({ "role": role, "granted": true });
            let path = format!("/persons/{}/role", staff.id);
            assert_eq!(deployment.operator("PUT", &path, granted).await.0, 204);
            let token = deployment.token(&staff).await;
            for path in [
                format!("{TRAINING}/projects/{project}"),
                format!("{TRAINING}/projects/{project}/images"),
                workspace.clone(),
                runs.clone(),
                history.clone(),
                files.clone(),
                models.clone(),
            ] {
                let request = Request::get(&path).header("authorization", format!("Bearer {token}"));
                let (status, body) = deployment.send(request.body(Body::empty()).unwrap()).await;
                assert_eq!(status, 404, "{role} {path}: {}", String::from_utf8_lossy(&body));
            }
        }
    }
}
