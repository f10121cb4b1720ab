//! Both reliable kinds.

use std::collections::BTreeMap;
use std::time::Duration;

use netcode::Time;
use netcode::delivery::inbound::quota;
use netcode::delivery::outbox::REPEAT_BYTES;
use netcode::delivery::{MAX_RELIABLE, Ordered, OutOfWindow, Outbox, SEGMENT_BYTES, Segment, Unordered, WINDOW};
use netcode::error::SendError;

use super::net::Net;
use super::{Feature, LENGTHS, LIMITS, reach};
use crate::feature::bucket;
use crate::program::{Program, Script};

/// A receiving half of either kind.
enum Receiver {
    Ordered(Ordered),
    Unordered(Unordered),
}

impl Receiver {
    fn new(ordered: bool, limit: usize) -> Self {
        if ordered { Self::Ordered(Ordered::new(limit)) } else { Self::Unordered(Unordered::new(limit)) }
    }

    fn accept(&mut self, frame: &Frame, max: usize, deliver: impl FnMut(&[u8])) -> Result<(), OutOfWindow> {
        let Frame { low, first, last, ref bytes } = *frame;
        match self {
            Self::Ordered(half) => half.accept(low, first, last, bytes, max, deliver),
            Self::Unordered(half) => half.accept(low, first, last, bytes, max, deliver),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Ordered(half) => half.bytes(),
            Self::Unordered(half) => half.bytes(),
        }
    }
}

/// A segment on the wire.
#[derive(Clone)]
struct Frame {
    low: u16,
    first: bool,
    last: bool,
    bytes: Vec<u8>,
}

impl From<Segment<'_>> for Frame {
    fn from(segment: Segment<'_>) -> Self {
        let Segment { number, first, last, bytes } = segment;
        Self { low: number as u16, first, last, bytes: bytes.to_vec() }
    }
}

/// What a receiver must do, with whole numbers and everything that ever came.
struct Model {
    ordered: bool,
    limit: usize,
    max: usize,
    segments: BTreeMap<u64, Known>,
    /// The first segment that is missing.
    missing: u64,
    /// The first segment that is not delivered; of an ordered channel only.
    start: u64,
}

struct Known {
    first: bool,
    last: bool,
    len: usize,
    /// Until it is delivered.
    bytes: Option<Vec<u8>>,
}

impl Model {
    fn accept(&mut self, number: u64, frame: &Frame) -> Result<Vec<Vec<u8>>, OutOfWindow> {
        if number < self.missing || self.segments.contains_key(&number) {
            reach(Feature::Again);
            return Ok(Vec::new());
        }
        self.check(number, frame)?;
        let Frame { first, last, ref bytes, .. } = *frame;
        let whole = first && last;
        let at_once = whole && (!self.ordered || number == self.start);
        let held: usize = self.segments.values().filter_map(|known| known.bytes.as_ref()).map(Vec::len).sum();
        if !at_once && held + bytes.len() > self.limit {
            reach(Feature::Quota);
            return Err(OutOfWindow);
        }
        self.segments.insert(number, Known { first, last, len: bytes.len(), bytes: Some(bytes.clone()) });
        while self.segments.contains_key(&self.missing) {
            self.missing += 1;
        }
        let mut out = Vec::new();
        if self.ordered {
            while let Some(message) = self.message(self.start, self.start) {
                self.start = message.1 + 1;
                out.push(message.0);
            }
        } else {
            out.extend(self.message(0, number).map(|message| message.0));
        }
        reach(if out.is_empty() { Feature::Held } else { Feature::InOrder });
        Ok(out)
    }

