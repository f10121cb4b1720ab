//! What a zone does when its time runs short: first its clients are sent fewer snapshots, then its time goes slower; and
//! back when there is room again.
//!
//! A governor without a clock is told which share of a tick's time the step and the round of snapshots took, and says when
//! the [`Pace`] changes. Each change is one rung of a ladder, up or down. Up after a quarter of a second above [`HIGH`]; down
//! after two seconds in which the rung below would have stayed under [`LOW`] whatever it costs: a step takes a greater share
//! of a shorter tick, and half as many clients served twice as often take twice as long at most.
//!
//! At most, but mostly less: who is served half as often has more to be told each time. What it does cost is found out by
//! trying, where the present round would fit even so: if the rung below is too much within four seconds, the next try comes
//! after twice as long. So what is shed comes back where it fits, and the two limits do not chase each other.

mod regulator;

pub use regulator::{Change, Regulator};

/// Above this share of a tick's time, in percent, the pace goes down.
pub const HIGH: u32 = 90;
/// Below this share of a tick's time, in percent and as foreseen, the pace goes up again.
pub const LOW: u32 = 70;
/// The most that a single tick counts for, in percent: one stall is not a load.
const MOST: u32 = 200;
/// The mean goes back over so many ticks.
const MEMORY: u32 = 4;
/// Parts of a percent that the mean is kept in.
const PARTS: u32 = 256;
/// How long the mean must have been too high before the pace goes down, and how long too low before it goes up, in parts of
/// a second.
const WORSE_PER_S: u32 = 4;
const BETTER_S: u32 = 2;
/// A tick in which the rung below would not have been enough outweighs so many in which it would.
const SETBACK: u32 = 4;
/// A rung that was tried and held for so long is held to fit. What was put off comes first, so for a while it may take more.
const TRIAL_S: u32 = 4;
const LENIENT_S: u32 = 2;
/// After a try that failed the next one comes twice as late; so late at the most, in seconds.
const MAX_PATIENCE_S: u32 = 64;
/// Where the load is below this share of what it was at the try that failed, in percent, the next one comes early again.
const LESS: u32 = 75;

/// The rungs: one in so many clients is sent a snapshot in a tick, and what a tick takes in percent.
const LADDER: [Pace; 8] = [
    Pace::new(1, 100),
    Pace::new(2, 100),
    Pace::new(4, 100),
    Pace::new(4, 125),
    Pace::new(4, 150),
    Pace::new(4, 200),
    Pace::new(4, 300),
    Pace::new(4, 400),
];

/// How fast a zone goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Each client is sent a snapshot every so many ticks: 1, 2 or 4.
    pub divisor: u8,
    /// What a tick takes, in percent of what it takes by the rate: 100 to 400.
    pub dilation: u16,
}

impl Pace {
    /// The most that ticks are stretched, in percent.
    pub const MAX_DILATION: u16 = 400;
    /// The least of the ticks in which a client is sent a snapshot is one in so many.
    pub const MAX_DIVISOR: u8 = 4;

    /// Every client every tick, and ticks that take what they should.
    pub const FULL: Self = Self::new(1, 100);

    const fn new(divisor: u8, dilation: u16) -> Self {
        Self { divisor, dilation }
    }

    fn within(self, limits: Self) -> Self {
        Self { divisor: self.divisor.min(limits.divisor), dilation: self.dilation.min(limits.dilation) }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::FULL
    }
}

/// Which share of a tick's time was taken, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// By the step.
    pub step: u32,
    /// By the longest round of a worker: from its frame to the last datagram of it.
    pub round: u32,
}

/// Watches the load and sets the pace.
#[derive(Clone, Debug)]
struct Governor {
    limits: Pace,
    rate_hz: u32,
    rung: usize,
    /// Means in [`PARTS`] of a percent.
    step: u32,
    round: u32,
    /// Ticks in a row in which the mean was above [`HIGH`].
    above: u32,
    /// Ticks since the last change, and ticks in which the rung below would have been enough, and might have been; less
    /// [`SETBACK`] for each in which not.
    since: u32,
    calm: u32,
    hopeful: u32,
    /// The last change was a try: of the load at which it began.
    tried: Option<u32>,
    /// The load at which the last try began that failed, and the ticks from a change to the next try.
    failed: u32,
    patience: u32,
}

impl Governor {
    /// At full pace; it never goes beyond `limits`.
    fn new(rate_hz: u16, limits: Pace) -> Self {
        let limits = limits.within(Pace { divisor: Pace::MAX_DIVISOR, dilation: Pace::MAX_DILATION });
        let limits = Pace { divisor: limits.divisor.max(1), dilation: limits.dilation.max(100) };
        let rate_hz = rate_hz.into();
        Self {
            limits,
            rate_hz,
            rung: 0,
            step: 0,
            round: 0,
            above: 0,
            since: 0,
            calm: 0,
            hopeful: 0,
            tried: None,
            failed: 0,
            patience: rate_hz * BETTER_S,
        }
    }

    /// How fast the zone is to go.
    fn pace(&self) -> Pace {
        self.pace_of(self.rung)
    }

