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
pub const BURST: Duration = Duration::from_secs(3);
/// The least and the greatest time between two requests.
pub const MIN_INTERVAL: Duration = Duration::from_millis(15);
/// See [`MIN_INTERVAL`].
pub const MAX_INTERVAL: Duration = Duration::from_millis(250);
/// Between them the interval is the clock's age divided by this: while little is known of the drift, what is known of
/// the offset ages as fast as new exchanges come.
const AGE_DIVISOR: u64 = 200;
/// An estimate that is as good as this needs no packets of its own any more.
const GOOD_ENOUGH: Duration = Duration::from_micros(500);
/// While the estimate is as good as this, requests are as rare as they get.
const CALM: Duration = Duration::from_micros(150);
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
    fn value(&self, now: i64) -> i64 {
        let passed = now.saturating_sub(self.at);
        // Asked about the past it stands still: later questions may already have been answered.
        if passed <= 0 {
            return self.value;
        }
        let slewed = if passed < self.slew_micros { passed } else { self.slew_micros };
        // Rounded once, so that it never falls: two parts rounded down could lose more than the microsecond passed.
        let extra = i128::from(self.slope) * i128::from(passed) + i128::from(self.slew) * i128::from(slewed);
        self.value.saturating_add(passed).saturating_add((extra >> SLOPE_BITS) as i64)
    }
}

