//! A soak as a series: a row each few seconds of the window.

use serde_json::{Value, json};

use crate::drift::Drift;
use crate::setup::Scenario;

/// The most that each may grow over a soak, as a share of its mean. Ticks and CPU time are the machine's as well, so they have
/// more room; where it is too restless for even that, the verdict is that nothing can be told.
const MAX_MEMORY: f64 = 0.03;
const MAX_TIME: f64 = 0.1;
/// A row takes so many seconds, ...
const ROW_SECONDS: f64 = 10.0;
/// ... but there are about so many rows in a short soak.
const ROWS: f64 = 30.0;

/// How many seconds a row of a window of so many takes, 1 to 10.
pub fn row_seconds(window: f64) -> u32 {
    (window / ROWS).round().clamp(1.0, ROW_SECONDS) as u32
}

/// What was seen in some seconds of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// Seconds from the beginning of the window to its end.
    pub at_s: f64,
    /// The server's memory at its end, in KiB.
    pub rss_kb: f64,
    /// From when a tick was due to the last datagram of its frame: median.
    pub tick_ms_p50: f64,
    /// 99th percentile of the same.
    pub tick_ms_p99: f64,
    /// CPU time of the server per player asked for and tick.
    pub us_per_player_tick: f64,
    /// From the bots' latest line; NaN where they said nothing meanwhile.
    pub staleness_ticks_p99: f64,
    /// As that.
    pub view_age_ticks_p99: f64,
    /// The fewest players in the world.
    pub players: u64,
    /// Datagrams that the server's sockets, queues or kernel dropped.
    pub drops: u64,
}

/// A figure of a row that must not grow.
pub struct Measure {
    /// In the JSON.
    pub key: &'static str,
    /// In words.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Of a row, in that unit.
    pub of: fn(&Row) -> f64,
    /// The most that it may grow over a soak, as a share of its mean.
    pub bound: f64,
}

const MEMORY: Measure = Measure { key: "rss_kb", name: "memory", unit: "KiB", of: |row| row.rss_kb, bound: MAX_MEMORY };
const TICK: Measure =
    Measure { key: "tick_ms_p99", name: "tick p99", unit: "ms", of: |row| row.tick_ms_p99, bound: MAX_TIME };
const STALENESS: Measure = Measure {
    key: "staleness_ticks_p99",
    name: "staleness p99",
    unit: "ticks",
    of: |row| row.staleness_ticks_p99,
    bound: MAX_TIME,
};
/// Which is what counts in a crowd.
const VIEW_AGE: Measure = Measure {
    key: "view_age_ticks_p99",
    name: "newest snapshot's age p99",
    unit: "ticks",
    of: |row| row.view_age_ticks_p99,
    bound: MAX_TIME,
};
const CPU: Measure = Measure {
    key: "us_per_player_tick",
    name: "CPU per player and tick",
    unit: "µs",
    of: |row| row.us_per_player_tick,
    bound: MAX_TIME,
};

/// What must not grow in that scenario.
pub const fn measures(scenario: Scenario) -> [Measure; 4] {
    match scenario {
        Scenario::Crowd => [MEMORY, TICK, VIEW_AGE, CPU],
        Scenario::Spread | Scenario::Fight | Scenario::Idle => [MEMORY, TICK, STALENESS, CPU],
    }
}

/// How each of them went; nothing of a few rows.
pub fn drifts(scenario: Scenario, rows: &[Row]) -> Vec<Drift> {
    let drift = |measure: Measure| {
        let values: Vec<_> = rows.iter().map(|row| (row.at_s, (measure.of)(row))).collect();
        Drift::of(&measure, &values)
    };
    measures(scenario).into_iter().filter_map(drift).collect()
}

impl Row {
    /// As scripts read it; what is no number is `null`.
    pub fn json(&self) -> Value {
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        json!({
            "at_s": rounded(self.at_s),
            "rss_kb": self.rss_kb,
            "tick_ms_p50": rounded(self.tick_ms_p50),
            "tick_ms_p99": rounded(self.tick_ms_p99),
            "us_per_player_tick": rounded(self.us_per_player_tick),
            "staleness_ticks_p99": rounded(self.staleness_ticks_p99),
            "view_age_ticks_p99": rounded(self.view_age_ticks_p99),
            "players": self.players,
            "drops": self.drops,
        })
    }

    /// One line for the progress on standard error.
    pub fn line(&self) -> String {
        format!(
            "{:5.0} s: memory {:.0} KiB, tick p99 {:.1} ms, {:.2} µs per player and tick, staleness p99 {:.2} ticks, {} players, \
             {} dropped",
            self.at_s,
            self.rss_kb,
            self.tick_ms_p99,
            self.us_per_player_tick,
            self.staleness_ticks_p99,
            self.players,
            self.drops
        )
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::drift::Verdict;

    /// A steady server, but for a leak of so many KiB a row.
    pub fn rows(count: u32, leak_kb: f64) -> Vec<Row> {
        let row = |at: u32| Row {
            at_s: f64::from(at + 1) * 10.0,
            rss_kb: 50_000.0 + leak_kb * f64::from(at),
            tick_ms_p50: 4.0,
            tick_ms_p99: 8.0 + f64::from(at % 3) / 10.0,
            us_per_player_tick: 9.0 + f64::from(at % 5) / 20.0,
            staleness_ticks_p99: 1.2,
            view_age_ticks_p99: 1.1,
            players: 500,
            drops: 0,
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn a_leak_is_told_from_a_steady_server() {
        let verdicts = |rows: &[Row]| drifts(Scenario::Spread, rows).iter().map(Drift::verdict).collect::<Vec<_>>();
        assert_eq!(verdicts(&rows(180, 0.0)), [Verdict::Steady; 4]);
        assert_eq!(
            verdicts(&rows(180, 20.0)),
            [Verdict::Grows, Verdict::Steady, Verdict::Steady, Verdict::Steady],
            "20 KiB in 10 s are 6 MiB in half an hour"
        );
        assert!(verdicts(&rows(5, 0.0)).is_empty());
    }

    #[test]
    fn in_a_crowd_the_newest_snapshot_counts_and_not_when_somebody_was_confirmed() {
        let mut rows = rows(100, 0.0);
        rows.iter_mut().enumerate().for_each(|(at, row)| row.staleness_ticks_p99 += at as f64);
        let grows = |scenario| drifts(scenario, &rows).iter().any(|drift| drift.verdict() == Verdict::Grows);
        assert!(grows(Scenario::Spread) && !grows(Scenario::Crowd));
    }

    #[test]
    fn half_an_hour_has_rows_of_ten_seconds_and_a_short_soak_shorter_ones() {
        assert_eq!([1.0, 6.0, 45.0, 60.0, 299.0, 1800.0, 3600.0].map(row_seconds), [1, 1, 2, 2, 10, 10, 10]);
    }

    #[test]
    fn a_row_has_every_figure_of_the_contract_and_null_for_what_nobody_said() {
        let row = Row { staleness_ticks_p99: f64::NAN, ..rows(1, 0.0).remove(0) }.json();
        assert!(row["staleness_ticks_p99"].is_null(), "{row}");
        for name in ["at_s", "rss_kb", "tick_ms_p50", "tick_ms_p99", "us_per_player_tick", "players", "drops"] {
            assert!(row[name].is_number(), "{name}: {row}");
        }
    }
}
