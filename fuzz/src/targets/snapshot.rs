//! Snapshots: a view that has seen some takes whatever follows, twice: as it came, and as our own writer would say it.
//!
//! - What fails leaves the view as it was, and fails for the reason that reading it part by part gives.
//! - What succeeds keeps every limit, its events lead from the old set of entities to the new one, and its records,
//!   written anew, take no more bytes and bring a second view to the same state.

use std::collections::BTreeSet;

use netcode::bits::{BitReader, BitWriter};
use netcode::rng::Rng;
use netcode::schema::{Fnv, Schema, State, extrapolate};
use netcode::snapshot::predict::{Guess, Plan};
use netcode::snapshot::{
    Ages, Applied, Codec, DecodeError, Event, Header, Limits, MAX_AGE, MAX_SLOTS, Op, View, read_codec, read_fields,
    read_gap, read_header, read_op, write_age, write_codec, write_despawn, write_fields, write_gap, write_header,
    write_spawn,
};

use super::schema;
use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    Update => "an update",
    SecondAge => "an update of the second age",
    OtherAge => "an update of another age than most",
    Spawn => "a spawn",
    Sparse => "a spawn with a group that is all 0",
    Refresh => "a spawn of what is known",
    Moved => "an entity that changes its slot",
    Replaced => "a slot that goes to another entity",
    Despawn => "a despawn",
    DespawnEmpty => "a despawn of nothing",
    Complete => "a complete snapshot",
    Owned => "an update of the client's own entity",
    Falling => "an update of a body that falls",
    OldCourse => "an update of a course that the newest is not",
    CodecNotAgreed => "another codec",
    Truncated => "truncated",
    Padding => "bad padding",
    Stale => "stale",
    SlotOutOfRange => "slot out of range",
    UnknownKind => "unknown kind",
    EmptySlot => "an update of an empty slot",
    ZeroAge => "an update of age zero",
    UnknownBaseline => "unknown baseline",
    ValueOutOfRange => "value out of range",
    TooManyEntities => "too many entities",
}

const RATE: u16 = 20;
/// Small, so that it is reached.
const MAX_ENTITIES: u16 = 24;
const FIRST_TICK: u64 = 1000;
const BUFFER: usize = 4096;

/// The target. Schema and limits first, then snapshots: how far their ticks are apart, and their bodies.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let (choice, keep) = (program.u8(), program.u8());
    let schema = schema::choose(choice);
    let limits = Limits { max_entities: MAX_ENTITIES, keep_ticks: keep % (MAX_AGE + 1) };
    let mut pair = Pair { schema, view: View::new(schema, RATE, limits), twin: View::new(schema, RATE, limits) };
    let mut tick = FIRST_TICK;
    while !program.is_empty() {
        let (delta, shape) = (u64::from(program.u8()), program.u8());
        tick = if delta < 192 { tick + delta } else { tick.saturating_sub(delta - 192) };
        if shape & 1 == 0 {
            let body = program.sized(BUFFER / 2);
            pair.apply(tick, body);
        } else {
            let body = compose(&mut program, schema, &pair.view, tick, shape >> 1);
            pair.apply(tick, &body);
        }
        tick = pair.view.tick().unwrap_or(tick);
    }
}

struct Pair {
    schema: &'static Schema,
    view: View,
    twin: View,
}

/// A record as it is read, with what a writer needs to write it again.
enum Record {
    Update { number: u8, owner: bool, age: u8, guess: State, state: State },
    Spawn { id: u32, kind: u8, owner: bool, state: State },
    Despawn,
}

type Records = Vec<(u16, Record)>;

