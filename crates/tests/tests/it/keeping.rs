//! What must not be deleted yet, and what must not be used: legal holds, restriction, retention.

use habeas_core::kinds::{GUEST_HOURS, Person};
use habeas_core::{Ambient, Id, Timestamp};
use habeas_store::{Options, RootKeySource, Store};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};
use crate::scan;
use crate::standards::{FarEnd, administrator, call, until};

pub(crate) async fn hold(deployment: &Deployment, target: &str) -> String {
    let body = json!({ "target": target, "matter": "case 7", "reason": "before the court" });
    let (status, hold) = deployment.operator("POST", "/holds", body).await;
    assert_eq!(status, 201, "{hold}");
    hold["id"].as_str().unwrap().to_owned()
}

fn marked(number: u64, marker: &str) -> Vec<u8> {
    let mut bytes = image(number);
    bytes.extend_from_slice(marker.as_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_finishes_what_is_not_held_and_completes_itself_when_the_hold_ends() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let someone = deployment.person("h@example.org", "c4n4ryprofile").await;
        let project = deployment.project(&someone, "c4n4ryproject").await;
        let tag = deployment.tag(&someone, &project, "c4n4rytag").await;
        let held = deployment.image(&someone, &project, "h.jpg", &marked(1, "c4n4ryheld"), &[&tag]).await;
        let free = deployment.image(&someone, &project, "f.jpg", &marked(2, "c4n4ryfree"), &[&tag]).await;
        let first = hold(&deployment, &held).await;

        // Nothing deletes what is held, nor anything around it.
        for path in [
            format!("/projects/{project}/images?imageIds={held}&allIterations=true"),
            format!("/projects/{project}"),
        ] {
            let (status, answer) = deployment.train("DELETE", &someone.key, &path, None).await;
            assert_eq!((status.as_u16(), answer["code"].as_str()), (409, Some("Held")), "{path}: {answer}");
        }
        let (_, listed) =
            deployment.operator("GET", &format!("/holds?holder={}", someone.id), json!(null)).await;
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["target"]), (1, &json!(held)));

        let path = format!("/persons/{}/erasure-plans", someone.id);
        let (_, plan) = deployment.operator("POST", &path, json!({})).await;
        assert_eq!(plan["held"][0]["reason"], "before the court", "{plan}");
        assert_eq!(plan["held"][0]["resources"], 1);
        let images = plan["items"].as_array().unwrap().iter().find(|item| item["kind"] == "Image").unwrap();
        assert_eq!((&images["count"], &images["held"]), (&json!(2), &json!(1)));

        // A hold that is placed after the plan voids it.
        let second = hold(&deployment, &free).await;
        let body = json!({ "plan": plan["plan"], "confirm": someone.email, "digest": plan["digest"] });
        assert_eq!(deployment.operator("POST", "/erasures", body).await.0, 409);
        assert_eq!(deployment.operator("DELETE", &format!("/holds/{second}"), json!(null)).await.0, 204);

        let report = deployment.erase(&someone).await;
        assert_eq!(report["status"], "completed_with_holds", "{report}");
        assert_eq!(report["held"], json!([first]));
        let plan = report["plan"].as_str().unwrap().to_owned();
        let receipt_path = format!("/erasures/{plan}/receipt");
        let (_, receipt) = deployment.operator("GET", &receipt_path, json!(null)).await;
        assert_eq!(receipt["statement"]["held"][0]["resources"], 1, "{receipt}");
        assert_eq!(deployment.train("GET", &someone.key, "/projects", None).await.0, 401);
        assert_eq!(deployment.operator("GET", &format!("/persons/{}", someone.id), json!(null)).await.0, 404);

        let store = deployment.server().app().store().clone();
        let markers: Vec<String> =
            ["c4n4ryprofile", "c4n4ryproject", "c4n4rytag", "c4n4ryfree", "c4n4ryheld"]
                .map(str::to_owned)
                .to_vec();
        let hits = scan::opened(&store, &markers).await;
        assert!(hits.iter().all(|hit| hit.starts_with("c4n4ryheld")), "{hits:?}");
        assert!(!hits.is_empty(), "what is held is gone");

        // It survives a restart and a restore of a backup made now, and nothing can delete it.
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
        let held_id: Id = held.parse().unwrap();
        let refused = store.write(move |tx| tx.remove(held_id)).await.unwrap_err();
        assert_eq!(refused.code, Some("Held"));
        drop(store);
        deployment.stop().await;
        deployment.start().await;
        assert_eq!(deployment.finished(&plan).await["status"], "completed_with_holds");

        assert_eq!(deployment.operator("DELETE", &format!("/holds/{first}"), json!(null)).await.0, 204);
        let report = completed(&deployment, &plan).await;
        assert!(report.get("held").is_none(), "{report}");
        let (_, last) = deployment.operator("GET", &receipt_path, json!(null)).await;
        assert_eq!(last["statement"]["completes"], plan, "{last}");
        let public = deployment.server().app().rights.public_key().unwrap();
        habeas_core::receipt::verify(last.to_string().as_bytes(), &[public]).unwrap();
        let store = deployment.server().app().store().clone();
        assert_eq!(scan::opened(&store, &markers).await, Vec::<String>::new());
        assert_eq!(scan::on_disk(deployment.folder.path(), &markers), Vec::<String>::new());
        drop(store);

        // The backup from when it was held: today's keyring and ledger have no such hold any more.
        deployment.stop().await;
        let store = restored(&deployment, &backup).await;
        assert_eq!(scan::opened(&store, &markers).await, Vec::<String>::new());
        assert_eq!(store.read(|tx| tx.holds()).await.unwrap().len(), 0);
    }
}

