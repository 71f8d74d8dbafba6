//! A container of Azure's storage elsewhere, read by its address and a shared access signature: `List Blobs` and `Get Blob`.
//!
//! The signature is a secret of whoever sent it: it is in the addresses that are called, and nowhere else. So neither type shows itself, and
//! no error names an address.

use habeas_core::{Error, ErrorKind, Result};
use habeas_fetch::{Incoming, Outgoing};
use quick_xml::Reader;
use quick_xml::events::Event;

use crate::file_address::VERSION;
use crate::percent::{decode, encode_path};
use crate::runs::shortened;

/// Bytes of one page of a list: Azure's storage has at most 5,000 blobs on it.
const LARGEST_PAGE: u64 = 16 * 1024 * 1024;
/// Pages of a list. One may be empty, and have a next one.
const MOST_PAGES: usize = 1_000;
/// What is sent with every request.
const HEADERS: &[(&str, &str)] = &[("x-ms-version", VERSION)];

/// A container, by its address.
pub(super) struct Container<'a> {
    outgoing: &'a Outgoing,
    address: String,
    /// The signature, and what else the address had behind its `?`.
    query: String,
}

/// A blob in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) name: String,
    pub(super) size: u64,
}

impl<'a> Container<'a> {
    /// The container at `uri`, if calls to it are allowed. The signature may stand in the address already.
    pub(super) fn new(outgoing: &'a Outgoing, uri: &str, signature: &str) -> Result<Container<'a>> {
        outgoing.check(uri)?;
        if uri.contains('#') || signature.contains('#') {
            return Err(Error::invalid("`containerUri` and `containerSas` have no part behind a `#`"));
        }
        let (address, own) = uri.split_once('?').unwrap_or((uri, ""));
        let parts = [own, signature.trim_start_matches('?')];
        let query: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Ok(Container { outgoing, address: address.trim_end_matches('/').to_owned(), query: query.join("&") })
    }

    /// The blobs whose names begin with `prefix`, in the order of their names; an error when there are more than `most`.
    pub(super) async fn list(&self, prefix: &str, most: usize) -> Result<Vec<Blob>> {
        let (mut found, mut marker) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            let page = self.page(prefix, &marker).await.map_err(|error| {
                failed("the list of the container's blobs could not be read, so nothing was taken in", error)
            })?;
            found.extend(page.blobs);
            if found.len() > most {
                return Err(Error::limit(format!(
                    "more than {most} blobs in the container begin with `prefix`"
                ))
                .hint("take them in by several commands, with longer prefixes"));
            }
            match page.next {
                None => return Ok(found),
                Some(next) => marker = next,
            }
        }
        Err(Error::limit(format!("the list of the container's blobs has more than {MOST_PAGES} pages"))
            .hint("name a longer `prefix`"))
    }

    async fn page(&self, prefix: &str, marker: &str) -> Result<Listed> {
        let mut address = format!(
            "{}?restype=container&comp=list&prefix={}&{}",
            self.address,
            encode_path(prefix),
            self.query
        );
        if !marker.is_empty() {
            address = format!("{address}&marker={}", encode_path(marker));
        }
        let mut incoming = self.outgoing.open(&address, HEADERS, LARGEST_PAGE).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = incoming.piece().await? {
            bytes.extend_from_slice(&piece);
        }
        let listed = parse(&bytes).ok_or_else(|| {
            Error::invalid("the answer is no list of blobs, as Azure's storage writes it")
                .hint("`containerUri` is the address of a container, https://ACCOUNT.blob.SUFFIX/CONTAINER")
        })?;
        if listed.blobs.iter().any(|blob| !blob.name.starts_with(prefix)) {
            return Err(Error::invalid("the answer lists a blob whose name does not begin with `prefix`"));
        }
        Ok(listed)
    }

    /// Begins to fetch a blob, which is no larger than the list says.
    pub(super) async fn open(&self, blob: &Blob) -> Result<Incoming> {
        let address = format!("{}/{}?{}", self.address, encode_path(&blob.name), self.query);
        self.outgoing.open(&address, HEADERS, blob.size).await.map_err(|error| not_taken_in(blob, error))
    }
}

/// What is said of a blob that could not be fetched.
pub(super) fn not_taken_in(blob: &Blob, error: Error) -> Error {
    failed(&format!("the blob `{}` could not be taken in, so none was", shortened(&blob.name)), error)
}

/// Whatever is wrong at the far end is the request's fault: clients try again for minutes when it is the server's, and the log has those.
fn failed(what: &str, error: Error) -> Error {
    let kind = match error.kind {
        ErrorKind::TooLarge => ErrorKind::TooLarge,
        _ => ErrorKind::Invalid,
    };
    let hint = error.hint.unwrap_or_else(|| {
        "see what is at `containerUri` and what its signature allows, then send the command again".into()
    });
    Error::new(kind, format!("{what}: {}", error.what)).hint(hint)
}

/// A page of a list.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listed {
    blobs: Vec<Blob>,
    /// Where the next page begins, if there is one.
    next: Option<String>,
}

