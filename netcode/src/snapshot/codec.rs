//! The parts of a body, each with its writer and its reader. Layout and rules: the module above.
//!
//! Writers serve trusted code: what the format cannot hold asserts. They take any [`BitSink`], so the same
//! function that writes a part also measures it ([`BitCount`](crate::bits::BitCount)).

use super::fast::MAX_EXTRA;
use super::field::{read_raw, write_raw};
use super::{Ages, DecodeError, Header, MAX_AGE, MAX_RECORDS, MAX_SLOTS};
use crate::bits::{BitReader, BitSink};
use crate::schema::{Audience, Field, Kind, MAX_GROUPS, Predictor, Schema, State};

const CODEC_BITS: u32 = 1;
const AGE_BITS: u32 = 6;
const MARGIN_BITS: u32 = 8;
const ID_BITS: u32 = 32;
const KIND_BITS: u32 = 4;
/// Widths of the record count, by its class.
const COUNT_BITS: [u32; 4] = [4, 6, 8, 12];

const _: () = assert!(1 << AGE_BITS == MAX_AGE as u32 + 1);
const _: () = assert!(1 << COUNT_BITS[3] == MAX_RECORDS as u32 + 1);

/// How the rest of a body is coded; its first bit says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As this module does it: each part in bits of its own.
    Fast,
    /// Range coded; only where both sides agreed on [`COMPACT`](crate::features::Features::COMPACT).
    Compact,
}

/// Writes what the rest of the body is coded with.
pub fn write_codec(w: &mut impl BitSink, codec: Codec) {
    w.put(u64::from(codec == Codec::Compact), CODEC_BITS);
}

/// Reads what the rest of the body is coded with.
///
/// # Errors
/// If there is no data.
pub fn read_codec(r: &mut BitReader<'_>) -> Result<Codec, DecodeError> {
    Ok(if r.read_bool()? { Codec::Compact } else { Codec::Fast })
}

/// Writes the header.
///
/// # Panics
/// If an age or the count is above its maximum, or the second age is 0.
pub fn write_header(w: &mut impl BitSink, header: &Header) {
    let second = header.ages.second.is_none_or(|age| (1..=MAX_AGE).contains(&age));
    let in_range = header.ages.first <= MAX_AGE && second && header.count <= MAX_RECORDS;
    assert!(in_range, "the header is out of range");
    match header.margin {
        // What an input clock that works gives.
        Some(margin @ 0..=3) => w.put((margin as u64) << 1, 1 + 2),
        None => w.put(0b01, 2),
        Some(margin) => w.put(0b11 | u64::from(margin as u8) << 2, 2 + MARGIN_BITS),
    }
    w.put(u64::from(header.complete), 1);
    w.put(u64::from(header.count != 0), 1);
    if header.count != 0 {
        w.put(u64::from(header.ages.first), AGE_BITS);
        w.put(u64::from(header.ages.second.is_some()), 1);
        if let Some(second) = header.ages.second {
            w.put(u64::from(second), AGE_BITS);
        }
        let class = COUNT_BITS.iter().take_while(|bits| u32::from(header.count) >> **bits != 0).count();
        w.put(class as u64, 2);
        w.put(u64::from(header.count), COUNT_BITS[class]);
    }
}

/// Reads the header.
///
/// # Errors
/// If the data ends early, or the second age is 0.
pub fn read_header(r: &mut BitReader<'_>) -> Result<Header, DecodeError> {
    let margin = if !r.read_bool()? {
        Some(r.read(2)? as i8)
    } else if r.read_bool()? {
        Some(r.read(MARGIN_BITS)? as i8)
    } else {
        None
    };
    let complete = r.read_bool()?;
    if !r.read_bool()? {
        return Ok(Header { margin, complete, ages: Ages::default(), count: 0 });
    }
    let first = r.read(AGE_BITS)? as u8;
    let second = if r.read_bool()? { Some(r.read(AGE_BITS)? as u8) } else { None };
    if second == Some(0) {
        return Err(DecodeError::ZeroAge);
    }
    let ages = Ages { first, second };
    let bits = match r.read(2)? {
        0 => COUNT_BITS[0],
        1 => COUNT_BITS[1],
        2 => COUNT_BITS[2],
        _ => COUNT_BITS[3],
    };
    Ok(Header { margin, complete, ages, count: r.read(bits)? as u16 })
}

