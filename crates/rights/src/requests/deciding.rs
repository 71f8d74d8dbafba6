//! What the staff decide, and what the person may still call off.

use habeas_access::Actor;
use habeas_core::report::RequestReport;
use habeas_core::requests::{
    DenialReason, ExtensionReason, Gate, Outcome, RequestEvent, RequestState, RequestType, next,
};
use habeas_core::{Error, Id, Result, fault};
use habeas_store::{HolderState, Removed, Store};

use super::choosing::DECIDED;
use super::intake::email_corrected_by;
use super::mail::{Letter, enqueue, enqueue_with_answer};
use super::{ADDRESS_CORRECTED, CORRECTED, Case, RESTRICTED, carrying, checked};
use crate::{Rectify, Rights, plan, recipients};

impl Rights {
    /// Approves the erasure that a request asks for, as a second person, and runs it. `digest` is that of the plan as it would be
    /// made now ([`Rights::request_plan`]): refused when what is held has changed since the approver looked, who has signed in a moment ago
    /// ([`Rights::require_fresh`]).
    pub async fn approve_request(&self, actor: &Actor, request: Id, digest: &str) -> Result<RequestReport> {
        self.authorise_decision(actor, request, "ApproveRequest").await?;
        self.require_fresh(actor)?;
        let (by, digest, salt) = (actor.reference(), digest.to_owned(), self.salt());
        let rights = self.clone();
        let report = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                if case.took_part(by)? {
                    return Err(Error::forbidden("an erasure is approved by a second person").hint(
                        "whoever took the request in, whoever said that it is the person, whoever decided last what goes with it, \
                         whoever corrected the person's e-mail address last, and the person may not approve it",
                    ));
                }
                // An approval that cannot be given now is refused for that reason first.
                case.happen(RequestEvent::Approved, Some(by))?;
                let subject = case.subject()?;
                let now = plan::make(case.tx, subject, &case.node.doc.decisions)?;
                if now.digest != digest {
                    return Err(Error::conflict("the digest is not that of what would be erased now")
                        .hint("look at the plan and its difference again: what is held may have changed"));
                }
                if let Some(reason) = now.blocked.first() {
                    return Err(Error::conflict(reason.clone()));
                }
                case.node.doc.approver = Some(by);
                case.node.doc.plan = Some(carrying::planned(&now, case.tx.now()));
                rights.go_on(&mut case, salt)?;
                case.save()?;
                case.report()
            })
            .await?;
        fault::point("request.approved");
        self.wake();
        Ok(report)
    }

    /// Refuses a request; `text` is the answer to the person, besides the reason.
    pub async fn deny_request(
        &self,
        actor: &Actor,
        request: Id,
        reason: DenialReason,
        text: &str,
    ) -> Result<RequestReport> {
        self.authorise_decision(actor, request, "DenyRequest").await?;
        let (by, text, store) = (actor.reference(), text.to_owned(), self.store.clone());
        let report = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                case.happen(RequestEvent::Denied, Some(by))?;
                case.node.doc.denial = Some(reason);
                let answer = case.answer(&store, by, &text)?;
                enqueue_with_answer(case.tx, request, Letter::Denied, answer)?;
                case.save()?;
                case.report()
            })
            .await?;
        fault::point("request.denied");
        self.wake();
        Ok(report)
    }

    /// Extends the time to answer, once, as long as the first is not over.
    pub async fn extend_request(
        &self,
        actor: &Actor,
        request: Id,
        reason: ExtensionReason,
        text: &str,
    ) -> Result<RequestReport> {
        self.authorise_decision(actor, request, "ExtendRequest").await?;
        let (by, text) = (actor.reference(), text.to_owned());
        let rights = self.clone();
        let report = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                let doc = &mut case.node.doc;
                if !doc.state.is_open() {
                    return Err(Error::conflict(format!("the request has ended: {}", doc.state.name())));
                }
                if doc.extension.is_some() {
                    return Err(Error::conflict(
                        "the time to answer was extended already; the law allows it once",
                    ));
                }
                if doc.due_at < case.tx.now() {
                    return Err(Error::conflict(
                        "the time to answer is over: an extension has to be told within it",
                    ));
                }
                let deadlines = &rights.requests.deadlines;
                doc.due_at = deadlines.due(deadlines.regime(Some(&doc.regime))?, doc.received_at, true)?;
                doc.extension = Some(reason);
                doc.reminded = false;
                case.note("extended", Some(by));
                let answer = case.answer(&rights.store, by, &text)?;
                enqueue_with_answer(case.tx, request, Letter::Extended, answer)?;
                // What failed or is blocked goes on when it would have.
                let again = case.node.doc.wake_at;
                case.plan_waking();
                case.node.doc.wake_at = case.node.doc.wake_at.into_iter().chain(again).min();
                case.save()?;
                case.report()
            })
            .await?;
        self.wake();
        Ok(report)
    }

    /// Adds a note, by the staff or by the person. It is the person's data: their archive holds it.
    pub async fn comment_request(&self, actor: &Actor, request: Id, text: &str) -> Result<RequestReport> {
        self.authorise_request(actor, request, "CommentRequest").await?;
        let (by, text) = (actor.reference(), text.to_owned());
        self.store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                case.write(by, &text, false)?;
                case.note("commented", Some(by));
                case.save()?;
                case.report()
            })
            .await
    }

    /// Carries out what an officer agrees to, and closes the request: a restriction begins, also as what an objection leads to, and what
    /// `change` names is corrected. What was done is the answer to the person. Each part can be repeated, so a request that a crash left open is completed again.
    pub async fn complete_request(
        &self,
        actor: &Actor,
        request: Id,
        text: &str,
        change: Option<Rectify>,
    ) -> Result<RequestReport> {
        self.authorise_decision(actor, request, "CompleteRequest").await?;
        // Before anything is corrected or restricted.
        let (by, text) = (actor.reference(), checked(text)?.to_owned());
        let (asked, subject) = self
            .store
            .read(move |tx| {
                let case = Case::open(tx, request)?;
                next(case.node.doc.asked, case.node.doc.state, RequestEvent::Started)?;
                Ok((case.node.doc.asked, case.subject()?))
            })
            .await?;
        let done = match (asked, change) {
            (RequestType::Rectification, Some(change)) => {
                self.correct(actor, subject, change, None).await?;
                Some(CORRECTED)
            }
            (_, Some(_)) => {
                return Err(Error::invalid("only a rectification corrects something")
                    .hint("leave `rectification` out"));
            }
            // Who objects has the use of their data stopped: it may be seen, exported and erased, and is neither learned from nor predicted with.
            (RequestType::Restriction | RequestType::Objection, None) => {
                self.set_restricted(subject, true, None).await?;
                Some(RESTRICTED)
            }
            // Corrected before, or there was nothing to correct: the answer says which.
            (_, None) => None,
        };
        fault::point("request.carried_out");
        let report = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                if matches!(
                    case.node.doc.asked,
                    RequestType::Access | RequestType::Portability | RequestType::Erasure
                ) {
                    return Err(Error::conflict("this request is carried out by the server itself"));
                }
                case.happen(RequestEvent::Started, Some(by))?;
                if let Some(done) = done {
                    case.note(done, Some(by));
                }
                case.node.doc.recipients =
                    recipients::concerned(case.tx, subject)?.into_iter().map(|node| node.id).collect();
                case.happen(RequestEvent::Finished(Outcome::Clean), Some(by))?;
                case.node.doc.approver = Some(by);
                case.write(by, &text, true)?;
                enqueue(case.tx, request, Letter::Answered)?;
                case.save()?;
                case.report()
            })
            .await?;
        fault::point("request.completed");
        self.wake();
        Ok(report)
    }

    /// Calls a request off: the person's own, also by a program that they let in, or by the staff themselves. Possible until keys are
    /// destroyed.
    pub async fn cancel_request(&self, actor: &Actor, request: Id) -> Result<RequestReport> {
        let node = self.authorise_request(actor, request, "CancelRequest").await?;
        let by = actor.reference();
        if node.doc.subject != Some(by) {
            self.require_in_person(actor)?;
        }
        let state = match node.doc.subject {
            Some(subject) => self.state_after_cancelling(subject).await?,
            None => HolderState::Active,
        };
        let (report, removed) = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                let running = matches!(case.node.doc.state, RequestState::Running | RequestState::Failed);
                let removed = if running { case.stop(state)? } else { Removed::default() };
                case.happen(RequestEvent::Cancelled, Some(by))?;
                case.save()?;
                Ok((case.report()?, removed))
            })
            .await?;
        fault::point("request.cancelled");
        self.store.finish(&removed).await;
        self.forget_address(request).await;
        self.forget_letters_about(request).await;
        Ok(report)
    }
}

