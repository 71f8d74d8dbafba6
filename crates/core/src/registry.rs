//! The registry of kinds: a `match` without a wildcard, so that a kind nobody implements does not compile.

use std::marker::PhantomData;
use std::sync::LazyLock;

use crate::kinds;
use crate::node::RawNode;
use crate::{
    About, Attrs, Bundle, Carried, DataKind, DataMap, Erasure, Error, Fate, FieldEntry, Id, Kind, Node,
    Result, Timestamp, View,
};

/// What can be done with a document whose kind is known at run time only.
pub trait KindOps: Send + Sync {
    /// See [`DataKind::PARENTS`].
    fn parents(&self) -> &'static [Kind];
    /// See [`DataKind::ABOUT`].
    fn about(&self) -> About;
    /// The classified fields of the example document.
    fn fields(&self) -> Vec<FieldEntry>;
    /// The example document as it would be stored.
    fn example_json(&self) -> serde_json::Value;
    /// See [`DataKind::unique_name`].
    fn unique_name(&self, doc: &[u8]) -> Result<Option<String>>;
    /// See [`DataKind::maker`].
    fn maker(&self, doc: &[u8]) -> Result<Option<Id>>;
    /// Whether documents of the kind say who made them.
    fn names_maker(&self) -> bool;
    /// See [`DataKind::attrs`].
    fn attrs(&self, doc: &[u8]) -> Result<Attrs>;
    /// See [`DataKind::view`].
    fn view(&self, node: &RawNode) -> Result<View>;
    /// See [`DataKind::export`].
    fn export(&self, node: &RawNode, out: &mut dyn Bundle) -> Result<()>;
    /// See [`DataKind::erase`].
    fn erase(&self, node: &RawNode, why: Erasure) -> Result<Fate<Vec<u8>>>;
    /// See [`DataKind::carry`]: `change` gets what means something on one server only, and may change it. False for kinds that are not
    /// carried. [`crate::ErrorKind::Invalid`] when the document is not one of this kind.
    fn carry(&self, node: &mut RawNode, change: &mut dyn FnMut(Carried<'_>) -> Result<()>) -> Result<bool>;
    /// Whether archives carry the kind.
    fn is_carried(&self) -> bool;
}

struct Ops<K>(PhantomData<fn() -> K>);

impl<K: DataKind> Ops<K> {
    const INSTANCE: &'static Ops<K> = &Ops(PhantomData);

    fn open(node: &RawNode) -> Result<crate::Node<K::Doc>> {
        Ok(node.with_doc(serde_json::from_slice(&node.doc)?))
    }
}

impl<K: DataKind> KindOps for Ops<K> {
    fn parents(&self) -> &'static [Kind] {
        K::PARENTS
    }

    fn about(&self) -> About {
        K::ABOUT
    }

    fn fields(&self) -> Vec<FieldEntry> {
        let mut map = DataMap::default();
        K::classify(&K::example(), &mut map);
        map.fields
    }

    fn example_json(&self) -> serde_json::Value {
        serde_json::to_value(K::example()).unwrap_or_default()
    }

    fn unique_name(&self, doc: &[u8]) -> Result<Option<String>> {
        Ok(K::unique_name(&serde_json::from_slice(doc)?).map(str::to_owned))
    }

    fn maker(&self, doc: &[u8]) -> Result<Option<Id>> {
        Ok(K::maker(&serde_json::from_slice(doc)?))
    }

    fn names_maker(&self) -> bool {
        K::maker(&K::example()).is_some()
    }

    fn attrs(&self, doc: &[u8]) -> Result<Attrs> {
        let mut attrs = Attrs::default();
        K::attrs(&serde_json::from_slice(doc)?, &mut attrs);
        Ok(attrs)
    }

    fn view(&self, node: &RawNode) -> Result<View> {
        Ok(K::view(&Self::open(node)?))
    }

    fn export(&self, node: &RawNode, out: &mut dyn Bundle) -> Result<()> {
        K::export(&Self::open(node)?, out)
    }

    fn erase(&self, node: &RawNode, why: Erasure) -> Result<Fate<Vec<u8>>> {
        Ok(match K::erase(&Self::open(node)?, why) {
            Fate::Delete => Fate::Delete,
            Fate::Redact(doc) => Fate::Redact(serde_json::to_vec(&doc)?),
            Fate::Keep { legal_basis, until } => Fate::Keep { legal_basis, until },
        })
    }

    fn carry(&self, node: &mut RawNode, change: &mut dyn FnMut(Carried<'_>) -> Result<()>) -> Result<bool> {
        let doc = serde_json::from_slice(&node.doc)
            .map_err(|_| Error::invalid(format!("the document is none of the kind {:?}", node.kind)))?;
        let mut typed = node.with_doc(doc);
        let Some(carried) = K::carry(&mut typed)? else { return Ok(false) };
        change(carried)?;
        node.doc = serde_json::to_vec(&typed.doc)?;
        Ok(true)
    }

    fn is_carried(&self) -> bool {
        let mut example = Node {
            id: Id::NIL,
            kind: K::KIND,
            parent: None,
            holder: Id::NIL,
            container: Id::NIL,
            version: 1,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            expires_at: None,
            doc: K::example(),
        };
        K::carry(&mut example).is_ok_and(|carried| carried.is_some())
    }
}

/// The kinds that archives carry as they are stored, each after those that it may stand under.
pub fn carried_kinds() -> &'static [Kind] {
    static ORDERED: LazyLock<Vec<Kind>> = LazyLock::new(ordered);
    &ORDERED
}

/// Whether archives carry a kind that stands directly under a person, with all that stands under it.
pub fn is_carried_root(kind: Kind) -> bool {
    carried_kinds().contains(&kind) && ops(kind).parents().contains(&Kind::Person)
}

fn ordered() -> Vec<Kind> {
    let mut waiting: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| ops(*kind).is_carried()).collect();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let is_ready = |kind: &Kind| {
            ops(*kind).parents().iter().all(|parent| parent == kind || !waiting.contains(parent))
        };
        ordered.push(waiting.remove(waiting.iter().position(is_ready).unwrap_or(0)));
    }
    ordered
}

