//! The client's endpoint: one attempt to connect, then one connection.
//!
//! Sans-I/O. After every `handle_*` call, call [`poll_transmit`](ClientEndpoint::poll_transmit) until `None`, then
//! [`poll_event`](ClientEndpoint::poll_event) until `None`, then sleep until
//! [`poll_timeout`](ClientEndpoint::poll_timeout) or a datagram.

use core::time::Duration;
use std::sync::Arc;

use crate::channel::Table;
use crate::connection::{AckTiming, Connection, Parameters, Receiver};
use crate::crypto::{Aead, Ephemeral, Psk, handshake_mac_key};
use crate::delivery::{BlockEvent, Blocks};
use crate::error::{CloseReason, ConnectError, DisconnectReason, RefuseReason, SendError};
use crate::features::Features;
use crate::frame::Parsed;
use crate::handshake::{self, Accepted, HELLO_BYTES, Hello, Mac, RawAccept, RawHello, Versions};
use crate::inbox::{self, Inbox, Record};
use crate::keys::{KeyLimits, RxKeys, TxKeys};
use crate::packet::{BASE_DATAGRAM, ConnId, Direction, Header, MAX_DATAGRAM};
use crate::rate::RateConfig;
use crate::seq::expand16;
use crate::stats::{Drop, Drops, Quality, Traffic};
use crate::time::Time;
use crate::token::ConnectBundle;
use crate::trace::TraceEvent;

/// The first wait for an answer to a HELLO; each further one is 1.5 times as long.
const FIRST_RESEND: Duration = Duration::from_millis(250);
const MAX_RESEND: Duration = Duration::from_secs(1);
/// A refusal without a valid MAC is believed only if no ACCEPT comes for so long: anybody who sees the HELLO can
/// forge one.
const UNPROVEN_REFUSAL_WAIT: Duration = Duration::from_millis(1000);
/// The most RETRYs that one attempt follows.
const MAX_RETRIES: u8 = 8;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The channels; must equal the server's.
    pub channels: Table,
    /// Hash of the schema; must equal the server's.
    pub schema_hash: u64,
    /// The cipher for packets.
    pub aead: Aead,
    /// What to offer to the server.
    pub features: Features,
    /// The longest datagram that this client takes; less than [`BASE_DATAGRAM`] counts as that.
    pub max_datagram: u16,
    /// The attempt fails when no valid answer arrives for so long.
    pub handshake_timeout: Duration,
    /// The most bytes a second to the server; the token may say less.
    pub rate_cap: u32,
    /// When the keys of what is sent are rolled.
    pub key_limits: KeyLimits,
}

impl ClientConfig {
    /// The standard channels, AES-128-GCM, all features, datagrams up to [`MAX_DATAGRAM`], 10 s for the handshake.
    #[must_use]
    pub fn new(schema_hash: u64) -> Self {
        Self {
            channels: Table::standard(),
            schema_hash,
            aead: Aead::default(),
            features: Features::ALL,
            max_datagram: MAX_DATAGRAM as u16,
            handshake_timeout: Duration::from_secs(10),
            rate_cap: 1_000_000,
            key_limits: KeyLimits::default(),
        }
    }
}

/// Something the owner should know.
#[derive(Debug)]
pub enum ClientEvent<'a> {
    /// The server accepted; messages can be sent.
    Connected(Accepted),
    /// A message (or a snapshot's body) arrived.
    Message {
        /// The channel.
        channel: u8,
        /// The tick of the packet that it came in.
        tick: Option<u64>,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// Something about a block on its way, in either direction.
    Block {
        /// The channel.
        channel: u8,
        /// What happened.
        event: BlockEvent<'a>,
    },
    /// The connection, or the attempt, is over; nothing follows.
    Disconnected(DisconnectReason),
}

/// Where the endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// Waiting for the server's answer.
    Connecting,
    /// Connected.
    Connected,
    /// Over (a few closes may still be sent).
    Closed,
}

struct Attempt {
    hello: Box<[u8; HELLO_BYTES]>,
    mac: Mac,
    mac_key: [u8; 32],
    psk: Psk,
    ephemeral: Option<Ephemeral>,
    next_send: Time,
    interval: Duration,
    deadline: Time,
    retries: u8,
    /// A refusal that is not proven, and when it will be believed.
    refusal: Option<(RefuseReason, Time)>,
}

enum Phase {
    Connecting(Box<Attempt>),
    Established(Box<Connection>),
    Failed,
}

