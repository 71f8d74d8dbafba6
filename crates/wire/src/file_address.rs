//! Signed addresses of files, for clients that send and fetch them without a token.
//!
//! `SCHEME://ACCOUNT.blob.SUFFIX/azureml/OWNER/PATH?sv=VERSION&sr=b&sp={r|rcw}&se=SECONDS&skoid=PERSON&sig=MAC`, with the parameters of a shared
//! access signature of Azure's storage: clients drop others. An address works for a day, for what the person it was made for may do at the
//! moment it is used: it dies with an erasure, a freeze, and the person's role.

use std::collections::HashMap;

use habeas_access::{Actor, Permission};
use habeas_core::crypto::{self, SecretKey};
use habeas_core::{Error, Id, Result, Timestamp};

use crate::App;
use crate::blob_host::BlobHost;
use crate::percent::{decode_path, encode_path};

/// How long an address works, in seconds.
const LIFETIME: i64 = 24 * 3_600;
/// The container of Azure's that all files are said to be in. `azure-storage-blob` takes a path of two parts at a host below `localhost` for
/// one without its account, and doubles the first.
pub(crate) const CONTAINER: &str = "azureml";
/// What stands in the place of an owner in the addresses of archives.
pub(crate) const ARCHIVES: &str = "archives";
/// The version of Azure's storage whose parameters these are.
pub(crate) const VERSION: &str = "2021-08-06";

/// What an address is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Access {
    const fn name(self) -> &'static str {
        match self {
            Access::Read => "r",
            Access::Write => "rcw",
        }
    }
}

/// What a valid address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The run, model, snapshot, workspace or project.
    pub(crate) owner: Id,
    /// The path below it.
    pub(crate) path: String,
    /// For whom it was made.
    pub(crate) person: Id,
    access: Access,
}

/// Makes addresses.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    base: String,
    key: SecretKey,
    person: Id,
    expires: i64,
}

impl Signer {
    pub(crate) fn new(app: &App, host: &BlobHost, person: Id) -> Result<Signer> {
        let expires = app.store().ambient().now().seconds() + LIFETIME;
        Ok(Signer { base: host.base(), key: key(app)?, person, expires })
    }

    /// The address of the file at `path` below `owner`.
    pub(crate) fn address(&self, owner: Id, path: &str, access: Access) -> String {
        let place = format!("{}/{}", owner.to_hex(), encode_path(path));
        self.signed(&place, Grant { owner, path: path.to_owned(), person: self.person, access })
    }

    /// The address of all files of a snapshot in one archive: that of the empty path, which no file has.
    pub(crate) fn archive_address(&self, snapshot: Id) -> String {
        let place = format!("{ARCHIVES}/{}", snapshot.to_hex());
        self.signed(
            &place,
            Grant { owner: snapshot, path: String::new(), person: self.person, access: Access::Read },
        )
    }

    fn signed(&self, place: &str, grant: Grant) -> String {
        format!(
            "{}/{CONTAINER}/{place}?sv={VERSION}&sr=b&sp={}&se={}&skoid={}&sig={}",
            self.base,
            grant.access.name(),
            self.expires,
            self.person,
            sign(&self.key, &grant, self.expires)
        )
    }
}

fn key(app: &App) -> Result<SecretKey> {
    app.store().installation_key(b"artifact-address")
}

fn sign(key: &SecretKey, grant: &Grant, expires: i64) -> String {
    let Grant { owner, path, person, access } = grant;
    // The path comes last, so that nothing in it is taken for another part.
    let message = format!("{}\n{expires}\n{}\n{}\n{path}", access.name(), owner.to_hex(), person.to_hex());
    hex::encode(crypto::mac(key, message.as_bytes()))
}

/// The code of an address that was not made here, or whose time is over.
pub(crate) const NOT_AUTHENTICATED: &str = "AuthenticationFailed";

/// What an address grants; an error when it was not made here, or does not work any more.
pub(crate) fn check(
    app: &App,
    owner: &str,
    path: &str,
    parameters: &HashMap<String, String>,
) -> Result<Grant> {
    let denied = || {
        Error::forbidden("this address was not made by this server, or was changed")
            .hint("ask for the file again to get a new one")
            .code(NOT_AUTHENTICATED)
    };
    let parameter = |name: &str| parameters.get(name).map(String::as_str).ok_or_else(denied);
    let granted = parameter("sp")?;
    let access = [Access::Read, Access::Write]
        .into_iter()
        .find(|access| access.name() == granted)
        .ok_or_else(denied)?;
    let mut grant = Grant {
        owner: owner.parse().map_err(|_| denied())?,
        path: path.to_owned(),
        person: parameter("skoid")?.parse().map_err(|_| denied())?,
        access,
    };
    let expires: i64 = parameter("se")?.parse().map_err(|_| denied())?;
    let (key, signature) = (key(app)?, parameter("sig")?);
    let fits =
        |grant: &Grant| crypto::constant_time_eq(sign(&key, grant, expires).as_bytes(), signature.as_bytes());
    if !fits(&grant) {
        // `azureml-core` 1.61 takes the path out of an address without decoding it, and its storage client encodes it once more.
        grant.path = decode_path(path);
        if grant.path == path || !fits(&grant) {
            return Err(denied());
        }
    }
    if app.store().ambient().now().seconds() >= expires {
        return Err(Error::forbidden("this address has expired")
            .hint("ask for the file again to get a new one")
            .code(NOT_AUTHENTICATED));
    }
    Ok(grant)
}

impl Grant {
    /// Who acts when the address is used; without a sign-in of their own.
    pub(crate) fn actor(&self) -> Actor {
        Actor::Person { id: self.person, signed_in_at: Timestamp(0), granted: true }
    }

    /// An error when the address is not good for this.
    pub(crate) fn require(&self, permission: Permission) -> Result<()> {
        if permission == Permission::Read || self.access == Access::Write {
            return Ok(());
        }
        Err(Error::forbidden("this address is good for reading only").code("AuthorizationPermissionMismatch"))
    }
}
