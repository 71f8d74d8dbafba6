//! Restriction of processing (GDPR Article 18), over every protocol: what is held can be seen and taken, and nothing else is done with it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use habeas_core::{Id, ManualClock, Timestamp, time};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};
use crate::mlflow::Tracker;

async fn restrict(deployment: &Deployment, someone: &Someone, restricted: bool) {
    let path = format!("/persons/{}/restriction", someone.id);
    assert_eq!(deployment.operator("PUT", &path, json!({ "restricted": restricted })).await.0, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn experiments_of_a_restricted_person_are_read_and_not_changed() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let experiment = tracker.experiment("trees").await;
        let run = tracker.run(&experiment, "first").await;
        let metric = json!({ "run_id": run, "key": "loss", "value": 0.5, "timestamp": 1, "step": 0 });
        tracker.ok("POST", "/runs/log-metric", metric.clone()).await;
        let artifact = format!("{experiment}/{run}/artifacts/a.txt");
        assert_eq!(tracker.upload(&artifact, b"bytes").await, 200);
        tracker.ok("POST", "/registered-models/create", json!({ "name": "forest" })).await;
        let list = format!(
            "/subscriptions/{}/resourceGroups/Trees/providers/Microsoft.MachineLearningServices/workspaces",
            someone.id
        );
        let at = |name: &str| format!("{list}/{name}?api-version=2020-08-01");
        assert_eq!(tracker.send("PUT", &at("Forest"), &json!({ "location": "here" })).await.0, 201);
        let before = deployment.content(&someone).await;

        restrict(&deployment, &someone, true).await;
        for (method, path, body) in [
            ("POST", "/experiments/create", json!({ "name": "other" })),
            ("POST", "/experiments/update", json!({ "experiment_id": experiment, "new_name": "x" })),
            ("POST", "/experiments/delete", json!({ "experiment_id": experiment })),
            (
                "POST",
                "/experiments/set-experiment-tag",
                json!({ "experiment_id": experiment, "key": "k", "value": "v" }),
            ),
            (
                "POST",
                "/runs/create",
                json!({ "experiment_id": experiment, "start_time": 1, "user_id": "new name" }),
            ),
            ("POST", "/runs/update", json!({ "run_id": run, "status": "FINISHED" })),
            ("POST", "/runs/delete", json!({ "run_id": run })),
            ("POST", "/runs/log-metric", metric.clone()),
            ("POST", "/runs/log-batch", json!({ "run_id": run, "params": [{ "key": "p", "value": "1" }] })),
            ("POST", "/runs/set-tag", json!({ "run_id": run, "key": "k", "value": "v" })),
            ("POST", "/logged-models", json!({ "experiment_id": experiment, "name": "m" })),
            ("POST", "/registered-models/create", json!({ "name": "other" })),
            ("DELETE", "/registered-models/delete", json!({ "name": "forest" })),
            ("POST", "/model-versions/create", json!({ "name": "forest", "source": "s3://x/y" })),
        ] {
            let (status, answer) = tracker.call(method, path, body).await;
            assert_eq!(
                (status, &answer["error_code"]),
                (403, &json!("PERMISSION_DENIED")),
                "{path}: {answer}"
            );
            assert!(answer["message"].as_str().unwrap().contains("restriction"), "{path}: {answer}");
        }
        assert_eq!(tracker.upload(&artifact, b"other").await, 403);
        for (method, body) in [
            ("PUT", json!({ "location": "there" })),
            ("PATCH", json!({ "tags": { "a": "b" } })),
            ("DELETE", json!(null)),
        ] {
            let (status, answer) = tracker.send(method, &at("Forest"), &body).await;
            assert_eq!((status, &answer["error"]["code"]), (403, &json!("Restricted")), "{method}: {answer}");
        }
        let (status, answer) = tracker.send("PUT", &at("Other"), &json!({ "location": "here" })).await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("Restricted")), "{answer}");

        // Everything can be read, over the protocol and as an archive, and is as it was.
        for path in [
            format!("/runs/get?run_id={run}"),
            format!("/experiments/get?experiment_id={experiment}"),
            format!("/metrics/get-history?run_id={run}&metric_key=loss"),
            format!("/artifacts/list?run_id={run}"),
            "/registered-models/get?name=forest".to_owned(),
        ] {
            tracker.ok("GET", &path, json!(null)).await;
        }
        let found = tracker.ok("POST", "/runs/search", json!({ "experiment_ids": [experiment] })).await;
        assert_eq!(found["runs"].as_array().map(Vec::len), Some(1), "{found}");
        assert_eq!(tracker.download(&artifact).await, (200, b"bytes".to_vec()));
        assert_eq!(tracker.send("GET", &at("Forest"), &json!(null)).await.0, 200);
        assert!(deployment.content(&someone).await == before, "something changed");

        restrict(&deployment, &someone, false).await;
        tracker.ok("POST", "/runs/log-metric", metric).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_of_a_restricted_person_is_neither_trained_nor_asked_nor_copied_nor_added_to() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let other = deployment.person("b@example.org", "B").await;
        let project = deployment.project(&someone, "p").await;
        let tag = deployment.tag(&someone, &project, "t").await;
        let shown = deployment.image(&someone, &project, "a.jpg", &image(1), &[&tag]).await;
        let (_, export) =
            deployment.train("GET", &someone.key, &format!("/projects/{project}/export"), None).await;
        let copying = format!("/projects/import?token={}", export["token"].as_str().unwrap());
        let (_, keys) =
            deployment.operator("GET", &format!("/persons/{}/keys", someone.id), json!(null)).await;
        let prediction_key = keys[0]["predictionKeys"][0].as_str().unwrap().to_owned();
        let account = keys[0]["account"].as_str().unwrap().to_owned();
        let token = deployment.token(&someone).await;

        restrict(&deployment, &someone, true).await;
        let refused = |status: u16, answer: &Value, path: &str| {
            assert_eq!((status, answer["code"].as_str()), (403, Some("Restricted")), "{path}: {answer}");
        };
        for (method, path, body) in [
            ("POST", "/train".to_owned(), None),
            ("POST", "/quicktest/image".to_owned(), None),
            ("GET", "/export".to_owned(), None),
            ("POST", format!("/images/metadata?imageIds={shown}"), Some(json!({ "a": "b" }))),
            ("POST", "/images/files".to_owned(), Some(json!({ "images": [{ "contents": "AQID" }] }))),
            ("POST", "/tags?name=other".to_owned(), None),
            ("PATCH", format!("/tags/{tag}"), Some(json!({ "name": "x" }))),
            ("PATCH", String::new(), Some(json!({ "name": "x" }))),
            ("DELETE", format!("/images?imageIds={shown}"), None),
            ("DELETE", String::new(), None),
        ] {
            let path = format!("/projects/{project}{path}");
            let (status, answer) = deployment.train(method, &someone.key, &path, body).await;
            refused(status.as_u16(), &answer, &path);
        }
        let (status, answer) = deployment.train("POST", &someone.key, "/projects?name=new", None).await;
        refused(status.as_u16(), &answer, "/projects");
        // A token of before copies nothing, into nobody's account.
        let (status, copy) = deployment.train("POST", &other.key, &copying, None).await;
        if status == 200 {
            let path = format!("/projects/{}", copy["id"].as_str().unwrap());
            loop {
                let (_, shown) = deployment.train("GET", &other.key, &path, None).await;
                if shown["status"] != "Importing" {
                    assert_eq!(shown["status"], "Failed", "{shown}");
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        } else {
            assert!(status.is_client_error(), "{copy}");
        }
        let path = format!("/customvision/v3.1/prediction/{project}/classify/iterations/live/image");
        let request = Request::post(path)
            .header("prediction-key", prediction_key)
            .header("content-type", "application/octet-stream")
            .body(Body::from(image(1)))
            .unwrap();
        let (status, answer) = deployment.send(request).await;
        refused(status.as_u16(), &serde_json::from_slice(&answer).unwrap(), "prediction");
        let new = "0190b3a4-5c6d-7e8f-9012-3456789abcde";
        let request = Request::put(format!("/api/import/v1/accounts/{account}/projects/{new}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(json!({ "id": new, "name": "brought", "settings": { "domainId": "0732100f-1a38-4e49-a514-c9b44c697ab5", "classificationType": "Multiclass" } }).to_string()))
            .unwrap();
        let (status, answer) = deployment.send(request).await;
        assert_eq!(status, 403, "{}", String::from_utf8_lossy(&answer));

        // It can be read and taken.
        for path in ["", "/tags", "/images", "/iterations"] {
            let path = format!("/projects/{project}{path}");
            assert_eq!(deployment.train("GET", &someone.key, &path, None).await.0, 200, "{path}");
        }
        assert!(!deployment.export(&someone).await.is_empty());
        restrict(&deployment, &someone, false).await;
        let path = format!("/projects/{project}/tags?name=other");
        assert_eq!(deployment.train("POST", &someone.key, &path, None).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_restricted_person_is_handed_over() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let founded = json!({ "name": "Team", "owner": someone.id });
        let (_, team) = deployment.operator("POST", "/organisations", founded).await;
        let (_, keys) =
            deployment.operator("GET", &format!("/persons/{}/keys", someone.id), json!(null)).await;
        let token = deployment.token(&someone).await;

        restrict(&deployment, &someone, true).await;
        for resource in [json!(project), keys[0]["account"].clone()] {
            let body = json!({ "resource": resource, "to": team["objectId"] });
            for by in [Some(token.as_str()), None] {
                let (status, refused) = match by {
                    Some(token) => deployment.call(Some(token), "POST", "/transfers", body.clone()).await,
                    None => deployment.operator("POST", "/transfers", body.clone()).await,
                };
                assert_eq!(
                    (status.as_u16(), refused["detail"].as_str()),
                    (403, Some("lift the restriction first")),
                    "{refused}"
                );
            }
        }
        let path = format!("/projects/{project}");
        assert_eq!(deployment.train("GET", &someone.key, &path, None).await.0, 200);

        restrict(&deployment, &someone, false).await;
        let body = json!({ "resource": project, "to": team["objectId"] });
        let (status, moved) = deployment.call(Some(&token), "POST", "/transfers", body).await;
        assert_eq!((status.as_u16(), &moved["holder"]), (201, &team["objectId"]), "{moved}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restricted_person_holds_stays_past_its_time_until_the_restriction_ends() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let prediction = crate::predictions::stored(&store, &project, &image(1), |_| {}).await;
        let body = json!({ "email": "guest@example.org", "name": "Guest", "accountType": "guest" });
        let (status, made) = deployment.operator("POST", "/persons", body).await;
        assert_eq!(status, 201, "{made}");
        let guest = Someone {
            id: made["objectId"].as_str().unwrap().to_owned(),
            email: "guest@example.org".to_owned(),
            key: made["trainingKeys"][0].as_str().unwrap().to_owned(),
        };
        deployment.token(&someone).await;
        let (prediction, holder): (Id, Id) = (prediction.parse().unwrap(), guest.id.parse().unwrap());
        let left = async || {
            store
                .read(move |tx| Ok((tx.position(prediction)?.is_some(), tx.holder(holder)?.is_some())))
                .await
                .unwrap()
        };

        for someone in [&someone, &guest] {
            restrict(&deployment, someone, true).await;
        }
        // Predictions and tokens are kept for 30 days, guests for 8 hours.
        clock.advance(31 * time::DAY);
        for method in ["GET", "POST"] {
            let (status, report) = deployment.operator(method, "/retention", json!({})).await;
            assert_eq!((status.as_u16(), &report["kept"]), (200, &json!(2)), "{report}");
            let rules = report["rules"].as_array().unwrap();
            for kind in ["StoredPrediction", "Person"] {
                let rule = rules.iter().find(|rule| rule["kind"] == kind).unwrap();
                assert_eq!(rule["due"], 0, "{method}: {rule}");
            }
        }
        assert_eq!(left().await, (true, true));
        // The sweep that took what grants access may be the server's own, which is under way.
        let tokens = format!("/persons/{}/tokens", someone.id);
        while deployment.operator("GET", &tokens, json!(null)).await.1 != json!([]) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }

        for someone in [&someone, &guest] {
            restrict(&deployment, someone, false).await;
        }
        assert_eq!(deployment.operator("POST", "/retention", json!({})).await.0, 200);
        while left().await != (false, false) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_written_to_before_a_restriction_that_others_lift_ends() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let officer = deployment.officer("officer").await;
        let path = format!("/persons/{}/restriction", someone.id);
        let set = async |token: &str, restricted: bool| {
            deployment.call(Some(token), "PUT", &path, json!({ "restricted": restricted })).await
        };
        let is_restricted = async || {
            let path = format!("/persons/{}/holdings", someone.id);
            deployment.operator("GET", &path, json!(null)).await.1["restricted"] == true
        };
        // One letter says that it ends then.
        let announced = async |end: &str| {
            crate::owners::all_sent(&deployment).await;
            let letters = crate::owners::lying(&deployment, &someone);
            let said = letters.iter().filter(|letter| letter.contains(&format!("on {end} (UTC)")));
            assert_eq!(said.clone().count(), 1, "{letters:?}");
            assert!(said.clone().all(|letter| letter.contains("To: a@example.org")), "{letters:?}");
        };

        // An officer's lifting waits for a day, and is called off by another restriction.
        assert_eq!(set(&officer, true).await.0, 204);
        let (status, answer) = set(&officer, false).await;
        let until = Timestamp::parse(answer["restrictedUntil"].as_str().unwrap()).unwrap();
        assert_eq!((status.as_u16(), until), (202, Timestamp::parse("2026-11-26T12:00:00Z").unwrap()));
        // Who was told already is not told again.
        assert_eq!(set(&officer, false).await, (status, answer));
        announced("2026-11-26 at 12:00").await;
        assert_eq!(set(&officer, true).await.0, 204);
        clock.advance(2 * time::DAY);
        deployment.server().app().rights.run_all_due().await.unwrap();
        assert!(is_restricted().await);

        assert_eq!(set(&officer, false).await.0, 202);
        announced("2026-11-28 at 12:00").await;
        assert!(is_restricted().await);
        while is_restricted().await {
            clock.advance(time::HOUR);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let ended = deployment.server().app().store().ambient().now();
        assert!(ended >= Timestamp::parse("2026-11-28T12:00:00Z").unwrap(), "{}", ended.rfc3339());

        // The operator's is at once, with a letter; nobody is told of their own.
        let (_, written) = deployment.operator("PUT", &path, json!({ "restricted": true })).await;
        assert_eq!(written, json!(null));
        let lifted = deployment.operator("PUT", &path, json!({ "restricted": false })).await;
        assert_eq!((lifted.0.as_u16(), is_restricted().await), (204, false));
        let now = deployment.server().app().store().ambient().now().rfc3339();
        announced(&format!("{} at {}", &now[..10], &now[11..16])).await;
        let token = deployment.token(&someone).await;
        for restricted in [true, false] {
            assert_eq!(set(&token, restricted).await.0, 204);
            assert_eq!(is_restricted().await, restricted);
        }
        assert_eq!(crate::owners::lying(&deployment, &someone).len(), 3);

        let (_, activity) = deployment.call(Some(&token), "GET", "/persons/me/activity", json!(null)).await;
        for operation in ["RestrictPerson", "LiftRestriction"] {
            let by_staff = |entry: &Value| entry["operation"] == operation && entry["by"] == "staff";
            assert!(activity.as_array().unwrap().iter().any(by_staff), "{operation}: {activity}");
        }
    }
}
