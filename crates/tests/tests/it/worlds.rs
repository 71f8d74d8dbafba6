//! Random worlds: after one person is erased nothing of theirs remains, everybody else's export has the same content, and what somebody takes
//! out then is the same where it is brought in.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use habeas_core::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};
use crate::mlflow::Tracker;
use crate::{archives, carried};

/// What a legal hold keeps, if it is there.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// The person, with all that they have in the end.
    Person,
    /// The project of this number.
    Project(usize),
    /// The first image of the project of this number.
    Image(usize),
    /// A run.
    Run,
}

#[derive(Clone, Debug)]
struct Person {
    /// Tags and images of each project.
    projects: Vec<(u8, u8)>,
    token: bool,
    member: bool,
    restricted: bool,
    /// Runs of an experiment, each with a file, and whether there is a registered model beside it.
    runs: u8,
    model: bool,
    held: Option<Held>,
    /// Whether the first project has a prediction whose time is over.
    expired: bool,
    /// Whom the first image of the first project shows: the person of this number, if there is one.
    shows: Option<usize>,
    /// To whom the last project is handed over.
    handed_to: Option<usize>,
}

#[derive(Clone, Debug)]
struct World {
    people: Vec<Person>,
    /// Who is erased.
    chosen: usize,
    /// Whether images that show them go, too.
    erase_depicted: bool,
}

fn worlds() -> impl Strategy<Value = World> {
    let held = prop_oneof![
        Just(Held::Person),
        (0_usize..3).prop_map(Held::Project),
        (0_usize..3).prop_map(Held::Image),
        Just(Held::Run),
    ];
    let person = (
        prop::collection::vec((0_u8..3, 0_u8..3), 0..3),
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        (0_u8..3, any::<bool>()),
        prop::option::of(held),
        prop::option::of(0_usize..4),
        prop::option::of(0_usize..4),
    )
        .prop_map(|(projects, flags, (runs, model), held, shows, handed_to)| {
            let (token, member, restricted, expired) = flags;
            Person { projects, token, member, restricted, runs, model, held, expired, shows, handed_to }
        });
    (prop::collection::vec(person, 2..5), any::<bool>()).prop_flat_map(|(people, erase_depicted)| {
        let count = people.len();
        (0..count).prop_map(move |chosen| World { people: people.clone(), chosen, erase_depicted })
    })
}

impl World {
    /// Who has the project of this number in the end, that this person has made.
    fn owner(&self, maker: usize, project: usize) -> usize {
        let person = &self.people[maker];
        let last = project + 1 == person.projects.len();
        match person.handed_to {
            Some(to) if last && to < self.people.len() && !self.is_held(maker, project) => to,
            _ => maker,
        }
    }

    /// Whether a hold keeps the project of this number that this person has made, or something in it: then it is not handed over.
    fn is_held(&self, maker: usize, project: usize) -> bool {
        let person = &self.people[maker];
        match person.held {
            Some(Held::Project(held)) => held == project,
            Some(Held::Image(held)) => {
                held == project && person.projects.get(project).is_some_and(|(_, images)| *images > 0)
            }
            _ => false,
        }
    }

    fn is_person_held(&self, number: usize) -> bool {
        matches!(self.people[number].held, Some(Held::Person))
    }

    /// Whether the stored prediction in the first project of this person is kept: it stands beside the images.
    fn is_prediction_held(&self, maker: usize) -> bool {
        matches!(self.people[maker].held, Some(Held::Project(0))) || self.is_person_held(self.owner(maker, 0))
    }

    /// Whom the first image of the first project of this person shows.
    fn shown_by(&self, maker: usize) -> Option<usize> {
        let person = &self.people[maker];
        let has_image = person.projects.first().is_some_and(|(_, images)| *images > 0);
        person.shows.filter(|shown| has_image && *shown < self.people.len())
    }

    /// Whether a hold keeps something that would go: of the chosen person's own, or an image of somebody else that shows them.
    fn keeps_something(&self) -> bool {
        let chosen = &self.people[self.chosen];
        let own = match chosen.held {
            Some(Held::Person) => true,
            Some(Held::Run) => chosen.runs > 0,
            // What is held is not handed over.
            _ => (0..chosen.projects.len()).any(|project| self.is_held(self.chosen, project)),
        };
        own || self.erase_depicted
            && (0..self.people.len()).any(|maker| {
                let owner = self.owner(maker, 0);
                self.shown_by(maker) == Some(self.chosen)
                    && (self.is_held(maker, 0) || self.is_person_held(owner))
                    && owner != self.chosen
            })
    }
}

/// An image that shows somebody.
struct Showing {
    image: String,
    /// Who has it in the end.
    owner: usize,
    /// Whom it shows.
    shown: usize,
}

