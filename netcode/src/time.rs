//! Time as the protocol sees it: microseconds since an epoch that the caller chose.
//!
//! The crate never reads a clock. Whoever drives an endpoint passes `now`; an own type (instead of
//! [`std::time::Instant`]) has an epoch, a "never", and can be written into golden files.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A point in time, in microseconds since the caller's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The caller's epoch.
    pub const ZERO: Self = Self(0);
    /// Later than every real point in time: the due time of a timer that is not set.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The point `millis` milliseconds after the epoch (saturating).
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero where it lies in the future.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros_since(earlier))
    }

    /// The same in microseconds, which costs a subtraction instead of a division.
    #[must_use]
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// So many microseconds later; saturates at [`Time::NEVER`].
    #[must_use]
    pub const fn plus_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// Saturates at [`Time::NEVER`].
impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        self.plus_micros(micros(rhs))
    }
}

/// A duration in microseconds, without the 128 bits of [`Duration::as_micros`]; saturates.
pub(crate) const fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros() as u64)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("never");
        }
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_saturates_at_never() {
        assert_eq!(Time::NEVER + Duration::from_secs(1), Time::NEVER);
        assert_eq!(Time::from_micros(u64::MAX - 1) + Duration::MAX, Time::NEVER);
        assert_eq!(Time::ZERO + Duration::new(3, 999_999_999), Time::from_micros(3_999_999));
        assert_eq!(Time::NEVER.plus_micros(1), Time::NEVER);
    }

    #[test]
    fn since_the_future_is_zero() {
        assert_eq!(Time::ZERO.saturating_since(Time::from_millis(5)), Duration::ZERO);
        assert_eq!(Time::from_millis(5).saturating_since(Time::ZERO), Duration::from_millis(5));
    }
}
