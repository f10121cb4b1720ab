//! Bodies of both codecs, read and written part by part.

use netcode::bits::{BitReader, BitWriter};
use netcode::schema::{Schema, State};
use netcode::snapshot::compact::{BadLength, Binary, Coder, Decoder, Encoder, Model, Tables, Trainer};
use netcode::snapshot::predict::{Guess, History, Plan, Plans};
use netcode::snapshot::{
    Ages, Codec, DecodeError, Entity, Header, MAX_SLOTS, MAX_TABLES, Op, View, read_codec, read_fields, read_gap,
    read_header, read_op, write_age, write_codec, write_despawn, write_fields, write_gap, write_header, write_spawn,
};

use super::{Feature, MAX_ENTITIES, RATE, is_sparse, reach, reach_if};

/// A record as it is read, with what a writer of either codec needs to write it again.
pub(in crate::targets) enum Record {
    Update { number: u8, owner: bool, age: u8, base: State, guess: State, state: State },
    Spawn { id: u32, kind: u8, owner: bool, state: State },
    Despawn,
}

pub(in crate::targets) type Records = Vec<(u16, Record)>;

/// The tables that the views hold, the newest last.
pub(in crate::targets) struct Held {
    pub plans: Plans,
    pub tables: Vec<Tables>,
    /// What bodies move on, one for each; as the tables between them.
    running: Vec<Model>,
}

impl Held {
    pub const fn new(plans: Plans) -> Self {
        Self { plans, tables: Vec::new(), running: Vec::new() }
    }

    pub fn find(&self, version: u8) -> Option<&Tables> {
        self.tables.iter().find(|tables| tables.version() == version)
    }

    /// What a body leaves behind leads back to where it started.
    fn settle(&mut self, at: usize, tick: u64) {
        self.running[at].restart(self.tables[at].model());
        // That takes its time, so not each time.
        let same = !tick.is_multiple_of(16) || self.running[at] == *self.tables[at].model();
        assert!(same, "a model does not find back");
    }

    pub fn add(&mut self, tables: Tables) {
        let same = self.tables.iter().position(|other| other.version() == tables.version());
        if let Some(at) = same.or((self.tables.len() == MAX_TABLES).then_some(0)) {
            self.tables.remove(at);
            self.running.remove(at);
        }
        self.running.push(tables.model().clone());
        self.tables.push(tables);
    }
}

/// Where the parts of a body come from.
trait Source {
    fn header(&mut self) -> Result<Header, DecodeError>;
    fn gap(&mut self) -> Result<u16, DecodeError>;
    fn op(&mut self, ages: Ages) -> Result<Op, DecodeError>;
    fn update(&mut self, held: &Entity<'_>, age: u8, base: &State, guess: &State) -> Result<State, DecodeError>;
}

struct Fast<'a> {
    schema: &'static Schema,
    bits: BitReader<'a>,
}

impl Source for Fast<'_> {
    fn header(&mut self) -> Result<Header, DecodeError> {
        read_header(&mut self.bits)
    }

    fn gap(&mut self) -> Result<u16, DecodeError> {
        read_gap(&mut self.bits)
    }

    fn op(&mut self, ages: Ages) -> Result<Op, DecodeError> {
        read_op(&mut self.bits, self.schema, ages)
    }

    fn update(&mut self, held: &Entity<'_>, age: u8, _base: &State, guess: &State) -> Result<State, DecodeError> {
        let kind = self.schema.kind(held.kind()).ok_or(DecodeError::UnknownKind(held.kind()))?;
        let mut likely = Guess::on_course(guess, age, RATE);
        read_fields(&mut self.bits, &Plan::new(kind), &mut likely, held.owner())
    }
}

impl Source for Decoder<'_, '_> {
    fn header(&mut self) -> Result<Header, DecodeError> {
        Self::header(self, &NO_HEADER)
    }

    fn gap(&mut self) -> Result<u16, DecodeError> {
        if self.is_spent() { Err(DecodeError::Length(BadLength)) } else { Self::gap(self, 0) }
    }

    fn op(&mut self, ages: Ages) -> Result<Op, DecodeError> {
        let op = Self::op(self, ages, &Op::Despawn)?;
        reach(match op {
            Op::Update { .. } => Feature::CompactUpdate,
            Op::Spawn { .. } => Feature::CompactSpawn,
            Op::Despawn => Feature::CompactDespawn,
        });
        Ok(op)
    }

    fn update(&mut self, held: &Entity<'_>, age: u8, base: &State, _guess: &State) -> Result<State, DecodeError> {
        reach_if(held.owner(), Feature::CompactOwned);
        let history = History { base, older: None, age, rate: RATE };
        Self::update(self, held.kind(), held.owner(), &history, &State::default())
    }
}

const NO_HEADER: Header = Header { margin: None, complete: false, ages: Ages { first: 0, second: None }, count: 0 };

