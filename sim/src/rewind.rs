//! The recent past: who was where at a moment between two ticks, and what a ray of that moment meets.

use crate::contact::RADIUS;
use crate::entity::EntityId;
use crate::frame::Frame;
use crate::grid::{QUANTA_PER_M, X, Y, Z};
use crate::ray::{Ray, Strip, body_hit};
use crate::space::Statics;
use netcode::schema::State;
use std::collections::VecDeque;
use std::sync::Arc;

/// How far back a history reaches, milliseconds.
pub const HISTORY_MS: u32 = 500;
/// How far pushes and steps may carry a body in a tick beside its own speed, position quanta.
const SHOVE: f32 = RADIUS as f32;
/// Parts of a tick in which moments are told apart.
pub const SHARES: u8 = 32;

/// A time between two ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// After this tick,
    pub tick: u64,
    /// by so much of the way to the next one: 0..=31 of [`SHARES`].
    pub share: u8,
}

impl Moment {
    /// Right after a tick.
    #[must_use]
    pub const fn after(tick: u64) -> Self {
        Self { tick, share: 0 }
    }

    /// So many 1/32 ticks before the end of `tick`; not before the end of tick 0.
    #[must_use]
    pub const fn before(tick: u64, view: u16) -> Self {
        let (ticks, rest) = (view as u64 / SHARES as u64, view as u64 % SHARES as u64);
        let back = ticks + if rest > 0 { 1 } else { 0 };
        if back > tick {
            return Self::after(0);
        }
        Self { tick: tick - back, share: if rest > 0 { SHARES - rest as u8 } else { 0 } }
    }
}

/// What a ray met first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// What it is.
    pub what: Struck,
    /// How far along the ray, position quanta.
    pub at: f32,
}

/// What can be hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Struck {
    /// Somebody.
    Body(EntityId),
    /// A solid, or the ground.
    Wall,
}

/// The frames of the last [`HISTORY_MS`], oldest first.
#[derive(Clone)]
pub struct History {
    frames: VecDeque<Arc<Frame>>,
    capacity: usize,
    /// How far anybody gets in a tick along x and z together, and along y (position quanta).
    flat: f32,
    upright: f32,
}

/// The frames around a moment.
struct Around<'a> {
    older: &'a Frame,
    newer: Option<&'a Frame>,
    /// How much of the way from the older to the newer one, and how many ticks that way takes.
    share: f32,
    ticks: f32,
}

impl History {
    /// An empty history of a world with so many ticks a second, in which bodies move at those speeds (m/s) at most along x
    /// and z together, and along y.
    #[must_use]
    pub fn new(rate_hz: u16, [flat_mps, upright_mps]: [f32; 2]) -> Self {
        let rate = rate_hz.max(1);
        let capacity = (u32::from(rate) * HISTORY_MS).div_ceil(1000) as usize + 1;
        let reach = |mps: f32| mps * QUANTA_PER_M as f32 / f32::from(rate) + SHOVE;
        Self { frames: VecDeque::with_capacity(capacity), capacity, flat: reach(flat_mps), upright: reach(upright_mps) }
    }

