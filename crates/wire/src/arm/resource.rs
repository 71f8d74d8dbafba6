//! What all resources of the control plane have in common: finding, showing, listing, making, changing, deleting.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::AzureResource;
use habeas_core::{DataKind, Error, ErrorKind, Id, Node, Result as CoreResult, Timestamp};
use habeas_store::{New, Page, Tx, UNIQUE_VIOLATION};
use serde_json::{Map, Value, json};

use super::body::Fields;
use super::call::{Call, Precondition, etag};
use super::errors::Result;
use super::paging;
use super::providers::Provider;
use crate::deletion::Deletion;
use crate::scope::{holder, key};

/// The longest name of a resource or group, in characters.
const NAME: usize = 90;

/// A type of resources of the control plane.
pub(super) trait Resource: DataKind<Doc: Clone + Send + Sync + 'static> {
    /// Whose type it is.
    const PROVIDER: &'static Provider;
    /// The last part of the type's name, such as `workspaces`.
    const TYPE: &'static str;
    /// The part of the path that names one.
    const PART: &'static str;

    /// Its name.
    fn name(doc: &Self::Doc) -> &str;
    /// What the control plane says of it; none for one that it does not show.
    fn azure(doc: &Self::Doc) -> Option<&AzureResource>;
    /// The same, to be changed.
    fn azure_mut(doc: &mut Self::Doc) -> Option<&mut AzureResource>;

    /// Refuses a name that the service would not give to a new one.
    fn check_name(name: &str) -> CoreResult<()> {
        check_name(name)
    }

    /// What it stands under, at this address.
    fn above(tx: &mut Tx<'_>, address: &Address, holder: Id) -> CoreResult<Above>;
    /// A new one.
    fn make(said: &Said, name: String, azure: AzureResource) -> CoreResult<Self::Doc>;
    /// Writes what was said over what is there.
    fn change(doc: &mut Self::Doc, said: &Said) -> CoreResult<()>;
    /// What a new one begins with.
    fn furnish(_tx: &mut Tx<'_>, _id: Id, _person: Id) -> CoreResult<()> {
        Ok(())
    }
    /// Its `properties` in an answer.
    fn properties(shown: &Shown<'_>, node: &Node<Self::Doc>) -> Map<String, Value>;
    /// What stands beside its `properties`.
    fn beside(_node: &Node<Self::Doc>, _out: &mut Map<String, Value>) {}
    /// The answer to its making, or its making anew: some clients wait for an operation.
    fn made(_call: &Call, _id: Id, answer: Response) -> Response {
        answer
    }
    /// The answer to its deletion, of which this is the receipt.
    fn deleted(_call: &Call, _receipt: &str) -> Response {
        StatusCode::OK.into_response()
    }
}

/// What a resource is shown with.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    /// The address of the server.
    pub(super) base: &'a str,
    /// The version of the API that was asked for.
    pub(super) version: &'static str,
    /// Its own id, `/subscriptions/...`.
    pub(super) path: &'a str,
    /// What it stands under.
    pub(super) above: &'a Above,
}

/// What a resource stands under.
#[derive(Clone, Debug)]
pub(super) struct Above {
    pub(super) id: Id,
    pub(super) parent: Option<Id>,
    /// Its id, `/subscriptions/...`; none for the holder.
    pub(super) path: Option<String>,
}

impl Above {
    /// The holder itself.
    pub(super) fn holder(id: Id) -> Above {
        Above { id, parent: None, path: None }
    }
}

/// What the path of a request says.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) subscription: String,
    pub(super) group: String,
    parts: std::collections::HashMap<String, String>,
}

impl Address {
    pub(super) fn of(call: &Call) -> Address {
        Address {
            subscription: call.part("subscription").to_owned(),
            group: call.part("group").to_owned(),
            parts: call.parts().clone(),
        }
    }

    fn name<R: Resource>(&self) -> &str {
        self.parts.get(R::PART).map(String::as_str).unwrap_or_default()
    }

    /// What a resource of this type is found by among its siblings.
    fn key<R: Resource>(&self, above: &Above) -> String {
        let name = self.name::<R>();
        if above.path.is_none() { key(&self.group, name) } else { name.to_lowercase() }
    }
}

/// The id of a resource, `/subscriptions/...`.
fn path<R: Resource>(above: &Above, azure: &AzureResource, node: &Node<R::Doc>) -> String {
    let name = R::name(&node.doc);
    match &above.path {
        Some(path) => format!("{path}/{}/{name}", R::TYPE),
        None => format!(
            "/subscriptions/{}/resourceGroups/{}/providers/{}/{}/{name}",
            node.holder,
            azure.group,
            R::PROVIDER.namespace,
            R::TYPE
        ),
    }
}

