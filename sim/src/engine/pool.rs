//! What is made each tick and shared: once the last reader let go of one, the next is made in its memory.

use std::collections::VecDeque;
use std::sync::Arc;

/// The most that wait for their readers. A worker holds the frames of 64 ticks, and a history fewer.
const MOST: usize = 80;

/// Those that were made, oldest first.
pub struct Pool<T> {
    lent: VecDeque<Arc<T>>,
}

impl<T> Pool<T> {
    pub fn new() -> Self {
        Self { lent: VecDeque::new() }
    }

    /// The next one: the oldest where nobody reads it any more, brought up to date by `renew`, else a new one.
    ///
    /// Only the oldest is looked at. Readers let go of them in the order in which they were made; one who keeps one for
    /// longer costs new ones, until as many as there may be are lent and that one is left to its reader.
    pub fn make(&mut self, renew: impl FnOnce(&mut T), new: impl FnOnce() -> T) -> Arc<T> {
        let mut oldest = self.lent.pop_front();
        let next = match oldest.as_mut().and_then(Arc::get_mut) {
            Some(item) => {
                renew(item);
                oldest.take()
            }
            None => None,
        };
        if let Some(oldest) = oldest.filter(|_| self.lent.len() < MOST) {
            self.lent.push_front(oldest);
        }
        let next = next.unwrap_or_else(|| Arc::new(new()));
        self.lent.push_back(Arc::clone(&next));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_any_more_is_used_again_and_what_somebody_reads_stays_as_it_is() {
        let (mut pool, mut made) = (Pool::new(), 0);
        let mut readers: VecDeque<(Arc<u32>, u32)> = VecDeque::new();
        for value in 0..500 {
            let new = || {
                made += 1;
                value
            };
            readers.push_back((pool.make(|old| *old = value, new), value));
            if readers.len() > 64 {
                readers.pop_front();
            }
            assert!(readers.iter().all(|(held, value)| **held == *value));
        }
        assert_eq!(made, 65);
    }

    #[test]
    fn a_reader_that_keeps_one_for_ever_costs_no_more_than_that_one() {
        let (mut pool, mut made) = (Pool::new(), 0);
        let kept = pool.make(|_| (), || 7);
        for value in 0..1000 {
            let new = || {
                made += 1;
                value
            };
            pool.make(|old| *old = value, new);
        }
        assert!(made <= MOST + 1, "{made}");
        assert!(pool.lent.len() <= MOST + 1);
        assert_eq!(*kept, 7);
    }
}
