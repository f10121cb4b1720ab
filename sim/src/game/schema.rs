//! The one table of what is replicated, and the numbers of its fields.
//!
//! The authoritative state of an entity *is* its row of integers in this table's order ([`State`]);
//! floats exist only inside a step and are recomputed from the integers at its start. Positions are
//! in 1/256 m, velocities in 1/64 m/s, yaw in 1/4096 turn. The y axis points up. The first eight columns mean the same in
//! every kind.
//!
//! The predictors are the laws of motion: a body that walks straight on, stands or flies through the air moves exactly
//! as [`netcode::schema::extrapolate`] says ([`crate::course`]).

pub use crate::grid::{QUANTA_PER_M, X, Y, Z, position_m};
use crate::movement::{GRAVITY_MPS2, MAX_FALL_SPEED_MPS};
use netcode::schema::{Audience, Field, Kind, Predictor, Schema, State};

/// Kind number of a player.
pub const PLAYER: u8 = 0;
/// Kind number of a non-player character.
pub const NPC: u8 = 1;
/// Kind number of a projectile under way.
pub const PROJECTILE: u8 = 2;
/// Kind number of something to pick up.
pub const LOOT: u8 = 3;
/// The kinds that lie still from when they come until they go: a bit for each number.
pub const STILL_KINDS: u16 = 1 << LOOT;

/// Velocity quanta in a metre a second.
pub const VELOCITY_QUANTA: i32 = 64;
/// Position quanta a second that one velocity quantum makes.
pub const QUANTA_PER_VELOCITY: i32 = QUANTA_PER_M / VELOCITY_QUANTA;
/// Yaw quanta in a turn.
pub const YAW_TURN: i32 = 4096;
/// Pitch quanta in a turn; straight up is a quarter of it.
pub const PITCH_TURN: i32 = 128;

/// Column of the velocity along x (1/64 m/s).
pub const VX: usize = 3;
/// Column of the velocity along y (1/64 m/s).
pub const VY: usize = 4;
/// Column of the velocity along z (1/64 m/s).
pub const VZ: usize = 5;
/// Column of the view direction around y (1/4096 turn, 0 looks along +z, a quarter along +x).
pub const YAW: usize = 6;
/// Column of the flags: [`GROUNDED`] and those that follow it, [`weapon`], [`shots`].
pub const FLAGS: usize = 7;
/// Column of a player's view direction up (1/128 turn, -32..=32).
pub const PITCH: usize = 8;
/// Column of the health of players and NPCs, 0..=[`HEALTH_FULL`].
pub const HEALTH: usize = 9;
/// Column of a player's level, from 1.
pub const LEVEL: usize = 10;
/// Column of a player's stamina, 0..=[`STAMINA_FULL`]; see [`crate::game::stamina`].
pub const STAMINA: usize = 11;
/// Column of a player's armour, 0..=[`HEALTH_FULL`].
pub const ARMOUR: usize = 12;
/// Column of when a player's hands are free (or, dead, when it comes back): 0 for now, else 1 more than that tick modulo
/// [`READY_TURN`].
pub const READY: usize = 13;
/// Column of a player's first kind of ammunition: what is in the magazine, and [`RESERVE`] times what else there is.
pub const AMMO_A: usize = 14;
/// As [`AMMO_A`], for the second kind.
pub const AMMO_B: usize = 15;
/// Column of an NPC's archetype: its number in the rulebook.
pub const ARCHETYPE: usize = 8;
/// Column of who launched a projectile: an [`EntityId`](crate::EntityId)'s raw bits, 0 for nobody.
pub const OWNER: usize = 8;
/// Column of the tick of the input that launched a projectile, modulo [`LAUNCHED_TURN`].
pub const LAUNCHED: usize = 9;
/// Column of a projectile's number among those of the same input.
pub const ORDINAL: usize = 10;
/// Column of what lies there: the item's number in the rulebook.
pub const ITEM: usize = 8;
/// Column of how much of it.
pub const AMOUNT: usize = 9;

