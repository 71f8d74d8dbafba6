//! Random walks over the requests API: whatever is asked in whatever order, a request moves as the state machine allows, and no other way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use habeas_core::requests::{RequestEvent, RequestState, RequestType, next};
use habeas_core::{ManualClock, Timestamp, time};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};

const DECISIONS: &[&str] =
    &["approve", "deny", "extend", "complete", "cancel", "confirm-identity", "resend", "comments"];

/// What somebody does next. Numbers choose among the requests there are.
#[derive(Clone, Debug)]
enum Step {
    /// The staff take a request in, by the person's id or by an address, with or without having checked who asks.
    TakeIn { asked: RequestType, by_address: bool, known: bool },
    /// Somebody asks by the public form, for an address that may be nobody's.
    Form { asked: RequestType, nobody: bool },
    /// The person repeats the code, or a wrong one.
    Verify { request: usize, right: bool },
    /// Somebody decides: the path, and whether whoever took it in does so.
    Decide { request: usize, decision: &'static str, first: bool },
    /// The person places something new under the plan.
    Change,
    /// A hold is placed on what the person has, or released.
    Hold,
    /// Days go by.
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let asked = || select(RequestType::ALL);
    let step = prop_oneof![
        3 => (asked(), any::<bool>(), any::<bool>())
            .prop_map(|(asked, by_address, known)| Step::TakeIn { asked, by_address, known }),
        1 => (asked(), any::<bool>()).prop_map(|(asked, nobody)| Step::Form { asked, nobody }),
        3 => (0..6_usize, prop::bool::weighted(0.8)).prop_map(|(request, right)| Step::Verify { request, right }),
        6 => (0..6_usize, select(DECISIONS), any::<bool>())
            .prop_map(|(request, decision, first)| Step::Decide { request, decision, first }),
        1 => Just(Step::Change),
        1 => Just(Step::Hold),
        1 => select(&[1_i64, 8, 40][..]).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 4..16)
}

/// Where a request of this type can get to from a state, by its name on the wire, in any number of steps.
fn reachable(asked: RequestType, from: &str) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    let mut ahead: Vec<RequestState> =
        RequestState::ALL.iter().copied().filter(|state| state.name() == from).collect();
    while let Some(state) = ahead.pop() {
        if seen.insert(state) {
            ahead.extend(RequestEvent::ALL.iter().filter_map(|event| next(asked, state, *event).ok()));
        }
    }
    seen.into_iter().map(RequestState::name).collect()
}

/// Who said that it is the person who asks.
fn vouched(request: &Value) -> Vec<&Value> {
    let verified = |entry: &&Value| entry["event"] == "verified" && entry["by"].is_string();
    request["history"].as_array().into_iter().flatten().filter(verified).map(|entry| &entry["by"]).collect()
}

struct Walk<'a> {
    deployment: &'a Deployment,
    clock: &'a ManualClock,
    staff: &'a [Someone; 2],
    person: Someone,
    /// The requests so far, as they were seen last.
    requests: BTreeMap<usize, Value>,
    hold: Option<String>,
}

