//! The processor's domain, certificate and key.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::crypto::EcdsaKey;
use habeas_core::{Error, Result};

/// What signs answers.
pub struct Processor {
    /// The domain that the certificate is for.
    pub domain: String,
    /// The certificate chain, in PEM.
    pub certificate: String,
    /// Its key.
    pub key: EcdsaKey,
}

impl Processor {
    /// The signature of a body: ECDSA with P-256 over its SHA-256 (FIPS 186-4), DER, in base64.
    pub(super) fn sign(&self, body: &[u8]) -> Result<String> {
        Ok(STANDARD.encode(self.key.sign(body)?))
    }
}

/// Reads or makes the processor's certificate when it is first needed.
pub struct ProcessorSource {
    load: Box<dyn Fn() -> Result<Processor> + Send + Sync>,
    loaded: OnceLock<Processor>,
}

impl ProcessorSource {
    /// A source that loads by `load`.
    pub fn new(load: impl Fn() -> Result<Processor> + Send + Sync + 'static) -> ProcessorSource {
        ProcessorSource { load: Box::new(load), loaded: OnceLock::new() }
    }

    /// What it loads; an error is not remembered.
    pub fn get(&self) -> Result<&Processor> {
        if let Some(processor) = self.loaded.get() {
            return Ok(processor);
        }
        let processor = (self.load)()?;
        // Another request may have been first; its processor is the same.
        let _ = self.loaded.set(processor);
        self.loaded.get().ok_or_else(|| Error::internal("the processor's certificate was lost"))
    }
}

impl std::fmt::Debug for ProcessorSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProcessorSource")
    }
}
