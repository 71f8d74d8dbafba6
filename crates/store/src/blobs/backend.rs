//! Opening the object store that an address names.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use habeas_core::{Error, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};
use reqwest::Url;

use super::failure;

/// The directory, or first part of every key, under which blobs lie.
pub(super) const BLOBS: &str = "blobs";

/// How long a request to a remote store is tried again before the caller hears of it. The library's three minutes
/// would outlive the client that waits for the answer.
const RETRY_FOR: Duration = Duration::from_secs(30);
const RETRIES: usize = 5;

/// An object store and where in it the blobs lie.
#[derive(Clone)]
pub(super) struct Backend {
    /// The store.
    pub(super) store: Arc<dyn ObjectStore>,
    /// What every key begins with; empty for local files, whose root is the store's own.
    pub(super) prefix: Path,
    /// `file`, `s3`, `az`, `gs`, or `memory` for a store handed in.
    pub(super) scheme: &'static str,
    /// The directory of local files.
    pub(super) root: Option<PathBuf>,
}

impl Backend {
    /// The store at `address`: a directory, `file:///DIR`, `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or
    /// `gs://BUCKET/PREFIX`.
    pub(super) fn open(address: &str) -> Result<Backend> {
        if !address.contains("://") {
            return local(PathBuf::from(address));
        }
        let url = Url::parse(address).map_err(|_| not_an_address())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::invalid("the address of the blob store contains credentials")
                .hint("take them out and set them in the server's environment"));
        }
        match url.scheme() {
            "file" => local(url.to_file_path().map_err(|()| not_an_address())?),
            "s3" => s3(&url),
            "az" => azure(&url),
            "gs" => google(&url),
            _ => Err(not_an_address()),
        }
    }

    fn remote(store: impl ObjectStore, scheme: &'static str, url: &Url) -> Result<Backend> {
        let prefix = Path::from_url_path(url.path()).map_err(|_| not_an_address())?;
        Ok(Backend { store: Arc::new(store), prefix, scheme, root: None })
    }
}

fn not_an_address() -> Error {
    Error::invalid("the address of the blob store is not one we know").hint(
        "write a directory, file:///DIR, s3://BUCKET/PREFIX?endpoint=URL&region=NAME&allow_http=true, \
         az://CONTAINER/PREFIX or gs://BUCKET/PREFIX",
    )
}

fn local(root: PathBuf) -> Result<Backend> {
    let prepared = std::path::absolute(root).and_then(|root| prepare(&root).map(|()| root));
    let root =
        prepared.map_err(|error| failure::of_io(&error, "the directory of the blob store cannot be used"))?;
    let store = LocalFileSystem::new_with_prefix(&root)
        .map_err(|error| failure::unavailable(&error, "the directory of the blob store cannot be used"))?
        // Files and directory entries on disk before a write returns; the library's default is neither.
        .with_fsync(true);
    Ok(Backend { store: Arc::new(store), prefix: Path::default(), scheme: "file", root: Some(root) })
}

/// Makes every directory a blob can lie in. Left to the object store they would get the mode of the process, and of
/// two first blobs written at once one could be acknowledged before its directory's own entry is on disk.
fn prepare(root: &std::path::Path) -> io::Result<()> {
    let existing = root.ancestors().find(|directory| directory.exists()).unwrap_or(root).to_path_buf();
    let blobs = root.join(BLOBS);
    make_directory(&blobs)?;
    for first in 0..=u8::MAX {
        make_directory(&blobs.join(hex::encode([first])))?;
    }
    sync_directory(&blobs)?;
    for directory in root.ancestors() {
        sync_directory(directory)?;
        if directory == existing {
            break;
        }
    }
    Ok(())
}

fn make_directory(path: &std::path::Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes what was added to and removed from a directory durable.
pub(super) fn sync_directory(path: &std::path::Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened as a file.
    #[cfg(unix)]
    std::fs::File::open(path)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn s3(url: &Url) -> Result<Backend> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket(url)?)
        .with_retry(retry())
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    for (name, value) in url.query_pairs() {
        builder = match &*name {
            "endpoint" => builder.with_endpoint(value),
            "region" => builder.with_region(value),
            "allow_http" => builder.with_allow_http(value == "true"),
            _ => return Err(unknown_setting("endpoint, region and allow_http")),
        };
    }
    if let Some(endpoint) = builder.get_config_value(&AmazonS3ConfigKey::Endpoint) {
        let endpoint = Url::parse(&endpoint).map_err(|_| {
            Error::invalid("the endpoint of the S3 blob store is not a URL")
                .hint("write it like https://s3.example.net")
        })?;
        let allowed = builder.get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
        if endpoint.scheme() == "http" && allowed.as_deref() != Some("true") {
            // On the machine itself there is nobody to listen in.
            if !matches!(endpoint.host_str(), Some("127.0.0.1" | "[::1]" | "localhost")) {
                return Err(Error::invalid("the endpoint of the S3 blob store is plain http")
                    .hint("use https, or add allow_http=true to the address where the network is trusted"));
            }
            builder = builder.with_allow_http(true);
        }
    }
    install_tls_provider();
    let store =
        builder.build().map_err(|_| incomplete("S3", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"))?;
    Backend::remote(store, "s3", url)
}

fn azure(url: &Url) -> Result<Backend> {
    no_settings(url)?;
    install_tls_provider();
    let store = MicrosoftAzureBuilder::from_env()
        .with_container_name(bucket(url)?)
        .with_retry(retry())
        .build()
        .map_err(|_| incomplete("Azure", "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"))?;
    Backend::remote(store, "az", url)
}

fn google(url: &Url) -> Result<Backend> {
    no_settings(url)?;
    install_tls_provider();
    let store = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(bucket(url)?)
        .with_retry(retry())
        .build()
        .map_err(|_| incomplete("Google", "GOOGLE_SERVICE_ACCOUNT"))?;
    Backend::remote(store, "gs", url)
}

fn bucket(url: &Url) -> Result<&str> {
    url.host_str().filter(|host| !host.is_empty()).ok_or_else(not_an_address)
}

fn no_settings(url: &Url) -> Result<()> {
    if url.query().is_some() { Err(unknown_setting("none")) } else { Ok(()) }
}

/// Does not repeat the name: whoever writes a secret there should not find it in a log.
fn unknown_setting(known: &str) -> Error {
    Error::invalid("the address of the blob store has a setting we do not know").hint(format!(
        "known settings of this kind of store: {known}; credentials belong in the server's environment"
    ))
}

fn incomplete(store: &str, variables: &str) -> Error {
    Error::invalid(format!("the settings of the {store} blob store are incomplete or wrong"))
        .hint(format!("check the address, and {variables} in the server's environment"))
}

fn retry() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() }
}

/// The HTTP client panics when the process has chosen no TLS provider; whoever comes first chooses the same one.
fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
