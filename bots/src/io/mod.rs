//! What only the binary may have: sockets, clock, threads, entropy, HTTP, signals.

pub mod arena;
pub mod clock;
pub mod echo;
pub mod error;
pub mod files;
pub mod flood;
pub mod interrupt;
pub mod lines;
pub mod scenario;
pub mod sockets;
pub mod swarm;
pub mod tokens;
pub mod trace;
pub mod transfer;
