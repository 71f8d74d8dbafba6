//! What the log of receipts costs when it is large.
//!
//! A tree of a million leaves in memory. An append is the hashing of an entry and of the subtrees that it completes; a proof is the making
//! and the verifying of one inclusion, with the signing of the checkpoint that it leads to. The flush of the ledger is not in it: it is
//! that of any record.

use std::time::Instant;

use habeas_core::checkpoint::Checkpoint;
use habeas_core::crypto::{SecretKey, SigningKey};
use habeas_core::merkle::{self, Tree};

use crate::ROUNDS;
use crate::report::{Report, middle};

const LEAVES: u64 = 1_000_000;
const SAMPLE: u64 = 1_000;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    let mut tree = Tree::default();
    for number in 0..LEAVES {
        tree.push(merkle::leaf(&number.to_le_bytes()));
    }
    let key = SigningKey::from_seed(&SecretKey::from_bytes([1; 32]));
    let (mut appends, mut proofs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for number in 0..SAMPLE {
            tree.push(merkle::leaf(&number.to_le_bytes()));
        }
        appends.push(begun.elapsed().as_secs_f64() / SAMPLE as f64);
        let size = tree.size();
        let begun = Instant::now();
        for number in 0..SAMPLE {
            let index = number * (LEAVES / SAMPLE);
            let (path, root) = (tree.inclusion(index, size)?, tree.root(size)?);
            let origin = "habeas-log/bench".to_owned();
            std::hint::black_box(Checkpoint { origin, size, root }.sign(&key));
            let leaf = merkle::leaf(&index.to_le_bytes());
            anyhow::ensure!(merkle::is_included(&leaf, index, size, &path, &root), "a proof does not hold");
        }
        proofs.push(begun.elapsed().as_secs_f64() / SAMPLE as f64);
    }
    let (append, proof) = (middle(appends, |time| *time)?, middle(proofs, |time| *time)?);
    report.add(
        "a receipt appended to a log of 1,000,000, without the flush; a proof from it, signed and verified",
        format!("{:.1} µs; {:.1} µs", append * 1e6, proof * 1e6),
        "under 1 ms each",
        append.max(proof) < 1e-3,
    );
    Ok(())
}
