//! The server: a zone and its shards, pumped by hand.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use client::Client;
use netcode::Time;
use netcode::crypto::{ClusterKey, CookieKey, CryptoError, Entropy, Psk};
use netcode::packet::ConnId;
use netcode::rng::Rng;
use netcode::server::{ServerConfig, SingleUse};
use netcode::stats::Drops;
use netcode::token::{self, ConnectBundle, ServerEntry, TokenClaims};
use server::load::Pace;
use server::replication::{Aoi, Inconsistent};
use server::shard::{Shard, ShardConfig, ShardStats};
use server::zone::{ToShard, ToZone, Zone, ZoneStats};
use sim::game::Rulebook;
use sim::{ConfigError, Event, Frame, Map, MapConfig, Refusals, SCHEMA, World, WorldConfig};

use super::bonds::{Bonds, Tie};
use super::digest::Digest;
use super::options::{Drawn, Options, Planted};
use super::tight::Tight;

/// The wall clock at the start, in Unix milliseconds.
const UNIX_MS: u64 = 1_700_000_000_000;
const TOKEN_LIFE_MS: u64 = 30_000;
const SERVER_ID: u32 = 1;
const FIRST_PORT: u16 = 7000;

/// The piece of a log that [`Planted::LogCut`] loses.
const CUT_PIECE: usize = 50;

/// Wall time at a virtual time.
pub(crate) fn unix_ms(now: Time) -> u64 {
    UNIX_MS + now.as_micros() / 1000
}

/// Zone, shards, keys.
pub(crate) struct Cluster {
    zone: Zone,
    shards: Vec<Shard>,
    key: ClusterKey,
    pub aoi: Aoi,
    pub max_known: usize,
    pub(super) bonds: Bonds,
    tight: Tight,
    /// Frames that each shard misses from now on.
    missed: Vec<u64>,
    /// Frames that were missed.
    pub frames_missed: u64,
    /// No frame is missed any more.
    calm: bool,
    rng: Rng,
    planted: Option<Planted>,
    /// Newest input tick by connection.
    inputs: BTreeMap<u32, u64>,
    /// What the zone told players in the newest tick.
    told: Vec<(ConnId, Event)>,
    /// The zone's log so far, and the digest after each tick, where there is one.
    log: Option<(Vec<u8>, Vec<u64>)>,
}

