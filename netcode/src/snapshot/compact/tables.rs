//! Start tables: a model trained on what was sent so far, coarse enough to be pushed.

use thiserror::Error;

use super::model::{Cell, Class, MOST_SENT, Model, Slot, Widths, direct};
use super::range::{Binary, PROBABILITY_BITS, RangeDecoder, RangeEncoder};
use super::{BadLength, Coder, MAX_VERSION, VERSION_BITS};
use crate::schema::Schema;
use crate::snapshot::predict::Plans;

/// The most bytes of serialised tables.
pub const MAX_TABLE_BYTES: usize = 1 << 16;

/// Why bytes are no tables.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TablesError {
    /// More than [`MAX_TABLE_BYTES`].
    #[error("more than {MAX_TABLE_BYTES} bytes")]
    TooLong,
    /// Shorter or longer than what they code.
    #[error(transparent)]
    Length(#[from] BadLength),
}

/// A model to start packets from that both sides agreed on, by its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    version: u8,
    model: Model,
}

impl Tables {
    /// The number they were made under, 0..=[`MAX_VERSION`].
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// What packets start from.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Appends the serialised form and gives its length in bytes.
    pub fn write(&self, out: &mut Vec<u8>) -> usize {
        let mut binary = RangeEncoder::new(out);
        binary.raw(self.version.into(), VERSION_BITS);
        // The model is coarse already, so coding it leaves it as it is. (One that was read of any bytes may have odds that
        // no trainer sends; those become their neighbours.)
        code(&mut binary, &mut self.model.clone());
        binary.finish()
    }

    /// Reads what [`Tables::write`] wrote for the same schema. Any other bytes give an error or some tables.
    ///
    /// # Errors
    /// If there are more or fewer bytes than needed.
    pub fn read(schema: &Schema, data: &[u8]) -> Result<Self, TablesError> {
        if data.len() > MAX_TABLE_BYTES {
            return Err(TablesError::TooLong);
        }
        let mut binary = RangeDecoder::new(data);
        let version = binary.raw(0, VERSION_BITS) as u8;
        let mut model = Model::new(schema);
        code(&mut binary, &mut model);
        binary.finish()?;
        model.settle();
        Ok(Self { version, model })
    }
}

/// Learns tables from the records that are sent.
#[derive(Clone, Debug)]
pub struct Trainer {
    model: Model,
    cost: u64,
}

impl Trainer {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self { model: Model::new(schema), cost: 0 }
    }

    /// Learns from a body: whatever is coded by this is learned instead of written. `plans` are those of the schema.
    pub fn body<'a>(&'a mut self, plans: &'a Plans) -> Coder<'a, Counting<'a>> {
        Coder::with(plans, &mut self.model, Counting { cost: &mut self.cost })
    }

    /// The bits that all bodies so far would have taken, in 1/256, each coded by what had been learned before it.
    #[must_use]
    pub const fn cost(&self) -> u64 {
        self.cost
    }

    /// Bytes of memory of one model, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.model.bytes()
    }

    /// What was learned, as tables of that version, at most [`MAX_VERSION`].
    #[must_use]
    pub fn tables(&self, version: u8) -> Tables {
        // Through the coarse form, so that both sides have the same.
        let mut bytes = Vec::new();
        let mut binary = RangeEncoder::new(&mut bytes);
        let mut model = self.model.clone();
        code(&mut binary, &mut model);
        model.settle();
        Tables { version: version & MAX_VERSION, model }
    }
}

/// Codes nothing; only the model learns, and more slowly, since tables are to hold for long.
#[derive(Debug)]
pub struct Counting<'a> {
    cost: &'a mut u64,
}

impl Binary for Counting<'_> {
    const LIMIT: u32 = 255;

    #[inline]
    fn code(&mut self, bit: bool, p: u32) -> bool {
        let p = if bit { p } else { (1 << PROBABILITY_BITS) - p };
        *self.cost += u64::from(COST[(p >> 8) as usize & 255]);
        bit
    }

    #[inline]
    fn raw(&mut self, value: u32, bits: u32) -> u32 {
        *self.cost += u64::from(bits) << COST_BITS;
        value
    }
}

/// The bits that a decision of probability `i / 256` takes, in 1/256; of 0 as of half of 1.
static COST: [u16; 256] = costs();
/// Fraction bits of [`COST`].
const COST_BITS: u32 = 8;

