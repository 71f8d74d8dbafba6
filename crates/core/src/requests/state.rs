//! The state machine of a request: a pure function.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RequestType;
use crate::{Error, Result};

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $text:literal, $title:literal;)*) => {
        /// Where a request stands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub enum RequestState { $($(#[$doc])* $variant,)* }

        impl RequestState {
            /// All of them.
            pub const ALL: &'static [RequestState] = &[$(RequestState::$variant,)*];

            /// The number by which lists are filtered.
            pub const fn number(self) -> i16 {
                match self { $(RequestState::$variant => $number,)* }
            }

            /// The name on the wire: whether keys are destroyed already is not told apart there.
            pub const fn name(self) -> &'static str {
                match self { $(RequestState::$variant => $text,)* }
            }

            /// Words for a person.
            pub const fn title(self) -> &'static str {
                match self { $(RequestState::$variant => $title,)* }
            }
        }
    };
}

// The numbers of one name on the wire lie side by side.
states! {
    /// Taken in; who asks is not made sure yet.
    Received = 1, "received", "Received";
    /// A one-time code is on its way.
    Verifying = 2, "verifying", "Waiting for the code";
    /// Made sure; the person may still change their mind.
    UndoWindow = 3, "undoWindow", "May be called off";
    /// A second person has to approve the plan.
    AwaitingApproval = 4, "awaitingApproval", "Awaiting approval";
    /// Decided, and about to run, or waiting for an officer to carry it out.
    Planned = 5, "planned", "To be carried out";
    /// Running, and can be called off.
    Running = 6, "running", "Running";
    /// Running, and nothing brings the data back: keys are destroyed.
    RunningIrrevocably = 7, "running", "Running";
    /// Failed before anything was destroyed; goes on by itself.
    Failed = 8, "failed", "Failed, goes on by itself";
    /// Failed after keys were destroyed; goes on by itself.
    FailedIrrevocably = 9, "failed", "Failed, goes on by itself";
    /// Done, verified, and nothing was kept.
    Completed = 10, "completed", "Completed";
    /// Done and verified, but for what a legal hold keeps; completes itself when the hold ends.
    CompletedWithHolds = 11, "completedWithHolds", "Completed but for what is held";
    /// Refused, with a reason.
    Denied = 12, "denied", "Denied";
    /// Called off.
    Cancelled = 13, "cancelled", "Called off";
    /// Nobody showed in time that they are the person.
    Expired = 14, "expired", "Expired";
    /// Verified, and the same as one that is open.
    Duplicate = 15, "duplicate", "Duplicate";
}

impl RequestState {
    /// Whether something is still to be done about it.
    pub const fn is_open(self) -> bool {
        self.number() <= RequestState::FailedIrrevocably.number()
    }

    /// The first and last number of the states with this name on the wire.
    pub fn numbers_of(name: &str) -> Option<(i16, i16)> {
        let mut named = RequestState::ALL.iter().filter(|state| state.name() == name);
        let first = named.next()?;
        Some((first.number(), named.next_back().unwrap_or(first).number()))
    }

    /// Whether it is not sure yet that the person asks.
    pub const fn is_unverified(self) -> bool {
        matches!(self, RequestState::Received | RequestState::Verifying)
    }

    /// Whether a run is under way.
    pub const fn is_running(self) -> bool {
        matches!(self, RequestState::Running | RequestState::RunningIrrevocably)
    }
}

/// What comes after it is sure who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// The time in which the person may change their mind.
    Undo,
    /// The approval of a second person.
    Approval,
    /// Nothing.
    Open,
    /// Nothing: the same is asked in another open request.
    Duplicate,
}

