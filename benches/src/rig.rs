//! A zone, a shard and its clients on a perfect network, in stages that can be timed apart.
//!
//! One tick: [`Rig::play`] (the clients' turn, not the server's cost), [`Rig::receive`], [`Rig::step`],
//! [`Rig::publish`], [`Rig::transmit`]. What the clients send during a tick arrives together at its end, and what the
//! server sends arrives at once: so every snapshot is acknowledged when the next one is made.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bots::behavior::eyes::ClientEyes;
use bots::behavior::{Behavior, Pilot};
use client::{Client, ClientState, Config, Event};
use netcode::Time;
use netcode::crypto::{ClusterKey, CookieKey, Entropy, Psk};
use netcode::features::Features;
use netcode::packet::MAX_DATAGRAM;
use netcode::prefetch::Prefetch;
use netcode::rng::Rng;
use netcode::server::{PrefixLimits, SingleUse};
use netcode::token::{ServerEntry, TokenClaims, issue};
use server::shard::{PREFETCH_FAR, PREFETCH_NEAR, Shard, ShardConfig};
use server::zone::{ToShard, Zone, ZoneConfig};
use sim::game::{Ground, Rulebook};
use sim::{EntityId, Frame, MapConfig, WorldConfig};

use crate::BenchEntropy;

/// The wall clock at the start, Unix milliseconds.
const UNIX_MS: u64 = 1_700_000_000_000;
/// How often the clients look at their timers during a tick.
const TURNS: u32 = 10;
/// Ticks within which everybody must be in the world.
const MAX_CONNECT_TICKS: u32 = 400;
/// Clients that begin to connect in one tick.
const JOINS_PER_TICK: usize = 100;

/// The size of a rig.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RigConfig {
    /// Players, all connected and wandering.
    pub players: u16,
    /// How many others each should see, about.
    pub visible: f64,
    /// Ticks a second.
    pub rate: u16,
    /// Radius of the area of interest in metres.
    pub aoi_radius_m: u16,
    /// Half the side of the square in which they come in, in metres; `None`: anywhere.
    pub spawn_half_extent_m: Option<u16>,
    /// What they do.
    pub behavior: Behavior,
    /// Seed of everything.
    pub seed: u64,
}

impl RigConfig {
    /// 20 Hz, 64 m, 30 visible, wandering.
    #[must_use]
    pub const fn new(players: u16) -> Self {
        let (spawn_half_extent_m, behavior) = (None, Behavior::Wander);
        Self { players, visible: 30.0, rate: 20, aoi_radius_m: 64, spawn_half_extent_m, behavior, seed: 1 }
    }

    /// Half the side of the square on which the players have the density that is asked for. A disc at its edge is partly
    /// outside: of one of radius r around a random point of a square of side s, 1 - 8r/(3πs) + r²/(2πs²) lies within.
    #[must_use]
    pub fn half_extent_m(&self) -> u16 {
        let (r, others) = (f64::from(self.aoi_radius_m), f64::from(self.players) - 1.0);
        let pi = std::f64::consts::PI;
        let seen = |side: f64| {
            let ratio = r / side;
            let within = (1.0 - 8.0 * ratio / (3.0 * pi) + ratio * ratio / (2.0 * pi)).clamp(0.0, 1.0);
            (others * pi * ratio * ratio * within).min(others)
        };
        let fits = |half: &u16| seen(2.0 * f64::from(*half)) <= self.visible;
        // From the largest down: the formula is no good for squares smaller than the disc.
        let range = MapConfig::MIN_HALF_EXTENT_M..=MapConfig::MAX_HALF_EXTENT_M;
        range.rev().take_while(fits).last().unwrap_or(MapConfig::MAX_HALF_EXTENT_M)
    }

