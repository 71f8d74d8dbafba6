//! One spelling of the literals after the scope: they are matched in any case, and names keep theirs.

use axum::http::{Request, Uri};

/// What follows the scope, with `{}` for any one part and `{*}` for any rest; the first that fits is meant.
const ROUTES: [&str; 40] = [
    "artifacts/metadata",
    "artifacts/metadata/{}/{}/{*}",
    "artifacts/origins/{}/containers/{}",
    "artifacts/origins/{}/containers/{}/{*}",
    "artifacts/content/{}/{}/{*}",
    "artifacts/contentinfo/{}/{}/{*}",
    "artifacts/write/{}/{}/{*}",
    "artifacts/prefix/contentinfo/{}/{}",
    "artifacts/prefix/contentinfo/{}/{}/{*}",
    "artifacts/batch/metadata/{}/{}",
    "artifacts/batch/ingest/containersas/{}/{}",
    "artifacts/batch/{}/{}",
    "artifacts/asset/{}/{}/{*}",
    "artifacts/{}/{}",
    "artifacts/{}/{}/{*}",
    "assets",
    "assets/name/{}",
    "assets/id/{}",
    "assets/name/{}/versions",
    "assets/id/{}/versions",
    "assets/name/{}/versions/{}",
    "assets/id/{}/versions/{}",
    "snapshots/latest/metadata",
    "snapshots/getblob",
    "snapshots/diff",
    "snapshots/uri/{}",
    "snapshots/{}",
    "snapshots/{}/metadata",
    "snapshots/{}/fileslocation",
    "snapshots/{}/zip",
    "snapshots/{}/sas",
    "snapshots/{}/storageurls",
    "datastores",
    "datastores/{}",
    "default",
    "default/{}",
    "users/{}/jobs",
    "users/{}/jobs/{}",
    "tasks",
    "tasks/{}",
];

/// What follows a run's address in run history.
const RUN_ROUTES: [&str; 13] = [
    "artifacts",
    "artifacts/path",
    "artifacts/path/{*}",
    "artifacts/metadata",
    "artifacts/metadata/{*}",
    "artifacturi",
    "artifacts/artifacturi",
    "artifacts/artifacturi/{*}",
    "artifacts/contentinfo",
    "artifacts/contentinfo/{*}",
    "artifacts/prefix/contentinfo",
    "artifacts/prefix/contentinfo/{*}",
    "artifacts/batch/metadata",
];

/// A run's address in run history.
const RUNS: [&str; 3] = ["runs/{}", "experiments/{}/runs/{}", "experimentids/{}/runs/{}"];

/// Brings what follows the scope into the spelling of the routes. The prefix and the scope are in it already: see
/// [`crate::scope::normalise`].
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

fn spelled(path: &str) -> Option<String> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let service = *segments.first()?;
    if !matches!(service, "artifact" | "content" | "datastore" | "notification" | "history") {
        return None;
    }
    // `SERVICE/VERSION/subscriptions/ID/resourcegroups/GROUP/providers/NAMESPACE/`, then types and names.
    let mut end = 8;
    while matches!(segments.get(end).copied(), Some("accounts" | "workspaces" | "projects")) {
        end += 2;
    }
    let (scope, rest) = segments.split_at_checked(end)?;
    // `azureml-core` puts a slash, or two, after a prefix.
    let rest = rest.join("/");
    let rest = rest.trim_end_matches('/');
    let fixed = if service == "history" {
        RUNS.iter()
            .flat_map(|run| RUN_ROUTES.iter().map(move |route| format!("{run}/{route}")))
            .find_map(|route| respelled(rest, &route))
    } else {
        ROUTES.iter().find_map(|route| respelled(rest, route))
    };
    Some(format!("/{}/{}", scope.join("/"), fixed?))
}

/// The path with the literals of the route, if it fits.
fn respelled(path: &str, route: &str) -> Option<String> {
    let mut parts = path.split('/');
    let mut fixed: Vec<&str> = Vec::new();
    for literal in route.split('/') {
        match literal {
            "{*}" => {
                fixed.extend(parts.by_ref());
                return Some(fixed.join("/")).filter(|_| fixed.len() >= route.split('/').count());
            }
            "{}" => fixed.push(parts.next()?),
            literal => {
                parts.next().filter(|part| part.eq_ignore_ascii_case(literal))?;
                fixed.push(literal);
            }
        }
    }
    parts.next().is_none().then(|| fixed.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_after_the_scope_in_any_case() {
        let services =
            "/subscriptions/A/resourcegroups/G/providers/microsoft.machinelearningservices/workspaces/W";
        let project = "/subscriptions/A/resourcegroups/G/providers/microsoft.machinelearningexperimentation/accounts/A/workspaces/W/projects/P";
        for scope in [services, project, &format!("{services}/projects/P")] {
            for (prefix, sent, routed) in [
                (
                    "/artifact/v1.0",
                    "Artifacts/Origins/ExperimentRun/Containers/R",
                    "artifacts/origins/ExperimentRun/containers/R",
                ),
                (
                    "/artifact/v2.0",
                    "artifacts/ContentInfo/ExperimentRun/dcid.R/Metadata/X.txt",
                    "artifacts/contentinfo/ExperimentRun/dcid.R/Metadata/X.txt",
                ),
                (
                    "/artifact/v2.0",
                    "artifacts/prefix/contentinfo/ExperimentRun/dcid.R/outputs//",
                    "artifacts/prefix/contentinfo/ExperimentRun/dcid.R/outputs",
                ),
                (
                    "/artifact/v2.0",
                    "artifacts/prefix/contentinfo/ExperimentRun/dcid.R/",
                    "artifacts/prefix/contentinfo/ExperimentRun/dcid.R",
                ),
                ("/artifact/v1.0", "Assets/Name/N", "assets/name/N"),
                ("/content/v2.0", "Snapshots/GetBlob", "snapshots/getblob"),
                ("/content/v2.0", "snapshots/Ab/ZIP", "snapshots/Ab/zip"),
                ("/notification/v1.0", "Users/U/Jobs", "users/U/jobs"),
                ("/notification/v1.0", "tasks", "tasks"),
                (
                    "/history/v1.0",
                    "Experiments/E/Runs/R/Artifacts/Batch/Metadata",
                    "experiments/E/runs/R/artifacts/batch/metadata",
                ),
                ("/history/v1.0", "runs/R/ArtifactUri", "runs/R/artifacturi"),
            ] {
                assert_eq!(
                    spelled(&format!("{prefix}{scope}/{sent}")),
                    Some(format!("{prefix}{scope}/{routed}")),
                    "{sent}"
                );
            }
            assert_eq!(spelled(&format!("/history/v1.0{scope}/Runs/R")), None);
        }
        assert_eq!(spelled("/subscriptions/A"), None);
        assert_eq!(spelled("/artifact/v1.0/workspaces/X"), None);
    }
}
