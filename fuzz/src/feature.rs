//! What the inputs of a run have reached: stable Rust has no coverage feedback, so targets say themselves what happened.
//!
//! A *named* feature is something that a run must see, or it is blind (an error returned, a limit hit). A *bucket* is a
//! rough description of an outcome. An input that reaches either for the first time is kept and mutated further.

use std::cell::Cell;

/// The most named features of one target.
pub const MAX_NAMED: usize = 64;
const WORDS: usize = 64;
const BUCKETS: u64 = (WORDS as u64 - 1) * 64;

thread_local! {
    static SEEN: [Cell<u64>; WORDS] = const { [const { Cell::new(0) }; WORDS] };
    static FRESH: Cell<bool> = const { Cell::new(false) };
}

/// Declares a target's named features: an enum whose values are given to [`reach`], and their names in order.
#[macro_export]
macro_rules! features {
    ($($variant:ident => $name:literal,)+) => {
        #[derive(Clone, Copy, Debug)]
        enum Feature { $($variant,)+ }

        /// What a run of this target must see.
        pub const FEATURES: &[&str] = &[$($name,)+];

        fn reach(feature: Feature) {
            $crate::feature::reach(feature as usize);
        }
    };
}

/// The input that is being run reached the named feature of that index.
pub fn reach(index: usize) {
    debug_assert!(index < MAX_NAMED);
    set(0, 1 << (index % MAX_NAMED));
}

/// The input that is being run had this outcome; equal numbers are equal outcomes.
pub fn bucket(outcome: u64) {
    // Fibonacci hashing: neighbouring outcomes spread over all buckets.
    let bucket = (outcome.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % BUCKETS;
    set(1 + (bucket / 64) as usize, 1 << (bucket % 64));
}

fn set(word: usize, bit: u64) {
    SEEN.with(|seen| {
        if let Some(word) = seen.get(word)
            && word.get() & bit == 0
        {
            word.set(word.get() | bit);
            FRESH.set(true);
        }
    });
}

/// Forgets everything that this thread has seen.
pub fn clear() {
    SEEN.with(|seen| seen.iter().for_each(|word| word.set(0)));
    FRESH.set(false);
}

/// Whether anything was reached for the first time since the last call.
#[must_use]
pub fn take_fresh() -> bool {
    FRESH.replace(false)
}

/// The named features reached since the last [`clear`], one bit each.
#[must_use]
pub fn named() -> u64 {
    SEEN.with(|seen| seen.first().map_or(0, Cell::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_first_times_are_fresh() {
        clear();
        reach(3);
        assert!(take_fresh());
        reach(3);
        assert!(!take_fresh());
        bucket(77);
        assert!(take_fresh());
        bucket(77);
        assert!(!take_fresh());
        assert_eq!(named(), 1 << 3);
    }
}
