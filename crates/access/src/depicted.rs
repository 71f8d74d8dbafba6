//! Persons whom images show: named in an image's metadata, and tied to it by a mention.
//!
//! One metadata key, `depicts` unless configured otherwise, names them, several with commas or semicolons between. Whoever is found is mentioned
//! in the image from then on: by e-mail address, also written as `Ada <ada@example.org>` or `mailto:ada@example.org`, or object id, or, of
//! *unclaimed persons* without an account whom the staff took up, by any other name, however its accents were typed, which means one person
//! for each holder of images. The text stays as it was written until that person is erased. Nobody but the
//! staff is told who was found, so that addresses cannot be tried out.

use std::collections::BTreeMap;

use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::kinds::{AccountType, Person, PersonDoc, metadata_name, metadata_part, metadata_parts};
use habeas_core::{Error, Id, Result, text};
use habeas_store::{Store, Tx};

use crate::normalise_email;

/// The scheme of aliases for names that are no address, each after the holder whose images say it.
const SCHEME: &str = "depicted";
/// The longest name, in bytes: as long as a metadata value can be.
const LONGEST: usize = 1024;
/// What stands beside an address that was not taken out of its brackets, quotes or scheme.
const NO_ADDRESS: [char; 6] = ['<', '>', '(', ')', '"', ':'];

/// What somebody is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// By an e-mail address, in the form in which it is found.
    Email(String),
    /// By exactly this, wherever one holder's images say it; accents are in the form in which they are compared.
    Exact(String),
}

impl Name {
    /// Reads one name.
    pub fn read(text: &str) -> Result<Name> {
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST || text.contains([',', ';']) {
            return Err(Error::invalid(format!(
                "a name is 1 to {LONGEST} bytes long and has no comma and no semicolon"
            ))
            .hint("look for one person at a time"));
        }
        Ok(Name::of_part(text))
    }

    /// What an unclaimed person is called, as they were taken up.
    pub fn of_unclaimed(profile: &PersonDoc) -> Name {
        match normalise_email(&profile.email) {
            Ok(email) => Name::Email(email),
            Err(_) => Name::Exact(text::composed(&profile.name)),
        }
    }

    /// What a part of an image's metadata calls somebody.
    fn of_part(part: &str) -> Name {
        let name = metadata_name(part);
        match normalise_email(&name) {
            Ok(email) => Name::Email(email),
            Err(_) => Name::Exact(name),
        }
    }

    /// Whether an image's metadata has it under `key`.
    pub fn is_in(&self, metadata: &BTreeMap<String, String>, key: &str) -> bool {
        parts(metadata, key).any(|part| Name::of_part(part) == *self)
    }

    /// What images that may have it under `key` are looked for by: those among them have it for which [`is_in`](Self::is_in) is true.
    pub fn part(&self, key: &str) -> String {
        match self {
            Name::Email(name) | Name::Exact(name) => metadata_part(key, name),
        }
    }

    /// The alias of whoever is taken up because images of `holder` call them this.
    pub fn alias(&self, store: &Store, holder: Id) -> Result<[u8; 32]> {
        let (scheme, text) = self.alias_text(holder);
        store.alias(scheme, &text)
    }

    /// Whom images of `holder` call this.
    pub fn person(&self, store: &Store, holder: Id) -> Result<Option<Id>> {
        let (scheme, text) = self.alias_text(holder);
        for spelling in spellings(text) {
            if let Some(person) = store.find_alias(&store.alias(scheme, &spelling)?) {
                return Ok(Some(person));
            }
        }
        Ok(None)
    }

    fn alias_text(&self, holder: Id) -> (&'static str, String) {
        match self {
            Name::Email(email) => ("email", email.clone()),
            Name::Exact(exact) => (SCHEME, format!("{holder}:{exact}")),
        }
    }
}

/// A text as it is compared, and with its accents in characters of their own: an alias keeps the form in which its text was typed, and those
/// of accounts, and of whoever was taken up by an earlier version, may have that one.
fn spellings(text: String) -> impl Iterator<Item = String> {
    let decomposed = Some(text::decomposed(&text)).filter(|other| *other != text);
    std::iter::once(text).chain(decomposed)
}

