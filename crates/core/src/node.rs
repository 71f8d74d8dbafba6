//! A resource in the tree, opened.

use crate::kind::numbered;
use crate::{Error, Id, Kind, Result, Timestamp};

/// A resource whose document is open.
#[derive(Clone, Debug)]
pub struct Node<D> {
    /// Its identifier.
    pub id: Id,
    /// Its kind.
    pub kind: Kind,
    /// The resource above it; none for a root.
    pub parent: Option<Id>,
    /// Whose it is.
    pub holder: Id,
    /// The container whose key seals it; itself for a container.
    pub container: Id,
    /// How often it changed, from 1; the basis of optimistic concurrency.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it is deleted by itself, if ever.
    pub expires_at: Option<Timestamp>,
    /// The document.
    pub doc: D,
}

/// A resource whose document is plain JSON bytes of a kind not known at compile time.
pub type RawNode = Node<Vec<u8>>;

impl<D> Node<D> {
    /// The same node with another document.
    pub fn with_doc<E>(&self, doc: E) -> Node<E> {
        Node {
            id: self.id,
            kind: self.kind,
            parent: self.parent,
            holder: self.holder,
            container: self.container,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
            expires_at: self.expires_at,
            doc,
        }
    }
}

numbered! {
    /// A searchable attribute. Its number is the on-disk format.
    AttrKey {
        /// Of an image: SHA-256 of its original bytes, so that the same bytes are found again.
        ContentHash = 1,
        /// A key or secret by which a request is recognised.
        Secret = 2,
        /// Of telemetry: the hour, in microseconds since 1970.
        Hour = 3,
        /// Of an image: one part of its metadata, as [`metadata_part`](crate::kinds::metadata_part) writes it, so that whoever it names is found.
        MetadataPart = 4,
        /// Of a request: the number of its state.
        RequestState = 50,
        /// Of a request: the number of its type.
        RequestType = 51,
        /// Of what has to be answered, while it is open: until when, in microseconds since 1970.
        Due = 52,
        /// When it is to be looked at again, in microseconds since 1970.
        Wake = 53,
        /// Of a run: the id that its client chose.
        RunId = 80,
        /// Of a run: the snapshot of its source folder, by the name that its client gives it.
        SourceSnapshot = 81,
        /// Of a run's metric that is no plain number: its name.
        MetricName = 86,
        /// Of a run's metric that is no plain number: the id of its first value.
        MetricId = 87,
    }
}

numbered! {
    /// What a connection between two resources means.
    Relation {
        /// From an image to a tag it carries.
        Tagged = 1,
        /// From an iteration to an image it learned from.
        LearnedFrom = 2,
        /// From an image to the one it was copied from, in another project.
        CopyOf = 3,
        /// From a legal hold to what it keeps, with all that stands under it.
        Keeps = 4,
        /// From what was made to what it was made from: a model version to its run or logged model, a manifest, image or service to its
        /// models, an image to its manifest, a service to its image.
        MadeFrom = 5,
        /// From a resource to itself: something that it was made from is gone, since the time of the connection.
        SourceErased = 6,
        /// From a project or workspace to itself: all that it holds has every searchable attribute that its kind declares. Missing from one that
        /// was made before parts of an image's metadata were read as they are now, or runs declared their snapshots, until that is done once
        /// more. 10 said so of how they were read before.
        Indexed = 11,
    }
}

/// The value of a searchable attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttrValue {
    /// Stored as it is.
    Number(f64),
    /// Stored as MAC under a key derived from the container's, so that it dies with it. For equality within one container.
    Text(String),
    /// A random secret of at least 128 bits, stored as MAC under the installation's own key, since whoever presents it has
    /// not said yet whose it is. Never for anything that could be guessed.
    Secret(String),
}

/// The searchable attributes of one document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(pub Vec<(AttrKey, AttrValue)>);

impl Attrs {
    /// Declares one attribute; several of the same key are several values.
    pub fn push(&mut self, key: AttrKey, value: AttrValue) {
        self.0.push((key, value));
    }
}

/// What a person is shown of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// One line that tells it apart from its siblings.
    pub title: String,
    /// Label and value, in the order to be read.
    pub facts: Vec<(&'static str, String)>,
}

impl View {
    /// A view with this title and no facts yet.
    pub fn new(title: impl Into<String>) -> View {
        View { title: title.into(), facts: Vec::new() }
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, label: &'static str, value: impl ToString) -> View {
        self.facts.push((label, value.to_string()));
        self
    }

    /// Adds a fact that may be absent or empty; nothing is shown then.
    #[must_use]
    pub fn optional(self, label: &'static str, value: Option<impl ToString>) -> View {
        match value.map(|value| value.to_string()) {
            Some(value) if !value.is_empty() => self.fact(label, value),
            _ => self,
        }
    }
}
