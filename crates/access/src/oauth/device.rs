//! Device codes (RFC 8628): a program shows a short code, a person types it where they are signed in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::kinds::{DeviceCode, DeviceCodeDoc, DeviceDecision, OAuthClient};
use habeas_core::{Error, Id, Kind, Node, Result, Timestamp};
use habeas_store::{New, Tx};

use super::{Client, ClientCredentials, invalid_grant};
use crate::Access;
use crate::tokens::hash;

/// How long a code can be typed, in seconds.
const LIFETIME: i64 = 600;
/// How long a program waits between two questions, in seconds.
const INTERVAL: i64 = 5;
/// Codes that may wait at a time: anybody may ask for one.
const WAITING: u64 = 1_000;
/// Letters of a code: no vowels, so that no word comes out (RFC 8628, 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Letters in a code.
const LENGTH: usize = 8;

/// What a program that wants in is told.
#[derive(Clone, Debug)]
pub struct DeviceAuthorization {
    /// What the program keeps and asks with.
    pub device_code: String,
    /// What the person types, with a dash in the middle.
    pub user_code: String,
    /// Until when, in seconds from now.
    pub expires_in: i64,
    /// Seconds between two questions.
    pub interval: i64,
}

/// A program that waits for a person's word.
#[derive(Clone, Debug)]
pub struct PendingDevice {
    /// The name that it goes by.
    pub client_name: String,
}

/// A code as it is stored: what the person typed without dash, spaces and small letters.
fn normalise(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect()
}

impl Access {
    /// Gives a program a code pair.
    pub async fn begin_device(&self, credentials: &ClientCredentials) -> Result<DeviceAuthorization> {
        let client = self.recognise_client(credentials).await?.name();
        let device_code = URL_SAFE_NO_PAD.encode(self.ambient().bytes::<32>());
        let user_code: String = std::iter::from_fn(|| Some(self.ambient().bytes::<1>()[0]))
            // The largest multiple of twenty in a byte, so that every letter is as likely.
            .filter(|byte| *byte < 240)
            .take(LENGTH)
            .map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]))
            .collect();
        let id = self.ambient().new_id();
        let now = self.ambient().now();
        let expires_at = Some(Timestamp(now.0 + LIFETIME * 1_000_000));
        let doc = DeviceCodeDoc {
            client,
            secret_hash: hash(&device_code),
            user_code: user_code.clone(),
            decision: DeviceDecision::Pending,
            polled_at: Timestamp(0),
        };
        self.store
            .write(move |tx| {
                if tx.count_children(Id::NIL, Kind::DeviceCode)? >= WAITING {
                    return Err(
                        Error::busy("too many programs wait to be let in").hint("try again in ten minutes")
                    );
                }
                tx.create::<DeviceCode>(New { id, parent: Some(Id::NIL), expires_at, doc: doc.clone() })
            })
            .await?;
        let (left, right) = user_code.split_at(LENGTH / 2);
        Ok(DeviceAuthorization {
            device_code,
            user_code: format!("{left}-{right}"),
            expires_in: LIFETIME,
            interval: INTERVAL,
        })
    }

    /// The program that shows this code. Wrong codes are slowed down, person by person.
    pub async fn pending_device(&self, person: Id, user_code: &str) -> Result<PendingDevice> {
        self.guess_device(person)?;
        let code = normalise(user_code);
        let found = self
            .store
            .read(move |tx| {
                let node = waiting(tx, &code)?;
                Ok(PendingDevice { client_name: client_name(tx, &node.doc.client)? })
            })
            .await?;
        self.passwords.succeeded(&device_attempts(person));
        Ok(found)
    }

    /// Lets the program that shows this code in, in the person's name, or refuses it.
    pub async fn decide_device(
        &self,
        person: Id,
        signed_in_at: Timestamp,
        user_code: &str,
        approved: bool,
    ) -> Result<()> {
        self.guess_device(person)?;
        let code = normalise(user_code);
        let grant = self.ambient().new_id();
        self.store
            .write(move |tx| {
                let mut node = waiting(tx, &code)?;
                node.doc.decision = if approved {
                    super::tokens::create_grant(tx, person, grant, &node.doc.client, signed_in_at)?;
                    DeviceDecision::Approved(grant)
                } else {
                    DeviceDecision::Denied
                };
                tx.update::<DeviceCode>(&node).map(|_| ())
            })
            .await?;
        self.passwords.succeeded(&device_attempts(person));
        Ok(())
    }

    fn guess_device(&self, person: Id) -> Result<()> {
        self.passwords.attempt(device_attempts(person), self.ambient().now())
    }

    /// The grant that a person gave for this device code. The code is used up with it.
    pub(super) async fn redeem_device(&self, client: &Client, device_code: &str) -> Result<Id> {
        let secret_hash = hash(device_code);
        let client = client.name();
        let (answer, removed) = self
            .store
            .write(move |tx| {
                let expired = || Err(invalid_grant("the device code has expired").code("expired_token"));
                let Some(mut node) = tx.by_secret::<DeviceCode>(&secret_hash)? else {
                    return Ok((expired(), None));
                };
                let now = tx.now();
                if node.doc.client != client || node.expires_at.is_some_and(|end| end <= now) {
                    return Ok((expired(), None));
                }
                let answer = match node.doc.decision {
                    DeviceDecision::Approved(grant) => Ok(grant),
                    DeviceDecision::Denied => {
                        Err(invalid_grant("the person did not let the program in").code("access_denied"))
                    }
                    DeviceDecision::Pending => {
                        let early = now.0 - node.doc.polled_at.0 < INTERVAL * 1_000_000;
                        node.doc.polled_at = now;
                        tx.update::<DeviceCode>(&node)?;
                        let (code, what) = if early {
                            ("slow_down", "ask less often")
                        } else {
                            ("authorization_pending", "nobody has typed the code yet")
                        };
                        return Ok((Err(invalid_grant(what).code(code)), None));
                    }
                };
                Ok((answer, Some(tx.remove(node.id)?)))
            })
            .await?;
        if let Some(removed) = removed {
            self.store.finish(&removed).await;
        }
        answer
    }
}

fn waiting(tx: &mut Tx<'_>, code: &str) -> Result<Node<DeviceCodeDoc>> {
    tx.child_by_name::<DeviceCode>(Id::NIL, code)?
        .filter(|node| node.doc.decision == DeviceDecision::Pending)
        .filter(|node| node.expires_at.is_none_or(|end| end > tx.now()))
        .ok_or_else(|| {
            Error::not_found("no program shows this code")
                .hint("codes are valid for ten minutes; ask for a new one")
        })
}

fn client_name(tx: &mut Tx<'_>, client: &str) -> Result<String> {
    Ok(match Client::parse(client) {
        Some(Client::Registered(id)) => {
            tx.get::<OAuthClient>(id)?.map(|node| node.doc.name).unwrap_or_default()
        }
        _ => "The habeas command line".to_owned(),
    })
}

/// What the guesses of one person are counted by.
fn device_attempts(person: Id) -> [u8; 32] {
    habeas_core::crypto::sha256(format!("device:{person}").as_bytes())
}
