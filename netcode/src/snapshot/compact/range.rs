//! A binary range coder: the coder of Martin ("Range encoding", 1979) with the carry let run back into the bytes
//! already written (Schindler, 1998), on 64 bits, so that four bytes leave or enter at a time.
//!
//! A probability is that of a set bit, in 1/65536, 1 to 65535. The stream's end is implied by its length: behind the last byte
//! the decoder reads zeros, and the encoder ends on the number of the last interval that leaves out the most of them.

use thiserror::Error;

/// Bits of a probability.
pub const PROBABILITY_BITS: u32 = 16;

/// Below this range four bytes are moved.
const LOW: u64 = 1 << 32;

/// The stream does not end where its last symbol does.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the range-coded string is shorter or longer than what it codes")]
pub struct BadLength;

/// What codes decisions: an encoder takes each bit, a decoder gives it. Code that is generic over it is both.
pub trait Binary {
    /// After so many decisions a probability adapts no slower.
    const LIMIT: u32 = 30;
    /// Whether the bits given do not matter.
    const DECODES: bool = false;

    /// Codes one bit, set with probability `p` (1..=65535, in 1/65536). An encoder gives back `bit`; a decoder ignores it
    /// and gives what it read.
    fn code(&mut self, bit: bool, p: u32) -> bool;

    /// The bits written up to here, rounded up, at most 8 too many; 0 for what writes none.
    fn bits(&self) -> usize {
        0
    }

    /// Codes `bits` bits (1..=16) as equally likely.
    fn raw(&mut self, value: u32, bits: u32) -> u32;
}

/// Codes decisions to bytes at the end of a vector.
#[derive(Debug)]
pub struct RangeEncoder<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    low: u64,
    range: u64,
}

impl<'a> RangeEncoder<'a> {
    /// Appends to `out`.
    #[must_use]
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start, low: 0, range: u64::MAX }
    }

    #[inline]
    fn add(&mut self, amount: u64) {
        let (low, carry) = self.low.overflowing_add(amount);
        self.low = low;
        if carry {
            self.carry();
        }
    }

    /// Adds one to the number that the bytes written so far are. It cannot overflow: the sum of all intervals is below 1.
    #[cold]
    fn carry(&mut self) {
        for byte in self.out[self.start..].iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    #[inline]
    fn renormalise(&mut self) {
        if self.range < LOW {
            self.out.extend_from_slice(&((self.low >> 32) as u32).to_be_bytes());
            self.low <<= 32;
            self.range <<= 32;
        }
    }

    /// Ends the stream and gives its length in bytes.
    pub fn finish(mut self) -> usize {
        // The number of the interval that ends on the most zeros.
        for bytes in 0..=8 {
            let below = u64::MAX.checked_shr(8 * bytes).unwrap_or(0);
            let rest = self.low & below;
            let up = if rest == 0 { 0 } else { below - rest + 1 };
            if up < self.range || below == 0 {
                self.add(up);
                let last = self.low.to_be_bytes();
                self.out.extend_from_slice(&last[..bytes as usize]);
                break;
            }
        }
        self.out.len() - self.start
    }
}

impl Binary for RangeEncoder<'_> {
    fn bits(&self) -> usize {
        (self.out.len() - self.start) * 8 + self.range.leading_zeros() as usize + 8
    }

    #[inline(always)]
    fn code(&mut self, bit: bool, p: u32) -> bool {
        debug_assert!(0 < p && p < 1 << PROBABILITY_BITS, "a probability is out of range");
        let bound = (self.range >> PROBABILITY_BITS).wrapping_mul(u64::from(p));
        // Without a branch: half of all bits would be mispredicted.
        let set = u64::from(bit).wrapping_neg();
        self.add(bound & !set);
        self.range = pick(set, bound, self.range.wrapping_sub(bound));
        self.renormalise();
        bit
    }

    #[inline]
    fn raw(&mut self, value: u32, bits: u32) -> u32 {
        debug_assert!((1..=16).contains(&bits) && value >> bits == 0, "a raw value is too wide");
        self.range >>= bits;
        self.add(self.range * u64::from(value));
        self.renormalise();
        value
    }
}

/// `yes` where `set` has ones, else `no`.
#[inline(always)]
const fn pick(set: u64, yes: u64, no: u64) -> u64 {
    no ^ ((no ^ yes) & set)
}

/// Reads what a [`RangeEncoder`] wrote. Any bytes decode to something.
#[derive(Debug)]
pub struct RangeDecoder<'a> {
    rest: &'a [u8],
    /// Zeros read behind the end, in bytes.
    missing: usize,
    code: u64,
    range: u64,
}

impl<'a> RangeDecoder<'a> {
    /// Reads `data`, which is all of the stream.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        let mut decoder = Self { rest: data, missing: 0, code: 0, range: u64::MAX };
        decoder.code = u64::from(decoder.take()) << 32 | u64::from(decoder.take());
        decoder
    }

    #[inline]
    fn take(&mut self) -> u32 {
        if let Some((word, rest)) = self.rest.split_first_chunk::<4>() {
            self.rest = rest;
            return u32::from_be_bytes(*word);
        }
        self.take_last()
    }

    #[cold]
    fn take_last(&mut self) -> u32 {
        let mut word = [0; 4];
        for (place, byte) in word.iter_mut().zip(self.rest) {
            *place = *byte;
        }
        self.missing = self.missing.saturating_add(4 - self.rest.len().min(4));
        self.rest = &[];
        u32::from_be_bytes(word)
    }

    #[inline]
    fn renormalise(&mut self) {
        if self.range < LOW {
            self.code = self.code << 32 | u64::from(self.take());
            self.range <<= 32;
        }
    }

    /// Whether more was read than the data can have held.
    pub(super) const fn is_spent(&self) -> bool {
        self.missing > 8
    }

    /// Checks that the data ended with the last symbol. Up to 8 bytes more than needed pass, as another way to end the string.
    ///
    /// # Errors
    /// If more bytes are left, or symbols were read that the data cannot have held.
    pub fn finish(self) -> Result<(), BadLength> {
        // The encoder moves four bytes as soon as the range is below 2^32 and then ends within 8 bytes more: all that follows the 8
        // bytes in `code` is too much, and so is a stream of which none of those was there.
        if !self.rest.is_empty() || self.is_spent() { Err(BadLength) } else { Ok(()) }
    }
}

