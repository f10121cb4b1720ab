//! What must hold after each snapshot.

mod area;
mod held;
mod rules;
mod starving;

use client::Client;
use netcode::packet::ConnId;
use netcode::schema::State;
use netcode::snapshot::Entity;
use server::replication::{Aoi, Replica};
use sim::schema::X;
use sim::{EntityId, Frame, SCHEMA};

use super::bonds::Bonds;
use super::history::History;
use super::options::{Drawn, Planted};
use super::report::Broken;

pub(super) use area::{UNKNOWN_CALM_S, UNKNOWN_FAULTY_S};
pub(super) use rules::Rules;
pub(super) use starving::Allowance;

/// A snapshot that the budget cut may lack what it should say for so long, in seconds.
const CUT_S: u64 = 2;
/// A shard that misses frames may miss so many in a row, and again.
const MISSED: u64 = 150;

/// A client, and the truth about it.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub client: &'a Client,
    pub conn: ConnId,
    pub history: &'a History,
    pub bonds: &'a Bonds,
    /// What its shard believes of it.
    pub replica: Option<&'a Replica>,
    /// The newest tick in which it had no slot for anybody else, or hardly any.
    pub full_at: Option<u64>,
    /// It leaves nearly all packets unread, or did so until moments ago: what it is told of once in a while it hears late.
    pub deaf: bool,
}

impl Subject<'_> {
    /// What it owned at a tick.
    fn own_at(&self, tick: u64) -> Option<EntityId> {
        self.bonds.own_at(self.conn, tick)
    }

    /// The squared distance at a tick from what it owned then to another, in metres.
    fn distance2(&self, tick: u64, other: EntityId) -> Option<f32> {
        self.history.distance2(tick, self.own_at(tick)?, other)
    }

    /// Whether another was that near at some tick of the `span` ticks up to `tick`.
    fn was_near(&self, (tick, span): (u64, u64), other: EntityId, radius_m: f32) -> bool {
        let near = |tick| self.distance2(tick, other).is_some_and(|d2| d2 <= radius_m * radius_m);
        (tick.saturating_sub(span)..=tick).rev().any(near)
    }

    /// Whether so many entities have a slot that there may be none for another.
    pub(super) fn is_full(&self, max_known: usize) -> bool {
        self.replica.map_or(0, Replica::known).max(self.client.view().len()) + 2 >= max_known
    }

    pub(super) fn crowded(&self) -> bool {
        self.replica.is_some_and(Replica::crowded)
    }
}

/// Compares views with the truth.
pub(super) struct Checker {
    aoi: Aoi,
    /// Of the area, at full pace, and how many times as many it has been at most.
    refresh_ticks: u64,
    slow: u64,
    rate: u64,
    /// Ticks in a row that a shard may miss.
    missed: u64,
    planted: Option<Planted>,
    rows: Vec<u32>,
    pub counts: Counts,
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub snapshots: u64,
    pub complete: u64,
    pub states: u64,
    pub unchecked: u64,
    /// Snapshots of clients in a crowd.
    pub crowded: u64,
    /// Entities that their clients have as the server believes.
    pub held: u64,
    /// Entities that were looked at for whether they starve, and snapshots in which some must.
    pub fed: u64,
    pub unfeedable: u64,
    /// Entities in view only because of a tie.
    pub tied: u64,
}

impl Checker {
    pub(super) fn new(mut aoi: Aoi, drawn: &Drawn, planted: Option<Planted>) -> Self {
        let factor = match planted {
            Some(Planted::AreaTooSmall) => 2.0 / 3.0,
            Some(Planted::AreaTooLarge) => 4.0 / 3.0,
            _ => 1.0,
        };
        aoi.enter_m *= factor;
        aoi.leave_m *= factor;
        let rate = u64::from(drawn.rate);
        Self {
            refresh_ticks: aoi.refresh_ticks,
            slow: 1,
            aoi,
            rate,
            missed: if drawn.tight.misses > 0.0 { MISSED } else { 0 },
            planted,
            rows: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// From now on the area may be looked at only every so many times as many ticks; it stays so when time is no longer
    /// short, since what was seen late then is in the history yet.
    pub(super) fn looks_seldom(&mut self, divisor: u8) {
        self.slow = self.slow.max(u64::from(divisor));
        self.aoi.refresh_ticks = self.refresh_ticks * self.slow;
    }

    /// A client has just applied a snapshot, in which these entities came into view.
    pub(super) fn check(&mut self, subject: &Subject<'_>, spawned: &[u32], broken: &mut Vec<Broken>) {
        let view = subject.client.view();
        let Some(tick) = view.tick() else { return };
        let Some(frame) = subject.history.at(tick) else {
            self.counts.unchecked += 1;
            return;
        };
        self.counts.snapshots += 1;
        self.counts.complete += u64::from(view.complete());
        self.counts.crowded += u64::from(subject.crowded());
        for entity in view.entities() {
            self.check_state(subject, frame, &entity, broken);
        }
        self.check_held(subject, frame, broken);
        if subject.own_at(tick).is_none() {
            return;
        }
        for entity in view.entities() {
            self.check_area(subject, frame, &entity, broken);
        }
        self.check_spawned(subject, frame, spawned, broken);
        if view.complete() && self.counts.snapshots.is_multiple_of(8) {
            broken.extend(self.unknown(subject, UNKNOWN_FAULTY_S));
        }
    }

    /// What is confirmed for this tick is exactly so in the frame; what is not, is at least not long gone.
    fn check_state(&mut self, subject: &Subject<'_>, frame: &Frame, entity: &Entity<'_>, broken: &mut Vec<Broken>) {
        let (id, snapshot, view) = (entity.id(), frame.tick, subject.client.view());
        let known = EntityId::from_raw(id);
        let row = known.and_then(|known| frame.row(known));
        let Some(row) = row else {
            let confirmed = entity.confirmed() == snapshot || view.complete();
            let span = CUT_S * self.rate + self.missed;
            let recent = known.is_some_and(|known| {
                (snapshot.saturating_sub(span)..snapshot)
                    .any(|tick| subject.history.at(tick).is_some_and(|frame| frame.row(known).is_some()))
            });
            if confirmed || !recent && !subject.deaf {
                broken.push(Broken::LeftOver { id, snapshot });
            }
            return;
        };
        if entity.confirmed() != snapshot {
            return;
        }
        self.counts.states += 1;
        // What is the owner's alone is nobody else's.
        let own = subject.own_at(snapshot);
        if own.is_some_and(|own| entity.owner() != (own.raw() == id)) {
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
}

/// The state as the receiver of that record may see it.
fn visible(entity: &Entity<'_>, state: &State) -> State {
    SCHEMA.kind(entity.kind()).map_or(*state, |kind| kind.visible(entity.owner(), state))
}
