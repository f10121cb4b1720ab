//! The end of a run, as people and scripts read it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::tally::Tally;

/// A whole run. The fields' names are a contract with scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Clients asked for.
    pub clients: u64,
    /// Length of the window in which was measured, in seconds.
    pub seconds: f64,
    /// Clients that got in.
    pub connected: u64,
    /// Attempts to connect that failed.
    pub failed: u64,
    /// The same, by cause.
    pub failed_by_cause: BTreeMap<String, u64>,
    /// Connections that ended although the swarm did not want it.
    pub disconnected: u64,
    /// The same, by cause.
    pub disconnected_by_cause: BTreeMap<String, u64>,
    /// Connections made, rejoins of churning clients included.
    pub joins: u64,
    /// Connections that their clients left, to come back.
    pub leaves: u64,
    /// Connections made by clients that had been in before.
    pub reconnects: u64,
    /// Attempts of these that failed; they are among `failed`, too.
    pub reconnects_failed: u64,
    /// New addresses that connected clients got.
    pub rebinds: u64,
    /// Of these, such as a snapshot came to: the connection went on. Where a connection was left on purpose before, or the run
    /// ended, nobody knows.
    pub rebinds_survived: u64,
    /// Of these, such as no snapshot came to before the connection ended unwanted; these are among `disconnected`, too.
    pub rebinds_lost: u64,
    /// Clients that were in at the end of the window.
    pub online_at_end: u64,
    /// Clients that were out on purpose then, to come back.
    pub away_at_end: u64,
    /// Snapshots received, as a share of those due.
    pub snapshot_rate: f64,
    /// Snapshots received, as a share of those due that the emulated network does not lose.
    pub snapshot_rate_unlost: f64,
    /// The share of them that was in the compact codec.
    pub compact_share: f64,
    /// Snapshots received per second and client.
    pub snapshots_per_s: f64,
    /// Age of what a client knows of other entities, in server ticks: median.
    pub staleness_ticks_p50: f64,
    /// 99th percentile of the same.
    pub staleness_ticks_p99: f64,
    /// Age of the newest snapshot that a client has, in server ticks: 99th percentile.
    pub view_age_ticks_p99: f64,
    /// For how many ticks whoever is in view has not been as shown, since nothing was told of how it turned (0: it is as
    /// shown): 99th percentile. From what whole clients have of each other.
    pub untold_ticks_p99: u64,
    /// The most of the same.
    pub untold_ticks_max: u64,
    /// How often that was looked at.
    pub untold_looks: u64,
    /// Round-trip time, in milliseconds: median.
    pub rtt_ms_p50: f64,
    /// 99th percentile of the same.
    pub rtt_ms_p99: f64,
    /// UDP payload from the server per client and second.
    pub down_bytes_per_s: f64,
    /// UDP payload to the server per client and second.
    pub up_bytes_per_s: f64,
    /// Other entities in a client's view, on average.
    pub entities_seen_mean: f64,
    /// By how many ticks inputs came early: median.
    pub input_margin_p50: i64,
    /// First percentile of the same.
    pub input_margin_p1: i64,
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

