//! Hints that memory is about to be used.
//!
//! A server with thousands of clients waits for memory more than it computes: each packet finds its connection's state out
//! of the caches. Whoever knows which clients come next can ask for theirs while it works on this one. The hint itself needs
//! an instruction that safe code has no name for, so it comes in as an argument, and does nothing by default.

use core::ops::Range;

/// Asks the processor to bring memory near. It changes nothing that a program can see.
#[derive(Clone, Copy, Debug)]
pub struct Prefetch(fn(*const u8, usize));

impl Default for Prefetch {
    fn default() -> Self {
        Self::NONE
    }
}

impl Prefetch {
    /// Asks for nothing.
    pub const NONE: Self = Self(|_, _| {});

    /// `hint` is given where a stretch of memory begins, and its length in bytes; it must not read there.
    #[must_use]
    pub const fn new(hint: fn(*const u8, usize)) -> Self {
        Self(hint)
    }

    /// Asks for a value, not for what it points to.
    #[inline]
    pub fn of<T: ?Sized>(self, value: &T) {
        (self.0)(core::ptr::from_ref(value).cast(), size_of_val(value));
    }

    /// Asks for some bytes of a value, counted from its beginning.
    #[inline]
    pub fn part<T>(self, value: *const T, bytes: Range<usize>) {
        (self.0)(value.cast::<u8>().wrapping_add(bytes.start), bytes.len());
    }
}

/// Which way the packet goes that memory is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is received.
    In,
    /// It is sent.
    Out,
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_hint_is_told_the_whole_value_and_no_more() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let prefetch = Prefetch::new(|at, bytes| {
            assert!(!at.is_null());
            ASKED.fetch_add(bytes, Ordering::Relaxed);
        });
        prefetch.of(&[0u64; 9]);
        prefetch.of(&[0u8; 9][2..5]);
        Prefetch::NONE.of(&[0u8; 100]);
        assert_eq!(ASKED.load(Ordering::Relaxed), 72 + 3);
        prefetch.part(&[0u32; 10], 8..20);
        assert_eq!(ASKED.load(Ordering::Relaxed), 72 + 3 + 12);
    }
}
