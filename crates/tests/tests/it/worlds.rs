//! Random worlds: after one person is erased nothing of theirs remains and everybody else's export has the same content.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::deployment::{Deployment, Someone, image};

#[derive(Clone, Debug)]
struct Person {
    projects: Vec<(u8, u8)>,
    token: bool,
    member: bool,
    restricted: bool,
    /// A legal hold on the project of this number, if there is one.
    held: Option<u8>,
}

fn worlds() -> impl Strategy<Value = (Vec<Person>, usize)> {
    let person = (
        prop::collection::vec((0_u8..3, 0_u8..3), 0..3),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(0_u8..3),
    )
        .prop_map(|(projects, token, member, restricted, held)| Person {
            projects,
            token,
            member,
            restricted,
            held,
        });
    prop::collection::vec(person, 2..5).prop_flat_map(|people| {
        let count = people.len();
        (Just(people), 0..count)
    })
}

async fn build(deployment: &Deployment, world: &[Person], run: usize) -> Vec<Someone> {
    let mut someones = Vec::new();
    for (number, person) in world.iter().enumerate() {
        let someone =
            deployment.person(&format!("p{run}-{number}@example.org"), &format!("Person {number}")).await;
        for (index, (tags, images)) in person.projects.iter().enumerate() {
            let project = deployment.project(&someone, &format!("project{index}")).await;
            if person.held == Some(index as u8) {
                let body = json!({ "target": project, "matter": "m", "reason": "r" });
                assert_eq!(deployment.operator("POST", "/holds", body).await.0, 201);
            }
            let mut ids = Vec::new();
            for tag in 0..*tags {
                ids.push(deployment.tag(&someone, &project, &format!("tag{tag}")).await);
            }
            for number in 0..*images {
                let tags: Vec<&str> = ids.iter().map(String::as_str).collect();
                deployment.image(&someone, &project, "x.jpg", &image(u64::from(number)), &tags).await;
            }
        }
        if person.token {
            deployment
                .operator("POST", &format!("/persons/{}/tokens", someone.id), json!({ "label": "x" }))
                .await;
        }
        if person.restricted {
            let path = format!("/persons/{}/restriction", someone.id);
            assert_eq!(deployment.operator("PUT", &path, json!({ "restricted": true })).await.0, 204);
        }
        someones.push(someone);
    }
    let (_, organisation) =
        deployment.operator("POST", "/organisations", json!({ "name": "Shared", "owner": deployment.person(&format!("founder{run}@example.org"), "F").await.id })).await;
    for (someone, person) in someones.iter().zip(world) {
        if person.member {
            let path = format!(
                "/organisations/{}/members/{}",
                organisation["objectId"].as_str().unwrap(),
                someone.id
            );
            assert_eq!(deployment.operator("PUT", &path, json!({ "role": "contributor" })).await.0, 204);
        }
    }
    someones
}

#[test]
fn erasing_one_person_leaves_everybody_else_as_they_were() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lock = runtime.block_on(crate::canary::exclusively());
    let deployment = runtime.block_on(Deployment::open(None));
    let run = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    runner
        .run(&worlds(), |(world, chosen)| {
            run.set(run.get() + 1);
            runtime.block_on(async {
                let someones = build(&deployment, &world, run.get()).await;
                let mut before = Vec::new();
                for (number, someone) in someones.iter().enumerate() {
                    before.push(if number == chosen {
                        Vec::new()
                    } else {
                        deployment.content(someone).await
                    });
                }
                let report = deployment.erase(&someones[chosen]).await;
                let held =
                    world[chosen].held.is_some_and(|held| usize::from(held) < world[chosen].projects.len());
                let expected = if held { "completed_with_holds" } else { "completed" };
                assert_eq!(report["status"], expected, "{report}");
                let id: habeas_core::Id = someones[chosen].id.parse().unwrap();
                let traces =
                    deployment.server().app().store().read(move |tx| tx.traces_of(id)).await.unwrap();
                assert!(traces.iter().all(|(_, rows)| *rows == 0), "{traces:?}");
                if held {
                    let path = format!("/holds/{}", report["held"][0].as_str().unwrap());
                    assert_eq!(deployment.operator("DELETE", &path, json!(null)).await.0, 204);
                    let plan = report["plan"].as_str().unwrap();
                    while deployment.finished(plan).await["status"] != "completed" {
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                    let left = deployment.server().app().store().read(move |tx| tx.held_parts(id)).await;
                    assert!(left.unwrap().is_empty());
                }
                for (number, someone) in someones.iter().enumerate().filter(|(number, _)| *number != chosen) {
                    assert!(
                        deployment.content(someone).await == before[number],
                        "the content of person {number} changed"
                    );
                }
            });
            Ok(())
        })
        .unwrap();
    drop(lock);
}
