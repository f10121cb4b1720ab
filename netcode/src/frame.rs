//! The frames inside a packet.

use arrayvec::ArrayVec;

use crate::bits::{BitReader, BitWriter};
use crate::channel::{Channel, Kind, Table};
use crate::delivery::{BlockFrame, Piece, SEGMENT_BYTES, Segment};
use crate::error::CloseReason;
use crate::features::Features;
use crate::packet::{MAX_DATAGRAM, Preamble};

/// The most frames in one packet.
pub const MAX_FRAMES: usize = 64;
/// The most bits that a message frame takes beyond its payload: more 1, form 1, channel 4, long 1, length 11, and the
/// longest head, a chunk's: op 2, id 16, total 24, index 14.
pub const FRAME_BITS: usize = 18 + 56;
/// The bits in front of a snapshot: more 1, form 2, and zeros to the byte boundary.
pub const SNAPSHOT_HEAD_BITS: usize = 3 + 7;
const SHORT_BITS: u32 = 6;
const LONG_BITS: u32 = 11;

const PING: u64 = 0;
const CLOSE: u64 = 1;
const PATH_CHALLENGE: u64 = 2;
const PATH_RESPONSE: u64 = 3;
const MTU_PROBE: u64 = 4;
const TIME_REQUEST: u64 = 5;
const TIME_REPLY: u64 = 6;

const CHUNK: u64 = 0;
const CREDIT: u64 = 1;
const CANCEL: u64 = 2;

/// A control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Asks for nothing but the ack that every packet with a frame gets.
    Ping,
    /// The sender has closed the connection.
    Close(CloseReason),
    /// Server to client: to be sent back from where it arrived.
    PathChallenge([u8; 8]),
    /// The answer to a challenge.
    PathResponse([u8; 8]),
    /// Zeros to the end of a packet that tries out a length (feature `mtu`).
    MtuProbe,
    /// Client to server: asks for the server's time (feature `clock`).
    TimeRequest {
        /// Whether the answer should not wait for another packet to ride in.
        at_once: bool,
        /// Low 32 bits of the client's clock in microseconds.
        sent: u32,
    },
    /// Server to client (feature `clock`).
    TimeReply {
        /// The request's `sent`.
        sent: u32,
        /// The server's clock in microseconds when the request arrived.
        received: u64,
        /// Microseconds between the request's arrival and this packet.
        hold: u32,
    },
}

/// A frame as parsed; payloads are ranges in [`Parsed::bodies`] or, for the snapshot, in the plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A control frame.
    Control(Control),
    /// A frame of a channel.
    Message {
        /// The channel.
        channel: u8,
        /// What stands in front of the payload.
        head: Head,
        /// First byte of the payload in [`Parsed::bodies`].
        start: u16,
        /// Bytes of the payload.
        len: u16,
    },
    /// The snapshot: the plaintext from this byte to the end.
    Snapshot {
        /// First byte in the plaintext.
        start: u16,
    },
}

/// What stands between a message frame's length and its payload; its form follows from the channel's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A whole message of an unreliable or sequenced channel.
    Whole,
    /// A part of an unreliable message.
    Part {
        /// The message's number among those in parts.
        id: u16,
        /// Which part, from 0.
        index: u8,
        /// The number of the last part, 1 to 7.
        last: u8,
    },
    /// A segment of a reliable message.
    Segment {
        /// Low 16 bits of the segment's number.
        number: u16,
        /// Whether a message begins here.
        first: bool,
        /// Whether it ends here.
        last: bool,
    },
    /// A chunk of a block.
    Chunk {
        /// Low 16 bits of the block's number.
        id: u16,
        /// The block's length in bytes.
        total: u32,
        /// Which chunk, from 0.
        index: u16,
    },
    /// Leave to send a block's chunks below `limit`.
    Credit {
        /// Low 16 bits of the block's number.
        id: u16,
        /// The first chunk that must wait.
        limit: u16,
    },
    /// One side gives a block up.
    Cancel {
        /// Low 16 bits of the block's number.
        id: u16,
        /// Whether its sender says so.
        by_sender: bool,
    },
}

/// An authentic packet whose content breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A packet taken apart. Nothing has changed any state yet.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Ack and tick.
    pub preamble: Preamble,
    /// The frames in order.
    pub frames: ArrayVec<Frame, MAX_FRAMES>,
    /// The payloads, one after the other.
    pub bodies: Vec<u8>,
}

