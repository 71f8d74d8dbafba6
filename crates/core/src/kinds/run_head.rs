//! What a search asks of a run. Thousands are looked at for a page of a hundred, so that nothing of a document is copied for it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{LifecycleStage, RunStatus};
use crate::Id;

/// A text within a document, copied only where the document has escapes in it.
#[derive(Clone, Debug, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Texts by name, in the order of the document: of the few that there are, the ones that are asked for are found sooner than all are sorted.
#[derive(Clone, Debug, Default)]
pub struct Texts<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a> Texts<'a> {
    /// The text of this name.
    pub fn get(&self, name: &str) -> Option<&Text<'a>> {
        self.0.iter().find(|(known, _)| known.as_str() == name).map(|(_, text)| text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadTexts)
    }
}

struct ReadTexts;

impl<'de> Visitor<'de> for ReadTexts {
    type Value = Texts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts<'de>, A::Error> {
        let mut texts = Vec::with_capacity(16);
        while let Some(text) = map.next_entry()? {
            texts.push(text);
        }
        Ok(Texts(texts))
    }
}

/// The part of a [`RunDoc`](super::RunDoc) that is searched and sorted by; its fields are that document's.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `RunDoc`")]
pub struct RunHead<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    pub status: RunStatus,
    pub start_time: i64,
    pub end_time: Option<i64>,
    pub stage: LifecycleStage,
    pub user: Option<Id>,
    pub user_tag: Option<Id>,
    #[serde(borrow)]
    pub tags: Texts<'a>,
    #[serde(borrow)]
    pub params: Texts<'a>,
    pub datasets: u32,
    #[serde(default, borrow)]
    details: Details<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    run_id: Option<Text<'a>>,
}

impl<'a> RunHead<'a> {
    /// Reads it from a run's document as it is stored.
    ///
    /// # Errors
    /// When the bytes are no document of a run.
    pub fn read(doc: &'a [u8]) -> crate::Result<RunHead<'a>> {
        Ok(serde_json::from_slice(doc)?)
    }

    /// The id that its client chose; none for its own.
    pub fn client_id(&self) -> Option<&str> {
        self.details.run_id.as_ref().map(Text::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::DataKind as _;
    use crate::kinds::{Run, RunDoc};

    #[test]
    fn it_says_what_the_document_says() {
        let mut doc = Run::example();
        doc.params.insert("quoted \"name\"".to_owned(), "line\nbreak".to_owned());
        let bytes = serde_json::to_vec(&doc).unwrap();
        let head = RunHead::read(&bytes).unwrap();
        let owned = |texts: &Texts<'_>| -> BTreeMap<String, String> {
            texts.0.iter().map(|(key, value)| (key.as_str().to_owned(), value.as_str().to_owned())).collect()
        };
        for (name, text) in &doc.params {
            assert_eq!(head.params.get(name).map(Text::as_str), Some(text.as_str()));
        }
        assert_eq!(head.params.get("nothing").map(Text::as_str), None);
        assert_eq!(head.client_id(), doc.details.run_id.as_deref());
        let found = RunDoc {
            name: head.name.as_str().to_owned(),
            status: head.status,
            start_time: head.start_time,
            end_time: head.end_time,
            stage: head.stage,
            user: head.user,
            user_tag: head.user_tag,
            tags: owned(&head.tags),
            params: owned(&head.params),
            datasets: head.datasets,
            ..doc.clone()
        };
        assert_eq!(found, doc);
    }

    #[test]
    fn documents_of_versions_before_run_history_are_read() {
        let doc = r#"{"name":"a","status":"running","start_time":1,"end_time":null,"stage":"active","user":null,"user_tag":null,
            "tags":{},"params":{},"datasets":0,"model_inputs":[],"model_outputs":[],"created_by":null}"#;
        let status = serde_json::to_value(Run::example().status).unwrap();
        let stage = serde_json::to_value(LifecycleStage::Active).unwrap();
        let doc = doc.replace("\"running\"", &status.to_string()).replace("\"active\"", &stage.to_string());
        assert_eq!(RunHead::read(doc.as_bytes()).unwrap().client_id(), None);
    }
}
