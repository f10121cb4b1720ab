//! Block transfers.

use std::collections::BTreeMap;
use std::sync::Arc;

use netcode::delivery::blocks::{MAX_WAITING, quota, window};
use netcode::delivery::{BlockEvent, BlockFrame, Blocks, MAX_BLOCK, SEGMENT_BYTES};
use netcode::error::SendError;

use super::net::Net;
use super::{Feature, LENGTHS, LIMITS, reach};
use crate::feature::bucket;
use crate::program::{Program, Script};

/// Limits at which windows are small enough for an input to fill.
const QUEUES: [u32; 4] = [0, 4096, 8192, 20_000];

/// What the owner of a receiving half knows: at most one block at a time, each later than the last.
#[derive(Default)]
struct Incoming {
    current: Option<(u64, u32, u32)>,
    next: u64,
    content: Vec<u8>,
}

/// How a block that came in has ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Received(u64, Vec<u8>),
    Stopped(u64),
}

impl Incoming {
    fn event(&mut self, event: BlockEvent<'_>) -> Option<End> {
        match event {
            BlockEvent::Started { id, total } => {
                reach(Feature::BlockStarted);
                assert!(self.current.is_none() && id >= self.next && total >= 1 && total as usize <= MAX_BLOCK);
                self.current = Some((id, total, 0));
                self.next = id + 1;
                self.content.clear();
                None
            }
            BlockEvent::Data { id, offset, bytes } => {
                let Some((current, total, at)) = &mut self.current else { panic!("bytes of no block") };
                assert_eq!((id, offset), (*current, *at), "bytes follow one another");
                *at += bytes.len() as u32;
                assert!(*at <= *total && !bytes.is_empty());
                self.content.extend_from_slice(bytes);
                None
            }
            BlockEvent::Received { id } => {
                reach(Feature::BlockReceived);
                let (current, total, at) = self.current.take().expect("a block was begun");
                assert!(current == id && total == at, "not all of the block came");
                Some(End::Received(id, std::mem::take(&mut self.content)))
            }
            BlockEvent::Stopped { id } => {
                reach(Feature::BlockStopped);
                assert_eq!(self.current.take().map(|current| current.0), Some(id));
                Some(End::Stopped(id))
            }
            other => panic!("{other:?} is not of an incoming block"),
        }
    }

    fn cancelled(&mut self, cancelled: Option<u64>) {
        assert_eq!(self.current.take().map(|current| current.0), cancelled);
    }
}

/// The events of the outgoing blocks: each ends once, progress grows.
#[derive(Default)]
struct Outgoing {
    open: BTreeMap<u64, u32>,
}

impl Outgoing {
    fn event(&mut self, event: BlockEvent<'_>) -> Option<u64> {
        match event {
            BlockEvent::Progress { id, acked, total } => {
                reach(Feature::BlockProgress);
                let before = self.open.get_mut(&id).expect("progress of a block on its way");
                assert!(acked > *before && acked <= total);
                *before = acked;
                None
            }
            BlockEvent::Sent { id } => {
                reach(Feature::BlockSent);
                assert!(self.open.remove(&id).is_some(), "sent twice");
                Some(id)
            }
            BlockEvent::Refused { id } => {
                reach(Feature::BlockTurnedDown);
                assert!(self.open.remove(&id).is_some(), "refused after its end");
                None
            }
            other => panic!("{other:?} is not of an outgoing block"),
        }
    }
}

fn is_outgoing(event: BlockEvent<'_>) -> bool {
    matches!(event, BlockEvent::Progress { .. } | BlockEvent::Sent { .. } | BlockEvent::Refused { .. })
}

