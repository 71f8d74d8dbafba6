//! Where in Azure's addresses something stands: workspaces, projects and hosting accounts, below the prefix of any of the services.
//!
//! In `/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.MachineLearningServices/workspaces/NAME` and its like, a
//! subscription is a holder: a person, or an organisation. Literals, groups and names are matched in any case.

use std::collections::HashMap;

use axum::http::{Request, Uri};
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{
    ExperimentationAccount, ExperimentationProject, ExperimentationWorkspace, HostingAccount, Workspace,
};
use habeas_core::{DataKind, Error, ErrorKind, Id, Kind, Result};
use habeas_store::{Page, Tx};

/// The address of a workspace of `Microsoft.MachineLearningServices`, as a route.
pub(crate) const WORKSPACE: &str = "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.machinelearningservices/workspaces/{workspace_name}";

/// The addresses, as routes, below which runs, files, metrics and notifications stand.
///
/// A workspace of `Microsoft.MachineLearningServices` is one project, whatever its clients call it (`azureml-core` 0.1 always names one).
/// Of an experimentation workspace, an address without a project means its only one (`azureml-core` 0.1 leaves it out in some).
pub(crate) const SCOPES: [&str; 4] = [
    WORKSPACE,
    "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.machinelearningservices/workspaces/{workspace_name}/projects/{project}",
    "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.machinelearningexperimentation/accounts/{account}/workspaces/{workspace_name}",
    "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.machinelearningexperimentation/accounts/{account}/workspaces/{workspace_name}/projects/{project}",
];

/// The address of a hosting account below `/api`, as a route.
pub const HOSTING_SCOPE: &str = "/subscriptions/{subscription}/resourcegroups/{group}/accounts/{account}";

/// What the path of a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    subscription: String,
    group: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Workspace { name: String },
    Project { account: String, workspace: String, project: Option<String> },
    Hosting { account: String },
}

impl Scope {
    /// The parts of a path that belong to its scope.
    pub(crate) const PARTS: [&str; 5] = ["subscription", "group", "account", "workspace_name", "project"];

    /// The scope in the parts of a path that one of [`SCOPES`] or [`HOSTING_SCOPE`] matched; none in others.
    pub(crate) fn of(parts: &HashMap<String, String>) -> Option<Scope> {
        let part = |name: &str| parts.get(name).cloned();
        let place = match (part("account"), part("workspace_name")) {
            (None, Some(name)) => Place::Workspace { name },
            (Some(account), Some(workspace)) => {
                Place::Project { account, workspace, project: part("project") }
            }
            (Some(account), None) => Place::Hosting { account },
            (None, None) => return None,
        };
        Some(Scope { subscription: part("subscription")?, group: part("group")?, place })
    }

    /// The scope of a hosting account.
    pub(crate) fn of_hosting(subscription: Id, group: &str, account: &str) -> Scope {
        let place = Place::Hosting { account: account.to_owned() };
        Scope { subscription: subscription.to_string(), group: group.to_owned(), place }
    }

    /// What experiments, assets and models of this scope stand under, if the actor may do this with it; not found otherwise.
    pub(crate) fn find(&self, tx: &mut Tx<'_>, actor: &Actor, permission: Permission) -> Result<Id> {
        let holder = holder(tx, actor, &self.subscription, Permission::Read)?;
        let id = match &self.place {
            Place::Workspace { name } => child::<Workspace>(tx, holder, &key(&self.group, name)),
            Place::Hosting { account } => child::<HostingAccount>(tx, holder, &key(&self.group, account)),
            Place::Project { account, workspace, project } => {
                let account = child::<ExperimentationAccount>(tx, holder, &key(&self.group, account))?;
                let workspace = child::<ExperimentationWorkspace>(tx, account, &workspace.to_lowercase())?;
                match project {
                    Some(project) => child::<ExperimentationProject>(tx, workspace, &project.to_lowercase()),
                    None => only_project(tx, workspace),
                }
            }
        }?;
        match authorise(tx, actor, id, permission) {
            Err(error) if error.kind == ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(error),
            Ok(()) => Ok(id),
        }
    }

