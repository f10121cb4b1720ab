//! When ticks are due: at exact multiples of the period from the start, so that rounding never adds up to drift.

use std::time::Duration;

use arrayvec::ArrayVec;
use netcode::Time;

/// How many ticks may be made up for back to back after a stall; further ones are skipped.
pub const CATCH_UP_TICKS: u64 = 3;
/// Changes of pace that may lie ahead.
const MAX_AHEAD: usize = 8;

/// The due times of a loop with a fixed rate, whose periods may be stretched.
#[derive(Clone)]
pub struct Schedule {
    rate_hz: u64,
    /// Number of the next period.
    next: u64,
    /// The first period of the present length, when it is due, and the length in percent of what the rate says.
    base: u64,
    start: Time,
    percent: u64,
    /// From which period on another length holds, ascending.
    ahead: ArrayVec<(u64, u16), MAX_AHEAD>,
}

impl Schedule {
    /// The first tick is due at `start`.
    pub fn new(start: Time, rate_hz: u16) -> Self {
        Self { rate_hz: u64::from(rate_hz.max(1)), next: 0, base: 0, start, percent: 100, ahead: ArrayVec::new() }
    }

    /// When the next tick is due.
    pub fn due(&self) -> Time {
        self.due_of(self.next)
    }

    /// What the present period takes.
    #[cfg(test)]
    fn period(&self) -> Duration {
        Duration::from_micros(1_000_000 * self.percent / (100 * self.rate_hz))
    }

    /// The period in so many periods, and all after it, take that many percent of what the rate says. False if as many
    /// changes as there may be lie ahead.
    pub fn stretch_in(&mut self, periods: u64, percent: u16) -> bool {
        let at = self.next + periods;
        self.ahead.retain(|(other, _)| *other < at);
        self.ahead.try_push((at, percent.max(1))).is_ok()
    }

    /// Moves on after a tick that ended at `now`: how many periods are skipped because the loop is too far behind.
    pub fn advance(&mut self, now: Time) -> u64 {
        self.pass_one();
        let mut caught_up = self.clone();
        while caught_up.due_of(caught_up.next + 1) <= now {
            caught_up.pass_one();
        }
        let behind = caught_up.next - self.next;
        if behind <= CATCH_UP_TICKS {
            return 0;
        }
        *self = caught_up;
        behind
    }

    fn pass_one(&mut self) {
        self.next += 1;
        if let Some((at, percent)) = self.ahead.first().copied().filter(|(at, _)| *at <= self.next) {
            (self.start, self.base, self.percent) = (self.due_of(at), at, percent.into());
            self.ahead.remove(0);
        }
    }

    /// Of a period that is not beyond the next change.
    fn due_of(&self, period: u64) -> Time {
        let micros = u128::from(period - self.base) * 10_000 * u128::from(self.percent) / u128::from(self.rate_hz);
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

    #[test]
    fn stretched_periods_begin_and_end_when_they_were_to() {
        let mut schedule = Schedule::new(Time::ZERO, 20);
        assert!(schedule.stretch_in(3, 200) && schedule.stretch_in(5, 100));
        let mut dues = vec![schedule.due().as_micros() / 1000];
        for _ in 0..7 {
            assert_eq!(schedule.advance(schedule.due()), 0);
            dues.push(schedule.due().as_micros() / 1000);
        }
        assert_eq!(dues, [0, 50, 100, 150, 250, 350, 400, 450]);
    }

    #[test]
    fn skipped_periods_have_the_length_that_they_were_told_to_have() {
        let mut schedule = Schedule::new(Time::ZERO, 20);
        schedule.stretch_in(3, 200);
        // 0, 50, 100, 150, 250, ..., 950, 1050.
        assert_eq!(schedule.advance(Time::from_millis(1001)), 10);
        assert_eq!(schedule.due(), Time::from_millis(950));
        assert_eq!(schedule.period(), Duration::from_millis(100));
    }

    #[test]
    fn a_later_word_on_the_same_periods_replaces_the_earlier_one() {
        let mut schedule = Schedule::new(Time::ZERO, 20);
        schedule.stretch_in(4, 400);
        schedule.stretch_in(2, 200);
        for _ in 0..6 {
            schedule.advance(schedule.due());
        }
        assert_eq!(schedule.due(), Time::from_millis(500));
    }
}
