//! The sending half of both reliable kinds of channels.

use core::time::Duration;
use std::collections::VecDeque;

use super::{MAX_RELIABLE, SEGMENT_BYTES, WINDOW};
use crate::Time;
use crate::error::SendError;

/// The longest segment that is repeated before it is known to be lost, in bytes.
pub const REPEAT_BYTES: usize = 256;
/// How many bytes a probe makes due: about two packets.
const PROBE_BYTES: usize = 2 * SEGMENT_BYTES;
/// What a segment counts for beyond its bytes when a probe fills its packets.
const PROBE_HEAD_BYTES: usize = 8;
/// Slots that are kept allocated while nothing is queued.
const KEPT_SLOTS: usize = 16;
/// Buffers of acknowledged segments that are kept for the next ones, and the most bytes of each and of all: what trickles
/// along allocates nothing.
const KEPT_BUFFERS: usize = KEPT_SLOTS;
const KEPT_BYTES: usize = 256;
const KEPT_BYTES_IN_ALL: usize = 1024;
/// The least bytes of a buffer, so that the next segment in it need not make it grow.
const BUFFER_BYTES: usize = 32;

/// A piece of a message, as it goes into a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Its number, counted from the channel's first segment; the wire carries the low 16 bits.
    pub number: u64,
    /// Whether the message starts with it.
    pub first: bool,
    /// Whether the message ends with it.
    pub last: bool,
    /// Its bytes: [`SEGMENT_BYTES`], fewer only in the last one.
    pub bytes: &'a [u8],
}

#[derive(Debug)]
struct Slot {
    /// Empty once acknowledged.
    bytes: Vec<u8>,
    len: u16,
    first: bool,
    last: bool,
    acked: bool,
    /// Packets under way that carry it.
    flying: u16,
    first_sent: Option<Time>,
    last_sent: Time,
}

impl Slot {
    fn segment(&self, number: u64) -> Segment<'_> {
        Segment { number, first: self.first, last: self.last, bytes: &self.bytes }
    }

    /// Whether one packet carries it that may be lost without anything telling so. Short ones have [`Outbox::repeat`].
    fn is_tail(&self) -> bool {
        self.flying == 1 && !self.acked && self.len as usize > REPEAT_BYTES && self.first_sent == Some(self.last_sent)
    }
}

/// The segments that are not acknowledged yet, and which of them are due.
#[derive(Debug)]
pub struct Outbox {
    /// Number of the first slot, the oldest segment not acknowledged.
    base: u64,
    slots: VecDeque<Slot>,
    /// At most [`KEPT_BUFFERS`], none longer than [`KEPT_BYTES`].
    spare: Vec<Vec<u8>>,
    due: Marks,
    /// Short segments in one packet under way, which may be repeated early.
    repeatable: Marks,
    bytes: usize,
    /// Of `bytes`, those of acknowledged segments before `base` whose message is not acknowledged as a whole.
    settled: usize,
    limit: usize,
}

