//! The frames of the last moments.

use crate::entity::EntityId;
use crate::frame::Frame;
use crate::ray::{Hit, Moment, Ray, Struck, body_hit};
use crate::space::Statics;
use std::collections::VecDeque;
use std::sync::Arc;

/// A ring of frames, the newest last.
pub struct History {
    frames: VecDeque<Arc<Frame>>,
    keep: usize,
}

impl History {
    /// Keeps so many frames, at least one.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self { frames: VecDeque::new(), keep: keep.max(1) }
    }

    /// Adds the newest frame.
    pub fn push(&mut self, frame: Arc<Frame>) {
        if self.frames.len() == self.keep {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// The newest frame.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Frame>> {
        self.frames.back()
    }

    /// The frame of a tick, if it is kept.
    #[must_use]
    pub fn get(&self, tick: u64) -> Option<&Arc<Frame>> {
        self.frames.iter().find(|frame| frame.tick == tick)
    }

    /// Where an entity's feet were (1/256 m).
    #[must_use]
    pub fn place(&self, moment: Moment, id: EntityId) -> Option<[f32; 3]> {
        let newest = self.newest()?;
        let at = |tick: u64| {
            let frame = self.get(tick.min(newest.tick))?;
            let state = frame.state(frame.row(id)?);
            Some([state[0] as f32, state[1] as f32, state[2] as f32])
        };
        let (a, b) = (at(moment.tick)?, at(moment.tick + 1)?);
        let share = f32::from(moment.share) / 32.0;
        Some([0, 1, 2].map(|axis| a[axis] + (b[axis] - a[axis]) * share))
    }

    /// What a ray meets first.
    pub fn cast(
        &self,
        moment: Moment,
        ray: &Ray,
        statics: &Statics,
        besides: EntityId,
        may_hit: impl Fn(&Frame, usize) -> bool,
        scratch: &mut Vec<u32>,
    ) -> Option<Hit> {
        let wall = statics.cast(ray, moment);
        let frame = self.newest()?;
        let middle = glam::Vec3::from_array(ray.from) + ray.direction * (ray.reach / 2.0);
        frame.query([middle.x / 256.0, middle.z / 256.0], ray.reach / 512.0 + 8.0, scratch);
        let mut best = wall.map(|at| Hit { what: Struck::Wall, at });
        for row in scratch.iter().map(|row| *row as usize) {
            let id = frame.id(row);
            if id == besides || !may_hit(frame, row) {
                continue;
            }
            let Some(at) = self.place(moment, id).and_then(|feet| body_hit(ray, feet)) else { continue };
            if best.is_none_or(|best| at < best.at) {
                best = Some(Hit { what: Struck::Body(id), at });
            }
        }
        best
    }
}
