//! A sequence of snapshots of the game's schema for one view, each with what the view holds afterwards, and bodies
//! that do not fit it.

use netcode::bits::BitWriter;
use netcode::schema::State;
use netcode::snapshot::{
    Event, Header, Limits, View, write_despawn, write_gap, write_header, write_spawn, write_update,
};
use serde_json::{Value, json};

use super::schema::SCHEMA;
use super::{big, hex};

const RATE: u16 = 20;

enum Record {
    Spawn {
        slot: u16,
        id: u32,
        kind: u8,
        state: State,
    },
    /// Against the state given, which the view holds for `tick - age` or before.
    Update {
        slot: u16,
        kind: u8,
        age: u8,
        base: State,
        state: State,
    },
    Despawn {
        slot: u16,
    },
}

impl Record {
    fn slot(&self) -> u16 {
        match self {
            Self::Spawn { slot, .. } | Self::Update { slot, .. } | Self::Despawn { slot } => *slot,
        }
    }
}

fn body(margin: Option<i8>, complete: bool, age0: u8, records: &[Record]) -> Vec<u8> {
    let mut buffer = [0; 1100];
    let mut w = BitWriter::new(&mut buffer);
    write_header(&mut w, &Header { margin, complete, age0, count: records.len() as u16 });
    let mut next = 0;
    for record in records {
        write_gap(&mut w, record.slot() - next);
        next = record.slot() + 1;
        match record {
            Record::Spawn { id, kind, state, .. } => write_spawn(&mut w, &SCHEMA, *id, *kind, state),
            Record::Update { kind, age, base, state, .. } => {
                write_update(&mut w, &SCHEMA, RATE, *kind, *age, age0, base, state);
            }
            Record::Despawn { .. } => write_despawn(&mut w),
        }
    }
    let len = w.finish();
    buffer[..len].to_vec()
}

/// A body of fields by hand: values and widths.
fn by_hand(age0: u8, count: u16, fields: &[(u64, u32)]) -> Vec<u8> {
    let mut buffer = [0; 64];
    let mut w = BitWriter::new(&mut buffer);
    write_header(&mut w, &Header { margin: None, complete: true, age0, count });
    fields.iter().for_each(|(value, bits)| w.write(*value, *bits));
    let len = w.finish();
    buffer[..len].to_vec()
}

/// x, y, z, vx, vy, vz, yaw, flags, archetype.
fn state(fields: [i32; 9]) -> State {
    let mut state = State::default();
    state[..9].copy_from_slice(&fields);
    state
}

struct Sequence {
    view: View,
    steps: Vec<Value>,
    errors: Vec<Value>,
}