/// The name of the type of what has this id, `PROVIDER/TYPE/TYPE`.
fn type_name(path: &str) -> String {
    let mut segments = path.split('/').skip_while(|segment| *segment != "providers").skip(1);
    let namespace = segments.next().unwrap_or_default();
    segments.step_by(2).fold(namespace.to_owned(), |name, segment| format!("{name}/{segment}"))
}

/// The resource at an address and what it stands under, if the actor may do this with it.
pub(super) fn find<R: Resource>(
    tx: &mut Tx<'_>,
    actor: &Actor,
    address: &Address,
    permission: Permission,
) -> CoreResult<(Above, Node<R::Doc>)> {
    let holder = holder(tx, actor, &address.subscription, Permission::Read)?;
    let above = R::above(tx, address, holder)?;
    let node = tx
        .child_by_name::<R>(above.id, &address.key::<R>(&above))?
        // What has an end is still being brought from elsewhere.
        .filter(|node| R::azure(&node.doc).is_some() && node.expires_at.is_none())
        .ok_or_else(|| {
            Error::not_found(format!("there is no {} of this name in the resource group", singular(R::TYPE)))
                .code("ResourceNotFound")
        })?;
    authorise(tx, actor, node.id, permission)?;
    Ok((above, node))
}

/// The resource at an address as what stands in a path above another one.
pub(super) fn above<R: Resource>(tx: &mut Tx<'_>, address: &Address, holder: Id) -> CoreResult<Above> {
    let above = R::above(tx, address, holder)?;
    let found = tx.child_by_name::<R>(above.id, &address.key::<R>(&above))?.and_then(|node| {
        let path = path::<R>(&above, R::azure(&node.doc)?, &node);
        Some(Above { id: node.id, parent: Some(above.id), path: Some(path) })
    });
    found.ok_or_else(|| {
        Error::not_found(format!("there is no {} of this name in the resource group", singular(R::TYPE)))
            .code("ParentResourceNotFound")
    })
}

fn singular(name: &str) -> &str {
    name.strip_suffix('s').unwrap_or(name)
}

fn shape<R: Resource>(
    base: &str,
    version: &'static str,
    above: &Above,
    node: &Node<R::Doc>,
) -> Option<Value> {
    let azure = R::azure(&node.doc)?;
    let path = path::<R>(above, azure, node);
    let shown = Shown { base, version, path: &path, above };
    let mut out = Map::new();
    out.insert("id".into(), json!(path));
    out.insert("name".into(), json!(R::name(&node.doc)));
    out.insert("type".into(), json!(type_name(&path)));
    out.insert("location".into(), json!(azure.location));
    out.insert("tags".into(), json!(azure.tags));
    out.insert("etag".into(), json!(etag(node.version)));
    R::beside(node, &mut out);
    out.insert("properties".into(), Value::Object(R::properties(&shown, node)));
    Some(Value::Object(out))
}

/// A resource as an answer, with its version.
pub(super) fn answer<R: Resource>(
    status: StatusCode,
    call: &Call,
    above: &Above,
    node: &Node<R::Doc>,
) -> Response {
    let body = Json(shape::<R>(&call.base, call.version, above, node));
    (status, [(ETAG, etag(node.version))], body).into_response()
}

/// `Get`.
pub(super) async fn show<R: Resource>(call: Call) -> Result<Response> {
    let (actor, address) = (call.actor, Address::of(&call));
    let find = move |tx: &mut Tx<'_>| find::<R>(tx, &actor, &address, Permission::Read);
    let (above, node) = call.app.store().read(find).await?;
    Ok(answer::<R>(StatusCode::OK, &call, &above, &node))
}

/// `ListBySubscription`, `ListByResourceGroup`, and the lists of what stands under another resource.
pub(super) async fn list<R: Resource>(call: Call) -> Result<Json<Value>> {
    let (actor, address) = (call.actor, Address::of(&call));
    let group = address.group.to_lowercase();
    let (above, nodes) = call
        .app
        .store()
        .read(move |tx| {
            let holder = holder(tx, &actor, &address.subscription, Permission::Read)?;
            let above = R::above(tx, &address, holder)?;
            authorise(tx, &actor, above.id, Permission::Read)?;
            let nodes = tx.children::<R>(above.id, Page::ALL)?;
            Ok((above, nodes))
        })
        .await?;
    let is_in = |node: &Node<R::Doc>| {
        let azure = R::azure(&node.doc).filter(|_| node.expires_at.is_none());
        azure.is_some_and(|azure| group.is_empty() || azure.group.to_lowercase() == group)
    };
    let nodes: Vec<_> = nodes.into_iter().filter(is_in).collect();
    let place = |node: &Node<R::Doc>| (node.created_at, node.id);
    Ok(Json(paging::page(&call, &nodes, place, |node| shape::<R>(&call.base, call.version, &above, node))?))
}