impl Summary {
    /// Of a run with that many clients, a window of that many seconds, and a network that loses that share.
    #[must_use]
    pub fn new(clients: u64, seconds: f64, loss: f64, tally: &Tally) -> Self {
        Self {
            clients,
            seconds,
            connected: tally.connected,
            failed: tally.failed.values().sum(),
            failed_by_cause: tally.failed.clone(),
            disconnected: tally.disconnected.values().sum(),
            disconnected_by_cause: tally.disconnected.clone(),
            joins: tally.joins,
            leaves: tally.leaves,
            reconnects: tally.reconnects,
            reconnects_failed: tally.reconnects_failed,
            rebinds: tally.rebinds,
            rebinds_survived: tally.rebinds_survived,
            rebinds_lost: tally.rebinds_lost,
            online_at_end: tally.online,
            away_at_end: tally.away,
            // A window may catch a snapshot more than its length promises.
            snapshot_rate: ratio(tally.snapshots as f64, tally.snapshots_due).min(1.0),
            snapshot_rate_unlost: ratio(tally.snapshots as f64, tally.snapshots_due * (1.0 - loss)).min(1.0),
            compact_share: ratio(tally.compact as f64, tally.snapshots as f64),
            snapshots_per_s: ratio(tally.snapshots as f64, tally.settled_seconds),
            staleness_ticks_p50: tally.staleness_ticks(0.5),
            staleness_ticks_p99: tally.staleness_ticks(0.99),
            view_age_ticks_p99: tally.view_age_ticks(0.99),
            untold_ticks_p99: tally.untold_ticks(0.99),
            untold_ticks_max: tally.untold_ticks(1.0),
            untold_looks: tally.untold_looks(),
            rtt_ms_p50: tally.rtt_ms(0.5),
            rtt_ms_p99: tally.rtt_ms(0.99),
            down_bytes_per_s: ratio(tally.down_bytes as f64, tally.client_seconds),
            up_bytes_per_s: ratio(tally.up_bytes as f64, tally.client_seconds),
            entities_seen_mean: ratio(tally.entities as f64, tally.samples as f64),
            input_margin_p50: tally.input_margin(0.5),
            input_margin_p1: tally.input_margin(0.01),
        }
    }

    /// Of a run that could not be made: every client failed for that reason.
    #[must_use]
    pub fn not_run(clients: u64, cause: &str) -> Self {
        let mut tally = Tally::default();
        tally.failed.insert(cause.to_owned(), clients);
        Self::new(clients, 0.0, 0.0, &tally)
    }

    /// Whether everyone got in, stayed in, and saw the world.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.connected == self.clients && self.failed == 0 && self.disconnected == 0 && self.snapshot_rate > 0.0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "clients        {} of {} connected, {} joins", self.connected, self.clients, self.joins)?;
        writeln!(f, "failed         {}", self.failed)?;
        for (cause, count) in &self.failed_by_cause {
            writeln!(f, "               {count} x {cause}")?;
        }
        writeln!(f, "disconnected   {}", self.disconnected)?;
        for (cause, count) in &self.disconnected_by_cause {
            writeln!(f, "               {count} x {cause}")?;
        }
        if self.leaves + self.rebinds > 0 {
            let Self { leaves, reconnects, reconnects_failed, rebinds, rebinds_survived, rebinds_lost, .. } = self;
            writeln!(
                f,
                "churn          {leaves} left, {reconnects} came back, {reconnects_failed} attempts to failed"
            )?;
            writeln!(f, "new addresses  {rebinds}, {rebinds_survived} connections went on, {rebinds_lost} did not")?;
            writeln!(f, "at the end     {} in, {} away on purpose", self.online_at_end, self.away_at_end)?;
        }
        let (due, unlost) = (self.snapshot_rate * 100.0, self.snapshot_rate_unlost * 100.0);
        writeln!(f, "snapshots      {:.2} /s per client", self.snapshots_per_s)?;
        writeln!(f, "               {due:.2} % of those due, {unlost:.2} % of those not lost on purpose")?;
        writeln!(f, "               {:.2} % in the compact codec", self.compact_share * 100.0)?;
        writeln!(f, "staleness      p50 {:.2}, p99 {:.2} ticks", self.staleness_ticks_p50, self.staleness_ticks_p99)?;
        writeln!(f, "newest         p99 {:.2} ticks old", self.view_age_ticks_p99)?;
        writeln!(
            f,
            "untold         p99 {}, max {} ticks, of {} looks",
            self.untold_ticks_p99, self.untold_ticks_max, self.untold_looks
        )?;
        writeln!(f, "round trip     p50 {:.1}, p99 {:.1} ms", self.rtt_ms_p50, self.rtt_ms_p99)?;
        writeln!(f, "input margin   p50 {}, p1 {} ticks", self.input_margin_p50, self.input_margin_p1)?;
        writeln!(f, "down / up      {:.0} / {:.0} bytes/s per client", self.down_bytes_per_s, self.up_bytes_per_s)?;
        write!(f, "entities seen  {:.1} on average", self.entities_seen_mean)
    }
}
