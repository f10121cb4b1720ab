//! The rules of combat, one by one: pace, ammunition, range, walls, blades, splash, friends, death, levels, the past.

use crate::duel::{BLADE, Duel, HALF_EXTENT_M, M, MORTAR, RIFLE, ROCKET, SCATTER, solid};
use crate::script::{CROWDED, book};
use sim::event::{Refusal, What};
use sim::game::hands::rounds;
use sim::game::rulebook::Slot;
use sim::gate::Axis;
use sim::input::{FIRE, RELOAD};
use sim::schema::{AMMO_A, ARMOUR, DEAD, FLAGS, HEALTH, LEVEL, PROJECTILE, READY, SHIELDED, X, Z};
use sim::{Gate, Input, Map, WorldConfig};

const ALONE: WorldConfig = WorldConfig { npcs: 0, ..CROWDED };

fn press(buttons: u8) -> Input {
    Input { buttons, ..Input::default() }
}

fn shots(told: &[What]) -> usize {
    told.iter().filter(|what| matches!(what, What::Shot { .. })).count()
}

fn hurts(told: &[What]) -> Vec<u8> {
    let damage = |what: &What| match what {
        What::Hurt { damage, .. } => Some(*damage),
        _ => None,
    };
    told.iter().filter_map(damage).collect()
}

#[test]
fn whoever_holds_the_trigger_fires_no_faster_than_the_weapon_and_is_refused_the_rest() {
    let mut duel = Duel::new(&[], &[[0; 3]]);
    for _ in 0..40 {
        duel.step(&[(0, press(FIRE))]);
    }
    // 100 ms at 20 Hz are two ticks.
    assert_eq!(shots(&duel.take_events(0)), 20);
    let refusals = duel.world.refusals(duel.ids[0]).unwrap();
    assert_eq!((refusals.of(Refusal::Rate), refusals.total()), (20, 20));
}

#[test]
fn an_empty_magazine_fires_nothing_until_it_is_reloaded_and_a_reload_takes_its_time() {
    let mut duel = Duel::new(&[], &[[0; 3]]);
    for _ in 0..64 {
        duel.step(&[(0, press(FIRE))]);
    }
    assert_eq!(shots(&duel.take_events(0)), 30);
    assert_eq!(duel.world.refusals(duel.ids[0]).unwrap().of(Refusal::Ammo), 4);
    assert_eq!(rounds(duel.state(0), Slot::A), [0, 90]);
    let mut ticks = 0;
    duel.step(&[(0, press(RELOAD))]);
    while rounds(duel.state(0), Slot::A)[0] == 0 {
        duel.step(&[(0, press(FIRE))]);
        ticks += 1;
    }
    // 1.6 s.
    assert_eq!((ticks, rounds(duel.state(0), Slot::A)), (32, [29, 60]));
    assert_eq!(duel.world.refusals(duel.ids[0]).unwrap().of(Refusal::Reloading), 31);
}

#[test]
fn weapons_reach_as_far_as_the_rulebook_says_and_not_an_inch_farther() {
    // 120 m and 25 m from the eye; the chest is a little below, the skin a radius nearer.
    for (weapon, hits, misses) in [(RIFLE, 30_820, 30_830), (SCATTER, 6490, 6600)] {
        for (distance, hit) in [(hits, true), (misses, false)] {
            let mut duel = Duel::new(&[], &[[0, 0, -60 * M], [0, 0, -60 * M + distance]]);
            duel.arm(0, weapon);
            // Of the eight rays some miss at that distance; those that are aimed well do not reach.
            let struck = (0..8).any(|_| {
                let hit = duel.fire(0, 1).is_some();
                duel.wait(14);
                hit
            });
            assert_eq!(struck, hit, "weapon {weapon} at {distance}");
        }
    }
}

#[test]
fn a_scattered_shot_hits_each_body_once_by_the_sum_of_its_rays() {
    let mut duel = Duel::new(&[], &[[0; 3], [0, 0, 2 * M]]);
    duel.arm(0, SCATTER);
    duel.fire(0, 1);
    let hurt = hurts(&duel.take_events(1));
    assert_eq!(hurt, [56], "eight rays of 7 points");
    assert_eq!(duel.state(1)[HEALTH], 44);
}

