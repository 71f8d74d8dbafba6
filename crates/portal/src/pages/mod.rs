//! The pages: what each shows, as plain structs, and the templates that show it.
//!
//! A page holds no address of a service and no unformatted number: handlers make it of the reports of the rights engine and
//! the time, so that it can be rendered and looked at without a server.

mod access_log;
mod account;
mod applications;
mod erase;
mod erasure;
mod error;
mod exports;
mod items;
mod keys;
mod my_data;
mod receipt;
mod requests;
mod sign_in;

pub use access_log::{AccessLogPage, AccessRow};
pub use account::PasswordPage;
pub use applications::{ConsentPage, DevicePage, DeviceStep};
pub use erase::{ConfirmPage, Confirmation, PlanGroup, PlanPage, PlanRow, PlanView};
pub use erasure::{ErasurePage, ErasureState, Step, StepState};
pub use error::ErrorPage;
pub(crate) use error::sentence;
pub use exports::{ExportPage, ExportState, ExportView, ExportsPage, FORMATS, FormatChoice, NO_FORMATS};
pub use items::{Item, ItemsPage};
pub use keys::{AccountKeys, KeyRow, KeysPage};
pub use my_data::{KindRow, MentionRow, MyDataPage, ServiceGroup};
pub use receipt::{ErasedRow, Fact, ReceiptPage, ReceiptRow, ReceiptType, ReceiptView, ReceiptsPage};
pub use requests::{
    AskPage, Choice, DifferenceRow, Filter, HoldingsPage, Names, NewRequestPage, QueuePage, RequestPage,
    RequestPlanView, RequestStatusPage, RequestView, RequestsPage, Said, TakenIn, TypedDecision,
};
pub use sign_in::{IssuerLink, LinkPage, SignInPage};

/// The person who is signed in, in the corner of every page of theirs.
#[derive(Clone, Debug)]
pub struct PersonBadge {
    /// The name they go by.
    pub name: String,
    /// Their e-mail address.
    pub email: String,
}

impl PersonBadge {
    /// One or two letters that stand for the name.
    pub fn initials(&self) -> String {
        let mut letters = self.name.split_whitespace().filter_map(|word| word.chars().next());
        letters.next().into_iter().chain(letters.next_back()).flat_map(char::to_uppercase).collect()
    }
}

/// The entry of the navigation that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What is held.
    MyData,
    /// Archives.
    Exports,
    /// What the person asked for.
    Requests,
    /// Proofs.
    Receipts,
    /// Keys of the Custom Vision account.
    Keys,
    /// What everybody asked for: for the staff.
    Queue,
    /// None of them: the password.
    Account,
}

/// One entry of the navigation.
#[derive(Clone, Copy, Debug)]
pub struct NavEntry {
    /// Where it leads.
    pub address: &'static str,
    /// What it says.
    pub title: &'static str,
    /// Whether the page belongs to it.
    pub current: bool,
}

/// What surrounds every page of a person who is signed in.
#[derive(Clone, Debug)]
pub struct Shell {
    /// Who is signed in.
    pub person: PersonBadge,
    /// Whether they answer requests.
    pub staff: bool,
    /// Where in the navigation the page stands.
    pub section: Section,
    /// What the last form did, if a form led here.
    pub notice: Option<&'static str>,
}

impl Shell {
    /// The navigation.
    pub fn navigation(&self) -> Vec<NavEntry> {
        [
            (Section::MyData, "/me", "My data"),
            (Section::Exports, "/me/exports", "Exports"),
            (Section::Requests, "/me/requests", "Requests"),
            (Section::Receipts, "/me/receipts", "Receipts"),
            (Section::Keys, "/me/keys", "Keys"),
            (Section::Queue, "/staff/requests", "Queue"),
        ]
        .into_iter()
        .filter(|(section, ..)| self.staff || *section != Section::Queue)
        .map(|(section, address, title)| NavEntry { address, title, current: section == self.section })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initials_are_of_the_first_and_the_last_name() {
        let initials = |name: &str| PersonBadge { name: name.into(), email: String::new() }.initials();
        assert_eq!(initials("Ada Maria Lovelace"), "AL");
        assert_eq!(initials("ßeta"), "SS");
        assert_eq!(initials("  "), "");
    }
}
