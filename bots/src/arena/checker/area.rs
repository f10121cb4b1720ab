//! Who is in a view, and who is not: the area of interest, and who is always in it.

use netcode::snapshot::Entity;
use sim::{EntityId, Frame};

use super::super::report::Broken;
use super::{CUT_S, Checker, Subject};

/// An entity may first be heard of that long after it was within the radius, in seconds: datagrams are late.
const SPAWN_LATE_S: u64 = 15;
/// An entity may be near and unknown for so long while there are faults, in seconds: its slot is taken until an old
/// despawn is acknowledged, and a client that gets no acknowledgement through for longer is disconnected.
pub(in super::super) const UNKNOWN_FAULTY_S: u64 = 10;
/// Who had no slot gets one that long after there are some again, in seconds: old despawns are acknowledged by then.
const SLOT_LATE_S: u64 = 5;
/// The same without faults.
pub(in super::super) const UNKNOWN_CALM_S: u64 = 2;

impl Checker {
    /// Whoever is known is near, or was until a moment ago, or is tied to the client.
    pub(super) fn check_area(
        &mut self,
        subject: &Subject<'_>,
        frame: &Frame,
        entity: &Entity<'_>,
        broken: &mut Vec<Broken>,
    ) {
        let (id, snapshot, leave_m) = (entity.id(), frame.tick, self.aoi.leave_m);
        let Some(other) = EntityId::from_raw(id) else { return };
        if subject.distance2(snapshot, other).is_none_or(|d2| d2 <= leave_m * leave_m) {
            return;
        }
        let cut = if subject.client.view().complete() { 0 } else { CUT_S * self.rate };
        // The last look at the area may have been just before it left, and the one that forgets it is the first after
        // the grace.
        let looks = if self.may_be_crowded(frame) { self.aoi.crowd_refresh_ticks() } else { self.aoi.refresh_ticks };
        let span = self.aoi.grace_ticks + 2 * looks + cut + self.missed;
        if subject.bonds.pinned(subject.conn, other, (snapshot, span)) {
            self.counts.tied += 1;
        } else if !subject.deaf && !subject.was_near((snapshot, span), other, leave_m) {
            broken.push(Broken::OutsideArea { id, snapshot });
        }
    }

    /// Whoever came into view was near a moment ago, or tied to the client.
    pub(super) fn check_spawned(
        &self,
        subject: &Subject<'_>,
        frame: &Frame,
        spawned: &[u32],
        broken: &mut Vec<Broken>,
    ) {
        let (snapshot, span) = (frame.tick, SPAWN_LATE_S * self.rate);
        for id in spawned.iter().copied() {
            let allowed = EntityId::from_raw(id).is_some_and(|other| {
                subject.was_near((snapshot, span), other, self.aoi.enter_m)
                    || subject.bonds.pinned(subject.conn, other, (snapshot, span))
            });
            if !allowed {
                broken.push(Broken::OutsideArea { id, snapshot });
            }
        }
    }

    fn may_be_crowded(&self, frame: &Frame) -> bool {
        frame.len() > usize::from(self.aoi.crowd) * 3 / 4
    }

    /// An entity that has been within the radius, or tied to the client, for that many seconds and is not in the view of
    /// the newest snapshot.
    pub(in super::super) fn unknown(&mut self, subject: &Subject<'_>, seconds: u64) -> Option<Broken> {
        let view = subject.client.view();
        let snapshot = view.tick()?;
        let frame = subject.history.at(snapshot)?;
        let crowd = if self.may_be_crowded(frame) { self.aoi.crowd_refresh_ticks() } else { 0 };
        let span = (snapshot, seconds * self.rate + crowd + self.missed);
        let first = snapshot.checked_sub(span.1)?;
        // Perhaps there was no slot for it, or it was far from what the client owned.
        let full = subject.full_at.is_some_and(|full| full + SLOT_LATE_S * self.rate > snapshot);
        if full || !subject.bonds.owned_for(subject.conn, span) {
            return None;
        }
        let lives = |id: EntityId| subject.history.at(first).is_some_and(|frame| frame.row(id).is_some());
        let untold = |id: &EntityId| frame.row(*id).is_some() && lives(*id) && view.entity(id.raw()).is_none();
        if let Some(tied) = subject.bonds.pinned_for(subject.conn, span).find(untold) {
            return Some(Broken::TiedUnknown { id: tied.raw(), snapshot });
        }
        let [x, _, z] = frame.position_m(frame.row(subject.own_at(snapshot)?)?);
        let mut rows = std::mem::take(&mut self.rows);
        frame.query([x, z], self.aoi.enter_m, &mut rows);
        let enter2 = self.aoi.enter_m * self.aoi.enter_m;
        let near = |tick, other| subject.distance2(tick, other).is_some_and(|d2| d2 <= enter2);
        let long_near = |other: EntityId| (first..=snapshot).rev().all(|tick| near(tick, other));
        let unknown = rows
            .iter()
            .map(|row| frame.id(*row as usize))
            .find(|other| view.entity(other.raw()).is_none() && long_near(*other));
        self.rows = rows;
        unknown.map(|other| Broken::Unknown { id: other.raw(), snapshot })
    }
}
