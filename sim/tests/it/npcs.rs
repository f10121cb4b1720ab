//! NPCs hunt whom they see, attack whom they reach, go home when it leads too far, and come back from the dead.

use crate::duel::{Duel, HALF_EXTENT_M, M};
use crate::script::{CROWDED, book, peaceful};
use sim::event::What;
use sim::game::Hidden;
use sim::game::npc::Mode;
use sim::schema::{ARCHETYPE, DEAD, FLAGS, HEALTH, LOOT, NPC, X, Z};
use sim::{EntityId, Input, WorldConfig};

const HUNTER: i32 = 1;

/// A player at a distance (m) from the home of the one NPC there is, a hunter at home.
fn meet(changes: &[(&str, &str)], distance: i32, boxes: &[sim::StaticBox]) -> (Duel, EntityId) {
    let config = WorldConfig { npcs: 1, spawn_half_extent_m: 1, ..CROWDED };
    let mut duel = Duel::by(book(changes), config, boxes, &[[0, 0, 90 * M]]);
    let frame = duel.world.frame();
    let npc = frame.id((0..frame.len()).find(|row| frame.kind(*row) == NPC).unwrap());
    let home = |hidden: &Hidden| match hidden {
        Hidden::Npc(mind) => mind.home,
        _ => panic!("no NPC"),
    };
    let [x, z] = home(duel.world.hidden(npc).unwrap());
    duel.world.edit(npc, |state, _| (state[ARCHETYPE], state[X], state[Z], state[HEALTH]) = (HUNTER, x, z, 60));
    duel.put(0, [x, 0, z + distance * M]);
    (duel, npc)
}

fn mode(duel: &Duel, npc: EntityId) -> Mode {
    match duel.world.hidden(npc).unwrap() {
        Hidden::Npc(mind) => mind.mode,
        _ => panic!("no NPC"),
    }
}

fn home_distance_m(duel: &Duel, npc: EntityId) -> f32 {
    let Hidden::Npc(mind) = duel.world.hidden(npc).unwrap() else { panic!("no NPC") };
    let state = duel.world.state(npc).unwrap();
    let [dx, dz] = [state[X] - mind.home[0], state[Z] - mind.home[1]].map(|way| way as f32 / M as f32);
    (dx * dx + dz * dz).sqrt()
}

#[test]
fn a_hunter_chases_whom_it_sees_and_attacks_at_its_pace() {
    let (mut duel, npc) = meet(&[], 10, &[]);
    assert!((0..20).any(|_| {
        duel.step(&[]);
        mode(&duel, npc) == Mode::Hunt(duel.ids[0])
    }));
    duel.take_events(0);
    duel.wait(200);
    let hurts: Vec<_> = duel.take_events(0);
    let hurt = hurts.iter().filter(|what| matches!(what, What::Hurt { damage: 10, rewound_ms: 0, .. })).count();
    // 10 s, of which 2 s to come near; once a second and thought of four times a second, 9 of 10 hit.
    assert!((4..=9).contains(&hurt), "{hurt}: {hurts:?}");
    assert!(hurts.iter().all(|what| !matches!(what, What::Hurt { attacker, .. } if *attacker != Some(npc))));
}

#[test]
fn nobody_is_seen_through_walls_or_from_too_far_away() {
    let wall = sim::StaticBox { min: [-90 * M, 0, 5 * M], max: [90 * M, 4 * M, 6 * M] };
    for (distance, boxes) in [(10, vec![wall]), (30, vec![])] {
        let (mut duel, npc) = meet(&[("roam_m = 8.0", "roam_m = 1.0")], distance, &boxes);
        duel.wait(300);
        assert_eq!(mode(&duel, npc), Mode::Wander);
        assert_eq!(duel.state(0)[HEALTH], 100);
    }
}

