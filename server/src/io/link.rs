//! The queues between the zone thread and one worker: bounded, lock-free, with a rule for when they are full.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use mio::Waker;
use netcode::Time;
use netcode::input::MAX_INPUTS;
use netcode::packet::MAX_DATAGRAM;
use server::zone::{ToShard, ToZone};
use sim::Frame;

/// Frames that a worker may lag behind; an older one than that is replaced by the newest.
const FRAMES: usize = 4;
/// What each player may be told in the ticks that a worker lags behind.
const EVENTS_PER_PLAYER: usize = 8;
/// Datagrams that other workers may have waiting for one worker.
const HANDED: usize = 256;
/// Reports that the status thread may lag behind.
const REPORTS: usize = 2;
/// How often the zone and the workers report their counters.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);

/// All that others may use of one worker.
pub struct Link {
    /// Joins, leaves and inputs for the zone. Full: inputs are dropped and counted, joins and leaves wait.
    pub to_zone: ArrayQueue<ToZone>,
    /// The zone's answers and what players are told. Full: answers wait in the zone thread, the others are dropped and
    /// counted.
    pub from_zone: ArrayQueue<ToShard>,
    /// Published frames, oldest first, each with the time at which its tick was due. Full: the oldest is replaced and
    /// counted.
    pub frames: ArrayQueue<(Time, Arc<Frame>)>,
    /// What the newest round took that was finished since the zone last asked, in µs; 0: none was.
    pub round_us: AtomicU32,
    /// Datagrams that arrived at another worker's socket. Full: dropped and counted.
    pub handed: ArrayQueue<Handed>,
    /// Ends the worker's poll.
    pub waker: Waker,
}

impl Link {
    /// Queues for up to `max_players` players.
    pub fn new(max_players: usize, waker: Waker) -> Self {
        Self {
            // After a stall each client sends its last few inputs at once.
            to_zone: ArrayQueue::new(max_players * MAX_INPUTS + 1024),
            from_zone: ArrayQueue::new(max_players * EVENTS_PER_PLAYER + 1024),
            frames: ArrayQueue::new(FRAMES),
            round_us: AtomicU32::new(0),
            handed: ArrayQueue::new(HANDED),
            waker,
        }
    }
}

/// A datagram on its way from the worker whose socket received it to the one that owns the connection.
pub struct Handed {
    /// The sender.
    pub from: SocketAddr,
    len: u16,
    bytes: [u8; MAX_DATAGRAM],
}

impl Handed {
    /// Copies a datagram, unless it is longer than any valid one.
    pub fn new(from: SocketAddr, datagram: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_DATAGRAM];
        bytes.get_mut(..datagram.len())?.copy_from_slice(datagram);
        Some(Self { from, len: datagram.len() as u16, bytes })
    }

    /// The datagram.
    pub fn datagram(&mut self) -> &mut [u8] {
        let len = usize::from(self.len).min(MAX_DATAGRAM);
        &mut self.bytes[..len]
    }
}

/// The sending end of a queue whose messages must not get lost: what does not fit waits here, in order.
pub struct Patient<T> {
    held: VecDeque<T>,
}

impl<T> Patient<T> {
    /// Nothing held.
    pub fn new() -> Self {
        Self { held: VecDeque::new() }
    }

    /// Queues a message that must arrive.
    pub fn push(&mut self, queue: &ArrayQueue<T>, message: T) {
        self.retry(queue);
        if self.held.is_empty() {
            if let Err(message) = queue.push(message) {
                self.held.push_back(message);
            }
        } else {
            self.held.push_back(message);
        }
    }

    /// Queues a message that may be dropped; it never overtakes a held one. Whether it was queued.
    pub fn offer(&mut self, queue: &ArrayQueue<T>, message: T) -> bool {
        self.retry(queue);
        self.held.is_empty() && queue.push(message).is_ok()
    }

    /// Moves held messages on, as far as they fit. Whether none is held any more.
    pub fn retry(&mut self, queue: &ArrayQueue<T>) -> bool {
        while let Some(message) = self.held.pop_front() {
            if let Err(message) = queue.push(message) {
                self.held.push_front(message);
                return false;
            }
        }
        true
    }
}

/// The newest report of a thread; the reader takes whatever is there when it wants to print.
pub struct Reports<T>(ArrayQueue<T>);

impl<T> Reports<T> {
    /// No report yet.
    pub fn new() -> Self {
        Self(ArrayQueue::new(REPORTS))
    }

    /// Publishes a report, replacing the oldest unread one where there are too many.
    pub fn publish(&self, report: T) {
        self.0.force_push(report);
    }

    /// The newest unread report.
    pub fn newest(&self) -> Option<T> {
        std::iter::from_fn(|| self.0.pop()).last()
    }
}

/// Due times of reports: whole multiples of [`REPORT_EVERY`], so that all threads report about the same second.
pub fn next_report(now: Time) -> Time {
    let every = REPORT_EVERY.as_micros() as u64;
    Time::from_micros((now.as_micros() / every + 1) * every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_messages_keep_their_order_and_none_is_lost() {
        let queue = ArrayQueue::new(2);
        let mut sender = Patient::new();
        for message in 0..5 {
            sender.push(&queue, message);
        }
        assert!(!sender.offer(&queue, 99), "an offered message does not overtake held ones");
        let mut seen = Vec::new();
        while let Some(message) = queue.pop() {
            seen.push(message);
            sender.retry(&queue);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert!(sender.offer(&queue, 5));
    }

    #[test]
    fn a_reader_gets_the_newest_report_once() {
        let reports = Reports::new();
        for report in 0..10 {
            reports.publish(report);
        }
        assert_eq!(reports.newest(), Some(9));
        assert_eq!(reports.newest(), None);
    }

    #[test]
    fn an_oversized_datagram_is_not_handed_over() {
        let from = "127.0.0.1:1".parse().unwrap();
        assert!(Handed::new(from, &[0; MAX_DATAGRAM + 1]).is_none());
        assert_eq!(Handed::new(from, &[7; 30]).unwrap().datagram(), [7; 30]);
    }
}
