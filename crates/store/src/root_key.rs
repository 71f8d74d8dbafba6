//! The root key, which wraps every key of the keyring: from a file that only its owner may read, or from a passphrase.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use habeas_core::crypto::SecretKey;
use habeas_core::{Error, Random, Result};
use zeroize::Zeroizing;

/// The root key.
#[derive(Clone, Debug)]
pub struct RootKey(pub(crate) SecretKey);

/// File beside the keyring that holds the salt of a passphrase. Not secret.
const SALT: &str = "passphrase-salt";
/// Cost of a passphrase: 64 MiB, 3 passes, 1 lane (RFC 9106, second recommended option).
const COST: (u32, u32, u32) = (64 * 1024, 3, 1);

impl RootKey {
    /// Reads the key from a file of 64 hexadecimal digits; makes it when it is not there and `create` is set. Refuses a file that
    /// others may read.
    pub fn from_file(path: &Path, create: bool, random: &dyn Random) -> Result<RootKey> {
        let shown = path.display();
        if !path.exists() && create {
            let key = SecretKey::random(random);
            write_new(path, Zeroizing::new(hex::encode(key.expose())).as_bytes())?;
        }
        let found = std::fs::metadata(path).map_err(|error| {
            Error::unavailable(format!("the root key {shown} cannot be read: {}", error.kind()))
                .hint("without the root key nothing can be read; put it in its place, or name it with --root-key-file")
        })?;
        if found.permissions().mode() & 0o077 != 0 {
            return Err(Error::invalid(format!("the root key {shown} can be read by others"))
                .hint(format!("chmod 600 {shown}")));
        }
        let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
            Error::unavailable(format!("the root key {shown} cannot be read: {}", error.kind()))
        })?;
        let bytes = hex::decode(text.trim())
            .map(Zeroizing::new)
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(&bytes[..]).ok());
        bytes.map(|bytes| RootKey(SecretKey::from_bytes(bytes))).ok_or_else(|| {
            Error::invalid(format!("the root key {shown} does not hold 64 hexadecimal digits"))
        })
    }

    /// Derives the key from a passphrase (argon2id) and the salt in `directory`, which is made when it is not there.
    pub fn from_passphrase(directory: &Path, passphrase: &str, random: &dyn Random) -> Result<RootKey> {
        if passphrase.chars().count() < 12 {
            return Err(Error::invalid("the passphrase is shorter than 12 characters"));
        }
        let path = directory.join(SALT);
        if !path.exists() {
            let mut salt = [0; 16];
            random.fill(&mut salt);
            write_new(&path, hex::encode(salt).as_bytes())?;
        }
        let salt = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| hex::decode(text.trim()).ok())
            .filter(|salt| salt.len() == 16)
            .ok_or_else(|| Error::damaged(format!("{} does not hold a salt", path.display())))?;
        let (memory, passes, lanes) = COST;
        let params = Params::new(memory, passes, lanes, Some(32))
            .map_err(|_| Error::internal("the argon2 parameters"))?;
        let mut bytes = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut bytes)
            .map_err(|_| Error::internal("the passphrase could not be hashed"))?;
        Ok(RootKey(SecretKey::from_bytes(bytes)))
    }
}

/// Writes a new private file and flushes it and its directory.
fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            std::fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(|error| {
        Error::unavailable(format!("{} cannot be written: {}", path.display(), error.kind()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use habeas_core::SeededRandom;

    #[test]
    fn a_key_file_is_made_once_and_must_be_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let random = SeededRandom::new(1);
        assert!(RootKey::from_file(&path, false, &random).is_err());
        let made = RootKey::from_file(&path, true, &random).unwrap();
        assert_eq!(RootKey::from_file(&path, true, &random).unwrap().0, made.0);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = RootKey::from_file(&path, true, &random).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_passphrase_gives_the_same_key_with_the_same_salt() {
        let folder = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(1);
        let first = RootKey::from_passphrase(folder.path(), "correct horse battery", &random).unwrap();
        assert_eq!(
            RootKey::from_passphrase(folder.path(), "correct horse battery", &random).unwrap().0,
            first.0
        );
        assert_ne!(
            RootKey::from_passphrase(folder.path(), "correct horse batterz", &random).unwrap().0,
            first.0
        );
    }
}
