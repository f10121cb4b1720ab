//! From values to places on the page, with round numbers at the ticks.

/// A linear scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Values `from..=to` lie at the places `start..=end`; where `to` is not above `from`, it is taken to be one above.
    pub(super) fn new((from, to): (f64, f64), (start, end): (f64, f64)) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self { from, to, start, end }
    }

    /// Where a value lies; values outside lie at the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.start + share * (self.end - self.start)
    }

    /// Round values within, about `count` of them: 1, 2 or 5 times a power of ten apart.
    pub(super) fn ticks(&self, count: u32) -> Vec<f64> {
        let step = round_step((self.to - self.from) / f64::from(count.max(1)));
        let first = (self.from / step).ceil();
        (0..=4 * count)
            .map(|at| (first + f64::from(at)) * step)
            .take_while(|value| *value <= self.to + step * 1e-6)
            .collect()
    }
}

/// The next of 1, 2, 5, 10, 20, ... (or 0.5, 0.2, ...) that is not below `raw`.
fn round_step(raw: f64) -> f64 {
    // What is only rounding is not above.
    let raw = raw * (1.0 - 1e-9);
    let mut power = 1e-6;
    while power * 10.0 < raw && power < 1e12 {
        power *= 10.0;
    }
    [1.0, 2.0, 5.0].into_iter().map(|factor| factor * power).find(|step| *step >= raw).unwrap_or(power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let ticks = Axis::new((0.0, 9.7), (0.0, 100.0)).ticks(5);
        assert_eq!(ticks, [0.0, 2.0, 4.0, 6.0, 8.0]);
        let ticks = Axis::new((1.21, 1.29), (0.0, 100.0)).ticks(4);
        assert!(ticks.iter().all(|value| (1.2..=1.3).contains(value)) && (3..=8).contains(&ticks.len()), "{ticks:?}");
    }

    #[test]
    fn places_are_linear_and_never_outside() {
        let axis = Axis::new((10.0, 20.0), (100.0, 0.0));
        assert_eq!([5.0, 10.0, 15.0, 20.0, 99.0].map(|value| axis.place(value)), [100.0, 100.0, 50.0, 0.0, 0.0]);
        assert!(Axis::new((3.0, 3.0), (0.0, 1.0)).place(3.0).is_finite());
    }
}
