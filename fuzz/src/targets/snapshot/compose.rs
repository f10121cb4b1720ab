//! Bodies and seeds that mean something.

use std::sync::OnceLock;

use netcode::rng::Rng;
use netcode::schema::{Schema, State, extrapolate};
use netcode::snapshot::compact::{Encoder, Tables, Trainer};
use netcode::snapshot::predict::Plans;
use netcode::snapshot::{Ages, Header, MAX_AGE, MAX_SLOTS, View};

use super::RATE;
use super::parts::{self, Record, Records, write};
use crate::program::{Program, Script};
use crate::targets::schema;

/// Records, whose number comes first.
pub(super) fn counted(program: &mut Program<'_>, schema: &'static Schema, view: &View, tick: u64) -> (Header, Records) {
    let count = program.u8();
    records(program, schema, view, tick, count)
}

/// Records of which each is well-formed by itself: the input chooses slots, ages, ids and values.
pub(super) fn records(
    program: &mut Program<'_>,
    schema: &'static Schema,
    view: &View,
    tick: u64,
    count: u8,
) -> (Header, Records) {
    let flags = program.u8();
    let choice = program.u8();
    let mut rng = Rng::new(program.u64());
    let second = (choice > MAX_AGE).then(|| 1 + rng.below(u64::from(MAX_AGE)) as u8);
    let ages = Ages { first: choice % (MAX_AGE + 1), second };
    let mut records: Records = Vec::new();
    let mut next = 0u16;
    for _ in 0..count % 32 {
        let (op, operand) = (program.u8(), program.u8());
        let slot = next + u16::from(if op & 0x80 == 0 { 0 } else { operand });
        if slot >= MAX_SLOTS {
            break;
        }
        next = slot + 1;
        let held = view.entities().find(|entity| entity.slot() == slot);
        let record = match (op & 7, held) {
            (0..=3, Some(held)) => {
                let age = match ages.second {
                    _ if op & 8 == 0 => ages.first.max(1),
                    Some(second) if operand & 1 == 0 => second,
                    _ => 1 + operand % MAX_AGE,
                };
                let row = held.rows().nth(usize::from(op >> 4 & 3));
                let guess = row.map_or_else(State::default, |row| held.on_course(&row, tick));
                let before = tick.saturating_sub(u64::from(age));
                let base = row.map_or_else(State::default, |row| held.on_course(&row, before));
                // What the receiver does not get is 0 in a body that anybody writes.
                let kind = &schema.kinds[usize::from(held.kind())];
                let state = kind.visible(held.owner(), &near(&mut rng, schema, held.kind(), &guess));
                Record::Update { number: held.kind(), owner: held.owner(), age, base, guess, state }
            }
            (4, _) => Record::Despawn,
            _ => {
                let kind = (rng.below(schema.kinds.len() as u64)) as u8;
                let fields = schema.kinds[usize::from(kind)].fields;
                let (id, owner) = (u32::from(operand % 40), rng.chance(0.3));
                let mut state = schema::random_state(&mut rng, fields);
                state = schema.kinds[usize::from(kind)].visible(owner, &state);
                let empty = if operand & 0x80 == 0 { 0 } else { rng.next_u64() as u8 };
                for (place, field) in state.iter_mut().zip(fields) {
                    *place = if empty >> field.group & 1 == 0 { *place } else { 0 };
                }
                Record::Spawn { id, kind, owner, state }
            }
        };
        records.push((slot, record));
    }
    let margin = (flags & 2 != 0).then_some(flags as i8);
    let ages = if records.is_empty() { Ages::default() } else { ages };
    (Header { margin, complete: flags & 1 != 0, ages, count: records.len() as u16 }, records)
}

/// A state a little or far off another.
fn near(rng: &mut Rng, schema: &'static Schema, kind: u8, base: &State) -> State {
    let mut state = *base;
    for (place, field) in state.iter_mut().zip(schema.kinds[usize::from(kind)].fields) {
        let reach = 1u64 << rng.below(u64::from(field.bits) + 1);
        let off = rng.below(2 * reach) as i64 - reach as i64;
        *place = if rng.chance(0.5) { field.fit(i64::from(*place) + off) } else { *place };
    }
    state
}

