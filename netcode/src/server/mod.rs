//! The server's endpoint: handshakes and every connection of one worker.
//!
//! Sans-I/O. Per loop: [`handle_datagram`](ServerEndpoint::handle_datagram) for what arrived,
//! [`handle_timeout`](ServerEndpoint::handle_timeout) when due, [`poll_event`](ServerEndpoint::poll_event) until
//! `None`, [`transmit`](ServerEndpoint::transmit) once per connection and tick, and
//! [`poll_transmit_control`](ServerEndpoint::poll_transmit_control) until `None`.

mod admission;
mod prefixes;
mod single_use;
mod slots;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::channel::Table;
use crate::connection::{Built, Receiver, SnapshotWriter};
use crate::crypto::{ClusterKey, CookieKey, Entropy, hmac_sha256};
use crate::delivery::{BlockEvent, Blocks};
use crate::error::{CloseReason, DisconnectReason, SendError};
use crate::features::Features;
use crate::frame::Parsed;
use crate::handshake::{self, ACCEPT_BYTES};
use crate::inbox::{self, Inbox, Record};
use crate::keys::KeyLimits;
use crate::packet::{ConnId, DATA_FLAGS, Direction, Header, MAX_DATAGRAM};
use crate::prefetch::{Prefetch, Way};
use crate::stats::{Drop, Drops, Quality, Traffic};
use crate::time::Time;
use crate::token::{TokenClaims, TokenId};
use crate::trace::TraceEvent;
use crate::version::Versions;

use prefixes::Prefixes;
pub use prefixes::{PREFIX_ENTRIES, PrefixLimits, Rate};
pub use single_use::{NotClaimed, SingleUse};
use slots::Slots;

/// How far apart the timers of all connections are looked at.
const TIMER_GRAIN: Duration = Duration::from_millis(10);
/// How many tokens may be opened for each handshake that may be worked on.
pub const OPENS_PER_HANDSHAKE: u32 = 16;
/// The most handshake answers that wait to be sent.
const MAX_REPLIES: usize = 1024;

/// How a worker's endpoint behaves.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// This worker's number, below 64; part of every connection id.
    pub worker: u8,
    /// The keys under which connect tokens may be sealed.
    pub cluster_keys: Vec<ClusterKey>,
    /// This server's id, which a token must list.
    pub server_id: u32,
    /// The server group that a token must name.
    pub group: u32,
    /// The channels.
    pub channels: Table,
    /// Hash of the schema.
    pub schema_hash: u64,
    /// What clients may use of what they offer. Default [`Features::TRANSPORT`]: what else there is, is the owner's to serve.
    pub features: Features,
    /// The longest datagram that this server takes; less than 1200 counts as that.
    pub max_datagram: u16,
    /// The versions that it says it speaks: [`Versions::SPOKEN`], unless a test plays a later server.
    pub versions: Versions,
    /// Ticks a second.
    pub rate: u16,
    /// The most connections, half-open ones included; at most 65,535.
    pub max_connections: u16,
    /// A connection ends when nothing valid arrives for so long.
    pub idle_timeout: Duration,
    /// An accepted client that never sends a valid packet is forgotten after so long. Its token stays used, so this
    /// should be as long as clients try.
    pub half_open_timeout: Duration,
    /// HELLOs per 100 ms whose tokens are opened without a cookie; beyond it a RETRY asks for one.
    pub retry_above: u32,
    /// Key agreements per 100 ms (about 150 µs each); beyond it HELLOs are dropped, and clients repeat them. Tokens are
    /// opened, at some 3 µs, [`OPENS_PER_HANDSHAKE`] times as often, so that tokens of no worth cannot use this up.
    pub max_handshakes: u32,
    /// The most accepted clients that have not sent a valid packet yet; beyond it HELLOs are dropped.
    pub max_half_open: u16,
    /// The most bytes a second to one client; its token may say less.
    pub rate_cap: u32,
    /// When the keys of what is sent are rolled.
    pub key_limits: KeyLimits,
    /// HELLOs that one network may have worked on, by this worker.
    pub prefixes: PrefixLimits,
}

