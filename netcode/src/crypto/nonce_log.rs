//! A recorder of nonces for debug builds: shows that no packet number is sealed twice under one key.
//!
//! Off until [`start`] is called, and kept per thread, so that tests that run side by side do not see each other's
//! seals; a simulation that lives in one thread is recorded whole, restarts of its servers included. Keys are told
//! apart by a hash of their bytes, not by where they are kept: a key that comes about twice is one key here.

use core::cell::RefCell;
use std::collections::BTreeMap;

/// Keys that the log tells apart; seals under further keys count as [`Report::unrecorded`].
pub const MAX_KEYS: usize = 1 << 21;

/// 128 bits of the SHA-256 of a key and its nonce base.
pub(super) type Fingerprint = u128;

/// What was sealed on this thread since [`start`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packets sealed and recorded.
    pub seals: u64,
    /// Different keys that they were sealed under.
    pub keys: usize,
    /// Seals whose packet number was not above all earlier ones under the same key: each may be a nonce used twice.
    pub repeats: u64,
    /// Seals that found no room for their key.
    pub unrecorded: u64,
}

#[derive(Default)]
struct Log {
    /// The largest packet number sealed under each key.
    largest: BTreeMap<Fingerprint, u64>,
    report: Report,
}

thread_local! {
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Starts to record on this thread, from nothing.
pub fn start() {
    LOG.with_borrow_mut(|log| *log = Some(Log::default()));
}

/// What was recorded so far; all zero when nothing is being recorded.
#[must_use]
pub fn report() -> Report {
    LOG.with_borrow(|log| log.as_ref().map_or_else(Report::default, |log| log.report))
}

/// Stops to record and gives the memory back.
pub fn stop() {
    LOG.with_borrow_mut(|log| *log = None);
}

pub(super) fn fingerprint(digest: &[u8; 32]) -> Fingerprint {
    digest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

pub(super) fn record(key: Fingerprint, pn: u64) {
    LOG.with_borrow_mut(|log| {
        if let Some(log) = log {
            log.record(key, pn);
        }
    });
}

impl Log {
    fn record(&mut self, key: Fingerprint, pn: u64) {
        if let Some(largest) = self.largest.get_mut(&key) {
            if pn > *largest {
                *largest = pn;
            } else {
                self.report.repeats += 1;
            }
        } else if self.largest.len() < MAX_KEYS {
            self.largest.insert(key, pn);
            self.report.keys = self.largest.len();
        } else {
            self.report.unrecorded += 1;
            return;
        }
        self.report.seals += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Aead, PacketKey, Secret};

    fn key(number: u8) -> PacketKey {
        PacketKey::from_secret(Aead::Aes128Gcm, &Secret::new([number; 32]))
    }

    #[test]
    fn a_planted_repeat_is_found_even_under_a_second_copy_of_the_key() {
        start();
        for pn in [0, 1, 5] {
            key(1).seal(pn, b"", &mut [0; 4]).unwrap();
            key(2).seal(pn, b"", &mut [0; 4]).unwrap();
        }
        assert_eq!(report(), Report { seals: 6, keys: 2, repeats: 0, unrecorded: 0 });
        // The same secret, derived anew as after a restart.
        key(1).seal(5, b"", &mut [0; 4]).unwrap();
        assert_eq!(report(), Report { seals: 7, keys: 2, repeats: 1, unrecorded: 0 });
        key(2).seal(3, b"", &mut [0; 4]).unwrap();
        assert_eq!(report().repeats, 2, "a number below the largest counts, whether it was used or left out");
        stop();
        key(1).seal(5, b"", &mut [0; 4]).unwrap();
        assert_eq!(report(), Report::default());
    }

    #[test]
    fn another_thread_records_for_itself() {
        start();
        key(3).seal(0, b"", &mut [0; 4]).unwrap();
        let elsewhere = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                start();
                key(3).seal(0, b"", &mut [0; 4]).unwrap();
                report()
            });
            other.join().unwrap()
        });
        assert_eq!((elsewhere.repeats, report().repeats, report().seals), (0, 0, 1));
        stop();
    }
}
