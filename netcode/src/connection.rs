//! An established connection: the same code at both ends.
//!
//! Order of a received packet: header → replay check → AEAD → parse whole → only then does any state change:
//! replay window, acks, frames. Order of a sent one: ack and tick, control, reliable, sequenced, unreliable,
//! snapshot last, so that it is written in place and runs to the end.

use core::time::Duration;
use std::collections::VecDeque;

use arrayvec::ArrayVec;

use crate::bits::BitWriter;
use crate::channel::{Channel, Kind, MAX_CHANNELS, Table};
use crate::crypto::{PacketKey, TAG_BYTES};
use crate::error::{CloseReason, DisconnectReason, SendError};
use crate::frame::{self, Control, FRAME_BITS, Frame, MAX_FRAMES, Parsed};
use crate::inbox::{Inbox, Record};
use crate::packet::{AckBlock, ConnId, Direction, Header, MAX_DATAGRAM, Preamble};
use crate::recovery::{Packet, Recovery, Settled};
use crate::reliable::{Outbox, Reorder};
use crate::replay::{ReplayWindow, Replayed};
use crate::seq::{expand16, low16};
use crate::stats::{Drop, Quality};
use crate::time::Time;

/// A packet is sent at least this often.
pub const KEEPALIVE: Duration = Duration::from_secs(1);
/// The longest that an ack, or a reliable message, waits for a packet to ride in.
pub const MAX_ACK_DELAY: Duration = Duration::from_millis(60);
/// After so many authentic packets that break the protocol the connection is closed.
pub const MAX_MALFORMED: u8 = 3;
/// How often a close is sent, and how far apart.
const CLOSE_REPEATS: u8 = 3;
const CLOSE_INTERVAL: Duration = Duration::from_millis(50);
/// Packet numbers end here: far below what the ciphers allow for one key.
const MAX_PACKET_NUMBER: u64 = 1 << 32;

/// A packet with less room than this left carries no snapshot.
pub const MIN_SNAPSHOT_BYTES: usize = 64;

/// Writes a snapshot's body into the packet that is being built: at least one byte, at most what the writer has room
/// for. It is not called when the packet is too full of messages ([`MIN_SNAPSHOT_BYTES`]).
pub type SnapshotWriter<'a> = &'a mut dyn FnMut(&mut BitWriter<'_>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Sending closes.
    Closing {
        reason: CloseReason,
        left: u8,
        next: Time,
    },
    Closed,
}

/// One channel's two halves at this end.
#[derive(Debug)]
enum Lane {
    Unreliable { queue: VecDeque<Box<[u8]>>, bytes: usize, limit: usize },
    Sequenced { staged: Vec<u8>, waiting: bool, newest: Option<u64> },
    Snapshot { newest: Option<u64>, max: usize },
    Reliable { outbox: Outbox, reorder: Reorder },
}

impl Lane {
    fn new(channel: &Channel) -> Self {
        let limit = channel.queue_bytes as usize;
        match channel.kind {
            Kind::Unreliable => Self::Unreliable { queue: VecDeque::new(), bytes: 0, limit },
            Kind::Sequenced => Self::Sequenced { staged: Vec::new(), waiting: false, newest: None },
            Kind::Snapshot => Self::Snapshot { newest: None, max: usize::from(channel.max_message) },
            Kind::ReliableOrdered => Self::Reliable { outbox: Outbox::new(limit), reorder: Reorder::new(limit) },
        }
    }
}

/// What the handshake agreed on.
#[derive(Debug)]
pub struct Parameters {
    /// The connection's id at the server.
    pub conn: ConnId,
    /// Which way this end sends.
    pub direction: Direction,
    /// Seals what this end sends.
    pub tx: PacketKey,
    /// Opens what it receives.
    pub rx: PacketKey,
    /// The connection ends when nothing valid arrives for so long.
    pub idle_timeout: Duration,
}

/// A packet that was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Bytes of the datagram.
    pub len: usize,
    /// Its packet number.
    pub pn: u64,
}

/// A connection whose keys are agreed.
#[derive(Debug)]
pub struct Connection {
    parameters: Parameters,
    state: State,
    next_pn: u64,
    replay: ReplayWindow,
    largest_at: Time,
    recovery: Recovery,
    lanes: ArrayVec<Lane, MAX_CHANNELS>,
    malformed: u8,
    last_received: Time,
    last_sent: Time,
    /// An ack-eliciting packet arrived, or a reliable message was queued, at that time and waits for a ride.
    owes_since: Option<Time>,
    ping_due: bool,
}

