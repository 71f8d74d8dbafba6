//! Signed addresses of images: they work without a key for a day, and die at once with the image.
//!
//! `BASE/blobs/i-PROJECT/{o|i|t}-IMAGE?se=SECONDS&sig=MAC`, ids in hexadecimal, as Azure's storage spells them: `o` the original
//! bytes, `i` the resized copy, `t` the thumbnail. Copies are made when first asked for.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Request};
use axum::response::Response;
use habeas_access::Permission;
use habeas_core::crypto::{self, SecretKey};
use habeas_core::kinds::ImageDoc;
use habeas_core::{BlobRef, Error, Id, Node, Timestamp};
use habeas_learn::imaging;
use habeas_models::{find_image, update_image};
use habeas_store::HolderState;

use super::caller::{Call, find_project};
use super::errors::{Result, no_image};
use super::query::Query;
use crate::App;

/// How long an address works, in seconds. Ends are rounded to hours, so that repeated answers hold the same addresses.
const LIFETIME: i64 = 24 * 3_600;

/// Which copy of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    Original,
    Resized,
    Thumbnail,
}

impl Copy {
    const fn letter(self) -> char {
        match self {
            Copy::Original => 'o',
            Copy::Resized => 'i',
            Copy::Thumbnail => 't',
        }
    }
}

/// Makes and checks addresses.
#[derive(Clone)]
pub(super) struct Signer {
    base: String,
    key: SecretKey,
    expires: i64,
}

impl Signer {
    pub(super) fn new(app: &App, base: &str) -> habeas_core::Result<Signer> {
        let now = app.store().ambient().now().seconds();
        let expires = (now + LIFETIME) / 3_600 * 3_600 + 3_600;
        Ok(Signer { base: base.to_owned(), key: app.store().installation_key(b"image-address")?, expires })
    }

    pub(super) fn address(&self, project: Id, image: Id, copy: Copy) -> String {
        self.signed(&path(project, image, copy))
    }

    /// The address of `path` below `/blobs/`.
    pub(super) fn signed(&self, path: &str) -> String {
        let signature = self.sign(path, self.expires);
        format!("{}/blobs/{path}?se={}&sig={signature}", self.base, self.expires)
    }

    /// Until when an address with this path and query works, or worked; none when it was not made here.
    pub(super) fn expiry(&self, path: &str, query: &Query) -> Option<Timestamp> {
        let expires: i64 = query.text("se")?.parse().ok()?;
        let right = self.sign(path, expires);
        crypto::constant_time_eq(right.as_bytes(), query.text("sig")?.as_bytes())
            .then(|| Timestamp(expires.saturating_mul(1_000_000)))
    }

    fn sign(&self, path: &str, expires: i64) -> String {
        let mac = crypto::mac(&self.key, format!("{path}?{expires}").as_bytes());
        Id::from_bytes([
            mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], mac[6], mac[7], mac[8], mac[9], mac[10], mac[11],
            mac[12], mac[13], mac[14], mac[15],
        ])
        .to_hex()
    }
}

fn path(project: Id, image: Id, copy: Copy) -> String {
    format!("i-{}/{}-{}", project.to_hex(), copy.letter(), image.to_hex())
}

fn parse(project: &str, blob: &str) -> Option<(Id, Id, Copy)> {
    let project = project.strip_prefix("i-")?.parse().ok()?;
    let copy = [Copy::Original, Copy::Resized, Copy::Thumbnail]
        .into_iter()
        .find(|copy| blob.strip_prefix(copy.letter()).is_some_and(|rest| rest.starts_with('-')))?;
    Some((project, blob[2..].parse().ok()?, copy))
}

