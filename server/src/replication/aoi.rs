//! The area of interest: which entities a client knows.
//!
//! An entity enters at the radius and leaves beyond 1.15 times it, and then only after half a second outside, so that a
//! walk along the border does not flicker. Who is pinned (the client's own entity, its party, its target) is always in.
//!
//! A client that knows more than [`Aoi::crowd`] entities is *in a crowd*. It follows the nearest of them (it is told
//! when they turn); the others it looks at by turns, so that the cost of a client is bounded by what it can be sent and
//! not by how many stand around it.

use core::cmp::Ordering;

use sim::schema::STILL_KINDS;
use sim::{EntityId, Frame};

use super::replica::{MAX_TURNS, Phase, Place, Replica};
use super::viewers::{Viewer, Viewers};
use super::{ReplicaStats, Scratch};

/// Outer radius divided by inner.
const LEAVE_RATIO: f32 = 1.15;
/// In a crowd the whole area is looked at after so many short looks at the nearest.
pub(super) const CROWD_LOOKS: u64 = 8;
/// [`Aoi::crowd`] unless told otherwise.
pub const DEFAULT_CROWD: u16 = 128;
/// [`Aoi::follow`] unless told otherwise.
pub const DEFAULT_FOLLOW: u16 = 40;
/// Where a turn has at least so many, the records that it shares save more than slots that lie far apart cost.
pub(super) const SHARED_A_TURN: u64 = 24;
/// Spawns that may wait for their first acknowledgement; the nearest newcomers come first.
const MAX_SPAWNING: usize = 128;

/// The area's measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aoi {
    /// An entity nearer than this becomes known, in metres.
    pub enter_m: f32,
    /// An entity farther than this, for longer than `grace_ticks`, is forgotten, in metres.
    pub leave_m: f32,
    /// Ticks that an entity stays known outside.
    pub grace_ticks: u64,
    /// Ticks between two looks at the area.
    pub refresh_ticks: u64,
    /// A client that knows more entities than this is in a crowd; [`Aoi::still_kinds`] do not count.
    pub crowd: u16,
    /// The kinds that do not count in a crowd, and are always followed, since they lie still: a bit for each number.
    pub still_kinds: u16,
    /// How many of the nearest a client in a crowd follows, at most `crowd`.
    pub follow: u16,
    /// Every entity of a crowd has its turn once in so many ticks.
    pub turn_ticks: u64,
}

impl Aoi {
    /// An area of `radius_m`, left after half a second, looked at five times a second, at `rate` ticks a second; a crowd
    /// are more than 128, of whom 40 are followed and the others have their turn within 0.95 s.
    #[must_use]
    pub fn new(radius_m: f32, rate: u16) -> Self {
        let rate = u64::from(rate);
        Self {
            enter_m: radius_m,
            leave_m: radius_m * LEAVE_RATIO,
            grace_ticks: rate.div_ceil(2),
            refresh_ticks: (rate / 5).max(1),
            crowd: DEFAULT_CROWD,
            still_kinds: STILL_KINDS,
            follow: DEFAULT_FOLLOW,
            turn_ticks: (rate * 19 / 20).clamp(1, MAX_TURNS),
        }
    }

    /// Whether an entity of a frame is of a kind that lies still.
    pub(super) fn is_still(&self, frame: &Frame, row: usize) -> bool {
        self.still_kinds >> frame.kind(row).min(15) & 1 == 1
    }

    /// Ticks between two looks at the whole area from within a crowd.
    #[must_use]
    pub const fn crowd_refresh_ticks(&self) -> u64 {
        self.refresh_ticks * CROWD_LOOKS
    }
}

/// What a look at the area needs besides the client.
pub(super) struct Look<'a> {
    pub frame: &'a Frame,
    pub aoi: &'a Aoi,
    pub max_known: usize,
    /// The client's place among the worker's.
    pub client: u16,
    pub viewers: &'a mut Viewers,
    pub scratch: &'a mut Scratch,
    pub stats: &'a mut ReplicaStats,
}

