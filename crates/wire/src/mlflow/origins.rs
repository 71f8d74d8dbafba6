//! What a new version is registered from: files, another version, or nothing, as prompts are, whose text is in their tags.

use std::collections::BTreeMap;

use habeas_access::{Actor, Permission};
use habeas_core::kinds::{ModelStage, ModelVersion, ModelVersionDoc, RegisteredModelDoc};
use habeas_core::{Error, ErrorKind, Id, Node, Result};
use habeas_store::{Order, Page, Tx};

use super::arguments::Arguments;
use super::logged_models;
use super::model_versions::{find_version, newest_by_stage, stage};
use super::registered_models::{aliased, find, newest};
use super::search::IS_PROMPT;
use super::workspace::{parse, shortened};
use crate::artifact_files::check_path;

/// What clients say where a source has to be said and a prompt has none.
const PROMPT_SOURCES: [&str; 2] = ["dummy-source", "prompt-template"];

/// What a request says of where a version comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    source: String,
    /// The run and the logged model that are named; empty ones are named, too.
    run: Option<String>,
    model_id: Option<String>,
    /// The version that the source names, if it names one.
    version: Option<Named>,
}

/// What that means here.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) source: String,
    pub(super) storage: Option<String>,
    pub(super) run: Option<String>,
    pub(super) model_id: Option<String>,
    /// The version that this is a copy of.
    pub(super) copied: Option<Id>,
}

/// A version of a registered model, as addresses name it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    model: String,
    which: Which,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    Number(String),
    Newest,
    NewestOf(ModelStage),
    Alias(String),
}

/// Whether something with these tags is a prompt.
pub(super) fn is_prompt(tags: &BTreeMap<String, String>) -> bool {
    tags.get(IS_PROMPT).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn invalid(source: &str, why: &str) -> Error {
    Error::invalid(format!("Invalid model version source: '{}'. {why}", shortened(source)))
}

impl Named {
    /// `models:/NAME/VERSION`, `models:/NAME/STAGE`, `models:/NAME/latest` or `models:/NAME@ALIAS`, without `models:/`.
    fn read(text: &str) -> Result<Option<Named>> {
        let named = |model: &str, which: Which| Ok(Some(Named { model: model.to_owned(), which }));
        match text.split_once('/') {
            Some((model, version)) if !model.is_empty() && !version.is_empty() && !version.contains('/') => {
                if version.bytes().all(|byte| byte.is_ascii_digit()) {
                    named(model, Which::Number(version.to_owned()))
                } else if version.eq_ignore_ascii_case("latest") {
                    named(model, Which::Newest)
                } else {
                    named(model, Which::NewestOf(stage(version)?))
                }
            }
            None => match text.rsplit_once('@') {
                Some((model, alias)) if !model.is_empty() && !alias.is_empty() => {
                    named(model, Which::Alias(alias.to_owned()))
                }
                _ => Ok(None),
            },
            Some(_) => Ok(None),
        }
    }

    /// The version, and its model, if the actor may read them.
    fn find(
        &self,
        tx: &mut Tx<'_>,
        actor: &Actor,
        workspace: Id,
    ) -> Result<(Node<RegisteredModelDoc>, Node<ModelVersionDoc>)> {
        let model = find(tx, actor, workspace, &self.model, Permission::Read)?;
        let version = match &self.which {
            Which::Number(number) => find_version(tx, &model, number)?,
            Which::Newest => newest(tx, &model)?,
            Which::NewestOf(stage) => {
                let all =
                    tx.children::<ModelVersion>(model.id, Page { order: Order::Newest, ..Page::ALL })?;
                let mut newest = newest_by_stage(all).into_iter();
                newest.find(|version| version.doc.stage == *stage).ok_or_else(|| {
                    Error::not_found(format!(
                        "No versions of model with name '{}' and stage '{}' found",
                        shortened(&model.doc.name),
                        stage.name()
                    ))
                })?
            }
            Which::Alias(alias) => aliased(tx, &model, alias)?,
        };
        Ok((model, version))
    }
}

/// Checks where the files of a version are said to be: below the artifacts of the run or model that is named, or of another service. Local paths
/// are refused: they would be paths of the server. Gives back the version that is named instead of files, if one is.
fn checked(source: &str, run: &str, model: &str) -> Result<Option<Named>> {
    let outside = || {
        Error::invalid(format!("Invalid model version source: '{}'.", shortened(source)))
            .hint("name what is below the artifacts of the run or of the logged model")
    };
    let (scheme, rest) = match source.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest.trim_start_matches('/')),
        _ => ("file", source),
    };
    let parts: Vec<&str> = rest.split('/').collect();
    let is_allowed = match scheme {
        "runs" => parts.first().is_some_and(|first| run.is_empty() || *first == run),
        "models" => {
            let logged = parts.first().and_then(|first| first.strip_prefix("m-"));
            if logged.and_then(parse).is_none() {
                let named = source.strip_prefix("models:/").filter(|named| !named.starts_with('/'));
                let named = named.map(Named::read).transpose()?.flatten();
                return named.map(Some).ok_or_else(|| {
                    outside().hint("a version is `models:/NAME/VERSION`, a logged model `models:/ID`")
                });
            }
            model.is_empty() || rest == model
        }
        "mlflow-artifacts" => match parts[..] {
            [_, "models", id, "artifacts", ..] => model.is_empty() || id == model,
            [_, id, "artifacts", ..] => run.is_empty() || id == run,
            _ => false,
        },
        "file" => {
            return Err(invalid(
                source,
                "To use a local path as a model version source, the run_id request parameter has to be specified and the local path \
                 has to be contained within the artifact directory of the run specified by the run_id.",
            ));
        }
        _ => true,
    };
    if is_allowed && (scheme == "models" || check_path(rest.trim_end_matches('/')).is_ok()) {
        Ok(None)
    } else {
        Err(outside())
    }
}

