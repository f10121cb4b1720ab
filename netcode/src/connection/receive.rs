//! Taking packets.

use core::time::Duration;

use super::{AckTiming, Connection, MAX_MALFORMED, State, TimeQuestion};
use crate::channel::Table;
use crate::error::{CloseReason, DisconnectReason};
use crate::frame::{Control, Frame, Head, Malformed, Parsed};
use crate::inbox::Inbox;
use crate::packet::{AckBlock, Direction, Header};
use crate::recovery::AckedUnsent;
use crate::replay::Replayed;
use crate::seq::{expand16, low16};
use crate::stats::Drop;
use crate::time::Time;
use crate::trace::{Contents, TraceEvent};

/// What one received packet needs beside the connection; the buffers belong to the endpoint.
pub(crate) struct Receiver<'a> {
    /// The tick that the packet's tick is near to.
    pub(crate) reference: u64,
    pub(crate) table: &'a Table,
    pub(crate) scratch: &'a mut Parsed,
    pub(crate) inbox: &'a mut Inbox,
}

/// What the endpoint must know of an authentic packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its number is greater than any before.
    pub(crate) newest: bool,
    /// The answer to a path challenge.
    pub(crate) path_response: Option<[u8; 8]>,
    /// Counted as this, though it was authentic.
    pub(crate) dropped: Option<Drop>,
}

