//! How much a connection may send: a budget of bytes per tick, not a window.
//!
//! What a game sends is due at its tick or is worthless, so this side keeps a rate that the path carries with short
//! queues and fits its ticks into it. Time goes by in *rounds*: at least a round trip and a half, and only what was
//! sent within a round speaks about it, so that no decision is taken on what the one before it caused. At the end of a
//! round the rate
//! - falls to 85 % when a queue of more than [`MAX_QUEUE_DELAY`] stands on the path and is not already shrinking, or
//!   when significantly more packets are lost than the path loses anyway and 5 % of the rest;
//! - else doubles, until it first fell, and from then on grows by a step that depends on it by its square root at most
//!   (so that flows that share a path converge: Bansal and Balakrishnan's binomial algorithms, INFOCOM 2001); but only
//!   when the budget was really used.
//!
//! The queue is judged by the *smallest* round-trip time of the round against the smallest of the last ten seconds:
//! a queue delays every packet, jitter only some.
//!
//! What the path loses anyway is found by experiment (`loss.rs`): where loss alone makes the rate fall, and is at half the
//! rate still 75 % of what it was, it is taken for the path's own for [`BASELINE_TIME`], and the rate returns to where
//! it was; then half the rate is tried again. No overload of up to [`MAX_BASELINE`] survives a halving. Measured with the
//! emulator, a cap of 1 MB/s and 50 ms there and back: random loss of 5 to 20 % leaves 90 to 99 % of the cap (without the
//! experiment 4 %); a policer is used to 99 % with 4 to 8 % lost, one on a path that loses 20 % besides to 90 %.
//!
//! Its limits: a flow that is small among others in a short buffer sees loss that its own halving does not change, and
//! keeps its rate. Two flows in a buffer too short for a queue to show (20 ms) do not share it fairly, with the experiment
//! or without. Loss of 10 % in bursts looks different in every window, and still leads near the floor; of 3 % it
//! leaves about half of the cap. While a baseline is in force, an overload beside it shows only beyond 5 %.

mod bucket;
mod loss;

use core::time::Duration;

use self::bucket::Bucket;
pub use self::loss::{BASELINE_TIME, MAX_BASELINE, MIN_LOSS_PACKETS, TOLERATED_LOSS};
use self::loss::{Judgement, LossJudge, Standing};
use crate::recovery::Settled;
use crate::time::{Time, micros};

/// A queue that delays by more than this is too long.
pub const MAX_QUEUE_DELAY: Duration = Duration::from_millis(40);
/// The rate does not double while a queue delays by more than this.
pub const FIRST_QUEUE_DELAY: Duration = Duration::from_millis(10);
/// The shortest round.
pub const MIN_ROUND: Duration = Duration::from_millis(100);
/// The fewest round-trip times by which a queue is judged.
const MIN_SAMPLES: u32 = 4;
/// What a round adds at any rate, in bytes per second: one datagram.
const STEP: u64 = 1200;
/// What it adds besides, as a part of the geometric mean of rate and cap.
const STEP_PART: u64 = 192;

/// Between what and what a rate moves. Bytes are those of whole datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateConfig {
    /// Bytes per second at first. Up to here the rate also grows when it is not used.
    pub start: u32,
    /// It never falls below.
    pub floor: u32,
    /// It never grows above.
    pub cap: u32,
    /// The time between two packets that are sent for their own sake.
    pub tick: Duration,
}

impl RateConfig {
    /// For a connection that may send `cap` bytes a second, or what its token says if that is less (0: nothing): at
    /// first half of it, but 256 kB/s at least, and never below 16 kB/s, as far as the cap allows.
    #[must_use]
    pub fn capped(cap: u32, token: u32, tick: Duration) -> Self {
        let cap = if token == 0 { cap } else { cap.min(token) };
        Self { start: cap.min(256_000).max(cap / 2), floor: cap.min(16_000), cap, tick }
    }
}

/// What a round has shown so far.
#[derive(Clone, Copy, Debug)]
struct Round {
    since: Time,
    /// When the first packet of the round was answered.
    answered: Option<Time>,
    /// The smallest round-trip time of its packets, of so many, and the last few of them.
    min_rtt: u64,
    samples: u32,
    newest: [u64; MIN_SAMPLES as usize],
    /// Bytes acknowledged after `answered`.
    acked: u64,
    spent: u64,
    /// The budget ran out at least once.
    exhausted: bool,
}

