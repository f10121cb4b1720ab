//! After the faults: everything converges, then everyone leaves.

use super::super::agreement::Agreement;
use super::super::checker::UNKNOWN_CALM_S;
use super::super::options::calm;
use super::super::report::Broken;
use super::{Arena, FAREWELL_S, LIVENESS_S, Stop, allowance, subject};
use client::Client;
use core::ops::ControlFlow;
use netcode::Time;

/// After all has converged, so many virtual seconds are played on.
const STRICT_S: u64 = 3;
/// Then, for so many, nobody wants anything.
const REST_S: u64 = 2;
/// More bytes than any record has.
const LONGEST_RECORD: usize = 48;

impl Arena {
    /// Ends all faults of the network, and all churn.
    pub(super) fn heal(&mut self) {
        self.faulty = false;
        self.faults.stop();
        self.cluster.calm();
        // The others go on: with a good network, they must not keep anybody from playing.
        for index in self.hostiles.relent() {
            if let Some(player) = self.players.get_mut(index) {
                player.deaf_until = Some(self.now);
            }
        }
        self.network.heal();
        self.network.reset_links(calm());
        self.shorten_ways();
        for player in &mut self.players {
            if player.client.is_some() {
                player.turn = Time::NEVER;
            }
        }
    }

    /// The liveness phase.
    pub(super) fn converge(&mut self, stop: Stop<'_>) -> ControlFlow<()> {
        let rate = u64::from(self.drawn.rate);
        // Looked at twice a second: it is not cheap.
        let every = (rate / 2).max(1);
        for ticks in 1..=u64::from(LIVENESS_S) * rate {
            self.step_unless(stop)?;
            if ticks.is_multiple_of(every) && self.missing().is_none() {
                self.report.converged_after_s = ticks.div_ceil(rate);
                return self.play_on(stop);
            }
        }
        self.report.converged_after_s = LIVENESS_S.into();
        if let Some((client, what)) = self.missing() {
            self.violate(client, what);
        }
        ControlFlow::Continue(())
    }

    /// All has converged: for some seconds nobody may starve.
    fn play_on(&mut self, stop: Stop<'_>) -> ControlFlow<()> {
        self.strict = true;
        for _ in 0..STRICT_S * u64::from(self.drawn.rate) {
            self.step_unless(stop)?;
        }
        self.strict = false;
        self.rest(stop)
    }

    /// Nobody wants anything any more: what was told is heard by now, and what is predicted is what happens.
    fn rest(&mut self, stop: Stop<'_>) -> ControlFlow<()> {
        let rate = u64::from(self.drawn.rate);
        self.players.iter_mut().for_each(|player| player.rests = true);
        // A clock that was far behind takes long to catch up.
        for ticks in 1..=u64::from(LIVENESS_S) * rate {
            self.step_unless(stop)?;
            if ticks >= REST_S * rate && ticks.is_multiple_of(rate) && self.at_odds().is_empty() {
                break;
            }
        }
        for (index, what) in self.at_odds() {
            self.violate(Some(index), what);
        }
        self.players.iter_mut().for_each(|player| player.rests = false);
        ControlFlow::Continue(())
    }

    /// Clients that did not hear what they were told, or predict something else than what happens.
    fn at_odds(&self) -> Vec<(usize, Broken)> {
        let (tick, rate) = (self.cluster.tick(), u64::from(self.drawn.rate));
        let mut broken = Vec::new();
        for (index, player) in self.players.iter().enumerate() {
            let conn = player.client.as_ref().filter(|_| player.is_connected()).and_then(Client::conn);
            let Some(conn) = conn else { continue };
            broken.extend(self.mail.lost(conn, tick.saturating_sub(rate)).map(|what| (index, what)));
            // Right now and then is not enough: for half a second, all that is predicted must come true.
            let lately = |at: Option<u64>| at.is_some_and(|at| at + rate / 2 >= tick);
            let Agreement { agreed, differed, .. } = player.agreement;
            if !lately(agreed) || lately(differed) {
                let predicted = differed.unwrap_or(0);
                broken.push((index, Broken::PredictionDiffers { predicted }));
            }
        }
        broken
    }

    /// The first thing that has not converged.
    fn missing(&mut self) -> Option<(Option<usize>, Broken)> {
        let seconds = LIVENESS_S;
        let tick = self.cluster.tick();
        for (index, player) in self.players.iter().enumerate() {
            let client = player.client.as_ref().filter(|_| player.is_connected() && player.welcomed);
            let Some(client) = client.filter(|_| !player.is_leaving()) else {
                return Some((Some(index), Broken::NotConnected { seconds }));
            };
            let fresh = client.view().tick().is_some_and(|newest| newest + 2 >= tick);
            let Some(subject) = subject(&self.history, &self.cluster, player, false) else { continue };
            let allowance = allowance(&self.drawn, &self.cluster, self.now, index, player);
            let complete = client.view().complete() || {
                // In a crowd no snapshot is complete, nor is one that the budget cut.
                let excused = subject.crowded() || player.pace.bytes + LONGEST_RECORD > allowance.room;
                excused && self.checker.starving(&subject, allowance).is_none()
            };
            if !fresh || !complete || client.own_entity().is_none() {
                return Some((Some(index), Broken::NotComplete { seconds }));
            }
            if let Some(unknown) = self.checker.unknown(&subject, UNKNOWN_CALM_S) {
                return Some((Some(index), unknown));
            }
        }
        let (connections, players) = (self.cluster.connections(), self.cluster.players());
        let all = self.players.len() as u64;
        (connections != all || players != all).then_some((None, Broken::NotDrained { connections, players, seconds }))
    }

    /// Everyone leaves, and nothing may remain.
    pub(super) fn leave(&mut self, stop: Stop<'_>) -> ControlFlow<()> {
        self.farewell = true;
        self.hostiles.stop();
        for index in 0..self.players.len() {
            if let Some(player) = self.players.get_mut(index) {
                player.leave(self.now);
            }
            self.after(index);
        }
        for _ in 0..u64::from(FAREWELL_S) * u64::from(self.drawn.rate) {
            self.step_unless(stop)?;
            let gone = self.players.iter().all(|player| player.client.is_none());
            if gone && self.cluster.connections() == 0 && self.cluster.players() == 0 && self.network.in_flight() == 0 {
                break;
            }
        }
        let (connections, players) = (self.cluster.connections(), self.cluster.players());
        if connections > 0 || players > 0 {
            self.violate(None, Broken::NotDrained { connections, players, seconds: FAREWELL_S });
        }
        ControlFlow::Continue(())
    }
}
