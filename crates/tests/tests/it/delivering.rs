//! What other systems are to get, and a process killed before and after an attempt is noted: nothing is lost, and what comes twice is
//! recognised.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::http::StatusCode;
use habeas_core::fault;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};
use crate::opendsr::{ERASURE, asked};
use crate::standards::{FarEnd, administrator, call, open};

/// A process of its own that dies: erases a person, of which a recipient is told, or denies what a controller has passed on.
#[tokio::test(flavor = "multi_thread")]
async fn dying_child() {
    let (Ok(data), Ok(work)) = (std::env::var("HABEAS_TEST_DATA"), std::env::var("HABEAS_TEST_WORK")) else {
        return;
    };
    let deployment = Deployment::open_in_with(data.into(), |settings| {
        settings.database = std::env::var("HABEAS_TEST_DATABASE").ok();
        settings.fetch_urls = Some(true);
    })
    .await;
    if work == "deny" {
        let path = format!("/requests/{ERASURE}/deny");
        deployment.operator("POST", &path, json!({ "reason": "other" })).await;
    } else {
        let path = "/persons?email=person@example.org";
        let (_, persons) = deployment.operator("GET", path, Value::Null).await;
        let id = persons[0]["objectId"].as_str().unwrap().to_owned();
        deployment.erase(&Someone { id, email: "person@example.org".to_owned(), key: String::new() }).await;
    }
    // A worker passes the fault point and ends the process.
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// Waits until everything that a request has to say is delivered.
async fn delivered(deployment: &Deployment, request: &str) {
    let path = format!("/requests/{request}/deliveries");
    loop {
        let (status, all) = deployment.operator("GET", &path, Value::Null).await;
        assert_eq!(status, 200, "{all}");
        if all.as_array().unwrap().iter().all(|one| one["state"] == "delivered") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_by_a_process_killed_at_any_step_arrives_under_one_id() {
    let _lock = crate::canary::alone().await;
    fault::switch_off(&["public-only"]);
    // Whether the far end refuses the first attempt, and how often it takes the message in the end: once more where that it did was not noted.
    let cases = [
        ("erase", "delivery.attempted", false, 2),
        ("erase", "delivery.noted", false, 1),
        ("erase", "delivery.attempted", true, 1),
        ("erase", "delivery.noted", true, 1),
        ("deny", "delivery.attempted", false, 2),
        ("deny", "delivery.noted", false, 1),
    ];
    for number in 0..engines().len() {
        for (work, fault, refused, count) in cases {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let far = FarEnd::default();
            let address = far.listen().await;
            let mut deployment = open(database.clone()).await;
            let person = deployment.person("person@example.org", "Person").await;
            if work == "erase" {
                let administrator = administrator(&deployment).await;
                let body = json!({ "name": "Annotators", "url": format!("{address}/hook") }).to_string();
                let path = "/api/privacy/v1/recipients";
                assert_eq!(call(&deployment, &administrator, "POST", path, &body).await.status, 201);
            } else {
                let officer = deployment.officer("officer").await;
                let body = asked(ERASURE, "erasure", &person.email, &[format!("{address}/callback")]);
                let path = "/opendsr/v2/requests";
                assert_eq!(call(&deployment, &officer, "POST", path, &body.to_string()).await.status, 201);
                // What it was told of the request before.
                delivered(&deployment, ERASURE).await;
                far.received.lock().unwrap().clear();
            }
            deployment.stop().await;
            if refused {
                far.refuse(StatusCode::BAD_GATEWAY);
            }
            let mut child = Command::new(std::env::current_exe().unwrap());
            child
                .args(["--exact", "delivering::dying_child", "--nocapture", "--test-threads=1"])
                .env("HABEAS_TEST_DATA", deployment.path("data"))
                .env("HABEAS_TEST_WORK", work)
                .env("HABEAS_FAULT", fault)
                .env("HABEAS_SWITCHED_OFF", "public-only")
                .envs(database.map(|database| ("HABEAS_TEST_DATABASE", database)))
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let status = tokio::task::spawn_blocking(move || child.status()).await.unwrap().unwrap();
            assert!(!status.success(), "{work} passed no fault point {fault}");

            deployment.start().await;
            let (_, page) = deployment.operator("GET", "/requests", Value::Null).await;
            delivered(&deployment, page["requests"][0]["id"].as_str().unwrap()).await;
            let received = far.received();
            assert_eq!(received.len(), count, "{work} {fault} {refused}: {received:?}");
            let said: BTreeSet<String> = received
                .iter()
                .map(|one| {
                    let body = one.json();
                    if work == "erase" {
                        assert_eq!(body["type"], "privacy.erasure.completed", "{body}");
                        return one.headers["webhook-id"].to_str().unwrap().to_owned();
                    }
                    assert_eq!(body["request_status"], "cancelled", "{body}");
                    body["subject_request_id"].as_str().unwrap().to_owned()
                })
                .collect();
            assert_eq!(said.len(), 1, "{work} {fault} {refused}: {received:?}");
            deployment.stop().await;
        }
    }
}
