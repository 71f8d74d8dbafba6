//! What an erasure would do.

use std::collections::BTreeMap;

use habeas_core::crypto::Sha256;
use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::kinds::{Decisions, Iteration, IterationStatus, ModelExport, ModelExportDoc};
use habeas_core::node::Relation;
use habeas_core::report::{
    ChoiceReport, KeptReport, ModelPlanReport, PlanItemReport, PlanReport, TaintedReport,
};
use habeas_core::{Erasure, Error, Fate, Id, Kind, Result, Timestamp, registry, time};
use habeas_store::{Going, HolderState, Page, TaskKind, Tx};

use crate::authored::written_under;
use crate::erasure::ErasureTask;
use crate::holdings::{kind_name, personal_kinds};
use crate::ownership;
use crate::{Rights, depicted, holds, recipients};

/// How long a plan can be run, in hours.
pub(crate) const PLAN_HOURS: i64 = 24;
/// Rows read at a time while the digest is made.
const PAGE: u32 = 1_000;

impl Rights {
    /// Plans the erasure of a person or an organisation and keeps the plan, so that it can be approved and run. Changes nothing of
    /// theirs.
    pub async fn plan_erasure(&self, holder: Id) -> Result<PlanReport> {
        self.plan_erasure_with(holder, Decisions::default()).await
    }

    /// The same with decisions: successors where the person is the last owner or administrator take over when the plan runs. The caller has
    /// checked that the actor may name them.
    pub async fn plan_erasure_with(&self, holder: Id, decisions: Decisions) -> Result<PlanReport> {
        let salt: [u8; 16] = self.store.ambient().bytes();
        let mut tags = BTreeMap::new();
        let decided = decisions.clone();
        for (iteration, images) in self.store.read(move |tx| leaving(tx, holder, &decided)).await? {
            tags.insert(iteration.to_string(), self.models.tags_without(iteration, &images).await?);
        }
        let kept = self.requests.kept_address();
        self.store
            .write(move |tx| {
                let mut plan = make(tx, holder, &decisions)?;
                plan.kept.extend(kept.clone());
                for model in &mut plan.models {
                    let left = tags.get(&model.iteration).copied().unwrap_or_default();
                    (model.tags_emptied, model.tags_below_minimum) = (left.emptied, left.below_minimum);
                }
                let task = ErasureTask::planned(holder, &plan, salt, decisions.clone());
                let id = tx.plan_task(TaskKind::Erasure, Some(holder), &serde_json::to_value(&task)?)?;
                plan.plan = id.to_string();
                Ok(plan)
            })
            .await
    }
}

/// Makes a plan, without its id.
pub(crate) fn make(tx: &mut Tx<'_>, holder: Id, decisions: &Decisions) -> Result<PlanReport> {
    let Some((sort @ (HolderKind::Person | HolderKind::Organisation), state)) = tx.holder(holder)? else {
        return Err(Error::not_found("there is no such person or organisation"));
    };
    let held = tx.holdings(holder)?;
    let parts = tx.held_parts(holder)?;
    let items = kinds_of(sort)
        .map(|kind| {
            let about = registry::ops(kind).about();
            let holding = held.iter().find(|holding| holding.kind == kind);
            PlanItemReport {
                service: about.service.to_owned(),
                kind: kind_name(kind),
                title: about.title.to_owned(),
                count: holding.map_or(0, |holding| holding.count),
                bytes: holding.map_or(0, |holding| holding.bytes),
                action: "delete".to_owned(),
                held: parts.iter().filter_map(|part| part.counts.get(&kind)).sum(),
            }
        })
        .collect();
    let mentions = tx.mentions_of(holder)?.len() as u64;
    let (made, written_in_made) = written_for_others(tx, holder, MentionRole::Maker)?;
    let (changed, written_in_changed) = written_for_others(tx, holder, MentionRole::Editor)?;
    let choices = ownership::choices(tx, holder, decisions)?;
    let models = models(tx, holder, decisions)?;
    let mut revoked = exported_digests(tx, holder)?.len() as u64;
    for model in &models {
        let exports = tx.children::<ModelExport>(model.iteration.parse().unwrap_or(Id::NIL), Page::ALL)?;
        revoked += exports.iter().filter(|export| export.doc.digest.is_some()).count() as u64;
    }
    let now = tx.now();
    Ok(PlanReport {
        plan: String::new(),
        object_id: holder.to_string(),
        digest: digest(tx, holder, decisions)?,
        restricted: state == HolderState::Restricted,
        created: now.rfc3339(),
        valid_until: Timestamp(now.0 + PLAN_HOURS * time::HOUR).rfc3339(),
        items,
        kept: [KeptReport {
            what: "1 receipt of the erasure, and receipts issued before: counts, times and a commitment, no personal data".into(),
            why: "proof that the request was answered".into(),
        }, KeptReport {
            what: "records of requests: type, dates and decisions under random ids, no personal data; deleted three years after their end".into(),
            why: "proof that requests were answered in time".into(),
        }]
        .into_iter()
        .chain(written_in_made)
        .chain(written_in_changed)
        .collect(),
        held: holds::held(tx, holder, decisions)?,
        recipients: if sort == HolderKind::Person { recipients::told(tx, holder)? } else { Vec::new() },
        others_affected: tx.count_others_mentioned(holder)?,
        depicted: depicted::images(tx, holder)?.len() as u64,
        erase_depicted: decisions.erase_depicted,
        unlinked: mentions + made + changed,
        made,
        changed,
        models,
        tainted: tainted(tx, Going::Of(holder))?,
        revoked,
        copies: tx.edges_from_others(holder, Relation::CopyOf)?.len() as u64,
        keys: tx.containers_of(holder)?.len() as u64,
        backups: "the keys are destroyed now: every backup made until then is unreadable for what was erased, at once".into(),
        blocked: blocked(&choices),
        choices,
    })
}

