//! Runs a log again and compares every digest.

use crate::config::ConfigError;
use crate::entity::EntityId;
use crate::log::{Event, LogError, LogReader, Record};
use crate::{SpawnError, World};

/// What a replay went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The digest after each tick that was not left out, from tick 1.
    pub digests: Vec<u64>,
    /// Bytes of a torn record at the end of the log.
    pub dropped_bytes: usize,
}

/// Why a replay stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The log can't be read.
    #[error("{0}")]
    Log(#[from] LogError),
    /// The log's configuration makes no world.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The world after this tick is another one than the log's: the first such tick.
    #[error("tick {tick} diverged: digest {actual:016x}, the log has {expected:016x}")]
    Diverged {
        /// The first diverging tick.
        tick: u64,
        /// The log's digest.
        expected: u64,
        /// The replay's digest.
        actual: u64,
    },
    /// A join before this tick gave another entity than in the log, or none.
    #[error("a join before tick {tick} gave {actual:?}, the log has {expected:?}")]
    Join {
        /// The tick whose step followed.
        tick: u64,
        /// The log's entity.
        expected: EntityId,
        /// What the replay got.
        actual: Result<EntityId, SpawnError>,
    },
    /// An entity that left before this tick was not there.
    #[error("{id:?} left before tick {tick} but was not there")]
    Leave {
        /// The tick whose step followed.
        tick: u64,
        /// The log's entity.
        id: EntityId,
    },
}

/// Replays a log up to its last whole tick.
///
/// # Errors
/// [`ReplayError`]; a torn end is no error.
pub fn replay(bytes: &[u8]) -> Result<Replay, ReplayError> {
    let mut reader = LogReader::new(bytes)?;
    let mut world = World::new(*reader.config())?;
    let mut digests = Vec::new();
    while let Some(record) = reader.next_record()? {
        repeat(&mut world, &record)?;
        digests.push(world.digest());
    }
    Ok(Replay { digests, dropped_bytes: reader.dropped_bytes() })
}

/// One tick of a replay: events, step, comparison.
///
/// # Errors
/// [`ReplayError`], but none about reading.
pub fn repeat(world: &mut World, record: &Record) -> Result<(), ReplayError> {
    let tick = world.tick() + 1;
    for event in &record.events {
        match *event {
            Event::Join(expected) => {
                let actual = world.spawn_player();
                if actual != Ok(expected) {
                    return Err(ReplayError::Join { tick, expected, actual });
                }
            }
            Event::Leave(id) if !world.despawn(id) => return Err(ReplayError::Leave { tick, id }),
            Event::Leave(_) => {}
            Event::Skip(ticks) => world.skip(ticks),
        }
    }
    world.step(&record.inputs);
    let tick = world.tick();
    let (expected, actual) = (record.digest, world.digest());
    if expected == actual { Ok(()) } else { Err(ReplayError::Diverged { tick, expected, actual }) }
}
