//! The compact codec: residuals through an adaptive binary range coder.

mod logistic;
mod model;
mod range;
mod record;
mod tables;

pub use self::model::{FREE_CONTEXTS, Model};
pub use self::range::{BadLength, Binary, RangeDecoder, RangeEncoder};
pub use self::tables::{Counting, MAX_TABLE_BYTES, Tables, TablesError, Trainer};
use super::DecodeError;
use super::predict::{Guess, History, Plans, same};
use crate::schema::State;

/// Codes a body: an encoder if `B` is one, else a decoder.
#[derive(Debug)]
pub struct Coder<'m, B> {
    binary: B,
    model: &'m mut Model,
    plans: &'m Plans,
    guess: Guess,
    recent: u32,
}

/// Writes a body.
pub type Encoder<'a, 'm> = Coder<'m, RangeEncoder<'a>>;
/// Reads a body.
pub type Decoder<'a, 'm> = Coder<'m, RangeDecoder<'a>>;

impl<'a, 'm> Encoder<'a, 'm> {
    /// Appends to `out`, starting from `model` and leaving it as the body ends.
    pub fn new(plans: &'m Plans, model: &'m mut Model, out: &'a mut Vec<u8>) -> Self {
        Self::with(plans, model, RangeEncoder::new(out))
    }

    /// Ends the body and gives its length in bytes.
    pub fn finish(self) -> usize {
        self.binary.finish()
    }
}

impl<'a, 'm> Decoder<'a, 'm> {
    /// Reads `data`, which is all of the body, starting from `model` and leaving it as the body ends.
    pub fn new(plans: &'m Plans, model: &'m mut Model, data: &'a [u8]) -> Self {
        Self::with(plans, model, RangeDecoder::new(data))
    }

    /// Checks that the data ended with the last record.
    ///
    /// # Errors
    /// If not.
    pub fn finish(self) -> Result<(), BadLength> {
        self.binary.finish()
    }
}

impl<'m, B: Binary> Coder<'m, B> {
    /// Goes on with a range coder that may have coded something else before, for instance which model to start from.
    pub fn with(plans: &'m Plans, model: &'m mut Model, binary: B) -> Self {
        Self { binary, model, plans, guess: Guess::default(), recent: 0 }
    }

    /// Codes one bit in the free context `context` (taken modulo [`FREE_CONTEXTS`]).
    pub fn bit(&mut self, context: usize, bit: bool) -> bool {
        match self.model.free.get_mut(context % FREE_CONTEXTS) {
            Some(slot) => model::direct(&mut self.binary, slot, bit),
            None => bit,
        }
    }

    /// Codes `bits` bits (0..=32) as equally likely.
    pub fn raw(&mut self, value: u32, bits: u32) -> u32 {
        let mut left = bits.min(32);
        let mut out = 0u64;
        while left > 0 {
            let n = left.min(16);
            left -= n;
            out = out << n | u64::from(self.binary.raw(value >> left & ((1 << n) - 1), n));
        }
        out as u32
    }

    /// Codes a value of `bits` bits (0..=8), each value with a probability of its own, in the `2^bits` free contexts from
    /// `context` on.
    pub fn tree(&mut self, context: usize, value: u32, bits: u32) -> u32 {
        let bits = bits.min(8);
        let mut node = 1;
        for left in (0..bits).rev() {
            let bit = self.bit(context + node as usize, value >> left & 1 != 0);
            node = node << 1 | u32::from(bit);
        }
        node & ((1 << bits) - 1)
    }

    /// Codes any value, small ones in few bits, by its width in the 32 free contexts from `context` on and the rest raw.
    pub fn exp(&mut self, context: usize, value: u32) -> u32 {
        let width = u32::BITS - value.leading_zeros();
        let mut w = 0;
        while w < 32 && self.bit(context + w as usize, w < width) {
            w += 1;
        }
        if w < 2 {
            return w;
        }
        1 << (w - 1) | self.raw(value & ((1 << (w - 1)) - 1), w - 1)
    }

    /// Notes that `count` bodies at rest are known to have stayed so: what follows takes the same contexts as if that had been
    /// coded.
    #[inline]
    pub fn pass(&mut self, count: u32) {
        self.recent = self.recent.checked_shl(count).unwrap_or(0);
    }

    /// Codes a whole record.
    ///
    /// # Errors
    /// If the schema has no such kind, or (decoding) a value is out of its field's range.
    pub fn record(&mut self, number: u8, history: &History<'_>, state: &State) -> Result<State, DecodeError> {
        let plan = self.plans.kind(number)?;
        let Some(others) = self.model.kinds.get_mut(usize::from(number)) else {
            return Err(DecodeError::UnknownKind(number));
        };
        let flag = plan.flag(history.base);
        self.guess.set(plan, history);
        let differs = !same(self.guess.state(), state);
        let differs = if self.guess.still() {
            record::stirred(&mut self.binary, others, flag, self.recent, differs)
        } else {
            record::surprised(&mut self.binary, others, flag, self.guess.any_motion(), differs)
        };
        self.recent = self.recent << 1 | u32::from(differs);
        if !differs {
            return Ok(*self.guess.state());
        }
        record::fields(&mut self.binary, self.model, usize::from(number), plan, &mut self.guess, state)
    }
}
