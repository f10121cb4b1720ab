//! `--players max`: the most players that hold, and what stops more.

use crate::error::Error;
use crate::figures::{Bottleneck, Figures, Limit};
use crate::ramp::{GRAIN, Ramp};

/// What held for a step may not hold for longer: so often fewer are tried.
const LAST_TRIES: u32 = 4;

/// Climbs the ramp with `step`, and measures with `whole` what is found.
///
/// A step may break by chance: where no thread was short of time, it is made again. Where a process does not keep up at all
/// (not everybody gets in, the server prints no more), that number does not hold; at the first step it is an error.
pub fn climb(
    mut ramp: Ramp,
    mut step: impl FnMut(u16) -> Result<Figures, Error>,
    mut whole: impl FnMut(u16) -> Result<Figures, Error>,
) -> Result<Figures, Error> {
    let mut limit: Option<Limit> = None;
    while let Some(players) = ramp.next() {
        let first = limit.is_none() && ramp.held() == 0;
        let mut stopped = judge(step(players), players, first)?;
        if stopped.as_ref().is_some_and(|limit| limit.bottleneck == Bottleneck::Other && !limit.failed) {
            stopped = judge(step(players), players, first)?;
        }
        ramp.tried(players, stopped.is_none());
        limit = stopped.or(limit);
    }
    let mut players = ramp.held();
    if players == 0 {
        let (players, why) = limit.map_or((1, String::new()), |limit| (limit.players, limit.broken.join(", ")));
        return Err(Error::Nobody { players, why });
    }
    for _ in 1..LAST_TRIES {
        let figures = whole(players)?;
        if figures.broken().is_empty() {
            return Ok(figures.below(limit));
        }
        limit = Some(Limit::of(&figures));
        players = ((f64::from(players) * (1.0 - GRAIN)) as u16).max(1);
    }
    Ok(whole(players)?.below(limit))
}

/// Why that number did not hold; `None`: it did.
fn judge(tried: Result<Figures, Error>, players: u16, first: bool) -> Result<Option<Limit>, Error> {
    match tried {
        Ok(figures) if figures.broken().is_empty() => Ok(None),
        Ok(figures) => Ok(Some(Limit::of(&figures))),
        Err(Error::Child { who, what, .. }) if !first => {
            let broken = vec![format!("{who} {what}")];
            Ok(Some(Limit { players, broken, bottleneck: Bottleneck::Other, failed: true }))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::run;

    /// A machine that holds so many; `whole` runs hold less.
    fn measured(players: u16, ceiling: u16) -> Result<Figures, Error> {
        Ok(if players <= ceiling { run(players, [0.5, 0.5], 1.0) } else { run(players, [0.5, 0.99], 9.0) })
    }

    #[test]
    fn it_ends_and_says_what_stopped_it_and_that_it_was_the_bots() {
        let figures =
            climb(Ramp::new(9936), |players| measured(players, 3300), |players| measured(players, 3300)).unwrap();
        assert!((3100..=3300).contains(&figures.players()), "{}", figures.players());
        let json = figures.json();
        assert_eq!((&json["held"], &json["bottleneck"]), (&true.into(), &"bots".into()));
        assert!(json["limit_players"].as_u64().unwrap() > 3300);
        assert_eq!(json["limit_broken"][0], "staleness p99 above 2 ticks");
    }

    #[test]
    fn a_step_that_breaks_by_chance_is_made_again() {
        let mut tries = 0;
        let step = |players| {
            tries += 1;
            Ok(if tries == 2 { run(players, [0.2, 0.2], 9.0) } else { run(players, [0.2, 0.2], 1.0) })
        };
        let figures = climb(Ramp::new(2000), step, |players| measured(players, 2000)).unwrap();
        assert_eq!(figures.players(), 2000);
    }

    #[test]
    fn where_not_everybody_gets_in_the_climb_goes_on_below() {
        let failed = || Error::Child { who: "the bots", what: "did not all get in".into(), said: Vec::new() };
        let step = |players| if players > 1000 { Err(failed()) } else { measured(players, 9999) };
        let figures = climb(Ramp::new(9936), step, |players| measured(players, 9999)).unwrap();
        assert_eq!(figures.players(), 1000);
        assert_eq!(figures.json()["limit_broken"][0], "the bots did not all get in");
        assert!(climb(Ramp::new(9936), |_| Err(failed()), |players| measured(players, 1)).is_err());
    }

    #[test]
    fn what_held_for_a_step_only_is_not_reported_as_held() {
        let figures =
            climb(Ramp::new(1000), |players| measured(players, 1000), |players| measured(players, 960)).unwrap();
        assert_eq!((figures.players(), figures.broken().len()), (950, 0));
        assert_eq!(figures.json()["limit_players"], 1000);
        let figures =
            climb(Ramp::new(1000), |players| measured(players, 1000), |players| measured(players, 1)).unwrap();
        assert!(!figures.broken().is_empty());
    }
}
