//! The player's own body: predicted by the game's rules, shown smoothly, and what it launched.

use core::time::Duration;

use netcode::Time;
use netcode::schema::State;
use sim::game::rulebook::Attack;
use sim::game::{self, Ground};
use sim::input::{FIRE, INSTANT_PARTS, VIEW_PARTS};
use sim::schema::{DEAD, FLAGS};
use sim::space::Solid;
use sim::{EntityId, Input};

use crate::interpolation::Pose;
use crate::offset::{Offset, between, length};
use crate::prediction::{Difference, MAX_TICKS, Prediction, Replaced, Shooting, Stepped};
use crate::projectiles::Projectiles;

/// The most ticks that a call predicts beside the new ones: so many, or half a second of them if that is less.
pub(crate) const MAX_STEPS: u32 = 64;
/// How long the server repeats the last input for one that is late, in milliseconds.
const REPEAT_MS: u64 = 250;

/// What the player had on the screen when it said what it wants.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The tick that the others were shown at.
    pub others: Option<f64>,
    /// The newest predicted tick, and how much of the way to it from the one before had been shown.
    pub head: Option<u64>,
    /// See `head`.
    pub share: f32,
}

/// What a call found out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Happened {
    /// A shot was fired in that tick, for the first time.
    Fired { tick: u64, ordinal: u8, weapon: u8 },
    /// The body is by so many metres not where it was shown.
    Corrected { metres: f32 },
}

/// Counters of predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub corrections: u64,
    pub largest_m: f32,
    pub adoptions: u64,
    pub cuts: u64,
    pub restarts: u64,
}

/// What is known once the server has welcomed the player.
struct Place {
    id: EntityId,
    ground: Ground,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Body {
    place: Option<Place>,
    prediction: Prediction,
    offset: Offset,
    projectiles: Projectiles,
    last: Option<(u64, Input)>,
    near: Vec<Solid>,
    /// Replaced by the server's word at once, to be shown with the next call.
    replaced: Option<Replaced>,
    counts: Counts,
}

impl Body {
    /// The player controls that entity, on that ground.
    pub fn enter(&mut self, id: EntityId, ground: Ground) {
        let same = self.place.as_ref().is_some_and(|place| place.id == id);
        self.place = Some(Place { id, ground });
        if !same {
            self.prediction.leave();
            self.projectiles.clear();
            self.offset.clear();
            self.replaced = None;
        }
    }

    pub fn ground(&self) -> Option<&Ground> {
        self.place.as_ref().map(|place| &place.ground)
    }

    pub const fn prediction(&self) -> &Prediction {
        &self.prediction
    }

    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    pub const fn projectiles(&self) -> &Projectiles {
        &self.projectiles
    }

    /// What of an intent goes into the input of a tick: a shot only where the weapon fires, with what was on the screen; none
    /// where nothing was, or nobody would believe it.
    pub fn gate(&self, tick: u64, intent: &Input, seen: Option<Seen>) -> Input {
        let held = Input { buttons: intent.buttons & !FIRE, view: 0, instant: 0, ..*intent };
        let Some(seen) = seen.filter(|_| intent.buttons & FIRE != 0 && self.can_fire(tick, &held)) else {
            return held;
        };
        let behind = seen.others.map_or(0.0, |others| (tick as f64 - others) * f64::from(VIEW_PARTS));
        // Between the two states that were the newest then, if the input follows them at once.
        let parts = f32::from(INSTANT_PARTS);
        let share = if seen.head.is_some_and(|head| head + 1 == tick) { seen.share } else { 0.0 };
        let instant = ((share * parts + 0.5) as u8).saturating_sub(1).min(INSTANT_PARTS - 1);
        Input { buttons: intent.buttons, view: (behind + 0.5).clamp(0.0, 2047.0) as u16, instant, ..held }.clamped()
    }

    fn can_fire(&self, tick: u64, input: &Input) -> bool {
        let Some(place) = &self.place else { return false };
        let state = tick.checked_sub(1).and_then(|before| self.prediction.after(before));
        state.is_some_and(|state| game::can_fire(&place.ground, tick, &state, input))
    }

    /// Records the input of a tick, and what the server makes of ticks that were left out before it.
    pub fn record(&mut self, tick: u64, input: Input, rate: u16) {
        let (before, last) = match (self.last.replace((tick, input)), self.prediction.newest()) {
            (Some((before, last)), _) => (before, last),
            (None, Some(told)) => (told, Input::default()),
            (None, None) => (tick, input),
        };
        let left_out = tick.saturating_sub(before + 1);
        let repeats = REPEAT_MS * u64::from(rate) / 1000;
        // Of more than that nothing is kept anyway.
        for back in 0..if left_out <= MAX_TICKS as u64 { left_out } else { 0 } {
            let used = if back < repeats { last.repeated() } else { let_go(&last) };
            self.prediction.record(before + 1 + back, used);
        }
        if !self.prediction.record(tick, input) {
            self.counts.restarts += 1;
            self.projectiles.clear();
        }
    }

    /// The server tells the body's state after a tick.
    pub fn tell(&mut self, tick: u64, state: &State) {
        if self.place.is_none() {
            return;
        }
        if let Some(replaced) = self.prediction.tell(tick, state, differ) {
            // What was shown before the first of several is what the last one is compared with.
            let was = self.replaced.map_or(replaced.was, |earlier| earlier.was);
            let cause = self.replaced.map_or(replaced.cause, |earlier| earlier.cause.max(replaced.cause));
            self.replaced = Some(Replaced { cause, was, ..replaced });
        }
    }

