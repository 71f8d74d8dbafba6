//! What the staff may do alone, and what is proved by a sign-in.

use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};

/// Somebody with a role of the staff.
async fn member_of_staff(deployment: &Deployment, name: &str, role: &str) -> Someone {
    let someone = deployment.person(&format!("{name}@example.org"), name).await;
    let body = json!({ "role": role, "granted": true });
    let path = format!("/persons/{}/role", someone.id);
    assert_eq!(deployment.operator("PUT", &path, body).await.0, 204);
    someone
}

/// What makes its bearer the person: method, path below the person, body, and the status of success.
fn doors() -> [(&'static str, &'static str, Value, u16); 4] {
    [
        ("POST", "tokens", json!({}), 201),
        ("PUT", "password", json!({ "password": "0123456789ab" }), 204),
        ("POST", "applications", json!({ "name": "x" }), 201),
        ("POST", "sign-in-links", json!({}), 201),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_get_nothing_with_which_to_act_as_somebody_else() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let officer = member_of_staff(&deployment, "officer", "privacyOfficer").await;
        let administrator = member_of_staff(&deployment, "administrator", "administrator").await;
        for (caller, victim) in
            [(&officer, &ada), (&officer, &administrator), (&administrator, &ada), (&administrator, &officer)]
        {
            let token = deployment.token(caller).await;
            for (method, path, body, _) in doors() {
                let path = format!("/persons/{}/{path}", victim.id);
                let (status, refused) = deployment.call(Some(&token), method, &path, body).await;
                let code = refused["code"].as_str();
                assert_eq!((status.as_u16(), code), (403, Some("forbidden")), "{path}: {refused}");
            }
        }
        // Nothing was made, and the attempts stand in the person's record.
        for list in ["tokens", "applications"] {
            let path = format!("/persons/{}/{list}", ada.id);
            assert_eq!(deployment.operator("GET", &path, json!(null)).await.1, json!([]), "{list}");
        }
        let path = format!("/persons/{}/activity", ada.id);
        let (_, activity) = deployment.operator("GET", &path, json!(null)).await;
        for operation in ["CreateToken", "SetPassword", "RegisterApplication", "CreateSignInLink"] {
            let is_it = |entry: &Value| entry["operation"] == operation && entry["by"] == "staff";
            assert!(activity.as_array().unwrap().iter().any(is_it), "{operation}: {activity}");
        }

        // Staff have their own as anybody has, but no link: it would make an old token a new sign-in.
        let token = deployment.token(&officer).await;
        for (method, path, body, status) in doors() {
            let own = format!("/persons/{}/{path}", officer.id);
            let expected = if path == "sign-in-links" { 403 } else { status };
            let (given, answer) = deployment.call(Some(&token), method, &own, body.clone()).await;
            assert_eq!(given.as_u16(), expected, "{own}: {answer}");
            let path = format!("/persons/{}/{path}", ada.id);
            let (given, answer) = deployment.operator(method, &path, body).await;
            assert_eq!(given.as_u16(), status, "{path}: {answer}");
        }
    }
}
