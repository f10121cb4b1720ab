//! The sending half of a block channel.

use std::collections::VecDeque;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::signal::Signal;
use super::{BlockEvent, BlockFrame, Item, MAX_WAITING, chunk_count, chunk_len};
use crate::Time;
use crate::delivery::{MAX_BLOCK, OutOfWindow, SEGMENT_BYTES};
use crate::error::SendError;
use crate::seq::{expand16, low16};

/// The most progress events of a block.
const PROGRESS_STEPS: u32 = 64;
/// How many chunks a probe makes due.
const PROBE_CHUNKS: usize = 2;

#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    acked: bool,
    /// In the queue of resends.
    due: bool,
    /// Packets under way that carry it.
    flying: u16,
    sent: Time,
    /// It was sent again.
    repeated: bool,
}

impl Chunk {
    /// Whether one packet carries it that may be lost without anything telling so.
    const fn is_tail(&self) -> bool {
        self.flying == 1 && !self.repeated && !self.acked && !self.due
    }
}

/// The block on its way.
#[derive(Debug)]
struct Active {
    id: u64,
    bytes: Arc<[u8]>,
    total: u32,
    /// Chunks below this may be sent.
    credit: u16,
    /// The first chunk that is not acknowledged.
    base: u16,
    /// Chunks from `base` to the last one sent.
    sent: VecDeque<Chunk>,
    /// Chunks to be sent again; the first is due, others may have been acknowledged meanwhile.
    resend: VecDeque<u16>,
    acked_bytes: u32,
    reported: u32,
}

#[derive(Debug)]
pub struct Outgoing {
    window: u16,
    active: Option<Active>,
    waiting: VecDeque<(u64, Arc<[u8]>)>,
    /// Number of the next block to be started.
    next_id: u64,
    /// Blocks from this number on have not been sent any chunk of.
    begun: u64,
    /// The newest block that was cancelled on its way.
    cancel: Signal<u64>,
}

impl Outgoing {
    pub const fn new(window: u16) -> Self {
        Self { window, active: None, waiting: VecDeque::new(), next_id: 0, begun: 0, cancel: Signal::IDLE }
    }

    pub fn start(&mut self, bytes: Arc<[u8]>) -> Result<u64, SendError> {
        if bytes.len() > MAX_BLOCK {
            return Err(SendError::TooLong { limit: MAX_BLOCK });
        }
        if bytes.is_empty() {
            return Err(SendError::EmptyBlock);
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(SendError::Full { free: 0 });
        }
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back((id, bytes));
        self.promote();
        Ok(id)
    }

    /// Makes the next block the active one when there is none.
    fn promote(&mut self) {
        if self.active.is_none()
            && let Some((id, bytes)) = self.waiting.pop_front()
        {
            self.active = Some(Active::new(id, bytes, self.window));
        }
    }

    pub fn cancel(&mut self, id: u64) -> bool {
        if self.active.take_if(|active| active.id == id).is_some() {
            if id < self.begun {
                self.cancel.raise(id);
            }
            self.promote();
            return true;
        }
        let before = self.waiting.len();
        self.waiting.retain(|(waiting, _)| *waiting != id);
        self.waiting.len() < before
    }

    pub fn next_due_bytes(&self) -> Option<usize> {
        if self.cancel.is_due() {
            return Some(0);
        }
        let active = self.active.as_ref()?;
        active.next_due().map(|index| chunk_len(active.total, index))
    }

