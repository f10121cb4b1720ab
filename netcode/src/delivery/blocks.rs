//! Block transfers: large, one at a time each way, under the receiver's credit.
//!
//! A block is cut into chunks of [`SEGMENT_BYTES`]. The sender may send a chunk when its index lies
//! below the credit, which starts at the window (the channel's `queue_bytes` in chunks, known to both ends) and is raised
//! to `delivered + window` each time that this gained a quarter of the window, and once more when all is delivered. That
//! last credit, the block's chunks + window, tells the sender that the block is there: acknowledged chunks alone do not,
//! since the receiver acknowledges packets also when it has cancelled the block and ignores what they carry.

mod incoming;
mod outgoing;
mod signal;

use std::sync::Arc;

use self::incoming::Incoming;
use self::outgoing::Outgoing;
use super::{MAX_BLOCK, OutOfWindow, SEGMENT_BYTES};
use crate::Time;
use crate::error::SendError;

/// The most chunks of a block.
const MAX_CHUNKS: u16 = (MAX_BLOCK / SEGMENT_BYTES) as u16;
/// The smallest window in chunks.
const MIN_WINDOW: u32 = 4;
/// The largest window in chunks; a credit of the longest block and it still fits its 15 bits.
const MAX_WINDOW: u32 = (1 << 14) - 1;
/// Blocks that may wait behind the one on its way.
pub const MAX_WAITING: usize = 3;

const _: () = assert!(MAX_CHUNKS as u32 + MAX_WINDOW < 1 << 15);

/// What goes into a packet of a block channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFrame<'a> {
    /// A piece of a block.
    Chunk {
        /// Low bits of the block's number.
        id: u16,
        /// Bytes of the whole block, 1 to [`MAX_BLOCK`].
        total: u32,
        /// Which chunk, from 0.
        index: u16,
        /// [`SEGMENT_BYTES`] bytes, fewer only in the last chunk.
        bytes: &'a [u8],
    },
    /// The receiver takes chunks below `limit`.
    Credit {
        /// Low bits of the block's number.
        id: u16,
        /// Delivered chunks and the window.
        limit: u16,
    },
    /// The block, and if its sender says so every earlier one, goes no further.
    Cancel {
        /// Low bits of the block's number.
        id: u16,
        /// Whether the block's sender says so.
        by_sender: bool,
    },
}

/// What happened to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockEvent<'a> {
    /// Incoming: a block of `total` bytes begins.
    Started {
        /// The block.
        id: u64,
        /// Its bytes.
        total: u32,
    },
    /// Incoming: the next bytes.
    Data {
        /// The block.
        id: u64,
        /// Where they belong.
        offset: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Incoming: all bytes came.
    Received {
        /// The block.
        id: u64,
    },
    /// Incoming: the sender cancelled it.
    Stopped {
        /// The block.
        id: u64,
    },
    /// Outgoing: so much was acknowledged. At most 64 times a block.
    Progress {
        /// The block.
        id: u64,
        /// Bytes acknowledged.
        acked: u32,
        /// Its bytes.
        total: u32,
    },
    /// Outgoing: the receiver has all of it.
    Sent {
        /// The block.
        id: u64,
    },
    /// Outgoing: the receiver cancelled it.
    Refused {
        /// The block.
        id: u64,
    },
}

/// How many chunks a receiver takes beyond those delivered, on a channel of so many queue bytes.
#[must_use]
pub fn window(queue_bytes: u32) -> u16 {
    (queue_bytes / SEGMENT_BYTES as u32).clamp(MIN_WINDOW, MAX_WINDOW) as u16
}

/// The most bytes, overhead included, that the receiving half of a channel of so many queue bytes ever holds.
#[must_use]
pub fn quota(queue_bytes: u32) -> usize {
    usize::from(window(queue_bytes)) * (SEGMENT_BYTES + incoming::CHUNK_OVERHEAD)
}

/// Both halves of a block channel.
#[derive(Debug)]
pub struct Blocks {
    outgoing: Outgoing,
    incoming: Incoming,
}

impl Blocks {
    /// A channel of so many queue bytes, the same at both ends.
    #[must_use]
    pub fn new(queue_bytes: u32) -> Self {
        let window = window(queue_bytes);
        Self { outgoing: Outgoing::new(window), incoming: Incoming::new(window) }
    }

    /// Starts to send a block, or queues it behind the one on its way. Its number, counted from 0.
    ///
    /// # Errors
    /// [`SendError::Full`] when [`MAX_WAITING`] blocks wait, [`SendError::TooLong`] above [`MAX_BLOCK`] and
    /// [`SendError::EmptyBlock`] for no bytes.
    pub fn start(&mut self, bytes: Arc<[u8]>) -> Result<u64, SendError> {
        self.outgoing.start(bytes)
    }

    /// Sends no more of that block; the receiver is told if any of it was sent. Whether it was still to be sent.
    pub fn cancel_outgoing(&mut self, id: u64) -> bool {
        self.outgoing.cancel(id)
    }

