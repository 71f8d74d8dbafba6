//! Datasets of a run: those that `azureml-core` says it read and wrote (`DatasetLineage`, `OutputDatasetLineage`), and those that MLflow's
//! clients log as its inputs, which are shown among them.

use habeas_access::{Permission, authorise};
use habeas_core::kinds::{DatasetInput, RunDoc};
use habeas_core::{Error, ErrorKind, Id, Node, Result};
use habeas_store::{Page, Tx};
use serde_json::{Map, Value, json};

use super::call::Place;
use crate::provenance::{connect_address, connect_dataset};

/// What a run read.
pub(super) const INPUTS: &str = "inputDatasets";
/// What it wrote.
pub(super) const OUTPUTS: &str = "outputDatasets";
/// The most datasets of either sort that a run keeps.
const MOST: usize = 1_000;

/// Whether a list of datasets has its form.
pub(super) fn is_list(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_object))
}

/// Adds the datasets that a body names to those that are kept. `azureml-core` sends each by itself, when it is read or written, and may send
/// it again.
pub(super) fn add(fields: &mut Map<String, Value>, name: &str, sent: &Value) -> Result<()> {
    let mut list = listed(fields, name).to_vec();
    for one in sent.as_array().into_iter().flatten() {
        if !list.contains(one) {
            list.push(one.clone());
        }
    }
    if list.len() > MOST {
        return Err(Error::invalid(format!("a run has at most {MOST} `{name}`")));
    }
    fields.insert(name.to_owned(), Value::Array(list));
    Ok(())
}

fn listed<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    fields.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Connects a run with what its inputs come from, where that is a run or a logged model here: an input says it by an address, or by the id
/// under which an input of MLflow's is shown.
pub(super) fn connect(tx: &mut Tx<'_>, place: &Place, scope: Id, run: Id, inputs: &Value) -> Result<()> {
    for input in inputs.as_array().into_iter().flatten() {
        for at in ["/identifier/savedId", "/identifier/registeredId", "/inputDetails/pathOnCompute"] {
            let Some(text) = input.pointer(at).and_then(Value::as_str) else { continue };
            match text.parse() {
                Ok(id) => connect_shown(tx, place, scope, run, id)?,
                Err(_) => connect_address(tx, &place.actor, scope, run, text)?,
            }
        }
    }
    Ok(())
}

/// Connects a run with what a logged input, of any run that the caller may read, comes from.
fn connect_shown(tx: &mut Tx<'_>, place: &Place, scope: Id, run: Id, input: Id) -> Result<()> {
    let Some(input) = tx.get::<DatasetInput>(input)? else { return Ok(()) };
    match authorise(tx, &place.actor, input.id, Permission::Read) {
        Ok(()) => connect_dataset(tx, &place.actor, scope, run, &input.doc.source),
        // What one may not read does not exist.
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The inputs of a run with those that MLflow's clients logged; null of a run that has none of the latter.
pub(super) fn inputs(tx: &mut Tx<'_>, run: &Node<RunDoc>) -> Result<Value> {
    if run.doc.datasets == 0 {
        return Ok(Value::Null);
    }
    let mut list = listed(&run.doc.details.fields, INPUTS).to_vec();
    for logged in tx.children::<DatasetInput>(run.id, Page::ALL)? {
        let id = json!(logged.id);
        if list.iter().any(|one| one.pointer("/identifier/savedId") == Some(&id)) {
            continue;
        }
        list.push(json!({
            "identifier": { "savedId": id },
            "consumptionType": "RunInput",
            "inputDetails": { "inputName": logged.doc.name, "mechanism": "Direct" },
        }));
    }
    Ok(Value::Array(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_are_added_once() {
        let one = |id: &str| json!({ "identifier": { "savedId": id }, "consumptionType": "Reference" });
        let mut fields = Map::new();
        add(&mut fields, INPUTS, &json!([one("a"), one("b"), one("a")])).unwrap();
        add(&mut fields, INPUTS, &json!([one("b"), one("c")])).unwrap();
        assert_eq!(fields[INPUTS], json!([one("a"), one("b"), one("c")]));
        let many: Vec<Value> = (0..MOST).map(|number| one(&number.to_string())).collect();
        assert!(add(&mut fields, INPUTS, &json!(many)).is_err());
        assert!(is_list(&json!([one("a")])) && is_list(&json!([])));
        assert!(!is_list(&json!({})) && !is_list(&json!(["a"])));
    }
}
