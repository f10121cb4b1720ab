//! The players' inputs: whatever decodes is in range and encodes to something no longer that decodes to the same.

use netcode::bits::BitWriter;
use netcode::input::{MAX_INPUTS, max_input_bits, read_inputs, write_inputs};
use netcode::rng::Rng;
use netcode::schema::{Schema, State};
use netcode::snapshot::DecodeError;

use super::schema;
use crate::feature::bucket;
use crate::features;

features! {
    One => "one input",
    Full => "as many inputs as a message takes",
    Repeated => "an input that repeats the one before",
    Partly => "an input of which some fields stay and some differ",
    Spelt => "more bytes than a writer needs",
    Truncated => "truncated",
    Padding => "bad padding",
}

/// The target. The first byte chooses the schema.
pub fn run(input: &[u8]) {
    let Some((&choice, body)) = input.split_first() else { return };
    let schema = schema::choose(choice);
    let inputs = match read_inputs(schema, body) {
        Ok(inputs) => inputs,
        Err(DecodeError::Truncated(_)) => return reach(Feature::Truncated),
        Err(DecodeError::Padding(_)) => return reach(Feature::Padding),
        Err(error) => panic!("an input cannot fail with {error:?}"),
    };
    if inputs.len() == 1 {
        reach(Feature::One);
    }
    if inputs.len() == MAX_INPUTS {
        reach(Feature::Full);
    }
    if inputs.windows(2).any(|pair| pair[0] == pair[1]) {
        reach(Feature::Repeated);
    }
    let partly = |pair: &[State]| {
        let same = pair[0].iter().zip(&pair[1]).take(schema.input.len()).filter(|(a, b)| a == b).count();
        same > 0 && same < schema.input.len()
    };
    if inputs.windows(2).any(partly) {
        reach(Feature::Partly);
    }
    bucket(inputs.len() as u64);
    assert!((1..=MAX_INPUTS).contains(&inputs.len()));
    for input in &inputs {
        assert!(schema::in_range(schema.input, input), "a decoded input is out of range");
    }
    let again = encode(schema, &inputs);
    assert!(again.len() <= body.len(), "the writer needs more than the input had");
    if again.len() < body.len() {
        reach(Feature::Spelt);
    }
    assert!(again.len() * 8 < max_input_bits(schema, inputs.len()) + 8);
    assert_eq!(read_inputs(schema, &again).as_deref(), Ok(inputs.as_slice()));
}

fn encode(schema: &Schema, inputs: &[State]) -> Vec<u8> {
    let mut out = [0; 512];
    let mut w = BitWriter::new(&mut out);
    write_inputs(&mut w, schema, inputs);
    let len = w.finish();
    out[..len].to_vec()
}

/// Messages of every length, of inputs that repeat the one before and of those that do in part.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::new(0).fork("input seeds");
    let mut seeds = Vec::new();
    for choice in 0..schema::COUNT {
        let schema = schema::choose(choice);
        for count in 1..=MAX_INPUTS {
            let mut inputs = vec![schema::random_state(&mut rng, schema.input)];
            while inputs.len() < count {
                let mut next = inputs[inputs.len() - 1];
                if rng.chance(0.5) {
                    let other = schema::random_state(&mut rng, schema.input);
                    let changed = next.iter_mut().zip(&other).filter(|_| rng.chance(0.4));
                    changed.for_each(|(place, value)| *place = *value);
                }
                inputs.push(next);
            }
            let mut seed = vec![choice];
            seed.extend(encode(schema, &inputs));
            seeds.push(seed);
        }
    }
    seeds
}
