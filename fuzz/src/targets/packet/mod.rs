//! Data packets: headers and plaintexts that parse are within their bounds, parse as the model of the rules says, and
//! write back to no more bytes that parse to the same; what is malformed breaks a rule of the model.

mod model;

use std::sync::LazyLock;

use netcode::bits::BitWriter;
use netcode::channel::{Channel, INPUT, Kind, MAX_CHANNELS, Table};
use netcode::error::CloseReason;
use netcode::features::Features;
use netcode::frame::{Control, Frame, Head, MAX_FRAMES, Parsed, write_control, write_message, write_snapshot_head};
use netcode::packet::{AckBlock, ConnId, Direction, Header, MAX_DATAGRAM, Preamble, worker_of};

use self::model::Reason;
use super::fixture;
use crate::feature::bucket;
use crate::features;

features! {
    Header => "a header that is right",
    BadHeader => "a header that is not",
    Phase => "the other key phase",
    Ack => "an ack with a mask",
    Ping => "a ping",
    Close => "a close",
    PathChallenge => "a path challenge",
    PathResponse => "a path response",
    MtuProbe => "an MTU probe",
    TimeRequest => "a time request",
    TimeReply => "a time reply",
    Whole => "a whole message",
    Part => "a part",
    Segment => "a segment",
    Chunk => "a chunk",
    Credit => "a credit",
    Cancel => "a cancel",
    Snapshot => "a snapshot",
    Full => "as many frames as a packet takes",
    Truncated => "a truncated plaintext",
    NoChannel => "no such channel",
    TooLong => "a payload that is too long",
    BadPart => "a part beyond the last",
    BadOp => "a frame that no block knows",
    BadControl => "a control frame that nobody knows",
    BadCloseReason => "a reason that nobody knows",
    NotAgreed => "a feature that was not agreed on",
    NotZero => "ones where zeros must be",
    BadSnapshot => "a snapshot too short or too long",
    TooManyFrames => "a frame too many",
    Padding => "padding that is none",
}

/// Standard channels, those of laboratories, and a table with odd limits and as many channels as there can be.
static TABLES: LazyLock<[Table; 3]> = LazyLock::new(|| [Table::standard(), Table::lab(), odd_table()]);

/// The target. The first byte chooses direction, table and features; the rest is a datagram whose plaintext was not
/// sealed.
pub fn run(input: &[u8]) {
    let Some((&choice, datagram)) = input.split_first() else { return };
    let direction = if choice & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
    let Ok(header) = Header::read(datagram, direction) else { return reach(Feature::BadHeader) };
    reach(Feature::Header);
    header_writes_back(&header, datagram, direction);
    let features = Features(u64::from(choice >> 1 & 3));
    let table: &Table = &TABLES[usize::from(choice >> 3) % TABLES.len()];
    let plaintext = &datagram[direction.header_bytes()..datagram.len() - 16];
    let mut parsed = Parsed::default();
    let result = parsed.parse(plaintext, table, features);
    assert!(parsed.bodies.capacity() <= 2 * plaintext.len().max(8), "more is allocated than the packet is long");
    match model::frames(plaintext, table, features) {
        Err(reason) => {
            assert!(result.is_err(), "taken, though {reason:?}");
            note(reason);
        }
        Ok((frames, bodies)) => {
            assert_eq!(result, Ok(()), "refused for no reason: {frames:?}");
            assert_eq!((parsed.frames.as_slice(), &parsed.bodies), (frames.as_slice(), &bodies));
            look_at(&parsed);
            writes_back(&parsed, plaintext, table, features);
        }
    }
}

fn header_writes_back(header: &Header, datagram: &[u8], direction: Direction) {
    let mut out = [0; 8];
    let len = Header::write(&mut out, header.conn, u64::from(header.pn) | 0xabcd_0000, header.phase);
    assert_eq!(len, direction.header_bytes());
    assert_eq!(out[..len], datagram[..len]);
    assert!(datagram.len() <= MAX_DATAGRAM && datagram.len() > direction.overhead());
    if direction == Direction::ToServer {
        assert_eq!(worker_of(datagram), header.conn.map(ConnId::worker));
    }
    if header.phase {
        reach(Feature::Phase);
    }
}

