//! Bytes a second, measured and limited.

use core::time::Duration;

use crate::time::Time;

const SECOND: u64 = 1_000_000;

/// Measures bytes a second over about the last second: what the second before had, fading out, and what the present
/// one has so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    since: Time,
    current: u64,
    previous: u64,
}

impl Meter {
    /// Counts bytes.
    pub fn add(&mut self, now: Time, bytes: usize) {
        self.turn(now);
        self.current = self.current.saturating_add(bytes as u64);
    }

    /// Bytes a second by now.
    #[must_use]
    pub fn per_second(&self, now: Time) -> u64 {
        let mut meter = *self;
        meter.turn(now);
        let elapsed = now.saturating_since(meter.since).as_micros() as u64;
        meter.current + meter.previous * (SECOND - elapsed.min(SECOND)) / SECOND
    }

    fn turn(&mut self, now: Time) {
        let seconds = now.saturating_since(self.since).as_micros() as u64 / SECOND;
        if seconds > 0 {
            self.previous = if seconds == 1 { self.current } else { 0 };
            self.current = 0;
            self.since = self.since + Duration::from_secs(seconds);
        }
    }
}

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
    fn a_steady_stream_is_measured_right_and_silence_is_zero() {
        let mut meter = Meter::default();
        for tick in 0..100 {
            meter.add(Time::from_millis(50 * tick), 100);
        }
        let rate = meter.per_second(Time::from_millis(5000));
        assert!((1900..=2100).contains(&rate), "{rate}");
        assert_eq!(meter.per_second(Time::from_millis(9000)), 0);
    }

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