impl Parsed {
    /// Takes a plaintext apart into `self`, whose buffers are reused (rules F-1 to F-9).
    ///
    /// # Errors
    /// [`Malformed`] when it is not exactly a preamble, frames of known channels and agreed features within their
    /// limits, and padding.
    pub fn parse(&mut self, plaintext: &[u8], table: &Table, features: Features) -> Result<(), Malformed> {
        self.frames.clear();
        self.bodies.clear();
        let mut r = BitReader::new(plaintext);
        self.preamble = Preamble::read(&mut r).map_err(|_| Malformed)?;
        // A packet that ends right after a frame needs no end mark.
        while r.remaining_bits() > 0 && r.read_bool().map_err(|_| Malformed)? {
            let frame = self.frame(&mut r, plaintext.len(), table, features).ok_or(Malformed)?;
            self.frames.try_push(frame).map_err(|_| Malformed)?;
            if matches!(frame, Frame::Snapshot { .. } | Frame::Control(Control::MtuProbe)) {
                return Ok(());
            }
        }
        r.finish_zero_padded().map_err(|_| Malformed)
    }

    fn frame(
        &mut self,
        r: &mut BitReader<'_>,
        plaintext_bytes: usize,
        table: &Table,
        features: Features,
    ) -> Option<Frame> {
        if !r.read_bool().ok()? {
            return self.message(r, table);
        }
        if r.read_bool().ok()? {
            return snapshot_start(r, plaintext_bytes, table);
        }
        control(r, features).map(Frame::Control)
    }

    fn message(&mut self, r: &mut BitReader<'_>, table: &Table) -> Option<Frame> {
        let channel = r.read(4).ok()? as u8;
        let bits = if r.read_bool().ok()? { LONG_BITS } else { SHORT_BITS };
        let len = r.read(bits).ok()? as usize;
        let limits = table.get(channel)?;
        let head = head(r, limits)?;
        if len > longest_payload(head, limits) || len * 8 > r.remaining_bits() {
            return None;
        }
        let start = self.bodies.len();
        self.bodies.resize(start + len, 0);
        r.read_bytes(self.bodies.get_mut(start..)?).ok()?;
        Some(Frame::Message { channel, head, start: u16::try_from(start).ok()?, len: u16::try_from(len).ok()? })
    }

    /// The payload of a message frame.
    #[must_use]
    pub fn body(&self, start: u16, len: u16) -> &[u8] {
        let start = usize::from(start);
        self.bodies.get(start..start + usize::from(len)).unwrap_or_default()
    }
}

fn head(r: &mut BitReader<'_>, limits: &Channel) -> Option<Head> {
    Some(match limits.kind {
        Kind::Snapshot => return None,
        Kind::Sequenced => Head::Whole,
        Kind::Unreliable => {
            if !r.read_bool().ok()? {
                return Some(Head::Whole);
            }
            let id = r.read(16).ok()? as u16;
            let last = r.read(3).ok()? as u8;
            let index = r.read(3).ok()? as u8;
            if last == 0 || index > last {
                return None;
            }
            Head::Part { id, index, last }
        }
        Kind::ReliableOrdered | Kind::ReliableUnordered => {
            let number = r.read(16).ok()? as u16;
            Head::Segment { number, first: r.read_bool().ok()?, last: r.read_bool().ok()? }
        }
        Kind::Block => {
            let op = r.read(2).ok()?;
            let id = r.read(16).ok()? as u16;
            match op {
                CHUNK => Head::Chunk { id, total: r.read(24).ok()? as u32 + 1, index: r.read(14).ok()? as u16 },
                CREDIT => Head::Credit { id, limit: r.read(15).ok()? as u16 },
                CANCEL => Head::Cancel { id, by_sender: r.read_bool().ok()? },
                _ => return None,
            }
        }
    })
}

fn longest_payload(head: Head, limits: &Channel) -> usize {
    match head {
        Head::Whole => limits.max_message as usize,
        Head::Part { .. } | Head::Segment { .. } | Head::Chunk { .. } => SEGMENT_BYTES,
        Head::Credit { .. } | Head::Cancel { .. } => 0,
    }
}