    /// A tick is over, whose time was taken so far: of what ticks take at the present pace, even where they do not yet,
    /// since changes are told ahead. The new pace, where it changes.
    fn on_tick(&mut self, share: Share) -> Option<Pace> {
        self.since += 1;
        let mean = |mean: u32, now: u32| (mean * (MEMORY - 1) + now.min(MOST) * PARTS) / MEMORY;
        (self.step, self.round) = (mean(self.step, share.step), mean(self.round, share.round));
        let worse = (self.rate_hz / WORSE_PER_S).max(1);
        let patience = if self.tried.is_some() { self.rate_hz * LENIENT_S } else { worse };
        self.above = if self.step.max(self.round) > HIGH * PARTS { self.above.saturating_add(1) } else { 0 };
        if self.above >= worse && self.since >= patience {
            return self.shed();
        }
        if self.tried.is_some() && self.since >= self.rate_hz * TRIAL_S {
            self.tried = None;
            self.patience = self.rate_hz * BETTER_S;
        }
        self.come_back()
    }

    fn shed(&mut self) -> Option<Pace> {
        let higher = self.higher()?;
        if let Some(load) = self.tried.take() {
            self.failed = load;
            self.patience = (self.patience * 2).min(self.rate_hz * MAX_PATIENCE_S);
        }
        self.go_to(higher)
    }

    fn come_back(&mut self) -> Option<Pace> {
        let lower = self.lower()?;
        let (at_most, at_least) = self.foreseen(self.pace_of(lower));
        let mostly =
            |ticks: u32, share: u32| if share < LOW * PARTS { ticks + 1 } else { ticks.saturating_sub(SETBACK) };
        (self.calm, self.hopeful) = (mostly(self.calm, at_most), mostly(self.hopeful, at_least));
        if self.calm >= self.rate_hz * BETTER_S {
            self.tried = None;
            return self.go_to(lower);
        }
        let load = self.step.max(self.round);
        if load < self.failed * LESS / 100 {
            (self.failed, self.patience) = (0, self.rate_hz * BETTER_S);
        }
        if self.hopeful >= self.patience {
            self.tried = Some(load);
            return self.go_to(lower);
        }
        None
    }

    fn go_to(&mut self, rung: usize) -> Option<Pace> {
        (self.rung, self.above, self.since, self.calm, self.hopeful) = (rung, 0, 0, 0, 0);
        // How much too much it was at the former pace says nothing of the new one.
        (self.step, self.round) = (self.step.min(LOW * PARTS), self.round.min(LOW * PARTS));
        Some(self.pace())
    }

    /// What of a tick would be taken at that pace, at the most and at the least.
    fn foreseen(&self, pace: Pace) -> (u32, u32) {
        let now = self.pace();
        let scaled = |share: u32, from: u32, to: u32| share * from / to.max(1);
        let all = scaled(self.round, now.divisor.into(), pace.divisor.into());
        let [at_most, at_least] =
            [all, self.round].map(|round| scaled(self.step.max(round), now.dilation.into(), pace.dilation.into()));
        (at_most, at_least)
    }

    fn pace_of(&self, rung: usize) -> Pace {
        LADDER.get(rung).copied().unwrap_or_default().within(self.limits)
    }

    fn higher(&self) -> Option<usize> {
        (self.rung + 1..LADDER.len()).find(|rung| self.pace_of(*rung) != self.pace())
    }

