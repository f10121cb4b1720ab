//! Replication: what each client is told of the world, and what it is known to have.
//!
//! An entity is *on course* as long as each tick's state is what
//! [`extrapolate`](netcode::schema::extrapolate) makes of the tick before. A client that has one state of a course has
//! them all, so an entity costs work and bytes only when it leaves its course, and until the client acknowledged the
//! new one: a frame lists who turned, a registry of viewers says which clients follow them, and each of those gets a bit
//! set. Nothing is scanned that did not change; bodies at rest and walkers on a straight line cost nothing at all.
//!
//! A client's own state is small: per known entity a slot with the tick it acknowledged, never a copy of its state.
//! Baselines come from the [`FrameRing`] that all clients of a worker share, and so do the bits of updates: they are
//! packed once per entity and baseline (`memo.rs`) and copied for every client that wants the same; in crowds by whole
//! stretches of slots (`stretch.rs`).
//!
//! For each client and frame, in this order: [`Replication::look`] every few ticks brings the set of known entities up to
//! date with the area of interest; [`Replication::choose`] finds what is to be sent, cut to the byte budget by priority;
//! [`Replication::pack`] writes it. [`Replication::on_sent`], [`Replication::on_acked`] and [`Replication::on_lost`] keep
//! book. Clients are named by their place among the worker's.

mod aoi;
mod checks;
mod compact;
mod frame_ring;
mod memo;
mod order;
mod pack;
mod priority;
mod replica;
mod select;
mod sent;
mod stale;
mod stretch;
mod viewers;
mod weighed;

use std::sync::Arc;

use netcode::bits::BitWriter;
use netcode::prefetch::{Prefetch, Way};
use netcode::schema::Schema;
use netcode::snapshot::compact::VERSION_BITS;
use netcode::snapshot::predict::Plans;
use netcode::snapshot::{Codec, write_codec};
use sim::spots::Neighbour;
use sim::{EntityId, Frame};

pub use aoi::{Aoi, DEFAULT_CROWD, DEFAULT_FOLLOW};
pub use checks::{Held, Inconsistent};
pub use compact::Training;
pub use frame_ring::{BASELINE_MS, FrameRing};
pub use priority::{Priority, Relation, Terms, Tier};
pub use replica::{MAX_RELATIONS, Replica};
pub use weighed::Weighed;

use aoi::Look;
use compact::{Body, Compact};
use memo::Memo;
use order::Order;
use pack::Packing;
use priority::Weights;
use replica::Known;
use select::{Candidate, Choice, Chosen};
use sent::Carried;
use stretch::{Shared, Stretches};
use viewers::{Viewer, Viewers};

/// How a worker replicates.
#[derive(Clone, Debug)]
pub struct ReplicationConfig {
    /// The schema.
    pub schema: &'static Schema,
    /// Ticks a second.
    pub rate: u16,
    /// The area of interest.
    pub aoi: Aoi,
    /// Who goes first.
    pub priority: Priority,
    /// The most entities that a client can know at once, itself included.
    pub max_known: u16,
    /// When tables of the compact codec are trained and pushed.
    pub training: Training,
}

/// What is replicated, and how often.
#[derive(Clone, Debug)]
struct ReplicationSchema {
    schema: &'static Schema,
    plans: Plans,
    rate: u16,
}

/// Counters over all clients of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStats {
    /// Snapshots written.
    pub snapshots: u64,
    /// Spawn records written.
    pub spawns: u64,
    /// Of these, such of entities that the client had acknowledged, but so long ago that nothing could be a baseline.
    pub refreshes: u64,
    /// Update records written.
    pub updates: u64,
    /// Of these, such that were copied in runs, in crowds.
    pub in_runs: u64,
    /// Bits of updates, without their gaps.
    pub update_bits: u64,
    /// Snapshots in the compact codec.
    pub compact: u64,
    /// Snapshots that were to be, but would have been too long and went in the fast codec.
    pub compact_too_long: u64,
    /// Tables published.
    pub tables: u64,
    /// Despawn records written.
    pub despawns: u64,
    /// Snapshots that the budget cut.
    pub cut: u64,
    /// Times that no slot was left for an entity in the area.
    pub no_slot: u64,
    /// Looks at the area.
    pub looks: u64,
    /// Updates whose bits another client had made already.
    pub shared: u64,
    /// Updates whose bits were made.
    pub made: u64,
}