impl Walk<'_> {
    /// Calls as the first or the second of the staff.
    async fn call(&self, first: bool, method: &str, path: &str, body: Value) -> (u16, Value) {
        // Days may have gone by since the last token.
        let token = self.deployment.token(&self.staff[usize::from(!first)]).await;
        let (status, answer) = self.deployment.call(Some(&token), method, path, body).await;
        let status = status.as_u16();
        assert!(status < 500, "{method} {path}: {answer}");
        if status >= 400 {
            assert!(answer["code"].is_string() && answer["title"].is_string(), "{method} {path}: {answer}");
        }
        (status, answer)
    }

    fn chosen(&self, request: usize) -> Option<(String, Value)> {
        let request = self.requests.values().nth(request % self.requests.len().max(1))?;
        Some((format!("/requests/{}", request["id"].as_str()?), request.clone()))
    }

    fn note(&mut self, request: Value) {
        let number = self.requests.last_key_value().map_or(0, |(number, _)| number + 1);
        self.requests.insert(number, request);
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::TakeIn { asked, by_address, known } => {
                let mut body = json!({ "type": asked, "channel": "letter" });
                if *known {
                    body["identity"] = json!("document");
                }
                let path = if *by_address {
                    body["email"] = json!(self.person.email);
                    "/requests".to_owned()
                } else {
                    format!("/persons/{}/requests", self.person.id)
                };
                let (status, made) = self.call(true, "POST", &path, body).await;
                if matches!(status, 201 | 202) {
                    self.note(made);
                } else {
                    // The person may be erased.
                    assert!(matches!(status, 404 | 409), "{made}");
                }
            }
            Step::Form { asked, nobody } => {
                let number = self.requests.len();
                let email = if *nobody {
                    format!("nobody-{number}-{}", self.person.email)
                } else {
                    self.person.email.clone()
                };
                let body = json!({ "type": asked, "email": email });
                let (status, made) = self.deployment.call(None, "POST", "/requests", body).await;
                if status == 202 {
                    self.note(made);
                } else {
                    assert_eq!(status, 429, "{made}");
                }
            }
            Step::Verify { request, right } => {
                let Some((path, request)) = self.chosen(*request) else { return };
                let code = if *right && request["state"] == "verifying" {
                    // A letter that met another writer is tried again by the clock.
                    let ticking = async {
                        loop {
                            self.clock.advance(time::HOUR / 3_600);
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    };
                    tokio::select! {
                        code = crate::requests::code(self.deployment, &request) => code,
                        () = ticking => return,
                    }
                } else {
                    "1234".to_owned()
                };
                let body = json!({ "code": code });
                let (status, said) =
                    self.deployment.call(None, "POST", &format!("{path}/verify"), body).await;
                assert!(matches!(status.as_u16(), 200 | 400), "{said}");
            }
            Step::Decide { request, decision, first } => {
                let Some((path, request)) = self.chosen(*request) else { return };
                let (_, plan) = self.call(*first, "GET", &format!("{path}/plan"), json!(null)).await;
                let mut body = match *decision {
                    "approve" => json!({ "digest": plan["plan"]["digest"].as_str().unwrap_or_default() }),
                    "deny" => json!({ "reason": "other" }),
                    "extend" => json!({ "reason": "complexity" }),
                    "confirm-identity" => json!({ "identity": "known" }),
                    "cancel" | "resend" => json!({}),
                    _ => json!({ "text": "Said." }),
                };
                if *decision == "complete" && request["type"] == "rectification" {
                    body["rectification"] = json!({ "name": "Corrected" });
                }
                let (status, said) = self.call(*first, "POST", &format!("{path}/{decision}"), body).await;
                let by = json!(self.staff[usize::from(!*first)].id);
                if *decision == "approve" && (request["requester"] == by || vouched(&request).contains(&&by))
                {
                    assert!(status >= 400, "who took it in, or vouched for the person, approved it: {said}");
                }
            }
            Step::Change => {
                let path = "/projects?name=later";
                self.deployment.train("POST", &self.person.key, path, None).await;
            }
            Step::Hold => match self.hold.take() {
                Some(hold) => {
                    self.call(true, "DELETE", &format!("/holds/{hold}"), json!(null)).await;
                }
                None => {
                    let body = json!({ "target": self.person.id, "matter": "m", "reason": "r" });
                    let (status, hold) = self.call(true, "POST", "/holds", body).await;
                    self.hold = (status == 201).then(|| hold["id"].as_str().unwrap().to_owned());
                }
            },
            Step::Wait(days) => self.clock.advance(days * time::DAY),
        }
        self.look_until(|request| !matches!(request["state"].as_str(), Some("running" | "failed"))).await;
    }

    /// Looks until this is so of every request: what goes on by itself has come to its end.
    async fn look_until(&mut self, rests: impl Fn(&Value) -> bool) {
        for round in 0.. {
            self.look().await;
            if self.requests.values().all(&rests) {
                break;
            }
            assert!(round < 2_000, "something never comes to its end: {:?}, {:?}", self.requests, self.hold);
            // What failed, since somebody else wrote at the same time, is tried again by the clock.
            self.clock.advance(time::HOUR / 3_600);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every request has moved as it may, and what it says of itself holds.
    async fn look(&mut self) {
        let (keys, before): (Vec<usize>, Vec<Value>) = self.requests.clone().into_iter().unzip();
        for (key, before) in keys.into_iter().zip(before) {
            let path = format!("/requests/{}", before["id"].as_str().unwrap());
            let (status, now) = self.call(true, "GET", &path, json!(null)).await;
            if status == 404 {
                // Unverified ones are kept for a month after their end.
                assert!(before["verified"] != true, "{before}");
                self.requests.remove(&key);
                continue;
            }
            let asked = RequestType::from_name(now["type"].as_str().unwrap()).unwrap();
            let (from, to) = (before["state"].as_str().unwrap(), now["state"].as_str().unwrap());
            assert!(reachable(asked, from).contains(to), "{from} -> {to}: {now}");
            let happened: Vec<&str> = now["history"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["event"].as_str().unwrap())
                .collect();
            let has = |event: &str| happened.contains(&event);
            let done = matches!(to, "completed" | "completedWithHolds");
            if done {
                assert!(has("verified"), "{now}");
                assert_eq!(has("keysDestroyed"), asked == RequestType::Erasure, "{now}");
                let by_hand = matches!(
                    asked,
                    RequestType::Rectification | RequestType::Restriction | RequestType::Objection
                );
                assert_eq!(now["receipt"].is_string(), !by_hand, "{now}");
            }
            if asked == RequestType::Erasure && has("started") {
                assert!(has("approved") && now["approver"] != now["requester"], "{now}");
                assert!(!vouched(&now).contains(&&now["approver"]), "{now}");
            }
            if to == "cancelled" {
                assert!(!has("keysDestroyed"), "{now}");
            }
            let mut seen = now.clone();
            seen["verified"] = json!(has("verified"));
            self.requests.insert(key, seen);
        }
    }

    /// Lets everything that goes on by itself come to its end.
    async fn settle(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.call(true, "DELETE", &format!("/holds/{hold}"), json!(null)).await;
        }
        self.look_until(|request| request["state"] != "completedWithHolds").await;
        let of_type = |erased: &Value| erased["type"] == "erasure" && erased["state"] == "completed";
        let erased = self.requests.values().any(of_type);
        let path = format!("/persons?email={}", self.person.email);
        let (status, _) = self.deployment.operator("GET", &path, json!(null)).await;
        assert_eq!(status == 404, erased, "{:?}", self.requests);
    }
}

