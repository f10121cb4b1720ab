//! The one clock of the process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use netcode::Time;

/// Monotonic time since the start of the process; all threads hold a copy.
#[derive(Clone, Copy)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// Starts at [`Time::ZERO`].
    #[expect(clippy::disallowed_methods, reason = "the binary owns the clock")]
    pub fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    /// Monotonic time since the start.
    pub fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Wall time in milliseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "the binary owns the clock; tokens expire by wall time")]
    pub fn unix_ms() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
