//! The world and its players.

use std::sync::Arc;

use bots::behavior::Pilot;
use bots::behavior::eyes::FrameEyes;
use netcode::rng::Rng;
use sim::{EntityId, Frame, Input, World};

use crate::setup::{Error, Setup};

/// A world that plays by itself.
pub struct Zone {
    world: World,
    pilots: Vec<Pilot>,
    inputs: Vec<(EntityId, Input)>,
    rate: u16,
}

impl Zone {
    /// All players on the map, before the first step.
    ///
    /// # Errors
    /// A world that cannot be, or has no room.
    pub fn new(setup: &Setup) -> Result<Self, Error> {
        let mut world = World::new(setup.world()).map_err(|error| Error::World { players: setup.players, error })?;
        let rng = Rng::new(setup.seed);
        let mut inputs = Vec::new();
        let mut pilots = Vec::new();
        for number in 0..usize::from(setup.players) {
            let id = world.spawn_player().map_err(|error| Error::Spawn { number, error })?;
            inputs.push((id, Input::default()));
            pilots.push(Pilot::new(setup.scenario.behavior(), rng.fork(&format!("pilot {number}"))));
        }
        Ok(Self { world, pilots, inputs, rate: setup.rate })
    }

    /// The players choose what they do next; no work of the server's.
    pub fn plan(&mut self) {
        let (frame, ground) = (self.world.frame(), self.world.ground());
        for ((id, input), pilot) in self.inputs.iter_mut().zip(&mut self.pilots) {
            let eyes = FrameEyes { frame: &frame, ground, id: *id };
            *input = eyes.gate(pilot.next(self.rate, &eyes));
        }
    }

    /// A tick, and its frame.
    pub fn step(&mut self) -> Arc<Frame> {
        self.world.step(&self.inputs);
        self.world.frame()
    }

    /// The entities of `count` players, spread evenly among all.
    pub fn some(&self, count: u16) -> Vec<EntityId> {
        let (count, all) = (usize::from(count), self.inputs.len());
        (0..count).filter_map(|at| self.inputs.get(at * all / count)).map(|(id, _)| *id).collect()
    }
}
