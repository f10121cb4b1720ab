//! The raw value of a field, and numbers for residuals.

use super::DecodeError;
use crate::bits::{BitReader, BitSink, low_mask};
use crate::schema::{Field, State};

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

/// 0, -1, 1, -2, 2, … to 0, 1, 2, 3, 4, …
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
