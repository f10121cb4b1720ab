//! Datagrams: from the network to the ends, and from the ends to the network.

use core::time::Duration;

use netcode::channel::SNAPSHOT;
use netcode::emulator::{Datagram, LinkConfig};
use netcode::handshake::{ACCEPT, HELLO, REFUSE, RETRY};
use netcode::packet::{DATA_FLAGS, MAX_DATAGRAM};

use super::super::cluster::{Cluster, unix_ms};
use super::super::hostile::{Shot, Victim, is_lair};
use super::super::options::Planted;
use super::super::player::{Player, Seals, client_at, inside};
use super::super::report::Broken;
use super::Arena;

/// The delay from a hostile client that copies to the server.
const NEAR: Duration = Duration::from_micros(500);

/// The snapshots of a datagram.
#[derive(Clone, Copy, Debug, Default)]
struct Bodies {
    snapshots: usize,
    /// Tick and length of the last.
    newest: Option<(u64, usize)>,
}

impl Bodies {
    fn see(&mut self, channel: u8, tick: Option<u64>, bytes: &[u8]) {
        if channel == SNAPSHOT {
            self.snapshots += 1;
            self.newest = Some((tick.unwrap_or(0), bytes.len()));
        }
    }
}

impl Arena {
    pub(super) fn deliver(&mut self, datagram: Datagram) {
        self.report.delivered += 1;
        self.digest.fold(self.now.as_micros());
        self.digest.fold(datagram.bytes.len() as u64);
        if let Some(shard) = Cluster::shard_at(datagram.to) {
            self.deliver_to_server(shard, datagram);
        } else if let Some(index) = client_at(datagram.to) {
            self.deliver_to_client(index, datagram);
        }
    }

    fn deliver_to_server(&mut self, shard: usize, mut datagram: Datagram) {
        let sender = client_at(datagram.from).and_then(|index| self.players.get(index));
        let forged = if is_lair(datagram.from) {
            !self.hostiles.copied(&datagram.bytes)
        } else {
            self.is_forged(&datagram.bytes, sender.map(|player| &player.to_server))
        };
        if self.options.planted == Some(Planted::MovesIgnored) {
            datagram.from = client_at(datagram.from).map_or(datagram.from, inside);
        }
        self.delivered_to_server += 1;
        self.ledger.received(datagram.from, &datagram.bytes);
        let Some(server) = self.cluster.shard_mut(shard) else { return };
        // A damaged HELLO may be asked for a cookie, or answered as the one it repeats; data is dropped.
        let data = datagram.bytes.first().is_some_and(|flags| flags & DATA_FLAGS != 0);
        let before = forged.then(|| server.stats());
        server.handle_datagram(self.now, unix_ms(self.now), datagram.from, &mut datagram.bytes, &mut self.entropy);
        if let Some(before) = before {
            let after = server.stats();
            self.report.forgeries += 1;
            let dropped = !data || after.drops.total() > before.drops.total();
            if after.accepted > before.accepted || after.inputs > before.inputs || !dropped {
                self.violate(client_at(datagram.from), Broken::ForgeryAccepted { by_server: true });
            }
        }
        self.pass_on(shard);
        self.flush_shard(shard);
    }

    fn deliver_to_client(&mut self, index: usize, mut datagram: Datagram) {
        self.digest.fold(index as u64);
        if self.hostiles.ignores(index, &datagram.bytes) {
            return;
        }
        let seals = self.players.get(index).map(|player| &player.to_client);
        let forged = self.is_forged(&datagram.bytes, seals);
        let Some(player) = self.players.get_mut(index) else { return };
        let Some(client) = &mut player.client else { return };
        let digest = &mut self.digest;
        let mut bodies = Bodies::default();
        let mut tap = |channel: u8, tick: Option<u64>, bytes: &[u8]| {
            digest.fold(channel.into());
            digest.fold(tick.unwrap_or(u64::MAX));
            digest.bytes(bytes);
            bodies.see(channel, tick, bytes);
        };
        // These two are not sealed: they only echo what the client sent.
        let unsealed = matches!(datagram.bytes.first(), Some(&RETRY | &REFUSE));
        let before = client.drops().total();
        client.handle_datagram_tapped(self.now, &mut datagram.bytes, &mut tap);
        if forged {
            self.report.forgeries += 1;
            if client.drops().total() == before && !unsealed {
                self.violate(Some(index), Broken::ForgeryAccepted { by_server: false });
            }
        }
        self.check_bodies(index, &bodies);
        self.after(index);
    }

