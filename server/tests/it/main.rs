//! Integration tests of the server: configuration, zone, and the real process.

mod config;
mod player;
mod process;
mod replication;
mod running;
mod schema;
mod zone;
