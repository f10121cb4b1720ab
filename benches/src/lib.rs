//! What Zonewire's benches share: a server with real clients in one thread ([`rig`]), and the replication part of its
//! shard on its own ([`mirror`]); an echo workload for transports side by side ([`peer`]); charts ([`plot`]).
#![forbid(unsafe_code)]

pub mod lines;
pub mod mirror;
pub mod peer;
pub mod plot;
pub mod rig;

use netcode::crypto::{CryptoError, Entropy, Ephemeral, OsEntropy};
use netcode::rng::Rng;

/// Seeded randomness, but for ring's ephemeral keys, which cannot be.
pub struct BenchEntropy(Rng);

impl BenchEntropy {
    /// The randomness of that seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Rng::new(seed))
    }
}

impl Entropy for BenchEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.fill(out);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "ring makes ephemeral keys from OS entropy only")]
    fn ephemeral(&mut self) -> Result<Ephemeral, CryptoError> {
        OsEntropy::new().ephemeral()
    }
}
