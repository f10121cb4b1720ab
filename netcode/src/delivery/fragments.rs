//! Unreliable messages: those beyond [`SEGMENT_BYTES`] go in up to [`MAX_PARTS`] parts.

use std::collections::VecDeque;

use super::{HEAP_BYTES, MAX_PARTS, OutOfWindow, SEGMENT_BYTES};
use crate::channel::Overflow;
use crate::error::SendError;
use crate::seq::{expand16, low16};

/// The longest unreliable message in bytes.
pub const MAX_UNRELIABLE: usize = MAX_PARTS * SEGMENT_BYTES;
/// The most messages that wait at the sender.
pub const MAX_WAITING: usize = 1024;
/// The most messages that the receiver puts together at once.
pub const MAX_PARTIAL: usize = 8;
const _: () = assert!(MAX_UNRELIABLE <= u16::MAX as usize);
/// Parts of a message so many numbers behind the newest come too late.
const ID_WINDOW: u64 = u64::BITS as u64;
/// What is kept allocated while nothing waits: room for a tick's messages, so that sending them allocates nothing.
const KEPT_SLOTS: usize = 16;
const KEPT_BYTES: usize = 2 * SEGMENT_BYTES;

/// What goes into a packet of an unreliable channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A whole message of at most [`SEGMENT_BYTES`].
    Whole(&'a [u8]),
    /// Part `index` of the parts 0 to `last` of a longer message.
    Part {
        /// Low bits of the message's number among the channel's messages in parts.
        id: u16,
        /// Which part, from 0.
        index: u8,
        /// The last part's index, at least 1.
        last: u8,
        /// [`SEGMENT_BYTES`] bytes, fewer only in the last part.
        bytes: &'a [u8],
    },
}

/// The sending half: messages that wait for a packet, once.
#[derive(Debug)]
pub struct Parts {
    /// Lengths of the messages that wait; their bytes are in `text`, one after the other, from `head` on.
    queue: VecDeque<u16>,
    text: Vec<u8>,
    head: usize,
    limit: usize,
    /// Number of the next message that goes in parts.
    next_id: u64,
    /// Parts of the first message that were carried.
    carried: u8,
    dropped: u64,
}

