//! Bodies keep to the rules: bounds, boxes, speeds, ranges, rest.

use crate::lone::{HALF_EXTENT_M, Lone};
use crate::script::{CROWDED, inputs, world};
use netcode::schema::State;
use proptest::prelude::*;
use sim::contact::{RADIUS, deeper_than};
use sim::gate::{Axis, MAX_GATE_SPEED};
use sim::movement::{MAX_DEPTH, MAX_FALL_SPEED_MPS, MAX_HORIZONTAL_SPEED_MPS, MAX_SHOVE};
use sim::ramp::{MAX_RUN, Side};
use sim::schema::{FLAGS, GROUNDED, PLAYER, QUANTA_PER_M, VELOCITY_QUANTA, VX, VY, VZ, X, Y, Z, in_range};
use sim::statics::Solid;
use sim::{EntityId, Gate, Input, Map, MapConfig, Ramp, StaticBox, WorldConfig};

fn check_range(state: &State, half_extent: i32) -> Result<(), TestCaseError> {
    prop_assert!(in_range(PLAYER, state), "{:?}", state);
    let edge = half_extent - RADIUS;
    prop_assert!(state[X].abs() <= edge && state[Z].abs() <= edge && state[Y] >= 0, "{:?}", state);
    Ok(())
}

/// Nobody is faster, but for the push of a gate.
fn check_speed(state: &State, gates: &[Gate]) -> Result<(), TestCaseError> {
    let push = if gates.is_empty() { 0.0 } else { f64::from(MAX_GATE_SPEED) / f64::from(VELOCITY_QUANTA) };
    let [vx, vy, vz] = [VX, VY, VZ].map(|axis| f64::from(state[axis]) / f64::from(VELOCITY_QUANTA));
    prop_assert!((vx * vx + vz * vz).sqrt() <= f64::from(MAX_HORIZONTAL_SPEED_MPS) + push, "{:?}", state);
    prop_assert!(vy >= -f64::from(MAX_FALL_SPEED_MPS), "{:?}", state);
    Ok(())
}

fn any_input() -> impl Strategy<Value = Input> {
    // Extremes more often than chance would have it.
    let share = prop_oneof![Just(-16i8), Just(15), Just(0), any::<i8>()];
    (share.clone(), share, any::<u16>(), any::<u8>()).prop_map(|(move_x, move_z, yaw, buttons)| Input {
        move_x,
        move_z,
        yaw,
        buttons,
        ..Input::default()
    })
}

/// Ramps of any kind anywhere.
fn any_ramp() -> impl Strategy<Value = Ramp> {
    let up = prop_oneof![Just(Side::East), Just(Side::West), Just(Side::South), Just(Side::North)];
    let place = (-4000i32..4000, 0i32..800, -4000i32..4000);
    (place, 1i32..700, 1i32..1500, 1..=MAX_RUN, up).prop_map(|((x, y, z), height, width, run, up)| Ramp {
        min: [x, y, z],
        height,
        width,
        run,
        up,
    })
}

/// Gates of any kind anywhere, in boxes and ramps too.
fn any_gate() -> impl Strategy<Value = Gate> {
    let along = prop_oneof![Just(Axis::X), Just(Axis::Z)];
    (any_box(), along, 0i32..3000, 1..=MAX_GATE_SPEED, any::<u32>())
        .prop_map(|(home, along, travel, speed, ahead_ms)| Gate { home, along, travel, speed, ahead_ms })
}

