//! When ticks are due: at exact multiples of the period from the start, so that rounding never adds up to drift.

use netcode::Time;
use std::time::Duration;

/// How many ticks may be made up for back to back after a stall; further ones are skipped.
pub const CATCH_UP_TICKS: u64 = 3;

/// The due times of a fixed-rate loop.
pub struct Schedule {
    start: Time,
    rate_hz: u64,
    /// Number of the next period.
    next: u64,
}

impl Schedule {
    /// The first tick is due at `start`.
    pub fn new(start: Time, rate_hz: u16) -> Self {
        Self { start, rate_hz: u64::from(rate_hz.max(1)), next: 0 }
    }

    /// When the next tick is due.
    pub fn due(&self) -> Time {
        self.due_of(self.next)
    }

    /// Moves on after a tick that ended at `now`: how many periods are skipped because the loop is too far behind.
    pub fn advance(&mut self, now: Time) -> u64 {
        self.next += 1;
        let elapsed = u128::from(now.as_micros().saturating_sub(self.start.as_micros()));
        let current = u64::try_from(elapsed * u128::from(self.rate_hz) / 1_000_000).unwrap_or(u64::MAX);
        let behind = current.saturating_sub(self.next);
        if behind <= CATCH_UP_TICKS {
            return 0;
        }
        self.next += behind;
        behind
    }

    fn due_of(&self, period: u64) -> Time {
        let micros = u128::from(period) * 1_000_000 / u128::from(self.rate_hz);
        self.start + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_does_not_add_up_to_drift() {
        let mut schedule = Schedule::new(Time::from_micros(7), 128);
        for _ in 0..128 * 3600 {
            assert_eq!(schedule.advance(schedule.due()), 0);
        }
        assert_eq!(schedule.due(), Time::from_micros(7 + 3600 * 1_000_000));
    }

    #[test]
    fn a_short_stall_is_made_up_for_tick_by_tick() {
        let mut schedule = Schedule::new(Time::ZERO, 20);
        // The tick that was due at 0 ends at 190 ms: those of 50, 100 and 150 ms are overdue and all still run.
        assert_eq!(schedule.advance(Time::from_millis(190)), 0);
        assert_eq!(schedule.due(), Time::from_millis(50));
        assert_eq!(schedule.advance(Time::from_millis(191)), 0);
        assert_eq!(schedule.advance(Time::from_millis(192)), 0);
        assert_eq!(schedule.advance(Time::from_millis(193)), 0);
        assert_eq!(schedule.due(), Time::from_millis(200));
    }

    #[test]
    fn after_a_long_stall_the_missed_ticks_are_skipped_and_the_phase_kept() {
        let mut schedule = Schedule::new(Time::ZERO, 20);
        assert_eq!(schedule.advance(Time::from_millis(10_020)), 199);
        assert_eq!(schedule.due(), Time::from_millis(10_000));
        assert_eq!(schedule.advance(Time::from_millis(10_021)), 0);
        assert_eq!(schedule.due(), Time::from_millis(10_050));
    }
}
