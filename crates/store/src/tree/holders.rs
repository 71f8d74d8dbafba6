//! Holders: the accounts that everything belongs to.

use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::{Error, Id, Result, Timestamp};

use super::Tx;
use crate::engine::Lock;

/// Whether a holder may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderState {
    /// In use.
    Active,
    /// Being erased: every write to what it holds is refused.
    Frozen,
    /// Kept and shown, but not processed otherwise: nobody may change it, learn from it or ask its models.
    Restricted,
}

impl HolderState {
    fn number(self) -> i64 {
        match self {
            HolderState::Active => 0,
            HolderState::Frozen => 1,
            HolderState::Restricted => 2,
        }
    }

    pub(super) fn from_number(number: i64) -> Result<HolderState> {
        match number {
            0 => Ok(HolderState::Active),
            1 => Ok(HolderState::Frozen),
            2 => Ok(HolderState::Restricted),
            _ => Err(Error::damaged(format!("no holder state has the number {number}"))),
        }
    }
}

/// The refusal of a write to a holder that is being erased.
pub(super) fn frozen() -> Error {
    Error::frozen("the data of this account is being erased; it can no longer be changed")
}

impl Tx<'_> {
    /// Makes a holder. Its root resource, with the same id, is made by [`Tx::create`] afterwards.
    pub fn create_holder(&mut self, id: Id, kind: HolderKind) -> Result<()> {
        let now = self.now;
        self.execute(
            "INSERT INTO holder (id, kind, state, created_at) VALUES (?1, ?2, 0, ?3)",
            &[(&id).into(), kind.number().into(), now.into()],
        )?;
        Ok(())
    }

    /// What sort of holder this is, and whether it may be written to; none when it does not exist.
    pub fn holder(&mut self, id: Id) -> Result<Option<(HolderKind, HolderState)>> {
        self.query_one("SELECT kind, state FROM holder WHERE id = ?1", &[(&id).into()])?
            .map(|row| Ok((HolderKind::from_number(row.int(0)?)?, HolderState::from_number(row.int(1)?)?)))
            .transpose()
    }

    /// All holders of a kind, oldest first, after `after`.
    pub fn holders(&mut self, kind: HolderKind, after: Id, limit: u32) -> Result<Vec<(Id, Timestamp)>> {
        self.query(
            "SELECT id, created_at FROM holder WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            &[kind.number().into(), (&after).into(), i64::from(limit).into()],
        )?
        .iter()
        .map(|row| Ok((row.id(0)?, row.time(1)?)))
        .collect()
    }

    /// The holders that are being erased, in the order of ids.
    pub fn frozen_holders(&mut self) -> Result<Vec<Id>> {
        self.query("/* reads all */ SELECT id FROM holder WHERE state = 1 ORDER BY id", &[])?
            .iter()
            .map(|row| row.id(0))
            .collect()
    }

    /// How many holders of a kind there are.
    pub fn count_holders(&mut self, kind: HolderKind) -> Result<u64> {
        Ok(self
            .number("/* reads all */ SELECT COUNT(*) FROM holder WHERE kind = ?1", &[kind.number().into()])?
            as u64)
    }

    /// Freezes or thaws a holder. From the commit on no write to what it holds succeeds: writers that came before are
    /// waited for, those that come after see it.
    pub fn set_holder_state(&mut self, id: Id, state: HolderState) -> Result<()> {
        self.engine.query("SELECT state FROM holder WHERE id = ?1", &[(&id).into()], Lock::Update)?;
        match self
            .execute("UPDATE holder SET state = ?2 WHERE id = ?1", &[(&id).into(), state.number().into()])?
        {
            0 => Err(Error::not_found("no such person or organisation")),
            _ => Ok(()),
        }
    }

    /// Lets two transactions that change who has a role in what this holder holds, or freeze somebody who has one, not both go by what they saw
    /// before: of two at a time the later one is run again.
    pub fn lock_roles(&mut self, holder: Id) -> Result<()> {
        // A row that is locked only would be waited for, and then seen as it was before.
        self.execute("UPDATE holder SET state = state WHERE id = ?1", &[(&holder).into()])?;
        Ok(())
    }

    /// The person who is known by `text` of a scheme such as `email`.
    pub fn find_alias(&self, scheme: &str, text: &str) -> Result<Option<Id>> {
        Ok(self.shared.keyring.lookup_alias(&self.shared.alias(scheme, text)?))
    }

    /// Whether the data of anybody is restricted.
    pub fn has_restrictions(&mut self) -> Result<bool> {
        Ok(self.query_one("SELECT 1 FROM holder WHERE state = 2 LIMIT 1", &[])?.is_some())
    }

    /// Removes the holder itself, once nothing is held any more; its mentions go with it. Idempotent.
    pub fn remove_holder(&mut self, id: Id) -> Result<()> {
        self.execute("DELETE FROM holder WHERE id = ?1", &[(&id).into()])?;
        Ok(())
    }

    /// The same for one whose keys are destroyed, except that they stay, frozen, as long as images of others are tied to them: only by that are
    /// those found that name them. What others hold that shows them or has text of theirs is re-sealed in any case, since the task that was to
    /// do it went with a restore.
    pub(super) fn remove_erased_holder(&mut self, id: Id) -> Result<()> {
        let [depicted, maker, editor] = [MentionRole::Depicted, MentionRole::Maker, MentionRole::Editor];
        let containers = self.query(
            "SELECT DISTINCT r.container FROM mention m JOIN resource r ON r.id = m.resource
             WHERE m.person = ?1 AND m.role IN (?2, ?3, ?4) AND r.holder <> ?5",
            &[
                (&id).into(),
                depicted.number().into(),
                maker.number().into(),
                editor.number().into(),
                (&Id::NIL).into(),
            ],
        )?;
        for row in &containers {
            self.schedule_resealing(row.id(0)?)?;
        }
        let depicted = self.query_one(
            "SELECT 1 FROM mention WHERE person = ?1 AND role = ?2 LIMIT 1",
            &[(&id).into(), depicted.number().into()],
        )?;
        match depicted {
            Some(_) => self.set_holder_state(id, HolderState::Frozen),
            None => self.remove_holder(id),
        }
    }

    /// Fails when the holder is frozen or gone; otherwise keeps it as it is until the transaction ends.
    pub(crate) fn require_active(&mut self, holder: Id) -> Result<()> {
        let rows =
            self.engine.query("SELECT state FROM holder WHERE id = ?1", &[(&holder).into()], Lock::Share)?;
        match rows.first() {
            None => Err(Error::not_found("no such person or organisation")),
            Some(row) => match HolderState::from_number(row.int(0)?)? {
                HolderState::Active | HolderState::Restricted => Ok(()),
                HolderState::Frozen => Err(frozen()),
            },
        }
    }
}
