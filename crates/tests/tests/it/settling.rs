//! A restore of a backup from before an erasure: the requests that were open then have the end that they had.

use std::path::Path;
use std::sync::Arc;

use habeas_core::{Ambient, Id, ManualClock, Timestamp, time};
use habeas_store::Store;
use habeas_store::ledger::Record;
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines};
use crate::requests::{events, id, in_state, on_behalf, public_status};

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

async fn approve(deployment: &Deployment, request: &Value) -> Value {
    let path = format!("/requests/{}", id(request));
    let (_, plan) = deployment.operator("GET", &format!("{path}/plan"), json!(null)).await;
    let digest = json!({ "digest": plan["plan"]["digest"] });
    let (status, approved) = deployment.operator("POST", &format!("{path}/approve"), digest).await;
    assert_eq!(status, 200, "{approved}");
    in_state(deployment, request, "completed").await
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

        let mut done = vec![approve(&deployment, &waiting_request).await];
        let confirm = format!("/requests/{}/confirm-identity", id(&unknown_request));
        let (status, confirmed) =
            deployment.call(Some(&officer), "POST", &confirm, json!({ "identity": "known" })).await;
        assert_eq!(status, 200, "{confirmed}");
        done.push(approve(&deployment, &unknown_request).await);
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
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        deployment.project(&ada, "p").await;
        let erasure = json!({ "type": "erasure", "identity": "document" });
        let request = on_behalf(&deployment, &officer, &ada, erasure).await;
        let person: Id = ada.id.parse().unwrap();
        let store = deployment.server().app().store().clone();
        let containers = store.read(move |tx| tx.containers_of(person)).await.unwrap();
        // As a version wrote it that named no request, and died before there was a receipt.
        let record = Record::PersonErased { person, containers, request: None, erasure: None };
        store.with_ledger(move |ledger| ledger.append(&[record]).map(|_| ())).await.unwrap();
        drop(store);
        deployment.stop().await;
        deployment.start().await;
        let done = in_state(&deployment, &request, "completed").await;
        assert_eq!(events(&done)[events(&done).len() - 2..], ["foundErased", "completed"]);
        let seen = public_status(&deployment, &request).await;
        assert_eq!((&seen["receipt"], &done["receipt"]), (&seen["erasure"], &seen["receipt"]), "{seen}");
        let proof = format!("/erasures/{}/receipt", seen["erasure"].as_str().unwrap());
        let (status, proof) = deployment.call(None, "GET", &proof, json!(null)).await;
        assert_eq!((status.as_u16(), proof["salt"].is_string()), (200, true), "{proof}");
        let gone = deployment.operator("GET", "/persons?email=ada@example.org", json!(null)).await;
        assert_eq!(gone.0, 404);
    }
}
