//! Small arenas: clean, repeatable, and not blind.

use core::time::Duration;

use bots::arena::{Arena, Drawn, Options, Planted, Report, Tight, Totals};
use netcode::crypto::OsEntropy;
use netcode::emulator::LinkConfig;
use netcode::error::DisconnectReason;
use server::load::{Pace, Share};

const CLIENTS: usize = 24;
const SECONDS: u32 = 12;

fn run(options: Options) -> Report {
    #[expect(clippy::disallowed_methods, reason = "a test; X25519 keys cannot be seeded")]
    let entropy = OsEntropy::new();
    Arena::new(options, Box::new(entropy)).unwrap().run()
}

fn run_drawn(options: Options, drawn: Drawn) -> Report {
    #[expect(clippy::disallowed_methods, reason = "a test; X25519 keys cannot be seeded")]
    let entropy = OsEntropy::new();
    Arena::with(options, drawn, Box::new(entropy)).unwrap().run()
}

#[test]
fn a_few_seeds_with_all_their_faults_are_clean() {
    let mut complete = 0;
    for seed in 0..12 {
        let report = run(Options::new(seed, CLIENTS, SECONDS));
        assert_eq!(report.violations, 0, "{report}");
        assert!(report.states_checked > 1000, "{report}");
        complete += report.complete_snapshots;
    }
    // In a crowd none is.
    assert!(complete > 2000, "{complete}");
}

/// The same with the sum of what the ends dropped instead of the causes: X25519 keys cannot be seeded, so neither can
/// ciphertext, and where a splice puts it in place of a connection's id it may or may not name one.
fn whatever_was_dropped(mut report: Report) -> Report {
    for drops in [&mut report.server_drops, &mut report.client_drops] {
        *drops = [("all", drops.values().sum())].into();
    }
    report
}

