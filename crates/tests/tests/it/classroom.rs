//! A project with small pictures that can be learned from, made here.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::Id;
use habeas_core::kinds::{Iteration, IterationDoc, IterationStatus};
use serde_json::{Value, json};

use crate::deployment::{Deployment, LEAST_DETECTED, Someone, engines};

/// Side of a picture in pixels.
const SIDE: u64 = 48;

/// What a project's models do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Classify,
    Detect,
}

impl Task {
    /// Images of each tag without which a deployment of these tests trains nothing. A detector's training takes longer.
    pub(crate) fn least(self) -> u64 {
        match self {
            Task::Classify => 5,
            Task::Detect => LEAST_DETECTED,
        }
    }
}

/// A classifier on each engine and a detector, which takes many times as long to train, on the last, each with a database of its own: what is
/// stored of the two is the same.
pub(crate) fn everywhere() -> impl Iterator<Item = (Task, Option<String>)> {
    let mut cases: Vec<_> = engines().into_iter().map(|database| (Task::Classify, database)).collect();
    cases.extend(engines().pop().map(|database| (Task::Detect, database)));
    cases.into_iter()
}

/// A picture (BMP, 24 bits) of one of two kinds, stripes across or down, with noise of its own.
pub(crate) fn picture(kind: u64, number: u64) -> Vec<u8> {
    draw(kind, number, &Patch { left: 0, top: 0, side: SIDE })
}

/// The same stripes in a part of a dark picture, with the region of that part: as it is uploaded.
pub(crate) fn scene(kind: u64, number: u64, tag: &str) -> Value {
    let patch = Patch { left: number * 5 % 23, top: number * 11 % 23, side: SIDE / 2 };
    let contents = STANDARD.encode(draw(kind, number, &patch));
    json!({ "name": "x.bmp", "contents": contents, "regions": [patch.region(tag)] })
}

/// A square, in pixels.
struct Patch {
    left: u64,
    top: u64,
    side: u64,
}

impl Patch {
    fn contains(&self, x: u64, y: u64) -> bool {
        (self.left..self.left + self.side).contains(&x) && (self.top..self.top + self.side).contains(&y)
    }

    /// Its corner and its sides as the protocol says them.
    fn region(&self, tag: &str) -> Value {
        let share = |pixels: u64| pixels as f64 / SIDE as f64;
        let side = share(self.side);
        json!({ "tagId": tag, "left": share(self.left), "top": share(self.top), "width": side, "height": side })
    }
}

fn draw(kind: u64, number: u64, patch: &Patch) -> Vec<u8> {
    let mut noise = number.wrapping_mul(7919).wrapping_add(kind);
    let mut pixels = Vec::new();
    for row in 0..SIDE {
        for x in 0..SIDE {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // A BMP begins with the last row.
            if !patch.contains(x, SIDE - 1 - row) {
                pixels.extend([(noise >> 59) as u8; 3]);
                continue;
            }
            let stripe = if kind == 0 { x } else { row } / (3 + number % 3) % 2;
            let shade = stripe * 150 + (noise >> 58);
            pixels.extend([shade as u8, (shade / 2 + 40 * kind) as u8, (220 - shade) as u8]);
        }
    }
    let size = 54 + pixels.len() as u32;
    let mut bytes = b"BM".to_vec();
    for number in
        [size, 0, 54, 40, SIDE as u32, SIDE as u32, 1 | 24 << 16, 0, pixels.len() as u32, 0, 0, 0, 0]
    {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(pixels);
    bytes
}

/// Somebody's project.
pub(crate) struct Classroom<'a> {
    pub(crate) task: Task,
    pub(crate) someone: &'a Someone,
    pub(crate) project: String,
    pub(crate) tags: Vec<String>,
    /// Those of the first tag, then those of the second.
    pub(crate) images: Vec<String>,
}

