//! The end: counters are brought together, and must agree.

use client::Client;
use netcode::stats::Drops;
use sim::Refusal;

use super::super::report::{Broken, Report};
use super::Arena;
use crate::tell::causes;

impl Arena {
    /// Brings the counters together.
    pub(super) fn finish(mut self) -> Report {
        let stats = *self.network.stats();
        let vanished = stats.lost + stats.lost_in_burst + stats.blocked + stats.too_long + stats.queue_full;
        let vanished = vanished + stats.dead_address;
        let under_way = self.network.in_flight() as u64;
        if stats.sent + stats.duplicated != stats.delivered + vanished + under_way {
            self.violate(None, Broken::Accounting);
        }
        self.check_books();
        // Who ends a run does not want to wait for all of it to be run again.
        if !self.report.interrupted
            && let Err(after) = self.cluster.replay()
        {
            self.violate(None, Broken::ReplayDiffers { after });
        }
        let refusals = self.cluster.zone_stats().refusals;
        let shots = u64::from(refusals.of(Refusal::ViewTime));
        if shots > 0 && self.drawn.shows_fairly() {
            self.violate(None, Broken::ViewRefused { shots });
        }
        let done = self.hostiles.done;
        let faults = [
            ("lost", stats.lost),
            ("lost_in_burst", stats.lost_in_burst),
            ("blocked", stats.blocked),
            ("queue_full", stats.queue_full),
            ("dead_address", stats.dead_address),
            ("duplicated", stats.duplicated),
            ("reordered", stats.reordered),
            ("flipped", stats.flipped),
            ("truncated", stats.truncated),
            ("extended", stats.extended),
            ("spliced", stats.spliced),
            ("rebinds", stats.rebinds),
            ("too_long", stats.too_long),
            ("mtu_changes", self.mtu_changes),
            ("copied", done.copied),
            ("replayed", done.replayed),
            ("withheld", done.withheld),
            ("junk", done.junk),
        ];
        for (_, count) in faults {
            self.digest.fold(count);
        }
        let mut client_drops = Drops::default();
        for player in &self.players {
            client_drops.add(&player.drops);
            if let Some(client) = &player.client {
                client_drops.add(Client::drops(client));
            }
        }
        let named = |drops: &Drops| drops.iter().map(|(drop, count)| (drop.name(), count)).collect();
        let (roams, key_rolls) = (self.cluster.sum(|stats| stats.roams), self.cluster.sum(|stats| stats.key_rolls));
        self.digest.fold(roams);
        self.digest.fold(key_rolls);
        let counts = self.checker.counts;
        let corrections = self.players.iter().map(|player| player.corrections).sum();
        let agreed = self.players.iter().map(|player| player.agreement.equal).sum();
        let reached = [
            ("crowded", counts.crowded),
            ("cut", self.cluster.sum(|stats| stats.replica.cut)),
            ("refreshed", self.cluster.sum(|stats| stats.replica.refreshes)),
            ("without_slot", self.cluster.sum(|stats| stats.replica.no_slot)),
            ("compact", self.cluster.sum(|stats| stats.replica.compact)),
            ("retrained", self.cluster.sum(|stats| stats.replica.tables.saturating_sub(1))),
            ("tied", counts.tied),
            ("possessed", self.cluster.bonds.possessed),
            ("frames_missed", self.cluster.frames_missed),
            ("held", counts.held),
            ("fed", counts.fed),
            ("shots", self.rules.seen),
            ("heard", self.mail.heard),
            ("corrections", corrections),
            ("agreed", agreed),
            ("deaths", self.deaths),
            ("looted", self.looted),
        ];
        Report {
            corrections,
            refusals: causes(&refusals),
            roams,
            key_rolls,
            digest: format!("{:016x}", self.digest.get()),
            snapshots_checked: counts.snapshots,
            complete_snapshots: counts.complete,
            states_checked: counts.states,
            unchecked: counts.unchecked,
            unfeedable: counts.unfeedable,
            reached: reached.into_iter().collect(),
            faults: faults.into_iter().collect(),
            server_drops: named(&self.cluster.drops()),
            client_drops: named(&client_drops),
            inputs_missing: self.cluster.inputs_missing(),
            ..self.report
        }
    }

    /// What can only be seen at the end: datagrams that somebody lost count of, and nonces.
    fn check_books(&mut self) {
        let (delivered, counted) = (self.delivered_to_server, self.cluster.sum(|stats| stats.traffic.packets_in));
        if delivered != counted || self.cluster.drops().total() > counted {
            self.violate(None, Broken::Uncounted { delivered, counted });
        }
        #[cfg(debug_assertions)]
        {
            let repeats = netcode::crypto::nonce_log::report().repeats;
            netcode::crypto::nonce_log::stop();
            if repeats > 0 {
                self.violate(None, Broken::NonceRepeated { repeats });
            }
        }
    }
}