impl Pair {
    fn apply(&mut self, tick: u64, body: &[u8]) {
        let before = (digest(&self.view), self.view.events().len());
        let ids: BTreeSet<u32> = self.view.entities().map(|entity| entity.id()).collect();
        let read = read(self.schema, &self.view, tick, body);
        let result = self.view.apply(tick, body);
        let (header, records) = match (read, &result) {
            (Ok(read), Ok(_)) => read,
            (Err(ours), Err(theirs)) => {
                assert_eq!(ours, *theirs, "the view fails for another reason than its parts");
                assert_eq!((digest(&self.view), self.view.events().len()), before, "a failed body changed the view");
                return reach_error(*theirs);
            }
            (read, _) => panic!("the view says {result:?}, its parts say {:?}", read.map(|(header, _)| header)),
        };
        self.check_limits(tick);
        self.check_records(tick, &header, &records);
        check_events(ids, &self.view);
        let again = write(self.schema, &header, &records);
        assert!(again.len() <= body.len(), "the writer needs more than the body had");
        assert_eq!(self.twin.apply(tick, &again), result);
        assert_eq!(digest(&self.twin), digest(&self.view), "written anew it says something else");
        assert_eq!(self.twin.events(), self.view.events());
        reach_applied(&header, &result.unwrap_or_default(), self.view.len());
    }

    fn check_limits(&self, tick: u64) {
        assert!(self.view.len() <= usize::from(MAX_ENTITIES));
        assert_eq!(self.view.tick(), Some(tick));
        let (mut last, mut slots) = (None, BTreeSet::new());
        for entity in self.view.entities() {
            assert!(last < Some(entity.id()), "ids ascend");
            last = Some(entity.id());
            assert!(entity.slot() < MAX_SLOTS && slots.insert(entity.slot()), "each slot once");
            let kind = self.schema.kind(entity.kind()).expect("the kind of a held entity exists");
            let state = entity.state();
            assert!(schema::in_range(kind.fields, &state), "a held value is out of range");
            assert_eq!(kind.visible(entity.owner(), &state), state, "what is the owner's is the owner's");
            assert!(entity.confirmed() <= tick);
            assert_eq!(entity.state_at(entity.confirmed()), Some(state));
            let (mut rows, mut later) = (0, u64::MAX);
            for row in entity.rows() {
                assert!(row.from <= row.until && row.until < later && row.fields.len() == kind.fields.len());
                later = row.from;
                rows += 1;
            }
            assert!((1..=usize::from(MAX_AGE) + 1).contains(&rows));
            assert_eq!(self.view.entity(entity.id()).map(|same| same.slot()), Some(entity.slot()));
        }
    }

    /// Each record did to its slot what it says. Where two spawns name the same entity, the later one wins.
    fn check_records(&self, tick: u64, header: &Header, records: &Records) {
        assert_eq!((self.view.margin(), self.view.complete()), (header.margin, header.complete));
        for (slot, record) in records {
            let held = self.view.entities().find(|entity| entity.slot() == *slot);
            match record {
                Record::Despawn => assert!(held.is_none()),
                Record::Update { state, .. } => {
                    let spawned_elsewhere = held.is_none();
                    assert!(
                        spawned_elsewhere
                            || held.is_some_and(|held| held.state() == *state && held.confirmed() == tick)
                    );
                }
                Record::Spawn { id, kind, owner, state } => {
                    let same =
                        |other: &&(u16, Record)| matches!(&other.1, Record::Spawn { id: other, .. } if other == id);
                    if records.iter().rfind(same).is_some_and(|last| last.0 == *slot) {
                        let held = held.expect("a spawned entity is held");
                        assert_eq!(
                            (held.id(), held.kind(), held.owner(), held.state(), held.confirmed()),
                            (*id, *kind, *owner, *state, tick)
                        );
                    }
                }
            }
        }
    }
}