impl<'a> Classroom<'a> {
    /// A classifier's project whose two tags have `each` pictures, numbered from `from`.
    pub(crate) async fn new(
        deployment: &Deployment,
        someone: &'a Someone,
        from: u64,
        each: u64,
    ) -> Classroom<'a> {
        Classroom::of(Task::Classify, deployment, someone, from, each).await
    }

    /// The same for either task.
    pub(crate) async fn of(
        task: Task,
        deployment: &Deployment,
        someone: &'a Someone,
        from: u64,
        each: u64,
    ) -> Classroom<'a> {
        let settings = match task {
            Task::Classify => "classificationType=Multiclass&domainId=0732100f-1a38-4e49-a514-c9b44c697ab5",
            Task::Detect => "domainId=a27d5ca5-bb19-49d8-a70a-fec086c47f5b",
        };
        let project = deployment.project(someone, &format!("room&{settings}")).await;
        let mut tags = Vec::new();
        for name in ["down", "across"] {
            tags.push(deployment.tag(someone, &project, name).await);
        }
        let mut room = Classroom { task, someone, project, tags, images: Vec::new() };
        for kind in 0..2 {
            for number in from..from + each {
                let image = room.add(deployment, kind, number).await;
                room.images.push(image);
            }
        }
        room
    }

    /// The copy of a project, once it is whole.
    pub(crate) async fn copied(
        deployment: &Deployment,
        from: &Classroom<'_>,
        to: &'a Someone,
    ) -> Classroom<'a> {
        let (status, export) = from.call(deployment, "GET", "/export", None).await;
        assert_eq!(status, 200, "{export}");
        let path = format!("/projects/import?token={}&name=copy", export["token"].as_str().unwrap());
        let (status, copy) = deployment.train("POST", &to.key, &path, None).await;
        assert_eq!(status, 200, "{copy}");
        let project = copy["id"].as_str().unwrap().to_owned();
        let mut room =
            Classroom { task: from.task, someone: to, project, tags: Vec::new(), images: Vec::new() };
        while room.call(deployment, "GET", "", None).await.1["status"] == "Importing" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (_, whole) = room.call(deployment, "GET", "", None).await;
        assert_eq!(whole["status"], "Succeeded", "{whole}");
        let ids = |list: &Value| {
            let entries = list.as_array().unwrap().iter();
            entries.map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
        };
        for name in ["down", "across"] {
            let (_, tags) = room.call(deployment, "GET", "/tags", None).await;
            let tag = tags.as_array().unwrap().iter().find(|tag| tag["name"] == name).unwrap();
            room.tags.push(tag["id"].as_str().unwrap().to_owned());
        }
        room.images = ids(&room.call(deployment, "GET", "/images?orderBy=Oldest", None).await.1);
        room
    }

    /// Calls the training API below the project.
    pub(crate) async fn call(
        &self,
        deployment: &Deployment,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let path = format!("/projects/{}{path}", self.project);
        let (status, body) = deployment.train(method, &self.someone.key, &path, body).await;
        (status.as_u16(), body)
    }

    /// Uploads a picture under its kind's tag.
    pub(crate) async fn add(&self, deployment: &Deployment, kind: u64, number: u64) -> String {
        let tag = &self.tags[kind as usize];
        let entry = match self.task {
            Task::Classify => {
                json!({ "name": "x.bmp", "contents": STANDARD.encode(picture(kind, number)), "tagIds": [tag] })
            }
            Task::Detect => scene(kind, number, tag),
        };
        let body = json!({ "images": [entry] });
        let (status, made) = self.call(deployment, "POST", "/images/files", Some(body)).await;
        assert_eq!(status, 200, "{made}");
        made["images"][0]["image"]["id"].as_str().unwrap().to_owned()
    }

    /// Erases images everywhere.
    pub(crate) async fn erase(&self, deployment: &Deployment, images: &[String]) {
        let path = format!("/images?imageIds={}&allIterations=true", images.join(","));
        let (status, answer) = self.call(deployment, "DELETE", &path, None).await;
        assert_eq!(status, 202, "{answer}");
    }

    /// Starts a training; the iteration's id.
    pub(crate) async fn begin(&self, deployment: &Deployment, query: &str, body: Option<Value>) -> Id {
        let (status, begun) = self.call(deployment, "POST", &format!("/train?{query}"), body).await;
        assert_eq!((status, begun["status"].as_str()), (200, Some("Training")), "{begun}");
        begun["id"].as_str().unwrap().parse().unwrap()
    }

    /// Trains, waits for the end, and expects a model; the iteration's id.
    pub(crate) async fn train(&self, deployment: &Deployment, query: &str) -> Id {
        let iteration = self.begin(deployment, query, None).await;
        let ended = ended(deployment, iteration).await;
        assert_eq!(ended.status, IterationStatus::Completed, "{:?}", ended.error);
        iteration
    }

    /// The digests of a model that is trained anew on what is there.
    pub(crate) async fn anew(&self, deployment: &Deployment) -> [String; 2] {
        let iteration = self.train(deployment, "forceTrain=true").await;
        digests(deployment, iteration).await
    }

    /// Publishes an iteration under the name `live`.
    pub(crate) async fn publish(&self, deployment: &Deployment, iteration: Id) {
        let path = format!("/iterations/{iteration}/publish?publishName=live&predictionId=x&overwrite=true");
        let (status, answer) = self.call(deployment, "POST", &path, None).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Publishes one iteration in place of another.
    pub(crate) async fn publish_instead(&self, deployment: &Deployment, old: Id, new: Id) {
        assert_eq!(self.call(deployment, "DELETE", &format!("/iterations/{old}/publish"), None).await.0, 204);
        self.publish(deployment, new).await;
    }

    /// What the iteration published as `live` says of a picture: tag and probability, and of a detector the box.
    pub(crate) async fn ask(&self, deployment: &Deployment, picture: &[u8]) -> Value {
        let task = match self.task {
            Task::Classify => "classify",
            Task::Detect => "detect",
        };
        let path =
            format!("/customvision/v3.1/prediction/{}/{task}/iterations/live/image/nostore", self.project);
        let request = Request::post(path)
            .header("prediction-key", &self.someone.key)
            .header("content-type", "application/octet-stream")
            .body(Body::from(picture.to_vec()))
            .unwrap();
        let (status, body) = deployment.send(request).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{answer}");
        let said = answer["predictions"].as_array().unwrap().iter();
        said.map(|said| json!([said["tagName"], said["probability"], said["boundingBox"]])).collect()
    }
}

