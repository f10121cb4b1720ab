//! The runs.

use std::sync::Arc;

use netcode::crypto::Entropy;
use netcode::rng::Rng;
use sim::ConfigError;
use sim::game::rulebook::Rulebook;

use super::cheats::Contest;
use super::fight::Brawl;
use super::hits::{Range, SHOOTERS, TARGETS};
use super::options::{Options, Scenario};
use super::outcome::Outcome;
use super::rig::{Rig, Script, Setup};
use super::solo::Solo;
use crate::arena::{self, Drawn};

/// The player of [`Scenario::Fight`] and the others.
const BRAWLERS: usize = 51;
/// Half extents of the maps in metres: of a lone runner's, of a place where all are together.
const FIELD_M: u16 = 48;
const PIT_M: u16 = 32;

/// Plays a scenario. `outside` gives the X25519 keys, which cannot be seeded and show in no outcome.
///
/// # Errors
/// [`ConfigError`], when no world can be made (a tick rate or a limit of rewinding out of range).
pub fn run(options: &Options, outside: Box<dyn Entropy>) -> Result<Outcome, ConfigError> {
    run_until(options, outside, &mut || false)
}

/// The same, but where `stop` says so, which is asked before each tick, it ends, and nothing is judged.
///
/// # Errors
/// As [`run`].
pub fn run_until(
    options: &Options,
    outside: Box<dyn Entropy>,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Outcome, ConfigError> {
    let rng = Rng::new(options.seed).fork("players");
    let standard = Rulebook::standard;
    match options.scenario {
        Scenario::Solo => {
            let rig = rig(options, 1, Place::field(), standard(), outside)?;
            play(options, rig, stop, Solo::new(rng), |solo, rig, outcome| solo.meter.finish(rig, outcome))
        }
        Scenario::Fight => {
            let rig = rig(options, BRAWLERS, Place::pit(), standard(), outside)?;
            play(options, rig, stop, Brawl::new(BRAWLERS, &rng), |brawl, rig, outcome| brawl.meter.finish(rig, outcome))
        }
        Scenario::Hits => {
            let all = SHOOTERS + TARGETS;
            let rig = rig(options, all, Place::pit(), Range::rulebook(), outside)?;
            play(options, rig, stop, Range::new(options, &rng), Range::finish)
        }
        Scenario::Cheats => {
            let contest = Contest::new(&rng);
            let rig = rig(options, contest.players(), Place::pit(), standard(), outside)?;
            play(options, rig, stop, contest, Contest::finish)
        }
    }
}

fn play<S: Script>(
    options: &Options,
    mut rig: Rig,
    stop: &mut dyn FnMut() -> bool,
    mut script: S,
    finish: impl FnOnce(S, &Rig, &mut Outcome),
) -> Result<Outcome, ConfigError> {
    let interrupted = !rig.run(options.seconds.into(), &mut script, stop);
    let mut outcome = Outcome { interrupted, ..Outcome::new(options, rig.seats.len()) };
    if interrupted {
        outcome.seconds = rig.tick().div_ceil(options.rate_hz.into()).max(1);
    }
    finish(script, &rig, &mut outcome);
    if !interrupted {
        outcome.judge(options.scenario);
    }
    Ok(outcome)
}

/// What a map is like.
struct Place {
    half_extent_m: u16,
    boxes: u32,
    gates: u32,
    ramps: u32,
}

impl Place {
    const fn field() -> Self {
        Self { half_extent_m: FIELD_M, boxes: 16, gates: 8, ramps: 8 }
    }

    const fn pit() -> Self {
        Self { half_extent_m: PIT_M, boxes: 4, gates: 4, ramps: 3 }
    }
}

fn rig(
    options: &Options,
    clients: usize,
    place: Place,
    book: Arc<Rulebook>,
    entropy: Box<dyn Entropy>,
) -> Result<Rig, ConfigError> {
    let calm = arena::Options { faults: false, ..arena::Options::new(options.seed, clients, options.seconds) };
    let drawn = Drawn {
        rate: options.rate_hz,
        shards: 1,
        npcs: 0,
        half_extent_m: place.half_extent_m,
        boxes: place.boxes,
        gates: place.gates,
        ramps: place.ramps,
        max_rewind_ms: options.max_rewind_ms,
        aoi_radius_m: 64,
        snapshot_bytes: 1100,
        link: options.link(),
        ..Drawn::new(&calm)
    };
    Rig::new(Setup { seed: options.seed, clients, drawn, book, entropy })
}
