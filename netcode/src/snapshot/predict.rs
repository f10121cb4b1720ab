//! What a state is guessed to be, from acknowledged history. Both codecs code the difference to it.
//!
//! Integers only: the encoder's guess and the decoder's are the same, bit for bit, on every target.

use super::DecodeError;
use super::rotation::Turn;
use crate::schema::{Audience, Kind, MAX_FIELDS, MAX_GROUPS, MAX_KINDS, Predictor, Schema, State, extrapolate};

/// The most quaternions of one kind.
const MAX_TURNS: usize = MAX_FIELDS / 4;

/// The acknowledged states that a guess starts from.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The newest acknowledged state.
    pub base: &'a State,
    /// An acknowledged state before it, and how many ticks lie between the two (1 or more).
    pub older: Option<(&'a State, u8)>,
    /// Ticks from the newest acknowledged state to the one that is guessed.
    pub age: u8,
    /// Ticks per second; 0 counts as 1.
    pub rate: u16,
}

impl<'a> History<'a> {
    /// The history of a body of which a single state is known.
    #[must_use]
    pub const fn course(base: &'a State, age: u8, rate: u16) -> Self {
        Self { base, older: None, age, rate }
    }

    /// Whether nothing changed between the two acknowledged states, or there is but one.
    #[inline]
    #[must_use]
    pub fn still(&self) -> bool {
        self.older.is_none_or(|(older, _)| same(older, self.base))
    }
}

/// What a field is to the codecs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One bit, guessed to stay.
    Flag,
    /// A residual.
    Number,
    /// The index of a quaternion whose components have that many bits.
    Index(u8),
}

/// One field, with what is derived from its line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub role: Role,
    pub group: u8,
    /// Whether it is for the owner only.
    pub own: bool,
    /// Whether it has its group for itself.
    pub alone: bool,
    /// Width on the wire in bits.
    pub bits: u8,
    /// Of the code of its residual.
    pub order: u8,
    pub predictor: Predictor,
    /// For a cyclic field 64 minus its width, else 0.
    unused: u8,
    min: i32,
    max: i32,
}

impl Step {
    const NONE: Self = Self {
        role: Role::Number,
        group: 0,
        own: false,
        alone: false,
        bits: 1,
        order: 0,
        predictor: Predictor::Hold,
        unused: 0,
        min: 0,
        max: 0,
    };

    fn new(kind: &Kind, i: usize) -> Self {
        let [field, rest @ ..] = kind.fields.get(i..).unwrap_or_default() else { return Self::NONE };
        let role = match (field.predictor, rest) {
            (Predictor::Rotation { part: 0 }, [component, ..]) => Role::Index(component.bits),
            _ if field.bits == 1 => Role::Flag,
            _ => Role::Number,
        };
        Self {
            role,
            group: field.group,
            own: field.audience == Audience::Owner,
            alone: kind.fields.iter().filter(|other| other.group == field.group).count() == 1,
            bits: field.bits,
            order: field.order,
            predictor: field.predictor,
            unused: if field.wraps { 64 - field.bits } else { 0 },
            min: field.min(),
            max: field.max(),
        }
    }

    /// `value - guess`; for a cyclic field the shorter way round.
    #[inline]
    pub fn difference(&self, guess: i32, value: i32) -> i64 {
        let plain = i64::from(value).wrapping_sub(i64::from(guess));
        if self.unused == 0 { plain } else { self.shorter(plain) }
    }

    /// Out of line, so that the fields that are not cyclic, nearly all, do not pay for it.
    #[cold]
    const fn shorter(&self, difference: i64) -> i64 {
        let unused = self.unused as u32;
        difference.wrapping_shl(unused).wrapping_shr(unused)
    }

    /// The value whose two's complement in the field's width is `raw`.
    #[inline]
    pub const fn signed(&self, raw: u64) -> i32 {
        let unused = 64 - self.bits as u32;
        if self.min < 0 { ((raw << unused) as i64 >> unused) as i32 } else { raw as i32 }
    }