impl Cluster {
    pub(crate) fn new(drawn: &Drawn, options: &Options, book: &Arc<Rulebook>, rng: &Rng) -> Result<Self, ConfigError> {
        let (clients, planted) = (options.clients, options.planted);
        // A client that reconnects may still be held twice, until the old connection times out.
        let max_players = clients as u32 * 3 + 64;
        let Drawn { half_extent_m, boxes, gates, ramps, .. } = *drawn;
        let map = MapConfig { half_extent_m, boxes, gates, ramps };
        let world = WorldConfig {
            seed: rng.fork("world").seed(),
            rate_hz: drawn.rate,
            map,
            max_rewind_ms: drawn.max_rewind_ms,
            npcs: drawn.npcs,
            // Projectiles and loot, too.
            max_entities: 4 * (max_players + drawn.npcs) + 512,
            spawn_half_extent_m: drawn.half_extent_m,
        };
        let mut zone = Zone::with_world(World::with_book(world, Arc::clone(book))?, max_players);
        let logged = options.faults || planted.is_some();
        if logged {
            // The rulebook is a short one.
            zone = zone.with_log(false).map_err(|_| ConfigError::Entities)?;
        }
        let mut secrets = rng.fork("secrets");
        let mut secret = || {
            let mut bytes = [0; 32];
            secrets.fill(&mut bytes);
            bytes
        };
        let key = ClusterKey { epoch: 1, key: Psk::new(secret()) };
        let single_use = Arc::new(SingleUse::new(1 << 20));
        let config = |worker: u8| ShardConfig {
            endpoint: ServerConfig {
                worker,
                server_id: SERVER_ID,
                max_connections: u16::try_from(max_players).unwrap_or(u16::MAX),
                key_limits: drawn.key_limits(0),
                ..ServerConfig::new(vec![key.clone()], SCHEMA.hash(), drawn.rate)
            },
            aoi_radius_m: drawn.aoi_radius_m,
            snapshot_bytes: drawn.snapshot_bytes * if planted == Some(Planted::BudgetRaised) { 2 } else { 1 },
            snapshot_bytes_per_s: drawn.tight.bytes_per_s,
            max_known: drawn.tight.max_known,
            crowd: drawn.tight.crowd,
            follow: drawn.tight.follow,
            codec: drawn.tight.codec,
            compact_clients: drawn.tight.compact_clients,
            training: drawn.tight.training,
            priority: drawn.tight.priority,
            map_seed: world.seed,
            half_extent_m,
            boxes,
            gates,
            ramps,
            rules: book.hash(),
            ..ShardConfig::new(Vec::new(), drawn.rate)
        };
        let (max_known, aoi) = (usize::from(config(0).max_known), config(0).aoi());
        let shard = |worker| Shard::new(config(worker), CookieKey::new(secret()), Arc::clone(&single_use));
        let shards = (0..drawn.shards).map(shard).collect();
        Ok(Self {
            zone,
            shards,
            key,
            aoi,
            max_known,
            bonds: Bonds::new(&drawn.tight, drawn.rate, rng.fork("bonds")),
            tight: drawn.tight,
            missed: vec![0; usize::from(drawn.shards)],
            frames_missed: 0,
            calm: false,
            rng: rng.fork("missed frames"),
            planted,
            inputs: BTreeMap::new(),
            told: Vec::new(),
            log: logged.then(Default::default),
        })
    }

    /// The static world.
    pub(crate) fn map(&self) -> &Map {
        self.zone.world().map()
    }

    /// What the zone told players in the newest tick, in order.
    pub(crate) fn told(&self) -> &[(ConnId, Event)] {
        &self.told
    }

    /// What a connection's player was refused.
    pub(crate) fn refusals(&self, conn: ConnId) -> Option<Refusals> {
        self.zone.refusals(conn).copied()
    }

    /// The zone's counters.
    pub(crate) fn zone_stats(&self) -> &ZoneStats {
        self.zone.stats()
    }

