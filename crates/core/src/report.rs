//! What the rights engine reports, in the shapes of `/api/privacy/v1`: made by the engine, sent by the server, read by the
//! client, shown by the portal and the command line.
//!
//! Identifiers are GUIDs, times RFC 3339, sizes bytes.

mod requests;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::kinds::ExportFormat;

pub use requests::{
    DeliveryReport, DestinationReport, PlanDifferenceReport, RequestCommentReport, RequestHistoryReport,
    RequestPage, RequestPlanReport, RequestReport, RequestStatusReport,
};

/// A person, as the staff and the person themselves see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonReport {
    /// The person's id on every wire.
    pub object_id: String,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub name: String,
    /// `guest`, `free`, `standard` or `unclaimed`.
    pub account_type: String,
    /// When the account was made.
    pub created: String,
}

/// Images of one holder whose metadata names somebody, and whether the holder's programs called somebody so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DepictionReport {
    /// Whose images they are: object id.
    pub holder: String,
    /// How many there are.
    pub count: u64,
    /// Their ids, the first hundred.
    pub images: Vec<String>,
    /// Object id of the person who is found by that name there: of an account, or of an unclaimed person who was taken up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Id of the login name that is exactly this, where this person's programs sent it: runs, models and datasets that they logged show it.
    /// Whose it is may be somebody else; it is corrected, and taken out of all of them, by the field `name` of this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_name: Option<String>,
}

/// A person that was made, with the keys of their Custom Vision account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonCreatedReport {
    /// The person's id on every wire.
    pub object_id: String,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub name: String,
    /// Keys of the training API: primary, secondary; none for a program that was let in.
    pub training_keys: Vec<String>,
    /// Keys of the prediction API: primary, secondary; none for a program that was let in.
    pub prediction_keys: Vec<String>,
}

/// The keys of a Custom Vision account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeysReport {
    /// The account's id.
    pub account: String,
    /// Keys of the training API: primary, secondary.
    pub training_keys: Vec<String>,
    /// Keys of the prediction API: primary, secondary.
    pub prediction_keys: Vec<String>,
}

/// A member of an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberReport {
    /// Object id.
    pub person: String,
    /// `owner`, `contributor`, `trainer`, `labeler`, `deployment` or `reader`.
    pub role: String,
    /// Since when.
    pub since: String,
}

/// Everything held on a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldingsReport {
    /// Whose.
    pub person: PersonReport,
    /// Whether processing is restricted (GDPR Article 18): what is held can be seen, but nobody changes it, learns from it or asks its models.
    #[serde(default)]
    pub restricted: bool,
    /// When it was counted.
    pub counted: String,
    /// What is held, by kind; every kind is named, also those of which there is nothing.
    pub items: Vec<HoldingReport>,
    /// Where the person appears in what others hold, otherwise than as who made or changed it.
    pub mentions: Vec<MentionReport>,
    /// What the person made and others hold, by kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<MadeReport>,
    /// What the person changed that others made and hold, by kind: tags, parameters, descriptions that they may have written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<MadeReport>,
    /// Sum of the counts.
    pub total_count: u64,
    /// Sum of the bytes.
    pub total_bytes: u64,
}

/// What is held of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldingReport {
    /// The service, as a person would name it.
    pub service: String,
    /// The kind, as the data map names it.
    pub kind: String,
    /// The kind in the plural, as a person would name it.
    pub title: String,
    /// How many.
    pub count: u64,
    /// How many bytes, of documents and files.
    pub bytes: u64,
    /// Why it is kept.
    pub why: String,
    /// How long it is kept.
    pub until: String,
    /// When the next of it is deleted by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_expiry: Option<String>,
}

/// Where a person appears in what somebody else holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MentionReport {
    /// The resource's id.
    pub resource: String,
    /// Its kind, as the data map names it.
    pub kind: String,
    /// How the person is tied to it.
    pub role: String,
    /// Since when.
    pub since: String,
    /// What an erasure of the person does to it.
    pub on_erasure: String,
}

