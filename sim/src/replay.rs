//! Runs a log again, compares every digest, and tells how the two worlds differ where they first do.
//!
//! [`Replay::push`] pieces of the file whenever [`Replay::peek`] wants more; [`Replay::step`] makes the tick that it
//! announced. The world is there after each, so going on until a tick is a seek. What is kept is a world and what
//! [`LogReader`] keeps, however long the log.

mod difference;

pub use difference::{Apart, Difference, Differences, MAX_DIFFERENCES};

use crate::engine::{Game, SpawnError, World};
use crate::entity::EntityId;
use crate::game::Skirmish;
use crate::log::{Change, Header, LogError, LogReader, Next, Record};

/// A game whose worlds can be made again from what a log's header says.
pub trait Recorded: Game {
    /// Why no world is made from a header.
    type Refused: core::error::Error;

    /// What the world was made from: the configuration as bytes, at most [`crate::log::MAX_CONFIG_BYTES`], and the text of
    /// the rulebook.
    fn origin(&self) -> (Vec<u8>, String);

    /// The world of that origin.
    ///
    /// # Errors
    /// The bytes are none that [`Recorded::origin`] gives, or they make no world.
    fn remake(config: &[u8], rules: &str) -> Result<World<Self>, Self::Refused>;
}

/// The header of a log of that world, with the rows that left their course or without.
#[must_use]
pub fn header<G: Recorded>(world: &World<G>, states: bool) -> Header {
    let (config, rules) = world.game().origin();
    Header { schema: G::SCHEMA.hash(), rate_hz: world.game().setup().rate_hz, states, config, rules }
}

/// Why a replay stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError<E> {
    /// The log can't be read.
    #[error("{0}")]
    Log(#[from] LogError),
    /// What the log's header says makes no world.
    #[error("the header makes no world: {0}")]
    Refused(E),
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
    #[error("a join before tick {tick} gave {}, the log has entity {}", joined(actual), expected.raw())]
    Join {
        /// The tick whose step followed.
        tick: u64,
        /// The log's entity.
        expected: EntityId,
        /// What the replay got.
        actual: Result<EntityId, SpawnError>,
    },
    /// An entity that left before this tick was not there.
    #[error("entity {} left before tick {tick} but was not there", id.raw())]
    Leave {
        /// The tick whose step followed.
        tick: u64,
        /// The log's entity.
        id: EntityId,
    },
}

/// What came of a join, in words.
fn joined(actual: &Result<EntityId, SpawnError>) -> String {
    match actual {
        Ok(id) => format!("entity {}", id.raw()),
        Err(error) => format!("nobody ({error})"),
    }
}

impl<E> ReplayError<E> {
    /// The tick in which the replay went another way than the log, if that is the reason.
    #[must_use]
    pub const fn divergence(&self) -> Option<u64> {
        match self {
            Self::Diverged { tick, .. } | Self::Join { tick, .. } | Self::Leave { tick, .. } => Some(*tick),
            Self::Log(_) | Self::Refused(_) => None,
        }
    }
}

/// A log on its way through a world.
pub struct Replay<G: Recorded> {
    reader: LogReader,
    world: Option<World<G>>,
    record: Record,
    /// `record` was read and not yet made.
    pending: bool,
    /// The step of the newest record gave another digest.
    diverged: bool,
    /// Scratch: the step's inputs.
    inputs: Vec<(EntityId, G::Input)>,
    steps: u64,
}