/// Why an entity went into a snapshot, or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The tick of the snapshot.
    pub tick: u64,
    /// The entity.
    pub id: EntityId,
    /// Its slot.
    pub slot: u16,
    /// The terms of its priority.
    pub terms: Terms,
    /// Bits of its record, without its gap.
    pub bits: u16,
    /// Whether it went.
    pub sent: bool,
}

/// Scratch space.
#[derive(Debug, Default)]
struct Scratch {
    rows: Vec<u32>,
    /// Squared distances and rows of those who have no slot yet.
    newcomers: Vec<(f32, u32)>,
    outside: Vec<(EntityId, u32)>,
    nearest: Vec<Neighbour>,
    ids: Vec<EntityId>,
    near: Vec<(EntityId, u16)>,
    was_near: Vec<(EntityId, u16)>,
    /// What is known of those who are pending.
    gathered: Vec<(u16, Known)>,
    candidates: Vec<Candidate>,
    chosen: Chosen,
    shared: Shared,
    /// For whom, in how many bytes, and from which tables if in the compact codec.
    client: u16,
    budget: usize,
    tables: Option<u8>,
    carried: Vec<Carried>,
}

/// What all clients of a worker are told.
pub struct Replication {
    schema: ReplicationSchema,
    aoi: Aoi,
    weights: Weights,
    max_known: usize,
    ring: FrameRing,
    viewers: Viewers,
    memo: Memo,
    stretches: Stretches,
    compact: Compact,
    clients: Vec<Option<Replica>>,
    order: Order,
    /// Clients in a crowd.
    crowded: usize,
    scratch: Scratch,
    stats: ReplicaStats,
    /// The client whose choices are explained, and the last of them.
    watched: Option<u16>,
    explained: Vec<Explained>,
}

impl Replication {
    /// Nobody to tell, and nothing to tell of.
    #[must_use]
    pub fn new(config: &ReplicationConfig) -> Self {
        Self {
            schema: ReplicationSchema { schema: config.schema, plans: Plans::new(config.schema), rate: config.rate },
            aoi: config.aoi,
            weights: Weights::new(&config.priority, config.rate),
            max_known: usize::from(config.max_known.min(netcode::snapshot::MAX_SLOTS)),
            ring: FrameRing::new(config.rate),
            viewers: Viewers::default(),
            memo: Memo::default(),
            stretches: Stretches::default(),
            compact: Compact::new(config.schema, config.training),
            clients: Vec::new(),
            order: Order::default(),
            crowded: 0,
            scratch: Scratch::default(),
            stats: ReplicaStats::default(),
            watched: None,
            explained: Vec::new(),
        }
    }

    /// Takes the next frame; one that is not newer than the last is ignored.
    pub fn handle_frame(&mut self, frame: Arc<Frame>) {
        let newest = self.ring.newest().map(|newest| newest.tick);
        if newest.is_some_and(|newest| frame.tick <= newest) {
            return;
        }
        self.memo.start(frame.len(), self.crowded > 0);
        self.stretches.start();
        if newest.is_none_or(|newest| newest == frame.prev) {
            self.push_turns(&frame);
        } else {
            // Whoever turned in a frame that never came here is not known: everybody is looked at.
            for client in self.clients.iter_mut().flatten() {
                client.pend_all();
            }
        }
        self.order.keep(&frame, &self.clients);
        self.compact.publish_if_due(frame.tick, self.schema.rate);
        self.ring.push(frame, self.crowded > 0);
    }

    /// The clients in an order in which neighbours in the world are neighbours in time: they want the same rows and the
    /// same bits, which then are still in the processor's caches.
    #[must_use]
    pub fn order(&self) -> &[u16] {
        self.order.clients()
    }

