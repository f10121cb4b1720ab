//! What is counted in every scenario.

use client::Event;
use sim::event::What;
use sim::schema::PLAYER;

use super::outcome::Outcome;
use super::rig::{Rig, Scene, Seat};
use crate::tell::causes;

/// Corrections that are kept for the percentile: of more, only the first ones have a rank.
const MAX_SIZES: usize = 1 << 20;

/// Counts what clients and server tell.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// By how much bodies were corrected, in metres.
    sizes: Vec<f32>,
    shots: u64,
    deaths: u64,
    damage: u64,
    looted: u64,
    /// Looks at others, and those that had to guess.
    looks: u64,
    starved: u64,
    /// Sum and number of view delays, in ticks.
    delays: (f64, u64),
}

impl Meter {
    /// A client tells something.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Corrected { metres } if self.sizes.len() < MAX_SIZES => self.sizes.push(*metres),
            Event::Fired { .. } => self.shots += 1,
            _ => {}
        }
    }

    /// The server tells a player something.
    pub(super) fn told(&mut self, what: What) {
        match what {
            What::Shot { damage, .. } => self.damage += u64::from(damage),
            What::Died { .. } => self.deaths += 1,
            What::Looted { .. } => self.looted += 1,
            What::Hurt { .. } | What::Respawned | What::Progress { .. } | What::Refused { .. } => {}
        }
    }

    /// A player looks at the others.
    pub(super) fn look(&mut self, scene: &Scene<'_>, seat: &Seat) {
        let Some(render) = seat.client.render_tick(scene.now) else { return };
        if let Some((tick, _)) = seat.client.predicted() {
            self.delays.0 += tick as f64 - render;
            self.delays.1 += 1;
        }
        let own = seat.client.own().map_or(0, |own| own.raw());
        let others = seat.client.view().entities();
        for entity in others.filter(|entity| entity.id() != own && entity.kind() == PLAYER) {
            self.looks += 1;
            let pose = seat.client.interpolate(scene.now, entity.id());
            self.starved += u64::from(pose.is_some_and(|pose| pose.starved));
        }
    }

    /// The figures, brought together with those of the clients and the zone.
    pub(super) fn finish(mut self, rig: &Rig, outcome: &mut Outcome) {
        self.sizes.sort_unstable_by(f32::total_cmp);
        let minutes = outcome.seconds as f64 / 60.0 * rig.seats.len().max(1) as f64;
        outcome.correction_m_p99 = round(f64::from(quantile(&self.sizes, 0.99)));
        (outcome.shots, outcome.damage, outcome.deaths, outcome.looted) =
            (self.shots, self.damage, self.deaths, self.looted);
        let zone = rig.cluster.zone_stats();
        (outcome.inputs_late, outcome.inputs_missing) = (zone.inputs_late, rig.cluster.inputs_missing());
        let mut predicted = 0;
        for seat in &rig.seats {
            let stats = seat.client.stats();
            outcome.inputs += stats.inputs;
            outcome.joined += u64::from(seat.client.own().is_some());
            outcome.resyncs += stats.resyncs;
            outcome.corrections += stats.corrections;
            outcome.cuts += stats.cuts;
            outcome.adoptions += stats.adoptions;
            outcome.restarts += stats.restarts;
            outcome.replayed_share += stats.replayed as f64;
            predicted += stats.predicted;
            outcome.correction_m_max = outcome.correction_m_max.max(f64::from(stats.correction_m));
            if let Some(reason) = seat.ended {
                outcome.disconnected += 1;
                *outcome.ends.entry(reason.to_string()).or_default() += 1;
            }
        }
        outcome.correction_m_max = round(outcome.correction_m_max);
        outcome.corrections_per_minute = round(outcome.corrections as f64 / minutes);
        outcome.replayed_share = round(outcome.replayed_share / predicted.max(1) as f64);
        let period_ms = 1000.0 / outcome.rate_hz.max(1) as f64;
        outcome.view_delay_ms = round(self.delays.0 / self.delays.1.max(1) as f64 * period_ms);
        outcome.starved_share = round(self.starved as f64 / self.looks.max(1) as f64);
        outcome.refusals = causes(&zone.refusals);
        outcome.digest = format!("{:016x}", rig.digest.get());
    }
}

/// The value below which that share of a sorted list lies.
pub(super) fn quantile(sorted: &[f32], share: f64) -> f32 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Rounded to a thousandth: what is told has no more meaning than that.
pub(super) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_of_a_hundred_is_the_99th() {
        let sizes: Vec<f32> = (1..=100u8).map(f32::from).collect();
        assert_eq!((quantile(&sizes, 0.99), quantile(&sizes, 1.0), quantile(&sizes, 0.001)), (99.0, 100.0, 1.0));
        assert_eq!((quantile(&[], 0.99), quantile(&[3.0], 0.99)), (0.0, 3.0));
    }
}
