//! Everybody against everybody: whatever clients send, the rules hold, and equal runs are equal.

use crate::fighters::Fighters;
use crate::script::{CROWDED, peaceful, world};
use netcode::schema::State;
use proptest::prelude::*;
use sim::event::What;
use sim::game::hands::rounds;
use sim::game::player::is_foreign;
use sim::game::rulebook::Slot;
use sim::game::{Hidden, act, fly, launch};
use sim::rng::mix;
use sim::schema::{
    AMMO_A, AMMO_B, AMOUNT, ARMOUR, DEAD, FLAGS, HEALTH, HEALTH_FULL, LEVEL, LOOT, NPC, PLAYER, PROJECTILE, READY,
    SHIELDED, in_range,
};
use sim::{EntityId, Event, Input, MapConfig, World, WorldConfig};
use std::collections::BTreeMap;

const ARENA: WorldConfig = WorldConfig {
    map: MapConfig { half_extent_m: 32, boxes: 6, gates: 3, ramps: 2 },
    npcs: 24,
    spawn_half_extent_m: 16,
    ..CROWDED
};

/// Any bits at all, but every second time the raw id of somebody who is there as a target.
fn wild(word: u64, frame: &sim::Frame) -> Input {
    let [a, b] = [mix(word), mix(!word)];
    let somebody = frame.id(b as usize % frame.len()).raw();
    Input {
        move_x: a as i8,
        move_z: (a >> 8) as i8,
        yaw: (a >> 16) as u16,
        pitch: (a >> 32) as i16,
        buttons: (a >> 48) as u8,
        weapon: if a >> 60 == 0 { (a >> 56) as u8 } else { 0 },
        view: b as u16,
        instant: (b >> 16) as u8,
        target: if b >> 63 == 0 { somebody } else { (b >> 32) as u32 },
    }
}

fn total(state: &State, slot: Slot) -> i32 {
    rounds(state, slot).iter().sum()
}

/// What must hold from one tick to the next of everybody who was there before.
fn check(before: &BTreeMap<EntityId, (u8, State)>, world: &World) -> Result<(), TestCaseError> {
    let frame = world.frame();
    let told =
        |id: EntityId, what: fn(&What) -> bool| world.events().iter().any(|(to, event)| *to == id && what(&event.what));
    for row in 0..frame.len() {
        let (id, kind, state) = (frame.id(row), frame.kind(row), frame.state(row));
        prop_assert!(in_range(kind, state), "{kind}: {state:?}");
        match kind {
            PLAYER => {
                prop_assert!((0..=HEALTH_FULL).contains(&state[HEALTH]) && (0..=HEALTH_FULL).contains(&state[ARMOUR]));
                prop_assert_eq!(state[HEALTH] == 0, state[FLAGS] & DEAD != 0);
                prop_assert!((1..=20).contains(&state[LEVEL]));
                prop_assert!(rounds(state, Slot::A)[0] <= 30 && rounds(state, Slot::A)[1] <= 270);
                prop_assert!(rounds(state, Slot::B)[0] <= 4 && rounds(state, Slot::B)[1] <= 24);
            }
            NPC => prop_assert_eq!(state[HEALTH] == 0, state[FLAGS] & DEAD != 0),
            LOOT => prop_assert!(state[AMOUNT] > 0),
            _ => {}
        }
        let Some((_, old)) = before.get(&id).filter(|_| kind == PLAYER) else { continue };
        if told(id, |what| matches!(what, What::Respawned)) {
            prop_assert!(old[FLAGS] & DEAD != 0 && state[FLAGS] & SHIELDED != 0);
            continue;
        }
        prop_assert!(old[FLAGS] & DEAD == 0 || state[FLAGS] & DEAD != 0, "back without a word");
        if !told(id, |what| matches!(what, What::Looted { .. })) {
            for slot in [Slot::A, Slot::B] {
                prop_assert!(total(state, slot) <= total(old, slot));
            }
            prop_assert!(state[HEALTH] <= old[HEALTH] && state[ARMOUR] <= old[ARMOUR]);
        }
        if old[FLAGS] & SHIELDED != 0 && state[FLAGS] & SHIELDED != 0 {
            prop_assert_eq!(state[HEALTH], old[HEALTH]);
        }
        prop_assert!(state[LEVEL] >= old[LEVEL]);
    }
    for (_, event) in world.events() {
        prop_assert_eq!(Event::read(&event.write(), world.tick() + 3), Some(*event));
    }
    Ok(())
}

fn rows(world: &World) -> BTreeMap<EntityId, (u8, State)> {
    let frame = world.frame();
    (0..frame.len()).map(|row| (frame.id(row), (frame.kind(row), *frame.state(row)))).collect()
}

/// A fight by inputs of any bits, while players come and go; the digest after each tick.
fn wild_fight(seed: u64, rate_hz: u16, ticks: u64) -> Result<Vec<u64>, TestCaseError> {
    let (mut world, mut players) = world(WorldConfig { seed, rate_hz, ..ARENA }, 16);
    let mut digests = Vec::new();
    for tick in 0..ticks {
        let before = rows(&world);
        let frame = world.frame();
        let word = |id: &EntityId| mix(seed ^ tick << 20 ^ u64::from(id.raw()));
        let inputs: Vec<_> = players.iter().map(|id| (*id, wild(word(id), &frame))).collect();
        world.step(&inputs);
        check(&before, &world)?;
        digests.push(world.digest());
        match mix(seed ^ tick) % 64 {
            0 => drop(world.despawn(players.remove(0))),
            1 => players.extend(world.spawn_player()),
            2 => world.skip(mix(tick) as u32 % 200),
            _ => {}
        }
    }
    Ok(digests)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_bits_from_clients_break_a_rule_and_equal_runs_are_equal(seed: u64, rate_hz in 10u16..=128) {
        let digests = wild_fight(seed, rate_hz, 300)?;
        prop_assert_eq!(digests, wild_fight(seed, rate_hz, 300)?);
    }
}

