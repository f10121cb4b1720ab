//! Bodies of either codec as they come, in great numbers: nothing is composed or written anew, so it is fast.

use std::sync::LazyLock;

use netcode::bits::BitWriter;
use netcode::rng::Rng;
use netcode::schema::{Schema, State};
use netcode::snapshot::compact::{Binary, Coder, Encoder, Tables, Trainer};
use netcode::snapshot::predict::{Guess, History, Plans};
use netcode::snapshot::{
    Ages, Codec, DecodeError, Header, Limits, Op, View, write_age, write_codec, write_fields, write_gap, write_header,
    write_spawn,
};

use super::schema;
use crate::features;
use crate::program::{Program, Script};

features! {
    Fast => "a body in the fast codec",
    Compact => "a body in the compact codec",
    FastRefused => "a fast body that is refused",
    CompactRefused => "a compact body that is refused",
    Update => "an update",
    Spawn => "a spawn",
    Despawn => "a despawn",
    OldTables => "a body from the older tables",
    NoTables => "a body from tables that are not held",
}

const RATE: u16 = 20;
const MAX_ENTITIES: u16 = 24;
const WARM: u16 = 12;
const FIRST_TICK: u64 = 1000;
const MOST_BYTES: usize = 400;

/// What every input starts from.
struct Start {
    schema: &'static Schema,
    plans: Plans,
    warm: Vec<u8>,
    tables: [Tables; 2],
    states: Vec<(u8, State)>,
}

static START: LazyLock<Start> = LazyLock::new(|| {
    let schema = schema::choose(0);
    let plans = Plans::new(schema);
    let mut rng = Rng::new(1);
    let states: Vec<(u8, State)> = (0..WARM).map(|slot| state(&mut rng, schema, slot)).collect();
    let mut trainer = Trainer::new(schema);
    let mut tables = |version| {
        for _ in 0..40 {
            let moved: Vec<State> = states.iter().map(|(kind, state)| nudge(&mut rng, schema, *kind, state)).collect();
            code(&mut trainer.body(&plans), 0, &states, &moved);
        }
        trainer.tables(version)
    };
    let tables = [tables(1), tables(2)];
    Start { schema, warm: spawns(schema, &states), plans, tables, states }
});

fn state(rng: &mut Rng, schema: &Schema, slot: u16) -> (u8, State) {
    let number = (usize::from(slot) % schema.kinds.len()) as u8;
    let mut state = State::default();
    for (place, field) in state.iter_mut().zip(schema.kinds[usize::from(number)].fields) {
        *place = field.fit(rng.next_u64() as i64 >> rng.below(64));
    }
    (number, schema.kinds[usize::from(number)].visible(slot == 0, &state))
}

fn nudge(rng: &mut Rng, schema: &Schema, kind: u8, state: &State) -> State {
    let fields = schema.kinds[usize::from(kind)].fields;
    let mut moved = *state;
    for (place, field) in moved.iter_mut().zip(fields) {
        if rng.chance(0.4) {
            *place = field.fit(i64::from(*place) + rng.below(65) as i64 - 32);
        }
    }
    schema.kinds[usize::from(kind)].visible(false, &moved)
}

fn header(count: u16, first: u8) -> Header {
    Header { margin: Some(1), complete: true, ages: Ages { first, second: None }, count }
}

fn spawns(schema: &'static Schema, states: &[(u8, State)]) -> Vec<u8> {
    let mut body = [0; 4096];
    let mut w = BitWriter::new(&mut body);
    write_codec(&mut w, Codec::Fast);
    write_header(&mut w, &header(states.len() as u16, 0));
    for (slot, (kind, state)) in states.iter().enumerate() {
        write_gap(&mut w, 0);
        write_spawn(&mut w, schema, 100 + slot as u32, *kind, slot == 0, state);
    }
    let len = w.finish();
    body[..len].to_vec()
}

/// An update of age 1 of each from that slot on.
fn code<B: Binary>(coder: &mut Coder<'_, B>, first: u16, from: &[(u8, State)], to: &[State]) {
    let header = header(from.len() as u16, 1);
    let mut coded = || {
        coder.header(&header)?;
        for (i, ((kind, base), state)) in from.iter().zip(to).enumerate() {
            coder.gap(if i == 0 { first } else { 0 })?;
            coder.op(header.ages, &Op::Update { age: 1 })?;
            coder.update(*kind, false, &History { base, older: None, age: 1, rate: RATE }, state)?;
        }
        Ok::<(), DecodeError>(())
    };
    coded().expect("all is in range");
}

