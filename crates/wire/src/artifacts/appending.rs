//! Append blobs: files that grow at their end. So `azureml-core` keeps what a program writes while it runs (`logs/user_log.txt`).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName};
use habeas_access::Permission;
use habeas_core::kinds::ArtifactDoc;
use habeas_core::{BlobRef, Error, Node, Result};

use super::blobs::{Checked, expected, require_match};
use crate::artifact_files;

/// The most bytes that the file may have with the block.
const LARGEST_SIZE: HeaderName = HeaderName::from_static("x-ms-blob-condition-maxsize");
/// The bytes that it has before.
const POSITION: HeaderName = HeaderName::from_static("x-ms-blob-condition-appendpos");

/// The code of a block that would make the file larger than its client wants it.
pub(super) const TOO_LARGE: &str = "MaxBlobSizeConditionNotMet";
/// The code of a block that is meant for another place.
pub(super) const ELSEWHERE: &str = "AppendPositionConditionNotMet";

/// For which size of the file a block is meant.
struct Conditions {
    largest_size: Option<u64>,
    position: Option<u64>,
}

impl Conditions {
    fn read(headers: &HeaderMap) -> Result<Conditions> {
        let number = |name: &HeaderName| {
            let Some(value) = headers.get(name) else { return Ok(None) };
            value.to_str().ok().and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| {
                Error::invalid(format!("the header {name} is not a number of bytes"))
                    .hint("send a whole number, or leave the header out")
                    .code("InvalidHeaderValue")
            })
        };
        Ok(Conditions { largest_size: number(&LARGEST_SIZE)?, position: number(&POSITION)? })
    }

    fn check(&self, size: u64, block: u64) -> Result<()> {
        if self.position.is_some_and(|position| position != size) {
            return Err(Error::conflict(format!(
                "the file has {size} bytes, not those that the block follows"
            ))
            .hint("a block that was sent before is there already; fetch the file's properties")
            .code(ELSEWHERE));
        }
        if self.largest_size.is_some_and(|largest| size + block > largest) {
            return Err(Error::conflict(format!("the file would have {} bytes", size + block))
                .hint(format!("go on in another file, or with a larger {LARGEST_SIZE}"))
                .code(TOO_LARGE));
        }
        Ok(())
    }
}

/// `Append Block`: where in the file the block begins, and the file.
pub(super) async fn put(
    checked: &Checked,
    headers: &HeaderMap,
    body: Body,
) -> Result<(u64, Node<ArtifactDoc>)> {
    let (conditions, expected) = (Conditions::read(headers)?, expected(headers)?);
    let owner = checked.owner(Permission::Write)?;
    let media_type = "application/octet-stream";
    let block = artifact_files::receive(&checked.app, owner, media_type, body, expected).await?;
    let appended = append(checked, headers, &conditions, &block).await;
    artifact_files::give_up(&checked.app, &[block.id]).await;
    appended
}

async fn append(
    checked: &Checked,
    headers: &HeaderMap,
    conditions: &Conditions,
    block: &BlobRef,
) -> Result<(u64, Node<ArtifactDoc>)> {
    let before = checked.file(Permission::Write).await?;
    require_match(headers, &before)?;
    let size = before.doc.content.size;
    conditions.check(size, block.size)?;
    let owner = checked.owner(Permission::Write)?;
    let person = checked.grant.person;
    let after = artifact_files::append(&checked.app, owner, before, (block, None), person).await?;
    Ok((size, after))
}
