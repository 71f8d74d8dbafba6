//! Other systems drive a person's rights through open standards: Microsoft Graph, OpenDSR 2.0, webhooks to recipients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::fault;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone, engines, image};

/// Something that was sent to us.
#[derive(Clone, Debug)]
struct Received {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A far end in this process: keeps what is sent to it, and refuses the first so many.
#[derive(Clone, Default)]
struct FarEnd {
    received: Arc<Mutex<Vec<Received>>>,
    refusals: Arc<Mutex<usize>>,
}

async fn take(
    State(far): State<FarEnd>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut refusals = far.refusals.lock().unwrap();
    if *refusals > 0 {
        *refusals -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let path = format!("{method} {uri}");
    far.received.lock().unwrap().push(Received { path, headers, body });
    StatusCode::CREATED
}

impl FarEnd {
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Waits for something to arrive.
    async fn until(&self, wanted: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        loop {
            let received = self.received.lock().unwrap().clone();
            if wanted(&received) {
                return received;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
    json: Value,
}

async fn call(deployment: &Deployment, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request =
        request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap();
    let response = deployment.server().router().oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec();
    Answer { status, headers, json: serde_json::from_slice(&bytes).unwrap_or_default(), bytes }
}

/// A person of the staff; their token.
async fn staff(deployment: &Deployment, email: &str, role: &str) -> String {
    let someone = deployment.person(email, "Staff").await;
    let body = json!({ "role": role, "granted": true });
    assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", someone.id), body).await.0, 204);
    token(deployment, &someone).await
}

async fn token(deployment: &Deployment, someone: &Someone) -> String {
    let path = format!("/persons/{}/tokens", someone.id);
    deployment.operator("POST", &path, json!({})).await.1["secret"].as_str().unwrap().to_owned()
}

async fn open(database: Option<String>) -> Deployment {
    Deployment::open_with(|settings| {
        settings.database = database;
        settings.fetch_urls = Some(true);
        let folder = settings.data().parent().unwrap().join("exports");
        std::fs::create_dir(&folder).unwrap();
        settings.export_folder = Some(folder);
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn graph_exports_a_user_to_a_blob_or_a_folder() {
    let _lock = crate::canary::exclusively().await;
    fault::switch_off(&["public-only"]);
    for database in engines() {
        let far = FarEnd::default();
        // The first block is refused once and the upload begins again.
        *far.refusals.lock().unwrap() = 1;
        let address = far.listen().await;
        let deployment = open(database).await;
        let person = deployment.person("person@example.org", "Person").await;
        let other = deployment.person("other@example.org", "Other").await;
        let project = deployment.project(&person, "p").await;
        deployment.image(&person, &project, "a.jpg", &image(1), &[]).await;
        let officer = staff(&deployment, "officer@example.org", "privacyOfficer").await;
        let path = format!("/v1.0/users/{}/exportPersonalData", person.id);
        let wait = async |address: &str| loop {
            let answer = call(&deployment, &officer, "GET", address, "").await;
            assert_eq!(answer.status, 200, "{}", answer.json);
            if ["complete", "failed"].contains(&answer.json["status"].as_str().unwrap()) {
                return answer.json;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };

        let body = json!({ "storageLocation": format!("{address}/container/archive.zip?sig=secret") });
        let ordered = call(&deployment, &officer, "POST", &path, &body.to_string()).await;
        assert_eq!(ordered.status, 202, "{}", ordered.json);
        let location = ordered.headers["location"].to_str().unwrap().to_owned();
        assert!(location.starts_with("http://localhost/v1.0/dataPolicyOperations/"), "{location}");
        assert!(ordered.headers.contains_key("retry-after"));
        let operation = location.strip_prefix("http://localhost").unwrap();
        let done = wait(operation).await;
        insta::allow_duplicates! {
            insta::assert_json_snapshot!(done, {
                ".id" => "[id]", ".userId" => "[id]", ".storageLocation" => "[address]",
                ".submittedDateTime" => "[time]", ".completedDateTime" => "[time]",
            });
        }
        assert_eq!(done["userId"], person.id);
        assert_eq!(
            done["storageLocation"],
            format!("{address}/container/archive.zip"),
            "the permission is kept"
        );
        let received = far.received.lock().unwrap().clone();
        let (list, blocks) = received.split_last().unwrap();
        assert_eq!(list.path, "PUT /container/archive.zip?sig=secret&comp=blocklist");
        let archive: Vec<u8> = blocks.iter().flat_map(|block| block.body.to_vec()).collect();
        let files = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
        assert!(files.file_names().any(|name| name.ends_with("/account.json")));
        for block in blocks {
            let id = block.path.split("blockid=").nth(1).unwrap().replace("%3D", "=");
            assert!(std::str::from_utf8(&list.body).unwrap().contains(&format!("<Latest>{id}</Latest>")));
        }

        // A folder that the operator allows, and none beside it.
        let folder = deployment.path("exports");
        let body = json!({ "storageLocation": format!("file://{}", folder.display()) }).to_string();
        let ordered = call(&deployment, &officer, "POST", &path, &body).await;
        let location = ordered.headers["location"].to_str().unwrap().to_owned();
        let operation = location.strip_prefix("http://localhost").unwrap();
        assert_eq!(wait(operation).await["status"], "complete");
        let written = folder.join(format!("{}.zip", operation.rsplit('/').next().unwrap()));
        assert!(zip::ZipArchive::new(std::fs::File::open(&written).unwrap()).is_ok());
        let upwards = format!("file://{}/../x", folder.display());
        for location in ["file:///etc", upwards.as_str(), "ftp://example.org/", ""] {
            let body = json!({ "storageLocation": location }).to_string();
            let refused = call(&deployment, &officer, "POST", &path, &body).await;
            assert_eq!(
                (refused.status, &refused.json["error"]["code"]),
                (400, &json!("Request_BadRequest")),
                "{location}"
            );
        }

        // Who may not, and what is not there.
        let stranger = token(&deployment, &other).await;
        for (token, method, path, status, code) in [
            ("", "POST", path.as_str(), 401, "InvalidAuthenticationToken"),
            (&stranger, "POST", &path, 404, "Request_ResourceNotFound"),
            (&stranger, "GET", operation, 404, "Request_ResourceNotFound"),
            (&officer, "GET", "/v1.0/dataPolicyOperations/x", 404, "Request_ResourceNotFound"),
            (&stranger, "GET", "/v1.0/users/person@example.org", 404, "Request_ResourceNotFound"),
            (&stranger, "GET", "/v1.0/users/nobody@example.org", 404, "Request_ResourceNotFound"),
            (&officer, "POST", &path, 400, "Request_BadRequest"),
            (&officer, "GET", "/v1.0/groups", 404, "Request_ResourceNotFound"),
        ] {
            let answer = call(&deployment, token, method, path, "[]").await;
            assert_eq!(
                (answer.status, &answer.json["error"]["code"]),
                (status, &json!(code)),
                "{method} {path}"
            );
        }
        let me = call(&deployment, &stranger, "GET", "/v1.0/me", "").await;
        assert_eq!(me.json["id"], other.id);
        let user = call(&deployment, &officer, "GET", "/v1.0/users/person@example.org", "").await;
        assert_eq!((&user.json["id"], &user.json["mail"]), (&json!(person.id), &json!("person@example.org")));
        assert_eq!(deployment.erase(&person).await["status"], "completed");
        assert_eq!(call(&deployment, &officer, "GET", operation, "").await.status, 404);
    }
    fault::switch_off(&[]);
}

/// The names of the specification, version 2.0; and those of 1.x.
const NAMES: [(&str, &str, &str); 2] =
    [("/opendsr/v2", "requests", "x-opendsr"), ("/opendsr/v1", "opengdpr_requests", "x-opengdpr")];

/// A client written from the specification: it believes no answer whose signature is not by the published certificate.
struct Controller<'a> {
    deployment: &'a Deployment,
    token: String,
    headers: &'static str,
    key: Vec<u8>,
}

impl<'a> Controller<'a> {
    async fn new(
        deployment: &'a Deployment,
        token: &str,
        base: &str,
        headers: &'static str,
    ) -> Controller<'a> {
        let discovery = call(deployment, "", "GET", &format!("{base}/discovery"), "").await;
        assert_eq!(discovery.status, 200);
        let address = discovery.json["processor_certificate"].as_str().unwrap();
        let pem =
            call(deployment, "", "GET", address.strip_prefix("http://localhost").unwrap(), "").await.bytes;
        let certificate = rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap();
        let controller =
            Controller { deployment, token: token.to_owned(), headers, key: public_key(&certificate) };
        controller.verify(&discovery.headers, &discovery.bytes);
        controller
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8]) {
        let domain = headers[&format!("{}-processor-domain", self.headers)].to_str().unwrap();
        assert_eq!(domain, "localhost");
        let signature = STANDARD.decode(headers[&format!("{}-signature", self.headers)].as_bytes()).unwrap();
        let key =
            ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, &self.key);
        key.verify(body, &signature).unwrap();
        assert!(key.verify(&[body, b" "].concat(), &signature).is_err());
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let answer = call(self.deployment, &self.token, method, path, &body.to_string()).await;
        if answer.status < 400 {
            self.verify(&answer.headers, &answer.bytes);
        }
        answer
    }
}

/// The uncompressed P-256 point of a certificate: its subject public key ends the only bit string of 66 bytes.
fn public_key(certificate: &[u8]) -> Vec<u8> {
    let at = certificate.windows(4).position(|bytes| bytes == [0x03, 0x42, 0x00, 0x04]).unwrap();
    certificate[at + 3..at + 68].to_vec()
}

fn asked(id: &str, kind: &str, email: &str, callbacks: &[String]) -> Value {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_passes_requests_on_and_recipients_are_told() {
    let _lock = crate::canary::exclusively().await;
    fault::switch_off(&["public-only"]);
    for database in engines() {
        for (base, requests, headers) in NAMES {
            let far = FarEnd::default();
            let address = far.listen().await;
            let deployment = open(database.clone()).await;
            let person = deployment.person("person@example.org", "Person").await;
            let officer = staff(&deployment, "officer@example.org", "privacyOfficer").await;
            let colleague = staff(&deployment, "colleague@example.org", "privacyOfficer").await;
            let administrator = staff(&deployment, "administrator@example.org", "administrator").await;
            let recipient = json!({ "name": "Annotators", "url": format!("{address}/hook") }).to_string();
            let recipients = "/api/privacy/v1/recipients";
            let made = call(&deployment, &administrator, "POST", recipients, &recipient).await;
            assert_eq!(made.status, 201, "{}", made.json);
            assert_eq!(call(&deployment, &administrator, "POST", recipients, &recipient).await.status, 409);
            let controller = Controller::new(&deployment, &officer, base, headers).await;

            let path = format!("{base}/{requests}");
            let id = "a7551968-d5d6-44b2-9831-815ac9017798";
            let access = asked(id, "access", "person@example.org", &[]);
            let taken = controller.call("POST", &path, &access).await;
            assert_eq!(
                (taken.status, &taken.json["subject_request_id"]),
                (201, &json!(id)),
                "{}",
                taken.json
            );
            assert_eq!(
                STANDARD.decode(taken.json["encoded_request"].as_str().unwrap()).unwrap(),
                access.to_string().as_bytes()
            );
            let status = loop {
                let status = controller.call("GET", &format!("{path}/{id}"), &json!(null)).await.json;
                if status["request_status"] == "completed" {
                    break status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            let results = status["results_url"].as_str().unwrap().strip_prefix("http://localhost").unwrap();
            assert_eq!(call(&deployment, &officer, "GET", results, "").await.status, 200);
            assert_eq!(controller.call("POST", &path, &access).await.status, 409, "the same id again");

            // An erasure waits for a colleague, is called off, asked for again, and done.
            let called_off = "b7551968-d5d6-44b2-9831-815ac9017798";
            let callback = [format!("{address}/callback")];
            let body = asked(called_off, "erasure", "PERSON@example.org", &callback);
            assert_eq!(controller.call("POST", &path, &body).await.status, 201);
            let status = controller.call("GET", &format!("{path}/{called_off}"), &json!(null)).await.json;
            assert_eq!(status["request_status"], "pending");
            assert_eq!(
                controller.call("DELETE", &format!("{path}/{called_off}"), &json!(null)).await.status,
                202
            );
            let status = controller.call("GET", &format!("{path}/{called_off}"), &json!(null)).await.json;
            assert_eq!(status["request_status"], "cancelled");
            let erasure = "c7551968-d5d6-44b2-9831-815ac9017798";
            let body = asked(erasure, "erasure", "person@example.org", &callback);
            assert_eq!(controller.call("POST", &path, &body).await.status, 201);
            let native = format!("/api/privacy/v1/requests/{erasure}");
            let digest = call(&deployment, &colleague, "GET", &native, "").await.json["digest"].clone();
            let approve = json!({ "digest": digest }).to_string();
            let approved =
                call(&deployment, &colleague, "POST", &format!("{native}/approve"), &approve).await;
            assert!(approved.status < 300, "{}", approved.json);

            let told = far
                .until(|all| {
                    all.iter().any(|one| one.path == "POST /hook")
                        && all.iter().any(|one| {
                            let body: Value = serde_json::from_slice(&one.body).unwrap();
                            body["subject_request_id"] == erasure && body["request_status"] == "completed"
                        })
                })
                .await;
            let mut states: HashMap<String, Vec<String>> = HashMap::new();
            for one in told.iter().filter(|one| one.path == "POST /callback") {
                // Callbacks have the names of the present version.
                let present = Controller {
                    token: String::new(),
                    headers: "x-opendsr",
                    key: controller.key.clone(),
                    deployment: &deployment,
                };
                present.verify(&one.headers, &one.body);
                let body: Value = serde_json::from_slice(&one.body).unwrap();
                assert_eq!(body["status_callback_url"], callback[0]);
                let text = |name: &str| body[name].as_str().unwrap().to_owned();
                states.entry(text("subject_request_id")).or_default().push(text("request_status"));
            }
            assert!(states[called_off].contains(&"cancelled".to_owned()), "{states:?}");
            assert_eq!(states[erasure].last().unwrap(), "completed", "{states:?}");

            // The recipient is told of the erasure and nothing more, and the request says that it was.
            let hooks: Vec<_> = told.iter().filter(|one| one.path == "POST /hook").collect();
            assert_eq!(hooks.len(), 1);
            let text = |name: &str| hooks[0].headers[name].to_str().unwrap().to_owned();
            let signed = [
                text("webhook-id").as_bytes(),
                b".",
                text("webhook-timestamp").as_bytes(),
                b".",
                &hooks[0].body,
            ]
            .concat();
            let secret = made.json["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap();
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &STANDARD.decode(secret).unwrap());
            let signature = STANDARD.decode(text("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
            ring::hmac::verify(&key, &signed, &signature).unwrap();
            let body: Value = serde_json::from_slice(&hooks[0].body).unwrap();
            assert_eq!(
                (&body["type"], &body["data"]["subject"]),
                (&json!("privacy.erasure.completed"), &json!(person.id))
            );
            assert!(!body.to_string().contains("person@example.org"), "{body}");
            insta::allow_duplicates! {
                insta::assert_json_snapshot!(body, {
                    ".timestamp" => "[time]", ".data.request" => "[id]", ".data.subject" => "[id]", ".data.receipt" => "[id]",
                });
            }
            loop {
                let report = call(&deployment, &officer, "GET", &native, "").await.json;
                let history = report["history"].as_array().unwrap();
                if history
                    .iter()
                    .any(|entry| entry["event"] == "recipientNotified" && entry["by"] == made.json["id"])
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let one = format!("{recipients}/{}", made.json["id"].as_str().unwrap());
            assert_eq!(call(&deployment, &officer, "DELETE", &one, "").await.status, 404);
            assert_eq!(call(&deployment, &administrator, "DELETE", &one, "").await.status, 204);
            if database.is_some() {
                break;
            }
        }
    }
    fault::switch_off(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_wrong_is_refused_with_what_is_wrong() {
    let _lock = crate::canary::exclusively().await;
    let deployment = open(None).await;
    let person = deployment.person("person@example.org", "Person").await;
    let officer = staff(&deployment, "officer@example.org", "privacyOfficer").await;
    let path = "/opendsr/v2/requests";
    let good = asked("a7551968-d5d6-44b2-9831-815ac9017798", "access", "person@example.org", &[]);
    for (member, value) in [
        ("regulation", json!("lgpd")),
        ("subject_request_id", json!("A7551968-D5D6-44B2-9831-815AC9017798")),
        ("subject_request_type", json!("rectification")),
        ("submitted_time", json!("yesterday")),
        ("subject_identities", json!([])),
        ("status_callback_urls", json!(["http://127.0.0.1/x"])),
    ] {
        let mut body = good.clone();
        body[member] = value;
        let answer = call(&deployment, &officer, "POST", path, &body.to_string()).await;
        let errors = answer.json["error"]["errors"].as_array().unwrap();
        assert_eq!((answer.status, errors.len()), (400, 1), "{}", answer.json);
        assert!(errors[0]["message"].as_str().unwrap().starts_with(member), "{}", answer.json);
        assert!(!answer.json.to_string().contains("person@example.org"), "{}", answer.json);
    }
    assert_eq!(call(&deployment, &officer, "POST", path, "{").await.status, 400);
    let mut body = good.clone();
    body["subject_identities"][1]["identity_value"] = json!("nobody@example.org");
    assert_eq!(call(&deployment, &officer, "POST", path, &body.to_string()).await.status, 404);
    assert_eq!(call(&deployment, "", "POST", path, &good.to_string()).await.status, 401);
    let stranger = token(&deployment, &person).await;
    assert_eq!(call(&deployment, &stranger, "POST", path, &good.to_string()).await.status, 404);
    let discovery = call(&deployment, "", "GET", "/opendsr/v2/discovery", "").await;
    insta::assert_json_snapshot!(discovery.json);
}
