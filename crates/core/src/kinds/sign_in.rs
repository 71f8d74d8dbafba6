//! How programs get tokens: registered applications, what persons granted them, and the short-lived codes in between (RFC 6749, 7636, 8628).

use serde::{Deserialize, Serialize};

use crate::node::AttrKey;
use crate::{
    About, AttrValue, Attrs, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result,
    Retention, Timestamp, View,
};

const SERVICE: &str = "Your account";
const CONTRACT: &str = "performance of a contract (GDPR Article 6(1)(b))";
/// Days that a grant lives after its last use.
pub const GRANT_DAYS: u32 = 90;

/// An application that a person registered. It acts in the name of its owner by its secret, and in the name of others by their grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthClientDoc {
    /// The name that persons see when they are asked to let it in.
    pub name: String,
    /// The addresses to which codes may be sent.
    pub redirect_uris: Vec<String>,
    /// SHA-256 of the 256-bit secret, in hexadecimal; none for a program that can keep no secret.
    pub secret_hash: Option<String>,
}

/// [`Kind::OAuthClient`].
#[derive(Debug)]
pub struct OAuthClient;

impl DataKind for OAuthClient {
    const KIND: Kind = Kind::OAuthClient;
    const PARENTS: &'static [Kind] = &[Kind::Person];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Applications",
        purpose: "to recognise programs that the person registered",
        legal_basis: CONTRACT,
        retention: Retention::UntilErased,
        recipients: "whoever is asked to let the application in sees its name",
    };
    type Doc = OAuthClientDoc;

    fn example() -> OAuthClientDoc {
        OAuthClientDoc {
            name: "Labelling station".into(),
            redirect_uris: vec!["https://app.example.org/callback".into()],
            secret_hash: Some("00".repeat(32)),
        }
    }

    fn unique_name(_doc: &OAuthClientDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &OAuthClientDoc, _out: &mut Attrs) {}

    fn classify(doc: &OAuthClientDoc, map: &mut DataMap) {
        let OAuthClientDoc { name, redirect_uris, secret_hash } = doc;
        map.field(name, "name", FieldClass::Content, "shown to persons who are asked to let it in");
        map.field(redirect_uris, "redirect_uris", FieldClass::Content, "where codes may be sent");
        map.field(secret_hash, "secret_hash", FieldClass::Secret, "to recognise the application");
    }

    fn view(node: &Node<OAuthClientDoc>) -> View {
        View::new(&node.doc.name)
            .fact("Client id", node.id)
            .optional("Addresses", Some(node.doc.redirect_uris.join(" ")))
    }

    fn export(node: &Node<OAuthClientDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.row(
            "profile/applications.csv",
            &["id", "name", "redirect_uris", "registered"],
            &[
                node.id.to_string(),
                node.doc.name.clone(),
                node.doc.redirect_uris.join(" "),
                node.created_at.rfc3339(),
            ],
        )
    }

    fn erase(_node: &Node<OAuthClientDoc>, _why: Erasure) -> Fate<OAuthClientDoc> {
        Fate::Delete
    }
}

/// That a person let an application act in their name. Every token of it dies with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthGrantDoc {
    /// The application: the random id of a registered one, or the name of one that belongs to the server.
    pub client: String,
    /// How many refresh tokens were issued; only the last one is valid.
    pub generation: u32,
    /// When the person had signed in to grant it.
    pub signed_in_at: Timestamp,
}

/// [`Kind::OAuthGrant`].
#[derive(Debug)]
pub struct OAuthGrant;