impl Sequence {
    fn apply(&mut self, name: &str, tick: u64, body: &[u8]) {
        self.view.apply(tick, body).unwrap();
        let entities = self.view.entities().map(|entity| {
            let fields = SCHEMA.kind(entity.kind()).unwrap().fields.len();
            json!({
                "id": entity.id(),
                "slot": entity.slot(),
                "kind": entity.kind(),
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

    /// What does not fit the view of tick 70,014.
    fn refuse_all(&mut self, own: &State, npc: &State) {
        let update = |slot, kind, age, base: &State| Record::Update { slot, kind, age, base: *base, state: *base };
        let whole = body(None, true, 1, &[update(0, 0, 1, own)]);
        self.refuse(70_014, &whole);
        self.refuse(70_015, &whole[..2]);
        self.refuse(70_015, &[&whole[..], &[0]].concat());
        self.refuse(70_015, &body(None, true, 1, &[update(3, 0, 1, own)]));
        self.refuse(70_015, &body(None, true, 1, &[update(80, 1, 5, npc)]));
        // Gap, op and what follows, where no writer would write it.
        let first: (u64, u32) = (0b0, 1);
        let update: (u64, u32) = (0b0, 1);
        self.refuse(70_015, &by_hand(0, 1, &[first, update, (1, 1), (0, 4)]));
        self.refuse(70_015, &by_hand(1, 1, &[first, update, (0, 1), (0, 6), (0, 4)]));
        self.refuse(70_015, &by_hand(1, 2, &[(0b111 | 4095 << 3, 15), (0b11, 2), (0b0, 1), (0b11, 2)]));
        self.refuse(70_015, &by_hand(1, 1, &[first, (0b01, 2), (77, 32), (2, 4), (0, 64), (0, 63)]));
        // The x in slot 9 is guessed to be as low as it gets, and 1 is taken from it.
        let slot_9 = (0b011 | 9 << 3, 9);
        self.refuse(70_015, &by_hand(1, 1, &[slot_9, update, (1, 1), (0b1, 4), (1, 2), (0, 3), (0, 4)]));
    }

    fn refuse(&mut self, tick: u64, body: &[u8]) {
        let error = self.view.apply(tick, body).unwrap_err();
        self.errors.push(json!({ "tick": big(tick), "body": hex(body), "error": error.to_string() }));
    }
}

pub fn sequence() -> Value {
    let view = View::new(&SCHEMA, RATE, Limits::default());
    let mut sequence = Sequence { view, steps: Vec::new(), errors: Vec::new() };
    let own = state([1000, 0, -2000, 320, 0, -7, 4090, 1, 0]);
    let other = state([-1_048_576, 131_071, 1_048_575, -2048, 2047, 0, 0, 15, 0]);
    let npc = state([5, 6, 7, 0, 0, 0, 100, 0, 200]);
    sequence.apply("an empty one", 70_000, &body(None, true, 0, &[]));
    let spawns = [
        Record::Spawn { slot: 0, id: 0x0010_0005, kind: 0, state: own },
        Record::Spawn { slot: 1, id: 9, kind: 0, state: other },
        Record::Spawn { slot: 9, id: 10, kind: 1, state: npc },
    ];
    sequence.apply("spawns, gaps 0 and 7", 70_001, &body(Some(-3), true, 0, &spawns));

    // Moves on as guessed: 320 / 64 m/s are 64 quanta a tick; -7 is -1.4, and the rest of a half rounds up.
    let guessed = state([1064, 0, -2001, 320, 0, -7, 4090, 1, 0]);
    let touch = [Record::Update { slot: 0, kind: 0, age: 1, base: own, state: guessed }];
    sequence.apply("an update that says: as guessed", 70_002, &body(Some(2), false, 1, &touch));

    let small = state([1064 + 3 * 64 + 4, 10, -2001 - 4 - 300, 320 + 64, 2, -7, 5, 1, 0]);
    let falls = state([-1_048_576, 131_071, 1_048_575, -2048, 2047, 0, 2048, 0, 0]);
    let turned = state([5, 6, 7, 0, 0, 0, 100 - 33, 3, 7]);
    let updates = [
        Record::Update { slot: 0, kind: 0, age: 3, base: guessed, state: small },
        Record::Update { slot: 1, kind: 0, age: 4, base: other, state: falls },
        Record::Update { slot: 9, kind: 1, age: 4, base: npc, state: turned },
    ];
    sequence.apply("every class, a cyclic field, saturation, two ages", 70_005, &body(Some(127), true, 4, &updates));

    sequence.apply("complete and without records: all hold still", 70_008, &body(Some(1), true, 0, &[]));
    let older = state([1064 + 8 * 64, 0, -2001 - 11, 320, 0, -7, 4090, 1, 0]);
    let aged = [Record::Update { slot: 0, kind: 0, age: 8, base: guessed, state: older }];
    sequence.apply("a baseline older than the newest state", 70_010, &body(None, false, 63, &aged));
    let mixed = [
        Record::Spawn { slot: 0, id: 0x0010_0005, kind: 0, state: own },
        Record::Despawn { slot: 1 },
        Record::Despawn { slot: 2 },
        Record::Spawn { slot: 9, id: 11, kind: 0, state: other },
        Record::Spawn { slot: 80, id: 10, kind: 1, state: npc },
        Record::Spawn { slot: 4095, id: 12, kind: 1, state: npc },
    ];
    sequence.apply(
        "refresh, despawns, another entity in a slot, an entity in another slot",
        70_011,
        &body(None, true, 0, &mixed),
    );
    let crowd = (100..118).map(|slot| Record::Spawn { slot, id: u32::from(slot), kind: 1, state: npc });
    sequence.apply("a count of six bits", 70_012, &body(None, false, 0, &crowd.collect::<Vec<_>>()));

    let twice = [
        Record::Spawn { slot: 100, id: 100, kind: 0, state: own },
        Record::Spawn { slot: 200, id: 500, kind: 1, state: npc },
        Record::Spawn { slot: 201, id: 500, kind: 1, state: npc },
    ];
    let name = "the same entity as another kind, one entity in two slots: the later one holds it";
    sequence.apply(name, 70_013, &body(Some(-128), true, 0, &twice));
    // The state of 70,011 has stood until 70,012, from where it is guessed for two ticks.
    let stood = state([1000 + 128, 0, -2000 - 3, 320, 0, -7, 4090, 1, 0]);
    let since = [Record::Update { slot: 0, kind: 0, age: 2, base: own, state: stood }];
    let name = "a baseline older than the age says, an age beside an age0 of 0";
    sequence.apply(name, 70_014, &body(None, true, 0, &since));
    sequence.refuse_all(&own, &npc);
    json!({ "rate": RATE, "sequence": sequence.steps, "refused_after_it": sequence.errors })
}
