//! Figures over the recent past, in constant memory: a minimum, percentiles, bytes per second, a share of losses.

use core::mem::offset_of;

use arrayvec::ArrayVec;

use crate::prefetch::Prefetch;
use crate::time::Time;

/// Values by slot of time, the oldest forgotten as new slots begin.
#[derive(Clone, Copy, Debug)]
struct Slots<const N: usize> {
    values: [u32; N],
    /// The slot, counted from the epoch, that was written last.
    newest: u64,
    empty: u32,
}

impl<const N: usize> Slots<N> {
    const fn new(empty: u32) -> Self {
        Self { values: [empty; N], newest: 0, empty }
    }

    /// The value of slot `slot`, or of the newest one where time went backwards.
    fn at(&mut self, slot: u64) -> Option<&mut u32> {
        let skipped = slot.saturating_sub(self.newest).min(N as u64);
        for behind in 0..skipped {
            let place = ((slot - behind) % N as u64) as usize;
            if let Some(value) = self.values.get_mut(place) {
                *value = self.empty;
            }
        }
        self.newest = self.newest.max(slot);
        self.values.get_mut((self.newest % N as u64) as usize)
    }

    /// The values of the `N` slots up to and including `slot`.
    fn until(&self, slot: u64) -> impl Iterator<Item = u32> + '_ {
        let newest = self.newest;
        // Slot `newest - behind` is too old once N slots have begun since.
        let fresh = move |behind: u64| behind <= newest && slot.saturating_sub(newest - behind) < N as u64;
        (0..N as u64)
            .filter(move |behind| fresh(*behind))
            .filter_map(move |behind| self.values.get(((newest - behind) % N as u64) as usize).copied())
    }
}

/// Seconds that a [`MinWindow`] looks back.
pub const MIN_WINDOW_SECONDS: usize = 10;

/// The smallest sample of the [`MIN_WINDOW_SECONDS`] before the newest one, by whole seconds.
#[derive(Clone, Copy, Debug)]
pub struct MinWindow(Slots<MIN_WINDOW_SECONDS>);

impl Default for MinWindow {
    fn default() -> Self {
        Self(Slots::new(u32::MAX))
    }
}

impl MinWindow {
    /// Takes a sample.
    pub fn add(&mut self, now: Time, value: u32) {
        if let Some(smallest) = self.0.at(now.as_micros() / 1_000_000) {
            *smallest = value.min(*smallest);
        }
    }

    /// The smallest; `None` before the first sample.
    #[must_use]
    pub fn min(&self) -> Option<u32> {
        self.0.until(self.0.newest).min().filter(|smallest| *smallest < u32::MAX)
    }
}

/// Samples that [`Samples`] keeps.
pub const SAMPLES: usize = 128;

/// The last [`SAMPLES`] samples, for percentiles.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Samples {
    next: usize,
    kept: ArrayVec<u32, SAMPLES>,
}

impl Samples {
    /// Takes a sample, in place of the oldest if there are enough.
    pub fn add(&mut self, value: u32) {
        if self.kept.try_push(value).is_err() {
            if let Some(oldest) = self.kept.get_mut(self.next) {
                *oldest = value;
            }
            self.next = (self.next + 1) % SAMPLES;
        }
    }

    /// Where what says which place is next ends; it begins with this struct.
    pub(crate) const HEAD: usize = offset_of!(Self, kept) + size_of::<u32>();

    /// Asks for the place of the next sample.
    #[inline]
    pub(crate) fn prefetch_next(&self, prefetch: Prefetch) {
        if let Some(place) = self.kept.get(self.next) {
            prefetch.of(place);
        }
    }

    /// The smallest values that 50 % and 99 % of the samples do not exceed (nearest rank); zeros without samples.
    #[must_use]
    pub fn median_and_p99(&self) -> (u32, u32) {
        let mut sorted = self.kept.clone();
        sorted.sort_unstable();
        let rank = |percent: usize| (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        let at = |percent| sorted.get(rank(percent)).copied().unwrap_or(0);
        (at(50), at(99))
    }
}

/// Packets that [`LossWindow`] looks back.
pub const LOSS_WINDOW: u32 = 256;

/// What share of the last [`LOSS_WINDOW`] settled packets was lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct LossWindow {
    bits: [u64; 4],
    settled: u32,
    next: u32,
    /// Bits that are set.
    lost: u32,
}

const _: () = assert!(LOSS_WINDOW == 4 * u64::BITS);

