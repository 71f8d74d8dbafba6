//! Those who received personal data are told what was done about it, and persons are told who they are (Article 19).

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::fault;
use habeas_store::{Store, TaskKind, TaskState};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};
use crate::standards::{FarEnd, administrator, call, open, until};
use crate::transfer::{imported, token};

const RECIPIENTS: &str = "/api/privacy/v1/recipients";

/// Who the archive says received data (Article 15(1)(c)).
pub(crate) async fn article_15_c(deployment: &Deployment, person: &Someone) -> Value {
    let archive = deployment.export(person).await;
    let (_, article) = archive.iter().find(|(name, _)| name == "article-15.json").unwrap();
    serde_json::from_slice::<Value>(article).unwrap()["c"]["answer"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_are_told_of_an_erasure_and_a_rectification() {
    let _lock = crate::canary::alone().await;
    fault::switch_off(&["public-only"]);
    for database in engines() {
        let far = FarEnd::default();
        let address = far.listen().await;
        let deployment = open(database).await;
        let person = deployment.person("person@example.org", "Person").await;
        let administrator = administrator(&deployment).await;
        let officer = deployment.officer("officer").await;
        let body = json!({ "name": "Annotators", "url": format!("{address}/hook") }).to_string();
        let made = call(&deployment, &administrator, "POST", RECIPIENTS, &body).await;
        assert_eq!(made.status, 201, "{}", made.json);
        let id = made.json["id"].as_str().unwrap();
        let secret = made.json["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &STANDARD.decode(secret).unwrap());
        assert_eq!(call(&deployment, &administrator, "POST", RECIPIENTS, &body).await.status, 409);
        let listed = call(&deployment, &officer, "GET", RECIPIENTS, "").await.json;
        assert_eq!((&listed[0]["name"], listed[0].get("secret")), (&json!("Annotators"), None));

        // An officer corrects something; the person sees who was told.
        let asked = json!({ "type": "rectification", "identity": "known" });
        let (status, request) =
            deployment.operator("POST", &format!("/persons/{}/requests", person.id), asked).await;
        assert_eq!(status, 201, "{request}");
        let native = format!("/api/privacy/v1/requests/{}", request["id"].as_str().unwrap());
        let done = json!({ "text": "The name is corrected." }).to_string();
        far.refuse(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            call(&deployment, &officer, "POST", &format!("{native}/complete"), &done).await.status,
            200
        );
        let told = far.until(|all| !all.is_empty()).await;
        assert_eq!(
            (&told[0].json()["type"], &told[0].json()["data"]["request"]),
            (&json!("privacy.rectification.completed"), &request["id"])
        );
        until(&deployment, &officer, &native, |request| {
            let history = request["history"].as_array().unwrap();
            history.iter().any(|entry| entry["event"] == "recipientNotified" && entry["by"] == id)
        })
        .await;
        let deliveries = call(&deployment, &officer, "GET", &format!("{native}/deliveries"), "").await.json;
        assert_eq!(
            (&deliveries[0]["what"], &deliveries[0]["recipient"], &deliveries[0]["attempts"]),
            (&json!("notice"), &json!(id), &json!(2)),
            "{deliveries}"
        );
        let answer = article_15_c(&deployment, &person).await;
        assert_eq!(answer["systems"][0]["name"], "Annotators", "{answer}");
        assert_eq!(
            (&answer["notices"][0]["to"], &answer["notices"][0]["request"]),
            (&json!("Annotators"), &request["id"])
        );

        // It is told as well of what nobody has asked for, once for each change.
        let path = format!("/persons/{}", person.id);
        for name in ["Corrected", "Corrected"] {
            assert_eq!(deployment.operator("PATCH", &path, json!({ "name": name })).await.0, 200);
        }
        let path = format!("{path}/restriction");
        for restricted in [true, true, false] {
            let body = json!({ "restricted": restricted });
            assert_eq!(deployment.operator("PUT", &path, body).await.0, 204);
        }
        let told = far.until(|all| all.len() >= 3).await;
        let mut types: Vec<String> = told.iter().map(|hook| hook.json()["type"].to_string()).collect();
        types.sort_unstable();
        let completed = |what: &str| format!("\"privacy.{what}.completed\"");
        assert_eq!(types, ["rectification", "rectification", "restriction"].map(completed));

        // Of an erasure it learns the object id and nothing more.
        assert_eq!(deployment.erase(&person).await["status"], "completed");
        let told = far.until(|all| all.len() >= 4).await;
        let hook = &told[3];
        assert_eq!(hook.line, "POST /hook");
        let text = |name: &str| hook.headers[name].to_str().unwrap().to_owned();
        let (webhook, at) = (text("webhook-id"), text("webhook-timestamp"));
        let signed = [webhook.as_bytes(), b".", at.as_bytes(), b".", &hook.body].concat();
        let signature = STANDARD.decode(text("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        ring::hmac::verify(&key, &signed, &signature).unwrap();
        let body = hook.json();
        assert_eq!(body["data"]["subject"], person.id);
        assert!(!body.to_string().contains("person@example.org"), "{body}");
        insta::allow_duplicates! {
            insta::assert_json_snapshot!("recipient_notice", body, {
                ".timestamp" => "[time]", ".data.request" => "[id]", ".data.subject" => "[id]", ".data.receipt" => "[id]",
            });
        }

        let one = format!("{RECIPIENTS}/{id}");
        assert_eq!(call(&deployment, &officer, "DELETE", &one, "").await.status, 404);
        assert_eq!(call(&deployment, &administrator, "DELETE", &one, "").await.status, 204);
        assert_eq!(call(&deployment, &administrator, "DELETE", &one, "").await.status, 404);
        assert_eq!(call(&deployment, &officer, "GET", RECIPIENTS, "").await.json, json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_recipients_that_received_data_of_the_person_are_told() {
    let _lock = crate::canary::alone().await;
    fault::switch_off(&["public-only"]);
    for database in engines() {
        let far = FarEnd::default();
        let address = far.listen().await;
        let deployment = open(database).await;
        let administrator = administrator(&deployment).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let project = deployment.project(&ada, "p").await;
        deployment.image(&ada, &project, "a.jpg", &image(1), &[]).await;
        let mut ids = Vec::new();
        // Everything, kinds that Ada has and has not, by the case with and without one, and by where her archive goes.
        for (name, kinds, host) in [
            ("everything", json!(null), address.clone()),
            ("images", json!(["Image", "Tag"]), address.clone()),
            ("runs", json!(["Run"]), address.clone()),
            ("case", json!([]), address.clone()),
            ("nothing", json!([]), address.clone()),
            ("archive", json!([]), address.replace("127.0.0.1", "localhost")),
        ] {
            let body = json!({ "name": name, "url": format!("{host}/{name}"), "kinds": kinds }).to_string();
            let made = call(&deployment, &administrator, "POST", RECIPIENTS, &body).await;
            assert_eq!((made.status, &made.json["kinds"]), (201, &kinds), "{}", made.json);
            ids.push(made.json["id"].as_str().unwrap().to_owned());
        }
        let wrong = json!({ "name": "x", "url": address, "kinds": ["Receipt"] }).to_string();
        assert_eq!(call(&deployment, &administrator, "POST", RECIPIENTS, &wrong).await.status, 400);
        let case = format!("{RECIPIENTS}/{}/persons/{}", ids[3], ada.id);
        for _ in 0..2 {
            assert_eq!(call(&deployment, &officer, "PUT", &case, "").await.status, 204);
        }
        let nowhere = format!("{RECIPIENTS}/{}/persons/{}", ids[3], ids[3]);
        assert_eq!(call(&deployment, &officer, "PUT", &nowhere, "").await.status, 404);
        let activity = format!("/persons/{}/activity", ada.id);
        let (_, activity) = deployment.operator("GET", &activity, json!(null)).await;
        let recorded = |entry: &Value| entry["operation"] == "RecordDisclosure" && entry["by"] == "staff";
        assert!(activity.as_array().unwrap().iter().any(recorded), "{activity}");
        let sent =
            json!({ "storageLocation": format!("{}/blob", address.replace("127.0.0.1", "localhost")) });
        let path = format!("/v1.0/users/{}/exportPersonalData", ada.id);
        assert_eq!(call(&deployment, &officer, "POST", &path, &sent.to_string()).await.status, 202);
        let path = format!("/api/privacy/v1/persons/{}/requests", ada.id);
        until(&deployment, &officer, &path, |requests| requests[0]["destination"]["state"] == "delivered")
            .await;
        far.received.lock().unwrap().clear();

        // The person sees who received data, the plan who will be told, the receipt who was to be.
        let expected = ["everything", "images", "case", "archive"];
        let names = |list: &Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
        };
        let answer = article_15_c(&deployment, &ada).await;
        assert_eq!(names(&answer["systems"]), expected, "{answer}");
        let path = format!("/persons/{}/erasure-plans", ada.id);
        let (_, plan) = deployment.operator("POST", &path, json!({})).await;
        assert_eq!(names(&plan["recipients"]), expected, "{plan}");
        let report = deployment.erase(&ada).await;
        assert_eq!(report["status"], "completed", "{report}");
        let receipt = format!("/erasures/{}/receipt", report["plan"].as_str().unwrap());
        let (_, receipt) = deployment.operator("GET", &receipt, json!(null)).await;
        assert_eq!(names(&receipt["statement"]["recipients"]), expected, "{receipt}");
        let told = far.until(|all| all.len() >= expected.len()).await;
        let mut lines: Vec<&str> = told.iter().map(|one| one.line.as_str()).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["POST /archive", "POST /case", "POST /everything", "POST /images"]);
        let queue = "/api/privacy/v1/requests?type=erasure";
        let queue = call(&deployment, &officer, "GET", queue, "").await.json;
        assert_eq!(queue["requests"][0]["recipients"].as_array().unwrap().len(), expected.len(), "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_that_refuse_are_given_up_visibly_and_keep_no_erasure_waiting() {
    let _lock = crate::canary::alone().await;
    fault::switch_off(&["public-only"]);
    let far = FarEnd::default();
    let address = far.listen().await;
    let deployment = open(None).await;
    let person = deployment.person("person@example.org", "Person").await;
    let administrator = administrator(&deployment).await;
    for (body, status) in [
        (json!({ "name": "Refuses", "url": format!("{address}/hook") }), 201),
        (json!({ "name": " ", "url": format!("{address}/hook") }), 400),
        (json!({ "name": "x", "url": "file:///etc/passwd" }), 400),
    ] {
        let made = call(&deployment, &administrator, "POST", RECIPIENTS, &body.to_string()).await;
        assert_eq!(made.status, status, "{}", made.json);
    }
    // By this alone a far end says that it wants no notices any more.
    far.refuse(StatusCode::GONE);
    assert_eq!(deployment.erase(&person).await["status"], "completed");
    let queue = "/api/privacy/v1/requests";
    let queue = until(&deployment, &administrator, queue, |page| {
        let history = page["requests"][0]["history"].as_array().unwrap();
        history.iter().any(|entry| entry["event"] == "recipientNotReached")
    })
    .await;
    assert_eq!(queue["requests"][0]["state"], "completed");
    assert!(far.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_is_being_changed_is_told_once_it_answers() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let far = FarEnd::default();
        let address = far.listen().await;
        let deployment = trusting(database, "127.0.0.1").await;
        let person = deployment.person("person@example.org", "Person").await;
        let administrator = administrator(&deployment).await;
        let body = json!({ "name": "Annotators", "url": format!("{address}/hook") }).to_string();
        assert_eq!(call(&deployment, &administrator, "POST", RECIPIENTS, &body).await.status, 201);
        let refusals = [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND];
        for refusal in refusals {
            far.refuse(refusal);
            let asked = json!({ "type": "rectification", "identity": "known" });
            let path = format!("/persons/{}/requests", person.id);
            let (status, request) = deployment.operator("POST", &path, asked).await;
            assert_eq!(status, 201, "{request}");
            let native = format!("/requests/{}", request["id"].as_str().unwrap());
            let done = json!({ "text": "Done." });
            assert_eq!(deployment.operator("POST", &format!("{native}/complete"), done).await.0, 200);
            let native = format!("/api/privacy/v1{native}");
            until(&deployment, &administrator, &native, |request| {
                let history = request["history"].as_array().unwrap();
                assert!(history.iter().all(|entry| entry["event"] != "recipientNotReached"), "{request}");
                history.iter().any(|entry| entry["event"] == "recipientNotified")
            })
            .await;
            let path = format!("{native}/deliveries");
            let deliveries = call(&deployment, &administrator, "GET", &path, "").await.json;
            assert_eq!(deliveries[0]["attempts"], 2, "{deliveries}");
        }
        assert_eq!(far.received().len(), refusals.len());
    }
}

/// A deployment that calls nobody but recipients and controllers on these hosts.
async fn trusting(database: Option<String>, hosts: &str) -> Deployment {
    Deployment::open_with(|settings| {
        settings.database = database;
        settings.recipient_hosts = Some(hosts.to_owned());
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_lies_where_the_operator_says_and_nothing_else_does() {
    let _lock = crate::canary::protected().await;
    let far = FarEnd::default();
    let address = far.listen().await;
    let named = address.replace("127.0.0.1", "localhost");
    let deployment = trusting(None, " 127.0.0.1, localhost").await;
    let person = deployment.person("person@example.org", "Person").await;
    let officer = deployment.officer("officer").await;
    let administrator = administrator(&deployment).await;
    for (name, url, status) in [
        ("by address", format!("{address}/a"), 201),
        ("by name", format!("{named}/b"), 201),
        ("elsewhere", "http://10.0.0.7/hook".to_owned(), 400),
        ("link-local", "http://169.254.169.254/hook".to_owned(), 400),
        ("public", "https://example.org/hook".to_owned(), 400),
    ] {
        let body = json!({ "name": name, "url": url }).to_string();
        let made = call(&deployment, &administrator, "POST", RECIPIENTS, &body).await;
        assert_eq!(made.status, status, "{name}: {}", made.json);
    }
    // What clients name is called nowhere.
    let project = deployment.project(&person, "p").await;
    let body = json!({ "images": [{ "url": format!("{address}/image.jpg") }] });
    let path = format!("/projects/{project}/images/urls");
    let (_, refused) = deployment.train("POST", &person.key, &path, Some(body)).await;
    assert!(!refused["isBatchSuccessful"].as_bool().unwrap_or(false), "{refused}");
    let body = json!({ "storageLocation": format!("{address}/blob") }).to_string();
    let path = format!("/v1.0/users/{}/exportPersonalData", person.id);
    assert_eq!(call(&deployment, &officer, "POST", &path, &body).await.status, 400);

    // A controller is called back there, too.
    let callbacks = [format!("{address}/callback")];
    let asked = crate::opendsr::asked(crate::opendsr::ERASURE, "access", "person@example.org", &callbacks);
    let taken = call(&deployment, &officer, "POST", "/opendsr/v2/requests", &asked.to_string()).await;
    assert_eq!(taken.status, 201, "{}", taken.json);
    far.until(|all| all.iter().any(|one| one.json()["request_status"] == "completed")).await;
    assert_eq!(deployment.erase(&person).await["status"], "completed");
    let told = far.until(|all| all.iter().filter(|one| one.headers.contains_key("webhook-id")).count() == 2);
    let told = told.await;
    let hooks = told.iter().filter(|one| one.headers.contains_key("webhook-id"));
    let mut lines: Vec<&str> = hooks.map(|one| one.line.as_str()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["POST /a", "POST /b"]);
    assert!(told.iter().all(|one| one.line.starts_with("POST ")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_moves_is_changed_and_who_received_data_stays_known() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let far = FarEnd::default();
        let address = far.listen().await;
        let deployment = trusting(database, "127.0.0.1").await;
        let person = deployment.person("person@example.org", "Person").await;
        let administrator = administrator(&deployment).await;
        let officer = deployment.officer("officer").await;
        let register = async |name: &str| {
            let url = format!("{address}/old");
            let body = json!({ "name": name, "url": url, "kinds": [] }).to_string();
            let made = call(&deployment, &administrator, "POST", RECIPIENTS, &body).await;
            assert_eq!(made.status, 201, "{}", made.json);
            made.json
        };
        let (made, _) = (register("Annotators").await, register("Auditors").await);
        let one = format!("{RECIPIENTS}/{}", made["id"].as_str().unwrap());
        let path = format!("{one}/persons/{}", person.id);
        assert_eq!(call(&deployment, &officer, "PUT", &path, "").await.status, 204);

        let change = async |token: &str, body: Value| {
            let answer = call(&deployment, token, "PATCH", &one, &body.to_string()).await;
            (answer.status, answer.json)
        };
        for (token, body, status) in [
            (&officer, json!({ "name": "Labellers" }), 404),
            (&administrator, json!({ "name": " " }), 400),
            (&administrator, json!({ "name": "x".repeat(101) }), 400),
            (&administrator, json!({ "url": "http://10.0.0.7/" }), 400),
            (&administrator, json!({ "url": "file:///etc/passwd" }), 400),
            (&administrator, json!({ "kinds": [] }), 400),
            (&administrator, json!({ "name": "Auditors" }), 409),
        ] {
            let (given, answer) = change(token, body.clone()).await;
            assert_eq!(given, status, "{body}: {answer}");
        }
        let nobody = format!("{RECIPIENTS}/{}", person.id);
        assert_eq!(call(&deployment, &administrator, "PATCH", &nobody, "{}").await.status, 404);
        let (status, same) = change(&administrator, json!({ "name": "Annotators" })).await;
        assert_eq!((status, &same["url"], same.get("secret")), (200, &made["url"], None), "{same}");
        let new = json!({ "name": "Labellers", "url": format!("{address}/new"), "newSecret": true });
        let (status, changed) = change(&administrator, new).await;
        assert_eq!(
            (status, &changed["id"], &changed["name"], &changed["kinds"]),
            (200, &made["id"], &json!("Labellers"), &json!([])),
            "{changed}"
        );
        assert_ne!(changed["secret"], made["secret"]);
        let answer = article_15_c(&deployment, &person).await;
        assert_eq!(answer["systems"][0]["name"], "Labellers", "{answer}");

        assert_eq!(deployment.erase(&person).await["status"], "completed");
        let told = far.until(|all| !all.is_empty()).await;
        assert_eq!(told[0].line, "POST /new");
        let secret = changed["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &STANDARD.decode(secret).unwrap());
        let text = |name: &str| told[0].headers[name].to_str().unwrap();
        let signed = [text("webhook-id"), text("webhook-timestamp"), ""].join(".");
        let signature = STANDARD.decode(text("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        ring::hmac::verify(&key, &[signed.as_bytes(), &told[0].body].concat(), &signature).unwrap();
    }
}

/// Waits until a notification of a project has ended so.
async fn notification_ended(store: &Store, wanted: TaskState) {
    loop {
        let tasks = store.read(|tx| tx.count_tasks()).await.unwrap();
        if tasks.iter().any(|(kind, state, _)| *kind == TaskKind::Notify && *state == wanted) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_named_once_it_took_a_notice_and_whoever_holds_copies_by_id() {
    let _lock = crate::canary::alone().await;
    fault::switch_off(&["public-only"]);
    for database in engines() {
        let far = FarEnd::default();
        let address = far.listen().await;
        let deployment = open(database).await;
        let store = deployment.server().app().store().clone();
        let ada = deployment.person("ada@example.org", "Ada").await;
        let bob = deployment.person("bob@example.org", "Bob").await;
        let eve = deployment.person("eve@example.org", "Eve").await;
        let project = async |name: &str| {
            let body = json!({
                "notificationQueueUri": format!("{address}/{name}"),
                "exportModelContainerUri": format!("{address}/exports"),
            });
            let path = format!("/projects?name={name}");
            let (status, made) = deployment.train("POST", &ada.key, &path, Some(body)).await;
            assert_eq!(status, 200, "{made}");
            made
        };
        far.refuse(StatusCode::NOT_FOUND);
        project("refused").await;
        notification_ended(&store, TaskState::Failed).await;
        assert_eq!(article_15_c(&deployment, &ada).await["addresses"], json!([]));

        let made = project("taken").await;
        notification_ended(&store, TaskState::Done).await;
        let id = made["id"].as_str().unwrap();
        let path = format!("/projects/{id}");
        let (_, shown) = deployment.train("GET", &ada.key, &path, None).await;
        assert_eq!(shown["lastModified"], made["lastModified"], "a notice is no change of the project");
        // Microsoft's models have the address read-only: what took something is not replaced.
        let other = json!({ "settings": { "notificationQueueUri": format!("{address}/other") } });
        let (status, shown) = deployment.train("PATCH", &ada.key, &path, Some(other)).await;
        assert_eq!((status.as_u16(), &shown["settings"]), (200, &made["settings"]), "{shown}");
        let answer = article_15_c(&deployment, &ada).await;
        let named = answer["addresses"].as_array().unwrap();
        assert_eq!(
            (named.len(), &named[0]["address"], &named[0]["project"]),
            (1, &json!(format!("{address}/taken")), &json!(id)),
            "{answer}"
        );
        assert!(named[0]["since"].is_string(), "{answer}");
        assert_eq!(answer["copies"], json!([]));

        // Bob copies the project, Eve the copy; Ada has the copy's copy back, which makes her no recipient of her own images.
        deployment.image(&ada, id, "a.jpg", &image(1), &[]).await;
        let copy = async |project: &str, of: &Someone, by: &Someone| {
            let offered = token(&deployment, of, project).await;
            let path = format!("/projects/import?token={}", offered["token"].as_str().unwrap());
            let (status, made) = deployment.train("POST", &by.key, &path, None).await;
            assert_eq!(status, 200, "{made}");
            let made = made["id"].as_str().unwrap().to_owned();
            assert_eq!(imported(&deployment, by, &made).await["status"], "Succeeded");
            made
        };
        let of_bob = copy(id, &ada, &bob).await;
        copy(&of_bob, &bob, &eve).await;
        copy(&of_bob, &bob, &ada).await;
        let holders = |mut ids: [&str; 2]| {
            ids.sort_unstable();
            json!(ids.map(|id| json!({ "holder": id, "images": 1 })))
        };
        let answer = article_15_c(&deployment, &ada).await;
        assert_eq!(answer["copies"], holders([&bob.id, &eve.id]), "{answer}");
        assert!(!answer.to_string().contains("bob@") && !answer.to_string().contains("Bob"), "{answer}");
        let answer = article_15_c(&deployment, &bob).await;
        assert_eq!(answer["copies"], holders([&ada.id, &eve.id]), "{answer}");
        assert_eq!(
            (&answer["addresses"], article_15_c(&deployment, &eve).await["copies"].clone()),
            (&json!([]), json!([]))
        );

        // What an erasure takes, nobody holds any more.
        assert_eq!(deployment.erase(&bob).await["status"], "completed");
        assert_eq!(article_15_c(&deployment, &ada).await["copies"], json!([]));
    }
}