    /// The world that the players are in.
    #[must_use]
    pub fn world(&self) -> WorldConfig {
        let half_extent_m = self.half_extent_m();
        // One box per 50 m by 50 m.
        let boxes = (u32::from(half_extent_m) * 2 / 50).pow(2);
        WorldConfig {
            seed: self.seed,
            rate_hz: self.rate,
            map: MapConfig { half_extent_m, boxes, gates: 0, ramps: 0 },
            npcs: 0,
            // Those who fight have projectiles, and leave loot behind.
            max_entities: u32::from(self.players) * if self.behavior == Behavior::Fight { 4 } else { 1 } + 16,
            spawn_half_extent_m: self.spawn_half_extent_m.unwrap_or(half_extent_m),
            ..WorldConfig::default()
        }
    }
}

struct Seat {
    client: Client,
    pilot: Pilot,
    /// Inputs recorded when the intent was last chosen.
    chosen_at: u64,
    welcomed: bool,
}

/// Datagrams in buffers that are kept.
#[derive(Default)]
pub struct Datagrams {
    buffers: Vec<[u8; MAX_DATAGRAM]>,
    metas: Vec<(SocketAddr, usize)>,
}

impl Datagrams {
    /// The buffer that the next datagram is written into.
    fn slot(&mut self) -> &mut [u8; MAX_DATAGRAM] {
        if self.buffers.len() == self.metas.len() {
            self.buffers.push([0; MAX_DATAGRAM]);
        }
        let at = self.metas.len();
        &mut self.buffers[at]
    }

    /// The last buffer given holds a datagram of that peer.
    fn commit(&mut self, peer: SocketAddr, len: usize) {
        self.metas.push((peer, len));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.metas.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metas.is_empty()
    }

    /// Bytes in all.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.metas.iter().map(|(_, len)| len).sum()
    }

    /// Each with its peer.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.metas.iter().zip(&self.buffers).map(|((peer, len), buffer)| (*peer, &buffer[..*len]))
    }

    fn get_mut(&mut self, at: usize) -> Option<(SocketAddr, &mut [u8])> {
        let ((peer, len), buffer) = self.metas.get(at).zip(self.buffers.get_mut(at))?;
        Some((*peer, &mut buffer[..*len]))
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        self.metas.iter().zip(&mut self.buffers).map(|((peer, len), buffer)| (*peer, &mut buffer[..*len]))
    }
}

/// The server and its clients.
pub struct Rig {
    /// Its size.
    pub config: RigConfig,
    zone: Zone,
    shard: Shard,
    seats: Vec<Seat>,
    key: ClusterKey,
    entropy: BenchEntropy,
    now: Time,
    /// What stands around, for the eyes of those who fight.
    ground: Ground,
    /// To the server, from the clients.
    pub up: Datagrams,
    /// To the clients, from the server.
    pub down: Datagrams,
    /// Entities of the players who were spawned, by connection slot, since this was last emptied.
    pub spawned: Vec<(u16, EntityId)>,
}

impl Rig {
    /// A server that nobody has joined.
    #[must_use]
    pub fn new(config: RigConfig) -> Self {
        let world = config.world();
        let zone = Zone::new(ZoneConfig { world, max_players: u32::from(config.players) });
        let key = ClusterKey { epoch: 1, key: Psk::new([0xc1; 32]) };
        let mut shard = ShardConfig::new(vec![key.clone()], config.rate);
        // Probes and questions for the time come now and then; without them every tick has one packet each way.
        shard.endpoint.features = Features::NONE;
        shard.aoi_radius_m = config.aoi_radius_m;
        (shard.map_seed, shard.rules) = (world.seed, Rulebook::standard().hash());
        (shard.half_extent_m, shard.boxes) = (world.map.half_extent_m, world.map.boxes);
        (shard.gates, shard.ramps) = (world.map.gates, world.map.ramps);
        shard.endpoint.max_connections = config.players;
        shard.endpoint.retry_above = u32::MAX;
        shard.endpoint.max_handshakes = u32::MAX;
        shard.endpoint.prefixes = PrefixLimits::UNLIMITED;
        let single_use = Arc::new(SingleUse::new(usize::from(config.players)));
        let zone = zone.expect("the configuration is within its ranges");
        Self {
            config,
            ground: Ground::new(zone.world().map(), config.rate, Rulebook::standard()),
            zone,
            shard: Shard::new(shard, CookieKey::new([0xc0; 32]), single_use),
            seats: Vec::new(),
            key,
            entropy: BenchEntropy::new(config.seed),
            now: Time::ZERO,
            up: Datagrams::default(),
            down: Datagrams::default(),
            spawned: Vec::new(),
        }
    }

