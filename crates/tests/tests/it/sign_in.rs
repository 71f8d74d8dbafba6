//! Programs are let in by the OAuth 2.0 server, persons sign in with an external issuer, and neither gets more than they should.

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::canary::sign_in;
use crate::deployment::{Deployment, Someone, TRAINING, engines};
use crate::issuer::{Issuer, Signer};

/// What a browser or program gets: status, `Location`, `Set-Cookie`, body.
struct Answer {
    status: u16,
    location: String,
    cookie: String,
    body: String,
}

async fn send(deployment: &Deployment, request: Request<Body>) -> Answer {
    let response = deployment.server().router().oneshot(request).await.unwrap();
    let header = |name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let (location, cookie) = (header("location"), header("set-cookie"));
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Answer { status, location, cookie, body: String::from_utf8(bytes.to_vec()).unwrap() }
}

fn encode(value: &str) -> String {
    value.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn form_of(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// Posts a form as a program; status and answer.
async fn program(deployment: &Deployment, path: &str, pairs: &[(&str, &str)]) -> (u16, Value) {
    let request = Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form_of(pairs)))
        .unwrap();
    let answer = send(deployment, request).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
}

/// Opens a page as a signed-in browser.
async fn open(deployment: &Deployment, cookie: &str, path: &str) -> Answer {
    let request =
        Request::get(path).header("host", "localhost").header("cookie", cookie).body(Body::empty()).unwrap();
    send(deployment, request).await
}

/// Sends a form of one of our pages as a signed-in browser.
async fn submit(deployment: &Deployment, cookie: &str, path: &str, pairs: &[(&str, &str)]) -> Answer {
    let request = Request::post(path)
        .header("host", "localhost")
        .header("origin", "http://localhost")
        .header("cookie", cookie)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form_of(pairs)))
        .unwrap();
    send(deployment, request).await
}

/// The status with which a bearer token may see its own person.
async fn me(deployment: &Deployment, token: &str) -> (u16, Value) {
    let request = Request::get("/api/privacy/v1/persons/me")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    let answer = send(deployment, request).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
}

/// The keys that Custom Vision tells a bearer token of.
async fn account_keys(deployment: &Deployment, token: &str) -> Value {
    let request = Request::get(format!("{TRAINING}/account"))
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    let answer = send(deployment, request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str::<Value>(&answer.body).unwrap()["keys"].take()
}

async fn browser(deployment: &Deployment, someone: &Someone) -> String {
    let path = format!("/persons/{}/password", someone.id);
    let body = json!({ "password": "0123456789ab" });
    assert_eq!(deployment.operator("PUT", &path, body).await.0, 204);
    sign_in(deployment, &someone.email, "0123456789ab").await
}

/// Registers an application; client id and secret.
async fn application(deployment: &Deployment, owner: &Someone, confidential: bool) -> (String, String) {
    let body = json!({
        "name": "Station", "redirectUris": ["http://127.0.0.1/cb"], "confidential": confidential,
    });
    let path = format!("/persons/{}/applications", owner.id);
    let (status, made) = deployment.operator("POST", &path, body).await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    (text("clientId"), text("clientSecret"))
}

/// The token with which an application of the owner's acts in their name.
pub(crate) async fn acting_for(deployment: &Deployment, owner: &Someone) -> String {
    let (id, secret) = application(deployment, owner, true).await;
    let asked = [("grant_type", "client_credentials"), ("client_id", &id), ("client_secret", &secret)];
    let (status, tokens) = program(deployment, "/oauth2/token", &asked).await;
    assert_eq!(status, 200, "{tokens}");
    tokens["access_token"].as_str().unwrap().to_owned()
}

/// The token of the command line after `habeas login`, whose code is typed in a signed-in browser.
pub(crate) async fn command_line(deployment: &Deployment, cookie: &str) -> String {
    let client = [("client_id", "habeas-cli")];
    let (_, begun) = program(deployment, "/oauth2/device_authorization", &client).await;
    let allow = [("user_code", begun["user_code"].as_str().unwrap()), ("decision", "allow")];
    assert_eq!(submit(deployment, cookie, "/device", &allow).await.status, 200);
    let pairs = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", "habeas-cli"),
        ("device_code", begun["device_code"].as_str().unwrap()),
    ];
    let (status, tokens) = program(deployment, "/oauth2/token", &pairs).await;
    assert_eq!(status, 200, "{tokens}");
    tokens["access_token"].as_str().unwrap().to_owned()
}

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The challenge that belongs to it: RFC 7636, appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn query_value(address: &str, name: &str) -> String {
    let query = address.split_once('?').unwrap().1;
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    value.unwrap_or_default().to_owned()
}

