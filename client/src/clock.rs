//! The client's idea of time: where the server's ticks are, which tick the next input is for, and which tick of the
//! others is shown.
//!
//! Everything derives from when snapshots arrive. The *offset* is the least of (arrival - tick * period) over the last
//! seconds: the server's epoch plus the smallest one-way delay, with the jitter taken out.
//!
//! - **Server tick** = (now - offset + half the smallest round trip) / period.
//! - **Input target** = server tick + half a round trip + 1.5 ticks + trim. The trim is learned from the margin that each
//!   snapshot reports (how many ticks ahead of it the newest input was), so that errors of the estimate and a path with
//!   unequal directions cancel out. It follows a quantile: as early as it takes for 92 of 100 margins to be at least 1,
//!   and no earlier, since time in hand is delay to the player. A margin of 0 is still in time, so a lone lost packet
//!   makes no input late; negative margins, which do, raise the trim quickly.
//! - **Input ticks** follow one another and never go back. Their pace follows the target within 3 %. An error above half
//!   a second is not steered but corrected at once: the clock jumps ahead, or waits for the target to catch up.
//! - **Render tick** = (now - offset - 2 ticks - jitter) / period, moving at 0.98 to 1.02 of real time. Two ticks:
//!   one lost snapshot in a row still leaves two states to interpolate between.
//!
//! Times are microseconds as `f64`: only `+ - * /` and comparisons, so equal inputs give equal results everywhere.

use netcode::Time;

/// What the input should have in hand at first, in ticks, before margins tell better: half a tick above a margin of 1.
const SLACK: f64 = 1.5;
/// How much of an error of the input clock one tick corrects, and the most that it may.
const PACE_GAIN: f64 = 0.1;
const PACE_LIMIT: f64 = 0.03;
/// Errors of the input clock above this are corrected at once, in microseconds.
const RESYNC: f64 = 500_000.0;
/// How the trim answers a margin below 1, in ticks: so much, and so much more for each tick that the input was late.
const RAISE: f64 = 0.01;
const RAISE_LATE: f64 = 0.1;
const RAISE_LIMIT: f64 = 0.25;
/// How it answers a margin of 1; the ratio to [`RAISE`] sets the share of margins below 1.
const LOWER: f64 = 0.0008;
/// How it answers each tick of margin above 1.
const LOWER_EARLY: f64 = 0.01;
const LOWER_LIMIT: f64 = 0.05;
/// The trim cannot wind up beyond this, in microseconds.
const TRIM_LIMIT: f64 = 1_000_000.0;
/// A minimum is remembered for one to two of these, in microseconds: long enough to meet a packet without queueing,
/// short enough to follow a clock that drifts by 500 ppm (2.5 ms in that time).
const WINDOW: f64 = 5_000_000.0;
/// The render clock's delay behind the arrivals before jitter, in ticks.
const RENDER_TICKS: f64 = 2.0;
/// How far the render clock may move against real time.
const RENDER_SLEW: f64 = 0.02;

fn micros(time: Time) -> f64 {
    time.as_micros() as f64
}

/// A minimum over the last one to two [`WINDOW`]s.
#[derive(Clone, Copy, Debug)]
struct Floor {
    previous: f64,
    current: f64,
    since: f64,
}

impl Floor {
    const fn new(value: f64, now: f64) -> Self {
        Self { previous: value, current: value, since: now }
    }

    fn push(&mut self, value: f64, now: f64) {
        if now - self.since > WINDOW {
            *self = Self { previous: self.current, current: value, since: now };
        }
        self.current = self.current.min(value);
    }

    const fn get(&self) -> f64 {
        self.previous.min(self.current)
    }
}

/// The next input.
#[derive(Clone, Copy, Debug)]
struct Due {
    tick: u64,
    at: f64,
}

