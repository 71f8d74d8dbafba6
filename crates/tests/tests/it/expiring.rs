//! What time alone ends, by a clock that the test moves: telemetry, and legal holds.

use std::sync::Arc;
use std::time::Duration;

use habeas_core::{Id, Kind, ManualClock, Timestamp, time};
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines, image};
use crate::requests::in_state;

const START: &str = "2026-11-25T12:00:00Z";

/// The statements of the receipts of this type.
async fn statements(deployment: &Deployment, of: &str) -> Vec<Value> {
    let store = deployment.server().app().store().clone();
    let nodes = store.read(|tx| tx.held(Id::NIL, Kind::Receipt, Id::NIL, 100)).await.unwrap();
    let mut statements = Vec::new();
    for node in nodes {
        let path = format!("/receipts/{}", node.id);
        let (status, receipt) = deployment.operator("GET", &path, json!(null)).await;
        assert_eq!(status, 200, "{receipt}");
        if receipt["statement"]["type"] == of {
            statements.push(receipt["statement"].clone());
        }
    }
    statements
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_goes_ninety_days_after_its_hour_with_a_receipt_and_younger_stays() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let start = Timestamp::parse(START).unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let someone = deployment.person("t@example.org", "T").await;
        let id: Id = someone.id.parse().unwrap();
        let telemetry = || deployment.server().app().access().telemetry().of(id);
        let mut noted = Vec::new();
        for (number, days) in [0, 45].into_iter().enumerate() {
            // A token lives for 30 days.
            let officer = deployment.officer(&format!("officer{number}")).await;
            let token = deployment.token(&someone).await;
            let path = format!("/persons/{}", someone.id);
            for caller in [&token, &officer] {
                assert_eq!(deployment.call(Some(caller), "GET", &path, json!(null)).await.0, 200);
            }
            deployment.server().app().access().telemetry().flush().await.unwrap();
            noted.insert(0, Timestamp(start.0 + days * time::DAY).hour());
            // What they did themselves, which the server may be about to write, and what the staff did with their data.
            let kept = loop {
                let kept = telemetry().await.unwrap();
                let has = |by_staff: bool| {
                    kept.first()
                        .is_some_and(|doc| doc.entries.iter().any(|entry| entry.actor.is_some() == by_staff))
                };
                if kept.len() == noted.len() && has(false) && has(true) {
                    break kept;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            assert_eq!(kept.iter().map(|doc| doc.hour).collect::<Vec<_>>(), noted);
            clock.advance(45 * time::DAY);
        }
        clock.advance(time::DAY);
        let (status, run) = deployment.operator("POST", "/retention", json!({})).await;
        assert_eq!(status, 200, "{run}");
        // The sweep may be the worker's own, which is under way.
        let swept = loop {
            let all = statements(&deployment, "retention-receipt/1").await;
            let mut rows = all.iter().flat_map(|statement| statement["deleted"].as_array().unwrap());
            if let Some(row) = rows.find(|row| row["kind"] == "Telemetry") {
                break row.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(swept["rule"], "P90D", "{swept}");
        let kept = telemetry().await.unwrap();
        assert_eq!(kept.iter().map(|doc| doc.hour).collect::<Vec<_>>(), noted[..1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_on_its_day_and_the_erasure_that_waits_for_it_completes_itself() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse(START).unwrap()));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let someone = deployment.person("h@example.org", "H").await;
        let project = deployment.project(&someone, "p").await;
        let held = deployment.image(&someone, &project, "h.jpg", &image(1), &[]).await;
        let body = json!({ "target": held, "matter": "case 7", "reason": "before the court",
            "until": "2026-11-30T12:00:00Z" });
        let (status, hold) = deployment.operator("POST", "/holds", body).await;
        assert_eq!(status, 201, "{hold}");
        let report = deployment.erase(&someone).await;
        assert_eq!(
            (&report["status"], &report["held"]),
            (&json!("completed_with_holds"), &json!([hold["id"]])),
            "{report}"
        );
        let (_, page) = deployment.operator("GET", "/requests", json!(null)).await;
        let request = page["requests"][0].clone();
        in_state(&deployment, &request, "completedWithHolds").await;
        assert_eq!(statements(&deployment, "erasure-receipt/1").await.len(), 1);

        // The day before nothing ends.
        clock.advance(4 * time::DAY);
        assert_eq!(deployment.operator("POST", "/retention", json!({})).await.0, 200);
        let (_, holds) = deployment.operator("GET", "/holds", json!(null)).await;
        assert_eq!(holds.as_array().map(Vec::len), Some(1), "{holds}");

        clock.advance(2 * time::DAY);
        let (status, run) = deployment.operator("POST", "/retention", json!({})).await;
        assert_eq!(status, 200, "{run}");
        let done = in_state(&deployment, &request, "completed").await;
        let (_, holds) = deployment.operator("GET", "/holds", json!(null)).await;
        assert_eq!(holds, json!([]));
        let plan = report["plan"].as_str().unwrap();
        assert_eq!(deployment.finished(plan).await["status"], "completed");
        let (_, last) = deployment.operator("GET", &format!("/erasures/{plan}/receipt"), json!(null)).await;
        assert_eq!(last["statement"]["completes"], plan, "{last}");
        let path = format!("/receipts/{}", done["receipt"].as_str().unwrap());
        assert_eq!(deployment.operator("GET", &path, json!(null)).await.1["statement"], last["statement"]);
        // The first receipt and the one that completes it.
        let all = statements(&deployment, "erasure-receipt/1").await;
        assert_eq!(all.iter().filter(|one| one["completes"] == plan).count(), 1, "{all:?}");
        assert_eq!(all.len(), 2, "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_of_a_hold_is_moved_also_of_what_it_keeps_of_somebody_who_was_erased() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp::parse(START).unwrap()));
        let mut deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let someone = deployment.person("h@example.org", "H").await;
        let project = deployment.project(&someone, "p").await;
        deployment.image(&someone, &project, "h.jpg", &image(1), &[]).await;
        let officer = deployment.officer("officer").await;
        let body = json!({ "target": project, "matter": "case 7", "reason": "before the court",
            "until": "2026-11-30T12:00:00Z" });
        let (status, hold) = deployment.call(Some(&officer), "POST", "/holds", body).await;
        assert_eq!(status, 201, "{hold}");
        let path = format!("/holds/{}", hold["id"].as_str().unwrap());
        let other = deployment.person("o@example.org", "O").await;
        let body = json!({ "target": other.id, "matter": "case 8", "reason": "before the court",
            "until": "2026-11-30T12:00:00Z" });
        let (_, lasting) = deployment.operator("POST", "/holds", body).await;
        let lasting = lasting["id"].as_str().unwrap();
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);

        for (wrong, status) in [
            (json!({}), 400),
            (json!({ "until": "soon" }), 400),
            (json!({ "until": "2026-11-24T12:00:00Z" }), 400),
            (json!({ "until": null, "reason": "another" }), 400),
        ] {
            assert_eq!(
                deployment.call(Some(&officer), "PATCH", &path, wrong.clone()).await.0,
                status,
                "{wrong}"
            );
        }
        let nothing = format!("/holds/{}", someone.id);
        let moved = json!({ "until": "2026-12-10T12:00:00Z" });
        assert_eq!(deployment.call(Some(&officer), "PATCH", &nothing, moved.clone()).await.0, 404);
        let own = deployment.token(&someone).await;
        assert_eq!(deployment.call(Some(&own), "PATCH", &path, moved.clone()).await.0, 404);
        let by_hand = json!({ "until": null });
        let of_other = format!("/holds/{lasting}");
        let (status, changed) = deployment.call(Some(&officer), "PATCH", &of_other, by_hand).await;
        assert_eq!((status.as_u16(), changed.get("until")), (200, None), "{changed}");
        let (status, changed) = deployment.call(Some(&officer), "PATCH", &path, moved).await;
        assert_eq!(status, 200, "{changed}");
        let until = Timestamp::parse(changed["until"].as_str().unwrap()).unwrap();
        assert_eq!(until, Timestamp::parse("2026-12-10T12:00:00Z").unwrap());
        for member in ["id", "target", "matter", "reason", "placedBy", "placed"] {
            assert_eq!(changed[member], hold[member], "{changed}");
        }
        let (_, activity) = deployment.call(Some(&own), "GET", "/persons/me/activity", json!(null)).await;
        let by_staff = |entry: &&Value| entry["operation"] == "ExtendHold" && entry["by"] == "staff";
        assert!(activity.as_array().unwrap().iter().any(|entry| by_staff(&entry)), "{activity}");

        // It is kept past the day that it was placed for, and past the next one when that is moved after the erasure.
        let report = deployment.erase(&someone).await;
        assert_eq!(report["status"], "completed_with_holds", "{report}");
        let held = async |deployment: &Deployment| {
            let (status, run) = deployment.operator("POST", "/retention", json!({})).await;
            assert_eq!(status, 200, "{run}");
            deployment.operator("GET", "/holds", json!(null)).await.1.as_array().unwrap().len()
        };
        clock.advance(10 * time::DAY);
        assert_eq!(held(&deployment).await, 2);
        let later = json!({ "until": "2026-12-31T12:00:00Z" });
        assert_eq!(deployment.operator("PATCH", &path, later).await.0, 200);
        clock.advance(10 * time::DAY);
        assert_eq!(held(&deployment).await, 2);
        clock.advance(20 * time::DAY);
        assert_eq!(held(&deployment).await, 1);
        crate::keeping::completed(&deployment, report["plan"].as_str().unwrap()).await;
        assert_eq!(deployment.operator("PATCH", &path, json!({ "until": null })).await.0, 404);

        // A backup from before has the first day of the other one; the ledger knows better.
        deployment.stop().await;
        let store = crate::keeping::restored(&deployment, &backup).await;
        let holds = store.read(|tx| tx.holds()).await.unwrap();
        let ends: Vec<_> = holds.iter().map(|node| (node.id.to_string(), node.expires_at)).collect();
        assert_eq!(ends, [(lasting.to_owned(), None)]);
    }
}
