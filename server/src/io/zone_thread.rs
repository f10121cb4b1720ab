//! The zone's thread: drains the workers' queues, steps the world on a fixed schedule, publishes the frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrayvec::ArrayVec;
use hdrhistogram::Histogram;
use netcode::Time;
use netcode::prefetch::Prefetch;
use server::load::{Change, Pace, Regulator};
use server::zone::{MOST_REFUSED, RefusedPlayer, ToShard, Zone, ZoneStats};
use tracing::warn;

use super::batch;
use super::clock::Clock;
use super::link::{Link, Patient, Reports, next_report};
use super::record::Recorder;
use super::run::Ready;
use super::schedule::Schedule;
use super::worker::micros_histogram;

/// So many messages are looked at together before they are handled one by one.
const TOGETHER: usize = 16;
const PREFETCH: Prefetch = Prefetch::new(batch::prefetch);

/// What the zone's thread counts itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Ticks that began more than a quarter of a period after they were due.
    pub late: u64,
    /// Periods without a tick, because the thread had fallen too far behind.
    pub skipped: u64,
    /// Frames replaced in a worker's queue before it took them.
    pub frames_dropped: u64,
    /// Events for players dropped because their worker's queue was full.
    pub events_dropped: u64,
    /// Changes of the pace.
    pub pace_changes: u64,
}

/// What the zone reports once a second: counters since the start, times of the last second.
pub struct ZoneReport {
    /// The newest tick.
    pub tick: u64,
    /// Players in the world.
    pub players: usize,
    /// The thread's own counters.
    pub counters: Counters,
    /// The zone's counters.
    pub zone: ZoneStats,
    /// The players who were refused most.
    pub most_refused: ArrayVec<RefusedPlayer, MOST_REFUSED>,
    /// How fast it goes.
    pub pace: Pace,
    /// From the beginning of a tick to the frame's publication, in µs.
    pub tick_us: Histogram<u64>,
    /// From when a tick was due to its beginning, in µs: of all ticks since the start, or no thousandth could be told.
    pub late_us: Histogram<u64>,
    /// Of these, those since the report before.
    pub newly_late_us: Histogram<u64>,
}

/// A zone, and where its log goes, if it has one.
pub struct Recorded {
    /// The zone.
    pub zone: Zone,
    /// Until the recording ends.
    pub recorder: Option<Recorder>,
}

/// The running zone.
pub struct ZoneThread {
    zone: Zone,
    recorder: Option<Recorder>,
    rate_hz: u16,
    links: Arc<[Link]>,
    reports: Arc<Reports<ZoneReport>>,
    clock: Clock,
    stop: Arc<AtomicBool>,
    ready: Arc<Ready>,
    /// Answers that did not fit into a worker's queue, by worker.
    held: Vec<Patient<ToShard>>,
    regulator: Regulator,
    counters: Counters,
    tick_us: Histogram<u64>,
    late_us: Histogram<u64>,
    newly_late_us: Histogram<u64>,
    next_report: Time,
}

impl ZoneThread {
    /// Puts it together.
    pub fn new(
        recorded: Recorded,
        limits: Pace,
        links: Arc<[Link]>,
        reports: Arc<Reports<ZoneReport>>,
        clock: Clock,
        stop: Arc<AtomicBool>,
        ready: Arc<Ready>,
    ) -> Self {
        let Recorded { zone, recorder } = recorded;
        let rate_hz = zone.world().config().rate_hz;
        let held = links.iter().map(|_| Patient::new()).collect();
        let regulator = Regulator::new(rate_hz, limits, links.len());
        let next_report = next_report(clock.now());
        Self {
            zone,
            recorder,
            rate_hz,
            links,
            reports,
            clock,
            stop,
            ready,
            held,
            regulator,
            counters: Counters::default(),
            tick_us: micros_histogram(),
            late_us: micros_histogram(),
            newly_late_us: micros_histogram(),
            next_report,
        }
    }

