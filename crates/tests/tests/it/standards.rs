//! What the tests of open standards share: a far end that is called, and answers whose headers count.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use axum::response::IntoResponse as _;
use axum::response::Response;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone};

/// Something that was sent to us.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Method, path and query.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A far end in this process: keeps what it takes, and refuses first what it is told to.
#[derive(Clone, Default)]
pub(crate) struct FarEnd {
    pub(crate) received: Arc<Mutex<Vec<Received>>>,
    refusals: Arc<Mutex<VecDeque<StatusCode>>>,
}

async fn take(
    State(far): State<FarEnd>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = far.refusals.lock().unwrap().pop_front() {
        return refusal.into_response();
    }
    far.received.lock().unwrap().push(Received { line: format!("{method} {uri}"), headers, body });
    StatusCode::CREATED.into_response()
}

impl FarEnd {
    /// Listens; its address.
    pub(crate) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Answers the next call so, and takes nothing of it.
    pub(crate) fn refuse(&self, status: StatusCode) {
        self.refusals.lock().unwrap().push_back(status);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits for something to arrive.
    pub(crate) async fn until(&self, wanted: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        loop {
            let received = self.received();
            if wanted(&received) {
                return received;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// An answer whose headers count.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) json: Value,
}

/// Calls with a bearer token, or as nobody with an empty one.
pub(crate) async fn call(
    deployment: &Deployment,
    token: &str,
    method: &str,
    path: &str,
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request =
        request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap();
    let response = deployment.server().router().oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec();
    Answer { status, headers, json: serde_json::from_slice(&bytes).unwrap_or_default(), bytes }
}

/// Asks until the answer is as wanted.
pub(crate) async fn until(
    deployment: &Deployment,
    token: &str,
    path: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    loop {
        let answer = call(deployment, token, "GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        if wanted(&answer.json) {
            return answer.json;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An administrator's bearer token.
pub(crate) async fn administrator(deployment: &Deployment) -> String {
    let someone: Someone = deployment.person("administrator@example.org", "Administrator").await;
    let role = json!({ "role": "administrator", "granted": true });
    assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", someone.id), role).await.0, 204);
    deployment.token(&someone).await
}

/// A deployment that calls other systems, and writes archives below its folder `exports`.
pub(crate) async fn open(database: Option<String>) -> Deployment {
    Deployment::open_with(|settings| {
        settings.database = database;
        settings.fetch_urls = Some(true);
        let folder = settings.data().parent().unwrap().join("exports");
        std::fs::create_dir(&folder).unwrap();
        settings.export_folder = Some(folder);
    })
    .await
    .unwrap()
}
