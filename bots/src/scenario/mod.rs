//! Scenarios: what a fight over a bad path is to show, in figures, on virtual time.
//!
//! The real zone, shard and clients play in one thread, joined by the network's emulator; players sit in front of screens
//! that are drawn sixty times a second, each at moments of its own, and act on what those show. One seed decides
//! everything: equal [`Options`] give equal [`Outcome`]s.
//!
//! - [`Scenario::Solo`]: nobody else has a hand in what happens to a player, so no prediction may be corrected.
//! - [`Scenario::Fight`]: with fifty others it is corrected now and then, and never by more than a body is wide.
//! - [`Scenario::Hits`]: what hits on the shooter's screen hits on the server, and nothing hits through what stood there.
//! - [`Scenario::Cheats`]: cheats gain nothing over honest twins beside what honest players gain over each other.

mod cheats;
mod fight;
mod hits;
mod meter;
mod options;
mod outcome;
mod rig;
mod run;
mod solo;

pub use options::{Options, Scenario};
pub use outcome::{CAPSULE_M, CONFIRMED, CheatRow, MARGIN, Outcome};
pub use run::{run, run_until};
