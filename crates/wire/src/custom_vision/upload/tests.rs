//! The streamed JSON, chunk by chunk.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::ErrorKind;
use proptest::prelude::*;
use serde_json::json;

use super::files::Batch;
use super::*;

/// An entry with bytes of its own.
#[derive(Debug, PartialEq)]
struct Entry {
    name: Option<String>,
    contents: Kept,
    tag_ids: Vec<String>,
    regions: Vec<RegionEntry>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kept {
    Bytes(Vec<u8>),
    Missing,
    TooLarge,
}

fn read(json: impl Read, limits: &Limits) -> Result<(Vec<Entry>, Batch)> {
    let mut entries = Vec::new();
    let batch = files(json, limits, &mut |entry| {
        let contents = match entry.contents {
            Contents::Bytes(bytes) => Kept::Bytes(bytes.to_vec()),
            Contents::Missing => Kept::Missing,
            Contents::TooLarge => Kept::TooLarge,
        };
        entries.push(Entry { name: entry.name, contents, tag_ids: entry.tag_ids, regions: entry.regions });
        Ok(())
    })?;
    Ok((entries, batch))
}

/// Gives at most so many bytes at a time, in turns.
struct Chunked<'a> {
    bytes: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl<'a> Chunked<'a> {
    fn new(bytes: &'a [u8], sizes: &'a [usize]) -> Chunked<'a> {
        Chunked { bytes, sizes: sizes.iter().cycle() }
    }
}

impl Read for Chunked<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = *self.sizes.next().unwrap();
        let length = out.len().min(size);
        self.bytes.read(&mut out[..length])
    }
}

#[test]
fn a_batch_is_read_whatever_the_order_of_its_members() {
    let json = br#"{"tagIds":["x"],"images":[{"name":"a.jpg","contents":"AQID","regions":[{"tagId":"t","left":0.1,"top":0,"width":1,"height":1}],"more":[[{}]]},
        {"Contents":null,"TagIds":null}],"metadata":{"k":"v"}, "more": "AQID"}"#;
    let (entries, batch) = read(&json[..], &Limits::default()).unwrap();
    assert_eq!(entries[0].contents, Kept::Bytes(vec![1, 2, 3]));
    assert_eq!(entries[0].regions.len(), 1);
    assert_eq!(entries[1].contents, Kept::Missing);
    assert_eq!(batch.tag_ids, ["x"]);
    assert_eq!(batch.metadata, [("k".to_owned(), "v".to_owned())]);
}

