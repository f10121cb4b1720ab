//! Codec and view against a model that keeps every state of every slot, and against garbage.

use std::collections::BTreeMap;

use netcode::bits::{BadPadding, BitCount, BitWriter, OutOfBits};
use netcode::rng::Rng;
use netcode::schema::{Audience, Field, Kind, Predictor, Schema, State};
use netcode::snapshot::{
    Applied, DecodeError, Event, Header, Limits, MAX_HEADER_BITS, View, max_update_bits, write_despawn, write_gap,
    write_header, write_spawn, write_update,
};
use proptest::prelude::*;

const RATE: u16 = 20;

const fn field(name: &'static str, bits: u8, signed: bool, group: u8, classes: [u8; 2]) -> Field {
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
        classes,
    }
}

const fn linear(field: Field, velocity: u8, numerator: i32) -> Field {
    Field { predictor: Predictor::Linear { velocity, numerator }, ..field }
}

const fn cyclic(field: Field) -> Field {
    Field { wraps: true, ..field }
}

/// Every predictor, width class and kind of range that a schema can have.
static SCHEMA: Schema = Schema {
    kinds: &[
        Kind {
            name: "mover",
            fields: &[
                linear(field("x", 20, true, 0, [4, 8]), 2, 4),
                linear(field("z", 20, true, 0, [4, 8]), 3, -4),
                field("vx", 12, true, 1, [3, 7]),
                field("vz", 12, true, 1, [3, 7]),
                cyclic(field("yaw", 12, false, 3, [4, 7])),
                field("alive", 1, false, 7, [0, 0]),
            ],
        },
        Kind {
            name: "extreme",
            fields: &[
                field("wide", 32, true, 0, [0, 31]),
                cyclic(field("ring", 32, true, 1, [5, 16])),
                field("unsigned", 31, false, 2, [1, 30]),
                field("tiny", 2, false, 2, [0, 1]),
                linear(field("thrown", 31, false, 4, [8, 16]), 0, 1 << 24),
                linear(cyclic(field("spun", 9, false, 5, [3, 6])), 1, -(1 << 24)),
            ],
        },
    ],
    input: &[],
};

fn random_value(rng: &mut Rng, field: &Field) -> i32 {
    let (min, max) = (i64::from(field.min()), i64::from(field.max()));
    match rng.below(8) {
        0 => field.min(),
        1 => field.max(),
        _ => (min + rng.below((max - min + 1) as u64) as i64) as i32,
    }
}

fn random_state(rng: &mut Rng, kind: u8) -> State {
    let mut state = State::default();
    for (place, field) in state.iter_mut().zip(SCHEMA.kind(kind).unwrap().fields) {
        *place = random_value(rng, field);
    }
    state
}

/// What follows the baseline in a game: as guessed, a little off, or anywhere.
fn successor(rng: &mut Rng, kind: u8, age: u8, base: &State) -> State {
    let fields = SCHEMA.kind(kind).unwrap().fields;
    let mut state = *base;
    for (i, field) in fields.iter().enumerate() {
        if let Predictor::Linear { velocity, numerator } = field.predictor {
            let travel = i128::from(base[usize::from(velocity)]) * i128::from(numerator) * i128::from(age);
            let moved = i128::from(base[i]) + (travel + i128::from(RATE / 2)).div_euclid(i128::from(RATE));
            // Exact in 64 bits for this schema; the cast is checked.
            state[i] = field.fit(i64::try_from(moved).unwrap());
        }
        match rng.below(6) {
            0 => state[i] = random_value(rng, field),
            1 | 2 => {
                let reach = 1 << rng.below(10);
                let off = rng.below(2 * reach) as i64 - reach as i64;
                state[i] = field.fit(i64::from(state[i]) + off);
            }
            _ => {}
        }
    }
    state
}

#[derive(Clone, Copy, Debug)]
enum Plan {
    Update { kind: u8, age: u8, base: State, state: State },
    Spawn { id: u32, kind: u8, state: State },
    Despawn,
}

