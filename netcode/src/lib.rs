//! Zonewire's protocol. (Module docs follow with the modules.)
#![forbid(unsafe_code)]

pub mod bits;
pub mod crypto;
pub mod error;
pub mod replay;
pub mod emulator;
pub mod rng;
pub mod schema;
pub mod seq;
pub mod time;

pub use time::Time;
