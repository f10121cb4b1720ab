//! What goes into a snapshot: every record that the client needs, or as many as fit, most urgent first. In a crowd most
//! are shared with other clients, if all fit (`stretch.rs`).

use std::sync::Arc;

use netcode::snapshot::{Ages, DESPAWN_BITS, Header, MAX_AGE, MAX_HEADER_BITS, MAX_RECORDS, gap_bits};
use sim::schema::{X, Z};
use sim::{EntityId, Frame};

use super::aoi::Aoi;
use super::frame_ring::FrameRing;
use super::memo::{Change, Memo, Packed};
use super::priority::{BUCKETS, Facts, Relation, Terms, Tier, Weights, bucket};
use super::replica::{Known, NEVER, Phase, Replica};
use super::sent::Carried;
use super::stretch::{Run, Shared, Stretches};
use super::{Explained, ReplicaStats, ReplicationSchema, stale};

/// Bits set aside for the gap before a record while it is not known which records stay; more than most take.
const GAP_BITS: usize = 5;
/// So many may wait besides those who are followed before turns wait too, however few are known.
const LEAST_WAITING: usize = 32;
/// A second age is named for more updates than this; for fewer it does not pay.
const LEAST_SECOND: u16 = 8;
/// The nearest of a crowd go first as long as they take no more of the budget than this, in percent.
const NEAREST_PERCENT: usize = 60;
/// In a crowd what was said of who is followed is said again after this part of a second, and not before two ticks.
const RETELLS_A_S: u16 = 10;
/// A prime: by so many places a cut begins elsewhere than in the tick before.
const PLACES_APART: u64 = 61;

/// A record that may go into the snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub slot: u16,
    /// Bits without the gap.
    pub bits: u16,
    bucket: u8,
    pub what: What,
}

impl Candidate {
    pub fn new(slot: u16, bits: usize, what: What) -> Self {
        Self { slot, bits: bits as u16, bucket: 0, what }
    }
}

/// What a record does to its slot.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Spawn { row: u32, known: bool, packed: Packed },
    Update { row: u32, age: u8, packed: Packed },
    Despawn,
}

/// What the choice needs besides the client.
pub(super) struct Choice<'a> {
    pub schema: &'a ReplicationSchema,
    pub frame: &'a Frame,
    pub ring: &'a FrameRing,
    pub aoi: &'a Aoi,
    pub weights: &'a Weights,
    pub memo: &'a mut Memo,
    pub gathered: &'a mut Vec<(u16, Known)>,
    /// The most bits of the body.
    pub budget: usize,
    /// Where to explain the choice, if somebody wants to know.
    pub explained: Option<&'a mut Vec<Explained>>,
}

/// What was chosen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chosen {
    pub ages: Ages,
    /// Every known entity without a record is on the course that the client has acknowledged.
    pub complete: bool,
    pub cut: bool,
}

/// Fills `candidates` with the records to send, in slot order, and `shared` with those that are written for many.
pub(super) fn choose(
    replica: &mut Replica,
    choice: &mut Choice<'_>,
    stretches: &mut Stretches,
    candidates: &mut Vec<Candidate>,
    shared: &mut Shared,
) -> Chosen {
    shared.clear();
    let turn = if replica.crowded { take_turns(replica, choice) } else { None };
    if replica.crowded {
        replica.retell(choice.frame.tick, u64::from((choice.schema.rate / RETELLS_A_S).max(2)));
    }
    // Shared records are in the fast codec, and have no terms of their own to explain.
    if let Some(turn) = turn.filter(|_| !replica.compact && choice.explained.is_none()) {
        let first = common_age(replica, choice).unwrap_or(0);
        stretches.find(replica, choice, turn, first, shared);
        if let Some(chosen) = choose_beside(replica, choice, candidates, shared) {
            return chosen;
        }
    }
    choose_all(replica, choice, candidates)
}

