//! The fields of an update in the fast codec: the residuals as plain bit strings, no adaptive state, so that one string serves
//! every client with the same baseline.
//!
//! A group is *told of* unless the guess moved it on along what it did between two acknowledged states.
//!
//! | part | bits | |
//! |---|---|---|
//! | groups | 1 each | of those told of that the receiver gets, ascending: whether any field of it differs from the guess; if not, none of it follows |
//! | fields | | in field order, but those that move along another ([`Predictor::Linear`]) after all the others |
//! | · flag (a field of one bit) | 0, 1 | whether it differs; none if it alone is the group that is told to differ |
//! | · index of a quaternion | 1, 3 | `0`: as guessed; `1` + 2 bits: the index |
//! | · another | | `zigzag(residual)`, less 1 if it alone is the group that is told to differ, in a code of order `k` |
//!
//! A *code of order `k`* is an exponential Golomb code (Teuhola, "A compression method for clustered bit-vectors", 1978):
//! `v = number + 2^k` in its `n` bits below the leading one, after `n - k` ones and a zero. Where that would be [`MAX_ONES`] or
//! more ones, there are just so many, no zero, and the raw value. As everywhere the lowest bit goes first.
//!
//! The orders:
//!
//! - A field that holds or falls has the [`order`](crate::schema::Field::order) of its line in the table.
//! - One that follows what it did between two states ([`Predictor::Trend`], [`Predictor::Rotation`]): the first of a run of one
//!   group starts at the width of the group's largest step from baseline to guess less 3 (at least 0), or at its order in the
//!   table if the group rests; a later one at the mean of that and the width of the residual before it, less 1, rounded down.
//! - One that moves along a velocity: whoever changed his velocity did so at some time since the baseline, so his place has
//!   changed by a share of the *way* `floor(change * numerator * age / rate)`, and all axes by nearly the same share. The guess goes on
//!   by `floor(way * share / 16)`, brought into the field's range; the order is the width of the way less 2, at least 0.
//!   The share begins at 10 sixteenths. Once a field with a way of 16 or more is known, it is what that field went,
//!   `floor((16 * gone + way / 2) / way)`, within 0..=16, and the order of the next is the width less 4.

use super::DecodeError;
use super::field::{unzigzag, zigzag};
use super::predict::{Guess, Plan, Role, Step, same};
use crate::bits::{BitReader, BitSink, low_mask};
use crate::schema::{MAX_FIELDS, Predictor, State};

/// From so many ones on a field is raw: residuals 2^12 times as large as expected.
pub(super) const MAX_ONES: u32 = 12;
/// The most bits that a field takes besides its width.
pub(super) const MAX_EXTRA: usize = MAX_ONES as usize + 1;

/// The farthest way that counts, either way.
const MAX_WAY: i64 = 1 << 32;
/// The shortest way that says something of the share.
const TELLING_WAY: u64 = 16;

/// The order of the next code among fields that follow what they did.
#[derive(Clone, Copy, Debug)]
struct Order {
    /// The group, [`u8::MAX`] at the start.
    group: u8,
    first: u32,
    next: u32,
}

impl Order {
    const START: Self = Self { group: u8::MAX, first: 0, next: 0 };

    /// The order for a field.
    #[inline]
    fn of(&mut self, guess: &Guess, step: &Step) -> u32 {
        match step.predictor {
            Predictor::Trend | Predictor::Rotation { .. } => {
                if self.group != step.group {
                    let trends = guess.trends() >> step.group & 1 != 0;
                    let first = if trends { guess.motion(step.group).saturating_sub(3) } else { u32::from(step.order) };
                    *self = Self { group: step.group, first, next: first };
                }
                self.next
            }
            _ => u32::from(step.order),
        }
    }

    #[inline]
    fn note(&mut self, residual: i64) {
        let width = u64::BITS - residual.unsigned_abs().leading_zeros();
        self.next = (self.first + width).saturating_sub(1) / 2;
    }
}

/// What the fields so far say of those that move along a velocity.
#[derive(Clone, Copy, Debug)]
struct Drift {
    /// How much of the way a field went, in sixteenths.
    share: i64,
    /// What the order is less than the way's width.
    sure: u32,
}

