//! Unit quaternions in *smallest three* form, turned on in integers.
//!
//! A component of `b` bits counts in steps of `√2 / (2^b - 1)`. Here all components are integers in which the
//! unit is `√2 (2^b - 1) 2^(14 - b)`: a step is an even number of them, and the square of the unit is an
//! integer below 2³¹, so that the component left out is one integer square root away.

use std::num::Wrapping;

use crate::schema::ROTATION_BITS;

/// Fraction bits of cosines and polynomials.
const ONE_BITS: usize = 28;
const ONE: Wrapping<i64> = Wrapping(1 << ONE_BITS);

/// What a product of two quaternions is multiplied by, and then shifted by, to have [`ONE_BITS`] fraction bits, by width.
static FACTORS: [i64; 15] = {
    let mut table = [0; 15];
    let mut bits = ROTATION_BITS[0];
    while bits <= ROTATION_BITS[1] {
        table[bits as usize] = (1 << (FACTOR_SHIFT + ONE_BITS)) / unit(bits) as i64;
        bits += 1;
    }
    table
};
const FACTOR_SHIFT: usize = 30;

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
            Some((older, ticks)) if older != base => turned(from, unpack(older, bits), age, ticks.max(1), bits),
            _ => from,
        };
        Self { guess, base: from, bits }
    }

    /// The guess as fields: index, a, b, c.
    pub fn fields(&self) -> [i32; 4] {
        // The first of the largest.
        let [x, y, z, w] = self.guess.map(i32::unsigned_abs);
        let (low, most_low) = if y > x { (1, y) } else { (0, x) };
        let (high, most_high) = if w > z { (3, w) } else { (2, z) };
        let index = if most_high > most_low { high } else { low };
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

/// The same by width.
static UNITS: [i32; 15] = {
    let mut table = [0; 15];
    let mut bits = ROTATION_BITS[0];
    while bits <= ROTATION_BITS[1] {
        table[bits as usize] = unit(bits);
        bits += 1;
    }
    table
};

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
    let Some([from, to]) = ROOTS.get(i..).and_then(|rest| rest.first_chunk()) else { return 0 };
    let part = (square & ((1 << 21) - 1)) >> 5;
    let above = to.wrapping_sub(*from).wrapping_mul(part) >> 8;
    ((from << 8).wrapping_add(1 << 15).wrapping_add(above) >> 16) as i32
}

// Nothing wraps in the next two; the plain operators would check. The choices are no branches, which nobody could foretell.

#[inline]
fn unpack(fields: [i32; 4], bits: u8) -> Quat {
    let [index, a, b, c] = fields;
    let most = 1i32.wrapping_shl(u32::from(bits)).wrapping_sub(1);
    let shift = 14u32.wrapping_sub(u32::from(bits));
    let part = |field: i32| field.clamp(0, most).wrapping_mul(2).wrapping_sub(most).wrapping_shl(shift);
    let (a, b, c) = (part(a), part(b), part(c));
    let square = |c: i32| c.wrapping_mul(c);
    // Each square is at most half of the unit's.
    let unit = UNITS.get(usize::from(bits)).copied().unwrap_or(0);
    let large = root(unit.wrapping_sub(square(a)).wrapping_sub(square(b)).wrapping_sub(square(c)));
    [
        if index == 0 { large } else { a },
        if index == 1 { large } else { pick(index < 1, a, b) },
        if index == 2 { large } else { pick(index < 2, b, c) },
        if (0..3).contains(&index) { c } else { large },
    ]
}

#[inline]
fn pack(quat: Quat, index: u8, bits: u8) -> [i32; 3] {
    let [x, y, z, w] = quat;
    let large = pick(index < 2, pick(index < 1, x, y), pick(index < 3, z, w));
    let small = [pick(index < 1, y, x), pick(index < 2, z, y), pick(index < 3, w, z)];
    let shift = 14u32.wrapping_sub(u32::from(bits));
    let most = 1i32.wrapping_shl(u32::from(bits)).wrapping_sub(1);
    let middle = most.wrapping_shl(shift).wrapping_add(1i32.wrapping_shl(shift));
    // A quaternion and its negative are the same rotation; the one that counts has the large component positive.
    let sign = large >> 31;
    small.map(|c| {
        let c = (c ^ sign).wrapping_sub(sign).wrapping_add(middle);
        c.wrapping_shr(shift.wrapping_add(1)).clamp(0, most)
    })
}

