//! The picture: what a player and tick cost, and the floor beside it.

use benches::plot::bars;

use crate::figures::Figures;

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
