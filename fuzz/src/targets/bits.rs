//! Bit packing against a model that keeps a `bool` per bit.

use netcode::bits::{BitReader, BitWriter, OutOfBits, Position};

use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    Full => "a field that no longer fits",
    Rewind => "a rewind over a word",
    Patch => "a patch across two words",
    Unaligned => "bytes copied at an odd bit",
    Wide => "a field of 64 bits across nine bytes",
    Failed => "a read behind the end",
    Padded => "a stream that ends in good padding",
    Unpadded => "a stream that does not",
}

const MAX_BUFFER: usize = 200;

/// What was written, a bit each; and the places that were remembered on the way.
#[derive(Default)]
struct Model {
    bits: Vec<bool>,
    places: Vec<(Position, usize)>,
}

impl Model {
    fn push(&mut self, value: u64, bits: u32) {
        self.bits.extend((0..bits).map(|bit| value >> bit & 1 != 0));
    }

    fn push_bytes(&mut self, bytes: &[u8], bits: usize) {
        self.bits.extend((0..bits).map(|bit| bytes[bit / 8] >> (bit % 8) & 1 != 0));
    }
}

/// The target: writes what the input says, then reads it back in other pieces.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let mut buffer = [0xa5; MAX_BUFFER];
    let capacity = usize::from(program.u8()) % (MAX_BUFFER + 1);
    let mut w = BitWriter::new(&mut buffer[..capacity]);
    let mut model = Model::default();
    let read_with = program.sized(64);
    while !program.is_empty() {
        write_step(&mut program, &mut w, &mut model);
        assert_eq!(w.bit_len(), model.bits.len());
        assert_eq!(w.remaining_bits(), capacity * 8 - model.bits.len());
    }
    let len = w.finish();
    assert_eq!(len, model.bits.len().div_ceil(8));
    assert!(buffer[capacity..].iter().all(|byte| *byte == 0xa5), "written behind the buffer");
    model.bits.resize(len * 8, false);
    read_back(&mut Program::new(read_with), &buffer[..len], &model.bits);
}

fn write_step(program: &mut Program<'_>, w: &mut BitWriter<'_>, model: &mut Model) {
    let (op, room) = (program.u8() % 8, w.remaining_bits());
    bucket(u64::from(op) | (w.bit_len() as u64 % 64) << 8);
    match op {
        0..=2 => {
            let bits = u32::from(program.u8()) % 65;
            let value = program.u64() & mask(bits);
            if bits as usize <= room {
                w.write(value, bits);
                model.push(value, bits);
            } else {
                reach(Feature::Full);
            }
        }
        3 => {
            let len = usize::from(program.u8()) % 40;
            let bytes = program.take(len);
            if bytes.len() * 8 <= room {
                if !w.bit_len().is_multiple_of(8) && bytes.len() > 8 {
                    reach(Feature::Unaligned);
                }
                w.write_bytes(bytes);
                model.push_bytes(bytes, bytes.len() * 8);
            }
        }
        4 => {
            let cut = usize::from(program.u8()) % 8;
            let len = usize::from(program.u8()) % 40;
            let bytes = program.take(len);
            let bits = (bytes.len() * 8).saturating_sub(cut);
            if bits <= room {
                w.write_bits(bytes, bits);
                model.push_bytes(bytes, bits);
            }
        }
        5 => {
            model.places.push((w.position(), model.bits.len()));
            w.write(0, 0);
        }
        6 => {
            if let Some((place, bit)) = remembered(program, model) {
                if bit / 64 != model.bits.len() / 64 {
                    reach(Feature::Rewind);
                }
                w.rewind(place);
                model.bits.truncate(bit);
                model.places.retain(|(_, other)| *other <= bit);
            }
        }
        _ => {
            if let Some((place, bit)) = remembered(program, model) {
                let bits = (u32::from(program.u8()) % 65).min((model.bits.len() - bit) as u32);
                let value = program.u64() & mask(bits);
                if bit / 64 != (bit + bits as usize) / 64 {
                    reach(Feature::Patch);
                }
                w.patch(place, value, bits);
                for (i, place) in model.bits[bit..bit + bits as usize].iter_mut().enumerate() {
                    *place = value >> i & 1 != 0;
                }
            }
        }
    }
}