pub fn hostile(program: &mut Program<'_>) {
    let choice = program.u8();
    let queue = if choice & 8 == 0 { QUEUES[usize::from(choice & 3)] } else { LIMITS[usize::from(choice & 7)] as u32 };
    let mut half = Blocks::new(queue);
    let (mut incoming, mut outgoing) = (Incoming::default(), Outgoing::default());
    let mut carried = Vec::new();
    for len in [9000, 1, 40_000].iter().take(usize::from(choice >> 4 & 3)) {
        let id = half.start(vec![1; *len].into()).expect("there is room");
        outgoing.open.insert(id, 0);
    }
    while !program.is_empty() {
        let (op, id, number) = (program.u8(), u16::from(program.u8()), program.u8());
        let near = incoming.next.saturating_sub(1).wrapping_add(u64::from(id & 7)).wrapping_sub(3) as u16;
        let id = if id & 0x80 == 0 { near } else { id << 9 };
        let bytes = vec![number; LENGTHS[usize::from(op >> 4 & 7)]];
        let frame = match op % 16 {
            0 => BlockFrame::Credit { id: u16::from(number >> 6), limit: u16::from(number & 63) },
            1 => BlockFrame::Credit { id, limit: u16::from(number) << 7 },
            2 => BlockFrame::Cancel { id: u16::from(number & 7), by_sender: false },
            3 => BlockFrame::Cancel { id, by_sender: true },
            4 => {
                incoming.cancelled(half.cancel_incoming());
                continue;
            }
            5 => {
                reach(Feature::BlockPaused);
                half.pause(number & 1 == 0);
                continue;
            }
            6 => {
                let id = u64::from(number & 3);
                assert_eq!(half.cancel_outgoing(id), outgoing.open.remove(&id).is_some());
                continue;
            }
            7 => {
                let took = half.carry(|frame| !matches!(frame, BlockFrame::Chunk { .. }) || number & 1 == 0);
                carried.extend(took);
                continue;
            }
            8 => {
                half.on_probe();
                continue;
            }
            9 if !carried.is_empty() => {
                let item = carried.swap_remove(usize::from(number >> 1) % carried.len());
                if number & 1 == 0 {
                    half.on_lost(item);
                } else {
                    half.on_acked(item, |event| _ = outgoing.event(event));
                }
                continue;
            }
            at => {
                let total = [1, 1000, 1024, 1025, 9000, 1 << 24][usize::from(at - 9) % 6];
                let index = if id & 1 == 0 { u16::from(number & 31) } else { u16::from(number) * 67 };
                BlockFrame::Chunk { id, total: total + u32::from(op >> 7), index, bytes: &bytes }
            }
        };
        let (before, mut events) = (half.held_bytes(), 0);
        let result = half.accept(frame, |event| {
            events += 1;
            if is_outgoing(event) {
                outgoing.event(event);
            } else {
                incoming.event(event);
            }
        });
        if result.is_err() {
            reach(Feature::BlockRefused);
            assert_eq!((events, half.held_bytes()), (0, before), "an error changes nothing");
        }
        if half.held_bytes() > 0 {
            reach(Feature::BlockHeld);
        }
        assert!(half.held_bytes() <= quota(queue), "more is held than the quota");
        bucket(
            4 << 32
                | u64::from(op % 16) << 8
                | u64::from(result.is_ok()) << 7
                | (half.held_bytes() as u64 / 1100).min(63),
        );
    }
}

/// A frame on the wire.
#[derive(Clone)]
enum Frame {
    Chunk { id: u16, total: u32, index: u16, bytes: Vec<u8> },
    Credit { id: u16, limit: u16 },
    Cancel { id: u16, by_sender: bool },
}

impl From<BlockFrame<'_>> for Frame {
    fn from(frame: BlockFrame<'_>) -> Self {
        match frame {
            BlockFrame::Chunk { id, total, index, bytes } => Self::Chunk { id, total, index, bytes: bytes.to_vec() },
            BlockFrame::Credit { id, limit } => Self::Credit { id, limit },
            BlockFrame::Cancel { id, by_sender } => Self::Cancel { id, by_sender },
        }
    }
}

impl Frame {
    fn borrowed(&self) -> BlockFrame<'_> {
        match *self {
            Self::Chunk { id, total, index, ref bytes } => BlockFrame::Chunk { id, total, index, bytes },
            Self::Credit { id, limit } => BlockFrame::Credit { id, limit },
            Self::Cancel { id, by_sender } => BlockFrame::Cancel { id, by_sender },
        }
    }
}

/// One end: its halves, what its owner knows, and its packets on their way.
struct Side {
    half: Blocks,
    incoming: Incoming,
    outgoing: Outgoing,
    net: Net<Frame>,
    /// Every block that was started here.
    started: BTreeMap<u64, Arc<[u8]>>,
    /// Blocks that came in whole.
    received: Vec<u64>,
    /// Blocks that this side's receiver cancelled.
    turned_down: Vec<u64>,
}

struct Pair {
    ends: [Side; 2],
    queue: u32,
}

