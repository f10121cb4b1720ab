//! Places after a change of velocity: how far those moved beyond their guess who turned on the way.
//!
//! Whoever changed his velocity did so at some time since the baseline, so his place has changed by a share of what the
//! change makes over all of that time, and all axes by nearly the same share. Both codecs code places after velocities.

use super::predict::{Guess, Plan, Step};
use crate::schema::{Predictor, State};

/// The farthest way that counts, either way.
const MAX_WAY: i64 = 1 << 32;
/// The shortest way that says something of the share.
const TELLING_WAY: u64 = 16;

/// What the fields so far say of those that move along a velocity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drift {
    /// How much of the way a field went, in sixteenths.
    share: i64,
    /// What the order is less than the way's width.
    sure: u32,
}

impl Drift {
    pub const START: Self = Self { share: 10, sure: 2 };

    /// How far a field would be off its guess, had the velocity been at the baseline what it is now.
    pub fn way(plan: &Plan, guess: &Guess, state: &State, step: &Step) -> i64 {
        let Predictor::Linear { velocity, numerator } = step.predictor else { return 0 };
        let at = usize::from(velocity);
        let (Some(step), Some(from), Some(to)) = (plan.steps().get(at), guess.state().get(at), state.get(at)) else {
            return 0;
        };
        let change = step.difference(*from, *to);
        if change == 0 {
            return 0;
        }
        let way = change.saturating_mul(i64::from(numerator)).saturating_mul(i64::from(guess.age()));
        way.div_euclid(i64::from(guess.rate())).clamp(-MAX_WAY, MAX_WAY)
    }

    /// The guess for a field.
    #[inline]
    pub fn likely(self, step: &Step, guessed: i32, way: i64) -> i32 {
        step.fit(i64::from(guessed) + ((way * self.share) >> 4))
    }

    /// The order of its code.
    #[inline]
    pub fn order(self, step: &Step, way: i64) -> u32 {
        let width = u64::BITS - way.unsigned_abs().leading_zeros();
        width.saturating_sub(self.sure).min(u32::from(step.bits))
    }

    /// Whether a field told what the share is.
    #[inline]
    pub const fn is_sure(self) -> bool {
        self.sure > Self::START.sure
    }

    /// A field with that way went so far beyond its guess.
    pub fn note(&mut self, way: i64, gone: i64) {
        let length = way.unsigned_abs() as i64;
        if way.unsigned_abs() >= TELLING_WAY {
            self.share = ((gone * way.signum() * 16 + length / 2).div_euclid(length)).clamp(0, 16);
            self.sure = 4;
        }
    }
}