/// A client's endpoint.
pub struct ClientEndpoint {
    config: ClientConfig,
    phase: Phase,
    accepted: Option<Accepted>,
    tick: Option<u64>,
    /// The newest server tick seen.
    server_tick: u64,
    inbox: Inbox,
    scratch: Parsed,
    traffic: Traffic,
    drops: Drops,
    traced: bool,
}

impl ClientEndpoint {
    /// Starts an attempt with a bundle from the control plane. The caller sends what
    /// [`poll_transmit`](Self::poll_transmit) gives to one of the bundle's servers.
    ///
    /// # Errors
    /// [`ConnectError::BadChannelTable`] when the channel table breaks its own rules.
    pub fn connect(
        config: ClientConfig,
        bundle: &ConnectBundle,
        ephemeral: Ephemeral,
        now: Time,
    ) -> Result<Self, ConnectError> {
        if !config.channels.is_valid() {
            return Err(ConnectError::BadChannelTable);
        }
        let hello = Hello {
            highest_version: Versions::SPOKEN.highest,
            aead: config.aead,
            client_time: now.as_micros(),
            channel_hash: config.channels.hash(),
            schema_hash: config.schema_hash,
            features: config.features,
            cookie: [0; 32],
            public: ephemeral.public(),
            token: bundle.token.clone(),
            max_datagram: config.max_datagram.max(BASE_DATAGRAM as u16),
        };
        let mac_key = handshake_mac_key(&bundle.psk);
        let mut bytes = Box::new([0; HELLO_BYTES]);
        let mac = hello.write(&mut bytes, &mac_key);
        let attempt = Attempt {
            hello: bytes,
            mac,
            mac_key,
            psk: bundle.psk.clone(),
            ephemeral: Some(ephemeral),
            next_send: now,
            interval: FIRST_RESEND,
            deadline: now + config.handshake_timeout,
            retries: 0,
            refusal: None,
        };
        Ok(Self {
            config,
            phase: Phase::Connecting(Box::new(attempt)),
            accepted: None,
            tick: None,
            server_tick: 0,
            inbox: Inbox::default(),
            scratch: Parsed::default(),
            traffic: Traffic::default(),
            drops: Drops::default(),
            traced: false,
        })
    }

    /// Where the endpoint stands.
    #[must_use]
    pub fn state(&self) -> ClientState {
        match &self.phase {
            Phase::Connecting(_) => ClientState::Connecting,
            Phase::Established(connection) if connection.is_open() => ClientState::Connected,
            Phase::Established(_) | Phase::Failed => ClientState::Closed,
        }
    }

