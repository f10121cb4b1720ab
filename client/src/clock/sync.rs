//! What the arrivals of snapshots teach: the server's epoch, how unevenly they come, how many are lost; and from these
//! which tick of the others is shown.

use super::window::Window;

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
/// How far the render clock may move against real time; errors above the second, in microseconds, are corrected at once.
const RENDER_SLEW: f64 = 0.02;
const JUMP: f64 = super::RESYNC;

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

/// See the module's documentation. All times are microseconds by the client's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sync {
    offset: Floor,
    /// (arrival - when the tick was due) of the latest.
    arrivals: Window,
    /// The share of snapshots that did not arrive.
    missing: f64,
    /// The render clock's offset.
    render: f64,
    newest: u64,
}

impl Sync {
    /// The first snapshot arrived, of that tick, which was due then from tick 0 on and takes `period`.
    pub fn new(now: f64, due: f64, tick: u64, period: f64) -> Self {
        let sample = now - due;
        let mut arrivals = Window::new();
        arrivals.push(now, sample);
        let render = sample + RENDER_TICKS * period;
        Self { offset: Floor::new(sample, now), arrivals, missing: 0.0, render, newest: tick }
    }

    /// Another one arrived.
    pub fn on_snapshot(&mut self, now: f64, due: f64, tick: u64, period: f64) {
        let sample = now - due;
        self.offset.push(sample, now);
        self.arrivals.push(now, sample);
        self.count_missing(tick);
        let wanted = self.offset.get() + self.render_ticks() * period + self.jitter();
        let limit = RENDER_SLEW * period * tick.saturating_sub(self.newest) as f64;
        let change = wanted - self.render;
        self.render += if change.abs() > JUMP { change } else { change.clamp(-limit, limit) };
        self.newest = tick;
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

    /// The server's epoch plus the smallest delay of a snapshot.
    pub const fn offset(&self) -> f64 {
        self.offset.get()
    }

    /// How much later than the earliest snapshots arrive, but for the odd one.
    pub fn jitter(&self) -> f64 {
        self.arrivals.high(JITTER_RANK).map_or(0.0, |late| (late - self.offset.get()).max(0.0))
    }

    /// The moment at which tick 0 was to be shown.
    pub const fn render(&self) -> f64 {
        self.render
    }
}
