//! Making packets.

use core::time::Duration;

use super::{Built, CLOSE_INTERVAL, Connection, MAX_PACKET_NUMBER, MIN_SNAPSHOT_BYTES, Owed, SnapshotWriter, State};
use crate::bits::BitWriter;
use crate::crypto::TAG_BYTES;
use crate::error::CloseReason;
use crate::frame::{self, CONTROL_BITS, Control, FRAME_BITS, MAX_FRAMES, SNAPSHOT_HEAD_BITS};
use crate::inbox::Inbox;
use crate::packet::{AckBlock, BASE_DATAGRAM, Direction, Header, MAX_DATAGRAM, Preamble};
use crate::recovery::Packet;
use crate::seq::low16;
use crate::time::{Time, micros};
use crate::trace::{Contents, TraceEvent};

/// A message in flight is repeated at the earliest so long after it was sent: not in the same burst.
const REPEAT_AGE: Duration = Duration::from_millis(25);
/// Above this recent loss, in parts per 10,000, small reliable messages are repeated before they count as lost.
const REPEAT_LOSS: u32 = 100;
/// The least room for which another message frame is tried.
const LEAST_FRAME_BITS: usize = FRAME_BITS + 8;

/// What a packet under construction holds so far.
#[derive(Default)]
struct Content {
    frames: usize,
    /// Something in it must be acknowledged.
    eliciting: bool,
    snapshot: bool,
    contents: Contents,
}

impl Content {
    /// One control frame, in a packet whose loss says nothing of how the path in use fares.
    fn probe() -> Self {
        let mut content = Self { frames: 1, eliciting: true, ..Self::default() };
        content.contents.probe = true;
        content
    }
}

impl Connection {
    /// Builds one packet into `out` (at least [`MAX_DATAGRAM`] bytes), with a snapshot when a writer is given.
    /// `None` when the connection is closed, or when a close was sent moments ago.
    pub(crate) fn build(
        &mut self,
        now: Time,
        tick: Option<u64>,
        out: &mut [u8],
        snapshot: Option<SnapshotWriter<'_>>,
        inbox: &mut Inbox,
    ) -> Option<Built> {
        if self.next_pn >= MAX_PACKET_NUMBER {
            self.close(now, CloseReason::Requested, inbox);
        }
        let close = self.close_due(now)?;
        if now >= self.tick_ends {
            self.scheduler.new_tick();
            // On a grid, so that packets a little less than a tick apart do not make every other tick last two.
            let tick = micros(self.tick);
            let late = now.micros_since(self.tick_ends) % tick.max(1);
            self.tick_ends = now.plus_micros(tick.saturating_sub(late));
        }
        let probe = snapshot.is_none() && close.is_none();
        if let Some(size) = self.mtu.probe_due(now).filter(|_| probe) {
            return self.build_probe(now, tick, usize::from(size), out, inbox);
        }
        let mut limit = usize::from(self.mtu.current());
        if probe && core::mem::take(&mut self.waiting.short_ping) {
            self.waiting.ping = true;
            limit = BASE_DATAGRAM;
        }
        self.seal_packet(now, out, limit, inbox, |connection, w| {
            let mut content = Content::default();
            content.contents.ack = connection.replay.largest().is_some();
            connection.write_preamble(now, tick, w);
            if let Some(close) = close {
                frame::write_control(w, Control::Close(close));
                return (content, None);
            }
            connection.write_controls(now, w, &mut content);
            connection.write_messages(now, w, &mut content, snapshot.is_some());
            let snapshot = snapshot.filter(|_| connection.has_snapshot_room(w));
            if snapshot.is_some() {
                frame::write_snapshot_head(w);
                content.eliciting = true;
                content.snapshot = true;
            }
            (content, snapshot)
        })
    }

    /// Builds a packet with one control frame and nothing else, for a peer at an address that is not proven yet.
    pub(crate) fn build_single(
        &mut self,
        now: Time,
        tick: Option<u64>,
        control: Control,
        out: &mut [u8],
        inbox: &mut Inbox,
    ) -> Option<Built> {
        if self.state != State::Open {
            return None;
        }
        let owed = core::mem::take(&mut self.owed);
        let built = self.seal_packet(now, out, usize::from(self.mtu.current()), inbox, |connection, w| {
            connection.write_preamble(now, tick, w);
            frame::write_control(w, control);
            // Its loss says nothing of the path in use.
            (Content::probe(), None)
        });
        // The ack inside may never reach the peer.
        self.owed = owed;
        built
    }

    fn build_probe(
        &mut self,
        now: Time,
        tick: Option<u64>,
        size: usize,
        out: &mut [u8],
        inbox: &mut Inbox,
    ) -> Option<Built> {
        self.mtu.on_sent_probe(now, size as u16);
        let zeros = size.checked_sub(self.direction.overhead())?;
        self.seal_packet(now, out, size, inbox, |connection, w| {
            connection.write_preamble(now, tick, w);
            frame::write_control(w, Control::MtuProbe);
            while w.bit_len() < zeros * 8 {
                w.write(0, (zeros * 8 - w.bit_len()).min(64) as u32);
            }
            (Content::probe(), None)
        })
    }

