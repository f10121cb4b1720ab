//! The compact codec: residuals through an adaptive binary range coder.
//!
//! A body is the byte `1 | version << 1` and one range-coded string (S-15): the header, and what each record says, as
//! decisions of one bit. Each has a probability that learns from it, in a [`Model`] that starts from [`Tables`] both
//! sides have. A body leaves nothing behind for the next, so each is decoded by itself, whatever was lost before it.
//!
//! - `range`: the coder, its carry and its end (S-16, S-17)
//! - `logistic`, `model`: probabilities, their mixing, and all contexts of a model (S-18 to S-21)
//! - `body`: header, gaps, ops and spawns, and the numbers of their contexts (S-22)
//! - `record`: the fields of an update (S-23, S-24)
//! - `tables`: what a model is trained to be, and its bytes (S-25)
//!
//! What a hostile body can cost (S-26): at most 4095 records of 16 fields, each of at most 36 decisions, and no record begins
//! once more was read than the string can have held. Decoding allocates nothing. Tables cost a model, for Zonewire's game
//! some 400 KB, and a view holds two and a running copy of each.

mod body;
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

/// Bits of the version of the tables that a body starts from; with the codec's bit they are its first byte.
pub const VERSION_BITS: u32 = 7;
/// The highest version of tables; after it comes 1 again.
pub const MAX_VERSION: u8 = 127;

/// Codes a body: an encoder if `B` is one, else a decoder.
#[derive(Debug)]
pub struct Coder<'m, B> {
    binary: B,
    model: &'m mut Model,
    plans: &'m Plans,
    guess: Guess,
    recent: u32,
    body: body::Course,
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
        Self { binary, model, plans, guess: Guess::default(), recent: 0, body: body::Course::default() }
    }

    /// The bits written up to here, about; 0 for what writes none.
    pub fn bits(&self) -> usize {
        self.binary.bits()
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

    /// Codes a whole record, as its owner gets it.
    ///
    /// # Errors
    /// If the schema has no such kind, or (decoding) a value is out of its field's range.
    pub fn record(&mut self, number: u8, history: &History<'_>, state: &State) -> Result<State, DecodeError> {
        let plan = self.plans.kind(number)?;
        self.model.kinds_touched |= 1 << (number & 31);
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
        let whose = record::Whose { number: usize::from(number), owner: true };
        record::fields(&mut self.binary, self.model, whose, plan, &mut self.guess, state)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::schema::MAX_FIELDS;
    use crate::snapshot::samples::{Sample, samples};

    /// A body of these records, with other decisions between them.
    fn body<B: Binary>(coder: &mut Coder<'_, B>, samples: &[Sample], write: bool) -> Result<Vec<State>, DecodeError> {
        let mut states = Vec::new();
        for (i, sample) in samples.iter().enumerate() {
            let value = |value: u32| if write { value } else { 0 };
            let n = i as u32;
            assert_eq!(coder.raw(value(n * 77_777), 27), n * 77_777);
            assert_eq!(coder.tree(0, value(n % 8), 3), n % 8);
            assert_eq!(coder.exp(8, value(n * n * 1000)), n * n * 1000);
            assert_eq!(coder.bit(40, write && n.is_multiple_of(3)), n.is_multiple_of(3));
            coder.pass(n % 3);
            states.push(coder.record(0, &sample.history(), if write { &sample.state } else { &[0; MAX_FIELDS] })?);
        }
        Ok(states)
    }

    proptest! {
        #[test]
        fn bodies_come_back_as_they_went((plans, samples) in samples()) {
            let expected: Vec<State> = samples.iter().map(|sample| sample.state).collect();
            let (mut sent, mut read) = (Model::new(plans.schema()), Model::new(plans.schema()));
            // The second goes on where the first ended.
            for _ in 0..2 {
                let mut out = Vec::new();
                let mut encoder = Encoder::new(&plans, &mut sent, &mut out);
                prop_assert_eq!(body(&mut encoder, &samples, true), Ok(expected.clone()));
                encoder.finish();
                let mut decoder = Decoder::new(&plans, &mut read, &out);
                prop_assert_eq!(body(&mut decoder, &samples, false), Ok(expected.clone()));
                prop_assert_eq!(decoder.finish(), Ok(()));
                prop_assert!(sent == read);
            }
        }

        #[test]
        fn whatever_is_read_is_in_range_or_an_error((plans, samples) in samples(), data: Vec<u8>) {
            let mut model = Model::new(plans.schema());
            let mut decoder = Decoder::new(&plans, &mut model, &data);
            for sample in &samples {
                decoder.exp(0, 0);
                decoder.tree(64, 0, 8);
                let Ok(state) = decoder.record(0, &sample.history(), &[0; MAX_FIELDS]) else { break };
                for (step, value) in plans.kind(0).unwrap().steps().iter().zip(state) {
                    prop_assert!(step.holds(value));
                }
            }
            let _ = decoder.finish();
        }

        #[test]
        fn tables_come_back_as_they_went((plans, samples) in samples(), version in 0..=MAX_VERSION) {
            let mut trainer = Trainer::new(plans.schema());
            for _ in 0..3 {
                body(&mut trainer.body(&plans), &samples, true).unwrap();
            }
            let tables = trainer.tables(version);
            let mut out = Vec::new();
            prop_assert_eq!(tables.write(&mut out), out.len());
            prop_assert!(out.len() <= MAX_TABLE_BYTES);
            let read = Tables::read(plans.schema(), &out).unwrap();
            prop_assert!(read == tables);
            prop_assert_eq!(read.version(), version);
        }

        #[test]
        fn any_bytes_are_tables_or_an_error((plans, samples) in samples(), data in vec(any::<u8>(), 0..4000)) {
            if let Ok(tables) = Tables::read(plans.schema(), &data) {
                // Such tables serve as well as others.
                let (mut model, mut out) = (tables.model().clone(), Vec::new());
                let mut encoder = Encoder::new(&plans, &mut model, &mut out);
                body(&mut encoder, &samples, true).unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn a_model_that_learned_shortens_what_it_learned((plans, samples) in samples()) {
            let size = |model: &mut Model| {
                let mut out = Vec::new();
                let mut encoder = Encoder::new(&plans, model, &mut out);
                body(&mut encoder, &samples, true).unwrap();
                encoder.finish()
            };
            let mut model = Model::new(plans.schema());
            let first = size(&mut model);
            for _ in 0..20 {
                size(&mut model);
            }
            prop_assert!(size(&mut model) <= first);
        }
    }

    #[test]
    fn too_many_bytes_are_no_tables() {
        static SCHEMA: crate::schema::Schema = crate::schema::Schema { kinds: &[], input: &[] };
        assert_eq!(Tables::read(&SCHEMA, &vec![0; MAX_TABLE_BYTES + 1]), Err(TablesError::TooLong));
        assert_eq!(Tables::read(&SCHEMA, &[0; 5000]), Err(TablesError::Length(BadLength)));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        static SCHEMA: crate::schema::Schema = crate::schema::Schema { kinds: &[], input: &[] };
        let (plans, mut model) = (Plans::new(&SCHEMA), Model::new(&SCHEMA));
        let history = History { base: &[0; MAX_FIELDS], older: None, age: 1, rate: 20 };
        let mut decoder = Decoder::new(&plans, &mut model, &[]);
        assert_eq!(decoder.record(3, &history, &[0; MAX_FIELDS]), Err(DecodeError::UnknownKind(3)));
    }
}