/// Writes how many slots lie between a record and the one before (for the first: before slot 0).
///
/// # Panics
/// If the gap is [`MAX_SLOTS`] or more.
pub fn write_gap(w: &mut impl BitSink, gap: u16) {
    let gap = u64::from(gap);
    match gap {
        0 => w.put(0b0, 1),
        1..8 => w.put(0b01 | gap << 2, 2 + 3),
        8..64 => w.put(0b011 | gap << 3, 3 + 6),
        _ => {
            assert!(gap < u64::from(MAX_SLOTS), "the gap is out of range");
            w.put(0b111 | gap << 3, 3 + 12);
        }
    }
}

/// The bits that [`write_gap`] takes.
#[must_use]
#[inline]
pub const fn gap_bits(gap: u16) -> usize {
    match gap {
        0 => 1,
        1..8 => 2 + 3,
        8..64 => 3 + 6,
        _ => 3 + 12,
    }
}

/// Reads a gap, below [`MAX_SLOTS`].
///
/// # Errors
/// If the data ends early.
pub fn read_gap(r: &mut BitReader<'_>) -> Result<u16, DecodeError> {
    let bits = if !r.read_bool()? {
        return Ok(0);
    } else if !r.read_bool()? {
        3
    } else if !r.read_bool()? {
        6
    } else {
        12
    };
    Ok(r.read(bits)? as u16)
}

/// What a record does to its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The entity there has changed; [`read_fields`](super::read_fields) reads on, once the baseline is found.
    Update {
        /// Age of the baseline in ticks, 1..=[`MAX_AGE`].
        age: u8,
    },
    /// The slot holds this entity from now on; whatever else it held is gone.
    Spawn {
        /// The entity.
        id: u32,
        /// Number of its kind, one of the schema's.
        kind: u8,
        /// Whether the receiver owns it, and so gets the owner's fields.
        owner: bool,
        /// All its fields that the receiver gets; the others are 0.
        state: State,
    },
    /// The slot is empty from now on.
    Despawn,
}

/// Writes a spawn: the whole state of an entity that the client does not know, or (in the slot it has
/// already) of one that it may know.
///
/// # Panics
/// If the schema has no such kind, or a field is out of range.
pub fn write_spawn(w: &mut impl BitSink, schema: &Schema, id: u32, kind: u8, owner: bool, state: &State) {
    w.put(0b01, 2);
    w.put(u64::from(id), ID_BITS);
    w.put(u64::from(kind), KIND_BITS);
    w.put(u64::from(owner), 1);
    let kind = known_kind(schema, kind);
    let present = kind.groups(owner);
    let set = kind.fields.iter().zip(state).fold(0, |set, (field, value)| set | u8::from(*value != 0) << field.group);
    write_groups(w, present, set);
    for (field, value) in kind.fields.iter().zip(state) {
        if present & set & 1 << field.group != 0 {
            write_raw(w, field, *value);
        }
    }
}

/// A bit for each group that is present: whether it is set.
#[inline]
fn write_groups(w: &mut impl BitSink, present: u8, set: u8) {
    for group in (0..MAX_GROUPS).filter(|group| present >> group & 1 != 0) {
        w.put(u64::from(set >> group & 1), 1);
    }
}

#[inline]
fn read_groups(r: &mut BitReader<'_>, present: u8) -> Result<u8, DecodeError> {
    let mut mask = r.read(present.count_ones())?;
    let mut set = 0u8;
    for group in (0..MAX_GROUPS).filter(|group| present >> group & 1 != 0) {
        set |= (mask as u8 & 1) << group;
        mask >>= 1;
    }
    Ok(set)
}

