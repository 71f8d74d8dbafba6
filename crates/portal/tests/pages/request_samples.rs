//! The pages of data-subject requests in every state.

use askama::Template;
use habeas_core::kinds::ExportFormat;
use habeas_core::report::{
    PlanDifferenceReport, RequestCommentReport, RequestHistoryReport, RequestPlanReport, RequestReport,
    RequestStatusReport,
};
use habeas_core::requests::{Channel, DenialReason, ExtensionReason, IdentityCheck, RequestType};
use habeas_portal::pages::*;

use crate::samples::{DIGEST, HOSTILE, ID, holdings, now, plan_report, shell};

const OTHER: &str = "019ab000-0000-7000-8000-00000000000b";

fn report(state: &str, asked: RequestType) -> RequestReport {
    let event = |minute: &str, event: &str, by: Option<&str>| RequestHistoryReport {
        at: format!("2026-11-24T08:{minute}:00Z"),
        event: event.into(),
        by: by.map(str::to_owned),
    };
    let done = state == "completed";
    RequestReport {
        id: ID.into(),
        asked,
        formats: if asked == RequestType::Access {
            vec![ExportFormat::Csv, ExportFormat::Coco]
        } else {
            Vec::new()
        },
        state: state.into(),
        regime: "gdpr".into(),
        channel: Channel::Letter,
        received: "2026-11-24T08:00:00Z".into(),
        due: "2026-12-24T23:59:59Z".into(),
        overdue: state == "planned",
        extension: done.then_some(ExtensionReason::Complexity),
        subject: Some(ID.into()),
        requester: Some(OTHER.into()),
        identity_checked_by: Some(IdentityCheck::Code),
        needs_approval: true,
        approver: None,
        digest: Some(DIGEST.into()),
        undo_until: (state == "undoWindow").then(|| "2026-11-27T08:00:00Z".into()),
        erasure: (done && asked == RequestType::Erasure).then(|| ID.into()),
        archive: (done && asked == RequestType::Access).then(|| ID.into()),
        receipt: done.then(|| ID.into()),
        duplicate_of: (state == "duplicate").then(|| OTHER.into()),
        destination: None,
        new_email: (asked == RequestType::Rectification).then(|| HOSTILE.into()),
        recipients: Vec::new(),
        denial: (state == "denied").then_some(DenialReason::NoMatch),
        comments: vec![RequestCommentReport {
            at: "2026-11-24T08:10:00Z".into(),
            by: OTHER.into(),
            text: HOSTILE.into(),
            answer: done,
        }],
        history: vec![event("00", "received", Some(OTHER)), event("20", "codeSent", None)],
    }
}

fn names() -> Names {
    let name = |id: &str, name: &str| (id.to_owned(), name.to_owned());
    Names::from([name(ID, HOSTILE), name(OTHER, "Olga Officer, olga@example.org")])
}

fn request(state: &str, asked: RequestType, staff: bool) -> RequestPage {
    let plan = (staff && asked == RequestType::Erasure && state == "awaitingApproval").then(|| {
        let difference = vec![PlanDifferenceReport {
            kind: "Image".into(),
            count_before: 1,
            count_now: 2,
            bytes_before: 1_000,
            bytes_now: 2_000,
        }];
        RequestPlanView::new(
            &RequestPlanReport { plan: plan_report(false), changed: true, difference },
            now(),
        )
    });
    RequestPage {
        shell: shell(if staff { Section::Queue } else { Section::Requests }),
        staff,
        request: RequestView::new(&report(state, asked), &names(), now()),
        plan,
        by_hand: Some(asked).filter(|asked| *asked == RequestType::Restriction),
        took_part: false,
        error: None,
        typed: TypedDecision::default(),
    }
}

fn status(state: &str, error: Option<&str>) -> String {
    status_page(state, error).render().unwrap()
}

/// The page of somebody without an account, whose archive is ready.
fn archive(error: Option<&str>) -> String {
    let mut page = status_page("completed", error);
    page.fetches_archive = true;
    page.render().unwrap()
}

fn status_page(state: &str, error: Option<&str>) -> RequestStatusPage {
    let report = status_report(state, RequestType::Access);
    RequestStatusPage::new(&report, error.map(str::to_owned), now())
}

fn status_report(state: &str, asked: RequestType) -> RequestStatusReport {
    RequestStatusReport {
        id: ID.into(),
        asked,
        state: state.into(),
        received: "2026-11-24T08:00:00Z".into(),
        due: "2026-12-24T23:59:59Z".into(),
        erasure: None,
        receipt: None,
    }
}

