//! The client's idea of time: where the server's ticks are, which tick the next input is for, and which tick of the
//! others is shown.
//!
//! Everything derives from when packets arrive, here and there. The *offset* is the least of (arrival - tick * period)
//! over the last seconds: the server's epoch plus the smallest delay of a snapshot, with the jitter taken out.
//!
//! - **Server tick** = (now - offset + half the smallest round trip) / period.
//! - **Input target** = the tick that an input which leaves now is in time for, whatever becomes of it on its way but one
//!   time in a million: (now + lead) / period, see [`mod@upstream`]. On a clean path that is about a tick in hand.
//! - **Input ticks** follow one another and never go back. Their pace follows the target within 3 %. An error above half
//!   a second is not steered but corrected at once: the clock jumps ahead, or waits for the target to catch up.
//! - **Left-out ticks**: a caller who comes so late that more than an eighth of a second is to be made up gets the newest
//!   ticks of it and none before, whose inputs would be late anyway: the player's clock goes slower than real time, and
//!   a slow frame does not make the next one slower.
//! - **Render tick** = (now - offset - 1 tick - jitter) / period, moving at 0.98 to 1.02 of real time. One tick: two states
//!   to interpolate between. The jitter is the third greatest of the last 64 snapshots. A snapshot that is lost is bridged
//!   by the courses, which is exact for all who went on as they did; where more than 5 % are lost, up to a tick is added.
//!
//! A server that cannot keep up stretches its ticks and says so ([`mod@timeline`]); where it says "tick * period" above, it
//! is the sum of what all ticks before took.
//!
//! Times are microseconds as `f64`: only `+ - * /` and comparisons, so equal inputs give equal results everywhere.

mod timeline;
mod upstream;
mod window;

use core::time::Duration;

use netcode::Time;
use netcode::connection::AckTiming;

use self::timeline::Timeline;
use self::upstream::Upstream;
use self::window::Window;

/// How much of an error of the input clock one tick corrects, and the most that it may.
const PACE_GAIN: f64 = 0.1;
const PACE_LIMIT: f64 = 0.03;
/// Errors of the input clock above this are corrected at once, in microseconds.
const RESYNC: f64 = 500_000.0;
/// The most ticks that are made up at once: an eighth of a second, but at least two.
const MAKE_UP_HZ: u16 = 8;
const LEAST_MADE_UP: u64 = 2;
/// A minimum is remembered for one to two of these, in microseconds: long enough to meet a packet without queueing,
/// short enough to follow a clock that drifts by 500 ppm (2.5 ms in that time).
const WINDOW: f64 = 5_000_000.0;
/// The render clock's delay behind the arrivals before jitter, in ticks; and with a share of snapshots lost that is above
/// the first of these so much more for each that is, but no more than a tick.
const RENDER_TICKS: f64 = 1.0;
const LOSS_BRIDGED: f64 = 0.05;
const RENDER_TICKS_PER_LOSS: f64 = 10.0;
/// How many snapshots the share of lost ones looks back on, and the longest gap that counts.
const LOSS_MEMORY: f64 = 256.0;
const LONGEST_GAP: u64 = 16;
/// The jitter of snapshots is that of the one of this rank among the latest.
const JITTER_RANK: usize = 2;
/// How far the render clock may move against real time.
const RENDER_SLEW: f64 = 0.02;

fn micros(time: Time) -> f64 {
    time.as_micros() as f64
}

fn micros_of(duration: Duration) -> f64 {
    duration.as_micros() as f64
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
    /// How long the tick before it takes by the client's clock.
    step: f64,
    /// The packet of the tick before is to be sent again then.
    again_at: Option<f64>,
}

/// What snapshots have taught.
#[derive(Clone, Copy, Debug)]
struct Sync {
    offset: Floor,
    /// (arrival - tick * period) of the latest.
    arrivals: Window,
    /// The share of snapshots that did not arrive.
    missing: f64,
    /// The render clock's offset.
    render: f64,
    newest: u64,
    next: Due,
}

impl Sync {
    /// How much later than the earliest snapshots arrive, but for the odd one, in microseconds.
    fn jitter(&self) -> f64 {
        self.arrivals.high(JITTER_RANK).map_or(0.0, |late| (late - self.offset.get()).max(0.0))
    }

    fn count_missing(&mut self, tick: u64) {
        let gap = tick.saturating_sub(self.newest).clamp(1, LONGEST_GAP);
        for lost in (0..gap).map(|back| f64::from(u8::from(back > 0))) {
            self.missing += (lost - self.missing) / LOSS_MEMORY;
        }
    }

