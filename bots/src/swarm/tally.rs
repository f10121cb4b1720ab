//! What a squad measured.

use std::collections::BTreeMap;

use client::Unplayable;
use hdrhistogram::Histogram;
use netcode::stats::Traffic;

/// Staleness is recorded in hundredths of a tick.
pub(super) const STALENESS_UNIT: f64 = 100.0;
const STALENESS_MAX: u64 = 1_000_000;
const RTT_MAX_MICROS: u64 = 60_000_000;
/// Margins are recorded as themselves plus this.
const MARGIN_BIAS: i64 = 128;

/// Counters and distributions; those of several squads can be added.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Clients that got in at least once.
    pub connected: u64,
    /// Connections made, rejoins included.
    pub joins: u64,
    /// Attempts to connect that failed, by cause.
    pub failed: BTreeMap<String, u64>,
    /// Connections that ended although nobody here wanted it, by cause.
    pub disconnected: BTreeMap<String, u64>,
    /// Of these, such that left by themselves because nothing could be played there: why, in words and as it was said, and how
    /// many.
    pub unplayable: BTreeMap<String, (Unplayable, u64)>,
    /// Connections that their clients left to come back.
    pub leaves: u64,
    /// Connections made by who had been in before.
    pub reconnects: u64,
    /// Attempts of these that failed.
    pub reconnects_failed: u64,
    /// New addresses that clients got.
    pub rebinds: u64,
    /// Of these, such as a snapshot came to.
    pub rebinds_survived: u64,
    /// Of these, such as no snapshot came to before the connection ended unwanted.
    pub rebinds_lost: u64,
    /// Clients that were in at the end of the window.
    pub online: u64,
    /// Clients that were out then, to come back.
    pub away: u64,
    /// Snapshots applied in the window.
    pub snapshots: u64,
    /// Of these, such in the compact codec.
    pub compact: u64,
    /// Snapshots due in the window.
    pub snapshots_due: f64,
    /// Seconds in which they were due, over all clients.
    pub settled_seconds: f64,
    /// Seconds connected in the window, over all clients.
    pub client_seconds: f64,
    /// UDP payload received in the window, in bytes.
    pub down_bytes: u64,
    /// UDP payload sent in the window, in bytes.
    pub up_bytes: u64,
    /// Looks at a client's view in the window.
    pub samples: u64,
    /// Other entities in view, summed over the samples.
    pub entities: u64,
    staleness: Histogram<u64>,
    /// Of whole snapshots, in hundredths of a tick.
    view_age: Histogram<u64>,
    /// In ticks.
    untold: Histogram<u64>,
    rtt: Histogram<u64>,
    margin: Histogram<u64>,
}

fn histogram(max: u64) -> Histogram<u64> {
    Histogram::new_with_bounds(1, max, 3).expect("the bounds are constants that fit")
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            connected: 0,
            joins: 0,
            failed: BTreeMap::new(),
            disconnected: BTreeMap::new(),
            unplayable: BTreeMap::new(),
            leaves: 0,
            reconnects: 0,
            reconnects_failed: 0,
            rebinds: 0,
            rebinds_survived: 0,
            rebinds_lost: 0,
            online: 0,
            away: 0,
            snapshots: 0,
            compact: 0,
            snapshots_due: 0.0,
            settled_seconds: 0.0,
            client_seconds: 0.0,
            down_bytes: 0,
            up_bytes: 0,
            samples: 0,
            entities: 0,
            staleness: histogram(STALENESS_MAX),
            view_age: histogram(STALENESS_MAX),
            untold: histogram(STALENESS_MAX),
            rtt: histogram(RTT_MAX_MICROS),
            margin: histogram(256),
        }
    }
}

impl Tally {
    /// An entity's newest state was that many ticks old.
    pub(super) fn stale(&mut self, ticks: f64) {
        self.staleness.saturating_record((ticks.max(0.0) * STALENESS_UNIT + 0.5) as u64);
    }

    /// The newest snapshot of a view was that many ticks old.
    pub(super) fn view_age(&mut self, ticks: f64) {
        self.view_age.saturating_record((ticks.max(0.0) * STALENESS_UNIT + 0.5) as u64);
    }

    /// Somebody in view had not been as shown for so many ticks.
    pub(super) fn untold(&mut self, ticks: u64) {
        self.untold.saturating_record(ticks);
    }

    /// A round trip took that long.
    pub(super) fn round_trip(&mut self, micros: u64) {
        self.rtt.saturating_record(micros);
    }

    /// A snapshot reported that margin.
    pub(super) fn margin(&mut self, margin: i8) {
        self.margin.saturating_record((i64::from(margin) + MARGIN_BIAS) as u64);
    }

    /// Bytes that passed since `before`.
    pub(super) fn traffic(&mut self, before: &Traffic, now: &Traffic) {
        self.down_bytes += now.bytes_in - before.bytes_in;
        self.up_bytes += now.bytes_out - before.bytes_out;
    }