/// The snapshot frame runs to the end of the packet and starts at the next byte boundary.
fn snapshot_start(r: &mut BitReader<'_>, plaintext_bytes: usize, table: &Table) -> Option<Frame> {
    let limits = table.get(table.snapshot()?)?;
    let padding = (r.remaining_bits() % 8) as u32;
    if r.read(padding).ok()? != 0 {
        return None;
    }
    let len = r.remaining_bits() / 8;
    if len == 0 || len > limits.max_message as usize {
        return None;
    }
    Some(Frame::Snapshot { start: u16::try_from(plaintext_bytes - len).ok()? })
}

fn control(r: &mut BitReader<'_>, features: Features) -> Option<Control> {
    let kind = r.read(4).ok()?;
    let agreed = match kind {
        MTU_PROBE => features.contains(Features::MTU),
        TIME_REQUEST | TIME_REPLY => features.contains(Features::CLOCK),
        _ => true,
    };
    if !agreed {
        return None;
    }
    Some(match kind {
        PING => Control::Ping,
        CLOSE => Control::Close(CloseReason::from_wire(r.read(8).ok()? as u8)?),
        PATH_CHALLENGE => Control::PathChallenge(r.read(64).ok()?.to_le_bytes()),
        PATH_RESPONSE => Control::PathResponse(r.read(64).ok()?.to_le_bytes()),
        MTU_PROBE => {
            while r.remaining_bits() > 0 {
                if r.read(r.remaining_bits().min(64) as u32).ok()? != 0 {
                    return None;
                }
            }
            Control::MtuProbe
        }
        TIME_REQUEST => Control::TimeRequest { at_once: r.read_bool().ok()?, sent: r.read(32).ok()? as u32 },
        TIME_REPLY => Control::TimeReply {
            sent: r.read(32).ok()? as u32,
            received: r.read(64).ok()?,
            hold: r.read(32).ok()? as u32,
        },
        _ => return None,
    })
}

/// The most bits that a control frame takes, but for an MTU probe's zeros.
pub const CONTROL_BITS: usize = 7 + 128;

/// Writes a control frame; the caller knows that there are [`CONTROL_BITS`] of room. After an MTU probe nothing may
/// follow but zeros.
pub fn write_control(w: &mut BitWriter<'_>, control: Control) {
    let mut kind = |kind: u64| {
        // more 1, form `10`
        w.write(0b011, 3);
        w.write(kind, 4);
    };
    match control {
        Control::Ping => kind(PING),
        Control::Close(reason) => {
            kind(CLOSE);
            w.write(u64::from(reason.wire()), 8);
        }
        Control::PathChallenge(data) => {
            kind(PATH_CHALLENGE);
            w.write(u64::from_le_bytes(data), 64);
        }
        Control::PathResponse(data) => {
            kind(PATH_RESPONSE);
            w.write(u64::from_le_bytes(data), 64);
        }
        Control::MtuProbe => kind(MTU_PROBE),
        Control::TimeRequest { at_once, sent } => {
            kind(TIME_REQUEST);
            w.write_bool(at_once);
            w.write(u64::from(sent), 32);
        }
        Control::TimeReply { sent, received, hold } => {
            kind(TIME_REPLY);
            w.write(u64::from(sent), 32);
            w.write(received, 64);
            w.write(u64::from(hold), 32);
        }
    }
}

/// Writes a message frame if there is room for it.
#[must_use]
pub fn write_message(w: &mut BitWriter<'_>, channel: u8, kind: Kind, head: Head, payload: &[u8]) -> bool {
    if payload.len() >= MAX_DATAGRAM || w.remaining_bits() < FRAME_BITS + payload.len() * 8 {
        return false;
    }
    w.write_bool(true);
    w.write_bool(false);
    w.write(u64::from(channel), 4);
    let long = payload.len() >= 1 << SHORT_BITS;
    w.write_bool(long);
    w.write(payload.len() as u64, if long { LONG_BITS } else { SHORT_BITS });
    write_head(w, kind, head);
    w.write_bytes(payload);
    true
}

