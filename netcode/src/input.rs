//! The inputs of a client's latest ticks, on their way to the server.
//!
//! Each packet repeats the last inputs, so that one packet lost costs nothing. Generic over
//! [`Schema::input`]; the bits are those of [`bits`](crate::bits):
//!
//! | part | bits | |
//! |---|---|---|
//! | count minus 1 | 3 | |
//! | newest input | its groups | of the packet's tick; against an input of zeros |
//! | each older one | 1, or 1 and its groups | `1`: the same as the one before (the next newer tick's); `0`: its groups follow, against that one |
//!
//! and zero bits to the end of the byte. Older inputs are one tick apart. *Its groups*, against another input: for each group that
//! fields have, ascending, a bit whether any of its fields differs, and if so all of them, in order, raw. A field of a group that
//! is not set is as in the other input.

use arrayvec::ArrayVec;

use crate::bits::{BitReader, BitSink};
use crate::schema::{Kind, MAX_GROUPS, Schema, State};
use crate::snapshot::{DecodeError, read_raw, write_raw};

/// The most inputs of one message.
pub const MAX_INPUTS: usize = 8;

/// Writes the inputs of the packet's tick and those before it, newest first.
///
/// # Panics
/// If there are none, or more than [`MAX_INPUTS`], or a field that is written is out of range.
pub fn write_inputs(w: &mut impl BitSink, schema: &Schema, inputs: &[State]) {
    assert!((1..=MAX_INPUTS).contains(&inputs.len()), "the number of inputs is out of range");
    w.put(inputs.len() as u64 - 1, 3);
    let mut newer = None;
    for input in inputs {
        if let Some(newer) = newer {
            w.put(u64::from(newer == input), 1);
        }
        if newer != Some(input) {
            write_input(w, schema, newer.unwrap_or(&State::default()), input);
        }
        newer = Some(input);
    }
}

fn write_input(w: &mut impl BitSink, schema: &Schema, base: &State, input: &State) {
    for group in groups(schema) {
        let fields = schema.input.iter().zip(base.iter().zip(input)).filter(|(field, _)| field.group == group);
        let differs = fields.clone().any(|(_, (old, new))| old != new);
        w.put(u64::from(differs), 1);
        if differs {
            for (field, (_, value)) in fields {
                write_raw(w, field, *value);
            }
        }
    }
}

/// The most bits of a message of so many inputs.
#[must_use]
pub const fn max_input_bits(schema: &Schema, inputs: usize) -> usize {
    let (mut one, mut i) = (mask(schema).count_ones() as usize, 0);
    while i < schema.input.len() {
        one += schema.input[i].bits as usize;
        i += 1;
    }
    3 + inputs * one + inputs.saturating_sub(1)
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
    let mut input = State::default();
    read_input(&mut r, schema, &mut input)?;
    inputs.push(input);
    for _ in 0..older {
        if !r.read_bool()? {
            read_input(&mut r, schema, &mut input)?;
        }
        inputs.push(input);
    }
    r.finish_zero_padded()?;
    Ok(inputs)
}

/// `input` is the one that the next is told against, and then that one.
fn read_input(r: &mut BitReader<'_>, schema: &Schema, input: &mut State) -> Result<(), DecodeError> {
    for group in groups(schema) {
        if r.read_bool()? {
            for (place, field) in input.iter_mut().zip(schema.input).filter(|(_, field)| field.group == group) {
                *place = read_raw(r, field)?;
            }
        }
    }
    Ok(())
}

/// A bit for each group that fields of an input have.
const fn mask(schema: &Schema) -> u8 {
    Kind { name: "input", fields: schema.input }.groups(true)
}

