//! A sequence of snapshots of the game's schema for one view, each with what the view holds afterwards, and bodies
//! that do not fit it.

use netcode::bits::BitWriter;
use netcode::schema::{State, extrapolate};
use netcode::snapshot::predict::{Guess, History, Plan};
use netcode::snapshot::{
    Ages, Codec, Event, Header, Limits, View, write_age, write_codec, write_despawn, write_fields, write_gap,
    write_header, write_spawn,
};
use serde_json::{Value, json};

use super::schema::SCHEMA;
use super::{big, hex};

pub const RATE: u16 = 20;

pub enum Record {
    Spawn {
        slot: u16,
        id: u32,
        kind: u8,
        owner: bool,
        state: State,
    },
    /// Against the state given, which the view's course has at `tick - age`.
    Update {
        slot: u16,
        kind: u8,
        owner: bool,
        age: u8,
        base: State,
        state: State,
    },
    Despawn {
        slot: u16,
    },
}

impl Record {
    pub fn slot(&self) -> u16 {
        match self {
            Self::Spawn { slot, .. } | Self::Update { slot, .. } | Self::Despawn { slot } => *slot,
        }
    }
}

pub fn spawn(slot: u16, id: u32, kind: u8, state: &State) -> Record {
    Record::Spawn { slot, id, kind, owner: false, state: *state }
}

pub fn update(slot: u16, kind: u8, age: u8, base: &State, state: &State) -> Record {
    Record::Update { slot, kind, owner: false, age, base: *base, state: *state }
}

/// The player of slot 0, who is the client's own.
pub fn own_spawn(state: &State) -> Record {
    Record::Spawn { slot: 0, id: 0x0010_0005, kind: 0, owner: true, state: *state }
}

pub fn own_update(age: u8, base: &State, state: &State) -> Record {
    Record::Update { slot: 0, kind: 0, owner: true, age, base: *base, state: *state }
}

pub fn one(first: u8) -> Ages {
    Ages { first, second: None }
}

pub fn two(first: u8, second: u8) -> Ages {
    Ages { first, second: Some(second) }
}

pub fn body(margin: Option<i8>, complete: bool, ages: Ages, records: &[Record]) -> Vec<u8> {
    let mut buffer = [0; 1100];
    let mut w = BitWriter::new(&mut buffer);
    write_codec(&mut w, Codec::Fast);
    write_header(&mut w, &Header { margin, complete, ages, count: records.len() as u16 });
    let mut next = 0;
    for record in records {
        write_gap(&mut w, record.slot() - next);
        next = record.slot() + 1;
        match record {
            Record::Spawn { id, kind, owner, state, .. } => write_spawn(&mut w, &SCHEMA, *id, *kind, *owner, state),
            Record::Update { kind, owner, age, base, state, .. } => {
                write_age(&mut w, *age, ages);
                let plan = Plan::new(SCHEMA.kind(*kind).unwrap());
                let mut guess = Guess::new(&plan, &History::course(base, *age, RATE));
                write_fields(&mut w, &plan, &mut guess, *owner, state);
            }
            Record::Despawn { .. } => write_despawn(&mut w),
        }
    }
    let len = w.finish();
    buffer[..len].to_vec()
}

/// A body of fields by hand: values and widths.
fn by_hand(ages: Ages, count: u16, fields: &[(u64, u32)]) -> Vec<u8> {
    let mut buffer = [0; 64];
    let mut w = BitWriter::new(&mut buffer);
    write_codec(&mut w, Codec::Fast);
    write_header(&mut w, &Header { margin: None, complete: true, ages, count });
    fields.iter().for_each(|(value, bits)| w.write(*value, *bits));
    let len = w.finish();
    buffer[..len].to_vec()
}

/// A despawn, in a body that names a second age that there is not.
fn second_age_of_zero() -> Vec<u8> {
    let mut buffer = [0; 64];
    let mut w = BitWriter::new(&mut buffer);
    write_codec(&mut w, Codec::Fast);
    // No margin, complete, records, the ages, a count of one; gap and op.
    let fields = [(0b01, 2), (1, 1), (1, 1), (1, 6), (1, 1), (0, 6), (0, 2), (1, 4), (0, 1), (0b11, 2)];
    fields.iter().for_each(|(value, bits)| w.write(*value, *bits));
    let len = w.finish();
    buffer[..len].to_vec()
}

