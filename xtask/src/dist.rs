//! `cargo xtask dist`: an archive to install from.

use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{cargo, output, root, target};

/// What is packed beside the program: also whatever the README links to.
const FILES: &[&str] = &[
    "README.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "packaging/habeas.service",
    "docs/ARCHITECTURE.md",
    "docs/BENCHMARKS.md",
    "docs/DATA-MAP.md",
    "docs/OPERATING.md",
    "docs/PROTOCOLS.md",
    "docs/RESCUE.md",
    "docs/THREATS.md",
    "docs/verify_receipt.py",
];

/// Where a file lies in the archive.
fn place(file: &str) -> &str {
    file.strip_prefix("packaging/").unwrap_or(file)
}

pub(crate) fn run() -> anyhow::Result<()> {
    crate::run(cargo().args(["build", "--release", "--locked", "--package", "habeas"]))?;
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("habeas-{version}-{}-linux", std::env::consts::ARCH);
    let dist = target().join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(target().join("release/habeas"), folder.join("habeas"))?;
    crate::run(Command::new("strip").arg(folder.join("habeas")))?;
    std::fs::create_dir_all(folder.join("docs"))?;
    for file in FILES {
        std::fs::copy(root().join(file), folder.join(place(file)))
            .with_context(|| format!("cannot copy {file}"))?;
    }
    std::fs::write(folder.join("sbom.cdx.json"), serde_json::to_vec_pretty(&bill_of_materials(version)?)?)?;
    let archive = format!("{name}.tar.gz");
    crate::run(
        Command::new("tar")
            .args(["--sort=name", "--owner=0", "--group=0", "-czf", &archive, &name])
            .current_dir(&dist),
    )?;
    let sums = output(Command::new("sha256sum").arg(&archive).current_dir(&dist))?;
    std::fs::write(dist.join("SHA256SUMS"), &sums)?;
    print!("{sums}");
    Ok(())
}

/// The packages that are built in, as CycloneDX 1.5.
fn bill_of_materials(version: &str) -> anyhow::Result<Value> {
    let metadata: Value =
        serde_json::from_str(&output(cargo().args(["metadata", "--format-version=1", "--locked"]))?)?;
    let components: Vec<Value> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| package["source"].is_string())
        .map(|package| {
            let (name, version) = (
                package["name"].as_str().unwrap_or_default(),
                package["version"].as_str().unwrap_or_default(),
            );
            json!({
                "type": "library",
                "name": name,
                "version": version,
                "purl": format!("pkg:cargo/{name}@{version}"),
                "licenses": [{ "expression": package["license"] }],
            })
        })
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "application", "name": "habeas", "version": version } },
        "components": components,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_readme_links_to_is_in_the_archive() {
        let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
        let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            assert!(FILES.iter().any(|file| place(file) == link), "{link} is not packed");
        }
        for file in FILES {
            assert!(root().join(file).exists(), "{file}");
        }
    }
}
