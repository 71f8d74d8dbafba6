//! A restore of a backup from before an erasure: the requests that were open then have the end that they had.

use std::path::Path;
use std::sync::Arc;

use habeas_core::{Ambient, Id, ManualClock, Timestamp, time};
use habeas_store::ledger::Record;
use habeas_store::{Store, TaskKind, TaskState};
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines, image};
use crate::keeping::{completed, hold};
use crate::requests::{events, id, in_state, on_behalf, public_status};
use crate::standards::FarEnd;
use crate::{depicted, transfer};

/// Puts a backup in the place of a deployment's data, with today's keyring and ledger, and starts it.
async fn restore(deployment: &mut Deployment, backup: &Path, clock: &Arc<ManualClock>) {
    deployment.stop().await;
    let data = deployment.settings.data();
    let settings = &mut deployment.settings;
    settings.keyring = Some(data.join("keyring"));
    settings.root_key_file = Some(data.join("root.key"));
    settings.data = Some(deployment.folder.path().join("restored"));
    settings.database = settings.database.as_ref().and_then(|_| crate::postgres::database());
    let options = settings.store_options().unwrap();
    let ambient = Ambient { clock: clock.clone(), ..Ambient::system() };
    Store::restore(options, backup, ambient).await.unwrap();
    deployment.start().await;
}

