//! Integration tests.

mod bits;
mod blocks;
mod channels;
mod connection;
mod emulator;
mod fiend;
mod flood;
mod handshake;
mod hostile;
mod lab;
mod lanes;
mod model;
mod negotiation;
mod pair;
mod phases;
mod quotas;
mod roaming;
mod snapshot;
mod vectors;
