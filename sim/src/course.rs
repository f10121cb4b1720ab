//! Courses: when an entity last did something that nobody could have foreseen.
//!
//! An entity is on course as long as each step's state is what [`extrapolate`] makes of the step before. Who knows one
//! state of a course knows all later ones, so a course that goes on costs the network nothing.

use netcode::schema::{Kind, MAX_FALL_TICKS, State, extrapolate};

/// A fall that goes on for so many ticks counts as turned then: nobody needs to follow one for longer.
pub const FALL_TICKS: u64 = 64;
const _: () = assert!(2 * FALL_TICKS <= MAX_FALL_TICKS as u64);

/// The ticks in which an entity last left its course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// In the fields that everybody gets.
    pub shown: u64,
    /// In any field, so never before `shown`.
    pub whole: u64,
}

/// From one step to the next.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The tick of this step.
    pub tick: u64,
    /// The tick of the step before.
    pub prev: u64,
    /// Ticks a second.
    pub rate_hz: u16,
}

impl Course {
    /// Of an entity that the step of `tick` is the first to show.
    #[must_use]
    pub const fn new(tick: u64) -> Self {
        Self { shown: tick, whole: tick }
    }

    /// Takes notice of a step that led from `before` to `next`; whether the entity left its course.
    pub fn follow(&mut self, span: &Span, kind: &Kind, before: &State, next: &State) -> bool {
        if self.whole > span.prev {
            // Nobody could have foreseen it at all.
            *self = Self::new(span.tick);
            return true;
        }
        if next == before && kind.rests(before) {
            return false;
        }
        let ticks = u32::try_from(span.tick - span.prev).unwrap_or(u32::MAX);
        let guess = extrapolate(kind, span.rate_hz, ticks, before);
        let foreseen = guess == *next;
        let shown = || !foreseen && kind.visible(false, &guess) != kind.visible(false, next);
        if self.has_fallen_for_long(span.tick, kind, next) || shown() {
            *self = Self::new(span.tick);
        } else if !foreseen {
            self.whole = span.tick;
        }
        self.whole == span.tick
    }

    fn has_fallen_for_long(&self, tick: u64, kind: &Kind, state: &State) -> bool {
        tick - self.shown >= FALL_TICKS && kind.falls(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{FLAGS, GROUNDED, SCHEMA, STAMINA, VX, VY, X, Y};

    const PLAYER: &Kind = &SCHEMA.kinds[0];

    const SPAN: Span = Span { tick: 9, prev: 8, rate_hz: 20 };

    fn walker(x: i32) -> State {
        let mut state = State::default();
        (state[X], state[VX], state[FLAGS]) = (x, 320, GROUNDED);
        state
    }

    #[test]
    fn a_straight_walk_is_a_course_and_a_stop_is_not() {
        let mut course = Course::new(3);
        assert!(!course.follow(&SPAN, PLAYER, &walker(0), &walker(64)));
        assert_eq!(course, Course::new(3));
        assert!(course.follow(&SPAN, PLAYER, &walker(0), &walker(0)));
        assert_eq!(course, Course::new(9));
    }

    #[test]
    fn what_only_the_owner_gets_is_no_turn_for_others() {
        let mut course = Course::new(3);
        let mut tired = walker(64);
        tired[STAMINA] = 1;
        assert!(course.follow(&SPAN, PLAYER, &walker(0), &tired));
        assert_eq!(course, Course { shown: 3, whole: 9 });
    }

    #[test]
    fn ticks_left_out_make_who_moves_turn() {
        let (mut course, span) = (Course::new(3), Span { tick: 12, ..SPAN });
        assert!(course.follow(&span, PLAYER, &walker(0), &walker(64)));
        let mut stands = walker(0);
        stands[VX] = 0;
        assert!(!Course::new(3).follow(&span, PLAYER, &stands, &stands));
    }

    #[test]
    fn the_first_step_is_a_turn_whenever_it_comes() {
        let mut course = Course::new(9);
        let span = Span { tick: 20, ..SPAN };
        assert!(course.follow(&span, PLAYER, &State::default(), &State::default()));
        assert_eq!(course, Course::new(20));
    }

    #[test]
    fn a_long_fall_turns_now_and_then() {
        let mut course = Course::new(1);
        let mut state = State::default();
        (state[Y], state[VY]) = (100_000, -1920);
        let mut turns = Vec::new();
        for tick in 2..=140 {
            let span = Span { tick, prev: tick - 1, rate_hz: 20 };
            let next = extrapolate(&SCHEMA.kinds[0], 20, 1, &state);
            if course.follow(&span, PLAYER, &state, &next) {
                turns.push(tick);
            }
            state = next;
        }
        assert_eq!(turns, [65, 129]);
    }
}
