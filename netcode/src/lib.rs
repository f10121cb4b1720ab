//! Zonewire's protocol. (Module docs follow with the modules.)
#![forbid(unsafe_code)]

pub mod bits;
pub mod channel;
pub mod client;
pub mod connection;
pub mod crypto;
pub mod emulator;
pub mod error;
pub mod frame;
pub mod handshake;
mod inbox;
pub mod input;
pub mod message;
pub mod packet;
pub mod recovery;
pub mod reliable;
pub mod replay;
pub mod rng;
pub mod schema;
pub mod seq;
pub mod server;
pub mod snapshot;
pub mod stats;
pub mod time;
pub mod token;

pub use time::Time;
