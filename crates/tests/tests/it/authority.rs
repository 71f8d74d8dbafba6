//! What the staff may do alone, and what is proved by a sign-in.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use habeas_core::{ManualClock, Timestamp};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone, engines};

/// Somebody with a role of the staff.
async fn member_of_staff(deployment: &Deployment, name: &str, role: &str) -> Someone {
    let someone = deployment.person(&format!("{name}@example.org"), name).await;
    let body = json!({ "role": role, "granted": true });
    let path = format!("/persons/{}/role", someone.id);
    assert_eq!(deployment.operator("PUT", &path, body).await.0, 204);
    someone
}

/// What makes its bearer the person: method, path below the person, body, and the status of success.
fn doors() -> [(&'static str, &'static str, Value, u16); 4] {
    [
        ("POST", "tokens", json!({}), 201),
        ("PUT", "password", json!({ "password": "0123456789ab" }), 204),
        ("POST", "applications", json!({ "name": "x" }), 201),
        ("POST", "sign-in-links", json!({}), 201),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_get_nothing_with_which_to_act_as_somebody_else() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let officer = member_of_staff(&deployment, "officer", "privacyOfficer").await;
        let administrator = member_of_staff(&deployment, "administrator", "administrator").await;
        for (caller, victim) in
            [(&officer, &ada), (&officer, &administrator), (&administrator, &ada), (&administrator, &officer)]
        {
            let token = deployment.token(caller).await;
            for (method, path, body, _) in doors() {
                let path = format!("/persons/{}/{path}", victim.id);
                let (status, refused) = deployment.call(Some(&token), method, &path, body).await;
                let code = refused["code"].as_str();
                assert_eq!((status.as_u16(), code), (403, Some("forbidden")), "{path}: {refused}");
            }
        }
        // Nothing was made, and the attempts stand in the person's record.
        for list in ["tokens", "applications"] {
            let path = format!("/persons/{}/{list}", ada.id);
            assert_eq!(deployment.operator("GET", &path, json!(null)).await.1, json!([]), "{list}");
        }
        let path = format!("/persons/{}/activity", ada.id);
        let (_, activity) = deployment.operator("GET", &path, json!(null)).await;
        for operation in ["CreateToken", "SetPassword", "RegisterApplication", "CreateSignInLink"] {
            let is_it = |entry: &Value| entry["operation"] == operation && entry["by"] == "staff";
            assert!(activity.as_array().unwrap().iter().any(is_it), "{operation}: {activity}");
        }

        // Staff have their own as anybody has, but no link: it would make an old token a new sign-in.
        let token = deployment.token(&officer).await;
        for (method, path, body, status) in doors() {
            let own = format!("/persons/{}/{path}", officer.id);
            let expected = if path == "sign-in-links" { 403 } else { status };
            let (given, answer) = deployment.call(Some(&token), method, &own, body.clone()).await;
            assert_eq!(given.as_u16(), expected, "{own}: {answer}");
            let path = format!("/persons/{}/{path}", ada.id);
            let (given, answer) = deployment.operator(method, &path, body).await;
            assert_eq!(given.as_u16(), status, "{path}: {answer}");
        }
    }
}

