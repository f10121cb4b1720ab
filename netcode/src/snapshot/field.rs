//! One field: guessed from the baseline, coded as raw value or residual.

use super::DecodeError;
use crate::bits::{BitReader, BitSink, low_mask};
use crate::schema::{Field, State};

/// Classes of a residual.
const SAME: u64 = 0;
const SMALL: u64 = 1;
const MEDIUM: u64 = 2;
const RAW: u64 = 3;
const CLASS_BITS: u32 = 2;

/// Writes a value in two's complement.
///
/// # Panics
/// If it lies outside the field's range.
#[inline]
pub(crate) fn write_raw(w: &mut impl BitSink, field: &Field, value: i32) {
    assert!(field.min() <= value && value <= field.max(), "the value lies outside its field's range");
    let bits = u32::from(field.bits);
    w.put(u64::from(value as u32) & low_mask(bits), bits);
}

/// Reads what [`write_raw`] wrote. Every bit pattern is in range.
#[inline]
pub(crate) fn read_raw(r: &mut BitReader<'_>, field: &Field) -> Result<i32, DecodeError> {
    Ok(from_raw(field, r.read(u32::from(field.bits))?))
}

/// The value whose two's complement in the field's width is `raw`.
#[inline]
fn from_raw(field: &Field, raw: u64) -> i32 {
    let unused = 64 - u32::from(field.bits);
    if field.signed { ((raw << unused) as i64 >> unused) as i32 } else { raw as i32 }
}

/// Writes `value`, given the guess.
///
/// # Panics
/// If it lies outside the field's range.
#[inline]
pub(super) fn write_residual(w: &mut impl BitSink, field: &Field, guess: i32, value: i32) {
    if field.bits == 1 {
        return write_raw(w, field, value);
    }
    let residual = difference(field, guess, value);
    if residual == 0 {
        return w.put(SAME, CLASS_BITS);
    }
    let code = zigzag(residual) - 1;
    let [small, medium] = field.classes.map(u32::from);
    if code < 1 << small {
        w.put(SMALL | code << CLASS_BITS, CLASS_BITS + small);
    } else if code < 1 << medium {
        w.put(MEDIUM | code << CLASS_BITS, CLASS_BITS + medium);
    } else {
        w.put(RAW, CLASS_BITS);
        write_raw(w, field, value);
    }
}

/// Reads what [`write_residual`] wrote.
#[inline]
pub(super) fn read_residual(r: &mut BitReader<'_>, field: &Field, guess: i32) -> Result<i32, DecodeError> {
    if field.bits == 1 {
        return read_raw(r, field);
    }
    // Class and code at once: 2 + 32 bits are within what a peek gives.
    let ahead = r.peek();
    let class = ahead & low_mask(CLASS_BITS);
    let width = match class {
        SAME => 0,
        SMALL => u32::from(field.classes[0]),
        MEDIUM => u32::from(field.classes[1]),
        _ => u32::from(field.bits),
    };
    r.skip(CLASS_BITS + width)?;
    let code = ahead >> CLASS_BITS & low_mask(width);
    match class {
        SAME => Ok(guess),
        RAW => Ok(from_raw(field, code)),
        _ => moved(field, guess, unzigzag(code + 1)),
    }
}

/// The guess plus a residual.
#[inline(always)]
pub(super) fn moved(field: &Field, guess: i32, residual: i64) -> Result<i32, DecodeError> {
    // A class has at most 31 bits and a guess 32, so nothing here can overflow.
    let value = i64::from(guess) + residual;
    if i64::from(field.min()) <= value && value <= i64::from(field.max()) {
        Ok(value as i32)
    } else if field.wraps {
        Ok(field.fit(value))
    } else {
        Err(DecodeError::ValueOutOfRange)
    }
}

/// `value - guess`; for a cyclic field the shorter way round.
#[inline]
pub(super) fn difference(field: &Field, guess: i32, value: i32) -> i64 {
    let plain = i64::from(value) - i64::from(guess);
    if !field.wraps {
        return plain;
    }
    let unused = 64 - u32::from(field.bits);
    (plain << unused) >> unused
}

/// -1, 1, -2, 2, … to 1, 2, 3, 4, …; 0 to 0.
#[inline]
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub(super) const fn unzigzag(code: u64) -> i64 {
    (code >> 1) as i64 ^ -((code & 1) as i64)
}

/// The values of a state that a kind with that many fields has.
#[inline]
pub(super) fn padded(fields: &[i32]) -> State {
    let mut state = State::default();
    for (place, value) in state.iter_mut().zip(fields) {
        *place = *value;
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::{BitCount, BitWriter};
    use crate::schema::{Audience, Predictor};

    const PLAIN: Field = Field {
        name: "x",
        bits: 12,
        signed: true,
        wraps: false,
        scale: 1,
        unit: "m",
        predictor: Predictor::Hold,
        group: 0,
        audience: Audience::Everyone,
        classes: [2, 5],
    };
    const ANGLE: Field = Field { name: "yaw", bits: 8, signed: false, wraps: true, ..PLAIN };
    const WIDE: Field = Field { bits: 32, classes: [1, 31], ..PLAIN };

    fn round_trip(field: &Field, guess: i32, value: i32) -> (i32, usize) {
        let mut buf = [0; 8];
        let mut w = BitWriter::new(&mut buf);
        write_residual(&mut w, field, guess, value);
        let bits = w.bit_len();
        let len = w.finish();
        let mut count = BitCount::default();
        write_residual(&mut count, field, guess, value);
        assert_eq!(count.0, bits);
        (read_residual(&mut BitReader::new(&buf[..len]), field, guess).unwrap(), bits)
    }

    #[test]
    fn a_class_uses_every_code_it_has() {
        // Two bits hold -1, 1, -2, 2; five bits -16 to 16 without 0.
        for (residual, bits) in
            [(0, 2), (-1, 4), (1, 4), (-2, 4), (2, 4), (-3, 7), (3, 7), (-16, 7), (16, 7), (-17, 14), (17, 14)]
        {
            assert_eq!(round_trip(&PLAIN, 100, 100 + residual), (100 + residual, bits), "{residual}");
        }
    }

    #[test]
    fn a_cyclic_field_takes_the_shorter_way_round() {
        assert_eq!(round_trip(&ANGLE, 255, 0), (0, 4));
        assert_eq!(round_trip(&ANGLE, 0, 255), (255, 4));
        assert_eq!(round_trip(&ANGLE, 3, 131).0, 131);
        for guess in 0..256 {
            for value in 0..256 {
                assert_eq!(round_trip(&ANGLE, guess, value).0, value);
            }
        }
    }

    #[test]
    fn the_widest_field_spans_its_whole_range() {
        let ends = [i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX - 1, i32::MAX];
        for guess in ends {
            for value in ends {
                assert_eq!(round_trip(&WIDE, guess, value).0, value);
                let cyclic = Field { wraps: true, ..WIDE };
                assert_eq!(round_trip(&cyclic, guess, value).0, value);
            }
        }
    }

    #[test]
    fn a_sum_out_of_range_is_refused() {
        let mut buf = [0; 4];
        let mut w = BitWriter::new(&mut buf);
        w.write(SMALL, 2);
        w.write(1, 2);
        let len = w.finish();
        assert_eq!(read_residual(&mut BitReader::new(&buf[..len]), &PLAIN, 2046), Ok(2047));
        let over = read_residual(&mut BitReader::new(&buf[..len]), &PLAIN, 2047);
        assert_eq!(over, Err(DecodeError::ValueOutOfRange));
    }
}
