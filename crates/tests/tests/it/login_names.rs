//! Login names that MLflow's clients write into what a team keeps: whose they are, and what is left of them.

use serde_json::{Value, json};

use crate::deployment::{Deployment, engines};
use crate::mlflow::Tracker;
use crate::scan;

/// A login name that stands nowhere else.
const NAME: &str = "zq-login \"ada\"";

/// A team's workspace, as one of its members works in it.
struct Team<'a> {
    tracker: Tracker<'a>,
    /// The address of MLflow's API there.
    api: String,
}

impl Team<'_> {
    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.tracker.send(method, &format!("{}{path}", self.api), &body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// Logs what a script does that trains on a dataset from code; its run and its model.
    async fn log(&self, name: &str, login: &str) -> (String, String) {
        let user = json!({ "key": "mlflow.user", "value": login });
        let body = json!({ "experiment_id": "0", "run_name": name, "start_time": 1, "user_id": login, "tags": [user] });
        let run = self.ok("POST", "/runs/create", body).await;
        let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let dataset = json!({ "name": name, "digest": "1", "source_type": "code", "source": source(login) });
        let body = json!({ "run_id": run, "datasets": [{ "dataset": dataset }] });
        self.ok("POST", "/runs/log-inputs", body).await;
        let body = json!({ "experiment_id": "0", "name": name, "source_run_id": run,
            "tags": [user, { "key": "mlflow.source.name", "value": "train.py" }] });
        let model = self.ok("POST", "/logged-models", body).await;
        (run, model["model"]["info"]["model_id"].as_str().unwrap().to_owned())
    }

    /// What is answered about everything there.
    async fn answers(&self, runs: &[String], models: &[String]) -> Vec<Value> {
        let mut answers = Vec::new();
        for run in runs {
            answers.push(self.ok("GET", &format!("/runs/get?run_id={run}"), Value::Null).await);
        }
        for model in models {
            answers.push(self.ok("GET", &format!("/logged-models/{model}"), Value::Null).await);
        }
        for path in ["/runs/search", "/logged-models/search"] {
            answers.push(self.ok("POST", path, json!({ "experiment_ids": ["0"] })).await);
        }
        answers
    }

    /// The names of the logged models that have this login name.
    async fn models_of(&self, login: &str) -> Vec<Value> {
        let filter = format!("tags.`mlflow.user` = '{login}'");
        let body = json!({ "experiment_ids": ["0"], "filter": filter });
        let found = self.ok("POST", "/logged-models/search", body).await;
        found["models"].as_array().into_iter().flatten().map(|model| model["info"]["name"].clone()).collect()
    }
}

/// The source of a dataset from code, as Python writes it.
fn source(login: &str) -> String {
    format!(
        r#"{{"tags": {{"mlflow.user": {}, "mlflow.source.name": "train.py", "mlflow.source.type": "LOCAL"}}}}"#,
        json!(login)
    )
}