impl DataKind for OAuthGrant {
    const KIND: Kind = Kind::OAuthGrant;
    const PARENTS: &'static [Kind] = &[Kind::Person];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Applications let in",
        purpose: "to let an application act in the person's name",
        legal_basis: CONTRACT,
        retention: Retention::Days(GRANT_DAYS, "its last use"),
        recipients: "the application",
    };
    type Doc = OAuthGrantDoc;

    fn example() -> OAuthGrantDoc {
        OAuthGrantDoc { client: "habeas-cli".into(), generation: 1, signed_in_at: Timestamp(0) }
    }

    fn unique_name(_doc: &OAuthGrantDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &OAuthGrantDoc, _out: &mut Attrs) {}

    fn classify(doc: &OAuthGrantDoc, map: &mut DataMap) {
        let OAuthGrantDoc { client, generation, signed_in_at } = doc;
        map.field(client, "client", FieldClass::Technical, "which application was let in");
        map.field(
            generation,
            "generation",
            FieldClass::Technical,
            "tells a used refresh token from the valid one",
        );
        map.field(signed_in_at, "signed_in_at", FieldClass::Technical, "decides what needs a fresh sign-in");
    }

    fn view(node: &Node<OAuthGrantDoc>) -> View {
        View::new(format!("Application {}", node.doc.client))
            .fact("Since", node.created_at)
            .fact("Last used", node.updated_at)
            .optional("Expires", node.expires_at)
    }

    fn export(node: &Node<OAuthGrantDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.row(
            "profile/applications-let-in.csv",
            &["id", "application", "since", "last_used", "expires"],
            &[
                node.id.to_string(),
                node.doc.client.clone(),
                node.created_at.rfc3339(),
                node.updated_at.rfc3339(),
                node.expires_at.map(Timestamp::rfc3339).unwrap_or_default(),
            ],
        )
    }

    fn erase(_node: &Node<OAuthGrantDoc>, _why: Erasure) -> Fate<OAuthGrantDoc> {
        Fate::Delete
    }
}

/// A code that an application exchanges, once, for tokens (RFC 6749 section 4.1, RFC 7636).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationCodeDoc {
    /// The application, as in [`OAuthGrantDoc::client`].
    pub client: String,
    /// SHA-256 of the 256-bit code, in hexadecimal.
    pub secret_hash: String,
    /// The address it was sent to.
    pub redirect_uri: String,
    /// The challenge whose verifier the application has (method S256).
    pub code_challenge: String,
    /// When the person had signed in.
    pub signed_in_at: Timestamp,
    /// The grant it was exchanged for, once it was.
    pub grant: Option<Id>,
}

/// [`Kind::AuthorizationCode`].
#[derive(Debug)]
pub struct AuthorizationCode;

impl DataKind for AuthorizationCode {
    const KIND: Kind = Kind::AuthorizationCode;
    const PARENTS: &'static [Kind] = &[Kind::Person];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Authorization codes",
        purpose: "to hand tokens to an application that the person let in",
        legal_basis: CONTRACT,
        retention: Retention::Days(1, "their making; they are valid for a minute"),
        recipients: "the application",
    };
    type Doc = AuthorizationCodeDoc;

    fn example() -> AuthorizationCodeDoc {
        AuthorizationCodeDoc {
            client: "habeas-cli".into(),
            secret_hash: "00".repeat(32),
            redirect_uri: "https://app.example.org/callback".into(),
            code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into(),
            signed_in_at: Timestamp(0),
            grant: Some(Id::NIL),
        }
    }

    fn unique_name(_doc: &AuthorizationCodeDoc) -> Option<&str> {
        None
    }

    fn attrs(doc: &AuthorizationCodeDoc, out: &mut Attrs) {
        out.push(AttrKey::Secret, AttrValue::Secret(doc.secret_hash.clone()));
    }

    fn classify(doc: &AuthorizationCodeDoc, map: &mut DataMap) {
        let AuthorizationCodeDoc { client, secret_hash, redirect_uri, code_challenge, signed_in_at, grant } =
            doc;
        map.field(client, "client", FieldClass::Technical, "which application was let in");
        map.field(secret_hash, "secret_hash", FieldClass::Secret, "to recognise the code");
        map.field(redirect_uri, "redirect_uri", FieldClass::Content, "the address it was sent to");
        map.field(
            code_challenge,
            "code_challenge",
            FieldClass::Technical,
            "ties the code to who asked for it",
        );
        map.field(signed_in_at, "signed_in_at", FieldClass::Technical, "decides what needs a fresh sign-in");
        map.field(grant, "grant", FieldClass::Technical, "what is revoked when the code is used twice");
    }

    fn view(node: &Node<AuthorizationCodeDoc>) -> View {
        View::new(format!("Code for application {}", node.doc.client))
            .fact("Sent to", &node.doc.redirect_uri)
            .optional("Expires", node.expires_at)
    }

    fn export(node: &Node<AuthorizationCodeDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.row(
            "profile/authorization-codes.csv",
            &["id", "application", "redirect_uri", "issued", "expires"],
            &[
                node.id.to_string(),
                node.doc.client.clone(),
                node.doc.redirect_uri.clone(),
                node.created_at.rfc3339(),
                node.expires_at.map(Timestamp::rfc3339).unwrap_or_default(),
            ],
        )
    }

    fn erase(_node: &Node<AuthorizationCodeDoc>, _why: Erasure) -> Fate<AuthorizationCodeDoc> {
        Fate::Delete
    }
}

