//! Zonewire's zone server, the sans-I/O half: the configuration, the zone that owns the world, and the shards that own
//! the connections. The binary of this package gives them sockets, threads and a clock; tests and bots pump them in one
//! thread.
#![forbid(unsafe_code)]

pub mod config;
pub mod dev_token;
pub mod input_buffer;
pub mod load;
mod places;
pub mod replication;
mod round;
pub mod shard;
pub mod view_time;
pub mod zone;
