//! The clock over paths of all kinds, against a server that steps by its own.

use super::*;
use netcode::rng::Rng;

const RATE: u16 = 20;
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

/// A server that steps tick `n` at `n / rate` seconds, and a path to it and back.
struct Path {
    clock: Clock,
    rate: u64,
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
        Self::at(RATE, up_ms, down_ms, jitter_ms)
    }

    fn at(rate: u16, up_ms: u64, down_ms: u64, jitter_ms: u64) -> Self {
        let mut clock = Clock::new(rate);
        clock.set_rtt_min((up_ms + down_ms) * 1000);
        Self {
            clock,
            rate: rate.into(),
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

    fn serve(&mut self, us: u64, tick: u64) {
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

    fn at_tick(&self, tick: u64) -> u64 {
        tick * 1_000_000 / self.rate
    }

    /// Runs from tick to tick in steps of a millisecond.
    fn run(&mut self, ticks: core::ops::Range<u64>) {
        let (start, end) = (self.at_tick(ticks.start), self.at_tick(ticks.end));
        let mut next = ticks.start;
        for us in (start..end).step_by(1000) {
            if us >= self.at_tick(next) {
                self.serve(us, next);
                next += 1;
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
        let next = self.clock.next;
        let sent = (next.at - EPOCH as f64 + self.up as f64) * self.rate as f64 / 1e6;
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
fn no_input_is_late_from_the_first_one_on_at_any_rate() {
    for rate in [20, 30, 60, 64, 128] {
        for (rtt, seed) in [20, 100, 200, 300]
            .into_iter()
            .zip(1..)
            .flat_map(|(rtt, seed)| (0..5).map(move |more| (rtt, 10 * seed + more)))
        {
            // The handshake's round trip was one like any other; each way varies by 30 ms either way.
            let mut path = Path::at(rate, (rtt / 2u64).saturating_sub(30), (rtt / 2u64).saturating_sub(30), 60);
            (path.loss, path.random) = (0.05, Rng::new(seed));
            let handshake = path.up + path.down + path.draw() + path.draw();
            path.clock.set_rtt_min(handshake);
            path.run(100..100 + 20 * u64::from(rate));
            assert_eq!(path.late, 0, "{rate} Hz, a round trip of {rtt} ms, seed {seed}");
        }
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
