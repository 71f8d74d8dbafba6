//! What was made from what a deletion takes: planned, counted, marked.

use habeas_core::receipt;
use serde_json::{Value, json};

use crate::arm::Caller;
use crate::deployment::{Deployment, Someone, engines};
use crate::history::Historian;
use crate::model_management::Manager;

/// The kinds that a plan says are tainted, sorted.
fn tainted(plan: &Value) -> Vec<&str> {
    let listed = plan["tainted"].as_array().into_iter().flatten();
    let mut kinds: Vec<&str> = listed.map(|one| one["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_of_what_a_deletion_takes_is_planned_counted_and_marked() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (ada, bea) = (
            deployment.person("a@example.org", "Ada").await,
            deployment.person("b@example.org", "Bea").await,
        );
        let organisation = json!({ "name": "Forest", "owner": bea.id });
        let (_, organisation) = deployment.operator("POST", "/organisations", organisation).await;
        let organisation = organisation["objectId"].as_str().unwrap();
        let member = format!("/organisations/{organisation}/members/{}", ada.id);
        assert!(deployment.operator("PUT", &member, json!({ "role": "contributor" })).await.0.is_success());

        // A run in Ada's workspace; models made from it in an account of hers and in one of the organisation, and one made from nothing here.
        let historian = Historian::new(&deployment, &ada).await;
        let experiment = historian.experiment("leaves").await;
        let body = json!({ "experiment_id": experiment.replace('-', "") });
        let run = historian.mlflow("POST", "/runs/create", body).await;
        let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let token = deployment.token(&ada).await;
        let of = Someone { id: organisation.to_owned(), ..ada.clone() };
        let version = "2018-04-01-preview";
        let own = Manager::of_account(&deployment, &ada, "own", version).await;
        let theirs = Manager::of_account_with(&deployment, token, &of, "theirs", version).await;
        let mut models = Vec::new();
        for (manager, name, url) in [
            (&own, "trees", format!("runs:/{run}/model")),
            (&theirs, "trees", format!("runs:/{run}/model")),
            (&theirs, "oaks", "https://store.example/model.onnx".to_owned()),
        ] {
            let model = json!({ "name": name, "url": url, "mimeType": "application/x" });
            models.push(manager.ok("POST", "/models", model).await["id"].as_str().unwrap().to_owned());
        }
        let service = json!({ "name": "trees", "modelId": models[1], "computeType": "ACI" });
        let service = theirs.waited("POST", "/services", service).await;

        // Each deletion says what stays of what it takes: the run's, the experiment's, the workspace's.
        let expected = ["ModelVersion", "ModelVersion", "Service"];
        for path in [format!("/experiments/leaves/runs/{run}"), format!("/experimentids/{experiment}")] {
            let plan = historian.ok("DELETE", &format!("{path}?dryRun=true"), json!(null)).await;
            assert_eq!(tainted(&plan), expected, "{path}: {plan}");
        }
        let caller = Caller::new(&deployment, &ada).await;
        let workspace = format!("{}?api-version=2020-08-01", historian.scope);
        let (status, plan) =
            caller.call("DELETE", &format!("{workspace}&dryRun=true"), &[], json!(null)).await;
        assert_eq!((status.as_u16(), tainted(&plan)), (200, expected.to_vec()), "{plan}");
        // What was made from something within the account goes with it.
        let owner = Caller::new(&deployment, &bea).await;
        let account = format!(
            "/subscriptions/{organisation}/resourceGroups/Models/providers/Microsoft.MachineLearningModelManagement/accounts/theirs?api-version=2017-09-01-preview"
        );
        let (status, plan) = owner.call("DELETE", &format!("{account}&dryRun=true"), &[], json!(null)).await;
        assert_eq!((status.as_u16(), plan.get("tainted")), (200, None), "{plan}");

        // Nothing was done yet; then it is done, and the receipt has the number and no more.
        let shown = async |manager: &Manager<'_>, path: &str| {
            manager.ok("GET", path, json!(null)).await["sourceErasedAt"].is_string()
        };
        let service = format!("/services/{service}");
        let paths = models.iter().map(|id| format!("/models/{id}")).collect::<Vec<_>>();
        assert!(!shown(&own, &paths[0]).await && !shown(&theirs, &service).await);
        let (status, headers, _) = caller.send("DELETE", &workspace, &[], json!(null)).await;
        assert_eq!(status, 200);
        let path = format!("/receipts/{}", headers["x-habeas-receipt"].to_str().unwrap());
        let (status, kept) = deployment.call(Some(&caller.token), "GET", &path, json!(null)).await;
        assert_eq!(status, 200, "{kept}");
        let key = deployment.server().app().rights.public_key().unwrap();
        let verified = receipt::verify(kept.to_string().as_bytes(), &[key]).unwrap();
        assert_eq!(verified.statement["tainted"], 3, "{kept}");
        assert!(shown(&own, &paths[0]).await);
        assert!(shown(&theirs, &paths[1]).await);
        assert!(shown(&theirs, &service).await);
        assert!(!shown(&theirs, &paths[2]).await);

        // A deletion of which nothing stays counts none.
        let (status, headers, _) = owner.send("DELETE", &account, &[], json!(null)).await;
        assert_eq!(status, 200);
        let path = format!("/receipts/{}", headers["x-habeas-receipt"].to_str().unwrap());
        let (_, kept) = deployment.call(Some(&owner.token), "GET", &path, json!(null)).await;
        assert_eq!(kept["statement"]["tainted"], 0, "{kept}");
    }
}
