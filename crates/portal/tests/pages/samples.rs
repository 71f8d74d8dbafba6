//! Every page in every state, with data of nobody.

use askama::Template;
use habeas_core::report::{
    ActivityReport, ErasureReport, ExportReport, FactReport, HoldingReport, HoldingsReport, ItemPage,
    ItemReport, KeptReport, MadeReport, MentionReport, ModelPlanReport, PersonReport, PlanItemReport,
    PlanReport, ReceiptSummary, StepReport, ToldReport,
};
use habeas_core::{Error, Timestamp};
use habeas_portal::pages::*;
use serde_json::json;

use crate::request_samples;

pub(crate) const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&";
pub(crate) const ID: &str = "019ab000-0000-7000-8000-00000000000a";
pub(crate) const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T08:30:00Z").unwrap()
}

pub(crate) fn shell(section: Section) -> Shell {
    let person = PersonBadge { name: "Ada Lovelace".into(), email: "ada@example.org".into() };
    Shell { person, staff: section == Section::Queue, section, notice: None }
}

fn device(step: DeviceStep) -> String {
    let person = shell(Section::Account).person;
    DevicePage { person, user_code: "WDJB-MJHT".into(), step }.render().unwrap()
}

fn holding(service: &str, title: &str, count: u64, bytes: u64, why: &str, until: &str) -> HoldingReport {
    HoldingReport {
        service: service.into(),
        kind: title.split(' ').next().unwrap().trim_end_matches('s').into(),
        title: title.into(),
        count,
        bytes,
        why: why.into(),
        until: until.into(),
        next_expiry: (title == "Activity" && count > 0).then(|| "2026-12-01T10:00:00Z".into()),
    }
}

pub(crate) fn holdings(full: bool) -> HoldingsReport {
    let some = |count: u64| if full { count } else { 0 };
    let erased = "until it is deleted or erased";
    let items = vec![
        holding(
            "Your account",
            "Profile",
            some(1),
            some(412),
            "to know whose everything else is, and to reach you",
            erased,
        ),
        holding("Your account", "Password", 0, 0, "to let you in, and nobody else", erased),
        holding(
            "Your account",
            "Tokens and sessions",
            some(3),
            some(904),
            "to let your programs and browsers in",
            "365 days from their issue, at most",
        ),
        holding(
            "Your account",
            "Activity",
            some(26),
            some(61_224),
            "to see misuse, and to show you who looked at your data",
            "90 days from the call",
        ),
        holding(
            "Custom Vision",
            "Account and keys",
            some(1),
            some(633),
            "to let your programs use the service",
            erased,
        ),
        holding(
            "Custom Vision",
            "Projects",
            some(2),
            some(1_830),
            "the work you do with the service",
            erased,
        ),
        holding("Custom Vision", "Tags", some(9), some(3_120), "the work you do with the service", erased),
        holding(
            "Custom Vision",
            "Images",
            some(1_262),
            some(48_211_904),
            "the pictures you train with, as you uploaded them",
            erased,
        ),
        holding(
            "Your rights",
            "Export archives",
            some(1),
            some(44_120_331),
            "so that you can download what you asked for",
            "7 days from the request",
        ),
    ];
    HoldingsReport {
        person: PersonReport {
            object_id: ID.into(),
            email: "ada@example.org".into(),
            name: "Ada Lovelace".into(),
            account_type: "standard".into(),
            created: "2026-01-02T03:04:05Z".into(),
        },
        restricted: false,
        counted: "2026-11-24T08:30:00.000001Z".into(),
        total_count: items.iter().map(|item| item.count).sum(),
        total_bytes: items.iter().map(|item| item.bytes).sum(),
        items,
        mentions: if full {
            vec![MentionReport {
                resource: ID.into(),
                kind: "Project".into(),
                role: "contributor".into(),
                since: "2026-08-24T08:30:00Z".into(),
                on_erasure: "the connection is deleted; the resource is its holder's and stays".into(),
            }]
        } else {
            Vec::new()
        },
        made: if full {
            vec![MadeReport {
                service: "Experiment tracking".into(),
                kind: "Run".into(),
                title: "Runs".into(),
                count: 500,
                on_erasure: "the connection is deleted; the resource is its holder's and stays".into(),
            }]
        } else {
            Vec::new()
        },
        changed: if full {
            vec![MadeReport {
                service: "Experiment tracking".into(),
                kind: "Run".into(),
                title: "Runs".into(),
                count: 1,
                on_erasure: "the connection is deleted; the resource is its holder's and stays".into(),
            }]
        } else {
            Vec::new()
        },
    }
}

