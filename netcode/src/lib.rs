//! Zonewire's protocol. (Module docs follow with the modules.)
#![forbid(unsafe_code)]

pub mod bits;
pub mod crypto;
pub mod error;
pub mod replay;
pub mod emulator;
pub mod rng;
pub mod channel;
pub mod connection;
pub mod frame;
pub mod packet;
pub mod recovery;
pub mod reliable;
pub mod stats;
pub mod token;
mod inbox;
pub mod handshake;
pub mod schema;
pub mod seq;
pub mod time;

pub use time::Time;
