//! What is held, who looked at it, keys and receipts.

use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::response::{IntoResponse as _, Redirect, Response};
use habeas_access::{KeyName, KeyUse};
use habeas_core::kinds::Image;
use habeas_core::{Error, Id, Kind};
use habeas_rights::kind_name;

use super::session::SignedIn;
use super::{Failure, Portal, render, text_header};
use crate::pages::{
    AccessLogPage, AccountKeys, ItemsPage, KeysPage, MyDataPage, ReceiptPage, ReceiptView, ReceiptsPage,
    Section, Shell,
};

/// `GET /me`.
pub(super) async fn overview(State(portal): State<Portal>, who: SignedIn) -> Result<Response, Failure> {
    let rights = &portal.rights;
    rights.authorise(&who.actor, who.person, "GetHoldings").await?;
    let holdings = rights.holdings(who.person).await?;
    let activity = rights.activity(who.person).await?;
    let exports = rights.exports(who.person).await?;
    Ok(render(&MyDataPage::new(who.shell(Section::MyData), &holdings, &activity, &exports, portal.now())))
}

/// `GET /me/items/{kind}`.
pub(super) async fn items(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    portal.rights.authorise(&who.actor, who.person, "GetItems").await?;
    let (address, from) = (format!("/me/items/{name}"), ("/me".to_owned(), "My data"));
    items_page(&portal, who.shell(Section::MyData), who.person, &name, query.as_deref(), (address, from))
        .await
}

