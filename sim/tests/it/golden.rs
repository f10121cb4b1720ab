//! The same bits everywhere: a committed digest, and equal runs.

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
