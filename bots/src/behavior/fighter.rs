//! The hands of a bot that fights: whom it aims at, with what, and what it picks up.

use netcode::rng::Rng;
use sim::EntityId;
use sim::game::hands::rounds;
use sim::game::rulebook::{Attack, Rulebook, Weapon};
use sim::input::{FIRE, Input, RELOAD};
use sim::schema::{DEAD, FLAGS, RELOADING, weapon};

use super::aim::{flat2, toward};
use super::eyes::{Eyes, Own, Prey};

/// Nobody farther away is fought, in metres.
const RANGE_M: f32 = 60.0;
/// Things farther away are not gone for.
const GREED_M: f32 = 12.0;
/// A thing is looked for so far above the ground.
const LYING_M: f32 = 0.15;
/// A blade is of no use beyond this.
const BLADE_M: f32 = 4.0;
/// Where the eye and the middle of a body are above its feet, in metres.
const EYE_M: f32 = sim::game::aim::EYE_M;
const MIDDLE_M: f32 = 0.9;
/// How far beside the middle of a body it aims, either way along each axis, in metres.
const WOBBLE_M: f64 = 0.35;
/// A bot decides anew whom to fight, and aims elsewhere, so often, in milliseconds.
const LOOK_MS: [u64; 2] = [300, 900];
/// It takes another weapon so often, in milliseconds.
const SWAP_MS: [u64; 2] = [3_000, 9_000];
/// It looks for things around so often, in milliseconds.
const SEARCH_MS: u64 = 250;

/// Who is fought and how.
#[derive(Clone, Debug)]
pub(super) struct Fighter {
    rng: Rng,
    foe: Option<u32>,
    /// Something to pick up.
    loot: Option<u32>,
    wobble: [f32; 3],
    /// Ticks until it looks for a foe, for loot, and for another weapon.
    look: u64,
    search: u64,
    swap: u64,
    seen: Vec<(u32, f32)>,
}

