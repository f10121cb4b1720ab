//! Who is near, and who is nearest: the fat tree against looking at everybody.

use crate::script::{CROWDED, inputs, world};
use proptest::prelude::*;
use sim::schema::{X, Z};
use sim::space::REBUILD_TICKS;
use sim::spots::Neighbour;
use sim::{Frame, Input, MapConfig, WorldConfig};

fn brute_force(frame: &Frame, [x, z]: [f32; 2], radius: f32) -> Vec<u32> {
    let near = |row: &u32| {
        let at = frame.position_m(*row as usize);
        let (dx, dz) = (f64::from(at[0]) - f64::from(x), f64::from(at[2]) - f64::from(z));
        dx * dx + dz * dz <= f64::from(radius) * f64::from(radius)
    };
    (0..frame.len() as u32).filter(near).collect()
}

/// The grid position of a place, and everybody by squared distance from it and row.
fn by_distance(frame: &Frame, center: [f32; 2]) -> Vec<(u64, u32)> {
    let [x, z] = center.map(|metres| (metres * 256.0 + 0.5).floor() as i64);
    let square = |state: &[i32]| ((i64::from(state[X]) - x).pow(2) + (i64::from(state[Z]) - z).pow(2)) as u64;
    let mut all: Vec<_> = frame.states().iter().map(|state| square(state)).zip(0..).collect();
    all.sort_unstable();
    all
}

fn check_nearest(frame: &Frame, center: [f32; 2], radius: f32, at_most: usize) -> Result<(), TestCaseError> {
    let mut found = vec![Neighbour::new(7, 7)];
    frame.nearest(center, radius, at_most, &mut found);
    let limit = (f64::from(radius) * 256.0).powi(2);
    let mut expected = by_distance(frame, center);
    expected.retain(|(square, _)| *square as f64 <= limit);
    expected.truncate(at_most);
    let found: Vec<_> = found.iter().map(|one| (one.square(), one.row())).collect();
    prop_assert_eq!(found, expected, "{:?} {} {}", center, radius, at_most);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_query_equals_brute_force_while_entities_come_move_and_go(
        seed: u64,
        rate_hz in 10u16..=128,
        areas in prop::collection::vec((-60.0f32..60.0, -60.0f32..60.0, 0.0f32..40.0), 4),
        churn in prop::collection::vec(0usize..6, 3 * REBUILD_TICKS as usize),
    ) {
        let (mut world, mut players) = world(WorldConfig { seed, rate_hz, ..CROWDED }, 40);
        let mut found = Vec::new();
        for joins in churn {
            for _ in 0..joins {
                players.push(world.spawn_player().unwrap());
            }
            world.despawn(players.remove(joins));
            let check = |world: &sim::World, found: &mut Vec<u32>| {
                let frame = world.frame();
                for (x, z, radius) in &areas {
                    frame.query([*x, *z], *radius, found);
                    prop_assert_eq!(&*found, &brute_force(&frame, [*x, *z], *radius));
                    for at_most in [1, 10, 1000] {
                        check_nearest(&frame, [*x, *z], *radius, at_most)?;
                    }
                }
                Ok(())
            };
            // Also between a spawn and the step that follows.
            check(&world, &mut found)?;
            world.step(&inputs(&world, &players));
            check(&world, &mut found)?;
        }
    }
}

#[test]
fn the_nearest_of_a_crowd_are_found_from_within_from_its_edge_and_from_afar() {
    // 400 on 12 m by 12 m, and a few all over the rest.
    let crowd =
        WorldConfig { npcs: 400, spawn_half_extent_m: 6, map: MapConfig { boxes: 0, ..CROWDED.map }, ..CROWDED };
    let (mut world, players) = world(crowd, 20);
    let out = |n: i8| Input { move_x: n % 5 * 7 - 14, move_z: n / 5 * 8 - 12, ..Input::default() };
    for _ in 0..150 {
        world.step(&players.iter().copied().zip((0..).map(out)).collect::<Vec<_>>());
    }
    let frame = world.frame();
    for center in [[0.0, 0.0], [6.0, 2.3], [9.0, -9.0], [40.0, 40.0], [-48.0, 3.0], [300.0, 0.0], [8000.0, 8000.0]] {
        for at_most in [1, 2, 16, 100, 399, 400, 419, 420, 421, 5000] {
            for radius in [0.0, 1.0, 7.5, 30.0, 300.0, 20_000.0] {
                check_nearest(&frame, center, radius, at_most).unwrap();
            }
        }
    }
    let mut found = Vec::new();
    frame.nearest([8193.0, 0.0], 1e5, 5, &mut found);
    assert!(found.is_empty(), "too far out");
}

#[test]
fn a_frame_stays_as_it_was_while_the_world_moves_on() {
    let (mut world, players) = world(CROWDED, 20);
    world.step(&inputs(&world, &players));
    let (before, mut rows) = (world.frame(), Vec::new());
    before.query([0.0, 0.0], 30.0, &mut rows);
    let positions: Vec<_> = rows.iter().map(|row| before.position_m(*row as usize)).collect();
    for _ in 0..20 {
        world.step(&inputs(&world, &players));
        world.despawn(players[world.tick() as usize % 20]);
    }
    let mut again = Vec::new();
    before.query([0.0, 0.0], 30.0, &mut again);
    assert_eq!(rows, again);
    assert!(positions.iter().zip(&again).all(|(at, row)| *at == before.position_m(*row as usize)));
}

#[test]
fn rows_and_ids_agree_and_the_gone_are_gone() {
    let (mut world, players) = world(CROWDED, 30);
    for gone in &players[10..20] {
        assert!(world.despawn(*gone));
        assert!(!world.despawn(*gone));
    }
    for frame in [world.frame(), {
        world.step(&[]);
        world.frame()
    }] {
        assert!(frame.ids().is_sorted());
        for row in 0..frame.len() {
            assert_eq!(frame.row(frame.id(row)), Some(row));
        }
        assert!(players[10..20].iter().all(|gone| frame.row(*gone).is_none()));
    }
}
