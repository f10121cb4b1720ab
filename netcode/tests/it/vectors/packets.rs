//! Headers, plaintexts, counters, inputs and session messages.

use netcode::bits::BitWriter;
use netcode::channel::{EVENT, INPUT, SESSION, SNAPSHOT, Table};
use netcode::error::CloseReason;
use netcode::features::Features;
use netcode::frame::{Control, Frame, Head, Parsed, write_control, write_message, write_snapshot_head};
use netcode::input::{read_inputs, write_inputs};
use netcode::message::{MAX_MESSAGE_BYTES, Message, Welcome};
use netcode::packet::{AckBlock, Direction, Header, MAX_DATAGRAM, Preamble};
use netcode::schema::{Field, State};
use netcode::seq::{expand16, low16};
use serde_json::{Value, json};

use super::schema::SCHEMA;
use super::snapshots::with;
use super::{big, hex};

/// A part of a plaintext; acks and ticks come first, a snapshot last.
#[derive(Clone)]
pub enum Content {
    Ack { largest: u16, delay: u8, mask: u32 },
    Tick(u64),
    Control(Control),
    Message { channel: u8, head: Head, bytes: Vec<u8> },
    Snapshot(Vec<u8>),
}

/// Of the laboratory table, which begins with the standard one.
const UNORDERED: u8 = 5;
const DATAGRAM: u8 = 6;
const BLOCK: u8 = 8;

/// A whole message.
pub fn whole(channel: u8, bytes: Vec<u8>) -> Content {
    Content::Message { channel, head: Head::Whole, bytes }
}

/// A segment that is a whole message.
pub fn segment(channel: u8, number: u64, bytes: Vec<u8>) -> Content {
    let head = Head::Segment { number: low16(number), first: true, last: true };
    Content::Message { channel, head, bytes }
}

pub fn plaintext(content: &[Content]) -> Vec<u8> {
    let mut buffer = [0; MAX_DATAGRAM];
    let mut w = BitWriter::new(&mut buffer);
    let mut preamble = Preamble::default();
    for part in content {
        match part {
            Content::Ack { largest, delay, mask } => {
                preamble.ack = Some(AckBlock { largest: *largest, delay: *delay, mask: *mask });
            }
            Content::Tick(tick) => preamble.tick = Some(low16(*tick)),
            _ => {}
        }
    }
    preamble.write(&mut w);
    let mut snapshot = Vec::new();
    for part in content {
        match part {
            Content::Ack { .. } | Content::Tick(_) => {}
            Content::Control(control) => write_control(&mut w, *control),
            Content::Message { channel, head, bytes } => {
                let kind = Table::lab().get(*channel).unwrap().kind;
                assert!(write_message(&mut w, *channel, kind, *head, bytes));
            }
            Content::Snapshot(body) => {
                write_snapshot_head(&mut w);
                snapshot.clone_from(body);
            }
        }
    }
    let len = w.finish();
    [&buffer[..len], &snapshot].concat()
}

fn control(control: Control) -> Value {
    match control {
        Control::Ping => json!({ "control": "ping" }),
        Control::Close(reason) => json!({ "control": "close", "reason": reason.wire() }),
        Control::PathChallenge(data) => json!({ "control": "path_challenge", "data": hex(data) }),
        Control::PathResponse(data) => json!({ "control": "path_response", "data": hex(data) }),
        Control::MtuProbe => json!({ "control": "mtu_probe" }),
        Control::TimeRequest { at_once, sent } => {
            json!({ "control": "time_request", "at_once": at_once, "sent": sent })
        }
        Control::TimeReply { sent, received, hold } => {
            json!({ "control": "time_reply", "sent": sent, "received": big(received), "hold": hold })
        }
    }
}