/// Asks for an erasure by the public form; the path of the request.
async fn by_form(deployment: &Deployment, someone: &Someone) -> String {
    let body = json!({ "type": "erasure", "email": someone.email });
    let (status, request) = deployment.call(None, "POST", "/requests", body).await;
    assert_eq!(status, 202, "{request}");
    format!("/requests/{}", request["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_that_it_is_the_person_does_not_approve_their_erasure() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (officer, second) = (deployment.officer("officer").await, deployment.officer("second").await);
        // The operator is nobody in particular: what was done twice through the socket may have been done by one.
        for (name, vouching) in [("ada", Some(officer.as_str())), ("eve", None)] {
            let someone = deployment.person(&format!("{name}@example.org"), name).await;
            let path = by_form(&deployment, &someone).await;
            let call = async |token: Option<&str>, method: &str, path: &str, body: Value| match token {
                Some(token) => deployment.call(Some(token), method, path, body).await,
                None => deployment.operator(method, path, body).await,
            };
            let known = json!({ "identity": "known" });
            let (status, verified) = call(vouching, "POST", &format!("{path}/confirm-identity"), known).await;
            assert_eq!(
                (status.as_u16(), &verified["state"]),
                (200, &json!("awaitingApproval")),
                "{verified}"
            );
            assert!(verified.get("requester").is_none(), "{verified}");
            let (_, plan) = call(vouching, "GET", &format!("{path}/plan"), json!(null)).await;
            let digest = json!({ "digest": plan["plan"]["digest"] });
            let approve = format!("{path}/approve");
            let (status, refused) = call(vouching, "POST", &approve, digest.clone()).await;
            let code = refused["code"].as_str();
            assert_eq!((status.as_u16(), code), (403, Some("forbidden")), "{refused}");
            assert_eq!(call(None, "GET", &path, json!(null)).await.1["state"], "awaitingApproval");
            let (status, approved) = call(Some(&second), "POST", &approve, digest).await;
            assert_eq!(status, 200, "{approved}");
            crate::requests::in_state(&deployment, &verified, "completed").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_corrects_an_address_erases_nobody_by_the_mail_that_goes_there() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (officer, second, third) = (
            deployment.officer("officer").await,
            deployment.officer("second").await,
            deployment.officer("third").await,
        );
        let approve = async |path: &str, token: &str| {
            let (_, plan) = deployment.call(Some(&third), "GET", &format!("{path}/plan"), json!(null)).await;
            let digest = json!({ "digest": plan["plan"]["digest"] });
            deployment.call(Some(token), "POST", &format!("{path}/approve"), digest).await
        };
        for way in ["form", "request", "plan"] {
            let mut someone = deployment.person(&format!("{way}@example.org"), way).await;
            let person = format!("/persons/{}", someone.id);
            someone.email = format!("read-by-the-officer-{way}@example.org");
            let change = json!({ "email": someone.email });
            let (status, corrected) = deployment.call(Some(&officer), "PATCH", &person, change).await;
            assert_eq!(status, 200, "{corrected}");
            // As whoever signs in with the new address, or has the code that goes there.
            let token = deployment.token(&someone).await;
            let path = match way {
                "form" => {
                    let path = by_form(&deployment, &someone).await;
                    let known = json!({ "identity": "known" });
                    let confirm = format!("{path}/confirm-identity");
                    let (status, verified) = deployment.call(Some(&second), "POST", &confirm, known).await;
                    assert_eq!(status, 200, "{verified}");
                    path
                }
                "request" => {
                    let body = json!({ "type": "erasure", "confirm": someone.email });
                    let (status, request) =
                        deployment.call(Some(&token), "POST", "/persons/me/requests", body).await;
                    assert_eq!(status, 201, "{request}");
                    format!("/requests/{}", request["id"].as_str().unwrap())
                }
                _ => {
                    let (_, plan) =
                        deployment.call(Some(&token), "POST", "/persons/me/erasure-plans", json!({})).await;
                    let run = json!({ "plan": plan["plan"], "confirm": someone.email });
                    let (status, report) = deployment.call(Some(&token), "POST", "/erasures", run).await;
                    assert_eq!((status.as_u16(), &report["status"]), (202, &json!("planned")), "{report}");
                    let (_, mine) =
                        deployment.call(Some(&token), "GET", "/persons/me/requests", json!(null)).await;
                    format!("/requests/{}", mine[0]["id"].as_str().unwrap())
                }
            };
            let (_, request) = deployment.operator("GET", &path, json!(null)).await;
            assert_eq!(request["state"], "awaitingApproval", "{way}: {request}");
            for token in [&officer, &token] {
                let (status, refused) = approve(&path, token).await;
                assert!(matches!(status.as_u16(), 403 | 404), "{way}: {refused}");
            }
            let (status, approved) = approve(&path, &third).await;
            assert_eq!(status, 200, "{way}: {approved}");
            crate::requests::in_state(&deployment, &request, "completed").await;
        }

        // An address that the operator sets is the person's again.
        let mut someone = deployment.person("ada@example.org", "Ada").await;
        let person = format!("/persons/{}", someone.id);
        for (by, email) in [(Some(&officer), "typo@example.org"), (None, "ada.l@example.org")] {
            let change = json!({ "email": email });
            let (status, corrected) = match by {
                Some(token) => deployment.call(Some(token), "PATCH", &person, change).await,
                None => deployment.operator("PATCH", &person, change).await,
            };
            assert_eq!(status, 200, "{corrected}");
        }
        someone.email = "ada.l@example.org".to_owned();
        let token = deployment.token(&someone).await;
        let body = json!({ "type": "erasure", "confirm": someone.email });
        let (status, request) = deployment.call(Some(&token), "POST", "/persons/me/requests", body).await;
        assert_eq!(status, 201, "{request}");
        crate::requests::in_state(&deployment, &request, "completed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_becomes_no_newer_by_what_is_issued_with_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let mint = async |token: &str| {
            let (status, issued) =
                deployment.call(Some(token), "POST", "/persons/me/tokens", json!({ "days": 365 })).await;
            assert_eq!(status, 201, "{issued}");
            issued["secret"].as_str().unwrap().to_owned()
        };
        let erase = async |token: &str| {
            let body = json!({ "type": "erasure", "confirm": "ada@example.org" });
            deployment.call(Some(token), "POST", "/persons/me/requests", body).await
        };
        let set_password = async |token: &str| {
            let body = json!({ "password": "four words and a number 7" });
            deployment.call(Some(token), "PUT", "/persons/me/password", body).await
        };
        let old = deployment.token(&ada).await;
        clock.advance(16 * 60_000_000);
        let minted = mint(&old).await;
        for token in [&old, &minted, &mint(&minted).await] {
            for (status, refused) in [erase(token).await, set_password(token).await] {
                let code = refused["code"].as_str();
                assert_eq!((status.as_u16(), code), (403, Some("forbidden")), "{refused}");
            }
            // For everything else it is as good as any.
            let seen = deployment.call(Some(token), "GET", "/persons/me/holdings", json!(null)).await;
            assert_eq!(seen.0, 200, "{}", seen.1);
        }

        // What is issued with a new sign-in is as new as that, and grows old with it.
        let new = deployment.token(&ada).await;
        let minted = mint(&new).await;
        assert_eq!(set_password(&minted).await.0, 204);
        clock.advance(14 * 60_000_000);
        let later = mint(&minted).await;
        assert_eq!(set_password(&later).await.0, 204);
        clock.advance(2 * 60_000_000);
        assert_eq!(erase(&later).await.0, 403);
        let new = deployment.token(&ada).await;
        let (status, request) = erase(&mint(&new).await).await;
        assert_eq!(status, 201, "{request}");
        crate::requests::in_state(&deployment, &request, "completed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_was_left_open_sets_no_password() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let cookie = crate::portal::session(&deployment, &ada).await;
        let send = async |method: &str, body: &'static str| {
            let request = Request::builder()
                .method(method)
                .uri("/me/password")
                .header("host", "localhost")
                .header("origin", "http://localhost")
                .header("cookie", &cookie)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Body::from(body))
                .unwrap();
            let response = deployment.server().router().oneshot(request).await.unwrap();
            let location = response.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
            (response.status().as_u16(), location.unwrap_or_default())
        };
        let new = "password=another+four+words+8";
        assert_eq!(send("GET", "").await.0, 200);
        assert_eq!(send("POST", new).await.0, 200);
        clock.advance(16 * 60_000_000);
        let again = (303, "/sign-in?again&next=/me/password".to_owned());
        assert_eq!(
            (send("GET", "").await, send("POST", "password=not+this+one+at+all").await),
            (again.clone(), again)
        );
        crate::canary::sign_in(&deployment, &ada.email, "another+four+words+8").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_and_owners_decide_themselves_and_no_program_that_they_let_in() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let boss = member_of_staff(&deployment, "boss", "administrator").await;
        let second = member_of_staff(&deployment, "second", "privacyOfficer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let eve = deployment.person("eve@example.org", "Eve").await;
        let (_, team) =
            deployment.operator("POST", "/organisations", json!({ "name": "Team", "owner": ada.id })).await;
        let team = format!("/organisations/{}", team["objectId"].as_str().unwrap());
        let hold = json!({ "target": ada.id, "matter": "m", "reason": "r" });
        let (_, held) = deployment.operator("POST", "/holds", hold.clone()).await;
        let held = format!("/holds/{}", held["id"].as_str().unwrap());

        let by_boss = crate::sign_in::acting_for(&deployment, &boss).await;
        let by_second = crate::sign_in::acting_for(&deployment, &second).await;
        let by_ada = crate::sign_in::acting_for(&deployment, &ada).await;
        // What is planned and asked for changes nothing yet.
        let (status, plan) =
            deployment.call(Some(&by_ada), "POST", &format!("{team}/erasure-plans"), json!({})).await;
        assert_eq!(status, 201, "{plan}");
        let run = json!({ "plan": plan["plan"], "confirm": "Team" });
        let asked = json!({ "type": "erasure", "channel": "letter", "identity": "document" });
        let requests = format!("/persons/{}/requests", eve.id);
        let (status, request) = deployment.call(Some(&by_boss), "POST", &requests, asked).await;
        assert_eq!(status, 201, "{request}");
        let path = format!("/requests/{}", request["id"].as_str().unwrap());
        let approval = async || {
            let (_, plan) = deployment.operator("GET", &format!("{path}/plan"), json!(null)).await;
            json!({ "digest": plan["plan"]["digest"] })
        };
        let asked = json!({ "type": "rectification", "channel": "letter", "identity": "document" });
        let (status, to_correct) = deployment.call(Some(&by_boss), "POST", &requests, asked).await;
        assert_eq!(status, 201, "{to_correct}");
        let to_correct = format!("/requests/{}", to_correct["id"].as_str().unwrap());
        let of_correction = |operation: &str| format!("{to_correct}/{operation}");
        let address = json!({ "text": "Done.", "rectification": { "email": "new-eve@example.org" } });
        let (approve, role) = (format!("{path}/approve"), format!("/persons/{}/role", eve.id));
        let (keys, member) = (format!("{team}/keys"), format!("{team}/members/{}", eve.id));
        for (token, method, path, body) in [
            (&by_boss, "PUT", role.as_str(), json!({ "role": "privacyOfficer", "granted": true })),
            (&by_boss, "POST", "/holds", hold),
            (&by_boss, "DELETE", &held, json!(null)),
            (&by_second, "POST", &approve, approval().await),
            (&by_second, "POST", &of_correction("complete"), address),
            (&by_second, "POST", &of_correction("deny"), json!({ "reason": "other" })),
            (&by_second, "POST", &of_correction("extend"), json!({ "reason": "complexity" })),
            (&by_second, "POST", &of_correction("confirm-identity"), json!({ "identity": "known" })),
            (&by_second, "POST", &of_correction("cancel"), json!({})),
            (&by_ada, "GET", &keys, json!(null)),
            (&by_ada, "POST", &keys, json!({})),
            (&by_ada, "PUT", &member, json!({ "role": "owner" })),
            (&by_ada, "POST", "/erasures", run.clone()),
        ] {
            let (status, refused) = deployment.call(Some(token), method, path, body).await;
            assert_eq!(
                (status.as_u16(), refused["code"].as_str()),
                (403, Some("forbidden")),
                "{path}: {refused}"
            );
        }

        let (_, held) =
            deployment.operator("GET", &format!("/persons/{}/holdings", eve.id), json!(null)).await;
        assert_eq!(held["person"]["email"], "eve@example.org", "{held}");
        // A note is no decision, and a program calls off what is about its own person.
        let note = json!({ "text": "looked at" });
        let (status, noted) =
            deployment.call(Some(&by_second), "POST", &of_correction("comments"), note).await;
        assert!(status.is_success(), "{noted}");
        let by_eve = crate::sign_in::acting_for(&deployment, &eve).await;
        let (status, called_off) =
            deployment.call(Some(&by_eve), "POST", &of_correction("cancel"), json!({})).await;
        assert_eq!((status.as_u16(), &called_off["state"]), (200, &json!("cancelled")), "{called_off}");

        // It makes persons, and gets none of their keys.
        let new = json!({ "email": "new@example.org" });
        let (status, made) = deployment.call(Some(&by_boss), "POST", "/persons", new).await;
        assert_eq!(
            (status.as_u16(), &made["trainingKeys"], &made["predictionKeys"]),
            (201, &json!([]), &json!([]))
        );

        // Neither is an old sign-in enough for what cannot be undone; nor, of the command line, for what would outlast it.
        let (of_second, of_ada) = (deployment.token(&second).await, deployment.token(&ada).await);
        let browser = crate::portal::session(&deployment, &second).await;
        let command_line = crate::sign_in::command_line(&deployment, &browser).await;
        let mint = async || {
            deployment.call(Some(&command_line), "POST", "/persons/me/tokens", json!({})).await.0.as_u16()
        };
        assert_eq!(mint().await, 201);
        clock.advance(16 * 60_000_000);
        assert_eq!(mint().await, 403);
        assert_eq!(deployment.call(Some(&command_line), "GET", &path, json!(null)).await.0, 200);
        for (token, path, body) in [
            (&of_second, approve.as_str(), approval().await),
            (&command_line, &approve, approval().await),
            (&of_ada, "/erasures", run.clone()),
        ] {
            let (status, refused) = deployment.call(Some(token), "POST", path, body).await;
            assert_eq!(
                (status.as_u16(), refused["code"].as_str()),
                (403, Some("forbidden")),
                "{path}: {refused}"
            );
        }
        // In the browser they are led to sign in, and back.
        let digest = approval().await["digest"].as_str().unwrap().to_owned();
        let form = Request::post(format!("/staff{approve}"))
            .header("host", "localhost")
            .header("origin", "http://localhost")
            .header("cookie", &browser)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(format!("digest={digest}")))
            .unwrap();
        let response = deployment.server().router().oneshot(form).await.unwrap();
        assert_eq!(response.status(), 303);
        assert_eq!(response.headers()["location"], format!("/sign-in?again&next=/staff{path}"));

        let (of_second, of_ada) = (deployment.token(&second).await, deployment.token(&ada).await);
        let (status, report) = deployment.call(Some(&of_ada), "POST", "/erasures", run).await;
        assert_eq!(status, 202, "{report}");
        assert_eq!(deployment.finished(plan["plan"].as_str().unwrap()).await["status"], "completed");
        let (status, approved) = deployment.call(Some(&of_second), "POST", &approve, approval().await).await;
        assert_eq!(status, 200, "{approved}");
        crate::requests::in_state(&deployment, &request, "completed").await;
    }
}