    /// Adds the frame of a step; one that is no newer than the newest takes the place of those that it is not newer than.
    pub fn push(&mut self, frame: Arc<Frame>) {
        while self.frames.back().is_some_and(|last| last.tick >= frame.tick) {
            self.frames.pop_back();
        }
        if self.frames.len() >= self.capacity {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// The newest frame.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Frame>> {
        self.frames.back()
    }

    /// The frame of exactly that tick.
    #[must_use]
    pub fn get(&self, tick: u64) -> Option<&Arc<Frame>> {
        let at = self.frames.partition_point(|frame| frame.tick < tick);
        self.frames.get(at).filter(|frame| frame.tick == tick)
    }

    /// The tick of the oldest frame.
    #[must_use]
    pub fn oldest_tick(&self) -> Option<u64> {
        self.frames.front().map(|frame| frame.tick)
    }

    /// Where an entity's feet were (position quanta), interpolated between the frames before and after the moment;
    /// `None` where it was not there in the one before. A moment before the oldest frame counts as that frame's, one
    /// after the newest as that one's.
    ///
    /// Who cannot have moved from the one place to the other (a respawn) stays at the older one until the newer frame.
    #[must_use]
    pub fn place(&self, moment: Moment, id: EntityId) -> Option<[f32; 3]> {
        let around = self.around(moment)?;
        Some(self.between(&around, id, around.older.row(id)?))
    }

    /// What the ray meets first of the world of that moment: solids where they were, and the bodies (but `besides`)
    /// for whose row in the frame before the moment `may_hit` holds. Of two at the same distance the body is met, of
    /// two bodies that of the lesser id.
    pub fn cast(
        &self,
        moment: Moment,
        ray: &Ray,
        statics: &Statics,
        besides: EntityId,
        may_hit: impl Fn(&Frame, usize) -> bool,
    ) -> Option<Hit> {
        // Solids are few and large: the wall behind everybody is found soon, and nobody behind it need be looked at.
        let wall = statics.cast(ray, moment);
        let ray = &Ray { reach: wall.unwrap_or(ray.reach), ..*ray };
        let mut best: Option<(f32, EntityId)> = None;
        if let Some(around) = self.around(moment) {
            // Nobody is farther from where the older frame has it than it can have got since.
            let strip = Strip::new(ray, RADIUS as f32 + self.flat * around.ticks * around.share + 1.0);
            around.older.along(&strip, |row| {
                let (row, id) = (row as usize, around.older.id(row as usize));
                if id == besides || !may_hit(around.older, row) {
                    return;
                }
                if let Some(at) = body_hit(ray, self.between(&around, id, row))
                    && best.is_none_or(|(least, first)| at < least || at == least && id < first)
                {
                    best = Some((at, id));
                }
            });
        }
        let body = best.map(|(at, id)| Hit { what: Struck::Body(id), at });
        body.or(wall.map(|at| Hit { what: Struck::Wall, at }))
    }

    fn around(&self, moment: Moment) -> Option<Around<'_>> {
        let after = self.frames.partition_point(|frame| frame.tick <= moment.tick);
        if after == 0 {
            let older = self.frames.front()?;
            return Some(Around { older, newer: None, share: 0.0, ticks: 0.0 });
        }
        let (older, newer) = (self.frames.get(after - 1)?, self.frames.get(after).map(|frame| &**frame));
        let ticks = newer.map_or(0.0, |newer| (newer.tick - older.tick) as f32);
        let past = (moment.tick - older.tick) as f32 + f32::from(moment.share.min(SHARES)) / f32::from(SHARES);
        let share = if newer.is_some() { past / ticks } else { 0.0 };
        Some(Around { older, newer: newer.filter(|_| share > 0.0), share, ticks })
    }

