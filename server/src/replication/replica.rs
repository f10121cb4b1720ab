//! One client's replication state.

use netcode::bits::{BitCount, BitSink, BitWriter};
use netcode::schema::{Kind, Schema, State};
use netcode::snapshot::{
    DESPAWN_BITS, Header, MAX_AGE, MAX_GAP_BITS, MAX_HEADER_BITS, MAX_RECORDS, MAX_SLOTS, max_update_bits, write_age,
    write_despawn, write_fields, write_gap, write_header, write_spawn,
};
use sim::{EntityId, Frame};

use super::aoi::{Aoi, Marks};
use super::frame_ring::FrameRing;
use super::sent::{Carried, SentSnapshots};

/// Priority that an entity at the centre gains per tick; at the radius it gains [`FAR_GAIN`].
const NEAR_GAIN: u32 = 16;
const FAR_GAIN: u32 = 4;
/// Priority of the client's own entity, and of despawns, which are short and free a slot.
const TOP: u32 = u32::MAX;
/// Priority added when a packet that carried the entity was lost.
const LOSS_GAIN: u32 = 32;

/// What a client is known to have of the entity in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing yet: spawns are sent until one is acknowledged.
    Spawning,
    /// The state of that tick.
    Known { acked: u64 },
    /// Despawns are sent until one is acknowledged; then the slot is free.
    Despawning,
}

/// An entity that the client knows, or is about to.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: EntityId,
    phase: Phase,
    /// The tick at which the slot was filled: acks of older packets mean its former entity.
    since: u64,
    /// The tick at which it was first found outside the area.
    outside_since: Option<u64>,
    priority: u32,
}

/// A record that may go into the snapshot.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    slot: u16,
    priority: u32,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Spawn {
        row: u32,
    },
    /// Against the state in row `base_row` of the frame `age` ticks ago.
    Update {
        row: u32,
        age: u8,
        base_row: u32,
    },
    Despawn,
}

/// A worker's scratch space for [`Replica::write`].
#[derive(Debug, Default)]
pub struct Scratch {
    candidates: Vec<Candidate>,
    carried: Vec<Carried>,
}

/// Counters over all clients of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStats {
    /// Snapshots written.
    pub snapshots: u64,
    /// Spawn records written.
    pub spawns: u64,
    /// Update records written.
    pub updates: u64,
    /// Despawn records written.
    pub despawns: u64,
    /// Snapshots that the budget cut.
    pub cut: u64,
    /// Times that no slot was left for an entity in the area.
    pub no_slot: u64,
}

/// What a snapshot says besides records.
#[derive(Clone, Copy)]
pub struct SnapshotContext<'a> {
    /// The schema.
    pub schema: &'static Schema,
    /// Ticks a second.
    pub rate: u16,
    /// [`max_record_bits`] of the schema.
    pub record_bits: usize,
    /// The frames; the newest is the snapshot's.
    pub ring: &'a FrameRing,
    /// See [`Header::margin`].
    pub margin: Option<i8>,
    /// The most bytes of the body.
    pub budget: usize,
}

/// One client's replication state. About 40 bytes per known entity, and two per record in flight.
#[derive(Debug)]
pub struct Replica {
    own: EntityId,
    slots: Vec<Option<Known>>,
    known: usize,
    max_known: usize,
    sent: SentSnapshots,
    /// The newest snapshot tick that the client acknowledged.
    newest_acked: Option<u64>,
    refreshed: Option<u64>,
}

impl Replica {
    /// A client that owns entity `own` and may know `max_known` entities at once.
    #[must_use]
    pub fn new(own: EntityId, max_known: u16) -> Self {
        Self {
            own,
            slots: Vec::new(),
            known: 0,
            max_known: usize::from(max_known.min(MAX_SLOTS)),
            sent: SentSnapshots::default(),
            newest_acked: None,
            refreshed: None,
        }
    }

    /// The entity that the client owns.
    #[must_use]
    pub const fn own(&self) -> EntityId {
        self.own
    }

    /// The client now owns another entity.
    pub fn set_own(&mut self, own: EntityId) {
        self.own = own;
    }

