//! Runs arenas one after another and prints what came out.

use bots::arena::{Arena, Options, Report, Totals};
use netcode::crypto::OsEntropy;

use super::error::RunError;
use super::interrupt::Interrupt;
use super::lines;

/// Which arenas to run.
#[derive(Clone, Copy, Debug)]
pub struct ArenaRun {
    pub seed: u64,
    /// That many consecutive seeds, one line each and one with their totals; absent: one, in full.
    pub seeds: Option<u64>,
    pub clients: usize,
    pub seconds: u32,
    pub json: bool,
    /// The client whose snapshots are explained on stderr.
    pub watch: Option<usize>,
}

/// Whether no invariant was broken. A signal ends the run after the tick under way; what was run is told.
pub fn run(run: &ArenaRun) -> Result<bool, RunError> {
    let interrupt = Interrupt::watch()?;
    let mut totals = Totals::default();
    for seed in (0..run.seeds.unwrap_or(1)).map(|at| run.seed.wrapping_add(at)) {
        let report = one(run, seed, &interrupt)?;
        totals.add(&report);
        if run.json {
            lines::result(serde_json::json!(report))?;
        } else {
            lines::result(&report)?;
        }
        if interrupt.is_set() {
            break;
        }
    }
    if run.seeds.is_some() {
        if run.json {
            // Scripts rely on one object for each seed, and nothing else.
            lines::note(&totals);
        } else {
            lines::result(&totals)?;
        }
    }
    interrupt.outcome(totals.violations == 0)
}

fn one(run: &ArenaRun, seed: u64, interrupt: &Interrupt) -> Result<Report, RunError> {
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy: X25519 keys cannot be seeded")]
    let entropy = OsEntropy::new();
    let mut arena = Arena::new(Options::new(seed, run.clients, run.seconds), Box::new(entropy))?;
    // First of all, so that it is known even if the run does not end.
    let options = format!("seed {seed}: {} clients, {} s; {}", run.clients, run.seconds, arena.drawn());
    if run.seeds.is_none() && !run.json {
        lines::result(options)?;
    } else {
        lines::note(options);
    }
    if let Some(client) = run.watch {
        arena.watch(client, Box::new(|weighed| lines::note(serde_json::json!(weighed))));
    }
    Ok(arena.run_until(&mut || interrupt.is_set()))
}
