//! OpenDSR 2.0 and OpenGDPR 1.x, by a client that is written from the specification.

use std::collections::HashMap;

use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::fault;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines};
use crate::standards::{Answer, FarEnd, Received, call, open};

/// Where the two versions lie, and how they call their requests and headers.
const NAMES: [(&str, &str, &str); 2] =
    [("/opendsr/v2", "requests", "x-opendsr"), ("/opendsr/v1", "opengdpr_requests", "x-opengdpr")];

/// A controller: it believes no answer whose signature is not by the published certificate.
struct Controller<'a> {
    deployment: &'a Deployment,
    token: String,
    path: String,
    headers: &'static str,
    key: Vec<u8>,
}

impl<'a> Controller<'a> {
    async fn new(
        deployment: &'a Deployment,
        token: &str,
        (base, requests, headers): (&str, &str, &'static str),
    ) -> Controller<'a> {
        let discovery = call(deployment, "", "GET", &format!("{base}/discovery"), "").await;
        assert_eq!(discovery.status, 200);
        let address = discovery.json["processor_certificate"].as_str().unwrap();
        let path = address.strip_prefix("http://localhost").unwrap();
        let pem = call(deployment, "", "GET", path, "").await.bytes;
        let certificate = rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap();
        let (token, path) = (token.to_owned(), format!("{base}/{requests}"));
        let controller = Controller { deployment, token, path, headers, key: public_key(&certificate) };
        controller.verify(headers, &discovery.headers, &discovery.bytes);
        controller
    }

