//! Where a file stands: origin, container and path in Azure's words; owner and path in the tree's.
//!
//! The container of the origin `ExperimentRun` is a run, `RUN` or `dcid.RUN`, or a logged model, `m-ID`: its files are those that MLflow's
//! clients see. Files of any other origin, such as `LocalUpload`, stand under the workspace or project itself, below `ORIGIN/CONTAINER/`.

use habeas_access::{Actor, Permission};
use habeas_core::kinds::{Artifact, ArtifactDoc, LifecycleStage, LoggedModel};
use habeas_core::{Error, ErrorKind, Id, Node, Result};
use habeas_store::Tx;
use serde_json::{Value, json};

use crate::artifact_files::{below, check_path};
use crate::file_address::{Access, Signer};
use crate::provenance::logged_model_in;
use crate::runs::{DATA_CONTAINER, find_run, run_id, shortened};

/// The origin whose containers are runs.
pub(super) const RUN_ORIGIN: &str = "ExperimentRun";

/// An origin and a container of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    origin: String,
    container: String,
}

impl Place {
    pub(super) fn new(origin: &str, container: &str) -> Result<Place> {
        check_path(&format!("{origin}/{container}"))?;
        if origin.contains('/') || container.contains('/') {
            return Err(Error::invalid("origin and container are one part of a path each"));
        }
        let origin = if origin.eq_ignore_ascii_case(RUN_ORIGIN) { RUN_ORIGIN } else { origin };
        Ok(Place { origin: origin.to_owned(), container: container.to_owned() })
    }

    /// The files of a run.
    pub(super) fn of_run(run: &str) -> Result<Place> {
        Place::new(RUN_ORIGIN, &format!("{DATA_CONTAINER}{}", run.trim_start_matches(DATA_CONTAINER)))
    }

    /// Reads `ORIGIN/CONTAINER/PATH`: the place, and the path, which may be empty.
    pub(super) fn of_artifact(id: &str) -> Result<(Place, String)> {
        let mut parts = id.trim_end_matches('/').splitn(3, '/');
        let (Some(origin), Some(container)) = (parts.next(), parts.next()) else {
            return Err(Error::invalid("an artifact is named ORIGIN/CONTAINER/PATH"));
        };
        Ok((Place::new(origin, container)?, parts.next().unwrap_or_default().to_owned()))
    }

    fn run(&self) -> Option<&str> {
        (self.origin == RUN_ORIGIN).then(|| run_id(&self.container))
    }

    /// What the files stand under, if the actor may do this with it. `scope` is the workspace or project, which the actor may read.
    pub(super) fn owner(
        &self,
        tx: &mut Tx<'_>,
        actor: &Actor,
        scope: Id,
        permission: Permission,
    ) -> Result<Id> {
        let Some(run) = self.run() else {
            habeas_access::authorise(tx, actor, scope, permission)?;
            return Ok(scope);
        };
        let node = match find_run(tx, actor, scope, run, permission) {
            // `azureml-mlflow` knows addresses of runs only, and is told those for logged models too.
            Err(error) if error.kind == ErrorKind::NotFound => {
                let Some(model) = logged_model_in(tx, scope, run)? else { return Err(error) };
                let node = tx.get::<LoggedModel>(model)?;
                if node.is_none_or(|node| node.doc.stage == LifecycleStage::Deleted) {
                    return Err(error);
                }
                habeas_access::authorise(tx, actor, model, permission)?;
                return Ok(model);
            }
            found => found?,
        };
        if permission != Permission::Read && node.doc.stage == LifecycleStage::Deleted {
            return Err(Error::conflict("the run was put aside").hint("restore it first"));
        }
        Ok(node.id)
    }

    /// The path in the tree.
    pub(super) fn stored(&self, path: &str) -> String {
        match (self.run(), path) {
            (Some(_), path) => path.to_owned(),
            (None, "") => format!("{}/{}", self.origin, self.container),
            (None, path) => format!("{}/{}/{path}", self.origin, self.container),
        }
    }

    /// The path below the container.
    fn shown<'a>(&self, stored: &'a str) -> &'a str {
        match self.run() {
            Some(_) => stored,
            None => stored.get(self.origin.len() + self.container.len() + 2..).unwrap_or_default(),
        }
    }

    /// The file at a path.
    pub(super) fn find(&self, tx: &mut Tx<'_>, owner: Id, path: &str) -> Result<Node<ArtifactDoc>> {
        tx.child_by_name::<Artifact>(owner, &self.stored(path))?.ok_or_else(|| {
            Error::not_found(format!("there is no artifact `{}` in this container", shortened(path)))
        })
    }

    /// The files at or below a path, in the order of their paths.
    pub(super) fn below(&self, tx: &mut Tx<'_>, owner: Id, path: &str) -> Result<Vec<Node<ArtifactDoc>>> {
        below(tx, owner, self.stored(path).trim_end_matches('/'))
    }

    /// `ORIGIN/CONTAINER/PATH`.
    pub(super) fn artifact(&self, path: &str) -> String {
        format!("{}/{}/{path}", self.origin, self.container)
    }

    /// A file as `ArtifactDto`.
    pub(super) fn show(&self, node: &Node<ArtifactDoc>) -> Value {
        self.describe(self.shown(&node.doc.path), node.version, &node.created_at.rfc3339())
    }

    /// A file that is to be sent, as `ArtifactDto`.
    pub(super) fn announce(&self, path: &str, now: &str) -> Value {
        self.describe(path, 0, now)
    }

    fn describe(&self, path: &str, version: i64, created: &str) -> Value {
        json!({
            "artifactId": self.artifact(path),
            "origin": self.origin,
            "container": self.container,
            "path": path,
            "etag": format!("\"{version}\""),
            "createdTime": created,
        })
    }

    /// A file with the address at which it is fetched or sent, as `ArtifactContentInformationDto`.
    pub(super) fn content(&self, signer: &Signer, owner: Id, path: &str, access: Access) -> Value {
        json!({
            "contentUri": signer.address(owner, &self.stored(path), access),
            "origin": self.origin,
            "container": self.container,
            "path": path,
        })
    }

    /// The same for a file that is there.
    pub(super) fn content_of(&self, signer: &Signer, owner: Id, node: &Node<ArtifactDoc>) -> Value {
        self.content(signer, owner, self.shown(&node.doc.path), Access::Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_by_both_names_and_other_origins_below_the_workspace() {
        let place = Place::new("experimentrun", "dcid.r1").unwrap();
        assert_eq!(
            (place.run(), place.stored("a/b").as_str(), place.shown("a/b")),
            (Some("r1"), "a/b", "a/b")
        );
        assert_eq!(Place::new("ExperimentRun", "r1").unwrap().run(), Some("r1"));
        assert_eq!(Place::of_run("r1").unwrap(), place);
        let (place, path) = Place::of_artifact("LocalUpload/x/a/b").unwrap();
        assert_eq!((place.run(), path.as_str()), (None, "a/b"));
        assert_eq!(place.stored("a/b"), "LocalUpload/x/a/b");
        assert_eq!(place.shown("LocalUpload/x/a/b"), "a/b");
        assert_eq!(place.stored(""), "LocalUpload/x");
        for bad in ["a", "../x/y", "a/../b", "a//b"] {
            assert!(Place::of_artifact(bad).is_err(), "{bad}");
        }
    }
}