/// Streams of a server with moving entities, per schema: plain bodies, and composed ones.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(0).fork("snapshot seeds");
    let mut seeds = Vec::new();
    for choice in 0..schema::COUNT {
        for entities in [1, 4, 12] {
            for ticks in [2, 6] {
                seeds.push(stream(&mut rng, choice, entities, ticks));
            }
        }
        for keep in [0, 8, 63] {
            let mut script = Script::default().u8(choice).u8(keep);
            for step in 0..8u8 {
                let count = 6 + 2 * step;
                script = script
                    .u8(1 + step)
                    .u8(count << 1 | 1)
                    .u8(step)
                    .u8((step + 1) | ((step & 2) << 5))
                    .u64(rng.next_u64());
                for record in 0..count {
                    let op = if step == 0 { 5 } else { rng.below(256) as u8 & if record < 3 { 0x7f } else { 0xff } };
                    script = script.u8(op).u8(if step == 0 { record } else { rng.below(40) as u8 });
                }
            }
            seeds.push(script.0);
        }
    }
    seeds
}

/// The same for both codecs and tables.
pub fn compact_seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(0).fork("compact seeds");
    let mut seeds = Vec::new();
    for choice in 0..schema::COUNT {
        for variant in 0..4 {
            seeds.push(compact(&mut rng, choice, variant));
        }
        let mut tables = Vec::new();
        Trainer::new(schema::choose(choice)).tables(3).write(&mut tables);
        let script = || Script::default().u8(choice).u8(8).u8(0);
        seeds.push(script().u8(0b11).sized(&tables).0);
        seeds.push(script().u8(0b11).sized(&tables[..tables.len() / 2]).0);
        seeds.push(script().u8(0b11 | (15 << 1) << 2).sized(&tables).0);
        // A header that no body may have: more records than there are.
        seeds.push(overfull(choice));
        // A fast body between.
        seeds.push([stream(&mut rng, choice, 3, 2), vec![1, 0b10, 9]].concat());
    }
    seeds
}

/// More records than a body may have.
fn overfull(choice: u8) -> Vec<u8> {
    let schema = schema::choose(choice);
    let (plans, tables) = (Plans::new(schema), trained(schema, 0));
    let (mut model, mut body) = (tables.model().clone(), vec![1 | tables.version() << 1]);
    let mut encoder = Encoder::new(&plans, &mut model, &mut body);
    let _ = encoder.header(&Header { margin: None, complete: true, ages: Ages::default(), count: u16::MAX });
    encoder.finish();
    Script::default().u8(choice).u8(8).u8(0).u8(0b11 | 3 << 2).u8(1).u8(0).sized(&body).0
}

