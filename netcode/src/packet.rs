//! The outside of a data packet: flags, connection id, packet number; and the ack block inside.

use crate::bits::{BitReader, BitWriter, OutOfBits};
use crate::crypto::TAG_BYTES;
use crate::seq::low16;
use crate::stats::Drop;

/// Bytes (UDP payload) that every path is taken to carry, as one of 1280 bytes MTU does: a HELLO's, and the most of a data
/// packet until larger ones have been seen to arrive.
pub const BASE_DATAGRAM: usize = 1200;
/// The most bytes of any datagram of this protocol (the UDP payload), as a path of 1500 bytes MTU carries it over IPv6.
pub const MAX_DATAGRAM: usize = 1452;
const _: () = assert!(BASE_DATAGRAM <= MAX_DATAGRAM);
/// Bytes of a server-to-client header: flags 1, packet number 2.
pub const S2C_HEADER: usize = 3;
/// Bytes of a client-to-server header: flags 1, connection id 4, packet number 2.
pub const C2S_HEADER: usize = 7;

/// The first byte of a data packet: bits 7..6 are `01`, bits 5..1 reserved, bit 0 the key phase.
pub const DATA_FLAGS: u8 = 0x40;
const FORM_MASK: u8 = 0xc0;
/// Bit 0 of the flags: the lowest bit of the key phase's number.
const PHASE_BIT: u8 = 1;

/// Names a connection at its server: worker 6 bits, slot 16 bits, generation 10 bits, from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

impl ConnId {
    /// The most workers that ids can name.
    pub const MAX_WORKERS: u8 = 64;
    /// How many generations a slot has before its ids repeat.
    pub const GENERATIONS: u16 = 1024;

    /// Puts an id together; each part is cut to its width.
    #[must_use]
    pub const fn new(worker: u8, slot: u16, generation: u16) -> Self {
        Self((worker as u32 & 0x3f) << 26 | (slot as u32) << 10 | generation as u32 & 0x3ff)
    }

    /// The worker that owns the connection.
    #[must_use]
    pub const fn worker(self) -> u8 {
        (self.0 >> 26) as u8
    }

    /// The worker's slot.
    #[must_use]
    pub const fn slot(self) -> u16 {
        (self.0 >> 10 & 0xffff) as u16
    }

    /// How often the slot had been used before, modulo 1024.
    #[must_use]
    pub const fn generation(self) -> u16 {
        (self.0 & 0x3ff) as u16
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to server, with a connection id.
    ToServer,
    /// Server to client.
    ToClient,
}

impl Direction {
    /// Bytes of this direction's header.
    #[must_use]
    pub const fn header_bytes(self) -> usize {
        match self {
            Self::ToServer => C2S_HEADER,
            Self::ToClient => S2C_HEADER,
        }
    }

    /// Bytes that a packet has beyond its plaintext.
    #[must_use]
    pub const fn overhead(self) -> usize {
        self.header_bytes() + TAG_BYTES
    }
}

/// A data packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The connection; only in packets to the server.
    pub conn: Option<ConnId>,
    /// The low 16 bits of the packet number.
    pub pn: u16,
    /// The lowest bit of the number of the key phase that the packet was sealed in.
    pub phase: bool,
}

impl Header {
    /// Writes the header of packet `pn`, sealed in a phase with that bit; `conn` is given for packets to the server.
    /// Returns its length.
    ///
    /// # Panics
    /// When `out` is shorter than the header.
    pub fn write(out: &mut [u8], conn: Option<ConnId>, pn: u64, phase: bool) -> usize {
        out[0] = DATA_FLAGS | u8::from(phase);
        let pn = low16(pn).to_le_bytes();
        if let Some(conn) = conn {
            out[1..5].copy_from_slice(&conn.0.to_le_bytes());
            out[5..7].copy_from_slice(&pn);
            C2S_HEADER
        } else {
            out[1..3].copy_from_slice(&pn);
            S2C_HEADER
        }
    }

    /// Reads and checks the header of a datagram that arrived in `direction` (rules P-1 to P-3).
    ///
    /// # Errors
    /// The kind of drop to count.
    pub fn read(datagram: &[u8], direction: Direction) -> Result<Self, Drop> {
        let flags = *datagram.first().ok_or(Drop::TooShort)?;
        if flags & FORM_MASK != DATA_FLAGS {
            return Err(Drop::UnknownType);
        }
        if datagram.len() > MAX_DATAGRAM {
            return Err(Drop::WrongLength);
        }
        // One byte of plaintext at the least: the ack and tick flags.
        if datagram.len() <= direction.overhead() {
            return Err(Drop::TooShort);
        }
        if flags & !PHASE_BIT != DATA_FLAGS {
            return Err(Drop::ReservedBits);
        }
        let phase = flags & PHASE_BIT != 0;
        match (direction, datagram) {
            (Direction::ToServer, &[_, a, b, c, d, e, f, ..]) => {
                Ok(Self { conn: Some(ConnId(u32::from_le_bytes([a, b, c, d]))), pn: u16::from_le_bytes([e, f]), phase })
            }
            (Direction::ToClient, &[_, a, b, ..]) => Ok(Self { conn: None, pn: u16::from_le_bytes([a, b]), phase }),
            _ => Err(Drop::TooShort),
        }
    }
}

/// The connection that a datagram to the server says it belongs to; `None` for handshakes and junk.
#[must_use]
pub fn conn_of(datagram: &[u8]) -> Option<ConnId> {
    Header::read(datagram, Direction::ToServer).ok()?.conn
}

