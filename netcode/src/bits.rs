//! Bit packing, least significant bit first, over byte slices.
//!
//! Bit `n` of a stream is bit `n % 8` of byte `n / 8`; a field of `k` bits puts its least significant
//! bit first. So a field at a byte boundary whose width is a multiple of 8 is plain little endian.
//!
//! A writer belongs to trusted code: a value that is too wide, or a buffer that is too short, is a bug of
//! the caller and asserts (callers keep their budget with [`BitWriter::remaining_bits`]). A reader sees
//! bytes from the wire: it returns errors and cannot panic.

use thiserror::Error;

/// The data ended before the field did.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the data ended inside a field")]
pub struct OutOfBits;

/// What follows the last field is not fewer than 8 zero bits.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the last field is not followed by zero padding to the end of its byte")]
pub struct BadPadding;

/// What fields can be appended to: a [`BitWriter`], or a [`BitCount`] that only measures. Code that is
/// generic over it cannot disagree with itself about sizes.
pub trait BitSink {
    /// Appends the low `bits` bits of `value`, as [`BitWriter::write`].
    fn put(&mut self, value: u64, bits: u32);
}

/// Measures instead of writing: the bits appended so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitCount(pub usize);

impl BitSink for BitCount {
    #[inline]
    fn put(&mut self, _value: u64, bits: u32) {
        self.0 += bits as usize;
    }
}

/// A place in the stream of a [`BitWriter`], in bits from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(usize);

/// Packs fields into a byte slice through a scratch word.
///
/// Bytes reach the slice eight at a time; nothing is complete before [`BitWriter::finish`].
#[derive(Debug)]
pub struct BitWriter<'a> {
    buf: &'a mut [u8],
    /// Bytes that are complete in `buf`, a multiple of 8.
    flushed: usize,
    /// The bits that follow them; the unused upper ones are zero.
    scratch: u64,
    /// How many bits of `scratch` are used, 0..=63.
    held: u32,
}