#[test]
fn nothing_is_hit_through_a_wall_and_over_it_only_what_shows() {
    let wall = solid([-3, 0, 4], [3, 3, 5]);
    let mut duel = Duel::new(&[wall], &[[0; 3], [0, 0, 8 * M], [8 * M, 0, 8 * M]]);
    assert_eq!(duel.fire(0, 1), None);
    duel.wait(2);
    assert_eq!(duel.fire(0, 2), Some(duel.ids[2]));
    // A wall that hides the chest and not the head.
    let low = StaticWall { height: 380 };
    let mut duel = Duel::new(&[low.solid()], &[[0; 3], [0, 0, 8 * M]]);
    assert_eq!(duel.fire(0, 1), None);
    duel.wait(2);
    let head = Input { pitch: 0, ..duel.shot(0, 1) };
    duel.step(&[(0, head)]);
    assert_eq!(hurts(&duel.take_events(1)), [12]);
}

struct StaticWall {
    height: i32,
}

impl StaticWall {
    fn solid(&self) -> sim::StaticBox {
        sim::StaticBox { min: [-3 * M, 0, 7 * M], max: [3 * M, self.height, 7 * M + 20] }
    }
}

#[test]
fn a_bullet_hits_the_first_in_its_way_only() {
    let mut duel = Duel::new(&[], &[[0; 3], [0, 0, 5 * M], [0, 0, 9 * M]]);
    assert_eq!(duel.fire(0, 2), Some(duel.ids[1]));
    assert_eq!((duel.state(1)[HEALTH], duel.state(2)[HEALTH]), (88, 100));
}

#[test]
fn a_blade_hits_the_nearest_in_its_reach_and_arc() {
    let mut duel = Duel::new(&[], &[[0; 3], [0, 0, 2 * M], [-M, 0, M], [0, 0, -M], [40 * M, 0, 0]]);
    duel.arm(0, BLADE);
    // Both are in the arc: 45° to the left is nearer.
    assert_eq!(duel.fire(0, 1), Some(duel.ids[2]));
    duel.put(2, [30 * M, 0, 0]);
    duel.wait(12);
    assert_eq!(duel.fire(0, 1), Some(duel.ids[1]));
    duel.put(1, [0, 0, 2 * M + 170]);
    duel.wait(12);
    // 2.66 m off, the skin at 2.26 m; and behind it there is somebody near.
    assert_eq!(duel.fire(0, 1), None);
    duel.put(1, [0, 0, 2 * M + 150]);
    duel.wait(12);
    assert_eq!(duel.fire(0, 1), Some(duel.ids[1]));
    assert_eq!(duel.state(3)[HEALTH], 100);
}

#[test]
fn a_blade_does_not_cut_through_walls_and_needs_no_ammunition() {
    let wall = sim::StaticBox { min: [-3 * M, 0, 200], max: [3 * M, 3 * M, 220] };
    let mut duel = Duel::new(&[wall], &[[0; 3], [0, 0, 220 + 104]]);
    duel.arm(0, BLADE);
    let before = [Slot::A, Slot::B].map(|slot| rounds(duel.state(0), slot));
    assert_eq!(duel.fire(0, 1), None);
    assert_eq!([Slot::A, Slot::B].map(|slot| rounds(duel.state(0), slot)), before);
    assert_eq!(duel.state(1)[HEALTH], 100);
}

/// The damage that a rocket at the wall at z = 10 m does to players that far from where it bursts.
fn splash(places: &[[i32; 3]], boxes: &[sim::StaticBox]) -> (Duel, Vec<i32>) {
    let wall = solid([-20, 0, 10], [20, 4, 11]);
    let all: Vec<_> = std::iter::once([0, 0, 0]).chain(places.iter().copied()).collect();
    let mut duel = Duel::new(&[&[wall], boxes].concat(), &all);
    duel.arm(0, ROCKET);
    duel.step(&[(0, Input { buttons: FIRE, instant: 15, ..Input::default() })]);
    duel.wait(12);
    let lost = (1..all.len()).map(|n| 100 - duel.state(n)[HEALTH]).collect();
    (duel, lost)
}

