//! Data-subject requests.
//!
//! What proves that a request was answered must outlive the person; what was said in it must not. So a request is two resources: the
//! record, which the installation holds and which names nobody (random ids, dates, decisions), and the case file, which the person
//! holds and which goes with them. Only an address that a letter has yet to reach, of somebody who has no profile (any more), stands in the
//! record, and then under a key of its own.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ExportFormat;
use crate::node::AttrKey;
use crate::requests::{Channel, DenialReason, ExtensionReason, IdentityCheck, RequestState, RequestType};
use crate::{
    About, AttrValue, Attrs, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result,
    Retention, Timestamp, View,
};

const SERVICE: &str = "Your rights";
/// How long the record of a request is kept after its end, in days: longer than the 24 months of 11 CCR 7101.
pub const REQUEST_DAYS: u32 = 1_095;
/// From when that counts, and what of it is kept for less: nothing was decided, and nothing there shows who asked.
const ENDED: &str =
    "the end of the request; 30 days where it expired, or was called off before it was sure who asks";

/// What an erasure would have deleted when its plan was made: counts only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedErasure {
    /// The plan's digest.
    pub digest: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Name, count and bytes of every kind that is held.
    pub kinds: Vec<PlannedKind>,
}

/// What an erasure would have deleted of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedKind {
    /// The kind, as the data map names it.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// The address that a letter about a request still has to reach, when nobody's profile has it (any more).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestAddress {
    /// The address, sealed under a key of its own that is destroyed with the last letter, in base64.
    pub sealed: String,
    /// MAC of the one-time code under a key of the installation, in hexadecimal, while one is good.
    pub code_mac: Option<String>,
    /// Until when it is good.
    pub code_until: Option<Timestamp>,
}

/// Who comes after a person in a role that nobody else has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// The organisation, or the nil id for the installation.
    pub resource: Id,
    /// Who becomes its owner or administrator.
    pub person: Id,
}

/// What was decided with an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// Who takes over where the person is the last owner or administrator.
    #[serde(default)]
    pub successors: Vec<Successor>,
    /// Organisations of which the person is the last owner, that are deleted with everything in them.
    #[serde(default)]
    pub deletions: Vec<Id>,
    /// Whether images of others that show the person are erased, too.
    #[serde(default)]
    pub erase_depicted: bool,
}

impl Decisions {
    /// Whether they are about more than images: about roles and organisations of which others may be part.
    pub fn names_others(&self) -> bool {
        !self.successors.is_empty() || !self.deletions.is_empty()
    }
}

/// Something that happened to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHistory {
    /// When.
    pub at: Timestamp,
    /// What: the name of a [`crate::requests::RequestEvent`], or `extended`, `commented`, `reminded`, `decided`, `restricted`,
    /// `corrected`, `addressCorrected`, `personErased`.
    pub event: String,
    /// Who did it; [`Id::NIL`] for the operator of the machine, nobody for the server itself and for whoever is not signed in.
    pub by: Option<Id>,
}

/// A data-subject request, as a record that names nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestDoc {
    /// What is asked for.
    pub asked: RequestType,
    /// Of access and portability: the formats in which the archive is to have its data once more.
    #[serde(default)]
    pub formats: Vec<ExportFormat>,
    /// Where it stands.
    pub state: RequestState,
    /// The name of the law under which it is answered.
    pub regime: String,
    /// How it came in.
    pub channel: Channel,
    /// Whose data it is about; nobody when the address it came with is nobody's.
    pub subject: Option<Id>,
    /// Who took it in; [`Id::NIL`] for the operator, nobody for the public form and for what time alone brings.
    pub requester: Option<Id>,
    /// The person's case file.
    pub case_file: Option<Id>,
    /// From when the time to answer counts.
    pub received_at: Timestamp,
    /// Until when it has to be answered.
    pub due_at: Timestamp,
    /// Why that was put off.
    pub extension: Option<ExtensionReason>,
    /// Until when it has to be sure who asks.
    pub verify_until: Timestamp,
    /// How it was made sure.
    pub verified_by: Option<IdentityCheck>,
    /// Codes sent so far.
    pub codes_sent: u32,
    /// Wrong codes since the last one was sent.
    pub wrong_codes: u32,
    /// Until when the person may change their mind.
    pub undo_until: Option<Timestamp>,
    /// Whether a second person has to approve it.
    pub needs_approval: bool,
    /// Of an erasure: who takes over, and what else goes.
    #[serde(default)]
    pub decisions: Decisions,
    /// Who approved it.
    pub approver: Option<Id>,
    /// The plan that was shown or approved last.
    pub plan: Option<PlannedErasure>,
    /// The erasure that carries it out.
    pub erasure: Option<Id>,
    /// The archive that answers it.
    pub archive: Option<Id>,
    /// The receipt that proves it.
    pub receipt: Option<Id>,
    /// The open request that asks the same.
    pub duplicate_of: Option<Id>,
    /// Why it was refused.
    pub denial: Option<DenialReason>,
    /// Whether the staff was reminded that it is soon due.
    pub reminded: bool,
    /// When it is to be looked at again.
    pub wake_at: Option<Timestamp>,
    /// Addresses of the controller that passed the request on, which is told of every change.
    #[serde(default)]
    pub callbacks: Vec<String>,
    /// The recipients that are told of what was done, by their random ids.
    #[serde(default)]
    pub recipients: Vec<Id>,
    /// Where letters go to somebody who has no profile (any more).
    #[serde(default)]
    pub address: Option<RequestAddress>,
    /// What happened, oldest first.
    pub history: Vec<RequestHistory>,
}