impl<G: Recorded> Replay<G> {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            reader: LogReader::new(G::SCHEMA),
            world: None,
            record: Record::default(),
            pending: false,
            diverged: false,
            inputs: Vec::new(),
            steps: 0,
        }
    }

    /// Takes the next piece of the file.
    pub fn push(&mut self, piece: &[u8]) {
        self.reader.push(piece);
    }

    /// That was all of the file.
    pub fn finish(&mut self) {
        self.reader.finish();
    }

    /// The tick that [`Replay::step`] will make.
    ///
    /// # Errors
    /// [`ReplayError::Log`] or [`ReplayError::Refused`].
    pub fn peek(&mut self) -> Result<Next<u64>, ReplayError<G::Refused>> {
        if self.world.is_none() {
            let Next::Got(header) = self.reader.header()? else { return Ok(Next::More) };
            let world = G::remake(&header.config, &header.rules).map_err(ReplayError::Refused)?;
            if world.game().setup().rate_hz != header.rate_hz {
                return Err(LogError::Header.into());
            }
            self.world = Some(world);
        }
        if self.pending {
            return Ok(Next::Got(self.record.tick));
        }
        let next = self.reader.next_record(&mut self.record)?;
        self.pending = matches!(next, Next::Got(_));
        Ok(next)
    }

    /// Makes the tick that [`Replay::peek`] told, and compares; does nothing without one.
    ///
    /// # Errors
    /// [`ReplayError`], but neither of [`Replay::peek`]'s. The replay is over then.
    pub fn step(&mut self) -> Result<(), ReplayError<G::Refused>> {
        let Some(world) = self.world.as_mut().filter(|_| core::mem::take(&mut self.pending)) else { return Ok(()) };
        let Record { tick, changes, inputs, digest } = &self.record;
        repeat(world, *tick, changes)?;
        self.inputs.clear();
        self.inputs.extend(inputs.iter().map(|(id, input)| (*id, G::unpack(input))));
        world.step(&self.inputs);
        self.steps += 1;
        let (tick, expected, actual) = (world.tick(), *digest, world.digest());
        self.diverged = expected != actual;
        if self.diverged { Err(ReplayError::Diverged { tick, expected, actual }) } else { Ok(()) }
    }

    /// The world after the newest step; `None` before the header was read.
    #[must_use]
    pub const fn world(&self) -> Option<&World<G>> {
        self.world.as_ref()
    }

    /// Steps made.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// At the end: the bytes of a torn record there.
    #[must_use]
    pub fn dropped_bytes(&self) -> usize {
        self.reader.dropped_bytes()
    }

    /// How the replay's world differs from the recorded one, after a step that [`ReplayError::Diverged`]; `None` where it did
    /// not, or where the log has no rows. Nothing at all differs where only something hidden does.
    #[must_use]
    pub fn differences(&self) -> Option<Differences> {
        let world = self.world.as_ref().filter(|_| self.diverged)?;
        Some(difference::between(G::SCHEMA, self.reader.rows()?, &world.frame()))
    }
}

impl<G: Recorded> Default for Replay<G> {
    fn default() -> Self {
        Self::new()
    }
}

/// What happened before a step.
fn repeat<G: Recorded>(world: &mut World<G>, tick: u64, changes: &[Change]) -> Result<(), ReplayError<G::Refused>> {
    for change in changes {
        match *change {
            Change::Join(expected) => {
                let actual = world.spawn_player();
                if actual != Ok(expected) {
                    return Err(ReplayError::Join { tick, expected, actual });
                }
            }
            Change::Leave(id) if !world.despawn(id) => return Err(ReplayError::Leave { tick, id }),
            Change::Leave(_) => {}
            Change::Skip(ticks) => world.skip(ticks),
        }
    }
    Ok(())
}

/// What a replay went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The digest after each tick that was not left out, from tick 1.
    pub digests: Vec<u64>,
    /// Bytes of a torn record at the end of the log.
    pub dropped_bytes: usize,
}

/// Replays a whole log of the shipped game, up to its last whole tick.
///
/// # Errors
/// [`ReplayError`]; a torn end is no error.
pub fn replay(bytes: &[u8]) -> Result<Replayed, ReplayError<<Skirmish as Recorded>::Refused>> {
    let mut replay = Replay::<Skirmish>::new();
    replay.push(bytes);
    replay.finish();
    let mut digests = Vec::new();
    while let Next::Got(_) = replay.peek()? {
        replay.step()?;
        digests.extend(replay.world().map(World::digest));
    }
    Ok(Replayed { digests, dropped_bytes: replay.dropped_bytes() })
}
