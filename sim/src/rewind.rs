//! The frames of the last moments.

use crate::frame::Frame;
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
}