    fn verify(&self, names: &str, headers: &HeaderMap, body: &[u8]) {
        assert_eq!(headers[&format!("{names}-processor-domain")], "localhost");
        let signature = STANDARD.decode(headers[&format!("{names}-signature")].as_bytes()).unwrap();
        let key =
            ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, &self.key);
        key.verify(body, &signature).unwrap();
        assert!(key.verify(&[body, b" "].concat(), &signature).is_err());
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let answer = call(self.deployment, &self.token, method, path, &body.to_string()).await;
        if answer.status < 400 {
            self.verify(self.headers, &answer.headers, &answer.bytes);
        }
        answer
    }

    async fn ask(&self, body: &Value) -> Answer {
        self.call("POST", &self.path, body).await
    }

    async fn status(&self, id: &str) -> Value {
        let answer = self.call("GET", &format!("{}/{id}", self.path), &json!(null)).await;
        assert_eq!(answer.status, 200, "{}", answer.json);
        answer.json
    }

    async fn cancel(&self, id: &str) -> Answer {
        self.call("DELETE", &format!("{}/{id}", self.path), &json!(null)).await
    }

    async fn completed(&self, id: &str) -> Value {
        loop {
            let status = self.status(id).await;
            if status["request_status"] == "completed" {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

/// The uncompressed P-256 point of a certificate: its subject public key is the only bit string of 66 bytes that begins so.
fn public_key(certificate: &[u8]) -> Vec<u8> {
    let at = certificate.windows(4).position(|bytes| bytes == [0x03, 0x42, 0x00, 0x04]).unwrap();
    certificate[at + 3..at + 68].to_vec()
}

/// A request as a controller passes it on.
pub(crate) fn asked(id: &str, kind: &str, email: &str, callbacks: &[String]) -> Value {
    json!({
        "regulation": "gdpr",
        "subject_request_id": id,
        "subject_request_type": kind,
        "submitted_time": "2026-11-01T15:00:00Z",
        "subject_identities": [
            { "identity_type": "ios_advertising_id", "identity_value": "x", "identity_format": "raw" },
            { "identity_type": "email", "identity_value": email, "identity_format": "raw" },
        ],
        "api_version": "2.0",
        "status_callback_urls": callbacks,
    })
}

const ACCESS: &str = "a7551968-d5d6-44b2-9831-815ac9017798";
const CALLED_OFF: &str = "b7551968-d5d6-44b2-9831-815ac9017798";
pub(crate) const ERASURE: &str = "c7551968-d5d6-44b2-9831-815ac9017798";
const DENIED: &str = "d7551968-d5d6-44b2-9831-815ac9017798";

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_passes_requests_on_under_the_names_of_both_versions() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        // A database of the other engine is for one deployment.
        let versions = if database.is_some() { 1 } else { NAMES.len() };
        for names in NAMES.into_iter().take(versions) {
            let deployment = open(database.clone()).await;
            let person = deployment.person("person@example.org", "Person").await;
            let officer = deployment.officer("officer").await;
            let colleague = deployment.officer("colleague").await;
            let controller = Controller::new(&deployment, &officer, names).await;
            let mut access = asked(ACCESS, "access", "person@example.org", &[]);
            if names.0.ends_with("v1") {
                // The version before knew one law.
                access.as_object_mut().unwrap().remove("regulation");
            }
            let taken = controller.ask(&access).await;
            assert_eq!(taken.status, 201, "{}", taken.json);
            let encoded = taken.json["encoded_request"].as_str().unwrap();
            assert_eq!(STANDARD.decode(encoded).unwrap(), access.to_string().as_bytes());
            insta::allow_duplicates! {
                insta::assert_json_snapshot!("opendsr_taken_in", taken.json, {
                    ".controller_id" => "[id]", ".encoded_request" => "[base64]",
                    ".received_time" => "[time]", ".expected_completion_time" => "[time]",
                });
            }
            let status = controller.completed(ACCESS).await;
            let results = status["results_url"].as_str().unwrap().strip_prefix("http://localhost").unwrap();
            assert_eq!(call(&deployment, &officer, "GET", results, "").await.status, 200);
            insta::allow_duplicates! {
                insta::assert_json_snapshot!("opendsr_status", status, {
                    ".controller_id" => "[id]", ".results_url" => "[address]", ".expected_completion_time" => "[time]",
                });
            }

            // An answer that was lost is given again; the same id for something else is refused.
            let again = controller.ask(&access).await;
            assert_eq!((again.status, &again.json), (201, &taken.json));
            let other = asked(ACCESS, "erasure", "person@example.org", &[]);
            let refused = controller.ask(&other).await;
            assert_eq!(
                (refused.status, &refused.json["error"]["errors"][0]["reason"]),
                (400, &json!("conflict"))
            );

            // An erasure waits for a colleague and is called off, once or twice.
            assert_eq!(
                controller.ask(&asked(CALLED_OFF, "erasure", "PERSON@example.org", &[])).await.status,
                201
            );
            assert_eq!(controller.status(CALLED_OFF).await["request_status"], "pending");
            for _ in 0..2 {
                let cancelled = controller.cancel(CALLED_OFF).await;
                assert_eq!(
                    (cancelled.status, &cancelled.json["subject_request_id"]),
                    (202, &json!(CALLED_OFF))
                );
            }
            assert_eq!(controller.status(CALLED_OFF).await["request_status"], "cancelled");

            // One that is refused says why, in the words of the Data Rights Protocol.
            assert_eq!(
                controller.ask(&asked(DENIED, "erasure", "person@example.org", &[])).await.status,
                201
            );
            let deny = json!({ "reason": "suspected_fraud" }).to_string();
            let path = format!("/api/privacy/v1/requests/{DENIED}/deny");
            assert_eq!(call(&deployment, &colleague, "POST", &path, &deny).await.status, 200);
            let status = controller.status(DENIED).await;
            assert_eq!(
                (&status["request_status"], &status["reason"]),
                (&json!("cancelled"), &json!("suspected_fraud"))
            );

            // By object id; the same again is a duplicate; then a second person approves, and it is done.
            let mut erasure = asked(ERASURE, "erasure", "", &[]);
            erasure["subject_identities"] = json!([
                { "identity_type": "controller_customer_id", "identity_value": person.id, "identity_format": "raw" },
            ]);
            assert_eq!(controller.ask(&erasure).await.status, 201);
            erasure["subject_request_id"] = json!("e7551968-d5d6-44b2-9831-815ac9017798");
            assert_eq!(controller.ask(&erasure).await.status, 201);
            let status = controller.status("e7551968-d5d6-44b2-9831-815ac9017798").await;
            assert_eq!(
                (&status["request_status"], &status["reason"]),
                (&json!("cancelled"), &json!("duplicate"))
            );
            approve(&deployment, &officer, ERASURE, 403).await;
            approve(&deployment, &colleague, ERASURE, 200).await;
            controller.completed(ERASURE).await;
            let late = controller.cancel(ERASURE).await;
            assert_eq!((late.status, &late.json["error"]["errors"][0]["reason"]), (400, &json!("conflict")));
            assert_eq!(controller.ask(&erasure).await.status, 400, "nobody is known under this id any more");
        }
    }
}

async fn approve(deployment: &Deployment, officer: &str, id: &str, status: u16) {
    let native = format!("/api/privacy/v1/requests/{id}");
    let digest = call(deployment, officer, "GET", &native, "").await.json["digest"].clone();
    let body = json!({ "digest": digest }).to_string();
    let approved = call(deployment, officer, "POST", &format!("{native}/approve"), &body).await;
    assert_eq!(approved.status, status, "{}", approved.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_are_called_back_in_signed_words_until_they_answer() {
    let _lock = crate::canary::alone().await;
    fault::switch_off(&["public-only"]);
    for database in engines() {
        let far = FarEnd::default();
        let address = far.listen().await;
        let deployment = open(database).await;
        deployment.person("person@example.org", "Person").await;
        let officer = deployment.officer("officer").await;
        let colleague = deployment.officer("colleague").await;
        let controller = Controller::new(&deployment, &officer, NAMES[0]).await;
        // The first call fails and is made again.
        far.refuse(StatusCode::BAD_GATEWAY);
        let callbacks = [format!("{address}/first"), format!("{address}/second")];
        assert_eq!(
            controller.ask(&asked(ERASURE, "erasure", "person@example.org", &callbacks)).await.status,
            201
        );
        approve(&deployment, &colleague, ERASURE, 200).await;
        let ended = |one: &Received, path: &str| {
            one.line == format!("POST {path}") && one.json()["request_status"] == "completed"
        };
        let told = far
            .until(|all| ["/first", "/second"].iter().all(|path| all.iter().any(|one| ended(one, path))))
            .await;
        let mut statuses: HashMap<String, Vec<String>> = HashMap::new();
        for one in &told {
            for (_, _, names) in NAMES {
                controller.verify(names, &one.headers, &one.body);
            }
            let body = one.json();
            assert_eq!(body["subject_request_id"], ERASURE);
            let url = body["status_callback_url"].as_str().unwrap().to_owned();
            assert_eq!(one.line, format!("POST {}", url.strip_prefix(&address).unwrap()));
            statuses.entry(url).or_default().push(body["request_status"].as_str().unwrap().to_owned());
            assert!(!body.to_string().contains("person@example.org"), "{body}");
        }
        for url in &callbacks {
            assert_eq!(statuses[url].last().unwrap(), "completed", "{statuses:?}");
        }
        let last = told.iter().rfind(|one| ended(one, "/first")).unwrap().json();
        insta::allow_duplicates! {
            insta::assert_json_snapshot!("opendsr_callback", last, {
                ".controller_id" => "[id]", ".expected_completion_time" => "[time]", ".status_callback_url" => "[address]",
            });
        }

        // So is one that has passed its request on by the old names.
        let old = Controller::new(&deployment, &officer, NAMES[1]).await;
        let callbacks = [format!("{address}/old")];
        deployment.person("third@example.org", "Third").await;
        let access = asked(ACCESS, "access", "third@example.org", &callbacks);
        assert_eq!(old.ask(&access).await.status, 201);
        let told = far.until(|all| all.iter().any(|one| ended(one, "/old"))).await;
        for one in told.iter().filter(|one| one.line == "POST /old") {
            for (_, _, names) in NAMES {
                old.verify(names, &one.headers, &one.body);
            }
        }

        // A controller that refuses what it named is given up, and the request says so.
        far.refuse(StatusCode::GONE);
        deployment.person("other@example.org", "Other").await;
        let callbacks = [format!("{address}/gone")];
        assert_eq!(
            controller.ask(&asked(DENIED, "erasure", "other@example.org", &callbacks)).await.status,
            201
        );
        let native = format!("/api/privacy/v1/requests/{DENIED}");
        crate::standards::until(&deployment, &officer, &native, |request| {
            request["history"]
                .as_array()
                .unwrap()
                .iter()
                .any(|entry| entry["event"] == "controllerNotReached")
        })
        .await;
        let deliveries = call(&deployment, &officer, "GET", &format!("{native}/deliveries"), "").await.json;
        assert_eq!((&deliveries[0]["what"], &deliveries[0]["state"]), (&json!("callback"), &json!("failed")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opendsr_request_that_is_wrong_is_refused_with_what_is_wrong() {
    let _lock = crate::canary::protected().await;
    let deployment = open(None).await;
    let person = deployment.person("person@example.org", "Person").await;
    deployment.person("other@example.org", "Other").await;
    let officer = deployment.officer("officer").await;
    let path = "/opendsr/v2/requests";
    let good = asked(ACCESS, "access", "person@example.org", &[]);
    let second = |email: &str| {
        let mut identities = good["subject_identities"].clone();
        identities[0] =
            json!({ "identity_type": "email", "identity_value": email, "identity_format": "raw" });
        identities
    };
    let hashed = json!([{ "identity_type": "email", "identity_value": "00", "identity_format": "sha256" }]);
    for (member, value, message) in [
        ("regulation", json!("lgpd"), "regulation"),
        ("regulation", json!(null), "the body"),
        ("subject_request_id", json!("A7551968-D5D6-44B2-9831-815AC9017798"), "subject_request_id"),
        ("subject_request_type", json!("rectification"), "subject_request_type"),
        ("submitted_time", json!("yesterday"), "submitted_time"),
        ("subject_identities", json!([]), "subject_identities"),
        ("subject_identities", hashed, "none of the subject_identities"),
        ("subject_identities", second("nobody@example.org"), ""),
        ("subject_identities", second("other@example.org"), "subject_identities are of more than one person"),
        ("status_callback_urls", json!(["http://127.0.0.1/x"]), "status_callback_urls"),
        (
            "status_callback_urls",
            json!(["https://example.org/?of=person%40example.org"]),
            "status_callback_urls",
        ),
    ] {
        let mut body = good.clone();
        body[member] = value;
        let answer = call(&deployment, &officer, "POST", path, &body.to_string()).await;
        if message.is_empty() {
            assert_eq!(answer.status, 201, "one identity that is known is enough: {}", answer.json);
            continue;
        }
        let errors = answer.json["error"]["errors"].as_array().unwrap();
        assert_eq!((answer.status, errors.len()), (400, 1), "{}", answer.json);
        assert_eq!(
            (&answer.json["error"]["code"], &answer.headers["cache-control"]),
            (&json!(400), &"no-store".parse().unwrap())
        );
        assert!(errors[0]["message"].as_str().unwrap().starts_with(message), "{}", answer.json);
        assert!(!answer.json.to_string().contains("example.org"), "{}", answer.json);
    }
    let mut body = good.clone();
    body["subject_request_type"] = json!("x");
    body["subject_request_id"] = json!("x");
    let answer = call(&deployment, &officer, "POST", path, &body.to_string()).await;
    insta::assert_json_snapshot!("opendsr_refused", answer.json);
    body = asked(CALLED_OFF, "access", "nobody@example.org", &[]);
    let nobody = call(&deployment, &officer, "POST", path, &body.to_string()).await;
    assert_eq!((nobody.status, &nobody.json["error"]["errors"][0]["reason"]), (400, &json!("not_found")));
    assert_eq!(call(&deployment, &officer, "POST", path, "{").await.status, 400);
    assert_eq!(call(&deployment, &officer, "POST", path, &" ".repeat(70_000)).await.status, 400);

    let stranger = deployment.token(&person).await;
    for (method, path) in [
        ("POST", path.to_owned()),
        ("GET", format!("{path}/{ACCESS}")),
        ("DELETE", format!("{path}/{ACCESS}")),
    ] {
        for (token, status) in [("", 401), (stranger.as_str(), 404)] {
            let answer = call(&deployment, token, method, &path, &good.to_string()).await;
            assert_eq!((answer.status, &answer.json["error"]["code"]), (status, &json!(status)), "{method}");
        }
    }
    for id in ["x", CALLED_OFF] {
        assert_eq!(call(&deployment, &officer, "GET", &format!("{path}/{id}"), "").await.status, 404);
    }
    let discovery = call(&deployment, "", "GET", "/opendsr/v2/discovery", "").await;
    insta::assert_json_snapshot!("opendsr_discovery", discovery.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_has_no_room_is_said_in_each_protocols_own_words() {
    let _lock = crate::canary::protected().await;
    let mut deployment = open(None).await;
    let title = |answer: &Answer| answer.json["title"].is_string() && answer.json["code"].is_string();
    let opendsr = |answer: &Answer| answer.json["error"]["errors"][0]["domain"] == "habeas";
    let graph = |answer: &Answer| answer.json["error"]["innerError"].is_object();
    for method in ["GET", "POST", "DELETE"] {
        for (path, shape) in [
            ("/api/privacy/v1", &title as &dyn Fn(&Answer) -> bool),
            ("/api/privacy/v1/nothing", &title),
            ("/api/privacy/v1/persons/x/nothing/at/all", &title),
            ("/opendsr/v2/status", &opendsr),
            ("/opendsr/v3/requests", &opendsr),
            ("/v1.0/groups", &graph),
        ] {
            let answer = call(&deployment, "", method, path, "").await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert!(shape(&answer), "{method} {path}: {}", answer.json);
        }
    }
    // A page is none of theirs, and neither is a form for one.
    for method in ["GET", "POST"] {
        assert_eq!(call(&deployment, "", method, "/nothing", "").await.status, 404);
    }
    deployment.stop().await;
    deployment.settings.disk_reserve_mb = Some(u64::MAX);
    deployment.start().await;
    for (path, shape) in [
        ("/api/privacy/v1/persons", &title as &dyn Fn(&Answer) -> bool),
        ("/opendsr/v2/requests", &opendsr),
        ("/v1.0/users/x/exportPersonalData", &graph),
    ] {
        let answer = call(&deployment, "", "POST", path, "{}").await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(shape(&answer), "{path}: {}", answer.json);
    }
}
