//! The same bits everywhere: a committed digest, and equal runs.

use crate::fighters::Fighters;
use crate::script::{CROWDED, inputs, world};
use sim::log::InputLog;
use sim::replay::header;
use sim::{MapConfig, SCHEMA, WorldConfig, replay};

/// Digest after 600 ticks of the scripted world with 64 players and 64 NPCs; the same in debug and release, on
/// every target. A change of movement, map or NPCs changes it: then commit the new one with the reason.
const GOLDEN: u64 = 0x7a3a_9391_7e03_a02e;

fn digests(config: WorldConfig) -> Vec<u64> {
    let (mut world, players) = world(config, 64);
    let run = (0..600).map(|_| {
        world.step(&inputs(&world, &players));
        world.digest()
    });
    run.collect()
}

#[test]
fn the_scripted_world_has_the_committed_digest() {
    let last = digests(CROWDED).pop().unwrap();
    assert_eq!(last, GOLDEN, "the digest is now {last:#018x}");
}

#[test]
fn the_same_seed_gives_the_same_digest_after_every_tick() {
    assert_eq!(digests(CROWDED), digests(CROWDED));
}

#[test]
fn another_seed_gives_another_world() {
    assert_ne!(digests(CROWDED).last(), digests(WorldConfig { seed: 1, ..CROWDED }).last());
}

#[test]
fn the_order_of_inputs_does_not_matter() {
    let (mut straight, players) = world(CROWDED, 16);
    let (mut shuffled, _) = world(CROWDED, 16);
    for _ in 0..40 {
        let mut wanted = inputs(&straight, &players);
        straight.step(&wanted);
        wanted.reverse();
        shuffled.step(&wanted);
        assert_eq!(straight.digest(), shuffled.digest());
    }
}

/// Fights of 40 players and 40 NPCs with every weapon, among boxes, gates and ramps: seed, ticks a second, and the digest
/// after 400 ticks.
const FIGHTS: [(u64, u16, u64); 4] = [
    (1, 20, 0xb62d_8791_f69e_000c),
    (2, 30, 0xdc4a_c0ad_5b29_f96e),
    (3, 60, 0xecdf_79c1_d1be_809a),
    (4, 128, 0x4366_0073_38d9_1968),
];

/// The log of a fight, and its digest at the end.
fn recorded_fight(seed: u64, rate_hz: u16) -> (Vec<u8>, u64) {
    let map = MapConfig { half_extent_m: 40, boxes: 6, gates: 4, ramps: 4 };
    let config = WorldConfig { seed, rate_hz, map, npcs: 40, spawn_half_extent_m: 30, ..CROWDED };
    let (mut world, _) = world(config, 0);
    let mut log = InputLog::new(&SCHEMA, &header(&world, false)).unwrap();
    let mut players = Vec::new();
    let mut fighters = Fighters::new();
    for tick in 0..400 {
        if tick % 10 == 0 {
            let id = world.spawn_player().unwrap();
            log.join(id);
            players.push(id);
        }
        fighters.decide(&world, &players);
        world.step(&fighters.inputs);
        log.tick(fighters.inputs.iter().map(|(id, input)| (*id, input.to_state())), &world.frame());
    }
    (log.take_bytes(), world.digest())
}

#[test]
fn recorded_fights_have_the_committed_digests_and_replay_to_them() {
    for (seed, rate_hz, golden) in FIGHTS {
        let (bytes, last) = recorded_fight(seed, rate_hz);
        let replayed = replay(&bytes).unwrap();
        assert_eq!(replayed.digests.last(), Some(&last));
        assert_eq!(last, golden, "seed {seed} at {rate_hz} Hz: the digest is now {last:#018x}");
    }
}