/// What snapshots have taught.
#[derive(Clone, Copy, Debug)]
struct Sync {
    offset: Floor,
    /// How much later than by the offset snapshots arrive: rises quickly, falls slowly.
    jitter: f64,
    /// The render clock's offset.
    render: f64,
    newest: u64,
    next: Due,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    period: f64,
    half_rtt: f64,
    trim: f64,
    sync: Option<Sync>,
    resyncs: u64,
}

impl Clock {
    pub(crate) fn new(rate: u16) -> Self {
        Self { period: 1_000_000.0 / f64::from(rate.max(1)), half_rtt: 0.0, trim: 0.0, sync: None, resyncs: 0 }
    }

    /// The smallest round trip seen, in microseconds.
    pub(crate) fn set_rtt_min(&mut self, rtt_min: u64) {
        self.half_rtt = rtt_min as f64 / 2.0;
    }

    /// A snapshot of that tick arrived. The first one starts the clock.
    pub(crate) fn on_snapshot(&mut self, now: Time, tick: u64, margin: Option<i8>) {
        let (now, period) = (micros(now), self.period);
        let sample = now - tick as f64 * period;
        let Some(sync) = &mut self.sync else {
            return self.start(now, tick, sample);
        };
        sync.offset.push(sample, now);
        let late = sample - sync.offset.get();
        sync.jitter += (late - sync.jitter) / if late > sync.jitter { 8.0 } else { 64.0 };
        let wanted = sync.offset.get() + RENDER_TICKS * period + sync.jitter;
        let limit = RENDER_SLEW * period * tick.saturating_sub(sync.newest) as f64;
        let change = wanted - sync.render;
        sync.render += if change.abs() > RESYNC { change } else { change.clamp(-limit, limit) };
        sync.newest = tick;
        if let Some(margin) = margin {
            self.steer(f64::from(margin));
        }
    }

    fn start(&mut self, now: f64, tick: u64, sample: f64) {
        let offset = Floor::new(sample, now);
        let render = sample + RENDER_TICKS * self.period;
        let next = Due { tick: 0, at: now };
        self.sync = Some(Sync { offset, jitter: 0.0, render, newest: tick, next });
        let first = self.target(now).max(0.0) as u64;
        if let Some(sync) = &mut self.sync {
            sync.next.tick = first;
        }
    }

    fn steer(&mut self, margin: f64) {
        let Some(sync) = &self.sync else { return };
        // While the clock itself still runs after its target, the margin says nothing about the target.
        let error = self.target(sync.next.at) - sync.next.tick as f64;
        if error.abs() > 0.5 {
            return;
        }
        let change = if margin < 1.0 {
            (RAISE - margin * RAISE_LATE).min(RAISE_LIMIT)
        } else {
            -(LOWER + (margin - 1.0) * LOWER_EARLY).min(LOWER_LIMIT)
        };
        let limit = TRIM_LIMIT / self.period;
        self.trim = (self.trim + change).clamp(-limit, limit);
    }

    fn target(&self, now: f64) -> f64 {
        let server = self.server_tick_at(now).unwrap_or(0.0);
        server + self.half_rtt / self.period + SLACK + self.trim
    }

    fn server_tick_at(&self, now: f64) -> Option<f64> {
        let sync = self.sync.as_ref()?;
        Some((now - sync.offset.get() + self.half_rtt) / self.period)
    }

    /// Where the server's tick counter is by now, with the fraction of the tick that has passed.
    pub(crate) fn server_tick(&self, now: Time) -> Option<f64> {
        self.server_tick_at(micros(now))
    }

    /// The tick of the others that should be shown now.
    pub(crate) fn render_tick(&self, now: Time) -> Option<f64> {
        let sync = self.sync.as_ref()?;
        Some((micros(now) - sync.render) / self.period)
    }

    /// How far the render tick lies behind the arrivals, in microseconds.
    pub(crate) fn render_delay(&self) -> f64 {
        self.sync.as_ref().map_or(0.0, |sync| sync.render - sync.offset.get())
    }

