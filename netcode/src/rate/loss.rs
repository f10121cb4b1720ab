//! Which loss speaks against the rate, and which the path has anyway.
//!
//! A radio link may lose a fifth of all packets at any rate; a policer or a short buffer loses what is too much. Nothing
//! in a lost packet tells the two apart, but an experiment does: once the rate has come down to half, an overload of up to
//! 35 % has ended, while random loss is what it was. Where the loss has stayed, it is the path's [`Baseline`] for a while,
//! the rate returns to where it was, and only loss beyond the baseline lets it fall again.

use core::time::Duration;

use crate::recovery::Settled;
use crate::time::Time;

/// Shares are counted in parts of this.
const WHOLE: u32 = 10_000;
/// So much loss, beyond what the path has anyway, is taken for noise.
pub const TOLERATED_LOSS: u32 = 500;
/// Above this loss nobody plays, and halving the rate does not end an overload: it is never the path's own.
pub const MAX_BASELINE: u32 = 3_500;
/// How long the path's own loss is believed in before the experiment is made again.
pub const BASELINE_TIME: Duration = Duration::from_secs(30);
/// How often more than the floor is tried while packets are lost.
const RETRY_TIME: Duration = Duration::from_secs(10);
/// The fewest settled packets by which loss is judged, and the shortest time.
pub const MIN_LOSS_PACKETS: u32 = 20;
const MIN_LOSS_TIME: Duration = Duration::from_millis(500);
/// By how many settled packets an experiment is judged: so many at least, and so many where it stands between.
const VERDICT_PACKETS: u32 = 50;
const MAX_VERDICT_PACKETS: u32 = 200;

/// Packets whose fate is known.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    settled: u32,
    lost: u32,
    bytes: u64,
    /// When the first and the last of them were sent.
    first: Time,
    last: Time,
}

impl Tally {
    fn add(&mut self, settled: &Settled) {
        if self.settled == 0 {
            (self.first, self.last) = (settled.sent, settled.sent);
        }
        (self.first, self.last) = (self.first.min(settled.sent), self.last.max(settled.sent));
        self.settled = self.settled.saturating_add(1);
        self.lost = self.lost.saturating_add(u32::from(!settled.acked));
        self.bytes = self.bytes.saturating_add(u64::from(settled.packet.bytes));
    }

    const fn with(self, other: Self) -> Self {
        let (settled, lost) = (self.settled.saturating_add(other.settled), self.lost.saturating_add(other.lost));
        Self { settled, lost, ..other }
    }

    fn share(&self) -> u32 {
        let share = u64::from(self.lost) * u64::from(WHOLE) / u64::from(self.settled.max(1));
        u32::try_from(share).unwrap_or(WHOLE)
    }

    /// Bytes per second that were sent.
    fn rate(&self) -> u32 {
        let micros = self.last.saturating_since(self.first).as_micros() as u64;
        let rate = self.bytes.saturating_mul(1_000_000).checked_div(micros).unwrap_or(0);
        u32::try_from(rate).unwrap_or(u32::MAX)
    }

    /// Whether more than `share` was lost, beyond what chance makes of it.
    fn exceeds(&self, share: u32, doubt: Doubt) -> bool {
        is_significant(self.lost, self.settled, share, doubt)
    }

    fn is_below(&self, share: u32) -> bool {
        is_significant(self.settled.saturating_sub(self.lost), self.settled, WHOLE.saturating_sub(share), Doubt::TWO)
    }
}

/// Quarters of the square of how many standard deviations are left to chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubt(u128);

impl Doubt {
    const TWO: Self = Self(16);
    /// What was found before needs less to be confirmed.
    const ONE: Self = Self(4);
    const NONE: Self = Self(0);
}

/// Whether `lost` of `n` is more than the share `p` by over `k` standard deviations of the binomial distribution:
/// `lost > p n + k sqrt(p (1 - p) n)`, squared, to stay in integers.
fn is_significant(lost: u32, n: u32, share: u32, doubt: Doubt) -> bool {
    let (share, whole) = (u128::from(share.min(WHOLE)), u128::from(WHOLE));
    let (lost, n) = (u128::from(lost) * whole, u128::from(n));
    let beyond = lost.saturating_sub(share * n);
    4 * beyond * beyond > doubt.0 * share * (whole - share) * n
}

