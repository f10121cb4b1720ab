//! Data packets: headers and plaintexts that parse are within their bounds, and write back to no more bytes that parse
//! to the same.

use std::sync::LazyLock;

use netcode::bits::BitWriter;
use netcode::channel::{Channel, INPUT, Kind, MAX_CHANNELS, SESSION, SNAPSHOT, Table};
use netcode::error::CloseReason;
use netcode::frame::{Control, Frame, MAX_FRAMES, Parsed, write_control, write_message, write_snapshot_head};
use netcode::packet::{AckBlock, ConnId, Direction, Header, MAX_DATAGRAM, Preamble, worker_of};

use crate::feature::bucket;
use crate::features;

features! {
    Header => "a header that is right",
    BadHeader => "a header that is not",
    Ack => "an ack with a mask",
    Control => "a control frame",
    Message => "a message",
    Numbered => "a message with a number",
    Snapshot => "a snapshot",
    Malformed => "a malformed plaintext",
    Full => "as many frames as a packet takes",
}

static STANDARD: LazyLock<Table> = LazyLock::new(Table::standard);
static ODD: LazyLock<Table> = LazyLock::new(odd_table);

/// The target. The first byte chooses direction and table; the rest is a datagram whose plaintext was not sealed.
pub fn run(input: &[u8]) {
    let Some((&choice, datagram)) = input.split_first() else { return };
    let direction = if choice & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
    let Ok(header) = Header::read(datagram, direction) else { return reach(Feature::BadHeader) };
    reach(Feature::Header);
    header_writes_back(&header, datagram, direction);
    let table: &Table = if choice & 2 == 0 { &STANDARD } else { &ODD };
    let plaintext = &datagram[direction.header_bytes()..datagram.len() - 16];
    let mut parsed = Parsed::default();
    if parsed.parse(plaintext, table).is_err() {
        return reach(Feature::Malformed);
    }
    check_bounds(&parsed, plaintext, table);
    let again = write(&parsed, plaintext, table);
    assert!(again.len() <= plaintext.len(), "the writer needs more than the packet had");
    let mut reparsed = Parsed::default();
    assert_eq!(reparsed.parse(&again, table), Ok(()));
    assert_eq!(reparsed.preamble, parsed.preamble);
    assert_eq!(reparsed.bodies, parsed.bodies);
    assert_eq!(snapshot_of(&reparsed, &again), snapshot_of(&parsed, plaintext));
    let others = |parsed: &Parsed| {
        let frames = parsed.frames.iter().filter(|frame| !matches!(frame, Frame::Snapshot { .. }));
        frames.copied().collect::<Vec<_>>()
    };
    assert_eq!(others(&reparsed), others(&parsed));
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
}

fn check_bounds(parsed: &Parsed, plaintext: &[u8], table: &Table) {
    assert!(parsed.frames.len() <= MAX_FRAMES && parsed.bodies.len() <= plaintext.len());
    let (mut end, mut outcome) = (0, parsed.frames.len() as u64);
    if parsed.frames.len() == MAX_FRAMES {
        reach(Feature::Full);
    }
    if parsed.preamble.ack.is_some_and(|ack| ack.mask != u32::MAX) {
        reach(Feature::Ack);
    }
    for (at, frame) in parsed.frames.iter().enumerate() {
        outcome <<= 2;
        match *frame {
            Frame::Control(_) => reach(Feature::Control),
            Frame::Message { channel, number, start, len } => {
                let limits = table.get(channel).expect("the channel of a parsed message exists");
                let numbered = limits.kind == Kind::ReliableOrdered;
                reach(if numbered { Feature::Numbered } else { Feature::Message });
                assert!(limits.kind != Kind::Snapshot && len <= limits.max_message);
                assert!(numbered || number == 0);
                assert_eq!(usize::from(start), end, "bodies lie one behind the other");
                end += usize::from(len);
                outcome |= 1;
            }
            Frame::Snapshot { channel, start } => {
                reach(Feature::Snapshot);
                assert_eq!(table.get(channel).map(|limits| limits.kind), Some(Kind::Snapshot));
                assert!(usize::from(start) < plaintext.len() && at + 1 == parsed.frames.len());
                outcome |= 2;
            }
        }
    }
    assert_eq!(end, parsed.bodies.len());
    bucket(outcome & 0xffff);
}

fn write(parsed: &Parsed, plaintext: &[u8], table: &Table) -> Vec<u8> {
    let mut out = [0; MAX_DATAGRAM + 64];
    let mut w = BitWriter::new(&mut out);
    parsed.preamble.write(&mut w);
    for frame in &parsed.frames {
        match *frame {
            Frame::Control(control) => write_control(&mut w, control),
            Frame::Message { channel, number, start, len } => {
                let numbered = table.get(channel).is_some_and(|limits| limits.kind == Kind::ReliableOrdered);
                let number = numbered.then_some(u64::from(number) | 0x50_0000);
                assert!(write_message(&mut w, channel, number, parsed.body(start, len)));
            }
            Frame::Snapshot { channel, .. } => write_snapshot_head(&mut w, channel),
        }
    }
    let len = w.finish();
    [&out[..len], snapshot_of(parsed, plaintext)].concat()
}

fn snapshot_of<'a>(parsed: &Parsed, plaintext: &'a [u8]) -> &'a [u8] {
    match parsed.frames.last() {
        Some(Frame::Snapshot { start, .. }) => &plaintext[usize::from(*start)..],
        _ => &[],
    }
}

/// A table with a channel of each kind, and as many as there can be.
fn odd_table() -> Table {
    let kinds = [Kind::ReliableOrdered, Kind::Unreliable, Kind::Snapshot, Kind::Sequenced];
    let channel = |at: usize| {
        let kind = if at < kinds.len() { kinds[at] } else { Kind::Unreliable };
        Channel { name: "odd", kind, max_message: [1100, 0, 200, 63][at % 4], queue_bytes: 1100 }
    };
    Table((0..MAX_CHANNELS).map(channel).collect())
}

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
    let plaintexts = [
        packet(None, None, &|w| write_control(w, Control::Ping), &[]),
        packet(ack, Some(77), &|w| write_control(w, Control::Close(CloseReason::Kicked)), &[]),
        packet(ack, Some(77), &|w| assert!(write_message(w, INPUT, None, b"inputs of eight ticks")), &[]),
        packet(gaps, Some(1), &|w| assert!(write_message(w, SESSION, Some(9), &[7; 300])), &[]),
        packet(ack, Some(1), &|w| write_snapshot_head(w, SNAPSHOT), &[9; 140]),
        packet(gaps, None, &|w| assert!(write_message(w, SESSION, Some(1), b"hello")), &[]),
        packet(None, None, &|w| (0..MAX_FRAMES).for_each(|_| write_control(w, Control::Ping)), &[]),
        packet(None, None, &|w| (0..15).for_each(|channel| _ = write_message(w, channel, None, b"")), &[]),
    ];
    let mut seeds = Vec::new();
    for plaintext in &plaintexts {
        for choice in 0..4u8 {
            let mut header = [0; 8];
            let conn = (choice & 1 == 0).then_some(ConnId::new(3, 500, 2));
            let len = Header::write(&mut header, conn, 0x1_0203, false);
            seeds.push([&[choice], &header[..len], plaintext, &[0; 16]].concat());
        }
    }
    seeds
}
