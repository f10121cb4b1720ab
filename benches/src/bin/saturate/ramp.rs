//! The most players that hold the bounds: twice as many as long as they hold, then halves of what is between.

/// Where a ramp begins.
const FIRST: u16 = 250;
/// It is done when what is between is at most this share of what held.
pub const GRAIN: f64 = 0.05;
/// Steps in all, at most.
const MAX_STEPS: usize = 12;

/// A search for the most players that hold.
#[derive(Clone, Debug)]
pub struct Ramp {
    held: u16,
    /// The fewest that did not hold.
    broke: Option<u16>,
    most: u16,
    steps: usize,
}

impl Ramp {
    /// Among 1 to `most`.
    pub const fn new(most: u16) -> Self {
        Self { held: 0, broke: None, most, steps: 0 }
    }

    /// The number to be tried next, unless it is known well enough.
    pub fn next(&self) -> Option<u16> {
        if self.steps == MAX_STEPS {
            return None;
        }
        let next = match self.broke {
            None if self.held == 0 => FIRST.min(self.most),
            None => self.held.saturating_mul(2).min(self.most),
            Some(broke) => self.held + (broke - self.held) / 2,
        };
        let close = self.broke.is_some_and(|broke| f64::from(broke - self.held) <= f64::from(self.held) * GRAIN);
        (next > self.held && !close).then_some(next)
    }

    /// What came of that number.
    pub fn tried(&mut self, players: u16, held: bool) {
        self.steps += 1;
        if held {
            self.held = self.held.max(players);
        } else {
            self.broke = Some(self.broke.map_or(players, |broke| broke.min(players)));
        }
    }

    /// The most that held; 0 if none did.
    pub const fn held(&self) -> u16 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn climb(ceiling: u16, most: u16) -> (u16, usize) {
        let mut ramp = Ramp::new(most);
        let mut steps = 0;
        while let Some(players) = ramp.next() {
            assert!((1..=most).contains(&players));
            ramp.tried(players, players <= ceiling);
            steps += 1;
        }
        (ramp.held(), steps)
    }

    #[test]
    fn the_ceiling_is_found_from_below_within_a_twentieth() {
        for ceiling in [300, 999, 1000, 3333, 4000, 7777, 9000] {
            let (held, steps) = climb(ceiling, 9936);
            assert!(held <= ceiling && f64::from(ceiling - held) <= 0.06 * f64::from(ceiling), "{held} of {ceiling}");
            assert!(steps <= MAX_STEPS);
        }
    }

    #[test]
    fn what_holds_everything_and_what_holds_nothing_comes_to_an_end() {
        assert_eq!(climb(u16::MAX, 9936), (9936, 7));
        assert!(climb(0, 9936).1 <= MAX_STEPS);
        assert_eq!(climb(5, 10).0, 5);
    }
}