/// Reads a body part by part, with the baselines that the view holds.
pub(super) fn read(held: &mut Held, view: &View, tick: u64, body: &[u8]) -> Result<(Header, Records), DecodeError> {
    if view.tick().is_some_and(|newest| tick <= newest) {
        return Err(DecodeError::Stale);
    }
    let mut bits = BitReader::new(body);
    let schema = held.plans.schema();
    if read_codec(&mut bits)? == Codec::Compact {
        let version = body[0] >> 1;
        let Some(newest) = held.tables.last() else { return Err(DecodeError::CodecNotAgreed) };
        let newest = newest.version();
        let at = held.tables.iter().position(|tables| tables.version() == version);
        let at = at.ok_or(DecodeError::UnknownTables(version))?;
        let running = &mut held.running[at];
        let mut decoder = Decoder::new(&held.plans, running, &body[1..]);
        let records = read_parts(schema, &mut decoder, view, tick);
        let records = records.and_then(|records| decoder.finish().map(|()| records).map_err(DecodeError::from));
        held.settle(at, tick);
        let records = records?;
        reach(Feature::Compact);
        reach_if(newest != version, Feature::OlderTables);
        return within(records);
    }
    let mut source = Fast { schema, bits };
    let records = read_parts(schema, &mut source, view, tick)?;
    source.bits.finish_zero_padded()?;
    within(records)
}

fn within((header, records, entities): (Header, Records, usize)) -> Result<(Header, Records), DecodeError> {
    if entities > usize::from(MAX_ENTITIES) { Err(DecodeError::TooManyEntities) } else { Ok((header, records)) }
}

/// The header, the records, and how many entities there are after them.
fn read_parts(
    schema: &'static Schema,
    source: &mut impl Source,
    view: &View,
    tick: u64,
) -> Result<(Header, Records, usize), DecodeError> {
    let header = source.header()?;
    let (mut records, mut next, mut entities) = (Vec::new(), 0, view.len());
    for _ in 0..header.count {
        let slot = next + source.gap()?;
        if slot >= MAX_SLOTS {
            return Err(DecodeError::SlotOutOfRange);
        }
        next = slot + 1;
        let op = source.op(header.ages)?;
        let held = view.entities().find(|entity| entity.slot() == slot);
        let record = match op {
            Op::Update { age } => {
                let held = held.ok_or(DecodeError::EmptySlot)?;
                let wanted = tick.checked_sub(u64::from(age)).ok_or(DecodeError::UnknownBaseline)?;
                let row = held.rows().find(|row| row.from <= wanted).ok_or(DecodeError::UnknownBaseline)?;
                let kind = schema.kind(held.kind()).ok_or(DecodeError::UnknownKind(held.kind()))?;
                let guess = held.on_course(&row, tick);
                let base = held.on_course(&row, wanted);
                let state = source.update(&held, age, &base, &guess)?;
                reach(match header.ages {
                    Ages { first, .. } if age == first => Feature::Update,
                    Ages { second: Some(second), .. } if age == second => Feature::SecondAge,
                    _ => Feature::OtherAge,
                });
                reach_if(held.owner(), Feature::Owned);
                reach_if(kind.falls(&guess), Feature::Falling);
                reach_if(held.rows().next().is_some_and(|newest| newest.from > row.from), Feature::OldCourse);
                Record::Update { number: held.kind(), owner: held.owner(), age, base, guess, state }
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
    Ok((header, records, entities))
}

/// The same in the fast codec.
pub(in crate::targets) fn write(schema: &Schema, header: &Header, records: &Records) -> Vec<u8> {
    let mut out = vec![0; 64 + 80 * records.len()];
    let mut w = BitWriter::new(&mut out);
    write_codec(&mut w, Codec::Fast);
    write_header(&mut w, header);
    let mut next = 0;
    for (slot, record) in records {
        write_gap(&mut w, slot - next);
        next = slot + 1;
        match record {
            Record::Update { number, owner, age, guess, state, .. } => {
                write_age(&mut w, *age, header.ages);
                let plan = Plan::new(&schema.kinds[usize::from(*number)]);
                write_fields(&mut w, &plan, &mut Guess::on_course(guess, *age, RATE), *owner, state);
            }
            Record::Spawn { id, kind, owner, state } => write_spawn(&mut w, schema, *id, *kind, *owner, state),
            Record::Despawn => write_despawn(&mut w),
        }
    }
    let len = w.finish();
    out.truncate(len);
    out
}

/// The same in the compact codec, from tables of that version.
pub(in crate::targets) fn write_compact(held: &mut Held, version: u8, header: &Header, records: &Records) -> Vec<u8> {
    let at = held.tables.iter().position(|tables| tables.version() == version).expect("tables that are held");
    let mut out = vec![1 | version << 1];
    let mut encoder = Encoder::new(&held.plans, &mut held.running[at], &mut out);
    code(&mut encoder, header, records);
    encoder.finish();
    held.settle(at, 1);
    out
}

/// Tables that learned those records so many times.
pub(super) fn train(plans: &Plans, header: &Header, records: &Records, times: u8, version: u8) -> Tables {
    let mut trainer = Trainer::new(plans.schema());
    for _ in 0..times {
        code(&mut trainer.body(plans), header, records);
    }
    trainer.tables(version)
}

fn code<B: Binary>(coder: &mut Coder<'_, B>, header: &Header, records: &Records) {
    coder.header(header).expect("a header that was read or composed");
    let mut next = 0;
    for (slot, record) in records {
        coder.gap(slot - next).expect("a gap of slots that exist");
        next = slot + 1;
        let op = match record {
            Record::Update { age, .. } => Op::Update { age: *age },
            Record::Spawn { id, kind, owner, state } => {
                Op::Spawn { id: *id, kind: *kind, owner: *owner, state: *state }
            }
            Record::Despawn => Op::Despawn,
        };
        coder.op(header.ages, &op).expect("an op that was read or composed");
        if let Record::Update { number, owner, age, base, state, .. } = record {
            let history = History { base, older: None, age: *age, rate: RATE };
            coder.update(*number, *owner, &history, state).expect("a kind that exists");
        }
    }
}
