//! Zonewire's protocol. (Module docs follow with the modules.)
#![forbid(unsafe_code)]

pub mod bits;
pub mod schema;
pub mod time;

pub use time::Time;
