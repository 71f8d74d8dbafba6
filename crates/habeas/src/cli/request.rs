//! `habeas request`: data-subject requests from intake to their end.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use habeas_core::kinds::ExportFormat;
use habeas_core::report::{PlanDifferenceReport, RequestPlanReport, RequestReport};
use habeas_core::requests::{Channel, DenialReason, ExtensionReason, IdentityCheck, RequestType};
use serde_json::{Value, json};

use super::decisions::Decisions;
use super::output::{Format, line, table};
use super::person::Change;
use super::{Reach, connect};

/// A request, and how to reach it.
#[derive(Args)]
pub(crate) struct One {
    /// The request's id
    request: String,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List requests, newest first
    List {
        /// Only those in this state, or `open` for all on which something is to be done
        #[arg(long)]
        state: Option<String>,
        /// Only those of this type
        #[arg(long = "type", value_parser = asked)]
        asked: Option<RequestType>,
        /// Only those whose time to answer is over
        #[arg(long)]
        overdue: bool,
        /// Only those about this person: e-mail address or object id
        #[arg(long, conflicts_with_all = ["state", "asked", "overdue"])]
        person: Option<String>,
        /// The last request of the page before
        #[arg(long)]
        after: Option<String>,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show a request, and what an erasure would do now
    Show {
        #[command(flatten)]
        one: One,
    },
    /// Take in a request on behalf of a person
    Create {
        /// E-mail address, which may be nobody's, or object id
        #[arg(long)]
        person: String,
        /// access, portability, erasure, rectification, restriction or objection
        #[arg(long = "type", value_parser = asked)]
        asked: RequestType,
        /// How it came: email, letter, phone, inPerson or protocol
        #[arg(long, value_parser = channel, default_value = "letter")]
        channel: Channel,
        /// When it came, like 2026-11-24 or 2026-11-24T08:30:00Z; now if not given
        #[arg(long, value_name = "TIME")]
        received: Option<String>,
        /// The law under which to answer
        #[arg(long)]
        regime: Option<String>,
        /// How you made sure who asks: document, known or protocol; a one-time code is sent if not given
        #[arg(long, value_parser = identity)]
        identity: Option<IdentityCheck>,
        /// Of access and portability: have the data once more in these formats: csv, jsonl (tables), coco, yolo, voc, folders (labelled images)
        #[arg(long = "archive-format", value_name = "FORMATS", value_delimiter = ',')]
        formats: Vec<String>,
        #[command(flatten)]
        decisions: Decisions,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Verify who asks: by the one-time code, or say how you made sure
    Verify {
        #[command(flatten)]
        one: One,
        /// The one-time code
        #[arg(long, required_unless_present = "identity", conflicts_with = "identity")]
        code: Option<String>,
        /// document, known or protocol
        #[arg(long, value_parser = identity)]
        identity: Option<IdentityCheck>,
    },
    /// Decide what the plan of an erasure offers, in place of what was decided before
    Decide {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        decisions: Decisions,
    },
    /// Approve an erasure as a second person, and run it
    Approve {
        #[command(flatten)]
        one: One,
        /// Digest of the plan that `show` printed
        #[arg(long)]
        digest: String,
    },
    /// Refuse a request
    #[command(visible_alias = "refuse")]
    Deny {
        #[command(flatten)]
        one: One,
        /// Why: a reason code of the Data Rights Protocol, such as claim_not_covered
        #[arg(long, value_parser = denial)]
        reason: DenialReason,
        /// What the person is told besides
        #[arg(long, default_value = "")]
        text: String,
    },
    /// Extend the time to answer, once
    Extend {
        #[command(flatten)]
        one: One,
        /// Why: complexity or numberOfRequests
        #[arg(long, value_parser = extension)]
        reason: ExtensionReason,
        /// What the person is told besides
        #[arg(long, default_value = "")]
        text: String,
    },
    /// Carry out a rectification, a restriction or an objection, which restricts too, and close it
    Complete {
        #[command(flatten)]
        one: One,
        /// The answer to the person
        #[arg(long)]
        text: String,
        #[command(flatten)]
        change: Change,
    },
    /// Call a request off
    Cancel {
        #[command(flatten)]
        one: One,
    },
    /// Add a note; it is the person's data
    Comment {
        #[command(flatten)]
        one: One,
        /// The note
        #[arg(long)]
        text: String,
    },
}

macro_rules! parsers {
    ($($function:ident => $type:ident;)*) => {
        $(fn $function(text: &str) -> Result<$type, String> {
            $type::from_name(text).ok_or_else(|| {
                let names: Vec<&str> = $type::ALL.iter().map(|one| one.name()).collect();
                format!("one of: {}", names.join(", "))
            })
        })*
    };
}

parsers! {
    asked => RequestType;
    channel => Channel;
    identity => IdentityCheck;
    denial => DenialReason;
    extension => ExtensionReason;
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::List { state, asked, overdue, person, after, format, reach } => {
            connect::with(reach, file, async |client| {
                if let Some(person) = &person {
                    let found = client.find_person(person).await?;
                    return format
                        .print(&client.requests_of(&found.object_id).await?, |requests| list(requests));
                }
                let mut query = Vec::new();
                query.extend(state.as_deref().map(|state| ("state", state)));
                query.extend(asked.map(|asked| ("type", asked.name())));
                query.extend(overdue.then_some(("overdue", "true")));
                query.extend(after.as_deref().map(|after| ("after", after)));
                let page = client.requests(&query).await?;
                format.print(&page, |page| {
                    let next = page.next.as_ref().map(|next| format!("more: --after {next}\n"));
                    list(&page.requests) + &next.unwrap_or_default()
                })
            })
            .await?;
        }
        Verb::Show { one } => show(one, file).await?,
        Verb::Create {
            person,
            asked,
            channel,
            received,
            regime,
            identity,
            formats,
            decisions,
            format,
            reach,
        } => {
            let formats = ExportFormat::parse_all(formats.iter().map(String::as_str))?;
            connect::with(reach, file, async |client| {
                let received = received.as_deref().map(moment);
                let decisions = decisions.read(client).await?;
                let mut details = json!({ "channel": channel, "received": received, "regime": regime, "identity": identity, "formats": formats });
                let found = match client.find_person(&person).await {
                    // Whoever has the address is asked for a code, and told that nothing is held.
                    Err(habeas_client::Error::Refused { status: 404, .. }) if person.contains('@') => {
                        let status = client.take_in_request(&person, asked.name(), details).await?;
                        let request = client.show_request(&status.id).await?;
                        return format.print(&request, describe);
                    }
                    found => found?,
                };
                details["decisions"] = decisions;
                let request = client.create_request(&found.object_id, asked.name(), details).await?;
                format.print(&request, describe)
            })
            .await?;
        }
        Verb::Verify { one, code, identity } => match code {
            Some(code) => {
                connect::with(one.reach, file, async |client| {
                    let status = client.verify_request(&one.request, &code).await?;
                    one.format.print(&status, |status| format!("{}\n", status.state))
                })
                .await?;
            }
            None => decide(one, file, "confirm-identity", json!({ "identity": identity })).await?,
        },
        Verb::Decide { one, decisions } => {
            connect::with(one.reach, file, async |client| {
                let decisions = decisions.read(client).await?;
                one.format.print(&client.choose_for_request(&one.request, &decisions).await?, describe_plan)
            })
            .await?;
        }
        Verb::Approve { one, digest } => decide(one, file, "approve", json!({ "digest": digest })).await?,
        Verb::Deny { one, reason, text } => {
            decide(one, file, "deny", json!({ "reason": reason, "text": text })).await?;
        }
        Verb::Extend { one, reason, text } => {
            decide(one, file, "extend", json!({ "reason": reason, "text": text })).await?;
        }
        Verb::Complete { one, text, change } => {
            let mut body = json!({ "text": text });
            if !change.is_empty() {
                body["rectification"] = change.read()?;
            }
            decide(one, file, "complete", body).await?;
        }
        Verb::Cancel { one } => decide(one, file, "cancel", json!({})).await?,
        Verb::Comment { one, text } => decide(one, file, "comments", json!({ "text": text })).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn decide(one: One, file: Option<&Path>, decision: &str, body: Value) -> anyhow::Result<()> {
    connect::with(one.reach, file, async |client| {
        let request = client.decide_request(&one.request, decision, &body).await?;
        one.format.print(&request, describe)
    })
    .await
}

async fn show(one: One, file: Option<&Path>) -> anyhow::Result<()> {
    connect::with(one.reach, file, async |client| {
        let request = client.show_request(&one.request).await?;
        let waits = matches!(request.state.as_str(), "undoWindow" | "awaitingApproval" | "planned");
        let plan = if waits && request.asked == RequestType::Erasure {
            Some(client.request_plan(&one.request).await?)
        } else {
            None
        };
        one.format.print(&json!({ "request": request, "plan": plan }), |_| {
            let mut text = describe(&request);
            if let Some(plan) = &plan {
                text.push_str(&describe_plan(plan));
                if request.state == "awaitingApproval" && plan.plan.blocked.is_empty() {
                    text.push_str(&format!(
                        "approve it with: habeas request approve {} --digest {}\n",
                        request.id, plan.plan.digest
                    ));
                }
            }
            text
        })
    })
    .await
}

/// A day counts from its beginning.
fn moment(text: &str) -> String {
    let is_day = text.len() == 10 && !text.contains('T');
    if is_day { format!("{text}T00:00:00Z") } else { text.to_owned() }
}

fn day(time: &str) -> String {
    time.get(..10).unwrap_or(time).to_owned()
}

fn list(requests: &[RequestReport]) -> String {
    let rows: Vec<Vec<String>> = requests
        .iter()
        .map(|request| {
            vec![
                request.id.clone(),
                request.asked.name().to_owned(),
                request.state.clone(),
                day(&request.received),
                day(&request.due),
                if request.overdue { "overdue".to_owned() } else { String::new() },
            ]
        })
        .collect();
    table(&["REQUEST", "TYPE", "STATE", "RECEIVED", "DUE", ""], &rows)
}

fn describe(request: &RequestReport) -> String {
    let mut rows = vec![
        vec!["request".to_owned(), request.id.clone()],
        vec!["type".to_owned(), request.asked.name().to_owned()],
        vec!["state".to_owned(), request.state.clone()],
        vec!["received".to_owned(), format!("{} by {}", request.received, request.channel.title())],
        vec!["due".to_owned(), format!("{} ({})", request.due, request.regime)],
    ];
    for (label, value) in [
        ("formats", Some(ExportFormat::list(&request.formats)).filter(|names| !names.is_empty())),
        ("extended", request.extension.map(|reason| reason.title().to_owned())),
        ("person", request.subject.clone()),
        ("identity", request.identity_checked_by.map(|check| check.title().to_owned())),
        ("undo until", request.undo_until.clone()),
        ("approver", request.approver.clone()),
        ("erasure", request.erasure.clone()),
        ("archive", request.archive.clone()),
        ("receipt", request.receipt.clone()),
        ("duplicate of", request.duplicate_of.clone()),
        ("denied", request.denial.map(|reason| reason.title().to_owned())),
    ] {
        rows.extend(value.map(|value| vec![label.to_owned(), value]));
    }
    for comment in &request.comments {
        let sort = if comment.answer { "answer" } else { "note" };
        // Whatever a person writes on a line of its own stands under what they said, where no event and no next step begins.
        let indent = " ".repeat(comment.at.chars().count());
        let mut lines = comment.text.lines();
        let first = format!("{}  {}", comment.at, lines.next().unwrap_or_default());
        rows.push(vec![sort.to_owned(), first]);
        rows.extend(lines.map(|line| vec![String::new(), format!("{indent}  {line}")]));
    }
    rows.extend(
        request.history.iter().map(|entry| vec![String::new(), format!("{}  {}", entry.at, entry.event)]),
    );
    rows.extend(next_step(request).map(|step| vec!["next".to_owned(), step]));
    let text = table(&["", ""], &rows);
    text.split_once('\n').map_or_else(String::new, |(_, rows)| rows.to_owned())
}

/// What somebody has to do for the request to go on.
fn next_step(request: &RequestReport) -> Option<String> {
    let id = &request.id;
    let by_hand =
        !matches!(request.asked, RequestType::Access | RequestType::Portability | RequestType::Erasure);
    match request.state.as_str() {
        "verifying" if request.subject.is_none() => {
            Some(format!("nobody is known by that address: habeas request deny {id} --reason no_match"))
        }
        "verifying" if request.new_email.is_some() => {
            Some(format!("the code of the letter to the new address: habeas request verify {id} --code CODE"))
        }
        "verifying" => Some(format!(
            "the code of the letter: habeas request verify {id} --code CODE, or --identity document"
        )),
        "awaitingApproval" => Some(format!(
            "a second officer, with HABEAS_URL and a HABEAS_TOKEN of theirs: habeas request show {id}, and approve"
        )),
        "planned" if by_hand => {
            Some(format!("carry it out, and: habeas request complete {id} --text \"what was done\""))
        }
        _ => None,
    }
}

fn describe_plan(plan: &RequestPlanReport) -> String {
    let rows: Vec<Vec<String>> = plan
        .plan
        .items
        .iter()
        .filter(|item| item.count > 0)
        .map(|item| vec![item.title.clone(), item.action.clone(), item.count.to_string()])
        .collect();
    let mut text = format!("\nwhat an erasure would do now\n{}", table(&["KIND", "ACTION", ">COUNT"], &rows));
    for blocked in &plan.plan.blocked {
        text.push_str(&format!("to be settled first: {}\n", line(blocked)));
    }
    if plan.changed {
        text.push_str("changed since the plan was made or approved last:\n");
        let rows: Vec<Vec<String>> = plan
            .difference
            .iter()
            .map(|PlanDifferenceReport { kind, count_before, count_now, .. }| {
                vec![kind.clone(), count_before.to_string(), count_now.to_string()]
            })
            .collect();
        text.push_str(&table(&["KIND", ">BEFORE", ">NOW"], &rows));
    }
    text
}
