//! An established connection: the same code at both ends.
//!
//! Order of a received packet (`receive.rs`): header → replay check → AEAD → parse whole → only then does any state
//! change: replay window, acks, frames. Order of a sent one (`transmit.rs`): ack and tick, control frames, messages as the
//! scheduler says, the snapshot last, so that it is written in place and runs to the end; block chunks ride only where no
//! snapshot does and nothing else waits.

mod lane;
mod lanes;
mod manifest;
mod receive;
mod settle;
mod timers;
mod transmit;

use core::mem::offset_of;
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::bits::BitWriter;
use crate::channel::{Channel, MAX_CHANNELS, Table};
use crate::clock::ServerClock;
use crate::delivery::Blocks;
use crate::error::{CloseReason, DisconnectReason, SendError};
use crate::features::Features;
use crate::inbox::{Inbox, Record};
use crate::keys::{RxKeys, TxKeys};
use crate::mtu::Mtu;
use crate::packet::{BASE_DATAGRAM, ConnId, Direction};
use crate::policer::Policer;
use crate::prefetch::{Prefetch, Way};
use crate::rate::{RateConfig, RateControl};
use crate::recovery::Recovery;
use crate::replay::ReplayWindow;
use crate::scheduler::{Scheduler, Share};
use crate::stats::Quality;
use crate::time::Time;
use crate::trace::{PathStep, Trace, TraceEvent, TraceState};
use crate::window::Meter;
use lane::Lane;
use lanes::Lanes;
use manifest::Manifest;
pub(crate) use receive::{Received, Receiver};

/// A packet is sent at least this often.
pub const KEEPALIVE: Duration = Duration::from_secs(1);
/// The longest that an ack, or a small message, waits for a packet to ride in.
pub const MAX_ACK_DELAY: Duration = Duration::from_millis(60);
/// So many packets that ask for an ack get it at once.
pub const ACK_EVERY: u8 = 8;
/// So many get it before any timer runs: an ack names 33 packets, and those of a burst that it does not name look lost.
pub const ACK_SOON: u8 = 16;
/// After so many authentic packets that break the protocol the connection is closed.
pub const MAX_MALFORMED: u8 = 3;
/// Short pings, by which a path that has shrunk is told from one that is dead, are at least so far apart.
const SHORT_PING_INTERVAL: Duration = Duration::from_millis(200);
/// How often a close is sent, and how far apart.
const CLOSE_REPEATS: u8 = 3;
const CLOSE_INTERVAL: Duration = Duration::from_millis(50);
/// Packet numbers end here: far below where a number of 64 bits would wrap.
const MAX_PACKET_NUMBER: u64 = 1 << 48;
/// The most questions for the time that wait for their answer.
const MAX_TIME_REPLIES: usize = 4;

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

/// What the handshake agreed on, and how this end behaves.
#[derive(Debug)]
pub struct Parameters {
    /// The connection's id at the server.
    pub conn: ConnId,
    /// Which way this end sends.
    pub direction: Direction,
    /// Seals what this end sends.
    pub tx: TxKeys,
    /// Opens what it receives.
    pub rx: RxKeys,
    /// The connection ends when nothing valid arrives for so long.
    pub idle_timeout: Duration,
    /// What both ends can.
    pub features: Features,
    /// The longest datagram that the peer takes and this end may send.
    pub max_datagram: u16,
    /// How fast this end sends.
    pub rate: RateConfig,
    /// The most bytes a second that are taken from the peer; `None`: no limit.
    pub inbound_cap: Option<u32>,
}

/// A packet that was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Bytes of the datagram.
    pub len: usize,
    /// Its packet number.
    pub pn: u64,
}

/// What the newest ack tells about the way there: a packet sent then was with the peer for so long before it wrote the packet
/// that the ack came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckTiming {
    /// When the packet was sent.
    pub sent: Time,
    /// For how long the peer had it, in steps of 250 µs.
    pub held: Duration,
}

/// The acknowledgement that this end owes.
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    /// When the first packet that asks for it arrived, or a small message was queued.
    since: Option<Time>,
    /// How many packets ask for it.
    packets: u8,
    /// A packet is missing: its sender should learn so at once.
    gap: bool,
}

impl Owed {
    fn due(&self) -> Time {
        match self.since {
            None => Time::NEVER,
            Some(since) if self.gap || self.packets >= ACK_EVERY => since,
            Some(since) => since + MAX_ACK_DELAY,
        }
    }
}

/// A client's question for the time that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct TimeQuestion {
    sent: u32,
    received: Time,
}

/// Control frames that wait for a packet.
#[derive(Debug, Default)]
struct Waiting {
    ping: bool,
    /// A ping in a packet of its own that every path takes.
    short_ping: bool,
    path_response: Option<[u8; 8]>,
    time_replies: ArrayVec<TimeQuestion, MAX_TIME_REPLIES>,
    /// One of them should not wait for a ride.
    at_once: bool,
}

