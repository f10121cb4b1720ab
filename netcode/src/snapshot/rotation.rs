//! Unit quaternions in *smallest three* form, turned on in integers.
//!
//! A component of `b` bits counts in steps of `√2 / (2^b - 1)`. Here all components are integers in which the
//! unit is `√2 (2^b - 1) 2^(14 - b)`: a step is an even number of them, and the square of the unit is an
//! integer below 2³¹, so that the component left out is one integer square root away.

use crate::schema::ROTATION_BITS;

/// Fraction bits of the turn's components.
const ONE: u32 = 28;

/// A quaternion, x, y, z, w, in the unit of its width.
type Quat = [i32; 4];

/// What a rotation is guessed to become, and what it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    guess: Quat,
    base: Quat,
    bits: u8,
}

impl Turn {
    /// Turns `base` on for `age` ticks as it turned from `older` to `base`, which took `ticks`.
    ///
    /// The fields are index, a, b, c of `bits` bits a component. Total: fields that are no unit quaternion give some
    /// guess.
    pub fn new(base: [i32; 4], older: Option<([i32; 4], u8)>, age: u8, bits: u8) -> Self {
        let bits = bits.clamp(ROTATION_BITS[0], ROTATION_BITS[1]);
        let from = unpack(base, bits);
        let guess = match older {
            Some((older, ticks)) if older != base => {
                turned(from, unpack(older, bits), i64::from(age), i64::from(ticks.max(1)), unit(bits))
            }
            _ => from,
        };
        Self { guess, base: from, bits }
    }

    /// The guess as fields: index, a, b, c.
    pub fn fields(&self) -> [i32; 4] {
        let index = self.order()[0];
        let [a, b, c] = self.parts(index);
        [i32::from(index), a, b, c]
    }

    /// The guess's components without number `index`, as fields.
    pub fn parts(&self, index: u8) -> [i32; 3] {
        pack(self.guess, index, self.bits)
    }

    /// The same of the baseline.
    pub fn base_parts(&self, index: u8) -> [i32; 3] {
        pack(self.base, index, self.bits)
    }

    /// The numbers of the components, the largest of the guess first.
    pub fn order(&self) -> [u8; 4] {
        let size = |i: u8| self.guess.get(usize::from(i)).map_or(0, |c| c.unsigned_abs());
        let mut order = [0, 1, 2, 3];
        // Insertion, stable: equal ones stay in the order x, y, z, w.
        for i in 1..4 {
            let mut k = i;
            while k > 0 && size(order[k]) > size(order[k - 1]) {
                order.swap(k, k - 1);
                k -= 1;
            }
        }
        order
    }

    /// How clearly the first of the order is larger than the second: 0 (hardly) to 7.
    #[inline]
    pub fn margin(&self, order: [u8; 4]) -> usize {
        let size = |i: u8| self.guess.get(usize::from(i)).map_or(0, |c| c.unsigned_abs());
        (size(order[0]).saturating_sub(size(order[1])) >> 10).min(7) as usize
    }
}

/// The square of the unit.
const fn unit(bits: u8) -> i64 {
    let most = (1i64 << bits) - 1;
    (2 * most * most) << (2 * (14 - bits as u32))
}

fn unpack(fields: [i32; 4], bits: u8) -> Quat {
    let [index, parts @ ..] = fields;
    let most = (1 << bits) - 1;
    let mut left = unit(bits);
    let mut small = [0; 3];
    for (small, part) in small.iter_mut().zip(parts) {
        *small = (2 * part.clamp(0, most) - most) << (14 - u32::from(bits));
        left -= i64::from(*small) * i64::from(*small);
    }
    // At most 2^31, so the root fits.
    let large = (left.max(0) as u32).isqrt() as i32;
    let [a, b, c] = small;
    match index {
        0 => [large, a, b, c],
        1 => [a, large, b, c],
        2 => [a, b, large, c],
        _ => [a, b, c, large],
    }
}

fn pack(quat: Quat, index: u8, bits: u8) -> [i32; 3] {
    let [x, y, z, w] = quat;
    let (large, small) = match index {
        0 => (x, [y, z, w]),
        1 => (y, [x, z, w]),
        2 => (z, [x, y, w]),
        _ => (w, [x, y, z]),
    };
    let shift = 14 - u32::from(bits);
    let most = (1 << bits) - 1;
    let middle = (most << shift) + (1 << shift);
    // A quaternion and its negative are the same rotation; the one that counts has the large component positive.
    let sign = if large < 0 { -1 } else { 1 };
    let part = |c: i32| ((c * sign + middle) >> (shift + 1)).clamp(0, most);
    let [a, b, c] = small;
    [part(a), part(b), part(c)]
}

/// `(base · older⁻¹)^(age / ticks) · base`.
///
/// The power of a unit quaternion (v, cos φ) is (v · U, T) with the Chebyshev polynomials of the second and first kind in
/// cos φ, which need no angle: `U(n) = 2 cos φ · U(n-1) - U(n-2)`. The root that a gap of several ticks asks for is
/// the series of sin(φ/m) to the second term.
fn turned(base: Quat, older: Quat, age: i64, ticks: i64, unit: i64) -> Quat {
    let ([x1, y1, z1, w1], [x2, y2, z2, w2]) = (base, older);
    let (x1, y1, z1, w1) = (i64::from(x1), i64::from(y1), i64::from(z1), i64::from(w1));
    let (x2, y2, z2, w2) = (i64::from(x2), i64::from(y2), i64::from(z2), i64::from(w2));
    // Each is below 1.5 units: three components may have the largest size at once. The factor is below 2^(61 - 28).
    let factor = (1i64 << 58) / unit;
    let flip = if w1 * w2 + x1 * x2 + y1 * y2 + z1 * z2 < 0 { -factor } else { factor };
    let scaled = |c: i64| (c * flip) >> (58 - ONE);
    let (mut x, mut y, mut z, mut w) = (
        scaled(w2 * x1 - w1 * x2 - y1 * z2 + z1 * y2),
        scaled(w2 * y1 - w1 * y2 + x1 * z2 - z1 * x2),
        scaled(w2 * z1 - w1 * z2 - x1 * y2 + y1 * x2),
        scaled(w1 * w2 + x1 * x2 + y1 * y2 + z1 * z2),
    );
    let one = 1i64 << ONE;
    w = w.min(one);
    if ticks > 1 {
        let square = ((x * x + y * y + z * z) >> ONE).min(one);
        let scale = one + square * (ticks * ticks - 1) / (6 * ticks * ticks);
        let part = |c: i64| ((c * scale) >> ONE) / ticks;
        (x, y, z) = (part(x), part(y), part(z));
        let square = (x * x + y * y + z * z).min(one * one);
        w = ((one * one - square) as u64).isqrt() as i64;
    }
    let (mut before, mut u) = (0, one);
    for _ in 1..age {
        (before, u) = (u, ((w * u) >> (ONE - 1)) - before);
    }
    let t = ((w * u) >> ONE) - before;
    let part = |c: i64| (c * (u >> 6)) >> (ONE - 6);
    (x, y, z) = (part(x), part(y), part(z));
    let back = |c: i64| (c >> ONE) as i32;
    [
        back(t * x1 + x * w1 + y * z1 - z * y1),
        back(t * y1 - x * z1 + y * w1 + z * x1),
        back(t * z1 + x * y1 - y * x1 + z * w1),
        back(t * w1 - x * x1 - y * y1 - z * z1),
    ]
}
