//! A part of the window, as whoever watches a long run reads it.

use serde::Serialize;

use super::options::Progress;
use super::tally::Tally;

/// What was seen in a part of the window, and how far the run is. The fields' names are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Which one, from 1.
    pub interval: u64,
    /// Seconds from the beginning of the window to its end.
    pub seconds: f64,
    /// Clients connected at its end.
    pub online: u64,
    /// Clients that were out on purpose then.
    pub away: u64,
    /// Since the start: attempts to connect that failed.
    pub failed: u64,
    /// Since the start: connections that ended unwanted.
    pub disconnected: u64,
    /// Since the start: connections made by clients that had been in before.
    pub reconnects: u64,
    /// Since the start: new addresses that clients got.
    pub rebinds: u64,
    /// Age of what a client knows of other entities, in server ticks: median.
    pub staleness_ticks_p50: f64,
    /// 99th percentile of the same.
    pub staleness_ticks_p99: f64,
    /// Age of the newest snapshot that a client has, in server ticks: 99th percentile.
    pub view_age_ticks_p99: f64,
    /// Round-trip time, in milliseconds: 99th percentile.
    pub rtt_ms_p99: f64,
}

impl Interval {
    /// The one between two copies of a tally; `seconds`: from the beginning of the window to the later one.
    #[must_use]
    pub fn new(interval: u64, seconds: f64, progress: &Progress, before: &Tally, now: &Tally) -> Self {
        let since = now.since(before);
        let Progress { online, away, failed, disconnected, .. } = *progress;
        Self {
            interval,
            seconds,
            online,
            away,
            failed,
            disconnected,
            reconnects: now.reconnects,
            rebinds: now.rebinds,
            staleness_ticks_p50: since.staleness_ticks(0.5),
            staleness_ticks_p99: since.staleness_ticks(0.99),
            view_age_ticks_p99: since.view_age_ticks(0.99),
            rtt_ms_p99: since.rtt_ms(0.99),
        }
    }
}
