//! Endpoints: services that are several versions, each with models of its own and a share of what the endpoint is asked, as
//! `AksEndpoint` of `azureml-core` 1 has them (`computeType` AKSENDPOINT).
//!
//! Each version has its `trafficPercentile`; what these leave of 100 is the share of the default version. One version is the default, and one
//! the control of the experiment; the oldest is either while none is said to be.

use std::collections::BTreeMap;

use habeas_core::kinds::{ServiceDoc, ServiceVersion, Settings};
use habeas_core::{Ambient, Error, Id, Result};
use habeas_store::Tx;
use serde_json::{Map, Value, json};

use super::fields;
use super::services::Parts;

/// The `computeType` of an endpoint.
pub(super) const COMPUTE_TYPE: &str = "AKSENDPOINT";

/// The share of a version, in percent.
const SHARE: &str = "trafficPercentile";
/// Whether a version is the default one.
const DEFAULT: &str = "isDefault";
/// Whether a version is the control of an experiment, or a treatment in it.
const TYPE: &str = "type";
const CONTROL: &str = "Control";
const TREATMENT: &str = "Treatment";

/// Whether these settings are those of an endpoint.
pub(super) fn is_one(settings: &Settings) -> bool {
    let compute = settings.get("computeType").and_then(Value::as_str);
    compute.is_some_and(|compute| compute.eq_ignore_ascii_case(COMPUTE_TYPE))
}

/// Refuses what is said of an endpoint and belongs to its versions, the other way round, and that one becomes the other. Versions are those
/// that it has, or is made with.
pub(super) fn settle(said: &mut Settings, is_endpoint: bool, has_versions: bool) -> Result<()> {
    if said.contains_key("computeType") {
        if is_one(said) != is_endpoint {
            return Err(Error::invalid(
                "a service does not become an endpoint (`computeType` AKSENDPOINT), nor an endpoint a service of one version",
            )
            .hint("deploy it anew, with `overwrite` or by another name"));
        }
        if is_endpoint {
            said.insert("computeType".into(), json!(COMPUTE_TYPE));
        }
    }
    if !is_endpoint && said.contains_key("versions") {
        return Err(Error::invalid("`versions` are those of an endpoint")
            .hint("deploy one with the `computeType` AKSENDPOINT"));
    }
    let of_versions = ["imageId", "modelId", "environmentImageRequest"];
    match of_versions.into_iter().find(|name| said.contains_key(*name)) {
        Some(name) if has_versions => Err(Error::invalid(format!(
            "`{name}` is said of an endpoint, which has no models beside those of its versions"
        ))
        .hint("say it of a version, in `versions`")),
        _ => Ok(()),
    }
}

/// The versions as a patch finds them.
pub(super) fn members(versions: &BTreeMap<String, ServiceVersion>) -> Value {
    let members = versions.iter().map(|(name, version)| {
        let mut members: Map<String, Value> = version.settings.clone().into_iter().collect();
        members.insert("description".into(), json!(version.description));
        members.insert("kvTags".into(), json!(version.tags));
        members.insert("properties".into(), json!(version.properties));
        (name.clone(), Value::Object(members))
    });
    Value::Object(members.collect())
}

/// Puts the versions that are said in the place of those that were there. One of the same name is the same one: it stays made from what it was
/// when nothing else is said.
pub(super) fn change(tx: &mut Tx<'_>, at: Id, doc: &mut ServiceDoc, said: Value) -> Result<()> {
    let Value::Object(said) = said else { return Ok(()) };
    let now = tx.now();
    let mut before = std::mem::take(&mut doc.versions);
    for (name, said) in said {
        let Value::Object(said) = said else { continue };
        let mut said: Settings = said.into_iter().collect();
        let old = before.remove(&name);
        let parts = Parts::take(&mut said);
        let tags = if said.contains_key("tags") { "tags" } else { "kvTags" };
        let mut version = ServiceVersion {
            description: fields::take_text(&mut said, "description"),
            tags: fields::take_map(&mut said, tags),
            properties: fields::take_map(&mut said, "properties"),
            image: old.as_ref().and_then(|old| old.image),
            models: old.as_ref().map(|old| old.models.clone()).unwrap_or_default(),
            settings: Settings::new(),
            created_at: old.as_ref().map_or(now, |old| old.created_at),
            updated_at: old.as_ref().map_or(now, |old| old.updated_at),
        };
        parts.find(tx, at, &mut version.image, &mut version.models)?;
        said.remove("kvTags");
        version.settings = said;
        if old.is_some_and(|old| old != version) {
            version.updated_at = now;
        }
        doc.versions.insert(name, version);
    }
    agree(&mut doc.versions)
}