#[test]
fn requests_move_as_the_state_machine_allows_whatever_is_asked() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lock = runtime.block_on(crate::canary::protected());
    // What differs between the engines is who waits for whom: a few walks on the slower one meet that.
    for (database, cases) in engines().into_iter().zip([16, 6]) {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-25T12:00:00Z").unwrap()));
        let open = Deployment::open_with_clock(clock.clone(), |settings| settings.database = database);
        let deployment = runtime.block_on(open);
        let staff = runtime.block_on(staff(&deployment));
        let run = std::cell::Cell::new(0);
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&steps(), |steps| {
                run.set(run.get() + 1);
                runtime.block_on(async {
                    let person = deployment.person(&format!("p{}@example.org", run.get()), "Person").await;
                    let (deployment, clock, staff) = (&deployment, &*clock, &staff);
                    let mut walk =
                        Walk { deployment, clock, staff, person, requests: BTreeMap::new(), hold: None };
                    for step in &steps {
                        walk.take(step).await;
                    }
                    walk.settle().await;
                });
                Ok(())
            })
            .unwrap();
    }
    drop(lock);
}

/// Two privacy officers.
async fn staff(deployment: &Deployment) -> [Someone; 2] {
    let mut staff = Vec::new();
    for name in ["first", "second"] {
        let someone = deployment.person(&format!("{name}@example.org"), name).await;
        let role = json!({ "role": "privacyOfficer", "granted": true });
        let path = format!("/persons/{}/role", someone.id);
        assert_eq!(deployment.operator("PUT", &path, role).await.0, 204);
        staff.push(someone);
    }
    staff.try_into().unwrap()
}