#[test]
fn a_splash_hurts_less_with_the_distance_and_nobody_at_its_edge() {
    let z = 10 * M - 104;
    let (mut duel, lost) =
        splash(&[[M, 0, z], [2 * M, 0, z], [3 * M, 0, z], [-4 * M - 103, 0, z], [-5 * M, 0, z]], &[]);
    assert!(lost.is_sorted_by(|near, far| near > far || *far == 0), "{lost:?}");
    // 1 m off the skin is 0.6 m away: 60 points fall to 0 over 4 m.
    assert!((48..=51).contains(&lost[0]) && lost[3..] == [0, 0], "{lost:?}");
    let told = duel.take_events(0);
    assert_eq!(shots(&told), 3, "one event for each who was hit: {told:?}");
    assert!(duel.world.frame().ids().iter().all(|id| duel.ids.contains(id)), "the rocket is gone");
}

#[test]
fn a_wall_keeps_the_splash_off() {
    let z = 10 * M - 104;
    let screen = sim::StaticBox { min: [150, 0, 9 * M], max: [160, 4 * M, 10 * M] };
    let (_, lost) = splash(&[[2 * M, 0, z], [-2 * M, 0, z]], &[screen]);
    assert!(lost[0] == 0 && lost[1] > 0, "{lost:?}");
}

#[test]
fn whom_a_rocket_hits_takes_the_hit_and_no_splash_and_its_owner_half_of_it() {
    let mut duel = Duel::new(&[], &[[0; 3], [0, 0, 2 * M]]);
    duel.arm(0, ROCKET);
    let input = Input { pitch: 0, ..duel.shot(0, 1) };
    duel.step(&[(0, input)]);
    let tick = duel.world.tick();
    duel.wait(3);
    assert_eq!(duel.state(1)[HEALTH], 30);
    // It burst 1.6 m before the eye, 1.2 m off the skin: 60 points, of which so near 41, of which half.
    let own = 100 - duel.state(0)[HEALTH];
    assert!((19..=21).contains(&own), "{own}");
    let event = duel.world.events().to_vec();
    assert!(event.is_empty() && duel.world.tick() == tick + 3);
    let told = duel.take_events(0);
    assert_eq!(shots(&told), 2, "{told:?}");
}

#[test]
fn a_mortar_shell_falls_on_those_behind_a_wall() {
    let wall = solid([-20, 0, 4], [20, 3, 5]);
    let mut duel = Duel::new(&[wall], &[[0; 3], [0, 0, 25 * M]]);
    duel.arm(0, MORTAR);
    duel.step(&[(0, Input { buttons: FIRE, pitch: 1 << 13, instant: 15, ..Input::default() })]);
    assert!((0..100).any(|_| {
        duel.step(&[]);
        duel.state(1)[HEALTH] < 100
    }));
    assert_eq!(duel.state(0)[HEALTH], 100);
}

#[test]
fn where_players_do_not_hurt_each_other_shots_pass_through_them() {
    let kind = book(&[("hurts_players = true", "hurts_players = false")]);
    let mut duel = Duel::by(kind, ALONE, &[], &[[0; 3], [0, 0, 5 * M]]);
    assert_eq!(duel.fire(0, 1), None);
    for weapon in [ROCKET, BLADE] {
        duel.arm(0, weapon);
        duel.wait(30);
        let input = duel.shot(0, 1);
        duel.step(&[(0, input)]);
        duel.wait(80);
    }
    assert_eq!(duel.state(1)[HEALTH], 100);
}

#[test]
fn armour_takes_its_share_of_a_hit_and_the_shielded_take_none() {
    let mut duel = Duel::new(&[], &[[0; 3], [0, 0, 5 * M]]);
    duel.edit(1, |state| state[ARMOUR] = 5);
    duel.fire(0, 1);
    assert_eq!((duel.state(1)[ARMOUR], duel.state(1)[HEALTH]), (0, 93));
    duel.edit(1, |state| state[FLAGS] |= SHIELDED);
    // Its shield was over long ago: it ends with the tick in which it stops this one.
    duel.wait(1);
    let input = duel.shot(0, 1);
    duel.edit(1, |state| state[FLAGS] |= SHIELDED);
    duel.take_events(1);
    duel.step(&[(0, input)]);
    assert_eq!((duel.state(1)[HEALTH], duel.take_events(1)), (93, vec![]));
    assert!(duel.take_events(0).contains(&What::Shot {
        target: Some(duel.ids[1]),
        damage: 0,
        killed: false,
        rewound_ms: 0
    }));
}

