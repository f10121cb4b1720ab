//! One channel's two halves at one end, behind one face whatever the channel's kind.

use core::time::Duration;
use std::sync::Arc;

use super::manifest::Item;
use crate::bits::BitWriter;
use crate::channel::{Channel, Kind};
use crate::delivery::{BlockFrame, Blocks, Ordered, Outbox, Parts, Piece, Reassembly, SEGMENT_BYTES, Unordered};
use crate::error::SendError;
use crate::frame::{self, Head, Malformed};
use crate::inbox::Inbox;
use crate::packet::ConnId;
use crate::time::Time;

/// A message of at least this size is not kept waiting for another packet to ride in.
const BULK_BYTES: usize = 512;

#[derive(Debug)]
enum Halves {
    Unreliable { parts: Parts, reassembly: Reassembly },
    Sequenced { staged: Vec<u8>, waiting: bool, newest: Option<u64> },
    Snapshot { newest: Option<u64> },
    Ordered { outbox: Outbox, inbound: Ordered },
    Unordered { outbox: Outbox, inbound: Unordered },
    Block(Box<Blocks>),
}

/// Where a frame's content goes.
pub(super) struct Delivery<'a> {
    pub(super) conn: ConnId,
    pub(super) channel: u8,
    pub(super) pn: u64,
    pub(super) tick: Option<u64>,
    pub(super) inbox: &'a mut Inbox,
}

/// A channel's two halves.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) channel: Channel,
    halves: Halves,
    /// Messages that made room for newer ones.
    pub(super) dropped: u64,
}

impl Lane {
    pub(super) fn new(channel: &Channel) -> Self {
        let limit = channel.queue_bytes as usize;
        let halves = match channel.kind {
            Kind::Unreliable => Halves::Unreliable { parts: Parts::new(limit), reassembly: Reassembly::new(limit) },
            Kind::Sequenced => Halves::Sequenced { staged: Vec::new(), waiting: false, newest: None },
            Kind::Snapshot => Halves::Snapshot { newest: None },
            Kind::ReliableOrdered => Halves::Ordered { outbox: Outbox::new(limit), inbound: Ordered::new(limit) },
            Kind::ReliableUnordered => Halves::Unordered { outbox: Outbox::new(limit), inbound: Unordered::new(limit) },
            Kind::Block => Halves::Block(Box::new(Blocks::new(channel.queue_bytes))),
        };
        Self { channel: *channel, halves, dropped: 0 }
    }

    /// Queues a message; on a sequenced channel it replaces one that still waits. Returns whether it should not wait
    /// for a ride.
    pub(super) fn send(&mut self, number: u8, message: &[u8]) -> Result<bool, SendError> {
        let limit = self.channel.max_message as usize;
        if matches!(self.halves, Halves::Snapshot { .. } | Halves::Block(_)) {
            return Err(SendError::NoSuchChannel(number));
        }
        if message.len() > limit {
            return Err(SendError::TooLong { limit });
        }
        match &mut self.halves {
            Halves::Unreliable { parts, .. } => self.dropped += parts.push(message, self.channel.overflow)?,
            Halves::Sequenced { staged, waiting, .. } => {
                staged.clear();
                staged.extend_from_slice(message);
                self.dropped += u64::from(core::mem::replace(waiting, true));
            }
            Halves::Ordered { outbox, .. } | Halves::Unordered { outbox, .. } => outbox.push(message)?,
            Halves::Snapshot { .. } | Halves::Block(_) => {}
        }
        Ok(message.len() >= BULK_BYTES)
    }

    pub(super) fn start_block(&mut self, number: u8, bytes: Arc<[u8]>) -> Result<u64, SendError> {
        let limit = self.channel.max_message as usize;
        let blocks = self.blocks(number)?;
        if bytes.len() > limit {
            return Err(SendError::TooLong { limit });
        }
        blocks.start(bytes)
    }

    pub(super) fn blocks(&mut self, number: u8) -> Result<&mut Blocks, SendError> {
        if let Halves::Block(blocks) = &mut self.halves { Ok(blocks) } else { Err(SendError::NoSuchChannel(number)) }
    }

