//! What a player wants in one tick. Only intents come from clients; the simulation decides the rest.

use super::schema::SCHEMA;
use netcode::schema::State;

/// Button: move at sprint speed.
pub const SPRINT: u8 = 1;
/// Button: jump when grounded (held: jump again at each landing).
pub const JUMP: u8 = 2;
/// Button: fire the weapon in this very tick. Whoever is honest asks its own prediction first whether it can.
pub const FIRE: u8 = 4;
/// Button: reload the weapon.
pub const RELOAD: u8 = 8;

/// [`Input::view`] counts in these parts of a tick.
pub const VIEW_PARTS: u16 = 32;
/// [`Input::instant`] counts in these parts of a tick.
pub const INSTANT_PARTS: u8 = 16;
/// Straight up, as a pitch (1/65536 turn).
pub const PITCH_UP: i16 = 1 << 14;

/// One tick's intent. Any value is safe: what lies out of range is brought into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Share of full speed along x in fifteenths, -16..=15 (the world's axes, not the view's).
    pub move_x: i8,
    /// Share of full speed along z in fifteenths, -16..=15.
    pub move_z: i8,
    /// View direction around y in 1/65536 turn: 0 looks along +z, a quarter along +x.
    pub yaw: u16,
    /// View direction up in 1/65536 turn, at most [`PITCH_UP`] either way.
    pub pitch: i16,
    /// [`SPRINT`], [`JUMP`], [`FIRE`], [`RELOAD`]; other bits mean nothing yet.
    pub buttons: u8,
    /// The weapon to take in hand: 0 to keep the one there is, else one more than its number in the rulebook.
    pub weapon: u8,
    /// How far behind the tick of this input the player saw the others, in 1/32 tick, at most 2047. It is looked at
    /// with [`FIRE`] only.
    pub view: u16,
    /// When between two ticks the trigger was pulled: the eye was `(instant + 1) / 16` of the way from where the body was
    /// two ticks before this one to where it was one tick before it. 0..=15; looked at with [`FIRE`] only.
    pub instant: u8,
    /// The loot to pick up, the raw bits of its id; 0 for none.
    pub target: u32,
}

impl Input {
    /// The integers in the order of `SCHEMA.input`, all in range.
    #[must_use]
    pub fn to_state(self) -> State {
        let mut state = State::default();
        let values = [
            i64::from(self.move_x),
            i64::from(self.move_z),
            i64::from(self.yaw),
            i64::from(self.pitch.clamp(-PITCH_UP, PITCH_UP)),
            i64::from(self.buttons),
            i64::from(self.weapon),
            i64::from(self.view),
            i64::from(self.instant),
            i64::from(self.target),
        ];
        for ((slot, field), value) in state.iter_mut().zip(SCHEMA.input).zip(values) {
            *slot = field.fit(value);
        }
        state
    }

    /// The input with these integers, each brought into the range of its field.
    #[must_use]
    pub fn from_state(state: &State) -> Self {
        let mut fitted = State::default();
        for ((fitted, field), value) in fitted.iter_mut().zip(SCHEMA.input).zip(state) {
            *fitted = field.fit(i64::from(*value));
        }
        let [move_x, move_z, yaw, pitch, buttons, weapon, view, instant, target, ..] = fitted;
        // All of them fit now.
        Self {
            move_x: move_x as i8,
            move_z: move_z as i8,
            yaw: yaw as u16,
            pitch: (pitch as i16).clamp(-PITCH_UP, PITCH_UP),
            buttons: buttons as u8,
            weapon: weapon as u8,
            view: view as u16,
            instant: instant as u8,
            target: target as u32,
        }
    }

    /// The same input with every field in range.
    #[must_use]
    pub fn clamped(self) -> Self {
        // As from_state(to_state()), at a tenth of the price.
        Self {
            move_x: self.move_x.clamp(-16, 15),
            move_z: self.move_z.clamp(-16, 15),
            pitch: self.pitch.clamp(-PITCH_UP, PITCH_UP),
            weapon: self.weapon.min(15),
            view: self.view.min(2047),
            instant: self.instant.min(15),
            target: self.target.min((1 << 28) - 1),
            ..self
        }
    }

    /// What goes on of an input when the next one is late: how it moves and where it looks. Nothing is done twice.
    #[must_use]
    pub fn repeated(self) -> Self {
        let buttons = self.buttons & (SPRINT | JUMP);
        Self { buttons, weapon: 0, view: 0, instant: 0, target: 0, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_in_range_survives_the_round_trip() {
        let plain = Input { move_x: -16, move_z: 15, ..Input::default() };
        let aimed = Input { yaw: 65535, pitch: -PITCH_UP, buttons: 255, weapon: 8, view: 2047, instant: 15, ..plain };
        for input in [plain, aimed, Input { target: (1 << 28) - 1, pitch: 77, ..aimed }] {
            assert_eq!(Input::from_state(&input.to_state()), input);
        }
    }

    #[test]
    fn extremes_are_brought_into_range() {
        let wild = Input { move_x: i8::MIN, move_z: i8::MAX, pitch: i16::MIN, view: u16::MAX, ..Input::default() };
        let tame = Input { move_x: -16, move_z: 15, pitch: -PITCH_UP, view: 2047, ..Input::default() };
        assert_eq!(wild.clamped(), tame);
        let least = Input { move_x: -16, move_z: -16, pitch: -PITCH_UP, ..Input::default() };
        assert_eq!(Input::from_state(&[i32::MIN; 16]), least);
    }

    #[test]
    fn clamping_is_what_a_round_trip_does() {
        for n in 0..10_000u64 {
            let [a, b] = [crate::rng::mix(n), crate::rng::mix(n << 32 | 7)];
            let input = Input {
                move_x: a as i8,
                move_z: (a >> 8) as i8,
                yaw: (a >> 16) as u16,
                pitch: (a >> 32) as i16,
                buttons: (a >> 48) as u8,
                weapon: (a >> 56) as u8 >> (n % 5),
                view: b as u16 >> (n % 7),
                instant: (b >> 16) as u8 >> (n % 6),
                target: (b >> 32) as u32 >> (n % 6),
            };
            assert_eq!(input.clamped(), Input::from_state(&input.to_state()));
        }
    }

    #[test]
    fn a_repeated_input_moves_and_looks_but_does_nothing_again() {
        let input =
            Input { move_x: 3, yaw: 9, buttons: 255, weapon: 2, view: 9, instant: 3, target: 4, ..Input::default() };
        assert_eq!(input.repeated(), Input { move_x: 3, yaw: 9, buttons: SPRINT | JUMP, ..Input::default() });
    }
}