    /// What the server's ACCEPT said.
    #[must_use]
    pub const fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_ref()
    }

    /// Round-trip time, jitter and loss; zeroes before the connection stands.
    #[must_use]
    pub fn quality(&self, now: Time) -> Quality {
        if let Phase::Established(connection) = &self.phase { connection.quality(now) } else { Quality::default() }
    }

    /// The server's clock by now, as the client estimates it: never jumps, never goes back. `None` before the first answer,
    /// or when the server has no feature `clock`.
    #[must_use]
    pub fn server_time(&self, now: Time) -> Option<Time> {
        self.connection().and_then(Connection::server_clock)?.server_time(now)
    }

    /// What the ack of the newest datagram tells about the way to the server, once. `None` where it had no ack, or one that
    /// measures nothing.
    pub fn take_ack_timing(&mut self) -> Option<AckTiming> {
        if let Phase::Established(connection) = &mut self.phase { connection.take_ack_timing() } else { None }
    }

    /// How often the keys were rolled: of what is sent, of what is received.
    #[must_use]
    pub fn key_generations(&self) -> (u64, u64) {
        self.connection().map_or((0, 0), Connection::key_generations)
    }

    fn connection(&self) -> Option<&Connection> {
        if let Phase::Established(connection) = &self.phase { Some(connection) } else { None }
    }

    /// What happens on the connection is recorded for [`poll_trace`](Self::poll_trace); to be called before it stands.
    pub fn enable_trace(&mut self) {
        self.traced = true;
    }

    /// The next event of the trace.
    pub fn poll_trace(&mut self) -> Option<(Time, TraceEvent)> {
        if let Phase::Established(connection) = &mut self.phase { connection.trace()?.poll() } else { None }
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

    /// The tick to put into packets from now on: that of the newest input in them.
    pub fn set_tick(&mut self, tick: u64) {
        self.tick = Some(tick);
    }

    /// Queues a message.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, now: Time, channel: u8, message: &[u8]) -> Result<(), SendError> {
        match &mut self.phase {
            Phase::Established(connection) => connection.send(now, channel, message),
            _ => Err(SendError::NotConnected),
        }
    }

    /// Queues a block of 1 byte up to the channel's limit, on a block channel; returns its number there. At most one is on its
    /// way and three wait.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_block(&mut self, channel: u8, bytes: Arc<[u8]>) -> Result<u64, SendError> {
        match &mut self.phase {
            Phase::Established(connection) => connection.send_block(channel, bytes),
            _ => Err(SendError::NotConnected),
        }
    }

    /// The blocks of a channel: to cancel one, or to pause what arrives.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn blocks(&mut self, channel: u8) -> Result<&mut Blocks, SendError> {
        match &mut self.phase {
            Phase::Established(connection) => connection.blocks(channel),
            _ => Err(SendError::NotConnected),
        }
    }

    /// Closes: the server is told (a few times) by the packets that follow.
    pub fn close(&mut self, now: Time, reason: CloseReason) {
        match &mut self.phase {
            Phase::Established(connection) => connection.close(now, reason, &mut self.inbox),
            Phase::Connecting(_) => self.fail(DisconnectReason::Local(reason)),
            Phase::Failed => {}
        }
    }

    /// Takes a datagram from the server's address. It is decrypted in place; junk is counted and dropped.
    pub fn handle_datagram(&mut self, now: Time, datagram: &mut [u8]) {
        self.traffic.received(datagram.len());
        let result = match datagram.first() {
            Some(&handshake::RETRY) => self.on_retry(now, datagram),
            Some(&handshake::ACCEPT) => self.on_accept(now, datagram),
            Some(&handshake::REFUSE) => self.on_refuse(now, datagram),
            _ => self.on_data(now, datagram),
        };
        if let Err(drop) = result {
            self.drops.count(drop);
        }
    }

    fn on_retry(&mut self, now: Time, datagram: &[u8]) -> Result<(), Drop> {
        let (mac, cookie) = handshake::read_retry(datagram)?;
        let Phase::Connecting(attempt) = &mut self.phase else { return Err(Drop::NotExpected) };
        if mac != attempt.mac || attempt.retries >= MAX_RETRIES {
            return Err(Drop::NotExpected);
        }
        attempt.retries += 1;
        attempt.hello[44..76].copy_from_slice(&cookie);
        attempt.next_send = now;
        Ok(())
    }

    fn on_accept(&mut self, now: Time, datagram: &[u8]) -> Result<(), Drop> {
        let Phase::Connecting(attempt) = &mut self.phase else { return Err(Drop::NotExpected) };
        let accept = RawAccept::read(datagram, &attempt.mac, &attempt.mac_key)?;
        // The MAC proves that a holder of our PSK made it, so the one-time key is not wasted on a forgery.
        let ephemeral = attempt.ephemeral.take().ok_or(Drop::NotExpected)?;
        let secret = ephemeral.agree(&accept.public()).map_err(|_| Drop::AuthFailed)?;
        let hello = RawHello::read(attempt.hello.as_slice())?;
        let (accepted, keys) = accept.open(&hello, &attempt.psk, &secret)?;
        //
        if accepted.channel_hash != self.config.channels.hash() {
            self.fail(DisconnectReason::Refused(RefuseReason::ChannelMismatch));
            return Ok(());
        }
        if accepted.schema_hash != self.config.schema_hash {
            self.fail(DisconnectReason::Refused(RefuseReason::SchemaMismatch));
            return Ok(());
        }
        let tick = Duration::from_micros(1_000_000 / u64::from(accepted.rate.max(1)));
        let aead = self.config.aead;
        let parameters = Parameters {
            conn: accepted.conn,
            direction: Direction::ToServer,
            tx: TxKeys::new(aead, keys.c2s, self.config.key_limits, now),
            rx: RxKeys::new(aead, keys.s2c),
            idle_timeout: Duration::from_millis(u64::from(accepted.idle_ms)),
            features: accepted.features,
            max_datagram: accepted.max_datagram.min(MAX_DATAGRAM as u16),
            rate: RateConfig::capped(self.config.rate_cap, accepted.up_cap, tick),
            inbound_cap: None,
        };
        let mut connection = Connection::new(parameters, &self.config.channels, now);
        if self.traced {
            connection.enable_trace(now);
        }
        // The server waits for a first valid packet before it sends any data.
        connection.ping();
        self.server_tick = accepted.tick;
        self.accepted = Some(accepted);
        self.phase = Phase::Established(Box::new(connection));
        self.inbox.push(accepted.conn, Record::Accepted);
        Ok(())
    }

    fn on_refuse(&mut self, now: Time, datagram: &[u8]) -> Result<(), Drop> {
        let Phase::Connecting(attempt) = &mut self.phase else { return Err(Drop::NotExpected) };
        let (refusal, proven) = handshake::read_refuse(datagram, &attempt.mac, &attempt.mac_key)?;
        let reason = refusal.reason;
        // E-2, E-3; a client of one version has no other to fall back to, whatever the server speaks.
        if proven {
            self.fail(DisconnectReason::Refused(reason));
        } else if attempt.refusal.is_none() {
            attempt.refusal = Some((reason, now + UNPROVEN_REFUSAL_WAIT));
        }
        Ok(())
    }

    fn on_data(&mut self, now: Time, datagram: &mut [u8]) -> Result<(), Drop> {
        let header = Header::read(datagram, Direction::ToClient)?;
        let Phase::Established(connection) = &mut self.phase else { return Err(Drop::NotExpected) };
        let mut receiver = Receiver {
            reference: self.server_tick,
            table: &self.config.channels,
            scratch: &mut self.scratch,
            inbox: &mut self.inbox,
        };
        let received = connection.receive(now, &header, datagram, &mut receiver)?;
        if let Some(drop) = received.dropped {
            return Err(drop);
        }
        if let Some(low) = self.scratch.preamble.tick {
            self.server_tick = self.server_tick.max(expand16(self.server_tick, low));
        }
        Ok(())
    }

    /// Writes the next due datagram into `out` (at least [`MAX_DATAGRAM`] bytes) and returns its length.
    pub fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<usize> {
        let len = match &mut self.phase {
            Phase::Connecting(attempt) => {
                if now < attempt.next_send {
                    return None;
                }
                attempt.next_send = now + attempt.interval;
                attempt.interval = (attempt.interval * 3 / 2).min(MAX_RESEND);
                out.get_mut(..HELLO_BYTES)?.copy_from_slice(attempt.hello.as_slice());
                HELLO_BYTES
            }
            Phase::Established(connection) => {
                if !connection.wants_packet(now) && !connection.has_staged(now) {
                    return None;
                }
                connection.build(now, self.tick, out, None, &mut self.inbox)?.len
            }
            Phase::Failed => return None,
        };
        self.traffic.sent(len);
        Some(len)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let due = match &self.phase {
            Phase::Connecting(attempt) => {
                let refusal = attempt.refusal.map_or(Time::NEVER, |(_, at)| at);
                attempt.next_send.min(attempt.deadline).min(refusal)
            }
            Phase::Established(connection) => connection.next_timeout(),
            Phase::Failed => Time::NEVER,
        };
        (due != Time::NEVER).then_some(due)
    }

    /// Runs what is due at `now`; calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Time) {
        match &mut self.phase {
            Phase::Connecting(attempt) => match attempt.refusal {
                Some((reason, at)) if at <= now => self.fail(DisconnectReason::Refused(reason)),
                _ if attempt.deadline <= now => self.fail(DisconnectReason::HandshakeTimeout),
                _ => {}
            },
            Phase::Established(connection) => connection.handle_timeout(now, &mut self.inbox),
            Phase::Failed => {}
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ClientEvent<'_>> {
        let accepted = self.accepted;
        let (_, record, bytes) = self.inbox.poll()?;
        match record {
            Record::Message { channel, tick, bytes: range } => {
                Some(ClientEvent::Message { channel, tick, bytes: bytes.get(range).unwrap_or_default() })
            }
            Record::Block { channel, event, bytes: range } => {
                let event = inbox::with_bytes(event, bytes.get(range).unwrap_or_default());
                Some(ClientEvent::Block { channel, event })
            }
            Record::Disconnected(reason) => Some(ClientEvent::Disconnected(reason)),
            Record::Accepted | Record::Admitted(_) | Record::Settled { .. } => accepted.map(ClientEvent::Connected),
        }
    }

    fn fail(&mut self, reason: DisconnectReason) {
        self.phase = Phase::Failed;
        self.inbox.push(ConnId(0), Record::Disconnected(reason));
    }
}

const _: () = assert!(HELLO_BYTES <= MAX_DATAGRAM);
