//! The client's endpoint: one attempt to connect, then one connection.
//!
//! Sans-I/O. After every `handle_*` call, call [`poll_transmit`](ClientEndpoint::poll_transmit) until `None`, then
//! [`poll_event`](ClientEndpoint::poll_event) until `None`, then sleep until
//! [`poll_timeout`](ClientEndpoint::poll_timeout) or a datagram.

use core::time::Duration;

use crate::channel::Table;
use crate::connection::{Connection, Parameters};
use crate::crypto::{Aead, Ephemeral, Psk, handshake_mac_key};
use crate::error::{CloseReason, ConnectError, DisconnectReason, RefuseReason, SendError};
use crate::frame::Parsed;
use crate::handshake::{self, Accepted, HELLO_BYTES, Hello, Mac, RawAccept, RawHello};
use crate::inbox::{Inbox, Record};
use crate::keys::{KeyLimits, RxKeys, TxKeys};
use crate::packet::{ConnId, Direction, Header, MAX_DATAGRAM};
use crate::seq::expand16;
use crate::stats::{Drop, Drops, Quality, Traffic};
use crate::time::Time;
use crate::token::ConnectBundle;

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
    /// The attempt fails when no valid answer arrives for so long.
    pub handshake_timeout: Duration,
}

impl ClientConfig {
    /// The standard channels, AES-128-GCM, 10 s for the handshake.
    #[must_use]
    pub fn new(schema_hash: u64) -> Self {
        let handshake_timeout = Duration::from_secs(10);
        Self { channels: Table::standard(), schema_hash, aead: Aead::default(), handshake_timeout }
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
            aead: config.aead,
            client_time: now.as_micros(),
            channel_hash: config.channels.hash(),
            schema_hash: config.schema_hash,
            cookie: [0; 32],
            public: ephemeral.public(),
            token: bundle.token.clone(),
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
    pub fn quality(&self) -> Quality {
        if let Phase::Established(connection) = &self.phase { connection.quality() } else { Quality::default() }
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
            Phase::Established(connection) => connection.send(now, &self.config.channels, channel, message),
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
        let parameters = Parameters {
            conn: accepted.conn,
            direction: Direction::ToServer,
            tx: TxKeys::new(keys.aead, keys.c2s, KeyLimits::default(), now),
            rx: RxKeys::new(keys.aead, keys.s2c),
            idle_timeout: Duration::from_millis(u64::from(accepted.idle_ms)),
        };
        let mut connection = Connection::new(parameters, &self.config.channels, now);
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
        let (reason, proven) = handshake::read_refuse(datagram, &attempt.mac, &attempt.mac_key)?;
        // E-2, E-3
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
        let (reference, table) = (self.server_tick, &self.config.channels);
        connection.receive(now, &header, datagram, reference, table, &mut self.scratch, &mut self.inbox)?;
        if let Some(low) = self.scratch.preamble.tick {
            self.server_tick = self.server_tick.max(expand16(self.server_tick, low));
        }
        Ok(())
    }

    /// Writes the next due datagram into `out` (at least 1200 bytes) and returns its length.
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
                if !connection.wants_packet(now) && !connection.has_staged() {
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
