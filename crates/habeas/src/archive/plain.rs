//! The file of an archive, as it is or sealed in age: opened where it is read, without a plain copy anywhere.

use std::fmt::Debug;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use anyhow::Context as _;
use habeas_core::age::{Identity, Lock, Opened, lock};
use habeas_core::{Error, ErrorKind};

use super::check::refused;

/// A file that can be read anywhere.
pub trait Readable: Read + Seek + Send + Debug {}

impl<R: Read + Seek + Send + Debug> Readable for R {}

/// The plain bytes of a file.
pub type Plain = BufReader<Box<dyn Readable>>;

/// Opens a file; when it is sealed, with what `ask` gives. What is damaged or was cut off is refused, as an archive is whose parts are.
pub fn plain(path: &Path, ask: impl FnOnce(Lock) -> anyhow::Result<Identity>) -> anyhow::Result<Plain> {
    let cannot_read = || format!("cannot read {}", path.display());
    let mut file = BufReader::new(File::open(path).with_context(cannot_read)?);
    let lock = lock(&mut file).map_err(refused_if_damaged)?;
    file.rewind().with_context(cannot_read)?;
    let readable: Box<dyn Readable> = match lock {
        None => Box::new(file.into_inner()),
        Some(lock) => Box::new(Opened::new(file, &ask(lock)?).map_err(refused_if_damaged)?),
    };
    Ok(BufReader::new(readable))
}

fn refused_if_damaged(error: Error) -> anyhow::Error {
    match error.kind {
        ErrorKind::Damaged => refused(&error).into(),
        _ => error.into(),
    }
}
