//! Integration tests.

mod bits;
mod connection;
mod emulator;
mod handshake;
mod pair;
mod snapshot;
mod vectors;
