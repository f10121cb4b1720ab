//! The authoritative world: the columns of entities, and what is done around a game's step.

use super::pool::Pool;
use super::rows::Rows;
use super::stage::{SpawnError, Stage};
use super::{Game, Setup};
use crate::course::Span;
use crate::entity::{Allocator, EntityId};
use crate::frame::{Frame, Names};
use crate::rewind::History;
use crate::rng::mix;
use crate::space::{REBUILD_TICKS, Space, margin};
use crate::spots::Spots;
use netcode::schema::State;
use std::sync::Arc;

/// Newcomers beyond this bring the next rebuild of the entity tree forward.
const MAX_NEWCOMERS: usize = 32;

/// The entities of a zone. All that it becomes is a function of its game's configuration and the calls made.
pub struct World<G: Game> {
    game: G,
    setup: Setup,
    tick: u64,
    /// The tick of the last step, and of the one before it.
    stepped: u64,
    prev: u64,
    digest: u64,
    allocator: Allocator,
    rows: Rows<G::Hidden>,
    /// The states before the step, for courses.
    before: Vec<State>,
    newcomers: Vec<super::rows::Newcomer<G::Hidden>>,
    leavers: Vec<EntityId>,
    events: Vec<(EntityId, G::Event)>,

    /// Rows that left their course in the last step, ascending.
    turned: Vec<u32>,
    /// Who went between the last two frames, ascending.
    removed: Vec<EntityId>,
    /// Who went since the last step.
    gone: Vec<EntityId>,

    frames: Pool<Frame>,
    spaces: Pool<Space>,
    all_names: Pool<Names>,
    space: Arc<Space>,
    space_tick: u64,
    /// Spawned since `space` was made.
    unplaced: usize,
    names: Arc<Names>,
    /// Somebody came or went since `names` was made.
    moved_in_or_out: bool,
    past: History,
}

impl<G: Game> World<G> {
    /// A world at tick 0 with what its game puts there from the start.
    #[must_use]
    pub fn with_game(game: G) -> Self {
        let setup = game.setup();
        let mut world = Self {
            game,
            setup,
            tick: 0,
            stepped: 0,
            prev: 0,
            digest: 0,
            allocator: Allocator::new(setup.max_entities),
            rows: Rows::new(),
            before: Vec::new(),
            newcomers: Vec::new(),
            leavers: Vec::new(),
            events: Vec::new(),
            turned: Vec::new(),
            removed: Vec::new(),
            gone: Vec::new(),
            frames: Pool::new(),
            spaces: Pool::new(),
            all_names: Pool::new(),
            space: Arc::new(Space::new(&[], &mut Vec::new())),
            space_tick: 0,
            unplaced: 0,
            names: Arc::default(),
            moved_in_or_out: false,
            past: History::new(setup.rate_hz, G::SPEEDS_MPS),
        };
        world.with_stage(|game, stage| game.populate(stage));
        world.settle(1);
        world.keep_space();
        world.digest = world.fold();
        world
    }

    /// Puts a new player into the world; it is part of the next frame.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing changed then.
    pub fn spawn_player(&mut self) -> Result<EntityId, SpawnError> {
        let joined = self.with_stage(G::join);
        self.settle(self.tick + 1);
        joined
    }

    /// Removes an entity; whether it was there. Its name is not used again for long.
    pub fn despawn(&mut self, id: EntityId) -> bool {
        let here = self.rows.ids.binary_search(&id).is_ok();
        self.leavers.push(id);
        self.settle(self.tick + 1);
        here
    }

    /// One tick. Players without an input do nothing.
    pub fn step(&mut self, inputs: &[(EntityId, G::Input)]) {
        self.tick += 1;
        self.prev = core::mem::replace(&mut self.stepped, self.tick);
        self.events.clear();
        self.before.clone_from(&self.rows.states);
        self.with_stage(|game, stage| game.step(stage, inputs));
        self.follow_courses();
        self.settle(self.tick);
        self.list_changes();
        self.keep_space();
        self.digest = self.fold();
        let mut frames = core::mem::replace(&mut self.frames, Pool::new());
        let frame = frames.make(|old| self.renew_frame(old), || self.make_frame());
        self.frames = frames;
        self.past.push(frame);
    }