impl Outbox {
    /// An empty outbox that holds messages of at most `limit` bytes in all.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        let (due, repeatable) = (Marks::NONE, Marks::NONE);
        let spare = Vec::new();
        Self { base: 0, slots: VecDeque::new(), spare, due, repeatable, bytes: 0, settled: 0, limit }
    }

    /// Queues a message, cut into segments; an empty one is one segment.
    ///
    /// # Errors
    /// [`SendError::Full`] when the window or the byte limit leaves no room for all of it, [`SendError::TooLong`] when
    /// they never will.
    pub fn push(&mut self, message: &[u8]) -> Result<(), SendError> {
        let limit = MAX_RELIABLE.min(self.limit);
        if message.len() > limit {
            return Err(SendError::TooLong { limit });
        }
        let segments = message.len().div_ceil(SEGMENT_BYTES).max(1);
        let free_slots = WINDOW - self.slots.len();
        let free = (self.limit - self.bytes).min(free_slots * SEGMENT_BYTES);
        if segments > free_slots || message.len() > free {
            return Err(SendError::Full { free });
        }
        for index in 0..segments {
            let rest = message.get(index * SEGMENT_BYTES..).unwrap_or_default();
            let bytes = rest.get(..SEGMENT_BYTES).unwrap_or(rest);
            self.due.set(self.end(), true);
            let mut kept = self.spare.pop().unwrap_or_default();
            kept.reserve(bytes.len().max(BUFFER_BYTES));
            kept.extend_from_slice(bytes);
            self.slots.push_back(Slot {
                bytes: kept,
                len: bytes.len() as u16,
                first: index == 0,
                last: index + 1 == segments,
                acked: false,
                flying: 0,
                first_sent: None,
                last_sent: Time::ZERO,
            });
        }
        self.bytes += message.len();
        Ok(())
    }

    /// Whether a first send or a resend waits.
    #[must_use]
    pub fn has_due(&self, _now: Time) -> bool {
        self.next_due().is_some()
    }

    /// Bytes of the segment that [`Self::carry`] would offer.
    #[must_use]
    pub fn next_due_bytes(&self) -> Option<usize> {
        let number = self.next_due()?;
        self.slots.get(self.index(number)?).map(|slot| usize::from(slot.len))
    }

    /// Bytes of the messages held. A segment counts until its whole message and everything before it is acknowledged,
    /// since the receiver may have to hold it that long: so an honest sender never overruns the receiver's quota.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Segments held.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.slots.len()
    }

    /// When the oldest segment that is not acknowledged was first sent; none when it was not, or there is none.
    #[must_use]
    pub fn oldest_unacked(&self) -> Option<Time> {
        self.slots.front().and_then(|slot| slot.first_sent)
    }

    /// Offers the oldest due segment; when `take` returns true it counts as under way, and its number is returned.
    pub fn carry(&mut self, now: Time, take: impl FnOnce(Segment<'_>) -> bool) -> Option<u64> {
        let number = self.next_due()?;
        self.send(number, now, take)?;
        let slot = self.slots.get(self.index(number)?)?;
        self.repeatable.set(number, slot.flying == 1 && usize::from(slot.len) <= REPEAT_BYTES);
        Some(number)
    }

    /// Offers a segment for an early repeat: of at most [`REPEAT_BYTES`], carried by one packet that left at least `age`
    /// ago, and not repeated since it was last due. For lossy paths with room left.
    pub fn repeat(&mut self, now: Time, age: Duration, take: impl FnOnce(Segment<'_>) -> bool) -> Option<u64> {
        let old_enough = |slot: &Slot| slot.last_sent + age <= now;
        let mut from = self.base;
        let number = loop {
            let number = self.repeatable.first(from, self.end())?;
            if self.slots.get(self.index(number)?).is_some_and(old_enough) {
                break number;
            }
            from = number + 1;
        };
        self.send(number, now, take)
    }

    fn send(&mut self, number: u64, now: Time, take: impl FnOnce(Segment<'_>) -> bool) -> Option<u64> {
        let index = self.index(number)?;
        let slot = self.slots.get_mut(index)?;
        if !take(slot.segment(number)) {
            return None;
        }
        slot.flying = slot.flying.saturating_add(1);
        slot.first_sent.get_or_insert(now);
        slot.last_sent = now;
        self.due.set(number, false);
        self.repeatable.set(number, false);
        Some(number)
    }

    /// A packet that carried segment `number` was acknowledged.
    pub fn on_acked(&mut self, number: u64) {
        let Some(slot) = self.index(number).and_then(|index| self.slots.get_mut(index)) else { return };
        slot.acked = true;
        let bytes = core::mem::take(&mut slot.bytes);
        self.keep(bytes);
        self.due.set(number, false);
        self.repeatable.set(number, false);
        while let Some(front) = self.slots.front()
            && front.acked
        {
            self.settled += usize::from(front.len);
            if front.last {
                self.bytes -= self.settled;
                self.settled = 0;
            }
            self.base += 1;
            self.slots.pop_front();
        }
        if self.slots.is_empty() {
            self.slots.shrink_to(KEPT_SLOTS);
        }
    }

    /// Keeps an acknowledged segment's buffer for another, unless enough are kept.
    fn keep(&mut self, mut bytes: Vec<u8>) {
        let held: usize = self.spare.iter().map(Vec::capacity).sum();
        let fits = (1..=KEPT_BYTES).contains(&bytes.capacity()) && held + bytes.capacity() <= KEPT_BYTES_IN_ALL;
        if fits && self.spare.len() < KEPT_BUFFERS {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// A packet that carried segment `number` was lost; the segment is due again when no other one is under way.
    pub fn on_lost(&mut self, number: u64) {
        let Some(slot) = self.index(number).and_then(|index| self.slots.get_mut(index)) else { return };
        slot.flying = slot.flying.saturating_sub(1);
        if !slot.acked && slot.flying == 0 {
            self.due.set(number, true);
            self.repeatable.set(number, false);
        }
    }

    /// When the first of the segments was sent that a [`Self::repeat_tail`] makes due; none while others are due.
    #[must_use]
    pub fn tail_sent(&self) -> Option<Time> {
        if self.next_due().is_some() {
            return None;
        }
        self.slots.iter().find(|slot| slot.is_tail()).map(|slot| slot.last_sent)
    }

    /// Nothing else waits: long segments that were sent at `sent` or before, once, and are neither acknowledged nor lost,
    /// are due again.
    pub fn repeat_tail(&mut self, sent: Time) {
        for (number, slot) in (self.base..).zip(&self.slots) {
            if slot.is_tail() && slot.last_sent <= sent {
                self.due.set(number, true);
            }
        }
    }

    /// The peer is silent: the oldest two packets' worth is due again.
    pub fn on_probe(&mut self) {
        let mut room = PROBE_BYTES;
        for (number, slot) in (self.base..).zip(&self.slots) {
            if slot.acked {
                continue;
            }
            self.due.set(number, true);
            self.repeatable.set(number, false);
            room = room.saturating_sub(usize::from(slot.len) + PROBE_HEAD_BYTES);
            if room == 0 {
                return;
            }
        }
    }

    fn next_due(&self) -> Option<u64> {
        self.due.first(self.base, self.end())
    }

    /// One after the last segment's number.
    fn end(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.base)?).ok()
    }
}

const WORD_BITS: u64 = u64::BITS as u64;
const _: () = assert!(WINDOW.is_multiple_of(u64::BITS as usize));

/// A set of numbers, all within one window.
#[derive(Clone, Debug)]
struct Marks([u64; WINDOW / u64::BITS as usize]);

impl Marks {
    const NONE: Self = Self([0; WINDOW / u64::BITS as usize]);

    const fn word(number: u64) -> usize {
        (number / WORD_BITS) as usize % (WINDOW / u64::BITS as usize)
    }

    fn set(&mut self, number: u64, on: bool) {
        let bit = 1 << (number % WORD_BITS);
        if let Some(word) = self.0.get_mut(Self::word(number)) {
            *word = if on { *word | bit } else { *word & !bit };
        }
    }

    /// The lowest marked number in `from..end`, which is at most a window long.
    fn first(&self, from: u64, end: u64) -> Option<u64> {
        let mut number = from;
        while number < end {
            let word = self.0.get(Self::word(number))? >> (number % WORD_BITS);
            if word != 0 {
                let found = number + u64::from(word.trailing_zeros());
                return (found < end).then_some(found);
            }
            number = (number / WORD_BITS + 1) * WORD_BITS;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(100);

    fn carry_all(outbox: &mut Outbox) -> Vec<u64> {
        core::iter::from_fn(|| outbox.carry(NOW, |_| true)).collect()
    }

    #[test]
    fn a_burst_of_short_messages_finds_its_buffers_again_and_no_more_is_kept_than_may_be() {
        let mut outbox = Outbox::new(100_000);
        for (count, len) in [(12, 14), (40, 30), (40, 200), (3, 3000), (12, 14)] {
            for _ in 0..count {
                outbox.push(&vec![1; len]).unwrap();
            }
            let carried = carry_all(&mut outbox);
            carried.into_iter().for_each(|number| outbox.on_acked(number));
            let held: usize = outbox.spare.iter().map(Vec::capacity).sum();
            assert!(held <= KEPT_BYTES_IN_ALL && outbox.spare.len() <= KEPT_BUFFERS, "{held} bytes");
        }
        let kept: Vec<_> = outbox.spare.iter().map(Vec::as_ptr).collect();
        assert_eq!(kept.len(), 12, "those of the last burst of all were kept or used again");
        outbox.push(&[1; 20]).unwrap();
        assert!(outbox.slots.iter().all(|slot| kept.contains(&slot.bytes.as_ptr())));
    }

    #[test]
    fn a_message_is_cut_into_segments_and_an_empty_one_is_one() {
        let mut outbox = Outbox::new(10_000);
        outbox.push(&[7; 2049]).unwrap();
        outbox.push(&[]).unwrap();
        let mut seen = Vec::new();
        while outbox
            .carry(NOW, |s| {
                seen.push((s.number, s.first, s.last, s.bytes.len()));
                true
            })
            .is_some()
        {}
        assert_eq!(seen, [(0, true, false, 1024), (1, false, false, 1024), (2, false, true, 1), (3, true, true, 0)]);
        assert!(!outbox.has_due(NOW));
    }

    #[test]
    fn a_full_outbox_says_how_much_is_free() {
        let mut outbox = Outbox::new(10);
        outbox.push(&[0; 6]).unwrap();
        assert_eq!(outbox.push(&[0; 5]), Err(SendError::Full { free: 4 }));
        assert_eq!(outbox.push(&[0; 11]), Err(SendError::TooLong { limit: 10 }));
        carry_all(&mut outbox);
        outbox.on_acked(0);
        outbox.push(&[0; 10]).unwrap();
        assert_eq!(Outbox::new(1 << 20).push(&[0; 65_537]), Err(SendError::TooLong { limit: 65_536 }));
    }

    #[test]
    fn the_window_limits_the_number_of_small_messages_and_leaves_no_half_message() {
        let mut outbox = Outbox::new(1 << 20);
        for _ in 0..WINDOW - 1 {
            outbox.push(b"m").unwrap();
        }
        assert_eq!(outbox.push(&[0; 1025]), Err(SendError::Full { free: 1024 }));
        outbox.push(&[0; 1024]).unwrap();
        assert_eq!(outbox.push(b""), Err(SendError::Full { free: 0 }));
        assert_eq!(carry_all(&mut outbox), (0..256).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_count_until_the_whole_message_and_all_before_it_are_acknowledged() {
        let mut outbox = Outbox::new(4000);
        outbox.push(&[0; 2000]).unwrap();
        outbox.push(&[0; 5]).unwrap();
        carry_all(&mut outbox);
        outbox.on_acked(2);
        outbox.on_acked(0);
        assert_eq!((outbox.bytes(), outbox.queued()), (2005, 2));
        outbox.on_acked(1);
        assert_eq!((outbox.bytes(), outbox.queued()), (0, 0));
    }

    #[test]
    fn a_lost_segment_is_due_only_when_no_other_packet_carries_it() {
        let mut outbox = Outbox::new(100);
        outbox.push(b"m").unwrap();
        assert_eq!(outbox.carry(NOW, |_| false), None, "not taken, so still due");
        assert_eq!(outbox.carry(NOW, |_| true), Some(0));
        assert_eq!(outbox.repeat(NOW, Duration::from_millis(1), |_| true), None, "too young");
        let later = NOW + Duration::from_millis(1);
        assert_eq!(outbox.repeat(later, Duration::from_millis(1), |_| true), Some(0));
        assert_eq!(outbox.repeat(Time::NEVER, Duration::ZERO, |_| true), None, "repeated already");
        outbox.on_lost(0);
        assert!(!outbox.has_due(NOW));
        outbox.on_lost(0);
        assert!(outbox.has_due(NOW));
        assert_eq!(outbox.oldest_unacked(), Some(NOW));
        outbox.on_acked(0);
        assert!(!outbox.has_due(NOW), "a late ack counts");
        assert_eq!(outbox.oldest_unacked(), None);
    }

    #[test]
    fn long_segments_are_not_repeated_early() {
        let mut outbox = Outbox::new(1000);
        outbox.push(&[0; REPEAT_BYTES + 1]).unwrap();
        outbox.push(&[0; REPEAT_BYTES]).unwrap();
        carry_all(&mut outbox);
        assert_eq!(outbox.repeat(Time::NEVER, Duration::ZERO, |_| true), Some(1));
        assert_eq!(outbox.repeat(Time::NEVER, Duration::ZERO, |_| true), None);
    }

    #[test]
    fn long_segments_that_nothing_answers_are_repeated_once_when_nothing_else_is_due() {
        let mut outbox = Outbox::new(10_000);
        for len in [600, 100, 600, 600] {
            outbox.push(&vec![0; len]).unwrap();
        }
        assert_eq!(outbox.tail_sent(), None);
        assert_eq!(carry_all(&mut outbox), [0, 1, 2, 3]);
        assert_eq!(outbox.tail_sent(), Some(NOW));
        outbox.on_acked(0);
        outbox.on_lost(2);
        assert_eq!(outbox.tail_sent(), None, "a resend waits");
        assert_eq!(outbox.carry(NOW + Duration::from_millis(1), |_| true), Some(2));
        outbox.repeat_tail(Time::from_millis(99));
        assert!(carry_all(&mut outbox).is_empty());
        outbox.repeat_tail(Time::from_millis(200));
        assert_eq!(outbox.carry(NOW + Duration::from_millis(2), |_| true), Some(3));
        assert_eq!((outbox.tail_sent(), outbox.next_due_bytes()), (None, None));
    }

    #[test]
    fn a_probe_makes_two_packets_worth_of_the_oldest_due() {
        let mut outbox = Outbox::new(100_000);
        for _ in 0..10 {
            outbox.push(&[0; 1000]).unwrap();
        }
        carry_all(&mut outbox);
        outbox.on_acked(0);
        outbox.on_acked(2);
        outbox.on_probe();
        assert_eq!(carry_all(&mut outbox), [1, 3, 4]);
    }

    #[test]
    fn what_two_packets_carry_is_not_repeated_early() {
        let mut outbox = Outbox::new(100);
        outbox.push(b"m").unwrap();
        carry_all(&mut outbox);
        outbox.on_probe();
        assert_eq!(outbox.repeat(Time::NEVER, Duration::ZERO, |_| true), None, "due anyway");
        carry_all(&mut outbox);
        assert_eq!(outbox.repeat(Time::NEVER, Duration::ZERO, |_| true), None);
        outbox.on_lost(0);
        outbox.on_lost(0);
        carry_all(&mut outbox);
        assert_eq!(outbox.repeat(Time::NEVER, Duration::ZERO, |_| true), Some(0), "a resend may be repeated again");
    }

    #[test]
    fn marks_are_found_in_order_across_words_and_the_wrap() {
        let mut marks = Marks::NONE;
        for number in [250, 256, 300, 505] {
            marks.set(number, true);
        }
        let end = 250 + WINDOW as u64;
        let mut found = Vec::new();
        let mut from = 250;
        while let Some(number) = marks.first(from, end) {
            found.push(number);
            from = number + 1;
        }
        assert_eq!(found, [250, 256, 300, 505]);
        assert_eq!(marks.first(251, 256), None);
    }
}
