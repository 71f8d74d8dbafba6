//! What every handler needs.

use std::sync::Arc;

use habeas_access::Access;
use habeas_rights::Rights;
use habeas_store::Store;
use tokio::sync::Semaphore;

use crate::artifacts::Blocks;
use crate::custom_vision::limits::Limits;
use crate::opendsr::ProcessorSource;

/// The services behind the protocols. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// View, export, erasure.
    pub rights: Rights,
    /// Limits of the Custom Vision API.
    pub limits: Arc<Limits>,
    /// The address under which clients reach the server, if it is not to be taken from their requests.
    pub public_address: Option<Arc<str>>,
    /// The host of the form ACCOUNT.blob.SUFFIX under which clients send and fetch files, if it is not to follow from the server's own name.
    pub blob_host: Option<Arc<str>>,
    /// Files that are being sent in blocks.
    pub blocks: Arc<Blocks>,
    /// Whether clients reach the server over TLS, if neither that address nor a proxy's header says.
    pub tls: bool,
    /// How many images are decoded at a time: each may take some 430 MB.
    pub decoding: Arc<Semaphore>,
    /// What signs answers of OpenDSR.
    pub processor: Arc<ProcessorSource>,
}

impl App {
    /// Who is asking, and what they may do.
    pub fn access(&self) -> &Access {
        self.rights.access()
    }

    /// Training and prediction.
    pub fn models(&self) -> &habeas_models::Models {
        self.rights.models()
    }

    /// The tree.
    pub fn store(&self) -> &Store {
        self.rights.store()
    }
}