    /// Where the entity in that row of the older frame was.
    fn between(&self, around: &Around<'_>, id: EntityId, row: usize) -> [f32; 3] {
        let place = |state: &State| [X, Y, Z].map(|axis| state[axis] as f32);
        let older = place(around.older.state(row));
        let Some(newer) = around.newer.and_then(|frame| frame.row(id).map(|row| place(frame.state(row)))) else {
            return older;
        };
        let [dx, dy, dz] = [0, 1, 2].map(|axis| newer[axis] - older[axis]);
        let (flat, upright) = (self.flat * around.ticks, self.upright * around.ticks);
        if dx * dx + dz * dz > flat * flat || dy.abs() > upright {
            return older;
        }
        [older[0] + dx * around.share, older[1] + dy * around.share, older[2] + dz * around.share]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::HEIGHT;
    use crate::course::Course;
    use crate::frame::Names;
    use crate::map::Map;
    use crate::rng::mix;
    use crate::space::{Space, margin};
    use crate::spots::{NO_SLOT, Spots};
    use glam::Vec3;
    use proptest::prelude::*;

    const SPEEDS_MPS: [f32; 2] = [7.5, 30.0];

    #[test]
    fn a_view_is_so_many_shares_before_a_tick() {
        assert_eq!(Moment::before(10, 0), Moment { tick: 10, share: 0 });
        assert_eq!(Moment::before(10, 1), Moment { tick: 9, share: 31 });
        assert_eq!(Moment::before(10, 32), Moment { tick: 9, share: 0 });
        assert_eq!(Moment::before(10, 33), Moment { tick: 8, share: 31 });
        assert_eq!(Moment::before(10, 320), Moment::after(0));
        assert_eq!(Moment::before(10, 321), Moment::after(0));
        assert_eq!(Moment::before(0, u16::MAX), Moment::after(0));
    }

    /// A world of bodies that stagger, jump, come and go, without rules.
    struct Stage {
        rate_hz: u16,
        tick: u64,
        luck: u64,
        /// Where the middle of it all is.
        middle: [i32; 2],
        ids: Vec<EntityId>,
        states: Vec<State>,
        slots: Vec<u32>,
        space: Arc<Space>,
        space_tick: u64,
    }

    impl Stage {
        fn new(seed: u64, rate_hz: u16, middle: [i32; 2]) -> Self {
            let space = Arc::new(Space::new(&[], &mut Vec::new()));
            let (ids, states, slots) = (Vec::new(), Vec::new(), Vec::new());
            let mut stage = Self { rate_hz, tick: 5, luck: seed, middle, ids, states, slots, space, space_tick: 5 };
            stage.join(250);
            stage
        }

        fn below(&mut self, n: u64) -> i32 {
            self.luck = mix(self.luck);
            (self.luck % n.max(1)) as i32
        }

        fn anywhere(&mut self) -> State {
            let mut state = State::default();
            state[X] = self.middle[0] + self.below(4000) - 2000;
            state[Y] = self.below(600);
            state[Z] = self.middle[1] + self.below(4000) - 2000;
            state
        }

        fn join(&mut self, count: u32) {
            let first = self.ids.last().map_or(0, |id| id.index() + 1);
            for index in first..first + count {
                self.ids.push(EntityId::from_raw(index << 12 | 1).unwrap());
                let state = self.anywhere();
                self.states.push(state);
                self.slots.push(NO_SLOT);
            }
        }

        /// One step, of so many ticks; some come, some go, some appear elsewhere.
        fn step(&mut self, ticks: u64) -> Arc<Frame> {
            self.tick += ticks;
            let joins = self.below(3) as u32;
            self.join(joins);
            for _ in 0..self.below(3) {
                let row = self.below(self.ids.len() as u64) as usize;
                self.ids.remove(row);
                self.states.remove(row);
                self.slots.remove(row);
            }
            let pace = 7 * QUANTA_PER_M / i32::from(self.rate_hz);
            for row in 0..self.states.len() {
                if self.below(30) == 0 {
                    let place = self.anywhere();
                    if self.below(2) == 0 {
                        self.states[row] = place;
                    } else {
                        self.states[row][Y] = 2 * place[Y];
                    }
                    continue;
                }
                for axis in [X, Y, Z] {
                    self.states[row][axis] += (self.below(2 * pace as u64 + 1) - pace) * 7 / 10;
                }
            }
            if self.below(8) == 0 {
                self.space = Arc::new(Space::new(&self.states, &mut self.slots));
                self.space_tick = self.tick;
            }
            let fat = margin(SPEEDS_MPS[0], self.rate_hz, self.tick - self.space_tick);
            Arc::new(Frame {
                tick: self.tick,
                prev: self.tick - ticks,
                digest: 0,
                names: Arc::new(Names::new(&self.ids, &vec![0; self.ids.len()])),
                states: self.states.clone(),
                courses: vec![Course::new(1); self.ids.len()],
                turned: Vec::new(),
                removed: Vec::new(),
                spots: Spots::new(Arc::clone(&self.space), &self.slots, &self.states, fat),
            })
        }
    }

    /// Where the entity was, looked up the long way.
    fn place(frames: &[Arc<Frame>], history: &History, moment: Moment, id: EntityId) -> Option<[f64; 3]> {
        let find = |frame: &Frame| {
            let at = frame.ids().iter().position(|other| *other == id)?;
            Some([X, Y, Z].map(|axis| f64::from(frame.states()[at][axis])))
        };
        let before = frames.iter().rev().find(|frame| frame.tick <= moment.tick);
        let older = find(before.unwrap_or(&frames[0]))?;
        let Some(newer) = frames.iter().find(|frame| frame.tick > moment.tick).filter(|_| before.is_some()) else {
            return Some(older);
        };
        let ticks = (newer.tick - before?.tick) as f64;
        let way = find(newer).map_or([0.0; 3], |newer| [0, 1, 2].map(|axis| newer[axis] - older[axis]));
        if way[0].hypot(way[2]) > f64::from(history.flat) * ticks || way[1].abs() > f64::from(history.upright) * ticks {
            return Some(older);
        }
        let share = ((moment.tick - before?.tick) as f64 + f64::from(moment.share) / 32.0) / ticks;
        Some([0, 1, 2].map(|axis| older[axis] + way[axis] * share))
    }

    /// How near the ray comes to the segment of a body, and how far along it first is within a radius of that: by search.
    fn meet(ray: &Ray, feet: [f64; 3]) -> (f64, f64) {
        let direction = ray.direction.to_array();
        let distance = |way: f64| {
            let [x, y, z] =
                [0, 1, 2].map(|axis| f64::from(ray.from[axis]) + f64::from(direction[axis]) * way - feet[axis]);
            x.hypot(z).hypot(y - y.clamp(f64::from(RADIUS), f64::from(HEIGHT - RADIUS)))
        };
        let flat = [0, 2].map(|axis| f64::from(ray.from[axis]) - feet[axis]);
        if (flat[0] * f64::from(direction[2]) - flat[1] * f64::from(direction[0])).abs() > 500.0 {
            return (f64::INFINITY, f64::INFINITY);
        }
        let (mut low, mut high) = (0.0, f64::from(ray.reach));
        for _ in 0..60 {
            let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
            (low, high) = if distance(a) < distance(b) { (low, b) } else { (a, high) };
        }
        let nearest = distance(low);
        (low, high) = (0.0, low);
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            (low, high) = if distance(middle) > f64::from(RADIUS) { (middle, high) } else { (low, middle) };
        }
        (nearest, low)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_cast_into_the_past_equals_a_look_at_everybody(
            seed: u64,
            rate_hz in 10u16..=128,
            middle in prop::array::uniform2(prop_oneof![Just(0), -1_000_000i32..1_000_000]),
            ticks in prop::collection::vec(prop_oneof![9 => Just(1u64), 1 => 2u64..9], 4..16),
            rays in prop::collection::vec((any::<[i8; 3]>(), any::<[i16; 3]>(), 100f32..6000.0, 0u64..9, 0u8..32), 12),
        ) {
            let mut stage = Stage::new(seed, rate_hz, middle);
            let mut history = History::new(rate_hz, SPEEDS_MPS);
            let mut frames = Vec::new();
            for step in ticks {
                let frame = stage.step(step);
                history.push(Arc::clone(&frame));
                frames.push(frame);
            }
            frames.retain(|frame| history.oldest_tick().is_some_and(|oldest| frame.tick >= oldest));
            let statics = Statics::new(&Map::from_boxes(16, &[]), rate_hz);
            for (direction, from, reach, back, share) in rays {
                let direction = direction.map(|part| f32::from(part) + 0.25);
                let from = [
                    middle[0] as f32 + f32::from(from[0] / 16),
                    300.0 + f32::from(from[1] / 128),
                    middle[1] as f32 + f32::from(from[2] / 16),
                ];
                // As flat as looks mostly are.
                let direction = (Vec3::from(direction) * Vec3::new(1.0, 0.2, 1.0)).normalize();
                let ray = Ray { from, direction, reach };
                let moment = Moment { tick: (stage.tick + 2).saturating_sub(back), share };
                let (besides, odd) = (stage.ids[0], |id: EntityId| !id.index().is_multiple_of(5));
                let hit = history.cast(moment, &ray, &statics, besides, |frame, row| odd(frame.id(row)));
                let limit = hit.map_or(reach, |hit| hit.at);
                let mut everybody: Vec<_> = frames.iter().flat_map(|frame| frame.ids()).copied().collect();
                everybody.sort_unstable();
                everybody.dedup();
                for id in everybody {
                    let expected = place(&frames, &history, moment, id);
                    let found = history.place(moment, id);
                    prop_assert_eq!(found.is_some(), expected.is_some());
                    let Some(feet) = expected else { continue };
                    prop_assert!(found.unwrap().iter().zip(feet).all(|(found, feet)| (f64::from(*found) - feet).abs() < 0.5));
                    let (nearest, way) = meet(&ray, feet);
                    let struck = hit.is_some_and(|hit| hit.what == Struck::Body(id));
                    if struck {
                        prop_assert!(id != besides && odd(id));
                        prop_assert!(nearest <= f64::from(RADIUS) + 0.5, "{nearest} {:?}", hit);
                        prop_assert!(nearest > f64::from(RADIUS) - 1.0 || (way - f64::from(limit)).abs() < 4.0);
                    } else if id != besides && odd(id) && nearest < f64::from(RADIUS) - 1.0 {
                        prop_assert!(way > f64::from(limit) - 4.0, "{way} {nearest} {:?} {:?}", id, hit);
                    }
                }
            }
        }
    }

    #[test]
    fn a_history_holds_half_a_second_and_finds_its_ticks() {
        let (mut stage, mut history) = (Stage::new(1, 20, [0; 2]), History::new(20, SPEEDS_MPS));
        assert!(history.newest().is_none() && history.oldest_tick().is_none());
        for _ in 0..30 {
            history.push(stage.step(1));
        }
        assert_eq!((history.oldest_tick(), history.newest().map(|frame| frame.tick)), (Some(25), Some(35)));
        assert_eq!(history.get(30).map(|frame| frame.tick), Some(30));
        assert!(history.get(24).is_none() && history.get(36).is_none());
        let again = Arc::clone(history.get(30).unwrap());
        history.push(again);
        assert_eq!(history.newest().map(|frame| frame.tick), Some(30));
    }
}