/// Flag: the body stands on something; of a projectile: it does not fall.
pub const GROUNDED: i32 = 1;
/// Flag: the body sprints.
pub const SPRINTING: i32 = 2;
/// Flag: the body is dead.
pub const DEAD: i32 = 4;
/// Flag: nothing hurts the body.
pub const SHIELDED: i32 = 8;
/// Flag: the hands reload.
pub const RELOADING: i32 = 16;
/// Where in the flags the number of the weapon in hand begins.
pub const WEAPON_SHIFT: u32 = 5;
/// The bits of that number.
pub const WEAPON_MASK: i32 = 7;
/// Where in the flags the number of shots made so far begins.
pub const SHOTS_SHIFT: u32 = 8;
/// The bits of that number: it counts modulo 8, for others to show each shot once.
pub const SHOTS_MASK: i32 = 7;

/// The stamina of a player who has rested.
pub const STAMINA_FULL: i32 = 63;
/// Unhurt; and the best armour.
pub const HEALTH_FULL: i32 = 100;
/// After so many ticks [`READY`] repeats.
pub const READY_TURN: u64 = 4095;
/// After so many ticks [`LAUNCHED`] repeats.
pub const LAUNCHED_TURN: u64 = 4096;
/// What a round in reserve counts in [`AMMO_A`], where one in the magazine counts 1.
pub const RESERVE: i32 = 128;

/// The number of the weapon in hand.
#[must_use]
pub const fn weapon(state: &State) -> u8 {
    (state[FLAGS] >> WEAPON_SHIFT & WEAPON_MASK) as u8
}

/// How many shots were made so far, modulo 8.
#[must_use]
pub const fn shots(state: &State) -> u8 {
    (state[FLAGS] >> SHOTS_SHIFT & SHOTS_MASK) as u8
}

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
    bits: 11,
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

/// A whole number that seldom changes.
const COUNT: Field = Field { name: "count", bits: 7, unit: "number", group: 4, ..MARKS };
/// What only its owner learns of a player.
const OWN: Field = Field { audience: Audience::Owner, ..COUNT };

const GAZE: Field =
    Field { name: "pitch", bits: 7, signed: true, wraps: false, scale: PITCH_TURN as u32, order: 0, ..TURN };
const VITALITY: Field = Field { name: "health", bits: 7, scale: HEALTH_FULL as u32, unit: "full", ..COUNT };

/// A body and what else there is of it.
const fn body_with<const N: usize>(body: [Field; 8], rest: &[Field]) -> [Field; N] {
    let mut all = [MARKS; N];
    let mut i = 0;
    while i < N {
        all[i] = if i < 8 { body[i] } else { rest[i - 8] };
        i += 1;
    }
    all
}

/// A body that is faster than any that walks: velocities up to ±128 m/s.
const fn fast(body: [Field; 8]) -> [Field; 8] {
    let [x, y, z, vx, vy, vz, yaw, flags] = body;
    [x, y, z, Field { bits: 14, ..vx }, Field { bits: 14, ..vy }, Field { bits: 14, ..vz }, yaw, flags]
}

const PERSON: [Field; 16] = body_with(
    BODY,
    &[
        GAZE,
        VITALITY,
        Field { name: "level", bits: 6, ..COUNT },
        Field { name: "stamina", bits: 6, scale: STAMINA_FULL as u32, unit: "full", group: 5, ..OWN },
        Field { name: "armour", bits: 7, scale: HEALTH_FULL as u32, unit: "full", group: 6, ..OWN },
        Field { name: "ready", bits: 12, unit: "tick", group: 7, ..OWN },
        Field { name: "ammo_a", bits: 16, unit: "rounds", group: 7, ..OWN },
        Field { name: "ammo_b", bits: 16, unit: "rounds", group: 7, ..OWN },
    ],
);
const BEING: [Field; 10] = body_with(BODY, &[Field { name: "archetype", bits: 8, group: 5, ..COUNT }, VITALITY]);
const MISSILE: [Field; 11] = body_with(
    fast(BODY),
    &[
        Field { name: "owner", bits: 28, unit: "id", ..COUNT },
        Field { name: "launched", bits: 12, unit: "tick", ..COUNT },
        Field { name: "ordinal", bits: 2, ..COUNT },
    ],
);
const THING: [Field; 10] =
    body_with(BODY, &[Field { name: "item", bits: 8, ..COUNT }, Field { name: "amount", bits: 10, ..COUNT }]);

