//! Courses: what a frame says has turned is what nobody could have foreseen, and that is little.

use crate::lone::Lone;
use crate::script::{CROWDED, inputs, peaceful, world};
use netcode::schema::{State, extrapolate};
use proptest::prelude::*;
use sim::course::FALL_TICKS;
use sim::input::{JUMP, SPRINT};
use sim::schema::{FLAGS, GROUNDED, PLAYER, STAMINA, VX, VZ, Y};
use sim::{EntityId, Frame, Input, SCHEMA, StaticBox, World, WorldConfig};
use std::collections::BTreeMap;

const RATES: [u16; 5] = [20, 30, 60, 100, 128];

/// What everybody could have guessed of a lone player's next tick.
fn guess(rate_hz: u16, state: &State) -> State {
    extrapolate(&SCHEMA.kinds[usize::from(PLAYER)], rate_hz, 1, state)
}

/// The ticks (from 1) in which a player with these inputs turns.
fn turns(body: &mut Lone, rate_hz: u16, inputs: impl Iterator<Item = Input>) -> Vec<usize> {
    let turned = |input| {
        let expected = guess(rate_hz, &body.state);
        body.step(input) != expected
    };
    inputs.map(turned).zip(1..).filter(|(turned, _)| *turned).map(|(_, tick)| tick).collect()
}

#[test]
fn a_straight_walk_turns_only_while_it_gathers_speed() {
    for rate_hz in RATES {
        for (move_x, move_z, buttons) in [(15, 0, 0), (7, -13, 0), (-1, 2, 0), (-11, 11, SPRINT), (0, 1, SPRINT)] {
            let mut body = Lone::new(rate_hz, &[], [0; 3]);
            let input = Input { move_x, move_z, buttons, ..Input::default() };
            let turned = turns(&mut body, rate_hz, std::iter::repeat_n(input, usize::from(rate_hz)));
            // From nothing to full speed at 50 m/s², in whole quanta.
            let gathering = usize::from(rate_hz) / 5 + 2;
            assert!(turned.iter().all(|tick| *tick <= gathering), "{rate_hz} Hz, {input:?}: {turned:?}");
        }
    }
}

#[test]
fn a_jump_in_the_open_turns_at_take_off_and_at_landing() {
    for rate_hz in RATES {
        for move_x in [0, 15, -9] {
            let mut body = Lone::new(rate_hz, &[], [0; 3]);
            let walk = Input { move_x, ..Input::default() };
            for _ in 0..rate_hz {
                body.step(walk);
            }
            let jump = Input { buttons: JUMP, ..walk };
            let mut landed = None;
            let flight = std::iter::once(jump).chain(std::iter::repeat_n(walk, usize::from(rate_hz)));
            for (input, tick) in flight.zip(1..) {
                let (expected, flew) = (guess(rate_hz, &body.state), body.state[FLAGS] & GROUNDED == 0);
                let turned = body.step(input) != expected;
                let lands = flew && body.state[FLAGS] & GROUNDED != 0;
                landed = landed.or(lands.then_some(tick));
                assert_eq!(turned, tick == 1 || lands, "{rate_hz} Hz, tick {tick}");
            }
            // 7 m/s up against 20 m/s² take 0.7 s.
            assert!((0.6..0.85).contains(&(f64::from(landed.unwrap()) / f64::from(rate_hz))), "{rate_hz} Hz");
        }
    }
}

#[test]
fn a_long_fall_is_guessed_down_to_the_last_tick() {
    for rate_hz in RATES {
        let mut body = Lone::new(rate_hz, &[], [0, 60_000, 0]);
        let mut ticks = 0;
        while body.state[Y] > 0 {
            let expected = guess(rate_hz, &body.state);
            body.step(Input::default());
            assert!(body.state == expected || body.state[Y] == 0, "{rate_hz} Hz, tick {ticks}");
            ticks += 1;
        }
    }
}

#[test]
fn who_slides_along_a_wall_is_on_course() {
    let wall = StaticBox { min: [500, 0, -4000], max: [900, 800, 4000] };
    for rate_hz in RATES {
        let mut body = Lone::new(rate_hz, &[wall], [300, 0, -3000]);
        let push = Input { move_x: 11, move_z: 11, ..Input::default() };
        let turned = turns(&mut body, rate_hz, std::iter::repeat_n(push, usize::from(rate_hz)));
        assert!(turned.iter().all(|tick| *tick <= usize::from(rate_hz) / 3), "{rate_hz} Hz: {turned:?}");
        assert!(body.state[VZ] > 0 && body.state[VX] == 0);
    }
}