    /// The entities that the client knows or is being told of, in slot order.
    pub fn entities(&self) -> impl Iterator<Item = EntityId> + '_ {
        let present = |known: &Known| known.phase != Phase::Despawning;
        self.slots.iter().flatten().filter(move |known| present(known)).map(|known| known.id)
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Known>>() + self.sent.bytes()
    }

    /// Whether the area is to be looked at in this tick; `stagger` spreads the clients over the ticks between.
    #[must_use]
    pub fn refresh_due(&self, tick: u64, aoi: &Aoi, stagger: u64) -> bool {
        let Some(refreshed) = self.refreshed else { return true };
        (tick + stagger).is_multiple_of(aoi.refresh_ticks) || tick.saturating_sub(refreshed) >= aoi.refresh_ticks
    }

    /// Brings the known entities up to date with the area around the client's own entity.
    pub fn refresh(&mut self, frame: &Frame, aoi: &Aoi, marks: &mut Marks, stats: &mut ReplicaStats) {
        let Some(own_row) = frame.row(self.own) else { return };
        let tick = frame.tick;
        let [x, _, z] = frame.position_m(own_row);
        marks.query(frame, [x, z], aoi.leave_m);
        for known in self.slots.iter_mut().flatten() {
            if marks.has(known.id.index()) {
                known.outside_since = None;
            } else if known.id != self.own {
                let since = *known.outside_since.get_or_insert(tick);
                if tick - since >= aoi.grace_ticks {
                    known.phase = Phase::Despawning;
                }
            }
        }
        // From here on the marks are the entities that have a slot. One that is being despawned gets a new slot only
        // after that is acknowledged, so that no two slots ever hold the same entity.
        marks.start();
        for known in self.slots.iter().flatten() {
            marks.mark(known.id.index());
        }
        let enter2 = aoi.enter_m * aoi.enter_m;
        let mut newcomers = core::mem::take(&mut marks.newcomers);
        newcomers.clear();
        for row in &marks.rows {
            let [px, _, pz] = frame.position_m(*row as usize);
            let distance2 = (px - x) * (px - x) + (pz - z) * (pz - z);
            if distance2 <= enter2 && !marks.has(frame.id(*row as usize).index()) {
                newcomers.push((distance2, *row));
            }
        }
        // Where not all find a place, the nearest do: the client's own entity before all.
        if self.known + newcomers.len() > self.max_known {
            newcomers.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        }
        for (_, row) in &newcomers {
            stats.no_slot += u64::from(!self.insert(frame.id(*row as usize), tick));
        }
        marks.newcomers = newcomers;
        self.refreshed = Some(tick);
    }

    fn insert(&mut self, id: EntityId, tick: u64) -> bool {
        if self.known >= self.max_known {
            return false;
        }
        let known = Known { id, phase: Phase::Spawning, since: tick, outside_since: None, priority: 0 };
        let vacant =
            if self.known == self.slots.len() { None } else { self.slots.iter_mut().find(|slot| slot.is_none()) };
        if let Some(slot) = vacant {
            *slot = Some(known);
        } else {
            self.slots.push(Some(known));
        }
        self.known += 1;
        true
    }

    /// Writes the snapshot of the newest frame: everything that differs from what the client acknowledged, or as much
    /// of it as fits the budget, most urgent first.
    pub fn write(
        &mut self,
        context: &SnapshotContext<'_>,
        aoi: &Aoi,
        scratch: &mut Scratch,
        w: &mut BitWriter<'_>,
        stats: &mut ReplicaStats,
    ) {
        let Some(frame) = context.ring.newest() else { return };
        self.collect(frame, context.ring, aoi, &mut scratch.candidates);
        let budget = (context.budget * 8).min(w.remaining_bits());
        let age0 = self.common_age(frame.tick);
        let all = scratch.candidates.len();
        choose(context, frame, budget, age0, &mut scratch.candidates);
        let complete = scratch.candidates.len() == all;
        stats.snapshots += 1;
        stats.cut += u64::from(!complete);
        let count = u16::try_from(scratch.candidates.len()).unwrap_or(MAX_RECORDS);
        write_header(w, &Header { margin: context.margin, complete, age0, count });
        scratch.carried.clear();
        let mut next_slot = 0;
        for candidate in &scratch.candidates {
            write_gap(w, candidate.slot - next_slot);
            next_slot = candidate.slot + 1;
            write_record(w, context, frame, age0, candidate.what);
            match candidate.what {
                What::Spawn { .. } => stats.spawns += 1,
                What::Update { .. } => stats.updates += 1,
                What::Despawn => stats.despawns += 1,
            }
            scratch.carried.push(Carried::new(candidate.slot, matches!(candidate.what, What::Despawn)));
            if let Some(Some(known)) = self.slots.get_mut(usize::from(candidate.slot)) {
                known.priority = 0;
            }
        }
    }

    /// The age that most updates will have: that of the newest acknowledged snapshot.
    fn common_age(&self, tick: u64) -> u8 {
        let age = self.newest_acked.map_or(0, |acked| tick.saturating_sub(acked));
        u8::try_from(age).unwrap_or(MAX_AGE).min(MAX_AGE)
    }

    /// Every record that the client would need to be up to date, in slot order; priorities grow.
    fn collect(&mut self, frame: &Frame, ring: &FrameRing, aoi: &Aoi, candidates: &mut Vec<Candidate>) {
        candidates.clear();
        let own_position = frame.row(self.own).map(|row| frame.position_m(row));
        for (slot, entry) in (0u16..).zip(&mut self.slots) {
            let Some(known) = entry else { continue };
            let row = if known.phase == Phase::Despawning { None } else { frame.row(known.id) };
            let Some(row) = row else {
                known.phase = Phase::Despawning;
                candidates.push(Candidate { slot, priority: TOP, what: What::Despawn });
                continue;
            };
            let what = match known.phase {
                Phase::Known { acked } if frame.changed(row) <= acked => continue,
                Phase::Known { acked } => update_against(frame, ring, known.id, row, acked),
                Phase::Spawning | Phase::Despawning => What::Spawn { row: row as u32 },
            };
            known.priority = known.priority.saturating_add(gain(frame, row, own_position, aoi)).min(TOP - 1);
            let priority = if known.id == self.own { TOP } else { known.priority };
            candidates.push(Candidate { slot, priority, what });
        }
    }

    /// The snapshot just written went out in packet `pn`.
    pub fn on_sent(&mut self, pn: u64, tick: u64, scratch: &Scratch) {
        self.sent.push(pn, tick, &scratch.carried);
    }

    /// The client has what packet `pn` carried.
    pub fn on_acked(&mut self, pn: u64) {
        let Self { sent, slots, known: count, .. } = self;
        let Some(tick) = sent.take(pn, |tick, carried| {
            let Some(entry) = slots.get_mut(usize::from(carried.slot())) else { return };
            // A slot filled since means another entity.
            let Some(known) = entry.as_mut().filter(|known| known.since <= tick) else { return };
            match (known.phase, carried.is_despawn()) {
                (Phase::Despawning, true) => {
                    *entry = None;
                    *count -= 1;
                }
                (Phase::Spawning, false) => known.phase = Phase::Known { acked: tick },
                (Phase::Known { acked }, false) => known.phase = Phase::Known { acked: acked.max(tick) },
                (Phase::Despawning, false) | (Phase::Spawning | Phase::Known { .. }, true) => {}
            }
        }) else {
            return;
        };
        self.newest_acked = self.newest_acked.max(Some(tick));
    }

    /// Packet `pn` is lost: what it carried becomes more urgent.
    pub fn on_lost(&mut self, pn: u64) {
        let Self { sent, slots, .. } = self;
        sent.take(pn, |_, carried| {
            if let Some(Some(known)) = slots.get_mut(usize::from(carried.slot())) {
                known.priority = known.priority.saturating_add(LOSS_GAIN).min(TOP - 1);
            }
        });
    }
}

