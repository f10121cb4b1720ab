//! What must hold after each snapshot.

use client::Client;
use netcode::schema::State;
use netcode::snapshot::{Entity, View};
use server::replication::Aoi;
use sim::schema::X;
use sim::{EntityId, Frame, SCHEMA};

use super::history::History;
use super::options::Planted;
use super::report::Broken;

/// An entity may first be heard of that long after it was within the radius, in seconds: datagrams are late.
const SPAWN_LATE_S: u64 = 15;
/// A snapshot that the budget cut may lack what it should say for so long, in seconds.
const CUT_S: u64 = 2;
/// An entity may be near and unknown for so long while there are faults, in seconds: its slot is taken until an old
/// despawn is acknowledged, and a client that gets no acknowledgement through for longer is disconnected.
pub(super) const UNKNOWN_FAULTY_S: u64 = 10;
/// The same without faults.
pub(super) const UNKNOWN_CALM_S: u64 = 2;

/// Compares views with the truth.
pub(super) struct Checker {
    aoi: Aoi,
    rate: u64,
    max_known: usize,
    planted: Option<Planted>,
    rows: Vec<u32>,
    pub snapshots: u64,
    pub complete: u64,
    pub states: u64,
    pub unchecked: u64,
}

impl Checker {
    pub(super) fn new(mut aoi: Aoi, rate: u16, max_known: usize, planted: Option<Planted>) -> Self {
        let factor = match planted {
            Some(Planted::AreaTooSmall) => 2.0 / 3.0,
            Some(Planted::AreaTooLarge) => 4.0 / 3.0,
            _ => 1.0,
        };
        aoi.enter_m *= factor;
        aoi.leave_m *= factor;
        Self {
            aoi,
            rate: rate.into(),
            max_known,
            planted,
            rows: Vec::new(),
            snapshots: 0,
            complete: 0,
            states: 0,
            unchecked: 0,
        }
    }

    /// A client has just applied a snapshot, in which these entities came into view.
    pub(super) fn check(&mut self, history: &History, client: &Client, spawned: &[u32], broken: &mut Vec<Broken>) {
        let view = client.view();
        let Some(tick) = view.tick() else { return };
        let Some(frame) = history.at(tick) else {
            self.unchecked += 1;
            return;
        };
        self.snapshots += 1;
        self.complete += u64::from(view.complete());
        for entity in view.entities() {
            self.check_state((history, frame), view, client.own(), &entity, broken);
        }
        let Some(own) = client.own() else { return };
        for entity in view.entities() {
            self.check_area(history, frame, own, view, &entity, broken);
        }
        for id in spawned.iter().copied().filter(|id| *id != own.raw()) {
            let enter2 = square(self.aoi.enter_m);
            let near = EntityId::from_raw(id)
                .is_some_and(|other| history.any((tick, SPAWN_LATE_S * self.rate), own, other, |d2| d2 <= enter2));
            if !near {
                broken.push(Broken::OutsideArea { id, snapshot: tick });
            }
        }
        if view.complete() && self.snapshots.is_multiple_of(8) {
            broken.extend(self.unknown(history, client, UNKNOWN_FAULTY_S));
        }
    }

    /// What is confirmed for this tick is exactly so in the frame; what is not, is at least not long gone.
    fn check_state(
        &mut self,
        (history, frame): (&History, &Frame),
        view: &View,
        own: Option<EntityId>,
        entity: &Entity<'_>,
        broken: &mut Vec<Broken>,
    ) {
        let (id, snapshot) = (entity.id(), frame.tick);
        let known = EntityId::from_raw(id);
        let row = known.and_then(|known| frame.row(known));
        let Some(row) = row else {
            let confirmed = entity.confirmed() == snapshot || view.complete();
            let recent = known.is_some_and(|known| {
                (snapshot.saturating_sub(CUT_S * self.rate)..snapshot)
                    .any(|tick| history.at(tick).is_some_and(|frame| frame.row(known).is_some()))
            });
            if confirmed || !recent {
                broken.push(Broken::LeftOver { id, snapshot });
            }
            return;
        };
        if entity.confirmed() != snapshot {
            return;
        }
        self.states += 1;
        let mine = own.is_some_and(|own| own.raw() == id);
        // What is the owner's alone is nobody else's; the client may have learnt who it is only after the snapshot.
        if own.is_some() && entity.owner() != mine {
            broken.push(Broken::NotTheOwner { id, snapshot });
        }
        let truth = self.truth(snapshot, &visible(entity, frame.state(row)));
        if entity.kind() != frame.kind(row) || entity.state() != truth {
            broken.push(Broken::ViewDiffers { id, snapshot });
        }
    }

    fn truth(&self, tick: u64, state: &State) -> State {
        let mut truth = *state;
        if self.planted == Some(Planted::TruthAltered) && tick.is_multiple_of(50) {
            truth[X] += 1;
        }
        truth
    }

    /// Whoever is known is near, or was until a moment ago.
    fn check_area(
        &self,
        history: &History,
        frame: &Frame,
        own: EntityId,
        view: &View,
        entity: &Entity<'_>,
        broken: &mut Vec<Broken>,
    ) {
        let (id, snapshot) = (entity.id(), frame.tick);
        let Some(other) = EntityId::from_raw(id).filter(|other| *other != own) else { return };
        let leave2 = square(self.aoi.leave_m);
        if history.distance2(snapshot, own, other).is_none_or(|d2| d2 <= leave2) {
            return;
        }
        let cut = if view.complete() { 0 } else { CUT_S * self.rate };
        // The last look at the area may have been just before it left, and the one that forgets it is the first after
        // the grace.
        let span = self.aoi.grace_ticks + 2 * self.aoi.refresh_ticks + cut;
        if !history.any((snapshot, span), own, other, |d2| d2 <= leave2) {
            broken.push(Broken::OutsideArea { id, snapshot });
        }
    }

    /// An entity that has been within the radius for that many seconds and is not in the view of the newest snapshot.
    pub(super) fn unknown(&mut self, history: &History, client: &Client, seconds: u64) -> Option<Broken> {
        let (view, own) = (client.view(), client.own()?);
        let snapshot = view.tick()?;
        let frame = history.at(snapshot)?;
        if view.len() + 2 >= self.max_known {
            // Perhaps there was no slot for it.
            return None;
        }
        let [x, _, z] = frame.position_m(frame.row(own)?);
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        frame.query([x, z], self.aoi.enter_m, &mut rows);
        let enter2 = square(self.aoi.enter_m);
        let long_near = |other: EntityId| {
            let first = snapshot.checked_sub(seconds * self.rate);
            first.is_some_and(|first| {
                (first..=snapshot).rev().all(|tick| history.distance2(tick, own, other).is_some_and(|d2| d2 <= enter2))
            })
        };
        let unknown = rows
            .iter()
            .map(|row| frame.id(*row as usize))
            .find(|other| view.entity(other.raw()).is_none() && long_near(*other));
        self.rows = rows;
        unknown.map(|other| Broken::Unknown { id: other.raw(), snapshot })
    }
}

/// The state as the receiver of that record may see it.
fn visible(entity: &Entity<'_>, state: &State) -> State {
    SCHEMA.kind(entity.kind()).map_or(*state, |kind| kind.visible(entity.owner(), state))
}

fn square(value: f32) -> f32 {
    value * value
}
