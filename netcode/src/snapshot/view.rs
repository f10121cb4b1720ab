//! What a client knows of the world: the entities its snapshots told it about.

use arrayvec::ArrayVec;

use super::codec::{Codec, Op, read_codec, read_gap, read_header, read_op};
use super::compact::{BadLength, Decoder, Model, Tables, VERSION_BITS};
use super::entity::{Entity, Held, at};
use super::fast::read_fields;
use super::history::{History, Row};
use super::predict::{self, Guess, Plan, Plans};
use super::{Ages, DecodeError, Header, MAX_SLOTS};
use crate::bits::BitReader;
use crate::schema::{Kind, Schema, State};

/// Marks an empty slot.
const EMPTY: u16 = u16::MAX;
/// How many versions of tables a view holds: those in use, and those that a server may have gone over to.
pub const MAX_TABLES: usize = 2;

/// How much a view may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entities at a time, 1..=[`MAX_SLOTS`]; a snapshot that would exceed it is refused. An entity that
    /// changes its slot counts twice while it does. Default 4096, as many as a server may show.
    pub max_entities: u16,
    /// How far back courses are kept for interpolation, in ticks, at most 63. Default 8.
    pub keep_ticks: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_entities: MAX_SLOTS, keep_ticks: 8 }
    }
}

/// What a snapshot changed in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An entity came into view.
    Spawned {
        /// The entity.
        id: u32,
        /// Number of its kind.
        kind: u8,
    },
    /// An entity left the view.
    Despawned {
        /// The entity.
        id: u32,
    },
}

/// How many records of each kind a snapshot held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Updates.
    pub updates: u16,
    /// Spawns, refreshes of known entities included.
    pub spawns: u16,
    /// Despawns, repeated ones included.
    pub despawns: u16,
}

/// The decoded view of one client. A snapshot is applied wholly or not at all.
///
/// Memory, whatever arrives: per entity up to `max_entities` an index entry, some 100 bytes and 64 courses of
/// `12 + 4 * fields` bytes (with pruning, usually a dozen); two bytes a slot; and for the records of the
/// largest snapshot so far 96 bytes each. With the default limits and 16 fields that is below 21 MB; an honest
/// server that shows 30 entities causes some 30 KiB. Tables of the compact codec, up to [`MAX_TABLES`] versions, take two
/// models each (some 10 KiB per kind of field). Once warm, applying allocates nothing. Time, whatever arrives: per
/// record what its bits cost, up to 64 courses to find the baseline among, and one
/// [`extrapolate`](crate::schema::extrapolate).
#[derive(Debug)]
pub struct View {
    schema: &'static Schema,
    plans: Plans,
    rate: u16,
    limits: Limits,
    /// Index into `pool` by slot, or [`EMPTY`]; as long as the highest slot used demands.
    slots: Vec<u16>,
    pool: Vec<Held>,
    /// The places in `pool` that hold no entity, whose memory waits to be used again.
    free: Vec<u16>,
    /// (id, place in `pool`), ascending.
    by_id: Vec<(u32, u16)>,
    /// Scratch for the records of one snapshot.
    staged: Vec<Staged>,
    events: Vec<Event>,
    newest: Option<Newest>,
    /// Tick of the newest complete snapshot.
    complete_at: Option<u64>,
    /// What compact bodies start from; nothing until tables came.
    compact: Option<Box<Compact>>,
}

/// The tables that a view holds.
#[derive(Debug, Default)]
struct Compact {
    /// The newest last.
    tables: ArrayVec<Tables, MAX_TABLES>,
    /// What each body leaves behind, and what the next one of the same tables is made from.
    running: ArrayVec<Model, MAX_TABLES>,
}

/// Where the parts of a body are read from, one after the other.
trait Source {
    fn header(&mut self) -> Result<Header, DecodeError>;
    fn gap(&mut self) -> Result<u16, DecodeError>;
    fn op(&mut self, schema: &Schema, ages: Ages) -> Result<Op, DecodeError>;
    /// The fields of an update of that entity, from its course at tick `wanted`.
    fn update(&mut self, from: &Update<'_>) -> Result<State, DecodeError>;
    fn finish(self) -> Result<(), DecodeError>;
}

/// What the fields of an update are read against.
struct Update<'a> {
    held: &'a Held,
    plan: &'a Plan,
    rate: u16,
    base: Row<'a>,
    tick: u64,
    age: u8,
}

