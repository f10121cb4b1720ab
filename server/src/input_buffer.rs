//! One player's inputs on their way to the ticks that they are for.
//!
//! Clients send each input in several packets and run ahead of the server, so inputs arrive early, late, twice and out
//! of order. The buffer holds the first copy of each until its tick; a tick without one repeats the last input for a
//! while and then lets go of all controls.

use netcode::prefetch::Prefetch;
use sim::Input;
use sim::input::{FIRE, RELOAD};

/// How many ticks ahead an input may be: 1.6 s at 20 Hz, 250 ms at 128 Hz.
pub const AHEAD_TICKS: u64 = 32;
/// How far back the buffer can tell a late input from a repeated copy of a used one.
const MEMORY_TICKS: u64 = 64;

/// The ring of inputs by tick.
#[derive(Clone, Debug)]
pub struct InputBuffer {
    /// The tick that [`InputBuffer::take`] will serve next.
    next: u64,
    /// Bit `i`: the input for tick `next + i` is held.
    held: u32,
    /// Bit `i`: tick `next - 1 - i` had its own input.
    used: u64,
    ring: [Input; AHEAD_TICKS as usize],
    last: Option<Input>,
    /// Ticks in a row that `last` has been repeated.
    repeated: u32,
}

/// What became of an input that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Held for its tick.
    Held,
    /// A copy of one that is held or was used.
    Copy,
    /// Its tick has passed without it.
    Late,
    /// More than [`AHEAD_TICKS`] ahead: not held.
    Ahead,
}

/// Where the input that a tick gets comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Sent for this tick.
    Own,
    /// The last one once more.
    Repeated,
    /// Nothing for so long (or ever) that the controls are let go.
    Neutral,
}

impl InputBuffer {
    /// Empty; the first tick to be served is `next`.
    #[must_use]
    pub fn new(next: u64) -> Self {
        Self { next, held: 0, used: 0, ring: [Input::default(); AHEAD_TICKS as usize], last: None, repeated: 0 }
    }

    /// Asks for what [`put`](Self::put) needs for that tick.
    #[inline]
    pub fn prefetch(&self, tick: u64, prefetch: Prefetch) {
        prefetch.of(&self.next);
        prefetch.of(&self.held);
        if let Some(place) = self.ring.get((tick % AHEAD_TICKS) as usize) {
            prefetch.of(place);
        }
    }

    /// Puts in the input for `tick`. The first copy counts, later ones change nothing.
    pub fn put(&mut self, tick: u64, input: Input) -> Put {
        let Some(ahead) = tick.checked_sub(self.next) else {
            let back = self.next - tick - 1;
            let known = back < MEMORY_TICKS && self.used >> back & 1 == 1;
            return if known { Put::Copy } else { Put::Late };
        };
        if ahead >= AHEAD_TICKS {
            return Put::Ahead;
        }
        if self.held >> ahead & 1 == 1 {
            return Put::Copy;
        }
        if let Some(place) = self.ring.get_mut((tick % AHEAD_TICKS) as usize) {
            *place = input;
            self.held |= 1 << ahead;
        }
        Put::Held
    }

    /// The input for the next tick, repeating the last one for at most `repeat_limit` ticks in a row.
    pub fn take(&mut self, repeat_limit: u32) -> (Input, Source) {
        let own = self.held & 1 == 1;
        let place = self.ring.get((self.next % AHEAD_TICKS) as usize).copied();
        self.held >>= 1;
        self.used = self.used << 1 | u64::from(own);
        self.next += 1;
        if let (true, Some(input)) = (own, place) {
            self.last = Some(input);
            self.repeated = 0;
            return (input, Source::Own);
        }
        match self.last {
            Some(last) if self.repeated < repeat_limit => {
                self.repeated += 1;
                (repeated(last), Source::Repeated)
            }
            // Whoever lets go of the controls goes on looking the same way.
            last => (last.map_or_else(Input::default, looking), Source::Neutral),
        }
    }

    /// Leaves out the next ticks: their inputs are dropped, and the last one is that much older.
    pub fn skip(&mut self, ticks: u32) {
        self.held = self.held.checked_shr(ticks).unwrap_or(0);
        self.used = self.used.checked_shl(ticks).unwrap_or(0);
        self.next += u64::from(ticks);
        self.repeated = self.repeated.saturating_add(ticks);
    }

    /// The newest tick that an input is held for.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        let bits = u64::from(u32::BITS - self.held.leading_zeros());
        bits.checked_sub(1).map(|ahead| self.next + ahead)
    }
}

/// What goes on by itself: ways and looks. Nobody is taken to shoot, reload or pick up a second time.
fn repeated(last: Input) -> Input {
    Input { buttons: last.buttons & !(FIRE | RELOAD), move_x: last.move_x, move_z: last.move_z, ..looking(last) }
}