impl Connection {
    /// Takes a data packet whose header was read (rules P-6 to P-11).
    ///
    /// Messages, acks and the end of the connection go into the inbox.
    ///
    /// # Errors
    /// The kind of drop to count; no state has changed, but that the first packet of a new phase rolls the key.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        header: &Header,
        datagram: &mut [u8],
        to: &mut Receiver<'_>,
    ) -> Result<Received, Drop> {
        let len = datagram.len();
        let result = self.try_receive(now, header, datagram, to);
        let cause = result.map_or_else(Some, |received| received.dropped);
        if let Some(cause) = cause {
            self.record(now, || TraceEvent::Dropped { cause });
        }
        if matches!(cause, None | Some(Drop::Malformed)) {
            self.inbound.add(now, len);
        }
        result
    }

    fn try_receive(
        &mut self,
        now: Time,
        header: &Header,
        datagram: &mut [u8],
        to: &mut Receiver<'_>,
    ) -> Result<Received, Drop> {
        // P-6
        let len = datagram.len();
        let largest = self.replay.largest();
        let pn = expand16(largest.map_or(0, |largest| largest.saturating_add(1)), header.pn);
        self.replay.check(pn).map_err(|replayed| match replayed {
            Replayed::Duplicate => Drop::Duplicate,
            Replayed::TooOld => Drop::TooOld,
        })?;
        let incoming = match self.direction {
            Direction::ToServer => Direction::ToClient,
            Direction::ToClient => Direction::ToServer,
        };
        let (aad, sealed) = datagram.split_at_mut_checked(incoming.header_bytes()).ok_or(Drop::TooShort)?;
        // P-7
        let (plaintext, rolled) = self.rx.open(now, header.phase, pn, aad, sealed).map_err(|_| Drop::AuthFailed)?;
        let received = Received { newest: largest.is_none_or(|largest| pn > largest), ..Received::default() };
        if self.state != State::Open {
            return Ok(Received { newest: false, ..received });
        }
        if rolled {
            let generation = self.rx.generation();
            self.record(now, || TraceEvent::KeyRolled { sending: false, generation });
        }
        // P-12
        if self.policer.as_mut().is_some_and(|policer| !policer.takes(now, len)) {
            return Err(Drop::OverCap);
        }
        // P-8
        if to.scratch.parse(plaintext, to.table, self.features).is_err() || self.is_misdirected(to.scratch) {
            self.on_malformed(now, pn, to.inbox);
            return Ok(Received { dropped: Some(Drop::Malformed), ..received });
        }
        // P-10
        if self.is_late_snapshot(pn, to) {
            return Err(Drop::LateSnapshot);
        }
        // P-11
        if let Some(ack) = to.scratch.preamble.ack
            && self.on_ack(now, &ack, to.inbox).is_err()
        {
            self.on_malformed(now, pn, to.inbox);
            return Ok(Received { dropped: Some(Drop::Malformed), ..received });
        }
        self.on_authentic(now, pn, !to.scratch.frames.is_empty());
        self.record(now, || TraceEvent::Received {
            pn,
            bytes: len as u16,
            contents: contents_of(to.scratch, plaintext.len()),
        });
        self.on_frames(now, pn, plaintext, received, to)
    }

    fn on_frames(
        &mut self,
        now: Time,
        pn: u64,
        plaintext: &[u8],
        mut received: Received,
        to: &mut Receiver<'_>,
    ) -> Result<Received, Drop> {
        let tick = to.scratch.preamble.tick.map(|low| expand16(to.reference, low));
        for at in 0..to.scratch.frames.len() {
            // Behind a close nothing is heard any more.
            let Some(&frame) = to.scratch.frames.get(at).filter(|_| self.state == State::Open) else { break };
            let taken = match frame {
                Frame::Control(control) => {
                    self.on_control(now, control, &mut received, to.inbox);
                    Ok(())
                }
                Frame::Snapshot { start } => {
                    let body = plaintext.get(usize::from(start)..).unwrap_or_default();
                    self.on_snapshot(pn, tick, body, to);
                    Ok(())
                }
                Frame::Message { channel, head, start, len } => {
                    let (conn, inbox) = (self.conn, &mut *to.inbox);
                    let delivery = super::lane::Delivery { conn, channel, pn, tick, inbox };
                    let body = to.scratch.body(start, len);
                    let lane = self.lanes.taking(usize::from(channel));
                    // A credit may let more be sent, a chunk may call for more credit.
                    self.hurry |= matches!(head, Head::Credit { .. } | Head::Chunk { .. } | Head::Cancel { .. });
                    lane.map_or(Err(Malformed), |lane| lane.accept(head, body, delivery))
                }
            };
            if taken.is_err() {
                self.count_malformed(now, to.inbox);
                received.dropped = Some(Drop::Malformed);
                break;
            }
        }
        Ok(received)
    }

    fn on_control(&mut self, now: Time, control: Control, received: &mut Received, inbox: &mut Inbox) {
        match control {
            Control::Ping | Control::MtuProbe => {}
            Control::Close(reason) => {
                if self.state != State::Closed {
                    self.disconnect(now, DisconnectReason::ByPeer(reason), inbox);
                }
            }
            Control::PathChallenge(data) => {
                self.waiting.path_response = Some(data);
                self.waiting.at_once = true;
            }
            Control::PathResponse(data) => received.path_response = Some(data),
            Control::TimeRequest { at_once, sent } => {
                let replies = &mut self.waiting.time_replies;
                if replies.is_full() {
                    replies.remove(0);
                }
                replies.push(TimeQuestion { sent, received: now });
                self.waiting.at_once |= at_once;
            }
            Control::TimeReply { sent, received, hold } => {
                if let Some(clock) = &mut self.clock {
                    // The question is younger than the 71 minutes in which 32 bits of microseconds repeat.
                    let age = (now.as_micros() as u32).wrapping_sub(sent);
                    let asked = Time::from_micros(now.as_micros().saturating_sub(u64::from(age)));
                    let hold = core::time::Duration::from_micros(u64::from(hold));
                    clock.on_reply(now, asked, Time::from_micros(received), hold);
                }
            }
        }
    }

    fn on_snapshot(&mut self, pn: u64, tick: Option<u64>, body: &[u8], to: &mut Receiver<'_>) {
        let Some(channel) = to.table.snapshot() else { return };
        if let Some(lane) = self.lanes.taking(usize::from(channel)) {
            lane.take_snapshot(pn);
        }
        to.inbox.message(self.conn, channel, tick, body);
    }

    /// A packet that carries a snapshot older than the newest is taken as lost, whole and before anything in it
    /// is handled: it is never acknowledged, so the sender never takes for known what was not applied.
    fn is_late_snapshot(&self, pn: u64, to: &Receiver<'_>) -> bool {
        matches!(to.scratch.frames.last(), Some(Frame::Snapshot { .. })) && self.lanes.is_late_snapshot(pn)
    }

    /// Some frames go one way only (rule F-9).
    fn is_misdirected(&self, parsed: &Parsed) -> bool {
        let at_server = self.direction == Direction::ToClient;
        parsed.frames.iter().any(|frame| match frame {
            Frame::Snapshot { .. } | Frame::Control(Control::PathChallenge(_) | Control::TimeReply { .. }) => at_server,
            Frame::Control(Control::PathResponse(_) | Control::TimeRequest { .. }) => !at_server,
            Frame::Control(_) | Frame::Message { .. } => false,
        })
    }

    fn on_authentic(&mut self, now: Time, pn: u64, eliciting: bool) {
        let largest = self.replay.largest();
        if largest.is_none_or(|largest| pn > largest) {
            self.largest_at = now;
        }
        self.replay.commit(pn);
        self.last_received = now;
        if eliciting {
            self.owed.since.get_or_insert(now);
            self.owed.packets = self.owed.packets.saturating_add(1);
            self.owed.gap |= largest.is_some_and(|largest| pn > largest + 1);
        }
    }

    fn on_malformed(&mut self, now: Time, pn: u64, inbox: &mut Inbox) {
        self.on_authentic(now, pn, false);
        self.count_malformed(now, inbox);
    }

    fn count_malformed(&mut self, now: Time, inbox: &mut Inbox) {
        self.malformed = self.malformed.saturating_add(1);
        if self.malformed >= MAX_MALFORMED {
            self.close(now, CloseReason::ProtocolError, inbox);
        }
    }

    fn on_ack(&mut self, now: Time, ack: &AckBlock, inbox: &mut Inbox) -> Result<(), AckedUnsent> {
        let next_pn = self.next_pn;
        let (recovery, mut settler) = self.settler(now, inbox);
        let (samples, spurious) = (recovery.rtt().samples(), recovery.spurious());
        let mut timing = None;
        recovery.on_ack(now, ack, next_pn, |settled| {
            let measures = settled.packet.eliciting && low16(settled.pn) == ack.largest;
            let delay = ack.delay_micros().filter(|_| measures).map(Duration::from_micros);
            timing = timing.or(delay.map(|held| AckTiming { sent: settled.sent, held }));
            settler.settle(settled, delay);
        })?;
        if recovery.rtt().samples() > samples {
            settler.rate.on_rtt(now, recovery.rtt().latest(), recovery.rtt().recent_min());
        }
        settler.rate.on_spurious((recovery.spurious() - spurious) as u32);
        self.ack_timing = timing;
        self.after_settling(now);
        Ok(())
    }

    pub(super) fn after_settling(&mut self, now: Time) {
        self.manifest.forget_before(self.recovery.oldest());
        let rate = self.rate.rate();
        if rate != self.traced_rate {
            self.traced_rate = rate;
            self.record(now, || TraceEvent::Rate { bytes_per_s: rate });
        }
    }
}

/// What a packet carried, for the trace.
fn contents_of(parsed: &Parsed, plaintext_bytes: usize) -> Contents {
    let mut contents = Contents::default();
    contents.ack = parsed.preamble.ack.is_some();
    for frame in &parsed.frames {
        match frame {
            Frame::Control(Control::MtuProbe) => contents.probe = true,
            Frame::Control(_) => contents.control = true,
            Frame::Message { channel, len, .. } => contents.add(*channel, usize::from(*len)),
            Frame::Snapshot { start } => contents.add_snapshot(plaintext_bytes.saturating_sub(usize::from(*start))),
        }
    }
    contents
}
