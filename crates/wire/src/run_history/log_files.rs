//! The log files of a run, which `azureml-core` reads from `logFiles` of its details: `get_details_with_logs`, `get_all_logs`, and
//! `wait_for_completion(show_output=True)`, which streams what matches `azureml-logs/NN....txt` and `user_logs/std_log....txt`.
//!
//! A log file is an artifact of the run in one of the folders where Azure's own programs put logs (`azureml/_history/utils/constants.py` and
//! `azureml/core/run.py` of 1.61), or the file `driver_log`.

use std::collections::BTreeMap;

use habeas_core::kinds::Artifact;
use habeas_core::{Id, Result};
use habeas_store::{Order, Page, Tx};

use crate::artifact_files::is_below;
use crate::file_address::{Access, Signer};

/// The folders of logs.
const FOLDERS: [&str; 4] = ["azureml-logs", "logs", "user_logs", "system_logs"];
/// What the driver wrote, where its log is not in a folder.
const DRIVER_LOG: &str = "driver_log";
/// The most log files that an answer names.
const MOST: usize = 1_000;
/// Artifacts that are read at a time.
const CHUNK: u64 = 1_000;
/// The most artifacts of a run among which logs are looked for: clients that stream them ask every second. Paths are sealed, so that all have to
/// be opened.
const LOOKED_AT: u64 = 10_000;

fn is_log(path: &str) -> bool {
    path == DRIVER_LOG || FOLDERS.iter().any(|folder| is_below(path, folder))
}

/// The addresses of a run's log files by their paths, among its oldest artifacts; of more than can be named, the first ones.
pub(super) fn of_run(tx: &mut Tx<'_>, run: Id, signer: &Signer) -> Result<BTreeMap<String, String>> {
    let mut logs = BTreeMap::new();
    let mut page = Page { order: Order::Oldest, skip: 0, take: CHUNK };
    loop {
        let files = tx.children::<Artifact>(run, page)?;
        let last = (files.len() as u64) < CHUNK;
        for path in files.into_iter().map(|file| file.doc.path).filter(|path| is_log(path)) {
            let address = signer.address(run, &path, Access::Read);
            logs.insert(path, address);
            if logs.len() > MOST {
                logs.pop_last();
            }
        }
        page.skip += CHUNK;
        if last || page.skip >= LOOKED_AT {
            return Ok(logs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_known_by_their_folders() {
        for path in [
            "azureml-logs/70_driver_log.txt",
            "logs/azureml/azureml.log",
            "user_logs/std_log.txt",
            "system_logs/cs_capability/x.log",
            "driver_log",
        ] {
            assert!(is_log(path), "{path}");
        }
        for path in
            ["outputs/model.pkl", "logs.txt", "my/logs/x", "user_logs", "outputs/driver_log", "Logs/x"]
        {
            assert!(!is_log(path), "{path}");
        }
    }
}