    fn check(&self, number: u64, frame: &Frame) -> Result<(), OutOfWindow> {
        let Frame { first, last, ref bytes, .. } = *frame;
        let refuse = |feature| {
            reach(feature);
            Err(OutOfWindow)
        };
        if number - self.missing >= WINDOW as u64 {
            return refuse(Feature::Outside);
        }
        let len = bytes.len();
        if (last && (len > SEGMENT_BYTES || (len == 0 && !first))) || (!last && len != SEGMENT_BYTES) {
            return refuse(Feature::Shape);
        }
        let ended = number == 0 || self.segments.get(&(number - 1)).is_none_or(|known| known.last == first);
        let begins = self.segments.get(&(number + 1)).is_none_or(|known| known.first == last);
        if !ended || !begins || (number == 0 && !first) {
            return refuse(Feature::Contradiction);
        }
        // The message, or what is there of it.
        let (mut from, mut to, mut total) = (number, number, len);
        while from < number || !first {
            let Some(known) = from.checked_sub(1).and_then(|before| self.segments.get(&before)) else { break };
            if from < number && self.segments[&from].first {
                break;
            }
            (from, total) = (from - 1, total + known.len);
        }
        while if to > number { !self.segments[&to].last } else { !last } {
            let Some(known) = self.segments.get(&(to + 1)) else { break };
            (to, total) = (to + 1, total + known.len);
        }
        let most = self.max.div_ceil(SEGMENT_BYTES).clamp(1, MAX_RELIABLE / SEGMENT_BYTES);
        if (to - from + 1) as usize > most || total > self.max {
            return refuse(Feature::LongRun);
        }
        Ok(())
    }

    /// Takes out the message around segment `at` if it is complete; `least` is where it must not begin before.
    fn message(&mut self, least: u64, at: u64) -> Option<(Vec<u8>, u64)> {
        let mut from = at;
        while !self.segments.get(&from)?.first {
            from = from.checked_sub(1).filter(|from| *from >= least)?;
        }
        let mut to = at;
        while !self.segments.get(&to)?.last {
            to += 1;
        }
        let mut whole = Vec::new();
        for number in from..=to {
            whole.extend(self.segments.get_mut(&number)?.bytes.take()?);
        }
        Some((whole, to))
    }
}

pub fn hostile(program: &mut Program<'_>) {
    let choice = program.u8();
    let ordered = choice & 1 == 0;
    let limit = LIMITS[usize::from(choice >> 1 & 7)];
    let max = [0, 1, 1024, 1025, 3000, 9000, MAX_RELIABLE, MAX_RELIABLE + 1][usize::from(choice >> 4 & 7)];
    let mut receiver = Receiver::new(ordered, limit);
    let mut model = Model { ordered, limit, max, segments: BTreeMap::new(), missing: 0, start: 0 };
    while !program.is_empty() {
        let (op, distance) = (program.u8(), i64::from(program.u8() as i8));
        let distance = if op & 0xe0 == 0xe0 { distance * 300 } else { distance };
        // The wire carries 16 bits; a number below zero can't be meant.
        let Some(number) = model.missing.checked_add_signed(distance) else { continue };
        let bytes = vec![number as u8 ^ op; LENGTHS[usize::from(op >> 2 & 7)]];
        let frame = Frame { low: number as u16, first: op & 1 != 0, last: op & 2 != 0, bytes };
        let (mut delivered, before) = (Vec::new(), receiver.bytes());
        let result = receiver.accept(&frame, max, |bytes| delivered.push(bytes.to_vec()));
        assert_eq!(result.map(|()| delivered), model.accept(number, &frame), "segment {number} of {op:#x}");
        assert!(result.is_ok() || receiver.bytes() == before, "an error changes what is held");
        assert!(receiver.bytes() <= quota(limit), "more is held than the quota");
        bucket(u64::from(op & 0x1f) | u64::from(result.is_ok()) << 8 | (receiver.bytes() as u64 / 1500).min(9) << 9);
    }
}

struct Link {
    outbox: Outbox,
    receiver: Receiver,
    ordered: bool,
    limit: usize,
    net: Net<Frame>,
    now: Time,
    /// Messages sent, until they arrive.
    open: Vec<Vec<u8>>,
    sent: usize,
}

