//! Every target: the corpus replays clean, seeded mutations find nothing, and what a run must see is seen.

use fuzz::runner::Fuzzer;
use fuzz::{CANARY, TARGETS, corpus};

/// Seeded executions per target; those that agree on keys or make a world each time get fewer.
const EXECUTIONS: u32 = 20_000;
const FEW_EXECUTIONS: u32 = 4_000;

fn holds(name: &str) {
    let target = fuzz::find(name).expect("the target exists");
    let known = corpus::load(&corpus::default_dir(), &target).expect("the corpus is readable");
    assert!(known.len() >= 4, "{name} has no corpus; see `fuzz seed-corpus`");
    let few = matches!(name, "accept" | "session" | "client" | "recording");
    let count = if few { FEW_EXECUTIONS } else { EXECUTIONS };
    let mut fuzzer = Fuzzer::new(target, 1, known);
    let result = fuzzer.replay().and_then(|()| fuzzer.batch(count));
    if let Err(crash) = result {
        panic!("{name} failed on {:02x?}:\n{}", crash.input, crash.message);
    }
    assert_eq!(fuzzer.unreached(), Vec::<&str>::new(), "{name} is blind for these");
}

macro_rules! each {
    ($($name:ident)+) => {
        $(#[test] fn $name() { holds(stringify!($name)); })+

        #[test]
        fn every_target_is_tested() {
            let tested = [$(stringify!($name)),+];
            assert!(TARGETS.iter().all(|target| tested.contains(&target.name)));
            assert_eq!(TARGETS.len(), tested.len());
        }
    };
}

each! { bits replay message input packet delivery recovery clock snapshot compact bodies recording token hello accept session client }

#[test]
fn an_inverted_check_is_caught() {
    let mut fuzzer = Fuzzer::new(CANARY, 1, Vec::new());
    let crash = fuzzer.batch(100_000).expect_err("the canary must fail");
    assert!(crash.message.contains("inverted"));
    assert!(fuzzer.executions() < 10_000, "{} executions", fuzzer.executions());
}

#[test]
fn the_committed_seeds_are_what_the_encoders_write_today() {
    for target in TARGETS {
        let known = corpus::load(&corpus::default_dir(), target).expect("the corpus is readable");
        for (at, seed) in (target.seeds)().iter().enumerate() {
            assert!(known.contains(seed), "{} seed {at} is old; run `fuzz seed-corpus`", target.name);
        }
    }
}

#[test]
fn one_seed_gives_one_sequence_of_inputs() {
    let run = || {
        let target = fuzz::find("snapshot").expect("the target exists");
        let mut fuzzer = Fuzzer::new(target, 9, (target.seeds)());
        fuzzer.replay().and_then(|()| fuzzer.batch(2000)).expect("nothing fails");
        fuzzer.known()
    };
    assert_eq!(run(), run());
}
