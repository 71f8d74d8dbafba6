//! Persons: made, found, looked at.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use habeas_access::{Actor, KeyName, KeyUse, NewPerson, TokenLifetime};
use habeas_core::kind::MentionRole;
use habeas_core::kinds::{AccountType, KeyPair};
use habeas_core::report::{
    ActivityReport, HoldingsReport, IssuedReport, ItemPage, KeysReport, PersonCreatedReport, PersonReport,
    ReceiptSummary, RectificationReport, RestrictionReport,
};
use habeas_core::{Error, Id, Kind};
use habeas_rights::{Correction, Rectify, kind_name};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use super::problem::{JsonBody, Problem, ProblemBody, QueryString, guid};
use crate::App;
use crate::caller::Caller;

/// A person to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreatePerson {
    /// E-mail address.
    email: String,
    /// Name; the local part of the address when absent.
    #[serde(default)]
    name: String,
    /// `guest`, `free` or `standard`; `standard` when absent. Somebody whom images name already is tied to them.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    account_type: Option<AccountType>,
}

/// Which persons.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FindPersons {
    /// Only the person with this e-mail address.
    email: Option<String>,
    /// The object id after which the page begins.
    after: Option<String>,
    /// How many, at most 100.
    limit: Option<u32>,
}

/// The person that `me` or an object id in a path stands for, once the caller may exercise their rights.
pub(super) async fn person(
    app: &App,
    caller: &Actor,
    text: &str,
    operation: &'static str,
) -> Result<Id, Problem> {
    let person = match text {
        "me" => caller.person().ok_or_else(|| {
            Problem(
                Error::invalid("the operator of the machine is not a person")
                    .hint("name the person by object id"),
            )
        })?,
        _ => guid(text)?,
    };
    app.rights.authorise(caller, person, operation).await?;
    Ok(person)
}

/// Persons, oldest first, or the one with an address. For the staff; each of them sees that they were looked at.
#[utoipa::path(get, path = "/persons", params(FindPersons), tag = "persons",
    responses((status = 200, body = Vec<PersonReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
    QueryString(query): QueryString<FindPersons>,
) -> Result<Json<Vec<PersonReport>>, Problem> {
    app.rights.require_staff(&caller).await?;
    if let Some(email) = query.email {
        let id = app.access().find_person(&email)?;
        app.rights.authorise(&caller, id, "FindPerson").await?;
        return Ok(Json(vec![app.rights.person_report(id).await?]));
    }
    let after = query.after.as_deref().map(guid).transpose()?.unwrap_or(Id::NIL);
    let persons = app.rights.person_reports(&caller, after, query.limit.unwrap_or(100).clamp(1, 100)).await?;
    Ok(Json(persons))
}

/// Makes a person with a Custom Vision account. For the staff.
#[utoipa::path(post, path = "/persons", request_body = CreatePerson, tag = "persons",
    responses((status = 201, body = PersonCreatedReport), (status = 400, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<CreatePerson>,
) -> Result<(StatusCode, Json<PersonCreatedReport>), Problem> {
    app.rights.require_staff(&caller).await?;
    let new = NewPerson {
        email: body.email,
        name: body.name,
        account_type: body.account_type.unwrap_or(AccountType::Standard),
    };
    let created = app.access().create_person(new).await?;
    let profile = app.access().person(created.id).await?.doc;
    // The account is there, and its keys are shown only now. Searching the address ties what this has not.
    if let Err(error) = app.rights.tie_depicted(&profile.email).await {
        tracing::warn!(
            error = format_args!("{error:#}"),
            "images that name a new address were not tied to its person"
        );
    }
    let pair = |keys| keys_shown(&app, &caller, keys);
    let report = PersonCreatedReport {
        object_id: created.id.to_string(),
        email: profile.email,
        name: profile.name,
        training_keys: pair(&created.training_keys),
        prediction_keys: pair(&created.prediction_keys),
    };
    Ok((StatusCode::CREATED, Json(report)))
}

/// A person's profile.
#[utoipa::path(get, path = "/persons/{person}", tag = "persons",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 200, body = PersonReport), (status = 404, body = ProblemBody)))]
pub(super) async fn show(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<PersonReport>, Problem> {
    let id = person(&app, &caller, &text, "GetPerson").await?;
    Ok(Json(app.rights.person_report(id).await?))
}

/// What is to be corrected. What is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RectifyPerson {
    /// The name.
    name: Option<String>,
    /// The e-mail address, by which the person is found and signs in from then on. A person's own new one is theirs when they have given
    /// the code back that is sent there (`POST /requests/{request}/verify`); the staff's word is enough for that of somebody else.
    email: Option<String>,
    /// Fields of other things that are held on the person.
    #[serde(default)]
    corrections: Vec<CorrectField>,
}

/// One field to be corrected.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CorrectField {
    /// Id of what it is a field of.
    resource: String,
    /// The field, as the data map names it; of class `personal` or `content`.
    field: String,
    /// What it is to say.
    value: serde_json::Value,
}

impl RectifyPerson {
    /// As the engine takes it.
    pub(super) fn read(self) -> Result<Rectify, Problem> {
        let corrections = self
            .corrections
            .into_iter()
            .map(|one| Ok(Correction { resource: guid(&one.resource)?, field: one.field, value: one.value }))
            .collect::<Result<_, Problem>>()?;
        Ok(Rectify { name: self.name, email: self.email, corrections })
    }
}

/// Corrects what is held on a person: name, e-mail address, and any personal field (GDPR Article 16), also of what others hold where the
/// caller may change it or is of the staff. The history keeps no old value. Answers 202 when a code was sent to the person's own new address,
/// with the request that waits for it in `addressChange`: the same whether or not somebody else has that address.
#[utoipa::path(patch, path = "/persons/{person}", request_body = RectifyPerson, tag = "rectify",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 200, body = RectificationReport), (status = 202, body = RectificationReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub(super) async fn rectify(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<RectifyPerson>,
) -> Result<(StatusCode, Json<RectificationReport>), Problem> {
    let id = person(&app, &caller, &text, "RectifyPerson").await?;
    let report = app.rights.rectify(&caller, id, body.read()?).await?;
    let status = if report.address_change.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(report)))
}

