//! Unit quaternions in *smallest three* form, turned on in integers.
//!
//! A component of `b` bits counts in steps of `√2 / (2^b - 1)`. Here all components are integers in which the
//! unit is `√2 (2^b - 1) 2^(14 - b)`: a step is an even number of them, and the square of the unit is an
//! integer below 2³¹, so that the component left out is one integer square root away.

use std::num::Wrapping;

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
                turned(from, unpack(older, bits), age, ticks.max(1), unit(bits))
            }
            _ => from,
        };
        Self { guess, base: from, bits }
    }

    /// The guess as fields: index, a, b, c.
    pub fn fields(&self) -> [i32; 4] {
        let mut index = 0;
        let mut most = 0;
        for (i, c) in (0..4).zip(self.guess) {
            if c.unsigned_abs() > most {
                (index, most) = (i, c.unsigned_abs());
            }
        }
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

/// The square of the unit; below 2^29.
const fn unit(bits: u8) -> i32 {
    let most = (1i32 << bits) - 1;
    (2 * most * most) << (2 * (14 - bits as u32))
}

/// Square roots of the multiples of 2^21, with 8 fraction bits.
static ROOTS: [u32; 258] = {
    let mut table = [0; 258];
    let mut i = 0;
    while i < 258 {
        table[i] = ((i as u64) << (21 + 16)).isqrt() as u32;
        i += 1;
    }
    table
};

/// The square root of a number below 2^29 by linear interpolation: for numbers above an eighth of that off by less than
/// one, and only such are the squares of a quaternion's largest component.
#[inline]
fn root(square: i32) -> i32 {
    let square = square.max(0) as u32;
    let i = (square >> 21) as usize;
    let (Some(from), Some(to)) = (ROOTS.get(i), ROOTS.get(i + 1)) else { return 0 };
    let part = (square & ((1 << 21) - 1)) >> 5;
    ((from << 8 | 1 << 15).wrapping_add((to - from).wrapping_mul(part) >> 8) >> 16) as i32
}

#[inline]
fn unpack(fields: [i32; 4], bits: u8) -> Quat {
    let [index, a, b, c] = fields;
    let (most, shift) = ((1 << bits) - 1, 14 - u32::from(bits));
    let part = |field: i32| (2 * field.clamp(0, most) - most) << shift;
    let (a, b, c) = (part(a), part(b), part(c));
    // Each square is at most half of the unit's.
    let large = root(unit(bits) - a * a - b * b - c * c);
    match index {
        0 => [large, a, b, c],
        1 => [a, large, b, c],
        2 => [a, b, large, c],
        _ => [a, b, c, large],
    }
}

#[inline]
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
///
/// Nothing wraps: three components may have the largest size at once, so that fields which are no unit quaternion are up to
/// 1.5 units; `w` is brought to at most 1, so that `U(n)` is at most n + 1.
fn turned(base: Quat, older: Quat, age: u8, ticks: u8, unit: i32) -> Quat {
    let older = [-older[0], -older[1], -older[2], older[3]];
    let turn = product(base.map(wide), older.map(wide));
    // The factor is below 2^(58 - 28).
    let factor = (1i64 << 58) / i64::from(unit);
    let factor = Wrapping(if turn[3] < Wrapping(0) { -factor } else { factor });
    let (one, shift) = (1i64 << ONE, 58 - ONE as usize);
    let [mut x, mut y, mut z] = [turn[0], turn[1], turn[2]].map(|c| (c * factor) >> shift);
    let mut w = Wrapping(((turn[3] * factor) >> shift).0.min(one));
    if ticks > 1 {
        let ticks = i64::from(ticks);
        let square = ((x * x + y * y + z * z) >> ONE as usize).0.min(one);
        let scale = Wrapping(one + square * (ticks * ticks - 1) / (6 * ticks * ticks));
        let part = |c: Wrapping<i64>| Wrapping(((c * scale) >> ONE as usize).0 / ticks);
        (x, y, z) = (part(x), part(y), part(z));
        let square = (x * x + y * y + z * z).0.min(one * one);
        w = Wrapping(((one * one - square) as u64).isqrt() as i64);
    }
    let (mut before, mut u) = (Wrapping(0), Wrapping(one));
    for _ in 1..age {
        (before, u) = (u, ((w * u) >> (ONE as usize - 1)) - before);
    }
    let t = ((w * u) >> ONE as usize) - before;
    let part = |c: Wrapping<i64>| (c * (u >> 6)) >> (ONE as usize - 6);
    product([part(x), part(y), part(z), t], base.map(wide)).map(|c| (c >> ONE as usize).0 as i32)
}

#[inline(always)]
fn wide(c: i32) -> Wrapping<i64> {
    Wrapping(i64::from(c))
}

#[inline(always)]
fn product(a: [Wrapping<i64>; 4], b: [Wrapping<i64>; 4]) -> [Wrapping<i64>; 4] {
    let ([x1, y1, z1, w1], [x2, y2, z2, w2]) = (a, b);
    [
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
    ]
}