fn activity() -> Vec<ActivityReport> {
    let entry = |minute: &str, operation: &str, by: &str, count| ActivityReport {
        minute: minute.into(),
        operation: operation.into(),
        status: 200,
        by: by.into(),
        count,
    };
    vec![
        entry("2026-11-24T08:29:00Z", "GetHoldings", "you", 1),
        entry("2026-11-23T14:02:00Z", "GetHoldings", "staff", 2),
        entry("2026-11-23T13:58:00Z", "CreateImagesFromData", "you", 62),
    ]
}

fn export(status: &str) -> ExportReport {
    let ready = status == "ready" || status == "expired";
    ExportReport {
        id: ID.into(),
        status: status.into(),
        done: if ready { 1_305 } else { 412 },
        total: 1_305,
        bytes: ready.then_some(44_120_331),
        sha256: ready.then(|| DIGEST.into()),
        formats: Vec::new(),
        recipient: ready.then(|| "age1zwlyl6h27gzv0lfntr7fcqrjrzqazap8sy5zylkxwneh7llf0dksu37mwt".into()),
        with_passphrase: status == "failed",
        created: "2026-11-24T08:28:00Z".into(),
        expires: if status == "expired" { "2026-11-23T08:28:00Z" } else { "2026-12-01T08:28:00Z" }.into(),
    }
}

fn plan(blocked: bool) -> PlanView {
    PlanView::new(&plan_report(blocked), now())
}

pub(crate) fn plan_report(blocked: bool) -> PlanReport {
    let items = holdings(true).items;
    PlanReport {
        plan: ID.into(),
        object_id: ID.into(),
        digest: DIGEST.into(),
        restricted: false,
        created: "2026-11-24T08:29:50Z".into(),
        valid_until: "2026-11-25T08:29:50Z".into(),
        items: items
            .into_iter()
            .map(|item| PlanItemReport {
                service: item.service,
                kind: item.kind,
                title: item.title,
                count: item.count,
                bytes: item.bytes,
                action: "delete".into(),
                held: 0,
            })
            .collect(),
        kept: vec![KeptReport {
            what: "1 receipt of the erasure: counts, times and a commitment, no personal data".into(),
            why: "proof that the request was answered".into(),
        }],
        recipients: vec![ToldReport { recipient: ID.into(), name: HOSTILE.into() }],
        depicted: 0,
        erase_depicted: false,
        others_affected: 2,
        unlinked: 502,
        made: 500,
        changed: 1,
        held: Vec::new(),
        models: vec![ModelPlanReport {
            iteration: ID.into(),
            images: 3,
            left: 40,
            action: "solve again".into(),
            tags_emptied: 1,
            tags_below_minimum: 2,
        }],
        tainted: Vec::new(),
        copies: 2,
        revoked: 2,
        keys: 4,
        backups: "the keys are destroyed now: every backup made until then is unreadable for what was erased, at once".into(),
        choices: Vec::new(),
        blocked: if blocked {
            vec!["this is the last administrator: name a successor first (habeas person role EMAIL administrator)".into()]
        } else {
            Vec::new()
        },
    }
}

fn confirmation(error: Option<&str>) -> Confirmation {
    Confirmation { email: "ada@example.org".into(), error: error.map(str::to_owned) }
}

fn erasure(status: &str, running: usize) -> ErasureReport {
    let titles = [
        ("freeze", "Access ends: tokens, keys and image addresses are dead, nothing can be written"),
        ("subtract", "Models of others forget what they learned from this data"),
        ("shred", "The keys are destroyed: nothing can be read any more, here or in any backup"),
        ("delete", "The records are deleted"),
        ("resolve", "Those models are measured again without it"),
        ("purge", "The files are deleted"),
        ("verify", "Everything is checked once more"),
        ("receipt", "The receipt is signed"),
    ];
    let steps = titles.iter().enumerate().map(|(index, (name, title))| StepReport {
        name: (*name).into(),
        title: (*title).into(),
        status: match index.cmp(&running) {
            std::cmp::Ordering::Less => "done",
            std::cmp::Ordering::Equal if status == "running" => "running",
            _ => "waiting",
        }
        .into(),
    });
    ErasureReport {
        plan: ID.into(),
        status: status.into(),
        steps: steps.collect(),
        error: (status == "failed").then(|| "files are being deleted by another worker".into()),
        receipt: (status == "completed").then(|| ID.into()),
        held: Vec::new(),
    }
}

