//! Azure's control plane: subscriptions, resource groups, and the workspaces of `Microsoft.MachineLearningServices`.
//!
//! Source: the service's published description (`Azure/azure-rest-api-specs`, machinelearningservices, 2018-03-01-preview to 2020-08-01) and
//! what its clients send. A subscription is a holder (see [`crate::scope`]). A resource group is the name that its workspaces share; it
//! is there while they are. Computes are not served: this server runs nobody's machines.

mod call;
mod errors;
mod subscriptions;
mod workspaces;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, delete, get, patch, post, put};

use crate::App;
use crate::scope::WORKSPACE as SCOPE;
use call::named;
pub use errors::Failure;

/// The routes, whose literals are in lower case: mind [`crate::scope::normalise`].
pub fn router(app: App) -> Router {
    let on = |name: &'static str, route: MethodRouter<App>| named(&app, name, route);
    let provider = "/subscriptions/{subscription}/providers/microsoft.machinelearningservices";
    let group = "/subscriptions/{subscription}/resourcegroups/{group}";
    Router::new()
        .route("/subscriptions", on("Subscriptions_List", get(subscriptions::list)))
        .route("/subscriptions/{subscription}", on("Subscriptions_Get", get(subscriptions::show)))
        .route(
            "/subscriptions/{subscription}/resourcegroups",
            on("ResourceGroups_List", get(subscriptions::groups)),
        )
        .route(group, on("ResourceGroups_Get", get(subscriptions::group)))
        .route(
            "/providers/microsoft.machinelearningservices/operations",
            on("Operations_List", get(workspaces::operations)),
        )
        .route(
            &format!("{provider}/workspaces"),
            on("Workspaces_ListBySubscription", get(workspaces::of_subscription)),
        )
        .route(
            &format!("{group}/providers/microsoft.machinelearningservices/workspaces"),
            on("Workspaces_ListByResourceGroup", get(workspaces::of_group)),
        )
        .route(
            SCOPE,
            on("Workspaces_Get", get(workspaces::show))
                .merge(on("Workspaces_CreateOrUpdate", put(workspaces::put)))
                .merge(on("Workspaces_Update", patch(workspaces::update)))
                .merge(on("Workspaces_Delete", delete(workspaces::delete))),
        )
        .route(&format!("{SCOPE}/listkeys"), on("Workspaces_ListKeys", post(workspaces::keys)))
        .route(&format!("{SCOPE}/resynckeys"), on("Workspaces_ResyncKeys", post(workspaces::resync)))
        .layer(from_fn(call::label))
        .with_state(app)
}