/// x, y, z, vx, vy, vz, yaw, flags, and what else the kind has.
pub fn state(body: [i32; 8], rest: &[i32]) -> State {
    let mut state = State::default();
    state[..8].copy_from_slice(&body);
    state[8..8 + rest.len()].copy_from_slice(rest);
    state
}

/// The player who is the client's own: pitch, health, level, stamina, armour, ready, two kinds of ammunition.
pub fn own() -> State {
    state([1000, 0, -2000, 320, 0, -7, 4090, 1], &[-20, 100, 7, 50, 30, 4001, 30 | 500 << 7, 5])
}

/// A player at the ends of most ranges, without what only its owner learns.
pub fn other() -> State {
    state([-1_048_576, 131_071, 1_048_575, -2048, 2047, 0, 0, 2047], &[63, 127, 63])
}

/// An NPC: archetype, health.
pub fn npc() -> State {
    state([5, 6, 7, 0, 0, 0, 100, 0], &[200, 100])
}

/// A projectile that falls: owner, launched, ordinal.
pub fn missile() -> State {
    state([1000, 400, -2000, 8191, 300, -8192, 4090, 0], &[0x010_0005, 4095, 3])
}

/// Something to pick up: item, amount.
pub fn thing() -> State {
    state([-300, 0, 300, 0, 0, 0, 0, 1], &[255, 1023])
}

/// With other values in some fields.
pub fn with(mut state: State, fields: &[(usize, i32)]) -> State {
    fields.iter().for_each(|(field, value)| state[*field] = *value);
    state
}

/// So many ticks later, on course.
fn on(kind: u8, ticks: u32, state: &State) -> State {
    extrapolate(SCHEMA.kind(kind).unwrap(), RATE, ticks, state)
}

pub struct Sequence {
    pub view: View,
    pub steps: Vec<Value>,
    pub errors: Vec<Value>,
}

impl Sequence {
    pub fn new(view: View) -> Self {
        Self { view, steps: Vec::new(), errors: Vec::new() }
    }

    pub fn apply(&mut self, name: &str, tick: u64, body: &[u8]) {
        self.view.apply(tick, body).unwrap();
        let entities = self.view.entities().map(|entity| {
            let fields = SCHEMA.kind(entity.kind()).unwrap().fields.len();
            json!({
                "id": entity.id(),
                "slot": entity.slot(),
                "kind": entity.kind(),
                "owner": entity.owner(),
                "state": entity.state()[..fields],
                "confirmed": big(entity.confirmed()),
            })
        });
        let entities: Vec<_> = entities.collect();
        let event = |event: &Event| match event {
            Event::Spawned { id, .. } => json!({ "spawned": id }),
            Event::Despawned { id } => json!({ "despawned": id }),
        };
        self.steps.push(json!({
            "name": name,
            "tick": big(tick),
            "body": hex(body),
            "margin": self.view.margin(),
            "complete": self.view.complete(),
            "events": self.view.events().iter().map(event).collect::<Vec<_>>(),
            "entities_by_id": entities,
        }));
    }

