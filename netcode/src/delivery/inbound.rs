//! The receiving halves of the reliable kinds of channels.

use std::collections::VecDeque;

use super::{HEAP_BYTES, MAX_SEGMENTS, OutOfWindow, SEGMENT_BYTES, WINDOW};
use crate::seq::expand16;

/// The most slots: the window, and before it the segments of a message that lacks its last one.
const MAX_SLOTS: usize = WINDOW + MAX_SEGMENTS;
/// Slots are allocated by so many.
const SLOT_STEP: usize = 32;
/// What a segment costs at most beyond its bytes: its slot and what the allocator adds.
pub const SEGMENT_OVERHEAD: usize = size_of::<Slot>() + HEAP_BYTES;

const _: () = assert!(MAX_SLOTS.is_multiple_of(SLOT_STEP));

/// The most bytes, overhead included, that the receiving half of a channel of `limit` queue bytes ever holds.
#[must_use]
pub const fn quota(limit: usize) -> usize {
    limit + MAX_SLOTS * SEGMENT_OVERHEAD
}

/// Receives a reliable-ordered channel: each message once, in the order sent.
#[derive(Debug)]
pub struct Ordered(Arrivals);

impl Ordered {
    /// Holds at most `limit` bytes of segments, and no more than [`quota`] in all.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self(Arrivals::new(limit))
    }

    /// Bytes held, overhead included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.held_bytes()
    }

    /// Takes a segment whose number has the low bits `low`; messages that are complete and in order go to `deliver`.
    /// What came before is no error and does nothing.
    ///
    /// # Errors
    /// [`OutOfWindow`] for what no honest sender sends; nothing is changed then.
    pub fn accept(
        &mut self,
        low: u16,
        first: bool,
        last: bool,
        bytes: &[u8],
        max_message: usize,
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), OutOfWindow> {
        let window = &mut self.0;
        let Some((at, _)) = window.admit(low, Shape { first, last, bytes }, max_message)? else { return Ok(()) };
        if at == 0 && first && last {
            deliver(bytes);
            window.skip_whole();
        } else {
            window.hold(at, first, last, bytes)?;
        }
        while let Some(len) = window.front_message() {
            window.deliver(0, len, &mut deliver);
            window.drop_front(len);
        }
        Ok(())
    }
}

/// Receives a reliable-unordered channel: each message once, as soon as it is complete.
#[derive(Debug)]
pub struct Unordered(Arrivals);

impl Unordered {
    /// Holds at most `limit` bytes of segments, and no more than [`quota`] in all.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self(Arrivals::new(limit))
    }

    /// Bytes held, overhead included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.held_bytes()
    }

    /// Takes a segment whose number has the low bits `low`; a message that it completes goes to `deliver`. What came
    /// before is no error and does nothing.
    ///
    /// # Errors
    /// [`OutOfWindow`] for what no honest sender sends; nothing is changed then.
    pub fn accept(
        &mut self,
        low: u16,
        first: bool,
        last: bool,
        bytes: &[u8],
        max_message: usize,
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), OutOfWindow> {
        let window = &mut self.0;
        let Some((at, run)) = window.admit(low, Shape { first, last, bytes }, max_message)? else { return Ok(()) };
        if first && last {
            deliver(bytes);
            if at == 0 {
                window.skip_whole();
            } else {
                window.set(at, Slot::Delivered { first, last })?;
            }
        } else {
            window.hold(at, first, last, bytes)?;
            if run.complete {
                window.deliver(run.start, run.len, &mut deliver);
            }
        }
        let delivered = window.slots.iter().take_while(|slot| matches!(slot, Slot::Delivered { .. })).count();
        window.drop_front(delivered);
        Ok(())
    }
}

#[derive(Debug)]
enum Slot {
    Missing,
    Held { first: bool, last: bool, bytes: Box<[u8]> },
    Delivered { first: bool, last: bool },
}

impl Slot {
    /// Whether its message starts and ends with it; none of a segment that is missing.
    const fn ends(&self) -> Option<(bool, bool)> {
        match *self {
            Self::Missing => None,
            Self::Held { first, last, .. } | Self::Delivered { first, last } => Some((first, last)),
        }
    }

    const fn held(&self) -> Option<&[u8]> {
        match self {
            Self::Held { bytes, .. } => Some(bytes),
            Self::Missing | Self::Delivered { .. } => None,
        }
    }
}

/// What a segment says about itself.
#[derive(Clone, Copy)]
struct Shape<'a> {
    first: bool,
    last: bool,
    bytes: &'a [u8],
}

