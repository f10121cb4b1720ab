//! The run of an arena: events in the order of their times, a tick at a time.

use core::net::SocketAddr;
use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use client::Client;
use netcode::Time;
use netcode::crypto::Entropy;
use netcode::emulator::{Datagram, Emulator};
use netcode::error::{CloseReason, DisconnectReason};
use netcode::handshake::{REFUSE, RETRY};
use netcode::packet::{DATA_FLAGS, MAX_DATAGRAM};
use netcode::rng::Rng;
use netcode::stats::Drops;
use sim::ConfigError;

use super::checker::{Checker, UNKNOWN_CALM_S};
use super::cluster::{Cluster, period, unix_ms};
use super::digest::Digest;
use super::faults::{Fault, Faults};
use super::history::History;
use super::options::{Drawn, Options, Planted, calm};
use super::player::{Change, Player, client_at, inside, outside};
use super::report::{Broken, Report, Violation};
use crate::behavior::Pilot;
use crate::entropy::Seeded;

/// Everything must have converged that many virtual seconds after the faults.
pub const LIVENESS_S: u32 = 30;
/// Everyone must be gone that many virtual seconds after all have left: the idle time-out, and something.
const FAREWELL_S: u32 = 15;
/// Everyone joins within this at the start.
const JOINING: Duration = Duration::from_secs(1);

/// A cluster and its clients on virtual time.
pub struct Arena {
    options: Options,
    drawn: Drawn,
    now: Time,
    next_tick: Time,
    cluster: Cluster,
    players: Vec<Player>,
    timers: BinaryHeap<Reverse<(Time, usize)>>,
    network: Emulator,
    faults: Faults,
    history: History,
    checker: Checker,
    entropy: Seeded,
    digest: Digest,
    report: Report,
    /// Whether there are faults and churn: the safety phase.
    faulty: bool,
    /// Whether all are to leave: the end.
    farewell: bool,
    spawned: Vec<u32>,
    broken: Vec<Broken>,
}

impl Arena {
    /// Draws everything from the seed; nothing has happened yet. `outside` gives the X25519 keys.
    ///
    /// # Errors
    /// [`ConfigError`], when no world can be made (too many clients).
    pub fn new(options: Options, outside: Box<dyn Entropy>) -> Result<Self, ConfigError> {
        let rng = Rng::new(options.seed);
        let drawn = Drawn::new(&options);
        let cluster = Cluster::new(&drawn, options.clients, &rng)?;
        let checker = Checker::new(cluster.aoi, drawn.rate, cluster.max_known, options.planted);
        let mut network = Emulator::new(rng.fork("network").seed());
        network.set_default(drawn.link);
        let now = Time::ZERO;
        let mut behaviors = rng.fork("behaviors");
        let players = (0..options.clients).map(|index| {
            let rng = rng.fork(&format!("player {index}"));
            let pilot = Pilot::new(drawn.behavior(&mut behaviors), rng.fork("pilot"));
            let mut joins = rng.fork("join");
            let turn = now + Duration::from_micros(joins.below(JOINING.as_micros() as u64));
            Player::new(index % cluster.shards(), pilot, joins, turn)
        });
        let mut arena = Self {
            options,
            drawn,
            now,
            next_tick: now,
            players: players.collect(),
            timers: BinaryHeap::new(),
            network,
            faults: Faults::new(&drawn, options.clients, &rng, now),
            history: History::default(),
            checker,
            entropy: Seeded::new(rng.fork("entropy"), outside),
            digest: Digest::default(),
            report: Report { seed: options.seed, clients: options.clients as u64, ..Report::default() },
            faulty: options.faults,
            farewell: false,
            spawned: Vec::new(),
            broken: Vec::new(),
            cluster,
        };
        for index in 0..arena.players.len() {
            arena.reschedule(index);
        }
        Ok(arena)
    }

    /// What the seed drew.
    #[must_use]
    pub const fn drawn(&self) -> &Drawn {
        &self.drawn
    }

