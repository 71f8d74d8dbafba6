//! Azure's control plane: subscriptions, resource groups, providers, and the resources of four providers of machine learning.
//!
//! Source: the services' published descriptions (`Azure/azure-rest-api-specs`: machinelearningexperimentation 2017-05-01-preview,
//! machinelearningcompute 2017-06-01-preview and 2017-08-01-preview, machinelearningservices 2018-03-01-preview to 2020-08-01), and what their
//! clients send. A subscription is a holder (see [`crate::scope`]). A resource group is the name that its resources share; it is there while
//! they are. Clusters and computes are records: this server runs nobody's machines.

mod body;
mod call;
mod clusters;
mod computes;
mod errors;
mod experimentation;
mod hosting;
mod inventory;
mod operations;
mod paging;
mod providers;
mod resource;
mod sizes;
mod subscriptions;
mod workspaces;

use axum::Router;
use axum::middleware::from_fn;
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};
use habeas_core::Error;
use habeas_core::kinds::{
    Compute, ExperimentationAccount, ExperimentationProject, ExperimentationWorkspace, HostingAccount,
    OperationalizationCluster, Workspace,
};

use crate::App;
use crate::caller::named;
use crate::scope::WORKSPACE;
pub use errors::Failure;
use providers::{COMPUTE, EXPERIMENTATION, MODEL_MANAGEMENT, PROVIDERS, SERVICES};
use resource::Resource;

const SUBSCRIPTION: &str = "/subscriptions/{subscription}";
const GROUP: &str = "/subscriptions/{subscription}/resourcegroups/{group}";

/// The names of the common operations of a type, which stand in the caller's telemetry.
struct Names {
    show: &'static str,
    put: &'static str,
    update: &'static str,
    delete: &'static str,
    list: &'static str,
}

macro_rules! names {
    ($type:literal, $list:literal) => {
        Names {
            show: concat!($type, "_Get"),
            put: concat!($type, "_CreateOrUpdate"),
            update: concat!($type, "_Update"),
            delete: concat!($type, "_Delete"),
            list: concat!($type, $list),
        }
    };
}

/// The routes, whose literals are in lower case: mind [`crate::scope::normalise`].
pub fn router(app: App) -> Router {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(&app, name, route);
    let in_group = |provider: &providers::Provider| format!("{GROUP}{}", provider.route());
    let below = |provider: &providers::Provider| format!("{SUBSCRIPTION}{}", provider.route());
    let experimentation = in_group(&EXPERIMENTATION);
    let accounts = format!("{experimentation}/accounts");
    let workspaces = format!("{accounts}/{{account}}/workspaces");
    let projects = format!("{workspaces}/{{workspace_name}}/projects");
    let clusters = format!("{}/operationalizationclusters", in_group(&COMPUTE));
    let hosting = format!("{}/accounts", in_group(&MODEL_MANAGEMENT));
    let services = in_group(&SERVICES);
    let mut router = Router::new()
        .route("/subscriptions", on("Subscriptions_List", get(subscriptions::list)))
        .route(SUBSCRIPTION, on("Subscriptions_Get", get(subscriptions::show)))
        .route(
            &format!("{SUBSCRIPTION}/resourcegroups"),
            on("ResourceGroups_List", get(subscriptions::groups)),
        )
        .route(
            GROUP,
            on("ResourceGroups_Get", get(subscriptions::group).head(subscriptions::check_group))
                .merge(on("ResourceGroups_CreateOrUpdate", put(subscriptions::put_group))),
        )
        .route(&format!("{SUBSCRIPTION}/resources"), on("Resources_List", get(inventory::list)))
        .route(&format!("{SUBSCRIPTION}/providers"), on("Providers_List", get(providers::list)))
        .merge(resources::<ExperimentationAccount>(
            &app,
            &accounts,
            &names!("Accounts", "_ListByResourceGroup"),
        ))
        .merge(resources::<ExperimentationWorkspace>(
            &app,
            &workspaces,
            &names!("Workspaces", "_ListByAccounts"),
        ))
        .merge(resources::<ExperimentationProject>(&app, &projects, &names!("Projects", "_ListByWorkspace")))
        .merge(resources::<HostingAccount>(
            &app,
            &hosting,
            &names!("HostingAccounts", "_ListByResourceGroup"),
        ))
        .merge(resources::<OperationalizationCluster>(
            &app,
            &clusters,
            &names!("OperationalizationClusters", "_ListByResourceGroup"),
        ))
        .merge(resources::<Workspace>(
            &app,
            &format!("{services}/workspaces"),
            &names!("Workspaces", "_ListByResourceGroup"),
        ))
        .merge(resources::<Compute>(
            &app,
            &format!("{WORKSPACE}/computes"),
            &names!("MachineLearningCompute", "_ListByWorkspace"),
        ))
        .merge(of_subscriptions(&app))
        .merge(actions(&app, &format!("{clusters}/{{cluster}}")));
    for provider in PROVIDERS {
        let (path, below) = (provider.route(), below(provider));
        router = router
            .route(&format!("{path}/operations"), on("Operations_List", get(providers::operations)))
            .route(&below, on("Providers_Get", get(providers::show)))
            .route(&format!("{below}/register"), on("Providers_Register", post(providers::show)))
            .route(
                &format!("{below}/checknameavailability"),
                on("CheckNameAvailability", post(subscriptions::check_availability)),
            )
            .route(
                &format!("{below}/operationsstatus/{{operation}}"),
                on("OperationsStatus_Get", get(operations::status)),
            )
            .route(
                &format!("{below}/operationresults/{{operation}}"),
                on("OperationResults_Get", get(operations::result)),
            );
    }
    router
        .route("/subscriptions/{subscription}/{*rest}", any(unknown))
        .route("/providers/{*rest}", any(unknown))
        .method_not_allowed_fallback(refused)
        .layer(from_fn(crate::caller::label))
        .with_state(app)
}

