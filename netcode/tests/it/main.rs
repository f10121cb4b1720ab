//! Integration tests.

mod bits;
mod connection;
mod emulator;
mod flood;
mod handshake;
mod hostile;
mod lab;
mod negotiation;
mod opening;
mod pair;
mod phases;
mod roaming;
mod snapshot;
mod vectors;
