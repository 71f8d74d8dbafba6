//! What persons are told, and when: answers to whoever has no account, how long a refusal is kept, dates that cannot be.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use habeas_core::{ManualClock, Timestamp, time};
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines, image};
use crate::requests::{code, events, id, in_state, letter, on_behalf, once_keys};

fn clock(start: &str) -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::parse(start).unwrap()))
}

/// A letter once it says this, wherever its lines are broken.
async fn said(path: PathBuf, expected: &str) -> String {
    let mut looked = 0;
    loop {
        let letter = std::fs::read_to_string(&path).unwrap_or_default();
        let letter = letter.replace("=\r\n", "").replace("=\n", "");
        if letter.contains(expected) {
            return letter;
        }
        looked += 1;
        assert!(looked < 4_000, "not said: {expected}: {letter}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn decide(deployment: &Deployment, token: &str, request: &Value, decision: &str, body: Value) {
    let path = format!("/requests/{}/{decision}", id(request));
    let (status, decided) = deployment.call(Some(token), "POST", &path, body).await;
    assert_eq!(status, 200, "{decision}: {decided}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_reaches_whoever_has_no_account_to_read_it_in() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;

        // Of whom nothing is known but the address in the letter.
        let body = json!({ "type": "objection", "email": "nobody@example.org", "channel": "letter" });
        let (status, request) = deployment.call(Some(&officer), "POST", "/requests", body).await;
        assert_eq!(status, 202, "{request}");
        code(&deployment, &request).await;
        let more = json!({ "reason": "complexity", "text": "We ask the other office." });
        decide(&deployment, &officer, &request, "extend", more).await;
        let extended = letter(&deployment, &request).with_file_name(format!("{}-extended.eml", id(&request)));
        said(extended, "We ask the other office.").await;
        let refusal = json!({ "reason": "insuf_verification", "text": "The signature is another one." });
        decide(&deployment, &officer, &request, "deny", refusal).await;
        let refused = said(letter(&deployment, &request), "The signature is another one.").await;
        assert!(refused.contains("supervisory authority") && !refused.contains("Sign in"), "{refused}");
        // Both are forgotten with the address.
        while once_keys(&deployment).await != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        // Whom only images name.
        let owner = deployment.person("owner@example.org", "Owner").await;
        let project = deployment.project(&owner, "p").await;
        let shown = deployment.image(&owner, &project, "x.jpg", &image(1), &[]).await;
        crate::depicted::depict(&deployment, &owner, &project, &shown, "lost@example.org").await;
        let body = json!({ "type": "restriction", "email": "lost@example.org" });
        let (status, request) = deployment.call(None, "POST", "/requests", body).await;
        assert_eq!(status, 202, "{request}");
        let verified = json!({ "code": code(&deployment, &request).await });
        let verify = format!("/requests/{}/verify", id(&request));
        assert_eq!(deployment.call(None, "POST", &verify, verified).await.0, 200);
        let done = json!({ "text": "Nobody uses the image now." });
        decide(&deployment, &officer, &request, "complete", done).await;
        let answered = said(letter(&deployment, &request), "Nobody uses the image now.").await;
        assert!(!answered.contains("Sign in"), "{answered}");

        // Whoever has an account reads it there, and a mailbox does not.
        let ada = deployment.person("ada@example.org", "Ada").await;
        let body = json!({ "type": "restriction", "identity": "document" });
        let request = on_behalf(&deployment, &officer, &ada, body).await;
        let refusal = json!({ "reason": "other", "text": "This stays between us." });
        decide(&deployment, &officer, &request, "deny", refusal).await;
        let refused = said(letter(&deployment, &request), "Sign in to read more").await;
        assert!(!refused.contains("This stays between us."), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_kept_for_years_also_where_nobody_could_make_sure_who_asked() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = clock("2026-11-25T12:00:00Z");
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let asked = json!({ "type": "access", "channel": "letter" });
        let refused = on_behalf(&deployment, &officer, &ada, asked.clone()).await;
        let called_off = on_behalf(&deployment, &officer, &ada, asked).await;
        let refusal = json!({ "reason": "suspected_fraud", "text": "It was not her." });
        decide(&deployment, &officer, &refused, "deny", refusal).await;
        decide(&deployment, &officer, &called_off, "cancel", json!({})).await;
        clock.advance(31 * time::DAY);
        let gone = format!("/requests/{}", id(&called_off));
        while deployment.operator("GET", &gone, json!(null)).await.0 != 404 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let kept = in_state(&deployment, &refused, "denied").await;
        assert_eq!(kept["comments"][0]["text"], "It was not her.", "{kept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_came_in_the_last_years_and_an_old_one_is_late_whatever_the_clock_says() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        // On a machine whose clock was never set, what came last year came before the epoch.
        let clock = clock("1971-01-01T12:00:00Z");
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let persons = format!("/persons/{}/requests", ada.id);
        for (received, said) in [
            ("0001-01-01T00:00:00Z", "1826 days"),
            ("1965-12-31T00:00:00Z", "1826 days"),
            ("1971-01-01T12:00:01Z", "in the future"),
        ] {
            let body = |email: Option<&str>| json!({ "type": "objection", "channel": "letter", "received": received, "email": email });
            let mut about = body(None);
            about.as_object_mut().unwrap().remove("email");
            for (path, body) in [(persons.as_str(), about), ("/requests", body(Some("ada@example.org")))] {
                let (status, refused) = deployment.call(Some(&officer), "POST", path, body).await;
                assert_eq!(status, 400, "{received}: {refused}");
                assert!(refused.to_string().contains(said), "{received}: {refused}");
            }
        }
        let body = json!({ "type": "objection", "channel": "letter", "identity": "known", "received": "1969-05-01T00:00:00Z" });
        let request = on_behalf(&deployment, &officer, &ada, body).await;
        let (_, late) = deployment.call(Some(&officer), "GET", "/requests?overdue=true", json!(null)).await;
        assert_eq!(late["requests"][0]["id"], request["id"], "{late}");
        clock.advance(2 * 60_000_000);
        let path = format!("/requests/{}", id(&request));
        let mut looked = 0;
        while !events(&deployment.operator("GET", &path, json!(null)).await.1).contains(&"reminded") {
            looked += 1;
            assert!(looked < 4_000, "nobody was reminded");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_change_ones_mind_is_no_longer_than_that_to_answer() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = clock("2026-11-25T12:00:00Z");
        let deployment = Deployment::open_with_clock(clock.clone(), |settings| {
            settings.database = database;
            settings.undo_days = Some(14);
            settings.request_regimes = Some("quick = 2 days + 2 days".to_owned());
        })
        .await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let token = deployment.token(&ada).await;
        let body = json!({ "type": "erasure", "confirm": ada.email });
        let (_, request) = deployment.call(Some(&token), "POST", "/persons/me/requests", body).await;
        assert_eq!(
            (&request["state"], &request["undoUntil"]),
            (&json!("undoWindow"), &json!("2026-11-27T23:59:59.000000Z")),
            "{request}"
        );
        assert_eq!(request["due"], request["undoUntil"]);
        // A plan of one's own as well.
        let eve = deployment.person("eve@example.org", "Eve").await;
        let token = deployment.token(&eve).await;
        let (_, plan) = deployment.call(Some(&token), "POST", "/persons/me/erasure-plans", json!({})).await;
        let run = json!({ "plan": plan["plan"], "confirm": eve.email, "digest": plan["digest"] });
        assert_eq!(deployment.call(Some(&token), "POST", "/erasures", run).await.0, 202);
        let (_, mine) = deployment.call(Some(&token), "GET", "/persons/me/requests", json!(null)).await;
        assert_eq!(mine[0]["undoUntil"], "2026-11-27T23:59:59.000000Z", "{mine}");
        clock.advance(3 * time::DAY);
        in_state(&deployment, &request, "completed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_form_says_that_a_code_goes_to_any_address() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let body = json!({ "type": "access", "email": "nobody@example.org" });
        let (_, request) = deployment.call(None, "POST", "/requests", body).await;
        for path in ["/ask".to_owned(), format!("/requests/{}", id(&request))] {
            let (status, page) = deployment.send(Request::get(&path).body(Body::empty()).unwrap()).await;
            let page = String::from_utf8(page).unwrap();
            assert_eq!(status, 200, "{path}");
            assert!(page.contains("in any case") && page.contains("unwanted mail"), "{path}: {page}");
            assert!(
                !page.contains("nothing is held under it") && !page.contains("nothing may be held"),
                "{path}"
            );
        }
    }
}