impl Round {
    const fn new(since: Time) -> Self {
        Self {
            since,
            answered: None,
            min_rtt: u64::MAX,
            samples: 0,
            newest: [0; MIN_SAMPLES as usize],
            acked: 0,
            spent: 0,
            exhausted: false,
        }
    }
}

/// The rate of one direction of one connection.
#[derive(Clone, Debug)]
pub struct RateControl {
    config: RateConfig,
    bucket: Bucket,
    /// The rate has not fallen yet, so it doubles.
    doubling: bool,
    round: Round,
    /// The queue's delay at the end of the last round.
    queue: u64,
    loss: LossJudge,
}

impl RateControl {
    /// A rate at its start; floor and start are cut to the cap.
    #[must_use]
    pub fn new(config: RateConfig) -> Self {
        let (doubling, round, loss) = (true, Round::new(Time::ZERO), LossJudge::default());
        let mut control = Self { config, bucket: Bucket::new(1, config.tick), doubling, round, queue: 0, loss };
        control.bucket = Bucket::new(control.start(), config.tick);
        control
    }

    fn cap(&self) -> u32 {
        self.config.cap.max(1)
    }

    fn floor(&self) -> u32 {
        self.config.floor.clamp(1, self.cap())
    }

    fn start(&self) -> u32 {
        self.config.start.clamp(self.floor(), self.cap())
    }

    /// Bytes per second.
    #[must_use]
    pub const fn rate(&self) -> u32 {
        self.bucket.rate()
    }

    /// Bytes that a tick may send.
    #[must_use]
    pub fn tick_budget(&self) -> usize {
        self.bucket.tick_budget()
    }

    /// Sets the most that the rate may be, in bytes per second.
    pub fn set_cap(&mut self, cap: u32) {
        self.config.cap = cap;
        self.bucket.set_rate_as_it_is(self.rate().clamp(self.floor(), self.cap()));
    }

    /// What is sent now takes another path, of which nothing is known: back to the start, unless the rate is lower.
    pub fn on_path_changed(&mut self, now: Time) {
        self.set_rate(now, self.rate().min(self.start()).into());
        (self.doubling, self.queue) = (true, 0);
        self.loss.forget(now);
        self.round = Round::new(now);
    }

    /// Whether `bytes` may be sent now.
    #[must_use]
    pub fn allows(&self, now: Time, bytes: usize) -> bool {
        self.bucket.allows(now, bytes)
    }

    /// When `bytes` may be sent.
    #[must_use]
    pub fn next_at(&self, now: Time, bytes: usize) -> Time {
        self.bucket.next_at(now, bytes)
    }

    /// Counts bytes that were sent. The tick's packet goes even where the budget has no room: later ones wait for it,
    /// but for no more than four ticks.
    pub fn spend(&mut self, now: Time, bytes: usize) {
        self.round.exhausted |= !self.bucket.spend(now, bytes);
        self.round.spent = self.round.spent.saturating_add(bytes as u64);
    }

    /// Takes the fate of any packet.
    pub fn on_settled(&mut self, now: Time, settled: &Settled) {
        let packet = settled.packet;
        if packet.probe {
            return;
        }
        if settled.sent >= self.round.since && settled.acked {
            // The bytes of the first ack were sent before the measurement begins.
            if now > *self.round.answered.get_or_insert(now) {
                self.round.acked = self.round.acked.saturating_add(u64::from(packet.bytes));
            }
        }
        self.loss.on_settled(now, settled);
    }

    /// So many packets were only late that had been reported as lost.
    pub fn on_spurious(&mut self, packets: u32) {
        self.loss.on_spurious(packets);
    }

    /// Takes a new sample of the round-trip time, and the smallest of the last ten seconds; all in microseconds.
    pub fn on_rtt(&mut self, now: Time, rtt: u64, rtt_min: u64) {
        let sent = now.as_micros().saturating_sub(rtt);
        if sent < self.round.since.as_micros() {
            return;
        }
        if let Some(oldest) = self.round.newest.get_mut((self.round.samples % MIN_SAMPLES) as usize) {
            *oldest = rtt;
        }
        self.round.samples += 1;
        self.round.min_rtt = self.round.min_rtt.min(rtt);
        // The queue's own delay does not lengthen a round: its packets took that long to answer anyway.
        let length = (rtt_min.saturating_mul(3) / 2).max(micros(MIN_ROUND));
        if self.round.samples >= MIN_SAMPLES && now.micros_since(self.round.since) >= length {
            self.end_round(now, rtt_min);
        }
    }

