//! The parts of a snapshot's body besides its records' fields: which contexts their decisions have.
//!
//! The same functions write and read: an encoder is given the values, a decoder gives them. The constants here are the
//! table of contexts of S-22, one number for one; they and it change together.

use super::Coder;
use super::range::{Binary, RangeDecoder};
use super::record;
use crate::schema::{MAX_GROUPS, Schema, State};
use crate::snapshot::predict::History;
use crate::snapshot::{Ages, DecodeError, Header, MAX_AGE, MAX_RECORDS, MAX_SLOTS, Op};

/// Free contexts, by what they are for.
const NO_MARGIN: usize = 0;
const COMPLETE: usize = 1;
const NO_SECOND: usize = 2;
/// After an update, and after anything else.
const NOT_UPDATE: usize = 4;
const DESPAWN: usize = 6;
/// By what the update before had: the first age or not, and whether there is a second one.
const NOT_FIRST: usize = 8;
const NOT_SECOND: usize = 12;
const OWNER: usize = 16;
const GROUPS: usize = 24;
const KIND: usize = 32;
const COUNT: usize = 64;
/// Of complete snapshots, and of others.
const GAP: usize = 96;
const AGE: usize = 192;
const MARGIN: usize = 256;

const AGE_BITS: u32 = 6;
const KIND_BITS: u32 = 4;

/// What of the records so far bears on the next one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Course {
    complete: bool,
    /// Whether the record before was no update, and whether the update before had another age than the first.
    no_update: bool,
    not_first: bool,
}

impl<B: Binary> Coder<'_, B> {
    /// Codes the header.
    ///
    /// # Errors
    /// If a decoder reads an age of 0 where there must be one, or too many records.
    pub fn header(&mut self, header: &Header) -> Result<Header, DecodeError> {
        let none = self.bit(NO_MARGIN, header.margin.is_none());
        let margin = (!none).then(|| self.tree(MARGIN, u32::from(header.margin.unwrap_or(0) as u8), 8) as u8 as i8);
        let complete = self.bit(COMPLETE, header.complete);
        self.body = Course { complete, ..Course::default() };
        let count = self.exp(COUNT, u32::from(header.count));
        let count =
            u16::try_from(count).ok().filter(|count| *count <= MAX_RECORDS).ok_or(DecodeError::TooManyRecords)?;
        if count == 0 {
            return Ok(Header { margin, complete, ages: Ages::default(), count });
        }
        let first = self.age(header.ages.first);
        let none = self.bit(NO_SECOND, header.ages.second.is_none());
        let second = (!none).then(|| self.age(header.ages.second.unwrap_or(1)));
        if second == Some(0) {
            return Err(DecodeError::ZeroAge);
        }
        Ok(Header { margin, complete, ages: Ages { first, second }, count })
    }

    /// Codes how many slots lie between a record and the one before.
    ///
    /// # Errors
    /// If a decoder reads more than there are.
    pub fn gap(&mut self, gap: u16) -> Result<u16, DecodeError> {
        let context = GAP + if self.body.complete { 0 } else { 32 };
        let gap = self.exp(context, u32::from(gap));
        u16::try_from(gap).ok().filter(|gap| *gap < MAX_SLOTS).ok_or(DecodeError::SlotOutOfRange)
    }

    /// Codes what a record does to its slot; of an update all but the fields.
    ///
    /// # Errors
    /// If a decoder reads an age of 0, or a kind that the schema does not have.
    pub fn op(&mut self, ages: Ages, op: &Op) -> Result<Op, DecodeError> {
        let context = NOT_UPDATE + usize::from(self.body.no_update);
        self.body.no_update = self.bit(context, !matches!(op, Op::Update { .. }));
        if !self.body.no_update {
            let age = if let Op::Update { age } = op { *age } else { 0 };
            return self.update_age(ages, age).map(|age| Op::Update { age });
        }
        if self.bit(DESPAWN, matches!(op, Op::Despawn)) {
            return Ok(Op::Despawn);
        }
        self.spawn(op)
    }

    fn update_age(&mut self, ages: Ages, age: u8) -> Result<u8, DecodeError> {
        let context = usize::from(self.body.not_first) | usize::from(ages.second.is_some()) << 1;
        self.body.not_first = self.bit(NOT_FIRST + context, age != ages.first);
        let age = match ages.second {
            _ if !self.body.not_first => ages.first,
            Some(second) if !self.bit(NOT_SECOND, age != second) => second,
            _ => self.age(age),
        };
        if age == 0 { Err(DecodeError::ZeroAge) } else { Ok(age) }
    }

    fn spawn(&mut self, op: &Op) -> Result<Op, DecodeError> {
        let (id, number, owner, state) = match op {
            Op::Spawn { id, kind, owner, state } => (*id, *kind, *owner, *state),
            Op::Update { .. } | Op::Despawn => (0, 0, false, State::default()),
        };
        let id = self.raw(id, u32::BITS);
        let number = self.tree(KIND, u32::from(number), KIND_BITS) as u8;
        let schema: &'static Schema = self.plans.schema();
        let kind = schema.kind(number).ok_or(DecodeError::UnknownKind(number))?;
        let owner = self.bit(OWNER, owner);
        let mut set = 0u8;
        for group in (0..MAX_GROUPS).filter(|group| kind.groups(owner) >> group & 1 != 0) {
            let differs =
                kind.fields.iter().zip(&state).any(|(field, value)| field.group as usize == group && *value != 0);
            set |= u8::from(self.bit(GROUPS + group, differs)) << group;
        }
        let mut out = State::default();
        for (place, (field, value)) in out.iter_mut().zip(kind.fields.iter().zip(&state)) {
            if set >> field.group & 1 != 0 {
                let unused = u32::BITS - u32::from(field.bits);
                let raw = self.raw((*value as u32) << unused >> unused, u32::from(field.bits));
                *place = if field.signed { (raw << unused) as i32 >> unused } else { raw as i32 };
            }
        }
        Ok(Op::Spawn { id, kind: number, owner, state: out })
    }

    fn age(&mut self, age: u8) -> u8 {
        debug_assert!(age <= MAX_AGE, "the age is out of range");
        self.tree(AGE, u32::from(age), AGE_BITS) as u8
    }

    /// Codes the fields of an update, of which the owner's go to the owner only: to others they are 0, and `history` and
    /// `state` must have them so.
    ///
    /// # Errors
    /// If the schema has no such kind, or (decoding) a value is out of its field's range.
    pub fn update(
        &mut self,
        number: u8,
        owner: bool,
        history: &History<'_>,
        state: &State,
    ) -> Result<State, DecodeError> {
        let plan = self.plans.kind(number)?;
        self.guess.set(plan, history);
        let whose = record::Whose { number: usize::from(number), owner };
        record::fields(&mut self.binary, self.model, whose, plan, &mut self.guess, state)
    }
}

impl Coder<'_, RangeDecoder<'_>> {
    /// Whether more was read than the data can have held: nothing that follows means anything.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.binary.is_spent()
    }
}

const _: () = assert!(1 << AGE_BITS == MAX_AGE as u32 + 1);
const _: () = assert!(MARGIN + 256 <= super::FREE_CONTEXTS);