/// What became of a device code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeviceDecision {
    /// Nobody has typed the code yet.
    Pending,
    /// A person let the application in, by this grant.
    Approved(Id),
    /// A person refused.
    Denied,
}

/// A code pair by which a program without a browser is let in (RFC 8628). Nobody's until a person types the short one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCodeDoc {
    /// The application, as in [`OAuthGrantDoc::client`].
    pub client: String,
    /// SHA-256 of the 256-bit device code, in hexadecimal.
    pub secret_hash: String,
    /// The code that a person types, without its dash.
    pub user_code: String,
    /// What became of it.
    pub decision: DeviceDecision,
    /// When the program asked last.
    pub polled_at: Timestamp,
}

/// [`Kind::DeviceCode`].
#[derive(Debug)]
pub struct DeviceCode;

impl DataKind for DeviceCode {
    const KIND: Kind = Kind::DeviceCode;
    const PARENTS: &'static [Kind] = &[Kind::Installation];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Device codes",
        purpose: "to let a program without a browser in",
        legal_basis: CONTRACT,
        retention: Retention::Days(1, "their making; they are valid for ten minutes"),
        recipients: "nobody",
    };
    type Doc = DeviceCodeDoc;

    fn example() -> DeviceCodeDoc {
        DeviceCodeDoc {
            client: "habeas-cli".into(),
            secret_hash: "00".repeat(32),
            user_code: "WDJBMJHT".into(),
            decision: DeviceDecision::Approved(Id::NIL),
            polled_at: Timestamp(0),
        }
    }

    fn unique_name(doc: &DeviceCodeDoc) -> Option<&str> {
        Some(&doc.user_code)
    }

    fn attrs(doc: &DeviceCodeDoc, out: &mut Attrs) {
        out.push(AttrKey::Secret, AttrValue::Secret(doc.secret_hash.clone()));
    }

    fn classify(doc: &DeviceCodeDoc, map: &mut DataMap) {
        let DeviceCodeDoc { client, secret_hash, user_code, decision, polled_at } = doc;
        map.field(client, "client", FieldClass::Technical, "which application asks");
        map.field(secret_hash, "secret_hash", FieldClass::Secret, "to recognise the program that asks");
        map.field(user_code, "user_code", FieldClass::Secret, "what a person types to let it in");
        map.field(
            decision,
            "decision",
            FieldClass::Technical,
            "the random id of the grant, once there is one",
        );
        map.field(polled_at, "polled_at", FieldClass::Technical, "slows down programs that ask too often");
    }

    fn view(node: &Node<DeviceCodeDoc>) -> View {
        View::new(format!("Device code for application {}", node.doc.client))
            .optional("Expires", node.expires_at)
    }

    fn export(_node: &Node<DeviceCodeDoc>, _out: &mut dyn Bundle) -> Result<()> {
        // Held by the installation: it is in nobody's archive.
        Ok(())
    }

    fn erase(_node: &Node<DeviceCodeDoc>, _why: Erasure) -> Fate<DeviceCodeDoc> {
        Fate::Delete
    }
}