/// Loss that does not depend on the rate.
#[derive(Clone, Copy, Debug)]
struct Baseline {
    share: u32,
    until: Time,
}

/// Loss that has let the rate fall and is not explained yet.
#[derive(Clone, Copy, Debug)]
struct Episode {
    /// The most bytes per second that were sent in it; half of that decides.
    rate: u32,
    /// What became of the packets until then.
    before: Tally,
    /// That is its first window.
    first: bool,
    /// The rate was doubling when it began.
    doubling: bool,
}

/// Where the rate stands when its loss is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub rate: u32,
    pub floor: u32,
    pub doubling: bool,
    /// A queue stands on the path: then loss tells nothing new.
    pub queue: bool,
}

/// What a round's losses ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing: there is too little, or nothing wrong.
    Fine,
    /// An experiment is under way: no more than now.
    Wait,
    /// Less; much less where it is `heavy`.
    Fall { heavy: bool },
    /// To this rate, to see what becomes of the loss.
    Try(u32),
    /// Up to this rate: it was not to blame.
    Restore { rate: u32, doubling: bool },
}

/// Judges losses by windows of time.
#[derive(Clone, Debug, Default)]
pub(super) struct LossJudge {
    window: Tally,
    /// When the first packet of the window was settled.
    began: Time,
    /// Only what was sent since counts.
    since: Time,
    baseline: Option<Baseline>,
    episode: Option<Episode>,
    /// When more than the floor may be tried next.
    try_again: Time,
}

impl LossJudge {
    /// Nothing is known of the path.
    pub fn forget(&mut self, now: Time) {
        *self = Self { since: now, ..Self::default() };
    }

    /// The rate has changed: what was sent before says nothing of it.
    pub fn restart(&mut self, now: Time) {
        (self.window, self.since) = (Tally::default(), now);
    }

    pub fn on_settled(&mut self, now: Time, settled: &Settled) {
        if settled.packet.eliciting && settled.sent >= self.since {
            if self.window.settled == 0 {
                self.began = now;
            }
            self.window.add(settled);
        }
    }

    pub fn on_spurious(&mut self, packets: u32) {
        self.window.lost = self.window.lost.saturating_sub(packets);
    }

    #[cfg(test)]
    pub const fn counted(&self) -> (u32, u32) {
        (self.window.settled, self.window.lost)
    }

    fn own_loss(&self) -> u32 {
        self.baseline.map_or(0, |baseline| baseline.share)
    }

    /// More than this share lost is too much: of what the path leaves over, 5 %.
    fn limit(&self) -> u32 {
        let own = self.own_loss();
        own + (WHOLE - own) * TOLERATED_LOSS / WHOLE
    }

    /// At the end of a round.
    pub fn judge(&mut self, now: Time, at: Standing) -> Judgement {
        self.episode = self.episode.filter(|_| !at.queue);
        if !self.is_window_full(now) {
            return if self.episode.is_some() { Judgement::Wait } else { Judgement::Fine };
        }
        if let Some(episode) = self.episode.filter(|episode| at.rate <= episode.rate / 2) {
            return self.conclude(now, at, episode);
        }
        let window = core::mem::take(&mut self.window);
        self.lower_baseline(&window);
        let doubt = if self.episode.is_some() { Doubt::ONE } else { Doubt::TWO };
        if window.exceeds(self.limit(), doubt) {
            return self.blame(now, at, window);
        }
        self.episode = None;
        self.recheck(now, at, window)
    }

    /// Within an episode a window lasts until it is clear, so that noise neither feeds on noise nor ends it.
    fn is_window_full(&self, now: Time) -> bool {
        let Tally { settled, .. } = self.window;
        let exceeds = |doubt| self.window.exceeds(self.limit(), doubt);
        let clear = match self.episode {
            None => true,
            Some(_) if settled < MAX_VERDICT_PACKETS => {
                exceeds(Doubt::TWO) || (settled >= VERDICT_PACKETS && !exceeds(Doubt::NONE))
            }
            Some(_) => true,
        };
        clear && settled >= MIN_LOSS_PACKETS && now.saturating_since(self.began) >= MIN_LOSS_TIME
    }

