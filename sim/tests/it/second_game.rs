//! The engine runs another game than the shipped one: pucks on ice that pass a flame on when they touch.
//!
//! Nothing here names `sim::game`, `sim::schema` or `sim::movement`.

use netcode::schema::{Audience, Field, Kind, Predictor, Schema, State};
use sim::EntityId;
use sim::engine::{Game, Setup, SpawnError, Stage, World};
use sim::grid::{QUANTA_PER_M, X, Z};
use sim::log::{InputLog, Next};
use sim::replay::{Recorded, Replay, header};
use sim::rng::{Stream, below, draw};

const VX: usize = 3;
const VZ: usize = 4;
const FLAME: usize = 5;
const PUCK: u8 = 0;
const SPARK: u8 = 1;
const RATE: i32 = 20;
/// Half the side of the rink, in position quanta.
const EDGE: i32 = 20 * QUANTA_PER_M;
/// Pucks whose centres are nearer touch.
const TOUCH: i64 = QUANTA_PER_M as i64;
/// A spark lies for so many ticks.
const SPARK_TICKS: u64 = 5;

const PLACE: Field = Field {
    name: "x",
    bits: 16,
    signed: true,
    wraps: false,
    scale: QUANTA_PER_M as u32,
    unit: "m",
    predictor: Predictor::Hold,
    group: 0,
    audience: Audience::Everyone,
    order: 0,
};
const SLIDE: Predictor = Predictor::Linear { velocity: VX as u8, numerator: 1 };
const DRIFT: Predictor = Predictor::Linear { velocity: VZ as u8, numerator: 1 };
const FIELDS: [Field; 6] = [
    Field { predictor: SLIDE, ..PLACE },
    Field { name: "y", ..PLACE },
    Field { name: "z", predictor: DRIFT, ..PLACE },
    Field { name: "vx", ..PLACE },
    Field { name: "vz", ..PLACE },
    Field { name: "flame", bits: 1, signed: false, group: 1, ..PLACE },
];
const PUSH: Field = Field { name: "push_x", bits: 8, ..PLACE };
const SCHEMA: Schema = Schema {
    kinds: &[Kind { name: "puck", fields: &FIELDS }, Kind { name: "spark", fields: &FIELDS }],
    input: &[PUSH, Field { name: "push_z", ..PUSH }],
};
const _: () = assert!(SCHEMA.is_valid());

#[derive(Clone, Copy, Debug, PartialEq)]
struct Push([i8; 2]);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Lit {
    by: EntityId,
}

/// When a spark goes out, how often a puck was lit.
#[derive(Clone, Default)]
struct Memory(u64);

struct Ice {
    seed: u64,
}

impl Ice {
    fn world(seed: u64) -> World<Self> {
        World::with_game(Self { seed })
    }
}

impl Game for Ice {
    const SCHEMA: &'static Schema = &SCHEMA;
    const SPEEDS_MPS: [f32; 2] = [4.0, 0.0];
    type Config = u64;
    type Input = Push;
    type Hidden = Memory;
    type Event = Lit;

    fn setup(&self) -> Setup {
        Setup { seed: self.seed, rate_hz: RATE as u16, max_entities: 64 }
    }

    fn config(&self) -> &u64 {
        &self.seed
    }

    fn populate(&mut self, stage: &mut Stage<'_, Self>) {
        let mut state = State::default();
        state[FLAME] = 1;
        stage.spawn(PUCK, state, Memory::default()).expect("the rink is empty");
    }

    fn join(&mut self, stage: &mut Stage<'_, Self>) -> Result<EntityId, SpawnError> {
        let mut state = State::default();
        for (axis, salt) in [(X, 0), (Z, 1)] {
            let bits = draw(self.seed, Stream::Spawn, stage.tick, stage.room() << 1 | salt);
            state[axis] = below(bits, 2 * EDGE as u32) as i32 - EDGE;
        }
        stage.spawn(PUCK, state, Memory::default())
    }

    fn step(&mut self, stage: &mut Stage<'_, Self>, inputs: &[(EntityId, Push)]) {
        for (id, Push(push)) in inputs {
            let Some(row) = stage.row(*id) else { continue };
            for (velocity, push) in [VX, VZ].into_iter().zip(push) {
                stage.states[row][velocity] = (stage.states[row][velocity] + i32::from(*push)).clamp(-1000, 1000);
            }
        }
        for state in stage.states.iter_mut() {
            for (place, velocity) in [(X, VX), (Z, VZ)] {
                state[place] += (state[velocity] + RATE / 2).div_euclid(RATE);
                if state[place].abs() > EDGE {
                    state[place] = state[place].clamp(-EDGE, EDGE);
                    state[velocity] = -state[velocity];
                }
            }
        }
        self.pass_flames(stage);
        for row in 0..stage.ids.len() {
            if stage.kinds[row] == SPARK && stage.hidden[row].0 <= stage.tick {
                stage.despawn(stage.ids[row]);
            }
        }
    }

    fn fold(hidden: &Memory, word: &mut impl FnMut(u64)) {
        word(hidden.0);
    }

    fn pack(Push([x, z]): &Push) -> State {
        let mut state = State::default();
        (state[0], state[1]) = (i32::from(*x), i32::from(*z));
        state
    }

    fn unpack(state: &State) -> Push {
        Push([0, 1].map(|at| state[at].clamp(-128, 127) as i8))
    }
}

