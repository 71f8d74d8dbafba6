//! Data-subject requests: what may be asked, and how a request moves from intake to its end.
//!
//! [`next`] is the one place that says which state follows which; everything that moves a request asks it.

pub mod deadline;
mod state;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use state::{Gate, Outcome, RequestEvent, RequestState, next};

// `tt` for the names on the wire: the schema would not see through a captured literal.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:tt, $title:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The name on the wire and in documents.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// Words for a person.
            pub const fn title(self) -> &'static str {
                match self { $($name::$variant => $title,)* }
            }

            /// The one with this name on the wire.
            pub fn from_name(name: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

named! {
    /// What is asked for.
    RequestType {
        /// To see what is held (GDPR Article 15).
        Access = "access", "Access";
        /// To take it elsewhere (Article 20).
        Portability = "portability", "Portability";
        /// To have it erased (Article 17).
        Erasure = "erasure", "Erasure";
        /// To have it corrected (Article 16).
        Rectification = "rectification", "Rectification";
        /// To have its use stopped (Article 18).
        Restriction = "restriction", "Restriction";
        /// To object to its use (Article 21).
        Objection = "objection", "Objection";
    }
}

impl RequestType {
    /// The number by which lists are filtered.
    pub const fn number(self) -> i16 {
        match self {
            RequestType::Access => 1,
            RequestType::Portability => 2,
            RequestType::Erasure => 3,
            RequestType::Rectification => 4,
            RequestType::Restriction => 5,
            RequestType::Objection => 6,
        }
    }
}

named! {
    /// How a request came in.
    Channel {
        /// The person themselves, signed in.
        SelfService = "selfService", "self-service";
        /// The public form.
        Form = "form", "public form";
        /// A message to an officer.
        Email = "email", "e-mail";
        /// A letter to an officer.
        Letter = "letter", "letter";
        /// A call to an officer.
        Phone = "phone", "phone";
        /// A visit.
        InPerson = "inPerson", "in person";
        /// Another system, by an open standard.
        Protocol = "protocol", "another system";
        /// The operator of the machine.
        Operator = "operator", "operator of the machine";
    }
}

named! {
    /// How it was made sure that the person asks themselves.
    IdentityCheck {
        /// They were signed in.
        SignIn = "signIn", "signed in";
        /// They repeated a one-time code sent to their address.
        Code = "code", "one-time code";
        /// They showed a document.
        Document = "document", "document";
        /// Somebody of the staff knows them.
        Known = "known", "known to the staff";
        /// The system that passed the request on vouches for it.
        Protocol = "protocol", "by the system that passed it on";
    }
}

named! {
    /// Why a request is refused; the codes of the Data Rights Protocol 1.0.
    DenialReason {
        /// Somebody else seems to ask.
        SuspectedFraud = "suspected_fraud", "somebody else seems to ask";
        /// Who asks could not be made sure.
        InsufficientVerification = "insuf_verification", "who asks could not be made sure";
        /// Nothing is held on them.
        NoMatch = "no_match", "nothing is held on this person";
        /// The law does not give this right here.
        ClaimNotCovered = "claim_not_covered", "the law does not give this right here";
        /// The law does not apply to them.
        OutsideJurisdiction = "outside_jurisdiction", "the law does not apply";
        /// They ask again and again.
        TooManyRequests = "too_many_requests", "the same was asked too often";
        /// Something else, said in the answer.
        Other = "other", "another reason";
    }
}

named! {
    /// Why an answer takes longer (GDPR Article 12(3)).
    ExtensionReason {
        /// The request is complex.
        Complexity = "complexity", "the request is complex";
        /// There are many requests.
        NumberOfRequests = "numberOfRequests", "there are many requests";
    }
}
