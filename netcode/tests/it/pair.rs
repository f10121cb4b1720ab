//! A server, its clients and the network between them on one clock that jumps from event to event.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netcode::Time;
use netcode::channel::{INPUT, SESSION};
use netcode::client::{ClientConfig, ClientEndpoint, ClientEvent};
use netcode::crypto::{ClusterKey, CookieKey, CryptoError, Entropy, Ephemeral, OsEntropy, Psk};
use netcode::delivery::BlockEvent;
use netcode::emulator::{Emulator, LinkConfig};
use netcode::error::DisconnectReason;
use netcode::features::Features;
use netcode::handshake::Accepted;
use netcode::packet::{ConnId, MAX_DATAGRAM};
use netcode::rng::Rng;
use netcode::server::{ServerConfig, ServerEndpoint, ServerEvent, SingleUse};
use netcode::stats::Drop;
use netcode::token::{ConnectBundle, ServerEntry, TokenClaims, issue};

/// The schema hash that both ends of a pair have.
pub const SCHEMA_HASH: u64 = 0x5eed;
/// The server's id, and the group that it is in.
pub const SERVER_ID: u32 = 7;
pub const GROUP: u32 = 3;
/// Ticks a second.
pub const RATE: u16 = 20;
/// The wall clock when the virtual one is at zero, Unix milliseconds.
pub const UNIX_MS: u64 = 1_700_000_000_000;

/// Randomness that depends on a seed, but for ring's ephemeral keys, which cannot.
pub struct TestEntropy(pub Rng);

impl Entropy for TestEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.fill(out);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "a test may draw entropy")]
    fn ephemeral(&mut self) -> Result<Ephemeral, CryptoError> {
        OsEntropy::new().ephemeral()
    }
}

pub fn cluster_key() -> ClusterKey {
    ClusterKey { epoch: 1, key: Psk::new([0xc1; 32]) }
}

pub fn server_config() -> ServerConfig {
    let mut config = ServerConfig::new(vec![cluster_key()], SCHEMA_HASH, RATE);
    config.server_id = SERVER_ID;
    config.group = GROUP;
    config
}

pub fn server_addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7777))
}

pub fn client_addr(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, 1], 10_000 + index as u16))
}

/// Claims that the pair's server takes for a minute.
pub fn claims() -> TokenClaims {
    TokenClaims {
        issued_ms: UNIX_MS,
        expires_ms: UNIX_MS + 60_000,
        account: 11,
        character: 12,
        group: GROUP,
        down_cap: 0,
        up_cap: 0,
        servers: [ServerEntry { id: SERVER_ID, addr: server_addr() }].into_iter().collect(),
    }
}

/// What a server's owner was told, without borrowed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Connected(ConnId, u64),
    Message(ConnId, u8, Option<u64>, Vec<u8>),
    Block(ConnId, u8, BlockTold),
    Acked(ConnId, u64),
    Lost(ConnId, u64),
    Disconnected(ConnId, DisconnectReason),
}

/// What a client's owner was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Connected(Accepted),
    Message(u8, Option<u64>, Vec<u8>),
    Block(u8, BlockTold),
    Disconnected(DisconnectReason),
}

/// A block's event, without borrowed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockTold {
    Started(u64, u32),
    Data(u64, u32, Vec<u8>),
    Received(u64),
    Stopped(u64),
    Progress(u64, u32, u32),
    Sent(u64),
    Refused(u64),
}

impl From<BlockEvent<'_>> for BlockTold {
    fn from(event: BlockEvent<'_>) -> Self {
        match event {
            BlockEvent::Started { id, total } => Self::Started(id, total),
            BlockEvent::Data { id, offset, bytes } => Self::Data(id, offset, bytes.to_vec()),
            BlockEvent::Received { id } => Self::Received(id),
            BlockEvent::Stopped { id } => Self::Stopped(id),
            BlockEvent::Progress { id, acked, total } => Self::Progress(id, acked, total),
            BlockEvent::Sent { id } => Self::Sent(id),
            BlockEvent::Refused { id } => Self::Refused(id),
        }
    }
}

/// A client and where it sits.
pub struct Client {
    pub addr: SocketAddr,
    pub endpoint: ClientEndpoint,
    pub heard: Vec<Heard>,
    /// Whether it sends an input each tick.
    pub plays: bool,
}

impl Client {
    /// The messages of one channel, in the order they came.
    pub fn messages(&self, wanted: u8) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for heard in &self.heard {
            if let Heard::Message(channel, _, bytes) = heard
                && *channel == wanted
            {
                out.push(bytes.clone());
            }
        }
        out
    }

    pub fn disconnected(&self) -> Option<DisconnectReason> {
        self.heard.iter().find_map(|heard| if let Heard::Disconnected(reason) = heard { Some(*reason) } else { None })
    }

    pub fn is_connected(&self) -> bool {
        self.endpoint.state() == netcode::client::ClientState::Connected
    }
}

