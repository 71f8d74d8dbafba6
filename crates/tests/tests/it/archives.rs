//! `habeas import FILE`: what is taken out and brought in elsewhere is the same; what is not what was signed is refused whole.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use habeas::archive::{ArchiveReport, Checked, Refused, Target, plain};
use habeas_client::Client;
use habeas_core::age::{Identity, Prepared, Sealed};
use habeas_core::crypto::{SecretKey, SigningKey, sha256};
use habeas_core::{Id, ManualClock, receipt, time};
use indicatif::ProgressBar;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::deployment::{Deployment, Someone, engines, image};

pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// A person's archive as it is handed out.
pub(crate) async fn archive(deployment: &Deployment, someone: &Someone, folder: &Path) -> PathBuf {
    let path = format!("/api/privacy/v1/persons/{}/export", someone.id);
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(habeas_access::Actor::Operator);
    let (status, bytes) = deployment.send(request).await;
    assert_eq!(status, 200);
    let path = folder.join("archive.zip");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A plain archive, read to its end.
fn checked(path: &Path, keys: &[[u8; 32]]) -> anyhow::Result<Checked> {
    Checked::open(plain(path, |lock| panic!("the archive is sealed: {lock:?}"))?, keys)
}

pub(crate) async fn bring(
    deployment: &Deployment,
    someone: &Someone,
    path: &Path,
) -> anyhow::Result<ArchiveReport> {
    let client = Client::over_socket(&deployment.settings.data().join("habeas.sock"))?;
    let account = client.accounts(&someone.id).await?[0].id;
    let person = someone.id.parse()?;
    checked(path, &[])?.bring(&Target { client: &client, account, person, bar: ProgressBar::hidden() }).await
}

/// What an archive has of the person's projects, without what is computed from it.
pub(crate) async fn content(deployment: &Deployment, someone: &Someone) -> Files {
    let mut files = deployment.content(someone).await;
    files.retain(|(path, _)| {
        path.starts_with("custom-vision/projects/") && path.rsplit('.').next() != Some("bin")
    });
    files
}

#[derive(Clone, Debug)]
struct Project {
    name: String,
    tags: Vec<String>,
    /// File name, metadata, and which tags it carries, by bits; the last one as a box.
    images: Vec<(String, String, u8)>,
}

fn projects() -> impl Strategy<Value = Vec<Project>> {
    let images = prop::collection::vec(("[a-z]{1,8}\\.jpg", "[!-~ä]{1,12}", any::<u8>()), 0..4);
    let tags = prop::collection::btree_set("[a-zäß]{1,8}", 0..4);
    let project = ("[A-Z][ -~]{0,18}[a-z]", tags, images).prop_map(|(name, tags, images)| Project {
        name,
        tags: tags.into_iter().collect(),
        images,
    });
    prop::collection::vec(project, 0..3)
}

async fn build(deployment: &Deployment, someone: &Someone, projects: &[Project]) {
    for project in projects {
        let path = format!("/projects?name={}", query(&project.name));
        let (status, made) = deployment.train("POST", &someone.key, &path, None).await;
        assert_eq!(status, 200, "{made}");
        let id = made["id"].as_str().unwrap();
        let mut tags = Vec::new();
        for name in &project.tags {
            tags.push(deployment.tag(someone, id, &query(name)).await);
        }
        for (number, (name, note, bits)) in project.images.iter().enumerate() {
            let carried: Vec<&str> = tags
                .iter()
                .enumerate()
                .filter(|(tag, _)| bits >> tag & 1 == 1)
                .map(|(_, tag)| tag.as_str())
                .collect();
            let made = deployment.image(someone, id, name, &image(number as u64), &carried).await;
            let path = format!("/projects/{id}/images/metadata?imageIds={made}");
            let (status, said) =
                deployment.train("POST", &someone.key, &path, Some(json!({ "note": note }))).await;
            assert_eq!(status, 200, "{said}");
            if let Some(tag) = carried.last() {
                let region = json!({ "imageId": made, "tagId": tag, "left": 0.1, "top": 0.25, "width": 0.5, "height": 0.3 });
                let path = format!("/projects/{id}/images/regions");
                // Refused in a project that is not for detection: then the image has none.
                deployment.train("POST", &someone.key, &path, Some(json!({ "regions": [region] }))).await;
            }
        }
    }
}

fn query(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_out_and_brought_in_elsewhere_is_the_same() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let from = Deployment::open(None).await;
        let to = Deployment::open(database).await;
        let mut runner = TestRunner::new(Config::default());
        for run in 0..8 {
            let projects = projects().new_tree(&mut runner).unwrap().current();
            let folder = tempfile::tempdir().unwrap();
            let someone = from.person(&format!("p{run}@example.org"), "Person").await;
            build(&from, &someone, &projects).await;
            let there = content(&from, &someone).await;
            let path = archive(&from, &someone, folder.path()).await;
            let other = to.person(&format!("p{run}@example.org"), "Person").await;
            let report = bring(&to, &other, &path).await.unwrap();
            assert_eq!((report.projects, report.present), (projects.len() as u64, 0), "{report:?}");
            assert!(report.remapped.is_empty(), "{report:?}");
            let here = content(&to, &other).await;
            assert_eq!(text(&here), text(&there), "{projects:?}");
            assert!(here == there);
            // Again: nothing new. And out of the second server into itself for somebody else: other ids, all the rest the same.
            let again = bring(&to, &other, &path).await.unwrap();
            assert_eq!((again.brought, again.present), (0, report.brought));
            let third = to.person(&format!("t{run}@example.org"), "Third").await;
            let report = bring(&to, &third, &path).await.unwrap();
            assert_eq!(report.remapped.len() as u64, report.brought, "{report:?}");
            assert!(content(&to, &other).await == here, "somebody else's archive changed theirs");
            let mut renamed = text(&content(&to, &third).await).join("\n");
            for (old, new) in &report.remapped {
                renamed = renamed.replace(&new.to_string(), &old.to_string());
            }
            let mut lines: Vec<&str> = renamed.lines().collect();
            let expected = text(&here).join("\n");
            let mut wanted: Vec<&str> = expected.lines().collect();
            // Files and rows come in the order of ids, which are others.
            lines.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(lines, wanted);
        }
    }
}

