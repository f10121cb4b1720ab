//! The fast codec's records: the residuals as plain bit strings, no adaptive state, so that one string serves every client with the
//! same baseline.
//!
//! | part | bits | |
//! |---|---|---|
//! | group | 0, 1 | before the first field of a run of one group that the guess leaves where it was: whether any field of it differs |
//! | flag (a field of one bit) | 1 | whether it differs from the guess |
//! | index of a quaternion | 1, 3 | `0` as guessed; `1` + 2 bits: its rank among the guess's components by size |
//! | other field | | `zigzag(residual)` as an exponential Golomb code of order `k` |
//!
//! The order of the first field of a group is the width of the group's step from baseline to guess less 3 (at least 0); that of a
//! later field the mean of that and the width of the residual before it, less 1, rounded down. An exponential Golomb code of order `k`
//! (Teuhola, "A compression method for clustered bit-vectors", 1978) is `v = code + 2^k` in its `n` bits below the leading one
//! after `n - k` ones and a zero; as everywhere the lowest bit goes first.

use super::DecodeError;
use super::field::{difference, flipped, moved, unzigzag, zigzag};
use super::predict::{Guess, same};
use crate::bits::{BitReader, BitSink, low_mask};
use crate::schema::{Field, Kind, Predictor, State};

/// The longest run of ones of an order-0 code: `zigzag` of 33 bits' residuals.
const MAX_ONES: u32 = 34;

/// The order of the next code, as the table above has it.
#[derive(Clone, Copy, Debug)]
struct Order {
    group: Option<u8>,
    first: u32,
    next: u32,
}

impl Order {
    const START: Self = Self { group: None, first: 0, next: 0 };

    /// Whether a run of another group begins, which `field` is the first of.
    fn enters(&mut self, guess: &Guess, field: &Field) -> bool {
        if self.group == Some(field.group) {
            return false;
        }
        let first = guess.motion(field.group).saturating_sub(3);
        *self = Self { group: Some(field.group), first, next: first };
        true
    }

    fn note(&mut self, residual: i64) {
        let width = u64::BITS - residual.unsigned_abs().leading_zeros();
        self.next = (self.first + width).saturating_sub(1) / 2;
    }
}

/// The fields that follow `i`, it included, in one group.
fn run(kind: &Kind, i: usize, field: &Field) -> usize {
    kind.fields.iter().skip(i).take_while(|other| other.group == field.group).count()
}

/// Writes the fields of a record, given the guess.
///
/// # Panics
/// If a field is out of range, or a state is no quaternion where one belongs.
pub fn write_fields(w: &mut impl BitSink, kind: &Kind, guess: &Guess, state: &State) {
    let (mut from, mut order, mut turns) = (*guess.state(), Order::START, 0);
    let mut skip = 0;
    for (i, field) in kind.fields.iter().enumerate() {
        if skip > 0 {
            skip -= 1;
            continue;
        }
        if order.enters(guess, field) && asks(guess, field) {
            let fields = run(kind, i, field);
            let differs = from[i..i + fields] != state[i..i + fields];
            w.put(u64::from(differs), 1);
            if !differs {
                skip = fields - 1;
                continue;
            }
        }
        let value = state[i];
        if field.bits == 1 {
            w.put(u64::from(value != from[i]), 1);
        } else if field.predictor == (Predictor::Rotation { part: 0 }) {
            let turn = guess.turns(turns, i, kind.fields[i + 1].bits);
            turns += 1;
            if value == from[i] {
                w.put(0, 1);
            } else {
                w.put(1 | (value as u64) << 1, 3);
                from[i + 1..i + 4].copy_from_slice(&turn.parts(value as u8));
            }
        } else {
            let residual = difference(field, from[i], value);
            write_golomb(w, zigzag(residual), order.next);
            order.note(residual);
        }
    }
}

/// Whether a bit says that a group differs at all: where the guess leaves it as it was, and it is more than one bit.
fn asks(guess: &Guess, field: &Field) -> bool {
    guess.motion(field.group) == 0 && field.bits > 1
}

/// Reads what [`write_fields`] wrote, given the same guess.
///
/// # Errors
/// If the data ends early, or a value is out of its field's range.
pub fn read_fields(r: &mut BitReader<'_>, kind: &Kind, guess: &Guess) -> Result<State, DecodeError> {
    let (mut state, mut order, mut turns) = (*guess.state(), Order::START, 0);
    let mut skip = 0;
    for (i, field) in kind.fields.iter().enumerate() {
        if skip > 0 {
            skip -= 1;
            continue;
        }
        if order.enters(guess, field) && asks(guess, field) && !r.read_bool()? {
            skip = run(kind, i, field) - 1;
            continue;
        }
        let Some(rest) = state.get_mut(i..) else { break };
        let Some((place, next)) = rest.split_first_mut() else { break };
        if field.bits == 1 {
            *place ^= i32::from(r.read_bool()?);
        } else if field.predictor == (Predictor::Rotation { part: 0 }) {
            let bits = kind.fields.get(i + 1).map_or(0, |field| field.bits);
            let turn = guess.turns(turns, i, bits);
            turns += 1;
            if r.read_bool()? {
                *place = r.read(2)? as i32;
                for (place, part) in next.iter_mut().zip(turn.parts(*place as u8)) {
                    *place = part;
                }
            }
        } else {
            let residual = unzigzag(read_golomb(r, order.next)?);
            order.note(residual);
            *place = moved(field, *place, residual)?;
        }
    }
    Ok(state)
}

/// Whether a record is needed: something is not as guessed.
#[must_use]
pub fn differs(guess: &Guess, state: &State) -> bool {
    !same(guess.state(), state)
}

#[inline]
fn write_golomb(w: &mut impl BitSink, code: u64, order: u32) {
    let value = code + (1 << order);
    let bits = u64::BITS - 1 - value.leading_zeros();
    let ones = bits - order;
    w.put(low_mask(ones), ones + 1);
    w.put(value & low_mask(bits), bits);
}

#[inline]
fn read_golomb(r: &mut BitReader<'_>, order: u32) -> Result<u64, DecodeError> {
    let ones = r.peek().trailing_ones();
    if ones > MAX_ONES {
        return Err(DecodeError::ValueOutOfRange);
    }
    r.skip(ones + 1)?;
    let bits = ones + order;
    if bits > MAX_ONES + 1 {
        // Wider than the code of any field in range.
        return Err(DecodeError::ValueOutOfRange);
    }
    let low = r.read(bits)?;
    Ok((1 << bits | low) - (1 << order))
}
