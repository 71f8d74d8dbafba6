//! What an erasure wants decided: who takes over, and what else goes.

use habeas_access::Actor;
use habeas_core::kinds::Decisions;
use habeas_core::report::RequestPlanReport;
use habeas_core::requests::{RequestState, RequestType};
use habeas_core::{Error, Id, Result, fault};

use super::Case;
use super::queue::compared;
use crate::{Rights, plan};

/// What stands in a request's history when that was decided.
pub(super) const DECIDED: &str = "decided";

impl Rights {
    /// Decides what the plan of a requested erasure offers, in place of what was decided before, as long as the run has not begun; the plan
    /// as it is then. Allowed to the person and the staff; successors and deletions to the person and to administrators. An approval that
    /// was given for another plan is asked for again, and one by a second person is needed for what somebody of the staff decided.
    pub async fn decide_request(
        &self,
        actor: &Actor,
        request: Id,
        decisions: Decisions,
    ) -> Result<RequestPlanReport> {
        let node = self.authorise_request(actor, request, "DecideRequest").await?;
        self.require_in_person(actor)?;
        if let Some(subject) = node.doc.subject
            && (decisions.names_others() || node.doc.decisions.names_others())
        {
            self.authorise_succession(actor, subject).await?;
        }
        let (actor, by, salt, rights) = (*actor, actor.reference(), self.salt(), self.clone());
        let report = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                let doc = &case.node.doc;
                let decidable = doc.asked == RequestType::Erasure
                    && doc.state.is_open()
                    && !doc.state.is_running()
                    && doc.state != RequestState::Failed;
                if !decidable {
                    return Err(Error::conflict("there is nothing to decide for this request, or no longer"));
                }
                let subject = case.subject()?;
                let plan = plan::make(case.tx, subject, &decisions)?;
                let report = compared(&case.node.doc, plan);
                case.node.doc.decisions = decisions.clone();
                if actor != Actor::Operator && by != subject {
                    // Whoever of the staff has more go with it does not do so alone.
                    case.node.doc.needs_approval = true;
                }
                case.note(DECIDED, Some(by));
                rights.go_on(&mut case, salt)?;
                case.save()?;
                Ok(report)
            })
            .await?;
        fault::point("request.decided");
        self.wake();
        Ok(report)
    }
}