fn remembered(program: &mut Program<'_>, model: &Model) -> Option<(Position, usize)> {
    let which = usize::from(program.u8());
    model.places.get(which % model.places.len().max(1)).copied()
}

fn read_back(program: &mut Program<'_>, data: &[u8], bits: &[bool]) {
    let mut r = BitReader::new(data);
    let mut at = 0;
    while !program.is_empty() {
        assert_eq!((r.bit_len(), r.remaining_bits()), (at, bits.len() - at));
        let (op, operand) = (program.u8() % 4, program.u8());
        if op == 3 {
            let mut out = [0; 40];
            let len = usize::from(operand) % 40;
            let fits = len * 8 <= bits.len() - at;
            assert_eq!(r.read_bytes(&mut out[..len]).is_ok(), fits);
            if fits {
                for (i, byte) in out[..len].iter().enumerate() {
                    assert_eq!(u64::from(*byte), value_of(&bits[at + i * 8..at + i * 8 + 8]));
                }
                at += len * 8;
            }
            continue;
        }
        let width = u32::from(operand) % 66;
        let fits = width <= 64 && width as usize <= bits.len() - at;
        let expected = if fits { Ok(value_of(&bits[at..at + width as usize])) } else { Err(OutOfBits) };
        if op == 2 {
            let ahead = value_of(&bits[at..bits.len().min(at + 57)]);
            assert_eq!(r.peek() & mask(57), ahead);
            assert_eq!(r.skip(width).is_ok(), fits);
        } else {
            assert_eq!(r.read(width), expected);
        }
        if fits {
            at += width as usize;
            if width == 64 && at % 8 != 0 {
                reach(Feature::Wide);
            }
        } else {
            reach(Feature::Failed);
        }
    }
    let padded = bits.len() - at < 8 && bits[at..].iter().all(|bit| !bit);
    reach(if padded { Feature::Padded } else { Feature::Unpadded });
    assert_eq!(r.finish_zero_padded().is_ok(), padded);
}

fn value_of(bits: &[bool]) -> u64 {
    bits.iter().enumerate().fold(0, |acc, (i, bit)| acc | u64::from(*bit) << i)
}

const fn mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// Programs with each operation.
pub fn seeds() -> Vec<Vec<u8>> {
    let reads = |widths: &[u8]| widths.iter().flat_map(|width| [0, *width]).collect::<Vec<_>>();
    let field = |script: Script, bits: u8, value: u64| script.u8(0).u8(bits).u64(value);
    let mixed = Script::default().u8(100).sized(&reads(&[3, 64, 13, 7, 1, 64, 65, 64, 40]));
    let mixed = field(field(field(mixed, 3, 5), 64, u64::MAX / 3), 13, 0x1abc);
    let bytes = Script::default().u8(60).sized(&[0, 1, 3, 20, 3, 5, 2, 17, 1, 8]);
    let bytes = field(bytes, 1, 1).u8(3).u8(20).bytes(b"twenty bytes of text").u8(4).u8(3).u8(5).bytes(b"five!");
    let places = Script::default().u8(80).sized(&reads(&[64, 10, 64, 50])).u8(5);
    let places = field(field(places, 60, 7).u8(5), 60, 9).u8(7).u8(1).u8(64).u64(u64::MAX).u8(6).u8(0);
    let full = field(field(Script::default().u8(9).sized(&reads(&[64, 9])), 64, 1), 64, 2).u8(0).u8(8).u64(3);
    [mixed, bytes, places, full].map(|script| script.0).into()
}