/// Chooses the records besides those that are shared, if all fit; otherwise nothing is shared.
fn choose_beside(
    replica: &mut Replica,
    choice: &mut Choice<'_>,
    candidates: &mut Vec<Candidate>,
    shared: &mut Shared,
) -> Option<Chosen> {
    let records = shared.records();
    if shared.runs.is_empty() || (1..=usize::from(LEAST_SECOND)).contains(&records) {
        shared.clear();
        return None;
    }
    shared.runs.iter().for_each(|run| replica.pending.remove_range(run.slots()));
    let mut by_age = [0; MAX_AGE as usize + 1];
    let first = collect(replica, choice, candidates, &mut by_age);
    let second = if records > 0 { Some(shared.age) } else { second_age(first, by_age) };
    let ages = Ages { first, second };
    add_ages(candidates, ages);
    // They are pending until they are sent, as all others.
    replica.pend_runs(&shared.runs);
    let bits = packed_bits(candidates, &shared.runs) + MAX_HEADER_BITS;
    let fits = bits <= choice.budget && candidates.len() + records <= usize::from(MAX_RECORDS);
    if !fits {
        shared.clear();
        return None;
    }
    stale::add(replica, choice, choice.budget - bits, candidates);
    Some(Chosen { ages, complete: false, cut: false })
}

/// Chooses among all that is pending, and cuts it to the budget.
fn choose_all(replica: &mut Replica, choice: &mut Choice<'_>, candidates: &mut Vec<Candidate>) -> Chosen {
    let mut by_age = [0; MAX_AGE as usize + 1];
    let first = collect(replica, choice, candidates, &mut by_age);
    let ages = Ages { first, second: if replica.crowded { second_age(first, by_age) } else { None } };
    let room = choice.budget.saturating_sub(MAX_HEADER_BITS);
    let bits = add_ages(candidates, ages);
    let cut = bits > room || candidates.len() > usize::from(MAX_RECORDS);
    if cut || choice.explained.is_some() {
        rank(replica, choice, candidates);
    }
    if cut {
        keep_first(candidates, room, choice.frame.tick);
        keep_within(candidates, room);
    } else {
        stale::add(replica, choice, room - bits, candidates);
    }
    if let Some(explained) = choice.explained.as_deref_mut() {
        for entry in explained.iter_mut() {
            entry.sent = candidates.binary_search_by_key(&entry.slot, |candidate| candidate.slot).is_ok();
        }
    }
    Chosen { ages, complete: !cut && !replica.crowded, cut }
}

/// In a crowd: those who are not followed and have their turn are looked at: one turn for each tick since the last snapshot.
/// Gives the first turn taken.
fn take_turns(replica: &mut Replica, choice: &Choice<'_>) -> Option<u64> {
    let turns = choice.aoi.turn_ticks.max(1);
    let due = choice.frame.tick.saturating_sub(core::mem::replace(&mut replica.served, choice.frame.tick));
    // Where not everybody fits within a round, it takes longer: whose turn it was waits, and the next ones come later.
    // Who is followed may wait all the time, and so may those of a party, who are followed beyond the nearest.
    let followed = replica.near.len().max(choice.aoi.follow.into());
    let most = followed + (replica.known() / turns as usize / 2).max(LEAST_WAITING);
    let mut taken = None;
    for _ in 0..due.min(replica.turns_at_once(turns)) {
        if replica.pending.len() > most {
            break;
        }
        taken = taken.or(Some(replica.turn));
        replica.pend_turn(replica.turn, turns, choice.frame.tick);
        replica.turn = (replica.turn + 1) % turns;
    }
    taken
}

/// The age that most updates have whose age is not `first`: in a crowd, that of those whose turn it is.
fn second_age(first: u8, mut by_age: [u16; MAX_AGE as usize + 1]) -> Option<u8> {
    if let Some(count) = by_age.get_mut(usize::from(first)) {
        *count = 0;
    }
    let (age, count) = (0u8..).zip(by_age).max_by_key(|(_, count)| *count)?;
    (count > LEAST_SECOND).then_some(age)
}

/// Adds the bits of the ages, now that it is known which are named. Returns the bits that all take, gaps included.
fn add_ages(candidates: &mut [Candidate], ages: Ages) -> usize {
    let (mut next, mut all) = (0, 0);
    for candidate in candidates {
        if let What::Update { age, .. } = candidate.what {
            candidate.bits += ages.bits(age) as u16;
        }
        all += gap_bits(candidate.slot - next) + usize::from(candidate.bits);
        next = candidate.slot + 1;
    }
    all
}