/// The slots next to each other that hold one message, or what is there of it.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    len: usize,
    complete: bool,
}

/// Segments from the start of the oldest message that is not delivered.
#[derive(Debug)]
struct Arrivals {
    /// Number of the first slot; a message starts there.
    start: u64,
    slots: VecDeque<Slot>,
    /// Slots before the first that is missing.
    ready: usize,
    /// Bytes of the held segments.
    payload: usize,
    /// How many segments are held.
    held: usize,
    limit: usize,
}

impl Arrivals {
    const fn new(limit: usize) -> Self {
        Self { start: 0, slots: VecDeque::new(), ready: 0, payload: 0, held: 0, limit }
    }

    fn held_bytes(&self) -> usize {
        self.payload + self.held * HEAP_BYTES + self.slots.capacity() * size_of::<Slot>()
    }

    /// Checks a segment against the window, the longest message and its neighbours. Its slot and, with it, its run; none
    /// when it came before.
    fn admit(&self, low: u16, shape: Shape<'_>, max_message: usize) -> Result<Option<(usize, Run)>, OutOfWindow> {
        let number = expand16(self.start + self.ready as u64, low);
        let Some(ahead) = number.checked_sub(self.start) else { return Ok(None) };
        let at = usize::try_from(ahead).map_err(|_| OutOfWindow)?;
        if at >= self.ready + WINDOW {
            return Err(OutOfWindow);
        }
        if self.ends(at).is_some() {
            return Ok(None);
        }
        let Shape { first, last, bytes } = shape;
        // All segments but a message's last are full, and only a message of nothing has an empty one.
        let full = bytes.len() == SEGMENT_BYTES;
        let shaped = if last { bytes.len() <= SEGMENT_BYTES && (first || !bytes.is_empty()) } else { full };
        let before = at.checked_sub(1).map_or(Some((true, true)), |before| self.ends(before));
        let starts = before.is_none_or(|(_, ended)| ended == first);
        let ends = self.ends(at + 1).is_none_or(|(started, _)| started == last);
        if !shaped || !starts || !ends {
            return Err(OutOfWindow);
        }
        self.run(at, shape, max_message).map(|run| Some((at, run)))
    }

    /// The run that a segment at `at` is part of.
    fn run(&self, at: usize, shape: Shape<'_>, max_message: usize) -> Result<Run, OutOfWindow> {
        let most = max_message.div_ceil(SEGMENT_BYTES).clamp(1, MAX_SEGMENTS);
        let (mut start, mut end, mut last_len) = (at, at + 1, shape.bytes.len());
        let (mut first, mut last) = (shape.first, shape.last);
        while !first
            && end - start <= most
            && let Some(before) = start.checked_sub(1)
            && let Some(ends) = self.ends(before)
        {
            (start, first) = (before, ends.0);
        }
        while !last
            && end - start <= most
            && let Some(ends) = self.ends(end)
        {
            last_len = self.slots.get(end).and_then(Slot::held).map_or(0, <[u8]>::len);
            (end, last) = (end + 1, ends.1);
        }
        let len = end - start;
        if len > most || (len - 1) * SEGMENT_BYTES + last_len > max_message {
            return Err(OutOfWindow);
        }
        Ok(Run { start, len, complete: first && last })
    }

    fn ends(&self, at: usize) -> Option<(bool, bool)> {
        self.slots.get(at).and_then(Slot::ends)
    }

    /// Keeps a segment.
    fn hold(&mut self, at: usize, first: bool, last: bool, bytes: &[u8]) -> Result<(), OutOfWindow> {
        if self.payload + bytes.len() > self.limit {
            return Err(OutOfWindow);
        }
        self.set(at, Slot::Held { first, last, bytes: bytes.into() })?;
        self.payload += bytes.len();
        self.held += 1;
        Ok(())
    }

    /// Fills a slot that was missing.
    fn set(&mut self, at: usize, filled: Slot) -> Result<(), OutOfWindow> {
        if self.slots.len() <= at {
            let slots = (at + 1).next_multiple_of(SLOT_STEP);
            self.slots.reserve_exact(slots - self.slots.len());
            self.slots.resize_with(at + 1, || Slot::Missing);
        }
        *self.slots.get_mut(at).ok_or(OutOfWindow)? = filled;
        self.find_ready();
        Ok(())
    }