/// Writes a despawn.
pub fn write_despawn(w: &mut impl BitSink) {
    w.put(0b11, 2);
}

/// Writes the first part of an update: all that differs between clients with the same baseline.
///
/// # Panics
/// If the age is not 1..=[`MAX_AGE`].
#[inline]
pub fn write_age(w: &mut impl BitSink, age: u8, ages: Ages) {
    assert!((1..=MAX_AGE).contains(&age), "the age is out of range");
    if age == ages.first {
        w.put(0b10, 2);
    } else if ages.second == Some(age) {
        w.put(0b100, 3);
    } else {
        let head = 2 + u32::from(ages.second.is_some());
        w.put(u64::from(age) << head, head + AGE_BITS);
    }
}

impl Ages {
    /// The bits that [`write_age`] takes for that age.
    #[must_use]
    pub const fn bits(self, age: u8) -> usize {
        match self.second {
            _ if age == self.first => 2,
            None => 2 + AGE_BITS as usize,
            Some(second) if second == age => 3,
            Some(_) => 3 + AGE_BITS as usize,
        }
    }
}

/// The most bits of an update of that kind, without its gap.
///
/// # Panics
/// If the schema has no such kind.
#[must_use]
pub fn max_update_bits(schema: &Schema, kind: u8, owner: bool) -> usize {
    let kind = known_kind(schema, kind);
    let most = |field: &Field| match field.predictor {
        Predictor::Rotation { part: 0 } => 1 + 2,
        _ if field.bits == 1 => 1,
        _ => usize::from(field.bits) + MAX_EXTRA,
    };
    let fields: usize = theirs(kind, owner).map(most).sum();
    3 + AGE_BITS as usize + kind.groups(owner).count_ones() as usize + fields
}

/// The most bits of a spawn of that kind, without its gap.
///
/// # Panics
/// If the schema has no such kind.
#[must_use]
pub fn max_spawn_bits(schema: &Schema, kind: u8, owner: bool) -> usize {
    let kind = known_kind(schema, kind);
    let fields: usize = theirs(kind, owner).map(|field| usize::from(field.bits)).sum();
    2 + (ID_BITS + KIND_BITS) as usize + 1 + kind.groups(owner).count_ones() as usize + fields
}

