//! Who is near: the frame's query, and a client's look around, at the density of 30 visible.

use std::hint::black_box;
use std::sync::Arc;

use benches::rig::RigConfig;
use criterion::{Criterion, criterion_group, criterion_main};
use server::replication::{Aoi, Replication, ReplicationConfig};
use server::shard::ShardConfig;
use sim::{EntityId, Frame, SCHEMA, World};

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

fn look(c: &mut Criterion, frame: &Arc<Frame>, ids: &[EntityId], players: u16) {
    let shard = ShardConfig::new(Vec::new(), 20);
    // Due every time, at whole areas.
    let aoi = Aoi { refresh_ticks: 1, ..Aoi::new(64.0, 20) };
    let (priority, max_known, training) = (shard.priority, shard.max_known, shard.training);
    let config = ReplicationConfig { schema: &SCHEMA, rate: 20, aoi, priority, max_known, training };
    let mut replication = Replication::new(&config);
    replication.handle_frame(Arc::clone(frame));
    for (client, id) in (0..).zip(ids) {
        replication.insert(client, *id);
        replication.look(client);
    }
    let mut client = 0;
    c.bench_function(&format!("look/one_client_of_{players}"), |b| {
        b.iter(|| {
            client = (client + 7) % players;
            replication.look(black_box(client));
        });
    });
}

fn aoi(c: &mut Criterion) {
    for players in [500, 2000] {
        let (world, ids) = world(players);
        let frame = world.frame();
        query(c, &frame, players);
        look(c, &frame, &ids, players);
    }
}

criterion_group!(benches, aoi);
criterion_main!(benches);
