//! Correcting single fields of documents of any kind.

use habeas_core::author::Author;
use habeas_core::node::RawNode;
use habeas_core::{BlobRef, Error, FieldClass, Id, Kind, Result, Timestamp, registry};
use serde_json::Value;

use super::Tx;
use crate::tasks::TaskKind;

impl Tx<'_> {
    /// Puts `value` in place of a personal or content field; none when it says that already, otherwise by when the old value can be read
    /// nowhere. The document must still be one of its kind afterwards. The caller has checked that this may be changed.
    pub fn correct(&mut self, resource: Id, field: &str, value: &Value) -> Result<Option<Timestamp>> {
        let Some(node) = self.raw(resource)?.filter(|node| node.kind != Kind::Person) else {
            return Err(Error::not_found("there is no such resource to correct")
                .hint("the profile itself is corrected by name and email"));
        };
        let ops = registry::ops(node.kind);
        let correctable = ops.fields().into_iter().any(|entry| {
            entry.name == field && matches!(entry.class, FieldClass::Personal | FieldClass::Content)
        });
        let mut doc: Value = serde_json::from_slice(&node.doc)?;
        let current = doc.get(field).cloned().unwrap_or_default();
        if !correctable || holds_blob(&current) || holds_blob(value) {
            return Err(Error::invalid(format!("`{field}` of {:?} cannot be corrected", node.kind))
                .hint("see /api/privacy/v1/kinds for fields of class personal or content; files are replaced, not corrected"));
        }
        if current == *value {
            return Ok(None);
        }
        doc[field] = value.clone();
        let changed = serde_json::to_vec(&doc)?;
        if ops.attrs(&changed).is_err() {
            return Err(Error::invalid(format!(
                "the value for `{field}` is not of the form in which it is kept"
            )));
        }
        self.update_raw(&node.with_doc(changed))?;
        self.schedule_resealing(node.container)?;
        let task = self.tasks_about(node.container, TaskKind::Reseal)?.into_iter().next();
        Ok(Some(task.map_or(self.now, |task| task.run_after)))
    }

    /// Takes its author out of the personal and content fields of what somebody else holds; false when they do not name them. The old document can be read until the container is re-sealed.
    pub fn forget_author(&mut self, node: &RawNode, author: &Author) -> Result<bool> {
        let ops = registry::ops(node.kind);
        let mut doc: Value = serde_json::from_slice(&node.doc)?;
        let mut found = false;
        for entry in ops.fields() {
            if let (FieldClass::Personal | FieldClass::Content, Some(value)) =
                (entry.class, doc.get_mut(entry.name).filter(|value| !holds_blob(value)))
            {
                found |= author.forget_in_field(entry.name, value);
            }
        }
        if !found {
            return Ok(false);
        }
        let changed = serde_json::to_vec(&doc)?;
        // What a text may not become, such as an address or a path, is for the holder to change.
        if ops.attrs(&changed).is_err() {
            return Ok(false);
        }
        // Also while its holder is being erased: that may be called off.
        self.update_raw_also_frozen(&node.with_doc(changed))?;
        self.schedule_resealing(node.container)?;
        Ok(true)
    }

    /// Enqueues the destruction of aliases; the task.
    pub fn forget_aliases(&mut self, aliases: &[[u8; 32]]) -> Result<Id> {
        let aliases: Vec<String> = aliases.iter().map(hex::encode).collect();
        let now = self.now;
        self.enqueue(
            TaskKind::DestroyKeys,
            None,
            &serde_json::json!({ "containers": [], "aliases": aliases }),
            now,
        )
    }
}

fn holds_blob(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            serde_json::from_value::<BlobRef>(value.clone()).is_ok() || members.values().any(holds_blob)
        }
        Value::Array(values) => values.iter().any(holds_blob),
        _ => false,
    }
}
