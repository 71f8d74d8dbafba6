//! Taking requests in.

use habeas_access::{Actor, normalise_email};
use habeas_core::kind::MentionRole;
use habeas_core::kinds::{
    ArchiveDelivery, CaseFile, CaseFileDoc, Decisions, DeliveryState, ExportFormat, Person, Request,
    RequestAddress, RequestDoc, RequestHistory,
};
use habeas_core::report::{RequestReport, RequestStatusReport};
use habeas_core::requests::{
    Channel, DenialReason, Gate, IdentityCheck, RequestEvent, RequestState, RequestType,
};
use habeas_core::{Error, ErrorKind, Id, Node, Result, Timestamp, crypto, fault, time};
use habeas_store::{New, Tx};

use super::mail::{Letter, enqueue};
use super::waking::next_waking;
use super::{ADDRESS_CORRECTED, Case, FRESH_MINUTES, RequestOptions, VERIFY_DAYS, status};
use crate::erasure::{CONFIRMATION_HINT, called};
use crate::{Rights, ownership};

/// The longest time for which a request may have lain before it is taken in, in days: about five years, and more is a slip of the pen.
const RECEIVED_DAYS: i64 = 1_826;

/// A request to be taken in.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// The id that another system has given it; a new one if none is given.
    pub id: Option<Id>,
    /// What is asked for.
    pub asked: RequestType,
    /// Of access and portability: the formats in which the archive is to have its data once more.
    pub formats: Vec<ExportFormat>,
    /// Whose data it is about.
    pub person: Id,
    /// The law under which it is answered; the deployment's usual one if none is named.
    pub regime: Option<String>,
    /// How it came to the staff; for a person's own request it does not matter.
    pub channel: Channel,
    /// When it came to the staff; now if not given.
    pub received_at: Option<Timestamp>,
    /// How the staff made sure who asks; a one-time code is sent if they did not.
    pub identity: Option<IdentityCheck>,
    /// For a person's own erasure: their e-mail address, typed.
    pub confirm: Option<String>,
    /// Addresses of the system that passed it on, which is told of every change.
    pub callbacks: Vec<String>,
    /// Where the archive is to be sent when it is written: the address of a blob, or a folder that the operator allows.
    pub destination: Option<String>,
    /// For an erasure: who takes over, and what else goes.
    pub decisions: Decisions,
}

/// What the staff say of a request that they take in by an address.
#[derive(Clone, Copy, Debug)]
pub struct ByStaff {
    /// Who takes it in.
    pub actor: Actor,
    /// How it came.
    pub channel: Channel,
    /// When it came; now if not given.
    pub received_at: Option<Timestamp>,
    /// How they made sure who asks; a one-time code is sent if they did not.
    pub identity: Option<IdentityCheck>,
}

/// What a request is made of besides what is asked for.
pub(super) struct Origin {
    pub(super) channel: Channel,
    pub(super) subject: Option<Id>,
    pub(super) requester: Option<Id>,
    pub(super) regime: String,
    pub(super) received_at: Timestamp,
    pub(super) due_at: Timestamp,
}

