//! Replication: what each client is told of the world, and what it is known to have.
//!
//! A client's own state is small: per visible entity a slot with the tick it acknowledged and a priority, never a copy
//! of the entity's state. Baselines come from the [`FrameRing`] that all clients of a worker share.
//!
//! For each client and frame: every few ticks [`Replica::refresh`] brings the set of known entities up to date with the
//! area of interest; then [`Replica::write`] collects what differs from what the client acknowledged, cuts it to the
//! byte budget by priority, and packs it. [`Replica::on_sent`], [`Replica::on_acked`] and [`Replica::on_lost`] keep book.

mod aoi;
mod frame_ring;
mod replica;
mod sent;

pub use aoi::{Aoi, Marks};
pub use frame_ring::FrameRing;
pub use replica::{Replica, ReplicaStats, Scratch, SnapshotContext, max_record_bits};
