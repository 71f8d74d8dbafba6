//! Data-subject requests over HTTP: every type to its end, on both engines; whoever asks, whoever decides, and what time does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use habeas_core::{ManualClock, Timestamp, time};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image, unzip};

/// Where the latest letter of a request lies.
pub(crate) fn letter(deployment: &Deployment, request: &Value) -> PathBuf {
    deployment.settings.data().join("outbox").join(format!("{}.eml", id(request)))
}

/// Where the reminder to the staff lies.
pub(crate) fn reminder(deployment: &Deployment, request: &Value) -> PathBuf {
    letter(deployment, request).with_file_name(format!("{}-reminder.eml", id(request)))
}

/// The one-time code of the letter in the outbox, once it is written.
pub(crate) async fn code(deployment: &Deployment, request: &Value) -> String {
    let path = letter(deployment, request);
    loop {
        if let Ok(letter) = std::fs::read_to_string(&path)
            && let Some((_, rest)) = letter.split_once("The code is ")
        {
            return rest[..8].to_owned();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn id(request: &Value) -> &str {
    request["id"].as_str().unwrap_or_else(|| panic!("{request}"))
}

/// A request as the operator sees it, once it is in this state.
pub(crate) async fn in_state(deployment: &Deployment, request: &Value, state: &str) -> Value {
    let path = format!("/requests/{}", id(request));
    let mut looked = 0;
    loop {
        let (_, report) = deployment.operator("GET", &path, json!(null)).await;
        if report["state"] == state {
            return report;
        }
        looked += 1;
        assert!(looked < 4_000, "not {state}: {report}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn events(request: &Value) -> Vec<&str> {
    request["history"].as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect()
}

/// What whoever has a request's id may know.
pub(crate) async fn public_status(deployment: &Deployment, request: &Value) -> Value {
    let (status, seen) =
        deployment.call(None, "GET", &format!("/requests/{}/status", id(request)), json!(null)).await;
    assert_eq!(status, 200, "{seen}");
    seen
}

pub(crate) async fn on_behalf(deployment: &Deployment, token: &str, person: &Someone, body: Value) -> Value {
    let path = format!("/persons/{}/requests", person.id);
    let (status, request) = deployment.call(Some(token), "POST", &path, body).await;
    assert_eq!(status, 201, "{request}");
    request
}

/// What [`crate::crash`] lets die: an erasure asked for by letter, verified by its code, approved and run.
pub(crate) async fn ask(deployment: &Deployment, someone: &Someone) {
    let officer = deployment.officer("officer").await;
    let second = deployment.officer("second").await;
    let request = on_behalf(deployment, &officer, someone, json!({ "type": "erasure" })).await;
    let body = json!({ "code": code(deployment, &request).await });
    deployment.call(None, "POST", &format!("/requests/{}/verify", id(&request)), body).await;
    let path = format!("/requests/{}", id(&request));
    let (_, plan) = deployment.call(Some(&second), "GET", &format!("{path}/plan"), json!(null)).await;
    let body = json!({ "digest": plan["plan"]["digest"] });
    deployment.call(Some(&second), "POST", &format!("{path}/approve"), body).await;
    in_state(deployment, &request, "completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_is_taken_in_verified_approved_by_a_second_person_run_and_proved() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (officer, second) = (deployment.officer("officer").await, deployment.officer("second").await);
        let ada = deployment.person("ada@example.org", "Ada").await;
        let project = deployment.project(&ada, "p").await;
        deployment.image(&ada, &project, "a.jpg", &image(1), &[]).await;
        let body = json!({ "type": "erasure", "channel": "letter", "received": "2026-11-20T08:00:00Z" });
        let request = on_behalf(&deployment, &officer, &ada, body).await;
        assert_eq!(
            (request["state"].as_str(), request["channel"].as_str()),
            (Some("verifying"), Some("letter"))
        );
        assert_eq!(request["due"], "2026-12-21T23:59:59.000000Z", "the 20th of December 2026 is a Sunday");
        let path = format!("/requests/{}", id(&request));
        let approve = format!("{path}/approve");

        let body = json!({ "type": "objection", "identity": "document" });
        let other = on_behalf(&deployment, &officer, &ada, body).await;

        // Not before it is sure who asks.
        let (status, refused) =
            deployment.call(Some(&second), "POST", &approve, json!({ "digest": "" })).await;
        assert_eq!(status, 409, "{refused}");
        let code = code(&deployment, &request).await;
        let verify = format!("{path}/verify");
        assert_eq!(deployment.call(None, "POST", &verify, json!({ "code": "00000000" })).await.0, 400);
        let spaced = json!({ "code": format!("{} {}", &code[..4], &code[4..]) });
        let (status, verified) = deployment.call(None, "POST", &verify, spaced).await;
        assert_eq!(
            (status.as_u16(), verified["state"].as_str()),
            (200, Some("awaitingApproval")),
            "{verified}"
        );
        assert!(!letter(&deployment, &request).exists());

        let (_, before) = deployment.call(Some(&second), "GET", &format!("{path}/plan"), json!(null)).await;
        assert_eq!(
            (before["changed"].as_bool(), before["difference"].as_array().unwrap().len()),
            (Some(false), 0)
        );
        let digest = json!({ "digest": before["plan"]["digest"] });
        let (status, own) = deployment.call(Some(&officer), "POST", &approve, digest.clone()).await;
        assert_eq!((status.as_u16(), own["code"].as_str()), (403, Some("forbidden")), "{own}");
        let note = json!({ "text": "Called back about the letter." });
        assert_eq!(deployment.call(Some(&officer), "POST", &format!("{path}/comments"), note).await.0, 201);

        // The world changes: the old digest is refused and the difference shown.
        deployment.image(&ada, &project, "b.jpg", &image(2), &[]).await;
        let (status, refused) = deployment.call(Some(&second), "POST", &approve, digest).await;
        assert_eq!(status, 409, "{refused}");
        let (_, after) = deployment.call(Some(&second), "GET", &format!("{path}/plan"), json!(null)).await;
        assert_eq!(after["changed"], true);
        let images =
            after["difference"].as_array().unwrap().iter().find(|kind| kind["kind"] == "Image").unwrap();
        assert_eq!((images["countBefore"].as_u64(), images["countNow"].as_u64()), (Some(1), Some(2)));
        let digest = json!({ "digest": after["plan"]["digest"] });
        let (status, approved) = deployment.call(Some(&second), "POST", &approve, digest).await;
        assert_eq!(status, 200, "{approved}");

        // What else the person had asked ends with them.
        assert_eq!(in_state(&deployment, &other, "cancelled").await["state"], "cancelled");
        // The record outlives the person and names nobody; what was said is gone.
        let done = in_state(&deployment, &request, "completed").await;
        assert_eq!(
            events(&done),
            [
                "received",
                "codeSent",
                "verified",
                "commented",
                "approved",
                "started",
                "keysDestroyed",
                "completed"
            ]
        );
        assert_eq!(done["comments"], json!([]));
        assert_ne!(done["approver"], done["requester"]);
        // Whoever was erased finds the proof where the letter leads.
        let seen = public_status(&deployment, &request).await;
        assert_eq!((&seen["erasure"], &seen["receipt"]), (&done["erasure"], &done["receipt"]), "{seen}");
        let proof = format!("/erasures/{}/receipt", seen["erasure"].as_str().unwrap());
        let (status, proof) = deployment.call(None, "GET", &proof, json!(null)).await;
        assert_eq!((status.as_u16(), proof["salt"].is_string()), (200, true), "{proof}");
        let receipt = format!("/receipts/{}", done["receipt"].as_str().unwrap());
        assert_eq!(deployment.call(Some(&officer), "GET", &receipt, json!(null)).await.0, 200);
        assert_eq!(deployment.call(Some(&officer), "GET", &path, json!(null)).await.0, 200);
        assert!(!["ada@", "Ada"].iter().any(|name| done.to_string().contains(name)), "{done}");
        let gone = deployment.operator("GET", "/persons?email=ada@example.org", json!(null)).await;
        assert_eq!(gone.0, 404);
        let cancelled = deployment.call(Some(&officer), "POST", &format!("{path}/cancel"), json!({})).await;
        assert_eq!(cancelled.0, 409);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_type_comes_to_its_end() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let token = deployment.token(&ada).await;

        // Access through the public form.
        let body = json!({ "type": "access", "email": " Ada@Example.org " });
        let (status, request) = deployment.call(None, "POST", "/requests", body).await;
        assert_eq!(status, 202, "{request}");
        let body = json!({ "code": code(&deployment, &request).await });
        let verify = format!("/requests/{}/verify", id(&request));
        assert_eq!(deployment.call(None, "POST", &verify, body).await.0, 200);
        let done = in_state(&deployment, &request, "completed").await;
        let archive = format!("/exports/{}", done["archive"].as_str().unwrap());
        let (status, export) = deployment.call(Some(&token), "GET", &archive, json!(null)).await;
        assert_eq!((status.as_u16(), export["status"].as_str()), (200, Some("ready")), "{export}");
        assert!(done["receipt"].is_string());
        // That of an archive is the person's to fetch, who can sign in.
        assert_eq!(public_status(&deployment, &request).await.get("receipt"), None);

        // Portability by the person themselves, verified by their sign-in.
        let own = on_behalf(&deployment, &token, &ada, json!({ "type": "portability" })).await;
        assert_eq!(
            (own["channel"].as_str(), own["identityCheckedBy"].as_str()),
            (Some("selfService"), Some("signIn"))
        );
        in_state(&deployment, &own, "completed").await;

        // The others are decided by an officer; the server carries out what it can.
        let holdings = format!("/persons/{}/holdings", ada.id);
        let change = json!({ "name": "Ada King" });
        let lift = format!("/persons/{}/restriction", ada.id);
        for asked in ["rectification", "restriction", "objection"] {
            let (_, held) = deployment.operator("GET", &holdings, json!(null)).await;
            assert_eq!(held["restricted"], false, "{asked}");
            let body = json!({ "type": asked, "channel": "phone", "identity": "known" });
            let request = on_behalf(&deployment, &officer, &ada, body).await;
            assert_eq!(request["state"], "planned");
            let path = format!("/requests/{}", id(&request));
            let mut text = json!({ "text": format!("Done: {asked}.") });
            let complete = format!("{path}/complete");
            if asked == "rectification" {
                text["rectification"] = change.clone();
            } else {
                let wrong = json!({ "text": "Done.", "rectification": change });
                assert_eq!(deployment.call(Some(&officer), "POST", &complete, wrong).await.0, 400);
            }
            let (status, done) = deployment.call(Some(&officer), "POST", &complete, text.clone()).await;
            assert_eq!((status.as_u16(), done["state"].as_str()), (200, Some("completed")), "{done}");
            assert_eq!(deployment.call(Some(&officer), "POST", &complete, text).await.0, 409);
            // Who objects has the use of their data stopped, as who has it restricted.
            let (_, held) = deployment.operator("GET", &holdings, json!(null)).await;
            assert_eq!(held["restricted"], asked != "rectification", "{asked}");
            assert_eq!(events(&done).contains(&"restricted"), asked != "rectification", "{done}");
            assert_eq!(events(&done).contains(&"corrected"), asked == "rectification", "{done}");
            let (status, _) = deployment.operator("PUT", &lift, json!({ "restricted": false })).await;
            assert_eq!(status, 204);
            // The person reads the answer, and the archive holds it.
            let (_, seen) = deployment.call(Some(&token), "GET", &path, json!(null)).await;
            assert_eq!(seen["comments"][0]["text"], format!("Done: {asked}."));
        }
        let (_, held) = deployment.operator("GET", &holdings, json!(null)).await;
        assert_eq!(held["person"]["name"], "Ada King");
        let (_, mine) = deployment.call(Some(&token), "GET", "/persons/me/requests", json!(null)).await;
        assert_eq!(mine.as_array().unwrap().len(), 5);
        let files = deployment.export(&ada).await;
        let (_, table) = files.iter().find(|(path, _)| path == "rights/case-files.csv").unwrap();
        assert!(String::from_utf8_lossy(table).contains("Done: objection."));
        assert_eq!(files.iter().filter(|(path, _)| path.starts_with("rights/requests/")).count(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_which_a_hold_keeps_a_part_completes_itself_when_the_hold_ends() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (officer, second) = (deployment.officer("officer").await, deployment.officer("second").await);
        let ada = deployment.person("ada@example.org", "Ada").await;
        let project = deployment.project(&ada, "p").await;
        let image = deployment.image(&ada, &project, "a.jpg", &image(1), &[]).await;
        let hold = json!({ "target": image, "matter": "case 7", "reason": "before the court" });
        let (_, hold) = deployment.call(Some(&officer), "POST", "/holds", hold).await;

        let body = json!({ "type": "erasure", "identity": "document" });
        let request = on_behalf(&deployment, &officer, &ada, body).await;
        let path = format!("/requests/{}", id(&request));
        let (_, plan) = deployment.call(Some(&second), "GET", &format!("{path}/plan"), json!(null)).await;
        assert_eq!(plan["plan"]["held"][0]["matter"], "case 7", "{plan}");
        let digest = json!({ "digest": plan["plan"]["digest"] });
        assert_eq!(deployment.call(Some(&second), "POST", &format!("{path}/approve"), digest).await.0, 200);
        let held = in_state(&deployment, &request, "completedWithHolds").await;
        let first = held["receipt"].as_str().unwrap().to_owned();
        assert_eq!(public_status(&deployment, &request).await["receipt"], first);
        let cancel = format!("{path}/cancel");
        assert_eq!(deployment.call(Some(&officer), "POST", &cancel, json!({})).await.0, 409);

        let release = format!("/holds/{}", id(&hold));
        assert_eq!(deployment.call(Some(&officer), "DELETE", &release, json!(null)).await.0, 204);
        let done = in_state(&deployment, &request, "completed").await;
        let last = ["approved", "started", "keysDestroyed", "completedWithHolds", "holdEnded", "completed"];
        assert_eq!(events(&done)[events(&done).len() - last.len()..], last);
        let receipt = format!("/receipts/{}", done["receipt"].as_str().unwrap());
        let (_, receipt) = deployment.operator("GET", &receipt, json!(null)).await;
        assert_eq!(receipt["statement"]["completes"], first, "{receipt}");
        assert_eq!(public_status(&deployment, &request).await["receipt"], done["receipt"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_ask_for_images_that_show_the_person_too() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (officer, second) = (deployment.officer("officer").await, deployment.officer("second").await);
        let owner = deployment.person("owner@example.org", "Owner").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let project = deployment.project(&owner, "p").await;
        let shown = deployment.image(&owner, &project, "s.jpg", &image(1), &[]).await;
        let kept = deployment.image(&owner, &project, "k.jpg", &image(2), &[]).await;
        let path = format!("/projects/{project}/images/metadata?imageIds={shown}");
        let names = json!({ "depicts": "ada@example.org" });
        assert_eq!(deployment.train("POST", &owner.key, &path, Some(names)).await.0, 200);

        let wrong = json!({ "type": "access", "identity": "known", "decisions": { "eraseDepicted": true } });
        let requests = format!("/persons/{}/requests", ada.id);
        assert_eq!(deployment.call(Some(&officer), "POST", &requests, wrong).await.0, 400);
        let body =
            json!({ "type": "erasure", "identity": "document", "decisions": { "eraseDepicted": true } });
        let request = on_behalf(&deployment, &officer, &ada, body).await;
        let path = format!("/requests/{}", id(&request));
        let (_, plan) = deployment.call(Some(&second), "GET", &format!("{path}/plan"), json!(null)).await;
        let decided = (&plan["plan"]["depicted"], &plan["plan"]["eraseDepicted"]);
        assert_eq!(decided, (&json!(1), &json!(true)), "{plan}");
        let digest = json!({ "digest": plan["plan"]["digest"] });
        assert_eq!(deployment.call(Some(&second), "POST", &format!("{path}/approve"), digest).await.0, 200);
        in_state(&deployment, &request, "completed").await;
        let images = format!("/projects/{project}/images");
        let (_, images) = deployment.train("GET", &owner.key, &images, None).await;
        assert_eq!((images.as_array().unwrap().len(), &images[0]["id"]), (1, &json!(kept)), "{images}");
    }
}

/// An answer without what differs between any two requests.
fn constant(mut answer: Value) -> Value {
    for member in ["id", "received", "due"] {
        if let Some(value) = answer.get_mut(member) {
            *value = json!("...");
        }
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_from_the_public_form_whom_the_server_knows() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let start = Timestamp::parse("2026-11-25T12:00:00Z").unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        deployment.person("ada@example.org", "Ada").await;
        let mut answers = Vec::new();
        let mut asked = Vec::new();
        for email in ["ada@example.org", "nobody@example.org"] {
            let mut given = Vec::new();
            let body = json!({ "type": "erasure", "email": email });
            let (status, request) = deployment.call(None, "POST", "/requests", body).await;
            given.push((status.as_u16(), constant(request.clone())));
            let path = format!("/requests/{}", id(&request));
            for (method, path, body) in [
                ("GET", format!("{path}/status"), json!(null)),
                ("POST", format!("{path}/resend"), json!({})),
                ("POST", format!("{path}/verify"), json!({ "code": "" })),
                ("POST", format!("{path}/verify"), json!({ "code": "1234" })),
                ("POST", format!("{path}/verify"), json!({ "code": "1234" })),
                ("POST", format!("{path}/verify"), json!({ "code": "1234" })),
                ("POST", format!("{path}/verify"), json!({ "code": "1234" })),
                ("POST", format!("{path}/verify"), json!({ "code": "1234" })),
                ("GET", format!("{path}/status"), json!(null)),
                ("GET", path.clone(), json!(null)),
            ] {
                let (status, answer) = deployment.call(None, method, &path, body).await;
                given.push((status.as_u16(), constant(answer)));
            }
            asked.push(request);
            answers.push(given);
        }
        assert_eq!(answers[0], answers[1]);
        insta::allow_duplicates! {
            insta::assert_json_snapshot!("nobody_learns_from_the_public_form_whom_the_server_knows", answers[0]);
        }
        // After five wrong codes the right one is worthless.
        let body = json!({ "code": code(&deployment, &asked[0]).await });
        let verify = format!("/requests/{}/verify", id(&asked[0]));
        assert_eq!(deployment.call(None, "POST", &verify, body).await.0, 400);
        // Again and again is slowed down, for either.
        for email in ["ada@example.org", "nobody@example.org"] {
            let mut last = 0;
            for _ in 0..6 {
                let body = json!({ "type": "access", "email": email });
                last = deployment.call(None, "POST", "/requests", body).await.0.as_u16();
            }
            assert_eq!(last, 429, "{email}");
        }
        // So is the code of the unknown address, which got a letter like the other's.
        let body = json!({ "code": code(&deployment, &asked[1]).await });
        let verify = format!("/requests/{}/verify", id(&asked[1]));
        assert_eq!(deployment.call(None, "POST", &verify, body).await.0, 400);
        // Both expire.
        clock.advance(8 * time::DAY);
        for request in &asked {
            in_state(&deployment, request, "expired").await;
        }
        assert!(!letter(&deployment, &asked[0]).exists());
        clock.advance(31 * time::DAY);
        for request in &asked {
            let path = format!("/requests/{}/status", id(request));
            while deployment.call(None, "GET", &path, json!(null)).await.0 != 404 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_unknown_address_is_told_that_nothing_is_held() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let stranger = deployment.token(&ada).await;
        let body = |email: &str| json!({ "type": "access", "email": email, "channel": "letter", "received": "2026-11-20T08:00:00Z" });
        for (token, status) in [(None, 401), (Some(stranger.as_str()), 404)] {
            let refused = deployment.call(token, "POST", "/requests", body("ada@example.org")).await;
            assert_eq!(refused.0, status, "{}", refused.1);
        }
        let mut taken = Vec::new();
        for email in ["ada@example.org", "nobody@example.org"] {
            let (status, request) = deployment.call(Some(&officer), "POST", "/requests", body(email)).await;
            assert_eq!((status.as_u16(), &request["state"]), (202, &json!("verifying")), "{request}");
            taken.push(request);
        }
        assert_eq!(constant(taken[0].clone()), constant(taken[1].clone()));
        let request = &taken[1];
        let path = format!("/requests/{}", id(request));
        let (_, seen) = deployment.call(Some(&officer), "GET", &path, json!(null)).await;
        assert_eq!((&seen["channel"], seen.get("subject")), (&json!("letter"), None), "{seen}");

        // The address is kept over a restart, until the last letter is written.
        deployment.stop().await;
        deployment.start().await;
        assert_eq!(once_keys(&deployment).await, 1);
        let mut body = json!({ "code": code(&deployment, request).await });
        while deployment.call(None, "POST", &format!("{path}/verify"), body).await.0 != 200 {
            // A letter that was being written is written again, with another code.
            body = json!({ "code": code(&deployment, request).await });
        }
        let closed = in_state(&deployment, request, "denied").await;
        assert_eq!(closed["denial"], "no_match");
        assert_eq!(events(&closed), ["received", "codeSent", "verified", "denied"]);
        let outbox = letter(&deployment, request);
        while !std::fs::read_to_string(&outbox).is_ok_and(|letter| letter.contains("nothing is held")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(std::fs::read_to_string(&outbox).unwrap().contains("nobody@example.org"));
        while once_keys(&deployment).await != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        // Whom the staff know by sight need no code.
        let body = json!({ "type": "erasure", "email": "other@example.org", "channel": "inPerson", "identity": "document" });
        let (_, request) = deployment.call(Some(&officer), "POST", "/requests", body).await;
        assert_eq!(request["state"], "denied");
        // What is for the staff is not the form's.
        let body = json!({ "type": "erasure", "email": "other@example.org", "identity": "document" });
        assert_eq!(deployment.call(None, "POST", "/requests", body).await.0, 400);
    }
}

/// How many requests wait for an address that is sealed under a key of its own: keys of the highest generation.
pub(crate) async fn once_keys(deployment: &Deployment) -> usize {
    let store = deployment.server().app().store();
    let keys = store.with_keyring(|keyring| Ok(keyring.containers())).await.unwrap();
    keys.into_iter().filter(|(_, generation)| *generation == u32::MAX).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_recognised_and_verified_all_the_same() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let body = json!({ "type": "restriction", "identity": "document" });
        let first = on_behalf(&deployment, &officer, &ada, body).await;
        let (_, second) = deployment
            .call(None, "POST", "/requests", json!({ "type": "restriction", "email": "ada@example.org" }))
            .await;
        assert_eq!(second["state"], "verifying");
        let path = format!("/requests/{}", id(&second));
        let body = json!({ "code": code(&deployment, &second).await });
        let (_, verified) = deployment.call(None, "POST", &format!("{path}/verify"), body).await;
        assert_eq!(verified["state"], "duplicate");
        let (_, seen) = deployment.call(Some(&officer), "GET", &path, json!(null)).await;
        assert_eq!(
            (seen["duplicateOf"].as_str(), seen["identityCheckedBy"].as_str()),
            (Some(id(&first)), Some("code"))
        );
        // Another type is no duplicate; nor is the same once the first has ended.
        let body = json!({ "type": "objection", "identity": "document" });
        assert_eq!(on_behalf(&deployment, &officer, &ada, body).await["state"], "planned");
        let deny = json!({ "reason": "claim_not_covered", "text": "There is nothing to restrict." });
        let path = format!("/requests/{}/deny", id(&first));
        let (_, denied) = deployment.call(Some(&officer), "POST", &path, deny).await;
        assert_eq!(
            (denied["state"].as_str(), denied["denial"].as_str()),
            (Some("denied"), Some("claim_not_covered"))
        );
        let body = json!({ "type": "restriction", "identity": "document" });
        assert_eq!(on_behalf(&deployment, &officer, &ada, body).await["state"], "planned");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_erases_themselves_with_a_fresh_sign_in_their_address_and_time_to_call_it_off() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let deployment = Deployment::open_with_clock(clock.clone(), |settings| {
            settings.database = database;
            settings.undo_days = Some(3);
        })
        .await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let token = deployment.token(&ada).await;
        let path = "/persons/me/requests";
        let body = json!({ "type": "erasure", "confirm": "ada@example.org" });
        for wrong in
            [json!({ "type": "erasure" }), json!({ "type": "erasure", "confirm": "eve@example.org" })]
        {
            assert_eq!(deployment.call(Some(&token), "POST", path, wrong).await.0, 400);
        }
        clock.advance(16 * 60_000_000);
        let (status, refused) = deployment.call(Some(&token), "POST", path, body.clone()).await;
        assert_eq!((status.as_u16(), refused["code"].as_str()), (403, Some("forbidden")), "{refused}");
        let token = deployment.token(&ada).await;
        let (status, request) = deployment.call(Some(&token), "POST", path, body.clone()).await;
        assert_eq!((status.as_u16(), request["state"].as_str()), (201, Some("undoWindow")), "{request}");
        assert_eq!(request["undoUntil"], "2026-11-28T12:16:00.000000Z");

        // Called off, asked again, and the time passes.
        let cancel = format!("/requests/{}/cancel", id(&request));
        let (_, off) = deployment.call(Some(&token), "POST", &cancel, json!({})).await;
        assert_eq!(off["state"], "cancelled");
        let (_, request) = deployment.call(Some(&token), "POST", path, body).await;
        clock.advance(2 * time::DAY);
        deployment.project(&ada, "later").await;
        assert_eq!(in_state(&deployment, &request, "undoWindow").await["state"], "undoWindow");
        clock.advance(time::DAY + 1);
        let done = in_state(&deployment, &request, "completed").await;
        assert_eq!(
            events(&done),
            ["received", "verified", "undoWindowEnded", "started", "keysDestroyed", "completed"]
        );

        // A plan of one's own, run directly, waits as well.
        let eve = deployment.person("eve@example.org", "Eve").await;
        let token = deployment.token(&eve).await;
        let (_, plan) = deployment.call(Some(&token), "POST", "/persons/me/erasure-plans", json!({})).await;
        let run = json!({ "plan": plan["plan"], "confirm": "eve@example.org", "digest": plan["digest"] });
        let (status, report) = deployment.call(Some(&token), "POST", "/erasures", run).await;
        assert_eq!((status.as_u16(), report["status"].as_str()), (202, Some("planned")), "{report}");
        let (_, mine) = deployment.call(Some(&token), "GET", path, json!(null)).await;
        assert_eq!((mine[0]["state"].as_str(), mine.as_array().unwrap().len()), (Some("undoWindow"), 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_cannot_erase_a_person_without_a_second_one() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let path = format!("/persons/{}/erasure-plans", ada.id);
        let (_, plan) = deployment.call(Some(&officer), "POST", &path, json!({})).await;
        let run = json!({ "plan": plan["plan"], "confirm": "ada@example.org", "digest": plan["digest"] });
        let (status, refused) = deployment.call(Some(&officer), "POST", "/erasures", run).await;
        assert_eq!((status.as_u16(), refused["code"].as_str()), (409, Some("conflict")), "{refused}");
        // The operator of the machine may; it is recorded as a request all the same.
        let report = deployment.erase(&ada).await;
        assert_eq!(report["status"], "completed", "{report}");
        let (_, page) =
            deployment.call(Some(&officer), "GET", "/requests?state=completed", json!(null)).await;
        let request = &page["requests"][0];
        assert_eq!(
            (request["channel"].as_str(), request["receipt"].as_str()),
            (Some("operator"), report["receipt"].as_str())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_are_extended_once_and_in_time_and_the_queue_knows_what_is_late() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let deployment = Deployment::open_with_clock(clock.clone(), |settings| {
            settings.database = database;
            settings.holidays = Some("2026-12-25".to_owned());
        })
        .await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let body = json!({ "type": "objection", "identity": "document" });
        let gdpr = on_behalf(&deployment, &officer, &ada, body).await;
        assert_eq!(gdpr["due"], "2026-12-28T23:59:59.000000Z");
        // The queue is in the order of coming in.
        clock.advance(1_000_000);
        let body = json!({ "type": "restriction", "identity": "document", "regime": "ccpa" });
        let ccpa = on_behalf(&deployment, &officer, &ada, body).await;
        assert_eq!(ccpa["due"], "2027-01-11T23:59:59.000000Z");
        let body = json!({ "type": "restriction", "regime": "hammurabi" });
        let path = format!("/persons/{}/requests", ada.id);
        assert_eq!(deployment.call(Some(&officer), "POST", &path, body).await.0, 400);

        // Reminded seven days before.
        clock.advance(27 * time::DAY);
        let outbox = reminder(&deployment, &gdpr);
        while !std::fs::read_to_string(&outbox).is_ok_and(|letter| letter.contains("officer@example.org")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let extend = |request: &Value| format!("/requests/{}/extend", id(request));
        let why = json!({ "reason": "complexity", "text": "Many models are concerned." });
        let (status, extended) = deployment.call(Some(&officer), "POST", &extend(&ccpa), why.clone()).await;
        assert_eq!(
            (status.as_u16(), extended["due"].as_str()),
            (200, Some("2027-02-23T23:59:59.000000Z")),
            "{extended}"
        );
        assert_eq!(deployment.call(Some(&officer), "POST", &extend(&ccpa), why.clone()).await.0, 409);
        clock.advance(10 * time::DAY);
        // The token of the first officer has expired meanwhile.
        let officer = deployment.officer("second").await;
        assert_eq!(deployment.call(Some(&officer), "POST", &extend(&gdpr), why).await.0, 409);
        let late = |path: &'static str| {
            let (deployment, officer) = (&deployment, &officer);
            async move {
                let (status, page) = deployment.call(Some(officer), "GET", path, json!(null)).await;
                assert_eq!(status, 200, "{page}");
                let requests = page["requests"].as_array().unwrap();
                requests.iter().map(|request| id(request).to_owned()).collect::<Vec<_>>()
            }
        };
        assert_eq!(late("/requests?overdue=true").await, [id(&gdpr)]);
        assert_eq!(late("/requests").await, [id(&ccpa), id(&gdpr)]);
        assert_eq!(late("/requests?type=restriction&state=open").await, [id(&ccpa)]);
        assert_eq!(late("/requests?state=completed").await, Vec::<String>::new());
        let first = deployment.call(Some(&officer), "GET", "/requests?limit=1", json!(null)).await.1;
        let path = format!("/requests?limit=1&after={}", first["next"].as_str().unwrap());
        let second = deployment.call(Some(&officer), "GET", &path, json!(null)).await.1;
        assert_eq!(second["requests"][0]["id"], gdpr["id"]);
        for wrong in ["/requests?state=sideways", "/requests?type=everything"] {
            assert_eq!(deployment.call(Some(&officer), "GET", wrong, json!(null)).await.0, 400, "{wrong}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_killed_at_any_step_comes_to_its_end() {
    let _lock = crate::canary::protected().await;
    for number in 0..engines().len() {
        for fault in [
            "request.created",
            "request.verified",
            "request.approved",
            "erase.step:1",
            "erase.before_tombstone",
            "erase.tombstone_written",
            "erase.keys_destroyed",
            "erase.step:3",
            "erase.rows_deleted",
            "erase.step:7",
            "erase.before_receipt",
            "erase.step:8",
        ] {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let deployment = crate::crash::killed(database, "request", fault).await;
            let (_, page) = deployment.operator("GET", "/requests", json!(null)).await;
            let request = page["requests"][0].clone();
            assert!(request.is_object(), "{number} {fault}: {page}");
            let path = format!("/requests/{}", id(&request));
            if request["state"] == "verifying" {
                // A letter that was being written is written again, with another code.
                loop {
                    let body = json!({ "code": code(&deployment, &request).await });
                    let verify = format!("{path}/verify");
                    if deployment.call(None, "POST", &verify, body).await.0 == 200 {
                        break;
                    }
                }
            }
            let (_, now) = deployment.operator("GET", &path, json!(null)).await;
            if now["state"] == "awaitingApproval" {
                let (_, plan) = deployment.operator("GET", &format!("{path}/plan"), json!(null)).await;
                let body = json!({ "digest": plan["plan"]["digest"] });
                let (status, approved) = deployment.operator("POST", &format!("{path}/approve"), body).await;
                assert_eq!(status, 200, "{fault}: {approved}");
            }
            let done = in_state(&deployment, &request, "completed").await;
            assert!(done["receipt"].is_string(), "{fault}: {done}");
            let completed = events(&done).iter().filter(|event| **event == "completed").count();
            assert_eq!(completed, 1, "{fault}: {done}");
            let gone = deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await;
            assert_eq!(gone.0, 404, "{fault}");
        }
    }
}

/// The formats of the archive that answers a request, as the archive says and as it has them.
async fn formats(deployment: &Deployment, request: &Value) -> (Value, Vec<String>) {
    let done = in_state(deployment, request, "completed").await;
    let archive = done["archive"].as_str().unwrap();
    let (_, export) = deployment.operator("GET", &format!("/exports/{archive}"), json!(null)).await;
    assert_eq!(export["status"], "ready", "{export}");
    let mut content = axum::http::Request::get(format!("/api/privacy/v1/exports/{archive}/content"))
        .body(axum::body::Body::empty())
        .unwrap();
    content.extensions_mut().insert(habeas_access::Actor::Operator);
    let (status, bytes) = deployment.send(content).await;
    assert_eq!(status, 200);
    let mut folders: Vec<String> = unzip(std::io::Cursor::new(bytes))
        .iter()
        .filter_map(|(path, _)| Some(path.strip_prefix("formats/")?.split('/').next()?.to_owned()))
        .collect();
    folders.sort();
    folders.dedup();
    (done["formats"].clone(), folders)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_the_formats_of_its_archive() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let project = deployment.project(&ada, "p").await;
        let tag = deployment.tag(&ada, &project, "t").await;
        deployment.image(&ada, &project, "a.jpg", &image(1), &[&tag]).await;
        let token = deployment.token(&ada).await;
        for (asked, formats, said) in [
            ("access", json!(["csv", "xls"]), "csv, jsonl, coco, yolo, voc, folders"),
            ("erasure", json!(["csv"]), "access or portability"),
            ("objection", json!(["csv"]), "access or portability"),
        ] {
            let own = json!({ "type": asked, "formats": formats, "confirm": ada.email });
            let public = json!({ "type": asked, "formats": formats, "email": ada.email });
            for (token, path, body) in
                [(Some(&token), "/persons/me/requests", own), (None, "/requests", public)]
            {
                let (status, refused) = deployment.call(token.map(String::as_str), "POST", path, body).await;
                assert_eq!(status, 400, "{asked} {path}: {refused}");
                assert!(refused.to_string().contains(said), "{asked} {path}: {refused}");
            }
        }

        // Their own; each format once.
        let body = json!({ "type": "portability", "formats": ["folders", "csv", "csv"] });
        let (status, request) = deployment.call(Some(&token), "POST", "/persons/me/requests", body).await;
        assert_eq!((status.as_u16(), &request["formats"]), (201, &json!(["csv", "folders"])), "{request}");
        let expected = (json!(["csv", "folders"]), vec!["csv".to_owned(), "folders".to_owned()]);
        assert_eq!(formats(&deployment, &request).await, expected);

        // Taken in by the staff, for somebody whom they looked up and by the address.
        let body = json!({ "type": "access", "identity": "document", "formats": ["coco"] });
        let request = on_behalf(&deployment, &officer, &ada, body).await;
        assert_eq!(formats(&deployment, &request).await, (json!(["coco"]), vec!["coco".to_owned()]));
        let body = json!({ "type": "access", "email": ada.email, "channel": "letter", "identity": "document", "formats": ["voc"] });
        let (status, request) = deployment.call(Some(&officer), "POST", "/requests", body).await;
        assert_eq!(status, 202, "{request}");
        assert_eq!(formats(&deployment, &request).await, (json!(["voc"]), vec!["voc".to_owned()]));

        // By anybody who reads the address's mail; where none is named, nothing is said of any.
        for (named, said, folders) in [
            (json!(["jsonl"]), json!(["jsonl"]), vec!["jsonl".to_owned()]),
            (json!([]), json!(null), Vec::new()),
        ] {
            let body = json!({ "type": "access", "email": ada.email, "formats": named });
            let (status, request) = deployment.call(None, "POST", "/requests", body).await;
            assert_eq!(status, 202, "{request}");
            let body = json!({ "code": code(&deployment, &request).await });
            let verify = format!("/requests/{}/verify", id(&request));
            assert_eq!(deployment.call(None, "POST", &verify, body).await.0, 200);
            assert_eq!(formats(&deployment, &request).await, (said, folders));
        }
    }
}
