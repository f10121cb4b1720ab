//! The engine as both programs configure it: two channels, tokens under a key that both know.

use core::time::Duration;

use netcode::Time;
use netcode::channel::{Channel, Kind, Table};
use netcode::client::ClientConfig;
use netcode::crypto::{ClusterKey, CryptoError, Entropy, Psk};
use netcode::features::Features;
use netcode::server::{PrefixLimits, ServerConfig};
use netcode::token::{ConnectBundle, ServerEntry, TokenClaims, issue};

use super::{MAX_MESSAGE, TICK};

/// The channel of the unreliable messages.
pub const UNRELIABLE: u8 = 0;
/// The channel of the reliable, ordered ones.
pub const RELIABLE: u8 = 1;
/// Bytes that wait on a channel: those of a flood between two sends.
const QUEUE_BYTES: u32 = 32 * 1024;
/// Bytes a second that a connection may send: a flood's limit, far above the rest.
const RATE_CAP: u32 = 400_000_000;
const SCHEMA_HASH: u64 = 0;
const SERVER_ID: u32 = 1;
/// How long a token is good.
const TOKEN_TIME: Duration = Duration::from_secs(3600);

fn channels() -> Table {
    let channel = |name, kind| Channel::new(name, kind, MAX_MESSAGE as u32, QUEUE_BYTES);
    Table([channel("unreliable", Kind::Unreliable), channel("reliable", Kind::ReliableOrdered)].into_iter().collect())
}

/// The programs are started apart and told nothing secret, so the key that a game's control plane would keep is written here.
fn cluster_key() -> ClusterKey {
    ClusterKey { epoch: 1, key: Psk::new(*b"a key for loopback benches only!") }
}

/// A server for so many clients, who all come from one address.
#[must_use]
pub fn server_config(clients: u16) -> ServerConfig {
    ServerConfig {
        channels: channels(),
        server_id: SERVER_ID,
        max_connections: clients,
        max_half_open: clients,
        rate_cap: RATE_CAP,
        prefixes: PrefixLimits::UNLIMITED,
        ..ServerConfig::new(vec![cluster_key()], SCHEMA_HASH, (1000 / TICK.as_millis()) as u16)
    }
}

/// A client. It does not ask for the server's clock: the workload has no use for it, and no other transport here keeps one.
#[must_use]
pub fn client_config() -> ClientConfig {
    let features = Features::MTU;
    ClientConfig { channels: channels(), features, rate_cap: RATE_CAP, ..ClientConfig::new(SCHEMA_HASH) }
}

/// What a control plane would give to client `number`.
///
/// # Errors
/// See [`issue`].
pub fn bundle(
    number: u16,
    server: core::net::SocketAddr,
    unix_ms: u64,
    entropy: &mut dyn Entropy,
) -> Result<ConnectBundle, CryptoError> {
    let claims = TokenClaims {
        issued_ms: unix_ms,
        expires_ms: unix_ms.saturating_add(TOKEN_TIME.as_millis() as u64),
        account: u64::from(number),
        character: u64::from(number),
        group: 0,
        down_cap: 0,
        up_cap: 0,
        servers: [ServerEntry { id: SERVER_ID, addr: server }].into_iter().collect(),
    };
    issue(&cluster_key(), &claims, entropy)
}

/// The engine's time at `now_ns` nanoseconds.
#[must_use]
pub const fn time(now_ns: u64) -> Time {
    Time::from_micros(now_ns / 1000)
}