pub fn honest(program: &mut Program<'_>) {
    let queue = QUEUES[usize::from(program.u8() & 3)];
    let end = || Side {
        half: Blocks::new(queue),
        incoming: Incoming::default(),
        outgoing: Outgoing::default(),
        net: Net::new(true),
        started: BTreeMap::new(),
        received: Vec::new(),
        turned_down: Vec::new(),
    };
    let mut pair = Pair { ends: [end(), end()], queue };
    while !program.is_empty() {
        let (op, operand) = (program.u8(), program.u8());
        let side = usize::from(op >> 7);
        bucket(5 << 32 | u64::from(op % 16) | (pair.ends[side].net.len() as u64).min(15) << 8);
        match op % 16 {
            0 => pair.ends[side].start(1 + usize::from(operand) * 150),
            1..=4 => pair.ends[side].carry(1 + operand % 16),
            5..=8 => pair.deliver(side, operand),
            9 => pair.haunt(side, operand),
            10 | 11 => pair.ends[side].settle(operand, true),
            12 => pair.ends[side].settle(operand, false),
            13 => {
                reach(Feature::Probe);
                pair.ends[side].half.on_probe();
            }
            14 => pair.ends[side].cancel(operand),
            _ => {
                reach(Feature::BlockPaused);
                pair.ends[side].half.pause(operand & 1 == 0);
            }
        }
        for end in &pair.ends {
            assert!(end.half.held_bytes() <= quota(pair.queue), "more is held than the quota");
        }
    }
    pair.heal();
}

impl Side {
    fn start(&mut self, len: usize) {
        let tag = self.started.len() as u8;
        let bytes: Arc<[u8]> = (0..len).map(|at| (at / 100) as u8 ^ tag.wrapping_mul(37)).collect();
        match self.half.start(bytes.clone()) {
            Ok(id) => {
                reach(Feature::Sent);
                assert!(self.started.insert(id, bytes).is_none(), "a number twice");
                self.outgoing.open.insert(id, 0);
            }
            Err(SendError::Full { .. }) => {
                reach(Feature::FullQueue);
                assert_eq!(self.outgoing.open.len(), 1 + MAX_WAITING);
            }
            Err(error) => panic!("a block cannot be refused for {error:?}"),
        }
    }

    fn cancel(&mut self, operand: u8) {
        if operand & 1 == 0 {
            let cancelled = self.half.cancel_incoming();
            self.incoming.cancelled(cancelled);
            self.turned_down.extend(cancelled);
        } else {
            let which = usize::from(operand >> 1) % self.outgoing.open.len().max(1);
            if let Some(id) = self.outgoing.open.keys().copied().nth(which) {
                assert!(self.half.cancel_outgoing(id));
                self.outgoing.open.remove(&id);
            }
        }
    }

    fn carry(&mut self, most: u8) {
        let (mut items, mut frames) = (Vec::new(), Vec::new());
        for _ in 0..most {
            let due = self.half.next_due_bytes();
            assert_eq!(due.is_some(), self.half.has_due());
            let item = self.half.carry(|frame| {
                let len = if let BlockFrame::Chunk { bytes, .. } = frame { bytes.len() } else { 0 };
                assert!(due == Some(len) && len <= SEGMENT_BYTES);
                frames.push(Frame::from(frame));
                true
            });
            assert_eq!(item.is_some(), due.is_some());
            items.extend(item);
        }
        self.net.send(items, frames);
    }

    fn settle(&mut self, which: u8, acked: bool) {
        for item in self.net.settle(which, acked) {
            if acked {
                self.half.on_acked(item, |event| assert!(self.outgoing.event(event).is_none(), "an ack ends no block"));
            } else {
                self.half.on_lost(item);
            }
        }
    }
}

impl Pair {
    fn deliver(&mut self, side: usize, which: u8) {
        let frames = self.ends[side].net.deliver(which);
        self.take(side, frames);
    }

    fn haunt(&mut self, side: usize, which: u8) {
        let frames = self.ends[side].net.haunt(which);
        self.take(side, frames);
    }

    /// What one side sent arrives at the other.
    fn take(&mut self, side: usize, frames: Vec<Frame>) {
        let [left, right] = &mut self.ends;
        let (from, to) = if side == 0 { (left, right) } else { (right, left) };
        for frame in frames {
            let Side { half, incoming, outgoing, received, .. } = to;
            let taken = half.accept(frame.borrowed(), |event| {
                if is_outgoing(event) {
                    if let Some(id) = outgoing.event(event) {
                        assert!(from.received.contains(&id), "block {id} counts as sent and was not received");
                    }
                } else if let Some(End::Received(id, content)) = incoming.event(event) {
                    assert!(!received.contains(&id), "received twice");
                    assert_eq!(from.started.get(&id).map(|bytes| **bytes == *content), Some(true), "other bytes");
                    received.push(id);
                }
            });
            assert_eq!(taken, Ok(()), "an honest sender is refused");
        }
    }

