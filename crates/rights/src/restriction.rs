//! Restriction of processing (GDPR Article 18).
//!
//! What a restricted person holds can be seen, exported and erased, but nobody changes it, learns from it or asks its models; trainings of
//! others that would learn from copies of it are refused. Models of others that had learned from it before go on: only erasure takes
//! it out of them.

use habeas_access::Actor;
use habeas_core::requests::RequestType;
use habeas_core::{Error, Id, Result};
use habeas_store::HolderState;
use habeas_store::ledger::Record;

use crate::Rights;
use crate::requests::{Direct, record_direct_change};

impl Rights {
    /// Restricts the processing of a person's data, or lifts the restriction, without a request; recipients are told of a restriction. The
    /// caller has checked that the actor may. Durable, also against a restore of an older backup, when this returns.
    pub async fn restrict(&self, actor: &Actor, person: Id, restricted: bool) -> Result<()> {
        self.set_restricted(person, restricted, Some(Direct::new(self, actor))).await?;
        self.wake();
        Ok(())
    }

    /// The same, of a request unless it is `direct`.
    pub(crate) async fn set_restricted(
        &self,
        person: Id,
        restricted: bool,
        direct: Option<Direct>,
    ) -> Result<()> {
        if self.is_restricted(person).await? == restricted {
            return Ok(());
        }
        self.store
            .with_ledger(move |ledger| {
                ledger.append(&[Record::Restricted { person, restricted }]).map(|_| ())
            })
            .await?;
        habeas_core::fault::point("restriction.recorded");
        self.store
            .write(move |tx| match tx.holder(person)? {
                Some((_, HolderState::Active)) if restricted => {
                    if let Some(direct) = &direct {
                        record_direct_change(tx, person, RequestType::Restriction, direct)?;
                    }
                    tx.set_holder_state(person, HolderState::Restricted)
                }
                Some((_, HolderState::Restricted)) if !restricted => {
                    tx.set_holder_state(person, HolderState::Active)
                }
                _ => Ok(()),
            })
            .await
    }

    /// Whether the processing of a person's data is restricted.
    pub async fn is_restricted(&self, person: Id) -> Result<bool> {
        let state = self
            .store
            .read(move |tx| tx.holder(person))
            .await?
            .map(|(_, state)| state)
            .ok_or_else(|| Error::not_found("there is no such person"))?;
        match state {
            HolderState::Active => Ok(false),
            HolderState::Restricted => Ok(true),
            HolderState::Frozen => Err(Error::frozen("the data of this account is being erased")),
        }
    }

    /// The state that a person has again when their erasure is called off.
    pub(crate) async fn state_after_cancelling(&self, person: Id) -> Result<HolderState> {
        let restricted =
            self.store.with_ledger(move |ledger| Ok(ledger.restricted().contains(&person))).await?;
        Ok(if restricted { HolderState::Restricted } else { HolderState::Active })
    }
}
