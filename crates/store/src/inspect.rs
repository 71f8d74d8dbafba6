//! `habeas doctor`: is everything there, whole, and nothing there that should not be?

use futures::StreamExt as _;
use habeas_core::kind::HolderKind;
use habeas_core::kinds::Request;
use habeas_core::operations::{Check, DoctorReport};
use habeas_core::requests::RequestState;
use habeas_core::{AttrKey, BlobRef, Id, Kind, Result};
use serde_json::Value;

use crate::{Between, Store, TaskKind, TaskState};

/// Resources looked at in one transaction.
const PAGE: u32 = 200;

impl Store {
    /// Checks database, storage, keyring, ledger, tasks and open requests; with `scan` opens every document and every file that can be opened.
    pub async fn doctor(&self, scan: bool) -> Result<DoctorReport> {
        let mut checks = vec![
            check("database", self.describe_database().await),
            check("storage", self.blobs().describe().await.map(|description| description.to_string())),
            check(
                "keyring",
                self.with_keyring(|keyring| {
                    let report = keyring.verify()?;
                    Ok(format!(
                        "{} keys, {} aliases, {} copies",
                        report.keys,
                        report.aliases,
                        report.copies.len()
                    ))
                })
                .await,
            ),
            check(
                "ledger",
                self.with_ledger(|ledger| Ok(format!("{} records", ledger.replay(0)?.len()))).await,
            ),
        ];
        checks.push(self.check_tasks().await);
        checks.push(self.check_requests().await);
        checks.push(self.check_orphans().await);
        if scan {
            checks.push(self.check_contents().await);
        }
        Ok(DoctorReport { checks })
    }

    async fn check_tasks(&self) -> Check {
        let counts = match self.read(|tx| tx.count_tasks()).await {
            Ok(counts) => counts,
            Err(error) => return check("tasks", Err(error)),
        };
        let of = |wanted: TaskState| {
            counts.iter().filter(|(_, state, _)| *state == wanted).map(|(_, _, count)| count).sum::<u64>()
        };
        let failed = of(TaskState::Failed);
        Check {
            name: "tasks".into(),
            status: if failed > 0 { "warn" } else { "ok" }.into(),
            detail: format!(
                "{} waiting, {} running, {failed} given up",
                of(TaskState::Waiting),
                of(TaskState::Running)
            ),
        }
    }

    /// Open requests about persons who are gone: nobody could ever carry them out.
    async fn check_requests(&self) -> Check {
        let lost = self.read(|tx| {
            // Where keys are destroyed already, the person is gone as they should be.
            let (first, last) = (RequestState::Received, RequestState::FailedIrrevocably);
            let (from, to) = (f64::from(first.number()), f64::from(last.number()));
            let is_open = [Between { key: AttrKey::RequestState, from, to }];
            let (mut lost, mut after) = (0_u64, None);
            loop {
                let page = tx.children_between::<Request>(Id::NIL, &is_open, after, PAGE)?;
                for node in &page {
                    let irrevocable = matches!(
                        node.doc.state,
                        RequestState::RunningIrrevocably | RequestState::FailedIrrevocably
                    );
                    if let (false, Some(person)) = (irrevocable, node.doc.subject)
                        && tx.holder(person)?.is_none()
                        // One that was killed on its way has its end before it.
                        && !tx.is_open(person, TaskKind::Erasure)?
                    {
                        lost += 1;
                    }
                }
                after = page.last().map(|node| node.id);
                if page.len() < PAGE as usize {
                    return Ok(lost);
                }
            }
        });
        match lost.await {
            Ok(0) => check("requests", Ok("every open one is about somebody who is here".into())),
            Ok(lost) => Check {
                name: "requests".into(),
                status: "fail".into(),
                detail: format!("{lost} open ones are about persons who are erased; start the server again"),
            },
            Err(error) => check("requests", Err(error)),
        }
    }