impl Case<'_, '_> {
    /// Whether somebody took the request in, said that it is the person who asks, decided last what goes with it, corrected the person's
    /// address last, or is the person: then they are no second one. The operator is nobody in particular: what was done twice through the
    /// server's socket may have been done by one.
    fn took_part(&mut self, by: Id) -> Result<bool> {
        let doc = &self.node.doc;
        let verified = RequestEvent::Verified(Gate::Approval).name();
        let decided = doc.history.iter().rfind(|entry| entry.event == DECIDED);
        if doc.requester == Some(by)
            || doc.subject == Some(by)
            || decided.is_some_and(|entry| entry.by == Some(by))
            || doc.history.iter().any(|entry| {
                (entry.event == verified || entry.event == ADDRESS_CORRECTED) && entry.by == Some(by)
            })
        {
            return Ok(true);
        }
        let subject = self.subject()?;
        Ok(email_corrected_by(self.tx, subject)? == Some(by))
    }

    /// Whose data it is about.
    pub(super) fn subject(&self) -> Result<Id> {
        self.node.doc.subject.ok_or_else(|| {
            Error::conflict("nobody is known to whom this request could belong")
                .hint("deny it with the reason `no_match`")
        })
    }

    /// Writes an answer, if there is one. Where nobody is known who could have a case file, it is returned for the letter, sealed as the
    /// address is to which that goes, and is forgotten with it.
    fn answer(&mut self, store: &Store, by: Id, text: &str) -> Result<Option<String>> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        if self.node.doc.subject.is_some() {
            return self.write(by, text, true).map(|()| None);
        }
        let request = self.node.id;
        let address = match &self.node.doc.address {
            Some(address) => store.open_once(request, &address.sealed)?,
            None => None,
        };
        if address.is_none() {
            return Err(Error::conflict("there is no address to which the text could be sent")
                .hint("leave `text` out, and tell whoever asked in another way"));
        }
        store.seal_once(request, checked(text)?.as_bytes()).map(Some)
    }
}
