//! What a state is guessed to be, from acknowledged history. Both codecs code the difference to it.
//!
//! Integers only: the encoder's guess and the decoder's are the same, bit for bit, on every target.

use super::field::difference;
use super::rotation::Turn;
use crate::schema::{Field, Kind, MAX_FIELDS, MAX_GROUPS, Predictor, State, extrapolate};

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
        let drifts = kind.drifts();
        if self.still && !drifts {
            return;
        }
        self.still = false;
        if drifts {
            self.state = extrapolate(kind, history.rate, u32::from(history.age), history.base);
        }
        self.set_moving(kind, history);
    }

    fn set_moving(&mut self, kind: &Kind, history: &History<'_>) {
        self.held = *history.base;
        self.motion = [0; MAX_GROUPS];
        let (mut turns, age) = (0, i64::from(history.age));
        // The length is an array's, so that none of the places below needs a check.
        for i in 0..kind.fields.len().min(MAX_FIELDS) {
            let field = &kind.fields[i];
            match field.predictor {
                Predictor::Hold => {}
                Predictor::Linear { .. } | Predictor::Fall { .. } => {
                    let moved = difference(field, history.base[i], self.state[i]);
                    self.stir(field, moved.unsigned_abs().min(u64::from(u32::MAX)) as u32);
                }
                Predictor::Trend => {
                    let Some((older, ticks)) = history.older else { continue };
                    let moved = difference(field, older[i], history.base[i]);
                    if ticks > 1 {
                        let ticks = i64::from(ticks);
                        self.travel(field, i, (2 * moved * age + ticks).div_euclid(2 * ticks));
                    } else {
                        self.travel(field, i, moved * age);
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
        if by != 0
            && let Some(place) = self.state.get_mut(i)
        {
            *place = field.fit(i64::from(*place) + by);
            self.stir(field, by.unsigned_abs().min(u64::from(u32::MAX)) as u32);
        }
    }

    /// Turns the quaternion that begins at field `i` on.
    #[inline]
    fn turn(&mut self, kind: &Kind, i: usize, number: usize, history: &History<'_>) {
        let (Some(component), Some(place)) = (kind.fields.get(i + 1), self.turns.get_mut(number)) else { return };
        let base = four(history.base, i);
        let older = history.older.map(|(state, ticks)| (four(state, i), ticks));
        *place = Turn::new(base, older, history.age, component.bits);
        if older.is_none_or(|(older, _)| older == base) {
            return;
        }
        let (guess, mut held) = (place.fields(), base);
        if guess[0] != base[0] {
            let [a, b, c] = place.base_parts(guess[0] as u8);
            held = [guess[0], a, b, c];
        }
        let [a, b, c] = [1, 2, 3].map(|k: usize| guess[k].abs_diff(held[k]));
        set_four(&mut self.state, i, guess);
        set_four(&mut self.held, i, held);
        self.stir(component, a | b | c);
    }

    /// Has the quaternion that begins at field `i` leave out another component than guessed.
    pub(super) fn leave_out(&mut self, i: usize, turn: &Turn, index: u8) {
        let four = |[a, b, c]: [i32; 3]| [i32::from(index), a, b, c];
        set_four(&mut self.state, i, four(turn.parts(index)));
        // At rest the two are the same, and only the state is looked at.
        set_four(&mut self.held, i, four(turn.base_parts(index)));
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
            return Turn::new(four(&self.state, i), None, 1, bits);
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