#[test]
fn equal_seeds_give_equal_reports_and_other_seeds_others() {
    for seed in [3, 4, 11] {
        let options = Options::new(seed, CLIENTS, SECONDS);
        let (one, two) = (whatever_was_dropped(run(options)), whatever_was_dropped(run(options)));
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

/// What each client sees after each of so many ticks, with that many workers.
fn views(workers: u8, ticks: usize) -> Vec<Vec<Option<u64>>> {
    let options = Options { faults: false, ..Options::new(21, 32, SECONDS) };
    let mut drawn = Drawn::new(&options);
    (drawn.rate, drawn.npcs, drawn.half_extent_m, drawn.aoi_radius_m) = (20, 20, 60, 30);
    (drawn.boxes, drawn.gates, drawn.ramps) = (8, 4, 4);
    // None who aims: that goes by the clock of the client, which is as exact as its acks' times, and those depend on when
    // the worker had something else to send.
    (drawn.behaviors, drawn.restless) = ([0.8, 0.1, 0.1], [0.0, 0.5]);
    drawn.shards = workers;
    #[expect(clippy::disallowed_methods, reason = "a test; X25519 keys cannot be seeded")]
    let entropy = OsEntropy::new();
    let mut arena = Arena::with(options, drawn, Box::new(entropy)).unwrap();
    let mut views = Vec::new();
    for _ in 0..ticks {
        arena.step_tick();
        views.push(arena.views());
    }
    assert_eq!(arena.report().violations, 0, "{}", arena.report());
    views
}

#[test]
fn every_client_sees_the_same_at_every_tick_with_1_2_and_4_workers() {
    const TICKS: usize = 400;
    let one = views(1, TICKS);
    assert!(one.iter().skip(40).flatten().all(Option::is_some), "all are there after two seconds");
    let changes =
        one.windows(2).flat_map(|pair| pair[0].iter().zip(&pair[1])).filter(|(before, after)| before != after);
    assert!(changes.count() > 32 * (TICKS - 40) * 9 / 10, "in nearly every tick a client sees something new");
    for workers in [2, 4] {
        let several = views(workers, TICKS);
        let apart = one.iter().zip(&several).position(|(one, several)| one != several);
        let who = apart.and_then(|at| one[at].iter().zip(&several[at]).position(|(one, several)| one != several));
        assert_eq!(apart, None, "{workers} workers: client {who:?} sees something else in this tick");
    }
}

/// Goes on for so many virtual seconds: the part of the players' ticks that had no input of their own, and the most that a
/// client was wrong about the server's tick.
fn go_on(arena: &mut Arena, seconds: u64) -> (f64, f64) {
    let (until, tick, missing) = (arena.now() + Duration::from_secs(seconds), arena.tick(), arena.inputs_missing());
    let mut error: f64 = 0.0;
    while arena.now() < until {
        arena.step_tick();
        error = error.max(arena.clock_error());
    }
    let due = (arena.tick() - tick) * CLIENTS as u64;
    ((arena.inputs_missing() - missing) as f64 / due as f64, error)
}

#[test]
fn an_overloaded_server_sheds_and_dilates_its_clients_follow_and_all_comes_back() {
    let options = Options { faults: false, ..Options::new(33, CLIENTS, 1) };
    let mut drawn = Drawn::new(&options);
    (drawn.rate, drawn.npcs, drawn.shards) = (20, 20, 2);
    drawn.link = LinkConfig { delay: Duration::from_millis(40), jitter: Duration::from_millis(5), ..drawn.link };
    #[expect(clippy::disallowed_methods, reason = "a test; X25519 keys cannot be seeded")]
    let entropy = OsEntropy::new();
    let mut arena = Arena::with(options, drawn, Box::new(entropy)).unwrap();
    go_on(&mut arena, 5);
    let (missing, error) = go_on(&mut arena, 5);
    assert!(missing < 0.005 && error < 0.5, "at rest {missing} of all inputs, {error} ticks");

    // Each time what fits: fewer snapshots; longer ticks, too; the longest ticks there are.
    let loads = [(50, 300, (4, 100), 8), (150, 300, (4, 200), 8), (350, 1500, (4, 400), 12), (10, 10, (1, 100), 40)];
    for (step, round, pace, seconds) in loads {
        arena.load(Share { step, round });
        let (missing, error) = go_on(&mut arena, seconds);
        let Pace { divisor, dilation } = arena.pace();
        assert_eq!((divisor, dilation), pace, "for {step} % and {round} %");
        // While it changes, too.
        assert!(missing < 0.02 && error < 1.0, "{missing} of all inputs, {error} ticks on the way to {pace:?}");
        let (ticks, since) = (arena.tick(), arena.now());
        let (missing, error) = go_on(&mut arena, 6);
        assert!(missing < 0.005 && error < 0.5, "{missing} of all inputs, {error} ticks at {pace:?}");
        let took = arena.now().saturating_since(since).as_millis() as u64;
        let due = (arena.tick() - ticks) * 50 * u64::from(dilation) / 100;
        assert!(took.abs_diff(due) <= 200, "{took} ms and not {due}");
        assert_eq!(arena.connected(), CLIENTS);
    }
    assert!(arena.report().ends.is_empty() && arena.report().connects == CLIENTS as u64, "nobody was cut off");
    let report = arena.run();
    assert_eq!(report.violations, 0, "{report}");
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

#[cfg(not(debug_assertions))]
#[test]
fn mistakes_of_the_protocol_are_found_within_a_few_seeds() {
    assert_found(&[
        (Planted::MovesIgnored, "over a mild network was given up"),
        (Planted::PhaseForgotten, "over a mild network was given up"),
        (Planted::AnswersRepeated, "went to an unproven address"),
        (Planted::LeavesLost, "connections and"),
    ]);
}

#[cfg(not(debug_assertions))]
#[test]
fn mistakes_of_replication_are_found_within_a_few_seeds() {
    assert_found(&[
        (Planted::BudgetRaised, "are allowed"),
        (Planted::OwnersMixed, "shows the owner's fields to another"),
        (Planted::AcksEarly, "as acknowledged at tick"),
        (Planted::FrameLost, "needs a record and is not pending"),
        (Planted::Impatient, "starves"),
        (Planted::PinsLost, "is tied to the client and unknown"),
    ]);
}

#[cfg(not(debug_assertions))]
#[test]
fn mistakes_of_the_game_are_found_within_a_few_seeds() {
    assert_found(&[
        (Planted::CooldownsLong, "beyond the rules: the weapon's pace"),
        (Planted::EventsLost, "was not heard"),
        (Planted::EventsRepeated, "or once too often"),
        (Planted::InputsMirrored, "is not what happens"),
        (Planted::LogCut, "the replay of the log differs"),
    ]);
}

#[cfg(not(debug_assertions))]
fn assert_found(expected: &[(Planted, &str)]) {
    /// A planted mistake must show within so many seeds.
    const SEEDS_TO_FIND: u64 = 60;
    for (planted, words) in expected {
        let finds = |seed: &u64| {
            let options = Options { planted: Some(*planted), ..Options::new(*seed, CLIENTS, SECONDS) };
            run(options).first_violations.iter().any(|first| first.contains(words))
        };
        let found = (0..SEEDS_TO_FIND).find(finds);
        println!("{planted:?}: seed {found:?}");
        assert!(found.is_some(), "{planted:?} was not found in {SEEDS_TO_FIND} seeds");
    }
}

/// A calm path with delay and loss, and nothing else: the same world, without and with loss.
fn over_a_path(loss: f64, behaviors: [f64; 3]) -> Report {
    let options = Options { faults: false, ..Options::new(7, 60, 60) };
    let mut drawn = Drawn::new(&options);
    drawn.link = LinkConfig { delay: Duration::from_millis(50), loss, ..LinkConfig::default() };
    (drawn.rate, drawn.half_extent_m, drawn.aoi_radius_m, drawn.behaviors) = (20, 100, 60, behaviors);
    run_drawn(options, drawn)
}

#[test]
fn five_percent_of_loss_cost_at_most_a_tenth_more_bytes_and_neither_stalls_nor_keyframes() {
    // Wanderers, and those who turn more often.
    for behaviors in [[1.0, 0.0, 0.0], [0.4, 0.5, 0.1]] {
        let (clean, lossy) = (over_a_path(0.0, behaviors), over_a_path(0.05, behaviors));
        let mean = |report: &Report| report.snapshot_bytes as f64 / report.snapshots_checked as f64;
        let ratio = mean(&lossy) / mean(&clean);
        println!(
            "{behaviors:?}: {:.1} and {:.1} bytes, ratio {ratio:.3}; longest {} and {}; longest wait {} and {} ticks, \
             incomplete {} and {}",
            mean(&clean),
            mean(&lossy),
            clean.longest_snapshot,
            lossy.longest_snapshot,
            clean.longest_wait,
            lossy.longest_wait,
            clean.longest_incomplete,
            lossy.longest_incomplete
        );
        for report in [&clean, &lossy] {
            assert_eq!(report.violations, 0, "{report}");
            assert_eq!(report.reached["refreshed"], 0, "a known entity was spawned again");
        }
        assert!(lossy.faults["lost"] > 2000);
        assert!(ratio <= 1.1, "{ratio}");
        // Only who joins is told much at once.
        assert!(lossy.longest_snapshot <= clean.longest_snapshot * 3 / 2);
        assert!(lossy.longest_wait <= 6 && lossy.longest_incomplete <= 6);
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
    assert!(totals.never.is_empty() && totals.faults.len() == 18 && totals.reached.len() == 17, "{totals}");
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

/// Where snapshots took all that a client may be sent, the tables took long to get there or never did, so that just those who
/// need the compact codec did not get it.
#[test]
fn tables_reach_those_whose_snapshots_take_all_that_they_may_be_sent() {
    let options = Options { faults: false, ..Options::new(9, 60, 8) };
    let mut drawn = Drawn::new(&options);
    drawn.link = LinkConfig { delay: Duration::from_millis(30), ..LinkConfig::default() };
    (drawn.rate, drawn.half_extent_m, drawn.aoi_radius_m) = (20, 30, 60);
    (drawn.boxes, drawn.gates, drawn.ramps) = (0, 0, 0);
    (drawn.shards, drawn.behaviors) = (1, [0.0, 1.0, 0.0]);
    // Every third client.
    drawn.tight = Tight { down_cap: Some(3500), dense: true, crowd: 1000, ..Tight::default() };
    let report = run_drawn(options, drawn);
    assert_eq!(report.violations, 0, "{report}");
    assert!(report.reached["cut"] > 500, "{:?}", report.reached);
    assert!(report.reached["compact"] > 2000, "{:?}", report.reached);
}
