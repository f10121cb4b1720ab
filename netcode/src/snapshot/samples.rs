//! Random kinds, states and histories for the codecs' tests.

use proptest::collection::vec;
use proptest::prelude::*;

use super::predict::{History, Plans};
use crate::schema::{Audience, Field, Kind, MAX_FIELDS, Predictor, Schema, State};

const PLAIN: Field = Field {
    name: "f",
    bits: 8,
    signed: false,
    wraps: false,
    scale: 1,
    unit: "1",
    predictor: Predictor::Hold,
    group: 0,
    audience: Audience::Everyone,
    order: 0,
};

/// A kind's records: two acknowledged states, the one to code, and the ages.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub older: Option<State>,
    pub ticks: u8,
    pub base: State,
    pub age: u8,
    pub state: State,
}

impl Sample {
    pub fn history(&self) -> History<'_> {
        History {
            base: &self.base,
            older: self.older.as_ref().map(|older| (older, self.ticks)),
            age: self.age,
            rate: 20,
        }
    }
}

/// One field, or a quaternion's four.
fn part() -> impl Strategy<Value = Vec<Field>> {
    let number =
        (1..=32u8, any::<bool>(), any::<bool>(), 0..3u8, 0..4u8).prop_map(|(bits, signed, wraps, which, group)| {
            let signed = signed || bits == 32;
            let predictor = match which {
                0 => Predictor::Hold,
                1 => Predictor::Trend,
                _ => Predictor::Linear { velocity: 0, numerator: 7 },
            };
            vec![Field { bits, signed, wraps, predictor, group, ..PLAIN }]
        });
    let turn = (4..=14u8, 0..4u8).prop_map(|(bits, group)| {
        let part = |part| {
            let bits = if part == 0 { 2 } else { bits };
            Field { bits, predictor: Predictor::Rotation { part }, group, ..PLAIN }
        };
        (0..4).map(part).collect()
    });
    prop_oneof![4 => number, 1 => turn]
}

/// A kind of 2 to 16 fields, as a schema of its own.
pub(super) fn plans() -> impl Strategy<Value = Plans> {
    vec(part(), 1..=MAX_FIELDS).prop_map(|parts| {
        // The first is what others move along.
        let mut fields = vec![Field { bits: 12, signed: true, ..PLAIN }];
        for part in parts {
            if fields.len() + part.len() <= MAX_FIELDS {
                fields.extend(part);
            }
        }
        // A schema is a constant everywhere else; what a test leaks is small.
        let fields = Box::leak(fields.into_boxed_slice());
        let kinds = Box::leak(Box::new([Kind { name: "kind", fields }]));
        let schema: &'static Schema = Box::leak(Box::new(Schema { kinds, input: &[] }));
        Plans::new(schema)
    })
}

/// A state in range, near `from` or anywhere.
fn near(fields: &'static [Field], from: State, steps: [i8; MAX_FIELDS], far: [i64; MAX_FIELDS], how: u16) -> State {
    let mut state = State::default();
    for (i, field) in fields.iter().enumerate() {
        let value = if how >> i & 1 != 0 { i64::from(from[i]) + i64::from(steps[i]) / 8 } else { far[i] };
        let wraps = Field { wraps: true, ..*field };
        state[i] = if how >> i & 1 != 0 { field.fit(value) } else { wraps.fit(value) };
    }
    state
}

/// What a state is drawn from: steps from another, other values, and which of the two each field has.
type Drawn = ([i8; MAX_FIELDS], [i32; MAX_FIELDS], u16);

/// Plans and records of their kind, from those that rest to those that jump.
pub(super) fn samples() -> impl Strategy<Value = (Plans, Vec<Sample>)> {
    let state = (any::<[i8; MAX_FIELDS]>(), any::<[i32; MAX_FIELDS]>(), prop_oneof![Just(u16::MAX), any::<u16>()]);
    let sample = (any::<[i32; MAX_FIELDS]>(), state.clone(), state, 0..4u8, 1..=63u8, 0..=63u8);
    (plans(), vec(sample, 1..12)).prop_map(|(plans, drawn)| {
        let fields = plans.schema().kinds[0].fields;
        let next = |from, (steps, values, how): Drawn| near(fields, from, steps, values.map(i64::from), how);
        let mut samples = Vec::new();
        for (first, second, third, older, ticks, age) in drawn {
            let from = next(State::default(), ([0; MAX_FIELDS], first, 0));
            let base = if older == 1 { from } else { next(from, second) };
            let state = if age % 4 == 1 { base } else { next(base, third) };
            samples.push(Sample { older: (older > 0).then_some(from), ticks, base, age, state });
        }
        (plans, samples)
    })
}
