//! Persons, organisations, and how they show who they are.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::node::AttrKey;
use crate::{
    About, AttrValue, Attrs, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result,
    Retention, Timestamp, View,
};

const SERVICE: &str = "Your account";

/// How long a guest is kept with everything they hold, in hours.
pub const GUEST_HOURS: u32 = 8;

/// What sort of account a person has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountType {
    /// Came without signing up; short-lived.
    Guest,
    /// Signed up.
    Free,
    /// Has a paid or managed account.
    Standard,
    /// Has no account: somebody whom images of others name.
    Unclaimed,
}

impl AccountType {
    /// The lower-case name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            AccountType::Guest => "guest",
            AccountType::Free => "free",
            AccountType::Standard => "standard",
            AccountType::Unclaimed => "unclaimed",
        }
    }
}

/// A person's profile: the root of all that is held on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonDoc {
    /// The name they go by; of an unclaimed person exactly what images call them.
    pub name: String,
    /// Their e-mail address, as they wrote it; empty of an unclaimed person who is not called by one.
    pub email: String,
    /// Guest, free, standard or unclaimed.
    pub account_type: AccountType,
    /// Of an unclaimed person who is not called by an e-mail address: whose images call them so.
    #[serde(default)]
    pub named_by: Option<Id>,
    /// Who of the staff corrected the e-mail address last: whoever reads its mail passes for the person, so an erasure needs somebody else.
    #[serde(default)]
    pub email_corrected_by: Option<Id>,
}

/// [`Kind::Person`].
#[derive(Debug)]
pub struct Person;

impl DataKind for Person {
    const KIND: Kind = Kind::Person;
    const PARENTS: &'static [Kind] = &[];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Profile",
        purpose: "to know whose data is whose, and to address the person",
        legal_basis: "performance of a contract (GDPR Article 6(1)(b))",
        retention: Retention::GuestHours(GUEST_HOURS, "the account was made"),
        recipients: "people who share a project or an organisation with the person",
    };
    type Doc = PersonDoc;

    fn example() -> PersonDoc {
        PersonDoc {
            name: "Sample Person".into(),
            email: "person@example.org".into(),
            account_type: AccountType::Free,
            named_by: Some(Id::NIL),
            email_corrected_by: Some(Id::NIL),
        }
    }

    fn unique_name(_doc: &PersonDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &PersonDoc, _out: &mut Attrs) {}

    fn classify(doc: &PersonDoc, map: &mut DataMap) {
        let PersonDoc { name, email, account_type, named_by, email_corrected_by } = doc;
        map.field(name, "name", FieldClass::Personal, "to address the person");
        map.field(
            email,
            "email",
            FieldClass::Personal,
            "to sign in, and to find the person when they ask for their data",
        );
        map.field(account_type, "account_type", FieldClass::Technical, "decides which limits apply");
        map.field(
            named_by,
            "named_by",
            FieldClass::Technical,
            "random id of whose images name somebody without an account",
        );
        map.field(
            email_corrected_by,
            "email_corrected_by",
            FieldClass::Technical,
            "random id of who of the staff corrected the address",
        );
    }

    fn view(node: &Node<PersonDoc>) -> View {
        View::new(&node.doc.name)
            .fact("E-mail", &node.doc.email)
            .fact("Object id", node.id)
            .fact("Account type", node.doc.account_type.name())
    }

    fn export(node: &Node<PersonDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            "profile/account.json",
            &json!({
                "objectId": node.id,
                "name": node.doc.name,
                "email": node.doc.email,
                "accountType": node.doc.account_type,
                "created": node.created_at.rfc3339(),
                "lastModified": node.updated_at.rfc3339(),
            }),
        )
    }

    fn erase(_node: &Node<PersonDoc>, _why: Erasure) -> Fate<PersonDoc> {
        Fate::Delete
    }
}

/// An organisation, which holds accounts as a person does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganisationDoc {
    /// The name it goes by.
    pub name: String,
}

/// [`Kind::Organisation`].
#[derive(Debug)]
pub struct Organisation;