/// How much of one kind that others hold a person made, or changed where others made it. What is in it is its holder's: that it is there, since
/// when and in what can be listed (`/persons/ID/items/KIND?heldByOthers=true`, with `&changed=true` what they changed), and every archive has
/// the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeReport {
    /// The service, as a person would name it.
    pub service: String,
    /// The kind, as the data map names it.
    pub kind: String,
    /// The kind in the plural, as a person would name it.
    pub title: String,
    /// How many.
    pub count: u64,
    /// What an erasure of the person does to them.
    pub on_erasure: String,
}

/// One resource as a person is shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemReport {
    /// Its id.
    pub id: String,
    /// Its kind, as the data map names it.
    pub kind: String,
    /// One line that tells it apart.
    pub title: String,
    /// When it was made.
    pub created: String,
    /// Label and value of what else there is to know.
    pub facts: Vec<FactReport>,
}

/// A label and a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FactReport {
    /// What it is.
    pub label: String,
    /// What it says.
    pub value: String,
}

/// What was corrected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RectificationReport {
    /// The profile as it is now.
    pub person: PersonReport,
    /// How many values changed.
    pub changed: u64,
    /// Since or by when the old values can be read nowhere, not in backups either: for the profile at once, for what lies in projects when
    /// their keys have been renewed. Absent when nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_values_unreadable: Option<String>,
    /// The request under which a person's own new address waits for the code that was sent there; the old one is theirs until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_change: Option<RequestStatusReport>,
}

/// A restriction that was lifted and goes on until the person has had notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestrictionReport {
    /// When it ends, unless the person's data is restricted anew before.
    pub restricted_until: String,
}

/// What deleting a resource takes with it, or took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionReport {
    /// The resource; or what those that were selected stand in, which stays.
    pub resource: String,
    /// How many resources were selected; absent where the one above goes itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected: Option<u64>,
    /// What goes, itself among it.
    pub deletes: Vec<DeletedKind>,
    /// Files that go.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Keys that are destroyed, which makes all copies of what they sealed unreadable at once, also in backups. Of what is deleted within
    /// a container that stays, copies become unreadable when that gets a new key.
    pub keys: u64,
    /// Models, images and services that stay and were made from what goes, whosever they are. What they learned cannot be taken out of them:
    /// they are marked, and their owners see it. Of a deletion that is done, the receipt has how many there were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tainted: Vec<TaintedReport>,
    /// The receipt; absent from a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

/// How much of one kind is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletedKind {
    /// The kind, as the data map names it.
    pub kind: String,
    /// Resources.
    pub count: u64,
    /// Bytes of sealed documents.
    pub bytes: u64,
}

/// The retention rules, and what they would delete now or have deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionReport {
    /// When it was counted.
    pub at: String,
    /// One rule for each kind.
    pub rules: Vec<RetentionRule>,
    /// How many are due that legal holds, a restriction or a running erasure keep from being deleted.
    pub kept: u64,
    /// The receipt of the run; absent for a plan, and when nothing was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