fn encode(header: &Header, records: &BTreeMap<u16, Plan>) -> Vec<u8> {
    let mut buf = vec![0; 16 * 1024];
    let mut w = BitWriter::new(&mut buf);
    write_header(&mut w, header);
    assert!(w.bit_len() <= MAX_HEADER_BITS);
    let mut next = 0;
    for (slot, plan) in records {
        write_gap(&mut w, slot - next);
        next = slot + 1;
        match plan {
            Plan::Update { kind, age, base, state } => {
                let before = w.bit_len();
                write_update(&mut w, &SCHEMA, RATE, *kind, *age, header.age0, base, state);
                let mut count = BitCount::default();
                write_update(&mut count, &SCHEMA, RATE, *kind, *age, header.age0, base, state);
                assert_eq!(count.0, w.bit_len() - before);
                assert!(count.0 <= max_update_bits(&SCHEMA, *kind));
            }
            Plan::Spawn { id, kind, state } => write_spawn(&mut w, &SCHEMA, *id, *kind, state),
            Plan::Despawn => write_despawn(&mut w),
        }
    }
    let len = w.finish();
    buf.truncate(len);
    buf
}

/// One slot as the model knows it: all states since the spawn.
#[derive(Clone, Debug)]
struct Slot {
    id: u32,
    kind: u8,
    states: BTreeMap<u64, State>,
    /// Baselines do not go back behind this tick.
    acked: u64,
}

/// A server and its truth: writes random legal snapshots.
struct Model {
    rng: Rng,
    tick: u64,
    slots: BTreeMap<u16, Slot>,
    next_id: u32,
    complete_at: Option<u64>,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), tick: 0, slots: BTreeMap::new(), next_id: 1, complete_at: None }
    }

    /// The next snapshot: its header, its records, and how the model's slots look after it.
    fn step(&mut self) -> (Header, BTreeMap<u16, Plan>, BTreeMap<u16, Slot>) {
        self.tick += 1 + self.rng.below(8) / 7 * self.rng.below(100);
        let age0 = 1 + self.rng.below(6) as u8;
        let mut records = BTreeMap::new();
        let mut after = self.slots.clone();
        for _ in 0..self.rng.below(12) {
            let slot = if self.rng.chance(0.1) { self.rng.below(4096) } else { self.rng.below(10) } as u16;
            if records.contains_key(&slot) {
                continue;
            }
            let plan = match self.rng.below(20) {
                0 | 1 => Some(Plan::Despawn),
                2 => Some(self.plan_spawn(after.get(&slot).map(|held| (held.id, held.kind)))),
                3 | 4 => Some(self.plan_spawn(None)),
                _ => self.plan_update(slot, age0, &mut after),
            };
            let Some(plan) = plan else { continue };
            self.carry_out(slot, &plan, &mut after);
            records.insert(slot, plan);
        }
        let header = Header {
            margin: self.rng.chance(0.5).then(|| self.rng.next_u64() as i8),
            complete: self.rng.chance(0.3),
            age0,
            count: records.len() as u16,
        };
        (header, records, after)
    }

    fn plan_spawn(&mut self, refresh: Option<(u32, u8)>) -> Plan {
        let (id, kind) = refresh.unwrap_or_else(|| {
            self.next_id += 1;
            (self.next_id, self.rng.below(2) as u8)
        });
        Plan::Spawn { id, kind, state: random_state(&mut self.rng, kind) }
    }

    fn plan_update(&mut self, slot: u16, age0: u8, after: &mut BTreeMap<u16, Slot>) -> Option<Plan> {
        let held = after.get_mut(&slot)?;
        let age = if self.rng.chance(0.7) { age0 } else { 1 + self.rng.below(63) as u8 };
        let wanted = self.tick.checked_sub(u64::from(age))?;
        let (tick, base) = held.states.range(..=wanted).next_back()?;
        if *tick < held.acked {
            return None;
        }
        held.acked = *tick;
        let state = successor(&mut self.rng, held.kind, age, base);
        Some(Plan::Update { kind: held.kind, age, base: *base, state })
    }

    fn carry_out(&self, slot: u16, plan: &Plan, after: &mut BTreeMap<u16, Slot>) {
        match plan {
            Plan::Despawn => drop(after.remove(&slot)),
            Plan::Update { state, .. } => drop(after.get_mut(&slot).unwrap().states.insert(self.tick, *state)),
            Plan::Spawn { id, kind, state } => {
                let fresh = Slot { id: *id, kind: *kind, states: BTreeMap::new(), acked: 0 };
                let held = after.entry(slot).or_insert_with(|| fresh.clone());
                if held.id != *id {
                    *held = fresh;
                }
                held.states.insert(self.tick, *state);
            }
        }
    }
}