    pub fn carry(&mut self, now: Time, take: impl FnOnce(BlockFrame<'_>) -> bool) -> Option<Item> {
        if self.cancel.is_due() {
            let id = self.cancel.carry(|id| take(BlockFrame::Cancel { id: low16(id), by_sender: true }))?;
            return Some(Item::Cancel { id, by_sender: true });
        }
        let active = self.active.as_mut()?;
        let (id, index) = (active.id, active.next_due()?);
        if !take(active.chunk(index)?) {
            return None;
        }
        active.on_sent(now, index);
        self.begun = id + 1;
        Some(Item::Chunk { id, index })
    }

    pub fn on_acked(&mut self, item: Item, emit: impl FnMut(BlockEvent<'_>)) {
        match item {
            Item::Chunk { id, index } => {
                if let Some(active) = self.active.as_mut().filter(|active| active.id == id) {
                    active.on_acked(index, emit);
                }
            }
            Item::Cancel { id, .. } => self.cancel.on_acked(id),
            Item::Credit { .. } => {}
        }
    }

    pub fn on_lost(&mut self, item: Item) {
        match item {
            Item::Chunk { id, index } => {
                if let Some(active) = self.active.as_mut().filter(|active| active.id == id) {
                    active.on_lost(index);
                }
            }
            Item::Cancel { id, .. } => self.cancel.on_lost(id),
            Item::Credit { .. } => {}
        }
    }

    pub fn on_probe(&mut self) {
        self.cancel.on_probe();
        if let Some(active) = &mut self.active {
            active.on_probe();
        }
    }

    pub fn tail_sent(&self) -> Option<Time> {
        self.active.as_ref().filter(|active| active.is_all_sent()).and_then(Active::tail_sent)
    }

    pub fn repeat_tail(&mut self, sent: Time) {
        if let Some(active) = self.active.as_mut().filter(|active| active.is_all_sent()) {
            active.repeat_tail(sent);
        }
    }

    /// The receiver takes chunks below `limit`, and has everything when that is the whole block and a window.
    pub fn credit(&mut self, id: u16, limit: u16, mut emit: impl FnMut(BlockEvent<'_>)) -> Result<(), OutOfWindow> {
        let id = self.known(id)?;
        let Some(active) = self.active.as_mut().filter(|active| active.id == id) else { return Ok(()) };
        // Nobody has delivered what was not sent.
        if limit > active.next() + self.window {
            return Err(OutOfWindow);
        }
        active.credit = active.credit.max(limit);
        if limit == chunk_count(active.total) + self.window {
            self.active = None;
            emit(BlockEvent::Sent { id });
            self.promote();
        }
        Ok(())
    }

    /// The receiver takes no more of that block.
    pub fn refused(&mut self, id: u16, mut emit: impl FnMut(BlockEvent<'_>)) -> Result<(), OutOfWindow> {
        let id = self.known(id)?;
        if self.active.take_if(|active| active.id == id).is_some() {
            emit(BlockEvent::Refused { id });
            self.promote();
        }
        Ok(())
    }

    /// The number of a block of which at least one chunk was sent.
    fn known(&self, low: u16) -> Result<u64, OutOfWindow> {
        let id = expand16(self.begun, low);
        if id < self.begun { Ok(id) } else { Err(OutOfWindow) }
    }

    pub fn queued_bytes(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(|(_, bytes)| bytes.len()).sum();
        waiting + self.active.as_ref().map_or(0, |active| (active.total - active.acked_bytes) as usize)
    }

    pub const fn is_idle(&self) -> bool {
        self.active.is_none() && self.cancel.is_idle()
    }
}

impl Active {
    fn new(id: u64, bytes: Arc<[u8]>, window: u16) -> Self {
        let total = bytes.len() as u32;
        let (sent, resend) = (VecDeque::new(), VecDeque::new());
        Self { id, bytes, total, credit: window, base: 0, sent, resend, acked_bytes: 0, reported: 0 }
    }

    /// The first chunk never sent.
    fn next(&self) -> u16 {
        self.base + self.sent.len() as u16
    }

    fn next_due(&self) -> Option<u16> {
        let next = self.next();
        let fresh = (next < self.credit.min(chunk_count(self.total))).then_some(next);
        self.resend.front().copied().or(fresh)
    }

    fn chunk(&self, index: u16) -> Option<BlockFrame<'_>> {
        let start = usize::from(index) * SEGMENT_BYTES;
        let bytes = self.bytes.get(start..start + chunk_len(self.total, index))?;
        Some(BlockFrame::Chunk { id: low16(self.id), total: self.total, index, bytes })
    }

    fn get_mut(&mut self, index: u16) -> Option<&mut Chunk> {
        self.sent.get_mut(usize::from(index.checked_sub(self.base)?))
    }

    fn on_sent(&mut self, now: Time, index: u16) {
        if index == self.next() {
            self.sent.push_back(Chunk { flying: 1, sent: now, ..Chunk::default() });
            return;
        }
        self.resend.pop_front();
        if let Some(chunk) = self.get_mut(index) {
            (chunk.due, chunk.sent, chunk.repeated) = (false, now, true);
            chunk.flying = chunk.flying.saturating_add(1);
        }
        self.skip_acked();
    }

    /// Keeps the first resend one that is still due.
    fn skip_acked(&mut self) {
        while let Some(&index) = self.resend.front()
            && self.get_mut(index).is_none_or(|chunk| chunk.acked)
        {
            self.resend.pop_front();
        }
    }

    fn on_acked(&mut self, index: u16, mut emit: impl FnMut(BlockEvent<'_>)) {
        let Some(chunk) = self.get_mut(index).filter(|chunk| !chunk.acked) else { return };
        chunk.acked = true;
        self.acked_bytes += chunk_len(self.total, index) as u32;
        while self.sent.pop_front_if(|chunk| chunk.acked).is_some() {
            self.base += 1;
        }
        self.skip_acked();
        if self.acked_bytes - self.reported >= self.total.div_ceil(PROGRESS_STEPS) {
            self.reported = self.acked_bytes;
            emit(BlockEvent::Progress { id: self.id, acked: self.acked_bytes, total: self.total });
        }
    }

    fn on_lost(&mut self, index: u16) {
        let Some(chunk) = self.get_mut(index) else { return };
        chunk.flying = chunk.flying.saturating_sub(1);
        if chunk.flying == 0 && !chunk.acked && !chunk.due {
            chunk.due = true;
            self.resend.push_back(index);
        }
    }

    fn is_all_sent(&self) -> bool {
        self.resend.is_empty() && self.next() == chunk_count(self.total)
    }

    fn tail_sent(&self) -> Option<Time> {
        self.sent.iter().find(|chunk| chunk.is_tail()).map(|chunk| chunk.sent)
    }

    fn repeat_tail(&mut self, sent: Time) {
        for (index, chunk) in (self.base..).zip(&mut self.sent) {
            if chunk.is_tail() && chunk.sent <= sent {
                chunk.due = true;
                self.resend.push_back(index);
            }
        }
    }

    fn on_probe(&mut self) {
        let open = (self.base..).zip(&mut self.sent).filter(|(_, chunk)| !chunk.acked);
        let mut oldest: ArrayVec<_, PROBE_CHUNKS> = open.take(PROBE_CHUNKS).collect();
        // Pushed to the front, so the oldest last.
        while let Some((index, chunk)) = oldest.pop() {
            if !chunk.due {
                chunk.due = true;
                self.resend.push_front(index);
            }
        }
    }
}
