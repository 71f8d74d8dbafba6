//! What the portal shows of an image, to whom, and who looked.

use axum::body::Body;
use axum::http::Request;
use habeas_core::kinds::{Telemetry, TelemetryDoc, TelemetryEntry};
use habeas_core::{Id, Timestamp, time};
use habeas_store::New;
use serde_json::json;
use tower::ServiceExt as _;

use crate::canary::sign_in;
use crate::deployment::{Deployment, Someone, engines, image};

/// Signs somebody in; the cookie.
pub(crate) async fn session(deployment: &Deployment, someone: &Someone) -> String {
    let password = "four words and a number 7";
    let path = format!("/persons/{}/password", someone.id);
    assert_eq!(deployment.operator("PUT", &path, json!({ "password": password })).await.0, 204);
    sign_in(deployment, &someone.email, &password.replace(' ', "+")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thumbnail_is_shown_to_its_person_only() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let owner = deployment.person("owner@example.org", "Owner").await;
    let other = deployment.person("other@example.org", "Other").await;
    let project = deployment.project(&owner, "p").await;
    let shown = deployment.image(&owner, &project, "a <b>.jpg", &image(1), &[]).await;
    let (mine, theirs) = (session(&deployment, &owner).await, session(&deployment, &other).await);
    let get = async |path: &str, cookie: &str| {
        let request = Request::get(path).header("cookie", cookie).body(Body::empty()).unwrap();
        deployment.server().router().oneshot(request).await.unwrap()
    };
    let path = format!("/me/items/Image/{shown}/thumbnail");

    let page = get("/me/items/Image", &mine).await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("img-src 'self'"), "{policy}");
    let page = axum::body::to_bytes(page.into_body(), 1 << 20).await.unwrap();
    let page = scraper::Html::parse_document(std::str::from_utf8(&page).unwrap());
    let selector = scraper::Selector::parse("img").unwrap();
    let images: Vec<_> = page.select(&selector).map(|image| image.value()).collect();
    assert_eq!(images.len(), 1);
    assert_eq!(
        (images[0].attr("src"), images[0].attr("alt")),
        (Some(path.as_str()), Some("Thumbnail of a <b>.jpg"))
    );

    let answer = get(&path, &mine).await;
    assert_eq!(answer.status(), 303);
    let address = answer.headers()["location"].to_str().unwrap();
    assert!(address.starts_with("/blobs/"), "{address}");
    let thumbnail = get(address, "").await;
    assert_eq!(
        (thumbnail.status().as_u16(), thumbnail.headers()["content-type"].to_str().unwrap()),
        (200, "image/jpeg")
    );

    assert_eq!(get(&path, &theirs).await.status(), 404);
    assert_eq!(get(&format!("/me/items/Image/{}/thumbnail", owner.id), &mine).await.status(), 404);
    assert_eq!(get("/me/items/Image/zz/thumbnail", &mine).await.status(), 404);
    let anonymous = get(&path, "").await;
    assert_eq!(
        (anonymous.status().as_u16(), anonymous.headers()["location"].to_str().unwrap()),
        (303, "/sign-in")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looked_is_shown_as_long_as_it_is_kept() {
    const HOURS: i64 = 600;
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let person: Id = ada.id.parse().unwrap();
        deployment
            .server()
            .app()
            .store()
            .write(move |tx| {
                for hours in 1..=HOURS {
                    let hour = Timestamp(tx.now().0 - hours * time::HOUR).hour();
                    let (operation, actor) = ("GetHoldings".to_owned(), Some(Id::NIL));
                    let entry = TelemetryEntry { at: hour, operation, status: 200, actor, count: 1 };
                    let doc = TelemetryDoc { hour, entries: vec![entry] };
                    let expires_at = Some(Timestamp(hour.0 + 90 * time::DAY));
                    let id = tx.new_id();
                    tx.create::<Telemetry>(New { id, parent: Some(person), expires_at, doc })?;
                }
                Ok(())
            })
            .await
            .unwrap();
        let path = format!("/persons/{}/activity", ada.id);
        let (_, activity) = deployment.operator("GET", &path, json!(null)).await;
        let looked = activity.as_array().unwrap().iter().filter(|entry| entry["operation"] == "GetHoldings");
        assert_eq!(looked.count() as i64, HOURS);

        // The page shows it a part at a time, nothing twice and nothing left out.
        let cookie = session(&deployment, &ada).await;
        let mut address = Some("/me/access-log?by=staff".to_owned());
        let (mut pages, mut rows) = (0, 0);
        while let Some(path) = address {
            let request = Request::get(&path).header("cookie", &cookie).body(Body::empty()).unwrap();
            let page = deployment.server().router().oneshot(request).await.unwrap();
            let page = axum::body::to_bytes(page.into_body(), 1 << 22).await.unwrap();
            let page = scraper::Html::parse_document(std::str::from_utf8(&page).unwrap());
            let select = |selector: &str| scraper::Selector::parse(selector).unwrap();
            rows += page
                .select(&select("tbody code"))
                .filter(|code| code.text().collect::<String>() == "GetHoldings")
                .count() as i64;
            let older = page.select(&select("a[href*='before=']")).next();
            address = older.and_then(|link| link.attr("href")).map(str::to_owned);
            pages += 1;
        }
        assert_eq!((pages, rows), (2, HOURS));
    }
}