/// Serves a signed address. Whatever is wrong with it, the image does not exist.
pub(super) async fn serve(
    State(app): State<App>,
    Path((project, blob)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response> {
    let (project, image, copy) = parse(&project, &blob).ok_or_else(no_image)?;
    let query = Query::parse(request.uri().query());
    let expires = Signer::new(&app, "")?.expiry(&path(project, image, copy), &query).ok_or_else(no_image)?;
    if app.store().ambient().now() >= expires {
        return Err(Error::not_found("this address has expired")
            .hint("ask for the image again to get a new one")
            .code("NotFoundImage")
            .into());
    }
    let node = app
        .store()
        .read(move |tx| {
            let node =
                find_image(tx, image)?.filter(|node| node.parent == Some(project)).ok_or_else(no_image)?;
            match tx.holder(node.holder)? {
                Some((_, HolderState::Active)) => Ok(node),
                _ => Err(no_image()),
            }
        })
        .await?;
    send(&app, node, copy, request.headers()).await
}

/// `GetArtifact`: the same copies by key, for networks where signed addresses cannot be reached.
pub(super) async fn artifact(call: Call, headers: HeaderMap) -> Result<Response> {
    let (actor, project) = (call.actor, call.project()?);
    let path = call.query.required("path")?.trim_start_matches('/').to_owned();
    let found = path.split_once('/').and_then(|(folder, blob)| parse(folder, blob));
    let (in_project, image, copy) = found.ok_or_else(|| {
        Error::invalid("`path` is like i-PROJECT/o-IMAGE").code("BadRequestInvalidArtifactUri")
    })?;
    let node = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            find_image(tx, image)?
                .filter(|node| node.parent == Some(project) && in_project == project)
                .ok_or_else(no_image)
        })
        .await?;
    send(&call.app, node, copy, &headers).await
}

async fn send(app: &App, node: Node<ImageDoc>, copy: Copy, headers: &HeaderMap) -> Result<Response> {
    let present = match copy {
        Copy::Original => Some(node.doc.original.clone()),
        Copy::Resized => node.doc.resized.clone(),
        Copy::Thumbnail => node.doc.thumbnail.clone(),
    };
    let blob = match present {
        Some(blob) => blob,
        None => make_copies(app, node, copy).await?,
    };
    let mut response = crate::stream::blob(app.store(), &blob, headers);
    let headers = response.headers_mut();
    // An image may have been uploaded to be misread as a page by a browser that opens its address.
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("content-security-policy", HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// Makes both copies at one decoding and keeps them with the image. If somebody else was faster, theirs are used.
async fn make_copies(app: &App, node: Node<ImageDoc>, wanted: Copy) -> Result<BlobRef> {
    let (image, original) = (node.id, node.doc.original);
    let bytes = app.store().blobs().get(&original).await?;
    let limits = app.limits.decoding.clone();
    let permit = app
        .decoding
        .clone()
        .acquire_owned()
        .await
        .map_err(|_| Error::unavailable("the server is stopping"))?;
    let made = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        imaging::derivatives(&bytes, &limits)
    })
    .await
    .map_err(|_| Error::internal("an image could not be scaled"))?
    .map_err(Error::from)?;
    let ambient = app.store().ambient();
    let resized = BlobRef::new(ambient, made.resized.len() as u64, imaging::COPY_MEDIA_TYPE);
    let thumbnail = BlobRef::new(ambient, made.thumbnail.len() as u64, imaging::COPY_MEDIA_TYPE);
    let announced = (resized.clone(), thumbnail.clone());
    app.store().write(move |tx| tx.announce_blobs(image, &[&announced.0, &announced.1])).await?;
    app.store().blobs().put(&resized, &made.resized).await?;
    app.store().blobs().put(&thumbnail, &made.thumbnail).await?;
    let doc = app
        .store()
        .write(move |tx| {
            let mut node = find_image(tx, image)?.ok_or_else(no_image)?;
            if node.doc.resized.is_none() {
                node.doc.resized = Some(resized.clone());
                node.doc.thumbnail = Some(thumbnail.clone());
                node = update_image(tx, &node)?;
                tx.attach_blobs(image, &[&resized, &thumbnail])?;
            }
            Ok(node.doc)
        })
        .await?;
    let copy = if wanted == Copy::Thumbnail { doc.thumbnail } else { doc.resized };
    Ok(copy.ok_or_else(no_image)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_back_and_nothing_else_is() {
        let (project, image) = (Id::from_bytes([1; 16]), Id::from_bytes([2; 16]));
        let text = path(project, image, Copy::Thumbnail);
        let (folder, blob) = text.split_once('/').unwrap();
        assert_eq!(parse(folder, blob), Some((project, image, Copy::Thumbnail)));
        for (folder, blob) in
            [("i-", "o-"), ("x", "y"), (folder, "x-00"), (folder, ""), (folder, "ö-"), ("i-zz", blob)]
        {
            assert_eq!(parse(folder, blob), None);
        }
    }
}
