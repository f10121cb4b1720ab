//! How long steps and rounds take, as the server's clock would find, and what the server makes of it: its own regulator, and
//! ticks that are as long as that says.
//!
//! Virtual time stands still while the server works, so a tick is never late here; what is shown is that it sheds, dilates,
//! tells, and comes back.

use core::time::Duration;
use std::collections::VecDeque;

use server::load::{Change, Pace, Regulator, Share};

use super::cluster::period;

/// What an idle server takes.
const IDLE: Share = Share { step: 10, round: 10 };

/// The load, what sees it, and the changes of the ticks' length that lie ahead.
pub(super) struct Load {
    rate: u16,
    regulator: Regulator,
    /// Of a tick at full pace, with a snapshot for everybody.
    whole: Share,
    percent: u16,
    /// From which tick on each takes that many percent, ascending.
    ahead: VecDeque<(u64, u16)>,
}

impl Load {
    pub(super) fn new(rate: u16) -> Self {
        let limits = Pace { divisor: Pace::MAX_DIVISOR, dilation: Pace::MAX_DILATION };
        // Of a server of several workers the one with the longest rounds.
        let (regulator, ahead) = (Regulator::new(rate, limits, 1), VecDeque::new());
        Self { rate, regulator, whole: IDLE, percent: Pace::FULL.dilation, ahead }
    }

    pub(super) fn set(&mut self, whole: Share) {
        self.whole = whole;
    }

    pub(super) fn pace(&self) -> Pace {
        self.regulator.pace()
    }

    /// From that tick to the next one.
    pub(super) fn period(&mut self, tick: u64) -> Duration {
        while let Some((_, percent)) = self.ahead.pop_front_if(|(from, _)| *from <= tick) {
            self.percent = percent;
        }
        period(self.rate) * u32::from(self.percent) / 100
    }

    /// That tick was made, and everybody served. What changes, and from which tick on.
    pub(super) fn on_tick(&mut self, tick: u64) -> Option<(Pace, u64)> {
        let Share { step, round } = self.whole;
        let [step, round] =
            [step, round / u32::from(self.pace().divisor.max(1))].map(|percent| period(self.rate) * percent / 100);
        let Change { pace, ahead, stretched } = self.regulator.on_tick(step, [Some(round)])?;
        let from = tick + ahead;
        if stretched {
            self.ahead.push_back((from, pace.dilation));
        }
        Some((pace, from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_take_longer_from_the_tick_that_was_told_and_as_long_as_ever_afterwards() {
        let mut load = Load::new(20);
        load.set(Share { step: 160, round: 10 });
        let mut told = Vec::new();
        let mut periods = Vec::new();
        for tick in 1..=600 {
            if tick == 80 {
                load.set(IDLE);
            }
            periods.push(load.period(tick).as_millis() as u16);
            told.extend(load.on_tick(tick));
        }
        for (Pace { dilation, .. }, from) in &told {
            let at = *from as usize - 1;
            assert!(periods.get(at).is_none_or(|millis| *millis == dilation / 2), "{told:?}");
        }
        assert_eq!((periods.iter().max(), periods.last()), (Some(&100), Some(&50)));
    }
}