fn look_at(parsed: &Parsed) {
    let mut outcome = parsed.frames.len() as u64;
    if parsed.frames.len() == MAX_FRAMES {
        reach(Feature::Full);
    }
    if parsed.preamble.ack.is_some_and(|ack| ack.mask != u32::MAX) {
        reach(Feature::Ack);
    }
    for frame in &parsed.frames {
        let feature = match *frame {
            Frame::Control(Control::Ping) => Feature::Ping,
            Frame::Control(Control::Close(_)) => Feature::Close,
            Frame::Control(Control::PathChallenge(_)) => Feature::PathChallenge,
            Frame::Control(Control::PathResponse(_)) => Feature::PathResponse,
            Frame::Control(Control::MtuProbe) => Feature::MtuProbe,
            Frame::Control(Control::TimeRequest { .. }) => Feature::TimeRequest,
            Frame::Control(Control::TimeReply { .. }) => Feature::TimeReply,
            Frame::Message { head: Head::Whole, .. } => Feature::Whole,
            Frame::Message { head: Head::Part { .. }, .. } => Feature::Part,
            Frame::Message { head: Head::Segment { .. }, .. } => Feature::Segment,
            Frame::Message { head: Head::Chunk { .. }, .. } => Feature::Chunk,
            Frame::Message { head: Head::Credit { .. }, .. } => Feature::Credit,
            Frame::Message { head: Head::Cancel { .. }, .. } => Feature::Cancel,
            Frame::Snapshot { .. } => Feature::Snapshot,
        };
        reach(feature);
        outcome = outcome << 5 | feature as u64;
    }
    bucket(outcome & 0xff_ffff);
}

fn note(reason: Reason) {
    reach(match reason {
        Reason::Truncated => Feature::Truncated,
        Reason::NoChannel => Feature::NoChannel,
        Reason::TooLong => Feature::TooLong,
        Reason::BadPart => Feature::BadPart,
        Reason::BadOp => Feature::BadOp,
        Reason::BadControl => Feature::BadControl,
        Reason::BadClose => Feature::BadCloseReason,
        Reason::NotAgreed => Feature::NotAgreed,
        Reason::NotZero => Feature::NotZero,
        Reason::BadSnapshot => Feature::BadSnapshot,
        Reason::TooManyFrames => Feature::TooManyFrames,
        Reason::Padding => Feature::Padding,
    });
}

fn writes_back(parsed: &Parsed, plaintext: &[u8], table: &Table, features: Features) {
    let again = write(parsed, plaintext, table);
    assert!(again.len() <= plaintext.len(), "the writer needs more than the packet had");
    let mut reparsed = Parsed::default();
    assert_eq!(reparsed.parse(&again, table, features), Ok(()));
    assert_eq!(reparsed.preamble, parsed.preamble);
    assert_eq!(reparsed.bodies, parsed.bodies);
    assert_eq!(snapshot_of(&reparsed, &again), snapshot_of(parsed, plaintext));
    // The snapshot may start earlier, behind lengths of the short form.
    let others = |parsed: &Parsed| {
        let frames = parsed.frames.iter().filter(|frame| !matches!(frame, Frame::Snapshot { .. }));
        frames.copied().collect::<Vec<_>>()
    };
    assert_eq!(others(&reparsed), others(parsed));
}

fn write(parsed: &Parsed, plaintext: &[u8], table: &Table) -> Vec<u8> {
    let mut out = [0; MAX_DATAGRAM + 64];
    let mut w = BitWriter::new(&mut out);
    parsed.preamble.write(&mut w);
    for frame in &parsed.frames {
        match *frame {
            Frame::Control(control) => write_control(&mut w, control),
            Frame::Message { channel, head, start, len } => {
                let kind = table.get(channel).expect("the channel of a parsed message exists").kind;
                assert!(write_message(&mut w, channel, kind, head, parsed.body(start, len)));
            }
            Frame::Snapshot { .. } => write_snapshot_head(&mut w),
        }
    }
    let len = w.finish();
    [&out[..len], snapshot_of(parsed, plaintext)].concat()
}

fn snapshot_of<'a>(parsed: &Parsed, plaintext: &'a [u8]) -> &'a [u8] {
    match parsed.frames.last() {
        Some(Frame::Snapshot { start }) => &plaintext[usize::from(*start)..],
        _ => &[],
    }
}

fn odd_table() -> Table {
    let kinds = [
        Kind::ReliableOrdered,
        Kind::Unreliable,
        Kind::Snapshot,
        Kind::Sequenced,
        Kind::ReliableUnordered,
        Kind::Block,
        Kind::Unreliable,
    ];
    let channel = |at: usize| {
        let kind = kinds.get(at).copied().unwrap_or(Kind::Unreliable);
        Channel::new("odd", kind, [1100, 0, 200, 63, 9, 5000, 8192, 3][at % 8], 70_000)
    };
    Table((0..MAX_CHANNELS).map(channel).collect())
}

