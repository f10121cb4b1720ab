//! What a tick is to a prediction, and what there is to tell of it.

use netcode::schema::State;
use sim::Input;

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