    /// How unevenly snapshots arrive, in microseconds.
    pub(crate) fn jitter(&self) -> f64 {
        self.sync.as_ref().map_or(0.0, |sync| sync.jitter)
    }

    /// How often an error was too large to steer.
    pub(crate) const fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// When the next input is due; not before the first snapshot.
    pub(crate) fn next_due(&self) -> Time {
        // Rounded up, so that a timer that fires on time is never early.
        self.sync.as_ref().map_or(Time::NEVER, |sync| Time::from_micros((sync.next.at + 1.0) as u64))
    }

    /// The tick of the input that is due by now, if one is; call until `None`.
    pub(crate) fn take(&mut self, now: Time) -> Option<u64> {
        if now < self.next_due() {
            return None;
        }
        let (now, period) = (micros(now), self.period);
        let Due { mut tick, mut at } = self.sync.as_ref()?.next;
        if (self.target(now) - tick as f64) * period > RESYNC {
            // Far behind (a stall, or the first ticks after one): what was missed is too late anyway.
            tick = self.target(now) as u64;
            at = now;
            self.resyncs += 1;
        }
        let error = self.target(at) - tick as f64;
        let step = if error * period < -RESYNC {
            self.resyncs += 1;
            1.0 - error
        } else {
            1.0 - (error * PACE_GAIN).clamp(-PACE_LIMIT, PACE_LIMIT)
        };
        self.sync.as_mut()?.next = Due { tick: tick + 1, at: at + step * period };
        Some(tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u16 = 20;
    const PERIOD: u64 = 50_000;

    /// A server that steps tick `n` at `n * PERIOD`, and a path to it and back.
    struct Path {
        clock: Clock,
        up: u64,
        down: u64,
        jitter: u64,
        random: netcode::rng::Rng,
        /// Arrival time and tick of what is under way.
        inputs: Vec<(u64, u64)>,
        snapshots: Vec<(u64, u64, Option<i8>)>,
        taken: Vec<u64>,
        margins: Vec<i8>,
        newest: Option<u64>,
    }

    impl Path {
        fn new(up_ms: u64, down_ms: u64, jitter_ms: u64) -> Self {
            let mut clock = Clock::new(RATE);
            clock.set_rtt_min((up_ms + down_ms) * 1000);
            Self {
                clock,
                up: up_ms * 1000,
                down: down_ms * 1000,
                jitter: jitter_ms * 1000,
                random: netcode::rng::Rng::new(7),
                inputs: Vec::new(),
                snapshots: Vec::new(),
                taken: Vec::new(),
                margins: Vec::new(),
                newest: None,
            }
        }

        fn draw(&mut self) -> u64 {
            if self.jitter == 0 { 0 } else { self.random.below(self.jitter) }
        }

        /// Runs from tick to tick in steps of a millisecond; the client's clock starts a minute late.
        fn run(&mut self, ticks: core::ops::Range<u64>) {
            const EPOCH: u64 = 60_000_000;
            for us in (ticks.start * PERIOD..ticks.end * PERIOD).step_by(1000) {
                let arrived: Vec<_> = self.inputs.extract_if(.., |(at, _)| *at <= us).collect();
                self.newest = self.newest.max(arrived.iter().map(|(_, tick)| *tick).max());
                if us % PERIOD == 0 {
                    let tick = us / PERIOD;
                    let margin = self.newest.map(|newest| (newest as i64 - tick as i64).clamp(-128, 127) as i8);
                    let at = us + self.down + self.draw();
                    self.snapshots.push((at, tick, margin));
                    self.margins.extend(margin);
                }
                let now = Time::from_micros(us + EPOCH);
                for (_, tick, margin) in self.snapshots.extract_if(.., |(at, ..)| *at <= us) {
                    self.clock.on_snapshot(now, tick, margin);
                }
                while let Some(tick) = self.clock.take(now) {
                    assert!(self.taken.last().is_none_or(|last| tick > *last), "ticks go up");
                    self.taken.push(tick);
                    let at = us + self.up + self.draw();
                    self.inputs.push((at, tick));
                }
            }
        }

        /// The share of the latest margins that lie within the bounds.
        fn share(&self, last: usize, bounds: core::ops::RangeInclusive<i8>) -> f64 {
            let latest = &self.margins[self.margins.len() - last..];
            latest.iter().filter(|margin| bounds.contains(margin)).count() as f64 / last as f64
        }
    }

    #[test]
    fn a_calm_path_settles_at_a_margin_of_one() {
        for (up, down) in [(0, 0), (25, 25), (80, 20), (20, 120)] {
            let mut path = Path::new(up, down, 0);
            path.run(0..2000);
            assert_eq!(path.share(1000, 0..=1), 1.0, "{up} ms up, {down} ms down: {:?}", &path.margins[1000..]);
            assert!(path.share(1000, 1..=1) > 0.9, "{up} ms up, {down} ms down: {:?}", &path.margins[1000..]);
        }
    }

    #[test]
    fn twenty_milliseconds_of_jitter_leave_the_margin_between_one_and_two() {
        let mut path = Path::new(50, 50, 20);
        path.run(0..2000);
        assert!(path.share(1500, 1..=2) > 0.88, "{:?}", &path.margins[1800..]);
        assert_eq!(path.share(1500, 0..=2), 1.0);
    }

    #[test]
    fn a_path_that_becomes_longer_is_followed() {
        let mut path = Path::new(20, 20, 0);
        path.run(0..300);
        path.up = 100_000;
        path.down = 100_000;
        path.run(300..900);
        assert_eq!(path.share(200, 0..=3), 1.0, "{:?}", &path.margins[600..]);
        assert_eq!(path.clock.resyncs(), 0);
    }

    #[test]
    fn each_tick_is_taken_once_and_in_order_when_calm() {
        let mut path = Path::new(30, 30, 10);
        path.run(0..1000);
        assert!(path.taken.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn a_stall_of_the_caller_jumps_ahead_once() {
        let mut clock = Clock::new(RATE);
        clock.on_snapshot(Time::from_millis(1000), 100, None);
        assert_eq!(clock.take(Time::from_millis(1001)), Some(101));
        let late = Time::from_millis(6000);
        assert_eq!(clock.take(late), Some(201));
        assert_eq!(clock.take(late), None);
        assert_eq!(clock.resyncs(), 1);
    }

    #[test]
    fn a_clock_far_ahead_waits_and_never_goes_back() {
        let mut clock = Clock::new(RATE);
        clock.on_snapshot(Time::from_millis(1000), 1000, None);
        assert_eq!(clock.take(Time::from_millis(1001)), Some(1001));
        // The server was set back: the same arrivals now mean 100 ticks less, once the old minimum is forgotten.
        for i in 0..400u64 {
            clock.on_snapshot(Time::from_millis(1050 + 50 * i), 901 + i, None);
        }
        let now = Time::from_millis(1050 + 50 * 400);
        let mut last = 1001;
        while let Some(tick) = clock.take(now) {
            assert!(tick > last);
            last = tick;
        }
        assert!(last >= 1002);
    }

    #[test]
    fn the_render_tick_lags_two_ticks_and_moves_smoothly() {
        let mut path = Path::new(40, 40, 20);
        path.run(0..400);
        let now = |ms: u64| Time::from_millis(60_000 + 400 * 50 + ms);
        let tick = path.clock.render_tick(now(0)).unwrap();
        // 40 ms of delay, two ticks, and some of the 20 ms of jitter behind the server's tick 400.
        assert!((400.0 - tick - 2.0 - 0.8) > 0.1 && (400.0 - tick - 2.0 - 0.8) < 0.5, "{tick}");
        assert!((path.clock.render_tick(now(50)).unwrap() - tick - 1.0).abs() < 1e-6);
        assert!((path.clock.server_tick(now(0)).unwrap() - 400.0).abs() < 0.1);
    }
}