    /// How many slots the first message has; none when it is not complete.
    fn front_message(&self) -> Option<usize> {
        let ended = |slot: &Slot| slot.ends().is_some_and(|(_, last)| last);
        Some(self.slots.iter().take(self.ready).position(ended)? + 1)
    }

    /// Hands over a complete message and lets go of its bytes. The slots stay.
    fn deliver(&mut self, start: usize, len: usize, deliver: &mut impl FnMut(&[u8])) {
        let slots = self.slots.range_mut(start..start + len);
        let mut whole = Vec::new();
        for slot in slots {
            let Some((first, last)) = slot.ends() else { continue };
            let Slot::Held { bytes, .. } = core::mem::replace(slot, Slot::Delivered { first, last }) else { continue };
            self.payload -= bytes.len();
            self.held -= 1;
            if len == 1 {
                return deliver(&bytes);
            }
            whole.reserve_exact(if first { len * SEGMENT_BYTES } else { 0 });
            whole.extend_from_slice(&bytes);
        }
        deliver(&whole);
    }

    /// The first segment, a whole message, was delivered without being held.
    fn skip_whole(&mut self) {
        self.slots.pop_front();
        self.start += 1;
        self.find_ready();
        self.tidy();
    }

    fn drop_front(&mut self, count: usize) {
        self.slots.drain(..count);
        self.start += count as u64;
        self.ready -= count;
        self.tidy();
    }

    fn find_ready(&mut self) {
        while self.ends(self.ready).is_some() {
            self.ready += 1;
        }
    }