fn message(channel: u8, head: Head, payload: &[u8]) -> Value {
    let mut value = match head {
        Head::Whole => json!({}),
        Head::Part { id, index, last } => json!({ "id": id, "index": index, "last": last }),
        Head::Segment { number, first, last } => json!({ "number": number, "first": first, "last": last }),
        Head::Chunk { id, total, index } => json!({ "op": "chunk", "id": id, "total": total, "index": index }),
        Head::Credit { id, limit } => json!({ "op": "credit", "id": id, "limit": limit }),
        Head::Cancel { id, by_sender } => json!({ "op": "cancel", "id": id, "by_sender": by_sender }),
    };
    value["channel"] = channel.into();
    value["payload"] = hex(payload);
    value
}

fn parsed(plaintext: &[u8], table: &Table) -> Value {
    let mut parsed = Parsed::default();
    parsed.parse(plaintext, table, Features::ALL).unwrap();
    let ack = parsed.preamble.ack.map(|ack| json!({ "largest": ack.largest, "delay": ack.delay, "mask": ack.mask }));
    let frame = |frame: &Frame| match *frame {
        Frame::Control(frame) => control(frame),
        Frame::Message { channel, head, start, len } => message(channel, head, parsed.body(start, len)),
        Frame::Snapshot { start } => json!({ "snapshot": hex(&plaintext[usize::from(start)..]) }),
    };
    let frames: Vec<_> = parsed.frames.iter().map(frame).collect();
    json!({ "ack": ack, "tick": parsed.preamble.tick, "frames": frames })
}

pub fn plaintexts() -> Value {
    let cases = standard_plaintexts().into_iter().map(|(name, bytes)| (name, "standard", Table::standard(), bytes));
    let lab = lab_plaintexts().into_iter().map(|(name, bytes)| (name, "lab", Table::lab(), bytes));
    let case = |(name, table, channels, bytes): (&str, &str, Table, Vec<u8>)| {
        let parsed = parsed(&bytes, &channels);
        json!({ "name": name, "table": table, "features": Features::ALL.0, "plaintext": hex(&bytes), "parsed": parsed })
    };
    cases.chain(lab).map(case).collect()
}

fn standard_plaintexts() -> Vec<(&'static str, Vec<u8>)> {
    let ack = |mask| Content::Ack { largest: 0xfffe, delay: 254, mask };
    let ping = Content::Control(Control::Ping);
    let controls = [
        ("a path challenge", Control::PathChallenge([1, 2, 3, 4, 5, 6, 7, 0xf8])),
        ("a path response", Control::PathResponse([1, 2, 3, 4, 5, 6, 7, 0xf8])),
        ("an mtu probe without zeros", Control::MtuProbe),
        ("a time request", Control::TimeRequest { at_once: false, sent: 0x8000_0001 }),
        ("a time request at once", Control::TimeRequest { at_once: true, sent: u32::MAX }),
        ("a time reply", Control::TimeReply { sent: 0x8000_0001, received: 0x0123_4567_89ab_cdef, hold: 70_000 }),
    ];
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing at all", plaintext(&[])),
        ("an ack of everything", plaintext(&[ack(u32::MAX)])),
        ("an ack with a mask", plaintext(&[ack(0x8000_0001)])),
        ("a tick", plaintext(&[Content::Tick(0x1_2345)])),
        ("an ack and a tick", plaintext(&[ack(0), Content::Tick(9)])),
        ("a ping", plaintext(std::slice::from_ref(&ping))),
        ("an empty input message", plaintext(&[whole(INPUT, vec![])])),
        ("the longest short length", plaintext(&[whole(INPUT, vec![0xb7; 63])])),
        ("the shortest long length", plaintext(&[whole(INPUT, vec![0xb7; 64])])),
        ("an empty reliable message", plaintext(&[segment(SESSION, 65_535, vec![])])),
        ("the longest segment", plaintext(&[segment(SESSION, 65_536, vec![0xb7; 1024])])),
        ("an event of the game", plaintext(&[segment(EVENT, 7, vec![0xe7; 64])])),
        ("a snapshot alone", plaintext(&[Content::Tick(7), Content::Snapshot(vec![1, 2, 3])])),
        ("the longest snapshot", plaintext(&[Content::Tick(7), Content::Snapshot(vec![0xd1; 1352])])),
        (
            "one of each",
            plaintext(&[
                ack(5),
                Content::Tick(70_000),
                ping.clone(),
                segment(SESSION, 3, vec![0xb7; 5]),
                segment(SESSION, 4, vec![0xb7]),
                whole(INPUT, vec![0xb7; 2]),
                Content::Snapshot(vec![0xff; 4]),
            ]),
        ),
        ("as many frames as there may be", plaintext(&vec![ping; 64])),
    ];
    cases.extend(controls.map(|(name, control)| (name, plaintext(&[Content::Control(control)]))));
    let mut probe = plaintext(&[ack(u32::MAX), Content::Tick(1), Content::Control(Control::MtuProbe)]);
    probe.resize(1433, 0);
    cases.push(("an mtu probe that fills a packet", probe));
    let closes = CloseReason::ALL.iter().map(|reason| plaintext(&[Content::Control(Control::Close(*reason))]));
    cases.extend(closes.map(|bytes| ("a close", bytes)));
    // A frame that ends with its byte needs no end mark; a byte of zeros behind it is one.
    let full = raw(&[(0, 2), (1, 1), (0, 1), (1, 4), (1, 1), (0, 11), (0, 4)]);
    assert_eq!(full.len(), 3);
    cases.push(("a short length in the long form", full));
    cases
}

