//! Writes `docs/DATA-MAP.md` from the code.

fn main() -> std::io::Result<()> {
    std::fs::write(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/DATA-MAP.md"),
        habeas_core::data_map::markdown(),
    )
}