impl ServerConfig {
    /// Defaults for everything but keys, schema and rate: server 1 of group 0, 4096 connections, 10 s idle, 10 s
    /// half-open, cookies above 50 and drops above 200 handshakes per 100 ms (30 % of a core).
    #[must_use]
    pub fn new(cluster_keys: Vec<ClusterKey>, schema_hash: u64, rate: u16) -> Self {
        Self {
            worker: 0,
            cluster_keys,
            server_id: 1,
            group: 0,
            channels: Table::standard(),
            schema_hash,
            features: Features::TRANSPORT,
            max_datagram: MAX_DATAGRAM as u16,
            versions: Versions::SPOKEN,
            rate,
            max_connections: 4096,
            idle_timeout: Duration::from_secs(10),
            half_open_timeout: Duration::from_secs(10),
            retry_above: 50,
            max_handshakes: 200,
            max_half_open: 1024,
            rate_cap: 1_000_000,
            key_limits: KeyLimits::default(),
            prefixes: PrefixLimits::default(),
        }
    }
}

/// Something the owner should know.
#[derive(Debug)]
pub enum ServerEvent<'a> {
    /// A client proved its token, its keys and its address.
    Connected {
        /// The connection.
        conn: ConnId,
        /// What its token says.
        claims: Box<TokenClaims>,
    },
    /// A message arrived.
    Message {
        /// The connection.
        conn: ConnId,
        /// The channel.
        channel: u8,
        /// The tick of the packet that it came in.
        tick: Option<u64>,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// Something about a block on its way, in either direction.
    Block {
        /// The connection.
        conn: ConnId,
        /// The channel.
        channel: u8,
        /// What happened.
        event: BlockEvent<'a>,
    },
    /// The client has what a snapshot packet carried.
    Acked {
        /// The connection.
        conn: ConnId,
        /// The packet's number.
        pn: u64,
    },
    /// A snapshot packet is given up as lost.
    Lost {
        /// The connection.
        conn: ConnId,
        /// The packet's number.
        pn: u64,
    },
    /// The connection is over; nothing follows.
    Disconnected {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: DisconnectReason,
    },
}

/// A data packet that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes.
    pub to: SocketAddr,
    /// Its length.
    pub len: usize,
    /// Its packet number.
    pub pn: u64,
}

/// The handshake work of the current 100 ms.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    number: u64,
    /// Tokens opened.
    opened: u32,
    /// Keys agreed.
    agreed: u32,
}

type Reply = ArrayVec<u8, ACCEPT_BYTES>;

/// The key of the prefixes' hash: as secret and as fresh as the cookies' key, from which it comes.
fn prefix_seed(cookie_key: &CookieKey) -> [u8; 16] {
    let mut seed = [0; 16];
    // No cookie is made of a message of this length.
    let mac = hmac_sha256(cookie_key.as_bytes(), &[b"zonewire prefixes"]);
    seed.iter_mut().zip(mac).for_each(|(to, from)| *to = from);
    seed
}

/// The endpoint of one worker.
pub struct ServerEndpoint {
    config: ServerConfig,
    cookie_key: CookieKey,
    single_use: Arc<SingleUse>,
    slots: Slots,
    /// Accepted clients that have not sent a valid packet yet.
    half_open: BTreeMap<TokenId, u16>,
    replies: VecDeque<(SocketAddr, Reply)>,
    /// Slots that want a packet of their own.
    due: VecDeque<u16>,
    window: Window,
    prefixes: Prefixes,
    next_scan: Time,
    tick: u64,
    inbox: Inbox,
    scratch: Parsed,
    traffic: Traffic,
    drops: Drops,
    accepted: u64,
    retries: u64,
    roams: u64,
    key_rolls: u64,
}

impl ServerEndpoint {
    /// An endpoint without connections. `cookie_key` should be fresh for each process; `single_use` is shared with
    /// the other workers.
    #[must_use]
    pub fn new(config: ServerConfig, cookie_key: CookieKey, single_use: Arc<SingleUse>) -> Self {
        let slots = Slots::new(config.worker, config.max_connections);
        let prefixes = Prefixes::new(&prefix_seed(&cookie_key), config.prefixes);
        Self {
            config,
            cookie_key,
            single_use,
            slots,
            half_open: BTreeMap::new(),
            replies: VecDeque::with_capacity(MAX_REPLIES),
            due: VecDeque::new(),
            window: Window::default(),
            prefixes,
            next_scan: Time::ZERO,
            tick: 0,
            inbox: Inbox::default(),
            scratch: Parsed::default(),
            traffic: Traffic::default(),
            drops: Drops::default(),
            accepted: 0,
            retries: 0,
            roams: 0,
            key_rolls: 0,
        }
    }

