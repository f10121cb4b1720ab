//! Makes the transfer table and prints it.

use bots::transfer::{self, Options};
use netcode::crypto::OsEntropy;

use super::error::RunError;
use super::lines;

/// Whether the special rows hold.
pub fn run(options: &Options, json: bool) -> Result<bool, RunError> {
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy: X25519 keys cannot be seeded")]
    let report = transfer::run(options, &mut || Box::new(OsEntropy::new()))?;
    if json {
        lines::result(serde_json::json!(report))?;
    } else {
        lines::result(&report)?;
    }
    Ok(report.is_fine())
}