/// The update of an entity whose state of tick `acked` the client has; a spawn (as a refresh) when no frame that is
/// left can serve as baseline.
fn update_against(frame: &Frame, ring: &FrameRing, id: EntityId, row: usize, acked: u64) -> What {
    let refresh = What::Spawn { row: row as u32 };
    let age_of = |tick: u64| u8::try_from(frame.tick - tick).ok().filter(|age| (1..=MAX_AGE).contains(age));
    if let Some(age) = age_of(acked)
        && let Some(base_row) = ring.at(acked).and_then(|base| base.row(id))
    {
        return What::Update { row: row as u32, age, base_row: base_row as u32 };
    }
    // Too long ago; but if it had not changed since by the oldest frame, the client's state is that frame's as well.
    let Some(oldest) = ring.oldest() else { return refresh };
    match (age_of(oldest.tick), oldest.row(id)) {
        (Some(age), Some(base_row)) if oldest.changed(base_row) <= acked && acked <= oldest.tick => {
            What::Update { row: row as u32, age, base_row: base_row as u32 }
        }
        _ => refresh,
    }
}

/// How much more urgent an entity gets per tick, by its distance.
fn gain(frame: &Frame, row: usize, own: Option<[f32; 3]>, aoi: &Aoi) -> u32 {
    let Some([ox, _, oz]) = own else { return FAR_GAIN };
    let [x, _, z] = frame.position_m(row);
    let distance2 = (x - ox) * (x - ox) + (z - oz) * (z - oz);
    let near = (1.0 - distance2 / (aoi.leave_m * aoi.leave_m)).max(0.0);
    FAR_GAIN + (near * (NEAR_GAIN - FAR_GAIN) as f32) as u32
}