#[inline(always)]
const fn pick(first: bool, a: i32, b: i32) -> i32 {
    if first { a } else { b }
}

/// The quaternion `age` ticks after `base`, on the great circle from `older`, which was `ticks` before `base`: a rotation of
/// constant speed is one (Shoemake, "Animating rotation with quaternion curves", 1985).
///
/// With the cosine c of the angle between the two, the n-th after them is `U(n) · base - U(n-1) · older`, where U are the
/// Chebyshev polynomials of the second kind in c, `U(n) = 2c · U(n-1) - U(n-2)`: no angle is needed. If several ticks lie between
/// the two, `older` is first replaced by the one a tick before `base`, by the series of the sines.
///
/// Nothing wraps: fields that are no unit quaternion are up to 1.5 units long, but c is brought to at most 1, so that
/// `U(n)` is at most n + 1.
fn turned(base: Quat, older: Quat, age: u8, ticks: u8, bits: u8) -> Quat {
    let dot = dot(base, older);
    // A quaternion and its negative are the same rotation.
    let sign = Wrapping(if dot < Wrapping(0) { -1 } else { 1 });
    let factor = FACTORS.get(usize::from(bits)).copied().unwrap_or(0);
    let mut cosine = ((dot * sign * Wrapping(factor)) >> FACTOR_SHIFT).min(ONE);
    let mut older = older.map(|c| wide(c) * sign);
    if ticks > 1 {
        (cosine, older) = nearer(base, older, cosine, i64::from(ticks));
    }
    let (mut before, mut u) = (Wrapping(0), ONE);
    for _ in 0..age {
        (before, u) = (u, ((cosine * u) >> (ONE_BITS - 1)) - before);
    }
    let [x, y, z, w] = base;
    let [ox, oy, oz, ow] = older;
    let sum = |base: i32, older: Wrapping<i64>| ((wide(base) * u - older * before) >> ONE_BITS).0 as i32;
    [sum(x, ox), sum(y, oy), sum(z, oz), sum(w, ow)]
}

/// The cosine and the quaternion of one tick before `base`, given those of `ticks` before it.
#[cold]
fn nearer(
    base: Quat,
    older: [Wrapping<i64>; 4],
    cosine: Wrapping<i64>,
    ticks: i64,
) -> (Wrapping<i64>, [Wrapping<i64>; 4]) {
    let one = ONE.0;
    // φ² from 1 - cos φ = φ²/2 - φ⁴/24; sin(kφ) / sin φ = k (1 + (1 - k²) φ²/6) for k = 1/m and (m - 1)/m.
    let versine = one - cosine.0;
    let square = 2 * versine + ((versine * versine) >> ONE_BITS) / 3;
    let squares = ticks * ticks;
    let near = (one + square * (squares - 1) / (6 * squares)) / ticks;
    let far = one + square * (2 * ticks - 1) / (6 * squares);
    let far = far / ticks * (ticks - 1);
    let small = square / squares;
    let cosine = one - small / 2 + ((small * small) >> ONE_BITS) / 24;
    let sum = |base: i32, older: Wrapping<i64>| (wide(base) * Wrapping(far) + older * Wrapping(near)) >> ONE_BITS;
    let [x, y, z, w] = base;
    let [ox, oy, oz, ow] = older;
    (Wrapping(cosine), [sum(x, ox), sum(y, oy), sum(z, oz), sum(w, ow)])
}

#[inline(always)]
fn wide(c: i32) -> Wrapping<i64> {
    Wrapping(i64::from(c))
}

