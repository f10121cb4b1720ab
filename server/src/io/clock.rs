//! The one clock of the process: monotonic time for the protocol, wall time for token expiry.

use std::time::{SystemTime, UNIX_EPOCH};

use netcode::Time;

/// All threads hold a copy, so all share one epoch: the start of the process.
#[derive(Clone, Copy)]
pub struct Clock {
    epoch: system::Instant,
}

impl Clock {
    /// Starts at [`Time::ZERO`].
    pub fn start() -> Self {
        Self { epoch: system::Instant::now() }
    }

    /// Monotonic time since the start.
    pub fn now(&self) -> Time {
        self.epoch.elapsed()
    }

    /// Sleeps until that time, which may be over already.
    pub fn sleep_until(&self, due: Time) {
        while self.now() < due {
            self.epoch.sleep_until(due);
        }
    }

    /// Wall time in milliseconds since 1970; 0 where the wall clock is set before that.
    #[expect(clippy::disallowed_methods, reason = "the binary owns the clock; tokens expire by wall time")]
    pub fn unix_ms() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Absolute times of the kernel's clock: who is interrupted between looking at the clock and falling asleep does not sleep
/// too long for that.
#[cfg(target_os = "linux")]
mod system {
    use netcode::Time;
    use rustix::thread::clock_nanosleep_absolute;
    use rustix::time::{ClockId, Timespec, clock_gettime};

    #[derive(Clone, Copy)]
    pub struct Instant(Timespec);

    impl Instant {
        pub fn now() -> Self {
            Self(clock_gettime(ClockId::Monotonic))
        }

        pub fn elapsed(&self) -> Time {
            let now = clock_gettime(ClockId::Monotonic);
            let nanos = (now.tv_sec - self.0.tv_sec) * 1_000_000_000 + (now.tv_nsec - self.0.tv_nsec);
            Time::from_micros(u64::try_from(nanos / 1000).unwrap_or(0))
        }

        /// May end early, when a signal comes.
        pub fn sleep_until(&self, due: Time) {
            let micros = i64::try_from(due.as_micros()).unwrap_or(i64::MAX);
            let nanos = self.0.tv_nsec + micros % 1_000_000 * 1000;
            let tv_sec = self.0.tv_sec.saturating_add(micros / 1_000_000).saturating_add(nanos / 1_000_000_000);
            let _ = clock_nanosleep_absolute(ClockId::Monotonic, &Timespec { tv_sec, tv_nsec: nanos % 1_000_000_000 });
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use netcode::Time;

    #[derive(Clone, Copy)]
    pub struct Instant(std::time::Instant);

    #[expect(clippy::disallowed_methods, reason = "the binary owns the clock")]
    impl Instant {
        pub fn now() -> Self {
            Self(std::time::Instant::now())
        }

        pub fn elapsed(&self) -> Time {
            Time::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
        }

        pub fn sleep_until(&self, due: Time) {
            std::thread::sleep(due.saturating_since(self.elapsed()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nobody_wakes_before_the_time() {
        let clock = Clock::start();
        for ms in [3, 7, 7, 2] {
            let due = Time::from_millis(ms);
            clock.sleep_until(due);
            assert!(clock.now() >= due);
        }
        assert!(clock.now() < Time::ZERO + Duration::from_secs(60), "it is the same clock that sleeps");
    }
}
