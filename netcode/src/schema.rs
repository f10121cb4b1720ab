//! The tables that describe what is replicated: per entity kind its fields, their ranges, widths,
//! predictors and groups.
//!
//! Everything else derives from these tables: the change masks, the widths on the wire, the hash that
//! both sides compare at connect, the decoded view. Adding a replicated field is one line in the
//! simulation's table. This module is plain data; it is the only one that `sim` may use.

/// The most fields that one entity kind (or the input) may have.
pub const MAX_FIELDS: usize = 12;
/// The most entity kinds of one schema (the kind is 4 bits on the wire).
pub const MAX_KINDS: usize = 16;
/// The most groups of one kind (one bit each in the change mask).
pub const MAX_GROUPS: usize = 8;

/// The largest magnitude of a linear predictor's numerator.
pub const MAX_NUMERATOR: i32 = 1 << 24;

/// The quantised fields of one entity, in the order of its [`Kind`]; unused ones are zero.
pub type State = [i32; MAX_FIELDS];

/// How a field is guessed from the baseline before the residual is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predictor {
    /// The field keeps its value.
    Hold,
    /// The field moves on along a velocity field of the same kind.
    ///
    /// The guess after `n` ticks is `base + floor((velocity * numerator * n + rate / 2) / rate)`, all
    /// integers, where `rate` is the tick rate in Hz.
    Linear {
        /// Index of the velocity field.
        velocity: u8,
        /// Position quanta per second for one velocity quantum.
        numerator: i32,
    },
    /// The field moves on as it moved between the two newest acknowledged states.
    ///
    /// The guess `n` ticks after the newer one, `m` ticks after the older one, is
    /// `newer + round((newer - older) * n / m)`; without an older state the field keeps its value.
    Trend,
    /// Four fields in a row are a unit quaternion, *smallest three*: part 0 is the number (2 bits) of the
    /// component x, y, z, w of the largest magnitude, which is left out and positive; parts 1, 2, 3 are the
    /// others in order, unsigned, where 0 is -1/√2 and the largest value +1/√2. It turns on as it turned between
    /// the two newest acknowledged states.
    Rotation {
        /// Which of the four fields, 0..=3.
        part: u8,
    },
}

/// The narrowest and the widest component of a [`Predictor::Rotation`], in bits.
pub const ROTATION_BITS: [u8; 2] = [4, 14];

/// One replicated (or input) field: an integer with a range and a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name, as in the documentation and in generated bindings.
    pub name: &'static str,
    /// Width on the wire in bits, 1..=32.
    pub bits: u8,
    /// Two's complement (`-2^(bits-1) ..`) or unsigned (`0 ..`).
    pub signed: bool,
    /// Whether the value is cyclic (an angle): differences are taken modulo `2^bits`.
    pub wraps: bool,
    /// Quanta per unit, for instance 256 for 1/256 m.
    pub scale: u32,
    /// Unit of the dequantised value, for instance `"m"`.
    pub unit: &'static str,
    /// How the field is guessed from the baseline.
    pub predictor: Predictor,
    /// Change group, below [`MAX_GROUPS`]: fields that change together share one mask bit.
    pub group: u8,
    /// Widths in bits of the small and the medium residual class, `small < medium < bits`.
    pub classes: [u8; 2],
}

/// One kind of entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Name, as in the documentation.
    pub name: &'static str,
    /// The fields, at most [`MAX_FIELDS`], in wire order.
    pub fields: &'static [Field],
}

/// All that a zone replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The entity kinds; the index is the kind number on the wire.
    pub kinds: &'static [Kind],
    /// The fields of one tick's input, coded as raw bits.
    pub input: &'static [Field],
}

impl Field {
    /// The smallest value.
    #[inline]
    #[must_use]
    pub const fn min(&self) -> i32 {
        if self.signed { (-1i64 << (self.bits - 1)) as i32 } else { 0 }
    }

    /// The largest value (an unsigned field has at most 31 bits).
    #[inline]
    #[must_use]
    pub const fn max(&self) -> i32 {
        if self.signed { ((1i64 << (self.bits - 1)) - 1) as i32 } else { ((1i64 << self.bits) - 1) as i32 }
    }

    /// Brings a value into range: cyclic fields wrap, others saturate.
    #[inline]
    #[must_use]
    pub const fn fit(&self, value: i64) -> i32 {
        let (min, max) = (self.min() as i64, self.max() as i64);
        if self.wraps {
            ((value - min).rem_euclid(max - min + 1) + min) as i32
        } else if value < min {
            min as i32
        } else if value > max {
            max as i32
        } else {
            value as i32
        }
    }

