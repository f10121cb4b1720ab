//! The server's clock as the client knows it: requests when to measure, an estimate, and a clock that never jumps.
//!
//! The estimate (see `envelope`) may move with every reply; what [`ServerClock::server_time`] serves follows it at no
//! more than 3 % and never stands still or goes back. No exchange can tell which direction of a path is the slower, so
//! half of the difference of the two delays remains as an error.

mod envelope;

use core::time::Duration;

use self::envelope::{Envelope, Fit, SLOPE_BITS, Sample, drifted};
use crate::time::Time;

/// For so long after the start requests are answered at once, [`MIN_INTERVAL`] apart.
pub const BURST: Duration = Duration::from_millis(1500);
/// The least and the greatest time between two requests.
pub const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// See [`MIN_INTERVAL`].
pub const MAX_INTERVAL: Duration = Duration::from_millis(250);
/// Between them the interval is the clock's age divided by this: while little is known of the drift, what is known of
/// the offset ages as fast as new exchanges come.
const AGE_DIVISOR: u64 = 75;
/// Exchanges that took longer tell nothing.
const MAX_ROUND_TRIP: u64 = 10_000_000;
/// Times beyond this (36,000 years) are no times, and sums of them would overflow.
const MAX_MICROS: u64 = 1 << 60;
/// The served clock takes out an error within this time, if 3 % are enough for it.
const SLEW_MICROS: i64 = 200_000;
/// 3 % in units of 2^-22.
const MAX_SLEW: i64 = (3 << SLOPE_BITS) / 100;
/// So many exchanges in a row, over so long, that are all much slower than the floor are a new, longer path.
const LONGER_COUNT: u32 = 12;
const LONGER_MICROS: i64 = 6_000_000;
/// Changes of the path below this are not looked for.
const LEAST_CHANGE: i64 = 2000;
/// A new path's exchanges are believed when there are so many; until then the old estimate goes on.
const SETTLED: usize = 16;
/// The floor of a path is known after so many.
const FLOOR_KNOWN: usize = 32;

/// What is served: a line with a piece of a steeper or flatter one at its start.
#[derive(Clone, Copy, Debug)]
struct Served {
    at: i64,
    value: i64,
    slope: i64,
    slew: i64,
    slew_micros: i64,
}

impl Served {
    const fn value(&self, now: i64) -> i64 {
        let passed = now.saturating_sub(self.at);
        // Asked about the past it stands still: later questions may already have been answered.
        if passed <= 0 {
            return self.value;
        }
        let slewed = if passed < self.slew_micros { passed } else { self.slew_micros };
        self.value
            .saturating_add(passed)
            .saturating_add(drifted(self.slope, passed))
            .saturating_add(drifted(self.slew, slewed))
    }
}

/// A client's estimate of its server's clock.
#[derive(Debug, Default)]
pub struct ServerClock {
    /// When requests began to be frequent: at the start, and on a new path.
    started: Option<Time>,
    burst_until: Time,
    next_request: Time,
    envelope: Envelope,
    fit: Option<Fit>,
    served: Option<Served>,
    /// Since when, and how many, exchanges have been much slower than the floor.
    longer: Option<(i64, u32)>,
}

impl ServerClock {
    /// A clock that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a request is due, and then whether it wants an answer at once: such a request is worth a packet of its
    /// own at both ends, any other rides in the next packet. The first call starts the clock.
    pub fn poll_request(&mut self, now: Time) -> Option<bool> {
        let started = *self.started.get_or_insert_with(|| {
            self.burst_until = now + BURST;
            now
        });
        if now < self.next_request {
            return None;
        }
        let age = now.saturating_since(started);
        let interval = Duration::from_micros(age.as_micros() as u64 / AGE_DIVISOR);
        self.next_request = now + interval.clamp(MIN_INTERVAL, MAX_INTERVAL);
        Some(now < self.burst_until)
    }

    /// When a request is due that is worth a packet of its own; the others wake nobody up.
    #[must_use]
    pub fn next_time(&self) -> Time {
        if self.started.is_none() || self.next_request < self.burst_until { self.next_request } else { Time::NEVER }
    }

