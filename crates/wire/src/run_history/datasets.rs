//! Datasets of a run: those that `azureml-core` says it read and wrote (`DatasetLineage`, `OutputDatasetLineage`), and those that MLflow's
//! clients log as its inputs, which are shown among them.

use std::collections::BTreeSet;

use habeas_access::{Permission, authorise};
use habeas_core::kinds::{DatasetInput, RunDoc};
use habeas_core::{Error, ErrorKind, Id, Kind, Node, Result};
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

/// The most datasets that a batch of runs says.
const MOST_OF_BATCH: usize = 10_000;

/// Whether a list of datasets has its form; an error when it is longer than a run's can be.
pub(super) fn is_list(name: &str, value: &Value) -> Result<bool> {
    let Some(list) = value.as_array() else { return Ok(false) };
    if list.len() > MOST {
        return Err(too_many(name));
    }
    Ok(list.iter().all(Value::is_object))
}

fn too_many(name: &str) -> Error {
    Error::invalid(format!("a run has at most {MOST} `{name}`"))
}

/// Checks how many datasets the runs of a batch say together: `counts` has how many each says.
pub(super) fn check_batch(counts: impl Iterator<Item = usize>) -> Result<()> {
    if counts.sum::<usize>() > MOST_OF_BATCH {
        return Err(Error::invalid(format!("the runs of a batch have at most {MOST_OF_BATCH} datasets"))
            .hint("send them in several batches"));
    }
    Ok(())
}

/// How many datasets a body says.
pub(super) fn count(fields: &Map<String, Value>) -> usize {
    listed(fields, INPUTS).len() + listed(fields, OUTPUTS).len()
}

/// Adds the datasets that a body names to those that are kept, and gives back those that are new. `azureml-core` sends each by itself, when it
/// is read or written, and may send it again.
pub(super) fn add(fields: &mut Map<String, Value>, name: &str, sent: &Value) -> Result<Vec<Value>> {
    let mut known: BTreeSet<String> = listed(fields, name).iter().map(Value::to_string).collect();
    let sent = sent.as_array().into_iter().flatten();
    let new: Vec<Value> = sent.filter(|one| known.insert(one.to_string())).cloned().collect();
    if known.len() > MOST {
        return Err(too_many(name));
    }
    let list = fields.entry(name).or_insert_with(|| json!([]));
    if let Value::Array(list) = list {
        list.extend(new.iter().cloned());
    }
    Ok(new)
}

fn listed<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    fields.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Connects a run with what its inputs come from, where that is a run or a logged model here: an input says it by an address, or by the id
/// under which an input of MLflow's is shown.
pub(super) fn connect(tx: &mut Tx<'_>, place: &Place, scope: Id, run: Id, inputs: &[Value]) -> Result<()> {
    const AT: [&str; 3] = ["/identifier/savedId", "/identifier/registeredId", "/inputDetails/pathOnCompute"];
    let said = inputs.iter().flat_map(|input| AT.map(|at| input.pointer(at).and_then(Value::as_str)));
    let texts: BTreeSet<&str> = said.flatten().collect();
    for text in texts {
        match text.parse() {
            Ok(id) => connect_shown(tx, place, run, id)?,
            Err(_) => connect_address(tx, &place.actor, scope, run, text)?,
        }
    }
    Ok(())
}

/// Connects a run with what a logged input, of any run that the caller may read, comes from. An address of it means what it means where that
/// run stands.
fn connect_shown(tx: &mut Tx<'_>, place: &Place, run: Id, input: Id) -> Result<()> {
    let Some((Kind::DatasetInput, Some(reader), _)) = tx.position(input)? else { return Ok(()) };
    let Some((_, Some(experiment), _)) = tx.position(reader)? else { return Ok(()) };
    let Some((_, Some(scope), _)) = tx.position(experiment)? else { return Ok(()) };
    // Before anything is opened: what cannot be opened any more is being erased, which is nobody else's concern.
    for id in [input, scope] {
        match authorise(tx, &place.actor, id, Permission::Read) {
            Ok(()) => {}
            // What one may not read does not exist.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    match tx.get::<DatasetInput>(input)? {
        Some(input) => connect_dataset(tx, &place.actor, scope, run, &input.doc.source),
        None => Ok(()),
    }
}

/// The inputs of a run with those that MLflow's clients logged; none of a run that has none of the latter. Opens their documents, which can
/// be long: for the answer about one run.
pub(super) fn inputs(tx: &mut Tx<'_>, run: &Node<RunDoc>) -> Result<Option<Value>> {
    if run.doc.datasets == 0 {
        return Ok(None);
    }
    let mut list = listed(&run.doc.details.fields, INPUTS).to_vec();
    let known: BTreeSet<String> = list
        .iter()
        .filter_map(|one| one.pointer("/identifier/savedId")?.as_str())
        .map(str::to_owned)
        .collect();
    for logged in tx.children::<DatasetInput>(run.id, Page::ALL)? {
        if known.contains(&logged.id.to_string()) {
            continue;
        }
        list.push(json!({
            "identifier": { "savedId": logged.id },
            "consumptionType": "RunInput",
            "inputDetails": { "inputName": logged.doc.name, "mechanism": "Direct" },
        }));
    }
    Ok(Some(Value::Array(list)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_are_added_once() {
        let one = |id: &str| json!({ "identifier": { "savedId": id }, "consumptionType": "Reference" });
        let mut fields = Map::new();
        let new = add(&mut fields, INPUTS, &json!([one("a"), one("b"), one("a")])).unwrap();
        assert_eq!(new, [one("a"), one("b")]);
        assert_eq!(add(&mut fields, INPUTS, &json!([one("b"), one("c")])).unwrap(), [one("c")]);
        assert_eq!(fields[INPUTS], json!([one("a"), one("b"), one("c")]));
        assert_eq!(count(&fields), 3);
        let many: Vec<Value> = (0..MOST).map(|number| one(&number.to_string())).collect();
        assert!(add(&mut fields, INPUTS, &json!(many)).is_err());
        assert_eq!(count(&fields), 3);
        let is_list = |value: Value| is_list(INPUTS, &value);
        assert!(is_list(json!([one("a")])).unwrap() && is_list(json!([])).unwrap());
        assert!(!is_list(json!({})).unwrap() && !is_list(json!(["a"])).unwrap());
        // A longer list is not compared with anything.
        assert!(is_list(json!(vec![one("a"); MOST + 1])).is_err());
        assert!(check_batch([MOST_OF_BATCH].into_iter()).is_ok());
        assert!(check_batch([MOST_OF_BATCH, 1].into_iter()).is_err());
    }
}
