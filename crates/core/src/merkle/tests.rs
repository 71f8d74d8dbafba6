//! The tree against the definitions of RFC 6962, word for word, and against the known vectors.

use proptest::prelude::*;

use super::*;

/// Entries and roots that the implementations of Certificate Transparency test with.
const ENTRIES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// `MTH` of RFC 6962, 2.1.
fn naive_root(entries: &[Vec<u8>]) -> Hash {
    match entries {
        [] => sha256(&[]),
        [one] => leaf(one),
        _ => {
            let (left, right) = entries.split_at(naive_half(entries.len()));
            node(&naive_root(left), &naive_root(right))
        }
    }
}

fn naive_half(count: usize) -> usize {
    (0..usize::BITS).map(|power| 1 << power).take_while(|half| *half < count).last().unwrap()
}

/// `PATH` of RFC 6962, 2.1.1.
fn naive_path(index: usize, entries: &[Vec<u8>]) -> Vec<Hash> {
    if entries.len() == 1 {
        return Vec::new();
    }
    let half = naive_half(entries.len());
    let (left, right) = entries.split_at(half);
    if index < half {
        [naive_path(index, left), vec![naive_root(right)]].concat()
    } else {
        [naive_path(index - half, right), vec![naive_root(left)]].concat()
    }
}

/// `SUBPROOF` of RFC 6962, 2.1.2.
fn naive_proof(old: usize, entries: &[Vec<u8>], is_whole: bool) -> Vec<Hash> {
    if old == entries.len() {
        return if is_whole { Vec::new() } else { vec![naive_root(entries)] };
    }
    let half = naive_half(entries.len());
    let (left, right) = entries.split_at(half);
    if old <= half {
        [naive_proof(old, left, is_whole), vec![naive_root(right)]].concat()
    } else {
        [naive_proof(old - half, right, false), vec![naive_root(left)]].concat()
    }
}

fn tree(entries: &[Vec<u8>]) -> Tree {
    let mut tree = Tree::default();
    entries.iter().for_each(|entry| {
        tree.push(leaf(entry));
    });
    tree
}

#[test]
fn the_known_roots() {
    let entries: Vec<Vec<u8>> = ENTRIES.iter().map(|entry| entry.to_vec()).collect();
    let tree = tree(&entries);
    for (size, root) in ROOTS.iter().enumerate() {
        assert_eq!(hex::encode(tree.root(size as u64).unwrap()), *root, "{size}");
    }
    assert!(tree.root(9).is_err() && tree.inclusion(8, 8).is_err() && tree.consistency(5, 4).is_err());
}

#[test]
fn every_proof_of_every_small_tree_is_the_specified_one_and_proves() {
    let entries: Vec<Vec<u8>> = (0_u8..40).map(|number| vec![number]).collect();
    let tree = tree(&entries);
    for size in 1..=entries.len() {
        let (part, root) = (&entries[..size], tree.root(size as u64).unwrap());
        assert_eq!(root, naive_root(part));
        for (index, entry) in part.iter().enumerate() {
            let path = tree.inclusion(index as u64, size as u64).unwrap();
            assert_eq!(path, naive_path(index, part));
            for other in 0..size {
                let included = is_included(&leaf(entry), other as u64, size as u64, &path, &root);
                assert_eq!(included, other == index, "{index} as {other} of {size}");
            }
        }
        for old in 1..=size {
            let (path, old_root) =
                (tree.consistency(old as u64, size as u64).unwrap(), tree.root(old as u64).unwrap());
            assert_eq!(path, naive_proof(old, part, true));
            assert!(is_consistent(old as u64, size as u64, &path, &old_root, &root), "{old} of {size}");
            assert!(
                old == size || !is_consistent(old as u64, size as u64, &path, &root, &root),
                "{old} of {size}"
            );
        }
    }
}

proptest! {
    #[test]
    fn random_trees_agree_with_the_definition(
        entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 1..300),
        one in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
    ) {
        let tree = tree(&entries);
        let size = entries.len();
        let (index, old) = (one.index(size), other.index(size) + 1);
        prop_assert_eq!(tree.root(size as u64).unwrap(), naive_root(&entries));
        prop_assert_eq!(tree.inclusion(index as u64, size as u64).unwrap(), naive_path(index, &entries));
        prop_assert_eq!(tree.consistency(old as u64, size as u64).unwrap(), naive_proof(old, &entries, true));
    }

    /// No other leaf, place, size, root or proof passes.
    #[test]
    fn a_changed_bit_of_a_proof_is_caught(
        size in 2_u64..200,
        one in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let entries: Vec<Vec<u8>> = (0..size).map(|number| number.to_be_bytes().to_vec()).collect();
        let tree = tree(&entries);
        let root = tree.root(size).unwrap();
        let index = one.index(size as usize) as u64;
        let path = tree.inclusion(index, size).unwrap();
        let flip = |hash: &Hash| {
            let mut changed = *hash;
            changed[at.index(32)] ^= 1 << bit;
            changed
        };
        let leaf = leaf(&entries[index as usize]);
        prop_assert!(!is_included(&flip(&leaf), index, size, &path, &root));
        prop_assert!(!is_included(&leaf, index, size, &path, &flip(&root)));
        let mut changed = path.clone();
        let place = at.index(path.len());
        changed[place] = flip(&changed[place]);
        prop_assert!(!is_included(&leaf, index, size, &changed, &root));
        prop_assert!(!is_included(&leaf, index, size, &path[1..], &root));
        let old = one.index(size as usize - 1) as u64 + 1;
        let (path, old_root) = (tree.consistency(old, size).unwrap(), tree.root(old).unwrap());
        prop_assert!(!is_consistent(old, size, &path, &flip(&old_root), &root));
        prop_assert!(!is_consistent(old, size, &path, &old_root, &flip(&root)));
        let mut changed = path.clone();
        let place = at.index(path.len());
        changed[place] = flip(&changed[place]);
        prop_assert!(!is_consistent(old, size, &changed, &old_root, &root));
    }
}