/// Approves an erasure; the request once it is in this state.
async fn approve(deployment: &Deployment, request: &Value, state: &str) -> Value {
    let path = format!("/requests/{}", id(request));
    let (_, plan) = deployment.operator("GET", &format!("{path}/plan"), json!(null)).await;
    let digest = json!({ "digest": plan["plan"]["digest"] });
    let (status, approved) = deployment.operator("POST", &format!("{path}/approve"), digest).await;
    assert_eq!(status, 200, "{approved}");
    in_state(deployment, request, state).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_asked_for_before_a_backup_and_carried_out_after_it_stays_carried_out() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let mut deployment = Deployment::open_with_clock(clock.clone(), |settings| {
            settings.database = database;
            settings.undo_days = Some(1);
        })
        .await;
        let officer = deployment.officer("officer").await;
        let waiting = deployment.person("waiting@example.org", "Waiting").await;
        let unknown = deployment.person("unknown@example.org", "Unknown").await;
        let own = deployment.person("own@example.org", "Own").await;
        let neighbour = deployment.person("neighbour@example.org", "Neighbour").await;
        let erasure = json!({ "type": "erasure", "identity": "document" });
        let waiting_request = on_behalf(&deployment, &officer, &waiting, erasure).await;
        assert_eq!(waiting_request["state"], "awaitingApproval");
        let unknown_request = on_behalf(&deployment, &officer, &unknown, json!({ "type": "erasure" })).await;
        assert_eq!(unknown_request["state"], "verifying");
        let token = deployment.token(&own).await;
        let erasure = json!({ "type": "erasure", "confirm": own.email });
        let (_, own_request) = deployment.call(Some(&token), "POST", "/persons/me/requests", erasure).await;
        assert_eq!(own_request["state"], "undoWindow", "{own_request}");
        let objection = json!({ "type": "objection", "identity": "document" });
        let with_it = on_behalf(&deployment, &officer, &waiting, objection.clone()).await;
        let kept = on_behalf(&deployment, &officer, &neighbour, objection).await;
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);

        let mut done = vec![approve(&deployment, &waiting_request, "completed").await];
        let confirm = format!("/requests/{}/confirm-identity", id(&unknown_request));
        let (status, confirmed) =
            deployment.call(Some(&officer), "POST", &confirm, json!({ "identity": "known" })).await;
        assert_eq!(status, 200, "{confirmed}");
        done.push(approve(&deployment, &unknown_request, "completed").await);
        clock.advance(time::DAY + 1);
        done.push(in_state(&deployment, &own_request, "completed").await);

        restore(&mut deployment, &backup, &clock).await;
        for before in &done {
            let after = in_state(&deployment, before, "completed").await;
            assert_eq!(after["receipt"], before["receipt"], "{after}");
            assert_eq!(events(&after)[events(&after).len() - 2..], ["foundErased", "completed"]);
            assert!(events(&after).contains(&"verified"), "{after}");
            // Whoever kept the address of the page finds the proof there, without the salt, which was in no backup.
            let seen = public_status(&deployment, before).await;
            assert_eq!(
                (&seen["state"], &seen["receipt"]),
                (&json!("completed"), &before["receipt"]),
                "{seen}"
            );
            let proof = format!("/erasures/{}/receipt", seen["erasure"].as_str().unwrap());
            let (status, proof) = deployment.call(None, "GET", &proof, json!(null)).await;
            assert_eq!((status.as_u16(), proof.get("salt")), (200, None), "{proof}");
            let public = deployment.server().app().rights.public_key().unwrap();
            habeas_core::receipt::verify(proof.to_string().as_bytes(), &[public]).unwrap();
            let path = format!("/requests/{}", id(before));
            for decision in ["cancel", "deny"] {
                let body = if decision == "deny" { json!({ "reason": "other" }) } else { json!({}) };
                let (status, refused) =
                    deployment.operator("POST", &format!("{path}/{decision}"), body).await;
                assert_eq!(status, 409, "{decision}: {refused}");
            }
        }
        // What else a person had asked ended with them, and nobody else's.
        let ended = in_state(&deployment, &with_it, "cancelled").await;
        assert_eq!(events(&ended)[events(&ended).len() - 2..], ["personErased", "cancelled"]);
        assert_eq!(in_state(&deployment, &kept, "planned").await["subject"], neighbour.id.as_str());
        let (_, doctor) = deployment.operator("GET", "/doctor", json!(null)).await;
        let checks = doctor["checks"].as_array().unwrap();
        let requests = checks.iter().find(|check| check["name"] == "requests").unwrap();
        assert_eq!(requests["status"], "ok", "{doctor}");

        // Once.
        deployment.stop().await;
        deployment.start().await;
        for before in &done {
            let (_, after) =
                deployment.operator("GET", &format!("/requests/{}", id(before)), json!(null)).await;
            let completed = events(&after).iter().filter(|event| **event == "completed").count();
            assert_eq!((&after["state"], completed), (&json!("completed"), 1), "{after}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_of_which_only_the_ledger_knows_is_verified_and_proved_before_its_request_ends() {
    let _lock = crate::canary::protected().await;
    for (database, erasure_id) in engines()
        .into_iter()
        .flat_map(|database| [None, Some(Id::from_bytes([7; 16]))].map(|id| (database.clone(), id)))
    {
        let database = database.and_then(|_| crate::postgres::database());
        let mut deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        deployment.project(&ada, "p").await;
        let erasure = json!({ "type": "erasure", "identity": "document" });
        let request = on_behalf(&deployment, &officer, &ada, erasure).await;
        let person: Id = ada.id.parse().unwrap();
        let store = deployment.server().app().store().clone();
        let containers = store.read(move |tx| tx.containers_of(person)).await.unwrap();
        // As a version wrote it that named no request, and perhaps no erasure, and died before there was a receipt.
        let record = Record::PersonErased {
            person,
            containers,
            request: None,
            erasure: erasure_id,
            held: Vec::new(),
            held_copies: Vec::new(),
            last_receipt: None,
            recipients: Vec::new(),
        };
        store.with_ledger(move |ledger| ledger.append(&[record]).map(|_| ())).await.unwrap();
        drop(store);
        deployment.stop().await;
        deployment.start().await;
        let done = in_state(&deployment, &request, "completed").await;
        assert_eq!(events(&done)[events(&done).len() - 2..], ["foundErased", "completed"]);
        let seen = public_status(&deployment, &request).await;
        assert_eq!((&seen["receipt"], &done["receipt"]), (&seen["erasure"], &seen["receipt"]), "{seen}");
        // Under the id by which the next restore looks for it.
        assert!(erasure_id.is_none_or(|erasure| seen["receipt"] == erasure.to_string()), "{seen}");
        let proof = format!("/erasures/{}/receipt", seen["erasure"].as_str().unwrap());
        let (status, proof) = deployment.call(None, "GET", &proof, json!(null)).await;
        assert_eq!((status.as_u16(), proof["salt"].is_string()), (200, true), "{proof}");
        let gone = deployment.operator("GET", "/persons?email=ada@example.org", json!(null)).await;
        assert_eq!(gone.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_a_hold_keeps_of_somebody_erased_goes_when_it_ends_also_after_a_restore() {
    let _lock = crate::canary::protected().await;
    for (database, is_asked_before) in engines()
        .into_iter()
        .flat_map(|database| [true, false].map(|is_before| (database.clone(), is_before)))
    {
        let far = FarEnd::default();
        let address = far.listen().await;
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let mut deployment = Deployment::open_with_clock(clock.clone(), |settings| {
            settings.database = database.and_then(|_| crate::postgres::database());
            settings.recipient_hosts = Some("127.0.0.1".to_owned());
        })
        .await;
        let rights = deployment.server().app().rights.clone();
        let recipient =
            rights.register_recipient("Annotators", &format!("{address}/hook"), None).await.unwrap().id;
        drop(rights);
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let bea = deployment.person("bea@example.org", "Bea").await;
        let original = deployment.project(&ada, "p").await;
        deployment.image(&ada, &original, "a.jpg", &image(1), &[]).await;
        let token = transfer::token(&deployment, &ada, &original).await;
        let import = format!("/projects/import?token={}&name=copy", token["token"].as_str().unwrap());
        let (status, copy) = deployment.train("POST", &bea.key, &import, None).await;
        assert_eq!(status, 200, "{copy}");
        let copy = copy["id"].as_str().unwrap();
        assert_eq!(transfer::imported(&deployment, &bea, copy).await["status"], "Succeeded");
        let images = format!("/projects/{copy}/images");
        let (_, copied) = deployment.train("GET", &bea.key, &images, None).await;
        let held = hold(&deployment, copied[0]["id"].as_str().unwrap()).await;
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        let erasure = json!({ "type": "erasure", "identity": "document" });
        let request = if is_asked_before {
            let request = on_behalf(&deployment, &officer, &ada, erasure).await;
            assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
            request
        } else {
            assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
            on_behalf(&deployment, &officer, &ada, erasure).await
        };
        let before = approve(&deployment, &request, "completedWithHolds").await;
        let first = before["receipt"].as_str().unwrap();
        let erasure = before["erasure"].as_str().unwrap();
        assert_eq!(before["recipients"], json!([recipient]), "{before}");

        restore(&mut deployment, &backup, &clock).await;
        if is_asked_before {
            let after = in_state(&deployment, &request, "completedWithHolds").await;
            for member in ["receipt", "recipients", "erasure"] {
                assert_eq!(after[member], before[member], "{after}");
            }
        }
        let count = format!("{images}/count");
        assert_eq!(deployment.train("GET", &bea.key, &count, None).await.1, json!(1));
        // It waits across a start, too.
        deployment.stop().await;
        deployment.start().await;
        let report = deployment.finished(erasure).await;
        assert_eq!(
            (&report["status"], &report["held"]),
            (&json!("completed_with_holds"), &json!([held])),
            "{report}"
        );
        assert_eq!(deployment.operator("DELETE", &format!("/holds/{held}"), json!(null)).await.0, 204);
        completed(&deployment, erasure).await;
        assert_eq!(deployment.train("GET", &bea.key, &count, None).await.1, json!(0), "the copy stayed");
        if is_asked_before {
            in_state(&deployment, &request, "completed").await;
        }
        let (_, last) =
            deployment.operator("GET", &format!("/erasures/{erasure}/receipt"), json!(null)).await;
        let (_, issued) = deployment.operator("GET", &format!("/receipts/{first}"), json!(null)).await;
        let statement = &last["statement"];
        assert_eq!(
            (&statement["completes"], &statement["released"][0]["hold"]),
            (&json!(first), &json!(held))
        );
        // Whoever has the salt of the first one can show that both are about them.
        assert_eq!(statement["subject"], issued["statement"]["subject"], "{last}");
        let public = deployment.server().app().rights.public_key().unwrap();
        habeas_core::receipt::verify(last.to_string().as_bytes(), &[public]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_a_restore_brings_back_names_nobody_who_is_erased() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let mut deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let bea = deployment.person("bea@example.org", "Bea").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let project = deployment.project(&bea, "p").await;
        let shown = deployment.image(&bea, &project, "s.jpg", &image(1), &[]).await;
        let names = "a friend, ada@example.org, bea@example.org";
        depicted::depict(&deployment, &bea, &project, &shown, names).await;
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
        assert_eq!(deployment.erase(&ada).await["status"], "completed");

        restore(&mut deployment, &backup, &clock).await;
        let said = depicted::said(&deployment, &bea, &project, &shown).await;
        assert_eq!(said, "a friend, bea@example.org");
        let (person, container): (Id, Id) = (ada.id.parse().unwrap(), project.parse().unwrap());
        let store = deployment.server().app().store().clone();
        let traces = store.read(move |tx| tx.traces_of(person)).await.unwrap();
        assert!(traces.iter().all(|(_, rows)| *rows == 0), "{traces:?}");
        // What free pages and that backup have of the name goes with the key.
        let tasks = store.read(move |tx| tx.tasks_about(container, TaskKind::Reseal)).await.unwrap();
        assert!(tasks.iter().any(|task| task.state == TaskState::Waiting), "{tasks:?}");
    }
}