fn write_head(w: &mut BitWriter<'_>, kind: Kind, head: Head) {
    match head {
        // Only an unreliable channel says that a message is whole.
        Head::Whole if kind == Kind::Unreliable => w.write_bool(false),
        Head::Whole => {}
        Head::Part { id, index, last } => {
            w.write_bool(true);
            w.write(u64::from(id), 16);
            w.write(u64::from(last), 3);
            w.write(u64::from(index), 3);
        }
        Head::Segment { number, first, last } => {
            w.write(u64::from(number), 16);
            w.write_bool(first);
            w.write_bool(last);
        }
        Head::Chunk { id, total, index } => {
            w.write(CHUNK, 2);
            w.write(u64::from(id), 16);
            w.write(u64::from(total - 1), 24);
            w.write(u64::from(index), 14);
        }
        Head::Credit { id, limit } => {
            w.write(CREDIT, 2);
            w.write(u64::from(id), 16);
            w.write(u64::from(limit), 15);
        }
        Head::Cancel { id, by_sender } => {
            w.write(CANCEL, 2);
            w.write(u64::from(id), 16);
            w.write_bool(by_sender);
        }
    }
}

/// Writes the head of the snapshot frame; the body starts at the next byte of the plaintext and takes the rest.
pub fn write_snapshot_head(w: &mut BitWriter<'_>) {
    // more 1, form `11`
    w.write(0b111, 3);
}

impl From<&Piece<'_>> for Head {
    fn from(piece: &Piece<'_>) -> Self {
        match *piece {
            Piece::Whole(_) => Self::Whole,
            Piece::Part { id, index, last, .. } => Self::Part { id, index, last },
        }
    }
}

impl From<&Segment<'_>> for Head {
    fn from(segment: &Segment<'_>) -> Self {
        Self::Segment { number: crate::seq::low16(segment.number), first: segment.first, last: segment.last }
    }
}