    /// The guess plus a residual of at most 45 bits.
    #[inline]
    pub fn moved(&self, guess: i32, residual: i64) -> Result<i32, DecodeError> {
        let value = i64::from(guess).wrapping_add(residual);
        if i64::from(self.min) <= value && value <= i64::from(self.max) {
            Ok(value as i32)
        } else if self.unused != 0 {
            Ok(self.wrap(value))
        } else {
            Err(DecodeError::ValueOutOfRange)
        }
    }

    /// # Panics
    /// If the value is not in the field's range.
    #[inline]
    pub fn check(&self, value: i32) {
        assert!(self.holds(value), "the value lies outside its field's range");
    }

    /// The other value of a flag.
    #[inline]
    pub const fn flipped(&self, value: i32) -> i32 {
        // Of one bit in two's complement, if signed: -1 or 0.
        if value == self.min { self.max } else { self.min }
    }

    /// Whether the value is in the field's range.
    #[inline]
    pub const fn holds(&self, value: i32) -> bool {
        self.min <= value && value <= self.max
    }

    #[cold]
    fn wrap(&self, value: i64) -> i32 {
        let (min, max) = (i64::from(self.min), i64::from(self.max));
        ((value - min).rem_euclid(max - min + 1) + min) as i32
    }

    /// Brings a value into range.
    #[inline]
    pub fn fit(&self, value: i64) -> i32 {
        if self.unused == 0 { value.clamp(i64::from(self.min), i64::from(self.max)) as i32 } else { self.wrap(value) }
    }
}

/// What the fields of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Bits.
    Flags,
    /// Numbers that hold or fall.
    Plain,
    /// Numbers that move along another.
    Linear,
    /// Numbers that follow what they did.
    Trend,
    /// A quaternion, whose components have that many bits.
    Turn(u8),
}

/// Fields in a row of one group and one sort; a quaternion is a run of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub part: Part,
    pub group: u8,
    pub from: u8,
    to: u8,
}

impl Run {
    const NONE: Self = Self { part: Part::Flags, group: 0, from: 0, to: 0 };

    fn part(step: &Step) -> Part {
        match (step.role, step.predictor) {
            (Role::Index(bits), _) => Part::Turn(bits),
            (Role::Flag, _) => Part::Flags,
            (_, Predictor::Linear { .. }) => Part::Linear,
            (_, Predictor::Hold | Predictor::Fall { .. }) => Part::Plain,
            _ => Part::Trend,
        }
    }

    /// The runs of a kind, and how many they are.
    fn all(steps: &[Step]) -> ([Self; MAX_FIELDS], u8) {
        let (mut runs, mut len) = ([Self::NONE; MAX_FIELDS], 0u8);
        for (i, step) in (0u8..).zip(steps) {
            if let Some(run) = len.checked_sub(1).and_then(|last| runs.get_mut(usize::from(last))) {
                let joins = match run.part {
                    Part::Turn(_) => i < run.from + 4,
                    part => part == Self::part(step) && run.group == step.group,
                };
                if joins {
                    run.to = i + 1;
                    continue;
                }
            }
            if let Some(run) = runs.get_mut(usize::from(len)) {
                *run = Self { part: Self::part(step), group: step.group, from: i, to: i + 1 };
                len += 1;
            }
        }
        (runs, len)
    }

    /// What belongs to the run of what belongs to the fields.
    #[inline(always)]
    pub fn of<T>(self, fields: &[T]) -> &[T] {
        fields.get(usize::from(self.from)..usize::from(self.to)).unwrap_or_default()
    }

    /// The same.
    #[inline(always)]
    pub fn of_mut<T>(self, fields: &mut [T]) -> &mut [T] {
        fields.get_mut(usize::from(self.from)..usize::from(self.to)).unwrap_or_default()
    }
}

