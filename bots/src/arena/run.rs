//! The run of an arena: events in the order of their times, a tick at a time.

mod finish;
mod phases;
mod traffic;

use core::net::SocketAddr;
use core::ops::ControlFlow;
use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use client::{Client, Config};
use netcode::Time;
use netcode::channel::{Kind, Table};
use netcode::crypto::Entropy;
use netcode::emulator::{Emulator, LinkConfig};
use netcode::error::{CloseReason, DisconnectReason};
use netcode::packet::ConnId;
use netcode::rng::Rng;
use server::load::{Pace, Share};
use sim::event::What;
use sim::game::{Ground, Rulebook};
use sim::{ConfigError, Frame};

use super::checker::{Allowance, Checker, Rules, Subject};
use super::cluster::Cluster;
use super::digest::Digest;
use super::faults::{Fault, Faults};
use super::history::History;
use super::hostile::{Harm, Hostiles};
use super::ledger::Ledger;
use super::load::Load;
use super::mail::Mail;
use super::options::{Drawn, Options};
use super::player::{Change, Player, inside, outside};
use super::report::{Broken, Report, Violation};
use super::watch::{Tell, Watch};
use crate::behavior::Pilot;
use crate::entropy::Seeded;

/// Everything must have converged that many virtual seconds after the faults.
pub const LIVENESS_S: u32 = 30;
/// Everyone must be gone that many virtual seconds after all have left: the idle time-out, and something.
const FAREWELL_S: u32 = 15;
/// What shards keep is looked through every so many ticks.
const CHECK_TICKS: u64 = 7;
/// Without faults nobody may starve after so many virtual seconds.
const UNSETTLED_S: u64 = 3;
/// So long after it began to listen a client may not have heard all that it missed.
const RELENTED: Duration = Duration::from_secs(3);
/// Everyone joins within this at the start.
const JOINING: Duration = Duration::from_secs(1);

/// Whether a run is to end before its time.
type Stop<'a> = &'a mut dyn FnMut() -> bool;

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
    load: Load,
    /// The most bytes that one end's queues of one connection may hold.
    most_queued: u64,
    mtu_changes: u64,
    deaths: u64,
    looted: u64,
    delivered_to_server: u64,
    history: History,
    checker: Checker,
    rules: Rules,
    mail: Mail,
    ground: Ground,
    entropy: Seeded,
    digest: Digest,
    report: Report,
    /// Whether there are faults and churn: the safety phase.
    faulty: bool,
    /// Whether paths have been calm for long enough that nobody may starve.
    strict: bool,
    /// Whether all are to leave: the end.
    farewell: bool,
    spawned: Vec<u32>,
    broken: Vec<Broken>,
    watch: Option<Watch>,
}

impl Arena {
    /// Draws everything from the seed; nothing has happened yet. `outside` gives the X25519 keys.
    ///
    /// # Errors
    /// [`ConfigError`], when no world can be made (too many clients).
    pub fn new(options: Options, outside: Box<dyn Entropy>) -> Result<Self, ConfigError> {
        Self::with(options, Drawn::new(&options), outside)
    }

