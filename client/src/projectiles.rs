//! What the player launched, before the server says so: flown on the predicted timeline, and found again among what the
//! server shows, so that nothing is seen twice.
//!
//! A projectile's name on both sides is (its owner, the tick of the input that launched it, its number among those of that
//! tick). One that the server never shows, refuses or ends is taken away.

use netcode::schema::State;
use sim::EntityId;
use sim::schema::{LAUNCHED, LAUNCHED_TURN, ORDINAL, OWNER};

/// The most that are predicted at a time; more launched at once push out the oldest.
pub(crate) const MAX_PREDICTED: usize = 32;
/// The most ticks that one is flown at once when the server's differs, a bound on the work.
const MAX_FLIGHT: u64 = 128;
/// One that no snapshot of so many milliseconds after its launch has shown is not there.
const CONFIRM_MS: u64 = 300;

/// One tick of a flight: the tick and the state before it; `None` where it ends.
pub(crate) type Fly<'a> = &'a mut dyn FnMut(u64, &State) -> Option<State>;

/// A projectile that the player launched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Predicted {
    /// The tick of the input that launched it.
    pub launched: u64,
    /// Its number among those of the tick.
    pub ordinal: u8,
    /// Its first state.
    first: State,
    /// The two newest, and the tick of the newer.
    pub states: [State; 2],
    tick: u64,
    /// Its last tick.
    until: u64,
    /// It has not met anything yet.
    pub flies: bool,
    /// The server's, once it was shown.
    pub entity: Option<u32>,
}

impl Predicted {
    fn advance(&mut self, head: u64, fly: Fly<'_>) {
        while self.flies && self.tick < head {
            let tick = self.tick + 1;
            let next = if tick < self.until { fly(tick, &self.states[1]) } else { None };
            self.tick = tick;
            self.states = [self.states[1], next.unwrap_or(self.states[1])];
            self.flies = next.is_some();
        }
    }

    /// The state after a tick by flying from the start again; `None` where it had ended by then.
    fn state_at(&self, tick: u64, fly: Fly<'_>) -> Option<State> {
        if tick.checked_sub(self.launched)? > MAX_FLIGHT {
            return None;
        }
        (self.launched + 1..=tick).try_fold(self.first, |state, tick| fly(tick, &state))
    }
}

/// All that are predicted.
#[derive(Debug, Default)]
pub(crate) struct Projectiles {
    all: Vec<Predicted>,
}

impl Projectiles {
    /// A predicted shot launches one; the same shot once more (by a replay) changes its course if it starts otherwise.
    pub fn launch(&mut self, launched: u64, ordinal: u8, first: &State, until: u64) {
        let new = Predicted {
            launched,
            ordinal,
            first: *first,
            states: [*first; 2],
            tick: launched,
            until,
            flies: true,
            entity: None,
        };
        if let Some(old) = self.all.iter_mut().find(|old| (old.launched, old.ordinal) == (launched, ordinal)) {
            if old.first != *first {
                *old = Predicted { entity: old.entity, ..new };
            }
            return;
        }
        if self.all.len() >= MAX_PREDICTED {
            self.all.remove(0);
        }
        self.all.push(new);
    }

    /// What that tick launched was not, or is refused: unless the server has shown it.
    pub fn withdraw(&mut self, launched: u64) {
        self.all.retain(|one| one.launched != launched || one.entity.is_some());
    }

    /// What that tick launched has ended at the server.
    pub fn end(&mut self, launched: u64) {
        self.withdraw(launched);
        for one in self.all.iter_mut().filter(|one| one.launched == launched) {
            one.flies = false;
        }
    }

    /// Flies all up to the newest predicted tick.
    pub fn advance(&mut self, head: u64, fly: Fly<'_>) {
        for one in &mut self.all {
            one.advance(head, fly);
        }
    }

    /// The server shows a projectile: in that state after that tick. If it is one of these, it is known by it from now on,
    /// and goes on from there if it was foreseen otherwise.
    pub fn show(&mut self, own: EntityId, id: u32, tick: u64, state: &State, fly: Fly<'_>) {
        if state[OWNER] != owner(own) {
            return;
        }
        // The first to come by a name has it, so that no server can make a client fly one over and over.
        let is_it = |one: &&mut Predicted| {
            one.entity.is_none()
                && (one.launched % LAUNCHED_TURN) as i32 == state[LAUNCHED]
                && i32::from(one.ordinal) == state[ORDINAL]
                && tick >= one.launched
        };
        let Some(one) = self.all.iter_mut().find(is_it) else { return };
        one.entity = Some(id);
        let head = one.tick.max(tick);
        if one.state_at(tick, fly).is_none_or(|foreseen| foreseen != *state) && head - tick <= MAX_FLIGHT {
            (one.states, one.tick, one.flies) = ([*state; 2], tick, true);
            one.advance(head, fly);
        }
    }

    /// The server shows an entity no more.
    pub fn hide(&mut self, id: u32) {
        self.all.retain(|one| one.entity != Some(id));
    }