const fn costs() -> [u16; 256] {
    let mut table = [9 << COST_BITS; 256];
    let mut i = 1;
    while i < 256 {
        // The middle of the interval; its logarithm bit by bit, each by a square (Knuth, TAOCP 1.2.2, exercise 25).
        let middle = 2 * i as u64 + 1;
        let whole = middle.ilog2();
        let (mut x, mut log, mut n) = (middle << (32 - whole), whole as u64, 0);
        while n < COST_BITS {
            x = ((x as u128 * x as u128) >> 32) as u64;
            log <<= 1;
            if x >> 33 != 0 {
                x >>= 1;
                log |= 1;
            }
            n += 1;
        }
        table[i] = ((9 << COST_BITS) - log) as u16;
        i += 1;
    }
    table
}

/// The probabilities that tables themselves are coded with.
struct Coding {
    known: [Slot; 4],
    equal: [Slot; 2],
    sign: Slot,
    size: [Slot; 64],
    /// Whether the slot before was known.
    before: bool,
    /// The last known log-odds.
    last: i32,
}

/// Codes a model; a decoder replaces it, an encoder makes it coarse.
fn code(binary: &mut impl Binary, model: &mut Model) {
    let mut coding = Coding {
        known: [Slot::FRESH; 4],
        equal: [Slot::FRESH; 2],
        sign: Slot::FRESH,
        size: [Slot::FRESH; 64],
        before: false,
        last: 0,
    };
    for kind in &mut model.kinds {
        let slots = kind.changed.iter_mut().chain(&mut kind.flags).chain(&mut kind.index).chain(&mut kind.rank);
        slots.for_each(|slot| coding.slot(binary, slot));
    }
    for class in &mut model.classes {
        coding.class(binary, class);
    }
    model.free.iter_mut().for_each(|slot| coding.slot(binary, slot));
}

impl Coding {
    fn class(&mut self, binary: &mut impl Binary, class: &mut Class) {
        for widths in class.own.iter_mut().chain(&mut class.path) {
            for slots in [&mut widths.least, &mut widths.up, &mut widths.down] {
                slots.iter_mut().for_each(|cell| self.cell(binary, cell));
            }
        }
        class.sign.iter_mut().chain(&mut class.mantissa).for_each(|cell| self.cell(binary, cell));
        // In half widths.
        let mut last = 6;
        for mean in class.own_width.iter_mut().chain(&mut class.path_width) {
            let now = (i32::from(*mean) + 4) >> 3;
            last = self.step(binary, 0, last, now).clamp(0, 30);
            *mean = (last << 3) as u16;
        }
        let Widths { least, up, down } = &mut class.weights;
        for weight in least.iter_mut().chain(up).chain(down).flatten() {
            // In sixteenths, against the weight that fresh ones have.
            let now = (*weight + (1 << 11)) >> 12;
            *weight = self.step(binary, 1, 9, now).clamp(-64, 64) << 12;
        }
    }

    fn slot(&mut self, binary: &mut impl Binary, slot: &mut Slot) {
        *slot = self.odds(binary, slot.sent()).map_or(Slot::FRESH, Slot::from_sent);
    }

    fn cell(&mut self, binary: &mut impl Binary, cell: &mut Cell) {
        *cell = self.odds(binary, cell.sent()).map_or(Cell::FRESH, Cell::from_sent);
    }

    /// Codes log-odds, or that they are not known.
    fn odds(&mut self, binary: &mut impl Binary, odds: Option<i32>) -> Option<i32> {
        let context = usize::from(self.before);
        self.before = direct(binary, &mut self.known[context], odds.is_some());
        self.before.then(|| {
            self.last = self.step(binary, 2, self.last, odds.unwrap_or(0)).clamp(-MOST_SENT, MOST_SENT);
            self.last
        })
    }

    /// Codes a number by its step from `from`.
    fn step(&mut self, binary: &mut impl Binary, what: usize, from: i32, to: i32) -> i32 {
        let step = to.wrapping_sub(from);
        let equal = if what == 2 { &mut self.known[2] } else { &mut self.equal[what & 1] };
        if direct(binary, equal, step == 0) {
            return from;
        }
        let negative = direct(binary, &mut self.sign, step < 0);
        let size = step.unsigned_abs();
        let mut n = 1;
        for slot in &mut self.size {
            if !direct(binary, slot, n < size) {
                break;
            }
            n += 1;
        }
        if negative { from - n as i32 } else { from + n as i32 }
    }
}
