//! The rows that did not go on as was to be foreseen, as differences to what follows from the rows before: enough to tell every entity's
//! state after every tick, since who is on its course goes on as [`extrapolate`] says.

use super::bytes::{Cursor, Ids, put, unzigzag, zigzag};
use crate::config::MAX_ENTITIES;
use crate::entity::{EntityId, REUSE_AFTER};
use crate::frame::Frame;
use netcode::schema::{MAX_FIELDS, Schema, State, extrapolate};

/// No entity has an index as great as this one.
const MAX_ROWS: usize = MAX_ENTITIES as usize + REUSE_AFTER;
const _: () = assert!(MAX_FIELDS <= 32, "a mask of fields has 32 bits");

/// What is known of an entity since it last left its course.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: EntityId,
    kind: u8,
    tick: u64,
    state: State,
}

/// Who is there, and how everybody moves. Writer and reader keep the same.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    schema: &'static Schema,
    rate_hz: u16,
    /// By the entities' indices.
    known: Vec<Option<Known>>,
    /// Scratch: the rows to write, and what they were taken to become.
    turned: Vec<(usize, Option<State>)>,
}

impl Rows {
    pub(super) fn new(schema: &'static Schema, rate_hz: u16) -> Self {
        Self { schema, rate_hz, known: Vec::new(), turned: Vec::new() }
    }

    /// All who are there after `tick`, ascending: id, kind, state.
    pub(super) fn after(&self, tick: u64) -> impl Iterator<Item = (EntityId, u8, State)> {
        self.known.iter().flatten().filter_map(move |known| Some((known.id, known.kind, self.state(known, tick)?)))
    }

    /// Appends what of a frame does not follow from the frames before. It looks at every row itself, so that what the world
    /// takes for a course by mistake is in the log, too.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, frame: &Frame) {
        let gone = || self.known.iter().flatten().map(|known| known.id).filter(|id| frame.row(*id).is_none());
        put(out, gone().count() as u64);
        let mut ids = Ids::default();
        gone().for_each(|id| ids.put(out, id, false));
        for place in &mut self.known {
            place.take_if(|known| frame.row(known.id).is_none());
        }
        let mut turned = core::mem::take(&mut self.turned);
        turned.clear();
        for ((row, id), state) in frame.ids().iter().enumerate().zip(frame.states()) {
            let guess = self.guess(*id, frame.kind(row), frame.tick);
            if guess.as_ref() != Some(state) {
                turned.push((row, guess));
            }
        }
        put(out, turned.len() as u64);
        let mut ids = Ids::default();
        for (row, guess) in &turned {
            let now = Known { id: frame.id(*row), kind: frame.kind(*row), tick: frame.tick, state: *frame.state(*row) };
            ids.put(out, now.id, guess.is_none());
            if guess.is_none() {
                out.push(now.kind);
            }
            put_difference(out, guess.as_ref().unwrap_or(&State::default()), &now.state);
            self.keep(now);
        }
        self.turned = turned;
    }

    /// What follows from the last row of an entity.
    fn guess(&self, id: EntityId, kind: u8, tick: u64) -> Option<State> {
        let known = self.find(id).filter(|known| known.kind == kind)?;
        self.state(known, tick)
    }

    /// Takes what [`Rows::put`] wrote for a tick; `None` for what it never writes.
    pub(super) fn get(&mut self, from: &mut Cursor<'_>, tick: u64) -> Option<()> {
        let mut ids = Ids::default();
        for _ in 0..from.number()? {
            let (id, _) = ids.get(from)?;
            self.forget(id)?;
        }
        let mut ids = Ids::default();
        for _ in 0..from.number()? {
            let (id, is_new) = ids.get(from)?;
            let (kind, guess) = if is_new {
                (from.u8()?, State::default())
            } else {
                let known = self.find(id)?;
                (known.kind, self.state(known, tick)?)
            };
            self.schema.kind(kind)?;
            let state = get_difference(from, &guess)?;
            self.keep(Known { id, kind, tick, state })?;
        }
        Some(())
    }

    fn find(&self, id: EntityId) -> Option<&Known> {
        self.known.get(id.index() as usize)?.as_ref().filter(|known| known.id == id)
    }

    /// `None` for an entity of no kind.
    fn state(&self, known: &Known, tick: u64) -> Option<State> {
        let ticks = u32::try_from(tick.saturating_sub(known.tick)).unwrap_or(u32::MAX);
        Some(extrapolate(self.schema.kind(known.kind)?, self.rate_hz, ticks, &known.state))
    }

    fn keep(&mut self, known: Known) -> Option<()> {
        let index = known.id.index() as usize;
        if index >= MAX_ROWS {
            return None;
        }
        if self.known.len() <= index {
            self.known.resize(index + 1, None);
        }
        *self.known.get_mut(index)? = Some(known);
        Some(())
    }

    fn forget(&mut self, id: EntityId) -> Option<()> {
        self.known.get_mut(id.index() as usize)?.take_if(|known| known.id == id).map(drop)
    }
}

/// A bit for each field that is not as guessed, then by how much each is greater.
fn put_difference(out: &mut Vec<u8>, guess: &State, state: &State) {
    let differ = |(guess, value): (&i32, &i32)| guess != value;
    let mask = guess.iter().zip(state).rev().fold(0, |mask, pair| mask << 1 | u64::from(differ(pair)));
    put(out, mask);
    for (guess, value) in guess.iter().zip(state).filter(|pair| differ(*pair)) {
        put(out, zigzag(i64::from(value.wrapping_sub(*guess))));
    }
}

fn get_difference(from: &mut Cursor<'_>, guess: &State) -> Option<State> {
    let mask = from.number32().filter(|mask| mask.checked_shr(MAX_FIELDS as u32).unwrap_or(0) == 0)?;
    let mut state = *guess;
    for (value, at) in state.iter_mut().zip(0..) {
        if mask >> at & 1 == 1 {
            let by = i32::try_from(unzigzag(from.number()?)).ok()?;
            *value = value.wrapping_add(by);
        }
    }
    Some(state)
}
