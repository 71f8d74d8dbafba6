//! The Merkle tree of RFC 6962, section 2: a log in which nothing can be changed or left out unseen.
//!
//! A leaf is hashed as `SHA-256(0x00 | entry)`, a node as `SHA-256(0x01 | left | right)`. The left half of a tree is the largest power
//! of two that is smaller than the tree. Proofs are checked as RFC 9162, sections 2.1.3.2 and 2.1.4.2 say.

#[cfg(test)]
mod tests;

use crate::crypto::{Sha256, sha256};
use crate::{Error, Result};

/// A hash of the tree.
pub type Hash = [u8; 32];

/// The hash of a leaf.
pub fn leaf(entry: &[u8]) -> Hash {
    let mut digest = Sha256::default();
    digest.update(&[0]);
    digest.update(entry);
    digest.finish()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    sha256(&bytes)
}

/// A tree that is only ever appended to. Keeps the hash of every complete subtree: 64 bytes an entry; appending and every proof take
/// time logarithmic in its size.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Level 0 are the leaves, level n the complete subtrees of 2^n of them.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Entries in it.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, Vec::len) as u64
    }

    /// Appends a leaf by its hash; the index it got.
    pub fn push(&mut self, leaf: Hash) -> u64 {
        let index = self.size();
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[level];
            hashes.push(hash);
            let [.., left, right] = hashes.as_slice() else { break };
            if hashes.len() % 2 == 1 {
                break;
            }
            hash = node(left, right);
        }
        index
    }

    /// The hash of the tree as it was with its first `size` entries; an error if it never had as many.
    pub fn root(&self, size: u64) -> Result<Hash> {
        self.check(size)?;
        Ok(self.subtree(0, size))
    }

    /// The hashes that lead from the leaf at `index` to the root of the first `size` entries, from the leaf up (RFC 6962, 2.1.1).
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>> {
        self.check(size)?;
        if index >= size {
            return Err(Error::invalid(format!("there is no entry {index} in a log of {size}")));
        }
        let (mut start, mut end, mut path) = (0, size, Vec::new());
        while end - start > 1 {
            let middle = start + left_half(end - start);
            if index < middle {
                path.push(self.subtree(middle, end));
                end = middle;
            } else {
                path.push(self.subtree(start, middle));
                start = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// The hashes that show that the first `old` of `new` entries are still the same (RFC 6962, 2.1.2); none when `old` is 0 or `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>> {
        self.check(new)?;
        if old > new {
            return Err(Error::invalid(format!("a log of {new} entries never had {old}")));
        }
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        let (mut start, mut end, mut path, mut is_whole) = (0, new, Vec::new(), true);
        while old != end {
            let middle = start + left_half(end - start);
            if old <= middle {
                path.push(self.subtree(middle, end));
                end = middle;
            } else {
                path.push(self.subtree(start, middle));
                start = middle;
                is_whole = false;
            }
        }
        // Whoever asks has the root of the old tree; a smaller part of it they need.
        if !is_whole {
            path.push(self.subtree(start, end));
        }
        path.reverse();
        Ok(path)
    }

    /// The leaf hashes from `from` on, `count` at most.
    pub fn leaves(&self, from: u64, count: usize) -> &[Hash] {
        let leaves = self.levels.first().map_or(&[][..], Vec::as_slice);
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(leaves.len());
        &leaves[from..from.saturating_add(count).min(leaves.len())]
    }

    fn check(&self, size: u64) -> Result<()> {
        if size <= self.size() {
            return Ok(());
        }
        Err(Error::invalid(format!("the log has {} entries, not {size}", self.size())))
    }

    /// The hash over entries `start` to `end`, where `start` is a multiple of the smallest power of two that spans them.
    fn subtree(&self, start: u64, end: u64) -> Hash {
        let size = end - start;
        if size == 0 {
            return sha256(&[]);
        }
        if size.is_power_of_two() {
            let level = size.trailing_zeros() as usize;
            return self.levels[level][(start >> level) as usize];
        }
        let middle = start + left_half(size);
        node(&self.subtree(start, middle), &self.subtree(middle, end))
    }
}

/// The largest power of two smaller than `size`, which is at least 2.
fn left_half(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// Whether the leaf is entry `index` of the log of `size` entries with this root.
pub fn is_included(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether the log of `old` entries with `old_root` is the beginning of the one of `new` entries with `new_root`.
pub fn is_consistent(old: u64, new: u64, path: &[Hash], old_root: &Hash, new_root: &Hash) -> bool {
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return path.is_empty() && *old_root == sha256(&[]);
    }
    if old > new {
        return false;
    }
    // A whole tree is its own first part, and is left out of the proof.
    let (first, rest) = if old.is_power_of_two() {
        (old_root, path)
    } else {
        match path.split_first() {
            Some(split) => split,
            None => return false,
        }
    };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (old_hash, new_hash) = (node(sibling, &old_hash), node(sibling, &new_hash));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new_hash = node(&new_hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}