impl Parts {
    /// An empty queue of at most `limit` bytes and [`MAX_WAITING`] messages.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), text: Vec::new(), head: 0, limit, next_id: 0, carried: 0, dropped: 0 }
    }

    /// Queues a message. How many older ones were dropped to make room; the one that is on its way already is the last
    /// to go, so that long messages get through however fast new ones come.
    ///
    /// # Errors
    /// [`SendError::TooLong`] when it never fits; with [`Overflow::Refuse`], [`SendError::Full`] when it does not now.
    pub fn push(&mut self, message: &[u8], overflow: Overflow) -> Result<u64, SendError> {
        let limit = MAX_UNRELIABLE.min(self.limit);
        if message.len() > limit {
            return Err(SendError::TooLong { limit });
        }
        let mut dropped = 0;
        while self.queue.len() >= MAX_WAITING || self.bytes() + message.len() > self.limit {
            if overflow == Overflow::Refuse {
                let free = if self.queue.len() < MAX_WAITING { self.limit - self.bytes() } else { 0 };
                return Err(SendError::Full { free });
            }
            self.drop_oldest();
            dropped += 1;
        }
        self.dropped += dropped;
        if self.text.len() + message.len() > self.text.capacity() {
            // What has gone makes room before more is asked for; it is moved once in a while, so it costs little.
            self.text.drain(..self.head);
            self.head = 0;
        }
        self.text.extend_from_slice(message);
        self.queue.push_back(message.len() as u16);
        Ok(dropped)
    }

    fn drop_oldest(&mut self) {
        let begun = self.carried > 0 && self.queue.len() > 1;
        if begun && let (Some(second), Some(front)) = (self.queue.remove(1), self.queue.front()) {
            let start = self.head + usize::from(*front);
            self.text.drain(start..start + usize::from(second));
        } else if !begun {
            self.finish_front();
        }
    }

    fn finish_front(&mut self) {
        if let Some(len) = self.queue.pop_front() {
            self.head += usize::from(len);
            // A number that was on the wire is used up.
            self.next_id += u64::from(self.carried > 0);
            self.carried = 0;
        }
        if self.queue.is_empty() {
            self.head = 0;
            self.text.clear();
            self.text.shrink_to(KEPT_BYTES);
            self.queue.shrink_to(KEPT_SLOTS);
        }
    }

    /// Whether anything waits.
    #[must_use]
    pub fn has_due(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Bytes of the piece that [`Self::carry`] would offer.
    #[must_use]
    pub fn next_due_bytes(&self) -> Option<usize> {
        self.next_piece().map(|(piece, _)| match piece {
            Piece::Whole(bytes) | Piece::Part { bytes, .. } => bytes.len(),
        })
    }

    /// Offers the next piece; when `take` returns true it is gone. Whether it was taken.
    pub fn carry(&mut self, take: impl FnOnce(Piece<'_>) -> bool) -> bool {
        let Some((piece, ends)) = self.next_piece() else { return false };
        let in_parts = matches!(piece, Piece::Part { .. });
        if !take(piece) {
            return false;
        }
        self.carried += u8::from(in_parts);
        if ends {
            self.finish_front();
        }
        true
    }

    /// The next piece and whether its message ends with it.
    fn next_piece(&self) -> Option<(Piece<'_>, bool)> {
        let len = usize::from(*self.queue.front()?);
        let message = self.text.get(self.head..self.head + len)?;
        if len <= SEGMENT_BYTES {
            return Some((Piece::Whole(message), true));
        }
        let (index, last) = (self.carried, (message.len().div_ceil(SEGMENT_BYTES) - 1) as u8);
        let rest = message.get(usize::from(index) * SEGMENT_BYTES..)?;
        let bytes = rest.get(..SEGMENT_BYTES).unwrap_or(rest);
        Some((Piece::Part { id: low16(self.next_id), index, last, bytes }, index == last))
    }

    /// Bytes of the messages that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.text.len() - self.head
    }

    /// Messages that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Messages dropped since the start to make room for newer ones.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// The most bytes, overhead included, that the [`Reassembly`] of a channel of `limit` queue bytes ever holds.
#[must_use]
pub const fn quota(limit: usize) -> usize {
    limit + MAX_PARTIAL * (size_of::<Partial>() + MAX_PARTS * HEAP_BYTES)
}

#[derive(Debug)]
struct Partial {
    id: u64,
    last: u8,
    /// Parts that are here.
    count: u8,
    bytes: usize,
    parts: [Option<Box<[u8]>>; MAX_PARTS],
}

/// The receiving half: messages that are not complete yet.
#[derive(Debug)]
pub struct Reassembly {
    /// At most [`MAX_PARTIAL`], in no order.
    partial: Vec<Partial>,
    payload: usize,
    limit: usize,
    /// The largest message number seen.
    newest: u64,
    /// Bit `i`: message `newest - i` is done with, delivered or given up.
    done: u64,
    given_up: u64,
}

impl Reassembly {
    /// Holds at most `limit` bytes of parts, and no more than [`quota`] in all.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { partial: Vec::new(), payload: 0, limit, newest: 0, done: 0, given_up: 0 }
    }

    /// Takes a part; a message that it completes goes to `deliver`. When there are more than [`MAX_PARTIAL`] messages or
    /// too many bytes, the oldest are given up. Parts of what is done with do nothing.
    ///
    /// # Errors
    /// [`OutOfWindow`] for a part that no honest sender sends; nothing is changed then.
    pub fn accept(
        &mut self,
        id: u16,
        index: u8,
        last: u8,
        bytes: &[u8],
        max_message: usize,
        deliver: impl FnMut(&[u8]),
    ) -> Result<(), OutOfWindow> {
        let full = bytes.len() == SEGMENT_BYTES;
        let shaped = if index == last { !bytes.is_empty() && bytes.len() <= SEGMENT_BYTES } else { full };
        // A message has at least one byte in its last part.
        let least = usize::from(last) * SEGMENT_BYTES + if index == last { bytes.len() } else { 1 };
        let counted = index <= last && last >= 1 && usize::from(last) < MAX_PARTS;
        if !shaped || !counted || least > max_message {
            return Err(OutOfWindow);
        }
        let id = expand16(self.newest, id);
        if self.is_done(id) {
            return Ok(());
        }
        if let Some(partial) = self.find(id) {
            if partial.last != last {
                return Err(OutOfWindow);
            }
            if partial.parts.get(usize::from(index)).is_some_and(Option::is_some) {
                return Ok(());
            }
            if partial.count == last {
                self.complete(id, index, bytes, deliver);
                return Ok(());
            }
        }
        self.hold(id, index, last, bytes);
        Ok(())
    }

    fn find(&self, id: u64) -> Option<&Partial> {
        self.partial.iter().find(|partial| partial.id == id)
    }

    fn is_done(&self, id: u64) -> bool {
        let Some(behind) = self.newest.checked_sub(id) else { return false };
        behind >= ID_WINDOW || self.done >> behind & 1 == 1
    }

    fn set_done(&mut self, id: u64) {
        if let Some(behind) = self.newest.checked_sub(id).filter(|&behind| behind < ID_WINDOW) {
            self.done |= 1 << behind;
        }
    }

    fn complete(&mut self, id: u64, index: u8, bytes: &[u8], mut deliver: impl FnMut(&[u8])) {
        let Some(partial) = self.remove(id) else { return };
        let mut whole = Vec::with_capacity(partial.bytes + bytes.len());
        for (at, part) in partial.parts.iter().enumerate().take(usize::from(partial.last) + 1) {
            whole.extend_from_slice(if at == usize::from(index) { bytes } else { part.as_deref().unwrap_or_default() });
        }
        drop(partial);
        self.set_done(id);
        deliver(&whole);
    }

    /// Keeps a part that completes nothing.
    fn hold(&mut self, id: u64, index: u8, last: u8, bytes: &[u8]) {
        self.advance(id);
        if self.find(id).is_none() {
            while self.partial.len() >= MAX_PARTIAL && self.oldest().is_some_and(|oldest| oldest < id) {
                self.give_up_oldest();
            }
            if self.partial.len() >= MAX_PARTIAL {
                // It is the oldest itself.
                self.given_up += 1;
                self.set_done(id);
                return;
            }
            self.partial.reserve_exact(1);
            self.partial.push(Partial { id, last, count: 0, bytes: 0, parts: [const { None }; MAX_PARTS] });
        }
        while self.payload + bytes.len() > self.limit && self.find(id).is_some() {
            self.give_up_oldest();
        }
        if let Some(partial) = self.partial.iter_mut().find(|partial| partial.id == id)
            && let Some(part) = partial.parts.get_mut(usize::from(index))
        {
            *part = Some(bytes.into());
            partial.count += 1;
            partial.bytes += bytes.len();
            self.payload += bytes.len();
        }
    }

    /// Notes that message `id` exists; what it leaves too far behind is given up.
    fn advance(&mut self, id: u64) {
        let Some(ahead) = id.checked_sub(self.newest).filter(|&ahead| ahead > 0) else { return };
        self.newest = id;
        self.done = u32::try_from(ahead).ok().and_then(|ahead| self.done.checked_shl(ahead)).unwrap_or(0);
        while self.oldest().is_some_and(|oldest| id - oldest >= ID_WINDOW) {
            self.give_up_oldest();
        }
    }

    fn oldest(&self) -> Option<u64> {
        self.partial.iter().map(|partial| partial.id).min()
    }

    fn give_up_oldest(&mut self) {
        if let Some(id) = self.oldest() {
            self.remove(id);
            self.given_up += 1;
            self.set_done(id);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Partial> {
        let at = self.partial.iter().position(|partial| partial.id == id)?;
        let partial = self.partial.swap_remove(at);
        self.payload -= partial.bytes;
        Some(partial)
    }

    /// Bytes held, overhead included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let parts: usize = self.partial.iter().map(|partial| usize::from(partial.count)).sum();
        self.payload + parts * HEAP_BYTES + self.partial.capacity() * size_of::<Partial>()
    }

    /// Messages given up since the start because newer ones needed the room.
    #[must_use]
    pub const fn given_up(&self) -> u64 {
        self.given_up
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::lossy::{Lossy, Weather};
    use super::*;
    use crate::rng::Rng;

    type Part = (u16, u8, u8, Vec<u8>);
    const MAX: usize = MAX_UNRELIABLE;
    const FULL: [u8; SEGMENT_BYTES] = [7; SEGMENT_BYTES];

    fn parts(queue: &mut Parts) -> Vec<Part> {
        let mut out = Vec::new();
        while queue.carry(|piece| {
            match piece {
                Piece::Whole(bytes) => out.push((0, 0, 0, bytes.to_vec())),
                Piece::Part { id, index, last, bytes } => out.push((id, index, last, bytes.to_vec())),
            }
            true
        }) {}
        out
    }

    #[test]
    fn messages_up_to_a_part_go_whole_and_longer_ones_in_parts_numbered_apart() {
        let mut queue = Parts::new(20_000);
        for len in [0, 1024, 1025, 3, 8192] {
            assert_eq!(queue.push(&vec![1; len], Overflow::Refuse), Ok(0));
        }
        let seen: Vec<_> = parts(&mut queue).iter().map(|(id, index, last, b)| (*id, *index, *last, b.len())).collect();
        assert_eq!(seen[..5], [(0, 0, 0, 0), (0, 0, 0, 1024), (0, 0, 1, 1024), (0, 1, 1, 1), (0, 0, 0, 3)]);
        assert_eq!(seen[5..], (0..8).map(|index| (1, index, 7, 1024)).collect::<Vec<_>>());
        assert_eq!((queue.bytes(), queue.queued(), queue.next_due_bytes()), (0, 0, None));
    }

    #[test]
    fn a_full_queue_refuses_or_drops_the_oldest_and_counts_them() {
        let mut queue = Parts::new(10);
        queue.push(b"aaaa", Overflow::Refuse).unwrap();
        queue.push(b"bbbb", Overflow::Refuse).unwrap();
        assert_eq!(queue.push(b"ccc", Overflow::Refuse), Err(SendError::Full { free: 2 }));
        assert_eq!(queue.push(b"ccc", Overflow::DropOldest), Ok(1));
        assert_eq!(queue.push(b"dddddddddd", Overflow::DropOldest), Ok(2));
        assert_eq!((queue.dropped(), queue.bytes(), queue.queued()), (3, 10, 1));
        assert_eq!(queue.push(&[0; 11], Overflow::DropOldest), Err(SendError::TooLong { limit: 10 }));
        let mut queue = Parts::new(1 << 20);
        assert_eq!(queue.push(&[0; MAX + 1], Overflow::DropOldest), Err(SendError::TooLong { limit: MAX }));
    }

    #[test]
    fn messages_that_go_as_others_come_keep_their_bytes_and_no_memory() {
        let mut queue = Parts::new(5000);
        let (mut rng, mut expected) = (Rng::new(1), VecDeque::new());
        for step in 0..20_000u32 {
            let message = vec![step as u8; rng.below(900) as usize];
            if queue.push(&message, Overflow::Refuse).is_ok() {
                expected.push_back(message);
            }
            for _ in 0..rng.below(3) {
                let seen = expected.pop_front();
                let mut carried = None;
                queue.carry(|piece| {
                    let Piece::Whole(bytes) = piece else { return false };
                    carried = Some(bytes.to_vec());
                    true
                });
                assert_eq!(carried, seen);
            }
            assert_eq!(queue.bytes(), expected.iter().map(Vec::len).sum::<usize>());
            assert!(queue.text.capacity() <= 4 * 5000);
        }
    }

    #[test]
    fn messages_of_nothing_are_limited_too() {
        let mut queue = Parts::new(10);
        (0..MAX_WAITING).for_each(|_| assert_eq!(queue.push(b"", Overflow::Refuse), Ok(0)));
        assert_eq!(queue.push(b"", Overflow::Refuse), Err(SendError::Full { free: 0 }));
        assert_eq!(queue.push(b"x", Overflow::DropOldest), Ok(1));
        assert_eq!(queue.queued(), MAX_WAITING);
    }

    #[test]
    fn a_message_on_its_way_is_dropped_last_and_its_number_not_used_again() {
        let mut queue = Parts::new(5000);
        for fill in 0..2 {
            queue.push(&[fill; 2000], Overflow::Refuse).unwrap();
        }
        assert!(queue.carry(|_| true));
        assert_eq!(queue.push(&[2; 3000], Overflow::DropOldest), Ok(1));
        assert!(matches!(queue.next_piece(), Some((Piece::Part { id: 0, index: 1, bytes: &[0, ..], .. }, true))));
        assert_eq!(queue.push(&[3; 5000], Overflow::DropOldest), Ok(2));
        assert!(matches!(queue.next_piece(), Some((Piece::Part { id: 1, index: 0, bytes: &[3, ..], .. }, false))));
    }

    fn accept(half: &mut Reassembly, id: u16, index: u8, last: u8, bytes: &[u8]) -> Result<usize, OutOfWindow> {
        let mut delivered = 0;
        half.accept(id, index, last, bytes, MAX, |message| delivered = message.len()).map(|()| delivered)
    }

    #[test]
    fn parts_that_no_sender_makes_are_refused() {
        let mut half = Reassembly::new(MAX);
        for (index, last, bytes) in [
            (0, 0, &FULL[..]),
            (2, 1, &FULL),
            (0, 8, &FULL),
            (255, 255, &FULL),
            (0, 1, &FULL[1..]),
            (1, 1, &[]),
            (1, 1, &[0; 1025]),
        ] {
            assert_eq!(accept(&mut half, 0, index, last, bytes), Err(OutOfWindow), "{index} of {last}");
        }
        assert_eq!(half.accept(0, 0, 1, &FULL, 1024, |_| ()), Err(OutOfWindow), "at least one byte more");
        assert_eq!(half.accept(0, 1, 1, b"xx", 1025, |_| ()), Err(OutOfWindow));
        assert_eq!(half.bytes(), 0);
        assert_eq!(accept(&mut half, 0, 0, 2, &FULL), Ok(0));
        assert_eq!(accept(&mut half, 0, 1, 3, &FULL), Err(OutOfWindow), "another count than before");
    }

    #[test]
    fn the_oldest_are_given_up_for_newer_ones_and_do_not_come_back() {
        let mut half = Reassembly::new(100_000);
        for id in 1..=8 {
            assert_eq!(accept(&mut half, id, 0, 1, &FULL), Ok(0));
        }
        assert_eq!(accept(&mut half, 0, 0, 1, &FULL), Ok(0), "older than all: given up itself");
        assert_eq!(half.given_up(), 1);
        assert_eq!(accept(&mut half, 9, 1, 1, b"x"), Ok(0));
        assert_eq!(half.given_up(), 2);
        assert_eq!(accept(&mut half, 1, 1, 1, b"x"), Ok(0), "given up before");
        assert_eq!(accept(&mut half, 2, 1, 1, b"x"), Ok(1025));
        assert_eq!(accept(&mut half, 2, 1, 1, b"x"), Ok(0), "delivered before");
        assert_eq!(accept(&mut half, 2, 0, 1, &FULL), Ok(0), "delivered before");
        assert_eq!(accept(&mut half, 70, 0, 1, &FULL), Ok(0));
        assert_eq!(half.given_up(), 6, "3 to 6 are too far behind");
    }

    #[test]
    fn the_quota_holds_against_short_and_long_parts() {
        for limit in [1, 1024, 3000, 100_000] {
            let mut half = Reassembly::new(limit);
            for id in 0..200u16 {
                let _ = accept(&mut half, id.wrapping_mul(7919), 7, 7, b"x");
                for index in 0..7 {
                    let _ = accept(&mut half, id, index, 7, &FULL);
                    assert!(half.bytes() <= quota(limit) && half.payload <= limit);
                }
            }
            assert!(half.given_up() > 100);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn messages_arrive_unchanged_and_at_most_once_and_an_honest_sender_is_never_refused(
            loss in 0.0..0.3, twice in 0.0..0.5, reorder in 1u64..40, seed: u64, limit in 8192usize..30_000,
        ) {
            let rng = Rng::new(seed);
            let mut lengths = rng.fork("lengths");
            let weather = Weather { loss, twice, wrongly_lost: 0.0, reorder };
            let mut network = Lossy::new(weather, rng.fork("network"));
            let (mut queue, mut half) = (Parts::new(limit), Reassembly::new(limit));
            let mut seen = vec![0; 300];
            let content = |number: usize| -> Vec<u8> {
                let mut bytes = vec![0; 1025 + Rng::new(number as u64).below(7000) as usize];
                Rng::new(number as u64).fill(&mut bytes);
                bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
                bytes
            };
            let mut complete = 0;
            for number in 0..300 {
                queue.push(&content(number), Overflow::Refuse).unwrap();
                for part in parts(&mut queue) {
                    network.send(0, part);
                }
                let wanted = lengths.below(40) as usize;
                while network.flying() > if number == 299 { 0 } else { wanted } {
                    let Some((id, index, last, bytes)) = network.arrival() else { continue };
                    let taken = half.accept(id, index, last, &bytes, MAX, |message| {
                        let number = u64::from_le_bytes(message[..8].try_into().unwrap()) as usize;
                        assert_eq!(message, content(number));
                        seen[number] += 1;
                        complete += 1;
                    });
                    prop_assert_eq!(taken, Ok(()));
                    prop_assert!(half.bytes() <= quota(limit));
                }
            }
            prop_assert!(seen.iter().all(|&times| times <= 1));
            prop_assert!(loss > 0.001 || reorder > 1 || complete == 300);
        }
    }

    /// [`Reassembly`] with whole numbers and ordered maps.
    #[derive(Default)]
    struct Model {
        partial: BTreeMap<u64, BTreeSet<u8>>,
        done: BTreeSet<u64>,
        newest: u64,
        given_up: u64,
    }

    impl Model {
        /// Whether the part completes its message; all parts are full.
        fn accept(&mut self, id: u64, index: u8, last: u8, limit: usize) -> bool {
            if self.done.contains(&id) || id + ID_WINDOW <= self.newest {
                return false;
            }
            self.newest = self.newest.max(id);
            self.partial.entry(id).or_default().insert(index);
            if self.partial[&id].len() == usize::from(last) + 1 {
                self.partial.remove(&id);
                return self.done.insert(id);
            }
            loop {
                let parts: usize = self.partial.values().map(BTreeSet::len).sum();
                let oldest = self.partial.first_key_value().map_or(id, |(&oldest, _)| oldest);
                let late = oldest + ID_WINDOW <= self.newest;
                if !late && self.partial.len() <= MAX_PARTIAL && parts * SEGMENT_BYTES <= limit {
                    return false;
                }
                if self.partial.remove(&oldest).is_none() {
                    return false;
                }
                self.done.insert(oldest);
                self.given_up += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn any_parts_in_any_order_do_what_the_model_says(
            limit in 1usize..40_000, start in prop_oneof![Just(0u64), 65_400u64..65_600],
            steps in prop::collection::vec((0u64..12, 0u8..8), 1..600), pace in 1u64..20,
        ) {
            let (mut half, mut model) = (Reassembly::new(limit), Model::default());
            // The channel's numbers are near `start` from the beginning.
            (half.newest, model.newest) = (start, start);
            for (step, (ahead, index)) in (0u64..).zip(steps) {
                let id = (start + step / pace + ahead * ahead).saturating_sub(30);
                let last = 1 + (id % 7) as u8;
                let index = index % (last + 1);
                let mut delivered = false;
                half.accept(low16(id), index, last, &FULL, MAX, |_| delivered = true).unwrap();
                prop_assert_eq!(delivered, model.accept(id, index, last, limit), "step {}", step);
                prop_assert_eq!(half.given_up(), model.given_up, "step {}", step);
                prop_assert!(half.bytes() <= quota(limit));
            }
        }
    }

    #[test]
    fn numbers_wrap_past_65_536_messages() {
        let mut half = Reassembly::new(MAX);
        for number in 0..70_000u64 {
            assert_eq!(accept(&mut half, low16(number), 1, 1, b"x"), Ok(0));
            assert_eq!(accept(&mut half, low16(number), 0, 1, &FULL), Ok(1025), "{number}");
        }
        assert_eq!((half.given_up(), half.payload), (0, 0));
    }
}
