//! Letters to those whose models were made from something that is erased: one to each owner, about theirs, and nothing of whose data it was.

use std::time::Duration;

use habeas_store::{TaskKind, TaskState};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};
use crate::mlflow::Tracker;
use crate::model_management::Manager;

/// The letters of this sort to a person that lie in the outbox.
pub(crate) fn lying(deployment: &Deployment, person: &Someone) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(deployment.settings.data().join("outbox")) else { return Vec::new() };
    let prefix = format!("{}-", person.id);
    files
        .map(|file| file.unwrap())
        .filter(|file| file.file_name().to_str().unwrap().starts_with(&prefix))
        .map(|file| std::fs::read_to_string(file.path()).unwrap())
        .collect()
}

/// Waits until no letter is to be sent any more.
pub(crate) async fn all_sent(deployment: &Deployment) {
    let store = deployment.server().app().store();
    loop {
        let tasks = store.read(|tx| tx.count_tasks()).await.unwrap();
        let is_open = |state: &TaskState| matches!(state, TaskState::Waiting | TaskState::Running);
        if !tasks.iter().any(|(kind, state, _)| *kind == TaskKind::Mail && is_open(state)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn organisation(deployment: &Deployment, members: &[(&Someone, &str)]) -> Someone {
    let owner = members[0].0;
    let body = json!({ "name": "Forest", "owner": owner.id });
    let (status, made) = deployment.operator("POST", "/organisations", body).await;
    assert_eq!(status, 201, "{made}");
    let id = made["objectId"].as_str().unwrap().to_owned();
    for (person, role) in &members[1..] {
        let path = format!("/organisations/{id}/members/{}", person.id);
        assert_eq!(deployment.operator("PUT", &path, json!({ "role": role })).await.0, 204);
    }
    Someone { id, ..owner.clone() }
}

/// Registers a model of a run in a hosting account of the holder that is made, and deploys it; the ids of model and service.
async fn deployed(deployment: &Deployment, by: &Someone, holder: &Someone, run: &str) -> (String, String) {
    let token = deployment.token(by).await;
    let manager = Manager::of_account_with(deployment, token, holder, "mma", "2018-04-01-preview").await;
    let model = json!({ "name": "trees", "url": format!("runs:/{run}/model"), "mimeType": "application/x" });
    let model = manager.ok("POST", "/models", model).await["id"].as_str().unwrap().to_owned();
    let service = json!({ "name": "oracle", "modelId": model, "computeType": "ACI" });
    (model, manager.waited("POST", "/services", service).await)
}

/// Checks that a letter is about these, and about nobody whose data it was.
fn is_about(letter: &str, to: &Someone, model: &str, service: &str, erased: &[&str]) {
    for said in [
        format!("To: {}", to.email),
        "Subject: What you hold learned from data that is erased".to_owned(),
        format!("ModelVersion {model}"),
        format!("Service {service}"),
        "train it again".to_owned(),
    ] {
        assert!(letter.contains(&said), "{said}: {letter}");
    }
    assert_eq!(letter.matches("since 20").count(), 2, "{letter}");
    for secret in erased {
        assert!(!letter.contains(secret), "{secret}: {letter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_written_to_once_when_what_their_models_were_made_from_is_erased() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada Lovelace").await;
        let bea = deployment.person("bea@example.org", "Bea").await;
        let cleo = deployment.person("cleo@example.org", "Cleo").await;
        let dan = deployment.person("dan@example.org", "Dan").await;
        // Ada is an owner, too: nobody writes to her of her own erasure.
        let members = [(&bea, "owner"), (&cleo, "owner"), (&ada, "owner"), (&dan, "contributor")];
        let forest = organisation(&deployment, &members).await;
        let run = Tracker::new(&deployment, &ada).await.run("0", "training of Lovelace").await;
        let (model, service) = deployed(&deployment, &ada, &forest, &run).await;
        all_sent(&deployment).await;
        assert!(lying(&deployment, &bea).is_empty());

        let report = deployment.erase(&ada).await;
        assert_eq!(report["status"], "completed", "{report}");
        all_sent(&deployment).await;
        for owner in [&bea, &cleo] {
            let letters = lying(&deployment, owner);
            assert_eq!(letters.len(), 1, "{letters:?}");
            let secrets = [run.as_str(), &ada.id, &ada.email, "Lovelace", "training of", "trees", "oracle"];
            is_about(&letters[0], owner, &model, &service, &secrets);
        }
        for nobody in [&ada, &dan] {
            assert!(lying(&deployment, nobody).is_empty());
        }

        // What was made of nothing of theirs says nothing; who is erased leaves no letter behind.
        assert_eq!(deployment.erase(&dan).await["status"], "completed");
        all_sent(&deployment).await;
        assert_eq!((lying(&deployment, &bea).len(), lying(&deployment, &cleo).len()), (1, 1));
        assert_eq!(deployment.erase(&bea).await["status"], "completed");
        assert_eq!((lying(&deployment, &bea).len(), lying(&deployment, &cleo).len()), (0, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hold_kept_is_told_when_the_hold_ends() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada Lovelace").await;
        let bea = deployment.person("bea@example.org", "Bea").await;
        let forest = organisation(&deployment, &[(&bea, "owner"), (&ada, "contributor")]).await;
        let run = Tracker::new(&deployment, &ada).await.run("0", "training of Lovelace").await;
        let (model, service) = deployed(&deployment, &ada, &forest, &run).await;
        let body = json!({ "target": ada.id, "matter": "case 7", "reason": "before the court" });
        let (status, hold) = deployment.operator("POST", "/holds", body).await;
        assert_eq!(status, 201, "{hold}");
        let report = deployment.erase(&ada).await;
        assert_eq!(report["status"], "completed_with_holds", "{report}");
        all_sent(&deployment).await;
        assert!(lying(&deployment, &bea).is_empty(), "the run is there still");

        let path = format!("/holds/{}", hold["id"].as_str().unwrap());
        assert_eq!(deployment.operator("DELETE", &path, json!(null)).await.0, 204);
        all_sent(&deployment).await;
        let letters = lying(&deployment, &bea);
        assert_eq!(letters.len(), 1, "{letters:?}");
        is_about(&letters[0], &bea, &model, &service, &[&run, &ada.id, &ada.email, "Lovelace"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_through_a_protocol_is_told_to_others_only() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let bea = deployment.person("bea@example.org", "Bea").await;
        let dan = deployment.person("dan@example.org", "Dan").await;
        let forest = organisation(&deployment, &[(&bea, "owner"), (&dan, "reader")]).await;
        let tracker = Tracker::new(&deployment, &bea).await;
        let workspace = format!(
            "/subscriptions/{}/resourceGroups/Trees/providers/Microsoft.MachineLearningServices/workspaces/Forest",
            forest.id
        );
        let path = format!("{workspace}?api-version=2020-08-01");
        let (status, made) = tracker.send("PUT", &path, &json!({ "location": "here" })).await;
        assert_eq!(status, 201, "{made}");
        let create = format!("/mlflow/v2.0{workspace}/api/2.0/mlflow/runs/create");
        let mut runs = Vec::new();
        for _ in 0..2 {
            let (status, made) =
                tracker.send("POST", &create, &json!({ "experiment_id": "0", "start_time": 1 })).await;
            assert_eq!(status, 200, "{made}");
            runs.push(made["run"]["info"]["run_id"].as_str().unwrap().to_owned());
        }
        // Dan has a model of the team's run, and so has the team.
        let (model, service) = deployed(&deployment, &dan, &dan, &runs[0]).await;
        deployed(&deployment, &bea, &forest, &runs[1]).await;
        let (status, deleted) = tracker.send("DELETE", &path, &Value::Null).await;
        assert_eq!(status, 200, "{deleted}");
        // The letter was enqueued with the deletion.
        all_sent(&deployment).await;
        let letters = lying(&deployment, &dan);
        assert_eq!(letters.len(), 1, "{letters:?}");
        is_about(&letters[0], &dan, &model, &service, &[&runs[0], &bea.email, &bea.id, "Forest"]);
        assert!(lying(&deployment, &bea).is_empty(), "it was her own organisation's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_letter_is_written_whenever_the_process_dies() {
    let _lock = crate::canary::protected().await;
    for number in 0..engines().len() {
        for fault in [
            "erase.tombstone_written",
            "erase.keys_destroyed",
            "erase.owners_told",
            "erase.rows_deleted",
            "letter.sent:2",
        ] {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let mut deployment = Deployment::open(database.clone()).await;
            let someone = deployment.person("canary@example.org", "Canary").await;
            let bea = deployment.person("bea@example.org", "Bea").await;
            let forest = organisation(&deployment, &[(&bea, "owner"), (&someone, "contributor")]).await;
            let run = Tracker::new(&deployment, &someone).await.run("0", "training").await;
            let (model, service) = deployed(&deployment, &someone, &forest, &run).await;
            deployment.stop().await;
            crate::crash::die(&deployment.path("data"), database, "tell", fault).await;
            deployment.start().await;
            let path = "/persons?email=canary@example.org";
            while deployment.operator("GET", path, json!(null)).await.0 != 404 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let erased: habeas_core::Id = someone.id.parse().unwrap();
            let store = deployment.server().app().store();
            loop {
                let tasks = store.read(move |tx| tx.tasks_about(erased, TaskKind::Erasure)).await.unwrap();
                if tasks.iter().any(|task| task.state == TaskState::Done) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            all_sent(&deployment).await;
            let letters = lying(&deployment, &bea);
            assert_eq!(letters.len(), 1, "{fault}: {letters:?}");
            is_about(&letters[0], &bea, &model, &service, &[&run, "canary", "Canary", &someone.id]);
            let owner: habeas_core::Id = bea.id.parse().unwrap();
            let tasks = store.read(move |tx| tx.tasks_about(owner, TaskKind::Mail)).await.unwrap();
            assert_eq!(tasks.len(), 1, "{fault}");
        }
    }
}
