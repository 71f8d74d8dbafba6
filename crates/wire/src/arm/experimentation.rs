//! Accounts, workspaces and projects of `Microsoft.MachineLearningExperimentation`, 2017-05-01-preview.

use habeas_core::kinds::{
    AzureResource, ExperimentationAccount, ExperimentationAccountDoc, ExperimentationProject,
    ExperimentationProjectDoc, ExperimentationWorkspace, ExperimentationWorkspaceDoc,
};
use habeas_core::{Error, Id, Node, Result};
use habeas_store::Tx;
use serde_json::{Map, Value, json};

use super::body::Fields;
use super::providers::{EXPERIMENTATION, Provider};
use super::resource::{Above, Address, Resource, Said, Shown, above, refer};
use crate::workspaces::create_default_experiment;

/// The rule of the service's description, for new ones only.
fn check_name(name: &str) -> Result<()> {
    if (5..=50).contains(&name.len()) && name.chars().all(|character| character.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Error::invalid("a name of an account, workspace or project has 5 to 50 letters a-z, A-Z and digits")
        .code("InvalidResourceName"))
}

/// The ids of other resources that an account names.
const REFERENCES: [&str; 3] = ["vsoAccountId", "keyVaultId", STORAGE];
/// The one that stands in the `storageAccount`.
const STORAGE: &str = "storageAccountId";

/// Where a reference of an account stands.
fn holding<'a>(properties: &Fields<'a>, storage: &Fields<'a>, name: &str) -> Fields<'a> {
    if name == STORAGE { storage.clone() } else { properties.clone() }
}

/// What all three say.
fn common<D>(node: &Node<D>, name: &str, azure: &AzureResource) -> Map<String, Value> {
    let mut properties = Map::new();
    properties.insert("description".into(), json!(azure.description.as_deref().unwrap_or_default()));
    properties.insert("friendlyName".into(), json!(azure.friendly_name.as_deref().unwrap_or(name)));
    properties.insert("creationDate".into(), json!(node.created_at.rfc3339()));
    properties.insert("provisioningState".into(), json!("Succeeded"));
    properties
}

impl Resource for ExperimentationAccount {
    const PROVIDER: &'static Provider = &EXPERIMENTATION;
    const TYPE: &'static str = "accounts";
    const PART: &'static str = "account";

    fn name(doc: &ExperimentationAccountDoc) -> &str {
        &doc.name
    }

    fn azure(doc: &ExperimentationAccountDoc) -> Option<&AzureResource> {
        Some(&doc.azure)
    }

    fn azure_mut(doc: &mut ExperimentationAccountDoc) -> Option<&mut AzureResource> {
        Some(&mut doc.azure)
    }

    fn check_name(name: &str) -> Result<()> {
        check_name(name)
    }

    fn above(_tx: &mut Tx<'_>, _address: &Address, holder: Id) -> Result<Above> {
        Ok(Above::holder(holder))
    }

    fn make(said: &Said, name: String, mut azure: AzureResource) -> Result<ExperimentationAccountDoc> {
        let properties = said.properties()?;
        let storage = properties.object("storageAccount")?;
        for (fields, name) in REFERENCES.map(|name| (holding(&properties, &storage, name), name)) {
            azure.references.insert(name.to_owned(), fields.required(name)?);
        }
        Ok(ExperimentationAccountDoc {
            name,
            azure,
            seats: properties.text("seats")?,
            storage_key: Some(storage.required("accessKey")?),
        })
    }

    fn change(doc: &mut ExperimentationAccountDoc, said: &Said) -> Result<()> {
        let properties = said.properties()?;
        let storage = properties.object("storageAccount")?;
        for name in REFERENCES {
            refer(&mut doc.azure, &holding(&properties, &storage, name), name)?;
        }
        let key =
            if said.is_whole { storage.text("accessKey")? } else { properties.text("storageAccountKey")? };
        // Empty is how it is shown: what is sent back changes nothing.
        doc.storage_key = key.filter(|key| !key.is_empty()).or(doc.storage_key.take());
        doc.seats = properties.text("seats")?.or(doc.seats.take());
        Ok(())
    }