fn lab_plaintexts() -> Vec<(&'static str, Vec<u8>)> {
    let one = |channel, head, bytes: Vec<u8>| plaintext(&[Content::Message { channel, head, bytes }]);
    let of = |number, first, last| Head::Segment { number, first, last };
    vec![
        ("a whole unreliable message", one(DATAGRAM, Head::Whole, vec![0xd5; 7])),
        ("the longest whole unreliable message", one(DATAGRAM, Head::Whole, vec![0xd5; 1024])),
        ("the first of two parts", one(DATAGRAM, Head::Part { id: 0xfedc, index: 0, last: 1 }, vec![0xd5; 1024])),
        ("the last of eight parts", one(DATAGRAM, Head::Part { id: 1, index: 7, last: 7 }, vec![0xd5; 1])),
        ("the first segment of several", one(UNORDERED, of(0, true, false), vec![0xe5; 1024])),
        ("a segment in the middle", one(UNORDERED, of(0x8001, false, false), vec![0xe5; 1024])),
        ("the last segment of several", one(UNORDERED, of(0xffff, false, true), vec![0xe5; 3])),
        ("a chunk", one(BLOCK, Head::Chunk { id: 9, total: 0x12_3456, index: 1163 }, vec![0xbc; 1024])),
        ("the last chunk", one(BLOCK, Head::Chunk { id: 9, total: 0x12_3456, index: 1165 }, vec![0xbc; 86])),
        (
            "the last chunk of the longest block",
            one(BLOCK, Head::Chunk { id: 0xffff, total: 1 << 24, index: 16_383 }, vec![0xbc; 1024]),
        ),
        ("a credit", one(BLOCK, Head::Credit { id: 9, limit: 256 }, vec![])),
        ("the highest credit", one(BLOCK, Head::Credit { id: 9, limit: 16_384 }, vec![])),
        ("a cancel by the sender", one(BLOCK, Head::Cancel { id: 9, by_sender: true }, vec![])),
        ("a cancel by the receiver", one(BLOCK, Head::Cancel { id: 10, by_sender: false }, vec![])),
    ]
}

/// Fields by hand: values and widths.
fn raw(fields: &[(u64, u32)]) -> Vec<u8> {
    let mut buffer = [0; 1452];
    let mut w = BitWriter::new(&mut buffer);
    fields.iter().for_each(|(value, bits)| w.write(*value, *bits));
    let len = w.finish();
    buffer[..len].to_vec()
}

/// A message frame by hand: channel, length, and what follows.
fn frame(channel: u64, len: u64, rest: &[(u64, u32)]) -> Vec<u8> {
    raw(&[&[(0, 2), (1, 1), (0, 1), (channel, 4), (1, 1), (len, 11)][..], rest].concat())
}

