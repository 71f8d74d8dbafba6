//! Telling a project's own address what happened: Microsoft's storage notifications (`notificationQueueUri`), sent as a webhook.
//!
//! The JSON is that of Microsoft's queue messages, posted to the address. A message is a task, committed with what it tells of, and tried
//! again a few times when the far end cannot be reached. Where the operator allows no outgoing calls it is dropped. That an address took
//! one is noted in the project, so that its holder is told who received something (GDPR Article 15(1)(c)).

use habeas_core::kinds::{
    Iteration, IterationDoc, IterationStatus, ModelExportDoc, ModelExportState, Project, ProjectDoc,
};
use habeas_core::{Error, Id, Node, Result};
use habeas_store::{TaskKind, TaskRow, Tx};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Models;
use crate::training::gone;

#[derive(Debug, Serialize, Deserialize)]
struct NotifyTask {
    project: Id,
    /// Random ids, states and an address of this server.
    message: Value,
}

/// Says that a new project is connected to its address.
pub fn connection_test(tx: &mut Tx<'_>, project: &Node<ProjectDoc>) -> Result<()> {
    enqueue(tx, project, "ConnectionTest", &json!({ "projectId": project.id }))
}

/// Says how a training ended.
pub(crate) fn training(tx: &mut Tx<'_>, iteration: &Node<IterationDoc>) -> Result<()> {
    let status = match iteration.doc.status {
        IterationStatus::Training => return Ok(()),
        IterationStatus::Completed => "TrainingCompleted",
        IterationStatus::Failed => "TrainingFailed",
    };
    let Some(project) = project_of(tx, iteration.parent)? else { return Ok(()) };
    let content = json!({ "projectId": project.id, "iterationId": iteration.id, "trainingStatus": status });
    enqueue(tx, &project, "Training", &content)
}

/// Says how an export ended; `address` is where the exports of its iteration are listed.
pub(crate) fn export(tx: &mut Tx<'_>, export: &Node<ModelExportDoc>, address: &str) -> Result<()> {
    let (status, address) = match export.doc.state {
        ModelExportState::Exporting => return Ok(()),
        ModelExportState::Done => ("ExportCompleted", Some(address)),
        ModelExportState::Failed => ("ExportFailed", None),
    };
    let iteration = export.parent.unwrap_or(Id::NIL);
    let parent = tx.get::<Iteration>(iteration)?.and_then(|node| node.parent);
    let Some(project) = project_of(tx, parent)? else { return Ok(()) };
    let content = json!({
        "projectId": project.id,
        "iterationId": iteration,
        "exportStatus": status,
        "modelUri": address,
    });
    enqueue(tx, &project, "Export", &content)
}

fn project_of(tx: &mut Tx<'_>, id: Option<Id>) -> Result<Option<Node<ProjectDoc>>> {
    match id {
        Some(id) => tx.get::<Project>(id),
        None => Ok(None),
    }
}

fn enqueue(tx: &mut Tx<'_>, project: &Node<ProjectDoc>, event: &str, content: &Value) -> Result<()> {
    if project.doc.notification_queue_uri.is_none() {
        return Ok(());
    }
    let task = NotifyTask {
        project: project.id,
        message: json!({ "version": "1.0", "type": event, "Content": content }),
    };
    let now = tx.now();
    tx.enqueue(TaskKind::Notify, Some(project.id), &serde_json::to_value(&task)?, now).map(|_| ())
}

/// Notes that the project's address has taken a message, the first time.
fn note_taken(tx: &mut Tx<'_>, project: Id) -> Result<()> {
    let Some(mut node) = tx.get::<Project>(project)?.filter(|node| node.doc.notified_since.is_none()) else {
        return Ok(());
    };
    node.doc.notified_since = Some(tx.now());
    tx.update::<Project>(&node)?;
    // Clients are shown as `lastModified` when somebody changed the project.
    tx.backdate_change(project, node.updated_at)
}

impl Models {
    /// Sends the message of a claimed task and ends the task, or puts it back.
    pub async fn run_notifying(&self, task: &TaskRow) -> Result<()> {
        let NotifyTask { project, message } = NotifyTask::deserialize(&task.payload)?;
        let result = self.notify(project, &message).await;
        self.end_task(task, result, |_, _| Ok(())).await
    }

    async fn notify(&self, project: Id, message: &Value) -> Result<()> {
        if !self.outgoing().is_enabled() {
            return Ok(());
        }
        let project = self.store().read(move |tx| tx.get::<Project>(project)).await?.ok_or_else(gone)?;
        let Some(address) = project.doc.notification_queue_uri else { return Ok(()) };
        self.outgoing().post(&address, message).await.map_err(|error| Error {
            what: format!("the notification of project {} was not taken: {}", project.id, error.what),
            ..error
        })?;
        let id = project.id;
        match project.doc.notified_since {
            Some(_) => Ok(()),
            None => self.store().write(move |tx| note_taken(tx, id)).await,
        }
    }
}
