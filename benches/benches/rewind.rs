//! A shot into the past: where everybody was between two ticks, what stood in between, who is hit.

use std::hint::black_box;

use benches::rig::RigConfig;
use bots::behavior::eyes::Blind;
use bots::behavior::{Behavior, Pilot};
use criterion::{Criterion, criterion_group, criterion_main};
use netcode::rng::Rng;
use sim::schema::{X, Y, Z};
use sim::space::Statics;
use sim::{EntityId, History, MapConfig, Moment, Ray, World, WorldConfig};

const RATE: u16 = 20;
/// The height of the eyes, quanta.
const EYE: f32 = 410.0;
/// How far a shot goes, quanta: 100 m.
const REACH: f32 = 25_600.0;

/// So many players who have wandered for half a second on a square of that half side, and their history.
fn past(players: u16, half_extent_m: u16) -> (World, Vec<EntityId>, History) {
    let cells = (u32::from(half_extent_m) * 2 / 16).pow(2);
    let map = MapConfig { half_extent_m, boxes: cells / 4, gates: cells / 16, ramps: cells / 16 };
    let config = WorldConfig { map, spawn_half_extent_m: half_extent_m, ..RigConfig::new(players).world() };
    let mut world = World::new(config).expect("the configuration is within its ranges");
    let rng = Rng::new(1);
    let pilot = |at: u16| Pilot::new(Behavior::Wander, rng.fork(&format!("pilot {at}")));
    let mut bodies: Vec<_> = (0..players).map(|at| (world.spawn_player().expect("there is room"), pilot(at))).collect();
    let mut history = History::new(RATE, [7.5, 30.0]);
    for _ in 0..3 * RATE {
        let inputs: Vec<_> = bodies.iter_mut().map(|(id, pilot)| (*id, pilot.next(RATE, &Blind))).collect();
        world.step(&inputs);
        history.push(world.frame());
    }
    (world, bodies.into_iter().map(|(id, _)| id).collect(), history)
}

/// Everybody shoots at somebody, 4.6 ticks ago, at the height of the eyes.
fn shots(c: &mut Criterion) {
    for (players, half_extent_m) in [(64, 32), (2000, 64), (2000, 256)] {
        let (world, ids, history) = past(players, half_extent_m);
        let statics = Statics::new(world.map(), RATE);
        let moment = Moment::before(world.tick(), 147);
        let eye = |id: EntityId| {
            let state = world.state(id).expect("it lives");
            [state[X] as f32, state[Y] as f32 + EYE, state[Z] as f32]
        };
        let rays: Vec<_> = (0..ids.len())
            .map(|at| {
                let (from, to) = (ids[at], ids[(at * 7 + 1) % ids.len()]);
                (from, Ray { reach: REACH, ..Ray::between(eye(from), eye(to)) })
            })
            .collect();
        let hits = rays.iter().filter(|(id, ray)| {
            let hit = history.cast(moment, ray, &statics, *id, |_, _| true);
            hit.is_some_and(|hit| matches!(hit.what, sim::rewind::Struck::Body(_)))
        });
        println!("{players} on {half_extent_m}: {} of {} shots hit somebody", hits.count(), rays.len());
        let mut at = 0;
        let mut group = c.benchmark_group(format!("rewind_of_{players}_within_{half_extent_m}_m"));
        group.bench_function("cast", |b| {
            b.iter(|| {
                at = (at + 1) % rays.len();
                let (id, ray) = &rays[at];
                history.cast(black_box(moment), ray, &statics, *id, |_, _| true)
            });
        });
        group.bench_function("statics", |b| {
            b.iter(|| {
                at = (at + 1) % rays.len();
                statics.cast(black_box(&rays[at].1), moment)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, shots);
criterion_main!(benches);
