//! Both codecs' records over schemas, states and histories at random, and both decoders against garbage.

use netcode::bits::{BitCount, BitReader, BitWriter};
use netcode::rng::Rng;
use netcode::schema::{Audience, Field, Kind, MAX_FIELDS, Predictor, ROTATION_BITS, Schema, State, extrapolate};
use netcode::snapshot::compact::{
    Binary, Coder, Decoder, Encoder, FREE_CONTEXTS, MAX_TABLE_BYTES, Model, Tables, Trainer,
};
use netcode::snapshot::predict::{Guess, History, Plans};
use netcode::snapshot::{Ages, DecodeError, Header, Limits, Op, View, read_fields, write_fields};
use proptest::prelude::*;

const PLAIN: Field = Field {
    name: "x",
    bits: 14,
    signed: true,
    wraps: false,
    scale: 1,
    unit: "1",
    predictor: Predictor::Hold,
    group: 0,
    audience: Audience::Everyone,
    order: 0,
};

const fn part(part: u8, bits: u8) -> Field {
    let bits = if part == 0 { 2 } else { bits };
    Field { bits, signed: false, predictor: Predictor::Rotation { part }, group: 7, ..PLAIN }
}

/// Fields of any width, predictor and group, as far as the rules of a schema let them be together.
fn kind(rng: &mut Rng) -> Kind {
    let mut fields = Vec::new();
    if rng.chance(0.5) {
        let bits = ROTATION_BITS[0] + rng.below(u64::from(ROTATION_BITS[1] - ROTATION_BITS[0]) + 1) as u8;
        fields.extend((0..4).map(|number| part(number, bits)));
    }
    // What the others follow: flags, a velocity.
    let flags = fields.len() as u8;
    fields.push(Field { bits: 2, signed: false, ..PLAIN });
    let falls = Predictor::Fall { gravity: 700, terminal: 2000, flags, supported: 1 };
    fields.push(Field { bits: 12, predictor: if rng.chance(0.5) { falls } else { Predictor::Trend }, ..PLAIN });
    for _ in 0..rng.below((MAX_FIELDS - fields.len()) as u64 + 1) {
        let (signed, wraps) = (rng.chance(0.5), rng.chance(0.3));
        let bits = 1 + rng.below(if signed { 32 } else { 31 }) as u8;
        let numerator = rng.below(2000) as i32 - 1000;
        let predictor = match rng.below(3) {
            0 => Predictor::Hold,
            1 => Predictor::Trend,
            _ => Predictor::Linear { velocity: flags + 1, numerator },
        };
        fields.push(Field { bits, signed, wraps, predictor, group: rng.below(4) as u8, ..PLAIN });
    }
    Kind { name: "any", fields: fields.leak() }
}

fn schema(rng: &mut Rng) -> &'static Schema {
    let kinds: Vec<_> = (0..1 + rng.below(3)).map(|_| kind(rng)).collect();
    let schema: &Schema = Box::leak(Box::new(Schema { kinds: kinds.leak(), input: &[] }));
    assert!(schema.is_valid());
    schema
}

/// Any value in range; the ends are likelier than the rest.
fn value(rng: &mut Rng, field: &Field) -> i32 {
    match rng.below(8) {
        0 => field.min(),
        1 => field.max(),
        _ => field.fit(rng.next_u64() as i64 >> rng.below(64)),
    }
}

fn state(rng: &mut Rng, kind: &Kind) -> State {
    let mut state = State::default();
    state.iter_mut().zip(kind.fields).for_each(|(place, field)| *place = value(rng, field));
    state
}

/// A state that differs from another in some fields.
fn near(rng: &mut Rng, kind: &Kind, from: &State) -> State {
    let mut state = *from;
    let much = rng.chance(0.2);
    for (place, field) in state.iter_mut().zip(kind.fields) {
        if rng.chance(0.4) {
            *place = if much {
                value(rng, field)
            } else {
                (*place).saturating_add(rng.below(9) as i32 - 4).clamp(field.min(), field.max())
            };
        }
    }
    state
}

/// One body's past and present.
struct Case {
    number: u8,
    older: Option<(State, u8)>,
    base: State,
    age: u8,
    rate: u16,
    now: State,
}

