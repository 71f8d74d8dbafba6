//! What has a text as an attribute, whosever it is.
//!
//! A searchable text is stored as a MAC under the key of its project, so that it dies with that. Looking everywhere therefore takes one MAC and one
//! look into an index for each project, and opens nothing but what is found.

use habeas_core::node::Relation;
use habeas_core::{AttrKey, Id, Kind, Result};

use super::{HolderState, Tx};
use crate::Store;
use crate::engine::Arg;

/// Projects looked into by one statement.
const MACS: usize = 40;
/// Resources indexed in one transaction.
const PAGE: i64 = 500;

/// What a hold keeps is no project any more.
const PROJECTS: &str = "SELECT r.id, r.generation,
        (SELECT COUNT(*) FROM edge e WHERE e.source = r.id AND e.relation = ?2 AND e.target = r.id)
     FROM resource r JOIN holder h ON h.id = r.holder
     WHERE r.kind = ?1 AND r.container = r.id AND h.state <> 1";
const WITH_ONE_OF: &str = "SELECT a.resource FROM attr a WHERE a.key = ?1 AND a.mac IN
     (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
      ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39, ?40, ?41)";

/// What was found everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Everywhere {
    /// What has the text, in the order of ids.
    pub found: Vec<Id>,
    /// Projects in which more may have it, until they are indexed: see [`Store::index`].
    pub unindexed: Vec<Id>,
}

impl Tx<'_> {
    /// What has this text as the attribute `key` in any project of anybody who is not being erased. Costs as much as there are projects, and
    /// what is found.
    pub fn everywhere_by_text(&mut self, key: AttrKey, text: &str) -> Result<Everywhere> {
        let mut everywhere = Everywhere::default();
        let args = [Kind::Project.number().into(), Relation::Indexed.number().into()];
        let mut macs = Vec::new();
        for row in &self.query(PROJECTS, &args)? {
            let (project, generation) = (row.id(0)?, row.int(1)? as u32);
            macs.push(self.shared.text_mac(project, generation, key.number(), text)?);
            if row.int(2)? == 0 {
                everywhere.unindexed.push(project);
            }
        }
        for some in macs.chunks(MACS) {
            let mut args: Vec<Arg<'_>> = vec![key.number().into()];
            args.extend((0..MACS).map(|number| some.get(number).map_or(Arg::Null, |mac| (&mac[..]).into())));
            for row in &self.query(WITH_ONE_OF, &args)? {
                everywhere.found.push(row.id(0)?);
            }
        }
        everywhere.found.sort_unstable();
        Ok(everywhere)
    }

    /// Projects in which something may not be found by its attributes: see [`Store::index`].
    pub fn unindexed(&mut self) -> Result<Vec<Id>> {
        let args = [Kind::Project.number().into(), Relation::Indexed.number().into()];
        let mut unindexed = Vec::new();
        for row in &self.query(PROJECTS, &args)? {
            if row.int(2)? == 0 {
                unindexed.push(row.id(0)?);
            }
        }
        Ok(unindexed)
    }

    /// Writes the attributes of a page of a project's images, or of a workspace's runs, which a version before had not declared yet, after
    /// `after`; the last of them, none when nothing is left to do.
    fn index(&mut self, project: Id, after: Id) -> Result<Option<Id>> {
        match self.place(project)? {
            Some(place) if place.container == project && place.state != HolderState::Frozen => {}
            _ => return Ok(None),
        }
        let rows = self.query(
            "SELECT id FROM resource WHERE container = ?1 AND id > ?2 AND kind IN (?4, ?5, ?6) ORDER BY id LIMIT ?3",
            &[
                (&project).into(),
                (&after).into(),
                Arg::Int(PAGE),
                Kind::Image.number().into(),
                Kind::KeptImage.number().into(),
                Kind::Run.number().into(),
            ],
        )?;
        let mut last = None;
        for row in &rows {
            let id = row.id(0)?;
            last = Some(id);
            // Whoever changes it at the same time waits, or this is done again.
            if self.hold(id)?
                && let Some(place) = self.place(id)?
                && let Some(node) = self.raw(id)?
            {
                self.execute("DELETE FROM attr WHERE resource = ?1", &[(&id).into()])?;
                self.write_attrs(id, node.kind, place.container, place.generation, &node.doc)?;
            }
        }
        if last.is_none() {
            self.connect(project, project, Relation::Indexed)?;
        }
        Ok(last)
    }
}

impl Store {
    /// Writes the searchable attributes of a project's images, or of a workspace's runs, which a version before had not declared yet. Nothing
    /// happens when it is gone or being erased. May be repeated.
    pub async fn index(&self, project: Id) -> Result<()> {
        let mut after = Id::NIL;
        while let Some(last) = self.write(move |tx| tx.index(project, after)).await? {
            after = last;
        }
        Ok(())
    }
}
