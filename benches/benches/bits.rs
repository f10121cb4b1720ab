//! Packing fields: our writer and reader against bitvec, same fields, same bytes.

use std::hint::black_box;

use bitvec::field::BitField;
use bitvec::order::Lsb0;
use bitvec::view::BitView;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use netcode::bits::{BitReader, BitWriter};
use netcode::rng::Rng;

/// (value, width), as a snapshot mixes them.
fn fields() -> Vec<(u64, u32)> {
    let mut rng = Rng::new(1);
    let widths = [1, 2, 5, 7, 12, 13, 21, 32];
    let field = |at: usize| {
        let bits: u32 = widths[at % widths.len()];
        (rng.next_u64() & ((1 << bits) - 1), bits)
    };
    (0..160).map(field).collect()
}

fn write_ours(fields: &[(u64, u32)], out: &mut [u8]) -> usize {
    let mut w = BitWriter::new(out);
    for (value, bits) in fields {
        w.write(*value, *bits);
    }
    w.finish()
}

fn write_bitvec(fields: &[(u64, u32)], out: &mut [u8]) -> usize {
    let (view, mut at) = (out.view_bits_mut::<Lsb0>(), 0);
    for (value, bits) in fields {
        view[at..at + *bits as usize].store_le(*value);
        at += *bits as usize;
    }
    at.div_ceil(8)
}

fn bits(c: &mut Criterion) {
    let fields = fields();
    let (mut ours, mut theirs) = ([0; 512], [0; 512]);
    let len = write_ours(&fields, &mut ours);
    assert_eq!(len, write_bitvec(&fields, &mut theirs));
    assert_eq!(ours[..len], theirs[..len], "the same bytes");
    let mut group = c.benchmark_group("bits");
    group.throughput(Throughput::Elements(fields.len() as u64));
    group.bench_function("write", |b| b.iter(|| write_ours(black_box(&fields), &mut ours)));
    group.bench_function("write_bitvec", |b| b.iter(|| write_bitvec(black_box(&fields), &mut theirs)));
    group.bench_function("read", |b| {
        b.iter(|| {
            let mut r = BitReader::new(black_box(&ours[..len]));
            fields.iter().fold(0, |acc, (_, bits)| acc ^ r.read(*bits).unwrap_or_default())
        });
    });
    group.bench_function("read_bitvec", |b| {
        b.iter(|| {
            let (view, mut at) = (black_box(&theirs[..len]).view_bits::<Lsb0>(), 0);
            fields.iter().fold(0, |acc, (_, bits)| {
                at += *bits as usize;
                acc ^ view[at - *bits as usize..at].load_le::<u64>()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, bits);
criterion_main!(benches);
