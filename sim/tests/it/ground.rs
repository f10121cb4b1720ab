//! Steps, ramps and gates: who walks keeps the ground and its course, and nobody is trapped.

use crate::lone::Lone;
use netcode::schema::{State, extrapolate};
use proptest::prelude::*;
use sim::gate::{Axis, MAX_GATE_SPEED};
use sim::input::{JUMP, SPRINT};
use sim::movement::{MAX_DEPTH, WALK_SPEED_MPS};
use sim::ramp::{MAX_RUN, Side};
use sim::schema::{FLAGS, GROUNDED, PLAYER, VELOCITY_QUANTA, VX, VY, VZ, X, Y, Z};
use sim::support::STEP;
use sim::{Gate, Input, Map, MapConfig, Ramp, SCHEMA, StaticBox};

const RATES: [u16; 6] = [10, 20, 30, 60, 100, 128];
const EAST: Input =
    Input { move_x: 15, move_z: 0, yaw: 0, pitch: 0, buttons: 0, weapon: 0, view: 0, instant: 0, target: 0 };

fn guess(rate_hz: u16, state: &State) -> State {
    extrapolate(&SCHEMA.kinds[usize::from(PLAYER)], rate_hz, 1, state)
}

fn grounded(state: &State) -> bool {
    state[FLAGS] & GROUNDED != 0
}

fn ramp(run: i32, up: Side) -> Ramp {
    let length = 480 * run;
    let min = match up {
        Side::East => [0, 0, -600],
        Side::West => [-length, 0, -600],
        Side::South => [-600, 0, 0],
        Side::North => [-600, 0, -length],
    };
    Ramp { min, height: 480, width: 1200, run, up }
}

/// The input that walks up.
fn uphill(up: Side, share: i8, across: i8) -> Input {
    let (move_x, move_z) = match up {
        Side::East => (share, across),
        Side::West => (-share, across),
        Side::South => (across, share),
        Side::North => (across, -share),
    };
    Input { move_x, move_z, ..Input::default() }
}

#[test]
fn who_walks_up_and_down_a_ramp_keeps_the_ground_its_speed_and_its_course() {
    for rate_hz in RATES {
        for run in 1..=MAX_RUN {
            for up in [Side::East, Side::West, Side::South, Side::North] {
                let mut body = Lone::among(rate_hz, &[ramp(run, up)], &[], [0; 3]);
                let axis = if matches!(up, Side::East | Side::West) { X } else { Z };
                let sign = if matches!(up, Side::East | Side::South) { 1 } else { -1 };
                body.state[axis] = -sign * 800;
                let (mut turns, mut highest, mut slow) = (0, 0, 0);
                let mut walk = |body: &mut Lone, share: i8, until: &dyn Fn(&State) -> bool| {
                    for tick in 0.. {
                        let expected = guess(rate_hz, &body.state);
                        let state = body.step(uphill(up, share, 0));
                        assert!(grounded(&state) && body.free(), "{rate_hz} Hz, 1:{run} {up:?}: {state:?}");
                        turns += i32::from(state != expected);
                        highest = highest.max(state[Y]);
                        slow += i32::from(state[VX + axis].abs() < 3 * VELOCITY_QUANTA);
                        if until(&state) {
                            return;
                        }
                        assert!(tick < 2000, "{state:?}");
                    }
                };
                walk(&mut body, 15, &|state| state[Y] >= 400);
                walk(&mut body, -15, &|state| state[Y] == 0 && state[axis] * sign < -300);
                assert!(highest >= 400);
                // To gather speed, onto it, to turn around, off it; a slope of more than two may take a tick to fit.
                let gathering = 3 * i32::from(rate_hz) / 10 + 6;
                assert!(turns <= gathering + 8, "{rate_hz} Hz, 1:{run} {up:?}: {turns}");
                assert!(slow <= gathering, "{rate_hz} Hz, 1:{run} {up:?}: {slow}");
            }
        }
    }
}