    /// The address of the scope, `/subscriptions/...`, as it is written in answers.
    pub(crate) fn path(&self) -> String {
        let Scope { subscription, group, place } = self;
        let group = format!("/subscriptions/{subscription}/resourceGroups/{group}");
        match place {
            Place::Workspace { name } => {
                format!("{group}/providers/Microsoft.MachineLearningServices/workspaces/{name}")
            }
            Place::Project { account, workspace, project } => {
                let workspace = format!(
                    "{group}/providers/Microsoft.MachineLearningExperimentation/accounts/{account}/workspaces/{workspace}"
                );
                match project {
                    Some(project) => format!("{workspace}/projects/{project}"),
                    None => workspace,
                }
            }
            Place::Hosting { account } => format!("{group}/accounts/{account}"),
        }
    }
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
        Err(error) if error.kind == ErrorKind::NotFound => Err(unknown()),
        Err(error) => Err(error),
        Ok(()) => Ok(id),
    }
}

/// What a resource of a resource group is found by among those of its kind and holder.
pub(crate) fn key(group: &str, name: &str) -> String {
    format!("{}/{}", group.to_lowercase(), name.to_lowercase())
}

fn child<K: DataKind>(tx: &mut Tx<'_>, parent: Id, name: &str) -> Result<Id> {
    tx.child_by_name::<K>(parent, name)?.map(|node| node.id).ok_or_else(missing)
}

fn only_project(tx: &mut Tx<'_>, workspace: Id) -> Result<Id> {
    let two = Page { take: 2, ..Page::ALL };
    match tx.children::<ExperimentationProject>(workspace, two)?.as_slice() {
        [project] => Ok(project.id),
        [] => Err(missing()),
        _ => Err(Error::not_found("the workspace has several projects")
            .hint("name one: `.../workspaces/WORKSPACE/projects/PROJECT/...`")
            .code("ResourceNotFound")),
    }
}

fn missing() -> Error {
    Error::not_found("there is no such workspace, project or account in the resource group")
        .code("ResourceNotFound")
}

