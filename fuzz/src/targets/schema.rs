//! The schemas that targets decode with: one with every kind of field that a schema can have, and the game's own.

use netcode::rng::Rng;
use netcode::schema::{Audience, Field, Kind, MAX_FIELDS, Predictor, Schema, State};

const fn field(name: &'static str, bits: u8, signed: bool, group: u8, order: u8) -> Field {
    Field {
        name,
        bits,
        signed,
        wraps: false,
        scale: 1,
        unit: "1",
        predictor: Predictor::Hold,
        group,
        audience: Audience::Everyone,
        order,
    }
}

const fn linear(field: Field, velocity: u8, numerator: i32) -> Field {
    Field { predictor: Predictor::Linear { velocity, numerator }, ..field }
}

const fn cyclic(field: Field) -> Field {
    Field { wraps: true, ..field }
}

const fn owners(field: Field) -> Field {
    Field { audience: Audience::Owner, ..field }
}

/// Supported by the lower two bits of field 4.
const fn falling(field: Field, gravity: i32, terminal: i32) -> Field {
    Field { predictor: Predictor::Fall { gravity, terminal, flags: 4, supported: 3 }, ..field }
}

static EXTREMES: Schema = Schema {
    kinds: &[
        Kind {
            name: "mover",
            fields: &[
                linear(field("x", 20, true, 0, 4), 2, 4),
                linear(field("z", 20, true, 0, 4), 3, -4),
                field("vx", 12, true, 1, 3),
                field("vz", 12, true, 1, 3),
                cyclic(field("yaw", 12, false, 3, 4)),
                owners(field("pulse", 9, true, 4, 2)),
                field("alive", 1, false, 7, 0),
                owners(linear(field("tired", 14, false, 5, 2), 5, 3)),
            ],
        },
        Kind {
            name: "extreme",
            fields: &[
                field("wide", 32, true, 0, 0),
                cyclic(field("ring", 32, true, 1, 5)),
                field("unsigned", 31, false, 2, 1),
                field("tiny", 2, false, 2, 0),
                linear(field("thrown", 31, false, 4, 8), 0, 1 << 24),
                linear(cyclic(field("spun", 9, false, 5, 3)), 1, -(1 << 24)),
                linear(cyclic(field("twisted", 8, true, 5, 3)), 1, 77),
            ],
        },
        Kind {
            name: "faller",
            fields: &[
                linear(field("x", 18, true, 0, 4), 2, 4),
                linear(field("y", 18, true, 1, 4), 3, 4),
                field("vx", 12, true, 0, 3),
                falling(field("vy", 12, true, 1, 3), 1280, 1920),
                field("flags", 3, false, 2, 1),
                falling(field("hope", 6, true, 3, 1), 100, 5000),
                owners(field("fear", 3, false, 4, 1)),
                linear(field("lean", 1, false, 5, 0), 2, 4),
            ],
        },
        Kind { name: "mark", fields: &[] },
        Kind { name: "full", fields: &[field("part", 32, true, 7, 31); MAX_FIELDS] },
    ],
    input: &[
        field("wide", 32, true, 6, 0),
        field("unsigned", 31, false, 0, 1),
        field("on", 1, false, 6, 0),
        cyclic(field("yaw", 12, false, 0, 4)),
        field("seldom", 28, false, 3, 0),
    ],
};

const _: () = assert!(EXTREMES.is_valid());

/// How many schemas there are.
pub const COUNT: u8 = 2;

/// The schema that a byte of the input stands for.
pub fn choose(choice: u8) -> &'static Schema {
    if choice.is_multiple_of(COUNT) { &EXTREMES } else { &sim::SCHEMA }
}

/// Whether each field is in its range, and nothing stands behind the last.
pub fn in_range(fields: &[Field], state: &[i32]) -> bool {
    let (used, unused) = state.split_at(fields.len());
    used.iter().zip(fields).all(|(value, field)| (field.min()..=field.max()).contains(value))
        && unused.iter().all(|value| *value == 0)
}

/// Any values in range, the ends of the ranges often.
pub fn random_state(rng: &mut Rng, fields: &[Field]) -> State {
    let mut state = State::default();
    for (place, field) in state.iter_mut().zip(fields) {
        let (min, max) = (i64::from(field.min()), i64::from(field.max()));
        *place = match rng.below(8) {
            0 => field.min(),
            1 => field.max(),
            _ => (min + rng.below((max - min + 1) as u64) as i64) as i32,
        };
    }
    state
}
