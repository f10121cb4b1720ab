//! Zonewire's deterministic simulation: the engine, the shipped game, movement, space, rewinding, replay. It knows no packet.
//!
//! A [`World`] is made from a [`WorldConfig`], entities come and go through `spawn_player` and `despawn`, and `step`
//! makes one tick from the players' [`Input`]s. Its `frame` is the outcome: an immutable [`Frame`] that answers who is
//! where. The same configuration and the same calls give the same digest after each tick, on every machine and in every
//! build.
//!
//! Two halves: the [`engine`] (columns, ticks, frames, the past, digests) knows no rule of any game; [`game`] is the
//! shipped game, and all that another game replaces. The engine's [`engine::World`] runs any [`engine::Game`];
//! [`World`] is the one that runs the shipped game. Movement, maps, rays and space are tools for either.
//!
//! The state of an entity is a row of integers as [`SCHEMA`] describes it. A frame also tells since when each entity
//! moves as anybody could have guessed ([`mod@course`]). There is no clock, no thread, no
//! entropy and no I/O in this crate; luck comes from [`rng`].
#![forbid(unsafe_code)]

pub mod config;
pub mod contact;
pub mod course;
pub mod engine;
pub mod entity;
pub mod frame;
pub mod game;
pub mod gate;
pub mod grid;
pub mod log;
pub mod map;
pub mod movement;
pub mod ramp;
pub mod ray;
pub mod replay;
pub mod rewind;
pub mod rng;
pub mod space;
pub mod spots;
pub mod statics;
pub mod support;

pub use config::{ConfigError, WorldConfig};
pub use engine::SpawnError;
pub use entity::EntityId;
pub use frame::Frame;
pub use game::event::{Event, Refusal, Refusals};
pub use game::input::Input;
pub use game::schema::SCHEMA;
pub use game::{event, input, schema};
pub use gate::Gate;
pub use log::InputLog;
pub use map::{Map, MapConfig, StaticBox};
pub use ramp::Ramp;
pub use ray::Ray;
pub use replay::replay;
pub use rewind::{History, Moment};

/// A world of the shipped game.
pub type World = engine::World<game::Skirmish>;
