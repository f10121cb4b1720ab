//! Replication against its reader: what a replica writes, with losses and late acks, a view must turn into the truth.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use netcode::bits::BitWriter;
use netcode::rng::Rng;
use netcode::snapshot::{Limits, View};
use server::replication::{Aoi, FrameRing, Marks, Replica, ReplicaStats, Scratch, SnapshotContext, max_record_bits};
use sim::{EntityId, Frame, Input, MapConfig, SCHEMA, World, WorldConfig};

const RATE: u16 = 20;
const RADIUS_M: f32 = 40.0;

/// One viewer's end of a lossy path, without the packets around the snapshots.
struct Viewer {
    replica: Replica,
    view: View,
    scratch: Scratch,
    pn: u64,
    /// (tick at which the fate is known, packet, acked)
    fates: VecDeque<(u64, u64, bool)>,
    budget: usize,
}

struct Scene {
    world: World,
    players: Vec<EntityId>,
    rng: Rng,
    ring: FrameRing,
    marks: Marks,
    aoi: Aoi,
    stats: ReplicaStats,
}

impl Scene {
    fn new(seed: u64, players: usize, half_extent_m: u16) -> Self {
        let map = MapConfig { half_extent_m, boxes: 4 };
        let config =
            WorldConfig { seed, rate_hz: RATE, map, npcs: 10, max_entities: 512, spawn_half_extent_m: half_extent_m };
        let mut world = World::new(config).unwrap();
        let players = (0..players).map(|_| world.spawn_player().unwrap()).collect();
        Self {
            world,
            players,
            rng: Rng::new(seed).fork("scene"),
            ring: FrameRing::default(),
            marks: Marks::default(),
            aoi: Aoi::new(RADIUS_M, RATE),
            stats: ReplicaStats::default(),
        }
    }

    /// One tick: most stand for a while and run for a while; now and then one other than the first leaves and one comes.
    fn step(&mut self) -> Arc<Frame> {
        // Now and then the server stalls: briefly, or for longer than frames are kept.
        if self.rng.chance(0.01) {
            self.world.skip([5, 100][self.rng.below(2) as usize]);
        }
        if self.rng.chance(0.05) && self.players.len() > 2 {
            let at = 1 + self.rng.below(self.players.len() as u64 - 1) as usize;
            assert!(self.world.despawn(self.players.remove(at)));
        }
        if self.rng.chance(0.05) {
            self.players.push(self.world.spawn_player().unwrap());
            self.players.sort_unstable();
        }
        let phase = self.world.tick() / 30;
        let input = |id: &EntityId| {
            let draw = Rng::new(u64::from(id.raw()) << 32 | phase).fork("input").next_u64();
            let moves = draw & 3 != 0;
            (
                *id,
                Input {
                    move_x: 0,
                    move_z: if moves { 15 } else { 0 },
                    yaw: (draw >> 8) as u16 & 0xfff,
                    buttons: (draw >> 4) as u8 & 3,
                },
            )
        };
        let inputs: Vec<_> = self.players.iter().map(input).collect();
        self.world.step(&inputs);
        let frame = Arc::new(self.world.frame());
        self.ring.push(Arc::clone(&frame));
        frame
    }

    /// One snapshot for a viewer; `loss` and `delay` (ticks until the fate is known) are the path's.
    fn serve(&mut self, viewer: &mut Viewer, frame: &Frame, loss: f64, delay: u64) {
        while viewer.fates.front().is_some_and(|(due, ..)| *due <= frame.tick) {
            let Some((_, pn, acked)) = viewer.fates.pop_front() else { break };
            if acked { viewer.replica.on_acked(pn) } else { viewer.replica.on_lost(pn) }
        }
        if viewer.replica.refresh_due(frame.tick, &self.aoi, 0) {
            viewer.replica.refresh(frame, &self.aoi, &mut self.marks, &mut self.stats);
        }
        let context = SnapshotContext {
            schema: &SCHEMA,
            rate: RATE,
            record_bits: max_record_bits(&SCHEMA),
            ring: &self.ring,
            margin: None,
            budget: viewer.budget,
        };
        let mut body = [0; 1100];
        let mut w = BitWriter::new(&mut body);
        viewer.replica.write(&context, &self.aoi, &mut viewer.scratch, &mut w, &mut self.stats);
        let len = w.finish();
        assert!(len <= viewer.budget, "{len} bytes exceed the budget of {}", viewer.budget);
        viewer.pn += 1;
        viewer.replica.on_sent(viewer.pn, frame.tick, &viewer.scratch);
        let arrives = !self.rng.chance(loss);
        viewer.fates.push_back((frame.tick + delay, viewer.pn, arrives));
        if arrives {
            viewer.view.apply(frame.tick, &body[..len]).unwrap();
            check(viewer, frame);
        }
    }
}

impl Viewer {
    fn new(own: EntityId, budget: usize) -> Self {
        Self {
            replica: Replica::new(own, 256),
            view: View::new(&SCHEMA, RATE, Limits::default()),
            scratch: Scratch::default(),
            pn: 0,
            fates: VecDeque::new(),
            budget,
        }
    }
}

