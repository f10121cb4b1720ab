//! The fast codec's records: the residuals as plain bit strings, no adaptive state, so that one string serves every client with the
//! same baseline.
//!
//! | part | bits | |
//! |---|---|---|
//! | group | 0, 1 | before the first field of a run of one group that the guess leaves where it was: whether any field of it differs |
//! | flag (a field of one bit) | 1 | whether it differs from the guess |
//! | index of a quaternion | 1, 3 | `0` as guessed; `1` + 2 bits: the index |
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
use crate::schema::{Field, Kind, MAX_FIELDS, Predictor, State};

/// The longest run of ones of an order-0 code: `zigzag` of 33 bits' residuals.
const MAX_ONES: u32 = 34;

/// The order of the next code, as the table above has it.
#[derive(Clone, Copy, Debug)]
struct Order {
    /// The group, [`u8::MAX`] at the start.
    group: u8,
    first: u32,
    next: u32,
}

impl Order {
    const START: Self = Self { group: u8::MAX, first: 0, next: 0 };

    /// Whether a run of another group begins, which `field` is the first of.
    #[inline]
    fn enters(&mut self, guess: &Guess, field: &Field) -> bool {
        if self.group == field.group {
            return false;
        }
        let first = guess.motion(field.group).saturating_sub(3);
        *self = Self { group: field.group, first, next: first };
        true
    }

    fn note(&mut self, residual: i64) {
        let width = u64::BITS - residual.unsigned_abs().leading_zeros();
        self.next = (self.first + width).saturating_sub(1) / 2;
    }
}

/// Gathers short codes, so that the sink is called once for many.
struct Gather<'w, W: BitSink> {
    sink: &'w mut W,
    bits: u64,
    held: u32,
}

impl<W: BitSink> Gather<'_, W> {
    #[inline]
    fn put(&mut self, value: u64, bits: u32) {
        if self.held + bits > 64 {
            self.flush();
        }
        // Nothing of 64 bits comes, so the shift is below that.
        self.bits |= value << self.held;
        self.held += bits;
    }

    #[inline]
    fn golomb(&mut self, code: u64, order: u32) {
        let value = code + (1 << order);
        let bits = u64::BITS - 1 - value.leading_zeros();
        let ones = bits - order;
        let low = value & low_mask(bits);
        if ones + bits < 56 {
            self.put(low << (ones + 1) | low_mask(ones), ones + 1 + bits);
        } else {
            self.put(low_mask(ones), ones + 1);
            self.put(low, bits);
        }
    }

    fn flush(&mut self) {
        self.sink.put(self.bits, self.held);
        (self.bits, self.held) = (0, 0);
    }
}

/// How many fields from `i` on are of one group.
fn run(kind: &Kind, i: usize) -> usize {
    let rest = kind.fields.get(i..).unwrap_or_default();
    rest.first().map_or(0, |first| rest.iter().take_while(|field| field.group == first.group).count())
}

/// Writes the fields of a record, given the guess, which is spent.
///
/// # Panics
/// If a field is out of range.
pub fn write_fields(w: &mut impl BitSink, kind: &Kind, guess: &mut Guess, state: &State) {
    let (mut order, mut turns, mut i) = (Order::START, 0, 0);
    let mut w = Gather { sink: w, bits: 0, held: 0 };
    let fields = kind.fields.len().min(MAX_FIELDS);
    while i < fields {
        let field = &kind.fields[i];
        let (guessed, value) = (guess.state()[i], state[i]);
        assert!(field.min() <= value && value <= field.max(), "the value lies outside its field's range");
        if order.enters(guess, field) && asks(guess, field) {
            let run = run(kind, i);
            let differs = guess.state()[i..i + run] != state[i..i + run];
            w.put(u64::from(differs), 1);
            if !differs {
                i += run;
                continue;
            }
        }
        if field.bits == 1 {
            w.put(u64::from(value != guessed), 1);
        } else if field.predictor == (Predictor::Rotation { part: 0 }) {
            if value == guessed {
                w.put(0, 1);
            } else {
                let turn = guess.turns(turns, i, kind.fields[i + 1].bits);
                w.put(1 | (value as u64) << 1, 3);
                guess.leave_out(i, &turn, value as u8);
            }
            turns += 1;
        } else {
            let residual = difference(field, guessed, value);
            w.golomb(zigzag(residual), order.next);
            order.note(residual);
        }
        i += 1;
    }
    w.flush();
}

/// Whether a bit says that a group differs at all: where the guess leaves it as it was, and it is more than one bit.
#[inline]
fn asks(guess: &Guess, field: &Field) -> bool {
    field.bits > 1 && guess.motion(field.group) == 0
}

/// Reads what [`write_fields`] wrote, given the same guess, which is spent.
///
/// # Errors
/// If the data ends early, or a value is out of its field's range.
pub fn read_fields(r: &mut BitReader<'_>, kind: &Kind, guess: &mut Guess) -> Result<State, DecodeError> {
    let mut state = *guess.state();
    let (mut order, mut turns, mut i) = (Order::START, 0, 0);
    let fields = kind.fields.len().min(MAX_FIELDS);
    while i < fields {
        let field = &kind.fields[i];
        if order.enters(guess, field) && asks(guess, field) && !r.read_bool()? {
            i += run(kind, i);
            continue;
        }
        let guessed = guess.state()[i];
        state[i] = if field.bits == 1 {
            flipped(field, guessed, r.read_bool()?)
        } else if field.predictor == (Predictor::Rotation { part: 0 }) {
            turns += 1;
            if r.read_bool()? {
                let index = r.read(2)? as u8;
                let component = kind.fields.get(i + 1).map_or(0, |field| field.bits);
                let turn = guess.turns(turns - 1, i, component);
                guess.leave_out(i, &turn, index);
                i32::from(index)
            } else {
                guessed
            }
        } else {
            let residual = unzigzag(read_golomb(r, order.next)?);
            order.note(residual);
            moved(field, guessed, residual)?
        };
        i += 1;
    }
    Ok(state)
}

/// Whether a record is needed: something is not as guessed.
#[must_use]
pub fn differs(guess: &Guess, state: &State) -> bool {
    !same(guess.state(), state)
}

#[inline]
fn read_golomb(r: &mut BitReader<'_>, order: u32) -> Result<u64, DecodeError> {
    let ahead = r.peek();
    let ones = ahead.trailing_ones();
    let bits = ones + order;
    if bits > MAX_ONES + 1 {
        // Wider than the code of any field in range.
        return Err(DecodeError::ValueOutOfRange);
    }
    let low = if ones + bits < 56 {
        r.skip(ones + 1 + bits)?;
        ahead >> (ones + 1) & low_mask(bits)
    } else {
        r.skip(ones + 1)?;
        r.read(bits)?
    };
    Ok((1 << bits | low) - (1 << order))
}
