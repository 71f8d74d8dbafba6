//! 64 writers against an erasure: what was acknowledged before the freeze is erased, the rest is refused, and the detectors of others know
//! nothing of it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::classroom::{Classroom, Task, digests, healthy, scene, stored};
use crate::deployment::{Deployment, Someone, engines, image};
use crate::mlflow::Tracker;

/// Somebody who writes, and where.
#[derive(Clone)]
struct Writer {
    deployment: Arc<Deployment>,
    someone: Someone,
    number: u64,
    project: String,
    /// A detector's, and one of its tags.
    scenes: String,
    tag: String,
    /// What opens MLflow's API, an experiment and a run.
    token: String,
    run: (String, String),
}

impl Writer {
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, answer) =
            self.deployment.train(method, &self.someone.key, &format!("/projects/{path}"), body).await;
        (status.as_u16(), answer)
    }

    async fn write(&self, round: u64) -> (u16, Value) {
        let Writer { number, project, scenes, tag, token, run: (experiment, run), .. } = self;
        let name = number * 100 + round;
        match number % 8 {
            0 => {
                let body = json!({ "images": [{ "contents": STANDARD.encode(image(name)) }] });
                self.call("POST", &format!("{project}/images/files"), Some(body)).await
            }
            1 => {
                let body = json!({ "images": [scene(0, name, tag)] });
                self.call("POST", &format!("{scenes}/images/files"), Some(body)).await
            }
            // One trains the detector, as far as no training is going on and images are left, and another one takes images from it.
            2 if *number == 2 => {
                match self.call("POST", &format!("{scenes}/train?forceTrain=true"), None).await {
                    (400, answer) if answer["code"].as_str().unwrap().starts_with("BadRequestTraining") => {
                        (200, answer)
                    }
                    result => result,
                }
            }
            3 if *number == 3 => {
                let (status, found) = self.call("GET", &format!("{scenes}/images?take=1"), None).await;
                let Some(image) = found[0]["id"].as_str().filter(|_| status == 200) else {
                    return (status, found);
                };
                let path = format!("{scenes}/images?imageIds={image}&allIterations=true");
                let (status, answer) = self.call("DELETE", &path, None).await;
                (if status == 202 { 200 } else { status }, answer)
            }
            4 => {
                let metrics: Vec<Value> = (0..50)
                    .map(|step| json!({ "key": format!("m{name}"), "value": 1.0, "timestamp": 1, "step": step }))
                    .collect();
                let body =
                    json!({ "run_id": run, "metrics": metrics, "tags": [{ "key": "t", "value": "v" }] });
                Tracker::with(&self.deployment, token).call("POST", "/runs/log-batch", body).await
            }
            5 => {
                let path = format!("{experiment}/{run}/artifacts/{name}.bin");
                (Tracker::with(&self.deployment, token).upload(&path, &[7; 100_000]).await, Value::Null)
            }
            6 => {
                let body = json!({ "experiment_id": experiment, "start_time": 1 });
                Tracker::with(&self.deployment, token).call("POST", "/runs/create", body).await
            }
            _ => self.call("POST", &format!("{project}/tags?name=t{name}"), None).await,
        }
    }

    async fn write_until_refused(self) {
        for round in 0..20 {
            match self.write(round).await {
                (200, _) => {}
                // Refused by the freeze, or not recognised any more.
                (401 | 404 | 409, _) => return,
                // PostgreSQL's writers may lose too many races.
                (429, _) => {}
                (other, answer) => panic!("{other}: {answer}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_racing_an_erasure_leave_nothing() {
    let _lock = crate::canary::protected().await;
    let least = Task::Detect.least();
    for database in engines() {
        let deployment = Arc::new(Deployment::open(database).await);
        let someone = deployment.person("busy@example.org", "Busy").await;
        let project = deployment.project(&someone, "p").await;
        let room = Classroom::of(Task::Detect, &deployment, &someone, 0, least).await;
        room.train(&deployment, "").await;
        // Somebody else's detector learned from their images, and from others.
        let neighbour = deployment.person("neighbour@example.org", "Neighbour").await;
        let copy = Classroom::copied(&deployment, &room, &neighbour).await;
        for number in 10..10 + least {
            copy.add(&deployment, 0, number).await;
            copy.add(&deployment, 1, number).await;
        }
        let theirs = copy.train(&deployment, "").await;

        let tracker = Tracker::new(&deployment, &someone).await;
        let experiment = tracker.experiment("e").await;
        let run = (experiment.clone(), tracker.run(&experiment, "r").await);
        let token = tracker.token().to_owned();

        let (_, plan) =
            deployment.operator("POST", &format!("/persons/{}/erasure-plans", someone.id), json!({})).await;
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..64_u64 {
            let writer = Writer {
                deployment: Arc::clone(&deployment),
                someone: someone.clone(),
                number,
                project: project.clone(),
                scenes: room.project.clone(),
                tag: room.tags[0].clone(),
                token: token.clone(),
                run: run.clone(),
            };
            writers.spawn(writer.write_until_refused());
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

        let forgot = digests(&deployment, theirs).await;
        let model = stored(&deployment, theirs).await.model.unwrap();
        assert_eq!((model.images, model.unlearned), (2 * least, 2 * least));
        assert_eq!(forgot, copy.anew(&deployment).await);
        healthy(&deployment).await;
    }
}