/// How long one kind is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionRule {
    /// The kind, as the data map names it.
    pub kind: String,
    /// The deletion class: a period (ISO 8601), `erased`, `released` or `installation`.
    pub class: String,
    /// What the period is counted from; absent for classes without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// How many are due, or were deleted.
    pub due: u64,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemPage {
    /// The items.
    pub items: Vec<ItemReport>,
    /// What to ask for as `after` to get the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What an erasure would do, made by the code that does it. Making it changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// The plan's id.
    pub plan: String,
    /// The person or organisation to be erased.
    pub object_id: String,
    /// SHA-256 over what would be erased, what stays, and who else is affected; telemetry, tokens and archives aside. A plan
    /// whose digest no longer holds is refused.
    pub digest: String,
    /// Whether processing is restricted (GDPR Article 18). An erasure goes further, and ends it.
    #[serde(default)]
    pub restricted: bool,
    /// When it was made.
    pub created: String,
    /// Until when it can be run.
    pub valid_until: String,
    /// What happens to what is held, by kind.
    pub items: Vec<PlanItemReport>,
    /// What stays, and why.
    pub kept: Vec<KeptReport>,
    /// Legal holds on what would be erased: each keeps its part until it ends; the rest is erased now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldReport>,
    /// Systems that received this person's data and will be told that it was erased (GDPR Article 19).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<ToldReport>,
    /// Other persons who work in what is erased.
    pub others_affected: u64,
    /// Images of others that show the person. Their name is taken out of them.
    #[serde(default)]
    pub depicted: u64,
    /// Whether those images are deleted, too, and models forget them.
    #[serde(default)]
    pub erase_depicted: bool,
    /// Places in what others hold where the person becomes unlinkable.
    pub unlinked: u64,
    /// How many of them are things of others that name the person as who made them.
    #[serde(default)]
    pub made: u64,
    /// How many of them are things that others made and hold and the person changed.
    #[serde(default)]
    pub changed: u64,
    /// Models of others that learned from this person's images, or copies of them, and what becomes of them.
    pub models: Vec<ModelPlanReport>,
    /// Models, images and services of others that were made from this person's runs and models. What they learned cannot be taken out of
    /// them: they are marked, and their owners see it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tainted: Vec<TaintedReport>,
    /// Copies of this person's images in projects of others, which are deleted too.
    pub copies: u64,
    /// Exported models whose digests go onto the public revocation list: those of the person's own projects, and of the models above.
    #[serde(default)]
    pub revoked: u64,
    /// Containers whose keys are destroyed.
    pub keys: u64,
    /// What becomes of backups.
    pub backups: String,
    /// What has to be settled before it can run, the choices and how each is made; empty when it can.
    pub blocked: Vec<String>,
    /// What others need that goes, or loses its last owner, with this person: each wants a successor, or to be deleted first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<ChoiceReport>,
}

/// Something that was made from what is erased, and cannot forget it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaintedReport {
    /// Its id.
    pub id: String,
    /// Its kind, as the data map names it.
    pub kind: String,
}

/// A system that is told what is done about a person's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToldReport {
    /// The recipient's id.
    pub recipient: String,
    /// Its name.
    pub name: String,
}

/// Something that needs a decision before a person is erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChoiceReport {
    /// The organisation, or the nil id for the installation itself.
    pub resource: String,
    /// Its kind, as the data map names it.
    pub kind: String,
    /// Its name; absent for the installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the person is the last of: `owner` or `administrator`.
    pub role: String,
    /// How many other people it concerns.
    pub people: u64,
    /// Object id of the successor whom this plan names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// Whether this plan deletes it, with everything in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// What was handed over to another holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransferReport {
    /// The project, account or workspace.
    pub resource: String,
    /// Its kind, as the data map names it.
    pub kind: String,
    /// Whose it is now.
    pub holder: String,
    /// How many resources that were, with all that stands under it.
    pub resources: u64,
}

/// What happens to a model of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelPlanReport {
    /// The iteration.
    pub iteration: String,
    /// Images that it must forget.
    pub images: u64,
    /// Images that it still learns from afterwards.
    pub left: u64,
    /// `solve again`; `withdraw` when too few images are left; `train again` when its training has not ended yet.
    pub action: String,
    /// Tags that lose their last image: they are never predicted any more.
    #[serde(default)]
    pub tags_emptied: u64,
    /// Tags that keep images, but fewer than a training needs.
    #[serde(default)]
    pub tags_below_minimum: u64,
}

