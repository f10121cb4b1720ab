//! The replay window: which of the last 1024 packet numbers have been received.

use bitvec::prelude::{BitArr, Lsb0, bitarr};

/// How many packet numbers the window remembers.
pub const WINDOW: u64 = 1024;
/// Words of the ring.
const WORDS: usize = (WINDOW / 64) as usize;

/// Why a packet number is refused before any decryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Received before.
    Duplicate,
    /// Too far behind the newest to tell.
    TooOld,
}

/// A sliding window of received packet numbers (RFC 6479's ring of bits).
///
/// [`check`](Self::check) runs before the AEAD and changes nothing; [`commit`](Self::commit) runs after it.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// Bit `pn % 1024`; valid for `largest - 1023 ..= largest`.
    bits: BitArr!(for 1024, in u64, Lsb0),
    /// One past the largest number received: 0 while none is.
    next: u64,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { bits: bitarr![u64, Lsb0; 0; 1024], next: 0 }
    }
}

impl ReplayWindow {
    /// The largest number received.
    #[must_use]
    pub const fn largest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Whether `pn` could still be new.
    ///
    /// # Errors
    /// The reason why it is not.
    pub fn check(&self, pn: u64) -> Result<(), Replayed> {
        if pn >= self.next {
            return Ok(());
        }
        // `pn < next` here, so neither subtraction can wrap.
        if self.next - 1 - pn >= WINDOW {
            return Err(Replayed::TooOld);
        }
        if self.contains(pn) { Err(Replayed::Duplicate) } else { Ok(()) }
    }

    /// Records `pn`, which passed [`check`](Self::check) and whose packet was authentic.
    pub fn commit(&mut self, pn: u64) {
        debug_assert!(self.check(pn).is_ok());
        if pn >= self.next {
            let skipped = pn - self.next;
            if skipped >= WINDOW {
                self.bits.fill(false);
            } else {
                for missed in self.next..pn {
                    self.bits.set(index(missed), false);
                }
            }
            self.next = pn.saturating_add(1);
        }
        self.bits.set(index(pn), true);
    }

    /// The 32 numbers below the largest as a mask (bit 0 is `largest - 1`). Numbers below zero count as
    /// received, so that a connection's first packets, too, have the common mask of all ones.
    #[must_use]
    pub fn mask32(&self) -> u32 {
        let Some(largest) = self.largest() else { return u32::MAX };
        // The 32 bits that end right below the largest, the newest on top: it may be in two words of the ring.
        let start = index(largest.wrapping_sub(32));
        let words = self.bits.as_raw_slice();
        let word = |at: usize| words.get(at % WORDS).copied().unwrap_or(0);
        let (at, shift) = (start / 64, start % 64);
        let both = u128::from(word(at)) | u128::from(word(at + 1)) << 64;
        let received = ((both >> shift) as u32).reverse_bits();
        let below_zero = u32::MAX.checked_shl(u32::try_from(largest).unwrap_or(u32::MAX)).unwrap_or(0);
        received | below_zero
    }

    fn contains(&self, pn: u64) -> bool {
        self.bits.get(index(pn)).is_some_and(|bit| *bit)
    }
}

const fn index(pn: u64) -> usize {
    (pn % WINDOW) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_accepted_twice_around_the_extremes() {
        for start in [0, u64::from(u32::MAX), 1 << 63, u64::MAX - 1 - WINDOW] {
            let mut window = ReplayWindow::default();
            window.commit(start);
            assert_eq!(window.check(start), Err(Replayed::Duplicate));
            window.commit(start + WINDOW);
            assert_eq!(window.check(start), Err(Replayed::TooOld));
            assert_eq!(window.check(start + 1), Ok(()));
        }
    }

    #[test]
    fn the_mask_of_a_fresh_connection_is_full() {
        let mut window = ReplayWindow::default();
        window.commit(0);
        assert_eq!(window.mask32(), u32::MAX);
        window.commit(2);
        assert_eq!(window.mask32(), u32::MAX - 1);
    }

    proptest! {
        /// Against the obvious model: a set of numbers and a maximum.
        #[test]
        fn agrees_with_a_plain_set(numbers in prop::collection::vec(0u64..5000, 1..400)) {
            let mut window = ReplayWindow::default();
            let mut seen = std::collections::BTreeSet::new();
            for pn in numbers {
                let max = seen.last().copied();
                let expected = match max {
                    Some(max) if pn + WINDOW <= max => Err(Replayed::TooOld),
                    _ if seen.contains(&pn) => Err(Replayed::Duplicate),
                    _ => Ok(()),
                };
                prop_assert_eq!(window.check(pn), expected);
                if expected.is_ok() {
                    window.commit(pn);
                    seen.insert(pn);
                }
                let largest = seen.last().copied().unwrap_or(0);
                let received = |back: u64| largest.checked_sub(back).is_none_or(|pn| seen.contains(&pn));
                let mask = (1..=32).fold(0, |mask, back| mask | u32::from(received(back)) << (back - 1));
                prop_assert_eq!(window.mask32(), mask);
            }
        }
    }
}