/// Lets an application in that has the address `https://HOST.example.org/`; the code stays unused.
pub(crate) async fn code(deployment: &Deployment, cookie: &str, client: &str, host: &str) {
    let pairs = [
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", &format!("https://{host}.example.org/")),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("decision", "allow"),
    ];
    let answer = submit(deployment, cookie, "/oauth2/authorize", &pairs).await;
    assert!(!query_value(&answer.location, "code").is_empty(), "{}", answer.location);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_acts_in_its_owners_name_by_its_secret() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let (id, secret) = application(&deployment, &owner, true).await;
        let asked = [("grant_type", "client_credentials"), ("client_id", &id), ("client_secret", &secret)];
        let (status, tokens) = program(&deployment, "/oauth2/token", &asked).await;
        assert_eq!((status, &tokens["refresh_token"]), (200, &Value::Null), "{tokens}");
        let token = tokens["access_token"].as_str().unwrap();
        assert_eq!(me(&deployment, token).await.1["objectId"], owner.id);

        // The same by the basic scheme; and who has no secret, or a wrong one, is not let in.
        let basic = Request::post("/oauth2/token")
            .header("authorization", format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from("grant_type=client_credentials"))
            .unwrap();
        assert_eq!(send(&deployment, basic).await.status, 200);
        let wrong = [("grant_type", "client_credentials"), ("client_id", &id), ("client_secret", "x")];
        let (status, answer) = program(&deployment, "/oauth2/token", &wrong).await;
        assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")));
        let (public, _) = application(&deployment, &owner, false).await;
        let open = [("grant_type", "client_credentials"), ("client_id", &public)];
        assert_eq!(
            program(&deployment, "/oauth2/token", &open).await.1["error"],
            json!("unauthorized_client")
        );
        let none = program(&deployment, "/oauth2/token", &[("client_id", &id)]).await;
        assert_eq!((none.0, &none.1["error"]), (400, &json!("invalid_request")));

        // It has no grant that could be revoked, and the application is told so.
        let revoke = [("token", token), ("client_id", &id), ("client_secret", &secret)];
        let (status, answer) = program(&deployment, "/oauth2/revoke", &revoke).await;
        assert_eq!((status, &answer["error"]), (400, &json!("unsupported_token_type")), "{answer}");
        assert_eq!(me(&deployment, token).await.0, 200);
        let (other, key) = application(&deployment, &owner, true).await;
        let revoke = [("token", token), ("client_id", &other), ("client_secret", &key)];
        assert_eq!(program(&deployment, "/oauth2/revoke", &revoke).await.0, 200, "another one's token");
        let path = format!("/persons/{}/applications/{other}", owner.id);
        assert_eq!(deployment.operator("DELETE", &path, json!(null)).await.0, 204);

        // Removed, its tokens are dead at once.
        let path = format!("/persons/{}/applications/{id}", owner.id);
        assert_eq!(deployment.operator("DELETE", &path, json!(null)).await.0, 204);
        assert_eq!(me(&deployment, token).await.0, 401);
        let list =
            deployment.operator("GET", &format!("/persons/{}/applications", owner.id), json!(null)).await;
        assert_eq!(list.1.as_array().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_lets_an_application_in_and_a_stolen_token_ends_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let person = deployment.person("person@example.org", "Person").await;
        let (client, _) = application(&deployment, &owner, false).await;
        let redirect = "http://127.0.0.1:4567/cb";
        let asked = [
            ("response_type", "code"),
            ("client_id", client.as_str()),
            ("redirect_uri", redirect),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("state", "s 1"),
        ];
        let page = format!("/oauth2/authorize?{}", form_of(&asked));

        // Whoever is not signed in comes back to it afterwards.
        let anonymous = open(&deployment, "", &page).await;
        assert_eq!(anonymous.status, 303);
        assert!(
            anonymous.location.starts_with("/sign-in?next=%2Foauth2%2Fauthorize"),
            "{}",
            anonymous.location
        );
        let cookie = browser(&deployment, &person).await;
        let consent = open(&deployment, &cookie, &page).await;
        assert_eq!(consent.status, 200);
        assert!(consent.body.contains("Let Station in?"), "{}", consent.body);

        // An address that is not registered gets nothing; a request without PKCE gets an error.
        let elsewhere = page.replace(&encode(redirect), &encode("https://evil.example/cb"));
        let refused = open(&deployment, &cookie, &elsewhere).await;
        assert_eq!((refused.status, refused.location.as_str()), (400, ""));
        for challenge in ["", "short", "no base64url at all, and 43 characters so.."] {
            let spoilt = page.replace(&encode(CHALLENGE), &encode(challenge));
            let refused = open(&deployment, &cookie, &spoilt).await;
            assert!(refused.location.contains("error=invalid_request"), "{challenge}: {}", refused.location);
        }
        let plain = page.replace(&encode("S256"), "plain");
        let refused = open(&deployment, &cookie, &plain).await;
        assert!(refused.location.starts_with("http://127.0.0.1:4567/cb?error=invalid_request&state=s%201"));

        let decide = async |decision: &str| {
            let mut pairs = asked.to_vec();
            pairs.push(("decision", decision));
            submit(&deployment, &cookie, "/oauth2/authorize", &pairs).await.location
        };
        assert_eq!(query_value(&decide("deny").await, "error"), "access_denied");
        let location = decide("allow").await;
        assert_eq!(query_value(&location, "state"), "s%201");
        let code = query_value(&location, "code");
        let exchange = async |code: &str, verifier: &str| {
            let pairs = [
                ("grant_type", "authorization_code"),
                ("client_id", client.as_str()),
                ("code", code),
                ("redirect_uri", redirect),
                ("code_verifier", verifier),
            ];
            program(&deployment, "/oauth2/token", &pairs).await
        };
        let refresh = async |token: &str| {
            let pairs =
                [("grant_type", "refresh_token"), ("client_id", client.as_str()), ("refresh_token", token)];
            program(&deployment, "/oauth2/token", &pairs).await
        };
        let text = |tokens: &Value, name: &str| tokens[name].as_str().unwrap().to_owned();
        assert_eq!(exchange(&code, "another").await.1["error"], "invalid_grant");
        let (status, first) = exchange(&code, VERIFIER).await;
        assert_eq!(status, 200, "{first}");
        assert_eq!(me(&deployment, &text(&first, "access_token")).await.1["objectId"], person.id);

        // Refresh tokens are valid once. The second use of one ends everything.
        let (_, second) = refresh(&text(&first, "refresh_token")).await;
        assert_eq!(me(&deployment, &text(&second, "access_token")).await.0, 200);
        assert_eq!(refresh(&text(&first, "refresh_token")).await.1["error"], "invalid_grant");
        assert_eq!(refresh(&text(&second, "refresh_token")).await.1["error"], "invalid_grant");
        assert_eq!(me(&deployment, &text(&second, "access_token")).await.0, 401);

        // So does the second use of a code.
        let code = query_value(&decide("allow").await, "code");
        let (_, tokens) = exchange(&code, VERIFIER).await;
        assert_eq!(exchange(&code, VERIFIER).await.1["error"], "invalid_grant");
        assert_eq!(me(&deployment, &text(&tokens, "access_token")).await.0, 401);

        // And a revocation, which takes anything and tells nothing.
        let code = query_value(&decide("allow").await, "code");
        let (_, tokens) = exchange(&code, VERIFIER).await;
        for token in [text(&tokens, "refresh_token"), text(&tokens, "refresh_token"), "nonsense".to_owned()] {
            let pairs = [("client_id", client.as_str()), ("token", &token)];
            assert_eq!(program(&deployment, "/oauth2/revoke", &pairs).await.0, 200);
        }
        assert_eq!(me(&deployment, &text(&tokens, "access_token")).await.0, 401);

        // Nothing of a person who is erased is let in any more.
        let code = query_value(&decide("allow").await, "code");
        let (_, tokens) = exchange(&code, VERIFIER).await;
        assert_eq!(deployment.erase(&person).await["status"], "completed");
        assert_eq!(me(&deployment, &text(&tokens, "access_token")).await.0, 401);
        assert_eq!(refresh(&text(&tokens, "refresh_token")).await.1["error"], "invalid_grant");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_a_browser_is_let_in_by_a_code() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let person = deployment.person("person@example.org", "Person").await;
        let cookie = browser(&deployment, &person).await;
        let begin = async || {
            program(&deployment, "/oauth2/device_authorization", &[("client_id", "habeas-cli")]).await.1
        };
        let poll = async |begun: &Value| {
            let pairs = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("client_id", "habeas-cli"),
                ("device_code", begun["device_code"].as_str().unwrap()),
            ];
            program(&deployment, "/oauth2/token", &pairs).await.1
        };
        let begun = begin().await;
        assert_eq!(begun["verification_uri"], "http://localhost/device");
        let user_code = begun["user_code"].as_str().unwrap();
        assert_eq!(poll(&begun).await["error"], "authorization_pending");
        assert_eq!(poll(&begun).await["error"], "slow_down");

        let page = open(&deployment, "", "/device?user_code=X").await;
        assert_eq!(page.location, "/sign-in?next=%2Fdevice%3Fuser_code%3DX");
        let wrong = submit(&deployment, &cookie, "/device", &[("user_code", "XXXX-XXXX")]).await;
        assert!(wrong.status == 400 && wrong.body.contains("no program shows this code"), "{}", wrong.body);
        let typed = user_code.to_lowercase().replace('-', " ");
        let shown = submit(&deployment, &cookie, "/device", &[("user_code", &typed)]).await;
        assert!(shown.body.contains("Let The habeas command line in?"), "{}", shown.body);
        let allow = [("user_code", user_code), ("decision", "allow")];
        assert_eq!(submit(&deployment, &cookie, "/device", &allow).await.status, 200);
        assert_eq!(submit(&deployment, &cookie, "/device", &allow).await.status, 400, "decided twice");
        let tokens = poll(&begun).await;
        assert_eq!(me(&deployment, tokens["access_token"].as_str().unwrap()).await.1["objectId"], person.id);
        assert_eq!(poll(&begun).await["error"], "expired_token");

        let begun = begin().await;
        let deny = [("user_code", begun["user_code"].as_str().unwrap()), ("decision", "deny")];
        assert_eq!(submit(&deployment, &cookie, "/device", &deny).await.status, 200);
        assert_eq!(poll(&begun).await["error"], "access_denied");

        // Guesses are slowed down.
        let guess = [("user_code", "ZZZZ-ZZZZ")];
        let mut statuses = Vec::new();
        for _ in 0..8 {
            statuses.push(submit(&deployment, &cookie, "/device", &guess).await.status);
        }
        assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    }
}

