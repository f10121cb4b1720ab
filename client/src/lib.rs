//! Zonewire's client SDK: connect, send what the player wants, read a decoded view of the world, show it smoothly.
//!
//! Sans-I/O: the caller owns the socket, the clock and the randomness, so that the SDK runs in any engine, in a
//! swarm of bots, and on virtual time in tests. Methods are of four kinds: getters, `handle_*`, commands, `poll_*`.
//! The loop of a game:
//!
//! 1. [`handle_datagram`](Client::handle_datagram) for each datagram that came from the server;
//! 2. [`set_intent`](Client::set_intent) with what the player wants now;
//! 3. [`handle_timeout`](Client::handle_timeout), at the latest when [`poll_timeout`](Client::poll_timeout) says so: it
//!    records one input per tick, at a tick that is ahead of the server's by just what the way there takes;
//! 4. [`poll_transmit`](Client::poll_transmit) until `None`, sending each datagram;
//! 5. [`poll_event`](Client::poll_event) until `None`;
//! 6. draw: [`view`](Client::view) knows who is there, [`interpolate`](Client::interpolate) where to show them.
//!
//! ```
//! use client::{Client, Config, Event};
//! use netcode::crypto::{CryptoError, Entropy};
//! use netcode::{Time, token::ConnectBundle};
//! use sim::Input;
//! use std::net::UdpSocket;
//!
//! /// Walks east until the server ends it. `clock` counts from any fixed moment.
//! fn play(
//!     bundle: &ConnectBundle,
//!     socket: &UdpSocket,
//!     entropy: &mut dyn Entropy,
//!     clock: impl Fn() -> Time,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut client = Client::connect(Config::default(), bundle, entropy.ephemeral()?, clock())?;
//!     let mut datagram = [0; 2048];
//!     loop {
//!         // The socket is connected to one of `bundle.servers` and does not block for longer than a few ms.
//!         while let Ok(len) = socket.recv(&mut datagram) {
//!             client.handle_datagram(clock(), &mut datagram[..len]);
//!         }
//!         client.set_intent(Input { move_x: 15, ..Input::default() });
//!         client.handle_timeout(clock());
//!         while let Some(len) = client.poll_transmit(clock(), &mut datagram) {
//!             // What the system does not take is lost, as on any network.
//!             let _ = socket.send(&datagram[..len]);
//!         }
//!         while let Some(event) = client.poll_event() {
//!             match event {
//!                 Event::Spawned { id, .. } => println!("{id} came into view"),
//!                 Event::Disconnected(reason) => return Err(reason.into()),
//!                 _ => {}
//!             }
//!         }
//!         for entity in client.view().entities() {
//!             if let Some(pose) = client.interpolate(clock(), entity.id()) {
//!                 println!("{} at {:?}", entity.id(), pose.position);
//!             }
//!         }
//!     }
//! }
//! ```
//!
//! # Own entity
//!
//! [`own_entity`](Client::own_entity) is the player's entity as the server last told it. It is not predicted: what the
//! latest inputs will do to it shows a round trip later.
//!
//! # The network
//!
//! The socket's address may change at any time (another network, a NAT that forgets): the connection goes on as soon as a
//! datagram arrives from the new one. [`quality`](Client::quality) tells how the path fares. Sockets should forbid
//! fragments where the system can (Linux: `IP_MTU_DISCOVER`), and a datagram that the system does not take because it is
//! too long is to be treated as lost: some are probes for how long they may be.
//!
//! # A hostile server
//!
//! What arrives is decoded with bounds on memory and time; the first authentic message that breaks the protocol closes
//! the connection with `ProtocolError` and is counted in [`Stats`].
#![forbid(unsafe_code)]

mod body;
mod client;
mod clock;
mod config;
mod event;
mod inputs;
mod interpolation;
mod offset;
pub mod prediction;
mod projectiles;
mod session;
mod stats;
mod tables;

pub use client::{Client, Projectile, Tap};
pub use config::Config;
pub use event::{Event, Unplayable};
pub use inputs::REPEATS;
pub use interpolation::Pose;
pub use netcode::client::ClientState;
pub use netcode::keys::KeyLimits;
pub use netcode::stats::Quality;
pub use stats::Stats;
