//! Whether a player can have seen the others when it says that it did.
//!
//! A shot is judged by where the others were at the time that its input claims ([`Input::view`]). How far back that may be
//! is the game's limit; here it is compared with what the client can know: the newest snapshot that it had acknowledged when
//! the input came. Its view is some ticks behind that one (it interpolates between snapshots, and holds back more where they
//! come unevenly), or a little ahead (it extrapolates for a while when none comes).

use sim::Input;
use sim::input::VIEW_PARTS;

/// A view may differ from the newest acknowledged snapshot by so much, in milliseconds: inputs lost and sent again, views
/// slewed slowly after a stall, short extrapolation.
pub const TOLERANCE_MS: u32 = 250;
/// Ticks that a view is behind at the usual delay of interpolation.
pub const BEHIND_TICKS: u32 = 2;
/// Ticks that a view may be ahead beyond the tolerance.
pub const AHEAD_TICKS: u32 = 1;
/// How often the measured jitter a view may be further behind.
pub const JITTERS: u32 = 2;

/// What the server knows of a client's view when an input comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The tick of the newest snapshot that the client had acknowledged; before the first acknowledgement that of the first
    /// snapshot made for it, 0 before that one.
    pub tick: u64,
    /// The mean deviation of its round-trip time, as the server measured it, in milliseconds.
    pub jitter_ms: u16,
}

/// Whether the input for `tick` claims a view that a client can have had which had seen that much, at so many ticks a
/// second.
#[must_use]
pub fn is_plausible(tick: u64, input: &Input, seen: Seen, rate_hz: u16) -> bool {
    let parts = i128::from(VIEW_PARTS);
    let of_ms = |ms: u32| i128::from(ms) * i128::from(rate_hz) * parts / 1000;
    let claimed = i128::from(tick) * parts - i128::from(input.view);
    let seen_at = i128::from(seen.tick) * parts;
    let tolerance = of_ms(TOLERANCE_MS);
    let earliest = seen_at - i128::from(BEHIND_TICKS) * parts - of_ms(JITTERS * u32::from(seen.jitter_ms)) - tolerance;
    let latest = seen_at + tolerance + i128::from(AHEAD_TICKS) * parts;
    seen.tick > 0 && (earliest..=latest).contains(&claimed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seen = Seen { tick: 1000, jitter_ms: 10 };

    /// Whether an input of tick 1010 at 20 Hz may claim a view so many 1/32 ticks after tick 1000.
    fn may_claim(parts: i32, seen: Seen) -> bool {
        let view = u16::try_from(10 * 32 - parts).unwrap();
        is_plausible(1010, &Input { view, ..Input::default() }, seen, 20)
    }

    #[test]
    fn a_view_may_be_two_ticks_two_jitters_and_a_quarter_second_behind() {
        let most = 2 * 32 + 12 + 160;
        assert!(may_claim(-most, SEEN));
        assert!(!may_claim(-most - 1, SEEN));
        assert!(may_claim(-most - 1, Seen { jitter_ms: 11, ..SEEN }));
    }

    #[test]
    fn a_view_may_be_a_quarter_second_and_a_tick_ahead() {
        assert!(may_claim(160 + 32, SEEN));
        assert!(!may_claim(160 + 33, SEEN));
        assert!(!may_claim(160 + 33, Seen { jitter_ms: u16::MAX, ..SEEN }));
    }

    #[test]
    fn who_has_acknowledged_nothing_has_seen_nothing() {
        assert!(!is_plausible(1, &Input::default(), Seen { tick: 0, jitter_ms: u16::MAX }, 20));
    }

    #[test]
    fn the_ends_of_time_are_no_trouble() {
        for tick in [0, 1, u64::MAX] {
            for seen in [0, 1, u64::MAX] {
                for view in [0, u16::MAX] {
                    let input = Input { view, ..Input::default() };
                    let _ = is_plausible(tick, &input, Seen { tick: seen, jitter_ms: u16::MAX }, u16::MAX);
                }
            }
        }
    }
}
