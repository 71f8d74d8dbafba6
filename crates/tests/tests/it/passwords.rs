//! Programs that send a password with every request, many at once; and whoever guesses at one.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use habeas_core::{Ambient, ManualClock};
use serde_json::json;
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone, engines};
use crate::mlflow::Tracker;

const RIGHT: &str = "correct horse battery staple";

async fn set_password(deployment: &Deployment, someone: &Someone, password: &str) {
    let path = format!("/persons/{}/password", someone.id);
    assert_eq!(deployment.operator("PUT", &path, json!({ "password": password })).await.0, 204);
}

/// Calls MLflow's API as its client does with a name and a password; the status, and after how many seconds to try again.
async fn called(deployment: &Deployment, email: &str, password: &str) -> (u16, Option<u64>) {
    let request = Request::get("/api/2.0/mlflow/experiments/get?experiment_id=0")
        .header("authorization", format!("Basic {}", STANDARD.encode(format!("{email}:{password}"))))
        .body(Body::empty())
        .unwrap();
    let response = deployment.server().router().oneshot(request).await.unwrap();
    let retry_after = response.headers().get("retry-after");
    (response.status().as_u16(), retry_after.map(|value| value.to_str().unwrap().parse().unwrap()))
}

/// Calls with these passwords at once; the statuses.
async fn at_once(
    deployment: &Deployment,
    email: &str,
    passwords: impl IntoIterator<Item = String>,
) -> Vec<u16> {
    let calls = passwords.into_iter().map(|password| async move {
        let (status, retry_after) = called(deployment, email, &password).await;
        assert_eq!(retry_after.is_some_and(|seconds| seconds > 0), status == 429, "{status}");
        status
    });
    join_all(calls).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_is_let_in_many_times_at_once_and_guesses_are_not() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Ambient::system().now()));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let other = deployment.person("b@example.org", "Bea").await;
        set_password(&deployment, &someone, RIGHT).await;
        set_password(&deployment, &other, RIGHT).await;
        // The workspace that the address means is made by whoever comes first.
        Tracker::new(&deployment, &someone)
            .await
            .ok("GET", "/experiments/get?experiment_id=0", json!(null))
            .await;
        let right = || std::iter::repeat_n(RIGHT.to_owned(), 40);
        // None of them was checked before; then all are remembered; then none any more.
        for _ in 0..3 {
            assert_eq!(at_once(&deployment, &someone.email, right()).await, [200; 40]);
            clock.advance(40_000_000);
        }

        // While it is remembered, guesses at once are no more than five, and then whoever is right waits, too.
        assert_eq!(called(&deployment, &someone.email, RIGHT).await.0, 200);
        let guesses = (0..40).map(|number| format!("a guess, number {number}"));
        let answers = at_once(&deployment, &someone.email, guesses).await;
        let count = |status: u16| answers.iter().filter(|found| **found == status).count();
        assert_eq!((count(401), count(429)), (5, 35), "{answers:?}");
        let (status, retry_after) = called(&deployment, &someone.email, RIGHT).await;
        assert_eq!((status, retry_after), (429, Some(2)));
        assert_eq!(called(&deployment, &other.email, RIGHT).await.0, 200, "others do not wait");
        clock.advance(2_000_000);
        assert_eq!(called(&deployment, &someone.email, RIGHT).await.0, 200);
        assert_eq!(at_once(&deployment, &someone.email, right()).await, [200; 40]);

        // What is remembered goes with the password, and with the person.
        set_password(&deployment, &someone, "another horse").await;
        assert_eq!(called(&deployment, &someone.email, RIGHT).await.0, 401);
        assert_eq!(called(&deployment, &someone.email, "another horse").await.0, 200);
        deployment.erase(&someone).await;
        assert_eq!(called(&deployment, &someone.email, "another horse").await.0, 401);
    }
}