impl DataKind for Organisation {
    const KIND: Kind = Kind::Organisation;
    const PARENTS: &'static [Kind] = &[];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Organisations",
        purpose: "to hold accounts and projects that several people work in",
        legal_basis: "performance of a contract (GDPR Article 6(1)(b))",
        retention: Retention::UntilErased,
        recipients: "the organisation's members",
    };
    type Doc = OrganisationDoc;

    fn example() -> OrganisationDoc {
        OrganisationDoc { name: "Sample Organisation".into() }
    }

    fn unique_name(_doc: &OrganisationDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &OrganisationDoc, _out: &mut Attrs) {}

    fn classify(doc: &OrganisationDoc, map: &mut DataMap) {
        let OrganisationDoc { name } = doc;
        map.field(name, "name", FieldClass::Content, "to tell organisations apart");
    }

    fn view(node: &Node<OrganisationDoc>) -> View {
        View::new(&node.doc.name).fact("Since", node.created_at)
    }

    fn export(node: &Node<OrganisationDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("profile/organisations/{}.json", node.id),
            &json!({ "id": node.id, "name": node.doc.name, "created": node.created_at.rfc3339() }),
        )
    }

    fn erase(_node: &Node<OrganisationDoc>, _why: Erasure) -> Fate<OrganisationDoc> {
        Fate::Delete
    }
}

/// A password, as argon2id leaves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialDoc {
    /// The hash in PHC string form, with its salt and parameters.
    pub password_hash: String,
    /// When the password was set.
    pub set_at: Timestamp,
}

/// [`Kind::Credential`].
#[derive(Debug)]
pub struct Credential;

impl DataKind for Credential {
    const KIND: Kind = Kind::Credential;
    const PARENTS: &'static [Kind] = &[Kind::Person];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Password",
        purpose: "to recognise the person when they sign in",
        legal_basis: "performance of a contract (GDPR Article 6(1)(b))",
        retention: Retention::UntilErased,
        recipients: "nobody",
    };
    type Doc = CredentialDoc;

    fn example() -> CredentialDoc {
        CredentialDoc { password_hash: "$argon2id$...".into(), set_at: Timestamp(0) }
    }

    fn unique_name(_doc: &CredentialDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &CredentialDoc, _out: &mut Attrs) {}

    fn classify(doc: &CredentialDoc, map: &mut DataMap) {
        let CredentialDoc { password_hash, set_at } = doc;
        map.field(
            password_hash,
            "password_hash",
            FieldClass::Secret,
            "to check the password without keeping it",
        );
        map.field(set_at, "set_at", FieldClass::Technical, "to tell the person how old the password is");
    }

    fn view(node: &Node<CredentialDoc>) -> View {
        View::new("Password").fact("Set", node.doc.set_at)
    }

    fn export(node: &Node<CredentialDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.row(
            "profile/credentials.csv",
            &["id", "type", "set"],
            &[node.id.to_string(), "password".into(), node.doc.set_at.rfc3339()],
        )
    }

    fn erase(_node: &Node<CredentialDoc>, _why: Erasure) -> Fate<CredentialDoc> {
        Fate::Delete
    }
}

/// A login name that a person's programs sent, such as MLflow's `user_id`. What the name stands in has this resource's random id only, so
/// that the name goes with the person who sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientNameDoc {
    /// The name, as it was sent.
    pub name: String,
}

/// [`Kind::ClientName`].
#[derive(Debug)]
pub struct ClientName;