/// All that can be seen of a view.
fn dump(view: &View) -> impl PartialEq + Clone + std::fmt::Debug + use<> {
    let rows = |entity: netcode::snapshot::Entity<'_>| {
        entity.rows().map(|row| (row.from, row.until, row.fields.to_vec())).collect::<Vec<_>>()
    };
    let entities: Vec<_> =
        view.entities().map(|e| (e.id(), e.slot(), e.kind(), e.state(), e.confirmed(), rows(e))).collect();
    (entities, view.events().to_vec(), view.tick(), view.margin(), view.complete())
}

fn assert_view_is(view: &View, model: &Model) {
    assert_eq!(view.len(), model.slots.len());
    for (slot, held) in &model.slots {
        let seen = view.entity(held.id).expect("the model holds it");
        let (tick, state) = held.states.last_key_value().unwrap();
        assert_eq!((seen.slot(), seen.kind(), seen.state()), (*slot, held.kind, *state));
        assert_eq!(seen.confirmed(), model.complete_at.map_or(*tick, |at| at.max(*tick)));
        for row in seen.rows() {
            assert_eq!(&held.states[&row.from][..row.fields.len()], row.fields);
        }
        // What interpolation needs is there: the state that held some ticks ago.
        let wanted = model.tick.saturating_sub(u64::from(Limits::default().keep_ticks));
        let kept = seen.rows().any(|row| row.from <= wanted);
        assert!(kept || held.states.first_key_value().unwrap().0 > &wanted);
    }
    assert!(view.entities().map(|entity| entity.id()).is_sorted());
}

fn assert_in_range(view: &View) {
    for entity in view.entities() {
        let state = entity.state();
        let fields = SCHEMA.kind(entity.kind()).unwrap().fields;
        assert!(fields.iter().zip(state).all(|(field, value)| field.min() <= value && value <= field.max()));
    }
}

/// A view that has followed a model for some snapshots, with the next body, not yet applied.
fn warm(seed: u64, snapshots: usize) -> (View, Model, Vec<u8>) {
    let mut view = View::new(&SCHEMA, RATE, Limits::default());
    let mut model = Model::new(seed);
    for _ in 0..snapshots {
        let (header, records, after) = model.step();
        view.apply(model.tick, &encode(&header, &records)).unwrap();
        model.slots = after;
    }
    let (header, records, _) = model.step();
    (view, model, encode(&header, &records))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_view_follows_the_truth_exactly(seed: u64) {
        let mut view = View::new(&SCHEMA, RATE, Limits::default());
        let mut model = Model::new(seed);
        for _ in 0..200 {
            let (header, mut records, after) = model.step();
            let body = encode(&header, &records);
            let applied = view.apply(model.tick, &body).unwrap();
            prop_assert_eq!(applied.updates + applied.spawns + applied.despawns, header.count);
            model.slots = after;
            if header.complete {
                model.complete_at = Some(model.tick);
            }
            assert_view_is(&view, &model);
            prop_assert_eq!((view.tick(), view.margin(), view.complete()), (Some(model.tick), header.margin, header.complete));
            // What was decoded encodes to the same bytes again.
            for (slot, plan) in &mut records {
                if let (Plan::Update { state, .. } | Plan::Spawn { state, .. }, Some(held)) = (plan, model.slots.get(slot)) {
                    *state = view.entity(held.id).unwrap().state();
                }
            }
            prop_assert_eq!(encode(&header, &records), body);
        }
    }

    #[test]
    fn a_damaged_body_changes_all_or_nothing(seed: u64) {
        let (mut view, model, body) = warm(seed, 40);
        let mut rng = Rng::new(seed).fork("damage");
        for _ in 0..300 {
            let mut damaged = body.clone();
            for _ in 0..1 + rng.below(3) {
                let bit = rng.below(body.len() as u64 * 8) as usize;
                damaged[bit / 8] ^= 1 << (bit % 8);
            }
            let before = dump(&view);
            match view.apply(model.tick, &damaged) {
                Err(_) => prop_assert_eq!(dump(&view), before),
                Ok(_) => {
                    assert_in_range(&view);
                    (view, ..) = warm(seed, 40);
                }
            }
        }
        prop_assert!(view.apply(model.tick, &body).is_ok());
    }

    #[test]
    fn a_body_cut_short_is_refused_whole(seed: u64) {
        let (mut view, model, body) = warm(seed, 20);
        let before = dump(&view);
        for len in 0..body.len() {
            prop_assert_eq!(view.apply(model.tick, &body[..len]), Err(DecodeError::Truncated(OutOfBits)));
        }
        for bits in 0..body.len() * 8 {
            // Cut within a byte, its other bits zero.
            let mut cut = body[..bits.div_ceil(8)].to_vec();
            if let (Some(last), true) = (cut.last_mut(), bits % 8 != 0) {
                *last &= (1 << (bits % 8)) - 1;
            }
            if view.apply(model.tick, &cut).is_ok() {
                (view, ..) = warm(seed, 20);
            }
            prop_assert_eq!(dump(&view), before.clone());
        }
        let longer = [&body[..], &[0]].concat();
        prop_assert_eq!(view.apply(model.tick, &longer), Err(DecodeError::Padding(BadPadding)));
    }

    #[test]
    fn garbage_never_panics_nor_passes_the_limits(seed: u64, ticks in proptest::collection::vec(any::<u64>(), 1..20)) {
        let limits = Limits { max_entities: 8, keep_ticks: 63 };
        let mut view = View::new(&SCHEMA, RATE, limits);
        let mut rng = Rng::new(seed);
        for tick in ticks {
            let mut body = vec![0; rng.below(200) as usize];
            rng.fill(&mut body);
            let before = dump(&view);
            if view.apply(tick, &body).is_err() {
                prop_assert_eq!(dump(&view), before);
            }
            prop_assert!(view.len() <= 8);
            assert_in_range(&view);
        }
    }
}

