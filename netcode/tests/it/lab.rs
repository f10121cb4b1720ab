//! A pair with a channel of every kind, and one way to speak of both of its ends.

use std::sync::Arc;
use std::time::Duration;

use netcode::channel::{Channel, Kind, Table};
use netcode::client::ClientConfig;
use netcode::delivery::{Blocks, blocks, fragments, inbound};
use netcode::emulator::LinkConfig;
use netcode::error::SendError;
use netcode::rng::Rng;
use netcode::server::ServerConfig;
use netcode::stats::{Drop, Quality};

use crate::pair::{BlockTold, Heard, Pair, SCHEMA_HASH, Told, claims, server_config};

/// The channels that [`Table::lab`] adds to the standard ones.
pub const ORDERED: u8 = 4;
pub const UNORDERED: u8 = 5;
pub const DATAGRAM: u8 = 6;
pub const STATE: u8 = 7;
pub const BLOCK: u8 = 8;

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);

/// 20 ms each way and no fault.
pub const GOOD: LinkConfig = LinkConfig {
    delay: Duration::from_millis(20),
    jitter: Duration::ZERO,
    loss: 0.0,
    burst_enter: 0.0,
    burst_exit: 1.0,
    duplicate: 0.0,
    reorder: 0.0,
    reorder_delay: Duration::ZERO,
    corrupt: 0.0,
    rate_bytes_per_s: None,
    queue_bytes: 64 * 1024,
    mtu: None,
};

/// Every fault at once: 30 % loss and bursts on top of it.
pub const TERRIBLE: LinkConfig = LinkConfig {
    delay: Duration::from_millis(40),
    jitter: Duration::from_millis(30),
    loss: 0.3,
    burst_enter: 0.01,
    burst_exit: 0.3,
    duplicate: 0.2,
    reorder: 0.2,
    reorder_delay: Duration::from_millis(200),
    corrupt: 0.05,
    ..GOOD
};

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Client,
    Server,
}

impl End {
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub fn other(self) -> Self {
        if self == Self::Client { Self::Server } else { Self::Client }
    }
}

/// A channel's `queue_bytes` in [`Table::lab`].
pub fn queue_bytes(channel: u8) -> u32 {
    Table::lab().get(channel).unwrap().queue_bytes
}

/// The most bytes that one end's receiving half of a channel of [`Table::lab`] may hold.
pub fn quota(channel: u8) -> usize {
    let Channel { kind, queue_bytes, .. } = *Table::lab().get(channel).unwrap();
    match kind {
        Kind::Unreliable => fragments::quota(queue_bytes as usize),
        Kind::ReliableOrdered | Kind::ReliableUnordered => inbound::quota(queue_bytes as usize),
        Kind::Block => blocks::quota(queue_bytes),
        Kind::Sequenced | Kind::Snapshot => 0,
    }
}

/// The same of all channels together.
pub fn quotas() -> usize {
    (0u8..).zip(Table::lab().0).map(|(number, _)| quota(number)).sum()
}

/// Bytes that differ from place to place and from seed to seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::new(seed).fork("noise").fill(&mut bytes);
    bytes
}

impl Pair {
    /// Connected over a good network, with the channels of [`Table::lab`]; from now on the network is `link`.
    pub fn lab(seed: u64, link: LinkConfig) -> Self {
        Self::lab_with(seed, link, Table::lab(), |_, _| ())
    }

    /// The same with other channels, and changes to the configurations.
    pub fn lab_with(
        seed: u64,
        link: LinkConfig,
        table: Table,
        change: impl FnOnce(&mut ServerConfig, &mut ClientConfig),
    ) -> Self {
        let mut server = ServerConfig { channels: table.clone(), ..server_config() };
        let mut client = ClientConfig { channels: table, ..ClientConfig::new(SCHEMA_HASH) };
        change(&mut server, &mut client);
        let mut pair = Self::new(seed, server);
        pair.net.set_default(LinkConfig { delay: link.delay, ..GOOD });
        let bundle = pair.bundle(&claims());
        pair.add_client(&bundle, client);
        pair.run_for(200 * MS + 4 * link.delay);
        assert!(pair.clients[0].is_connected() && pair.live.len() == 1);
        pair.net.reset_links(link);
        pair
    }