/// [`Kind::Request`].
#[derive(Debug)]
pub struct Request;

impl DataKind for Request {
    const KIND: Kind = Kind::Request;
    const PARENTS: &'static [Kind] = &[Kind::Installation];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Requests",
        purpose: "to answer requests in time and to show that they were answered (GDPR Articles 5(2) and 12)",
        legal_basis: "legal obligation (GDPR Article 6(1)(c))",
        retention: Retention::Days(REQUEST_DAYS, ENDED),
        recipients: "nobody",
    };
    type Doc = RequestDoc;

    fn example() -> RequestDoc {
        RequestDoc {
            asked: RequestType::Erasure,
            formats: vec![ExportFormat::Csv],
            state: RequestState::Completed,
            regime: "gdpr".into(),
            channel: Channel::Letter,
            subject: Some(Id::NIL),
            requester: Some(Id::NIL),
            case_file: Some(Id::NIL),
            received_at: Timestamp(0),
            due_at: Timestamp(0),
            extension: Some(ExtensionReason::Complexity),
            verify_until: Timestamp(0),
            verified_by: Some(IdentityCheck::Code),
            codes_sent: 1,
            wrong_codes: 0,
            undo_until: Some(Timestamp(0)),
            needs_approval: true,
            decisions: Decisions {
                successors: vec![Successor { resource: Id::NIL, person: Id::NIL }],
                deletions: vec![Id::NIL],
                erase_depicted: true,
            },
            approver: Some(Id::NIL),
            plan: Some(PlannedErasure {
                digest: "00".repeat(32),
                made_at: Timestamp(0),
                kinds: vec![PlannedKind { kind: "Image".into(), count: 1, bytes: 1 }],
            }),
            erasure: Some(Id::NIL),
            archive: Some(Id::NIL),
            receipt: Some(Id::NIL),
            duplicate_of: Some(Id::NIL),
            denial: Some(DenialReason::Other),
            reminded: true,
            wake_at: Some(Timestamp(0)),
            callbacks: vec!["https://controller.example.org/callbacks".into()],
            recipients: vec![Id::NIL],
            address: Some(RequestAddress {
                sealed: "AAAA".into(),
                code_mac: Some("00".repeat(32)),
                code_until: Some(Timestamp(0)),
            }),
            history: vec![RequestHistory { at: Timestamp(0), event: "verified".into(), by: Some(Id::NIL) }],
        }
    }

    fn unique_name(_doc: &RequestDoc) -> Option<&str> {
        None
    }

    fn attrs(doc: &RequestDoc, out: &mut Attrs) {
        out.push(AttrKey::RequestState, AttrValue::Number(f64::from(doc.state.number())));
        out.push(AttrKey::RequestType, AttrValue::Number(f64::from(doc.asked.number())));
        if doc.state.is_open() {
            out.push(AttrKey::Due, AttrValue::Number(doc.due_at.0 as f64));
        }
        if let Some(at) = doc.wake_at {
            out.push(AttrKey::Wake, AttrValue::Number(at.0 as f64));
        }
    }

    fn classify(doc: &RequestDoc, map: &mut DataMap) {
        let RequestDoc {
            asked,
            formats,
            state,
            regime,
            channel,
            subject,
            requester,
            case_file,
            received_at,
            due_at,
            extension,
            verify_until,
            verified_by,
            codes_sent,
            wrong_codes,
            undo_until,
            needs_approval,
            decisions,
            approver,
            plan,
            erasure,
            archive,
            receipt,
            duplicate_of,
            denial,
            reminded,
            wake_at,
            callbacks,
            recipients,
            address,
            history,
        } = doc;
        let technical = FieldClass::Technical;
        map.field(asked, "asked", technical, "what is asked for");
        map.field(formats, "formats", technical, "in which formats the archive has its data once more");
        map.field(state, "state", technical, "where it stands");
        map.field(regime, "regime", technical, "decides the time to answer");
        map.field(channel, "channel", technical, "how it came in");
        map.field(
            subject,
            "subject",
            technical,
            "random id of the person; says nothing once they are erased",
        );
        map.field(
            requester,
            "requester",
            technical,
            "random id of whoever took it in, who may not approve it",
        );
        map.field(case_file, "case_file", technical, "random id of what goes with the person");
        map.field(received_at, "received_at", technical, "from when the time to answer counts");
        map.field(due_at, "due_at", technical, "until when it has to be answered");
        map.field(extension, "extension", technical, "why that was put off");
        map.field(verify_until, "verify_until", technical, "until when it has to be sure who asks");
        map.field(verified_by, "verified_by", technical, "how it was made sure");
        map.field(codes_sent, "codes_sent", technical, "so that codes are not asked for without end");
        map.field(wrong_codes, "wrong_codes", technical, "so that codes are not guessed");
        map.field(undo_until, "undo_until", technical, "until when the person may change their mind");
        map.field(needs_approval, "needs_approval", technical, "whether a second person has to agree");
        map.field(decisions, "decisions", technical, "who takes over, by random id, and what else goes");
        map.field(approver, "approver", technical, "random id of who agreed");
        map.field(plan, "plan", technical, "counts and digest of what was agreed to");
        map.field(erasure, "erasure", technical, "random id of the run");
        map.field(archive, "archive", technical, "random id of the archive");
        map.field(receipt, "receipt", technical, "random id of the proof");
        map.field(duplicate_of, "duplicate_of", technical, "random id of the request that asks the same");
        map.field(denial, "denial", technical, "why it was refused");
        map.field(reminded, "reminded", technical, "so that the staff is reminded once");
        map.field(wake_at, "wake_at", technical, "when it is looked at again");
        map.field(
            callbacks,
            "callbacks",
            technical,
            "where the controller that passed it on is told of changes",
        );
        map.field(recipients, "recipients", technical, "random ids of the systems that are told of it");
        map.field(
            address,
            "address",
            FieldClass::Personal,
            "where the last letters go, sealed under a key of its own that is destroyed with the last of them",
        );
        map.field(history, "history", technical, "what happened, when, by the random id of whom");
    }

    fn view(node: &Node<RequestDoc>) -> View {
        View::new(node.doc.asked.title())
            .fact("State", node.doc.state.title())
            .fact("Received", node.doc.received_at)
            .fact("To be answered by", node.doc.due_at)
            .optional("Formats", Some(ExportFormat::list(&node.doc.formats)))
    }

    fn export(node: &Node<RequestDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        out.json(
            &format!("rights/requests/{}.json", node.id),
            &json!({
                "id": node.id,
                "type": doc.asked,
                "formats": doc.formats,
                "state": doc.state.name(),
                "regime": doc.regime,
                "channel": doc.channel,
                "received": doc.received_at.rfc3339(),
                "due": doc.due_at.rfc3339(),
                "extended": doc.extension,
                "identityCheckedBy": doc.verified_by,
                "denied": doc.denial,
                "receipt": doc.receipt,
                "recipients": doc.recipients,
                "history": doc.history.iter().map(|entry| json!({ "at": entry.at.rfc3339(), "event": entry.event })).collect::<Vec<_>>(),
            }),
        )
    }

    fn erase(_node: &Node<RequestDoc>, _why: Erasure) -> Fate<RequestDoc> {
        Fate::Keep {
            legal_basis: "proof that the request was answered (GDPR Article 5(2)); it names nobody",
            until: None,
        }
    }
}

