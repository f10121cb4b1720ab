//! A server that sends back what it gets, for whoever writes a client.
//!
//! Sans-I/O. It speaks the laboratory's channel table ([`Table::lab`]), which has a channel of every kind, and the schema
//! of Zonewire's game. Each message on a channel of the laboratory's own comes back on it, each block as a block. What
//! the game has is left out. Per loop, in this order: [`Echo::handle_datagram`] for what arrived,
//! [`Echo::handle_timeout`] when due, [`Echo::poll_transmit`] until `None`.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netcode::Time;
use netcode::channel::{EVENT, Kind, Table};
use netcode::crypto::{ClusterKey, CookieKey, Entropy};
use netcode::delivery::BlockEvent;
use netcode::error::CloseReason;
use netcode::keys::KeyLimits;
use netcode::packet::ConnId;
use netcode::server::{ServerConfig, ServerEndpoint, ServerEvent, SingleUse};

/// Ticks a second.
pub const RATE: u16 = 20;
/// Its id, which tokens must list.
pub const SERVER_ID: u32 = 1;
/// The most connections.
const MAX_CONNECTIONS: u16 = 64;
/// The most tokens that are remembered as used.
const MAX_TOKENS: usize = 8192;

/// What an echo server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections admitted.
    pub connections: u64,
    /// Messages sent back.
    pub messages: u64,
    /// Blocks sent back.
    pub blocks: u64,
    /// Messages and blocks that found no room on the way back.
    pub dropped: u64,
}

/// The server.
pub struct Echo {
    endpoint: ServerEndpoint,
    table: Table,
    conns: BTreeSet<ConnId>,
    /// Connections whose packet of this tick is not sent yet.
    due: BTreeSet<ConnId>,
    /// Blocks that are arriving.
    blocks: BTreeMap<(ConnId, u8), Vec<u8>>,
    tick: u64,
    next_tick: Time,
    counts: Counts,
}

impl Echo {
    /// A server for tokens under that key. `key_roll`: it rolls its keys after so many packets.
    #[must_use]
    pub fn new(key: ClusterKey, cookie_key: CookieKey, key_roll: Option<u64>) -> Self {
        let (table, defaults) = (Table::lab(), KeyLimits::default());
        let config = ServerConfig {
            server_id: SERVER_ID,
            channels: table.clone(),
            max_connections: MAX_CONNECTIONS,
            key_limits: KeyLimits { packets: key_roll.unwrap_or(defaults.packets), ..defaults },
            ..ServerConfig::new(vec![key], sim::SCHEMA.hash(), RATE)
        };
        Self {
            endpoint: ServerEndpoint::new(config, cookie_key, Arc::new(SingleUse::new(MAX_TOKENS))),
            table,
            conns: BTreeSet::new(),
            due: BTreeSet::new(),
            blocks: BTreeMap::new(),
            tick: 0,
            next_tick: Time::ZERO,
            counts: Counts::default(),
        }
    }

    /// The channels.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// What it did so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a datagram.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        unix_ms: u64,
        from: SocketAddr,
        datagram: &mut [u8],
        entropy: &mut dyn Entropy,
    ) {
        self.endpoint.handle_datagram(now, unix_ms, from, datagram, entropy);
        self.drain(now);
    }

    /// Runs what is due: timers, the tick.
    pub fn handle_timeout(&mut self, now: Time) {
        self.endpoint.handle_timeout(now);
        if now >= self.next_tick {
            let period = Duration::from_micros(1_000_000 / u64::from(RATE));
            // After a stall ticks are left out, not made up for.
            self.next_tick = (self.next_tick + period).max(now);
            self.tick += 1;
            self.endpoint.set_tick(self.tick);
            self.due.clone_from(&self.conns);
        }
        self.drain(now);
    }

    /// When [`Echo::handle_timeout`] is next due.
    #[must_use]
    pub fn poll_timeout(&self) -> Time {
        self.endpoint.poll_timeout().unwrap_or(Time::NEVER).min(self.next_tick)
    }

    /// Writes the next datagram into `out` (at least [`netcode::packet::MAX_DATAGRAM`] bytes).
    pub fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<(SocketAddr, usize)> {
        while let Some(conn) = self.due.pop_first() {
            if let Some(transmit) = self.endpoint.transmit(now, conn, out, None) {
                return Some((transmit.to, transmit.len));
            }
        }
        self.endpoint.poll_transmit_control(now, out)
    }

    /// Closes every connection; each client is told by the packets that follow, for about 100 ms.
    pub fn close(&mut self, now: Time) {
        self.endpoint.close_all(now, CloseReason::ServerShutdown);
        self.drain(now);
    }

    fn drain(&mut self, now: Time) {
        let mut messages = Vec::new();
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                ServerEvent::Connected { conn, .. } => {
                    self.counts.connections += 1;
                    self.conns.insert(conn);
                }
                // The first three are a game's: messages on them go one way.
                ServerEvent::Message { channel, .. } if channel <= EVENT => {}
                ServerEvent::Message { conn, channel, bytes, .. } => messages.push((conn, channel, bytes.to_vec())),
                ServerEvent::Block { conn, channel, event } => {
                    if let Some(block) = collect(&mut self.blocks, (conn, channel), &event) {
                        // Sent once all events are taken: they borrow the endpoint.
                        messages.push((conn, channel, block));
                    }
                }
                ServerEvent::Disconnected { conn, .. } => {
                    self.conns.remove(&conn);
                    self.blocks.retain(|(owner, _), _| *owner != conn);
                }
                ServerEvent::Acked { .. } | ServerEvent::Lost { .. } => {}
            }
        }
        for (conn, channel, bytes) in messages {
            self.send_back(now, conn, channel, bytes);
        }
    }

    fn send_back(&mut self, now: Time, conn: ConnId, channel: u8, bytes: Vec<u8>) {
        let is_block = self.is_block(channel);
        let sent = if is_block {
            self.endpoint.send_block(conn, channel, bytes.into()).map(drop)
        } else {
            self.endpoint.send(now, conn, channel, &bytes)
        };
        match sent {
            Ok(()) if is_block => self.counts.blocks += 1,
            Ok(()) => self.counts.messages += 1,
            Err(_) => self.counts.dropped += 1,
        }
    }

    fn is_block(&self, channel: u8) -> bool {
        self.table.get(channel).is_some_and(|channel| channel.kind == Kind::Block)
    }
}

