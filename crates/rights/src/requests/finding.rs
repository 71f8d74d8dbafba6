//! Whom a request is about that was taken in by an address that nobody's account has: images of others may name it.

use habeas_core::kind::MentionRole;
use habeas_core::kinds::{CaseFile, CaseFileDoc};
use habeas_core::requests::RequestState;
use habeas_core::{ErrorKind, Id, Result, fault};
use habeas_store::New;

use super::Case;
use super::code::code_is;
use crate::Rights;

impl Rights {
    /// Takes up the unclaimed person whom images name by the address of a request, before it is answered that nothing is held; nothing happens
    /// when nobody is named so, or when `code`, the MAC of a code that was typed, is not that of the right one.
    pub(super) async fn find_subject(&self, request: Id, code: Option<[u8; 32]>) -> Result<()> {
        let address = self
            .store
            .read(move |tx| {
                let case = Case::open(tx, request)?;
                let doc = &case.node.doc;
                let waits = matches!(doc.state, RequestState::Received | RequestState::Verifying);
                let now = case.tx.now();
                let is_right = match &code {
                    Some(code) => code_is(case.tx, &case.node, code, now)?,
                    None => true,
                };
                let address = doc.address.as_ref().filter(|_| waits && is_right && doc.subject.is_none());
                Ok(address.map(|address| address.sealed.clone()))
            })
            .await?;
        let Some(sealed) = address else { return Ok(()) };
        let Some(address) = self.store.open_once(request, &sealed)? else { return Ok(()) };
        let person = match self.take_up(&String::from_utf8_lossy(&address), None).await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            taken_up => taken_up?.object_id.parse::<Id>()?,
        };
        fault::point("request.subject_found");
        self.store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                let Some(address) = case.node.doc.address.take_if(|_| case.node.doc.subject.is_none()) else {
                    return Ok(());
                };
                let file = case.tx.new_id();
                case.node.doc.subject = Some(person);
                case.node.doc.case_file = Some(file);
                case.tx.mention(request, person, MentionRole::Subject)?;
                let doc = CaseFileDoc {
                    request,
                    code_mac: address.code_mac,
                    code_until: address.code_until,
                    comments: Vec::new(),
                    destination: None,
                    new_email: None,
                };
                case.tx.create::<CaseFile>(New::under(person, file, doc))?;
                case.save()
            })
            .await?;
        self.forget_address(request).await;
        Ok(())
    }
}