fn receipt(erasure: bool) -> ReceiptView {
    let statement = if erasure {
        json!({
            "type": "erasure-receipt/1", "issuer": "5a1d77c0e3b94f21", "subject": DIGEST, "legal": "GDPR Article 17",
            "planDigest": DIGEST, "planned": "2026-11-24T08:29:50Z", "frozen": "2026-11-24T08:29:55Z",
            "unreadableEverywhereSince": "2026-11-24T08:29:56Z", "completed": "2026-11-24T08:29:58Z",
            "erased": [
                { "kind": "Image", "planned": 1262, "bytes": 48_211_904, "action": "delete" },
                { "kind": "Project", "planned": 2, "bytes": 1830, "action": "delete" },
            ],
            "deletedRecords": 1305, "deletedFiles": 1263, "keysDestroyed": 4, "unlinked": 1,
            "kept": [{ "what": "this receipt", "why": "proof that the request was answered" }],
            "method": "cryptographic erasure (AES-256-GCM keys overwritten in every copy of the keyring), then deletion",
            "storage": "SQLite 3.53", "backups": "unreadable for what was erased since the time above",
            "limits": "copies that others downloaded before, and a stolen old copy of the keyring together with its root key, are outside this proof",
            "verified": { "keySlotsReadBack": 5, "rowsLeft": 0, "filesLeft": 0, "version": "0.1.0" },
        })
    } else {
        json!({
            "type": "access-receipt/1", "issuer": "5a1d77c0e3b94f21", "subject": DIGEST,
            "legal": "GDPR Articles 15 and 20", "completed": "2026-11-24T08:29:58Z",
            "archive": { "sha256": DIGEST, "bytes": 44_120_331, "resources": 1305 },
        })
    };
    let address = if erasure {
        format!("/erasures/{ID}/receipt.json")
    } else {
        format!("/me/receipts/{ID}/receipt.json")
    };
    ReceiptView::new(&json!({ "statement": statement, "signature": "a.b.c" }), address, DIGEST.into(), now())
}

fn items(title: &str) -> ItemsPage {
    let item = |number: u32| ItemReport {
        id: ID.into(),
        kind: "Image".into(),
        title: format!("{title} {number}"),
        created: "2026-11-20T08:30:00Z".into(),
        facts: vec![
            FactReport { label: "File name".into(), value: format!("{title}-{number}.jpg") },
            FactReport { label: "Tags".into(), value: "Hemlock, Japanese cherry".into() },
            FactReport { label: "Size".into(), value: "812 × 608, 38.1 kB".into() },
        ],
    };
    let page = ItemPage { items: (1..=3).map(item).collect(), next: Some(ID.into()) };
    let from = ("/me".into(), "My data");
    ItemsPage::new(
        shell(Section::MyData),
        from,
        ("/me/items/Image".into(), "Images".into()),
        1_262,
        page,
        false,
        now(),
    )
}

fn keys(accounts: bool) -> KeysPage {
    let key = "0123456789abcdef0123456789abcdef";
    let account = AccountKeys::new(ID.into(), "Custom Vision".into(), [key; 2], [key; 2]);
    KeysPage {
        shell: shell(Section::Keys),
        endpoint: "https://habeas.example.org:8443".into(),
        accounts: if accounts { vec![account] } else { Vec::new() },
    }
}