async fn hold(deployment: &Deployment, target: &str) {
    let body = json!({ "target": target, "matter": "m", "reason": "r" });
    let (status, answer) = deployment.operator("POST", "/holds", body).await;
    assert_eq!(status, 201, "{answer}");
}

/// Makes what a person has in their workspace: nothing if that is nothing.
async fn track(deployment: &Deployment, someone: &Someone, person: &Person) {
    if person.runs == 0 && !person.model {
        return;
    }
    let tracker = Tracker::new(deployment, someone).await;
    let experiment = tracker.experiment("trees").await;
    for number in 0..person.runs {
        let run = tracker.run(&experiment, &format!("run{number}")).await;
        let metric = json!({ "key": "loss", "value": 0.5, "timestamp": 1, "step": 0 });
        let body =
            json!({ "run_id": run, "metrics": [metric], "params": [{ "key": "depth", "value": "3" }] });
        tracker.ok("POST", "/runs/log-batch", body).await;
        let path = format!("{experiment}/{run}/artifacts/model.bin");
        assert_eq!(tracker.upload(&path, format!("weights{number}").as_bytes()).await, 200);
    }
    if person.model {
        tracker.ok("POST", "/registered-models/create", json!({ "name": "forest" })).await;
        let version = json!({ "name": "forest", "source": "s3://bucket/model", "description": "d" });
        tracker.ok("POST", "/model-versions/create", version).await;
    }
}

async fn build(deployment: &Deployment, world: &World, run: usize) -> (Vec<Someone>, Vec<Showing>) {
    let mut someones = Vec::new();
    for number in 0..world.people.len() {
        let email = format!("p{run}-{number}@example.org");
        someones.push(deployment.person(&email, &format!("Person {number}")).await);
    }
    let mut showing = Vec::new();
    for (number, (person, someone)) in world.people.iter().zip(&someones).enumerate() {
        for (index, (tags, images)) in person.projects.iter().enumerate() {
            let project = deployment.project(someone, &format!("project{index}")).await;
            let (mut ids, mut first) = (Vec::new(), None);
            for tag in 0..*tags {
                ids.push(deployment.tag(someone, &project, &format!("tag{tag}")).await);
            }
            for image_number in 0..*images {
                let tags: Vec<&str> = ids.iter().map(String::as_str).collect();
                let bytes = image(u64::from(image_number));
                let id = deployment.image(someone, &project, "x.jpg", &bytes, &tags).await;
                first.get_or_insert_with(|| id.clone());
                if let (0, 0, Some(shown)) = (index, image_number, world.shown_by(number)) {
                    let path = format!("/projects/{project}/images/metadata?imageIds={id}");
                    let names = json!({ "depicts": format!("a friend, {}", someones[shown].email) });
                    assert_eq!(deployment.train("POST", &someone.key, &path, Some(names)).await.0, 200);
                    showing.push(Showing { image: id, owner: world.owner(number, 0), shown });
                }
            }
            if person.expired && index == 0 {
                let store = deployment.server().app().store();
                let asked = image(100);
                crate::predictions::stored(store, &project, &asked, |new| {
                    new.expires_at = Some(Timestamp(1));
                })
                .await;
            }
            if world.is_held(number, index) {
                let single = first.filter(|_| matches!(person.held, Some(Held::Image(_))));
                hold(deployment, &single.unwrap_or_else(|| project.clone())).await;
            }
            let owner = world.owner(number, index);
            if owner != number {
                let body = json!({ "resource": project, "to": someones[owner].id });
                let (status, answer) = deployment.operator("POST", "/transfers", body).await;
                assert_eq!(status, 201, "{answer}");
            }
        }
        track(deployment, someone, person).await;
        if matches!(person.held, Some(Held::Run)) && person.runs > 0 {
            hold(deployment, &carried::first(deployment, someone, "Run").await).await;
        }
        if person.token {
            deployment
                .operator("POST", &format!("/persons/{}/tokens", someone.id), json!({ "label": "x" }))
                .await;
        }
    }
    for (someone, person) in someones.iter().zip(&world.people) {
        if matches!(person.held, Some(Held::Person)) {
            hold(deployment, &someone.id).await;
        }
        if person.restricted {
            let path = format!("/persons/{}/restriction", someone.id);
            assert_eq!(deployment.operator("PUT", &path, json!({ "restricted": true })).await.0, 204);
        }
    }
    let founder = deployment.person(&format!("founder{run}@example.org"), "F").await;
    let body = json!({ "name": "Shared", "owner": founder.id });
    let (_, organisation) = deployment.operator("POST", "/organisations", body).await;
    for (someone, person) in someones.iter().zip(&world.people) {
        if person.member {
            let path = format!(
                "/organisations/{}/members/{}",
                organisation["objectId"].as_str().unwrap(),
                someone.id
            );
            assert_eq!(deployment.operator("PUT", &path, json!({ "role": "contributor" })).await.0, 204);
        }
    }
    (someones, showing)
}

