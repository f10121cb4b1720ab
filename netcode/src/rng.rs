//! The seeded random numbers of everything that must be repeatable: emulator, arena, bots, map.
//!
//! xoshiro256++ 1.0 by Blackman and Vigna (<https://prng.di.unimi.it/xoshiro256plusplus.c>), its state
//! filled by SplitMix64 as its authors recommend. Small, fast, the same on every target, and **not** for
//! secrets: those come from [`ring`]. Every subsystem draws from a stream of its own, forked by name, so
//! that one more draw in one place shifts nothing in another.

use crate::schema::Fnv;

/// A stream of random numbers that its seed determines.
#[derive(Clone, Debug)]
pub struct Rng {
    seed: u64,
    state: [u64; 4],
}

impl Rng {
    /// The stream of that seed; any seed is as good as any other.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let (mid, a) = split_mix(seed);
        let (mid, b) = split_mix(mid);
        let (mid, c) = split_mix(mid);
        let (_, d) = split_mix(mid);
        // SplitMix64 is a bijection of four different inputs, so the state is never all zero.
        Self { seed, state: [a, b, c, d] }
    }

    /// The stream that belongs to `name`. It depends on this stream's seed and the name only, not on how
    /// much was drawn.
    #[must_use]
    pub fn fork(&self, name: &str) -> Self {
        let hash = name.bytes().fold(Fnv::new(), Fnv::byte);
        let (_, mixed) = split_mix(hash.0);
        let (_, seed) = split_mix(self.seed ^ mixed);
        Self::new(seed)
    }

    /// The seed of this stream, to hand a subsystem its own.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// 64 random bits.
    #[inline]
    pub const fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = self.state;
        let result = s0.wrapping_add(s3).rotate_left(23).wrapping_add(s0);
        let (s2, s3) = (s2 ^ s0, s3 ^ s1);
        self.state = [s0 ^ s3, s1 ^ s2, s2 ^ (s1 << 17), s3.rotate_left(45)];
        result
    }

    /// A number in `0..n`, all equally likely (Lemire's method).
    ///
    /// # Panics
    /// If `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "there is no number below zero");
        // The few low products that would make some results likelier are drawn again.
        let unfair = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= unfair {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    #[inline]
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Whether something of probability `p` happens. Always one draw; at 0 never, at 1 always.
    #[inline]
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit_f64() < p
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            for (place, byte) in chunk.iter_mut().zip(self.next_u64().to_le_bytes()) {
                *place = byte;
            }
        }
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood): the next state and the number drawn.
const fn split_mix(state: u64) -> (u64, u64) {
    let next = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (next, z ^ (z >> 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_match_the_published_vectors() {
        let mut rng = Rng { seed: 0, state: [1, 2, 3, 4] };
        let drawn = [rng.next_u64(), rng.next_u64(), rng.next_u64(), rng.next_u64()];
        assert_eq!(drawn, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
        let (mid, first) = split_mix(1_234_567);
        assert_eq!((first, split_mix(mid).1), (6_457_827_717_110_365_317, 3_203_168_211_198_807_973));
    }

    #[test]
    fn a_fork_depends_on_seed_and_name_only() {
        let mut rng = Rng::new(7);
        let mut before = rng.fork("loss");
        rng.next_u64();
        assert_eq!(before.next_u64(), rng.fork("loss").next_u64());
        assert_ne!(rng.fork("loss").next_u64(), rng.fork("jitter").next_u64());
        assert_ne!(rng.fork("loss").next_u64(), Rng::new(8).fork("loss").next_u64());
    }

    #[test]
    fn below_reaches_every_number_about_equally() {
        let mut rng = Rng::new(1);
        let mut seen = [0u32; 6];
        for _ in 0..60_000 {
            seen[rng.below(6) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (9_500..10_500).contains(n)), "{seen:?}");
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn chance_holds_at_both_ends_and_between() {
        let mut rng = Rng::new(2);
        assert!((0..1000).all(|_| rng.chance(1.0)));
        assert!((0..1000).all(|_| !rng.chance(0.0)));
        let hits = (0..100_000).filter(|_| rng.chance(0.25)).count();
        assert!((24_000..26_000).contains(&hits), "{hits}");
    }

    #[test]
    fn fill_reaches_a_ragged_end() {
        let mut out = [0; 13];
        Rng::new(3).fill(&mut out);
        let mut rng = Rng::new(3);
        assert_eq!(out[..8], rng.next_u64().to_le_bytes());
        assert_eq!(out[8..], rng.next_u64().to_le_bytes()[..5]);
    }
}