    /// Whether it must not wait for the rate: the newest state is small, and worth nothing later.
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self.halves, Halves::Sequenced { waiting: true, .. })
    }

    /// Payload bytes of what it would send next; `bulk`: a block's chunks count as well.
    pub(super) fn due_bytes(&self, bulk: bool) -> Option<usize> {
        match &self.halves {
            Halves::Unreliable { parts, .. } => parts.next_due_bytes(),
            Halves::Sequenced { staged, waiting, .. } => waiting.then_some(staged.len()),
            Halves::Snapshot { .. } => None,
            Halves::Ordered { outbox, .. } | Halves::Unordered { outbox, .. } => outbox.next_due_bytes(),
            // Credits and cancels have no payload and are small; chunks come after everything else.
            Halves::Block(blocks) => blocks.next_due_bytes().filter(|bytes| bulk || *bytes == 0),
        }
    }

    /// Puts the next due frame into the packet. `None`: nothing was written; `Some(None)`: nothing must be remembered.
    pub(super) fn carry(&mut self, now: Time, number: u8, w: &mut BitWriter<'_>) -> Option<Option<Item>> {
        let kind = self.channel.kind;
        let mut write = |head: Head, payload: &[u8]| frame::write_message(w, number, kind, head, payload);
        let name = match &mut self.halves {
            Halves::Unreliable { parts, .. } => {
                let written = parts.carry(|piece| {
                    let head = Head::from(&piece);
                    match piece {
                        Piece::Whole(bytes) | Piece::Part { bytes, .. } => write(head, bytes),
                    }
                });
                return written.then_some(None);
            }
            Halves::Sequenced { staged, waiting, .. } => {
                *waiting = !write(Head::Whole, staged);
                return (!*waiting).then_some(None);
            }
            Halves::Snapshot { .. } => return None,
            Halves::Ordered { outbox, .. } | Halves::Unordered { outbox, .. } => {
                outbox.carry(now, |segment| write(Head::from(&segment), segment.bytes))?
            }
            Halves::Block(blocks) => blocks.carry(now, |frame| {
                let head = Head::from(&frame);
                let payload = if let BlockFrame::Chunk { bytes, .. } = frame { bytes } else { &[] };
                write(head, payload)
            })?,
        };
        Some(Some(Item { channel: number, name }))
    }

    /// Puts a small segment that is still in flight, and was sent `age` ago or earlier, into the packet once more.
    pub(super) fn repeat(&mut self, now: Time, age: Duration, number: u8, w: &mut BitWriter<'_>) -> Option<Item> {
        let kind = self.channel.kind;
        let (Halves::Ordered { outbox, .. } | Halves::Unordered { outbox, .. }) = &mut self.halves else { return None };
        let write = |segment: crate::delivery::Segment<'_>| {
            frame::write_message(w, number, kind, Head::from(&segment), segment.bytes)
        };
        let name = outbox.repeat(now, age, write)?;
        Some(Item { channel: number, name })
    }

    /// A packet that carried `name` was acknowledged, or is given up.
    pub(super) fn settle(&mut self, name: u64, acked: bool, conn: ConnId, number: u8, inbox: &mut Inbox) {
        match &mut self.halves {
            Halves::Ordered { outbox, .. } | Halves::Unordered { outbox, .. } => {
                if acked {
                    outbox.on_acked(name);
                } else {
                    outbox.on_lost(name);
                }
            }
            Halves::Block(blocks) => {
                if acked {
                    blocks.on_acked(name, |event| inbox.block(conn, number, event));
                } else {
                    blocks.on_lost(name);
                }
            }
            Halves::Unreliable { .. } | Halves::Sequenced { .. } | Halves::Snapshot { .. } => {}
        }
    }

    /// The peer is silent: some of what is unacknowledged is due again.
    pub(super) fn on_probe(&mut self) {
        match &mut self.halves {
            Halves::Ordered { outbox, .. } | Halves::Unordered { outbox, .. } => outbox.on_probe(),
            Halves::Block(blocks) => blocks.on_probe(),
            Halves::Unreliable { .. } | Halves::Sequenced { .. } | Halves::Snapshot { .. } => {}
        }
    }

    /// When the first of the segments or chunks was sent that [`Self::repeat_tail`] makes due.
    pub(super) fn tail_sent(&self) -> Option<Time> {
        match &self.halves {
            Halves::Ordered { outbox, .. } | Halves::Unordered { outbox, .. } => outbox.tail_sent(),
            Halves::Block(blocks) => blocks.tail_sent(),
            Halves::Unreliable { .. } | Halves::Sequenced { .. } | Halves::Snapshot { .. } => None,
        }
    }

    /// Nothing else waits: what was sent at `sent` or before and is unanswered is due again, once.
    pub(super) fn repeat_tail(&mut self, sent: Time) {
        match &mut self.halves {
            Halves::Ordered { outbox, .. } | Halves::Unordered { outbox, .. } => outbox.repeat_tail(sent),
            Halves::Block(blocks) => blocks.repeat_tail(sent),
            Halves::Unreliable { .. } | Halves::Sequenced { .. } | Halves::Snapshot { .. } => {}
        }
    }

    /// Takes a frame of this channel.
    ///
    /// # Errors
    /// [`Malformed`] for what no honest sender sends.
    pub(super) fn accept(&mut self, head: Head, body: &[u8], to: Delivery<'_>) -> Result<(), Malformed> {
        let Delivery { conn, channel, pn, tick, inbox } = to;
        let max = self.channel.max_message as usize;
        let deliver = |inbox: &mut Inbox, bytes: &[u8]| inbox.message(conn, channel, tick, bytes);
        match (&mut self.halves, head) {
            (Halves::Unreliable { .. }, Head::Whole) => deliver(inbox, body),
            (Halves::Unreliable { reassembly, .. }, Head::Part { id, index, last }) => {
                let taken = reassembly.accept(id, index, last, body, max, |bytes| deliver(inbox, bytes));
                taken.map_err(|_| Malformed)?;
            }
            (Halves::Sequenced { newest, .. }, Head::Whole) => {
                if newest.is_none_or(|newest| pn > newest) {
                    *newest = Some(pn);
                    deliver(inbox, body);
                }
            }
            (Halves::Ordered { inbound, .. }, Head::Segment { number, first, last }) => {
                let taken = inbound.accept(number, first, last, body, max, |bytes| deliver(inbox, bytes));
                taken.map_err(|_| Malformed)?;
            }
            (Halves::Unordered { inbound, .. }, Head::Segment { number, first, last }) => {
                let taken = inbound.accept(number, first, last, body, max, |bytes| deliver(inbox, bytes));
                taken.map_err(|_| Malformed)?;
            }
            (Halves::Block(blocks), head) => {
                let frame = match head {
                    Head::Chunk { id, total, index } => BlockFrame::Chunk { id, total, index, bytes: body },
                    Head::Credit { id, limit } => BlockFrame::Credit { id, limit },
                    Head::Cancel { id, by_sender } => BlockFrame::Cancel { id, by_sender },
                    Head::Whole | Head::Part { .. } | Head::Segment { .. } => return Err(Malformed),
                };
                if matches!(frame, BlockFrame::Chunk { total, .. } if total as usize > max) {
                    return Err(Malformed);
                }
                blocks.accept(frame, |event| inbox.block(conn, channel, event)).map_err(|_| Malformed)?;
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// Takes the snapshot of packet `pn`, unless it is late.
    pub(super) fn take_snapshot(&mut self, pn: u64) {
        if let Halves::Snapshot { newest } = &mut self.halves {
            *newest = Some(pn);
        }
    }

    /// Whether a newer snapshot than that of packet `pn` was taken.
    pub(super) fn is_late_snapshot(&self, pn: u64) -> bool {
        matches!(self.halves, Halves::Snapshot { newest: Some(newest) } if pn < newest)
    }

    /// What waits to be sent or acknowledged: bytes, and messages or segments or chunks of them.
    pub(super) fn queued(&self) -> (usize, usize) {
        match &self.halves {
            Halves::Unreliable { parts, .. } => (parts.bytes(), parts.queued()),
            Halves::Sequenced { staged, waiting, .. } => {
                (if *waiting { staged.len() } else { 0 }, usize::from(*waiting))
            }
            Halves::Snapshot { .. } => (0, 0),
            Halves::Ordered { outbox, .. } | Halves::Unordered { outbox, .. } => (outbox.bytes(), outbox.queued()),
            Halves::Block(blocks) => (blocks.queued_bytes(), blocks.queued_bytes().div_ceil(SEGMENT_BYTES)),
        }
    }

    /// Bytes really held of what arrived: out of order, or in parts.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.halves {
            Halves::Unreliable { reassembly, .. } => reassembly.bytes(),
            Halves::Sequenced { .. } | Halves::Snapshot { .. } => 0,
            Halves::Ordered { inbound, .. } => inbound.bytes(),
            Halves::Unordered { inbound, .. } => inbound.bytes(),
            Halves::Block(blocks) => blocks.held_bytes(),
        }
    }
}