    /// What does not fit the view of tick 70,301.
    fn refuse_all(&mut self, own: &State, npc: &State) {
        let whole = body(None, true, one(1), &[own_update(1, own, own)]);
        self.refuse(70_301, &whole);
        self.refuse(70_302, &whole[..2]);
        self.refuse(70_302, &[&whole[..], &[0]].concat());
        self.refuse(70_302, &body(None, true, one(1), &[update(3, 0, 1, own, own)]));
        self.refuse(70_302, &body(None, true, one(1), &[update(300, 1, 2, npc, npc)]));
        // Gap, op and what follows, where no writer would write it.
        let first: (u64, u32) = (0b0, 1);
        let update: (u64, u32) = (0b0, 1);
        self.refuse(70_302, &by_hand(one(0), 1, &[first, update, (1, 1), (0, 8)]));
        self.refuse(70_302, &by_hand(one(1), 1, &[first, update, (0, 1), (0, 6), (0, 8)]));
        self.refuse(70_302, &by_hand(two(1, 2), 1, &[first, update, (0b00, 2), (0, 6), (0, 8)]));
        self.refuse(70_302, &second_age_of_zero());
        self.refuse(70_302, &by_hand(one(1), 2, &[(0b111 | 4095 << 3, 15), (0b11, 2), (0b0, 1), (0b11, 2)]));
        self.refuse(70_302, &by_hand(one(1), 1, &[first, (0b01, 2), (77, 32), (4, 4), (0, 64), (0, 64)]));
        // The x in slot 9 is guessed to be as low as it gets, and 1 is taken from it; both velocities are as guessed.
        let slot_9 = (0b011 | 9 << 3, 9);
        self.refuse(70_302, &by_hand(one(1), 1, &[slot_9, update, (1, 1), (0b1, 5), (0, 18), (0b001, 3), (0, 1)]));
        // The codec that nobody agreed on.
        let mut compact = whole;
        compact[0] |= 1;
        self.refuse(70_302, &compact);
    }

    fn courses(&mut self, own: &State, other: &State, npc: &State) {
        self.apply("an empty one", 70_000, &body(None, true, one(0), &[]));
        let spawns = [own_spawn(own), spawn(1, 9, 0, other), spawn(9, 10, 1, npc)];
        self.apply(
            "spawns, gaps 0 and 7; the first with the owner's fields",
            70_001,
            &body(Some(-3), true, one(0), &spawns),
        );

        // 320 / 64 m/s are 64 quanta a tick; -7 is -1.4, and the rest of a half rounds up.
        let guessed = with(*own, &[(0, 1064), (2, -2001)]);
        assert_eq!(guessed, on(0, 1, own));
        let touch = [own_update(1, own, &guessed)];
        self.apply("an update that says: as guessed", 70_002, &body(Some(2), false, one(1), &touch));

        let hands = [(8, 21), (11, 47), (13, 0), (14, 29 | 500 << 7)];
        let small = state([1064 + 3 * 64 + 4, 10, -2001 - 3 - 300, 320 + 64, 2, -7, 5, 1], &own[8..]);
        let small = with(small, &hands);
        let sinks = state([-1_048_576, 131_071, 1_048_575, -2048, 2047, 0, 2048, 0], &[-64, 0, 63]);
        let turned = with(on(1, 4, npc), &[(6, 100 - 33), (7, 3), (8, 7), (9, 99)]);
        let updates = [own_update(3, &guessed, &small), update(1, 0, 4, other, &sinks), update(9, 1, 4, npc, &turned)];
        let name = "long and short codes, a cyclic field, saturation, a fall, two ages of which the header has both";
        self.apply(name, 70_005, &body(Some(127), true, two(4, 3), &updates));
        self.apply("complete and without records: all moved on as guessed", 70_008, &body(Some(1), true, one(0), &[]));
        // All groups of an NPC without a need, where no writer would: x, y, z, the velocity, yaw, flags, archetype, health.
        let zeros = [(0, 60), (0, 36), (0, 38)];
        let lavish = [(0b01 | 6 << 2, 5), (0b01, 2), (20, 32), (1, 4), (0, 1), (0b11_1111, 6)];
        let name = "a spawn with groups that follow though they are all 0";
        self.apply(name, 70_009, &by_hand(one(0), 1, &[&lavish[..], &zeros].concat()));
        // The record of 70,005 is not the baseline.
        // Of 8 ticks both axes had the new velocity for about 6, and then it was lifted.
        let faster = [(0, 1064 + 8 * 64 + 153), (1, 100_000), (2, -2001 - 8 - 241), (3, 320 + 130), (5, -7 - 200)];
        let older = with(on(0, 8, &guessed), &faster);
        let aged = [own_update(8, &guessed, &older)];
        let name = "a baseline older than the newest record, a way and its share, a raw field";
        self.apply(name, 70_010, &body(None, false, one(63), &aged));
    }