    /// Lets the next few clients begin to connect; whether all players are in the world.
    ///
    /// # Panics
    /// If they are not there in time.
    pub fn gather(&mut self) -> bool {
        let count = usize::from(self.config.players);
        for _ in 0..JOINS_PER_TICK.min(count - self.seats.len()) {
            self.join();
        }
        let limit = u64::from(MAX_CONNECT_TICKS) + (count / JOINS_PER_TICK) as u64;
        let here = self.seats.len() == count && self.seats.iter().all(|seat| seat.welcomed);
        assert!(here || self.zone.tick() < limit, "{} of {count} players are in the world", self.zone.players());
        here
    }

    fn join(&mut self) {
        let index = self.seats.len();
        let claims = TokenClaims {
            issued_ms: UNIX_MS,
            expires_ms: UNIX_MS + 3_600_000,
            account: index as u64,
            character: index as u64,
            group: 0,
            down_cap: 0,
            up_cap: 0,
            servers: [ServerEntry { id: 1, addr: SocketAddr::from(([10, 0, 0, 1], 7777)) }].into_iter().collect(),
        };
        let bundle = issue(&self.key, &claims, &mut self.entropy).expect("the entropy is seeded");
        let ephemeral = self.entropy.ephemeral().expect("the system's entropy works");
        let client = Client::connect(Config::default(), &bundle, ephemeral, self.now).expect("the SDK's own table");
        let pilot = Pilot::new(self.config.behavior, Rng::new(self.config.seed).fork(&format!("pilot {index}")));
        self.seats.push(Seat { client, pilot, chosen_at: 0, welcomed: false });
    }

    /// The clients' turn: they take what the server sent, and send, until the next tick is due.
    pub fn play(&mut self) {
        for (to, datagram) in self.down.iter_mut() {
            self.seats[index_of(to)].client.handle_datagram(self.now, datagram);
        }
        self.down.metas.clear();
        self.up.metas.clear();
        let period = Duration::from_micros(1_000_000 / u64::from(self.config.rate));
        for turn in 0..TURNS {
            let at = self.now + period * turn / TURNS;
            for index in 0..self.seats.len() {
                self.turn(at, index);
            }
        }
        self.now = self.now + period;
    }

    fn turn(&mut self, at: Time, index: usize) {
        let Seat { client, pilot, chosen_at, welcomed } = &mut self.seats[index];
        if client.poll_timeout().is_some_and(|due| due <= at) {
            client.handle_timeout(at);
        }
        let inputs = client.stats().inputs;
        if inputs != *chosen_at {
            *chosen_at = inputs;
            let eyes = ClientEyes { client, now: at, ground: Some(&self.ground) };
            let intent = pilot.next(self.config.rate, &eyes);
            client.set_intent(intent);
        }
        while let Some(event) = client.poll_event() {
            match event {
                Event::Welcome(_) => *welcomed = true,
                Event::Disconnected(reason) => panic!("client {index}: {reason}"),
                _ => {}
            }
        }
        while let Some(len) = client.poll_transmit(at, self.up.slot()) {
            self.up.commit(address_of(index), len);
        }
    }

