//! `--backbone`: which file stands in the place of the built-in feature extractor, and in which domain.

use anyhow::{Context as _, ensure};
use habeas_core::Id;
use habeas_models::Backbone;
use habeas_wire::custom_vision::domains;

/// Bytes of the largest file that is read.
const MOST: u64 = 1 << 30;

/// Reads the files that the setting names: `FILE` or `DOMAIN=FILE`, separated by commas.
pub(crate) fn read(setting: &str) -> anyhow::Result<Vec<Backbone>> {
    let mut backbones: Vec<Backbone> = Vec::new();
    for part in setting.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let of_domain =
            part.split_once('=').and_then(|(domain, file)| Some((domain.parse::<Id>().ok()?, file)));
        let (domain, path) = of_domain.map_or((None, part), |(domain, file)| (Some(domain), file));
        if let Some(id) = domain {
            let found = domains::find(id).with_context(|| format!("backbone: there is no domain {id}"))?;
            ensure!(
                !found.detection,
                "backbone: {id} is a domain of detectors, which have an extractor of their own"
            );
        }
        ensure!(
            backbones.iter().all(|other| other.domain != domain),
            "backbone: two files are named for the same domain"
        );
        let size = std::fs::metadata(path).with_context(|| format!("cannot read the backbone {path}"))?.len();
        ensure!(size <= MOST, "the backbone {path} has {size} bytes, at most {MOST} are read");
        let file = std::fs::read(path).with_context(|| format!("cannot read the backbone {path}"))?;
        backbones.push(Backbone { name: path.to_owned(), domain, file });
    }
    Ok(backbones)
}