impl Rights {
    /// Takes in a request of, or about, a person whom the caller has found already and whose rights they may exercise
    /// ([`Rights::authorise`]). A person's own is verified by their sign-in and goes on at once.
    pub async fn create_request(&self, actor: &Actor, new: NewRequest) -> Result<RequestReport> {
        let own = matches!(actor, Actor::Person { id, .. } if *id == new.person);
        let now = self.store.ambient().now();
        let received_at = received(new.received_at.filter(|_| !own), now)?;
        let erasure = new.asked == RequestType::Erasure;
        if new.decisions != Decisions::default() && !erasure {
            return Err(Error::invalid(
                "only an erasure needs successors, deletions, or a word on images that show the person",
            ));
        }
        check_formats(new.asked, &new.formats)?;
        if new.decisions.names_others() {
            self.authorise_succession(actor, new.person).await?;
        }
        if own && erasure {
            require_fresh(actor, now)?;
        }
        if !own {
            check_staff(new.channel, new.identity)?;
        }
        if let Some(location) = &new.destination {
            self.check_destination(location)?;
        }
        let regime = self.requests.deadlines.regime(new.regime.as_deref())?;
        let origin = Origin {
            channel: if own { Channel::SelfService } else { new.channel },
            subject: Some(new.person),
            requester: Some(actor.reference()),
            regime: regime.name.clone(),
            received_at,
            due_at: self.requests.deadlines.due(regime, received_at, false)?,
        };
        let identity = if own { Some(IdentityCheck::SignIn) } else { new.identity };
        let id = new.id.unwrap_or_else(|| self.store.ambient().new_id());
        let (by, salt) = (actor.reference(), self.salt());
        let rights = self.clone();
        let report = self
            .store
            .write(move |tx| {
                if own
                    && erasure
                    && Some(called(tx, new.person)?)
                        != new.confirm.as_deref().map(str::trim).map(str::to_owned)
                {
                    return Err(Error::invalid("the confirmation is not the person's e-mail address")
                        .hint(CONFIRMATION_HINT));
                }
                if tx.position(id)?.is_some() {
                    return Err(Error::conflict("there is a request with this id already"));
                }
                let mut node = create(tx, id, new.asked, &origin)?;
                node.doc.formats.clone_from(&new.formats);
                node.doc.callbacks.clone_from(&new.callbacks);
                let mut case = Case { tx, node };
                ownership::choices(case.tx, new.person, &new.decisions)?;
                case.node.doc.decisions = new.decisions.clone();
                if let Some(location) = &new.destination {
                    case.send_archive_to(location)?;
                }
                match identity {
                    Some(check) => rights.verified(&mut case, check, Some(by), salt)?,
                    None => case.send_code(Some(by))?,
                }
                case.save()?;
                case.report()
            })
            .await?;
        fault::point("request.created");
        self.wake();
        Ok(report)
    }

    /// Takes in a request by an address alone: from the public form, or by the staff. The answer is the same, and takes as long, whether or
    /// not somebody has this address: nobody learns whom the server knows. Whoever reads the address's mail proves it with the code. When it
    /// is nobody's, the request is then answered by itself: nothing is held. `formats` are those of [`NewRequest`].
    pub async fn take_in(
        &self,
        asked: RequestType,
        formats: Vec<ExportFormat>,
        email: &str,
        regime: Option<&str>,
        staff: Option<ByStaff>,
    ) -> Result<RequestStatusReport> {
        check_formats(asked, &formats)?;
        let email = normalise_email(email)?;
        let now = self.store.ambient().now();
        let alias = self.store.alias("email", &email)?;
        let subject = self.store.find_alias(&alias);
        match &staff {
            None => self.throttle.attempt(crypto::sha256(&alias), now)?,
            Some(staff) => {
                self.require_staff(&staff.actor).await?;
                check_staff(staff.channel, staff.identity)?;
                if let Some(person) = subject {
                    match self.authorise(&staff.actor, person, "CreateRequest").await {
                        // Erased a moment ago, they are unknown.
                        Err(error) if error.kind == ErrorKind::NotFound => {}
                        result => result?,
                    }
                }
            }
        }
        let received_at = received(staff.and_then(|staff| staff.received_at), now)?;
        let regime = self.requests.deadlines.regime(regime)?;
        let origin = Origin {
            channel: staff.map_or(Channel::Form, |staff| staff.channel),
            subject,
            requester: staff.map(|staff| staff.actor.reference()),
            regime: regime.name.clone(),
            received_at,
            due_at: self.requests.deadlines.due(regime, received_at, false)?,
        };
        let identity = staff.and_then(|staff| staff.identity);
        let id = self.store.ambient().new_id();
        // Also where it is not needed: that takes a while.
        self.store.make_once_key(id).await?;
        fault::point("request.key_made");
        let sealed = self.store.seal_once(id, email.as_bytes())?;
        let (rights, salt) = (self.clone(), self.salt());
        let taken = self
            .store
            .write(move |tx| {
                // Somebody who is being erased is as unknown as somebody who was never there.
                let known = match origin.subject {
                    Some(person) => tx.hold(person)?,
                    None => false,
                };
                let origin = Origin {
                    subject: origin.subject.filter(|_| known),
                    regime: origin.regime.clone(),
                    ..origin
                };
                let mut node = create(tx, id, asked, &origin)?;
                node.doc.formats.clone_from(&formats);
                if !known {
                    let sealed = sealed.clone();
                    node.doc.address = Some(RequestAddress { sealed, code_mac: None, code_until: None });
                }
                let mut case = Case { tx, node };
                match identity {
                    Some(check) => rights.verified(&mut case, check, origin.requester, salt)?,
                    None => case.send_code(origin.requester)?,
                }
                case.save()?;
                Ok((status(case.tx, &case.node)?, known))
            })
            .await;
        fault::point("request.created");
        if !matches!(taken, Ok((_, false))) {
            let rights = self.clone();
            // Not waited for: the answer would take longer than that for an unknown address.
            tokio::spawn(async move { rights.forget_address(id).await });
        }
        let (report, _) = taken?;
        self.wake();
        Ok(report)
    }

