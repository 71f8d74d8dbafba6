//! Guard rails that no compiler has: dependencies, sources, file lengths, walls between rooms.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{cargo, output, root};

/// Lines beyond which a file no longer tells one story.
const LINES: usize = 800;
/// Packages of the whole graph on Linux.
const PACKAGES: usize = 420;

pub(crate) fn check() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    dependencies(&mut faults)?;
    files(&mut faults)?;
    walls(&mut faults)?;
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

fn dependencies(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let metadata: Value = serde_json::from_str(&output(cargo().args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]))?)?;
    let policy: toml::Table = std::fs::read_to_string(root().join("deny.toml"))?.parse()?;
    let names = |value: &toml::Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.as_str().or_else(|| entry.get("name").and_then(toml::Value::as_str)))
            .map(str::to_owned)
            .collect()
    };
    let banned = names(&policy["bans"]["deny"]);
    let allowed = names(&policy["licenses"]["allow"]);
    let resolved: Vec<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let used: Vec<&Value> = packages
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| resolved.contains(&id)))
        .collect();
    for package in &used {
        let name = package["name"].as_str().unwrap_or_default();
        if banned.iter().any(|other| other == name) {
            faults.push(format!("{name} is banned by deny.toml"));
        }
        let source = package["source"].as_str().unwrap_or("path");
        if source != "path" && !source.starts_with("registry+") {
            faults.push(format!("{name} comes from {source}"));
        }
        if source != "path" {
            let license = package["license"].as_str().unwrap_or_default();
            let acceptable = license.split(" OR ").flat_map(|part| part.split('/')).any(|part| {
                part.split(" AND ")
                    .all(|term| allowed.iter().any(|other| other == term.trim().trim_matches(['(', ')'])))
            });
            if !acceptable {
                faults.push(format!("{name} has the licence `{license}`, which deny.toml does not allow"));
            }
        }
    }
    println!("{} packages", used.len());
    if used.len() > PACKAGES {
        faults.push(format!("{} packages, at most {PACKAGES} are wanted", used.len()));
    }
    Ok(())
}

fn tracked() -> anyhow::Result<Vec<String>> {
    let list = output(Command::new("git").args(["ls-files"]).current_dir(root()))?;
    Ok(list.lines().map(str::to_owned).collect())
}

fn files(faults: &mut Vec<String>) -> anyhow::Result<()> {
    for file in tracked()? {
        let has = |ending: &str| Path::new(&file).extension().is_some_and(|found| found == ending);
        if ["rs", "py", "mjs", "js", "css", "html"].iter().any(|ending| has(ending)) {
            let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
            let lines = text.lines().count();
            if lines > LINES {
                faults.push(format!("{file} has {lines} lines, at most {LINES} are wanted"));
            }
        }
    }
    Ok(())
}

/// The protocols never import each other.
fn walls(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let protocols = ["custom_vision", "privacy"];
    for file in tracked()? {
        let Some(home) = protocols.iter().find(|name| file.starts_with(&format!("crates/wire/src/{name}/")))
        else {
            continue;
        };
        let text = std::fs::read_to_string(root().join(&file))?;
        for other in protocols.iter().filter(|other| *other != home) {
            if text.contains(&format!("crate::{other}")) {
                faults.push(format!("{file} imports {other}: protocols do not know each other"));
            }
        }
    }
    Ok(())
}