    fn render_ticks(&self) -> f64 {
        RENDER_TICKS + ((self.missing - LOSS_BRIDGED) * RENDER_TICKS_PER_LOSS).clamp(0.0, 1.0)
    }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    period: f64,
    timeline: Timeline,
    make_up: u64,
    half_rtt: f64,
    upstream: Upstream,
    sync: Option<Sync>,
    /// When the caller last came to an input that was due.
    called_at: f64,
    resyncs: u64,
    left_out: u64,
}

impl Clock {
    pub(crate) fn new(rate: u16) -> Self {
        let period = 1_000_000.0 / f64::from(rate.max(1));
        Self {
            period,
            timeline: Timeline::new(period),
            make_up: u64::from(rate / MAKE_UP_HZ).max(LEAST_MADE_UP),
            half_rtt: 0.0,
            upstream: Upstream::new(period, rate),
            sync: None,
            called_at: 0.0,
            resyncs: 0,
            left_out: 0,
        }
    }

    /// From that tick on each takes that many percent of its time.
    pub(crate) fn set_pace(&mut self, tick: u64, percent: u16) {
        self.timeline.stretch(tick as f64, self.period * f64::from(percent) / 100.0);
    }

    /// The smallest round trip seen, in microseconds.
    pub(crate) fn set_rtt_min(&mut self, rtt_min: u64) {
        self.half_rtt = rtt_min as f64 / 2.0;
    }

    /// How many packets to the server have been acknowledged and lost by now.
    pub(crate) fn on_settled(&mut self, acked: u64, lost: u64) {
        self.upstream.on_settled(acked, lost);
    }

    /// A snapshot of that tick arrived. The first one starts the clock. `ack` is what came in the same packet.
    pub(crate) fn on_snapshot(&mut self, now: Time, tick: u64, margin: Option<i8>, ack: Option<AckTiming>) {
        let (now, due) = (micros(now), self.timeline.due(tick as f64));
        let period = self.timeline.period(tick as f64);
        self.upstream.set_period(period);
        if let Some(AckTiming { sent, held }) = ack {
            self.upstream.on_arrival(due - micros_of(held) - micros(sent));
        }
        let sample = now - due;
        let Some(sync) = &mut self.sync else {
            return self.start(now, tick, sample);
        };
        sync.offset.push(sample, now);
        sync.arrivals.push(sample);
        sync.count_missing(tick);
        let wanted = sync.offset.get() + sync.render_ticks() * period + sync.jitter();
        let limit = RENDER_SLEW * period * tick.saturating_sub(sync.newest) as f64;
        let change = wanted - sync.render;
        sync.render += if change.abs() > RESYNC { change } else { change.clamp(-limit, limit) };
        sync.newest = tick;
        if let Some(margin) = margin {
            self.judge(f64::from(margin));
        }
    }

    fn start(&mut self, now: f64, tick: u64, sample: f64) {
        let offset = Floor::new(sample, now);
        let render = sample + RENDER_TICKS * self.period;
        let next = Due { tick: 0, at: now, step: self.period, again_at: None };
        let mut arrivals = Window::new();
        arrivals.push(sample);
        self.sync = Some(Sync { offset, arrivals, missing: 0.0, render, newest: tick, next });
        let first = self.target(now).max(0.0) as u64;
        if let Some(sync) = &mut self.sync {
            sync.next.tick = first;
        }
    }

    fn judge(&mut self, margin: f64) {
        let Some(sync) = &self.sync else { return };
        // While the clock itself still runs after its target, the margin says nothing about the target.
        if (self.target(sync.next.at) - sync.next.tick as f64).abs() < 0.5 {
            self.upstream.on_margin(margin);
        }
    }

    /// The tick that an input which leaves now is in time for.
    fn target(&self, now: f64) -> f64 {
        let guess = self.sync.as_ref().map_or(0.0, |sync| 2.0 * self.half_rtt - sync.offset.get() + sync.jitter());
        self.timeline.tick(now + self.upstream.lead(guess))
    }

    /// Where the server's tick counter is by now, with the fraction of the tick that has passed.
    pub(crate) fn server_tick(&self, now: Time) -> Option<f64> {
        let sync = self.sync.as_ref()?;
        Some(self.timeline.tick(micros(now) - sync.offset.get() + self.half_rtt))
    }