    /// The loop; ends after the stop flag is set.
    pub fn run(mut self) {
        let mut schedule = Schedule::new(self.clock.now(), self.rate_hz);
        let quarter = Duration::from_secs(1) / u32::from(self.rate_hz) / 4;
        let mut arrived = false;
        while !self.stop.load(Ordering::Acquire) {
            self.clock.sleep_until(schedule.due());
            let begun = self.clock.now();
            let late = begun.saturating_since(schedule.due());
            self.newly_late_us.saturating_record(late.as_micros() as u64);
            self.counters.late += u64::from(late > quarter);
            self.tick(schedule.due());
            let ended = self.clock.now();
            self.govern(&mut schedule, ended.saturating_since(begun));
            self.tick_us.saturating_record(ended.saturating_since(begun).as_micros() as u64);
            let skipped = schedule.advance(ended);
            if skipped > 0 {
                self.counters.skipped += skipped;
                self.zone.skip(u32::try_from(skipped).unwrap_or(u32::MAX));
                warn!(skipped, tick = self.zone.tick(), "the zone fell behind and skips ticks");
            }
            if !arrived {
                self.ready.arrive();
                arrived = true;
            }
            self.report(ended);
        }
    }

    fn tick(&mut self, due: Time) {
        for link in self.links.iter() {
            // What arrives while this runs waits for the next tick.
            let mut left = link.to_zone.len();
            while left > 0 {
                let messages: ArrayVec<_, TOGETHER> =
                    core::iter::from_fn(|| link.to_zone.pop()).take(left.min(TOGETHER)).collect();
                if messages.is_empty() {
                    break;
                }
                left -= messages.len();
                // Players are far apart in memory.
                messages.iter().for_each(|message| self.zone.expect(message, PREFETCH));
                messages.into_iter().for_each(|message| self.zone.handle(message));
            }
        }
        let frame = self.zone.step();
        self.pass_answers();
        for link in self.links.iter() {
            self.counters.frames_dropped += u64::from(link.frames.force_push((due, Arc::clone(&frame))).is_some());
            // A failed wake-up delays the frame to the worker's next turn.
            let _ = link.waker.wake();
        }
        self.record();
    }

    /// Sees how much of its time the tick took, and changes the pace where that is too much.
    fn govern(&mut self, schedule: &mut Schedule, step: Duration) {
        let rounds = self.links.iter().map(|link| {
            let taken = link.round_us.swap(0, Ordering::Relaxed);
            (taken > 0).then(|| Duration::from_micros(taken.into()))
        });
        let Some(Change { pace, ahead, stretched }) = self.regulator.on_tick(step, rounds) else { return };
        self.counters.pace_changes += 1;
        if stretched {
            schedule.stretch_in(ahead, pace.dilation);
        }
        let from = self.zone.tick() + ahead;
        for (link, held) in self.links.iter().zip(&mut self.held) {
            held.push(&link.from_zone, ToShard::Pace { pace, from });
        }
        warn!(
            snapshots_every = pace.divisor,
            tick_percent = pace.dilation,
            from,
            "{}",
            if pace == Pace::FULL { "the zone goes at full pace again" } else { "the zone changes its pace" }
        );
    }

    fn record(&mut self) {
        if let Some(recorder) = &self.recorder
            && !recorder.take(self.zone.take_log())
        {
            self.recorder = None;
            self.zone.end_log();
        }
    }

    fn pass_answers(&mut self) {
        while let Some((worker, answer)) = self.zone.poll() {
            let worker = usize::from(worker);
            if let (Some(link), Some(held)) = (self.links.get(worker), self.held.get_mut(worker)) {
                match answer {
                    ToShard::Spawned { .. } | ToShard::Refused { .. } | ToShard::Pace { .. } => {
                        held.push(&link.from_zone, answer)
                    }
                    ToShard::Event { .. } => {
                        self.counters.events_dropped += u64::from(!held.offer(&link.from_zone, answer));
                    }
                }
            }
        }
        for (link, held) in self.links.iter().zip(&mut self.held) {
            held.retry(&link.from_zone);
        }
    }

    fn report(&mut self, now: Time) {
        if now < self.next_report {
            return;
        }
        self.next_report = next_report(now);
        let tick_us = std::mem::replace(&mut self.tick_us, micros_histogram());
        let newly_late_us = std::mem::replace(&mut self.newly_late_us, micros_histogram());
        // Cannot fail: both have the same bounds.
        let _ = self.late_us.add(&newly_late_us);
        let late_us = self.late_us.clone();
        self.reports.publish(ZoneReport {
            tick: self.zone.tick(),
            players: self.zone.players(),
            counters: self.counters,
            zone: *self.zone.stats(),
            most_refused: self.zone.most_refused(),
            pace: self.regulator.pace(),
            tick_us,
            late_us,
            newly_late_us,
        });
    }
}
