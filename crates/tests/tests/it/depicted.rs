//! Persons whom images show: found by what metadata says, with an account or without, and gone by name or with the image.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::kinds::Image;
use habeas_core::node::Relation;
use habeas_core::{Id, fault};
use habeas_store::{HolderState, Store};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};
use crate::unlearning::{give_features, model, same, trained};
use crate::{crash, requests, scan, transfer};

/// Whom an image names that a killed process was to take up.
pub(crate) const LOST: &str = "lost@example.org";

/// Notes in an image's metadata whom it shows.
pub(crate) async fn depict(
    deployment: &Deployment,
    owner: &Someone,
    project: &str,
    image: &str,
    names: &str,
) {
    let path = format!("/projects/{project}/images/metadata?imageIds={image}");
    let (status, answer) =
        deployment.train("POST", &owner.key, &path, Some(json!({ "depicts": names }))).await;
    assert_eq!((status.as_u16(), &answer["images"][0]["status"]), (200, &json!("OK")), "{answer}");
}

/// What somebody is tied to as shown by it.
pub(crate) async fn shown(deployment: &Deployment, person: &str) -> Vec<String> {
    let (status, held) =
        deployment.operator("GET", &format!("/persons/{person}/holdings"), json!(null)).await;
    assert_eq!(status, 200, "{held}");
    let mentions = held["mentions"].as_array().unwrap().iter();
    let mut shown: Vec<String> = mentions
        .filter(|mention| mention["role"] == "depicted")
        .map(|mention| mention["resource"].as_str().unwrap().to_owned())
        .collect();
    shown.sort();
    shown
}

/// What an image's metadata says about whom it shows.
pub(crate) async fn said(deployment: &Deployment, owner: &Someone, project: &str, image: &str) -> Value {
    let path = format!("/projects/{project}/images/id?imageIds={image}");
    deployment.train("GET", &owner.key, &path, None).await.1[0]["metadata"]["depicts"].clone()
}