fn theirs(kind: &'static Kind, owner: bool) -> impl Iterator<Item = &'static Field> {
    kind.fields.iter().filter(move |field| owner || field.audience == Audience::Everyone)
}

/// Reads a record after its gap; an update only up to its age.
///
/// # Errors
/// If the data ends early, the schema has no such kind, or the age is 0.
pub fn read_op(r: &mut BitReader<'_>, schema: &Schema, ages: Ages) -> Result<Op, DecodeError> {
    if !r.read_bool()? {
        let age = if r.read_bool()? {
            ages.first
        } else if let Some(second) = ages.second
            && r.read_bool()?
        {
            second
        } else {
            r.read(AGE_BITS)? as u8
        };
        return if age == 0 { Err(DecodeError::ZeroAge) } else { Ok(Op::Update { age }) };
    }
    if r.read_bool()? {
        return Ok(Op::Despawn);
    }
    let id = r.read(ID_BITS)? as u32;
    let number = r.read(KIND_BITS)? as u8;
    let kind = schema.kind(number).ok_or(DecodeError::UnknownKind(number))?;
    let owner = r.read_bool()?;
    let set = read_groups(r, kind.groups(owner))?;
    let mut state = State::default();
    for (place, field) in state.iter_mut().zip(kind.fields) {
        if set & 1 << field.group != 0 {
            *place = read_raw(r, field)?;
        }
    }
    Ok(Op::Spawn { id, kind: number, owner, state })
}

fn known_kind(schema: &Schema, number: u8) -> &'static Kind {
    schema.kind(number).expect("the writer uses kinds of its own schema")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::BitWriter;

    #[test]
    fn gaps_round_trip_at_the_edges_of_their_classes() {
        for (gap, bits) in [(0, 1), (1, 5), (7, 5), (8, 9), (63, 9), (64, 15), (4095, 15)] {
            let mut buf = [0; 8];
            let mut w = BitWriter::new(&mut buf);
            write_gap(&mut w, gap);
            assert_eq!((w.bit_len(), gap_bits(gap)), (bits, bits));
            let len = w.finish();
            assert_eq!(read_gap(&mut BitReader::new(&buf[..len])), Ok(gap));
        }
    }

    #[test]
    fn headers_round_trip_at_the_edges_of_their_counts() {
        for (count, bits) in [(0, 4), (15, 4), (16, 6), (63, 6), (64, 8), (255, 8), (256, 12), (4095, 12)] {
            for margin in [None, Some(-128), Some(127), Some(0), Some(3), Some(4), Some(-1)] {
                let first = if count == 0 { 0 } else { 63 };
                let ages = Ages { first, second: (count > 99).then_some(63) };
                let header = Header { margin, complete: count % 2 == 0, ages, count };
                let mut buf = [0; 8];
                let mut w = BitWriter::new(&mut buf);
                write_header(&mut w, &header);
                let records = if count == 0 { 0 } else { 9 + bits + if count > 99 { 6 } else { 0 } };
                let margin_bits = match margin {
                    None => 2,
                    Some(0..=3) => 3,
                    Some(_) => 10,
                };
                assert_eq!(w.bit_len(), margin_bits + 2 + records);
                let len = w.finish();
                assert_eq!(read_header(&mut BitReader::new(&buf[..len])), Ok(header));
            }
        }
    }

    #[test]
    fn the_shared_ages_are_cheaper_than_others() {
        let two = Ages { first: 3, second: Some(9) };
        let one = Ages { second: None, ..two };
        for (age, ages, bits) in [(3, one, 2), (4, one, 8), (3, two, 2), (9, two, 3), (4, two, 9)] {
            let mut buf = [0; 8];
            let mut w = BitWriter::new(&mut buf);
            write_age(&mut w, age, ages);
            assert_eq!((w.bit_len(), ages.bits(age)), (bits, bits));
            let len = w.finish();
            let schema = Schema { kinds: &[], input: &[] };
            assert_eq!(read_op(&mut BitReader::new(&buf[..len]), &schema, ages), Ok(Op::Update { age }));
        }
    }

    #[test]
    fn a_second_age_of_zero_is_refused() {
        for (second, result) in [(0, Err(DecodeError::ZeroAge)), (7, Ok(Some(7)))] {
            let mut buf = [0; 8];
            let mut w = BitWriter::new(&mut buf);
            // No margin, complete, records, the first age, and the second.
            for (value, bits) in [(0b01, 2), (1, 1), (1, 1), (5, 6), (1, 1), (second, 6), (0, 2), (1, 4)] {
                w.write(value, bits);
            }
            let len = w.finish();
            assert_eq!(read_header(&mut BitReader::new(&buf[..len])).map(|header| header.ages.second), result);
        }
    }

    #[test]
    fn an_update_of_age_zero_is_refused() {
        let schema = Schema { kinds: &[], input: &[] };
        assert_eq!(read_op(&mut BitReader::new(&[0b10]), &schema, Ages::default()), Err(DecodeError::ZeroAge));
        assert_eq!(
            read_op(&mut BitReader::new(&[0b00]), &schema, Ages { first: 5, second: None }),
            Err(DecodeError::ZeroAge)
        );
        assert_eq!(
            read_op(&mut BitReader::new(&[0b10]), &schema, Ages { first: 5, second: None }),
            Ok(Op::Update { age: 5 })
        );
    }
}
