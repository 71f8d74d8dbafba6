//! Checks of passwords: which are under way, and which were found right a moment ago.
//!
//! Programs send the same password with every request, many at once, and checking one takes tens of milliseconds on purpose. So a password
//! that was found right is not checked again for a minute, and whoever sends one that is being checked waits for that check.
//!
//! **Invariant:** nobody learns of a password whether it is right without a check that the throttle counted. Whether one is remembered, or under
//! way, is looked at only when the next attempt would be let through, in one step with counting it: a guess that is neither is counted, so that
//! of many at once no more are tried than if nothing was remembered. While a failure is counted at an address, nothing is remembered there.
//!
//! What is remembered is a MAC under a random key of the process, over address, password and the stored hash that it was checked against: of a
//! password that was changed, and of a person who is gone, that hash is not found any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use habeas_core::crypto::{self, SecretKey};
use habeas_core::{Random, Result, Timestamp};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::Throttle;

/// How long a password stays remembered, in microseconds.
const MOMENT: i64 = 60 * 1_000_000;
/// How many are.
const REMEMBERED: usize = 10_000;

/// What a check found: whether the password is right.
pub(crate) type Check = Arc<OnceCell<bool>>;

/// What is to be done with a password.
pub(crate) enum Begun {
    /// Nothing: it was found right a moment ago.
    Right,
    /// To wait for this check, or to do it where nobody does.
    Wait(Check),
}

/// The checks of one process.
pub(crate) struct Checks {
    key: SecretKey,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What was found right at an address, until when.
    right: HashMap<[u8; 32], ([u8; 32], Timestamp)>,
    under_way: HashMap<[u8; 32], Weak<OnceCell<bool>>>,
}

impl Checks {
    pub(crate) fn new(random: &dyn Random) -> Checks {
        Checks { key: SecretKey::random(random), known: Mutex::default() }
    }

    /// What stands for a password at an address (`alias`), as long as `stored` is what is stored there.
    pub(crate) fn mac(&self, alias: &[u8; 32], stored: &str, password: &str) -> [u8; 32] {
        // The stored hash has no zero in it.
        let parts = [&alias[..], stored.as_bytes(), &[0], password.as_bytes()];
        crypto::mac(&self.key, &Zeroizing::new(parts.concat()))
    }

    /// Refuses when it is too early for another attempt at this address; otherwise says what is to be done, and counts an attempt where
    /// that is a new check.
    pub(crate) fn begin(
        &self,
        throttle: &Throttle,
        alias: [u8; 32],
        mac: [u8; 32],
        now: Timestamp,
    ) -> Result<Begun> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = throttle.failures(&alias, now)?;
        if failures == 0
            && known.right.get(&alias).is_some_and(|(right, until)| *right == mac && *until > now)
        {
            return Ok(Begun::Right);
        }
        if let Some(check) = known.under_way.get(&mac).and_then(Weak::upgrade) {
            return Ok(Begun::Wait(check));
        }
        throttle.attempt(alias, now)?;
        // Checks that ended, or that everybody went away from.
        known.under_way.retain(|_, check| check.strong_count() > 0);
        let check = Check::default();
        known.under_way.insert(mac, Arc::downgrade(&check));
        Ok(Begun::Wait(check))
    }

    /// Takes back what was counted at this address, and remembers what was found right there.
    pub(crate) fn succeeded(&self, throttle: &Throttle, alias: [u8; 32], mac: [u8; 32], now: Timestamp) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.succeeded(&alias);
        known.right.retain(|_, (_, until)| *until > now);
        if known.right.len() < REMEMBERED {
            known.right.insert(alias, (mac, Timestamp(now.0 + MOMENT)));
        }
    }
}

#[cfg(test)]
mod tests {
    use habeas_core::SeededRandom;

    use super::*;

    const ADDRESS: [u8; 32] = [1; 32];

    fn is_right(begun: &Result<Begun>) -> bool {
        matches!(begun, Ok(Begun::Right))
    }

    #[test]
    fn one_password_at_once_is_one_attempt_and_then_remembered_for_a_minute() {
        let (checks, throttle) = (Checks::new(&SeededRandom::new(1)), Throttle::default());
        let (mac, now) = (checks.mac(&ADDRESS, "hash", "right"), Timestamp(0));
        let waiting: Vec<_> =
            (0..100).map(|_| checks.begin(&throttle, ADDRESS, mac, now)).collect::<Result<_>>().unwrap();
        assert_eq!(throttle.failures(&ADDRESS, now).unwrap(), 1);
        let all_one = waiting.windows(2).all(|pair| match pair {
            [Begun::Wait(a), Begun::Wait(b)] => Arc::ptr_eq(a, b),
            _ => false,
        });
        assert!(all_one);
        drop(waiting);
        checks.succeeded(&throttle, ADDRESS, mac, now);
        for later in [0, MOMENT - 1] {
            assert!(is_right(&checks.begin(&throttle, ADDRESS, mac, Timestamp(later))));
        }
        // Under another stored hash, at another address, or later it is checked again.
        for other in [checks.mac(&ADDRESS, "new", "right"), checks.mac(&[2; 32], "hash", "right")] {
            assert!(!is_right(&checks.begin(&throttle, ADDRESS, other, now)));
        }
        throttle.succeeded(&ADDRESS);
        assert!(!is_right(&checks.begin(&throttle, ADDRESS, mac, Timestamp(MOMENT))));
    }

    #[test]
    fn guesses_are_no_more_than_without_it_while_the_right_one_is_checked_or_remembered() {
        let mac_of = |checks: &Checks, guess: u32| checks.mac(&ADDRESS, "hash", &guess.to_string());
        let alone = {
            let throttle = Throttle::default();
            (0..1_000).filter(|_| throttle.attempt(ADDRESS, Timestamp(0)).is_ok()).count()
        };
        for is_remembered in [false, true] {
            let (checks, throttle) = (Checks::new(&SeededRandom::new(1)), Throttle::default());
            let (right, now) = (mac_of(&checks, 900), Timestamp(0));
            let owner = checks.begin(&throttle, ADDRESS, right, now);
            if is_remembered {
                checks.succeeded(&throttle, ADDRESS, right, now);
            }
            let mut waiting = Vec::new();
            for guess in 0..1_000 {
                match checks.begin(&throttle, ADDRESS, mac_of(&checks, guess), now) {
                    Ok(Begun::Wait(check)) => waiting.push(check),
                    // The right one is among the last: it waits like any other.
                    Ok(Begun::Right) => panic!("guess {guess} was answered"),
                    Err(error) => assert!(error.retry_after.is_some(), "{error}"),
                }
            }
            assert!(waiting.len() <= alone, "{} of {alone}", waiting.len());
            drop(owner);
        }
    }

    #[test]
    fn a_failure_makes_it_forget_until_the_next_check() {
        let (checks, throttle) = (Checks::new(&SeededRandom::new(1)), Throttle::default());
        let now = Timestamp(0);
        let (right, wrong) = (checks.mac(&ADDRESS, "hash", "right"), checks.mac(&ADDRESS, "hash", "wrong"));
        checks.succeeded(&throttle, ADDRESS, right, now);
        assert!(checks.begin(&throttle, ADDRESS, wrong, now).is_ok());
        assert!(!is_right(&checks.begin(&throttle, ADDRESS, right, now)));
        checks.succeeded(&throttle, ADDRESS, right, now);
        assert!(is_right(&checks.begin(&throttle, ADDRESS, right, now)));
    }
}