/// A datagram as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub from: SocketAddr,
    /// As the sender addressed it.
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub struct Pair {
    pub now: Time,
    pub net: Emulator,
    pub server: ServerEndpoint,
    pub single_use: Arc<SingleUse>,
    pub clients: Vec<Client>,
    pub told: Vec<Told>,
    /// All that was sent since the last look; `None`: not recorded.
    pub wire: Option<Vec<Sent>>,
    pub entropy: TestEntropy,
    /// When the next tick is, once ticks run.
    next_tick: Option<Time>,
    pub tick: u64,
    /// The connections that are in the world.
    pub live: Vec<ConnId>,
    /// Bytes of each snapshot: the tick, then zeros as far as there is room.
    pub snapshot_bytes: usize,
    /// Steps in a row that took no time.
    idle_steps: u32,
}

impl Pair {
    pub fn new(seed: u64, config: ServerConfig) -> Self {
        let single_use = Arc::new(SingleUse::new(10_000));
        let server = ServerEndpoint::new(config, CookieKey::new([0xc0; 32]), Arc::clone(&single_use));
        Self {
            now: Time::ZERO,
            net: Emulator::new(seed),
            server,
            single_use,
            clients: Vec::new(),
            told: Vec::new(),
            wire: None,
            entropy: TestEntropy(Rng::new(seed).fork("entropy")),
            next_tick: None,
            tick: 0,
            live: Vec::new(),
            snapshot_bytes: 8,
            idle_steps: 0,
        }
    }

    /// A server process that died and came back: it has its configuration and nothing else.
    pub fn restart_server(&mut self, config: ServerConfig) {
        self.single_use = Arc::new(SingleUse::new(10_000));
        self.server = ServerEndpoint::new(config, CookieKey::new([0xc0; 32]), Arc::clone(&self.single_use));
        self.live.clear();
    }

    /// A pair whose one client is connected over a network with that delay each way; nothing is under way.
    pub fn connected(seed: u64, delay: Duration) -> Self {
        Self::connected_as(seed, delay, server_config(), ClientConfig::new(SCHEMA_HASH))
    }

    /// The same without any feature, where each packet is counted.
    pub fn plain(seed: u64, delay: Duration) -> Self {
        let config = ClientConfig { features: Features::NONE, ..ClientConfig::new(SCHEMA_HASH) };
        Self::connected_as(seed, delay, server_config(), config)
    }

    /// The same with configurations of one's own.
    pub fn connected_as(seed: u64, delay: Duration, server: ServerConfig, client: ClientConfig) -> Self {
        let mut pair = Self::new(seed, server);
        pair.net.set_default(LinkConfig { delay, ..LinkConfig::default() });
        let bundle = pair.bundle(&claims());
        pair.add_client(&bundle, client);
        pair.run_for(Duration::from_millis(200) + 4 * delay);
        assert!(pair.clients[0].is_connected() && pair.live.len() == 1);
        pair
    }

    /// The wall clock, Unix milliseconds.
    pub fn unix_ms(&self) -> u64 {
        UNIX_MS + self.now.as_micros() / 1000
    }

    pub fn bundle(&mut self, claims: &TokenClaims) -> ConnectBundle {
        issue(&cluster_key(), claims, &mut self.entropy).unwrap()
    }

    /// A client that begins to connect now. Returns its index.
    pub fn add_client(&mut self, bundle: &ConnectBundle, config: ClientConfig) -> usize {
        let ephemeral = self.entropy.ephemeral().unwrap();
        let endpoint = ClientEndpoint::connect(config, bundle, ephemeral, self.now).unwrap();
        let index = self.clients.len();
        self.clients.push(Client { addr: client_addr(index), endpoint, heard: Vec::new(), plays: false });
        index
    }

    /// A client with a token of those claims that has got its answer, one way or the other.
    pub fn outcome(&mut self, bundle: &ConnectBundle) -> Option<DisconnectReason> {
        let index = self.add_client(bundle, ClientConfig::new(SCHEMA_HASH));
        self.run_for(Duration::from_secs(2));
        assert_ne!(self.clients[index].disconnected().is_some(), self.clients[index].is_connected());
        self.clients[index].disconnected()
    }

    /// From now on the server ticks: each live connection gets a snapshot each tick, each playing client
    /// sends an input.
    pub fn start_ticks(&mut self) {
        self.next_tick = Some(self.now);
    }

    /// Hands over what the endpoints want to send and say, until they are silent.
    pub fn flush(&mut self) {
        let mut out = [0; MAX_DATAGRAM];
        while let Some((to, len)) = self.server.poll_transmit_control(self.now, &mut out) {
            self.launch(server_addr(), to, &out[..len]);
        }
        self.poll_server();
        for index in 0..self.clients.len() {
            while let Some(len) = self.clients[index].endpoint.poll_transmit(self.now, &mut out) {
                self.launch(self.clients[index].addr, server_addr(), &out[..len]);
            }
            self.poll_client(index);
        }
    }

    /// Puts a datagram on the network.
    pub fn launch(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if let Some(wire) = &mut self.wire {
            wire.push(Sent { from, to, bytes: bytes.to_vec() });
        }
        self.net.send(self.now, from, to, bytes);
    }

