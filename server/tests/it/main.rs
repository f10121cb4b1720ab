//! Integration tests of the server: configuration, zone, and the real process.

mod cluster;
mod config;
mod fights;
mod player;
mod process;
mod recording;
mod replication;
mod rounds;
mod running;
mod schema;
mod zone;
