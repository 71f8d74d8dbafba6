//! Workspaces of experiments and models: how they are addressed, and what they begin with.
//!
//! In Azure's addresses, `/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.MachineLearningServices/workspaces/NAME`,
//! a subscription is a holder: a person, or an organisation. Literals, groups and names are matched in any case.

use std::collections::BTreeMap;

use axum::http::{Request, Uri};
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{
    ClientName, ClientNameDoc, Experiment, ExperimentDoc, LifecycleStage, Workspace, WorkspaceDoc,
};
use habeas_core::{Error, Id, Kind, Node, Result};
use habeas_store::{New, Tx};

/// The part of an address that names a workspace, as a route.
pub(crate) const SCOPE: &str = "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.machinelearningservices/workspaces/{workspace_name}";

/// The name of the experiment that runs go to when their script names none.
const DEFAULT_EXPERIMENT: &str = "Default";

/// What a workspace of the holder is found by.
pub(crate) fn key(group: &str, name: &str) -> String {
    format!("{}/{}", group.to_lowercase(), name.to_lowercase())
}

/// The holder that a subscription stands for, if the actor may do this with what it holds.
pub(crate) fn holder(
    tx: &mut Tx<'_>,
    actor: &Actor,
    subscription: &str,
    permission: Permission,
) -> Result<Id> {
    let unknown = || {
        Error::not_found("there is no such subscription")
            .hint("a subscription's id is the object id of a person or of an organisation")
            .code("SubscriptionNotFound")
    };
    let id: Id = subscription.parse().map_err(|_| unknown())?;
    if !matches!(tx.position(id)?, Some((Kind::Person | Kind::Organisation, ..))) {
        return Err(unknown());
    }
    match authorise(tx, actor, id, permission) {
        Err(error) if error.kind == habeas_core::ErrorKind::NotFound => Err(unknown()),
        Err(error) => Err(error),
        Ok(()) => Ok(id),
    }
}

/// The workspace at an address, if the actor may do this with it.
pub(crate) fn find(
    tx: &mut Tx<'_>,
    actor: &Actor,
    subscription: &str,
    group: &str,
    name: &str,
    permission: Permission,
) -> Result<Node<WorkspaceDoc>> {
    let holder = holder(tx, actor, subscription, Permission::Read)?;
    let node = tx.child_by_name::<Workspace>(holder, &key(group, name))?.ok_or_else(|| {
        Error::not_found(format!("there is no workspace `{name}` in the resource group `{group}`"))
            .code("ResourceNotFound")
    })?;
    authorise(tx, actor, node.id, permission)?;
    Ok(node)
}

/// Makes a workspace with its default experiment.
pub(crate) fn create(
    tx: &mut Tx<'_>,
    holder: Id,
    id: Id,
    doc: WorkspaceDoc,
    person: Id,
) -> Result<Node<WorkspaceDoc>> {
    let node = tx.create::<Workspace>(New::under(holder, id, doc))?;
    let doc = ExperimentDoc {
        name: DEFAULT_EXPERIMENT.to_owned(),
        artifact_location: None,
        stage: LifecycleStage::Active,
        tags: BTreeMap::new(),
        created_by: Some(person),
    };
    tx.create::<Experiment>(New::under(id, default_experiment(id), doc))?;
    Ok(node)
}

/// The id of a workspace's default experiment: the workspace's with every bit turned, so that it is found without a search.
pub(crate) fn default_experiment(workspace: Id) -> Id {
    Id::from_bytes(workspace.as_bytes().map(|byte| !byte))
}

/// The login name that a person's client sent, kept with the person.
pub(crate) fn remember_name(tx: &mut Tx<'_>, person: Id, name: Option<&str>) -> Result<Option<Id>> {
    let Some(name) = name else { return Ok(None) };
    if let Some(known) = tx.child_by_name::<ClientName>(person, name)? {
        return Ok(Some(known.id));
    }
    let id = tx.new_id();
    tx.create::<ClientName>(New::under(person, id, ClientNameDoc { name: name.to_owned() }))?;
    Ok(Some(id))
}

/// Brings the literals of Azure's addresses into lower case, and leaves names as they are.
pub fn normalise<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    // What comes before the address of a resource.
    let before = match segments.first().map(|first| first.to_lowercase()).as_deref() {
        Some("subscriptions" | "providers") => 0,
        Some("mlflow") => 2,
        _ => return request,
    };
    let Some(resource) = segments.get(before..) else { return request };
    let is = |index: usize, literal: &str| {
        resource.get(index).is_some_and(|segment| segment.eq_ignore_ascii_case(literal))
    };
    if before > 0 && !is(0, "subscriptions") {
        return request;
    }
    // `subscriptions/ID/resourceGroups/GROUP/providers/NAMESPACE/TYPE/NAME/...`: every other one is a name, but for the namespace.
    let fixed: Vec<String> = segments
        .iter()
        .enumerate()
        .map(|(index, segment)| {
            let is_name = match index.checked_sub(before) {
                None => false,
                Some(1) => is(0, "subscriptions"),
                Some(3) => is(2, "resourcegroups"),
                Some(7) => is(2, "resourcegroups"),
                Some(at) => at > 8,
            };
            if is_name { (*segment).to_owned() } else { segment.to_lowercase() }
        })
        .collect();
    let mut fixed = format!("/{}", fixed.join("/"));
    if let Some(query) = request.uri().query() {
        fixed.push('?');
        fixed.push_str(query);
    }
    // What was a valid address is one still; if not, the router says that it does not exist.
    if let Ok(uri) = fixed.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_matched_in_any_case_and_names_keep_theirs() {
        let path = |text: &str| normalise(Request::get(text).body(()).unwrap()).uri().to_string();
        let workspace =
            "/subscriptions/A1/resourcegroups/My/providers/microsoft.machinelearningservices/workspaces/Ws";
        assert_eq!(
            path(
                "/Subscriptions/A1/resourceGroups/My/providers/Microsoft.MachineLearningServices/workspaces/Ws?api-version=X"
            ),
            format!("{workspace}?api-version=X")
        );
        assert_eq!(
            path(
                "/mlflow/v1.0/subscriptions/A1/resourceGroups/My/providers/Microsoft.MachineLearningServices/workspaces/Ws/api/2.0/mlflow/runs/Get"
            ),
            format!("/mlflow/v1.0{workspace}/api/2.0/mlflow/runs/Get")
        );
        assert_eq!(
            path(
                "/subscriptions/A1/resourceGroups/My/providers/Microsoft.MachineLearningServices/workspaces/Ws/listKeys"
            ),
            format!("{workspace}/listkeys")
        );
        for other in ["/Subscriptions", "/api/2.0/mlflow/Runs", "/", "/mlflow/v1.0/X"] {
            assert!(path(other).eq_ignore_ascii_case(other), "{other}");
        }
        assert_eq!(path("/api/2.0/mlflow/Runs"), "/api/2.0/mlflow/Runs");
    }
}
