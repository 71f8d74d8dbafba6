use std::sync::Arc;

use futures::TryStreamExt as _;
use habeas_core::{Ambient, BlobRef, ErrorKind, Id, ManualClock, SeededRandom, Timestamp};
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;
use tempfile::TempDir;

use super::writer::PART;
use super::{Blobs, Versioning, stored_size};

const FRAME: usize = 65_536;

fn ambient(seed: u64) -> Ambient {
    Ambient { clock: Arc::new(ManualClock::new(Timestamp(0))), random: Arc::new(SeededRandom::new(seed)) }
}

fn blob(seed: u64, size: usize) -> BlobRef {
    BlobRef::new(&ambient(seed), size as u64, "application/octet-stream")
}

/// Bytes that differ from frame to frame and have no period that divides one.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8 ^ (at / FRAME) as u8).collect()
}

fn memory() -> (Arc<InMemory>, Blobs) {
    let store = Arc::new(InMemory::new());
    (store.clone(), Blobs::over(store))
}

fn local() -> (TempDir, Blobs) {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(directory.path().join("new/data").to_str().unwrap()).unwrap();
    (directory, blobs)
}

fn path(blob: &BlobRef) -> Path {
    let name = blob.id.to_hex();
    Path::from(format!("blobs/{}/{name}", &name[..2]))
}

async fn stored(store: &InMemory, blob: &BlobRef) -> Vec<u8> {
    store.get(&path(blob)).await.unwrap().bytes().await.unwrap().to_vec()
}

async fn replace(store: &InMemory, blob: &BlobRef, bytes: Vec<u8>) {
    store.put(&path(blob), bytes.into()).await.unwrap();
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Lengths around the borders of frames, and others.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        (0_usize..=5, -2_i64..=2)
            .prop_map(|(frames, off)| (frames as i64 * FRAME as i64 + off).max(0) as usize),
        // Around the end of the first chunk that is fetched at once.
        (15_usize..=17, -1_i64..=1).prop_map(|(frames, off)| (frames as i64 * FRAME as i64 + off) as usize),
        0_usize..200_000,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_content_and_any_range_of_it_comes_back(size in length(), from in 0.0..=1.0, to in 0.0..=1.0, piece in 1_usize..150_000) {
        run(async {
            let (store, blobs) = memory();
            let (blob, plain) = (blob(1, size), content(size));
            let mut writer = blobs.writer(BlobRef { size: 0, ..blob.clone() });
            for part in plain.chunks(piece) {
                writer.write(part).await.unwrap();
            }
            assert_eq!(writer.finish().await.unwrap(), blob);
            assert_eq!(stored(&store, &blob).await.len() as u64, stored_size(size as u64));
            assert_eq!(blobs.get(&blob).await.unwrap(), plain);

            let (from, to): (f64, f64) = (from, to);
            let ends = [from, to].map(|part| (part * size as f64) as usize);
            let range = ends[0].min(ends[1])..ends[0].max(ends[1]);
            let asked = range.start as u64..range.end as u64;
            assert_eq!(blobs.read_range(&blob, asked.clone()).await.unwrap(), plain[range.clone()]);
            let pieces: Vec<_> = blobs.stream(&blob, asked).try_collect().await.unwrap();
            assert!(pieces.iter().all(|piece| piece.len() <= 1 << 20));
            assert_eq!(pieces.concat(), plain[range]);
        });
    }

    #[test]
    fn one_changed_bit_is_damage_and_never_other_bytes(size in length(), at in 0.0..1.0, bit in 0_u8..8) {
        run(async {
            let (store, blobs) = memory();
            let (blob, plain) = (blob(2, size), content(size));
            blobs.put(&blob, &plain).await.unwrap();
            let mut bytes = stored(&store, &blob).await;
            let at: f64 = at;
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] ^= 1 << bit;
            replace(&store, &blob, bytes).await;
            assert_eq!(blobs.get(&blob).await.unwrap_err().kind, ErrorKind::Damaged);
            if size > 0 {
                let start = (at / (FRAME + 16) * FRAME).min(size - 1) as u64;
                assert_eq!(blobs.read_range(&blob, start..start + 1).await.unwrap_err().kind, ErrorKind::Damaged);
            }
        });
    }

    #[test]
    fn an_object_cut_off_anywhere_is_damage(size in length(), keep in 0.0..1.0) {
        run(async {
            let (store, blobs) = memory();
            let blob = blob(3, size);
            blobs.put(&blob, &content(size)).await.unwrap();
            let bytes = stored(&store, &blob).await;
            let keep: f64 = keep;
            replace(&store, &blob, bytes[..(keep * bytes.len() as f64) as usize].to_vec()).await;
            assert_eq!(blobs.get(&blob).await.unwrap_err().kind, ErrorKind::Damaged);
            for at in [0, size / 2, size.saturating_sub(1)].map(|at| at as u64).into_iter().filter(|at| *at < blob.size) {
                assert_eq!(blobs.read_range(&blob, at..at + 1).await.unwrap_err().kind, ErrorKind::Damaged);
            }
        });
    }
}

