//! Slowing down guesses.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use habeas_core::{Error, Result, Timestamp};

/// Failures that cost nothing.
const FREE: u32 = 5;
/// The longest wait, in seconds.
const LONGEST: i64 = 900;
/// How many names are remembered; beyond that the oldest are forgotten.
const REMEMBERED: usize = 10_000;

/// Counts failed attempts by a MAC of what was attempted; after a few, each next one has to wait twice as long.
#[derive(Debug, Default)]
pub struct Throttle {
    failures: Mutex<HashMap<[u8; 32], Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    next_at: Timestamp,
}

impl Failures {
    /// Refuses when it is too early for another attempt.
    fn wait(self, now: Timestamp) -> Result<()> {
        if self.next_at > now {
            return Err(busy((self.next_at.0 - now.0).div_euclid(1_000_000) + 1));
        }
        Ok(())
    }
}

impl Throttle {
    /// Refuses when it is too early for another attempt at `what`; otherwise counts one, which [`Throttle::succeeded`]
    /// takes back. Counted before the attempt, so that many at once are not all free.
    pub fn attempt(&self, what: [u8; 32], now: Timestamp) -> Result<()> {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED && !all.contains_key(&what) {
            all.retain(|_, failures| failures.next_at > now);
            if all.len() >= REMEMBERED {
                return Err(busy(LONGEST));
            }
        }
        let failures = all.entry(what).or_insert(Failures { count: 0, next_at: now });
        failures.wait(now)?;
        failures.count = failures.count.saturating_add(1);
        if failures.count >= FREE {
            let seconds = (1_i64 << (failures.count - FREE).min(20)).min(LONGEST);
            failures.next_at = Timestamp(now.0 + seconds * 1_000_000);
        }
        Ok(())
    }

    /// How many attempts at `what` have failed, or are under way; refuses when it is too early for another.
    pub fn failures(&self, what: &[u8; 32], now: Timestamp) -> Result<u32> {
        let all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(what) {
            Some(failures) => failures.wait(now).map(|()| failures.count),
            None => Ok(0),
        }
    }

    /// Forgets the failures at `what`.
    pub fn succeeded(&self, what: &[u8; 32]) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }
}

fn busy(seconds: i64) -> Error {
    let error = Error::busy("too many failed attempts").hint(format!("try again in {seconds} seconds"));
    Error { retry_after: u16::try_from(seconds).ok(), ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_success_ends_it() {
        let throttle = Throttle::default();
        let mut now = Timestamp(0);
        for _ in 0..FREE {
            throttle.attempt([1; 32], now).unwrap();
        }
        let error = throttle.attempt([1; 32], now).unwrap_err();
        assert_eq!(error.retry_after, Some(2));
        assert!(throttle.failures(&[1; 32], now).is_err());
        throttle.attempt([2; 32], now).unwrap();
        assert_eq!(throttle.failures(&[2; 32], now).unwrap(), 1);
        now.0 += 1_000_000;
        throttle.attempt([1; 32], now).unwrap();
        now.0 += 1_000_000;
        assert!(throttle.attempt([1; 32], now).is_err(), "the second wait is longer");
        throttle.succeeded(&[1; 32]);
        throttle.attempt([1; 32], now).unwrap();
    }
}
