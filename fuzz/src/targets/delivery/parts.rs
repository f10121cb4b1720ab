//! Unreliable messages in parts.

use std::collections::{BTreeMap, BTreeSet};

use netcode::channel::Overflow;
use netcode::delivery::fragments::{MAX_UNRELIABLE, MAX_WAITING, quota};
use netcode::delivery::{MAX_PARTS, Parts, Piece, Reassembly, SEGMENT_BYTES};
use netcode::error::SendError;

use super::net::Net;
use super::{Feature, LENGTHS, LIMITS, reach};
use crate::feature::bucket;
use crate::program::{Program, Script};

/// A hostile sender: a number is delivered once, put together from the first of each of its parts that was taken.
pub fn hostile(program: &mut Program<'_>) {
    let choice = program.u8();
    let limit = LIMITS[usize::from(choice & 7)];
    let max = [0, 1024, 1025, 2048, 5000, MAX_UNRELIABLE][usize::from(choice >> 3) % 6];
    let mut half = Reassembly::new(limit);
    let mut newest = 0u64;
    let mut delivered = BTreeSet::new();
    while !program.is_empty() {
        let (op, distance, at) = (program.u8(), program.u8() as i8, program.u8());
        let distance = i64::from(distance) * if op & 0xf0 == 0xf0 { 250 } else { 1 };
        let Some(id) = newest.checked_add_signed(distance) else { continue };
        // Up to 15, which the wire cannot say.
        let (index, last) = (at & 15, at >> 4);
        let bytes = vec![id as u8 ^ index; LENGTHS[usize::from(op & 7)]];
        let before = (half.bytes(), half.given_up());
        let mut whole = None;
        let result = half.accept(id as u16, index, last, &bytes, max, |message| {
            assert!(whole.replace(message.to_vec()).is_none(), "two messages from one part");
        });
        assert!(half.bytes() <= quota(limit), "more is held than the quota");
        if result.is_err() {
            reach(Feature::PartRefused);
            assert_eq!((half.bytes(), half.given_up(), whole), (before.0, before.1, None), "an error changes nothing");
            continue;
        }
        reach(Feature::PartTaken);
        newest = newest.max(id);
        if half.given_up() > before.1 {
            reach(Feature::GivenUp);
        }
        if let Some(message) = whole {
            reach(Feature::PartsWhole);
            assert!(message.len() <= max && message.len() > usize::from(last) * SEGMENT_BYTES);
            assert!(newest - id < 64 && delivered.insert(id), "message {id} is delivered twice, or too late");
            for (index, part) in message.chunks(SEGMENT_BYTES).enumerate() {
                assert!(part.iter().all(|byte| *byte == id as u8 ^ index as u8), "not the part that was sent");
            }
        }
        bucket(2 << 32 | u64::from(at) << 8 | (half.bytes() as u64 / 1100).min(31));
    }
}

/// A piece on the wire.
#[derive(Clone)]
enum Frame {
    Whole(Vec<u8>),
    Part { id: u16, index: u8, last: u8, bytes: Vec<u8> },
}

impl From<Piece<'_>> for Frame {
    fn from(piece: Piece<'_>) -> Self {
        match piece {
            Piece::Whole(bytes) => Self::Whole(bytes.to_vec()),
            Piece::Part { id, index, last, bytes } => Self::Part { id, index, last, bytes: bytes.to_vec() },
        }
    }
}

struct Link {
    parts: Parts,
    reassembly: Reassembly,
    limit: usize,
    overflow: Overflow,
    net: Net<Frame>,
    /// By their tag: messages that were sent and did not arrive.
    open: BTreeMap<u32, usize>,
    sent: u32,
    queued: usize,
}

pub fn honest(program: &mut Program<'_>) {
    let choice = program.u8();
    let limit = LIMITS[usize::from(choice & 7)];
    let mut link = Link {
        parts: Parts::new(limit),
        reassembly: Reassembly::new(limit),
        limit,
        overflow: if choice & 8 == 0 { Overflow::Refuse } else { Overflow::DropOldest },
        net: Net::new(false),
        open: BTreeMap::new(),
        sent: 0,
        queued: 0,
    };
    while !program.is_empty() {
        let (op, operand) = (program.u8(), program.u8());
        bucket(3 << 32 | u64::from(op % 8) | (link.net.len() as u64).min(15) << 8);
        match op % 8 {
            0 => link.push(usize::from(operand)),
            1 => link.push(usize::from(operand) * 33),
            2 | 3 => link.carry(1 + operand % 8),
            4 | 5 => {
                let frames = link.net.deliver(operand);
                link.take(frames);
            }
            6 => {
                let frames = link.net.haunt(operand);
                link.take(frames);
            }
            _ => _ = link.net.settle(operand, op & 8 != 0),
        }
        assert!(link.parts.bytes() <= limit && link.parts.queued() <= MAX_WAITING);
        assert!(link.reassembly.bytes() <= quota(limit), "more is held than the quota");
    }
    link.heal();
}