    /// The same with other circumstances than the seed would draw.
    ///
    /// # Errors
    /// [`ConfigError`], when no world can be made.
    pub fn with(options: Options, drawn: Drawn, outside: Box<dyn Entropy>) -> Result<Self, ConfigError> {
        let rng = Rng::new(options.seed);
        let book = Rulebook::standard();
        let cluster = Cluster::new(&drawn, &options, &book, &rng)?;
        let ground = Ground::new(cluster.map(), drawn.rate, Arc::clone(&book));
        let rules = Rules::new(Arc::clone(&book), drawn.rate, options.planted);
        let checker = Checker::new(cluster.aoi, &drawn, options.planted);
        let mut network = Emulator::new(rng.fork("network").seed());
        network.set_default(drawn.link);
        let now = Time::ZERO;
        let config = Config { key_limits: drawn.key_limits(1), book, ..Config::default() };
        let mut behaviors = rng.fork("behaviors");
        let players = (0..options.clients).map(|index| {
            let rng = rng.fork(&format!("player {index}"));
            let pilot = Pilot::new(drawn.behavior(&mut behaviors), rng.fork("pilot"));
            let mut joins = rng.fork("join");
            let turn = now + Duration::from_micros(joins.below(JOINING.as_micros() as u64));
            Player::new(index % cluster.shards(), config.clone(), pilot, joins, turn)
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
            load: Load::new(drawn.rate),
            most_queued: most_queued(&Table::standard()),
            mtu_changes: 0,
            deaths: 0,
            looted: 0,
            delivered_to_server: 0,
            history: History::default(),
            checker,
            rules,
            mail: Mail::default(),
            ground,
            entropy: Seeded::new(rng.fork("entropy"), outside),
            digest: Digest::default(),
            report: Report { seed: options.seed, clients: options.clients as u64, hostile, ..Report::default() },
            faulty: options.faults,
            strict: false,
            farewell: false,
            spawned: Vec::new(),
            broken: Vec::new(),
            watch: None,
            cluster,
        };
        arena.shorten_ways();
        for index in 0..arena.players.len() {
            arena.reschedule(index);
        }
        Ok(arena)
    }

    /// Tells from now on why each entity goes into the snapshots of a client, or does not. It changes nothing.
    pub fn watch(&mut self, client: usize, tell: Tell) {
        self.watch = Some(Watch::new(client, tell));
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

    /// From now on the server's steps, and rounds of snapshots for everybody, take that many percent of a tick at full pace.
    pub fn load(&mut self, whole: Share) {
        self.load.set(whole);
    }

    /// How fast the zone goes, or is about to.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.load.pace()
    }

    /// Now, in virtual time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Ticks of players that had no input of their own so far.
    #[must_use]
    pub fn inputs_missing(&self) -> u64 {
        self.cluster.inputs_missing()
    }

    /// By how many ticks the clients are wrong about the server's newest one, the worst of them.
    #[must_use]
    pub fn clock_error(&self) -> f64 {
        let newest = self.cluster.tick() as f64;
        let guesses = self.players.iter().filter_map(|player| player.client.as_ref()?.server_tick(self.now));
        guesses.map(|guess| (guess - newest).abs()).fold(0.0, f64::max)
    }

    /// For each client a digest of what it shows: the tick of its newest snapshot, and of every entity it knows the name, the
    /// kind, all fields and the tick that they are of. `None` where it is not connected.
    #[must_use]
    pub fn views(&self) -> Vec<Option<u64>> {
        let connected = |player: &Player| player.client.as_ref().filter(|_| player.is_connected()).map(seen);
        self.players.iter().map(connected).collect()
    }

    /// The report so far; counters are brought up to date at the end of [`Arena::run`].
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Runs all phases.
    #[must_use]
    pub fn run(self) -> Report {
        self.run_until(&mut || false)
    }

    /// Runs all phases, or as much of them as there is until `stop` says so, which is asked before each tick.
    #[must_use]
    pub fn run_until(mut self, stop: Stop<'_>) -> Report {
        #[cfg(debug_assertions)]
        netcode::crypto::nonce_log::start();
        self.report.interrupted = self.phases(stop).is_break();
        self.finish()
    }

    /// All phases, one after the other.
    fn phases(&mut self, stop: Stop<'_>) -> ControlFlow<()> {
        for _ in 0..u64::from(self.options.seconds) * u64::from(self.drawn.rate) {
            self.step_unless(stop)?;
        }
        self.heal();
        self.converge(stop)?;
        self.leave(stop)
    }

    /// A tick, unless the run is to end.
    fn step_unless(&mut self, stop: Stop<'_>) -> ControlFlow<()> {
        if stop() {
            return ControlFlow::Break(());
        }
        self.step_tick();
        ControlFlow::Continue(())
    }

    /// Everything up to the server's next tick, and that tick.
    pub fn step_tick(&mut self) {
        let until = self.next_tick;
        self.next_tick = until + self.load.period(self.cluster.tick() + 1);
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
        self.check_game(&frame);
        self.history.push(frame);
        self.strict |= !self.options.faults && self.report.ticks > UNSETTLED_S * u64::from(self.drawn.rate);
        self.digest.fold(self.cluster.digest());
        self.report.ticks += 1;
        if let Some((watch, player)) = watched(&mut self.watch, &self.players) {
            watch.follow(player, &mut self.cluster);
        }
        self.flush_shards();
        if let Some((pace, from)) = self.load.on_tick(self.cluster.tick()) {
            self.cluster.change_pace(self.now, pace, from);
            self.checker.looks_seldom(pace.divisor);
            self.flush_shards();
        }
        if let Some((watch, player)) = watched(&mut self.watch, &self.players) {
            watch.tell(player, &self.cluster, self.cluster.tick());
        }
        self.send_hostile();
        if self.report.ticks.is_multiple_of(CHECK_TICKS)
            && let Some(what) = self.cluster.check_replication()
        {
            self.violate(None, Broken::Inconsistent(what));
        }
    }

    fn next_event(&self) -> Option<Time> {
        let timer = self.timers.peek().map_or(Time::NEVER, |Reverse((at, _))| *at);
        let network = self.network.next_delivery().unwrap_or(Time::NEVER);
        let next = network.min(timer).min(self.cluster.next_timeout()).min(self.faults.next());
        (next != Time::NEVER).then_some(next)
    }

    fn run_timers(&mut self) {
        while let Some(Reverse((at, index))) = self.timers.peek().copied()
            && at <= self.now
        {
            self.timers.pop();
            let Some(player) = self.players.get_mut(index).filter(|player| player.scheduled == at) else { continue };
            player.scheduled = Time::NEVER;
            player.handle_timeout(self.now, &self.ground);
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
        let change = player.drain(self.now, churn, &mut self.spawned);
        self.hear(index);
        match change {
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

    /// A tick was made: does the game keep its rules, and what was predicted for it?
    fn check_game(&mut self, frame: &Frame) {
        let told = self.cluster.told();
        for (conn, event) in told {
            self.mail.tell(*conn, event, frame.tick);
            self.deaths += u64::from(matches!(event.what, What::Died { .. }));
            self.looted += u64::from(matches!(event.what, What::Looted { .. }));
        }
        let seat = |conn: ConnId| self.cluster.bonds.seat_of(conn);
        let told: Vec<_> = told.iter().filter_map(|(conn, event)| Some((seat(*conn)?, *event))).collect();
        let mut broken = std::mem::take(&mut self.broken);
        if let Some(before) = self.history.newest() {
            self.rules.check(before, frame, &told, &mut broken);
        }
        for player in &mut self.players {
            player.agreement.compare(frame);
        }
        for what in broken.drain(..) {
            self.violate(None, what);
        }
        self.broken = broken;
    }

    /// What a client was told once by now.
    fn hear(&mut self, index: usize) {
        let Some(player) = self.players.get_mut(index) else { return };
        let conn = player.client.as_ref().and_then(Client::conn);
        let heard = std::mem::take(&mut player.heard);
        for event in &heard {
            if let Some(what) = conn.and_then(|conn| self.mail.hear(conn, event)) {
                self.violate(Some(index), what);
            }
        }
        if let Some(player) = self.players.get_mut(index) {
            player.heard = heard;
            player.heard.clear();
        }
    }

    fn ended(&mut self, index: usize, reason: DisconnectReason) {
        if let Some(conn) = self.players.get(index).and_then(|player| player.client.as_ref()?.conn()) {
            self.mail.forget(conn);
        }
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
        let (Some(client), pace) = (&player.client, &mut player.pace) else { return };
        let snapshots = client.stats().snapshots;
        if std::mem::replace(&mut player.snapshots, snapshots) == snapshots {
            return;
        }
        if let Some(tick) = client.view().tick() {
            pace.on_snapshot(tick, client.view().complete(), self.spawned.len(), self.drawn.rate.into());
            self.report.longest_wait = self.report.longest_wait.max(pace.longest_wait);
            self.report.longest_incomplete = self.report.longest_incomplete.max(pace.longest_incomplete);
        }
        let queued = (snapshots.is_multiple_of(16))
            .then(|| client.quality(self.now).queued_bytes.max(self.cluster.queued(self.now, player.shard, client)));
        self.note_full(index);
        let mut broken = std::mem::take(&mut self.broken);
        if let Some(bytes) = queued.filter(|bytes| *bytes > self.most_queued) {
            broken.push(Broken::QueueTooLong { bytes, most: self.most_queued });
        }
        if let Some(player) = self.players.get(index)
            && let Some(subject) = subject(&self.history, &self.cluster, player, self.is_deaf(index))
        {
            self.checker.check(&subject, &self.spawned, &mut broken);
            if self.strict {
                let allowance = allowance(&self.drawn, &self.cluster, self.now, index, player);
                broken.extend(self.checker.starving(&subject, allowance));
            }
        }
        for what in broken.drain(..) {
            self.violate(Some(index), what);
        }
        self.broken = broken;
    }

    /// Notes whether there is a slot for anybody else at a client.
    fn note_full(&mut self, index: usize) {
        let Some(player) = self.players.get(index) else { return };
        let max_known = self.cluster.max_known;
        let full =
            subject(&self.history, &self.cluster, player, false).is_some_and(|subject| subject.is_full(max_known));
        let tick = player.client.as_ref().and_then(|client| client.view().tick());
        if let Some(player) = self.players.get_mut(index).filter(|_| full) {
            player.pace.full_at = tick;
        }
    }

    /// Whether a client leaves nearly all packets unread, or did so until moments ago.
    fn is_deaf(&self, index: usize) -> bool {
        let until = self.players.get(index).and_then(|player| player.deaf_until);
        self.hostiles.harm(index) == Some(Harm::Withhold) || until.is_some_and(|until| until + RELENTED > self.now)
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
                    player.cut_until = player.cut_until.max(Some(*until));
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

/// The digest of what a client shows.
fn seen(client: &Client) -> u64 {
    let (view, mut digest) = (client.view(), Digest::default());
    digest.fold(view.tick().unwrap_or(0));
    digest.fold(u64::from(view.complete()));
    for entity in view.entities() {
        digest.fold(u64::from(entity.id()) << 16 | u64::from(entity.kind()) << 1 | u64::from(entity.owner()));
        digest.fold(entity.confirmed());
        entity.state().iter().for_each(|field| digest.fold(*field as u64));
    }
    digest.get()
}

/// Who wants to know, and the player whom it is about.
fn watched<'a>(watch: &'a mut Option<Watch>, players: &'a [Player]) -> Option<(&'a mut Watch, &'a Player)> {
    let watch = watch.as_mut()?;
    let player = players.get(watch.client)?;
    Some((watch, player))
}

/// A player whose connection stands, and the truth about it.
fn subject<'a>(history: &'a History, cluster: &'a Cluster, player: &'a Player, deaf: bool) -> Option<Subject<'a>> {
    let client = player.client.as_ref()?;
    let conn = client.conn()?;
    let replica = cluster.shard(player.shard).and_then(|shard| shard.replica(conn));
    let full_at = player.pace.full_at;
    Some(Subject { client, conn, history, bonds: &cluster.bonds, replica, full_at, deaf })
}

/// What a client may be sent: its budget, or what its path carries if that is less.
fn allowance(drawn: &Drawn, cluster: &Cluster, now: Time, index: usize, player: &Player) -> Allowance {
    /// What else is in a datagram, at the most.
    const HEAD: usize = 80;
    let budget = drawn.tight.budget(index, drawn.snapshot_bytes, drawn.rate);
    let conn = player.client.as_ref().and_then(Client::conn);
    let quality = conn.and_then(|conn| cluster.shard(player.shard)?.quality(now, conn));
    let path = quality.map_or(0, |quality| (quality.rate / u32::from(drawn.rate)).min(quality.mtu.into()) as usize);
    let (bits, updates) = (cluster.sum(|stats| stats.replica.update_bits), cluster.sum(|stats| stats.replica.updates));
    Allowance {
        room: budget.min(path.saturating_sub(HEAD)),
        update_bits: (bits / updates.max(1)) as usize,
        spawned: player.pace.spawned(),
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
