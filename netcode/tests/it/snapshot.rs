//! Codec and view against a model that keeps every record of every slot and moves bodies tick by tick, and against garbage.

use std::collections::BTreeMap;

use netcode::bits::{BadPadding, BitCount, BitSink, BitWriter, OutOfBits};
use netcode::rng::Rng;
use netcode::schema::{Audience, Field, Kind, MAX_FALL_TICKS, Predictor, Schema, State};
use netcode::snapshot::predict::{self, Guess, History};
use netcode::snapshot::{
    Ages, Applied, Codec, DecodeError, Event, Header, Limits, MAX_AGE, MAX_HEADER_BITS, View, max_spawn_bits,
    max_update_bits, write_age, write_codec, write_despawn, write_fields, write_gap, write_header, write_spawn,
};
use proptest::prelude::*;

const RATE: u16 = 20;

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

/// Every predictor, audience, width class and kind of range that a schema can have.
static SCHEMA: Schema = Schema {
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

fn random_state(rng: &mut Rng, kind: u8, owner: bool) -> State {
    let kind = SCHEMA.kind(kind).unwrap();
    let mut state = State::default();
    for (place, field) in state.iter_mut().zip(kind.fields) {
        *place = random_value(rng, field);
    }
    // Some groups are all 0, which a spawn says in a bit.
    let empty = rng.next_u64() as u8 & rng.next_u64() as u8;
    for (place, field) in state.iter_mut().zip(kind.fields) {
        *place *= i32::from(empty >> field.group & 1 == 0);
    }
    kind.visible(owner, &state)
}

/// One tick on, as the rules of the schema say it.
fn moved_on(fields: &[Field], before: &State) -> State {
    let mut state = *before;
    let rate = i64::from(RATE);
    let fit = |field: &Field, value: i64| {
        let (min, max) = (i64::from(field.min()), i64::from(field.max()));
        let value = if field.wraps { (value - min).rem_euclid(max - min + 1) + min } else { value.clamp(min, max) };
        i32::try_from(value).unwrap()
    };
    for (i, field) in fields.iter().enumerate() {
        if let Predictor::Fall { gravity, terminal, flags, supported } = field.predictor
            && before[usize::from(flags)] & supported == 0
        {
            let sunk = i64::from(state[i]) - (i64::from(gravity) + rate / 2).div_euclid(rate);
            state[i] = fit(field, sunk.max(-i64::from(terminal)));
        }
    }
    for (i, field) in fields.iter().enumerate() {
        if let Predictor::Linear { velocity, numerator } = field.predictor {
            let way = i64::from(state[usize::from(velocity)]) * i64::from(numerator);
            state[i] = fit(field, i64::from(state[i]) + (way + rate / 2).div_euclid(rate));
        }
    }
    state
}

/// So many ticks on, one by one.
fn guessed(kind: u8, ticks: u64, state: &State) -> State {
    let kind = SCHEMA.kind(kind).unwrap();
    let ticks = if kind.falls(state) { ticks.min(u64::from(MAX_FALL_TICKS)) } else { ticks };
    (0..ticks).fold(*state, |state, _| moved_on(kind.fields, &state))
}

/// What comes in a game instead of what was guessed: that, a little off, or anything.
fn successor(rng: &mut Rng, kind: u8, owner: bool, guess: &State) -> State {
    let kind = SCHEMA.kind(kind).unwrap();
    let mut state = *guess;
    for (i, field) in kind.fields.iter().enumerate() {
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
    kind.visible(owner, &state)
}

#[derive(Clone, Copy, Debug)]
enum Plan {
    /// Against the state at `tick - age`.
    Update {
        kind: u8,
        owner: bool,
        age: u8,
        base: State,
        state: State,
    },
    Spawn {
        id: u32,
        kind: u8,
        owner: bool,
        state: State,
    },
    Despawn,
}

/// Writes the fields of an update, given the baseline.
fn write_from(w: &mut impl BitSink, (kind, owner, age): (u8, bool, u8), base: &State, state: &State) {
    let plan = predict::Plan::new(SCHEMA.kind(kind).unwrap());
    let mut guess = Guess::new(&plan, &History::course(base, age, RATE));
    write_fields(w, &plan, &mut guess, owner, state);
}

/// Writes an update, and measures it: the same number of bits, within the maximum.
fn write_update(w: &mut BitWriter<'_>, ages: Ages, (kind, owner, age): (u8, bool, u8), base: &State, state: &State) {
    let before = w.bit_len();
    write_age(w, age, ages);
    write_from(w, (kind, owner, age), base, state);
    let mut count = BitCount::default();
    write_age(&mut count, age, ages);
    assert_eq!(count.0, ages.bits(age));
    write_from(&mut count, (kind, owner, age), base, state);
    assert_eq!(count.0, w.bit_len() - before);
    assert!(count.0 <= max_update_bits(&SCHEMA, kind, owner));
}

/// The bits of a spawn, counted: op, id, kind, owner, a bit for each group, and the fields of those that are not all 0.
fn spawn_bits(kind: u8, owner: bool, state: &State) -> usize {
    let fields = SCHEMA.kind(kind).unwrap().fields;
    let mut groups: BTreeMap<u8, (usize, bool)> = BTreeMap::new();
    for (field, value) in fields.iter().zip(state).filter(|(field, _)| owner || field.audience == Audience::Everyone) {
        let (bits, set) = groups.entry(field.group).or_default();
        *bits += usize::from(field.bits);
        *set |= *value != 0;
    }
    2 + 32 + 4 + 1 + groups.values().map(|(bits, set)| 1 + if *set { *bits } else { 0 }).sum::<usize>()
}

fn encode(header: &Header, records: &BTreeMap<u16, Plan>) -> Vec<u8> {
    let mut buf = vec![0; 16 * 1024];
    let mut w = BitWriter::new(&mut buf);
    write_codec(&mut w, Codec::Fast);
    write_header(&mut w, header);
    assert!(w.bit_len() <= MAX_HEADER_BITS);
    let mut next = 0;
    for (slot, plan) in records {
        write_gap(&mut w, slot - next);
        next = slot + 1;
        match plan {
            Plan::Update { kind, owner, age, base, state } => {
                write_update(&mut w, header.ages, (*kind, *owner, *age), base, state);
            }
            Plan::Spawn { id, kind, owner, state } => {
                let before = w.bit_len();
                write_spawn(&mut w, &SCHEMA, *id, *kind, *owner, state);
                assert_eq!(w.bit_len() - before, spawn_bits(*kind, *owner, state));
                assert!(w.bit_len() - before <= max_spawn_bits(&SCHEMA, *kind, *owner));
            }
            Plan::Despawn => write_despawn(&mut w),
        }
    }
    let len = w.finish();
    buf.truncate(len);
    buf
}

/// One slot as the model knows it: all records since the spawn, each with the tick until which its course was followed.
#[derive(Clone, Debug)]
struct Slot {
    id: u32,
    kind: u8,
    owner: bool,
    courses: BTreeMap<u64, (State, u64)>,
    /// Baselines do not go back behind this tick.
    acked: u64,
}

impl Slot {
    /// Its newest course that began by then, and its state then.
    fn at(&self, tick: u64) -> Option<(u64, State)> {
        let (from, (state, _)) = self.courses.range(..=tick).next_back()?;
        Some((*from, guessed(self.kind, tick - from, state)))
    }
}

/// A server and its truth: writes random legal snapshots.
struct Model {
    rng: Rng,
    tick: u64,
    slots: BTreeMap<u16, Slot>,
    next_id: u32,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), tick: 0, slots: BTreeMap::new(), next_id: 1 }
    }

    /// The next snapshot: its header, its records, and how the model's slots look after it.
    fn step(&mut self) -> (Header, BTreeMap<u16, Plan>, BTreeMap<u16, Slot>) {
        self.tick += 1 + self.rng.below(8) / 7 * self.rng.below(60);
        let ages = self.ages();
        let mut records = BTreeMap::new();
        let mut after = self.slots.clone();
        for _ in 0..self.rng.below(12) {
            let slot = if self.rng.chance(0.1) { self.rng.below(4096) } else { self.rng.below(10) } as u16;
            if records.contains_key(&slot) {
                continue;
            }
            let plan = match self.rng.below(20) {
                0 | 1 => Some(Plan::Despawn),
                2 => Some(self.plan_spawn(after.get(&slot).map(|held| (held.id, held.kind, held.owner)))),
                3 | 4 => Some(self.plan_spawn(None)),
                _ => self.plan_update(slot, ages, &mut after),
            };
            let Some(plan) = plan else { continue };
            self.carry_out(slot, &plan, &mut after);
            records.insert(slot, plan);
        }
        let margin = if self.rng.chance(0.5) { self.rng.below(6) as i8 - 1 } else { self.rng.next_u64() as i8 };
        let header = Header {
            margin: self.rng.chance(0.7).then_some(margin),
            complete: self.rng.chance(0.3),
            ages: if records.is_empty() { Ages::default() } else { ages },
            count: records.len() as u16,
        };
        if header.complete {
            for held in after.values_mut() {
                held.courses.last_entry().unwrap().get_mut().1 = self.tick;
            }
        }
        (header, records, after)
    }

    fn any_age(&mut self) -> u8 {
        1 + self.rng.below(u64::from(MAX_AGE)) as u8
    }

    fn ages(&mut self) -> Ages {
        let first = 1 + self.rng.below(6) as u8;
        let second = match self.rng.below(4) {
            0 | 1 => None,
            2 => Some(1 + self.rng.below(6) as u8),
            _ => Some(self.any_age()),
        };
        Ages { first, second }
    }

    fn plan_spawn(&mut self, refresh: Option<(u32, u8, bool)>) -> Plan {
        let (id, kind, owner) = refresh.unwrap_or_else(|| {
            self.next_id += 1;
            (self.next_id, self.rng.below(3) as u8, self.rng.chance(0.5))
        });
        Plan::Spawn { id, kind, owner, state: random_state(&mut self.rng, kind, owner) }
    }

    fn plan_update(&mut self, slot: u16, ages: Ages, after: &mut BTreeMap<u16, Slot>) -> Option<Plan> {
        let held = after.get_mut(&slot)?;
        let age = match self.rng.below(10) {
            0..=4 => ages.first,
            5 | 6 => ages.second.unwrap_or(ages.first),
            _ => self.any_age(),
        };
        let wanted = self.tick.checked_sub(u64::from(age))?;
        let (from, base) = held.at(wanted)?;
        let too_long = self.tick - from > u64::from(MAX_FALL_TICKS) && SCHEMA.kind(held.kind).unwrap().falls(&base);
        if from < held.acked || too_long {
            return None;
        }
        held.acked = from;
        let until = &mut held.courses.get_mut(&from).unwrap().1;
        *until = wanted.max(*until);
        let (kind, owner) = (held.kind, held.owner);
        let state = successor(&mut self.rng, kind, owner, &guessed(kind, u64::from(age), &base));
        Some(Plan::Update { kind, owner, age, base, state })
    }

    fn carry_out(&self, slot: u16, plan: &Plan, after: &mut BTreeMap<u16, Slot>) {
        match plan {
            Plan::Despawn => drop(after.remove(&slot)),
            Plan::Update { state, .. } => {
                after.get_mut(&slot).unwrap().courses.insert(self.tick, (*state, self.tick));
            }
            Plan::Spawn { id, kind, owner, state } => {
                let fresh = Slot { id: *id, kind: *kind, owner: *owner, courses: BTreeMap::new(), acked: 0 };
                let held = after.entry(slot).or_insert_with(|| fresh.clone());
                if held.id != *id {
                    *held = fresh;
                }
                held.courses.insert(self.tick, (*state, self.tick));
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
        let (_, (_, confirmed)) = held.courses.last_key_value().unwrap();
        assert_eq!((seen.slot(), seen.kind(), seen.owner()), (*slot, held.kind, held.owner));
        assert_eq!(seen.confirmed(), *confirmed);
        assert_eq!(Some(seen.state()), held.at(*confirmed).map(|(_, state)| state));
        for row in seen.rows() {
            let (state, until) = &held.courses[&row.from];
            assert_eq!((row.fields, row.until), (&state[..row.fields.len()], *until));
        }
        // What interpolation needs is there: the course of some ticks ago.
        let wanted = model.tick.saturating_sub(u64::from(Limits::default().keep_ticks));
        assert_eq!(seen.state_at(wanted), held.at(wanted).map(|(_, state)| state));
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
        for _ in 0..120 {
            let (header, mut records, after) = model.step();
            let body = encode(&header, &records);
            let applied = view.apply(model.tick, &body).unwrap();
            prop_assert_eq!(applied.updates + applied.spawns + applied.despawns, header.count);
            model.slots = after;
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

const PLAIN: Header = Header { margin: None, complete: false, ages: Ages { first: 1, second: None }, count: 0 };
const COMPLETE: Header = Header { complete: true, ..PLAIN };

fn spawn(id: u32) -> Plan {
    Plan::Spawn { id, kind: 0, owner: false, state: State::default() }
}

fn touch(age: u8) -> Plan {
    Plan::Update { kind: 0, owner: false, age, base: State::default(), state: State::default() }
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
    write_age(&mut count, 3, Ages { first: 3, second: None });
    write_from(&mut count, (0, false, 3), &base, &moved);
    assert_eq!(count.0, 2 + 4, "op, age and one bit for each of four groups");
}

#[test]
fn a_spawn_pays_for_the_fields_of_groups_that_are_not_all_0() {
    let mut state = State::default();
    state[3] = 1;
    let view = view_of(&[(3, Plan::Spawn { id: 1, kind: 0, owner: false, state })]);
    assert_eq!(view.entity(1).unwrap().state(), state);
    let bits = |state| {
        let mut count = BitCount::default();
        write_spawn(&mut count, &SCHEMA, 1, 0, false, &state);
        count.0
    };
    assert_eq!(bits(State::default()), 2 + 32 + 4 + 1 + 4, "one bit for each of four groups");
    assert_eq!(bits(state), 2 + 32 + 4 + 1 + 4 + 12 + 12, "vx is not 0, vz is of its group");
    // What the receiver does not get takes none.
    state[5] = 9;
    assert_eq!(bits(state), 2 + 32 + 4 + 1 + 4 + 12 + 12);
}

#[test]
fn the_longest_spawn_is_as_long_as_its_maximum() {
    let kind = SCHEMA.kind(2).unwrap();
    let mut far = State::default();
    far.iter_mut().zip(kind.fields).for_each(|(place, field)| *place = field.max());
    let mut spawn = BitCount::default();
    write_spawn(&mut spawn, &SCHEMA, 1, 2, false, &far);
    assert_eq!(spawn.0, max_spawn_bits(&SCHEMA, 2, false));
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
        write_codec(&mut w, Codec::Fast);
        write_header(&mut w, &Header { count: 2, ..PLAIN });
        fields.iter().for_each(|(value, bits)| w.write(*value, *bits));
        let len = w.finish();
        view.apply(11, &buf[..len])
    };
    // Slot 4095 and a despawn, then one slot more.
    assert_eq!(raw(&[(0b111, 3), (4095, 12), (0b11, 2), (0, 1)]), Err(DecodeError::SlotOutOfRange));
    assert_eq!(raw(&[(0, 1), (0b01, 2), (7, 32), (3, 4)]), Err(DecodeError::UnknownKind(3)));
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

/// A mover at 0 with 160 and -160 along both axes: 32 quanta a tick, both ways.
fn walker(id: u32, owner: bool) -> Plan {
    let mut state = State::default();
    state[2..6].copy_from_slice(&[160, 160, 5, if owner { -7 } else { 0 }]);
    Plan::Spawn { id, kind: 0, owner, state }
}

fn spans(view: &View) -> Vec<(u64, u64)> {
    view.entity(1).unwrap().rows().map(|row| (row.from, row.until)).collect()
}

#[test]
fn unmentioned_in_a_complete_snapshot_means_moved_on_as_guessed() {
    let mut view = view_of(&[(3, walker(1, false))]);
    view.apply(11, &body(COMPLETE, &[])).unwrap();
    view.apply(15, &body(COMPLETE, &[])).unwrap();
    view.apply(20, &body(PLAIN, &[])).unwrap();
    let walker = view.entity(1).unwrap();
    assert_eq!((walker.confirmed(), &walker.state()[..4]), (15, &[160, -160, 160, 160][..]));
    assert_eq!(walker.state_at(12).unwrap()[..2], [64, -64]);
    assert_eq!(walker.state_at(20).unwrap()[..2], [320, -320], "a guess");
    assert_eq!(walker.state_at(9), None);
    view.apply(21, &body(PLAIN, &[(3, spawn(1))])).unwrap();
    assert_eq!(spans(&view), [(21, 21), (10, 15)]);
    let walker = view.entity(1).unwrap();
    assert_eq!(walker.rows().map(|row| walker.on_course(&row, row.until)[0]).collect::<Vec<_>>(), [0, 160]);
}

#[test]
fn an_update_says_until_when_the_course_was_followed() {
    let mut view = view_of(&[(3, spawn(1))]);
    view.apply(12, &body(COMPLETE, &[])).unwrap();
    view.apply(20, &body(PLAIN, &[(3, touch(4))])).unwrap();
    assert_eq!(spans(&view), [(20, 20), (10, 16)]);
    view.apply(22, &body(PLAIN, &[(3, touch(5))])).unwrap();
    assert_eq!(spans(&view), [(22, 22), (20, 20), (10, 17)], "it went out from the older one");
    view.apply(24, &body(PLAIN, &[(3, touch(9))])).unwrap();
    assert_eq!(spans(&view), [(24, 24), (22, 22), (20, 20), (10, 17)], "nothing takes it back");
}

#[test]
fn what_is_the_owners_comes_to_the_owner_alone() {
    let owned = view_of(&[(3, walker(1, true))]);
    assert_eq!((owned.entity(1).unwrap().owner(), owned.entity(1).unwrap().state()[5]), (true, -7));
    let mut seen = view_of(&[(3, walker(1, false))]);
    assert_eq!((seen.entity(1).unwrap().owner(), seen.entity(1).unwrap().state()[5]), (false, 0));
    // Another owner: another entity, so that no course of one is a baseline for the other.
    seen.apply(11, &body(PLAIN, &[(3, walker(1, true))])).unwrap();
    assert_eq!(seen.events(), [Event::Despawned { id: 1 }, Event::Spawned { id: 1, kind: 0 }]);
    assert_eq!((spans(&seen), seen.entity(1).unwrap().state()[5]), (vec![(11, 11)], -7));
    assert_eq!(max_update_bits(&SCHEMA, 0, true) - max_update_bits(&SCHEMA, 0, false), 2 + 9 + 13 + 14 + 13);
}

#[test]
fn a_long_fall_costs_what_a_short_one_does() {
    let mut state = State::default();
    state[..2].copy_from_slice(&[0, 131_071]);
    let mut view = view_of(&[(3, Plan::Spawn { id: 1, kind: 2, owner: false, state })]);
    let tick = u64::MAX - 1;
    view.apply(tick, &body(COMPLETE, &[])).unwrap();
    let fallen = view.entity(1).unwrap();
    assert_eq!(fallen.state(), guessed(2, u64::from(MAX_FALL_TICKS), &state));
    assert_eq!(fallen.state(), fallen.state_at(10 + u64::from(MAX_FALL_TICKS)).unwrap());
}

#[test]
fn a_body_in_a_codec_that_was_not_agreed_on_is_refused() {
    let mut view = view_of(&[]);
    let mut other = body(COMPLETE, &[]);
    other[0] |= 1;
    assert_eq!(view.apply(11, &other), Err(DecodeError::CodecNotAgreed));
    assert_eq!(view.apply(11, &[]), Err(DecodeError::Truncated(OutOfBits)));
}
