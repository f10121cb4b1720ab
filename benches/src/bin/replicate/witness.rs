//! Some of the clients for real: they decode what they get, and compare it with the frame.

use std::collections::BTreeMap;

use netcode::schema::{Audience, State};
use netcode::snapshot::compact::Tables;
use netcode::snapshot::{Limits, MAX_AGE, MAX_SLOTS, View};
use sim::spots::Neighbour;
use sim::{EntityId, Frame, SCHEMA};

use crate::screen::Screen;
use crate::setup::{Error, Setup, Wrong};

/// How many of the nearest are to be told of at once.
pub const NEAREST: usize = 30;

/// One client that decodes.
pub struct Witness {
    client: u16,
    own: EntityId,
    view: View,
    body: Vec<u8>,
    near: Vec<Neighbour>,
    /// By entity: the last tick for which the view shows, or guesses, the server's state.
    right: BTreeMap<u32, u64>,
}

/// What the witnesses saw, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Snapshots that arrived.
    pub snapshots: u64,
    /// Those in which each of the nearest who turned had a record.
    pub near_full: u64,
    /// The nearest who turned, and those of them who had a record.
    pub near_turned: u64,
    pub near_told: u64,
    /// Entities compared with the frame, bit by bit.
    pub compared: u64,
    /// The most ticks between two confirmed states of an entity in view.
    pub worst_wait: u64,
    /// The most ticks for which an entity in view was taken to be in another state than the server's.
    pub worst_wrong: u64,
}

impl Witness {
    /// One that has seen nothing.
    pub fn new(setup: &Setup, client: u16, own: EntityId) -> Self {
        let limits = Limits { max_entities: MAX_SLOTS, keep_ticks: MAX_AGE };
        let view = View::new(&SCHEMA, setup.rate, limits);
        Self { client, own, view, body: Vec::new(), near: Vec::new(), right: BTreeMap::new() }
    }

    /// The client's number.
    pub const fn client(&self) -> u16 {
        self.client
    }

    /// Takes tables that were pushed.
    ///
    /// # Errors
    /// If they are none.
    pub fn take_tables(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.view.add_tables(Tables::read(&SCHEMA, bytes).map_err(Error::Tables)?);
        Ok(())
    }

    /// Takes what was packed for it; [`arrive`](Self::arrive) is next, if it does.
    pub fn keep(&mut self, body: &[u8]) {
        self.body.clear();
        self.body.extend_from_slice(body);
    }

    /// Decodes the snapshot of that frame, and compares all that it confirms.
    ///
    /// # Errors
    /// If anything differs.
    pub fn arrive(&mut self, setup: &Setup, frame: &Frame, seen: &mut Seen) -> Result<(), Error> {
        let (client, tick, seed) = (self.client, frame.tick, setup.seed);
        let compared = match self.view.apply(tick, &self.body) {
            Ok(_) => self.compare(frame, seen),
            Err(refused) => Err(Wrong::Refused(refused)),
        };
        compared.map_err(|what| Error::View { client, tick, seed, what })?;
        seen.snapshots += 1;
        self.look_around(setup, frame, seen);
        Ok(())
    }

    /// A tick passes, whether anything arrived or not.
    pub fn wait(&mut self, frame: &Frame, seen: &mut Seen) {
        let tick = frame.tick;
        self.right.retain(|id, _| self.view.entity(*id).is_some());
        for entity in self.view.entities() {
            let Some(row) = EntityId::from_raw(entity.id()).and_then(|id| frame.row(id)) else { continue };
            let right = self.right.entry(entity.id()).or_insert(tick);
            if entity.state_at(tick).is_some_and(|state| state == shown(frame, row, entity.owner())) {
                *right = tick;
            }
            seen.worst_wrong = seen.worst_wrong.max(tick - *right);
        }
        let oldest = self.view.entities().map(|entity| entity.confirmed()).min();
        // Confirmed in this tick, and in the next at the earliest again.
        let wait = oldest.map_or(0, |oldest| tick.saturating_sub(oldest) + 1);
        seen.worst_wait = seen.worst_wait.max(wait);
    }

