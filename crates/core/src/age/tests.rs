use std::io::{Cursor, Read as _, Seek as _, SeekFrom, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::{ErrorKind, SeededRandom};

const PUBLIC: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn key() -> (Recipient, Identity) {
    let own = SecretKey::from_bytes([9; 32]);
    (Recipient::Key(crate::crypto::x25519_public(&own)), Identity::Key(own))
}

fn seal(recipient: &Recipient, plain: &[u8]) -> Vec<u8> {
    let random = SeededRandom::new(1);
    seal_prepared(&Prepared::new(recipient, &random).unwrap(), plain, &random)
}

fn seal_prepared(prepared: &Prepared, plain: &[u8], random: &SeededRandom) -> Vec<u8> {
    let mut sealed = Sealed::new(Vec::new(), prepared, random).unwrap();
    sealed.write_all(plain).unwrap();
    sealed.finish().unwrap()
}

fn open(file: &[u8], identity: &Identity) -> Result<Vec<u8>> {
    let mut opened = Opened::new(Cursor::new(file), identity)?;
    let mut plain = Vec::new();
    opened.read_to_end(&mut plain).map_err(|_| Error::damaged("a chunk"))?;
    Ok(plain)
}

/// One of the test vectors of the format (<https://c2sp.org/CCTV/age>, CC0), as far as they are about what is written and read here.
#[derive(Deserialize)]
struct Vector {
    name: String,
    expect: String,
    payload: Option<String>,
    identity: Vec<String>,
    passphrase: Vec<String>,
    file: String,
}

#[test]
fn the_test_vectors_of_the_format_are_opened_and_refused_as_they_say() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../fixtures/age/vectors.json")).unwrap();
    assert!(vectors.len() > 70);
    for vector in vectors {
        let file = STANDARD.decode(&vector.file).unwrap();
        let keys = vector.identity.iter().map(|text| text.parse().unwrap());
        let passphrases = vector.passphrase.iter().cloned().map(|text| Passphrase::of_sealed(text.into()));
        let mut identities: Vec<Identity> = keys.chain(passphrases.map(Identity::Passphrase)).collect();
        // The vector without a recipient is refused before it is asked for anybody.
        identities.extend(identities.is_empty().then(|| key().1));
        let results: Vec<Result<Vec<u8>>> = identities.iter().map(|identity| open(&file, identity)).collect();
        match vector.expect.as_str() {
            "success" => {
                let plain =
                    results.into_iter().find_map(Result::ok).unwrap_or_else(|| panic!("{}", vector.name));
                let digest = hex::encode(crate::crypto::sha256(&plain));
                assert_eq!(Some(digest), vector.payload, "{}", vector.name);
            }
            "no match" => {
                assert!(
                    results
                        .iter()
                        .all(|result| result.as_ref().is_err_and(|error| error.kind == ErrorKind::Forbidden)),
                    "{}",
                    vector.name
                );
            }
            _ => {
                let refused = |kind| kind == ErrorKind::Damaged || kind == ErrorKind::LimitExceeded;
                assert!(
                    results.iter().all(|result| result.as_ref().is_err_and(|error| refused(error.kind))),
                    "{} {results:?}",
                    vector.name
                );
            }
        }
    }
}

#[test]
fn only_keys_are_keys() {
    assert!(PUBLIC.parse::<Recipient>().is_ok());
    for index in 0..PUBLIC.len() {
        let mut changed = PUBLIC.to_owned().into_bytes();
        changed[index] = if changed[index] == b'q' { b'p' } else { b'q' };
        assert!(String::from_utf8(changed).unwrap().parse::<Recipient>().is_err(), "{index}");
    }
    for text in ["", "age1", "age1qqqqqq", "ssh-ed25519 AAAA", &PUBLIC.to_uppercase()] {
        assert!(text.parse::<Recipient>().is_err(), "{text}");
        assert!(text.parse::<Identity>().is_err(), "{text}");
    }
    let file =
        "# created: 2026-11-26\nAGE-SECRET-KEY-1QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSKMP32K\n";
    let Identity::Key(own) = file.parse().unwrap() else { panic!("a key") };
    assert_eq!(own, SecretKey::from_bytes([7; 32]));
    assert!(file.to_lowercase().parse::<Identity>().is_err());
}

#[test]
fn the_form_is_that_of_the_specification() {
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let bytes = seal(&PUBLIC.parse().unwrap(), &vec![7; size]);
        let end = bytes.windows(5).position(|part| part == b"\n--- ").unwrap();
        let header = std::str::from_utf8(&bytes[..end]).unwrap();
        let lines: Vec<&str> = header.lines().collect();
        assert_eq!(lines[0], "age-encryption.org/v1");
        assert!(lines[1].starts_with("-> X25519 ") && lines[1].len() == 53 && lines[2].len() == 43);
        let payload = bytes.len() - (end + 5 + 43 + 1) - 16;
        assert_eq!(payload, size + 16 * size.div_ceil(CHUNK).max(1));
    }
}