/// The target: how far each snapshot's tick is from the one before, and its body.
pub fn run(input: &[u8]) {
    let start = &*START;
    let mut view = View::new(start.schema, RATE, Limits { max_entities: MAX_ENTITIES, keep_ticks: 8 });
    start.tables.iter().for_each(|tables| view.add_tables(tables.clone()));
    view.apply(FIRST_TICK, &start.warm).expect("the first body is ours");
    let mut program = Program::new(input);
    let mut tick = FIRST_TICK;
    while !program.is_empty() {
        tick += 1 + u64::from(program.u8() % 4);
        apply(&mut view, tick, program.sized(MOST_BYTES));
    }
}

fn apply(view: &mut View, tick: u64, body: &[u8]) {
    let compact = body.first().is_some_and(|first| first & 1 != 0);
    let (known, newest) = (view.len(), view.tick());
    match view.apply(tick, body) {
        Ok(applied) => {
            reach(if compact { Feature::Compact } else { Feature::Fast });
            if compact && body[0] >> 1 == 1 {
                reach(Feature::OldTables);
            }
            for (count, feature) in [
                (applied.updates, Feature::Update),
                (applied.spawns, Feature::Spawn),
                (applied.despawns, Feature::Despawn),
            ] {
                if count > 0 {
                    reach(feature);
                }
            }
            assert!(view.len() <= usize::from(MAX_ENTITIES) && view.tick() == Some(tick));
            for entity in view.entities() {
                let kind = START.schema.kind(entity.kind()).expect("the schema's");
                let state = entity.state();
                assert!(kind.fields.iter().zip(state).all(|(field, value)| field.fit(value.into()) == value));
            }
        }
        Err(error) => {
            reach(if compact { Feature::CompactRefused } else { Feature::FastRefused });
            if matches!(error, DecodeError::UnknownTables(_)) {
                reach(Feature::NoTables);
            }
            assert!(view.len() == known && view.tick() == newest, "a refused body changes nothing");
        }
    }
}

/// A body of each codec with an update of everybody, and some that go wrong.
pub fn seeds() -> Vec<Vec<u8>> {
    let start = &*START;
    let mut rng = Rng::new(2);
    let moved: Vec<State> =
        start.states.iter().map(|(kind, state)| nudge(&mut rng, start.schema, *kind, state)).collect();
    let mut seeds = vec![Script::default().u8(0).sized(&fast(start, &moved)).0];
    for tables in &start.tables {
        let mut body = vec![1 | tables.version() << 1];
        let mut model = tables.model().clone();
        let mut encoder = Encoder::new(&start.plans, &mut model, &mut body);
        // The first is the client's own, of which another update has other fields.
        code(&mut encoder, 1, &start.states[1..], &moved[1..]);
        encoder.finish();
        seeds.push(Script::default().u8(0).sized(&body).0);
        seeds.push(Script::default().u8(0).sized(&body).u8(1).sized(&body[..body.len() / 2]).0);
    }
    seeds.push(Script::default().u8(0).sized(&spawns(start.schema, &start.states[..3])).0);
    seeds.push(Script::default().u8(0).sized(&[1 | 99 << 1, 2, 3]).0);
    seeds
}

fn fast(start: &Start, moved: &[State]) -> Vec<u8> {
    let mut body = [0; 4096];
    let mut w = BitWriter::new(&mut body);
    write_codec(&mut w, Codec::Fast);
    write_header(&mut w, &header(WARM - 1, 1));
    for (slot, ((kind, base), state)) in start.states.iter().zip(moved).enumerate().skip(1) {
        write_gap(&mut w, u16::from(slot == 1));
        write_age(&mut w, 1, header(WARM - 1, 1).ages);
        let plan = start.plans.kind(*kind).expect("the schema's");
        let guess = netcode::schema::extrapolate(plan.kind(), RATE, 1, base);
        write_fields(&mut w, plan, &mut Guess::on_course(&guess, 1, RATE), false, state);
    }
    let len = w.finish();
    body[..len].to_vec()
}
