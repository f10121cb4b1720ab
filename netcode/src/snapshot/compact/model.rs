//! Adaptive probabilities, and the contexts they are kept in.

use super::logistic::{squash, stretch};
use super::range::Binary;
use crate::schema::{Field, MAX_FIELDS, MAX_KINDS, Predictor, Schema};

/// Stands for no class; no schema has so many.
const NO_CLASS: u16 = u16::MAX;
const _: () = assert!(MAX_KINDS * MAX_FIELDS < NO_CLASS as usize);

/// Contexts for callers' own decisions.
pub const FREE_CONTEXTS: usize = 1024;

/// How many decisions a probability from tables counts as having seen.
const TRUSTED: u32 = 8;
/// Log-odds are sent in steps of so many of [`stretch`]'s.
const COARSE: i32 = 64;
/// The largest log-odds as sent.
pub(super) const MOST_SENT: i32 = 2048 / COARSE;
/// How many decisions a fresh probability counts as having seen.
const FRESH: u32 = 1;
/// The smallest probability of either bit, in 1/65536.
const RAREST: u32 = 24;
/// The learning rate of the mixers, as a shift.
const LEARN: u32 = 14;
/// A weight of 1.
pub(super) const ONE: i32 = 1 << 16;

/// One adaptive probability: the upper 22 bits are that of a set bit, the lower 10 count decisions up to [`Binary::LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// What a probability moves by after `n` decisions, in 1/65536: about 1 / (n + 1.6), so that a fresh one is nearly the mean.
static RATE: [u16; 256] = rates();

const fn rates() -> [u16; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = (655_360 / (10 * n as u32 + 16)) as u16;
        n += 1;
    }
    table
}

impl Slot {
    /// Even odds, quick to learn.
    pub const FRESH: Self = Self(1 << 31 | FRESH);

    /// The probability, [`RAREST`] to 65536 less that, in 1/65536.
    #[inline]
    pub const fn p(self) -> u32 {
        self.0 >> 16
    }

    /// The log-odds in the steps that tables have, `-MOST_SENT..=MOST_SENT`; `None` if nothing is known.
    pub fn sent(self) -> Option<i32> {
        let known = self.0 & 1023 > FRESH + 1;
        known.then(|| coarse(self.p()))
    }

    /// The probability that tables with that log-odds mean.
    pub fn from_sent(odds: i32) -> Self {
        let p = squash(odds.clamp(-MOST_SENT, MOST_SENT) * COARSE);
        Self(p.clamp(RAREST, 65_536 - RAREST) << 16 | TRUSTED)
    }

    #[inline(always)]
    fn learn(&mut self, bit: bool, limit: u32) {
        let (p, n) = ((self.0 >> 10) as i32, self.0 & 1023);
        let target = (RAREST << 6) as i32 + (-i32::from(bit) & ((65_536 - 2 * RAREST) << 6) as i32);
        let rate = i32::from(RATE[n as usize & 255]);
        // A step leads towards the target and never beyond it. Nothing wraps; the plain operators would check.
        let step = (i64::from(target.wrapping_sub(p)).wrapping_mul(i64::from(rate)) >> 16) as i32;
        self.0 = (p.wrapping_add(step) as u32) << 10 | n.wrapping_add(u32::from(n < limit));
    }
}

/// An adaptive probability in half the memory, for what there are many of: the upper 13 bits are the probability, the lower 3 count
/// decisions up to 7; it moves by a quarter at first, by 1/32 in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell(u16);

/// What codes one bit and learns from it.
pub(super) trait Adaptive {
    /// The probability of a set bit, in 1/65536.
    fn p(&self) -> u32;

    /// Learns a bit; after `limit` of them no slower.
    fn learn(&mut self, bit: bool, limit: u32);
}

impl Adaptive for Slot {
    #[inline(always)]
    fn p(&self) -> u32 {
        Self::p(*self)
    }

    #[inline(always)]
    fn learn(&mut self, bit: bool, limit: u32) {
        Self::learn(self, bit, limit);
    }
}

impl Cell {
    pub const FRESH: Self = Self(1 << 15);

    /// As [`Slot::sent`].
    pub fn sent(self) -> Option<i32> {
        (self.0 & 7 > 1).then(|| coarse(self.p()))
    }

    /// As [`Slot::from_sent`].
    pub fn from_sent(odds: i32) -> Self {
        let p = squash(odds.clamp(-MOST_SENT, MOST_SENT) * COARSE);
        Self((p & !7) as u16 | 4)
    }
}

impl Adaptive for Cell {
    #[inline(always)]
    fn p(&self) -> u32 {
        // Never 0, whatever the probability.
        u32::from(self.0 | 4)
    }

