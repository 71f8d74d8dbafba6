//! Data-subject requests in the portal: the public form, a person's own, and the queue of the staff, as a browser without scripts sends them.

use axum::body::Body;
use axum::http::Request;
use scraper::{Html, Selector};
use serde_json::json;
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone, engines, image};
use crate::portal::session;

/// A browser: nobody's, or of somebody who is signed in.
struct Browser<'a> {
    deployment: &'a Deployment,
    cookie: String,
}

/// What a browser got.
struct Page {
    status: u16,
    location: String,
    body: String,
}

impl Page {
    fn select(&self, selector: &str) -> Vec<String> {
        let page = Html::parse_document(&self.body);
        let text = |element: scraper::ElementRef<'_>| {
            element.text().flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
        };
        page.select(&Selector::parse(selector).unwrap()).map(text).collect()
    }

    fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let page = Html::parse_document(&self.body);
        page.select(&Selector::parse(selector).unwrap()).next()?.attr(name).map(str::to_owned)
    }
}

impl Browser<'_> {
    async fn send(&self, request: Request<Body>) -> Page {
        let response = self.deployment.server().router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let location =
            response.headers().get("location").map_or("", |value| value.to_str().unwrap()).to_owned();
        let body = axum::body::to_bytes(response.into_body(), 1 << 22).await.unwrap();
        Page { status, location, body: String::from_utf8_lossy(&body).into_owned() }
    }

    async fn get(&self, path: &str) -> Page {
        self.send(Request::get(path).header("cookie", &self.cookie).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let escape = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
        let form: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        let request = Request::post(path)
            .header("cookie", &self.cookie)
            .header("host", "localhost")
            .header("origin", "http://localhost")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form.join("&")))
            .unwrap();
        self.send(request).await
    }

    /// Sends a form and follows to the page it leads to, whose address comes with it.
    async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> (String, Page) {
        let answer = self.post(path, fields).await;
        assert_eq!(answer.status, 303, "{path}: {:?}", answer.select("[role=alert]"));
        let page = self.get(&answer.location).await;
        assert_eq!(page.status, 200, "{}", answer.location);
        (answer.location, page)
    }
}

async fn signed_in<'a>(deployment: &'a Deployment, someone: &Someone) -> Browser<'a> {
    Browser { deployment, cookie: session(deployment, someone).await }
}

async fn officer<'a>(deployment: &'a Deployment, name: &str) -> Browser<'a> {
    let someone = deployment.person(&format!("{name}@example.org"), name).await;
    let role = json!({ "role": "privacyOfficer", "granted": true });
    assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", someone.id), role).await.0, 204);
    signed_in(deployment, &someone).await
}