    /// Takes no more of the block that is coming in; its sender is told. The block, for which no event follows.
    pub fn cancel_incoming(&mut self) -> Option<u64> {
        self.incoming.cancel()
    }

    /// While paused, the receiver gives no new credit: at most the window still comes.
    pub fn pause(&mut self, paused: bool) {
        self.incoming.pause(paused);
    }

    /// Whether a frame waits.
    #[must_use]
    pub fn has_due(&self) -> bool {
        self.next_due_bytes().is_some()
    }

    /// Payload of the frame that [`Self::carry`] would offer; 0 for credit and cancel.
    #[must_use]
    pub fn next_due_bytes(&self) -> Option<usize> {
        if self.incoming.has_due() { Some(0) } else { self.outgoing.next_due_bytes() }
    }

    /// Offers the next frame; when `take` returns true it counts as under way. The number by which [`Self::on_acked`]
    /// and [`Self::on_lost`] know it.
    pub fn carry(&mut self, now: Time, take: impl FnOnce(BlockFrame<'_>) -> bool) -> Option<u64> {
        let item = if self.incoming.has_due() { self.incoming.carry(take) } else { self.outgoing.carry(now, take) };
        item.map(Item::pack)
    }

    /// A packet that carried the item was acknowledged.
    pub fn on_acked(&mut self, item: u64, emit: impl FnMut(BlockEvent<'_>)) {
        match Item::unpack(item) {
            item @ (Item::Chunk { .. } | Item::Cancel { by_sender: true, .. }) => self.outgoing.on_acked(item, emit),
            item => self.incoming.on_acked(item),
        }
    }

    /// A packet that carried the item was lost.
    pub fn on_lost(&mut self, item: u64) {
        match Item::unpack(item) {
            item @ (Item::Chunk { .. } | Item::Cancel { by_sender: true, .. }) => self.outgoing.on_lost(item),
            item => self.incoming.on_lost(item),
        }
    }

    /// The peer is silent: what is oldest, about two packets' worth, is due again.
    pub fn on_probe(&mut self) {
        self.incoming.on_probe();
        self.outgoing.on_probe();
    }

    /// When the first of the chunks was sent that a [`Self::repeat_tail`] makes due; none while others are due or the
    /// block's end was not sent yet.
    #[must_use]
    pub fn tail_sent(&self) -> Option<Time> {
        self.outgoing.tail_sent()
    }

    /// Nothing else waits: the end of the block, as far as it was sent at `sent` or before, once, and neither
    /// acknowledged nor lost, is due again.
    pub fn repeat_tail(&mut self, sent: Time) {
        self.outgoing.repeat_tail(sent);
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// [`OutOfWindow`] for what no honest peer sends; nothing is changed then.
    pub fn accept(&mut self, frame: BlockFrame<'_>, emit: impl FnMut(BlockEvent<'_>)) -> Result<(), OutOfWindow> {
        match frame {
            BlockFrame::Chunk { id, total, index, bytes } => self.incoming.accept(id, total, index, bytes, emit),
            BlockFrame::Cancel { id, by_sender: true } => self.incoming.stopped(id, emit),
            BlockFrame::Cancel { id, by_sender: false } => self.outgoing.refused(id, emit),
            BlockFrame::Credit { id, limit } => self.outgoing.credit(id, limit, emit),
        }
    }

    /// Bytes of chunks held until those before them come, overhead included.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.incoming.held_bytes()
    }

    /// Bytes of outgoing blocks that are not acknowledged.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.outgoing.queued_bytes()
    }

    /// Whether no block is on its way in either direction and the peer knows it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outgoing.is_idle() && self.incoming.is_idle()
    }
}

/// What a packet carried, so that its fate finds it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Chunk { id: u64, index: u16 },
    Credit { id: u64, limit: u16 },
    Cancel { id: u64, by_sender: bool },
}

impl Item {
    const fn pack(self) -> u64 {
        match self {
            Self::Chunk { id, index } => id << 18 | (index as u64) << 2,
            Self::Credit { id, limit } => id << 18 | (limit as u64) << 2 | 1,
            Self::Cancel { id, by_sender } => id << 18 | (by_sender as u64) << 2 | 2,
        }
    }

    const fn unpack(item: u64) -> Self {
        let (id, value) = (item >> 18, (item >> 2) as u16);
        match item & 3 {
            0 => Self::Chunk { id, index: value },
            1 => Self::Credit { id, limit: value },
            _ => Self::Cancel { id, by_sender: value == 1 },
        }
    }
}

/// Chunks of a block of `total` bytes.
const fn chunk_count(total: u32) -> u16 {
    total.div_ceil(SEGMENT_BYTES as u32) as u16
}

/// Bytes of chunk `index` of a block of `total` bytes; 0 beyond it.
fn chunk_len(total: u32, index: u16) -> usize {
    (total as usize).saturating_sub(usize::from(index) * SEGMENT_BYTES).min(SEGMENT_BYTES)
}

#[cfg(test)]
mod tests;