    pub(crate) fn address(shard: usize) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), FIRST_PORT + shard as u16)
    }

    /// The shard that has that address.
    pub(crate) fn shard_at(address: SocketAddr) -> Option<usize> {
        let server = address.ip() == IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        server.then(|| usize::from(address.port().wrapping_sub(FIRST_PORT)))
    }

    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// A fresh token for a client of that shard.
    pub(crate) fn issue(
        &self,
        now: Time,
        client: usize,
        shard: usize,
        entropy: &mut dyn Entropy,
    ) -> Result<ConnectBundle, CryptoError> {
        let claims = TokenClaims {
            issued_ms: unix_ms(now),
            expires_ms: unix_ms(now) + TOKEN_LIFE_MS,
            account: client as u64,
            character: client as u64,
            group: 0,
            down_cap: self.tight.down_cap_of(client).unwrap_or(0),
            up_cap: 0,
            servers: [ServerEntry { id: SERVER_ID, addr: Self::address(shard) }].into_iter().collect(),
        };
        token::issue(&self.key, &claims, entropy)
    }

    pub(crate) fn shard_mut(&mut self, shard: usize) -> Option<&mut Shard> {
        self.shards.get_mut(shard)
    }

    /// When the first shard's timer is due.
    pub(crate) fn next_timeout(&self) -> Time {
        self.shards.iter().filter_map(Shard::poll_timeout).min().unwrap_or(Time::NEVER)
    }

    /// The shards whose timers are due, run.
    pub(crate) fn handle_timeouts(&mut self, now: Time) -> bool {
        let mut any = false;
        for shard in &mut self.shards {
            if shard.poll_timeout().is_some_and(|due| due <= now) {
                shard.handle_timeout(now);
                any = true;
            }
        }
        any
    }

    /// Carries a shard's messages to the zone; gives the tick of an input that is out of order.
    pub(crate) fn pass_on(&mut self, shard: usize, digest: &mut Digest) -> Option<u64> {
        let mut broken = None;
        while let Some(message) = self.shards.get_mut(shard).and_then(Shard::poll_zone) {
            match message {
                ToZone::Join { conn, account, .. } => {
                    self.inputs.remove(&conn.0);
                    self.bonds.join(conn, account as usize);
                    digest.fold(1 << 62 | u64::from(conn.0));
                    digest.fold(account);
                }
                ToZone::Leave { conn } => {
                    self.inputs.remove(&conn.0);
                    self.bonds.leave(conn);
                    digest.fold(2 << 62 | u64::from(conn.0));
                    if self.planted == Some(Planted::LeavesLost) {
                        continue;
                    }
                }
                ToZone::Input { conn, tick, input, .. } => {
                    if self.inputs.insert(conn.0, tick).is_some_and(|newest| tick <= newest) {
                        broken = Some(tick);
                    }
                    digest.fold(u64::from(conn.0) << 32 | tick & 0xffff_ffff);
                    for value in input.to_state().iter().take(4) {
                        digest.fold(*value as u64);
                    }
                }
            }
            self.zone.handle(self.mistaken(message));
        }
        broken
    }

    /// What the zone makes of a message.
    fn mistaken(&self, mut message: ToZone) -> ToZone {
        if let (ToZone::Input { tick, input, .. }, Some(Planted::InputsMirrored)) = (&mut message, self.planted)
            && tick.is_multiple_of(3)
        {
            (input.move_x, input.move_z) = (input.move_z, 7);
        }
        message
    }

    /// What the zone told to players, on its way to a shard: how often it gets there.
    fn copies(&self, message: &ToShard, tick: u64) -> usize {
        match (message, self.planted) {
            (ToShard::Event { .. }, Some(Planted::EventsLost)) if tick.is_multiple_of(10) => 0,
            (ToShard::Event { .. }, Some(Planted::EventsRepeated)) if tick.is_multiple_of(10) => 2,
            _ => 1,
        }
    }

    /// Keeps what the zone has logged.
    fn keep_log(&mut self, digest: u64) {
        let Some((bytes, digests)) = &mut self.log else { return };
        let piece = self.zone.take_log();
        digests.push(digest);
        if self.planted == Some(Planted::LogCut) && digests.len() == CUT_PIECE {
            return;
        }
        bytes.extend(piece);
    }

    /// Whether a replay of the log gives the same digests; the number of ticks for which it did.
    pub(super) fn replay(&self) -> Result<(), u64> {
        let Some((bytes, digests)) = &self.log else { return Ok(()) };
        let replayed = sim::replay(bytes).map(|replayed| replayed.digests).unwrap_or_default();
        let equal = replayed.iter().zip(digests).take_while(|(one, other)| one == other).count();
        if equal == digests.len() { Ok(()) } else { Err(equal as u64) }
    }

    /// One tick of the zone, told to all shards.
    pub(crate) fn step(&mut self, now: Time) -> Arc<Frame> {
        let frame = self.zone.step();
        self.told.clear();
        while let Some((worker, message)) = self.zone.poll() {
            let mut message = message;
            if let ToShard::Spawned { conn, entity } = &mut message {
                self.bonds.seat(*conn, *entity, frame.tick);
                if self.planted == Some(Planted::OwnersMixed) {
                    *entity = frame.ids().first().copied().unwrap_or(*entity);
                }
            }
            if let ToShard::Event { conn, event } = &message {
                self.told.push((*conn, *event));
            }
            for _ in 0..self.copies(&message, frame.tick) {
                if let Some(shard) = self.shards.get_mut(usize::from(worker)) {
                    shard.handle_zone(now, message);
                }
            }
        }
        self.keep_log(frame.digest);
        for tie in self.bonds.turn(&frame) {
            self.tie(now, tie);
        }
        for at in 0..self.shards.len() {
            self.show(now, at, &frame);
        }
        frame
    }

    fn tie(&mut self, now: Time, tie: Tie) {
        let (Tie::Own(conn, _) | Tie::Relate(conn, ..)) = tie;
        let Some(shard) = self.shards.get_mut(usize::from(conn.worker())) else { return };
        match tie {
            Tie::Own(conn, entity) => shard.handle_zone(now, ToShard::Spawned { conn, entity }),
            Tie::Relate(..) if self.planted == Some(Planted::PinsLost) => {}
            Tie::Relate(conn, id, relation) => {
                shard.relate(conn, id, relation);
            }
        }
    }

    /// The zone's pace changes.
    pub(super) fn change_pace(&mut self, now: Time, pace: Pace, from: u64) {
        for shard in &mut self.shards {
            shard.handle_zone(now, ToShard::Pace { pace, from });
        }
    }

    /// Gives a shard the frame, unless it misses it.
    fn show(&mut self, now: Time, at: usize, frame: &Arc<Frame>) {
        let (Some(shard), Some(missed)) = (self.shards.get_mut(at), self.missed.get_mut(at)) else { return };
        if !self.calm && self.rng.chance(self.tight.misses) {
            // Seldom more than frames are kept.
            *missed = if self.rng.chance(0.03) { 70 } else { 1 + self.rng.below(4) };
        }
        if *missed > 0 {
            *missed -= 1;
            self.frames_missed += 1;
            return;
        }
        let overloaded = self.tight.overloads > 0.0 && self.rng.chance(self.tight.overloads);
        shard.on_round_took(if overloaded { 100 } else { 10 });
        let mut frame = Arc::clone(frame);
        if self.planted == Some(Planted::FrameLost) {
            match frame.tick % 40 {
                0 => return,
                1 => {
                    let frame = Arc::make_mut(&mut frame);
                    frame.prev = frame.tick.saturating_sub(2);
                }
                _ => {}
            }
        }
        shard.handle_frame(now, frame);
    }

    /// Nothing strange happens any more.
    pub(super) fn calm(&mut self) {
        self.calm = true;
        self.missed.fill(0);
        self.bonds.calm();
    }

    /// The first contradiction in what the shards keep.
    pub(crate) fn check_replication(&self) -> Option<Inconsistent> {
        self.shards.iter().find_map(|shard| shard.check_replication().err())
    }

    pub(super) fn shard(&self, shard: usize) -> Option<&Shard> {
        self.shards.get(shard)
    }

    pub(crate) fn tick(&self) -> u64 {
        self.zone.tick()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.zone.digest()
    }

    pub(super) fn players(&self) -> u64 {
        self.zone.players() as u64
    }

    /// Player ticks that had no input of their own.
    pub(crate) fn inputs_missing(&self) -> u64 {
        let stats = self.zone.stats();
        stats.inputs_repeated + stats.inputs_neutral
    }

    pub(super) fn connections(&self) -> u64 {
        self.sum(|stats| stats.connections)
    }

    /// Bytes in the queues of a client's connection at its shard.
    pub(super) fn queued(&self, now: Time, shard: usize, client: &Client) -> u64 {
        let quality = self.shards.get(shard).zip(client.conn()).and_then(|(shard, conn)| shard.quality(now, conn));
        quality.map_or(0, |quality| quality.queued_bytes)
    }

    /// Counters of all shards.
    pub(super) fn sum(&self, counter: impl Fn(&ShardStats) -> u64) -> u64 {
        self.shards.iter().map(|shard| counter(&shard.stats())).sum()
    }

    pub(super) fn drops(&self) -> Drops {
        let mut sum = Drops::default();
        for shard in &self.shards {
            sum.add(&shard.stats().drops);
        }
        sum
    }
}

/// Time between two ticks.
pub(crate) fn period(rate: u16) -> Duration {
    Duration::from_micros(1_000_000 / u64::from(rate.max(1)))
}
