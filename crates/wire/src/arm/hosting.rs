//! Hosting accounts of `Microsoft.MachineLearningModelManagement`, 2017-09-01-preview.
//!
//! No description of this API is published; the shapes are those of Microsoft's page on it and of its clients' sources.

use habeas_core::kinds::{AzureResource, HostingAccount, HostingAccountDoc, HostingSku};
use habeas_core::{Error, Id, Node, Result};
use habeas_store::Tx;
use serde_json::{Map, Value, json};

use super::providers::{MODEL_MANAGEMENT, Provider};
use super::resource::{Above, Address, Resource, Said, Shown};
use crate::scope::Scope;

const SKUS: [&str; 4] = ["S1", "S2", "S3", "DevTest"];
const TIERS: [&str; 5] = ["Free", "Basic", "Standard", "Premium", "DevTest"];

fn sku(said: &Said, before: Option<&HostingSku>) -> Result<Option<HostingSku>> {
    let sku = said.fields()?.object("sku")?;
    if !sku.is_there() {
        return Ok(None);
    }
    let missing = |what: &str| Error::invalid(format!("`sku.{what}` is missing"));
    let name = sku.one_of("name", &SKUS)?.or(before.map(|sku| sku.name.clone()));
    let capacity = sku
        .whole("capacity", 1..=16)?
        .map_or(before.map(|sku| sku.capacity), |number| u32::try_from(number).ok());
    Ok(Some(HostingSku {
        name: name.ok_or_else(|| missing("name"))?,
        capacity: capacity.ok_or_else(|| missing("capacity"))?,
        tier: sku.one_of("tier", &TIERS)?.or(before.and_then(|sku| sku.tier.clone())),
    }))
}

impl Resource for HostingAccount {
    const PROVIDER: &'static Provider = &MODEL_MANAGEMENT;
    const TYPE: &'static str = "accounts";
    const PART: &'static str = "account";

    fn name(doc: &HostingAccountDoc) -> &str {
        &doc.name
    }

    fn azure(doc: &HostingAccountDoc) -> Option<&AzureResource> {
        Some(&doc.azure)
    }

    fn azure_mut(doc: &mut HostingAccountDoc) -> Option<&mut AzureResource> {
        Some(&mut doc.azure)
    }

    fn above(_tx: &mut Tx<'_>, _address: &Address, holder: Id) -> Result<Above> {
        Ok(Above::holder(holder))
    }

    fn make(said: &Said, name: String, azure: AzureResource) -> Result<HostingAccountDoc> {
        let sku = sku(said, None)?.ok_or_else(|| {
            Error::invalid("`sku` is missing").hint("send `\"sku\": {\"name\": \"S1\", \"capacity\": 1}`")
        })?;
        Ok(HostingAccountDoc { name, azure, sku })
    }

    fn change(doc: &mut HostingAccountDoc, said: &Said) -> Result<()> {
        if let Some(sku) = sku(said, Some(&doc.sku))? {
            doc.sku = sku;
        }
        Ok(())
    }

    fn properties(shown: &Shown<'_>, node: &Node<HostingAccountDoc>) -> Map<String, Value> {
        let azure = &node.doc.azure;
        let scope = Scope::of_hosting(node.holder, &azure.group, &node.doc.name).path();
        let mut properties = Map::new();
        properties.insert("id".into(), json!(node.id));
        properties.insert("description".into(), json!(azure.description.as_deref().unwrap_or_default()));
        properties.insert("createdOn".into(), json!(node.created_at.rfc3339()));
        properties.insert("modifiedOn".into(), json!(node.updated_at.rfc3339()));
        // azure-cli-ml takes what stands before the last slash as the address of the API; amlrealtimeai looks for the end of the host.
        properties.insert(
            "modelManagementSwaggerLocation".into(),
            json!(format!("{}/api{scope}/swagger.json", shown.base)),
        );
        properties
    }

    fn beside(node: &Node<HostingAccountDoc>, out: &mut Map<String, Value>) {
        out.insert("sku".into(), json!(node.doc.sku));
    }
}
