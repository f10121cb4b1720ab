//! The run of an arena: events in the order of their times, a tick at a time.

mod finish;
mod phases;

use core::net::SocketAddr;
use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use client::Config;
use netcode::Time;
use netcode::channel::{Kind, Table};
use netcode::crypto::Entropy;
use netcode::emulator::{Datagram, Emulator, LinkConfig};
use netcode::error::{CloseReason, DisconnectReason};
use netcode::handshake::{ACCEPT, HELLO, REFUSE, RETRY};
use netcode::packet::{DATA_FLAGS, MAX_DATAGRAM};
use netcode::rng::Rng;
use sim::ConfigError;

use super::checker::Checker;
use super::cluster::{Cluster, period, unix_ms};
use super::digest::Digest;
use super::faults::{Fault, Faults};
use super::history::History;
use super::hostile::{Harm, Hostiles, Shot, Victim, is_lair};
use super::ledger::Ledger;
use super::options::{Drawn, Options, Planted};
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
    hostiles: Hostiles,
    ledger: Ledger,
    /// The most bytes that one end's queues of one connection may hold.
    most_queued: u64,
    mtu_changes: u64,
    delivered_to_server: u64,
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
        let cluster = Cluster::new(&drawn, &options, &rng)?;
        let checker = Checker::new(cluster.aoi, drawn.rate, cluster.max_known, options.planted);
        let mut network = Emulator::new(rng.fork("network").seed());
        network.set_default(drawn.link);
        let now = Time::ZERO;
        let config = Config { key_limits: drawn.key_limits(1), ..Config::default() };
        let mut behaviors = rng.fork("behaviors");
        let players = (0..options.clients).map(|index| {
            let rng = rng.fork(&format!("player {index}"));
            let pilot = Pilot::new(drawn.behavior(&mut behaviors), rng.fork("pilot"));
            let mut joins = rng.fork("join");
            let turn = now + Duration::from_micros(joins.below(JOINING.as_micros() as u64));
            Player::new(index % cluster.shards(), config, pilot, joins, turn)
        });
        let hostiles = Hostiles::new(&drawn, options.clients, &rng);
        let hostile = hostiles.len() as u64;
        let mut arena = Self {
            options,
            drawn,
            now,
            next_tick: now,
            players: players.collect(),
            timers: BinaryHeap::new(),
            network,
            faults: Faults::new(&drawn, options.clients, &rng, now),
            hostiles,
            ledger: Ledger::default(),
            most_queued: most_queued(&Table::standard()),
            mtu_changes: 0,
            delivered_to_server: 0,
            history: History::default(),
            checker,
            entropy: Seeded::new(rng.fork("entropy"), outside),
            digest: Digest::default(),
            report: Report { seed: options.seed, clients: options.clients as u64, hostile, ..Report::default() },
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
        #[cfg(debug_assertions)]
        netcode::crypto::nonce_log::start();
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
        self.strike_back();
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
        self.forges() && !seals.is_some_and(|seals| seals.knows(datagram))
    }

    /// Whether anything but the ends makes datagrams. If not, there is no need to look, which is not free.
    const fn forges(&self) -> bool {
        self.drawn.link.corrupt > 0.0 || self.drawn.hostile.is_some()
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
        let excused = self.players.get(index).is_none_or(|player| player.is_excused(self.now))
            || self.hostiles.harm(index) == Some(Harm::Withhold);
        if reason == DisconnectReason::IdleTimeout && self.drawn.is_mild() && !excused {
            self.violate(Some(index), Broken::Abandoned);
        }
    }

    fn check(&mut self, index: usize) {
        let Some(player) = self.players.get_mut(index) else { return };
        let Some(client) = &player.client else { return };
        let snapshots = client.stats().snapshots;
        if std::mem::replace(&mut player.snapshots, snapshots) == snapshots {
            return;
        }
        let queued = (snapshots.is_multiple_of(16))
            .then(|| client.quality(self.now).queued_bytes.max(self.cluster.queued(self.now, player.shard, client)));
        let mut broken = std::mem::take(&mut self.broken);
        if let Some(bytes) = queued.filter(|bytes| *bytes > self.most_queued) {
            broken.push(Broken::QueueTooLong { bytes, most: self.most_queued });
        }
        self.checker.check(&self.history, client, &self.spawned, &mut broken);
        for what in broken.drain(..) {
            self.violate(Some(index), what);
        }
        self.broken = broken;
    }

    fn flush_client(&mut self, index: usize) {
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

    fn flush_shards(&mut self) {
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

    fn pass_on(&mut self, shard: usize) {
        if let Some(input) = self.cluster.pass_on(shard, &mut self.digest) {
            self.violate(None, Broken::InputsOutOfOrder { input });
        }
    }

    fn strike(&mut self, fault: &Fault) {
        match fault {
            Fault::Partition { clients, up, down, until } => {
                for index in clients {
                    let Some(player) = self.players.get_mut(*index) else { continue };
                    player.cut_until = player.cut_until.max(*until);
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
                    let rebinds = player.rebind(self.now);
                    self.network.rebind(inside(*client), outside(*client, rebinds));
                }
            }
            Fault::Mtu { bytes } => {
                self.mtu_changes += 1;
                self.network.set_default(LinkConfig { mtu: Some(*bytes), ..self.drawn.link });
            }
        }
    }

    /// What hostile clients send in a tick beside playing.
    fn strike_back(&mut self) {
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
}

/// The most bytes that a connection's queues of both directions hold at one end.
fn most_queued(table: &Table) -> u64 {
    let both = |queue: u32, message: u32, kind: Kind| match kind {
        Kind::Sequenced => message,
        Kind::Snapshot => 0,
        _ => 2 * queue,
    };
    table.0.iter().map(|channel| u64::from(both(channel.queue_bytes, channel.max_message, channel.kind))).sum()
}