/// A resource among those of all types.
pub(super) struct Brief {
    /// Its place in the order of lists.
    pub(super) place: (Timestamp, Id),
    /// `PROVIDER/TYPE`.
    pub(super) type_name: String,
    pub(super) group: String,
    /// As it is shown.
    pub(super) shape: Value,
}

/// The holder's resources of a type that stands in resource groups.
pub(super) fn briefs<R: Resource>(tx: &mut Tx<'_>, holder: Id) -> CoreResult<Vec<Brief>> {
    let above = Above::holder(holder);
    let brief = |node: Node<R::Doc>| {
        let azure = R::azure(&node.doc).filter(|_| node.expires_at.is_none())?;
        let path = path::<R>(&above, azure, &node);
        let type_name = type_name(&path);
        let shape = json!({
            "id": path,
            "name": R::name(&node.doc),
            "type": type_name,
            "location": azure.location,
            "tags": azure.tags,
        });
        Some(Brief { place: (node.created_at, node.id), type_name, group: azure.group.clone(), shape })
    };
    Ok(tx.children::<R>(holder, Page::ALL)?.into_iter().filter_map(brief).collect())
}

/// What a body says of a resource; nothing of what it leaves out.
#[derive(Clone, Debug)]
pub(super) struct Said {
    body: Value,
    /// The version of the API in which it is said.
    pub(super) version: &'static str,
    /// Whether it is said of all of the resource (`PUT`), or of a part (`PATCH`).
    pub(super) is_whole: bool,
    location: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    friendly_name: Option<String>,
    description: Option<String>,
}

impl Said {
    fn read(call: &Call, is_whole: bool) -> CoreResult<Said> {
        let fields = Fields::of(&call.body)?;
        let properties = fields.object("properties")?;
        Ok(Said {
            location: fields.text("location")?,
            tags: fields.tags()?,
            friendly_name: properties.text("friendlyName")?,
            description: properties.text("description")?,
            body: call.body.clone(),
            version: call.version,
            is_whole,
        })
    }

    /// The body.
    pub(super) fn fields(&self) -> CoreResult<Fields<'_>> {
        Fields::of(&self.body)
    }

    /// Its `properties`.
    pub(super) fn properties(&self) -> CoreResult<Fields<'_>> {
        self.fields()?.object("properties")
    }

    /// Writes what was said of the envelope over what is there.
    fn change(&self, azure: &mut AzureResource) {
        if let Some(tags) = &self.tags {
            azure.tags.clone_from(tags);
        }
        azure.friendly_name = self.friendly_name.clone().or(azure.friendly_name.take());
        azure.description = self.description.clone().or(azure.description.take());
    }
}

/// Notes the id of another resource that was said. The one that is there already stays what it is: it says what the resource was made with.
pub(super) fn refer(azure: &mut AzureResource, said: &Fields<'_>, name: &str) -> CoreResult<()> {
    let Some(id) = said.text(name)?.filter(|id| !id.is_empty()) else { return Ok(()) };
    match azure.references.get(name).filter(|known| !known.is_empty()) {
        // In any case, as the control plane compares ids.
        Some(known) if known.eq_ignore_ascii_case(&id) => Ok(()),
        Some(_) => Err(Error::invalid(format!("`{name}` cannot be changed"))
            .hint("leave it out, or send the one that is there; make a new resource for another one")
            .code("PropertyChangeNotAllowed")),
        None => {
            azure.references.insert(name.to_owned(), id);
            Ok(())
        }
    }
}

/// Refuses what is no name of a resource or group.
pub(super) fn check_name(name: &str) -> CoreResult<()> {
    let allowed =
        |character: char| character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | '(' | ')');
    if !name.is_empty() && name.chars().count() <= NAME && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid("a name has at most 90 letters, digits and characters of `-_.()`")
        .code("InvalidResourceName"))
}

/// The region of something new.
pub(super) fn required_location(said: Option<String>) -> CoreResult<String> {
    said.filter(|location| !location.is_empty()).ok_or_else(|| {
        Error::invalid("`location` is missing").hint("any name will do").code("LocationRequired")
    })
}

