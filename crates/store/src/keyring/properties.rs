//! Whatever was written to the keyring and whatever happens to one of its files: it opens with exactly what was acknowledged, or not at all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use habeas_core::crypto::SecretKey;
use habeas_core::{ErrorKind, Id, SeededRandom};
use proptest::prelude::*;

use super::{Destruction, Keyring};
use crate::root_key::RootKey;

#[derive(Clone, Debug)]
enum Step {
    Create(Vec<(u8, u32)>),
    Alias(Vec<u8>, u8),
    Destroy(u8),
    DestroyOne(u8, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::vec((0..6_u8, 0..3_u32), 1..4).prop_map(Step::Create),
        (prop::collection::vec(0..8_u8, 1..3), 0..6_u8)
            .prop_map(|(aliases, person)| Step::Alias(aliases, person)),
        (0..6_u8).prop_map(Step::Destroy),
        (0..6_u8, 0..3_u32).prop_map(|(container, generation)| Step::DestroyOne(container, generation)),
    ]
}

/// What happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Append(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        prop::collection::vec(any::<u8>(), 1..300).prop_map(Damage::Append),
    ]
}

impl Damage {
    fn to(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            // The files end in slots that were never used: most flips go where something is.
            Damage::Flip(at, bit) => {
                let reach = if bit % 4 == 0 { bytes.len() } else { 4096 + 16 * 128 };
                let at = at.index(reach);
                bytes[at] ^= 1 << bit;
            }
            Damage::Cut(at) => {
                let at = at.index(4096 + 32 * 128);
                bytes.truncate(at);
            }
            Damage::Append(more) => bytes.extend(more),
        }
        bytes
    }
}

fn id(number: u8) -> Id {
    Id::from_bytes([number + 1; 16])
}

type Keys = BTreeMap<(Id, u32), SecretKey>;
type Aliases = BTreeMap<[u8; 32], Id>;

fn keys_of(keyring: &Keyring) -> Keys {
    keyring
        .containers()
        .into_iter()
        .map(|(id, number)| ((id, number), keyring.key(id, number).unwrap()))
        .collect()
}

fn aliases_of(keyring: &Keyring) -> Aliases {
    let all = (0..8_u8).map(|alias| [alias + 1; 32]);
    all.filter_map(|mac| keyring.lookup_alias(&mac).map(|person| (mac, person))).collect()
}

fn run(keyring: &Keyring, steps: &[Step]) -> (Keys, Aliases) {
    let (mut keys, mut aliases) = (Keys::new(), Aliases::new());
    for step in steps {
        match step {
            Step::Create(wanted) => {
                let wanted: Vec<(Id, u32)> =
                    wanted.iter().map(|(number, generation)| (id(*number), *generation)).collect();
                keyring.create_keys(&wanted).unwrap();
                for key in wanted {
                    keys.entry(key).or_insert_with(|| keyring.key(key.0, key.1).unwrap());
                }
            }
            Step::Alias(wanted, person) => {
                let wanted: Vec<([u8; 32], Id)> =
                    wanted.iter().map(|alias| ([alias + 1; 32], id(*person))).collect();
                let free =
                    wanted.iter().all(|(mac, person)| aliases.get(mac).is_none_or(|other| other == person));
                assert_eq!(keyring.put_aliases(&wanted).is_ok(), free);
                if free {
                    aliases.extend(wanted);
                }
            }
            Step::Destroy(number) => {
                let gone = id(*number);
                keyring
                    .destroy(&Destruction {
                        containers: vec![gone],
                        aliases_of: vec![gone],
                        ..Destruction::default()
                    })
                    .unwrap();
                keys.retain(|(id, _), _| *id != gone);
                aliases.retain(|_, person| *person != gone);
            }
            Step::DestroyOne(number, generation) => {
                let gone = (id(*number), *generation);
                keyring.destroy(&Destruction { keys: vec![gone], ..Destruction::default() }).unwrap();
                keys.remove(&gone);
            }
        }
    }
    (keys, aliases)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_opens_with_what_was_acknowledged_or_not_at_all(
        steps in prop::collection::vec(step(), 1..12),
        which in 0..3_usize,
        damage in damage(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mirror: PathBuf = folder.path().join("mirror");
        std::fs::create_dir(&mirror).unwrap();
        let mirrors = [mirror];
        let root = RootKey::from_file(&folder.path().join("root.key"), true, &SeededRandom::new(9)).unwrap();
        let open = |seed| Keyring::open(folder.path(), &mirrors, &root, Arc::new(SeededRandom::new(seed)));

        let keyring = Keyring::create(folder.path(), &mirrors, &root, Arc::new(SeededRandom::new(1))).unwrap();
        let (keys, aliases) = run(&keyring, &steps);
        prop_assert_eq!(&keys_of(&keyring), &keys);
        drop(keyring);
        let keyring = open(2).unwrap();
        prop_assert_eq!(&keys_of(&keyring), &keys);
        prop_assert_eq!(&aliases_of(&keyring), &aliases);
        keyring.verify().unwrap();
        drop(keyring);

        let path = [folder.path().join("keyring-a"), folder.path().join("keyring-b"), mirrors[0].join("keyring-mirror")]
            [which].clone();
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, damage.to(before.clone())).unwrap();
        match open(3) {
            Ok(keyring) => {
                prop_assert!(!matches!(damage, Damage::Flip(..)), "a flipped bit was not noticed");
                prop_assert_eq!(keys_of(&keyring), keys);
                prop_assert_eq!(aliases_of(&keyring), aliases);
                keyring.verify().unwrap();
            }
            Err(error) => {
                prop_assert_eq!(error.kind, ErrorKind::Damaged);
                // Nothing was changed: the intact copies still open it.
                std::fs::write(&path, before).unwrap();
                prop_assert_eq!(keys_of(&open(4).unwrap()), keys);
            }
        }
    }
}
