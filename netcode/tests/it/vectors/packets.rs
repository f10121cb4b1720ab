//! Headers, plaintexts, counters, inputs and session messages.

use netcode::bits::BitWriter;
use netcode::channel::{CONTROL, INPUT, SESSION, SNAPSHOT, Table};
use netcode::error::CloseReason;
use netcode::frame::{Control, Frame, Parsed, write_control, write_message, write_snapshot_head};
use netcode::input::{read_inputs, write_inputs};
use netcode::message::{MAX_MESSAGE_BYTES, Message};
use netcode::packet::{AckBlock, Direction, Header, Preamble};
use netcode::schema::State;
use netcode::seq::{expand16, low16};
use serde_json::{Value, json};

use super::schema::SCHEMA;
use super::{big, hex};

/// A part of a plaintext; acks and ticks come first, a snapshot last.
#[derive(Clone)]
pub enum Content {
    Ack { largest: u16, delay: u8, mask: u32 },
    Tick(u64),
    Control(Control),
    Message { channel: u8, number: Option<u64>, bytes: Vec<u8> },
    Snapshot(Vec<u8>),
}

pub fn plaintext(content: &[Content]) -> Vec<u8> {
    let mut buffer = [0; 1200];
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
    for part in content {
        match part {
            Content::Ack { .. } | Content::Tick(_) => {}
            Content::Control(control) => write_control(&mut w, *control),
            Content::Message { channel, number, bytes } => assert!(write_message(&mut w, *channel, *number, bytes)),
            Content::Snapshot(body) => {
                write_snapshot_head(&mut w, SNAPSHOT);
                w.write_bytes(body);
            }
        }
    }
    let len = w.finish();
    buffer[..len].to_vec()
}

fn parsed(plaintext: &[u8]) -> Value {
    let mut parsed = Parsed::default();
    parsed.parse(plaintext, &Table::standard()).unwrap();
    let ack = parsed.preamble.ack.map(|ack| json!({ "largest": ack.largest, "delay": ack.delay, "mask": ack.mask }));
    let frame = |frame: &Frame| match *frame {
        Frame::Control(Control::Ping) => json!({ "control": "ping" }),
        Frame::Control(Control::Close(reason)) => json!({ "control": "close", "reason": reason.wire() }),
        Frame::Message { channel: SESSION, number, start, len } => {
            json!({ "channel": SESSION, "number": number, "body": hex(parsed.body(start, len)) })
        }
        Frame::Message { channel, start, len, .. } => {
            json!({ "channel": channel, "body": hex(parsed.body(start, len)) })
        }
        Frame::Snapshot { channel, start } => {
            json!({ "channel": channel, "body": hex(&plaintext[usize::from(start)..]) })
        }
    };
    let frames: Vec<_> = parsed.frames.iter().map(frame).collect();
    json!({ "ack": ack, "tick": parsed.preamble.tick, "frames": frames })
}

pub fn plaintexts() -> Value {
    let ack = |mask| Content::Ack { largest: 0xfffe, delay: 254, mask };
    let message = |channel, number, len| Content::Message { channel, number, bytes: vec![0xb7; len] };
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing at all", plaintext(&[])),
        ("an ack of everything", plaintext(&[ack(u32::MAX)])),
        ("an ack with a mask", plaintext(&[ack(0x8000_0001)])),
        ("a tick", plaintext(&[Content::Tick(0x1_2345)])),
        ("an ack and a tick", plaintext(&[ack(0), Content::Tick(9)])),
        ("a ping", plaintext(&[Content::Control(Control::Ping)])),
        ("an empty input message", plaintext(&[message(INPUT, None, 0)])),
        ("the longest short length", plaintext(&[message(INPUT, None, 63)])),
        ("the shortest long length", plaintext(&[message(INPUT, None, 64)])),
        ("an empty reliable message", plaintext(&[message(SESSION, Some(65_535), 0)])),
        ("the longest reliable message", plaintext(&[message(SESSION, Some(65_536), 1024)])),
        ("a snapshot alone", plaintext(&[Content::Tick(7), Content::Snapshot(vec![1, 2, 3])])),
        (
            "one of each",
            plaintext(&[
                ack(5),
                Content::Tick(70_000),
                Content::Control(Control::Ping),
                message(SESSION, Some(3), 5),
                message(SESSION, Some(4), 1),
                message(INPUT, None, 2),
                Content::Snapshot(vec![0xff; 4]),
            ]),
        ),
        ("as many frames as there may be", plaintext(&vec![Content::Control(Control::Ping); 64])),
    ];
    let closes: Vec<_> =
        CloseReason::ALL.iter().map(|reason| plaintext(&[Content::Control(Control::Close(*reason))])).collect();
    cases.extend(closes.into_iter().map(|bytes| ("a close", bytes)));
    // A frame that ends with its byte needs no end mark; a byte of zeros behind it is one.
    let full = raw(&[(0, 2), (1, 1), (1, 4), (0, 1), (1, 1), (0, 11), (0, 4)]);
    assert_eq!(full.len(), 3);
    cases.push(("a short length in the long form", full));
    let case =
        |(name, bytes): (&str, Vec<u8>)| json!({ "name": name, "plaintext": hex(&bytes), "parsed": parsed(&bytes) });
    cases.into_iter().map(case).collect()
}

/// Fields by hand: values and widths.
fn raw(fields: &[(u64, u32)]) -> Vec<u8> {
    let mut buffer = [0; 1200];
    let mut w = BitWriter::new(&mut buffer);
    fields.iter().for_each(|(value, bits)| w.write(*value, *bits));
    let len = w.finish();
    buffer[..len].to_vec()
}

