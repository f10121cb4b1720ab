//! A cluster, players in front of screens, and the paths between them, on virtual time.

use core::time::Duration;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use client::{Client, Config};
use netcode::Time;
use netcode::crypto::Entropy;
use netcode::emulator::{Datagram, Emulator};
use netcode::error::DisconnectReason;
use netcode::packet::MAX_DATAGRAM;
use netcode::rng::Rng;
use sim::game::{Ground, Rulebook};
use sim::{ConfigError, Event, Frame};

use crate::arena::parts::{Cluster, Digest, History, client_at, inside, period, unix_ms};
use crate::arena::{self, Drawn};
use crate::entropy::Seeded;

/// Everyone joins within this.
const JOINING: Duration = Duration::from_millis(500);
/// Screens are drawn so often a second, each at moments of its own.
const SCREEN_HZ: u64 = 60;
/// Datagrams that one who replays keeps, and the chance of one of them to be sent again in a tick.
const KEPT: usize = 32;
const AGAIN: f64 = 0.5;

/// What a rig is made of.
pub(super) struct Setup {
    pub seed: u64,
    pub clients: usize,
    pub drawn: Drawn,
    pub book: Arc<Rulebook>,
    pub entropy: Box<dyn Entropy>,
}

/// A player in front of a screen.
pub(super) struct Seat {
    pub index: usize,
    pub client: Client,
    /// It sends what it sent before once more, now and then.
    pub replays: bool,
    /// Why its connection is over.
    pub ended: Option<DisconnectReason>,
    sent: VecDeque<Vec<u8>>,
    next_screen: Time,
    scheduled: Time,
}

/// What whoever looks at a screen may know beside it.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub now: Time,
    pub rate: u16,
    pub ground: &'a Ground,
    /// The truth: the server's frames. Only judges and cheats look at it.
    pub history: &'a History,
}