#[test]
fn a_straight_walk_up_a_ramp_is_guessed_exactly_in_any_direction() {
    for rate_hz in RATES {
        for (share, across) in [(15, 0), (11, 11), (4, -15), (9, 2)] {
            let mut body = Lone::among(rate_hz, &[ramp(2, Side::East)], &[], [100, 0, 0]);
            body.state[Y] = 100;
            let mut climbed = 0;
            for tick in 0..rate_hz {
                let expected = guess(rate_hz, &body.state);
                let state = body.step(uphill(Side::East, share, across));
                let midway = (150..700).contains(&state[X]) && state[Z].abs() < 500;
                if tick > rate_hz / 4 && midway {
                    assert_eq!(state, expected, "{rate_hz} Hz, {share} {across}");
                    climbed += state[VY];
                }
            }
            assert!(climbed > 0 || rate_hz < 20 || across != 0, "{rate_hz} Hz, {share} {across}");
        }
    }
}

#[test]
fn who_stops_on_a_ramp_stands_there() {
    for rate_hz in RATES {
        let mut body = Lone::among(rate_hz, &[ramp(2, Side::East)], &[], [0; 3]);
        body.state[X] = -300;
        while body.state[Y] < 200 {
            body.step(EAST);
        }
        for _ in 0..rate_hz {
            body.step(Input::default());
        }
        let rest = body.state;
        assert!(grounded(&rest) && rest[Y] > 150 && [VX, VY, VZ].iter().all(|axis| rest[*axis] == 0), "{rest:?}");
        for _ in 0..50 {
            assert_eq!(body.step(Input::default()), rest);
        }
    }
}

#[test]
fn who_falls_or_jumps_onto_a_ramp_lands_on_it() {
    for rate_hz in RATES {
        for x in (-90..900).step_by(37) {
            let mut body = Lone::among(rate_hz, &[ramp(2, Side::East)], &[], [x, 900, 0]);
            let mut landed = (0..3 * rate_hz).map(|_| body.step(Input::default()));
            let state = landed.find(grounded).unwrap();
            assert_eq!((state[X], state[VY]), (x, 0));
            assert!(body.free());
        }
        let mut body = Lone::among(rate_hz, &[ramp(2, Side::East)], &[], [-500, 0, 0]);
        for _ in 0..2 * rate_hz {
            body.step(Input { buttons: JUMP, ..EAST });
            assert!(body.free());
        }
        assert!(body.state[X] > 500);
    }
}

/// Stairs along x from 600 on, each step so high and so deep.
fn stairs(height: i32, depth: i32) -> Vec<StaticBox> {
    (1..=6).map(|n| StaticBox { min: [500 + n * depth, 0, -1000], max: [4000, n * height, 1000] }).collect()
}

#[test]
fn steps_of_four_tenths_of_a_metre_are_walked_up_and_down() {
    for rate_hz in RATES {
        for (height, depth) in [(46, 72), (80, 90), (STEP, 140), (STEP, 300), (20, 40)] {
            for buttons in [0, SPRINT] {
                let mut body = Lone::new(rate_hz, &stairs(height, depth), [0; 3]);
                let walk = |body: &mut Lone, move_x: i8| {
                    for _ in 0..rate_hz {
                        let state = body.step(Input { move_x, buttons, ..Input::default() });
                        assert!(grounded(&state) && body.free(), "{rate_hz} Hz, {height} {depth}: {state:?}");
                    }
                };
                for _ in 0..5 {
                    walk(&mut body, 15);
                }
                assert_eq!(body.state[Y], 6 * height, "{rate_hz} Hz, {height} {depth}");
                for _ in 0..5 {
                    walk(&mut body, -15);
                }
                assert_eq!(body.state[Y], 0, "{rate_hz} Hz, {height} {depth}");
            }
        }
    }
}

