//! The pacing: a token bucket with bounded debt.

use core::time::Duration;

use crate::time::Time;

/// The bucket holds this much at the least: two datagrams of the longest kind.
const MIN_BURST: u64 = 2 * LONGEST;
pub(super) const LONGEST: u64 = 1452;
/// One byte. With it, bytes/s times µs needs no division.
const BYTE: i64 = 1_000_000;

/// Bytes that may be sent at once.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// Bytes per second that flow in.
    pub rate: u32,
    tick: Duration,
    /// Bytes times [`BYTE`] at `filled`; below zero, a debt.
    tokens: i64,
    filled: Time,
}

impl Bucket {
    /// A full bucket; `rate` is not 0.
    pub fn new(rate: u32, tick: Duration) -> Self {
        let mut bucket = Self { rate, tick, tokens: 0, filled: Time::ZERO };
        bucket.tokens = bucket.burst();
        bucket
    }

    /// Bytes that flow in within a tick.
    pub fn tick_budget(&self) -> usize {
        let bytes = u128::from(self.rate) * self.tick.as_micros() / 1_000_000;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    pub fn allows(&self, now: Time, bytes: usize) -> bool {
        self.tokens_at(now) >= self.price(bytes)
    }

    pub fn next_at(&self, now: Time, bytes: usize) -> Time {
        let missing = self.price(bytes).saturating_sub(self.tokens_at(now)).max(0).unsigned_abs();
        // What is missing was counted when the bucket was last filled, if that is later.
        now.max(self.filled) + Duration::from_micros(missing.div_ceil(u64::from(self.rate)))
    }

    /// Takes bytes out; the debt is four full buckets at the most. Whether a datagram of the longest kind is left.
    pub fn spend(&mut self, now: Time, bytes: usize) -> bool {
        self.fill(now);
        let debt = 4 * self.burst();
        let price = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(BYTE);
        self.tokens = self.tokens.saturating_sub(price).max(-debt);
        self.tokens >= LONGEST as i64 * BYTE
    }

    pub fn set_rate(&mut self, now: Time, rate: u32) {
        self.fill(now);
        self.rate = rate;
    }

    /// What it holds when full, in bytes: a tick's budget.
    pub fn burst_bytes(&self) -> u64 {
        (self.tick_budget() as u64).clamp(MIN_BURST, u64::from(u32::MAX))
    }

    fn burst(&self) -> i64 {
        self.burst_bytes() as i64 * BYTE
    }

    fn tokens_at(&self, now: Time) -> i64 {
        // More than two seconds fill any bucket out of any debt that is worth counting.
        let micros = now.saturating_since(self.filled).as_micros().min(2_000_000) as i64;
        (self.tokens + micros * i64::from(self.rate)).min(self.burst())
    }

    fn fill(&mut self, now: Time) {
        self.tokens = self.tokens_at(now);
        self.filled = self.filled.max(now);
    }

    /// A datagram longer than the bucket goes when the bucket is full.
    fn price(&self, bytes: usize) -> i64 {
        i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(BYTE).min(self.burst())
    }
}
