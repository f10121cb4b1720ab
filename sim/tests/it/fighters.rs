//! Players who fight, by a script: they run about, shoot at the nearest they see, and take what lies around.

use sim::game::aim::{eye_of, toward};
use sim::game::hands::rounds;
use sim::game::{can_fire, rulebook::Slot};
use sim::input::{FIRE, JUMP, RELOAD, SPRINT};
use sim::rng::mix;
use sim::schema::{AMMO_A, DEAD, FLAGS, LOOT, NPC, PLAYER, X, Z, position_m, weapon};
use sim::spots::Neighbour;
use sim::{EntityId, Frame, Input, World};

/// How far behind they see the others, in 1/32 tick.
const VIEW: u16 = 75;
/// How far they look for somebody to shoot at, m.
const SIGHT_M: f32 = 40.0;

/// Their inputs for the next tick of the world.
pub struct Fighters {
    near: Vec<Neighbour>,
    pub inputs: Vec<(EntityId, Input)>,
}

impl Fighters {
    pub fn new() -> Self {
        Self { near: Vec::new(), inputs: Vec::new() }
    }

    pub fn decide(&mut self, world: &World, players: &[EntityId]) {
        self.inputs.clear();
        let frame = world.frame();
        for id in players {
            let Some(row) = frame.row(*id) else { continue };
            let input = self.one(world, &frame, *id, row);
            self.inputs.push((*id, input));
        }
    }

    fn one(&mut self, world: &World, frame: &Frame, id: EntityId, row: usize) -> Input {
        let (tick, state) = (world.tick() + 1, frame.state(row));
        let leg = mix(u64::from(id.raw()) << 32 | ((tick + u64::from(id.index())) / 30));
        let now = mix(leg ^ tick);
        let mut input = Input {
            move_x: (leg >> 16 & 31) as i8 - 16,
            move_z: (leg >> 24 & 31) as i8 - 16,
            buttons: ((leg >> 40 & 1) as u8 * SPRINT) | (u8::from(now & 63 == 0) * JUMP),
            view: VIEW,
            instant: (now >> 8 & 15) as u8,
            ..Input::default()
        };
        let [x, _, z] = position_m(state);
        frame.nearest([x, z], SIGHT_M, 12, &mut self.near);
        let row_of = |kinds: &[u8]| {
            let alive = |row: usize| frame.state(row)[FLAGS] & DEAD == 0 || frame.kind(row) == LOOT;
            let mut rows = self.near.iter().map(|one| one.row() as usize);
            rows.find(|other| *other != row && kinds.contains(&frame.kind(*other)) && alive(*other))
        };
        if let Some(loot) = row_of(&[LOOT]) {
            let thing = frame.state(loot);
            if (thing[X] - state[X]).abs() < 300 && (thing[Z] - state[Z]).abs() < 300 {
                input.target = frame.id(loot).raw();
            }
        }
        if let Some(prey) = row_of(&[PLAYER, NPC]) {
            let mut chest = eye_of(frame.state(prey));
            chest[1] -= 100.0;
            (input.yaw, input.pitch) = toward(eye_of(state), chest);
            // Some miss a little.
            input.yaw = input.yaw.wrapping_add((now >> 20 & 255) as u16).wrapping_sub(128);
            if now >> 48 & 127 == 0 {
                input.weapon = 1 + (now >> 56 & 7) as u8 % 5;
            }
            if can_fire(world.ground(), tick, state, &input) {
                input.buttons |= FIRE;
            }
        }
        let slot = if weapon(state) == 2 || weapon(state) == 3 { Slot::B } else { Slot::A };
        let [magazine, reserve] = rounds(state, slot);
        if magazine < 3 && (reserve > 0 || slot.column() == AMMO_A) {
            input.buttons |= RELOAD;
        }
        input
    }
}
