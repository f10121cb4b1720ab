//! How long a player can sprint.
//!
//! All that counts is in the state (the stamina itself, and the flag that says whether the body sprints), so that the
//! owner's client predicts it. Nobody else is shown it. It moves in coarse steps, twice a second, each player at
//! ticks of its own: a step is a change that the server must send.

use super::schema::{FLAGS, SPRINTING, STAMINA, STAMINA_FULL};
use crate::entity::EntityId;
use netcode::schema::State;

/// Steps a second, about: the period is a whole number of ticks.
pub const BEATS_PER_S: u16 = 2;
/// What a step of sprinting takes: full stamina lasts for about ten seconds.
pub const SPENT: i32 = 3;
/// What a step without sprinting gives back.
pub const REGAINED: i32 = 2;
/// Who does not sprint must have so much to begin; who does may go on down to nothing.
pub const RESUME: i32 = 9;

/// Whether stamina makes a step in this tick.
#[must_use]
pub fn beat(tick: u64, id: EntityId, rate_hz: u16) -> bool {
    let period = u32::from((rate_hz / BEATS_PER_S).max(1));
    let phase = (tick % u64::from(period)) as u32;
    (phase + id.index()).is_multiple_of(period)
}

/// Whether a player in that state may sprint in the next tick.
#[must_use]
pub fn may_sprint(state: &State) -> bool {
    state[STAMINA] >= if state[FLAGS] & SPRINTING == 0 { RESUME } else { 1 }
}

/// The stamina after a step.
#[must_use]
pub fn stepped(stamina: i32, sprints: bool) -> i32 {
    let change = if sprints { -SPENT } else { REGAINED };
    stamina.saturating_add(change).clamp(0, STAMINA_FULL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(stamina: i32, flags: i32) -> State {
        let mut state = State::default();
        (state[STAMINA], state[FLAGS]) = (stamina, flags);
        state
    }

    #[test]
    fn who_is_out_of_breath_walks_until_some_is_back() {
        assert!(may_sprint(&state(1, SPRINTING)));
        assert!(!may_sprint(&state(0, SPRINTING)));
        assert!(!may_sprint(&state(RESUME - 1, 0)));
        assert!(may_sprint(&state(RESUME, 0)));
    }

    #[test]
    fn stamina_stays_between_nothing_and_full() {
        assert_eq!(stepped(1, true), 0);
        assert_eq!(stepped(STAMINA_FULL - 1, false), STAMINA_FULL);
        assert_eq!(stepped(i32::MIN, true), 0);
    }

    #[test]
    fn a_player_has_two_beats_a_second_and_neighbours_have_others() {
        for rate in [10, 20, 30, 60, 128] {
            let id = |index: u32| EntityId::from_raw(index << 12 | 1).unwrap();
            let beats = |index| (0..u64::from(rate) * 10).filter(move |tick| beat(*tick, id(index), rate));
            assert_eq!(beats(7).count(), 20);
            assert_ne!(beats(7).next(), beats(8).next());
        }
    }
}
