//! Signed addresses of images and stored predictions: they work without a key for a day, and die at once with what they show.
//!
//! `BASE/blobs/i-PROJECT/{o|i|t}-IMAGE?se=SECONDS&sig=MAC`, ids in hexadecimal, as Azure's storage spells them: `o` the original
//! bytes, `i` the resized copy, `t` the thumbnail. A stored prediction has `p-PROJECT` in front. Copies are made when first asked for.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Request};
use axum::response::Response;
use habeas_access::Permission;
use habeas_core::crypto::{self, SecretKey};
use habeas_core::kinds::StoredPrediction;
use habeas_core::{BlobRef, Error, Id, Result as CoreResult, Timestamp};
use habeas_learn::imaging;
use habeas_models::{find_image, update_image};
use habeas_store::{HolderState, Tx};

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

/// What has copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Image,
    Prediction,
}

impl Owner {
    const fn letter(self) -> char {
        match self {
            Owner::Image => 'i',
            Owner::Prediction => 'p',
        }
    }
}

/// What an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    project: Id,
    owner: Owner,
    id: Id,
    copy: Copy,
}

/// An image or a stored prediction, as far as its copies go.
struct Copies {
    parent: Option<Id>,
    holder: Id,
    original: BlobRef,
    resized: Option<BlobRef>,
    thumbnail: Option<BlobRef>,
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
        self.signed(&path(Place { project, owner: Owner::Image, id: image, copy }))
    }

    /// The address of a stored prediction's image.
    pub(super) fn prediction_address(&self, project: Id, prediction: Id, copy: Copy) -> String {
        self.signed(&path(Place { project, owner: Owner::Prediction, id: prediction, copy }))
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

fn path(place: Place) -> String {
    format!(
        "{}-{}/{}-{}",
        place.owner.letter(),
        place.project.to_hex(),
        place.copy.letter(),
        place.id.to_hex()
    )
}

fn parse(folder: &str, blob: &str) -> Option<Place> {
    let (owner, project) = folder.split_once('-')?;
    let (copy, id) = blob.split_once('-')?;
    let owner = [Owner::Image, Owner::Prediction].into_iter().find(|is| owner == is.letter().to_string())?;
    let copy = [Copy::Original, Copy::Resized, Copy::Thumbnail]
        .into_iter()
        .find(|is| copy == is.letter().to_string())?;
    Some(Place { project: project.parse().ok()?, owner, id: id.parse().ok()?, copy })
}

/// The image or prediction, if it is there, in this project, and its time is not over.
fn find(tx: &mut Tx<'_>, place: Place) -> CoreResult<Copies> {
    let found = match place.owner {
        Owner::Image => find_image(tx, place.id)?.map(|node| Copies {
            parent: node.parent,
            holder: node.holder,
            original: node.doc.original,
            resized: node.doc.resized,
            thumbnail: node.doc.thumbnail,
        }),
        Owner::Prediction => tx
            .get::<StoredPrediction>(place.id)?
            .filter(|node| node.expires_at.is_none_or(|end| end > tx.now()))
            .map(|node| Copies {
                parent: node.parent,
                holder: node.holder,
                original: node.doc.original,
                resized: node.doc.resized,
                thumbnail: node.doc.thumbnail,
            }),
    };
    found.filter(|copies| copies.parent == Some(place.project)).ok_or_else(no_image)
}

/// Keeps copies that were made, unless somebody else was faster.
fn keep(tx: &mut Tx<'_>, place: Place, resized: &BlobRef, thumbnail: &BlobRef) -> CoreResult<Copies> {
    if find(tx, place)?.resized.is_none() {
        match place.owner {
            Owner::Image => {
                let mut node = find_image(tx, place.id)?.ok_or_else(no_image)?;
                node.doc.resized = Some(resized.clone());
                node.doc.thumbnail = Some(thumbnail.clone());
                update_image(tx, &node)?;
            }
            Owner::Prediction => {
                let mut node = tx.get::<StoredPrediction>(place.id)?.ok_or_else(no_image)?;
                node.doc.resized = Some(resized.clone());
                node.doc.thumbnail = Some(thumbnail.clone());
                tx.update::<StoredPrediction>(&node)?;
            }
        }
        tx.attach_blobs(place.id, &[resized, thumbnail])?;
    }
    find(tx, place)
}

/// The address of an image's thumbnail on this server, signed, without host. Who may see the image is the caller's to know.
pub fn thumbnail_address(app: &App, project: Id, image: Id) -> habeas_core::Result<String> {
    Ok(Signer::new(app, "")?.address(project, image, Copy::Thumbnail))
}

/// Serves a signed address. Whatever is wrong with it, the image does not exist.
pub(super) async fn serve(
    State(app): State<App>,
    Path((project, blob)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response> {
    let place = parse(&project, &blob).ok_or_else(no_image)?;
    let query = Query::parse(request.uri().query());
    let expires = Signer::new(&app, "")?.expiry(&path(place), &query).ok_or_else(no_image)?;
    if app.store().ambient().now() >= expires {
        return Err(Error::not_found("this address has expired")
            .hint("ask for the image again to get a new one")
            .code("NotFoundImage")
            .into());
    }
    let copies = app
        .store()
        .read(move |tx| {
            let copies = find(tx, place)?;
            match tx.holder(copies.holder)? {
                Some((_, HolderState::Active | HolderState::Restricted)) => Ok(copies),
                _ => Err(no_image()),
            }
        })
        .await?;
    send(&app, copies, place, request.headers()).await
}

/// `GetArtifact`: the same copies by key, for networks where signed addresses cannot be reached.
pub(super) async fn artifact(call: Call, headers: HeaderMap) -> Result<Response> {
    let (actor, project) = (call.actor, call.project()?);
    let path = call.query.required("path")?.trim_start_matches('/').to_owned();
    let found = path.split_once('/').and_then(|(folder, blob)| parse(folder, blob));
    let place = found.ok_or_else(|| {
        Error::invalid("`path` is like i-PROJECT/o-IMAGE").code("BadRequestInvalidArtifactUri")
    })?;
    let copies = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            if place.project != project {
                return Err(no_image());
            }
            find(tx, place)
        })
        .await?;
    send(&call.app, copies, place, &headers).await
}

async fn send(app: &App, copies: Copies, place: Place, headers: &HeaderMap) -> Result<Response> {
    let present = match place.copy {
        Copy::Original => Some(copies.original.clone()),
        Copy::Resized => copies.resized,
        Copy::Thumbnail => copies.thumbnail,
    };
    let blob = match present {
        Some(blob) => blob,
        None => make_copies(app, copies.original, place).await?,
    };
    let mut response = crate::stream::blob(app.store(), &blob, headers);
    let headers = response.headers_mut();
    // An image may have been uploaded to be misread as a page by a browser that opens its address.
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("content-security-policy", HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// Makes both copies at one decoding and keeps them with their owner. If somebody else was faster, theirs are used.
async fn make_copies(app: &App, original: BlobRef, place: Place) -> Result<BlobRef> {
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
    app.store().write(move |tx| tx.announce_blobs(place.id, &[&announced.0, &announced.1])).await?;
    app.store().put_announced(&resized, &made.resized).await?;
    app.store().put_announced(&thumbnail, &made.thumbnail).await?;
    let copies = app.store().write(move |tx| keep(tx, place, &resized, &thumbnail)).await?;
    let copy = if place.copy == Copy::Thumbnail { copies.thumbnail } else { copies.resized };
    Ok(copy.ok_or_else(no_image)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_back_and_nothing_else_is() {
        let place = Place {
            project: Id::from_bytes([1; 16]),
            owner: Owner::Prediction,
            id: Id::from_bytes([2; 16]),
            copy: Copy::Thumbnail,
        };
        let text = path(place);
        let (folder, blob) = text.split_once('/').unwrap();
        assert_eq!(parse(folder, blob), Some(place));
        let image = Place { owner: Owner::Image, ..place };
        assert_ne!(path(image), text);
        assert_eq!(parse(path(image).split_once('/').unwrap().0, blob), Some(image));
        for (folder, blob) in
            [("i-", "o-"), ("x", "y"), (folder, "x-00"), (folder, ""), (folder, "ö-"), ("i-zz", blob)]
        {
            assert_eq!(parse(folder, blob), None);
        }
    }
}