#[test]
fn a_batch_that_is_too_long_or_broken_says_so() {
    let limits = Limits::default();
    let many = format!(r#"{{"images":[{}]}}"#, vec!["{}"; 65].join(","));
    let error = read(many.as_bytes(), &limits).unwrap_err();
    assert_eq!(error.code, Some("BadRequestImageExceededCount"));
    let long_name = format!(r#"{{"{}":0}}"#, "\\\"".repeat(100_000));
    let long_text = format!(r#"{{"images":[{{"name":"{}"}}]}}"#, "x".repeat(100_000));
    let deep = format!(r#"{{"more":{}}}"#, "[".repeat(1000));
    for (wrong, what) in [
        (r#"{"images":["#, "cut off (line 1, column 12)"),
        (r#"{"images":[{"contents":"AQ"#, "cut off"),
        ("", "cut off"),
        ("[]", "members of an image batch (line 1, column 1)"),
        (r#"{"images":3}"#, "members"),
        (r#"{"tagIds":[3]}"#, "members"),
        (r#"{"metadata":{"a":3}}"#, "members"),
        (r#"{"images":[{"contents":3}]}"#, "members"),
        (r#"{"images":[{"regions":[{"tagId":"t"}]}]}"#, "members"),
        ("{} x", "not JSON"),
        (r#"{"images":[{"contents":"AQ\x"}]}"#, "not JSON"),
        (&long_name, "longer than 4096 bytes"),
        (&long_text, "longer than 4096 bytes"),
        (&deep, "nested too deep"),
    ] {
        let error = read(wrong.as_bytes(), &limits).unwrap_err();
        assert_eq!(
            (error.kind, error.code),
            (ErrorKind::Invalid, Some("BadRequestImageBatch")),
            "{wrong:.40}"
        );
        assert!(error.what.contains(what), "{wrong:.40}: {error}");
    }
    let no_text = b"{\"images\":[{\"contents\":\"AQ\xff\"}]}";
    assert!(read(&no_text[..], &limits).unwrap_err().what.contains("not JSON"));
}

#[test]
fn a_broken_connection_is_told_from_broken_json() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
    for begin in ["{\"ima", "{\"images\":[{\"contents\":\"AQID"] {
        let error = read(begin.as_bytes().chain(Broken), &Limits::default()).unwrap_err();
        assert!(error.what.contains("cut off"), "{error}");
    }
}

#[test]
fn lists_are_cut_where_too_many_is_certain() {
    let limits = Limits {
        tags_per_image: 2,
        tags_per_request: 1,
        regions_per_image: 1,
        metadata_pairs: 1,
        ..Limits::default()
    };
    let region = json!({"tagId": "t", "left": 0, "top": 0, "width": 1, "height": 1});
    let batch = json!({
        "images": [{ "tagIds": ["a", "b", "c", "d"], "regions": vec![region; 5] }],
        "tagIds": ["a", "b", "c"], "metadata": {"a": "1", "b": "2", "c": "3"},
    });
    let (entries, batch) = read(batch.to_string().as_bytes(), &limits).unwrap();
    assert_eq!((entries[0].tag_ids.len(), entries[0].regions.len()), (3, 2));
    assert_eq!((batch.tag_ids.len(), batch.metadata.len()), (2, 2));
}

/// Base64 as it should be, and with a character changed, dropped or added.
fn base64() -> impl Strategy<Value = String> {
    let right = prop::collection::vec(any::<u8>(), 0..3000).prop_map(|bytes| STANDARD.encode(bytes));
    (right, any::<prop::sample::Index>(), prop::option::of("[A-Za-z0-9+/=_ é]{0,3}")).prop_map(
        |(mut text, index, change)| {
            if let Some(change) = change
                && !text.is_empty()
            {
                let at = index.index(text.len());
                text.replace_range(at..=at, &change);
            }
            text
        },
    )
}

proptest! {
    /// What arrives piece by piece is what decoding the whole text gives.
    #[test]
    fn chunks_do_not_matter(
        texts in prop::collection::vec(base64(), 1..4),
        sizes in prop::collection::vec(1_usize..2000, 1..5),
        most in 0_u64..3000,
    ) {
        let limits = Limits { image_bytes: most, ..Limits::default() };
        let images: Vec<_> = texts.iter().map(|text| json!({ "contents": text })).collect();
        let body = json!({ "images": images, "tagIds": ["t"] }).to_string();
        let (entries, batch) = read(Chunked::new(body.as_bytes(), &sizes), &limits).unwrap();
        prop_assert_eq!(batch.tag_ids, ["t"]);
        prop_assert_eq!(entries.len(), texts.len());
        for (entry, text) in entries.iter().zip(&texts) {
            match STANDARD.decode(text) {
                Ok(bytes) if bytes.len() as u64 <= most => prop_assert_eq!(&entry.contents, &Kept::Bytes(bytes)),
                Ok(_) => prop_assert_eq!(&entry.contents, &Kept::TooLarge),
                // Broken beyond the limit, it need not be found out.
                Err(_) => prop_assert!(
                    entry.contents == Kept::Missing
                        || (entry.contents == Kept::TooLarge && text.len() as u64 / 4 * 3 > most)
                ),
            }
        }
    }

    /// A batch that ends anywhere before its end is refused, and says that it was cut off.
    #[test]
    fn a_batch_cut_anywhere_is_refused(
        image in prop::collection::vec(any::<u8>(), 0..600),
        cut in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1_usize..100, 1..4),
    ) {
        let body = json!({
            "images": [{ "name": "ä\n.jpg", "contents": STANDARD.encode(image), "tagIds": ["t"] }],
            "metadata": { "k": "v" }, "more": [1.5, null, true],
        }).to_string();
        let cut = cut.index(body.len());
        let error = read(Chunked::new(&body.as_bytes()[..cut], &sizes), &Limits::default()).unwrap_err();
        prop_assert_eq!((error.kind, error.code), (ErrorKind::Invalid, Some("BadRequestImageBatch")));
        prop_assert!(error.what.contains("cut off"), "{}", error);
    }

    /// One changed byte gives a batch or the protocol's error.
    #[test]
    fn a_changed_byte_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = br#"{"images":[{"name":"a","contents":"AQIDBA==","regions":[{"tagId":"t","left":0.1,"top":0,"width":1,"height":1}]}],"tagIds":["x"],"metadata":{"k":"v"}}"#.to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        if let Err(error) = read(&body[..], &Limits::default()) {
            prop_assert_eq!(error.kind, ErrorKind::Invalid);
        }
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes[..], &Limits::default());
    }
}
