//! A ZIP from outside, read where it lies, in the blob store for example: nothing of it is unpacked to disk.
//!
//! Refused as a whole: too many files, paths that lead elsewhere or occur twice, encryption. Whatever a file says of its size, no more of it
//! is unpacked than its reader asked for.

use std::io::{self, Read, Seek, SeekFrom};

use habeas_core::crypto::Sha256;
use habeas_core::{BlobRef, Error, Result};
use habeas_dataset::Files;
use habeas_store::Blobs;
use tokio::runtime::Handle;
use zip::ZipArchive;

/// Bytes of a blob read at a time.
const WINDOW: u64 = 1 << 20;
/// Bytes of the end of central directory, its longest comment, and the locator of ZIP64 before it (APPNOTE 6.3.10, 4.3.15 and 4.3.16).
const END: u64 = 22;
const COMMENT: u64 = 65_535;
const LOCATOR: u64 = 20;

/// A blob as a file that can be read anywhere. On a thread that may block.
#[derive(Debug)]
pub struct BlobFile {
    blobs: Blobs,
    runtime: Handle,
    blob: BlobRef,
    at: u64,
    /// Where the window begins, and its bytes.
    from: u64,
    window: bytes::Bytes,
}

impl BlobFile {
    /// The file of a blob.
    pub fn new(blobs: Blobs, runtime: Handle, blob: BlobRef) -> BlobFile {
        BlobFile { blobs, runtime, blob, at: 0, from: 0, window: bytes::Bytes::new() }
    }
}

impl Read for BlobFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.blob.size || buffer.is_empty() {
            return Ok(0);
        }
        let within = |at: u64, from: u64, length: usize| at >= from && at < from + length as u64;
        if !within(self.at, self.from, self.window.len()) {
            let to = (self.at + WINDOW).min(self.blob.size);
            self.window = self
                .runtime
                .block_on(self.blobs.read_range(&self.blob, self.at..to))
                .map_err(io::Error::other)?;
            self.from = self.at;
        }
        let rest = &self.window[(self.at - self.from) as usize..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for BlobFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.blob.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

/// The archive, opened.
#[derive(Debug)]
pub struct Archive<R> {
    zip: ZipArchive<R>,
    paths: Vec<String>,
}

fn damaged() -> Error {
    Error::invalid("the body is not a ZIP archive, or it is damaged")
}

impl<R: Read + Seek> Archive<R> {
    /// Opens an archive of at most `most` files. Its paths are in alphabetical order.
    pub fn open(mut input: R, most: u64) -> Result<Archive<R>> {
        let too_many = || Error::limit(format!("the archive has more than {most} files"));
        // The directory is read into memory as a whole: its length is looked at before.
        if declared_files(&mut input).map_err(|_| damaged())? > most {
            return Err(too_many());
        }
        input.rewind().map_err(|_| damaged())?;
        let mut zip = ZipArchive::new(input).map_err(|_| damaged())?;
        if zip.len() as u64 > most {
            return Err(too_many());
        }
        let mut paths = Vec::new();
        for number in 0..zip.len() {
            let entry = zip.by_index_raw(number).map_err(|_| damaged())?;
            if entry.is_dir() {
                continue;
            }
            let path = std::str::from_utf8(entry.name_raw()).map_err(|_| {
                Error::invalid(format!("the path of file {number} in the archive is not UTF-8"))
            })?;
            if !is_plain(path) {
                return Err(Error::invalid(format!(
                    "the path of file {number} in the archive leads out of it, or is not a plain path"
                )));
            }
            if entry.encrypted() {
                return Err(Error::invalid("the archive is encrypted"));
            }
            paths.push(path.to_owned());
        }
        paths.sort_unstable();
        if paths.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::invalid("two files in the archive have the same path"));
        }
        Ok(Archive { zip, paths })
    }

    /// A file, unpacked while it is read.
    pub fn entry(&mut self, path: &str) -> Result<impl Read> {
        self.zip.by_name(path).map_err(|_| Error::invalid("the file cannot be read"))
    }

    /// Unpacks a file without keeping it: its length in bytes, and its SHA-256 in hexadecimal. An error once it is longer than `most`.
    pub fn digest(&mut self, path: &str, most: u64) -> Result<(u64, String)> {
        let unreadable = |_| Error::invalid("the file cannot be unpacked");
        let mut entry = self.zip.by_name(path).map_err(|_| Error::invalid("the file cannot be read"))?;
        let (mut digest, mut length) = (Sha256::default(), 0);
        let mut buffer = vec![0; WINDOW as usize];
        loop {
            let read = entry.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                return Ok((length, hex::encode(digest.finish())));
            }
            length += read as u64;
            if length > most {
                return Err(Error::too_large(format!("the file is larger than {most} bytes")));
            }
            digest.update(&buffer[..read]);
        }
    }
}

