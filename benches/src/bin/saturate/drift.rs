//! Whether something grows: a line through the rows of a soak, and how sure it is.

use serde_json::{Value, json};

use crate::series::Measure;

/// One row in so many, from the first on, is no part of the line: allocators, tables and the tokens that a server remembers (a
/// minute's) come to their size then.
const WARM_UP: usize = 10;
/// From fewer rows nothing follows.
const MIN_ROWS: usize = 8;
/// The fewest that are so many after the first ones.
pub const FEWEST_ROWS: usize = 9;
const _: () = assert!(FEWEST_ROWS - FEWEST_ROWS.div_ceil(WARM_UP) == MIN_ROWS);
/// Rows that follow each other are alike; of all that are like so many that are not the error is computed, but never of fewer
/// than these.
const MIN_FREE: f64 = 4.0;

/// The line through a measure's rows, as growth over the time that they took, relative to their mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Key of the measure in each row.
    pub key: &'static str,
    /// In words.
    pub name: &'static str,
    /// Of the mean.
    pub unit: &'static str,
    /// Mean of the rows, in the measure's unit.
    pub mean: f64,
    /// The slope times the length, over the mean; below 0 where it shrinks.
    pub growth: f64,
    /// Two standard errors of that.
    pub two_errors: f64,
    /// The most that it may grow.
    pub bound: f64,
}

/// What follows from a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It grows by more than it may, and that is no noise.
    Grows,
    /// It does not grow by more than it may, and that is sure.
    Steady,
    /// The rows scatter too much to tell.
    Unclear,
}

impl Verdict {
    /// As in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grows => "grows",
            Self::Steady => "steady",
            Self::Unclear => "unclear",
        }
    }
}

impl Drift {
    /// Of rows at those times (in seconds, each the end of one, evenly apart) and values; what is no number is left out, and so
    /// is the first tenth. `None`: too few are left.
    pub fn of(measure: &Measure, rows: &[(f64, f64)]) -> Option<Self> {
        let warm = rows.len().div_ceil(WARM_UP);
        let rows: Vec<_> = rows.iter().skip(warm).filter(|(_, value)| value.is_finite()).copied().collect();
        let (first, last) = (rows.first()?, rows.last()?);
        let count = rows.len() as f64;
        if rows.len() < MIN_ROWS {
            return None;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| rows.iter().map(of).sum::<f64>() / count;
        let (mid, level) = (mean(|row| row.0), mean(|row| row.1));
        let spread: f64 = rows.iter().map(|(at, _)| (at - mid).powi(2)).sum();
        let slope = rows.iter().map(|(at, value)| (at - mid) * (value - level)).sum::<f64>() / spread;
        let rest: Vec<f64> = rows.iter().map(|(at, value)| value - level - slope * (at - mid)).collect();
        let squares: f64 = rest.iter().map(|rest| rest * rest).sum();
        // Neighbours that err together are worth less than their number (Santer et al., J. Geophys. Res. 105, 2000).
        let alike = rest.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / squares.max(f64::MIN_POSITIVE);
        let alike = alike.clamp(0.0, 1.0);
        let free = (count * (1.0 - alike) / (1.0 + alike)).max(MIN_FREE);
        let error = (squares / (free - 2.0) / spread).sqrt();
        // The rows took one more step than lies between their ends.
        let length = (last.0 - first.0) * count / (count - 1.0);
        let relative = |per_second: f64| if level > 0.0 { per_second * length / level } else { 0.0 };
        let Measure { key, name, unit, bound, .. } = *measure;
        Some(Self { key, name, unit, mean: level, growth: relative(slope), two_errors: 2.0 * relative(error), bound })
    }

    /// What follows.
    pub fn verdict(&self) -> Verdict {
        let Self { growth, two_errors, bound, .. } = self;
        if growth > bound && growth > two_errors {
            Verdict::Grows
        } else if growth + two_errors <= *bound {
            Verdict::Steady
        } else {
            Verdict::Unclear
        }
    }

    /// What broke, if it grows.
    pub fn broken(&self) -> Option<String> {
        let [growth, error, bound] = [self.growth, self.two_errors, self.bound].map(|share| share * 100.0);
        (self.verdict() == Verdict::Grows).then(|| {
            format!("{} grew by {growth:.1} % (± {error:.1} %) over the soak, at most {bound:.0} %", self.name)
        })
    }

    /// As scripts read it.
    pub fn json(&self) -> Value {
        let [mean, growth, two_errors] = [self.mean, self.growth, self.two_errors].map(|it| (it * 1e5).round() / 1e5);
        let verdict = self.verdict().name();
        json!({ "mean": mean, "growth": growth, "two_errors": two_errors, "bound": self.bound, "verdict": verdict })
    }
}

#[cfg(test)]
mod tests {
    use netcode::rng::Rng;

