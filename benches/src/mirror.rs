//! The replication part of a shard without the rest, fed with the same frames and acknowledgements, so that its stages
//! can be timed apart.

use std::sync::Arc;

use netcode::bits::BitWriter;
use netcode::packet::MAX_DATAGRAM;
use server::replication::{Aoi, FrameRing, Marks, Replica, ReplicaStats, Scratch, SnapshotContext, max_record_bits};
use sim::{EntityId, Frame, SCHEMA};

use crate::rig::RigConfig;

/// As a shard's own default.
const BUDGET: usize = 1100;
const MAX_KNOWN: u16 = 256;

/// All clients' replication state.
pub struct Mirror {
    rate: u16,
    aoi: Aoi,
    record_bits: usize,
    ring: FrameRing,
    marks: Marks,
    scratch: Scratch,
    stats: ReplicaStats,
    /// By connection slot.
    replicas: Vec<Option<Replica>>,
    sent: u64,
    out: Box<[u8; MAX_DATAGRAM]>,
    /// Bytes of the bodies written last, by connection slot.
    pub bodies: Vec<usize>,
}

impl Mirror {
    /// The state of a shard without clients.
    #[must_use]
    pub fn new(config: &RigConfig) -> Self {
        Self {
            rate: config.rate,
            aoi: Aoi::new(f32::from(config.aoi_radius_m), config.rate),
            record_bits: max_record_bits(&SCHEMA),
            ring: FrameRing::default(),
            marks: Marks::default(),
            scratch: Scratch::default(),
            stats: ReplicaStats::default(),
            replicas: Vec::new(),
            sent: 0,
            out: Box::new([0; MAX_DATAGRAM]),
            bodies: Vec::new(),
        }
    }

    /// Every client has what was written last.
    pub fn acked(&mut self) {
        for replica in self.replicas.iter_mut().flatten() {
            replica.on_acked(self.sent);
        }
    }

    /// The next frame, and the players who are new in it.
    pub fn take(&mut self, frame: Arc<Frame>, spawned: &mut Vec<(u16, EntityId)>) {
        for (slot, entity) in spawned.drain(..) {
            let slot = usize::from(slot);
            if self.replicas.len() <= slot {
                self.replicas.resize_with(slot + 1, || None);
            }
            self.replicas[slot] = Some(Replica::new(entity, MAX_KNOWN));
        }
        self.ring.push(frame);
    }

    /// Stage: the areas of interest that are due.
    pub fn refresh(&mut self) {
        let Some(frame) = self.ring.newest() else { return };
        for (stagger, replica) in (0..).zip(&mut self.replicas) {
            if let Some(replica) = replica
                && replica.refresh_due(frame.tick, &self.aoi, stagger)
            {
                replica.refresh(frame, &self.aoi, &mut self.marks, &mut self.stats);
            }
        }
    }

    /// Stage: every client's snapshot. Returns the bytes of their bodies.
    pub fn write(&mut self) -> usize {
        let Self { rate, aoi, record_bits, ring, scratch, stats, replicas, sent, out, bodies, .. } = self;
        let Some(tick) = ring.newest().map(|frame| frame.tick) else { return 0 };
        *sent += 1;
        bodies.clear();
        let context = SnapshotContext {
            schema: &SCHEMA,
            rate: *rate,
            record_bits: *record_bits,
            ring,
            margin: Some(1),
            budget: BUDGET,
        };
        for replica in replicas.iter_mut().flatten() {
            let mut w = BitWriter::new(&mut out[..BUDGET]);
            replica.write(&context, aoi, scratch, &mut w, stats);
            bodies.push(w.finish());
            replica.on_sent(*sent, tick, scratch);
        }
        bodies.iter().sum()
    }

    /// Counters so far.
    #[must_use]
    pub const fn stats(&self) -> &ReplicaStats {
        &self.stats
    }
}
