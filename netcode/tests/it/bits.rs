//! The packer against a plain vector of bits.

use netcode::bits::{BitReader, BitWriter, OutOfBits};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Field(u64, u32),
    Bytes(Vec<u8>),
    Bits(Vec<u8>, usize),
    /// Patch or rewind at an earlier step, chosen by this number.
    Patch(usize, u64),
    Rewind(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let field = (any::<u64>(), 0u32..=64).prop_map(|(value, bits)| Step::Field(narrow(value, bits), bits));
    let bits = (proptest::collection::vec(any::<u8>(), 0..40), any::<usize>()).prop_map(|(bytes, n)| {
        let bits = n % (bytes.len() * 8 + 1);
        Step::Bits(bytes, bits)
    });
    prop_oneof![
        10 => field,
        2 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Step::Bytes),
        2 => bits,
        1 => (any::<usize>(), any::<u64>()).prop_map(|(at, value)| Step::Patch(at, value)),
        1 => any::<usize>().prop_map(Step::Rewind),
    ]
}

fn narrow(value: u64, bits: u32) -> u64 {
    if bits == 64 { value } else { value & ((1 << bits) - 1) }
}

fn push(model: &mut Vec<bool>, value: u64, bits: u32) {
    model.extend((0..bits).map(|i| value >> i & 1 != 0));
}

fn packed(model: &[bool]) -> Vec<u8> {
    model.chunks(8).map(|byte| byte.iter().rev().fold(0, |acc, bit| acc << 1 | u8::from(*bit))).collect()
}

proptest! {
    #[test]
    fn any_sequence_packs_as_the_model_says(steps in proptest::collection::vec(step(), 0..60)) {
        let mut buf = vec![0xa5; 60 * 40];
        let mut w = BitWriter::new(&mut buf);
        let mut model = Vec::new();
        let mut marks = Vec::new();
        for step in &steps {
            marks.push((w.position(), model.len()));
            match step {
                Step::Field(value, bits) => {
                    w.write(*value, *bits);
                    push(&mut model, *value, *bits);
                }
                Step::Bytes(bytes) => {
                    w.write_bytes(bytes);
                    bytes.iter().for_each(|byte| push(&mut model, u64::from(*byte), 8));
                }
                Step::Bits(bytes, bits) => {
                    w.write_bits(bytes, *bits);
                    model.extend((0..*bits).map(|i| bytes[i / 8] >> (i % 8) & 1 != 0));
                }
                Step::Patch(which, value) => {
                    let (position, at) = marks[which % marks.len()];
                    let bits = (model.len() - at).min(64) as u32;
                    w.patch(position, narrow(*value, bits), bits);
                    (0..bits).for_each(|i| model[at + i as usize] = value >> i & 1 != 0);
                }
                Step::Rewind(which) => {
                    let which = which % marks.len();
                    let (position, at) = marks[which];
                    w.rewind(position);
                    model.truncate(at);
                    marks.truncate(which + 1);
                }
            }
            prop_assert_eq!(w.bit_len(), model.len());
        }
        let len = w.finish();
        prop_assert_eq!(&buf[..len], packed(&model));
        prop_assert!(buf[len..].iter().all(|byte| *byte == 0xa5) || steps.iter().any(|s| matches!(s, Step::Rewind(_))));
    }

    #[test]
    fn fields_come_back(fields in proptest::collection::vec((any::<u64>(), 0u32..=64), 0..60)) {
        let mut buf = vec![0; 60 * 8];
        let mut w = BitWriter::new(&mut buf);
        for (value, bits) in &fields {
            w.write(narrow(*value, *bits), *bits);
        }
        let len = w.finish();
        let mut r = BitReader::new(&buf[..len]);
        for (value, bits) in &fields {
            prop_assert_eq!(r.read(*bits), Ok(narrow(*value, *bits)));
        }
        prop_assert_eq!(r.finish_zero_padded(), Ok(()));
    }

    #[test]
    fn reads_of_garbage_agree_with_the_model(
        data in proptest::collection::vec(any::<u8>(), 0..30),
        reads in proptest::collection::vec((0u32..=70, any::<bool>()), 0..30),
    ) {
        let mut model: Vec<bool> = Vec::new();
        data.iter().for_each(|byte| push(&mut model, u64::from(*byte), 8));
        let mut r = BitReader::new(&data);
        for (n, whole) in reads {
            let left = &model[model.len() - r.remaining_bits()..];
            let wanted = n as usize * if whole { 8 } else { 1 };
            let expected = (wanted <= left.len() && (whole || n <= 64)).then(|| packed(&left[..wanted]));
            let read = if whole {
                let mut out = vec![0; n as usize];
                r.read_bytes(&mut out).map(|()| out)
            } else {
                r.read(n).map(|value| value.to_le_bytes()[..n.div_ceil(8) as usize].to_vec())
            };
            prop_assert_eq!(read, expected.ok_or(OutOfBits));
        }
    }
}
