//! Named places where a test may kill the process, and protections that a test may switch off to see itself fail.

#[cfg(debug_assertions)]
use std::sync::{LazyLock, Mutex};

/// Aborts the process when the environment variable `HABEAS_FAULT` names this point: `NAME` at its first passing,
/// `NAME:N` at its N-th. Only debug builds look; in a release build this is nothing.
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// Whether a test has switched off the protection of this name, by [`switch_off`] or, of a process that it starts, by the environment
/// variable `HABEAS_SWITCHED_OFF` (names with commas between them). Only debug builds look; in a release build every protection is on.
pub fn is_switched_off(name: &str) -> bool {
    #[cfg(debug_assertions)]
    return SWITCHED_OFF.lock().is_ok_and(|names| names.iter().any(|other| other == name));
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        false
    }
}

/// Switches protections off, for controls that must fail: the whole process runs without them until the next call.
#[cfg(debug_assertions)]
pub fn switch_off(names: &[&str]) {
    if let Ok(mut switched_off) = SWITCHED_OFF.lock() {
        *switched_off = names.iter().map(|&name| name.to_owned()).collect();
    }
}

#[cfg(debug_assertions)]
static SWITCHED_OFF: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| {
    let names = std::env::var("HABEAS_SWITCHED_OFF").unwrap_or_default();
    Mutex::new(names.split(',').map(str::to_owned).collect())
});

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Fault {
        name: String,
        passings_left: AtomicU64,
    }

    static FAULT: OnceLock<Option<Fault>> = OnceLock::new();

    pub(super) fn pass(name: &str) {
        let fault = FAULT.get_or_init(|| {
            let text = std::env::var("HABEAS_FAULT").ok()?;
            let (name, nth) = match text.rsplit_once(':') {
                Some((name, nth)) => (name.to_owned(), nth.parse().ok()?),
                None => (text, 1),
            };
            Some(Fault { name, passings_left: AtomicU64::new(nth) })
        });
        if let Some(fault) = fault
            && fault.name == name
            && fault.passings_left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            // Like a power cut: no destructor, no flush.
            std::process::abort();
        }
    }
}
