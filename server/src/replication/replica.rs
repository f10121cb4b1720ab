//! One client's replication state: what it knows, what it has acknowledged, what waits.

use core::ops::Range;
use std::collections::VecDeque;

use netcode::prefetch::{Prefetch, Way};
use netcode::snapshot::{MAX_AGE, MAX_SLOTS};
use sim::EntityId;

use super::aoi::{Aoi, CROWD_LOOKS, SHARED_A_TURN};
use super::priority::Relation;
use super::sent::{Carried, SentSnapshots};
use super::stretch::Run;

/// A tick that never was.
pub(super) const NEVER: u32 = u32::MAX;
/// The most entities that one client can have a relation to.
pub const MAX_RELATIONS: usize = 64;

/// The slots that a client which is in no crowd gets along with; when it comes into one, each turn has a few of them.
const LOW_SLOTS: u16 = 128;

/// So many slots are worth to be asked for ahead.
const NEAR_SLOTS: usize = 64;
/// The same of those whose turn it is, in a crowd.
const TURN_SLOTS: usize = 128;
/// Those outside the area for whom there is room from the start: more seldom leave within a grace period.
const OUTSIDE: usize = 16;

/// The most turns in one snapshot, to a client in a crowd that is not served in every tick. Only the first is shared, and two
/// large ones do not fit; what is cut is dear, and shared with nobody.
const TURNS_AT_ONCE: u64 = 2;

/// The most turns.
pub(super) const MAX_TURNS: u64 = 256;

/// The slots that have that turn of so many: a few of the low ones, and a stretch of the others. They lie side by side, so
/// that their gaps take a bit, and that their states are few pages and lines of memory, one after the other.
pub(super) fn slots_of_turn(turn: u64, turns: u64) -> [Range<u16>; 2] {
    let turns = turns.clamp(1, MAX_TURNS) as u32;
    let turn = turn.min(u64::from(turns - 1)) as u32;
    let part = |of: u16, at: u32| (u32::from(of) * at / turns) as u16;
    let stretch = |of: u16| part(of, turn)..part(of, turn + 1);
    let high = stretch(MAX_SLOTS - LOW_SLOTS);
    [stretch(LOW_SLOTS), high.start + LOW_SLOTS..high.end + LOW_SLOTS]
}

/// The turn of an entity with that index, the same for every client.
pub(super) const fn turn_of(index: u32, turns: u64) -> u64 {
    index as u64 % if turns == 0 { 1 } else { turns }
}

/// The slot that an entity with that index has at every client of a crowd where it is vacant, in the stretch of its turn.
pub(super) fn shared_slot(index: u32, stretch: &Range<u16>, turns: u64) -> u16 {
    let place = u64::from(index) / turns.max(1) % (stretch.len() as u64).max(1);
    stretch.start + place as u16
}

/// What a client is known to have of the entity in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is in the slot.
    Vacant,
    /// Nothing yet: spawns are sent until one is acknowledged.
    Spawning,
    /// A state of the present course, or of an earlier one.
    Known,
    /// Despawns are sent until one is acknowledged; then the slot is vacant.
    Despawning,
}

/// An entity that the client knows, or is about to. Ticks count from the replica's own first one.
///
/// All clients' together are what does not fit the caches: 16 bytes, so that four share a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub id: EntityId,
    /// In [`Phase::Known`] the newest tick whose state the client acknowledged. In [`Phase::Spawning`] the first one whose
    /// snapshots speak of this entity: acks of older packets mean the slot's former one. Otherwise the one or the other.
    pub acked: u32,
    /// The tick at which a record was last sent, or it began to wait; [`NEVER`] while it waits for nothing to be sent or
    /// acknowledged.
    pub sent: u32,
    pub phase: Phase,
    /// Packets with it that were lost since one was acknowledged.
    pub losses: u8,
    /// Whether this client is among the entity's viewers.
    pub followed: bool,
    /// Of a kind that lies still: always followed.
    pub still: bool,
}

const _: () = assert!(size_of::<Known>() == 16);

