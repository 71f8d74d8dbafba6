//! Legal holds: what must not be deleted yet, although somebody asks for it.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    About, Attrs, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result, Retention,
    Timestamp, View,
};

/// A legal hold on a resource and all that stands under it; on a person or an organisation, on everything they hold. When it ends
/// by itself is the resource's own expiry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldDoc {
    /// What it keeps.
    pub target: Id,
    /// The case it serves, as the staff call it.
    pub matter: String,
    /// Why it is lawful to keep it (GDPR Article 17(3)).
    pub reason: String,
    /// Who placed it; none for the operator.
    pub placed_by: Option<Id>,
}

/// [`Kind::Hold`].
#[derive(Debug)]
pub struct Hold;

impl DataKind for Hold {
    const KIND: Kind = Kind::Hold;
    const PARENTS: &'static [Kind] = &[Kind::Installation];
    const ABOUT: About = About {
        service: "Your rights",
        title: "Legal holds",
        purpose: "to keep what a legal claim or obligation needs (GDPR Article 17(3)), no longer than that",
        legal_basis: "legal obligation, or legitimate interests in legal claims (GDPR Article 6(1)(c) and (f))",
        retention: Retention::UntilReleased,
        recipients: "the staff who answer requests, and the person whose data it keeps",
    };
    type Doc = HoldDoc;

    fn example() -> HoldDoc {
        HoldDoc {
            target: Id::NIL,
            matter: "case 12/2026".into(),
            reason: "a claim about these images is before the court".into(),
            placed_by: Some(Id::NIL),
        }
    }

    fn unique_name(_doc: &HoldDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &HoldDoc, _out: &mut Attrs) {}

    fn classify(doc: &HoldDoc, map: &mut DataMap) {
        let HoldDoc { target, matter, reason, placed_by } = doc;
        map.field(target, "target", FieldClass::Technical, "what it keeps");
        map.field(matter, "matter", FieldClass::Personal, "the case it serves; may name people");
        map.field(reason, "reason", FieldClass::Personal, "why it is lawful to keep it; may name people");
        map.field(placed_by, "placed_by", FieldClass::Personal, "who answers for it");
    }

    fn view(node: &Node<HoldDoc>) -> View {
        View::new(&node.doc.matter)
            .fact("Why", &node.doc.reason)
            .fact("Keeps", node.doc.target)
            .fact("Since", node.created_at)
            .optional("Until", node.expires_at)
    }

    fn export(node: &Node<HoldDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("rights/holds/{}.json", node.id),
            &json!({
                "id": node.id,
                "keeps": node.doc.target,
                "matter": node.doc.matter,
                "reason": node.doc.reason,
                "placed": node.created_at.rfc3339(),
                "until": node.expires_at.map(Timestamp::rfc3339),
            }),
        )
    }

    fn erase(_node: &Node<HoldDoc>, _why: Erasure) -> Fate<HoldDoc> {
        Fate::Keep {
            legal_basis: "it says why something is kept; it goes when it is released or expires",
            until: None,
        }
    }
}
