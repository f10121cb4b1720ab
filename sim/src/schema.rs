//! The one table of what is replicated, and the numbers of its fields.
//!
//! The authoritative state of an entity *is* its row of integers in this table's order ([`State`]);
//! floats exist only inside a step and are recomputed from the integers at its start. Positions are
//! in 1/256 m, velocities in 1/64 m/s, yaw in 1/4096 turn. The y axis points up.
//!
//! The predictors are the laws of motion: a body that walks straight on, stands or flies through the air moves exactly
//! as [`netcode::schema::extrapolate`] says ([`crate::course`]).

use crate::movement::{GRAVITY_MPS2, MAX_FALL_SPEED_MPS};
use netcode::schema::{Audience, Field, Kind, Predictor, Schema, State};

/// Kind number of a player.
pub const PLAYER: u8 = 0;
/// Kind number of a non-player character.
pub const NPC: u8 = 1;

/// Position quanta in a metre.
pub const QUANTA_PER_M: i32 = 256;
/// Velocity quanta in a metre a second.
pub const VELOCITY_QUANTA: i32 = 64;
/// Position quanta a second that one velocity quantum makes.
pub const QUANTA_PER_VELOCITY: i32 = QUANTA_PER_M / VELOCITY_QUANTA;
/// Yaw quanta in a turn.
pub const YAW_TURN: i32 = 4096;

/// Column of x (1/256 m, east).
pub const X: usize = 0;
/// Column of y (1/256 m, up; where the feet are).
pub const Y: usize = 1;
/// Column of z (1/256 m, south).
pub const Z: usize = 2;
/// Column of the velocity along x (1/64 m/s).
pub const VX: usize = 3;
/// Column of the velocity along y (1/64 m/s).
pub const VY: usize = 4;
/// Column of the velocity along z (1/64 m/s).
pub const VZ: usize = 5;
/// Column of the view direction around y (1/4096 turn, 0 looks along +z, a quarter along +x).
pub const YAW: usize = 6;
/// Column of the flags: [`GROUNDED`], [`SPRINTING`].
pub const FLAGS: usize = 7;
/// Column of an NPC's archetype.
pub const ARCHETYPE: usize = 8;
/// Column of a player's stamina, 0..=[`STAMINA_FULL`]; see [`crate::stamina`].
pub const STAMINA: usize = 8;

/// Flag: the body stands on something.
pub const GROUNDED: i32 = 1;
/// Flag: the body sprints.
pub const SPRINTING: i32 = 2;

/// The stamina of a player who has rested.
pub const STAMINA_FULL: i32 = 63;

/// A position along x or z: 21 bits, ±4096 m.
const PLANE: Field = Field {
    name: "x",
    bits: 21,
    signed: true,
    wraps: false,
    scale: QUANTA_PER_M as u32,
    unit: "m",
    predictor: Predictor::Linear { velocity: VX as u8, numerator: QUANTA_PER_VELOCITY },
    group: 0,
    audience: Audience::Everyone,
    order: 0,
};

/// A velocity: 12 bits, ±32 m/s.
const SPEED: Field = Field {
    name: "vx",
    bits: 12,
    signed: true,
    wraps: false,
    scale: VELOCITY_QUANTA as u32,
    unit: "m/s",
    predictor: Predictor::Hold,
    group: 0,
    audience: Audience::Everyone,
    order: 8,
};

const HEIGHT: Field = Field {
    name: "y",
    bits: 18,
    predictor: Predictor::Linear { velocity: VY as u8, numerator: QUANTA_PER_VELOCITY },
    group: 1,
    ..PLANE
};

const TURN: Field = Field {
    name: "yaw",
    bits: 12,
    signed: false,
    wraps: true,
    scale: YAW_TURN as u32,
    unit: "turn",
    predictor: Predictor::Hold,
    group: 2,
    audience: Audience::Everyone,
    order: 9,
};

const MARKS: Field = Field {
    name: "flags",
    bits: 4,
    signed: false,
    wraps: false,
    scale: 1,
    unit: "bits",
    predictor: Predictor::Hold,
    group: 3,
    audience: Audience::Everyone,
    order: 0,
};