impl Source for BitReader<'_> {
    fn header(&mut self) -> Result<Header, DecodeError> {
        read_header(self)
    }

    #[inline]
    fn gap(&mut self) -> Result<u16, DecodeError> {
        read_gap(self)
    }

    #[inline]
    fn op(&mut self, schema: &Schema, ages: Ages) -> Result<Op, DecodeError> {
        read_op(self, schema, ages)
    }

    #[inline]
    fn update(&mut self, from: &Update<'_>) -> Result<State, DecodeError> {
        // The guess for `age` ticks of the course's state then is the course's state now.
        let guess = at(from.held.kind, from.rate, &from.base, from.tick);
        read_fields(self, from.plan, &mut Guess::on_course(&guess, from.age, from.rate), from.held.owner)
    }

    fn finish(self) -> Result<(), DecodeError> {
        Ok(self.finish_zero_padded()?)
    }
}

impl Source for Decoder<'_, '_> {
    fn header(&mut self) -> Result<Header, DecodeError> {
        Self::header(self, &Header { margin: None, complete: false, ages: Ages::default(), count: 0 })
    }

    fn gap(&mut self) -> Result<u16, DecodeError> {
        // A short string of what is likely could go on for long.
        if self.is_spent() { Err(DecodeError::Length(BadLength)) } else { Self::gap(self, 0) }
    }

    fn op(&mut self, _schema: &Schema, ages: Ages) -> Result<Op, DecodeError> {
        Self::op(self, ages, &Op::Despawn)
    }

    fn update(&mut self, from: &Update<'_>) -> Result<State, DecodeError> {
        let base = at(from.held.kind, from.rate, &from.base, from.tick.saturating_sub(u64::from(from.age)));
        let history = predict::History { base: &base, older: None, age: from.age, rate: from.rate };
        Self::update(self, from.held.number, from.held.owner, &history, &State::default())
    }

    fn finish(self) -> Result<(), DecodeError> {
        Ok(Self::finish(self)?)
    }
}

/// What the newest snapshot said about itself.
#[derive(Clone, Copy, Debug)]
struct Newest {
    tick: u64,
    margin: Option<i8>,
    complete: bool,
}

/// A record that was decoded, waiting until all others are.
#[derive(Clone, Copy, Debug)]
enum Staged {
    Update { place: u16, baseline: u64, age: u8, state: State },
    Spawn { slot: u16, id: u32, number: u8, kind: &'static Kind, owner: bool, state: State },
    Despawn { slot: u16 },
}

impl View {
    /// An empty view.
    ///
    /// # Panics
    /// If the schema breaks its rules, the rate (ticks a second) is 0, or a limit is out of range.
    #[must_use]
    pub fn new(schema: &'static Schema, rate: u16, limits: Limits) -> Self {
        assert!(schema.is_valid() && rate > 0, "the schema and the rate are the program's own");
        assert!((1..=MAX_SLOTS).contains(&limits.max_entities), "max_entities is out of range");
        assert!(limits.keep_ticks <= super::MAX_AGE, "keep_ticks is out of range");
        Self {
            schema,
            plans: Plans::new(schema),
            rate,
            limits,
            slots: Vec::new(),
            pool: Vec::new(),
            free: Vec::new(),
            by_id: Vec::new(),
            staged: Vec::new(),
            events: Vec::new(),
            newest: None,
            complete_at: None,
            compact: None,
        }
    }

    /// Holds tables that compact bodies may start from from now on. The newest [`MAX_TABLES`] are held; tables of a version
    /// that is held already replace those.
    pub fn add_tables(&mut self, tables: Tables) {
        let held = self.compact.get_or_insert_default();
        let same = held.tables.iter().position(|other| other.version() == tables.version());
        if let Some(at) = same.or((held.tables.len() == MAX_TABLES).then_some(0)) {
            held.tables.remove(at);
            held.running.remove(at);
        }
        held.running.push(tables.model().clone());
        held.tables.push(tables);
    }

    /// Applies the body of the snapshot of that tick.
    ///
    /// Replaces what [`View::events`] gives.
    ///
    /// # Errors
    /// If the body breaks the format or does not fit what the view holds; the view is then as before.
    pub fn apply(&mut self, tick: u64, body: &[u8]) -> Result<Applied, DecodeError> {
        if self.newest.is_some_and(|newest| tick <= newest.tick) {
            return Err(DecodeError::Stale);
        }
        let mut staged = std::mem::take(&mut self.staged);
        staged.clear();
        // Apart from the rest, since decoding moves the models on.
        let mut compact = self.compact.take();
        let header = self.decode(tick, body, compact.as_deref_mut(), &mut staged);
        self.compact = compact;
        let applied = header.map(|header| self.commit(tick, &header, &staged));
        self.staged = staged;
        applied
    }

