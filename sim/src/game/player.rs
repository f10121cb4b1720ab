//! A player's tick: what its own input makes of its own state. Server and client both call [`act`], and as long as
//! nobody else has a hand in it both get the same bits.

use super::event::{Refusal, Refusals};
use super::ground::Ground;
use super::hands::{Shot, handle};
use super::input::Input;
use super::rulebook::{Rulebook, Slot};
use super::schema::{
    AMMO_A, AMMO_B, ARMOUR, DEAD, FLAGS, GROUNDED, HEALTH, HEALTH_FULL, LEVEL, PITCH, RESERVE, SHIELDED, STAMINA,
    STAMINA_FULL, WEAPON_SHIFT, X, YAW, Z,
};
use super::stamina;
use crate::entity::EntityId;
use crate::movement::{Intent, advance};
use crate::space::Solid;
use netcode::schema::State;

/// The columns of a player that others (and what lies around) change.
pub const FOREIGN: &[usize] = &[HEALTH, ARMOUR, LEVEL, AMMO_A, AMMO_B];
/// The flags that others and time change.
pub const FOREIGN_FLAGS: i32 = DEAD | SHIELDED;

/// What a tick makes of a player without any foreign influence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acted {
    /// The state after the tick.
    pub state: State,
    /// The shot that is made in it.
    pub shot: Option<Shot>,
    /// Why something that was wanted is not done; the first cause.
    pub refused: Option<Refusal>,
}

/// What a player remembers unseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// All it has learned.
    pub xp: u32,
    /// While it is dead, the tick in which it comes back; while nothing hurts it, the one in which that ends.
    pub until: u64,
    /// What it was refused.
    pub refusals: Refusals,
}

impl Person {
    pub(super) fn fold(&self, word: &mut impl FnMut(u64)) {
        word(u64::from(self.xp));
        word(self.until);
        self.refusals.0.iter().for_each(|count| word(u64::from(*count)));
    }
}

/// One player's tick: hands and movement. `scratch` is for the boxes around.
#[must_use]
pub fn act(ground: &Ground, tick: u64, id: EntityId, state: &State, input: &Input, scratch: &mut Vec<Solid>) -> Acted {
    let input = input.clamped();
    let mut begun = *state;
    let handled = handle(ground, tick, &mut begun, &input);
    let dead = state[FLAGS] & DEAD != 0;
    let intent = if dead { Intent::idle(state[YAW]) } else { Intent::from_input(input, state) };
    let intent = Intent { beat: stamina::beat(tick, id, ground.rate_hz), ..intent };
    let mut state = advance(&begun, &intent, &ground.statics, &ground.rules, tick, scratch);
    if !dead {
        state[PITCH] = shown_pitch(input.pitch);
    }
    Acted { state, shot: handled.shot, refused: handled.refused }
}

/// Whether `actual` differs from the `predicted` state only where others change it. Death and return change everything.
#[must_use]
pub fn is_foreign(predicted: &State, actual: &State) -> bool {
    if (predicted[FLAGS] ^ actual[FLAGS]) & DEAD != 0 {
        return true;
    }
    let columns = predicted.iter().zip(actual).enumerate();
    columns.into_iter().all(|(column, (predicted, actual))| match column {
        FLAGS => (predicted ^ actual) & !FOREIGN_FLAGS == 0,
        _ => predicted == actual || FOREIGN.contains(&column),
    })
}

/// A player that appears on the ground at x and z (1/256 m): level 1, full magazines, and nothing hurts it.
#[must_use]
pub fn fresh(book: &Rulebook, [x, z]: [i32; 2]) -> State {
    let mut state = State::default();
    (state[X], state[Z], state[STAMINA]) = (x, z, STAMINA_FULL);
    (state[HEALTH], state[LEVEL]) = (HEALTH_FULL, 1);
    let weapon = i32::from(book.weapon_number(&book.player.weapon).unwrap_or(0));
    state[FLAGS] = GROUNDED | SHIELDED | weapon << WEAPON_SHIFT;
    for slot in [Slot::A, Slot::B] {
        let ammo = book.ammo(slot);
        state[slot.column()] = ammo.magazine + RESERVE * ammo.start;
    }
    state
}

/// A direction of an input (1/65536 turn) as others are shown it (1/128 turn).
#[must_use]
pub const fn shown_pitch(pitch: i16) -> i32 {
    (pitch as i32 + 256) >> 9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::schema::{PLAYER, READY, in_range};

    #[test]
    fn who_appears_is_whole_and_in_range() {
        let state = fresh(&Rulebook::standard(), [300, -700]);
        assert!(in_range(PLAYER, &state));
        assert_eq!((state[HEALTH], state[ARMOUR], state[READY]), (HEALTH_FULL, 0, 0));
    }

    #[test]
    fn wounds_are_foreign_and_steps_are_not() {
        let book = Rulebook::standard();
        let predicted = fresh(&book, [0; 2]);
        let mut actual = predicted;
        (actual[HEALTH], actual[AMMO_B]) = (3, 0);
        actual[FLAGS] &= !SHIELDED;
        assert!(is_foreign(&predicted, &actual));
        actual[X] = 1;
        assert!(!is_foreign(&predicted, &actual));
        actual[FLAGS] |= DEAD;
        assert!(is_foreign(&predicted, &actual) && is_foreign(&actual, &predicted));
    }

    #[test]
    fn the_steepest_looks_fit_their_field() {
        assert_eq!([1 << 14, 0, -(1 << 14), 255, 256].map(shown_pitch), [32, 0, -32, 0, 1]);
    }
}
