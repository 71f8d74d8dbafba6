//! What the plan of an erasure offers to decide, as options of the command line.

use anyhow::bail;
use habeas_client::Client;
use habeas_core::Id;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub(crate) struct Decisions {
    /// Who takes over where the person is the last owner or administrator: an organisation's id, or `installation`, and an e-mail address
    /// or object id
    #[arg(long = "successor", value_name = "WHERE=WHO")]
    successors: Vec<String>,
    /// An organisation of which the person is the last owner, to be deleted with everything in it
    #[arg(long = "delete", value_name = "ORGANISATION")]
    deletions: Vec<String>,
    /// Delete images of others that show the person, too, and have models forget them
    #[arg(long)]
    erase_depicted: bool,
}

impl Decisions {
    /// As the API takes them.
    pub(crate) async fn read(&self, client: &Client) -> anyhow::Result<Value> {
        let mut successors = Vec::new();
        for successor in &self.successors {
            let Some((place, who)) = successor.split_once('=') else {
                bail!("--successor {successor} is not WHERE=WHO");
            };
            let place = if place == "installation" { Id::NIL.to_string() } else { place.to_owned() };
            successors.push(json!({ "resource": place, "person": client.object_id(who).await? }));
        }
        Ok(
            json!({ "successors": successors, "deletions": self.deletions, "eraseDepicted": self.erase_depicted }),
        )
    }
}