/// What `kind` owes, at run time.
#[deny(clippy::wildcard_enum_match_arm)]
pub fn ops(kind: Kind) -> &'static dyn KindOps {
    match kind {
        Kind::Installation => Ops::<kinds::Installation>::INSTANCE,
        Kind::Person => Ops::<kinds::Person>::INSTANCE,
        Kind::Organisation => Ops::<kinds::Organisation>::INSTANCE,
        Kind::Credential => Ops::<kinds::Credential>::INSTANCE,
        Kind::Token => Ops::<kinds::Token>::INSTANCE,
        Kind::ClientName => Ops::<kinds::ClientName>::INSTANCE,
        Kind::Account => Ops::<kinds::Account>::INSTANCE,
        Kind::Project => Ops::<kinds::Project>::INSTANCE,
        Kind::Tag => Ops::<kinds::Tag>::INSTANCE,
        Kind::Image => Ops::<kinds::Image>::INSTANCE,
        Kind::KeptImage => Ops::<kinds::KeptImage>::INSTANCE,
        Kind::Iteration => Ops::<kinds::Iteration>::INSTANCE,
        Kind::ModelExport => Ops::<kinds::ModelExport>::INSTANCE,
        Kind::StoredPrediction => Ops::<kinds::StoredPrediction>::INSTANCE,
        Kind::Suggestion => Ops::<kinds::Suggestion>::INSTANCE,
        Kind::ExportArchive => Ops::<kinds::ExportArchive>::INSTANCE,
        Kind::Telemetry => Ops::<kinds::Telemetry>::INSTANCE,
        Kind::Task => Ops::<kinds::Task>::INSTANCE,
        Kind::Receipt => Ops::<kinds::Receipt>::INSTANCE,
        Kind::Request => Ops::<kinds::Request>::INSTANCE,
        Kind::CaseFile => Ops::<kinds::CaseFile>::INSTANCE,
        Kind::Hold => Ops::<kinds::Hold>::INSTANCE,
        Kind::OAuthClient => Ops::<kinds::OAuthClient>::INSTANCE,
        Kind::OAuthGrant => Ops::<kinds::OAuthGrant>::INSTANCE,
        Kind::AuthorizationCode => Ops::<kinds::AuthorizationCode>::INSTANCE,
        Kind::DeviceCode => Ops::<kinds::DeviceCode>::INSTANCE,
        Kind::Recipient => Ops::<kinds::Recipient>::INSTANCE,
        Kind::Workspace => Ops::<kinds::Workspace>::INSTANCE,
        Kind::ExperimentationAccount => Ops::<kinds::ExperimentationAccount>::INSTANCE,
        Kind::ExperimentationWorkspace => Ops::<kinds::ExperimentationWorkspace>::INSTANCE,
        Kind::ExperimentationProject => Ops::<kinds::ExperimentationProject>::INSTANCE,
        Kind::HostingAccount => Ops::<kinds::HostingAccount>::INSTANCE,
        Kind::OperationalizationCluster => Ops::<kinds::OperationalizationCluster>::INSTANCE,
        Kind::Compute => Ops::<kinds::Compute>::INSTANCE,
        Kind::Experiment => Ops::<kinds::Experiment>::INSTANCE,
        Kind::Run => Ops::<kinds::Run>::INSTANCE,
        Kind::DatasetInput => Ops::<kinds::DatasetInput>::INSTANCE,
        Kind::LoggedModel => Ops::<kinds::LoggedModel>::INSTANCE,
        Kind::Artifact => Ops::<kinds::Artifact>::INSTANCE,
        Kind::RunEvent => Ops::<kinds::RunEvent>::INSTANCE,
        Kind::RunMetric => Ops::<kinds::RunMetric>::INSTANCE,
        Kind::Asset => Ops::<kinds::Asset>::INSTANCE,
        Kind::Snapshot => Ops::<kinds::Snapshot>::INSTANCE,
        Kind::Datastore => Ops::<kinds::Datastore>::INSTANCE,
        Kind::RegisteredModel => Ops::<kinds::RegisteredModel>::INSTANCE,
        Kind::ModelVersion => Ops::<kinds::ModelVersion>::INSTANCE,
        Kind::Manifest => Ops::<kinds::Manifest>::INSTANCE,
        Kind::ContainerImage => Ops::<kinds::ContainerImage>::INSTANCE,
        Kind::Service => Ops::<kinds::Service>::INSTANCE,
        Kind::Notification => Ops::<kinds::Notification>::INSTANCE,
        Kind::ModelAsset => Ops::<kinds::ModelAsset>::INSTANCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_keeps_who_made_it_says_so() {
        for kind in Kind::ALL {
            let keeps = ops(*kind).example_json().to_string().contains("\"created_by\":");
            assert_eq!(ops(*kind).names_maker(), keeps, "{kind:?}");
        }
    }

    #[test]
    fn carried_kinds_come_after_what_they_stand_under() {
        let kinds = carried_kinds();
        assert_eq!(kinds.first(), Some(&Kind::Workspace));
        for (place, kind) in kinds.iter().enumerate() {
            let parents = ops(*kind).parents().iter();
            let above = parents.filter_map(|parent| kinds.iter().position(|other| other == parent));
            assert!(above.max().is_none_or(|above| above <= place), "{kind:?}");
        }
        // What it is about is there before it is brought.
        let place = |wanted| kinds.iter().position(|kind| *kind == wanted);
        assert!(place(Kind::Run) < place(Kind::Notification));
    }
}