impl<'a> BitWriter<'a> {
    /// Writes from the start of `buf`, whose old content does not matter.
    #[must_use]
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, flushed: 0, scratch: 0, held: 0 }
    }

    /// Appends the low `bits` bits of `value` (0..=64; with 0 the value must be 0).
    ///
    /// # Panics
    /// If the value needs more bits than that, or the buffer is full.
    #[inline]
    pub fn write(&mut self, value: u64, bits: u32) {
        assert!(bits <= 64 && value & !low_mask(bits) == 0, "the value is wider than its field");
        assert!(bits as usize <= self.remaining_bits(), "the buffer is full");
        self.scratch |= value << self.held;
        let end = self.held + bits;
        if end < 64 {
            self.held = end;
            return;
        }
        self.buf[self.flushed..self.flushed + 8].copy_from_slice(&self.scratch.to_le_bytes());
        self.flushed += 8;
        // What did not fit the full word; a shift by 64 (nothing was held, all 64 bits fitted) is 0.
        self.scratch = value.checked_shr(64 - self.held).unwrap_or(0);
        self.held = end - 64;
    }

    /// Appends one bit.
    ///
    /// # Panics
    /// If the buffer is full.
    #[inline]
    pub fn write_bool(&mut self, value: bool) {
        self.write(u64::from(value), 1);
    }

    /// Appends whole bytes, at whatever bit the stream stands.
    ///
    /// # Panics
    /// If the buffer is full.
    pub fn write_bytes(&mut self, bytes: &[u8]) {
        self.write_bits(bytes, bytes.len() * 8);
    }

    /// Appends the first `bits` bits of a stream that was packed before.
    ///
    /// # Panics
    /// If `bytes` is shorter than that, or the buffer is full.
    pub fn write_bits(&mut self, bytes: &[u8], bits: usize) {
        assert!(bits <= bytes.len() * 8, "the source is shorter than the bits to copy");
        assert!(bits <= self.remaining_bits(), "the buffer is full");
        let (words, _) = bytes[..bits / 8].as_chunks::<8>();
        let (place, _) = self.buf[self.flushed..].as_chunks_mut::<8>();
        for (place, word) in place.iter_mut().zip(words) {
            let word = u64::from_le_bytes(*word);
            *place = (self.scratch | word << self.held).to_le_bytes();
            // A shift by 64 (nothing is held) leaves nothing.
            self.scratch = word.checked_shr(64 - self.held).unwrap_or(0);
        }
        self.flushed += words.len() * 8;
        // Fewer than 64 bits are left, so the cast is exact.
        let left = (bits - words.len() * 64) as u32;
        if left > 0 {
            self.write(load(&bytes[words.len() * 8..]) & low_mask(left), left);
        }
    }

    /// Overwrites `bits` bits at `at`, which lie wholly in what was already written: a length or a count
    /// that is known only once what follows it is packed.
    ///
    /// # Panics
    /// If the value needs more bits than that, or the field reaches past the end of the stream.
    pub fn patch(&mut self, at: Position, value: u64, bits: u32) {
        assert!(bits <= 64 && value & !low_mask(bits) == 0, "the value is wider than its field");
        assert!(at.0 + bits as usize <= self.bit_len(), "the field was not written yet");
        let (word, shift) = (at.0 / 64 * 8, (at.0 % 64) as u32);
        self.patch_word(word, low_mask(bits) << shift, value << shift);
        if shift + bits > 64 {
            let fitted = 64 - shift;
            self.patch_word(word + 8, low_mask(bits - fitted), value >> fitted);
        }
    }

    fn patch_word(&mut self, byte: usize, mask: u64, value: u64) {
        if byte == self.flushed {
            self.scratch = self.scratch & !mask | value;
        } else if mask != 0 {
            let place = &mut self.buf[byte..byte + 8];
            let patched = load(place) & !mask | value;
            place.copy_from_slice(&patched.to_le_bytes());
        }
    }

    /// Bits written so far.
    #[inline]
    #[must_use]
    pub const fn bit_len(&self) -> usize {
        self.flushed * 8 + self.held as usize
    }

    /// Bits that still fit.
    #[inline]
    #[must_use]
    pub const fn remaining_bits(&self) -> usize {
        self.buf.len() * 8 - self.bit_len()
    }

    /// Where the next field goes; for [`BitWriter::rewind`] and [`BitWriter::patch`].
    #[must_use]
    pub const fn position(&self) -> Position {
        Position(self.bit_len())
    }

    /// Forgets everything from `to` on, as if it had never been written.
    ///
    /// # Panics
    /// If `to` lies behind the end of the stream.
    pub fn rewind(&mut self, to: Position) {
        assert!(to.0 <= self.bit_len(), "a rewind goes back, not forward");
        let (word, held) = (to.0 / 64 * 8, (to.0 % 64) as u32);
        if word < self.flushed {
            self.scratch = load(&self.buf[word..word + 8]);
            self.flushed = word;
        }
        self.scratch &= low_mask(held);
        self.held = held;
    }

    /// Completes the last byte with zero bits and returns how many bytes the stream has.
    #[must_use]
    pub fn finish(self) -> usize {
        let tail = self.held.div_ceil(8) as usize;
        self.buf[self.flushed..self.flushed + tail].copy_from_slice(&self.scratch.to_le_bytes()[..tail]);
        self.flushed + tail
    }
}

impl BitSink for BitWriter<'_> {
    #[inline]
    fn put(&mut self, value: u64, bits: u32) {
        self.write(value, bits);
    }
}

/// Unpacks what a [`BitWriter`] packed.
///
/// A failed read does not move the reader.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    data: &'a [u8],
    /// Bits read so far, at most `data.len() * 8`.
    at: usize,
}