/// Name and HTML of every page in every state.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    let my_data = |exports: &[ExportReport]| {
        MyDataPage::new(shell(Section::MyData), &holdings(true), &activity(), exports, now())
            .render()
            .unwrap()
    };
    let export_page = |status: &str| {
        let export = ExportView::new(&export(status), now());
        ExportPage { shell: shell(Section::Exports), export }.render().unwrap()
    };
    let plan_page = |blocked| {
        PlanPage { shell: shell(Section::MyData), plan: plan(blocked), confirmation: confirmation(None) }
            .render()
            .unwrap()
    };
    let confirm_page = |error| {
        ConfirmPage { shell: shell(Section::MyData), plan: plan(false), confirmation: confirmation(error) }
            .render()
            .unwrap()
    };
    let erasing =
        |status, running, receipt| ErasurePage::new(&erasure(status, running), receipt).render().unwrap();
    let exports: Vec<ExportView> = ["running", "ready", "failed", "expired"]
        .iter()
        .map(|status| ExportView::new(&export(status), now()))
        .collect();
    let summary = |kind: &str| ReceiptSummary {
        id: ID.into(),
        receipt_type: kind.into(),
        issued: "2026-11-24T08:29:58Z".into(),
    };
    let error = |error: Error| ErrorPage::new(&error, Some("019ab0-17".into())).render().unwrap();
    let log = |activity: &[ActivityReport], staff| {
        AccessLogPage::new(shell(Section::MyData), activity, staff, None, now()).render().unwrap()
    };
    let password = |has_password, error: Option<&str>| {
        PasswordPage { shell: shell(Section::Account), has_password, error: error.map(str::to_owned) }
            .render()
            .unwrap()
    };
    let mut noticed = shell(Section::Keys);
    noticed.notice = Some("Training key 1 was replaced.");
    let mut pages = vec![
        ("my-data", my_data(&[])),
        ("my-data-export-running", my_data(&[export("running")])),
        ("my-data-export-ready", my_data(&[export("ready")])),
        ("my-data-export-expired", my_data(&[export("expired")])),
        (
            "my-data-nothing",
            MyDataPage::new(shell(Section::MyData), &holdings(false), &[], &[], now()).render().unwrap(),
        ),
        ("items", items("hemlock").render().unwrap()),
        ("items-hostile", items(HOSTILE).render().unwrap()),
        ("access-log", log(&activity(), false)),
        ("access-log-staff", log(&activity(), true)),
        ("access-log-empty", log(&[], false)),
        ("exports", ExportsPage { shell: shell(Section::Exports), exports }.render().unwrap()),
        (
            "exports-empty",
            ExportsPage { shell: shell(Section::Exports), exports: Vec::new() }.render().unwrap(),
        ),
        ("export-running", export_page("running")),
        ("export-ready", export_page("ready")),
        ("export-failed", export_page("failed")),
        ("export-expired", export_page("expired")),
        ("erase-plan", plan_page(false)),
        ("erase-plan-blocked", plan_page(true)),
        ("erase-confirm", confirm_page(None)),
        ("erase-confirm-wrong", confirm_page(Some("That is not your e-mail address."))),
        ("erasure-planned", erasing("planned", 0, None)),
        ("erasure-running", erasing("running", 3, None)),
        ("erasure-resuming", erasing("failed", 5, None)),
        ("erasure-completed", erasing("completed", 8, Some(receipt(true)))),
        (
            "receipts",
            ReceiptsPage::new(
                shell(Section::Receipts),
                &[summary("erasure-receipt/1"), summary("access-receipt/1"), summary("other/1")],
                now(),
            )
            .render()
            .unwrap(),
        ),
        ("receipts-empty", ReceiptsPage::new(shell(Section::Receipts), &[], now()).render().unwrap()),
        (
            "receipt-access",
            ReceiptPage { shell: shell(Section::Receipts), receipt: receipt(false) }.render().unwrap(),
        ),
        (
            "receipt-erasure",
            ReceiptPage { shell: shell(Section::Receipts), receipt: receipt(true) }.render().unwrap(),
        ),
        ("keys", keys(true).render().unwrap()),
        ("keys-replaced", KeysPage { shell: noticed, ..keys(true) }.render().unwrap()),
        ("keys-empty", keys(false).render().unwrap()),
        ("password", password(false, None)),
        ("password-wrong", password(true, Some("A password has at least 12 characters."))),
        ("sign-in", SignInPage::default().render().unwrap()),
        (
            "sign-in-issuers",
            SignInPage {
                issuers: vec![IssuerLink { address: "/sign-in/with/work".into(), title: HOSTILE.into() }],
                ..SignInPage::default()
            }
            .render()
            .unwrap(),
        ),
        (
            "consent",
            ConsentPage {
                person: shell(Section::Account).person,
                client_name: HOSTILE.into(),
                redirect_uri: "https://app.example.org/callback".into(),
                request: vec![("client_id", ID.into()), ("state", HOSTILE.into())],
            }
            .render()
            .unwrap(),
        ),
        ("device", device(DeviceStep::Type(None))),
        ("device-wrong", device(DeviceStep::Type(Some("No program shows this code.".into())))),
        ("device-decide", device(DeviceStep::Decide { client_name: HOSTILE.into() })),
        ("device-approved", device(DeviceStep::Approved)),
        ("device-denied", device(DeviceStep::Denied)),
        (
            "sign-in-wrong",
            SignInPage {
                email: "ada@example.org".into(),
                error: Some("That address and password do not belong together.".into()),
                next: Some("/me/exports".into()),
                ..SignInPage::default()
            }
            .render()
            .unwrap(),
        ),
        (
            "sign-in-out",
            SignInPage { notice: Some("You are signed out."), ..SignInPage::default() }.render().unwrap(),
        ),
        ("sign-in-link", LinkPage { secret: DIGEST.into() }.render().unwrap()),
        ("error-404", error(Error::not_found("there is no such page"))),
        (
            "error-403",
            error(
                Error::forbidden("you may see this but not change it")
                    .hint("ask its owner for the role of contributor"),
            ),
        ),
        ("error-500", error(Error::internal("row 17 has two parents"))),
        (
            "error-503",
            error(Error::unavailable("the database cannot be reached").hint("try again in a minute")),
        ),
        ("error-link", ErrorPage::expired_link().render().unwrap()),
    ];
    pages.extend(request_samples::all());
    pages
}
