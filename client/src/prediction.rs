//! What inputs make of a state before the server says so: a ring of them with what each led to, compared with what the
//! server tells, and replayed from there where the two differ.
//!
//! Nothing here knows the game: a tick is a function of the state before it and its input ([`Step`]), and another
//! function tells how two states differ ([`Difference`]).
//!
//! Two cursors run along the ring. The *head* is the newest tick that was predicted; it follows the inputs. A *replay*
//! begins at the state that the server told, overwrites what was predicted from there on, and ends where it meets the
//! head: until then the old prediction is what is shown, and goes on. The work of a call is bounded by its steps, the
//! memory by [`MAX_TICKS`]. What a call cannot do waits for the next one: the head lags behind the inputs, or the replay
//! behind the head; nothing of it is lost, and news of a later tick takes the place of a replay that has not got there.

mod step;

use std::collections::VecDeque;

use netcode::schema::State;
use sim::Input;

pub use self::step::{Difference, Replaced, Shooting, Step, Stepped};

/// The most ticks that are kept: the server's newest word may be older than this only after a stall, and is then too old
/// to be compared with anything.
pub const MAX_TICKS: usize = 128;

/// What one tick's input led to.
#[derive(Clone, Copy, Debug)]
struct Entry {
    input: Input,
    /// The state after it, if the head has passed it.
    after: State,
    /// The tick has fired (in some replay), and fires (in the latest).
    has_fired: bool,
    fires: bool,
}

impl Entry {
    fn new(input: Input) -> Self {
        Self { input, after: State::default(), has_fired: false, fires: false }
    }
}

#[derive(Clone, Copy, Debug)]
struct Replay {
    /// The newest tick that is replayed, and the state after it.
    tick: u64,
    state: State,
    cause: Difference,
    /// What was predicted for that tick.
    was: State,
}

/// The ticks between what the server told and what was predicted. See the module's documentation.
#[derive(Debug, Default)]
pub struct Prediction {
    /// The inputs from tick `first` on, which follows `base` once there is one.
    entries: VecDeque<Entry>,
    first: u64,
    /// The newest tick that the server told of, and the states after it and after the one before.
    base: Option<Base>,
    /// The newest tick with a state; at least that of the base.
    head: u64,
    replay: Option<Replay>,
    /// How many steps were taken, and how many of them again.
    steps: u64,
    replayed: u64,
    shootings: VecDeque<Shooting>,
}

#[derive(Clone, Copy, Debug)]
struct Base {
    tick: u64,
    state: State,
    before: State,
}