/// Boxes of any size anywhere, thin ones and overlapping ones too.
fn any_box() -> impl Strategy<Value = StaticBox> {
    let corner = || (-4000i32..4000, 0i32..1500, -4000i32..4000);
    let size = || (1i32..1500, 1i32..700, 1i32..1500);
    (corner(), size()).prop_map(|((x, y, z), (dx, dy, dz))| StaticBox { min: [x, y, z], max: [x + dx, y + dy, z + dz] })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_input_leads_out_of_bounds_into_a_box_or_beyond_a_speed(
        rate_hz in 10u16..=128,
        boxes in prop::collection::vec(any_box(), 0..16),
        ramps in prop::collection::vec(any_ramp(), 0..10),
        gates in prop::collection::vec(any_gate(), 0..4),
        at in (-3900i32..3900, 0i32..3000, -3900i32..3900),
        legs in prop::collection::vec((any_input(), 1usize..30), 1..20),
    ) {
        let map = Map::from_parts(HALF_EXTENT_M, &boxes, &ramps, &gates);
        let mut body = Lone::on(map, rate_hz, [at.0, at.1, at.2]);
        prop_assume!(body.free());
        // Along either axis.
        let shove = if gates.is_empty() { RADIUS as f32 } else { 1.5 * MAX_SHOVE as f32 };
        for (input, ticks) in legs {
            for _ in 0..ticks {
                let before = body.feet();
                body.step(input);
                check_range(&body.state, body.map.half_extent())?;
                check_speed(&body.state, &gates)?;
                prop_assert!(body.free(), "{:?} from {:?}", body.state, before);
                // Never through anything: a tick is no longer than its speed and a push allow.
                let limit = MAX_HORIZONTAL_SPEED_MPS * QUANTA_PER_M as f32 / f32::from(rate_hz);
                let limit = limit + shove;
                let (dx, dz) = ((body.state[X] - before[0]) as f32, (body.state[Z] - before[2]) as f32);
                prop_assert!(dx * dx + dz * dz <= limit * limit);
            }
        }
    }

    #[test]
    fn any_state_in_range_stays_in_range(
        fields in prop::array::uniform9(any::<i32>()),
        input in any_input(),
        boxes in prop::collection::vec(any_box(), 0..8),
    ) {
        // What a client predicts from comes from a server that it need not trust.
        let mut body = Lone::new(20, &boxes, [0; 3]);
        for ((value, field), drawn) in body.state.iter_mut().zip(sim::SCHEMA.kinds[0].fields).zip(fields) {
            *value = field.fit(i64::from(drawn));
        }
        for _ in 0..5 {
            body.step(input);
            prop_assert!(in_range(PLAYER, &body.state), "{:?}", body.state);
        }
    }
}

#[test]
fn a_world_of_hostile_inputs_keeps_every_rule() {
    let extremes = [i8::MIN, -16, -1, 0, 15, i8::MAX];
    for rate_hz in [10, 20, 30, 64, 128] {
        let map = MapConfig { boxes: 14, gates: 10, ramps: 10, ..CROWDED.map };
        let (mut world, players) = world(WorldConfig { rate_hz, map, ..CROWDED }, 36);
        let fixed: Vec<Solid> = {
            let (boxes, ramps) = (world.map().boxes().iter(), world.map().ramps().iter());
            boxes.map(|solid| (*solid).into()).chain(ramps.map(|ramp| (*ramp).into())).collect()
        };
        let stranger = EntityId::from_raw(u32::MAX).unwrap();
        for tick in 0..200u16 {
            let mut wanted: Vec<_> = players
                .iter()
                .zip(0..)
                .map(|(id, n)| {
                    let (move_x, move_z) = (extremes[n % 6], extremes[n / 6]);
                    (*id, Input { move_x, move_z, yaw: u16::MAX - tick, buttons: u8::MAX, ..Input::default() })
                })
                .collect();
            wanted.extend([(stranger, wanted[0].1), wanted[0], wanted[0]]);
            world.step(&wanted);
            let frame = world.frame();
            for row in 0..frame.len() {
                let state = frame.state(row);
                assert!(in_range(frame.kind(row), state));
                if frame.kind(row) == PLAYER {
                    check_range(state, world.map().half_extent()).unwrap();
                    check_speed(state, world.map().gates()).unwrap();
                }
                let feet = [state[X], state[Y], state[Z]];
                assert!(fixed.iter().all(|solid| !deeper_than(MAX_DEPTH, feet, solid)));
                for gate in world.map().gates() {
                    assert!(!deeper_than(MAX_DEPTH, feet, &gate.place(world.tick(), rate_hz).into()));
                }
            }
        }
    }
}

#[test]
fn a_body_that_stands_is_not_changed_for_200_ticks() {
    let (mut world, players) = world(WorldConfig { npcs: 0, ..CROWDED }, 50);
    for _ in 0..100 {
        world.step(&inputs(&world, &players));
    }
    // Time to land, stop and get their breath back, then nothing may move, wherever they came to stand.
    for _ in 0..400 {
        world.step(&[]);
    }
    let before = world.frame();
    for _ in 0..200 {
        world.step(&[]);
    }
    let after = world.frame();
    for row in 0..before.len() {
        assert_eq!(before.state(row), after.state(row));
        assert_eq!(before.course_own(row), after.course_own(row));
    }
}

#[test]
fn a_body_that_pushes_a_wall_does_not_tremble() {
    let wall = StaticBox { min: [500, 0, -2000], max: [900, 800, 2000] };
    let mut body = Lone::new(20, &[wall], [0; 3]);
    let push = Input { move_x: 15, ..Input::default() };
    let mut settled = State::default();
    for tick in 0..60 {
        let state = body.step(push);
        if tick == 30 {
            settled = state;
        }
        assert!(tick < 30 || state == settled);
    }
    assert_eq!(settled[X], 500 - RADIUS);
    assert_eq!(settled[VX], 0);
    assert_ne!(settled[FLAGS] & GROUNDED, 0);
}

