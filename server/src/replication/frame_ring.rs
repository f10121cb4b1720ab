//! The last frames of a worker: the baselines of all its clients.

use std::collections::VecDeque;
use std::sync::Arc;

use netcode::snapshot::MAX_AGE;
use sim::Frame;

/// For so long a frame can be a baseline, in milliseconds: several round trips of the slowest path that is played on. Frames
/// are a large part of a player's memory. Who acknowledges nothing for longer is sent whole states, as a newcomer.
///
/// In a crowd most are told of once a second, and less often when time is short. Were there no baseline left by then, all of
/// them would be whole states, and time be shorter still; so there it is [`MAX_AGE`] ticks.
pub const BASELINE_MS: u32 = 1600;

/// The newest frame and those of [`BASELINE_MS`] before it, at most [`MAX_AGE`] ticks', oldest first. A worker that fell
/// behind may lack some.
pub struct FrameRing {
    frames: VecDeque<Arc<Frame>>,
    /// Ticks, outside of crowds.
    reach: u64,
}

impl FrameRing {
    /// An empty ring, of a world with so many ticks a second.
    #[must_use]
    pub fn new(rate: u16) -> Self {
        let reach = (u32::from(rate) * BASELINE_MS).div_ceil(1000).clamp(1, MAX_AGE.into());
        Self { frames: VecDeque::with_capacity(reach as usize + 1), reach: reach.into() }
    }

    /// Takes the next frame; one that is not newer than the last is ignored. `crowd`: some client is in one.
    pub fn push(&mut self, frame: Arc<Frame>, crowd: bool) {
        if self.newest().is_some_and(|newest| frame.tick <= newest.tick) {
            return;
        }
        let reach = if crowd { MAX_AGE.into() } else { self.reach };
        let oldest = frame.tick.saturating_sub(reach);
        while self.frames.front().is_some_and(|front| front.tick < oldest) {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// The newest frame.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Frame>> {
        self.frames.back()
    }

    /// The oldest frame that can still be a baseline.
    #[must_use]
    pub fn oldest(&self) -> Option<&Arc<Frame>> {
        self.frames.front()
    }

    /// The frame of that tick, if it is still (or ever was) here.
    #[must_use]
    pub fn at(&self, tick: u64) -> Option<&Arc<Frame>> {
        let newest = self.newest()?.tick;
        // Without gaps the place follows from the tick; with gaps, search.
        let back = usize::try_from(newest.checked_sub(tick)?).ok()?;
        let direct = self.frames.len().checked_sub(back + 1).and_then(|at| self.frames.get(at));
        if let Some(frame) = direct.filter(|frame| frame.tick == tick) {
            return Some(frame);
        }
        let at = self.frames.binary_search_by_key(&tick, |frame| frame.tick).ok()?;
        self.frames.get(at)
    }
}