/// What happens to one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanItemReport {
    /// The service, as a person would name it.
    pub service: String,
    /// The kind, as the data map names it.
    pub kind: String,
    /// The kind in the plural, as a person would name it.
    pub title: String,
    /// How many.
    pub count: u64,
    /// How many bytes.
    pub bytes: u64,
    /// `delete`, `redact` or `keep`.
    pub action: String,
    /// How many of them a legal hold keeps for now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a legal hold keeps of what would be erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldReport {
    /// The hold.
    pub hold: String,
    /// The case it serves.
    pub matter: String,
    /// Why that is lawful.
    pub reason: String,
    /// When it ends by itself; absent when somebody has to release it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What it keeps.
    pub target: String,
    /// The kind of that, as the data map names it.
    pub kind: String,
    /// How many resources that is, less what a hold named before keeps already.
    pub resources: u64,
}

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldReport {
    /// Its id.
    pub id: String,
    /// What it keeps, with all that stands under it.
    pub target: String,
    /// The kind of that, as the data map names it; absent when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whose that is; absent once its holder was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The case it serves.
    pub matter: String,
    /// Why that is lawful.
    pub reason: String,
    /// Who placed it; absent for the operator of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placed_by: Option<String>,
    /// When it was placed.
    pub placed: String,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What stays after an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptReport {
    /// What.
    pub what: String,
    /// Why that is lawful.
    pub why: String,
}

/// How far an erasure has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErasureReport {
    /// The plan that is being run.
    pub plan: String,
    /// `planned`, `running`, `completed_with_holds`, `completed` or `failed`; one that failed goes on by itself, and so does one with holds
    /// when they end.
    pub status: String,
    /// The steps, in order.
    pub steps: Vec<StepReport>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The receipt's id, once it is completed; with legal holds the last one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Legal holds that still keep a part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
}

/// One step of an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Its name: `freeze`, `subtract`, `shred`, `delete`, `resolve`, `purge`, `verify`, `receipt`; with legal holds also `release`.
    pub name: String,
    /// What it does, in words for the person.
    pub title: String,
    /// `waiting`, `running` or `done`.
    pub status: String,
}

/// A stored archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportReport {
    /// Its id.
    pub id: String,
    /// `running`, `ready` or `failed`.
    pub status: String,
    /// Resources written so far.
    pub done: u64,
    /// Resources to write.
    pub total: u64,
    /// Size, once it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// SHA-256 in hexadecimal, once it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The formats that it has its data in once more.
    #[serde(default)]
    pub formats: Vec<ExportFormat>,
    /// The age public key for whose holder it is sealed: its content is an age file then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Whether it is sealed with a passphrase: its content is an age file then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_passphrase: bool,
    /// When it was asked for.
    pub created: String,
    /// Until when it can be downloaded.
    pub expires: String,
}

impl ExportReport {
    /// Whether its content is an age file.
    pub fn is_sealed(&self) -> bool {
        self.recipient.is_some() || self.with_passphrase
    }
}

/// A receipt in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptSummary {
    /// Its id.
    pub id: String,
    /// `erasure-receipt/1` or `access-receipt/1`.
    pub receipt_type: String,
    /// When it was issued.
    pub issued: String,
}

/// A key that signs, or signed, receipts and checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyReport {
    /// `Ed25519`.
    pub algorithm: String,
    /// The id by which receipts name it.
    pub key_id: String,
    /// 32 bytes in hexadecimal.
    pub public_key: String,
    /// The key as tools of signed notes take it, to verify checkpoints.
    pub checkpoint_key: String,
    /// The statement, signed by the key before, that announces it, as a JWS; none for the first key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announcement: Option<String>,
}

/// A proof that a log only grew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsistencyReport {
    /// Entries of the earlier log.
    pub from: u64,
    /// Entries of the later one.
    pub to: u64,
    /// The hashes of RFC 6962, section 2.1.2, in hexadecimal.
    pub hashes: Vec<String>,
    /// The later log's checkpoint, when it is today's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The announcements of keys after the first one, oldest first.
    pub keys: Vec<String>,
}

/// Entries of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntriesReport {
    /// Which is the first, from 0.
    pub from: u64,
    /// Entries in the whole log.
    pub size: u64,
    /// SHA-256 of each receipt's signature, in hexadecimal: the content of the log's leaves.
    pub entries: Vec<String>,
}

/// What was done in one minute in a person's name, or by staff with their data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityReport {
    /// The start of the minute.
    pub minute: String,
    /// The operation, by the name its protocol gives it.
    pub operation: String,
    /// The status of the answer.
    pub status: u16,
    /// `you` or `staff`.
    pub by: String,
    /// How often.
    pub count: u32,
}

/// A bearer token or link that was issued; shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedReport {
    /// Its id, by which it can be revoked.
    pub id: String,
    /// The token, or the whole link.
    pub secret: String,
    /// When it ends.
    pub expires: String,
}
