//! Short scenarios: each shows what it is to show, and again the same.

use bots::scenario::{CAPSULE_M, Options, Outcome, Scenario, run};
use netcode::crypto::OsEntropy;

fn play(options: Options) -> Outcome {
    #[expect(clippy::disallowed_methods, reason = "a test; X25519 keys cannot be seeded")]
    let entropy = OsEntropy::new();
    run(&options, Box::new(entropy)).unwrap()
}

fn over(scenario: Scenario, rtt_ms: u32, seconds: u32) -> Options {
    Options { rtt_ms, jitter_ms: 10, loss: 0.02, ..Options::new(scenario, 3, seconds) }
}

#[test]
fn a_player_alone_is_never_corrected_whatever_its_path() {
    for rtt_ms in [20, 100, 300] {
        let outcome = play(Options { jitter_ms: 30, loss: 0.05, ..over(Scenario::Solo, rtt_ms, 60) });
        assert!(outcome.is_fine(), "{outcome}");
        assert_eq!((outcome.corrections, outcome.inputs_late), (0, 0), "{outcome}");
        assert!(outcome.inputs > 1150 && outcome.shots > 50, "{outcome}");
    }
}

#[test]
fn a_player_alone_is_not_corrected_in_its_first_seconds_either_at_any_rate() {
    for (rate_hz, seed) in
        [20, 30, 60, 64, 128].into_iter().flat_map(|rate_hz| (1..=4).map(move |seed| (rate_hz, seed)))
    {
        for rtt_ms in [20, 200, 300] {
            let path = Options { jitter_ms: 30, loss: 0.05, rate_hz, seed, ..over(Scenario::Solo, rtt_ms, 5) };
            let outcome = play(path);
            assert!(outcome.is_fine() && outcome.inputs_late == 0, "{outcome}");
        }
    }
}

#[test]
fn hits_at_20_hz_and_100_ms_are_inside_the_window_and_at_200_ms_it_is_said_that_none_is() {
    let outcome = play(over(Scenario::Hits, 100, 20));
    assert!(outcome.is_fine() && outcome.in_window > 0.7 && outcome.hits_seen > 300, "{outcome}");
    let outcome = play(over(Scenario::Hits, 200, 20));
    assert!(outcome.is_fine() && outcome.shots > 500 && outcome.shots_inside == 0, "{outcome}");
    assert!(outcome.not_shown[0].starts_with("nothing inside the window: "), "{outcome}");
}

#[test]
fn a_path_that_nothing_gets_through_shows_nothing_and_says_so() {
    for scenario in [Scenario::Solo, Scenario::Hits] {
        let outcome = play(Options { loss: 1.0, ..over(scenario, 50, 5) });
        assert!(!outcome.is_fine() && outcome.failed[0].starts_with("joined: 0 of "), "{outcome}");
    }
}

#[test]
fn among_fifty_who_fight_no_correction_is_larger_than_a_body() {
    let outcome = play(over(Scenario::Fight, 100, 20));
    assert!(outcome.is_fine(), "{outcome}");
    assert_eq!(outcome.clients, 51);
    assert!(outcome.correction_m_max < CAPSULE_M, "{outcome}");
    // They really do fight.
    assert!(outcome.shots > 1000 && outcome.deaths > 50 && outcome.looted > 20 && outcome.cuts > 50, "{outcome}");
    assert_eq!(outcome.refusals["view_time"], 0, "{outcome}");
}

#[test]
fn what_hits_on_the_screen_hits_on_the_server_and_nothing_hits_through_walls() {
    for (rtt_ms, rate_hz) in [(20, 20), (50, 20), (100, 60), (150, 60)] {
        let outcome = play(Options { rate_hz, ..over(Scenario::Hits, rtt_ms, 20) });
        println!("{outcome}");
        assert!(outcome.is_fine(), "{outcome}");
        // At 150 ms the first seconds' shots are outside: inputs leave early while little is known of the path.
        let inside = if rtt_ms < 150 { 0.95 } else { 0.8 };
        assert!(outcome.hits_seen > 500 && outcome.in_window > inside && outcome.walled > 50, "{outcome}");
        assert!(outcome.hits_share >= 0.99 && outcome.through_walls == 0, "{outcome}");
        assert_eq!(outcome.hits_seen, outcome.hits_confirmed + outcome.hits_refused);
    }
}

#[test]
fn without_rewinding_a_strafing_target_is_missed_often() {
    let with = play(over(Scenario::Hits, 50, 20));
    let without = play(Options { max_rewind_ms: 0, ..over(Scenario::Hits, 50, 20) });
    assert!(without.hits_share < 0.8 && with.hits_share > 0.99, "{without}\n{with}");
    assert_eq!(without.rewound_ms_max, 0);
    assert!(without.is_fine(), "a contrast, no failure");
}

#[test]
fn cheats_are_refused_and_nobody_is_too_fast() {
    let outcome = play(over(Scenario::Cheats, 50, 30));
    println!("{outcome}");
    assert!(outcome.is_fine() && outcome.too_fast == 0, "{outcome}");
    let row = |name| outcome.cheats.iter().find(|row| row.cheat == name).unwrap();
    assert!(row("rapid_fire").refusals["rate"] > 100, "{outcome}");
    assert!(row("backwards").refusals["view_time"] > 50, "{outcome}");
    assert!(row("far_loot").refusals["reach"] > 100, "{outcome}");
    for honest in outcome.cheats.iter().map(|row| &row.twins_refusals) {
        assert_eq!((honest["rate"], honest["weapon"]), (0, 0), "{outcome}");
        assert_eq!(honest["view_time"], 0, "{outcome}");
    }
    assert!(outcome.cheats.iter().all(|row| row.distance < 1.3), "{outcome}");
}

#[test]
fn equal_options_give_equal_outcomes_and_another_seed_another() {
    for scenario in [Scenario::Solo, Scenario::Fight, Scenario::Hits, Scenario::Cheats] {
        let options = over(scenario, 80, 5);
        let (one, two) = (play(options), play(options));
        assert_eq!(one, two);
        assert_ne!(one.digest, play(Options { seed: 4, ..options }).digest);
    }
}