/// Every record that the client would need to be up to date about what is pending, in slot order. Returns the age that
/// most updates have: that of the newest acknowledged snapshot. `by_age` counts the updates of each.
fn collect(
    replica: &mut Replica,
    choice: &mut Choice<'_>,
    candidates: &mut Vec<Candidate>,
    by_age: &mut [u16; MAX_AGE as usize + 1],
) -> u8 {
    let (frame, epoch, own) = (choice.frame, replica.epoch, replica.own);
    let now = replica.stamp(frame.tick);
    let common = common(replica, choice);
    let age0 = common.map_or(0, |(age, _)| age);
    candidates.clear();
    gather(replica, choice.gathered);
    for at in 0..choice.gathered.len() {
        let Some((slot, known)) = choice.gathered.get(at).copied() else { continue };
        let row = if known.phase == Phase::Despawning { None } else { frame.row(known.id) };
        let (bits, what) = match (known.phase, row) {
            (Phase::Vacant, _) => {
                replica.pending.remove(slot);
                continue;
            }
            (_, None) => {
                if let Some(known) = replica.slots.get_mut(usize::from(slot)) {
                    known.phase = Phase::Despawning;
                }
                (DESPAWN_BITS, What::Despawn)
            }
            (Phase::Known, Some(row)) => {
                let (acked, owner) = (epoch + u64::from(known.acked), known.id == own);
                if course(frame, row, owner) <= acked {
                    replica.pending.remove(slot);
                    if let Some(known) = replica.slots.get_mut(usize::from(slot)) {
                        known.sent = NEVER;
                    }
                    continue;
                }
                let (bits, what) = update(choice, common, known.id, row, owner, acked);
                if stale::may_wait(replica, &known, &what) {
                    replica.pending.remove(slot);
                    replica.stale.insert(slot);
                    continue;
                }
                if let Some(known) = replica.slots.get_mut(usize::from(slot)) {
                    if known.sent == NEVER {
                        known.sent = now;
                    }
                    // Baselines never go back: if the client has a newer record on the way to this one (it came, but was
                    // taken for lost), it forgets the older ones now.
                    if let What::Update { age, .. } = what {
                        if let Some(count) = by_age.get_mut(usize::from(age)) {
                            *count += 1;
                        }
                        known.acked = known.acked.max(now.saturating_sub(age.into()));
                    }
                }
                (bits, what)
            }
            (Phase::Spawning | Phase::Despawning, Some(row)) => spawn(choice, row, known.id == own, false),
        };
        candidates.push(Candidate::new(slot, bits, what));
    }
    age0
}

/// The newest snapshot that the client acknowledged, if it can be a baseline: its age and frame.
pub(super) fn common<'a>(replica: &Replica, choice: &Choice<'a>) -> Option<(u8, &'a Arc<Frame>)> {
    common_age(replica, choice).zip(replica.newest_acked.and_then(|acked| choice.ring.at(acked)))
}

/// The age of the newest snapshot that the client acknowledged, if it can be a baseline.
fn common_age(replica: &Replica, choice: &Choice<'_>) -> Option<u8> {
    let acked = replica.newest_acked?;
    age_of(choice.frame, acked).filter(|_| choice.ring.at(acked).is_some())
}

/// What is known of those who are pending. It is far away in memory: so all of it is on its way at once, while a loop that
/// also decides something would wait for one after the other.
fn gather(replica: &Replica, gathered: &mut Vec<(u16, Known)>) {
    gathered.clear();
    let known = |slot: u16| replica.slots.get(usize::from(slot)).map(|known| (slot, *known));
    gathered.extend(replica.pending.iter().filter_map(known));
}

pub(super) fn age_of(frame: &Frame, tick: u64) -> Option<u8> {
    u8::try_from(frame.tick.checked_sub(tick)?).ok().filter(|age| (1..=MAX_AGE).contains(age))
}

pub(super) fn course(frame: &Frame, row: usize, owner: bool) -> u64 {
    if owner { frame.course_own(row) } else { frame.course(row) }
}

/// The row of an entity that had that row in another frame.
#[inline]
pub(super) fn row_like(frame: &Frame, id: EntityId, row: usize) -> Option<usize> {
    if frame.ids().get(row) == Some(&id) { Some(row) } else { frame.row(id) }
}

/// `known`: the client has it, from too long ago.
fn spawn(choice: &mut Choice<'_>, row: usize, owner: bool, known: bool) -> (usize, What) {
    let row = row as u32;
    let packed = choice.memo.spawn(choice.schema, choice.frame, row, owner);
    (usize::from(packed.bits), What::Spawn { row, known, packed })
}

