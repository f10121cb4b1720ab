//! A busy world on scripted inputs, shared by the tests.

use sim::game::Rulebook;
use sim::rng::mix;
use sim::{EntityId, Input, MapConfig, World, WorldConfig};
use std::sync::Arc;

/// A small map full of boxes, so that bodies bump into them all the time.
pub const CROWDED: WorldConfig = WorldConfig {
    seed: 0x5eed,
    rate_hz: 20,
    map: MapConfig { half_extent_m: 48, boxes: 30, gates: 0, ramps: 0 },
    npcs: 64,
    max_entities: 512,
    spawn_half_extent_m: 40,
    max_rewind_ms: 250,
};

/// A world with that many players.
pub fn world(config: WorldConfig, players: usize) -> (World, Vec<EntityId>) {
    let mut world = World::new(config).expect("the configuration is valid");
    let players = (0..players).map(|_| world.spawn_player().expect("there is room")).collect();
    (world, players)
}

/// The shipped rulebook with changes: each first text, which must be there, becomes the second one.
pub fn book(changes: &[(&str, &str)]) -> Arc<Rulebook> {
    let change = |text: String, (from, to): &(&str, &str)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let text = changes.iter().fold(Rulebook::standard().text().to_owned(), change);
    Arc::new(Rulebook::from_toml(&text).expect("a rulebook"))
}

/// Rules by which no NPC looks for prey.
pub fn peaceful() -> Arc<Rulebook> {
    book(&[
        ("sight_m = 14.0", "sight_m = 0.0"),
        ("sight_m = 18.0", "sight_m = 0.0"),
        ("sight_m = 10.0", "sight_m = 0.0"),
    ])
}

/// What a player wants in a tick: it keeps a direction for a second, looks around, sprints and jumps at times.
pub fn input(player: EntityId, tick: u64) -> Input {
    let leg = mix(u64::from(player.raw()) << 32 | (tick / 20));
    let now = mix(leg ^ tick);
    if leg & 7 == 0 {
        return Input { yaw: (leg >> 8) as u16, ..Input::default() };
    }
    Input {
        move_x: (leg >> 16 & 31) as i8 - 16,
        move_z: (leg >> 24 & 31) as i8 - 16,
        yaw: (now >> 32) as u16,
        buttons: (leg >> 40 & 1) as u8 | if now & 15 == 0 { sim::input::JUMP } else { 0 },
        ..Input::default()
    }
}

/// The inputs of all players for the next tick of the world.
pub fn inputs(world: &World, players: &[EntityId]) -> Vec<(EntityId, Input)> {
    players.iter().map(|id| (*id, input(*id, world.tick() + 1))).collect()
}