/// One kind, with what is derived from its table.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    kind: Kind,
    steps: [Step; MAX_FIELDS],
    fields: u8,
    runs: ([Run; MAX_FIELDS], u8),
    /// The groups that anybody, and that the owner gets.
    groups: [u8; 2],
    /// A bit for each field of each group.
    members: [u16; MAX_GROUPS],
    /// Whether some move along another.
    linear: bool,
    /// Whether a state may move on that is equal to the one before it.
    drifts: bool,
    /// The first flag, or [`MAX_FIELDS`].
    flag: u8,
}

impl Plan {
    /// The plan for a kind.
    #[must_use]
    pub fn new(kind: &Kind) -> Self {
        let mut steps = [Step::NONE; MAX_FIELDS];
        for (i, step) in steps.iter_mut().enumerate() {
            *step = Step::new(kind, i);
        }
        let flag = kind.fields.iter().position(|field| field.bits == 1).unwrap_or(MAX_FIELDS);
        let drifts = kind.drifts();
        let fields = kind.fields.len().min(MAX_FIELDS);
        let mut members = [0u16; MAX_GROUPS];
        for (i, field) in kind.fields.iter().take(fields).enumerate() {
            if let Some(members) = members.get_mut(usize::from(field.group)) {
                *members |= 1 << i;
            }
        }
        let runs = Run::all(steps.get(..fields).unwrap_or_default());
        let linear = runs.0.iter().any(|run| run.part == Part::Linear);
        Self {
            kind: *kind,
            steps,
            groups: [kind.groups(false), kind.groups(true)],
            members,
            linear,
            runs,
            fields: fields as u8,
            drifts,
            flag: flag.min(MAX_FIELDS) as u8,
        }
    }

    /// The fields, in order.
    #[inline]
    pub(super) fn steps(&self) -> &[Step] {
        self.steps.get(..usize::from(self.fields)).unwrap_or_default()
    }

    /// A bit for each group that the receiver gets.
    #[inline]
    pub(super) const fn groups(&self, owner: bool) -> u8 {
        self.groups[owner as usize]
    }

    /// A bit for each field of a group.
    #[inline]
    pub(super) fn members(&self, group: u32) -> u16 {
        self.members.get(group as usize).copied().unwrap_or(0)
    }

    /// The fields in runs, in order.
    #[inline]
    pub(super) fn runs(&self) -> &[Run] {
        self.runs.0.get(..usize::from(self.runs.1)).unwrap_or_default()
    }

    /// Whether some fields move along another.
    #[inline]
    pub(super) const fn linear(&self) -> bool {
        self.linear
    }

    /// The kind.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whether the guess is the newest acknowledged state, so that nothing need be worked out.
    #[inline]
    #[must_use]
    pub fn rests(&self, history: &History<'_>) -> bool {
        !self.drifts && history.still()
    }

    /// The first flag of a state; false if there is none.
    #[inline]
    pub(super) fn flag(&self, state: &State) -> bool {
        state.get(usize::from(self.flag)).is_some_and(|value| *value != 0)
    }
}

/// The plans for all kinds of a schema, which must be valid; made once.
#[derive(Clone, Debug)]
pub struct Plans {
    schema: &'static Schema,
    kinds: Vec<Plan>,
}

impl Plans {
    /// The plans for a schema.
    #[must_use]
    pub fn new(schema: &'static Schema) -> Self {
        Self { schema, kinds: schema.kinds.iter().take(MAX_KINDS).map(Plan::new).collect() }
    }

    /// What they were made for.
    #[must_use]
    pub const fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// The plan for the kind of that number.
    ///
    /// # Errors
    /// If the schema has none.
    #[inline]
    pub fn kind(&self, number: u8) -> Result<&Plan, DecodeError> {
        self.kinds.get(usize::from(number)).ok_or(DecodeError::UnknownKind(number))
    }
}

/// A guessed state, and what else the codecs want to know of where it came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guess {
    state: State,
    held: State,
    turns: [Turn; MAX_TURNS],
    motion: [u32; MAX_GROUPS],
    /// Nothing moves: the guess is the baseline, and the others are not filled.
    still: bool,
    /// A bit for each group that moved on as it moved between two acknowledged states.
    trends: u8,
    age: u8,
    rate: u16,
}