/// Reads a page; none when it is not one. What is not known, such as other properties of a blob, is passed over.
fn parse(xml: &[u8]) -> Option<Listed> {
    let mut reader = Reader::from_reader(xml);
    let mut listed = Listed::default();
    let (mut path, mut buffer): (Vec<Vec<u8>>, _) = (Vec::new(), Vec::new());
    let mut text = String::new();
    let (mut name, mut size, mut is_directory, mut is_encoded) = (None, None, false, false);
    let mut seen = false;
    loop {
        match reader.read_event_into(&mut buffer).ok()? {
            Event::Start(start) => {
                text.clear();
                is_encoded = start
                    .try_get_attribute("Encoded")
                    .ok()?
                    .is_some_and(|encoded| encoded.value.eq_ignore_ascii_case(b"true"));
                path.push(start.local_name().as_ref().to_vec());
                seen |= path.len() == 1 && path[0] == b"EnumerationResults";
            }
            Event::Text(part) => text.push_str(&part.decode().ok()?),
            Event::CData(part) => text.push_str(&part.decode().ok()?),
            Event::GeneralRef(reference) => {
                let named = format!("&{};", reference.decode().ok()?);
                text.push_str(&quick_xml::escape::unescape(&named).ok()?);
            }
            Event::End(_) => {
                let place: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
                match place[..] {
                    [_, b"Blobs", b"Blob", b"Name"] if is_encoded => {
                        // A plus is none of a space here.
                        name = Some(decode(&text.replace('+', "%2B")));
                    }
                    [_, b"Blobs", b"Blob", b"Name"] => name = Some(text.clone()),
                    [_, b"Blobs", b"Blob", b"Properties", b"Content-Length"] => {
                        size = Some(text.trim().parse().ok()?);
                    }
                    // Accounts with folders list these too, as blobs without content.
                    [_, b"Blobs", b"Blob", b"Properties", b"ResourceType"] => {
                        is_directory = text.trim() == "directory";
                    }
                    [_, b"Blobs", b"Blob"] => {
                        let blob = Blob { name: name.take()?, size: size.take()? };
                        if !std::mem::take(&mut is_directory) {
                            listed.blobs.push(blob);
                        }
                    }
                    [_, b"NextMarker"] if !text.is_empty() => listed.next = Some(text.clone()),
                    _ => {}
                }
                path.pop();
                text.clear();
            }
            Event::Eof => break,
            _ => {}
        }
        buffer.clear();
    }
    (seen && path.is_empty()).then_some(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_azure_writes_them() {
        let list = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://a.blob.core.windows.net/\" \
            ContainerName=\"c\"><Prefix>logs/</Prefix><MaxResults>4</MaxResults><Blobs>\
            <Blob><Name>logs/a &amp; b.txt</Name><Properties><Content-Length>12</Content-Length><Content-Type>text/plain</Content-Type>\
            <BlobType>BlockBlob</BlobType></Properties><OrMetadata /></Blob>\
            <Blob><Name>logs/folder</Name><Properties><Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>\
            <Blob><Name Encoded=\"true\">logs/a%EF%BF%BE+b</Name><Properties><Content-Length>0</Content-Length></Properties></Blob>\
            </Blobs><NextMarker>2!8&lt;=</NextMarker></EnumerationResults>";
        let blob = |name: &str, size| Blob { name: name.into(), size };
        assert_eq!(
            parse(list.as_bytes()).unwrap(),
            Listed {
                blobs: vec![blob("logs/a & b.txt", 12), blob("logs/a\u{fffe}+b", 0)],
                next: Some("2!8<=".into())
            }
        );
        let last = b"<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>";
        assert_eq!(parse(last).unwrap(), Listed::default());
        for bad in [
            "",
            "no list",
            "<Error/>",
            "<EnumerationResults><Blobs>",
            "<EnumerationResults><Blobs><Blob><Name>a</Name></Blob></Blobs></EnumerationResults>",
            "<EnumerationResults><Blobs><Blob><Name>a</Name><Properties><Content-Length>-1</Content-Length></Properties></Blob></Blobs></EnumerationResults>",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_signature_stands_behind_the_address_or_beside_it() {
        let outgoing =
            Outgoing::new(habeas_fetch::Policy { enabled: true, ..habeas_fetch::Policy::default() }).unwrap();
        for (uri, signature) in [
            ("https://a.example.org/c", "?sv=1&sig=x"),
            ("https://a.example.org/c/", "sv=1&sig=x"),
            ("https://a.example.org/c?sv=1", "sig=x"),
            ("https://a.example.org/c?sv=1&sig=x", ""),
        ] {
            let container = Container::new(&outgoing, uri, signature).unwrap();
            assert_eq!(
                (container.address.as_str(), container.query.as_str()),
                ("https://a.example.org/c", "sv=1&sig=x")
            );
        }
        assert!(Container::new(&outgoing, "https://127.0.0.1/c", "").is_err());
        assert!(Container::new(&outgoing, "https://a.example.org/c", "sig=x#y").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