impl Case {
    fn new(rng: &mut Rng, schema: &Schema) -> Self {
        let number = rng.below(schema.kinds.len() as u64) as u8;
        let kind = schema.kind(number).unwrap();
        let older = state(rng, kind);
        let base = if rng.chance(0.3) { older } else { near(rng, kind, &older) };
        let now = if rng.chance(0.3) { base } else { near(rng, kind, &base) };
        // Beyond what a header can say, too: the guess is total.
        let (ticks, age) = (1 + rng.below(255) as u8, rng.below(256) as u8);
        let older = rng.chance(0.8).then_some((older, ticks));
        Self { number, older, base, age, rate: rng.below(129) as u16, now }
    }

    fn history(&self) -> History<'_> {
        let older = self.older.as_ref().map(|(state, ticks)| (state, *ticks));
        History { base: &self.base, older, age: self.age, rate: self.rate }
    }
}

fn cases(seed: u64) -> (Plans, Vec<Case>) {
    let mut rng = Rng::new(seed);
    let schema = schema(&mut rng);
    let count = rng.below(40);
    (Plans::new(schema), (0..count).map(|_| Case::new(&mut rng, schema)).collect())
}

fn encode(plans: &Plans, model: &mut Model, cases: &[Case]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(plans, model, &mut out);
    for (i, case) in cases.iter().enumerate() {
        assert_eq!(encoder.record(case.number, &case.history(), &case.now), Ok(case.now));
        encoder.exp(i % FREE_CONTEXTS, case.now[0] as u32);
        encoder.raw(case.now[0] as u32, 32);
        encoder.tree(500, case.now[1] as u32 & 0xff, 8);
        encoder.pass(i as u32);
    }
    let len = encoder.finish();
    assert_eq!(len, out.len());
    out
}

fn decode(plans: &Plans, model: &mut Model, data: &[u8], cases: &[Case]) {
    let mut decoder = Decoder::new(plans, model, data);
    for (i, case) in cases.iter().enumerate() {
        assert_eq!(decoder.record(case.number, &case.history(), &State::default()), Ok(case.now));
        assert_eq!(decoder.exp(i % FREE_CONTEXTS, 0), case.now[0] as u32);
        assert_eq!(decoder.raw(0, 32), case.now[0] as u32);
        assert_eq!(decoder.tree(500, 0, 8), case.now[1] as u32 & 0xff);
        decoder.pass(i as u32);
    }
    decoder.finish().unwrap();
}

fn trained(plans: &Plans, cases: &[Case]) -> Tables {
    let mut trainer = Trainer::new(plans.schema());
    for _ in 0..3 {
        let mut body = trainer.body(plans);
        for case in cases {
            body.record(case.number, &case.history(), &case.now).unwrap();
        }
    }
    trainer.tables(7)
}