impl Drift {
    const START: Self = Self { share: 10, sure: 2 };

    /// How far a field would be off its guess, had the velocity been at the baseline what it is now.
    fn way(plan: &Plan, guess: &Guess, state: &State, step: &Step) -> i64 {
        let Predictor::Linear { velocity, numerator } = step.predictor else { return 0 };
        let at = usize::from(velocity);
        let (Some(step), Some(from), Some(to)) = (plan.steps().get(at), guess.state().get(at), state.get(at)) else {
            return 0;
        };
        let change = step.difference(*from, *to);
        if change == 0 {
            return 0;
        }
        let way = change.saturating_mul(i64::from(numerator)).saturating_mul(i64::from(guess.age()));
        way.div_euclid(i64::from(guess.rate())).clamp(-MAX_WAY, MAX_WAY)
    }

    /// The guess for a field, and the order of its code.
    fn guess(self, step: &Step, guessed: i32, way: i64) -> (i32, u32) {
        let width = u64::BITS - way.unsigned_abs().leading_zeros();
        let order = width.saturating_sub(self.sure).min(u32::from(step.bits));
        (step.fit(i64::from(guessed) + (way * self.share >> 4)), order)
    }

    fn note(&mut self, way: i64, gone: i64) {
        let length = way.unsigned_abs() as i64;
        if way.unsigned_abs() >= TELLING_WAY {
            self.share = ((gone * way.signum() * 16 + length / 2).div_euclid(length)).clamp(0, 16);
            self.sure = 4;
        }
    }
}

/// Gathers short codes, so that the sink is called once for many.
struct Gather<'w, W: BitSink> {
    sink: &'w mut W,
    bits: u64,
    held: u32,
}

impl<'w, W: BitSink> Gather<'w, W> {
    #[inline]
    const fn new(sink: &'w mut W) -> Self {
        Self { sink, bits: 0, held: 0 }
    }

    /// Appends at most 63 bits.
    #[inline]
    fn put(&mut self, value: u64, bits: u32) {
        if self.held.wrapping_add(bits) >= 64 {
            self.flush();
        }
        self.bits |= value.wrapping_shl(self.held);
        self.held = self.held.wrapping_add(bits);
    }

    /// Appends a number below 2^35 in a code of order `order`, at most 32, or the value raw.
    #[inline]
    fn code(&mut self, number: u64, order: u32, step: &Step, value: i32) {
        // Nothing here wraps; the plain operators would check.
        let number = number.wrapping_add(1 << (order & 63));
        let bits = 63u32.wrapping_sub(number.leading_zeros());
        let ones = bits.wrapping_sub(order);
        if ones >= MAX_ONES {
            let width = u32::from(step.bits);
            return self
                .put(low_mask(MAX_ONES) | (value as u32 as u64 & low_mask(width)) << MAX_ONES, MAX_ONES + width);
        }
        let low = number ^ 1 << (bits & 63);
        let prefix = (1 << ones) - 1;
        self.put(low.wrapping_shl(ones.wrapping_add(1)) | prefix, ones.wrapping_add(1).wrapping_add(bits));
    }

    #[inline]
    fn flush(&mut self) {
        self.sink.put(self.bits, self.held);
        (self.bits, self.held) = (0, 0);
    }
}

