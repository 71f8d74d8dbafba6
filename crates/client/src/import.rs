//! The import API, `/api/import/v1`.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use habeas_core::Id;
use habeas_core::import::{
    AccountEntry, Contents, ExportUpload, FinishedImport, Ids, ImageUpload, IterationUpload, Origin, Point,
    PredictionUpload, Project, Record, Suggestion, Tag,
};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{Client, Error, Result, encode};

/// Whether a PUT made something, or found it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    /// It is new.
    New,
    /// It was there, and stays as it was.
    Present,
}

impl Client {
    fn import(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.call(method, &format!("/api/import/v1{path}"))
    }

    async fn bring(&self, request: reqwest::RequestBuilder) -> Result<Brought> {
        match self.send(request).await?.status() {
            StatusCode::CREATED => Ok(Brought::New),
            _ => Ok(Brought::Present),
        }
    }

    async fn bring_document(&self, path: &str, document: &impl Serialize) -> Result<Brought> {
        self.bring(self.import(Method::PUT, path).json(document)).await
    }

    /// The accounts of a person, oldest first.
    pub async fn accounts(&self, person: &str) -> Result<Vec<AccountEntry>> {
        let request = self.import(Method::GET, &format!("/persons/{}/accounts", encode(person)));
        self.send(request).await?.json().await.map_err(|_| Error::Unreadable)
    }

    /// What is there of a project.
    pub async fn project_contents(&self, project: Id) -> Result<Contents> {
        let request = self.import(Method::GET, &format!("/projects/{project}"));
        self.send(request).await?.json().await.map_err(|_| Error::Unreadable)
    }

    /// Brings a project into an account.
    pub async fn bring_project(&self, account: Id, project: &Project) -> Result<Brought> {
        self.bring_document(&format!("/accounts/{account}/projects/{}", project.id), project).await
    }

    /// Brings a project that goes by itself unless it is finished, or keeps one that is unfinished for longer.
    pub async fn bring_unfinished_project(&self, account: Id, project: &Project) -> Result<Brought> {
        let path = format!("/accounts/{account}/projects/{}?unfinished=true", project.id);
        self.bring_document(&path, project).await
    }

    /// Finishes the unfinished projects and workspaces of an import, all at once.
    pub async fn finish_import(&self, account: Id, import: &FinishedImport) -> Result<()> {
        let request = self.import(Method::POST, &format!("/accounts/{account}/finish"));
        self.send(request.json(import)).await.map(|_| ())
    }

    /// Brings a workspace, account or cluster, whose parent is the person that gets it, unfinished; or keeps one that is unfinished for longer.
    pub async fn bring_workspace(&self, workspace: &Record) -> Result<Brought> {
        let path = format!("/persons/{}/workspaces/{}", workspace.parent, workspace.id);
        self.bring_document(&path, workspace).await
    }

    /// Removes an unfinished workspace.
    pub async fn discard_workspace(&self, workspace: Id) -> Result<()> {
        self.send(self.import(Method::DELETE, &format!("/workspaces/{workspace}"))).await.map(|_| ())
    }

    /// Which of these ids cannot be brought into a workspace.
    pub async fn taken_ids(&self, workspace: Id, ids: Vec<Id>) -> Result<Vec<Id>> {
        let request = self.import(Method::POST, &format!("/workspaces/{workspace}/taken")).json(&Ids { ids });
        let taken: Ids = self.send(request).await?.json().await.map_err(|_| Error::Unreadable)?;
        Ok(taken.ids)
    }

    /// Brings what stands in a workspace; `files` gives the bytes of its files, one after the other.
    pub async fn bring_record(
        &self,
        workspace: Id,
        record: &Record,
        files: mpsc::Receiver<Bytes>,
    ) -> Result<Brought> {
        let mut line = serde_json::to_vec(record).map_err(|_| Error::Unreadable)?;
        line.push(b'\n');
        let first = stream::once(async move { Ok(Bytes::from(line)) });
        let rest = stream::unfold(files, |mut files| async move {
            files.recv().await.map(|piece| (std::io::Result::Ok(piece), files))
        });
        let path = format!("/workspaces/{workspace}/records/{}", record.id);
        self.bring(self.import(Method::PUT, &path).body(reqwest::Body::wrap_stream(first.chain(rest)))).await
    }

    /// Brings points of the metrics of a run or model.
    pub async fn bring_metrics(&self, workspace: Id, record: Id, points: &[Point]) -> Result<()> {
        let path = format!("/workspaces/{workspace}/records/{record}/metrics");
        self.send(self.import(Method::POST, &path).json(points)).await.map(|_| ())
    }

    /// Says what brought resources of a workspace were made from.
    pub async fn bring_origins(&self, workspace: Id, origins: &[Origin]) -> Result<()> {
        let path = format!("/workspaces/{workspace}/origins");
        self.send(self.import(Method::POST, &path).json(origins)).await.map(|_| ())
    }

    /// Removes an unfinished project.
    pub async fn discard_project(&self, project: Id) -> Result<()> {
        self.send(self.import(Method::DELETE, &format!("/projects/{project}"))).await.map(|_| ())
    }

    /// Brings a tag.
    pub async fn bring_tag(&self, project: Id, tag: &Tag) -> Result<Brought> {
        self.bring_document(&format!("/projects/{project}/tags/{}", tag.id), tag).await
    }

    /// Brings an image.
    pub async fn bring_image(&self, project: Id, image: &ImageUpload) -> Result<Brought> {
        self.bring_document(&format!("/projects/{project}/images/{}", image.image.id), image).await
    }

    /// Brings an iteration.
    pub async fn bring_iteration(&self, project: Id, iteration: &IterationUpload) -> Result<Brought> {
        let id = iteration.iteration.id;
        self.bring_document(&format!("/projects/{project}/iterations/{id}"), iteration).await
    }

    /// Brings the archive of an exported model.
    pub async fn bring_export(
        &self,
        project: Id,
        iteration: Id,
        platform: &str,
        export: &ExportUpload,
        archive: Bytes,
    ) -> Result<Brought> {
        let (platform, sha256) = (encode(platform), &export.sha256);
        let mut path =
            format!("/projects/{project}/iterations/{iteration}/exports/{platform}?sha256={sha256}");
        let id = export.id.map(|id| id.to_string());
        for (name, value) in [
            ("id", &id),
            ("flavor", &export.flavor),
            ("digest", &export.digest),
            ("created", &export.created),
        ] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        self.bring(self.import(Method::PUT, &path).body(archive)).await
    }

    /// Brings what a model suggested for an image.
    pub async fn bring_suggestion(&self, project: Id, suggestion: &Suggestion) -> Result<Brought> {
        let path = format!("/projects/{project}/suggestions/{}", suggestion.id);
        self.bring_document(&path, suggestion).await
    }

    /// Brings a stored prediction.
    pub async fn bring_prediction(&self, project: Id, prediction: &PredictionUpload) -> Result<Brought> {
        let id = prediction.prediction.id;
        self.bring_document(&format!("/projects/{project}/predictions/{id}"), prediction).await
    }
}