    /// Leaves out ticks: their numbers pass, but nothing happens in them. So a world that could not keep up stays a
    /// function of time: tick `n` is due when it always was. Whoever moves in the next step leaves its course then,
    /// since it would have moved in the ticks between, too.
    pub fn skip(&mut self, ticks: u32) {
        self.tick += u64::from(ticks);
    }

    /// The world as of the last step, with spawns and despawns since.
    #[must_use]
    pub fn frame(&self) -> Arc<Frame> {
        match self.past.newest() {
            Some(newest) if newest.tick == self.stepped && !self.moved_in_or_out => Arc::clone(newest),
            _ => Arc::new(self.make_frame()),
        }
    }

    /// What the last step tells players once, and whom, in the order it happened.
    #[must_use]
    pub fn events(&self) -> &[(EntityId, G::Event)] {
        &self.events
    }

    /// The frames of the last moments.
    #[must_use]
    pub fn past(&self) -> &History {
        &self.past
    }

    /// The number of the last tick: steps made and ticks left out.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// A 64-bit fold of tick, ids, kinds, states and what is hidden after the last step: equal worlds have equal
    /// digests, and different ones almost surely different ones. It is no defence against anybody who constructs
    /// collisions.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The game, for what it tells.
    #[must_use]
    pub fn game(&self) -> &G {
        &self.game
    }

    /// What the world was made from.
    #[must_use]
    pub fn config(&self) -> &G::Config {
        self.game.config()
    }

