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
//! - a client has of each entity what its shard takes for acknowledged, and what only owners get is nobody else's;
//! - nothing outside the area of interest is sent, nobody near (or tied to the client) stays unknown, nobody gone is left
//!   over;
//! - a snapshot is no longer than its budget and comes in one datagram; on a calm path nobody in view waits for longer than
//!   a second, where so much fits the budget;
//! - what shards keep for replication does not contradict itself;
//! - nothing is accepted that nobody sealed, and each damaged datagram is counted as dropped;
//! - the game keeps its own rules from tick to tick: speed, the weapons' pace, ammunition, health;
//! - what players are told once reaches each client exactly once, as long as its connection stands;
//! - after the faults what clients predict is what the server makes of their inputs;
//! - a replay of the zone's log gives the same digests; on a mild path nobody honest is refused for when it saw others;
//! - the inputs of a connection reach the zone in order;
//! - honest ends never break the protocol, and over a mild network no connection is given up, whatever addresses its client
//!   has had and however short datagrams must be;
//! - an address that proved nothing is sent no more than it may be; queues are no longer than the channel table says; no
//!   nonce is used twice (debug builds);
//! - the network's counters add up, and each datagram that reached the server is in its own.
//!
//! [`Arena::load`] makes steps and rounds take so long that the server sheds snapshots and stretches its ticks.
//!
//! Up to three in ten clients are hostile beside playing: they copy what others send from other addresses and overtake it,
//! replay it, flood with others' connection ids, or acknowledge next to nothing. They go on in the liveness phase.
//!
//! The digest folds worlds, plaintexts, times and sizes, never ciphertext: X25519 keys cannot be seeded, and they are
//! the one thing that [`Arena::new`] takes from outside.

mod agreement;
mod bonds;
mod checker;
mod cluster;
mod digest;
mod faults;
mod history;
mod hostile;
mod ledger;
mod load;
mod mail;
mod options;
mod pace;
mod player;
mod report;
mod run;
mod tight;
mod totals;
mod watch;

/// What scenarios are made of, too.
pub(crate) mod parts {
    pub(crate) use super::cluster::{Cluster, period, unix_ms};
    pub(crate) use super::digest::Digest;
    pub(crate) use super::history::History;
    pub(crate) use super::player::{client_at, inside};
}

pub use digest::Digest;
pub use options::{Drawn, Hostile, Options, Partitions, Planted};
pub use report::{Broken, Report, Rule, Violation};
pub use run::{Arena, LIVENESS_S};
pub use tight::{Parties, Tight};
pub use totals::Totals;
pub use watch::{Line, Tell};