#[inline(always)]
fn dot(a: Quat, b: Quat) -> Wrapping<i64> {
    wide(a[0]) * wide(b[0]) + wide(a[1]) * wide(b[1]) + wide(a[2]) * wide(b[2]) + wide(a[3]) * wide(b[3])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A quaternion's fields, by the definition.
    fn fields(quat: [f64; 4], bits: u8) -> [i32; 4] {
        let mut index = 0;
        for i in 1..4 {
            if quat[i].abs() > quat[index].abs() {
                index = i;
            }
        }
        let (sign, most) = (quat[index].signum(), f64::from((1 << bits) - 1));
        let part = |c: f64| ((c * sign * 2f64.sqrt() + 1.0) / 2.0 * most).round() as i32;
        let rest: Vec<i32> = (0..4).filter(|i| *i != index).map(|i| part(quat[i])).collect();
        [index as i32, rest[0], rest[1], rest[2]]
    }

    /// A rotation about an axis, after `angle`, of what was turned already.
    fn spun(axis: [f64; 3], angle: f64) -> [f64; 4] {
        let norm = axis.iter().map(|c| c * c).sum::<f64>().sqrt();
        let (sin, cos) = ((angle / 2.0 + 0.7).sin() / norm, (angle / 2.0 + 0.7).cos());
        [axis[0] * sin, axis[1] * sin, axis[2] * sin, cos]
    }

    #[test]
    fn a_constant_rotation_is_guessed_to_within_what_rounding_grows_to() {
        for (ticks, speed, bits) in [(1, 0.3, 14), (1, 0.02, 14), (2, 0.2, 14), (5, 0.1, 14), (1, 0.1, 9), (3, 0.1, 9)]
        {
            for age in [1, 3, 6, 12] {
                let at = |t: f64| fields(spun([1.0, -2.0, 0.5], t * speed), bits);
                let turn = Turn::new(at(0.0), Some((at(-f64::from(ticks)), ticks)), age, bits);
                let truth = at(f64::from(age));
                // Half a step off at either end, grown by the age; and the series for the root.
                let slack = 2 + i32::from(age) / i32::from(ticks) + (1 << bits) / 1500 * i32::from(ticks - 1);
                for (guess, truth) in turn.parts(truth[0] as u8).into_iter().zip(&truth[1..]) {
                    assert!(
                        (guess - truth).abs() <= slack,
                        "{ticks} {speed} {bits} {age}: {:?} {truth}",
                        turn.fields()
                    );
                }
            }
        }
    }

    #[test]
    fn at_rest_it_keeps_every_field() {
        for index in 0..4 {
            for parts in [[0, 0, 255], [511, 0, 256], [3, 200, 300], [255, 256, 256], [100, 400, 77]] {
                let base = [index, parts[0], parts[1], parts[2]];
                for older in [None, Some((base, 1))] {
                    let turn = Turn::new(base, older, 6, 9);
                    assert_eq!((turn.parts(index as u8), turn.base_parts(index as u8)), (parts, parts));
                }
            }
        }
    }

    #[test]
    fn roots_are_near() {
        for square in (1 << 26..1 << 29).step_by(9973) {
            let exact = f64::from(square).sqrt();
            assert!((f64::from(root(square)) - exact).abs() < 1.0, "{square}");
        }
        assert_eq!(root(-5), 0);
    }

    proptest! {
        #[test]
        fn any_fields_give_a_guess_in_range(
            base: [i32; 4], older: [i32; 4], given: bool, ticks: u8, age: u8, bits: u8, index: u8,
        ) {
            let turn = Turn::new(base, given.then_some((older, ticks)), age, bits);
            let most = (1 << bits.clamp(ROTATION_BITS[0], ROTATION_BITS[1])) - 1;
            let order = turn.order();
            prop_assert!(turn.margin(order) <= 7);
            let mut sorted = order;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, [0, 1, 2, 3]);
            let parts = turn.parts(index & 3).into_iter().chain(turn.base_parts(index & 3));
            for part in parts.chain(turn.fields().into_iter().skip(1)) {
                prop_assert!((0..=most).contains(&part));
            }
        }
    }
}
