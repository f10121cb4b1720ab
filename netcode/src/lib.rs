//! Zonewire's protocol: handshake, encrypted packets, channels, snapshot codec, network emulator.
//!
//! The bytes are described by `SPEC.md`; rule numbers in comments (`H-3`) are its. The crate does no I/O, starts no
//! thread, and reads no clock and no entropy: all of these come in as arguments, so that a whole cluster can run in one
//! thread on virtual time and give the same bytes every time.
//!
//! # Driving an endpoint
//!
//! [`client::ClientEndpoint`] is one client; [`server::ServerEndpoint`] is all connections of one server worker. Methods
//! are of four kinds: getters, `handle_*` (something happened), commands (`send`, `close`), and `poll_*` (what is to be
//! done). After any `handle_*` or command:
//!
//! 1. `poll_transmit` (at a server: `transmit` for each connection once a tick, and `poll_transmit_control`) until `None`,
//!    and send what it wrote;
//! 2. `poll_event` until `None`;
//! 3. wait for a datagram (`handle_datagram`) or for `poll_timeout` (`handle_timeout`).
//!
//! Junk from the network never returns an error and never logs: it is counted by cause ([`stats::Drops`]).
//!
//! ```
//! use core::time::Duration;
//! use netcode::client::{ClientConfig, ClientEndpoint, ClientEvent};
//! use netcode::crypto::{ClusterKey, CookieKey, Entropy, OsEntropy, Psk};
//! use netcode::packet::MAX_DATAGRAM;
//! use netcode::server::{ServerConfig, ServerEndpoint, ServerEvent, SingleUse};
//! use netcode::token::{ServerEntry, TokenClaims, issue};
//! use netcode::Time;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[expect(clippy::disallowed_methods)]
//! let mut entropy = OsEntropy::new();
//! let (client_addr, server_addr) = ("127.0.0.1:4000".parse()?, "127.0.0.1:7777".parse()?);
//! let cluster = ClusterKey { epoch: 1, key: Psk::new([7; 32]) };
//!
//! // The control plane issues a token ...
//! let servers = [ServerEntry { id: 1, addr: server_addr }].into_iter().collect();
//! let claims = TokenClaims {
//!     issued_ms: 0, expires_ms: 60_000, account: 1, character: 1, group: 0, down_cap: 0, up_cap: 0, servers,
//! };
//! let bundle = issue(&cluster, &claims, &mut entropy)?;
//!
//! // ... with which a client connects.
//! let mut server = ServerEndpoint::new(
//!     ServerConfig::new(vec![cluster], 0, 20), CookieKey::new([1; 32]), SingleUse::new(1000).into());
//! let mut client = ClientEndpoint::connect(ClientConfig::new(0), &bundle, entropy.ephemeral()?, Time::ZERO)?;
//!
//! let mut now = Time::ZERO;
//! let mut buffer = [0; MAX_DATAGRAM];
//! while !matches!(server.poll_event(), Some(ServerEvent::Connected { .. })) {
//!     now = now + Duration::from_millis(10);
//!     while let Some(len) = client.poll_transmit(now, &mut buffer) {
//!         server.handle_datagram(now, 0, client_addr, &mut buffer[..len], &mut entropy);
//!     }
//!     while let Some((_, len)) = server.poll_transmit_control(now, &mut buffer) {
//!         client.handle_datagram(now, &mut buffer[..len]);
//!     }
//! }
//! assert!(matches!(client.poll_event(), Some(ClientEvent::Connected(_))));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod bits;
pub mod channel;
pub mod client;
pub mod clock;
pub mod connection;
pub mod crypto;
pub mod delivery;
pub mod emulator;
pub mod error;
pub mod features;
#[cfg(test)]
mod flow;
pub mod frame;
pub mod handshake;
mod inbox;
pub mod input;
pub mod keys;
pub mod message;
pub mod mtu;
pub mod packet;
pub mod path;
pub mod policer;
pub mod prefetch;
pub mod rate;
pub mod recovery;
pub mod replay;
pub mod rng;
pub mod scheduler;
pub mod schema;
pub mod seq;
pub mod server;
pub mod snapshot;
pub mod stats;
pub mod time;
pub mod token;
pub mod trace;
pub mod version;
pub mod window;

pub use time::Time;
