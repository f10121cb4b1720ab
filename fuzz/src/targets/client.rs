//! A hostile server with valid keys, against the client SDK.
//!
//! Whatever rate and tick it names, whatever it says: no panic; a turn of the client's loop takes bounded work and leaves
//! nothing due; what the client sends opens under the next number, parses, and holds sound inputs, no more than its rate
//! allows; the view keeps its limit and follows from the events; poses are finite; after the end there is silence.

use std::collections::BTreeSet;
use std::time::Duration;

use client::{Client, ClientState, Config, Event};
use netcode::Time;
use netcode::bits::BitWriter;
use netcode::channel::{INPUT, SESSION};
use netcode::crypto::{Entropy, PacketKey, SessionKeys};
use netcode::error::{CloseReason, DisconnectReason};
use netcode::features::Features;
use netcode::frame::{Frame, Parsed, write_snapshot_head};
use netcode::handshake::{Accepted, HELLO_BYTES};
use netcode::input::read_inputs;
use netcode::message::{MAX_MESSAGE_BYTES, MAX_PART_BYTES, Message, Welcome};
use netcode::packet::{C2S_HEADER, ConnId, Direction, Header as PacketHeader, MAX_DATAGRAM, Preamble, S2C_HEADER};
use netcode::rng::Rng;
use netcode::snapshot::compact::Tables;
use netcode::snapshot::predict::Plans;
use netcode::snapshot::{Ages, Header};
use sim::config::{MAX_RATE_HZ, MIN_RATE_HZ};
use sim::event::{Refusal, What};
use sim::game::Rulebook;
use sim::{EntityId, Input, SCHEMA};

use super::fixture::{self, FuzzEntropy};
use super::schema;
use super::snapshot::parts::{self, Held, Record, Records};
use super::snapshot::trained;
use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    Connected => "connected",
    Welcomed => "welcomed",
    Noticed => "a notice",
    TablesTaken => "tables taken",
    TablesReady => "tables said to be there",
    Compact => "a compact snapshot",
    Spawned => "an entity in view",
    Despawned => "an entity gone",
    Inputs => "inputs sent",
    Pose => "a pose",
    Resync => "an input clock that jumped or waited",
    ProtocolError => "closed for a protocol error",
    ByPeer => "closed by the server",
    IdleTimeout => "an idle timeout",
    Unplayable => "other rules",
    Predicted => "the own body predicted",
    Corrected => "a correction",
    Fired => "a shot",
    Told => "an event of the game",
}

const MAX_STEPS: usize = 32;
const MAX_ENTITIES: u16 = 32;
/// The highest tick that the server names: at 20 Hz it has then run for 1,700 years.
const MAX_TICK: u64 = 1 << 40;
/// What the input clock may send beyond its rate: it starts, jumps or catches up by half a second and some.
const SPARE_SECONDS: f64 = 1.5;

/// The target. What the ACCEPT says comes first, then packets and waits.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let mut world = World::connected(&mut program);
    for _ in 0..MAX_STEPS {
        if program.is_empty() {
            break;
        }
        let op = program.u8();
        match op % 8 {
            0 => {
                let plaintext = program.sized(MAX_DATAGRAM - S2C_HEADER - 16).to_vec();
                world.packet(&plaintext);
            }
            1 => {
                let body = program.sized(600).to_vec();
                world.snapshot(u64::from(op >> 3), &body);
            }
            2 | 3 => {
                let tables = world.pushed.filter(|_| op % 8 == 3);
                let body = body(&mut program, op >> 3, tables);
                world.snapshot(1 + u64::from(op >> 6), &body);
            }
            4 if op >> 3 & 1 != 0 => {
                let (choice, damage) = (op >> 4, program.u8());
                world.push(trained(&SCHEMA, choice & 3), choice >> 2, damage);
            }
            4 => {
                let message = program.sized(300).to_vec();
                if op >> 5 & 1 != 0 { world.tell(&message) } else { world.say(&message) }
            }
            5 => world.jump(program.u64() >> (op >> 3 << 1)),
            6 => world.wait(u64::from(program.u16()) >> (op >> 4)),
            _ => world.client.set_intent(Input {
                move_x: program.u8() as i8,
                move_z: program.u8() as i8,
                yaw: program.u16(),
                buttons: program.u8(),
                weapon: op >> 3,
                ..Input::default()
            }),
        }
        world.settle();
    }
    world.end();
}

