//! Two endpoints and the network between them.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;

use netcode::Time;
use netcode::bits::BitWriter;
use netcode::channel::{INPUT, SNAPSHOT, Table};
use netcode::client::{ClientConfig, ClientEndpoint, ClientEvent};
use netcode::crypto::{ClusterKey, CookieKey, CryptoError, Entropy, Psk};
use netcode::emulator::{Emulator, LinkConfig};
use netcode::error::{ConnectError, DisconnectReason};
use netcode::packet::{ConnId, MAX_DATAGRAM};
use netcode::rng::Rng;
use netcode::server::{ServerConfig, ServerEndpoint, ServerEvent, SingleUse};
use netcode::token::{ServerEntry, TokenClaims, issue};
use thiserror::Error;

use super::load::Load;
use crate::entropy::Seeded;

const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 5000);
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7777);
const UNIX_MS: u64 = 1_700_000_000_000;
/// Ticks a second at both ends.
pub(super) const RATE: u16 = 20;
/// Virtual time does not go on in smaller steps.
const STEP: Duration = Duration::from_micros(250);
/// The handshake must be over by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a message of inputs.
const INPUT_BYTES: usize = 24;

/// The path between the two ends, and what may be sent over it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Round-trip time.
    pub rtt: Duration,
    /// Chance of each datagram to be lost, in each direction, 0 to 1.
    pub loss: f64,
    /// Bytes a second that the server may send.
    pub cap: u32,
    /// Bytes of the snapshot that the server sends each tick, while the client sends inputs; 0 = neither.
    pub snapshot_bytes: u16,
}