    fn lower(&self) -> Option<usize> {
        (0..self.rung).rev().find(|rung| self.pace_of(*rung) != self.pace())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const RATE: u16 = 20;
    const LIMITS: Pace = Pace { divisor: 4, dilation: 400 };

    /// A server of which a step takes `step` and a whole round `round` percent of a tick, on cores of their own; and a round
    /// to half as many clients `halved` percent of that.
    struct Server {
        governor: Governor,
        step: u32,
        round: u32,
        halved: u32,
        changes: Vec<Pace>,
        /// Ticks at each pace.
        ticks: BTreeMap<(u8, u16), u32>,
    }

    impl Server {
        fn new(limits: Pace) -> Self {
            let (changes, ticks) = (Vec::new(), BTreeMap::new());
            Self { governor: Governor::new(RATE, limits), step: 10, round: 10, halved: 50, changes, ticks }
        }

        fn run(&mut self, seconds: u32) {
            for _ in 0..seconds * u32::from(RATE) {
                let Pace { divisor, dilation } = self.governor.pace();
                let of_tick = |share: u32| share * 100 / u32::from(dilation);
                let round = (0..divisor.ilog2()).fold(self.round, |round, _| round * self.halved / 100);
                let share = Share { step: of_tick(self.step), round: of_tick(round) };
                *self.ticks.entry((divisor, dilation)).or_default() += 1;
                self.changes.extend(self.governor.on_tick(share));
            }
        }
    }

    #[test]
    fn an_idle_zone_goes_at_full_pace() {
        let mut server = Server::new(LIMITS);
        server.run(60);
        assert_eq!((server.changes.len(), server.governor.pace()), (0, Pace::FULL));
    }

    #[test]
    fn snapshots_are_shed_before_time_is_stretched_and_all_comes_back() {
        let mut server = Server::new(LIMITS);
        (server.step, server.round) = (150, 300);
        server.run(10);
        let shed: Vec<Pace> = server.changes.drain(..).collect();
        assert_eq!(shed[..3], [Pace::new(2, 100), Pace::new(4, 100), Pace::new(4, 125)]);
        // 150 % of a tick fits into one of 200 % with some room.
        assert_eq!(server.governor.pace(), Pace::new(4, 200));
        (server.step, server.round) = (20, 30);
        server.run(20);
        assert_eq!(server.governor.pace(), Pace::FULL);
        let dilations = server.changes.iter().map(|pace| pace.dilation);
        assert!(dilations.is_sorted_by(|a, b| a >= b), "{:?}", server.changes);
        assert_eq!(server.changes.first(), Some(&Pace::new(4, 150)), "time comes back first");
    }

    #[test]
    fn a_load_that_fits_on_one_rung_stays_there() {
        for (step, round) in [(10, 100), (10, 130), (10, 190), (50, 399), (95, 95), (120, 50), (350, 700), (10, 91)] {
            let mut server = Server::new(LIMITS);
            (server.step, server.round) = (step, round);
            server.run(10);
            server.changes.clear();
            server.ticks.clear();
            server.run(600);
            // But for what is tried, of which there was hope: in about 4, 8, 16, 32 s, and then once a minute.
            let tries = server.changes.len().div_ceil(2);
            assert!(tries <= 5 + 600 / 64, "{step} % and {round} %: {tries} tries");
            assert!(tries == 0 || (91..=280).contains(&round) && step < 50, "{step} % and {round} %: no hope");
            let there = server.ticks.values().max().copied().unwrap_or_default();
            assert!(there * 100 >= 600 * u32::from(RATE) * 94, "{step} % and {round} %: {:?}", server.ticks);
        }
    }

    #[test]
    fn what_costs_less_than_it_might_comes_back() {
        // As measured in crowds: who is served half as often has more to be told each time.
        for halved in [70, 80, 100] {
            let mut server = Server { halved, ..Server::new(LIMITS) };
            server.round = 500;
            server.run(2);
            assert_ne!(server.governor.pace(), Pace::FULL);
            server.round = 69;
            server.run(20);
            assert_eq!(server.governor.pace(), Pace::FULL, "{halved} %: {:?}", server.changes);
        }
    }

    #[test]
    fn where_tries_failed_a_load_that_gets_less_is_tried_soon() {
        let mut server = Server { halved: 70, ..Server::new(LIMITS) };
        server.round = 97;
        server.run(300);
        assert_eq!(server.governor.pace(), Pace { divisor: 2, ..Pace::FULL });
        assert!(server.governor.patience > 30 * u32::from(RATE));
        server.round = 68;
        server.run(4);
        assert_eq!(server.governor.pace(), Pace::FULL);
    }

    #[test]
    fn one_stall_sheds_nothing() {
        let mut server = Server::new(LIMITS);
        server.run(10);
        assert_eq!(server.governor.on_tick(Share { step: 100_000, round: 100_000 }), None);
        server.run(10);
        assert_eq!(server.changes, []);
    }

    /// It went two rungs too far: what it remembered of the pace before seemed to be too much for the new one.
    #[test]
    fn no_more_is_shed_than_is_needed() {
        for (step, round, needed) in
            [(50, 300, Pace::new(4, 100)), (10, 170, Pace::new(2, 100)), (99, 99, Pace::new(4, 125))]
        {
            let mut server = Server::new(LIMITS);
            (server.step, server.round) = (step, round);
            server.run(10);
            assert_eq!(server.changes.last(), Some(&needed), "{step} % and {round} %: {:?}", server.changes);
        }
    }

    /// What was shed for a moment in which the processor was busy elsewhere came back seconds later.
    #[test]
    fn a_few_long_rounds_shed_nothing() {
        let mut server = Server::new(LIMITS);
        server.round = 66;
        for (long, ticks) in [(110, 4), (150, 3), (400, 1)] {
            server.run(10);
            for _ in 0..ticks {
                assert_eq!(server.governor.on_tick(Share { step: 10, round: long }), None, "{ticks} of {long} %");
            }
        }
        server.run(10);
        assert_eq!(server.changes, []);
    }

    #[test]
    fn what_is_not_allowed_is_not_done() {
        for limits in [Pace::FULL, Pace::new(2, 100), Pace::new(1, 200), Pace::new(4, 100)] {
            let mut server = Server::new(limits);
            (server.step, server.round) = (5000, 5000);
            server.run(60);
            assert_eq!(server.governor.pace(), limits);
            (server.step, server.round) = (1, 1);
            server.run(60);
            assert_eq!(server.governor.pace(), Pace::FULL);
        }
    }

    #[test]
    fn where_time_is_short_the_pace_follows_within_two_seconds() {
        let mut server = Server::new(LIMITS);
        (server.step, server.round) = (380, 1000);
        server.run(2);
        assert_eq!(server.governor.pace(), LIMITS);
    }
}