impl DataKind for ClientName {
    const KIND: Kind = Kind::ClientName;
    const PARENTS: &'static [Kind] = &[Kind::Person];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Login names",
        purpose: "to show the person's runs under the name that their programs sent",
        legal_basis: "performance of a contract (GDPR Article 6(1)(b))",
        retention: Retention::UntilErased,
        recipients: "people with whom the person shares a workspace",
    };
    type Doc = ClientNameDoc;

    fn example() -> ClientNameDoc {
        ClientNameDoc { name: "ada".into() }
    }

    fn unique_name(doc: &ClientNameDoc) -> Option<&str> {
        Some(&doc.name)
    }

    fn attrs(_doc: &ClientNameDoc, _out: &mut Attrs) {}

    fn classify(doc: &ClientNameDoc, map: &mut DataMap) {
        let ClientNameDoc { name } = doc;
        map.field(name, "name", FieldClass::Personal, "the name, as it was sent");
    }

    fn view(node: &Node<ClientNameDoc>) -> View {
        View::new(node.doc.name.clone()).fact("First sent", node.created_at)
    }

    fn export(node: &Node<ClientNameDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.row(
            "profile/login-names.csv",
            &["id", "name", "first sent"],
            &[node.id.to_string(), node.doc.name.clone(), node.created_at.rfc3339()],
        )
    }

    fn erase(_node: &Node<ClientNameDoc>, _why: Erasure) -> Fate<ClientNameDoc> {
        Fate::Delete
    }
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenPurpose {
    /// Sent by programs in `Authorization: Bearer`.
    Bearer,
    /// A browser that is signed in.
    Session,
    /// A link that signs in once.
    SignInLink,
}

impl TokenPurpose {
    /// Words for a person.
    pub const fn title(self) -> &'static str {
        match self {
            TokenPurpose::Bearer => "Access token",
            TokenPurpose::Session => "Browser session",
            TokenPurpose::SignInLink => "One-time sign-in link",
        }
    }
}

/// A token that was issued. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDoc {
    /// What it is for.
    pub purpose: TokenPurpose,
    /// The name its owner gave it.
    pub label: String,
    /// SHA-256 of the token's 256-bit secret, in hexadecimal: enough to recognise it, not to use it.
    pub secret_hash: String,
    /// Of a browser's session: when the person signed in with the issuer that vouches for them, 0 when it does not say. Otherwise they did when
    /// the session began.
    #[serde(default)]
    pub signed_in_at: Option<Timestamp>,
}

/// [`Kind::Token`].
#[derive(Debug)]
pub struct Token;

impl DataKind for Token {
    const KIND: Kind = Kind::Token;
    const PARENTS: &'static [Kind] = &[Kind::Person];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Tokens and sessions",
        purpose: "to recognise the person's programs and browsers",
        legal_basis: "performance of a contract (GDPR Article 6(1)(b))",
        retention: Retention::UntilErased,
        recipients: "nobody",
    };
    type Doc = TokenDoc;

    fn example() -> TokenDoc {
        TokenDoc {
            purpose: TokenPurpose::Session,
            label: "laptop".into(),
            secret_hash: "00".repeat(32),
            signed_in_at: Some(Timestamp(0)),
        }
    }

    fn unique_name(_doc: &TokenDoc) -> Option<&str> {
        None
    }

    fn attrs(doc: &TokenDoc, out: &mut Attrs) {
        out.push(AttrKey::Secret, AttrValue::Secret(doc.secret_hash.clone()));
    }

    fn classify(doc: &TokenDoc, map: &mut DataMap) {
        let TokenDoc { purpose, label, secret_hash, signed_in_at } = doc;
        map.field(purpose, "purpose", FieldClass::Technical, "what the token may be used for");
        map.field(label, "label", FieldClass::Content, "so that its owner can tell tokens apart");
        map.field(
            secret_hash,
            "secret_hash",
            FieldClass::Secret,
            "to recognise the token when it is presented",
        );
        map.field(signed_in_at, "signed_in_at", FieldClass::Technical, "decides what needs a fresh sign-in");
    }

    fn view(node: &Node<TokenDoc>) -> View {
        View::new(node.doc.purpose.title())
            .optional("Label", Some(&node.doc.label))
            .fact("Issued", node.created_at)
            .optional("Expires", node.expires_at)
    }

    fn export(node: &Node<TokenDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.row(
            "profile/tokens.csv",
            &["id", "purpose", "label", "issued", "expires"],
            &[
                node.id.to_string(),
                node.doc.purpose.title().into(),
                node.doc.label.clone(),
                node.created_at.rfc3339(),
                node.expires_at.map(Timestamp::rfc3339).unwrap_or_default(),
            ],
        )
    }

    fn erase(_node: &Node<TokenDoc>, _why: Erasure) -> Fate<TokenDoc> {
        Fate::Delete
    }
}
