//! The pacing: a token bucket with bounded debt.

use core::time::Duration;

use crate::time::{Time, micros};

/// The bucket holds this much at the least: two datagrams of the longest kind.
const MIN_BURST: u64 = 2 * LONGEST;
pub(super) const LONGEST: u64 = 1452;
/// And so much at the most: an ack names 33 packets, so a receiver that takes a whole burst before it answers must not
/// have got more, or the others look lost.
const MAX_BURST: u64 = 24 * LONGEST;
/// One byte. With it, bytes/s times µs needs no division.
const BYTE: i64 = 1_000_000;

/// Bytes that may be sent at once.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// Bytes per second that flow in.
    rate: u32,
    /// Microseconds of a tick.
    tick: u64,
    /// Bytes times [`BYTE`] that it holds when full; follows from the two above.
    full: i64,
    /// Bytes times [`BYTE`] at `filled`; below zero, a debt.
    tokens: i64,
    filled: Time,
}

impl Bucket {
    /// A full bucket; `rate` is not 0.
    pub fn new(rate: u32, tick: Duration) -> Self {
        let full = burst(rate, micros(tick));
        Self { rate, tick: micros(tick), full, tokens: full, filled: Time::ZERO }
    }

    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Bytes that flow in within a tick.
    pub fn tick_budget(&self) -> usize {
        usize::try_from(budget(self.rate, self.tick)).unwrap_or(usize::MAX)
    }

    pub fn allows(&self, now: Time, bytes: usize) -> bool {
        self.tokens_at(now) >= self.price(bytes)
    }

    pub fn next_at(&self, now: Time, bytes: usize) -> Time {
        // It knows nothing of the time before it was last filled.
        let now = now.max(self.filled);
        let missing = self.price(bytes).saturating_sub(self.tokens_at(now)).max(0).unsigned_abs();
        now.plus_micros(missing.div_ceil(u64::from(self.rate)))
    }

    /// Takes bytes out; the debt is four full buckets at the most. Whether a datagram of the longest kind is left.
    pub fn spend(&mut self, now: Time, bytes: usize) -> bool {
        self.fill(now);
        let debt = 4 * self.full;
        let price = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(BYTE);
        self.tokens = self.tokens.saturating_sub(price).max(-debt);
        self.tokens >= LONGEST as i64 * BYTE
    }

    pub fn set_rate(&mut self, now: Time, rate: u32) {
        self.fill(now);
        self.set_rate_as_it_is(rate);
    }

    /// Another rate from the start: what it holds is not counted up to now first.
    pub fn set_rate_as_it_is(&mut self, rate: u32) {
        self.rate = rate;
        self.full = burst(rate, self.tick);
    }

    /// What it holds when full, in bytes.
    #[cfg(test)]
    pub const fn burst_bytes(&self) -> u64 {
        (self.full / BYTE).unsigned_abs()
    }

    fn tokens_at(&self, now: Time) -> i64 {
        let micros = i64::try_from(now.micros_since(self.filled)).unwrap_or(i64::MAX);
        self.tokens.saturating_add(micros.saturating_mul(i64::from(self.rate))).min(self.full)
    }

    fn fill(&mut self, now: Time) {
        self.tokens = self.tokens_at(now);
        self.filled = self.filled.max(now);
    }

    /// A datagram longer than the bucket goes when the bucket is full.
    fn price(&self, bytes: usize) -> i64 {
        i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(BYTE).min(self.full)
    }
}

/// Bytes that flow in within a tick of so many microseconds.
fn budget(rate: u32, tick: u64) -> u64 {
    u64::from(rate).saturating_mul(tick) / 1_000_000
}

/// What a bucket holds when full: a tick's budget, as far as that is neither too little nor too much.
fn burst(rate: u32, tick: u64) -> i64 {
    budget(rate, tick).clamp(MIN_BURST, MAX_BURST) as i64 * BYTE
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    #[test]
    fn the_slowest_of_rates_gets_out_of_its_debt_when_it_says() {
        for rate in [1, 10, 1000] {
            let mut bucket = Bucket::new(rate, TICK);
            bucket.spend(Time::ZERO, 100_000);
            let at = bucket.next_at(Time::ZERO, 1200);
            assert!(at > Time::from_millis(10_000) && bucket.allows(at, 1200), "{rate} bytes a second: {at:?}");
        }
    }

    #[test]
    fn what_is_asked_about_a_time_before_the_rate_changed_may_be_sent_when_the_answer_says_so() {
        let mut bucket = Bucket::new(100_000, TICK);
        bucket.spend(Time::from_millis(10), 10_000);
        bucket.set_rate(Time::from_millis(30), 50_000);
        let at = bucket.next_at(Time::from_millis(10), 1200);
        assert!(at > Time::from_millis(30) && bucket.allows(at, 1200), "{at:?}");
    }
}