/// Hands off all controls.
fn looking(last: Input) -> Input {
    Input { yaw: last.yaw, pitch: last.pitch, ..Input::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(move_x: i8) -> Input {
        Input { move_x, yaw: 7, ..Input::default() }
    }

    #[test]
    fn inputs_are_served_at_their_ticks_in_whatever_order_they_came() {
        let mut buffer = InputBuffer::new(100);
        for tick in [102, 100, 101] {
            assert_eq!(buffer.put(tick, input(tick as i8)), Put::Held);
        }
        assert_eq!(buffer.newest(), Some(102));
        for tick in 100..103 {
            assert_eq!(buffer.take(3), (input(tick as i8), Source::Own));
        }
        assert_eq!(buffer.newest(), None);
    }

    #[test]
    fn a_missing_input_repeats_the_last_one_and_then_lets_go_but_keeps_looking() {
        let mut buffer = InputBuffer::new(1);
        buffer.put(1, input(5));
        assert_eq!(buffer.take(2), (input(5), Source::Own));
        assert_eq!(buffer.take(2), (input(5), Source::Repeated));
        assert_eq!(buffer.take(2), (input(5), Source::Repeated));
        assert_eq!(buffer.take(2), (input(0), Source::Neutral));
        buffer.put(5, input(6));
        assert_eq!(buffer.take(2), (input(6), Source::Own));
        assert_eq!(buffer.take(2), (input(6), Source::Repeated), "repeating starts anew");
    }

    #[test]
    fn what_is_done_once_is_not_repeated() {
        let shot = Input {
            move_x: 3,
            move_z: -4,
            yaw: 60_000,
            pitch: -900,
            buttons: u8::MAX,
            weapon: 2,
            view: 70,
            instant: 9,
            target: 4097,
        };
        let mut buffer = InputBuffer::new(1);
        buffer.put(1, shot);
        assert_eq!(buffer.take(1), (shot, Source::Own));
        let held = Input { buttons: !(FIRE | RELOAD), weapon: 0, view: 0, instant: 0, target: 0, ..shot };
        assert_eq!(buffer.take(1), (held, Source::Repeated));
        let looks = Input { yaw: 60_000, pitch: -900, ..Input::default() };
        assert_eq!(buffer.take(1), (looks, Source::Neutral));
    }

    #[test]
    fn before_the_first_input_all_controls_are_free() {
        assert_eq!(InputBuffer::new(1).take(10), (Input::default(), Source::Neutral));
    }

    #[test]
    fn copies_change_nothing_and_are_told_from_late_inputs() {
        let mut buffer = InputBuffer::new(10);
        buffer.put(10, input(1));
        assert_eq!(buffer.put(10, input(2)), Put::Copy);
        assert_eq!(buffer.take(0), (input(1), Source::Own));
        buffer.take(0);
        assert_eq!(buffer.put(10, input(2)), Put::Copy, "tick 10 had its input");
        assert_eq!(buffer.put(11, input(2)), Put::Late, "tick 11 had none");
        assert_eq!(buffer.put(0, input(2)), Put::Late);
    }

    #[test]
    fn inputs_too_far_ahead_are_not_held_and_the_farthest_allowed_one_is() {
        let mut buffer = InputBuffer::new(u64::MAX - 1000);
        assert_eq!(buffer.put(u64::MAX - 1000 + AHEAD_TICKS, input(1)), Put::Ahead);
        assert_eq!(buffer.put(u64::MAX, input(1)), Put::Ahead);
        assert_eq!(buffer.put(u64::MAX - 1000 + AHEAD_TICKS - 1, input(9)), Put::Held);
        for _ in 0..AHEAD_TICKS - 1 {
            assert_eq!(buffer.take(0).1, Source::Neutral);
        }
        assert_eq!(buffer.take(0), (input(9), Source::Own));
    }

    #[test]
    fn memory_of_used_ticks_is_bounded() {
        let mut buffer = InputBuffer::new(0);
        buffer.put(0, input(1));
        for _ in 0..200 {
            buffer.take(0);
        }
        assert_eq!(buffer.put(0, input(1)), Put::Late);
    }

    #[test]
    fn inputs_of_ticks_that_are_left_out_are_dropped_and_later_ones_keep_their_ticks() {
        let mut buffer = InputBuffer::new(100);
        for tick in [100, 101, 110] {
            assert_eq!(buffer.put(tick, input(tick as i8)), Put::Held);
        }
        assert_eq!(buffer.take(3), (input(100), Source::Own));
        buffer.skip(8);
        assert_eq!(buffer.put(101, input(0)), Put::Late);
        assert_eq!(buffer.newest(), Some(110));
        assert_eq!(buffer.take(3), (Input { yaw: 7, ..Input::default() }, Source::Neutral), "the last one is too old");
        assert_eq!(buffer.take(3), (input(110), Source::Own));
        buffer.skip(1000);
        assert_eq!(buffer.newest(), None);
        assert_eq!(buffer.put(1111, input(1)), Put::Held);
    }
}