/// The channels of [`Table::lab`] with their kinds and, for each, heads and payload lengths at their limits.
const MESSAGES: [(u8, Kind, Head, usize); 15] = [
    (3, Kind::ReliableUnordered, Head::Segment { number: 0, first: true, last: true }, 64),
    (4, Kind::ReliableOrdered, Head::Segment { number: 7, first: true, last: false }, 1024),
    (4, Kind::ReliableOrdered, Head::Segment { number: u16::MAX, first: false, last: true }, 1025),
    (5, Kind::ReliableUnordered, Head::Segment { number: 0, first: true, last: true }, 0),
    (6, Kind::Unreliable, Head::Whole, 1024),
    (6, Kind::Unreliable, Head::Part { id: 9, index: 0, last: 7 }, 1024),
    (6, Kind::Unreliable, Head::Part { id: 9, index: 3, last: 2 }, 64),
    (7, Kind::Sequenced, Head::Whole, 63),
    (7, Kind::Sequenced, Head::Whole, 1101),
    (8, Kind::Block, Head::Chunk { id: 1, total: 1 << 24, index: (1 << 14) - 1 }, 1024),
    (8, Kind::Block, Head::Chunk { id: 1, total: 1, index: 0 }, 1),
    (8, Kind::Block, Head::Credit { id: 1, limit: (1 << 15) - 1 }, 0),
    (8, Kind::Block, Head::Credit { id: 1, limit: 4 }, 1),
    (8, Kind::Block, Head::Cancel { id: 1, by_sender: true }, 0),
    (15, Kind::Sequenced, Head::Whole, 0),
];

const CONTROLS: [Control; 7] = [
    Control::Ping,
    Control::Close(CloseReason::Kicked),
    Control::PathChallenge([1, 2, 3, 4, 5, 6, 7, 8]),
    Control::PathResponse([8; 8]),
    Control::TimeRequest { at_once: true, sent: 77 },
    Control::TimeReply { sent: 77, received: 1 << 40, hold: 5 },
    Control::MtuProbe,
];

/// Plaintexts as the endpoints write them, behind headers of both directions.
pub fn seeds() -> Vec<Vec<u8>> {
    let ack = Some(AckBlock { largest: 900, delay: 12, mask: u32::MAX });
    let gaps = Some(AckBlock { largest: 3, delay: 255, mask: 0x0f0f_1234 });
    let packet = |ack, tick, write: &dyn Fn(&mut BitWriter<'_>), snapshot: &[u8]| {
        let mut out = [0; MAX_DATAGRAM];
        let mut w = BitWriter::new(&mut out);
        Preamble { ack, tick }.write(&mut w);
        write(&mut w);
        let len = w.finish();
        [&out[..len], snapshot].concat()
    };
    let pings = |w: &mut BitWriter<'_>, count: usize| (0..count).for_each(|_| write_control(w, Control::Ping));
    let mut plaintexts = vec![
        packet(ack, Some(77), &|w| assert!(fixture::write_input(w, b"inputs of eight ticks")), &[]),
        packet(gaps, Some(1), &|w| assert!(fixture::write_segment(w, 9, &[7; 300])), &[]),
        packet(ack, Some(1), &write_snapshot_head, &[9; 140]),
        packet(ack, Some(1), &write_snapshot_head, &[9; 1353]),
        packet(None, None, &|w| pings(w, MAX_FRAMES), &[]),
        packet(None, None, &|w| pings(w, MAX_FRAMES + 1), &[]),
        packet(ack, None, &|w| CONTROLS.into_iter().for_each(|control| write_control(w, control)), &[0; 300]),
        packet(ack, None, &|w| write_control(w, Control::MtuProbe), &[1; 2]),
        packet(ack, None, &|w| (0..8).for_each(|channel| w.write(1 | channel << 2, 13)), &[]),
        packet(None, None, &|w| w.write(0b011 | 1 << 3 | 200 << 7, 15), &[]),
        packet(None, None, &|w| w.write(1 | 7 << 2 | 3 << 13, 40), &[]),
        packet(None, None, &|_| {}, &[0]),
    ];
    plaintexts.extend(CONTROLS.map(|control| packet(gaps, None, &|w| write_control(w, control), &[])));
    for (channel, kind, head, len) in MESSAGES {
        plaintexts.push(packet(
            ack,
            Some(1),
            &|w| assert!(write_message(w, channel, kind, head, &[7; 1101][..len])),
            &[],
        ));
    }
    plaintexts.push(packet(
        ack,
        Some(1),
        &|w| assert!(write_message(w, INPUT, Kind::Sequenced, Head::Whole, &[7; 65])),
        &[],
    ));
    let mut seeds = Vec::new();
    for plaintext in &plaintexts {
        // Table and direction at the client with all features; then the lab's table at the server with few.
        for choice in [0b01111, 0b00110, 0b01000] {
            let mut header = [0; 8];
            let conn = (choice & 1 == 0).then_some(ConnId::new(3, 500, 2));
            let len = Header::write(&mut header, conn, 0x1_0203, choice & 4 != 0);
            seeds.push([&[choice], &header[..len], plaintext, &[0; 16]].concat());
        }
    }
    seeds.push([&[0b10111, 0x40, 0, 0], plaintexts[12].as_slice(), &[0; 16]].concat());
    seeds
}