proptest! {
    #[test]
    fn compact_records_come_back_and_both_models_end_alike(seed: u64) {
        let (plans, cases) = cases(seed);
        let (mut server, mut client) = (Model::new(plans.schema()), Model::new(plans.schema()));
        for _ in 0..3 {
            let data = encode(&plans, &mut server, &cases);
            decode(&plans, &mut client, &data, &cases);
            prop_assert_eq!(&server, &client);
        }
    }

    #[test]
    fn fast_records_come_back(seed: u64) {
        let (plans, cases) = cases(seed);
        for case in cases {
            let plan = plans.kind(case.number).unwrap();
            let (guess, owner) = (|| Guess::new(plan, &case.history()), true);
            let mut buf = [0; 256];
            let mut w = BitWriter::new(&mut buf);
            write_fields(&mut w, plan, &mut guess(), owner, &case.now);
            let (bits, len) = (w.bit_len(), w.finish());
            let mut count = BitCount::default();
            write_fields(&mut count, plan, &mut guess(), owner, &case.now);
            prop_assert_eq!(count.0, bits);
            let mut r = BitReader::new(&buf[..len]);
            prop_assert_eq!(read_fields(&mut r, plan, &mut guess(), owner), Ok(case.now));
            r.finish_zero_padded().unwrap();
        }
    }

    #[test]
    fn tables_come_back_and_both_sides_start_alike_from_them(seed: u64) {
        let (plans, cases) = cases(seed);
        let tables = trained(&plans, &cases);
        let mut bytes = vec![1, 2, 3];
        let len = tables.write(&mut bytes);
        prop_assert_eq!(len + 3, bytes.len());
        prop_assert!(len <= MAX_TABLE_BYTES);
        let received = Tables::read(plans.schema(), &bytes[3..]).unwrap();
        prop_assert_eq!(&received, &tables);
        prop_assert_eq!(received.version(), 7);
        let (mut server, mut client) = (tables.model().clone(), received.model().clone());
        let data = encode(&plans, &mut server, &cases);
        decode(&plans, &mut client, &data, &cases);
    }

    #[test]
    fn garbage_gives_states_in_range_or_an_error(seed: u64, data in prop::collection::vec(any::<u8>(), 0..200)) {
        let (plans, cases) = cases(seed);
        let mut model = Model::new(plans.schema());
        let mut decoder = Decoder::new(&plans, &mut model, &data);
        for case in &cases {
            let kind = plans.schema().kind(case.number).unwrap();
            let plan = plans.kind(case.number).unwrap();
            if let Ok(state) = decoder.record(case.number, &case.history(), &State::default()) {
                prop_assert!(in_range(kind, &state));
            }
            decoder.exp(case.base[0] as usize % 2000, 0);
            let mut r = BitReader::new(&data);
            let mut guess = Guess::new(plan, &case.history());
            if let Ok(state) = read_fields(&mut r, plan, &mut guess, true) {
                prop_assert!(in_range(kind, &state));
            }
        }
        let _ = decoder.finish();
    }

    #[test]
    fn tables_of_garbage_are_refused_or_work(seed: u64, data in prop::collection::vec(any::<u8>(), 0..3000)) {
        let (plans, cases) = cases(seed);
        if let Ok(tables) = Tables::read(plans.schema(), &data) {
            let (mut server, mut client) = (tables.model().clone(), tables.model().clone());
            let body = encode(&plans, &mut server, &cases);
            decode(&plans, &mut client, &body, &cases);
        }
    }

    #[test]
    fn damaged_tables_are_refused_or_work(seed: u64, place: prop::sample::Index, flip in 1u8..) {
        let (plans, cases) = cases(seed);
        let mut bytes = Vec::new();
        trained(&plans, &cases).write(&mut bytes);
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        if let Ok(tables) = Tables::read(plans.schema(), &bytes) {
            let (mut server, mut client) = (tables.model().clone(), tables.model().clone());
            let body = encode(&plans, &mut server, &cases);
            decode(&plans, &mut client, &body, &cases);
        }
    }

    #[test]
    fn a_damaged_body_gives_states_in_range_or_an_error(seed: u64, place: prop::sample::Index, flip in 1u8..) {
        let (plans, cases) = cases(seed);
        let mut data = encode(&plans, &mut Model::new(plans.schema()), &cases);
        prop_assume!(!data.is_empty());
        let place = place.index(data.len());
        data[place] ^= flip;
        let mut model = Model::new(plans.schema());
        let mut decoder = Decoder::new(&plans, &mut model, &data);
        for case in &cases {
            let Ok(state) = decoder.record(case.number, &case.history(), &State::default()) else { break };
            prop_assert!(in_range(plans.schema().kind(case.number).unwrap(), &state));
        }
    }

    #[test]
    fn what_one_state_foretells_is_guessed_as_its_course(seed: u64) {
        let (plans, cases) = cases(seed);
        for case in cases {
            let kind = plans.schema().kind(case.number).unwrap();
            let plan = plans.kind(case.number).unwrap();
            let guess = Guess::new(plan, &case.history());
            let course = extrapolate(kind, case.rate, u32::from(case.age), &case.base);
            for (i, field) in kind.fields.iter().enumerate() {
                if !matches!(field.predictor, Predictor::Trend | Predictor::Rotation { .. }) {
                    prop_assert_eq!(guess.state()[i], course[i]);
                }
            }
            prop_assert!(in_range(kind, guess.state()));
        }
    }
}

fn in_range(kind: &Kind, state: &State) -> bool {
    state.iter().zip(kind.fields).all(|(value, field)| (field.min()..=field.max()).contains(value))
}

