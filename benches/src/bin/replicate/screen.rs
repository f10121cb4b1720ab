//! How far from where they were the witnesses show the others.

use core::time::Duration;

use client::{Config, Horizon, pose};
use netcode::snapshot::View;
use sim::{EntityId, Frame};

/// A client shows the world so many ticks ago, where nothing jitters.
pub const RENDER_TICKS: usize = 2;
/// Centimetres that are told apart; more count as the last.
const MOST_CM: usize = 10_000;

/// Distances, counted by whole centimetres.
#[derive(Clone, Debug)]
pub struct Distances {
    counts: Vec<u64>,
    sum_m: f64,
}

impl Distances {
    fn new() -> Self {
        Self { counts: vec![0; MOST_CM + 1], sum_m: 0.0 }
    }

    fn add(&mut self, metres: f64) {
        self.sum_m += metres;
        if let Some(count) = self.counts.get_mut(((metres * 100.0) as usize).min(MOST_CM)) {
            *count += 1;
        }
    }

    /// In metres.
    pub fn mean(&self) -> f64 {
        self.sum_m / self.counts.iter().sum::<u64>().max(1) as f64
    }

    /// The one that this share does not exceed, m.
    pub fn quantile(&self, share: f64) -> f64 {
        let all: u64 = self.counts.iter().sum();
        let mut left = (all as f64 * share) as u64;
        let at = self.counts.iter().position(|count| {
            let found = *count > left;
            left = left.saturating_sub(*count);
            found
        });
        at.unwrap_or(0) as f64 / 100.0
    }
}

/// What the witnesses show, together.
#[derive(Clone, Debug)]
pub struct Screen {
    /// As the SDK does it by default.
    pub shown: Distances,
    /// If whoever is not mentioned stood as soon as if no snapshots came.
    pub held: Distances,
    rate: f64,
    limits: [Duration; 2],
}

impl Screen {
    /// Nothing shown yet.
    pub fn new(rate: u16) -> Self {
        let Config { extrapolate, told, .. } = Config::default();
        let limits = [extrapolate, told];
        Self { shown: Distances::new(), held: Distances::new(), rate: rate.into(), limits }
    }

    /// Draws all others that a view has, as they were in that frame.
    pub fn draw(&mut self, view: &View, frame: &Frame) {
        let [silent, told] = self.limits.map(|limit| limit.as_secs_f64() * self.rate);
        let newest = view.tick().unwrap_or(0);
        for entity in view.entities().filter(|entity| !entity.owner()) {
            let Some(row) = EntityId::from_raw(entity.id()).and_then(|id| frame.row(id)) else { continue };
            // To stand as in silence is to take the last word on it for the last of all.
            let ends = [newest, newest.min(entity.confirmed())];
            for (newest, distances) in ends.into_iter().zip([&mut self.shown, &mut self.held]) {
                let horizon = Horizon { newest, silent, told };
                let Some(pose) = pose(&entity, frame.tick as f64, &horizon) else { continue };
                let apart = pose.position.iter().zip(frame.position_m(row)).map(|(a, b)| f64::from(a - b).powi(2));
                distances.add(apart.sum::<f64>().sqrt());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_distances_are_by_centimetres() {
        let mut distances = Distances::new();
        assert_eq!((distances.mean(), distances.quantile(0.99)), (0.0, 0.0));
        (0..99).for_each(|_| distances.add(0.05));
        distances.add(1e9);
        assert_eq!((distances.quantile(0.5), distances.quantile(0.99)), (0.05, 100.0));
    }
}
