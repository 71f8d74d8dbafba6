//! Microsoft's Custom Vision API: training 1.2 to 3.4-preview.
//!
//! Every operation is registered with the name Microsoft gives it; that name stands in the caller's telemetry. Operations that are
//! not served answer 501 in the protocol's envelope.

mod account;
mod addresses;
mod caller;
mod change;
mod create;
mod dataset;
pub mod domains;
pub mod errors;
mod exports;
pub mod filter;
mod iterations;
pub mod limits;
mod list;
mod operation;
mod predictions;
mod projection;
mod projects;
mod query;
mod regions;
mod tags;
mod transfer;
mod upload;
pub mod version;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, Uri};
use axum::routing::{delete, get, patch, post};

use crate::App;
pub use addresses::thumbnail_address;
use operation::named;
use predictions::{Ask, Source, Task};

/// The largest request: 64 images of 6 MB in base64, and room for the rest.
const LARGEST_BODY: usize = 560 * 1024 * 1024;

/// The routes. Mind [`normalise`].
pub fn router(app: App) -> Router {
    let training = Router::new()
        .route("/account", named(&app, "GetAccountInfo", get(account::show)))
        .route("/domains", named(&app, "GetDomains", get(projects::domains)))
        .route("/domains/{domain}", named(&app, "GetDomain", get(projects::domain)))
        .route(
            "/projects",
            named(&app, "GetProjects", get(projects::list)).merge(named(
                &app,
                "CreateProject",
                post(projects::create),
            )),
        )
        .route("/projects/import", named(&app, "ImportProject", post(transfer::import)))
        .route(
            // Its path up to 2.2.
            "/{project}/images/{image}/regionproposals",
            named(&app, "GetImageRegionProposals", post(predictions::proposals)),
        )
        .nest("/projects/{project}", project(&app));
    Router::new()
        .nest("/customvision/{version}/training", training)
        .nest("/customvision/{version}/prediction", prediction(&app))
        .route("/blobs/{project}/{blob}", get(addresses::serve))
        .route("/blobs/exports/{export}/{digest}", get(exports::serve))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(app)
}

fn project(app: &App) -> Router<App> {
    Router::new()
        .route(
            "/",
            named(app, "GetProject", get(projects::show))
                .merge(named(app, "UpdateProject", patch(projects::update)))
                .merge(named(app, "DeleteProject", delete(projects::delete))),
        )
        .route("/artifacts", named(app, "GetArtifact", get(addresses::artifact)))
        .route(
            "/dataset",
            named(app, "ExportDataset", get(dataset::export)).merge(named(
                app,
                "ImportDataset",
                post(dataset::import).layer(DefaultBodyLimit::disable()),
            )),
        )
        .route("/export", named(app, "ExportProject", get(transfer::export)))
        .route(
            "/images",
            named(app, "GetImages", get(list::all))
                .merge(named(app, "CreateImagesFromData", post(create::from_data)))
                .merge(named(app, "DeleteImages", delete(change::delete))),
        )
        .route("/images/count", named(app, "GetImageCount", get(list::count)))
        .route("/images/files", named(app, "CreateImagesFromFiles", post(create::from_files)))
        .route("/images/id", named(app, "GetImagesByIds", get(list::by_ids)))
        .route("/images/metadata", named(app, "UpdateImageMetadata", post(change::metadata)))
        .route(
            "/images/predictions",
            named(app, "CreateImagesFromPredictions", post(predictions::from_predictions)),
        )
        .route(
            "/images/regions",
            named(app, "CreateImageRegions", post(regions::create)).merge(named(
                app,
                "DeleteImageRegions",
                delete(regions::delete),
            )),
        )
        .route("/images/suggested", named(app, "QuerySuggestedImages", post(predictions::suggested)))
        .route(
            "/images/suggested/count",
            named(app, "QuerySuggestedImageCount", post(predictions::suggested_count)),
        )
        .route("/images/tagged", named(app, "GetTaggedImages", get(list::tagged)))
        .route("/images/tagged/count", named(app, "GetTaggedImageCount", get(list::tagged_count)))
        .route(
            "/images/tags",
            named(app, "CreateImageTags", post(change::tag)).merge(named(
                app,
                "DeleteImageTags",
                delete(change::untag),
            )),
        )
        .route("/images/untagged", named(app, "GetUntaggedImages", get(list::untagged)))
        .route("/images/untagged/count", named(app, "GetUntaggedImageCount", get(list::untagged_count)))
        .route("/images/urls", named(app, "CreateImagesFromUrls", post(predictions::from_urls)))
        .route(
            "/images/{image}/regionproposals",
            named(app, "GetImageRegionProposals", post(predictions::proposals)),
        )
        .route("/iterations", named(app, "GetIterations", get(iterations::list)))
        .route(
            "/iterations/{iteration}",
            named(app, "GetIteration", get(iterations::show))
                .merge(named(app, "UpdateIteration", patch(iterations::update)))
                .merge(named(app, "DeleteIteration", delete(iterations::delete))),
        )
        .route(
            "/iterations/{iteration}/export",
            named(app, "GetExports", get(exports::list))
                .merge(named(app, "ExportIteration", post(exports::create)))
                .merge(named(app, "DeleteExport", delete(exports::delete))),
        )
        .route(
            "/iterations/{iteration}/performance",
            named(app, "GetIterationPerformance", get(iterations::performance)),
        )
        .route(
            "/iterations/{iteration}/performance/images",
            named(app, "GetImagePerformances", get(iterations::image_performances)),
        )
        .route(
            "/iterations/{iteration}/performance/images/count",
            named(app, "GetImagePerformanceCount", get(iterations::image_performance_count)),
        )
        .route(
            "/iterations/{iteration}/publish",
            named(app, "PublishIteration", post(iterations::publish)).merge(named(
                app,
                "UnpublishIteration",
                delete(iterations::unpublish),
            )),
        )
        .route("/predictions", named(app, "DeletePrediction", delete(predictions::delete)))
        .route("/predictions/query", named(app, "QueryPredictions", post(predictions::query)))
        .route(
            "/quicktest/image",
            named(
                app,
                "QuickTestImage",
                post(|call, request| predictions::quick_test(Source::Body, call, request)),
            ),
        )
        .route(
            "/quicktest/url",
            named(
                app,
                "QuickTestImageUrl",
                post(|call, request| predictions::quick_test(Source::Url, call, request)),
            ),
        )
        .route(
            "/tags",
            named(app, "GetTags", get(tags::list)).merge(named(app, "CreateTag", post(tags::create))),
        )
        .route(
            "/tags/{tag}",
            named(app, "GetTag", get(tags::show))
                .merge(named(app, "UpdateTag", patch(tags::update)))
                .merge(named(app, "DeleteTag", delete(tags::delete))),
        )
        .route("/tagsandregions/suggestions", named(app, "SuggestTagsAndRegions", post(predictions::suggest)))
        .route("/train", named(app, "TrainProject", post(iterations::train)))
}

