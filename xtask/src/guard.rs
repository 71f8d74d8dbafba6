//! Guard rails that no compiler has: how many dependencies, file lengths, walls between rooms, links between documents.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{cargo, output, root};

/// Lines beyond which a file no longer tells one story.
const LINES: usize = 800;
/// Packages of the whole graph on Linux. About a hundred of them are tract, which runs ONNX graphs, and faer.
const PACKAGES: usize = 500;

pub(crate) fn check() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    dependencies(&mut faults)?;
    files(&mut faults)?;
    walls(&mut faults)?;
    links(&mut faults)?;
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

/// How many there are; which may be used, under which licence and from where is for `cargo deny` to say.
fn dependencies(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let metadata: Value = serde_json::from_str(&output(cargo().args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]))?)?;
    let used = metadata["resolve"]["nodes"].as_array().context("cargo metadata names no packages")?.len();
    println!("{used} packages");
    if used > PACKAGES {
        faults.push(format!("{used} packages, at most {PACKAGES} are wanted"));
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
    let protocols = ["custom_vision", "privacy", "oauth", "opendsr", "graph", "mlflow"];
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

/// What a document points at in this repository is there.
fn links(faults: &mut Vec<String>) -> anyhow::Result<()> {
    for file in
        tracked()?.iter().filter(|file| Path::new(file).extension().is_some_and(|found| found == "md"))
    {
        let text = std::fs::read_to_string(root().join(file))?;
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let here = root().join(file).with_file_name(path);
            if !path.is_empty() && !path.contains("://") && !here.exists() {
                faults.push(format!("{file} links to {target}, which is not there"));
            }
        }
    }
    Ok(())
}
