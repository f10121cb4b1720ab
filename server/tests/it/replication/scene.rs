//! A world, what is told of it, and clients at the ends of lossy paths, without the packets around the snapshots.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use netcode::bits::BitWriter;
use netcode::rng::Rng;
use netcode::snapshot::compact::Tables;
use netcode::snapshot::{Limits, View};
use server::replication::{Aoi, Priority, Replication, ReplicationConfig, Training};
use sim::{EntityId, Frame, Input, MapConfig, SCHEMA, World, WorldConfig};

pub const RATE: u16 = 20;
pub const RADIUS_M: f32 = 40.0;

/// What a path does with packets.
#[derive(Clone, Copy)]
pub struct Path {
    pub loss: f64,
    /// Chance of a packet to arrive and be taken for lost.
    pub spurious: f64,
    /// Ticks until the server knows.
    pub delay: u64,
}

pub const PERFECT: Path = Path { loss: 0.0, spurious: 0.0, delay: 1 };

/// One client.
pub struct Viewer {
    pub own: EntityId,
    pub view: View,
    pub budget: usize,
    pub path: Path,
    /// Bytes of the newest body.
    pub bytes: usize,
    /// Whether it is to have the compact codec; the tables it has, and when it will have said so.
    pub compact: bool,
    pub tables: Option<(u8, u64)>,
    waits: BTreeMap<EntityId, u64>,
    pn: u64,
    /// (tick at which the fate is known, packet, acked)
    fates: VecDeque<(u64, u64, bool)>,
}

/// How players move.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// Most stand for a while and run for a while.
    Mixed,
    /// All turn in every tick.
    Dance,
    Rest,
}

pub struct Scene {
    pub world: World,
    pub players: Vec<EntityId>,
    pub rng: Rng,
    pub replication: Replication,
    pub viewers: Vec<Viewer>,
    pub motion: Motion,
    /// Whether players come and go, and the server stalls now and then.
    pub churn: bool,
    pub frame: Arc<Frame>,
}

pub fn config() -> ReplicationConfig {
    ReplicationConfig {
        schema: &SCHEMA,
        rate: RATE,
        aoi: Aoi::new(RADIUS_M, RATE),
        priority: Priority::default(),
        max_known: 256,
        training: Training { first_updates: 300, ..Training::default() },
    }
}

impl Scene {
    pub fn new(seed: u64, players: usize, half_extent_m: u16, config: &ReplicationConfig) -> Self {
        let map = MapConfig { half_extent_m, boxes: 0, gates: 0, ramps: 0 };
        let npcs = 10;
        let world = WorldConfig {
            seed,
            rate_hz: RATE,
            map,
            npcs,
            max_entities: 512,
            spawn_half_extent_m: half_extent_m,
            ..WorldConfig::default()
        };
        let mut world = World::new(world).unwrap();
        let players = (0..players).map(|_| world.spawn_player().unwrap()).collect();
        world.step(&[]);
        let frame = world.frame();
        let mut replication = Replication::new(config);
        replication.handle_frame(Arc::clone(&frame));
        Self {
            world,
            players,
            rng: Rng::new(seed).fork("scene"),
            replication,
            viewers: Vec::new(),
            motion: Motion::Mixed,
            churn: false,
            frame,
        }
    }

    /// A client joins that owns the player at that place; gives its own place.
    pub fn join(&mut self, player: usize, budget: usize, path: Path) -> u16 {
        let (client, own) = (self.viewers.len() as u16, self.players[player]);
        self.replication.insert(client, own);
        let view = View::new(&SCHEMA, RATE, Limits::default());
        self.viewers.push(Viewer {
            own,
            view,
            budget,
            path,
            bytes: 0,
            compact: false,
            tables: None,
            waits: BTreeMap::new(),
            pn: 0,
            fates: VecDeque::new(),
        });
        client
    }

    /// One tick, and a snapshot for everyone.
    pub fn step(&mut self) {
        self.move_on();
        self.replication.handle_frame(Arc::clone(&self.frame));
        for client in 0..self.viewers.len() {
            self.serve(client as u16);
        }
        self.note_waits();
        self.replication.check().unwrap();
    }

    /// One tick that replication does not learn of.
    pub fn move_on(&mut self) {
        if self.churn {
            self.come_and_go();
        }
        let inputs: Vec<_> = self.players.iter().map(|id| (*id, self.input(*id))).collect();
        self.world.step(&inputs);
        self.frame = self.world.frame();
    }

    fn come_and_go(&mut self) {
        // Briefly, or for longer than frames are kept.
        if self.rng.chance(0.01) {
            self.world.skip([5, 100][self.rng.below(2) as usize]);
        }
        let owned = |id: &EntityId| self.viewers.iter().any(|viewer| viewer.own == *id);
        let free: Vec<_> = self.players.iter().copied().filter(|id| !owned(id)).collect();
        if self.rng.chance(0.05) && !free.is_empty() {
            let gone = free[self.rng.below(free.len() as u64) as usize];
            assert!(self.world.despawn(gone));
            self.players.retain(|id| *id != gone);
        }
        if self.rng.chance(0.05) {
            self.players.push(self.world.spawn_player().unwrap());
            self.players.sort_unstable();
        }
    }