    /// Files that no row knows.
    async fn check_orphans(&self) -> Check {
        let found = async {
            let mut orphans = 0;
            let mut all = 0_u64;
            let mut page: Vec<Id> = Vec::new();
            let mut list = self.blobs().list();
            loop {
                let entry = list.next().await.transpose()?;
                let last = entry.is_none();
                page.extend(entry.map(|entry| entry.id));
                if page.len() >= PAGE as usize || last {
                    all += page.len() as u64;
                    let ids = std::mem::take(&mut page);
                    orphans += self.read(move |tx| tx.unknown_blobs(&ids)).await?.len() as u64;
                }
                if last {
                    return Ok((all, orphans));
                }
            }
        };
        let waiting = self.read(|tx| tx.count_tasks()).await.unwrap_or_default();
        let purging =
            waiting.iter().any(|(kind, state, _)| *kind == TaskKind::PurgeBlobs && *state != TaskState::Done);
        match found.await {
            Ok((all, 0)) => Check {
                name: "orphans".into(),
                status: "ok".into(),
                detail: format!("{all} files, every one known"),
            },
            Ok((all, orphans)) => Check {
                name: "orphans".into(),
                status: if purging { "warn" } else { "fail" }.into(),
                detail: format!(
                    "{orphans} of {all} files belong to nothing{}",
                    if purging { "; their deletion is waiting" } else { "" }
                ),
            },
            Err(error) => check("orphans", Err(error)),
        }
    }

    /// Opens everything that can be opened.
    async fn check_contents(&self) -> Check {
        match self.scan().await {
            Ok((detail, unreadable)) => Check {
                name: "contents".into(),
                status: if unreadable == 0 { "ok" } else { "fail" }.into(),
                detail,
            },
            Err(error) => check("contents", Err(error)),
        }
    }

    async fn scan(&self) -> Result<(String, u64)> {
        let (mut documents, mut files, mut bytes, mut unreadable) = (0_u64, 0_u64, 0_u64, 0_u64);
        for sort in HolderKind::ALL {
            let mut after = None;
            loop {
                let start = after.unwrap_or(Id::NIL);
                let mut holders: Vec<Id> = self
                    .read(move |tx| tx.holders(*sort, start, PAGE))
                    .await?
                    .into_iter()
                    .map(|(id, _)| id)
                    .collect();
                if *sort == HolderKind::Installation && after.is_none() {
                    holders.insert(0, Id::NIL);
                }
                let Some(&last) = holders.last() else { break };
                after = Some(last);
                for holder in holders {
                    for &kind in Kind::ALL {
                        let mut from = Id::NIL;
                        loop {
                            let Ok(nodes) = self.read(move |tx| tx.held(holder, kind, from, PAGE)).await
                            else {
                                unreadable += 1;
                                break;
                            };
                            for node in &nodes {
                                documents += 1;
                                from = node.id;
                                for blob in blobs_in(&serde_json::from_slice(&node.doc).unwrap_or_default()) {
                                    let mut pieces = self.blobs().stream(&blob, 0..blob.size);
                                    files += 1;
                                    while let Some(piece) = pieces.next().await {
                                        match piece {
                                            Ok(piece) => bytes += piece.len() as u64,
                                            Err(_) => {
                                                unreadable += 1;
                                                break;
                                            }
                                        }
                                    }
                                }
                            }
                            if (nodes.len() as u32) < PAGE {
                                break;
                            }
                        }
                    }
                }
                if *sort == HolderKind::Installation {
                    break;
                }
            }
        }
        let detail =
            format!("{documents} documents and {files} files opened, {bytes} bytes, {unreadable} unreadable");
        Ok((detail, unreadable))
    }
}

/// The blobs that a document points at, wherever in it.
fn blobs_in(value: &Value) -> Vec<BlobRef> {
    match value {
        Value::Array(items) => items.iter().flat_map(blobs_in).collect(),
        Value::Object(members) => match serde_json::from_value(value.clone()) {
            Ok(blob) => vec![blob],
            Err(_) => members.values().flat_map(blobs_in).collect(),
        },
        _ => Vec::new(),
    }
}

fn check(name: &str, result: Result<String>) -> Check {
    match result {
        Ok(detail) => Check { name: name.into(), status: "ok".into(), detail },
        Err(error) => {
            // Whoever asks may be far away; which file it is about is for the log.
            tracing::error!(check = name, error = format_args!("{error:#}"), "a check failed");
            Check { name: name.into(), status: "fail".into(), detail: error.to_string() }
        }
    }
}
