//! Records of a snapshot with the game's schema: written, measured, read; and a whole body applied to a view.

use std::hint::black_box;

use benches::mirror::Mirror;
use benches::rig::{Rig, RigConfig};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use netcode::bits::{BitCount, BitReader, BitWriter};
use netcode::schema::State;
use netcode::snapshot::predict::{Guess, History, Plan};
use netcode::snapshot::{
    Ages, Codec, Header, Limits, View, read_fields, write_age, write_codec, write_fields, write_gap, write_header,
    write_spawn,
};
use sim::SCHEMA;
use sim::schema::{PLAYER, VX, VZ, X, YAW, Z};

const RATE: u16 = 20;
const ENTITIES: u16 = 30;

/// A player who walks, and the same a tick later: as predicted, or having turned.
fn walker(at: i32) -> State {
    let mut state = State::default();
    state[X] = 1000 * at;
    state[Z] = -700 * at;
    state[VX] = 180;
    state[VZ] = -260;
    state[YAW] = 900;
    state
}

fn later(base: &State, turned: bool) -> State {
    let mut state = *base;
    state[X] += state[VX] * 4 / i32::from(RATE);
    state[Z] += state[VZ] * 4 / i32::from(RATE);
    if turned {
        state[X] += 3;
        state[Z] -= 2;
        state[VX] -= 60;
        state[VZ] += 41;
        state[YAW] += 256;
    }
    state
}

fn plan() -> Plan {
    Plan::new(SCHEMA.kind(PLAYER).expect("the schema has players"))
}

fn records(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    let base = walker(3);
    let plan = plan();
    let guess = |base: &State| Guess::new(&plan, &History::course(base, 1, RATE));
    let mut out = [0; 64];
    for (name, turned) in [("walks_on", false), ("turns", true)] {
        let state = later(&base, turned);
        group.bench_function(format!("{name}/encode"), |b| {
            b.iter(|| {
                let mut w = BitWriter::new(&mut out);
                write_fields(&mut w, &plan, &mut guess(black_box(&base)), false, black_box(&state));
                w.finish()
            });
        });
        group.bench_function(format!("{name}/measure"), |b| {
            b.iter(|| {
                let mut count = BitCount::default();
                write_fields(&mut count, &plan, &mut guess(black_box(&base)), false, black_box(&state));
                count
            });
        });
        let mut w = BitWriter::new(&mut out);
        write_fields(&mut w, &plan, &mut guess(&base), false, &state);
        let len = w.finish();
        group.bench_function(format!("{name}/decode"), |b| {
            b.iter(|| {
                read_fields(&mut BitReader::new(black_box(&out[..len])), &plan, &mut guess(black_box(&base)), false)
            });
        });
    }
    group.bench_function("spawn/encode", |b| {
        b.iter(|| {
            let mut w = BitWriter::new(&mut out);
            write_spawn(&mut w, &SCHEMA, 0x1001, PLAYER, false, black_box(&base));
            w.finish()
        });
    });
    group.finish();
}

fn body(tick: u64, bases: &[State], states: &[State]) -> Vec<u8> {
    let plan = plan();
    let mut out = vec![0; 4096];
    let mut w = BitWriter::new(&mut out);
    let ages = Ages { first: u8::from(tick > 0), second: None };
    write_codec(&mut w, Codec::Fast);
    write_header(&mut w, &Header { margin: Some(1), complete: true, ages, count: ENTITIES });
    for (id, (base, state)) in (1..).zip(bases.iter().zip(states)) {
        write_gap(&mut w, 0);
        if tick == 0 {
            write_spawn(&mut w, &SCHEMA, id, PLAYER, false, state);
        } else {
            write_age(&mut w, 1, ages);
            write_fields(&mut w, &plan, &mut Guess::new(&plan, &History::course(base, 1, RATE)), false, state);
        }
    }
    let len = w.finish();
    out.truncate(len);
    out
}

fn bodies(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot_of_30");
    group.throughput(Throughput::Elements(u64::from(ENTITIES)));
    let first: Vec<State> = (0..i32::from(ENTITIES)).map(walker).collect();
    let second: Vec<State> = first.iter().enumerate().map(|(at, base)| later(base, at % 3 == 0)).collect();
    let (spawns, updates) = (body(0, &first, &first), body(1, &first, &second));
    let warm = || {
        let mut view = View::new(&SCHEMA, RATE, Limits::default());
        assert!(view.apply(100, &spawns).is_ok());
        view
    };
    group.bench_function("apply_spawns", |b| b.iter_with_large_drop(warm));
    group.bench_function("apply_updates", |b| {
        b.iter_batched_ref(warm, |view| assert!(view.apply(101, &updates).is_ok()), BatchSize::SmallInput);
    });
    group.finish();
}

/// Priority, delta and packing for every client of a shard, as the server does it each tick.
fn pack(c: &mut Criterion) {
    const PLAYERS: u16 = 200;
    let mut rig = Rig::new(RigConfig::new(PLAYERS));
    let mut mirror = Mirror::new(&rig.config);
    let mut tick = |mirror: &mut Mirror| {
        let here = rig.gather();
        rig.play();
        rig.receive();
        mirror.acked();
        let frame = rig.step();
        rig.publish(std::sync::Arc::clone(&frame));
        rig.transmit();
        mirror.take(frame, &mut rig.spawned);
        mirror.refresh();
        here
    };
    while !tick(&mut mirror) {
        let _ = mirror.write();
    }
    let mut group = c.benchmark_group("replica");
    group.throughput(Throughput::Elements(u64::from(PLAYERS)));
    group.sample_size(20);
    group.bench_function("write_200_clients", |b| {
        // The setup moves the world on; what is measured is the writing alone.
        b.iter_custom(|iterations| {
            let mut sum = std::time::Duration::ZERO;
            for _ in 0..iterations {
                let _ = tick(&mut mirror);
                sum += time(|| _ = black_box(mirror.write()));
            }
            sum
        });
    });
    group.finish();
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn time(run: impl FnOnce()) -> std::time::Duration {
    let start = std::time::Instant::now();
    run();
    start.elapsed()
}

criterion_group!(benches, records, bodies, pack);
criterion_main!(benches);
