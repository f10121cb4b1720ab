//! Runs a target: the known inputs as they are, then mutations of them, until told to stop or until it panics.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use netcode::rng::Rng;

use crate::Target;
use crate::feature;
use crate::mutate::mutate;

/// The most inputs that are kept for further mutation.
const MAX_POOL: usize = 4096;
/// The most executions that shrinking a crash may take.
const MAX_SHRINKS: u32 = 4096;

/// An input on which a target panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The input, shrunk.
    pub input: Vec<u8>,
    /// The panic's message and place.
    pub message: String,
}

/// A target, the inputs known so far, and the random numbers that the next ones come from. The same seed and corpus give
/// the same inputs in the same order.
pub struct Fuzzer {
    target: Target,
    rng: Rng,
    pool: Vec<Vec<u8>>,
    /// How many of the pool are the corpus.
    corpus: usize,
    input: Vec<u8>,
    executions: u64,
}

impl Fuzzer {
    /// A fuzzer that starts from `corpus`. It uses this thread's [`feature`] table, so one thread runs one at a time.
    #[must_use]
    pub fn new(target: Target, seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        feature::clear();
        let rng = Rng::new(seed).fork(target.name);
        Self { target, rng, corpus: corpus.len(), pool: corpus, input: Vec::new(), executions: 0 }
    }

    /// Runs the corpus as it is.
    ///
    /// # Errors
    /// The first input that makes the target panic.
    pub fn replay(&mut self) -> Result<(), Crash> {
        for at in 0..self.corpus {
            self.input.clone_from(&self.pool[at]);
            self.attempt(|fuzzer| fuzzer.execute())?;
        }
        // What the corpus reaches is not news.
        let _ = feature::take_fresh();
        Ok(())
    }

    /// Runs `count` mutated inputs.
    ///
    /// # Errors
    /// The first input that makes the target panic.
    pub fn batch(&mut self, count: u32) -> Result<(), Crash> {
        self.attempt(|fuzzer| {
            for _ in 0..count {
                fuzzer.next_input();
                fuzzer.execute();
                if feature::take_fresh() && fuzzer.pool.len() < MAX_POOL {
                    fuzzer.pool.push(fuzzer.input.clone());
                }
            }
        })
    }

    /// Executions so far.
    #[must_use]
    pub const fn executions(&self) -> u64 {
        self.executions
    }

    /// How many inputs are known: the corpus, and what reached something new.
    #[must_use]
    pub fn known(&self) -> usize {
        self.pool.len()
    }

    /// The named features that no input has reached yet.
    #[must_use]
    pub fn unreached(&self) -> Vec<&'static str> {
        let reached = feature::named();
        let unreached = |(at, name): (usize, &&'static str)| (reached >> at & 1 == 0).then_some(*name);
        self.target.features.iter().enumerate().filter_map(unreached).collect()
    }

    fn next_input(&mut self) {
        let Self { target, rng, pool, input, .. } = self;
        input.clear();
        if pool.is_empty() {
            return mutate(rng, input, &[], target.max_len);
        }
        // Half of the time what was found last: it leads deepest.
        let recent = pool.len().saturating_sub(pool.len() / 4 + 1);
        let from = if rng.chance(0.5) { recent } else { 0 };
        let first = from + rng.below((pool.len() - from) as u64) as usize;
        let second = rng.below(pool.len() as u64) as usize;
        input.extend_from_slice(&pool[first]);
        mutate(rng, input, &pool[second], target.max_len);
    }

    fn execute(&mut self) {
        self.executions += 1;
        (self.target.run)(&self.input);
    }

    fn attempt(&mut self, run: impl FnOnce(&mut Self)) -> Result<(), Crash> {
        match catch(|| run(self)) {
            Ok(()) => Ok(()),
            Err(message) => Err(shrink(&self.target, self.input.clone(), message)),
        }
    }
}

/// Runs one input.
///
/// # Errors
/// The panic's message and place.
pub fn run_one(target: &Target, input: &[u8]) -> Result<(), String> {
    catch(|| (target.run)(input))
}

/// Makes a crashing input smaller for as long as it still panics at the same place: cuts pieces out, then zeroes bytes.
fn shrink(target: &Target, input: Vec<u8>, message: String) -> Crash {
    let mut crash = Crash { input, message };
    let mut left = MAX_SHRINKS;
    let mut try_smaller = |crash: &mut Crash, smaller: Vec<u8>| {
        if left == 0 {
            return false;
        }
        left -= 1;
        match run_one(target, &smaller) {
            Err(message) if place(&message) == place(&crash.message) => {
                *crash = Crash { input: smaller, message };
                true
            }
            _ => false,
        }
    };
    let mut piece = crash.input.len().next_power_of_two();
    while piece > 0 {
        let mut at = 0;
        while at < crash.input.len() {
            let mut smaller = crash.input.clone();
            smaller.drain(at..(at + piece).min(smaller.len()));
            if !try_smaller(&mut crash, smaller) {
                at += piece;
            }
        }
        piece /= 2;
    }
    for at in 0..crash.input.len() {
        if crash.input[at] != 0 {
            let mut smaller = crash.input.clone();
            smaller[at] = 0;
            try_smaller(&mut crash, smaller);
        }
    }
    crash
}

/// The place in a message of [`catch`]: its last line.
fn place(message: &str) -> &str {
    message.lines().last().unwrap_or_default()
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `run`; a panic becomes an error of its message and, in the last line, its place. Panics of other threads show as
/// ever.
fn catch(run: impl FnOnce()) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CATCHING.get() {
                return former(info);
            }
            let text = info.payload_as_str().unwrap_or("a panic without a message");
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            CAUGHT.set(format!("{text}\n{place}"));
        }));
    });
    CATCHING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(false);
    result.map_err(|_| CAUGHT.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picky(input: &[u8]) {
        assert!(!input.contains(&0x77), "found it");
        assert!(input.len() < 64, "too long");
    }

    const PICKY: Target = Target { name: "picky", about: "", run: picky, max_len: 100, features: &[], seeds: Vec::new };

    #[test]
    fn a_panic_is_found_shrunk_and_repeats_with_its_input_and_seed() {
        let hunt = || {
            let mut fuzzer = Fuzzer::new(PICKY, 3, vec![b"a fairly long input".to_vec()]);
            fuzzer.replay().unwrap();
            loop {
                if let Err(crash) = fuzzer.batch(1000) {
                    return (crash, fuzzer.executions());
                }
            }
        };
        let (crash, executions) = hunt();
        assert_eq!(crash.input, [0x77]);
        assert!(crash.message.starts_with("found it\n") && crash.message.contains("runner.rs"));
        assert_eq!(run_one(&PICKY, &crash.input), Err(crash.message.clone()));
        assert_eq!(hunt(), (crash, executions));
    }

    #[test]
    fn a_corpus_entry_that_panics_is_reported_as_itself() {
        let long = vec![1; 80];
        let mut fuzzer = Fuzzer::new(PICKY, 3, vec![vec![], long]);
        let crash = fuzzer.replay().unwrap_err();
        assert_eq!(crash.input, [0; 64], "shrunk to what still fails");
    }
}
