//! Who is near: the fat tree against looking at everybody.

use crate::script::{CROWDED, inputs, world};
use proptest::prelude::*;
use sim::space::REBUILD_TICKS;
use sim::{Frame, WorldConfig};

fn brute_force(frame: &Frame, [x, z]: [f32; 2], radius: f32) -> Vec<u32> {
    let near = |row: &u32| {
        let at = frame.position_m(*row as usize);
        let (dx, dz) = (f64::from(at[0]) - f64::from(x), f64::from(at[2]) - f64::from(z));
        dx * dx + dz * dz <= f64::from(radius) * f64::from(radius)
    };
    (0..frame.len() as u32).filter(near).collect()
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
