//! Whatever happens to its file, the ledger opens with what was written, less what a crash can cut off, or not at all.

use habeas_core::ErrorKind;
use proptest::prelude::*;

use super::*;

fn encoded(record: &Record) -> Vec<u8> {
    frame::encode(0, &serde_json::to_vec(record).unwrap())
}

fn record() -> impl Strategy<Value = Record> {
    let id = || any::<[u8; 16]>().prop_map(Id::from_bytes);
    prop_oneof![
        id().prop_map(|container| Record::ContainerErased { container }),
        (id(), prop::collection::vec(id(), 0..3), prop::option::of(id())).prop_map(
            |(person, containers, request)| Record::PersonErased {
                person,
                held_copies: containers.clone(),
                containers,
                request,
                erasure: request,
                held: Vec::new(),
                last_receipt: request,
                recipients: Vec::new(),
            }
        ),
        (prop::collection::vec(id(), 0..3), id())
            .prop_map(|(items, container)| Record::ItemErased { items, container }),
        (id(), any::<u32>())
            .prop_map(|(container, generation)| Record::GenerationDestroyed { container, generation }),
        (id(), ".{0,80}").prop_map(|(receipt, signature)| Record::ReceiptIssued {
            receipt,
            body: serde_json::json!({ "signature": signature }).to_string(),
        }),
    ]
}

/// A ledger of these batches: its folder and the offsets at which its records end.
fn written(batches: &[Vec<Record>]) -> (tempfile::TempDir, Vec<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path(), &[]).unwrap();
    let mut ends = Vec::new();
    let mut end = 0;
    for batch in batches {
        ledger.append(batch).unwrap();
        for record in batch {
            end += encoded(record).len();
            ends.push(end);
        }
    }
    (folder, ends)
}

fn batches() -> impl Strategy<Value = Vec<Vec<Record>>> {
    prop::collection::vec(prop::collection::vec(record(), 1..4), 1..5)
}

proptest! {
    #[test]
    fn what_was_appended_is_replayed(batches in batches(), more in record()) {
        let (folder, ends) = written(&batches);
        let ledger = Ledger::open(folder.path(), &[]).unwrap();
        let all = batches.concat();
        prop_assert_eq!(ledger.position(), ends.len() as u64);
        prop_assert_eq!(ledger.replay(0).unwrap(), all.clone());
        ledger.append(std::slice::from_ref(&more)).unwrap();
        prop_assert_eq!(Ledger::open(folder.path(), &[]).unwrap().replay(all.len() as u64).unwrap(), [more]);
    }

    #[test]
    fn cut_anywhere_it_keeps_every_whole_record(batches in batches(), cut in any::<prop::sample::Index>()) {
        let (folder, ends) = written(&batches);
        let path = folder.path().join(NAME);
        let bytes = std::fs::read(&path).unwrap();
        let cut = cut.index(bytes.len());
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        let ledger = Ledger::open(folder.path(), &[]).unwrap();
        prop_assert_eq!(ledger.replay(0).unwrap(), batches.concat()[..whole].to_vec());
        prop_assert_eq!(std::fs::metadata(&path).unwrap().len() as usize, ends[..whole].last().copied().unwrap_or(0));
    }

    /// A flipped bit is refused wherever it is, also where the last record might have been cut off by a crash.
    #[test]
    fn a_flipped_bit_is_refused(batches in batches(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let (folder, _) = written(&batches);
        let path = folder.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        prop_assert_eq!(Ledger::open(folder.path(), &[]).unwrap_err().kind, ErrorKind::Damaged);
        prop_assert_eq!(std::fs::read(&path).unwrap(), bytes, "a damaged ledger was changed");
    }

    /// Blocks of the last append that never reached the disk are zeros.
    #[test]
    fn what_never_reached_the_disk_is_removed(batches in batches(), last in record(), from in any::<prop::sample::Index>()) {
        let (folder, ends) = written(&batches);
        let path = folder.path().join(NAME);
        let begin = ends.last().copied().unwrap_or(0);
        Ledger::open(folder.path(), &[]).unwrap().append(std::slice::from_ref(&last)).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        // A block, or from somewhere in it to the end.
        let blocks: Vec<usize> =
            std::iter::once(begin).chain((begin + 1..bytes.len()).filter(|at| at.is_multiple_of(512))).collect();
        let zeros = *from.get(&blocks);
        if bytes.len() - zeros >= 2 {
            bytes[zeros..].fill(0);
            std::fs::write(&path, &bytes).unwrap();
            let ledger = Ledger::open(folder.path(), &[]).unwrap();
            prop_assert_eq!(ledger.replay(0).unwrap(), batches.concat());
        }
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), bytes).unwrap();
        let _ = Ledger::open(folder.path(), &[]);
    }
}

