//! The portal: pages for the person whose data is held.
//!
//! Rendered here, whole and readable without scripts; small modules make custom elements of what is nicer live. Nothing is
//! fetched from elsewhere, and the policy in [`security`] lets nothing be.
//!
//! **Invariant:** a handler calls the same services as the APIs; the portal can do nothing that they cannot.

pub mod assets;
pub mod format;
mod handlers;
pub mod pages;
pub mod security;

use habeas_core::{Id, Result};

/// Makes the address, on this server, of an image's thumbnail from the ids of its project and itself; it works for a while and for
/// whoever has it.
pub type ThumbnailAddress = std::sync::Arc<dyn Fn(Id, Id) -> Result<String> + Send + Sync>;

/// Makes the address under which a browser reached the server from the headers of its request.
pub type BaseAddress = std::sync::Arc<dyn Fn(&axum::http::HeaderMap) -> String + Send + Sync>;

/// The portal's routes over the rights engine. `tls` says whether browsers reach the server over TLS.
pub fn router(
    rights: habeas_rights::Rights,
    tls: bool,
    thumbnail: ThumbnailAddress,
    base: BaseAddress,
) -> axum::Router {
    handlers::router(handlers::Portal { rights, tls, thumbnail, base })
}
