//! What the portal shows of an image, and to whom.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use tower::ServiceExt as _;

use crate::canary::sign_in;
use crate::deployment::{Deployment, Someone, image};

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