/// Reads a body part by part, with the baselines that the view holds.
fn read(schema: &'static Schema, view: &View, tick: u64, body: &[u8]) -> Result<(Header, Records), DecodeError> {
    if view.tick().is_some_and(|newest| tick <= newest) {
        return Err(DecodeError::Stale);
    }
    let mut r = BitReader::new(body);
    if read_codec(&mut r)? == Codec::Compact {
        return Err(DecodeError::CodecNotAgreed);
    }
    let header = read_header(&mut r)?;
    let (mut records, mut next, mut entities) = (Vec::new(), 0, view.len());
    for _ in 0..header.count {
        let slot = next + read_gap(&mut r)?;
        if slot >= MAX_SLOTS {
            return Err(DecodeError::SlotOutOfRange);
        }
        next = slot + 1;
        let op = read_op(&mut r, schema, header.ages)?;
        let held = view.entities().find(|entity| entity.slot() == slot);
        let record = match op {
            Op::Update { age } => {
                let held = held.ok_or(DecodeError::EmptySlot)?;
                let wanted = tick.checked_sub(u64::from(age)).ok_or(DecodeError::UnknownBaseline)?;
                let row = held.rows().find(|row| row.from <= wanted).ok_or(DecodeError::UnknownBaseline)?;
                let kind = schema.kind(held.kind()).ok_or(DecodeError::UnknownKind(held.kind()))?;
                let guess = held.on_course(&row, tick);
                let mut likely = Guess::on_course(&guess, age, RATE);
                let state = read_fields(&mut r, &Plan::new(kind), &mut likely, held.owner())?;
                reach(match header.ages {
                    Ages { first, .. } if age == first => Feature::Update,
                    Ages { second: Some(second), .. } if age == second => Feature::SecondAge,
                    _ => Feature::OtherAge,
                });
                reach_if(held.owner(), Feature::Owned);
                reach_if(kind.falls(&guess), Feature::Falling);
                reach_if(held.rows().next().is_some_and(|newest| newest.from > row.from), Feature::OldCourse);
                Record::Update { number: held.kind(), owner: held.owner(), age, guess, state }
            }
            Op::Spawn { id, kind, owner, state } => {
                entities += usize::from(held.is_none());
                reach_if(is_sparse(schema, kind, owner, &state), Feature::Sparse);
                reach(match held {
                    None if view.entity(id).is_some() => Feature::Moved,
                    None => Feature::Spawn,
                    Some(held) if held.id() == id => Feature::Refresh,
                    Some(_) => Feature::Replaced,
                });
                Record::Spawn { id, kind, owner, state }
            }
            Op::Despawn => {
                entities -= usize::from(held.is_some());
                reach(if held.is_some() { Feature::Despawn } else { Feature::DespawnEmpty });
                Record::Despawn
            }
        };
        records.push((slot, record));
    }
    r.finish_zero_padded()?;
    if entities > usize::from(MAX_ENTITIES) { Err(DecodeError::TooManyEntities) } else { Ok((header, records)) }
}

fn write(schema: &Schema, header: &Header, records: &Records) -> Vec<u8> {
    let mut out = [0; BUFFER];
    let mut w = BitWriter::new(&mut out);
    write_codec(&mut w, Codec::Fast);
    write_header(&mut w, header);
    let mut next = 0;
    for (slot, record) in records {
        write_gap(&mut w, slot - next);
        next = slot + 1;
        match record {
            Record::Update { number, owner, age, guess, state } => {
                write_age(&mut w, *age, header.ages);
                let plan = Plan::new(&schema.kinds[usize::from(*number)]);
                write_fields(&mut w, &plan, &mut Guess::on_course(guess, *age, RATE), *owner, state);
            }
            Record::Spawn { id, kind, owner, state } => write_spawn(&mut w, schema, *id, *kind, *owner, state),
            Record::Despawn => write_despawn(&mut w),
        }
    }
    let len = w.finish();
    out[..len].to_vec()
}

/// The events lead from the old set of entities to the new one.
fn check_events(mut ids: BTreeSet<u32>, view: &View) {
    for event in view.events() {
        match *event {
            Event::Spawned { id, .. } => assert!(ids.insert(id), "spawned twice"),
            Event::Despawned { id } => assert!(ids.remove(&id), "despawned what was not there"),
        }
    }
    assert!(ids.into_iter().eq(view.entities().map(|entity| entity.id())));
}