    /// Sets a bit for every pair of an entity that turned, or is gone, and a client that follows it.
    fn push_turns(&mut self, frame: &Frame) {
        let Self { viewers, clients, .. } = self;
        let mut pend = |viewer: &Viewer, only_owner: Option<EntityId>| {
            if let Some(Some(client)) = clients.get_mut(usize::from(viewer.client))
                && only_owner.is_none_or(|id| client.own == id)
            {
                client.pending.insert(viewer.slot);
            }
        };
        for row in frame.turned() {
            let id = frame.id(*row as usize);
            let only_owner = (frame.course(*row as usize) != frame.tick).then_some(id);
            viewers.of(id).iter().for_each(|viewer| pend(viewer, only_owner));
        }
        for id in frame.removed() {
            viewers.of(*id).iter().for_each(|viewer| pend(viewer, None));
        }
    }

    /// From now on the area is looked at every so many ticks.
    pub fn set_refresh_ticks(&mut self, ticks: u64) {
        self.aoi.refresh_ticks = ticks.max(1);
    }

    /// The newest frame.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Frame>> {
        self.ring.newest()
    }

    /// A client that owns entity `own` is at that place now; or the one that was there owns another.
    pub fn insert(&mut self, client: u16, own: EntityId) {
        let tick = self.ring.newest().map_or(0, |frame| frame.tick);
        let at = usize::from(client);
        if self.clients.len() <= at {
            self.clients.resize_with(at + 1, || None);
        }
        match self.clients.get_mut(at) {
            Some(Some(replica)) => replica.set_own(own, tick),
            Some(place) => *place = Some(Replica::new(own, tick)),
            None => {}
        }
        self.order.add(client);
    }

    /// The client at that place is gone; whether there was one.
    pub fn remove(&mut self, client: u16) -> bool {
        let Some(replica) = self.clients.get_mut(usize::from(client)).and_then(Option::take) else { return false };
        self.order.remove(client);
        self.crowded -= usize::from(replica.crowded);
        for (slot, known) in (0..).zip(&replica.slots) {
            if known.followed {
                self.viewers.remove(known.id, Viewer { client, slot });
            }
        }
        true
    }

    /// Says what an entity is to a client: it stays in the area, and its priority rises. False if the client has
    /// [`MAX_RELATIONS`] already, or is not there.
    pub fn relate(&mut self, client: u16, id: EntityId, relation: Relation) -> bool {
        self.clients
            .get_mut(usize::from(client))
            .and_then(Option::as_mut)
            .is_some_and(|replica| replica.relate(id, relation))
    }

    /// What the client at that place is known to have.
    #[must_use]
    pub fn client(&self, client: u16) -> Option<&Replica> {
        self.clients.get(usize::from(client))?.as_ref()
    }

    /// Asks for what the next packet of a client needs: first for `itself`, and some packets later, when that is there, for
    /// what it points to.
    #[inline]
    pub fn prefetch(&self, client: u16, way: Way, itself: bool, prefetch: Prefetch) {
        match self.clients.get(usize::from(client)) {
            Some(client) if itself => prefetch.of(client),
            Some(Some(replica)) => {
                let looks = self.newest().is_some_and(|frame| replica.look_due(frame.tick, &self.aoi));
                replica.prefetch_contents(way, self.aoi.turn_ticks, looks, prefetch);
            }
            _ => {}
        }
    }

    /// Asks for what the next packet of a client needs of those it knows, if it is in a crowd, where they are far apart: when what
    /// it points to is there.
    #[inline]
    pub fn prefetch_known(&self, client: u16, way: Way, prefetch: Prefetch) {
        if self.crowded > 0
            && let Some(replica) = self.client(client).filter(|replica| replica.crowded)
        {
            replica.prefetch_known(way, prefetch);
            if way == Way::Out {
                self.prefetch_own(replica, prefetch);
            }
        }
    }

    /// Its own state and its baseline.
    fn prefetch_own(&self, replica: &Replica, prefetch: Prefetch) {
        let base = replica.newest_acked.and_then(|acked| self.ring.at(acked));
        for frame in self.newest().into_iter().chain(base) {
            if let Some(row) = frame.row(replica.own) {
                prefetch.of(frame.state(row));
            }
        }
    }

    /// In one of how many ticks a client is to be sent a snapshot, where it would be one of `divisor`: more often if it is in a
    /// crowd that it would lose track of. 1, 2 or 4 if `divisor` is.
    #[must_use]
    pub fn divisor(&self, client: u16, divisor: u8) -> u8 {
        let most = self.client(client).map_or(u64::MAX, |replica| replica.most_ticks(&self.aoi));
        1 << u8::try_from(most).unwrap_or(u8::MAX).min(divisor).max(1).ilog2()
    }

    /// Brings the entities that a client knows up to date with the area around its own, if it is time to.
    pub fn look(&mut self, client: u16) {
        let Self { ring, aoi, viewers, clients, crowded, scratch, stats, max_known, .. } = self;
        let Some(Some(replica)) = clients.get_mut(usize::from(client)) else { return };
        let Some(frame) = ring.newest() else { return };
        if replica.look_due(frame.tick, aoi) {
            stats.looks += 1;
            *crowded -= usize::from(replica.crowded);
            let mut look = Look { frame, aoi, max_known: *max_known, client, viewers, scratch, stats };
            aoi::refresh(replica, &mut look);
            *crowded += usize::from(replica.crowded);
        }
    }

    /// Whether a client's next snapshots are to be in the compact codec. They are as soon as it has the tables.
    pub fn set_compact(&mut self, client: u16, compact: bool) {
        if let Some(Some(replica)) = self.clients.get_mut(usize::from(client)) {
            replica.compact = compact;
        }
    }

    /// A client has the tables of that version.
    pub fn on_tables_ready(&mut self, client: u16, version: u8) {
        if let Some(Some(replica)) = self.clients.get_mut(usize::from(client)) {
            replica.tables = Some(version);
        }
    }

    /// The newest tables of the compact codec, to be pushed to clients that are to have it: version and bytes. There are
    /// none until enough was sent to such clients in the fast codec to train them on.
    #[must_use]
    pub fn tables(&self) -> Option<(u8, &Arc<[u8]>)> {
        self.compact.newest()
    }

    /// Chooses what the newest frame's snapshot for a client says, in at most so many bytes of body. Whether the budget cut
    /// anything.
    pub fn choose(&mut self, client: u16, budget: usize) -> bool {
        self.scratch.chosen = Chosen::default();
        self.scratch.candidates.clear();
        self.scratch.shared.clear();
        let Some(Some(replica)) = self.clients.get(usize::from(client)) else { return false };
        let tables = replica.tables.filter(|version| replica.compact && self.compact.holds(*version));
        let room = if tables.is_some() { self.compact.room(budget * 8) } else { budget * 8 };
        (self.scratch.client, self.scratch.budget, self.scratch.tables) = (client, budget, tables);
        self.choose_bits(client, room);
        self.stats.snapshots += 1;
        self.stats.cut += u64::from(self.scratch.chosen.cut);
        self.scratch.chosen.cut
    }

    fn choose_bits(&mut self, client: u16, budget: usize) {
        let explain = self.watched == Some(client);
        let Self { schema, ring, aoi, weights, memo, stretches, clients, scratch, explained, .. } = self;
        let Some(Some(replica)) = clients.get_mut(usize::from(client)) else { return };
        let Some(frame) = ring.newest() else { return };
        let explained = explain.then_some(explained);
        let Scratch { candidates, gathered, chosen, shared, .. } = scratch;
        let mut choice = Choice { schema, frame, ring, aoi, weights, memo, gathered, budget, explained };
        *chosen = select::choose(replica, &mut choice, stretches, candidates, shared);
    }

    /// Packs what [`choose`](Self::choose) chose. `margin`: see [`netcode::snapshot::Header::margin`].
    pub fn pack(&mut self, margin: Option<i8>, w: &mut BitWriter<'_>) {
        if self.pack_compact(margin, w) {
            return;
        }
        if self.scratch.tables.take().is_some() {
            self.stats.compact_too_long += 1;
            self.choose_bits(self.scratch.client, self.scratch.budget * 8);
        }
        self.pack_fast(margin, w);
    }

    fn pack_fast(&mut self, margin: Option<i8>, w: &mut BitWriter<'_>) {
        let Self { schema, ring, memo, stretches, compact, clients, scratch, stats, .. } = self;
        let Some(frame) = ring.newest() else { return };
        let Scratch { candidates, chosen, shared, carried, client, .. } = scratch;
        let header = select::header(*chosen, margin, candidates.len() + shared.records());
        carried.clear();
        Packing { memo, stretches, shared, ages: header.ages, next_slot: 0, carried, stats, w }
            .write(&header, candidates);
        if let Some(Some(replica)) = clients.get(usize::from(*client))
            && replica.compact
        {
            compact.learn_first(&Body { schema, frame, ring, own: replica.own, header: &header, candidates });
        }
    }

    /// Packs it in the compact codec, if it was chosen for that; false if it is longer than it may be.
    fn pack_compact(&mut self, margin: Option<i8>, w: &mut BitWriter<'_>) -> bool {
        let Self { schema, ring, compact, clients, scratch, stats, .. } = self;
        let Scratch { candidates, chosen, carried, client, budget, tables, .. } = scratch;
        let (Some(version), Some(frame)) = (*tables, ring.newest()) else { return false };
        let Some(Some(replica)) = clients.get(usize::from(*client)) else { return false };
        let header = select::header(*chosen, margin, candidates.len());
        let body = Body { schema, frame, ring, own: replica.own, header: &header, candidates };
        let Some(coded) = compact.encode(version, &body).ok().filter(|coded| coded.len() < *budget) else {
            return false;
        };
        write_codec(w, Codec::Compact);
        w.write(version.into(), VERSION_BITS);
        w.write_bytes(coded);
        stats.compact += 1;
        stats.update_bits += compact.update_bits();
        select::note(candidates, carried, stats);
        true
    }

    /// The snapshot just packed went out to that client in packet `pn`.
    pub fn on_sent(&mut self, client: u16, pn: u64) {
        let Some(tick) = self.ring.newest().map(|frame| frame.tick) else { return };
        if let Some(Some(replica)) = self.clients.get_mut(usize::from(client)) {
            replica.on_sent(pn, tick, &self.scratch.carried);
        }
    }

    /// A client has what packet `pn` carried.
    pub fn on_acked(&mut self, client: u16, pn: u64) {
        let Self { clients, viewers, .. } = self;
        if let Some(Some(replica)) = clients.get_mut(usize::from(client)) {
            replica.on_acked(pn, |slot, known| {
                if known.followed {
                    viewers.remove(known.id, Viewer { client, slot });
                }
            });
        }
    }

    /// Packet `pn` to a client is lost.
    pub fn on_lost(&mut self, client: u16, pn: u64) {
        if let Some(Some(replica)) = self.clients.get_mut(usize::from(client)) {
            replica.on_lost(pn);
        }
    }

    /// Explains the choices for one client from now on, for a trace; `None` for nobody's.
    pub fn watch(&mut self, client: Option<u16>) {
        self.watched = client;
        self.explained.clear();
    }

    /// What could have gone into the watched client's last snapshot, and why it did or did not.
    #[must_use]
    pub fn explained(&self) -> &[Explained] {
        &self.explained
    }

    /// Counters so far.
    #[must_use]
    pub fn stats(&self) -> ReplicaStats {
        ReplicaStats {
            shared: self.memo.hits,
            made: self.memo.misses,
            tables: self.compact.versions().into(),
            ..self.stats
        }
    }

    /// Bytes on the heap that are not one client's own.
    #[must_use]
    pub fn shared_bytes(&self) -> usize {
        self.viewers.bytes() + self.memo.bytes() + self.stretches.bytes() + self.compact.bytes()
    }
}