    /// The server's tick, named in ACCEPTs and packets and the reference for the clients' ticks.
    pub fn set_tick(&mut self, tick: u64) {
        self.tick = tick;
    }

    /// Connections, half-open ones included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// Accepted clients that have not sent a valid packet yet.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// Packets and bytes so far.
    #[must_use]
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What was dropped so far, by cause.
    #[must_use]
    pub const fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Handshakes accepted so far.
    #[must_use]
    pub const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// RETRYs sent so far.
    #[must_use]
    pub const fn retries(&self) -> u64 {
        self.retries
    }

    /// How often a client's address changed.
    #[must_use]
    pub const fn roams(&self) -> u64 {
        self.roams
    }

    /// How often a connection's keys were rolled, by this end or by the client.
    #[must_use]
    pub const fn key_rolls(&self) -> u64 {
        self.key_rolls
    }

    /// A connection's round-trip time, loss, rates and queues.
    #[must_use]
    pub fn quality(&self, now: Time, conn: ConnId) -> Option<Quality> {
        Some(self.slots.get(conn)?.connection.quality(now))
    }

    /// The mean deviation of a connection's round-trip time, at less cost than [`ServerEndpoint::quality`].
    #[must_use]
    pub fn jitter(&self, conn: ConnId) -> Option<core::time::Duration> {
        Some(self.slots.get(conn)?.connection.jitter())
    }

    /// What was agreed on with a client.
    #[must_use]
    pub fn features(&self, conn: ConnId) -> Option<Features> {
        Some(self.slots.get(conn)?.connection.features())
    }

    /// The address that a connection's packets go to; `None` until one has proved itself.
    #[must_use]
    pub fn address(&self, conn: ConnId) -> Option<SocketAddr> {
        self.slots.get(conn)?.address
    }

    /// How often a connection's keys were rolled: of what is sent, of what is received.
    #[must_use]
    pub fn key_generations(&self, conn: ConnId) -> Option<(u64, u64)> {
        Some(self.slots.get(conn)?.connection.key_generations())
    }

    /// From now on what happens on a connection is recorded for [`poll_trace`](Self::poll_trace).
    pub fn enable_trace(&mut self, now: Time, conn: ConnId) {
        if let Some(peer) = self.slots.get_mut(conn) {
            peer.connection.enable_trace(now);
        }
    }

    /// The next event of a connection's trace.
    pub fn poll_trace(&mut self, conn: ConnId) -> Option<(Time, TraceEvent)> {
        self.slots.get_mut(conn)?.connection.trace()?.poll()
    }

    /// Takes a datagram. It is decrypted in place; junk is counted and dropped. `unix_ms` is the wall clock (for
    /// token expiry alone).
    pub fn handle_datagram(
        &mut self,
        now: Time,
        unix_ms: u64,
        from: SocketAddr,
        datagram: &mut [u8],
        entropy: &mut dyn Entropy,
    ) {
        self.traffic.received(datagram.len());
        let result = match datagram.first() {
            Some(&handshake::HELLO) => self.on_hello(now, unix_ms, from, datagram, entropy),
            Some(flags) if flags & DATA_FLAGS != 0 => self.on_data(now, from, datagram, entropy),
            Some(_) => Err(Drop::UnknownType),
            None => Err(Drop::TooShort),
        };
        if let Err(drop) = result {
            self.drops.count(drop);
        }
    }