/// Brings a client's known entities up to date with the area around its own entity.
pub(super) fn refresh(replica: &mut Replica, look: &mut Look<'_>) {
    let Some(own_row) = look.frame.row(replica.own) else { return };
    let [x, _, z] = look.frame.position_m(own_row);
    replica.looked = Some(look.frame.tick);
    let crowded = replica.crowded;
    replica.looks = replica.looks.wrapping_add(1);
    if !crowded || replica.whole_look_due() {
        look_at_all(replica, look, [x, z]);
        if !crowded && replica.restless() > usize::from(look.aoi.crowd) {
            replica.crowded = true;
            replica.turn = look.frame.tick % look.aoi.turn_ticks;
        } else if crowded && replica.restless() * 4 < usize::from(look.aoi.crowd) * 3 {
            replica.crowded = false;
            follow_all(replica, look);
        }
    }
    if replica.crowded {
        follow_nearest(replica, look, [x, z]);
    }
}

/// Compares who is known with who is there, both by ascending id.
fn look_at_all(replica: &mut Replica, look: &mut Look<'_>, [x, z]: [f32; 2]) {
    let Scratch { rows, newcomers, outside: now_outside, .. } = look.scratch;
    look.frame.query([x, z], look.aoi.leave_m, rows);
    newcomers.clear();
    now_outside.clear();
    let now = replica.stamp(look.frame.tick);
    let grace = u32::try_from(look.aoi.grace_ticks).unwrap_or(u32::MAX);
    let enter2 = look.aoi.enter_m * look.aoi.enter_m;
    let mut rows = rows.iter().copied().peekable();
    let mut newcomer = |row: u32| {
        let [px, _, pz] = look.frame.position_m(row as usize);
        let distance2 = (px - x) * (px - x) + (pz - z) * (pz - z);
        if distance2 <= enter2 {
            newcomers.push((distance2, row));
        }
    };
    let own = replica.own;
    let Replica { order, slots, pins, pending, outside, .. } = replica;
    let mut was_outside = outside.iter().copied().peekable();
    // Most are in the area as they were: of those nothing is touched but their place in the order.
    for (id, slot) in order.iter() {
        let mut seen = false;
        while let Some(row) = rows.next_if(|row| look.frame.id(*row as usize) <= *id) {
            if look.frame.id(row as usize) == *id {
                seen = true;
            } else {
                newcomer(row);
            }
        }
        if seen || *id == own || pins.iter().any(|(pinned, _)| pinned == id) {
            continue;
        }
        let Some(known) = slots.get_mut(usize::from(*slot)) else { continue };
        while was_outside.next_if(|(other, _)| other < id).is_some() {}
        let since = was_outside.next_if(|(other, _)| other == id).map_or(now, |(_, since)| since);
        if now - since < grace {
            now_outside.push((*id, since));
        } else if known.phase != Phase::Despawning {
            known.phase = Phase::Despawning;
            pending.insert(*slot);
        }
    }
    outside.clear();
    outside.extend_from_slice(now_outside);
    rows.for_each(newcomer);
    for (pinned, _) in pins.iter() {
        if let Some(row) = look.frame.row(*pinned)
            && order.binary_search_by_key(pinned, |(id, _)| *id).is_err()
            && !newcomers.iter().any(|(_, other)| *other == row as u32)
        {
            newcomers.push((0.0, row as u32));
        }
    }
    admit(replica, look);
}

/// Gives newcomers slots. Where not all find a place, the nearest do: the client's own entity before all.
fn admit(replica: &mut Replica, look: &mut Look<'_>) {
    let newcomers = &mut look.scratch.newcomers;
    replica.more = false;
    if newcomers.is_empty() {
        return;
    }
    let crowd = usize::from(look.aoi.crowd);
    let restless = |(_, row): &&(f32, u32)| !look.aoi.is_still(look.frame, *row as usize);
    let expected = replica.restless() + newcomers.iter().filter(restless).count();
    let coming = expected > crowd && expected as u64 > SHARED_A_TURN * look.aoi.turn_ticks;
    let spawning = replica.slots.iter().filter(|known| known.phase == Phase::Spawning).count();
    let places = look.max_known.saturating_sub(replica.known());
    let room = places.min(MAX_SPAWNING.saturating_sub(spawning));
    if newcomers.len() > room {
        replica.more = places > room;
        let nearest = |a: &(f32, u32), b: &(f32, u32)| -> Ordering { a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)) };
        if room > 0 {
            newcomers.select_nth_unstable_by(room - 1, nearest);
        }
        look.stats.no_slot += newcomers.len().saturating_sub(places.max(room)) as u64;
        newcomers.truncate(room);
        newcomers.sort_unstable_by(nearest);
    }
    for (_, row) in newcomers.iter() {
        let id = look.frame.id(*row as usize);
        let still = look.aoi.is_still(look.frame, *row as usize);
        let far = !still && (replica.crowded || replica.restless() > crowd);
        let place = match (far, coming) {
            (true, _) => Place::Crowd,
            (false, true) => Place::Coming,
            (false, false) => Place::Any,
        };
        let Some(slot) = replica.insert(id, look.frame.tick, look.aoi.turn_ticks, place, still) else { break };
        if !far {
            look.viewers.add(id, Viewer { client: look.client, slot });
        }
    }
}

