//! The simulation: a step with everybody wandering, the frame made of it, and the tree built anew.

use std::hint::black_box;

use benches::rig::RigConfig;
use bots::behavior::{Behavior, Pilot};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use netcode::rng::Rng;
use sim::space::Space;
use sim::{EntityId, Input, World};

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
    out.extend(bodies.iter_mut().map(|(id, pilot)| (*id, pilot.next(RATE))));
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

criterion_group!(benches, steps);
criterion_main!(benches);
