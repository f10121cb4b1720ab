//! The client's idea of time: where the server's ticks are, which tick the next input is for, and which tick of the
//! others is shown.
//!
//! Everything derives from when packets arrive, here and there. The *offset* is the least of (arrival - tick * period)
//! over the last seconds: the server's epoch plus the smallest delay of a snapshot, with the jitter taken out.
//!
//! - **Server tick** = (now - offset + half the smallest round trip) / period.
//! - **Input target** = the tick that an input which leaves now is in time for, whatever becomes of it on its way but once
//!   in fourteen hours: (now + lead) / period, see [`mod@upstream`]. On a clean path that is about a tick in hand.
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

mod sync;
mod timeline;
mod upstream;
mod window;

use core::time::Duration;

use netcode::Time;
use netcode::connection::AckTiming;

use self::sync::Sync;
use self::timeline::Timeline;
use self::upstream::Upstream;

/// How much of an error of the input clock one tick corrects, and the most that it may.
const PACE_GAIN: f64 = 0.1;
const PACE_LIMIT: f64 = 0.03;
/// Errors of the input clock above this are corrected at once, in microseconds.
const RESYNC: f64 = 500_000.0;
/// The most ticks that are made up at once: an eighth of a second, but at least two.
const MAKE_UP_HZ: u16 = 8;
const LEAST_MADE_UP: u64 = 2;
fn micros(time: Time) -> f64 {
    time.as_micros() as f64
}

fn micros_of(duration: Duration) -> f64 {
    duration.as_micros() as f64
}

/// The next input.
#[derive(Clone, Copy, Debug)]
struct Due {
    tick: u64,
    at: f64,
    /// How long the tick before it takes by the client's clock.
    step: f64,
    /// The packet of the tick before is to be sent again then, and so often.
    again_at: Option<f64>,
    again_every: f64,
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
    /// Means nothing before the first snapshot.
    next: Due,
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
            upstream: Upstream::new(period),
            sync: None,
            next: Due { tick: 0, at: 0.0, step: period, again_at: None, again_every: period },
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
            self.upstream.on_arrival(now, due - micros_of(held) - micros(sent));
        }
        match &mut self.sync {
            Some(sync) => sync.on_snapshot(now, due, tick, period),
            None => return self.start(now, due, tick),
        }
        if let Some(margin) = margin {
            self.judge(f64::from(margin));
        }
    }

    fn start(&mut self, now: f64, due: f64, tick: u64) {
        let period = self.timeline.period(tick as f64);
        self.sync = Some(Sync::new(now, due, tick, period));
        let first = self.target(now).max(0.0) as u64;
        self.next = Due { tick: first, at: now, step: period, again_at: None, again_every: period };
    }

    fn judge(&mut self, margin: f64) {
        // While the clock itself still runs after its target, the margin says nothing about the target.
        if (self.target(self.next.at) - self.next.tick as f64).abs() < 0.5 {
            self.upstream.on_margin(margin);
        }
    }

    /// The tick that an input which leaves now is in time for.
    fn target(&self, now: f64) -> f64 {
        let guess = self.sync.as_ref().map_or(0.0, |sync| 2.0 * self.half_rtt - sync.offset() + sync.jitter());
        self.timeline.tick(now + self.upstream.lead(guess))
    }

    /// Where the server's tick counter is by now, with the fraction of the tick that has passed.
    pub(crate) fn server_tick(&self, now: Time) -> Option<f64> {
        let sync = self.sync.as_ref()?;
        Some(self.timeline.tick(micros(now) - sync.offset() + self.half_rtt))
    }

    /// The tick of the others that should be shown now.
    pub(crate) fn render_tick(&self, now: Time) -> Option<f64> {
        let sync = self.sync.as_ref()?;
        Some(self.timeline.tick(micros(now) - sync.render()))
    }

    /// How far the render tick lies behind the arrivals, in microseconds.
    pub(crate) fn render_delay(&self) -> f64 {
        self.sync.as_ref().map_or(0.0, |sync| sync.render() - sync.offset())
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
        let due = self.next.again_at.map_or(self.next.at, |again| again.min(self.next.at));
        if self.sync.is_some() { rounded_up(due) } else { Time::NEVER }
    }

    /// How much of the time from the newest input to the next has passed, 0 to 1.
    pub(crate) fn share(&self, now: Time) -> f32 {
        let passed = 1.0 - (self.next.at - micros(now)) / self.next.step;
        if self.sync.is_some() { passed.clamp(0.0, 1.0) as f32 } else { 0.0 }
    }

    /// The tick of the input that is due by now, if one is; call until `None`.
    pub(crate) fn take(&mut self, now: Time) -> Option<u64> {
        let Due { mut tick, mut at, .. } = self.next;
        if self.sync.is_none() || now < rounded_up(at) {
            return None;
        }
        let (now, period) = (micros(now), self.timeline.period(tick as f64));
        if now != self.called_at {
            self.called_at = now;
            self.upstream.on_lag(now, now - at);
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
        let again_every = period / f64::from(self.upstream.copies());
        let again_at = (again_every < period).then_some(at + again_every);
        self.next = Due { tick: tick + 1, at: at + step, step, again_at, again_every };
        Some(tick)
    }

    /// Whether the packet of the newest tick is to be sent again now; `true` once for each time.
    pub(crate) fn take_again(&mut self, now: Time) -> bool {
        let Due { at, again_at, again_every, .. } = &mut self.next;
        let Some(due) = again_at.take_if(|due| now >= rounded_up(*due)) else { return false };
        // Whoever comes late does not make up for it; and the next tick's own is not far from its time.
        let next = due.max(micros(now) - *again_every / 2.0) + *again_every;
        *again_at = (next < *at - *again_every / 2.0).then_some(next);
        true
    }
}

/// Rounded up, so that a timer that fires on time is never early.
fn rounded_up(at: f64) -> Time {
    Time::from_micros((at + 1.0) as u64)
}

#[cfg(test)]
mod tests;