/// Nobody knows what an application does with the moment at which it was let in.
#[tokio::test(flavor = "multi_thread")]
async fn no_application_is_somebody_who_has_signed_in_and_the_command_line_is_whoever_typed_its_code() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let person = deployment.person("person@example.org", "Person").await;
        let cookie = browser(&deployment, &person).await;
        let own = acting_for(&deployment, &person).await;
        let redirect = "http://127.0.0.1:4567/cb";
        let (client, _) = application(&deployment, &person, false).await;
        let pairs = [
            ("response_type", "code"),
            ("client_id", client.as_str()),
            ("redirect_uri", redirect),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("decision", "allow"),
        ];
        let answer = submit(&deployment, &cookie, "/oauth2/authorize", &pairs).await;
        let code = query_value(&answer.location, "code");
        let pairs = [
            ("grant_type", "authorization_code"),
            ("client_id", client.as_str()),
            ("code", code.as_str()),
            ("redirect_uri", redirect),
            ("code_verifier", VERIFIER),
        ];
        let (_, let_in) = program(&deployment, "/oauth2/token", &pairs).await;

        let path = "/persons/me/requests";
        let body = json!({ "type": "erasure", "confirm": "person@example.org" });
        let token = deployment.token(&person).await;
        let (status, keys) = deployment.call(Some(&token), "GET", "/persons/me/keys", json!(null)).await;
        assert_eq!(status, 200, "{keys}");
        let rotate =
            format!("/persons/me/keys/{}/training/primary/rotate", keys[0]["account"].as_str().unwrap());
        for token in [own.as_str(), let_in["access_token"].as_str().unwrap()] {
            // What would outlast it, or cannot be undone.
            for (method, path, body) in [
                ("POST", "/persons/me/tokens", json!({})),
                ("POST", "/persons/me/applications", json!({ "name": "One more" })),
                ("PUT", "/persons/me/password", json!({ "password": "0123456789ab" })),
                ("GET", "/persons/me/keys", json!(null)),
                ("POST", rotate.as_str(), json!({})),
                ("PATCH", "/persons/me", json!({ "email": "another@example.org" })),
                ("POST", path, body.clone()),
            ] {
                let (status, refused) = deployment.call(Some(token), method, path, body).await;
                let (code, hint) = (refused["code"].as_str(), refused["detail"].as_str().unwrap_or_default());
                assert_eq!((status.as_u16(), code), (403, Some("forbidden")), "{path}: {refused}");
                assert!(hint.contains("sign in"), "{path}: {refused}");
            }
            // What is its work.
            for (method, path, body, done) in [
                ("GET", "/persons/me/holdings", json!(null), 200),
                ("GET", "/persons/me/export", json!(null), 200),
                ("PATCH", "/persons/me", json!({ "name": "Somebody" }), 200),
                ("POST", path, json!({ "type": "access" }), 201),
            ] {
                let (status, answer) = deployment.call(Some(token), method, path, body).await;
                assert_eq!(status, done, "{path}: {answer}");
            }
            let none = json!({ "primaryKey": "", "secondaryKey": "" });
            assert_eq!(
                account_keys(&deployment, token).await,
                json!({ "trainingKeys": none, "predictionKeys": none })
            );
        }
        assert_eq!(deployment.call(Some(&token), "GET", "/persons/me/keys", json!(null)).await.1, keys);

        let pair = |keys: &Value| json!({ "primaryKey": keys[0], "secondaryKey": keys[1] });
        let shown = json!({
            "trainingKeys": pair(&keys[0]["trainingKeys"]), "predictionKeys": pair(&keys[0]["predictionKeys"]),
        });
        assert_eq!(account_keys(&deployment, &token).await, shown);

        let command_line = command_line(&deployment, &cookie).await;
        assert_eq!(account_keys(&deployment, &command_line).await, shown);
        let (status, request) = deployment.call(Some(&command_line), "POST", path, body).await;
        assert_eq!(status, 201, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_describes_its_token_endpoints() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let answer = open(&deployment, "", "/.well-known/oauth-authorization-server").await;
    let document: Value = serde_json::from_str(&answer.body).unwrap();
    insta::assert_json_snapshot!(document);
    let begun = program(&deployment, "/oauth2/device_authorization", &[("client_id", "habeas-cli")]).await.1;
    insta::assert_json_snapshot!(begun, {
        ".device_code" => "[secret]", ".user_code" => "[secret]", ".verification_uri_complete" => "[secret]",
    });
}