/// What is held of one kind on a person whose rights the caller may exercise. The address is the page's own, and what leads to it.
pub(super) async fn items_page(
    portal: &Portal,
    shell: Shell,
    person: Id,
    name: &str,
    query: Option<&str>,
    (address, from): (String, (String, &'static str)),
) -> Result<Response, Failure> {
    let kind = Kind::ALL
        .iter()
        .copied()
        .find(|kind| kind_name(*kind) == name)
        .ok_or_else(|| Error::not_found("there is no such kind of data"))?;
    let after: Option<Id> = query
        .and_then(|query| query.strip_prefix("after="))
        .map(|text| text.parse().map_err(|_| Error::not_found("there is no such page")))
        .transpose()?;
    let holdings = portal.rights.holdings(person).await?;
    let held = holdings.items.iter().find(|item| item.kind == name);
    let title = held.map_or_else(|| name.to_owned(), |item| item.title.clone());
    let total = held.map_or(0, |item| item.count);
    let page = portal.rights.items(person, kind, after, None).await?;
    Ok(render(&ItemsPage::new(shell, from, (address, title), total, page, after.is_some(), portal.now())))
}

/// `GET /me/items/Image/{image}/thumbnail`: sends on to where the thumbnail is, for an image of the person's.
pub(super) async fn thumbnail(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(image): Path<String>,
) -> Result<Response, Failure> {
    let no_image = || Error::not_found("there is no such image");
    let image: Id = image.parse().map_err(|_| no_image())?;
    portal.rights.authorise(&who.actor, who.person, "GetThumbnail").await?;
    let person = who.person;
    let project = portal
        .rights
        .store()
        .read(move |tx| {
            let node = tx.get::<Image>(image)?.filter(|node| node.holder == person);
            node.and_then(|node| node.parent).ok_or_else(no_image)
        })
        .await?;
    Ok(Redirect::to(&(portal.thumbnail)(project, image)?).into_response())
}

/// `GET /me/access-log`.
pub(super) async fn access_log(
    State(portal): State<Portal>,
    who: SignedIn,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    portal.rights.authorise(&who.actor, who.person, "GetActivity").await?;
    let activity = portal.rights.activity(who.person).await?;
    let query = query.unwrap_or_default();
    let staff_only = query.split('&').any(|pair| pair == "by=staff");
    let before = query.split('&').find_map(|pair| pair.strip_prefix("before="));
    let shell = who.shell(Section::MyData);
    Ok(render(&AccessLogPage::new(shell, &activity, staff_only, before, portal.now())))
}

/// `GET /me/keys`.
pub(super) async fn keys(
    State(portal): State<Portal>,
    who: SignedIn,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    portal.rights.authorise(&who.actor, who.person, "GetKeys").await?;
    let accounts = portal.rights.access().accounts(who.person).await?;
    let scheme = if portal.tls { "https" } else { "http" };
    let endpoint = format!("{scheme}://{}", text_header(&headers, HOST).unwrap_or("localhost"));
    let accounts = accounts
        .into_iter()
        .map(|node| {
            let (training, prediction) = (&node.doc.training_keys, &node.doc.prediction_keys);
            AccountKeys::new(
                node.id.to_string(),
                "Custom Vision".to_owned(),
                [&training.primary, &training.secondary],
                [&prediction.primary, &prediction.secondary],
            )
        })
        .collect();
    Ok(render(&KeysPage { shell: who.shell(Section::Keys), endpoint, accounts }))
}

/// `POST /me/keys/{account}/{key}`: replaces a key.
pub(super) async fn rotate_key(
    State(portal): State<Portal>,
    who: SignedIn,
    Path((account, key)): Path<(Id, String)>,
) -> Result<Response, Failure> {
    let (pair, primary) = match key.as_str() {
        "training-1" => (KeyUse::Training, true),
        "training-2" => (KeyUse::Training, false),
        "prediction-1" => (KeyUse::Prediction, true),
        "prediction-2" => (KeyUse::Prediction, false),
        _ => return Err(Error::not_found("there is no such key").into()),
    };
    portal.rights.authorise(&who.actor, who.person, "RotateKey").await?;
    let access = portal.rights.access();
    if !access.accounts(who.person).await?.iter().any(|node| node.id == account) {
        return Err(Error::not_found("there is no such account").into());
    }
    access.rotate_key(account, KeyName { pair, primary }).await?;
    Ok(Redirect::to("/me/keys").into_response())
}

/// `GET /me/receipts`.
pub(super) async fn receipts(State(portal): State<Portal>, who: SignedIn) -> Result<Response, Failure> {
    portal.rights.authorise(&who.actor, who.person, "GetReceipts").await?;
    let receipts = portal.rights.receipts(who.person).await?;
    Ok(render(&ReceiptsPage::new(who.shell(Section::Receipts), &receipts, portal.now())))
}

/// `GET /me/receipts/{receipt}` as a page, or `/me/receipts/{receipt}.json` as it is signed.
pub(super) async fn receipt(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let (id, as_json) = receipt_id(&name)?;
    if !portal.rights.is_receipt_of(id, who.person).await? {
        return Err(no_receipt().into());
    }
    receipt_page(&portal, who.shell(Section::Receipts), id, as_json, "/me/receipts").await
}

fn no_receipt() -> Error {
    Error::not_found("there is no such receipt")
}

/// The receipt that the end of an address names, and whether as JSON.
pub(super) fn receipt_id(name: &str) -> Result<(Id, bool), Failure> {
    let (text, as_json) = name.strip_suffix(".json").map_or((name, false), |text| (text, true));
    Ok((text.parse().map_err(|_| no_receipt())?, as_json))
}

/// A receipt for whoever may see it, below an address.
pub(super) async fn receipt_page(
    portal: &Portal,
    shell: Shell,
    id: Id,
    as_json: bool,
    below: &str,
) -> Result<Response, Failure> {
    let receipt = portal.rights.receipt(id).await?;
    if as_json {
        return Ok(axum::Json(receipt).into_response());
    }
    let view = receipt_view(portal, &receipt, format!("{below}/{id}.json"))?;
    Ok(render(&ReceiptPage { shell, receipt: view }))
}

/// A receipt for people.
pub(super) fn receipt_view(
    portal: &Portal,
    receipt: &serde_json::Value,
    address: String,
) -> Result<ReceiptView, Failure> {
    let public: String = portal.rights.public_key()?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(ReceiptView::new(receipt, address, public, portal.now()))
}