    /// The server's newest tick.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.cluster.tick()
    }

    /// Clients connected now.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.players.iter().filter(|player| player.is_connected()).count()
    }

    /// The report so far; counters are brought up to date at the end of [`Arena::run`].
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Runs all phases.
    #[must_use]
    pub fn run(mut self) -> Report {
        let rate = u64::from(self.drawn.rate);
        for _ in 0..u64::from(self.options.seconds) * rate {
            self.step_tick();
        }
        self.heal();
        self.converge();
        self.leave();
        self.finish()
    }

    /// Everything up to the server's next tick, and that tick.
    pub fn step_tick(&mut self) {
        let until = self.next_tick;
        self.next_tick = until + period(self.drawn.rate);
        while let Some(at) = self.next_event().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            while let Some(datagram) = self.network.poll(self.now) {
                self.deliver(datagram);
            }
            self.run_timers();
            if self.cluster.handle_timeouts(self.now) {
                self.flush_shards();
            }
            while let Some(fault) = self.faults.poll(self.now) {
                self.strike(&fault);
            }
        }
        self.now = until;
        let frame = self.cluster.step(self.now);
        self.history.push(frame);
        self.digest.fold(self.cluster.digest());
        self.report.ticks += 1;
        self.flush_shards();
    }

    fn next_event(&self) -> Option<Time> {
        let timer = self.timers.peek().map_or(Time::NEVER, |Reverse((at, _))| *at);
        let network = self.network.next_delivery().unwrap_or(Time::NEVER);
        let next = network.min(timer).min(self.cluster.next_timeout()).min(self.faults.next());
        (next != Time::NEVER).then_some(next)
    }

    fn deliver(&mut self, datagram: Datagram) {
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
        let forged = self.is_forged(&datagram.bytes, sender.map(|player| &player.to_server));
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
        let seals = self.players.get(index).map(|player| &player.to_client);
        let forged = self.is_forged(&datagram.bytes, seals);
        let Some(player) = self.players.get_mut(index) else { return };
        let Some(client) = &mut player.client else { return };
        let digest = &mut self.digest;
        let mut tap = |channel: u8, tick: Option<u64>, bytes: &[u8]| {
            digest.fold(channel.into());
            digest.fold(tick.unwrap_or(u64::MAX));
            digest.bytes(bytes);
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
        self.after(index);
    }

    fn is_forged(&self, datagram: &[u8], seals: Option<&super::player::Seals>) -> bool {
        if self.options.planted == Some(Planted::SealForgotten) && self.report.delivered.is_multiple_of(1000) {
            return true;
        }
        // Only corruption forges, and looking is not free.
        self.drawn.link.corrupt > 0.0 && !seals.is_some_and(|seals| seals.knows(datagram))
    }

    fn run_timers(&mut self) {
        while let Some(Reverse((at, index))) = self.timers.peek().copied()
            && at <= self.now
        {
            self.timers.pop();
            let Some(player) = self.players.get_mut(index).filter(|player| player.scheduled == at) else { continue };
            player.scheduled = Time::NEVER;
            player.handle_timeout(self.now);
            if player.turn <= self.now {
                player.turn = Time::NEVER;
                if player.client.is_some() {
                    player.leave(self.now);
                } else if !self.farewell {
                    self.join(index);
                }
            }
            self.after(index);
        }
    }

    fn join(&mut self, index: usize) {
        let Some(player) = self.players.get_mut(index) else { return };
        let bundle = self.cluster.issue(self.now, index, player.shard, &mut self.entropy);
        let ephemeral = self.entropy.ephemeral();
        match (bundle, ephemeral) {
            (Ok(bundle), Ok(ephemeral)) => player.connect(self.now, &bundle, ephemeral),
            // No randomness from outside for now.
            _ => player.turn = self.now + JOINING,
        }
    }

    /// Whatever follows from something that happened to a client.
    fn after(&mut self, index: usize) {
        let churn = self.faulty;
        self.spawned.clear();
        let Some(player) = self.players.get_mut(index) else { return };
        match player.drain(self.now, churn, &mut self.spawned) {
            Some(Change::Connected) => self.report.connects += 1,
            Some(Change::Ended(reason)) => self.ended(index, reason),
            None => {}
        }
        self.check(index);
        self.flush_client(index);
        if let Some(player) = self.players.get_mut(index) {
            player.retire(self.now);
        }
        self.reschedule(index);
    }

    fn ended(&mut self, index: usize, reason: DisconnectReason) {
        *self.report.ends.entry(reason.to_string()).or_default() += 1;
        let protocol = CloseReason::ProtocolError;
        if reason == DisconnectReason::Local(protocol) || reason == DisconnectReason::ByPeer(protocol) {
            self.violate(Some(index), Broken::ProtocolError);
        }
    }

    fn check(&mut self, index: usize) {
        let Some(player) = self.players.get_mut(index) else { return };
        let Some(client) = &player.client else { return };
        let snapshots = client.stats().snapshots;
        if std::mem::replace(&mut player.snapshots, snapshots) == snapshots {
            return;
        }
        let mut broken = std::mem::take(&mut self.broken);
        self.checker.check(&self.history, client, &self.spawned, &mut broken);
        for what in broken.drain(..) {
            self.violate(Some(index), what);
        }
        self.broken = broken;
    }

    fn flush_client(&mut self, index: usize) {
        let mut out = [0; MAX_DATAGRAM];
        let Some(player) = self.players.get_mut(index) else { return };
        let server = Cluster::address(player.shard);
        while let Some(len) = player.client.as_mut().and_then(|client| client.poll_transmit(self.now, &mut out)) {
            let datagram = out.get(..len).unwrap_or_default();
            if self.drawn.link.corrupt > 0.0 {
                player.to_server.sealed(datagram);
            }
            self.network.send(self.now, inside(index), server, datagram);
        }
    }

    fn flush_shards(&mut self) {
        for shard in 0..self.cluster.shards() {
            self.pass_on(shard);
            self.flush_shard(shard);
        }
    }

    fn flush_shard(&mut self, shard: usize) {
        let mut out = [0; MAX_DATAGRAM];
        let from = Cluster::address(shard);
        while let Some((to, len)) =
            self.cluster.shard_mut(shard).and_then(|server| server.poll_transmit(self.now, &mut out))
        {
            let datagram = out.get(..len).unwrap_or_default();
            let player = client_at(to).and_then(|index| self.players.get_mut(index));
            if let Some(player) = player.filter(|_| self.drawn.link.corrupt > 0.0) {
                player.to_client.sealed(datagram);
            }
            self.network.send(self.now, from, to, datagram);
        }
    }

    fn pass_on(&mut self, shard: usize) {
        if let Some(input) = self.cluster.pass_on(shard, &mut self.digest) {
            self.violate(None, Broken::InputsOutOfOrder { input });
        }
    }

    fn strike(&mut self, fault: &Fault) {
        match fault {
            Fault::Partition { clients, up, down, until } => {
                for index in clients {
                    let Some(player) = self.players.get(*index) else { continue };
                    let (client, server): (SocketAddr, _) = (inside(*index), Cluster::address(player.shard));
                    if *up {
                        self.network.block(client, server, *until);
                    }
                    if *down {
                        self.network.block(server, client, *until);
                    }
                }
            }
            Fault::Rebind { client } => {
                if let Some(player) = self.players.get_mut(*client) {
                    player.rebinds = player.rebinds.wrapping_add(1);
                    self.network.rebind(inside(*client), outside(*client, player.rebinds));
                }
            }
        }
    }

    fn reschedule(&mut self, index: usize) {
        let Some(player) = self.players.get_mut(index) else { return };
        let due = player.due();
        if due < player.scheduled {
            player.scheduled = due;
            self.timers.push(Reverse((due, index)));
        }
    }

    fn violate(&mut self, client: Option<usize>, what: Broken) {
        self.report.violate(&Violation { tick: self.cluster.tick(), client, what });
    }

    /// Ends all faults and all churn.
    fn heal(&mut self) {
        self.faulty = false;
        self.faults.stop();
        self.network.heal();
        self.network.reset_links(calm());
        for player in &mut self.players {
            if player.client.is_some() {
                player.turn = Time::NEVER;
            }
        }
    }

    /// The liveness phase.
    fn converge(&mut self) {
        let rate = u64::from(self.drawn.rate);
        // Looked at twice a second: it is not cheap.
        let every = (rate / 2).max(1);
        for ticks in 1..=u64::from(LIVENESS_S) * rate {
            self.step_tick();
            if ticks.is_multiple_of(every) && self.missing().is_none() {
                self.report.converged_after_s = ticks.div_ceil(rate);
                return;
            }
        }
        self.report.converged_after_s = LIVENESS_S.into();
        if let Some((client, what)) = self.missing() {
            self.violate(client, what);
        }
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
            if !fresh || !client.view().complete() || client.own_entity().is_none() {
                return Some((Some(index), Broken::NotComplete { seconds }));
            }
            if let Some(unknown) = self.checker.unknown(&self.history, client, UNKNOWN_CALM_S) {
                return Some((Some(index), unknown));
            }
        }
        let (connections, players) = (self.cluster.connections(), self.cluster.players());
        let all = self.players.len() as u64;
        (connections != all || players != all).then_some((None, Broken::NotDrained { connections, players, seconds }))
    }

    /// Everyone leaves, and nothing may remain.
    fn leave(&mut self) {
        self.farewell = true;
        for index in 0..self.players.len() {
            if let Some(player) = self.players.get_mut(index) {
                player.leave(self.now);
            }
            self.after(index);
        }
        for _ in 0..u64::from(FAREWELL_S) * u64::from(self.drawn.rate) {
            self.step_tick();
            let gone = self.players.iter().all(|player| player.client.is_none());
            if gone && self.cluster.connections() == 0 && self.cluster.players() == 0 && self.network.in_flight() == 0 {
                break;
            }
        }
        let (connections, players) = (self.cluster.connections(), self.cluster.players());
        if connections > 0 || players > 0 {
            self.violate(None, Broken::NotDrained { connections, players, seconds: FAREWELL_S });
        }
    }

    /// Brings the counters together.
    fn finish(mut self) -> Report {
        let stats = *self.network.stats();
        let vanished = stats.lost + stats.lost_in_burst + stats.blocked + stats.too_long + stats.queue_full;
        let vanished = vanished + stats.dead_address;
        let under_way = self.network.in_flight() as u64;
        if stats.sent + stats.duplicated != stats.delivered + vanished + under_way {
            self.violate(None, Broken::Accounting);
        }
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
        Report {
            digest: format!("{:016x}", self.digest.get()),
            snapshots_checked: self.checker.snapshots,
            complete_snapshots: self.checker.complete,
            states_checked: self.checker.states,
            unchecked: self.checker.unchecked,
            faults: faults.into_iter().collect(),
            server_drops: named(&self.cluster.drops()),
            client_drops: named(&client_drops),
            inputs_missing: self.cluster.inputs_missing(),
            ..self.report
        }
    }
}