/// `CreateOrUpdate`.
pub(super) async fn put<R: Resource>(call: Call) -> Result<Response> {
    let address = Address::of(&call);
    let said = Said::read(&call, true)?;
    let (actor, wanted) = (call.actor, address.clone());
    let there = call
        .app
        .store()
        .read(move |tx| match find::<R>(tx, &actor, &wanted, Permission::Read) {
            Err(error) if error.code == Some("ResourceNotFound") => Ok(false),
            found => found.map(|_| true),
        })
        .await?;
    if there {
        let (id, answer) = change::<R>(&call, said).await?;
        return Ok(R::made(&call, id, answer));
    }
    check_name(&address.group)?;
    R::check_name(address.name::<R>())?;
    call.precondition.check(None)?;
    let location = required_location(said.location.clone())?;
    let (person, asked) = (call.person, said.clone());
    let id = call.app.store().ambient().new_id();
    let keys = if R::KIND.is_container() { vec![id] } else { Vec::new() };
    let made = call
        .app
        .store()
        .write_with_keys(keys, Vec::new(), move |tx| {
            let holder = holder(tx, &actor, &address.subscription, Permission::Read)?;
            let above = R::above(tx, &address, holder)?;
            authorise(tx, &actor, above.id, Permission::Manage)?;
            let mut azure = AzureResource {
                key: address.key::<R>(&above),
                group: address.group.clone(),
                location: location.clone(),
                tags: BTreeMap::new(),
                friendly_name: None,
                description: None,
                references: BTreeMap::new(),
                created_by: Some(person),
            };
            said.change(&mut azure);
            let doc = R::make(&said, address.name::<R>().to_owned(), azure)?;
            let node = tx.create::<R>(New::under(above.id, id, doc))?;
            R::furnish(tx, id, person)?;
            Ok((above, node))
        })
        .await;
    match made {
        // Somebody else has just made it.
        Err(error) if error.code == Some(UNIQUE_VIOLATION) => {
            let (id, answer) = change::<R>(&call, asked).await?;
            Ok(R::made(&call, id, answer))
        }
        made => {
            let (above, node) = made?;
            Ok(R::made(&call, node.id, answer::<R>(StatusCode::CREATED, &call, &above, &node)))
        }
    }
}

/// `Update`.
pub(super) async fn update<R: Resource>(call: Call) -> Result<Response> {
    let said = Said::read(&call, false)?;
    change::<R>(&call, said).await.map(|(_, answer)| answer)
}

/// Writes what was said over the resource; its id, and the answer.
async fn change<R: Resource>(call: &Call, said: Said) -> Result<(Id, Response)> {
    let (above, node) = edit::<R>(call, move |doc| {
        if let Some(azure) = R::azure_mut(doc) {
            said.change(azure);
        }
        R::change(doc, &said)
    })
    .await?;
    Ok((node.id, answer::<R>(StatusCode::OK, call, &above, &node)))
}

/// Changes the resource at the call's address in the version that the call asks for.
pub(super) async fn edit<R: Resource>(
    call: &Call,
    change: impl Fn(&mut R::Doc) -> CoreResult<()> + Send + 'static,
) -> CoreResult<(Above, Node<R::Doc>)> {
    let (actor, person) = (call.actor, call.person);
    let (address, precondition) = (Address::of(call), call.precondition.clone());
    call.app
        .store()
        .write(move |tx| {
            let (above, mut node) = find::<R>(tx, &actor, &address, Permission::Manage)?;
            precondition.check(Some(node.version))?;
            change(&mut node.doc)?;
            Ok((above, tx.update_by::<R>(&node, person)?))
        })
        .await
}

/// `Delete`: with everything under it, for good. With `dryRun=true` only plans it.
pub(super) async fn delete<R: Resource>(call: Call) -> Result<Response> {
    let find = deletable::<R>(call.actor, Address::of(&call), call.precondition.clone());
    match Deletion::of(&call.app, &call.actor, call.query("dryrun"), find).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(StatusCode::NO_CONTENT.into_response()),
        deletion => Ok(deletion?.answer(|receipt| R::deleted(&call, receipt))?),
    }
}

fn deletable<R: Resource>(
    actor: Actor,
    address: Address,
    precondition: Precondition,
) -> impl Fn(&mut Tx<'_>) -> CoreResult<Id> + Send + Sync + 'static {
    move |tx| {
        let (_, node) = find::<R>(tx, &actor, &address, Permission::Manage)?;
        precondition.check(Some(node.version))?;
        Ok(node.id)
    }
}
