//! What stands in a project of an experimentation account: one of each, for tests of what takes it all.

use serde_json::json;

use crate::arm::Caller;
use crate::artifacts::Team;
use crate::control_plane::make;
use crate::deployment::{Deployment, Someone};

/// A project of an experimentation account, with a run that has a file, a dataset and a notification of its end, a logged model, and a model
/// with an asset, an image and a service.
pub(crate) async fn team_in_a_project(deployment: &Deployment, someone: &Someone) {
    let caller = Caller::new(deployment, someone).await;
    let [_, _, project] = make(&caller, &someone.id).await;
    let team = Team::with(deployment, &caller.token, &project, "r");
    let experiment = team.ok("POST", "/history/v1.0@/experiments/leaves", json!(null)).await;
    let run = "/history/v1.0@/experiments/leaves/runs/r";
    team.ok("PATCH", run, json!({ "runId": "r" })).await;
    team.upload("model/weights.bin", b"weights").await;
    let mlflow = "/mlflow/v2.0@/api/2.0/mlflow";
    team.ok("POST", &format!("{mlflow}/registered-models/create"), json!({ "name": "oaks" })).await;
    let version = json!({ "name": "oaks", "source": "runs:/r/model", "run_id": "r" });
    team.ok("POST", &format!("{mlflow}/model-versions/create"), version).await;
    let dataset = json!({ "name": "d", "digest": "1", "source_type": "local", "source": "{}" });
    let inputs = json!({ "run_id": "r", "datasets": [{ "dataset": dataset }] });
    team.ok("POST", &format!("{mlflow}/runs/log-inputs"), inputs).await;
    let experiment = experiment["experimentId"].as_str().unwrap().replace('-', "");
    let logged = json!({ "experiment_id": experiment, "name": "oak", "source_run_id": "r" });
    team.ok("POST", &format!("{mlflow}/logged-models"), logged).await;
    let management = "/modelmanagement/v1.0@";
    team.ok("POST", &format!("{management}/assets"), json!({ "name": "oaks" })).await;
    let image = json!({ "name": "oaks", "driverProgram": "score.py", "modelIds": ["oaks:1"],
        "targetRuntime": { "runtimeType": "Python" } });
    let service = json!({ "name": "oaks", "imageId": "oaks:1", "computeType": "ACI" });
    for (collection, body) in [("images", image), ("services", service)] {
        let (status, answer) = team.call("POST", &format!("{management}/{collection}"), body).await;
        assert_eq!(status, 202, "{answer}");
    }
    let end = json!({ "timestamp": "2026-01-15T08:42:02.048741Z", "name": "Microsoft.MachineLearning.Run.Completed", "data": {} });
    team.ok("POST", &format!("{run}/events"), end).await;
}
