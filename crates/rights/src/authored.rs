//! What a person wrote in what others hold: it stays with those others, and names its author no more.

use habeas_core::author::Author;
use habeas_core::kind::MentionRole;
use habeas_core::kinds::{ClientName, Person};
use habeas_core::{ErrorKind, Id, Kind, Result};
use habeas_store::{Page, Tx};

use crate::Rights;

/// How many documents are looked at in one transaction.
const PAGE: u32 = 200;

/// What stands under a kind and does not say who made it: whoever made or changed the one may have written in the other.
pub(crate) const fn written_under(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Run => &[Kind::DatasetInput, Kind::RunMetric],
        Kind::Project => &[Kind::Tag],
        _ => &[],
    }
}

impl Rights {
    /// Takes the person's addresses, names and home directories out of what they made for others, and out of what they changed that others
    /// made. Repeatable; must come before their keys are destroyed, with which their names are read.
    pub(crate) async fn forget_author(&self, person: Id) -> Result<()> {
        let Some(author) = self.store.read(move |tx| author(tx, person)).await? else { return Ok(()) };
        self.forget_in_work((person, MentionRole::Maker), &author).await?;
        self.forget_in_work((person, MentionRole::Editor), &author.among_others()).await
    }

    async fn forget_in_work(&self, who: (Id, MentionRole), author: &Author) -> Result<()> {
        for (kind, _) in self.store.read(move |tx| tx.count_work_for_others(who.0, who.1)).await? {
            let mut after = Some(Id::NIL);
            while let Some(from) = after {
                let (documents, next) = self.store.read(move |tx| worked_on(tx, who, kind, from)).await?;
                for some in documents.chunks(PAGE as usize) {
                    let (some, author) = (some.to_vec(), author.clone());
                    self.store.write(move |tx| forget_in_documents(tx, &some, &author)).await?;
                }
                after = next;
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

/// One page of what the person made or changed of a kind, with what stands under it; and after which resource the next one begins.
fn worked_on(
    tx: &mut Tx<'_>,
    who: (Id, MentionRole),
    kind: Kind,
    after: Id,
) -> Result<(Vec<Id>, Option<Id>)> {
    let page = tx.work_for_others(who, kind, after, PAGE)?;
    let mut documents = Vec::with_capacity(page.len());
    for mention in &page {
        documents.push(mention.resource);
        for &below in written_under(kind) {
            documents.extend(tx.children_ids(mention.resource, below)?.into_iter().map(|(_, id)| id));
        }
    }
    let next = page.last().filter(|_| page.len() as u32 == PAGE).map(|last| last.resource);
    Ok((documents, next))
}

fn forget_in_documents(tx: &mut Tx<'_>, documents: &[Id], author: &Author) -> Result<()> {
    for &document in documents {
        let node = tx.raw(document);
        // What is gone in the meantime names nobody.
        match node.and_then(|node| node.map_or(Ok(false), |node| tx.forget_author(&node, author))) {
            // The keys of whoever holds it are destroyed: nobody reads it any more.
            Err(error) if error.kind == ErrorKind::Frozen => {}
            done => drop(done?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use habeas_core::registry;

    use super::*;

    #[test]
    fn whatever_says_nothing_of_who_made_it_is_looked_at_under_what_does() {
        // They hold no text of whoever works there.
        let without_text = [Kind::ModelExport, Kind::Suggestion, Kind::Notification];
        for &kind in Kind::ALL {
            let ops = registry::ops(kind);
            for &above in ops.parents() {
                let is_looked_at = written_under(above).contains(&kind);
                if registry::ops(above).names_maker() && !ops.names_maker() {
                    assert_eq!(is_looked_at, !without_text.contains(&kind), "{kind:?} under {above:?}");
                } else {
                    assert!(!is_looked_at, "{kind:?} under {above:?}");
                }
            }
        }
    }
}