/// A control frame by hand.
fn control_frame(kind: u64, rest: &[(u64, u32)]) -> Vec<u8> {
    raw(&[&[(0, 2), (0b011, 3), (kind, 4)][..], rest].concat())
}

type Case = (&'static str, &'static str, &'static str, Features, Vec<u8>);

pub fn malformed() -> Value {
    let case = |(rule, name, table, features, bytes): Case| {
        let channels = if table == "lab" { Table::lab() } else { Table::standard() };
        assert!(Parsed::default().parse(&bytes, &channels, features).is_err(), "{name}");
        json!({ "rule": rule, "name": name, "table": table, "features": features.0, "plaintext": hex(bytes) })
    };
    malformed_framing().into_iter().chain(malformed_frames()).map(case).collect()
}

fn malformed_framing() -> Vec<Case> {
    let to_end = |body: &[(u64, u32)]| raw(&[&[(0, 2), (0b111, 3), (0, 3)][..], body].concat());
    let standard = |rule, name, bytes| (rule, name, "standard", Features::ALL, bytes);
    vec![
        standard("F-1", "the preamble ends early", raw(&[(1, 1), (0, 7)])),
        standard("F-2", "a whole byte behind the end", vec![0, 0]),
        standard("F-2", "padding that is not zero", vec![0x80]),
        standard("F-3", "no such channel", frame(4, 0, &[])),
        standard("F-4", "a message on the snapshot channel", frame(u64::from(SNAPSHOT), 1, &[(1, 8)])),
        standard("F-4", "an empty snapshot", to_end(&[])),
        standard("F-4", "a snapshot that is too long", to_end(&[(1, 8); 1353])),
        standard("F-4", "padding before the snapshot that is not zero", raw(&[(0, 2), (0b111, 3), (1, 3), (1, 8)])),
        standard("F-5", "a frame that ends behind its channel", raw(&[(0, 2), (1, 1), (0, 1), (1, 4)])),
        standard("F-5", "a length that is cut short", raw(&[(0, 2), (1, 1), (0, 1), (1, 4), (1, 1), (0, 7)])),
        standard("F-5", "a segment's head that is cut short", frame(u64::from(SESSION), 0, &[(1, 8)])),
        standard("F-5", "a payload that is cut short", frame(u64::from(INPUT), 3, &[(1, 16)])),
        standard("F-8", "too many frames", plaintext(&vec![Content::Control(Control::Ping); 65])),
    ]
}

fn malformed_frames() -> Vec<Case> {
    let one = |channel, head, bytes: Vec<u8>| plaintext(&[Content::Message { channel, head, bytes }]);
    let lab = |rule, name, bytes| (rule, name, "lab", Features::ALL, bytes);
    let segment = Head::Segment { number: 0, first: true, last: true };
    let mut probe = plaintext(&[Content::Control(Control::MtuProbe)]);
    probe.extend([0, 0, 1]);
    let without = |feature: Features, control| {
        let features = Features(Features::ALL.0 & !feature.0);
        ("F-7", "a frame of a feature that is not agreed", "lab", features, plaintext(&[Content::Control(control)]))
    };
    vec![
        lab("F-6", "a whole message longer than the channel allows", one(INPUT, Head::Whole, vec![1; 129])),
        lab("F-6", "a segment of more than 1024 bytes", one(SESSION, segment, vec![1; 1025])),
        lab("F-6", "one part of one", one(DATAGRAM, Head::Part { id: 0, index: 0, last: 0 }, vec![1])),
        lab("F-6", "a part beyond the last", one(DATAGRAM, Head::Part { id: 0, index: 3, last: 2 }, vec![1])),
        lab(
            "F-6",
            "a part of more than 1024 bytes",
            one(DATAGRAM, Head::Part { id: 0, index: 0, last: 2 }, vec![1; 1025]),
        ),
        lab(
            "F-6",
            "a chunk of more than 1024 bytes",
            one(BLOCK, Head::Chunk { id: 0, total: 4096, index: 0 }, vec![1; 1025]),
        ),
        lab("F-6", "a credit with a payload", one(BLOCK, Head::Credit { id: 0, limit: 9 }, vec![1])),
        lab("F-6", "a cancel with a payload", one(BLOCK, Head::Cancel { id: 0, by_sender: true }, vec![1])),
        lab("F-6", "an op of 3", frame(u64::from(BLOCK), 0, &[(3, 2), (0, 16), (0, 38)])),
        lab("F-7", "an unknown control", control_frame(7, &[])),
        lab("F-7", "another unknown control", control_frame(15, &[(0, 64)])),
        lab("F-7", "a close without a reason", control_frame(1, &[])),
        lab("F-7", "a close for an unknown reason", control_frame(1, &[(6, 8)])),
        lab("F-7", "a challenge that is cut short", control_frame(2, &[(0, 56)])),
        lab("F-7", "an mtu probe with a bit", probe),
        without(Features::MTU, Control::MtuProbe),
        without(Features::CLOCK, Control::TimeRequest { at_once: false, sent: 0 }),
        without(Features::CLOCK, Control::TimeReply { sent: 0, received: 0, hold: 0 }),
    ]
}

pub fn dropped_headers() -> Value {
    let datagram = |first: u8, len: usize| {
        let mut bytes = vec![0; len];
        bytes[0] = first;
        bytes
    };
    let cases = [
        ("an unknown type", Direction::ToClient, datagram(0xc0, 40)),
        ("an unknown type", Direction::ToServer, datagram(0x80, 40)),
        ("too long", Direction::ToClient, datagram(0x40, 1453)),
        ("no plaintext", Direction::ToClient, datagram(0x40, 19)),
        ("no plaintext", Direction::ToServer, datagram(0x41, 23)),
        ("a reserved bit", Direction::ToClient, datagram(0x42, 40)),
        ("a reserved bit", Direction::ToServer, datagram(0x61, 40)),
    ];
    let case = |(name, direction, bytes): (&str, Direction, Vec<u8>)| {
        let drop = Header::read(&bytes, direction).unwrap_err();
        let to = if direction == Direction::ToServer { "server" } else { "client" };
        json!({ "name": name, "to": to, "datagram": hex(bytes), "cause": drop.name() })
    };
    cases.into_iter().map(case).collect()
}

pub fn expansion() -> Value {
    let cases = [
        (0, 0),
        (0, 5),
        (0, 0x8000),
        (0, 0x8001),
        (0, 0xffff),
        (3, 0xfffe),
        (0x7fff, 0xffff),
        (0x8000, 0x0000),
        (0x8001, 0x0000),
        (0xffff, 0x0000),
        (0xffff, 0x7fff),
        (0xffff, 0x8000),
        (0x1_0000, 0xffff),
        (0x1_0000, 0x8000),
        (0x1_0000, 0x7fff),
        (0x1_2345, 0x2344),
        (0x1_8000, 0x0000),
        (0x1_8001, 0x0000),
        (0x1234_5678_9abc, 0xffff),
    ];
    let case = |(reference, low): (u64, u16)| json!({ "reference": big(reference), "low": low, "value": big(expand16(reference, low)) });
    cases.into_iter().map(case).collect()
}

fn input(fields: [i32; 9]) -> State {
    let mut state = State::default();
    state[..9].copy_from_slice(&fields);
    state
}

pub fn inputs() -> Value {
    let ahead = input([0, 15, 0, 0, 1, 0, 0, 0, 0]);
    let left = input([-16, 0, 49152, -300, 0, 2, 0, 0, 0]);
    let fires = input([-16, 0, 49152, -300, 4, 0, 100, 7, 0]);
    let most = input([15, -16, 65535, 16384, 255, 15, 2047, 15, (1 << 28) - 1]);
    let lists = [
        vec![input([0; 9])],
        vec![ahead, ahead],
        vec![left, ahead, ahead, most, left],
        vec![left, fires, left, fires],
        vec![ahead; 8],
        (0..8).map(|i| input([i, -i, i * 100, -i * 99, i & 3, 0, i * 32, i, i << 12])).collect(),
        (0..8).map(|i| with(most, &[(0, i), (2, i), (3, -i), (4, i), (6, i), (8, i)])).collect(),
    ];
    let case = |inputs: &[State], body: &[u8], as_written: bool| {
        assert_eq!(read_inputs(&SCHEMA, body).unwrap().as_slice(), inputs);
        let fields: Vec<_> = inputs.iter().map(|state| state[..SCHEMA.input.len()].to_vec()).collect();
        json!({ "newest_first": fields, "body": hex(body), "as_written": as_written })
    };
    let good = |inputs: Vec<State>| {
        let mut buffer = [0; 128];
        let mut w = BitWriter::new(&mut buffer);
        write_inputs(&mut w, &SCHEMA, &inputs);
        let len = w.finish();
        case(&inputs, &buffer[..len], true)
    };
    // What no writer would write: every group is set though nothing in it differs, in a newest input and in one that could be
    // the same.
    let lavish = input([0, 15, 0, 0, 0, 0, 0, 0, 0]);
    let all = lavish_groups(&lavish);
    let by_hand = raw(&[&[(1, 3)][..], &all, &[(0, 1)], &all].concat());
    lists.into_iter().map(good).chain([case(&[lavish; 2], &by_hand, false)]).collect()
}

/// All groups of an input, each set.
fn lavish_groups(input: &State) -> Vec<(u64, u32)> {
    let mut out = Vec::new();
    for group in 0..8 {
        let fields: Vec<_> = SCHEMA.input.iter().zip(input).filter(|(field, _)| field.group == group).collect();
        if !fields.is_empty() {
            out.push((1, 1));
            let raw = |(field, value): (&Field, &i32)| (*value as u64 & ((1 << field.bits) - 1), u32::from(field.bits));
            out.extend(fields.into_iter().map(raw));
        }
    }
    out
}

pub fn messages() -> Value {
    let (entity, zone, map_seed, aoi_radius_m) = (0x0010_0005, 1, 0x0123_4567_89ab_cdef, 80);
    let (half_extent_m, boxes, gates, ramps, rules) = (500, 4000, 0x0203_0405, 0x1234, 0xfedc_ba98_7654_3210);
    let welcome =
        Message::Welcome(Welcome { entity, zone, map_seed, aoi_radius_m, half_extent_m, boxes, gates, ramps, rules });
    let notice = Message::Notice { text: "Grüße" };
    let part = [0xab, 0xcd, 0xef];
    let tables = Message::Tables { version: 7, part: 1, last: 2, bytes: &part };
    let bytes = |message: &Message<'_>| {
        let mut out = [0; MAX_MESSAGE_BYTES];
        let len = message.encode(&mut out);
        assert_eq!(Message::decode(&out[..len]).as_ref(), Ok(message));
        hex(&out[..len])
    };
    json!([
        {
            "message": "welcome",
            "entity": entity,
            "zone": zone,
            "map_seed": big(map_seed),
            "aoi_radius_m": aoi_radius_m,
            "half_extent_m": half_extent_m,
            "boxes": boxes,
            "gates": gates,
            "ramps": ramps,
            "rules": big(rules),
            "bytes": bytes(&welcome),
        },
        { "message": "notice", "text": "Grüße", "bytes": bytes(&notice) },
        { "message": "tables", "version": 7, "part": 1, "last": 2, "data": hex(part), "bytes": bytes(&tables) },
        { "message": "tables_ready", "version": 7, "bytes": bytes(&Message::TablesReady { version: 7 }) },
        { "message": "pace", "tick": big(1 << 40 | 5), "percent": 150, "bytes": bytes(&Message::Pace { tick: 1 << 40 | 5, percent: 150 }) },
    ])
}