impl Ice {
    /// Whoever burns lights whom it touches, and a spark remains.
    fn pass_flames(&self, stage: &mut Stage<'_, Self>) {
        for from in 0..stage.ids.len() {
            for to in 0..stage.ids.len() {
                let (a, b) = (stage.states[from], stage.states[to]);
                let way = |axis: usize| i64::from(a[axis] - b[axis]);
                let pucks = stage.kinds[from] == PUCK && stage.kinds[to] == PUCK;
                if pucks && a[FLAME] == 1 && b[FLAME] == 0 && way(X).pow(2) + way(Z).pow(2) <= TOUCH.pow(2) {
                    stage.states[to][FLAME] = 1;
                    stage.hidden[to].0 += 1;
                    stage.events.push((stage.ids[to], Lit { by: stage.ids[from] }));
                    let mut spark = State::default();
                    (spark[X], spark[Z]) = (b[X], b[Z]);
                    let _ = stage.spawn(SPARK, spark, Memory(stage.tick + SPARK_TICKS));
                }
            }
        }
    }
}

impl Recorded for Ice {
    type Refused = std::array::TryFromSliceError;

    fn origin(&self) -> (Vec<u8>, String) {
        (self.seed.to_le_bytes().to_vec(), "flames spread".into())
    }

    fn remake(config: &[u8], rules: &str) -> Result<World<Self>, Self::Refused> {
        assert_eq!(rules, "flames spread");
        Ok(Self::world(u64::from_le_bytes(config.try_into()?)))
    }
}

fn pushes(world: &World<Ice>, players: &[EntityId]) -> Vec<(EntityId, Push)> {
    let push = |id: &EntityId| {
        let bits = draw(9, Stream::Wander, world.tick() / 8, id.raw());
        (*id, Push([below(bits, 201), below(bits << 32, 201)].map(|value| (value as i32 - 100) as i8)))
    };
    players.iter().map(push).collect()
}

fn run(seed: u64, ticks: u64) -> (World<Ice>, Vec<u64>, usize, usize) {
    let mut world = Ice::world(seed);
    let players: Vec<EntityId> = (0..40).map(|_| world.spawn_player().expect("there is room")).collect();
    let (mut digests, mut lit, mut sparks) = (Vec::new(), 0, 0);
    for _ in 0..ticks {
        world.step(&pushes(&world, &players));
        digests.push(world.digest());
        lit += world.events().len();
        let frame = world.frame();
        assert!(frame.ids().is_sorted() && frame.len() == world.len());
        let shown = (0..frame.len()).filter(|row| frame.kind(*row) == SPARK);
        sparks = sparks.max(shown.count());
    }
    (world, digests, lit, sparks)
}

#[test]
fn another_game_runs_on_the_engine_and_its_flame_spreads() {
    let (world, _, lit, sparks) = run(5, 600);
    assert!(lit > 20 && sparks > 0, "{lit} lit, {sparks} sparks");
    assert!(world.len() <= 64);
}

#[test]
fn the_same_seed_gives_the_same_digests_and_another_one_others() {
    let (_, first, ..) = run(5, 200);
    assert_eq!(first, run(5, 200).1);
    assert_ne!(first, run(6, 200).1);
}

#[test]
fn what_came_and_went_in_steps_is_listed_and_frames_follow_one_another() {
    let mut world = Ice::world(5);
    let players: Vec<EntityId> = (0..40).map(|_| world.spawn_player().expect("there is room")).collect();
    let mut known: Vec<EntityId> = Vec::new();
    let (mut came, mut went) = (0, 0);
    for _ in 0..400 {
        world.step(&pushes(&world, &players));
        let frame = world.frame();
        for id in frame.removed() {
            let at = known.binary_search(id).expect("only who was shown is removed");
            known.remove(at);
            went += 1;
        }
        let turned: Vec<EntityId> = frame.turned().iter().map(|row| frame.id(*row as usize)).collect();
        for id in frame.ids() {
            if let Err(at) = known.binary_search(id) {
                assert!(turned.contains(id), "who comes is new to everybody");
                known.insert(at, *id);
                came += 1;
            }
        }
        assert_eq!(known, frame.ids());
    }
    assert!(came > 50 && went > 10, "{came} came, {went} went");
}

#[test]
fn a_puck_that_slides_on_is_on_course() {
    let mut world = Ice::world(1);
    let id = world.spawn_player().expect("there is room");
    world.step(&[(id, Push([7, -3]))]);
    world.step(&[]);
    world.step(&[]);
    let frame = world.frame();
    let row = frame.row(id).expect("it is there");
    assert!(frame.course(row) < world.tick());
}

#[test]
fn another_game_is_recorded_and_replayed() {
    let mut world = Ice::world(5);
    let mut log = InputLog::new(&SCHEMA, &header(&world, true)).expect("it fits");
    let mut players = Vec::new();
    let mut digests = Vec::new();
    for tick in 0..200 {
        if tick < 40 {
            let id = world.spawn_player().expect("there is room");
            players.push(id);
            log.join(id);
        } else if tick % 9 == 0 {
            let id = players.remove(tick % players.len());
            assert!(world.despawn(id));
            log.leave(id);
        }
        let wanted = pushes(&world, &players);
        world.step(&wanted);
        log.tick(wanted.iter().map(|(id, push)| (*id, Ice::pack(push))), &world.frame());
        digests.push(world.digest());
    }
    let mut replay = Replay::<Ice>::new();
    replay.push(log.bytes());
    replay.finish();
    let mut replayed = Vec::new();
    while let Next::Got(_) = replay.peek().expect("a whole log") {
        replay.step().expect("the same world");
        replayed.extend(replay.world().map(World::digest));
    }
    assert_eq!(replayed, digests);
}
