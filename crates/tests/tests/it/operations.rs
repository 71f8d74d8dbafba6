//! Which operations the routers have, and which of them somebody called: the lists of coverage tests are held against it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::deployment::{Deployment, Someone};

/// The text in quotes at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix('"')?.split_once('"')
}

/// The names of the operations that the router of a protocol registers, as its source has them.
fn registered(protocol: &str) -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let source = std::fs::read_to_string(crates.join(format!("wire/src/{protocol}/mod.rs"))).unwrap();
    let mut names = BTreeSet::new();
    for before in ["on(", "named::<Failure>(&app,"] {
        let found = source.split(before).skip(1).filter_map(quoted);
        names.extend(found.map(|(name, _)| name.to_owned()));
    }
    // The common operations of the types of Azure's control plane.
    for (of, rest) in source.split("names!(").skip(1).filter_map(quoted) {
        let (list, _) = quoted(rest.trim_start_matches(',')).unwrap();
        names.extend(
            ["_Get", "_CreateOrUpdate", "_Update", "_Delete", list]
                .map(|operation| format!("{of}{operation}")),
        );
    }
    names
}

/// Succeeds when the person has called every operation that the router of a protocol registers.
pub(crate) async fn assert_all_called(deployment: &mut Deployment, someone: &Someone, protocol: &str) {
    // What was called is written when the server stops.
    deployment.stop().await;
    deployment.start().await;
    let telemetry = deployment.server().app().access().telemetry();
    let hours = telemetry.of(someone.id.parse().unwrap()).await.unwrap();
    // An address that does not take the method was not the operation.
    let called: BTreeSet<String> = hours
        .into_iter()
        .flat_map(|hour| hour.entries)
        .filter(|entry| entry.status != 405)
        .map(|entry| entry.operation)
        .collect();
    let registered = registered(protocol);
    assert!(registered.len() > 25, "{protocol}: {registered:?}");
    let missing: Vec<&String> = registered.difference(&called).collect();
    assert!(missing.is_empty(), "{protocol}: the list of this test leaves out {missing:?}");
}
