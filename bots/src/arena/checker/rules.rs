//! Whether the game keeps its own rules, from one frame to the next: the truth that clients are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use netcode::schema::State;
use sim::event::What;
use sim::game::Rulebook;
use sim::game::hands::rounds;
use sim::game::rulebook::{Slot, ticks};
use sim::movement::MAX_HORIZONTAL_SPEED_MPS;
use sim::schema::{ARMOUR, DEAD, FLAGS, HEALTH, HEALTH_FULL, PLAYER, SHOTS_MASK, in_range, position_m, shots, weapon};
use sim::{EntityId, Event, Frame};

use super::super::options::Planted;
use super::super::report::{Broken, Rule};

/// A gate pushes a body by so much beside what it walks, in m/s.
const PUSH_MPS: f32 = 2.0;
/// Rounding to position quanta, twice.
const SLACK_M: f32 = 0.02;

/// A shot that was the newest of its player.
#[derive(Clone, Copy, Debug)]
struct Shot {
    tick: u64,
    weapon: u8,
}

/// Compares each frame with the one before.
pub(in super::super) struct Rules {
    book: Arc<Rulebook>,
    rate: u16,
    /// The furthest that a body gets in a tick, in metres.
    step_m: f32,
    shots: BTreeMap<EntityId, Shot>,
    planted: Option<Planted>,
    /// Shots that were seen, and steps of players that were checked.
    pub seen: u64,
    pub checked: u64,
}

impl Rules {
    pub(in super::super) fn new(book: Arc<Rulebook>, rate: u16, planted: Option<Planted>) -> Self {
        let step_m = (MAX_HORIZONTAL_SPEED_MPS + PUSH_MPS) / f32::from(rate.max(1)) + SLACK_M;
        Self { book, rate, step_m, shots: BTreeMap::new(), planted, seen: 0, checked: 0 }
    }

    /// A frame follows another; `told` is what players were told in between.
    pub(in super::super) fn check(
        &mut self,
        before: &Frame,
        frame: &Frame,
        told: &[(EntityId, Event)],
        broken: &mut Vec<Broken>,
    ) {
        let looted = looted(&self.book, told);
        for row in 0..frame.len() {
            let (id, kind, state) = (frame.id(row), frame.kind(row), frame.state(row));
            let mut violate = |rule| broken.push(Broken::RuleBroken { id: id.raw(), rule });
            if !in_range(kind, state) {
                violate(Rule::Range);
            }
            if kind != PLAYER {
                continue;
            }
            if let Some(rule) = self.health(state) {
                violate(rule);
            }
            let Some(was) = before.row(id).map(|row| before.state(row)) else { continue };
            self.checked += 1;
            let steps = frame.tick.saturating_sub(before.tick).max(1);
            let more = looted.get(&id).copied().unwrap_or_default();
            for rule in self.step(id, (was, state), (frame.tick, steps), more).into_iter().flatten() {
                violate(rule);
            }
        }
        if frame.tick.is_multiple_of(FORGET_TICKS) {
            self.shots.retain(|id, _| frame.row(*id).is_some());
        }
    }

    fn health(&self, state: &State) -> Option<Rule> {
        let dead = state[FLAGS] & DEAD != 0;
        let fits = (0..=HEALTH_FULL).contains(&state[HEALTH]) && (0..=HEALTH_FULL).contains(&state[ARMOUR]);
        let full = [Slot::A, Slot::B].into_iter().any(|slot| {
            let (most, [magazine, reserve]) = (self.book.ammo(slot), rounds(state, slot));
            magazine > most.magazine || reserve > most.reserve
        });
        if full {
            return Some(Rule::Ammunition);
        }
        (!fits || dead != (state[HEALTH] == 0)).then_some(Rule::Health)
    }

    /// What one player did in `steps` ticks: where to, and with what; `more` is what it picked up.
    fn step(
        &mut self,
        id: EntityId,
        (was, is): (&State, &State),
        (tick, steps): (u64, u64),
        more: [i32; 2],
    ) -> [Option<Rule>; 3] {
        if was[FLAGS] & DEAD != 0 && is[FLAGS] & DEAD == 0 {
            // It came back, elsewhere and with all that one has then.
            self.shots.remove(&id);
            return [None; 3];
        }
        let [[ax, _, az], [bx, _, bz]] = [was, is].map(position_m);
        let step_m = self.step_m * steps as f32;
        let far = (bx - ax) * (bx - ax) + (bz - az) * (bz - az) > step_m * step_m;
        let fired = i32::from(shots(is)).wrapping_sub(shots(was).into()) & SHOTS_MASK;
        let mut rules = [far.then_some(Rule::Speed), None, None];
        if fired > 0 && !self.may_fire(id, was, is, (tick, steps), fired) {
            rules[1] = Some(Rule::Rate);
        }
        let used = self.book.weapon(weapon(is)).filter(|_| fired > 0);
        let fits = [Slot::A, Slot::B].into_iter().zip(more).all(|(slot, more)| {
            let total = |state| rounds(state, slot).iter().sum::<i32>();
            let uses = used.filter(|weapon| weapon.ammo == Some(slot)).map_or(0, |weapon| weapon.uses);
            total(is) == total(was) + more - uses * fired
        });
        if !fits {
            rules[2] = Some(Rule::Ammunition);
        }
        rules
    }

    /// Whether a shot in that tick comes no sooner than its weapon, and the one before, allow.
    fn may_fire(&mut self, id: EntityId, was: &State, is: &State, (tick, steps): (u64, u64), fired: i32) -> bool {
        self.seen += u64::from(fired.unsigned_abs());
        let last = self.shots.insert(id, Shot { tick, weapon: weapon(is) });
        let long = if self.planted == Some(Planted::CooldownsLong) { 2 } else { 1 };
        let soon = last
            .and_then(|last| Some((last.tick, self.book.weapon(last.weapon)?)))
            .is_some_and(|(then, weapon)| tick < then + long * ticks(weapon.cooldown_ms, self.rate));
        !soon && u64::from(fired.unsigned_abs()) <= steps && was[FLAGS] & DEAD == 0
    }
}

/// Who is gone is forgotten so often.
const FORGET_TICKS: u64 = 1000;

/// The rounds that players picked up.
fn looted(book: &Rulebook, told: &[(EntityId, Event)]) -> BTreeMap<EntityId, [i32; 2]> {
    use sim::game::rulebook::Gives;
    let mut all: BTreeMap<EntityId, [i32; 2]> = BTreeMap::new();
    for (id, event) in told {
        let What::Looted { item, amount, .. } = event.what else { continue };
        let mine = all.entry(*id).or_default();
        match book.item(item.into()).map(|item| item.gives) {
            Some(Gives::AmmoA) => mine[0] += i32::from(amount),
            Some(Gives::AmmoB) => mine[1] += i32::from(amount),
            _ => {}
        }
    }
    all
}
