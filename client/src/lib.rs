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
//! 6. draw: [`own_pose`](Client::own_pose) shows the player, [`projectiles`](Client::projectiles) what flies,
//!    [`view`](Client::view) knows who else is there, [`interpolate`](Client::interpolate) where to show them.
//!
//! ```
//! use client::{Client, Config, Event};
//! use netcode::crypto::{CryptoError, Entropy};
//! use netcode::{Time, token::ConnectBundle};
//! use sim::Input;
//! use sim::input::FIRE;
//! use sim::schema::PROJECTILE;
//! use std::net::UdpSocket;
//!
//! /// Walks east and fires until the server ends it. `clock` counts from any fixed moment.
//! fn play(
//!     bundle: &ConnectBundle,
//!     socket: &UdpSocket,
//!     entropy: &mut dyn Entropy,
//!     clock: impl Fn() -> Time,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut client = Client::connect(Config::default(), bundle, entropy.ephemeral()?, clock())?;
//!     let mut datagram = [0; 2048];
//!     let mut drawn_at = clock();
//!     loop {
//!         // The socket is connected to one of `bundle.servers` and does not block for longer than a few ms.
//!         while let Ok(len) = socket.recv(&mut datagram) {
//!             client.handle_datagram(clock(), &mut datagram[..len]);
//!         }
//!         // The player answers to the last frame that was drawn.
//!         client.set_intent_at(drawn_at, Input { move_x: 15, yaw: 16384, buttons: FIRE, ..Input::default() });
//!         client.handle_timeout(clock());
//!         while let Some(len) = client.poll_transmit(clock(), &mut datagram) {
//!             // What the system does not take is lost, as on any network.
//!             let _ = socket.send(&datagram[..len]);
//!         }
//!         while let Some(event) = client.poll_event() {
//!             match event {
//!                 Event::Spawned { id, .. } => println!("{id} came into view"),
//!                 Event::Fired { weapon, .. } => println!("the flash and the sound of weapon {weapon}"),
//!                 Event::Game(event) => println!("told by the server: {event:?}"),
//!                 Event::Unplayable(why) => println!("{why}"),
//!                 Event::Disconnected(reason) => return Err(reason.into()),
//!                 _ => {}
//!             }
//!         }
//!         drawn_at = clock();
//!         if let Some(pose) = client.own_pose(drawn_at) {
//!             println!("I am at {:?}", pose.position);
//!         }
//!         for projectile in client.projectiles(drawn_at) {
//!             println!("something flies at {:?}", projectile.pose.position);
//!         }
//!         let own = client.own().map_or(0, |own| own.raw());
//!         for entity in client.view().entities().filter(|entity| entity.id() != own && entity.kind() != PROJECTILE) {
//!             if let Some(pose) = client.interpolate(drawn_at, entity.id()) {
//!                 println!("{} at {:?}", entity.id(), pose.position);
//!             }
//!         }
//!     }
//! }
//! ```
//!
//! # The player's own body
//!
//! It is predicted ([`mod@prediction`]): each input is played at once by the very function that the server steps the world
//! with, on the map of the Welcome and by the rules of [`Config::book`], and the server's word, a round trip later, is
//! compared with it bit for bit. Where nobody else has a hand in it the two are the same. Wounds, loot and levels are taken
//! over; deaths and returns are cuts. A real difference is replayed from the server's state, in a bounded number of steps a
//! call, and what it moves the body by is told ([`Event::Corrected`]) and fades within a fraction of a second.
//!
//! [`set_intent_at`](Client::set_intent_at) takes what the player wants *and when it looked*. The trigger may be held: the
//! SDK lets a shot through in those ticks only in which the weapon fires, tells it once ([`Event::Fired`]), and stamps it
//! with what was on the screen, so that the server judges it by that. What the shot did is told by the server
//! ([`Event::Game`]). A projectile flies from the shot on, ahead of the server's, which then is not shown beside it.
//!
//! [`own_entity`](Client::own_entity) is the same body as the server last told it.
//!
//! # Slow frames
//!
//! A call makes up at most an eighth of a second of ticks. Whoever draws ten frames a second misses nothing; below eight
//! some ticks have no input of their own (the server repeats the last one), and no frame gets slower for those before.
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
pub use interpolation::{Horizon, Pose, pose};
pub use netcode::client::ClientState;
pub use netcode::keys::KeyLimits;
pub use netcode::message::Welcome;
pub use netcode::stats::Quality;
pub use stats::Stats;