#[tokio::test]
async fn frames_cannot_be_dropped_swapped_or_taken_from_another_blob() {
    let (store, blobs) = memory();
    let size = 3 * FRAME;
    let (first, second) = (blob(4, size), blob(5, size));
    for blob in [&first, &second] {
        blobs.put(blob, &content(size)).await.unwrap();
    }
    let (bytes, other) = (stored(&store, &first).await, stored(&store, &second).await);

    // Cut at a border of frames, with a reference that claims the shorter size: the last frame is not marked so.
    replace(&store, &first, bytes[..2 * (FRAME + 16)].to_vec()).await;
    let shorter = BlobRef { size: 2 * FRAME as u64, ..first.clone() };
    assert_eq!(blobs.get(&first).await.unwrap_err().kind, ErrorKind::Damaged);
    assert_eq!(blobs.get(&shorter).await.unwrap_err().kind, ErrorKind::Damaged);

    let mut swapped = bytes.clone();
    swapped.rotate_left(FRAME + 16);
    replace(&store, &first, swapped).await;
    assert_eq!(blobs.get(&first).await.unwrap_err().kind, ErrorKind::Damaged);

    replace(&store, &first, other).await;
    replace(&store, &second, bytes).await;
    for blob in [&first, &second] {
        assert_eq!(blobs.get(blob).await.unwrap_err().kind, ErrorKind::Damaged);
        assert_eq!(
            blobs.stream(blob, 0..10).try_collect::<Vec<_>>().await.unwrap_err().kind,
            ErrorKind::Damaged
        );
    }
    // Nor under the right key but another name.
    let renamed = BlobRef { key: first.key.clone(), ..second.clone() };
    assert_eq!(blobs.get(&renamed).await.unwrap_err().kind, ErrorKind::Damaged);
}

#[tokio::test]
async fn nothing_of_the_content_is_in_the_stored_object() {
    let (store, blobs) = memory();
    let plain = b"Ada Lovelace, 12 St James's Square".repeat(4_000);
    let blob = blob(6, plain.len());
    blobs.put(&blob, &plain).await.unwrap();
    let bytes = stored(&store, &blob).await;
    assert!(!bytes.windows(8).any(|window| plain[..64].windows(8).any(|plain| plain == window)));
}

