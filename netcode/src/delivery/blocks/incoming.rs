//! The receiving half of a block channel.

use std::collections::VecDeque;

use super::signal::Signal;
use super::{BlockEvent, BlockFrame, Item, chunk_count, chunk_len};
use crate::delivery::{HEAP_BYTES, MAX_BLOCK, OutOfWindow, SEGMENT_BYTES};
use crate::seq::{expand16, low16};

/// What a held chunk costs beyond its bytes: its slot and what the allocator adds.
pub const CHUNK_OVERHEAD: usize = size_of::<Option<Box<[u8]>>>() + HEAP_BYTES;

/// The block that is coming in.
#[derive(Debug)]
struct Current {
    id: u64,
    total: u32,
    /// Chunks handed over.
    delivered: u16,
    /// Chunks below this may come.
    granted: u16,
    /// Chunks `delivered + i`.
    held: VecDeque<Option<Box<[u8]>>>,
    held_count: usize,
    held_payload: usize,
}

#[derive(Debug)]
pub struct Incoming {
    window: u16,
    paused: bool,
    current: Option<Current>,
    /// Blocks with lower numbers are done with, except the current one.
    next: u64,
    /// The block and its limit.
    credit: Signal<(u64, u16)>,
    /// The block that this side takes no more of.
    cancel: Signal<u64>,
}

impl Incoming {
    pub const fn new(window: u16) -> Self {
        Self { window, paused: false, current: None, next: 0, credit: Signal::IDLE, cancel: Signal::IDLE }
    }

