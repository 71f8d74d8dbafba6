//! Notifications to a project's own address: what is sent, that it is tried again, and where it is not sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use habeas_core::fault;
use habeas_core::kinds::IterationStatus;
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines};
use crate::exports::{COMPACT, iteration};

/// A program that is notified: what it was told, and what it answers first.
#[derive(Clone, Default)]
struct Listener {
    told: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
}

impl Listener {
    /// Listens; its address.
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/hook?secret=1", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    async fn told(&self, count: usize) -> Vec<Value> {
        loop {
            let told = self.told.lock().unwrap().clone();
            if told.len() >= count {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn take(State(listener): State<Listener>, Json(message): Json<Value>) -> StatusCode {
    let answer = listener.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::OK);
    if answer == StatusCode::OK {
        listener.told.lock().unwrap().push(message);
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_told_of_its_connection_and_its_exports() {
    let _lock = crate::canary::alone().await;
    fault::switch_off(&["public-only"]);
    for database in engines() {
        let listener = Listener::default();
        // The first message is refused once and sent again.
        listener.answers.lock().unwrap().push_back(StatusCode::SERVICE_UNAVAILABLE);
        let address = listener.listen().await;
        let deployment = Deployment::open_with(|settings| {
            settings.database = database;
            settings.fetch_urls = Some(true);
        })
        .await
        .unwrap();
        let someone = deployment.person("a@example.org", "A").await;
        let path = format!("/projects?name=p&domainId={COMPACT}");
        let body = json!({ "notificationQueueUri": address });
        let (_, project) = deployment.train("POST", &someone.key, &path, Some(body)).await;
        let project = project["id"].as_str().unwrap();
        assert_eq!(
            listener.told(1).await,
            [json!({ "version": "1.0", "type": "ConnectionTest", "Content": { "projectId": project } })]
        );
        let store = deployment.server().app().store().clone();
        let trained = iteration(&store, project, COMPACT, IterationStatus::Completed).await;
        // Nobody can read those weights: the export fails.
        let path = format!("/projects/{project}/iterations/{trained}/export?platform=ONNX");
        assert_eq!(deployment.train("POST", &someone.key, &path, None).await.0, 200);
        assert_eq!(
            listener.told(2).await[1],
            json!({ "version": "1.0", "type": "Export", "Content": {
                "projectId": project, "iterationId": trained, "exportStatus": "ExportFailed", "modelUri": null,
            } })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_calls_are_off_or_the_address_is_not_public() {
    let _lock = crate::canary::protected().await;
    let listener = Listener::default();
    let address = listener.listen().await;
    for enabled in [None, Some(true)] {
        let deployment = Deployment::open_with(|settings| settings.fetch_urls = enabled).await.unwrap();
        let someone = deployment.person("a@example.org", "A").await;
        let body = json!({ "notificationQueueUri": address });
        let (status, _) = deployment.train("POST", &someone.key, "/projects?name=p", Some(body)).await;
        assert_eq!(status, 200);
        let store = deployment.server().app().store().clone();
        loop {
            let tasks = store.read(|tx| tx.count_tasks()).await.unwrap();
            let notify = tasks.iter().find(|(kind, _, _)| *kind == habeas_store::TaskKind::Notify);
            let ended = if enabled.is_some() {
                habeas_store::TaskState::Failed
            } else {
                habeas_store::TaskState::Done
            };
            if notify.is_some_and(|(_, state, _)| *state == ended) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answer = crate::recipients::article_15_c(&deployment, &someone).await;
        assert_eq!(answer["addresses"], json!([]), "what was not sent was not received");
    }
    assert_eq!(listener.told.lock().unwrap().clone(), Vec::<Value>::new());
}