async fn life_of_a_blob(blobs: &Blobs) {
    // Small enough for one piece; for several parts; exactly one full part.
    for (seed, size) in [(10, 1_000), (11, 2 * PART + 5), (12, 128 * FRAME)] {
        let (blob, plain) = (blob(seed, size), content(size));
        assert_eq!(blobs.put(&blob, &plain).await.unwrap(), stored_size(size as u64));
        assert_eq!(blobs.put(&blob, &plain).await.unwrap_err().kind, ErrorKind::Conflict);
        assert!(blobs.exists(blob.id).await.unwrap());
        let all: Vec<_> = blobs.stream(&blob, 0..blob.size).try_collect().await.unwrap();
        assert!(all.concat() == plain);
        let near_the_end = blob.size - 7..blob.size;
        assert_eq!(blobs.read_range(&blob, near_the_end).await.unwrap(), plain[size - 7..]);

        let (_store, backup) = memory();
        assert_eq!(blobs.copy_raw(blob.id, &backup).await.unwrap(), stored_size(size as u64));
        let listed: Vec<_> = blobs.list().try_collect().await.unwrap();
        assert_eq!(
            listed.iter().map(|entry| (entry.id, entry.stored_size)).collect::<Vec<_>>(),
            [(blob.id, stored_size(size as u64))]
        );

        blobs.delete(blob.id).await.unwrap();
        blobs.delete(blob.id).await.unwrap();
        assert!(!blobs.exists(blob.id).await.unwrap());
        assert_eq!(blobs.get(&blob).await.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(blobs.copy_raw(blob.id, &backup).await.unwrap_err().kind, ErrorKind::NotFound);
        assert!(blobs.list().try_collect::<Vec<_>>().await.unwrap().is_empty());

        assert_eq!(backup.copy_raw(blob.id, blobs).await.unwrap(), stored_size(size as u64));
        assert!(blobs.get(&blob).await.unwrap() == plain);
        blobs.delete(blob.id).await.unwrap();
    }
    let empty = blob(13, 0);
    blobs.put(&empty, b"").await.unwrap();
    assert_eq!(blobs.get(&empty).await.unwrap(), b"");
    assert_eq!(blobs.read_range(&empty, 0..0).await.unwrap(), "");
    assert_eq!(blobs.read_range(&empty, 0..1).await.unwrap_err().kind, ErrorKind::Invalid);
    blobs.delete(empty.id).await.unwrap();
}

#[tokio::test]
async fn a_blob_lives_and_dies_in_memory() {
    let (_store, blobs) = memory();
    life_of_a_blob(&blobs).await;
    assert_eq!(blobs.describe().await.unwrap().versioning, Versioning::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_lives_and_dies_in_local_files() {
    let (_directory, blobs) = local();
    life_of_a_blob(&blobs).await;
    assert_eq!(blobs.remove_unfinished().await.unwrap(), 0);
    let description = blobs.describe().await.unwrap();
    assert_eq!((description.scheme, description.versioning), ("file", Versioning::Off));
}

#[cfg(unix)]
#[tokio::test]
async fn directories_are_the_servers_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, blobs) = local();
    let blob = blob(14, 3);
    blobs.put(&blob, b"abc").await.unwrap();
    let root = directory.path().join("new/data");
    for path in [root.clone(), root.join("blobs"), root.join("blobs").join(&blob.id.to_hex()[..2])] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
    // The same place, as a URL, opened a second time.
    let again = Blobs::open(&format!("file://{}", root.display())).unwrap();
    assert_eq!(again.get(&blob).await.unwrap(), b"abc");
}

#[tokio::test]
async fn a_writer_given_up_leaves_nothing_and_one_cut_short_is_found() {
    let (_directory, blobs) = local();
    let plain = content(PART + FRAME);
    let mut writer = blobs.writer(blob(15, 0));
    writer.write(&plain).await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(blobs.remove_unfinished().await.unwrap(), 0);

    let mut writer = blobs.writer(blob(16, 0));
    writer.write(&plain).await.unwrap();
    // The process dies here.
    std::mem::forget(writer);
    assert!(blobs.list().try_collect::<Vec<_>>().await.unwrap().is_empty());
    assert_eq!(blobs.remove_unfinished().await.unwrap(), 1);
    assert_eq!(blobs.remove_unfinished().await.unwrap(), 0);
}

#[tokio::test]
async fn a_large_blob_does_not_overwrite_either() {
    let (_store, blobs) = memory();
    let blob = blob(17, 3);
    blobs.put(&blob, b"abc").await.unwrap();
    let mut writer = blobs.writer(blob.clone());
    assert_eq!(writer.write(&content(PART + FRAME)).await.unwrap_err().kind, ErrorKind::Conflict);
    assert!(writer.finish().await.is_err());
    assert_eq!(blobs.get(&blob).await.unwrap(), b"abc");
}

#[tokio::test]
async fn a_restore_that_breaks_off_stores_nothing() {
    let (_store, blobs) = memory();
    let broken = habeas_core::Error::damaged("the archive ends too early");
    let pieces = futures::stream::iter([Ok(bytes::Bytes::from_static(b"abc")), Err(broken.clone())]);
    assert_eq!(blobs.put_raw(Id::NIL, pieces).await.unwrap_err(), broken);
    assert!(!blobs.exists(Id::NIL).await.unwrap());
}

#[tokio::test]
async fn a_broken_place_is_unavailable_and_its_name_is_not_told() {
    let (directory, blobs) = local();
    let root = directory.path().join("new/data/blobs");
    let blob = blob(18, 3);
    let shard = root.join(&blob.id.to_hex()[..2]);
    std::fs::remove_dir(&shard).unwrap();
    std::fs::write(&shard, b"in the way").unwrap();
    let error = blobs.put(&blob, b"abc").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(!error.to_string().contains("data"), "{error}");
}

#[tokio::test]
async fn foreign_objects_are_not_listed() {
    let (store, blobs) = memory();
    for name in ["blobs/readme.txt", "blobs/ab/00000000000000000000000000000001", "other/x"] {
        store.put(&Path::from(name), "x".into()).await.unwrap();
    }
    assert!(blobs.list().try_collect::<Vec<_>>().await.unwrap().is_empty());
}

#[test]
fn addresses_are_understood_or_refused_without_repeating_them() {
    let good = [
        "s3://bucket/some/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1&allow_http=true",
        "s3://bucket?endpoint=http://127.0.0.1:9000",
        "s3://bucket?endpoint=http://10.0.0.1:9000&allow_http=true",
        "s3://bucket?endpoint=https%3A%2F%2Fs3.example.net",
    ];
    for address in good {
        assert!(Blobs::open(address).is_ok(), "{address}");
    }
    let bad = [
        "s3://name:sesame@bucket",
        "s3://bucket?secret_access_key=sesame",
        "s3://bucket?endpoint=sesame",
        "s3://bucket?endpoint=http://sesame.example.net",
        "ftp://sesame",
        "gs://bucket?token=sesame",
        "s3:///sesame",
    ];
    for address in bad {
        let error = Blobs::open(address).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.hint.is_some() && !error.to_string().contains("sesame"), "{error}");
    }
}
