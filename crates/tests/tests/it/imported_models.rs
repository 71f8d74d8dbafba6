//! Models of an archive, computed again where it is brought in: they answer as they did, and forget like any other.

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_client::Client;
use habeas_core::Id;
use habeas_core::crypto::{SecretKey, SigningKey, sha256};
use serde_json::{Value, json};

use crate::archives::{Files, archive, bring, pack, unpack};
use crate::classroom::{Classroom, Task, digests, ended, everywhere, picture, stored};
use crate::deployment::{Deployment, Someone, engines};

/// Every file of the person's projects, weights and all, without rows: of images that no model learned from there are none.
async fn whole(deployment: &Deployment, someone: &Someone) -> Files {
    let mut files = deployment.content(someone).await;
    files.retain(|(path, _)| {
        path.starts_with("custom-vision/")
            && !path.starts_with("custom-vision/accounts/")
            && !path.contains(".phi-")
            && !path.contains(".maps-")
    });
    files
}

/// Without addresses, which are signed, and without the moment of a query.
fn without_addresses(answer: &mut Value) {
    match answer {
        Value::Array(entries) => entries.iter_mut().for_each(without_addresses),
        Value::Object(members) => {
            members.retain(|name, _| !name.to_lowercase().ends_with("uri") && name != "session");
            members.values_mut().for_each(without_addresses);
        }
        _ => {}
    }
}

/// What the training and prediction APIs say of a project and its iterations.
async fn said(deployment: &Deployment, room: &Classroom<'_>, iterations: &[Id]) -> Vec<Value> {
    let mut asked = vec![
        ("GET", String::new(), None),
        ("GET", "/tags".into(), None),
        ("GET", "/images?orderBy=Oldest&take=100".into(), None),
        ("GET", "/iterations".into(), None),
        ("POST", "/predictions/query".into(), Some(json!({}))),
        ("POST", "/train".into(), None),
    ];
    for iteration in iterations {
        let at = format!("/iterations/{iteration}");
        asked.extend([
            ("GET", at.clone(), None),
            ("GET", format!("{at}/performance?threshold=0.4"), None),
            ("GET", format!("{at}/performance/images?take=100"), None),
            ("GET", format!("{at}/export"), None),
            ("POST", format!("/images/suggested?iterationId={iteration}"), Some(json!({}))),
        ]);
    }
    let mut answers = Vec::new();
    for (method, path, body) in asked {
        let (status, mut answer) = room.call(deployment, method, &path, body).await;
        without_addresses(&mut answer);
        answers.push(json!([path, status, answer]));
    }
    answers.push(room.ask(deployment, &picture(0, 100)).await);
    answers
}

