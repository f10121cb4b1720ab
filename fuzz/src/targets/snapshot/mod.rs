//! Snapshots in both codecs: a view that has seen some takes whatever follows, as it came, and as our own writers would
//! say it.
//!
//! - What fails leaves the view as it was, and fails for the reason that reading it part by part gives.
//! - What succeeds keeps every limit, its events lead from the old set of entities to the new one, and its records,
//!   written anew in either codec, bring other views to the same state; in the fast one they take no more bytes.
//! - Tables of any bytes are refused, or written and read again they are the same.

mod compose;
pub(super) mod parts;

use std::collections::BTreeSet;

use netcode::schema::{Fnv, Schema, State};
use netcode::snapshot::compact::{Tables, TablesError};
use netcode::snapshot::predict::Plans;
use netcode::snapshot::{Applied, DecodeError, Event, Header, Limits, MAX_AGE, MAX_SLOTS, View};

pub(super) use self::compose::trained;
pub use self::compose::{compact_seeds, seeds};
use self::parts::{Held, Record, Records};
use super::schema;
use crate::feature::bucket;
use crate::features;
use crate::program::Program;

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
    Compact => "a compact body",
    CompactUpdate => "an update in a compact body",
    CompactSpawn => "a spawn in a compact body",
    CompactDespawn => "a despawn in a compact body",
    CompactOwned => "an update of the client's own entity in a compact body",
    OlderTables => "a compact body from the tables before the newest",
    Tables => "tables of any bytes",
    TablesReplaced => "tables of a version that is held",
    TablesTooLong => "tables of too many bytes",
    TablesLength => "tables of the wrong length",
    UnknownTables => "tables that are not held",
    TooManyRecords => "too many records",
    Length => "a compact body of the wrong length",
}

const RATE: u16 = 20;
/// Small, so that it is reached.
const MAX_ENTITIES: u16 = 24;
/// Tables of its own that one input may bring.
const MAX_TABLES_READ: u8 = 1;
const FIRST_TICK: u64 = 1000;
const MAX_BODY: usize = 2048;

/// What a run of the target without compact bodies must see: all up to the first that is for the other.
pub const FAST_FEATURES: &[&str] = FEATURES.split_at(Feature::Compact as usize).0;

/// The target of the fast codec. Schema and limits first, then snapshots: how far their ticks are apart, and their bodies.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let mut set = Set::new(&mut program);
    let mut tick = FIRST_TICK;
    while !program.is_empty() {
        let (delta, shape) = (u64::from(program.u8()), program.u8());
        tick = later(tick, delta);
        if shape & 1 == 0 {
            set.apply(tick, program.sized(MAX_BODY));
        } else {
            set.apply_fast(&mut program, tick, shape >> 1);
        }
        tick = set.view.tick().unwrap_or(tick);
    }
}

/// The target of the compact codec, and of both in turn: as [`run`], and tables.
pub fn run_compact(input: &[u8]) {
    let mut program = Program::new(input);
    let mut set = Set::new(&mut program);
    let mut tick = FIRST_TICK;
    while !program.is_empty() {
        let (delta, shape) = (u64::from(program.u8()), program.u8());
        tick = later(tick, delta);
        let more = shape >> 2;
        match shape & 3 {
            0 => set.apply(tick, program.sized(MAX_BODY)),
            1 => set.apply_fast(&mut program, tick, more),
            2 => set.apply_compact(&mut program, tick, more),
            _ if more & 3 == 3 => set.take_tables(more >> 2),
            _ if !set.may_have_tables() => {}
            _ if more & 1 == 0 => set.read_tables(&mut program, more >> 1),
            _ => set.train(&mut program, tick, more >> 1),
        }
        tick = set.view.tick().unwrap_or(tick);
    }
}

fn later(tick: u64, delta: u64) -> u64 {
    if delta < 192 { tick + delta } else { tick.saturating_sub(delta - 192) }
}

/// Views that are told the same: as it came, and written anew in its own codec and in the other.
struct Set {
    schema: &'static Schema,
    view: View,
    same: View,
    other: View,
    held: Held,
    /// How many tables the input may yet bring: they cost as much as a hundred bodies.
    tables_left: u8,
}

impl Set {
    fn new(program: &mut Program<'_>) -> Self {
        let (choice, keep) = (program.u8(), program.u8());
        let schema = schema::choose(choice);
        let limits = Limits { max_entities: MAX_ENTITIES, keep_ticks: keep % (MAX_AGE + 1) };
        let view = || View::new(schema, RATE, limits);
        Self {
            schema,
            view: view(),
            same: view(),
            other: view(),
            held: Held::new(Plans::new(schema)),
            tables_left: MAX_TABLES_READ,
        }
    }

    fn apply_fast(&mut self, program: &mut Program<'_>, tick: u64, count: u8) {
        let (header, records) = compose::records(program, self.schema, &self.view, tick, count);
        self.apply(tick, &parts::write(self.schema, &header, &records));
    }

    /// Tables that were trained before.
    fn take_tables(&mut self, choice: u8) {
        let tables = trained(self.schema, choice);
        reach_if(self.held.find(tables.version()).is_some(), Feature::TablesReplaced);
        self.hold(tables.clone());
    }

