//! Data-subject requests beside each other: what is asked twice, who decides, what stands when something is refused, and what time does.

use std::sync::Arc;
use std::time::Duration;

use habeas_core::{ManualClock, Timestamp, time};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};
use crate::requests::{code, events, id, in_state, on_behalf, public_status, reminder};

const START: &str = "2026-11-25T12:00:00Z";
/// A little longer than until something that could not be done is tried again.
const A_WHILE: i64 = 6 * 60_000_000;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::parse(START).unwrap()))
}

async fn with_undo(database: Option<String>, clock: &Arc<ManualClock>) -> Deployment {
    Deployment::open_with_clock(clock.clone(), |settings| {
        settings.database = database;
        settings.undo_days = Some(3);
    })
    .await
}

/// Asks for one's own erasure.
async fn erase_me(deployment: &Deployment, someone: &Someone, token: &str) -> Value {
    let body = json!({ "type": "erasure", "confirm": someone.email });
    let (status, request) = deployment.call(Some(token), "POST", "/persons/me/requests", body).await;
    assert_eq!(status, 201, "{request}");
    request
}

async fn decide(deployment: &Deployment, token: &str, request: &Value, decisions: Value) -> Value {
    let path = format!("/requests/{}/decisions", id(request));
    let (status, plan) = deployment.call(Some(token), "PUT", &path, decisions).await;
    assert_eq!(status, 200, "{plan}");
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_in_words_is_never_the_same() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        for asked in ["rectification", "objection"] {
            for said in ["The name.", "The date of birth."] {
                let body = json!({ "type": asked, "identity": "known" });
                let request = on_behalf(&deployment, &officer, &ada, body).await;
                assert_eq!(request["state"], "planned", "{request}");
                let comments = format!("/requests/{}/comments", id(&request));
                let (status, noted) =
                    deployment.call(Some(&officer), "POST", &comments, json!({ "text": said })).await;
                assert_eq!(status, 201, "{noted}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_with_a_second_erasure_is_not_lost() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let requests = format!("/persons/{}/requests", ada.id);
        let known = json!({ "type": "erasure", "identity": "document" });
        let with_images =
            json!({ "type": "erasure", "identity": "document", "decisions": { "eraseDepicted": true } });
        let first = on_behalf(&deployment, &officer, &ada, known.clone()).await;

        let (status, refused) = deployment.call(Some(&officer), "POST", &requests, with_images.clone()).await;
        assert_eq!((status.as_u16(), &refused["code"]), (409, &json!("conflict")), "{refused}");
        assert!(refused["title"].as_str().unwrap().contains(id(&first)), "{refused}");
        // Also when it turns out only later that it is the person.
        let unsure = json!({ "type": "erasure", "decisions": { "eraseDepicted": true } });
        let later = on_behalf(&deployment, &officer, &ada, unsure).await;
        let confirm = format!("/requests/{}/confirm-identity", id(&later));
        let body = json!({ "identity": "known" });
        let (status, refused) = deployment.call(Some(&officer), "POST", &confirm, body).await;
        assert_eq!(status, 409, "{refused}");
        assert_eq!(public_status(&deployment, &later).await["state"], "verifying");

        // Decided where it is open, the same is asked again.
        decide(&deployment, &officer, &first, json!({ "eraseDepicted": true })).await;
        for same in [with_images, known] {
            let again = on_behalf(&deployment, &officer, &ada, same).await;
            let twin = (&again["state"], &again["duplicateOf"]);
            assert_eq!(twin, (&json!("duplicate"), &first["id"]), "{again}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_by_one_plan_at_a_time() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = clock();
        let deployment = with_undo(database, &clock).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let token = deployment.token(&ada).await;
        let plan = async || {
            let (status, plan) =
                deployment.call(Some(&token), "POST", "/persons/me/erasure-plans", json!({})).await;
            assert_eq!(status, 201, "{plan}");
            json!({ "plan": plan["plan"], "confirm": ada.email })
        };
        let (first, second) = (plan().await, plan().await);
        let (status, report) = deployment.call(Some(&token), "POST", "/erasures", first.clone()).await;
        assert_eq!((status.as_u16(), &report["status"]), (202, &json!("planned")), "{report}");
        let (_, mine) = deployment.call(Some(&token), "GET", "/persons/me/requests", json!(null)).await;
        for run in [first, second.clone()] {
            let (status, refused) = deployment.call(Some(&token), "POST", "/erasures", run).await;
            assert_eq!(status, 409, "{refused}");
            assert!(refused["title"].as_str().unwrap().contains(id(&mine[0])), "{refused}");
        }
        assert_eq!(deployment.operator("POST", "/erasures", second).await.0, 409);
        clock.advance(3 * time::DAY + 1);
        let done = in_state(&deployment, &mine[0], "completed").await;

        // The receipt is where the request is until the run is forgotten, and its number longer.
        assert_eq!(public_status(&deployment, &mine[0]).await["erasure"], done["erasure"]);
        clock.advance(31 * time::DAY);
        let seen = loop {
            let seen = public_status(&deployment, &mine[0]).await;
            if seen.get("erasure").is_none() {
                break seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(seen["receipt"], done["receipt"], "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_staff_decide_on_somebodys_own_erasure_waits_for_a_colleague() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = clock();
        let deployment = with_undo(database, &clock).await;
        let officer = deployment.officer("officer").await;
        deployment.officer("second").await;
        let (ada, eve) = (
            deployment.person("ada@example.org", "Ada").await,
            deployment.person("eve@example.org", "Eve").await,
        );
        let (of_ada, of_eve) = (deployment.token(&ada).await, deployment.token(&eve).await);
        let widened = erase_me(&deployment, &ada, &of_ada).await;
        let own = erase_me(&deployment, &eve, &of_eve).await;
        let more = json!({ "eraseDepicted": true });
        decide(&deployment, &officer, &widened, more.clone()).await;
        decide(&deployment, &of_eve, &own, more).await;
        clock.advance(3 * time::DAY + 1);
        // What a person decides on their own needs nobody.
        in_state(&deployment, &own, "completed").await;
        let (officer, second) =
            (deployment.signed_in_anew("officer").await, deployment.signed_in_anew("second").await);

        in_state(&deployment, &widened, "awaitingApproval").await;
        let path = format!("/requests/{}", id(&widened));
        let (_, plan) = deployment.call(Some(&second), "GET", &format!("{path}/plan"), json!(null)).await;
        assert_eq!(plan["plan"]["eraseDepicted"], true, "{plan}");
        let digest = json!({ "digest": plan["plan"]["digest"] });
        let approve = format!("{path}/approve");
        let (status, refused) = deployment.call(Some(&officer), "POST", &approve, digest.clone()).await;
        assert_eq!((status.as_u16(), &refused["code"]), (403, &json!("forbidden")), "{refused}");
        let (status, approved) = deployment.call(Some(&second), "POST", &approve, digest).await;
        assert_eq!(status, 200, "{approved}");
        in_state(&deployment, &widened, "completed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_blocked_goes_on_though_it_was_extended_and_waits_for_a_colleague_once_the_staff_decided() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = clock();
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let officer = deployment.officer("officer").await;
        let grant = async |someone: &Someone| {
            let path = format!("/persons/{}/role", someone.id);
            let role = json!({ "role": "administrator", "granted": true });
            assert_eq!(deployment.operator("PUT", &path, role).await.0, 204);
        };
        let mut last = deployment.person("first@example.org", "First").await;
        grant(&last).await;
        for (name, decided, state) in [("second", false, "completed"), ("third", true, "awaitingApproval")] {
            // The last administrator has to have a successor first.
            let token = deployment.token(&last).await;
            let request = erase_me(&deployment, &last, &token).await;
            assert_eq!(request["state"], "planned", "{request}");
            if decided {
                decide(&deployment, &officer, &request, json!({ "eraseDepicted": true })).await;
            }
            let extend = format!("/requests/{}/extend", id(&request));
            let why = json!({ "reason": "complexity" });
            let (status, extended) = deployment.call(Some(&officer), "POST", &extend, why).await;
            assert_eq!((status.as_u16(), &extended["state"]), (200, &json!("planned")), "{extended}");
            last = deployment.person(&format!("{name}@example.org"), name).await;
            grant(&last).await;
            clock.advance(A_WHILE);
            in_state(&deployment, &request, state).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_kept_changes_nothing() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let holdings = format!("/persons/{}/holdings", ada.id);
        for (asked, change) in [
            ("rectification", json!({ "name": "Ada King" })),
            ("rectification", json!(null)),
            ("objection", json!(null)),
        ] {
            let (_, before) = deployment.operator("GET", &holdings, json!(null)).await;
            let body = json!({ "type": asked, "identity": "known" });
            let request = on_behalf(&deployment, &officer, &ada, body).await;
            let complete = format!("/requests/{}/complete", id(&request));
            for text in [" ".to_owned(), "x".repeat(4_001)] {
                let body = json!({ "text": text, "rectification": change });
                let (status, refused) = deployment.call(Some(&officer), "POST", &complete, body).await;
                assert_eq!(status, 400, "{refused}");
                let (_, held) = deployment.operator("GET", &holdings, json!(null)).await;
                let of = |held: &Value| (held["person"]["name"].clone(), held["restricted"].clone());
                assert_eq!(of(&held), of(&before), "{asked}");
            }
            let body = json!({ "text": "Done.", "rectification": change });
            let (status, done) = deployment.call(Some(&officer), "POST", &complete, body).await;
            assert_eq!((status.as_u16(), &done["state"]), (200, &json!("completed")), "{done}");
            // One with which nothing was corrected does not say that something was.
            assert_eq!(events(&done).contains(&"corrected"), change.is_object(), "{done}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_staff_is_reminded_of_an_old_letter_that_waits_for_its_code() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = clock();
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let body = json!({ "type": "objection", "channel": "letter", "received": "2026-11-01T08:00:00Z" });
        let request = on_behalf(&deployment, &officer, &ada, body).await;
        assert_eq!(
            (&request["state"], &request["due"]),
            (&json!("verifying"), &json!("2026-12-01T23:59:59.000000Z")),
            "{request}"
        );
        let sent = code(&deployment, &request).await;
        clock.advance(2 * 60_000_000);
        let mut looked = 0;
        while !std::fs::read_to_string(reminder(&deployment, &request))
            .is_ok_and(|letter| letter.contains("officer@example.org") && letter.contains("is soon due"))
        {
            looked += 1;
            assert!(looked < 4_000, "nobody was reminded");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It did not take the place of the letter to the person.
        assert_eq!(code(&deployment, &request).await, sent);
        let verify = format!("/requests/{}/verify", id(&request));
        let (status, verified) = deployment.call(None, "POST", &verify, json!({ "code": sent })).await;
        assert_eq!((status.as_u16(), &verified["state"]), (200, &json!("planned")), "{verified}");
        assert!(reminder(&deployment, &request).exists());
        // What is called off needs no answer any more.
        let cancel = format!("/requests/{}/cancel", id(&request));
        assert_eq!(deployment.call(Some(&officer), "POST", &cancel, json!({})).await.0, 200);
        assert!(!reminder(&deployment, &request).exists());
    }
}
