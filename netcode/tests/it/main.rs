//! Integration tests.

mod bits;
mod blocks;
mod channels;
mod compact;
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
mod opening;
mod pair;
mod paths;
mod phases;
mod quality;
mod quotas;
mod roaming;
mod snapshot;
mod trace;
mod vectors;