fn body(header: Header, records: &[(u16, Plan)]) -> Vec<u8> {
    encode(&Header { count: records.len() as u16, ..header }, &records.iter().copied().collect())
}

const PLAIN: Header = Header { margin: None, complete: false, age0: 1, count: 0 };
const COMPLETE: Header = Header { complete: true, ..PLAIN };

fn spawn(id: u32) -> Plan {
    Plan::Spawn { id, kind: 0, state: State::default() }
}

fn touch(age: u8) -> Plan {
    Plan::Update { kind: 0, age, base: State::default(), state: State::default() }
}

fn view_of(records: &[(u16, Plan)]) -> View {
    let mut view = View::new(&SCHEMA, RATE, Limits { max_entities: 4, ..Limits::default() });
    view.apply(10, &body(PLAIN, records)).unwrap();
    view
}

#[test]
fn a_body_at_rest_or_moving_as_guessed_costs_no_field_bits() {
    let mut base = State::default();
    base[..4].copy_from_slice(&[100, -100, 50, -50]);
    let mut moved = base;
    moved[..2].copy_from_slice(&[130, -70]);
    let mut count = BitCount::default();
    write_update(&mut count, &SCHEMA, RATE, 0, 3, 3, &base, &moved);
    assert_eq!(count.0, 2 + 4, "op, age and one bit for each of four groups");
}

#[test]
fn each_way_not_to_fit_has_its_own_error() {
    let mut view = view_of(&[(3, spawn(1))]);
    let before = dump(&view);
    let mut refused = |tick, records: &[(u16, Plan)]| view.apply(tick, &body(PLAIN, records)).unwrap_err();
    assert_eq!(refused(10, &[]), DecodeError::Stale);
    assert_eq!(refused(9, &[]), DecodeError::Stale);
    assert_eq!(refused(11, &[(2, touch(1))]), DecodeError::EmptySlot);
    assert_eq!(refused(11, &[(3, touch(2))]), DecodeError::UnknownBaseline);
    let crowd = [(0, spawn(5)), (3, spawn(2)), (7, spawn(3)), (8, spawn(4)), (9, spawn(6))];
    assert_eq!(refused(11, &crowd), DecodeError::TooManyEntities);
    // A good record before the bad one changes nothing.
    assert_eq!(refused(11, &[(3, Plan::Despawn), (4, touch(1))]), DecodeError::EmptySlot);
    assert_eq!(dump(&view), before);
}

