//! The frames inside a packet: channel, length, body.

use arrayvec::ArrayVec;

use crate::bits::{BitReader, BitWriter};
use crate::channel::{CONTROL, Kind, MAX_MESSAGE, Table};
use crate::error::CloseReason;
use crate::packet::{MAX_DATAGRAM, Preamble};

/// The most frames in one packet.
pub const MAX_FRAMES: usize = 64;
/// The most bits a frame takes beyond its body: present 1, channel 4, to-end 1, long 1, length 11.
pub const FRAME_BITS: usize = 18;
const SHORT_BITS: u32 = 6;
const LONG_BITS: u32 = 11;

const PING: u8 = 0;
const CLOSE: u8 = 1;

/// A control frame (channel 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Asks for nothing but the ack that every packet with a frame gets.
    Ping,
    /// The sender has closed the connection.
    Close(CloseReason),
}

/// A frame as parsed; bodies point into [`Parsed::bodies`] or, for the snapshot, into the plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A control frame.
    Control(Control),
    /// A message of a channel that takes messages, with the low bits of its number on reliable ones.
    Message {
        /// The channel.
        channel: u8,
        /// Low 16 bits of the message number; zero on unreliable kinds.
        number: u16,
        /// First byte of the body in [`Parsed::bodies`].
        start: u16,
        /// Bytes of the body.
        len: u16,
    },
    /// The snapshot: the plaintext from this byte to the end.
    Snapshot {
        /// The channel.
        channel: u8,
        /// First byte in the plaintext.
        start: u16,
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
    /// The messages' bytes, one after the other.
    pub bodies: Vec<u8>,
}

impl Parsed {
    /// Takes a plaintext apart into `self`, whose buffers are reused (rules F-1 to F-8).
    ///
    /// # Errors
    /// [`Malformed`] when it is not exactly a preamble, frames of known channels within their limits, and padding.
    pub fn parse(&mut self, plaintext: &[u8], table: &Table) -> Result<(), Malformed> {
        self.frames.clear();
        self.bodies.clear();
        let mut r = BitReader::new(plaintext);
        self.preamble = Preamble::read(&mut r).map_err(|_| Malformed)?;
        // A packet that ends right after a frame needs no end mark.
        while r.remaining_bits() > 0 && r.read_bool().map_err(|_| Malformed)? {
            let frame = self.frame(&mut r, plaintext.len(), table).ok_or(Malformed)?;
            self.frames.try_push(frame).map_err(|_| Malformed)?;
            if matches!(frame, Frame::Snapshot { .. }) {
                return Ok(());
            }
        }
        r.finish_zero_padded().map_err(|_| Malformed)
    }

    fn frame(&mut self, r: &mut BitReader<'_>, plaintext_bytes: usize, table: &Table) -> Option<Frame> {
        let channel = r.read(4).ok()? as u8;
        if r.read_bool().ok()? {
            return snapshot_start(r, plaintext_bytes, channel, table);
        }
        let bits = if r.read_bool().ok()? { LONG_BITS } else { SHORT_BITS };
        let len = r.read(bits).ok()? as usize;
        if channel == CONTROL {
            return control(r, len).map(Frame::Control);
        }
        let limits = table.get(channel)?;
        let (number, len) = match limits.kind {
            Kind::Snapshot => return None,
            Kind::ReliableOrdered => (r.read(16).ok()? as u16, len.checked_sub(2)?),
            Kind::Unreliable | Kind::Sequenced => (0, len),
        };
        if len > usize::from(limits.max_message) || len * 8 > r.remaining_bits() {
            return None;
        }
        let start = self.bodies.len();
        self.bodies.resize(start + len, 0);
        r.read_bytes(self.bodies.get_mut(start..)?).ok()?;
        Some(Frame::Message { channel, number, start: u16::try_from(start).ok()?, len: u16::try_from(len).ok()? })
    }

    /// The body of a message frame.
    #[must_use]
    pub fn body(&self, start: u16, len: u16) -> &[u8] {
        let start = usize::from(start);
        self.bodies.get(start..start + usize::from(len)).unwrap_or_default()
    }
}

/// The snapshot frame runs to the end of the packet and starts at the next byte boundary.
fn snapshot_start(r: &mut BitReader<'_>, plaintext_bytes: usize, channel: u8, table: &Table) -> Option<Frame> {
    let limits = table.get(channel).filter(|limits| limits.kind == Kind::Snapshot)?;
    let padding = (r.remaining_bits() % 8) as u32;
    if r.read(padding).ok()? != 0 {
        return None;
    }
    let len = r.remaining_bits() / 8;
    if len == 0 || len > usize::from(limits.max_message) {
        return None;
    }
    Some(Frame::Snapshot { channel, start: u16::try_from(plaintext_bytes - len).ok()? })
}