async fn exported(deployment: &Deployment, room: &Classroom<'_>, iteration: Id) {
    let path = format!("/iterations/{iteration}/export");
    assert_eq!(room.call(deployment, "POST", &format!("{path}?platform=ONNX"), None).await.0, 200);
    while room.call(deployment, "GET", &path, None).await.1[0]["status"] == "Exporting" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_are_brought_answer_as_where_they_were_trained_and_forget() {
    let _lock = crate::canary::protected().await;
    for (task, database) in everywhere() {
        let from = Deployment::open(None).await;
        let to = Deployment::open(database).await;
        let ada = from.person("ada@example.org", "Ada").await;
        let room = Classroom::of(task, &from, &ada, 0, task.least() + 2).await;
        let first = room.train(&from, "").await;
        room.erase(&from, &room.images[..1]).await;
        digests(&from, first).await;
        // One that only the model keeps, and one that it never saw.
        let path = format!("/images?imageIds={}", room.images[1]);
        assert_eq!(room.call(&from, "DELETE", &path, None).await.0, 204);
        let body = json!({ "images": [{ "name": "x.bmp", "contents": STANDARD.encode(picture(1, 90)) }] });
        let (_, made) = room.call(&from, "POST", "/images/files", Some(body)).await;
        let unseen = made["images"][0]["image"]["id"].as_str().unwrap().to_owned();
        let path = format!("/tagsandregions/suggestions?iterationId={first}&imageIds={unseen}");
        assert_eq!(room.call(&from, "POST", &path, None).await.0, 200);
        exported(&from, &room, first).await;
        room.publish(&from, first).await;
        let request = Request::post(format!(
            "/customvision/v3.1/prediction/{}/{}/iterations/live/image",
            room.project,
            if task == Task::Classify { "classify" } else { "detect" }
        ))
        .header("prediction-key", &ada.key)
        .header("content-type", "application/octet-stream")
        .body(Body::from(picture(1, 91)))
        .unwrap();
        assert_eq!(from.send(request).await.0, 200);
        // The same images, one less in the workspace: nothing is left to be said against another training.
        let second = room.train(&from, "forceTrain=true").await;
        let mut iterations = vec![first, second];
        // One of another project, on top of the first.
        let mut others = Vec::new();
        if task == Task::Classify {
            let other = Classroom::new(&from, &ada, 40, 5).await;
            let base = json!({ "customBaseModelInfo": { "projectId": room.project, "iterationId": first } });
            let on_top = other.begin(&from, "forceTrain=true", Some(base)).await;
            assert!(ended(&from, on_top).await.model.is_some());
            others.push(on_top);
        }

        let (before, files) = (said(&from, &room, &iterations).await, whole(&from, &ada).await);
        let folder = tempfile::tempdir().unwrap();
        let path = archive(&from, &ada, folder.path()).await;
        let here = to.person("ada@example.org", "Ada").await;
        let report = bring(&to, &here, &path).await.unwrap();
        let models = (iterations.len() + others.len()) as u64;
        assert_eq!(
            (report.models, report.same_models, report.remapped.len()),
            (models, models, 0),
            "{report:?}"
        );
        let same = Classroom {
            task,
            someone: &here,
            project: room.project.clone(),
            tags: room.tags.clone(),
            images: room.images.clone(),
        };
        let after = said(&to, &same, &iterations).await;
        for (after, before) in after.iter().zip(&before) {
            assert_eq!(after, before);
        }
        let now = whole(&to, &here).await;
        let names = |files: &Files| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        assert_eq!(names(&now), names(&files));
        // Downloaded as it was.
        let exported = now.iter().any(|(path, _)| path.starts_with("custom-vision/model-exports/"));
        assert!(
            exported && report.left_out.iter().all(|left_out| !left_out.contains("export")),
            "{report:?}"
        );
        for ((path, now), (_, then)) in now.iter().zip(&files) {
            assert!(
                now == then,
                "{path}: {}, not {}",
                String::from_utf8_lossy(now),
                String::from_utf8_lossy(then)
            );
        }
        // Again: nothing is new, and nothing is computed twice.
        let again = bring(&to, &here, &path).await.unwrap();
        assert_eq!((again.brought, again.models, again.same_models), (0, models, models), "{again:?}");

        // What is erased here, the models forget here.
        same.erase(&to, &same.images[2..3]).await;
        room.erase(&from, &room.images[2..3]).await;
        iterations.extend(others);
        for &iteration in &iterations {
            assert_eq!(digests(&to, iteration).await, digests(&from, iteration).await);
            let [here, there] = [&to, &from].map(|deployment| stored(deployment, iteration));
            let (here, there) = (here.await.model.unwrap(), there.await.model.unwrap());
            assert_eq!((here.images, here.unlearned), (there.images, there.unlearned));
        }
        assert_eq!(same.call(&to, "GET", &format!("/iterations/{first}/export"), None).await.1, json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_while_models_are_computed_they_forget_and_their_exports_are_gone() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let from = Deployment::open(None).await;
        let to = Deployment::open(database).await;
        let ada = from.person("ada@example.org", "Ada").await;
        let first = Classroom::new(&from, &ada, 0, 6).await;
        let base = first.train(&from, "").await;
        let second = Classroom::new(&from, &ada, 40, 6).await;
        let body = json!({ "customBaseModelInfo": { "projectId": first.project, "iterationId": base } });
        let iteration = second.begin(&from, "forceTrain=true", Some(body)).await;
        assert_eq!(ended(&from, iteration).await.model.map(|model| model.images), Some(24));
        exported(&from, &second, iteration).await;
        let folder = tempfile::tempdir().unwrap();
        let path = archive(&from, &ada, folder.path()).await;
        let here = to.person("ada@example.org", "Ada").await;
        let importing = bring(&to, &here, &path);
        let erasing = async {
            let project = format!("/projects/{}", first.project);
            while to.train("GET", &here.key, &project, None).await.1["status"] != "Succeeded" {
                tokio::task::yield_now().await;
            }
            assert_eq!(to.train("DELETE", &here.key, &project, None).await.0, 204);
        };
        let (report, ()) = tokio::join!(importing, erasing);
        if let Err(error) = report {
            assert!(error.to_string().contains("everything was brought"), "{error:#}");
        }
        let model = loop {
            match stored(&to, iteration).await.model {
                Some(model) if model.images == 12 => break model,
                _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        };
        assert_eq!(model.unlearned, 12);
        let same = Classroom {
            task: Task::Classify,
            someone: &here,
            project: second.project.clone(),
            tags: second.tags.clone(),
            images: second.images.clone(),
        };
        assert_eq!(
            same.call(&to, "GET", &format!("/iterations/{iteration}/export"), None).await.1,
            json!([])
        );
        assert_eq!(digests(&to, iteration).await, same.anew(&to).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_computed_here_is_left_out_and_says_why() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let from = Deployment::open(None).await;
        let to = Deployment::open(database).await;
        let ada = from.person("ada@example.org", "Ada").await;
        let room = Classroom::new(&from, &ada, 0, 5).await;
        let iteration = room.train(&from, "").await;
        room.publish(&from, iteration).await;
        let folder = tempfile::tempdir().unwrap();
        let files = unpack(&archive(&from, &ada, folder.path()).await);
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut files = files.clone();
            let (_, file) = files.iter_mut().find(|(path, _)| path.ends_with("/iteration.json")).unwrap();
            let mut document: Value = serde_json::from_slice(file).unwrap();
            change(&mut document["model"]);
            *file = document.to_string().into_bytes();
            pack(files, &SigningKey::from_seed(&SecretKey::from_bytes([7; 32])), folder.path())
        };
        for (number, (change, why)) in [
            (json!({ "extractor": "phi-v9" }), "phi-v9"),
            (json!({ "images": 11 }), "it learned from 11 images, of which 10 are here"),
        ]
        .into_iter()
        .enumerate()
        {
            let path = changed(&|model| {
                for (name, value) in change.as_object().unwrap() {
                    model[name] = value.clone();
                }
            });
            let here = to.person(&format!("ada{number}@example.org"), "Ada").await;
            let report = bring(&to, &here, &path).await.unwrap();
            assert_eq!(report.models, 0, "{report:?}");
            assert!(report.left_out.iter().any(|left_out| left_out.contains(why)), "{report:?}");
            let renamed = |id: &str| {
                let found = report.remapped.iter().find(|(old, _)| old.to_string() == id);
                found.map_or_else(|| id.to_owned(), |(_, new)| new.to_string())
            };
            let iteration = renamed(&iteration.to_string());
            let there = format!("/projects/{}/iterations/{iteration}", renamed(&room.project));
            let (status, answer) = to.train("GET", &here.key, &there, None).await;
            assert_eq!((status.as_u16(), &answer["status"]), (200, &json!("Completed")), "{answer}");
            let (status, answer) = to.train("GET", &here.key, &format!("{there}/performance"), None).await;
            assert_eq!(status, 404, "{answer}");
            let (status, answer) =
                to.train("POST", &here.key, &format!("{there}/export?platform=ONNX"), None).await;
            assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("BadRequestIterationIsNotTrained")));
            assert!(answer["message"].as_str().unwrap().contains(why), "{answer}");
            // Once what was missing is there, another import has it computed.
            let again = bring(&to, &here, &changed(&|_| {})).await.unwrap();
            assert_eq!((again.brought, again.models), (0, 1), "{again:?}");
            let (status, answer) = to.train("GET", &here.key, &format!("{there}/performance"), None).await;
            assert_eq!(status, 200, "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_before_a_model_is_computed_it_never_learns() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let to = Deployment::open(database).await;
        let ada = to.person("ada@example.org", "Ada").await;
        let client = Client::over_socket(&to.settings.data().join("habeas.sock")).unwrap();
        let account = client.accounts(&ada.id).await.unwrap()[0].id;
        let ids: Vec<Id> = (1..=16).map(|number| Id::from_bytes([number; 16])).collect();
        let (project, tags, iteration, images) = (ids[0], &ids[1..3], ids[3], &ids[4..]);
        let document = json!({
            "id": project, "name": "room",
            "settings": { "domainId": "0732100f-1a38-4e49-a514-c9b44c697ab5", "classificationType": "Multiclass" },
        });
        client.bring_unfinished_project(account, &serde_json::from_value(document).unwrap()).await.unwrap();
        for (tag, name) in tags.iter().zip(["down", "across"]) {
            let tag = json!({ "id": tag, "name": name });
            client.bring_tag(project, &serde_json::from_value(tag).unwrap()).await.unwrap();
        }
        let mut snapshot = Vec::new();
        for (number, image) in images.iter().enumerate() {
            let kind = number % 2;
            let bytes = picture(kind as u64, number as u64);
            let mut upload = json!({ "id": image, "tags": [{ "tagId": tags[kind] }] });
            snapshot.push(upload.clone());
            upload["sha256"] = json!(hex::encode(sha256(&bytes)));
            upload["contents"] = json!(STANDARD.encode(&bytes));
            client.bring_image(project, &serde_json::from_value(upload).unwrap()).await.unwrap();
        }
        let brought = json!({
            "id": iteration, "name": "Iteration 1", "status": "Completed", "publishName": "live",
            "classificationType": "Multiclass", "trainedAt": "2026-01-02T03:04:05Z",
            "model": { "extractor": "phi-v1", "stateDigest": "", "images": 12, "unlearned": 0 },
            "tags": tags.iter().zip(["down", "across"]).map(|(id, name)| json!({ "id": id, "name": name })).collect::<Vec<_>>(),
            "images": snapshot, "performance": [],
        });
        client.bring_iteration(project, &serde_json::from_value(brought).unwrap()).await.unwrap();
        let room = Classroom {
            task: Task::Classify,
            someone: &ada,
            project: project.to_string(),
            tags: tags.iter().map(Id::to_string).collect(),
            images: images.iter().map(Id::to_string).collect(),
        };
        // Not yet: no answer, rather than one without a model.
        let (status, answer) =
            room.call(&to, "GET", &format!("/iterations/{iteration}/performance"), None).await;
        assert_eq!(status, 503, "{answer}");
        room.erase(&to, &room.images[..1]).await;
        let finished = json!({ "projects": [project] });
        client.finish_import(account, &serde_json::from_value(finished).unwrap()).await.unwrap();
        let doc = loop {
            let doc = stored(&to, iteration).await;
            if doc.model.is_some() {
                break doc;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let model = doc.model.unwrap();
        assert_eq!((model.images, model.unlearned, doc.imported), (11, 1, None));
        assert_eq!(doc.trained_at.unwrap().rfc3339(), "2026-01-02T03:04:05.000000Z");
        room.ask(&to, &picture(0, 100)).await;
        assert_eq!(digests(&to, iteration).await, room.anew(&to).await);
    }
}
