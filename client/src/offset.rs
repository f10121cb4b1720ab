//! What is still shown of an error after it was corrected: the body does not jump, it slides to where it is.

use netcode::Time;

/// Errors larger than this are not smoothed, in metres: who is thrown across the map should see it.
pub(crate) const SNAP_M: f32 = 3.0;
/// After this time about a third of an error is left, in microseconds.
const EASE_US: f32 = 100_000.0;
/// What is less than this is nothing, in metres.
const LEAST_M: f32 = 0.001;

/// An offset in metres that fades.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offset {
    from: [f32; 3],
    at: Time,
}

impl Offset {
    /// What is left of it.
    ///
    /// It falls like an exponential, by the first terms of its series in the denominator: only `+ * /`, the same everywhere.
    pub fn at(&self, now: Time) -> [f32; 3] {
        let x = now.saturating_since(self.at).as_micros() as f32 / EASE_US;
        let left = 1.0 / (1.0 + x * (1.0 + x * (0.5 + x * (1.0 / 6.0))));
        let offset = self.from.map(|axis| axis * left);
        if length(offset) < LEAST_M { [0.0; 3] } else { offset }
    }

    /// What was shown `shift` metres away is to be shown there still. Too far away it is not.
    pub fn add(&mut self, now: Time, shift: [f32; 3]) {
        let mut from = self.at(now);
        for (axis, shift) in from.iter_mut().zip(shift) {
            *axis += shift;
        }
        *self = if length(from) <= SNAP_M { Self { from, at: now } } else { Self::default() };
    }

    /// Nothing is left.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The length of a vector.
pub(crate) fn length(vector: [f32; 3]) -> f32 {
    vector.iter().map(|axis| axis * axis).sum::<f32>().sqrt()
}

/// The vector from one point to another.
pub(crate) fn between(from: [f32; 3], to: [f32; 3]) -> [f32; 3] {
    let mut way = to;
    for (axis, from) in way.iter_mut().zip(from) {
        *axis -= from;
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(5000 + ms)
    }

    #[test]
    fn it_fades_without_a_jump_to_nothing() {
        let mut offset = Offset::default();
        offset.add(at(0), [0.0, 0.6, -0.8]);
        assert_eq!(offset.at(at(0)), [0.0, 0.6, -0.8]);
        let lengths: Vec<_> = (0..200).map(|frame| length(offset.at(at(frame * 16)))).collect();
        assert!(lengths.windows(2).all(|pair| pair[1] <= pair[0] && pair[0] - pair[1] < 0.17));
        assert!((lengths[6] - 0.38).abs() < 0.03, "{}", lengths[6]);
        assert_eq!(lengths.last(), Some(&0.0));
    }

    #[test]
    fn a_second_error_adds_to_what_is_left() {
        let mut offset = Offset::default();
        offset.add(at(0), [1.0, 0.0, 0.0]);
        let left = offset.at(at(50))[0];
        offset.add(at(50), [-0.5, 0.0, 0.0]);
        assert_eq!(offset.at(at(50))[0], left - 0.5);
    }

    #[test]
    fn what_is_too_large_snaps() {
        let mut offset = Offset::default();
        offset.add(at(0), [2.0, 0.0, 0.0]);
        offset.add(at(1), [2.0, 0.0, 0.0]);
        assert_eq!(offset.at(at(1)), [0.0; 3]);
    }
}