/// Erases whoever is called so, with or without the images that show them; the receipt.
pub(crate) async fn erase(deployment: &Deployment, person: &str, called: &str, depicted: bool) -> Value {
    let plans = format!("/persons/{person}/erasure-plans");
    let (_, plan) = deployment.operator("POST", &plans, json!({ "eraseDepicted": depicted })).await;
    let body = json!({ "plan": plan["plan"], "confirm": called, "digest": plan["digest"] });
    let (status, begun) = deployment.operator("POST", "/erasures", body).await;
    assert_eq!(status, 202, "{begun}");
    let id = plan["plan"].as_str().unwrap();
    assert_eq!(deployment.finished(id).await["status"], "completed");
    let (_, receipt) = deployment.operator("GET", &format!("/erasures/{id}/receipt"), json!(null)).await;
    let public = deployment.server().app().rights.public_key().unwrap();
    habeas_core::receipt::verify(receipt.to_string().as_bytes(), &[public]).unwrap();
    receipt
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_an_image_shows_is_found_and_goes_by_name_or_with_the_image() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let owner = deployment.person("owner@example.org", "Owner").await;
        let project = deployment.project(&owner, "p").await;
        let shown = deployment.image(&owner, &project, "s.jpg", &image(1), &[]).await;
        let path = format!("/projects/{project}/images/metadata?imageIds={shown}");
        for erase in [false, true] {
            let email = format!("c4n4ryshown{erase}@example.org");
            let someone = deployment.person(&email, "Shown").await;
            let value = format!("a friend, {}, owner@example.org", email.to_uppercase());
            let pairs = json!({ "depicts": value, "place": "park" });
            let (status, answer) = deployment.train("POST", &owner.key, &path, Some(pairs)).await;
            let said = &answer["images"][0]["metadata"]["depicts"];
            assert_eq!((status.as_u16(), said), (200, &json!(value)), "{answer}");
            let holdings = format!("/persons/{}/holdings", someone.id);
            let (_, held) = deployment.operator("GET", &holdings, json!(null)).await;
            let mention = &held["mentions"][0];
            assert_eq!(
                (&mention["resource"], &mention["role"]),
                (&json!(shown), &json!("depicted")),
                "{held}"
            );
            // They see that it is there, and no more.
            let of_project = format!("/projects/{project}");
            assert_eq!(deployment.train("GET", &someone.key, &of_project, None).await.0, 404);
            let plans = format!("/persons/{}/erasure-plans", someone.id);
            let (_, plan) = deployment.operator("POST", &plans, json!({ "eraseDepicted": erase })).await;
            let decided = (&plan["depicted"], &plan["eraseDepicted"], &plan["othersAffected"]);
            assert_eq!(decided, (&json!(1), &json!(erase), &json!(0)), "{plan}");
            let body = json!({ "plan": plan["plan"], "confirm": email, "digest": plan["digest"] });
            assert_eq!(deployment.operator("POST", "/erasures", body).await.0, 202);
            assert_eq!(deployment.finished(plan["plan"].as_str().unwrap()).await["status"], "completed");
            store.reseal(project.parse().unwrap()).await.unwrap();
            let marker = format!("C4N4RYSHOWN{}", erase.to_string().to_uppercase());
            assert_eq!(scan::opened(&store, &[marker]).await, Vec::<String>::new());
            let images = format!("/projects/{project}/images");
            let (_, images) = deployment.train("GET", &owner.key, &images, None).await;
            if erase {
                assert_eq!(images, json!([]));
            } else {
                assert_eq!(images[0]["metadata"]["depicts"], "a friend, owner@example.org", "{images}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_forgets_whom_its_images_showed_and_the_other_images_stay_as_they_were() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let owner = deployment.person("owner@example.org", "Owner").await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let domain = "0732100f-1a38-4e49-a514-c9b44c697ab5";
        let project =
            deployment.project(&owner, &format!("p&classificationType=Multiclass&domainId={domain}")).await;
        let tags =
            [deployment.tag(&owner, &project, "even").await, deployment.tag(&owner, &project, "odd").await];
        let mut images = Vec::new();
        for number in 0..16 {
            let tag = &tags[number as usize % 2];
            let id = deployment.image(&owner, &project, "x.jpg", &image(number), &[tag]).await;
            give_features(&store, id.parse().unwrap(), number).await;
            images.push(id);
        }
        let iteration = trained(&deployment, &owner, &project).await;
        for shown in &images[..2] {
            depict(&deployment, &owner, &project, shown, "Ada@Example.org").await;
        }
        // While she has her data restricted, nothing new is learned from what shows her.
        let restriction = format!("/persons/{}/restriction", ada.id);
        let restrict = async |restricted: bool| {
            let body = json!({ "restricted": restricted });
            assert_eq!(deployment.operator("PUT", &restriction, body).await.0, 204);
        };
        restrict(true).await;
        let path = format!("/projects/{project}/train?forceTrain=true");
        let (status, refused) = deployment.train("POST", &owner.key, &path, None).await;
        assert_eq!((status.as_u16(), refused["code"].as_str()), (400, Some("Restricted")), "{refused}");
        // The owner is not told whether a name is a person's, nor what that person asked for.
        let said = refused["message"].as_str().unwrap();
        assert!(
            !["restriction", "Article 18", "whom they show"].iter().any(|word| said.contains(word)),
            "{said}"
        );
        restrict(false).await;
        let before = transfer::content(&deployment, &owner, &project).await;
        let plans = format!("/persons/{}/erasure-plans", ada.id);
        let (_, plan) = deployment.operator("POST", &plans, json!({})).await;
        assert_eq!((&plan["depicted"], &plan["models"]), (&json!(2), &json!([])), "{plan}");
        let (_, plan) = deployment.operator("POST", &plans, json!({ "eraseDepicted": true })).await;
        let model_plan = &plan["models"][0];
        assert_eq!(
            (&model_plan["iteration"], &model_plan["images"], &model_plan["left"]),
            (&json!(iteration.to_string()), &json!(2), &json!(14)),
            "{plan}"
        );
        let receipt = erase(&deployment, &ada.id, &ada.email, true).await;
        assert_eq!(receipt["statement"]["models"].as_array().unwrap().len(), 1, "{receipt}");

        assert_eq!(transfer::content(&deployment, &owner, &project).await, before[2..]);
        let again = trained(&deployment, &owner, &project).await;
        same(&model(&store, iteration).await, &model(&store, again).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_account_is_found_by_exactly_what_images_call_them_and_erased() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let officer = deployment.officer("officer").await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let other = deployment.person("other@example.org", "Other").await;
        let project = deployment.project(&owner, "p").await;
        let image_of = async |someone: &Someone, project: &str, number: u64, names: &str| {
            let id = deployment.image(someone, project, "x.jpg", &image(number), &[]).await;
            depict(&deployment, someone, project, &id, names).await;
            id
        };
        let first = image_of(&owner, &project, 1, "C4n4ry Jane, owner@example.org").await;
        let others = deployment.project(&other, "p").await;
        let elsewhere = image_of(&other, &others, 2, "C4n4ry Jane").await;

        let search = async |name: &str| {
            let path = format!("/unclaimed?name={}", name.replace(' ', "%20"));
            let (status, found) = deployment.call(Some(&officer), "GET", &path, json!(null)).await;
            assert_eq!(status, 200, "{found}");
            found
        };
        let found = search("C4n4ry Jane").await;
        assert_eq!(found.as_array().unwrap().len(), 2, "{found}");
        assert!(found.as_array().unwrap().iter().all(|one| one["count"] == 1 && one["person"].is_null()));
        assert_eq!(search("c4n4ry jane").await, json!([]));
        assert_eq!(search("Jane").await, json!([]));

        // The same name in the images of two holders need not be the same person.
        let take_up = async |body: Value| deployment.call(Some(&officer), "POST", "/unclaimed", body).await;
        assert_eq!(take_up(json!({ "name": "C4n4ry Jane" })).await.0, 400);
        assert_eq!(take_up(json!({ "name": "Nobody", "holder": owner.id })).await.0, 404);
        let (status, jane) = take_up(json!({ "name": "C4n4ry Jane", "holder": owner.id })).await;
        assert_eq!((status.as_u16(), &jane["accountType"]), (201, &json!("unclaimed")), "{jane}");
        let again = take_up(json!({ "name": "C4n4ry Jane", "holder": owner.id })).await.1;
        assert_eq!(again["objectId"], jane["objectId"]);
        let jane = jane["objectId"].as_str().unwrap();
        // What is uploaded from now on is tied by itself.
        let second = image_of(&owner, &project, 3, "C4n4ry Jane").await;
        let mut both = vec![first.clone(), second.clone()];
        both.sort();
        assert_eq!(shown(&deployment, jane).await, both);
        let found = search("C4n4ry Jane").await;
        let theirs = found.as_array().unwrap().iter().find(|one| one["holder"] == owner.id.as_str());
        assert_eq!(theirs.unwrap()["person"], jane, "{found}");

        erase(&deployment, jane, "C4n4ry Jane", false).await;
        assert_eq!(said(&deployment, &owner, &project, &first).await, "owner@example.org");
        assert_eq!(said(&deployment, &owner, &project, &second).await, json!(null));
        assert_eq!(said(&deployment, &other, &others, &elsewhere).await, "C4n4ry Jane");
        assert_eq!(search("C4n4ry Jane").await.as_array().unwrap().len(), 1);
        assert_eq!(deployment.operator("GET", &format!("/persons/{jane}"), json!(null)).await.0, 404);
        store.reseal(project.parse().unwrap()).await.unwrap();
        depict(&deployment, &other, &others, &elsewhere, "nobody").await;
        store.reseal(others.parse::<Id>().unwrap()).await.unwrap();
        assert_eq!(scan::opened(&store, &["C4n4ry Jane".to_owned()]).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_links_by_itself_and_an_officer_links_other_names() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let project = deployment.project(&owner, "p").await;
        let mut images = Vec::new();
        for (number, names) in ["late@example.org", "Bob@example.org", "Bob the Builder"].iter().enumerate() {
            let id = deployment.image(&owner, &project, "x.jpg", &image(number as u64), &[]).await;
            depict(&deployment, &owner, &project, &id, names).await;
            images.push(id);
        }
        // An account that is made after the images.
        let late = deployment.person("late@example.org", "Late").await;
        assert_eq!(shown(&deployment, &late.id).await, [images[0].clone()]);
        // An unclaimed person becomes the account with the address, under the same id.
        let (status, bob) =
            deployment.operator("POST", "/unclaimed", json!({ "name": "bob@example.org" })).await;
        assert_eq!((status.as_u16(), &bob["email"]), (201, &json!("bob@example.org")), "{bob}");
        let path = format!("/persons/{}", bob["objectId"].as_str().unwrap());
        let wrong = json!({ "name": "Robert" });
        assert_eq!(deployment.operator("PATCH", &path, wrong).await.0, 409);
        let account = deployment.person("bob@example.org", "Bob").await;
        assert_eq!(bob["objectId"], account.id);
        assert_eq!(deployment.project(&account, "p").await.len(), 36);
        assert_eq!(shown(&deployment, &account.id).await, [images[1].clone()]);
        let taken = json!({ "email": "bob@example.org", "name": "x" });
        assert_eq!(deployment.operator("POST", "/persons", taken).await.0, 409);
        let wrong = json!({ "email": "x@example.org", "accountType": "unclaimed" });
        assert_eq!(deployment.operator("POST", "/persons", wrong).await.0, 400);
        // Any other name is linked by the staff.
        let named = json!({ "name": "Bob the Builder", "holder": owner.id });
        let (_, builder) = deployment.operator("POST", "/unclaimed", named).await;
        let builder = builder["objectId"].as_str().unwrap();
        let link = format!("/unclaimed/{builder}/link");
        assert_eq!(deployment.operator("POST", &link, json!({ "person": builder })).await.0, 400);
        let (status, linked) = deployment.operator("POST", &link, json!({ "person": account.id })).await;
        assert_eq!((status.as_u16(), &linked["objectId"]), (200, &json!(account.id)), "{linked}");
        let mut both = images[1..].to_vec();
        both.sort();
        assert_eq!(shown(&deployment, &account.id).await, both);
        while deployment.operator("GET", &format!("/persons/{builder}"), json!(null)).await.0 != 404 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        erase(&deployment, &account.id, &account.email, false).await;
        for image in &images[1..] {
            assert_eq!(said(&deployment, &owner, &project, image).await, json!(null));
        }
    }
}

/// Whoever opens the document of this image from now on fails. Nothing else may be written meanwhile.
async fn spoil(store: &Store, image: &str) {
    let image: Id = image.parse().unwrap();
    fault::switch_off(&["sealing"]);
    let node = store.read(move |tx| tx.get::<Image>(image)).await.unwrap().unwrap();
    store.write(move |tx| tx.update::<Image>(&node).map(|_| ())).await.unwrap();
    fault::switch_off(&[]);
    assert!(store.read(move |tx| tx.get::<Image>(image)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_looked_up_and_no_image_is_opened_that_says_something_else() {
    let _lock = crate::canary::alone().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let owner = deployment.person("owner@example.org", "Owner").await;
        let project = deployment.project(&owner, "p").await;
        let mut images = Vec::new();
        for (number, names) in
            ["Jane Doe, LOST@example.org", "jane doe", "Jane Doe", "a tree", "John"].into_iter().enumerate()
        {
            let id = deployment.image(&owner, &project, "x.jpg", &image(number as u64), &[]).await;
            depict(&deployment, &owner, &project, &id, names).await;
            images.push(id);
        }
        let search = async |name: &str| {
            let path = format!("/unclaimed?name={}", name.replace(' ', "%20"));
            let (status, found) = deployment.operator("GET", &path, json!(null)).await;
            let listed = found.as_array().into_iter().flatten().filter_map(|one| one["images"].as_array());
            let mut listed: Vec<String> =
                listed.flatten().map(|image| image.as_str().unwrap().to_owned()).collect();
            listed.sort();
            (status.as_u16(), listed)
        };
        let mut janes = vec![images[0].clone(), images[2].clone()];
        janes.sort();
        let janes = (200, janes);
        assert_eq!(search("Jane Doe").await, janes);
        assert_eq!(search("lost@example.org").await, (200, vec![images[0].clone()]));
        let id: Id = project.parse().unwrap();
        store.reseal(id).await.unwrap();
        assert_eq!(search("Jane Doe").await, janes);

        // A project from before there was an index is indexed by whoever looks first.
        assert!(store.write(move |tx| tx.disconnect(id, id, Relation::Indexed)).await.unwrap());
        assert_eq!(search("Jane Doe").await, janes);
        assert_eq!(store.read(move |tx| tx.count_targets(id, Relation::Indexed)).await.unwrap(), 1);

        // Those who say something else could not even be opened.
        for spoilt in &images[3..] {
            spoil(&store, spoilt).await;
        }
        assert_eq!(search("a tree").await.0, 500);
        assert_eq!(search("Jane Doe").await, janes);
        assert_eq!(search("Nobody").await, (200, Vec::new()));
        let lost = deployment.person("lost@example.org", "Lost").await;
        assert_eq!(shown(&deployment, &lost.id).await, [images[0].clone()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_killed_among_images_of_others_is_finished_after_a_restart() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database.clone()).await;
        let canary = deployment.person("canary@example.org", "Canary").await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let project = deployment.project(&owner, "p").await;
        let mut images = Vec::new();
        for (number, names) in [canary.email.as_str(), "somebody"].into_iter().enumerate() {
            let id = deployment.image(&owner, &project, "x.jpg", &image(number as u64), &[]).await;
            depict(&deployment, &owner, &project, &id, names).await;
            images.push(id);
        }
        deployment.stop().await;
        crash::die(&deployment.path("data"), database, "erase_depicted", "erase.depicted_erased").await;
        deployment.start().await;
        while deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await.0 != 404 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let path = format!("/projects/{project}/images");
        let (_, left) = deployment.train("GET", &owner.key, &path, None).await;
        assert_eq!((left.as_array().map(Vec::len), &left[0]["id"]), (Some(1), &json!(images[1])), "{left}");
    }
}

/// What is done about somebody whom only images name, killed on the way, has happened or can be repeated, and ends the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_about_somebody_unclaimed_can_be_repeated_after_it_was_killed() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        for (work, fault) in [
            ("take_up", "unclaimed.made"),
            ("link", "unclaimed.alias_moved"),
            ("confirm-identity", "request.subject_found"),
            ("decisions", "request.decided"),
        ] {
            let database = database.as_ref().and_then(|_| crate::postgres::database());
            let mut deployment = Deployment::open(database.clone()).await;
            let canary = deployment.person("canary@example.org", "Canary").await;
            let owner = deployment.person("owner@example.org", "Owner").await;
            let project = deployment.project(&owner, "p").await;
            let image = deployment.image(&owner, &project, "x.jpg", &image(1), &[]).await;
            depict(&deployment, &owner, &project, &image, LOST).await;
            let take_up = async |deployment: &Deployment| {
                let (status, lost) = deployment.operator("POST", "/unclaimed", json!({ "name": LOST })).await;
                assert_eq!(status, 201, "{fault}: {lost}");
                lost["objectId"].as_str().unwrap().to_owned()
            };
            let lost = if work == "take_up" || work == "confirm-identity" {
                None
            } else {
                Some(take_up(&deployment).await)
            };
            let mut request = String::new();
            if work == "confirm-identity" || work == "decisions" {
                let body = json!({ "type": "erasure", "email": LOST });
                let (status, made) = deployment.call(None, "POST", "/requests", body).await;
                assert_eq!(status, 202, "{made}");
                request = format!("/requests/{}", made["id"].as_str().unwrap());
            }
            deployment.stop().await;
            crash::die(&deployment.path("data"), database, work, fault).await;
            deployment.start().await;
            match work {
                "take_up" => {
                    let lost = take_up(&deployment).await;
                    assert_eq!(shown(&deployment, &lost).await, [image], "{fault}");
                }
                "link" => {
                    let path = format!("/unclaimed/{}/link", lost.unwrap());
                    let body = json!({ "person": canary.id });
                    let (status, linked) = deployment.operator("POST", &path, body).await;
                    assert_eq!(status, 200, "{fault}: {linked}");
                    assert_eq!(shown(&deployment, &canary.id).await, [image], "{fault}");
                }
                _ => {
                    if work == "confirm-identity" {
                        let path = format!("{request}/confirm-identity");
                        let body = json!({ "identity": "document" });
                        let (status, known) = deployment.operator("POST", &path, body).await;
                        assert_eq!(status, 200, "{fault}: {known}");
                    }
                    let path = format!("{request}/plan");
                    let (_, plan) = deployment.operator("GET", &path, json!(null)).await;
                    assert_eq!(plan["plan"]["depicted"], 1, "{fault}: {plan}");
                    let are_erased = plan["plan"]["eraseDepicted"] == json!(true);
                    assert_eq!(are_erased, work == "decisions", "{fault}: {plan}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_the_mail_of_an_address_that_only_images_name_has_their_request_answered() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let second = deployment.officer("second").await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let project = deployment.project(&owner, "p").await;
        let shown = deployment.image(&owner, &project, "x.jpg", &image(1), &[]).await;
        depict(&deployment, &owner, &project, &shown, "Lost@example.org, a friend").await;
        let body = json!({ "type": "erasure", "email": "lost@example.org" });
        let (status, request) = deployment.call(None, "POST", "/requests", body).await;
        assert_eq!(status, 202, "{request}");
        let path = format!("/requests/{}", request["id"].as_str().unwrap());
        let verify = format!("{path}/verify");
        let code = requests::code(&deployment, &request).await;
        let wrong = json!({ "code": "00000000" });
        assert_eq!(deployment.call(None, "POST", &verify, wrong).await.0, 400);
        // Until the code is typed, nothing is looked for: nobody tries out whom images name.
        let search = "/unclaimed?name=lost@example.org";
        let (_, found) = deployment.call(Some(&second), "GET", search, json!(null)).await;
        assert!(found[0]["person"].is_null(), "{found}");
        let (status, verified) = deployment.call(None, "POST", &verify, json!({ "code": code })).await;
        assert_eq!((status.as_u16(), &verified["state"]), (200, &json!("awaitingApproval")), "{verified}");
        let (_, plan) = deployment.call(Some(&second), "GET", &format!("{path}/plan"), json!(null)).await;
        assert_eq!(plan["plan"]["depicted"], 1, "{plan}");
        let digest = json!({ "digest": plan["plan"]["digest"] });
        assert_eq!(deployment.call(Some(&second), "POST", &format!("{path}/approve"), digest).await.0, 200);
        requests::in_state(&deployment, &request, "completed").await;
        assert_eq!(said(&deployment, &owner, &project, &shown).await, "a friend");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_address_was_corrected_stays_tied_to_images_that_name_the_old_one_until_they_are_erased() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let owner = deployment.person("owner@example.org", "Owner").await;
        let other = deployment.person("other@example.org", "Other").await;
        let ada = deployment.person("c4n4ryold@example.org", "Ada").await;
        let project = deployment.project(&owner, "p").await;
        let mut images = Vec::new();
        for number in 0..3 {
            let id = deployment.image(&owner, &project, "x.jpg", &image(number), &[]).await;
            depict(&deployment, &owner, &project, &id, "c4n4ryold@example.org, a friend").await;
            images.push(id);
        }
        let path = format!("/persons/{}", ada.id);
        let change = json!({ "email": "new@example.org" });
        assert_eq!(deployment.operator("PATCH", &path, change).await.0, 200);

        // Whatever else is said of such an image, also by sending it again.
        let metadata = |image: &str| format!("/projects/{project}/images/metadata?imageIds={image}");
        let place = Some(json!({ "place": "park" }));
        assert_eq!(deployment.train("POST", &owner.key, &metadata(&images[0]), place).await.0, 200);
        let contents = STANDARD.encode(image(1));
        let again =
            json!({ "images": [{ "name": "x.jpg", "contents": contents }], "metadata": { "place": "park" } });
        let path = format!("/projects/{project}/images/files");
        let (_, sent) = deployment.train("POST", &owner.key, &path, Some(again)).await;
        assert_eq!(sent["images"][0]["status"], "OKDuplicate", "{sent}");
        // One whose name is taken out shows her no more.
        depict(&deployment, &owner, &project, &images[2], "a friend").await;
        let mut tied = images[..2].to_vec();
        tied.sort();
        assert_eq!(shown(&deployment, &ada.id).await, tied);
        let token = transfer::token(&deployment, &owner, &project).await["token"].take();
        let path = format!("/projects/import?token={}&name=copy", token.as_str().unwrap());
        let (status, copy) = deployment.train("POST", &other.key, &path, None).await;
        assert_eq!(status, 200, "{copy}");
        let copy = copy["id"].as_str().unwrap();
        transfer::imported(&deployment, &other, copy).await;
        assert_eq!(shown(&deployment, &ada.id).await.len(), 4);

        erase(&deployment, &ada.id, "new@example.org", false).await;
        assert_eq!(scan::opened(&store, &["c4n4ryold".to_owned()]).await, Vec::<String>::new());
        assert_eq!(said(&deployment, &owner, &project, &images[0]).await, "a friend");
        // Whose name an image has no more, because its owner wrote another one, is not tied by that.
        let eve = deployment.person("eve@example.org", "Eve").await;
        depict(&deployment, &owner, &project, &images[0], "eve@example.org").await;
        depict(&deployment, &owner, &project, &images[0], "guest@example.org").await;
        assert_eq!(shown(&deployment, &eve.id).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_goes_from_images_that_come_during_an_erasure_and_from_what_is_being_erased_itself() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let owner = deployment.person("owner@example.org", "Owner").await;
        let project = deployment.project(&owner, "p").await;
        let shown = deployment.image(&owner, &project, "x.jpg", &image(1), &[]).await;
        let owner_id: Id = owner.id.parse().unwrap();
        for was_before in [false, true] {
            let email = format!("c4n4ryshown{was_before}@example.org");
            let someone = deployment.person(&email, "Shown").await;
            let person: Id = someone.id.parse().unwrap();
            let bring = async |holder: Id, state: HolderState| {
                store.write(move |tx| tx.set_holder_state(holder, state)).await.unwrap();
            };
            let name = format!("{email}, a friend");
            if was_before {
                depict(&deployment, &owner, &project, &shown, &name).await;
                // The erasure of its holder has begun, and may still be called off.
                bring(owner_id, HolderState::Frozen).await;
            } else {
                bring(person, HolderState::Frozen).await;
                depict(&deployment, &owner, &project, &shown, &name).await;
                bring(person, HolderState::Active).await;
            }
            erase(&deployment, &someone.id, &email, false).await;
            bring(owner_id, HolderState::Active).await;
            assert_eq!(said(&deployment, &owner, &project, &shown).await, "a friend", "{was_before}");
            let markers = [email.split_once('@').unwrap().0.to_owned()];
            assert_eq!(scan::opened(&store, &markers).await, Vec::<String>::new());
        }
    }
}

/// Writes into an image what an earlier version took and tied nobody to.
async fn said_before(deployment: &Deployment, project: &str, image: &str, names: &'static str) {
    let store = deployment.server().app().store().clone();
    let (project, image): (Id, Id) = (project.parse().unwrap(), image.parse().unwrap());
    let change = store.write(move |tx| {
        let mut node = tx.get::<Image>(image)?.unwrap();
        node.doc.metadata.insert("depicts".to_owned(), names.to_owned());
        tx.update::<Image>(&node)?;
        tx.disconnect(project, project, Relation::Indexed)
    });
    assert!(change.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_read_in_every_usual_way_to_write_it_and_a_name_however_its_accents_were_typed() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let dora = deployment.person("dora@example.org", "Dora").await;
        let fay = deployment.person("fay@example.org", "Fay").await;
        let project = deployment.project(&owner, "p").await;
        let mut images = Vec::new();
        for (number, names) in [
            "Dora D <Dora@example.org>",
            "mailto:dora@example.org",
            "eve@example.org;dora@example.org",
            "Jose\u{301} Di\u{301}az",
            "a tree",
        ]
        .into_iter()
        .enumerate()
        {
            let id = deployment.image(&owner, &project, "x.jpg", &image(number as u64), &[]).await;
            depict(&deployment, &owner, &project, &id, names).await;
            images.push(id);
        }
        let mut of_dora = images[..3].to_vec();
        of_dora.sort();
        assert_eq!(shown(&deployment, &dora.id).await, of_dora);
        let mut persons = Vec::new();
        for (name, encoded) in
            [("José Díaz", "Jos%C3%A9%20D%C3%ADaz"), ("Jose\u{301} Di\u{301}az", "Jose%CC%81%20Di%CC%81az")]
        {
            let path = format!("/unclaimed?name={encoded}");
            let (status, found) = deployment.operator("GET", &path, json!(null)).await;
            assert_eq!((status.as_u16(), &found[0]["images"]), (200, &json!([images[3]])), "{found}");
            let body = json!({ "name": name, "holder": owner.id });
            let (status, taken) = deployment.operator("POST", "/unclaimed", body).await;
            assert_eq!((status.as_u16(), &taken["name"]), (201, &json!("José Díaz")), "{taken}");
            persons.push(taken["objectId"].as_str().unwrap().to_owned());
        }
        assert_eq!(persons[0], persons[1]);
        assert_eq!(shown(&deployment, &persons[0]).await, [images[3].clone()]);

        // What may be meant for an address and is none is not taken, here and where it is corrected.
        let path = format!("/projects/{project}/images/metadata?imageIds={}", images[4]);
        for wrong in
            ["Dora dora@example.org", "dora@example.org eve@example.org", "a friend, @dora", "Dora <d@o@ra>"]
        {
            let body = json!({ "depicts": wrong });
            let (status, refused) = deployment.train("POST", &owner.key, &path, Some(body.clone())).await;
            let code = refused["code"].as_str();
            assert_eq!((status.as_u16(), code), (400, Some("BadRequestImageMetadataValue")), "{refused}");
            let correction =
                json!({ "corrections": [{ "resource": images[4], "field": "metadata", "value": body }] });
            let person = format!("/persons/{}", owner.id);
            assert_eq!(deployment.operator("PATCH", &person, correction).await.0, 400, "{wrong}");
        }
        assert_eq!(said(&deployment, &owner, &project, &images[4]).await, "a tree");

        // An earlier version took it all, and found nobody in it.
        said_before(&deployment, &project, &images[4], "Fay <fay@example.org>").await;
        assert_eq!(shown(&deployment, &fay.id).await, Vec::<String>::new());
        deployment.stop().await;
        deployment.start().await;
        while shown(&deployment, &fay.id).await != [images[4].clone()] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        erase(&deployment, &persons[0], "José Díaz", false).await;
        assert_eq!(said(&deployment, &owner, &project, &images[3]).await, json!(null));
        erase(&deployment, &dora.id, &dora.email, true).await;
        erase(&deployment, &fay.id, &fay.email, true).await;
        let (_, left) =
            deployment.train("GET", &owner.key, &format!("/projects/{project}/images"), None).await;
        assert_eq!((left.as_array().map(Vec::len), &left[0]["id"]), (Some(1), &json!(images[3])), "{left}");
    }
}