impl Binary for RangeDecoder<'_> {
    const DECODES: bool = true;

    #[inline(always)]
    fn code(&mut self, _bit: bool, p: u32) -> bool {
        let bound = (self.range >> PROBABILITY_BITS).wrapping_mul(u64::from(p));
        let bit = self.code < bound;
        let set = u64::from(bit).wrapping_neg();
        self.code = self.code.wrapping_sub(bound & !set);
        self.range = pick(set, bound, self.range.wrapping_sub(bound));
        self.renormalise();
        bit
    }

    #[inline]
    fn raw(&mut self, _value: u32, bits: u32) -> u32 {
        self.range >>= bits;
        let most = (1u64 << bits) - 1;
        // Above `most` only in a string that no encoder wrote.
        let value = (self.code / self.range).min(most);
        self.code -= self.range * value;
        self.renormalise();
        value as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Symbol {
        Bit(bool, u32),
        Raw(u32, u32),
    }

    fn symbol() -> impl Strategy<Value = Symbol> {
        let p = prop_oneof![Just(1), Just(65_535), 1..65_536u32];
        let bit = (any::<bool>(), p).prop_map(|(bit, p)| Symbol::Bit(bit, p));
        let raw = (1..=16u32, any::<u32>()).prop_map(|(bits, value)| Symbol::Raw(value & ((1 << bits) - 1), bits));
        prop_oneof![5 => bit, 1 => raw]
    }

    fn code(binary: &mut impl Binary, symbol: Symbol) -> u32 {
        match symbol {
            Symbol::Bit(bit, p) => u32::from(binary.code(bit, p)),
            Symbol::Raw(value, bits) => binary.raw(value, bits),
        }
    }

    fn encode(symbols: &[Symbol], before: &[u8]) -> Vec<u8> {
        let mut out = before.to_vec();
        let mut encoder = RangeEncoder::new(&mut out);
        for symbol in symbols {
            code(&mut encoder, *symbol);
        }
        let bits = encoder.bits();
        let len = encoder.finish();
        assert_eq!(len, out.len() - before.len());
        assert!(len * 8 <= bits.next_multiple_of(8), "{len} bytes, but {bits} bits were foretold");
        out
    }

    proptest! {
        #[test]
        fn symbols_come_back_as_they_went(symbols in vec(symbol(), 0..300), before: [u8; 3]) {
            let out = encode(&symbols, &before);
            prop_assert_eq!(&out[..3], &before);
            let mut decoder = RangeDecoder::new(&out[3..]);
            for symbol in symbols {
                let expected = match symbol {
                    Symbol::Bit(bit, _) => u32::from(bit),
                    Symbol::Raw(value, _) => value,
                };
                let blind = match symbol {
                    Symbol::Bit(_, p) => Symbol::Bit(false, p),
                    Symbol::Raw(_, bits) => Symbol::Raw(0, bits),
                };
                prop_assert_eq!(code(&mut decoder, blind), expected);
            }
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_decode_to_something(data: Vec<u8>, symbols in vec(symbol(), 0..300)) {
            let mut decoder = RangeDecoder::new(&data);
            for symbol in symbols {
                let value = code(&mut decoder, symbol);
                if let Symbol::Raw(_, bits) = symbol {
                    prop_assert!(value >> bits == 0);
                }
            }
            let _ = decoder.finish();
        }
    }

    #[test]
    fn bits_cost_what_their_probability_says() {
        let rare: Vec<_> = (0..8000).map(|i| Symbol::Bit(i % 100 == 0, 655)).collect();
        let bytes = encode(&rare, &[]).len() as f64;
        // 80 bits of 1/100, 7920 of 99/100.
        let ideal = 80.0 * 6.644 + 7920.0 * 0.014_5;
        assert!((bytes * 8.0 - ideal).abs() < 16.0, "{bytes} bytes for {ideal} bits");
    }

    #[test]
    fn a_carry_runs_back_through_bytes_of_ones() {
        // A long run of the upper sides of nearly certain bits ends close below 1, then one decision lifts it over.
        let mut symbols = vec![Symbol::Bit(false, 1); 2000];
        symbols.extend(vec![Symbol::Bit(false, 65_535); 40]);
        let out = encode(&symbols, &[]);
        let mut decoder = RangeDecoder::new(&out);
        assert!(symbols.iter().all(|symbol| code(&mut decoder, *symbol) == 0));
    }

    #[test]
    fn a_string_of_the_wrong_length_is_refused() {
        let symbols = vec![Symbol::Raw(0x5a5a, 16); 20];
        let mut out = encode(&symbols, &[]);
        let read = |data: &[u8]| {
            let mut decoder = RangeDecoder::new(data);
            for symbol in &symbols {
                code(&mut decoder, *symbol);
            }
            decoder.finish()
        };
        assert_eq!(read(&out), Ok(()));
        assert_eq!(read(&out[..out.len() - 12]), Err(BadLength));
        out.extend_from_slice(&[0; 12]);
        assert_eq!(read(&out), Err(BadLength));
    }
}
