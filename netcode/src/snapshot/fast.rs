//! The fields of an update in the fast codec: the residuals as plain bit strings, no adaptive state, so that one string serves
//! every client with the same baseline.
//!
//! A group is *told of* unless the guess moved it on along what it did between two acknowledged states.
//!
//! | part | bits | |
//! |---|---|---|
//! | groups | 1 each | of those told of that the receiver gets, ascending: whether any field of it differs from the guess; if not, none of it follows |
//! | fields | | in field order, but those that move along another ([`Linear`](crate::schema::Predictor::Linear)) after all the others |
//! | · flag (a field of one bit) | 0, 1 | whether it differs; none if it alone is the group that is told to differ |
//! | · index of a quaternion | 1, 3 | `0`: as guessed; `1` + 2 bits: the index |
//! | · another | | `zigzag(residual)`, less 1 if it alone is the group that is told to differ, in a code of order `k` |
//!
//! A *code of order `k`* is an exponential Golomb code (Teuhola, "A compression method for clustered bit-vectors", 1978):
//! `v = number + 2^k` in its `n` bits below the leading one, after `n - k` ones and a zero. Where that would be twelve or
//! more ones, there are just so many, no zero, and the raw value. As everywhere the lowest bit goes first.
//!
//! The orders:
//!
//! - A field that holds or falls has the [`order`](crate::schema::Field::order) of its line in the table.
//! - One that follows what it did between two states ([`Trend`](crate::schema::Predictor::Trend),
//!   [`Rotation`](crate::schema::Predictor::Rotation)): the first of a row of one group, and the first component of a
//!   quaternion, starts at the width of the group's largest step from baseline to guess less 3 (at least 0), or at its order
//!   in the table if the group rests; a later one at the mean of that and the width of the residual before it, less 1, rounded
//!   down.
//! - One that moves along a velocity: whoever changed his velocity did so at some time since the baseline, so his place has
//!   changed by a share of the *way* `floor(change * numerator * age / rate)`, and all axes by nearly the same share. The guess goes on
//!   by `floor(way * share / 16)`, brought into the field's range; the order is the width of the way less 2, at least 0.
//!   The share begins at 10 sixteenths. Once a field with a way of 16 or more is known, it is what that field went,
//!   `floor((16 * gone + way / 2) / way)`, within 0..=16, and the order of the next is the width less 4.

use super::DecodeError;
use super::drift::Drift;
use super::field::{unzigzag, zigzag};
use super::predict::{Guess, Part, Plan, Run, Step, same};
use crate::bits::{BitReader, BitSink, low_mask};
use crate::schema::State;

/// From so many ones on a field is raw: residuals 2^12 times as large as expected.
pub(super) const MAX_ONES: u32 = 12;
/// The most bits that a field takes besides its width.
pub(super) const MAX_EXTRA: usize = MAX_ONES as usize + 1;

/// The order of a run's next code.
#[derive(Clone, Copy, Debug)]
struct Order {
    first: u32,
    next: u32,
}

impl Order {
    /// At the start of a run of fields that follow what they did.
    #[inline]
    fn start(guess: &Guess, group: u8, steps: &[Step]) -> Self {
        let first = if guess.trends() >> group & 1 != 0 {
            guess.motion(group).saturating_sub(3)
        } else {
            steps.first().map_or(0, |step| u32::from(step.order))
        };
        Self { first, next: first }
    }

    #[inline]
    fn note(&mut self, residual: i64) {
        let width = u64::BITS.wrapping_sub(residual.unsigned_abs().leading_zeros());
        self.next = self.first.wrapping_add(width).saturating_sub(1) / 2;
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
        step.check(value);
        // Nothing here wraps; the plain operators would check.
        let number = number.wrapping_add(1u64.wrapping_shl(order));
        let bits = 63u32.wrapping_sub(number.leading_zeros());
        let ones = bits.wrapping_sub(order);
        if ones >= MAX_ONES {
            return self.raw(step, value);
        }
        let low = number ^ 1u64.wrapping_shl(bits);
        let prefix = 1u64.wrapping_shl(ones).wrapping_sub(1);
        self.put(low.wrapping_shl(ones.wrapping_add(1)) | prefix, ones.wrapping_add(1).wrapping_add(bits));
    }

    #[cold]
    fn raw(&mut self, step: &Step, value: i32) {
        let width = u32::from(step.bits);
        self.put(low_mask(MAX_ONES) | (u64::from(value as u32) & low_mask(width)) << MAX_ONES, MAX_ONES + width);
    }