#[test]
fn a_flag_that_moves_along_another_comes_back() {
    const FLAG: Field = Field { bits: 1, signed: false, ..PLAIN };
    static FIELDS: [Field; 3] =
        [Field { predictor: Predictor::Linear { velocity: 1, numerator: 40 }, ..FLAG }, PLAIN, FLAG];
    static KINDS: [Kind; 1] = [Kind { name: "flags", fields: &FIELDS }];
    static FLAGS: Schema = Schema { kinds: &KINDS, input: &[] };
    assert!(FLAGS.is_valid());
    let plans = Plans::new(&FLAGS);
    for (from, to) in [([0, 0, 0], [1, 0, 0]), ([1, 2, 1], [1, -2, 0]), ([0, 2, 0], [0, 2, 1])] {
        let state = |fields: [i32; 3]| core::array::from_fn(|i| fields.get(i).copied().unwrap_or(0));
        let (base, now): (State, State) = (state(from), state(to));
        let case = Case { number: 0, base, older: None, age: 3, rate: 20, now };
        let data = encode(&plans, &mut Model::new(&FLAGS), core::slice::from_ref(&case));
        decode(&plans, &mut Model::new(&FLAGS), &data, &[case]);
    }
}

#[test]
fn a_kind_that_the_schema_lacks_is_an_error_not_a_record() {
    let (plans, _) = cases(1);
    let mut model = Model::new(plans.schema());
    let mut decoder = Decoder::new(&plans, &mut model, &[0; 8]);
    let base = State::default();
    let history = History { base: &base, older: None, age: 1, rate: 20 };
    assert!(decoder.record(200, &history, &base).is_err());
}

#[test]
fn a_body_that_is_cut_or_goes_on_is_refused() {
    let (plans, cases) = (0..).map(cases).find(|(_, cases)| cases.len() > 20).unwrap();
    let data = encode(&plans, &mut Model::new(plans.schema()), &cases);
    let longer: Vec<u8> = data.iter().copied().chain([1; 9]).collect();
    for data in [&data[..data.len() / 2], &longer] {
        let mut model = Model::new(plans.schema());
        let mut decoder: Coder<'_, _> = Decoder::new(&plans, &mut model, data);
        let read = cases.iter().all(|case| {
            let record = decoder.record(case.number, &case.history(), &State::default());
            decoder.exp(0, 0);
            decoder.raw(0, 32);
            decoder.tree(500, 0, 8);
            record.is_ok()
        });
        assert!(!read || decoder.finish().is_err());
    }
}

#[test]
fn more_bytes_than_tables_may_have_are_refused() {
    let (plans, _) = cases(1);
    assert!(Tables::read(plans.schema(), &vec![0; MAX_TABLE_BYTES + 1]).is_err());
    assert!(Tables::read(plans.schema(), &[]).is_err());
}

/// One entity in a slot, as both ends have it.
#[derive(Clone)]
struct Thing {
    slot: u16,
    id: u32,
    number: u8,
    owner: bool,
    state: State,
}

/// A slot, what a record does to it, and of an update the new state and the baseline.
type Record = (u16, Op, Option<(Thing, State)>);

/// What a snapshot says of each slot, in order.
fn compact_body<B: Binary>(coder: &mut Coder<'_, B>, header: &Header, records: &[Record]) {
    assert_eq!(coder.header(header), Ok(*header));
    let mut next = 0;
    for (slot, op, update) in records {
        coder.gap(slot - next).unwrap();
        next = slot + 1;
        coder.op(header.ages, op).unwrap();
        if let (Op::Update { age }, Some((thing, base))) = (op, update) {
            let history = History { base, older: None, age: *age, rate: RATE };
            assert_eq!(coder.update(thing.number, thing.owner, &history, &thing.state), Ok(thing.state));
        }
    }
}

const RATE: u16 = 20;