/// Whether processing is restricted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SetRestriction {
    restricted: bool,
}

/// Restricts the processing of a person's data, or lifts the restriction (GDPR Article 18): what is held can be seen, exported and erased,
/// but nobody changes it, learns from it or asks its models. When the staff lift it the person is written to first, and it ends after the time of
/// notice: answered with 202, and called off by restricting anew.
#[utoipa::path(put, path = "/persons/{person}/restriction", request_body = SetRestriction, tag = "restrict",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 204), (status = 202, body = RestrictionReport), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn restrict(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<SetRestriction>,
) -> Result<Response, Problem> {
    let operation = if body.restricted { "RestrictPerson" } else { "LiftRestriction" };
    let id = person(&app, &caller, &text, operation).await?;
    Ok(match app.rights.restrict(&caller, id, body.restricted).await? {
        Some(end) => {
            let report = RestrictionReport { restricted_until: end.rfc3339() };
            (StatusCode::ACCEPTED, Json(report)).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Everything held on a person: by kind, with counts, bytes, why and until when.
#[utoipa::path(get, path = "/persons/{person}/holdings", tag = "view",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 200, body = HoldingsReport), (status = 404, body = ProblemBody)))]
pub(super) async fn holdings(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<HoldingsReport>, Problem> {
    let id = person(&app, &caller, &text, "GetHoldings").await?;
    Ok(Json(app.rights.holdings(id).await?))
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ItemsQuery {
    /// The `next` of the page before.
    after: Option<String>,
    /// How many, at most 100.
    limit: Option<u32>,
    /// With `true`, what of this kind the person made and others hold: ids, times and where, in place of what is held on the person.
    #[serde(rename = "heldByOthers", default)]
    held_by_others: bool,
    /// With `heldByOthers`, what of this kind others made and hold and the person changed, in place of what they made.
    #[serde(default)]
    changed: bool,
}

/// What is held of one kind.
#[utoipa::path(get, path = "/persons/{person}/items/{kind}", tag = "view",
    params(("person" = String, Path, description = "object id, or `me`"), ("kind" = String, Path, description = "a kind of the data map"), ItemsQuery),
    responses((status = 200, body = ItemPage), (status = 404, body = ProblemBody)))]
pub(super) async fn items(
    State(app): State<App>,
    Caller(caller): Caller,
    Path((text, kind)): Path<(String, String)>,
    QueryString(query): QueryString<ItemsQuery>,
) -> Result<Json<ItemPage>, Problem> {
    let id = person(&app, &caller, &text, "GetItems").await?;
    let kind =
        Kind::ALL.iter().copied().find(|other| kind_name(*other).eq_ignore_ascii_case(&kind)).ok_or_else(
            || Error::not_found("there is no such kind of data").hint("see /api/privacy/v1/kinds"),
        )?;
    let after = query.after.as_deref().map(guid).transpose()?;
    Ok(Json(if query.held_by_others {
        let role = if query.changed { MentionRole::Editor } else { MentionRole::Maker };
        app.rights.work_for_others(id, role, kind, after, query.limit).await?
    } else {
        app.rights.items(id, kind, after, query.limit).await?
    }))
}

/// What was done in a person's name, and by staff with their data, newest first: all that is kept, which is 90 days.
#[utoipa::path(get, path = "/persons/{person}/activity", tag = "view",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 200, body = Vec<ActivityReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn activity(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<Vec<ActivityReport>>, Problem> {
    let id = person(&app, &caller, &text, "GetActivity").await?;
    Ok(Json(app.rights.activity(id).await?))
}

/// The receipts about a person, newest first.
#[utoipa::path(get, path = "/persons/{person}/receipts", tag = "view",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 200, body = Vec<ReceiptSummary>), (status = 404, body = ProblemBody)))]
pub(super) async fn receipts(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<Vec<ReceiptSummary>>, Problem> {
    let id = person(&app, &caller, &text, "GetReceipts").await?;
    Ok(Json(app.rights.receipts(id).await?))
}

/// A token to be issued.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateToken {
    /// A name to tell tokens apart.
    #[serde(default)]
    label: String,
    /// How long it lives, 1 to 365; 30 when absent.
    days: Option<u32>,
}

/// Issues a bearer token. For the person themselves, whose sign-in becomes no newer by it, but no application of theirs, and the operator,
/// whose token counts as one.
#[utoipa::path(post, path = "/persons/{person}/tokens", request_body = CreateToken, tag = "access",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 201, body = IssuedReport), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn create_token(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<CreateToken>,
) -> Result<(StatusCode, Json<IssuedReport>), Problem> {
    let id = person(&app, &caller, &text, "CreateToken").await?;
    require_self(&app, &caller, id, "a token is issued to its owner only")?;
    let lifetime = body.days.map_or_else(TokenLifetime::default, |days| TokenLifetime { days });
    let issued = app.access().issue_bearer(id, &body.label, lifetime, caller.signed_in_at()).await?;
    Ok((
        StatusCode::CREATED,
        Json(IssuedReport {
            id: issued.id.to_string(),
            secret: issued.secret,
            expires: issued.expires_at.rfc3339(),
        }),
    ))
}

/// A token in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenReport {
    id: String,
    /// What it is for.
    purpose: String,
    label: String,
    issued: String,
    expires: Option<String>,
}

/// A person's tokens, sessions and links.
#[utoipa::path(get, path = "/persons/{person}/tokens", tag = "access",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 200, body = Vec<TokenReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn tokens(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<Vec<TokenReport>>, Problem> {
    let id = person(&app, &caller, &text, "GetTokens").await?;
    let tokens = app.access().tokens(id).await?;
    Ok(Json(
        tokens
            .into_iter()
            .map(|node| TokenReport {
                id: node.id.to_string(),
                purpose: node.doc.purpose.title().to_owned(),
                label: node.doc.label,
                issued: node.created_at.rfc3339(),
                expires: node.expires_at.map(habeas_core::Timestamp::rfc3339),
            })
            .collect(),
    ))
}

