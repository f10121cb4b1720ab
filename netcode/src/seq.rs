//! Truncated counters: the wire carries the low 16 bits of packet numbers, ticks and message numbers.

/// The full counter whose low 16 bits are `low` and which lies nearest to `reference`.
///
/// Of two candidates at the same distance (32,768 either way) the larger wins, as in RFC 9000, A.3.
/// The result never underflows: near zero the smallest candidate is returned.
#[must_use]
pub const fn expand16(reference: u64, low: u16) -> u64 {
    const HALF: u64 = 1 << 15;
    const WINDOW: u64 = 1 << 16;
    let candidate = (reference & !(WINDOW - 1)) | low as u64;
    // Near the end of 64 bits there is no next window; asked first, so that no sum overflows.
    if candidate < u64::MAX - WINDOW && candidate + HALF <= reference {
        candidate + WINDOW
    } else if candidate > reference && candidate - reference > HALF && candidate >= WINDOW {
        candidate - WINDOW
    } else {
        candidate
    }
}

/// The low 16 bits of a counter.
#[must_use]
pub const fn low16(value: u64) -> u16 {
    (value & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn expands_across_the_wrap_both_ways() {
        assert_eq!(expand16(0x1_0000, 0xffff), 0xffff);
        assert_eq!(expand16(0xffff, 0x0001), 0x1_0001);
        assert_eq!(expand16(3, 0xffff), 0xffff, "below zero there is nothing");
        assert_eq!(expand16(u64::MAX - 1 - (1 << 16), 5) & 0xffff, 5);
    }

    #[test]
    fn the_last_window_of_64_bits_does_not_overflow() {
        // A server's ACCEPT can name any tick; the data packets that follow are expanded against it.
        for back in 0..70_000 {
            let reference = u64::MAX - back;
            for low in [0, 1, 0x7fff, 0x8000, 0xffff] {
                assert_eq!(low16(expand16(reference, low)), low);
            }
        }
    }

    proptest! {
        #[test]
        fn every_number_within_half_a_window_is_recovered(reference in 40_000u64..1 << 60, offset in -32_767i64..=32_768) {
            let value = reference.wrapping_add_signed(offset);
            prop_assert_eq!(expand16(reference, low16(value)), value);
        }

        #[test]
        fn no_input_overflows(reference: u64, low: u16) {
            prop_assert_eq!(low16(expand16(reference, low)), low);
        }
    }
}