/// The report once it is completed.
pub(crate) async fn completed(deployment: &Deployment, plan: &str) -> Value {
    loop {
        let report = deployment.finished(plan).await;
        if report["status"] != "completed_with_holds" {
            assert_eq!(report["status"], "completed", "{report}");
            return report;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

pub(crate) async fn restored(deployment: &Deployment, backup: &std::path::Path) -> Store {
    let mut options = Options::embedded(deployment.path("restored"));
    options.keyring = Some(deployment.path("data/keyring"));
    options.root_key = Some(RootKeySource::File(deployment.path("data/root.key")));
    Store::restore(options.clone(), backup, Ambient::system()).await.unwrap();
    Store::open(options, Ambient::system()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_placed_after_a_backup_is_there_after_its_restore() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let someone = deployment.person("h@example.org", "H").await;
        let project = deployment.project(&someone, "p").await;
        let kept = deployment.image(&someone, &project, "h.jpg", &image(1), &[]).await;
        let released = deployment.image(&someone, &project, "r.jpg", &image(2), &[]).await;
        let early = hold(&deployment, &released).await;
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
        let late = hold(&deployment, &kept).await;
        assert_eq!(deployment.operator("DELETE", &format!("/holds/{early}"), json!(null)).await.0, 204);
        deployment.stop().await;
        let store = restored(&deployment, &backup).await;
        let holds = store.read(|tx| tx.holds()).await.unwrap();
        assert_eq!(holds.iter().map(|node| node.id.to_string()).collect::<Vec<_>>(), [late]);
        assert_eq!(holds[0].doc.matter, "case 7");
        let (kept, released): (Id, Id) = (kept.parse().unwrap(), released.parse().unwrap());
        assert_eq!(store.write(move |tx| tx.remove(kept)).await.unwrap_err().code, Some("Held"));
        assert_eq!(store.write(move |tx| tx.remove(released)).await.unwrap().resources, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_within_holds_keep_what_is_theirs_when_the_outer_one_ends() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone: Someone = deployment.person("h@example.org", "c4n4ryprofile").await;
        let project = deployment.project(&someone, "c4n4ryproject").await;
        let inner_image = deployment.image(&someone, &project, "h.jpg", &marked(1, "c4n4ryinner"), &[]).await;
        deployment.image(&someone, &project, "o.jpg", &marked(2, "c4n4ryouter"), &[]).await;
        crate::mlflow::plant(&deployment, &someone, &|what: &str| format!("c4n4ry{what}")).await;
        let inner = hold(&deployment, &inner_image).await;
        let outer = hold(&deployment, &someone.id).await;
        let report = deployment.erase(&someone).await;
        assert_eq!(report["status"], "completed_with_holds", "{report}");
        assert_eq!(deployment.train("GET", &someone.key, "/projects", None).await.0, 401);
        assert_eq!(deployment.operator("GET", &format!("/persons/{}", someone.id), json!(null)).await.0, 404);
        assert_eq!(deployment.operator("GET", "/persons?email=h@example.org", json!(null)).await.0, 404);
        let store = deployment.server().app().store().clone();
        let names = ["c4n4ryprofile", "c4n4ryproject", "c4n4ryinner", "c4n4ryouter", "c4n4rymetric"];
        let markers: Vec<String> = names.map(str::to_owned).to_vec();
        let hits = scan::opened(&store, &markers).await;
        for name in names {
            assert!(hits.iter().any(|hit| hit.starts_with(name)), "{name} is not kept: {hits:?}");
        }
        assert_eq!(deployment.operator("DELETE", &format!("/holds/{outer}"), json!(null)).await.0, 204);
        let hits = scan::opened(&store, &markers).await;
        assert!(!hits.is_empty() && hits.iter().all(|hit| hit.starts_with("c4n4ryinner")), "{hits:?}");
        assert_eq!(deployment.operator("DELETE", &format!("/holds/{inner}"), json!(null)).await.0, 204);
        completed(&deployment, report["plan"].as_str().unwrap()).await;
        assert_eq!(scan::opened(&store, &markers).await, Vec::<String>::new());
        assert_eq!(scan::on_disk(deployment.folder.path(), &markers), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_restricted_is_seen_and_neither_changed_nor_learned_from_nor_asked() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let someone = deployment.person("r@example.org", "R").await;
        let project = deployment.project(&someone, "p").await;
        deployment.tag(&someone, &project, "t").await;
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
        let path = format!("/persons/{}/restriction", someone.id);
        assert_eq!(deployment.operator("PUT", &path, json!({ "restricted": true })).await.0, 204);
        let holdings = format!("/persons/{}/holdings", someone.id);
        assert_eq!(deployment.operator("GET", &holdings, json!(null)).await.1["restricted"], true);
        for (method, path) in [
            ("POST", format!("/projects/{project}/train")),
            ("POST", format!("/projects/{project}/tags?name=other")),
            ("POST", format!("/projects/{project}/quicktest/image")),
            ("DELETE", format!("/projects/{project}")),
        ] {
            let (status, answer) = deployment.train(method, &someone.key, &path, None).await;
            assert_eq!(
                (status.as_u16(), answer["code"].as_str()),
                (403, Some("Restricted")),
                "{path}: {answer}"
            );
        }
        let path_of_project = format!("/projects/{project}");
        assert_eq!(deployment.train("GET", &someone.key, &path_of_project, None).await.0, 200);
        assert!(!deployment.content(&someone).await.is_empty());

        // An erasure that is called off leaves it as it was; lifted, everything goes on.
        assert_eq!(deployment.operator("PUT", &path, json!({ "restricted": false })).await.0, 204);
        let tags = format!("/projects/{project}/tags?name=other");
        assert_eq!(deployment.train("POST", &someone.key, &tags, None).await.0, 200);
        assert_eq!(deployment.operator("PUT", &path, json!({ "restricted": true })).await.0, 204);
        deployment.stop().await;
        deployment.start().await;
        assert_eq!(deployment.operator("GET", &holdings, json!(null)).await.1["restricted"], true);

        // A backup from before the restriction is restricted when it is restored.
        deployment.stop().await;
        let store = restored(&deployment, &backup).await;
        let id: Id = someone.id.parse().unwrap();
        let state = store.read(move |tx| tx.holder(id)).await.unwrap().unwrap().1;
        assert_eq!(state, habeas_store::HolderState::Restricted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_corrected_is_found_by_its_new_value_and_the_old_one_is_nowhere() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let someone = deployment.person("c4n4ryold@example.org", "c4n4ryoldname").await;
        let other = deployment.person("other@example.org", "Other").await;
        let project = deployment.project(&someone, "c4n4rykept&description=c4n4ryolddescription").await;
        let image_id = deployment.image(&someone, &project, "c4n4ryoldfile.jpg", &image(1), &[]).await;
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
        let path = format!("/persons/{}", someone.id);
        for (change, status) in [
            (json!({ "email": "other@example.org" }), 409),
            (json!({ "email": "nobody" }), 400),
            (json!({ "name": "" }), 400),
            (json!({ "corrections": [{ "resource": project, "field": "domain", "value": "x" }] }), 400),
            (
                json!({ "corrections": [{ "resource": project, "field": "description", "value": { "a": 1 } }] }),
                400,
            ),
            (json!({ "corrections": [{ "resource": other.id, "field": "name", "value": "x" }] }), 404),
        ] {
            assert_eq!(deployment.operator("PATCH", &path, change.clone()).await.0, status, "{change}");
        }
        let change = json!({
            "name": "c4n4rynewname",
            "email": "c4n4rynew@example.org",
            "corrections": [
                { "resource": project, "field": "description", "value": "c4n4rynewdescription" },
                { "resource": image_id, "field": "file_name", "value": "c4n4rynewfile.jpg" },
            ],
        });
        let (status, report) = deployment.operator("PATCH", &path, change).await;
        assert_eq!(status, 200, "{report}");
        assert_eq!(
            (&report["changed"], &report["person"]["name"]),
            (&json!(4), &json!("c4n4rynewname")),
            "{report}"
        );
        let found = |email: &str| format!("/persons?email={email}");
        assert_eq!(deployment.operator("GET", &found("c4n4rynew@example.org"), json!(null)).await.0, 200);
        assert_eq!(deployment.operator("GET", &found("c4n4ryold@example.org"), json!(null)).await.0, 404);
        // Somebody else may have the old address.
        let again = deployment.person("c4n4ryold@example.org", "Again").await;
        assert_eq!(deployment.erase(&again).await["status"], "completed");

        let store = deployment.server().app().store().clone();
        store.reseal(project.parse().unwrap()).await.unwrap();
        let old: Vec<String> = ["c4n4ryoldname", "c4n4ryold@", "c4n4ryolddescription", "c4n4ryoldfile"]
            .map(str::to_owned)
            .to_vec();
        let new: Vec<String> =
            ["c4n4rynewname", "c4n4rynewdescription", "c4n4rynewfile"].map(str::to_owned).to_vec();
        assert_eq!(scan::opened(&store, &old).await, Vec::<String>::new());
        for marker in &new {
            assert!(
                scan::opened(&store, &new).await.iter().any(|hit| hit.starts_with(marker.as_str())),
                "{marker}"
            );
        }
        assert_eq!(scan::on_disk(deployment.folder.path(), &old), Vec::<String>::new());
        drop(store);

        // A backup from before: the profile is the corrected one, and what stands under it is still there.
        deployment.stop().await;
        let store = restored(&deployment, &backup).await;
        let id: Id = someone.id.parse().unwrap();
        let node = store.read(move |tx| tx.get::<Person>(id)).await.unwrap().unwrap();
        assert_eq!(
            (node.doc.name.as_str(), node.doc.email.as_str()),
            ("c4n4rynewname", "c4n4rynew@example.org")
        );
        assert_eq!(store.read(move |tx| tx.count_children(id, habeas_core::Kind::Account)).await.unwrap(), 1);
        assert_eq!(scan::opened(&store, &old).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_goes_in_one_sweep_with_one_receipt_and_guests_by_plans_of_their_own() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let mut predictions = Vec::new();
        for number in 1..=3 {
            let over = |new: &mut habeas_store::New<_>| new.expires_at = Some(Timestamp(1));
            predictions.push(crate::predictions::stored(&store, &project, &image(number), over).await);
        }
        let body = json!({ "email": "guest@example.org", "name": "c4n4ryguest", "accountType": "guest" });
        let (status, guest) = deployment.operator("POST", "/persons", body).await;
        assert_eq!(status, 201, "{guest}");
        let guest_id: Id = guest["objectId"].as_str().unwrap().parse().unwrap();
        let ended = store
            .write(move |tx| {
                let mut node = tx.get::<Person>(guest_id)?.unwrap();
                let end = node.expires_at;
                node.expires_at = Some(Timestamp(2));
                tx.update::<Person>(&node)?;
                Ok(end.unwrap().0 - node.created_at.0)
            })
            .await
            .unwrap();
        assert_eq!(ended, i64::from(GUEST_HOURS) * habeas_core::time::HOUR);
        let held = hold(&deployment, &predictions[0]).await;

        let due = |report: &Value, kind: &str| {
            let rules = report["rules"].as_array().unwrap();
            rules.iter().find(|rule| rule["kind"] == kind).unwrap()["due"].as_u64().unwrap()
        };
        let (_, plan) = deployment.operator("GET", "/retention", json!(null)).await;
        assert_eq!(
            (due(&plan, "StoredPrediction"), due(&plan, "Person"), &plan["kept"]),
            (2, 1, &json!(1)),
            "{plan}"
        );
        assert_eq!(store.read(|tx| Ok(tx.expired((Timestamp(0), Id::NIL), 10)?.len())).await.unwrap(), 4);
        let (status, run) = deployment.operator("POST", "/retention", json!({})).await;
        assert_eq!(status, 200, "{run}");
        assert_eq!(
            (due(&run, "StoredPrediction"), due(&run, "Person"), &run["kept"]),
            (2, 1, &json!(1)),
            "{run}"
        );
        let path = format!("/receipts/{}", run["receipt"].as_str().unwrap());
        let (_, receipt) = deployment.operator("GET", &path, json!(null)).await;
        let expected = json!([{ "kind": "StoredPrediction", "deleted": 2, "rule": "P30D" }]);
        assert_eq!(receipt["statement"]["deleted"], expected, "{receipt}");
        assert_eq!(receipt["statement"]["deletedFiles"], 2);
        let public = deployment.server().app().rights.public_key().unwrap();
        habeas_core::receipt::verify(receipt.to_string().as_bytes(), &[public]).unwrap();
        while store.read(move |tx| tx.holder(guest_id)).await.unwrap().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(scan::opened(&store, &["c4n4ryguest".to_owned()]).await, Vec::<String>::new());

        // Nothing more is due, and what was held goes when its hold ends.
        let (_, again) = deployment.operator("POST", "/retention", json!({})).await;
        assert!(again.get("receipt").is_none(), "{again}");
        assert_eq!(deployment.operator("DELETE", &format!("/holds/{held}"), json!(null)).await.0, 204);
        let (_, last) = deployment.operator("POST", "/retention", json!({})).await;
        assert_eq!(due(&last, "StoredPrediction"), 1, "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_received_data_of_a_guest_is_told_when_the_guests_time_is_over() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let far = FarEnd::default();
        let address = far.listen().await;
        let deployment = Deployment::open_with(|settings| {
            settings.database = database;
            settings.recipient_hosts = Some("127.0.0.1".to_owned());
        })
        .await
        .unwrap();
        let store = deployment.server().app().store().clone();
        let token = administrator(&deployment).await;
        let body = json!({ "name": "Annotators", "url": format!("{address}/hook") }).to_string();
        let made = call(&deployment, &token, "POST", "/api/privacy/v1/recipients", &body).await;
        assert_eq!(made.status, 201, "{}", made.json);
        let body = json!({ "email": "guest@example.org", "name": "Guest", "accountType": "guest" });
        let (status, guest) = deployment.operator("POST", "/persons", body).await;
        assert_eq!(status, 201, "{guest}");
        let id: Id = guest["objectId"].as_str().unwrap().parse().unwrap();
        let over = store.write(move |tx| {
            let mut node = tx.get::<Person>(id)?.unwrap();
            node.expires_at = Some(Timestamp(2));
            tx.update::<Person>(&node)
        });
        over.await.unwrap();
        assert_eq!(deployment.operator("POST", "/retention", json!({})).await.0, 200);
        while store.read(move |tx| tx.holder(id)).await.unwrap().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }

        // It is recorded as any erasure is, as nobody's request, and told as any is.
        let (_, page) = deployment.operator("GET", "/requests?type=erasure", json!(null)).await;
        let request = page["requests"][0]["id"].as_str().unwrap().to_owned();
        let done = until(&deployment, &token, &format!("/api/privacy/v1/requests/{request}"), |request| {
            let history = request["history"].as_array().unwrap();
            history
                .iter()
                .any(|entry| entry["event"] == "recipientNotified" && entry["by"] == made.json["id"])
        })
        .await;
        assert_eq!(
            (&done["state"], &done["subject"], done.get("requester")),
            (&json!("completed"), &guest["objectId"], None),
            "{done}"
        );
        assert_eq!(done["recipients"], json!([made.json["id"]]), "{done}");
        let told = far.received();
        assert_eq!(told.len(), 1, "{told:?}");
        let said = told[0].json();
        assert_eq!(
            (&said["type"], &said["data"]["subject"], &said["data"]["receipt"]),
            (&json!("privacy.erasure.completed"), &guest["objectId"], &done["receipt"]),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_over_survives_its_old_holder_also_in_an_older_backup() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let leaving = deployment.person("leaving@example.org", "Leaving").await;
        let staying = deployment.person("staying@example.org", "Staying").await;
        let project = deployment.project(&leaving, "c4n4ryshared").await;
        deployment.image(&leaving, &project, "a.jpg", &image(1), &[]).await;
        let body = json!({ "name": "Works", "owner": leaving.id });
        let (_, organisation) = deployment.operator("POST", "/organisations", body).await;
        let organisation_id = organisation["objectId"].as_str().unwrap();
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);

        let wrong = json!({ "resource": project, "to": project });
        assert_eq!(deployment.operator("POST", "/transfers", wrong).await.0, 400);
        let body = json!({ "resource": project, "to": staying.id });
        let (status, report) = deployment.operator("POST", "/transfers", body).await;
        assert_eq!(
            (status.as_u16(), &report["holder"], &report["resources"]),
            (201, &json!(staying.id), &json!(2)),
            "{report}"
        );
        let path = format!("/projects/{project}");
        assert_eq!(deployment.train("GET", &leaving.key, &path, None).await.0, 404);
        assert_eq!(deployment.train("GET", &staying.key, &path, None).await.0, 200);

        // The last owner of an organisation names who comes after, and is erased.
        let plans = format!("/persons/{}/erasure-plans", leaving.id);
        let (_, plan) = deployment.operator("POST", &plans, json!({})).await;
        assert_eq!(
            (&plan["choices"][0]["resource"], &plan["choices"][0]["role"]),
            (&json!(organisation_id), &json!("owner")),
            "{plan}"
        );
        let oneself = json!({ "successors": [{ "resource": organisation_id, "person": leaving.id }] });
        assert_eq!(deployment.operator("POST", &plans, oneself).await.0, 400);
        let named = json!({ "successors": [{ "resource": organisation_id, "person": staying.id }] });
        let (_, plan) = deployment.operator("POST", &plans, named).await;
        assert_eq!(plan["blocked"], json!([]), "{plan}");
        let body = json!({ "plan": plan["plan"], "confirm": leaving.email, "digest": plan["digest"] });
        assert_eq!(deployment.operator("POST", "/erasures", body).await.0, 202);
        assert_eq!(deployment.finished(plan["plan"].as_str().unwrap()).await["status"], "completed");
        let members = format!("/organisations/{organisation_id}/members");
        let (_, members) = deployment.operator("GET", &members, json!(null)).await;
        assert_eq!(
            (&members[0]["person"], &members[0]["role"]),
            (&json!(staying.id), &json!("owner")),
            "{members}"
        );

        deployment.stop().await;
        let store = restored(&deployment, &backup).await;
        let (project, staying): (Id, Id) = (project.parse().unwrap(), staying.id.parse().unwrap());
        let (_, _, holder) = store.read(move |tx| tx.position(project)).await.unwrap().unwrap();
        assert_eq!(holder, staying);
        assert!(!scan::opened(&store, &["c4n4ryshared".to_owned()]).await.is_empty());
    }
}