    /// An idle channel keeps little memory.
    fn tidy(&mut self) {
        if self.slots.is_empty() {
            self.slots.shrink_to(SLOT_STEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 65_536;
    type Segment<'a> = (u16, bool, bool, &'a [u8]);
    const FULL: [u8; SEGMENT_BYTES] = [7; SEGMENT_BYTES];

    fn ordered(ordered: &mut Ordered, (low, first, last, bytes): Segment<'_>) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        ordered.accept(low, first, last, bytes, MAX, |bytes| out.push(bytes.to_vec())).unwrap();
        out
    }

    fn unordered(unordered: &mut Unordered, (low, first, last, bytes): Segment<'_>) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        unordered.accept(low, first, last, bytes, MAX, |bytes| out.push(bytes.to_vec())).unwrap();
        out
    }

    #[test]
    fn early_messages_wait_for_the_missing_one_on_an_ordered_channel() {
        let mut channel = Ordered::new(100);
        assert!(ordered(&mut channel, (2, true, true, b"c")).is_empty());
        assert!(ordered(&mut channel, (1, true, true, b"b")).is_empty());
        assert!(ordered(&mut channel, (1, true, true, b"b")).is_empty());
        assert_eq!(ordered(&mut channel, (0, true, true, b"a")), [b"a", b"b", b"c"]);
        assert_eq!(channel.0.payload, 0);
        assert!(ordered(&mut channel, (0, true, true, b"a")).is_empty());
        assert_eq!(ordered(&mut channel, (3, true, true, b"")), [b""]);
    }

    #[test]
    fn early_messages_are_delivered_at_once_on_an_unordered_channel() {
        let mut channel = Unordered::new(100);
        assert_eq!(unordered(&mut channel, (2, true, true, b"c")), [b"c"]);
        assert!(unordered(&mut channel, (2, true, true, b"c")).is_empty());
        assert_eq!(unordered(&mut channel, (0, true, true, b"a")), [b"a"]);
        assert_eq!(unordered(&mut channel, (1, true, true, b"b")), [b"b"]);
        assert!(unordered(&mut channel, (1, true, true, b"b")).is_empty());
        assert_eq!((channel.0.start, channel.0.slots.len()), (3, 0));
    }

    #[test]
    fn a_message_in_segments_is_delivered_whole_whatever_their_order() {
        let whole = [&FULL[..], &FULL, b"end"].concat();
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let (mut one, mut other) = (Ordered::new(MAX), Unordered::new(MAX));
            let (mut seen, mut seen_other) = (Vec::new(), Vec::new());
            for low in order {
                let bytes = if low == 2 { &b"end"[..] } else { &FULL };
                seen.extend(ordered(&mut one, (low, low == 0, low == 2, bytes)));
                seen_other.extend(unordered(&mut other, (low, low == 0, low == 2, bytes)));
            }
            assert_eq!((&seen, &seen_other), (&vec![whole.clone()], &vec![whole.clone()]));
            assert_eq!((one.0.payload, other.0.payload), (0, 0));
        }
    }

    #[test]
    fn in_order_whole_messages_hold_no_memory() {
        let (mut one, mut other) = (Ordered::new(MAX), Unordered::new(MAX));
        for low in 0..100 {
            ordered(&mut one, (low, true, true, &FULL));
            unordered(&mut other, (low, true, true, &FULL));
        }
        assert_eq!((one.bytes(), other.bytes()), (0, 0));
    }

    /// Both receivers with one segment refused, and the same segment to each.
    fn refused(held: &[Segment<'_>], (low, first, last, bytes): Segment<'_>, max: usize) {
        let (mut one, mut other) = (Ordered::new(4000), Unordered::new(4000));
        for &segment in held {
            ordered(&mut one, segment);
            unordered(&mut other, segment);
        }
        let before = (one.bytes(), other.bytes());
        assert_eq!(one.accept(low, first, last, bytes, max, |_| panic!("delivered")), Err(OutOfWindow));
        assert_eq!(other.accept(low, first, last, bytes, max, |_| panic!("delivered")), Err(OutOfWindow));
        assert_eq!((one.bytes(), other.bytes()), before);
    }

    #[test]
    fn segments_that_contradict_themselves_or_their_neighbours_are_refused() {
        refused(&[], (0, false, true, b"x"), MAX);
        refused(&[], (1, true, false, b"short"), MAX);
        refused(&[], (1, false, true, b""), MAX);
        refused(&[], (1, true, true, &[0; SEGMENT_BYTES + 1]), MAX);
        refused(&[(2, true, false, &FULL)], (3, true, true, b"x"), MAX);
        refused(&[(3, false, true, b"x")], (2, true, true, b"x"), MAX);
        refused(&[(2, false, true, b"x")], (3, false, true, b"x"), MAX);
        refused(&[(3, true, true, b"x")], (2, true, false, &FULL), MAX);
        refused(&[], (256, true, true, b"x"), MAX);
        refused(&[], (u16::MAX, true, true, b"x"), MAX);
    }

    #[test]
    fn messages_beyond_the_longest_are_refused_as_soon_as_it_shows() {
        refused(&[], (0, true, true, b"xx"), 1);
        refused(&[], (1, true, false, &FULL), 1023);
        refused(&[(1, true, false, &FULL)], (2, false, true, b"x"), 1024);
        refused(&[(1, true, false, &FULL), (3, false, true, b"x")], (2, false, false, &FULL), 2048);
        refused(&[(5, false, false, &FULL), (7, false, false, &FULL)], (6, false, false, &FULL), 2048);
        let mut channel = Ordered::new(MAX);
        assert_eq!(channel.accept(0, true, true, b"", 0, |_| ()), Ok(()));
    }

    #[test]
    fn the_quota_holds_against_segments_of_any_size() {
        for len in [0, 1, 2, 100, SEGMENT_BYTES] {
            for limit in [1, 10, 3000, 1 << 20] {
                let bytes = &FULL[..len];
                let (mut one, mut other) = (Ordered::new(limit), Unordered::new(limit));
                for low in (1..1000).rev() {
                    let _ = one.accept(low, true, true, bytes, MAX, |_| ());
                    let _ = other.accept(low, true, true, bytes, MAX, |_| ());
                    // Never the first segment, so nothing of it is ever complete.
                    let _ = other.accept(low, false, false, &FULL, MAX, |_| ());
                    assert!(one.bytes() <= quota(limit) && other.bytes() <= quota(limit));
                    assert!(one.0.payload <= limit && other.0.payload <= limit);
                }
                assert_eq!(one.accept(1000, true, true, bytes, MAX, |_| ()), Err(OutOfWindow));
            }
        }
        assert_eq!(quota(0), 320 * 40);
    }

    #[test]
    fn a_long_message_that_lacks_its_last_segment_and_a_full_window_behind_it_stay_within_the_quota() {
        let limit = 1 << 20;
        let mut channel = Ordered::new(limit);
        for low in 0..63 {
            ordered(&mut channel, (low, low == 0, false, &FULL));
        }
        for low in 64..63 + 256 {
            ordered(&mut channel, (low, true, true, &FULL));
        }
        assert_eq!(channel.accept(63 + 256, true, true, b"x", MAX, |_| ()), Err(OutOfWindow));
        assert!(channel.bytes() <= quota(limit));
        assert_eq!(ordered(&mut channel, (63, false, true, b"x")).len(), 256);
        assert!(channel.bytes() <= SLOT_STEP * SEGMENT_OVERHEAD);
    }
}