    use super::*;

    /// 180 rows of 10 s.
    fn drift(bound: f64, value: impl FnMut(usize) -> f64) -> Drift {
        let rows: Vec<_> = (1..=180).map(|at| f64::from(at) * 10.0).zip((0..180).map(value)).collect();
        Drift::of(&measure(bound), &rows).unwrap()
    }

    fn measure(bound: f64) -> Measure {
        Measure { key: "key", name: "memory", unit: "KiB", of: |_| 0.0, bound }
    }

    /// Even noise of so much either way.
    fn noise(rng: &mut Rng, most: f64) -> f64 {
        (rng.unit_f64() * 2.0 - 1.0) * most
    }

    #[test]
    fn a_line_is_measured_as_it_is() {
        // 100 to 110 over all rows: of those that count, nine tenths of that.
        let drift = drift(0.03, |at| 100.0 + at as f64 / 18.0);
        assert!((drift.growth - 9.0 / 105.5).abs() < 1e-3 && drift.two_errors < 1e-6, "{drift:?}");
        assert_eq!(drift.verdict(), Verdict::Grows);
        assert_eq!(drift.broken().unwrap(), "memory grew by 8.5 % (± 0.0 %) over the soak, at most 3 %");
    }

    #[test]
    fn a_leak_is_found_under_noise_whatever_the_noise() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let leak = drift(0.03, |at| 1000.0 + 0.4 * at as f64 + noise(&mut rng, 20.0));
            assert_eq!(leak.verdict(), Verdict::Grows, "{leak:?}");
            // Which takes memory by the chunk.
            let steps = drift(0.03, |at| 1000.0 + 24.0 * (at / 60) as f64 + 24.0 + noise(&mut rng, 1.0));
            assert_eq!(steps.verdict(), Verdict::Grows, "{steps:?}");
        }
    }

    #[test]
    fn noise_is_no_drift_not_even_one_that_wanders() {
        let (mut grew, mut unclear) = (0, 0);
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let quiet = drift(0.1, |_| 10.0 + noise(&mut rng, 1.0));
            assert_eq!(quiet.verdict(), Verdict::Steady, "{quiet:?}");
            let loud = drift(0.1, |_| 10.0 + noise(&mut rng, 5.0));
            grew += usize::from(loud.verdict() == Verdict::Grows);
            // A machine that is slower for minutes, and then faster.
            let mut slow = 0.0;
            let wander = drift(0.1, |_| {
                slow = 0.95 * slow + noise(&mut rng, 0.6);
                10.0 + slow
            });
            grew += usize::from(wander.verdict() == Verdict::Grows);
            unclear += usize::from(wander.verdict() == Verdict::Unclear);
        }
        assert!(grew <= 16 && unclear > 50, "{grew} grew, of 400, {unclear} are unclear, of 200");
    }

    #[test]
    fn what_shrinks_or_is_nothing_does_not_grow() {
        assert_eq!(drift(0.03, |at| 200.0 - at as f64).verdict(), Verdict::Steady);
        assert_eq!(drift(0.03, |_| 7.0).verdict(), Verdict::Steady);
        assert_eq!(drift(0.03, |_| 0.0).verdict(), Verdict::Steady);
    }

    #[test]
    fn the_warm_up_and_what_is_no_number_do_not_count() {
        let warm = drift(0.03, |at| if at < 18 { 10.0 } else { 100.0 });
        assert_eq!((warm.verdict(), warm.growth, warm.mean), (Verdict::Steady, 0.0, 100.0));
        let gaps = drift(0.03, |at| if at % 3 == 0 { f64::NAN } else { 100.0 + at as f64 });
        assert_eq!(gaps.verdict(), Verdict::Grows);
        let few: Vec<_> = (0..8).map(|at| (f64::from(at), 1.0)).collect();
        assert_eq!((Drift::of(&measure(0.03), &few), Drift::of(&measure(0.03), &[])), (None, None));
        let enough: Vec<_> = (0..FEWEST_ROWS).map(|at| (at as f64, 1.0)).collect();
        assert!(Drift::of(&measure(0.03), &enough).is_some());
    }
}
