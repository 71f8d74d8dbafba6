//! Experiment tracking: the datasets that runs learned from.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::custom_vision::BASIS;
use super::tracking::{RECIPIENTS, SERVICE};
use crate::{
    About, Attrs, Bundle, Carried, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result,
    Retention, View,
};

/// A dataset that a run learned from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInputDoc {
    /// Its name.
    pub name: String,
    /// What tells its versions apart.
    pub digest: String,
    /// What sort of source it has.
    pub source_type: String,
    /// Where it comes from, without the login name that its client wrote into it: [`take_login_name`].
    pub source: String,
    /// Its columns.
    pub schema: Option<String>,
    /// Counts and statistics of it.
    pub profile: Option<String>,
    /// What its user noted, such as what it was used for.
    pub tags: BTreeMap<String, String>,
    /// The login name that its client wrote into the source: a [`ClientName`](super::ClientName) of the person who sent it.
    #[serde(default)]
    pub user_tag: Option<Id>,
}

impl DatasetInputDoc {
    /// The source as it was sent, given the login name that was in it; without one, as it is kept.
    pub fn source_with(&self, login_name: Option<&str>) -> Result<String> {
        match (login_name, login_name_in(&self.source)) {
            (Some(name), Some((place, _))) => {
                let (before, after) = (&self.source[..place.start], &self.source[place.end..]);
                Ok(format!("{before}{}{after}", serde_json::to_string(name)?))
            }
            _ => Ok(self.source.clone()),
        }
    }
}

/// Takes the login name out of the source of a dataset: an empty text stays in its place, and everything else is as it was. MLflow's client
/// writes it there for every dataset that comes from code, as `{"tags": {"mlflow.user": ...}}`.
pub fn take_login_name(source: &mut String) -> Option<String> {
    let (place, name) = login_name_in(source)?;
    source.replace_range(place, "\"\"");
    Some(name)
}

/// Where in a source the login name stands, in quotes, and which it is.
fn login_name_in(source: &str) -> Option<(Range<usize>, String)> {
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(borrow)]
        tags: BTreeMap<String, &'a RawValue>,
    }

    let found: Source<'_> = serde_json::from_str(source).ok()?;
    let text = found.tags.get("mlflow.user")?.get();
    let name = serde_json::from_str(text).ok()?;
    // The text is a piece of the source.
    let start = text.as_ptr().addr() - source.as_ptr().addr();
    Some((start..start + text.len(), name))
}

/// [`Kind::DatasetInput`].
#[derive(Debug)]
pub struct DatasetInput;

impl DataKind for DatasetInput {
    const KIND: Kind = Kind::DatasetInput;
    const PARENTS: &'static [Kind] = &[Kind::Run];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Datasets of runs",
        purpose: "to tell what a training learned from",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = DatasetInputDoc;

    fn example() -> DatasetInputDoc {
        DatasetInputDoc {
            name: "trees".into(),
            digest: "8c1f".into(),
            source_type: "code".into(),
            source: "{\"tags\": {\"mlflow.user\": \"\", \"mlflow.source.name\": \"train.py\"}}".into(),
            schema: Some("{}".into()),
            profile: Some("{}".into()),
            tags: BTreeMap::from([("mlflow.data.context".to_owned(), "training".to_owned())]),
            user_tag: Some(Id::NIL),
        }
    }

    fn unique_name(_doc: &DatasetInputDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &DatasetInputDoc, _out: &mut Attrs) {}

    fn classify(doc: &DatasetInputDoc, map: &mut DataMap) {
        let DatasetInputDoc { name, digest, source_type, source, schema, profile, tags, user_tag } = doc;
        map.field(name, "name", FieldClass::Content, "to tell datasets apart");
        map.field(digest, "digest", FieldClass::Content, "to tell versions of it apart");
        map.field(source_type, "source_type", FieldClass::Technical, "what sort of source it has");
        map.field(
            source,
            "source",
            FieldClass::Personal,
            "where it comes from; a path or query may name a person",
        );
        map.field(schema, "schema", FieldClass::Content, "its columns");
        map.field(profile, "profile", FieldClass::Content, "counts and statistics of it");
        map.field(tags, "tags", FieldClass::Personal, "what its user noted; may name a person");
        map.field(
            user_tag,
            "user_tag",
            FieldClass::Personal,
            "random id of the login name that its client wrote into the source",
        );
    }

    fn view(node: &Node<DatasetInputDoc>) -> View {
        View::new(node.doc.name.clone())
            .fact("Digest", &node.doc.digest)
            .fact("Source", &node.doc.source_type)
            .fact("Logged", node.created_at)
    }

    fn export(node: &Node<DatasetInputDoc>, out: &mut dyn Bundle) -> Result<()> {
        let run = node.parent.unwrap_or(Id::NIL);
        let doc = &node.doc;
        let login_name = doc.user_tag.map(|name| out.title(name)).transpose()?.flatten();
        out.json(
            &format!("tracking/runs/{run}/datasets/{}.json", node.id),
            &json!({
                "name": doc.name,
                "digest": doc.digest,
                "source_type": doc.source_type,
                "source": doc.source_with(login_name.as_deref())?,
                "schema": doc.schema,
                "profile": doc.profile,
                "tags": doc.tags,
            }),
        )
    }

    fn erase(_node: &Node<DatasetInputDoc>, _why: Erasure) -> Fate<DatasetInputDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<DatasetInputDoc>) -> Result<Option<Carried<'_>>> {
        Ok(Some(Carried { login_names: vec![&mut node.doc.user_tag], ..Carried::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reads_back_as_it_was_sent() {
        for (sent, name, kept) in [
            (
                r#"{"tags": {"mlflow.source.name": "a.py",  "mlflow.user": "ada \"l\"", "z": "mlflow.user"}, "a": 1}"#,
                Some("ada \"l\""),
                r#"{"tags": {"mlflow.source.name": "a.py",  "mlflow.user": "", "z": "mlflow.user"}, "a": 1}"#,
            ),
            (
                r#" {"a":[],"tags":{"mlflow.user":"ada"}} "#,
                Some("ada"),
                r#" {"a":[],"tags":{"mlflow.user":""}} "#,
            ),
            (r#"{"tags": {"mlflow.user": 7}}"#, None, r#"{"tags": {"mlflow.user": 7}}"#),
            (r#"{"mlflow.user": "ada"}"#, None, r#"{"mlflow.user": "ada"}"#),
            ("s3://bucket/d.csv", None, "s3://bucket/d.csv"),
            ("", None, ""),
        ] {
            let mut source = sent.to_owned();
            assert_eq!(take_login_name(&mut source).as_deref(), name, "{sent}");
            assert_eq!(source, kept);
            let doc = DatasetInputDoc { source, ..DatasetInput::example() };
            assert_eq!(doc.source_with(name).unwrap(), sent);
            assert_eq!(doc.source_with(None).unwrap(), kept);
        }
    }
}