impl Known {
    /// The client has the entity's state of that tick.
    #[inline]
    fn on_acked(&mut self, stamp: u32) {
        match self.phase {
            // A record from before the slot was filled speaks of another entity.
            Phase::Spawning if self.acked <= stamp => {
                (self.phase, self.acked, self.losses) = (Phase::Known, stamp, 0);
            }
            // No older one changes anything here: what it acknowledged since is newer than the slot's filling.
            Phase::Known => (self.acked, self.losses) = (self.acked.max(stamp), 0),
            Phase::Spawning | Phase::Despawning | Phase::Vacant => {}
        }
    }
}

/// Slots that carry a state of that tick, which the client acknowledged.
#[derive(Clone, Copy, Debug)]
struct Late {
    start: u16,
    end: u16,
    stamp: u32,
}

/// Where a newcomer gets its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The lowest vacant one; it is followed.
    Any,
    /// One of its turn, since a crowd is about to be known; it is followed as yet.
    Coming,
    /// One of its turn; it is not followed.
    Crowd,
}

/// A set of slots, in words.
#[derive(Clone, Debug, Default)]
pub(super) struct SlotSet(Vec<u64>);

impl SlotSet {
    #[inline]
    pub fn insert(&mut self, slot: u16) {
        let at = usize::from(slot) / 64;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        if let Some(word) = self.0.get_mut(at) {
            *word |= 1 << (slot % 64);
        }
    }

    #[inline]
    pub fn remove(&mut self, slot: u16) {
        if let Some(word) = self.0.get_mut(usize::from(slot) / 64) {
            *word &= !(1 << (slot % 64));
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn contains(&self, slot: u16) -> bool {
        self.word(usize::from(slot) / 64) >> (slot % 64) & 1 != 0
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The first slot of the set at or behind that one; of them all if there is none.
    pub fn first_from(&self, slot: u16) -> Option<u16> {
        self.first_in(slot..MAX_SLOTS).or_else(|| self.first_in(0..slot.min(MAX_SLOTS)))
    }

    /// The first slot of the set in a range.
    fn first_in(&self, slots: Range<u16>) -> Option<u16> {
        words_of(slots).find_map(|(at, mask)| {
            let word = self.word(at) & mask;
            (word != 0).then(|| (at * 64) as u16 + word.trailing_zeros() as u16)
        })
    }

    /// All slots, ascending.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..self.words()).flat_map(|at| {
            let mut word = self.word(at);
            core::iter::from_fn(move || {
                let slot = (word != 0).then(|| (at * 64) as u16 + word.trailing_zeros() as u16)?;
                word &= word - 1;
                Some(slot)
            })
        })
    }

    /// Adds the slots of a range that are not in `without`.
    pub fn insert_range(&mut self, slots: Range<u16>, without: &Self) {
        for (at, mask) in words_of(slots) {
            let added = mask & !without.word(at);
            if added != 0 && at >= self.0.len() {
                self.0.resize(at + 1, 0);
            }
            if let Some(word) = self.0.get_mut(at) {
                *word |= added;
            }
        }
    }

    /// Takes out the slots of a range.
    pub fn remove_range(&mut self, slots: Range<u16>) {
        for (at, mask) in words_of(slots) {
            if let Some(word) = self.0.get_mut(at) {
                *word &= !mask;
            }
        }
    }

    #[inline]
    fn prefetch_contents(&self, prefetch: Prefetch) {
        prefetch.of(self.0.get(..NEAR_SLOTS / 64).unwrap_or_default());
    }

