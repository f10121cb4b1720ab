//! How a client behaves.

use core::time::Duration;
use std::sync::Arc;

use netcode::client::ClientConfig;
use netcode::crypto::Aead;
use netcode::keys::KeyLimits;
use sim::game::Rulebook;
use sim::schema::SCHEMA;

/// How a client behaves; [`Config::default`] suits a game.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The cipher for packets. Default AES-128-GCM; ChaCha20-Poly1305 is faster where the processor has no AES.
    pub aead: Aead,
    /// The attempt to connect fails when no valid answer arrives for so long. Default 10 s.
    pub handshake_timeout: Duration,
    /// The most bytes a second that are sent, datagrams without UDP and IP headers; the token may say less. Default
    /// 1,000,000, of which an ordinary game uses about 2,000.
    pub bytes_per_s: u32,
    /// When the key for what is sent is rolled. Default after 4,194,304 packets or 60 minutes.
    pub key_limits: KeyLimits,
    /// The most entities in view at a time, 1..=4096; a server that shows more breaks the protocol. Default 1024.
    pub max_entities: u16,
    /// How far back courses are kept for [`interpolate`](crate::Client::interpolate). Default 400 ms; at most 63
    /// ticks are kept, whatever the rate.
    pub keep: Duration,
    /// For how long [`interpolate`](crate::Client::interpolate) moves an entity on as guessed when no more snapshots come,
    /// before it stands. Default 250 ms.
    pub extrapolate: Duration,
    /// Within how long the server tells who left its course, also in a crowd, which bounds for how long
    /// [`interpolate`](crate::Client::interpolate) doubts the course of an entity that is not mentioned
    /// ([`Horizon`](crate::Horizon)). Default 1 s, as long as this server takes where nothing is lost.
    pub told: Duration,
    /// The rules that the game is played by: what is predicted follows them, and a server that plays by others is left
    /// ([`Event::Unplayable`](crate::Event::Unplayable)). Default: those of the shipped game.
    pub book: Arc<Rulebook>,
    /// The most boxes, gates and ramps of a map; a server with a fuller one is left before it is made. Default 65,536, which
    /// take about 50 ms to make.
    pub max_solids: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            aead: Aead::default(),
            handshake_timeout: Duration::from_secs(10),
            bytes_per_s: 1_000_000,
            key_limits: KeyLimits::default(),
            max_entities: netcode::snapshot::MAX_SLOTS,
            keep: Duration::from_millis(400),
            extrapolate: Duration::from_millis(250),
            told: Duration::from_secs(1),
            book: Rulebook::standard(),
            max_solids: 1 << 16,
        }
    }
}

impl Config {
    pub(crate) fn endpoint(&self) -> ClientConfig {
        let mut endpoint = ClientConfig::new(SCHEMA.hash());
        endpoint.aead = self.aead;
        endpoint.handshake_timeout = self.handshake_timeout;
        endpoint.rate_cap = self.bytes_per_s;
        endpoint.key_limits = self.key_limits;
        endpoint
    }
}