    /// Adds another squad's.
    pub fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.joins += other.joins;
        for (mine, theirs) in [(&mut self.failed, &other.failed), (&mut self.disconnected, &other.disconnected)] {
            for (cause, count) in theirs {
                *mine.entry(cause.clone()).or_default() += count;
            }
        }
        for (cause, (why, count)) in &other.unplayable {
            self.unplayable.entry(cause.clone()).or_insert((*why, 0)).1 += count;
        }
        self.leaves += other.leaves;
        self.reconnects += other.reconnects;
        self.reconnects_failed += other.reconnects_failed;
        self.rebinds += other.rebinds;
        self.rebinds_survived += other.rebinds_survived;
        self.rebinds_lost += other.rebinds_lost;
        self.online += other.online;
        self.away += other.away;
        self.snapshots += other.snapshots;
        self.compact += other.compact;
        self.snapshots_due += other.snapshots_due;
        self.settled_seconds += other.settled_seconds;
        self.client_seconds += other.client_seconds;
        self.down_bytes += other.down_bytes;
        self.up_bytes += other.up_bytes;
        self.samples += other.samples;
        self.entities += other.entities;
        // The bounds are the same, so nothing can fail to fit.
        let _ = self.staleness.add(&other.staleness);
        let _ = self.view_age.add(&other.view_age);
        let _ = self.untold.add(&other.untold);
        let _ = self.rtt.add(&other.rtt);
        let _ = self.margin.add(&other.margin);
    }

    /// The distributions of what came since `before`, an earlier copy of this; counters are left as they are.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        // What was recorded stays recorded, so nothing is taken that is not there.
        let _ = since.staleness.subtract(&before.staleness);
        let _ = since.view_age.subtract(&before.view_age);
        let _ = since.untold.subtract(&before.untold);
        let _ = since.rtt.subtract(&before.rtt);
        let _ = since.margin.subtract(&before.margin);
        since
    }

    /// Age of what is known of an entity, in ticks, at that quantile (0 to 1).
    #[must_use]
    pub fn staleness_ticks(&self, quantile: f64) -> f64 {
        self.staleness.value_at_quantile(quantile) as f64 / STALENESS_UNIT
    }

    /// Age of the newest snapshot that a client has, in ticks, at that quantile.
    #[must_use]
    pub fn view_age_ticks(&self, quantile: f64) -> f64 {
        self.view_age.value_at_quantile(quantile) as f64 / STALENESS_UNIT
    }

    /// For how many ticks somebody in view has not been as shown, at that quantile: 0 for who is where he is shown.
    #[must_use]
    pub fn untold_ticks(&self, quantile: f64) -> u64 {
        self.untold.value_at_quantile(quantile)
    }

    /// How many times it was looked whether somebody is as shown.
    #[must_use]
    pub fn untold_looks(&self) -> u64 {
        self.untold.len()
    }

    /// Round-trip time in milliseconds at that quantile.
    #[must_use]
    pub fn rtt_ms(&self, quantile: f64) -> f64 {
        self.rtt.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// By how many ticks inputs came early, at that quantile.
    #[must_use]
    pub fn input_margin(&self, quantile: f64) -> i64 {
        if self.margin.is_empty() { 0 } else { self.margin.value_at_quantile(quantile) as i64 - MARGIN_BIAS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut a = Tally { connected: 2, snapshots: 10, ..Tally::default() };
        let mut b = Tally { connected: 3, snapshots: 5, ..Tally::default() };
        b.failed.insert("x".into(), 2);
        for tick in 0..100 {
            a.stale(f64::from(tick) / 100.0);
            b.view_age(1.5);
            b.untold(u64::from(tick > 97) * 30);
            b.margin(-2);
        }
        a.add(&b);
        assert_eq!((a.connected, a.snapshots, a.failed["x"]), (5, 15, 2));
        assert_eq!(
            (a.untold_ticks(0.5), a.untold_ticks(0.99), a.untold_ticks(1.0), a.untold_looks()),
            (0, 30, 30, 100)
        );
        assert!((a.view_age_ticks(0.99) - 1.5).abs() < 0.01);
        assert!((a.staleness_ticks(0.5) - 0.5).abs() < 0.02);
        assert_eq!(a.input_margin(0.5), -2);
    }

    #[test]
    fn what_came_since_a_copy_is_not_what_came_before() {
        let mut tally = Tally::default();
        (0..100).for_each(|_| tally.stale(9.0));
        let before = tally.clone();
        (0..50).for_each(|_| tally.stale(1.5));
        let since = tally.since(&before);
        assert!((since.staleness_ticks(0.99) - 1.5).abs() < 0.01 && tally.staleness_ticks(0.99) > 8.9);
        assert_eq!(tally.since(&tally).staleness_ticks(0.99), 0.0);
    }

    #[test]
    fn an_empty_tally_has_zeroes() {
        let tally = Tally::default();
        assert_eq!((tally.staleness_ticks(0.99), tally.rtt_ms(0.5), tally.input_margin(0.5)), (0.0, 0.0, 0));
    }
}