/// Whatever the view takes for the state of this tick is the truth of this tick, to the bit.
fn check(viewer: &Viewer, frame: &Frame) {
    for entity in viewer.view.entities().filter(|entity| entity.confirmed() == frame.tick) {
        let id = EntityId::from_raw(entity.id()).unwrap();
        let row = frame.row(id).unwrap_or_else(|| panic!("tick {}: {id:?} is gone but confirmed", frame.tick));
        assert_eq!(entity.kind(), frame.kind(row));
        assert_eq!(&entity.state(), frame.state(row), "tick {}: {id:?}", frame.tick);
    }
    if viewer.view.complete() {
        let known: Vec<u32> = viewer.replica.entities().map(EntityId::raw).collect();
        assert_eq!(viewer.view.len(), known.len());
        assert!(known.iter().all(|id| viewer.view.entity(*id).is_some_and(|entity| entity.confirmed() == frame.tick)));
    }
}

fn run(seed: u64, loss: f64, delay: u64, budget: usize) -> Scene {
    let mut scene = Scene::new(seed, 60, 60);
    let mut viewers = [Viewer::new(scene.players[0], budget), Viewer::new(scene.players[0], budget)];
    for _ in 0..400 {
        let frame = scene.step();
        for viewer in &mut viewers {
            scene.serve(viewer, &frame, loss, delay);
        }
    }
    // Nothing moves, comes or goes any more and nothing is lost: the views become complete, and show the whole area.
    scene.world.step(&[]);
    for _ in 0..200 {
        scene.world.step(&[]);
        let frame = Arc::new(scene.world.frame());
        scene.ring.push(Arc::clone(&frame));
        for viewer in &mut viewers {
            scene.serve(viewer, &frame, 0.0, delay);
        }
    }
    let frame = Arc::clone(scene.ring.newest().unwrap());
    let [x, _, z] = frame.position_m(frame.row(scene.players[0]).unwrap());
    let mut rows = Vec::new();
    frame.query([x, z], RADIUS_M - 5.0, &mut rows);
    for viewer in &viewers {
        assert!(viewer.view.complete());
        for row in &rows {
            assert!(viewer.view.entity(frame.id(*row as usize).raw()).is_some());
        }
    }
    scene
}

#[test]
fn a_view_is_the_truth_on_a_perfect_path() {
    let scene = run(1, 0.0, 1, 1100);
    assert!(scene.stats.spawns > 60 && scene.stats.despawns > 0 && scene.stats.updates > 1000);
}

#[test]
fn a_view_is_the_truth_under_loss_and_late_acks() {
    for seed in 0..8 {
        run(seed, 0.3, 4, 1100);
    }
}

#[test]
fn a_view_is_the_truth_when_acks_are_older_than_the_frame_ring() {
    run(3, 0.1, 70, 1100);
}

#[test]
fn a_tight_budget_delays_but_does_not_falsify_and_nobody_starves() {
    let mut scene = Scene::new(9, 60, 25);
    let mut viewer = Viewer::new(scene.players[0], 120);
    let mut last_true = BTreeMap::new();
    for step in 0..400u64 {
        let frame = scene.step();
        scene.serve(&mut viewer, &frame, 0.1, 2);
        // Everybody stands within the radius; nobody is shown wrongly for longer than a second.
        last_true.retain(|id, _| viewer.view.entity(*id).is_some());
        for entity in viewer.view.entities() {
            let row = frame.row(EntityId::from_raw(entity.id()).unwrap());
            let heard = entity.confirmed() == frame.tick || row.is_some_and(|row| &entity.state() == frame.state(row));
            let since = last_true.entry(entity.id()).or_insert(step);
            if heard {
                *since = step;
            }
            let wrong = step - *since;
            assert!(wrong <= u64::from(RATE), "tick {}: {} shown wrongly for {wrong} ticks", frame.tick, entity.id());
        }
    }
    assert!(scene.stats.cut > 100);
}

#[test]
fn a_client_that_never_acknowledges_costs_bounded_memory() {
    let mut scene = Scene::new(5, 60, 40);
    let mut viewer = Viewer::new(scene.players[0], 1100);
    for _ in 0..300 {
        let frame = scene.step();
        scene.serve(&mut viewer, &frame, 0.0, 1_000_000);
        // The connection gives a packet up after 256 later ones.
        if viewer.fates.len() > 256 {
            let (_, pn, _) = viewer.fates.pop_front().unwrap();
            viewer.replica.on_lost(pn);
        }
    }
    let bytes = viewer.replica.bytes();
    assert!(bytes < 128 * 1024, "{bytes} bytes");
}

#[test]
fn a_client_that_can_know_few_is_told_of_itself_and_the_nearest() {
    let mut scene = Scene::new(6, 60, 25);
    let frame = scene.step();
    let mut viewer = Viewer::new(scene.players[7], 1100);
    viewer.replica = Replica::new(scene.players[7], 8);
    scene.serve(&mut viewer, &frame, 0.0, 1);
    let place = |id: EntityId| frame.position_m(frame.row(id).unwrap());
    let [x, _, z] = place(scene.players[7]);
    let distance2 = |id: &EntityId| {
        let [px, _, pz] = place(*id);
        (px - x) * (px - x) + (pz - z) * (pz - z)
    };
    let mut expected = frame.ids().to_vec();
    expected.sort_by(|a, b| distance2(a).total_cmp(&distance2(b)));
    let mut known: Vec<EntityId> = viewer.replica.entities().collect();
    known.sort_by(|a, b| distance2(a).total_cmp(&distance2(b)));
    assert_eq!(known, expected[..8]);
}
