//! One player alone: what it predicts is what happens.

use netcode::rng::Rng;
use sim::input::{FIRE, JUMP, RELOAD, SPRINT};
use sim::{Event, Frame, Input};

use super::meter::Meter;
use super::rig::{Scene, Script, Seat};

/// Does what one can do alone.
pub(super) struct Solo {
    pub meter: Meter,
    rng: Rng,
    intent: Input,
    /// Inputs recorded when it last chose.
    chosen_at: u64,
    /// Ticks that the intent still lasts.
    left: u64,
}

impl Solo {
    pub(super) fn new(rng: Rng) -> Self {
        Self { meter: Meter::default(), rng, intent: Input::default(), chosen_at: u64::MAX, left: 0 }
    }

    /// Long ways and short turns, all buttons, all weapons, looking anywhere.
    fn choose(&mut self, rate: u16) -> Input {
        let rng = &mut self.rng;
        if self.left == 0 {
            let longest_ms = if rng.chance(0.3) { 400 } else { 4000 };
            self.left = (100 + rng.below(longest_ms)) * u64::from(rate) / 1000;
            let mut axis = || rng.below(32) as i8 - 16;
            self.intent = Input { move_x: axis(), move_z: axis(), ..Input::default() };
            if rng.chance(0.1) {
                self.intent = Input::default();
            }
            self.intent.buttons = if rng.chance(0.4) { SPRINT } else { 0 };
        }
        self.left = self.left.saturating_sub(1);
        let mut input = self.intent;
        (input.yaw, input.pitch) = (rng.below(1 << 16) as u16, rng.below(1 << 15) as u16 as i16);
        for (button, chance) in [(JUMP, 0.05), (FIRE, 0.5), (RELOAD, 0.01)] {
            input.buttons |= if rng.chance(chance) { button } else { 0 };
        }
        if rng.chance(0.01) {
            input.weapon = rng.below(6) as u8;
        }
        input
    }
}

impl Script for Solo {
    fn draw(&mut self, scene: &Scene<'_>, seat: &mut Seat) {
        let inputs = seat.client.stats().inputs;
        if std::mem::replace(&mut self.chosen_at, inputs) != inputs {
            let input = self.choose(scene.rate);
            seat.client.set_intent_at(scene.now, input);
        }
        self.meter.look(scene, seat);
    }

    fn hear(&mut self, _scene: &Scene<'_>, _seat: &Seat, event: &client::Event) {
        self.meter.hear(event);
    }

    fn tick(&mut self, _scene: &Scene<'_>, _frame: &Frame, told: &[(usize, Event)]) {
        told.iter().for_each(|(_, event)| self.meter.told(event.what));
    }
}