#[test]
fn whoever_runs_beyond_the_leash_is_let_go_and_the_hunter_goes_home_and_heals() {
    let (mut duel, npc) = meet(&[], 8, &[]);
    duel.wait(10);
    duel.world.edit(npc, |state, _| state[HEALTH] = 5);
    let (mut farthest, mut returned) = (0.0f32, false);
    for _ in 0..700 {
        let away = Input { move_z: 15, ..Input::default() };
        duel.step(&[(0, away)]);
        farthest = farthest.max(home_distance_m(&duel, npc));
        returned |= mode(&duel, npc) == Mode::Return;
    }
    assert!(returned && (28.0..32.0).contains(&farthest), "{farthest}");
    assert_eq!(mode(&duel, npc), Mode::Wander);
    assert!(home_distance_m(&duel, npc) < 13.0);
    assert_eq!(duel.world.state(npc).unwrap()[HEALTH], 60);
}

#[test]
fn whom_it_does_not_see_it_hunts_when_shot_and_forgets_when_dead() {
    let (mut duel, npc) = meet(&[("sight_m = 14.0", "sight_m = 0.0")], 10, &[]);
    duel.wait(30);
    assert_eq!(mode(&duel, npc), Mode::Wander);
    let shoot = |duel: &mut Duel| {
        let from = sim::game::aim::eye_of(duel.state(0));
        let mut chest = sim::game::aim::eye_of(duel.world.state(npc).unwrap());
        chest[1] -= 100.0;
        let (yaw, pitch) = sim::game::aim::toward(from, chest);
        let buttons = sim::input::FIRE;
        duel.step(&[(0, Input { yaw, pitch, buttons, instant: 15, view: 32, ..Input::default() })]);
    };
    shoot(&mut duel);
    assert_eq!(mode(&duel, npc), Mode::Hunt(duel.ids[0]));
    duel.take_events(0);
    for _ in 0..12 {
        shoot(&mut duel);
    }
    let dead = |duel: &Duel| duel.world.state(npc).unwrap()[FLAGS] & DEAD != 0;
    assert!(dead(&duel));
    assert!(duel.take_events(0).contains(&What::Progress { xp: 20, level: 1 }));
    // 20 s later it stands at home again, whole and minding its own business.
    let ticks = (0..1000).take_while(|_| {
        duel.step(&[]);
        dead(&duel)
    });
    assert!((380..400).contains(&ticks.count()));
    assert_eq!((mode(&duel, npc), duel.world.state(npc).unwrap()[HEALTH]), (Mode::Wander, 60));
    assert!(home_distance_m(&duel, npc) < 1.0);
}

#[test]
fn a_hunter_finds_its_way_around_a_box() {
    let crate_ = sim::StaticBox { min: [-300, 0, 5 * M], max: [300, 400, 6 * M] };
    let (mut duel, npc) = meet(&[("sight_m = 14.0", "sight_m = 30.0")], 12, &[crate_]);
    // It sees over the box, and cannot jump.
    duel.world.edit(npc, |state, _| state[X] = 0);
    duel.put(0, [0, 0, 12 * M]);
    duel.wait(400);
    assert!(duel.state(0)[HEALTH] < 100, "{:?}", duel.world.state(npc));
}

#[test]
fn npcs_hurt_nobody_but_players_and_those_who_are_left_alone_hunt_nobody() {
    let config = WorldConfig { npcs: 200, spawn_half_extent_m: 60, ..CROWDED };
    let mut duel = Duel::by(peaceful(), config, &[], &[[0; 3], [5 * M, 0, 0]]);
    duel.wait(400);
    let frame = duel.world.frame();
    assert!((0..frame.len()).all(|row| frame.kind(row) != LOOT && frame.state(row)[FLAGS] & DEAD == 0));
    assert_eq!(frame.len(), 202);
    let extent = i32::from(HALF_EXTENT_M) * M;
    assert!(frame.states().iter().all(|state| state[X].abs() < extent && state[Z].abs() < extent));
}

#[test]
fn there_are_as_many_of_each_kind_as_its_share_says() {
    let config = WorldConfig { npcs: 400, spawn_half_extent_m: 90, ..CROWDED };
    let duel = Duel::by(peaceful(), config, &[], &[]);
    let frame = duel.world.frame();
    let of = |kind: i32| frame.states().iter().filter(|state| state[ARCHETYPE] == kind).count();
    for (kind, share) in [(0, 160), (1, 120), (2, 80), (3, 40)] {
        assert!(of(kind).abs_diff(share) < 25, "{kind}: {}", of(kind));
    }
}
