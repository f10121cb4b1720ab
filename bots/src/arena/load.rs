//! How long steps and rounds take, as the server's clock would find, and what the server makes of it: its own governor, and
//! ticks that are as long as it says.
//!
//! Virtual time stands still while the server works, so a tick is never late here; what is shown is that it sheds, dilates,
//! tells, and comes back.

use core::time::Duration;
use std::collections::VecDeque;

use server::load::{Governor, Pace, Share};

use super::cluster::period;

/// How long before it happens a change of the ticks' length is told, in parts of a second: as the server's zone thread does.
const AHEAD_PER_S: u64 = 2;
/// What an idle server takes.
const IDLE: Share = Share { step: 10, round: 10 };

/// The load, the governor, and the changes of the ticks' length that lie ahead.
pub(super) struct Load {
    rate: u16,
    governor: Governor,
    /// Of a tick at full pace, with a snapshot for everybody.
    whole: Share,
    percent: u16,
    /// From which tick on each takes that many percent, ascending.
    ahead: VecDeque<(u64, u16)>,
}

impl Load {
    pub(super) fn new(rate: u16) -> Self {
        let limits = Pace { divisor: Pace::MAX_DIVISOR, dilation: Pace::MAX_DILATION };
        let (governor, ahead) = (Governor::new(rate, limits), VecDeque::new());
        Self { rate, governor, whole: IDLE, percent: Pace::FULL.dilation, ahead }
    }

    pub(super) fn set(&mut self, whole: Share) {
        self.whole = whole;
    }

    pub(super) fn pace(&self) -> Pace {
        self.governor.pace()
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
        let before = self.governor.pace();
        let pace = self.governor.on_tick(self.share())?;
        let from = tick + (u64::from(self.rate) / AHEAD_PER_S).max(1);
        if pace.dilation != before.dilation {
            self.ahead.push_back((from, pace.dilation));
        }
        Some((pace, from))
    }

    /// How much of a tick at the present pace is taken.
    fn share(&self) -> Share {
        let Pace { divisor, dilation } = self.pace();
        let of_tick = |share: u32| share * 100 / u32::from(dilation.max(1));
        let Share { step, round } = self.whole;
        Share { step: of_tick(step), round: of_tick(round / u32::from(divisor.max(1))) }
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
