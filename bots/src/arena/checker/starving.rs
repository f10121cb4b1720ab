//! Whether everybody in a view is brought up to date in time.

use netcode::snapshot::{MAX_GAP_BITS, MAX_HEADER_BITS, max_spawn_bits};
use sim::schema::PLAYER;
use sim::{EntityId, Frame, SCHEMA};

use super::super::options::Planted;
use super::super::report::Broken;
use super::{Checker, Subject};

/// Ticks of a calm round trip, the wait for the next tick included.
const ROUND_TRIP: u64 = 3;
/// The bits of a gap that most do not exceed.
const GAP_BITS: usize = 9;
/// Percent of the bytes of a second that must be enough for all.
const USE: usize = 75;

/// What a client may be sent.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Allowance {
    /// Bytes of a snapshot: the budget, or what the path carries if that is less.
    pub room: usize,
    /// Bits of an update in the mean, all clients taken together.
    pub update_bits: usize,
    /// Entities that came into view within the last second.
    pub spawned: usize,
}

impl Checker {
    /// An entity that left the course of the newest record more than a second ago; where so many turn that their records
    /// cannot all be sent in time, nobody can be blamed.
    pub(in super::super) fn starving(&mut self, subject: &Subject<'_>, allowance: Allowance) -> Option<Broken> {
        let view = subject.client.view();
        let snapshot = view.tick()?;
        let frame = subject.history.at(snapshot)?;
        let Some(bound) = self.bound(subject, frame, allowance) else {
            self.counts.unfeedable += 1;
            return None;
        };
        let since = snapshot.checked_sub(bound)?;
        let then = subject.history.at(since)?;
        for entity in view.entities() {
            let Some(id) = EntityId::from_raw(entity.id()) else { continue };
            let Some(row) = then.row(id).filter(|_| frame.row(id).is_some()) else { continue };
            let course = if entity.owner() { then.course_own(row) } else { then.course(row) };
            let told = entity.rows().next().map_or(0, |row| row.from);
            self.counts.fed += 1;
            if course <= since && course > told {
                return Some(Broken::Starving { id: entity.id(), snapshot, told });
            }
        }
        None
    }

    /// Ticks within which everybody must be up to date.
    fn bound(&self, subject: &Subject<'_>, frame: &Frame, allowance: Allowance) -> Option<u64> {
        if self.planted == Some(Planted::Impatient) {
            return Some(self.rate / 8);
        }
        let own = subject.own_at(frame.tick)?;
        let recent = frame.tick.saturating_sub(self.rate);
        let view = subject.client.view();
        let turned = view.entities().filter(|entity| {
            let row = EntityId::from_raw(entity.id()).filter(|id| *id != own).and_then(|id| frame.row(id));
            row.is_some_and(|row| frame.course(row) > recent)
        });
        let spawn = MAX_GAP_BITS + max_spawn_bits(&SCHEMA, PLAYER, true);
        let update = GAP_BITS + allowance.update_bits * 3 / 2;
        // Its own comes first.
        let room = (allowance.room * 8).checked_sub(MAX_HEADER_BITS + update)?;
        let needed = turned.count() * update + allowance.spawned * spawn;
        let crowded = subject.crowded() && needed > room;
        let turn = if crowded { self.aoi.turn_ticks } else { 0 };
        let capacity = room * self.rate as usize * USE / 100;
        (needed <= capacity).then_some(self.rate + turn + ROUND_TRIP)
    }
}