    fn properties(shown: &Shown<'_>, node: &Node<ExperimentationAccountDoc>) -> Map<String, Value> {
        let doc = &node.doc;
        let mut properties = common(node, &doc.name, &doc.azure);
        let reference = |name: &str| json!(doc.azure.references.get(name));
        properties.insert("accountId".into(), json!(node.id));
        properties.insert("vsoAccountId".into(), reference("vsoAccountId"));
        properties.insert("keyVaultId".into(), reference("keyVaultId"));
        properties.insert("seats".into(), json!(doc.seats));
        properties.insert("discoveryUri".into(), json!(format!("{}/discovery", shown.base)));
        // The client needs the key to be there when it sends back what it was shown; what it is, is told to nobody.
        let storage = json!({ "storageAccountId": reference("storageAccountId"), "accessKey": "" });
        properties.insert("storageAccount".into(), storage);
        properties
    }
}

impl Resource for ExperimentationWorkspace {
    const PROVIDER: &'static Provider = &EXPERIMENTATION;
    const TYPE: &'static str = "workspaces";
    const PART: &'static str = "workspace_name";

    fn name(doc: &ExperimentationWorkspaceDoc) -> &str {
        &doc.name
    }

    fn azure(doc: &ExperimentationWorkspaceDoc) -> Option<&AzureResource> {
        Some(&doc.azure)
    }

    fn azure_mut(doc: &mut ExperimentationWorkspaceDoc) -> Option<&mut AzureResource> {
        Some(&mut doc.azure)
    }

    fn check_name(name: &str) -> Result<()> {
        check_name(name)
    }

    fn above(tx: &mut Tx<'_>, address: &Address, holder: Id) -> Result<Above> {
        above::<ExperimentationAccount>(tx, address, holder)
    }

    fn make(said: &Said, name: String, azure: AzureResource) -> Result<ExperimentationWorkspaceDoc> {
        said.properties()?.required("friendlyName")?;
        Ok(ExperimentationWorkspaceDoc { name, azure })
    }

    fn change(_doc: &mut ExperimentationWorkspaceDoc, _said: &Said) -> Result<()> {
        Ok(())
    }

    fn properties(shown: &Shown<'_>, node: &Node<ExperimentationWorkspaceDoc>) -> Map<String, Value> {
        let mut properties = common(node, &node.doc.name, &node.doc.azure);
        properties.insert("accountId".into(), json!(shown.above.id));
        properties.insert("workspaceId".into(), json!(node.id));
        properties
    }
}

impl Resource for ExperimentationProject {
    const PROVIDER: &'static Provider = &EXPERIMENTATION;
    const TYPE: &'static str = "projects";
    const PART: &'static str = "project";

    fn name(doc: &ExperimentationProjectDoc) -> &str {
        &doc.name
    }

    fn azure(doc: &ExperimentationProjectDoc) -> Option<&AzureResource> {
        Some(&doc.azure)
    }

    fn azure_mut(doc: &mut ExperimentationProjectDoc) -> Option<&mut AzureResource> {
        Some(&mut doc.azure)
    }

    fn check_name(name: &str) -> Result<()> {
        check_name(name)
    }

    fn above(tx: &mut Tx<'_>, address: &Address, holder: Id) -> Result<Above> {
        above::<ExperimentationWorkspace>(tx, address, holder)
    }

    fn make(said: &Said, name: String, azure: AzureResource) -> Result<ExperimentationProjectDoc> {
        let properties = said.properties()?;
        properties.required("friendlyName")?;
        Ok(ExperimentationProjectDoc { name, azure, git_repository: properties.text("gitrepo")? })
    }

    fn change(doc: &mut ExperimentationProjectDoc, said: &Said) -> Result<()> {
        doc.git_repository = said.properties()?.text("gitrepo")?.or(doc.git_repository.take());
        Ok(())
    }

    fn furnish(tx: &mut Tx<'_>, id: Id, person: Id) -> Result<()> {
        create_default_experiment(tx, id, person)
    }

    fn properties(shown: &Shown<'_>, node: &Node<ExperimentationProjectDoc>) -> Map<String, Value> {
        let mut properties = common(node, &node.doc.name, &node.doc.azure);
        properties.insert("accountId".into(), json!(shown.above.parent));
        properties.insert("workspaceId".into(), json!(shown.above.id));
        properties.insert("projectId".into(), json!(node.id));
        properties.insert("gitrepo".into(), json!(node.doc.git_repository));
        properties
    }
}
