//! Copying a project by a token: whoever has it and an account here may import the project until the token expires.
//!
//! A token is the project's id, the second at which it expires and a MAC, in the URL-safe alphabet of base64: it needs no encoding in a
//! query string. Nothing is stored for it; it dies with the project.

use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_access::{Permission, authorise};
use habeas_core::crypto::{self, SecretKey};
use habeas_core::kinds::{Image, Iteration, IterationStatus, ProjectStatus, Tag};
use habeas_core::{DataKind as _, Error, Id, Result as CoreResult, Timestamp};
use habeas_models::importing;
use habeas_store::{Page, Tx};
use serde_json::{Value, json};

use super::addresses::Signer;
use super::caller::{Call, find_project};
use super::errors::Result;
use super::projection::Shape;
use super::projects::{checked_name, require_room, shape};

/// How long a token works, in seconds.
const LIFETIME: i64 = 24 * 3_600;
/// Bytes of a token: project, expiry, MAC.
const TOKEN: usize = 16 + 8 + 16;
/// Images opened at a time while their regions are counted.
const SCAN: u64 = 500;
/// What copying takes, roughly, in milliseconds: altogether, for an image, for an iteration.
const IMPORT_MILLISECONDS: (u64, u64, u64) = (1_000, 20, 2_000);

fn seal(key: &SecretKey, project: Id, expires: i64) -> String {
    let mut token = Vec::with_capacity(TOKEN);
    token.extend_from_slice(project.as_bytes());
    token.extend_from_slice(&expires.to_be_bytes());
    let mac = crypto::mac(key, &token);
    token.extend_from_slice(&mac[..16]);
    URL_SAFE_NO_PAD.encode(token)
}

/// The project that a token stands for, and until when; none when it was not made here.
fn open(key: &SecretKey, token: &str) -> Option<(Id, Timestamp)> {
    let bytes: [u8; TOKEN] = URL_SAFE_NO_PAD.decode(token.trim()).ok()?.try_into().ok()?;
    let (signed, mac) = bytes.split_at(TOKEN - 16);
    if !crypto::constant_time_eq(&crypto::mac(key, signed)[..16], mac) {
        return None;
    }
    let (project, expires) = signed.split_at(16);
    let expires = i64::from_be_bytes(expires.try_into().ok()?);
    Some((Id::from_slice(project).ok()?, Timestamp(expires.saturating_mul(1_000_000))))
}

fn key(call: &Call) -> CoreResult<SecretKey> {
    call.app.store().installation_key(b"project-export")
}

/// `ExportProject`: nothing is copied yet; the token says what may be. Only iterations that are trained are copied, and counted.
pub(super) async fn export(call: Call) -> Result<Json<Value>> {
    let (actor, project) = (call.actor, call.project()?);
    let expires = call.app.store().ambient().now().seconds() + LIFETIME;
    let token = seal(&key(&call)?, project, expires);
    let summary = call
        .app
        .store()
        .read(move |tx| {
            // A token is a permission for others: readers cannot give it.
            let node = find_project(tx, &actor, project, Permission::Write)?;
            if node.doc.status != ProjectStatus::Succeeded {
                return Err(Error::invalid("the project is not whole itself")
                    .code("BadRequestExportValidationFailed"));
            }
            let mut iterations = 0;
            for iteration in tx.children::<Iteration>(project, Page::ALL)? {
                match iteration.doc.status {
                    IterationStatus::Training => {
                        return Err(Error::invalid("a training of this project is in progress")
                            .hint("wait for it, or delete that iteration to cancel it")
                            .code("BadRequestExportWhileTraining"));
                    }
                    IterationStatus::Completed => iterations += 1,
                    IterationStatus::Failed => {}
                }
            }
            let images = tx.count_children(project, Image::KIND)?;
            let (base, per_image, per_iteration) = IMPORT_MILLISECONDS;
            Ok(json!({
                "iterationCount": iterations,
                "imageCount": images,
                "tagCount": tx.count_children(project, Tag::KIND)?,
                "regionCount": count_regions(tx, project)?,
                "estimatedImportTimeInMS": base + images * per_image + iterations * per_iteration,
                "token": token,
            }))
        })
        .await?;
    Ok(call.answer(summary, Shape::Plain))
}

fn count_regions(tx: &mut Tx<'_>, project: Id) -> CoreResult<u64> {
    let mut page = Page { take: SCAN, ..Page::ALL };
    let mut count = 0;
    loop {
        let images = tx.children::<Image>(project, page)?;
        count += images.iter().map(|image| image.doc.regions.len() as u64).sum::<u64>();
        if (images.len() as u64) < SCAN {
            return Ok(count);
        }
        page.skip += SCAN;
    }
}

/// `ImportProject`: answers at once with a project whose status is `Importing`; the worker copies.
pub(super) async fn import(call: Call) -> Result<Json<Value>> {
    let invalid = || {
        Error::invalid("the token is not one of this server, or it has expired, or its project is gone")
            .hint("export the project again to get a new one")
            .code("BadRequestInvalidImportToken")
    };
    let (source, expires) = open(&key(&call)?, call.query.required("token")?).ok_or_else(invalid)?;
    let limits = &call.app.limits;
    let name = call.query.text("name").map(|name| checked_name(name, limits)).transpose()?;
    let (actor, account, maker) = (call.actor, call.account, call.maker());
    let quota = limits.projects_per_account;
    let target = call.app.store().ambient().new_id();
    let signer = Signer::new(&call.app, &call.base)?;
    let project = call
        .app
        .store()
        .write_with_keys(vec![target], Vec::new(), move |tx| {
            if tx.now() >= expires {
                return Err(invalid());
            }
            authorise(tx, &actor, account, Permission::Manage)?;
            require_room(tx, account, quota)?;
            let node =
                importing::start(tx, account, source, target, name.clone(), maker)?.ok_or_else(invalid)?;
            shape(tx, &node, &signer)
        })
        .await?;
    call.app.models().wake();
    Ok(call.answer(project, Shape::Project))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_needs_no_encoding_and_cannot_be_changed() {
        let key = SecretKey::from_bytes([7; 32]);
        let project = Id::from_bytes([255; 16]);
        let token = seal(&key, project, 12);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{token}");
        assert_eq!(open(&key, &format!(" {token}\n")), Some((project, Timestamp(12_000_000))));
        assert_eq!(open(&SecretKey::from_bytes([8; 32]), &token), None);
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(open(&key, std::str::from_utf8(&changed).unwrap()), None);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(token in ".{0,80}") {
            prop_assert_eq!(open(&SecretKey::from_bytes([7; 32]), &token), None);
        }
    }
}
