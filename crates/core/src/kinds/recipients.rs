//! Systems that are told what was done about a person's data.

use serde::{Deserialize, Serialize};

use crate::{
    About, Attrs, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Kind, Node, Result, Retention, View,
};

/// A system that received personal data from here, or works on it downstream, and must be told of erasures, rectifications and
/// restrictions (GDPR Article 19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientDoc {
    /// The name by which persons are told of it.
    pub name: String,
    /// Where it is told.
    pub url: String,
    /// The 256-bit key that signs what it is told, in base64.
    pub secret: String,
    /// The kinds of data that it receives of everybody, as the data map names them; all of them when none are named. With an empty list it
    /// receives data case by case, and each case is recorded ([`MentionRole::Disclosed`](crate::kind::MentionRole::Disclosed)).
    #[serde(default)]
    pub kinds: Option<Vec<String>>,
}

/// [`Kind::Recipient`].
#[derive(Debug)]
pub struct Recipient;

impl DataKind for Recipient {
    const KIND: Kind = Kind::Recipient;
    const PARENTS: &'static [Kind] = &[Kind::Installation];
    const ABOUT: About = About {
        service: "Your rights",
        title: "Recipients",
        purpose: "to tell those who received personal data what was erased, corrected or restricted (GDPR Article 19)",
        legal_basis: "legal obligation (GDPR Article 6(1)(c))",
        retention: Retention::UntilErased,
        recipients: "whoever asks who received their data (Article 19, second sentence)",
    };
    type Doc = RecipientDoc;

    fn example() -> RecipientDoc {
        RecipientDoc {
            name: "Annotation service".into(),
            url: "https://recipient.example.org/habeas".into(),
            secret: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into(),
            kinds: Some(vec!["Image".into()]),
        }
    }

    fn unique_name(doc: &RecipientDoc) -> Option<&str> {
        Some(&doc.name)
    }

    fn attrs(_doc: &RecipientDoc, _out: &mut Attrs) {}

    fn classify(doc: &RecipientDoc, map: &mut DataMap) {
        let RecipientDoc { name, url, secret, kinds } = doc;
        map.field(name, "name", FieldClass::Technical, "by which persons are told of it: a system's name");
        map.field(url, "url", FieldClass::Technical, "where it is told");
        map.field(secret, "secret", FieldClass::Secret, "signs what it is told");
        map.field(
            kinds,
            "kinds",
            FieldClass::Technical,
            "what it receives, so that only those concerned are told",
        );
    }

    fn view(node: &Node<RecipientDoc>) -> View {
        View::new(&node.doc.name).fact("Told since", node.created_at)
    }

    fn export(_node: &Node<RecipientDoc>, _out: &mut dyn Bundle) -> Result<()> {
        // Held by the installation: it is in nobody's archive.
        Ok(())
    }

    fn erase(_node: &Node<RecipientDoc>, _why: Erasure) -> Fate<RecipientDoc> {
        Fate::Delete
    }
}