/// Refuses metadata that says under `key` what may be meant for an address and is not understood as one: whom it names would not be found by it.
pub fn require_readable(metadata: &BTreeMap<String, String>, key: &str) -> Result<()> {
    let is_address = |name: &str| normalise_email(name).is_ok() && !name.contains(NO_ADDRESS);
    if parts(metadata, key).map(metadata_name).all(|name| !name.contains('@') || is_address(&name)) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "`{key}` names whom an image shows, and a part of it has an @ and is no e-mail address"
    ))
    .hint("write name@example.org or Name <name@example.org>, several with commas or semicolons between"))
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
    for part in parts(metadata, key) {
        named.extend(found(tx, holder, part)?);
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
    let called = unclaimed_names(tx, person)?;
    if parts(metadata, key).any(|part| called.contains(&metadata_name(part))) {
        return Ok(true);
    }
    let mut is_meant = false;
    for part in parts(before, key) {
        let name = metadata_name(part);
        match found(tx, holder, part)? {
            // What named them was taken out.
            Some(id) if id == person => return Ok(false),
            None if names_one(&name) => {
                is_meant |=
                    parts(metadata, key).any(|other| metadata_name(other).eq_ignore_ascii_case(&name));
            }
            _ => {}
        }
    }
    Ok(is_meant)
}

/// What an unclaimed person is called, in the parts that a name from before semicolons stood between names has now; nothing for somebody with
/// an account.
fn unclaimed_names(tx: &mut Tx<'_>, person: Id) -> Result<Vec<String>> {
    let profile = tx.get::<Person>(person)?.filter(|node| node.doc.account_type == AccountType::Unclaimed);
    Ok(profile.map(|node| metadata_parts(&node.doc.name).map(metadata_name).collect()).unwrap_or_default())
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
    let called = unclaimed_names(tx, person)?;
    let mut kept = Vec::new();
    let mut nobodys = Vec::new();
    let mut theirs = false;
    for part in parts(metadata, key) {
        let name = metadata_name(part);
        match found(tx, holder, part)? {
            Some(id) if id == person => theirs = true,
            _ if called.contains(&name) => theirs = true,
            None if names_one(&name) => {
                nobodys.push(kept.len());
                kept.push(part);
            }
            _ => kept.push(part),
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

fn parts<'a>(metadata: &'a BTreeMap<String, String>, key: &str) -> impl Iterator<Item = &'a str> {
    metadata_parts(metadata.get(key).map(String::as_str).unwrap_or_default())
}

fn found(tx: &mut Tx<'_>, holder: Id, part: &str) -> Result<Option<Id>> {
    if let Ok(id) = metadata_name(part).parse::<Id>() {
        return Ok(matches!(tx.holder(id)?, Some((HolderKind::Person, _))).then_some(id));
    }
    let (scheme, text) = Name::of_part(part).alias_text(holder);
    for spelling in spellings(text) {
        if let Some(person) = tx.find_alias(scheme, &spelling)? {
            return Ok(Some(person));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use habeas_core::kinds::{Image, ImageDoc};
    use habeas_core::{AttrKey, AttrValue, Attrs, DataKind as _};

    use super::*;

    #[test]
    fn a_name_is_an_address_in_any_case_or_exactly_what_is_written() {
        let metadata = BTreeMap::from([(
            "depicts".to_owned(),
            " Ada@Example.org,Jane Doe,, x; B <bea@example.org>;Jose\u{301}".to_owned(),
        )]);
        for (text, there) in [
            ("mailto:ada@example.org", true),
            ("Bea <Bea@example.org>", true),
            ("bea@example.org", true),
            ("Jos\u{e9}", true),
            ("Jose\u{301}", true),
            ("Jose", false),
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
        assert!(Name::read(" ").is_err() && Name::read("a, b").is_err() && Name::read("a; b").is_err());
    }

    #[test]
    fn what_may_be_meant_for_an_address_is_one_or_is_refused() {
        for (text, readable) in [
            ("Ada <ada@example.org>; mailto:bea@example.org, Jos\u{e9}, 0", true),
            ("ada@example.org bea@example.org", false),
            ("Ada ada@example.org", false),
            ("Ada <ada@example>org>", false),
            ("<Ada> ada@example.org", false),
            ("smtp:ada@example.org", false),
            ("a friend, @ada", false),
        ] {
            let metadata = BTreeMap::from([("depicts".to_owned(), text.to_owned())]);
            assert_eq!(require_readable(&metadata, "depicts").is_ok(), readable, "{text}");
            assert!(require_readable(&metadata, "shows").is_ok(), "{text}");
        }
    }
}