/// Sees to it that the versions are an endpoint together.
fn agree(versions: &mut BTreeMap<String, ServiceVersion>) -> Result<()> {
    let sum: f64 = versions.values().map(share).sum();
    // Thirds of 100 are a little more than that.
    if sum > 100.000_001 {
        return Err(Error::invalid(format!("`{SHARE}` of all versions is {sum} together, more than 100"))
            .hint("lower that of one version in the same request in which another one gets more"));
    }
    for version in versions.values() {
        if let Some(said) = version.settings.get(TYPE)
            && ![CONTROL, TREATMENT].iter().any(|known| said == known)
        {
            return Err(Error::invalid(format!(
                "`{TYPE}` of a version is neither {CONTROL} nor {TREATMENT}"
            )));
        }
    }
    for (name, yes, no) in [(DEFAULT, json!(true), json!(false)), (TYPE, json!(CONTROL), json!(TREATMENT))] {
        let is = |version: &ServiceVersion| version.settings.get(name) == Some(&yes);
        if versions.values().filter(|version| is(version)).count() > 1 {
            return Err(Error::invalid(format!("more than one version has the `{name}` {yes}"))
                .hint(format!("say `{name}` {no} of the other one in the same request")));
        }
        let oldest = versions.iter().min_by_key(|(name, version)| (version.created_at, *name));
        let chosen = versions.iter().find(|(_, version)| is(version)).or(oldest);
        let chosen = chosen.map(|(name, _)| name.clone());
        for (known, version) in &mut *versions {
            let value = if Some(known) == chosen.as_ref() { &yes } else { &no };
            version.settings.insert(name.to_owned(), value.clone());
        }
    }
    Ok(())
}

fn share(version: &ServiceVersion) -> f64 {
    version.settings.get(SHARE).and_then(Value::as_f64).unwrap_or(0.0)
}

fn is_default(version: &ServiceVersion) -> bool {
    version.settings.get(DEFAULT) == Some(&Value::Bool(true))
}

/// The versions that some of the questions go to.
pub(super) fn asked(doc: &ServiceDoc) -> impl Iterator<Item = &ServiceVersion> {
    let shared: f64 = doc.versions.values().map(share).sum();
    let has_rest = shared < 100.0;
    doc.versions.values().filter(move |version| share(version) > 0.0 || (has_rest && is_default(version)))
}

/// A lot by which one of the versions is chosen: from 0 up to 100.
pub(super) fn lot(ambient: &Ambient) -> f64 {
    f64::from(u32::from_be_bytes(ambient.bytes())) / f64::from(u32::MAX) * 99.999_999
}

/// The version on which the lot falls, or the default one without a lot; none of a service that has no versions.
pub(super) fn chosen(doc: &ServiceDoc, lot: Option<f64>) -> Option<&ServiceVersion> {
    if let Some(lot) = lot {
        let mut upto = 0.0;
        for version in doc.versions.values() {
            upto += share(version);
            if lot < upto {
                return Some(version);
            }
        }
    }
    doc.versions.values().find(|version| is_default(version))
}

#[cfg(test)]
mod tests {
    use habeas_core::DataKind as _;
    use habeas_core::Timestamp;
    use habeas_core::kinds::Service;

    use super::*;

    fn version(created_at: i64, settings: Value) -> ServiceVersion {
        let Value::Object(settings) = settings else { panic!("settings are an object") };
        let example = Service::example().versions.into_values().next().unwrap();
        let settings = settings.into_iter().collect();
        ServiceVersion { created_at: Timestamp(created_at), settings, ..example }
    }

    #[test]
    fn the_lot_falls_by_the_shares_and_the_rest_is_the_default_versions() {
        let mut doc = Service::example();
        doc.versions = BTreeMap::from([
            ("a".to_owned(), version(2, json!({ "trafficPercentile": 20 }))),
            ("b".to_owned(), version(1, json!({ "trafficPercentile": 10 }))),
            ("c".to_owned(), version(3, json!({}))),
        ]);
        agree(&mut doc.versions).unwrap();
        let of = |lot: Option<f64>| chosen(&doc, lot).map(|version| version.created_at.0);
        assert_eq!([0.0, 19.9, 20.0, 29.9, 30.0, 99.9].map(|lot| of(Some(lot)).unwrap()), [2, 2, 1, 1, 1, 1]);
        assert_eq!(of(None), Some(1), "the oldest is the default");
        assert_eq!(doc.versions["b"].settings["type"], CONTROL);
        assert_eq!(doc.versions["c"].settings["isDefault"], false);
        assert_eq!(asked(&doc).count(), 2, "c is not asked");
        let lot = lot(&Ambient::system());
        assert!((0.0..100.0).contains(&lot), "{lot}");
    }

    #[test]
    fn versions_that_are_no_endpoint_together_are_refused() {
        for (first, second) in [
            (json!({ "trafficPercentile": 60 }), json!({ "trafficPercentile": 41 })),
            (json!({ "isDefault": true }), json!({ "isDefault": true })),
            (json!({ "type": "Control" }), json!({ "type": "Control" })),
            (json!({ "type": "Other" }), json!({})),
        ] {
            let mut versions =
                BTreeMap::from([("a".to_owned(), version(1, first)), ("b".to_owned(), version(2, second))]);
            assert!(agree(&mut versions).is_err(), "{versions:?}");
        }
    }
}
