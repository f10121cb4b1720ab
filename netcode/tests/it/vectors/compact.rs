//! The compact codec: tables of two versions, bodies that start from them and what a view holds after each, and what is
//! refused.

use netcode::rng::Rng;
use netcode::schema::{State, extrapolate};
use netcode::snapshot::compact::{Binary, Coder, Encoder, Model, Tables, Trainer};
use netcode::snapshot::predict::{History, Plans};
use netcode::snapshot::{Ages, Header, Limits, Op, View};
use serde_json::{Value, json};

use super::hex;
use super::schema::SCHEMA;
use super::snapshots::{
    RATE, Record, Sequence, body as fast_body, missile, npc, one, other, own, own_spawn, own_update, spawn, state,
    thing, two, update, with,
};

/// Codes a body; a trainer learns it.
fn code<B: Binary>(coder: &mut Coder<'_, B>, header: &Header, records: &[Record]) {
    coder.header(header).unwrap();
    let mut next = 0;
    for record in records {
        coder.gap(record.slot() - next).unwrap();
        next = record.slot() + 1;
        let (op, update) = match record {
            Record::Spawn { id, kind, owner, state, .. } => {
                (Op::Spawn { id: *id, kind: *kind, owner: *owner, state: *state }, None)
            }
            Record::Update { kind, owner, age, base, state, .. } => {
                (Op::Update { age: *age }, Some((*kind, *owner, *age, base, state)))
            }
            Record::Despawn { .. } => (Op::Despawn, None),
        };
        coder.op(header.ages, &op).unwrap();
        if let Some((kind, owner, age, base, state)) = update {
            let history = History { base, older: None, age, rate: RATE };
            coder.update(kind, owner, &history, state).unwrap();
        }
    }
}

fn header(margin: Option<i8>, complete: bool, ages: Ages, records: &[Record]) -> Header {
    Header { margin, complete, ages, count: records.len() as u16 }
}

fn body(tables: &Tables, header: &Header, records: &[Record]) -> Vec<u8> {
    let (plans, mut model) = (Plans::new(&SCHEMA), tables.model().clone());
    let mut out = vec![1 | tables.version() << 1];
    let mut encoder = Encoder::new(&plans, &mut model, &mut out);
    code(&mut encoder, header, records);
    encoder.finish();
    out
}

/// What a walker became in so many ticks: guessed, or a step off it, now and then a leap.
fn walked(rng: &mut Rng, kind: u8, ticks: u8, from: &State) -> State {
    let fields = SCHEMA.kind(kind).unwrap().fields;
    let mut now = on(kind, ticks, from);
    for (field, value) in fields.iter().zip(&mut now) {
        let reach = match rng.below(16) {
            0 => 1u64 << rng.below(u64::from(field.bits)),
            1..=5 => 3,
            _ => 0,
        };
        let off = rng.below(2 * reach + 1) as i64 - reach as i64;
        *value = field.fit(i64::from(*value) + off);
    }
    now
}

fn on(kind: u8, ticks: u8, from: &State) -> State {
    extrapolate(SCHEMA.kind(kind).unwrap(), RATE, ticks.into(), from)
}

fn trained(seed: u64, version: u8, bodies: u32) -> Tables {
    let (plans, mut trainer) = (Plans::new(&SCHEMA), Trainer::new(&SCHEMA));
    let mut rng = Rng::new(seed);
    let mut states = [state([0, 0, 0, 64, 0, -64, 0, 1], &[20]); 12];
    for _ in 0..bodies {
        let records = (0..12).map(|slot: u16| {
            let kind = [0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 3][usize::from(slot)];
            let now = &mut states[usize::from(slot)];
            let owner = slot == 0;
            let base = SCHEMA.kinds[usize::from(kind)].visible(owner, now);
            *now = SCHEMA.kinds[usize::from(kind)].visible(owner, &walked(&mut rng, kind, 1, &base));
            Record::Update { slot: 2 * slot, kind, owner, age: 1, base, state: *now }
        });
        let records: Vec<_> = records.collect();
        let header = header(Some(2), true, one(1), &records);
        code(&mut trainer.body(&plans), &header, &records);
    }
    trainer.tables(version)
}

fn bytes(tables: &Tables) -> Vec<u8> {
    let mut out = Vec::new();
    tables.write(&mut out);
    out
}

fn tables_that_are_none() -> Vec<Value> {
    let whole = bytes(&trained(1, 1, 20));
    let cases = [
        ("without a byte", vec![]),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("with more behind them", [&whole[..], &[0; 9]].concat()),
    ];
    let none = |(name, data): (&str, Vec<u8>)| {
        assert!(Tables::read(&SCHEMA, &data).is_err(), "{name}");
        json!({ "name": name, "bytes": hex(data) })
    };
    cases.map(none).into()
}