impl Fighter {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, foe: None, loot: None, wobble: [0.0; 3], look: 0, search: 0, swap: 0, seen: Vec::new() }
    }

    /// Where the thing is that it goes for, seen from its own feet: along x and z, in metres.
    pub(super) fn lure(&self, eyes: &dyn Eyes) -> Option<[f32; 2]> {
        let (own, loot) = (eyes.own()?, eyes.feet(self.loot?)?);
        Some([loot[0] - own.feet[0], loot[2] - own.feet[2]])
    }

    /// What the hands do while the feet go as `walk` says; without eyes nothing.
    pub(super) fn hands(&mut self, rate: u16, eyes: &dyn Eyes, walk: Input) -> Input {
        let Some(own) = eyes.own() else { return walk };
        if own.state[FLAGS] & DEAD != 0 {
            (self.foe, self.loot) = (None, None);
            return Input { yaw: walk.yaw, ..Input::default() };
        }
        let mut input = walk;
        self.aim(rate, eyes, &own, &mut input);
        if let Some(ground) = eyes.ground() {
            self.arm(rate, &ground.book, &own, &mut input);
            self.grab(rate, eyes, &own, ground.book.player.reach_m, &mut input);
        }
        input
    }

    /// Looks at the foe, and fires where it is seen.
    fn aim(&mut self, rate: u16, eyes: &dyn Eyes, own: &Own, input: &mut Input) {
        let eye = above(own.feet, EYE_M);
        if due(&mut self.look) || self.foe.is_some_and(|foe| eyes.feet(foe).is_none()) {
            self.look = ticks(&mut self.rng, rate, LOOK_MS);
            self.wobble = [(); 3].map(|()| ((self.rng.unit_f64() * 2.0 - 1.0) * WOBBLE_M) as f32);
            self.foe = self.nearest_seen(eyes, eye);
        }
        let Some(feet) = self.foe.and_then(|foe| eyes.feet(foe)) else { return };
        let mut at = above(feet, MIDDLE_M);
        at.iter_mut().zip(self.wobble).for_each(|(at, wobble)| *at += wobble);
        (input.yaw, input.pitch) = toward(eye, at);
        input.buttons |= FIRE;
    }

    /// The nearest living body that nothing hides.
    fn nearest_seen(&mut self, eyes: &dyn Eyes, eye: [f32; 3]) -> Option<u32> {
        self.seen.clear();
        eyes.look(Prey::Body, RANGE_M, &mut self.seen);
        // Equally near ones by name, so that it does not matter in which order they are seen.
        self.seen.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        let sees = |id: u32| eyes.feet(id).is_some_and(|feet| eyes.sees(eye, above(feet, MIDDLE_M)));
        self.seen.iter().map(|(id, _)| *id).take(LOOKED_AT).find(|id| sees(*id))
    }

    /// Takes another weapon now and then, and fills the magazine.
    fn arm(&mut self, rate: u16, book: &Rulebook, own: &Own, input: &mut Input) {
        let number = weapon(&own.state);
        let Some(held) = book.weapon(number) else { return };
        let empty = held.ammo.is_some_and(|slot| rounds(&own.state, slot)[0] < held.uses);
        let useless = !has_rounds(held, own) || self.is_out_of_reach(held);
        if due(&mut self.swap) || useless {
            self.swap = ticks(&mut self.rng, rate, SWAP_MS);
            let other = self.rng.below(book.weapon.len() as u64) as u8;
            let good = book.weapon(other).is_some_and(|new| has_rounds(new, own) && !self.is_out_of_reach(new));
            if other != number && good {
                input.weapon = other + 1;
                input.buttons &= !FIRE;
            }
        } else if empty && own.state[FLAGS] & RELOADING == 0 {
            input.buttons = input.buttons & !FIRE | RELOAD;
        }
    }

    /// Whether the foe is too far away for that weapon.
    fn is_out_of_reach(&self, weapon: &Weapon) -> bool {
        let blade = matches!(weapon.attack, Attack::Blade(_));
        blade && self.seen.iter().find(|(id, _)| Some(*id) == self.foe).is_none_or(|(_, d2)| *d2 > BLADE_M * BLADE_M)
    }

    /// Picks up what is in reach and remembers what lies near by.
    fn grab(&mut self, rate: u16, eyes: &dyn Eyes, own: &Own, reach_m: f32, input: &mut Input) {
        if !due(&mut self.search) {
            return;
        }
        self.search = SEARCH_MS * u64::from(rate) / 1000;
        let mut seen = Vec::new();
        eyes.look(Prey::Loot, GREED_M, &mut seen);
        let nearest = seen.iter().min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        self.loot = nearest.map(|(id, _)| *id);
        let eye = above(own.feet, EYE_M);
        let reach2 = reach_m * reach_m - EYE_M * EYE_M;
        let there = self.loot.and_then(|loot| eyes.feet(loot));
        if there.is_some_and(|feet| flat2(own.feet, feet) < reach2 * 0.9 && eyes.sees(eye, above(feet, LYING_M))) {
            input.target = self.loot.filter(|loot| EntityId::from_raw(*loot).is_some()).unwrap_or(0);
        }
    }
}

/// Of those near by so many are looked at whether anything hides them.
const LOOKED_AT: usize = 4;

fn has_rounds(weapon: &Weapon, own: &Own) -> bool {
    weapon.ammo.is_none_or(|slot| rounds(&own.state, slot).iter().sum::<i32>() >= weapon.uses)
}

fn above(feet: [f32; 3], metres: f32) -> [f32; 3] {
    [feet[0], feet[1] + metres, feet[2]]
}

/// Counts a tick down; whether none is left.
fn due(left: &mut u64) -> bool {
    *left = left.saturating_sub(1);
    *left == 0
}

fn ticks(rng: &mut Rng, rate: u16, [least_ms, most_ms]: [u64; 2]) -> u64 {
    (least_ms + rng.below(most_ms - least_ms + 1)) * u64::from(rate) / 1000
}
