//! Data-subject requests in the shapes of `/api/privacy/v1`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PlanReport;
use crate::kinds::ExportFormat;
use crate::requests::{Channel, DenialReason, ExtensionReason, IdentityCheck, RequestType};

/// A data-subject request, as the staff and the person it is about see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestReport {
    /// Its id.
    pub id: String,
    /// What is asked for.
    #[serde(rename = "type")]
    pub asked: RequestType,
    /// Of access and portability: the formats in which the archive has its data once more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<ExportFormat>,
    /// `received`, `verifying`, `undoWindow`, `awaitingApproval`, `planned`, `running`, `failed` (goes on by itself), `completed`,
    /// `completedWithHolds`, `denied`, `cancelled`, `expired` or `duplicate`.
    pub state: String,
    /// The law under which it is answered.
    pub regime: String,
    /// How it came in.
    pub channel: Channel,
    /// From when the time to answer counts.
    pub received: String,
    /// Until when it has to be answered.
    pub due: String,
    /// Whether that is over and it is still open.
    pub overdue: bool,
    /// Why the time to answer was extended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<ExtensionReason>,
    /// Object id of whose data it is about; absent when the address that was given is nobody's. It says nothing once they are erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Object id of who took it in; nil for the operator of the machine, absent for the public form and for
    /// what time alone brings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// How it was made sure that the person asks themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_checked_by: Option<IdentityCheck>,
    /// Whether a second person has to approve it.
    pub needs_approval: bool,
    /// Object id of who approved it; nil for the operator of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// Digest of the plan that was made or approved last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Until when the person may change their mind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_until: Option<String>,
    /// The erasure that carries it out: see `/erasures/{plan}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erasure: Option<String>,
    /// The archive that answers it: see `/exports/{export}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// The receipt that proves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The open request that asks the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<DenialReason>,
    /// Where the archive is sent, if it is not to be fetched; gone with the person, and left out in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationReport>,
    /// The e-mail address that the person wants to have, until they have given the code back that was sent there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_email: Option<String>,
    /// Ids of the recipients that are told of what was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Notes and answers, oldest first; gone with the person, and left out in the queue.
    pub comments: Vec<RequestCommentReport>,
    /// What happened, oldest first.
    pub history: Vec<RequestHistoryReport>,
}

/// Where the archive that answers a request is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationReport {
    /// The address, without its permission.
    pub location: String,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
    /// When it had arrived or was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// Something that is sent to another system because of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryReport {
    /// `archive`, `notice` (to a recipient) or `callback` (to the controller that passed the request on).
    pub what: String,
    /// The recipient of a notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// `waiting`, `running`, `delivered` or `failed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When it was tried last, or enqueued.
    pub updated: String,
}

/// A note on a request, or an answer to the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestCommentReport {
    /// When.
    pub at: String,
    /// Object id of who wrote it; nil for the operator of the machine.
    pub by: String,
    /// What.
    pub text: String,
    /// Whether it was written to the person.
    pub answer: bool,
}

/// Something that happened to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestHistoryReport {
    /// When.
    pub at: String,
    /// What.
    pub event: String,
    /// Object id of who did it; nil for the operator of the machine, absent for the server and for whoever was not signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A page of requests, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestPage {
    /// The requests.
    pub requests: Vec<RequestReport>,
    /// What to ask for as `after` to get the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What whoever has a request's id may know: the same for known and unknown persons until a code was repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestStatusReport {
    /// Its id: whoever has it may repeat the code and ask how far it has come.
    pub id: String,
    /// What is asked for.
    #[serde(rename = "type")]
    pub asked: RequestType,
    /// As in [`RequestReport`].
    pub state: String,
    /// When it was taken in.
    pub received: String,
    /// Until when it has to be answered.
    pub due: String,
    /// Of an erasure that was carried out: the run, at whose address its receipt is (`/erasures/{plan}/receipt`); absent when that is over,
    /// 30 days after its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasure: Option<String>,
    /// Of an erasure that was carried out: the receipt that proves it, the last one where a legal hold kept a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

/// What the erasure that a request asks for would do now, and what has changed since its plan was last made or approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestPlanReport {
    /// The plan, made now; its digest is what an approval has to repeat.
    pub plan: PlanReport,
    /// Whether it differs from the one that was made or approved last.
    pub changed: bool,
    /// In which kinds it differs. Empty although something changed when only contents changed, or others who are affected.
    pub difference: Vec<PlanDifferenceReport>,
}

/// How much of a kind there was and is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanDifferenceReport {
    /// The kind, as the data map names it.
    pub kind: String,
    /// How many there were.
    pub count_before: u64,
    /// How many there are.
    pub count_now: u64,
    /// How many bytes there were.
    pub bytes_before: u64,
    /// How many bytes there are.
    pub bytes_now: u64,
}
