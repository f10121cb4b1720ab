//! What a run must have shown.

use super::super::options::Scenario;
use super::Outcome;

/// A capsule is so wide, in metres: no correction may be as large.
pub const CAPSULE_M: f64 = 0.81;
/// Of the shots that hit on the screen and lie inside the window, at least so many must hit on the server.
pub const CONFIRMED: f64 = 0.99;
/// Of fewer hits no such share can be told: two may be missed of a hundred by chance. What would be too much of these is
/// too much of fewer as well.
pub const LEAST_HITS: u64 = 300;
/// A cheat may gain so much more over its twins than honest players do over each other by chance.
pub const MARGIN: f64 = 0.05;
/// In less time, in seconds, a lucky player gains more over its twin than any cheat.
pub const LEAST_SECONDS: u64 = 60;

impl Outcome {
    /// Judges the run.
    pub(in super::super) fn judge(&mut self, scenario: Scenario) {
        let (joined, clients, ended) = (self.joined, self.clients, self.disconnected);
        self.check(joined == clients, format!("joined: {joined} of {clients} clients, must be all"));
        self.check(ended == 0, format!("disconnected: {ended}, at most 0"));
        match scenario {
            Scenario::Solo => self.judge_solo(),
            Scenario::Fight => self.judge_fight(),
            Scenario::Hits => self.judge_hits(),
            Scenario::Cheats => self.judge_cheats(),
        }
    }

    fn check(&mut self, holds: bool, what: String) {
        if !holds {
            self.failed.push(what);
        }
    }

    fn judge_solo(&mut self) {
        let (inputs, corrections, restarts) = (self.inputs, self.corrections, self.restarts);
        self.check(inputs > 0, "inputs: none, so nothing was predicted".to_owned());
        self.check(corrections == 0, format!("corrections: {corrections}, at most 0"));
        self.check(restarts == 0, format!("restarts: {restarts}, at most 0"));
    }

    fn judge_fight(&mut self) {
        let largest = self.correction_m_max;
        self.check(self.shots > 0, "shots: none, so nobody fought".to_owned());
        self.check(largest < CAPSULE_M, format!("correction_m_max: {largest:.3} m, must be below {CAPSULE_M} m"));
    }

    fn judge_hits(&mut self) {
        let Self { shots, shots_inside, hits_seen, hits_confirmed, through_walls, .. } = *self;
        self.check(shots > 0, "shots: none, so nothing was hit".to_owned());
        if self.max_rewind_ms == 0 {
            self.not_shown
                .push("nothing is rewound: this is the contrast, and hits nothing that must be hit".to_owned());
            return;
        }
        self.check(through_walls == 0, format!("through_walls: {through_walls} shots, at most 0"));
        if shots_inside == 0 {
            let (delay, limit) = (self.shot_delay_ms_p50, self.max_rewind_ms);
            let why = format!("nothing inside the window: {shots} shots, view delay median {delay:.1} ms > {limit} ms");
            self.not_shown.extend((shots > 0).then_some(why));
        } else if hits_seen == 0 {
            self.not_shown.push(format!("none of the {shots_inside} shots inside the window hit on the screen"));
        }
        if (1..LEAST_HITS).contains(&hits_seen) {
            let few = "too few for a share (--seconds)";
            self.not_shown.push(format!("hits_share: {hits_seen} hits inside the window, of {LEAST_HITS}: {few}"));
        }
        let missed = hits_seen.saturating_sub(hits_confirmed) as f64;
        let enough = missed <= (1.0 - CONFIRMED) * hits_seen.max(LEAST_HITS) as f64;
        self.check(enough, format!("hits_share: {hits_confirmed} of {hits_seen} hits confirmed, at least {CONFIRMED}"));
    }