    fn end_round(&mut self, now: Time, rtt_min: u64) {
        // Doubling fills a queue within a round, which only the last packets of the round show.
        let newest = self.round.newest.iter().copied().min().unwrap_or(0);
        let rtt = if self.doubling { newest } else { self.round.min_rtt };
        let queue = rtt.saturating_sub(rtt_min);
        let shrinks = queue < self.queue - self.queue / 16;
        let long = u128::from(queue) > MAX_QUEUE_DELAY.as_micros();
        let (rate, floor, doubling) = (self.rate(), self.floor(), self.doubling);
        match self.loss.judge(now, Standing { rate, floor, doubling, queue: long }) {
            Judgement::Fall { heavy } => self.fall(now, queue, heavy),
            _ if long && !shrinks => self.fall(now, queue, false),
            Judgement::Try(rate) => self.jump(now, rate, false),
            Judgement::Restore { rate, doubling } => self.jump(now, rate.max(self.rate()), doubling),
            Judgement::Fine if u128::from(queue) <= self.longest_queue_to_rise() => self.rise(now),
            Judgement::Fine | Judgement::Wait => {}
        }
        self.queue = queue;
        self.round = Round::new(now);
    }

    const fn longest_queue_to_rise(&self) -> u128 {
        let delay = if self.doubling { FIRST_QUEUE_DELAY } else { MAX_QUEUE_DELAY };
        delay.as_micros()
    }

    fn fall(&mut self, now: Time, queue: u64, heavy: bool) {
        let reduced = u64::from(self.rate()) * 85 / 100;
        let excessive = heavy || u128::from(queue) > 2 * MAX_QUEUE_DELAY.as_micros();
        let rate = if (self.doubling || excessive) && self.is_used(now) {
            // Far above what the path carries; then what arrived shows what that is.
            (self.delivered(now) * 85 / 100).clamp(u64::from(self.rate()) / 4, reduced)
        } else {
            reduced
        };
        self.doubling = false;
        self.set_rate(now, rate);
        self.loss.restart(now);
    }

    /// To a rate that an experiment asks for.
    fn jump(&mut self, now: Time, rate: u32, doubling: bool) {
        self.doubling = doubling;
        self.set_rate(now, rate.into());
        self.loss.restart(now);
    }

    fn rise(&mut self, now: Time) {
        let step = self.step();
        if self.is_used(now) {
            let more = if self.doubling { self.rate() } else { step };
            self.set_rate(now, u64::from(self.rate()) + u64::from(more));
        } else if self.rate() < self.start() {
            self.set_rate(now, u64::from(self.rate().saturating_add(step).min(self.start())));
        }
    }

    /// Less than proportional to the rate, else flows that share a path would keep their ratio; but not the same at
    /// any rate either, for what is little at the cap would flood a path far narrower.
    fn step(&self) -> u32 {
        let mean = (u64::from(self.rate()) * u64::from(self.cap())).isqrt();
        u32::try_from(STEP + mean / STEP_PART).unwrap_or(u32::MAX)
    }

    fn set_rate(&mut self, now: Time, rate: u64) {
        let rate = u32::try_from(rate).unwrap_or(u32::MAX).clamp(self.floor(), self.cap());
        self.bucket.set_rate(now, rate);
    }

    /// Whether the round ran out of budget, and not by one burst alone.
    fn is_used(&self, now: Time) -> bool {
        let allowed = u128::from(self.rate()) * now.saturating_since(self.round.since).as_micros() / 1_000_000;
        self.round.exhausted && u128::from(self.round.spent) * 2 >= allowed
    }

    /// Bytes per second that arrived in this round.
    fn delivered(&self, now: Time) -> u64 {
        let since = self.round.answered.unwrap_or(now);
        let micros = now.saturating_since(since).as_micros() as u64;
        self.round.acked.saturating_mul(1_000_000).checked_div(micros).unwrap_or(u64::from(self.rate()))
    }
}

#[cfg(test)]
mod tests;