#[test]
fn who_dies_lies_there_does_nothing_and_comes_back_whole_and_shielded() {
    let mut duel = Duel::new(&[], &[[0; 3], [0, 0, 5 * M]]);
    duel.edit(1, |state| (state[HEALTH], state[ARMOUR], state[LEVEL]) = (3, 0, 4));
    duel.fire(0, 1);
    let died = duel.world.tick();
    let told = duel.take_events(1);
    assert!(told.contains(&What::Died { killer: Some(duel.ids[0]), respawn_ticks: 80 }), "{told:?}");
    assert_ne!(duel.state(1)[FLAGS] & DEAD, 0);
    let place = [duel.state(1)[X], duel.state(1)[Z]];
    while duel.state(1)[FLAGS] & DEAD != 0 {
        let input = Input { move_x: 15, target: 1, weapon: 3, ..duel.shot(1, 0) };
        // Whom it would have shot shoots it: the dead are no targets.
        let other = Input { buttons: FIRE, ..duel.at(0, 1) };
        duel.step(&[(1, input), (0, other)]);
        assert!(duel.world.tick() > died + 79 || [duel.state(1)[X], duel.state(1)[Z]] == place);
    }
    assert_eq!(duel.world.tick(), died + 80);
    assert_eq!(duel.state(0)[HEALTH], 100);
    let state = *duel.state(1);
    assert_eq!((state[HEALTH], state[LEVEL], state[READY]), (100, 4, 0));
    assert_eq!(rounds(&state, Slot::A), [30, 90]);
    assert!(duel.take_events(1).contains(&What::Respawned));
    assert_eq!(duel.world.refusals(duel.ids[1]).unwrap().of(Refusal::Dead), 160);
    // 2 s of shield.
    let shielded = (0..100).take_while(|_| {
        duel.step(&[]);
        duel.state(1)[FLAGS] & SHIELDED != 0
    });
    assert_eq!(shielded.count(), 39);
}

#[test]
fn two_who_shoot_at_once_can_kill_each_other() {
    let mut duel = Duel::new(&[], &[[0; 3], [0, 0, 5 * M]]);
    for n in [0, 1] {
        duel.edit(n, |state| state[HEALTH] = 1);
    }
    let (one, other) = (duel.shot(0, 1), duel.shot(1, 0));
    duel.step(&[(1, other), (0, one)]);
    for n in [0, 1] {
        assert_ne!(duel.state(n)[FLAGS] & DEAD, 0);
        assert!(duel.take_events(n).contains(&What::Progress { xp: 50, level: 2 }));
    }
}

#[test]
fn a_level_is_worth_its_damage_and_stays_after_death() {
    let mut duel = Duel::new(&[], &[[0; 3], [0, 0, 5 * M]]);
    duel.edit(0, |state| state[LEVEL] = 11);
    duel.fire(0, 1);
    // 12 points and a fifth.
    assert_eq!(duel.state(1)[HEALTH], 86);
}

#[test]
fn a_weapon_that_nobody_has_is_refused_by_its_name() {
    let mut duel = Duel::new(&[], &[[0; 3]]);
    duel.step(&[(0, Input { weapon: 9, ..Input::default() })]);
    assert_eq!(duel.take_events(0), [What::Refused { cause: Refusal::Weapon }]);
    duel.step(&[(0, Input { weapon: 1 + BLADE, ..press(FIRE) })]);
    assert_eq!(duel.take_events(0), [What::Refused { cause: Refusal::Rate }], "it is being drawn");
}

