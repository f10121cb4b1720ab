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
use super::field::{unzigzag, zigzag};
use super::predict::{Guess, Plan, Role, Step, same};
use crate::bits::{BitReader, BitSink, low_mask};
use crate::schema::{MAX_FIELDS, State};

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

    /// Whether a run of another group begins, which `step` is the first of.
    #[inline]
    fn enters(&mut self, guess: &Guess, step: &Step) -> bool {
        if self.group == step.group {
            return false;
        }
        let first = guess.motion(step.group).saturating_sub(3);
        *self = Self { group: step.group, first, next: first };
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
        if self.held.wrapping_add(bits) > 64 {
            self.flush();
        }
        // A full word is flushed before its 64 bits are shifted by.
        self.bits |= value.wrapping_shl(self.held);
        self.held = self.held.wrapping_add(bits);
        if self.held == 64 {
            self.flush();
        }
    }

    #[inline]
    fn golomb(&mut self, code: u64, order: u32) {
        // At most 2^34 + 2^33, so nothing wraps; the plain operators would check.
        let value = code.wrapping_add(1 << (order & 63));
        let bits = 63 - value.leading_zeros();
        let ones = bits.wrapping_sub(order);
        let low = value ^ 1 << (bits & 63);
        if ones.wrapping_add(bits) < 56 {
            let prefix = (1 << (ones & 63)) - 1;
            self.put(low.wrapping_shl(ones + 1) | prefix, ones + 1 + bits);
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

/// Writes the fields of a record, given the guess, which is spent.
///
/// # Panics
/// If a field is out of range.
pub fn write_fields(w: &mut impl BitSink, plan: &Plan, guess: &mut Guess, state: &State) {
    let (mut order, mut turns, mut skip) = (Order::START, 0, 0);
    let mut w = Gather { sink: w, bits: 0, held: 0 };
    for (i, step) in plan.steps().iter().enumerate().take(MAX_FIELDS) {
        if i < skip {
            continue;
        }
        let (guessed, value) = (guess.state()[i], state[i]);
        assert!(step.holds(value), "the value lies outside its field's range");
        if order.enters(guess, step) && asks(guess, step) {
            let run = i..i + usize::from(step.run);
            let differs = guess.state()[run.clone()] != state[run.clone()];
            w.put(u64::from(differs), 1);
            if !differs {
                skip = run.end;
                continue;
            }
        }
        match step.role {
            Role::Number => {
                let residual = step.difference(guessed, value);
                w.golomb(zigzag(residual), order.next);
                order.note(residual);
            }
            Role::Flag => w.put(u64::from(value != guessed), 1),
            Role::Index(bits) => {
                if value == guessed {
                    w.put(0, 1);
                } else {
                    let turn = guess.turns(turns, i, bits);
                    w.put(1 | (value as u64) << 1, 3);
                    guess.leave_out(i, &turn, value as u8);
                }
                turns += 1;
            }
        }
    }
    w.flush();
}

/// Whether a bit says that a group differs at all: where the guess leaves it as it was, and it is more than one bit.
#[inline]
fn asks(guess: &Guess, step: &Step) -> bool {
    step.role != Role::Flag && guess.motion(step.group) == 0
}

/// Reads what [`write_fields`] wrote, given the same guess, which is spent.
///
/// # Errors
/// If the data ends early, or a value is out of its field's range.
pub fn read_fields(r: &mut BitReader<'_>, plan: &Plan, guess: &mut Guess) -> Result<State, DecodeError> {
    let mut state = *guess.state();
    let (mut order, mut turns, mut skip) = (Order::START, 0, 0);
    for (i, step) in plan.steps().iter().enumerate().take(MAX_FIELDS) {
        if i < skip {
            continue;
        }
        if order.enters(guess, step) && asks(guess, step) && !r.read_bool()? {
            skip = i + usize::from(step.run);
            continue;
        }
        let guessed = guess.state()[i];
        state[i] = match step.role {
            Role::Number => {
                let residual = unzigzag(read_golomb(r, order.next)?);
                order.note(residual);
                step.moved(guessed, residual)?
            }
            Role::Flag => {
                if r.read_bool()? {
                    step.flipped(guessed)
                } else {
                    guessed
                }
            }
            Role::Index(bits) => {
                turns += 1;
                if r.read_bool()? {
                    let index = r.read(2)? as u8;
                    let turn = guess.turns(turns - 1, i, bits);
                    guess.leave_out(i, &turn, index);
                    i32::from(index)
                } else {
                    guessed
                }
            }
        };
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bits::{BitCount, BitWriter};
    use crate::snapshot::samples::{Sample, plans, samples};

    proptest! {
        #[test]
        fn records_come_back_as_they_went((plans, samples) in samples()) {
            let plan = plans.kind(0).unwrap();
            let guess = |sample: &Sample| Guess::new(plan, &sample.history());
            let mut buffer = vec![0; 4096];
            let (mut w, mut count) = (BitWriter::new(&mut buffer), BitCount::default());
            for sample in &samples {
                write_fields(&mut w, plan, &mut guess(sample), &sample.state);
                write_fields(&mut count, plan, &mut guess(sample), &sample.state);
            }
            prop_assert_eq!(count.0, w.bit_len());
            let len = w.finish();
            let mut r = BitReader::new(&buffer[..len]);
            for sample in &samples {
                prop_assert_eq!(read_fields(&mut r, plan, &mut guess(sample)), Ok(sample.state));
            }
            prop_assert_eq!(r.finish_zero_padded(), Ok(()));
        }

        #[test]
        fn whatever_is_read_is_in_range_or_an_error((plans, samples) in samples(), data: Vec<u8>) {
            let plan = plans.kind(0).unwrap();
            let mut r = BitReader::new(&data);
            for sample in &samples {
                let Ok(state) = read_fields(&mut r, plan, &mut Guess::new(plan, &sample.history())) else { break };
                for (step, value) in plan.steps().iter().zip(state) {
                    prop_assert!(step.holds(value));
                }
            }
        }

        #[test]
        fn a_body_at_rest_costs_a_bit_for_each_group(plans in plans()) {
            let plan = plans.kind(0).unwrap();
            let state = State::default().map(|_| 0);
            let sample = Sample { older: Some(state), ticks: 1, base: state, age: 6, state };
            let mut count = BitCount::default();
            write_fields(&mut count, plan, &mut Guess::new(plan, &sample.history()), &state);
            prop_assert!(count.0 <= plan.steps().len());
        }
    }
}
