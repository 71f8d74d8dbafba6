//! Proof from a person's archive: every model in it is trained again, and whatever was changed is noticed.

use std::collections::BTreeMap;

use habeas_core::{Error, Result};
use habeas_models::{ExportedFiles, Verdict, Verification, verify};
use serde_json::Value;

use crate::deployment::{Deployment, Someone, engines};
use crate::learning::{tools, trees};

/// An archive in memory.
#[derive(Clone)]
pub(crate) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    pub(crate) async fn of(deployment: &Deployment, someone: &Someone) -> Files {
        Files(deployment.export(someone).await.into_iter().collect())
    }

    /// The bytes of the only file whose path has this in it.
    fn only(&mut self, part: &str) -> &mut Vec<u8> {
        let mut found = self.0.iter_mut().filter(|(path, _)| path.contains(part));
        let (_, bytes) = found.next().unwrap();
        assert!(found.next().is_none(), "several files have {part} in their path");
        bytes
    }

    fn verified(&mut self) -> Verification {
        let mut found = verify(self, None, 2).unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    /// What verifying says after a change of a copy.
    fn after(&self, change: impl FnOnce(&mut Files)) -> Verification {
        let mut changed = self.clone();
        change(&mut changed);
        changed.verified()
    }
}

impl ExportedFiles for Files {
    fn paths(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn read(&mut self, path: &str) -> Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| Error::not_found("no such file"))
    }
}

fn edit(bytes: &mut Vec<u8>, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(bytes).unwrap();
    change(&mut value);
    *bytes = serde_json::to_vec(&value).unwrap();
}

/// What another implementation, in NumPy, gives for the twenty photos: lambda is 10^-3.5 of the rows' mean squared length, scores are
/// multiplied by 1.399, and each photo is recognised by the model that did not see it.
fn assert_figures(weights: &[u8], evaluation: &[u8]) {
    let number = |at: usize| f64::from_le_bytes(weights[at..at + 8].try_into().unwrap());
    // Behind kind, two tags, one view and the number of features.
    assert!((number(4 + 4 + 2 * 16 + 2 + 4).log10() + 3.5).abs() < 1e-9);
    assert_eq!(weights[weights.len() - 9], 0, "a temperature");
    assert!((number(weights.len() - 8) - 1.399).abs() < 2e-3);
    let evaluation: Value = serde_json::from_slice(evaluation).unwrap();
    for image in evaluation["images"].as_array().unwrap() {
        let said = image["said"].as_array().unwrap();
        let best = said
            .iter()
            .max_by(|a, b| a["probability"].as_f64().unwrap().total_cmp(&b["probability"].as_f64().unwrap()));
        assert_eq!(best.unwrap()["tag"], image["tags"][0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classifier_in_an_archive_is_trained_again_and_a_change_is_noticed() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let (work, images) = trees(&deployment, &someone).await;
        let iteration = work.trained("").await;

        let mut files = Files::of(&deployment, &someone).await;
        assert_figures(&files.only("weights.bin").clone(), files.only("evaluation.bin"));

        // Also after one image was unlearned, and another one deleted from the workspace only.
        for query in ["&allIterations=true", ""] {
            let image = if query.is_empty() { &images[3] } else { &images[7] };
            work.call("DELETE", &format!("/images?imageIds={image}{query}"), None).await;
        }
        let mut files = Files::of(&deployment, &someone).await;
        let whole = files.verified();
        assert_eq!((whole.verdict, whole.images), (Verdict::Verified, 19), "{whole:?}");
        assert_eq!(whole.iteration.to_string(), iteration["id"].as_str().unwrap());

        let row = format!("{}.phi-v1.bin", images[12]);
        let verdict = |change: &dyn Fn(&mut Files)| {
            let found = files.after(change);
            assert!(!found.findings.is_empty(), "{found:?}");
            found.verdict
        };
        assert_eq!(verdict(&|files| files.only(&row)[100] ^= 1), Verdict::Different);
        assert_eq!(verdict(&|files| files.only(&row).truncate(1_000)), Verdict::Different);
        let relabelled = |set: &mut Value| {
            let images = set["images"].as_array_mut().unwrap();
            let other = images.last().unwrap()["tags"].clone();
            images[0]["tags"] = other;
        };
        assert_eq!(verdict(&|files| edit(files.only("training-set.json"), relabelled)), Verdict::Different);
        for digest in ["sumsDigest", "stateDigest"] {
            let forge = |iteration: &mut Value| iteration["model"][digest] = "00".into();
            assert_eq!(verdict(&|files| edit(files.only("iteration.json"), forge)), Verdict::Different);
        }
        for file in ["weights.bin", "evaluation.bin"] {
            assert_eq!(verdict(&|files| files.only(file)[60] ^= 1), Verdict::Different);
        }
        // Who hides an image that it learned from is noticed, too.
        let hide = |iteration: &mut Value| drop(iteration["learnedFrom"].as_array_mut().unwrap().pop());
        assert_eq!(verdict(&|files| edit(files.only("iteration.json"), hide)), Verdict::Different);
        let without = |files: &mut Files| files.0.retain(|path, _| !path.contains(&row));
        assert_eq!(verdict(&without), Verdict::Incomplete);
        let interim = |iteration: &mut Value| iteration["model"]["state"] = "interim".into();
        assert_eq!(verdict(&|files| edit(files.only("iteration.json"), interim)), Verdict::Incomplete);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detector_in_an_archive_is_trained_again_and_a_change_is_noticed() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let (work, images) = tools(&deployment, &someone).await;
    assert_eq!(work.trained("").await["status"], "Completed");
    let mut files = Files::of(&deployment, &someone).await;
    let whole = files.verified();
    assert_eq!((whole.verdict, whole.images), (Verdict::Verified, 40), "{whole:?}");
    // The highest byte of a number near the middle of the maps.
    let row = format!("{}.maps-v1.bin", images[12]);
    assert_eq!(files.after(|files| files.only(&row)[200_003] ^= 1).verdict, Verdict::Different);
    let moved = |set: &mut Value| set["images"][0]["regions"][0]["left"] = 0.01.into();
    assert_eq!(files.after(|files| edit(files.only("training-set.json"), moved)).verdict, Verdict::Different);
}
