//! An erasure while it runs, and what remains of it: a page without personal data, reached by the plan's id, which is a
//! secret. Nobody can be signed in as somebody who is being erased.

use askama::Template;
use habeas_core::report::ErasureReport;

use super::ReceiptView;
use crate::format::Count;

/// `GET /erasures/{plan}`.
#[derive(Debug, Template)]
#[template(path = "erasure.html")]
pub struct ErasurePage {
    /// The plan's id.
    pub id: String,
    /// How far it has come.
    pub state: ErasureState,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The proof, once it is completed.
    pub receipt: Option<ReceiptView>,
}

/// How far an erasure has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErasureState {
    /// Nothing has happened yet.
    Planned,
    /// It runs.
    Running,
    /// The last attempt failed, for this reason; it goes on by itself.
    Resuming(String),
    /// Everything is gone but what legal holds keep; it goes when they end.
    Held,
    /// Everything is gone.
    Completed,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name in events.
    pub name: String,
    /// What it does.
    pub title: String,
    /// How far it has come.
    pub state: StepState,
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Its turn has not come.
    Waiting,
    /// It is being done.
    Running,
    /// It is done.
    Done,
}

impl StepState {
    /// The word for it, in events and classes.
    pub fn name(&self) -> &'static str {
        match self {
            StepState::Waiting => "waiting",
            StepState::Running => "running",
            StepState::Done => "done",
        }
    }

    /// The word for it on the page.
    pub fn title(&self) -> &'static str {
        match self {
            StepState::Waiting => "To do",
            StepState::Running => "Now",
            StepState::Done => "Done",
        }
    }
}

impl ErasurePage {
    /// Makes the page of the engine's report, and the receipt if there is one.
    pub fn new(report: &ErasureReport, receipt: Option<ReceiptView>) -> ErasurePage {
        let state = match report.status.as_str() {
            "planned" => ErasureState::Planned,
            "completed" => ErasureState::Completed,
            "completed_with_holds" => ErasureState::Held,
            "failed" => ErasureState::Resuming(report.error.clone().unwrap_or_default()),
            _ => ErasureState::Running,
        };
        let steps = report.steps.iter().map(|step| Step {
            name: step.name.clone(),
            title: step.title.clone(),
            state: match step.status.as_str() {
                "done" => StepState::Done,
                "running" => StepState::Running,
                _ => StepState::Waiting,
            },
        });
        ErasurePage { id: report.plan.clone(), state, steps: steps.collect(), receipt }
    }

    /// How many steps are done.
    pub fn done(&self) -> Count {
        Count(self.steps.iter().filter(|step| step.state == StepState::Done).count() as u64)
    }

    /// How many steps there are.
    pub fn total(&self) -> Count {
        Count(self.steps.len() as u64)
    }

    /// Whether it has been started and is not completed.
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, ErasureState::Running | ErasureState::Resuming(_))
    }
}
