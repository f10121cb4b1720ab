//! The truth: the server's recent frames.

use std::collections::VecDeque;
use std::sync::Arc;

use sim::{EntityId, Frame};

/// Frames that are kept: longer than any datagram is under way.
const KEPT: usize = 1024;

/// The recent frames by tick.
#[derive(Default)]
pub(crate) struct History {
    frames: VecDeque<Arc<Frame>>,
}

impl History {
    pub(crate) fn push(&mut self, frame: Arc<Frame>) {
        if self.frames.len() == KEPT {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    pub(crate) fn newest(&self) -> Option<&Frame> {
        self.frames.back().map(|frame| &**frame)
    }

    pub(crate) fn at(&self, tick: u64) -> Option<&Frame> {
        let oldest = self.frames.front()?.tick;
        let index = usize::try_from(tick.checked_sub(oldest)?).ok()?;
        self.frames.get(index).map(|frame| &**frame)
    }

    /// The distance between two entities at a tick, in metres and squared, as the area of interest measures it.
    pub(crate) fn distance2(&self, tick: u64, own: EntityId, other: EntityId) -> Option<f32> {
        let frame = self.at(tick)?;
        let [x, _, z] = frame.position_m(frame.row(own)?);
        let [px, _, pz] = frame.position_m(frame.row(other)?);
        Some((px - x) * (px - x) + (pz - z) * (pz - z))
    }
}