    /// Nearest quantum of `value` (in units), brought into range. NaN becomes the value nearest zero.
    #[must_use]
    pub fn quantise(&self, value: f32) -> i32 {
        // `as` saturates and maps NaN to 0; adding a half and flooring rounds alike on every target.
        let quanta = (f64::from(value) * f64::from(self.scale) + 0.5).floor();
        self.fit(quanta as i64)
    }

    /// The value in units of a quantised one.
    #[must_use]
    pub fn dequantise(&self, quanta: i32) -> f32 {
        (f64::from(quanta) / f64::from(self.scale)) as f32
    }
}

impl Kind {
    /// A mask with one bit per group that this kind has.
    #[must_use]
    pub fn groups(&self) -> u8 {
        self.fields.iter().fold(0, |mask, field| mask | (1 << field.group))
    }
}

impl Schema {
    /// The kind with that wire number.
    #[must_use]
    pub fn kind(&self, number: u8) -> Option<&'static Kind> {
        self.kinds.get(usize::from(number))
    }

    /// FNV-1a (64 bits) over the canonical bytes of the table; both sides must agree on it to connect.
    ///
    /// The canonical bytes are given in SPEC.md: everything that changes a bit on the wire or its
    /// meaning is part of them.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        let mut hash = Fnv::new().byte(self.kinds.len() as u8);
        let mut i = 0;
        while i < self.kinds.len() {
            hash = hash.text(self.kinds[i].name).fields(self.kinds[i].fields);
            i += 1;
        }
        hash.fields(self.input).0
    }

    /// Checks the table's own rules; call it in a `const` assertion next to the table.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        if self.kinds.len() > MAX_KINDS || !fields_valid(self.input) {
            return false;
        }
        let mut i = 0;
        while i < self.kinds.len() {
            if !fields_valid(self.kinds[i].fields) {
                return false;
            }
            i += 1;
        }
        true
    }
}

const fn fields_valid(fields: &[Field]) -> bool {
    if fields.len() > MAX_FIELDS {
        return false;
    }
    let mut i = 0;
    while i < fields.len() {
        let field = &fields[i];
        let width = if field.signed { 32 } else { 31 };
        let classes = field.bits == 1 || field.classes[0] < field.classes[1] && field.classes[1] < field.bits;
        if field.bits == 0 || field.bits > width || field.scale == 0 || field.group as usize >= MAX_GROUPS || !classes {
            return false;
        }
        match field.predictor {
            Predictor::Hold | Predictor::Trend => {}
            Predictor::Linear { velocity, numerator } => {
                // Within these bounds a guess never overflows 64 bits.
                let bounded = numerator.unsigned_abs() <= MAX_NUMERATOR as u32;
                if velocity as usize >= fields.len() || velocity as usize == i || !bounded {
                    return false;
                }
            }
            Predictor::Rotation { part } => {
                if !rotation_valid(fields, i, part) {
                    return false;
                }
            }
        }
        i += 1;
    }
    true
}

