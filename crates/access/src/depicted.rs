//! Persons whom images show: named in an image's metadata, and tied to it by a mention.
//!
//! One metadata key, `depicts` unless configured otherwise, names them, several with commas between. Whoever is found is mentioned in the
//! image from then on: by e-mail address or object id, or, of *unclaimed persons* without an account whom the staff took up, by any other
//! name, which means one person for each holder of images. The text stays as it was written until that person is erased. Nobody but the
//! staff is told who was found, so that addresses cannot be tried out.

use std::collections::BTreeMap;

use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::kinds::{AccountType, Person, metadata_part, metadata_parts};
use habeas_core::{Error, Id, Result};
use habeas_store::{Store, Tx};

use crate::normalise_email;

/// The scheme of aliases for names that are no address, each after the holder whose images say it.
const SCHEME: &str = "depicted";
/// The longest name, in bytes: as long as a metadata value can be.
const LONGEST: usize = 1024;

/// What somebody is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// By an e-mail address, in the form in which it is found.
    Email(String),
    /// By exactly this, wherever one holder's images say it.
    Exact(String),
}

impl Name {
    /// Reads one name.
    pub fn read(text: &str) -> Result<Name> {
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST || text.contains(',') {
            return Err(Error::invalid(format!("a name is 1 to {LONGEST} bytes long and has no comma"))
                .hint("look for one person at a time"));
        }
        Ok(match normalise_email(text) {
            Ok(email) => Name::Email(email),
            Err(_) => Name::Exact(text.to_owned()),
        })
    }

    /// Whether an image's metadata has it under `key`.
    pub fn is_in(&self, metadata: &BTreeMap<String, String>, key: &str) -> bool {
        names(metadata, key).any(|name| match self {
            Name::Email(email) => normalise_email(name).is_ok_and(|other| other == *email),
            Name::Exact(exact) => name == exact,
        })
    }

    /// What images that may have it under `key` are looked for by: those among them have it for which [`is_in`](Self::is_in) is true.
    pub fn part(&self, key: &str) -> String {
        match self {
            Name::Email(name) | Name::Exact(name) => metadata_part(key, name),
        }
    }

    /// The alias of whoever is called this in images of `holder`.
    pub fn alias(&self, store: &Store, holder: Id) -> Result<[u8; 32]> {
        match self {
            Name::Email(email) => store.alias("email", email),
            Name::Exact(exact) => store.alias(SCHEME, &of_holder(holder, exact)),
        }
    }
}

fn of_holder(holder: Id, name: &str) -> String {
    format!("{holder}:{name}")
}

/// Ties the persons that the metadata of an image of `holder` names under `key` to the image, and nobody else but those whom it named before
/// by what finds them no more and still stands there. `before` is what the metadata said until now.
pub fn link(
    tx: &mut Tx<'_>,
    image: Id,
    holder: Id,
    before: &BTreeMap<String, String>,
    metadata: &BTreeMap<String, String>,
    key: &str,
) -> Result<()> {
    let mut named = Vec::new();
    for name in names(metadata, key) {
        named.extend(found(tx, holder, name)?);
    }
    for mention in tx.mentioned_in(image)? {
        if mention.role == MentionRole::Depicted
            && !named.contains(&mention.person)
            && !is_still_meant(tx, holder, mention.person, before, metadata, key)?
        {
            tx.unmention(image, mention.person, MentionRole::Depicted)?;
        }
    }
    for person in named {
        // Also of whoever is being erased: their erasure looks once more for what names them before it ends.
        tx.mention_also_frozen(image, person, MentionRole::Depicted)?;
    }
    Ok(())
}