/// A body of well-formed spawns and despawns; in the compact codec, if there are tables.
fn body(program: &mut Program<'_>, count: u8, tables: Option<&Tables>) -> Vec<u8> {
    let (flags, margin) = (program.u8(), program.u8() as i8);
    let mut rng = Rng::new(program.u64());
    let margin = (flags & 2 != 0).then_some(margin);
    let mut records: Records = Vec::new();
    let mut next = 0;
    for _ in 0..count % 16 {
        let op = program.u8();
        let slot = next + u16::from(op & 3);
        next = slot + 1;
        let kind = op >> 4 & 1;
        let fields = SCHEMA.kinds[usize::from(kind)].fields;
        let (id, owner) = (u32::from(op >> 2) << 10 | 1, op >> 2 == 0);
        let record = if op & 12 == 12 {
            Record::Despawn
        } else {
            let state = SCHEMA.kinds[usize::from(kind)].visible(owner, &schema::random_state(&mut rng, fields));
            Record::Spawn { id, kind, owner, state }
        };
        records.push((slot, record));
    }
    let ages = if records.is_empty() { Ages::default() } else { Ages { first: 1, second: None } };
    let header = Header { margin, complete: flags & 1 != 0, ages, count: records.len() as u16 };
    match tables {
        None => parts::write(&SCHEMA, &header, &records),
        Some(tables) => {
            let mut held = Held::new(Plans::new(&SCHEMA));
            held.add(tables.clone());
            parts::write_compact(&mut held, tables.version(), &header, &records)
        }
    }
}

struct World {
    client: Client,
    keys: SessionKeys,
    now: Time,
    rate: u16,
    tick: u64,
    next_pn: u64,
    next_from_client: u64,
    next_number: u16,
    /// Number of the next message on the channel of events.
    next_event: u16,
    scratch: Parsed,
    ids: BTreeSet<u32>,
    over: Option<DisconnectReason>,
    /// The newest tables that went out whole.
    pushed: Option<&'static Tables>,
}

impl World {
    fn connected(program: &mut Program<'_>) -> Self {
        let flags = program.u8();
        let rates = MAX_RATE_HZ - MIN_RATE_HZ + 1;
        let rate = if flags & 1 == 0 { fixture::RATE } else { MIN_RATE_HZ + program.u16() % rates };
        let tick = if flags & 2 == 0 { 1000 } else { program.u64() % MAX_TICK };
        let config = Config { max_entities: MAX_ENTITIES, ..Config::default() };
        let mut entropy = FuzzEntropy::new();
        let ephemeral = entropy.ephemeral().expect("the system's entropy works");
        let now = Time::from_millis(if flags & 4 == 0 { 1 } else { u64::from(program.u32()) });
        let mut client = Client::connect(config, &fixture::bundle(), ephemeral, now).expect("the SDK's own table");
        let mut hello = [0; HELLO_BYTES];
        assert_eq!(client.poll_transmit(now, &mut hello), Some(HELLO_BYTES));
        let accepted = Accepted {
            conn: ConnId::new(0, 3, 1),
            tick,
            server_time: 5,
            client_time: now.as_micros(),
            rate,
            max_datagram: MAX_DATAGRAM as u16,
            idle_ms: 10_000,
            channel_hash: fixture::CHANNELS.1,
            schema_hash: SCHEMA.hash(),
            down_cap: 0,
            up_cap: 0,
            features: Features::ALL,
        };
        let (accept, keys) = fixture::accept(&mut entropy, &hello, &accepted);
        client.handle_datagram(now, &mut accept.clone());
        assert_eq!(client.poll_event(), Some(Event::Connected { rate }));
        reach(Feature::Connected);
        let mut world = Self {
            client,
            keys,
            now,
            rate,
            tick,
            next_pn: 0,
            next_from_client: 0,
            next_number: 0,
            next_event: 0,
            scratch: Parsed::default(),
            ids: BTreeSet::new(),
            over: None,
            pushed: None,
        };
        world.settle();
        world
    }

