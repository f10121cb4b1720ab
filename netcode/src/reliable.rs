//! The reliable-ordered channel: each message exactly once, in order.
//!
//! Messages are resent inside new packets; packets are never resent. A message is acknowledged when any of
//! the packets that carried it is.

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use crate::error::SendError;
use crate::seq::expand16;

/// The most messages between the oldest unacknowledged one and the newest, at either side.
pub const WINDOW: usize = 256;
/// How many of the packets that carried a message are remembered.
const CARRIERS: usize = 4;

#[derive(Debug)]
struct Waiting {
    bytes: Box<[u8]>,
    acked: bool,
    /// To be put into the next packet.
    due: bool,
    /// The latest packets that carried it.
    carriers: ArrayVec<u64, CARRIERS>,
}

/// The sending half.
#[derive(Debug)]
pub struct Outbox {
    /// Number of the first message in `queue`.
    base: u64,
    queue: VecDeque<Waiting>,
    /// Bytes in `queue`. An acknowledged message counts until all before it are acknowledged too, since the
    /// receiver may have to hold it that long: so an honest sender never overruns the receiver's quota.
    bytes: usize,
    limit: usize,
    due: usize,
}

impl Outbox {
    /// An empty outbox that holds at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { base: 0, queue: VecDeque::new(), bytes: 0, limit, due: 0 }
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`SendError::Full`] when the window or the byte limit leaves no room.
    pub fn push(&mut self, message: &[u8]) -> Result<(), SendError> {
        let free = if self.queue.len() < WINDOW { self.limit - self.bytes } else { 0 };
        if message.len() > free || self.queue.len() >= WINDOW {
            return Err(SendError::Full { free });
        }
        self.bytes += message.len();
        self.due += 1;
        self.queue.push_back(Waiting { bytes: message.into(), acked: false, due: true, carriers: ArrayVec::new() });
        Ok(())
    }

    /// Whether a message waits to be sent (again).
    #[must_use]
    pub const fn has_due(&self) -> bool {
        self.due > 0
    }

    /// Bytes held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Offers the due messages, oldest first, to `take(number, bytes)`; those it takes are recorded as carried by
    /// packet `pn`. Stops at the first that it does not take.
    pub fn carry(&mut self, pn: u64, mut take: impl FnMut(u64, &[u8]) -> bool) {
        if self.due == 0 {
            return;
        }
        for (number, message) in (self.base..).zip(&mut self.queue) {
            if !message.due {
                continue;
            }
            if !take(number, &message.bytes) {
                return;
            }
            message.due = false;
            self.due -= 1;
            if message.carriers.is_full() {
                message.carriers.remove(0);
            }
            message.carriers.push(pn);
        }
    }

    /// Packet `pn` was acknowledged.
    pub fn on_acked(&mut self, pn: u64) {
        for message in &mut self.queue {
            if !message.acked && message.carriers.contains(&pn) {
                message.acked = true;
                self.due -= usize::from(message.due);
                message.due = false;
            }
        }
        while let Some(front) = self.queue.front()
            && front.acked
        {
            self.bytes -= front.bytes.len();
            self.base += 1;
            self.queue.pop_front();
        }
    }

    /// Packet `pn` was lost: what only it carried last is due again.
    pub fn on_lost(&mut self, pn: u64) {
        for message in &mut self.queue {
            if !message.acked && !message.due && message.carriers.last() == Some(&pn) {
                message.due = true;
                self.due += 1;
            }
        }
    }

    /// The peer is silent: everything unacknowledged is due again.
    pub fn on_probe(&mut self) {
        for message in &mut self.queue {
            if !message.acked && !message.due {
                message.due = true;
                self.due += 1;
            }
        }
    }
}

/// A reliable message that no honest sender sends: beyond the window, or beyond the byte quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfWindow;

/// The receiving half.
#[derive(Debug)]
pub struct Reorder {
    expected: u64,
    /// Messages `expected + 1 + i` that came early.
    held: VecDeque<Option<Box<[u8]>>>,
    bytes: usize,
    limit: usize,
}

