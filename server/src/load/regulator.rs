//! From how long steps and rounds took to what changes, and from which tick on.

use core::time::Duration;

use super::{Governor, Pace, Share};

/// How long before it happens a change of the ticks' length is told, in parts of a second.
const AHEAD_PER_S: u16 = 2;

/// The pace changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// How fast the zone is to go.
    pub pace: Pace,
    /// The length of ticks changes after so many; clients are told at once, so that they know when it happens.
    pub ahead: u64,
    /// Whether it does.
    pub stretched: bool,
}

/// Sees how long steps and rounds take, and sets the pace.
#[derive(Clone, Debug)]
pub struct Regulator {
    governor: Governor,
    rate_hz: u16,
    /// Ticks since each worker finished a round.
    unfinished: Vec<u32>,
}

impl Regulator {
    /// At full pace, for a zone of that rate with so many workers; it never goes beyond `limits`.
    #[must_use]
    pub fn new(rate_hz: u16, limits: Pace, workers: usize) -> Self {
        Self { governor: Governor::new(rate_hz, limits), rate_hz: rate_hz.max(1), unfinished: vec![0; workers] }
    }

    /// How fast the zone is to go.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.governor.pace()
    }

    /// A tick is over: its step took so long, and of each worker the newest round that was finished since the tick before;
    /// `None`: none was.
    pub fn on_tick(&mut self, step: Duration, rounds: impl IntoIterator<Item = Option<Duration>>) -> Option<Change> {
        let before = self.governor.pace();
        // As long as ticks are to be, though the first of them is still ahead: a change is not judged before it holds.
        let period_us = u128::from(before.dilation) * 10_000 / u128::from(self.rate_hz);
        let percent = |took: Duration| u32::try_from(took.as_micros() * 100 / period_us.max(1)).unwrap_or(u32::MAX);
        let mut longest = 0;
        for (round, unfinished) in rounds.into_iter().zip(&mut self.unfinished) {
            // Who has not finished the round of the last frame has taken a tick for it at the least.
            *unfinished = if round.is_some() { 0 } else { unfinished.saturating_add(1) };
            longest = longest.max(round.map_or(unfinished.saturating_mul(100), percent));
        }
        let pace = self.governor.on_tick(Share { step: percent(step), round: longest })?;
        let ahead = u64::from(self.rate_hz / AHEAD_PER_S).max(1);
        Some(Change { pace, ahead, stretched: pace.dilation != before.dilation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Pace = Pace { divisor: 2, dilation: 400 };

    fn millis(millis: u64) -> Option<Duration> {
        Some(Duration::from_millis(millis))
    }

    /// What changes within so many ticks of 50 ms in which the step takes 5 ms, and each worker's round so long.
    fn run(regulator: &mut Regulator, ticks: usize, rounds: [Option<Duration>; 2]) -> Vec<Change> {
        (0..ticks).filter_map(|_| regulator.on_tick(Duration::from_millis(5), rounds)).collect()
    }

    #[test]
    fn the_longest_round_counts() {
        let mut regulator = Regulator::new(20, LIMITS, 2);
        assert_eq!(run(&mut regulator, 100, [millis(10), millis(40)]), []);
        let changes = run(&mut regulator, 15, [millis(10), millis(48)]);
        assert_eq!(
            changes.first(),
            Some(&Change { pace: Pace { divisor: 2, dilation: 100 }, ahead: 10, stretched: false })
        );
    }

    #[test]
    fn a_worker_that_does_not_finish_its_round_has_taken_whole_ticks() {
        let mut regulator = Regulator::new(20, LIMITS, 2);
        assert!(!run(&mut regulator, 10, [millis(10), None]).is_empty());
        let mut regulator = Regulator::new(20, LIMITS, 2);
        for _ in 0..50 {
            assert_eq!(run(&mut regulator, 1, [millis(10), None]), [], "every other tick is one too late, not more");
            assert_eq!(run(&mut regulator, 1, [millis(10), millis(30)]), []);
        }
    }

    #[test]
    fn longer_ticks_are_told_half_a_second_ahead_and_judged_by_their_own_length() {
        for (rate, ahead) in [(20, 10), (60, 30)] {
            let mut regulator = Regulator::new(rate, LIMITS, 1);
            let period = Duration::from_secs(1) / u32::from(rate);
            let mut changes = Vec::new();
            for _ in 0..20 * u32::from(rate) {
                changes.extend(regulator.on_tick(period * 21 / 20, [Some(period / 10)]));
            }
            // 105 % of a tick is 84 % of one that takes 125 %.
            let stretched: Vec<_> = changes.iter().filter(|change| change.stretched).collect();
            assert_eq!(stretched.len(), 1, "{changes:?}");
            assert_eq!((stretched[0].pace.dilation, stretched[0].ahead), (125, ahead));
        }
    }
}