#[test]
fn what_a_passphrase_seals_it_opens_and_nothing_else_does() {
    let right = Passphrase::new("correct horse".to_owned().into()).unwrap();
    let file = seal(&Recipient::Passphrase { passphrase: right.clone(), work: 10 }, b"plain");
    assert_eq!(lock(&mut &file[..]).unwrap(), Some(Lock::Passphrase));
    assert_eq!(open(&file, &Identity::Passphrase(right)).unwrap(), b"plain");
    assert_eq!(open(&file, &key().1).unwrap_err().kind, ErrorKind::Forbidden);
    let wrong = Identity::Passphrase(Passphrase::of_sealed("correct".to_owned().into()));
    assert_eq!(open(&file, &wrong).unwrap_err().kind, ErrorKind::Forbidden);
    for text in ["", "seven77", &"x".repeat(1025)] {
        assert!(Passphrase::new(text.to_owned().into()).is_err(), "{text}");
    }
    assert_eq!(format!("{wrong:?}"), "Passphrase(Passphrase(..))");
}

#[test]
fn what_was_prepared_is_kept_without_the_passphrase_and_never_seals_twice_in_the_same_way() {
    let right = Passphrase::new("correct horse".to_owned().into()).unwrap();
    let recipient = Recipient::Passphrase { passphrase: right.clone(), work: 10 };
    let random = SeededRandom::new(1);
    let prepared = Prepared::new(&recipient, &random).unwrap();
    let stored = serde_json::to_string(&prepared).unwrap();
    assert!(!stored.contains("correct horse"));
    assert_eq!(format!("{prepared:?}"), "Prepared(..)");
    let kept: Prepared = serde_json::from_str(&stored).unwrap();
    assert_eq!(kept, prepared);
    let files = [b"one thing", b"something"].map(|plain| seal_prepared(&kept, plain, &random));
    let header = kept.header.len();
    assert_eq!(files[0][..header], files[1][..header]);
    assert_ne!(files[0][header..header + 16], files[1][header..header + 16]);
    let identity = Identity::Passphrase(right);
    assert_eq!(files.map(|file| open(&file, &identity).unwrap()), [b"one thing", b"something"]);
    for text in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAA", "no base64"] {
        let damaged = serde_json::json!({ "header": "", "file_key": text }).to_string();
        assert!(serde_json::from_str::<Prepared>(&damaged).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn it_is_opened_as_it_was_sealed_from_anywhere(size in prop::sample::select(vec![0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5]), part in 0.0..1.0_f64) {
        let plain: Vec<u8> = (0..size).map(|place| (place / 7) as u8).collect();
        let (recipient, identity) = key();
        let file = seal(&recipient, &plain);
        let mut opened = Opened::new(Cursor::new(&file), &identity).unwrap();
        let at = (part * size as f64) as usize;
        opened.seek(SeekFrom::Start(at as u64)).unwrap();
        let mut rest = Vec::new();
        opened.read_to_end(&mut rest).unwrap();
        prop_assert!(rest == plain[at..]);
        prop_assert_eq!(lock(&mut &file[..]).unwrap(), Some(Lock::Key));
        prop_assert_eq!(lock(&mut &plain[..]).unwrap(), None);
        prop_assert_eq!(opened.seek(SeekFrom::End(0)).unwrap(), size as u64);
    }

    #[test]
    fn what_was_cut_off_or_changed_is_never_opened(size in prop::sample::select(vec![0, 1, CHUNK, CHUNK + 1, 2 * CHUNK]), part in 0.0..1.0_f64, bit in 0..8_u8) {
        let plain = vec![3; size];
        let (recipient, identity) = key();
        let file = seal(&recipient, &plain);
        let at = (part * file.len() as f64) as usize;
        prop_assert!(open(&file[..at], &identity).is_err());
        let mut changed = file.clone();
        changed[at] ^= 1 << bit;
        prop_assert!(open(&changed, &identity).is_err());
        let mut longer = file;
        longer.push(0);
        prop_assert!(open(&longer, &identity).is_err());
    }

    #[test]
    fn no_header_makes_the_parser_panic(text in "(age-encryption.org/v1\n|-> |--- |X25519 |scrypt |[A-Za-z0-9+/]{0,66}|\n| ){0,30}") {
        let _ = open(text.as_bytes(), &key().1);
    }
}
