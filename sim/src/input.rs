//! What a player wants in one tick. Only intents come from clients; the simulation decides the rest.

use crate::schema::{SCHEMA, YAW_TURN};
use netcode::schema::State;

/// Button: move at sprint speed.
pub const SPRINT: u8 = 1;
/// Button: jump when grounded (held: jump again at each landing).
pub const JUMP: u8 = 2;

/// One tick's intent. Any value is safe: what lies out of range is brought into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Share of full speed along x in fifteenths, -16..=15 (the world's axes, not the view's).
    pub move_x: i8,
    /// Share of full speed along z in fifteenths, -16..=15.
    pub move_z: i8,
    /// View direction in 1/4096 turn, 0..=4095.
    pub yaw: u16,
    /// [`SPRINT`], [`JUMP`]; other bits of the four mean nothing yet.
    pub buttons: u8,
}

impl Input {
    /// The integers in the order of `SCHEMA.input`, all in range.
    #[must_use]
    pub fn to_state(self) -> State {
        let mut state = State::default();
        let values =
            [i64::from(self.move_x), i64::from(self.move_z), i64::from(self.yaw), i64::from(self.buttons & 15)];
        for ((slot, field), value) in state.iter_mut().zip(SCHEMA.input).zip(values) {
            *slot = field.fit(value);
        }
        state
    }

    /// The input with these integers, each brought into the range of its field.
    #[must_use]
    pub fn from_state(state: &State) -> Self {
        let [move_x, move_z, yaw, buttons, ..] = *state;
        Self {
            move_x: move_x.clamp(-16, 15) as i8,
            move_z: move_z.clamp(-16, 15) as i8,
            yaw: yaw.rem_euclid(YAW_TURN) as u16,
            buttons: (buttons & 15) as u8,
        }
    }

    /// The same input with every field in range.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self::from_state(&self.to_state())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcode::schema::MAX_FIELDS;

    #[test]
    fn every_input_in_range_survives_the_round_trip() {
        for (move_x, move_z, yaw, buttons) in [(-16, 15, 0, 0), (0, -1, 4095, 3), (15, -16, 2048, 15)] {
            let input = Input { move_x, move_z, yaw, buttons };
            assert_eq!(Input::from_state(&input.to_state()), input);
        }
    }

    #[test]
    fn extremes_are_brought_into_range() {
        let wild = Input { move_x: i8::MIN, move_z: i8::MAX, yaw: u16::MAX, buttons: u8::MAX };
        assert_eq!(wild.clamped(), Input { move_x: -16, move_z: 15, yaw: 4095, buttons: 15 });
        assert_eq!(Input::from_state(&[i32::MIN; MAX_FIELDS]), Input { move_x: -16, move_z: -16, yaw: 0, buttons: 0 });
    }
}