/// How much of what others hold the person made, or changed where others made it, and what stays there. What they wrote in it (descriptions,
/// tags, paths, values) is those others' documentation of their own work, and stays with them, without the names of its author; that the person
/// wrote it is known no more.
fn written_for_others(tx: &mut Tx<'_>, person: Id, role: MentionRole) -> Result<(u64, Vec<KeptReport>)> {
    let (of_whom, homes) = match role {
        MentionRole::Editor => ("others made and hold", "home directories called after them"),
        _ => ("others hold", "home directories"),
    };
    let work = tx.count_work_for_others(person, role)?;
    let mut kept = Vec::new();
    for &(kind, count) in &work {
        let mut counts = vec![(kind, count)];
        for &below in written_under(kind) {
            counts.push((below, tx.count_below_work_for_others((person, role), kind, below)?));
        }
        kept.extend(counts.into_iter().filter(|(_, count)| *count > 0).map(|(kind, count)| KeptReport {
            what: format!(
                "what was written in {count} of {} that {of_whom}: it stays theirs, without the person's address, names and {homes}, and says \
                 no more who wrote it",
                registry::ops(kind).about().title
            ),
            why: "documentation of the holder's own work (legitimate interest, Article 6(1)(f)); single texts can be corrected first".into(),
        }));
    }
    Ok((work.iter().map(|(_, count)| count).sum(), kept))
}

/// Digests of the models that were exported from a holder's projects: they are revoked with the erasure.
pub(crate) fn exported_digests(tx: &mut Tx<'_>, holder: Id) -> Result<Vec<String>> {
    let mut digests = Vec::new();
    let mut after = Id::NIL;
    loop {
        let exports = tx.held(holder, Kind::ModelExport, after, PAGE)?;
        for export in &exports {
            let doc: ModelExportDoc = serde_json::from_slice(&export.doc)?;
            digests.extend(doc.digest);
        }
        match exports.last() {
            Some(last) if exports.len() as u32 == PAGE => after = last.id,
            _ => return Ok(digests),
        }
    }
}

/// The models of others that have to forget, with the images that leave each; in the order of their ids.
fn leaving(tx: &mut Tx<'_>, person: Id, decisions: &Decisions) -> Result<BTreeMap<Id, Vec<Id>>> {
    let mut leaving: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    for (iteration, image) in tx.edges_from_others(person, Relation::LearnedFrom)? {
        leaving.entry(iteration).or_default().push(image);
    }
    for image in holds::images_of_others(tx, person, decisions)? {
        for iteration in tx.sources(image, Relation::LearnedFrom)? {
            if tx.position(iteration)?.is_some_and(|(_, _, holder)| holder != person) {
                leaving.entry(iteration).or_default().push(image);
            }
        }
    }
    Ok(leaving)
}

/// What becomes of those models. What becomes of their tags takes more than a transaction to tell.
fn models(tx: &mut Tx<'_>, person: Id, decisions: &Decisions) -> Result<Vec<ModelPlanReport>> {
    leaving(tx, person, decisions)?
        .into_iter()
        .map(|(iteration, images)| {
            let images = images.len() as u64;
            let left = tx.count_targets(iteration, Relation::LearnedFrom)?.saturating_sub(images);
            let status = tx.get::<Iteration>(iteration)?.map(|node| node.doc.status);
            let action = match status {
                Some(IterationStatus::Training) => "train again",
                _ if left < habeas_models::LEAST_IMAGES => "withdraw",
                _ => "solve again",
            };
            Ok(ModelPlanReport {
                iteration: iteration.to_string(),
                images,
                left,
                action: action.to_owned(),
                tags_emptied: 0,
                tags_below_minimum: 0,
            })
        })
        .collect()
}

/// What stays and was made from what goes, over however many steps: for erasures and deletions alike.
pub(crate) fn tainted(tx: &mut Tx<'_>, going: Going) -> Result<Vec<TaintedReport>> {
    let made = tx.made_from(going)?;
    Ok(made
        .into_iter()
        .map(|(id, kind)| TaintedReport { id: id.to_string(), kind: kind_name(kind) })
        .collect())
}