/// An erasure that was carried out; `kept` says whether its receipt can be had still.
fn proved(state: &str, kept: bool) -> String {
    let mut report = status_report(state, RequestType::Erasure);
    report.erasure = kept.then(|| ID.into());
    report.receipt = Some(OTHER.into());
    RequestStatusPage::new(&report, None, now()).render().unwrap()
}

fn requests(some: bool, error: Option<&str>) -> String {
    let view = |state, asked| RequestView::new(&report(state, asked), &Names::new(), now());
    let requests = vec![view("running", RequestType::Access), view("planned", RequestType::Objection)];
    RequestsPage {
        shell: shell(Section::Requests),
        requests: if some { requests } else { Vec::new() },
        error: error.map(str::to_owned),
        asked: "objection".into(),
        formats: Vec::new(),
        text: HOSTILE.into(),
        email: HOSTILE.into(),
    }
    .render()
    .unwrap()
}

fn queue(some: bool) -> String {
    let view = |state, asked| RequestView::new(&report(state, asked), &Names::new(), now());
    let requests =
        vec![view("awaitingApproval", RequestType::Erasure), view("planned", RequestType::Objection)];
    QueuePage {
        shell: shell(Section::Queue),
        filters: vec![
            Filter { name: "open", title: "Open", current: true },
            Filter { name: "overdue", title: "Overdue", current: false },
        ],
        requests: if some { requests } else { Vec::new() },
        next: some.then(|| format!("/staff/requests?show=open&after={ID}")),
    }
    .render()
    .unwrap()
}

fn new_request(error: Option<&str>) -> String {
    NewRequestPage {
        shell: shell(Section::Queue),
        regimes: vec!["gdpr".into(), "ccpa".into()],
        typed: TakenIn {
            person: HOSTILE.into(),
            asked: "erasure".into(),
            formats: vec![ExportFormat::Csv],
            channel: "phone".into(),
            received: "2026-11-24".into(),
            regime: "ccpa".into(),
            identity: "known".into(),
        },
        error: error.map(str::to_owned),
    }
    .render()
    .unwrap()
}

/// Name and HTML of each.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    let staff = |state, asked| request(state, asked, true).render().unwrap();
    let own = |state, asked| request(state, asked, false).render().unwrap();
    let mut refused = request("planned", RequestType::Restriction, true);
    refused.error = Some("the time to answer is over".into());
    refused.typed =
        TypedDecision { decision: "extend".into(), reason: "numberOfRequests".into(), text: HOSTILE.into() };
    let mut requester = request("awaitingApproval", RequestType::Erasure, true);
    requester.took_part = true;
    let wrong_address = AskPage {
        email: HOSTILE.into(),
        asked: "access".into(),
        formats: vec![ExportFormat::Jsonl],
        error: Some("that is no address".into()),
    };
    let held = HoldingsPage::new(shell(Section::Queue), ID.into(), &holdings(true), now());
    vec![
        ("ask", AskPage::default().render().unwrap()),
        ("ask-wrong", wrong_address.render().unwrap()),
        ("request-code", status("verifying", None)),
        ("request-code-wrong", status("verifying", Some("that is not the code"))),
        ("request-status", status("running", None)),
        ("request-status-proved", proved("completed", true)),
        ("request-status-held", proved("completedWithHolds", true)),
        ("request-status-proved-once", proved("completed", false)),
        ("request-archive", archive(None)),
        ("request-archive-wrong", archive(Some("that is not the code"))),
        ("requests", requests(true, None)),
        ("requests-empty", requests(false, None)),
        ("requests-wrong", requests(true, Some("choose what is asked for"))),
        ("request-own", own("undoWindow", RequestType::Erasure)),
        ("request-own-answered", own("completed", RequestType::Access)),
        ("request-own-address", own("verifying", RequestType::Rectification)),
        ("queue", queue(true)),
        ("queue-empty", queue(false)),
        ("request-new", new_request(None)),
        ("request-new-wrong", new_request(Some("there is no person with this e-mail address"))),
        ("request-verify", staff("verifying", RequestType::Access)),
        ("request-approve", staff("awaitingApproval", RequestType::Erasure)),
        ("request-approve-requester", requester.render().unwrap()),
        ("request-carry-out", staff("planned", RequestType::Restriction)),
        ("request-refused-extension", refused.render().unwrap()),
        ("request-duplicate", staff("duplicate", RequestType::Objection)),
        ("request-denied", staff("denied", RequestType::Objection)),
        ("request-completed", staff("completed", RequestType::Erasure)),
        ("request-holdings", held.render().unwrap()),
    ]
}