/// Wherever in its head the border of a block lies, a record whose second block never reached the disk is cut off.
#[test]
fn a_head_may_lie_across_blocks() {
    let receipt = |length: usize| Record::ReceiptIssued {
        receipt: Id::from_bytes([7; 16]),
        body: serde_json::json!({ "signature": "s".repeat(length) }).to_string(),
    };
    let shortest = encoded(&receipt(0)).len();
    for before in 1..=24 {
        let first = receipt(512 - before - shortest);
        let (folder, ends) = written(&[vec![first.clone()], vec![receipt(300)]]);
        assert_eq!(ends[0], 512 - before);
        let path = folder.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[512..].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(
            Ledger::open(folder.path(), &[]).unwrap().replay(0).unwrap(),
            [first],
            "{before} bytes before"
        );
    }
}

/// A ledger of receipts with these signatures, and its folder.
fn receipts(signatures: &[String]) -> (tempfile::TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path(), &[]).unwrap();
    for (number, signature) in signatures.iter().enumerate() {
        let body = serde_json::json!({ "signature": signature }).to_string();
        let id = Id::from_bytes([number as u8; 16]);
        assert_eq!(ledger.issue(id, body.clone()).unwrap(), body);
        // Issued once: the first one stays.
        assert_eq!(ledger.issue(id, body.replace(':', ": ")).unwrap(), body);
    }
    (folder, ledger)
}

fn sign(size: u64, root: Hash) -> String {
    let key = habeas_core::crypto::SigningKey::from_seed(&crypto_key());
    habeas_core::checkpoint::Checkpoint { origin: "log".into(), size, root }.sign(&key)
}

fn crypto_key() -> habeas_core::crypto::SecretKey {
    habeas_core::crypto::SecretKey::from_bytes([1; 32])
}

proptest! {
    #[test]
    fn the_log_has_every_receipt_once_and_the_same_after_a_start(signatures in prop::collection::vec(".{0,20}", 1..20)) {
        let (folder, ledger) = receipts(&signatures);
        let entries: Vec<Hash> = signatures.iter().map(|signature| habeas_core::receipt::entry(signature)).collect();
        let note = ledger.checkpoint(sign).unwrap();
        prop_assert_eq!(ledger.log_entries(0, 100), entries.clone());
        drop(ledger);
        let again = Ledger::open(folder.path(), &[]).unwrap();
        prop_assert_eq!(again.log_entries(0, 100), entries.clone());
        prop_assert_eq!(again.checkpoint(sign).unwrap(), note.clone());
        let root = habeas_core::checkpoint::Checkpoint::parse(&note).unwrap().root;
        for (number, entry) in entries.iter().enumerate() {
            let proof = again.inclusion(Id::from_bytes([number as u8; 16]), None).unwrap();
            let leaf = habeas_core::merkle::leaf(entry);
            prop_assert!(habeas_core::merkle::is_included(&leaf, proof.index, proof.size, &proof.hashes, &root));
        }
    }

    /// With a checkpoint, nothing that was in the log can go or change: not even the end, which could be what a crash cut off.
    #[test]
    fn a_flipped_bit_anywhere_is_refused_once_there_is_a_checkpoint(
        signatures in prop::collection::vec(".{0,20}", 1..6),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        of_checkpoint in any::<bool>(),
    ) {
        let (folder, ledger) = receipts(&signatures);
        let note = ledger.checkpoint(sign).unwrap();
        drop(ledger);
        let path = folder.path().join(if of_checkpoint { "checkpoint" } else { NAME });
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        match Ledger::open(folder.path(), &[]) {
            Err(error) => prop_assert!(matches!(error.kind, ErrorKind::Damaged | ErrorKind::Unavailable)),
            // The signature is made again when the checkpoint is next asked for; and the name says nothing about the content.
            Ok(again) => {
                let text_end = note.rfind("\n\n").unwrap();
                let in_name = at < note.find('\n').unwrap();
                prop_assert!(of_checkpoint && (at >= text_end || in_name), "a changed bit went unseen");
                prop_assert_eq!(again.checkpoint(sign).unwrap(), note);
            }
        }
    }
}