/// A share of full speed along x or z: -16..=15, in fifteenths.
const MOVE: Field = Field { name: "move_x", bits: 5, signed: true, scale: 15, unit: "full speed", group: 0, ..MARKS };
/// A direction to aim at, in 1/65536 turn.
const AIM: Field = Field { name: "yaw", bits: 16, scale: 1 << 16, group: 1, order: 0, ..TURN };

/// All that a zone replicates, and the fields of an input.
pub const SCHEMA: Schema = Schema {
    kinds: &[
        Kind { name: "player", fields: &PERSON },
        Kind { name: "npc", fields: &BEING },
        Kind { name: "projectile", fields: &MISSILE },
        Kind { name: "loot", fields: &THING },
    ],
    input: &[
        MOVE,
        Field { name: "move_z", ..MOVE },
        AIM,
        Field { name: "pitch", signed: true, wraps: false, group: 2, ..AIM },
        Field { name: "buttons", bits: 8, group: 3, ..MARKS },
        Field { name: "weapon", bits: 4, unit: "number", group: 3, ..MARKS },
        Field { name: "view", bits: 11, scale: 32, unit: "ticks", group: 4, ..MARKS },
        Field { name: "instant", bits: 4, scale: 16, unit: "ticks", group: 4, ..MARKS },
        Field { name: "target", bits: 28, unit: "id", group: 5, ..MARKS },
    ],
};

const _: () = assert!(SCHEMA.is_valid());
const _: () = assert!(SCHEMA.kinds[PLAYER as usize].fields.len() == AMMO_B + 1);
const _: () = assert!(SCHEMA.kinds[NPC as usize].fields.len() == HEALTH + 1);
const _: () = assert!(SCHEMA.kinds[PROJECTILE as usize].fields.len() == ORDINAL + 1);
const _: () = assert!(SCHEMA.kinds[LOOT as usize].fields.len() == AMOUNT + 1);

/// Whether every field lies in the range of its kind and every unused one is zero.
#[must_use]
pub fn in_range(kind: u8, state: &State) -> bool {
    let Some(kind) = SCHEMA.kind(kind) else { return false };
    let used = kind.fields.iter().zip(state).all(|(field, value)| (field.min()..=field.max()).contains(value));
    used && state.iter().skip(kind.fields.len()).all(|value| *value == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kind: u8, from: usize) -> Vec<&'static str> {
        SCHEMA.kinds[usize::from(kind)].fields[from..].iter().map(|field| field.name).collect()
    }

    #[test]
    fn the_columns_are_where_the_constants_say() {
        for kind in 0..4 {
            assert_eq!(names(kind, 0)[..8], ["x", "y", "z", "vx", "vy", "vz", "yaw", "flags"]);
        }
        let own = ["stamina", "armour", "ready", "ammo_a", "ammo_b"];
        assert_eq!(names(PLAYER, 8), [&["pitch", "health", "level"][..], &own].concat());
        assert_eq!(names(NPC, 8), ["archetype", "health"]);
        assert_eq!(names(PROJECTILE, 8), ["owner", "launched", "ordinal"]);
        assert_eq!(names(LOOT, 8), ["item", "amount"]);
        assert_eq!(PERSON[STAMINA].max(), STAMINA_FULL);
        assert!(PERSON[READY].max() as u64 >= READY_TURN && MISSILE[LAUNCHED].max() as u64 == LAUNCHED_TURN - 1);
    }

    #[test]
    fn what_the_hands_hold_and_how_one_feels_is_hidden_from_others() {
        for kind in SCHEMA.kinds {
            let hidden = kind.fields.iter().filter(|field| field.audience == Audience::Owner).map(|field| field.name);
            let own: &[&str] =
                if kind.name == "player" { &["stamina", "armour", "ready", "ammo_a", "ammo_b"] } else { &[] };
            assert!(hidden.eq(own.iter().copied()));
        }
    }

    #[test]
    fn weapon_and_shots_share_the_flags() {
        let mut state = State::default();
        state[FLAGS] = GROUNDED | 5 << WEAPON_SHIFT | 6 << SHOTS_SHIFT;
        assert_eq!((weapon(&state), shots(&state)), (5, 6));
        assert!(in_range(PLAYER, &state));
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
        state[HEALTH + 1] = 1;
        assert!(!in_range(NPC, &state));
        assert!(!in_range(4, &state));
    }
}
