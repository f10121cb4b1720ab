//! The arena: a whole cluster, its clients and a bad network, in one thread on virtual time.
//!
//! One seed decides everything: the world, what the clients do, which faults there are and when they strike. The real
//! zone, shards and clients run as they do in their processes; only sockets, threads and clocks are missing. Faults
//! strike in the *safety phase*; then they end, and in the *liveness phase* everything must converge within
//! [`LIVENESS_S`] virtual seconds; at last all leave, and nothing may remain.
//!
//! Checked at each step ([`Broken`] lists how it can fail):
//!
//! - a state confirmed for a tick equals the server's at that tick, to the quantum;
//! - nothing outside the area of interest is sent, nobody near stays unknown, nobody gone is left over;
//! - nothing is accepted that nobody sealed, and each damaged datagram is counted as dropped;
//! - the inputs of a connection reach the zone in order;
//! - honest ends never break the protocol;
//! - the network's counters add up.
//!
//! The digest folds worlds, plaintexts, times and sizes, never ciphertext: X25519 keys cannot be seeded, and they are
//! the one thing that [`Arena::new`] takes from outside.

mod checker;
mod cluster;
mod digest;
mod faults;
mod history;
mod options;
mod player;
mod report;
mod run;

pub use digest::Digest;
pub use options::{Drawn, Options, Partitions, Planted};
pub use report::{Broken, Report, Violation};
pub use run::{Arena, LIVENESS_S};