async fn with_issuer(issuer: &Issuer, database: Option<String>) -> Deployment {
    Deployment::open_with(|settings| {
        let file = settings.data().parent().unwrap().join("oidc.toml");
        let text = format!(
            "[[issuer]]\nname = \"work\"\ntitle = \"Work account\"\nissuer = \"{}\"\nclient-id = \"habeas\"\n\
             client-secret = \"secret\"\naudience = \"api\"\nobject-id-claim = \"oid\"\n",
            issuer.address
        );
        std::fs::write(&file, text).unwrap();
        settings.oidc_file = Some(file);
        settings.database = database;
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_an_issuer_that_vouches_for_their_address() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let issuer = Issuer::start(Signer::ed25519()).await;
        let deployment = with_issuer(&issuer, database).await;
        let person = deployment.person("person@example.org", "Person").await;
        let page = open(&deployment, "", "/sign-in?next=/device").await;
        assert!(page.body.contains("href=\"/sign-in/with/work?next=%2Fdevice\""), "{}", page.body);

        let attempt = async |changes: Value, spoil: &str| {
            let begun = open(&deployment, "", "/sign-in/with/work?next=%2Fdevice").await;
            assert!(
                begun.location.starts_with(&format!("{}/authorize?", issuer.address)),
                "{}",
                begun.location
            );
            let kept = begun.cookie.split(';').next().unwrap().to_owned();
            let mut claims = issuer.with(json!({ "nonce": query_value(&begun.location, "nonce") }));
            for (name, value) in changes.as_object().unwrap() {
                claims[name] = value.clone();
            }
            *issuer.claims.lock().unwrap() = claims;
            let state = query_value(&begun.location, "state");
            let path = format!("/sign-in/answer?code=good&state={state}{spoil}");
            open(&deployment, &kept, &path).await
        };
        let answer = attempt(json!({}), "").await;
        assert_eq!((answer.status, answer.location.as_str()), (303, "/device"), "{}", answer.body);
        let cookie = answer.cookie.split(';').next().unwrap();
        assert_eq!(open(&deployment, cookie, "/me").await.status, 200);
        let by_id = attempt(json!({ "oid": person.id, "email_verified": false }), "").await;
        assert_eq!(by_id.status, 303);

        for (changes, spoil, complaint) in [
            (json!({ "email_verified": false }), "", "has not verified"),
            (json!({ "email": "stranger@example.org" }), "", "nobody here has"),
            (json!({ "email": null }), "", "nobody here has"),
            (json!({ "aud": "another" }), "", "not meant for this server"),
            (json!({ "iss": "https://another.example" }), "", "of another issuer"),
            (json!({ "exp": 1 }), "", "has expired"),
            (json!({ "nonce": "another" }), "", "not begun in this browser"),
            (json!({}), "x", "not begun in this browser"),
            (json!({}), "&error=access_denied", "did not sign you in"),
            (json!({}), "&iss=https%3A%2F%2Fanother.example", "not begun in this browser"),
        ] {
            let answer = attempt(changes.clone(), spoil).await;
            assert!(
                answer.status == 401 && answer.body.contains(complaint),
                "{changes} {spoil}: {} {}",
                answer.status,
                answer.body
            );
        }
        assert_eq!(open(&deployment, "", "/sign-in/answer?code=good&state=x").await.status, 401);
        assert_eq!(open(&deployment, "", "/sign-in/with/nobody").await.status, 404);
        // Only a path of this server is gone to afterwards.
        let page = open(&deployment, "", "/sign-in?next=https://evil.example/").await;
        assert!(!page.body.contains("evil"), "{}", page.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_is_asked_for_a_new_sign_in_and_has_to_say_when_it_was() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let issuer = Issuer::start(Signer::ed25519()).await;
        let deployment = with_issuer(&issuer, database).await;
        deployment.person("person@example.org", "Person").await;
        let now = habeas_core::Ambient::system().now().seconds();
        let page = open(&deployment, "", "/sign-in?again&next=/me/password").await;
        assert!(page.body.contains("needs a new sign-in"), "{}", page.body);
        assert!(page.body.contains("/sign-in/with/work?again"), "{}", page.body);
        assert!(!open(&deployment, "", "/sign-in?next=/device").await.body.contains("?again"));

        // Begins a sign-in, and comes back from the issuer with these claims; what was answered, and whether the issuer was to ask anew.
        let attempt = async |again: &str, changes: Value| {
            let begun =
                open(&deployment, "", &format!("/sign-in/with/work?{again}next=%2Fme%2Fpassword")).await;
            let asked = (
                query_value(&begun.location, "prompt") == "login",
                query_value(&begun.location, "max_age") == "0",
            );
            let kept = begun.cookie.split(';').next().unwrap().to_owned();
            let mut claims = issuer.with(changes);
            claims["nonce"] = json!(query_value(&begun.location, "nonce"));
            *issuer.claims.lock().unwrap() = claims;
            let state = query_value(&begun.location, "state");
            let answer = open(&deployment, &kept, &format!("/sign-in/answer?code=good&state={state}")).await;
            (answer, asked)
        };
        // What the browser that was signed in so gets of a page that needs a fresh sign-in.
        let password = async |answer: &Answer| {
            assert_eq!((answer.status, answer.location.as_str()), (303, "/me/password"), "{}", answer.body);
            let cookie = answer.cookie.split(';').next().unwrap();
            assert_eq!(open(&deployment, cookie, "/me").await.status, 200);
            let page = open(&deployment, cookie, "/me/password").await;
            (page.status, page.location)
        };
        let to_sign_in = (303, "/sign-in?again&next=/me/password".to_owned());
        let fresh = (200, String::new());
        // A browser that is signed in with the issuer since long ago is nobody who has shown now who they are.
        for (claims, expected) in [
            (json!({ "auth_time": now - 3_600 }), &to_sign_in),
            (json!({}), &to_sign_in),
            (json!({ "auth_time": now }), &fresh),
            (json!({ "auth_time": now + 86_400 }), &fresh),
        ] {
            let (answer, asked) = attempt("", claims.clone()).await;
            assert_eq!(asked, (false, false));
            assert_eq!(password(&answer).await, *expected, "{claims}");
        }
        for claims in [json!({}), json!({ "auth_time": now - 600 }), json!({ "auth_time": "now" })] {
            let (answer, asked) = attempt("again&", claims.clone()).await;
            assert_eq!(asked, (true, true));
            assert!(answer.status == 401 && answer.body.contains("auth_time"), "{claims}: {}", answer.body);
        }
        let (answer, _) = attempt("again&", json!({ "auth_time": now })).await;
        assert_eq!(password(&answer).await, fresh);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sign_in_link_that_is_used_at_once_by_several_signs_one_in() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let person = deployment.person("person@example.org", "Person").await;
        for _ in 0..5 {
            let path = format!("/persons/{}/sign-in-links", person.id);
            let (status, link) = deployment.operator("POST", &path, json!({})).await;
            assert_eq!(status, 201, "{link}");
            let path = link["secret"].as_str().unwrap();
            let uses = (0..8).map(|_| submit(&deployment, "", path, &[]));
            let answers = futures::future::join_all(uses).await;
            let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [303, 410, 410, 410, 410, 410, 410, 410]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_link_has_the_public_address_where_the_server_is_told_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let public = "https://privacy.example.org/habeas";
        let deployment = Deployment::open_with(|settings| {
            settings.database = database;
            settings.public_address = Some(format!("{public}/"));
        });
        let deployment = deployment.await.unwrap();
        let person = deployment.person("person@example.org", "Person").await;
        let path = format!("/persons/{}/sign-in-links", person.id);
        let (status, link) = deployment.operator("POST", &path, json!({})).await;
        let path = link["secret"].as_str().unwrap().strip_prefix(public).unwrap();
        assert!(status == 201 && path.starts_with("/sign-in/"), "{link}");
        assert_eq!(submit(&deployment, "", path, &[]).await.status, 303);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_issuer_are_taken_when_they_are_meant_for_this_server() {
    let _lock = crate::canary::protected().await;
    let issuer = Issuer::start(Signer::ed25519()).await;
    let deployment = with_issuer(&issuer, None).await;
    let person = deployment.person("person@example.org", "Person").await;
    let good = issuer.with(json!({ "aud": ["other", "api"] }));
    assert_eq!(me(&deployment, &issuer.sign(&good)).await.1["objectId"], person.id);
    for changes in [
        json!({}),
        json!({ "aud": "api", "iss": "https://another.example" }),
        json!({ "aud": "api", "exp": 1 }),
        json!({ "aud": "api", "nbf": 32_503_680_000_i64 }),
        json!({ "aud": "api", "email_verified": "no" }),
        json!({ "aud": "api", "email": "stranger@example.org" }),
    ] {
        let token = issuer.sign(&issuer.with(changes.clone()));
        assert_eq!(me(&deployment, &token).await.0, 401, "{changes}");
    }
    // Unsigned, signed by another, or of an algorithm that takes the public key for a secret.
    let other = Issuer::start(Signer::ed25519()).await;
    assert_eq!(me(&deployment, &other.sign(&good)).await.0, 401);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "HS256", "ES256"] {
        let forged = format!("{}.{}.AAAA", part(&json!({ "alg": algorithm, "kid": "1" })), part(&good));
        assert_eq!(me(&deployment, &forged).await.0, 401, "{algorithm}");
    }
    // Our own tokens are as good as before.
    let path = format!("/persons/{}/tokens", person.id);
    let (_, issued) = deployment.operator("POST", &path, json!({})).await;
    assert_eq!(me(&deployment, issued["secret"].as_str().unwrap()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_by_every_algorithm_are_taken_and_none_that_was_changed() {
    let _lock = crate::canary::protected().await;
    for signer in [Signer::ed25519(), Signer::p256(), Signer::rsa()] {
        let algorithm = signer.algorithm;
        let issuer = Issuer::start(signer).await;
        let deployment = with_issuer(&issuer, None).await;
        let person = deployment.person("person@example.org", "Person").await;
        let good = issuer.sign(&issuer.with(json!({ "aud": "api" })));
        assert_eq!(me(&deployment, &good).await.1["objectId"], person.id, "{algorithm}");
        let parts: Vec<&str> = good.split('.').collect();
        let mut signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        let middle = signature.len() / 2;
        signature[middle] ^= 1;
        let spoilt = format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode(&signature));
        assert_eq!(me(&deployment, &spoilt).await.0, 401, "{algorithm}: another signature");
        let claims = issuer.with(json!({ "aud": "api", "sub": "2" })).to_string();
        let spoilt = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims), parts[2]);
        assert_eq!(me(&deployment, &spoilt).await.0, 401, "{algorithm}: other claims");
        for other in ["EdDSA", "ES256", "RS256", "PS256", "RS512", "none"] {
            if other != algorithm {
                let header = json!({ "alg": other, "kid": "1" }).to_string();
                let spoilt = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), parts[1], parts[2]);
                assert_eq!(me(&deployment, &spoilt).await.0, 401, "{algorithm} as {other}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_says_who_issued_it_and_names_nobody() {
    let _lock = crate::canary::protected().await;
    for (address, issuer) in [(Some("https://habeas.example/"), "https://habeas.example"), (None, "habeas")] {
        let open = Deployment::open_with(|settings| settings.public_address = address.map(str::to_owned));
        let deployment = open.await.unwrap();
        let person = deployment.person("person@example.org", "Person").await;
        let token = deployment.token(&person).await;
        let said = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let said: Value = serde_json::from_slice(&said).unwrap();
        assert_eq!((&said["iss"], &said["aud"]), (&json!(issuer), &json!(issuer)));
        assert_eq!((&said["oid"], &said["unique_name"]), (&json!(person.id), &json!(person.id)));
        assert!(!said.to_string().to_lowercase().contains("person"), "{said}");
        assert_eq!(me(&deployment, &token).await.0, 200);
    }
}
