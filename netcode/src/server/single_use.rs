//! The set of used tokens, shared by a server's workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::token::TokenId;

/// Why a token cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotClaimed {
    /// It was used before.
    Used,
    /// The set is full: it refuses rather than forget, since a forgotten token could be used twice.
    Full,
}

#[derive(Debug, Default)]
struct Inner {
    used: BTreeMap<TokenId, u64>,
    by_expiry: BTreeSet<(u64, TokenId)>,
    /// The latest time at which tokens were forgotten: the wall clock may go back, what was forgotten is not taken again.
    forgotten_ms: u64,
}

/// The used tokens until they expire (rule T-3). Touched once per full handshake, never by data packets.
#[derive(Debug)]
pub struct SingleUse {
    inner: Mutex<Inner>,
    capacity: usize,
}

impl SingleUse {
    /// An empty set that holds at most `capacity` tokens (about 100 bytes each).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { inner: Mutex::default(), capacity }
    }

    /// Claims a token that expires at `expires_ms` (Unix milliseconds, as `now_ms`).
    ///
    /// # Errors
    /// [`NotClaimed`] when it was used before, or when the set is full of unexpired tokens.
    pub fn claim(&self, id: &TokenId, expires_ms: u64, now_ms: u64) -> Result<(), NotClaimed> {
        // A panic elsewhere cannot leave the two maps apart, so a poisoned lock is still good.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forgotten_ms = inner.forgotten_ms.max(now_ms);
        let now_ms = inner.forgotten_ms;
        while let Some((expiry, old)) = inner.by_expiry.first().copied()
            && expiry <= now_ms
        {
            inner.by_expiry.remove(&(expiry, old));
            inner.used.remove(&old);
        }
        if expires_ms <= now_ms || inner.used.contains_key(id) {
            return Err(NotClaimed::Used);
        }
        if inner.used.len() >= self.capacity {
            return Err(NotClaimed::Full);
        }
        inner.used.insert(*id, expires_ms);
        inner.by_expiry.insert((expires_ms, *id));
        Ok(())
    }

    /// How many tokens it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).used.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_claimed_once_until_it_expires() {
        let set = SingleUse::new(10);
        assert_eq!(set.claim(&[1; 16], 100, 0), Ok(()));
        assert_eq!(set.claim(&[1; 16], 100, 99), Err(NotClaimed::Used));
        assert_eq!(set.claim(&[2; 16], 200, 100), Ok(()));
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn a_full_set_refuses_and_forgets_nothing() {
        let set = SingleUse::new(2);
        assert_eq!(set.claim(&[1; 16], 100, 0), Ok(()));
        assert_eq!(set.claim(&[2; 16], 100, 0), Ok(()));
        assert_eq!(set.claim(&[3; 16], 100, 0), Err(NotClaimed::Full));
        assert_eq!(set.claim(&[1; 16], 100, 0), Err(NotClaimed::Used));
        assert_eq!(set.claim(&[3; 16], 200, 100), Ok(()));
    }
}
