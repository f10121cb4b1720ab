//! What two ends may do beyond the basic protocol, agreed on in the handshake.
//!
//! The client offers, the server picks a subset. An end sends frames of a feature, and takes them, only if it was agreed
//! on; bits that an end does not know it neither offers nor picks. So a feature can be added without a new version.

/// A set of features, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Path MTU probing: MTU_PROBE frames.
    pub const MTU: Self = Self(1);
    /// Clock synchronisation: TIME frames.
    pub const CLOCK: Self = Self(1 << 1);
    /// Snapshots in the compact codec: the server may send such bodies, the client reads them.
    pub const COMPACT: Self = Self(1 << 2);
    /// What the endpoints do by themselves, whatever they carry.
    pub const TRANSPORT: Self = Self(Self::MTU.0 | Self::CLOCK.0);
    /// Everything that this crate knows.
    pub const ALL: Self = Self(Self::MTU.0 | Self::CLOCK.0 | Self::COMPACT.0);

    /// What both sets have.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it has all of `other`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        other.is_subset_of(self)
    }

    /// Whether `other` has all of it.
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_agreed_is_a_subset_of_both_sides_and_loses_unknown_bits() {
        for offered in [0, 1, 2, 3, 4, 7, 1 << 63, u64::MAX] {
            let agreed = Features(offered).intersect(Features::ALL);
            assert!(agreed.is_subset_of(Features(offered)) && Features::ALL.contains(agreed));
            assert_eq!(agreed.0, offered & 7);
        }
    }

    #[test]
    fn one_feature_contains_itself_and_nothing_but_itself() {
        assert!(Features::MTU.contains(Features::MTU) && Features::MTU.contains(Features::NONE));
        assert!(!Features::MTU.contains(Features::CLOCK) && !Features::MTU.contains(Features::ALL));
    }
}
