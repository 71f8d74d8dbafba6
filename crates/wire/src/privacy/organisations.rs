//! Organisations and their members.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use habeas_access::{Permission, authorise};
use habeas_core::kind::MentionRole;
use habeas_core::report::{KeysReport, MemberReport, PersonCreatedReport};
use habeas_core::{Error, Id};
use serde::Deserialize;
use utoipa::ToSchema;

use super::persons::{keys_report, keys_shown};
use super::problem::{JsonBody, Problem, ProblemBody, guid};
use crate::App;
use crate::caller::Caller;

/// An organisation to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateOrganisation {
    /// Its name.
    name: String,
    /// Object id of its first owner; the caller when absent.
    owner: Option<String>,
}

/// Makes an organisation with a Custom Vision account.
#[utoipa::path(post, path = "/organisations", request_body = CreateOrganisation, tag = "organisations",
    responses((status = 201, body = PersonCreatedReport), (status = 400, body = ProblemBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<CreateOrganisation>,
) -> Result<(StatusCode, Json<PersonCreatedReport>), Problem> {
    let owner = match body.owner.as_deref() {
        Some(owner) => {
            let owner = guid(owner)?;
            app.rights.authorise(&caller, owner, "CreateOrganisation").await?;
            owner
        }
        None => caller
            .person()
            .ok_or_else(|| Error::invalid("name the owner: the operator of the machine is not a person"))?,
    };
    let created = app.access().create_organisation(&body.name, owner).await?;
    let pair = |keys| keys_shown(&app, &caller, keys);
    let report = PersonCreatedReport {
        object_id: created.id.to_string(),
        email: String::new(),
        name: body.name.trim().to_owned(),
        training_keys: pair(&created.training_keys),
        prediction_keys: pair(&created.prediction_keys),
    };
    Ok((StatusCode::CREATED, Json(report)))
}

fn role_name(role: MentionRole) -> &'static str {
    MentionRole::MEMBERS.iter().find(|(_, known)| *known == role).map_or("reader", |(name, _)| name)
}

/// Succeeds when the caller has this permission in the organisation; to everybody else it does not exist.
pub(super) async fn permitted(
    app: &App,
    caller: habeas_access::Actor,
    organisation: Id,
    permission: Permission,
) -> Result<(), Problem> {
    app.store().read(move |tx| authorise(tx, &caller, organisation, permission)).await.map_err(Problem)
}

/// The members of an organisation.
#[utoipa::path(get, path = "/organisations/{organisation}/members", tag = "organisations",
    params(("organisation" = String, Path)),
    responses((status = 200, body = Vec<MemberReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn members(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(organisation): Path<String>,
) -> Result<Json<Vec<MemberReport>>, Problem> {
    let organisation = guid(&organisation)?;
    permitted(&app, caller, organisation, Permission::Read).await?;
    let members = app.access().members(organisation).await?;
    Ok(Json(
        members
            .into_iter()
            .map(|mention| MemberReport {
                person: mention.person.to_string(),
                role: role_name(mention.role).to_owned(),
                since: mention.since.rfc3339(),
            })
            .collect(),
    ))
}

/// The keys of an organisation's Custom Vision accounts. For its owners. They are renewed when somebody leaves who could see keys.
#[utoipa::path(get, path = "/organisations/{organisation}/keys", tag = "organisations",
    params(("organisation" = String, Path)),
    responses((status = 200, body = Vec<KeysReport>), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn keys(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(organisation): Path<String>,
) -> Result<Json<Vec<KeysReport>>, Problem> {
    let organisation = guid(&organisation)?;
    permitted(&app, caller, organisation, Permission::Own).await?;
    app.rights.require_in_person(&caller)?;
    app.access().organisation(organisation).await?;
    Ok(Json(app.access().accounts(organisation).await?.iter().map(keys_report).collect()))
}

/// Gives an organisation's Custom Vision accounts and its services new keys, and shows those of the accounts. For its owners: somebody knows the
/// old ones who should not, as after the restore of an older backup.
#[utoipa::path(post, path = "/organisations/{organisation}/keys", tag = "organisations",
    params(("organisation" = String, Path)),
    responses((status = 200, body = Vec<KeysReport>), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn renew_keys(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(organisation): Path<String>,
) -> Result<Json<Vec<KeysReport>>, Problem> {
    let organisation = guid(&organisation)?;
    permitted(&app, caller, organisation, Permission::Own).await?;
    app.rights.require_in_person(&caller)?;
    app.access().organisation(organisation).await?;
    app.access().renew_keys(organisation).await?;
    Ok(Json(app.access().accounts(organisation).await?.iter().map(keys_report).collect()))
}

/// A membership.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SetMember {
    /// `owner`, `contributor`, `trainer`, `labeler`, `deployment` or `reader`.
    role: String,
}

/// Gives a person a role in an organisation in place of any they had. For its owners. The keys of the organisation's accounts and services are
/// renewed when the person could see keys (as owner, contributor, trainer or deployment) and can no longer.
#[utoipa::path(put, path = "/organisations/{organisation}/members/{person}", request_body = SetMember, tag = "organisations",
    params(("organisation" = String, Path), ("person" = String, Path, description = "object id")),
    responses((status = 204), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn set_member(
    State(app): State<App>,
    Caller(caller): Caller,
    Path((organisation, person)): Path<(String, String)>,
    JsonBody(body): JsonBody<SetMember>,
) -> Result<StatusCode, Problem> {
    let (organisation, person) = (guid(&organisation)?, guid(&person)?);
    permitted(&app, caller, organisation, Permission::Own).await?;
    app.rights.require_in_person(&caller)?;
    let (_, role) =
        MentionRole::MEMBERS.into_iter().find(|(name, _)| *name == body.role).ok_or_else(|| {
            let names: Vec<_> = MentionRole::MEMBERS.iter().map(|(name, _)| format!("`{name}`")).collect();
            Error::invalid(format!("role is one of {}", names.join(", ")))
        })?;
    app.access().set_member(organisation, person, role).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a membership. For owners, and for the member themselves. The keys of the organisation's accounts and services are renewed when the
/// member could see keys.
#[utoipa::path(delete, path = "/organisations/{organisation}/members/{person}", tag = "organisations",
    params(("organisation" = String, Path), ("person" = String, Path, description = "object id")),
    responses((status = 204), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn remove_member(
    State(app): State<App>,
    Caller(caller): Caller,
    Path((organisation, person)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (organisation, person) = (guid(&organisation)?, guid(&person)?);
    let needed = if caller.person() == Some(person) { Permission::Read } else { Permission::Own };
    permitted(&app, caller, organisation, needed).await?;
    app.rights.require_in_person(&caller)?;
    app.access().remove_member(organisation, person).await?;
    Ok(StatusCode::NO_CONTENT)
}