    /// Seals a plaintext as the next packet.
    fn packet(&mut self, plaintext: &[u8]) {
        if plaintext.is_empty() {
            return;
        }
        let mut datagram = vec![0; S2C_HEADER];
        PacketHeader::write(&mut datagram, None, self.next_pn, false);
        datagram.extend_from_slice(plaintext);
        let (aad, sealed) = datagram.split_at_mut(S2C_HEADER);
        let tag = PacketKey::from_secret(self.keys.aead, &self.keys.s2c)
            .seal(self.next_pn, aad, sealed)
            .expect("a short plaintext");
        datagram.extend_from_slice(&tag);
        self.next_pn += 1;
        self.client.handle_datagram(self.now, &mut datagram);
        self.check_view();
    }

    fn snapshot(&mut self, later: u64, body: &[u8]) {
        self.tick = self.tick.wrapping_add(later);
        let mut plaintext = self.plaintext(write_snapshot_head);
        plaintext.extend_from_slice(&body[..body.len().min(1100)]);
        self.packet(&plaintext);
    }

    fn say(&mut self, message: &[u8]) {
        let number = self.next_number;
        let plaintext = self.plaintext(|w| assert!(fixture::write_segment(w, number, message)));
        self.next_number += 1;
        self.packet(&plaintext);
    }

    /// A message on the channel of events.
    fn tell(&mut self, message: &[u8]) {
        let number = self.next_event;
        let plaintext = self.plaintext(|w| {
            if message.len() <= 64 {
                assert!(fixture::write_event(w, number, message));
            }
        });
        self.next_event += 1;
        self.packet(&plaintext);
    }

    /// Tables, part by part: whole, or with a part left out, a byte changed, or another version named.
    fn push(&mut self, tables: &'static Tables, how: u8, damage: u8) {
        let mut bytes = Vec::new();
        tables.write(&mut bytes);
        let parts = bytes.len().div_ceil(MAX_PART_BYTES);
        let version = if how == 3 { damage } else { tables.version() };
        if how == 2 {
            let at = usize::from(damage) * 7 % bytes.len();
            bytes[at] ^= damage;
        }
        let before = self.client.stats().tables;
        for (part, bytes) in bytes.chunks(MAX_PART_BYTES).enumerate() {
            if how == 1 && part == usize::from(damage) % parts {
                continue;
            }
            let mut out = [0; MAX_MESSAGE_BYTES];
            let message = Message::Tables { version, part: part as u8, last: parts as u8 - 1, bytes };
            let len = message.encode(&mut out);
            self.say(&out[..len]);
        }
        if self.client.stats().tables > before {
            reach(Feature::TablesTaken);
            if how == 0 {
                self.pushed = Some(tables);
            }
        }
    }