    fn poll_server(&mut self) {
        while let Some(event) = self.server.poll_event() {
            self.told.push(match event {
                ServerEvent::Connected { conn, claims } => {
                    self.live.push(conn);
                    Told::Connected(conn, claims.character)
                }
                ServerEvent::Message { conn, channel, tick, bytes } => {
                    Told::Message(conn, channel, tick, bytes.to_vec())
                }
                ServerEvent::Block { conn, channel, event } => Told::Block(conn, channel, BlockTold::from(event)),
                ServerEvent::Acked { conn, pn } => Told::Acked(conn, pn),
                ServerEvent::Lost { conn, pn } => Told::Lost(conn, pn),
                ServerEvent::Disconnected { conn, reason } => {
                    self.live.retain(|live| *live != conn);
                    Told::Disconnected(conn, reason)
                }
            });
        }
    }

    fn poll_client(&mut self, index: usize) {
        let Client { endpoint, heard, .. } = &mut self.clients[index];
        while let Some(event) = endpoint.poll_event() {
            heard.push(match event {
                ClientEvent::Connected(accepted) => Heard::Connected(accepted),
                ClientEvent::Message { channel, tick, bytes } => Heard::Message(channel, tick, bytes.to_vec()),
                ClientEvent::Block { channel, event } => Heard::Block(channel, BlockTold::from(event)),
                ClientEvent::Disconnected(reason) => Heard::Disconnected(reason),
            });
        }
    }

    /// When the next thing happens.
    pub fn next_event(&self) -> Time {
        let clients = self.clients.iter().filter_map(|client| client.endpoint.poll_timeout());
        let others = [self.net.next_delivery(), self.server.poll_timeout(), self.next_tick];
        clients.chain(others.into_iter().flatten()).min().unwrap_or(Time::NEVER)
    }

    /// Jumps to the next event, if it is not after `until`, and lets it happen.
    pub fn step(&mut self, until: Time) -> bool {
        self.flush();
        let next = self.next_event();
        self.idle_steps = if next > self.now { 0 } else { self.idle_steps + 1 };
        assert!(self.idle_steps < 1000, "something is due at {:?} and does not happen", self.now);
        if next > until {
            self.now = until;
            return false;
        }
        self.now = next.max(self.now);
        while let Some(mut datagram) = self.net.poll(self.now) {
            let bytes = &mut datagram.bytes;
            if datagram.to == server_addr() {
                let unix_ms = self.unix_ms();
                self.server.handle_datagram(self.now, unix_ms, datagram.from, bytes, &mut self.entropy);
            } else if let Some(client) = self.clients.iter_mut().find(|client| client.addr == datagram.to) {
                client.endpoint.handle_datagram(self.now, bytes);
            }
        }
        self.server.handle_timeout(self.now);
        for client in &mut self.clients {
            client.endpoint.handle_timeout(self.now);
        }
        if self.next_tick.is_some_and(|due| due <= self.now) {
            self.run_tick();
        }
        true
    }

    fn run_tick(&mut self) {
        self.next_tick = Some(self.now + Duration::from_micros(1_000_000 / u64::from(RATE)));
        self.tick += 1;
        self.server.set_tick(self.tick);
        self.poll_server();
        let (tick, snapshot_bytes, mut out) = (self.tick, self.snapshot_bytes, [0; MAX_DATAGRAM]);
        for conn in self.live.clone() {
            let mut write = |w: &mut netcode::bits::BitWriter<'_>| {
                w.write(tick, 64);
                while w.bit_len() < 8 * snapshot_bytes && w.remaining_bits() >= 8 {
                    w.write(0, 8);
                }
            };
            if let Some(sent) = self.server.transmit(self.now, conn, &mut out, Some(&mut write)) {
                self.launch(server_addr(), sent.to, &out[..sent.len]);
            }
        }
        for client in self.clients.iter_mut().filter(|client| client.plays) {
            client.endpoint.set_tick(tick);
            // What a closed client says to this does not matter here.
            let _ = client.endpoint.send(self.now, INPUT, &tick.to_le_bytes());
        }
    }

    pub fn run_until(&mut self, until: Time) {
        while self.step(until) {}
        self.flush();
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Sends a session message from the first client.
    pub fn say(&mut self, message: &[u8]) {
        self.clients[0].endpoint.send(self.now, SESSION, message).unwrap();
    }

    /// What arrived at the server on one channel.
    pub fn received(&self, wanted: u8) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for told in &self.told {
            if let Told::Message(_, channel, _, bytes) = told
                && *channel == wanted
            {
                out.push(bytes.clone());
            }
        }
        out
    }

    /// Hands a datagram to the server at once, past the network.
    pub fn inject(&mut self, from: SocketAddr, bytes: &[u8]) {
        let unix_ms = self.unix_ms();
        self.server.handle_datagram(self.now, unix_ms, from, &mut bytes.to_vec(), &mut self.entropy);
    }

    pub fn server_drops(&self, drop: Drop) -> u64 {
        self.server.drops().get(drop)
    }
}
