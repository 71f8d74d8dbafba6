//! The kinds of data and what each of them owes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{About, Attrs, Bundle, Carried, DataMap, Erasure, Error, Fate, Id, Node, Result, View};

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The number that stands for it on disk.
            pub const fn number(self) -> i16 {
                self as i16
            }

            /// The one with this number; damaged data when there is none.
            pub fn from_number(number: i64) -> Result<$name> {
                match number {
                    $($number => Ok($name::$variant),)*
                    _ => Err(Error::damaged(format!("no {} has the number {number}", stringify!($name)))
                        .hint("the data may come from a newer version of habeas")),
                }
            }
        }
    };
}
pub(crate) use numbered;

numbered! {
    /// A kind of data. Its number is the on-disk format: never reuse one.
    Kind {
        /// The installation itself, the root of what no person holds.
        Installation = 0,
        /// A person's profile.
        Person = 1,
        /// An organisation.
        Organisation = 2,
        /// A password.
        Credential = 3,
        /// A bearer token, a browser session or a one-time sign-in link.
        Token = 4,
        /// A login name that a person's programs sent.
        ClientName = 6,
        /// A Custom Vision account with its keys.
        Account = 10,
        /// A Custom Vision project.
        Project = 20,
        /// A tag of a project.
        Tag = 21,
        /// A training image of a project.
        Image = 22,
        /// An image that iterations hold after it was deleted from the workspace.
        KeptImage = 23,
        /// A trained snapshot of a project.
        Iteration = 24,
        /// A trained model in a portable form.
        ModelExport = 25,
        /// A prediction that was stored with its image.
        StoredPrediction = 26,
        /// Tags that a model proposed for an image.
        Suggestion = 27,
        /// An archive that a person may download.
        ExportArchive = 40,
        /// Which operations a person called in one hour.
        Telemetry = 41,
        /// Work to be done after a commit.
        Task = 42,
        /// A signed proof of what was done.
        Receipt = 43,
        /// A data-subject request, as a record that names nobody.
        Request = 50,
        /// What was said in a request; the person's.
        CaseFile = 51,
        /// A legal hold: what must not be deleted yet.
        Hold = 52,
        /// An application that a person registered.
        OAuthClient = 60,
        /// That a person let an application act in their name.
        OAuthGrant = 61,
        /// A code that an application exchanges for tokens.
        AuthorizationCode = 62,
        /// A code pair by which a program without a browser is let in.
        DeviceCode = 63,
        /// A system that is told of erasures, rectifications and restrictions.
        Recipient = 64,
        /// A workspace of experiments and models.
        Workspace = 70,
        /// A team's account of Azure ML Experimentation.
        ExperimentationAccount = 71,
        /// Projects of an experimentation account that belong together.
        ExperimentationWorkspace = 72,
        /// A project of an experimentation workspace.
        ExperimentationProject = 73,
        /// A team's account of Azure ML Model Management.
        HostingAccount = 74,
        /// A cluster that serves models.
        OperationalizationCluster = 75,
        /// A compute of a workspace.
        Compute = 76,
        /// Runs that are compared together.
        Experiment = 80,
        /// One execution of a training script.
        Run = 81,
        /// A dataset that a run learned from.
        DatasetInput = 82,
        /// A model that a script made.
        LoggedModel = 83,
        /// A file of a run, of a logged model, of a snapshot, or of a workspace.
        Artifact = 84,
        /// Something that happened to a run.
        RunEvent = 85,
        /// A list, table, matrix or image that a run logged as a metric.
        RunMetric = 86,
        /// A name for files, with versions.
        Asset = 87,
        /// A snapshot of a source folder.
        Snapshot = 88,
        /// A note of where a team keeps data.
        Datastore = 89,
        /// A name in the model registry.
        RegisteredModel = 90,
        /// A version of a registered model.
        ModelVersion = 91,
        /// Which models a service consists of, and the program around them.
        Manifest = 92,
        /// The record of a container image.
        ContainerImage = 93,
        /// A model that programs may ask, with its keys.
        Service = 94,
        /// What a person is told of, such as the end of a run.
        Notification = 95,
        /// Artifacts under one name, as models are registered from them.
        ModelAsset = 96,
    }
}

numbered! {
    /// What sort of holder a resource belongs to.
    HolderKind {
        /// The server itself: tasks, receipts. Its rows hold random ids only.
        Installation = 0,
        /// A natural person with an account.
        Person = 1,
        /// An organisation with members.
        Organisation = 2,
    }
}

