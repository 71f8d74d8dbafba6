//! Lists by searchable numbers, a page at a time.

use habeas_core::{AttrKey, DataKind, Error, Id, Node, Result, Timestamp};

use super::Tx;
use super::nodes::typed;
use super::rows::select_nodes;
use crate::engine::Arg;

/// A searchable number that lies between two others, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Between {
    /// Which.
    pub key: AttrKey,
    /// The least.
    pub from: f64,
    /// The greatest.
    pub to: f64,
}

/// How many conditions a list can have.
const CONDITIONS: usize = 3;

impl Tx<'_> {
    /// What stands directly under `parent`, of kind `K`, meets all `conditions` (at most three) and is older than `after`; newest first.
    /// The cost of a page grows with what has to be passed over, not with what lies before `after`.
    pub fn children_between<K: DataKind>(
        &mut self,
        parent: Id,
        conditions: &[Between],
        after: Option<Id>,
        limit: u32,
    ) -> Result<Vec<Node<K::Doc>>> {
        if conditions.len() > CONDITIONS {
            return Err(Error::internal("a list has more conditions than the statement"));
        }
        let (created_at, id) = match after {
            None => (Timestamp(i64::MAX), Id::from_bytes([0xff; 16])),
            Some(id) => {
                let row = self.query_one("SELECT created_at FROM resource WHERE id = ?1", &[(&id).into()])?;
                let row = row.ok_or_else(|| {
                    Error::not_found("there is no such page").hint("begin with the first page again")
                })?;
                (row.time(0)?, id)
            }
        };
        let mut args: Vec<Arg<'_>> =
            vec![(&parent).into(), K::KIND.number().into(), created_at.into(), (&id).into()];
        for number in 0..CONDITIONS {
            match conditions.get(number) {
                Some(condition) => args.extend([
                    condition.key.number().into(),
                    Arg::Real(condition.from),
                    Arg::Real(condition.to),
                ]),
                None => args.extend([0_i16.into(), Arg::Real(0.0), Arg::Real(0.0)]),
            }
        }
        args.push(i64::from(limit).into());
        let rows = self.query(
            select_nodes!(
                "WHERE r.parent = ?1 AND r.kind = ?2 AND (r.created_at < ?3 OR (r.created_at = ?3 AND r.id < ?4)) \
                 AND (?5 = 0 OR EXISTS (SELECT 1 FROM attr a WHERE a.resource = r.id AND a.key = ?5 AND a.number >= ?6 AND a.number <= ?7)) \
                 AND (?8 = 0 OR EXISTS (SELECT 1 FROM attr a WHERE a.resource = r.id AND a.key = ?8 AND a.number >= ?9 AND a.number <= ?10)) \
                 AND (?11 = 0 OR EXISTS (SELECT 1 FROM attr a WHERE a.resource = r.id AND a.key = ?11 AND a.number >= ?12 AND a.number <= ?13)) \
                 ORDER BY r.created_at DESC, r.id DESC LIMIT ?14"
            ),
            &args,
        )?;
        rows.into_iter().map(|row| typed::<K>(self.shared.node(row)?)).collect()
    }
}
