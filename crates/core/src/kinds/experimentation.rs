//! Azure ML Experimentation: accounts, workspaces and projects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::custom_vision::BASIS;
use super::tracking::{AzureResource, RECIPIENTS};
use crate::{
    About, Attrs, Bundle, Carried, DataKind, DataMap, Erasure, Error, Fate, FieldClass, Id, Kind, Node,
    Result, Retention, View,
};

const SERVICE: &str = "Azure ML Experimentation";

/// The portable form of what Azure's control plane says of a resource; of its maker, nothing.
pub(super) fn azure_json(azure: &AzureResource) -> Value {
    json!({
        "resourceGroup": azure.group,
        "location": azure.location,
        "tags": azure.tags,
        "friendlyName": azure.friendly_name,
        "description": azure.description,
        "references": azure.references,
    })
}

/// What a resource of Azure's control plane carries; `is_grouped` of those that are found by their resource group, too.
pub(super) fn carry_azure<'a>(
    name: &str,
    azure: &'a mut AzureResource,
    is_grouped: bool,
) -> Result<Option<Carried<'a>>> {
    let key = if is_grouped { format!("{}/{name}", azure.group) } else { name.to_owned() };
    if azure.key != key.to_lowercase() {
        return Err(Error::invalid("a resource is called otherwise than its address says"));
    }
    let unique = is_grouped.then_some(&mut azure.key);
    Ok(Some(Carried { persons: vec![&mut azure.created_by], unique, ..Carried::default() }))
}

/// What examples say of a resource.
pub(super) fn azure_example() -> AzureResource {
    let text = |text: &str| text.to_owned();
    AzureResource {
        key: text("trees/forest"),
        group: text("Trees"),
        location: text("westeurope"),
        tags: BTreeMap::from([(text("team"), text("forest"))]),
        friendly_name: Some(text("The forest")),
        description: Some(text("trees")),
        references: BTreeMap::from([(text("storageAccountId"), text("/subscriptions/x"))]),
        created_by: Some(Id::NIL),
    }
}

/// The same of what stands below another one.
pub(super) fn azure_example_below(key: &str) -> AzureResource {
    AzureResource { key: key.to_owned(), ..azure_example() }
}

/// Classifies what Azure's control plane says of a resource.
pub(super) fn classify_azure(name: &str, azure: &AzureResource, map: &mut DataMap) {
    map.field(name, "name", FieldClass::Content, "to find it by");
    map.field(
        azure,
        "azure",
        FieldClass::Personal,
        "its group, region, tags, names, other resources and maker, as Azure's clients wrote them; may name a person",
    );
}

/// What a person is shown of a resource of Azure's control plane.
pub(super) fn azure_view<D>(node: &Node<D>, name: &str, azure: &AzureResource) -> View {
    View::new(name)
        .fact("Resource group", &azure.group)
        .optional("Shown as", azure.friendly_name.as_ref())
        .optional("Description", azure.description.as_ref())
        .fact("Since", node.created_at)
}

/// An experimentation account: a team's workspaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentationAccountDoc {
    /// Its name.
    pub name: String,
    /// Its place among Azure's resources, and what is noted there.
    pub azure: AzureResource,
    /// How many may use it, as its users wrote it; nothing follows from it.
    pub seats: Option<String>,
    /// The key of a storage account, which its client had to send. Habeas stores files itself and never uses it.
    pub storage_key: Option<String>,
}

/// [`Kind::ExperimentationAccount`].
#[derive(Debug)]
pub struct ExperimentationAccount;

impl DataKind for ExperimentationAccount {
    const KIND: Kind = Kind::ExperimentationAccount;
    const PARENTS: &'static [Kind] = &[Kind::Person, Kind::Organisation];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Experimentation accounts",
        purpose: "to keep the workspaces of one team together",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = ExperimentationAccountDoc;

    fn example() -> ExperimentationAccountDoc {
        ExperimentationAccountDoc {
            name: "Forest".into(),
            azure: azure_example(),
            seats: Some("3".into()),
            storage_key: Some("0".into()),
        }
    }

    fn unique_name(doc: &ExperimentationAccountDoc) -> Option<&str> {
        Some(&doc.azure.key)
    }

    fn maker(doc: &ExperimentationAccountDoc) -> Option<Id> {
        doc.azure.created_by
    }

    fn attrs(_doc: &ExperimentationAccountDoc, _out: &mut Attrs) {}

    fn classify(doc: &ExperimentationAccountDoc, map: &mut DataMap) {
        let ExperimentationAccountDoc { name, azure, seats, storage_key } = doc;
        classify_azure(name, azure, map);
        map.field(seats, "seats", FieldClass::Content, "how many may use it, as its users wrote it");
        map.field(
            storage_key,
            "storage_key",
            FieldClass::Secret,
            "key of a storage account that its client had to send",
        );
    }

    fn view(node: &Node<ExperimentationAccountDoc>) -> View {
        azure_view(node, &node.doc.name, &node.doc.azure).optional("Seats", node.doc.seats.as_ref())
    }

