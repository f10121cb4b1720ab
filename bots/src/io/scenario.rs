//! Plays a scenario and prints what came out.

use bots::scenario::{self, Options};
use netcode::crypto::OsEntropy;

use super::error::RunError;
use super::interrupt::Interrupt;
use super::lines;

/// Whether it shows what it is to show. A signal ends it after the tick under way.
pub fn run(options: &Options, json: bool) -> Result<bool, RunError> {
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy: X25519 keys cannot be seeded")]
    let entropy = OsEntropy::new();
    let interrupt = Interrupt::watch()?;
    let outcome = scenario::run_until(options, Box::new(entropy), &mut || interrupt.is_set())?;
    if json {
        lines::result(serde_json::json!(outcome))?;
    } else {
        lines::result(&outcome)?;
    }
    interrupt.outcome(outcome.is_fine())
}