impl Link {
    /// A message of at least four bytes, its tag.
    fn push(&mut self, len: usize) {
        let len = len.max(4);
        let mut message = vec![self.sent as u8; len];
        message[..4].copy_from_slice(&self.sent.to_le_bytes());
        match self.parts.push(&message, self.overflow) {
            Ok(dropped) => {
                reach(Feature::Sent);
                if dropped > 0 {
                    reach(Feature::Dropped);
                    assert_eq!(self.overflow, Overflow::DropOldest);
                }
                self.open.insert(self.sent, len);
                self.sent += 1;
                self.queued += 1;
                self.queued -= dropped as usize;
            }
            Err(SendError::Full { free }) => {
                reach(Feature::FullQueue);
                assert!(self.overflow == Overflow::Refuse && free < len);
            }
            Err(SendError::TooLong { limit }) => assert!(len > limit && limit == self.limit.min(MAX_UNRELIABLE)),
            Err(error) => panic!("a push cannot fail with {error:?}"),
        }
        assert_eq!(self.parts.queued(), self.queued);
    }

    fn carry(&mut self, most: u8) {
        let mut frames = Vec::new();
        for _ in 0..most {
            let due = self.parts.next_due_bytes();
            let taken = self.parts.carry(|piece| {
                let (Piece::Whole(bytes) | Piece::Part { bytes, .. }) = piece;
                assert!(due == Some(bytes.len()) && bytes.len() <= SEGMENT_BYTES);
                frames.push(Frame::from(piece));
                true
            });
            if !taken {
                break;
            }
        }
        self.queued = self.parts.queued();
        self.net.send(Vec::new(), frames);
    }

    fn take(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            let open = &mut self.open;
            let mut arrived = |message: &[u8]| {
                let tag = u32::from_le_bytes(message[..4].try_into().expect("four bytes"));
                assert_eq!(open.remove(&tag), Some(message.len()), "delivered twice, or never sent");
                assert!(message[4..].iter().all(|byte| *byte == tag as u8), "mixed with another");
            };
            match frame {
                Frame::Whole(message) => arrived(&message),
                Frame::Part { id, index, last, bytes } => {
                    assert!(usize::from(last) < MAX_PARTS);
                    let taken = self.reassembly.accept(id, index, last, &bytes, MAX_UNRELIABLE, arrived);
                    assert_eq!(taken, Ok(()), "an honest sender is refused");
                }
            }
        }
    }

    /// Without any more faults what is still queued arrives, and a last message after it.
    fn heal(&mut self) {
        let before = self.sent;
        while self.parts.has_due() {
            self.flush();
        }
        self.push(self.limit.min(MAX_UNRELIABLE));
        self.flush();
        if self.sent > before {
            reach(Feature::Arrived);
            assert!(!self.open.contains_key(&before), "the last message did not arrive");
        }
        assert_eq!((self.parts.bytes(), self.parts.queued()), (0, 0));
    }

    fn flush(&mut self) {
        while self.net.len() > 0 {
            self.net.settle(0, false);
        }
        self.carry(8);
        let frames = self.net.deliver(0);
        self.take(frames);
    }
}

pub fn seeds(scripts: &mut Vec<Script>) {
    let hostile = |limit: u8, max: u8| Script::default().u8(2).u8(limit | max << 3);
    let step = |script: Script, op: u8, distance: i8, index: u8, last: u8| {
        script.u8(op).u8(distance as u8).u8(index | last << 4)
    };
    // In order, backwards, doubled, at odds, too long, too late.
    scripts.push((0..8).fold(hostile(6, 5), |script, at| step(script, 5, 0, at, 7)));
    scripts.push((0..3).rev().fold(hostile(6, 5), |script, at| step(script, if at == 2 { 1 } else { 5 }, 0, at, 2)));
    scripts.push(step(step(step(hostile(6, 5), 5, 1, 0, 1), 5, 0, 0, 1), 5, 0, 1, 2));
    scripts.push(step(step(step(hostile(6, 2), 5, 0, 0, 7), 7, 0, 0, 1), 3, 0, 0, 1));
    scripts.push((0..12).fold(hostile(7, 5), |script, _| step(script, 5, 1, 0, 1)));
    scripts.push((0..6).fold(hostile(3, 5), |script, at| step(script, 5, at, 0, 3)));
    scripts.push(step(step(step(hostile(6, 5), 0xf5, 100, 0, 1), 5, -70, 0, 1), 5, -3, 9, 9));
    let honest = |limit: u8| Script::default().u8(6).u8(limit);
    scripts.push((0..8).fold(honest(6), |script, at| script.bytes(&[1, at * 35, 2, 7, 4, 0, 15, 0])));
    scripts.push((0..9).fold(honest(6), |script, at| script.bytes(&[1, 200, 0, at, 2, 1, 2, 9, 4, at, 7, at, 6, 0])));
    scripts.push((0..8).fold(honest(5), |script, _| script.bytes(&[1, 130])).bytes(&[2, 1, 4, 0]));
    scripts.push((0..8).fold(honest(5 | 8), |script, _| script.bytes(&[1, 130, 2, 0])).bytes(&[2, 1, 4, 0, 4, 1]));
}