    /// The tick of the others that should be shown now.
    pub(crate) fn render_tick(&self, now: Time) -> Option<f64> {
        let sync = self.sync.as_ref()?;
        Some(self.timeline.tick(micros(now) - sync.render))
    }

    /// How far the render tick lies behind the arrivals, in microseconds.
    pub(crate) fn render_delay(&self) -> f64 {
        self.sync.as_ref().map_or(0.0, |sync| sync.render - sync.offset.get())
    }

    /// How unevenly snapshots arrive, in microseconds.
    pub(crate) fn jitter(&self) -> f64 {
        self.sync.as_ref().map_or(0.0, Sync::jitter)
    }

    /// How often an error was too large to steer.
    pub(crate) const fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Ticks that were left out because the caller came too late.
    pub(crate) const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// When the next input, or a packet once more, is due; not before the first snapshot.
    pub(crate) fn next_due(&self) -> Time {
        let due = |sync: &Sync| sync.next.again_at.map_or(sync.next.at, |again| again.min(sync.next.at));
        self.sync.as_ref().map_or(Time::NEVER, |sync| rounded_up(due(sync)))
    }

    /// How much of the time from the newest input to the next has passed, 0 to 1.
    pub(crate) fn share(&self, now: Time) -> f32 {
        let passed = |next: &Due| 1.0 - (next.at - micros(now)) / next.step;
        self.sync.as_ref().map_or(0.0, |sync| passed(&sync.next).clamp(0.0, 1.0) as f32)
    }

    /// The tick of the input that is due by now, if one is; call until `None`.
    pub(crate) fn take(&mut self, now: Time) -> Option<u64> {
        let Due { mut tick, mut at, .. } = self.sync.as_ref()?.next;
        if now < rounded_up(at) {
            return None;
        }
        let (now, period) = (micros(now), self.timeline.period(tick as f64));
        if now != self.called_at {
            self.called_at = now;
            self.upstream.on_lag(now - at);
        }
        let waiting = ((now - at) / period) as u64 + 1;
        if let Some(late) = waiting.checked_sub(self.make_up).filter(|late| *late > 0) {
            tick += late;
            at += late as f64 * period;
            self.left_out += late;
        }
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
        let step = step * period;
        let again_at = self.upstream.doubles().then_some(at + period / 2.0);
        self.sync.as_mut()?.next = Due { tick: tick + 1, at: at + step, step, again_at };
        Some(tick)
    }

    /// Whether the packet of the newest tick is to be sent again now; `true` once.
    pub(crate) fn take_again(&mut self, now: Time) -> bool {
        let again_at = self.sync.as_mut().map(|sync| &mut sync.next.again_at);
        again_at.and_then(|at| at.take_if(|at| now >= rounded_up(*at))).is_some()
    }
}