/// What a retention sweep deletes of stored predictions: those that neither a hold nor a restriction keeps.
async fn sweep(deployment: &Deployment, world: &World) {
    let (status, report) = deployment.operator("POST", "/retention", json!({})).await;
    assert_eq!(status, 200, "{report}");
    let expired = |kept: bool| {
        let due = world.people.iter().enumerate().filter(|(number, person)| {
            let is_kept =
                world.is_prediction_held(*number) || world.people[world.owner(*number, 0)].restricted;
            person.expired && !person.projects.is_empty() && is_kept == kept
        });
        due.count() as u64
    };
    let rules = report["rules"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["kind"] == "StoredPrediction").unwrap();
    assert_eq!((&rule["due"], &report["kept"]), (&json!(expired(false)), &json!(expired(true))), "{report}");
}

/// An archive's content as it is once the chosen person is erased: without what goes from it or is no longer mentioned in it, and without their
/// name in images that stay.
fn afterwards(
    mut content: Vec<(String, Vec<u8>)>,
    world: &World,
    showing: &[Showing],
    email: &str,
) -> Vec<(String, Vec<u8>)> {
    let (gone, stay): (Vec<&Showing>, Vec<&Showing>) = showing.iter().partition(|image| {
        image.owner == world.chosen || world.erase_depicted && image.shown == world.chosen
    });
    let said = format!(", {email}");
    for (path, bytes) in &mut content {
        if stay.iter().any(|one| path.ends_with(&format!("{}.json", one.image))) {
            *bytes = String::from_utf8(bytes.clone()).unwrap().replace(&said, "").into_bytes();
        }
    }
    let images: Vec<&str> = gone.iter().map(|one| one.image.as_str()).collect();
    content.retain(|(path, _)| !images.iter().any(|image| path.contains(image)));
    content
        .into_iter()
        .filter_map(|(path, bytes)| {
            if Path::new(&path).extension() != Some(OsStr::new("csv")) {
                return Some((path, bytes));
            }
            let text = String::from_utf8(bytes).unwrap();
            let lines = text.split_inclusive('\n');
            let left: Vec<&str> =
                lines.filter(|line| !images.iter().any(|image| line.contains(image))).collect();
            // A table without rows is not written.
            (left.len() > 1).then(|| (path, left.concat().into_bytes()))
        })
        .collect()
}

/// Takes out of the list of what somebody made for others what went with those others.
async fn still_there(deployment: &Deployment, content: &mut Vec<(String, Vec<u8>)>) {
    let Some(place) = content.iter().position(|(path, _)| path == "shared/mentions.csv") else { return };
    let text = String::from_utf8(content[place].1.clone()).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let mut left = format!("{header}\n");
    for row in rows.split_inclusive('\n') {
        let id: habeas_core::Id = row.split(',').next().unwrap().parse().unwrap();
        let store = deployment.server().app().store();
        if store.read(move |tx| tx.position(id)).await.unwrap().is_some() {
            left.push_str(row);
        }
    }
    if left.lines().count() > 1 {
        content[place].1 = left.into_bytes();
    } else {
        content.remove(place);
    }
}

async fn erase(deployment: &Deployment, someone: &Someone, erase_depicted: bool) -> Value {
    let path = format!("/persons/{}/erasure-plans", someone.id);
    let (_, plan) = deployment.operator("POST", &path, json!({ "eraseDepicted": erase_depicted })).await;
    let body = json!({ "plan": plan["plan"], "confirm": someone.email, "digest": plan["digest"] });
    let (status, begun) = deployment.operator("POST", "/erasures", body).await;
    assert_eq!(status, 202, "{plan}: {begun}");
    deployment.finished(plan["plan"].as_str().unwrap()).await
}

/// Takes the archive of somebody who is left, and brings it in elsewhere: what can be taken out there is the same.
async fn carry(from: &Deployment, someone: &Someone, to: &Deployment) {
    let there = (archives::content(from, someone).await, carried::content(from, someone).await);
    let folder = tempfile::tempdir().unwrap();
    let path = archives::archive(from, someone, folder.path()).await;
    let other = to.person(&someone.email, "Other").await;
    let report = archives::bring(to, &other, &path).await.unwrap();
    assert!(report.remapped.is_empty(), "{report:?}");
    let here = (archives::content(to, &other).await, carried::content(to, &other).await);
    let differs = here.0.iter().zip(&there.0).find(|(here, there)| here != there).map(|(here, _)| &here.0);
    assert!(here.0 == there.0, "{differs:?}: {} files, {} elsewhere", there.0.len(), here.0.len());
    let differs = here.1.iter().zip(&there.1).find(|(here, there)| here != there).map(|(here, _)| here.0);
    assert!(here.1 == there.1, "{differs:?}: {} files, {} elsewhere", there.1.len(), here.1.len());
}

