//! The pictures: what a player and tick cost, and the floor beside it; and how a soak went.

use benches::plot::{Panel, bars, panels};

use crate::figures::Figures;
use crate::series::{Measure, measures};

/// Two bars for each run, the server's and the floor's, each of user and system time.
pub fn chart(runs: &[(String, Figures)]) -> String {
    let (mut labels, mut user, mut system) = (Vec::new(), Vec::new(), Vec::new());
    for (name, figures) in runs {
        labels.push(format!("{name} {}", figures.players()));
        user.push(figures.get("user_us_per_player_tick"));
        system.push(figures.get("system_us_per_player_tick"));
        let floor = figures.get("floor_us_per_player_tick");
        if floor.is_finite() {
            labels.push("floor".into());
            let floor_user = figures.get("floor_user_us_per_player_tick");
            user.push(floor_user);
            system.push(floor - floor_user);
        }
    }
    bars(
        "CPU per player and tick",
        "µs",
        "scenario, players",
        &labels,
        &[("user".into(), user), ("system".into(), system)],
    )
}

/// What must not grow, over time, a line for each run; where only some of them are crowds, what counts in these is left out.
pub fn soak(runs: &[(String, Figures)]) -> String {
    let names: Vec<_> = runs.iter().map(|(name, figures)| format!("{name} {}", figures.players())).collect();
    let panel = |measure: &Measure| Panel {
        name: measure.name.to_owned(),
        unit: measure.unit.to_owned(),
        lines: runs
            .iter()
            .map(|(_, figures)| figures.rows().iter().map(|row| (row.at_s, (measure.of)(row))).collect())
            .collect(),
    };
    let shown = runs.first().map(|(_, figures)| measures(figures.scenario()));
    panels("Soak", &names, &shown.iter().flatten().map(panel).collect::<Vec<_>>())
}