    pub fn accept(
        &mut self,
        id: u16,
        total: u32,
        index: u16,
        bytes: &[u8],
        mut emit: impl FnMut(BlockEvent<'_>),
    ) -> Result<(), OutOfWindow> {
        let fits = total >= 1 && total as usize <= MAX_BLOCK && !bytes.is_empty();
        if !fits || chunk_len(total, index) != bytes.len() {
            return Err(OutOfWindow);
        }
        let id = expand16(self.next, id);
        if id >= self.next {
            if index >= self.window {
                return Err(OutOfWindow);
            }
            self.begin(id, total, &mut emit);
        }
        let Some(current) = self.current.as_mut().filter(|current| current.id == id) else { return Ok(()) };
        if current.total != total || index >= current.granted {
            return Err(OutOfWindow);
        }
        current.take(index, bytes, self.window, &mut emit);
        self.after_delivery(&mut emit);
        Ok(())
    }

    /// A newer block: the sender is done with all older ones.
    fn begin(&mut self, id: u64, total: u32, emit: &mut impl FnMut(BlockEvent<'_>)) {
        if let Some(old) = self.current.take() {
            emit(BlockEvent::Stopped { id: old.id });
        }
        self.credit.clear();
        self.cancel.clear();
        self.next = id + 1;
        self.current = Some(Current::new(id, total, self.window));
        emit(BlockEvent::Started { id, total });
    }

    fn after_delivery(&mut self, emit: &mut impl FnMut(BlockEvent<'_>)) {
        let Some(current) = &self.current else { return };
        let id = current.id;
        if current.delivered == chunk_count(current.total) {
            self.credit.raise((id, current.delivered + self.window));
            self.current = None;
            emit(BlockEvent::Received { id });
        } else {
            self.grant();
        }
    }

    /// Raises the credit when that gains enough.
    fn grant(&mut self) {
        let Some(current) = self.current.as_mut().filter(|_| !self.paused) else { return };
        let limit = current.delivered + self.window;
        if limit - current.granted >= self.window / 4 && current.granted < chunk_count(current.total) {
            current.granted = limit;
            self.credit.raise((current.id, limit));
        }
    }

    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.grant();
    }

    /// The sender cancelled that block.
    pub fn stopped(&mut self, id: u16, mut emit: impl FnMut(BlockEvent<'_>)) -> Result<(), OutOfWindow> {
        let id = expand16(self.next, id);
        if let Some(current) = self.current.take_if(|current| current.id <= id) {
            self.credit.clear();
            emit(BlockEvent::Stopped { id: current.id });
        }
        if self.cancel.value().is_some_and(|cancelled| cancelled <= id) {
            self.cancel.clear();
        }
        self.next = self.next.max(id + 1);
        Ok(())
    }

    pub fn cancel(&mut self) -> Option<u64> {
        let id = self.current.take()?.id;
        self.credit.clear();
        self.cancel.raise(id);
        Some(id)
    }

    pub const fn has_due(&self) -> bool {
        self.credit.is_due() || self.cancel.is_due()
    }

    pub fn carry(&mut self, take: impl FnOnce(BlockFrame<'_>) -> bool) -> Option<Item> {
        if self.cancel.is_due() {
            let id = self.cancel.carry(|id| take(BlockFrame::Cancel { id: low16(id), by_sender: false }))?;
            return Some(Item::Cancel { id, by_sender: false });
        }
        let (id, limit) = self.credit.carry(|(id, limit)| take(BlockFrame::Credit { id: low16(id), limit }))?;
        Some(Item::Credit { id, limit })
    }

    pub fn on_acked(&mut self, item: Item) {
        match item {
            Item::Credit { id, limit } => self.credit.on_acked((id, limit)),
            Item::Cancel { id, .. } => self.cancel.on_acked(id),
            Item::Chunk { .. } => {}
        }
    }

    pub fn on_lost(&mut self, item: Item) {
        match item {
            Item::Credit { id, limit } => self.credit.on_lost((id, limit)),
            Item::Cancel { id, .. } => self.cancel.on_lost(id),
            Item::Chunk { .. } => {}
        }
    }

    pub fn on_probe(&mut self) {
        self.credit.on_probe();
        self.cancel.on_probe();
    }

    pub fn held_bytes(&self) -> usize {
        self.current.as_ref().map_or(0, |current| {
            let slots = current.held.capacity() * size_of::<Option<Box<[u8]>>>();
            current.held_payload + current.held_count * HEAP_BYTES + slots
        })
    }

    pub const fn is_idle(&self) -> bool {
        self.current.is_none() && self.credit.is_idle() && self.cancel.is_idle()
    }
}

impl Current {
    const fn new(id: u64, total: u32, window: u16) -> Self {
        let held = VecDeque::new();
        Self { id, total, delivered: 0, granted: window, held, held_count: 0, held_payload: 0 }
    }

    /// Hands a chunk over, and those held behind it, or holds it.
    fn take(&mut self, index: u16, bytes: &[u8], window: u16, emit: &mut impl FnMut(BlockEvent<'_>)) {
        let Some(ahead) = index.checked_sub(self.delivered).map(usize::from) else { return };
        if ahead > 0 {
            self.hold(ahead, bytes, window);
            return;
        }
        self.held.pop_front();
        self.deliver(bytes, emit);
        while let Some(Some(chunk)) = self.held.pop_front_if(|chunk| chunk.is_some()) {
            self.held_count -= 1;
            self.held_payload -= chunk.len();
            self.deliver(&chunk, emit);
        }
    }

    fn deliver(&mut self, bytes: &[u8], emit: &mut impl FnMut(BlockEvent<'_>)) {
        let offset = u32::from(self.delivered) * SEGMENT_BYTES as u32;
        self.delivered += 1;
        emit(BlockEvent::Data { id: self.id, offset, bytes });
    }

    fn hold(&mut self, ahead: usize, bytes: &[u8], window: u16) {
        if self.held.len() <= ahead {
            // Grown by doubling, but never beyond the window.
            let slots = (ahead + 1).next_power_of_two().min(usize::from(window));
            self.held.reserve_exact(slots.saturating_sub(self.held.len()));
            self.held.resize_with(ahead + 1, || None);
        }
        if let Some(slot @ None) = self.held.get_mut(ahead) {
            *slot = Some(bytes.into());
            self.held_count += 1;
            self.held_payload += bytes.len();
        }
    }
}