impl Connection {
    /// A connection that was agreed on at `now`, with the lanes of `table`.
    #[must_use]
    pub fn new(parameters: Parameters, table: &Table, now: Time) -> Self {
        Self {
            parameters,
            state: State::Open,
            next_pn: 0,
            replay: ReplayWindow::default(),
            largest_at: now,
            recovery: Recovery::default(),
            lanes: table.0.iter().map(Lane::new).collect(),
            malformed: 0,
            last_received: now,
            last_sent: now,
            owes_since: None,
            ping_due: false,
        }
    }

    /// The connection's id at the server.
    #[must_use]
    pub const fn id(&self) -> ConnId {
        self.parameters.conn
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether nothing is left to do and the connection can be forgotten.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Round-trip time, jitter and loss as seen from here.
    #[must_use]
    pub fn quality(&self) -> Quality {
        self.recovery.quality()
    }

    /// Queues a message for the next packet. On a sequenced channel it replaces one that still waits.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, now: Time, table: &Table, channel: u8, message: &[u8]) -> Result<(), SendError> {
        if self.state != State::Open {
            return Err(SendError::NotConnected);
        }
        let no_such = SendError::NoSuchChannel(channel);
        let limit = usize::from(table.get(channel).ok_or(no_such)?.max_message);
        let lane = self.lanes.get_mut(usize::from(channel)).ok_or(no_such)?;
        if message.len() > limit {
            return Err(SendError::TooLong { limit });
        }
        match lane {
            Lane::Snapshot { .. } => return Err(no_such),
            Lane::Unreliable { queue, bytes, limit } => {
                if *bytes + message.len() > *limit {
                    return Err(SendError::Full { free: *limit - *bytes });
                }
                *bytes += message.len();
                queue.push_back(message.into());
            }
            Lane::Sequenced { staged, waiting, .. } => {
                staged.clear();
                staged.extend_from_slice(message);
                *waiting = true;
            }
            Lane::Reliable { outbox, .. } => outbox.push(message)?,
        }
        self.owes_since.get_or_insert(now);
        Ok(())
    }

    /// Puts a ping into the next packet, which is then due at once.
    pub(crate) fn ping(&mut self) {
        self.ping_due = true;
    }

    /// Starts to close: the peer is told a few times, then the connection is closed.
    pub(crate) fn close(&mut self, now: Time, reason: CloseReason, inbox: &mut Inbox) {
        if self.state == State::Open {
            self.state = State::Closing { reason, left: CLOSE_REPEATS, next: now };
            inbox.push(self.parameters.conn, Record::Disconnected(DisconnectReason::Local(reason)));
        }
    }

    /// Takes a data packet whose header was read (rules P-6 to P-11); `reference` is the tick that its tick is near to.
    ///
    /// Messages, acks and the end of the connection go into `inbox`.
    ///
    /// # Errors
    /// The kind of drop to count. Unless it is [`Drop::Malformed`], no state has changed.
    #[expect(clippy::too_many_arguments, reason = "what one packet needs; the buffers belong to the endpoint")]
    pub(crate) fn receive(
        &mut self,
        now: Time,
        header: &Header,
        datagram: &mut [u8],
        reference: u64,
        table: &Table,
        scratch: &mut Parsed,
        inbox: &mut Inbox,
    ) -> Result<(), Drop> {
        // P-6
        let expected = self.replay.largest().map_or(0, |largest| largest.saturating_add(1));
        let pn = expand16(expected, header.pn);
        self.replay.check(pn).map_err(|replayed| match replayed {
            Replayed::Duplicate => Drop::Duplicate,
            Replayed::TooOld => Drop::TooOld,
        })?;
        let incoming = match self.parameters.direction {
            Direction::ToServer => Direction::ToClient,
            Direction::ToClient => Direction::ToServer,
        };
        let (aad, sealed) = datagram.split_at_mut_checked(incoming.header_bytes()).ok_or(Drop::TooShort)?;
        // P-7
        let plaintext = self.parameters.rx.open(pn, aad, sealed).map_err(|_| Drop::AuthFailed)?;
        if self.state != State::Open {
            return Ok(());
        }
        // P-8
        if scratch.parse(plaintext, table).is_err() || self.is_misdirected(scratch) {
            return Err(self.on_malformed(now, pn, inbox));
        }
        // P-10
        if self.is_late_snapshot(pn, scratch) {
            return Err(Drop::LateSnapshot);
        }
        // P-11
        let ack = scratch.preamble.ack;
        if let Some(ack) = ack
            && self.on_ack(now, &ack, inbox).is_err()
        {
            return Err(self.on_malformed(now, pn, inbox));
        }
        self.on_authentic(now, pn, !scratch.frames.is_empty());
        let tick = scratch.preamble.tick.map(|low| expand16(reference, low));
        for at in 0..scratch.frames.len() {
            let Some(&frame) = scratch.frames.get(at) else { break };
            if self.on_frame(pn, tick, frame, plaintext, scratch, inbox).is_err() {
                self.count_malformed(now, inbox);
                return Err(Drop::Malformed);
            }
        }
        Ok(())
    }