fn control(r: &mut BitReader<'_>, len: usize) -> Option<Control> {
    match (r.read(8).ok()? as u8, len) {
        (PING, 1) => Some(Control::Ping),
        (CLOSE, 2) => CloseReason::from_wire(r.read(8).ok()? as u8).map(Control::Close),
        _ => None,
    }
}

/// Writes a control frame; the caller knows that there is room.
pub fn write_control(w: &mut BitWriter<'_>, control: Control) {
    let body: ArrayVec<u8, 2> = match control {
        Control::Ping => [PING].into_iter().collect(),
        Control::Close(reason) => [CLOSE, reason.wire()].into_iter().collect(),
    };
    write_head(w, CONTROL, body.len());
    w.write_bytes(&body);
}

/// Writes a message frame if there is room for it; `number` is given on reliable channels.
#[must_use]
pub fn write_message(w: &mut BitWriter<'_>, channel: u8, number: Option<u64>, message: &[u8]) -> bool {
    let len = message.len() + if number.is_some() { 2 } else { 0 };
    if message.len() > MAX_MESSAGE || w.remaining_bits() < FRAME_BITS + len * 8 {
        return false;
    }
    write_head(w, channel, len);
    if let Some(number) = number {
        w.write(number & 0xffff, 16);
    }
    w.write_bytes(message);
    true
}

fn write_head(w: &mut BitWriter<'_>, channel: u8, len: usize) {
    w.write_bool(true);
    w.write(u64::from(channel), 4);
    w.write_bool(false);
    let long = len >= 1 << SHORT_BITS;
    w.write_bool(long);
    w.write(len as u64, if long { LONG_BITS } else { SHORT_BITS });
}

/// Writes the head of the snapshot frame, up to the byte boundary at which its body starts.
pub fn write_snapshot_head(w: &mut BitWriter<'_>, channel: u8) {
    w.write_bool(true);
    w.write(u64::from(channel), 4);
    w.write_bool(true);
    let used = (w.bit_len() % 8) as u32;
    w.write(0, (8 - used) % 8);
}

const _: () = assert!(MAX_MESSAGE + 2 < 1 << LONG_BITS && MAX_DATAGRAM < 1 << LONG_BITS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{INPUT, SESSION, SNAPSHOT};

    fn packet(write: impl FnOnce(&mut BitWriter<'_>)) -> Vec<u8> {
        let mut buffer = [0; 1200];
        let mut w = BitWriter::new(&mut buffer);
        Preamble::default().write(&mut w);
        write(&mut w);
        let len = w.finish();
        buffer[..len].to_vec()
    }

    fn parse(plaintext: &[u8]) -> Result<Parsed, Malformed> {
        let mut parsed = Parsed::default();
        parsed.parse(plaintext, &Table::standard()).map(|()| parsed)
    }

    #[test]
    fn frames_round_trip_and_the_snapshot_takes_the_rest() {
        let mut plaintext = packet(|w| {
            write_control(w, Control::Close(CloseReason::Kicked));
            assert!(write_message(w, SESSION, Some(0x1_0007), &[9; 70]));
            assert!(write_message(w, INPUT, None, b"in"));
            write_snapshot_head(w, SNAPSHOT);
        });
        let start = plaintext.len() as u16;
        plaintext.extend_from_slice(b"snap");
        let parsed = parse(&plaintext).unwrap();
        assert_eq!(parsed.frames.len(), 4);
        assert_eq!(parsed.frames[0], Frame::Control(Control::Close(CloseReason::Kicked)));
        assert_eq!(parsed.frames[1], Frame::Message { channel: SESSION, number: 7, start: 0, len: 70 });
        assert_eq!(parsed.body(70, 2), b"in");
        assert_eq!(parsed.frames[3], Frame::Snapshot { channel: SNAPSHOT, start });
    }

    #[test]
    fn what_breaks_a_rule_is_malformed() {
        assert!(parse(&packet(|w| write_head(w, 3, 0))).is_err(), "no such channel");
        assert!(parse(&packet(|w| write_head(w, CONTROL, 1))).is_err(), "truncated control");
        assert!(
            parse(&packet(|w| {
                let _ = write_message(w, CONTROL, None, &[9]);
            }))
            .is_err(),
            "unknown control"
        );
        assert!(
            parse(&packet(|w| {
                let _ = write_message(w, INPUT, None, &[0; 65]);
            }))
            .is_err(),
            "too long"
        );
        assert!(
            parse(&packet(|w| {
                let _ = write_message(w, SESSION, None, &[0]);
            }))
            .is_err(),
            "no room for a number"
        );
        assert!(
            parse(&packet(|w| {
                let _ = write_message(w, SNAPSHOT, None, &[0]);
            }))
            .is_err(),
            "snapshot with a length"
        );
        assert!(parse(&packet(|w| write_snapshot_head(w, INPUT))).is_err(), "messages do not run to the end");
        assert!(parse(&packet(|w| write_snapshot_head(w, SNAPSHOT))).is_err(), "an empty snapshot");
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
