//! The status line: once a second, from the newest report of each thread.

use std::fmt::Write as _;
use std::sync::Arc;

use netcode::stats::Drops;
use server::shard::ShardStats;
use tracing::info;

use super::link::Reports;
use super::worker::{Counters, WorkerReport, micros_histogram};
use super::zone_thread::ZoneReport;

/// Collects reports and prints the status line.
pub struct Status {
    zone: Arc<Reports<ZoneReport>>,
    workers: Vec<Source>,
    newest_zone: Option<ZoneReport>,
    /// Protocol drops that earlier lines have told.
    told: Drops,
}

/// A worker's reports: the newest one, and the one before it, for rates.
struct Source {
    reports: Arc<Reports<WorkerReport>>,
    newest: Option<WorkerReport>,
    rates: Rates,
}

/// Per second.
#[derive(Clone, Copy, Default)]
struct Rates {
    packets_in: u64,
    bytes_in: u64,
    packets_out: u64,
    bytes_out: u64,
}

impl Status {
    /// Nothing reported yet.
    pub fn new(zone: Arc<Reports<ZoneReport>>, workers: &[Arc<Reports<WorkerReport>>]) -> Self {
        let source = |reports: &Arc<_>| Source { reports: Arc::clone(reports), newest: None, rates: Rates::default() };
        Self { zone, workers: workers.iter().map(source).collect(), newest_zone: None, told: Drops::default() }
    }

    /// Prints the line, once every thread has reported.
    pub fn print(&mut self) {
        if let Some(report) = self.zone.newest() {
            self.newest_zone = Some(report);
        }
        self.workers.iter_mut().for_each(Source::update);
        if let (Some(zone), true) = (&self.newest_zone, self.workers.iter().all(|source| source.newest.is_some())) {
            let total = Total::of(&self.workers);
            let drops = drops_since(&total.drops, &self.told);
            self.told = total.drops;
            line(zone, &total, &drops);
        }
    }
}

impl Source {
    fn update(&mut self) {
        let Some(report) = self.reports.newest() else { return };
        let before = self.newest.as_ref().map(|before| (before.at, before.counters)).unwrap_or_default();
        let micros = report.at.saturating_since(before.0).as_micros().max(1) as u64;
        let rate = |counter: fn(&Counters) -> u64| {
            (counter(&report.counters) - counter(&before.1)).saturating_mul(1_000_000) / micros
        };
        self.rates = Rates {
            packets_in: rate(|c| c.packets_in),
            bytes_in: rate(|c| c.bytes_in),
            packets_out: rate(|c| c.packets_out),
            bytes_out: rate(|c| c.bytes_out),
        };
        self.newest = Some(report);
    }
}

/// All workers together.
struct Total {
    rates: Rates,
    counters: Counters,
    connections: u64,
    accepted: u64,
    disconnects: u64,
    inputs_dropped: u64,
    drops: Drops,
    send_us: hdrhistogram::Histogram<u64>,
}

impl Total {
    fn of(workers: &[Source]) -> Self {
        let mut total = Self {
            rates: Rates::default(),
            counters: Counters::default(),
            connections: 0,
            accepted: 0,
            disconnects: 0,
            inputs_dropped: 0,
            drops: Drops::default(),
            send_us: micros_histogram(),
        };
        for source in workers {
            total.rates.add(&source.rates);
            if let Some(report) = &source.newest {
                total.counters.add(&report.counters);
                total.add_shard(&report.shard);
                // Cannot fail: all have the same bounds.
                let _ = total.send_us.add(&report.send_us);
            }
        }
        total
    }

    fn add_shard(&mut self, shard: &ShardStats) {
        self.connections += shard.connections;
        self.accepted += shard.accepted;
        self.disconnects += shard.disconnects;
        self.inputs_dropped += shard.inputs_dropped;
        self.drops.add(&shard.drops);
    }
}

impl Rates {
    fn add(&mut self, other: &Self) {
        self.packets_in += other.packets_in;
        self.bytes_in += other.bytes_in;
        self.packets_out += other.packets_out;
        self.bytes_out += other.bytes_out;
    }
}

fn line(zone: &ZoneReport, total: &Total, drops: &str) {
    let (zone_counters, input) = (&zone.counters, &zone.zone);
    info!(
        tick = zone.tick,
        players = zone.players,
        connections = total.connections,
        accepted = total.accepted,
        disconnects = total.disconnects,
        tick_us_p50 = zone.tick_us.value_at_quantile(0.5),
        tick_us_p99 = zone.tick_us.value_at_quantile(0.99),
        tick_us_max = zone.tick_us.max(),
        send_us_p50 = total.send_us.value_at_quantile(0.5),
        send_us_p99 = total.send_us.value_at_quantile(0.99),
        send_us_max = total.send_us.max(),
        late = zone_counters.late,
        skipped = zone_counters.skipped,
        packets_in = total.rates.packets_in,
        packets_out = total.rates.packets_out,
        bytes_in = total.rates.bytes_in,
        bytes_out = total.rates.bytes_out,
        drops,
        queue_drops = total.counters.inputs_dropped + total.counters.handed_dropped + zone_counters.frames_dropped,
        send_drops = total.counters.send_dropped,
        inputs_dropped = total.inputs_dropped,
        inputs_late = input.inputs_late,
        inputs_repeated = input.inputs_repeated,
        "status"
    );
}

/// `cause=count` for each cause that grew since the last line.
fn drops_since(now: &Drops, before: &Drops) -> String {
    let mut text = String::new();
    for (cause, count) in now.iter() {
        let grown = count.saturating_sub(before.get(cause));
        if grown > 0 {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}{}={grown}", cause.name());
        }
    }
    text
}
