//! The mutator: small changes to known inputs, and mixtures of two.

use netcode::rng::Rng;

/// Numbers at which code tends to go wrong.
const EDGES: [u64; 16] =
    [0, 1, 2, 7, 8, 0x0f, 0x10, 0x3f, 0x40, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x7fff_ffff, u64::MAX];
/// The most bytes that one change inserts.
const MAX_INSERT: u64 = 32;

/// Changes `input` in one to eight places; `other` is another known input. The result has at most `max_len` bytes.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8], max_len: usize) {
    // Mostly one change, sometimes several.
    let changes = 1 + rng.next_u64().trailing_zeros().min(7);
    for _ in 0..changes {
        change(rng, input, other);
    }
    input.truncate(max_len);
}

fn change(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let len = input.len();
    if len == 0 {
        return insert(rng, input);
    }
    let at = below(rng, len);
    match rng.below(16) {
        0..=3 => input[at] ^= 1 << rng.below(8),
        4 | 5 => input[at] = rng.next_u64() as u8,
        6 => input[at] = input[at].wrapping_add(rng.below(35) as u8).wrapping_sub(17),
        7 | 8 => overwrite_with_edge(rng, input, at),
        9 => insert(rng, input),
        10 => {
            let end = (at + 1 + below(rng, MAX_INSERT as usize)).min(len);
            input.drain(at..end);
        }
        11 => input.truncate(at),
        12 => duplicate(rng, input, at),
        13 => splice(rng, input, other),
        14 => cross_over(rng, input, other),
        _ => {
            let end = (at + 1 + below(rng, 8)).min(len);
            let byte = if rng.chance(0.5) { 0 } else { 0xff };
            input[at..end].fill(byte);
        }
    }
}

/// A number of 1, 2, 4 or 8 bytes, little or big endian.
fn overwrite_with_edge(rng: &mut Rng, input: &mut [u8], at: usize) {
    let width = 1 << rng.below(4);
    let mut bytes = EDGES[below(rng, EDGES.len())].to_le_bytes();
    if rng.chance(0.25) {
        bytes[..width].reverse();
    }
    for (place, byte) in input[at..].iter_mut().zip(&bytes[..width]) {
        *place = *byte;
    }
}

fn insert(rng: &mut Rng, input: &mut Vec<u8>) {
    let mut bytes = [0; MAX_INSERT as usize];
    let most = if rng.chance(0.75) { 4 } else { MAX_INSERT };
    let len = 1 + rng.below(most) as usize;
    if rng.chance(0.5) {
        rng.fill(&mut bytes[..len]);
    } else {
        bytes[..len].fill(rng.next_u64() as u8);
    }
    let at = below(rng, input.len() + 1);
    input.splice(at..at, bytes[..len].iter().copied());
}

/// Repeats a piece of the input right behind itself: an operation done twice.
fn duplicate(rng: &mut Rng, input: &mut Vec<u8>, at: usize) {
    let end = (at + 1 + below(rng, 64)).min(input.len());
    input.extend_from_within(at..end);
    let added = end - at;
    input[end..].rotate_right(added);
}

/// Puts a piece of the other input over or into this one.
fn splice(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    if other.is_empty() {
        return;
    }
    let from = below(rng, other.len());
    let piece = &other[from..(from + 1 + below(rng, 64)).min(other.len())];
    let at = below(rng, input.len());
    let end = if rng.chance(0.5) { at } else { (at + piece.len()).min(input.len()) };
    input.splice(at..end, piece.iter().copied());
}

/// The head of this input, the tail of the other.
fn cross_over(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    if other.is_empty() {
        return;
    }
    let at = below(rng, input.len());
    // Mostly at the same place, so that both keep their layout.
    let from = if rng.chance(0.75) { at.min(other.len()) } else { below(rng, other.len()) };
    input.truncate(at);
    input.extend_from_slice(&other[from..]);
}

fn below(rng: &mut Rng, n: usize) -> usize {
    rng.below(n as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_keep_the_limit_and_repeat_with_the_seed() {
        let run = || {
            let mut rng = Rng::new(5);
            let mut lens = Vec::new();
            for _ in 0..20_000 {
                let mut input = b"some known input".to_vec();
                mutate(&mut rng, &mut input, b"another", 20);
                assert!(input.len() <= 20);
                lens.push(input.iter().map(|byte| usize::from(*byte)).sum::<usize>());
            }
            lens
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn every_single_byte_can_be_reached_from_nothing() {
        let (mut rng, mut reached) = (Rng::new(1), [false; 256]);
        for _ in 0..100_000 {
            let mut input = Vec::new();
            mutate(&mut rng, &mut input, &[], 1);
            if let Some(byte) = input.first() {
                reached[usize::from(*byte)] = true;
            }
        }
        assert!(reached.iter().all(|byte| *byte));
    }
}