    /// A packet that carries a snapshot older than the newest is taken as lost, whole and before anything in it
    /// is handled: it is never acknowledged, so the sender never takes for known what was not applied.
    fn is_late_snapshot(&self, pn: u64, parsed: &Parsed) -> bool {
        let Some(Frame::Snapshot { channel, .. }) = parsed.frames.last() else { return false };
        let lane = self.lanes.get(usize::from(*channel));
        matches!(lane, Some(Lane::Snapshot { newest: Some(newest), .. }) if pn < *newest)
    }

    /// Snapshots go to the client only (rule F-9).
    fn is_misdirected(&self, parsed: &Parsed) -> bool {
        let at_server = self.parameters.direction == Direction::ToClient;
        at_server && matches!(parsed.frames.last(), Some(Frame::Snapshot { .. }))
    }

    fn on_authentic(&mut self, now: Time, pn: u64, eliciting: bool) {
        if self.replay.largest().is_none_or(|largest| pn > largest) {
            self.largest_at = now;
        }
        self.replay.commit(pn);
        self.last_received = now;
        if eliciting {
            self.owes_since.get_or_insert(now);
        }
    }

    fn on_malformed(&mut self, now: Time, pn: u64, inbox: &mut Inbox) -> Drop {
        self.on_authentic(now, pn, false);
        self.count_malformed(now, inbox);
        Drop::Malformed
    }

    fn count_malformed(&mut self, now: Time, inbox: &mut Inbox) {
        self.malformed = self.malformed.saturating_add(1);
        if self.malformed >= MAX_MALFORMED {
            self.close(now, CloseReason::ProtocolError, inbox);
        }
    }

    fn on_ack(&mut self, now: Time, ack: &AckBlock, inbox: &mut Inbox) -> Result<(), crate::recovery::AckedUnsent> {
        let (id, lanes) = (self.parameters.conn, &mut self.lanes);
        self.recovery.on_ack(now, ack, self.next_pn, |settled| settle(id, lanes, settled, inbox))
    }

    fn on_frame(
        &mut self,
        pn: u64,
        tick: Option<u64>,
        frame: Frame,
        plaintext: &[u8],
        parsed: &Parsed,
        inbox: &mut Inbox,
    ) -> Result<(), frame::Malformed> {
        let id = self.parameters.conn;
        match frame {
            Frame::Control(Control::Ping) => {}
            Frame::Control(Control::Close(reason)) => {
                if self.state != State::Closed {
                    self.state = State::Closed;
                    inbox.push(id, Record::Disconnected(DisconnectReason::ByPeer(reason)));
                }
            }
            Frame::Snapshot { channel, start } => {
                if let Some(Lane::Snapshot { newest, .. }) = self.lanes.get_mut(usize::from(channel)) {
                    *newest = Some(pn);
                }
                inbox.message(id, channel, tick, plaintext.get(usize::from(start)..).unwrap_or_default());
            }
            Frame::Message { channel, number, start, len } => {
                let body = parsed.body(start, len);
                match self.lanes.get_mut(usize::from(channel)) {
                    Some(Lane::Unreliable { .. }) => inbox.message(id, channel, tick, body),
                    Some(Lane::Sequenced { newest, .. }) => {
                        if newest.is_none_or(|newest| pn > newest) {
                            *newest = Some(pn);
                            inbox.message(id, channel, tick, body);
                        }
                    }
                    Some(Lane::Reliable { reorder, .. }) => {
                        let deliver = |bytes: &[u8]| inbox.message(id, channel, tick, bytes);
                        reorder.accept(number, body, deliver).map_err(|_| frame::Malformed)?;
                    }
                    Some(Lane::Snapshot { .. }) | None => return Err(frame::Malformed),
                }
            }
        }
        Ok(())
    }

