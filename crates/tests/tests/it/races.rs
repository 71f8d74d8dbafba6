//! 64 writers against an erasure: what was acknowledged before the freeze is erased, the rest is refused.

use std::sync::Arc;

use serde_json::json;

use crate::deployment::{Deployment, engines, image};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_racing_an_erasure_leave_nothing() {
    let _lock = crate::canary::exclusively().await;
    for database in engines() {
        let deployment = Arc::new(Deployment::open(database).await);
        let someone = deployment.person("busy@example.org", "Busy").await;
        let project = deployment.project(&someone, "p").await;
        let (_, plan) =
            deployment.operator("POST", &format!("/persons/{}/erasure-plans", someone.id), json!({})).await;
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..64_u64 {
            let (deployment, someone, project) = (Arc::clone(&deployment), someone.clone(), project.clone());
            writers.spawn(async move {
                for number in 0..20_u64 {
                    let (status, answer) = if writer % 8 == 0 {
                        let contents = base64::Engine::encode(
                            &base64::engine::general_purpose::STANDARD,
                            image(writer * 100 + number),
                        );
                        let body = json!({ "images": [{ "contents": contents }] });
                        deployment
                            .train(
                                "POST",
                                &someone.key,
                                &format!("/projects/{project}/images/files"),
                                Some(body),
                            )
                            .await
                    } else {
                        deployment
                            .train(
                                "POST",
                                &someone.key,
                                &format!("/projects/{project}/tags?name=t{writer}-{number}"),
                                None,
                            )
                            .await
                    };
                    match status.as_u16() {
                        200 => {}
                        // Refused by the freeze, or not recognised any more.
                        401 | 404 | 409 => return,
                        // PostgreSQL's writers may lose too many races.
                        429 => {}
                        other => panic!("{other}: {answer}"),
                    }
                }
            });
        }
        // Until the writers have changed something the old plan holds; afterwards it is refused, and a new one is made.
        let body = json!({ "plan": plan["plan"], "confirm": someone.email });
        let mut status = deployment.operator("POST", "/erasures", body).await.0;
        let mut id = plan["plan"].as_str().unwrap().to_owned();
        while status == 409 {
            let (_, plan) = deployment
                .operator("POST", &format!("/persons/{}/erasure-plans", someone.id), json!({}))
                .await;
            id = plan["plan"].as_str().unwrap().to_owned();
            status = deployment
                .operator("POST", "/erasures", json!({ "plan": id, "confirm": someone.email }))
                .await
                .0;
        }
        assert_eq!(status, 202);
        while let Some(result) = writers.join_next().await {
            result.unwrap();
        }
        let report = deployment.finished(&id).await;
        assert_eq!(report["status"], "completed", "{report}");
        let person: habeas_core::Id = someone.id.parse().unwrap();
        let traces = deployment.server().app().store().read(move |tx| tx.traces_of(person)).await.unwrap();
        assert!(traces.iter().all(|(_, rows)| *rows == 0), "{traces:?}");
    }
}
