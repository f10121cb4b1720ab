//! The latest measurements of something, and its extremes.

/// How many are kept: about three seconds at 20 Hz.
pub(super) const SAMPLES: usize = 64;
/// Ranks that [`Window::high`] can tell.
const RANKS: usize = 3;

/// A ring of the newest [`SAMPLES`] values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    values: [f64; SAMPLES],
    len: usize,
    next: usize,
}

impl Window {
    pub const fn new() -> Self {
        Self { values: [0.0; SAMPLES], len: 0, next: 0 }
    }

    pub fn push(&mut self, value: f64) {
        if let Some(place) = self.values.get_mut(self.next) {
            *place = value;
        }
        self.next = (self.next + 1) % SAMPLES;
        self.len = (self.len + 1).min(SAMPLES);
    }

    pub const fn len(&self) -> usize {
        self.len
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

    /// The least value.
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
        window.push(5.0);
        assert_eq!([0, 1, 2].map(|rank| window.high(rank)), [Some(5.0); 3]);
        for value in 0..200 {
            window.push(f64::from(value * 7 % 200));
        }
        let mut newest: Vec<_> = (200 - SAMPLES as i32..200).map(|value| f64::from(value * 7 % 200)).collect();
        newest.sort_by(|a, b| b.total_cmp(a));
        assert_eq!([0, 1, 2].map(|rank| window.high(rank).unwrap()), newest[..3]);
        assert_eq!(window.low(), newest.last().copied());
    }
}