    #[inline]
    fn flush(&mut self) {
        self.sink.put(self.bits, self.held);
        (self.bits, self.held) = (0, 0);
    }
}

/// Takes short codes from a word of what lies ahead, so that the reader is asked once for many.
struct Ahead<'r, 'd> {
    reader: &'r mut BitReader<'d>,
    /// What the reader's next bits are, and behind its data zeros.
    word: u64,
    /// How many of them are taken, at most [`AHEAD`].
    taken: u32,
}

/// The bits of a word that are sure.
const AHEAD: u32 = 57;

impl<'r, 'd> Ahead<'r, 'd> {
    #[inline]
    fn new(reader: &'r mut BitReader<'d>) -> Self {
        let word = reader.peek();
        Self { reader, word, taken: 0 }
    }

    /// Looks ahead anew.
    #[inline(never)]
    fn refill(&mut self) {
        // Where that is beyond the end so is the rest, and `finish` says so.
        if self.reader.skip(self.taken).is_ok() {
            (self.word, self.taken) = (self.reader.peek(), 0);
        } else {
            (self.word, self.taken) = (0, AHEAD);
        }
    }

    #[inline]
    fn flag(&mut self) -> bool {
        if self.taken >= AHEAD {
            self.refill();
        }
        let bit = self.word.wrapping_shr(self.taken) & 1;
        self.taken = self.taken.wrapping_add(1);
        bit != 0
    }

    /// Two bits.
    #[inline]
    fn pair(&mut self) -> u8 {
        u8::from(self.flag()) | u8::from(self.flag()) << 1
    }

    /// A value in a code of order `order`, at most 32, of its residual less `least`.
    #[inline(always)]
    fn code(&mut self, step: &Step, order: u32, least: u64, guessed: i32) -> Result<i32, DecodeError> {
        let mut ahead = self.word.wrapping_shr(self.taken);
        let mut ones = ahead.trailing_ones();
        // At most 11 + 1 + 11 + 32 bits.
        let mut end = self.taken.wrapping_add(ones.wrapping_mul(2)).wrapping_add(order).wrapping_add(1);
        if end > AHEAD || ones >= MAX_ONES {
            self.refill();
            ahead = self.word.wrapping_shr(self.taken);
            ones = ahead.trailing_ones();
            if ones >= MAX_ONES {
                return Ok(self.raw(step));
            }
            end = self.taken.wrapping_add(ones.wrapping_mul(2)).wrapping_add(order).wrapping_add(1);
        }
        self.taken = end;
        let bits = ones.wrapping_add(order);
        let low = ahead.wrapping_shr(ones.wrapping_add(1)) & 1u64.wrapping_shl(bits).wrapping_sub(1);
        // At most 2^44, so nothing wraps.
        let number = (1u64.wrapping_shl(bits) | low).wrapping_sub(1u64.wrapping_shl(order)).wrapping_add(least);
        step.moved(guessed, unzigzag(number))
    }

    /// The value behind all those ones, just after a refill.
    #[cold]
    fn raw(&mut self, step: &Step) -> i32 {
        let width = u32::from(step.bits);
        let value = self.word >> MAX_ONES & low_mask(width);
        self.taken = MAX_ONES + width;
        step.signed(value)
    }