/// The worker that a datagram to the server belongs to; `None` for handshakes and junk, which any worker takes.
#[must_use]
pub fn worker_of(datagram: &[u8]) -> Option<u8> {
    conn_of(datagram).map(ConnId::worker)
}

/// What a packet says of the packets that its sender has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckBlock {
    /// Low 16 bits of the largest packet number received.
    pub largest: u16,
    /// How long ago that one arrived, in units of [`ACK_DELAY_UNIT_MICROS`]; 255 means "too long ago to say".
    pub delay: u8,
    /// Bit `i` says that `largest - 1 - i` has arrived.
    pub mask: u32,
}

/// Unit of [`AckBlock::delay`]: 250 µs.
pub const ACK_DELAY_UNIT_MICROS: u64 = 250;

impl AckBlock {
    /// Codes a delay in microseconds.
    #[must_use]
    pub const fn delay_from_micros(micros: u64) -> u8 {
        let units = micros / ACK_DELAY_UNIT_MICROS;
        if units < 255 { units as u8 } else { 255 }
    }

    /// The delay in microseconds, unless it was too long to say.
    #[must_use]
    pub const fn delay_micros(&self) -> Option<u64> {
        if self.delay == 255 { None } else { Some(self.delay as u64 * ACK_DELAY_UNIT_MICROS) }
    }
}

/// What stands at the start of every plaintext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preamble {
    /// Acknowledgement, once anything has been received.
    pub ack: Option<AckBlock>,
    /// Low 16 bits of the sender's tick.
    pub tick: Option<u16>,
}

impl Preamble {
    /// The most bits it takes: 1 + 16 + 8 + 1 + 32 + 1 + 16.
    pub const MAX_BITS: usize = 75;

    /// Writes it: ack flag [largest 16, delay 8, all-received flag, else mask 32], tick flag [tick 16].
    pub fn write(&self, w: &mut BitWriter<'_>) {
        w.write_bool(self.ack.is_some());
        if let Some(ack) = &self.ack {
            w.write(u64::from(ack.largest), 16);
            w.write(u64::from(ack.delay), 8);
            w.write_bool(ack.mask == u32::MAX);
            if ack.mask != u32::MAX {
                w.write(u64::from(ack.mask), 32);
            }
        }
        w.write_bool(self.tick.is_some());
        if let Some(tick) = self.tick {
            w.write(u64::from(tick), 16);
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the packet ends within it.
    pub fn read(r: &mut BitReader<'_>) -> Result<Self, OutOfBits> {
        let mut preamble = Self::default();
        if r.read_bool()? {
            let largest = r.read(16)? as u16;
            let delay = r.read(8)? as u8;
            let mask = if r.read_bool()? { u32::MAX } else { r.read(32)? as u32 };
            preamble.ack = Some(AckBlock { largest, delay, mask });
        }
        if r.read_bool()? {
            preamble.tick = Some(r.read(16)? as u16);
        }
        Ok(preamble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_parts() {
        let id = ConnId::new(63, 65_535, 1023);
        assert_eq!((id.worker(), id.slot(), id.generation()), (63, 65_535, 1023));
        let id = ConnId::new(5, 300, 7);
        assert_eq!((id.worker(), id.slot(), id.generation()), (5, 300, 7));
    }

    #[test]
    fn headers_are_19_and_23_bytes_with_their_tag() {
        assert_eq!(Direction::ToClient.overhead(), 19);
        assert_eq!(Direction::ToServer.overhead(), 23);
    }

    #[test]
    fn headers_round_trip_and_reserved_bits_are_refused() {
        let mut datagram = [0u8; 40];
        let conn = ConnId::new(1, 2, 3);
        for (phase, flags) in [(true, 0x41), (false, 0x40)] {
            assert_eq!(Header::write(&mut datagram, Some(conn), 0x1_2345, phase), C2S_HEADER);
            assert_eq!(datagram[0], flags);
            let header = Header { conn: Some(conn), pn: 0x2345, phase };
            assert_eq!(Header::read(&datagram, Direction::ToServer), Ok(header));
        }
        assert_eq!(worker_of(&datagram), Some(1));
        for bit in 1..6 {
            let mut bent = datagram;
            bent[0] |= 1 << bit;
            assert_eq!(Header::read(&bent, Direction::ToServer), Err(Drop::ReservedBits));
        }
        assert_eq!(Header::read(&datagram[..23], Direction::ToServer), Err(Drop::TooShort));
        assert_eq!(Header::read(&[], Direction::ToClient), Err(Drop::TooShort));
        assert_eq!(Header::read(&[0x80; 40], Direction::ToClient), Err(Drop::UnknownType));
        assert_eq!(Header::read(&[0x40; MAX_DATAGRAM + 1], Direction::ToClient), Err(Drop::WrongLength));
    }

    #[test]
    fn a_fault_free_packet_pays_less_than_four_bytes_for_acks() {
        let mut buffer = [0; 16];
        let mut w = BitWriter::new(&mut buffer);
        let preamble = Preamble { ack: Some(AckBlock { largest: 9, delay: 4, mask: u32::MAX }), tick: None };
        preamble.write(&mut w);
        assert!(w.bit_len() - 1 <= 32, "{} bits", w.bit_len());
        let _ = w.finish();
        assert_eq!(Preamble::read(&mut BitReader::new(&buffer)), Ok(preamble));
    }
}