/// The first version does for the first half; from then on both do in turn.
fn play(sequence: &mut Sequence, first: &Tables, second: &Tables) -> Vec<(u16, u8, bool, State)> {
    let mut rng = Rng::new(11);
    let (own, other, npc) = (own(), other(), npc());
    let far = with(npc, &[(0, -70_000), (2, 70_000), (3, -300), (6, 4095)]);
    let mut apply = |name: &str, tick, margin, tables: &Tables, complete, ages, records: &[Record]| {
        let coded = body(tables, &header(margin, complete, ages, records), records);
        sequence.apply(name, tick, &coded);
    };
    apply("an empty one", 5000, None, first, true, Ages::default(), &[]);
    let spawns = [own_spawn(&own), spawn(1, 9, 0, &other), spawn(9, 10, 1, &npc), spawn(300, 12, 1, &far)];
    apply("spawns", 5001, Some(-3), first, true, one(0), &spawns);
    let guessed = on(0, 1, &own);
    apply("an update that says: as guessed", 5002, Some(127), first, false, one(1), &[own_update(1, &own, &guessed)]);
    let small = with(on(0, 2, &guessed), &[(3, 330), (6, 5), (8, -19), (11, 47), (14, 29 | 500 << 7)]);
    let sinks = state([-1_048_576, 131_071, 1_048_575, 2047, -2048, 0, 2048, 0], &[-64, 0, 63]);
    let turned = with(on(1, 3, &npc), &[(0, 9), (6, 100 - 33), (7, 3), (8, 7), (9, 99)]);
    let updates = [own_update(2, &guessed, &small), update(1, 0, 3, &other, &sinks), update(9, 1, 3, &npc, &turned)];
    apply("updates of both ages of the header", 5004, Some(-128), first, true, two(3, 2), &updates);
    let gone = [Record::Despawn { slot: 1 }, Record::Despawn { slot: 2 }, update(300, 1, 4, &far, &on(1, 4, &far))];
    apply("despawns, and an age beside the header's", 5005, None, first, true, two(1, 63), &gone);
    let drops = with(on(0, 2, &small), &[(1, 90_000), (4, -100), (7, 0)]);
    let falls = [
        own_update(2, &small, &drops),
        spawn(60, 600, 2, &missile()),
        spawn(61, 601, 3, &thing()),
        spawn(4095, 13, 1, &far),
    ];
    apply("it drops, by the second tables", 5006, Some(1), second, true, one(2), &falls);
    let mut all = vec![(0, 0, true, drops), (9, 1, false, on(1, 2, &turned)), (60, 2, false, missile())];
    all.extend([(61, 3, false, thing()), (300, 1, false, on(1, 1, &on(1, 4, &far))), (4095, 1, false, far)]);
    for tick in 5007..5019 {
        let tables = if tick % 2 == 0 { first } else { second };
        let records: Vec<_> = all
            .iter_mut()
            .map(|(slot, kind, owner, now)| {
                let base = *now;
                *now = SCHEMA.kinds[usize::from(*kind)].visible(*owner, &walked(&mut rng, *kind, 1, &base));
                Record::Update { slot: *slot, kind: *kind, owner: *owner, age: 1, base, state: *now }
            })
            .collect();
        apply("steps and leaps, from both in turn", tick, Some(2), tables, tick % 3 == 0, one(1), &records);
    }
    let refresh = [own_spawn(&own), spawn(9, 12, 1, &npc), Record::Despawn { slot: 300 }];
    apply("a refresh, and an entity in the slot of another", 5019, Some(3), second, true, one(0), &refresh);
    vec![(0, 0, true, own), (9, 1, false, npc)]
}

/// What does not fit the view of tick 5,019.
fn refuse(sequence: &mut Sequence, tables: &Tables, held: &[(u16, u8, bool, State)]) {
    let [(_, _, _, own), (_, _, _, npc)] = held else { return };
    let now = with(on(0, 1, own), &[(0, 1000), (3, -800), (6, 9)]);
    let touch = [own_update(1, own, &now), update(9, 1, 1, npc, &on(1, 1, npc))];
    let made = |margin, ages, records: &[Record]| body(tables, &header(margin, true, ages, records), records);
    let whole = made(None, one(1), &touch);
    let version = |version: u8| [&[1 | version << 1], &whole[1..]].concat();
    let low = with(*npc, &[(0, -1_048_576)]);
    sequence.refuse(5019, &whole);
    sequence.refuse(5020, &version(1));
    sequence.refuse(5020, &version(99));
    sequence.refuse(5020, &whole[..1]);
    sequence.refuse(5020, &[&whole[..], &[0; 9]].concat());
    sequence.refuse(5020, &made(None, one(1), &[update(3, 0, 1, own, own)]));
    sequence.refuse(5020, &made(None, one(1), &[update(9, 1, 2, npc, npc)]));
    // As if it were a lower x than it is: the sum of guess and residual is out of range.
    let x = with(*npc, &[(0, 2000)]);
    sequence.refuse(5020, &made(None, one(1), &[update(9, 1, 1, &x, &low)]));
    let mut full = made(Some(0), one(1), &[spawn(4000, 77, 1, npc)]);
    full.truncate(4);
    sequence.refuse(5020, &full);
    sequence.refuse(5020, &[whole[0], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    sequence.refuse(5020, &[whole[0]; 12]);
    sequence.refuse(5020, &[&whole[..1], &[0; 40]].concat());
    let good = fast_body(None, true, one(1), &[own_update(1, own, &now)]);
    sequence.apply("the fast codec between, as before", 5020, &good);
}

pub fn vectors() -> Value {
    let tables = [trained(1, 1, 20), trained(1, 5, 60), trained(2, 127, 200)];
    let mut sequence = Sequence::new(View::new(&SCHEMA, RATE, Limits::default()));
    tables.iter().for_each(|tables| sequence.view.add_tables(tables.clone()));
    let held = play(&mut sequence, &tables[1], &tables[2]);
    let fresh = Model::new(&SCHEMA);
    assert!(tables.iter().all(|tables| *tables.model() != fresh));
    refuse(&mut sequence, &tables[2], &held);
    let (mut steps, errors) = (sequence.steps, sequence.errors);
    let last = steps.pop();
    let listed = |tables: &Tables| json!({ "version": tables.version(), "bytes": hex(bytes(tables)) });
    let in_order: Vec<_> = tables.iter().map(listed).collect();
    json!({
        "rate": RATE,
        "tables_in_order": in_order,
        "refused_tables": tables_that_are_none(),
        "sequence": steps,
        "refused_after_it": errors,
        "after_that": last,
    })
}