#[test]
fn a_step_costs_no_speed_and_what_is_higher_is_a_wall() {
    for rate_hz in RATES {
        for (height, passes) in [(STEP, true), (STEP + 1, false), (128, false)] {
            let kerb = StaticBox { min: [700, 0, -2000], max: [3500, height, 2000] };
            let mut body = Lone::new(rate_hz, &[kerb], [0; 3]);
            let mut slowest = i32::MAX;
            for tick in 0..2 * rate_hz {
                let state = body.step(EAST);
                if tick > rate_hz / 5 + 2 {
                    slowest = slowest.min(state[VX]);
                }
            }
            assert_eq!(body.state[Y] == height, passes, "{rate_hz} Hz: {:?}", body.state);
            // Full speed but for what whole quanta take.
            let full = WALK_SPEED_MPS as i32 * VELOCITY_QUANTA - i32::from(rate_hz) / 4 - 1;
            assert_eq!(slowest >= full, passes, "{rate_hz} Hz: {slowest}");
        }
    }
}

#[test]
fn nobody_steps_up_into_a_ceiling() {
    let low = StaticBox { min: [600, 520, -2000], max: [3000, 600, 2000] };
    let kerb = StaticBox { min: [600, 0, -2000], max: [3000, STEP, 2000] };
    for rate_hz in RATES {
        let mut body = Lone::new(rate_hz, &[kerb, low], [0; 3]);
        for _ in 0..2 * rate_hz {
            let state = body.step(Input { move_z: 3, ..EAST });
            assert!(body.free() && grounded(&state));
        }
        assert!(body.state[X] < 600 && body.state[Z] > 200, "{:?}", body.state);
        for _ in 0..rate_hz {
            body.step(Input { move_x: -15, ..Input::default() });
        }
        assert!(body.state[X] < -500, "it can go back: {:?}", body.state);
    }
}

#[test]
fn who_walks_off_a_wall_falls_and_who_walks_off_a_step_does_not() {
    for rate_hz in RATES {
        for (height, falls) in [(STEP, false), (200, true), (512, true)] {
            let ledge = StaticBox { min: [-2000, 0, -2000], max: [500, height, 2000] };
            let mut body = Lone::new(rate_hz, &[ledge], [0, height, 0]);
            let mut fell = false;
            for _ in 0..2 * rate_hz {
                // The first step finds the ground.
                fell |= !grounded(&body.step(EAST));
                assert!(body.free());
            }
            assert_eq!((fell, body.state[Y]), (falls, 0), "{rate_hz} Hz, {height}");
        }
    }
}

fn gate(home: StaticBox, along: Axis, travel: i32) -> Gate {
    Gate { home, along, travel, speed: MAX_GATE_SPEED, ahead_ms: 0 }
}

#[test]
fn a_gate_pushes_who_stands_in_its_way_and_that_is_a_course() {
    for rate_hz in RATES {
        let slider = gate(StaticBox { min: [-1000, 0, -500], max: [-900, 700, 500] }, Axis::X, 2000);
        for z in [0, 480, 560, -590] {
            let mut body = Lone::among(rate_hz, &[], &[slider], [0, 0, z]);
            let (mut turns, mut pushed) = (0, 0);
            for _ in 0..20 * i32::from(rate_hz) {
                let expected = guess(rate_hz, &body.state);
                let state = body.step(Input::default());
                assert!(body.free_of_gates() && grounded(&state), "{rate_hz} Hz, {z}: {state:?}");
                turns += i32::from(state != expected);
                pushed += i32::from(state[VX] > 0);
            }
            if z == 0 {
                assert!(body.state[X] >= 1100 + 104 && pushed > i32::from(rate_hz), "{rate_hz} Hz: {:?}", body.state);
                assert!(turns <= 6, "{rate_hz} Hz: {turns}");
            }
        }
    }
}

#[test]
fn who_walks_against_a_gate_is_stopped_and_pushed_like_by_a_wall() {
    for rate_hz in RATES {
        let slider = gate(StaticBox { min: [500, 0, -500], max: [600, 700, 500] }, Axis::X, 1500);
        for buttons in [0, SPRINT, JUMP] {
            let mut body = Lone::among(rate_hz, &[], &[slider], [0; 3]);
            for _ in 0..20 * rate_hz {
                body.step(Input { buttons, ..EAST });
                assert!(body.free_of_gates(), "{rate_hz} Hz: {:?}", body.state);
                let face = slider.place(body.tick, rate_hz).min[0];
                assert!(body.state[X] <= face - 104 + MAX_DEPTH);
            }
        }
    }
}