/// The groups that fields of an input have, ascending.
fn groups(schema: &Schema) -> impl Iterator<Item = u8> {
    let mask = mask(schema);
    (0..MAX_GROUPS as u8).filter(move |group| mask >> group & 1 != 0)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::bits::{BadPadding, BitWriter, OutOfBits};
    use crate::schema::{Audience, Field, MAX_FIELDS, Predictor};

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
    const YAW: Field = Field { name: "yaw", bits: 12, signed: false, wraps: true, group: 1, ..MOVE };
    const SCHEMA: Schema = Schema { kinds: &[], input: &[MOVE, YAW] };
    /// Groups with gaps between them, out of order, and their fields apart.
    const MIXED: Schema = Schema {
        kinds: &[],
        input: &[
            Field { group: 6, bits: 32, ..MOVE },
            Field { group: 1, ..YAW },
            Field { group: 6, bits: 1, signed: false, order: 0, ..MOVE },
            Field { group: 3, bits: 31, signed: false, ..MOVE },
            MOVE,
            Field { group: 1, bits: 1, order: 0, ..MOVE },
        ],
    };
    const NOTHING: Schema = Schema { kinds: &[], input: &[] };
    const WIDEST: Schema = Schema { kinds: &[], input: &[Field { group: 7, bits: 32, ..MOVE }; MAX_FIELDS] };
    const _: () = assert!(SCHEMA.is_valid() && MIXED.is_valid() && NOTHING.is_valid() && WIDEST.is_valid());

    fn input(fields: [i32; 2]) -> State {
        let mut state = State::default();
        state[..2].copy_from_slice(&fields);
        state
    }

    fn written(schema: &Schema, inputs: &[State]) -> Vec<u8> {
        let mut buf = [0; 1024];
        let mut w = BitWriter::new(&mut buf);
        write_inputs(&mut w, schema, inputs);
        let len = w.finish();
        buf[..len].to_vec()
    }

    /// The same bits, one by one.
    fn reference(schema: &Schema, inputs: &[State]) -> Vec<bool> {
        let number = |value: i64, bits: u8| (0..bits).map(move |bit| value >> bit & 1 != 0);
        let mut out: Vec<bool> = number(inputs.len() as i64 - 1, 3).collect();
        for (place, input) in inputs.iter().enumerate() {
            let base = if place == 0 { State::default() } else { inputs[place - 1] };
            if place > 0 {
                out.push(base == *input);
                if base == *input {
                    continue;
                }
            }
            for group in 0..=255 {
                let of_it: Vec<usize> = (0..schema.input.len()).filter(|i| schema.input[*i].group == group).collect();
                if of_it.is_empty() {
                    continue;
                }
                out.push(of_it.iter().any(|i| base[*i] != input[*i]));
                if out.last() == Some(&true) {
                    out.extend(of_it.iter().flat_map(|i| number(input[*i].into(), schema.input[*i].bits)));
                }
            }
        }
        out
    }

    #[test]
    fn inputs_that_stay_the_same_cost_one_bit_each() {
        let steady = written(&SCHEMA, &[input([-16, 4095]); 8]);
        assert_eq!(steady.len(), (3usize + 2 + 17 + 7).div_ceil(8));
        assert_eq!(read_inputs(&SCHEMA, &steady).unwrap().as_slice(), [input([-16, 4095]); 8]);
    }

    #[test]
    fn what_is_zero_or_stays_costs_one_bit_a_group() {
        let turning: Vec<_> = (0..4).map(|yaw| input([0, 4095 - yaw])).collect();
        assert_eq!(written(&SCHEMA, &turning).len(), (3usize + 4 * (2 + 12) + 3).div_ceil(8));
        assert_eq!(written(&SCHEMA, &[State::default(); 8]), [0b1110_0111, 0b1111]);
    }

    #[test]
    fn inputs_come_back_in_their_order() {
        let inputs = [input([1, 2]), input([1, 2]), input([-1, 0]), input([15, 2048]), input([1, 2])];
        assert_eq!(read_inputs(&SCHEMA, &written(&SCHEMA, &inputs)).unwrap().as_slice(), inputs);
    }

    #[test]
    fn the_worst_case_is_the_bound() {
        for count in 1..=MAX_INPUTS {
            let inputs: Vec<_> = (1..=count as i32).map(|i| input([i, i])).collect();
            assert_eq!(reference(&SCHEMA, &inputs).len(), max_input_bits(&SCHEMA, count));
        }
        assert_eq!(max_input_bits(&WIDEST, MAX_INPUTS), 3 + 8 * (1 + 16 * 32) + 7);
    }

    #[test]
    fn a_body_cut_short_or_continued_is_refused() {
        let whole = written(&SCHEMA, &[input([1, 2]), input([3, 4])]);
        for len in 0..whole.len() {
            assert_eq!(read_inputs(&SCHEMA, &whole[..len]), Err(DecodeError::Truncated(OutOfBits)));
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(read_inputs(&SCHEMA, &longer), Err(DecodeError::Padding(BadPadding)));
    }

    fn schemas() -> impl Strategy<Value = &'static Schema> {
        prop::sample::select(vec![&SCHEMA, &MIXED, &NOTHING, &WIDEST])
    }

    /// Inputs of a schema, each some fields away from the one before.
    fn inputs() -> impl Strategy<Value = (&'static Schema, Vec<State>)> {
        let drawn = vec((any::<u16>(), any::<State>()), 1..=MAX_INPUTS);
        (schemas(), drawn, any::<[bool; MAX_INPUTS]>()).prop_map(|(schema, drawn, repeats)| {
            let mut last = State::default();
            let next = |((which, values), repeats): ((u16, State), bool)| {
                for (i, (field, value)) in schema.input.iter().zip(values).enumerate() {
                    if !repeats && which >> i & 1 != 0 {
                        last[i] = field.fit(value.into());
                    }
                }
                last
            };
            (schema, drawn.into_iter().zip(repeats).map(next).collect())
        })
    }

    proptest! {
        #[test]
        fn the_bits_are_those_of_the_reference_and_come_back((schema, inputs) in inputs()) {
            let bytes = written(schema, &inputs);
            let mut bits = reference(schema, &inputs);
            prop_assert!(bits.len() <= max_input_bits(schema, inputs.len()));
            bits.resize(bits.len().next_multiple_of(8), false);
            let read: Vec<bool> = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 != 0)).collect();
            prop_assert_eq!(read, bits);
            let back = read_inputs(schema, &bytes).unwrap();
            prop_assert_eq!(back.as_slice(), inputs.as_slice());
        }

        #[test]
        fn whatever_is_read_is_in_range_and_takes_no_more_when_written(schema in schemas(), bytes in vec(any::<u8>(), 0..64)) {
            if let Ok(inputs) = read_inputs(schema, &bytes) {
                for (field, value) in inputs.iter().flat_map(|input| schema.input.iter().zip(input)) {
                    prop_assert!((field.min()..=field.max()).contains(value));
                }
                let again = written(schema, &inputs);
                prop_assert!(again.len() <= bytes.len());
                prop_assert_eq!(read_inputs(schema, &again).unwrap(), inputs);
            }
        }
    }
}