impl Reorder {
    /// An empty buffer that holds at most `limit` bytes of early messages.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { expected: 0, held: VecDeque::new(), bytes: 0, limit }
    }

    /// Bytes of early messages held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a message whose number has the low bits `low` (rules C-2 to C-5); whatever is now in order goes to
    /// `deliver`.
    ///
    /// # Errors
    /// [`OutOfWindow`] for what no honest sender sends; nothing is changed then.
    pub fn accept(&mut self, low: u16, message: &[u8], mut deliver: impl FnMut(&[u8])) -> Result<(), OutOfWindow> {
        let number = expand16(self.expected, low);
        // Delivered before: it was resent because our ack was late, or its packet was under way for very long.
        let Some(ahead) = number.checked_sub(self.expected) else { return Ok(()) };
        if ahead == 0 {
            deliver(message);
            self.expected += 1;
            while let Some(slot) = self.held.pop_front()
                && let Some(next) = slot
            {
                self.bytes -= next.len();
                deliver(&next);
                self.expected += 1;
            }
            return Ok(());
        }
        let at = usize::try_from(ahead - 1).map_err(|_| OutOfWindow)?;
        if matches!(self.held.get(at), Some(Some(_))) {
            return Ok(());
        }
        if at + 1 >= WINDOW || self.bytes + message.len() > self.limit {
            return Err(OutOfWindow);
        }
        if self.held.len() <= at {
            self.held.resize(at + 1, None);
        }
        if let Some(slot) = self.held.get_mut(at) {
            *slot = Some(message.into());
            self.bytes += message.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(reorder: &mut Reorder, low: u16, message: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        reorder.accept(low, message, |bytes| out.push(bytes.to_vec())).unwrap();
        out
    }

    #[test]
    fn early_messages_wait_for_the_missing_one() {
        let mut reorder = Reorder::new(100);
        assert!(collect(&mut reorder, 2, b"c").is_empty());
        assert!(collect(&mut reorder, 1, b"b").is_empty());
        assert!(collect(&mut reorder, 1, b"b").is_empty());
        assert_eq!(reorder.bytes(), 2);
        assert_eq!(collect(&mut reorder, 0, b"a"), [b"a", b"b", b"c"]);
        assert_eq!(reorder.bytes(), 0);
        assert!(collect(&mut reorder, 0, b"a").is_empty());
        assert_eq!(collect(&mut reorder, 3, b"d"), [b"d"]);
    }

    #[test]
    fn a_gap_between_held_messages_stops_the_delivery_there() {
        let mut reorder = Reorder::new(100);
        collect(&mut reorder, 1, b"b");
        collect(&mut reorder, 3, b"d");
        assert_eq!(collect(&mut reorder, 0, b"a"), [b"a", b"b"]);
        assert_eq!(collect(&mut reorder, 2, b"c"), [b"c", b"d"]);
    }

    #[test]
    fn the_quota_and_the_window_hold_against_a_hostile_sender() {
        let mut reorder = Reorder::new(10);
        assert_eq!(reorder.accept(256, b"x", |_| ()), Err(OutOfWindow));
        assert_eq!(reorder.accept(1, &[0; 11], |_| ()), Err(OutOfWindow));
        for low in 1..=10 {
            assert_eq!(reorder.accept(low, b"x", |_| ()), Ok(()));
        }
        assert_eq!(reorder.accept(11, b"x", |_| ()), Err(OutOfWindow));
        assert_eq!(reorder.accept(5, b"x", |_| ()), Ok(()), "held already, so it costs nothing");
        assert_eq!(reorder.bytes(), 10);
    }

    #[test]
    fn a_full_outbox_says_how_much_is_free() {
        let mut outbox = Outbox::new(10);
        outbox.push(&[0; 6]).unwrap();
        assert_eq!(outbox.push(&[0; 5]), Err(SendError::Full { free: 4 }));
        outbox.carry(0, |_, _| true);
        outbox.on_acked(0);
        outbox.push(&[0; 10]).unwrap();
    }

    #[test]
    fn bytes_stay_counted_until_everything_before_is_acknowledged() {
        let mut outbox = Outbox::new(10);
        outbox.push(&[0; 5]).unwrap();
        outbox.carry(0, |_, _| true);
        outbox.push(&[0; 5]).unwrap();
        outbox.carry(1, |_, _| true);
        outbox.on_acked(1);
        assert_eq!(outbox.bytes(), 10);
        outbox.on_acked(0);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn a_late_ack_of_an_earlier_carrier_counts() {
        let mut outbox = Outbox::new(10);
        outbox.push(b"m").unwrap();
        outbox.carry(0, |_, _| true);
        outbox.on_lost(0);
        assert!(outbox.has_due());
        outbox.carry(1, |_, _| true);
        outbox.on_acked(0);
        assert_eq!(outbox.bytes(), 0);
        assert!(!outbox.has_due());
    }
}