/// The letter of the request at the end of an address, once it says `expected`.
async fn letter(deployment: &Deployment, address: &str, expected: &str) -> String {
    let id = address.rsplit('/').next().unwrap();
    let outbox = deployment.settings.data().join("outbox");
    loop {
        for name in [format!("{id}.eml"), format!("{id}-extended.eml")] {
            if let Ok(letter) = std::fs::read_to_string(outbox.join(name))
                && letter.contains(expected)
            {
                return letter;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The addresses in a letter are those of pages that are there.
async fn leads_somewhere(browser: &Browser<'_>, letter: &str) {
    let base = "http://127.0.0.1:8080";
    let links: Vec<&str> = letter.lines().filter_map(|line| line.trim().strip_prefix(base)).collect();
    assert!(!links.is_empty(), "{letter}");
    for link in links {
        assert_eq!(browser.get(link).await.status, 200, "{link}");
    }
}

fn code(letter: &str) -> &str {
    &letter.split_once("The code is ").unwrap().1[..8]
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_asks_and_whoever_reads_the_mail_goes_on() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        deployment.person("ada@example.org", "Ada").await;
        let nobody = Browser { deployment: &deployment, cookie: String::new() };
        assert_eq!(nobody.get("/ask").await.status, 200);
        let refused = nobody.post("/ask", &[("type", "access"), ("email", "no address")]).await;
        assert_eq!(
            (refused.status, refused.attribute("#email", "value").as_deref()),
            (400, Some("no address"))
        );
        assert_eq!(nobody.post("/ask", &[("type", "all"), ("email", "ada@example.org")]).await.status, 400);
        assert_eq!(nobody.post("/ask", &[]).await.status, 400);

        // The same for somebody whom the server knows and for somebody whom it does not.
        let mut seen = Vec::new();
        for email in ["ada@example.org", "nobody@example.org"] {
            let (address, page) = nobody.submit("/ask", &[("type", "access"), ("email", email)]).await;
            let id = address.strip_prefix("/requests/").unwrap().to_owned();
            let wrong = nobody.post(&format!("{address}/verify"), &[("code", "1234")]).await;
            assert_eq!(wrong.status, 400);
            assert_eq!(wrong.select("[role=alert]").len(), 1);
            let again = nobody.post(&format!("{address}/resend"), &[]).await;
            assert_eq!((again.status, again.location), (303, address.clone()));
            seen.push((page.body.replace(&id, "ID"), wrong.body.replace(&id, "ID"), address));
        }
        assert_eq!((&seen[0].0, &seen[0].1), (&seen[1].0, &seen[1].1));
        let address = &seen[0].2;
        let letter = letter(&deployment, address, "The code is ").await;
        leads_somewhere(&nobody, &letter).await;
        // The second code may be on its way still.
        let mut verified = nobody.post(&format!("{address}/verify"), &[("code", code(&letter))]).await;
        if verified.status == 400 {
            let letter = self::letter(&deployment, address, "The code is ").await;
            verified = nobody.post(&format!("{address}/verify"), &[("code", code(&letter))]).await;
        }
        assert_eq!(verified.status, 303);
        assert!(nobody.get(address).await.select("input[name=code]").is_empty());
        for path in ["/requests/zz", "/requests/019ab000-0000-7000-8000-00000000000a"] {
            assert_eq!(nobody.get(path).await.status, 404, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_asks_writes_reads_the_answer_and_calls_off() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let eve = deployment.person("eve@example.org", "Eve").await;
        let (ada, eve) = (signed_in(&deployment, &ada).await, signed_in(&deployment, &eve).await);
        let officer = officer(&deployment, "olga").await;

        let asked = [("type", "rectification"), ("text", "My name is <b>Ada</b> King.")];
        let (address, page) = ada.submit("/me/requests", &asked).await;
        assert!(page.select("li.item p").contains(&"My name is <b>Ada</b> King.".to_owned()));
        let id = address.strip_prefix("/me/requests/").unwrap();
        let (_, page) = ada.submit(&format!("{address}/comments"), &[("text", "It is urgent.")]).await;
        assert_eq!(page.select("li.item").len(), 2);
        assert_eq!(ada.post(&format!("{address}/comments"), &[("text", " ")]).await.status, 400);
        assert_eq!(ada.post("/me/requests", &[("type", "everything")]).await.status, 400);
        // To others it does not exist, nor does the queue.
        assert_eq!(eve.get(&address).await.status, 404);
        for path in ["/cancel", "/comments"] {
            assert_eq!(eve.post(&format!("{address}{path}"), &[("text", "x")]).await.status, 404);
        }
        let staff = format!("/staff/requests/{id}");
        let held = [format!("{staff}/holdings"), format!("{staff}/items/Project")];
        for path in [&staff, &held[0], &held[1]] {
            assert_eq!(ada.get(path).await.status, 404, "{path}");
        }
        for path in ["/staff/requests", "/staff/requests/new", "/staff/receipts/zz"] {
            assert_eq!(ada.get(path).await.status, 404, "{path}");
        }
        assert_eq!(ada.post("/staff/requests/new", &[("person", "eve@example.org")]).await.status, 404);
        assert_eq!(ada.post(&format!("{staff}/complete"), &[("text", "x")]).await.status, 404);
        let anonymous = Browser { deployment: &deployment, cookie: String::new() };
        let answer = anonymous.get(&staff).await;
        assert_eq!((answer.status, answer.location.contains("next=%2Fstaff%2Frequests")), (303, true));

        // The officer reads, looks at what is held, answers.
        let (queue, page) = ("/staff/requests?show=carry-out", officer.get(&staff).await);
        assert_eq!(officer.get(queue).await.select("tbody tr").len(), 1);
        assert!(page.select("dd").contains(&"Ada, ada@example.org".to_owned()), "{:?}", page.select("dd"));
        for path in &held {
            assert_eq!(officer.get(path).await.status, 200, "{path}");
        }
        let (_, page) = officer.submit(&format!("{staff}/complete"), &[("text", "Corrected.")]).await;
        assert!(page.select("main form").is_empty(), "it has ended");
        leads_somewhere(&ada, &letter(&deployment, id, "is answered").await).await;
        assert!(ada.get(&address).await.select("li.item p").contains(&"Corrected.".to_owned()));
        assert_eq!(officer.get(queue).await.select("tbody tr").len(), 0);

        // Called off by the person; refused, with more time first, by the officer.
        let (address, _) = ada.submit("/me/requests", &[("type", "objection")]).await;
        let (_, page) = ada.submit(&format!("{address}/cancel"), &[]).await;
        assert!(page.select("dd").contains(&"Called off".to_owned()));
        assert_eq!(ada.post(&format!("{address}/cancel"), &[]).await.status, 409);
        let (address, _) = ada.submit("/me/requests", &[("type", "restriction")]).await;
        let staff = address.replace("/me/", "/staff/");
        let more = [("reason", "complexity"), ("text", "Many models.")];
        officer.submit(&format!("{staff}/extend"), &more).await;
        leads_somewhere(&ada, &letter(&deployment, &address, "takes longer").await).await;
        let twice = officer.post(&format!("{staff}/extend"), &more).await;
        assert_eq!((twice.status, twice.select("[role=alert]").len()), (409, 1));
        assert_eq!(officer.post(&format!("{staff}/deny"), &[("reason", "mood")]).await.status, 400);
        officer.submit(&format!("{staff}/deny"), &[("reason", "other"), ("text", "Not held here.")]).await;
        leads_somewhere(&ada, &letter(&deployment, &address, "was refused").await).await;
        let page = ada.get(&address).await;
        assert!(page.select("li.item p").contains(&"Not held here.".to_owned()));

        // Access is answered by the server itself, and the erasure of one's own begins with its plan.
        let (address, _) = ada.submit("/me/requests", &[("type", "access")]).await;
        leads_somewhere(&ada, &letter(&deployment, &address, "copy is ready").await).await;
        assert_eq!(ada.get(&address).await.select("dd a").len(), 2, "archive and receipt");
        let (address, _) = ada.submit("/me/requests", &[("type", "erasure")]).await;
        assert!(address.starts_with("/me/erase/"), "{address}");
        assert_eq!(ada.get("/me/requests").await.select("tbody tr").len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_is_asked_for_and_its_code_typed_on_the_page_of_the_request() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let ada = signed_in(&deployment, &ada).await;
        let officer = officer(&deployment, "olga").await;
        let wrong = ada.post("/me/requests", &[("type", "rectification"), ("email", "king")]).await;
        assert_eq!((wrong.status, wrong.attribute("#new-email", "value").as_deref()), (400, Some("king")));
        let asked = [("type", "rectification"), ("email", "king@example.org")];
        let (address, page) = ada.submit("/me/requests", &asked).await;
        assert!(page.select("dd").contains(&"king@example.org".to_owned()), "{:?}", page.select("dd"));
        // The letter leads nobody to where the code is typed, and the staff cannot say that it was.
        let letter = letter(&deployment, &address, "The code is ").await;
        assert!(!letter.contains("http"), "{letter}");
        let staff = officer.get(&address.replace("/me/", "/staff/")).await;
        assert_eq!((staff.status, staff.select("#identity").len(), staff.select("#code").len()), (200, 0, 0));
        let wrong = ada.post(&format!("{address}/verify"), &[("code", "1")]).await;
        assert_eq!((wrong.status, wrong.select("[role=alert]").len()), (400, 1));
        let (_, page) = ada.submit(&format!("{address}/verify"), &[("code", code(&letter))]).await;
        assert!(page.select("dd").contains(&"Completed".to_owned()), "{:?}", page.select("dd"));
        let found = deployment.operator("GET", "/persons?email=king@example.org", json!(null)).await;
        assert_eq!(found.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_is_taken_in_approved_by_a_colleague_and_proved() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let project = deployment.project(&ada, "p").await;
        deployment.image(&ada, &project, "a.jpg", &image(1), &[]).await;
        let (officer, second) = (officer(&deployment, "olga").await, officer(&deployment, "sven").await);
        let nobody = Browser { deployment: &deployment, cookie: String::new() };

        let unknown = [("person", "nobody@example.org"), ("type", "erasure"), ("channel", "letter")];
        let (_, page) = officer.submit("/staff/requests/new", &unknown).await;
        assert!(page.select("dd").contains(&"nobody who is known here".to_owned()));
        let unknown =
            [("person", ada.id.as_str().get(1..).unwrap()), ("type", "erasure"), ("channel", "letter")];
        let refused = officer.post("/staff/requests/new", &unknown).await;
        assert_eq!((refused.status, refused.select("[role=alert]").len()), (400, 1));
        let mut form = vec![("person", "ada@example.org"), ("type", "erasure"), ("channel", "phone")];
        form.extend([("received", "2999-01-01"), ("regime", "ccpa"), ("identity", "")]);
        assert_eq!(officer.post("/staff/requests/new", &form).await.status, 400);
        form[3].1 = "";
        let (address, page) = officer.submit("/staff/requests/new", &form).await;
        assert!(page.select("dd").iter().any(|fact| fact.ends_with("CCPA")), "{:?}", page.select("dd"));
        // The person sends the code from the page that the letter names.
        let letter = letter(&deployment, &address, "The code is ").await;
        leads_somewhere(&nobody, &letter).await;
        let verify = format!("{}/verify", address.replace("/staff", ""));
        nobody.submit(&verify, &[("code", code(&letter))]).await;

        // Whoever took it in is not offered the approval, and it is refused all the same.
        let approve = format!("{address}/approve");
        let own = officer.get(&address).await;
        assert!(own.select("input[name=digest]").is_empty());
        let before = second.get(&address).await;
        let digest = before.attribute("input[name=digest]", "value").unwrap();
        let refused = officer.post(&approve, &[("digest", &digest)]).await;
        assert_eq!((refused.status, refused.select("[role=alert]").len()), (403, 1));

        // The world changes: the old digest is refused, on a page that shows the difference.
        deployment.image(&ada, &project, "b.jpg", &image(2), &[]).await;
        let stale = second.post(&approve, &[("digest", &digest)]).await;
        assert_eq!(stale.status, 409);
        let rows = stale.select("[aria-labelledby=difference-caption] tbody tr");
        assert!(rows.iter().any(|row| row.starts_with("Image 1,") && row.contains(" 2,")), "{rows:?}");
        let digest = stale.attribute("input[name=digest]", "value").unwrap();
        second.submit(&approve, &[("digest", &digest)]).await;
        let receipt = loop {
            if let Some(link) = second.get(&address).await.attribute("dd a[href^='/staff/receipts/']", "href")
            {
                break link;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        assert_eq!(second.get(&receipt).await.status, 200);
        let signed = second.get(&format!("{receipt}.json")).await;
        assert!(signed.body.contains("erasure-receipt/1"), "{}", signed.body);
        let done = second.get(&address).await;
        assert!(done.select("main form").is_empty() && !done.body.contains("ada@example.org"));
        assert!(done.select("dd").contains(&"sven, sven@example.org".to_owned()), "who approved");
        assert_eq!(second.get(&format!("{address}/holdings")).await.status, 404);
        let follow = done.attribute("dd a[href^='/erasures/']", "href").unwrap();
        assert_eq!(nobody.get(&follow).await.status, 200);
        // So does whoever has the address of the request, where the last letter leads.
        let public = nobody.get(&address.replace("/staff", "")).await;
        assert_eq!(public.attribute("dd a", "href"), Some(follow));
        let proof = public.attribute("a[href$='/receipt.json']", "href").unwrap();
        assert!(nobody.get(&proof).await.body.contains("erasure-receipt/1"));
        assert!(!public.body.contains("ada@example.org") && !public.body.contains("/me/requests"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_staff_decides_who_takes_over_before_an_erasure_is_approved() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let member = deployment.person("member@example.org", "Mina Member").await;
        let body = json!({ "name": "Garden", "owner": owner.id });
        let (_, organisation) = deployment.operator("POST", "/organisations", body).await;
        let organisation = organisation["objectId"].as_str().unwrap().to_owned();
        let path = format!("/organisations/{organisation}/members/{}", member.id);
        assert_eq!(deployment.operator("PUT", &path, json!({ "role": "trainer" })).await.0, 204);
        let boss = deployment.person("boss@example.org", "Boss").await;
        let role = json!({ "role": "administrator", "granted": true });
        assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", boss.id), role).await.0, 204);
        let boss = signed_in(&deployment, &boss).await;
        let (officer, second) = (officer(&deployment, "olga").await, officer(&deployment, "sven").await);

        let taken_in = [
            ("person", "owner@example.org"),
            ("type", "erasure"),
            ("channel", "letter"),
            ("received", ""),
            ("regime", "gdpr"),
            ("identity", "document"),
        ];
        let (address, page) = officer.submit("/staff/requests/new", &taken_in).await;
        let successor = format!("select[name='{organisation}'] option");
        assert_eq!(
            page.select(&successor),
            ["Nobody yet", "Mina Member", "Nobody: delete it, with everything in it"],
            "{}",
            page.body
        );
        assert!(page.select("form[action$='/approve']").is_empty());
        // Who owns what is decided by administrators; a privacy officer is told so on the page.
        let decided = [(organisation.as_str(), member.id.as_str())];
        let path = format!("{address}/decisions");
        let refused = officer.post(&path, &decided).await;
        assert_eq!((refused.status, refused.select("[role=alert]").len()), (403, 1), "{}", refused.body);
        let nobody = [(organisation.as_str(), "somebody")];
        assert_eq!(boss.post(&path, &nobody).await.status, 400);
        let (_, page) = boss.submit(&path, &decided).await;
        let chosen = format!("select[name='{organisation}'] option[selected]");
        assert_eq!(page.select(&chosen), ["Mina Member"]);
        // Whoever decided it last is not offered the approval, and it is refused all the same.
        assert!(page.select("form[action$='/approve']").is_empty());
        let page = second.get(&address).await;
        let digest = page.attribute("form[action$='/approve'] input[name=digest]", "value").unwrap();
        let approve = format!("{address}/approve");
        let refused = boss.post(&approve, &[("digest", &digest)]).await;
        assert_eq!((refused.status, refused.select("[role=alert]").len()), (403, 1), "{}", refused.body);
        second.submit(&approve, &[("digest", &digest)]).await;
        let path = format!("/organisations/{organisation}/members");
        loop {
            let (_, members) = deployment.operator("GET", &path, json!(null)).await;
            let owners: Vec<_> = members
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["role"] == "owner")
                .map(|one| one["person"].clone())
                .collect();
            if owners == [json!(member.id)] {
                break;
            }
            assert!(owners.contains(&json!(owner.id)), "{members}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_of_the_archive_are_chosen_with_the_request() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("ada@example.org", "Ada").await;
        let ada = signed_in(&deployment, &someone).await;
        let officer = officer(&deployment, "olga").await;
        let nobody = Browser { deployment: &deployment, cookie: String::new() };
        let formats = async |address: &str| {
            let path = format!("/requests/{}", address.rsplit('/').next().unwrap());
            let (_, request) = deployment.operator("GET", &path, json!(null)).await;
            request["formats"].clone()
        };
        let (address, _) =
            nobody.submit("/ask", &[("type", "access"), ("email", "ada@example.org"), ("csv", "on")]).await;
        assert_eq!(formats(&address).await, json!(["csv"]));
        let asked = [("type", "portability"), ("yolo", "on"), ("coco", "on")];
        let (address, page) = ada.submit("/me/requests", &asked).await;
        assert_eq!(formats(&address).await, json!(["coco", "yolo"]));
        assert!(page.select("dd").contains(&"coco, yolo".to_owned()), "{:?}", page.select("dd"));
        let taken_in = [
            ("person", "ada@example.org"),
            ("type", "access"),
            ("channel", "letter"),
            ("identity", "known"),
            ("voc", "on"),
        ];
        let (address, page) = officer.submit("/staff/requests/new", &taken_in).await;
        assert_eq!(formats(&address).await, json!(["voc"]));
        assert!(page.select("dd").contains(&"voc".to_owned()), "{:?}", page.select("dd"));

        // Where no archive answers they are refused, and what was chosen is chosen still.
        for (browser, path, field) in [
            (&nobody, "/ask", "email"),
            (&ada, "/me/requests", "text"),
            (&officer, "/staff/requests/new", "person"),
        ] {
            let typed =
                [("type", "objection"), (field, "ada@example.org"), ("channel", "letter"), ("jsonl", "on")];
            let refused = browser.post(path, &typed).await;
            assert_eq!((refused.status, refused.select("[role=alert]").len()), (400, 1), "{path}");
            assert!(refused.attribute("#format-jsonl", "checked").is_some(), "{path}");
            assert!(refused.attribute("#format-csv", "checked").is_none(), "{path}");
        }
    }
}