/// The update of an entity whose state of tick `acked` the client has; a spawn (as a refresh) when no frame that is
/// left can serve as baseline.
pub(super) fn update(
    choice: &mut Choice<'_>,
    common: Option<(u8, &Arc<Frame>)>,
    id: EntityId,
    row: usize,
    owner: bool,
    acked: u64,
) -> (usize, What) {
    let frame = choice.frame;
    let serves = |base: &Frame| {
        let base_row = row_like(base, id, row)?;
        // The client has its state at that tick: it acknowledged that one, or the course that led there.
        (acked <= base.tick && course(base, base_row, owner) <= acked).then_some(base_row)
    };
    let row32 = row as u32;
    let by_common = common.and_then(|(age, base)| Some((age, serves(base)?, base)));
    let age = by_common.map(|(age, _, _)| age).or_else(|| age_of(frame, acked));
    // What is there already needs no baseline any more.
    if !owner
        && let Some(age) = age
        && let Some(packed) = choice.memo.get(row32, age)
    {
        return (usize::from(packed.bits), What::Update { row: row32, age, packed });
    }
    let by_own = || {
        let base = choice.ring.at(acked)?;
        Some((age_of(frame, acked)?, row_like(base, id, row)?, base))
    };
    // Too long ago; but it may have been on that course in the oldest frame.
    let by_oldest = || {
        let base = choice.ring.oldest()?;
        Some((age_of(frame, base.tick)?, serves(base)?, base))
    };
    let Some((age, base_row, base)) = by_common.or_else(by_own).or_else(by_oldest) else {
        return spawn(choice, row, owner, true);
    };
    let change = Change { row: row32, kind: frame.kind(row), age, base: base.state(base_row), state: frame.state(row) };
    let packed = if owner {
        choice.memo.pack(choice.schema, &change, true)
    } else if let Some(packed) = choice.memo.get(row32, age) {
        packed
    } else {
        choice.memo.make(choice.schema, &change)
    };
    (usize::from(packed.bits), What::Update { row: row32, age, packed })
}

/// Gives every candidate its score.
fn rank(replica: &Replica, choice: &mut Choice<'_>, candidates: &mut [Candidate]) {
    let frame = choice.frame;
    let own = frame.row(replica.own).map(|row| frame.state(row));
    let now = replica.stamp(frame.tick);
    let radius = (f64::from(choice.aoi.leave_m) * f64::from(sim::schema::QUANTA_PER_M)) as u64;
    let nearest_first = replica.crowded && nearest_fit(replica, choice.budget, candidates);
    if let Some(explained) = choice.explained.as_deref_mut() {
        explained.clear();
    }
    for candidate in candidates {
        let Some(known) = replica.slots.get(usize::from(candidate.slot)) else { continue };
        let row = match candidate.what {
            What::Spawn { row, .. } | What::Update { row, .. } => Some(row as usize),
            What::Despawn => None,
        };
        let terms = match row {
            Some(row) if known.id != replica.own => {
                let state = frame.state(row);
                let distance2 = own.map_or(0, |own| {
                    let (dx, dz) = (own[X].abs_diff(state[X]), own[Z].abs_diff(state[Z]));
                    u64::from(dx) * u64::from(dx) + u64::from(dz) * u64::from(dz)
                });
                let followed = nearest_first && known.followed;
                let patient = replica.crowded && known.phase == Phase::Spawning;
                let facts = facts(known, replica.relation(known.id), candidate, frame.kind(row), now);
                choice.weights.terms(&Facts { distance2, radius2: radius * radius, followed, patient, ..facts })
            }
            // Its own before all else, so that it is in every snapshot until acknowledged: the client relies on it.
            Some(_) => Terms { tier: Tier::First, score: u32::MAX, ..Terms::default() },
            None => Terms { tier: Tier::First, ..Terms::default() },
        };
        candidate.bucket = bucket(&terms);
        if let Some(explained) = choice.explained.as_deref_mut() {
            let tick = frame.tick;
            explained.push(Explained {
                tick,
                id: known.id,
                slot: candidate.slot,
                terms,
                bits: candidate.bits,
                sent: false,
            });
        }
    }
}

/// Whether the nearest of a crowd may go before whoever has waited too long: they must leave some room for these.
fn nearest_fit(replica: &Replica, budget: usize, candidates: &[Candidate]) -> bool {
    let followed = |candidate: &&Candidate| {
        replica.slots.get(usize::from(candidate.slot)).is_some_and(|known| known.followed && known.id != replica.own)
    };
    let bits: usize = candidates.iter().filter(followed).map(|candidate| GAP_BITS + usize::from(candidate.bits)).sum();
    bits * 100 <= budget * NEAREST_PERCENT
}