/// What somebody of the staff noted on a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestComment {
    /// When.
    pub at: Timestamp,
    /// Who; [`Id::NIL`] for the operator of the machine.
    pub by: Id,
    /// What.
    pub text: String,
    /// Whether it was written to the person, as an answer.
    pub answer: bool,
}

/// How far an archive has come on its way to another system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryState {
    /// To be sent once it is written, or being sent.
    Waiting,
    /// It has arrived.
    Done,
    /// Given up.
    Failed,
}

impl DeliveryState {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            DeliveryState::Waiting => "waiting",
            DeliveryState::Done => "delivered",
            DeliveryState::Failed => "failed",
        }
    }
}

/// Where the archive that answers a request is to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveDelivery {
    /// The address of a blob, with its permission until it has arrived or was given up, or of a folder.
    pub location: String,
    /// How far it has come.
    pub state: DeliveryState,
    /// When it had arrived or was given up.
    pub ended_at: Option<Timestamp>,
}

impl ArchiveDelivery {
    /// The address without its permission.
    pub fn place(&self) -> &str {
        self.location.split(['?', '#']).next().unwrap_or_default()
    }
}

/// What was said in a request, and where its answer went. It is the person's, and goes with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseFileDoc {
    /// The request.
    pub request: Id,
    /// MAC of the one-time code under a key of the installation, in hexadecimal, while one is good.
    pub code_mac: Option<String>,
    /// Until when it is good.
    pub code_until: Option<Timestamp>,
    /// Notes and answers, oldest first.
    pub comments: Vec<RequestComment>,
    /// Where the archive is to be sent, if it is not to be fetched.
    #[serde(default)]
    pub destination: Option<ArchiveDelivery>,
    /// The e-mail address that the person wants to have, until they have shown that they read its mail.
    #[serde(default)]
    pub new_email: Option<String>,
}

