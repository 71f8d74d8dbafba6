use std::collections::HashSet;

use scraper::{ElementRef, Html, Selector};

use crate::samples::{self, HOSTILE};

fn select<'a>(page: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    page.select(&Selector::parse(selector).unwrap()).collect()
}

fn text(element: ElementRef<'_>) -> String {
    element.text().flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

fn page(name: &str) -> Html {
    let pages = samples::all();
    Html::parse_document(&pages.iter().find(|(other, _)| *other == name).unwrap().1)
}

#[test]
fn every_page_is_sound() {
    for (name, html) in samples::all() {
        let page = Html::parse_document(&html);
        assert!(page.errors.is_empty(), "{name}: {:?}", page.errors);
        assert!(html.starts_with("<!doctype html>"), "{name}");

        let title = text(select(&page, "title")[0]);
        assert!(title.ends_with(" · Habeas") && title.len() > " · Habeas".len(), "{name}: {title}");
        let headings = select(&page, "h1");
        assert_eq!(headings.len(), 1, "{name}: one h1");
        assert!(!text(headings[0]).is_empty(), "{name}: the h1 says something");
        assert_eq!(select(&page, "html[lang=en]").len(), 1, "{name}: language");
        assert_eq!(select(&page, "main#main").len(), 1, "{name}: main");
        assert_eq!(select(&page, "a.skip[href='#main']").len(), 1, "{name}: skip link");

        // The policy allows neither.
        assert!(select(&page, "[style], style, script:not([src])").is_empty(), "{name}: nothing inline");
        for element in select(&page, "*") {
            let handler = element.value().attrs().find(|(name, _)| name.starts_with("on"));
            assert!(handler.is_none(), "{name}: {handler:?}");
        }
        for element in select(&page, "[src], link[href]") {
            let address = element.attr("src").or(element.attr("href")).unwrap();
            let ours = if element.value().name() == "img" { "/me/items/" } else { "/assets/" };
            assert!(address.starts_with(ours), "{name}: {address} is not ours");
        }
    }
}

#[test]
fn ids_are_unique_and_what_refers_to_them_finds_them() {
    for (name, html) in samples::all() {
        let page = Html::parse_document(&html);
        let mut ids = HashSet::new();
        for element in select(&page, "[id]") {
            assert!(ids.insert(element.attr("id").unwrap()), "{name}: {} twice", element.attr("id").unwrap());
        }
        for attribute in ["for", "aria-labelledby", "aria-describedby", "commandfor"] {
            for element in select(&page, &format!("[{attribute}]")) {
                let id = element.attr(attribute).unwrap();
                assert!(ids.contains(id), "{name}: {attribute}={id} leads nowhere");
            }
        }
    }
}

#[test]
fn everything_that_can_be_operated_has_a_name() {
    for (name, html) in samples::all() {
        let page = Html::parse_document(&html);
        for input in select(&page, "input:not([type=hidden]):not([hidden]), textarea, .field select") {
            let id = input.attr("id").unwrap();
            assert_eq!(select(&page, &format!("label[for='{id}']")).len(), 1, "{name}: a label for {id}");
        }
        for element in select(&page, "a, button, summary") {
            assert!(!text(element).is_empty(), "{name}: {}", element.html());
        }
        for region in select(&page, "[role=region], section") {
            assert!(
                region.attr("aria-labelledby").or(region.attr("aria-label")).is_some(),
                "{name}: a region's name"
            );
        }
        for table in select(&page, "table") {
            let named = table.attr("aria-labelledby").is_some()
                || table.select(&Selector::parse("caption").unwrap()).next().is_some();
            assert!(named, "{name}: a table's name");
        }
        assert!(select(&page, "th:not([scope])").is_empty(), "{name}: a header's scope");
        assert!(select(&page, "progress:not([aria-label])").is_empty(), "{name}: a progress bar's name");
        assert!(select(&page, "form:not([method=post])").is_empty(), "{name}: a form that is not posted");
    }
}

#[test]
fn what_a_person_wrote_stays_text() {
    let page = page("items-hostile");
    assert!(select(&page, "img:not(.thumbnail), [onerror]").is_empty());
    for thumbnail in select(&page, "img") {
        let attribute = |name| thumbnail.value().attr(name).unwrap();
        assert!(attribute("alt").starts_with(&format!("Thumbnail of {HOSTILE}")));
        assert!(attribute("src").starts_with("/me/items/Image/"));
    }
    assert!(text(select(&page, "h2")[0]).starts_with(HOSTILE));
}

#[test]
fn my_data_tells_what_is_held_why_and_until_when() {
    let page = page("my-data");
    assert_eq!(text(select(&page, "h1")[0]), "Everything held about you");
    let rows: Vec<String> = select(&page, "tbody tr").into_iter().map(text).collect();
    assert!(
        rows.contains(&"Images 1,262 48.2 MB The pictures you train with, as you uploaded them. Until it is deleted or erased.".to_owned()),
        "{rows:#?}"
    );
    assert!(
        rows.iter().any(|row| row.starts_with("Password 0 0 B")),
        "kinds of which there is nothing are named too"
    );
    assert!(rows.iter().any(|row| row.contains("contributor")), "mentions");
    assert!(rows.iter().any(|row| row.starts_with("Runs who made 500 of them")), "what was made for others");
    assert!(
        rows.iter().any(|row| row.starts_with("Runs who changed 1 of them")),
        "what was changed of others"
    );
    assert!(rows.iter().any(|row| row.ends_with("GetHoldings 2")), "the staff's access");
    let links: Vec<&str> =
        select(&page, "tbody th a").into_iter().map(|link| link.attr("href").unwrap()).collect();
    assert!(links.contains(&"/me/items/Image") && !links.contains(&"/me/items/Password"), "{links:?}");
    assert_eq!(
        select(&page, "a[aria-current=page]").into_iter().map(text).collect::<HashSet<_>>(),
        HashSet::from(["My data".into()])
    );

    let nothing = self::page("my-data-nothing");
    assert!(
        select(&nothing, ".empty").iter().any(|empty| text(*empty).starts_with("Nothing is held about you"))
    );
}

#[test]
fn only_an_archive_that_is_there_can_be_downloaded() {
    for (name, download) in [
        ("export-running", false),
        ("export-ready", true),
        ("export-failed", false),
        ("export-expired", false),
    ] {
        assert_eq!(select(&page(name), "a[href$='/archive.zip']").len() == 1, download, "{name}");
    }
    assert_eq!(select(&page("export-running"), "sse-progress progress[value='412'][max='1305']").len(), 1);
    assert_eq!(select(&page("my-data-export-expired"), "[data-live]").len(), 0);
}

#[test]
fn an_erasure_asks_for_the_address_and_a_blocked_one_cannot_be_run() {
    let plan = page("erase-plan");
    assert_eq!(select(&plan, "dialog form[method=post] input[name=confirm][required]").len(), 1);
    assert_eq!(select(&plan, "confirm-typed[data-expected='ada@example.org']").len(), 1);
    assert!(text(select(&plan, "dialog")[0]).contains("1,305 items (92.4 MB)"));
    let blocked = page("erase-plan-blocked");
    assert!(select(&blocked, "dialog, input[name=confirm]").is_empty());
    assert!(text(select(&blocked, ".banner.warn")[0]).contains("last administrator"));
    assert_eq!(select(&page("erase-confirm-wrong"), "input[aria-invalid=true]").len(), 1);
}

#[test]
fn the_page_that_remains_after_an_erasure_names_nobody() {
    for name in ["erasure-running", "erasure-resuming", "erasure-completed"] {
        let html = samples::all().into_iter().find(|(other, _)| *other == name).unwrap().1;
        assert!(!html.contains("ada@") && !html.contains("Lovelace"), "{name}");
    }
    let running = page("erasure-running");
    assert_eq!(text(select(&running, "li[aria-current=step]")[0]), "The records are deleted Now");
    let completed = page("erasure-completed");
    assert!(select(&completed, "sse-progress").is_empty());
    let facts = select(&completed, "dl.facts").into_iter().map(text).collect::<String>();
    assert!(facts.contains("Unreadable everywhere since 24 November 2026, 08:29 UTC (just now)"), "{facts}");
    assert!(
        text(select(&completed, ".copyable")[0])
            .starts_with("habeas receipt verify habeas-receipt.json --key 9f86")
    );
}

#[test]
fn what_can_be_decided_on_a_request_depends_on_its_state_and_on_who_looks() {
    let forms = |name: &str| -> Vec<String> {
        let page = page(name);
        let forms = select(&page, "main form");
        forms.iter().map(|form| form.attr("action").unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    };
    for (name, expected) in [
        ("request-own", &["comments", "cancel"][..]),
        ("request-own-answered", &[]),
        ("request-verify", &["confirm-identity", "comments", "extend", "deny", "cancel"]),
        ("request-approve", &["approve", "comments", "extend", "deny", "cancel"]),
        ("request-approve-requester", &["comments", "extend", "deny", "cancel"]),
        ("request-carry-out", &["complete", "comments", "extend", "deny", "cancel"]),
        ("request-completed", &[]),
        ("request-code", &["verify", "resend"]),
        ("request-status", &[]),
        ("request-status-proved", &[]),
        ("request-archive", &["resend", "archive"]),
    ] {
        assert_eq!(forms(name), expected, "{name}");
    }
    let approve = page("request-approve");
    let digest = select(&approve, "form input[name=digest]");
    assert_eq!(digest[0].attr("value"), Some(samples::DIGEST));
    assert!(text(select(&approve, "table")[0]).ends_with("Image 1, 1.0 kB 2, 2.0 kB"), "the difference");
    // What was typed is still there.
    let refused = page("request-refused-extension");
    assert_eq!(text(select(&refused, "#extension-text")[0]), HOSTILE);
    assert_eq!(select(&refused, "#extension option[selected]")[0].attr("value"), Some("numberOfRequests"));
    assert!(select(&refused, "#denial option[selected]").is_empty());
    let links = |name: &str| -> Vec<String> {
        let page = page(name);
        select(&page, "dd a")
            .iter()
            .map(|link| link.attr("href").unwrap().replace(samples::ID, "ID"))
            .collect()
    };
    assert_eq!(links("request-completed"), ["/erasures/ID", "/staff/receipts/ID"]);
    assert_eq!(links("request-own-answered"), ["/me/exports/ID", "/me/receipts/ID"]);
}

#[test]
fn whoever_was_erased_finds_the_receipt_by_the_address_of_the_request() {
    let links = |name: &str| -> Vec<String> {
        let page = page(name);
        let links = select(&page, ".sheet a");
        links.iter().map(|link| link.attr("href").unwrap().replace(samples::ID, "ID")).collect()
    };
    for name in ["request-status-proved", "request-status-held"] {
        assert_eq!(links(name), ["/erasures/ID", "/erasures/ID/receipt.json"], "{name}");
    }
    let held = page("request-status-held");
    assert!(text(select(&held, ".sheet")[0]).contains("When the legal hold ends"));
    // Nobody can sign in as somebody who is erased, and a run that is forgotten has no page.
    assert_eq!(links("request-status-proved-once"), Vec::<String>::new());
    assert_eq!(links("request-status"), ["/me/requests/ID"]);
}

#[test]
fn the_queue_names_nobody_and_is_for_the_staff() {
    let queue = samples::all().into_iter().find(|(name, _)| *name == "queue").unwrap().1;
    assert!(!queue.contains("olga@") && !queue.contains("onerror"));
    let rows = page("queue");
    let rows: Vec<String> = select(&rows, "tbody tr").into_iter().map(text).collect();
    assert!(rows[1].contains("To be carried out Overdue"), "{rows:?}");
    let leads = |name: &str| !select(&page(name), "nav a[href='/staff/requests']").is_empty();
    assert!(leads("queue") && !leads("my-data"));
}

#[test]
fn a_mistake_of_ours_is_not_explained_to_others() {
    let error = page("error-500");
    assert!(!text(select(&error, "main")[0]).contains("parents"));
    assert!(text(select(&error, "main")[0]).contains("019ab0-17"));
    let forbidden = page("error-403");
    assert!(text(select(&forbidden, "main")[0]).contains("Ask its owner for the role of contributor."));
}

/// Writes the pages where they can be looked at: `target/tmp/portal`.
#[test]
fn pages_can_be_looked_at() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("portal");
    std::fs::create_dir_all(folder.join("assets")).unwrap();
    for (name, html) in samples::all() {
        std::fs::write(folder.join(format!("{name}.html")), html).unwrap();
    }
    for (name, body) in habeas_portal::assets::all() {
        std::fs::write(folder.join("assets").join(name), body).unwrap();
    }
}