impl Prediction {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        let (steps, replayed) = (self.steps, self.replayed);
        *self = Self { steps, replayed, ..Self::default() };
    }

    /// Forgets what the server has told, and what was made of it; the inputs stay, for another body.
    pub fn leave(&mut self) {
        self.base = None;
        self.replay = None;
        self.shootings.clear();
        for entry in &mut self.entries {
            *entry = Entry::new(entry.input);
        }
    }

    /// Records the input of the next tick. Of ticks that the server has told of none is needed. Of ticks that were left out
    /// the caller records what the server makes of that.
    ///
    /// Returns `false`, and forgets everything before, when the tick does not follow or there are too many ticks for which
    /// the server has told nothing.
    pub fn record(&mut self, tick: u64, input: Input) -> bool {
        let next = self.first + self.entries.len() as u64;
        let begins = self.base.is_none() && self.entries.is_empty();
        if tick < next && !begins {
            return true;
        }
        let is_full = self.entries.len() >= MAX_TICKS;
        let fits = begins || tick == next && !(is_full && self.base.is_some());
        if !fits {
            self.clear();
        } else if is_full {
            // Nothing is known of the server yet.
            self.entries.pop_front();
            self.first += 1;
        }
        if self.base.is_none() && self.entries.is_empty() {
            self.first = tick;
        }
        self.entries.push_back(Entry::new(input));
        fits
    }

    /// The newest tick of which the input is known, or the base's.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.base.map(|base| base.tick + self.entries.len() as u64)
    }

    /// The state that the server told for the end of `tick`. It is news if it is of a later tick than any before.
    ///
    /// `differ` is asked with the predicted state and this one, where these are not the same. Returns what is replaced at
    /// once: where there is nothing to replay.
    pub fn tell(
        &mut self,
        tick: u64,
        state: &State,
        differ: impl FnOnce(&State, &State) -> Difference,
    ) -> Option<Replaced> {
        let Some(base) = self.base else {
            self.begin(tick, state);
            return None;
        };
        if tick <= base.tick {
            return None;
        }
        if tick > base.tick + self.entries.len() as u64 {
            // Ahead of all inputs: they are late, and what was shown of the future is of the past.
            let was = self.latest().unwrap_or([*state; 2]);
            self.entries.clear();
            self.begin(tick, state);
            let differs = was[1] != *state;
            return differs.then_some(Replaced { cause: Difference::Cut, was, is: [*state; 2] });
        }
        let predicted = self.after(tick);
        let before = self.after(tick - 1).unwrap_or(*state);
        let latest = self.latest();
        self.entries.drain(..(tick - base.tick) as usize);
        self.first = tick + 1;
        self.base = Some(Base { tick, state: *state, before });
        let Some(predicted) = predicted else {
            // Not even predicted yet.
            self.head = tick;
            self.replay = None;
            return None;
        };
        self.compare(tick, state, &predicted, differ);
        // With nothing to replay it is over at once.
        let done = self.replay.take_if(|replay| replay.tick == self.head)?;
        latest.zip(self.latest()).map(|(was, is)| Replaced { cause: done.cause, was, is })
    }

    /// Begins with that state. Ticks before the first input had none; so long ago that they are too many, it cannot begin.
    fn begin(&mut self, tick: u64, state: &State) {
        let first = tick + 1;
        let told = first.saturating_sub(self.first).min(self.entries.len() as u64);
        self.entries.drain(..told as usize);
        if !self.entries.is_empty() {
            let without = self.first.saturating_sub(first);
            if without + self.entries.len() as u64 > MAX_TICKS as u64 {
                return;
            }
            for _ in 0..without {
                self.entries.push_front(Entry::new(Input::default()));
            }
        }
        self.first = first;
        self.base = Some(Base { tick, state: *state, before: *state });
        self.head = tick;
        self.replay = None;
    }

    fn compare(
        &mut self,
        tick: u64,
        state: &State,
        predicted: &State,
        differ: impl FnOnce(&State, &State) -> Difference,
    ) {
        let behind = self.replay.filter(|replay| replay.tick < tick);
        if predicted == state {
            // What a replay that has not got here was about is over.
            self.replay = self.replay.filter(|_| behind.is_none());
            return;
        }
        let cause = differ(predicted, state);
        // A cut that is still to be shown remains one.
        let cause =
            if self.replay.is_some_and(|replay| replay.cause == Difference::Cut) { Difference::Cut } else { cause };
        self.replay = Some(Replay { tick, state: *state, cause, was: *predicted });
    }

    /// Predicts up to the newest input, then goes on with a replay, with at most `steps` steps, each of which is taken off.
    /// Returns what a replay that has come to its end has replaced.
    pub fn run(&mut self, steps: &mut u32, step: Step<'_>) -> Option<Replaced> {
        while *steps > 0 && self.newest().is_some_and(|newest| self.head < newest) {
            *steps -= 1;
            self.advance(step);
        }
        while *steps > 0 && self.replay.is_some() {
            *steps -= 1;
            if let Some(replaced) = self.replay_one(step) {
                return Some(replaced);
            }
        }
        None
    }

    fn advance(&mut self, step: Step<'_>) {
        let Some(before) = self.after(self.head) else { return };
        self.head += 1;
        let tick = self.head;
        self.step(tick, &before, step);
    }

    fn replay_one(&mut self, step: Step<'_>) -> Option<Replaced> {
        let replay = self.replay?;
        let tick = replay.tick + 1;
        let was = self.after(tick)?;
        let state = self.step(tick, &replay.state, step)?;
        self.replayed += 1;
        self.replay = Some(Replay { tick, state, was, ..replay });
        if tick < self.head {
            return None;
        }
        self.replay = None;
        Some(Replaced { cause: replay.cause, was: [replay.was, was], is: [replay.state, state] })
    }

    /// Makes one tick from the state before it, and keeps what comes of it.
    fn step(&mut self, tick: u64, before: &State, step: Step<'_>) -> Option<State> {
        let at = tick.checked_sub(self.base?.tick + 1)?;
        let entry = self.entries.get_mut(usize::try_from(at).ok()?)?;
        let Stepped { state, shot } = step(tick, before, &entry.input);
        entry.after = state;
        self.steps += 1;
        if shot.is_some() || entry.fires {
            self.shootings.push_back(Shooting { tick, weapon: shot, first: shot.is_some() && !entry.has_fired });
        }
        entry.fires = shot.is_some();
        entry.has_fired |= entry.fires;
        Some(state)
    }

    /// The state after a tick, if it is known or predicted.
    #[must_use]
    pub fn after(&self, tick: u64) -> Option<State> {
        let base = self.base?;
        if tick > self.head {
            return None;
        }
        match tick.checked_sub(base.tick) {
            Some(0) => Some(base.state),
            Some(ahead) => self.entries.get(usize::try_from(ahead - 1).ok()?).map(|entry| entry.after),
            None => (tick + 1 == base.tick).then_some(base.before),
        }
    }

    /// The input of a tick that is not told of yet.
    #[must_use]
    pub fn input(&self, tick: u64) -> Option<Input> {
        let at = tick.checked_sub(self.base?.tick + 1)?;
        self.entries.get(usize::try_from(at).ok()?).map(|entry| entry.input)
    }

    /// The newest predicted tick.
    #[must_use]
    pub fn head(&self) -> Option<u64> {
        self.base.map(|_| self.head)
    }

    /// The two newest predicted states, the older first.
    #[must_use]
    pub fn latest(&self) -> Option<[State; 2]> {
        let newest = self.after(self.head)?;
        Some([self.head.checked_sub(1).and_then(|tick| self.after(tick)).unwrap_or(newest), newest])
    }

    /// Steps that wait for the next call: up to the newest input, and to the end of a replay.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let Some(newest) = self.newest() else { return 0 };
        newest - self.head + self.replay.map_or(0, |replay| newest - replay.tick)
    }

    /// Steps taken so far, and how many of them were replayed.
    #[must_use]
    pub const fn steps(&self) -> (u64, u64) {
        (self.steps, self.replayed)
    }

    /// News of a shot, each given once; to be taken after each [`run`](Self::run).
    pub fn poll_shooting(&mut self) -> Option<Shooting> {
        self.shootings.pop_front()
    }
}

#[cfg(test)]
mod tests;
