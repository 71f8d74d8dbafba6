//! An issuer of identities (OpenID Connect) in this process, which signs by each of the algorithms that the server takes.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

/// Signs a message.
type Sign = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// A key of an issuer.
pub(crate) struct Signer {
    /// Its name in tokens (RFC 7518).
    pub(crate) algorithm: &'static str,
    /// The public key (RFC 7517).
    key: Value,
    sign: Box<Sign>,
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(crate) fn ed25519() -> Signer {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref()) });
        let sign = Box::new(move |message: &[u8]| pair.sign(message).as_ref().to_vec());
        Signer { algorithm: "EdDSA", key, sign }
    }

    pub(crate) fn p256() -> Signer {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        let key =
            json!({ "kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..]) });
        let sign = Box::new(move |message: &[u8]| pair.sign(&random, message).unwrap().as_ref().to_vec());
        Signer { algorithm: "ES256", key, sign }
    }

    /// Of the one key that lies beside this file: making another takes another library.
    pub(crate) fn rsa() -> Signer {
        let pair = RsaKeyPair::from_pkcs8(include_bytes!("rsa_for_tests.pk8")).unwrap();
        let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
        let key = json!({ "kty": "RSA", "n": encoded(&public.n), "e": encoded(&public.e) });
        let sign = Box::new(move |message: &[u8]| {
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        });
        Signer { algorithm: "RS256", key, sign }
    }
}

/// The issuer.
#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) address: String,
    signer: Arc<Signer>,
    /// What the next ID token says beside issuer and times.
    pub(crate) claims: Arc<Mutex<Value>>,
}

impl Issuer {
    pub(crate) async fn start(signer: Signer) -> Issuer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Issuer {
            address: format!("http://{}", listener.local_addr().unwrap()),
            signer: Arc::new(signer),
            claims: Arc::default(),
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| encoded(value.to_string().as_bytes());
        let header = json!({ "alg": self.signer.algorithm, "kid": "1" });
        let message = format!("{}.{}", part(&header), part(claims));
        format!("{message}.{}", encoded(&(self.signer.sign)(message.as_bytes())))
    }

    /// Claims that are good now, with others in their place.
    pub(crate) fn with(&self, changes: Value) -> Value {
        let now = habeas_core::Ambient::system().now().seconds();
        let mut claims = json!({
            "iss": self.address, "aud": "habeas", "sub": "1", "exp": now + 300, "iat": now,
            "email": "Person@example.org", "email_verified": true,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }
}

async fn describe(State(issuer): State<Issuer>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", issuer.address);
    Json(json!({
        "issuer": issuer.address, "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"), "jwks_uri": at("/keys"),
    }))
}

async fn keys(State(issuer): State<Issuer>) -> Json<Value> {
    let mut key = issuer.signer.key.clone();
    key["kid"] = json!("1");
    key["alg"] = json!(issuer.signer.algorithm);
    Json(json!({ "keys": [{ "kty": "unheard-of", "kid": "0" }, key] }))
}

async fn token(State(issuer): State<Issuer>, body: String) -> Result<Json<Value>, StatusCode> {
    if !body.contains("code=good") || !body.contains("code_verifier=") {
        return Err(StatusCode::BAD_REQUEST);
    }
    let claims = issuer.claims.lock().unwrap().clone();
    Ok(Json(json!({ "id_token": issuer.sign(&claims), "access_token": "x", "token_type": "Bearer" })))
}