    fn slots(&mut self, own: &State, other: &State, npc: &State) {
        let mixed = [
            own_spawn(own),
            Record::Despawn { slot: 1 },
            Record::Despawn { slot: 2 },
            spawn(9, 11, 0, other),
            spawn(80, 10, 1, npc),
            spawn(4095, 12, 1, npc),
        ];
        let name = "refresh, despawns, another entity in a slot, an entity in another slot";
        self.apply(name, 70_011, &body(None, true, one(0), &mixed));
        let crowd = (100..118).map(|slot| spawn(slot, u32::from(slot), 1, npc));
        self.apply("a count of six bits", 70_012, &body(None, false, one(0), &crowd.collect::<Vec<_>>()));
        let mut twice = vec![
            spawn(100, 100, 0, &SCHEMA.kinds[0].visible(false, own)),
            Record::Spawn { slot: 101, id: 101, kind: 1, owner: true, state: *npc },
        ];
        twice.extend((102..118).map(|slot| Record::Despawn { slot }));
        twice.extend([spawn(200, 500, 1, npc), spawn(201, 500, 1, npc)]);
        let name = "the same entity as another kind, and as its owner; one entity in two slots: the later one holds it";
        self.apply(name, 70_013, &body(Some(-128), true, one(0), &twice));
    }

    fn falls(&mut self, own: &State, npc: &State) {
        // The course that began at 70,011 led on to 70,012, from where two more ticks are guessed.
        let (since, leaps) = (on(0, 1, own), with(on(0, 3, own), &[(4, 448), (7, 0), (11, 41)]));
        let name = "a baseline that began before the age says, an age beside a first one of 0 and a second: a jump";
        self.apply(name, 70_014, &body(None, true, two(0, 63), &[own_update(2, &since, &leaps)]));
        self.apply("on its course the jump goes up and down", 70_020, &body(Some(0), true, one(0), &[]));
        let lands = with(on(0, 12, &leaps), &[(1, 0), (4, 0), (7, 1)]);
        let landing = [own_update(6, &on(0, 6, &leaps), &lands)];
        self.apply(
            "it lands, and was on course until six ticks before",
            70_026,
            &body(Some(3), false, one(6), &landing),
        );
        let drops = with(on(0, 1, &lands), &[(1, 100_000), (4, -100), (7, 0)]);
        self.apply("it drops from far above", 70_027, &body(Some(4), true, one(1), &[own_update(1, &lands, &drops)]));
        let (missile, thing) = (missile(), thing());
        let comes = [spawn(60, 600, 2, &missile), spawn(61, 601, 3, &thing)];
        self.apply("a projectile and something to pick up", 70_028, &body(Some(4), true, one(0), &comes));
        let strikes = with(on(2, 2, &missile), &[(3, -5000), (4, 0), (7, 1)]);
        let less = with(thing, &[(9, 3)]);
        let news = [update(60, 2, 2, &missile, &strikes), update(61, 3, 2, &thing, &less)];
        self.apply("it strikes, and there is less of the other", 70_030, &body(Some(4), true, one(2), &news));
        let name = "a fall is followed for 128 ticks, a walk for ever";
        self.apply(name, 70_300, &body(None, true, one(0), &[]));
        let last = [own_spawn(own), spawn(300, 300, 1, npc)];
        self.apply("the last", 70_301, &body(None, true, one(0), &last));
    }

    pub fn refuse(&mut self, tick: u64, body: &[u8]) {
        let error = self.view.apply(tick, body).unwrap_err();
        self.errors.push(json!({ "tick": big(tick), "body": hex(body), "error": error.to_string() }));
    }
}

pub fn sequence() -> Value {
    let view = View::new(&SCHEMA, RATE, Limits::default());
    let mut sequence = Sequence::new(view);
    let (own, other, npc) = (own(), other(), npc());
    sequence.courses(&own, &other, &npc);
    sequence.slots(&own, &other, &npc);
    sequence.falls(&own, &npc);
    sequence.refuse_all(&own, &npc);
    json!({ "rate": RATE, "sequence": sequence.steps, "refused_after_it": sequence.errors })
}