    fn judge_cheats(&mut self) {
        let (gained, by_chance, too_fast) = (self.cheat_advantage, self.honest_noise_p99, self.too_fast);
        self.check(self.damage > 0, "damage: none, so nobody fought".to_owned());
        self.check(too_fast == 0, format!("too_fast: {too_fast} ticks, at most 0"));
        if self.seconds < LEAST_SECONDS {
            let least = format!("{} seconds, of {LEAST_SECONDS}: too short for it (--seconds)", self.seconds);
            self.not_shown.push(format!("cheat_advantage: {gained:.3} in {least}"));
            return;
        }
        let at_most = format!("at most {MARGIN} above the {by_chance:.3} of honest players");
        self.check(gained <= by_chance + MARGIN, format!("cheat_advantage: {gained:.3}, {at_most}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::options::Options;
    use super::*;

    fn judged(scenario: Scenario, change: impl FnOnce(&mut Outcome)) -> Outcome {
        let mut outcome = Outcome::new(&Options::new(scenario, 1, 10), 16);
        let o = &mut outcome;
        (o.joined, o.inputs, o.shots, o.damage) = (16, 100, 50, 9);
        (o.shots_inside, o.hits_seen, o.hits_confirmed) = (40, 40, 40);
        change(o);
        outcome.judge(scenario);
        outcome
    }

    fn failed(scenario: Scenario, change: impl FnOnce(&mut Outcome)) -> Vec<String> {
        judged(scenario, change).failed
    }

    #[test]
    fn what_fails_is_named_with_its_figure_and_its_limit() {
        use Scenario::{Cheats, Fight, Hits, Solo};
        for scenario in [Solo, Fight, Hits, Cheats] {
            assert!(judged(scenario, |_| {}).is_fine());
            assert_eq!(failed(scenario, |o| o.disconnected = 2), ["disconnected: 2, at most 0"]);
        }
        assert_eq!(failed(Solo, |o| o.corrections = 3), ["corrections: 3, at most 0"]);
        let large = failed(Fight, |o| o.correction_m_max = 1.417);
        assert_eq!(large, ["correction_m_max: 1.417 m, must be below 0.81 m"]);
        let of_400 = |confirmed| failed(Hits, |o| (o.hits_seen, o.hits_confirmed) = (400, confirmed));
        assert_eq!(of_400(396), [""; 0]);
        assert_eq!(of_400(395), ["hits_share: 395 of 400 hits confirmed, at least 0.99"]);
        assert_eq!(failed(Hits, |o| o.through_walls = 1), ["through_walls: 1 shots, at most 0"]);
        let gained =
            |advantage| failed(Cheats, |o| (o.seconds, o.cheat_advantage, o.honest_noise_p99) = (60, advantage, 0.13));
        assert_eq!(gained(0.17), [""; 0]);
        assert_eq!(gained(0.19), ["cheat_advantage: 0.190, at most 0.05 above the 0.130 of honest players"]);
    }

    #[test]
    fn short_runs_fail_by_no_chance_and_say_that_they_are_short() {
        let few = |confirmed| judged(Scenario::Hits, |o| (o.hits_seen, o.hits_confirmed) = (88, confirmed));
        assert_eq!(few(87).failed, [""; 0]);
        assert_eq!(
            few(87).not_shown,
            ["hits_share: 88 hits inside the window, of 300: too few for a share (--seconds)"]
        );
        assert_eq!(few(84).failed, ["hits_share: 84 of 88 hits confirmed, at least 0.99"], "too much of 300 as well");
        let lucky = judged(Scenario::Cheats, |o| (o.seconds, o.cheat_advantage, o.honest_noise_p99) = (3, 11.3, 4.4));
        assert_eq!(lucky.failed, [""; 0]);
        assert_eq!(lucky.not_shown, ["cheat_advantage: 11.300 in 3 seconds, of 60: too short for it (--seconds)"]);
    }

    #[test]
    fn a_run_that_showed_nothing_is_not_fine() {
        let nobody = |o: &mut Outcome| (o.joined, o.inputs, o.shots, o.damage, o.shots_inside) = (0, 0, 0, 0, 0);
        for scenario in [Scenario::Solo, Scenario::Fight, Scenario::Hits, Scenario::Cheats] {
            let failed = failed(scenario, nobody);
            assert_eq!(failed.len(), 2, "{failed:?}");
            assert_eq!(failed[0], "joined: 0 of 16 clients, must be all");
        }
    }

    #[test]
    fn a_window_that_no_shot_fits_into_is_no_failure_and_not_fine_either() {
        let outcome = judged(Scenario::Hits, |o| {
            (o.shots_inside, o.hits_seen, o.hits_confirmed, o.shot_delay_ms_p50) = (0, 0, 0, 281.25);
        });
        assert!(outcome.is_fine());
        assert_eq!(outcome.not_shown, ["nothing inside the window: 50 shots, view delay median 281.2 ms > 250 ms"]);
        assert!(outcome.to_string().contains("NOT SHOWN") && !outcome.to_string().contains("(fine)"), "{outcome}");
    }
}
