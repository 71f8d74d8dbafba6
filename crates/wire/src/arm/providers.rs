//! The resource providers: their namespaces, versions, types and operations.

use axum::Json;
use habeas_access::Permission;
use habeas_core::{Error, Result as CoreResult};
use serde_json::{Value, json};

use super::call::Call;
use super::errors::Result;
use crate::scope::holder;

/// A resource provider of Azure's control plane.
#[derive(Debug)]
pub(super) struct Provider {
    /// Its namespace, as it is written in ids.
    pub(super) namespace: &'static str,
    /// Its name, as people read it.
    title: &'static str,
    /// The versions whose shapes are answered, oldest first: those that its clients send.
    pub(super) versions: &'static [&'static str],
    /// Its types, with the operations on each besides read, write and delete.
    types: &'static [(&'static str, &'static [&'static str])],
}

/// Accounts, workspaces and projects of 2017.
pub(super) const EXPERIMENTATION: Provider = Provider {
    namespace: "Microsoft.MachineLearningExperimentation",
    title: "Microsoft Machine Learning Experimentation",
    versions: &["2017-05-01-preview"],
    types: &[("accounts", &[]), ("accounts/workspaces", &[]), ("accounts/workspaces/projects", &[])],
};

/// Hosting accounts. `amlrealtimeai` asks in the version of its data plane, 2018-04-01-preview.
pub(super) const MODEL_MANAGEMENT: Provider = Provider {
    namespace: "Microsoft.MachineLearningModelManagement",
    title: "Microsoft Machine Learning Model Management",
    versions: &["2017-09-01-preview", "2018-04-01-preview"],
    types: &[("accounts", &[])],
};

/// Operationalization clusters.
pub(super) const COMPUTE: Provider = Provider {
    namespace: "Microsoft.MachineLearningCompute",
    title: "Microsoft Machine Learning Compute",
    versions: &["2017-06-01-preview", "2017-08-01-preview"],
    types: &[(
        "operationalizationClusters",
        &["listKeys/action", "checkSystemServicesUpdatesAvailable/action", "updateSystemServices/action"],
    )],
};

/// Workspaces and computes.
pub(super) const SERVICES: Provider = Provider {
    namespace: "Microsoft.MachineLearningServices",
    title: "Microsoft Machine Learning Services",
    versions: &[
        "2018-03-01-preview",
        "2018-11-19",
        "2019-05-01",
        "2019-06-01",
        "2019-11-01",
        "2020-01-01",
        "2020-02-02",
        "2020-03-01",
        "2020-04-01",
        "2020-04-01-preview",
        "2020-06-01",
        "2020-08-01",
        "2021-04-01",
        "2022-05-01",
        "2022-12-01",
    ],
    types: &[
        ("workspaces", &["listKeys/action", "resyncKeys/action", "diagnose/action"]),
        (
            "workspaces/computes",
            &["listKeys/action", "listNodes/action", "start/action", "stop/action", "restart/action"],
        ),
    ],
};

/// All of them.
pub(super) const PROVIDERS: [&Provider; 4] = [&EXPERIMENTATION, &MODEL_MANAGEMENT, &COMPUTE, &SERVICES];

/// The versions of subscriptions, resource groups and providers: those of Azure's client packages of these years.
const RESOURCES: [&str; 25] = [
    "2015-11-01",
    "2016-02-01",
    "2016-06-01",
    "2016-09-01",
    "2017-05-10",
    "2018-02-01",
    "2018-05-01",
    "2018-06-01",
    "2019-03-01",
    "2019-05-01",
    "2019-05-10",
    "2019-06-01",
    "2019-07-01",
    "2019-08-01",
    "2019-10-01",
    "2019-11-01",
    "2020-01-01",
    "2020-06-01",
    "2020-08-01",
    "2020-10-01",
    "2021-01-01",
    "2021-04-01",
    "2022-09-01",
    "2022-12-01",
    "2025-04-01",
];

impl Provider {
    /// The provider whose resources a path of the control plane is about.
    pub(super) fn of(path: &str) -> Option<&'static Provider> {
        let mut segments = path.split('/').skip_while(|segment| *segment != "providers");
        let namespace = segments.nth(1)?;
        PROVIDERS.into_iter().find(|provider| provider.namespace.eq_ignore_ascii_case(namespace))
    }

    /// The path of the provider below a subscription or group, as a route.
    pub(super) fn route(&self) -> String {
        format!("/providers/{}", self.namespace.to_lowercase())
    }
}

