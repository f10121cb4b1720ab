//! The clocks of a process, and what it used.

use core::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// `CLOCK_MONOTONIC` in nanoseconds: the same in every process of the machine.
#[must_use]
pub fn now_ns() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// The wall clock in milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    nanos(clock_gettime(ClockId::Realtime)) / 1_000_000
}

/// Sleeps until [`now_ns`] says `deadline`.
#[expect(clippy::disallowed_methods, reason = "a bench's loop waits for wall time")]
pub fn sleep_until(deadline: u64) {
    if let Some(left) = deadline.checked_sub(now_ns()) {
        std::thread::sleep(Duration::from_nanos(left));
    }
}

/// What the process has used by a moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// When that was, by [`now_ns`].
    pub wall_ns: u64,
    /// User and system time together, in nanoseconds. The kernel's process clock is the sum that `getrusage` splits in two.
    pub cpu_ns: u64,
}

impl Usage {
    /// By now.
    #[must_use]
    pub fn now() -> Self {
        Self { wall_ns: now_ns(), cpu_ns: nanos(clock_gettime(ClockId::ProcessCPUTime)) }
    }

    /// Seconds of wall and of processor time since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> (f64, f64) {
        let seconds = |to: u64, from: u64| to.saturating_sub(from) as f64 / 1e9;
        (seconds(self.wall_ns, earlier.wall_ns), seconds(self.cpu_ns, earlier.cpu_ns))
    }
}

/// Resident memory of the process in KiB; 0 where the system does not say.
#[must_use]
pub fn rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