    /// The window has lost too much.
    fn blame(&mut self, now: Time, at: Standing, window: Tally) -> Judgement {
        let heavy = window.share() > MAX_BASELINE;
        if at.rate <= at.floor && !heavy && !at.queue && self.try_again <= now {
            // The floor has no half to compare it with, but is less than half of something.
            (self.try_again, self.episode) = (now + RETRY_TIME, None);
            return Judgement::Try(at.floor.saturating_add(at.floor.saturating_mul(3) / 2));
        }
        if !at.queue {
            // A budget that is not used shows nothing: what counts is what was sent.
            let sent = window.rate().min(at.rate);
            self.episode = Some(match self.episode {
                None => Episode { rate: sent, before: window, first: true, doubling: at.doubling },
                // The window that drew attention has lost more than usual.
                Some(it) if it.first => Episode { rate: it.rate.max(sent), before: window, first: false, ..it },
                Some(it) => Episode { rate: it.rate.max(sent), before: it.before.with(window), ..it },
            });
        }
        Judgement::Fall { heavy }
    }

    /// The rate is at half: compares the loss with what it was.
    fn conclude(&mut self, now: Time, at: Standing, episode: Episode) -> Judgement {
        if self.window.settled < VERDICT_PACKETS {
            return Judgement::Wait;
        }
        let own = self.own_loss();
        let beyond = |tally: &Tally| tally.share().saturating_sub(own);
        let (before, after) = (beyond(&episode.before), beyond(&self.window));
        let possible = episode.before.share() <= MAX_BASELINE;
        if possible && 4 * after >= 3 * before {
            let share = episode.before.with(self.window).share();
            self.baseline = Some(Baseline { share, until: now + BASELINE_TIME });
            self.episode = None;
            return Judgement::Restore { rate: episode.rate, doubling: episode.doubling };
        }
        if possible && 5 * after >= 2 * before && self.window.settled < MAX_VERDICT_PACKETS {
            return Judgement::Wait;
        }
        // It was congestion. If loss is left, it is another matter, and begins here.
        self.episode = None;
        let window = core::mem::take(&mut self.window);
        if window.exceeds(self.limit(), Doubt::TWO) { self.blame(now, at, window) } else { Judgement::Fine }
    }

    /// A path that loses less than it did is not allowed what it lost before.
    fn lower_baseline(&mut self, window: &Tally) {
        if let Some(baseline) = &mut self.baseline
            && window.is_below(baseline.share)
        {
            baseline.share = u32::midpoint(baseline.share, window.share());
        }
    }

    /// Makes the experiment again where a baseline has become old: at half the rate at once.
    fn recheck(&mut self, now: Time, at: Standing, window: Tally) -> Judgement {
        let Some(old) = self.baseline.filter(|baseline| baseline.until <= now && !at.queue) else {
            return Judgement::Fine;
        };
        self.baseline = None;
        let half = at.rate / 2;
        if half < at.floor || window.rate() < half || old.share <= TOLERATED_LOSS {
            return Judgement::Fine;
        }
        // What many windows have confirmed counts for more than the last one.
        let before = Tally { settled: WHOLE / 10, lost: old.share / 10, ..window };
        self.episode = Some(Episode { rate: at.rate, before, first: false, doubling: at.doubling });
        Judgement::Try(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn significance_is_the_formula(n in 1u32..100_000, part in 0u32..=1000, share in 0u32..=10_000, confirms: bool) {
            let lost = (u64::from(n) * u64::from(part) / 1000) as u32;
            let (doubt, k) = if confirms { (Doubt::ONE, 1.0) } else { (Doubt::TWO, 2.0) };
            let p = f64::from(share) / 10_000.0;
            let limit = p * f64::from(n) + k * (p * (1.0 - p) * f64::from(n)).sqrt();
            prop_assume!((f64::from(lost) - limit).abs() > 1e-6);
            prop_assert_eq!(is_significant(lost, n, share, doubt), f64::from(lost) > limit);
        }
    }
}
