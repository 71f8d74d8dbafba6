//! Runs and experiments as every protocol over them has them: MLflow's and run history's are the same. How they are called on the wire, how
//! they are found, and what happens when a run's state changes.

use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{ClientName, ClientNameDoc, Experiment, ExperimentDoc, Run, RunDoc, RunStatus};
use habeas_core::{AttrKey, Error, Id, Node, Result, Timestamp};
use habeas_store::{New, Tx};
use serde_json::{Value, json};

use crate::notifications;

/// The tag that is the run's name too.
pub(crate) const NAME_TAG: &str = "mlflow.runName";
/// The tag under which MLflow's clients send the login name.
pub(crate) const USER_TAG: &str = "mlflow.user";
/// The tag that names the run of which this one is a part: run history's `parentRunId`.
pub(crate) const PARENT_TAG: &str = "mlflow.parentRunId";
/// The tag that describes a run or an experiment: run history's `description`.
pub(crate) const NOTE_TAG: &str = "mlflow.note.content";
/// The tag that names the script of a run: run history's `scriptName`.
pub(crate) const SCRIPT_TAG: &str = "mlflow.source.name";

/// What `azureml-core` puts before a run's id to name the place of its artifacts.
pub(crate) const DATA_CONTAINER: &str = "dcid.";

/// A run's id as a client writes it, with or without [`DATA_CONTAINER`] before it.
pub(crate) fn run_id(text: &str) -> &str {
    text.strip_prefix(DATA_CONTAINER).unwrap_or(text)
}

/// How a run is called on the wire: by the id that its client chose, or by its own.
pub(crate) fn run_name(run: &Node<RunDoc>) -> String {
    run.doc.details.run_id.clone().unwrap_or_else(|| run.id.to_hex())
}

/// Reads 32 hexadecimal digits, as MLflow writes identifiers.
pub(crate) fn parse(text: &str) -> Option<Id> {
    (text.len() == 32).then(|| text.parse().ok()).flatten()
}

/// A client's own words within an error, not longer than a line.
pub(crate) fn shortened(text: &str) -> String {
    if text.chars().count() <= 200 {
        text.to_owned()
    } else {
        text.chars().take(200).chain("...".chars()).collect()
    }
}

/// The run of that name below `scope`, which is what experiments stand under. For those who may read what stands there.
pub(crate) fn look_up_run(tx: &mut Tx<'_>, scope: Id, text: &str) -> Result<Option<Node<RunDoc>>> {
    let found = match tx.contained_by_text::<Run>(scope, AttrKey::RunId, text)? {
        Some(node) => Some(node),
        None => match parse(text) {
            // A run whose client chose another id is not called by its own.
            Some(id) => tx.get::<Run>(id)?.filter(|node| node.doc.details.run_id.is_none()),
            None => None,
        },
    };
    let Some(node) = found else { return Ok(None) };
    let above = tx.position(node.parent.unwrap_or(Id::NIL))?;
    Ok(matches!(above, Some((_, Some(parent), _)) if parent == scope).then_some(node))
}

/// The same, if the actor may do this with it.
pub(crate) fn find_run(
    tx: &mut Tx<'_>,
    actor: &Actor,
    scope: Id,
    text: &str,
    permission: Permission,
) -> Result<Node<RunDoc>> {
    let node = look_up_run(tx, scope, text)?
        .ok_or_else(|| Error::not_found(format!("Run with id={} not found", shortened(text))))?;
    authorise(tx, actor, node.id, permission)?;
    Ok(node)
}

/// The experiment that a run stands in.
pub(crate) fn experiment_of(tx: &mut Tx<'_>, run: &Node<RunDoc>) -> Result<Node<ExperimentDoc>> {
    tx.get::<Experiment>(run.parent.unwrap_or(Id::NIL))?
        .ok_or_else(|| Error::not_found("the experiment of the run was just removed"))
}