    fn on_data(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &mut [u8],
        entropy: &mut dyn Entropy,
    ) -> Result<(), Drop> {
        let header = Header::read(datagram, Direction::ToServer)?;
        // P-4
        let conn = header.conn.ok_or(Drop::UnknownConnection)?;
        let peer = self.slots.get_mut(conn).ok_or(Drop::UnknownConnection)?;
        let place = self.inbox.len();
        let mut receiver = Receiver {
            reference: self.tick,
            table: &self.config.channels,
            scratch: &mut self.scratch,
            inbox: &mut self.inbox,
        };
        let rolled = peer.connection.key_generations().1;
        let received = peer.connection.receive(now, &header, datagram, &mut receiver);
        self.key_rolls += peer.connection.key_generations().1 - rolled;
        if let Ok(received) = received {
            // P-9
            let pending = peer.half_open.take();
            if let Some(pending) = pending.as_ref().filter(|_| peer.answered != Some(from)) {
                peer.contest(now, pending, entropy);
            }
            if peer.follow(now, from, received, datagram.len(), entropy) {
                self.roams += 1;
            }
            if let Some(pending) = pending {
                self.half_open.remove(&pending.token_id);
                self.inbox.insert(place, conn, Record::Admitted(pending.claims));
            }
        }
        if peer.connection.owes_soon() && !peer.queued && peer.address.is_some() {
            peer.queued = true;
            self.due.push_back(conn.slot());
        }
        self.slots.reschedule(conn);
        received?.dropped.map_or(Ok(()), Err)
    }

    /// Asks for what the next packet of a connection needs: first for `itself`, and some packets later, when that is there,
    /// for what it points to.
    #[inline]
    pub fn prefetch(&self, slot: u16, way: Way, itself: bool, prefetch: Prefetch) {
        if itself {
            self.slots.prefetch(slot, way, prefetch);
        } else {
            self.slots.prefetch_contents(slot, way, prefetch);
        }
    }

