//! The status line: once a second, from the newest report of each thread. Its counters count since the line before. What has
//! no place in a line is on the [`Board`], for the HTTP endpoint.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;
use netcode::stats::Drops;
use serde_json::{Map, Value, json};
use server::zone::{RefusedPlayer, ZoneStats};
use sim::{Refusal, Refusals};
use tracing::{debug, info};

use super::link::Reports;
use super::worker::{Counters, WorkerReport, micros_histogram};
use super::zone_thread::{self, ZoneReport};

/// What `GET /v1/status` answers: written once a second, read whenever somebody asks. No thread of the game waits for it.
#[derive(Default)]
pub struct Board(Mutex<Option<Value>>);

impl Board {
    /// What is there; nothing before the first report.
    pub fn read(&self) -> Option<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, value: Value) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }
}

/// Collects reports, prints the status line and writes the board.
pub struct Status {
    board: Arc<Board>,
    zone: Arc<Reports<ZoneReport>>,
    workers: Vec<Source>,
    newest_zone: Option<ZoneReport>,
    /// What earlier lines have told.
    told: Counts,
}

/// A worker's reports.
struct Source {
    reports: Arc<Reports<WorkerReport>>,
    newest: Option<WorkerReport>,
}

/// Every counter of the whole server since its start; a line tells by how much each grew.
#[derive(Clone, Default)]
struct Counts {
    workers: Counters,
    zone_thread: zone_thread::Counters,
    zone: ZoneStats,
    accepted: u64,
    disconnects: u64,
    roams: u64,
    key_rolls: u64,
    inputs_dropped: u64,
    events_dropped: u64,
    snapshots: u64,
    cut: u64,
    compact: u64,
    drops: Drops,
}

impl Status {
    /// Nothing reported yet.
    pub fn new(board: Arc<Board>, zone: Arc<Reports<ZoneReport>>, workers: &[Arc<Reports<WorkerReport>>]) -> Self {
        let source = |reports: &Arc<_>| Source { reports: Arc::clone(reports), newest: None };
        Self { board, zone, workers: workers.iter().map(source).collect(), newest_zone: None, told: Counts::default() }
    }

    /// Prints the line, once every thread has reported.
    pub fn print(&mut self) {
        if let Some(report) = self.zone.newest() {
            self.board.write(board_entry(&report));
            self.newest_zone = Some(report);
        }
        for source in &mut self.workers {
            source.newest = source.reports.newest().or(source.newest.take());
        }
        let workers: Option<Vec<&WorkerReport>> = self.workers.iter().map(|source| source.newest.as_ref()).collect();
        if let (Some(zone), Some(workers)) = (&self.newest_zone, workers) {
            let counts = Counts::of(zone, &workers);
            line(zone, &workers, &counts, &self.told);
            self.told = counts;
        }
    }
}

impl Counts {
    fn of(zone: &ZoneReport, workers: &[&WorkerReport]) -> Self {
        let mut counts = Self { zone_thread: zone.counters, zone: zone.zone, ..Self::default() };
        for report in workers {
            counts.workers.add(&report.counters);
            counts.accepted += report.shard.accepted;
            counts.disconnects += report.shard.disconnects;
            counts.roams += report.shard.roams;
            counts.key_rolls += report.shard.key_rolls;
            counts.inputs_dropped += report.shard.inputs_dropped;
            counts.events_dropped += report.shard.events_dropped;
            counts.snapshots += report.shard.replica.snapshots;
            counts.cut += report.shard.replica.cut;
            counts.compact += report.shard.replica.compact;
            counts.drops.add(&report.shard.drops);
        }
        counts
    }

    /// Messages between threads that found a queue full.
    fn queue_drops(&self) -> u64 {
        self.workers.inputs_dropped
            + self.workers.handed_dropped
            + self.zone_thread.frames_dropped
            + self.zone_thread.events_dropped
    }
}

