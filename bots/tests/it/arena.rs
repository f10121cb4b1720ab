//! Small arenas: clean, repeatable, and not blind.

use bots::arena::{Arena, Options, Planted, Report};
use netcode::crypto::OsEntropy;

const CLIENTS: usize = 24;
const SECONDS: u32 = 12;

fn run(options: Options) -> Report {
    #[expect(clippy::disallowed_methods, reason = "a test; X25519 keys cannot be seeded")]
    let entropy = OsEntropy::new();
    Arena::new(options, Box::new(entropy)).unwrap().run()
}

#[test]
fn a_few_seeds_with_all_their_faults_are_clean() {
    for seed in 0..12 {
        let report = run(Options::new(seed, CLIENTS, SECONDS));
        assert_eq!(report.violations, 0, "{report}");
        assert!(report.states_checked > 1000, "{report}");
        assert!(report.complete_snapshots > 100, "{report}");
    }
}

#[test]
fn equal_seeds_give_equal_reports_and_other_seeds_others() {
    for seed in [3, 4, 11] {
        let options = Options::new(seed, CLIENTS, SECONDS);
        let (one, two) = (run(options), run(options));
        assert_eq!(one, two);
        assert_ne!(one.digest, run(Options::new(seed + 100, CLIENTS, SECONDS)).digest);
    }
}

#[test]
fn a_calm_arena_misses_nothing() {
    let report = run(Options { faults: false, ..Options::new(5, CLIENTS, SECONDS) });
    assert_eq!(report.violations, 0, "{report}");
    assert_eq!(report.connects, CLIENTS as u64);
    assert!(report.client_drops.is_empty() && report.forgeries == 0);
    assert_eq!(report.converged_after_s, 1);
    let due = report.ticks * CLIENTS as u64;
    assert!(report.snapshots_checked * 100 > due * 80, "{} of {due}", report.snapshots_checked);
}

#[test]
fn each_planted_mistake_is_found() {
    let expected = [
        (Planted::TruthAltered, "is not as in the frame"),
        (Planted::AreaTooSmall, "is outside the area of interest"),
        (Planted::AreaTooLarge, "is near and unknown"),
        (Planted::SealForgotten, "nobody sealed was accepted"),
    ];
    for (planted, words) in expected {
        let options = Options { planted: Some(planted), faults: false, ..Options::new(7, CLIENTS, SECONDS) };
        let report = run(options);
        assert!(report.violations > 0, "{planted:?} was not found");
        assert!(report.first_violations.iter().any(|first| first.contains(words)), "{planted:?}: {report}");
    }
}

#[test]
fn over_a_few_dozen_seeds_every_fault_strikes() {
    let mut totals = std::collections::BTreeMap::new();
    for seed in 0..32 {
        for (fault, count) in run(Options::new(seed, 16, 8)).faults {
            *totals.entry(fault).or_insert(0) += count;
        }
    }
    // Rebinds strike clients, not datagrams, so there are fewer.
    let rare = |fault: &str| if fault == "rebinds" { 10 } else { 100 };
    assert!(totals.len() == 18 && totals.iter().all(|(fault, count)| *count >= rare(fault)), "{totals:?}");
}