/// An iteration as it is stored.
pub(crate) async fn stored(deployment: &Deployment, iteration: Id) -> IterationDoc {
    let store = deployment.server().app().store();
    store.read(move |tx| tx.get::<Iteration>(iteration)).await.unwrap().unwrap().doc
}

/// An iteration once its training has ended.
pub(crate) async fn ended(deployment: &Deployment, iteration: Id) -> IterationDoc {
    loop {
        let doc = stored(deployment, iteration).await;
        if doc.status != IterationStatus::Training {
            return doc;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The digests of an iteration's sums and of its state, once it is final.
pub(crate) async fn digests(deployment: &Deployment, iteration: Id) -> [String; 2] {
    let forgotten = deployment.server().app().models().forget(iteration).await.unwrap().unwrap();
    let model = stored(deployment, iteration).await.model.unwrap();
    assert_eq!(forgotten.state_digest.as_ref(), Some(&model.state_digest));
    [model.sums_digest, model.state_digest]
}

/// Everything that the doctor looks at is well, once files whose deletion is waiting are gone.
pub(crate) async fn healthy(deployment: &Deployment) {
    loop {
        let (_, doctor) = deployment.operator("GET", "/doctor?scan=true", Value::Null).await;
        let checks = doctor["checks"].as_array().unwrap();
        if checks.iter().all(|check| check["status"] == "ok") {
            return;
        }
        let waits = |check: &Value| check["name"] == "orphans" && check["status"] == "warn";
        assert!(checks.iter().all(|check| check["status"] == "ok" || waits(check)), "{doctor}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