impl Guess {
    /// The guess for `history`.
    #[must_use]
    pub fn new(plan: &Plan, history: &History<'_>) -> Self {
        let mut guess = Self::default();
        guess.set(plan, history);
        guess
    }

    /// The guess where a single state is known, which comes to `state` by itself; `age` and `rate` as in a [`History`].
    #[must_use]
    pub fn on_course(state: &State, age: u8, rate: u16) -> Self {
        Self { state: *state, still: true, age, rate, ..Self::default() }
    }

    /// Replaces the guess by the one for `history`; cheaper than a new one.
    #[inline]
    pub fn set(&mut self, plan: &Plan, history: &History<'_>) {
        self.state = *history.base;
        (self.age, self.rate, self.trends) = (history.age, history.rate, 0);
        self.still = plan.rests(history);
        if !self.still {
            if plan.drifts {
                self.state = extrapolate(&plan.kind, history.rate, u32::from(history.age), history.base);
            }
            self.set_moving(plan, history);
        }
    }

    fn set_moving(&mut self, plan: &Plan, history: &History<'_>) {
        self.held = *history.base;
        self.motion = [0; MAX_GROUPS];
        let mut turns = 0;
        for run in plan.runs() {
            match run.part {
                Part::Turn(bits) => {
                    self.turn(run.group, usize::from(run.from), bits, turns, history);
                    turns += 1;
                }
                Part::Trend => self.trend(*run, run.of(plan.steps()), history),
                Part::Linear | Part::Plain => self.drift(*run, run.of(plan.steps()), history.base),
                Part::Flags => {}
            }
        }
    }

    /// Notes how far fields went that move on by what one state says.
    #[inline]
    fn drift(&mut self, run: Run, steps: &[Step], base: &State) {
        let mut motion = 0;
        for (step, (base, guess)) in steps.iter().zip(run.of(base).iter().zip(run.of(&self.state))) {
            motion |= step.difference(*base, *guess).unsigned_abs();
        }
        self.stir(run.group, motion);
    }

    /// Moves fields on as they moved between the two states.
    #[inline]
    fn trend(&mut self, run: Run, steps: &[Step], history: &History<'_>) {
        let Some((older, ticks)) = history.older else { return };
        let (age, ticks, mut motion) = (i64::from(history.age), i64::from(ticks), 0);
        let states = run.of(older).iter().zip(run.of(history.base)).zip(run.of_mut(&mut self.state));
        for (step, ((older, base), place)) in steps.iter().zip(states) {
            let moved = step.difference(*older, *base);
            let by = if ticks > 1 { share(moved, age, ticks) } else { moved.wrapping_mul(age) };
            *place = step.fit(i64::from(*base).wrapping_add(by));
            motion |= by.unsigned_abs();
        }
        self.trends |= u8::from(motion != 0) << (run.group & 7);
        self.stir(run.group, motion);
    }

    /// Turns the quaternion that begins at field `i` on.
    #[inline]
    fn turn(&mut self, group: u8, i: usize, bits: u8, number: usize, history: &History<'_>) {
        let Some(place) = self.turns.get_mut(number) else { return };
        let base = four(history.base, i);
        let older = history.older.map(|(state, ticks)| (four(state, i), ticks));
        *place = Turn::new(base, older, history.age, bits);
        if older.is_none_or(|(older, _)| older == base) {
            return;
        }
        let (guess, mut held) = (place.fields(), base);
        if guess[0] != base[0] {
            let [a, b, c] = place.base_parts(guess[0] as u8);
            held = [guess[0], a, b, c];
        }
        let steps = guess[1].abs_diff(held[1]) | guess[2].abs_diff(held[2]) | guess[3].abs_diff(held[3]);
        set_four(&mut self.state, i, guess);
        set_four(&mut self.held, i, held);
        self.trends |= u8::from(steps != 0) << (group & 7);
        self.stir(group, u64::from(steps));
    }

