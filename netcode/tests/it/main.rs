//! Integration tests.

mod bits;
mod blocks;
mod channels;
mod connection;
mod emulator;
mod flood;
mod handshake;
mod hostile;
mod lab;
mod lanes;
mod negotiation;
mod pair;
mod phases;
mod roaming;
mod snapshot;
mod vectors;
