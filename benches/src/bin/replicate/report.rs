//! The table, the JSON file and the plots.

use std::fs;
use std::io;
use std::path::Path;

use benches::plot::{self, Series};
use serde_json::json;

use crate::figures::Figures;
use crate::setup::{Codec, Scenario};

/// The stages of the cost, as they lie on one another in a plot.
const STAGES: [&str; 6] = ["acks", "push", "aoi", "priority", "pack", "seal"];

/// Columns: title, figure, decimals.
const COLUMNS: [(&str, &str, usize); 24] = [
    ("seen", "visible", 1),
    ("acks", "acks", 2),
    ("push", "push", 2),
    ("aoi", "aoi", 2),
    ("prio", "priority", 2),
    ("pack", "pack", 2),
    ("seal", "seal", 2),
    ("sum", "us_per_client_tick", 2),
    ("a+p+p", "aoi_priority_pack", 2),
    ("step", "step_us_per_player", 2),
    ("tick ms", "tick_ms", 2),
    ("max ms", "tick_ms_max", 2),
    ("bytes", "datagram_bytes_mean", 1),
    ("bits", "bits_per_update", 1),
    ("updates", "updates_per_client_tick", 2),
    ("shared", "shared", 2),
    ("cut", "cut", 2),
    ("near", "near_full_rate", 3),
    ("told", "near_told_rate", 3),
    ("refresh", "refresh_worst_s", 2),
    ("wrong", "wrong_worst_s", 2),
    ("apart m", "shown_m_mean", 3),
    ("p99 m", "shown_m_p99", 2),
    ("B/s max", "bytes_per_s_max", 0),
];

/// The lines above the rows.
pub fn head(rate: u16, seconds: u16) -> String {
    let titles: String = COLUMNS.iter().map(|(title, ..)| format!("{title:>8}")).collect();
    format!(
        "µs per client and tick (step: per player), {rate} Hz, {seconds} virtual seconds\n{:>8}{:>8}{:>9}{:>8}{titles}",
        "codec", "zone", "players", "clients"
    )
}

/// A run's line.
pub fn row(figures: &Figures) -> String {
    let setup = &figures.setup;
    let all = figures.all();
    let value = |name: &str| all.iter().find(|(other, _)| *other == name).map_or(f64::NAN, |(_, value)| *value);
    let cells = COLUMNS.iter().map(|(_, name, decimals)| format!("{:>8.decimals$}", value(name)));
    let first =
        format!("{:>8}{:>8}{:>9}{:>8}", setup.codec.name(), setup.scenario.name(), setup.players, figures.clients);
    first + &cells.collect::<String>()
}

/// How the cost per client grows from the fewest players (500 at least, if there are) to the most, where the density is
/// the same.
pub fn growth(runs: &[Figures]) -> Vec<String> {
    let mut lines = Vec::new();
    for (codec, scenario, of) in groups(runs) {
        let ends = of.iter().find(|run| run.setup.players >= 500).zip(of.last());
        let Some((few, many)) = ends.filter(|(few, many)| few.setup.players < many.setup.players) else { continue };
        if scenario == Scenario::Crowd {
            continue;
        }
        let percent = |name: &str| (many.get(name) / few.get(name) - 1.0) * 100.0;
        lines.push(format!(
            "{} {}: from {} to {} players the cost per client grows by {:.1} % (aoi + priority + pack: {:.1} %)",
            codec.name(),
            scenario.name(),
            few.setup.players,
            many.setup.players,
            percent("us_per_client_tick"),
            percent("aoi_priority_pack"),
        ));
    }
    lines
}

/// The runs by codec and scenario, each group by players.
fn groups(runs: &[Figures]) -> Vec<(Codec, Scenario, Vec<&Figures>)> {
    let codecs = [Codec::Fast, Codec::Compact];
    let kinds = codecs.into_iter().flat_map(|codec| Scenario::ALL.map(|scenario| (codec, scenario)));
    let groups = kinds.map(|(codec, scenario)| {
        let same = |run: &&Figures| (run.setup.codec, run.setup.scenario) == (codec, scenario);
        let mut of: Vec<_> = runs.iter().filter(same).collect();
        of.sort_by_key(|run| run.setup.players);
        (codec, scenario, of)
    });
    groups.filter(|(.., of)| !of.is_empty()).collect()
}

/// Writes all figures as JSON, and the plots beside.
///
/// # Errors
/// If a file cannot be written.
pub fn write(dir: &Path, runs: &[Figures]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let all = json!({ "runs": runs.iter().map(Figures::json).collect::<Vec<_>>() });
    fs::write(dir.join("replicate.json"), format!("{all:#}\n"))?;
    let charts = [
        ("cost", "Cost of a client in a tick", "µs", "us_per_client_tick"),
        ("bytes", "Mean datagram, all included", "bytes", "datagram_bytes_mean"),
        ("bits", "Update of an entity", "bits", "bits_per_update"),
        ("tick", "Whole tick on one core", "ms", "tick_ms"),
    ];
    let groups = groups(runs);
    for (file, title, unit, name) in charts {
        let series = groups.iter().map(|(codec, scenario, of)| Series {
            name: format!("{} {}", codec.name(), scenario.name()),
            points: of.iter().map(|run| (f64::from(run.setup.players), run.get(name))).collect(),
        });
        fs::write(dir.join(format!("{file}.svg")), plot::lines(title, unit, &series.collect::<Vec<_>>()))?;
    }
    for (codec, scenario, of) in &groups {
        let labels: Vec<_> = of.iter().map(|run| run.setup.players.to_string()).collect();
        let parts = STAGES.map(|stage| (stage.to_owned(), of.iter().map(|run| run.get(stage)).collect()));
        let title = format!("Stages of a client's tick: {}, {}", scenario.name(), codec.name());
        let file = format!("stages-{}-{}.svg", codec.name(), scenario.name());
        fs::write(dir.join(file), plot::bars(&title, "µs", "players", &labels, &parts))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench;
    use crate::setup::Setup;
    use crate::setup::tests::setup;

    #[test]
    fn every_column_is_a_figure_and_growth_is_told_of_equal_densities_only() {
        let setups = [60, 700, 500].map(|players| Setup { clients: Some(5), ..setup(players, Scenario::Idle) });
        let runs = bench::run(&setups).unwrap();
        assert!(runs.iter().all(|run| !row(run).contains("NaN")));
        assert!(STAGES.iter().all(|stage| runs[0].get(stage) >= 0.0));
        let lines = growth(&runs);
        assert!(lines.len() == 1 && lines[0].starts_with("fast idle: from 500 to 700 players"), "{lines:?}");
        assert!(growth(&runs[..1]).is_empty());
    }
}
