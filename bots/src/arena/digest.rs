//! One number for everything that happened.

/// A running digest: order matters, and each word passes through a multiplication that mixes all its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3)
    }
}

impl Digest {
    /// Adds a number.
    pub fn fold(&mut self, value: u64) {
        let mixed = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    /// Adds bytes and their number.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.fold(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (place, byte) in word.iter_mut().zip(chunk) {
                *place = *byte;
            }
            self.fold(u64::from_le_bytes(word));
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The digest of some bytes alone.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        let mut digest = Self::default();
        digest.bytes(bytes);
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_length_and_each_bit_matter() {
        assert_ne!(Digest::of(&[1, 2]), Digest::of(&[2, 1]));
        assert_ne!(Digest::of(&[0]), Digest::of(&[0, 0]));
        for bit in 0..64 {
            assert_ne!(Digest::of(&(1u64 << bit).to_le_bytes()), Digest::of(&[0; 8]));
        }
    }
}
