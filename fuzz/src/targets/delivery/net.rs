//! A network that delivers, doubles and loses packets, and tells the sender so, as the input says.

use std::collections::VecDeque;

use super::{Feature, reach};

/// The most lost packets that can still come.
const MAX_GHOSTS: usize = 32;

/// A packet under way.
struct Flight<F> {
    items: Vec<u64>,
    frames: Vec<F>,
    arrived: bool,
}

/// Packets whose fate is open at their sender, and lost ones that can still arrive.
pub struct Net<F> {
    flying: VecDeque<Flight<F>>,
    ghosts: VecDeque<Vec<F>>,
    /// Whether a packet may be delivered twice.
    doubles: bool,
}

impl<F: Clone> Net<F> {
    pub const fn new(doubles: bool) -> Self {
        Self { flying: VecDeque::new(), ghosts: VecDeque::new(), doubles }
    }

    pub fn send(&mut self, items: Vec<u64>, frames: Vec<F>) {
        if !frames.is_empty() {
            self.flying.push_back(Flight { items, frames, arrived: false });
        }
    }

    pub fn len(&self) -> usize {
        self.flying.len()
    }

    /// What arrives now.
    pub fn deliver(&mut self, which: u8) -> Vec<F> {
        let which = usize::from(which) % self.flying.len().max(1);
        let Some(flight) = self.flying.get_mut(which) else { return Vec::new() };
        if flight.arrived {
            if !self.doubles {
                return Vec::new();
            }
            reach(Feature::Doubled);
        }
        flight.arrived = true;
        flight.frames.clone()
    }

    /// A lost packet arrives after all.
    pub fn haunt(&mut self, which: u8) -> Vec<F> {
        let which = usize::from(which) % self.ghosts.len().max(1);
        let Some(frames) = self.ghosts.remove(which) else { return Vec::new() };
        reach(Feature::Ghost);
        frames
    }

    /// The items of a packet that the sender learns of: that it arrived, if it did, or (rightly or wrongly) that it is
    /// lost.
    pub fn settle(&mut self, which: u8, acked: bool) -> Vec<u64> {
        let which = usize::from(which) % self.flying.len().max(1);
        match self.flying.get(which) {
            Some(flight) if flight.arrived || !acked => {}
            _ => return Vec::new(),
        }
        let Some(flight) = self.flying.remove(which) else { return Vec::new() };
        if !acked {
            reach(Feature::Lost);
            if !flight.arrived && self.ghosts.len() < MAX_GHOSTS {
                self.ghosts.push_back(flight.frames);
            }
        }
        flight.items
    }
}