pub fn honest(program: &mut Program<'_>) {
    let choice = program.u8();
    let (ordered, limit) = (choice & 1 == 0, LIMITS[usize::from(choice >> 1 & 7)]);
    let mut link = Link {
        outbox: Outbox::new(limit),
        receiver: Receiver::new(ordered, limit),
        ordered,
        limit,
        net: Net::new(true),
        now: Time::ZERO,
        open: Vec::new(),
        sent: 0,
    };
    while !program.is_empty() {
        let (op, operand) = (program.u8(), program.u8());
        bucket(1 << 32 | u64::from(op % 16) | (link.net.len() as u64).min(15) << 8);
        link.now = link.now + Duration::from_millis(u64::from(op >> 4));
        match op % 16 {
            0 | 1 => link.push(usize::from(operand) * [1, 37][usize::from(op & 1)]),
            2 => link.push(usize::from(operand) * 300),
            3 => (0..=operand).for_each(|_| link.push(1)),
            4 | 5 => link.carry(1 + usize::from(operand % 32)),
            6 => link.repeat(),
            7..=9 => link.deliver(operand),
            10 => {
                let frames = link.net.haunt(operand);
                link.take(frames);
            }
            11 | 12 => link.settle(operand, true),
            13 => link.settle(operand, false),
            _ => {
                reach(Feature::Probe);
                link.outbox.on_probe();
            }
        }
        link.check();
    }
    link.heal();
}

impl Link {
    fn push(&mut self, len: usize) {
        // Every message is another one, so that one that comes twice shows.
        let mut message = vec![self.sent as u8; len];
        message.iter_mut().zip((self.sent as u32).to_le_bytes()).for_each(|(to, from)| *to = from);
        let before = (self.outbox.bytes(), self.outbox.queued());
        match self.outbox.push(&message) {
            Ok(()) => {
                reach(Feature::Sent);
                self.open.push(message);
                self.sent += 1;
            }
            Err(SendError::Full { free }) => {
                reach(Feature::FullQueue);
                assert!(free < len || before.1 == WINDOW);
                assert!(free <= self.limit && before == (self.outbox.bytes(), self.outbox.queued()));
            }
            Err(SendError::TooLong { limit }) => assert!(len > limit && limit == self.limit.min(MAX_RELIABLE)),
            Err(error) => panic!("a push cannot fail with {error:?}"),
        }
    }

    fn carry(&mut self, most: usize) {
        let (mut items, mut frames) = (Vec::new(), Vec::new());
        while items.len() < most {
            let due = self.outbox.next_due_bytes();
            assert_eq!(due.is_some(), self.outbox.has_due(self.now));
            let taken = self.outbox.carry(self.now, |segment| {
                assert_eq!(due, Some(segment.bytes.len()));
                frames.push(Frame::from(segment));
                true
            });
            let Some(item) = taken else { break };
            items.push(item);
        }
        self.net.send(items, frames);
    }

    fn repeat(&mut self) {
        let mut frames = Vec::new();
        let item = self.outbox.repeat(self.now, Duration::from_millis(20), |segment| {
            reach(Feature::Repeated);
            assert!(segment.bytes.len() <= REPEAT_BYTES);
            frames.push(Frame::from(segment));
            true
        });
        self.net.send(item.into_iter().collect(), frames);
    }

    fn deliver(&mut self, which: u8) {
        let frames = self.net.deliver(which);
        self.take(frames);
    }