    pub fn send_from(&mut self, end: End, channel: u8, message: &[u8]) -> Result<(), SendError> {
        match end {
            End::Client => self.clients[0].endpoint.send(self.now, channel, message),
            End::Server => self.server.send(self.now, self.live[0], channel, message),
        }
    }

    pub fn start_block(&mut self, end: End, bytes: Arc<[u8]>) -> Result<u64, SendError> {
        match end {
            End::Client => self.clients[0].endpoint.send_block(BLOCK, bytes),
            End::Server => self.server.send_block(self.live[0], BLOCK, bytes),
        }
    }

    pub fn blocks(&mut self, end: End) -> &mut Blocks {
        match end {
            End::Client => self.clients[0].endpoint.blocks(BLOCK).unwrap(),
            End::Server => self.server.blocks(self.live[0], BLOCK).unwrap(),
        }
    }

    /// The messages that arrived at an end on one channel, in the order they came.
    pub fn arrived(&self, end: End, channel: u8) -> Vec<Vec<u8>> {
        match end {
            End::Client => self.clients[0].messages(channel),
            End::Server => self.received(channel),
        }
    }

    /// How many messages arrived at an end on one channel.
    pub fn count(&self, end: End, wanted: u8) -> usize {
        let heard = |heard: &&Heard| matches!(heard, Heard::Message(channel, ..) if *channel == wanted);
        let told = |told: &&Told| matches!(told, Told::Message(_, channel, ..) if *channel == wanted);
        match end {
            End::Client => self.clients[0].heard.iter().filter(heard).count(),
            End::Server => self.told.iter().filter(told).count(),
        }
    }

    /// How many bytes of blocks arrived at an end.
    pub fn block_bytes(&self, end: End) -> usize {
        let bytes = |event: &BlockTold| if let BlockTold::Data(.., data) = event { data.len() } else { 0 };
        let heard = |heard: &Heard| if let Heard::Block(_, event) = heard { bytes(event) } else { 0 };
        let told = |told: &Told| if let Told::Block(_, _, event) = told { bytes(event) } else { 0 };
        match end {
            End::Client => self.clients[0].heard.iter().map(heard).sum(),
            End::Server => self.told.iter().map(told).sum(),
        }
    }

    /// Whether an end was told that of a block.
    pub fn has_block_event(&self, end: End, wanted: &BlockTold) -> bool {
        match end {
            End::Client => {
                self.clients[0].heard.iter().any(|heard| matches!(heard, Heard::Block(_, event) if event == wanted))
            }
            End::Server => self.told.iter().any(|told| matches!(told, Told::Block(_, _, event) if event == wanted)),
        }
    }

    /// What an end was told of blocks.
    pub fn block_events(&self, end: End) -> Vec<BlockTold> {
        let heard = |heard: &Heard| if let Heard::Block(_, event) = heard { Some(event.clone()) } else { None };
        let told = |told: &Told| if let Told::Block(_, _, event) = told { Some(event.clone()) } else { None };
        match end {
            End::Client => self.clients[0].heard.iter().filter_map(heard).collect(),
            End::Server => self.told.iter().filter_map(told).collect(),
        }
    }

    pub fn quality(&self, end: End) -> Quality {
        match end {
            End::Client => self.clients[0].endpoint.quality(self.now),
            End::Server => self.server.quality(self.now, self.live[0]).unwrap(),
        }
    }

    pub fn drops(&self, end: End, drop: Drop) -> u64 {
        match end {
            End::Client => self.clients[0].endpoint.drops().get(drop),
            End::Server => self.server_drops(drop),
        }
    }

    /// Runs until `done`, looked at every 20 ms, or for at most `limit`; whether it is done.
    pub fn run_while(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + limit;
        while !done(self) {
            if self.now >= until {
                return false;
            }
            self.run_for(20 * MS);
        }
        true
    }

    /// Nobody was taken for a peer that breaks the protocol, and nobody left.
    pub fn assert_honest(&self) {
        for end in End::BOTH {
            assert_eq!(self.drops(end, Drop::Malformed), 0, "{end:?}");
        }
        assert!(self.live.len() == 1 && self.clients[0].is_connected());
    }
}