/// Writes the fields of an update, given the guess, which is spent.
///
/// # Panics
/// If a field that differs is out of range.
pub fn write_fields(w: &mut impl BitSink, plan: &Plan, guess: &mut Guess, owner: bool, state: &State) {
    let mut w = Gather::new(w);
    let groups = plan.groups(owner);
    let told = groups & !guess.trends();
    let differ = differing(plan, guess, state);
    let mut left = told;
    while left != 0 {
        w.put(u64::from(differ >> left.trailing_zeros() & 1), 1);
        left &= left - 1;
    }
    let follow = groups & (differ | !told);
    let mut order = Order::START;
    for (i, step) in plan.steps().iter().enumerate().take(MAX_FIELDS) {
        if follow >> step.group & 1 == 0 {
            continue;
        }
        let (guessed, value) = (guess.state()[i], state[i]);
        assert!(step.holds(value), "the value lies outside its field's range");
        let alone = step.alone && told >> step.group & 1 != 0;
        match step.role {
            Role::Flag => {
                if !alone {
                    w.put(u64::from(value != guessed), 1);
                }
            }
            Role::Number if plan.linear() >> i & 1 == 0 => {
                let k = order.of(guess, step);
                let residual = step.difference(guessed, value);
                w.code(zigzag(residual).wrapping_sub(u64::from(alone)), k, step, value);
                order.note(residual);
            }
            Role::Number => {}
            Role::Index(bits) => {
                if value == guessed {
                    w.put(0, 1);
                } else {
                    w.put(1 | (value as u64) << 1, 3);
                    turn_over(plan, guess, i, bits, value as u8);
                }
            }
        }
    }
    if plan.linear() != 0 {
        write_drifting(&mut w, plan, guess, follow, state);
    }
    w.flush();
}

/// A bit for each group of which a field is not as guessed.
#[inline]
fn differing(plan: &Plan, guess: &Guess, state: &State) -> u8 {
    let fields = plan.steps().iter().zip(guess.state().iter().zip(state));
    fields.fold(0, |set, (step, (guessed, value))| set | u8::from(guessed != value) << step.group)
}

/// Has the quaternion that begins at field `i` leave out another component than guessed.
#[cold]
fn turn_over(plan: &Plan, guess: &mut Guess, i: usize, bits: u8, index: u8) {
    let before = plan.steps().iter().take(i).filter(|step| matches!(step.role, Role::Index(_))).count();
    let turn = guess.turns(before, i, bits);
    guess.leave_out(i, &turn, index);
}

fn write_drifting<W: BitSink>(w: &mut Gather<'_, W>, plan: &Plan, guess: &Guess, follow: u8, state: &State) {
    let (mut drift, mut left) = (Drift::START, plan.linear());
    while left != 0 {
        let i = left.trailing_zeros() as usize;
        left &= left - 1;
        let Some((step, guessed, value)) = at(plan, guess, follow, i).map(|(step, guessed)| (step, guessed, state[i]))
        else {
            continue;
        };
        assert!(step.holds(value), "the value lies outside its field's range");
        let way = Drift::way(plan, guess, state, step);
        let (likely, order) = drift.guess(step, guessed, way);
        w.code(zigzag(step.difference(likely, value)), order, step, value);
        drift.note(way, step.difference(guessed, value));
    }
}

/// A field's step and guess, if its group follows.
#[inline]
fn at<'p>(plan: &'p Plan, guess: &Guess, follow: u8, i: usize) -> Option<(&'p Step, i32)> {
    let step = plan.steps().get(i).filter(|step| follow >> step.group & 1 != 0)?;
    Some((step, *guess.state().get(i)?))
}

/// Reads what [`write_fields`] wrote, given the same guess, which is spent.
///
/// # Errors
/// If the data ends early, or a value is out of its field's range.
pub fn read_fields(r: &mut BitReader<'_>, plan: &Plan, guess: &mut Guess, owner: bool) -> Result<State, DecodeError> {
    let groups = plan.groups(owner);
    let told = groups & !guess.trends();
    let mut follow = groups & !told;
    let (mut bits, mut left) = (r.read(told.count_ones())? as u8, told);
    while left != 0 {
        follow |= (bits & 1) << left.trailing_zeros();
        bits >>= 1;
        left &= left - 1;
    }
    let (mut state, mut order) = (*guess.state(), Order::START);
    for (i, step) in plan.steps().iter().enumerate().take(MAX_FIELDS) {
        if follow >> step.group & 1 == 0 {
            continue;
        }
        let guessed = guess.state()[i];
        let alone = step.alone && told >> step.group & 1 != 0;
        state[i] = match step.role {
            Role::Flag if alone || r.read_bool()? => step.flipped(guessed),
            Role::Flag => guessed,
            Role::Number if plan.linear() >> i & 1 == 0 => {
                let k = order.of(guess, step);
                let value = read_code(r, step, k, u64::from(alone), guessed)?;
                order.note(step.difference(guessed, value));
                value
            }
            Role::Number => guessed,
            Role::Index(bits) => {
                if r.read_bool()? {
                    let index = r.read(2)? as u8;
                    turn_over(plan, guess, i, bits, index);
                    i32::from(index)
                } else {
                    guessed
                }
            }
        };
    }
    if plan.linear() != 0 {
        read_drifting(r, plan, guess, follow, &mut state)?;
    }
    Ok(state)
}