/// A run of exchanges that were all much slower than the floor.
#[derive(Clone, Copy, Debug)]
struct Longer {
    since: i64,
    count: u32,
    /// What counts as much slower; set when the run begins, since the run itself moves the mean.
    limit: i64,
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
    longer: Option<Longer>,
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
        // Where paths are calm, little is left to be learned soon.
        let least = if self.uncertainty().is_some_and(|bound| bound <= CALM) { MAX_INTERVAL } else { MIN_INTERVAL };
        self.next_request = now + interval.clamp(least, MAX_INTERVAL);
        Some(self.is_eager(now))
    }

    /// Whether requests are worth packets of their own: at first, and while the estimate is not good yet. On a calm path
    /// that is over after a few, so that a crowd that joins at once does not cost the server two hundred answers each.
    fn is_eager(&self, now: Time) -> bool {
        now < self.burst_until && self.uncertainty().is_none_or(|bound| bound > GOOD_ENOUGH)
    }

    /// When a request is due that is worth a packet of its own; the others wake nobody up.
    #[must_use]
    pub fn next_time(&self) -> Time {
        if self.started.is_none() || self.is_eager(self.next_request) { self.next_request } else { Time::NEVER }
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
        if !self.envelope.push(sample) {
            return;
        }
        self.watch_path(now, &sample);
        let fit = self.envelope.fit();
        // Right after a change of the path the old estimate is still the better one.
        let is_new = self.fit.is_none_or(|old| old.samples < SETTLED);
        if let Some(fit) = fit.filter(|fit| is_new || fit.samples >= SETTLED) {
            self.fit = Some(fit);
        }
        self.steer(received);
    }

    /// Notices that the path has become longer or shorter: lines under both the old and the new would fit neither.
    fn watch_path(&mut self, now: Time, sample: &Sample) {
        // A path is compared with itself only: while a new one settles, the fit is still the old one's.
        let known = self.envelope.len() >= FLOOR_KNOWN;
        let Some(fit) = self.fit.filter(|fit| known && fit.samples >= FLOOR_KNOWN) else { return };
        let above = sample.round_trip() - fit.floor;
        let limit = self.longer.map_or((fit.spread + fit.spread / 2).max(LEAST_CHANGE), |run| run.limit);
        let since = if above > limit {
            let run = self.longer.get_or_insert(Longer { since: sample.up_at, count: 0, limit });
            run.count += 1;
            // The first half of the run may have begun on the old path, by chance.
            let passed = sample.up_at - run.since;
            (run.count >= LONGER_COUNT && passed >= LONGER_MICROS).then_some(run.since + passed / 2)
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
        // A caller whose time went back does not make the clock repeat itself.
        let now = self.served.map_or(now, |served| served.at.max(now));
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
        let micros =
            if fit.samples < SETTLED { fit.floor / 2 } else { fit.spread.saturating_mul(10) / fit.samples as i64 };
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

    #[test]
    fn a_server_whose_answers_are_years_apart_is_believed_once() {
        for wild in [0, 20_000_000, 1 << 40, 1 << 60] {
            let mut clock = ServerClock::new();
            let mut reply = |now: u64, server: u64| {
                clock.on_reply(
                    Time::from_micros(now),
                    Time::from_micros(now),
                    Time::from_micros(server),
                    Duration::ZERO,
                );
            };
            for at in 0..200 {
                reply(at * 20_000, 1 << 50);
                reply(at * 20_000, wild);
            }
            let told = clock.server_time(Time::from_millis(4000)).map_or(0, Time::as_micros);
            assert!(told.abs_diff(1 << 50) < 5_000_000, "{told}");
        }
    }
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
            if !now.is_multiple_of(50_000) && self.clock.next_time() > local {
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

    const SEEDS: u64 = 1000;

    /// At 20 packets a second, with 20 ms of jitter either way, 5 % loss and clocks up to 500 ppm apart.
    #[test]
    fn after_two_seconds_99_of_100_clocks_are_right_to_a_millisecond_at_any_time() {
        let mut wrong = vec![0; 600];
        let (mut right_always, mut covered) = (0, 0);
        for seed in 0..SEEDS {
            let mut world = World::new(seed);
            let mut worst = 0;
            let mut before: Option<(Time, Time)> = None;
            while world.now < 62_000_000 {
                world.step();
                let (local, served) = (world.local(world.now), world.served());
                if let (Some((local_before, served_before)), Some(served)) = (before, served) {
                    assert!(served >= served_before, "seed {seed}: back at {local}");
                    let passed = local.saturating_since(local_before).as_micros() as i64;
                    let shown = served.saturating_since(served_before).as_micros() as i64;
                    // 3 %, the drift, and rounding.
                    assert!((shown - passed).abs() <= passed * 31 / 1000 + 2, "seed {seed}: {shown} for {passed}");
                }
                before = served.map(|served| (local, served));
                if world.now > 2_000_000 && world.now.is_multiple_of(100_000) {
                    let error = world.error().abs();
                    wrong[(world.now / 100_000 - 21) as usize] += u32::from(error > 1000);
                    worst = worst.max(error);
                }
            }
            right_always += u64::from(worst <= 1000);
            covered += u64::from(world.error().unsigned_abs() <= world.clock.uncertainty().unwrap().as_micros() as u64);
            assert!((i64::from(world.clock.drift_ppm()) + world.drift_ppm).abs() <= 60, "seed {seed}");
        }
        assert!(wrong.iter().all(|wrong| *wrong * 100 <= SEEDS as u32), "{wrong:?}");
        assert!(right_always >= SEEDS * 94 / 100, "{right_always} were right for the whole minute");
        assert!(covered >= SEEDS * 98 / 100, "{covered} knew how wrong they were");
    }

    #[test]
    fn a_change_of_the_path_is_followed_within_15_seconds() {
        // Both ways longer, one way longer, both shorter: what each direction gets and loses.
        for (up, down) in [(80_000, 80_000), (80_000, 0), (0, 80_000), (-80_000, -80_000), (-40_000, 0)] {
            let mut right = 0;
            for seed in 0..50 {
                let mut world = World::new(seed);
                (world.up, world.down) = (world.up + 80_000, world.down + 80_000);
                while world.now < 30_000_000 {
                    world.step();
                }
                world.up = world.up.wrapping_add_signed(up);
                world.down = world.down.wrapping_add_signed(down);
                let mut worst = 0;
                while world.now < 75_000_000 {
                    world.step();
                    if world.now > 45_000_000 {
                        worst = worst.max(world.error().abs());
                    }
                }
                right += u32::from(worst <= 1500);
            }
            assert!(right >= 48, "{right} of 50 followed a change of {up} and {down}");
        }
    }

    #[test]
    fn requests_are_frequent_at_first_and_then_ride_along() {
        let mut clock = ServerClock::new();
        let (mut at_once, mut riding) = (0, 0);
        for ms in 0..120_000 {
            match clock.poll_request(Time::from_millis(7 + ms)) {
                Some(true) => at_once += 1,
                Some(false) if ms >= 60_000 => riding += 1,
                _ => {}
            }
            assert_eq!(clock.next_time() == Time::NEVER, ms >= 2985, "{ms}");
        }
        assert_eq!((at_once, riding), (200, 240));
    }

    #[test]
    fn replies_of_a_liar_break_nothing_and_never_turn_the_clock_back() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let (mut clock, mut now, mut before) = (ServerClock::new(), rng.below(1 << 50), Time::ZERO);
            for _ in 0..200 {
                now += rng.next_u64() >> (38 + rng.below(26));
                let edge = |rng: &mut Rng| match rng.below(6) {
                    0 => u64::MAX - rng.below(3),
                    1 => MAX_MICROS - 1 + rng.below(3),
                    2 => rng.below(3),
                    3 => now.saturating_sub(rng.below(20_000_000)),
                    4 => now + rng.below(1000),
                    _ => rng.next_u64() >> rng.below(64),
                };
                let sent =
                    Time::from_micros(if rng.chance(0.7) { now - rng.below(now.min(200_000)) } else { edge(&mut rng) });
                let (received, hold) =
                    (Time::from_micros(edge(&mut rng)), Duration::from_micros(rng.next_u64() >> (32 + rng.below(32))));
                clock.on_reply(Time::from_micros(now), sent, received, hold);
                if let Some(served) = clock.server_time(Time::from_micros(now)) {
                    assert!(served >= before);
                    before = served;
                    assert!(clock.uncertainty().is_some());
                    assert!(clock.drift_ppm().abs() <= 620);
                }
            }
            assert!(clock.server_time(Time::NEVER).is_none_or(|served| served >= before));
        }
    }

    #[test]
    fn nothing_is_served_before_the_first_reply() {
        let mut clock = ServerClock::new();
        assert_eq!((clock.next_time(), clock.poll_request(Time::from_millis(5))), (Time::ZERO, Some(true)));
        assert_eq!((clock.server_time(Time::from_millis(6)), clock.uncertainty()), (None, None));
        clock.on_reply(Time::from_millis(25), Time::from_millis(5), Time::from_millis(1010), Duration::from_millis(4));
        assert_eq!(clock.server_time(Time::from_millis(25)), Some(Time::from_millis(1022)));
    }
}