impl LossWindow {
    /// Takes what became of one packet.
    pub fn add(&mut self, lost: bool) {
        if let Some(word) = self.bits.get_mut((self.next / u64::BITS) as usize) {
            let bit = 1 << (self.next % u64::BITS);
            self.lost = self.lost + u32::from(lost) - u32::from(*word & bit != 0);
            *word = if lost { *word | bit } else { *word & !bit };
        }
        self.next = (self.next + 1) % LOSS_WINDOW;
        self.settled = (self.settled + 1).min(LOSS_WINDOW);
    }

    /// The share in parts per 10,000; 0 before the first packet.
    #[must_use]
    pub fn per_10_000(&self) -> u32 {
        (self.lost * 10_000).checked_div(self.settled).unwrap_or(0)
    }
}

/// Slots of a [`Meter`], and their length in microseconds: a second in all.
const METER_SLOTS: usize = 8;
const METER_SLOT: u64 = 125_000;

/// Bytes per second over about the last second.
#[derive(Clone, Copy, Debug)]
pub struct Meter(Slots<METER_SLOTS>);

impl Default for Meter {
    fn default() -> Self {
        Self(Slots::new(0))
    }
}

impl Meter {
    /// Counts bytes.
    pub fn add(&mut self, now: Time, bytes: usize) {
        if let Some(slot) = self.0.at(now.as_micros() / METER_SLOT) {
            *slot = slot.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }

    /// The mean of the last second (of at least 7/8 of it, the slot at its start being whole).
    #[must_use]
    pub fn per_second(&self, now: Time) -> u64 {
        let micros = now.as_micros().max(self.0.newest.saturating_mul(METER_SLOT));
        let bytes: u64 = self.0.until(micros / METER_SLOT).map(u64::from).sum();
        let window = (METER_SLOTS as u64 - 1) * METER_SLOT + micros % METER_SLOT;
        bytes * 1_000_000 / window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_minimum_is_forgotten_after_ten_seconds() {
        let mut window = MinWindow::default();
        assert_eq!(window.min(), None);
        window.add(Time::from_millis(500), 20);
        for second in 1..10 {
            window.add(Time::from_millis(second * 1000), 50);
            assert_eq!(window.min(), Some(20));
        }
        window.add(Time::from_millis(10_000), 50);
        assert_eq!(window.min(), Some(50));
        window.add(Time::from_millis(9_000_000), 70);
        assert_eq!(window.min(), Some(70), "after a long silence nothing old is left");
    }

    #[test]
    fn percentiles_are_those_of_the_last_128_samples() {
        let mut samples = Samples::default();
        assert_eq!(samples.median_and_p99(), (0, 0));
        samples.add(7);
        assert_eq!(samples.median_and_p99(), (7, 7));
        (0..1000).for_each(|value| samples.add(value));
        assert_eq!(samples.median_and_p99(), (872 + 63, 872 + 126));
    }

    #[test]
    fn the_share_of_losses_is_that_of_the_last_256_packets() {
        let mut window = LossWindow::default();
        (0..4).for_each(|i| window.add(i == 0));
        assert_eq!(window.per_10_000(), 2_500);
        (0..1000).for_each(|_| window.add(true));
        assert_eq!(window.per_10_000(), 10_000);
        (0..256).for_each(|i| window.add(i % 16 == 0));
        assert_eq!(window.per_10_000(), 625);
    }

    #[test]
    fn a_meter_shows_a_steady_rate_and_forgets_it_after_a_second() {
        let mut meter = Meter::default();
        for ms in 0..5_000 {
            meter.add(Time::from_millis(ms), 64);
        }
        let rate = meter.per_second(Time::from_millis(5_000));
        assert!((63_000..=65_000).contains(&rate), "{rate}");
        assert_eq!(meter.per_second(Time::from_millis(6_100)), 0);
    }

    proptest! {
        #[test]
        fn a_window_is_the_minimum_over_its_seconds(samples: Vec<(u16, u16)>) {
            let mut window = MinWindow::default();
            let mut now = 0;
            let mut all = Vec::new();
            for (gap, value) in samples {
                now += u64::from(gap) * 100;
                window.add(Time::from_millis(now), u32::from(value));
                all.push((now / 1000, u32::from(value)));
                let expected = all.iter().filter(|(second, _)| now / 1000 - second < 10).map(|(_, value)| *value).min();
                prop_assert_eq!(window.min(), expected);
            }
        }
    }
}