/// A connection whose keys are agreed.
///
/// A server has thousands, and each packet finds its own out of the caches. So the order is that of use: what only a packet
/// out needs, what both need, what only one in needs, and each of the three is in one piece.
#[derive(Debug)]
#[repr(C)]
pub struct Connection {
    scheduler: Scheduler,
    tx: TxKeys,
    next_pn: u64,
    last_sent: Time,
    mtu: Mtu,
    replay: ReplayWindow,
    largest_at: Time,
    last_received: Time,
    state: State,
    conn: ConnId,
    direction: Direction,
    features: Features,
    malformed: u8,
    /// What is queued should not wait for a ride: it is large, was lost, or found no room.
    hurry: bool,
    owed: Owed,
    traced_rate: u32,
    idle_timeout: Duration,
    /// When the scheduler's tick ends, and how long one is.
    tick_ends: Time,
    tick: Duration,
    /// Bytes of the last snapshot, as a forecast of the next.
    snapshot_bytes: usize,
    outbound: Meter,
    /// No short ping is sent before.
    next_short_ping: Time,
    /// A client's estimate of its server's time.
    clock: Option<Box<ServerClock>>,
    trace: Option<Box<Trace>>,
    lanes: Lanes,
    manifest: Manifest,
    waiting: Waiting,
    rate: RateControl,
    recovery: Recovery,
    policer: Option<Policer>,
    inbound: Meter,
    /// Of the newest ack, until it is taken.
    ack_timing: Option<AckTiming>,
    rx: RxKeys,
}

// The pieces lie one behind the other, within the struct.
const _: () = assert!(Connection::SHARES.end <= Connection::OUT.start && Connection::OUT.start < Connection::IN.start);
const _: () = assert!(Connection::COMMON_END <= Connection::IN_KEYS.start);
const _: () = assert!(Connection::IN_KEYS.end <= size_of::<Connection>());

impl Connection {
    /// Where what each packet needs lies in this struct.
    const SHARES: Range<usize> = 0..offset_of!(Self, scheduler) + Scheduler::HOT;
    const OUT: Range<usize> = offset_of!(Self, tx) + TxKeys::HOT..Self::COMMON_END;
    const IN: Range<usize> = offset_of!(Self, tx) + TxKeys::ACKED..Self::COMMON_END;
    const IN_KEYS: Range<usize> = offset_of!(Self, policer)..offset_of!(Self, rx) + RxKeys::HOT;
    const COMMON_END: usize = offset_of!(Self, recovery) + Recovery::HOT;

    /// A connection that was agreed on at `now`, with the lanes of `table`.
    #[must_use]
    pub fn new(parameters: Parameters, table: &Table, now: Time) -> Self {
        let Parameters { conn, direction, tx, rx, idle_timeout, features, max_datagram, rate, inbound_cap } =
            parameters;
        let longest = if features.contains(Features::MTU) { max_datagram } else { BASE_DATAGRAM as u16 };
        let asks_time = direction == Direction::ToServer && features.contains(Features::CLOCK);
        let mut mtu = Mtu::new(BASE_DATAGRAM as u16, longest);
        mtu.on_established(now);
        Self {
            conn,
            direction,
            idle_timeout,
            features,
            tx,
            rx,
            state: State::Open,
            next_pn: 0,
            replay: ReplayWindow::default(),
            largest_at: now,
            ack_timing: None,
            recovery: Recovery::default(),
            tick: rate.tick,
            rate: RateControl::new(rate),
            policer: inbound_cap.map(|cap| Policer::new(cap, now)),
            mtu,
            scheduler: Scheduler::new(&shares(table)),
            lanes: Lanes::new(table),
            manifest: Manifest::default(),
            malformed: 0,
            last_received: now,
            last_sent: now,
            owed: Owed::default(),
            waiting: Waiting::default(),
            next_short_ping: now,
            hurry: false,
            tick_ends: now,
            snapshot_bytes: 0,
            clock: asks_time.then(Box::default),
            inbound: Meter::default(),
            outbound: Meter::default(),
            traced_rate: 0,
            trace: None,
        }
    }

    /// Asks for what the next packet needs of this struct; it is not looked at.
    #[inline]
    pub(crate) fn prefetch(this: *const Self, way: Way, prefetch: Prefetch) {
        let parts = match way {
            Way::Out => [Self::SHARES, Self::OUT],
            Way::In => [Self::IN, Self::IN_KEYS],
        };
        parts.into_iter().for_each(|part| prefetch.part(this, part));
    }

    /// Asks for what the next packet needs and is not in this struct.
    #[inline]
    pub(crate) fn prefetch_contents(&self, way: Way, prefetch: Prefetch) {
        self.recovery.prefetch_contents(way, prefetch);
        self.lanes.prefetch_contents(way, prefetch);
    }

    /// The connection's id at the server.
    #[must_use]
    pub const fn id(&self) -> ConnId {
        self.conn
    }

    /// What both ends may do beyond the basic protocol.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
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

