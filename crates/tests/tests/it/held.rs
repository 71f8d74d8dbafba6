//! What a legal hold keeps, for others than its holder: whom its images show, and whoever writes over it.

use std::sync::mpsc;

use axum::body::Body;
use axum::http::Request;
use habeas_core::kinds::Hold;
use habeas_core::{Id, Timestamp};
use serde_json::json;

use crate::artifacts::Team;
use crate::deployment::{Deployment, engines, image};
use crate::keeping::{completed, hold};
use crate::mlflow::{self, Tracker};
use crate::{depicted, scan};

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_held_image_shows_finds_it_and_is_named_by_it_no_more_after_their_own_erasure() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        for are_erased in [false, true] {
            let database = database.as_ref().and_then(|_| crate::postgres::database());
            let mut deployment = Deployment::open(database).await;
            let store = deployment.server().app().store().clone();
            let bob = deployment.person("bob@example.org", "Bob").await;
            let ada = deployment.person("c4n4ryada@example.org", "Ada").await;
            let project = deployment.project(&bob, "p").await;
            let shown = deployment.image(&bob, &project, "s.jpg", &image(1), &[]).await;
            depicted::depict(&deployment, &bob, &project, &shown, "a friend, c4n4ryada@example.org").await;
            let held = hold(&deployment, &project).await;
            assert_eq!(deployment.erase(&bob).await["status"], "completed_with_holds");
            assert_eq!(depicted::shown(&deployment, &ada.id).await, [shown]);
            let markers = ["c4n4ryada".to_owned()];

            let plans = format!("/persons/{}/erasure-plans", ada.id);
            let (_, plan) = deployment.operator("POST", &plans, json!({ "eraseDepicted": are_erased })).await;
            assert_eq!(plan["depicted"], 1, "{plan}");
            let body = json!({ "plan": plan["plan"], "confirm": ada.email, "digest": plan["digest"] });
            assert_eq!(deployment.operator("POST", "/erasures", body).await.0, 202);
            let plan_id = plan["plan"].as_str().unwrap();
            let report = deployment.finished(plan_id).await;
            // The image itself goes only with the hold; the name went at once.
            let expected = if are_erased { "completed_with_holds" } else { "completed" };
            assert_eq!(report["status"], expected, "{report}");
            let held_parts = plan["held"].as_array().map_or(0, Vec::len);
            assert_eq!(held_parts, usize::from(are_erased), "{plan}");
            assert_eq!(scan::opened(&store, &markers).await, Vec::<String>::new());
            assert!(!scan::opened(&store, &["a friend".to_owned()]).await.is_empty(), "it is kept");
            drop(store);

            // The hold has the key under which the ledger has it.
            deployment.stop().await;
            deployment.start().await;
            assert_eq!(deployment.operator("DELETE", &format!("/holds/{held}"), json!(null)).await.0, 204);
            completed(&deployment, plan_id).await;
            let store = deployment.server().app().store().clone();
            assert_eq!(scan::opened(&store, &["a friend".to_owned()]).await, Vec::<String>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_under_a_hold_is_not_written_over_and_a_log_may_grow() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let folder = mlflow::small(&deployment, &someone).await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let team = Team::new(&deployment, &someone).await;
        let address = team.announced("outputs/model.pkl").await;
        assert_eq!(team.put(&address, b"weights").await, 201);
        let log =
            format!("/artifact/v2.0{}/artifacts/content/ExperimentRun/{}/log.txt", team.scope, team.run);
        assert_eq!(tracker.raw("POST", &log, b"a".to_vec()).await.0, 200);
        let held = hold(&deployment, &someone.id).await;

        let overwritten = async || {
            let mlflow = tracker.upload(&format!("{folder}/model.bin"), b"other").await;
            let headers = [("x-ms-blob-type", "BlockBlob")];
            let (azure, _, body) = team.storage("PUT", &address, &headers, b"other".to_vec()).await;
            let (artifact, _) = tracker.raw("POST", &log, b"b".to_vec()).await;
            (mlflow, azure, artifact, String::from_utf8(body).unwrap())
        };
        let (mlflow, azure, artifact, said) = overwritten().await;
        assert_eq!((mlflow, azure, artifact), (409, 409, 409), "{said}");
        assert!(said.contains("<Code>Held</Code>"), "{said}");
        // New files, and more of a log, take nothing away.
        assert_eq!(tracker.upload(&format!("{folder}/new.bin"), b"new").await, 200);
        assert_eq!(tracker.raw("POST", &format!("{log}?append=true"), b"b".to_vec()).await.0, 200);
        assert_eq!(tracker.download(&format!("{folder}/model.bin")).await, (200, b"weights".to_vec()));
        assert_eq!(team.storage("GET", &address, &[], Vec::new()).await.2, b"weights");
        let request = Request::get(&log)
            .header("authorization", format!("Bearer {}", tracker.token()))
            .body(Body::empty())
            .unwrap();
        assert_eq!(deployment.send(request).await.1, b"ab");

        assert_eq!(deployment.operator("DELETE", &format!("/holds/{held}"), json!(null)).await.0, 204);
        let (mlflow, azure, artifact, said) = overwritten().await;
        assert_eq!((mlflow, azure, artifact), (200, 201, 200), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_move_a_holds_day_at_once_the_row_has_what_the_ledger_has() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let ada = deployment.person("ada@example.org", "Ada").await;
        let held: Id = hold(&deployment, &ada.id).await.parse().unwrap();
        let day = |text: &str| Some(Timestamp::parse(text).unwrap());
        let (first, second) = (day("2999-01-01T00:00:00Z"), day("2999-01-02T00:00:00Z"));

        // Somebody has the row, so that the first one waits with their day in the ledger.
        let (has_row, is_had) = mpsc::channel();
        let (let_go, is_let_go) = mpsc::channel::<()>();
        let writer = store.clone();
        let blocking = tokio::spawn(async move {
            let write = writer.write(move |tx| {
                let node = tx.get::<Hold>(held)?.unwrap();
                tx.update::<Hold>(&node)?;
                // Said and waited for once, also when this is run again.
                has_row.send(()).ok();
                is_let_go.recv().ok();
                Ok(())
            });
            write.await
        });
        tokio::task::spawn_blocking(move || is_had.recv().unwrap()).await.unwrap();
        let extender = store.clone();
        let extending = tokio::spawn(async move { extender.extend_hold(held, first).await });
        while store.with_ledger(move |ledger| Ok(ledger.hold(held))).await.unwrap().unwrap().until != first {
            tokio::task::yield_now().await;
        }
        assert!(store.with_ledger(move |ledger| ledger.extend_hold(held, second)).await.unwrap());
        let_go.send(()).unwrap();
        blocking.await.unwrap().unwrap();
        assert_eq!(extending.await.unwrap().unwrap().expires_at, second);
        let (_, holds) = deployment.operator("GET", "/holds", json!(null)).await;
        assert_eq!(holds[0]["until"], second.unwrap().rfc3339(), "{holds}");
    }
}