/// Rounded up, so that a timer that fires on time is never early.
fn rounded_up(at: f64) -> Time {
    Time::from_micros((at + 1.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcode::rng::Rng;

    const RATE: u16 = 20;
    const PERIOD: u64 = 50_000;
    /// The client's clock starts a minute late.
    const EPOCH: u64 = 60_000_000;

    /// A packet with inputs on its way.
    #[derive(Clone, Copy)]
    struct Packet {
        number: u64,
        arrives: u64,
        sent: u64,
        tick: u64,
    }

    /// A snapshot on its way.
    struct Told {
        arrives: u64,
        tick: u64,
        margin: Option<i8>,
        ack: Option<AckTiming>,
        acked: u64,
    }

    /// A server that steps tick `n` at `n * PERIOD`, and a path to it and back.
    struct Path {
        clock: Clock,
        up: u64,
        down: u64,
        jitter: u64,
        /// Share of packets lost, each way.
        loss: f64,
        /// The client is called so often, in microseconds.
        frame: u64,
        random: Rng,
        inputs: Vec<Packet>,
        snapshots: Vec<Told>,
        taken: Vec<u64>,
        sent: u64,
        margins: Vec<i8>,
        /// Ticks whose input was not there.
        late: u64,
        /// How often it was looked at the others, and how often nothing was known yet of the moment.
        looks: u64,
        starved: u64,
        known: u64,
        newest: Option<u64>,
        largest: Option<Packet>,
        acked: u64,
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
                loss: 0.0,
                frame: 1000,
                random: Rng::new(7),
                inputs: Vec::new(),
                snapshots: Vec::new(),
                taken: Vec::new(),
                sent: 0,
                margins: Vec::new(),
                late: 0,
                looks: 0,
                starved: 0,
                known: 0,
                newest: None,
                largest: None,
                acked: 0,
            }
        }

        fn draw(&mut self) -> u64 {
            if self.jitter == 0 { 0 } else { self.random.below(self.jitter) }
        }

        fn serve(&mut self, us: u64) {
            let tick = us / PERIOD;
            let arrived: Vec<_> = self.inputs.extract_if(.., |packet| packet.arrives <= us).collect();
            self.acked += arrived.len() as u64;
            // Every packet repeats all inputs that could matter.
            self.newest = self.newest.max(arrived.iter().map(|packet| packet.tick).max());
            let largest = arrived.into_iter().max_by_key(|packet| packet.number);
            let fresh = largest.filter(|new| self.largest.is_none_or(|old| new.number > old.number));
            self.largest = fresh.or(self.largest);
            let ack = fresh.map(|packet| AckTiming {
                sent: Time::from_micros(packet.sent + EPOCH),
                held: Duration::from_micros((us - packet.arrives) / 250 * 250),
            });
            let margin = self.newest.map(|newest| (newest as i64 - tick as i64).clamp(-128, 127) as i8);
            self.late += u64::from(self.newest.is_some_and(|newest| newest < tick));
            self.margins.extend(margin);
            let arrives = us + self.down + self.draw();
            if !self.random.chance(self.loss) {
                self.snapshots.push(Told { arrives, tick, margin, ack, acked: self.acked });
            }
        }

        fn send(&mut self, us: u64, tick: u64) {
            self.sent += 1;
            let arrives = us + self.up + self.draw();
            if !self.random.chance(self.loss) {
                self.inputs.push(Packet { number: self.sent, arrives, sent: us, tick });
            }
        }

        fn call(&mut self, us: u64) {
            let now = Time::from_micros(us + EPOCH);
            for told in self.snapshots.extract_if(.., |told| told.arrives <= us).collect::<Vec<_>>() {
                // What is not acknowledged within a second is lost, roughly.
                self.clock.on_settled(told.acked, self.sent.saturating_sub(told.acked + 10));
                self.clock.on_snapshot(now, told.tick, told.margin, told.ack);
                self.known = self.known.max(told.tick);
            }
            let mut newest = None;
            while let Some(tick) = self.clock.take(now) {
                assert!(self.taken.last().is_none_or(|last| tick > *last), "ticks go up");
                self.taken.push(tick);
                newest = Some(tick);
            }
            let again = self.clock.take_again(now).then(|| self.taken.last().copied()).flatten();
            if let Some(tick) = newest.or(again) {
                self.send(us, tick);
            }
            if let Some(tick) = self.clock.render_tick(now) {
                self.looks += 1;
                self.starved += u64::from(tick > self.known as f64);
            }
        }

        /// Runs from tick to tick in steps of a millisecond.
        fn run(&mut self, ticks: core::ops::Range<u64>) {
            for us in (ticks.start * PERIOD..ticks.end * PERIOD).step_by(1000) {
                if us % PERIOD == 0 {
                    self.serve(us);
                }
                if us % self.frame < 1000 {
                    self.call(us);
                }
            }
        }

        /// Runs until it has settled, and then with fresh counters for that many ticks more.
        fn settle_and_run(&mut self, ticks: u64) {
            self.run(0..600);
            (self.late, self.looks, self.starved) = (0, 0, 0);
            self.margins.clear();
            self.run(600..600 + ticks);
        }

        /// How far ahead of the earliest arrival that would do the newest input left, in ticks.
        fn lead(&self) -> f64 {
            let next = self.clock.sync.as_ref().unwrap().next;
            let sent = (next.at - EPOCH as f64 + self.up as f64) / PERIOD as f64;
            next.tick as f64 - sent
        }

        /// The share of the latest margins that lie within the bounds.
        fn share(&self, last: usize, bounds: core::ops::RangeInclusive<i8>) -> f64 {
            let latest = &self.margins[self.margins.len() - last..];
            latest.iter().filter(|margin| bounds.contains(margin)).count() as f64 / last as f64
        }
    }

    #[test]
    fn a_calm_path_settles_at_a_margin_of_one_whatever_its_directions_take() {
        for (up, down) in [(0, 0), (25, 25), (80, 20), (20, 120)] {
            let mut path = Path::new(up, down, 0);
            path.run(0..2000);
            assert_eq!(path.share(1000, 1..=1), 1.0, "{up} ms up, {down} ms down: {:?}", &path.margins[1000..]);
            assert!(path.lead() < 1.2, "{up} ms up, {down} ms down: {}", path.lead());
        }
    }

    #[test]
    fn no_input_is_late_in_ten_minutes_of_loss_and_jitter() {
        for (rtt, seed) in [20, 60, 100, 150, 200, 300].into_iter().zip(1..) {
            let mut path = Path::new(rtt / 2, rtt / 2, 30);
            (path.loss, path.random, path.frame) = (0.05, Rng::new(seed), 16_000);
            path.run(0..100);
            path.late = 0;
            path.run(100..12_100);
            assert_eq!(path.late, 0, "a round trip of {rtt} ms");
            assert!(path.lead() < 3.5, "a round trip of {rtt} ms: {}", path.lead());
        }
    }

    #[test]
    fn what_is_shown_of_the_others_is_seldom_a_guess() {
        for (jitter, loss, starved) in [(0, 0.0, 0.002), (10, 0.02, 0.03), (30, 0.05, 0.07), (30, 0.2, 0.1)] {
            let mut path = Path::new(40, 40, jitter);
            path.loss = loss;
            path.settle_and_run(4000);
            let share = path.starved as f64 / path.looks as f64;
            assert!(share <= starved, "{jitter} ms, loss {loss}: {share}");
        }
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
    fn slow_frames_cost_ticks_and_nothing_else() {
        let mut clock = Clock::new(60);
        clock.on_snapshot(Time::from_millis(1000), 600, None, None);
        let (mut now, mut taken, mut last) = (1000.0, 0, 0);
        for _ in 0..100 {
            let time = Time::from_micros((now * 1000.0) as u64);
            clock.on_snapshot(time, (now * 0.06) as u64, None, None);
            let mut made = 0;
            while let Some(tick) = clock.take(time) {
                assert!(tick > last);
                (last, made) = (tick, made + 1);
            }
            assert!(made <= 8, "an eighth of a second, at the quickest pace: {made}");
            taken += made;
            // Each tick makes the frame longer by more than it takes: made up wholly, none would ever end.
            now += 400.0 + 20.0 * f64::from(made);
        }
        assert!(now < 1000.0 + 100.0 * 541.0, "{now}");
        assert!(taken > 300 && clock.left_out() > 1000, "{taken} {}", clock.left_out());
        assert!((now * 0.06 - last as f64).abs() < 40.0, "it keeps to the server's ticks: {last} at {now}");
    }

    #[test]
    fn a_stall_of_the_caller_jumps_ahead_once() {
        let mut clock = Clock::new(RATE);
        clock.on_snapshot(Time::from_millis(1000), 100, None, None);
        let first = clock.take(Time::from_millis(1001)).unwrap();
        assert!((101..=103).contains(&first), "{first}");
        let late = Time::from_millis(6000);
        assert_eq!(clock.take(late), Some(first + 99));
        assert_eq!([clock.take(late), clock.take(late)], [Some(first + 100), None]);
        assert_eq!((clock.resyncs(), clock.left_out()), (0, 98));
    }

    #[test]
    fn a_clock_far_ahead_waits_and_never_goes_back() {
        let mut clock = Clock::new(RATE);
        clock.on_snapshot(Time::from_millis(1000), 1000, None, None);
        let first = clock.take(Time::from_millis(1001)).unwrap();
        // The server was set back: the same arrivals now mean 100 ticks less, once the old minimum is forgotten.
        for i in 0..400u64 {
            clock.on_snapshot(Time::from_millis(1050 + 50 * i), 901 + i, None, None);
        }
        let now = Time::from_millis(1050 + 50 * 400);
        let mut last = first;
        while let Some(tick) = clock.take(now) {
            assert!(tick > last);
            last = tick;
        }
        assert!(last > first);
    }

    #[test]
    fn the_render_tick_lags_a_tick_and_the_jitter_and_moves_smoothly() {
        let mut path = Path::new(40, 40, 20);
        path.run(0..400);
        let now = |ms: u64| Time::from_millis(60_000 + 400 * 50 + ms);
        let tick = path.clock.render_tick(now(0)).unwrap();
        // 40 ms of delay, a tick, and nearly all of the 20 ms of jitter behind the server's tick 400.
        assert!((400.0 - tick - 1.0 - 0.8) > 0.3 && (400.0 - tick - 1.0 - 0.8) < 0.45, "{tick}");
        assert!((path.clock.render_tick(now(50)).unwrap() - tick - 1.0).abs() < 1e-6);
        assert!((path.clock.server_tick(now(0)).unwrap() - 400.0).abs() < 0.1);
    }
}