    /// What the newest ack tells about the way there, once.
    pub fn take_ack_timing(&mut self) -> Option<AckTiming> {
        self.ack_timing.take()
    }

    /// Round-trip time, loss, rates and queues as seen from here.
    #[must_use]
    pub fn quality(&self, now: Time) -> Quality {
        Quality {
            bytes_per_s_in: self.inbound.per_second(now),
            bytes_per_s_out: self.outbound.per_second(now),
            rate: self.rate.rate(),
            mtu: self.mtu.current(),
            queued_bytes: self.lanes.iter().map(|lane| lane.queued().0 as u64).sum(),
            queued_messages: self.lanes.iter().map(|lane| lane.queued().1 as u64).sum(),
            held_bytes: self.lanes.iter().map(|lane| lane.held_bytes() as u64).sum(),
            dropped: self.lanes.iter().map(|lane| lane.dropped).sum(),
            ..self.recovery.quality()
        }
    }

    /// Mean deviation of the round-trip time, as in [`Connection::quality`].
    #[must_use]
    pub const fn jitter(&self) -> core::time::Duration {
        core::time::Duration::from_micros(self.recovery.rtt().variance())
    }

    /// At a client: its estimate of the server's clock.
    #[must_use]
    pub fn server_clock(&self) -> Option<&ServerClock> {
        self.clock.as_deref()
    }

    /// How often each direction's keys were rolled: sending, receiving.
    #[must_use]
    pub fn key_generations(&self) -> (u64, u64) {
        (self.tx.generation(), self.rx.generation())
    }

    /// From now on what happens is recorded.
    pub fn enable_trace(&mut self, now: Time) {
        self.trace.get_or_insert_default();
        self.record(now, || TraceEvent::State { state: TraceState::Established });
    }

    /// What was recorded, if anything is.
    pub fn trace(&mut self) -> Option<&mut Trace> {
        self.trace.as_deref_mut()
    }

    /// Queues a message. On a sequenced channel it replaces one that still waits.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, now: Time, channel: u8, message: &[u8]) -> Result<(), SendError> {
        let hurry = self.open_lane(channel)?.send(channel, message)?;
        self.hurry |= hurry;
        self.owed.since.get_or_insert(now);
        Ok(())
    }

    /// Queues a block, from 1 byte to the channel's limit; returns its number.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_block(&mut self, channel: u8, bytes: Arc<[u8]>) -> Result<u64, SendError> {
        let id = self.open_lane(channel)?.start_block(channel, bytes)?;
        self.hurry = true;
        Ok(id)
    }

    /// The blocks of a channel: to cancel or pause.
    ///
    /// # Errors
    /// See [`SendError`].
    pub(crate) fn blocks(&mut self, channel: u8) -> Result<&mut Blocks, SendError> {
        self.hurry = true;
        self.open_lane(channel)?.blocks(channel)
    }

    fn open_lane(&mut self, channel: u8) -> Result<&mut Lane, SendError> {
        if self.state != State::Open {
            return Err(SendError::NotConnected);
        }
        self.lanes.get_mut(usize::from(channel)).ok_or(SendError::NoSuchChannel(channel))
    }

    /// Puts a ping into the next packet, which is then due at once.
    pub(crate) fn ping(&mut self) {
        self.waiting.ping = true;
    }

    /// The peer's address changed: what was learned of the old path's length limit may not hold.
    pub(crate) fn on_path_changed(&mut self, now: Time, address: SocketAddr, other_host: bool) {
        // A NAT that only takes another port keeps the path; a host elsewhere has another one.
        if other_host {
            self.recovery.on_path_changed(now);
            self.rate.on_path_changed(now);
        }
        self.mtu.on_established(now);
        self.record(now, || TraceEvent::Path { step: PathStep::Moved, address });
    }

    /// Starts to close: the peer is told a few times, then the connection is closed.
    pub(crate) fn close(&mut self, now: Time, reason: CloseReason, inbox: &mut Inbox) {
        if self.state == State::Open {
            self.state = State::Closing { reason, left: CLOSE_REPEATS, next: now };
            self.record(now, || TraceEvent::State { state: TraceState::Closing(reason) });
            inbox.push(self.conn, Record::Disconnected(DisconnectReason::Local(reason)));
        }
    }

    fn disconnect(&mut self, now: Time, reason: DisconnectReason, inbox: &mut Inbox) {
        self.state = State::Closed;
        self.record(now, || TraceEvent::State { state: TraceState::Closed(reason) });
        inbox.push(self.conn, Record::Disconnected(reason));
    }

    fn record(&mut self, now: Time, event: impl FnOnce() -> TraceEvent) {
        if let Some(trace) = &mut self.trace {
            trace.push(now, event());
        }
    }
}

fn shares(table: &Table) -> ArrayVec<Share, MAX_CHANNELS> {
    let share = |channel: &Channel| Share {
        priority: channel.priority,
        weight: channel.weight,
        min_bytes: channel.min_bytes,
        max_bytes: channel.max_bytes,
    };
    table.0.iter().map(share).collect()
}
