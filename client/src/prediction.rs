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

use std::collections::VecDeque;

use netcode::schema::State;
use sim::Input;

/// The most ticks that are kept: the server's newest word may be older than this only after a stall, and is then too old
/// to be compared with anything.
pub const MAX_TICKS: usize = 128;

/// What a tick made of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// The state after the tick.
    pub state: State,
    /// The number of the weapon that was fired in it.
    pub shot: Option<u8>,
}

/// One tick: its number, the state before it, its input. It must be a function of these.
pub type Step<'a> = &'a mut dyn FnMut(u64, &State, &Input) -> Stepped;

/// How what the server told differs from what was predicted; in order of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Only where others have a hand in it: no error of the prediction.
    Foreign,
    /// The prediction was wrong.
    Error,
    /// Nothing leads from one to the other: a death, a return.
    Cut,
}

/// What was shown before a replay and what is shown after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// What made it necessary.
    pub cause: Difference,
    /// The two newest predicted states, older first, as they were.
    pub was: [State; 2],
    /// And as they are.
    pub is: [State; 2],
}

/// News of a shot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shooting {
    /// The tick of its input.
    pub tick: u64,
    /// The weapon; `None`: what was fired in that tick was not, as a replay shows.
    pub weapon: Option<u8>,
    /// The first time that this tick fired.
    pub first: bool,
}

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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// A toy game. Column 0 moves by the input and, where it is odd, a bit more; column 1 is ammunition, which a shot needs
    /// (and loot brings); column 2 is health, in which only others have a hand.
    fn toy(tick: u64, state: &State, input: &Input) -> Stepped {
        let mut next = *state;
        let dead = state[2] == 0;
        let shot = !dead && input.buttons & 4 != 0 && state[1] > 0;
        if !dead {
            next[0] += i32::from(input.move_x) + (state[0] & 1) + (tick % 3) as i32;
            next[1] -= i32::from(shot);
        }
        Stepped { state: next, shot: shot.then_some(7) }
    }

    fn differ(predicted: &State, actual: &State) -> Difference {
        if (predicted[2] == 0) != (actual[2] == 0) {
            Difference::Cut
        } else if predicted[0] == actual[0] {
            Difference::Foreign
        } else {
            Difference::Error
        }
    }

    fn state(x: i32) -> State {
        let mut state = State::default();
        [state[0], state[1], state[2]] = [x, 9, 100];
        state
    }

    fn walk(move_x: i8) -> Input {
        Input { move_x, ..Input::default() }
    }

    const PLENTY: u32 = 10_000;

    /// A prediction that began at tick 100 with 0, and has walked on for that many ticks.
    fn walked(ticks: u64) -> Prediction {
        let mut prediction = Prediction::new();
        prediction.tell(100, &state(0), differ);
        for tick in 101..=100 + ticks {
            assert!(prediction.record(tick, walk(2)));
        }
        assert_eq!(prediction.run(&mut PLENTY.clone(), &mut toy), None);
        prediction
    }

    #[test]
    fn what_was_predicted_right_is_not_touched() {
        let mut prediction = walked(10);
        let latest = prediction.latest();
        let told = prediction.after(105).unwrap();
        assert_eq!(prediction.tell(105, &told, differ), None);
        assert_eq!((prediction.pending(), prediction.steps(), prediction.latest()), (0, (10, 0), latest));
        assert_eq!(prediction.after(104).map(|state| state[0] < told[0]), Some(true), "what it came from is kept");
    }

    #[test]
    fn an_error_is_replayed_from_what_the_server_said() {
        let mut prediction = walked(10);
        let mut told = prediction.after(104).unwrap();
        told[0] -= 3;
        let was = prediction.latest().unwrap();
        assert_eq!(prediction.tell(104, &told, differ), None);
        assert_eq!(prediction.latest(), Some(was), "until the replay is through the old one is shown");
        assert_eq!(prediction.pending(), 6);
        let replaced = prediction.run(&mut PLENTY.clone(), &mut toy).unwrap();
        assert_eq!((replaced.cause, replaced.was, Some(replaced.is)), (Difference::Error, was, prediction.latest()));
        assert_ne!(replaced.is[1][0], was[1][0]);
        assert_eq!(prediction.steps(), (16, 6));
    }

    #[test]
    fn a_replay_beyond_the_steps_of_a_call_goes_on_in_the_next_and_new_ticks_do_not_wait_for_it() {
        let mut prediction = walked(10);
        let mut told = prediction.after(101).unwrap();
        told[0] += 8;
        prediction.tell(101, &told, differ);
        for (call, pending) in (111..).zip([8, 7, 6, 5, 4, 3, 2, 1]) {
            prediction.record(call, walk(1));
            assert_eq!(prediction.run(&mut 3, &mut toy), None);
            assert_eq!((prediction.head(), prediction.pending()), (Some(call), pending));
        }
        let replaced = prediction.run(&mut 3, &mut toy).unwrap();
        assert_eq!(replaced.is[1][0] - replaced.was[1][0], 8);
        assert_eq!(prediction.pending(), 0);
    }

    #[test]
    fn news_of_a_later_tick_that_agree_end_a_replay_that_has_not_got_there() {
        let mut prediction = walked(10);
        let mut told = prediction.after(102).unwrap();
        told[0] += 8;
        prediction.tell(102, &told, differ);
        let told = prediction.after(106).unwrap();
        prediction.tell(106, &told, differ);
        assert_eq!(prediction.pending(), 0);
    }

    #[test]
    fn news_of_the_newest_tick_are_shown_at_once() {
        let mut prediction = walked(4);
        let mut told = prediction.after(104).unwrap();
        told[0] += 8;
        let replaced = prediction.tell(104, &told, differ).unwrap();
        assert_eq!(replaced.was[0], replaced.is[0]);
        assert_eq!(replaced.is[1], told);
    }

    #[test]
    fn a_death_remains_a_cut_whatever_comes_after_it() {
        let mut prediction = walked(10);
        let mut told = prediction.after(102).unwrap();
        told[2] = 0;
        prediction.tell(102, &told, differ);
        let mut later = prediction.after(104).unwrap();
        later[0] = told[0];
        prediction.tell(104, &later, differ);
        assert_eq!(prediction.run(&mut PLENTY.clone(), &mut toy).unwrap().cause, Difference::Cut);
    }

    #[test]
    fn a_server_ahead_of_all_inputs_is_followed_at_once() {
        let mut prediction = walked(3);
        let replaced = prediction.tell(120, &state(50), differ).unwrap();
        assert_eq!(replaced.cause, Difference::Cut);
        assert_eq!(prediction.latest(), Some([state(50); 2]));
        assert!(prediction.record(110, walk(1)), "too late to matter");
        assert!(prediction.record(121, walk(1)));
        prediction.run(&mut PLENTY.clone(), &mut toy);
        assert_eq!(prediction.head(), Some(121));
    }

    #[test]
    fn what_does_not_follow_or_never_ends_is_forgotten() {
        let mut prediction = walked(3);
        assert!(!prediction.record(110, walk(1)));
        assert_eq!(prediction.head(), None);
        let mut prediction = walked(MAX_TICKS as u64);
        assert!(!prediction.record(101 + MAX_TICKS as u64, walk(1)));
        assert_eq!(prediction.latest(), None);
    }

    #[test]
    fn inputs_from_before_the_servers_first_word_count() {
        for first in [95, 98, 101, 104] {
            let mut prediction = Prediction::new();
            for tick in first..110 {
                assert!(prediction.record(tick, walk(2)));
            }
            prediction.tell(100, &state(0), differ);
            prediction.run(&mut PLENTY.clone(), &mut toy);
            assert_eq!(prediction.head(), Some(109));
            let walked = (101..110).filter(|tick| *tick >= first).map(|tick| prediction.input(tick).unwrap().move_x);
            assert!(walked.eq((first.max(101)..110).map(|_| 2)));
            assert_eq!(prediction.input(101).unwrap().move_x, if first > 101 { 0 } else { 2 });
        }
        let mut prediction = Prediction::new();
        for tick in 1000..1300 {
            assert!(prediction.record(tick, walk(2)));
        }
        prediction.tell(900, &state(0), differ);
        assert_eq!(prediction.head(), None, "that long ago nothing can be made of it");
        prediction.tell(1200, &state(0), differ);
        prediction.run(&mut PLENTY.clone(), &mut toy);
        assert_eq!(prediction.head(), Some(1299));
    }

    /// One event of a session.
    #[derive(Clone, Debug)]
    enum Act {
        /// A tick of the client with that input.
        Input(i8, bool),
        /// A snapshot as of so many ticks ago.
        Told(u64),
        /// A call with so many steps.
        Run(u32),
        /// Something happens to the body at the server: it is pushed, gets ammunition, is hurt, dies, comes back.
        Happens(i32, i32, Option<i32>),
        /// The server does not get the inputs of the next so many ticks, and repeats the last one.
        Late(u8),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            6 => (-16..16i8, any::<bool>()).prop_map(|(x, fire)| Act::Input(x, fire)),
            3 => (0..12u64).prop_map(Act::Told),
            4 => (0..20u32).prop_map(Act::Run),
            1 => (-3..3i32, 0..3i32, prop_oneof![Just(None), (0..3i32).prop_map(Some)])
                .prop_map(|(push, loot, health)| Act::Happens(push, loot, health)),
            1 => (0..3u8).prop_map(Act::Late),
        ];
        proptest::collection::vec(act, 1..200)
    }

    /// The server, and the naive client: from the server's word it makes all ticks anew, each time.
    struct Model {
        /// The server's states by tick, made as soon as there is an input.
        truth: BTreeMap<u64, State>,
        inputs: BTreeMap<u64, Input>,
        happens: (i32, i32, Option<i32>),
        late: u8,
        told: u64,
        newest: u64,
    }

    impl Model {
        fn input(&mut self, input: Input) {
            self.newest += 1;
            self.inputs.insert(self.newest, input);
            let held = self.inputs[&(self.newest - 1)].repeated();
            let used = if self.late > 0 { held } else { input };
            self.late = self.late.saturating_sub(1);
            let mut state = toy(self.newest, &self.truth[&(self.newest - 1)], &used).state;
            let (push, loot, health) = std::mem::take(&mut self.happens);
            [state[0], state[1], state[2]] = [state[0] + push, state[1] + loot, health.unwrap_or(state[2])];
            self.truth.insert(self.newest, state);
        }

        /// The state after the newest input, all ticks made anew from what was told.
        fn predicted(&self) -> State {
            let told = self.truth[&self.told];
            self.inputs.range(self.told + 1..).fold(told, |state, (tick, input)| toy(*tick, &state, input).state)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn it_ends_up_where_replaying_everything_from_scratch_does(acts in acts()) {
            let mut prediction = Prediction::new();
            prediction.tell(100, &state(0), differ);
            let mut model = Model {
                truth: [(100, state(0))].into(),
                inputs: [(100, walk(0))].into(),
                happens: Default::default(),
                late: 0,
                told: 100,
                newest: 100,
            };
            let (mut fired, mut flying) = (BTreeSet::new(), BTreeSet::new());
            for act in acts {
                match act {
                    Act::Input(x, fire) => {
                        let input = Input { buttons: if fire { 4 } else { 0 }, ..walk(x) };
                        model.input(input);
                        prop_assert!(prediction.record(model.newest, input));
                    }
                    Act::Told(ago) => {
                        let tick = model.newest.saturating_sub(ago).max(model.told);
                        let before = model.told;
                        model.told = tick;
                        prediction.tell(tick, &model.truth[&tick], differ);
                        prop_assert!(tick > before || prediction.head().is_some());
                    }
                    Act::Run(steps) => {
                        let (mut left, before) = (steps, prediction.steps().0);
                        prediction.run(&mut left, &mut toy);
                        prop_assert_eq!(prediction.steps().0 - before, u64::from(steps - left));
                    }
                    Act::Happens(push, loot, health) => model.happens = (push, loot, health),
                    Act::Late(ticks) => model.late = ticks,
                }
                while let Some(shooting) = prediction.poll_shooting() {
                    prop_assert_eq!(shooting.first, shooting.weapon.is_some() && fired.insert(shooting.tick));
                    if shooting.weapon.is_some() { flying.insert(shooting.tick) } else { flying.remove(&shooting.tick) };
                }
                if prediction.pending() == 0 {
                    prop_assert_eq!(prediction.latest().unwrap()[1], model.predicted());
                }
            }
            // However little is done at a time, it ends.
            for _ in 0..=prediction.pending() {
                prediction.run(&mut 1, &mut toy);
            }
            prop_assert_eq!(prediction.pending(), 0);
            prop_assert_eq!(prediction.latest().unwrap()[1], model.predicted());
            while let Some(shooting) = prediction.poll_shooting() {
                if shooting.weapon.is_some() { flying.insert(shooting.tick) } else { flying.remove(&shooting.tick) };
            }
            // What flies now is what those fire that are still to be judged.
            let mut state = model.truth[&model.told];
            for (tick, input) in model.inputs.range(model.told + 1..) {
                let stepped = toy(*tick, &state, input);
                prop_assert_eq!(stepped.shot.is_some(), flying.contains(tick), "{}", tick);
                state = stepped.state;
            }
        }
    }
}