/// Whether somebody whom no name of an image finds is meant by one all the same: their address was corrected since the image named them, or it
/// was handed over to another holder.
fn is_still_meant(
    tx: &mut Tx<'_>,
    holder: Id,
    person: Id,
    before: &BTreeMap<String, String>,
    metadata: &BTreeMap<String, String>,
    key: &str,
) -> Result<bool> {
    // Their erasure still looks for what they are tied to, and ends that itself.
    if !tx.is_active(person)? {
        return Ok(true);
    }
    let exact = unclaimed_name(tx, person)?;
    if names(metadata, key).any(|name| exact.as_deref() == Some(name)) {
        return Ok(true);
    }
    let mut is_meant = false;
    for name in names(before, key) {
        match found(tx, holder, name)? {
            // What named them was taken out.
            Some(id) if id == person => return Ok(false),
            None if names_one(name) => {
                is_meant |= names(metadata, key).any(|other| other.eq_ignore_ascii_case(name));
            }
            _ => {}
        }
    }
    Ok(is_meant)
}

/// What an unclaimed person is called; none for somebody with an account.
fn unclaimed_name(tx: &mut Tx<'_>, person: Id) -> Result<Option<String>> {
    let profile = tx.get::<Person>(person)?.filter(|node| node.doc.account_type == AccountType::Unclaimed);
    Ok(profile.map(|node| node.doc.name))
}

/// Whether it is an address or an id, which means the same person wherever it stands.
fn names_one(name: &str) -> bool {
    name.contains('@') || name.parse::<Id>().is_ok()
}

/// Takes what `person` is called out of the metadata of an image of `holder`; false when nothing changed. When no name is theirs any more,
/// since their address was corrected, addresses and ids that are nobody's go instead.
pub fn unname(
    tx: &mut Tx<'_>,
    holder: Id,
    metadata: &mut BTreeMap<String, String>,
    key: &str,
    person: Id,
) -> Result<bool> {
    // What an unclaimed person is called stays true when the images were handed over to another holder.
    let exact = unclaimed_name(tx, person)?;
    let mut kept = Vec::new();
    let mut nobodys = Vec::new();
    let mut theirs = false;
    for name in names(metadata, key) {
        match found(tx, holder, name)? {
            Some(id) if id == person => theirs = true,
            _ if exact.as_deref() == Some(name) => theirs = true,
            None if names_one(name) => {
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
    let rest = kept.join(", ");
    let before = metadata.get(key).cloned();
    if rest.is_empty() {
        metadata.remove(key);
    } else {
        metadata.insert(key.to_owned(), rest);
    }
    Ok(metadata.get(key) != before.as_ref())
}

fn names<'a>(metadata: &'a BTreeMap<String, String>, key: &str) -> impl Iterator<Item = &'a str> {
    metadata_parts(metadata.get(key).map(String::as_str).unwrap_or_default())
}

fn found(tx: &mut Tx<'_>, holder: Id, name: &str) -> Result<Option<Id>> {
    if let Ok(id) = name.parse::<Id>() {
        return Ok(matches!(tx.holder(id)?, Some((HolderKind::Person, _))).then_some(id));
    }
    match normalise_email(name) {
        Ok(email) => tx.find_alias("email", &email),
        Err(_) => tx.find_alias(SCHEME, &of_holder(holder, name)),
    }
}

#[cfg(test)]
mod tests {
    use habeas_core::kinds::{Image, ImageDoc};
    use habeas_core::{AttrKey, AttrValue, Attrs, DataKind as _};

    use super::*;

    #[test]
    fn a_name_is_an_address_in_any_case_or_exactly_what_is_written() {
        let metadata = BTreeMap::from([("depicts".to_owned(), " Ada@Example.org,Jane Doe,, x".to_owned())]);
        for (text, there) in [
            ("ada@example.ORG ", true),
            ("Jane Doe", true),
            ("jane doe", false),
            ("Jane", false),
            ("x", true),
            ("bob@example.org", false),
        ] {
            let name = Name::read(text).unwrap();
            assert_eq!(name.is_in(&metadata, "depicts"), there, "{text}");
            let mut declared = Attrs::default();
            Image::attrs(&ImageDoc { metadata: metadata.clone(), ..Image::example() }, &mut declared);
            let part = (AttrKey::MetadataPart, AttrValue::Text(name.part("depicts")));
            assert!(!there || declared.0.contains(&part), "{text}: {declared:?}");
            assert!(!Name::read(text).unwrap().is_in(&metadata, "shows"));
        }
        assert!(Name::read(" ").is_err() && Name::read("a, b").is_err());
    }
}
