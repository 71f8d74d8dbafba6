//! The parameters of a token request, and the application they come from.

use std::collections::HashMap;

use axum::extract::{FromRequest, Request};
use axum::http::header::AUTHORIZATION;
use axum::{Form, RequestExt as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_access::oauth::ClientCredentials;
use habeas_core::Error;

use super::{Failure, is_form};
use crate::App;

/// A form body and the `Authorization` header beside it.
pub(super) struct Parameters {
    fields: HashMap<String, String>,
    /// The content of `Authorization: Basic`, decoded.
    basic: Option<(String, String)>,
}

fn invalid(what: impl Into<String>) -> Failure {
    Failure(Error::invalid(what).code("invalid_request"))
}

impl FromRequest<App> for Parameters {
    type Rejection = Failure;

    async fn from_request(request: Request, _app: &App) -> Result<Parameters, Failure> {
        let basic = match request.headers().get(AUTHORIZATION) {
            None => None,
            Some(value) => {
                let basic = value.to_str().ok().and_then(|value| value.strip_prefix("Basic "));
                Some(basic.and_then(credentials).ok_or_else(|| {
                    let error = Error::unauthenticated("the Authorization header cannot be read");
                    Failure(error.code("invalid_client"))
                })?)
            }
        };
        if !is_form(request.headers()) {
            return Err(invalid("the body is application/x-www-form-urlencoded"));
        }
        let Form(pairs) = request
            .extract::<Form<Vec<(String, String)>>, _>()
            .await
            .map_err(|_| invalid("the form cannot be read"))?;
        let mut fields = HashMap::new();
        for (name, value) in pairs {
            if fields.contains_key(&name) {
                return Err(invalid("a parameter is given twice"));
            }
            fields.insert(name, value);
        }
        Ok(Parameters { fields, basic })
    }
}

/// Name and password of HTTP's basic scheme, each percent-encoded before (RFC 6749, 2.3.1).
fn credentials(value: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decode(id)?, decode(secret)?))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' => b' ',
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

impl Parameters {
    /// A parameter that must be there.
    pub(super) fn required(&self, name: &'static str) -> Result<&str, Failure> {
        self.fields
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| invalid(format!("the parameter {name} is missing")))
    }

    /// Who asks: by `Authorization: Basic`, by `client_id` and `client_secret`, or by `client_id` alone. One way only.
    pub(super) fn client(&self) -> Result<ClientCredentials, Failure> {
        let secret = self.fields.get("client_secret").cloned();
        match &self.basic {
            None => Ok(ClientCredentials { id: self.required("client_id")?.to_owned(), secret }),
            Some(_) if secret.is_some() => Err(invalid("the application says twice who it is")),
            Some((id, secret)) => Ok(ClientCredentials { id: id.clone(), secret: Some(secret.clone()) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_percent_encoded_inside() {
        assert_eq!(credentials(&STANDARD.encode("a%3Ab:c+%C3%A9")), Some(("a:b".into(), "c é".into())));
        for bad in
            ["", "!", &STANDARD.encode("no colon"), &STANDARD.encode("a:%4"), &STANDARD.encode("a:%FF")]
        {
            assert_eq!(credentials(bad), None, "{bad}");
        }
    }
}
