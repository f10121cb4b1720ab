//! What targets with a whole endpoint share: keys, tokens, addresses, entropy.

use std::net::SocketAddr;
use std::sync::LazyLock;

use netcode::bits::BitWriter;
use netcode::channel::{EVENT, INPUT, Kind, SESSION, Table};
use netcode::crypto::{ClusterKey, CookieKey, CryptoError, Entropy, Ephemeral, OsEntropy, Psk, SessionKeys};
use netcode::error::CloseReason;
use netcode::frame::{Control, Head, write_control, write_message, write_snapshot_head};
use netcode::handshake::{ACCEPT_BYTES, Accepted, HELLO_BYTES, RawHello, write_accept};
use netcode::packet::{AckBlock, MAX_DATAGRAM, Preamble};
use netcode::rng::Rng;
use netcode::server::ServerConfig;
use netcode::token::{ConnectBundle, ServerEntry, Token, TokenClaims, seal};

pub const SCHEMA_HASH: u64 = 0x5eed;
pub const SERVER_ID: u32 = 7;
pub const GROUP: u32 = 3;
pub const RATE: u16 = 20;
/// The wall clock when the endpoints' is at zero, Unix milliseconds.
pub const UNIX_MS: u64 = 1_700_000_000_000;
/// When the tokens expire, by the endpoints' clock.
pub const EXPIRES_AFTER_MS: u64 = 30_000;

/// The standard channels, and their hash (which every HELLO needs).
pub static CHANNELS: LazyLock<(Table, u64)> = LazyLock::new(|| {
    let table = Table::standard();
    let hash = table.hash();
    (table, hash)
});

/// The channels that [`LAB`] adds to the standard ones.
pub const ORDERED: u8 = EVENT + 1;
pub const UNORDERED: u8 = ORDERED + 1;
pub const DATAGRAM: u8 = UNORDERED + 1;
pub const STATE: u8 = DATAGRAM + 1;
pub const BLOCK: u8 = STATE + 1;

/// A channel of every kind, and the table's hash.
pub static LAB: LazyLock<(Table, u64)> = LazyLock::new(|| {
    let table = Table::lab();
    let hash = table.hash();
    (table, hash)
});

/// Seeded randomness, but for ring's ephemeral keys, which cannot be: ciphertexts differ between two runs, while
/// plaintexts, sizes and outcomes do not.
pub struct FuzzEntropy(Rng);

impl FuzzEntropy {
    pub fn new() -> Self {
        Self(Rng::new(1))
    }
}

impl Entropy for FuzzEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.fill(out);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "ring makes ephemeral keys from OS entropy only")]
    fn ephemeral(&mut self) -> Result<Ephemeral, CryptoError> {
        OsEntropy::new().ephemeral()
    }
}

pub fn cluster_key() -> ClusterKey {
    ClusterKey { epoch: 1, key: Psk::new([0xc1; 32]) }
}

pub fn cookie_key() -> CookieKey {
    CookieKey::new([0xc0; 32])
}

pub fn psk() -> Psk {
    Psk::new([0x95; 32])
}

pub fn server_addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7777))
}

pub fn client_addr(index: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, index], 10_000))
}

/// Claims that the fixture's server takes.
pub fn claims() -> TokenClaims {
    TokenClaims {
        issued_ms: UNIX_MS,
        expires_ms: UNIX_MS + EXPIRES_AFTER_MS,
        account: 11,
        character: 12,
        group: GROUP,
        down_cap: 0,
        up_cap: 0,
        servers: [ServerEntry { id: SERVER_ID, addr: server_addr() }].into_iter().collect(),
    }
}

/// A token of those claims. `name` becomes its id.
pub fn token(claims: &TokenClaims, name: u8) -> Token {
    seal(&cluster_key(), claims, &[name; 16], &psk())
}

pub fn bundle() -> ConnectBundle {
    let claims = claims();
    ConnectBundle { token: token(&claims, 1), psk: psk(), expires_ms: claims.expires_ms, servers: claims.servers }
}

pub fn server_config() -> ServerConfig {
    let mut config = ServerConfig::new(vec![cluster_key()], SCHEMA_HASH, RATE);
    config.server_id = SERVER_ID;
    config.group = GROUP;
    config
}

/// Plaintexts of data packets: one for each thing that a packet can hold, and malformed ones. The ack in them names the
/// first packet and those before it.
pub fn plaintexts() -> Vec<Vec<u8>> {
    let ack = Some(AckBlock { largest: 0, delay: 1, mask: u32::MAX });
    let unsent = Some(AckBlock { largest: 999, delay: 1, mask: 0 });
    vec![
        plaintext(None, |_| {}),
        plaintext(ack, |_| {}),
        plaintext(unsent, |_| {}),
        plaintext(ack, |w| write_control(w, Control::Ping)),
        plaintext(ack, |w| assert!(write_segment(w, 0, b"first"))),
        plaintext(ack, |w| assert!(write_segment(w, 2, b"third"))),
        plaintext(ack, |w| assert!(write_segment(w, 1, b"second"))),
        plaintext(ack, |w| assert!(write_segment(w, 999, b"far"))),
        plaintext(ack, |w| assert!(write_input(w, b"input"))),
        [plaintext(ack, write_snapshot_head), b"snapshot".to_vec()].concat(),
        plaintext(ack, |w| assert!(write_message(w, 9, Kind::Sequenced, Head::Whole, b"no such channel"))),
        vec![0xff; 30],
        plaintext(ack, |w| write_control(w, Control::Close(CloseReason::Requested))),
    ]
}

/// Writes a whole message of the session channel if there is room for it.
#[must_use]
pub fn write_segment(w: &mut BitWriter<'_>, number: u16, message: &[u8]) -> bool {
    let head = Head::Segment { number, first: true, last: true };
    write_message(w, SESSION, Kind::ReliableOrdered, head, message)
}

/// Writes a message of the game's events if there is room for it.
#[must_use]
pub fn write_event(w: &mut BitWriter<'_>, number: u16, message: &[u8]) -> bool {
    write_message(w, EVENT, Kind::ReliableUnordered, Head::Segment { number, first: true, last: true }, message)
}

/// Writes a message of the input channel if there is room for it.
#[must_use]
pub fn write_input(w: &mut BitWriter<'_>, message: &[u8]) -> bool {
    write_message(w, INPUT, Kind::Sequenced, Head::Whole, message)
}

/// The plaintext of a packet with that ack and those frames.
pub fn plaintext(ack: Option<AckBlock>, frames: impl FnOnce(&mut BitWriter<'_>)) -> Vec<u8> {
    let mut out = [0; MAX_DATAGRAM];
    let mut w = BitWriter::new(&mut out);
    Preamble { ack, tick: Some(7) }.write(&mut w);
    frames(&mut w);
    let len = w.finish();
    out[..len].to_vec()
}

/// What a server of the cluster answers to a HELLO, and the keys it then has.
pub fn accept(
    entropy: &mut FuzzEntropy,
    hello: &[u8; HELLO_BYTES],
    accepted: &Accepted,
) -> ([u8; ACCEPT_BYTES], SessionKeys) {
    let ephemeral = entropy.ephemeral().expect("the system's entropy works");
    let (public, hello) = (ephemeral.public(), RawHello::read(hello).expect("our own HELLO"));
    let secret = ephemeral.agree(&hello.fields().public).expect("a good key");
    write_accept(&hello, &psk(), &secret, &public, accepted)
}