    /// Takes a reply that arrived at `now` to the request that was sent at `sent` (both on the client's clock): the
    /// server received it at `server_received` and held it for `hold` (both on its own clock). Replies that cannot be
    /// are ignored.
    pub fn on_reply(&mut self, now: Time, sent: Time, server_received: Time, hold: Duration) {
        let hold = u64::try_from(hold.as_micros()).unwrap_or(u64::MAX);
        let Some(passed) = now.as_micros().checked_sub(sent.as_micros()) else { return };
        let possible = hold <= passed && passed - hold <= MAX_ROUND_TRIP && hold <= MAX_ROUND_TRIP;
        if !possible || now.as_micros() > MAX_MICROS || server_received.as_micros() > MAX_MICROS {
            return;
        }
        let (sent, received) = (sent.as_micros() as i64, now.as_micros() as i64);
        let server = server_received.as_micros() as i64;
        let sample =
            Sample { up_at: sent, up: server - sent, down_at: received, down: received - (server + hold as i64) };
        self.envelope.push(sample);
        self.watch_path(now, &sample);
        let fit = self.envelope.fit();
        // Right after a change of the path the old estimate is still the better one.
        let is_new = self.fit.is_none_or(|old| old.samples < SETTLED);
        if let Some(fit) = fit.filter(|fit| is_new || fit.samples >= SETTLED) {
            self.fit = Some(fit);
        }
        self.steer(received);
    }

    /// Notices that the path has become longer or shorter: the lines under both would fit neither.
    fn watch_path(&mut self, now: Time, sample: &Sample) {
        let Some(fit) = self.fit.filter(|fit| fit.samples >= FLOOR_KNOWN) else { return };
        let above = sample.round_trip() - fit.floor;
        let since = if above > (fit.spread + fit.spread / 2).max(LEAST_CHANGE) {
            let (since, count) = self.longer.map_or((sample.up_at, 1), |(since, count)| (since, count + 1));
            self.longer = Some((since, count));
            (count >= LONGER_COUNT && sample.up_at - since >= LONGER_MICROS).then_some(since)
        } else {
            self.longer = None;
            (above < -(fit.spread / 2).max(LEAST_CHANGE)).then_some(sample.up_at)
        };
        if let Some(since) = since {
            self.envelope.restart(since, &fit);
            self.longer = None;
            self.started = Some(now);
            self.next_request = now;
        }
    }

    /// Sets the served clock's course towards the estimate.
    fn steer(&mut self, now: i64) {
        let Some(fit) = &self.fit else { return };
        let target = now.saturating_add(fit.offset(now)).max(0);
        let value = self.served.map_or(target, |served| served.value(now));
        let error = target.saturating_sub(value);
        let wanted = (i128::from(error) << SLOPE_BITS) / i128::from(SLEW_MICROS);
        let slew = wanted.clamp(-i128::from(MAX_SLEW), i128::from(MAX_SLEW)) as i64;
        let slew_micros = if slew == 0 { 0 } else { (i128::from(error) << SLOPE_BITS) / i128::from(slew) };
        let slew_micros = i64::try_from(slew_micros).unwrap_or(i64::MAX);
        self.served = Some(Served { at: now, value, slope: fit.slope, slew, slew_micros });
    }

    /// The server's clock when the client's shows `now`; `None` before the first reply. For growing `now` it never
    /// falls, and it goes at 0.97 to 1.03 of the server's own speed.
    #[must_use]
    pub fn server_time(&self, now: Time) -> Option<Time> {
        let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        self.served.map(|served| Time::from_micros(u64::try_from(served.value(now)).unwrap_or(0)))
    }

    /// How far off the estimate is at the most, in about 99 of 100 cases, beside half of the path's asymmetry.
    #[must_use]
    pub fn uncertainty(&self) -> Option<Duration> {
        let fit = self.fit.as_ref()?;
        let micros = if fit.samples < SETTLED { fit.floor / 2 } else { 6 * fit.spread / fit.samples as i64 };
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }

