//! Letting applications in.

use askama::Template;

use super::PersonBadge;

/// `GET /oauth2/authorize`: an application asks in the browser.
#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub struct ConsentPage {
    /// Who is asked.
    pub person: PersonBadge,
    /// The name that the application goes by.
    pub client_name: String,
    /// Where it will be told.
    pub redirect_uri: String,
    /// What it asked for, to be sent back with the answer.
    pub request: Vec<(&'static str, String)>,
}

/// How far a device code has come.
#[derive(Debug)]
pub enum DeviceStep {
    /// The code is to be typed; what was wrong with the last one.
    Type(Option<String>),
    /// The program is known: let it in or not.
    Decide {
        /// The name that the program goes by.
        client_name: String,
    },
    /// It was let in.
    Approved,
    /// It was refused.
    Denied,
}

/// `/device`: a program without a browser asks.
#[derive(Debug, Template)]
#[template(path = "device.html")]
pub struct DevicePage {
    /// Who is asked.
    pub person: PersonBadge,
    /// The code as it was typed.
    pub user_code: String,
    /// How far it has come.
    pub step: DeviceStep,
}