    /// A compact body: of records, as they are or damaged, or of any bytes behind a first one that is right.
    fn apply_compact(&mut self, program: &mut Program<'_>, tick: u64, more: u8) {
        if self.held.tables.is_empty() {
            self.take_tables(more);
        }
        let at = usize::from(more >> 5 & 1) % self.held.tables.len();
        let version = self.held.tables[at].version();
        if more & 16 != 0 {
            let first = [1 | version << 1];
            return self.apply(tick, &[&first, program.sized(MAX_BODY)].concat());
        }
        let (header, records) = compose::counted(program, self.schema, &self.view, tick);
        let mut body = parts::write_compact(&mut self.held, version, &header, &records);
        if more & 8 != 0 {
            let (place, flip, cut) = (usize::from(program.u16()), program.u8(), usize::from(program.u8()));
            let len = body.len();
            body[place % len] ^= flip;
            match cut % 4 {
                0 => body.truncate(len.saturating_sub(cut / 4)),
                1 => body.resize(len + cut / 4, flip),
                _ => {}
            }
        }
        self.apply(tick, &body);
    }

    fn may_have_tables(&mut self) -> bool {
        let may = self.tables_left > 0;
        self.tables_left = self.tables_left.saturating_sub(1);
        may
    }

    /// Tables of any bytes, or of more than there may be.
    fn read_tables(&mut self, program: &mut Program<'_>, more: u8) {
        let mut bytes = program.sized(MAX_BODY).to_vec();
        if more % 16 == 15 {
            bytes.resize(netcode::snapshot::compact::MAX_TABLE_BYTES + 1, 0);
        }
        match Tables::read(self.schema, &bytes) {
            Ok(tables) => {
                reach(Feature::Tables);
                self.add_tables(tables, false);
            }
            Err(TablesError::TooLong) => reach(Feature::TablesTooLong),
            Err(TablesError::Length(_)) => reach(Feature::TablesLength),
        }
    }

    /// Tables trained on records that the input chooses, many times over; perhaps damaged on their way.
    fn train(&mut self, program: &mut Program<'_>, tick: u64, more: u8) {
        let (times, damage) = (1 + more % 4, more >> 2 & 3);
        let (header, records) = compose::counted(program, self.schema, &self.view, tick);
        let version = program.u8() % 8;
        let tables = parts::train(&self.held.plans, &header, &records, times, version);
        let mut bytes = Vec::new();
        tables.write(&mut bytes);
        if damage == 0 {
            return self.add_tables(tables, true);
        }
        let place = usize::from(program.u16()) % bytes.len();
        bytes[place] ^= program.u8();
        if let Ok(tables) = Tables::read(self.schema, &bytes) {
            self.add_tables(tables, false);
        }
    }

    fn add_tables(&mut self, tables: Tables, trained: bool) {
        let mut bytes = Vec::new();
        assert_eq!(tables.write(&mut bytes), bytes.len());
        let again = Tables::read(self.schema, &bytes);
        // A trainer has each probability in one form only; in others any bytes may have two.
        let same = if trained {
            again.as_ref() == Ok(&tables)
        } else {
            again.as_ref().is_ok_and(|again| {
                let mut bytes = Vec::new();
                again.write(&mut bytes);
                Tables::read(self.schema, &bytes).as_ref() == Ok(again)
            })
        };
        assert!(same, "written and read again they are others");
        reach_if(self.held.find(tables.version()).is_some(), Feature::TablesReplaced);
        self.hold(tables);
    }

    fn hold(&mut self, tables: Tables) {
        for view in [&mut self.view, &mut self.same, &mut self.other] {
            view.add_tables(tables.clone());
        }
        self.held.add(tables);
    }
}

impl Set {
    fn apply(&mut self, tick: u64, body: &[u8]) {
        let before = (digest(&self.view), self.view.events().len());
        let ids: BTreeSet<u32> = self.view.entities().map(|entity| entity.id()).collect();
        let read = parts::read(&mut self.held, &self.view, tick, body);
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
        self.write_anew(tick, body, &header, &records, &result);
        reach_applied(&header, &result.unwrap_or_default(), self.view.len());
    }

    fn write_anew(
        &mut self,
        tick: u64,
        body: &[u8],
        header: &Header,
        records: &Records,
        result: &Result<Applied, DecodeError>,
    ) {
        let fast = parts::write(self.schema, header, records);
        let is_fast = body.first().is_some_and(|first| first & 1 == 0);
        assert!(!is_fast || fast.len() <= body.len(), "the writer needs more than the body had");
        // Without tables the fast codec is all there is.
        let newest = self.held.tables.last().map(Tables::version);
        let compact = newest.map(|newest| {
            let version = if is_fast { newest } else { body[0] >> 1 };
            parts::write_compact(&mut self.held, version, header, records)
        });
        let compact = compact.as_deref().unwrap_or(&fast);
        let anew: [&[u8]; 2] = if is_fast { [&fast, compact] } else { [compact, &fast] };
        for (view, anew) in [&mut self.same, &mut self.other].into_iter().zip(anew) {
            assert_eq!(view.apply(tick, anew), *result);
            assert_eq!(digest(view), digest(&self.view), "written anew it says something else");
            assert_eq!(view.events(), self.view.events());
        }
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
        DecodeError::TooManyRecords => Feature::TooManyRecords,
        DecodeError::UnknownTables(_) => Feature::UnknownTables,
        DecodeError::Length(_) => Feature::Length,
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

/// Whether a group that the receiver gets is all 0.
fn is_sparse(schema: &Schema, kind: u8, owner: bool, state: &State) -> bool {
    let kind = &schema.kinds[usize::from(kind)];
    let set = kind.fields.iter().zip(state).fold(0, |set, (field, value)| set | u8::from(*value != 0) << field.group);
    kind.groups(owner) & !set != 0
}
