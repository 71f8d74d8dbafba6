//! Keys of the Custom Vision accounts.

use askama::Template;

use super::Shell;

/// `GET /me/keys`.
#[derive(Debug, Template)]
#[template(path = "keys.html")]
pub struct KeysPage {
    /// What surrounds it.
    pub shell: Shell,
    /// Under which address the server is reached.
    pub endpoint: String,
    /// The person's accounts.
    pub accounts: Vec<AccountKeys>,
}

/// The keys of one account.
#[derive(Clone, Debug)]
pub struct AccountKeys {
    /// The account's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Training 1 and 2, prediction 1 and 2.
    pub keys: Vec<KeyRow>,
}

/// One key.
#[derive(Clone, Debug)]
pub struct KeyRow {
    /// Its name in addresses: `training-1`.
    pub slug: &'static str,
    /// Its name for a person: `Training key 1`.
    pub title: &'static str,
    /// The key.
    pub value: String,
}

impl AccountKeys {
    /// Makes it of an account's id and name and its pairs, each primary first.
    pub fn new(id: String, name: String, training: [&str; 2], prediction: [&str; 2]) -> AccountKeys {
        let keys = [
            ("training-1", "Training key 1", training[0]),
            ("training-2", "Training key 2", training[1]),
            ("prediction-1", "Prediction key 1", prediction[0]),
            ("prediction-2", "Prediction key 2", prediction[1]),
        ];
        let keys =
            keys.into_iter().map(|(slug, title, value)| KeyRow { slug, title, value: value.to_owned() });
        AccountKeys { id, name, keys: keys.collect() }
    }
}
