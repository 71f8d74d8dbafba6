//! Members of organisations: whose keys are whose when somebody leaves.

use habeas_core::Id;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};
use crate::model_management::Manager;

/// An organisation with an account and a service.
struct Team<'a> {
    deployment: &'a Deployment,
    id: String,
    /// The caller is its owner.
    manager: Manager<'a>,
    service: String,
}

impl<'a> Team<'a> {
    async fn new(deployment: &'a Deployment, owner: &Someone) -> Team<'a> {
        let body = json!({ "name": "Team", "owner": owner.id });
        let (status, made) = deployment.operator("POST", "/organisations", body).await;
        assert_eq!(status, 201, "{made}");
        let id = made["objectId"].as_str().unwrap().to_owned();
        let of = Someone { id: id.clone(), ..owner.clone() };
        let token = deployment.token(owner).await;
        let manager = Manager::of_account_with(deployment, token, &of, "mma", "2018-04-01-preview").await;
        let model =
            json!({ "name": "m", "url": "https://store.example/m.onnx", "mimeType": "application/x" });
        let model = manager.ok("POST", "/models", model).await;
        let service = json!({ "name": "s", "modelId": model["id"], "computeType": "ACI" });
        let service = manager.waited("POST", "/services", service).await;
        Team { deployment, id, manager, service }
    }

    fn member(&self, person: &Someone) -> String {
        format!("/organisations/{}/members/{}", self.id, person.id)
    }

    async fn set(&self, person: &Someone, role: &str) {
        let body = json!({ "role": role });
        assert_eq!(self.deployment.operator("PUT", &self.member(person), body).await.0, 204);
    }

    /// All its keys: of the account for training and prediction, and of the service.
    async fn keys(&self) -> Vec<String> {
        let path = format!("/organisations/{}/keys", self.id);
        let (status, accounts) = self.deployment.operator("GET", &path, json!(null)).await;
        assert_eq!((status.as_u16(), accounts.as_array().map(Vec::len)), (200, Some(1)), "{accounts}");
        let path = format!("/services/{}/keys", self.service);
        let service = self.manager.ok("GET", &path, json!(null)).await;
        let pair = |keys: &Value| keys.as_array().unwrap().clone();
        let mut keys = pair(&accounts[0]["trainingKeys"]);
        keys.extend(pair(&accounts[0]["predictionKeys"]));
        keys.extend([service["primaryKey"].clone(), service["secondaryKey"].clone()]);
        keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    /// Succeeds when none of the keys from before is one now, and the new ones open what the old ones opened.
    async fn assert_renewed(&self, before: &[String]) -> Vec<String> {
        let now = self.keys().await;
        assert_eq!((before.len(), now.len()), (6, 6));
        assert!(before.iter().all(|key| !now.contains(key)), "a key stayed");
        for (key, status) in [(&before[0], 401), (&before[1], 401), (&now[0], 200), (&now[1], 200)] {
            assert_eq!(self.deployment.train("GET", key, "/projects", None).await.0, status);
        }
        now
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_an_organisation_knows_none_of_its_keys() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let other = deployment.person("other@example.org", "Other").await;
        let team = Team::new(&deployment, &owner).await;
        let elsewhere = Team::new(&deployment, &other).await;
        let (first, untouched) = (team.keys().await, elsewhere.keys().await);
        assert_eq!(deployment.train("GET", &first[0], "/projects", None).await.0, 200);

        // Who saw no key leaves, and nothing changes; nor when a role becomes another that sees them.
        let mut keys = first.clone();
        for role in ["reader", "labeler"] {
            let member = deployment.person(&format!("{role}@example.org"), role).await;
            team.set(&member, role).await;
            assert_eq!(deployment.operator("DELETE", &team.member(&member), json!(null)).await.0, 204);
            assert_eq!(team.keys().await, keys, "{role}");
        }
        assert_eq!(deployment.operator("DELETE", &team.member(&other), json!(null)).await.0, 204);
        assert_eq!(team.keys().await, keys, "somebody left who was no member");

        // Removed by an owner, or by themself.
        let owners = deployment.token(&owner).await;
        for (role, by_themself) in
            [("contributor", false), ("trainer", true), ("deployment", false), ("owner", true)]
        {
            let member = deployment.person(&format!("{role}@example.com"), role).await;
            team.set(&member, "contributor").await;
            team.set(&member, role).await;
            assert_eq!(team.keys().await, keys, "{role} joined");
            let token = if by_themself { deployment.token(&member).await } else { owners.clone() };
            let path = team.member(&member);
            assert_eq!(deployment.call(Some(&token), "DELETE", &path, json!(null)).await.0, 204, "{role}");
            keys = team.assert_renewed(&keys).await;
        }

        // Renewed by an owner.
        let path = format!("/organisations/{}/keys", team.id);
        let (status, shown) = deployment.call(Some(&owners), "POST", &path, json!({})).await;
        assert_eq!(status, 200, "{shown}");
        keys = team.assert_renewed(&keys).await;
        assert_eq!(shown[0]["trainingKeys"][0], keys[0]);

        // Made a reader; and erased.
        let member = deployment.person("member@example.org", "Member").await;
        team.set(&member, "trainer").await;
        team.set(&member, "reader").await;
        keys = team.assert_renewed(&keys).await;
        team.set(&member, "contributor").await;
        let report = deployment.erase(&member).await;
        assert_eq!(report["status"], "completed", "{report}");
        keys = team.assert_renewed(&keys).await;

        // The last owner hands it over in the plan of their erasure.
        let plan = format!("/persons/{}/erasure-plans", owner.id);
        let body = json!({ "successors": [{ "resource": team.id, "person": other.id }] });
        let (_, plan) = deployment.operator("POST", &plan, body).await;
        let body = json!({ "plan": plan["plan"], "confirm": owner.email, "digest": plan["digest"] });
        let (status, report) = deployment.operator("POST", "/erasures", body).await;
        assert_eq!(status, 202, "{report}");
        let report = deployment.finished(plan["plan"].as_str().unwrap()).await;
        assert_eq!(report["status"], "completed", "{report}");
        let token = deployment.token(&other).await;
        let team = Team { manager: team.manager.with_token(token), ..team };
        team.assert_renewed(&keys).await;
        assert_eq!(elsewhere.keys().await, untouched);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisations_keys_are_shown_to_its_owners() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let owner = deployment.person("owner@example.org", "Owner").await;
    let team = Team::new(&deployment, &owner).await;
    let path = format!("/organisations/{}/keys", team.id);
    let (status, shown) =
        deployment.call(Some(&deployment.token(&owner).await), "GET", &path, json!(null)).await;
    assert_eq!(
        (status.as_u16(), shown[0]["trainingKeys"][0].as_str()),
        (200, Some(team.keys().await[0].as_str()))
    );
    for (role, status) in [("contributor", 403), ("reader", 403), ("", 404)] {
        let someone = deployment.person(&format!("a{role}@example.org"), "A").await;
        if !role.is_empty() {
            team.set(&someone, role).await;
        }
        let token = deployment.token(&someone).await;
        for method in ["GET", "POST"] {
            let (found, answer) = deployment.call(Some(&token), method, &path, json!(null)).await;
            assert_eq!(found, status, "{method} {role}: {answer}");
        }
    }
    // A person is no organisation.
    for id in [owner.id.clone(), Id::NIL.to_string()] {
        let path = format!("/organisations/{id}/keys");
        assert_eq!(deployment.operator("GET", &path, json!(null)).await.0, 404, "{id}");
    }
}