    /// Shows that frame as far as it is known.
    pub fn draw(&self, frame: &Frame, screen: &mut Screen) {
        screen.draw(&self.view, frame);
    }

    fn compare(&self, frame: &Frame, seen: &mut Seen) -> Result<(), Wrong> {
        for entity in self.view.entities().filter(|entity| entity.confirmed() == frame.tick) {
            let live = EntityId::from_raw(entity.id()).and_then(|id| Some((id, frame.row(id)?)));
            let (id, row) = live.ok_or(Wrong::Dead(entity.id()))?;
            if entity.owner() != (id == self.own) {
                return Err(Wrong::Owner(id));
            }
            if entity.kind() != frame.kind(row) || entity.state() != shown(frame, row, entity.owner()) {
                return Err(Wrong::State(id));
            }
            seen.compared += 1;
        }
        Ok(())
    }

    /// Whether those of the nearest who turned had a record.
    fn look_around(&mut self, setup: &Setup, frame: &Frame, seen: &mut Seen) {
        let Some(own_row) = frame.row(self.own) else { return };
        let [x, _, z] = frame.position_m(own_row);
        frame.nearest([x, z], f32::from(setup.aoi_radius_m), NEAREST + 1, &mut self.near);
        let others = self.near.iter().map(|near| near.row() as usize).filter(|row| *row != own_row);
        let (mut turned, mut told) = (0, 0);
        for row in others.filter(|row| frame.course(*row) == frame.tick) {
            turned += 1;
            let entity = self.view.entity(frame.id(row).raw());
            let newest = entity.and_then(|entity| entity.rows().next());
            told += u64::from(newest.is_some_and(|newest| newest.from == frame.tick));
        }
        seen.near_turned += turned;
        seen.near_told += told;
        seen.near_full += u64::from(turned == told);
    }
}

/// A state as a client sees it.
fn shown(frame: &Frame, row: usize, owner: bool) -> State {
    let mut state = *frame.state(row);
    let fields = SCHEMA.kind(frame.kind(row)).map_or(&[][..], |kind| kind.fields);
    for (value, field) in state.iter_mut().zip(fields) {
        if field.audience == Audience::Owner && !owner {
            *value = 0;
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Link;
    use crate::setup::Scenario;
    use crate::setup::tests::setup;
    use crate::worker::Worker;
    use crate::zone::Zone;

    /// What the first client is sent of the first frame, to a witness who takes itself for owner of `of`'s entity.
    fn first_snapshot(of: usize, bend: impl FnOnce(&mut Vec<u8>)) -> Result<Seen, Error> {
        let setup = setup(40, Scenario::Crowd);
        let mut zone = Zone::new(&setup)?;
        let owned = zone.some(40);
        let frame = zone.step();
        let mut worker = Worker::new(&setup, frame.clone(), &owned);
        let mut witness = Witness::new(&setup, 0, owned[of]);
        let link = Link::new(&setup, 40);
        worker.send(&link, frame.tick, &mut |_| {}, &mut |client, body| {
            if client == 0 {
                witness.keep(body);
            }
        });
        bend(&mut witness.body);
        let mut seen = Seen::default();
        witness.arrive(&setup, &frame, &mut seen)?;
        Ok(seen)
    }

    #[test]
    fn what_is_right_passes_and_what_is_wrong_is_named() {
        let right = first_snapshot(0, |_| {}).unwrap();
        assert!(right.snapshots == 1 && right.compared == 40, "{right:?}");
        let what = |result: Result<Seen, Error>| match result {
            Err(Error::View { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert!(matches!(what(first_snapshot(1, |_| {})), Wrong::Owner(_)));
        assert!(matches!(what(first_snapshot(0, |body| body.truncate(30))), Wrong::Refused(_)));
        // A bit of a spawned state, at the end of the last record.
        let bent = what(first_snapshot(0, |body| {
            let at = body.len() - 3;
            body[at] ^= 1;
        }));
        assert!(matches!(bent, Wrong::State(_)), "{bent:?}");
    }
}