    /// It is sure that the person asks: what comes next happens in the same transaction.
    pub(super) fn verified(
        &self,
        case: &mut Case<'_, '_>,
        check: IdentityCheck,
        by: Option<Id>,
        salt: [u8; 16],
    ) -> Result<()> {
        let Some(subject) = case.node.doc.subject else { return case.answer_nothing_held(check, by) };
        let now = case.tx.now();
        case.node.doc.verified_by = Some(check);
        case.node.doc.wrong_codes = 0;
        case.node.doc.duplicate_of = open_twin(case.tx, subject, &case.node)?;
        let erasure = case.node.doc.asked == RequestType::Erasure;
        if erasure {
            case.note_corrector(subject)?;
        }
        // Whoever is signed in and types their address has decided; so has the operator, who could read the keys as well.
        let decided = match case.node.doc.channel {
            Channel::SelfService => !case.had_address_corrected(),
            channel => channel == Channel::Operator,
        };
        let doc = &mut case.node.doc;
        doc.needs_approval = erasure && !decided;
        let themselves = matches!(doc.channel, Channel::SelfService | Channel::Form);
        let undo = undo_end(&self.requests, doc, now).filter(|_| erasure && themselves);
        let gate = if doc.duplicate_of.is_some() {
            Gate::Duplicate
        } else if undo.is_some() {
            doc.undo_until = undo;
            Gate::Undo
        } else if doc.needs_approval {
            Gate::Approval
        } else {
            Gate::Open
        };
        case.happen(RequestEvent::Verified(gate), by)?;
        self.go_on(case, salt)
    }

    /// Succeeds when a person has signed in within the last [`FRESH_MINUTES`]; for the operator always. Forbidden otherwise.
    pub fn require_fresh(&self, actor: &Actor) -> Result<()> {
        require_fresh(actor, self.store.ambient().now())
    }

