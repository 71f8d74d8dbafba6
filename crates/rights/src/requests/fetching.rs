//! The archive of somebody who has no account to sign in with: whoever asked for it fetches it with another one-time code, which goes to the
//! address by which they are known.

use habeas_core::kinds::{AccountType, ExportArchive, Person};
use habeas_core::requests::{RequestEvent, RequestState};
use habeas_core::{BlobRef, Error, Id, Result};

use super::Case;
use super::code::{TRIES, code_is, wrong_code};
use super::mail::{Letter, enqueue};
use crate::Rights;

impl Rights {
    /// Whether the archive that answers a request is fetched with a code. For whoever has the request's id.
    pub async fn has_archive_by_code(&self, request: Id) -> Result<bool> {
        self.store.read(move |tx| Ok(Case::open(tx, request)?.archive_by_code()?.is_some())).await
    }

    /// The archive that answers a request, for whoever has the code that was sent for it; recorded as the person's own download. The code is
    /// good for as long as any other, so that a broken download can begin again. Not found as long as there is none, whoever asked.
    pub async fn fetch_archive(&self, request: Id, code: &str) -> Result<BlobRef> {
        let given = self.code_mac(request, code)?;
        let found = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                let archive = case.archive_by_code()?.ok_or_else(|| {
                    Error::not_found("there is no archive here that is fetched with a code")
                        .hint("one that answers a request is kept for 7 days; who has an account signs in and fetches it there")
                })?;
                let now = case.tx.now();
                if case.node.doc.wrong_codes < TRIES && code_is(case.tx, &case.node, &given, now)? {
                    return Ok(Some((case.subject()?, archive)));
                }
                // Counted, and so not rolled back: the refusal is made outside.
                case.node.doc.wrong_codes = case.node.doc.wrong_codes.saturating_add(1);
                case.save()?;
                Ok(None)
            })
            .await?;
        let (person, archive) = found.ok_or_else(wrong_code)?;
        let blob = self.export_blob(archive).await?;
        self.access.telemetry().note(person, "DownloadExport", 200);
        self.forget_letter(request).await;
        Ok(blob)
    }
}

impl Case<'_, '_> {
    /// The archive that answers it, while it is there and its person has an address but no account with which to fetch it.
    pub(super) fn archive_by_code(&mut self) -> Result<Option<Id>> {
        let doc = &self.node.doc;
        let (RequestState::Completed, Some(person), Some(archive)) = (doc.state, doc.subject, doc.archive)
        else {
            return Ok(None);
        };
        // What goes with an erasure cannot be opened any more.
        if !self.tx.is_active(person)? {
            return Ok(None);
        }
        let is_unclaimed = self.tx.get::<Person>(person)?.is_some_and(|node| {
            node.doc.account_type == AccountType::Unclaimed && !node.doc.email.is_empty()
        });
        let now = self.tx.now();
        let archive = self.tx.get::<ExportArchive>(archive)?.filter(|node| {
            is_unclaimed && node.doc.archive.is_some() && node.expires_at.is_none_or(|end| end > now)
        });
        Ok(archive.map(|node| node.id))
    }

    /// Lets the worker send a code for the archive; false when there is none to fetch with it.
    pub(super) fn send_archive_code(&mut self) -> Result<bool> {
        if self.archive_by_code()?.is_none() {
            return Ok(false);
        }
        self.node.doc.codes_sent += 1;
        self.node.doc.wrong_codes = 0;
        self.note(RequestEvent::CodeSent.name(), None);
        enqueue(self.tx, self.node.id, Letter::ArchiveCode)?;
        Ok(true)
    }
}