    /// Queues a message.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, now: Time, conn: ConnId, channel: u8, message: &[u8]) -> Result<(), SendError> {
        let peer = self.slots.get_mut(conn).ok_or(SendError::NotConnected)?;
        peer.connection.send(now, channel, message)?;
        self.slots.hasten(conn);
        Ok(())
    }

    /// Queues a block of 1 byte up to the channel's limit, on a block channel; returns its number there. At most one is on its
    /// way and three wait.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_block(&mut self, conn: ConnId, channel: u8, bytes: Arc<[u8]>) -> Result<u64, SendError> {
        let peer = self.slots.get_mut(conn).ok_or(SendError::NotConnected)?;
        let id = peer.connection.send_block(channel, bytes)?;
        self.slots.reschedule(conn);
        Ok(id)
    }

    /// The blocks of a connection's channel: to cancel one, or to pause what arrives.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn blocks(&mut self, conn: ConnId, channel: u8) -> Result<&mut Blocks, SendError> {
        // What is done to them may make a packet due.
        self.slots.set_deadline(conn, Time::ZERO);
        let peer = self.slots.get_mut(conn).ok_or(SendError::NotConnected)?;
        peer.connection.blocks(channel)
    }

    /// Closes a connection: the client is told a few times, then the slot is free. A half-open one is forgotten at
    /// once and without a word, since neither its address nor its owner here knows of it.
    pub fn close(&mut self, now: Time, conn: ConnId, reason: CloseReason) {
        let Some(peer) = self.slots.get_mut(conn) else { return };
        if let Some(pending) = &peer.half_open {
            self.half_open.remove(&pending.token_id);
            self.slots.free(conn);
            return;
        }
        peer.connection.close(now, reason, &mut self.inbox);
        if peer.address.is_none() {
            // Nobody can be told.
            return self.slots.free(conn);
        }
        self.slots.set_deadline(conn, now);
        self.next_scan = now;
    }

    /// Closes every connection.
    pub fn close_all(&mut self, now: Time, reason: CloseReason) {
        for conn in self.slots.ids() {
            self.close(now, conn, reason);
        }
    }

    /// Writes one data packet for a connection into `out` (at least [`MAX_DATAGRAM`] bytes):
    /// whatever waits, and a snapshot when a writer is given. `None` when the connection is gone or closing, or has no
    /// address that has proved itself.
    pub fn transmit(
        &mut self,
        now: Time,
        conn: ConnId,
        out: &mut [u8],
        snapshot: Option<SnapshotWriter<'_>>,
    ) -> Option<Transmit> {
        let peer = self.slots.get_mut(conn)?;
        let to = peer.address?;
        let rolled = peer.connection.key_generations().0;
        let built = peer.connection.build(now, Some(self.tick), out, snapshot, &mut self.inbox);
        self.key_rolls += peer.connection.key_generations().0 - rolled;
        let Built { len, pn } = built?;
        self.slots.reschedule(conn);
        self.traffic.sent(len);
        Some(Transmit { to, len, pn })
    }

    /// Writes the next handshake answer, or a packet that a connection wants for a reason of its own.
    pub fn poll_transmit_control(&mut self, now: Time, out: &mut [u8]) -> Option<(SocketAddr, usize)> {
        if let Some((to, reply)) = self.replies.pop_front() {
            out.get_mut(..reply.len())?.copy_from_slice(&reply);
            self.traffic.sent(reply.len());
            return Some((to, reply.len()));
        }
        while let Some(slot) = self.due.pop_front() {
            let Some(conn) = self.slots.id_at(slot) else { continue };
            if let Some(sent) = self.transmit_due(now, conn, out) {
                return Some(sent);
            }
        }
        None
    }

    /// A path challenge, or a packet that the connection wants; while it wants more it queues again, behind the others.
    fn transmit_due(&mut self, now: Time, conn: ConnId, out: &mut [u8]) -> Option<(SocketAddr, usize)> {
        let tick = self.tick;
        let peer = self.slots.get_mut(conn)?;
        peer.queued = false;
        let sent = match peer.challenge(now, tick, out, &mut self.inbox) {
            Some(sent) => {
                self.traffic.sent(sent.1);
                Some(sent)
            }
            None if peer.connection.wants_packet(now) => {
                self.transmit(now, conn, out, None).map(|transmit| (transmit.to, transmit.len))
            }
            None => None,
        };
        // With its last packet the connection may be gone.
        if let Some(peer) = self.slots.get_mut(conn)
            && sent.is_some()
            && peer.wants_packet(now)
        {
            peer.queued = true;
            self.due.push_back(conn.slot());
        }
        self.slots.reschedule(conn);
        sent
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        (!self.slots.is_empty()).then_some(self.next_scan)
    }

    /// Looks at the timers of all connections, at most every 10 ms; calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Time) {
        if now < self.next_scan {
            return;
        }
        self.next_scan = now + TIMER_GRAIN;
        for slot in 0..self.slots.capacity_used() {
            if self.slots.deadline(slot) <= now {
                self.run_timers(now, slot);
            }
        }
    }

    fn run_timers(&mut self, now: Time, slot: u16) {
        let Some(conn) = self.slots.id_at(slot) else { return };
        let Some(peer) = self.slots.get_mut(conn) else { return };
        if let Some(pending) = &peer.half_open {
            if pending.until <= now {
                self.half_open.remove(&pending.token_id);
                self.slots.free(conn);
            }
            return;
        }
        peer.connection.handle_timeout(now, &mut self.inbox);
        peer.path.take_if(|path| path.is_idle(now));
        // Without an address a close cannot be told.
        if peer.connection.is_closed() || (peer.address.is_none() && !peer.connection.is_open()) {
            self.slots.free(conn);
            return;
        }
        if peer.wants_packet(now) && !peer.queued {
            peer.queued = true;
            self.due.push_back(slot);
        }
        self.slots.reschedule(conn);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ServerEvent<'_>> {
        let (conn, record, bytes) = self.inbox.poll()?;
        Some(match record {
            Record::Admitted(claims) => ServerEvent::Connected { conn, claims },
            Record::Message { channel, tick, bytes: range } => {
                ServerEvent::Message { conn, channel, tick, bytes: bytes.get(range).unwrap_or_default() }
            }
            Record::Block { channel, event, bytes: range } => {
                let event = inbox::with_bytes(event, bytes.get(range).unwrap_or_default());
                ServerEvent::Block { conn, channel, event }
            }
            Record::Settled { pn, acked: true } => ServerEvent::Acked { conn, pn },
            Record::Settled { pn, acked: false } => ServerEvent::Lost { conn, pn },
            Record::Disconnected(reason) => ServerEvent::Disconnected { conn, reason },
            Record::Accepted => unreachable!("only a client's endpoint records this"),
        })
    }
}