/// One of four versions of tables for a schema, trained on records of random states once in a process.
pub(in crate::targets) fn trained(schema: &'static Schema, choice: u8) -> &'static Tables {
    static TRAINED: [OnceLock<Vec<Tables>>; 2] = [const { OnceLock::new() }; 2];
    // By value: a constant has no address of its own.
    let game = usize::from(schema == schema::choose(1));
    let tables = TRAINED[game].get_or_init(|| (0..4).map(|version| train_one(schema, version)).collect());
    &tables[usize::from(choice) % tables.len()]
}

fn train_one(schema: &'static Schema, version: u8) -> Tables {
    let mut rng = Rng::new(version.into()).fork("tables");
    let mut all = Vec::new();
    for (slot, number) in (0..64u16).zip((0..schema.kinds.len() as u8).cycle()) {
        let (kind, owner) = (&schema.kinds[usize::from(number)], rng.chance(0.2));
        let base = kind.visible(owner, &schema::random_state(&mut rng, kind.fields));
        let guess = extrapolate(kind, RATE, 1, &base);
        let state = kind.visible(owner, &near(&mut rng, schema, number, &guess));
        let spawns = version > 1 && slot % 8 == 0;
        let update = Record::Update { number, owner, age: 1, base, guess, state };
        let spawn = Record::Spawn { id: u32::from(slot), kind: number, owner, state };
        all.push((slot, if spawns { spawn } else { update }));
    }
    let ages = Ages { first: 1, second: (version & 1 != 0).then_some(2) };
    let header = Header { margin: Some(1), complete: version < 2, ages, count: all.len() as u16 };
    parts::train(&Plans::new(schema), &header, &all, 4 * version, version)
}

/// Two versions of tables, then compact bodies from both: as written, damaged, any bytes.
fn compact(rng: &mut Rng, choice: u8, variant: u8) -> Vec<u8> {
    let count = 8 + 4 * variant;
    let mut records = |script: Script, step: u8, spawns: bool| {
        // The first byte is the number of records, and then the flags.
        let mut script = script.u8(count).u8((step + 1) | ((step & 2) << 5)).u64(rng.next_u64());
        for record in 0..count {
            let op = if spawns { 5 } else { rng.below(256) as u8 & if record < 6 { 0x7f } else { 0xff } };
            script = script.u8(op).u8(if spawns { record } else { rng.below(40) as u8 });
        }
        script
    };
    let mut script = Script::default().u8(choice).u8(8);
    for version in [3, variant] {
        script = script.u8(0).u8(0b11 | (3 | version << 2) << 2);
    }
    script = records(script.u8(1).u8(0b10), 1, true);
    if variant == 1 {
        // Tables of its own; the shape says how often they learn these records.
        script = records(script.u8(0).u8(0b11 | (1 | 2 << 1) << 2), 2, false).u8(7);
    }
    for step in 1..8 {
        let older = (step & 1) << 5;
        script = match (variant, step) {
            (3, 5) => script.u8(1).u8(0b10 | (16 | older) << 2).sized(&[0x55; 60]),
            (2, 4..) => records(script.u8(1).u8(0b10 | (8 | older) << 2), step, false).u16(9).u8(1).u8(step),
            _ => records(script.u8(step).u8(0b10 | older << 2), step, false),
        };
    }
    // Of a version that nobody has, and of a string that ends too early.
    script = script.u8(1).u8(0).sized(&[1 | 100 << 1, 0]);
    script.u8(1).u8(0b10 | 16 << 2).sized(&[0; 40]).0
}

/// What a server says that acknowledges at once: all spawn, then they move on each tick; in the end the first one leaves.
fn stream(rng: &mut Rng, choice: u8, entities: u16, ticks: u8) -> Vec<u8> {
    let schema = schema::choose(choice);
    let kinds: Vec<u8> = (0..entities).map(|at| (usize::from(at) % schema.kinds.len()) as u8).collect();
    let mut states: Vec<State> =
        kinds.iter().map(|kind| schema::random_state(rng, schema.kinds[usize::from(*kind)].fields)).collect();
    let mut script = Script::default().u8(choice).u8(8);
    for tick in 0..ticks {
        let mut records: Records = Vec::new();
        for (slot, (kind, state)) in (0..entities).zip(kinds.iter().zip(&mut states)) {
            let owner = slot == 0;
            let record = if tick == 0 {
                Record::Spawn { id: u32::from(slot) << 12 | 1, kind: *kind, owner, state: *state }
            } else if tick + 1 == ticks && slot == 0 {
                Record::Despawn
            } else {
                let base = *state;
                let guess = extrapolate(&schema.kinds[usize::from(*kind)], RATE, 1, state);
                *state = near(rng, schema, *kind, &guess);
                Record::Update { number: *kind, owner, age: 1, base, guess, state: *state }
            };
            records.push((slot * 2, record));
        }
        let ages = Ages { first: u8::from(tick > 0), second: (ticks > 4).then_some(2) };
        let header = Header { margin: (tick > 0).then_some(2), complete: true, ages, count: entities };
        script = script.u8(1).u8(0).sized(&write(schema, &header, &records));
    }
    script.0
}