/// Revokes a token, a session or a link at once.
#[utoipa::path(delete, path = "/persons/{person}/tokens/{token}", tag = "access",
    params(("person" = String, Path, description = "object id, or `me`"), ("token" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(super) async fn revoke_token(
    State(app): State<App>,
    Caller(caller): Caller,
    Path((text, token)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = person(&app, &caller, &text, "RevokeToken").await?;
    let token = guid(&token)?;
    if !app.access().tokens(id).await?.iter().any(|node| node.id == token) {
        return Err(Error::not_found("there is no such token").into());
    }
    app.access().revoke_token(token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a link that signs the person in once. The answer's `secret` is the address to open, or its path when the
/// server is not told its public address. For the operator, through the server's socket.
#[utoipa::path(post, path = "/persons/{person}/sign-in-links", tag = "access",
    params(("person" = String, Path, description = "object id")),
    responses((status = 201, body = IssuedReport), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn create_sign_in_link(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<(StatusCode, Json<IssuedReport>), Problem> {
    app.rights.require_staff(&caller).await?;
    let id = person(&app, &caller, &text, "CreateSignInLink").await?;
    if caller != Actor::Operator {
        return Err(Error::forbidden("a sign-in link is made by the operator of the machine only")
            .hint("on the server's machine: habeas person sign-in-link")
            .into());
    }
    let issued = app.access().issue_sign_in_link(id).await?;
    Ok((
        StatusCode::CREATED,
        Json(IssuedReport {
            id: issued.id.to_string(),
            secret: format!(
                "{}/sign-in/{}",
                app.public_address.as_deref().unwrap_or_default(),
                issued.secret
            ),
            expires: issued.expires_at.rfc3339(),
        }),
    ))
}

/// A password to be set.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SetPassword {
    /// At least 10 characters.
    password: String,
}

/// Sets the person's password. For the person themselves, who signed in within the last 15 minutes, and the operator.
#[utoipa::path(put, path = "/persons/{person}/password", request_body = SetPassword, tag = "access",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn set_password(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<SetPassword>,
) -> Result<StatusCode, Problem> {
    let id = person(&app, &caller, &text, "SetPassword").await?;
    require_self(&app, &caller, id, "a password is set by its owner only")?;
    // Who has it can sign in at any time.
    app.rights.require_fresh(&caller)?;
    app.access().set_password(id, Zeroizing::new(body.password)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A role of the staff, given or taken.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SetRole {
    /// `administrator` or `privacyOfficer`.
    role: String,
    /// True gives it, false takes it away.
    granted: bool,
}

/// Gives a person a role of the staff, or takes it away. For administrators.
#[utoipa::path(put, path = "/persons/{person}/role", request_body = SetRole, tag = "access",
    params(("person" = String, Path, description = "object id")),
    responses((status = 204), (status = 409, body = ProblemBody)))]
pub(super) async fn set_role(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<SetRole>,
) -> Result<StatusCode, Problem> {
    app.rights.require_administrator(&caller).await?;
    let id = person(&app, &caller, &text, "SetRole").await?;
    app.rights.require_in_person(&caller)?;
    let role = match body.role.as_str() {
        "administrator" => MentionRole::Administrator,
        "privacyOfficer" => MentionRole::PrivacyOfficer,
        _ => return Err(Error::invalid("role is `administrator` or `privacyOfficer`").into()),
    };
    app.access().set_staff_role(id, role, body.granted).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The keys of an account, as they are shown.
pub(super) fn keys_report(node: &habeas_core::Node<habeas_core::kinds::AccountDoc>) -> KeysReport {
    let pair = |keys: &habeas_core::kinds::KeyPair| vec![keys.primary.clone(), keys.secondary.clone()];
    KeysReport {
        account: node.id.to_string(),
        training_keys: pair(&node.doc.training_keys),
        prediction_keys: pair(&node.doc.prediction_keys),
    }
}

/// The keys of a person's Custom Vision accounts. For the person themselves, and the operator.
#[utoipa::path(get, path = "/persons/{person}/keys", tag = "access",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 200, body = Vec<KeysReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn keys(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<Vec<KeysReport>>, Problem> {
    let id = person(&app, &caller, &text, "GetKeys").await?;
    require_self(&app, &caller, id, "keys are shown to their owner only")?;
    Ok(Json(app.access().accounts(id).await?.iter().map(keys_report).collect()))
}

/// Replaces one key; the old one is dead at once.
#[utoipa::path(post, path = "/persons/{person}/keys/{account}/{pair}/{which}/rotate", tag = "access",
    params(("person" = String, Path, description = "object id, or `me`"), ("account" = String, Path),
        ("pair" = String, Path, description = "`training` or `prediction`"), ("which" = String, Path, description = "`primary` or `secondary`")),
    responses((status = 200, body = KeysReport), (status = 404, body = ProblemBody)))]
pub(super) async fn rotate_key(
    State(app): State<App>,
    Caller(caller): Caller,
    Path((text, account, pair, which)): Path<(String, String, String, String)>,
) -> Result<Json<KeysReport>, Problem> {
    let id = person(&app, &caller, &text, "RotateKey").await?;
    require_self(&app, &caller, id, "keys are shown to their owner only")?;
    let account = guid(&account)?;
    let no_key = || Problem(Error::not_found("there is no such key"));
    let pair = match pair.as_str() {
        "training" => KeyUse::Training,
        "prediction" => KeyUse::Prediction,
        _ => return Err(no_key()),
    };
    let primary = match which.as_str() {
        "primary" => true,
        "secondary" => false,
        _ => return Err(no_key()),
    };
    if !app.access().accounts(id).await?.iter().any(|node| node.id == account) {
        return Err(no_key());
    }
    Ok(Json(keys_report(&app.access().rotate_key(account, KeyName { pair, primary }).await?)))
}

/// The keys of an account that was just made. A program that its maker let in is shown none: with them it would stay in.
pub(super) fn keys_shown(app: &App, caller: &Actor, keys: &KeyPair) -> Vec<String> {
    match app.rights.require_in_person(caller) {
        Ok(()) => vec![keys.primary.clone(), keys.secondary.clone()],
        Err(_) => Vec::new(),
    }
}

/// Staff may see what is held, but get nothing with which to act in the person's name: it would pass for the person's own decision, which
/// nobody has to approve. Neither does a program that the person let in, which would stay in by it.
pub(super) fn require_self(app: &App, caller: &Actor, person: Id, refusal: &str) -> Result<(), Problem> {
    match caller {
        Actor::Operator => Ok(()),
        Actor::Person { id, .. } if *id == person => app.rights.require_in_person(caller).map_err(Problem),
        _ => Err(Error::forbidden(refusal)
            .hint("ask the person, or the operator of the server's machine")
            .into()),
    }
}