/// What the verification at the end of a run found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// What was asked is done, all of it.
    Clean,
    /// All but what a legal hold keeps.
    CleanWithHolds,
    /// Something is left undone.
    Unclean,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestEvent {
    /// A one-time code was sent, or sent again.
    CodeSent,
    /// It is sure that the person asks.
    Verified(Gate),
    /// The time to change one's mind is over.
    UndoEnded {
        /// Whether a second person has to approve.
        approval: bool,
    },
    /// A second person approved the plan.
    Approved,
    /// What the approval was for is not what would be done now.
    WorldChanged,
    /// The run begins, or goes on after a failure.
    Started,
    /// Keys are destroyed.
    KeysDestroyed,
    /// The ledger says that the keys were destroyed by a run of which this record knows nothing: it was restored from an older backup. What
    /// is left of the run, its verification above all, is done.
    FoundErased,
    /// The run came to its end and was verified.
    Finished(Outcome),
    /// An attempt failed.
    AttemptFailed,
    /// The legal hold that kept something ended.
    HoldEnded,
    /// An officer refused it.
    Denied,
    /// It was called off.
    Cancelled,
    /// Nobody showed in time that they are the person.
    Expired,
}

impl RequestEvent {
    /// All of them.
    pub const ALL: &'static [RequestEvent] = &[
        RequestEvent::CodeSent,
        RequestEvent::Verified(Gate::Undo),
        RequestEvent::Verified(Gate::Approval),
        RequestEvent::Verified(Gate::Open),
        RequestEvent::Verified(Gate::Duplicate),
        RequestEvent::UndoEnded { approval: true },
        RequestEvent::UndoEnded { approval: false },
        RequestEvent::Approved,
        RequestEvent::WorldChanged,
        RequestEvent::Started,
        RequestEvent::KeysDestroyed,
        RequestEvent::FoundErased,
        RequestEvent::Finished(Outcome::Clean),
        RequestEvent::Finished(Outcome::CleanWithHolds),
        RequestEvent::Finished(Outcome::Unclean),
        RequestEvent::AttemptFailed,
        RequestEvent::HoldEnded,
        RequestEvent::Denied,
        RequestEvent::Cancelled,
        RequestEvent::Expired,
    ];

    /// The name in a request's history.
    pub const fn name(self) -> &'static str {
        match self {
            RequestEvent::CodeSent => "codeSent",
            RequestEvent::Verified(_) => "verified",
            RequestEvent::UndoEnded { .. } => "undoWindowEnded",
            RequestEvent::Approved => "approved",
            RequestEvent::WorldChanged => "worldChanged",
            RequestEvent::Started => "started",
            RequestEvent::KeysDestroyed => "keysDestroyed",
            RequestEvent::FoundErased => "foundErased",
            RequestEvent::Finished(Outcome::Clean) => "completed",
            RequestEvent::Finished(Outcome::CleanWithHolds) => "completedWithHolds",
            RequestEvent::Finished(Outcome::Unclean) | RequestEvent::AttemptFailed => "failed",
            RequestEvent::HoldEnded => "holdEnded",
            RequestEvent::Denied => "denied",
            RequestEvent::Cancelled => "cancelled",
            RequestEvent::Expired => "expired",
        }
    }
}

