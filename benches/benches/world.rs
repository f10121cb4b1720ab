//! The simulation: a step with everybody wandering, the frame made of it, and the tree built anew.

use std::hint::black_box;

use benches::rig::RigConfig;
use bots::behavior::eyes::Blind;
use bots::behavior::{Behavior, Pilot};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use netcode::rng::Rng;
use netcode::schema::State;
use sim::movement::{Intent, Rules, advance};
use sim::rng::{below, mix};
use sim::schema::{STAMINA, STAMINA_FULL, X, Z};
use sim::space::{Space, Statics};
use sim::{EntityId, Input, Map, MapConfig, World};

const RATE: u16 = 20;

fn world(players: u16) -> (World, Vec<(EntityId, Pilot)>) {
    let mut world = World::new(RigConfig::new(players).world()).expect("the configuration is within its ranges");
    let rng = Rng::new(1);
    let pilot = |at: u16| Pilot::new(Behavior::Wander, rng.fork(&format!("pilot {at}")));
    let bodies = (0..players).map(|at| (world.spawn_player().expect("there is room"), pilot(at))).collect();
    (world, bodies)
}

fn inputs(bodies: &mut [(EntityId, Pilot)], out: &mut Vec<(EntityId, Input)>) {
    out.clear();
    out.extend(bodies.iter_mut().map(|(id, pilot)| (*id, pilot.next(RATE, &Blind))));
}

fn steps(c: &mut Criterion) {
    for players in [500, 2000] {
        let (mut world, mut bodies) = world(players);
        let mut wanted = Vec::new();
        for _ in 0..RATE {
            inputs(&mut bodies, &mut wanted);
            world.step(&wanted);
        }
        let mut group = c.benchmark_group(format!("world_of_{players}"));
        group.throughput(Throughput::Elements(u64::from(players)));
        group.bench_function("step", |b| {
            b.iter(|| {
                // Choosing the inputs costs a few nanoseconds a player.
                inputs(&mut bodies, &mut wanted);
                world.step(black_box(&wanted));
            });
        });
        group.bench_function("frame", |b| b.iter_with_large_drop(|| world.frame()));
        let frame = world.frame();
        group.bench_function("space", |b| {
            let mut slots = Vec::new();
            b.iter_with_large_drop(|| Space::new(black_box(frame.states()), &mut slots));
        });
        group.finish();
    }
}

/// 4,000 bodies that walk, run and jump about, each for a second in one direction, without the rest of a step.
fn moves(c: &mut Criterion) {
    const BODIES: u32 = 4000;
    for (name, gates, ramps) in [("boxes", 0, 0), ("boxes_ramps_gates", 100, 100)] {
        let map = MapConfig { half_extent_m: 256, boxes: 200, gates, ramps };
        let map = Map::generate(1, map).expect("the configuration is within its ranges");
        let (statics, rules) = (Statics::new(&map, RATE), Rules::new(RATE, map.half_extent()));
        let place = |at: u32, axis: u32| below(mix(u64::from(at) << 2 | u64::from(axis)), 120_000) as i32 - 60_000;
        let mut states: Vec<State> = (0..BODIES)
            .map(|at| {
                let mut state = State::default();
                (state[X], state[Z], state[STAMINA]) = (place(at, 0), place(at, 1), STAMINA_FULL);
                state
            })
            .collect();
        let mut near = Vec::new();
        let mut tick = 0;
        c.bench_function(&format!("move_of_{BODIES}/{name}"), |b| {
            b.iter(|| {
                tick += 1;
                for (state, at) in states.iter_mut().zip(0u32..) {
                    let leg = mix((u64::from(at) << 32) | ((tick + u64::from(at)) / u64::from(RATE)));
                    let share = |from: u32| ((leg >> from) & 31) as i8 - 16;
                    let (buttons, yaw) = ((leg & (leg >> 8) & 3) as u8, 0);
                    let input = Input { move_x: share(16), move_z: share(24), yaw, buttons, ..Input::default() };
                    let intent = Intent::from_input(input, state);
                    *state = advance(state, &intent, &statics, &rules, tick, &mut near);
                }
            });
        });
    }
}

criterion_group!(benches, steps, moves);
criterion_main!(benches);
