//! The recent past: who was where at a moment between two ticks, and what a ray of that moment meets.

use crate::contact::RADIUS;
use crate::entity::EntityId;
use crate::frame::Frame;
use crate::movement::{MAX_FALL_SPEED_MPS, MAX_HORIZONTAL_SPEED_MPS};
use crate::ray::{Ray, Strip, body_hit};
use crate::schema::{QUANTA_PER_M, X, Y, Z};
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
    /// An empty history of a world with so many ticks a second.
    #[must_use]
    pub fn new(rate_hz: u16) -> Self {
        let rate = rate_hz.max(1);
        let capacity = (u32::from(rate) * HISTORY_MS).div_ceil(1000) as usize + 1;
        let reach = |mps: f32| mps * QUANTA_PER_M as f32 / f32::from(rate) + SHOVE;
        Self {
            frames: VecDeque::with_capacity(capacity),
            capacity,
            flat: reach(MAX_HORIZONTAL_SPEED_MPS),
            upright: reach(MAX_FALL_SPEED_MPS),
        }
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
        let rest = Ray { reach: best.map_or(ray.reach, |(at, _)| at), ..*ray };
        match (statics.cast(&rest, moment), best) {
            (Some(wall), Some((body, id))) if body <= wall => Some(Hit { what: Struck::Body(id), at: body }),
            (Some(wall), _) => Some(Hit { what: Struck::Wall, at: wall }),
            (None, best) => best.map(|(at, id)| Hit { what: Struck::Body(id), at }),
        }
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
}
