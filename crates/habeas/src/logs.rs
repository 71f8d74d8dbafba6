//! Structured logs on standard error: request ids, route templates, durations; never paths, queries, bodies or names.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::settings::Settings;

/// Starts logging. Only the first call in a process has an effect.
pub(crate) fn start(settings: &Settings) -> anyhow::Result<()> {
    let filter = settings.log.clone().unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| anyhow::anyhow!("`{filter}` is not a log filter: {error}"))?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let result = match settings.log_format.as_deref() {
        None | Some("text") => builder.with_ansi(std::env::var_os("NO_COLOR").is_none()).try_init(),
        Some("json") => builder.json().try_init(),
        Some(other) => anyhow::bail!("log-format is `text` or `json`, not `{other}`"),
    };
    // Another server of the same process, in a test, started it before.
    let _ = result;
    Ok(())
}
