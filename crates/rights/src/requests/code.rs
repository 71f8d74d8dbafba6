//! One-time codes: sent, repeated, wrong.

use habeas_access::Actor;
use habeas_core::kinds::{CaseFile, RequestDoc};
use habeas_core::report::{RequestReport, RequestStatusReport};
use habeas_core::requests::{IdentityCheck, RequestState};
use habeas_core::{Error, Id, Node, Result, Timestamp, crypto, fault};
use habeas_store::Tx;

use super::{Case, case_file, status};
use crate::Rights;

/// Digits of a code.
const DIGITS: usize = 8;
/// How long a code is good, in microseconds: one hour.
const GOOD_FOR: i64 = 3_600_000_000;
/// Wrong codes until the right one is no longer taken.
pub(super) const TRIES: u32 = 5;
/// Codes that are sent for one request.
const CODES: u32 = 5;

pub(super) fn wrong_code() -> Error {
    Error::invalid("that is not the code, or it is no longer good")
        .hint("the code is good for one hour and five attempts; a new one can be sent")
}

impl Rights {
    /// Verifies a request by its code. Whoever has the request's id may try; to a wrong code the answer is the same whether or not
    /// the person is known.
    pub async fn verify_request(&self, request: Id, code: &str) -> Result<RequestStatusReport> {
        let given = self.code_mac(request, code)?;
        self.find_subject(request, Some(given)).await?;
        let salt = self.salt();
        let rights = self.clone();
        let verified = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                if !matches!(case.node.doc.state, RequestState::Received | RequestState::Verifying) {
                    return if case.node.doc.verified_by == Some(IdentityCheck::Code) {
                        Ok(Some(()))
                    } else {
                        Err(wrong_code())
                    };
                }
                let now = case.tx.now();
                let tries_left = case.node.doc.wrong_codes < TRIES && now < case.node.doc.verify_until;
                if tries_left && code_is(case.tx, &case.node, &given, now)? {
                    rights.verified(&mut case, IdentityCheck::Code, None, salt)?;
                    case.save()?;
                    return Ok(Some(()));
                }
                // Counted, and so not rolled back: the refusal is made outside.
                case.node.doc.wrong_codes = case.node.doc.wrong_codes.saturating_add(1);
                case.save()?;
                Ok(None)
            })
            .await?;
        fault::point("request.verified");
        verified.ok_or_else(wrong_code)?;
        self.forget_letter(request).await;
        self.change_address(request).await?;
        self.wake();
        self.request_status(request).await
    }

    /// Sends another code: for the request, or for the archive that answers it, of somebody who has no account. The answer is the same whether
    /// or not the person is known.
    pub async fn resend_code(&self, request: Id) -> Result<RequestStatusReport> {
        self.throttle.attempt(crypto::sha256(request.as_bytes()), self.store.ambient().now())?;
        let status = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                if case.node.doc.codes_sent >= CODES {
                    return Err(
                        Error::busy("no more codes are sent for this request").hint("make a new request")
                    );
                }
                if !case.send_archive_code()? {
                    case.send_code(None)?;
                }
                case.save()?;
                status(case.tx, &case.node)
            })
            .await?;
        self.wake();
        Ok(status)
    }

    /// Notes how somebody of the staff made sure who asks.
    pub async fn confirm_identity(
        &self,
        actor: &Actor,
        request: Id,
        check: IdentityCheck,
    ) -> Result<RequestReport> {
        if !matches!(check, IdentityCheck::Document | IdentityCheck::Known | IdentityCheck::Protocol) {
            return Err(Error::invalid("staff check an identity by `document`, `known` or `protocol`"));
        }
        self.authorise_decision(actor, request, "ConfirmIdentity").await?;
        self.find_subject(request, None).await?;
        let (by, salt) = (actor.reference(), self.salt());
        let rights = self.clone();
        let report = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                if case.is_for_address()? {
                    return Err(Error::conflict("only the code shows that the new address is the person's")
                        .hint("if you know that it is, correct it: habeas person rectify, or PATCH /api/privacy/v1/persons/ID"));
                }
                rights.verified(&mut case, check, Some(by), salt)?;
                case.save()?;
                case.report()
            })
            .await?;
        fault::point("request.identity_confirmed");
        self.forget_letter(request).await;
        self.wake();
        Ok(report)
    }

    /// Makes a code for a request that waits for one, and keeps its MAC; the address to send it to and the code. None when nobody
    /// waits for it any more.
    pub(super) async fn new_code(&self, request: Id) -> Result<Option<String>> {
        let number = u64::from_be_bytes(self.store.ambient().bytes()) % 10_u64.pow(DIGITS as u32);
        let code = format!("{number:0DIGITS$}");
        let mac = hex::encode(self.code_mac(request, &code)?);
        self.store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                if case.node.doc.state != RequestState::Verifying && case.archive_by_code()?.is_none() {
                    return Ok(None);
                }
                let (mac, until) = (Some(mac.clone()), Some(Timestamp(case.tx.now().0 + GOOD_FOR)));
                if let Some(mut file) = case_file(case.tx, &case.node.doc)? {
                    (file.doc.code_mac, file.doc.code_until) = (mac, until);
                    case.tx.update::<CaseFile>(&file)?;
                } else if let Some(address) = &mut case.node.doc.address {
                    (address.code_mac, address.code_until) = (mac, until);
                    case.save()?;
                } else {
                    return Ok(None);
                }
                Ok(Some(code.clone()))
            })
            .await
    }

    pub(super) fn code_mac(&self, request: Id, code: &str) -> Result<[u8; 32]> {
        // Read from a screen, a code comes with spaces and hyphens.
        let digits: String = code.chars().filter(char::is_ascii_digit).take(DIGITS + 1).collect();
        let key = self.store.installation_key(b"request-code")?;
        Ok(crypto::mac(&key, format!("{request}:{digits}").as_bytes()))
    }
}

/// Whether this is the code that was sent last, and still good.
pub(super) fn code_is(
    tx: &mut Tx<'_>,
    node: &Node<RequestDoc>,
    given: &[u8; 32],
    now: Timestamp,
) -> Result<bool> {
    let (mac, until) = match (case_file(tx, &node.doc)?, &node.doc.address) {
        (Some(file), _) => (file.doc.code_mac, file.doc.code_until),
        (None, Some(address)) => (address.code_mac.clone(), address.code_until),
        (None, None) => (None, None),
    };
    let kept = mac.filter(|_| until.is_some_and(|end| now < end)).unwrap_or_default();
    Ok(crypto::constant_time_eq(hex::encode(given).as_bytes(), kept.as_bytes()))
}