/// A hash over all that a view says of itself.
fn digest(view: &View) -> u64 {
    let mut hash = Fnv::new().u32(view.tick().unwrap_or(0) as u32).byte(u8::from(view.complete()));
    hash = hash.byte(view.margin().unwrap_or(99) as u8);
    for entity in view.entities() {
        hash = hash.u32(entity.id()).u32(u32::from(entity.slot()) << 8 | u32::from(entity.kind()));
        hash = hash.byte(u8::from(entity.owner()));
        for row in entity.rows() {
            hash = hash.u32(row.from as u32).u32(row.until as u32);
            hash = row.fields.iter().fold(hash, |hash, value| hash.u32(*value as u32));
        }
    }
    hash.0
}

fn reach_applied(header: &Header, applied: &Applied, entities: usize) {
    if header.complete {
        reach(Feature::Complete);
    }
    let log = |count: u16| u64::from(16 - count.leading_zeros());
    bucket(log(applied.updates) | log(applied.spawns) << 4 | log(applied.despawns) << 8 | (entities as u64) << 12);
}

fn reach_if(seen: bool, feature: Feature) {
    if seen {
        reach(feature);
    }
}

fn reach_error(error: DecodeError) {
    reach(match error {
        DecodeError::Truncated(_) => Feature::Truncated,
        DecodeError::Padding(_) => Feature::Padding,
        DecodeError::CodecNotAgreed => Feature::CodecNotAgreed,
        DecodeError::Stale => Feature::Stale,
        DecodeError::SlotOutOfRange => Feature::SlotOutOfRange,
        DecodeError::UnknownKind(_) => Feature::UnknownKind,
        DecodeError::EmptySlot => Feature::EmptySlot,
        DecodeError::ZeroAge => Feature::ZeroAge,
        DecodeError::UnknownBaseline => Feature::UnknownBaseline,
        DecodeError::ValueOutOfRange => Feature::ValueOutOfRange,
        DecodeError::TooManyEntities => Feature::TooManyEntities,
    });
}

/// A body in which every record is well-formed by itself: the input chooses slots, ages, ids and values.
fn compose(program: &mut Program<'_>, schema: &'static Schema, view: &View, tick: u64, count: u8) -> Vec<u8> {
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
                let state = near(&mut rng, schema, held.kind(), &guess);
                Record::Update { number: held.kind(), owner: held.owner(), age, guess, state }
            }
            (4, _) => Record::Despawn,
            _ => {
                let kind = (rng.below(schema.kinds.len() as u64)) as u8;
                let fields = schema.kinds[usize::from(kind)].fields;
                let (id, owner) = (u32::from(operand % 40), rng.chance(0.3));
                let mut state = schema::random_state(&mut rng, fields);
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
    let header = Header { margin, complete: flags & 1 != 0, ages, count: records.len() as u16 };
    write(schema, &header, &records)
}

/// Whether a group that the receiver gets is all 0.
fn is_sparse(schema: &Schema, kind: u8, owner: bool, state: &State) -> bool {
    let kind = &schema.kinds[usize::from(kind)];
    let set = kind.fields.iter().zip(state).fold(0, |set, (field, value)| set | u8::from(*value != 0) << field.group);
    kind.groups(owner) & !set != 0
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
                let guess = extrapolate(&schema.kinds[usize::from(*kind)], RATE, 1, state);
                *state = near(rng, schema, *kind, &guess);
                Record::Update { number: *kind, owner, age: 1, guess, state: *state }
            };
            records.push((slot * 2, record));
        }
        let ages = Ages { first: u8::from(tick > 0), second: (ticks > 4).then_some(2) };
        let header = Header { margin: (tick > 0).then_some(2), complete: true, ages, count: entities };
        script = script.u8(1).u8(0).sized(&write(schema, &header, &records));
    }
    script.0
}