    /// Moves the reader on.
    #[inline]
    fn finish(self) -> Result<(), DecodeError> {
        Ok(self.reader.skip(self.taken)?)
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
    let differ = differing(plan, guess, state, told);
    let mut left = told;
    while left != 0 {
        w.put(u64::from(differ >> left.trailing_zeros() & 1), 1);
        left &= left.wrapping_sub(1);
    }
    let follow = groups & (differ | !told);
    for run in plan.runs() {
        if follow >> (run.group & 7) & 1 == 0 {
            continue;
        }
        let (steps, values) = (run.of(plan.steps()), run.of(state));
        match run.part {
            Part::Flags => write_flags(&mut w, steps, run.of(guess.state()), values, told),
            Part::Plain => write_plain(&mut w, steps, run.of(guess.state()), values, told),
            Part::Linear => {}
            Part::Trend => write_trend(&mut w, guess, *run, steps, values, told),
            Part::Turn(bits) => write_turn(&mut w, plan, guess, *run, bits, state),
        }
    }
    if plan.linear() {
        write_drifting(&mut w, plan, guess, follow, state);
    }
    w.flush();
}

/// Whether a field is all that a group has which is told to differ.
#[inline]
const fn alone(step: &Step, told: u8) -> bool {
    step.alone && told >> (step.group & 7) & 1 != 0
}

fn write_flags<W: BitSink>(w: &mut Gather<'_, W>, steps: &[Step], guesses: &[i32], values: &[i32], told: u8) {
    for (step, (guessed, value)) in steps.iter().zip(guesses.iter().zip(values)) {
        step.check(*value);
        if !alone(step, told) {
            w.put(u64::from(value != guessed), 1);
        }
    }
}

fn write_plain<W: BitSink>(w: &mut Gather<'_, W>, steps: &[Step], guesses: &[i32], values: &[i32], told: u8) {
    for (step, (guessed, value)) in steps.iter().zip(guesses.iter().zip(values)) {
        let number = zigzag(step.difference(*guessed, *value)).wrapping_sub(u64::from(alone(step, told)));
        w.code(number, u32::from(step.order), step, *value);
    }
}

#[inline]
fn write_trend<W: BitSink>(w: &mut Gather<'_, W>, guess: &Guess, run: Run, steps: &[Step], values: &[i32], told: u8) {
    let least = u64::from(steps.first().is_some_and(|step| alone(step, told)));
    let order = Order::start(guess, run.group, steps);
    write_run(w, order, steps, run.of(guess.state()), values, least);
}

#[inline]
fn write_run<W: BitSink>(
    w: &mut Gather<'_, W>,
    mut order: Order,
    steps: &[Step],
    guesses: &[i32],
    values: &[i32],
    least: u64,
) {
    for (step, (guessed, value)) in steps.iter().zip(guesses.iter().zip(values)) {
        let residual = step.difference(*guessed, *value);
        w.code(zigzag(residual).wrapping_sub(least), order.next, step, *value);
        order.note(residual);
    }
}

#[inline]
fn write_turn<W: BitSink>(w: &mut Gather<'_, W>, plan: &Plan, guess: &mut Guess, run: Run, bits: u8, state: &State) {
    let ([index, steps @ ..], [value, values @ ..], [guessed, ..]) =
        (run.of(plan.steps()), run.of(state), run.of(guess.state()))
    else {
        return;
    };
    index.check(*value);
    if value == guessed {
        w.put(0, 1);
    } else {
        w.put(1 | (*value as u64) << 1, 3);
        turn_over(plan, guess, run, bits, *value as u8);
    }
    let guesses = run.of(guess.state()).get(1..).unwrap_or_default();
    write_run(w, Order::start(guess, run.group, steps), steps, guesses, values, 0);
}

/// A bit for each group told of that has a field which is not as guessed.
#[inline]
fn differing(plan: &Plan, guess: &Guess, state: &State, told: u8) -> u8 {
    let (mut set, mut left) = (0, told);
    while left != 0 {
        let group = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        let (mut fields, mut or) = (plan.members(group), 0);
        while fields != 0 {
            let i = fields.trailing_zeros() as usize;
            fields &= fields.wrapping_sub(1);
            if let (Some(guessed), Some(value)) = (guess.state().get(i), state.get(i)) {
                or |= guessed ^ value;
            }
        }
        set |= u8::from(or != 0) << (group & 7);
    }
    set
}

/// Has a quaternion leave out another component than guessed.
#[cold]
fn turn_over(plan: &Plan, guess: &mut Guess, run: Run, bits: u8, index: u8) {
    let earlier = plan.runs().iter().take_while(|other| other.from < run.from);
    let before = earlier.filter(|other| matches!(other.part, Part::Turn(_))).count();
    let at = usize::from(run.from);
    let turn = guess.turns(before, at, bits);
    guess.leave_out(at, &turn, index);
}

fn write_drifting<W: BitSink>(w: &mut Gather<'_, W>, plan: &Plan, guess: &Guess, follow: u8, state: &State) {
    let mut drift = Drift::START;
    for run in drifting(plan, follow) {
        let fields = run.of(plan.steps()).iter().zip(run.of(guess.state()).iter().zip(run.of(state)));
        for (step, (guessed, value)) in fields {
            let way = Drift::way(plan, guess, state, step);
            let (likely, order) = (drift.likely(step, *guessed, way), drift.order(step, way));
            w.code(zigzag(step.difference(likely, *value)), order, step, *value);
            drift.note(way, step.difference(*guessed, *value));
        }
    }
}

/// The runs of fields that move along another, of the groups that follow.
#[inline]
fn drifting(plan: &Plan, follow: u8) -> impl Iterator<Item = &Run> {
    plan.runs().iter().filter(move |run| run.part == Part::Linear && follow >> (run.group & 7) & 1 != 0)
}

/// Reads what [`write_fields`] wrote, given the same guess, which is spent.
///
/// # Errors
/// If the data ends early, or a value is out of its field's range.
pub fn read_fields(r: &mut BitReader<'_>, plan: &Plan, guess: &mut Guess, owner: bool) -> Result<State, DecodeError> {
    let mut ahead = Ahead::new(r);
    let result = read_groups(&mut ahead, plan, guess, owner);
    // What lies behind the end read as zeros, whatever came of them.
    ahead.finish()?;
    result
}

#[inline]
fn read_groups(r: &mut Ahead<'_, '_>, plan: &Plan, guess: &mut Guess, owner: bool) -> Result<State, DecodeError> {
    let groups = plan.groups(owner);
    let told = groups & !guess.trends();
    let (mut follow, mut left) = (groups & !told, told);
    while left != 0 {
        follow |= u8::from(r.flag()) << left.trailing_zeros();
        left &= left.wrapping_sub(1);
    }
    let mut state = *guess.state();
    for run in plan.runs() {
        if follow >> (run.group & 7) & 1 == 0 {
            continue;
        }
        let steps = run.of(plan.steps());
        match run.part {
            Part::Flags => read_flags(r, steps, run.of_mut(&mut state), told),
            Part::Plain => read_plain(r, steps, run.of_mut(&mut state), told)?,
            Part::Linear => {}
            Part::Trend => {
                let least = u64::from(steps.first().is_some_and(|step| alone(step, told)));
                read_run(r, Order::start(guess, run.group, steps), steps, run.of_mut(&mut state), least)?;
            }
            Part::Turn(bits) => read_turn(r, plan, guess, *run, bits, &mut state)?,
        }
    }
    if plan.linear() {
        read_drifting(r, plan, guess, follow, &mut state)?;
    }
    Ok(state)
}

/// The places hold the guesses, here and below.
fn read_flags(r: &mut Ahead<'_, '_>, steps: &[Step], places: &mut [i32], told: u8) {
    for (step, place) in steps.iter().zip(places) {
        if alone(step, told) || r.flag() {
            *place = step.flipped(*place);
        }
    }
}

fn read_plain(r: &mut Ahead<'_, '_>, steps: &[Step], places: &mut [i32], told: u8) -> Result<(), DecodeError> {
    for (step, place) in steps.iter().zip(places) {
        *place = r.code(step, u32::from(step.order), u64::from(alone(step, told)), *place)?;
    }
    Ok(())
}

#[inline]
fn read_run(
    r: &mut Ahead<'_, '_>,
    mut order: Order,
    steps: &[Step],
    places: &mut [i32],
    least: u64,
) -> Result<(), DecodeError> {
    for (step, place) in steps.iter().zip(places) {
        let value = r.code(step, order.next, least, *place)?;
        order.note(step.difference(*place, value));
        *place = value;
    }
    Ok(())
}

#[inline]
fn read_turn(
    r: &mut Ahead<'_, '_>,
    plan: &Plan,
    guess: &mut Guess,
    run: Run,
    bits: u8,
    state: &mut State,
) -> Result<(), DecodeError> {
    if r.flag() {
        turn_over(plan, guess, run, bits, r.pair());
        run.of_mut(state).copy_from_slice(run.of(guess.state()));
    }
    if let ([_, steps @ ..], [_, places @ ..]) = (run.of(plan.steps()), run.of_mut(state)) {
        read_run(r, Order::start(guess, run.group, steps), steps, places, 0)?;
    }
    Ok(())
}

fn read_drifting(
    r: &mut Ahead<'_, '_>,
    plan: &Plan,
    guess: &Guess,
    follow: u8,
    state: &mut State,
) -> Result<(), DecodeError> {
    let mut drift = Drift::START;
    for run in drifting(plan, follow) {
        for (i, step) in (usize::from(run.from)..).zip(run.of(plan.steps())) {
            let Some(guessed) = guess.state().get(i) else { continue };
            let way = Drift::way(plan, guess, state, step);
            let (likely, order) = (drift.likely(step, *guessed, way), drift.order(step, way));
            let value = r.code(step, order, 0, likely)?;
            drift.note(way, step.difference(*guessed, value));
            if let Some(place) = state.get_mut(i) {
                *place = value;
            }
        }
    }
    Ok(())
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
    use crate::schema::{Audience, Field, Kind, Predictor, Schema};
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