    #[inline(always)]
    fn learn(&mut self, bit: bool, _limit: u32) {
        let (p, n) = (i32::from(self.0 | 4), u32::from(self.0 & 7));
        let target = 8 + (-i32::from(bit) & 65_520);
        // Towards the target, never beyond it, so that it stays in 16 bits; the plain operators would check.
        let p = p.wrapping_add(i32::wrapping_sub(target, p) >> (n.wrapping_add(4) >> 1));
        self.0 = (p as u16 & !7) | (n.wrapping_add(u32::from(n < 7))) as u16;
    }
}

/// A probability's log-odds in the steps that tables have.
fn coarse(p: u32) -> i32 {
    (stretch(p) + COARSE / 2).div_euclid(COARSE)
}

/// Codes one bit by one probability.
#[inline(always)]
pub(super) fn direct<B: Binary>(binary: &mut B, slot: &mut impl Adaptive, bit: bool) -> bool {
    let bit = binary.code(bit, slot.p());
    slot.learn(bit, B::LIMIT);
    bit
}

/// Codes one bit by the weighted sum of two log-odds (logistic mixing after Mahoney, "Adaptive weighing of context
/// models for lossless data compression", 2005; the weights learn online).
#[inline(always)]
pub(super) fn mixed<B: Binary>(binary: &mut B, a: &mut Cell, b: &mut Cell, weights: &mut [i32; 2], bit: bool) -> bool {
    let odds = [stretch(a.p()), stretch(b.p())];
    // Weights stay near 1. Were one ever to leave what 32 bits hold, both sides would agree on what it wraps to.
    let sum = weights[0].wrapping_mul(odds[0]).wrapping_add(weights[1].wrapping_mul(odds[1]));
    let p = squash(sum >> 16);
    let bit = binary.code(bit, p);
    let error = (i32::from(bit) << 16).wrapping_sub(p as i32);
    for (weight, odds) in weights.iter_mut().zip(odds) {
        let step = error.wrapping_mul(odds) >> LEARN;
        *weight = weight.wrapping_add(step);
    }
    a.learn(bit, B::LIMIT);
    b.learn(bit, B::LIMIT);
    bit
}

/// Widths of a residual that have probabilities of their own; wider ones share those of the last.
pub(super) const WIDTHS: usize = 16;
/// Contexts of a residual by where the guess went.
pub(super) const OWN: usize = 32;
/// Contexts of a residual by what the record held before it.
pub(super) const PATH: usize = 64;

/// The probabilities of all fields that are of one class: they differ in nothing but their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub own: [Widths<Cell>; OWN],
    pub path: [Widths<Cell>; PATH],
    pub weights: Widths<[i32; 2]>,
    pub sign: [Cell; OWN],
    /// The bit below the leading one, by width.
    pub mantissa: [Cell; WIDTHS],
    /// The mean width of residuals, in 1/16, by either context.
    pub own_width: [u16; OWN],
    pub path_width: [u16; PATH],
    /// Whether anything has learned, and for which contexts.
    pub touched: bool,
    pub own_touched: u32,
    pub path_touched: u64,
}

/// A width is coded as steps from an expected one: is it at least that; then up, or down, until it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Widths<T> {
    /// At least the expected width, by that.
    pub least: [T; WIDTHS],
    /// Above a width, if at least that.
    pub up: [T; WIDTHS],
    /// Below a width, if at most that.
    pub down: [T; WIDTHS],
}

impl<T: Copy> Widths<T> {
    const fn all(value: T) -> Self {
        Self { least: [value; WIDTHS], up: [value; WIDTHS], down: [value; WIDTHS] }
    }
}

impl Class {
    const FRESH: Self = Self {
        own: [const { Widths::all(Cell::FRESH) }; OWN],
        path: [const { Widths::all(Cell::FRESH) }; PATH],
        weights: Widths::all([ONE * 11 / 20; 2]),
        sign: [Cell::FRESH; OWN],
        mantissa: [Cell::FRESH; WIDTHS],
        own_width: [3 << 4; OWN],
        path_width: [3 << 4; PATH],
        touched: false,
        own_touched: 0,
        path_touched: 0,
    };
}

impl Class {
    /// See [`Model::restart`].
    fn restart(&mut self, start: &Self) {
        for i in set_bits(self.own_touched.into()) {
            if let (Some(place), Some(from)) = (self.own.get_mut(i), start.own.get(i)) {
                *place = *from;
            }
        }
        for i in set_bits(self.path_touched) {
            if let (Some(place), Some(from)) = (self.path.get_mut(i), start.path.get(i)) {
                *place = *from;
            }
        }
        (self.weights, self.sign, self.mantissa) = (start.weights, start.sign, start.mantissa);
        (self.own_width, self.path_width) = (start.own_width, start.path_width);
        (self.touched, self.own_touched, self.path_touched) = (false, 0, 0);
    }
}