/// The velocity upwards: what is not on the ground falls.
const RISE: Field = Field {
    name: "vy",
    predictor: Predictor::Fall {
        gravity: GRAVITY_MPS2 as i32 * VELOCITY_QUANTA,
        terminal: MAX_FALL_SPEED_MPS as i32 * VELOCITY_QUANTA,
        flags: FLAGS as u8,
        supported: GROUNDED,
    },
    group: 1,
    order: 10,
    ..SPEED
};

const BODY: [Field; 8] = [
    PLANE,
    HEIGHT,
    Field { name: "z", predictor: Predictor::Linear { velocity: VZ as u8, numerator: QUANTA_PER_VELOCITY }, ..PLANE },
    SPEED,
    RISE,
    Field { name: "vz", ..SPEED },
    TURN,
    MARKS,
];

/// What only its owner learns of a player.
const BREATH: Field = Field {
    name: "stamina",
    bits: 6,
    signed: false,
    wraps: false,
    scale: STAMINA_FULL as u32,
    unit: "full",
    predictor: Predictor::Hold,
    group: 4,
    audience: Audience::Owner,
    order: 0,
};

/// A body and one field more.
const fn body_with(last: Field) -> [Field; 9] {
    let [x, y, z, vx, vy, vz, yaw, flags] = BODY;
    [x, y, z, vx, vy, vz, yaw, flags, last]
}

const PERSON: [Field; 9] = body_with(BREATH);
const BEING: [Field; 9] = body_with(Field { name: "archetype", bits: 8, unit: "number", group: 4, ..MARKS });

/// A share of full speed along x or z: -16..=15, in fifteenths.
const MOVE: Field = Field { name: "move_x", bits: 5, signed: true, scale: 15, unit: "full speed", group: 0, ..MARKS };

/// All that a zone replicates, and the fields of an input.
pub const SCHEMA: Schema = Schema {
    kinds: &[Kind { name: "player", fields: &PERSON }, Kind { name: "npc", fields: &BEING }],
    input: &[
        MOVE,
        Field { name: "move_z", ..MOVE },
        Field { group: 1, ..TURN },
        Field { name: "buttons", group: 2, ..MARKS },
    ],
};

const _: () = assert!(SCHEMA.is_valid());
const _: () = assert!(SCHEMA.kinds[PLAYER as usize].fields.len() == STAMINA + 1);
const _: () = assert!(SCHEMA.kinds[NPC as usize].fields.len() == ARCHETYPE + 1);

/// Whether every field lies in the range of its kind and every unused one is zero.
#[must_use]
pub fn in_range(kind: u8, state: &State) -> bool {
    let Some(kind) = SCHEMA.kind(kind) else { return false };
    let used = kind.fields.iter().zip(state).all(|(field, value)| (field.min()..=field.max()).contains(value));
    used && state.iter().skip(kind.fields.len()).all(|value| *value == 0)
}

/// The position of a state in metres.
#[must_use]
pub fn position_m(state: &State) -> [f32; 3] {
    // Exact: 21 bits fit a float's 24.
    [X, Y, Z].map(|axis| state[axis] as f32 / QUANTA_PER_M as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_where_the_constants_say() {
        let names = |kind: u8| SCHEMA.kinds[usize::from(kind)].fields.iter().map(|field| field.name);
        assert!(names(NPC).eq(["x", "y", "z", "vx", "vy", "vz", "yaw", "flags", "archetype"]));
        assert!(names(PLAYER).eq(["x", "y", "z", "vx", "vy", "vz", "yaw", "flags", "stamina"]));
        assert_eq!(PERSON[STAMINA].max(), STAMINA_FULL);
    }

    #[test]
    fn only_stamina_is_hidden_from_others() {
        for kind in SCHEMA.kinds {
            let hidden = kind.fields.iter().filter(|field| field.audience == Audience::Owner);
            assert!(hidden.map(|field| field.name).eq((kind.name == "player").then_some("stamina")));
        }
    }

    #[test]
    fn the_range_check_sees_each_field_and_the_unused_ones() {
        let mut state = State::default();
        assert!(in_range(PLAYER, &state));
        state[X] = 1 << 20;
        assert!(!in_range(PLAYER, &state));
        state[X] = 0;
        state[ARCHETYPE] = 64;
        assert!(!in_range(PLAYER, &state));
        assert!(in_range(NPC, &state));
        state[ARCHETYPE + 1] = 1;
        assert!(!in_range(NPC, &state));
        assert!(!in_range(2, &state));
    }
}
