//! Plays a scenario and prints what came out.

use bots::scenario::{self, Options};
use netcode::crypto::OsEntropy;

use super::error::RunError;
use super::lines;

/// Whether it shows what it is to show.
pub fn run(options: &Options, json: bool) -> Result<bool, RunError> {
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy: X25519 keys cannot be seeded")]
    let entropy = OsEntropy::new();
    let outcome = scenario::run(options, Box::new(entropy))?;
    if json {
        lines::result(serde_json::json!(outcome))?;
    } else {
        lines::result(&outcome)?;
    }
    Ok(outcome.is_fine())
}