numbered! {
    /// How a person is tied to a resource that somebody else holds.
    MentionRole {
        /// Runs the installation. On the installation's root only.
        Administrator = 1,
        /// Answers data-subject requests. On the installation's root only.
        PrivacyOfficer = 2,
        /// May read and change what an organisation or a resource holds, and make and delete projects.
        Contributor = 3,
        /// May read it.
        Reader = 4,
        /// May do with an organisation what its owner may.
        Owner = 5,
        /// A receipt or request that is about this person.
        Subject = 6,
        /// May do what a contributor may, except make and delete projects.
        Trainer = 7,
        /// May read, and change images and tags.
        Labeler = 8,
        /// May read, and publish, unpublish and export iterations.
        Deployment = 9,
        /// Is shown by an image.
        Depicted = 10,
        /// Their data was given to this recipient. On recipients only.
        Disclosed = 20,
        /// Made it. There can be as many of these as a person makes things for others, so its number is above those before: whoever asks how
        /// else somebody is tied to something does not read them.
        Maker = 1000,
        /// Changed it, where another one made it: may have written in it. As many as of makers.
        Editor = 1001,
    }
}

impl MentionRole {
    /// The roles that a member of an organisation can have, with their names on the wire.
    pub const MEMBERS: [(&'static str, MentionRole); 6] = [
        ("owner", MentionRole::Owner),
        ("contributor", MentionRole::Contributor),
        ("trainer", MentionRole::Trainer),
        ("labeler", MentionRole::Labeler),
        ("deployment", MentionRole::Deployment),
        ("reader", MentionRole::Reader),
    ];
}

impl Kind {
    /// Whether resources of this kind have sealing keys of their own.
    pub const fn is_container(self) -> bool {
        matches!(
            self,
            Kind::Installation
                | Kind::Person
                | Kind::Organisation
                | Kind::Account
                | Kind::Project
                | Kind::Workspace
                | Kind::ExperimentationAccount
                | Kind::ExperimentationWorkspace
                | Kind::ExperimentationProject
                | Kind::HostingAccount
                | Kind::Hold
        )
    }

    /// The kinds under a person that are not kept by legal holds.
    pub const LEFT_BY_HOLDS: [Kind; 7] = [
        Kind::Credential,
        Kind::Token,
        Kind::ExportArchive,
        Kind::CaseFile,
        Kind::OAuthClient,
        Kind::OAuthGrant,
        Kind::AuthorizationCode,
    ];

    /// Whether a legal hold keeps resources of this kind: not what grants access, nor copies of other data, nor what is said in requests.
    pub fn is_kept_by_holds(self) -> bool {
        !Kind::LEFT_BY_HOLDS.contains(&self)
    }
}

/// What a kind of data owes. There are no defaults: a kind that does not say how it is viewed, exported and erased
/// does not compile, and [`crate::registry::ops`] does not compile without every kind.
pub trait DataKind: Sized + 'static {
    /// The kind this is.
    const KIND: Kind;
    /// Where in the tree it may stand; empty for the roots.
    const PARENTS: &'static [Kind];
    /// Why it is kept, how long and who receives it.
    const ABOUT: About;

    /// The document that is sealed and stored.
    type Doc: Serialize + DeserializeOwned;

    /// A document with every field filled in: the data map is generated from it.
    fn example() -> Self::Doc;

    /// The name that no sibling of this kind may share, for kinds that have one.
    fn unique_name(doc: &Self::Doc) -> Option<&str>;

    /// Who made it, for kinds whose documents say so. The store mentions them in what somebody else holds.
    fn maker(_doc: &Self::Doc) -> Option<Id> {
        None
    }

    /// What may be searched or sorted by.
    fn attrs(doc: &Self::Doc, out: &mut Attrs);

    /// Says of each field what it is and why it is kept. Destructures the document without `..`, so that a new field
    /// breaks the build until it is classified.
    fn classify(doc: &Self::Doc, map: &mut DataMap);

    /// What a person is shown.
    fn view(node: &Node<Self::Doc>) -> View;

    /// Writes the portable form: JSON in the shape of its protocol, a table row, the original bytes.
    fn export(node: &Node<Self::Doc>, out: &mut dyn Bundle) -> Result<()>;

    /// What an erasure does to it.
    fn erase(node: &Node<Self::Doc>, why: Erasure) -> Fate<Self::Doc>;

    /// Lets an archive carry it as it is stored, and another server take it in: says what of it means something on this server only, and takes
    /// out secrets of other services. None for kinds whose portable form is [`export`](Self::export) alone. An error for a document that no
    /// server made.
    fn carry(_node: &mut Node<Self::Doc>) -> Result<Option<Carried<'_>>> {
        Ok(None)
    }
}
