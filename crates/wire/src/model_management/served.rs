//! Which file a service answers from.
//!
//! It is the ONNX graph of its one model: the only file whose name ends with `.onnx`, or the only file of a model whose framework is said to
//! be ONNX. Services of anything else are kept as records, and so are those with an entry script: what it does before and after the model is a
//! part of what they answer. Of an image the protocol demands a driver program, whatever it is made of, so that it says nothing of the kind. An
//! endpoint answers from one of its versions.

use habeas_core::kinds::{ArtifactDoc, ContainerImage, ServiceDoc, ServiceVersion, Settings};
use habeas_core::{Error, Id, Node, Result};
use habeas_store::Tx;
use serde_json::Value;

use super::{content, models};
use crate::provenance::of_version;

/// The models that a service was deployed from: its image's and its own, and those of its versions.
pub(super) fn models_of(tx: &mut Tx<'_>, service: &ServiceDoc) -> Result<Vec<Id>> {
    let mut found = models_from(tx, service.image, &service.models)?;
    for version in service.versions.values() {
        found.extend(models_from(tx, version.image, &version.models)?);
    }
    Ok(found)
}

/// The models of an image, and these.
pub(super) fn models_from(tx: &mut Tx<'_>, image: Option<Id>, models: &[Id]) -> Result<Vec<Id>> {
    let mut found = match image {
        Some(image) => tx.get::<ContainerImage>(image)?.map(|image| image.doc.models).unwrap_or_default(),
        None => Vec::new(),
    };
    found.extend(models);
    Ok(found)
}

fn not_served(what: impl Into<String>) -> Error {
    Error::not_implemented(what)
        .hint("the service is kept as a record; what is answered from is one ONNX model whose file is stored on this server")
        .code("NotServed")
}

/// Whether a request of `azureml-core` to build the service's environment names an entry script (`InferenceConfig`). Without one it has the
/// models only.
fn has_entry_script(settings: &Settings) -> bool {
    let script =
        settings.get("environmentImageRequest").and_then(|request| request["driverProgram"].as_str());
    script.is_some_and(|script| !script.is_empty())
}

/// The run or logged model whose file a service answers from, or one of its versions, and that file, a graph. The error says why there is none.
pub(super) fn graph(
    tx: &mut Tx<'_>,
    service: &Node<ServiceDoc>,
    version: Option<&ServiceVersion>,
) -> Result<(Id, ArtifactDoc)> {
    if !cfg!(feature = "scoring") {
        return Err(Error::not_implemented("this server was built without scoring: it answers from no registered model")
            .hint("the service is kept as a record; a habeas that was built with the feature `scoring`, which is on by default, answers from it")
            .code("NotServed"));
    }
    let at = service.parent.unwrap_or(Id::NIL);
    let (image, own_models, settings) = match version {
        Some(version) => (version.image, &version.models, &version.settings),
        None => (service.doc.image, &service.doc.models, &service.doc.settings),
    };
    if image.is_none() && has_entry_script(settings) {
        return Err(not_served("the service has an entry script, and nothing runs scripts here")
            .hint("deploy the model without an inference configuration, and do what the script does in the program that asks"));
    }
    let ids = models_from(tx, image, own_models)?;
    let [model] = ids[..] else {
        return Err(not_served(format!("the service has {} models, where one is answered from", ids.len())));
    };
    let (_, version) =
        models::by_id(tx, at, model)?.ok_or_else(|| not_served("the model of the service was deleted"))?;
    let place = of_version(tx, at, &version)?
        .ok_or_else(|| not_served("the content of the model is not kept on this server"))?;
    let files = content::files(tx, &place)?;
    let is_graph = |doc: &&ArtifactDoc| doc.path.to_lowercase().ends_with(".onnx");
    let mut graphs = files.iter().filter(is_graph);
    let framework = version.doc.azure.get("framework").and_then(Value::as_str).unwrap_or_default();
    match (graphs.next(), graphs.next(), files.as_slice()) {
        (Some(graph), None, _) => Ok((place.owner, graph.clone())),
        (Some(_), Some(_), _) => Err(not_served("the model has several ONNX files")),
        (None, _, [one]) if framework.eq_ignore_ascii_case("onnx") => Ok((place.owner, one.clone())),
        (None, _, []) => Err(not_served("the files of the model are not there any more")),
        (None, ..) => Err(not_served("the model is no ONNX graph")),
    }
}