    /// Succeeds unless a program acts by what it was granted: what it made for itself would outlast the grant, and what cannot be undone is
    /// decided by the person. The command line is as good as the person as long as [`require_fresh`](Self::require_fresh) says so.
    pub fn require_in_person(&self, actor: &Actor) -> Result<()> {
        match actor {
            Actor::Person { granted: true, .. } if self.require_fresh(actor).is_err() => {
                Err(Error::forbidden("a program that was let in may not do this in a person's name").hint(
                    "sign in yourself: in the portal, by `habeas login` within the last 15 minutes, or with a token of your own",
                ))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn salt(&self) -> [u8; 16] {
        self.store.ambient().bytes()
    }
}

impl Case<'_, '_> {
    /// Notes who of the staff corrected the person's address last, unless that stands there.
    fn note_corrector(&mut self, subject: Id) -> Result<()> {
        let by = email_corrected_by(self.tx, subject)?;
        let is_noted = |entry: &RequestHistory| entry.event == ADDRESS_CORRECTED && entry.by == by;
        if by.is_some() && !self.node.doc.history.iter().any(is_noted) {
            self.note(ADDRESS_CORRECTED, by);
        }
        Ok(())
    }

    /// Whether the staff had corrected the person's address before it was sure who asks.
    pub(super) fn had_address_corrected(&self) -> bool {
        self.node.doc.history.iter().any(|entry| entry.event == ADDRESS_CORRECTED)
    }
}

/// Only what an archive answers has formats.
fn check_formats(asked: RequestType, formats: &[ExportFormat]) -> Result<()> {
    if formats.is_empty() || matches!(asked, RequestType::Access | RequestType::Portability) {
        return Ok(());
    }
    Err(Error::invalid("formats are for the archive that answers a request for access or portability")
        .hint("leave them out, or ask for access or portability"))
}

/// Succeeds when a person has signed in a moment ago: an open browser or an old token is not enough for what cannot be undone, nor for what
/// would make them a new sign-in.
pub(crate) fn require_fresh(actor: &Actor, now: Timestamp) -> Result<()> {
    match actor {
        Actor::Person { signed_in_at, .. } if now.0 - signed_in_at.0 > FRESH_MINUTES * 60_000_000 => {
            Err(Error::forbidden(format!("this needs a sign-in of the last {FRESH_MINUTES} minutes")).hint(
                "sign in again: in the portal, by `habeas login`, or with a token that the operator issues",
            ))
        }
        _ => Ok(()),
    }
}

/// Who of the staff corrected the person's address last, and could pass for the person with the mail that goes there.
pub(super) fn email_corrected_by(tx: &mut Tx<'_>, person: Id) -> Result<Option<Id>> {
    Ok(tx.get::<Person>(person)?.and_then(|node| node.doc.email_corrected_by))
}

/// Makes the record and, for a known person, their case file.
pub(super) fn create(
    tx: &mut Tx<'_>,
    id: Id,
    asked: RequestType,
    origin: &Origin,
) -> Result<Node<RequestDoc>> {
    let now = tx.now();
    let case_file = origin.subject.map(|_| tx.new_id());
    let verify_until = Timestamp(now.0 + VERIFY_DAYS * time::DAY);
    let mut doc = RequestDoc {
        asked,
        formats: Vec::new(),
        state: RequestState::Received,
        regime: origin.regime.clone(),
        channel: origin.channel,
        subject: origin.subject,
        requester: origin.requester,
        case_file,
        received_at: origin.received_at,
        due_at: origin.due_at,
        extension: None,
        verify_until,
        verified_by: None,
        codes_sent: 0,
        wrong_codes: 0,
        undo_until: None,
        needs_approval: false,
        decisions: Decisions::default(),
        approver: None,
        plan: None,
        erasure: None,
        archive: None,
        receipt: None,
        duplicate_of: None,
        denial: None,
        reminded: false,
        wake_at: None,
        callbacks: Vec::new(),
        recipients: Vec::new(),
        address: None,
        history: vec![RequestHistory { at: now, event: "received".to_owned(), by: origin.requester }],
    };
    doc.wake_at = next_waking(&doc);
    if let (RequestType::Erasure, Some(person)) = (asked, origin.subject)
        && let Some(by) = email_corrected_by(tx, person)?
    {
        doc.history.push(RequestHistory { at: now, event: ADDRESS_CORRECTED.to_owned(), by: Some(by) });
    }
    let node = tx.create::<Request>(New::under(Id::NIL, id, doc))?;
    if let (Some(person), Some(file)) = (origin.subject, case_file) {
        tx.get::<Person>(person)?.ok_or_else(|| Error::not_found("there is no such person"))?;
        tx.mention(id, person, MentionRole::Subject)?;
        let doc = CaseFileDoc {
            request: id,
            code_mac: None,
            code_until: None,
            comments: Vec::new(),
            destination: None,
            new_email: None,
        };
        tx.create::<CaseFile>(New::under(person, file, doc))?;
    }
    Ok(node)
}

/// The open, verified request of the same person that asks the same: in the same formats for the same place, or for an erasure with which no
/// less goes. One that has other things go with it is refused: there is one erasure of a person, and what was decided is not lost.
fn open_twin(tx: &mut Tx<'_>, person: Id, node: &Node<RequestDoc>) -> Result<Option<Id>> {
    let doc = &node.doc;
    match doc.asked {
        // What is to be corrected, and what is objected to, is said in words: two of these do not ask the same.
        RequestType::Rectification | RequestType::Objection => Ok(None),
        RequestType::Erasure => {
            let Some(other) = open_erasure(tx, person, node.id)? else { return Ok(None) };
            if doc.decisions != Decisions::default() && doc.decisions != other.doc.decisions {
                return Err(erased_already(other.id));
            }
            Ok(Some(other.id))
        }
        RequestType::Access | RequestType::Portability | RequestType::Restriction => {
            let place = destination(tx, doc)?.map(|destination| destination.location);
            for other in open_others(tx, person, doc.asked, node.id)? {
                if other.doc.formats == doc.formats
                    && destination(tx, &other.doc)?.map(|destination| destination.location) == place
                {
                    return Ok(Some(other.id));
                }
            }
            Ok(None)
        }
    }
}

/// The open, verified request for a person's erasure other than `but`.
pub(super) fn open_erasure(tx: &mut Tx<'_>, person: Id, but: Id) -> Result<Option<Node<RequestDoc>>> {
    Ok(open_others(tx, person, RequestType::Erasure, but)?.into_iter().next())
}

/// The open, verified requests of a person for this other than `but`, oldest first.
fn open_others(tx: &mut Tx<'_>, person: Id, asked: RequestType, but: Id) -> Result<Vec<Node<RequestDoc>>> {
    let mut others = super::queue::of_person(tx, person)?;
    others.retain(|other| {
        let doc = &other.doc;
        other.id != but && doc.asked == asked && doc.state.is_open() && doc.verified_by.is_some()
    });
    Ok(others)
}

/// Until when a person may change their mind about an erasure: no longer than it may take to answer. None where they are given no time, or none
/// is left.
pub(super) fn undo_end(options: &RequestOptions, doc: &RequestDoc, now: Timestamp) -> Option<Timestamp> {
    let end = Timestamp(now.0 + i64::from(options.undo_days) * time::DAY).min(doc.due_at);
    (end > now).then_some(end)
}

/// What is answered to a second erasure of a person.
pub(super) fn erased_already(request: Id) -> Error {
    Error::conflict(format!("this person's erasure is asked for already: request {request}")).hint(format!(
        "what else is to go is decided there (habeas request decide {request}, or PUT /api/privacy/v1/requests/{request}/decisions); or \
         call that one off first"
    ))
}

/// Where the archive that answers a request is to be sent, if anywhere.
pub(super) fn destination(tx: &mut Tx<'_>, doc: &RequestDoc) -> Result<Option<ArchiveDelivery>> {
    let Some(file) = doc.case_file else { return Ok(None) };
    Ok(tx.get::<CaseFile>(file)?.and_then(|file| file.doc.destination))
}

/// When a request was received, of which the staff may say that it was earlier.
fn received(said: Option<Timestamp>, now: Timestamp) -> Result<Timestamp> {
    match said {
        Some(at) if at > now => Err(Error::invalid("a request cannot have been received in the future")
            .hint("`received` is when it came to you; leave it out if that is now")),
        Some(at) if at.0 < now.0 - RECEIVED_DAYS * time::DAY => Err(Error::invalid(format!(
            "a request cannot have been received more than {RECEIVED_DAYS} days ago"
        ))
        .hint("check the year of `received`: the time to answer counts from there")),
        at => Ok(at.unwrap_or(now)),
    }
}

/// Refuses what staff cannot say about a request that they take in.
fn check_staff(channel: Channel, identity: Option<IdentityCheck>) -> Result<()> {
    if matches!(channel, Channel::SelfService | Channel::Form | Channel::Operator) {
        return Err(Error::invalid(
            "the channel of a request that staff take in is `email`, `letter`, `phone`, `inPerson` or `protocol`",
        ));
    }
    if matches!(identity, Some(IdentityCheck::SignIn | IdentityCheck::Code)) {
        return Err(Error::invalid("staff check an identity by `document`, `known` or `protocol`")
            .hint("leave it out, and a one-time code is sent"));
    }
    Ok(())
}

impl Case<'_, '_> {
    /// It is sure who asks, and nobody has their address: nothing is held, and they are told so.
    fn answer_nothing_held(&mut self, check: IdentityCheck, by: Option<Id>) -> Result<()> {
        if self.node.doc.address.is_none() {
            return Err(Error::conflict("nobody is known to whom this request could belong")
                .hint("deny it with the reason `no_match`"));
        }
        self.node.doc.verified_by = Some(check);
        self.node.doc.wrong_codes = 0;
        self.happen(RequestEvent::Verified(Gate::Open), by)?;
        self.happen(RequestEvent::Denied, None)?;
        self.node.doc.denial = Some(DenialReason::NoMatch);
        enqueue(self.tx, self.node.id, Letter::NothingHeld)
    }

    fn send_archive_to(&mut self, location: &str) -> Result<()> {
        let file = match self.node.doc.case_file {
            Some(file) => self.tx.get::<CaseFile>(file)?,
            None => None,
        };
        let mut file = file.ok_or_else(|| Error::internal("a request has no case file"))?;
        let (location, state) = (location.to_owned(), DeliveryState::Waiting);
        file.doc.destination = Some(ArchiveDelivery { location, state, ended_at: None });
        self.tx.update::<CaseFile>(&file).map(|_| ())
    }

    /// Lets the worker send a code, if there is somebody to send it to; says that it was sent in either case.
    pub(super) fn send_code(&mut self, by: Option<Id>) -> Result<()> {
        self.node.doc.codes_sent += 1;
        self.node.doc.wrong_codes = 0;
        self.happen(RequestEvent::CodeSent, by)?;
        let letter = if self.is_for_address()? { Letter::NewAddress } else { Letter::Code };
        enqueue(self.tx, self.node.id, letter)
    }
}