/// Builds a world, erases its chosen person and looks at everybody else. `run` tells its addresses from those of others. Somebody's archive
/// is brought in `elsewhere`.
async fn erase_one(deployment: &Deployment, elsewhere: &Deployment, world: &World, run: usize) {
    let (someones, showing) = build(deployment, world, run).await;
    let chosen = &someones[world.chosen];
    sweep(deployment, world).await;
    let mut before = Vec::new();
    for (number, someone) in someones.iter().enumerate() {
        if number == world.chosen {
            before.push(Vec::new());
            continue;
        }
        let content = deployment.content(someone).await;
        before.push(afterwards(content, world, &showing, &chosen.email));
    }
    let report = erase(deployment, chosen, world.erase_depicted).await;
    let held = world.keeps_something();
    let expected = if held { "completed_with_holds" } else { "completed" };
    assert_eq!(report["status"], expected, "{report}");
    let id: habeas_core::Id = chosen.id.parse().unwrap();
    let store = deployment.server().app().store();
    let traces = store.read(move |tx| tx.traces_of(id)).await.unwrap();
    assert!(traces.iter().all(|(_, rows)| *rows == 0), "{traces:?}");
    // One hold can keep several parts, also of what others hold: an image that shows the chosen one.
    let held_by = report["held"].as_array().into_iter().flatten();
    let holds: BTreeSet<&str> = held_by.map(|hold| hold.as_str().unwrap()).collect();
    if held {
        for hold in &holds {
            let path = format!("/holds/{hold}");
            assert_eq!(deployment.operator("DELETE", &path, json!(null)).await.0, 204);
        }
        let plan = report["plan"].as_str().unwrap();
        while deployment.finished(plan).await["status"] != "completed" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let left = store.read(move |tx| tx.held_parts(id)).await;
        assert!(left.unwrap().is_empty());
    }
    for (number, someone) in someones.iter().enumerate().filter(|(number, _)| *number != world.chosen) {
        let after = deployment.content(someone).await;
        still_there(deployment, &mut before[number]).await;
        before[number]
            .retain(|(path, _)| !holds.iter().any(|hold| *path == format!("rights/holds/{hold}.json")));
        let differs = after.iter().zip(&before[number]).find(|(after, before)| after != before);
        assert!(
            after == before[number],
            "the content of person {number} changed in {world:?}, {report}: {:?}",
            differs
                .map(|(after, before)| [after, before]
                    .map(|(path, bytes)| (path, String::from_utf8_lossy(bytes))))
        );
    }
    // What is left held or restricted would be kept by the next world's sweep.
    for (_, someone) in someones.iter().enumerate().filter(|(number, _)| *number != world.chosen) {
        let path = format!("/persons/{}/restriction", someone.id);
        assert_eq!(deployment.operator("PUT", &path, json!({ "restricted": false })).await.0, 204);
    }
    for hold in deployment.operator("GET", "/holds", json!(null)).await.1.as_array().unwrap() {
        let path = format!("/holds/{}", hold["id"].as_str().unwrap());
        assert_eq!(deployment.operator("DELETE", &path, json!(null)).await.0, 204);
    }
    deployment.operator("POST", "/retention", json!({})).await;
    let left = (0..someones.len()).filter(|number| *number != world.chosen);
    let most = |number: &usize| {
        let person = &world.people[*number];
        person.projects.len() + usize::from(person.runs) + usize::from(person.model)
    };
    carry(deployment, &someones[left.max_by_key(most).unwrap()], elsewhere).await;
}

#[test]
fn erasing_one_person_leaves_everybody_else_as_they_were() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lock = runtime.block_on(crate::canary::protected());
    for (database, cases) in engines().into_iter().zip([12, 4]) {
        // A database is for one deployment.
        let second = database.as_ref().and_then(|_| crate::postgres::database());
        let deployment = runtime.block_on(Deployment::open(database));
        let elsewhere = runtime.block_on(Deployment::open(second));
        let run = std::cell::Cell::new(0);
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&worlds(), |world| {
                run.set(run.get() + 1);
                runtime.block_on(erase_one(&deployment, &elsewhere, &world, run.get()));
                Ok(())
            })
            .unwrap();
    }
    drop(lock);
}
