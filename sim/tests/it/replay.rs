//! Logs replay to the same digests, also where the writer died.

use crate::script::{CROWDED, inputs, world};
use sim::log::{HEADER_BYTES, InputLog};
use sim::replay::ReplayError;
use sim::{Input, replay};

/// A run with joins and leaves: the log, where each record ends, and the digests.
fn recorded(ticks: u64) -> (InputLog, Vec<usize>, Vec<u64>) {
    let (mut world, mut players) = world(CROWDED, 0);
    let mut log = InputLog::new(&CROWDED);
    let (mut ends, mut digests) = (Vec::new(), Vec::new());
    for tick in 0..ticks {
        if tick % 3 == 0 {
            let id = world.spawn_player().unwrap();
            players.push(id);
            log.join(id);
        }
        if tick % 7 == 6 {
            let id = players.remove(players.len() / 2);
            assert!(world.despawn(id));
            log.leave(id);
        }
        let wanted = inputs(&world, &players);
        world.step(&wanted);
        log.tick(&wanted, world.digest());
        ends.push(log.bytes().len());
        digests.push(world.digest());
    }
    (log, ends, digests)
}

#[test]
fn a_log_replays_to_the_same_digests() {
    let (log, _, digests) = recorded(300);
    let outcome = replay(log.bytes()).unwrap();
    assert_eq!(outcome.digests, digests);
    assert_eq!(outcome.dropped_bytes, 0);
}

#[test]
fn a_log_cut_anywhere_replays_to_its_last_whole_tick() {
    let (log, ends, digests) = recorded(8);
    for cut in HEADER_BYTES..=log.bytes().len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let outcome = replay(&log.bytes()[..cut]).unwrap();
        assert_eq!(outcome.digests, digests[..whole], "cut at {cut}");
        let start = if whole == 0 { HEADER_BYTES } else { ends[whole - 1] };
        assert_eq!(outcome.dropped_bytes, cut - start);
    }
    for cut in 0..HEADER_BYTES {
        assert!(replay(&log.bytes()[..cut]).is_err());
    }
}

#[test]
fn taken_bytes_add_up_to_the_whole_log() {
    let (mut world, players) = world(CROWDED, 0);
    let (mut taken, mut whole) = (InputLog::new(&CROWDED), InputLog::new(&CROWDED));
    let mut bytes = Vec::new();
    for _ in 0..5 {
        world.step(&inputs(&world, &players));
        taken.tick(&[], world.digest());
        whole.tick(&[], world.digest());
        bytes.extend(taken.take_bytes());
    }
    assert_eq!(bytes, whole.bytes());
}

#[test]
fn the_first_diverging_tick_is_named() {
    let (mut world, _) = world(CROWDED, 0);
    let mut log = InputLog::new(&CROWDED);
    let id = world.spawn_player().unwrap();
    log.join(id);
    for tick in 1..=10 {
        world.step(&[(id, Input { move_x: 15, ..Input::default() })]);
        // The log claims that the player stood still in tick 6.
        let move_x = if tick == 6 { 0 } else { 15 };
        log.tick(&[(id, Input { move_x, ..Input::default() })], world.digest());
    }
    assert!(matches!(replay(log.bytes()), Err(ReplayError::Diverged { tick: 6, .. })));
}

#[test]
fn events_that_cannot_have_happened_are_named() {
    let (mut world, _) = world(CROWDED, 0);
    let id = world.spawn_player().unwrap();
    let mut log = InputLog::new(&CROWDED);
    log.leave(id);
    log.tick(&[], 0);
    assert_eq!(replay(log.bytes()), Err(ReplayError::Leave { tick: 1, id }));

    let second = world.spawn_player().unwrap();
    let mut log = InputLog::new(&CROWDED);
    log.join(second);
    log.tick(&[], 0);
    assert_eq!(replay(log.bytes()), Err(ReplayError::Join { tick: 1, expected: second, actual: Ok(id) }));
}

#[test]
fn flipping_any_bit_of_a_log_never_panics_nor_passes_unnoticed() {
    let (log, _, digests) = recorded(3);
    for bit in 0..log.bytes().len() * 8 {
        let mut bytes = log.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let clean = replay(&bytes).is_ok_and(|outcome| outcome.digests == digests && outcome.dropped_bytes == 0);
        assert!(!clean, "bit {bit}");
    }
}