    /// The server shows a projectile in that state after that tick.
    pub fn show_projectile(&mut self, id: u32, tick: u64, state: &State) {
        if let Some(Place { id: own, ground }) = &self.place {
            self.projectiles.show(*own, id, tick, state, &mut |tick, state| game::fly(ground, tick, state));
        }
    }

    /// The server shows an entity no more.
    pub fn hide(&mut self, id: u32) {
        self.projectiles.hide(id);
    }

    /// A snapshot of that tick has come.
    pub fn confirm(&mut self, tick: u64, rate: u16) {
        self.projectiles.confirm(tick, rate);
    }

    /// The server refuses what the player wanted in that tick.
    pub fn refused(&mut self, tick: u64) {
        self.projectiles.withdraw(tick);
    }

    /// The server tells what became of that tick's shot.
    pub fn landed(&mut self, tick: u64) {
        self.projectiles.end(tick);
    }

    /// Predicts with at most so many steps. `share` of the way to the newest state is shown at `now`.
    pub fn run(&mut self, now: Time, share: f32, steps: &mut u32, tell: &mut dyn FnMut(Happened)) {
        let Some(place) = &self.place else { return };
        let Place { id, ground } = place;
        let near = &mut self.near;
        let mut step = |tick: u64, state: &State, input: &Input| {
            let acted = game::act(ground, tick, *id, state, input, near);
            Stepped { state: acted.state, shot: acted.shot.map(|shot| shot.weapon) }
        };
        let ran = self.prediction.run(steps, &mut step);
        for replaced in self.replaced.take().into_iter().chain(ran) {
            self.counts.show(&replaced, now, share, &mut self.offset, tell);
        }
        while let Some(shooting) = self.prediction.poll_shooting() {
            self.shoot(&shooting, tell);
        }
        if let (Some(head), Some(Place { ground, .. })) = (self.prediction.head(), &self.place) {
            self.projectiles.advance(head, &mut |tick, state| game::fly(ground, tick, state));
        }
    }

    fn shoot(&mut self, shooting: &Shooting, tell: &mut dyn FnMut(Happened)) {
        let Shooting { tick, weapon, first } = *shooting;
        let Some(weapon) = weapon else { return self.projectiles.withdraw(tick) };
        if first {
            tell(Happened::Fired { tick, ordinal: 0, weapon });
        }
        let Some(Place { id, ground }) = &self.place else { return };
        let Some(Attack::Projectile(flight)) = ground.book.weapon(weapon).map(|weapon| &weapon.attack) else { return };
        let input = self.prediction.input(tick);
        let state = tick.checked_sub(1).and_then(|before| self.prediction.after(before));
        if let (Some(input), Some(state)) = (input, state) {
            let before = tick.checked_sub(2).and_then(|before| self.prediction.after(before)).unwrap_or(state);
            let launched = game::launch(ground, tick, *id, &before, &state, &input, weapon);
            self.projectiles.launch(tick, 0, &launched, tick + ground.ticks(flight.life_ms));
        }
    }

    /// Where to show the body; `None` while nothing is predicted.
    pub fn pose(&self, now: Time, share: f32) -> Option<Pose> {
        let [before, newest] = self.prediction.latest()?;
        let mut pose = shown(&[before, newest], share);
        for (axis, offset) in pose.position.iter_mut().zip(self.offset.at(now)) {
            *axis += offset;
        }
        Some(pose)
    }
}

impl Counts {
    /// What was shown is replaced: slid away from if it was an error.
    fn show(
        &mut self,
        replaced: &Replaced,
        now: Time,
        share: f32,
        offset: &mut Offset,
        tell: &mut dyn FnMut(Happened),
    ) {
        if replaced.cause == Difference::Cut {
            self.cuts += 1;
            return offset.clear();
        }
        let shift = between(shown(&replaced.is, share).position, shown(&replaced.was, share).position);
        offset.add(now, shift);
        if replaced.cause == Difference::Foreign {
            self.adoptions += 1;
            return;
        }
        let metres = length(shift);
        self.corrections += 1;
        self.largest_m = self.largest_m.max(metres);
        tell(Happened::Corrected { metres });
    }
}

/// The pose between two states, unless nobody moves from one to the other like that: who died or came back is there at once.
pub(crate) fn shown(states: &[State; 2], share: f32) -> Pose {
    let [before, newest] = states;
    let before = if (before[FLAGS] ^ newest[FLAGS]) & DEAD == 0 { before } else { newest };
    Pose::between(before, newest, share)
}

fn differ(predicted: &State, actual: &State) -> Difference {
    if (predicted[FLAGS] ^ actual[FLAGS]) & DEAD != 0 {
        Difference::Cut
    } else if game::is_foreign(predicted, actual) {
        Difference::Foreign
    } else {
        Difference::Error
    }
}

/// What is left of an input when the next ones are too late to repeat it: it looks where it looked.
fn let_go(last: &Input) -> Input {
    Input { yaw: last.yaw, pitch: last.pitch, ..Input::default() }
}

/// The steps of a call at that rate; see [`MAX_STEPS`].
pub(crate) fn steps_of_a_call(rate: u16) -> u32 {
    const LONGEST: Duration = Duration::from_millis(500);
    (u32::from(rate) * LONGEST.as_millis() as u32 / 1000).clamp(1, MAX_STEPS)
}