    /// Writes the header, lets `write` fill the plaintext, seals, and records the packet. A snapshot writer that `write`
    /// gives back fills the rest, from the next byte on.
    fn seal_packet<'w>(
        &mut self,
        now: Time,
        out: &mut [u8],
        limit: usize,
        inbox: &mut Inbox,
        write: impl FnOnce(&mut Self, &mut BitWriter<'_>) -> (Content, Option<SnapshotWriter<'w>>),
    ) -> Option<Built> {
        let out = out.get_mut(..limit.min(MAX_DATAGRAM))?;
        if self.tx.roll_if_due(now, self.next_pn) {
            let generation = self.tx.generation();
            self.record(now, || TraceEvent::KeyRolled { sending: true, generation });
        }
        let (pn, phase) = (self.next_pn, self.tx.phase());
        let conn = (self.direction == Direction::ToServer).then_some(self.conn);
        let header = Header::write(out, conn, pn, phase);
        let (aad, rest) = out.split_at_mut(header);
        let room = rest.len().checked_sub(TAG_BYTES)?;
        let plaintext = rest.get_mut(..room)?;
        let mut w = BitWriter::new(plaintext);
        let (mut content, snapshot) = write(self, &mut w);
        let mut len = w.finish();
        if let Some(write) = snapshot {
            let bytes = self.write_snapshot(plaintext.get_mut(len..).unwrap_or_default(), write);
            content.contents.add_snapshot(bytes);
            len += bytes;
        }
        let (plaintext, tail) = rest.split_at_mut_checked(len)?;
        let tag = self.tx.seal(pn, aad, plaintext).ok()?;
        tail.get_mut(..TAG_BYTES)?.copy_from_slice(&tag);
        let len = header + len + TAG_BYTES;
        self.on_sealed(now, pn, phase, len, &content, inbox);
        Some(Built { len, pn })
    }

    fn on_sealed(&mut self, now: Time, pn: u64, phase: bool, len: usize, content: &Content, inbox: &mut Inbox) {
        self.next_pn += 1;
        self.last_sent = now;
        self.owed = Owed::default();
        self.outbound.add(now, len);
        self.rate.spend(now, len);
        // Nobody waits for the fate of a close, nor is to hear of the packets that it would push out of memory.
        if self.state == State::Open {
            let probe = content.contents.probe;
            let packet = Packet { eliciting: content.eliciting, snapshot: content.snapshot, probe, bytes: len as u16 };
            let (recovery, mut settler) = self.settler(now, inbox);
            recovery.on_sent(now, pn, packet, |settled| settler.settle(settled, None));
        }
        self.record(now, || TraceEvent::Sent { pn, bytes: len as u16, phase, contents: content.contents });
    }

    fn write_preamble(&self, now: Time, tick: Option<u64>, w: &mut BitWriter<'_>) {
        let ack = self.replay.largest().map(|largest| AckBlock {
            largest: low16(largest),
            delay: AckBlock::delay_from_micros(now.micros_since(self.largest_at)),
            mask: self.replay.mask32(),
        });
        Preamble { ack, tick: tick.map(low16) }.write(w);
    }

    /// The close that is to be sent; `None` when no packet may be sent at all.
    fn close_due(&mut self, now: Time) -> Option<Option<CloseReason>> {
        match &mut self.state {
            State::Open => Some(None),
            State::Closed => None,
            State::Closing { next, .. } if *next > now => None,
            State::Closing { reason, left, next } => {
                let reason = *reason;
                *left -= 1;
                *next = now + CLOSE_INTERVAL;
                if *left == 0 {
                    self.state = State::Closed;
                }
                Some(Some(reason))
            }
        }
    }

    fn write_controls(&mut self, now: Time, w: &mut BitWriter<'_>, content: &mut Content) {
        let mut write = |control: Control| {
            if w.remaining_bits() >= CONTROL_BITS {
                frame::write_control(w, control);
                content.frames += 1;
                content.eliciting = true;
                content.contents.control = true;
            }
        };
        let waiting = &mut self.waiting;
        if core::mem::take(&mut waiting.ping) {
            write(Control::Ping);
        }
        if let Some(data) = waiting.path_response.take() {
            write(Control::PathResponse(data));
        }
        for question in waiting.time_replies.drain(..) {
            let hold = now.micros_since(question.received) as u32;
            write(Control::TimeReply { sent: question.sent, received: question.received.as_micros(), hold });
        }
        waiting.at_once = false;
        if let Some(at_once) = self.clock.as_mut().and_then(|clock| clock.poll_request(now)) {
            write(Control::TimeRequest { at_once, sent: now.as_micros() as u32 });
        }
    }

    /// What waits, in the scheduler's order. Where a snapshot follows, it keeps its room: messages that are not more
    /// urgent leave as much as the last one took and half as much again, all others what the table guarantees it.
    fn write_messages(&mut self, now: Time, w: &mut BitWriter<'_>, content: &mut Content, snapshot: bool) {
        let (mut urgent, mut other, mut level) = (0, 0, u8::MAX);
        if snapshot && let Some(channel) = self.lanes.snapshot() {
            urgent = (channel.min_bytes as usize).max(MIN_SNAPSHOT_BYTES);
            other = urgent.max(self.snapshot_bytes + self.snapshot_bytes / 2);
            level = channel.priority;
        }
        // Once the rate is used up, what does not wait for it goes first: messages of a higher priority would otherwise
        // leave no room for it, packet after packet. Blocks ride where no snapshot does, once nothing else fits or waits.
        for (urgent_only, bulk) in [(true, false), (false, false), (false, true)] {
            if self.lanes.first_due().is_none() {
                break;
            }
            let allowed = || self.next_bulk(false).is_some_and(|bytes| self.rate.allows(now, bytes));
            if urgent_only && allowed() {
                continue;
            }
            if bulk && (snapshot || !allowed()) {
                break;
            }
            while content.frames + 1 < MAX_FRAMES {
                let Self { scheduler, lanes, .. } = self;
                let room = |lane: &super::Lane| {
                    let reserve = if lane.channel.priority < level { urgent } else { other };
                    w.remaining_bits().saturating_sub(SNAPSHOT_HEAD_BITS + FRAME_BITS + reserve * 8) / 8
                };
                let ready = |at: usize| {
                    let due = lanes.due_bytes(at, bulk).filter(|_| !urgent_only || lanes.is_urgent(at));
                    due.is_some_and(|bytes| lanes.get(at).is_some_and(|lane| bytes <= room(lane)))
                };
                let Some(at) = scheduler.pick(ready) else { break };
                if !self.carry(now, at, w, content) {
                    break;
                }
            }
        }
        self.repeat_early(now, w, content, other);
        // What found no room hurries on, and so does what the rate holds back while an ack goes out alone; but never in
        // packets that carry nothing.
        self.lanes.calm();
        let waits = self.lanes.first_due().is_some();
        self.hurry = waits && (content.frames > 0 || snapshot || !self.may_send(now));
    }

    fn carry(&mut self, now: Time, at: usize, w: &mut BitWriter<'_>, content: &mut Content) -> bool {
        let before = w.bit_len();
        let Some(lane) = self.lanes.get_mut(at) else { return false };
        let Some(item) = lane.carry(now, at as u8, w) else { return false };
        if let Some(item) = item {
            self.manifest.push(self.next_pn, item);
        }
        let bytes = (w.bit_len() - before).div_ceil(8);
        self.scheduler.charge(at, bytes);
        content.frames += 1;
        content.eliciting = true;
        content.contents.add(at as u8, bytes);
        true
    }

    /// On a path that loses packets, small reliable messages ride a second time where there is room: a loss then costs
    /// the wait for the next packet instead of a round trip and more.
    fn repeat_early(&mut self, now: Time, w: &mut BitWriter<'_>, content: &mut Content, reserve: usize) {
        if self.recovery.loss_recent() < REPEAT_LOSS {
            return;
        }
        let Self { lanes, manifest, next_pn, .. } = self;
        for (number, lane) in lanes.iter_mut() {
            while content.frames + 1 < MAX_FRAMES
                && w.remaining_bits() >= LEAST_FRAME_BITS + SNAPSHOT_HEAD_BITS + reserve * 8 + 256 * 8
            {
                let Some(item) = lane.repeat(now, REPEAT_AGE, number, w) else { break };
                manifest.push(*next_pn, item);
                content.frames += 1;
                content.eliciting = true;
            }
        }
    }

    fn has_snapshot_room(&self, w: &BitWriter<'_>) -> bool {
        self.lanes.snapshot().is_some() && w.remaining_bits() >= SNAPSHOT_HEAD_BITS + MIN_SNAPSHOT_BYTES * 8
    }

    /// Lets the snapshot be written, within the channel's limit and what the rate leaves of this tick.
    fn write_snapshot(&mut self, body: &mut [u8], write: SnapshotWriter<'_>) -> usize {
        let most = self.lanes.snapshot().map_or(0, |channel| channel.max_message as usize);
        let room = body.len().min(most).min(self.rate.tick_budget().max(MIN_SNAPSHOT_BYTES));
        let mut w = BitWriter::new(body.get_mut(..room).unwrap_or_default());
        write(&mut w);
        let bytes = w.finish();
        self.snapshot_bytes = bytes;
        bytes
    }
}