/// The same answers without a login name.
fn without(login: &str, answer: &Value) -> Value {
    match answer {
        Value::Array(values) => values
            .iter()
            .filter(|value| **value != json!({ "key": "mlflow.user", "value": login }))
            .map(|value| without(login, value))
            .collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), without(login, value))).collect()
        }
        Value::String(text) if text == login => json!(""),
        Value::String(text) if *text == source(login) => json!(source("")),
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_name_of_somebody_else_is_found_and_taken_out_of_every_run_at_once() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let officer = deployment.officer("officer").await;
        let machine = deployment.person("builds@example.org", "Builds").await;
        let other = deployment.person("other@example.org", "Other").await;
        let tracker = Tracker::new(&deployment, &machine).await;
        let team = Team { tracker, api: "/api/2.0/mlflow".to_owned() };
        let (first, model) = team.log("first", "dora.zq-login").await;
        let (second, _) = team.log("second", "dora.zq-login").await;
        let others =
            Team { tracker: Tracker::new(&deployment, &other).await, api: "/api/2.0/mlflow".to_owned() };
        others.log("third", "other").await;

        let find = async |name: &str| {
            let path = format!("/unclaimed?name={name}");
            let (status, found) = deployment.call(Some(&officer), "GET", &path, json!(null)).await;
            assert_eq!(status.as_u16(), 200, "{found}");
            found
        };
        let found = find("dora.zq-login").await;
        let sent = found[0]["loginName"].clone();
        let expected = json!([{ "holder": machine.id, "count": 0, "images": [], "loginName": sent }]);
        assert_eq!((&found, sent.is_string()), (&expected, true), "{found}");
        assert_eq!(find("dora").await, json!([]));
        let path = format!("/persons/{}/activity", machine.id);
        let (_, activity) = deployment.operator("GET", &path, json!(null)).await;
        assert!(activity.to_string().contains("FindDepicted"), "{activity}");

        let body = json!({ "corrections": [{ "resource": sent, "field": "name", "value": "somebody" }] });
        let path = format!("/persons/{}", machine.id);
        let (status, report) = deployment.call(Some(&officer), "PATCH", &path, body).await;
        assert_eq!((status.as_u16(), &report["changed"]), (200, &json!(1)), "{report}");
        let answers = json!(team.answers(&[first, second], &[model]).await).to_string();
        assert!(answers.contains("somebody") && !answers.contains("zq-login"), "{answers}");
        let store = deployment.server().app().store().clone();
        assert_eq!(scan::opened(&store, &["zq-login".to_owned()]).await, Vec::<String>::new());
        assert_eq!(find("dora.zq-login").await, json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_login_name_nothing_is_left_in_a_teams_workspace() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let member = deployment.person("member@example.org", "Member").await;
        let body = json!({ "name": "Team", "owner": owner.id });
        let organisation = deployment.operator("POST", "/organisations", body).await.1;
        let organisation = organisation["objectId"].as_str().unwrap();
        let path = format!("/organisations/{organisation}/members/{}", member.id);
        let role = json!({ "role": "contributor" });
        assert_eq!(deployment.operator("PUT", &path, role).await.0, 204);
        let scope = format!(
            "/subscriptions/{organisation}/resourceGroups/Trees/providers/Microsoft.MachineLearningServices/workspaces/Leaves"
        );
        let api = format!("/mlflow/v2.0{scope}/api/2.0/mlflow");
        let owners = Team { tracker: Tracker::new(&deployment, &owner).await, api: api.clone() };
        let members = Team { tracker: Tracker::new(&deployment, &member).await, api };
        let path = format!("{scope}?api-version=2018-03-01-preview");
        let (status, made) = owners.tracker.send("PUT", &path, &json!({ "location": "here" })).await;
        assert_eq!(status, 201, "{made}");

        let (first, of_owner) = owners.log("first", "owner").await;
        let (second, of_member) = members.log("second", NAME).await;
        // Said once more, of a model that somebody else logged; and taken back.
        let tags = json!({ "tags": [{ "key": "mlflow.user", "value": NAME }] });
        let (third, other) = owners.log("third", "owner").await;
        members.ok("PATCH", &format!("/logged-models/{other}/tags"), tags.clone()).await;
        assert_eq!(owners.models_of("owner").await, [json!("first")]);
        members.ok("DELETE", &format!("/logged-models/{other}/tags/mlflow.user"), json!(null)).await;
        assert_eq!(members.models_of(NAME).await, [json!("second")]);
        members.ok("PATCH", &format!("/logged-models/{other}/tags"), tags).await;
        let (runs, models) = ([first, second, third], [of_owner, of_member, other]);

        // The name is shown where it was said, as it was said.
        let before = owners.answers(&runs, &models).await;
        let shown = &before[1]["run"];
        assert_eq!(shown["inputs"]["dataset_inputs"][0]["dataset"]["source"], json!(source(NAME)));
        assert_eq!(shown["info"]["user_id"], json!(NAME));
        for model in &before[4..6] {
            let tags = model["model"]["info"]["tags"].as_array().unwrap();
            assert!(tags.contains(&json!({ "key": "mlflow.user", "value": NAME })), "{model}");
            assert!(tags.contains(&json!({ "key": "mlflow.source.name", "value": "train.py" })), "{model}");
        }
        let store = deployment.server().app().store().clone();
        let markers = ["zq-login".to_owned()];
        let found = scan::opened(&store, &markers).await;
        assert!(!found.is_empty() && found.iter().all(|hit| hit.ends_with(" in ClientName")), "{found:?}");

        let report = deployment.erase(&member).await;
        assert_eq!(report["status"], "completed", "{report}");
        let after = owners.answers(&runs, &models).await;
        assert!(!json!(after).to_string().contains("zq-login"), "{after:?}");
        assert_eq!(json!(after), without(NAME, &json!(before)));
        assert_eq!(scan::opened(&store, &markers).await, Vec::<String>::new());
        assert_eq!(owners.models_of(NAME).await, Vec::<Value>::new());
        assert_eq!(owners.models_of("owner").await, [json!("first")]);
    }
}