    fn take(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            let (open, ordered) = (&mut self.open, self.ordered);
            let taken = self.receiver.accept(&frame, MAX_RELIABLE, |message| {
                let place = open.iter().position(|sent| sent == message).expect("delivered twice, or never sent");
                assert!(place == 0 || !ordered || open[0] == open[place], "not the next message");
                open.remove(place);
            });
            assert_eq!(taken, Ok(()), "an honest sender is refused");
        }
    }

    fn settle(&mut self, which: u8, acked: bool) {
        for item in self.net.settle(which, acked) {
            if acked {
                self.outbox.on_acked(item);
            } else {
                self.outbox.on_lost(item);
            }
        }
    }

    fn check(&self) {
        assert!(self.outbox.bytes() <= self.limit && self.outbox.queued() <= WINDOW);
        assert!(self.receiver.bytes() <= quota(self.limit), "more is held than the quota");
    }

    /// Without any more faults everything arrives.
    fn heal(&mut self) {
        while self.net.len() > 0 {
            self.settle(0, false);
        }
        self.outbox.on_probe();
        while self.outbox.has_due(self.now) {
            self.carry(4);
            self.deliver(0);
            self.settle(0, true);
            self.check();
        }
        assert!(self.open.is_empty(), "not all arrived");
        assert_eq!((self.outbox.bytes(), self.outbox.queued(), self.outbox.oldest_unacked()), (0, 0, None));
        if self.sent > 0 {
            reach(Feature::Arrived);
        }
    }
}

/// Flags of a hostile step.
const FIRST: u8 = 1;
const LAST: u8 = 2;
const BYTE: u8 = 1 << 2;
const FULL: u8 = 5 << 2;
const OVER: u8 = 7 << 2;

pub fn seeds(scripts: &mut Vec<Script>) {
    for kind in [0, 1] {
        let hostile = |limit: u8, max: u8| Script::default().u8(0).u8(kind | limit << 1 | max << 4);
        let whole = FIRST | LAST | BYTE;
        let steps = |script: Script, steps: &[(u8, i8)]| {
            steps.iter().fold(script, |script, &(op, distance)| script.u8(op).u8(distance as u8))
        };
        scripts.push(steps(
            hostile(6, 6),
            &[(whole, 0), (FIRST | LAST, 0), (whole, 2), (whole, 1), (whole, 0), (whole, -1)],
        ));
        scripts.push(steps(
            hostile(6, 6),
            &[(FIRST | FULL, 0), (FULL, 0), (FULL, 1), (LAST | BYTE, 2), (FULL, 0), (whole, 0)],
        ));
        scripts.push(steps(hostile(2, 6), &[(FIRST | FULL, 1), (FULL, 2), (whole, 4), (whole, 0)]));
        scripts.push(steps(hostile(6, 4), &[(FIRST | FULL, 0), (FULL, 1), (LAST | FULL, 2), (FULL, 0), (whole, 3)]));
        scripts.push(steps(hostile(6, 6), &[(OVER | whole, 0), (BYTE, 0), (LAST, 1), (whole, 127), (0xe0 | whole, 1)]));
        scripts.push(steps(hostile(6, 6), &[(FULL, 0), (FIRST | FULL, 1), (whole, 0), (whole, 2), (FULL, 2)]));
        let honest = |limit: u8| Script::default().u8(4).u8(kind | limit << 1);
        let good = |script: Script, op: u8, len: u8| script.bytes(&[op, len, 4, 31, 7, 0, 11, 0]);
        scripts.push((0..12).fold(honest(6), |script, len| good(script, len % 3, len * 9)));
        scripts.push((0..12).fold(honest(5), |script, at| {
            script.bytes(&[1, at * 11, 4, 3, 13, at, 10, at, 4, 2, 7, at, 7, at, 11, at, 0xf6, 0, 14, 0])
        }));
        scripts.push(honest(6).bytes(&[3, 255, 3, 90, 4, 31, 4, 31, 8, 1, 13, 0, 11, 0, 4, 31, 7, 0]));
        scripts.push((0..8).fold(honest(2), |script, _| script.bytes(&[1, 39, 2, 9])).bytes(&[5, 7, 14, 0, 5, 7]));
        scripts.push((0..6).fold(honest(6), |script, _| script.bytes(&[0, 20, 4, 0, 0xf6, 0, 0xf6, 0, 13, 0, 12, 0])));
    }
}