    /// Builds one packet into `out` (at least [`MAX_DATAGRAM`] bytes), with a snapshot when a writer is given.
    /// `None` when the connection is closed, or when a close was sent moments ago.
    pub(crate) fn build(
        &mut self,
        now: Time,
        tick: Option<u64>,
        out: &mut [u8],
        snapshot: Option<(u8, SnapshotWriter<'_>)>,
        inbox: &mut Inbox,
    ) -> Option<Built> {
        if self.next_pn >= MAX_PACKET_NUMBER {
            self.close(now, CloseReason::Requested, inbox);
        }
        let control = self.control_due(now)?;
        let out = out.get_mut(..MAX_DATAGRAM)?;
        let pn = self.next_pn;
        let conn = (self.parameters.direction == Direction::ToServer).then_some(self.parameters.conn);
        let header = Header::write(out, conn, pn);
        let (aad, rest) = out.split_at_mut(header);
        let room = rest.len() - TAG_BYTES;
        let (len, eliciting, has_snapshot) = {
            let plaintext = rest.get_mut(..room)?;
            self.write_plaintext(now, pn, tick, plaintext, control, snapshot)
        };
        let (plaintext, tail) = rest.split_at_mut(len);
        let tag = self.parameters.tx.seal(pn, aad, plaintext).ok()?;
        tail.get_mut(..TAG_BYTES)?.copy_from_slice(&tag);
        self.next_pn += 1;
        self.last_sent = now;
        self.owes_since = None;
        self.ping_due = false;
        let (id, lanes) = (self.parameters.conn, &mut self.lanes);
        let bytes = (header + len + TAG_BYTES) as u16;
        let packet = Packet { eliciting, snapshot: has_snapshot, probe: false, bytes };
        self.recovery.on_sent(now, pn, packet, |settled| settle(id, lanes, settled, inbox));
        Some(Built { len: header + len + TAG_BYTES, pn })
    }

    /// The control frame of the next packet: `None` when no packet may be sent at all.
    fn control_due(&mut self, now: Time) -> Option<Option<Control>> {
        match &mut self.state {
            State::Open => Some(self.ping_due.then_some(Control::Ping)),
            State::Closed => None,
            State::Closing { next, .. } if *next > now => None,
            State::Closing { reason, left, next } => {
                let control = Control::Close(*reason);
                *left -= 1;
                *next = now + CLOSE_INTERVAL;
                if *left == 0 {
                    self.state = State::Closed;
                }
                Some(Some(control))
            }
        }
    }

    /// Returns the plaintext's length, whether it must be acknowledged, and whether it has a snapshot.
    fn write_plaintext(
        &mut self,
        now: Time,
        pn: u64,
        tick: Option<u64>,
        plaintext: &mut [u8],
        control: Option<Control>,
        snapshot: Option<(u8, SnapshotWriter<'_>)>,
    ) -> (usize, bool, bool) {
        let closing = !matches!(self.state, State::Open);
        let ack = self.ack_block(now);
        let mut w = BitWriter::new(plaintext);
        Preamble { ack, tick: tick.map(low16) }.write(&mut w);
        let mut frames = 0;
        if let Some(control) = control {
            frame::write_control(&mut w, control);
            frames += 1;
        }
        if !closing {
            // One frame stays free for the snapshot.
            write_lanes(&mut self.lanes, pn, &mut w, &mut frames);
        }
        let max = |channel: u8| match self.lanes.get(usize::from(channel)) {
            Some(Lane::Snapshot { max, .. }) => *max,
            _ => 0,
        };
        let fits = w.remaining_bits() >= FRAME_BITS + MIN_SNAPSHOT_BYTES * 8;
        let Some((channel, write)) = snapshot.filter(|(channel, _)| !closing && fits && max(*channel) > 0) else {
            let eliciting = frames > 0 && !closing;
            return (w.finish(), eliciting, false);
        };
        frame::write_snapshot_head(&mut w, channel);
        let head = w.finish();
        let body = plaintext.get_mut(head..).unwrap_or_default();
        let room = body.len().min(max(channel));
        let mut w = BitWriter::new(body.get_mut(..room).unwrap_or_default());
        write(&mut w);
        (head + w.finish(), true, true)
    }

    fn ack_block(&self, now: Time) -> Option<AckBlock> {
        let largest = self.replay.largest()?;
        let delay = AckBlock::delay_from_micros(now.saturating_since(self.largest_at).as_micros() as u64);
        Some(AckBlock { largest: low16(largest), delay, mask: self.replay.mask32() })
    }

    /// Whether a packet is due for a reason of its own: an ack or message that found no ride, a probe, a
    /// keepalive, a close.
    #[must_use]
    pub fn wants_packet(&self, now: Time) -> bool {
        match self.state {
            State::Open => self.ping_due || self.owes_due() <= now,
            State::Closing { next, .. } => next <= now,
            State::Closed => false,
        }
    }

    fn owes_due(&self) -> Time {
        self.owes_since.map_or(Time::NEVER, |since| since + MAX_ACK_DELAY)
    }

    /// Whether a message waits that has not been put into any packet yet, or must be again.
    #[must_use]
    pub fn has_staged(&self) -> bool {
        self.lanes.iter().any(|lane| match lane {
            Lane::Unreliable { queue, .. } => !queue.is_empty(),
            Lane::Sequenced { waiting, .. } => *waiting,
            Lane::Snapshot { .. } => false,
            Lane::Reliable { outbox, .. } => outbox.has_due(),
        })
    }

    /// When a timer or a packet is next due.
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        match self.state {
            State::Open => (self.last_received + self.parameters.idle_timeout)
                .min(self.last_sent + KEEPALIVE)
                .min(self.owes_due())
                .min(self.recovery.loss_time())
                .min(self.recovery.probe_time(MAX_ACK_DELAY.as_micros() as u64)),
            State::Closing { next, .. } => next,
            State::Closed => Time::NEVER,
        }
    }

    /// Runs what is due: idle timeout, losses, probe, keepalive.
    pub(crate) fn handle_timeout(&mut self, now: Time, inbox: &mut Inbox) {
        if self.state != State::Open {
            return;
        }
        let id = self.parameters.conn;
        if self.last_received + self.parameters.idle_timeout <= now {
            self.state = State::Closed;
            inbox.push(id, Record::Disconnected(DisconnectReason::IdleTimeout));
            return;
        }
        let lanes = &mut self.lanes;
        self.recovery.detect_losses(now, |settled| settle(id, lanes, settled, inbox));
        if !self.ping_due && self.recovery.probe_time(MAX_ACK_DELAY.as_micros() as u64) <= now {
            self.recovery.on_probe();
            self.ping_due = true;
            for lane in &mut self.lanes {
                if let Lane::Reliable { outbox, .. } = lane {
                    outbox.on_probe();
                }
            }
        }
        if self.last_sent + KEEPALIVE <= now {
            self.ping_due = true;
        }
    }
}

/// Tells the lanes, and for snapshots the owner, what became of a packet.
fn settle(id: ConnId, lanes: &mut [Lane], settled: Settled, inbox: &mut Inbox) {
    for lane in lanes {
        if let Lane::Reliable { outbox, .. } = lane {
            if settled.acked {
                outbox.on_acked(settled.pn);
            } else {
                outbox.on_lost(settled.pn);
            }
        }
    }
    if settled.packet.snapshot {
        inbox.push(id, Record::Settled { pn: settled.pn, acked: settled.acked });
    }
}

/// Writes what waits, reliable before sequenced before unreliable; the table's order breaks ties.
fn write_lanes(lanes: &mut [Lane], pn: u64, w: &mut BitWriter<'_>, frames: &mut usize) {
    let mut write = |w: &mut BitWriter<'_>, channel: u8, number: Option<u64>, message: &[u8]| {
        let written = *frames + 1 < MAX_FRAMES && frame::write_message(w, channel, number, message);
        *frames += usize::from(written);
        written
    };
    for (channel, lane) in (0u8..).zip(lanes.iter_mut()) {
        if let Lane::Reliable { outbox, .. } = lane {
            outbox.carry(pn, |number, message| write(w, channel, Some(number), message));
        }
    }
    for (channel, lane) in (0u8..).zip(lanes.iter_mut()) {
        if let Lane::Sequenced { staged, waiting, .. } = lane
            && *waiting
            && write(w, channel, None, staged)
        {
            *waiting = false;
        }
    }
    for (channel, lane) in (0u8..).zip(lanes.iter_mut()) {
        if let Lane::Unreliable { queue, bytes, .. } = lane {
            while let Some(message) = queue.front()
                && write(w, channel, None, message)
            {
                *bytes -= message.len();
                queue.pop_front();
            }
        }
    }
}