/// The kinds that a person or an organisation can hold.
fn kinds_of(sort: HolderKind) -> impl Iterator<Item = Kind> {
    let organisation = sort == HolderKind::Organisation;
    let root = organisation.then_some(Kind::Organisation);
    root.into_iter().chain(
        personal_kinds().filter(move |kind| {
            !organisation || !matches!(kind, Kind::Person | Kind::Credential | Kind::Token)
        }),
    )
}

/// What has to be settled first, in words: the choices that this plan makes none of, and how each is made.
pub(crate) fn blocked(choices: &[ChoiceReport]) -> Vec<String> {
    choices
        .iter()
        .filter(|choice| choice.successor.is_none() && !choice.deleted)
        .map(|choice| {
            if choice.kind == kind_name(Kind::Installation) {
                return "this is the last administrator: name a successor first (habeas person role EMAIL administrator, or PUT \
                        /api/privacy/v1/persons/ID/role), or in the plan (habeas erase plan --successor installation=EMAIL)"
                    .to_owned();
            }
            let organisation = &choice.resource;
            let people = match choice.people {
                0 => "nobody else works".to_owned(),
                1 => "1 other person works".to_owned(),
                many => format!("{many} other people work"),
            };
            format!(
                "this is the last owner of organisation {organisation}, in which {people}. Hand it over (habeas organisation member \
                 {organisation} EMAIL --role owner, or PUT /api/privacy/v1/organisations/{organisation}/members/ID; or in the plan, habeas \
                 erase plan --successor {organisation}=EMAIL), or delete it with everything in it (in the plan, habeas \
                 erase plan --delete {organisation}; or before, habeas erase plan --organisation {organisation}, or POST \
                 /api/privacy/v1/organisations/{organisation}/erasure-plans)"
            )
        })
        .collect()
}

/// Whether an approval binds to what is held of this kind. Telemetry, tokens, archives and case files come and go by themselves: a few more
/// of them do not change what was approved.
pub(crate) const fn binds(kind: Kind) -> bool {
    !matches!(kind, Kind::Telemetry | Kind::Token | Kind::ExportArchive | Kind::CaseFile)
}

/// The digest that an approval binds to: what is held in which version and what becomes of it, and who else is tied to what.
fn digest(tx: &mut Tx<'_>, person: Id, decisions: &Decisions) -> Result<String> {
    let mut digest = Sha256::default();
    let mut after = Id::NIL;
    loop {
        let rows = tx.held_versions(person, after, PAGE)?;
        for (id, kind, version) in &rows {
            after = *id;
            if !binds(*kind) {
                continue;
            }
            digest.update(id.as_bytes());
            digest.update(&kind.number().to_be_bytes());
            digest.update(&version.to_be_bytes());
        }
        if (rows.len() as u32) < PAGE {
            break;
        }
    }
    digest.update(&[u8::from(decisions.erase_depicted)]);
    for successor in &decisions.successors {
        digest.update(successor.resource.as_bytes());
        digest.update(successor.person.as_bytes());
    }
    for &organisation in &decisions.deletions {
        digest.update(self::digest(tx, organisation, &Decisions::default())?.as_bytes());
    }
    for model in models(tx, person, decisions)? {
        digest.update(model.iteration.as_bytes());
        digest.update(&model.images.to_be_bytes());
    }
    for (made, _) in tx.made_from(Going::Of(person))? {
        digest.update(made.as_bytes());
    }
    for part in holds::held(tx, person, decisions)? {
        digest.update(part.hold.as_bytes());
        digest.update(part.target.as_bytes());
    }
    // What the person makes for others in the meantime changes nothing of what was approved, like telemetry.
    for mention in tx.mentions_of(person)? {
        if mention.role != MentionRole::Subject {
            digest.update(mention.resource.as_bytes());
            digest.update(&mention.role.number().to_be_bytes());
        }
    }
    digest.update(&tx.count_others_mentioned(person)?.to_be_bytes());
    Ok(hex::encode(digest.finish()))
}

/// Asks every kind what becomes of its resources. No kind that a holder can hold keeps or changes anything in this version, so
/// a run deletes whole trees; a kind that answers otherwise stops the run here, before anything happened.
pub(crate) fn require_deletable(tx: &mut Tx<'_>, person: Id) -> Result<()> {
    for kind in personal_kinds().chain([Kind::Organisation]) {
        let ops = registry::ops(kind);
        if let Some(node) = tx.held(person, kind, Id::NIL, 1)?.first()
            && ops.erase(node, Erasure::Holder)? != Fate::Delete
        {
            return Err(Error::internal(format!(
                "{kind:?} is not deleted with its holder, and nothing can keep it yet"
            )));
        }
    }
    Ok(())
}