    /// A snapshot of that tick has come: what it should have shown by now and did not is not there.
    pub fn confirm(&mut self, tick: u64, rate: u16) {
        let grace = CONFIRM_MS * u64::from(rate) / 1000;
        self.all.retain(|one| one.entity.is_some() || one.launched.saturating_add(grace) >= tick);
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// Those that are predicted, those that have ended here and not yet at the server included.
    pub fn iter(&self) -> impl Iterator<Item = &Predicted> {
        self.all.iter()
    }

    /// The prediction of an entity.
    pub fn of(&self, id: u32) -> Option<&Predicted> {
        self.all.iter().find(|one| one.entity == Some(id))
    }
}

/// A player's id as its projectiles name it.
const fn owner(id: EntityId) -> i32 {
    (id.raw() & ((1 << 28) - 1)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::schema::X;

    const OWN: u32 = 9 << 12 | 1;

    fn own() -> EntityId {
        EntityId::from_raw(OWN).unwrap()
    }

    /// It flies along x, ten a tick, up to a wall at 200.
    fn fly(_: u64, state: &State) -> Option<State> {
        let mut next = *state;
        next[X] += 10;
        (next[X] < 200).then_some(next)
    }

    fn first(launched: u64, x: i32) -> State {
        let mut state = State::default();
        (state[X], state[OWNER], state[LAUNCHED]) = (x, OWN as i32, (launched % LAUNCHED_TURN) as i32);
        state
    }

    fn at(state: &State, x: i32) -> State {
        let mut state = *state;
        state[X] = x;
        state
    }

    fn xs(all: &Projectiles) -> Vec<(i32, bool)> {
        all.iter().map(|one| (one.states[1][X], one.flies)).collect()
    }

    /// One that was launched at tick 5000 and has flown for five ticks.
    fn flown() -> Projectiles {
        let mut all = Projectiles::default();
        all.launch(5000, 0, &first(5000, 0), 5100);
        all.advance(5005, &mut fly);
        all
    }

    #[test]
    fn it_flies_with_the_head_until_it_meets_something() {
        let mut all = flown();
        assert_eq!(xs(&all), [(50, true)]);
        assert_eq!(all.iter().next().unwrap().states[0][X], 40);
        all.advance(5500, &mut fly);
        assert_eq!(xs(&all), [(190, false)]);
        let mut short = Projectiles::default();
        short.launch(5000, 0, &first(5000, 0), 5003);
        short.advance(5010, &mut fly);
        assert_eq!(xs(&short), [(20, false)], "in its last tick it bursts where it is");
    }

    #[test]
    fn the_servers_is_the_same_one_and_is_not_shown_beside_it() {
        let mut all = flown();
        let other = EntityId::from_raw(8 << 12 | 1).unwrap();
        all.show(other, 7, 5002, &at(&first(5000, 0), 20), &mut fly);
        all.show(own(), 7, 5002, &at(&first(5001, 0), 20), &mut fly);
        assert!(all.of(7).is_none());
        all.show(own(), 7, 5002, &at(&first(5000, 0), 20), &mut fly);
        assert_eq!((xs(&all), all.of(7).is_some()), (vec![(50, true)], true));
        all.confirm(6000, 20);
        assert!(all.of(7).is_some());
        all.hide(7);
        assert_eq!(xs(&all), []);
    }

    #[test]
    fn a_course_foreseen_otherwise_goes_on_from_the_servers() {
        let mut all = flown();
        all.show(own(), 7, 5002, &at(&first(5000, 0), 23), &mut fly);
        assert_eq!(xs(&all), [(53, true)]);
        // What ended here too early flies again.
        let mut all = flown();
        all.advance(5100, &mut fly);
        all.show(own(), 7, 5098, &at(&first(5000, 0), 100), &mut fly);
        all.advance(5099, &mut fly);
        assert_eq!(xs(&all), [(110, true)]);
    }

    #[test]
    fn what_the_server_does_not_show_refuses_or_ends_goes() {
        let mut all = flown();
        all.confirm(5006, 20);
        assert_eq!(xs(&all).len(), 1);
        all.confirm(5007, 20);
        assert_eq!(xs(&all).len(), 0);
        let mut all = flown();
        all.withdraw(5001);
        assert_eq!(xs(&all).len(), 1);
        all.withdraw(5000);
        assert_eq!(xs(&all).len(), 0);
        let mut all = flown();
        all.show(own(), 7, 5002, &at(&first(5000, 0), 20), &mut fly);
        all.end(5000);
        assert_eq!((xs(&all), all.of(7).is_some()), (vec![(50, false)], true), "hidden until the snapshots drop it");
    }

    #[test]
    fn a_replay_of_the_same_shot_does_not_launch_another() {
        let mut all = flown();
        all.launch(5000, 0, &first(5000, 0), 5100);
        assert_eq!(xs(&all), [(50, true)]);
        all.launch(5000, 0, &first(5000, 3), 5100);
        all.advance(5005, &mut fly);
        assert_eq!(xs(&all), [(53, true)]);
    }

    #[test]
    fn there_is_a_limit() {
        let mut all = Projectiles::default();
        for tick in 0..100 {
            all.launch(tick, 0, &first(tick, 0), tick + 50);
        }
        assert_eq!(all.iter().count(), MAX_PREDICTED);
        assert_eq!(all.iter().last().unwrap().launched, 99);
    }
}