    /// Without any more faults every block that nobody cancelled arrives, and both sides know it.
    fn heal(&mut self) {
        for end in &mut self.ends {
            end.half.pause(false);
            while end.net.len() > 0 {
                end.settle(0, false);
            }
            end.half.on_probe();
        }
        for turn in 0.. {
            assert!(turn < 2000, "the blocks never end");
            if self.ends.iter().all(|end| end.half.is_idle()) {
                break;
            }
            for side in [0, 1] {
                if turn % 16 == 15 {
                    self.ends[side].half.on_probe();
                }
                self.ends[side].carry(u8::from(window(self.queue) > 0) * 16);
                self.deliver(side, 0);
                self.ends[side].settle(0, true);
            }
        }
        for end in &self.ends {
            assert!(end.outgoing.open.is_empty() && end.incoming.current.is_none(), "not all ended");
            assert_eq!((end.half.held_bytes(), end.half.queued_bytes()), (0, 0));
            if !end.received.is_empty() {
                reach(Feature::Arrived);
            }
        }
    }
}

pub fn seeds(scripts: &mut Vec<Script>) {
    let hostile = |choice: u8| Script::default().u8(3).u8(choice);
    let chunk =
        |script: Script, id: u8, number: u8, total: u8, len: u8| script.u8((9 + total) | (len << 4)).u8(id).u8(number);
    // The first block has number 0: near id 3 + 0.
    scripts.push(chunk(hostile(1), 3, 0, 2, 5).u8(7).u8(0).u8(0));
    scripts.push((0..6).rev().fold(hostile(1), |script, at| chunk(script, 3, at, 4, 5)));
    scripts
        .push(chunk(chunk(chunk(hostile(1), 3, 1, 4, 5), 5, 0, 1, 1), 7, 0, 3, 5).u8(4).u8(0).u8(0).u8(5).u8(0).u8(0));
    scripts.push(chunk(hostile(2), 3, 1, 4, 5).u8(3).u8(4).u8(0).u8(3).u8(0x90).u8(0));
    let answers = [7, 0, 0, 0, 0, 9, 2, 0, 0, 7, 0, 0, 7, 0, 2, 9, 0, 1, 9, 0, 0, 8, 0, 0, 6, 0, 1];
    scripts.push(hostile(1 | 3 << 4).bytes(&answers));
    scripts.push(hostile(1 | 1 << 4).bytes(&[7, 0, 0, 1, 0x80, 200, 0, 0, 63, 2, 0, 9, 2, 0, 0]));
    scripts.push((0..31).fold(hostile(9), |script, at| chunk(script, 3, at + 1, 5, 5)));
    let honest = |queue: u8| Script::default().u8(7).u8(queue);
    let good = |script: Script| script.bytes(&[1, 15, 5, 0, 10, 0, 0x81, 3, 0x85, 0, 0x8a, 0]);
    scripts.push((0..8).fold(honest(1).bytes(&[0, 200]), |script, _| good(script)));
    scripts.push((0..6).fold(honest(3).bytes(&[0, 9, 0, 100, 0x80, 50, 0, 1, 0, 2, 0, 3]), |script, _| good(script)));
    let bad = |script: Script, at: u8| {
        script.bytes(&[1, 3, 1, 2, 12, at, 9, 0, 5, at, 5, at, 10, 1, 0x81, 3, 0x8c, 0, 13, 0])
    };
    scripts.push((0..10).fold(honest(1).bytes(&[0, 200, 0, 20]), bad));
    scripts.push(good(good(honest(1).bytes(&[0, 200, 0, 20]))).bytes(&[0x8e, 0, 0x81, 1, 0x85, 0]));
    scripts.push(good(good(honest(1).bytes(&[0, 200, 0, 20]))).bytes(&[14, 1, 1, 1, 5, 0]));
    scripts.push(good(good(honest(1).bytes(&[0x8f, 0, 0, 200]))).bytes(&[0x8f, 1]));
}
