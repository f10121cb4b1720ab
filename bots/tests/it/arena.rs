//! Small arenas: clean, repeatable, and not blind.

use bots::arena::{Arena, Drawn, Options, Planted, Report, Totals};
use netcode::crypto::OsEntropy;
use netcode::error::DisconnectReason;

const CLIENTS: usize = 24;
const SECONDS: u32 = 12;
/// A planted mistake must show within so many seeds.
const SEEDS_TO_FIND: u64 = 60;

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
fn a_nat_that_rebinds_ends_no_connection() {
    let rebinds_only = |options: &Options| {
        let drawn = Drawn::new(options);
        drawn.rebinds.is_some() && drawn.is_mild() && drawn.partitions.is_none() && drawn.hostile.is_none()
    };
    let mut totals = Totals::default();
    for options in (0..).map(|seed| Options::new(seed, CLIENTS, 20)).filter(rebinds_only).take(5) {
        totals.add(&run(options));
    }
    assert_eq!(totals.violations, 0, "{totals}");
    assert!(!totals.ends.contains_key(&DisconnectReason::IdleTimeout.to_string()), "{totals}");
    // Who is away has nothing to move, and who rebinds again at once moves once.
    assert!(totals.roams * 2 > totals.faults["rebinds"] && totals.roams >= 10, "{totals}");
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
fn mistakes_of_the_protocol_are_found_within_a_few_seeds() {
    let expected = [
        (Planted::MovesIgnored, "over a mild network was given up"),
        (Planted::PhaseForgotten, "over a mild network was given up"),
        (Planted::AnswersRepeated, "went to an unproven address"),
        (Planted::LeavesLost, "connections and"),
    ];
    for (planted, words) in expected {
        let finds = |seed: &u64| {
            let options = Options { planted: Some(planted), ..Options::new(*seed, CLIENTS, SECONDS) };
            run(options).first_violations.iter().any(|first| first.contains(words))
        };
        let found = (0..SEEDS_TO_FIND).find(finds);
        println!("{planted:?}: seed {found:?}");
        assert!(found.is_some(), "{planted:?} was not found in {SEEDS_TO_FIND} seeds");
    }
}

#[test]
fn over_a_few_dozen_seeds_every_fault_strikes() {
    let mut totals = Totals::default();
    for seed in 0..32 {
        totals.add(&run(Options::new(seed, 16, 8)));
    }
    // Some strike clients or paths, not datagrams, so there are fewer.
    let rare = |fault: &str| if matches!(fault, "rebinds" | "mtu_changes" | "replayed") { 10 } else { 100 };
    assert!(totals.never.is_empty() && totals.faults.len() == 18, "{totals}");
    assert!(totals.faults.iter().all(|(fault, count)| *count >= rare(fault)), "{totals}");
    assert!(totals.roams >= 10 && totals.key_rolls >= 500 && totals.hostile >= 5, "{totals}");
    assert_eq!(totals.violations, 0, "{totals}");
}

/// A client whose HELLO was copied, and which left unread the challenges that it had to answer for that, was blamed on the
/// server: its time ran out moments after it had begun to listen.
#[test]
fn seed_63_who_did_not_listen_until_moments_ago_was_not_given_up_by_the_server() {
    let report = run(Options::new(63, 40, 10));
    assert_eq!(report.violations, 0, "{report}");
}

/// A copier of the HELLO and of the first packet, always first, drew more than three times what it sent.
#[test]
fn seed_1166_whoever_copies_a_hello_and_the_first_packet_draws_nothing() {
    let report = run(Options::new(1166, 40, 10));
    assert_eq!(report.violations, 0, "{report}");
}