#[test]
fn a_slot_or_kind_out_of_range_is_refused() {
    let mut view = view_of(&[]);
    let mut raw = |fields: &[(u64, u32)]| {
        let mut buf = [0; 64];
        let mut w = BitWriter::new(&mut buf);
        write_header(&mut w, &Header { count: 2, ..PLAIN });
        fields.iter().for_each(|(value, bits)| w.write(*value, *bits));
        let len = w.finish();
        view.apply(11, &buf[..len])
    };
    // Slot 4095 and a despawn, then one slot more.
    assert_eq!(raw(&[(0b111, 3), (4095, 12), (0b11, 2), (0, 1)]), Err(DecodeError::SlotOutOfRange));
    assert_eq!(raw(&[(0, 1), (0b01, 2), (7, 32), (2, 4)]), Err(DecodeError::UnknownKind(2)));
    assert_eq!(raw(&[(0, 1), (0b00, 2), (0, 6)]), Err(DecodeError::ZeroAge));
}

#[test]
fn a_full_view_takes_one_more_when_another_leaves() {
    let mut view = view_of(&[(0, spawn(1)), (1, spawn(2)), (2, spawn(3)), (3, spawn(4))]);
    view.apply(11, &body(PLAIN, &[(3, Plan::Despawn), (4, spawn(5))])).unwrap();
    assert_eq!(view.entities().map(|e| e.id()).collect::<Vec<_>>(), [1, 2, 3, 5]);
}

#[test]
fn a_repeated_despawn_means_nothing() {
    let mut view = view_of(&[(3, spawn(1))]);
    view.apply(11, &body(PLAIN, &[(3, Plan::Despawn)])).unwrap();
    assert_eq!(view.events(), [Event::Despawned { id: 1 }]);
    let applied = view.apply(12, &body(PLAIN, &[(3, Plan::Despawn), (4000, Plan::Despawn)])).unwrap();
    assert_eq!(applied, Applied { despawns: 2, ..Applied::default() });
    assert!(view.events().is_empty() && view.is_empty());
}

#[test]
fn a_spawn_on_an_occupied_slot_replaces_what_was_there() {
    let mut view = view_of(&[(3, spawn(1))]);
    view.apply(11, &body(PLAIN, &[(3, spawn(2))])).unwrap();
    assert_eq!(view.events(), [Event::Despawned { id: 1 }, Event::Spawned { id: 2, kind: 0 }]);
    assert!(view.entity(1).is_none());
    // The states of the one before are no baselines for the other.
    assert_eq!(view.apply(12, &body(PLAIN, &[(3, touch(2))])), Err(DecodeError::UnknownBaseline));
    assert!(view.apply(12, &body(PLAIN, &[(3, touch(1))])).is_ok());
}

#[test]
fn a_refresh_is_no_event_and_keeps_the_history() {
    let mut view = view_of(&[(3, spawn(1))]);
    view.apply(11, &body(PLAIN, &[(3, spawn(1))])).unwrap();
    assert!(view.events().is_empty());
    assert_eq!(view.entity(1).unwrap().rows().map(|row| row.from).collect::<Vec<_>>(), [11, 10]);
}

#[test]
fn an_entity_that_comes_back_in_another_slot_is_there_once() {
    let mut view = view_of(&[(3, spawn(1))]);
    view.apply(11, &body(PLAIN, &[(1, spawn(1))])).unwrap();
    assert_eq!(
        view.drain_events().collect::<Vec<_>>(),
        [Event::Despawned { id: 1 }, Event::Spawned { id: 1, kind: 0 }]
    );
    assert_eq!((view.len(), view.entity(1).unwrap().slot()), (1, 1));
    // The despawn of its old slot, repeated until acknowledged, does not touch it.
    view.apply(12, &body(PLAIN, &[(3, Plan::Despawn)])).unwrap();
    assert_eq!(view.len(), 1);
}

#[test]
fn unmentioned_in_a_complete_snapshot_means_held_still() {
    let mut view = view_of(&[(3, spawn(1))]);
    view.apply(11, &body(COMPLETE, &[])).unwrap();
    view.apply(15, &body(COMPLETE, &[])).unwrap();
    view.apply(20, &body(PLAIN, &[])).unwrap();
    assert_eq!(view.entity(1).unwrap().confirmed(), 15);
    view.apply(21, &body(PLAIN, &[(3, touch(1))])).unwrap();
    let spans: Vec<_> = view.entity(1).unwrap().rows().map(|row| (row.from, row.until)).collect();
    assert_eq!(spans, [(21, 21), (10, 15)]);
}
