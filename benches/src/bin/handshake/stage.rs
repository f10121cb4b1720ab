//! A server and its clients' tokens, with no network in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use benches::BenchEntropy;
use netcode::Time;
use netcode::client::{ClientConfig, ClientEndpoint};
use netcode::crypto::{ClusterKey, CookieKey, Entropy, Psk};
use netcode::error::CloseReason;
use netcode::handshake::HELLO_BYTES;
use netcode::packet::{ConnId, MAX_DATAGRAM};
use netcode::rng::Rng;
use netcode::server::{PrefixLimits, ServerConfig, ServerEndpoint, ServerEvent, SingleUse};
use netcode::token::{ConnectBundle, ServerEntry, TokenClaims, issue};

const UNIX_MS: u64 = 1_700_000_000_000;
/// The time for which a token is good; short, so that the set of used ones stays small.
const TOKEN_MS: u64 = 10_000;
/// The server's clock when a stage begins.
pub const START_SECONDS: u32 = 60;
pub const SCHEMA_HASH: u64 = 0x5eed;

/// A server, its clients' tokens, and the time.
pub struct Stage {
    pub server: ServerEndpoint,
    pub entropy: BenchEntropy,
    pub now: Time,
    pub rng: Rng,
}

impl Stage {
    /// A server that works on every HELLO, or asks all for a cookie.
    pub fn new(asks: bool) -> Self {
        Self {
            server: server(asks),
            entropy: BenchEntropy::new(1),
            now: Time::from_millis(u64::from(START_SECONDS) * 1000),
            rng: Rng::new(2),
        }
    }

    pub fn unix_ms(&self) -> u64 {
        UNIX_MS + self.now.as_micros() / 1000
    }

    fn bundle(&mut self) -> ConnectBundle {
        let claims = TokenClaims {
            issued_ms: self.unix_ms(),
            expires_ms: self.unix_ms() + TOKEN_MS,
            account: 1,
            character: 1,
            group: 0,
            down_cap: 0,
            up_cap: 0,
            servers: [ServerEntry { id: 1, addr: SocketAddr::from(([10, 0, 0, 1], 7777)) }].into_iter().collect(),
        };
        issue(&cluster_key(), &claims, &mut self.entropy).expect("the entropy is seeded")
    }

    /// A client and its HELLO.
    pub fn client(&mut self) -> (ClientEndpoint, [u8; HELLO_BYTES]) {
        let bundle = self.bundle();
        let ephemeral = self.entropy.ephemeral().expect("the system's entropy works");
        let config = ClientConfig::new(SCHEMA_HASH);
        let mut client = ClientEndpoint::connect(config, &bundle, ephemeral, self.now).expect("a good table");
        let mut hello = [0; HELLO_BYTES];
        assert_eq!(client.poll_transmit(self.now, &mut hello), Some(HELLO_BYTES));
        (client, hello)
    }

    /// Hands a datagram to the server; the length of the answer that is then in `out`, 0 for none.
    pub fn deliver(&mut self, from: SocketAddr, datagram: &mut [u8], out: &mut [u8]) -> usize {
        let unix_ms = self.unix_ms();
        self.server.handle_datagram(self.now, unix_ms, from, datagram, &mut self.entropy);
        self.server.poll_transmit_control(self.now, out).map_or(0, |(_, len)| len)
    }

    pub fn connected(&mut self) -> Option<ConnId> {
        match self.server.poll_event() {
            Some(ServerEvent::Connected { conn, .. }) => Some(conn),
            _ => None,
        }
    }

    /// Closes connections and lets the time pass that their farewells take.
    pub fn clear(&mut self, conns: &[ConnId]) {
        for conn in conns {
            self.server.close(self.now, *conn, CloseReason::Requested);
        }
        for _ in 0..1000 {
            if self.server.connections() == 0 {
                break;
            }
            self.now = self.now + Duration::from_millis(50);
            self.server.handle_timeout(self.now);
            while self.server.poll_transmit_control(self.now, &mut [0; MAX_DATAGRAM]).is_some() {}
        }
        while self.server.poll_event().is_some() {}
        assert_eq!(self.server.connections(), 0, "all are closed");
    }
}

pub fn cluster_key() -> ClusterKey {
    ClusterKey { epoch: 1, key: Psk::new([0xc1; 32]) }
}

pub fn server(asks: bool) -> ServerEndpoint {
    let mut config = ServerConfig::new(vec![cluster_key()], SCHEMA_HASH, 20);
    config.retry_above = if asks { 0 } else { u32::MAX };
    config.max_handshakes = u32::MAX;
    config.max_half_open = u16::MAX;
    config.prefixes = PrefixLimits::UNLIMITED;
    ServerEndpoint::new(config, CookieKey::new([0xc0; 32]), Arc::new(SingleUse::new(1 << 20)))
}

pub fn from(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, (index >> 8) as u8, index as u8], 4000))
}
