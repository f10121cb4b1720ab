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
    players: Vec<Player>,
}

/// One of them.
pub(super) struct Player {
    pub pilot: Pilot,
    /// Inputs recorded when it last chose.
    chosen_at: u64,
}

impl Player {
    pub(super) fn new(rng: &Rng) -> Self {
        Self { pilot: Pilot::new(Behavior::Fight, rng.fork("pilot")), chosen_at: u64::MAX }
    }

    /// Whether it is time to choose again: once for each input.
    pub(super) fn chooses(&mut self, seat: &Seat) -> bool {
        let inputs = seat.client.stats().inputs;
        std::mem::replace(&mut self.chosen_at, inputs) != inputs
    }
}

impl Brawl {
    pub(super) fn new(players: usize, rng: &Rng) -> Self {
        let players = (0..players).map(|index| Player::new(&rng.fork(&format!("player {index}"))));
        Self { meter: Meter::default(), players: players.collect() }
    }
}

impl Script for Brawl {
    fn draw(&mut self, scene: &Scene<'_>, seat: &mut Seat) {
        let Some(player) = self.players.get_mut(seat.index) else { return };
        if !player.chooses(seat) {
            return;
        }
        let eyes = ClientEyes { client: &seat.client, now: scene.now, ground: Some(scene.ground) };
        let input = player.pilot.next(scene.rate, &eyes);
        seat.client.set_intent_at(scene.now, input);
        self.meter.look(scene, seat);
    }

    fn hear(&mut self, _scene: &Scene<'_>, _seat: &Seat, event: &client::Event) {
        self.meter.hear(event);
    }

    fn tick(&mut self, _scene: &Scene<'_>, _frame: &Frame, told: &[(usize, Event)]) {
        told.iter().for_each(|(_, event)| self.meter.told(event.what));
    }
}