impl<R: Read + Seek> Files for Archive<R> {
    fn paths(&self) -> &[String] {
        &self.paths
    }

    fn content(&mut self, path: &str, most: u64) -> Result<Vec<u8>> {
        let mut entry = self.zip.by_name(path).map_err(|_| Error::invalid("the file cannot be read"))?;
        let mut bytes = Vec::new();
        entry
            .by_ref()
            .take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|_| Error::invalid("the file cannot be unpacked"))?;
        if bytes.len() as u64 > most {
            return Err(Error::too_large(format!("the file is larger than {most} bytes")));
        }
        Ok(bytes)
    }
}

/// Whether a path stays where it is on every system.
fn is_plain(path: &str) -> bool {
    !path.contains(['\\', '\0', ':'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// The largest number of files that any end of a central directory in the last bytes declares.
fn declared_files(input: &mut (impl Read + Seek)) -> io::Result<u64> {
    let size = input.seek(SeekFrom::End(0))?;
    let from = size.saturating_sub(END + COMMENT + LOCATOR);
    input.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    input.take(END + COMMENT + LOCATOR).read_to_end(&mut tail)?;
    let mut most = 0;
    for at in 0..tail.len().saturating_sub(END as usize - 1) {
        if tail[at..].starts_with(b"PK\x05\x06") {
            most = most.max(u64::from(u16::from_le_bytes([tail[at + 10], tail[at + 11]])));
        }
        // The ZIP64 record has its place in the locator, and a number of its own.
        if let Some(place) = tail[at..].strip_prefix(b"PK\x06\x07").and_then(|rest| rest.get(4..12)) {
            let place = u64::from_le_bytes(place.try_into().map_err(io::Error::other)?);
            let mut record = [0; 40];
            input.seek(SeekFrom::Start(place))?;
            if input.read_exact(&mut record).is_ok() && record.starts_with(b"PK\x06\x06") {
                let files: [u8; 8] = record[32..40].try_into().map_err(io::Error::other)?;
                most = most.max(u64::from_le_bytes(files));
            }
        }
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use proptest::prelude::*;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, bytes) in files {
            zip.start_file(*path, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn open(bytes: Vec<u8>, most: u64) -> Result<Archive<Cursor<Vec<u8>>>> {
        Archive::open(Cursor::new(bytes), most)
    }

    #[test]
    fn paths_that_lead_elsewhere_refuse_the_archive() {
        for path in ["../a.jpg", "/a.jpg", "a/../../b.jpg", "a\\b.jpg", "C:a.jpg", "a//b.jpg", "./a"] {
            assert!(open(zip(&[(path, b"x")]), 10).is_err(), "{path}");
        }
        assert_eq!(open(zip(&[("a/b.jpg", b"x")]), 10).unwrap().paths(), ["a/b.jpg"]);
    }

    #[test]
    fn too_many_files_are_refused_before_their_directory_is_read() {
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
        let bytes = zip(&files);
        assert_eq!(declared_files(&mut Cursor::new(&bytes)).unwrap(), 20);
        assert_eq!(open(bytes, 19).err().unwrap().kind, habeas_core::ErrorKind::LimitExceeded);
    }

    #[test]
    fn a_bomb_is_unpacked_no_further_than_its_reader_asked() {
        let bytes = zip(&[("bomb.jpg", &vec![0; 5_000_000])]);
        assert!(bytes.len() < 50_000);
        let mut archive = open(bytes, 10).unwrap();
        assert_eq!(archive.content("bomb.jpg", 1000).unwrap_err().kind, habeas_core::ErrorKind::TooLarge);
        assert_eq!(archive.content("bomb.jpg", 5_000_000).unwrap().len(), 5_000_000);
    }

    proptest! {
        #[test]
        fn damage_is_an_error_and_never_a_panic(cut in 0..400_usize, place in 0..400_usize, value in any::<u8>()) {
            let mut bytes = zip(&[("a.jpg", &[1; 100]), ("b/c.json", b"{}")]);
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut / 8));
            if let Ok(mut archive) = open(bytes, 10) {
                for path in archive.paths().to_vec() {
                    let _ = archive.content(&path, 1000);
                }
            }
        }
    }
}
