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

/// The portal's routes over the rights engine. `tls` says whether browsers reach the server over TLS.
pub fn router(rights: habeas_rights::Rights, tls: bool) -> axum::Router {
    handlers::router(rights, tls)
}