/// The prediction API: by the name of a published iteration since 3.0, by id or default before.
fn prediction(app: &App) -> Router<App> {
    let by_name = |task: &str, source: &str| format!("/{{project}}/{task}/iterations/{{name}}/{source}");
    let mut router = Router::new();
    for (task, path, names) in [
        (Some(Task::Classify), by_name("classify", "image"), ["ClassifyImage", "ClassifyImageWithNoStore"]),
        (
            Some(Task::Classify),
            by_name("classify", "url"),
            ["ClassifyImageUrl", "ClassifyImageUrlWithNoStore"],
        ),
        (Some(Task::Detect), by_name("detect", "image"), ["DetectImage", "DetectImageWithNoStore"]),
        (Some(Task::Detect), by_name("detect", "url"), ["DetectImageUrl", "DetectImageUrlWithNoStore"]),
        (None, "/{project}/image".into(), ["PredictImage", "PredictImageWithNoStore"]),
        (None, "/{project}/url".into(), ["PredictImageUrl", "PredictImageUrlWithNoStore"]),
    ] {
        let source = if path.ends_with("url") { Source::Url } else { Source::Body };
        for (store, path, name) in
            [(true, path.clone(), names[0]), (false, format!("{path}/nostore"), names[1])]
        {
            let ask = Ask { task, source, store };
            let handler = post(move |call, request| predictions::predict(ask, call, request));
            router = router.route(&path, named(app, name, handler));
        }
    }
    router
}

/// Brings the fixed first segments of a path into lower case: clients write `Training` and `training`, and Azure matches either.
pub fn normalise<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path();
    let mut segments = path.splitn(5, '/');
    let (Some(""), Some(first), Some(version), Some(api)) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return request;
    };
    if !first.eq_ignore_ascii_case("customvision") {
        return request;
    }
    let mut fixed = format!("/customvision/{}/{}", version.to_lowercase(), api.to_lowercase());
    if let Some(rest) = segments.next() {
        fixed.push('/');
        fixed.push_str(rest.trim_end_matches('/'));
    }
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
    fn spellings_of_the_path_are_one() {
        let path = |text: &str| normalise(Request::get(text).body(()).unwrap()).uri().to_string();
        assert_eq!(
            path("/CustomVision/V3.3/Training/projects/AbC?x=Y"),
            "/customvision/v3.3/training/projects/AbC?x=Y"
        );
        assert_eq!(path("/customvision/v1.2/Training/projects/"), "/customvision/v1.2/training/projects");
        assert_eq!(path("/Other/V3.3/Training"), "/Other/V3.3/Training");
    }
}
