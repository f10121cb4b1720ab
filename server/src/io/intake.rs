//! When a worker takes datagrams: at once, or, while they keep coming, by the clock and many at a time.
//!
//! Waking up costs some microseconds, more than a datagram does. Who is busy anyway looks often enough.

use std::time::Duration;

use netcode::Time;

/// The rhythm of one worker.
pub struct Intake {
    every: Duration,
    /// When datagrams were last taken.
    taken: Option<Time>,
    next: Option<Time>,
    /// When it was last looked.
    looked: Time,
}

/// Whoever is busy looks no more often than that, even where datagrams are to be taken at once.
const LEAST_BETWEEN: Duration = Duration::from_micros(500);

impl Intake {
    /// While datagrams keep coming they are taken no more often than that; zero: always at once.
    pub fn new(every: Duration) -> Self {
        Self { every, taken: None, next: None, looked: Time::ZERO }
    }

    /// Datagrams keep coming: nobody is to be woken for them, they are taken then. `None`: as soon as one comes.
    pub fn next(&self) -> Option<Time> {
        self.next
    }

    /// Whether a worker that is busy with something long should look.
    pub fn is_due(&self, now: Time) -> bool {
        now.saturating_since(self.looked) >= self.every.max(LEAST_BETWEEN)
    }

    /// A look at `now` found some datagrams, or none. Twice some within twice the interval are a stream; a look without any
    /// ends it.
    pub fn looked(&mut self, now: Time, found: bool) {
        self.looked = now;
        let streaming = self.taken.is_some_and(|taken| now.saturating_since(taken) <= self.every.saturating_mul(2));
        self.next = (found && streaming && !self.every.is_zero()).then(|| now + self.every);
        if found {
            self.taken = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_taken_by_the_clock_until_it_ends() {
        let mut intake = Intake::new(Duration::from_millis(1));
        let mut look = |micros, found| {
            intake.looked(Time::from_micros(micros), found);
            intake.next()
        };
        assert_eq!(look(10_000, true), None, "the first one may be alone");
        assert_eq!(look(11_500, true), Some(Time::from_micros(12_500)));
        assert_eq!(look(12_600, true), Some(Time::from_micros(13_600)));
        assert_eq!(look(13_600, false), None, "then whoever comes wakes the worker");
        assert_eq!(look(50_000, true), None);
    }

    #[test]
    fn whoever_is_busy_looks_as_often_as_one_who_waits() {
        for (every, before, due) in [(1000, 10_900, 11_000), (0, 10_400, 10_500)] {
            let mut intake = Intake::new(Duration::from_micros(every));
            intake.looked(Time::from_micros(10_000), false);
            assert!(!intake.is_due(Time::from_micros(before)) && intake.is_due(Time::from_micros(due)));
        }
    }

    #[test]
    fn lone_datagrams_are_taken_at_once() {
        let mut intake = Intake::new(Duration::from_millis(1));
        for at in [10, 20, 23, 30] {
            intake.looked(Time::from_millis(at), true);
            assert_eq!(intake.next(), None);
        }
    }

    #[test]
    fn without_an_interval_all_are_taken_at_once() {
        let mut intake = Intake::new(Duration::ZERO);
        for at in [10, 10, 11] {
            intake.looked(Time::from_millis(at), true);
            assert_eq!(intake.next(), None);
        }
    }
}
