//! Zonewire's deterministic simulation: world, movement, space, frames, replay. It knows no packet.
//!
//! A [`World`] is made from a [`WorldConfig`], entities come and go through [`World::spawn_player`] and
//! [`World::despawn`], and [`World::step`] makes one tick from the players' [`Input`]s. [`World::frame`] gives
//! the outcome: an immutable [`Frame`] that answers who is where. The same configuration and the same calls
//! give the same [`World::digest`] after each tick, on every machine and in every build.
//!
//! The state of an entity is a row of integers as [`SCHEMA`] describes it. A frame also tells since when each entity
//! moves as anybody could have guessed ([`mod@course`]). There is no clock, no thread, no
//! entropy and no I/O in this crate; luck comes from [`rng`].
#![forbid(unsafe_code)]

pub mod config;
pub mod contact;
pub mod course;
pub mod entity;
pub mod frame;
pub mod gate;
pub mod input;
pub mod log;
pub mod map;
pub mod movement;
pub mod npc;
pub mod ramp;
pub mod ray;
pub mod replay;
pub mod rewind;
pub mod rng;
pub mod schema;
pub mod space;
pub mod spots;
pub mod stamina;
pub mod statics;
pub mod support;
pub mod world;

pub use config::{ConfigError, WorldConfig};
pub use entity::EntityId;
pub use frame::Frame;
pub use gate::Gate;
pub use input::Input;
pub use log::InputLog;
pub use map::{Map, MapConfig, StaticBox};
pub use ramp::Ramp;
pub use ray::Ray;
pub use replay::replay;
pub use rewind::{History, Moment};
pub use schema::SCHEMA;
pub use world::{SpawnError, World};