    /// At most one snapshot comes in a datagram, the whole of it and no longer than it may be.
    fn check_bodies(&mut self, index: usize, bodies: &Bodies) {
        let Some((snapshot, bytes)) = bodies.newest else { return };
        if let Some(player) = self.players.get_mut(index) {
            player.pace.bytes = bytes;
        }
        self.report.snapshot_bytes += bytes as u64;
        self.report.longest_snapshot = self.report.longest_snapshot.max(bytes as u64);
        let most = self.drawn.tight.budget(index, self.drawn.snapshot_bytes, self.drawn.rate);
        if bytes > most {
            self.violate(Some(index), Broken::BudgetExceeded { snapshot, bytes, most });
        }
        if bodies.snapshots != 1 {
            self.violate(Some(index), Broken::NotOneSnapshot { snapshots: bodies.snapshots });
        }
    }

    fn is_forged(&self, datagram: &[u8], seals: Option<&Seals>) -> bool {
        if self.options.planted == Some(Planted::SealForgotten) && self.report.delivered.is_multiple_of(1000) {
            return true;
        }
        self.forges() && !seals.is_some_and(|seals| seals.knows(datagram))
    }

    /// Whether anything but the ends makes datagrams. If not, there is no need to look, which is not free.
    const fn forges(&self) -> bool {
        self.drawn.link.corrupt > 0.0 || self.drawn.hostile.is_some()
    }

    pub(super) fn flush_client(&mut self, index: usize) {
        let mut out = [0; MAX_DATAGRAM];
        let forges = self.forges();
        let Some(player) = self.players.get_mut(index) else { return };
        let server = Cluster::address(player.shard);
        while let Some(len) = player.client.as_mut().and_then(|client| client.poll_transmit(self.now, &mut out)) {
            if self.options.planted == Some(Planted::PhaseForgotten) && out[0] & DATA_FLAGS != 0 {
                out[0] = DATA_FLAGS;
            }
            let datagram = out.get(..len).unwrap_or_default();
            if forges {
                player.to_server.sealed(datagram);
            }
            self.network.send(self.now, inside(index), server, datagram);
            let settled = player.snapshots > 0 || datagram.first() == Some(&HELLO);
            if let Some(copier) = self.hostiles.see(inside(index), server, datagram, settled) {
                self.network.send(self.now, copier, server, datagram);
            }
        }
    }

    pub(super) fn flush_shards(&mut self) {
        for shard in 0..self.cluster.shards() {
            self.pass_on(shard);
            self.flush_shard(shard);
        }
    }

    fn flush_shard(&mut self, shard: usize) {
        let mut out = [0; MAX_DATAGRAM];
        let forges = self.forges();
        let from = Cluster::address(shard);
        while let Some((to, len)) =
            self.cluster.shard_mut(shard).and_then(|server| server.poll_transmit(self.now, &mut out))
        {
            let datagram = out.get(..len).unwrap_or_default();
            let player = client_at(to).and_then(|index| self.players.get_mut(index));
            if let Some(player) = player.filter(|_| forges) {
                player.to_client.sealed(datagram);
            }
            let _ = self.hostiles.see(from, to, datagram, false);
            let answer = matches!(datagram.first(), Some(&(RETRY | ACCEPT | REFUSE)));
            let times = if answer && self.options.planted == Some(Planted::AnswersRepeated) { 9 } else { 1 };
            for _ in 0..times {
                self.network.send(self.now, from, to, datagram);
                if let Some(broken) = self.ledger.sent(to, datagram) {
                    self.violate(client_at(to), broken);
                }
            }
        }
    }

    /// Who copies is near the server: most copies overtake what they are copies of.
    pub(super) fn shorten_ways(&mut self) {
        for lair in self.hostiles.lairs() {
            for shard in 0..self.cluster.shards() {
                self.network.set_link(
                    lair,
                    Cluster::address(shard),
                    LinkConfig { delay: NEAR, ..LinkConfig::default() },
                );
            }
        }
    }

    /// What hostile clients send in a tick beside playing.
    pub(super) fn send_hostile(&mut self) {
        if !self.hostiles.strikes() {
            return;
        }
        let victim = |(index, player): (usize, &Player)| {
            let conn = player.client.as_ref()?.conn()?;
            Some(Victim { conn, inside: inside(index), server: Cluster::address(player.shard) })
        };
        let victims: Vec<_> = self.players.iter().enumerate().filter_map(victim).collect();
        for Shot { from, to, bytes, sealed } in self.hostiles.strike(&victims) {
            // What was sealed long ago is known again.
            if let Some(player) = client_at(to).and_then(|index| self.players.get_mut(index)).filter(|_| sealed) {
                player.to_client.sealed(&bytes);
            } else if let Some(player) =
                client_at(from).and_then(|index| self.players.get_mut(index)).filter(|_| sealed)
            {
                player.to_server.sealed(&bytes);
            }
            self.network.send(self.now, from, to, &bytes);
        }
    }
}