/// The places of the bits that are set, ascending.
fn set_bits(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (bits != 0).then_some(bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        place
    })
}

/// The probabilities of one kind's other decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KindModel {
    /// The class of each field.
    pub classes: [u16; MAX_FIELDS],
    pub changed: [Slot; 256],
    pub flags: [Slot; 512],
    pub index: [Slot; 128],
    pub rank: [Slot; 4],
}

/// All adaptive state of a packet: where it starts, and how it goes on.
///
/// Both sides must start a packet from equal models: fresh ones, agreed tables, or what a packet left behind that is
/// known to have been received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub(super) kinds: Vec<KindModel>,
    pub(super) classes: Vec<Class>,
    pub(super) free: Vec<Slot>,
    /// The kinds whose decisions have learned, a bit each.
    pub(super) kinds_touched: u32,
}

const _: () = assert!(MAX_KINDS <= u32::BITS as usize);
const _: () = assert!(OWN == u32::BITS as usize && PATH == u64::BITS as usize);

impl Model {
    /// Even odds everywhere.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let mut model =
            Self { kinds: Vec::new(), classes: Vec::new(), free: vec![Slot::FRESH; FREE_CONTEXTS], kinds_touched: 0 };
        for kind in schema.kinds.iter().take(MAX_KINDS) {
            let mut classes = [NO_CLASS; MAX_FIELDS];
            for (i, field) in kind.fields.iter().enumerate().filter(|(_, field)| has_residual(field)) {
                let like = kind.fields.iter().take(i).position(|other| has_residual(other) && alike(other, field));
                let class = match like {
                    Some(other) => classes.get(other).copied().unwrap_or(NO_CLASS),
                    None => {
                        model.classes.push(Class::FRESH);
                        (model.classes.len() - 1) as u16
                    }
                };
                if let Some(place) = classes.get_mut(i) {
                    *place = class;
                }
            }
            model.kinds.push(KindModel {
                classes,
                changed: [Slot::FRESH; 256],
                flags: [Slot::FRESH; 512],
                index: [Slot::FRESH; 128],
                rank: [Slot::FRESH; 4],
            });
        }
        model
    }

    /// Becomes equal to `other`, in the memory it has.
    pub fn copy_from(&mut self, other: &Self) {
        self.kinds.clone_from(&other.kinds);
        self.classes.clone_from(&other.classes);
        self.free.clone_from(&other.free);
        self.kinds_touched = other.kinds_touched;
    }

    /// Bytes of memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.kinds.len() * size_of::<KindModel>()
            + self.classes.len() * size_of::<Class>()
            + self.free.len() * size_of::<Slot>()
    }

    /// Becomes equal to `start` again, from which it came; what a packet did not touch is not copied.
    pub fn restart(&mut self, start: &Self) {
        for (number, (kind, from)) in self.kinds.iter_mut().zip(&start.kinds).enumerate() {
            if self.kinds_touched >> (number & 31) & 1 != 0 {
                kind.clone_from(from);
            }
        }
        for (class, from) in self.classes.iter_mut().zip(&start.classes).filter(|(class, _)| class.touched) {
            class.restart(from);
        }
        self.free.clone_from(&start.free);
        self.kinds_touched = 0;
    }

    /// Says that nothing has learned since the model that packets start from.
    pub(super) fn settle(&mut self) {
        self.kinds_touched = 0;
        for class in &mut self.classes {
            (class.touched, class.own_touched, class.path_touched) = (false, 0, 0);
        }
    }
}

/// Whether a field is coded as a residual; the others have decisions of their own.
fn has_residual(field: &Field) -> bool {
    field.bits > 1 && field.predictor != Predictor::Rotation { part: 0 }
}

/// Whether two fields of a kind share their probabilities.
fn alike(a: &Field, b: &Field) -> bool {
    let predictors = match (a.predictor, b.predictor) {
        (Predictor::Linear { numerator: a, .. }, Predictor::Linear { numerator: b, .. }) => a == b,
        (Predictor::Fall { .. }, Predictor::Fall { .. }) => true,
        (Predictor::Rotation { part: a }, Predictor::Rotation { part: b }) => (a == 0) == (b == 0),
        (a, b) => a == b,
    };
    predictors && (a.bits, a.signed, a.wraps, a.group) == (b.bits, b.signed, b.wraps, b.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_trainer_sends_is_sent_again_as_it_is() {
        for state in 0..=u16::MAX {
            if let Some(odds) = Cell(state).sent() {
                assert_eq!(Cell::from_sent(odds).sent(), Some(odds), "cell {state}");
            }
        }
        for p in RAREST..=65_536 - RAREST {
            let odds = Slot(p << 16 | TRUSTED).sent().unwrap();
            assert_eq!(Slot::from_sent(odds).sent(), Some(odds), "slot {p}");
        }
    }
}
