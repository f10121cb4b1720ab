//! Integration tests.

mod bits;
mod connection;
mod emulator;
mod handshake;
mod hostile;
mod pair;
mod snapshot;
mod vectors;