#[test]
fn a_thin_wall_stops_the_fastest_body_at_the_slowest_rate() {
    let wall = StaticBox { min: [1000, 0, -4000], max: [1001, 1000, 4000] };
    for start in 0..192 {
        let mut body = Lone::new(10, &[wall], [start, 0, 0]);
        for _ in 0..20 {
            body.step(Input { move_x: 15, buttons: sim::input::SPRINT, ..Input::default() });
        }
        assert_eq!(body.state[X], 1000 - RADIUS, "from {start}");
    }
}

#[test]
fn a_thin_roof_carries_the_deepest_fall_at_the_slowest_rate() {
    let roof = StaticBox { min: [-500, 1000, -500], max: [500, 1001, 500] };
    for start in (30_000..30_768).step_by(16) {
        let mut body = Lone::new(10, &[roof], [0, start, 0]);
        for _ in 0..80 {
            body.step(Input::default());
        }
        assert_eq!(body.state[Y], 1001, "from {start}");
    }
}

/// The state after 10 s, which must then stay for as long again.
fn settled(mut body: Lone, input: Input, label: &str) -> State {
    for _ in 0..200 {
        body.step(input);
    }
    let before = body.state;
    for _ in 0..200 {
        assert_eq!(body.step(input), before, "{label}");
    }
    before
}

#[test]
fn whoever_drops_onto_an_edge_or_a_corner_comes_to_rest() {
    let solid = StaticBox { min: [0, 0, 0], max: [1000, 256, 1000] };
    for x in -110..10 {
        for z in [500, x, -40, -70] {
            let state = settled(Lone::new(20, &[solid], [x, 700, z]), Input::default(), &format!("{x} {z}"));
            assert_ne!(state[FLAGS] & GROUNDED, 0, "{x} {z}");
        }
    }
}

#[test]
fn whoever_falls_into_a_gap_too_narrow_stands_there_and_can_jump_out() {
    for gap in (2..2 * RADIUS).step_by(3) {
        let boxes = [
            StaticBox { min: [-1000, 0, -1000], max: [0, 512, 1000] },
            StaticBox { min: [gap, 0, -1000], max: [1000 + gap, 512, 1000] },
        ];
        for off in [0, 1, gap / 4] {
            let at = [gap / 2 + off, 900, 0];
            let state = settled(Lone::new(20, &boxes, at), Input::default(), &format!("{gap} {off}"));
            assert_ne!(state[FLAGS] & GROUNDED, 0, "{gap} {off}");
            let mut body = Lone::new(20, &boxes, [state[X], state[Y], state[Z]]);
            body.state = state;
            let jump = Input { move_x: 15, buttons: sim::input::JUMP, ..Input::default() };
            assert!((0..40).any(|_| body.step(jump)[Y] >= 512), "{gap} {off}: {state:?}");
        }
    }
}

#[test]
fn a_walk_in_the_open_is_guessed_exactly_from_any_earlier_tick() {
    // The schema's predictor from 20 ticks ago, at 20 Hz.
    let mut body = Lone::new(20, &[], [-3000, 0, -3000]);
    let input = Input { move_x: 7, move_z: 13, ..Input::default() };
    for _ in 0..5 {
        body.step(input);
    }
    let base = body.state;
    for n in 1..=20 {
        body.step(input);
        assert_eq!(body.state[X], base[X] + (base[VX] * 4 * n + 10).div_euclid(20));
        assert_eq!(body.state[Z], base[Z] + (base[VZ] * 4 * n + 10).div_euclid(20));
    }
}

#[test]
fn a_jump_reaches_a_crate_of_a_metre_and_not_one_of_two() {
    let jump = Input { move_x: 15, buttons: sim::input::JUMP, ..Input::default() };
    for (height, top) in [(256, true), (512, false)] {
        let step = StaticBox { min: [600, 0, -2000], max: [3000, height, 2000] };
        let mut body = Lone::new(20, &[step], [0; 3]);
        let reached = (0..60).any(|_| body.step(jump)[Y] >= height && body.state[FLAGS] & GROUNDED != 0);
        assert_eq!(reached, top);
    }
}

#[test]
fn a_body_walks_up_a_low_step_without_losing_speed() {
    let curb = StaticBox { min: [600, 0, -2000], max: [3000, 24, 2000] };
    let mut body = Lone::new(20, &[curb], [0; 3]);
    for tick in 0..40 {
        let state = body.step(Input { move_x: 15, ..Input::default() });
        assert!(tick < 5 || state[VX] == 5 * VELOCITY_QUANTA);
    }
    assert_eq!(body.state[Y], 24);
}