impl<'a> BitReader<'a> {
    /// Reads from the start of `data`.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The next `bits` bits.
    ///
    /// # Errors
    /// If fewer than that are left, or `bits` is more than 64.
    #[inline]
    pub fn read(&mut self, bits: u32) -> Result<u64, OutOfBits> {
        let (byte, shift) = (self.at / 8, (self.at % 8) as u32);
        let mut value = self.peek();
        self.skip(bits)?;
        if shift + bits > 64 {
            // The field spans nine bytes; here the shift is not 0.
            let ninth = self.data.get(byte + 8).copied().unwrap_or(0);
            value |= u64::from(ninth) << (64 - shift);
        }
        Ok(value & low_mask(bits))
    }

    /// The next bits, at least 57 of them, without moving. Bits behind the end read as 0; what is used of
    /// them is then up to [`BitReader::skip`] to allow.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> u64 {
        self.word(self.at / 8) >> (self.at % 8)
    }

    /// Moves on by `bits` bits.
    ///
    /// # Errors
    /// If fewer than that are left, or `bits` is more than 64.
    #[inline]
    pub fn skip(&mut self, bits: u32) -> Result<(), OutOfBits> {
        if bits > 64 || bits as usize > self.remaining_bits() {
            return Err(OutOfBits);
        }
        self.at += bits as usize;
        Ok(())
    }

    /// The eight bytes from `byte` on; zero where the data has ended.
    #[inline]
    fn word(&self, byte: usize) -> u64 {
        match self.data.get(byte..).and_then(<[u8]>::first_chunk::<8>) {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => load(self.data.get(byte..).unwrap_or(&[])),
        }
    }

    /// The next bit.
    ///
    /// # Errors
    /// If none is left.
    #[inline]
    pub fn read_bool(&mut self) -> Result<bool, OutOfBits> {
        Ok(self.read(1)? != 0)
    }

    /// Fills `out` with the next whole bytes, at whatever bit the stream stands.
    ///
    /// # Errors
    /// If fewer than that are left; `out` is then as before.
    pub fn read_bytes(&mut self, out: &mut [u8]) -> Result<(), OutOfBits> {
        if out.len() > self.remaining_bits() / 8 {
            return Err(OutOfBits);
        }
        if self.at.is_multiple_of(8) {
            let from = self.at / 8;
            out.copy_from_slice(self.data.get(from..from + out.len()).ok_or(OutOfBits)?);
            self.at += out.len() * 8;
            return Ok(());
        }
        for chunk in out.chunks_mut(8) {
            let value = self.read(chunk.len() as u32 * 8)?;
            for (place, byte) in chunk.iter_mut().zip(value.to_le_bytes()) {
                *place = byte;
            }
        }
        Ok(())
    }

    /// Bits that are left.
    #[inline]
    #[must_use]
    pub const fn remaining_bits(&self) -> usize {
        self.data.len() * 8 - self.at
    }

    /// Bits read so far.
    #[inline]
    #[must_use]
    pub const fn bit_len(&self) -> usize {
        self.at
    }

    /// Ends the stream: only the zero bits that complete the last byte may be left.
    ///
    /// # Errors
    /// If 8 bits or more are left, or one of them is set.
    pub fn finish_zero_padded(mut self) -> Result<(), BadPadding> {
        let left = self.remaining_bits();
        if left < 8 && self.read(left as u32) == Ok(0) { Ok(()) } else { Err(BadPadding) }
    }
}

