//! `cargo xtask dist`: an archive to install from.

use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{cargo, output, root, target};

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
    for file in
        ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "packaging/habeas.service", "docs/OPERATING.md"]
    {
        let source = root().join(file);
        let target = folder.join(source.file_name().context("a file without a name")?);
        std::fs::copy(&source, &target).with_context(|| format!("cannot copy {file}"))?;
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