/// Whether field `i` has its place in a whole quaternion: the four parts in order, in one group.
const fn rotation_valid(fields: &[Field], i: usize, part: u8) -> bool {
    if part > 3 || (part as usize) > i || i - part as usize + 4 > fields.len() {
        return false;
    }
    let first = i - part as usize;
    let (index, one, me) = (&fields[first], &fields[first + 1], &fields[i]);
    let follows = matches!(index.predictor, Predictor::Rotation { part: 0 });
    let next = match (part, fields[first + if part == 3 { 3 } else { part as usize + 1 }].predictor) {
        (3, _) => true,
        (_, Predictor::Rotation { part: next }) => next == part + 1,
        _ => false,
    };
    let width = if part == 0 { me.bits == 2 } else { me.bits == one.bits };
    follows
        && next
        && width
        && !me.signed
        && !me.wraps
        && me.group == index.group
        && ROTATION_BITS[0] <= one.bits
        && one.bits <= ROTATION_BITS[1]
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo; <http://www.isthe.com/chongo/tech/comp/fnv/>), usable in constants.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(pub u64);

impl Fnv {
    /// The offset basis.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds one byte.
    #[must_use]
    pub const fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// Adds four bytes, little endian.
    #[must_use]
    pub const fn u32(self, value: u32) -> Self {
        let b = value.to_le_bytes();
        self.byte(b[0]).byte(b[1]).byte(b[2]).byte(b[3])
    }

    /// Adds a text: its length in one byte, then its bytes.
    #[must_use]
    pub const fn text(self, text: &str) -> Self {
        let bytes = text.as_bytes();
        assert!(bytes.len() < 256, "a schema name has at most 255 bytes");
        let mut hash = self.byte(bytes.len() as u8);
        let mut i = 0;
        while i < bytes.len() {
            hash = hash.byte(bytes[i]);
            i += 1;
        }
        hash
    }

    const fn fields(self, fields: &[Field]) -> Self {
        let mut hash = self.byte(fields.len() as u8);
        let mut i = 0;
        while i < fields.len() {
            let field = &fields[i];
            hash = hash
                .text(field.name)
                .byte(field.bits)
                .byte(field.signed as u8)
                .byte(field.wraps as u8)
                .u32(field.scale)
                .text(field.unit)
                .byte(field.group)
                .byte(field.classes[0])
                .byte(field.classes[1]);
            hash = match field.predictor {
                Predictor::Hold => hash.byte(0),
                Predictor::Linear { velocity, numerator } => hash.byte(1).byte(velocity).u32(numerator as u32),
                Predictor::Trend => hash.byte(2),
                Predictor::Rotation { part } => hash.byte(3).byte(part),
            };
            i += 1;
        }
        hash
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Field = Field {
        name: "x",
        bits: 10,
        signed: true,
        wraps: false,
        scale: 16,
        unit: "m",
        predictor: Predictor::Hold,
        group: 0,
        classes: [3, 6],
    };
    const YAW: Field = Field { name: "yaw", bits: 8, signed: false, wraps: true, ..X };
    const SCHEMA: Schema = Schema { kinds: &[Kind { name: "thing", fields: &[X, YAW] }], input: &[YAW] };

    #[test]
    fn fnv_matches_the_published_vectors() {
        assert_eq!(Fnv::new().0, 0xcbf2_9ce4_8422_2325);
        assert_eq!(Fnv::new().byte(b'a').0, 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn quantise_rounds_saturates_and_wraps() {
        assert_eq!(X.quantise(1.0), 16);
        assert_eq!(X.quantise(1e9), 511);
        assert_eq!(X.quantise(-1e9), -512);
        assert_eq!(X.quantise(f32::NAN), 0);
        assert_eq!(YAW.fit(-1), 255);
        assert_eq!(YAW.fit(256), 0);
    }

    #[test]
    fn any_change_of_the_table_changes_the_hash() {
        assert!(SCHEMA.is_valid());
        let other =
            Schema { kinds: &[Kind { name: "thing", fields: &[Field { classes: [3, 7], ..X }, YAW] }], input: &[YAW] };
        assert_ne!(SCHEMA.hash(), other.hash());
    }

    #[test]
    fn a_table_that_breaks_the_rules_is_invalid() {
        let wide = Schema { kinds: &[], input: &[Field { bits: 32, signed: false, ..X }] };
        let loops =
            Schema { kinds: &[], input: &[Field { predictor: Predictor::Linear { velocity: 0, numerator: 1 }, ..X }] };
        let steep = Schema {
            kinds: &[],
            input: &[X, Field { predictor: Predictor::Linear { velocity: 0, numerator: i32::MIN }, ..X }],
        };
        assert!(!steep.is_valid());
        assert!(!wide.is_valid());
        assert!(!loops.is_valid());
    }

    const fn turn(part: u8) -> Field {
        let (bits, classes) = if part == 0 { (2, [0, 1]) } else { (9, [3, 6]) };
        Field { bits, signed: false, classes, predictor: Predictor::Rotation { part }, ..X }
    }

    #[test]
    fn a_quaternion_is_four_fields_in_order() {
        const WHOLE: [Field; 6] = [X, turn(0), turn(1), turn(2), turn(3), YAW];
        let valid = |fields: [Field; 6]| fields_valid(&fields);
        assert!(valid(WHOLE));
        let mut swapped = WHOLE;
        swapped.swap(2, 3);
        assert!(!valid(swapped));
        for i in 1..5 {
            let mut broken = WHOLE;
            broken[i] = X;
            assert!(!valid(broken), "without part {}", i - 1);
            for field in [
                Field { bits: 3, ..WHOLE[i] },
                Field { signed: true, ..WHOLE[i] },
                Field { wraps: true, ..WHOLE[i] },
                Field { group: 1, ..WHOLE[i] },
            ] {
                broken[i] = field;
                assert!(!valid(broken), "{field:?}");
            }
        }
        assert!(!fields_valid(&[turn(0), turn(1), turn(2)]));
        assert!(!fields_valid(&[turn(1), turn(2), turn(3), X]));
    }

    #[test]
    fn the_hash_tells_predictors_apart() {
        let hash = |predictor| Fnv::new().fields(&[Field { predictor, ..X }]).0;
        let all = [Predictor::Hold, Predictor::Trend, Predictor::Rotation { part: 0 }, Predictor::Rotation { part: 1 }];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| hash(*a) != hash(*b)));
        }
    }
}