/// A target that runs across, and a shooter who sees it `view` 1/32 ticks ago and aims exactly there.
fn shoot_at_a_runner(max_rewind_ms: u16, view: u16) -> (Option<sim::EntityId>, Vec<What>, Vec<What>) {
    let config = WorldConfig { max_rewind_ms, ..ALONE };
    let mut duel = Duel::by(sim::game::Rulebook::standard(), config, &[], &[[0; 3], [-10 * M, 0, 20 * M]]);
    let run = Input { move_x: 15, ..Input::default() };
    for _ in 0..40 {
        duel.step(&[(1, run)]);
    }
    duel.take_events(0);
    // 5 m/s are 64 quanta a tick, and the shot is for the tick to come.
    let back = 64.0 * (f32::from(view) / 32.0 - 1.0);
    let mut chest = sim::game::aim::eye_of(duel.state(1));
    (chest[0], chest[1]) = (chest[0] - back, chest[1] - 100.0);
    let (yaw, pitch) = sim::game::aim::toward(sim::game::aim::eye_of(duel.state(0)), chest);
    let shot = Input { yaw, pitch, view, instant: 15, buttons: FIRE, ..Input::default() };
    duel.step(&[(0, shot), (1, run)]);
    let told = duel.take_events(0);
    let hit = told.iter().find_map(|what| match what {
        What::Shot { target, .. } => *target,
        _ => None,
    });
    (hit, told, duel.take_events(1))
}

#[test]
fn a_shot_hits_where_the_shooter_saw_its_target_and_both_learn_how_far_back_that_was() {
    for view in [32, 48, 90, 100, 160] {
        let (hit, shooter, victim) = shoot_at_a_runner(250, view);
        let ms = (f32::from(view) / 32.0 * 50.0) as u16;
        assert!(hit.is_some(), "view {view}");
        let told = |what: &What| match what {
            What::Shot { rewound_ms, .. } | What::Hurt { rewound_ms, .. } => *rewound_ms == ms,
            _ => false,
        };
        assert!(shooter.iter().any(told) && victim.iter().any(told), "{shooter:?} {victim:?}");
    }
}

#[test]
fn beyond_the_limit_and_without_compensation_such_a_shot_misses() {
    assert_eq!(shoot_at_a_runner(250, 250).0, None);
    assert_eq!(shoot_at_a_runner(0, 100).0, None);
    assert_eq!(shoot_at_a_runner(50, 100).0, None);
}

#[test]
fn a_gate_that_the_shooter_saw_closed_stops_the_shot_however_long_ago_that_was() {
    /// How far back the shooter sees, ticks, and how far the others are set back at most.
    const SEEN: u64 = 10;
    const LIMIT: u64 = 5;
    let gate = Gate { home: solid([5, 0, -2], [6, 3, 0]), along: Axis::Z, travel: 4 * M, speed: 128, ahead_ms: 0 };
    let map = Map::from_parts(HALF_EXTENT_M, &[], &[], &[gate]);
    let mut duel = Duel::on(map, sim::game::Rulebook::standard(), ALONE, &[[0; 3], [10 * M, 0, 0]]);
    let closed = |tick: u64| {
        let at = gate.place(tick, 20);
        (at.min[2]..=at.max[2]).contains(&0)
    };
    let (mut opened_since, mut open_all_along) = (0, 0);
    for _ in 0..400 {
        duel.edit(0, |state| (state[READY], state[AMMO_A]) = (0, 30));
        duel.edit(1, |state| state[HEALTH] = 100);
        let shot = Input { view: SEEN as u16 * 32, ..duel.shot(0, 1) };
        duel.take_events(0);
        duel.step(&[(0, shot)]);
        let told = duel.take_events(0);
        let hit = told.iter().any(|what| matches!(what, What::Shot { target: Some(_), .. }));
        let tick = duel.world.tick();
        let (seen, then) = (closed(tick - SEEN), closed(tick - LIMIT));
        assert_eq!(hit, !seen && !then, "tick {tick}: {told:?}");
        opened_since += u32::from(seen && !then);
        open_all_along += u32::from(!seen && !then);
    }
    assert!(opened_since > 10 && open_all_along > 50, "{opened_since} {open_all_along}");
}

#[test]
fn projectiles_are_told_apart_by_owner_tick_and_number() {
    let mut duel = Duel::new(&[], &[[0; 3]]);
    duel.arm(0, ROCKET);
    duel.step(&[(0, press(FIRE))]);
    let (tick, frame) = (duel.world.tick(), duel.world.frame());
    let row = (0..frame.len()).find(|row| frame.kind(*row) == PROJECTILE).unwrap();
    let state = frame.state(row);
    assert_eq!(state[sim::schema::OWNER] as u32, duel.ids[0].raw());
    assert_eq!((state[sim::schema::LAUNCHED] as u64, state[sim::schema::ORDINAL]), (tick % 4096, 0));
}