/// The login name that a person's client sent, kept with the person.
pub(crate) fn remember_client_name(tx: &mut Tx<'_>, person: Id, name: Option<&str>) -> Result<Option<Id>> {
    let Some(name) = name else { return Ok(None) };
    if let Some(known) = tx.child_by_name::<ClientName>(person, name)? {
        return Ok(Some(known.id));
    }
    let id = tx.new_id();
    tx.create::<ClientName>(New::under(person, id, ClientNameDoc { name: name.to_owned() }))?;
    Ok(Some(id))
}

/// A login name that was sent, unless it was erased with the person who sent it.
pub(crate) fn client_name(tx: &mut Tx<'_>, id: Option<Id>) -> Result<Option<String>> {
    match id {
        None => Ok(None),
        Some(id) => Ok(tx.get::<ClientName>(id)?.map(|node| node.doc.name)),
    }
}

/// Sets a tag, of which two stand in fields of their own.
pub(crate) fn put_tag(tx: &mut Tx<'_>, run: &mut RunDoc, person: Id, key: &str, value: &str) -> Result<()> {
    if key == USER_TAG {
        run.user_tag = remember_client_name(tx, person, Some(value))?;
        return Ok(());
    }
    if key == NAME_TAG {
        value.clone_into(&mut run.name);
    }
    run.tags.insert(key.to_owned(), value.to_owned());
    Ok(())
}

/// Removes a tag; whether it was there.
pub(crate) fn remove_tag(run: &mut RunDoc, key: &str) -> bool {
    if key == USER_TAG { run.user_tag.take().is_some() } else { run.tags.remove(key).is_some() }
}

/// Brings a run to another state, as run history has it: its end is that of the last time it ended. MLflow's clients say the end themselves,
/// and a run of theirs that goes on keeps it.
pub(crate) fn set_status(run: &mut RunDoc, status: RunStatus) {
    if status.is_over() != run.status.is_over() {
        run.end_time = None;
    }
    run.status = status;
}

/// Stores a run that was just made, of which its client may say that it is over.
pub(crate) fn create_run(tx: &mut Tx<'_>, mut new: New<RunDoc>) -> Result<Node<RunDoc>> {
    let ends = new.doc.status.is_over();
    if ends {
        new.doc.end_time.get_or_insert(milliseconds(tx.now()));
    }
    let node = tx.create::<Run>(new)?;
    if ends {
        notifications::run_ended(tx, &node)?;
    }
    Ok(node)
}

/// Stores a run that `person` changed, whose state was `before`. What follows from its end follows here, whichever protocol reports it.
pub(crate) fn update_run(
    tx: &mut Tx<'_>,
    mut node: Node<RunDoc>,
    before: RunStatus,
    person: Id,
) -> Result<Node<RunDoc>> {
    let ends = node.doc.status.is_over() && !before.is_over();
    if ends {
        node.doc.end_time.get_or_insert(milliseconds(tx.now()));
    }
    let node = tx.update_by::<Run>(&node, person)?;
    if ends {
        notifications::run_ended(tx, &node)?;
    }
    Ok(node)
}

/// A time in milliseconds since 1970.
pub(crate) const fn milliseconds(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000)
}

/// A name for a run that nobody named.
pub(crate) fn random_name(random: [u8; 4]) -> String {
    const WHAT: [&str; 16] = [
        "amber", "bold", "calm", "deft", "eager", "fair", "glad", "keen", "lucid", "merry", "noble", "quick",
        "rare", "sound", "tidy", "wise",
    ];
    const WHO: [&str; 16] = [
        "alder", "birch", "cedar", "crane", "finch", "grebe", "hare", "heron", "larch", "lynx", "maple",
        "otter", "raven", "rowan", "stoat", "wren",
    ];
    let [what, who, high, low] = random.map(usize::from);
    format!("{}-{}-{}", WHAT[what % 16], WHO[who % 16], (high * 256 + low) % 1000)
}

/// A number, or the word for what JSON has no number for.
pub(crate) fn number(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}