    /// How much faster than the client's the server's clock goes, in parts per million.
    #[must_use]
    pub fn drift_ppm(&self) -> i32 {
        self.fit.map_or(0, |fit| drifted(fit.slope, 1_000_000) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A client and a server with clocks of their own, and the path between them. Times in µs of true time.
    struct World {
        rng: Rng,
        clock: ServerClock,
        client_epoch: u64,
        server_epoch: u64,
        drift_ppm: i64,
        up: u64,
        down: u64,
        jitter: u64,
        loss: f64,
        now: u64,
        /// Arrival, sent, received by the server, hold.
        flying: Vec<(u64, Time, Time, u64)>,
    }

    impl World {
        fn new(seed: u64) -> Self {
            let mut rng = Rng::new(seed).fork("clock");
            let base = 10_000 + rng.below(140_001);
            let asymmetry = rng.below(40_001);
            let (up, down) = if rng.chance(0.5) { (base + asymmetry, base) } else { (base, base + asymmetry) };
            Self {
                clock: ServerClock::new(),
                client_epoch: rng.below(1 << 50),
                server_epoch: rng.below(1 << 50),
                drift_ppm: rng.below(1001) as i64 - 500,
                up,
                down,
                jitter: 20_000,
                loss: 0.05,
                now: 0,
                flying: Vec::new(),
                rng,
            }
        }

        fn local(&self, at: u64) -> Time {
            Time::from_micros(self.client_epoch + at.wrapping_add_signed(at as i64 * self.drift_ppm / 1_000_000))
        }

        fn server(&self, at: u64) -> Time {
            Time::from_micros(self.server_epoch + at)
        }

        fn step(&mut self) {
            self.now += 1000;
            let (now, local) = (self.now, self.local(self.now));
            let (due, flying) = self.flying.drain(..).partition(|(at, ..)| *at <= now);
            self.flying = flying;
            for (at, sent, received, hold) in due {
                self.clock.on_reply(self.local(at), sent, received, Duration::from_micros(hold));
            }
            // A packet of inputs every 50 ms, and one more whenever the clock wants it.
            if now % 50_000 != 0 && self.clock.next_time() > local {
                return;
            }
            if let Some(at_once) = self.clock.poll_request(local) {
                let received = now + self.up + self.rng.below(self.jitter + 1);
                let hold = if at_once { self.rng.below(1000) } else { 50_000 - received % 50_000 };
                let arrives = received + hold + self.down + self.rng.below(self.jitter + 1);
                if !self.rng.chance(self.loss) && !self.rng.chance(self.loss) {
                    self.flying.push((arrives, local, self.server(received), hold));
                }
            }
        }

        fn served(&self) -> Option<Time> {
            self.clock.server_time(self.local(self.now))
        }

        /// Served minus true time, without what asymmetry must make of it, in µs.
        fn error(&self) -> i64 {
            let served = self.served().unwrap().as_micros() as i64;
            served - self.server(self.now).as_micros() as i64 - (self.up as i64 - self.down as i64) / 2
        }
    }

    fn percentile(sorted: &[i64], percent: usize) -> i64 {
        sorted[(sorted.len() - 1) * percent / 100]
    }

    #[test]
    fn explore() {
        let mut at = [2, 3, 5, 8, 12, 20, 30, 60].map(|s| (s, Vec::new()));
        let mut worst = Vec::new();
        let mut covered = 0;
        for seed in 0..1000 {
            let mut world = World::new(seed);
            let mut max = 0;
            while world.now < 62_000_000 {
                world.step();
                if world.now >= 2_000_000 {
                    max = max.max(world.error().abs());
                }
                for (s, errors) in &mut at {
                    if world.now == *s * 1_000_000 {
                        errors.push(world.error().abs());
                    }
                }
            }
            covered += usize::from(world.error().abs() <= world.clock.uncertainty().unwrap().as_micros() as i64);
            worst.push(max);
        }
        for (s, errors) in &mut at {
            errors.sort_unstable();
            println!(
                "{s} s: p50 {} p99 {} max {}",
                percentile(errors, 50),
                percentile(errors, 99),
                errors.last().unwrap()
            );
        }
        worst.sort_unstable();
        let bad = worst.iter().filter(|error| **error > 1000).count();
        println!(
            "worst: p50 {} p99 {} max {} bad {bad} covered {covered}",
            percentile(&worst, 50),
            percentile(&worst, 99),
            worst.last().unwrap()
        );
    }
}
