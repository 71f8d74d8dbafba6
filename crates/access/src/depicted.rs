//! Persons whom images show: named in an image's metadata, and tied to it by a mention.
//!
//! One metadata key, `depicts` unless configured otherwise, names them by e-mail address or object id, several with commas between. Whoever
//! is found is mentioned in the image from then on; the text stays as it was written until that person is erased. Nobody is told who was
//! found, so that addresses cannot be tried out.

use std::collections::BTreeMap;

use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::{Id, Result};
use habeas_store::Tx;

use crate::normalise_email;

/// Ties the persons that an image's metadata names under `key` to the image, and nobody else.
pub fn link(tx: &mut Tx<'_>, image: Id, metadata: &BTreeMap<String, String>, key: &str) -> Result<()> {
    let mut named = Vec::new();
    for name in metadata.get(key).into_iter().flat_map(|value| names(value)) {
        named.extend(found(tx, name)?);
    }
    for mention in tx.mentioned_in(image)? {
        if mention.role == MentionRole::Depicted && !named.contains(&mention.person) {
            tx.unmention(image, mention.person, MentionRole::Depicted)?;
        }
    }
    for person in named {
        // Whoever is being erased is not tied to anything any more.
        if tx.is_active(person)? {
            tx.mention(image, person, MentionRole::Depicted)?;
        }
    }
    Ok(())
}

/// What a value says without `person`: without the names that are theirs or, when none is any more since their address was corrected, without
/// addresses and ids that are nobody's.
pub fn without(tx: &mut Tx<'_>, value: &str, person: Id) -> Result<String> {
    let mut kept = Vec::new();
    let mut nobodys = Vec::new();
    let mut theirs = false;
    for name in names(value) {
        match found(tx, name)? {
            Some(id) if id == person => theirs = true,
            None if name.contains('@') || name.parse::<Id>().is_ok() => {
                nobodys.push(kept.len());
                kept.push(name);
            }
            _ => kept.push(name),
        }
    }
    if !theirs {
        for index in nobodys.into_iter().rev() {
            kept.remove(index);
        }
    }
    Ok(kept.join(", "))
}

fn names(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn found(tx: &mut Tx<'_>, name: &str) -> Result<Option<Id>> {
    if let Ok(id) = name.parse::<Id>() {
        return Ok(matches!(tx.holder(id)?, Some((HolderKind::Person, _))).then_some(id));
    }
    match normalise_email(name) {
        Ok(email) => tx.find_alias("email", &email),
        Err(_) => Ok(None),
    }
}