/// The common operations of a type, below the address of its list.
fn resources<R: Resource>(app: &App, list: &str, names: &Names) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    Router::new().route(list, on(names.list, get(resource::list::<R>))).route(
        &format!("{list}/{{{}}}", R::PART),
        on(names.show, get(resource::show::<R>))
            .merge(on(names.put, put(resource::put::<R>)))
            .merge(on(names.update, patch(resource::update::<R>)))
            .merge(on(names.delete, delete(resource::delete::<R>))),
    )
}

/// The lists over all groups of a subscription.
fn of_subscriptions(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    let list =
        |provider: &providers::Provider, name: &str| format!("{SUBSCRIPTION}{}/{name}", provider.route());
    Router::new()
        .route(
            &list(&EXPERIMENTATION, "accounts"),
            on("Accounts_List", get(resource::list::<ExperimentationAccount>)),
        )
        .route(
            &list(&MODEL_MANAGEMENT, "accounts"),
            on("HostingAccounts_List", get(resource::list::<HostingAccount>)),
        )
        .route(
            &list(&COMPUTE, "operationalizationclusters"),
            on(
                "OperationalizationClusters_ListBySubscriptionId",
                get(resource::list::<OperationalizationCluster>),
            ),
        )
        .route(
            &list(&SERVICES, "workspaces"),
            on("Workspaces_ListBySubscription", get(resource::list::<Workspace>)),
        )
        .route(&list(&SERVICES, "locations/{location}/usages"), on("Usages_List", get(computes::none)))
        .route(
            &list(&SERVICES, "locations/{location}/vmsizes"),
            on("VirtualMachineSizes_List", get(sizes::list)),
        )
        .route(&list(&SERVICES, "locations/{location}/quotas"), on("Quotas_List", get(computes::none)))
        .route(&list(&SERVICES, "workspaceskus"), on("ListSkus", get(computes::none)))
}

/// What is done with resources besides the common operations.
fn actions(app: &App, cluster: &str) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    let compute = format!("{WORKSPACE}/computes/{{compute}}");
    Router::new()
        .route(&format!("{WORKSPACE}/listkeys"), on("Workspaces_ListKeys", post(workspaces::keys)))
        .route(&format!("{WORKSPACE}/resynckeys"), on("Workspaces_ResyncKeys", post(workspaces::resync)))
        .route(&format!("{WORKSPACE}/diagnose"), on("Workspaces_Diagnose", post(workspaces::diagnose)))
        .route(
            &format!("{WORKSPACE}/checkcomputenameavailability"),
            on("Workspaces_CheckComputeNameAvailability", post(computes::check_name)),
        )
        .route(&compute, on("MachineLearningCompute_SystemUpdate", post(computes::system_update)))
        .route(&format!("{compute}/listkeys"), on("MachineLearningCompute_ListKeys", post(computes::keys)))
        .route(&format!("{compute}/listnodes"), on("MachineLearningCompute_ListNodes", post(computes::nodes)))
        .route(&format!("{compute}/start"), on("MachineLearningCompute_Start", post(computes::start)))
        .route(&format!("{compute}/stop"), on("MachineLearningCompute_Stop", post(computes::stop)))
        .route(&format!("{compute}/restart"), on("MachineLearningCompute_Restart", post(computes::start)))
        .route(
            &format!("{cluster}/listkeys"),
            on("OperationalizationClusters_ListKeys", post(clusters::keys)),
        )
        .route(
            &format!("{cluster}/checksystemservicesupdatesavailable"),
            on(
                "OperationalizationClusters_CheckSystemServicesUpdatesAvailable",
                post(clusters::check_update),
            ),
        )
        .route(
            &format!("{cluster}/updatesystemservices"),
            on("OperationalizationClusters_UpdateSystemServices", post(clusters::update_services)),
        )
        // Their names in 2017-06-01-preview.
        .route(
            &format!("{cluster}/checkupdate"),
            on("OperationalizationClusters_CheckUpdate", post(clusters::check_update)),
        )
        .route(
            &format!("{cluster}/updatesystem"),
            on("OperationalizationClusters_UpdateSystem", post(clusters::update_services)),
        )
}

async fn unknown() -> axum::response::Response {
    Failure(
        Error::not_found("there is no such type of resources, or no such operation")
            .code("InvalidResourceType"),
    )
    .into_response()
}

async fn refused() -> axum::response::Response {
    Failure(Error::invalid("this address does not take this method").code(errors::METHOD_NOT_ALLOWED))
        .into_response()
}