/// Cuts the candidates to what fits `budget` bits, most urgent first; leaves them in slot order.
fn choose(context: &SnapshotContext<'_>, frame: &Frame, budget: usize, age0: u8, candidates: &mut Vec<Candidate>) {
    let mut used = MAX_HEADER_BITS;
    let cost = |candidate: &Candidate| {
        let mut count = BitCount::default();
        write_record(&mut count, context, frame, age0, candidate.what);
        MAX_GAP_BITS + count.0
    };
    // Mostly all fit by their upper bounds, and nothing needs to be measured.
    if used + candidates.len() * context.record_bits <= budget && candidates.len() <= usize::from(MAX_RECORDS) {
        return;
    }
    candidates.sort_unstable_by_key(|candidate| (core::cmp::Reverse(candidate.priority), candidate.slot));
    candidates.truncate(usize::from(MAX_RECORDS));
    candidates.retain(|candidate| {
        let bits = cost(candidate);
        let fits = used + bits <= budget;
        used += if fits { bits } else { 0 };
        fits
    });
    candidates.sort_unstable_by_key(|candidate| candidate.slot);
}

/// The most bits that any record of that schema takes, its gap included.
#[must_use]
pub fn max_record_bits(schema: &Schema) -> usize {
    let spawn = |kind: &Kind| 2 + 36 + kind.fields.iter().map(|field| usize::from(field.bits)).sum::<usize>();
    let kinds = (0u8..).zip(schema.kinds).map(|(number, kind)| max_update_bits(schema, number).max(spawn(kind)));
    MAX_GAP_BITS + kinds.max().unwrap_or(0).max(DESPAWN_BITS)
}

fn write_record(w: &mut impl BitSink, context: &SnapshotContext<'_>, frame: &Frame, age0: u8, what: What) {
    match what {
        What::Despawn => write_despawn(w),
        What::Spawn { row } => {
            let row = row as usize;
            write_spawn(w, context.schema, frame.id(row).raw(), frame.kind(row), frame.state(row));
        }
        What::Update { row, age, base_row } => {
            let row = row as usize;
            let base: &State = match context.ring.at(frame.tick - u64::from(age)) {
                Some(base) => base.state(base_row as usize),
                None => unreachable!("the baseline was found in this ring a moment ago"),
            };
            write_age(w, age, age0);
            write_fields(w, context.schema, context.rate, frame.kind(row), age, base, frame.state(row));
        }
    }
}
