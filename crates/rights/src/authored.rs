//! What a person wrote in what others hold: it stays with those others, and names its author no more.

use habeas_core::author::Author;
use habeas_core::kinds::{ClientName, DatasetInput, Person};
use habeas_core::{DataKind as _, ErrorKind, Id, Kind, Result};
use habeas_store::{Page, Tx};

use crate::Rights;

/// How many documents are looked at in one transaction.
const PAGE: u32 = 200;

impl Rights {
    /// Takes the person's addresses, names and home directories out of what they made for others. Repeatable; must come before their keys
    /// are destroyed, with which their names are read.
    pub(crate) async fn forget_author(&self, person: Id) -> Result<()> {
        let (kinds, author) =
            self.store.read(move |tx| Ok((tx.count_made_for_others(person)?, author(tx, person)?))).await?;
        let Some(author) = author else { return Ok(()) };
        for (kind, _) in kinds {
            let mut after = Some(Id::NIL);
            while let Some(from) = after {
                let author = author.clone();
                after = self.store.write(move |tx| forget_page(tx, person, kind, from, &author)).await?;
            }
        }
        Ok(())
    }
}

/// What a person is called; none for an organisation.
fn author(tx: &mut Tx<'_>, person: Id) -> Result<Option<Author>> {
    let Some(profile) = tx.get::<Person>(person)? else { return Ok(None) };
    let logins = tx.children::<ClientName>(person, Page::ALL)?.into_iter().map(|node| node.doc.name);
    Ok(Some(Author::new(&profile.doc.email, logins.chain([profile.doc.name]))))
}

/// One page of what the person made of a kind; after which resource the next one begins.
fn forget_page(tx: &mut Tx<'_>, person: Id, kind: Kind, after: Id, author: &Author) -> Result<Option<Id>> {
    let page = tx.made_for_others(person, kind, after, PAGE)?;
    for made in &page {
        let mut nodes: Vec<_> = tx.raw(made.resource)?.into_iter().collect();
        if kind == Kind::Run {
            // They have no maker of their own.
            nodes.extend(tx.raw_children(made.resource, DatasetInput::KIND, Page::ALL)?);
        }
        for node in nodes {
            match tx.forget_author(&node, author) {
                // The keys of whoever holds it are destroyed: nobody reads it any more.
                Err(error) if error.kind == ErrorKind::Frozen => {}
                done => drop(done?),
            }
        }
    }
    Ok(page.last().filter(|_| page.len() as u32 == PAGE).map(|last| last.resource))
}