fn read_drifting(
    r: &mut BitReader<'_>,
    plan: &Plan,
    guess: &Guess,
    follow: u8,
    state: &mut State,
) -> Result<(), DecodeError> {
    let (mut drift, mut left) = (Drift::START, plan.linear());
    while left != 0 {
        let i = left.trailing_zeros() as usize;
        left &= left - 1;
        let Some((step, guessed)) = at(plan, guess, follow, i) else { continue };
        let way = Drift::way(plan, guess, state, step);
        let (likely, order) = drift.guess(step, guessed, way);
        let value = read_code(r, step, order, 0, likely)?;
        drift.note(way, step.difference(guessed, value));
        if let Some(place) = state.get_mut(i) {
            *place = value;
        }
    }
    Ok(())
}

/// Reads a value in a code of order `order`, at most 32, of its residual less `least`.
#[inline]
fn read_code(r: &mut BitReader<'_>, step: &Step, order: u32, least: u64, guessed: i32) -> Result<i32, DecodeError> {
    // All of it lies ahead: at most 12 bits and a field, or 11 and a zero and 11 more than the order.
    let ahead = r.peek();
    let ones = ahead.trailing_ones();
    if ones >= MAX_ONES {
        let width = u32::from(step.bits);
        r.skip(MAX_ONES + width)?;
        return Ok(step.from_raw(ahead >> MAX_ONES & low_mask(width)));
    }
    let bits = ones.wrapping_add(order);
    let prefix = ones.wrapping_add(1);
    r.skip(prefix.wrapping_add(bits))?;
    let low = ahead >> prefix & low_mask(bits);
    // At most 2^44, so nothing wraps.
    let number = (1u64 << (bits & 63) | low).wrapping_sub(1 << (order & 63)).wrapping_add(least);
    step.moved(guessed, unzigzag(number))
}

