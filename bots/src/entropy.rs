//! Randomness that is seeded as far as can be.

use netcode::crypto::{CryptoError, Entropy, Ephemeral};
use netcode::rng::Rng;

/// Bytes from a seed; X25519 keys, which cannot be seeded, from outside.
pub(crate) struct Seeded {
    rng: Rng,
    outside: Box<dyn Entropy>,
}

impl Seeded {
    pub(crate) fn new(rng: Rng, outside: Box<dyn Entropy>) -> Self {
        Self { rng, outside }
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.rng.fill(out);
        Ok(())
    }

    fn ephemeral(&mut self) -> Result<Ephemeral, CryptoError> {
        self.outside.ephemeral()
    }
}
