//! The table.

use crate::drift::Drift;
use crate::figures::Figures;

/// A line of the table: name, figure, unit, digits.
const LINES: [(&str, &str, &str, usize); 35] = [
    ("server, per player and tick", "us_per_player_tick", "µs", 2),
    ("  user", "user_us_per_player_tick", "µs", 2),
    ("  system", "system_us_per_player_tick", "µs", 2),
    ("floor of the same datagrams", "floor_us_per_player_tick", "µs", 2),
    ("ratio", "ratio", "", 2),
    ("tick p50", "tick_ms_p50", "ms", 2),
    ("tick p99", "tick_ms_p99", "ms", 2),
    ("tick max", "tick_ms_max", "ms", 2),
    ("  zone p99", "zone_ms_p99", "ms", 2),
    ("  send p99", "send_ms_p99", "ms", 2),
    ("  begun late p99.9", "late_ms_p999", "ms", 2),
    ("staleness p99", "staleness_ticks_p99", "ticks", 2),
    ("newest snapshot's age p99", "view_age_ticks_p99", "ticks", 2),
    ("shown as not any more p99", "untold_ticks_p99", "ticks", 0),
    ("shown as not any more max", "untold_ticks_max", "ticks", 0),
    ("round trip p50", "rtt_ms_p50", "ms", 1),
    ("round trip p99", "rtt_ms_p99", "ms", 1),
    ("others seen", "entities_seen_mean", "", 1),
    ("packets in", "packets_in_per_s", "/s", 0),
    ("packets out", "packets_out_per_s", "/s", 0),
    ("bytes in", "bytes_in_per_s", "/s", 0),
    ("bytes out", "bytes_out_per_s", "/s", 0),
    ("memory per player", "rss_kb_per_player", "KiB", 1),
    ("came back", "reconnects", "", 0),
    ("got a new address", "rebinds", "", 0),
    ("  and went on", "rebinds_survived", "", 0),
    ("waits (voluntary switches)", "context_switches_voluntary_per_s", "/s", 0),
    ("involuntary switches", "context_switches_involuntary_per_s", "/s", 0),
    ("server's busiest thread", "server_thread_awake", "", 3),
    ("bots' busiest thread", "bots_thread_awake", "", 3),
    ("server's core, used by it", "server_cores_used", "", 3),
    ("server's core, busy", "server_core_busy", "", 3),
    ("  not there (the host's)", "server_core_stolen", "", 3),
    ("bots' core, used by them", "bots_cores_used", "", 3),
    ("bots' core, busy", "bots_core_busy", "", 3),
];

/// A column for each run.
pub fn table(runs: &[(String, Figures)]) -> String {
    let mut text = format!("{:<34}", "");
    runs.iter().for_each(|(name, _)| text.push_str(&format!("{name:>14}")));
    text.push_str(&format!("\n{:<34}", "players"));
    runs.iter().for_each(|(_, figures)| text.push_str(&format!("{:>14}", figures.players())));
    for (name, key, unit, digits) in LINES {
        text.push_str(&format!("\n{:<34}", format!("{name}{}{unit}", if unit.is_empty() { "" } else { ", " })));
        for (_, figures) in runs {
            let value = figures.get(key);
            let cell = if value.is_finite() { format!("{value:.digits$}") } else { "-".into() };
            text.push_str(&format!("{cell:>14}"));
        }
    }
    text.push_str(&format!("\n{:<34}", "bottleneck"));
    runs.iter().for_each(|(_, figures)| text.push_str(&format!("{:>14}", figures.bottleneck.name())));
    for (name, limit) in runs.iter().filter_map(|(name, figures)| Some((name, figures.limit()?))) {
        text.push_str(&format!("\n{name}: what broke at {limit}"));
    }
    for (name, figures) in runs.iter().filter(|(_, figures)| !figures.broken().is_empty()) {
        text.push_str(&format!("\n{name}: {}", figures.broken().join(", ")));
    }
    for (name, figures) in
        runs.iter().filter(|(_, figures)| !figures.rows().is_empty() || figures.no_verdict().is_some())
    {
        text.push_str(&soak(name, figures));
    }
    text
}

/// How a soak went: a line for each measure.
fn soak(name: &str, figures: &Figures) -> String {
    let rows = figures.rows().len();
    let why = figures.no_verdict().map_or_else(String::new, |why| format!("\n{name}: no verdict: {why}"));
    if figures.drifts().is_empty() {
        return format!("\n{why}");
    }
    let mut text =
        format!("\n\n{:<34}{:>14}{:>14}{:>14}{:>14}", format!("{name}, {rows} rows"), "mean", "grew, %", "±, %", "");
    for drift in figures.drifts() {
        let Drift { name, unit, mean, .. } = drift;
        let name = format!("{name}, {unit}");
        let (growth, error) = (drift.growth * 100.0, drift.two_errors * 100.0);
        let verdict = drift.verdict().name();
        text.push_str(&format!("\n{name:<34}{mean:>14.2}{growth:>14.2}{error:>14.2}{verdict:>14}"));
    }
    text + &why
}
