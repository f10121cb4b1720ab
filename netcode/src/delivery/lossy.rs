//! A channel that loses, reorders and doubles what it carries, and whose sender is sometimes told the wrong fate.

use std::collections::VecDeque;

use crate::rng::Rng;

/// What a sender learns about an item that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Acked(u64),
    Lost(u64),
}

/// Chances, each 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of an item not to arrive.
    pub loss: f64,
    /// Of an item to arrive a second time, later.
    pub twice: f64,
    /// Of an item that arrives to be declared lost; its ack comes later still, or never.
    pub wrongly_lost: f64,
    /// How many items may overtake one.
    pub reorder: u64,
}

/// Items of `F` under way.
#[derive(Debug)]
pub struct Lossy<F> {
    weather: Weather,
    flying: VecDeque<(Option<u64>, F)>,
    fates: VecDeque<Fate>,
    rng: Rng,
}

impl<F: Clone> Lossy<F> {
    pub fn new(weather: Weather, rng: Rng) -> Self {
        Self { weather, flying: VecDeque::new(), fates: VecDeque::new(), rng }
    }

    pub fn send(&mut self, item: u64, frame: F) {
        self.flying.push_back((Some(item), frame));
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.flying.is_empty() && self.fates.is_empty()
    }

    pub fn flying(&self) -> usize {
        self.flying.len()
    }

    /// What arrives next, if it is not lost.
    pub fn arrival(&mut self) -> Option<F> {
        let most = self.weather.reorder.min(self.flying.len() as u64);
        if most == 0 {
            return None;
        }
        let (item, frame) = self.flying.remove(self.rng.below(most) as usize)?;
        // A copy that the network made has no fate of its own.
        let Some(item) = item else { return Some(frame) };
        if self.rng.chance(self.weather.loss) {
            self.fates.push_back(Fate::Lost(item));
            return None;
        }
        if self.rng.chance(self.weather.wrongly_lost) {
            self.fates.push_back(Fate::Lost(item));
            if self.rng.chance(0.5) {
                self.fates.push_back(Fate::Acked(item));
            }
        } else {
            self.fates.push_back(Fate::Acked(item));
        }
        if self.rng.chance(self.weather.twice) {
            self.flying.push_back((None, frame.clone()));
        }
        Some(frame)
    }

    /// What the sender learns next.
    pub fn fate(&mut self) -> Option<Fate> {
        let most = self.weather.reorder.min(self.fates.len() as u64);
        if most == 0 { None } else { self.fates.remove(self.rng.below(most) as usize) }
    }
}