/// What the players do, and what is made of what happens.
pub(super) trait Script {
    /// A screen is drawn: time to decide, of what it shows.
    fn draw(&mut self, scene: &Scene<'_>, seat: &mut Seat);

    /// Something that a client tells its player.
    fn hear(&mut self, _scene: &Scene<'_>, _seat: &Seat, _event: &client::Event) {}

    /// A tick of the server, and what it told whom; `None` for a player who was never seen.
    fn tick(&mut self, _scene: &Scene<'_>, _frame: &Frame, _told: &[(usize, Event)]) {}
}

/// See the module.
pub(super) struct Rig {
    now: Time,
    next_tick: Time,
    rate: u16,
    pub cluster: Cluster,
    pub seats: Vec<Seat>,
    timers: BinaryHeap<Reverse<(Time, usize)>>,
    network: Emulator,
    pub ground: Ground,
    pub history: History,
    pub digest: Digest,
    entropy: Seeded,
    /// Which seat a connection is of.
    conns: BTreeMap<u32, usize>,
    told: Vec<(usize, Event)>,
    again: Rng,
}

impl Rig {
    pub(super) fn new(setup: Setup) -> Result<Self, ConfigError> {
        let Setup { seed, clients, drawn, book, entropy } = setup;
        let rng = Rng::new(seed);
        let options = arena::Options { faults: false, ..arena::Options::new(seed, clients, 0) };
        let cluster = Cluster::new(&drawn, &options, &book, &rng)?;
        let ground = Ground::new(cluster.map(), drawn.rate, book);
        let mut network = Emulator::new(rng.fork("network").seed());
        network.set_default(drawn.link);
        let mut rig = Self {
            now: Time::ZERO,
            next_tick: Time::ZERO,
            rate: drawn.rate,
            cluster,
            seats: Vec::new(),
            timers: BinaryHeap::new(),
            network,
            ground,
            history: History::default(),
            digest: Digest::default(),
            entropy: Seeded::new(rng.fork("entropy"), entropy),
            conns: BTreeMap::new(),
            told: Vec::new(),
            again: rng.fork("again"),
        };
        let mut joins = rng.fork("joins");
        for index in 0..clients {
            rig.join(index, &mut joins);
        }
        Ok(rig)
    }

    fn join(&mut self, index: usize, rng: &mut Rng) {
        let at = Time::ZERO + Duration::from_micros(rng.below(JOINING.as_micros() as u64));
        let bundle = self.cluster.issue(at, index, 0, &mut self.entropy);
        let (Ok(bundle), Ok(ephemeral)) = (bundle, self.entropy.ephemeral()) else { return };
        // The table is the SDK's own, so nothing can be wrong with it.
        let config = Config { book: Arc::clone(&self.ground.book), ..Config::default() };
        let Ok(client) = Client::connect(config, &bundle, ephemeral, at) else { return };
        let (sent, next_screen) = (VecDeque::new(), at + Duration::from_micros(rng.below(1_000_000 / SCREEN_HZ)));
        self.seats.push(Seat { index, client, replays: false, ended: None, sent, next_screen, scheduled: at });
        self.timers.push(Reverse((at, index)));
    }

    /// The server's tick.
    pub(super) fn tick(&self) -> u64 {
        self.cluster.tick()
    }

    /// Plays for so many virtual seconds, or until `stop` says so, which is asked before each tick. Whether it came to the end.
    pub(super) fn run(&mut self, seconds: u64, script: &mut dyn Script, stop: &mut dyn FnMut() -> bool) -> bool {
        for _ in 0..seconds * u64::from(self.rate) {
            if stop() {
                return false;
            }
            self.step_tick(script);
        }
        true
    }

    fn scene(&self) -> Scene<'_> {
        Scene { now: self.now, rate: self.rate, ground: &self.ground, history: &self.history }
    }

    /// Everything up to the server's next tick, and that tick.
    fn step_tick(&mut self, script: &mut dyn Script) {
        let until = self.next_tick;
        self.next_tick = until + period(self.rate);
        while let Some(at) = self.next_event().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            while let Some(datagram) = self.network.poll(self.now) {
                self.deliver(datagram, script);
            }
            self.run_timers(script);
            if self.cluster.handle_timeouts(self.now) {
                self.flush_shard();
            }
        }
        self.now = until;
        let frame = self.cluster.step(self.now);
        self.digest.fold(self.cluster.digest());
        self.history.push(Arc::clone(&frame));
        let Self { cluster, conns, told, .. } = self;
        told.clear();
        told.extend(cluster.told().iter().filter_map(|(conn, event)| Some((*conns.get(&conn.0)?, *event))));
        script.tick(&self.scene(), &frame, &self.told);
        self.flush_shard();
        self.send_again();
    }

    fn next_event(&self) -> Option<Time> {
        let timer = self.timers.peek().map_or(Time::NEVER, |Reverse((at, _))| *at);
        let network = self.network.next_delivery().unwrap_or(Time::NEVER);
        let next = network.min(timer).min(self.cluster.next_timeout());
        (next != Time::NEVER).then_some(next)
    }

    fn run_timers(&mut self, script: &mut dyn Script) {
        while let Some(Reverse((at, index))) = self.timers.peek().copied()
            && at <= self.now
        {
            self.timers.pop();
            let scene = Scene { now: self.now, rate: self.rate, ground: &self.ground, history: &self.history };
            let Some(seat) = self.seats.get_mut(index).filter(|seat| seat.scheduled == at) else { continue };
            seat.scheduled = Time::NEVER;
            if seat.next_screen <= self.now {
                seat.next_screen = seat.next_screen + Duration::from_micros(1_000_000 / SCREEN_HZ);
                script.draw(&scene, seat);
                // What was forged goes out before the client's own input takes its place.
                flush(self.now, seat, &mut self.network);
            }
            seat.client.handle_timeout(self.now);
            self.after(index, script);
        }
    }

    /// Whatever follows from something that happened to a client.
    fn after(&mut self, index: usize, script: &mut dyn Script) {
        let scene = Scene { now: self.now, rate: self.rate, ground: &self.ground, history: &self.history };
        let Some(seat) = self.seats.get_mut(index) else { return };
        while let Some(event) = seat.client.poll_event() {
            match &event {
                client::Event::Connected { .. } => {
                    self.conns.extend(seat.client.conn().map(|conn| (conn.0, index)));
                }
                client::Event::Disconnected(reason) => seat.ended = Some(*reason),
                _ => {}
            }
            script.hear(&scene, seat, &event);
        }
        flush(self.now, seat, &mut self.network);
        let screen = if seat.client.is_finished() { Time::NEVER } else { seat.next_screen };
        let due = seat.client.poll_timeout().unwrap_or(Time::NEVER).min(screen);
        if due < seat.scheduled {
            seat.scheduled = due;
            self.timers.push(Reverse((due, index)));
        }
    }

    fn deliver(&mut self, mut datagram: Datagram, script: &mut dyn Script) {
        self.digest.fold(self.now.as_micros());
        self.digest.fold(datagram.bytes.len() as u64);
        if Cluster::shard_at(datagram.to).is_some() {
            let Some(shard) = self.cluster.shard_mut(0) else { return };
            let wall = unix_ms(self.now);
            shard.handle_datagram(self.now, wall, datagram.from, &mut datagram.bytes, &mut self.entropy);
            self.flush_shard();
        } else if let Some((index, seat)) =
            client_at(datagram.to).and_then(|index| Some((index, self.seats.get_mut(index)?)))
        {
            let digest = &mut self.digest;
            let mut tap = |channel: u8, tick: Option<u64>, bytes: &[u8]| {
                digest.fold(u64::from(channel) << 56 | tick.unwrap_or(0));
                digest.bytes(bytes);
            };
            seat.client.handle_datagram_tapped(self.now, &mut datagram.bytes, &mut tap);
            self.after(index, script);
        }
    }

    fn flush_shard(&mut self) {
        self.cluster.pass_on(0, &mut self.digest);
        let mut out = [0; MAX_DATAGRAM];
        while let Some((to, len)) = self.cluster.shard_mut(0).and_then(|shard| shard.poll_transmit(self.now, &mut out))
        {
            self.network.send(self.now, Cluster::address(0), to, out.get(..len).unwrap_or_default());
        }
    }

    /// Those who replay send something that they sent before.
    fn send_again(&mut self) {
        for seat in self.seats.iter().filter(|seat| seat.replays) {
            let at = self.again.below(seat.sent.len().max(1) as u64) as usize;
            if let Some(datagram) = seat.sent.get(at).filter(|_| self.again.chance(AGAIN)) {
                self.network.send(self.now, inside(seat.index), Cluster::address(0), datagram);
            }
        }
    }
}

/// Sends what a client has to send.
fn flush(now: Time, seat: &mut Seat, network: &mut Emulator) {
    let mut out = [0; MAX_DATAGRAM];
    while let Some(len) = seat.client.poll_transmit(now, &mut out) {
        let datagram = out.get(..len).unwrap_or_default();
        if seat.replays {
            seat.sent.truncate(KEPT - 1);
            seat.sent.push_front(datagram.to_vec());
        }
        network.send(now, inside(seat.index), Cluster::address(0), datagram);
    }
}