#[test]
fn a_gate_that_squeezes_somebody_against_a_wall_lets_go_again() {
    for rate_hz in RATES {
        for (z, thick) in [(0, 100), (0, 900), (450, 300), (590, 100)] {
            let wall = StaticBox { min: [900, 0, -2000], max: [1000, 900, 2000] };
            let slider =
                gate(StaticBox { min: [-1000, 0, -500], max: [-1000 + thick, 700, 500] }, Axis::X, 1850 - thick);
            let map = Map::from_parts(16, &[wall], &[], &[slider]);
            let mut body = Lone::on(map, rate_hz, [500, 0, z]);
            for input in [Input::default(), EAST, Input { move_z: 15, ..Input::default() }] {
                let mut freed = 0;
                for _ in 0..20 * rate_hz {
                    body.step(input);
                    assert!(body.free(), "{:?}", body.state);
                    freed += u32::from(body.free_of_gates());
                }
                assert!(freed > u32::from(rate_hz) * 4, "{rate_hz} Hz {z} {thick}: {freed}");
            }
            // And nothing holds it.
            let away = Input { move_z: 15, ..Input::default() };
            assert!((0..20 * rate_hz).any(|_| body.step(away)[Z] > 1500), "{rate_hz} Hz {z} {thick}: {:?}", body.state);
        }
    }
}

#[test]
fn who_is_in_a_gate_after_ticks_left_out_is_shoved_out() {
    for rate_hz in RATES {
        let slider = gate(StaticBox { min: [-1000, 0, -500], max: [-300, 700, 500] }, Axis::X, 2000);
        for skip in [3, 10, 30, 100] {
            let mut body = Lone::among(rate_hz, &[], &[slider], [0; 3]);
            for _ in 0..rate_hz {
                body.step(Input::default());
                body.tick += skip;
            }
            let mut freed = 0;
            for _ in 0..12 * rate_hz {
                body.step(Input::default());
                freed += u32::from(body.free_of_gates());
            }
            assert!(freed + 8 >= 12 * u32::from(rate_hz), "{rate_hz} Hz {skip}: {freed}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn on_generated_maps_nobody_is_ever_in_a_gate_or_stuck(
        seed: u64,
        rate_hz in 10u16..=128,
        at in prop::collection::vec((-3000i32..3000, -3000i32..3000), 4),
        legs in prop::collection::vec((-16i8..=15, -16i8..=15, 0u8..4, 1u16..40), 1..20),
    ) {
        let config = MapConfig { half_extent_m: 16, boxes: 1, gates: 2, ramps: 1 };
        let map = Map::generate(seed, config).unwrap();
        for (x, z) in at {
            let mut body = Lone::on(map.clone(), rate_hz, [x, 0, z]);
            if !body.free() || !body.free_of_gates() {
                continue;
            }
            for (move_x, move_z, buttons, ticks) in &legs {
                for _ in 0..*ticks {
                    body.step(Input { move_x: *move_x, move_z: *move_z, yaw: 0, buttons: *buttons, ..EAST });
                    prop_assert!(body.free() && body.free_of_gates(), "{:?}", body.state);
                }
            }
            // From wherever it came to be, it gets away: some direction leads a metre on within four seconds.
            let from = body.feet();
            let directions = [(15, 0), (-16, 0), (0, 15), (0, -16)];
            let moved = directions.iter().any(|(move_x, move_z)| {
                (0..rate_hz).any(|_| {
                    let state = body.step(Input { move_x: *move_x, move_z: *move_z, ..EAST });
                    (state[X] - from[0]).abs() + (state[Z] - from[2]).abs() > 256
                })
            });
            prop_assert!(moved, "{:?}", body.state);
        }
    }
}