    /// Decodes a whole body without changing anything.
    fn decode(
        &self,
        tick: u64,
        body: &[u8],
        compact: Option<&mut Compact>,
        staged: &mut Vec<Staged>,
    ) -> Result<Header, DecodeError> {
        let mut r = BitReader::new(body);
        if read_codec(&mut r)? == Codec::Fast {
            return self.decode_from(tick, r, staged);
        }
        let version = r.read(VERSION_BITS)? as u8;
        let (Some(held), Some((_, coded))) = (compact, body.split_first()) else {
            return Err(DecodeError::CodecNotAgreed);
        };
        let both = held.tables.iter().zip(&mut held.running).find(|(tables, _)| tables.version() == version);
        let (tables, running) = both.ok_or(DecodeError::UnknownTables(version))?;
        let header = self.decode_from(tick, Decoder::new(&self.plans, running, coded), staged);
        running.restart(tables.model());
        header
    }

    /// Decodes all of a body that follows the codec.
    fn decode_from(&self, tick: u64, mut source: impl Source, staged: &mut Vec<Staged>) -> Result<Header, DecodeError> {
        let header = source.header()?;
        let mut next_slot = 0u16;
        let mut entities = self.by_id.len();
        for _ in 0..header.count {
            // Both numbers are at most 4096, so the sum cannot overflow.
            let slot = next_slot + source.gap()?;
            if slot >= MAX_SLOTS {
                return Err(DecodeError::SlotOutOfRange);
            }
            next_slot = slot + 1;
            let op = source.op(self.schema, header.ages)?;
            let held = self.at_slot(slot);
            staged.push(match op {
                Op::Update { age } => self.decode_update(&mut source, tick, age, held)?,
                Op::Spawn { id, kind: number, owner, state } => {
                    entities += usize::from(held.is_none());
                    let kind = self.schema.kind(number).ok_or(DecodeError::UnknownKind(number))?;
                    Staged::Spawn { slot, id, number, kind, owner, state }
                }
                Op::Despawn => {
                    entities -= usize::from(held.is_some());
                    Staged::Despawn { slot }
                }
            });
        }
        source.finish()?;
        if entities > usize::from(self.limits.max_entities) {
            return Err(DecodeError::TooManyEntities);
        }
        Ok(header)
    }

    #[inline]
    fn decode_update(
        &self,
        source: &mut impl Source,
        tick: u64,
        age: u8,
        held: Option<(u16, &Held)>,
    ) -> Result<Staged, DecodeError> {
        let (place, held) = held.ok_or(DecodeError::EmptySlot)?;
        let wanted = tick.checked_sub(u64::from(age)).ok_or(DecodeError::UnknownBaseline)?;
        let base = held.history.at_or_before(wanted).ok_or(DecodeError::UnknownBaseline)?;
        let plan = self.plans.kind(held.number)?;
        let state = source.update(&Update { held, plan, rate: self.rate, base, tick, age })?;
        Ok(Staged::Update { place, baseline: base.from, age, state })
    }

    /// Carries out what was decoded; nothing here can fail.
    fn commit(&mut self, tick: u64, header: &Header, staged: &[Staged]) -> Applied {
        self.events.clear();
        let mut applied = Applied::default();
        // Spawns come last, so that an entity may change its slot within one snapshot.
        for record in staged {
            match record {
                Staged::Update { place, baseline, age, state } => {
                    self.put(tick, *place, Some((*baseline, *age)), state);
                    applied.updates += 1;
                }
                Staged::Despawn { slot } => {
                    self.remove(*slot);
                    applied.despawns += 1;
                }
                Staged::Spawn { .. } => applied.spawns += 1,
            }
        }
        for record in staged {
            if let Staged::Spawn { slot, id, number, kind, owner, state } = record {
                self.spawn(tick, *slot, *id, (*number, *kind, *owner), state);
            }
        }
        self.newest = Some(Newest { tick, margin: header.margin, complete: header.complete });
        if header.complete {
            self.complete_at = Some(tick);
        }
        applied
    }

