//! The rules of a plaintext once more, read bit by bit, with the reason for which one is malformed.

use netcode::channel::{Kind, Table};
use netcode::error::CloseReason;
use netcode::features::Features;
use netcode::frame::{Control, Frame, Head, MAX_FRAMES};

const SEGMENT_BYTES: usize = 1024;

/// Why a plaintext is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Truncated,
    NoChannel,
    TooLong,
    BadPart,
    BadOp,
    BadControl,
    BadClose,
    NotAgreed,
    NotZero,
    BadSnapshot,
    TooManyFrames,
    Padding,
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    fn take(&mut self, bits: usize) -> Result<u64, Reason> {
        if bits > self.left() {
            return Err(Reason::Truncated);
        }
        let bit = |at: usize| u64::from(self.bytes[at / 8] >> (at % 8) & 1);
        let value = (0..bits).map(|i| bit(self.at + i) << i).sum();
        self.at += bits;
        Ok(value)
    }

    fn flag(&mut self) -> Result<bool, Reason> {
        Ok(self.take(1)? == 1)
    }

    fn zeros(&mut self, bits: usize) -> Result<(), Reason> {
        for _ in 0..bits {
            if self.flag()? {
                return Err(Reason::NotZero);
            }
        }
        Ok(())
    }
}

/// The frames of a plaintext and their payloads.
pub fn frames(plaintext: &[u8], table: &Table, features: Features) -> Result<(Vec<Frame>, Vec<u8>), Reason> {
    let mut bits = Bits { bytes: plaintext, at: 0 };
    let (mut frames, mut bodies) = (Vec::new(), Vec::new());
    if bits.flag()? {
        bits.take(24)?;
        if !bits.flag()? {
            bits.take(32)?;
        }
    }
    if bits.flag()? {
        bits.take(16)?;
    }
    while bits.left() > 0 && bits.flag()? {
        let frame = if !bits.flag()? {
            message(&mut bits, table, &mut bodies)?
        } else if bits.flag()? {
            snapshot(&mut bits, table)?
        } else {
            Frame::Control(control(&mut bits, features)?)
        };
        if frames.len() == MAX_FRAMES {
            return Err(Reason::TooManyFrames);
        }
        frames.push(frame);
        if matches!(frame, Frame::Snapshot { .. } | Frame::Control(Control::MtuProbe)) {
            return Ok((frames, bodies));
        }
    }
    if bits.left() >= 8 || bits.zeros(bits.left()).is_err() {
        return Err(Reason::Padding);
    }
    Ok((frames, bodies))
}

fn message(bits: &mut Bits<'_>, table: &Table, bodies: &mut Vec<u8>) -> Result<Frame, Reason> {
    let channel = bits.take(4)? as u8;
    let width = if bits.flag()? { 11 } else { 6 };
    let len = bits.take(width)? as usize;
    let limits = table.get(channel).ok_or(Reason::NoChannel)?;
    let mut word = |width| bits.take(width).map(|value| value as u16);
    let (head, most) = match limits.kind {
        Kind::Snapshot => return Err(Reason::NoChannel),
        Kind::Unreliable if word(1)? == 1 => {
            let (id, last, index) = (word(16)?, word(3)? as u8, word(3)? as u8);
            if last == 0 || index > last {
                return Err(Reason::BadPart);
            }
            (Head::Part { id, index, last }, SEGMENT_BYTES)
        }
        Kind::Unreliable | Kind::Sequenced => (Head::Whole, limits.max_message as usize),
        Kind::ReliableOrdered | Kind::ReliableUnordered => {
            let head = Head::Segment { number: word(16)?, first: word(1)? == 1, last: word(1)? == 1 };
            (head, SEGMENT_BYTES)
        }
        Kind::Block => match (word(2)?, word(16)?) {
            (0, id) => {
                let total = u32::from(word(12)?) | u32::from(word(12)?) << 12;
                (Head::Chunk { id, total: total + 1, index: word(14)? }, SEGMENT_BYTES)
            }
            (1, id) => (Head::Credit { id, limit: word(15)? }, 0),
            (2, id) => (Head::Cancel { id, by_sender: word(1)? == 1 }, 0),
            _ => return Err(Reason::BadOp),
        },
    };
    if len > most {
        return Err(Reason::TooLong);
    }
    let start = bodies.len() as u16;
    for _ in 0..len {
        bodies.push(bits.take(8)? as u8);
    }
    Ok(Frame::Message { channel, head, start, len: len as u16 })
}

fn snapshot(bits: &mut Bits<'_>, table: &Table) -> Result<Frame, Reason> {
    let limits = table.0.iter().find(|channel| channel.kind == Kind::Snapshot).ok_or(Reason::NoChannel)?;
    bits.zeros(bits.left() % 8)?;
    let len = bits.left() / 8;
    if len == 0 || len > limits.max_message as usize {
        return Err(Reason::BadSnapshot);
    }
    Ok(Frame::Snapshot { start: (bits.at / 8) as u16 })
}

fn control(bits: &mut Bits<'_>, features: Features) -> Result<Control, Reason> {
    let kind = bits.take(4)?;
    let needed = match kind {
        4 => Features::MTU,
        5 | 6 => Features::CLOCK,
        _ => Features::NONE,
    };
    if features.0 & needed.0 != needed.0 {
        return Err(Reason::NotAgreed);
    }
    Ok(match kind {
        0 => Control::Ping,
        1 => Control::Close(CloseReason::from_wire(bits.take(8)? as u8).ok_or(Reason::BadClose)?),
        2 => Control::PathChallenge(bits.take(64)?.to_le_bytes()),
        3 => Control::PathResponse(bits.take(64)?.to_le_bytes()),
        4 => {
            bits.zeros(bits.left())?;
            Control::MtuProbe
        }
        5 => Control::TimeRequest { at_once: bits.flag()?, sent: bits.take(32)? as u32 },
        6 => Control::TimeReply { sent: bits.take(32)? as u32, received: bits.take(64)?, hold: bits.take(32)? as u32 },
        _ => return Err(Reason::BadControl),
    })
}