impl Origin {
    /// Reads and checks what a request says, of a version with these tags.
    pub(super) fn read(arguments: &Arguments, tags: &BTreeMap<String, String>) -> Result<Origin> {
        let source = arguments.required("source")?;
        let (run, model_id) = (arguments.text("run_id")?, arguments.text("model_id")?);
        let version = if !is_prompt(tags) {
            checked(source, run.unwrap_or_default(), model_id.unwrap_or_default())?
        } else if PROMPT_SOURCES.contains(&source) {
            None
        } else {
            return Err(Error::invalid(format!(
                "Invalid prompt source: '{}'. Prompt sources must use an MLflow placeholder.",
                shortened(source)
            ))
            .hint("say `dummy-source`: the text of a prompt is in its tags"));
        };
        Ok(Origin {
            source: source.to_owned(),
            run: run.map(str::to_owned),
            model_id: model_id.map(str::to_owned),
            version,
        })
    }

    /// Looks up what it says.
    pub(super) fn resolve(&self, tx: &mut Tx<'_>, actor: &Actor, workspace: Id) -> Result<Resolved> {
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let mut found = match &self.version {
            Some(named) => self.copy(tx, actor, workspace, named)?,
            None => Resolved {
                source: self.source.clone(),
                storage: None,
                run: said(&self.run),
                model_id: said(&self.model_id),
                copied: None,
            },
        };
        if found.run.is_none() {
            found.run = source_run(tx, actor, workspace, &found)?;
        }
        Ok(found)
    }

    /// What a copy of another version is registered as.
    fn copy(&self, tx: &mut Tx<'_>, actor: &Actor, workspace: Id, named: &Named) -> Result<Resolved> {
        let (model, version) = named.find(tx, actor, workspace)?;
        if is_prompt(&model.doc.tags) {
            return Err(invalid(&self.source, "Prompt versions cannot be used as model version sources."));
        }
        let is_other = |said: &Option<String>, its: &Option<String>| {
            said.as_deref().is_some_and(|said| said != its.as_deref().unwrap_or_default())
        };
        let ModelVersionDoc { number, run, model_id, .. } = &version.doc;
        if is_other(&self.run, run) || is_other(&self.model_id, model_id) {
            return Err(invalid(
                &self.source,
                "The run_id and model_id request parameters must match the referenced model version.",
            ));
        }
        Ok(Resolved {
            source: format!("models:/{}/{number}", model.doc.name),
            storage: Some(version.doc.address().to_owned()),
            run: run.clone(),
            model_id: model_id.clone(),
            copied: Some(version.id),
        })
    }
}

/// The run that made the logged model that a version is of, if it is of one that is here.
fn source_run(tx: &mut Tx<'_>, actor: &Actor, workspace: Id, found: &Resolved) -> Result<Option<String>> {
    let address = found.storage.as_ref().unwrap_or(&found.source).strip_prefix("models:/");
    let by_address = address.and_then(|rest| rest.split('/').next());
    for model in [by_address, found.model_id.as_deref()].into_iter().flatten() {
        match logged_models::find(tx, actor, workspace, model, Permission::Read) {
            Ok((node, _)) if node.doc.source_run.is_some() => return Ok(node.doc.source_run),
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let model = format!("m-{}", "0".repeat(32));
        for files in [
            "runs:/r/model".to_owned(),
            "mlflow-artifacts:/0/r/artifacts/model".to_owned(),
            format!("mlflow-artifacts:/0/models/{model}/artifacts"),
            format!("models:/{model}"),
            "s3://bucket/model".to_owned(),
        ] {
            assert_eq!(checked(&files, "r", &model).unwrap(), None, "{files}");
        }
        let named = |which: Which| Named { model: "a b".into(), which };
        for (source, expected) in [
            ("models:/a b/12", named(Which::Number("12".into()))),
            ("models:/a b/Latest", named(Which::Newest)),
            ("models:/a b/production", named(Which::NewestOf(ModelStage::Production))),
            ("models:/a b@best", named(Which::Alias("best".into()))),
        ] {
            assert_eq!(checked(source, "r", &model).unwrap(), Some(expected), "{source}");
        }
        for bad in [
            "/etc",
            "dummy-source",
            "runs:/other/model",
            "runs:/r/../x",
            "mlflow-artifacts:/0/other/artifacts/model",
            "models:/",
            "models:/trees",
            "models:/trees/",
            "models:/trees/1/x",
            "models:/trees@",
            "models:/trees/Ready",
            "models://host/trees/1",
            "models:/m-11111111111111111111111111111111",
        ] {
            assert!(checked(bad, "r", &model).is_err(), "{bad}");
        }
    }
}
