//! The same bits everywhere: a committed digest, and equal runs.

use crate::fighters::Fighters;
use crate::script::{CROWDED, inputs, world};
use sim::WorldConfig;

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

/// The same of a fight: 600 ticks of 40 players with every weapon there is, and the NPCs.
const GOLDEN_FIGHT: u64 = 0x158b_3282_0dae_bd15;

#[test]
fn a_fight_has_the_committed_digest() {
    let map = sim::MapConfig { half_extent_m: 48, boxes: 12, gates: 6, ramps: 4 };
    let (mut world, players) = world(WorldConfig { map, spawn_half_extent_m: 24, ..CROWDED }, 40);
    let mut fighters = Fighters::new();
    for _ in 0..600 {
        fighters.decide(&world, &players);
        world.step(&fighters.inputs);
    }
    assert_eq!(world.digest(), GOLDEN_FIGHT, "the digest is now {:#018x}", world.digest());
}