    pub fn words(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub fn word(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * 8
    }
}

/// The words that hold a range of slots, and which bits of each.
fn words_of(slots: Range<u16>) -> impl Iterator<Item = (usize, u64)> {
    let Range { start, end } = slots;
    (start / 64..end.div_ceil(64)).map(move |at| {
        let first = start.saturating_sub(at * 64).min(63);
        let last = (end - 1 - at * 64).min(63);
        (usize::from(at), (!0 >> (63 - last)) & (!0 << first))
    })
}

/// One client's replication state. Some 24 bytes per known entity, and four per record in
/// flight; stretches that were sent alike count as one.
#[derive(Debug)]
pub struct Replica {
    pub(super) own: EntityId,
    /// The tick that stamps count from.
    pub(super) epoch: u64,
    pub(super) slots: Vec<Known>,
    vacant: SlotSet,
    /// Who is known, in which slot, by ascending id.
    pub(super) order: Vec<(EntityId, u16)>,
    /// The slots to look at when the next snapshot is written: turned, not acknowledged, or due for their turn.
    pub(super) pending: SlotSet,
    /// In a crowd: who can only be told whole, and is when there is room; and where to go on among them.
    pub(super) stale: SlotSet,
    pub(super) stale_from: u16,
    /// Always in the area, with what they are to the client.
    pub(super) pins: Vec<(EntityId, Relation)>,
    pub(super) sent: SentSnapshots,
    /// The newest snapshot tick that the client acknowledged.
    pub(super) newest_acked: Option<u64>,
    /// The tick of the last look at the area, and how many there were.
    pub(super) looked: Option<u64>,
    pub(super) looks: u64,
    /// Whether it knows so many that only the nearest are followed.
    pub(super) crowded: bool,
    /// How many are of kinds that lie still.
    still: usize,
    /// In a crowd: whose turn is next, below [`Aoi::turn_ticks`].
    pub(super) turn: u64,
    /// The tick of the last snapshot, in a crowd.
    pub(super) served: u64,
    /// In a crowd: what snapshots up to that tick said of those who are followed was looked at once more.
    retold: u64,
    /// In a crowd: runs of slots that were acknowledged, oldest first, of which the slots do not know yet.
    late: VecDeque<Late>,
    /// Who is followed in a crowd, in which slot, by ascending id.
    pub(super) near: Vec<(EntityId, u16)>,
    /// Who was not in the area at the last look at all of it, by ascending id, and the tick since.
    pub(super) outside: Vec<(EntityId, u32)>,
    /// Not all newcomers were let in at the last look at all of the area.
    pub(super) more: bool,
    /// Whether its snapshots are to be in the compact codec, and from which tables they can be.
    pub(super) compact: bool,
    pub(super) tables: Option<u8>,
}

impl Replica {
    /// A client that owns entity `own`, from that tick on.
    pub(super) fn new(own: EntityId, tick: u64) -> Self {
        Self {
            own,
            epoch: tick,
            slots: Vec::new(),
            vacant: SlotSet::default(),
            order: Vec::new(),
            pending: SlotSet::default(),
            stale: SlotSet::default(),
            stale_from: 0,
            pins: Vec::new(),
            sent: SentSnapshots::default(),
            newest_acked: None,
            looked: None,
            looks: 0,
            crowded: false,
            still: 0,
            turn: 0,
            served: 0,
            retold: 0,
            late: VecDeque::new(),
            near: Vec::new(),
            outside: Vec::with_capacity(OUTSIDE),
            more: false,
            compact: false,
            tables: None,
        }
    }

    /// The entity that the client owns.
    #[must_use]
    pub const fn own(&self) -> EntityId {
        self.own
    }

    /// The tick of the newest snapshot that the client acknowledged.
    #[must_use]
    pub const fn newest_acked(&self) -> Option<u64> {
        self.newest_acked
    }

    /// The newest tick that the client is known to have seen: of the newest snapshot that it acknowledged, or, before the first
    /// acknowledgement came, of the first snapshot that it can have had.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.newest_acked.unwrap_or(self.epoch)
    }

    /// Whether it knows so many entities that only the nearest are followed.
    #[must_use]
    pub const fn crowded(&self) -> bool {
        self.crowded
    }