    fn plaintext(&self, frames: impl FnOnce(&mut BitWriter<'_>)) -> Vec<u8> {
        let mut out = [0; MAX_DATAGRAM];
        let mut w = BitWriter::new(&mut out);
        Preamble { ack: None, tick: Some(self.tick as u16) }.write(&mut w);
        frames(&mut w);
        let len = w.finish();
        out[..len].to_vec()
    }

    /// The server's ticks go on elsewhere.
    fn jump(&mut self, by: u64) {
        self.tick = self.tick.wrapping_add(by);
    }

    fn wait(&mut self, millis: u64) {
        let before = self.client.stats();
        self.now = self.now + Duration::from_millis(millis);
        self.client.handle_timeout(self.now);
        let after = self.client.stats();
        let inputs = (after.inputs - before.inputs) as f64;
        let most = (millis as f64 / 1000.0 + SPARE_SECONDS) * f64::from(self.rate) * 1.05 + 4.0;
        assert!(inputs <= most, "{inputs} inputs in {millis} ms at {} Hz", self.rate);
        if after.resyncs > before.resyncs {
            reach(Feature::Resync);
        }
    }

    fn settle(&mut self) {
        let mut out = [0; MAX_DATAGRAM];
        for turn in 0.. {
            assert!(turn < 8, "the client is never done");
            let mut sent = 0;
            while let Some(len) = self.client.poll_transmit(self.now, &mut out) {
                sent += 1;
                assert!(sent < 8, "packets without end");
                self.open(&mut out[..len]);
            }
            self.drain();
            if self.client.poll_timeout().is_none_or(|due| due > self.now) {
                break;
            }
            self.client.handle_timeout(self.now);
        }
        self.check_poses();
    }

    /// What the client sends opens under the next number, and holds sound inputs.
    fn open(&mut self, datagram: &mut [u8]) {
        let header = PacketHeader::read(datagram, Direction::ToServer).expect("a data packet");
        assert_eq!((header.conn, header.pn), (Some(ConnId::new(0, 3, 1)), self.next_from_client as u16));
        let (aad, sealed) = datagram.split_at_mut(C2S_HEADER);
        let plaintext = PacketKey::from_secret(self.keys.aead, &self.keys.c2s)
            .open(self.next_from_client, aad, sealed)
            .expect("sealed under the session's key");
        assert_eq!(
            self.scratch.parse(plaintext, &fixture::CHANNELS.0, Features::ALL),
            Ok(()),
            "the client breaks the protocol"
        );
        self.next_from_client += 1;
        for frame in &self.scratch.frames {
            match *frame {
                Frame::Message { channel: INPUT, start, len, .. } => {
                    reach(Feature::Inputs);
                    assert!(self.scratch.preamble.tick.is_some(), "inputs without a tick");
                    let inputs = read_inputs(&SCHEMA, self.scratch.body(start, len)).expect("sound inputs");
                    bucket(1 << 32 | inputs.len() as u64);
                }
                Frame::Message { channel: SESSION, start, len, .. } => {
                    let message = Message::decode(self.scratch.body(start, len));
                    assert!(matches!(message, Ok(Message::TablesReady { .. })), "{message:?}");
                    reach(Feature::TablesReady);
                }
                Frame::Control(_) => {}
                other => panic!("a client does not send {other:?}"),
            }
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.client.poll_event() {
            assert!(self.over.is_none(), "{event:?} after the end");
            match event {
                Event::Connected { .. } => panic!("connected twice"),
                Event::Welcome(_) => reach(Feature::Welcomed),
                Event::Unplayable(_) => reach(Feature::Unplayable),
                Event::Fired { .. } => reach(Feature::Fired),
                Event::Corrected { metres } => {
                    reach(Feature::Corrected);
                    assert!(metres.is_finite());
                }
                Event::Game(_) => reach(Feature::Told),
                Event::Notice(_) => reach(Feature::Noticed),
                Event::Spawned { id, .. } => {
                    reach(Feature::Spawned);
                    assert!(self.ids.insert(id), "spawned twice");
                }
                Event::Despawned { id } => {
                    reach(Feature::Despawned);
                    assert!(self.ids.remove(&id), "despawned what was not there");
                }
                Event::Disconnected(reason) => {
                    reach(match reason {
                        DisconnectReason::Local(CloseReason::ProtocolError) => Feature::ProtocolError,
                        DisconnectReason::Local(CloseReason::Requested) => Feature::Unplayable,
                        DisconnectReason::ByPeer(_) => Feature::ByPeer,
                        DisconnectReason::IdleTimeout => Feature::IdleTimeout,
                        other => panic!("a connection cannot end with {other:?}"),
                    });
                    self.over = Some(reason);
                }
            }
        }
        bucket(2 << 32 | self.ids.len() as u64);
        assert!(self.ids.iter().copied().eq(self.client.view().entities().map(|entity| entity.id())));
        if self.client.stats().compact_snapshots > 0 {
            reach(Feature::Compact);
        }
        assert_eq!(self.over.is_some(), self.client.state() == ClientState::Closed);
    }

    fn check_view(&self) {
        assert!(self.client.view().len() <= usize::from(MAX_ENTITIES));
    }

    fn check_poses(&self) {
        let finite = |value: Option<f64>| value.is_none_or(f64::is_finite);
        assert!(finite(self.client.server_tick(self.now)) && finite(self.client.render_tick(self.now)));
        for entity in self.client.view().entities() {
            if let Some(pose) = self.client.interpolate(self.now, entity.id()) {
                reach(Feature::Pose);
                assert!(pose.position.iter().all(|value| value.is_finite() && value.abs() <= 4096.5), "{pose:?}");
                assert!(pose.yaw.is_finite());
            }
        }
        let own = self.client.own_pose(self.now);
        if own.is_some() {
            reach(Feature::Predicted);
        }
        for pose in own.into_iter().chain(self.client.projectiles(self.now).map(|one| one.pose)) {
            assert!(pose.position.iter().all(|value| value.is_finite()) && pose.yaw.is_finite(), "{pose:?}");
        }
        assert_eq!(
            self.client.own_entity().map(|own| own.id()),
            self.client.own().map(EntityId::raw).filter(|own| self.ids.contains(own))
        );
    }

    /// Silence ends every connection.
    fn end(&mut self) {
        for _ in 0..4 {
            self.wait(4000);
            self.settle();
        }
        assert!(self.over.is_some() && self.client.is_finished());
    }
}

/// Honest streams at several rates and ticks, session messages, each way to break the protocol.
pub fn seeds() -> Vec<Vec<u8>> {
    let start = || Script::default().u8(0);
    let message = |script: Script, message: &Message<'_>| {
        let mut out = [0; MAX_MESSAGE_BYTES];
        let len = message.encode(&mut out);
        script.u8(4).sized(&out[..len])
    };
    // A snapshot of some spawns, and 50 ms.
    let tick_in = |codec: u8, script: Script, count: u8, margin: i8, op: u8| {
        let script = script.u8(codec | count << 3).u8(3).u8(margin as u8).u64(9);
        (0..count).fold(script, |script, at| script.u8(op | at << 4)).u8(6).u16(50)
    };
    let tick = |script: Script, count: u8, margin: i8, op: u8| tick_in(2, script, count, margin, op);
    let stream = |script: Script| (0..12u8).fold(script, |script, at| tick(script, 1 + at % 5, 1, at & 3));
    let welcome_of = |entity, rules| {
        Message::Welcome(Welcome {
            entity,
            zone: 1,
            map_seed: 2,
            aoi_radius_m: 64,
            half_extent_m: 100,
            boxes: 3,
            gates: 4,
            ramps: 5,
            rules,
        })
    };
    let book = Rulebook::standard().hash();
    let (welcome, nobody) = (welcome_of(1, book), welcome_of(0, book));
    let told = |script: Script, what| {
        let event = sim::Event { tick: 1000, ordinal: 0, what };
        script.u8(4 | 1 << 5).sized(&event.write())
    };
    let mut scripts = vec![
        stream(start()),
        stream(message(start(), &welcome)),
        stream(stream(message(start(), &welcome)).u8(7 | 3 << 3).u8(15).u8(200).u16(4095).u8(7)),
        stream(stream(message(start(), &welcome)).u8(7).u8(15).u8(200).u16(4095).u8(4)),
        message(start(), &welcome_of(1, 6)),
        told(told(stream(message(start(), &welcome)), What::Refused { cause: Refusal::Ammo }), What::Respawned),
        start().u8(4 | 1 << 5).sized(&[9, 9]),
        stream(start().u8(7).u8(15).u8(200).u16(4095).u8(3)),
        message(start(), &Message::Notice { text: "hello" }),
        message(start(), &nobody),
        start().u8(4).sized(&[9, 9]),
        start().u8(1 | 1 << 3).sized(&[0xff; 40]),
        tick(tick(start(), 7, 100, 0), 7, -100, 12),
        (0..12).fold(start(), |script, at| tick(script, 2, -50, at & 1)).u8(6).u16(3000),
        start().u8(6).u16(12_000),
    ];
    for (rate, at) in [(1, 1000), (128, 0), (65_535, 1000), (20, u64::MAX - 3), (60, 1 << 40), (20, 1 << 60)] {
        scripts.push(stream(Script::default().u8(3).u16(rate).u64(at)));
    }
    for jump in [1, 63, 64, 40_000, 1 << 20] {
        scripts.push(stream(stream(start()).u8(5).u64(jump)));
    }
    scripts.extend(fixture::plaintexts().iter().map(|plaintext| stream(start()).u8(0).sized(plaintext)));
    // Tables of two versions, and snapshots from them; then each way to break a push.
    let push = |script: Script, choice: u8, damage: u8| script.u8(4 | 1 << 3 | choice << 4).u8(damage);
    let compact = |script: Script| (0..6u8).fold(script, |script, at| tick_in(3, script, 3, 1, at & 3 | 1));
    for choice in 0..16 {
        scripts.push(compact(push(compact(push(start(), choice & 3, 0)), choice, 9)));
    }
    scripts.into_iter().map(|script| script.0).collect()
}
