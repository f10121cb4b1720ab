//! The replication part of a shard without the rest, fed with the same frames and acknowledgements, so that its stages
//! can be timed apart.

use std::sync::Arc;

use netcode::bits::BitWriter;
use netcode::packet::MAX_DATAGRAM;
use server::replication::{Aoi, ReplicaStats, Replication, ReplicationConfig};
use server::shard::ShardConfig;
use sim::{EntityId, Frame, SCHEMA};

use crate::rig::RigConfig;

/// All clients' replication state.
pub struct Mirror {
    replication: Replication,
    budget: usize,
    /// By connection slot.
    clients: Vec<bool>,
    sent: u64,
    out: Box<[u8; MAX_DATAGRAM]>,
    /// Bytes of the bodies written last, by connection slot.
    pub bodies: Vec<usize>,
}

/// A step of one client's snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// What is to be sent was found, and chosen.
    Priority,
    /// It was packed.
    Pack,
}

impl Mirror {
    /// The state of a shard without clients.
    #[must_use]
    pub fn new(config: &RigConfig) -> Self {
        let shard = ShardConfig::new(Vec::new(), config.rate);
        let replication = ReplicationConfig {
            schema: &SCHEMA,
            rate: config.rate,
            aoi: Aoi::new(f32::from(config.aoi_radius_m), config.rate),
            priority: shard.priority,
            max_known: shard.max_known,
            training: shard.training,
        };
        let share = shard.snapshot_bytes_per_s as usize / usize::from(config.rate);
        Self {
            replication: Replication::new(&replication),
            budget: usize::from(shard.snapshot_bytes).min(share),
            clients: Vec::new(),
            sent: 0,
            out: Box::new([0; MAX_DATAGRAM]),
            bodies: Vec::new(),
        }
    }

    /// Stage: every client has what was written last.
    pub fn acked(&mut self) {
        for (client, here) in (0..).zip(&self.clients) {
            if *here {
                self.replication.on_acked(client, self.sent);
            }
        }
    }

    /// Stage: the next frame, and the players who are new in it.
    pub fn take(&mut self, frame: Arc<Frame>, spawned: &mut Vec<(u16, EntityId)>) {
        for (slot, entity) in spawned.drain(..) {
            let at = usize::from(slot);
            if self.clients.len() <= at {
                self.clients.resize(at + 1, false);
            }
            self.clients[at] = true;
            self.replication.insert(slot, entity);
        }
        self.replication.handle_frame(frame);
    }

    /// Stage: the areas of interest that are due.
    pub fn refresh(&mut self) {
        for (client, here) in (0..).zip(&self.clients) {
            if *here {
                self.replication.look(client);
            }
        }
    }

    /// Stage: every client's snapshot. Returns the bytes of their bodies.
    pub fn write(&mut self) -> usize {
        self.write_timed(&mut |_| {})
    }

    /// The same; after each step of each client `lap` is told which one it was.
    pub fn write_timed(&mut self, lap: &mut impl FnMut(Step)) -> usize {
        let Self { replication, budget, clients, sent, out, bodies } = self;
        *sent += 1;
        bodies.clear();
        for (client, _) in (0..).zip(&*clients).filter(|(_, here)| **here) {
            replication.choose(client, *budget);
            lap(Step::Priority);
            let mut w = BitWriter::new(&mut out[..*budget]);
            replication.pack(Some(1), &mut w);
            bodies.push(w.finish());
            replication.on_sent(client, *sent);
            lap(Step::Pack);
        }
        bodies.iter().sum()
    }

    /// Counters so far.
    #[must_use]
    pub fn stats(&self) -> ReplicaStats {
        self.replication.stats()
    }
}
