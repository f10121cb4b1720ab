//! What a state is guessed to be, from acknowledged history. Both codecs code the difference to it.
//!
//! Integers only: the encoder's guess and the decoder's are the same, bit for bit, on every target.

use super::rotation::Turn;
use crate::schema::{Field, Kind, MAX_FIELDS, MAX_GROUPS, Predictor, State};

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

impl History<'_> {
    /// Whether nothing changed between the two acknowledged states, or there is but one.
    #[inline]
    #[must_use]
    pub fn still(&self) -> bool {
        self.older.is_none_or(|(older, _)| same(older, self.base))
    }
}

/// A guessed state, and what else the codecs want to know of where it came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guess {
    state: State,
    held: State,
    turns: [Turn; MAX_TURNS],
    motion: [u32; MAX_GROUPS],
    /// Nothing moves: the guess is the baseline, and `turns` is not filled.
    still: bool,
}

impl Guess {
    /// The guess for `history`.
    #[must_use]
    pub fn new(kind: &Kind, history: &History<'_>) -> Self {
        let mut guess = Self::default();
        guess.set(kind, history);
        guess
    }

    /// Replaces the guess by the one for `history`; cheaper than a new one.
    #[inline]
    pub fn set(&mut self, kind: &Kind, history: &History<'_>) {
        self.state = *history.base;
        self.still = history.still();
        if self.still && !kind.fields.iter().any(|field| matches!(field.predictor, Predictor::Linear { .. })) {
            return;
        }
        self.still = false;
        self.set_moving(kind, history);
    }

    fn set_moving(&mut self, kind: &Kind, history: &History<'_>) {
        self.held = *history.base;
        self.motion = [0; MAX_GROUPS];
        let mut turns = 0;
        for (i, field) in kind.fields.iter().enumerate() {
            match field.predictor {
                Predictor::Hold => {}
                Predictor::Linear { velocity, numerator } => {
                    let travel = value(history.base, usize::from(velocity)) * i64::from(numerator);
                    let (travel, rate) = (travel * i64::from(history.age), i64::from(history.rate.max(1)));
                    self.travel(field, i, (travel + rate / 2).div_euclid(rate));
                }
                Predictor::Trend => {
                    if let Some((older, ticks)) = history.older {
                        let moved = value(history.base, i) - value(older, i);
                        let moved = if field.wraps { shorter(field, moved) } else { moved };
                        let travel = moved * i64::from(history.age);
                        if ticks > 1 {
                            let ticks = i64::from(ticks);
                            self.travel(field, i, (2 * travel + ticks).div_euclid(2 * ticks));
                        } else {
                            self.travel(field, i, travel);
                        }
                    }
                }
                Predictor::Rotation { part: 0 } => {
                    self.turn(kind, i, turns, history);
                    turns += 1;
                }
                Predictor::Rotation { .. } => {}
            }
        }
    }

    /// Moves field `i` on.
    #[inline]
    fn travel(&mut self, field: &Field, i: usize, by: i64) {
        if let Some(place) = self.state.get_mut(i)
            && by != 0
        {
            let from = *place;
            *place = field.fit(i64::from(from) + by);
            self.stir(field, by.unsigned_abs().min(u64::from(u32::MAX)) as u32);
        }
    }

    /// Turns the quaternion that begins at field `i` on.
    fn turn(&mut self, kind: &Kind, i: usize, number: usize, history: &History<'_>) {
        let Some(component) = kind.fields.get(i + 1) else { return };
        let four = |state: &State| state.get(i..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or([0; 4]);
        let base = four(history.base);
        let older = history.older.map(|(state, ticks)| (four(state), ticks));
        let turn = Turn::new(base, older, history.age, component.bits);
        if older.is_some_and(|(older, _)| older != base) {
            let guess = turn.fields();
            let held = turn.base_parts(guess[0] as u8);
            let stirred = guess[1..].iter().zip(held).fold(0, |or, (g, h)| or | g.abs_diff(h));
            for (place, value) in self.state.iter_mut().skip(i).zip(guess) {
                *place = value;
            }
            for (place, value) in self.held.iter_mut().skip(i + 1).zip(held) {
                *place = value;
            }
            self.stir(component, stirred);
        }
        if let Some(place) = self.turns.get_mut(number) {
            *place = turn;
        }
    }

    #[inline]
    fn stir(&mut self, field: &Field, by: u32) {
        if let Some(motion) = self.motion.get_mut(usize::from(field.group)) {
            *motion |= by;
        }
    }

    /// The guess.
    #[inline]
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The newest acknowledged state; a quaternion leaves out the component that the guess leaves out.
    pub(super) const fn held(&self) -> &State {
        if self.still { &self.state } else { &self.held }
    }

    /// The quaternion of that number, in the order of the fields, which begins at field `i`.
    pub(super) fn turns(&self, number: usize, i: usize, bits: u8) -> Turn {
        if self.still {
            let rest = self.state.get(i..).and_then(|rest| rest.first_chunk::<4>());
            let four = rest.copied().unwrap_or([0; 4]);
            return Turn::new(four, None, 1, bits);
        }
        self.turns.get(number).copied().unwrap_or_default()
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

#[inline]
fn value(state: &State, i: usize) -> i64 {
    i64::from(state.get(i).copied().unwrap_or(0))
}

/// The representative of a cyclic difference that is nearest 0.
#[inline]
fn shorter(field: &Field, difference: i64) -> i64 {
    let unused = 64 - u32::from(field.bits);
    (difference << unused) >> unused
}
