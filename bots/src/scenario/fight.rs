//! A player and fifty others in one place, all of whom fight.

use netcode::rng::Rng;
use sim::{Event, Frame};

use super::meter::Meter;
use super::rig::{Scene, Script, Seat};
use crate::behavior::eyes::ClientEyes;
use crate::behavior::{Behavior, Pilot};

/// Bots that fight, each by what its screen shows.
pub(super) struct Brawl {
    pub meter: Meter,
    pilots: Vec<Fighter>,
}

/// One of them.
struct Fighter {
    pilot: Pilot,
    /// Inputs recorded when it last chose.
    chosen_at: u64,
}

impl Brawl {
    pub(super) fn new(players: usize, rng: &Rng) -> Self {
        let pilot = |index| Pilot::new(Behavior::Fight, rng.fork(&format!("pilot {index}")));
        let pilots = (0..players).map(|index| Fighter { pilot: pilot(index), chosen_at: u64::MAX });
        Self { meter: Meter::default(), pilots: pilots.collect() }
    }
}

impl Script for Brawl {
    fn draw(&mut self, scene: &Scene<'_>, seat: &mut Seat) {
        let Some(fighter) = self.pilots.get_mut(seat.index) else { return };
        let inputs = seat.client.stats().inputs;
        if std::mem::replace(&mut fighter.chosen_at, inputs) == inputs {
            return;
        }
        let eyes = ClientEyes { client: &seat.client, now: scene.now, ground: Some(scene.ground) };
        let input = fighter.pilot.next(scene.rate, &eyes);
        seat.client.set_intent(input);
        self.meter.look(scene, seat);
    }

    fn hear(&mut self, _scene: &Scene<'_>, _seat: &Seat, event: &client::Event) {
        self.meter.hear(event);
    }

    fn tick(&mut self, _scene: &Scene<'_>, _frame: &Frame, told: &[(usize, Event)]) {
        told.iter().for_each(|(_, event)| self.meter.told(event.what));
    }
}