/// What a reader of frames keeps to check the next one: of everybody the kind, the state and both courses.
#[derive(Default)]
struct Shadow {
    tick: u64,
    rows: BTreeMap<EntityId, (u8, State, u64, u64)>,
}

impl Shadow {
    /// Compares a frame with what the states of the last one say, and keeps it.
    fn check(&mut self, frame: &Frame, rate_hz: u16) -> Result<(), TestCaseError> {
        prop_assert_eq!(frame.prev, self.tick);
        let ticks = (frame.tick - self.tick) as u32;
        let mut turned = Vec::new();
        let mut rows = BTreeMap::new();
        for row in 0..frame.len() {
            let (id, kind, state) = (frame.id(row), frame.kind(row), *frame.state(row));
            let (course, course_own) = match self.rows.get(&id) {
                None => (frame.tick, frame.tick),
                Some((_, before, course, course_own)) => {
                    let table = SCHEMA.kind(kind).unwrap();
                    let expected = extrapolate(table, rate_hz, ticks, before);
                    let long = table.falls(&state) && frame.tick - course >= FALL_TICKS;
                    let shown = table.visible(false, &expected) != table.visible(false, &state) || long;
                    let own = shown || expected != state;
                    (if shown { frame.tick } else { *course }, if own { frame.tick } else { *course_own })
                }
            };
            prop_assert_eq!((frame.course(row), frame.course_own(row)), (course, course_own), "{:?}", state);
            if course_own == frame.tick {
                turned.push(row as u32);
            }
            rows.insert(id, (kind, state, course, course_own));
        }
        prop_assert_eq!(frame.turned(), turned);
        let gone: Vec<_> = self.rows.keys().filter(|id| !rows.contains_key(id)).copied().collect();
        prop_assert_eq!(frame.removed(), gone);
        (self.tick, self.rows) = (frame.tick, rows);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn courses_and_lists_equal_brute_force_while_entities_come_and_go_and_ticks_are_left_out(
        seed: u64,
        rate_hz in 10u16..=128,
        churn in prop::collection::vec((0usize..4, 0usize..4, 0u32..40), 60),
    ) {
        let (mut world, mut players) = world(WorldConfig { seed, rate_hz, npcs: 16, ..CROWDED }, 24);
        let mut shadow = Shadow::default();
        for ((joins, leaves, skip), round) in churn.into_iter().zip(3..) {
            players.extend((0..joins).map(|_| world.spawn_player().unwrap()));
            for _ in 0..leaves.min(players.len()) {
                world.despawn(players.remove(round * 31 % players.len()));
            }
            // Somebody whom no frame ever shows.
            let ghost = world.spawn_player().unwrap();
            world.skip(skip.saturating_sub(36) * 30);
            world.despawn(ghost);
            world.step(&inputs(&world, &players));
            shadow.check(&world.frame(), rate_hz)?;
        }
    }
}

#[test]
fn a_frame_between_two_steps_lists_who_came_and_went_since() {
    let (mut world, players) = world(CROWDED, 8);
    world.step(&inputs(&world, &players));
    world.step(&[]);
    let before = world.frame();
    world.despawn(players[3]);
    let id = world.spawn_player().unwrap();
    let frame = world.frame();
    assert_eq!((frame.tick, frame.prev), (before.tick, before.prev));
    assert_eq!(frame.removed(), [players[3]]);
    let row = frame.row(id).unwrap();
    assert!(frame.turned().contains(&(row as u32)) && frame.course(row) > frame.tick);
    let turned = |frame: &Frame| frame.turned().iter().map(|row| frame.id(*row as usize)).collect::<Vec<_>>();
    let mut expected = turned(&before);
    expected.retain(|other| *other != players[3]);
    expected.push(id);
    assert_eq!(turned(&frame), expected);
    assert!(turned(&frame).is_sorted());
}

#[test]
fn who_stands_does_not_turn_in_ticks_left_out_and_who_walks_does() {
    let (mut world, players) = world(WorldConfig { npcs: 0, ..CROWDED }, 2);
    let walk = |world: &mut World| world.step(&[(players[0], Input { move_x: 5, ..Input::default() })]);
    for _ in 0..20 {
        walk(&mut world);
    }
    let rows = {
        let frame = world.frame();
        assert!(frame.turned().is_empty());
        [0, 1].map(|n| frame.row(players[n]).unwrap())
    };
    world.skip(3);
    walk(&mut world);
    let frame = world.frame();
    assert_eq!((frame.tick, frame.prev), (24, 20));
    assert_eq!(frame.turned(), [rows[0] as u32]);
    assert_eq!(frame.course(rows[1]), 1);
}

#[test]
fn stamina_turns_for_the_owner_only_and_a_sprint_ends_where_it_does() {
    let config =
        WorldConfig { npcs: 0, map: sim::MapConfig { half_extent_m: 200, boxes: 0, gates: 0, ramps: 0 }, ..CROWDED };
    let (mut world, players) = world(config, 1);
    let run = [(players[0], Input { move_x: 3, buttons: SPRINT, ..Input::default() })];
    let (mut beats, mut shown, mut tired) = (0, Vec::new(), None);
    for tick in 1..=15 * 20u64 {
        world.step(&run);
        let frame = world.frame();
        beats += u32::from(frame.course_own(0) == tick && frame.course(0) < tick);
        if frame.course(0) == tick {
            shown.push(tick);
        }
        if frame.state(0)[STAMINA] == 0 {
            tired = tired.or(Some(tick));
        }
    }
    // 21 beats of 3, twice a second.
    let tired = tired.unwrap();
    assert!((190..=220).contains(&tired), "{tired}");
    // To speed, down to a walk; up again when the breath is back, and so on. Once the shield of who has just come ends.
    assert!(shown.iter().all(|tick| *tick <= 2 || *tick == 41 || *tick > tired), "{shown:?}");
    assert!((25..=30).contains(&beats), "{beats}");
}

/// Inputs that change every few seconds, as people's do, and how many ticks each lasts.
fn leg(id: EntityId, tick: u64) -> Input {
    let leg = sim::rng::mix(u64::from(id.raw()) << 32 | ((tick + u64::from(id.index()) * 13) / 50));
    let walks = !leg.is_multiple_of(5);
    let share = |at: u32| if walks { (leg >> at & 31) as i8 - 16 } else { 0 };
    let jump = sim::rng::mix(leg ^ tick).is_multiple_of(100);
    Input {
        move_x: share(8),
        move_z: share(16),
        yaw: (leg >> 24) as u16,
        buttons: u8::from(jump) * JUMP,
        ..Input::default()
    }
}

#[test]
fn wanderers_are_on_course_but_for_new_inputs_and_their_acceleration() {
    let config =
        WorldConfig { npcs: 200, map: sim::MapConfig { half_extent_m: 150, boxes: 60, gates: 0, ramps: 0 }, ..CROWDED };
    let mut world = World::with_book(WorldConfig { spawn_half_extent_m: 120, ..config }, peaceful()).unwrap();
    let players: Vec<_> = (0..200).map(|_| world.spawn_player().unwrap()).collect();
    let (mut pairs, mut turned) = (0, 0);
    for tick in 1..=600u64 {
        let wanted: Vec<_> = players.iter().map(|id| (*id, leg(*id, tick))).collect();
        let before = world.frame();
        world.step(&wanted);
        let frame = world.frame();
        for row in 0..frame.len() {
            let (id, state) = (frame.id(row), frame.state(row));
            let new_input = frame.kind(row) == PLAYER && leg(id, tick) != leg(id, tick - 1);
            let faster = [VX, VZ].iter().any(|axis| state[*axis] != before.state(row)[*axis]);
            if tick > 5 && !new_input && !faster {
                pairs += 1;
                turned += u32::from(frame.course(row) == tick);
            }
        }
    }
    assert!(pairs > 200_000 && turned * 20 <= pairs, "{turned} of {pairs}");
    // And of all pairs, accelerations included, not one in eight.
    let all = (1..=40).map(|_| {
        world.step(&players.iter().map(|id| (*id, leg(*id, world.tick() + 1))).collect::<Vec<_>>());
        world.frame().turned().len()
    });
    let (all, of) = (all.sum::<usize>(), 40 * world.len());
    assert!(all * 8 <= of, "{all} of {of}");
}