    /// Entities alive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.ids.len()
    }

    /// Whether nobody lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.ids.is_empty()
    }

    /// The state of an entity, if it lives.
    #[must_use]
    pub fn state(&self, id: EntityId) -> Option<&State> {
        self.rows.states.get(self.rows.ids.binary_search(&id).ok()?)
    }

    /// What an entity remembers unseen, if it lives.
    #[must_use]
    pub fn hidden(&self, id: EntityId) -> Option<&G::Hidden> {
        self.rows.hidden.get(self.rows.ids.binary_search(&id).ok()?)
    }

    /// Changes an entity as no rule allows, for tests and tools: no log knows of it. `false` if it does not live.
    pub fn edit(&mut self, id: EntityId, change: impl FnOnce(&mut State, &mut G::Hidden)) -> bool {
        let Ok(row) = self.rows.ids.binary_search(&id) else { return false };
        let Some((state, hidden)) = self.rows.states.get_mut(row).zip(self.rows.hidden.get_mut(row)) else {
            return false;
        };
        change(state, hidden);
        true
    }

    fn with_stage<T>(&mut self, act: impl FnOnce(&mut G, &mut Stage<'_, G>) -> T) -> T {
        let Rows { ids, kinds, states, hidden, .. } = &mut self.rows;
        let mut stage = Stage {
            tick: self.tick,
            prev: self.prev,
            rate_hz: self.setup.rate_hz,
            seed: self.setup.seed,
            ids,
            kinds,
            states,
            hidden,
            past: &self.past,
            events: &mut self.events,
            allocator: &mut self.allocator,
            max_entities: self.setup.max_entities,
            newcomers: &mut self.newcomers,
            leavers: &mut self.leavers,
        };
        act(&mut self.game, &mut stage)
    }

    /// Notes who left its course in this step.
    fn follow_courses(&mut self) {
        let span = Span { tick: self.tick, prev: self.prev, rate_hz: self.setup.rate_hz };
        let Rows { kinds, states, courses, .. } = &mut self.rows;
        for (((course, kind), before), next) in courses.iter_mut().zip(&*kinds).zip(&self.before).zip(&*states) {
            if let Some(kind) = G::SCHEMA.kind(*kind) {
                course.follow(&span, kind, before, next);
            }
        }
    }

    /// Takes out who left and puts in who came, the latter shown first in the frame of `first`.
    fn settle(&mut self, first: u64) {
        if self.leavers.is_empty() && self.newcomers.is_empty() {
            return;
        }
        self.leavers.sort_unstable();
        self.leavers.dedup();
        let Self { rows, leavers, gone, allocator, past, .. } = self;
        leavers.retain(|id| rows.ids.binary_search(id).is_ok());
        for id in &*leavers {
            allocator.release(*id);
            // Who was never shown is missed by nobody.
            if past.newest().is_some_and(|frame| frame.row(*id).is_some()) {
                gone.push(*id);
            }
        }
        rows.remove(leavers);
        leavers.clear();
        self.unplaced += self.newcomers.len();
        self.rows.insert(&mut self.newcomers, first);
        self.moved_in_or_out = true;
    }

    /// Who went since the frame before, and who is not where anybody could have known.
    fn list_changes(&mut self) {
        core::mem::swap(&mut self.removed, &mut self.gone);
        self.gone.clear();
        self.removed.sort_unstable();
        let (tick, rows) = (self.tick, self.rows.courses.iter().zip(0..));
        self.turned.clear();
        self.turned.extend(rows.filter(|(course, _)| course.whole >= tick).map(|(_, row)| row));
    }

    /// As `turned`, where rows have moved since: those who came are among them.
    fn list_turned(&self) -> Vec<u32> {
        let rows = self.rows.courses.iter().zip(0..);
        rows.filter(|(course, _)| course.whole >= self.stepped).map(|(_, row)| row).collect()
    }

    fn make_frame(&self) -> Frame {
        let mut removed = self.removed.clone();
        if !self.gone.is_empty() {
            removed.extend(&self.gone);
            removed.sort_unstable();
        }
        let margin = margin(G::SPEEDS_MPS[0], self.setup.rate_hz, self.tick - self.space_tick);
        let Rows { ids, kinds, states, courses, slots, .. } = &self.rows;
        let moved = self.moved_in_or_out;
        Frame {
            tick: self.stepped,
            prev: self.prev,
            digest: self.digest,
            names: if moved { Arc::new(Names::new(ids, kinds)) } else { Arc::clone(&self.names) },
            states: states.clone(),
            courses: courses.clone(),
            turned: if moved { self.list_turned() } else { self.turned.clone() },
            removed,
            spots: Spots::new(Arc::clone(&self.space), slots, states, margin),
        }
    }

    /// As [`World::make_frame`] after a step, in the memory of an old one.
    fn renew_frame(&self, frame: &mut Frame) {
        let margin = margin(G::SPEEDS_MPS[0], self.setup.rate_hz, self.tick - self.space_tick);
        let Rows { states, courses, slots, .. } = &self.rows;
        (frame.tick, frame.prev, frame.digest) = (self.stepped, self.prev, self.digest);
        frame.names = Arc::clone(&self.names);
        frame.states.clone_from(states);
        frame.courses.clone_from(courses);
        refill(&mut frame.turned, &self.turned, states.len());
        refill(&mut frame.removed, &self.removed, states.len());
        frame.spots.renew(&self.space, slots, states, margin);
    }

    /// Rebuilds the entity tree when it is old or knows too few.
    fn keep_space(&mut self) {
        if core::mem::take(&mut self.moved_in_or_out) {
            let Rows { ids, kinds, .. } = &self.rows;
            self.names = self.all_names.make(|old| old.renew(ids, kinds), || Names::new(ids, kinds));
        }
        if self.tick - self.space_tick < REBUILD_TICKS && self.unplaced <= MAX_NEWCOMERS {
            return;
        }
        let Rows { states, slots, .. } = &mut self.rows;
        let slots = core::cell::RefCell::new(slots);
        self.space = self
            .spaces
            .make(|old| old.rebuild(states, &mut slots.borrow_mut()), || Space::new(states, &mut slots.borrow_mut()));
        self.space_tick = self.tick;
        self.unplaced = 0;
    }

    fn fold(&self) -> u64 {
        let mut hash = mix(self.tick);
        let mut word = |value: u64| hash = (hash.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let Rows { ids, kinds, states, hidden, .. } = &self.rows;
        for (((id, kind), state), hidden) in ids.iter().zip(kinds).zip(states).zip(hidden) {
            word(u64::from(id.raw()) << 32 | u64::from(*kind));
            for [low, high] in state.as_chunks().0 {
                word(u64::from(*low as u32) << 32 | u64::from(*high as u32));
            }
            G::fold(hidden, &mut word);
        }
        mix(hash)
    }
}

/// The same in old memory, with room for `rows`: only a larger world makes it grow, not a tick in which more happens.
fn refill<T: Copy>(old: &mut Vec<T>, new: &[T], rows: usize) {
    old.clear();
    old.reserve(rows);
    old.extend_from_slice(new);
}
