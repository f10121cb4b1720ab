//! A limit of bytes a second on what a peer sends.

use crate::time::Time;

const SECOND: u64 = 1_000_000;

/// Lets through a number of bytes a second, with a second's worth to spare (a token bucket).
#[derive(Clone, Copy, Debug)]
pub struct Policer {
    bytes_per_s: u64,
    /// Millionths of a byte that may still pass.
    tokens: u64,
    at: Time,
}

impl Policer {
    /// A policer whose spare second is full.
    #[must_use]
    pub fn new(bytes_per_s: u32, now: Time) -> Self {
        let bytes_per_s = u64::from(bytes_per_s);
        Self { bytes_per_s, tokens: bytes_per_s * SECOND, at: now }
    }

    /// Whether so many bytes may pass; if so they are counted.
    pub fn takes(&mut self, now: Time, bytes: usize) -> bool {
        let elapsed = (now.saturating_since(self.at).as_micros() as u64).min(SECOND);
        self.at = self.at.max(now);
        self.tokens = (self.tokens + elapsed * self.bytes_per_s).min(self.bytes_per_s * SECOND);
        let wanted = bytes as u64 * SECOND;
        let takes = wanted <= self.tokens;
        if takes {
            self.tokens -= wanted;
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_to_spare_and_no_more() {
        let mut policer = Policer::new(1000, Time::ZERO);
        let passed = (0..50).filter(|_| policer.takes(Time::ZERO, 100)).count();
        assert_eq!(passed, 10);
        let passed = (0..1000).filter(|i| policer.takes(Time::from_millis(10 * i), 100)).count();
        assert!((98..=100).contains(&passed), "{passed} in ten seconds");
        // Much later there is one second's worth again, not ten.
        assert_eq!((0..50).filter(|_| policer.takes(Time::from_millis(60_000), 100)).count(), 10);
    }
}