/// Puts a block together; returns it when it is whole.
fn collect(blocks: &mut BTreeMap<(ConnId, u8), Vec<u8>>, key: (ConnId, u8), event: &BlockEvent<'_>) -> Option<Vec<u8>> {
    match event {
        // Its room grows as it arrives, not as it is announced.
        BlockEvent::Started { .. } => {
            blocks.insert(key, Vec::new());
        }
        BlockEvent::Data { bytes, .. } => blocks.entry(key).or_default().extend_from_slice(bytes),
        BlockEvent::Received { .. } => return blocks.remove(&key),
        BlockEvent::Stopped { .. } => {
            blocks.remove(&key);
        }
        BlockEvent::Progress { .. } | BlockEvent::Sent { .. } | BlockEvent::Refused { .. } => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcode::channel::Kind;
    use netcode::client::{ClientConfig, ClientEndpoint, ClientEvent};
    use netcode::crypto::{OsEntropy, Psk};
    use netcode::packet::MAX_DATAGRAM;
    use netcode::token::{ServerEntry, TokenClaims, issue};

    const UNIX_MS: u64 = 1_700_000_000_000;

    #[expect(clippy::disallowed_methods, reason = "a test")]
    fn entropy() -> OsEntropy {
        OsEntropy::new()
    }

    #[test]
    fn everything_comes_back_on_its_channel_while_keys_roll() {
        let key = ClusterKey { epoch: 1, key: Psk::new([7; 32]) };
        let (here, there) = (([127, 0, 0, 1], 4000).into(), ([127, 0, 0, 1], 7777).into());
        let claims = TokenClaims {
            issued_ms: UNIX_MS,
            expires_ms: UNIX_MS + 60_000,
            account: 1,
            character: 1,
            group: 0,
            down_cap: 0,
            up_cap: 0,
            servers: [ServerEntry { id: SERVER_ID, addr: there }].into_iter().collect(),
        };
        let bundle = issue(&key, &claims, &mut entropy()).unwrap();
        let mut echo = Echo::new(key, CookieKey::new([1; 32]), Some(20));
        let config = ClientConfig { channels: Table::lab(), ..ClientConfig::new(sim::SCHEMA.hash()) };
        let mut client = ClientEndpoint::connect(config, &bundle, entropy().ephemeral().unwrap(), Time::ZERO).unwrap();
        let block: Arc<[u8]> = (0..100_000u32).map(|at| at as u8).collect();
        let mut back: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        let mut buffer = [0; MAX_DATAGRAM];
        for ms in 0..6000 {
            let now = Time::from_millis(ms);
            while let Some(len) = client.poll_transmit(now, &mut buffer) {
                echo.handle_datagram(now, UNIX_MS, here, &mut buffer[..len], &mut entropy());
            }
            echo.handle_timeout(now);
            while let Some((_, len)) = echo.poll_transmit(now, &mut buffer) {
                client.handle_datagram(now, &mut buffer[..len]);
            }
            client.handle_timeout(now);
            if ms == 200 {
                client.set_tick(5);
                for (number, channel) in (0u8..).zip(&Table::lab().0) {
                    match channel.kind {
                        Kind::Snapshot => {}
                        Kind::Block => drop(client.send_block(number, Arc::clone(&block)).unwrap()),
                        _ => client.send(now, number, &[number; 40]).unwrap(),
                    }
                }
            }
            while let Some(event) = client.poll_event() {
                match event {
                    ClientEvent::Message { channel, bytes, .. } => {
                        back.insert(channel, bytes.to_vec());
                    }
                    ClientEvent::Block { channel, event: BlockEvent::Data { bytes, .. } } => {
                        back.entry(channel).or_default().extend_from_slice(bytes);
                    }
                    ClientEvent::Disconnected(reason) => panic!("{reason}"),
                    _ => {}
                }
            }
        }
        let own: Vec<u8> = (EVENT + 1..Table::lab().0.len() as u8).collect();
        assert_eq!(back.keys().copied().collect::<Vec<_>>(), own, "all but the game's channels");
        assert_eq!(back[&4], [4; 40]);
        let longest = back.values().max_by_key(|bytes| bytes.len()).unwrap();
        assert!(**longest == *block);
        let (_, received) = client.key_generations();
        assert!(received >= 2, "{received} rolls");
        let counts = echo.counts();
        assert_eq!((counts.connections, counts.blocks, counts.dropped), (1, 1, 0));
    }
}