/// The state after `event`, for a request of type `asked`; a conflict that says why when the event may not happen.
pub fn next(asked: RequestType, state: RequestState, event: RequestEvent) -> Result<RequestState> {
    use RequestEvent as E;
    use RequestState as S;
    let irrevocable = matches!(state, S::RunningIrrevocably | S::FailedIrrevocably);
    match (state, event) {
        (S::Received | S::Verifying, E::CodeSent) => Ok(S::Verifying),
        (S::Received | S::Verifying, E::Verified(gate)) => Ok(match gate {
            Gate::Undo => S::UndoWindow,
            Gate::Approval => S::AwaitingApproval,
            Gate::Open => S::Planned,
            Gate::Duplicate => S::Duplicate,
        }),
        (S::Received | S::Verifying, E::Expired) => Ok(S::Expired),
        (S::UndoWindow, E::UndoEnded { approval: true }) => Ok(S::AwaitingApproval),
        (S::UndoWindow, E::UndoEnded { approval: false }) => Ok(S::Planned),
        (S::AwaitingApproval, E::Approved) => Ok(S::Planned),
        (S::AwaitingApproval | S::Planned, E::WorldChanged) => Ok(S::AwaitingApproval),
        (S::Planned | S::Running | S::Failed, E::Started) => Ok(S::Running),
        (S::RunningIrrevocably | S::FailedIrrevocably, E::Started) => Ok(S::RunningIrrevocably),
        (S::Running, E::KeysDestroyed) if asked == RequestType::Erasure => Ok(S::RunningIrrevocably),
        (S::UndoWindow | S::AwaitingApproval | S::Planned | S::Running | S::Failed, E::FoundErased)
            if asked == RequestType::Erasure =>
        {
            Ok(S::RunningIrrevocably)
        }
        // An erasure that has destroyed nothing is not done.
        (S::Running, E::Finished(Outcome::Clean)) if asked != RequestType::Erasure => Ok(S::Completed),
        (S::RunningIrrevocably, E::Finished(Outcome::Clean)) => Ok(S::Completed),
        (S::RunningIrrevocably, E::Finished(Outcome::CleanWithHolds)) => Ok(S::CompletedWithHolds),
        (S::Running, E::Finished(Outcome::Unclean) | E::AttemptFailed) => Ok(S::Failed),
        (S::RunningIrrevocably, E::Finished(Outcome::Unclean) | E::AttemptFailed) => Ok(S::FailedIrrevocably),
        (S::CompletedWithHolds, E::HoldEnded) => Ok(S::RunningIrrevocably),
        (S::Received | S::Verifying | S::UndoWindow | S::AwaitingApproval | S::Planned, E::Denied) => {
            Ok(S::Denied)
        }
        (_, E::Cancelled) if state.is_open() && !irrevocable => Ok(S::Cancelled),
        (_, E::Cancelled) if irrevocable => {
            Err(Error::conflict("keys are destroyed already: the request can no longer be called off"))
        }
        _ if !state.is_open() => Err(Error::conflict(format!("the request has ended: {}", state.name()))),
        _ if state.is_unverified() => {
            Err(Error::conflict("it is not sure yet that the person asks themselves")
                .hint("have the code repeated, or say how their identity was checked"))
        }
        _ => Err(Error::conflict(format!("this cannot be done while the request is {}", state.name()))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every transition there is; whatever is not named here is refused.
    const TABLE: &str = "
        received -> codeSent -> verifying
        received -> verified undo -> undoWindow
        received -> verified approval -> awaitingApproval
        received -> verified open -> planned
        received -> verified duplicate -> duplicate
        received -> denied -> denied
        received -> cancelled -> cancelled
        received -> expired -> expired
        verifying -> codeSent -> verifying
        verifying -> verified undo -> undoWindow
        verifying -> verified approval -> awaitingApproval
        verifying -> verified open -> planned
        verifying -> verified duplicate -> duplicate
        verifying -> denied -> denied
        verifying -> cancelled -> cancelled
        verifying -> expired -> expired
        undoWindow -> undoWindowEnded approval -> awaitingApproval
        undoWindow -> undoWindowEnded -> planned
        undoWindow -> foundErased -> running!     erasure only
        undoWindow -> denied -> denied
        undoWindow -> cancelled -> cancelled
        awaitingApproval -> approved -> planned
        awaitingApproval -> worldChanged -> awaitingApproval
        awaitingApproval -> foundErased -> running!  erasure only
        awaitingApproval -> denied -> denied
        awaitingApproval -> cancelled -> cancelled
        planned -> worldChanged -> awaitingApproval
        planned -> started -> running
        planned -> foundErased -> running!        erasure only
        planned -> denied -> denied
        planned -> cancelled -> cancelled
        running -> started -> running
        running -> keysDestroyed -> running!      erasure only
        running -> foundErased -> running!        erasure only
        running -> completed -> completed         not erasure
        running -> failed -> failed
        running -> failed attempt -> failed
        running -> cancelled -> cancelled
        running! -> started -> running!
        running! -> completed -> completed
        running! -> completedWithHolds -> completedWithHolds
        running! -> failed -> failed!
        running! -> failed attempt -> failed!
        failed -> started -> running
        failed -> foundErased -> running!         erasure only
        failed -> cancelled -> cancelled
        failed! -> started -> running!
        completedWithHolds -> holdEnded -> running!
    ";

    fn state_name(state: RequestState) -> String {
        let irrevocable = matches!(state, RequestState::RunningIrrevocably | RequestState::FailedIrrevocably);
        format!("{}{}", state.name(), if irrevocable { "!" } else { "" })
    }

    fn event_name(event: RequestEvent) -> String {
        let more = match event {
            RequestEvent::Verified(Gate::Undo) => " undo",
            RequestEvent::Verified(Gate::Approval) => " approval",
            RequestEvent::Verified(Gate::Open) => " open",
            RequestEvent::Verified(Gate::Duplicate) => " duplicate",
            RequestEvent::UndoEnded { approval: true } => " approval",
            RequestEvent::AttemptFailed => " attempt",
            _ => "",
        };
        format!("{}{more}", event.name())
    }

    fn transitions(asked: RequestType) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for &state in RequestState::ALL {
            for &event in RequestEvent::ALL {
                if let Ok(after) = next(asked, state, event) {
                    all.insert(format!(
                        "{} -> {} -> {}",
                        state_name(state),
                        event_name(event),
                        state_name(after)
                    ));
                }
            }
        }
        all
    }

    #[test]
    fn every_state_meets_every_event_as_the_table_says() {
        for &asked in RequestType::ALL {
            let erasure = asked == RequestType::Erasure;
            let expected: BTreeSet<String> = TABLE
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .filter_map(|line| match line.split_once("  ") {
                    Some((line, condition)) => {
                        ((condition.trim() == "erasure only") == erasure).then_some(line)
                    }
                    None => Some(line),
                })
                .map(str::to_owned)
                .collect();
            assert_eq!(transitions(asked), expected, "{asked:?}");
        }
    }

    #[test]
    fn nothing_is_completed_without_a_clean_verification_and_a_verified_person() {
        for &asked in RequestType::ALL {
            // Every path from intake, as the set of what has happened on it.
            let mut seen = BTreeSet::new();
            let mut ahead = vec![(RequestState::Received, BTreeSet::<&str>::new())];
            while let Some((state, happened)) = ahead.pop() {
                if !seen.insert((state, happened.clone())) {
                    continue;
                }
                if matches!(state, RequestState::Completed | RequestState::CompletedWithHolds) {
                    assert!(happened.contains("verified"), "{asked:?} {happened:?}");
                    assert!(
                        happened.contains("completed") || happened.contains("completedWithHolds"),
                        "{asked:?} {happened:?}"
                    );
                    let destroyed = happened.contains("keysDestroyed") || happened.contains("foundErased");
                    assert_eq!(destroyed, asked == RequestType::Erasure);
                }
                for &event in RequestEvent::ALL {
                    if let Ok(after) = next(asked, state, event) {
                        let mut happened = happened.clone();
                        happened.insert(event.name());
                        ahead.push((after, happened));
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_called_off_has_destroyed_nothing_and_an_end_is_an_end() {
        for &asked in RequestType::ALL {
            for &state in RequestState::ALL {
                let off = next(asked, state, RequestEvent::Cancelled);
                let irrevocable =
                    matches!(state, RequestState::RunningIrrevocably | RequestState::FailedIrrevocably);
                assert_eq!(off.is_ok(), state.is_open() && !irrevocable, "{state:?}");
                if !state.is_open() && state != RequestState::CompletedWithHolds {
                    for &event in RequestEvent::ALL {
                        assert!(next(asked, state, event).is_err(), "{state:?} {event:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn states_of_one_name_have_neighbouring_numbers() {
        assert_eq!(RequestState::numbers_of("running"), Some((6, 7)));
        assert_eq!(RequestState::numbers_of("completed"), Some((10, 10)));
        assert_eq!(RequestState::numbers_of("sideways"), None);
        for pair in RequestState::ALL.windows(2) {
            assert_eq!(pair[0].number() + 1, pair[1].number());
        }
    }
}
