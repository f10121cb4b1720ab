//! Who is near: the frame's query, and a client's refresh, at the density of 30 visible.

use std::hint::black_box;

use benches::rig::RigConfig;
use criterion::{Criterion, criterion_group, criterion_main};
use server::replication::{Aoi, Marks, Replica, ReplicaStats};
use sim::{EntityId, Frame, World};

fn world(players: u16) -> (World, Vec<EntityId>) {
    let mut world = World::new(RigConfig::new(players).world()).expect("the configuration is within its ranges");
    let ids = (0..players).map(|_| world.spawn_player().expect("there is room")).collect();
    // The first steps build the tree.
    for _ in 0..3 {
        world.step(&[]);
    }
    (world, ids)
}

fn query(c: &mut Criterion, frame: &Frame, players: u16) {
    let mut rows = Vec::new();
    let mut at = 0;
    c.bench_function(&format!("query/64_m_of_{players}"), |b| {
        b.iter(|| {
            at = (at + 7) % frame.len();
            let [x, _, z] = frame.position_m(at);
            rows.clear();
            frame.query(black_box([x, z]), 64.0, &mut rows);
            rows.len()
        });
    });
}

fn refresh(c: &mut Criterion, frame: &Frame, ids: &[EntityId], players: u16) {
    let aoi = Aoi::new(64.0, 20);
    let (mut marks, mut stats) = (Marks::default(), ReplicaStats::default());
    let mut replicas: Vec<Replica> = ids.iter().map(|id| Replica::new(*id, 256)).collect();
    for replica in &mut replicas {
        replica.refresh(frame, &aoi, &mut marks, &mut stats);
    }
    let mut at = 0;
    c.bench_function(&format!("refresh/one_client_of_{players}"), |b| {
        b.iter(|| {
            at = (at + 7) % replicas.len();
            replicas[at].refresh(frame, &aoi, &mut marks, &mut stats);
        });
    });
}

fn aoi(c: &mut Criterion) {
    for players in [500, 2000] {
        let (world, ids) = world(players);
        let frame = world.frame();
        query(c, &frame, players);
        refresh(c, &frame, &ids, players);
    }
}

criterion_group!(benches, aoi);
criterion_main!(benches);