    /// Has the quaternion that begins at field `i` leave out another component than guessed.
    pub(super) fn leave_out(&mut self, i: usize, turn: &Turn, index: u8) {
        let four = |[a, b, c]: [i32; 3]| [i32::from(index), a, b, c];
        set_four(&mut self.state, i, four(turn.parts(index)));
        // At rest the two are the same, and only the state is looked at.
        set_four(&mut self.held, i, four(turn.base_parts(index)));
    }

    #[inline(always)]
    fn stir(&mut self, group: u8, by: u64) {
        if let Some(motion) = self.motion.get_mut(usize::from(group)) {
            *motion |= by.min(u64::from(u32::MAX)) as u32;
        }
    }

    /// The guess.
    #[inline]
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Whether it is the newest acknowledged state for lack of any motion.
    #[inline]
    pub(super) const fn still(&self) -> bool {
        self.still
    }

    /// The newest acknowledged state; a quaternion leaves out the component that the guess leaves out.
    #[inline]
    pub(super) const fn held(&self) -> &State {
        if self.still { &self.state } else { &self.held }
    }

    /// The quaternion of that number, in the order of the fields, which begins at field `i`.
    #[inline]
    pub(super) fn turns(&self, number: usize, i: usize, bits: u8) -> Turn {
        if self.still {
            return Turn::new(four(&self.state, i), None, 1, bits);
        }
        self.turns.get(number).copied().unwrap_or_default()
    }

    /// A bit for each group that moved on as it moved between two acknowledged states.
    #[inline]
    pub(super) const fn trends(&self) -> u8 {
        self.trends
    }

    /// Ticks from the newest acknowledged state to the one that is guessed.
    #[inline]
    pub(super) const fn age(&self) -> u8 {
        self.age
    }

    /// Ticks per second, at least 1.
    #[inline]
    pub(super) const fn rate(&self) -> u16 {
        if self.rate == 0 { 1 } else { self.rate }
    }

    /// How far the guess for a group moved on, as the bits that its largest step needs, 0..=32.
    #[inline]
    pub(super) fn motion(&self, group: u8) -> u32 {
        let motion = self.motion.get(usize::from(group)).filter(|_| !self.still);
        motion.map_or(0, |motion| u32::BITS - motion.leading_zeros())
    }

    /// The same of all groups.
    #[inline]
    pub(super) fn any_motion(&self) -> u32 {
        if self.still {
            return 0;
        }
        u32::BITS - self.motion.iter().fold(0, |or, motion| or | motion).leading_zeros()
    }
}

/// Whether two states are equal; without the call that the operator costs.
#[inline]
pub(super) fn same(a: &State, b: &State) -> bool {
    a.iter().zip(b).fold(0, |or, (a, b)| or | (a ^ b)) == 0
}

/// How far a field goes in `age` ticks that moved so far in `ticks`.
#[cold]
fn share(moved: i64, age: i64, ticks: i64) -> i64 {
    (2 * moved * age + ticks).div_euclid(2 * ticks)
}

/// The fields of the quaternion that begins at field `i`; zeros if there is none.
#[inline]
fn four(state: &State, i: usize) -> [i32; 4] {
    state.get(i..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; 4])
}

