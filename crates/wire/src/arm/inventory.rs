//! The resources of a subscription, whatever their type: so `Workspace.list` of `azureml-core` looks for workspaces.

use axum::Json;
use habeas_access::{Permission, authorise};
use habeas_core::kinds::{ExperimentationAccount, HostingAccount, OperationalizationCluster, Workspace};
use habeas_core::{Error, Id, Result as CoreResult};
use habeas_store::Tx;
use serde_json::Value;

use super::call::Call;
use super::errors::Result;
use super::paging;
use super::resource::{Brief, briefs};
use crate::scope::holder;

/// What is looked for, as `$filter` says it: `resourceType eq 'TYPE'`, `resourceGroup eq 'NAME'`, or both with `and` between.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    type_name: Option<String>,
    group: Option<String>,
}

impl Filter {
    fn parse(text: &str) -> CoreResult<Filter> {
        let mut filter = Filter::default();
        for clause in text.split(" and ").map(str::trim).filter(|clause| !clause.is_empty()) {
            let wrong = || {
                Error::invalid("`$filter` is not one that is understood here")
                    .hint("send resourceType eq 'TYPE', resourceGroup eq 'NAME', or both with `and` between")
                    .code("InvalidFilterInQueryString")
            };
            let (name, value) = clause.split_once(" eq ").ok_or_else(wrong)?;
            let value = value.trim().strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
            let place = match name.trim().to_lowercase().as_str() {
                "resourcetype" => &mut filter.type_name,
                "resourcegroup" => &mut filter.group,
                _ => return Err(wrong()),
            };
            let value = value.filter(|value| !value.contains('\'')).ok_or_else(wrong)?;
            if place.replace(value.to_lowercase()).is_some() {
                return Err(wrong());
            }
        }
        Ok(filter)
    }

    fn takes(&self, brief: &Brief) -> bool {
        let is = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| *wanted == text.to_lowercase())
        };
        is(&self.type_name, &brief.type_name) && is(&self.group, &brief.group)
    }
}

/// `Resources_List`: what stands in the groups of a subscription, without its properties.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let filter = Filter::parse(call.query("$filter").unwrap_or_default())?;
    let (actor, subscription) = (call.actor, call.part("subscription").to_owned());
    let mut found = call
        .app
        .store()
        .read(move |tx| {
            let holder = holder(tx, &actor, &subscription, Permission::Read)?;
            authorise(tx, &actor, holder, Permission::Read)?;
            all(tx, holder)
        })
        .await?;
    found.retain(|brief| filter.takes(brief));
    found.sort_by_key(|brief| brief.place);
    Ok(Json(paging::page(&call, &found, |brief| brief.place, |brief| Some(brief.shape.clone()))?))
}

fn all(tx: &mut Tx<'_>, holder: Id) -> CoreResult<Vec<Brief>> {
    let mut found = briefs::<Workspace>(tx, holder)?;
    found.extend(briefs::<ExperimentationAccount>(tx, holder)?);
    found.extend(briefs::<HostingAccount>(tx, holder)?);
    found.extend(briefs::<OperationalizationCluster>(tx, holder)?);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_as_clients_write_them() {
        let filter = |type_name: Option<&str>, group: Option<&str>| Filter {
            type_name: type_name.map(str::to_owned),
            group: group.map(str::to_owned),
        };
        let workspaces = "microsoft.machinelearningservices/workspaces";
        for (text, expected) in [
            ("", filter(None, None)),
            (
                "resourceType eq 'Microsoft.MachineLearningServices/workspaces'",
                filter(Some(workspaces), None),
            ),
            (
                "resourceGroup eq 'Trees' and resourceType eq 'Microsoft.MachineLearningServices/workspaces'",
                filter(Some(workspaces), Some("trees")),
            ),
        ] {
            assert_eq!(Filter::parse(text).unwrap(), expected, "{text}");
        }
        for bad in [
            "x",
            "name eq 'a'",
            "resourceType eq a",
            "resourceType eq 'a' or resourceType eq 'b'",
            "resourceType eq 'a' and resourceType eq 'b'",
            "resourceType ne 'a'",
        ] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
    }
}
