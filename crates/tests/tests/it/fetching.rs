//! Whoever has no account fetches the copy that answers their request with a one-time code.

use std::io::Cursor;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, header};
use habeas_core::{Id, ManualClock, Timestamp, time};
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines, image, unzip};
use crate::requests::{code, in_state, letter};

/// Asks for access by the public form, and shows that the address is theirs; the path of the completed request.
async fn completed(deployment: &Deployment, email: &str) -> (Value, String) {
    let body = json!({ "type": "access", "email": email });
    let (status, request) = deployment.call(None, "POST", "/requests", body).await;
    assert_eq!(status, 202, "{request}");
    let path = format!("/requests/{}", request["id"].as_str().unwrap());
    // As long as it is not completed nobody learns whether there is anything to fetch.
    assert_eq!(fetch(deployment, &path, "1234").await.0, 404);
    let verified = json!({ "code": code(deployment, &request).await });
    let (status, answer) = deployment.call(None, "POST", &format!("{path}/verify"), verified).await;
    assert_eq!(status, 200, "{answer}");
    in_state(deployment, &request, "completed").await;
    (request, path)
}

/// Fetches the archive by the API.
async fn fetch(deployment: &Deployment, path: &str, code: &str) -> (u16, Vec<u8>) {
    let request = Request::post(format!("/api/privacy/v1{path}/archive"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(json!({ "code": code }).to_string()))
        .unwrap();
    let (status, bytes) = deployment.send(request).await;
    (status.as_u16(), bytes)
}

/// Fetches the archive by the form of the page.
async fn fetch_by_form(deployment: &Deployment, path: &str, code: &str) -> (u16, Vec<u8>) {
    let request = Request::post(format!("{path}/archive"))
        .header("host", "localhost")
        .header("origin", "http://localhost")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(format!("code={code}")))
        .unwrap();
    let (status, bytes) = deployment.send(request).await;
    (status.as_u16(), bytes)
}

/// The page of a request.
async fn page(deployment: &Deployment, path: &str) -> String {
    let (status, body) = deployment.send(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(status, 200, "{path}");
    String::from_utf8(body).unwrap()
}

async fn resend(deployment: &Deployment, path: &str) -> u16 {
    deployment.call(None, "POST", &format!("{path}/resend"), json!({})).await.0.as_u16()
}

/// The letter of a request, once it says this.
async fn said(deployment: &Deployment, request: &Value, expected: &str) -> String {
    loop {
        if let Ok(said) = std::fs::read_to_string(letter(deployment, request))
            && said.contains(expected)
        {
            return said;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_images_name_fetches_their_copy_with_a_code_while_it_is_there() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        deployment.person("ada@example.org", "Ada").await;
        let project = deployment.project(&owner, "p").await;
        let shown = deployment.image(&owner, &project, "x.jpg", &image(1), &[]).await;
        crate::depicted::depict(&deployment, &owner, &project, &shown, "Lost@example.org").await;

        let (request, path) = completed(&deployment, "lost@example.org").await;
        let ready = said(&deployment, &request, "Your copy is ready").await;
        assert!(ready.contains(&path) && !ready.contains("/me/exports"), "{ready}");
        let form = format!("action=\"{path}/archive\"");
        assert!(page(&deployment, &path).await.contains(&form));
        assert_eq!(fetch(&deployment, &path, "00000000").await.0, 400, "no code was sent");

        assert_eq!(resend(&deployment, &path).await, 202);
        let sent = code(&deployment, &request).await;
        let (status, refused) = fetch_by_form(&deployment, &path, "1234").await;
        let refused = String::from_utf8(refused).unwrap();
        assert!(status == 400 && refused.contains("role=\"alert\"") && refused.contains(&form), "{refused}");
        for (status, bytes) in
            [fetch(&deployment, &path, &sent).await, fetch_by_form(&deployment, &path, &sent).await]
        {
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&bytes));
            let files = unzip(Cursor::new(bytes));
            assert!(files.iter().any(|(_, bytes)| String::from_utf8_lossy(bytes).contains(&shown)));
        }
        // It stands in their record as their own.
        let telemetry = deployment.server().app().access().telemetry();
        telemetry.flush().await.unwrap();
        let (_, report) = deployment
            .operator("GET", &format!("/requests/{}", request["id"].as_str().unwrap()), json!(null))
            .await;
        let person: Id = report["subject"].as_str().unwrap().parse().unwrap();
        let entries = telemetry.of(person).await.unwrap().into_iter().flat_map(|hour| hour.entries);
        let downloads: u32 = entries
            .filter(|entry| entry.operation == "DownloadExport" && entry.actor.is_none())
            .map(|entry| entry.count)
            .sum();
        assert_eq!(downloads, 2);

        // Five wrong codes make the right one worthless, and another one may be sent.
        for _ in 0..5 {
            assert_eq!(fetch(&deployment, &path, "1234").await.0, 400);
        }
        assert_eq!(fetch(&deployment, &path, &sent).await.0, 400);
        assert_eq!(resend(&deployment, &path).await, 202);
        let again = code(&deployment, &request).await;
        assert_eq!(fetch(&deployment, &path, &again).await.0, 200);
        clock.advance(2 * time::HOUR);
        assert_eq!(fetch(&deployment, &path, &again).await.0, 400, "it is more than an hour old");
        let mut answers = Vec::new();
        for _ in 0..3 {
            clock.advance(time::HOUR);
            answers.push(resend(&deployment, &path).await);
        }
        assert_eq!(answers, [202, 202, 429], "the first code of the request is one of five");
        clock.advance(8 * time::DAY);
        assert_eq!(fetch(&deployment, &path, &again).await.0, 404);
        assert!(!page(&deployment, &path).await.contains(&form));

        // Who has an account signs in; who is unknown has nothing to fetch.
        let (request, path) = completed(&deployment, "ada@example.org").await;
        said(&deployment, &request, "/me/exports").await;
        assert!(!page(&deployment, &path).await.contains("/archive"));
        assert_eq!((resend(&deployment, &path).await, fetch(&deployment, &path, "1234").await.0), (409, 404));
    }
}