fn line(zone: &ZoneReport, workers: &[&WorkerReport], now: &Counts, told: &Counts) {
    let grown = |counter: fn(&Counts) -> u64| counter(now).saturating_sub(counter(told));
    let (mut send_us, mut round_us) = (micros_histogram(), micros_histogram());
    for report in workers {
        // Cannot fail: all have the same bounds.
        let _ = send_us.add(&report.send_us);
        let _ = round_us.add(&report.round_us);
    }
    info!(
        tick = zone.tick,
        players = zone.players,
        connections = workers.iter().map(|report| report.shard.connections).sum::<u64>(),
        accepted = grown(|c| c.accepted),
        disconnects = grown(|c| c.disconnects),
        roams = grown(|c| c.roams),
        key_rolls = grown(|c| c.key_rolls),
        tick_us_p50 = zone.tick_us.value_at_quantile(0.5),
        tick_us_p99 = zone.tick_us.value_at_quantile(0.99),
        tick_us_max = zone.tick_us.max(),
        send_us_p50 = send_us.value_at_quantile(0.5),
        send_us_p99 = send_us.value_at_quantile(0.99),
        send_us_max = send_us.max(),
        round_us_p50 = round_us.value_at_quantile(0.5),
        round_us_p99 = round_us.value_at_quantile(0.99),
        round_us_max = round_us.max(),
        late_us_p50 = zone.late_us.value_at_quantile(0.5),
        late_us_p99 = zone.late_us.value_at_quantile(0.99),
        late_us_p999 = zone.late_us.value_at_quantile(0.999),
        late_us_max = zone.late_us.max(),
        snapshots_every = zone.pace.divisor,
        tick_percent = zone.pace.dilation,
        pace_changes = grown(|c| c.zone_thread.pace_changes),
        late = grown(|c| c.zone_thread.late),
        skipped = grown(|c| c.zone_thread.skipped),
        packets_in = grown(|c| c.workers.packets_in),
        handed = grown(|c| c.workers.handed),
        overrun = grown(|c| c.workers.overrun),
        congested = grown(|c| c.workers.congested),
        packets_out = grown(|c| c.workers.packets_out),
        bytes_in = grown(|c| c.workers.bytes_in),
        bytes_out = grown(|c| c.workers.bytes_out),
        snapshots = grown(|c| c.snapshots),
        snapshots_cut = grown(|c| c.cut),
        snapshots_compact = grown(|c| c.compact),
        drops = drops_since(&now.drops, &told.drops),
        queue_drops = grown(Counts::queue_drops),
        send_drops = grown(|c| c.workers.send_dropped),
        inputs_dropped = grown(|c| c.inputs_dropped),
        inputs_late = grown(|c| c.zone.inputs_late),
        inputs_ahead = grown(|c| c.zone.inputs_ahead),
        inputs_repeated = grown(|c| c.zone.inputs_repeated),
        inputs_neutral = grown(|c| c.zone.inputs_neutral),
        events = grown(|c| c.zone.events),
        events_dropped = grown(|c| c.events_dropped),
        refusals = refusals_since(&now.zone.refusals, &told.zone.refusals),
        "status"
    );
    // Distributions that add up over seconds, which quantiles do not.
    debug!(
        tick = zone.tick,
        tick_us = values(&zone.tick_us),
        send_us = values(&send_us),
        round_us = values(&round_us),
        late_us = values(&zone.newly_late_us),
        "times"
    );
}

/// `value:count` for each value, in ascending order.
fn values(histogram: &Histogram<u64>) -> String {
    let mut text = String::new();
    for bucket in histogram.iter_recorded() {
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}{}:{}", bucket.value_iterated_to(), bucket.count_at_value());
    }
    text
}

/// What the board says of a zone's report; counts are since the start, those of a player since it came.
fn board_entry(report: &ZoneReport) -> Value {
    let player = |player: &RefusedPlayer| {
        json!({
            "character": player.character,
            "entity": player.entity.raw(),
            "total": player.refusals.total(),
            "refusals": causes(&player.refusals),
        })
    };
    json!({
        "tick": report.tick,
        "players": report.players,
        "refusals": causes(&report.zone.refusals),
        "most_refused": report.most_refused.iter().map(player).collect::<Vec<_>>(),
    })
}

/// Each cause that there was, and how often.
fn causes(refusals: &Refusals) -> Map<String, Value> {
    let counts = Refusal::ALL.into_iter().map(|cause| (cause, refusals.of(cause)));
    counts.filter(|(_, count)| *count > 0).map(|(cause, count)| (cause.name().to_owned(), count.into())).collect()
}

/// `cause=count` for each cause that grew since the last line.
fn drops_since(now: &Drops, before: &Drops) -> String {
    grown_causes(now.iter().map(|(cause, count)| (cause.name(), count.saturating_sub(before.get(cause)))))
}

/// The same for what players wanted and was not done.
fn refusals_since(now: &Refusals, before: &Refusals) -> String {
    grown_causes(Refusal::ALL.into_iter().map(|cause| {
        let grown = now.of(cause).saturating_sub(before.of(cause));
        (cause.name(), u64::from(grown))
    }))
}

fn grown_causes(causes: impl Iterator<Item = (&'static str, u64)>) -> String {
    let mut text = String::new();
    for (cause, grown) in causes.filter(|(_, grown)| *grown > 0) {
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}{cause}={grown}");
    }
    text
}