/// Brings the literals of Azure's addresses into one spelling, to the end of the scope, and leaves names, and what services add after it,
/// as they are. Of the control plane, all literals are brought into it.
pub fn normalise<B>(mut request: Request<B>) -> Request<B> {
    if let Some(path) = spelled(request.uri().path()) {
        let uri = match request.uri().query() {
            Some(query) => format!("{path}?{query}").parse::<Uri>(),
            None => path.parse(),
        };
        // What was a valid address is one still; if not, the router says that it does not exist.
        if let Ok(uri) = uri {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Addresses without a scope, after some of which an id follows.
const UNSCOPED: [&str; 9] = [
    "/artifact/v1.0/workspaces",
    "/content/v1.0/meta/alive",
    "/content/v1.0/meta/ping",
    "/content/v1.0/meta/version",
    "/datastore/v1.0/meta/alive",
    "/datastore/v1.0/meta/ping",
    "/datastore/v1.0/meta/version",
    "/discovery",
    "/metadata/endpoints",
];

/// An address without a scope in the spelling of the routes; none for others.
fn spelled_unscoped(path: &str) -> Option<String> {
    UNSCOPED.into_iter().find_map(|route| {
        let (start, rest) = path.split_at_checked(route.len())?;
        let fits = start.eq_ignore_ascii_case(route) && (rest.is_empty() || rest.starts_with('/'));
        fits.then(|| format!("{route}{rest}"))
    })
}

/// The path in the spelling of the routes; none for what is no address of Azure's.
fn spelled(path: &str) -> Option<String> {
    if let Some(path) = spelled_unscoped(path) {
        return Some(path);
    }
    // `azureml-core` 1.61 puts a slash between the control plane's address, which ends with one, and the path of a compute.
    let mut segments = path.strip_prefix('/')?.trim_start_matches('/').split('/').peekable();
    let mut out = String::with_capacity(path.len());
    let mut push = |segment: &str| {
        out.push('/');
        out.push_str(segment);
    };
    let mut first = segments.peek()?.to_lowercase();
    // Where `azureml-core` 1.61 reads computes: the control plane's address, below `/rp/workspaces` of what discovery calls `api`.
    if first == "rp" {
        let below = segments.nth(1)?;
        first = segments.peek()?.to_lowercase();
        if !below.eq_ignore_ascii_case("workspaces") || first != "subscriptions" {
            return None;
        }
    }
    let is_control_plane = match first.as_str() {
        "subscriptions" | "providers" => true,
        "api" => {
            push(&first);
            segments.next();
            false
        }
        "mlflow" | "history" | "artifact" | "metric" | "content" | "notification" | "datastore"
        | "modelmanagement" => {
            push(&first);
            segments.next();
            push(&segments.next()?.to_lowercase());
            false
        }
        _ => return None,
    };
    if !is_control_plane && !segments.peek()?.eq_ignore_ascii_case("subscriptions") {
        return None;
    }
    // Literals and names take turns, `subscriptions/ID/resourceGroups/GROUP/providers/NAMESPACE/TYPE/NAME/...`; a namespace is a literal.
    while let Some(segment) = segments.next() {
        let literal = segment.to_lowercase();
        let next = segments.peek().copied();
        match literal.as_str() {
            "providers" => {
                push(&literal);
                segments.next().map(str::to_lowercase).as_deref().map(&mut push);
                continue;
            }
            // What accounts were called before.
            "teamaccounts" => push("accounts"),
            // The npm client of the experimentation service forgets a slash: `workspacesNAME/projects`.
            missed
                if missed.len() > "workspaces".len()
                    && missed.starts_with("workspaces")
                    && next.is_some_and(|next| next.eq_ignore_ascii_case("projects")) =>
            {
                push("workspaces");
                push(segment.get("workspaces".len()..)?);
                continue;
            }
            _ => push(&literal),
        }
        if let Some(name) = segments.next() {
            push(name);
        }
        let goes_on = is_control_plane
            || match literal.as_str() {
                "subscriptions" | "resourcegroups" => true,
                "accounts" | "teamaccounts" => {
                    first != "api"
                        && segments.peek().is_some_and(|next| next.to_lowercase().starts_with("workspaces"))
                }
                "workspaces" => segments.peek().is_some_and(|next| next.eq_ignore_ascii_case("projects")),
                _ => false,
            };
        if !goes_on {
            break;
        }
    }
    segments.for_each(push);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &str =
        "/subscriptions/A1/resourcegroups/My/providers/microsoft.machinelearningservices/workspaces/Ws";
    const PROJECT: &str = "/subscriptions/A1/resourcegroups/My/providers/microsoft.machinelearningexperimentation/accounts/Acc/workspaces/Ws/projects/Pr";

    fn path(text: &str) -> String {
        normalise(Request::get(text).body(()).unwrap()).uri().to_string()
    }

    fn written(lower: &str) -> String {
        lower
            .replace("resourcegroups", "resourceGroups")
            .replace("microsoft.machinelearningservices", "Microsoft.MachineLearningServices")
            .replace("microsoft.machinelearningexperimentation", "Microsoft.MachineLearningExperimentation")
    }

    #[test]
    fn the_control_plane_has_all_literals_in_lower_case_and_names_keep_theirs() {
        for (sent, routed) in [
            ("/Subscriptions".to_owned(), "/subscriptions".to_owned()),
            (
                format!("{}?api-version=X", written(SERVICES).replace("sub", "Sub")),
                format!("{SERVICES}?api-version=X"),
            ),
            (format!("{}/listKeys", written(SERVICES)), format!("{SERVICES}/listkeys")),
            (
                format!("{}/Computes/Cpu/listKeys", written(SERVICES)),
                format!("{SERVICES}/computes/Cpu/listkeys"),
            ),
            (format!("/rp/Workspaces{}/computes", written(SERVICES)), format!("{SERVICES}/computes")),
            (format!("http://localhost/{}/computes/c", written(SERVICES)), format!("{SERVICES}/computes/c")),
            (written(PROJECT), PROJECT.to_owned()),
            (written(PROJECT).replace("/accounts", "/teamAccounts"), PROJECT.to_owned()),
            (
                "/subscriptions/A1/providers/Microsoft.MachineLearningCompute/operationalizationClusters"
                    .to_owned(),
                "/subscriptions/A1/providers/microsoft.machinelearningcompute/operationalizationclusters"
                    .to_owned(),
            ),
            (
                "/providers/Microsoft.MachineLearningCompute/Operations".to_owned(),
                "/providers/microsoft.machinelearningcompute/operations".to_owned(),
            ),
        ] {
            assert_eq!(path(&sent), routed);
        }
    }

    #[test]
    fn the_slash_that_a_client_forgets_is_put_back() {
        let sent = written(PROJECT).replace("workspaces/Ws/projects/Pr", "workspacesWs1/projects");
        assert_eq!(path(&sent), PROJECT.replace("Ws/projects/Pr", "Ws1/projects"));
    }

    #[test]
    fn services_have_what_follows_the_scope_as_it_was_sent() {
        for (prefix, scope, rest) in [
            ("/mlflow/v1.0", SERVICES, "/api/2.0/mlflow/runs/Get"),
            ("/history/v1.0", SERVICES, "/Experiments/Leaves/runs:Query"),
            ("/history/v1.0", PROJECT, "/runs/R1/Artifacts"),
            ("/artifact/v1.0", PROJECT, "/artifacts/contentinfo/ExperimentRun/r/outputs/A%20B"),
            ("/artifact/v2.0", SERVICES, "/artifacts/ExperimentRun/dcid.R/Workspaces/x"),
            ("/notification/v1.0", PROJECT, "/users/U/Jobs"),
            ("/modelmanagement/v1.0", SERVICES, "/Models/M"),
            ("/api", "/subscriptions/A1/resourcegroups/My/accounts/Acc", "/Models/M?Name=x"),
            ("/api", "/subscriptions/A1/resourcegroups/My/accounts/Acc", "/workspaces/W"),
        ] {
            let prefix_sent = prefix.replace("history", "History");
            assert_eq!(
                path(&format!("{prefix_sent}{}{rest}", written(scope))),
                format!("{prefix}{scope}{rest}")
            );
        }
    }

    #[test]
    fn addresses_without_a_scope_in_any_case() {
        for (sent, routed) in [
            ("/artifact/v1.0/Workspaces/A-b?DryRun=x", "/artifact/v1.0/workspaces/A-b?DryRun=x"),
            ("/Content/v1.0/Meta/Ping", "/content/v1.0/meta/ping"),
            ("/Datastore/V1.0/meta/Version", "/datastore/v1.0/meta/version"),
            ("/Discovery", "/discovery"),
            ("/Metadata/Endpoints", "/metadata/endpoints"),
            ("/DiscoveryOf/X", "/DiscoveryOf/X"),
        ] {
            assert_eq!(path(sent), routed);
        }
    }

    #[test]
    fn other_addresses_are_left_alone() {
        for other in [
            "/api/2.0/mlflow/Runs",
            "/",
            "/mlflow/v1.0/X",
            "/api/Workspaces/x",
            "/customvision/v3.0/Training",
            "/history/v1.0",
            "/rp",
            "/rp/workspaces/Providers",
            "/rp/accounts/Subscriptions/x",
        ] {
            assert_eq!(path(other), other);
        }
    }

    #[test]
    fn a_scope_is_read_from_the_parts_of_a_path_and_written_back() {
        let of = |parts: &[(&str, &str)]| {
            let given = [("subscription", "S"), ("group", "G")];
            let parts =
                given.iter().chain(parts).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Scope::of(&parts.collect()).map(|scope| scope.path())
        };
        let group = "/subscriptions/S/resourceGroups/G";
        let workspace = format!("{group}/providers/Microsoft.MachineLearningServices/workspaces/W");
        assert_eq!(of(&[("workspace_name", "W")]), Some(workspace.clone()));
        assert_eq!(of(&[("workspace_name", "W"), ("project", "P")]), Some(workspace));
        let experimentation =
            format!("{group}/providers/Microsoft.MachineLearningExperimentation/accounts/A/workspaces/W");
        assert_eq!(of(&[("account", "A"), ("workspace_name", "W")]), Some(experimentation.clone()));
        assert_eq!(
            of(&[("account", "A"), ("workspace_name", "W"), ("project", "P")]),
            Some(format!("{experimentation}/projects/P"))
        );
        assert_eq!(of(&[("account", "A")]), Some(format!("{group}/accounts/A")));
        assert_eq!(of(&[]), None);
        assert_eq!(Scope::of(&HashMap::new()), None);
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_brought_into_one_spelling_once(text in "(/[a-zA-Z.:0-9]{0,12}|/subscriptions|/providers|/workspaces|/workspacesX|/accounts|/projects|/history|/rp|/rp/workspaces){1,12}") {
            let once = spelled(&text).unwrap_or_else(|| text.clone());
            let again = spelled(&once).unwrap_or_else(|| once.clone());
            proptest::prop_assert_eq!(again, once.clone());
            proptest::prop_assert!(!once.contains("//") || text.contains("//") || text.ends_with('/'));
        }
    }
}
