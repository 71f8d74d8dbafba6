//! Limits and forms of names and values, with upstream's messages (`mlflow/utils/validation.py`).

use habeas_core::{Error, Result};

/// The longest key of a metric, parameter or tag, in characters.
const KEY: usize = 250;
/// The longest parameter and tag value, in characters: longer ones are cut, as upstream does by default.
pub(super) const PARAM_VALUE: usize = 6_000;
pub(super) const TAG_VALUE: usize = 8_000;
/// The longest value of an experiment's tag, and of a tag in the registry.
pub(super) const EXPERIMENT_TAG_VALUE: usize = 20_000;
pub(super) const REGISTRY_TAG_VALUE: usize = 100_000;
/// The longest name and digest of a dataset.
pub(super) const DATASET_NAME: usize = 500;
pub(super) const DATASET_DIGEST: usize = 36;
/// The longest name of an experiment.
const EXPERIMENT_NAME: usize = 500;
/// The most that one batch may hold.
pub(super) const BATCH_METRICS: usize = 1_000;
pub(super) const BATCH_PARAMS: usize = 100;
pub(super) const BATCH_TAGS: usize = 100;
pub(super) const BATCH_TOTAL: usize = 1_000;

/// Refuses what is longer than `most` characters.
pub(super) fn within(what: &str, text: &str, most: usize) -> Result<()> {
    if text.chars().count() > most {
        return Err(Error::invalid(format!("'{what}' exceeds the maximum length of {most} characters")));
    }
    Ok(())
}

/// The text, cut to `most` characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// A key of a metric, parameter or tag. `place` is the parameter that carries it.
pub(super) fn key<'a>(place: &str, text: &'a str) -> Result<&'a str> {
    let allowed = |character: char| {
        character.is_alphanumeric() || matches!(character, '/' | '_' | '.' | '-' | ' ' | ':')
    };
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(Error::invalid(format!(
            "Invalid value \"{}\" for parameter '{place}' supplied: Names may only contain alphanumerics, underscores (_), \
             dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).",
            cut(text, KEY)
        )));
    }
    let is_path = text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !is_path {
        return Err(Error::invalid(format!(
            "Invalid value \"{}\" for parameter '{place}' supplied: Names must be treated as the same path after normalization",
            cut(text, KEY)
        )));
    }
    within(place, text, KEY)?;
    Ok(text)
}

/// The name of an experiment.
pub(super) fn experiment_name(name: &str) -> Result<&str> {
    if name.trim().is_empty() {
        return Err(Error::invalid("Invalid experiment name: ''. The name must not be empty."));
    }
    within("name", name, EXPERIMENT_NAME)?;
    Ok(name)
}

/// The name of a registered or logged model.
pub(super) fn model_name(name: &str) -> Result<&str> {
    if name.is_empty() {
        return Err(Error::invalid("Registered model name cannot be empty."));
    }
    if name.contains(['/', ':']) {
        return Err(Error::invalid(format!(
            "Invalid model name '{}'. Names cannot contain '/' or ':'.",
            cut(name, KEY)
        )));
    }
    within("name", name, 256)?;
    Ok(name)
}

/// An alias of a model version.
pub(super) fn alias(alias: &str) -> Result<&str> {
    let word = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
    if alias.is_empty() || !alias.chars().all(word) {
        return Err(Error::invalid(format!(
            "Invalid alias name: '{}'. Names may only contain alphanumerics, underscores (_) and dashes (-).",
            cut(alias, KEY)
        )));
    }
    within("alias", alias, 255)?;
    if alias.eq_ignore_ascii_case("latest") {
        return Err(Error::invalid("'latest' alias name (case insensitive) is reserved."));
    }
    let digits = alias.strip_prefix(['v', 'V']).unwrap_or_default();
    if !digits.is_empty() && digits.chars().all(|character| character.is_ascii_digit()) {
        return Err(Error::invalid(format!("Version alias name '{alias}' is reserved.")));
    }
    Ok(alias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for good in ["loss", "val/loss", "a b:c-d_e.f", "größe"] {
            assert!(key("name", good).is_ok(), "{good}");
        }
        for bad in ["", "a*", "../a", "/a", "a//b", "a/./b"] {
            assert!(key("name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reserved_aliases() {
        for bad in ["latest", "Latest", "v1", "V22", "", "a b"] {
            assert!(alias(bad).is_err(), "{bad}");
        }
        for good in ["champion", "v1a", "version"] {
            assert!(alias(good).is_ok(), "{good}");
        }
    }
}
