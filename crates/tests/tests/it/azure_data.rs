//! What Azure ML's data services do beyond what their own tests hold: logs and datasets of runs, merged metrics, flat snapshots, runs
//! deleted by a filter. By plain HTTP.

use serde_json::{Value, json};

use crate::artifacts::Team;
use crate::deployment::{Deployment, engines};

fn names(answer: &Value, field: &str) -> Vec<String> {
    let list = answer["value"].as_array().unwrap();
    list.iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_details_of_a_run_have_addresses_of_its_logs() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let run = &team.run;
        let details = format!("/history/v1.0@/experiments/Default/runs/{run}/details");
        assert_eq!(team.ok("GET", &details, json!(null)).await["logFiles"], json!({}));
        for path in
            ["azureml-logs/70_driver_log.txt", "user_logs/std_log.txt", "logs/azureml/a b.log", "driver_log"]
        {
            team.upload(path, path.as_bytes()).await;
        }
        team.upload("outputs/model.txt", b"no log").await;
        let logs = team.ok("GET", &details, json!(null)).await["logFiles"].clone();
        let logs = logs.as_object().unwrap();
        assert_eq!(
            logs.keys().collect::<Vec<_>>(),
            ["azureml-logs/70_driver_log.txt", "driver_log", "logs/azureml/a b.log", "user_logs/std_log.txt"]
        );
        for (path, address) in logs {
            let address = address.as_str().unwrap();
            let (status, _, bytes) = team.storage("GET", address, &[], Vec::new()).await;
            assert_eq!((status, bytes.as_slice()), (200, path.as_bytes()), "{address}");
            // For reading only.
            assert_eq!(team.put(address, b"other").await, 403);
        }
        // By the address of 2018 too.
        let of_2018 = team.ok("GET", &format!("/history/v1.0@/runs/{run}/runstatus"), json!(null)).await;
        assert_eq!(of_2018["logFiles"].as_object().unwrap().len(), 4);
    }
}