#[test]
fn in_a_real_fight_everything_happens_and_every_rule_holds() {
    let (mut world, players) = world(WorldConfig { map: MapConfig { half_extent_m: 48, ..ARENA.map }, ..ARENA }, 40);
    let mut fighters = Fighters::new();
    let mut told = BTreeMap::new();
    for _ in 0..1500 {
        let before = rows(&world);
        fighters.decide(&world, &players);
        world.step(&fighters.inputs);
        check(&before, &world).unwrap();
        for (_, event) in world.events() {
            let name = match event.what {
                What::Shot { target: None, .. } => "miss",
                What::Shot { killed: true, .. } => "kill",
                What::Shot { .. } => "hit",
                What::Hurt { rewound_ms: 0, .. } => "hurt by an NPC or a projectile",
                What::Hurt { .. } => "hurt",
                What::Died { .. } => "died",
                What::Respawned => "back",
                What::Progress { .. } => "progress",
                What::Looted { .. } => "loot",
                What::Refused { .. } => "refused",
            };
            *told.entry(name).or_insert(0) += 1;
        }
    }
    assert!(told.len() == 10 && told.values().all(|count| *count >= 10), "{told:?}");
}

#[test]
fn alone_a_player_is_what_its_own_prediction_says_bit_for_bit() {
    let config = WorldConfig { npcs: 0, map: MapConfig { half_extent_m: 48, boxes: 30, ..ARENA.map }, ..ARENA };
    let (mut world, players) = world(config, 1);
    let id = players[0];
    let mut near = Vec::new();
    let (mut before, mut predicted) = (*world.state(id).unwrap(), *world.state(id).unwrap());
    let mut flying: Vec<State> = Vec::new();
    let (mut shots, mut corrections) = (0, 0);
    for tick in 1..=2000u64 {
        let word = mix((tick / 10) ^ 77);
        let input = Input { view: 90, ..wild(word, &world.frame()) };
        world.step(&[(id, input)]);
        flying = flying.iter().filter_map(|state| fly(world.ground(), tick, state)).collect();
        let acted = act(world.ground(), tick, id, &predicted, &input, &mut near);
        if let Some(shot) = acted.shot {
            shots += 1;
            let launched = launch(world.ground(), tick, id, &before, &predicted, &input, shot.weapon);
            if launched[sim::schema::VX] | launched[sim::schema::VY] | launched[sim::schema::VZ] != 0 {
                flying.push(launched);
            }
        }
        (before, predicted) = (predicted, acted.state);
        let actual = *world.state(id).unwrap();
        assert!(is_foreign(&predicted, &actual), "tick {tick}: {predicted:?} {actual:?}");
        corrections += u32::from(predicted != actual);
        predicted = actual;
        // Projectiles: the server's are those that were foreseen, until they burst at the end of their lives or at somebody.
        let frame = world.frame();
        for row in (0..frame.len()).filter(|row| frame.kind(*row) == PROJECTILE) {
            assert!(flying.contains(frame.state(row)), "tick {tick}: {:?}", frame.state(row));
        }
    }
    // What others change: the shield's end, and the splash of its own rockets.
    assert!(shots > 100 && corrections < 60, "{shots} shots, {corrections} corrections");
}

#[test]
fn a_fight_goes_on_where_ticks_are_left_out() {
    let (mut world, players) = world(ARENA, 12);
    let mut fighters = Fighters::new();
    for round in 0..300 {
        if round % 40 == 39 {
            world.skip(round * 20);
        }
        fighters.decide(&world, &players);
        world.step(&fighters.inputs);
    }
    // Whose hands were busy when a stall began is ready again after it.
    for _ in 0..100 {
        world.step(&[]);
    }
    assert!(players.iter().all(|id| {
        let state = world.state(*id).unwrap();
        state[READY] == 0 || state[FLAGS] & DEAD != 0
    }));
}

#[test]
fn who_leaves_while_its_rocket_flies_is_not_told_and_the_rocket_still_hurts() {
    let mut duel = crate::duel::Duel::new(&[], &[[0; 3], [0, 0, 8 * 256]]);
    duel.arm(0, crate::duel::ROCKET);
    let shot = duel.shot(0, 1);
    duel.step(&[(0, shot)]);
    let gone = duel.ids[0];
    duel.take_events(0);
    duel.world.despawn(gone);
    duel.wait(10);
    assert_eq!(duel.state(1)[HEALTH], 30);
    assert!(duel.take_events(0).is_empty());
}

#[test]
fn nobody_remembers_what_is_not_of_its_kind() {
    let mut world = World::with_book(ARENA, peaceful()).unwrap();
    let id = world.spawn_player().unwrap();
    world.step(&[]);
    let frame = world.frame();
    for row in 0..frame.len() {
        let hidden = world.hidden(frame.id(row)).unwrap();
        let fits = match hidden {
            Hidden::Player(_) => frame.kind(row) == PLAYER,
            Hidden::Npc(_) => frame.kind(row) == NPC,
            _ => false,
        };
        assert!(fits);
    }
    let fresh = world.state(id).unwrap();
    assert_eq!((fresh[AMMO_A], fresh[AMMO_B]), (30 + 128 * 90, 4 + 128 * 8));
}