/// The `bits` (0..=64) lowest bits set.
#[inline]
pub(crate) const fn low_mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// Up to eight bytes, little endian, zero extended.
#[inline]
fn load(bytes: &[u8]) -> u64 {
    if let Some(word) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*word);
    }
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The places of the bits that are set, from the lowest.
pub(crate) fn numbers(mut bits: u16) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let at = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (at < u16::BITS).then_some(at as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_packed_from_the_least_significant_bit() {
        let mut buf = [0xff; 8];
        let mut w = BitWriter::new(&mut buf);
        w.write(0b101, 3);
        w.write(0x1234, 16);
        w.write_bool(true);
        assert_eq!((w.bit_len(), w.remaining_bits()), (20, 44));
        assert_eq!(w.finish(), 3);
        assert_eq!(buf[..4], [0b1010_0101, 0b1001_0001, 0b0000_1000, 0xff]);
    }

    #[test]
    fn a_full_word_at_any_offset_comes_back() {
        for offset in 0..64 {
            let mut buf = [0; 24];
            let mut w = BitWriter::new(&mut buf);
            w.write(0, offset);
            w.write(u64::MAX, 64);
            w.write(0x8000_0000_0000_0001, 64);
            let len = w.finish();
            let mut r = BitReader::new(&buf[..len]);
            assert_eq!(r.read(offset), Ok(0));
            assert_eq!(r.read(64), Ok(u64::MAX));
            assert_eq!(r.read(64), Ok(0x8000_0000_0000_0001));
            assert_eq!(r.finish_zero_padded(), Ok(()));
        }
    }

    #[test]
    fn a_rewound_writer_leaves_no_trace() {
        let mut buf = [0; 32];
        let mut w = BitWriter::new(&mut buf);
        w.write(0x155, 10);
        let mark = w.position();
        w.write_bytes(&[0xff; 20]);
        w.rewind(mark);
        w.write(0, 6);
        assert_eq!(w.finish(), 2);
        assert_eq!(buf[..2], [0x55, 0x01]);
    }

    #[test]
    fn a_patched_field_keeps_its_neighbours() {
        for offset in [0, 5, 55, 63, 64, 100] {
            let mut buf = [0; 32];
            let mut w = BitWriter::new(&mut buf);
            for _ in 0..offset {
                w.write_bool(true);
            }
            let mark = w.position();
            w.write(0, 12);
            w.write(0x7f, 7);
            w.patch(mark, 0xabc, 12);
            let len = w.finish();
            let mut r = BitReader::new(&buf[..len]);
            assert!((0..offset).all(|_| r.read_bool() == Ok(true)));
            assert_eq!((r.read(12), r.read(7)), (Ok(0xabc), Ok(0x7f)));
        }
    }

    #[test]
    fn reading_past_the_end_is_an_error_and_moves_nothing() {
        let mut r = BitReader::new(&[0xa5, 0x01]);
        assert_eq!(r.read(17), Err(OutOfBits));
        assert_eq!(r.read(65), Err(OutOfBits));
        assert_eq!(r.read(4), Ok(5));
        assert_eq!(r.read_bytes(&mut [0; 2]), Err(OutOfBits));
        assert_eq!(r.read(12), Ok(0x1a));
        assert_eq!(r.read(1), Err(OutOfBits));
        assert_eq!(r.read(0), Ok(0));
    }

    #[test]
    fn padding_must_be_short_and_zero() {
        let after = |data: &[u8], bits| {
            let mut r = BitReader::new(data);
            r.read(bits).unwrap();
            r.finish_zero_padded()
        };
        assert_eq!(after(&[0x01], 1), Ok(()));
        assert_eq!(after(&[0x03], 1), Err(BadPadding));
        assert_eq!(after(&[0x01, 0x00], 8), Err(BadPadding));
        assert_eq!(after(&[0xff], 8), Ok(()));
        assert_eq!(after(&[], 0), Ok(()));
    }

    #[test]
    #[should_panic(expected = "wider than its field")]
    fn a_value_wider_than_its_field_is_a_bug() {
        BitWriter::new(&mut [0; 8]).write(4, 2);
    }

    #[test]
    #[should_panic(expected = "buffer is full")]
    fn a_full_buffer_is_a_bug() {
        let mut buf = [0; 1];
        let mut w = BitWriter::new(&mut buf);
        w.write(0, 5);
        w.write(0, 4);
    }

    #[test]
    fn numbers_are_those_of_the_bits() {
        assert_eq!(numbers(0).count(), 0);
        assert_eq!(numbers(1 << 15 | 1 | 1 << 3).collect::<Vec<_>>(), [0, 3, 15]);
        assert_eq!(numbers(u16::MAX).count(), 16);
    }
}
