//! Who is due when.
//!
//! Light clients are due once a tick, so what they set comes behind what all others have set: a queue is enough for them,
//! and costs nothing beside a heap of thousands. What does not fit behind goes into a heap.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use netcode::Time;

/// Entries of clients, by their time; of one client there may be several.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Ascending.
    queue: VecDeque<(Time, u32)>,
    heap: BinaryHeap<Reverse<(Time, u32)>>,
}

impl Timers {
    /// Adds an entry; `regular`: it likely comes behind most others.
    pub fn push(&mut self, at: Time, client: u32, regular: bool) {
        if regular && self.queue.back().is_none_or(|(last, _)| *last <= at) {
            self.queue.push_back((at, client));
        } else {
            self.heap.push(Reverse((at, client)));
        }
    }

    /// The time of the earliest entry.
    pub fn next(&self) -> Option<Time> {
        let (queue, heap) = (self.queue.front(), self.heap.peek());
        match (queue, heap) {
            (Some((first, _)), Some(Reverse((other, _)))) => Some(*first.min(other)),
            (Some((at, _)), None) | (None, Some(Reverse((at, _)))) => Some(*at),
            (None, None) => None,
        }
    }

    /// Takes the earliest entry, if it is due by then.
    pub fn pop(&mut self, until: Time) -> Option<(Time, u32)> {
        let next = self.next().filter(|at| *at <= until)?;
        if self.queue.front().is_some_and(|(at, _)| *at == next) {
            return self.queue.pop_front();
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use netcode::rng::Rng;

    use super::*;

    #[test]
    fn whatever_is_regular_all_come_in_the_order_of_their_times() {
        let mut rng = Rng::new(1);
        for _ in 0..100 {
            let (mut timers, mut left) = (Timers::default(), Vec::new());
            let mut now = 0;
            for _ in 0..500 {
                let at = Time::from_micros(now + rng.below(100));
                timers.push(at, 0, rng.chance(0.5));
                left.push(at);
                now += rng.below(3);
                left.sort();
                assert_eq!(timers.next(), left.first().copied());
                while let Some((at, _)) = timers.pop(Time::from_micros(now)) {
                    assert_eq!(at, left.remove(0));
                }
                assert!(left.first().is_none_or(|at| at.as_micros() > now));
            }
        }
    }
}