/// Whether a path is about a provider, and not about what it has.
fn is_about_provider(path: &str) -> bool {
    let mut rest = path.split('/').skip_while(|segment| *segment != "providers").skip(2);
    matches!((rest.next(), rest.next()), (None | Some("register"), None))
}

/// The version that a request asks for, if it is one that is answered at this path. About providers `azure-mgmt-resource` asks in one of the
/// control plane's own, and `azure-cli-ml` in one of the provider's.
pub(super) fn version(
    provider: Option<&Provider>,
    path: &str,
    asked: Option<&str>,
) -> CoreResult<&'static str> {
    let of_provider = provider.map_or(&[][..], |provider| provider.versions);
    let is_common = provider.is_none() || is_about_provider(path);
    let common = if is_common { &RESOURCES[..] } else { &[] };
    let known: Vec<&'static str> = of_provider.iter().chain(common).copied().collect();
    let hint = || format!("send one of {}", known.join(", "));
    let Some(asked) = asked else {
        return Err(Error::invalid("the query parameter `api-version` is missing")
            .hint(hint())
            .code("MissingApiVersionParameter"));
    };
    known.iter().copied().find(|version| version.eq_ignore_ascii_case(asked)).ok_or_else(|| {
        Error::invalid("this `api-version` is not served").hint(hint()).code("InvalidApiVersionParameter")
    })
}

fn provider(call: &Call) -> CoreResult<&'static Provider> {
    call.provider.ok_or_else(|| Error::not_found("there is no such resource provider"))
}

/// `Operations_List`.
pub(super) async fn operations(call: Call) -> Result<Json<Value>> {
    let provider = provider(&call)?;
    let mut operations = Vec::new();
    for (name, others) in provider.types {
        for operation in ["read", "write", "delete"].iter().chain(*others) {
            operations.push(json!({
                "name": format!("{}/{name}/{operation}", provider.namespace),
                "display": {
                    "provider": provider.title,
                    "resource": name,
                    "operation": operation,
                    "description": format!("{operation} of {name}"),
                },
            }));
        }
    }
    Ok(Json(json!({ "value": operations })))
}

fn shape(provider: &Provider, subscription: &str) -> Value {
    let types = provider
        .types
        .iter()
        .map(|(name, _)| json!({ "resourceType": name, "locations": [], "apiVersions": provider.versions }));
    json!({
        "id": format!("/subscriptions/{subscription}/providers/{}", provider.namespace),
        "namespace": provider.namespace,
        "registrationState": "Registered",
        "registrationPolicy": "RegistrationFree",
        "resourceTypes": types.collect::<Vec<_>>(),
    })
}

async fn allowed(call: &Call) -> Result<String> {
    let (actor, subscription) = (call.actor, call.part("subscription").to_owned());
    let read = move |tx: &mut habeas_store::Tx<'_>| holder(tx, &actor, &subscription, Permission::Read);
    Ok(call.app.store().read(read).await?.to_string())
}

/// `Providers_List`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let subscription = allowed(&call).await?;
    let providers = PROVIDERS.map(|provider| shape(provider, &subscription));
    Ok(Json(json!({ "value": providers })))
}

/// `Providers_Get`, and `Providers_Register`: `azure-cli-ml` registers before it makes anything. All are registered, always.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let subscription = allowed(&call).await?;
    Ok(Json(shape(provider(&call)?, &subscription)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_about_one_provider() {
        let of = |path: &str| Provider::of(path).map(|provider| provider.namespace);
        assert_eq!(
            of("/subscriptions/x/providers/microsoft.machinelearningcompute/y"),
            Some(COMPUTE.namespace)
        );
        assert_eq!(of("/providers/microsoft.machinelearningservices/operations"), Some(SERVICES.namespace));
        for (path, expected) in [
            ("/subscriptions/x/providers/y", true),
            ("/subscriptions/x/providers/y/register", true),
            ("/subscriptions/x/providers/y/workspaces", false),
            ("/subscriptions/x/resourcegroups/g/providers/y/workspaces/register", false),
        ] {
            assert_eq!(is_about_provider(path), expected, "{path}");
        }
        for other in ["/subscriptions/providers", "/subscriptions/x/providers/microsoft.other/y", "/"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