/// [`Kind::CaseFile`].
#[derive(Debug)]
pub struct CaseFile;

impl DataKind for CaseFile {
    const KIND: Kind = Kind::CaseFile;
    const PARENTS: &'static [Kind] = &[Kind::Person];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Case files",
        purpose: "to make sure who asks, and to note what was answered (GDPR Article 12)",
        legal_basis: "legal obligation (GDPR Article 6(1)(c))",
        retention: Retention::Days(REQUEST_DAYS, ENDED),
        recipients: "the person, and the staff who answer requests",
    };
    type Doc = CaseFileDoc;

    fn example() -> CaseFileDoc {
        CaseFileDoc {
            request: Id::NIL,
            code_mac: Some("00".repeat(32)),
            code_until: Some(Timestamp(0)),
            comments: vec![RequestComment {
                at: Timestamp(0),
                by: Id::NIL,
                text: "Called back.".into(),
                answer: false,
            }],
            destination: Some(ArchiveDelivery {
                location: "https://account.blob.example.org/container/archive.zip".into(),
                state: DeliveryState::Done,
                ended_at: Some(Timestamp(0)),
            }),
            new_email: Some("new@example.org".into()),
        }
    }

    fn unique_name(_doc: &CaseFileDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &CaseFileDoc, _out: &mut Attrs) {}

    fn classify(doc: &CaseFileDoc, map: &mut DataMap) {
        let CaseFileDoc { request, code_mac, code_until, comments, destination, new_email } = doc;
        map.field(request, "request", FieldClass::Technical, "random id of the request");
        map.field(
            code_mac,
            "code_mac",
            FieldClass::Secret,
            "to recognise the one-time code without keeping it",
        );
        map.field(code_until, "code_until", FieldClass::Technical, "until when the code is good");
        map.field(comments, "comments", FieldClass::Personal, "what the staff noted and answered");
        map.field(
            destination,
            "destination",
            FieldClass::Content,
            "where the archive was sent, so that the person can be told",
        );
        map.field(
            new_email,
            "new_email",
            FieldClass::Personal,
            "the address that the person wants to have, until they have shown that they read its mail",
        );
    }

    fn view(node: &Node<CaseFileDoc>) -> View {
        node.doc.comments.iter().fold(
            View::new(format!("Request {}", node.doc.request))
                .fact("Since", node.created_at)
                .optional("Archive sent to", node.doc.destination.as_ref().map(ArchiveDelivery::place))
                .optional("New e-mail address", node.doc.new_email.as_ref()),
            |view, comment| view.fact(if comment.answer { "Answer" } else { "Note" }, &comment.text),
        )
    }

    fn export(node: &Node<CaseFileDoc>, out: &mut dyn Bundle) -> Result<()> {
        let request = node.doc.request.to_string();
        for comment in &node.doc.comments {
            let sort = if comment.answer { "answer" } else { "note" };
            out.row(
                "rights/case-files.csv",
                &["request", "at", "sort", "text"],
                &[request.clone(), comment.at.rfc3339(), sort.into(), comment.text.clone()],
            )?;
        }
        if let Some(email) = &node.doc.new_email {
            out.row("rights/new-addresses.csv", &["request", "email"], &[request.clone(), email.clone()])?;
        }
        if let Some(destination) = &node.doc.destination {
            out.row(
                "rights/archives-sent.csv",
                &["request", "to", "state", "at"],
                &[
                    request,
                    destination.place().to_owned(),
                    destination.state.name().to_owned(),
                    destination.ended_at.map(Timestamp::rfc3339).unwrap_or_default(),
                ],
            )?;
        }
        Ok(())
    }

    fn erase(_node: &Node<CaseFileDoc>, _why: Erasure) -> Fate<CaseFileDoc> {
        Fate::Delete
    }
}
