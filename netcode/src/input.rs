//! The inputs of a client's latest ticks, on their way to the server.
//!
//! Each packet repeats the last inputs, so that one packet lost costs nothing. Generic over
//! [`Schema::input`]; the bits are those of [`bits`](crate::bits):
//!
//! | part | bits | |
//! |---|---|---|
//! | count minus 1 | 3 | |
//! | newest input | its fields, raw | of the packet's tick |
//! | each older one | 1, or 1 and its fields, raw | `0`: differs from the one before (the next newer tick's), fields follow; `1`: the same |
//!
//! and zero bits to the end of the byte. Older inputs are one tick apart.

use arrayvec::ArrayVec;

use crate::bits::{BitReader, BitSink};
use crate::schema::{Schema, State};
use crate::snapshot::{DecodeError, read_raw, write_raw};

/// The most inputs of one message.
pub const MAX_INPUTS: usize = 8;

/// Writes the inputs of the packet's tick and those before it, newest first.
///
/// # Panics
/// If there are none, or more than [`MAX_INPUTS`], or a field is out of range.
pub fn write_inputs(w: &mut impl BitSink, schema: &Schema, inputs: &[State]) {
    assert!((1..=MAX_INPUTS).contains(&inputs.len()), "the number of inputs is out of range");
    w.put(inputs.len() as u64 - 1, 3);
    let mut newer = None;
    for input in inputs {
        if let Some(newer) = newer {
            w.put(u64::from(newer == input), 1);
        }
        if newer != Some(input) {
            for (field, value) in schema.input.iter().zip(input) {
                write_raw(w, field, *value);
            }
        }
        newer = Some(input);
    }
}

/// The most bits of such a message.
#[must_use]
pub fn max_input_bits(schema: &Schema) -> usize {
    let fields: usize = schema.input.iter().map(|field| usize::from(field.bits)).sum();
    3 + MAX_INPUTS * (1 + fields)
}

/// Reads what [`write_inputs`] wrote: the inputs of the packet's tick and those before it, newest first; at
/// least one.
///
/// # Errors
/// If the data ends early, or more than zero padding follows.
pub fn read_inputs(schema: &Schema, body: &[u8]) -> Result<ArrayVec<State, MAX_INPUTS>, DecodeError> {
    let mut r = BitReader::new(body);
    let older = r.read(3)?;
    let mut inputs = ArrayVec::new();
    let mut input = read_input(&mut r, schema)?;
    inputs.push(input);
    for _ in 0..older {
        if !r.read_bool()? {
            input = read_input(&mut r, schema)?;
        }
        inputs.push(input);
    }
    r.finish_zero_padded()?;
    Ok(inputs)
}

fn read_input(r: &mut BitReader<'_>, schema: &Schema) -> Result<State, DecodeError> {
    let mut input = State::default();
    for (place, field) in input.iter_mut().zip(schema.input) {
        *place = read_raw(r, field)?;
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::{BadPadding, BitWriter, OutOfBits};
    use crate::schema::{Audience, Field, Predictor};

    const MOVE: Field = Field {
        name: "move",
        bits: 5,
        signed: true,
        wraps: false,
        scale: 16,
        unit: "1",
        predictor: Predictor::Hold,
        group: 0,
        audience: Audience::Everyone,
        order: 1,
    };
    const YAW: Field = Field { name: "yaw", bits: 12, signed: false, wraps: true, ..MOVE };
    const SCHEMA: Schema = Schema { kinds: &[], input: &[MOVE, YAW] };

    fn input(fields: [i32; 2]) -> State {
        let mut state = State::default();
        state[..2].copy_from_slice(&fields);
        state
    }

    fn written(inputs: &[State]) -> Vec<u8> {
        let mut buf = [0; 64];
        let mut w = BitWriter::new(&mut buf);
        write_inputs(&mut w, &SCHEMA, inputs);
        let len = w.finish();
        buf[..len].to_vec()
    }

    #[test]
    fn inputs_that_stay_the_same_cost_one_bit_each() {
        let steady = written(&[input([-16, 4095]); 8]);
        assert_eq!(steady.len(), (3usize + 17 + 7).div_ceil(8));
        assert_eq!(read_inputs(&SCHEMA, &steady).unwrap().as_slice(), [input([-16, 4095]); 8]);
    }

    #[test]
    fn inputs_come_back_in_their_order() {
        let inputs = [input([1, 2]), input([1, 2]), input([-1, 0]), input([15, 2048]), input([1, 2])];
        assert_eq!(read_inputs(&SCHEMA, &written(&inputs)).unwrap().as_slice(), inputs);
    }

    #[test]
    fn the_worst_case_is_within_the_bound() {
        let inputs: Vec<_> = (0..8).map(|i| input([i, i])).collect();
        assert!(written(&inputs).len() <= max_input_bits(&SCHEMA).div_ceil(8));
    }

    #[test]
    fn a_body_cut_short_or_continued_is_refused() {
        let whole = written(&[input([1, 2]), input([3, 4])]);
        for len in 0..whole.len() {
            assert_eq!(read_inputs(&SCHEMA, &whole[..len]), Err(DecodeError::Truncated(OutOfBits)));
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(read_inputs(&SCHEMA, &longer), Err(DecodeError::Padding(BadPadding)));
    }
}