fn facts(known: &Known, relation: Relation, candidate: &Candidate, kind: u8, now: u32) -> Facts {
    let error = match candidate.what {
        What::Update { packed, .. } => packed.error,
        What::Spawn { .. } | What::Despawn => 0,
    };
    let waited = now.saturating_sub(known.sent);
    Facts { kind, relation, error, losses: known.losses, waited, ..Facts::default() }
}

/// Cuts the candidates to what fits `room` bits, by the classes of their scores: whole classes first, then of the
/// class that does not fit whole as many as do, from some place on that is another in each tick: where there is never
/// room for all, low slots are not better off.
fn keep_first(candidates: &mut Vec<Candidate>, room: usize, tick: u64) {
    let mut classes = [0usize; BUCKETS];
    for candidate in candidates.iter() {
        if let Some(bits) = classes.get_mut(usize::from(candidate.bucket)) {
            *bits += GAP_BITS + usize::from(candidate.bits);
        }
    }
    let mut used = 0;
    let mut last = BUCKETS;
    while last > 0 && used + classes.get(last - 1).copied().unwrap_or(0) <= room {
        last -= 1;
        used += classes.get(last).copied().unwrap_or(0);
    }
    let start = (tick.wrapping_mul(PLACES_APART) % candidates.len().max(1) as u64) as usize;
    for at in (start..candidates.len()).chain(0..start) {
        let Some(candidate) = candidates.get_mut(at) else { continue };
        let bits = GAP_BITS + usize::from(candidate.bits);
        if usize::from(candidate.bucket) + 1 == last && used + bits <= room {
            used += bits;
            candidate.bucket = candidate.bucket.saturating_add(1);
        }
    }
    candidates.retain(|candidate| usize::from(candidate.bucket) >= last);
}

/// Makes sure of it with the gaps as they are: where some were dropped, the gaps of others take more.
fn keep_within(candidates: &mut Vec<Candidate>, room: usize) {
    candidates.truncate(usize::from(MAX_RECORDS));
    loop {
        let mut over = packed_bits(candidates, &[]).saturating_sub(room);
        let Some(least) = candidates.iter().map(|candidate| candidate.bucket).min().filter(|_| over > 0) else {
            return;
        };
        candidates.retain(|candidate| {
            let stays = over == 0 || candidate.bucket > least;
            over = if stays { over } else { over.saturating_sub(usize::from(candidate.bits)) };
            stays
        });
    }
}

/// The bits that the candidates and the runs between them take, gaps included.
pub(super) fn packed_bits(candidates: &[Candidate], runs: &[Run]) -> usize {
    let (mut next, mut bits) = (0, 0);
    let mut runs = runs.iter().filter(|run| run.records > 0).peekable();
    let mut add = |first: u16, own: usize, behind: u16| {
        bits += gap_bits(first - next) + own;
        next = behind;
    };
    for candidate in candidates {
        while let Some(run) = runs.next_if(|run| run.first < candidate.slot) {
            add(run.first, run.bits(), run.next_slot(0));
        }
        add(candidate.slot, usize::from(candidate.bits), candidate.slot + 1);
    }
    runs.for_each(|run| add(run.first, run.bits(), run.next_slot(0)));
    bits
}

/// The header of what was chosen, and is so many records.
pub(super) fn header(chosen: Chosen, margin: Option<i8>, records: usize) -> Header {
    let count = u16::try_from(records).unwrap_or(MAX_RECORDS);
    let ages = if count == 0 { Ages::default() } else { chosen.ages };
    Header { margin, complete: chosen.complete, ages, count }
}

/// What records came to be sent, by what they do.
pub(super) fn note(candidates: &[Candidate], carried: &mut Vec<Carried>, stats: &mut ReplicaStats) {
    carried.clear();
    for candidate in candidates {
        match candidate.what {
            What::Despawn => stats.despawns += 1,
            What::Spawn { known, .. } => {
                stats.spawns += 1;
                stats.refreshes += u64::from(known);
            }
            What::Update { .. } => stats.updates += 1,
        }
        carried.push(Carried::new(candidate.slot, matches!(candidate.what, What::Despawn)));
    }
}
