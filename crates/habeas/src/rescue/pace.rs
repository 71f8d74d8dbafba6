//! How fast a source is asked, and how long it is left alone.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Waits for a time. Tests pass one that only notes it.
pub type Wait = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// At most so many requests in a second, evenly.
pub struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
    wait: Wait,
}

impl Pace {
    /// `per_second` requests in a second.
    pub fn new(per_second: f64) -> Pace {
        Pace::with_wait(per_second, Arc::new(|time| Box::pin(tokio::time::sleep(time))))
    }

    /// The same, waiting by other means.
    pub fn with_wait(per_second: f64, wait: Wait) -> Pace {
        Pace {
            interval: Duration::from_secs_f64(1.0 / per_second.clamp(0.01, 1_000.0)),
            next: Mutex::new(Instant::now()),
            wait,
        }
    }

    /// Waits until it is time for the next request.
    pub(super) async fn turn(&self) {
        let mut next = self.next.lock().await;
        let early = next.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            (self.wait)(early).await;
        }
        *next = Instant::now() + self.interval;
    }

    /// Leaves the source alone for a time.
    pub(super) async fn pause(&self, time: Duration) {
        (self.wait)(time).await;
    }
}
