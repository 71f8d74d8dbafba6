//! Datasets out and in, as ZIP archives in the formats of other tools. Ours, Microsoft's service has nothing of the kind.

mod export;
mod import;

pub(super) use export::export;
pub(super) use import::import;