pub fn malformed() -> Value {
    let frame = |channel: u8, len: u64, body: &[(u64, u32)]| {
        let head = [(0, 2), (1, 1), (u64::from(channel), 4), (0, 1), (1, 1), (len, 11)];
        raw(&[&head[..], body].concat())
    };
    let to_end = |channel: u8, body: &[(u64, u32)]| {
        raw(&[&[(0, 2), (1, 1), (u64::from(channel), 4), (1, 1)][..], body].concat())
    };
    let message = |channel, number, len| plaintext(&[Content::Message { channel, number, bytes: vec![1; len] }]);
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("F-1", "the preamble ends early", raw(&[(1, 1), (0, 7)])),
        ("F-2", "a whole byte behind the end", vec![0, 0]),
        ("F-2", "padding that is not zero", vec![0x80]),
        ("F-3", "no such channel", frame(3, 0, &[])),
        ("F-4", "messages do not run to the end", to_end(INPUT, &[(1, 8)])),
        ("F-4", "a snapshot with a length", frame(SNAPSHOT, 1, &[(1, 8)])),
        ("F-4", "an empty snapshot", to_end(SNAPSHOT, &[])),
        ("F-4", "a snapshot that is too long", to_end(SNAPSHOT, &[(1, 8); 1101])),
        (
            "F-4",
            "padding before the snapshot that is not zero",
            raw(&[(1, 1), (0, 24), (1, 1), (0, 1), (1, 1), (0, 4), (1, 1), (1, 7), (1, 8)]),
        ),
        ("F-5", "a frame that ends behind its channel", raw(&[(0, 2), (1, 1), (15, 4)])),
        ("F-5", "a length that is cut short", raw(&[(0, 2), (1, 1), (1, 4), (0, 1), (1, 1), (0, 7)])),
        ("F-5", "a message number that is cut short", frame(SESSION, 2, &[(1, 8)])),
        ("F-5", "a body that is cut short", frame(INPUT, 3, &[(1, 16)])),
        ("F-5", "longer than the channel allows", message(INPUT, None, 65)),
        ("F-5", "longer than the channel allows", message(SESSION, Some(0), 1025)),
        ("F-6", "no room for the message number", frame(SESSION, 1, &[(1, 8)])),
        ("F-7", "an unknown control", frame(CONTROL, 1, &[(2, 8)])),
        ("F-7", "a ping that is too long", frame(CONTROL, 2, &[(0, 16)])),
        ("F-7", "a close without a reason", frame(CONTROL, 1, &[(1, 8)])),
        ("F-7", "a close for an unknown reason", frame(CONTROL, 2, &[(1, 8), (6, 8)])),
        ("F-8", "too many frames", plaintext(&vec![Content::Control(Control::Ping); 65])),
    ];
    let case = |(rule, name, bytes): (&str, &str, Vec<u8>)| {
        assert!(Parsed::default().parse(&bytes, &Table::standard()).is_err(), "{name}");
        json!({ "rule": rule, "name": name, "plaintext": hex(bytes) })
    };
    cases.into_iter().map(case).collect()
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
        ("no plaintext", Direction::ToServer, datagram(0x40, 23)),
        ("a reserved bit", Direction::ToClient, datagram(0x42, 40)),
        ("the other key phase", Direction::ToServer, datagram(0x41, 40)),
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

fn input(fields: [i32; 4]) -> State {
    let mut state = State::default();
    state[..4].copy_from_slice(&fields);
    state
}

pub fn inputs() -> Value {
    let (ahead, left) = (input([0, 15, 0, 1]), input([-16, 0, 3072, 0]));
    let lists = [
        vec![input([0; 4])],
        vec![ahead, ahead],
        vec![left, ahead, ahead, input([15, -16, 4095, 15]), left],
        vec![ahead; 8],
        (0..8).map(|i| input([i, -i, i * 100, i & 3])).collect(),
    ];
    let good = |inputs: Vec<State>| {
        let mut buffer = [0; 64];
        let mut w = BitWriter::new(&mut buffer);
        write_inputs(&mut w, &SCHEMA, &inputs);
        let len = w.finish();
        assert_eq!(read_inputs(&SCHEMA, &buffer[..len]).unwrap().as_slice(), inputs);
        let fields: Vec<_> = inputs.iter().map(|state| state[..4].to_vec()).collect();
        json!({ "newest_first": fields, "body": hex(&buffer[..len]) })
    };
    lists.into_iter().map(good).collect()
}

pub fn messages() -> Value {
    let welcome = Message::Welcome { entity: 0x0010_0005, zone: 1, map_seed: 0x0123_4567_89ab_cdef, aoi_radius_m: 80 };
    let notice = Message::Notice { text: "Grüße" };
    let bytes = |message: &Message<'_>| {
        let mut out = [0; MAX_MESSAGE_BYTES];
        let len = message.encode(&mut out);
        assert_eq!(Message::decode(&out[..len]).as_ref(), Ok(message));
        hex(&out[..len])
    };
    let Message::Welcome { entity, zone, map_seed, aoi_radius_m } = welcome else { unreachable!() };
    json!([
        {
            "message": "welcome",
            "entity": entity,
            "zone": zone,
            "map_seed": big(map_seed),
            "aoi_radius_m": aoi_radius_m,
            "bytes": bytes(&welcome),
        },
        { "message": "notice", "text": "Grüße", "bytes": bytes(&notice) },
    ])
}
