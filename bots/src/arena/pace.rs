//! How the snapshots of one connection follow each other.

use std::collections::VecDeque;

/// What is kept of the snapshots of a connection.
#[derive(Debug, Default)]
pub(super) struct Pace {
    newest: Option<u64>,
    /// The newest tick in which there was no slot for anybody else, or hardly any.
    pub full_at: Option<u64>,
    complete: Option<u64>,
    /// Bytes of the newest body.
    pub bytes: usize,
    /// The longest times between two snapshots, and between two complete ones, in ticks.
    pub longest_wait: u64,
    pub longest_incomplete: u64,
    /// The ticks at which entities came into view, within the last second.
    spawns: VecDeque<u64>,
}

impl Pace {
    /// A snapshot of that tick was applied, in which so many entities came into view; `rate`: ticks a second.
    pub(super) fn on_snapshot(&mut self, tick: u64, complete: bool, spawned: usize, rate: u64) {
        let since = |last: Option<u64>| last.map_or(0, |last| tick.saturating_sub(last));
        self.longest_wait = self.longest_wait.max(since(self.newest));
        self.longest_incomplete = self.longest_incomplete.max(since(self.complete));
        self.newest = Some(tick);
        if complete || self.complete.is_none() {
            self.complete = Some(tick);
        }
        self.spawns.extend(std::iter::repeat_n(tick, spawned));
        while self.spawns.front().is_some_and(|at| at + rate < tick) {
            self.spawns.pop_front();
        }
    }

    /// Entities that came into view within the last second.
    pub(super) fn spawned(&self) -> usize {
        self.spawns.len()
    }
}