    fn input(&self, id: EntityId) -> Input {
        let tick = self.world.tick();
        match self.motion {
            Motion::Rest => Input::default(),
            Motion::Dance => {
                let step = if (tick + u64::from(id.raw())).is_multiple_of(2) { 15 } else { -15 };
                Input { move_x: step, move_z: 0, yaw: (tick * 1552) as u16, ..Input::default() }
            }
            Motion::Mixed => {
                let draw = Rng::new((u64::from(id.raw()) << 32) | (tick / 30)).fork("input").next_u64();
                let move_z = if draw & 3 != 0 { 15 } else { 0 };
                Input { move_x: 0, move_z, yaw: (draw >> 4) as u16, buttons: (draw >> 4) as u8 & 3, ..Input::default() }
            }
        }
    }

    /// One snapshot for a client, and whatever became of earlier ones by now.
    pub fn serve(&mut self, client: u16) {
        self.settle(client);
        self.push_tables(client);
        let (frame, replication) = (&self.frame, &mut self.replication);
        let viewer = &mut self.viewers[usize::from(client)];
        replication.look(client);
        replication.set_compact(client, viewer.compact);
        replication.choose(client, viewer.budget);
        let mut body = [0; 1200];
        let mut w = BitWriter::new(&mut body);
        replication.pack(None, &mut w);
        let len = w.finish();
        assert!(len <= viewer.budget, "{len} bytes exceed the budget of {}", viewer.budget);
        viewer.bytes = len;
        viewer.pn += 1;
        replication.on_sent(client, viewer.pn);
        let arrives = !self.rng.chance(viewer.path.loss);
        let acked = arrives && !self.rng.chance(viewer.path.spurious);
        viewer.fates.push_back((frame.tick + viewer.path.delay, viewer.pn, acked));
        if arrives {
            viewer.view.apply(frame.tick, &body[..len]).unwrap();
            self.check(client);
        }
    }

    /// Gives a client the newest tables, and lets the server know after a round trip.
    fn push_tables(&mut self, client: u16) {
        let viewer = &mut self.viewers[usize::from(client)];
        let Some((version, bytes)) = self.replication.tables().filter(|_| viewer.compact) else { return };
        match viewer.tables {
            Some((held, since)) if held == version => {
                if self.frame.tick == since + viewer.path.delay {
                    self.replication.on_tables_ready(client, version);
                }
            }
            _ => {
                viewer.view.add_tables(Tables::read(&SCHEMA, bytes).unwrap());
                viewer.tables = Some((version, self.frame.tick));
            }
        }
    }

    /// Tells the server what became of the packets whose fates are known by now.
    pub fn settle(&mut self, client: u16) {
        let viewer = &mut self.viewers[usize::from(client)];
        // The connection gives a packet up after 256 later ones.
        while let Some((_, pn, acked)) =
            viewer.fates.pop_front_if(|(due, pn, _)| *due <= self.frame.tick || *pn + 256 < viewer.pn)
        {
            if acked {
                self.replication.on_acked(client, pn);
            } else {
                self.replication.on_lost(client, pn);
            }
        }
    }

    /// Whatever a view takes for the state of this tick is the truth of this tick, to the bit, as far as the client may see
    /// it; a complete one lacks nothing that is known; and the server believes no more than is so.
    fn check(&self, client: u16) {
        let (frame, viewer) = (&self.frame, &self.viewers[usize::from(client)]);
        let replica = self.replication.client(client).unwrap();
        for entity in viewer.view.entities().filter(|entity| entity.confirmed() == frame.tick) {
            let id = EntityId::from_raw(entity.id()).unwrap();
            let row = frame.row(id).unwrap_or_else(|| panic!("tick {}: {id:?} is gone but confirmed", frame.tick));
            assert_eq!(entity.owner(), id == viewer.own);
            let kind = SCHEMA.kind(frame.kind(row)).unwrap();
            assert_eq!(entity.kind(), frame.kind(row));
            assert_eq!(entity.state(), kind.visible(entity.owner(), frame.state(row)), "tick {}: {id:?}", frame.tick);
        }
        for held in replica.held() {
            let entity = viewer.view.entity(held.id.raw()).unwrap();
            assert_eq!(entity.slot(), held.slot);
            assert!(held.acked <= frame.tick);
        }
        if viewer.view.complete() {
            let known: Vec<u32> = replica.entities().map(EntityId::raw).collect();
            assert_eq!(viewer.view.entities().map(|entity| entity.id()).collect::<Vec<_>>(), known);
        }
    }

    pub fn view(&self, client: u16) -> &View {
        &self.viewers[usize::from(client)].view
    }

    /// The squared distance of an entity from what a client owns.
    pub fn distance2(&self, client: u16, id: EntityId) -> f32 {
        let place = |id: EntityId| self.frame.position_m(self.frame.row(id).unwrap());
        let ([x, _, z], [px, _, pz]) = (place(self.viewers[usize::from(client)].own), place(id));
        (px - x) * (px - x) + (pz - z) * (pz - z)
    }

    /// Who in view left the course of its newest record, and how many ticks ago that was first so.
    pub fn outdated(&self, client: u16) -> impl Iterator<Item = (EntityId, u64)> + '_ {
        let waits = &self.viewers[usize::from(client)].waits;
        waits.iter().map(|(id, since)| (*id, self.frame.tick - since))
    }

    pub fn note_waits(&mut self) {
        for viewer in &mut self.viewers {
            let told = viewer.view.entities().filter_map(|entity| {
                let id = EntityId::from_raw(entity.id())?;
                let course = self.frame.row(id).map(|row| self.frame.course(row))?;
                (course > entity.rows().next()?.from).then_some(id)
            });
            let waits = told.map(|id| (id, viewer.waits.get(&id).copied().unwrap_or(self.frame.tick)));
            viewer.waits = waits.collect();
        }
    }
}