impl From<&BlockFrame<'_>> for Head {
    fn from(frame: &BlockFrame<'_>) -> Self {
        match *frame {
            BlockFrame::Chunk { id, total, index, .. } => Self::Chunk { id, total, index },
            BlockFrame::Credit { id, limit } => Self::Credit { id, limit },
            BlockFrame::Cancel { id, by_sender } => Self::Cancel { id, by_sender },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{INPUT, SESSION};

    const UNORDERED: u8 = 5;
    const BLOCK: u8 = 8;
    const DATAGRAM: u8 = 6;

    fn packet(write: impl FnOnce(&mut BitWriter<'_>)) -> Vec<u8> {
        let mut buffer = [0; 1400];
        let mut w = BitWriter::new(&mut buffer);
        Preamble::default().write(&mut w);
        write(&mut w);
        let len = w.finish();
        buffer[..len].to_vec()
    }

    fn parse(plaintext: &[u8]) -> Result<Parsed, Malformed> {
        let mut parsed = Parsed::default();
        parsed.parse(plaintext, &Table::lab(), Features::ALL).map(|()| parsed)
    }

    fn message(channel: u8, head: Head, payload: &[u8]) -> Vec<u8> {
        let kind = Table::lab().get(channel).map_or(Kind::Unreliable, |channel| channel.kind);
        packet(|w| assert!(write_message(w, channel, kind, head, payload)))
    }

    #[test]
    fn frames_round_trip_and_the_snapshot_takes_the_rest() {
        let segment = Head::Segment { number: 7, first: true, last: false };
        let mut plaintext = packet(|w| {
            write_control(w, Control::Close(CloseReason::Kicked));
            assert!(write_message(w, SESSION, Kind::ReliableOrdered, segment, &[9; 70]));
            assert!(write_message(w, INPUT, Kind::Sequenced, Head::Whole, b"in"));
            write_snapshot_head(w);
        });
        let start = plaintext.len() as u16;
        plaintext.extend_from_slice(b"snap");
        let parsed = parse(&plaintext).unwrap();
        assert_eq!(parsed.frames.len(), 4);
        assert_eq!(parsed.frames[0], Frame::Control(Control::Close(CloseReason::Kicked)));
        assert_eq!(parsed.frames[1], Frame::Message { channel: SESSION, head: segment, start: 0, len: 70 });
        assert_eq!(parsed.body(70, 2), b"in");
        assert_eq!(parsed.frames[3], Frame::Snapshot { start });
    }

    #[test]
    fn every_head_round_trips() {
        let heads = [
            (DATAGRAM, Head::Whole, 5),
            (DATAGRAM, Head::Part { id: 0xfedc, index: 6, last: 7 }, 1024),
            (UNORDERED, Head::Segment { number: u16::MAX, first: false, last: true }, 1024),
            (BLOCK, Head::Chunk { id: 3, total: 1 << 24, index: (1 << 14) - 1 }, 1024),
            (BLOCK, Head::Chunk { id: 3, total: 1, index: 0 }, 1),
            (BLOCK, Head::Credit { id: 3, limit: 1 << 14 }, 0),
            (BLOCK, Head::Cancel { id: 3, by_sender: true }, 0),
        ];
        for (channel, head, len) in heads {
            let parsed = parse(&message(channel, head, &vec![7; len])).unwrap();
            let expected = Frame::Message { channel, head, start: 0, len: len as u16 };
            assert_eq!(parsed.frames.as_slice(), [expected]);
            assert_eq!(parsed.bodies, vec![7; len]);
        }
    }

    #[test]
    fn every_control_frame_round_trips_and_needs_its_feature() {
        let controls = [
            (Control::Ping, Features::NONE),
            (Control::Close(CloseReason::Requested), Features::NONE),
            (Control::PathChallenge([1, 2, 3, 4, 5, 6, 7, 8]), Features::NONE),
            (Control::PathResponse([8; 8]), Features::NONE),
            (Control::MtuProbe, Features::MTU),
            (Control::TimeRequest { at_once: true, sent: u32::MAX }, Features::CLOCK),
            (Control::TimeReply { sent: 1, received: u64::MAX, hold: 3 }, Features::CLOCK),
        ];
        for (control, feature) in controls {
            let plaintext = packet(|w| write_control(w, control));
            let mut parsed = Parsed::default();
            assert_eq!(parsed.parse(&plaintext, &Table::lab(), feature), Ok(()));
            assert_eq!(parsed.frames.as_slice(), [Frame::Control(control)]);
            if feature != Features::NONE {
                assert_eq!(parsed.parse(&plaintext, &Table::lab(), Features::NONE), Err(Malformed), "{control:?}");
            }
        }
    }

    #[test]
    fn an_mtu_probe_takes_zeros_to_the_end_and_nothing_else() {
        let mut plaintext = packet(|w| write_control(w, Control::MtuProbe));
        plaintext.resize(1400, 0);
        assert!(parse(&plaintext).is_ok());
        plaintext[1399] = 1;
        assert!(parse(&plaintext).is_err());
    }

    #[test]
    fn what_breaks_a_rule_is_malformed() {
        let segment = Head::Segment { number: 0, first: true, last: true };
        assert!(parse(&message(15, Head::Whole, b"")).is_err(), "no such channel");
        assert!(parse(&packet(|w| w.write(0b011 | 9 << 3, 7))).is_err(), "unknown control");
        assert!(parse(&packet(|w| w.write(0b011 | 1 << 3, 7))).is_err(), "truncated control");
        assert!(parse(&message(INPUT, Head::Whole, &[0; 129])).is_err(), "too long");
        assert!(parse(&message(SESSION, segment, &[0; 1025])).is_err(), "more than a segment");
        assert!(parse(&message(BLOCK, Head::Credit { id: 0, limit: 0 }, b"x")).is_err(), "a credit with a payload");
        assert!(parse(&message(DATAGRAM, Head::Part { id: 0, index: 0, last: 0 }, b"x")).is_err(), "one part of one");
        assert!(parse(&message(DATAGRAM, Head::Part { id: 0, index: 3, last: 2 }, b"x")).is_err(), "beyond the last");
        assert!(parse(&message(0, Head::Whole, b"x")).is_err(), "a message on the snapshot channel");
        assert!(parse(&packet(write_snapshot_head)).is_err(), "an empty snapshot");
        assert!(parse(&[0, 0]).is_err(), "padding of a byte and more");
        assert!(parse(&[0x80]).is_err(), "padding that is not zero");
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn more_frames_than_the_maximum_are_malformed() {
        let pings = |count: usize| packet(|w| (0..count).for_each(|_| write_control(w, Control::Ping)));
        assert!(parse(&pings(MAX_FRAMES)).is_ok());
        assert!(parse(&pings(MAX_FRAMES + 1)).is_err());
    }
}