/// Whether a record is needed: something is not as guessed.
#[must_use]
pub fn differs(guess: &Guess, state: &State) -> bool {
    !same(guess.state(), state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bits::{BitCount, BitWriter};
    use crate::schema::{Audience, Field, Kind, Schema};
    use crate::snapshot::max_update_bits;
    use crate::snapshot::predict::History;
    use crate::snapshot::samples::{Sample, plans, samples};

    const FLAT: Field = Field {
        name: "x",
        bits: 32,
        signed: true,
        wraps: false,
        scale: 1,
        unit: "1",
        predictor: Predictor::Hold,
        group: 0,
        audience: Audience::Everyone,
        order: 22,
    };

    /// The bits of an update's fields, all else at rest.
    fn bits(fields: &'static [Field], age: u8, base: &[i32], state: &[i32]) -> usize {
        let plan = Plan::new(&Kind { name: "kind", fields });
        let padded = |values: &[i32]| {
            let mut state = State::default();
            state[..values.len()].copy_from_slice(values);
            state
        };
        let (base, state, mut count) = (padded(base), padded(state), BitCount::default());
        let guess = || Guess::new(&plan, &History::course(&base, age, 20));
        write_fields(&mut count, &plan, &mut guess(), true, &state);
        let mut buffer = [0; 80];
        let mut w = BitWriter::new(&mut buffer);
        write_fields(&mut w, &plan, &mut guess(), true, &state);
        let len = w.finish();
        assert_eq!(read_fields(&mut BitReader::new(&buffer[..len]), &plan, &mut guess(), true), Ok(state));
        count.0
    }

    #[test]
    fn the_longest_code_is_as_long_as_its_maximum() {
        static SCHEMA: Schema = Schema { kinds: &[Kind { name: "kind", fields: &[FLAT] }], input: &[] };
        let most = max_update_bits(&SCHEMA, 0, true);
        // Besides the age.
        assert_eq!(3 + 6 + bits(SCHEMA.kinds[0].fields, 1, &[i32::MIN], &[i32::MAX]), most);
    }

    #[test]
    fn a_residual_costs_its_order_and_two_bits_for_each_doubling() {
        const FIELDS: [Field; 2] = [Field { order: 2, ..FLAT }, Field { bits: 12, order: 0, ..FLAT }];
        // The group, three bits for up to four numbers, one for the other field.
        for (residual, longer) in [(-1, 0), (1, 0), (-2, 0), (2, 2), (-3, 2), (5, 2), (6, 4), (-14, 4), (14, 6)] {
            assert_eq!(bits(&FIELDS, 1, &[100], &[100 + residual]), 1 + 3 + 1 + longer, "{residual}");
        }
        // Twelve ones and the value.
        assert_eq!(bits(&FIELDS, 1, &[100], &[100_000]), 1 + 12 + 32 + 1);
        assert_eq!(bits(&FIELDS, 1, &[100], &[100]), 1);
    }

    #[test]
    fn a_group_of_one_field_is_known_to_differ() {
        const FLAG: Field = Field { bits: 1, signed: false, order: 0, ..FLAT };
        assert_eq!(bits(&[FLAG], 1, &[0], &[1]), 1);
        assert_eq!(bits(&[FLAG, FLAG], 1, &[0], &[1]), 3);
        assert_eq!(bits(&[Field { order: 0, ..FLAT }], 1, &[7], &[6]), 1 + 1);
        assert_eq!(bits(&[Field { order: 0, ..FLAT }], 1, &[7], &[8]), 1 + 3);
    }

    #[test]
    fn a_place_goes_with_its_velocity_and_axes_go_together() {
        const PLACE: Field = Field { predictor: Predictor::Linear { velocity: 2, numerator: 20 }, ..FLAT };
        const FIELDS: [Field; 4] =
            [PLACE, Field { predictor: Predictor::Linear { velocity: 3, numerator: 20 }, ..PLACE }, FLAT, FLAT];
        let cost = |x, y| bits(&FIELDS, 8, &[], &[x, y, 100, -100]) - 1 - 2 * (22 + 1);
        // 800 either way, of which 10/16 are likely; the codes have orders of 8, and of 6 where the share is known.
        assert_eq!(cost(500, -500), 9 + 7);
        assert_eq!(cost(600, -600), 9 + 7);
        assert_eq!(cost(600, -300), 9 + 13);
        assert_eq!(bits(&FIELDS, 8, &[], &[1, 0]), 1 + 2 * 23 + 3 + 1, "without a new velocity there is no way");
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_went((plans, samples) in samples()) {
            let plan = plans.kind(0).unwrap();
            let guess = |sample: &Sample| Guess::new(plan, &sample.history());
            let mut buffer = vec![0; 4096];
            let (mut w, mut count) = (BitWriter::new(&mut buffer), BitCount::default());
            for sample in &samples {
                write_fields(&mut w, plan, &mut guess(sample), true, &sample.state);
                write_fields(&mut count, plan, &mut guess(sample), true, &sample.state);
            }
            prop_assert_eq!(count.0, w.bit_len());
            let len = w.finish();
            let mut r = BitReader::new(&buffer[..len]);
            for sample in &samples {
                prop_assert_eq!(read_fields(&mut r, plan, &mut guess(sample), true), Ok(sample.state));
            }
            prop_assert_eq!(r.finish_zero_padded(), Ok(()));
        }

        #[test]
        fn whatever_is_read_is_in_range_or_an_error((plans, samples) in samples(), data: Vec<u8>) {
            let plan = plans.kind(0).unwrap();
            let mut r = BitReader::new(&data);
            for sample in &samples {
                let Ok(state) = read_fields(&mut r, plan, &mut Guess::new(plan, &sample.history()), true) else { break };
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
            write_fields(&mut count, plan, &mut Guess::new(plan, &sample.history()), true, &state);
            prop_assert!(count.0 <= plan.steps().len());
        }
    }
}
