//! The latest measurements of something, and its extremes.
//!
//! What is kept is a time, about three seconds, whatever the rate: a path that queues now and then does so by the clock.

/// How many are kept, and how long each stands for at least, in microseconds: of what comes faster only the greatest of
/// such a span is.
pub(super) const SAMPLES: usize = 64;
pub(super) const SPAN: f64 = 40_000.0;
/// Ranks that [`Window::high`] can tell.
const RANKS: usize = 3;

/// A ring of the newest [`SAMPLES`] values, times included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    values: [f64; SAMPLES],
    len: usize,
    next: usize,
    /// When the newest value's span began.
    since: f64,
}

impl Window {
    pub const fn new() -> Self {
        Self { values: [0.0; SAMPLES], len: 0, next: 0, since: 0.0 }
    }

    /// Adds what was measured at `now`, in microseconds.
    pub fn push(&mut self, now: f64, value: f64) {
        let newest = self.next.checked_sub(1).unwrap_or(SAMPLES - 1);
        if self.len > 0
            && now - self.since < SPAN
            && let Some(newest) = self.values.get_mut(newest)
        {
            *newest = newest.max(value);
            return;
        }
        self.since = now;
        if let Some(place) = self.values.get_mut(self.next) {
            *place = value;
        }
        self.next = (self.next + 1) % SAMPLES;
        self.len = (self.len + 1).min(SAMPLES);
    }

    fn values(&self) -> &[f64] {
        self.values.get(..self.len).unwrap_or_default()
    }

    /// The greatest value (rank 0), or the second or third greatest; of fewer values the least. What happens once in a
    /// window is an accident, what happens more often is how things are.
    pub fn high(&self, rank: usize) -> Option<f64> {
        let mut highest = [f64::NEG_INFINITY; RANKS];
        for value in self.values() {
            let mut value = *value;
            for place in &mut highest {
                if value > *place {
                    core::mem::swap(&mut value, place);
                }
            }
        }
        let rank = rank.min(self.len.checked_sub(1)?).min(RANKS - 1);
        highest.get(rank).copied()
    }

    /// The least of the values kept.
    pub fn low(&self) -> Option<f64> {
        self.values().iter().copied().reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranks_are_those_of_the_newest_values() {
        let mut window = Window::new();
        assert_eq!((window.high(0), window.low()), (None, None));
        window.push(0.0, 5.0);
        assert_eq!([0, 1, 2].map(|rank| window.high(rank)), [Some(5.0); 3]);
        for value in 0..200 {
            window.push(f64::from(value + 1) * SPAN, f64::from(value * 7 % 200));
        }
        let mut newest: Vec<_> = (200 - SAMPLES as i32..200).map(|value| f64::from(value * 7 % 200)).collect();
        newest.sort_by(|a, b| b.total_cmp(a));
        assert_eq!([0, 1, 2].map(|rank| window.high(rank).unwrap()), newest[..3]);
        assert_eq!(window.low(), newest.last().copied());
    }

    #[test]
    fn it_looks_back_on_a_time_whatever_the_rate() {
        for rate in [20, 60, 128, 1000] {
            let mut window = Window::new();
            window.push(0.0, 9.0);
            let forgotten = (1..10_000).find(|sample| {
                window.push(f64::from(*sample) * 1e6 / f64::from(rate), 1.0);
                window.high(0) == Some(1.0)
            });
            let seconds = f64::from(forgotten.unwrap()) / f64::from(rate);
            assert!((2.5..=3.5).contains(&seconds), "{rate} Hz: {seconds}");
        }
    }
}