    /// Stage: everything that arrived, down to the zone's input buffers.
    pub fn receive(&mut self) {
        let unix_ms = UNIX_MS + self.now.as_micros() / 1000;
        for at in 0..PREFETCH_FAR {
            self.expect(at, PREFETCH_FAR);
        }
        for at in 0..self.up.len() {
            self.expect(at + PREFETCH_FAR, PREFETCH_FAR);
            self.expect(at + PREFETCH_NEAR, PREFETCH_NEAR);
            let Some((from, datagram)) = self.up.get_mut(at) else { break };
            self.shard.handle_datagram(self.now, unix_ms, from, datagram, &mut self.entropy);
        }
        while let Some(message) = self.shard.poll_zone() {
            self.zone.handle(message);
        }
    }

    fn expect(&mut self, at: usize, ahead: usize) {
        if let Some((_, datagram)) = self.up.get_mut(at) {
            self.shard.expect_datagram(datagram, ahead);
        }
    }

    /// The server's hints go there from now on.
    pub fn set_prefetch(&mut self, prefetch: Prefetch) {
        self.shard.set_prefetch(prefetch);
    }

    /// Stage: one tick of the world, and its frame.
    pub fn step(&mut self) -> Arc<Frame> {
        self.zone.step()
    }

    /// Stage: the zone's answers and its frame reach the shard.
    pub fn publish(&mut self, frame: Arc<Frame>) {
        while let Some((_, message)) = self.zone.poll() {
            if let ToShard::Spawned { conn, entity } = message {
                self.spawned.push((conn.slot(), entity));
            }
            self.shard.handle_zone(self.now, message);
        }
        self.shard.handle_frame(self.now, frame);
    }

    /// Stage: a sealed datagram for every connection.
    pub fn transmit(&mut self) {
        while let Some((to, len)) = self.shard.poll_transmit(self.now, self.down.slot()) {
            self.down.commit(to, len);
        }
    }

    /// Entities that a client knows, its own included, on average.
    #[must_use]
    pub fn known(&self) -> f64 {
        let known: usize = self.seats.iter().map(|seat| seat.client.view().len()).sum();
        known as f64 / self.seats.len().max(1) as f64
    }

    /// Checks that everybody is connected and nothing was dropped.
    ///
    /// # Panics
    /// If not.
    pub fn check(&self) {
        let stats = self.shard.stats();
        assert_eq!(stats.players, u64::from(self.config.players), "players in the world");
        assert_eq!(stats.drops.total(), 0, "datagrams dropped: {:?}", stats.drops.iter().collect::<Vec<_>>());
        assert!(self.seats.iter().all(|seat| seat.client.state() == ClientState::Connected));
    }
}

const PORT: u16 = 5000;

fn address_of(index: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, (index >> 8) as u8, index as u8)), PORT)
}

fn index_of(address: SocketAddr) -> usize {
    let IpAddr::V4(ip) = address.ip() else { panic!("the rig's addresses are IPv4") };
    let [_, _, high, low] = ip.octets();
    usize::from(high) << 8 | usize::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::Mirror;

    #[test]
    fn everybody_joins_sees_about_as_many_as_asked_and_the_mirror_writes_the_same_bytes() {
        let mut rig = Rig::new(RigConfig { visible: 10.0, ..RigConfig::new(150) });
        let mut mirror = Mirror::new(&rig.config);
        let (mut bodies, mut datagrams, mut after) = (0, 0, 0);
        while after < 40 {
            if rig.gather() {
                after += 1;
            }
            rig.play();
            rig.receive();
            mirror.acked();
            let frame = rig.step();
            rig.publish(Arc::clone(&frame));
            rig.transmit();
            mirror.take(frame, &mut rig.spawned);
            mirror.refresh();
            let bytes = mirror.write();
            if after > 10 {
                assert_eq!(rig.down.len(), 150);
                bodies += bytes;
                datagrams += rig.down.bytes();
            }
        }
        rig.check();
        assert!((6.0..16.0).contains(&rig.known()), "{} known", rig.known());
        // Header and tag 19, ack and tick and frame 7, and now and then a message.
        let rest = (datagrams - bodies) as f64 / (29.0 * 150.0);
        assert!((25.5..27.5).contains(&rest), "{rest} bytes are not the mirror's");
    }
}