/// Out of the crowd: everybody is followed again, and looked at once, since nobody said what they did meanwhile.
fn follow_all(replica: &mut Replica, look: &mut Look<'_>) {
    replica.settle_all();
    let Replica { order, slots, pending, near, .. } = replica;
    for (id, slot) in order.iter() {
        pending.insert(*slot);
        if let Some(known) = slots.get_mut(usize::from(*slot))
            && !core::mem::replace(&mut known.followed, true)
        {
            look.viewers.add(*id, Viewer { client: look.client, slot: *slot });
        }
    }
    near.clear();
    replica.stale.clear();
}

/// In a crowd: the nearest are followed, and those who are so no longer are not. Nothing of those who stay is touched.
fn follow_nearest(replica: &mut Replica, look: &mut Look<'_>, centre: [f32; 2]) {
    let Scratch { nearest, ids, near: fresh, was_near, .. } = &mut *look.scratch;
    let most = usize::from(look.aoi.follow);
    look.frame.nearest(centre, look.aoi.enter_m, most + replica.still().min(most), nearest);
    ids.clear();
    ids.push(replica.own);
    ids.extend(replica.pins.iter().map(|(id, _)| *id).filter(|id| look.frame.row(*id).is_some()));
    let rows = nearest.iter().map(|near| near.row() as usize);
    let restless = rows.filter(|row| !look.aoi.is_still(look.frame, *row));
    ids.extend(restless.take(most).map(|row| look.frame.id(row)));
    ids.sort_unstable();
    ids.dedup();
    // The first time everybody is followed; afterwards those of the last look are.
    was_near.clear();
    if replica.near.is_empty() {
        let followed = |slot: u16| replica.slots.get(usize::from(slot)).is_some_and(|known| known.followed);
        was_near.extend(replica.order.iter().filter(|(_, slot)| followed(*slot)));
    } else {
        was_near.extend_from_slice(&replica.near);
    }
    fresh.clear();
    let mut was = was_near.iter().copied().peekable();
    for id in ids.iter().copied() {
        while let Some((gone, slot)) = was.next_if(|(other, _)| *other < id) {
            unfollow(replica, look.viewers, look.client, gone, slot);
        }
        if let Some(stays) = was.next_if(|(other, _)| *other == id) {
            fresh.push(stays);
        } else if let Some(slot) = slot_for(replica, look.frame.tick, look.aoi, look.max_known, id) {
            follow(replica, look.viewers, look.client, id, slot);
            fresh.push((id, slot));
        }
    }
    for (gone, slot) in was {
        unfollow(replica, look.viewers, look.client, gone, slot);
    }
    replica.near.clone_from(fresh);
}

/// The slot of an entity, or a new one.
fn slot_for(replica: &mut Replica, tick: u64, aoi: &Aoi, max_known: usize, id: EntityId) -> Option<u16> {
    replica.slot_of(id, aoi.turn_ticks).or_else(|| replica.insert_if(id, tick, aoi.turn_ticks, max_known))
}

fn follow(replica: &mut Replica, viewers: &mut Viewers, client: u16, id: EntityId, slot: u16) {
    if let Some(known) = replica.slots.get_mut(usize::from(slot))
        && !core::mem::replace(&mut known.followed, true)
    {
        viewers.add(id, Viewer { client, slot });
        replica.pending.insert(slot);
    }
}

fn unfollow(replica: &mut Replica, viewers: &mut Viewers, client: u16, id: EntityId, slot: u16) {
    if let Some(known) = replica.slots.get_mut(usize::from(slot))
        && !known.still
        && core::mem::replace(&mut known.followed, false)
    {
        viewers.remove(id, Viewer { client, slot });
    }
}