#[inline]
fn set_four(state: &mut State, i: usize, fields: [i32; 4]) {
    if let Some(place) = state.get_mut(i..).and_then(|rest| rest.first_chunk_mut()) {
        *place = fields;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::{Field, MAX_NUMERATOR};
    use crate::snapshot::samples::samples;

    const PLAIN: Field = Field {
        name: "x",
        bits: 12,
        signed: true,
        wraps: false,
        scale: 1,
        unit: "m",
        predictor: Predictor::Trend,
        group: 0,
        audience: Audience::Everyone,
        order: 2,
    };

    fn guess(fields: &'static [Field], base: &[i32], older: Option<(&[i32], u8)>, age: u8, rate: u16) -> i32 {
        let state = |values: &[i32]| {
            let mut state = State::default();
            state[..values.len()].copy_from_slice(values);
            state
        };
        let (base, older) = (state(base), older.map(|(values, ticks)| (state(values), ticks)));
        let history = History { base: &base, older: older.as_ref().map(|(older, ticks)| (older, *ticks)), age, rate };
        Guess::new(&Plan::new(&Kind { name: "kind", fields }), &history).state()[0]
    }

    #[test]
    fn a_trend_goes_on_rounds_and_saturates() {
        let trend = |base, older, ticks, age| guess(&[PLAIN], &[base], Some((&[older], ticks)), age, 60);
        assert_eq!(trend(100, 90, 1, 6), 160);
        assert_eq!(trend(100, 90, 4, 6), 115);
        assert_eq!((trend(0, -1, 2, 1), trend(0, 1, 2, 1)), (1, 0));
        assert_eq!((trend(2000, 1000, 1, 63), trend(-2000, -1000, 1, 63)), (2047, -2048));
        assert_eq!(trend(100, 90, 0, 6), 160);
        assert_eq!(guess(&[PLAIN], &[100], None, 6, 60), 100);
    }

    #[test]
    fn a_cyclic_trend_takes_the_shorter_way_round() {
        const ANGLE: Field = Field { bits: 8, signed: false, wraps: true, ..PLAIN };
        assert_eq!(guess(&[ANGLE], &[3], Some((&[253], 1)), 2, 60), 15);
        assert_eq!(guess(&[ANGLE], &[253], Some((&[3], 1)), 2, 60), 241);
    }

    #[test]
    fn a_linear_guess_rounds_and_saturates() {
        const MOVES: Field = Field { predictor: Predictor::Linear { velocity: 1, numerator: 4 }, ..PLAIN };
        let moved = |velocity, age| guess(&[MOVES, PLAIN], &[100, velocity], None, age, 20);
        assert_eq!([moved(5, 1), moved(2, 1), moved(3, 1), moved(-2, 1), moved(-3, 1)], [101, 100, 101, 100, 99]);
        assert_eq!((moved(1000, 63), moved(-1000, 63)), (2047, -2048));
    }

    #[test]
    fn the_widest_guess_does_not_overflow() {
        const WIDE: Field = Field { bits: 32, ..PLAIN };
        const FAST: Field = Field { predictor: Predictor::Linear { velocity: 1, numerator: -MAX_NUMERATOR }, ..WIDE };
        const ROUND: Field = Field { wraps: true, ..FAST };
        assert_eq!(guess(&[FAST, WIDE], &[i32::MAX, i32::MIN], None, 63, 1), i32::MAX);
        assert_eq!(guess(&[FAST, WIDE], &[i32::MIN, i32::MAX], None, 63, 0), i32::MIN);
        assert_eq!(guess(&[ROUND, WIDE], &[7, i32::MIN], None, 63, 1), 7);
        assert_eq!(guess(&[WIDE], &[i32::MAX], Some((&[i32::MIN], 1)), 255, 1), i32::MAX);
        assert_eq!(guess(&[WIDE], &[i32::MIN], Some((&[i32::MAX], 255)), 255, 1), i32::MIN);
    }

    proptest! {
        #[test]
        fn a_guess_is_in_range_and_a_used_one_as_good_as_new((plans, samples) in samples()) {
            let plan = plans.kind(0).unwrap();
            let mut used = Guess::default();
            for sample in &samples {
                used.set(plan, &sample.history());
                let new = Guess::new(plan, &sample.history());
                prop_assert_eq!(used.state(), new.state());
                prop_assert_eq!(used.held(), new.held());
                prop_assert_eq!(used.any_motion(), new.any_motion());
                for (step, value) in plan.steps().iter().zip(new.state()) {
                    prop_assert!(step.holds(*value));
                }
            }
        }
    }
}
