//! What is held of one kind, one by one.

use askama::Template;
use habeas_core::report::ItemPage;
use habeas_core::{Kind, Timestamp};
use habeas_rights::kind_name;

use super::{Fact, Section, Shell};
use crate::format::{Count, Moment};

/// `GET /me/items/{kind}`, and the same for the staff below a request.
#[derive(Debug, Template)]
#[template(path = "items.html")]
pub struct ItemsPage {
    /// What surrounds it.
    pub shell: Shell,
    /// Address and title of the page that leads here.
    pub from: (String, &'static str),
    /// Where the page lies.
    pub address: String,
    /// Its name for a person, in the plural.
    pub title: String,
    /// How many there are in all.
    pub total: Count,
    /// Those on this page.
    pub items: Vec<Item>,
    /// After which id the next page begins; none on the last.
    pub next: Option<String>,
    /// Whether this is not the first page.
    pub continued: bool,
}

/// One thing that is held.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// One line that tells it apart.
    pub title: String,
    /// Where its thumbnail is, if it is an image.
    pub thumbnail: Option<String>,
    /// When it was made.
    pub created: Option<Moment>,
    /// What else there is to know.
    pub facts: Vec<Fact>,
}

impl ItemsPage {
    /// Makes the page, at an address, of a page of items. Thumbnails are the person's own.
    pub fn new(
        shell: Shell,
        from: (String, &'static str),
        (address, title): (String, String),
        total: u64,
        page: ItemPage,
        continued: bool,
        now: Timestamp,
    ) -> ItemsPage {
        let items: Vec<Item> = page
            .items
            .into_iter()
            .map(|item| Item {
                thumbnail: (item.kind == kind_name(Kind::Image) && shell.section == Section::MyData)
                    .then(|| format!("/me/items/Image/{}/thumbnail", item.id)),
                id: item.id,
                title: item.title,
                created: Moment::parse(&item.created, now),
                facts: item
                    .facts
                    .into_iter()
                    .map(|fact| Fact { label: fact.label, value: fact.value })
                    .collect(),
            })
            .collect();
        ItemsPage { shell, from, address, title, total: Count(total), items, next: page.next, continued }
    }
}
