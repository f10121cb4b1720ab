//! What whole clients know of each other, beside what each of them knows of itself.
//!
//! Of its own entity a client is told first of all, in every tick: what it has of it is the server's state. So the whole
//! clients of a squad bear witness for one another, and it shows for how long somebody has been elsewhere, or faced another
//! way, than a client that sees him was told. A single client cannot know that: who is not mentioned may as well go on as he
//! did.

use netcode::schema::State;
use netcode::snapshot::{Entity, View};
use sim::schema::SCHEMA;

/// The most clients that bear witness.
const MAX_WITNESSES: usize = 128;
/// Ticks that each of them remembers: nobody is found to have been untold for longer.
const KEEP: usize = 256;
/// Of all witnesses so many parts are looked at in turns.
pub(super) const PARTS: u64 = 4;

/// One entity as its own client has it.
#[derive(Debug)]
struct Witness {
    id: u32,
    newest: u64,
    /// By tick; a state of another tick is one of an older round.
    states: Vec<(u64, State)>,
}

impl Witness {
    fn at(&self, tick: u64) -> Option<&State> {
        let (of, state) = self.states.get(tick as usize % KEEP)?;
        (*of == tick).then_some(state)
    }
}

/// The entities of a squad's whole clients over the last ticks.
#[derive(Debug, Default)]
pub(super) struct Witnesses(Vec<Witness>);

impl Witnesses {
    /// A client has just applied a snapshot.
    pub fn note(&mut self, view: &View, own: &Entity<'_>) {
        let Some(tick) = view.tick() else { return };
        // Without a record it is on its course, also where a snapshot is not complete: its own goes first.
        let Some(state) = own.state_at(tick) else { return };
        let witness = match self.0.iter().position(|witness| witness.id == own.id()) {
            Some(at) => self.0.get_mut(at),
            None if self.0.len() < MAX_WITNESSES => {
                self.0.push(Witness { id: own.id(), newest: tick, states: vec![(u64::MAX, State::default()); KEEP] });
                self.0.last_mut()
            }
            None => None,
        };
        let Some(witness) = witness else { return };
        witness.newest = witness.newest.max(tick);
        if let Some(place) = witness.states.get_mut(tick as usize % KEEP) {
            *place = (tick, seen(own, &state));
        }
    }

    /// That entity's client has left: whoever comes takes its place.
    pub fn forget(&mut self, id: u32) {
        self.0.retain(|witness| witness.id != id);
    }

    /// For every part-th witness in view: for how many ticks, up to the newest that both know, its state has not been the
    /// one that the view shows.
    pub fn untold<'a>(&'a self, view: &'a View, own: u32, part: u64) -> impl Iterator<Item = u64> + 'a {
        let mine = (0..).zip(&self.0).filter(move |(at, witness)| at % PARTS == part % PARTS && witness.id != own);
        mine.filter_map(move |(_, witness)| untold(witness, &view.entity(witness.id)?, view.tick()?))
    }
}

/// The state as anybody may see it.
fn seen(entity: &Entity<'_>, state: &State) -> State {
    SCHEMA.kind(entity.kind()).map_or(*state, |kind| kind.visible(false, state))
}

/// `None` where the witness has nothing of the time that the entity is on the course shown. It does not know every tick: where
/// the server sends fewer snapshots, what lies between two that differ counts, what lies before the first of them does not.
fn untold(witness: &Witness, entity: &Entity<'_>, newest: u64) -> Option<u64> {
    let tick = newest.min(witness.newest);
    let row = entity.rows().find(|row| row.from <= tick)?;
    let first = row.from.max(tick.saturating_sub(KEEP as u64));
    let mut known = (first..=tick).rev().filter_map(|at| Some((at, witness.at(at)?))).peekable();
    known.peek()?;
    let differs = |(at, truth): &(u64, &State)| **truth != seen(entity, &entity.on_course(&row, *at));
    Some(known.take_while(differs).last().map_or(0, |(since, _)| tick + 1 - since))
}