    /// Begins a new course, after that of a baseline which began then and has that age; a refresh has none.
    fn put(&mut self, tick: u64, place: u16, baseline: Option<(u64, u8)>, state: &State) {
        let (complete_at, keep) = (self.complete_at, u64::from(self.limits.keep_ticks));
        let Some(Held { history, .. }) = self.pool.get_mut(usize::from(place)) else { return };
        if let Some(complete_at) = complete_at {
            history.follow_newest(complete_at);
        }
        if let Some((from, age)) = baseline {
            // The server went out from that course, too: the entity was on it at the tick that the age names.
            history.follow(tick.saturating_sub(u64::from(age)));
            history.prune(from.min(tick.saturating_sub(keep)));
        }
        history.push(tick, state);
    }

    fn spawn(
        &mut self,
        tick: u64,
        slot: u16,
        id: u32,
        (number, kind, owner): (u8, &'static Kind, bool),
        state: &State,
    ) {
        let same = |held: &Held| held.id == id && held.number == number && held.owner == owner;
        let here = self.at_slot(slot).filter(|(_, held)| same(held));
        if let Some((place, _)) = here {
            return self.put(tick, place, None, state);
        }
        self.remove(slot);
        if let Some(elsewhere) = self.by_id(id).map(|held| held.slot) {
            self.remove(elsewhere);
        }
        self.add(tick, Held { id, slot, number, kind, owner, history: History::default() }, state);
        self.events.push(Event::Spawned { id, kind: number });
    }

    /// Puts an entity that is not known into a slot that is empty.
    fn add(&mut self, tick: u64, entity: Held, state: &State) {
        let (id, slot) = (entity.id, usize::from(entity.slot));
        let place = self.free.pop().unwrap_or(self.pool.len() as u16);
        if let Some(old) = self.pool.get_mut(usize::from(place)) {
            let history = std::mem::take(&mut old.history);
            *old = Held { history, ..entity };
        } else {
            self.pool.push(entity);
        }
        if let Some(held) = self.pool.get_mut(usize::from(place)) {
            held.history.clear(held.kind.fields.len());
            held.history.push(tick, state);
        }
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, EMPTY);
        }
        if let Some(entry) = self.slots.get_mut(slot) {
            *entry = place;
        }
        let at = self.by_id.partition_point(|(other, _)| *other < id);
        self.by_id.insert(at, (id, place));
    }

    /// Empties a slot, if it holds anything.
    fn remove(&mut self, slot: u16) {
        let Some((place, held)) = self.at_slot(slot) else { return };
        let id = held.id;
        if let Some(entry) = self.slots.get_mut(usize::from(slot)) {
            *entry = EMPTY;
        }
        if let Ok(at) = self.by_id.binary_search_by_key(&id, |(id, _)| *id) {
            self.by_id.remove(at);
        }
        self.free.push(place);
        self.events.push(Event::Despawned { id });
    }

    #[inline]
    fn at_slot(&self, slot: u16) -> Option<(u16, &Held)> {
        let place = *self.slots.get(usize::from(slot))?;
        Some((place, self.pool.get(usize::from(place))?))
    }

    fn by_id(&self, id: u32) -> Option<&Held> {
        let at = self.by_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.pool.get(usize::from(self.by_id.get(at)?.1))
    }

    /// The entities in view, by ascending id.
    pub fn entities(&self) -> impl Iterator<Item = Entity<'_>> {
        let held = self.by_id.iter().filter_map(|(_, place)| self.pool.get(usize::from(*place)));
        held.map(|held| Entity::new(held, self.rate, self.complete_at))
    }

    /// The entity with that id, if it is in view.
    #[must_use]
    pub fn entity(&self, id: u32) -> Option<Entity<'_>> {
        self.by_id(id).map(|held| Entity::new(held, self.rate, self.complete_at))
    }

    /// Number of entities in view.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nothing is in view.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// What the newest snapshot changed. An entity that changed its slot, and one whose slot went to
    /// another, shows as despawned first.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What the newest snapshot changed, each given once.
    pub fn drain_events(&mut self) -> impl Iterator<Item = Event> {
        self.events.drain(..)
    }

    /// Tick of the newest snapshot.
    #[must_use]
    pub fn tick(&self) -> Option<u64> {
        self.newest.map(|newest| newest.tick)
    }

    /// By how many ticks the newest input that the server held was ahead of the newest snapshot.
    #[must_use]
    pub fn margin(&self) -> Option<i8> {
        self.newest.and_then(|newest| newest.margin)
    }

    /// Whether the newest snapshot said everything there was to say.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.newest.is_some_and(|newest| newest.complete)
    }
}
