//! Integration tests.

mod bits;
mod connection;
mod emulator;
mod flood;
mod handshake;
mod hostile;
mod negotiation;
mod pair;
mod snapshot;
mod vectors;
