//! TLS: a certificate of the operator's, or one of a development authority made on first start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::settings::Settings;
use habeas_core::Error;
use habeas_core::crypto::EcdsaKey;
use habeas_wire::opendsr::Processor;

/// Names that the development certificate is good for. The wildcard is for clients that build host names for blobs themselves.
const NAMES: &[&str] = &["localhost", "127.0.0.1", "::1", "*.blob.localhost", "*.localhost"];

/// What the server presents, and the authority that clients have to trust if it is our own.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) authority: Option<PathBuf>,
}

/// Reads the operator's certificate, or the development one, which is made if it is not there.
pub(crate) fn acceptor(settings: &Settings) -> anyhow::Result<Tls> {
    let (certificate, key, authority) = match (&settings.tls_certificate, &settings.tls_key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone(), None),
        _ => {
            let folder = settings.data().join("tls");
            if !folder.join("server.pem").exists() {
                make(&folder)?;
            }
            (folder.join("server.pem"), folder.join("server.key"), Some(folder.join("authority.pem")))
        }
    };
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} is not a PEM certificate chain", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(&key)
        .with_context(|| format!("{} is not a PEM private key", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("certificate and key do not belong together")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), authority })
}

/// What signs OpenDSR's answers: the operator's certificate, or one of a development authority, which is made if it is not there.
pub(crate) fn processor(settings: &Settings) -> habeas_core::Result<Processor> {
    let domain = domain(settings);
    let own = settings.opendsr_certificate.clone().zip(settings.opendsr_key.clone());
    let (certificate, key) = match own {
        Some(own) => own,
        None => {
            let folder = settings.data().join("opendsr");
            if !folder.join("server.pem").exists() {
                let made = make_for(&folder, std::slice::from_ref(&domain));
                made.map_err(|_| {
                    Error::unavailable("the certificate of OpenDSR cannot be made").at(&folder)
                })?;
            }
            (folder.join("server.pem"), folder.join("server.key"))
        }
    };
    let unreadable = || Error::unavailable("the certificate of OpenDSR cannot be read").at(&certificate);
    let document = PrivateKeyDer::from_pem_file(&key).map_err(|_| unreadable())?;
    let key = EcdsaKey::from_pkcs8(document.secret_der())?;
    let certificate = std::fs::read_to_string(&certificate).map_err(|_| unreadable())?;
    Ok(Processor { domain, certificate, key })
}

/// The host under which the server is known.
fn domain(settings: &Settings) -> String {
    let address = settings.public_address.as_deref().unwrap_or("http://localhost");
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => authority.to_owned(),
    }
}

/// Makes the authority and a certificate by it. The authority's private key is not kept: nobody can misuse it, and a new
/// certificate comes with a new authority (delete the folder).
fn make(folder: &Path) -> anyhow::Result<()> {
    make_for(folder, &NAMES.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
}

fn make_for(folder: &Path, names: &[String]) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "Habeas development authority");
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let server_key = KeyPair::generate()?;
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "Habeas development server");
    server.use_authority_key_identifier_extension = true;
    let server_certificate = server.signed_by(&server_key, &issuer)?;
    write_private(&folder.join("authority.pem"), &authority_certificate.pem())?;
    write_private(&folder.join("server.key"), &server_key.serialize_pem())?;
    write_private(&folder.join("server.pem"), &server_certificate.pem())
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}