    fn export(node: &Node<ExperimentationAccountDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("experimentation/accounts/{}.json", node.id),
            &json!({
                "id": node.id,
                "name": node.doc.name,
                "created": node.created_at.rfc3339(),
                "azure": azure_json(&node.doc.azure),
                "seats": node.doc.seats,
            }),
        )
    }

    fn erase(_node: &Node<ExperimentationAccountDoc>, _why: Erasure) -> Fate<ExperimentationAccountDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ExperimentationAccountDoc>) -> Result<Option<Carried<'_>>> {
        let ExperimentationAccountDoc { name, azure, seats: _, storage_key } = &mut node.doc;
        *storage_key = None;
        carry_azure(name, azure, true)
    }
}

/// A workspace of an experimentation account: projects that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentationWorkspaceDoc {
    /// Its name.
    pub name: String,
    /// Its place among Azure's resources, and what is noted there; the key is its name in lower case.
    pub azure: AzureResource,
}

/// [`Kind::ExperimentationWorkspace`].
#[derive(Debug)]
pub struct ExperimentationWorkspace;

impl DataKind for ExperimentationWorkspace {
    const KIND: Kind = Kind::ExperimentationWorkspace;
    const PARENTS: &'static [Kind] = &[Kind::ExperimentationAccount];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Experimentation workspaces",
        purpose: "to keep projects together",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = ExperimentationWorkspaceDoc;

    fn example() -> ExperimentationWorkspaceDoc {
        ExperimentationWorkspaceDoc { name: "Pines".into(), azure: azure_example_below("pines") }
    }

    fn unique_name(doc: &ExperimentationWorkspaceDoc) -> Option<&str> {
        Some(&doc.azure.key)
    }

    fn maker(doc: &ExperimentationWorkspaceDoc) -> Option<Id> {
        doc.azure.created_by
    }

    fn attrs(_doc: &ExperimentationWorkspaceDoc, _out: &mut Attrs) {}

    fn classify(doc: &ExperimentationWorkspaceDoc, map: &mut DataMap) {
        let ExperimentationWorkspaceDoc { name, azure } = doc;
        classify_azure(name, azure, map);
    }

    fn view(node: &Node<ExperimentationWorkspaceDoc>) -> View {
        azure_view(node, &node.doc.name, &node.doc.azure)
    }

    fn export(node: &Node<ExperimentationWorkspaceDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("experimentation/workspaces/{}.json", node.id),
            &json!({
                "id": node.id,
                "account": node.parent,
                "name": node.doc.name,
                "created": node.created_at.rfc3339(),
                "azure": azure_json(&node.doc.azure),
            }),
        )
    }

    fn erase(_node: &Node<ExperimentationWorkspaceDoc>, _why: Erasure) -> Fate<ExperimentationWorkspaceDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ExperimentationWorkspaceDoc>) -> Result<Option<Carried<'_>>> {
        let ExperimentationWorkspaceDoc { name, azure } = &mut node.doc;
        carry_azure(name, azure, false)
    }
}

/// A project: experiments, runs, files and notifications of one piece of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentationProjectDoc {
    /// Its name.
    pub name: String,
    /// Its place among Azure's resources, and what is noted there; the key is its name in lower case.
    pub azure: AzureResource,
    /// Where its code is kept, as its users wrote it.
    pub git_repository: Option<String>,
}

/// [`Kind::ExperimentationProject`].
#[derive(Debug)]
pub struct ExperimentationProject;

impl DataKind for ExperimentationProject {
    const KIND: Kind = Kind::ExperimentationProject;
    const PARENTS: &'static [Kind] = &[Kind::ExperimentationWorkspace];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Experimentation projects",
        purpose: "to keep the experiments, runs and files of one piece of work together",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = ExperimentationProjectDoc;

    fn example() -> ExperimentationProjectDoc {
        ExperimentationProjectDoc {
            name: "Leaves".into(),
            azure: azure_example_below("leaves"),
            git_repository: Some("https://example.org/leaves.git".into()),
        }
    }

    fn unique_name(doc: &ExperimentationProjectDoc) -> Option<&str> {
        Some(&doc.azure.key)
    }

    fn maker(doc: &ExperimentationProjectDoc) -> Option<Id> {
        doc.azure.created_by
    }

    fn attrs(_doc: &ExperimentationProjectDoc, _out: &mut Attrs) {}

    fn classify(doc: &ExperimentationProjectDoc, map: &mut DataMap) {
        let ExperimentationProjectDoc { name, azure, git_repository } = doc;
        classify_azure(name, azure, map);
        map.field(
            git_repository,
            "git_repository",
            FieldClass::Personal,
            "where its code is kept; an address may name a person",
        );
    }

    fn view(node: &Node<ExperimentationProjectDoc>) -> View {
        azure_view(node, &node.doc.name, &node.doc.azure).optional("Code", node.doc.git_repository.as_ref())
    }

    fn export(node: &Node<ExperimentationProjectDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("experimentation/projects/{}.json", node.id),
            &json!({
                "id": node.id,
                "workspace": node.parent,
                "name": node.doc.name,
                "created": node.created_at.rfc3339(),
                "azure": azure_json(&node.doc.azure),
                "gitrepo": node.doc.git_repository,
            }),
        )
    }

    fn erase(_node: &Node<ExperimentationProjectDoc>, _why: Erasure) -> Fate<ExperimentationProjectDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<ExperimentationProjectDoc>) -> Result<Option<Carried<'_>>> {
        let ExperimentationProjectDoc { name, azure, git_repository: _ } = &mut node.doc;
        carry_azure(name, azure, false)
    }
}