/// Snapshots with spawns, updates of two ages and despawns: a body's bytes, and who is there afterwards.
fn stream(seed: u64, mut body: impl FnMut(&Plans, &Header, &[Record], u64, &[Thing])) {
    let mut rng = Rng::new(seed);
    let schema = schema(&mut rng);
    let plans = Plans::new(schema);
    let mut things: Vec<(Thing, u64)> = Vec::new();
    for tick in 1..12u64 {
        let mut records = Vec::new();
        let mut after: Vec<(Thing, u64)> = Vec::new();
        for slot in 0..20u16 {
            let at = things.iter().position(|(thing, _)| thing.slot == slot);
            let Some((thing, since)) = at.map(|at| things[at].clone()) else {
                if rng.chance(0.3) {
                    let number = rng.below(schema.kinds.len() as u64) as u8;
                    let kind = schema.kind(number).unwrap();
                    let owner = rng.chance(0.2);
                    let state = kind.visible(owner, &state(&mut rng, kind));
                    let id = u32::from(slot) + 100 * tick as u32;
                    let thing = Thing { slot, id, number, owner, state };
                    records.push((slot, Op::Spawn { id, kind: number, owner, state }, None));
                    after.push((thing, tick));
                }
                continue;
            };
            let kind = schema.kind(thing.number).unwrap();
            let age = (tick - since) as u8;
            if rng.chance(0.1) {
                records.push((slot, Op::Despawn, None));
            } else if rng.chance(0.7) && age > 0 {
                let state = kind.visible(thing.owner, &near(&mut rng, kind, &thing.state));
                let moved = Thing { state, ..thing };
                records.push((slot, Op::Update { age }, Some((moved.clone(), thing.state))));
                after.push((moved, tick));
            } else {
                after.push((thing, since));
            }
        }
        things = after;
        let ages = Ages { first: 1, second: rng.chance(0.5).then_some(2) };
        let ages = if records.is_empty() { Ages::default() } else { ages };
        let margin = rng.chance(0.8).then(|| rng.next_u64() as i8);
        let header = Header { margin, complete: rng.chance(0.5), ages, count: records.len() as u16 };
        let there: Vec<Thing> = things.iter().map(|(thing, _)| thing.clone()).collect();
        body(&plans, &header, &records, tick, &there);
    }
}

proptest! {
    #[test]
    fn a_view_reads_compact_bodies_from_two_versions_of_tables(seed: u64) {
        let mut trained: Vec<Tables> = Vec::new();
        stream(seed, |plans, header, records, _, _| {
            let mut trainer = Trainer::new(plans.schema());
            compact_body(&mut trainer.body(plans), header, records);
            trained.push(trainer.tables(trained.len() as u8 + 1));
        });
        let mut view: Option<View> = None;
        stream(seed, |plans, header, records, tick, things| {
            let view = view.get_or_insert_with(|| {
                let mut view = View::new(plans.schema(), RATE, Limits::default());
                assert_eq!(view.apply(1, &[1 | 5 << 1]), Err(DecodeError::CodecNotAgreed));
                trained[..3].iter().for_each(|tables| view.add_tables(tables.clone()));
                assert_eq!(view.apply(1, &[1 | 1 << 1]), Err(DecodeError::UnknownTables(1)));
                view
            });
            let tables = &trained[1 + tick as usize % 2];
            let mut model = tables.model().clone();
            let mut bytes = vec![1 | tables.version() << 1];
            let mut encoder = Encoder::new(plans, &mut model, &mut bytes);
            compact_body(&mut encoder, header, records);
            encoder.finish();
            model.restart(tables.model());
            assert_eq!(&model, tables.model());
            view.apply(tick, &bytes).unwrap();
            assert_eq!(view.margin(), header.margin);
            assert_eq!(view.complete(), header.complete);
            assert_eq!(view.len(), things.len());
            for thing in things {
                let entity = view.entity(thing.id).unwrap();
                assert_eq!((entity.slot(), entity.kind(), entity.owner()), (thing.slot, thing.number, thing.owner));
                if entity.rows().next().is_some_and(|row| row.from == tick) {
                    assert_eq!(entity.state(), thing.state);
                }
            }
        });
    }

    #[test]
    fn a_view_survives_compact_garbage(seed: u64, data in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut done = false;
        stream(seed, |plans, header, records, _, _| {
            if core::mem::replace(&mut done, true) {
                return;
            }
            let mut view = View::new(plans.schema(), RATE, Limits::default());
            let mut trainer = Trainer::new(plans.schema());
            compact_body(&mut trainer.body(plans), header, records);
            view.add_tables(trainer.tables(1));
            let mut bytes = vec![1 | 1 << 1];
            bytes.extend_from_slice(&data);
            if let Ok(applied) = view.apply(5, &bytes) {
                assert!(applied.spawns >= view.len() as u16);
            }
        });
    }
}