/// Name and status of an account's projects.
async fn projects_of(deployment: &Deployment, someone: &Someone) -> Vec<(String, String)> {
    let (status, projects) = deployment.train("GET", &someone.key, "/projects", None).await;
    assert_eq!(status, 200, "{projects}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let projects = projects.as_array().unwrap().iter();
    projects.map(|project| (text(&project["name"]), text(&project["status"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_midway_leaves_nothing() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let from = Deployment::open(None).await;
        let to = Deployment::open(database).await;
        let folder = tempfile::tempdir().unwrap();
        let (someone, other) =
            (from.person("a@example.org", "A").await, to.person("a@example.org", "A").await);
        for name in ["one", "two"] {
            let project = from.project(&someone, name).await;
            let tag = from.tag(&someone, &project, "t").await;
            for number in 0..2 {
                from.image(&someone, &project, "a.jpg", &image(number), &[&tag]).await;
            }
        }
        let path = archive(&from, &someone, folder.path()).await;
        // The last image is none, and the archive is otherwise right.
        let mut files = unpack(&path);
        let is_image = |path: &str| path.contains("/images/") && path.rsplit('.').next() == Some("jpg");
        files.iter_mut().rfind(|(path, _)| is_image(path)).unwrap().1 = b"no image".to_vec();
        let stranger = SigningKey::from_seed(&SecretKey::from_bytes([9; 32]));
        let packed = pack(files, &stranger, folder.path());
        let error = bring(&to, &other, &packed).await.unwrap_err();
        assert!(error.is::<Refused>() && format!("{error:#}").contains("image"), "{error:#}");
        assert_eq!(projects_of(&to, &other).await, []);
        assert!(content(&to, &other).await.is_empty());
        // What was there for a moment counts as erased: the projects of the right archive come under other ids.
        let report = bring(&to, &other, &path).await.unwrap();
        assert_eq!((report.remapped.len(), report.brought), (2, 8), "{report:?}");
        let expected = ["one", "two"].map(|name| (name.to_owned(), "Succeeded".to_owned()));
        let mut there = projects_of(&to, &other).await;
        there.sort();
        assert_eq!(there, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_goes_on_or_goes_by_itself() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let from = Deployment::open(None).await;
        let clock = Arc::new(ManualClock::new(from.server().app().store().ambient().now()));
        let to = Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let folder = tempfile::tempdir().unwrap();
        let mut persons = Vec::new();
        for name in ["resumed", "dropped"] {
            let email = format!("{name}@example.org");
            let someone = from.person(&email, name).await;
            let project = from.project(&someone, name).await;
            for number in 0..30 {
                from.image(&someone, &project, "a.jpg", &image(number), &[]).await;
            }
            let place = folder.path().join(name);
            std::fs::create_dir(&place).unwrap();
            let path = archive(&from, &someone, &place).await;
            let other = to.person(&email, name).await;
            // Killed when some of it is there.
            let some_is_there = async {
                while content(&to, &other).await.len() < 4 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                report = bring(&to, &other, &path) => panic!("it came to its end: {report:?}"),
                () = some_is_there => {}
            }
            assert_eq!(projects_of(&to, &other).await, [(name.to_owned(), "Importing".to_owned())]);
            let train = format!("/projects/{project}/train");
            assert_eq!(to.train("POST", &other.key, &train, None).await.0, 400);
            persons.push((someone, other, path));
        }
        let (someone, other, path) = &persons[0];
        let report = bring(&to, other, path).await.unwrap();
        assert!(report.present > 1 && report.remapped.is_empty(), "{report:?}");
        assert_eq!(projects_of(&to, other).await, [("resumed".to_owned(), "Succeeded".to_owned())]);
        assert_eq!(text(&content(&to, other).await), text(&content(&from, someone).await));

        clock.advance(25 * time::HOUR);
        let (_, other, path) = &persons[1];
        while !projects_of(&to, other).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(content(&to, other).await.is_empty());
        assert_eq!(bring(&to, other, path).await.unwrap().brought, 31);
        assert_eq!(projects_of(&to, other).await, [("dropped".to_owned(), "Succeeded".to_owned())]);
        // What is finished stays.
        clock.advance(25 * time::HOUR);
        to.server().app().rights.run_retention().await.unwrap();
        assert_eq!(projects_of(&to, &persons[0].1).await.len(), 1);
    }
}

/// The documents among the files, to be read when they differ.
fn text(files: &[(String, Vec<u8>)]) -> Vec<String> {
    let documents = files.iter().filter(|(path, _)| path.rsplit('.').next() == Some("json"));
    documents.map(|(path, bytes)| format!("{path}\n{}", String::from_utf8_lossy(bytes))).collect()
}

/// Signs the files with `key` and packs them.
pub(crate) fn pack(mut files: Files, key: &SigningKey, folder: &Path) -> PathBuf {
    files.retain(|(path, _)| path != "manifest-sha256.txt" && path != "signature/manifest.json");
    let manifest: String =
        files.iter().map(|(path, bytes)| format!("{}  {path}\n", hex::encode(sha256(bytes)))).collect();
    let statement = json!({
        "type": "export-manifest/1",
        "publicKey": hex::encode(key.public()),
        "keys": [],
        "manifestSha256": hex::encode(sha256(manifest.as_bytes())),
    });
    files.push(("manifest-sha256.txt".into(), manifest.into_bytes()));
    files.push(("signature/manifest.json".into(), receipt::sign(&statement, key).to_string().into_bytes()));
    zip(&files, folder)
}

pub(crate) fn unpack(path: &Path) -> Files {
    crate::deployment::unzip(std::fs::File::open(path).unwrap())
}

fn zip(files: &[(String, Vec<u8>)], folder: &Path) -> PathBuf {
    let path = folder.join("packed.zip");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, bytes) in files {
        zip.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_not_what_was_signed_is_refused_whole() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let folder = tempfile::tempdir().unwrap();
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let tag = deployment.tag(&someone, &project, "t").await;
        deployment.image(&someone, &project, "a.jpg", &image(1), &[&tag]).await;
        let path = archive(&deployment, &someone, folder.path()).await;
        let files = unpack(&path);
        let refused = |path: &Path, keys: &[[u8; 32]], expected: &str| {
            let said = checked(path, keys).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}, not {expected}");
        };
        let key = deployment.server().app().rights.public_key().unwrap();
        assert!(checked(&path, &[key]).unwrap().is_trusted);
        assert!(!checked(&path, &[]).unwrap().is_trusted);

        // Any flipped bit of the file, but for what a ZIP reader has no use for, is refused.
        let whole = std::fs::read(&path).unwrap();
        let broken = folder.path().join("broken.zip");
        for at in (0..whole.len()).step_by(whole.len() / 40) {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            std::fs::write(&broken, &changed).unwrap();
            if let Ok(mut checked) = checked(&broken, &[key]) {
                let same = files
                    .iter()
                    .all(|(path, bytes)| checked.content(path).is_ok_and(|found| found == *bytes));
                assert!(same, "a flipped bit at {at} went unseen");
            }
            std::fs::write(&broken, &whole[..at]).unwrap();
            assert!(checked(&broken, &[key]).is_err(), "cut at {at}");
        }

        let change = |path: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut changed = files.clone();
            let file = changed.iter_mut().find(|(name, _)| name.contains(path)).unwrap();
            change(&mut file.1);
            changed
        };
        refused(
            &zip(&change("project.json", &|bytes| bytes.push(b' ')), folder.path()),
            &[key],
            "is not the file that its manifest has",
        );
        refused(
            &zip(&change("manifest-sha256", &|bytes| bytes[0] ^= 1), folder.path()),
            &[key],
            "not over its manifest",
        );
        let mut more = files.clone();
        more.push(("custom-vision/extra.json".into(), b"{}".to_vec()));
        refused(&zip(&more, folder.path()), &[key], "is not in its manifest");
        let mut fewer = files.clone();
        fewer.retain(|(path, _)| !path.contains("images.csv"));
        refused(&zip(&fewer, folder.path()), &[key], "is missing");
        refused(&zip(&[("a.txt".into(), b"x".to_vec())], folder.path()), &[], "not one that a Habeas wrote");
        std::fs::write(&broken, b"not a zip").unwrap();
        refused(&broken, &[], "not a ZIP archive");

        // What a stranger signs is whole, and nobody's whom the caller trusts: it is not brought unless one of the keys is given.
        let stranger = SigningKey::from_seed(&SecretKey::from_bytes([9; 32]));
        let packed = pack(files.clone(), &stranger, folder.path());
        refused(&packed, &[key], "signed with another key");
        let own = deployment.server().app().rights.keys().unwrap();
        checked(&path, &[]).unwrap().require_trust(&own).unwrap();
        checked(&packed, &[stranger.public()]).unwrap().require_trust(&own).unwrap();
        let said = checked(&packed, &[]).unwrap().require_trust(&own).unwrap_err().to_string();
        assert!(said.contains(&hex::encode(stranger.public())) && said.contains("--key"), "{said}");
        // Nor does signing make these good.
        for (path, expected) in [
            ("../evil.json", "leads out of it"),
            ("/evil.json", "leads out of it"),
            ("a\\..\\evil", "leads out of it"),
        ] {
            let mut hostile = files.clone();
            hostile.push((path.into(), b"{}".to_vec()));
            refused(&pack(hostile, &stranger, folder.path()), &[], expected);
        }
        let mut bomb = files.clone();
        bomb.push(("custom-vision/bomb.bin".into(), vec![0; 80 << 20]));
        refused(&pack(bomb, &stranger, folder.path()), &[], "unpacks to more than");
        let mut twice = files.clone();
        let document = files.iter().find(|(path, _)| path.contains("/tags/")).unwrap().clone();
        let other = project.replace(&project[..8], "00000000");
        twice.push((document.0.replace(&project, &other), document.1.clone()));
        refused(&pack(twice.clone(), &stranger, folder.path()), &[], "is there twice");
        twice.retain(|(path, _)| *path != document.0);
        refused(&pack(twice, &stranger, folder.path()), &[], "belongs to a project that is not there");
        let renamed = |value: &mut Vec<u8>| {
            let mut document: Value = serde_json::from_slice(value).unwrap();
            document["id"] = json!(Id::NIL);
            *value = document.to_string().into_bytes();
        };
        refused(
            &pack(change("/tags/", &renamed), &stranger, folder.path()),
            &[],
            "says it is something else",
        );
        refused(
            &pack(change("project.json", &|bytes| *bytes = b"[".to_vec()), &stranger, folder.path()),
            &[],
            "is not what a Habeas writes there",
        );
    }
}

/// Has `check` look at a file whose bytes are these but for one bit, for each byte once, and for another bit from byte to byte.
fn flip_each(whole: &[u8], check: impl Fn(usize, &Path) + Sync) {
    let (check, threads) = (&check, std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                let file = tempfile::NamedTempFile::new().unwrap();
                let mut changed = whole.to_vec();
                for at in (first..whole.len()).step_by(threads) {
                    changed[at] ^= 1 << (at % 8);
                    std::fs::write(file.path(), &changed).unwrap();
                    check(at, file.path());
                    changed[at] = whole[at];
                }
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_flipped_in_any_byte_is_refused_or_changes_nothing() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let folder = tempfile::tempdir().unwrap();
    let someone = deployment.person("a@example.org", "A").await;
    let project = deployment.project(&someone, "p").await;
    deployment.tag(&someone, &project, "t").await;
    let mut files = unpack(&archive(&deployment, &someone, folder.path()).await);
    // Less to read for each of the thousands: what is about the archive itself, for people, is most of so small a one.
    let needed = ["profile/account.json", "completeness.json"];
    files.retain(|(path, _)| path.starts_with("custom-vision/projects/") || needed.contains(&path.as_str()));
    let signer = SigningKey::from_seed(&SecretKey::from_bytes([9; 32]));
    let (path, key) = (pack(files, &signer, folder.path()), signer.public());
    let (whole, files) = (std::fs::read(&path).unwrap(), unpack(&path));
    let seen = AtomicUsize::new(0);
    flip_each(&whole, |at, path| match checked(path, &[key]) {
        Ok(mut checked) => {
            let same =
                files.iter().all(|(path, bytes)| checked.content(path).is_ok_and(|found| found == *bytes));
            assert!(same, "a flipped bit at {at} went unseen");
        }
        Err(_) => {
            seen.fetch_add(1, Ordering::Relaxed);
        }
    });
    // What a ZIP says twice, and dates and systems, are the smaller part of it.
    let seen = seen.into_inner();
    assert!(seen > whole.len() / 2, "only {seen} of {} are refused", whole.len());

    // Nothing of a sealed one is said twice.
    let ambient = deployment.server().app().store().ambient();
    let recipient = crate::sealed::RECIPIENT.parse().unwrap();
    let prepared = Prepared::new(&recipient, ambient.random.as_ref()).unwrap();
    let mut out = Sealed::new(Vec::new(), &prepared, ambient.random.as_ref()).unwrap();
    out.write_all(&whole).unwrap();
    let whole = out.finish().unwrap();
    let open = |path: &Path| {
        let file = plain(path, |_| Ok(Identity::Key(SecretKey::from_bytes([7; 32]))))?;
        Checked::open(file, &[key])
    };
    let sealed = folder.path().join("archive.zip.age");
    std::fs::write(&sealed, &whole).unwrap();
    open(&sealed).unwrap();
    flip_each(&whole, |at, path| assert!(open(path).is_err(), "a flipped bit at {at} went unseen"));
}