/// Why there is no result.
#[derive(Debug, Error)]
pub enum Broken {
    /// No key can be made.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The client does not start.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The table lacks a channel.
    #[error("the laboratory's channel table has no channel `{0}`")]
    NoChannel(&'static str),
    /// No connection came about.
    #[error("the client is not connected after {0:?} of virtual time")]
    NotConnected(Duration),
    /// The connection ended by itself.
    #[error("the connection ended: {0}")]
    Ended(DisconnectReason),
    /// The channel does not take what is to be measured.
    #[error("cannot send: {0}")]
    Send(#[from] netcode::error::SendError),
    /// Not one message arrived.
    #[error("nothing arrived")]
    Nothing,
}

/// Snapshots of a run: of each tick in which one was due, whether it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshots(Vec<bool>);

impl Snapshots {
    /// How many were due so far.
    pub(super) fn due(&self) -> usize {
        self.0.len()
    }

    /// Of those from one number to another, how many did not arrive.
    pub(super) fn lost(&self, from: usize, to: usize) -> u64 {
        self.0.get(from..to).unwrap_or_default().iter().filter(|arrived| !**arrived).count() as u64
    }

    fn on_arrived(&mut self, body: &[u8]) {
        let number = body.first_chunk().and_then(|number| usize::try_from(u32::from_le_bytes(*number)).ok());
        if let Some(arrived) = number.and_then(|number| self.0.get_mut(number)) {
            *arrived = true;
        }
    }
}

/// The two ends, connected.
pub(super) struct Lab {
    pub now: Time,
    pub server: ServerEndpoint,
    pub conn: ConnId,
    pub snapshots: Snapshots,
    client: ClientEndpoint,
    emulator: Emulator,
    entropy: Seeded,
    snapshot_bytes: u16,
    tick: u64,
    next_tick: Time,
    ended: Option<DisconnectReason>,
}

impl Lab {
    /// Lets a client connect over that path.
    pub(super) fn connect(path: &Path, rng: &Rng, outside: Box<dyn Entropy>) -> Result<Self, Broken> {
        let mut entropy = Seeded::new(rng.fork("entropy"), outside);
        let key = ClusterKey { epoch: 1, key: Psk::new([0xc1; 32]) };
        let claims = TokenClaims {
            issued_ms: UNIX_MS,
            expires_ms: UNIX_MS + 60_000,
            account: 1,
            character: 1,
            group: 0,
            down_cap: path.cap,
            up_cap: 0,
            servers: [ServerEntry { id: 1, addr: SERVER }].into_iter().collect(),
        };
        let bundle = issue(&key, &claims, &mut entropy)?;
        let channels = Table::lab();
        let config =
            ServerConfig { channels: channels.clone(), rate_cap: path.cap, ..ServerConfig::new(vec![key], 0, RATE) };
        let ephemeral = entropy.ephemeral()?;
        let mut emulator = Emulator::new(rng.fork("network").seed());
        let link = LinkConfig { delay: path.rtt / 2, loss: path.loss, ..LinkConfig::default() };
        emulator.set_default(link);
        let mut lab = Self {
            now: Time::ZERO,
            server: ServerEndpoint::new(config, CookieKey::new([1; 32]), Arc::new(SingleUse::new(16))),
            conn: ConnId(0),
            snapshots: Snapshots::default(),
            client: ClientEndpoint::connect(
                ClientConfig { channels, ..ClientConfig::new(0) },
                &bundle,
                ephemeral,
                Time::ZERO,
            )?,
            emulator,
            entropy,
            snapshot_bytes: path.snapshot_bytes,
            tick: 0,
            next_tick: Time::ZERO,
            ended: None,
        };
        lab.shake_hands()?;
        Ok(lab)
    }

    fn shake_hands(&mut self) -> Result<(), Broken> {
        let mut admitted = Admission::default();
        while admitted.conn.is_none() && self.now < Time::ZERO + PATIENCE {
            self.step(&mut admitted)?;
        }
        self.conn = admitted.conn.ok_or(Broken::NotConnected(PATIENCE))?;
        Ok(())
    }

    /// Bytes that the server has sent so far.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.server.traffic().bytes_out
    }

    /// Goes on until `end`, or until the load says that it is done.
    pub(super) fn run(&mut self, end: Time, load: &mut dyn Load) -> Result<(), Broken> {
        while self.now < end && !load.is_done() {
            self.step(load)?;
        }
        Ok(())
    }

    /// Goes to the next moment at which anything is due, and does it.
    fn step(&mut self, load: &mut dyn Load) -> Result<(), Broken> {
        let due = [
            self.emulator.next_delivery(),
            self.client.poll_timeout(),
            self.server.poll_timeout(),
            Some(self.next_tick),
            Some(load.next()),
        ];
        let due = due.into_iter().flatten().min().unwrap_or(Time::NEVER);
        self.now = due.max(self.now + STEP).min(self.now + Duration::from_millis(100));
        let now = self.now;
        load.produce(now, &mut self.server, self.conn)?;
        while let Some(mut datagram) = self.emulator.poll(now) {
            if datagram.to == SERVER {
                let (from, bytes) = (datagram.from, &mut datagram.bytes);
                self.server.handle_datagram(now, UNIX_MS, from, bytes, &mut self.entropy);
            } else {
                self.client.handle_datagram(now, &mut datagram.bytes);
            }
        }
        self.client.handle_timeout(now);
        self.server.handle_timeout(now);
        if now >= self.next_tick {
            self.run_tick(now);
        }
        self.transmit(now);
        self.drain(now, load);
        self.ended.map_or(Ok(()), |reason| Err(Broken::Ended(reason)))
    }

    /// The server's packet of the tick, and the client's inputs.
    fn run_tick(&mut self, now: Time) {
        self.next_tick = self.next_tick + Duration::from_micros(1_000_000 / u64::from(RATE));
        self.tick += 1;
        self.server.set_tick(self.tick);
        self.client.set_tick(self.tick);
        let length = self.snapshot_bytes;
        if length > 0 {
            // It replaces one that still waits; before the connection stands it is not taken, nor needed.
            let _ = self.client.send(now, INPUT, &[0; INPUT_BYTES]);
        }
        let number = self.snapshots.due() as u64;
        let mut write = |w: &mut BitWriter<'_>| {
            w.write(number, 32);
            for _ in 4..usize::from(length).min(w.remaining_bits() / 8) {
                w.write(0x5a, 8);
            }
        };
        let mut buffer = [0; MAX_DATAGRAM];
        let snapshot = (length > 0).then_some(&mut write as _);
        if let Some(sent) = self.server.transmit(now, self.conn, &mut buffer, snapshot) {
            self.snapshots.0.extend((length > 0).then_some(false));
            self.emulator.send(now, SERVER, CLIENT, buffer.get(..sent.len).unwrap_or_default());
        }
    }

    fn transmit(&mut self, now: Time) {
        let mut buffer = [0; MAX_DATAGRAM];
        while let Some(len) = self.client.poll_transmit(now, &mut buffer) {
            self.emulator.send(now, CLIENT, SERVER, buffer.get(..len).unwrap_or_default());
        }
        while let Some((to, len)) = self.server.poll_transmit_control(now, &mut buffer) {
            self.emulator.send(now, SERVER, to, buffer.get(..len).unwrap_or_default());
        }
    }

    fn drain(&mut self, now: Time, load: &mut dyn Load) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Message { channel: SNAPSHOT, bytes, .. } => self.snapshots.on_arrived(bytes),
                ClientEvent::Message { channel, bytes, .. } => load.on_message(now, channel, bytes),
                ClientEvent::Block { event, .. } => load.on_block(now, &event),
                ClientEvent::Disconnected(reason) => self.ended = Some(reason),
                ClientEvent::Connected(_) => {}
            }
        }
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::Connected { conn, .. } => load.on_connected(conn),
                ServerEvent::Disconnected { reason, .. } => self.ended = Some(reason),
                _ => {}
            }
        }
    }
}

/// Waits for the connection.
#[derive(Default)]
struct Admission {
    conn: Option<ConnId>,
}

impl Load for Admission {
    fn on_connected(&mut self, conn: ConnId) {
        self.conn = Some(conn);
    }
}
