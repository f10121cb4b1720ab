//! The messages: a head that tells what to count, and filler.
//!
//! Little endian: kind 1 byte, whether it counts 1, zeros 2, sequence 4, nanoseconds when it was handed to the engine 8,
//! nanoseconds when the server's tick began 8, client 4, filler to the message's length.

/// Bytes of the head.
const HEAD_BYTES: usize = 28;
/// The longest message.
pub const MAX_MESSAGE: usize = 200;
/// Bytes of a reliable message, either way.
pub const RELIABLE_BYTES: usize = 64;
/// Bytes of a message of a flood.
pub const FLOOD_BYTES: usize = 100;

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Once or not at all.
    Unreliable = 1,
    /// Exactly once, in order.
    Reliable = 2,
}

/// What a message's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// How it was sent.
    pub kind: Kind,
    /// It was sent within the window that counts.
    pub counts: bool,
    /// The sender's tick, from 1.
    pub sequence: u32,
    /// When it was handed to the engine, nanoseconds.
    pub sent_ns: u64,
    /// When the server's tick began, nanoseconds; a client's are those of its own turn.
    pub tick_ns: u64,
    /// The client's number up, its place at the server down.
    pub client: u32,
}

impl Message {
    /// Reads a message; `None` for what is none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let kind = match head.first()? {
            1 => Kind::Unreliable,
            2 => Kind::Reliable,
            _ => return None,
        };
        Some(Self {
            kind,
            counts: head.get(1) == Some(&1),
            sequence: u32::from_le_bytes(field(head, 4)?),
            sent_ns: u64::from_le_bytes(field(head, 8)?),
            tick_ns: u64::from_le_bytes(field(head, 16)?),
            client: u32::from_le_bytes(field(head, 24)?),
        })
    }

    fn head(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[0] = self.kind as u8;
        head[1] = u8::from(self.counts);
        head[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        head[8..16].copy_from_slice(&self.sent_ns.to_le_bytes());
        head[16..24].copy_from_slice(&self.tick_ns.to_le_bytes());
        head[24..28].copy_from_slice(&self.client.to_le_bytes());
        head
    }
}

fn field<const N: usize>(head: &[u8; HEAD_BYTES], at: usize) -> Option<[u8; N]> {
    head.get(at..)?.first_chunk().copied()
}

/// A message's bytes with the filler in place, written over and over.
#[derive(Clone, Debug)]
pub struct Template([u8; MAX_MESSAGE]);

impl Default for Template {
    fn default() -> Self {
        Self(core::array::from_fn(|at| (at as u8).wrapping_mul(167).wrapping_add(13)))
    }
}

impl Template {
    /// The bytes of `message`, `len` of them, of which there are at least a head's and at most [`MAX_MESSAGE`].
    pub fn fill(&mut self, message: &Message, len: usize) -> &[u8] {
        self.0[..HEAD_BYTES].copy_from_slice(&message.head());
        &self.0[..len.clamp(HEAD_BYTES, MAX_MESSAGE)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_was_written_at_its_own_length_and_junk_is_none() {
        let message =
            Message { kind: Kind::Reliable, counts: true, sequence: 7, sent_ns: 1 << 40, tick_ns: 3, client: 9 };
        let mut template = Template::default();
        let bytes = template.fill(&message, RELIABLE_BYTES);
        assert_eq!((bytes.len(), Message::read(bytes)), (RELIABLE_BYTES, Some(message)));
        assert_eq!(bytes[..5], [2, 1, 0, 0, 7]);
        assert_eq!(Message::read(&bytes[..27]), None);
        assert_eq!(Message::read(&[3; 32]), None);
    }
}