    /// The entities that the client knows or is being told of, by ascending id.
    pub fn entities(&self) -> impl Iterator<Item = EntityId> + '_ {
        let present =
            |slot: u16| self.slots.get(usize::from(slot)).is_some_and(|known| known.phase != Phase::Despawning);
        self.order.iter().filter(move |(_, slot)| present(*slot)).map(|(id, _)| *id)
    }

    /// Slots in use.
    #[must_use]
    pub fn known(&self) -> usize {
        self.order.len()
    }

    /// Of these, such as lie still.
    pub(super) fn still(&self) -> usize {
        self.still
    }

    /// Of these, such as may move: what makes a crowd.
    pub(super) fn restless(&self) -> usize {
        self.known().saturating_sub(self.still)
    }

    /// Slots that wait to be filled.
    pub(super) fn vacant(&self) -> usize {
        self.vacant.len()
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Known>()
            + self.vacant.bytes()
            + self.order.capacity() * size_of::<(EntityId, u16)>()
            + self.pending.bytes()
            + self.stale.bytes()
            + self.late.capacity() * size_of::<Late>()
            + self.near.capacity() * size_of::<(EntityId, u16)>()
            + self.outside.capacity() * size_of::<(EntityId, u32)>()
            + self.sent.bytes()
    }

    /// Asks for what is not in this struct: who is known, and what is on its way. Of a crowd, of `turns` turns, those whose turn
    /// is next. `looks`: the area is looked at before a packet goes out.
    #[inline]
    pub(super) fn prefetch_contents(&self, way: Way, turns: u64, looks: bool, prefetch: Prefetch) {
        if !self.crowded {
            prefetch.of(self.slots.get(..NEAR_SLOTS).unwrap_or(&self.slots));
        } else if way == Way::Out {
            let [_, turn] = slots_of_turn(self.turn, turns);
            let end = usize::from(turn.end).min(self.slots.len()).min(usize::from(turn.start) + TURN_SLOTS);
            prefetch.of(self.slots.get(usize::from(turn.start)..end).unwrap_or_default());
        }
        match way {
            Way::In => self.sent.prefetch_oldest(prefetch),
            Way::Out => {
                self.pending.prefetch_contents(prefetch);
                self.sent.prefetch_end(prefetch);
                if looks {
                    prefetch.of(self.order.get(..NEAR_SLOTS).unwrap_or(&self.order));
                }
            }
        }
    }

    /// Asks for what is known of those who are pending, or in the snapshot that is acknowledged next.
    pub(super) fn prefetch_known(&self, way: Way, prefetch: Prefetch) {
        let ask = |slot: u16| {
            if let Some(known) = self.slots.get(usize::from(slot)) {
                prefetch.of(known);
            }
        };
        match way {
            Way::In => self.sent.oldest().for_each(|carried| ask(carried.slots().start)),
            Way::Out => self.pending.iter().for_each(ask),
        }
    }

    /// A tick as the slots hold it.
    #[inline]
    pub(super) fn stamp(&self, tick: u64) -> u32 {
        u32::try_from(tick.saturating_sub(self.epoch)).unwrap_or(NEVER - 1).min(NEVER - 1)
    }

    /// Whether the area is to be looked at in this tick. Clients are spread over the ticks between by whom they own, not by
    /// their place, which depends on how many workers there are: so what they see does not.
    pub(super) fn look_due(&self, tick: u64, aoi: &Aoi) -> bool {
        let Some(looked) = self.looked else { return true };
        let stagger = u64::from(self.own.index());
        (tick + stagger).is_multiple_of(aoi.refresh_ticks) || tick.saturating_sub(looked) >= aoi.refresh_ticks
    }

    /// Whether this look from within a crowd is one at the whole area. They are spread over the ticks as well, or all who came
    /// into a crowd together would go on to look in the same ones.
    pub(super) fn whole_look_due(&self) -> bool {
        self.more || (self.looks + u64::from(self.own.index())).is_multiple_of(CROWD_LOOKS)
    }

    /// Gives an entity that is not known a slot. In a crowd one whose turn is the entity's own, the same for every
    /// client: then all of them look at it in the same tick and want the same bits.
    pub(super) fn insert(&mut self, id: EntityId, tick: u64, turns: u64, place: Place, still: bool) -> Option<u16> {
        let at = self.order.binary_search_by_key(&id, |(id, _)| *id).err()?;
        let now = self.stamp(tick);
        let (crowd, followed) = (place != Place::Any, place != Place::Crowd);
        let known = Known { id, acked: now, sent: now, phase: Phase::Spawning, losses: 0, followed, still };
        let turns = turns.max(1);
        let of_turn = crowd.then(|| self.vacant_of_turn(turns, id)).flatten();
        let slot = of_turn.or_else(|| self.first_vacant(id))?;
        self.vacant.remove(slot);
        *self.slots.get_mut(usize::from(slot))? = known;
        self.still += usize::from(still);
        self.order.insert(at, (id, slot));
        self.pending.insert(slot);
        Some(slot)
    }

    /// The slot of an entity that is known. In a crowd it mostly is the one that it has at every client, and needs no search.
    pub(super) fn slot_of(&self, id: EntityId, turns: u64) -> Option<u16> {
        let [_, stretch] = slots_of_turn(turn_of(id.index(), turns), turns);
        let shared = shared_slot(id.index(), &stretch, turns);
        if self.slots.get(usize::from(shared)).is_some_and(|known| known.id == id && known.phase != Phase::Vacant) {
            return Some(shared);
        }
        let at = self.order.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.order.get(at).map(|(_, slot)| *slot)
    }

    /// The same, unless as many are known as may be. It is not followed yet.
    pub(super) fn insert_if(&mut self, id: EntityId, tick: u64, turns: u64, max_known: usize) -> Option<u16> {
        if self.known() < max_known { self.insert(id, tick, turns, Place::Crowd, false) } else { None }
    }

    /// The lowest vacant slot.
    fn first_vacant(&mut self, id: EntityId) -> Option<u16> {
        if let Some(slot) = self.vacant.first_in(0..self.slots.len() as u16) {
            return Some(slot);
        }
        let slot = u16::try_from(self.slots.len()).ok().filter(|slot| *slot < MAX_SLOTS)?;
        self.extend_to(slot, id);
        Some(slot)
    }

    /// The slot that the entity has at other clients, or the lowest vacant one that has its turn.
    fn vacant_of_turn(&mut self, turns: u64, id: EntityId) -> Option<u16> {
        let [low, high] = slots_of_turn(turn_of(id.index(), turns), turns);
        let len = self.slots.len() as u16;
        if !high.is_empty() {
            let shared = shared_slot(id.index(), &high, turns);
            if shared >= len {
                self.extend_to(shared, id);
                return Some(shared);
            }
            if self.vacant.contains(shared) {
                return Some(shared);
            }
        }
        let found = self.vacant.first_in(low).or_else(|| self.vacant.first_in(high.clone()));
        if found.is_none() && high.end > len {
            self.extend_to(high.start.max(len), id);
            return Some(high.start.max(len));
        }
        found
    }

    /// How many turns a snapshot may have.
    pub(super) fn turns_at_once(&self, turns: u64) -> u64 {
        if self.known() as u64 > SHARED_A_TURN * turns { 1 } else { TURNS_AT_ONCE }
    }

    /// The most ticks from one snapshot to the next. In a crowd all turns must come round before the last baseline is gone, or
    /// everybody would have to be told whole each time: it would take more to be served more rarely.
    pub(super) fn most_ticks(&self, aoi: &Aoi) -> u64 {
        let turns = aoi.turn_ticks.max(1);
        if self.crowded { (u64::from(MAX_AGE) * self.turns_at_once(turns) / turns).max(1) } else { u64::MAX }
    }

    /// In a crowd: those who have that turn are looked at when the next snapshot is written.
    pub(super) fn pend_turn(&mut self, turn: u64, turns: u64, tick: u64) {
        let [low, high] = slots_of_turn(turn, turns);
        // Runs come round as they were sent; whatever comes too late for that waits no longer.
        let overdue = u64::from(self.stamp(tick)).saturating_sub(turns);
        while let Some(late) = self.late.front().copied()
            && (high.contains(&late.start) || u64::from(late.stamp) < overdue)
        {
            self.late.pop_front();
            self.settle(late);
        }
        let Self { slots, pending, vacant, .. } = self;
        let len = slots.len() as u16;
        for turn in [low, high] {
            pending.insert_range(turn.start.min(len)..turn.end.min(len), vacant);
        }
    }

    /// The slots of a run learn what the client acknowledged.
    fn settle(&mut self, late: Late) {
        if let Some(run) = self.slots.get_mut(usize::from(late.start)..usize::from(late.end)) {
            run.iter_mut().for_each(|known| known.on_acked(late.stamp));
        }
    }

    /// All slots learn what the client acknowledged.
    pub(super) fn settle_all(&mut self) {
        while let Some(late) = self.late.pop_front() {
            self.settle(late);
        }
    }

    /// In a crowd: what was said of those who are followed in snapshots that are still in flight after so many ticks is said
    /// again. Before that it is waited for, and behind it as for all others: until the packet is known to be lost.
    pub(super) fn retell(&mut self, tick: u64, after: u64) {
        let up_to = tick.saturating_sub(after);
        let Self { sent, slots, pending, epoch, retold, .. } = self;
        sent.visit_in_flight(*retold + 1..=up_to, |tick, carried| {
            let slot = carried.slots().start;
            let stamp = tick.saturating_sub(*epoch);
            if let Some(known) = slots.get(usize::from(slot))
                && known.followed
                && u64::from(known.sent) == stamp
            {
                pending.insert(slot);
            }
        });
        *retold = up_to.max(*retold);
    }

    /// Whether the newest record of a slot is on its way to the client.
    pub(super) fn in_flight(&self, slot: u16) -> bool {
        let sent = self.slots.get(usize::from(slot)).map_or(NEVER, |known| known.sent);
        let mut found = false;
        let tick = self.epoch + u64::from(sent);
        self.sent.visit_in_flight(tick..=tick, |_, carried| found |= carried.slots().contains(&slot));
        found
    }

    /// What a client shares with others waits until it is sent.
    pub(super) fn pend_runs(&mut self, runs: &[Run]) {
        runs.iter().for_each(|run| self.pending.insert_range(run.slots(), &self.vacant));
    }

    /// Adds vacant slots up to that one. `id` is soon to be in it, and stands for nobody in the others.
    fn extend_to(&mut self, slot: u16, id: EntityId) {
        while self.slots.len() <= usize::from(slot) {
            self.vacant.insert(self.slots.len() as u16);
            self.slots.push(Known {
                id,
                acked: NEVER,
                sent: NEVER,
                phase: Phase::Vacant,
                losses: 0,
                followed: false,
                still: false,
            });
        }
    }

    /// The client has the despawn of what was in that slot.
    fn vacate(&mut self, slot: u16) -> Option<Known> {
        let known = self.slots.get_mut(usize::from(slot))?;
        let former = core::mem::replace(known, Known { phase: Phase::Vacant, followed: false, still: false, ..*known });
        self.still -= usize::from(former.still);
        if let Ok(at) = self.order.binary_search_by_key(&former.id, |(id, _)| *id) {
            self.order.remove(at);
        }
        self.near.retain(|(_, other)| *other != slot);
        self.pending.remove(slot);
        self.vacant.insert(slot);
        Some(former)
    }

    /// Everybody is looked at when the next snapshot is written.
    pub(super) fn pend_all(&mut self) {
        for (_, slot) in &self.order {
            self.pending.insert(*slot);
        }
    }

    /// The snapshot just written went out in packet `pn`.
    pub(super) fn on_sent(&mut self, pn: u64, tick: u64, carried: &[Carried]) {
        let now = self.stamp(tick);
        for run in carried {
            let slots = run.slots();
            let Some(of_run) = self.slots.get_mut(usize::from(slots.start)..usize::from(slots.end)) else { continue };
            of_run.iter_mut().for_each(|known| known.sent = now);
            // Who is followed, and who is gone, is sent until it is acknowledged; in a crowd who is followed only after a
            // while (`retell`), but for its own. Others have had their turn; if the packet is lost, they are looked at again.
            match of_run {
                [known] if known.phase == Phase::Despawning || known.id == self.own => {}
                [known] if known.followed && !self.crowded => {}
                [_] => self.pending.remove(slots.start),
                _ => self.pending.remove_range(slots),
            }
        }
        self.sent.push(pn, tick, carried);
    }

    /// The client has what packet `pn` carried. `left` is told of each slot that is vacant now.
    pub(super) fn on_acked(&mut self, pn: u64, mut left: impl FnMut(u16, &Known)) {
        let mut sent = core::mem::take(&mut self.sent);
        let settled = sent.take(pn, |tick, carried| {
            let (stamp, slots) = (self.stamp(tick), carried.slots());
            if carried.is_despawn() {
                self.on_despawn_acked(slots.start, stamp, &mut left);
            } else if self.crowded && slots.len() > 1 {
                // They are far away in memory, and not needed before their turn, when they are read anyway.
                self.late.push_back(Late { start: slots.start, end: slots.end, stamp });
            } else {
                self.settle(Late { start: slots.start, end: slots.end, stamp });
            }
        });
        self.sent = sent;
        self.newest_acked = self.newest_acked.max(settled);
    }

    /// The client has the despawn of that tick for a slot: `left` is told, unless the slot was filled anew since.
    fn on_despawn_acked(&mut self, slot: u16, stamp: u32, left: &mut impl FnMut(u16, &Known)) {
        let present = self.slots.get(usize::from(slot));
        if present.is_some_and(|known| known.phase == Phase::Despawning && known.acked <= stamp)
            && let Some(former) = self.vacate(slot)
        {
            left(slot, &former);
        }
    }

    /// Packet `pn` is lost: what it carried becomes more urgent.
    pub(super) fn on_lost(&mut self, pn: u64) {
        let Self { sent, slots, pending, vacant, .. } = self;
        sent.take(pn, |_, carried| {
            let run = carried.slots();
            if let Some(of_run) = slots.get_mut(usize::from(run.start)..usize::from(run.end)) {
                of_run.iter_mut().for_each(|known| known.losses = known.losses.saturating_add(1));
                pending.insert_range(run, vacant);
            }
        });
    }

    /// Says what an entity is to the client; all but [`Relation::None`] keep it in the area. False if there are
    /// [`MAX_RELATIONS`] already.
    pub(super) fn relate(&mut self, id: EntityId, relation: Relation) -> bool {
        self.pins.retain(|(other, _)| *other != id);
        if relation != Relation::None {
            if self.pins.len() >= MAX_RELATIONS {
                return false;
            }
            self.pins.push((id, relation));
        }
        true
    }

    /// What an entity is to the client.
    #[inline]
    pub(super) fn relation(&self, id: EntityId) -> Relation {
        self.pins.iter().find(|(pinned, _)| *pinned == id).map_or(Relation::None, |(_, relation)| *relation)
    }

    /// The client now owns another entity: it is told anew of both, as owner or not.
    pub(super) fn set_own(&mut self, own: EntityId, tick: u64) {
        // Snapshots of that tick told it as it was before, and may be acknowledged yet.
        let since = self.stamp(tick) + 1;
        for id in [core::mem::replace(&mut self.own, own), own] {
            if let Ok(at) = self.order.binary_search_by_key(&id, |(id, _)| *id)
                && let Some((_, slot)) = self.order.get(at)
                && let Some(known) = self.slots.get_mut(usize::from(*slot))
                && known.phase != Phase::Despawning
            {
                (known.phase, known.acked) = (Phase::Spawning, since);
                self.pending.insert(*slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_turn_and_no_turn_has_many_more_than_another() {
        for turns in [1, 3, 19, 20, 121, MAX_TURNS] {
            let mut slots: Vec<u16> = (0..turns).flat_map(|turn| slots_of_turn(turn, turns)).flatten().collect();
            slots.sort_unstable();
            assert!(slots.iter().copied().eq(0..MAX_SLOTS), "{turns} turns");
            let lens = (0..turns).map(|turn| slots_of_turn(turn, turns).iter().map(ExactSizeIterator::len).sum());
            let (least, most) = lens.fold((usize::MAX, 0), |(least, most), len: usize| (least.min(len), most.max(len)));
            assert!(most - least <= 2, "{turns} turns of {least} to {most}");
        }
    }

    #[test]
    fn a_range_of_slots_is_just_these_in_their_words() {
        for slots in [0..0, 0..1, 5..64, 60..70, 64..128, 3..200, 4095..4096, 128..128] {
            let (mut set, mut without) = (SlotSet::default(), SlotSet::default());
            without.insert(66);
            set.insert_range(slots.clone(), &without);
            let held: Vec<u16> = (0..MAX_SLOTS).filter(|slot| set.contains(*slot)).collect();
            let wanted: Vec<u16> = slots.clone().filter(|slot| *slot != 66).collect();
            assert_eq!(held, wanted, "{slots:?}");
            assert_eq!(set.first_in(0..MAX_SLOTS), wanted.first().copied());
            assert_eq!(set.first_in(slots.end..MAX_SLOTS), None);
        }
    }
}
